//! Search without gradients: evaluations until the best value is below 1e-8, within 4000 per dimension.

use crate::jobs::{Failure, Job, Values};
use optim::problems::{Function, Problem};
use optim::search::{Search, SearchConfig, SearchMethod};
use optim::spectral::{EigenvalueRule, Rotation, SpectralRules};

fn methods() -> [(&'static str, SearchMethod); 5] {
    let spectral = |rotation, step_size| {
        let rules = SpectralRules { rotation, eigenvalues: EigenvalueRule::Exp, ..SpectralRules::default() };
        SearchMethod::Spectral { rules, step_size }
    };
    [
        ("gradient rule, cap 1/2", spectral(Rotation::Gradient { cap: Some(0.5) }, false)),
        ("pairwise rule", spectral(Rotation::PairwiseExact, false)),
        ("pairwise rule, own step size", spectral(Rotation::PairwiseExact, true)),
        ("xNES", SearchMethod::Xnes),
        ("CMA-ES", SearchMethod::Cma { restarts: false }),
    ]
}

fn run(problem: &Problem, method: SearchMethod, seed: u64) -> Result<Values, Failure> {
    let config = SearchConfig { method, seed, ..SearchConfig::default() };
    let mut search = Search::new(config, &problem.start())?;
    let mut arrived = None;
    while arrived.is_none() && search.report().evaluations < 4000 * problem.dim() as u64 {
        let report = search.generation(|x| problem.value(x))?;
        if report.best_value < 1e-8 {
            arrived = Some(report.evaluations as f64);
        }
    }
    Ok(vec![("evaluations".into(), arrived)])
}

pub(crate) fn jobs(fast: bool) -> Result<Vec<Job>, Failure> {
    let functions = [
        ("sphere", Function::Sphere, false),
        ("ellipsoid, rotated", Function::Ellipsoid, true),
        ("Rosenbrock", Function::Rosenbrock, false),
        ("cigar, rotated", Function::Cigar, true),
        ("Ackley", Function::Ackley, false),
    ];
    let mut jobs = Vec::new();
    for dim in if fast { vec![10] } else { vec![10, 20] } {
        for (name, function, rotated) in functions {
            for (method, kind) in methods() {
                for seed in 0..if fast { 1 } else { 5 } {
                    let work = move || {
                        let plain = Problem::new(function, dim)?;
                        run(&if rotated { plain.rotated(1)? } else { plain }, kind, seed)
                    };
                    jobs.push(Job::new("search", format!("{name}, D {dim} | {method}"), seed, work));
                }
            }
        }
    }
    Ok(jobs)
}
