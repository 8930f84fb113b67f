//! QR of tall matrices by two Cholesky factorisations, where the columns allow it.
//!
//! With `Y^T Y = L L^T` the columns of `P = Y L^-T` are nearly orthonormal if Y is not too badly conditioned, and the same
//! once more makes them so to rounding (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya 2015, *Roundoff error analysis of the CholeskyQR2
//! algorithm*, ETNA 44). All of it is products with pieces of rows that stay in cache: `5 n k^2` flops at the rate of products, where
//! Householder reflections ([`TallQr`]) take `6 n k^2` at a third of it.
//!
//! Products of a decaying spectrum are not well conditioned. So the pivots of L are looked at first, and then `P^T P` itself, which
//! shows what was lost: columns that fail are factored by reflections ([`TallQr`]). Which way is taken depends on the
//! numbers alone, and the pieces on the shape, so that threads change no bit.

use super::TallQr;
use crate::dense::{self, Diag, Llt, Qr, Triangle};
use crate::{Error, Mat, MatMut, MatRef, Par, Scalar};
use rayon::prelude::*;

/// Rows that are worked on at a time.
const ROWS: usize = 512;
/// Most pieces whose sums are held.
const PIECES: usize = 64;
/// Largest error of `P^T P` that the second factorisation mends.
const LOST: f64 = 0.1;

/// Least ratio of the pivots of L, so that the Gram matrix keeps half of the digits: 1e-6 in double precision.
fn least_ratio<T: Scalar>() -> f64 {
    67.0 * T::EPS.to_f64().sqrt()
}

/// Pivots whose squares, summed and divided, stay in the range of numbers.
fn range<T: Scalar>() -> std::ops::Range<f64> {
    let least = T::TINY.to_f64().cbrt();
    least..least.recip()
}

/// `Y = P turn^-1 R`: a factorisation `Y = Q R` whose `Q = P turn` is not formed.
///
/// To multiply by Q, turn the small factor. That saves a pass over the tall one, and its memory.
#[derive(Clone, Debug)]
pub struct CholeskyQr<T> {
    /// Columns that span those of Y, `n x k`; orthonormal if there is no `turn`.
    pub p: Mat<T>,
    /// What makes them orthonormal to rounding, `k x k`, upper triangular; none where reflections had to be taken.
    pub turn: Option<Mat<T>>,
    /// The triangle R, `k x k`.
    pub r: Mat<T>,
    /// `P^T X` of the columns X beside Y, `k x m`.
    pub beside: Mat<T>,
}

/// Factors Y (`n x k`, `n >= k`) in its memory, and multiplies the basis with columns X (`n x m`) in the same pass. Cost:
/// `3 n k^2 + 2 n k m` flops at the rate of products if the columns are well conditioned, else `6 n k^2` of reflections on top, most often of
/// `n k^2` alone; room for 64 sums of `k x (k + m)`. The same bits for every `par`.
///
/// # Errors
/// `ShapeMismatch` if Y has fewer rows than columns or X another number of rows, `NotFinite` for Y.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let y = Mat::from_fn(2000, 3, |i, j| ((i * (j + 2)) as f64 * 0.1).sin());
/// let x = Mat::from_fn(2000, 1, |i, _| i as f64);
/// let f = dense::cholesky_qr_beside(y.clone(), x.as_ref(), Par::Seq)?;
/// let turn = f.turn.expect("these columns are well conditioned");
/// let q = &f.p * &turn;
/// assert!((&q * &f.r - &y).norm_max() < 1e-13);
/// let (beside, plain) = (turn.transpose() * &f.beside, q.transpose() * &x);
/// assert!((&beside - &plain).norm_max() < 1e-11 * plain.norm_max());
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn cholesky_qr_beside<T: Scalar>(mut y: Mat<T>, x: MatRef<'_, T>, par: Par) -> Result<CholeskyQr<T>, Error> {
    let (n, k) = (y.nrows(), y.ncols());
    if n < k {
        return Err(Error::shape("cholesky qr", "at least as many rows as columns", format!("{n} x {k}")));
    }
    if x.nrows() != n {
        return Err(Error::shape("cholesky qr", format!("{n} rows beside"), x.nrows().to_string()));
    }
    let Some(l) = first_factor(y.as_mut(), par) else { return reflected(y, None, x, par) };
    let room = || (Mat::zeros(k, k), Mat::zeros(k, x.ncols()));
    let parts = sweep(y.as_mut(), par, room, |at, mut block, (gram, beside)| {
        dense::trsm(Triangle::Lower, Diag::NonUnit, l.as_ref(), block.as_mut().transpose_mut(), Par::Seq);
        add_gram(gram, block.as_ref());
        add_product(beside, block.as_ref(), at, x);
    });
    let (mut gram, mut beside) = room();
    for (g, b) in &parts {
        dense::axpy(gram.as_mut(), T::ONE, g.as_ref());
        dense::axpy(beside.as_mut(), T::ONE, b.as_ref());
    }
    let off = |i: usize, j: usize| (gram[(i, j)].to_f64() - f64::from(u8::from(i == j))).abs();
    let kept = (0..k).all(|j| (j..k).all(|i| off(i, j) * (k as f64) < LOST));
    match Llt::new(gram.as_ref(), par) {
        Ok(second) if kept => {
            let second = second.l().transpose();
            let r = upper(product(second, l.transpose(), par));
            let mut turn = Mat::identity(k, k);
            dense::trsm(Triangle::Upper, Diag::NonUnit, second, turn.as_mut(), par);
            Ok(CholeskyQr { p: y, turn: Some(upper(turn)), r, beside })
        }
        _ => reflected(y, Some(l.transpose()), x, par),
    }
}

/// Thin QR of any matrix in its memory, by two Cholesky factorisations where it is tall and its columns allow it. Q is orthonormal
/// and `Q R` the matrix to rounding whichever way is taken. Cost: `5 n k^2` flops, by reflections `7 n k^2` or more, see [`cholesky_qr_beside`]; fewer rows
/// than columns as in [`dense::qr`]. The same bits for every `par`.
///
/// # Errors
/// `NotFinite`.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let y = Mat::from_fn(2000, 3, |i, j| ((i * (j + 2)) as f64 * 0.1).sin());
/// let f = dense::cholesky_qr(y.clone(), Par::Seq)?;
/// assert!((&f.q * &f.r - &y).norm_max() < 1e-13);
/// assert!((f.q.transpose() * &f.q - Mat::<f64>::identity(3, 3)).norm_max() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn cholesky_qr<T: Scalar>(y: Mat<T>, par: Par) -> Result<Qr<T>, Error> {
    let (n, k) = (y.nrows(), y.ncols());
    if n < k {
        return dense::qr(y.as_ref());
    }
    let CholeskyQr { mut p, turn, r, .. } = cholesky_qr_beside(y, Mat::zeros(n, 0).as_ref(), par)?;
    if let Some(turn) = turn {
        let room = || Mat::zeros(ROWS, k);
        sweep(p.as_mut(), par, room, |_, block, room: &mut Mat<T>| {
            let mut turned = room.as_mut().subrows_mut(0, block.nrows());
            dense::gemm(turned.as_mut(), T::ONE, block.as_ref(), turn.as_ref(), T::ZERO, Par::Seq);
            dense::copy(block, turned.as_ref());
        });
    }
    Ok(Qr { q: p, rank: k, r })
}

/// L of the Gram matrix, if it can be trusted.
fn first_factor<T: Scalar>(y: MatMut<'_, T>, par: Par) -> Option<Mat<T>> {
    let (n, k) = (y.nrows(), y.ncols());
    if k == 0 || n < 2 * k {
        return None;
    }
    let parts = sweep(y, par, || Mat::zeros(k, k), |_, block, gram| add_gram(gram, block.as_ref()));
    let mut gram = Mat::zeros(k, k);
    parts.iter().for_each(|part| dense::axpy(gram.as_mut(), T::ONE, part.as_ref()));
    let llt = Llt::new(gram.as_ref(), par).ok()?;
    let pivots = || (0..k).map(|j| llt.l()[(j, j)].to_f64());
    let (least, most) = (pivots().fold(f64::INFINITY, f64::min), pivots().fold(0.0, f64::max));
    let range = range::<T>();
    let sound = least >= least_ratio::<T>() * most && range.contains(&least) && range.contains(&most);
    sound.then(|| llt.l().to_owned())
}

/// By reflections; `before` is the triangle that Y has been divided by.
fn reflected<T: Scalar>(
    y: Mat<T>,
    before: Option<MatRef<'_, T>>,
    x: MatRef<'_, T>,
    par: Par,
) -> Result<CholeskyQr<T>, Error> {
    let f = TallQr::of(y, par)?;
    let r = before.map_or_else(|| f.r().to_owned(), |before| upper(product(f.r(), before, par)));
    let mut p = f.into_q(par);
    let k = p.ncols();
    let room = || Mat::zeros(k, x.ncols());
    let mut beside = room();
    if x.ncols() > 0 {
        let parts = sweep(p.as_mut(), par, room, |at, block, beside| add_product(beside, block.as_ref(), at, x));
        parts.iter().for_each(|part| dense::axpy(beside.as_mut(), T::ONE, part.as_ref()));
    }
    Ok(CholeskyQr { p, turn: None, r, beside })
}

/// Adds the lower triangle of `a^T a`.
fn add_gram<T: Scalar>(gram: &mut Mat<T>, a: MatRef<'_, T>) {
    dense::syrk(gram.as_mut(), T::ONE, a.transpose(), T::ONE, Par::Seq);
}

/// Adds `block^T x` over the rows of x from `at` on.
fn add_product<T: Scalar>(sum: &mut Mat<T>, block: MatRef<'_, T>, at: usize, x: MatRef<'_, T>) {
    if x.ncols() > 0 {
        let x = x.subrows(at, block.nrows());
        dense::gemm(sum.as_mut(), T::ONE, block.transpose(), x, T::ONE, Par::Seq);
    }
}

/// `a b`.
fn product<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) -> Mat<T> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    dense::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, par);
    out
}

/// The upper triangle, exact zeros below it.
fn upper<T: Scalar>(a: Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| if i <= j { a[(i, j)] } else { T::ZERO })
}

/// Goes through blocks of rows, each piece of them in order on one thread with room of its own, which is returned.
fn sweep<T: Scalar, R: Send>(
    y: MatMut<'_, T>,
    par: Par,
    room: impl Fn() -> R + Sync,
    run: impl Fn(usize, MatMut<'_, T>, &mut R) + Sync,
) -> Vec<R> {
    let size = y.nrows().div_ceil(PIECES).next_multiple_of(ROWS).max(ROWS);
    let piece = |(at, y): (usize, MatMut<'_, T>)| {
        let mut room = room();
        cut(y, ROWS).into_iter().for_each(|(from, block)| run(at + from, block, &mut room));
        room
    };
    let pieces = cut(y, size);
    if par.degree() > 1 && pieces.len() > 1 {
        pieces.into_par_iter().map(piece).collect()
    } else {
        pieces.into_iter().map(piece).collect()
    }
}

/// Blocks of so many rows with the number of the first.
fn cut<T: Scalar>(mut y: MatMut<'_, T>, rows: usize) -> Vec<(usize, MatMut<'_, T>)> {
    let mut out = Vec::with_capacity(y.nrows().div_ceil(rows));
    let mut at = 0;
    while y.nrows() > 0 {
        let count = rows.min(y.nrows());
        let (head, tail) = y.split_at_row_mut(count);
        out.push((at, head));
        at += count;
        y = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Role, Stream};

    fn graded(n: usize, k: usize, decay: f64) -> Mat<f64> {
        let mut s = Stream::new(0, Role::SyntheticMatrix, n as u64, k as u64);
        let g: Mat<f64> = Mat::from_fn(n, k, |_, _| s.uniform() - 0.5);
        // every column is mostly the first
        Mat::from_fn(n, k, |i, j| g[(i, 0)] + g[(i, j)] * decay.powi(j as i32))
    }

    fn narrow<T: Scalar>(a: &Mat<f64>) -> Mat<T> {
        Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(a[(i, j)]))
    }

    fn wide<T: Scalar>(a: &Mat<T>) -> Mat<f64> {
        Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].to_f64())
    }

    /// Whether Y went by Cholesky factorisations and is well factored, as by reflections.
    fn by_cholesky<T: Scalar>(a: &Mat<f64>) -> bool {
        let (n, k, unit) = (a.nrows(), a.ncols(), T::EPS.to_f64());
        let a = narrow::<T>(a);
        let f = cholesky_qr(a.clone(), Par::Seq).unwrap();
        let plain = dense::qr(a.as_ref()).unwrap();
        let taken = cholesky_qr_beside(a.clone(), a.as_ref(), Par::Seq).unwrap().turn.is_some();
        let (a, q, r) = (wide(&a), wide(&f.q), wide(&f.r));
        let gram = q.transpose() * &q - Mat::<f64>::identity(k, k);
        assert!(gram.norm_max() < 450.0 * unit, "{n} x {k}: {:e}", gram.norm_max());
        let apart = |q: &Mat<f64>, r: &Mat<f64>| (q * r - &a).norm_l2() / a.norm_l2();
        let (ours, plain) = (apart(&q, &r), apart(&wide(&plain.q), &wide(&plain.r)));
        assert!(ours < 4.0 * plain + 45.0 * unit, "{n} x {k}: {ours:e} after {plain:e}");
        assert!((0..k).all(|j| (j + 1..k).all(|i| f.r[(i, j)] == T::ZERO)));
        taken
    }

    /// Products, orthogonality and triangle, as good by two Cholesky factorisations as by reflections, whichever is taken.
    #[test]
    fn both_ways_are_orthonormal_to_rounding() {
        for (n, k, decay, ways) in [
            (3000, 20, 0.9, [true, true]),
            (5000, 30, 0.3, [false, false]),
            (700, 5, 1.0, [true, true]),
            (40_000, 12, 0.5, [true, false]),
            (20, 9, 0.7, [true, false]),
            (60, 31, 1.0, [false, false]),
            (3, 3, 1.0, [false, false]),
        ] {
            let a = graded(n, k, decay);
            assert_eq!([by_cholesky::<f64>(&a), by_cholesky::<f32>(&a)], ways, "{n} x {k}, {decay}");
        }
    }

    /// What is nearly orthonormal becomes so by the turn, and the products beside go with it.
    #[test]
    fn the_turn_makes_the_basis() {
        let a = graded(4000, 15, 0.8);
        let x = graded(4000, 7, 1.0);
        let f = cholesky_qr_beside(a.clone(), x.as_ref(), Par::Seq).unwrap();
        let q = &f.p * f.turn.as_ref().unwrap();
        assert!((q.transpose() * &q - Mat::<f64>::identity(15, 15)).norm_max() < 1e-13);
        assert!((&q * &f.r - &a).norm_l2() < 1e-13 * a.norm_l2());
        assert!((f.p.transpose() * &x - &f.beside).norm_max() < 1e-12 * x.norm_l2());
    }

    /// Lengths whose squares leave the range of doubles, zero and dependent columns.
    #[test]
    fn extremes_take_reflections() {
        for scale in [1e-170, 1e170] {
            let a = graded(3000, 6, 0.9);
            let a = Mat::from_fn(3000, 6, |i, j| scale * a[(i, j)]);
            let Qr { q, r, .. } = cholesky_qr(a.clone(), Par::Seq).unwrap();
            assert!((q.transpose() * &q - Mat::<f64>::identity(6, 6)).norm_max() < 1e-13);
            assert!((&q * &r - &a).norm_max() < 1e-13 * a.norm_max());
        }
        for column in [0.0, 1.0] {
            let a = Mat::from_fn(2000, 3, |i, j| if j == 1 { column } else { (1 + i) as f64 * (1 + j) as f64 });
            let Qr { q, r, .. } = cholesky_qr(a.clone(), Par::Seq).unwrap();
            assert!((q.transpose() * &q - Mat::<f64>::identity(3, 3)).norm_max() < 1e-13);
            assert!((&q * &r - &a).norm_max() < 1e-10 * a.norm_max());
        }
    }

    #[test]
    fn threads_change_no_bit() {
        for (n, decay, ways) in [(50_001, 0.9, true), (30_000, 0.2, false)] {
            let (a, x) = (graded(n, 21, decay), graded(n, 4, 1.0));
            let one = cholesky_qr_beside(a.clone(), x.as_ref(), Par::Seq).unwrap();
            let two = cholesky_qr_beside(a.clone(), x.as_ref(), Par::rayon(2)).unwrap();
            assert_eq!(one.turn.is_some(), ways);
            assert!(one.p == two.p && one.turn == two.turn && one.r == two.r && one.beside == two.beside);
            let (one, two) = (cholesky_qr(a.clone(), Par::Seq).unwrap(), cholesky_qr(a, Par::rayon(2)).unwrap());
            assert!(one.q == two.q && one.r == two.r);
        }
    }

    #[test]
    fn bad_input() {
        let nan = Mat::from_fn(2000, 3, |i, _| if i == 1999 { f64::NAN } else { 1.0 });
        assert!(matches!(cholesky_qr(nan, Par::Seq), Err(Error::NotFinite { .. })));
        let beside = |n, k, rows| {
            cholesky_qr_beside(Mat::<f64>::zeros(n, k), Mat::zeros(rows, 1).as_ref(), Par::Seq).map(|f| f.p.ncols())
        };
        assert!(matches!(beside(2, 3, 2), Err(Error::ShapeMismatch { .. })));
        assert!(matches!(beside(30, 3, 29), Err(Error::ShapeMismatch { .. })));
        assert_eq!((beside(30, 0, 30), beside(0, 0, 0)), (Ok(0), Ok(0)));
        let Qr { q, r, .. } = cholesky_qr(Mat::<f64>::zeros(2, 3), Par::Seq).unwrap();
        assert_eq!((q.ncols(), r.ncols()), (2, 3));
    }
}
