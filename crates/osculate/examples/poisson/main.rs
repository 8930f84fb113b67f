//! A Poisson problem by a small network (after an example of the code of arXiv:2505.13644): Adam against Hessian-free optimisation, the Laplacian by collapsed
//! Taylor mode. `cargo xtask repro poisson` runs it, about two minutes on one thread.
//!
//! `-laplacian f = 2 pi^2 sin(pi x) sin(pi y)` on the unit square, zero on its boundary; a network 2-64-1 with tanh, double precision; 900 points
//! inside and 120 on the boundary, drawn once; the error at 9000 others. Five seeds, of points and of parameters. Every run goes on until it has
//! taken both its steps and its seconds, so that one run fills both halves of the table; the half by steps is the same on every run of one machine.
//! Time is that of the processor in steps.
//!
//! `[-- [--seconds S] [--seeds N] [--adam-steps N] [--free-steps N]]`; with other than the usual numbers nothing is written.

mod gauss_newton;
mod hessian_free;
#[path = "../../../sketch/examples/sketchlord/page.rs"]
mod page;
mod pages;
mod problem;
#[path = "../../../optim/examples/report/mod.rs"]
#[allow(dead_code, reason = "only its quartiles are wanted")]
mod report;
mod runs;

use hessian_free::Failure;
use runs::Budget;
use std::path::PathBuf;

/// The first seed; the others follow it.
const SEED: u64 = 42;

struct Arguments {
    docs: Option<PathBuf>,
    seconds: f64,
    seeds: u64,
    steps: [usize; 2],
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments { docs: None, seconds: 10.0, seeds: 5, steps: [10_000, 200] }
    }
}

fn arguments() -> Result<Arguments, Failure> {
    let mut a = Arguments::default();
    let mut args = std::env::args().skip(1);
    let mut usual = true;
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--docs" => {
                a.docs = Some(value.into());
                continue;
            }
            "--seconds" => a.seconds = value.parse()?,
            "--seeds" => a.seeds = value.parse()?,
            "--adam-steps" => a.steps[0] = value.parse()?,
            "--free-steps" => a.steps[1] = value.parse()?,
            other => return Err(format!("unknown argument {other}").into()),
        }
        usual = false;
    }
    if !(a.seconds >= 0.0 && a.seconds < 1e6) {
        return Err(format!("--seconds is {}, expected a number of seconds", a.seconds).into());
    }
    a.docs = a.docs.filter(|_| usual);
    Ok(a)
}

fn main() -> Result<(), Failure> {
    let a = arguments()?;
    let budget = |steps: usize, every: usize| Budget { steps, seconds: a.seconds, every };
    let budgets = [budget(a.steps[0], 20), budget(a.steps[1], 1)];
    let mut all = [Vec::new(), Vec::new()];
    for seed in SEED..SEED + a.seeds {
        for ((runs, states), name) in all.iter_mut().zip(runs::both(seed, budgets)?).zip(runs::METHODS) {
            if let Some(last) = states.last() {
                eprintln!(
                    "seed {seed}: {name}: {} steps, {:.1} s, loss {:.2e}, RMSE {:.2e}",
                    last.step, last.seconds, last.loss, last.rmse
                );
            }
            runs.push(states);
        }
    }
    let table = pages::table(&all, budgets);
    println!("{table}");
    let Some(docs) = a.docs else { return Ok(()) };
    page::replace(&docs.join("papers/collapsed-taylor.md").to_string_lossy(), "poisson", &table)?;
    let error = pages::chart(&all, "Poisson problem: error", "RMSE at 9000 points", a.seconds, |s| s.rmse);
    let loss = pages::chart(&all, "Poisson problem: loss", "loss", a.seconds, |s| s.loss);
    for (name, svg) in [("error", error), ("loss", loss)] {
        let path = docs.join(format!("benchmarks/poisson-{name}.svg"));
        std::fs::write(&path, svg)?;
        println!("written: {}", path.display());
    }
    Ok(())
}
