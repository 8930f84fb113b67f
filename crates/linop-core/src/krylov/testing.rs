//! Operators with known spectra for the tests of this module.

use crate::{Error, LinearOperator, Props};
use numerics::rng::{Law, Role, probe};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq, dense};

/// A dense matrix with stated facts.
#[derive(Debug, Clone)]
pub(crate) struct Matrix<T: Scalar> {
    pub(crate) a: Mat<T>,
    pub(crate) props: Props,
}

impl<T: Scalar> LinearOperator<T> for Matrix<T> {
    fn nrows(&self) -> usize {
        self.a.nrows()
    }
    fn ncols(&self) -> usize {
        self.a.ncols()
    }
    fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), Error> {
        dense::gemm(out, alpha, self.a.as_ref(), x, beta, par);
        Ok(())
    }
    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), Error> {
        dense::gemm(out, alpha, self.a.as_ref().transpose(), x, beta, par);
        Ok(())
    }
    fn props(&self) -> Props {
        self.props
    }
}

/// A random matrix of standard normal entries.
pub(crate) fn random(m: usize, n: usize, seed: u64) -> Mat<f64> {
    let mut a = Mat::zeros(m, n);
    for j in 0..n {
        probe(Law::Gaussian, seed, Role::LanczosStart, 1000 + j as u64, a.col_as_slice_mut(j));
    }
    a
}

/// Random orthogonal matrix.
pub(crate) fn orthogonal(n: usize, seed: u64) -> Mat<f64> {
    match dense::qr(random(n, n, seed).as_ref()) {
        Ok(qr) => qr.q,
        Err(e) => panic!("{e}"),
    }
}

/// `Q diag(values) Q^T` with a random `Q`.
pub(crate) fn with_spectrum(values: &[f64], seed: u64) -> Matrix<f64> {
    let n = values.len();
    let q = orthogonal(n, seed);
    let scaled = Mat::from_fn(n, n, |i, j| q[(i, j)] * values[j]);
    let mut a = Mat::zeros(n, n);
    dense::gemm(a.as_mut(), 1.0, scaled.as_ref(), q.as_ref().transpose(), 0.0, Par::Seq);
    dense::symmetrize(a.as_mut());
    Matrix { a, props: Props::SELF_ADJOINT }
}

/// `n` values from 1 down to `1 / cond`, evenly in the logarithm.
pub(crate) fn log_uniform(n: usize, cond: f64) -> Vec<f64> {
    (0..n).map(|i| cond.powf(-(i as f64) / (n - 1) as f64)).collect()
}

/// A matrix given by rows.
pub(crate) fn rows(rows: &[&[f64]], props: Props) -> Matrix<f64> {
    Matrix { a: Mat::from_fn(rows.len(), rows[0].len(), |i, j| rows[i][j]), props }
}

/// `a x`.
pub(crate) fn times<T: Scalar>(a: &Mat<T>, x: &Mat<T>) -> Mat<T> {
    let mut out = Mat::zeros(a.nrows(), x.ncols());
    dense::gemm(out.as_mut(), T::ONE, a.as_ref(), x.as_ref(), T::ZERO, Par::Seq);
    out
}

/// Largest entry of `|a - b|`.
pub(crate) fn distance<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let mut d = 0f64;
    for j in 0..a.ncols() {
        for i in 0..a.nrows() {
            d = d.max((a[(i, j)] - b[(i, j)]).to_f64().abs());
        }
    }
    d
}

/// The dense solution of `a x = b`.
pub(crate) fn dense_solve(a: &Mat<f64>, b: &Mat<f64>) -> Result<Mat<f64>, Error> {
    let lu = dense::Lu::new(a.as_ref(), Par::Seq)?;
    let mut x = b.clone();
    let mut memory = MemBuffer::new(lu.solve_req(b.ncols(), Par::Seq));
    lu.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut memory));
    Ok(x)
}
