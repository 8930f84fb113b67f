//! The workspace's own chores: gates, tests, benchmarks, comparisons with peers, golden files, documentation.
//!
//! Run as `cargo xtask VERB`. Plain code over `std::process`: it compiles in seconds and never links the libraries it looks after.
#![forbid(unsafe_code)]

mod gates;
mod golden;
mod manifest;
mod paths;
mod sha256;
mod steps;
mod suites;
mod tidy;
mod venv;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What went wrong, as one message for a person.
type Outcome = Result<(), String>;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The chores of the workspace",
    version,
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Formatting, clippy with warnings as errors, and the house rules: before every commit
    Check {
        /// Only the house rules (two seconds)
        #[arg(long)]
        tidy: bool,
    },
    /// Unit, integration and documentation tests
    Test {
        /// Only this crate (repeatable)
        #[arg(short, long = "package", value_name = "CRATE")]
        package: Vec<String>,
        /// Also the tests that take minutes (sets RUN_SLOW=1)
        #[arg(long)]
        slow: bool,
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Every gate, cheapest first, with one closing line: what a change must pass to land
    Ci,
    /// Run the criterion benchmarks
    Bench {
        /// One benchmark; all of them if left out
        name: Option<String>,
    },
    /// Measure an area side by side with its peers and write docs/benchmarks/AREA.{jsonl,md}
    Compare {
        /// The area; without it the known ones are listed
        area: Option<String>,
    },
    /// Reproduce a table or figure of a paper
    Repro {
        /// Which one; without it the known ones are listed
        id: Option<String>,
        /// What an example is given besides its output file, after `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Reference arrays made by independent programs: verify them or make them again
    Golden {
        /// Compare every file with the hash in its MANIFEST.toml (the default)
        #[arg(long)]
        check: bool,
        /// Run the script of this golden folder in the Python environment of benches/peers/requirements.txt
        #[arg(long, value_name = "NAME", conflicts_with = "check")]
        update: Option<String>,
    },
    /// Build the documentation with warnings as errors
    Docs {
        /// Show it in a browser
        #[arg(long)]
        open: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Check { tidy: true } => tidy::run(&paths::root()),
        Verb::Check { tidy: false } => gates::check(),
        Verb::Test { package, slow, filter } => gates::test(&package, slow, filter.as_deref()),
        Verb::Ci => gates::ci(),
        Verb::Bench { name } => suites::bench(name.as_deref()),
        Verb::Compare { area } => suites::compare(area.as_deref()),
        Verb::Repro { id, arguments } => suites::repro(id.as_deref(), &arguments),
        Verb::Golden { check: _, update: None } => golden::check(&paths::root()),
        Verb::Golden { check: _, update: Some(name) } => golden::update(&paths::root(), &name),
        Verb::Docs { open } => gates::docs(open),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_argument_has_help() {
        let cli = Cli::command();
        let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, ["check", "test", "ci", "bench", "compare", "repro", "golden", "docs"]);
        for verb in cli.get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", verb.get_name(), argument.get_id());
            }
        }
    }
}
