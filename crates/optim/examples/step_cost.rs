//! Times of one step of the matrix methods beside the machine's own product rate, and of one spectral step beside one
//! eigendecomposition. One thread, both sides of a ratio interleaved, the least of several rounds.
//!
//! `cargo run --release -p optim --example step_cost [-- SIZE ..]`

use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};
use optim::spectral::{SpectralMatrix, SpectralRules};
use optim::{
    Grads, KronConfig, Optimizer, ParamGroup, ParamList, Preconditioned, Settings, ShampooConfig, SpectralConfig,
    recommended, reference,
};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 5;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut g = vec![0.0; n];
    Stream::new(seed, Role::SyntheticMatrix, 0, 0).fill_normal(&mut g);
    g
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Flops per second of a square product of this size.
fn rate(n: usize) -> f64 {
    let (a, b) = (noise(n * n, 1), noise(n * n, 2));
    let view = |x| numerics::MatRef::from_row_major_slice(x, n, n);
    let mut out = Mat::<f32>::zeros(n, n);
    let mut best = f64::INFINITY;
    for _ in 0..3 * ROUNDS {
        let t = seconds(|| dense::gemm(out.as_mut(), 1.0, view(&a), view(&b), 0.0, Par::Seq));
        best = best.min(t);
    }
    black_box(&out);
    2.0 * (n as f64).powi(3) / best
}

struct Run {
    name: &'static str,
    method: Preconditioned<f32>,
    w: Vec<f32>,
    best: f64,
}

fn run(name: &'static str, config: impl Settings<f32> + 'static, list: &ParamList) -> Result<Run, optim::Error> {
    let mut method = Preconditioned::new(config)?;
    method.init(list)?;
    Ok(Run { name, method, w: vec![0.0; list.len()], best: f64::INFINITY })
}

/// Steps of a period of ten, so that one refresh is in every round.
fn steps(shape: [usize; 2]) -> Result<(), optim::Error> {
    let [m, n] = shape;
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("w", &[m, n], group)?;
    let gradients: Vec<_> = (0..10).map(|t| noise(m * n, t)).collect();
    let never = |config: KronConfig| KronConfig { period: u64::MAX, ..config };
    let mut runs = vec![
        run("SOAP", recommended::soap(), &list)?,
        run("KL-Shampoo", recommended::kl_shampoo(), &list)?,
        run("KL-Shampoo, no refresh", never(recommended::kl_shampoo()), &list)?,
        run("KL-Shampoo, reference order", reference::kl_shampoo(), &list)?,
        run("spectral, period 2", SpectralConfig::default(), &list)?,
        run("Shampoo, roots every 10", ShampooConfig { eps: 1e-6, period: 10, ..ShampooConfig::default() }, &list)?,
    ];
    for round in 0..ROUNDS {
        for r in &mut runs {
            let mut failed = None;
            let t = seconds(|| {
                for g in &gradients {
                    if let Err(e) = r.method.step(&mut r.w, Grads::all(g), 1.0) {
                        failed = Some(e);
                    }
                }
            });
            if let Some(e) = failed {
                return Err(e);
            }
            if round > 0 {
                r.best = r.best.min(t / 10.0);
            }
        }
    }
    let rate = rate(m.max(n).min(768));
    let flops = 5.0 * (m * n * (m + n)) as f64;
    println!("{m} x {n}, f32, products at {:.1} GFLOP/s", rate / 1e9);
    for r in &runs {
        let share = flops / rate / r.best;
        println!(
            "  {:28} {:9.3} ms  {:5.2} x SOAP  5mn(m+n) flops at {:3.0} % of the product rate",
            r.name,
            1e3 * r.best,
            r.best / runs[0].best,
            100.0 * share
        );
    }
    println!("  refresh: {:.0} % of a KL-Shampoo step", 100.0 * (1.0 - runs[2].best / runs[1].best));
    Ok(())
}

fn spectral(n: usize) -> Result<(), optim::Error> {
    let g = noise(n * n, 7);
    let g = Mat::from_fn(n, n, |i, j| f64::from(g[i * n + j]));
    let q = &g * g.transpose();
    let mut s = SpectralMatrix::<f64>::new(n, n as f64, SpectralRules::default())?;
    let mut out = Mat::<f64>::zeros(n, n);
    let (mut eigh, mut step, mut product) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        eigh = eigh.min(seconds(|| drop(black_box(dense::eigh(q.as_ref())))));
        let mut failed = None;
        step = step.min(seconds(|| failed = s.learn(q.as_ref(), 0.1, 1.0, 0.0, Par::Seq).err()));
        if let Some(e) = failed {
            return Err(e);
        }
        product = product.min(seconds(|| dense::gemm(out.as_mut(), 1.0, q.as_ref(), g.as_ref(), 0.0, Par::Seq)));
    }
    black_box(&out);
    println!(
        "spectral step, n = {n}, f64: {:.2} ms = {:.2} eigh ({:.2} ms); without the two products that project: {:.2} eigh",
        1e3 * step,
        step / eigh,
        1e3 * eigh,
        (step - 2.0 * product) / eigh
    );
    Ok(())
}

fn main() -> Result<(), optim::Error> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|s| s.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![256, 512] } else { sizes };
    for n in sizes {
        steps([n, n])?;
    }
    spectral(256)
}
