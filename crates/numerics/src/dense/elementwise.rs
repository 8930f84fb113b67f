//! Elementwise work on views of any strides: scale, add, copy, mirror, symmetrise. One pass over memory each.

use crate::{MatMut, MatRef, Scalar};
use faer::prelude::*;
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
    if let Some(columns) = a.as_mut().try_as_col_major_mut() {
        return mirror_columns(columns.as_dyn_stride_mut());
    }
    for_lower_pairs(a.nrows(), |i, j| a[(j, i)] = a[(i, j)]);
}

/// The same of contiguous columns: squares are read and written by columns, and turned in a buffer of their own.
fn mirror_columns<T: Scalar>(mut a: MatMut<'_, T>) {
    let n = a.nrows();
    let mut buffer = [[T::ZERO; TILE]; TILE];
    for j0 in (0..n).step_by(TILE) {
        let j1 = (j0 + TILE).min(n);
        for i0 in (j0..n).step_by(TILE) {
            let i1 = (i0 + TILE).min(n);
            for (j, to) in (j0..j1).zip(&mut buffer) {
                if let Some(column) = a.rb().col(j).try_as_col_major() {
                    to[..i1 - i0].copy_from_slice(&column.as_slice()[i0..i1]);
                }
            }
            for i in i0..i1 {
                if let Some(column) = a.rb_mut().col_mut(i).try_as_col_major_mut() {
                    let to = &mut column.as_slice_mut()[j0..j1.min(i)];
                    to.iter_mut().zip(&buffer).for_each(|(to, from)| *to = from[i - i0]);
                }
            }
        }
    }
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
