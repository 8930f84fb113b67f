//! The command line: options common to all verbs, errors on one line, one JSON object with `--json`.
//!
//! Exit status: 0 on success, 1 on failure, 2 on bad usage. Each verb is a module that turns its arguments and a
//! [`Context`] into a [`Reply`]; printing happens here, once, so that with `--json` nothing else reaches stdout.

mod curvature;
mod density;
mod info;
mod interrupt;
mod lord;
mod optimize;
mod pde;
mod progress;
mod search;
mod sketch;
mod text;
mod timing;
mod tour;
mod train;
mod vectors;

pub use progress::Bar;
pub use timing::processor_seconds;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use numerics::{DType, Par};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Why a verb did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments do not make sense together.
    #[error("{0}")]
    Usage(String),
    /// A data file.
    #[error(transparent)]
    File(#[from] crate::io::Error),
    /// A model that does not load.
    #[error(transparent)]
    Model(#[from] autodiff::nn::ModelError),
    /// A program that cannot be differentiated, compiled or run.
    #[error(transparent)]
    Program(#[from] autodiff::Error),
    /// A training run.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// Someone asked to stop.
    #[error("interrupted {0}")]
    Interrupted(String),
    /// The threads could not be started.
    #[error("cannot start {threads} threads: {what}")]
    Threads {
        /// How many.
        threads: usize,
        /// The system's words.
        what: String,
    },
    /// A risk that cannot be set up or multiplied with.
    #[error(transparent)]
    Curvature(#[from] ::curvature::Error),
    /// A solver.
    #[error(transparent)]
    Operator(#[from] linop_core::Error),
    /// An estimate from products.
    #[error(transparent)]
    Sketch(#[from] ::sketch::Error),
    /// An optimiser.
    #[error(transparent)]
    Optimizer(#[from] optim::Error),
    /// A file of tensors.
    #[error(transparent)]
    Store(#[from] numerics::Error),
    /// The tour.
    #[error(transparent)]
    Tour(#[from] crate::tour::Error),
    /// Output could not be written.
    #[error("cannot write the result: {0}")]
    Output(std::io::Error),
}

impl Error {
    fn status(&self) -> u8 {
        if matches!(self, Error::Usage(_)) { 2 } else { 1 }
    }
}

#[derive(Parser)]
#[command(
    name = "osculate",
    version,
    about = "Curvature, higher derivatives and the methods that use them",
    disable_help_subcommand = true,
    after_help = "Examples:\n  osculate tour\n  osculate info model/\n  osculate info model/ --json | jq .parameters\n  \
        osculate train --config digits.toml"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args)]
struct Global {
    /// Precision of the computation [default: f64, unless the verb trains]
    #[arg(long, global = true, value_name = "f64|f32", hide_possible_values = true)]
    dtype: Option<Precision>,
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Seed of all randomness [default: 0]
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
    /// No progress and no text
    #[arg(long, global = true)]
    quiet: bool,
    /// Folder for files that the verb makes
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print exactly one JSON object on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F64,
    F32,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a small network on digits, look at its curvature, and write a report to read: start here
    Tour(tour::Tour),
    /// Layers, parameters with offsets, shapes and cost of a model
    Info(info::Info),
    /// Train a model as a file describes it
    Train(train::Train),
    /// Gradient, curvature products, eigenvalues, traces and diagonals of a model's risk
    Curvature(Box<curvature::Curvature>),
    /// Minimise a matrix loss or a function by its values: the stand-alone methods at work
    Optimize(Box<optimize::Optimize>),
    /// Differential operators of a model in its input: Laplacians, biharmonic, mixed partial derivatives
    Pde(Box<pde::PdeVerb>),
    /// Trace, diagonal, low rank, low rank plus diagonal, spectral density and log-determinant of a matrix from its products
    Sketch(Box<sketch::Sketch>),
}

/// What every verb may know.
#[derive(Clone, Debug)]
pub struct Context {
    /// Precision, if it was given.
    pub dtype: Option<DType>,
    /// Number of threads.
    pub threads: usize,
    /// Seed.
    pub seed: u64,
    /// Seed, if it was given.
    pub given_seed: Option<u64>,
    /// No progress and no text.
    pub quiet: bool,
    /// Folder for files, if it was given.
    pub out: Option<PathBuf>,
    /// JSON instead of text.
    pub json: bool,
    started: Instant,
}

impl Context {
    fn new(g: &Global) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Context {
            dtype: g.dtype.map(|p| match p {
                Precision::F64 => DType::F64,
                Precision::F32 => DType::F32,
            }),
            threads: g.threads.map_or_else(cores, NonZeroUsize::get),
            seed: g.seed.unwrap_or(0),
            given_seed: g.seed,
            quiet: g.quiet,
            out: g.out.clone(),
            json: g.json,
            started: Instant::now(),
        }
    }

    /// How work may be spread; the pool of this many threads is entered once, around the verb.
    pub fn par(&self) -> Par {
        if self.threads == 1 { Par::Seq } else { Par::rayon(self.threads) }
    }

    /// Runs `work` in a pool of the command's threads.
    fn on_threads<R: Send>(&self, work: impl FnOnce() -> Result<R, Error> + Send) -> Result<R, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).stack_size(STACK).build();
        match pool {
            Ok(pool) => pool.install(work),
            Err(e) => Err(Error::Threads { threads: self.threads, what: e.to_string() }),
        }
    }
}

/// Bytes of stack for each thread, as the main thread usually has.
const STACK: usize = 8 << 20;

/// What a verb found out: text for people, fields for programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    command: &'static str,
    dtype: DType,
    text: String,
    fields: Map<String, Value>,
}

impl Reply {
    /// A reply of `command`, computed in `dtype`.
    pub fn new(command: &'static str, dtype: DType, text: String) -> Self {
        Reply { command, dtype, text, fields: Map::new() }
    }

    /// Replaces the text.
    pub fn with_text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The JSON object: the common fields, then the verb's own.
    pub fn json(&self, context: &Context) -> Value {
        let mut all = Map::new();
        all.insert("command".into(), json!(self.command));
        all.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        all.insert("seed".into(), json!(context.seed));
        all.insert("threads".into(), json!(context.threads));
        all.insert("dtype".into(), json!(self.dtype.name()));
        all.insert("seconds".into(), json!(context.started.elapsed().as_secs_f64()));
        all.extend(self.fields.clone());
        Value::Object(all)
    }
}

/// Parses arguments, runs the verb, prints, and returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Cli::command().term_width(100);
    let cli = match command.try_get_matches_from(args).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => return finish(write_out(&e.to_string())),
        Err(e) => {
            complain(&usage_line(&e));
            return ExitCode::from(2);
        }
    };
    let context = Context::new(&cli.global);
    let reply = context.on_threads(|| match &cli.verb {
        Verb::Tour(verb) => verb.run(&context),
        Verb::Info(verb) => verb.run(&context),
        Verb::Train(verb) => verb.run(&context),
        Verb::Curvature(verb) => verb.run(&context),
        Verb::Optimize(verb) => verb.run(&context),
        Verb::Pde(verb) => verb.run(&context),
        Verb::Sketch(verb) => verb.run(&context),
    });
    finish(reply.and_then(|reply| {
        if context.json {
            write_out(&format!("{}\n", reply.json(&context)))
        } else if context.quiet {
            Ok(())
        } else {
            write_out(&reply.text)
        }
    }))
}

fn finish(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(&e.to_string());
            ExitCode::from(e.status())
        }
    }
}

/// Prints to stdout; a reader that has gone away is no failure.
fn write_out(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Output(e)),
        _ => Ok(()),
    }
}

/// Prints `error: …` on one line of stderr.
fn complain(message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // If stderr is closed too, the exit status is all that is left.
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

/// clap's several lines as one: the complaint, its tips, and where help is.
fn usage_line(e: &clap::Error) -> String {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if e.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command given; see osculate --help".into();
    }
    let text = e.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .filter(|l| !l.is_empty())
        .collect();
    let joined = lines.join(" ");
    format!("{}; see osculate --help", joined.strip_prefix("error: ").unwrap_or(&joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every verb says what it does, shows examples that call it, and explains each of its arguments.
    #[test]
    fn every_verb_has_help_with_examples() {
        let cli = Cli::command();
        assert_eq!(cli.get_subcommands().count(), 7);
        for verb in cli.get_subcommands() {
            let name = verb.get_name();
            assert!(verb.get_about().is_some_and(|a| a.to_string().len() > 20), "{name}: no description");
            let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (_, examples) = after.split_once("Examples:").unwrap_or_else(|| panic!("{name}: no examples"));
            assert!(examples.contains(&format!("osculate {name}")), "{name}: {examples}");
            for argument in verb.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
                let help = argument.get_help().or(argument.get_long_help()).map(ToString::to_string);
                assert!(help.is_some_and(|h| !h.is_empty()), "{name}: {} is not explained", argument.get_id());
            }
        }
    }

    proptest::proptest! {
        /// Whatever stands on the command line: an answer or one line that says what is wrong.
        #[test]
        fn arguments_of_any_kind(words in proptest::collection::vec(words(), 0..8)) {
            let read = Cli::command().try_get_matches_from(core::iter::once("osculate".to_owned()).chain(words));
            if let Err(e) = read.and_then(|m| Cli::from_arg_matches(&m))
                && e.use_stderr()
            {
                let line = usage_line(&e);
                proptest::prop_assert!(!line.is_empty() && line.ends_with("--help"), "{}", line);
            }
        }
    }

    fn words() -> impl proptest::strategy::Strategy<Value = String> {
        let known: Vec<&str> = "tour info train curvature pde --model --data --loss --operator --eigs --threads --seed --dtype \
            --memory --law --samples --multi-index --coefficient --config --resume --json --out= laplacian hessian mse f32 \
            -1 0 1e9 18446744073709551616 NaN 2,1,0 -- = -"
            .split_whitespace()
            .collect();
        proptest::prop_oneof![
            5 => proptest::strategy::Strategy::prop_map(proptest::sample::select(known), str::to_owned),
            1 => proptest::arbitrary::any::<String>(),
        ]
    }

    #[test]
    fn common_fields_come_first() {
        let cli = Cli::try_parse_from(["osculate", "info", "m", "--seed", "7", "--threads", "3", "--dtype", "f32"]);
        let context = Context::new(&cli.unwrap_or_else(|e| panic!("{e}")).global);
        assert_eq!((context.seed, context.threads, context.dtype), (7, 3, Some(DType::F32)));
        let v = Reply::new("info", DType::F64, String::new()).with("x", 1.5).json(&context);
        for key in ["command", "version", "seed", "threads", "dtype", "seconds", "x"] {
            assert!(v.get(key).is_some(), "{key}");
        }
        assert_eq!((&v["seed"], &v["dtype"], &v["x"]), (&json!(7), &json!("f64"), &json!(1.5)));
    }
}
