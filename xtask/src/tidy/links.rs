//! Links between Markdown pages lead to files that exist. Web addresses are not followed.

use super::File;
use std::path::Path;

pub(super) fn check(root: &Path, file: &File, complaints: &mut Vec<String>) {
    if !file.name.ends_with(".md") {
        return;
    }
    let page = root.join(&file.name);
    let folder = page.parent().unwrap_or(root);
    for (line, target) in targets(&file.text) {
        let path = target.split('#').next().unwrap_or_default();
        let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
        if !elsewhere && !folder.join(path).exists() {
            complaints.push(format!("{}:{line}: the link `{target}` leads nowhere", file.name));
        }
    }
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
        s.write("docs/a.md", "");
        let text = "[a](a.md#part)\n[web](https://example.org) [here](#x)\n`[code](no.md)`\n```\n[f](no.md)\n```\n[b](../b.md)";
        let mut complaints = Vec::new();
        check(s.path(), &File { name: "docs/c.md".to_owned(), text: text.to_owned() }, &mut complaints);
        assert_eq!(complaints, ["docs/c.md:7: the link `../b.md` leads nowhere"]);
    }
}
