//! Times of one step of the matrix methods beside the machine's own product rate, and of one spectral step beside one
//! eigendecomposition. One thread, both sides of a ratio interleaved, medians of several rounds.
//!
//! `cargo run --release -p optim --example step_cost [-- SHAPE ..]`, for instance `512 768x3072 768x3072-dense`, or `threads` for what
//! a second thread brings; `256 only=SOAP` steps one method and prints nothing, for a profiler.

use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};
use optim::spectral::{SpectralMatrix, SpectralRules};
use optim::{
    Grads, KronConfig, Layout, MuonConfig, Optimizer, ParamGroup, ParamList, Precision, Preconditioned, Settings,
    ShampooConfig, SpectralConfig, recommended, reference,
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

fn seconds(f: &mut dyn FnMut()) -> f64 {
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
    let t = seconds(&mut || {
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

fn run(
    name: &'static str,
    config: impl Settings<f32> + 'static,
    list: &ParamList,
    par: Par,
) -> Result<Run, optim::Error> {
    let mut method = Preconditioned::new(config)?.with_par(par);
    method.init(list)?;
    Ok(Run { name, method, w: vec![0.0; list.len()], ratios: Vec::new(), times: Vec::new() })
}

/// Seconds of a step, over some periods of ten.
fn timed(
    r: &mut Run,
    gradients: &[Vec<f32>],
    periods: usize,
    clock: fn(&mut dyn FnMut()) -> f64,
) -> Result<f64, optim::Error> {
    let mut failed = None;
    let t = clock(&mut || {
        for g in gradients.iter().cycle().take(periods * gradients.len()) {
            failed = r.method.step(&mut r.w, Grads::all(g), 1.0).err().or(failed.take());
        }
    });
    failed.map_or(Ok(t / (periods * gradients.len()) as f64), Err)
}

/// A shape to be stepped: axes beyond the recommended length have diagonal factors, or dense ones.
struct Case {
    m: usize,
    n: usize,
    dense: bool,
}

impl Case {
    fn layout(&self) -> Layout {
        let layout = Layout::default();
        Layout { max_dim: if self.dense { usize::MAX } else { layout.max_dim }, ..layout }
    }

    /// Periods of ten steps that take a tenth of a second: the clock ticks every few milliseconds.
    fn periods(&self) -> usize {
        (1e9 / self.flops().max(1.0)).ceil() as usize
    }

    /// Flops of the products of a step of the Kronecker methods: `5 m n` for every row of a dense factor.
    fn flops(&self) -> f64 {
        let dense = |side: usize| if side <= self.layout().max_dim { side } else { 0 };
        5.0 * (self.m * self.n * (dense(self.m) + dense(self.n))) as f64
    }
}

/// Steps of a period of ten, so that one refresh is in every round.
fn steps(case: &Case, only: Option<&str>) -> Result<(), optim::Error> {
    let (m, n) = (case.m, case.n);
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("w", &[m, n], group)?;
    let gradients: Vec<_> = (0..10).map(|t| noise(m * n, t)).collect();
    let kron = |config: KronConfig| KronConfig { layout: case.layout(), ..config };
    let never = |config: KronConfig| KronConfig { period: u64::MAX, ..kron(config) };
    let layout = case.layout();
    let mut runs = vec![
        run("SOAP", kron(recommended::soap()), &list, Par::Seq)?,
        run("SOAP, no refresh", never(recommended::soap()), &list, Par::Seq)?,
        run("KL-Shampoo", kron(recommended::kl_shampoo()), &list, Par::Seq)?,
        run("KL-Shampoo, no refresh", never(recommended::kl_shampoo()), &list, Par::Seq)?,
    ];
    let shampoo = ShampooConfig { eps: 1e-6, period: 10, layout, ..ShampooConfig::default() };
    runs.push(run("KL-Shampoo, reference order", kron(reference::kl_shampoo()), &list, Par::Seq)?);
    runs.push(run("spectral, period 2", SpectralConfig::default(), &list, Par::Seq)?);
    runs.push(run("Shampoo, roots every 10", shampoo, &list, Par::Seq)?);
    if let Some(r) = runs.iter_mut().find(|r| only == Some(r.name)) {
        return timed(r, &gradients, 20 * case.periods(), |f| seconds(f)).map(drop);
    }
    let rounds = if m * n < 1 << 20 { ROUNDS } else { 3 };
    for round in 0..=rounds {
        for r in &mut runs {
            let own = flop(m.max(n).min(768));
            let t = timed(r, &gradients, case.periods(), |f| seconds(f))?;
            // The first round makes bases.
            if round > 0 {
                r.ratios.push(t / (case.flops() * own));
                r.times.push(t);
            }
        }
    }
    println!("{m} x {n}{}, f32, medians of {rounds} rounds", if case.dense { ", dense" } else { "" });
    let (soap, over) = (runs[0].times.clone(), |r: &Run| 100.0 / median(r.ratios.clone()));
    for r in &runs {
        let against = median(r.times.iter().zip(&soap).map(|(t, s)| t / s).collect());
        println!("  {:28} {:5.2} x SOAP  its flops at {:3.0} % of the product rate", r.name, against, over(r));
    }
    for [with, without] in [[0, 1], [2, 3]] {
        let share = runs[with].times.iter().zip(&runs[without].times).map(|(a, b)| 100.0 - 100.0 * b / a).collect();
        println!("  refresh: {:.0} % of a step of {}", median(share), runs[with].name);
    }
    Ok(())
}

/// The same where a step takes a good part of a second: every step is timed on its own, over two periods.
fn large(case: &Case) -> Result<(), optim::Error> {
    let (m, n) = (case.m, case.n);
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("w", &[m, n], group)?;
    let gradients: Vec<_> = (0..3).map(|t| noise(m * n, t)).collect();
    println!("{m} x {n}{}, f32, two periods", if case.dense { ", dense" } else { "" });
    for (name, config) in [("SOAP", recommended::soap()), ("KL-Shampoo", recommended::kl_shampoo())] {
        let mut r = run(name, KronConfig { layout: case.layout(), ..config }, &list, Par::Seq)?;
        // Makes the bases.
        r.method.step(&mut r.w, Grads::all(&gradients[0]), 1.0)?;
        let (mut plain, mut with, mut products) = (Vec::new(), Vec::new(), Vec::new());
        for t in 1..=20 {
            let one = timed(&mut r, &gradients[t % 3..=t % 3], 1, |f| seconds(f))?;
            if t % 10 == 0 {
                with.push(one)
            } else {
                plain.push(one)
            }
            products.push(case.flops() * flop(768));
        }
        let (plain, with, products) = (median(plain), with.iter().sum::<f64>() / 2.0, median(products));
        let step = (9.0 * plain + with) / 10.0;
        let share = 100.0 * (with - plain) / (10.0 * step);
        println!(
            "  {name:28} its flops at {:3.0} % of the product rate, refresh: {share:.0} %",
            100.0 * products / step
        );
    }
    Ok(())
}

/// How many times as fast two threads step as one, on the wall.
fn threads(shapes: &[Vec<usize>]) -> Result<(), optim::Error> {
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    for (i, shape) in shapes.iter().enumerate() {
        list.push(format!("w{i}"), shape, group)?;
    }
    let gradients: Vec<_> = (0..10).map(|t| noise(list.len(), t)).collect();
    let wall = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    let half = MuonConfig { precision: Precision::Bfloat16, ..MuonConfig::default() };
    let both = |name, make: &dyn Fn(Par) -> Result<Run, optim::Error>| -> Result<(), optim::Error> {
        let (mut one, mut two, mut ratios) = (make(Par::Seq)?, make(Par::rayon(2))?, Vec::new());
        for round in 0..=ROUNDS {
            let ratio = timed(&mut one, &gradients, 1, wall)? / timed(&mut two, &gradients, 1, wall)?;
            if round > 0 {
                ratios.push(ratio);
            }
        }
        println!("  {:4} x {:?}: two threads step {name} {:.2} times as fast", shapes.len(), shapes[0], median(ratios));
        Ok(())
    };
    let shampoo = ShampooConfig { eps: 1e-6, period: 10, ..ShampooConfig::default() };
    both("SOAP", &|par| run("SOAP", recommended::soap(), &list, par))?;
    both("KL-Shampoo", &|par| run("KL-Shampoo", recommended::kl_shampoo(), &list, par))?;
    both("Shampoo", &|par| run("Shampoo", shampoo.clone(), &list, par))?;
    both("Muon", &|par| run("Muon", MuonConfig::default(), &list, par))?;
    both("Muon in bfloat16", &|par| run("Muon", half.clone(), &list, par))
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
            seconds(&mut || {
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

/// `N` or `MxN`, and `-dense` after it.
fn shape(text: &str) -> Option<Case> {
    let (sides, dense) = text.strip_suffix("-dense").map_or((text, false), |sides| (sides, true));
    let (m, n) = sides.split_once('x').unwrap_or((sides, sides));
    Some(Case { m: m.parse().ok()?, n: n.parse().ok()?, dense })
}

fn main() -> Result<(), optim::Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|w| w == "threads") {
        for shapes in [vec![vec![256, 256]], vec![vec![512, 512]], vec![vec![1024, 1024]], vec![vec![32, 32]; 200]] {
            threads(&shapes)?;
        }
        return Ok(());
    }
    let only = words.iter().find_map(|w| w.strip_prefix("only="));
    let cases: Vec<Case> = if words.is_empty() {
        ["256", "512"].iter().filter_map(|s| shape(s)).collect()
    } else {
        words.iter().filter_map(|s| shape(s)).collect()
    };
    for case in &cases {
        if case.m * case.n > 1 << 20 { large(case)? } else { steps(case, only)? }
    }
    only.map_or_else(|| spectral(256), |_| Ok(()))
}
