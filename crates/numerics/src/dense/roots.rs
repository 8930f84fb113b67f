//! The principal square root and logarithm of a general matrix, without eigenvalues on the closed negative axis.
//!
//! Root: the product form of the Denman-Beavers iteration with determinantal scaling (Cheng, Higham, Kenney and Laub,
//! 2001), about eight LU inversions. Logarithm: roots until the matrix is within 1/4 of the identity, then the diagonal
//! Pade approximant of order 8 in partial fractions, which is Gauss-Legendre quadrature of
//! `log(I + X) = int_0^1 X (I + t X)^-1 dt`. Single precision is computed in double. Symmetric matrices are better
//! served by [`eigh`](super::eigh).

use super::{Lu, gemm, need_finite, need_square, tridiag_eigh};
use crate::{Error, Mat, MatRef, MemBuffer, MemStack, Par, Scalar};

/// Enough for every matrix that the iteration converges for.
const STEPS: usize = 60;

fn product(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    gemm(out.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, Par::Seq);
    out
}

fn identity(n: usize) -> Mat<f64> {
    Mat::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 })
}

/// Largest column sum.
fn norm_1(a: &Mat<f64>) -> f64 {
    (0..a.ncols()).map(|j| (0..a.nrows()).map(|i| a[(i, j)].abs()).sum::<f64>()).fold(0.0, f64::max)
}

fn difference(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    norm_1(&Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - b[(i, j)]))
}

/// `a^-1 b` and `log |det a|`.
fn solve(op: &'static str, a: &Mat<f64>, b: &Mat<f64>) -> Result<(Mat<f64>, f64), Error> {
    let lu = Lu::new(a.as_ref(), Par::Seq)?;
    if lu.is_singular() {
        return Err(Error::Singular { op });
    }
    let mut x = b.clone();
    let mut buf = MemBuffer::new(lu.solve_req(b.ncols(), Par::Seq));
    lu.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
    Ok((x, lu.slogdet().1))
}

fn root(op: &'static str, a: &Mat<f64>) -> Result<Mat<f64>, Error> {
    let n = a.nrows();
    let eye = identity(n);
    let (mut m, mut x) = (a.clone(), a.clone());
    let mut scaled = true;
    for _ in 0..STEPS {
        let (inverse, log_det) = solve(op, &m, &eye)?;
        let distance = difference(&m, &eye);
        scaled &= distance > 1e-2;
        let mu = if scaled { (-log_det / (2 * n) as f64).exp() } else { 1.0 };
        let (square, back) = (mu * mu, 1.0 / (mu * mu));
        let half = Mat::from_fn(n, n, |i, j| 0.5 * mu * (eye[(i, j)] + back * inverse[(i, j)]));
        x = product(&x, &half);
        m = Mat::from_fn(n, n, |i, j| 0.5 * eye[(i, j)] + 0.25 * (square * m[(i, j)] + back * inverse[(i, j)]));
        if !norm_1(&m).is_finite() {
            break;
        }
        if distance <= 1e-7 {
            // Converging quadratically: the step just done has squared this.
            let check = difference(&product(&x, &x), a);
            return if check <= 1e-6 * norm_1(a) { Ok(x) } else { Err(Error::NoConvergence { op, n }) };
        }
    }
    Err(Error::NoConvergence { op, n })
}

fn widen<T: Scalar>(a: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].to_f64())
}

fn narrow<T: Scalar>(a: &Mat<f64>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(a[(i, j)]))
}

/// The principal square root.
///
/// # Errors
/// `ShapeMismatch` unless square, `NotFinite`; `Singular` or `NoConvergence` where there is no principal root (an
/// eigenvalue is zero, negative, or too near that axis).
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(2, 2, |i, j| [[1.0f64, 3.0], [0.0, 4.0]][i][j]);
/// let r = dense::sqrtm(a.as_ref())?;
/// assert!((r[(0, 0)] - 1.0).abs() < 1e-14 && (r[(0, 1)] - 1.0).abs() < 1e-14 && (r[(1, 1)] - 2.0).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn sqrtm<T: Scalar>(a: MatRef<'_, T>) -> Result<Mat<T>, Error> {
    let op = "sqrtm";
    need_square(op, a)?;
    need_finite(op, a)?;
    if a.nrows() == 0 {
        return Ok(Mat::zeros(0, 0));
    }
    Ok(narrow(&root(op, &widen(a))?))
}

/// The principal logarithm.
///
/// # Errors
/// Those of [`sqrtm`].
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(2, 2, |i, j| [[0.5f64, 2.0], [-1.0, 0.3]][i][j]);
/// let back = dense::logm(dense::expm(a.as_ref())?.as_ref())?;
/// assert!((0..2).all(|i| (0..2).all(|j| (back[(i, j)] - a[(i, j)]).abs() < 1e-13)));
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn logm<T: Scalar>(a: MatRef<'_, T>) -> Result<Mat<T>, Error> {
    const ORDER: usize = 8;
    let op = "logm";
    need_square(op, a)?;
    need_finite(op, a)?;
    let n = a.nrows();
    if n == 0 {
        return Ok(Mat::zeros(0, 0));
    }
    let eye = identity(n);
    let mut x = widen(a);
    let mut factor = 1.0;
    while difference(&x, &eye) > 0.25 {
        x = root(op, &x)?;
        factor *= 2.0;
        if factor > 1e15 {
            return Err(Error::NoConvergence { op, n });
        }
    }
    for i in 0..n {
        x[(i, i)] -= 1.0;
    }
    // Nodes and weights of Gauss and Legendre on [0, 1] from the recurrence of the polynomials.
    let off: Vec<f64> = (1..ORDER).map(|k| k as f64 / ((4 * k * k - 1) as f64).sqrt()).collect();
    let rule = tridiag_eigh(&[0.0; ORDER], &off)?;
    let mut out = Mat::<f64>::zeros(n, n);
    for (j, &node) in rule.values.iter().enumerate() {
        let (t, w) = (0.5 * (node + 1.0), rule.vectors[(0, j)] * rule.vectors[(0, j)]);
        let shifted = Mat::from_fn(n, n, |i, j| eye[(i, j)] + t * x[(i, j)]);
        let (term, _) = solve(op, &shifted, &x)?;
        out = Mat::from_fn(n, n, |i, j| out[(i, j)] + factor * w * term[(i, j)]);
    }
    Ok(narrow(&out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::expm;

    fn general(n: usize, seed: u64) -> Mat<f64> {
        let mut state = seed | 1;
        Mat::from_fn(n, n, |i, j| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0 + if i == j { 2.0 + i as f64 } else { 0.0 }
        })
    }

    #[test]
    fn roots_square_and_logarithms_exponentiate_back() -> Result<(), Error> {
        for n in [1, 2, 5, 12] {
            let a = general(n, 7 + n as u64);
            let r = sqrtm(a.as_ref())?;
            assert!(difference(&product(&r, &r), &a) <= 1e-13 * n as f64 * norm_1(&a), "root of size {n}");
            let l = logm(a.as_ref())?;
            assert!(difference(&expm(l.as_ref())?, &a) <= 1e-12 * n as f64 * norm_1(&a), "logarithm of size {n}");
        }
        Ok(())
    }

    #[test]
    fn scaled_triangles_are_exact_on_the_diagonal() -> Result<(), Error> {
        let a = Mat::from_fn(3, 3, |i, j| if i == j { [1e-8, 1.0, 1e8][i] } else { f64::from(u8::from(i < j)) });
        let r = sqrtm(a.as_ref())?;
        assert!((r[(0, 0)] / 1e-4 - 1.0).abs() < 1e-9 && (r[(2, 2)] / 1e4 - 1.0).abs() < 1e-14);
        let l = logm::<f32>(Mat::from_fn(1, 1, |_, _| 20.0f32).as_ref())?;
        assert!((l[(0, 0)] - 20f32.ln()).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn no_principal_value_is_an_error() {
        let negative = Mat::from_fn(2, 2, |i, j| if i == j { [2.0, -3.0][i] } else { 0.0 });
        assert!(sqrtm(negative.as_ref()).is_err());
        assert!(logm(negative.as_ref()).is_err());
        assert!(matches!(sqrtm(Mat::<f64>::zeros(2, 2).as_ref()), Err(Error::Singular { .. })));
        assert!(matches!(logm(Mat::<f64>::zeros(2, 3).as_ref()), Err(Error::ShapeMismatch { .. })));
    }
}
