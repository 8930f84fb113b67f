//! Descent over symmetric positive definite matrices: steps until the excess loss falls below 1e-10.

use crate::jobs::{Failure, Job, Values};
use numerics::Par;
use optim::problems::SpdProblem;
use optim::spectral::{EigenvalueRule, Rotation, SpdMethod, SpdOptimizer, SpectralRules};
use std::time::Instant;

const TARGET: f64 = 1e-10;
const MOST: usize = 3000;

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
                    let work = move || {
                        let problem = if name.starts_with("log") {
                            SpdProblem::log_det(n, condition, seed)?
                        } else {
                            SpdProblem::nearness(n, condition, 2500, seed)?
                        };
                        run(&problem, kind, step)
                    };
                    jobs.push(Job::new("matrices", format!("{name}, step {step} | {method}"), seed, work));
                }
            }
        }
    }
    Ok(jobs)
}
