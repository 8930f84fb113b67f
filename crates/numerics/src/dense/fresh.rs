//! New matrices of zeros. The first touch of fresh memory costs about as much as a product with it, so large ones are
//! touched by several threads.

use crate::{Mat, Par, Scalar};
use rayon::prelude::*;

/// Entries from which a matrix is filled by several threads.
const LARGE: usize = 1 << 18;

/// An `n x k` matrix of zeros.
///
/// ```
/// use numerics::{Mat, Par, dense};
/// assert_eq!(dense::zeros::<f64>(1000, 300, Par::rayon(2)), Mat::<f64>::zeros(1000, 300));
/// ```
pub fn zeros<T: Scalar>(n: usize, k: usize, par: Par) -> Mat<T> {
    if par.degree() < 2 || k < 2 || n.saturating_mul(k) < LARGE {
        return Mat::zeros(n, k);
    }
    let mut out: Mat<T> = Mat::with_capacity(n, k);
    let stride = out.col_stride().unsigned_abs();
    assert!(stride >= n, "columns do not overlap");
    let start = out.as_ptr_mut() as usize;
    (0..k).into_par_iter().for_each(|j| {
        let column = start as *mut T;
        // SAFETY: `with_capacity` made room for k columns of n entries, `stride >= n` entries apart, so column j lies within
        // it and no two columns overlap; zero bits are the number zero in both scalar types.
        unsafe { core::ptr::write_bytes(column.add(j * stride), 0, n) };
    });
    // SAFETY: the capacity is that of `with_capacity`, and all n x k entries have been written.
    unsafe { out.set_dims(n, k) };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_zero_and_can_be_written() {
        for (n, k) in [(0, 0), (3, 2), (70_001, 5), (512, 600), (1 << 18, 1), (2, 1 << 18)] {
            let mut a = zeros::<f64>(n, k, Par::rayon(2));
            assert_eq!(a, Mat::<f64>::zeros(n, k), "{n} x {k}");
            if n * k > 0 {
                a[(n - 1, k - 1)] = 1.0;
                assert_eq!(a.col_as_slice(k - 1)[n - 1], 1.0);
            }
        }
        assert_eq!(zeros::<f32>(1000, 300, Par::rayon(2)), Mat::<f32>::zeros(1000, 300));
    }
}
