//! Orthogonal factorisations: thin SVD, thin QR, QR with column pivoting. Always sequential: their bits would
//! otherwise depend on the number of threads. Cost `2 n^2 (m - n/3)` flops for QR of `m x n`, several times that
//! for the SVD.

use super::kernels::{DenseKernels, Stalled};
use super::{eigen::range_factor, need_finite, reduce, scale};
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
        Err(Stalled) => {
            let f = again(scaled.as_ref()).map_err(|Stalled| Error::NoConvergence { op, n: k })?;
            Ok(Svd { s: f.s.iter().map(|&x| x / factor).collect(), ..f })
        }
    }
}

/// Where the iteration stalls, as faer's does in single precision on some matrices of deficient rank: in double precision,
/// and if need be through the transposed triangle of a QR factorisation, which takes another path.
fn again<T: Scalar>(a: MatRef<'_, T>) -> Result<Svd<T>, Stalled> {
    let wide = Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].to_f64());
    let f = match in_double(wide.as_ref()) {
        Err(Stalled) => through_triangle(wide.as_ref())?,
        Ok(f) => f,
    };
    let narrow = |x: &Mat<f64>| Mat::from_fn(x.nrows(), x.ncols(), |i, j| T::from_f64(x[(i, j)]));
    Ok(Svd { u: narrow(&f.u), s: f.s.iter().map(|&x| T::from_f64(x)).collect(), v: narrow(&f.v) })
}

fn in_double(a: MatRef<'_, f64>) -> Result<Svd<f64>, Stalled> {
    let (m, n) = (a.nrows(), a.ncols());
    let k = m.min(n);
    let (mut u, mut v, mut s) = (Mat::zeros(m, k), Mat::zeros(n, k), vec![0.0; k]);
    f64::thin_svd(a, u.as_mut(), &mut s, v.as_mut())?;
    Ok(Svd { u, s, v })
}

/// `A = Q R`, `R^T = U S V^T`: then `A = (Q V) S U^T`.
fn through_triangle(a: MatRef<'_, f64>) -> Result<Svd<f64>, Stalled> {
    if a.nrows() < a.ncols() {
        let f = through_triangle(a.transpose())?;
        return Ok(Svd { u: f.v, s: f.s, v: f.u });
    }
    let mut work = a.to_owned();
    let (q, _) = f64::qr_in_place(work.as_mut());
    let r = upper(work.as_ref(), a.ncols());
    let f = in_double(r.transpose())?;
    let mut u = Mat::zeros(a.nrows(), a.ncols());
    super::gemm(u.as_mut(), 1.0, q.as_ref(), f.v.as_ref(), 0.0, crate::Par::Seq);
    Ok(Svd { u, s: f.s, v: f.u })
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

#[cfg(test)]
mod second_attempts {
    use super::*;

    fn check(a: &Mat<f64>, f: &Svd<f64>) {
        let k = f.s.len();
        let scaled = Mat::from_fn(a.nrows(), k, |i, j| f.u[(i, j)] * f.s[j]);
        let back = &scaled * f.v.transpose();
        let gram = f.u.transpose() * &f.u;
        let largest = |x: &Mat<f64>, y: &Mat<f64>| {
            (0..x.nrows())
                .flat_map(|i| (0..x.ncols()).map(move |j| (i, j)))
                .map(|p| (x[p] - y[p]).abs())
                .fold(0.0, f64::max)
        };
        assert!(largest(&back, a) < 1e-14 * 10.0 && largest(&gram, &Mat::identity(k, k)) < 1e-13);
        assert!(f.s.is_sorted_by(|x, y| x >= y));
    }

    #[test]
    fn both_ways_give_the_decomposition() -> Result<(), Stalled> {
        for (m, n) in [(5, 3), (3, 5), (4, 4)] {
            let a = Mat::from_fn(m, n, |i, j| ((i * 7 + j * 3) % 5) as f64 - 1.5);
            check(&a, &through_triangle(a.as_ref())?);
            check(&a, &again(a.as_ref())?);
        }
        Ok(())
    }
}
