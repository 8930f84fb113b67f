//! An orthonormal basis that grows by one vector and is kept orthonormal by two Gram-Schmidt passes.
//!
//! One pass against `j` vectors of length n costs `4 n j` flops, as two products.

use super::vector::{column, norm, scale};
use numerics::dense::gemm;
use numerics::rng::{Law, Role, probe};
use numerics::{Mat, MatMut, MatRef, Par, Scalar};

/// Orthonormal columns; the first `len` are in use.
#[derive(Clone, Debug)]
pub(crate) struct Basis<T: Scalar> {
    q: Mat<T>,
    /// The other half of a rotation; empty until the first.
    turned: Mat<T>,
    len: usize,
}

impl<T: Scalar> Basis<T> {
    /// Room for `capacity` vectors of length `n`.
    pub(crate) fn new(n: usize, capacity: usize) -> Self {
        Self { q: Mat::zeros(n, capacity), turned: Mat::zeros(0, 0), len: 0 }
    }

    /// A basis made of the orthonormal columns of `q`.
    pub(crate) fn from_mat(q: Mat<T>) -> Self {
        Self { len: q.ncols(), q, turned: Mat::zeros(0, 0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ref(&self) -> MatRef<'_, T> {
        self.q.as_ref().subcols(0, self.len)
    }

    pub(crate) fn col(&self, j: usize) -> &[T] {
        self.q.col_as_slice(j)
    }

    /// Appends `w * factor`.
    pub(crate) fn push(&mut self, w: &[T], factor: T) {
        let q = self.q.col_as_slice_mut(self.len);
        q.copy_from_slice(w);
        scale(q, factor);
        self.len += 1;
    }

    /// Replaces the basis by the combinations `Q s`.
    pub(crate) fn rotate(&mut self, s: MatRef<'_, T>, par: Par) {
        if self.turned.shape() != self.q.shape() {
            self.turned = Mat::zeros(self.q.nrows(), self.q.ncols());
        }
        let old = self.q.as_ref().subcols(0, self.len);
        gemm(self.turned.as_mut().subcols_mut(0, s.ncols()), T::ONE, old, s, T::ZERO, par);
        core::mem::swap(&mut self.q, &mut self.turned);
        self.len = s.ncols();
    }

    /// One pass `w -= Q Q^T w`; adds `Q^T w` to `h`. `c` is scratch of at least the basis' length.
    pub(crate) fn pass(&self, w: &mut [T], h: &mut [T], c: &mut [T], par: Par) {
        if self.len > 0 {
            project(self.as_ref(), w, h, &mut c[..self.len], par);
        }
    }

    /// Two passes; `h` receives `Q^T w`.
    pub(crate) fn project_out(&self, w: &mut [T], h: &mut [T], c: &mut [T], par: Par) {
        h.fill(T::ZERO);
        self.pass(w, h, c, par);
        self.pass(w, h, c, par);
    }
}

/// `w -= Q Q^T w`; adds `c = Q^T w` to `h`.
pub(crate) fn project<T: Scalar>(q: MatRef<'_, T>, w: &mut [T], h: &mut [T], c: &mut [T], par: Par) {
    let (n, k) = (q.nrows(), q.ncols());
    gemm(MatMut::from_column_major_slice_mut(c, k, 1), T::ONE, q.transpose(), column(w), T::ZERO, par);
    gemm(MatMut::from_column_major_slice_mut(w, n, 1), -T::ONE, q, column(c), T::ONE, par);
    for (h, &c) in h.iter_mut().zip(&*c) {
        *h += c;
    }
}

/// A random unit vector orthogonal to the given bases; `None` if eight draws all lie in their span.
pub(crate) fn fresh<T: Scalar>(n: usize, seed: u64, draw: &mut u64, bases: &[&Basis<T>], par: Par) -> Option<Vec<T>> {
    let mut w = vec![T::ZERO; n];
    for _ in 0..8 {
        probe(Law::Gaussian, seed, Role::LanczosStart, *draw, &mut w);
        *draw += 1;
        let longest = bases.iter().map(|b| b.len()).max().unwrap_or(0);
        let (mut scratch, mut c) = (vec![T::ZERO; longest], vec![T::ZERO; longest]);
        // Two rounds: after each, normalise, so that the second works on a vector of length one.
        let mut good = true;
        for _ in 0..3 {
            let before = norm(&w);
            if !(before > T::ZERO) {
                good = false;
                break;
            }
            scale(&mut w, before.recip());
            for b in bases {
                b.pass(&mut w, &mut scratch, &mut c, par);
            }
        }
        let left = norm(&w);
        if good && left > T::from_f64(0.5) {
            scale(&mut w, left.recip());
            return Some(w);
        }
    }
    None
}
