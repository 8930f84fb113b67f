//! Gradient-free search: medians of evaluations, resuming, what goes wrong.
use optim::problems::{Function, Problem};
use optim::search::{Search, SearchConfig, SearchMethod};
use optim::spectral::{EigenvalueRule, SpectralRules};

const DIM: usize = 10;

fn exp_rule() -> SearchMethod {
    let rules = SpectralRules { eigenvalues: EigenvalueRule::Exp, ..SpectralRules::default() };
    SearchMethod::Spectral { rules, step_size: false }
}

/// Evaluations until the best value is below 1e-8, within 4000 per dimension.
fn evaluations(problem: &Problem, method: SearchMethod, seed: u64) -> Option<u64> {
    let config = SearchConfig { method, seed, ..SearchConfig::default() };
    let mut search = Search::new(config, &problem.start()).unwrap();
    while search.report().evaluations < 4000 * problem.dim() as u64 {
        let report = search.generation(|x| problem.value(x)).unwrap();
        if report.best_value < 1e-8 {
            return Some(report.evaluations);
        }
    }
    None
}

/// Median over five seeds, of those that arrive, and how many do.
fn median(problem: &Problem, method: SearchMethod) -> (f64, usize) {
    let mut found: Vec<u64> = (0..5).filter_map(|seed| evaluations(problem, method, seed)).collect();
    found.sort_unstable();
    let n = found.len();
    assert!(n >= 3, "{problem:?} {method:?}: {n} of 5 arrive");
    ((found[(n - 1) / 2] + found[n / 2]) as f64 / 2.0, n)
}

fn problem(function: Function, rotated: bool) -> Problem {
    let p = Problem::new(function, DIM).unwrap();
    if rotated { p.rotated(1).unwrap() } else { p }
}

#[track_caller]
fn table(function: Function, rotated: bool, spectral: f64, xnes: f64, cma: f64) {
    let p = problem(function, rotated);
    let methods = [(exp_rule(), spectral), (SearchMethod::Xnes, xnes), (SearchMethod::Cma { restarts: false }, cma)];
    for (method, expected) in methods {
        let (found, _) = median(&p, method);
        assert!((found / expected - 1.0).abs() < 0.15, "{method:?}: {found}, expected {expected}");
    }
}

#[test]
fn sphere() {
    table(Function::Sphere, false, 5760.0, 6150.0, 1520.0);
}

#[test]
fn ellipsoid() {
    table(Function::Ellipsoid, true, 9160.0, 8970.0, 6000.0);
}

#[test]
fn rosenbrock() {
    table(Function::Rosenbrock, false, 10810.0, 10310.0, 5955.0);
}

#[test]
fn cigar() {
    table(Function::Cigar, true, 10000.0, 10220.0, 4360.0);
}

#[test]
fn ackley() {
    table(Function::Ackley, false, 11450.0, 12250.0, 2830.0);
}

/// Its own step size shortens the isotropic phases.
#[test]
fn step_size_adaptation_helps_the_spectral_rule() {
    let method = SearchMethod::Spectral { rules: SpectralRules::default(), step_size: true };
    for function in [Function::Sphere, Function::Ackley] {
        let p = problem(function, false);
        let (with, _) = median(&p, method);
        let (without, _) = median(&p, exp_rule());
        assert!(with < 0.6 * without, "{function:?}: {with} {without}");
    }
}

fn all_methods() -> Vec<SearchMethod> {
    vec![
        exp_rule(),
        SearchMethod::Spectral { rules: SpectralRules::default(), step_size: true },
        SearchMethod::Xnes,
        SearchMethod::Cma { restarts: true },
    ]
}

#[test]
fn resumes_with_the_same_bits() {
    let p = problem(Function::Rosenbrock, true);
    for method in all_methods() {
        let config = SearchConfig { method, seed: 3, ..SearchConfig::default() };
        for k in [0, 1, 7] {
            let mut whole = Search::new(config.clone(), &p.start()).unwrap();
            for _ in 0..k {
                whole.generation(|x| p.value(x)).unwrap();
            }
            let bytes = whole.state().unwrap().to_bytes().unwrap();
            let mut second = Search::new(config.clone(), &p.start()).unwrap();
            second.load_state(&numerics::store::State::parse(&bytes).unwrap()).unwrap();
            for _ in 0..5 {
                whole.generation(|x| p.value(x)).unwrap();
                second.generation(|x| p.value(x)).unwrap();
            }
            assert_eq!(whole.state().unwrap(), second.state().unwrap(), "{method:?} {k}");
        }
        let state = Search::new(config, &p.start()).unwrap().state().unwrap();
        let mut other = Search::new(SearchConfig { seed: 4, method, ..SearchConfig::default() }, &p.start()).unwrap();
        assert!(other.load_state(&state).is_err());
    }
}

/// A run that has nowhere to go starts again with twice the samples.
#[test]
fn restarts_double_the_population() {
    let config = SearchConfig { method: SearchMethod::Cma { restarts: true }, ..SearchConfig::default() };
    let mut search = Search::new(config, &[1.0; 4]).unwrap();
    let mut last = 0;
    while search.report().restarts < 2 {
        let report = search.generation(|_| 1.0).unwrap();
        last = report.evaluations;
        assert!(last < 4000);
    }
    let before = last;
    search.generation(|_| 1.0).unwrap();
    assert_eq!(search.report().evaluations - before, 4 * (4 + (3.0 * 4.0_f64.ln()).floor() as u64));
}

#[test]
fn values_that_are_no_numbers_and_settings_that_are_none() {
    for method in all_methods() {
        let config = SearchConfig { method, ..SearchConfig::default() };
        let mut search = Search::new(config.clone(), &[1.0; 3]).unwrap();
        for t in 0..30 {
            let report = search.generation(|x| if x[0] > 0.0 { f64::NAN } else { x[0] * x[0] + t as f64 }).unwrap();
            assert!(report.best.iter().all(|x| x.is_finite()));
        }
        assert!(search.mean().iter().all(|x| x.is_finite()));
        assert!(Search::new(config.clone(), &[]).is_err());
        assert!(Search::new(config.clone(), &[f64::NAN]).is_err());
        assert!(Search::new(SearchConfig { sigma: 0.0, ..config.clone() }, &[1.0]).is_err());
        assert!(Search::new(SearchConfig { population: Some(2), ..config }, &[1.0]).is_err());
    }
}
