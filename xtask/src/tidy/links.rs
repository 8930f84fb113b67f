//! Links between Markdown pages lead to files that exist, and to headings that are there. Web addresses are not followed.

use super::File;
use std::path::Path;

pub(super) fn check(root: &Path, file: &File, complaints: &mut Vec<String>) {
    if !file.name.ends_with(".md") {
        return;
    }
    let page = root.join(&file.name);
    let folder = page.parent().unwrap_or(root);
    for (line, target) in targets(&file.text) {
        let (path, place) = target.split_once('#').unwrap_or((&target, ""));
        if path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        let page = if path.is_empty() { page.clone() } else { folder.join(path) };
        let there = match place {
            "" => page.exists(),
            // Places are those of headings; what else a page may have places for is not known here.
            _ => std::fs::read_to_string(&page).is_ok_and(|text| places(&text).any(|p| p == place)),
        };
        if !there {
            complaints.push(format!("{}:{line}: the link `{target}` leads nowhere", file.name));
        }
    }
}

/// The places that the headings of a page give.
fn places(text: &str) -> impl Iterator<Item = String> {
    let mut fenced = false;
    let headings = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && line.starts_with('#')
    });
    headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Targets of `[text](target)` outside of code, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backticks is code.
        for prose in line.split('`').step_by(2) {
            for piece in prose.split("](").skip(1) {
                if let Some((target, _)) = piece.split_once(')') {
                    found.push((number + 1, target.split_whitespace().next().unwrap_or_default().to_owned()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Scratch;

    #[test]
    fn dead_links_are_named_with_their_line() {
        let s = Scratch::new("links");
        s.write("docs/a.md", "# The `part`, here\n```\n# none\n```\n");
        let text = "# X\n[a](a.md#the-part-here) [n](a.md#none)\n[web](https://example.org/#a) [here](#x)\n`[code](no.md)`\n```\n\
            [f](no.md)\n```\n[b](../b.md) [there](#y)";
        s.write("docs/c.md", text);
        let mut complaints = Vec::new();
        check(s.path(), &File { name: "docs/c.md".to_owned(), text: text.to_owned() }, &mut complaints);
        let dead = |line: usize, target: &str| format!("docs/c.md:{line}: the link `{target}` leads nowhere");
        assert_eq!(complaints, [dead(2, "a.md#none"), dead(8, "../b.md"), dead(8, "#y")]);
    }
}
