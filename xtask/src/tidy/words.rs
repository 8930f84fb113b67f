//! Words that the code base does not use: marks of unfinished work, second names for one idea, type names that say nothing, paths of one machine.

use super::File;
use super::source::{code_only, lines_with_word};

/// Not in any text. Written in two halves so that this list does not trip over itself.
const ANYWHERE: [(&str, &str); 9] = [
    (concat!("TO", "DO"), "finish it or open an issue"),
    (concat!("FIX", "ME"), "finish it or open an issue"),
    (concat!("XX", "X"), "finish it or open an issue"),
    (concat!("HA", "CK"), "say what is unusual, and why it is right"),
    (concat!("for ", "now"), "say what holds; plans belong in an issue"),
    (concat!("not yet ", "implemented"), "an unsupported case is a typed error with a reason"),
    (concat!("blaz", "ingly"), "give the number"),
    (concat!("/home", "/"), "no paths of one machine"),
    (concat!("/root", "/"), "no paths of one machine"),
];

/// Not in code: a second word for an idea that has one, or a name that says nothing.
const IN_CODE: [(&str, &str); 8] = [
    ("tikhonov", "the word is `damping`"),
    ("n_samples_mc", "the word is `mc_samples`"),
    ("num_probes", "the word is `probes`"),
    ("Manager", "name the thing, not its job"),
    ("Helper", "name the thing, not its job"),
    ("Processor", "name the thing, not its job"),
    (concat!("to", "do"), "finish it or return a typed error"),
    (concat!("unimple", "mented"), "finish it or return a typed error"),
];

pub(super) fn check(file: &File, complaints: &mut Vec<String>) {
    let mut look = |text: &str, list: &[(&str, &str)]| {
        for (word, remedy) in list {
            for line in lines_with_word(text, word) {
                complaints.push(format!("{}:{line}: `{word}`: {remedy}", file.name));
            }
        }
    };
    look(&file.text, &ANYWHERE);
    if file.name.ends_with(".rs") {
        look(&code_only(&file.text), &IN_CODE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&File { name: name.to_owned(), text: text.to_owned() }, &mut found);
        found
    }

    #[test]
    fn marks_of_unfinished_work_are_found_in_comments() {
        let text = format!("//! Doc.\n// {} later", ANYWHERE[0].0);
        assert!(complaints("a.rs", &text)[0].starts_with("a.rs:2: "));
        assert_eq!(complaints("a.md", &text).len(), 1);
    }

    #[test]
    fn synonyms_count_in_code_only() {
        assert_eq!(complaints("a.rs", "// tikhonov's idea"), [""; 0]);
        assert_eq!(complaints("a.rs", "let tikhonov = 1;").len(), 1);
        assert_eq!(complaints("a.rs", "struct FileManager;"), [""; 0]);
        assert_eq!(complaints("a.py", "tikhonov = 1"), [""; 0]);
    }
}
