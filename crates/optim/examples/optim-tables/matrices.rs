//! Descent over symmetric positive definite matrices: steps until the excess loss falls below 1e-10, and with mini-batches of 100 the
//! excess loss after some numbers of steps.

use crate::jobs::{Failure, Job, Values};
use numerics::Par;
use numerics::rng::{Role, Stream};
use optim::problems::SpdProblem;
use optim::spectral::{EigenvalueRule, Rotation, SpdMethod, SpdOptimizer, SpectralRules};
use std::time::Instant;

const TARGET: f64 = 1e-10;
const MOST: usize = 3000;
const BATCH: usize = 100;
/// Steps after which the excess loss is looked at, with mini-batches.
const MARKS: [usize; 6] = [10, 30, 100, 300, 1000, 3000];

fn methods() -> [(&'static str, SpdMethod); 5] {
    let spectral = |rotation| {
        SpdMethod::Spectral(SpectralRules { rotation, eigenvalues: EigenvalueRule::Exp, ..SpectralRules::default() })
    };
    [
        ("gradient rule", spectral(Rotation::Gradient { cap: None })),
        ("gradient rule, cap 1/2", spectral(Rotation::Gradient { cap: Some(0.5) })),
        ("pairwise rule", spectral(Rotation::PairwiseExact)),
        ("exact affine-invariant", SpdMethod::AffineInvariant),
        ("first order", SpdMethod::FirstOrder),
    ]
}

fn run(problem: &SpdProblem, method: SpdMethod, step: f64) -> Result<Values, Failure> {
    let mut opt = SpdOptimizer::new(problem.order(), method)?;
    let (mut arrived, mut seconds, mut count) = (None, 0.0, 0_u32);
    for k in 0..=MOST {
        // A matrix that has left the cone ends the run.
        let Ok((excess, gradient)) = problem.excess_and_gradient(opt.value().as_ref()) else { break };
        if excess < TARGET {
            arrived = Some(k as f64);
            break;
        }
        let start = Instant::now();
        if opt.step(gradient.as_ref(), step).is_err() {
            break;
        }
        seconds += start.elapsed().as_secs_f64();
        count += 1;
    }
    let mut values =
        vec![("steps".into(), arrived), ("ms per step".into(), Some(1e3 * seconds / f64::from(count.max(1))))];
    if let Some(s) = opt.spectral() {
        values.push(("defect".into(), Some(s.orthogonality_defect(Par::Seq))));
    }
    Ok(values)
}

/// The excess loss of the whole problem along a run on mini-batches; nothing after the matrix has left the cone.
fn sampled(problem: &SpdProblem, method: SpdMethod, step: f64, seed: u64, marks: &[usize]) -> Result<Values, Failure> {
    let mut opt = SpdOptimizer::new(problem.order(), method)?;
    let mut values = Values::new();
    let (mut done, mut inside) = (0, true);
    for &mark in marks {
        while inside && done < mark {
            let mut stream = Stream::new(seed, Role::TestProbe, done as u64, 1);
            let gradient = problem.sampled_gradient(opt.value().as_ref(), BATCH, &mut stream);
            inside = gradient.is_ok_and(|g| opt.step(g.as_ref(), step).is_ok());
            done += 1;
        }
        let excess = problem.excess_and_gradient(opt.value().as_ref()).ok().filter(|_| inside);
        values.push((format!("step {mark:4}"), excess.map(|e| e.0)));
    }
    Ok(values)
}

fn problem(name: &str, n: usize, condition: f64, seed: u64) -> Result<SpdProblem, Failure> {
    Ok(match name.starts_with("log") {
        true => SpdProblem::log_det(n, condition, seed)?,
        false => SpdProblem::nearness(n, condition, 2500, seed)?,
    })
}

pub(crate) fn jobs(fast: bool) -> Result<Vec<Job>, Failure> {
    let rows = [
        ("log-det, n 20, condition 1e2", 20, 1e2, &[0.1, 0.25][..]),
        ("log-det, n 60, condition 1e4", 60, 1e4, &[0.1, 0.25]),
        ("nearness, n 20, condition 1e2", 20, 1e2, &[0.01]),
    ];
    let mut jobs = Vec::new();
    for (row, (name, n, condition, steps)) in rows.into_iter().enumerate() {
        if fast && row == 1 {
            continue;
        }
        for seed in 0..if fast { 1 } else { 5 } {
            for &step in steps {
                for (method, kind) in methods() {
                    let work = move || run(&problem(name, n, condition, seed)?, kind, step);
                    jobs.push(Job::new("matrices", format!("{name}, step {step} | {method}"), seed, work));
                    if step == 0.25 {
                        continue;
                    }
                    // Log-det is at its noise after a few dozen steps.
                    let marks = if fast { &MARKS[..2] } else { &MARKS[..if name.starts_with("log") { 4 } else { 6 }] };
                    let work = move || sampled(&problem(name, n, condition, seed)?, kind, step, seed, marks);
                    jobs.push(Job::new("matrices-sampled", format!("{name}, step {step} | {method}"), seed, work));
                }
            }
        }
    }
    Ok(jobs)
}
