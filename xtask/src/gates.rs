//! The gates that a change passes before it lands, cheapest first.

use crate::steps::{cargo, gates, run, succeeds};
use crate::{Outcome, golden, paths, tidy};
use std::process::Command;

/// Formatting, house rules, clippy.
pub(crate) fn check() -> Outcome {
    gates("check", &[("fmt", &fmt), ("tidy", &house_rules), ("clippy", &clippy)])
}

/// Tests of the named packages, or of all.
pub(crate) fn test(packages: &[String], slow: bool, filter: Option<&str>) -> Outcome {
    known_packages(packages)?;
    gates(
        "test",
        &[
            ("tests", &|| tests(packages, slow, filter)),
            ("doctests", &|| if filter.is_some() { Ok(()) } else { doctests(packages) }),
        ],
    )
}

/// Everything.
pub(crate) fn ci() -> Outcome {
    gates(
        "ci",
        &[
            ("fmt", &fmt),
            ("tidy", &house_rules),
            ("golden", &|| golden::check(&paths::root())),
            ("clippy", &clippy),
            ("tests", &|| tests(&[], false, None)),
            ("doctests", &|| doctests(&[])),
            ("docs", &|| docs(false)),
            ("benches", &benches_compile),
        ],
    )
}

/// The documentation, with warnings as errors.
pub(crate) fn docs(open: bool) -> Outcome {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--exclude", "xtask", "--exclude", "benches"]);
    if open {
        command.arg("--open");
    }
    let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    run(command.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim_start()))
}

fn fmt() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn house_rules() -> Outcome {
    tidy::run(&paths::root())
}

fn clippy() -> Outcome {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))
}

fn benches_compile() -> Outcome {
    // Of the whole workspace, so that what the tests compiled serves here too.
    run(&mut cargo(&["test", "--workspace", "--benches", "--no-run"]))
}

fn tests(packages: &[String], slow: bool, filter: Option<&str>) -> Outcome {
    let nextest = succeeds(&mut cargo(&["nextest", "--version"]));
    let mut command = if nextest { cargo(&["nextest", "run"]) } else { cargo(&["test", "--lib", "--bins", "--tests"]) };
    select(&mut command, packages);
    if nextest && !packages.is_empty() {
        command.arg("--no-tests=pass");
    }
    command.args(filter);
    if slow {
        command.env("RUN_SLOW", "1");
    }
    run(&mut command)
}

/// Documentation tests of those of `packages` that are libraries.
fn doctests(packages: &[String]) -> Outcome {
    let root = paths::root();
    let libraries: Vec<String> =
        packages.iter().filter(|p| root.join("crates").join(p).join("src/lib.rs").is_file()).cloned().collect();
    if libraries.is_empty() && !packages.is_empty() {
        return Ok(());
    }
    let mut command = cargo(&["test", "--doc"]);
    select(&mut command, &libraries);
    run(&mut command)
}

fn select(command: &mut Command, packages: &[String]) {
    if packages.is_empty() {
        command.arg("--workspace");
    }
    for package in packages {
        command.args(["--package", package]);
    }
}

fn known_packages(packages: &[String]) -> Outcome {
    let known = tidy::members(&paths::root())?;
    match packages.iter().find(|p| !known.contains(p)) {
        None => Ok(()),
        Some(stranger) => Err(format!("no crate `{stranger}` here; there are {}", known.join(", "))),
    }
}
