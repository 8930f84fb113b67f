//! Every optimiser on two small language models, each with the same number of random settings: the tables of quality in `docs/optim.md`.
//!
//! `cargo xtask repro optim-quality [-- --fast] [-- --task NAME] [-- --method NAME]`. One thread, single precision. For each method:
//!
//! 1. *Search*: settings drawn as `osculate train --search` draws them, one run each at seed 0.
//! 2. *Equal steps*: the best of them at seeds 1 to 5, which had no part in choosing it.
//! 3. *Equal time*: the same settings and seeds with as many steps as fit into SOAP's time, the schedule stretched or shortened with them.
//!
//! Time is that of the thread in steps (not in evaluations), so that other work on the machine counts little; the ratio to SOAP's
//! is that of the least times per step over the seeds. A run is one line of the results file; a line that is there is not made again.

mod methods;
mod pages;
#[path = "../../../optim/examples/report/mod.rs"]
mod report;
mod results;
mod runs;
mod tasks;

use results::{Line, Results, Stage};
use std::path::PathBuf;
use tasks::Task;

type Failure = Box<dyn std::error::Error>;

/// Settings that every method may try.
const SETTINGS: u64 = 8;
const SEEDS: u64 = 5;
/// The method whose time is the measure.
const MEASURE: &str = "SOAP";

/// What the command line asks for.
#[derive(Default)]
struct Options {
    /// The folder `docs`; without it nothing is written beside the results.
    docs: Option<PathBuf>,
    fast: bool,
    task: Option<String>,
    method: Option<String>,
}

fn options() -> Result<Options, Failure> {
    let mut o = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fast" => o.fast = true,
            "--docs" => o.docs = Some(args.next().ok_or("--docs needs a folder")?.into()),
            "--task" => o.task = Some(args.next().ok_or("--task needs a name")?),
            "--method" => o.method = Some(args.next().ok_or("--method needs a name")?),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(o)
}

fn main() -> Result<(), Failure> {
    let o = options()?;
    let wanted = |name: &str, filter: &Option<String>| filter.as_ref().is_none_or(|f| f == name);
    let tasks: Vec<Task> = tasks::all(o.fast).into_iter().filter(|t| wanted(t.name, &o.task)).collect();
    if tasks.is_empty() {
        return Err("no such task: prose, markov".into());
    }
    let path = match &o.docs {
        _ if o.fast => std::env::temp_dir().join("optim-quality-fast.jsonl"),
        Some(docs) => docs.join("benchmarks/optim-quality.jsonl"),
        None => "optim-quality.jsonl".into(),
    };
    if o.fast && path.exists() {
        std::fs::remove_file(&path)?;
    }
    let mut results = Results::open(&path)?;
    let (settings, seeds) = if o.fast { (2, 1) } else { (SETTINGS, SEEDS) };
    // The measure comes first in the list of methods.
    for task in &tasks {
        for method in
            methods::ALL.iter().filter(|m| wanted(m.name, &o.method)).take(if o.fast { 2 } else { usize::MAX })
        {
            for setting in 0..settings {
                let config = task.config(method, task.steps, settings)?;
                runs::one(&config, task, &mut results, &Line::new(task, method, Stage::Search, setting, 0))?;
            }
            let Some(best) = results.best(task.name, method.name) else {
                eprintln!("{}: {}: every setting diverged", task.name, method.name);
                continue;
            };
            for seed in 1..=seeds {
                let config = task.config(method, task.steps, settings)?;
                runs::one(&config, task, &mut results, &Line::new(task, method, Stage::Steps, best, seed))?;
            }
            let times = (results.step_time(task.name, MEASURE), results.step_time(task.name, method.name));
            let (Some(measure), Some(own)) = times else { continue };
            let steps = ((task.steps as f64 * measure / own).round() as u64).max(1);
            for seed in 1..=seeds {
                let config = task.config(method, steps, settings)?;
                runs::one(&config, task, &mut results, &Line::new(task, method, Stage::Time, best, seed))?;
            }
        }
    }
    let found = pages::tables(&results, &tasks)?;
    for (name, text) in &found {
        println!("\n{name}\n\n{text}");
    }
    if let Some(docs) = o.docs.filter(|_| !o.fast) {
        pages::write(&found, &docs.join("optim.md"))?;
        pages::draw(&results, &tasks, &docs.join("benchmarks"))?;
    }
    println!("results: {}", path.display());
    Ok(())
}
