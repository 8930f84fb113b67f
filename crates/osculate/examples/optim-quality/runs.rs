//! One run: its validation losses, and the thread's time in its steps.

use crate::Failure;
use crate::results::{Line, Results};
use crate::tasks::Task;
use numerics::Par;
use osculate::train::{Error, RunConfig, Trainer};
use std::time::Instant;

/// Seconds that this thread has run, where the system says so.
fn run_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// Takes steps until `until`; returns the thread's seconds.
fn advance(trainer: &mut Trainer<f32>, until: u64) -> Result<f64, Error> {
    let (begun, before) = (Instant::now(), run_time());
    while trainer.done() < until {
        trainer.step()?;
    }
    Ok(match (before, run_time()) {
        (Some(before), Some(after)) if after > before => after - before,
        _ => begun.elapsed().as_secs_f64(),
    })
}

/// Points `[step, seconds, loss]`; `None` for a divergence.
fn curve(trainer: &mut Trainer<f32>, every: u64) -> Result<Option<Vec<[f64; 3]>>, Error> {
    let (mut points, mut seconds) = (Vec::new(), 0.0);
    // The first step compiles the program; it counts as much as the others.
    match advance(trainer, 1) {
        Ok(_) => {}
        Err(Error::Diverged { .. }) => return Ok(None),
        Err(e) => return Err(e),
    }
    while !trainer.finished() {
        let until = (trainer.done() / every + 1) * every;
        seconds += match advance(trainer, until.min(trainer.steps())) {
            Ok(seconds) => seconds,
            Err(Error::Diverged { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let done = trainer.done() as f64;
        let loss = trainer.validate()?.map_or(f64::NAN, |s| s.loss);
        if !loss.is_finite() {
            return Ok(None);
        }
        points.push([done, seconds * done / (done - 1.0).max(1.0), loss]);
    }
    Ok(Some(points))
}

/// Makes a line, unless it is there.
pub(crate) fn one(config: &RunConfig, task: &Task, results: &mut Results, line: &Line) -> Result<(), Failure> {
    if results.has(line) {
        return Ok(());
    }
    let search = config.search.as_ref().ok_or("a task without a search")?;
    let values = search.draw(0, line.setting);
    let mut trainer = config.with_values(&values)?.trainer::<f32>(line.seed, Par::Seq)?;
    let steps = trainer.steps();
    let curve = curve(&mut trainer, task.every(steps))?;
    let done = Line {
        steps,
        curve,
        values: values.into_iter().map(|(k, v)| (k, v.as_float().unwrap_or(f64::NAN))).collect(),
        ..line.clone()
    };
    let loss = done.loss().map_or("diverged".into(), |l| format!("{:.4}", task.score(l)));
    eprintln!("{}: {:?} {}, seed {}: {loss}", line.method, line.stage, line.setting, line.seed);
    results.add(done)
}
