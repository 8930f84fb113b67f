//! Benchmarks, comparisons with peers, reproductions of papers: one script or benchmark each, found by looking, listed when asked for wrongly.
//!
//! A comparison is `benches/peers/compare/AREA.py`, a reproduction `benches/peers/repro/ID.py` or the example
//! `crates/CRATE/examples/ID/main.rs`, or `benches/examples/ID/main.rs` if it times what the benchmarks time. A script is run with `--binary PATH`
//! (the release build of `osculate`) and `--out FILE.jsonl`, and appends one JSON object a line: `case`, `system`, `version`, `seconds`,
//! `error` (against the other system, checked before timing). `compare` then tabulates the lines as ratios. With `COMPARE_KEEP` in
//! the environment earlier lines stay, and scripts that can leave out what is there. Lines
//! that state `bytes` in the place of `seconds` make a table of their own.

use crate::paths::{read_text, root};
use crate::steps::{cargo, output, run};
use crate::{Outcome, venv};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set to anything, it keeps the lines of an earlier run.
const KEEP: &str = "COMPARE_KEEP";

/// The system that the others are measured against.
const OURS: &str = "osculate";

/// `cargo xtask bench [NAME]`.
pub(crate) fn bench(name: Option<&str>) -> Outcome {
    let mut command = cargo(&["bench", "--package", "benches"]);
    match name {
        None => command.arg("--benches"),
        Some(name) => {
            let folder = root().join("benches/benches");
            find(&folder, "rs", "benchmark", Some(name))?;
            command.args(["--bench", name])
        }
    };
    run(&mut command)
}

/// `cargo xtask compare AREA`.
pub(crate) fn compare(area: Option<&str>) -> Outcome {
    let root = root();
    let script = find(&root.join("benches/peers/compare"), "py", "area to compare", area)?;
    let lines = run_script(&root, &script)?;
    let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let table = tabulate(&read_text(&lines)?)?;
    let page = lines.with_extension("md");
    let text = format!("# {name}, side by side\n\n{}\n{table}", machine());
    fs::write(&page, text).map_err(|e| format!("cannot write {}: {e}", page.display()))?;
    println!("{table}\nwritten: {}", page.display());
    Ok(())
}

/// `cargo xtask repro ID [-- ARGUMENTS]`: the script of that name, or the example of that name of the crate that has it.
///
/// An example is given `--docs DIR` and puts its tables into the pages `DIR/papers`; what it keeps to go on with is in
/// `DIR/benchmarks`. A script begins anew.
pub(crate) fn repro(id: Option<&str>, arguments: &[String]) -> Outcome {
    let root = root();
    let examples = examples(&root);
    if let Some((package, name)) = examples.iter().find(|(_, name)| Some(name.as_str()) == id) {
        let mut command = cargo(&["run", "--release", "--package", package, "--example", name, "--"]);
        return run(command.arg("--docs").arg(root.join("docs")).args(arguments).current_dir(&root));
    }
    let folder = root.join("benches/peers/repro");
    let script = find(&folder, "py", "reproduction", id).map_err(|e| format!("{e}; and {}", named(&examples)))?;
    let lines = run_script(&root, &script)?;
    println!("written: {}", lines.display());
    Ok(())
}

/// Examples that make tables of a paper: folders `crates/CRATE/examples/ID` and `benches/examples/ID`; as (crate, name).
fn examples(root: &Path) -> Vec<(String, String)> {
    let entries =
        |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for package in entries(&root.join("crates")).into_iter().chain([root.join("benches")]) {
        let folders = entries(&package.join("examples")).into_iter().filter(|path| path.join("main.rs").exists());
        found.extend(folders.map(|path| (name(&package), name(&path))));
    }
    found.sort();
    found
}

fn named(examples: &[(String, String)]) -> String {
    let names: Vec<&str> = examples.iter().map(|e| e.1.as_str()).collect();
    format!("as examples {}", listed(&names))
}

/// Builds the binary, runs `script` in the peers' environment, and returns the file of JSON lines that it wrote.
fn run_script(root: &Path, script: &Path) -> Result<PathBuf, String> {
    run(&mut cargo(&["build", "--release", "--package", OURS]))?;
    let python = venv::python(root)?;
    let folder = root.join("docs/benchmarks");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let out = folder.join(script.file_name().unwrap_or_default()).with_extension("jsonl");
    // A script that goes on where it was finds what it has measured; otherwise it begins anew.
    if out.exists() && std::env::var_os(KEEP).is_none() {
        fs::remove_file(&out).map_err(|e| format!("cannot replace {}: {e}", out.display()))?;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join("release").join(format!("{OURS}{}", std::env::consts::EXE_SUFFIX));
    run(Command::new(python).arg(script).arg("--binary").arg(binary).arg("--out").arg(&out).current_dir(root))?;
    Ok(out)
}

/// The file `NAME.extension` in `folder`; otherwise an error that lists what there is.
fn find(folder: &Path, extension: &str, kind: &str, name: Option<&str>) -> Result<PathBuf, String> {
    let mut known: Vec<String> = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == extension) && !stem.starts_with('_') {
            known.push(stem);
        }
    }
    known.sort();
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    match name {
        Some(name) if names.contains(&name) => Ok(folder.join(format!("{name}.{extension}"))),
        Some(name) => Err(format!("no {kind} `{name}`; there are {}", listed(&names))),
        None => Err(format!("name one {kind}; there are {}", listed(&names))),
    }
}

/// `a, b`, or `none so far`.
pub(crate) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none so far".to_owned() } else { names.join(", ") }
}

/// Markdown tables of JSON lines: a row per case and system, with the time, or the memory, divided by ours.
fn tabulate(lines: &str) -> Result<String, String> {
    let (mut times, mut memory): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
    for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |what: &str| format!("line {} of the results: {what}", number + 1);
        let row: Value = serde_json::from_str(line).map_err(|e| at(&e.to_string()))?;
        let text =
            |key: &str| row[key].as_str().map(str::to_owned).ok_or_else(|| at(&format!("`{key}` is not a string")));
        let number = |key: &str| row[key].as_f64().ok_or_else(|| at(&format!("`{key}` is not a number")));
        let (key, list) = match row.get("seconds").is_none() && row.get("bytes").is_some() {
            true => ("bytes", &mut memory),
            false => ("seconds", &mut times),
        };
        let (case, system, version, measured) = (text("case")?, text("system")?, text("version")?, number(key)?);
        // Systems with rules of their own have nothing to be compared with.
        let error = if row["error"].is_null() && row.get("error").is_some() { None } else { Some(number("error")?) };
        list.push((case, system, version, measured, error));
    }
    if times.is_empty() && memory.is_empty() {
        return Err("the script wrote no results".to_owned());
    }
    let seconds = |s: f64| format!("{s:.4e}");
    let mebibytes = |b: f64| format!("{:.1}", b / f64::from(1 << 20));
    let tables =
        [("seconds", "time", &times, &seconds as &dyn Fn(f64) -> String), ("MiB", "memory", &memory, &mebibytes)];
    let tables =
        tables.iter().filter(|t| !t.2.is_empty()).map(|(unit, what, rows, show)| table(unit, what, rows, show));
    Ok(tables.collect::<Vec<_>>().join("\n"))
}

/// Case, system, version, what was measured, difference.
type Measured = (String, String, String, f64, Option<f64>);

fn table(unit: &str, what: &str, rows: &[Measured], show: &dyn Fn(f64) -> String) -> String {
    let ours: BTreeMap<&str, f64> = rows.iter().filter(|r| r.1 == OURS).map(|r| (r.0.as_str(), r.3)).collect();
    let mut table = format!("| case | system | {unit} | {what} / {OURS} | difference |\n|---|---|---|---|---|\n");
    for (case, system, version, measured, error) in rows {
        let ratio = ours.get(case.as_str()).map_or("-".to_owned(), |own| format!("{:.2}", measured / own));
        let error = error.map_or("-".to_owned(), |e| format!("{e:.1e}"));
        table += &format!("| {case} | {system} {version} | {} | {ratio} | {error} |\n", show(*measured));
    }
    table
}

/// One line about the machine and the compiler.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok();
    let model = model.as_deref().and_then(|t| t.lines().find(|l| l.starts_with("model name"))?.split(": ").nth(1));
    let rustc =
        output(Command::new("rustc").arg("--version")).unwrap_or_else(|_| "rustc of unknown version".to_owned());
    format!("{}, {cores} threads, {}\n", model.unwrap_or(std::env::consts::ARCH), rustc.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Scratch;

    #[test]
    fn only_scripts_that_exist_are_known() {
        let s = Scratch::new("find");
        let missing = find(&s.path().join("nowhere"), "py", "area", Some("x")).unwrap_err();
        assert_eq!(missing, "no area `x`; there are none so far");
        for name in ["gradient.py", "_shared.py", "notes.md", "attention.py"] {
            s.write(name, "");
        }
        assert_eq!(find(s.path(), "py", "area", Some("gradient")).unwrap(), s.path().join("gradient.py"));
        assert_eq!(find(s.path(), "py", "area", None).unwrap_err(), "name one area; there are attention, gradient");
        assert!(find(s.path(), "py", "area", Some("_shared")).is_err());
    }

    #[test]
    fn an_example_in_a_folder_is_a_reproduction() {
        let s = Scratch::new("examples");
        let files = ["crates/a/examples/tables/main.rs", "crates/a/examples/single.rs", "crates/b/src/lib.rs"];
        for name in files.into_iter().chain(["benches/examples/times/main.rs", "benches/benches/a.rs"]) {
            s.write(name, "");
        }
        let expected = [("a", "tables"), ("benches", "times")].map(|(p, n)| (p.to_owned(), n.to_owned()));
        assert_eq!(examples(s.path()), expected);
    }

    #[test]
    fn times_are_divided_by_ours_within_a_case() {
        let lines = r#"{"case":"a","system":"torch","version":"2","seconds":0.5,"error":1e-12}
{"case":"a","system":"osculate","version":"0.1","seconds":0.25,"error":0}
{"case":"b","system":"torch","version":"2","seconds":1,"error":0}"#;
        let table = tabulate(lines).unwrap();
        assert!(table.contains("| a | torch 2 | 5.0000e-1 | 2.00 | 1.0e-12 |"), "{table}");
        assert!(table.contains("| b | torch 2 | 1.0000e0 | - | 0.0e0 |"), "{table}");
        let both =
            format!("{lines}\n{}", r#"{"case":"m","system":"osculate","version":"0.1","bytes":1048576,"error":0}"#);
        let (first, second) = (tabulate(lines).unwrap(), tabulate(&both).unwrap());
        let rest = second.strip_prefix(&first).unwrap();
        assert!(rest.contains("memory / osculate") && rest.contains("| m | osculate 0.1 | 1.0 | 1.00 |"), "{rest}");
        let unlike = r#"{"case": "a", "system": "x", "version": "1", "seconds": 1.0, "error": null}"#;
        assert!(tabulate(unlike).unwrap().contains("| a | x 1 | 1.0000e0 | - | - |"));
        assert!(tabulate(&unlike.replace(", \"error\": null", "")).unwrap_err().contains("`error` is not a number"));
        assert!(tabulate("").is_err());
        assert!(tabulate("{\"case\": 1}").unwrap_err().contains("line 1 of the results: `case` is not a string"));
    }
}
