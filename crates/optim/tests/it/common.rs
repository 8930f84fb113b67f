//! Gradients and lists that several tests use.
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, Scalar, dense};
use optim::{ParamGroup, ParamList};

/// The reference gradient of step `t` for a 3 x 2 matrix.
pub(crate) fn golden(t: usize) -> Vec<f64> {
    let mut g = Vec::new();
    for i in 0..3 {
        for j in 0..2 {
            let (i, j, t) = (i as f64, j as f64, t as f64);
            g.push((1.0 + 0.7 * i + 1.3 * j * j + 0.9 * t * (1.0 + i)).sin() + 0.5 * (0.4 * t + 1.1 * i * j).cos());
        }
    }
    g
}

pub(crate) fn single(shape: &[usize]) -> ParamList {
    let mut list = ParamList::new();
    let g = list.add_group(ParamGroup::new("all"));
    list.push("w", shape, g).unwrap();
    list
}

/// A matrix, a scalar, an empty tensor and a vector, in two groups; 6 + 1 + 0 + 11 elements.
pub(crate) fn mixed() -> ParamList {
    let mut list = ParamList::new();
    let a = list.add_group(ParamGroup::new("a"));
    let b = list.add_group(ParamGroup::new("b").lr(0.03).weight_decay(0.0).betas(0.8, 0.95).eps(1e-6));
    list.push("matrix", &[2, 3], a).unwrap();
    list.push("scalar", &[], b).unwrap();
    list.push("empty", &[0, 4], a).unwrap();
    list.push("vector", &[11], b).unwrap();
    list
}

/// A deterministic, unremarkable gradient of any length.
pub(crate) fn wave<T: Scalar>(n: usize, t: usize) -> Vec<T> {
    (0..n).map(|i| T::from_f64((1.7 * i as f64 + 0.31 * (t * t) as f64 + 0.2).sin())).collect()
}

pub(crate) fn bits<T: Scalar>(x: &[T]) -> Vec<u64> {
    x.iter().map(|v| v.to_f64().to_bits()).collect()
}

/// Standard normal numbers, a function of seed and step.
pub(crate) fn noise(n: usize, seed: u64, t: u64) -> Vec<f64> {
    let mut g = vec![0.0; n];
    Stream::new(seed, Role::TestProbe, t, 0).fill_normal(&mut g);
    g
}

/// A fixed orthogonal matrix.
pub(crate) fn orthogonal(n: usize, seed: u64) -> Mat<f64> {
    let g = noise(n * n, seed, 99);
    dense::qr(MatRef::from_row_major_slice(&g, n, n)).unwrap().q
}

pub(crate) fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[track_caller]
pub(crate) fn close(a: &[f64], b: &[f64], tolerance: f64) {
    let d = largest_difference(a, b);
    assert!(d <= tolerance && a.len() == b.len(), "{d:e}: {a:?} {b:?}");
}
