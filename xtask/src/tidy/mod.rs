//! The house rules as one gate: everything that a reviewer would otherwise have to say twice.
//!
//! | module | rule |
//! |---|---|
//! | `edges` | crates depend downward only |
//! | `files` | file sizes, module docs, unhelpful names, where `unsafe` may stand |
//! | `words` | words that the code base does not use |
//! | `links` | links between pages lead somewhere |
//! | `source` | Rust text without comments and strings, for the rules above |

mod edges;
mod files;
mod links;
mod source;
mod words;

use crate::paths::{files_below, read_text, relative};
use crate::{Outcome, golden};
use std::path::Path;

pub(crate) use edges::members;

/// A text file of the workspace.
struct File {
    /// Relative to the root, with forward slashes.
    name: String,
    text: String,
}

/// Runs every rule and reports all complaints at once.
pub(crate) fn run(root: &Path) -> Outcome {
    let files = collect(root)?;
    let mut complaints = edges::check(root)?;
    for file in &files {
        files::check(file, &mut complaints);
        words::check(file, &mut complaints);
        links::check(root, file, &mut complaints);
    }
    let (folders, orphans) = golden::folders(root)?;
    complaints.extend(orphans);
    for folder in &folders {
        complaints.extend(golden::inspect(root, folder, &folders)?);
    }
    complaints.sort();
    if complaints.is_empty() {
        eprintln!("tidy: {} files, {} golden folder(s), every rule holds", files.len(), folders.len());
        return Ok(());
    }
    Err(format!("{} breach(es) of the house rules:\n  {}", complaints.len(), complaints.join("\n  ")))
}

/// Rust, Python and Markdown files.
fn collect(root: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for top in ["crates", "xtask", "benches", "docs", "README.md"] {
        let top = root.join(top);
        let paths = if top.is_file() { vec![top] } else { files_below(&top)? };
        for path in paths {
            if path.extension().is_some_and(|e| e == "rs" || e == "py" || e == "md") {
                files.push(File { name: relative(root, &path), text: read_text(&path)? });
            }
        }
    }
    Ok(files)
}
