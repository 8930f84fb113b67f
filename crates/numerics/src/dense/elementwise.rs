//! Elementwise work on views of any strides: scale, add, copy, mirror, symmetrise. One pass over memory each.

use crate::{MatMut, MatRef, Scalar};
use faer::{unzip, zip};

/// `a *= beta`; `beta == 0` fills zeros without reading, so NaNs do not survive.
pub fn scale<T: Scalar>(a: MatMut<'_, T>, beta: T) {
    if beta == T::ONE {
        return;
    }
    if beta == T::ZERO {
        zip!(a).for_each(|unzip!(x)| *x = T::ZERO);
    } else {
        zip!(a).for_each(|unzip!(x)| *x *= beta);
    }
}

/// `y += alpha x`. Panics on a shape mismatch.
pub fn axpy<T: Scalar>(y: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>) {
    zip!(y, x).for_each(|unzip!(y, x)| *y += alpha * *x);
}

/// `dst = src`. Panics on a shape mismatch.
pub fn copy<T: Scalar>(dst: MatMut<'_, T>, src: MatRef<'_, T>) {
    zip!(dst, src).for_each(|unzip!(d, s)| *d = *s);
}

const TILE: usize = 32;

fn for_lower_pairs(n: usize, mut f: impl FnMut(usize, usize)) {
    for j0 in (0..n).step_by(TILE) {
        for i0 in (j0..n).step_by(TILE) {
            for j in j0..(j0 + TILE).min(n) {
                for i in i0.max(j + 1)..(i0 + TILE).min(n) {
                    f(i, j);
                }
            }
        }
    }
}

/// Copies the strict lower triangle to the upper. Panics unless the matrix is square.
pub fn mirror_lower<T: Scalar>(mut a: MatMut<'_, T>) {
    assert_eq!(a.nrows(), a.ncols(), "mirror_lower: the matrix must be square");
    for_lower_pairs(a.nrows(), |i, j| a[(j, i)] = a[(i, j)]);
}

/// `a = (a + a^T) / 2`. Panics unless the matrix is square.
pub fn symmetrize<T: Scalar>(mut a: MatMut<'_, T>) {
    assert_eq!(a.nrows(), a.ncols(), "symmetrize: the matrix must be square");
    let half = T::from_f64(0.5);
    for_lower_pairs(a.nrows(), |i, j| {
        let mean = half * a[(i, j)] + half * a[(j, i)];
        a[(i, j)] = mean;
        a[(j, i)] = mean;
    });
}
