//! The slopes of arXiv:2505.13644 (table 1 and its neighbours) on one machine: time and memory that an operator takes for one point
//! more, or one sample more, by nested derivatives, standard Taylor mode and collapsed Taylor mode. `cargo xtask repro collapsed-taylor` runs
//! it, some minutes on one thread, and puts its tables into `docs/papers/collapsed-taylor.md`.
//!
//! The paper's network (D-768-768-512-512-1, tanh, double precision), its operators and its ranks; as many points and samples as fit a
//! small machine. Rounds alternate over the programs, the least time of each counts, a line goes through the least times. Every result is
//! compared with the nested one first; the program fails if they differ. Programs run as the library runs them, eight points at
//! a time; the memory is that of programs which take all points at once, as the paper's do.
//!
//! `[-- [--dtype f64|f32] [--threads N] [--rounds N] [--processor] [--only NAME]]`; `--processor` counts seconds that are spent on processors, for a
//! machine that others use too; with `--only` nothing is written.

mod measure;
#[path = "../../../crates/sketch/examples/sketchlord/page.rs"]
mod page;
mod pages;
mod paper;
mod rows;

use measure::{Figures, figures};
use numerics::Scalar;
use rows::{ROWS, Row};
use std::path::{Path, PathBuf};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the command line asks for.
struct Settings {
    /// The folder `docs`; without it nothing is written.
    docs: Option<PathBuf>,
    single: bool,
    threads: usize,
    rounds: usize,
    processor: bool,
    only: Option<String>,
}

fn settings() -> Result<Settings, Failure> {
    let mut s = Settings { docs: None, single: false, threads: 1, rounds: 10, processor: false, only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--docs" => s.docs = Some(value()?.into()),
            "--dtype" => {
                s.single = match value()?.as_str() {
                    "f64" => false,
                    "f32" => true,
                    other => return Err(format!("--dtype is f64 or f32, got {other}").into()),
                }
            }
            "--threads" => s.threads = value()?.parse::<usize>()?.max(1),
            "--rounds" => s.rounds = value()?.parse::<usize>()?.max(1),
            "--processor" => s.processor = true,
            "--only" => s.only = Some(value()?),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(s)
}

fn main() -> Result<(), Failure> {
    let s = settings()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(s.threads).build()?;
    pool.install(|| if s.single { run::<f32>(&s) } else { run::<f64>(&s) })
}

fn run<T: Scalar>(s: &Settings) -> Result<(), Failure> {
    let rows: Vec<&Row> = ROWS.iter().filter(|r| s.only.as_ref().is_none_or(|o| r.name.contains(o.as_str()))).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|r| r.name).collect();
        return Err(format!("no such operator; there are {}", names.join("; ")).into());
    }
    let found = rows.into_iter().map(|row| figures::<T>(row, s)).collect::<Result<Vec<_>, Failure>>()?;
    let dtype = T::DTYPE.name();
    let tables = [("slopes", pages::slopes(&found, s)), ("memory", pages::memory(&found))];
    for (name, table) in &tables {
        println!("{name}, {dtype}\n\n{table}");
    }
    match &s.docs {
        Some(docs) if s.only.is_none() => write(docs, dtype, &tables, &found),
        _ => Ok(()),
    }
}

/// The tables into their page, and what they are made of beside it.
fn write(docs: &Path, dtype: &str, tables: &[(&str, String)], found: &[Figures]) -> Result<(), Failure> {
    let page = docs.join("papers/collapsed-taylor.md");
    for (name, table) in tables {
        page::replace(&page.to_string_lossy(), &format!("{name} {dtype}"), table)?;
    }
    let lines: String = found.iter().flat_map(Figures::lines).map(|line| format!("{line}\n")).collect();
    let path = docs.join(format!("benchmarks/collapsed-taylor-{dtype}.jsonl"));
    std::fs::write(&path, lines)?;
    println!("written: {}, {}", page.display(), path.display());
    Ok(())
}
