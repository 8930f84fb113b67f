//! The network of `docs/papers/sketchlord.md`: what low rank plus diagonal and its baselines leave of the Hessian of a small
//! network, all at equal products. `cargo xtask repro sketchlord-network` runs it, about six minutes on one thread.
//!
//! 784-50-10 with tanh (39 760 parameters), mean squared error on 2 x 50 synthetic samples, at the start and after some steps of
//! gradient descent; residual energies by 30 fresh probes, medians of three sets of probes. The exact diagonal is assembled layer by
//! layer and checked by products (`diagonal`), the leading eigenpairs by their residuals. The program fails if a check does, or if a method spends
//! more products than it was given.

#[path = "../../../sketch/examples/sketchlord/page.rs"]
mod page;

mod diagonal;

use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::{Array, Value};
use curvature::{Example, Reduction, Risk, Supervised};
use linop_core::Op;
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};
use sketch::{
    DiagonalSource, Lord, LordOptions, Passes, Settings, certify, diagonal_only, diagonal_then_low, low_only,
    low_then_diagonal, range_krylov, sketch_lord, sketch_lord_auto,
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
/// Products that a method has.
const PRODUCTS: [usize; 3] = [100, 200, 400];
/// Columns of a block and blocks after the first, for the leading eigenpairs. The energy that these miss is the square of what they leave,
/// so that this much of it is a unit of the last digit printed.
const KRYLOV: (usize, usize) = (128, 10);
const RESIDUAL: f64 = 3e-2;
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

/// What some methods are told and spend nothing on.
struct Exact {
    diagonal: Vec<f64>,
    /// The eigenvalues of largest magnitude, half as many as the most products, and their vectors.
    values: Vec<f64>,
    vectors: Mat<f64>,
}

type Fit = fn(&Op<f64>, usize, &Exact, &Settings<'_>) -> Result<Lord, sketch::Error>;

/// Joint fits in one pass.
fn one() -> LordOptions {
    LordOptions { passes: Passes::One, ..LordOptions::default() }
}

/// The methods with so many products each.
const METHODS: [(&str, Fit); 10] = [
    ("L", |a, m, _, s| low_only(a, m / 2, s)),
    ("D", |a, m, _, s| diagonal_only(a, DiagonalSource::XDiag(m), s)),
    ("L, then D", |a, m, _, s| low_then_diagonal(a, m / 4, DiagonalSource::XDiag(m / 2), s)),
    ("D, then L", |a, m, _, s| diagonal_then_low(a, m / 4, DiagonalSource::XDiag(m / 2), s)),
    ("joint", |a, m, _, s| sketch_lord(a, m, &one(), s)),
    ("guard", |a, m, _, s| Ok(sketch_lord_auto(a, m - HELD_OUT, HELD_OUT, &one(), s)?.lord)),
    ("L, then exact D", |a, m, e, s| low_then_diagonal(a, m / 2, DiagonalSource::Oracle(&e.diagonal), s)),
    ("exact D, then L", |a, m, e, s| diagonal_then_low(a, m / 2, DiagonalSource::Oracle(&e.diagonal), s)),
    ("exact D alone", |a, _, e, s| diagonal_only(a, DiagonalSource::Oracle(&e.diagonal), s)),
    ("best L", |_, m, e, _| best(e, m / 2)),
];

/// The best of all approximations of this rank.
fn best(exact: &Exact, rank: usize) -> Result<Lord, sketch::Error> {
    let core = Mat::from_fn(rank, rank, |i, j| if i == j { exact.values[i] } else { 0.0 });
    Lord::new(vec![0.0; exact.vectors.nrows()], exact.vectors.subcols(0, rank).to_owned(), core, None)
}

/// Eigenpairs from a block Krylov space of [`KRYLOV`] columns, with their residuals checked.
fn leading(a: &Op<f64>, count: usize) -> Result<(Vec<f64>, Mat<f64>), Box<dyn Error>> {
    let (columns, steps) = KRYLOV;
    let q = range_krylov(a, columns, steps, &Settings::default())?.q;
    let image = a.times_mat(q.as_ref(), Par::Seq)?;
    let mut core = q.transpose() * &image;
    dense::symmetrize(core.as_mut());
    let e = dense::eigh(core.as_ref())?;
    let mut order: Vec<usize> = (0..e.values.len()).collect();
    order.sort_by(|&i, &j| e.values[j].abs().total_cmp(&e.values[i].abs()));
    order.truncate(count);
    let values: Vec<f64> = order.iter().map(|&i| e.values[i]).collect();
    let chosen = Mat::from_fn(e.values.len(), count, |i, j| e.vectors[(i, order[j])]);
    let vectors = &q * &chosen;
    let residuals = &image * &chosen - Mat::from_fn(q.nrows(), count, |i, j| values[j] * vectors[(i, j)]);
    let apart = residuals.norm_l2() / values.iter().map(|v| v * v).sum::<f64>().sqrt();
    if apart.is_nan() || apart > RESIDUAL {
        return Err(format!("the leading eigenpairs leave a residual of {apart:.1e}").into());
    }
    eprintln!("eigenvalues {:.3e} to {:.3e}, residual {apart:.1e}", values[0], values[count - 1]);
    Ok((values, vectors))
}

fn table(start: &Risk<f64>) -> Result<String, Box<dyn Error>> {
    let mut out =
        format!("| point | products | {} |\n|{}", METHODS.map(|m| m.0).join(" | "), "---|".repeat(2 + METHODS.len()));
    for (point, risk) in [("start", start.with_params(start.params().to_vec())?), ("trained", trained(start)?)] {
        eprintln!("{point}: loss {:.3e}", risk.value_and_gradient()?.0);
        let a = Op::new(risk.hessian()?);
        let diagonal = diagonal::exact(&risk, &a, WIDTHS)?;
        let (values, vectors) = leading(&a, PRODUCTS[PRODUCTS.len() - 1] / 2)?;
        let exact = Exact { diagonal, values, vectors };
        for m in PRODUCTS {
            let _ = write!(out, "\n| {point} | {m} |");
            for (_, fit) in METHODS {
                let energies =
                    (0..SEEDS).map(|seed| energy(&a, m, fit, &exact, seed)).collect::<Result<_, Box<dyn Error>>>()?;
                let _ = write!(out, " {:.3} |", median(energies));
            }
            eprintln!("{}", out.lines().last().unwrap_or_default());
        }
    }
    Ok(out + "\n")
}

/// The residual energy of one fit.
fn energy(a: &Op<f64>, m: usize, fit: Fit, exact: &Exact, seed: u64) -> Result<f64, Box<dyn Error>> {
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
