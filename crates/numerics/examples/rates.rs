//! Rates of symmetric products and of QR beside that of square products.
//!
//! `cargo run --release -p numerics --example rates [-- N ..]`. One thread, its own running time where the system says so, both sides of a
//! ratio in turn, medians of seven rounds.

use numerics::dense::{self, FactorWork};
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, Scalar};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;

/// Seconds that this thread has run.
fn run_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// Seconds of one call, of as many as take a twentieth of a second.
fn seconds(f: &mut dyn FnMut()) -> f64 {
    let (start, before, mut count) = (Instant::now(), run_time(), 0);
    while count == 0 || start.elapsed().as_secs_f64() < 0.05 {
        f();
        count += 1;
    }
    let run = before.zip(run_time()).map(|(a, b)| b - a).filter(|t| *t > 0.0);
    run.unwrap_or(start.elapsed().as_secs_f64()) / f64::from(count)
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn rates<T: Scalar>(n: usize) -> Result<(), numerics::Error> {
    let mut s = Stream::new(1, Role::SyntheticMatrix, n as u64, 0);
    let mut noise = || Mat::<T>::from_fn(n, n, |_, _| T::from_f64(s.normal()));
    let (a, b, mut out, mut q) = (noise(), noise(), noise(), noise());
    let near = Mat::from_fn(n, n, |i, j| a[(i, j)] * T::from_f64(0.01) + if i == j { T::ONE } else { T::ZERO });
    let (mut work, mut scratch, weights) = (FactorWork::<T>::new(n), vec![T::ZERO; n * n], vec![T::ONE; n]);
    let cube = (n as f64).powi(3);
    let names = ["product", "a a^T", "a w a^T", "symmetric a b", "QR", "mirror"];
    let flops = [2.0, 1.0, 1.0, 1.0, 8.0 / 3.0, 1.0].map(|f| f * cube);
    let mut found = vec![Vec::new(); names.len()];
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (rows, transposed) = (a.transpose(), b.transpose());
        let all = [
            seconds(&mut || dense::gemm(out.as_mut(), T::ONE, a.as_ref(), b.as_ref(), T::ZERO, Par::Seq)),
            seconds(&mut || dense::syrk(out.as_mut(), T::ONE, rows, T::ZERO, Par::Seq)),
            seconds(&mut || {
                let half = T::from_f64(0.5);
                dense::syrk_weighted(out.as_mut(), half, a.as_ref(), &weights, half, &mut scratch, Par::Seq);
            }),
            seconds(&mut || dense::gemm_lower(out.as_mut(), T::ONE, a.as_ref(), transposed, Par::Seq)),
            seconds(&mut || {
                dense::copy(out.as_mut(), near.as_ref());
                drop(black_box(work.qr(out.as_mut(), q.as_mut())));
            }),
            seconds(&mut || dense::mirror_lower(out.as_mut())),
        ];
        best = best.min(all[0]);
        for (k, found) in found.iter_mut().enumerate() {
            found.push((flops[k] / all[k]) / (flops[0] / all[0]));
        }
    }
    let rate = 1e-9 * flops[0] / best;
    print!("n {n:5}  {}: products {rate:.0} GFLOP/s at best; as shares of their rate:", T::DTYPE.name());
    for (k, found) in found.into_iter().enumerate().skip(1) {
        match names[k] {
            "mirror" => print!("  (mirror: {:.3} of a product)", 0.5 / median(found)),
            name => print!("  {name} {:.2}", median(found)),
        }
    }
    println!();
    Ok(())
}

fn main() -> Result<(), numerics::Error> {
    let orders: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    for n in if orders.is_empty() { vec![256, 512, 1024] } else { orders } {
        rates::<f32>(n)?;
        rates::<f64>(n)?;
    }
    Ok(())
}
