//! Deterministic test matrices and slow, obvious references.

use numerics::{Mat, MatRef, Scalar};

/// Numbers in [-1, 1) from a fixed congruential sequence.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

pub(crate) fn random<T: Scalar>(m: usize, n: usize, seed: u64) -> Mat<T> {
    let mut r = Numbers::new(seed);
    Mat::from_fn(m, n, |_, _| T::from_f64(r.next()))
}

/// `a b` in plain f64 loops.
pub(crate) fn product<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), b.ncols(), |i, j| (0..a.ncols()).map(|k| a[(i, k)].to_f64() * b[(k, j)].to_f64()).sum())
}

/// Symmetric, with eigenvalues well away from zero if `shift` is large.
pub(crate) fn symmetric<T: Scalar>(n: usize, shift: f64, seed: u64) -> Mat<T> {
    let g: Mat<f64> = random(n, n, seed);
    Mat::from_fn(n, n, |i, j| T::from_f64(0.5 * (g[(i, j)] + g[(j, i)]) + if i == j { shift } else { 0.0 }))
}

/// Largest difference, in f64.
pub(crate) fn gap<T: Scalar, U: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, U>) -> f64 {
    assert_eq!((a.nrows(), a.ncols()), (b.nrows(), b.ncols()));
    let mut worst = 0.0f64;
    for j in 0..a.ncols() {
        for i in 0..a.nrows() {
            let d = (a[(i, j)].to_f64() - b[(i, j)].to_f64()).abs();
            assert!(!d.is_nan(), "NaN at ({i}, {j})");
            worst = worst.max(d);
        }
    }
    worst
}

/// Exact equality of all bits.
pub(crate) fn same<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> bool {
    (a.nrows(), a.ncols()) == (b.nrows(), b.ncols())
        && (0..a.ncols()).all(|j| (0..a.nrows()).all(|i| a[(i, j)].to_f64().to_bits() == b[(i, j)].to_f64().to_bits()))
}
