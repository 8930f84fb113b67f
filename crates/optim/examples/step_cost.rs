//! Times of one step of the matrix methods beside the machine's own product rate, and of one spectral step beside one
//! eigendecomposition. One thread, both sides of a ratio interleaved, medians of several rounds.
//!
//! `cargo run --release -p optim --example step_cost [-- SHAPE ..]`, for instance `512 768x3072`

use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};
use optim::spectral::{SpectralMatrix, SpectralRules};
use optim::{
    Grads, KronConfig, Optimizer, ParamGroup, ParamList, Preconditioned, Settings, ShampooConfig, SpectralConfig,
    recommended, reference,
};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut g = vec![0.0; n];
    Stream::new(seed, Role::SyntheticMatrix, 0, 0).fill_normal(&mut g);
    g
}

/// Seconds that this thread has run, where the system says so: other work on the machine counts less than on the clock.
fn run_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

fn seconds(f: impl FnOnce()) -> f64 {
    let (start, before) = (Instant::now(), run_time());
    f();
    match (before, run_time()) {
        (Some(before), Some(after)) if after > before => after - before,
        _ => start.elapsed().as_secs_f64(),
    }
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

/// Seconds of a flop in square products of this size.
fn flop(n: usize) -> f64 {
    let (a, b) = (noise(n * n, 1), noise(n * n, 2));
    let view = |x| numerics::MatRef::from_row_major_slice(x, n, n);
    let mut out = Mat::<f32>::zeros(n, n);
    let flops = 2.0 * (n as f64).powi(3);
    // At least a tenth of a second.
    let count = (1e10 / flops).ceil() as usize;
    let t = seconds(|| {
        for _ in 0..count {
            dense::gemm(out.as_mut(), 1.0, view(&a), view(&b), 0.0, Par::Seq);
        }
    });
    black_box(&out);
    t / (count as f64 * flops)
}

struct Run {
    name: &'static str,
    method: Preconditioned<f32>,
    w: Vec<f32>,
    /// Step times divided by the time that a round's products of the same flops take.
    ratios: Vec<f64>,
    times: Vec<f64>,
}

fn run(name: &'static str, config: impl Settings<f32> + 'static, list: &ParamList) -> Result<Run, optim::Error> {
    let mut method = Preconditioned::new(config)?;
    method.init(list)?;
    Ok(Run { name, method, w: vec![0.0; list.len()], ratios: Vec::new(), times: Vec::new() })
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
    let flops = 5.0 * (m * n * (m + n)) as f64;
    let rounds = if m * n < 1 << 20 { ROUNDS } else { 3 };
    for round in 0..=rounds {
        for r in &mut runs {
            let mut failed = None;
            let own = flop(m.max(n).min(768));
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
            // The first round makes bases.
            if round > 0 {
                r.ratios.push(t / 10.0 / (flops * own));
                r.times.push(t / 10.0);
            }
        }
    }
    println!("{m} x {n}, f32, medians of {rounds} rounds");
    let (soap, over) = (runs[0].times.clone(), |r: &Run| 100.0 / median(r.ratios.clone()));
    for r in &runs {
        let against = median(r.times.iter().zip(&soap).map(|(t, s)| t / s).collect());
        println!("  {:28} {:5.2} x SOAP  5mn(m+n) flops at {:3.0} % of the product rate", r.name, against, over(r));
    }
    println!("  refresh: {:.0} % of a KL-Shampoo step", 100.0 - 100.0 * over(&runs[1]) / over(&runs[2]));
    Ok(())
}

fn spectral(n: usize) -> Result<(), optim::Error> {
    let g = noise(n * n, 7);
    let g = Mat::from_fn(n, n, |i, j| f64::from(g[i * n + j]));
    let q = &g * g.transpose();
    let mut s = SpectralMatrix::<f64>::new(n, n as f64, SpectralRules::default())?;
    let mut out = Mat::<f64>::zeros(n, n);
    let (mut whole, mut rest) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut failed = None;
        let repeat = |f: &mut dyn FnMut()| {
            seconds(|| {
                for _ in 0..10 {
                    f();
                }
            })
        };
        let eigh = repeat(&mut || drop(black_box(dense::eigh(q.as_ref()))));
        let step = repeat(&mut || failed = s.learn(q.as_ref(), 0.1, 1.0, 0.0, Par::Seq).err());
        let product = repeat(&mut || dense::gemm(out.as_mut(), 1.0, q.as_ref(), g.as_ref(), 0.0, Par::Seq));
        if let Some(e) = failed {
            return Err(e);
        }
        whole.push(step / eigh);
        rest.push((step - 2.0 * product) / eigh);
    }
    black_box(&out);
    println!(
        "spectral step, n = {n}, f64: {:.2} eigh; without the two products that project: {:.2} eigh",
        median(whole),
        median(rest)
    );
    Ok(())
}

/// `N` or `MxN`.
fn shape(text: &str) -> Option<[usize; 2]> {
    let (m, n) = text.split_once('x').unwrap_or((text, text));
    Some([m.parse().ok()?, n.parse().ok()?])
}

fn main() -> Result<(), optim::Error> {
    let shapes: Vec<_> = std::env::args().skip(1).filter_map(|s| shape(&s)).collect();
    for s in if shapes.is_empty() { vec![[256, 256], [512, 512]] } else { shapes } {
        steps(s)?;
    }
    spectral(256)
}
