//! Orthonormal bases of tall matrices, by two Cholesky factorisations where the columns allow it.
//!
//! With `Y^T Y = L L^T` the columns of `P = Y L^-T` are nearly orthonormal if Y is not too badly conditioned, and the same
//! once more makes them so to rounding (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya 2015, *Roundoff error analysis of the CholeskyQR2
//! algorithm*, ETNA 44). All of it is products with pieces of rows that stay in cache: `8 n k^2` flops at the rate of products, where
//! Householder reflections take `8 n k^2` at a third of it.
//!
//! Products of a decaying spectrum are not well conditioned. So the pivots of L are looked at first, and then `P^T P` itself, which
//! shows what was lost: columns that fail are factored by reflections ([`TallQr`]). Which way is taken depends on the
//! numbers alone, and the pieces on the shape, so that threads change no bit.

use crate::{Error, la};
use numerics::dense::{self, Diag, TallQr, Triangle};
use numerics::{Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows that are worked on at a time.
const ROWS: usize = 512;
/// Most pieces whose sums are held.
const PIECES: usize = 64;
/// Least ratio of the pivots of L, and their range, so that the Gram matrix keeps half of the digits.
const RATIO: f64 = 1e-6;
const RANGE: std::ops::Range<f64> = 1e-100..1e100;
/// Largest error of `P^T P` that the second factorisation mends.
const LOST: f64 = 0.1;

/// `Y = P turn^-1 R`.
pub(crate) struct Nearly {
    /// Columns that span those of Y; orthonormal if there is no `turn`.
    pub(crate) p: Mat<f64>,
    /// What makes them orthonormal to rounding: `Q = P turn`.
    pub(crate) turn: Option<Mat<f64>>,
    /// The triangle of `Y = Q R`.
    pub(crate) r: Mat<f64>,
    /// `P^T X` of what was given beside Y.
    pub(crate) beside: Mat<f64>,
}

/// A basis of the columns of Y (as many rows as columns at least), in its memory, and its products with the columns of `x`.
///
/// # Errors
/// `NotFinite`.
pub(crate) fn nearly(mut y: Mat<f64>, x: MatRef<'_, f64>, par: Par) -> Result<Nearly, Error> {
    let k = y.ncols();
    let Some(l) = first_factor(y.as_mut(), par) else { return reflected(y, None, x, par) };
    let room = || (Mat::zeros(k, k), Mat::zeros(k, x.ncols()));
    let parts = sweep(y.as_mut(), par, room, |at, mut block, (gram, beside)| {
        dense::trsm(Triangle::Lower, Diag::NonUnit, l.as_ref(), block.as_mut().transpose_mut(), Par::Seq);
        add_gram(gram, block.as_ref());
        if x.ncols() > 0 {
            let x = x.subrows(at, block.nrows());
            dense::gemm(beside.as_mut(), 1.0, block.as_ref().transpose(), x, 1.0, Par::Seq);
        }
    });
    let (mut gram, mut beside) = room();
    for (g, b) in &parts {
        dense::axpy(gram.as_mut(), 1.0, g.as_ref());
        dense::axpy(beside.as_mut(), 1.0, b.as_ref());
    }
    let off = |i: usize, j: usize| (gram[(i, j)] - f64::from(u8::from(i == j))).abs();
    let kept = (0..k).all(|j| (j..k).all(|i| off(i, j) * (k as f64) < LOST));
    match dense::Llt::new(gram.as_ref(), par) {
        Ok(second) if kept => {
            let r = upper(la::mul_nt(second.l().transpose(), l.as_ref(), par));
            let turn = upper(la::inverse(second.l().transpose(), par));
            Ok(Nearly { p: y, turn: Some(turn), r, beside })
        }
        _ => reflected(y, Some(l.transpose()), x, par),
    }
}

/// `Y = Q R` in the memory of Y; of fewer rows than columns as [`dense::qr`] has it.
///
/// # Errors
/// `NotFinite`.
pub(crate) fn qr(y: Mat<f64>, par: Par) -> Result<(Mat<f64>, Mat<f64>), Error> {
    let (n, k) = (y.nrows(), y.ncols());
    if n < k {
        let f = dense::qr(y.as_ref())?;
        return Ok((f.q, f.r));
    }
    let Nearly { mut p, turn, r, .. } = nearly(y, Mat::zeros(n, 0).as_ref(), par)?;
    if let Some(turn) = turn {
        sweep(
            p.as_mut(),
            par,
            || Mat::zeros(ROWS, k),
            |_, block, room: &mut Mat<f64>| {
                let mut turned = room.as_mut().subrows_mut(0, block.nrows());
                dense::gemm(turned.as_mut(), 1.0, block.as_ref(), turn.as_ref(), 0.0, Par::Seq);
                dense::copy(block, turned.as_ref());
            },
        );
    }
    Ok((p, r))
}

/// L of the Gram matrix, if it can be trusted.
fn first_factor(y: MatMut<'_, f64>, par: Par) -> Option<Mat<f64>> {
    let (n, k) = (y.nrows(), y.ncols());
    if k == 0 || n < 2 * k {
        return None;
    }
    let parts = sweep(y, par, || Mat::zeros(k, k), |_, block, gram| add_gram(gram, block.as_ref()));
    let mut gram = Mat::zeros(k, k);
    parts.iter().for_each(|part| dense::axpy(gram.as_mut(), 1.0, part.as_ref()));
    let llt = dense::Llt::new(gram.as_ref(), par).ok()?;
    let pivots = || (0..k).map(|j| llt.l()[(j, j)]);
    let (least, most) = (pivots().fold(f64::INFINITY, f64::min), pivots().fold(0.0, f64::max));
    let sound = least >= RATIO * most && RANGE.contains(&least) && RANGE.contains(&most);
    sound.then(|| llt.l().to_owned())
}

/// By reflections; `before` is the triangle that Y has been divided by.
fn reflected(y: Mat<f64>, before: Option<MatRef<'_, f64>>, x: MatRef<'_, f64>, par: Par) -> Result<Nearly, Error> {
    let f = TallQr::of(y, par)?;
    let r = before.map_or_else(|| f.r().to_owned(), |before| upper(la::mul(f.r(), before, par)));
    let p = f.into_q(par);
    let beside = la::mul_tn(p.as_ref(), x, par);
    Ok(Nearly { p, turn: None, r, beside })
}

/// Adds the lower triangle of `a^T a`.
fn add_gram(gram: &mut Mat<f64>, a: MatRef<'_, f64>) {
    dense::syrk(gram.as_mut(), 1.0, a.transpose(), 1.0, Par::Seq);
}

/// The upper triangle, exact zeros below it.
fn upper(a: Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| if i <= j { a[(i, j)] } else { 0.0 })
}

/// Goes through blocks of rows, each piece of them in order on one thread with room of its own, which is returned.
fn sweep<R: Send>(
    y: MatMut<'_, f64>,
    par: Par,
    room: impl Fn() -> R + Sync,
    run: impl Fn(usize, MatMut<'_, f64>, &mut R) + Sync,
) -> Vec<R> {
    let size = y.nrows().div_ceil(PIECES).next_multiple_of(ROWS).max(ROWS);
    let piece = |(at, y): (usize, MatMut<'_, f64>)| {
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
fn cut(mut y: MatMut<'_, f64>, rows: usize) -> Vec<(usize, MatMut<'_, f64>)> {
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
    use numerics::rng::{Role, Stream};

    fn graded(n: usize, k: usize, decay: f64) -> Mat<f64> {
        let mut s = Stream::new(0, Role::SyntheticMatrix, n as u64, k as u64);
        let g: Mat<f64> = Mat::from_fn(n, k, |_, _| s.uniform() - 0.5);
        // every column is mostly the first
        Mat::from_fn(n, k, |i, j| g[(i, 0)] + g[(i, j)] * decay.powi(j as i32))
    }

    /// Products, orthogonality and triangle, as good by two Cholesky factorisations as by reflections, whichever is taken.
    #[test]
    fn both_ways_are_orthonormal_to_rounding() {
        let mut ways = [0, 0];
        for (n, k, decay) in
            [(3000, 20, 0.9), (5000, 30, 0.3), (700, 5, 1.0), (40_000, 12, 0.5), (20, 9, 0.7), (60, 31, 1.0)]
        {
            let a = graded(n, k, decay);
            ways[usize::from(nearly(a.clone(), a.as_ref(), Par::Seq).unwrap().turn.is_none())] += 1;
            let (q, r) = qr(a.clone(), Par::Seq).unwrap();
            let gram = q.transpose() * &q - Mat::<f64>::identity(k, k);
            assert!(gram.norm_max() < 1e-13, "{n} x {k}, {decay}: {}", gram.norm_max());
            let apart = |q: &Mat<f64>, r: &Mat<f64>| (q * r - &a).norm_l2() / a.norm_l2();
            let plain = dense::qr(a.as_ref()).unwrap();
            let (ours, plain) = (apart(&q, &r), apart(&plain.q, &plain.r));
            assert!(ours < 4.0 * plain + 1e-14, "{n} x {k}, {decay}: {ours} after {plain}");
            assert!((0..k).all(|j| (j + 1..k).all(|i| r[(i, j)] == 0.0)));
        }
        assert!(ways[0] > 1 && ways[1] > 1, "{ways:?}");
    }

    /// What is nearly orthonormal becomes so by the turn, and the products beside go with it.
    #[test]
    fn the_turn_makes_the_basis() {
        let a = graded(4000, 15, 0.8);
        let x = graded(4000, 7, 1.0);
        let f = nearly(a.clone(), x.as_ref(), Par::Seq).unwrap();
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
            let (q, r) = qr(a.clone(), Par::Seq).unwrap();
            assert!((q.transpose() * &q - Mat::<f64>::identity(6, 6)).norm_max() < 1e-13);
            assert!((&q * &r - &a).norm_max() < 1e-13 * a.norm_max());
        }
        for column in [0.0, 1.0] {
            let a = Mat::from_fn(2000, 3, |i, j| if j == 1 { column } else { (1 + i) as f64 * (1 + j) as f64 });
            let (q, r) = qr(a.clone(), Par::Seq).unwrap();
            assert!((q.transpose() * &q - Mat::<f64>::identity(3, 3)).norm_max() < 1e-13);
            assert!((&q * &r - &a).norm_max() < 1e-10 * a.norm_max());
        }
        assert!(qr(Mat::from_fn(2000, 3, |i, _| if i == 1999 { f64::NAN } else { 1.0 }), Par::Seq).is_err());
    }

    #[test]
    fn threads_change_no_bit() {
        for (n, decay) in [(50_001, 0.9), (30_000, 0.2)] {
            let a = graded(n, 21, decay);
            let one = qr(a.clone(), Par::Seq).unwrap();
            assert!(one == qr(a, Par::rayon(2)).unwrap());
        }
    }
}
