//! Products and triangular solves whose bits depend neither on the number of threads nor on the number of columns.
//!
//! faer has three families of kernels: matrix-vector ones for a lone column or row, small ones up to 4096
//! multiplications, and large ones. Their orders of addition agree only between the last two, and only for inner
//! dimensions up to 64: beyond, the small ones round after every 64 terms if the left factor is transposed, the
//! large ones after 512. In `out + alpha a b` the large ones round the product with `alpha`, the small ones fuse it
//! with the addition. So a lone column (or row) is multiplied several times over into a small buffer on the
//! stack, at most 128 rows at a time, and with an inner dimension beyond 64 often enough to leave the small range; a small product is handled as lone
//! columns where the two families differ.

use super::{Diag, Triangle, elementwise};
use crate::{MatMut, MatRef, Par, Scalar, simd};
use faer::prelude::*;

/// Rows of the stack buffer and of a diagonal block of [`trsm`].
const BLOCK: usize = 128;
/// faer's small kernels end here (multiplications).
const SMALL: usize = 16 * 16 * 16;
/// Up to this inner dimension the small kernels have the bits of the large ones.
const EQUAL: usize = 64;
/// Order of the diagonal blocks that [`syrk`] computes whole.
const LEAF: usize = 64;
/// From this many multiplications a lone column is split over threads.
const PARALLEL: usize = 256 * 256;
/// From this many multiplications any other product is.
const HALVED: usize = 1 << 20;
/// What halves are multiples of: rows and columns of faer's kernels.
const KERNEL: (usize, usize) = (96, 8);

/// `out = alpha a b + beta out`.
///
/// `beta == 0` never reads `out`; `alpha == 0` or an empty inner dimension only scales. No allocation. The bits are
/// the same for every `par`, and those of a row or column do not depend on its neighbours. Panics on a shape mismatch.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let a = Mat::from_fn(2, 3, |i, j| (i + j) as f64);
/// let b = Mat::from_fn(3, 1, |_, _| 1.0);
/// let mut out = Mat::from_fn(2, 1, |_, _| f64::NAN);
/// dense::gemm(out.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, Par::Seq);
/// assert_eq!((out[(0, 0)], out[(1, 0)]), (3.0, 6.0));
/// ```
pub fn gemm<T: Scalar>(mut out: MatMut<'_, T>, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, beta: T, par: Par) {
    assert_eq!(a.ncols(), b.nrows(), "gemm: inner dimensions differ");
    assert_eq!((out.nrows(), out.ncols()), (a.nrows(), b.ncols()), "gemm: result has the wrong shape");
    if out.nrows() == 0 || out.ncols() == 0 {
        return;
    }
    if alpha == T::ZERO || a.ncols() == 0 {
        return elementwise::scale(out, beta);
    }
    if beta != T::ZERO {
        elementwise::scale(out.rb_mut(), beta);
    }
    let add = beta != T::ZERO;
    if a.ncols() == 1 {
        rank_one(out, alpha, a, b, add);
    } else if out.ncols() == 1 {
        lone_column(out, add, a, b, alpha, par);
    } else if out.nrows() == 1 {
        lone_column(out.transpose_mut(), add, b.transpose(), a.transpose(), alpha, par);
    } else if (a.ncols() > EQUAL || rounds_alpha(add, alpha)) && out.nrows() * out.ncols() * a.ncols() <= SMALL {
        for j in 0..out.ncols() {
            lone_column(out.rb_mut().subcols_mut(j, 1), add, a, b.subcols(j, 1), alpha, par);
        }
    } else {
        by_halves(out, add, a, b, alpha, par);
    }
}

/// A product of faer's large kernels, by halves of the result as long as there are threads for them.
///
/// Its own threads meet at a barrier that is allocated and entered anew by each product: a product of order 256, a third of a millisecond,
/// gained a seventh from the second one. Halves meet once.
fn by_halves<T: Scalar>(out: MatMut<'_, T>, add: bool, a: MatRef<'_, T>, b: MatRef<'_, T>, alpha: T, par: Par) {
    let (ways, rows, cols) = (par.degree(), out.nrows(), out.ncols());
    if ways <= 1 || rows.saturating_mul(cols).saturating_mul(a.ncols()) < HALVED {
        return T::matmul(out, add, a, b, alpha);
    }
    if out.row_stride().unsigned_abs() > out.col_stride().unsigned_abs() {
        return by_halves(out.transpose_mut(), add, b.transpose(), a.transpose(), alpha, par);
    }
    let by_columns = cols >= 8 * KERNEL.1 && (rows <= cols || rows < 8 * KERNEL.0);
    let (len, unit) = if by_columns { (cols, KERNEL.1) } else { (rows, KERNEL.0) };
    let middle = ((len * (ways / 2) / ways + unit / 2) / unit).max(1) * unit;
    // A lone row or column would go to another kernel.
    if middle + 2 > len {
        return T::matmul(out, add, a, b, alpha);
    }
    let (few, more) = (Par::rayon(ways / 2), Par::rayon(ways - ways / 2));
    if by_columns {
        let ((first, last), (b_first, b_last)) = (out.split_at_col_mut(middle), b.split_at_col(middle));
        rayon::join(|| by_halves(first, add, a, b_first, alpha, few), || by_halves(last, add, a, b_last, alpha, more));
    } else {
        let ((top, bottom), (a_top, a_bottom)) = (out.split_at_row_mut(middle), a.split_at_row(middle));
        rayon::join(|| by_halves(top, add, a_top, b, alpha, few), || by_halves(bottom, add, a_bottom, b, alpha, more));
    }
}

/// Whether multiplying by `alpha` before adding to the result would round.
fn rounds_alpha<T: Scalar>(add: bool, alpha: T) -> bool {
    add && alpha != T::ONE && alpha != -T::ONE
}

fn rank_one<T: Scalar>(out: MatMut<'_, T>, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, add: bool) {
    let by_rows = out.row_stride().unsigned_abs() > out.col_stride().unsigned_abs();
    let (mut out, a, b) = if by_rows { (out.transpose_mut(), b.transpose(), a.transpose()) } else { (out, a, b) };
    for j in 0..out.ncols() {
        let y = b[(0, j)];
        for i in 0..out.nrows() {
            let p = alpha * (a[(i, 0)] * y);
            out[(i, j)] = if add { out[(i, j)] + p } else { p };
        }
    }
}

/// A one-column product with the bits of a wider one.
fn lone_column<T: Scalar>(out: MatMut<'_, T>, add: bool, a: MatRef<'_, T>, b: MatRef<'_, T>, alpha: T, par: Par) {
    let m = out.nrows();
    if par.degree() > 1 && m > BLOCK && m * a.ncols() >= PARALLEL {
        let half = (m / 2).next_multiple_of(BLOCK).min(m);
        let (top, bottom) = out.split_at_row_mut(half);
        let (a_top, a_bottom) = a.split_at_row(half);
        let split = if m * a.ncols() >= 2 * PARALLEL { par } else { Par::Seq };
        rayon::join(
            || lone_column(top, add, a_top, b, alpha, split),
            || lone_column(bottom, add, a_bottom, b, alpha, split),
        );
        return;
    }
    let mut out = out;
    let k = a.ncols();
    let apart = k <= EQUAL && rounds_alpha(add, alpha);
    let mut buf = [T::ZERO; 2 * BLOCK];
    for start in (0..m).step_by(BLOCK) {
        let rows = BLOCK.min(m - start);
        let a = a.subrows(start, rows);
        // a lone row, too, is multiplied twice
        let (a, height) = if rows == 1 { (repeat(a.transpose(), 2).transpose(), 2) } else { (a, rows) };
        // height * width <= max(2 * 128, 4096 / 65 + 128), so the buffer is large enough
        let width = if k > EQUAL { (SMALL / (height * k) + 1).max(2) } else { 2 };
        let mut block = MatMut::from_column_major_slice_mut(&mut buf[..height * width], height, width);
        if apart {
            T::matmul(block.rb_mut(), false, a, repeat(b, width), T::ONE);
            for i in 0..rows {
                let y = &mut out[(start + i, 0)];
                *y += alpha * block[(i, 0)];
            }
            continue;
        }
        if add {
            for j in 0..width {
                for i in 0..height {
                    block[(i, j)] = out[(start + i.min(rows - 1), 0)];
                }
            }
        }
        T::matmul(block.rb_mut(), add, a, repeat(b, width), alpha);
        for i in 0..rows {
            out[(start + i, 0)] = block[(i, 0)];
        }
    }
}

/// The same column seen several times.
fn repeat<T: Scalar>(x: MatRef<'_, T>, times: usize) -> MatRef<'_, T> {
    debug_assert_eq!(x.ncols(), 1);
    // SAFETY: with column stride 0 every column is the one column of `x`, which the view borrows for as long.
    unsafe { MatRef::from_raw_parts(x.as_ptr(), x.nrows(), times, x.row_stride(), 0) }
}

/// The lower triangle of `out = alpha a a^T + beta out`; the strict upper triangle is not touched.
///
/// About half the work of [`gemm`] (about 0.55 of its time with AVX-512, 0.61 elsewhere); [`super::mirror_lower`] completes the matrix. Panics on a shape mismatch.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let a = Mat::from_fn(2, 2, |i, j| (1 + i + 2 * j) as f64); // [1 3; 2 4]
/// let mut g = Mat::zeros(2, 2);
/// dense::syrk(g.as_mut(), 1.0, a.as_ref(), 0.0, Par::Seq);
/// dense::mirror_lower(g.as_mut());
/// assert_eq!((g[(0, 0)], g[(0, 1)], g[(1, 1)]), (10.0, 14.0, 20.0));
/// ```
pub fn syrk<T: Scalar>(mut out: MatMut<'_, T>, alpha: T, a: MatRef<'_, T>, beta: T, par: Par) {
    let n = a.nrows();
    assert_eq!((out.nrows(), out.ncols()), (n, n), "syrk: result has the wrong shape");
    if alpha == T::ZERO || a.ncols() == 0 {
        for j in 0..n {
            elementwise::scale(out.rb_mut().submatrix_mut(j, j, n - j, 1), beta);
        }
    } else if n > 0 {
        lower(out, beta, alpha, a, None, par);
    }
}

/// The lower triangle of `out = alpha a diag(w)^2 a^T + beta out`, the columns of `a` weighted by `w` on their way into the product; the
/// strict upper triangle is not touched.
///
/// Costs and promises as [`syrk`]; each number of `a` is rounded once more, by its weight. `scratch` has room for `a`
/// and is used where no kernel weighs: above order 256, and on machines without AVX-512. Panics on a shape mismatch.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let a = Mat::from_fn(2, 2, |i, j| (1 + i + 2 * j) as f64); // [1 3; 2 4]
/// let mut g = Mat::zeros(2, 2);
/// dense::syrk_weighted(g.as_mut(), 1.0, a.as_ref(), &[2.0, 1.0], 0.0, &mut [0.0; 4], Par::Seq);
/// assert_eq!((g[(0, 0)], g[(1, 0)], g[(1, 1)]), (13.0, 20.0, 32.0));
/// ```
pub fn syrk_weighted<T: Scalar>(
    mut out: MatMut<'_, T>,
    alpha: T,
    a: MatRef<'_, T>,
    weights: &[T],
    beta: T,
    scratch: &mut [T],
    par: Par,
) {
    let (n, k) = (a.nrows(), a.ncols());
    assert_eq!((out.nrows(), out.ncols()), (n, n), "syrk_weighted: result has the wrong shape");
    assert_eq!(weights.len(), k, "syrk_weighted: one weight per column");
    assert!(scratch.len() >= n * k, "syrk_weighted: scratch is too small");
    if n > 0 && k > 0 && alpha != T::ZERO && T::lower_by_tiles(out.rb_mut(), beta, alpha, a, None, Some(weights), par) {
        return;
    }
    let by_rows = a.row_stride().unsigned_abs() > a.col_stride().unsigned_abs();
    let scratch = &mut scratch[..n * k];
    if by_rows {
        weigh(a.transpose(), scratch, |_, i| weights[i]);
        syrk(out, alpha, MatRef::from_row_major_slice(scratch, n, k), beta, par);
    } else {
        weigh(a, scratch, |j, _| weights[j]);
        syrk(out, alpha, MatRef::from_column_major_slice(scratch, n, k), beta, par);
    }
}

/// `to = w(j, i) a[i, j]`, by columns.
fn weigh<T: Scalar>(a: MatRef<'_, T>, to: &mut [T], weight: impl Fn(usize, usize) -> T) {
    let contiguous = a.try_as_col_major();
    for (j, to) in to.chunks_exact_mut(a.nrows().max(1)).enumerate() {
        match contiguous {
            Some(a) => {
                let a = a.col(j).as_slice();
                simd::wide(|| to.iter_mut().zip(a).enumerate().for_each(|(i, (x, &a))| *x = weight(j, i) * a));
            }
            None => to.iter_mut().enumerate().for_each(|(i, x)| *x = weight(j, i) * a[(i, j)]),
        }
    }
}

/// The lower triangle of `out = alpha a b`, for a product that is known to be symmetric; the strict upper triangle is not
/// touched.
///
/// Costs and promises as [`syrk`]. Panics on a shape mismatch.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// let a = Mat::from_fn(2, 2, |i, j| (1 + i + j) as f64); // [1 2; 2 3]
/// let mut square = Mat::zeros(2, 2);
/// dense::gemm_lower(square.as_mut(), 1.0, a.as_ref(), a.as_ref(), Par::Seq);
/// assert_eq!((square[(0, 0)], square[(1, 0)], square[(1, 1)]), (5.0, 8.0, 13.0));
/// ```
pub fn gemm_lower<T: Scalar>(mut out: MatMut<'_, T>, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) {
    let n = a.nrows();
    assert_eq!(a.ncols(), b.nrows(), "gemm_lower: inner dimensions differ");
    assert_eq!((out.nrows(), out.ncols(), b.ncols()), (n, n, n), "gemm_lower: result has the wrong shape");
    if n == 0 || alpha == T::ZERO || a.ncols() == 0 {
        for j in 0..n {
            elementwise::scale(out.rb_mut().submatrix_mut(j, j, n - j, 1), T::ZERO);
        }
        return;
    }
    lower(out, T::ZERO, alpha, a, Some(b), par);
}

/// By halves down to what tiles of our own take, or to [`LEAF`], where faer's own halving would go on to 16 and lose half its rate.
fn lower<T: Scalar>(mut out: MatMut<'_, T>, beta: T, alpha: T, a: MatRef<'_, T>, b: Option<MatRef<'_, T>>, par: Par) {
    let n = out.nrows();
    if T::lower_by_tiles(out.rb_mut(), beta, alpha, a, b, None, par) {
        return;
    }
    let right = b.unwrap_or_else(|| a.transpose());
    if n <= LEAF {
        return leaf(out, beta, alpha, a, right, par);
    }
    let half = (n / 2).next_multiple_of(LEAF);
    let (top, _, below, bottom) = out.split_at_mut(half, half);
    let ((a_top, a_bottom), (left, right)) = (a.split_at_row(half), right.split_at_col(half));
    // The triangles are as much work as the square below the diagonal.
    let triangles = |par: Par| {
        lower(top, beta, alpha, a_top, b.map(|_| left), par);
        lower(bottom, beta, alpha, a_bottom, b.map(|_| right), par);
    };
    let square = |par: Par| gemm(below, alpha, a_bottom, left, beta, par);
    let ways = par.degree();
    if ways <= 1 || n * n * a.ncols() < HALVED {
        triangles(par);
        square(par);
        return;
    }
    let (few, more) = (Par::rayon(ways / 2), Par::rayon(ways - ways / 2));
    rayon::join(|| triangles(few), || square(more));
}

/// A small block is computed whole, on the stack, and its lower triangle kept.
fn leaf<T: Scalar>(mut out: MatMut<'_, T>, beta: T, alpha: T, a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) {
    let n = out.nrows();
    let mut buf = [T::ZERO; LEAF * LEAF];
    let mut block = MatMut::from_column_major_slice_mut(&mut buf[..n * n], n, n);
    gemm(block.rb_mut(), alpha, a, b, T::ZERO, par);
    for j in 0..n {
        for i in j..n {
            out[(i, j)] = if beta == T::ZERO { block[(i, j)] } else { beta * out[(i, j)] + block[(i, j)] };
        }
    }
}

/// `rhs <- a^-1 rhs` for one triangle of `a`; transposed systems by `a.transpose()` and the other triangle.
///
/// Blocked substitution, `n^2` flops per column, no allocation. A zero pivot gives infinities or NaNs, as a
/// division would. Panics on a shape mismatch.
///
/// ```
/// use numerics::{Mat, Par, dense::{Diag, Triangle, trsm}};
/// let l = Mat::from_fn(2, 2, |i, j| if i >= j { 2.0 } else { 0.0 });
/// let mut x = Mat::from_fn(2, 1, |i, _| 2.0 * (i + 1) as f64);
/// trsm(Triangle::Lower, Diag::NonUnit, l.as_ref(), x.as_mut(), Par::Seq);
/// assert_eq!((x[(0, 0)], x[(1, 0)]), (1.0, 1.0));
/// ```
pub fn trsm<T: Scalar>(tri: Triangle, diag: Diag, a: MatRef<'_, T>, mut rhs: MatMut<'_, T>, par: Par) {
    let n = a.nrows();
    assert_eq!(a.ncols(), n, "trsm: the matrix must be square");
    assert_eq!(rhs.nrows(), n, "trsm: right-hand side has the wrong number of rows");
    if n == 0 || rhs.ncols() == 0 {
        return;
    }
    let blocks = n.div_ceil(BLOCK);
    for step in 0..blocks {
        let block = match tri {
            Triangle::Lower => step,
            Triangle::Upper => blocks - 1 - step,
        };
        let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(n));
        let square = a.submatrix(start, start, end - start, end - start);
        solve_block(tri, diag, square, rhs.rb_mut().subrows_mut(start, end - start));
        let (above, below) = rhs.rb_mut().split_at_row_mut(match tri {
            Triangle::Lower => end,
            Triangle::Upper => start,
        });
        match tri {
            Triangle::Lower if end < n => {
                let x = above.into_const().subrows(start, end - start);
                gemm(below, -T::ONE, a.submatrix(end, start, n - end, end - start), x, T::ONE, par);
            }
            Triangle::Upper if start > 0 => {
                let x = below.into_const().subrows(0, end - start);
                gemm(above, -T::ONE, a.submatrix(0, start, start, end - start), x, T::ONE, par);
            }
            _ => {}
        }
    }
}

fn solve_block<T: Scalar>(tri: Triangle, diag: Diag, a: MatRef<'_, T>, mut rhs: MatMut<'_, T>) {
    if rhs.ncols() > 1 {
        return T::tri_solve(tri, diag, a, rhs);
    }
    let n = a.nrows();
    let mut buf = [T::ZERO; 2 * BLOCK];
    let mut block = MatMut::from_column_major_slice_mut(&mut buf[..2 * n], n, 2);
    for i in 0..n {
        let v = rhs[(i, 0)];
        block[(i, 0)] = v;
        block[(i, 1)] = v;
    }
    T::tri_solve(tri, diag, a, block.rb_mut());
    for i in 0..n {
        rhs[(i, 0)] = block[(i, 0)];
    }
}
