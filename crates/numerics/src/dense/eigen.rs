//! Eigenvalues and eigenvectors: symmetric (tridiagonalisation, then divide and conquer or implicit QR), symmetric
//! tridiagonal, and the eigenvalues of a general matrix. Cost about `9 n^3` flops with vectors.
//!
//! If a single-precision iteration does not converge it is repeated once in double precision; an iteration for
//! eigenvalues alone is repeated once by the algorithm with vectors, which is a different one.

use super::{gemm_lower, kernels::Stalled, mirror_lower, need_finite, need_square, reduce, scale};
use crate::{DType, Error, Mat, MatMut, MatRef, Par, Scalar};

/// Eigenpairs of a symmetric matrix: `a = vectors diag(values) vectors^T`.
#[derive(Clone, Debug)]
pub struct Eigh<T> {
    /// Eigenvalues, ascending.
    pub values: Vec<T>,
    /// Orthonormal eigenvectors, one per column.
    pub vectors: Mat<T>,
}

/// A power of two that brings `top` near one, if squares of `top` could overflow or vanish.
pub(super) fn range_factor<T: Scalar>(top: T) -> Option<T> {
    let (lo, hi) = (Scalar::sqrt(T::TINY) / T::EPS, Scalar::sqrt(T::MAX) * T::EPS);
    if top == T::ZERO || (top >= lo && top <= hi) {
        return None;
    }
    // the exponent is kept in the range where the factor and its reciprocal are normal numbers
    let limit = if T::DTYPE == DType::F32 { 120.0 } else { 1000.0 };
    let e = (-top.to_f64().log2()).floor().clamp(-limit, limit);
    Some(T::from_f64(e.exp2()))
}

fn widen<T: Scalar>(a: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].to_f64())
}

fn narrow<T: Scalar>(a: MatRef<'_, f64>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(a[(i, j)]))
}

/// Runs `solve` on the matrix, scaled if need be, and scales the eigenvalues back.
fn in_range<T: Scalar>(
    a: MatRef<'_, T>,
    values: &mut [T],
    solve: impl FnOnce(MatRef<'_, T>, &mut [T]) -> Result<(), Stalled>,
) -> Result<(), Stalled> {
    match range_factor(reduce::max_abs(a)) {
        None => solve(a, values),
        Some(f) => {
            let mut scaled = a.to_owned();
            scale(scaled.as_mut(), f);
            solve(scaled.as_ref(), values)?;
            for v in values {
                *v /= f;
            }
            Ok(())
        }
    }
}

fn pairs<T: Scalar>(a: MatRef<'_, T>, values: &mut [T], vectors: MatMut<'_, T>) -> Result<(), Stalled> {
    in_range(a, values, |a, values| T::self_adjoint(a, values, Some(vectors)))
}

/// The strict upper triangle need not be finite, nor anything at all: a copy without it.
fn lower_of<T: Scalar>(a: MatRef<'_, T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| if i >= j { a[(i, j)] } else { T::ZERO })
}

/// Eigenpairs of the symmetric matrix whose lower triangle is given.
///
/// The upper triangle is not read. Sequential, so the bits do not depend on the number of threads.
///
/// # Errors
/// `ShapeMismatch` unless square, `NotFinite` for NaN or infinity in the lower triangle, `NoConvergence`.
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f64 } else { 1.0 });
/// let e = dense::eigh(a.as_ref())?;
/// assert!((e.values[0] - 1.0).abs() < 1e-14 && (e.values[1] - 3.0).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn eigh<T: Scalar>(a: MatRef<'_, T>) -> Result<Eigh<T>, Error> {
    let op = "eigh";
    need_square(op, a)?;
    let n = a.nrows();
    let lower = lower_of(a);
    need_finite(op, lower.as_ref())?;
    let mut values = vec![T::ZERO; n];
    let mut vectors = Mat::zeros(n, n);
    if n == 0 {
        return Ok(Eigh { values, vectors });
    }
    if pairs(lower.as_ref(), &mut values, vectors.as_mut()).is_ok() {
        return Ok(Eigh { values, vectors });
    }
    if T::DTYPE == DType::F32 {
        let mut wide = vec![0.0f64; n];
        let mut basis = Mat::zeros(n, n);
        if pairs(widen(lower.as_ref()).as_ref(), &mut wide, basis.as_mut()).is_ok() {
            let values = wide.into_iter().map(T::from_f64).collect();
            return Ok(Eigh { values, vectors: narrow(basis.as_ref()) });
        }
    }
    Err(Error::NoConvergence { op, n })
}

/// Eigenvalues, ascending, of the symmetric matrix whose lower triangle is given; about a third of the cost of
/// [`eigh`].
///
/// # Errors
/// As [`eigh`].
pub fn eigvalsh<T: Scalar>(a: MatRef<'_, T>) -> Result<Vec<T>, Error> {
    let op = "eigvalsh";
    need_square(op, a)?;
    let lower = lower_of(a);
    need_finite(op, lower.as_ref())?;
    let mut values = vec![T::ZERO; a.nrows()];
    if values.is_empty() {
        return Ok(values);
    }
    match in_range(lower.as_ref(), &mut values, |a, values| T::self_adjoint(a, values, None)) {
        Ok(()) => Ok(values),
        Err(Stalled) => Ok(eigh(a)?.values),
    }
}

/// Eigenpairs of the symmetric tridiagonal matrix with diagonal `diag` and off-diagonal `off`.
///
/// # Errors
/// `ShapeMismatch` unless `off` is one shorter than `diag` (both may be empty), `NotFinite`, `NoConvergence`.
///
/// ```
/// use numerics::dense::tridiag_eigh;
/// let e = tridiag_eigh(&[2.0, 2.0], &[-1.0])?;
/// assert!((e.values[1] - 3.0f64).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn tridiag_eigh<T: Scalar>(diag: &[T], off: &[T]) -> Result<Eigh<T>, Error> {
    let op = "tridiag_eigh";
    let n = diag.len();
    if off.len() != n.saturating_sub(1) {
        let expected = format!("{} off-diagonal entries", n.saturating_sub(1));
        return Err(Error::shape(op, expected, off.len().to_string()));
    }
    if !diag.iter().chain(off).all(|v| Scalar::is_finite(*v)) {
        return Err(Error::NotFinite { op, operand: "the matrix" });
    }
    let mut values = vec![T::ZERO; n];
    let mut vectors = Mat::zeros(n, n);
    if n == 0 {
        return Ok(Eigh { values, vectors });
    }
    let mut top = T::ZERO;
    for v in diag.iter().chain(off) {
        top = Scalar::max(top, Scalar::abs(*v));
    }
    let factor = range_factor(top).unwrap_or(T::ONE);
    let d: Vec<T> = diag.iter().map(|v| *v * factor).collect();
    let e: Vec<T> = off.iter().map(|v| *v * factor).chain([T::ZERO]).collect();
    if T::tridiagonal(&d, &e, &mut values, vectors.as_mut()).is_ok() {
        for v in &mut values {
            *v /= factor;
        }
        return Ok(Eigh { values, vectors });
    }
    let dense = Mat::from_fn(n, n, |i, j| match i.abs_diff(j) {
        0 => diag[i],
        1 => off[i.min(j)],
        _ => T::ZERO,
    });
    eigh(dense.as_ref()).map_err(|_| Error::NoConvergence { op, n })
}

/// Eigenvalues of a general matrix as (real, imaginary) parts, conjugate pairs next to each other.
///
/// # Errors
/// `ShapeMismatch` unless square, `NotFinite`, `NoConvergence`.
///
/// ```
/// use numerics::{Mat, dense};
/// let turn = Mat::from_fn(2, 2, |i, j| i as f64 - j as f64); // [0 -1; 1 0]
/// let e = dense::eigvals(turn.as_ref())?;
/// assert!(e[0].0.abs() < 1e-15 && (e[0].1.abs() - 1.0).abs() < 1e-15);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn eigvals<T: Scalar>(a: MatRef<'_, T>) -> Result<Vec<(T, T)>, Error> {
    let op = "eigvals";
    need_square(op, a)?;
    need_finite(op, a)?;
    let n = a.nrows();
    if n == 0 {
        return Ok(Vec::new());
    }
    let (mut re, mut im) = (vec![T::ZERO; n], vec![T::ZERO; n]);
    let factor = range_factor(reduce::max_abs(a)).unwrap_or(T::ONE);
    let mut scaled = a.to_owned();
    scale(scaled.as_mut(), factor);
    match T::general_values(scaled.as_ref(), &mut re, &mut im) {
        Ok(()) => Ok(re.into_iter().zip(im).map(|(x, y)| (x / factor, y / factor)).collect()),
        Err(Stalled) => Err(Error::NoConvergence { op, n }),
    }
}

/// `f` of a symmetric matrix: `Q f(L) Q^T`, exactly symmetric.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let a = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f64 } else { 1.0 });
/// let root = dense::apply_spectral(&dense::eigh(a.as_ref())?, f64::sqrt, Par::Seq);
/// let back = &root * &root;
/// assert!((back[(0, 1)] - 1.0).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn apply_spectral<T: Scalar>(e: &Eigh<T>, f: impl Fn(T) -> T, par: Par) -> Mat<T> {
    let (n, k) = (e.vectors.nrows(), e.values.len());
    assert_eq!(e.vectors.ncols(), k, "apply_spectral: one value per vector");
    let mut out = Mat::zeros(n, n);
    if n == 0 || k == 0 {
        return out;
    }
    let weights: Vec<T> = e.values.iter().map(|v| f(*v)).collect();
    let scaled = Mat::from_fn(n, k, |i, j| e.vectors[(i, j)] * weights[j]);
    gemm_lower(out.as_mut(), T::ONE, scaled.as_ref(), e.vectors.transpose(), par);
    mirror_lower(out.as_mut());
    out
}
