//! The spectral step is `-step F^-1 grad l`: metric `F` and gradient of the objective by differences of fourth order in
//! the local coordinates, for one matrix and for Kronecker factors of determinant one.

use super::kron::SpectralKron;
use super::tests::{cayley_of, golden_basis, golden_curvature, noise, skew};
use super::*;
use crate::kron_engine::FactorKind;
use crate::kron_engine::modes::{square, square_mut};
use numerics::{Mat, Par, Scalar, dense};
use std::cmp::Ordering;

/// Errors are `h^4 = 1e-12` and rounding over `h`, `1e-13`, times derivatives of order ten.
const H: f64 = 1e-3;
const TOLERANCE: f64 = 1e-8;

/// A step in single precision moves coordinates that are of order one: a hundred units in the last place, over `beta` when the
/// change is what is looked at.
const SINGLE: f64 = 100.0 * f32::EPSILON as f64;

/// `f'(0)` along coordinate `i` of `len`.
fn slope(f: &dyn Fn(&[f64]) -> f64, len: usize, i: usize) -> f64 {
    let at = |by: f64| {
        let mut x = vec![0.0; len];
        x[i] = by;
        f(&x)
    };
    (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H)
}

/// Metric `(1/2) Tr(S^-1 dS S^-1 dS)` and the step `-F^-1 grad l` in `len` coordinates of `S`.
fn natural(point: &dyn Fn(&[f64]) -> Mat<f64>, q: &Mat<f64>, gamma: f64, len: usize) -> (Mat<f64>, Vec<f64>) {
    let n = q.nrows();
    let inverse = dense::Llt::new(point(&vec![0.0; len]).as_ref(), Par::Seq).unwrap().inverse();
    let tangents: Vec<Mat<f64>> =
        (0..len).map(|i| &inverse * Mat::from_fn(n, n, |a, b| slope(&|x| point(x)[(a, b)], len, i))).collect();
    let trace = |a: &Mat<f64>, b: &Mat<f64>| -> f64 {
        (0..n).map(|i| (0..n).map(|j| a[(i, j)] * b[(j, i)]).sum::<f64>()).sum()
    };
    let metric = Mat::from_fn(len, len, |i, j| 0.5 * trace(&tangents[i], &tangents[j]));
    let loss = |x: &[f64]| {
        let llt = dense::Llt::new(point(x).as_ref(), Par::Seq).unwrap();
        0.5 * (trace(q, &llt.inverse()) + gamma * llt.logdet())
    };
    let inverse = dense::Llt::new(metric.as_ref(), Par::Seq).unwrap().inverse();
    let gradient: Vec<f64> = (0..len).map(|i| slope(&loss, len, i)).collect();
    let step = (0..len).map(|i| -(0..len).map(|j| inverse[(i, j)] * gradient[j]).sum::<f64>()).collect();
    (metric, step)
}

/// `B Cay(N) diag(d e^x) (B Cay(N))^T`.
fn moved(b: &Mat<f64>, d: &[f64], x: &[f64], turns: &[f64]) -> Mat<f64> {
    let n = d.len();
    let low: Vec<_> = pairs(n).into_iter().zip(turns).map(|((i, j), &v)| (i, j, v)).collect();
    let b = b * cayley_of(&skew(n, &low));
    Mat::from_fn(n, n, |i, j| (0..n).map(|l| b[(i, l)] * d[l] * x[l].exp() * b[(j, l)]).sum::<f64>())
}

/// Strictly lower positions.
fn pairs(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).collect()
}

/// `N` from `B^T B_new = Cay(N)`: `N = (Q - I)(Q + I)^-1`.
fn turns(old: &Mat<f64>, new: &Mat<f64>) -> Vec<f64> {
    let n = old.nrows();
    let (turn, one) = (old.transpose() * new, Mat::<f64>::identity(n, n));
    let lu = dense::Lu::new((&turn + &one).as_ref(), Par::Seq).unwrap();
    let mut buffer = numerics::MemBuffer::new(lu.solve_req(n, Par::Seq));
    let mut inverse = one.clone();
    lu.solve_in_place(inverse.as_mut(), Par::Seq, numerics::MemStack::new(&mut buffer));
    let skew = (&turn - &one) * inverse;
    pairs(n).into_iter().map(|at| skew[at]).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance * (1.0 + b.abs()), "{i}: {a} {b}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn one_matrix() {
    let (b, d, q, beta) = (golden_basis(), [3.0, 1.0, 0.5], golden_curvature(), 0.1);
    for gamma in [1.0, 0.8, 0.0] {
        let point = |x: &[f64]| moved(&b, &d, &x[..3], &x[3..]);
        let (metric, expected) = natural(&point, &q, gamma, 6);
        // Diagonal, 1/2 for an eigenvalue and 4 (d_i - d_j)^2 / (d_i d_j) for a rotation.
        let rotation = |(i, j): (usize, usize)| 4.0 * (d[i] - d[j]) * (d[i] - d[j]) / (d[i] * d[j]);
        let diagonal: Vec<f64> = (0..6).map(|i| if i < 3 { 0.5 } else { rotation(pairs(3)[i - 3]) }).collect();
        for i in 0..6 {
            let row: Vec<f64> = (0..6).map(|j| metric[(i, j)]).collect();
            let stated: Vec<f64> = (0..6).map(|j| if i == j { diagonal[i] } else { 0.0 }).collect();
            close(&row, &stated, TOLERANCE);
        }
        close(&dense_step::<f64>(&b, &d, &q, beta, gamma), &expected, TOLERANCE);
        close(&dense_step::<f32>(&b, &d, &q, beta, gamma), &expected, SINGLE / beta);
    }
}

/// Change of every coordinate in one step, per `beta`.
fn dense_step<T: Scalar>(b: &Mat<f64>, d: &[f64], q: &Mat<f64>, beta: f64, gamma: f64) -> Vec<f64> {
    let cast = |a: &Mat<f64>| Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(a[(i, j)]));
    let start: Vec<T> = d.iter().map(|&d| T::from_f64(d)).collect();
    let mut s = SpectralMatrix::from_parts(cast(b).as_ref(), &start, SpectralRules::published()).unwrap();
    s.learn(cast(q).as_ref(), beta, gamma, 0.0, Par::Seq).unwrap();
    let mut found: Vec<f64> =
        s.eigenvalues().iter().zip(d).map(|(new, old)| (new.to_f64() / old).ln() / beta).collect();
    let new = Mat::from_fn(d.len(), d.len(), |i, j| s.basis()[(i, j)].to_f64());
    found.extend(turns(b, &new).iter().map(|n| n / beta));
    found
}

/// Orthonormal vectors that sum to zero.
fn trace_free(n: usize) -> Vec<Vec<f64>> {
    let entry = |k: usize, i: usize| match i.cmp(&k) {
        Ordering::Less => 1.0,
        Ordering::Equal => -(k as f64),
        Ordering::Greater => 0.0,
    };
    (1..n).map(|k| (0..n).map(|i| entry(k, i) / ((k * (k + 1)) as f64).sqrt()).collect()).collect()
}

fn combine(basis: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    (0..basis[0].len()).map(|i| basis.iter().zip(x).map(|(b, x)| b[i] * x).sum()).collect()
}

#[test]
fn two_factors_of_determinant_one() {
    let (m, n, gamma, beta, alpha) = (4, 3, 0.8, 0.1, 1.3_f64);
    let bases = [dense::qr(noise(m, m, 31).as_ref()).unwrap().q, dense::qr(noise(n, n, 32).as_ref()).unwrap().q];
    let logs: [Vec<f64>; 2] = [vec![0.6, 0.1, -0.2, -0.5], vec![0.4, 0.05, -0.45]];
    let free = [trace_free(m), trace_free(n)];
    // Five gradients, of which the curvature is the mean.
    let draws = noise(m * n, 5, 33);
    let samples: Vec<f64> = (0..5 * m * n).map(|i| draws[(i % (m * n), i / (m * n))]).collect();
    // Coordinates: log alpha; then for each factor n - 1 of log d and n (n - 1) / 2 of the rotation.
    let point = |x: &[f64]| {
        let factor = |j: usize, x: &[f64]| {
            let (logs, size) = (&logs[j], logs[j].len());
            let d: Vec<f64> = logs.iter().map(|l| l.exp()).collect();
            moved(&bases[j], &d, &combine(&free[j], &x[..size - 1]), &x[size - 1..])
        };
        let (c, k) = (factor(0, &x[1..10]), factor(1, &x[10..15]));
        let scale = alpha * x[0].exp();
        Mat::from_fn(m * n, m * n, |a, b| scale * c[(a / n, b / n)] * k[(a % n, b % n)])
    };
    let q = Mat::from_fn(m * n, m * n, |a, b| samples.chunks(m * n).map(|g| g[a] * g[b]).sum::<f64>() / 5.0);
    let (metric, expected) = natural(&point, &q, gamma, 15);
    // No block of the metric mixes with another, which is what the determinant constraint is for.
    let block = |i: usize| [1, 4, 10, 12, 15].iter().filter(|&&end| i >= end).count();
    for i in 0..15 {
        for j in 0..15 {
            assert!(block(i) == block(j) || metric[(i, j)].abs() < TOLERANCE, "{i} {j}: {}", metric[(i, j)]);
        }
    }
    assert!((metric[(0, 0)] - 0.5 * (m * n) as f64).abs() < TOLERANCE);

    let config = SpectralConfig { rules: SpectralRules::published(), gamma, ..SpectralConfig::default() };
    close(&kronecker_step::<f64>(&config, alpha, &bases, &logs, &samples, beta), &expected, TOLERANCE);
    close(&kronecker_step::<f32>(&config, alpha, &bases, &logs, &samples, beta), &expected, SINGLE / beta);
}

/// Change of every coordinate in one step, per `beta`.
fn kronecker_step<T: Scalar>(
    config: &SpectralConfig,
    alpha: f64,
    bases: &[Mat<f64>; 2],
    logs: &[Vec<f64>; 2],
    samples: &[f64],
    beta: f64,
) -> Vec<f64> {
    let f = T::from_f64;
    let mut s = SpectralKron::<T>::new(config, &[logs[0].len(), logs[1].len()], &[FactorKind::Dense; 2]);
    s.alpha = f(alpha);
    for ((mode, b), log_d) in s.modes.iter_mut().zip(bases).zip(logs) {
        dense::copy(
            square_mut(&mut mode.b, b.nrows()),
            Mat::from_fn(b.nrows(), b.nrows(), |i, j| f(b[(i, j)])).as_ref(),
        );
        mode.log_d = log_d.iter().map(|&l| f(l)).collect();
    }
    let samples: Vec<T> = samples.iter().map(|&g| f(g)).collect();
    let (mut p, mut x) = ([T::ZERO; 12], [T::ZERO; 12]);
    s.learn(&samples, beta, 1.0, &mut p, &mut x, Par::Seq).unwrap();
    let mut found = vec![(s.alpha.to_f64() / alpha).ln() / beta];
    for (j, logs) in logs.iter().enumerate() {
        let change: Vec<f64> =
            s.modes[j].log_d.iter().zip(logs).map(|(new, old)| (new.to_f64() - old) / beta).collect();
        let basis = square(&s.modes[j].b, logs.len());
        let new = Mat::from_fn(logs.len(), logs.len(), |a, b| basis[(a, b)].to_f64());
        found.extend(trace_free(logs.len()).iter().map(|b| b.iter().zip(&change).map(|(b, c)| b * c).sum::<f64>()));
        found.extend(turns(&bases[j], &new).iter().map(|n| n / beta));
    }
    found
}
