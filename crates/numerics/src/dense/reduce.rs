//! Reductions whose order of addition is part of their definition: blocks of 4096 elements, sixteen lanes inside a
//! block, block results added from the first to the last. The same numbers give the same bits for any strides.

use crate::{MatRef, Scalar, simd};

const BLOCK: usize = 4096;
const LANES: usize = 16;

fn fold_lanes<T: Scalar>(mut acc: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] += acc[i + width];
        }
        width /= 2;
    }
    acc[0]
}

#[inline(always)]
fn block_dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    let mut acc = [T::ZERO; LANES];
    let (xs, xt) = x.as_chunks::<LANES>();
    let (ys, yt) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for l in 0..LANES {
            acc[l] += x[l] * y[l];
        }
    }
    for (l, (x, y)) in xt.iter().zip(yt).enumerate() {
        acc[l] += *x * *y;
    }
    fold_lanes(acc)
}

fn block_sum<T: Scalar>(x: &[T]) -> T {
    let mut acc = [T::ZERO; LANES];
    let (xs, xt) = x.as_chunks::<LANES>();
    for x in xs {
        for l in 0..LANES {
            acc[l] += x[l];
        }
    }
    for (l, x) in xt.iter().enumerate() {
        acc[l] += *x;
    }
    fold_lanes(acc)
}

/// The same order of additions for elements that are not contiguous.
fn blocked_by<T: Scalar>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut total = T::ZERO;
    for start in (0..n).step_by(BLOCK) {
        let mut acc = [T::ZERO; LANES];
        for i in start..(start + BLOCK).min(n) {
            acc[(i - start) % LANES] += f(i);
        }
        total += fold_lanes(acc);
    }
    total
}

/// Inner product. Panics unless the lengths agree.
///
/// ```
/// assert_eq!(numerics::dense::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
/// ```
pub fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    assert_eq!(x.len(), y.len(), "dot: lengths differ");
    let mut total = T::ZERO;
    simd::wide(|| x.chunks(BLOCK).zip(y.chunks(BLOCK)).for_each(|(x, y)| total += block_dot(x, y)));
    total
}

/// Sum of the elements.
pub fn sum<T: Scalar>(x: &[T]) -> T {
    let mut total = T::ZERO;
    for x in x.chunks(BLOCK) {
        total += block_sum(x);
    }
    total
}

/// Inner products of the columns of `x` with those of `y`, with the bits of [`dot`]. Panics on a shape mismatch.
pub fn col_dots<T: Scalar>(x: MatRef<'_, T>, y: MatRef<'_, T>, out: &mut [T]) {
    assert_eq!((x.nrows(), x.ncols()), (y.nrows(), y.ncols()), "col_dots: shapes differ");
    assert_eq!(x.ncols(), out.len(), "col_dots: one result per column");
    let contiguous = (x.try_as_col_major(), y.try_as_col_major());
    for (j, out) in out.iter_mut().enumerate() {
        *out = match contiguous {
            (Some(x), Some(y)) => dot(x.col(j).as_slice(), y.col(j).as_slice()),
            _ => blocked_by(x.nrows(), |i| x[(i, j)] * y[(i, j)]),
        };
    }
}

fn for_each<T: Scalar>(x: MatRef<'_, T>, mut f: impl FnMut(T)) {
    let x = if x.row_stride().unsigned_abs() > x.col_stride().unsigned_abs() { x.transpose() } else { x };
    for j in 0..x.ncols() {
        for i in 0..x.nrows() {
            f(x[(i, j)]);
        }
    }
}

/// Largest absolute value of contiguous numbers, and whether all are finite, by independent lanes.
fn scan<T: Scalar>(x: &[T]) -> (T, bool) {
    let (mut tops, mut zeros) = ([T::ZERO; 2 * LANES], [T::ZERO; 2 * LANES]);
    let (chunks, rest) = x.as_chunks::<{ 2 * LANES }>();
    simd::wide(|| {
        for chunk in chunks {
            for ((top, zero), &v) in tops.iter_mut().zip(&mut zeros).zip(chunk) {
                let a = Scalar::abs(v);
                *top = if a > *top { a } else { *top };
                // Zero for a number, NaN for the rest, which the sum remembers.
                *zero += v * T::ZERO;
            }
        }
    });
    let top = rest.iter().map(|v| Scalar::abs(*v)).chain(tops).fold(T::ZERO, |top, a| if a > top { a } else { top });
    (top, rest.iter().chain(&zeros).all(|v| Scalar::is_finite(*v)))
}

/// [`scan`] over the columns or rows of a matrix, if they are contiguous.
fn scan_matrix<T: Scalar>(x: MatRef<'_, T>) -> Option<(T, bool)> {
    let x = if x.row_stride() == 1 { x } else { x.transpose() };
    let x = x.try_as_col_major()?;
    let join = |(top, ok): (T, bool), j: usize| {
        let (a, fine) = scan(x.col(j).as_slice());
        (if a > top { a } else { top }, ok && fine)
    };
    Some((0..x.ncols()).fold((T::ZERO, true), join))
}

/// Largest absolute value, 0 for an empty matrix; NaNs are ignored.
pub(crate) fn max_abs<T: Scalar>(x: MatRef<'_, T>) -> T {
    if let Some((top, _)) = scan_matrix(x) {
        return top;
    }
    let mut top = T::ZERO;
    for_each(x, |v| {
        let v = Scalar::abs(v);
        if v > top {
            top = v;
        }
    });
    top
}

/// Frobenius norm, scaled so that no square overflows or vanishes. NaN if an element is NaN.
pub fn norm_l2<T: Scalar>(x: MatRef<'_, T>) -> T {
    let (mut top, mut nan) = (T::ZERO, false);
    match scan_matrix(x) {
        Some((most, true)) => top = most,
        _ => for_each(x, |v| {
            let a = Scalar::abs(v);
            nan |= v.is_nan();
            if a > top {
                top = a;
            }
        }),
    }
    if nan {
        return T::NAN;
    }
    if top == T::ZERO || !Scalar::is_finite(top) {
        return top;
    }
    let x = if x.row_stride().unsigned_abs() > x.col_stride().unsigned_abs() { x.transpose() } else { x };
    let safe = top < Scalar::sqrt(T::MAX) * T::EPS && top > Scalar::sqrt(T::TINY) / T::EPS;
    let unit = if safe { T::ONE } else { top };
    let mut total = T::ZERO;
    if let (true, Some(x)) = (safe, x.try_as_col_major()) {
        (0..x.ncols()).for_each(|j| total += dot(x.col(j).as_slice(), x.col(j).as_slice()));
        return Scalar::sqrt(total);
    }
    for j in 0..x.ncols() {
        total += if safe {
            blocked_by(x.nrows(), |i| x[(i, j)] * x[(i, j)])
        } else {
            blocked_by(x.nrows(), |i| (x[(i, j)] / unit) * (x[(i, j)] / unit))
        };
    }
    unit * Scalar::sqrt(total)
}

/// Whether no element is NaN or infinite.
///
/// ```
/// use numerics::{Mat, dense};
/// let a = Mat::from_fn(2, 2, |i, j| if i > j { f64::NAN } else { 1.0 });
/// assert!(!dense::is_all_finite(a.as_ref()));
/// ```
pub fn is_all_finite<T: Scalar>(x: MatRef<'_, T>) -> bool {
    if let Some((_, ok)) = scan_matrix(x) {
        return ok;
    }
    let mut ok = true;
    for_each(x, |v| ok &= Scalar::is_finite(v));
    ok
}
