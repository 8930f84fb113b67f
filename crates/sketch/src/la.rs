//! The few dense words the methods are written in: products, orthonormal bases, row and column sums, least squares.
//! All in double precision, with the bits of `numerics::dense`.

use crate::Error;
use numerics::dense::{self, Diag, Qr, Triangle};
use numerics::{Mat, MatMut, MatRef, Par};
use rayon::prelude::*;
use std::ops::Range;

/// `a b`.
pub(crate) fn mul(a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    dense::gemm(out.as_mut(), 1.0, a, b, 0.0, par);
    out
}

/// Rows of one partial sum of a product over many rows.
const CHUNK: usize = 4096;
/// Partial sums held at a time.
const WAVE: usize = 16;

/// Sums `part` over chunks of rows, added from the first to the last, so that threads change no bit. A product over many
/// rows has a small result: split over its result, threads would wait for each other after every few hundred rows.
fn over_rows(n: usize, shape: (usize, usize), par: Par, part: impl Fn(Range<usize>) -> Mat<f64> + Sync) -> Mat<f64> {
    let mut out = Mat::zeros(shape.0, shape.1);
    let chunk = |c: usize| c * CHUNK..((c + 1) * CHUNK).min(n);
    let chunks = n.div_ceil(CHUNK);
    for first in (0..chunks).step_by(WAVE) {
        let wave = first..(first + WAVE).min(chunks);
        let parts: Vec<Mat<f64>> = if par.degree() > 1 {
            wave.into_par_iter().map(|c| part(chunk(c))).collect()
        } else {
            wave.map(|c| part(chunk(c))).collect()
        };
        parts.iter().for_each(|p| dense::axpy(out.as_mut(), 1.0, p.as_ref()));
    }
    out
}

/// `a^T b`.
pub(crate) fn mul_tn(a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let n = a.nrows();
    if n <= 2 * CHUNK {
        return mul(a.transpose(), b, par);
    }
    over_rows(n, (a.ncols(), b.ncols()), par, |rows| {
        let (a, b) = (a.subrows(rows.start, rows.len()), b.subrows(rows.start, rows.len()));
        mul(a.transpose(), b, Par::Seq)
    })
}

/// `a b^T`.
pub(crate) fn mul_nt(a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    mul(a, b.transpose(), par)
}

/// `y - a b`.
pub(crate) fn sub_mul(mut y: Mat<f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    dense::gemm(y.as_mut(), -1.0, a, b, 1.0, par);
    y
}

/// `a^T a`, exactly symmetric.
pub(crate) fn gram(a: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let (n, k) = (a.nrows(), a.ncols());
    let lower = |a: MatRef<'_, f64>, par| {
        let mut out = Mat::zeros(k, k);
        dense::syrk(out.as_mut(), 1.0, a.transpose(), 0.0, par);
        out
    };
    let mut out = if n <= 2 * CHUNK {
        lower(a, par)
    } else {
        over_rows(n, (k, k), par, |rows| lower(a.subrows(rows.start, rows.len()), Par::Seq))
    };
    dense::mirror_lower(out.as_mut());
    out
}

/// `(a^T b + b^T a) / 2`.
pub(crate) fn symmetric_core(a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let mut out = mul_tn(a, b, par);
    dense::symmetrize(out.as_mut());
    out
}

/// An orthonormal basis of the columns (completed arbitrarily where they are dependent).
pub(crate) fn orth(y: Mat<f64>, par: Par) -> Result<Mat<f64>, Error> {
    Ok(dense::cholesky_qr(y, par)?.q)
}

/// The same for columns that are well conditioned, as tall Gaussian ones are: `Y L^-T` with `Y^T Y = L L^T`, or by
/// [`orth`] where the factor shows that they are not.
pub(crate) fn orth_random(mut y: Mat<f64>, par: Par) -> Result<Mat<f64>, Error> {
    /// Least ratio of the pivots of L. The basis is orthonormal to `eps` divided by its square.
    const RATIO: f64 = 0.3;
    let k = y.ncols();
    let llt = match dense::Llt::new(gram(y.as_ref(), par).as_ref(), par) {
        Ok(llt) => llt,
        Err(numerics::Error::NotPositiveDefinite { .. }) => return orth(y, par),
        Err(e) => return Err(e.into()),
    };
    let pivots = || (0..k).map(|j| llt.l()[(j, j)]);
    if pivots().fold(f64::INFINITY, f64::min) < RATIO * pivots().fold(0.0, f64::max) {
        return orth(y, par);
    }
    solve_rows(y.as_mut(), llt.l(), par);
    Ok(y)
}

/// `y <- y l^-T` for a lower triangle, rows spread over threads.
fn solve_rows(y: MatMut<'_, f64>, l: MatRef<'_, f64>, par: Par) {
    let solve = |y: MatMut<'_, f64>| dense::trsm(Triangle::Lower, Diag::NonUnit, l, y.transpose_mut(), Par::Seq);
    if par.degree() == 1 || y.nrows() < 512 {
        return solve(y);
    }
    y.par_row_chunks_mut(512).for_each(solve);
}

/// `y - q q^T y`, twice, so that the result is orthogonal to q to rounding.
pub(crate) fn project_out(q: MatRef<'_, f64>, y: Mat<f64>, par: Par) -> Mat<f64> {
    let mut y = y;
    for _ in 0..2 {
        let c = mul_tn(q, y.as_ref(), par);
        y = sub_mul(y, q, c.as_ref(), par);
    }
    y
}

/// What new columns add to an orthonormal basis.
pub(crate) struct Extension {
    /// Coordinates of the new columns in the old basis.
    pub(crate) inside: Mat<f64>,
    /// New orthonormal columns, orthogonal to the old ones even where the new columns bring nothing new.
    pub(crate) q: Mat<f64>,
    /// Coordinates in them, upper triangular.
    pub(crate) r: Mat<f64>,
}

/// `y = q inside + q_new r`.
pub(crate) fn extend_basis(q: MatRef<'_, f64>, y: Mat<f64>, par: Par) -> Result<Extension, Error> {
    if q.ncols() == 0 {
        let inside = Mat::zeros(0, y.ncols());
        let Qr { q, r, .. } = dense::cholesky_qr(y, par)?;
        return Ok(Extension { inside, q, r });
    }
    let mut inside = mul_tn(q, y.as_ref(), par);
    let mut rest = sub_mul(y, q, inside.as_ref(), par);
    let again = mul_tn(q, rest.as_ref(), par);
    rest = sub_mul(rest, q, again.as_ref(), par);
    dense::axpy(inside.as_mut(), 1.0, again.as_ref());
    let basis = orth(rest.clone(), par)?;
    // where the rest is rounding noise its directions need not be orthogonal to q
    let fresh = orth(project_out(q, basis, par), par)?;
    let r = mul_tn(fresh.as_ref(), rest.as_ref(), par);
    let r = Mat::from_fn(r.nrows(), r.ncols(), |i, j| if i <= j { r[(i, j)] } else { 0.0 });
    Ok(Extension { inside, q: fresh, r })
}

/// `out_i = sum_j a_ij b_ij`.
pub(crate) fn row_dots(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Vec<f64> {
    let mut out = vec![0.0; a.nrows()];
    for j in 0..a.ncols() {
        out.iter_mut().zip(a.col(j).iter().zip(b.col(j).iter())).for_each(|(o, (x, y))| *o += x * y);
    }
    out
}

/// `out_j = sum_i a_ij b_ij`.
pub(crate) fn col_dots(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Vec<f64> {
    let mut out = vec![0.0; a.ncols()];
    dense::col_dots(a, b, &mut out);
    out
}

/// Squared Frobenius norm.
pub(crate) fn fro_sq(a: MatRef<'_, f64>) -> f64 {
    col_dots(a, a).iter().sum()
}

/// Trace of a square matrix.
pub(crate) fn tr(a: MatRef<'_, f64>) -> f64 {
    (0..a.nrows().min(a.ncols())).map(|i| a[(i, i)]).sum()
}

/// Side by side.
pub(crate) fn hcat(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let k = a.ncols();
    let mut out = Mat::zeros(a.nrows(), k + b.ncols());
    dense::copy(out.as_mut().subcols_mut(0, k), a);
    dense::copy(out.as_mut().subcols_mut(k, b.ncols()), b);
    out
}

/// Columns added to a matrix; an empty one is replaced without a copy.
pub(crate) fn append(a: &mut Mat<f64>, more: Mat<f64>) {
    if a.ncols() == 0 {
        *a = more;
    } else {
        *a = hcat(a.as_ref(), more.as_ref());
    }
}

/// `a diag(s)`.
pub(crate) fn scale_cols(a: MatRef<'_, f64>, s: &[f64]) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] * s[j])
}

/// `diag(d) a`.
pub(crate) fn scale_rows(d: &[f64], a: MatRef<'_, f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| d[i] * a[(i, j)])
}

/// A copy of some columns.
pub(crate) fn columns(a: MatRef<'_, f64>, range: Range<usize>) -> Mat<f64> {
    a.subcols(range.start, range.len()).to_owned()
}

/// The columns in another order.
pub(crate) fn permute_cols(a: MatRef<'_, f64>, order: &[usize]) -> Mat<f64> {
    Mat::from_fn(a.nrows(), order.len(), |i, j| a[(i, order[j])])
}

/// `r^-T` of an upper triangle.
pub(crate) fn inverse_transpose(r: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let k = r.ncols();
    let mut out = Mat::from_fn(k, k, |i, j| if i == j { 1.0 } else { 0.0 });
    dense::trsm(Triangle::Lower, Diag::NonUnit, r.transpose(), out.as_mut(), par);
    out
}

/// `r^-1` of an upper triangle.
pub(crate) fn inverse(r: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let k = r.ncols();
    let mut out = Mat::from_fn(k, k, |i, j| if i == j { 1.0 } else { 0.0 });
    dense::trsm(Triangle::Upper, Diag::NonUnit, r, out.as_mut(), par);
    out
}

/// The pseudo-inverse: singular values up to `eps max(m, n)` times the largest count as zero.
pub(crate) fn pinv(a: MatRef<'_, f64>, par: Par) -> Result<Mat<f64>, Error> {
    let f = dense::svd(a)?;
    let cut = f64::EPSILON * a.nrows().max(a.ncols()) as f64 * f.s.first().copied().unwrap_or(0.0);
    let inverse: Vec<f64> = f.s.iter().map(|&s| if s > cut { s.recip() } else { 0.0 }).collect();
    Ok(mul_nt(scale_cols(f.v.as_ref(), &inverse).as_ref(), f.u.as_ref(), par))
}

/// The least-squares solution `a^+ b` of a tall `a`: by QR, or by the pseudo-inverse if the columns of `a` are
/// dependent to `eps max(m, n)`.
pub(crate) fn lstsq(a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Result<Mat<f64>, Error> {
    let k = a.ncols();
    let f = dense::qr(a)?;
    let top = (0..k.min(f.r.nrows())).map(|j| f.r[(j, j)].abs()).fold(0.0, f64::max);
    let cut = f64::EPSILON * a.nrows().max(k) as f64 * top;
    if a.nrows() < k || (0..k).any(|j| f.r[(j, j)].abs() <= cut) {
        return Ok(mul(pinv(a, par)?.as_ref(), b, par));
    }
    let mut x = mul_tn(f.q.as_ref(), b, par);
    dense::trsm(Triangle::Upper, Diag::NonUnit, f.r.as_ref(), x.as_mut(), par);
    Ok(x)
}
