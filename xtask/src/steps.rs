//! Running other programs: named steps with their time, and a closing summary line.

use crate::Outcome;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs `command` with its output passed through; an error says how it ended.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    eprintln!("$ {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(e) => Err(format!("cannot start `{shown}`: {e}")),
    }
}

/// Whether `command` starts and succeeds, with its output dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// The standard output of `command`, or how it failed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = show(command);
    let out = command.output().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if !out.status.success() {
        return Err(format!("`{shown}` ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A cargo command in the workspace root, with the cargo that started us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(crate::paths::root());
    command
}

fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs gates in order and stops at the first that fails; always prints one closing line.
pub(crate) fn gates(title: &str, gates: &[(&str, &dyn Fn() -> Outcome)]) -> Outcome {
    let start = Instant::now();
    let mut passed = Vec::new();
    for (name, gate) in gates {
        let began = Instant::now();
        eprintln!("\n== {name}");
        if let Err(message) = gate() {
            println!("{}", closing(title, &passed, Some(name), gates.len(), start.elapsed().as_secs_f64()));
            return Err(format!("{name}: {message}"));
        }
        passed.push(format!("{name} {:.0} s", began.elapsed().as_secs_f64()));
    }
    println!("{}", closing(title, &passed, None, gates.len(), start.elapsed().as_secs_f64()));
    Ok(())
}

fn closing(title: &str, passed: &[String], failed: Option<&str>, of: usize, seconds: f64) -> String {
    let list = if passed.is_empty() { String::new() } else { format!(" ({})", passed.join(", ")) };
    match failed {
        None => format!("{title}: all {of} gates hold in {seconds:.0} s{list}"),
        Some(gate) => format!("{title}: FAILED at {gate}; {} of {of} gates held in {seconds:.0} s{list}", passed.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_names_the_gate_that_failed() {
        let passed = ["fmt 1 s".to_owned()];
        assert_eq!(closing("ci", &passed, None, 1, 1.2), "ci: all 1 gates hold in 1 s (fmt 1 s)");
        let line = closing("ci", &passed, Some("clippy"), 3, 9.0);
        assert_eq!(line, "ci: FAILED at clippy; 1 of 3 gates held in 9 s (fmt 1 s)");
    }

    #[test]
    fn gates_stop_at_the_first_failure() {
        let later = std::cell::Cell::new(false);
        let result = gates(
            "t",
            &[
                ("a", &|| Ok(())),
                ("b", &|| Err("no".into())),
                ("c", &|| {
                    later.set(true);
                    Ok(())
                }),
            ],
        );
        assert_eq!(result, Err("b: no".to_owned()));
        assert!(!later.get());
    }
}
