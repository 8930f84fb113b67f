//! Matrices and small helpers that the tests share.

use linop_core::ops::{ClosureOp, Dense};
use linop_core::testing::fixed_mat;
use linop_core::{Op, Props};
use numerics::{Mat, MatMut, MatRef, Par, dense};

pub(crate) fn mul(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    dense::gemm(out.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, Par::Seq);
    out
}

pub(crate) fn t(a: &Mat<f64>) -> Mat<f64> {
    a.transpose().to_owned()
}

pub(crate) fn fro(a: &Mat<f64>) -> f64 {
    dense::norm_l2(a.as_ref())
}

pub(crate) fn sub(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - b[(i, j)])
}

pub(crate) fn diag_of(a: &Mat<f64>) -> Vec<f64> {
    (0..a.nrows()).map(|i| a[(i, i)]).collect()
}

pub(crate) fn trace_of(a: &Mat<f64>) -> f64 {
    diag_of(a).iter().sum()
}

pub(crate) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

pub(crate) fn distance(x: &[f64], y: &[f64]) -> f64 {
    norm(&x.iter().zip(y).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// A random orthogonal matrix.
pub(crate) fn orthogonal(n: usize, seed: u64) -> Mat<f64> {
    dense::qr(fixed_mat::<f64>(n, n, seed).as_ref()).unwrap().q
}

/// A symmetric matrix with this spectrum.
pub(crate) fn with_spectrum(values: &[f64], seed: u64) -> Mat<f64> {
    let q = orthogonal(values.len(), seed);
    let scaled = Mat::from_fn(values.len(), values.len(), |i, j| q[(i, j)] * values[j]);
    let mut a = mul(&scaled, &t(&q));
    dense::symmetrize(a.as_mut());
    a
}

pub(crate) fn symmetric(a: &Mat<f64>) -> Dense<f64> {
    Dense::with_props(a.clone(), Props::SELF_ADJOINT)
}

pub(crate) fn psd(a: &Mat<f64>) -> Dense<f64> {
    Dense::with_props(a.clone(), Props::PSD)
}

fn run(a: MatRef<'_, f64>, out: MatMut<'_, f64>, x: MatRef<'_, f64>) -> Result<(), String> {
    dense::gemm(out, 1.0, a, x, 0.0, Par::Seq);
    Ok(())
}

/// The same matrix, known by its products alone.
pub(crate) fn opaque(a: &Mat<f64>, props: Props, transposed: bool) -> Op<f64> {
    let (m, n) = (a.nrows(), a.ncols());
    let (plain, flipped) = (a.clone(), a.transpose().to_owned());
    let op = ClosureOp::new(m, n, move |out, x| run(plain.as_ref(), out, x));
    let op = if transposed { op.with_transpose(move |out, x| run(flipped.as_ref(), out, x)) } else { op };
    Op::new(op.with_props(props))
}
