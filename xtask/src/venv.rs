//! The Python environment of the peers: `.venv` in the workspace root, built from `benches/peers/requirements.txt` when that file changes.

use crate::paths::read_text;
use crate::sha256;
use crate::steps::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of an environment that matches the requirements; builds it first if it is absent or stale.
pub(crate) fn python(root: &Path) -> Result<PathBuf, String> {
    let requirements = root.join("benches/peers/requirements.txt");
    let wanted = sha256::hex(read_text(&requirements)?.as_bytes());
    let folder = root.join(".venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let stamp = folder.join("requirements.sha256");
    if python.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built.trim() == wanted) {
        return Ok(python);
    }
    eprintln!("building the Python environment in .venv (torch is large: this can take minutes)");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))?;
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
    Ok(python)
}
