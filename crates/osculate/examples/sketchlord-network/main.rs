//! The network of `docs/papers/sketchlord.md`: what low rank plus diagonal and its baselines leave of the Hessian of a small
//! network, all at equal products. `cargo xtask repro sketchlord-network` runs it, about ten minutes on one thread.
//!
//! 784-50-10 with tanh (39 760 parameters), mean squared error on 2 x 50 synthetic samples, at the start and after some steps of
//! gradient descent; residual energies by 30 fresh probes, medians of three sets of probes. The program fails if a method spends
//! more products than it was given.

#[path = "../../../sketch/examples/sketchlord/page.rs"]
mod page;

use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::{Array, Value};
use curvature::{CurvatureOperator, Example, Reduction, Risk, Supervised};
use linop_core::LinearOperator;
use numerics::Par;
use numerics::rng::{Role, Stream};
use sketch::{
    DiagonalMethod, DiagonalSource, Lord, LordOptions, Passes, Settings, certify, diagonal_only, diagonal_then_low,
    estimate_diagonal, low_only, low_then_diagonal, sketch_lord, sketch_lord_auto,
};
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Widths of the network.
const WIDTHS: [usize; 3] = [784, 50, 10];
/// Batches, and samples of each.
const BATCHES: u64 = 2;
const SAMPLES: usize = 50;
/// Probes that judge, and those that choose among three.
const JUDGES: usize = 30;
const HELD_OUT: usize = 10;
/// Sets of probes; odd, for a median.
const SEEDS: u64 = 3;
/// Steps of gradient descent and their length.
const STEPS: usize = 300;
const RATE: f64 = 1.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let page = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--docs", docs] => Some(format!("{docs}/papers/sketchlord.md")),
        _ => return Err(format!("expected nothing or --docs DIR, got {arguments:?}").into()),
    };
    let table = table(&risk()?)?;
    println!("{table}");
    Ok(page.map_or(Ok(()), |page| page::replace(&page, "network", &table))?)
}

/// The risk at the start.
fn risk() -> Result<Risk<f64>, Box<dyn Error>> {
    let [inputs, hidden, outputs] = WIDTHS;
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let net = Sequential::new(&[inputs], vec![linear(inputs, hidden), Layer::Tanh {}, linear(hidden, outputs)])?;
    let normal = |batch: u64, array: u64, width: usize| {
        let mut x = vec![0.0; SAMPLES * width];
        Stream::new(0, Role::SyntheticMatrix, batch, array).fill_normal(&mut x);
        Array::new(&[SAMPLES, width], x).ok_or("a batch has the wrong size")
    };
    let batches = (0..BATCHES)
        .map(|i| Ok((Value::Real(normal(i, 0, inputs)?), Value::Real(normal(i, 1, outputs)?), None)))
        .collect::<Result<Vec<Example<f64>>, &str>>()?;
    let params = net.init(0);
    Ok(Supervised::new(net, Loss::mse(), Reduction::Mean).risk(params, batches)?)
}

/// Some steps down.
fn trained(risk: &Risk<f64>) -> Result<Risk<f64>, curvature::Error> {
    let mut at = risk.with_params(risk.params().to_vec())?;
    for _ in 0..STEPS {
        let (_, gradient) = at.value_and_gradient()?;
        let next = at.params().iter().zip(&gradient).map(|(x, g)| x - RATE * g).collect();
        at = at.with_params(next)?;
    }
    Ok(at)
}

type Fit = fn(&CurvatureOperator<f64>, usize, &[f64], &Settings<'_>) -> Result<Lord, sketch::Error>;

/// Joint fits in one pass.
fn one() -> LordOptions {
    LordOptions { passes: Passes::One, ..LordOptions::default() }
}

/// The methods with so many products each; those told the diagonal spend none on it.
const METHODS: [(&str, Fit); 8] = [
    ("L", |a, m, _, s| low_only(a, m / 2, s)),
    ("D", |a, m, _, s| diagonal_only(a, DiagonalSource::XDiag(m), s)),
    ("L, then D", |a, m, _, s| low_then_diagonal(a, m / 4, DiagonalSource::XDiag(m / 2), s)),
    ("D, then L", |a, m, _, s| diagonal_then_low(a, m / 4, DiagonalSource::XDiag(m / 2), s)),
    ("joint", |a, m, _, s| sketch_lord(a, m, &one(), s)),
    ("guard", |a, m, _, s| Ok(sketch_lord_auto(a, m - HELD_OUT, HELD_OUT, &one(), s)?.lord)),
    ("L, then exact D", |a, m, d, s| low_then_diagonal(a, m / 2, DiagonalSource::Oracle(d), s)),
    ("exact D, then L", |a, m, d, s| diagonal_then_low(a, m / 2, DiagonalSource::Oracle(d), s)),
];

fn table(start: &Risk<f64>) -> Result<String, Box<dyn Error>> {
    let names = METHODS.map(|m| m.0);
    let mut out = format!("| point | products | {} | exact D alone |\n|{}", names.join(" | "), "---|".repeat(11));
    for (point, risk) in [("start", start.with_params(start.params().to_vec())?), ("trained", trained(start)?)] {
        eprintln!("{point}: loss {:.3e}", risk.value_and_gradient()?.0);
        let a = risk.hessian()?;
        let n = a.nrows();
        let exact = estimate_diagonal(&a, DiagonalMethod::Hutchinson { ratio: false }, n, &Settings::seeded(0))?.value;
        for m in [100, 200, 400] {
            let _ = write!(out, "\n| {point} | {m} |");
            let mut fits: Vec<Fit> = METHODS.map(|m| m.1).to_vec();
            fits.push(|a, _, d, s| diagonal_only(a, DiagonalSource::Oracle(d), s));
            for fit in fits {
                let energies =
                    (0..SEEDS).map(|seed| energy(&a, m, fit, &exact, seed)).collect::<Result<_, Box<dyn Error>>>()?;
                let _ = write!(out, " {:.1e} |", median(energies));
            }
            eprintln!("{}", out.lines().last().unwrap_or_default());
        }
    }
    Ok(out + "\n")
}

/// The residual energy of one fit.
fn energy(a: &CurvatureOperator<f64>, m: usize, fit: Fit, exact: &[f64], seed: u64) -> Result<f64, Box<dyn Error>> {
    let settings = Settings { par: Par::Seq, ..Settings::seeded(seed) };
    let found = fit(a, m, exact, &settings)?;
    let spent = found.report.products + found.report.products_t;
    if spent > m {
        return Err(format!("{} spent {spent} products of {m}", found.report.method).into());
    }
    Ok(certify(a, &found, JUDGES, &settings)?.residual_energy())
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}
