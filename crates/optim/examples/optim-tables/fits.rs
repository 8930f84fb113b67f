//! Offline fits of the trace-power family to long-tailed gradients that are no Kronecker product.
//!
//! `G = 0.1 (sum_k w_k L_k Z_k R_k^T + 0.02 E)`, 16 x 24, a pool of 4096. How far a fit to `N` gradients is from the same member's fit to the
//! whole pool, `|S^-1/2 S_N S^-1/2 - I|^2 / (m n)`, over 20 permutations that all members share; and how the spectrum of the fit to the
//! pool compares with that of the pool's own second moment.

use crate::jobs::{Failure, Job, Values};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, Par, dense};
use optim::bregman::{FitOptions, KroneckerFit, fit, second_moment};
use optim::roots::inverse_root;
use std::sync::{Arc, OnceLock};

pub(crate) const M: usize = 16;
pub(crate) const N: usize = 24;
const POOL: usize = 4096;
pub(crate) const POWERS: [(&str, f64); 4] = [("KL", 0.0), ("SQ", 0.5), ("VN", 1.0), ("F", 2.0)];
const TERMS: [(f64, f64); 3] = [(1.0, 1.8), (0.3, 1.2), (0.15, 0.8)];
const NOISE: f64 = 0.02;
const SCALE: f64 = 0.1;

fn orthogonal(n: usize, seed: u64) -> Result<Mat<f64>, Failure> {
    let mut s = Stream::new(seed, Role::SyntheticMatrix, 0, 0);
    Ok(dense::qr(Mat::from_fn(n, n, |_, _| s.normal()).as_ref())?.q)
}

/// Weight, left and right side of one term.
type Term = (f64, Mat<f64>, Mat<f64>);

/// `U diag(i^{-p/2})` for each term and side.
fn sides(seed: u64) -> Result<Vec<Term>, Failure> {
    let side = |n: usize, k: u64, p: f64| -> Result<Mat<f64>, Failure> {
        let u = orthogonal(n, 100 * seed + k)?;
        Ok(Mat::from_fn(n, n, |i, j| u[(i, j)] * (1.0 + j as f64).powf(-p / 2.0)))
    };
    let term = |(k, &(w, p)): (usize, &(f64, f64))| Ok((w, side(M, 2 * k as u64, p)?, side(N, 2 * k as u64 + 1, p)?));
    TERMS.iter().enumerate().map(term).collect()
}

/// The second moment of infinitely many gradients, row-major.
pub(crate) fn population(seed: u64) -> Result<Mat<f64>, Failure> {
    let mut c = Mat::<f64>::identity(M * N, M * N);
    dense::scale(c.as_mut(), NOISE * NOISE * SCALE * SCALE);
    for (w, l, r) in sides(seed)? {
        let (l, r) = (&l * l.transpose(), &r * r.transpose());
        let weight = (w * SCALE).powi(2);
        c += Mat::from_fn(M * N, M * N, |a, b| weight * l[(a / N, b / N)] * r[(a % N, b % N)]);
    }
    Ok(c)
}

/// Gradients one after the other, row-major.
fn pool(seed: u64) -> Result<Vec<f64>, Failure> {
    let terms = sides(seed)?;
    let mut all = Vec::with_capacity(POOL * M * N);
    for t in 0..POOL as u64 {
        let mut s = Stream::new(seed, Role::TestProbe, t, 0);
        let mut g = Mat::from_fn(M, N, |_, _| NOISE * s.normal());
        for (w, l, r) in &terms {
            let z = Mat::from_fn(M, N, |_, _| w * s.normal());
            g += l * z * r.transpose();
        }
        all.extend((0..M * N).map(|i| SCALE * g[(i / N, i % N)]));
    }
    Ok(all)
}

/// The pool with the fits to all of it.
struct Whole {
    samples: Vec<f64>,
    moment: Mat<f64>,
    fits: [OnceLock<KroneckerFit<f64>>; 4],
}

impl Whole {
    fn fit(&self, k: usize) -> Result<&KroneckerFit<f64>, Failure> {
        if let Some(found) = self.fits[k].get() {
            return Ok(found);
        }
        let o = FitOptions { power: POWERS[k].1, ..FitOptions::default() };
        let found = fit(self.moment.as_ref(), M, N, &o)?;
        Ok(self.fits[k].get_or_init(|| found))
    }
}

fn whiten(root: &Mat<f64>, a: &Mat<f64>) -> (f64, f64) {
    let white = root * a * root;
    let trace = (0..white.nrows()).map(|i| white[(i, i)]).sum();
    (white.squared_norm_l2(), trace)
}

/// `|A (x) B - I|^2 / (m n)` of the whitened factors, without the product.
fn relative_error(reference: &KroneckerFit<f64>, found: &KroneckerFit<f64>) -> Result<f64, Failure> {
    let root = |a: MatRef<'_, f64>| inverse_root(a, 0.5, 0.0, Par::Seq);
    let (a2, a) = whiten(&root(reference.left.as_ref())?, &found.left);
    let (b2, b) = whiten(&root(reference.right.as_ref())?, &found.right);
    Ok((a2 * b2 - 2.0 * a * b) / (M * N) as f64 + 1.0)
}

fn stability(whole: &Whole, k: usize, permutation: u64, sizes: &[usize]) -> Result<Values, Failure> {
    let mut order: Vec<usize> = (0..POOL).collect();
    Stream::new(1, Role::Shuffle, permutation, 0).shuffle(&mut order);
    let reference = whole.fit(k)?;
    let mut values = Values::new();
    for &size in sizes {
        let part: Vec<f64> =
            order[..size].iter().flat_map(|&i| &whole.samples[i * M * N..(i + 1) * M * N]).copied().collect();
        let moment = second_moment(&part, M * N, Par::Seq)?;
        let found = fit(moment.as_ref(), M, N, &FitOptions { power: POWERS[k].1, ..FitOptions::default() })?;
        values.push((format!("N = {size:3}"), Some(relative_error(reference, &found)?)));
    }
    Ok(values)
}

/// Descending eigenvalues of a product, with the pairs they belong to.
fn spectrum(f: &KroneckerFit<f64>) -> Result<(Vec<f64>, Mat<f64>), Failure> {
    let (l, r) = (dense::eigh(f.left.as_ref())?, dense::eigh(f.right.as_ref())?);
    let mut pairs: Vec<(usize, usize)> = (0..M).flat_map(|i| (0..N).map(move |j| (i, j))).collect();
    let value = |&(i, j): &(usize, usize)| l.values[i] * r.values[j];
    pairs.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let vectors = Mat::from_fn(M * N, M * N, |a, c| {
        let (i, j) = pairs[c];
        l.vectors[(a / N, i)] * r.vectors[(a % N, j)]
    });
    Ok((pairs.iter().map(value).collect(), vectors))
}

/// Mean error of log10 eigenvalues, overlap of the leading 39 directions, ratio of the last 50 eigenvalues.
fn against_the_moment(whole: &Whole, k: usize) -> Result<Values, Failure> {
    const LEADING: usize = 39;
    const TAIL: usize = 50;
    let (values, vectors) = spectrum(whole.fit(k)?)?;
    let own = dense::eigh(whole.moment.as_ref())?;
    let len = M * N;
    let logs: Vec<f64> = values.iter().enumerate().map(|(i, l)| (l / own.values[len - 1 - i]).log10()).collect();
    let leading = own.vectors.as_ref().subcols(len - LEADING, LEADING);
    let overlap = (leading.transpose() * vectors.as_ref().subcols(0, LEADING)).squared_norm_l2() / LEADING as f64;
    let tail = logs[len - TAIL..].iter().map(|x| 10f64.powf(*x)).sum::<f64>() / TAIL as f64;
    let error = logs.iter().map(|x| x.abs()).sum::<f64>() / len as f64;
    Ok(vec![
        ("error of log10 eigenvalues".into(), Some(error)),
        ("leading 39 directions shared".into(), Some(overlap)),
        ("last 50 eigenvalues / true".into(), Some(tail)),
    ])
}

pub(crate) fn jobs(fast: bool) -> Result<Vec<Job>, Failure> {
    let samples = pool(0)?;
    let moment = second_moment(&samples, M * N, Par::Seq)?;
    let whole = Arc::new(Whole { samples, moment, fits: Default::default() });
    let sizes: &[usize] = if fast { &[10, 40] } else { &[10, 20, 40, 80, 160, 320, 640] };
    let mut jobs = Vec::new();
    for (k, (name, _)) in POWERS.iter().enumerate() {
        let pool = whole.clone();
        jobs.push(Job::new("fits", format!("{name} spectrum"), 0, move || against_the_moment(&pool, k)));
        for permutation in 0..if fast { 2 } else { 20 } {
            let pool = whole.clone();
            jobs.push(Job::new("fits", *name, permutation, move || stability(&pool, k, permutation, sizes)));
        }
    }
    Ok(jobs)
}
