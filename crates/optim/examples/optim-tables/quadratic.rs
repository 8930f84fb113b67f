//! A stochastic quadratic: each step along `S^-1/2 g` with `S` fitted offline to 40 fresh mini-batch gradients.
//!
//! `f(x) = x^T H x / 2`, `H = d C / Tr C` with `C` the population moment of the long-tailed gradients; a sample's gradient is
//! `z (z^T x - y)`, `z ~ N(0, H)`, `y ~ N(0, 1/6)`, batches of 64, learning rate 2e-3, 1000 steps from `f = 2`. The result is the mean of `f` over
//! the last 20 steps.

use crate::fits::{self, M, N, POWERS};
use crate::jobs::{Failure, Job, Values};
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};
use optim::bregman::{FitOptions, fit, second_moment};
use optim::roots::inverse_root;

const D: usize = M * N;
const BATCH: usize = 64;
const FITTED: usize = 40;
const LR: f64 = 2e-3;

/// Mini-batch gradients `H^{1/2} mean(e (e^T H^{1/2} x - y))`, one per column.
fn gradients(root: &Mat<f64>, x: &[f64], count: usize, s: &mut Stream) -> Mat<f64> {
    let white: Vec<f64> = (0..D).map(|i| dense::dot(root.col_as_slice(i), x)).collect();
    let mut inner = Mat::<f64>::zeros(D, count);
    let mut e = vec![0.0; D];
    for j in 0..count {
        let column = inner.col_as_slice_mut(j);
        for _ in 0..BATCH {
            s.fill_normal(&mut e);
            let residual = (dense::dot(&e, &white) - s.normal() / 6f64.sqrt()) / BATCH as f64;
            column.iter_mut().zip(&e).for_each(|(c, e)| *c += residual * e);
        }
    }
    root * inner
}

fn run(power: f64, seed: u64, steps: u64) -> Result<Values, Failure> {
    let mut h = fits::population(seed)?;
    let trace: f64 = (0..D).map(|i| h[(i, i)]).sum();
    dense::scale(h.as_mut(), D as f64 / trace);
    let e = dense::eigh(h.as_ref())?;
    let (root, inverse) =
        (dense::apply_spectral(&e, f64::sqrt, Par::Seq), dense::apply_spectral(&e, |l| l.sqrt().recip(), Par::Seq));
    let mut v = vec![0.0_f64; D];
    Stream::new(seed, Role::Init, 0, 0).fill_normal(&mut v);
    let norm = dense::dot(&v, &v).sqrt();
    v.iter_mut().for_each(|v| *v *= 2.0 / norm);
    let mut x: Vec<f64> = (0..D).map(|i| dense::dot(inverse.col_as_slice(i), &v)).collect();
    let value = |x: &[f64]| 0.5 * (0..D).map(|i| dense::dot(root.col_as_slice(i), x).powi(2)).sum::<f64>();
    let options = FitOptions { power, tol: 1e-7, ..FitOptions::default() };
    let (mut last, mut iterations) = (Vec::new(), 0);
    for t in 0..steps {
        let mut s = Stream::new(seed, Role::TestProbe, t, 1);
        let all = gradients(&root, &x, FITTED + 1, &mut s);
        let samples: Vec<f64> = (0..FITTED).flat_map(|j| all.col_as_slice(j)).copied().collect();
        let found = fit(second_moment(&samples, D, Par::Seq)?.as_ref(), M, N, &options)?;
        iterations += found.iterations;
        let side = |a: &Mat<f64>| inverse_root(a.as_ref(), 0.5, 0.0, Par::Seq);
        let g = Mat::from_fn(M, N, |i, j| all[(i * N + j, FITTED)]);
        let step = side(&found.left)? * g * side(&found.right)?;
        x.iter_mut().enumerate().for_each(|(i, x)| *x -= LR * step[(i / N, i % N)]);
        last.push(value(&x));
    }
    let tail = &last[last.len().saturating_sub(20)..];
    Ok(vec![
        ("loss".into(), Some(tail.iter().sum::<f64>() / tail.len() as f64)),
        ("iterations per fit".into(), Some(iterations as f64 / steps as f64)),
    ])
}

pub(crate) fn jobs(fast: bool) -> Result<Vec<Job>, Failure> {
    let (steps, seeds) = if fast { (20, 1) } else { (1000, 3) };
    let mut jobs = Vec::new();
    for seed in 0..seeds {
        for (name, power) in POWERS {
            jobs.push(Job::new("quadratic", name, seed, move || run(power, seed, steps)));
        }
    }
    Ok(jobs)
}
