//! Rules about one source file: its length, its module doc, its name, and whether `unsafe` may stand in it.

use super::File;
use super::source::{code_only, lines_with_word};

/// Longest file that is still one idea.
const MAX_LINES: usize = 700;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

/// Where `unsafe` may be written.
const UNSAFE_ALLOWED: [&str; 3] =
    ["crates/numerics/src/dense/", "crates/numerics/src/simd/", "crates/autodiff/src/exec/"];

/// Crates with such a place: they deny `unsafe` at the root and allow it there; all others forbid it.
const UNSAFE_CRATES: [&str; 2] = ["numerics", "autodiff"];

pub(super) fn check(file: &File, complaints: &mut Vec<String>) {
    if !file.name.ends_with(".rs") {
        return;
    }
    let name = &file.name;
    let lines = file.text.lines().count();
    if lines > MAX_LINES && !is_test(name) {
        complaints.push(format!("{name}: {lines} lines; a file is one idea of at most {MAX_LINES}"));
    }
    let base = name.rsplit('/').next().unwrap_or(name);
    if EMPTY_NAMES.contains(&base) && !is_test(name) {
        complaints.push(format!("{name}: name the file after its idea"));
    }
    if name.contains("/src/") && !is_test(name) && !has_module_doc(&file.text) {
        complaints.push(format!("{name}: no module doc (`//!`) at the top"));
    }
    let code = code_only(&file.text);
    if let Some(krate) = name.strip_prefix("crates/").and_then(|n| n.strip_suffix("/src/lib.rs")) {
        let wanted = if UNSAFE_CRATES.contains(&krate) { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        if !code.lines().any(|line| line.trim() == wanted) {
            complaints.push(format!("{name}: `{wanted}` is missing"));
        }
    }
    if !may_be_unsafe(name) {
        for line in lines_with_word(&code, "unsafe") {
            complaints.push(format!("{name}:{line}: `unsafe` outside of the places that may have it"));
        }
    }
}

/// Tests by name: in a folder `tests`, `tests.rs`, or `*_tests.rs`.
fn is_test(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    name.split('/').any(|part| part == "tests") || base == "tests.rs" || base.ends_with("_tests.rs")
}

fn may_be_unsafe(name: &str) -> bool {
    let single = |folder: &str| name == format!("{}.rs", folder.trim_end_matches('/'));
    // A counting allocator is the only way to test that nothing is allocated, and its trait is unsafe to implement.
    let counts_allocations = name.starts_with("crates/") && name.ends_with("/tests/no_alloc.rs");
    counts_allocations || UNSAFE_ALLOWED.iter().any(|folder| name.starts_with(folder) || single(folder))
}

fn has_module_doc(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!") || line.starts_with("/*!"))
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
    fn long_files_fail_unless_they_are_tests() {
        let long = format!("//! Doc.\n{}", "\n".repeat(MAX_LINES));
        assert!(complaints("crates/a/src/b.rs", &long)[0].contains("701 lines"));
        for name in ["crates/a/src/tests.rs", "crates/a/tests/it/b.rs", "crates/a/src/b_tests.rs", "docs/b.md"] {
            assert_eq!(complaints(name, &long), [""; 0]);
        }
        assert_eq!(complaints("crates/a/src/b.rs", long.trim_end()), [""; 0]);
    }

    #[test]
    fn a_module_doc_comes_first() {
        assert!(complaints("crates/a/src/b.rs", "use x;\n//! Late.")[0].contains("no module doc"));
        assert_eq!(complaints("crates/a/src/b.rs", "\n#![allow(x)]\n//! Doc.\n"), [""; 0]);
        assert!(complaints("crates/a/src/utils.rs", "//! Doc.")[0].contains("after its idea"));
    }

    #[test]
    fn unsafe_stands_in_its_places_only() {
        let text = "//! Doc with unsafe.\nfn f() { unsafe { g() } }";
        assert_eq!(complaints("crates/numerics/src/simd/avx.rs", text), [""; 0]);
        assert_eq!(complaints("crates/autodiff/src/exec.rs", text), [""; 0]);
        assert!(complaints("crates/numerics/src/rng.rs", text)[0].starts_with("crates/numerics/src/rng.rs:2:"));
        assert!(complaints("crates/sketch/tests/it/a.rs", text)[0].contains("unsafe"));
        assert_eq!(complaints("crates/optim/tests/no_alloc.rs", text), [""; 0]);
    }

    #[test]
    fn crate_roots_forbid_or_deny() {
        let forbids = "//! Doc.\n#![forbid(unsafe_code)]";
        assert_eq!(complaints("crates/sketch/src/lib.rs", forbids), [""; 0]);
        assert!(complaints("crates/sketch/src/lib.rs", "//! Doc.\n// #![forbid(unsafe_code)]")[0].contains("forbid"));
        assert!(complaints("crates/numerics/src/lib.rs", forbids)[0].contains("deny"));
    }
}
