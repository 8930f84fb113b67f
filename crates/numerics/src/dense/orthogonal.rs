//! Orthogonal factorisations: thin SVD, thin QR, QR with column pivoting. Always sequential: their bits would
//! otherwise depend on the number of threads. Cost `2 n^2 (m - n/3)` flops for QR of `m x n`, several times that
//! for the SVD.

use super::{eigen::range_factor, kernels::Stalled, need_finite, reduce, scale};
use crate::{Error, Mat, MatRef, Scalar};

/// Thin singular value decomposition: `a = u diag(s) v^T`.
#[derive(Clone, Debug)]
pub struct Svd<T> {
    /// Left singular vectors, `m x min(m, n)`.
    pub u: Mat<T>,
    /// Singular values, descending.
    pub s: Vec<T>,
    /// Right singular vectors, `n x min(m, n)`.
    pub v: Mat<T>,
}

/// Thin QR factorisation: `a = q r`.
#[derive(Clone, Debug)]
pub struct Qr<T> {
    /// Orthonormal columns, `m x min(m, n)`.
    pub q: Mat<T>,
    /// Upper triangular (trapezoidal if `m < n`), `min(m, n) x n`.
    pub r: Mat<T>,
    /// Numerical rank as seen during the elimination: a hint, not a guarantee.
    pub rank: usize,
}

/// QR with column pivoting: `a[:, perm] = q r`, the diagonal of `r` decreasing in magnitude.
#[derive(Clone, Debug)]
pub struct PivotedQr<T> {
    /// Orthonormal columns, `m x min(m, n)`.
    pub q: Mat<T>,
    /// Upper triangular, `min(m, n) x n`.
    pub r: Mat<T>,
    /// `perm[j]` is the column of `a` that became column `j`.
    pub perm: Vec<usize>,
}

/// Thin singular value decomposition.
///
/// # Errors
/// `NotFinite`, `NoConvergence`.
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(3, 2, |i, j| if i == j { 3.0 - i as f64 } else { 0.0 });
/// let f = dense::svd(a.as_ref())?;
/// assert!((f.s[0] - 3.0).abs() < 1e-14 && (f.s[1] - 2.0).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn svd<T: Scalar>(a: MatRef<'_, T>) -> Result<Svd<T>, Error> {
    let op = "svd";
    need_finite(op, a)?;
    let (m, n) = (a.nrows(), a.ncols());
    let k = m.min(n);
    let (mut u, mut v, mut s) = (Mat::zeros(m, k), Mat::zeros(n, k), vec![T::ZERO; k]);
    if k == 0 {
        return Ok(Svd { u, s, v });
    }
    let factor = range_factor(reduce::max_abs(a)).unwrap_or(T::ONE);
    let mut scaled = a.to_owned();
    scale(scaled.as_mut(), factor);
    match T::thin_svd(scaled.as_ref(), u.as_mut(), &mut s, v.as_mut()) {
        Ok(()) => {
            for x in &mut s {
                *x /= factor;
            }
            Ok(Svd { u, s, v })
        }
        Err(Stalled) => Err(Error::NoConvergence { op, n: k }),
    }
}

fn upper<T: Scalar>(a: MatRef<'_, T>, k: usize) -> Mat<T> {
    Mat::from_fn(k, a.ncols(), |i, j| if i <= j { a[(i, j)] } else { T::ZERO })
}

/// Thin QR factorisation by Householder reflections.
///
/// # Errors
/// `NotFinite`.
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(3, 2, |i, j| ((i + 1) * (j + 1)) as f64 + (i * j) as f64);
/// let f = dense::qr(a.as_ref())?;
/// assert!((&f.q * &f.r - &a).norm_max() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn qr<T: Scalar>(a: MatRef<'_, T>) -> Result<Qr<T>, Error> {
    need_finite("qr", a)?;
    let (m, n) = (a.nrows(), a.ncols());
    let k = m.min(n);
    if k == 0 {
        return Ok(Qr { q: Mat::zeros(m, k), r: Mat::zeros(k, n), rank: 0 });
    }
    let mut work = a.to_owned();
    let (q, rank) = T::qr_in_place(work.as_mut());
    Ok(Qr { q, r: upper(work.as_ref(), k), rank })
}

/// QR factorisation with column pivoting.
///
/// # Errors
/// `NotFinite`.
pub fn qr_pivoted<T: Scalar>(a: MatRef<'_, T>) -> Result<PivotedQr<T>, Error> {
    need_finite("qr_pivoted", a)?;
    let (m, n) = (a.nrows(), a.ncols());
    let k = m.min(n);
    if k == 0 {
        return Ok(PivotedQr { q: Mat::zeros(m, k), r: Mat::zeros(k, n), perm: (0..n).collect() });
    }
    let mut work = a.to_owned();
    let (q, perm) = T::qr_pivoted_in_place(work.as_mut());
    Ok(PivotedQr { q, r: upper(work.as_ref(), k), perm })
}
