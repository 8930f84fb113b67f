//! Rust text with comments and literals blanked out, line for line, so that rules look at code only.

/// `text` with every character of a comment, string or character literal replaced by a space; line breaks stay.
pub(super) fn code_only(text: &str) -> String {
    let input: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < input.len() {
        let end = match input[at] {
            '/' if input.get(at + 1) == Some(&'/') => line_end(&input, at),
            '/' if input.get(at + 1) == Some(&'*') => comment_end(&input, at),
            '"' => string_end(&input, at),
            '\'' => char_end(&input, at),
            'r' if !follows_word(&input, at) || input[at - 1] == 'b' => raw_end(&input, at),
            _ => at,
        };
        if end == at {
            out.push(input[at]);
            at += 1;
        } else {
            out.extend(input[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn follows_word(input: &[char], at: usize) -> bool {
    at > 0 && (input[at - 1].is_alphanumeric() || input[at - 1] == '_')
}

fn line_end(input: &[char], at: usize) -> usize {
    (at..input.len()).find(|i| input[*i] == '\n').unwrap_or(input.len())
}

/// Block comments nest.
fn comment_end(input: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0usize, at);
    while i + 1 < input.len() {
        match (input[i], input[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    input.len()
}

fn string_end(input: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < input.len() {
        match input[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    input.len()
}

/// The end of a character literal, or `at` for a lifetime.
fn char_end(input: &[char], at: usize) -> usize {
    match (input.get(at + 1), input.get(at + 2)) {
        (Some('\\'), _) => (at + 3..input.len()).find(|i| input[*i] == '\'').map_or(input.len(), |i| i + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The end of a raw string `r#"..."#`, or `at` if none starts here.
fn raw_end(input: &[char], at: usize) -> usize {
    let hashes = input[at + 1..].iter().take_while(|c| **c == '#').count();
    if input.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut i = at + 2 + hashes;
    while i < input.len() {
        if input[i] == '"' && input[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    input.len()
}

/// Lines (from 1) on which `word` stands by itself.
pub(super) fn lines_with_word<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let has = move |line: &str| {
        line.match_indices(word).any(|(start, _)| {
            let part = |c: char| c.is_alphanumeric() || c == '_';
            let before = line[..start].chars().next_back();
            let after = line[start + word.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(part)
        })
    };
    text.lines().enumerate().filter(move |(_, line)| has(line)).map(|(i, _)| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        code_only(text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_vanish() {
        assert_eq!(kept("a // unsafe\nb /* x /* y */ z */ c"), "a b c");
        assert_eq!(kept(r#"f("unsafe \" x", 'x', '\'', '\u{41}', b"q") g"#), "f( , , , , b ) g");
        assert_eq!(kept("r#\"unsafe \" \"# + br\"x\" + r\"\\\" + bar"), "+ b + + bar");
        assert_eq!(kept("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(kept("a \"never closed"), "a");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* x\ny */ b\n\"c\nd\" e";
        assert_eq!(code_only(text).lines().count(), 5);
        assert_eq!(lines_with_word(&code_only(text), "b").collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn words_are_whole_words() {
        let text = "unsafe_code\nunsafe {\nmyunsafe";
        assert_eq!(lines_with_word(text, "unsafe").collect::<Vec<_>>(), [2]);
    }
}
