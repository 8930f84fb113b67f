//! Golden files: arrays made by independent programs, each folder with the script that made it and a `MANIFEST.toml` of hashes.

use crate::manifest::{self, Manifest};
use crate::paths::{files_below, read_text, relative};
use crate::{Outcome, sha256, venv};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with a manifest.
pub(crate) struct Folder {
    /// `curvature`, or `curvature/kfac` for a folder inside `crates/curvature/tests/golden`.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Every golden folder, and the complaints about files that belong to none.
pub(crate) fn folders(root: &Path) -> Result<(Vec<Folder>, Vec<String>), String> {
    let (mut found, mut complaints) = (Vec::new(), Vec::new());
    for base in golden_bases(root)? {
        let files = files_below(&base)?;
        let krate = relative(&root.join("crates"), &base);
        let krate = krate.split('/').next().unwrap_or_default().to_owned();
        let mut owners = Vec::new();
        for manifest in files.iter().filter(|f| f.file_name().is_some_and(|n| n == "MANIFEST.toml")) {
            let path = manifest.parent().unwrap_or(&base).to_path_buf();
            let inside = relative(&base, &path);
            let name = if inside.is_empty() { krate.clone() } else { format!("{krate}/{inside}") };
            owners.push(path.clone());
            found.push(Folder { name, path });
        }
        let orphans = files.iter().filter(|f| !owners.iter().any(|o| f.starts_with(o)));
        complaints.extend(orphans.map(|f| format!("{}: a golden file without a MANIFEST.toml", relative(root, f))));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((found, complaints))
}

/// `crates/*/tests/golden`.
fn golden_bases(root: &Path) -> Result<Vec<PathBuf>, String> {
    let crates = root.join("crates");
    let mut bases = Vec::new();
    let entries = fs::read_dir(&crates).map_err(|e| format!("cannot list {}: {e}", crates.display()))?;
    for entry in entries.flatten() {
        let base = entry.path().join("tests/golden");
        if base.is_dir() {
            bases.push(base);
        }
    }
    bases.sort();
    Ok(bases)
}

/// Complaints about one folder: manifest unreadable, script missing, a hash that differs, a file unlisted or absent.
pub(crate) fn inspect(root: &Path, folder: &Folder, all: &[Folder]) -> Result<Vec<String>, String> {
    let shown = relative(root, &folder.path.join("MANIFEST.toml"));
    let manifest = match manifest::parse(&read_text(&folder.path.join("MANIFEST.toml"))?) {
        Ok(manifest) => manifest,
        Err(what) => return Ok(vec![format!("{shown}: {what}")]),
    };
    let mut complaints = Vec::new();
    if !folder.path.join(&manifest.script).is_file() {
        complaints.push(format!("{shown}: the script `{}` does not exist", manifest.script));
    }
    let present = data_files(folder, all)?;
    for name in present.iter().filter(|name| !manifest.files.contains_key(*name)) {
        complaints.push(format!("{shown}: `{name}` is not listed"));
    }
    for (name, expected) in &manifest.files {
        match fs::read(folder.path.join(name)) {
            Err(_) => complaints.push(format!("{shown}: `{name}` is listed but does not exist")),
            Ok(bytes) if sha256::hex(&bytes) != *expected => {
                complaints.push(format!("{shown}: `{name}` is not the file that was listed (its SHA-256 differs)"));
            }
            Ok(_) => {}
        }
    }
    Ok(complaints)
}

/// The files that a manifest must list: all but itself, scripts and prose, and what belongs to a manifest further down.
fn data_files(folder: &Folder, all: &[Folder]) -> Result<BTreeSet<String>, String> {
    let inner: Vec<_> = all.iter().filter(|f| f.path != folder.path && f.path.starts_with(&folder.path)).collect();
    let files = files_below(&folder.path)?.into_iter().filter(|f| !inner.iter().any(|i| f.starts_with(&i.path)));
    Ok(files.map(|f| relative(&folder.path, &f)).filter(|n| is_data(n)).collect())
}

fn is_data(name: &str) -> bool {
    !(name.ends_with(".py") || name.ends_with(".md") || name.ends_with("MANIFEST.toml"))
}

/// `cargo xtask golden --check`.
pub(crate) fn check(root: &Path) -> Outcome {
    let (folders, mut complaints) = folders(root)?;
    for folder in &folders {
        let found = inspect(root, folder, &folders)?;
        if found.is_empty() {
            eprintln!("golden: {} holds", folder.name);
        }
        complaints.extend(found);
    }
    if complaints.is_empty() {
        eprintln!("golden: {} folder(s) hold", folders.len());
        return Ok(());
    }
    Err(format!(
        "golden files:\n  {}\nmake them again with `cargo xtask golden --update NAME`",
        complaints.join("\n  ")
    ))
}

/// `cargo xtask golden --update NAME`: runs the script, then writes the new hashes into the manifest's `[files]`.
pub(crate) fn update(root: &Path, name: &str) -> Outcome {
    let (all, _) = folders(root)?;
    let Some(folder) = all.iter().find(|f| f.name == name) else {
        let names: Vec<_> = all.iter().map(|f| f.name.as_str()).collect();
        return Err(format!("no golden folder `{name}`; there are {}", crate::suites::listed(&names)));
    };
    let path = folder.path.join("MANIFEST.toml");
    let old = read_text(&path)?;
    let Manifest { script, .. } = manifest::parse(&old).map_err(|e| format!("{}: {e}", path.display()))?;
    let python = venv::python(root)?;
    crate::steps::run(Command::new(python).arg(&script).current_dir(&folder.path))?;
    let mut lines = String::new();
    for file in data_files(folder, &all)? {
        let bytes = fs::read(folder.path.join(&file)).map_err(|e| format!("cannot read {file}: {e}"))?;
        lines += &format!("\"{file}\" = \"{}\"\n", sha256::hex(&bytes));
    }
    let text = replace_files(&read_text(&path)?, &lines);
    fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// `text` with the lines of its last table, `[files]`, replaced.
fn replace_files(text: &str, lines: &str) -> String {
    let head = text.split("\n[files]").next().unwrap_or(text);
    format!("{}\n\n[files]\n{lines}", head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Scratch;

    fn manifest(files: &str) -> String {
        format!("script = \"make.py\"\nwhy = \"test\"\ntolerance = 1e-10\n\n[files]\n{files}")
    }

    #[test]
    fn a_folder_holds_until_a_byte_changes() {
        let s = Scratch::new("golden-byte");
        let listed = format!("\"x.npy\" = \"{}\"\n", sha256::hex(b"abc"));
        s.write("crates/a/tests/golden/MANIFEST.toml", &manifest(&listed));
        s.write("crates/a/tests/golden/make.py", "");
        s.write("crates/a/tests/golden/x.npy", "abc");
        assert_eq!(check(s.path()), Ok(()));
        s.write("crates/a/tests/golden/x.npy", "abd");
        assert!(check(s.path()).unwrap_err().contains("SHA-256 differs"));
    }

    #[test]
    fn every_file_needs_a_manifest_a_script_and_a_line() {
        let s = Scratch::new("golden-orphans");
        s.write("crates/a/tests/golden/x.npy", "abc");
        assert!(check(s.path()).unwrap_err().contains("a/tests/golden/x.npy: a golden file without a MANIFEST.toml"));
        s.write("crates/a/tests/golden/MANIFEST.toml", &manifest(&format!("\"y.npy\" = \"{}\"\n", "0".repeat(64))));
        let text = check(s.path()).unwrap_err();
        for part in ["`make.py` does not exist", "`x.npy` is not listed", "`y.npy` is listed but does not exist"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn inner_manifests_own_their_files() {
        let s = Scratch::new("golden-inner");
        let listed = format!("\"x.npy\" = \"{}\"\n", sha256::hex(b"abc"));
        for folder in ["crates/a/tests/golden", "crates/a/tests/golden/inner"] {
            s.write(&format!("{folder}/MANIFEST.toml"), &manifest(&listed));
            s.write(&format!("{folder}/make.py"), "");
            s.write(&format!("{folder}/x.npy"), "abc");
        }
        assert_eq!(check(s.path()), Ok(()));
        let names: Vec<_> = folders(s.path()).unwrap().0.into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "a/inner"]);
        assert!(update(s.path(), "b").unwrap_err().contains("there are a, a/inner"));
    }

    #[test]
    fn new_hashes_replace_the_old_table_only() {
        let text = replace_files(&manifest("\"old\" = \"1\"\n"), "\"new\" = \"2\"\n");
        assert_eq!(text, manifest("\"new\" = \"2\"\n"));
    }
}
