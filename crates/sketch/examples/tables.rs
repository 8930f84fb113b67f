//! The reproduction tables of `docs/sketch.md`: residual energies of low rank plus diagonal against its baselines, and errors
//! of trace estimators, all at equal products. `cargo run --release -p sketch --example tables [lord|trace|speed]`.

use linop_core::ops::Dense;
use linop_core::{Props, to_dense};
use numerics::progress::Silent;
use numerics::rng::Law;
use numerics::{Mat, Par, dense};
use sketch::synthmat::{Family, Symmetry, Tail, implicit_lord, lord, matrix};
use sketch::*;
use std::time::Instant;

type Outcome = Result<(), Error>;

fn main() -> Outcome {
    match std::env::args().nth(1).as_deref() {
        Some("lord") => lord_table(),
        Some("trace") => trace_table(),
        Some("speed") => speed(),
        _ => {
            lord_table()?;
            trace_table()?;
            speed()
        }
    }
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn energy(found: &Lord, a: &Mat<f64>) -> Result<f64, Error> {
    let m: Mat<f64> = to_dense(found, Par::Seq)?;
    let rest = Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - m[(i, j)]);
    Ok((dense::norm_l2(rest.as_ref()) / dense::norm_l2(a.as_ref())).powi(2))
}

/// N = 400, R = 10, p = 40, symmetric, sign probes, 5 seeds; oracle diagonals for the baselines.
fn lord_table() -> Outcome {
    let (n, p) = (400, 40);
    println!(
        "| ratio | family | L | D | L, then D | D, then L | joint, one pass | joint, two passes | guard, one pass | iterations |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let rows = |ratio: f64| {
        let tails = [
            ("exact rank 10", Tail::None),
            ("exp .5", Tail::Exp(0.5)),
            ("exp .1", Tail::Exp(0.1)),
            ("exp .01", Tail::Exp(0.01)),
            ("poly 2", Tail::Poly(2.0)),
            ("poly 1", Tail::Poly(1.0)),
            ("poly .5", Tail::Poly(0.5)),
            ("noise 1e-4", Tail::Noise(1e-4)),
            ("noise 1e-1", Tail::Noise(1e-1)),
        ];
        tails
            .into_iter()
            .filter(move |t| ratio > 1.0 || !(t.0.starts_with("noise") || t.0 == "poly .5"))
            .map(move |t| (ratio, t.0, t.1))
    };
    for (ratio, name, tail) in rows(10.0).chain(rows(1.0)) {
        let family = Family { rank: 10, tail, symmetry: Symmetry::Psd };
        let mut columns = vec![Vec::new(); 8];
        for seed in 0..5 {
            let (a, _) = lord(n, &family, ratio, seed)?;
            let op = Dense::with_props(a.clone(), Props::SELF_ADJOINT);
            let settings = Settings::seeded(seed);
            let d: Vec<f64> = (0..n).map(|i| a[(i, i)]).collect();
            let oracle = DiagonalSource::Oracle(&d);
            let one = LordOptions { passes: Passes::One, ..LordOptions::default() };
            let joint = sketch_lord(&op, p, &one, &settings)?;
            columns[7].push(joint.report.iterations as f64);
            let fits = [
                low_only(&op, p, &settings)?,
                diagonal_only(&op, oracle, &settings)?,
                low_then_diagonal(&op, p, oracle, &settings)?,
                diagonal_then_low(&op, p, oracle, &settings)?,
                joint,
                sketch_lord(&op, p, &LordOptions::default(), &settings)?,
                sketch_lord_auto(&op, p, 10, &one, &settings)?.lord,
            ];
            for (column, fit) in columns.iter_mut().zip(&fits) {
                column.push(energy(fit, &a)?);
            }
        }
        let cells: Vec<String> = columns[..7].iter().map(|c| format!("{:.1e}", median(c.clone()))).collect();
        println!("| {ratio} | {name} | {} | {:.0} |", cells.join(" | "), median(columns[7].clone()));
    }
    Ok(())
}

/// n = 400, 60 products, 100 trials: mean relative error.
fn trace_table() -> Outcome {
    let n = 400;
    let spectra: [(&str, Vec<f64>); 5] = [
        ("flat", (0..n).map(|i| 1.0 + 2.0 * i as f64 / (n - 1) as f64).collect()),
        ("poly", (1..=n).map(|j| 1.0 / (j * j) as f64).collect()),
        ("slowexp", (0..n).map(|j| 0.9f64.powi(j as i32)).collect()),
        ("fastexp", (0..n).map(|j| 0.7f64.powi(j as i32)).collect()),
        ("smallstep", (0..n).map(|j| if j < n / 20 { 1.0 } else { 1e-3 }).collect()),
    ];
    println!("\n| spectrum | Hutchinson | Hutch++ | Nystrom++ | XTrace | XTrace resphered | XNysTrace resphered |");
    println!("|---|---|---|---|---|---|---|");
    let basis =
        dense::qr(matrix(n, n, &Family { rank: n, tail: Tail::None, symmetry: Symmetry::General }, 1)?.as_ref())?.q;
    for (name, values) in spectra {
        let scaled = Mat::from_fn(n, n, |i, j| basis[(i, j)] * values[j]);
        let mut a = Mat::zeros(n, n);
        dense::gemm(a.as_mut(), 1.0, scaled.as_ref(), basis.transpose(), 0.0, Par::Seq);
        dense::symmetrize(a.as_mut());
        let truth: f64 = values.iter().sum();
        let op = Dense::with_props(a, Props::PSD);
        let mut cells = Vec::new();
        for (method, law) in [
            (TraceMethod::Hutchinson, Law::Rademacher),
            (TraceMethod::HutchPp, Law::Rademacher),
            (TraceMethod::NystromPp, Law::Rademacher),
            (TraceMethod::XTrace { resphere: false }, Law::Rademacher),
            (TraceMethod::XTrace { resphere: true }, Law::Sphere),
            (TraceMethod::XNysTrace { resphere: true }, Law::Sphere),
        ] {
            let (mut error, mut bar) = (0.0, 0.0);
            for seed in 0..100 {
                let settings = Settings::seeded(seed).with_law(law);
                let e = estimate_trace(&op, method, Budget::Products(60), &settings)?;
                error += (e.value - truth).abs() / truth / 100.0;
                bar += e.sem.unwrap_or(f64::NAN) / truth / 100.0;
            }
            cells.push(format!("{error:.1e} ({bar:.1e})"));
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

fn best(times: usize, mut run: impl FnMut() -> Outcome) -> Result<f64, Error> {
    let mut least = f64::INFINITY;
    for _ in 0..times {
        let start = Instant::now();
        run()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn gemm_rate(par: Par) -> Result<f64, Error> {
    let (n, k) = (3000, 300);
    let (a, b) = (Mat::from_fn(n, k, |i, j| (i + j) as f64), Mat::from_fn(k, n, |i, j| (i * j % 7) as f64));
    let mut c = Mat::<f64>::zeros(n, n);
    let seconds = best(5, || {
        dense::gemm(c.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, par);
        Ok(())
    })?;
    Ok(2.0 * (n * n * k) as f64 / seconds)
}

/// Solver times without products, beside the rate of a plain matrix product on the same machine.
fn speed() -> Outcome {
    for par in [Par::Seq, Par::rayon(2)] {
        println!("\n{par:?}: gemm {:.1} GFLOP/s", gemm_rate(par)? * 1e-9);
        let options = LordOptions { passes: Passes::One, ..LordOptions::default() };
        for (n, k, p) in [(2000, 50, 150), (5000, 100, 300)] {
            let family = Family { rank: k, tail: Tail::None, symmetry: Symmetry::Psd };
            let a = implicit_lord(n, &family, 10.0, 1)?;
            let measured = Measurements::take(&a, 0..p, &Settings { par, ..Settings::default() })?;
            let mut iterations = 0;
            let seconds = best(3, || {
                let found = fit_lord(&measured, &options, &Silent, par)?;
                iterations = found.report.iterations;
                Ok(())
            })?;
            println!("low rank plus diagonal, n {n}, k {k}, p {p}: {seconds:.3} s, {iterations} iterations");
        }
        let (n, l) = (4000, 200);
        let family = Family { rank: 300, tail: Tail::None, symmetry: Symmetry::Psd };
        let a = implicit_lord(n, &family, 0.0, 2)?;
        let full: Mat<f64> = to_dense(&a, par)?;
        let op = Dense::with_props(full, Props::PSD);
        let settings = Settings { par, ..Settings::default() };
        let seconds = best(3, || nystrom(&op, l, NystromVariant::Stable, &settings).map(|_| ()))?;
        let products = 2.0 * (n * n * l) as f64;
        println!(
            "nystrom, n {n}, l {l}: {seconds:.3} s, {:.1} GFLOP/s of its products alone",
            products / seconds * 1e-9
        );
        let k = 50;
        let free = linop_core::ops::Diagonal::new((0..100_000).map(|i| 1.0 / (1.0 + f64::from(i))).collect());
        let seconds = best(3, || {
            estimate_trace(&free, TraceMethod::XTrace { resphere: false }, Budget::Products(2 * k), &settings)
                .map(|_| ())
        })?;
        println!("xtrace of a diagonal operator, n 100000, {k} probes: {seconds:.3} s");
    }
    let mut x: Vec<f64> = (0..1 << 20).map(f64::from).collect();
    let seconds = best(9, || fwht(&mut x))?;
    println!("\nfwht of 2^20 numbers, one thread: {:.2} ms", seconds * 1e3);
    Ok(())
}
