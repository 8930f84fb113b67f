//! The tables of `docs/papers/kl-shampoo.md` and `docs/papers/spectral.md`: offline fits on long-tailed gradients, a stochastic quadratic,
//! descent over definite matrices, search without gradients, a small language model.
//!
//! `cargo xtask repro optim-tables [-- --fast] [-- --only NAME] [-- --threads N]`. Every job is one line of the results file as soon as it is done, and a job
//! whose line is there already is not done again: an interrupted run goes on where it was. `--fast` runs a small part of each table in
//! about a minute, begins anew each time and writes no page.

mod fits;
mod jobs;
mod markov;
mod matrices;
mod pages;
mod quadratic;
#[path = "../report/mod.rs"]
mod report;
mod search;
mod settings;

use jobs::{Failure, Results};
use std::path::PathBuf;

/// What the command line asks for.
struct Options {
    /// The folder `docs`; without it nothing is written beside the results.
    docs: Option<PathBuf>,
    fast: bool,
    only: Option<String>,
    threads: Option<usize>,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options { docs: None, fast: false, only: None, threads: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fast" => options.fast = true,
            "--docs" => options.docs = Some(args.next().ok_or("--docs needs a folder")?.into()),
            "--only" => options.only = Some(args.next().ok_or("--only needs a name")?),
            "--threads" => options.threads = Some(args.next().ok_or("--threads needs a number")?.parse()?),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Failure> {
    let o = options()?;
    let mut all = Vec::new();
    for make in [fits::jobs, matrices::jobs, search::jobs, quadratic::jobs, settings::jobs] {
        all.extend(make(o.fast)?);
    }
    all.retain(|job| o.only.as_ref().is_none_or(|name| job.table == *name));
    if all.is_empty() {
        return Err("no such table: fits, matrices, search, matrices-sampled, quadratic, markov, markov-ablation, markov-sources".into());
    }
    let path = match &o.docs {
        _ if o.fast => std::env::temp_dir().join("optim-tables-fast.jsonl"),
        Some(docs) => docs.join("benchmarks/optim-tables.jsonl"),
        None => "optim-tables.jsonl".into(),
    };
    if o.fast && path.exists() {
        std::fs::remove_file(&path)?;
    }
    let results = Results::open(&path)?;
    jobs::run(all, &results, o.threads)?;
    let tables = pages::tables(&results.read()?, !o.fast);
    for (name, text) in &tables {
        println!("\n{name}\n\n{text}");
    }
    if let Some(docs) = o.docs.filter(|_| !o.fast) {
        pages::write(&tables, &docs.join("papers"))?;
    }
    println!("results: {}", path.display());
    Ok(())
}
