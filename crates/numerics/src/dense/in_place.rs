//! Factorisations of square matrices in memory that the caller keeps: for loops that must not allocate.
//!
//! The same routines as [`super::eigh`] and [`super::Lu`], with the same bits, but result and scratch are given; QR is that of
//! [`super::qr`] up to order 47 and one of our own above, twice as quick at some hundreds. [`FactorWork`] holds the
//! scratch for one order, some `200 n` numbers and what the eigenvalue iteration asks for.

use super::eigen::range_factor;
use super::householder::{LEAST, Panels};
use super::kernels::Stalled;
use super::{Diag, Triangle, elementwise, need_finite, need_square, reduce, trsm};
use crate::{Error, Mat, MatMut, MemBuffer, MemStack, Par, Scalar, StackReq};
use faer::prelude::*;

/// Scratch for in-place factorisations of `n x n` matrices.
///
/// ```
/// use numerics::{Mat, dense::FactorWork};
/// let mut work = FactorWork::<f64>::new(2);
/// let mut a = Mat::from_fn(2, 2, |i, j| if i == j { 2.0 } else { 1.0 });
/// let (mut values, mut vectors) = ([0.0; 2], Mat::zeros(2, 2));
/// work.eigh(a.as_mut(), &mut values, vectors.as_mut())?;
/// assert!((values[0] - 1.0).abs() < 1e-14 && (values[1] - 3.0).abs() < 1e-14);
/// # Ok::<(), numerics::Error>(())
/// ```
pub struct FactorWork<T> {
    n: usize,
    reflectors: Mat<T>,
    panels: Panels<T>,
    perm: Vec<usize>,
    inverse: Vec<usize>,
    column: Vec<T>,
    buffer: MemBuffer,
}

impl<T: Scalar> FactorWork<T> {
    /// Scratch for order `n`.
    pub fn new(n: usize) -> Self {
        // faer's own size computations underflow at order zero.
        let (block, req) = match n {
            0 => (0, StackReq::empty()),
            _ => (T::qr_block(n), T::qr_req(n).or(T::lu_req(n)).or(T::eigh_req(n))),
        };
        FactorWork {
            n,
            reflectors: Mat::zeros(block, n),
            panels: Panels::new(n),
            perm: vec![0; n],
            inverse: vec![0; n],
            column: vec![T::ZERO; n],
            buffer: MemBuffer::new(req),
        }
    }

    /// The order.
    pub fn order(&self) -> usize {
        self.n
    }

    fn check(&self, op: &'static str, a: &MatMut<'_, T>) -> Result<(), Error> {
        need_square(op, a.rb())?;
        if a.nrows() != self.n {
            return Err(Error::shape(op, format!("order {}", self.n), format!("{}", a.nrows())));
        }
        need_finite(op, a.rb())
    }

    /// `a = q r`: `a` becomes `r`, with zeros below the diagonal. Panics if `q` has the wrong shape.
    ///
    /// # Errors
    /// `ShapeMismatch` unless `a` has this order, `NotFinite`.
    pub fn qr(&mut self, mut a: MatMut<'_, T>, q: MatMut<'_, T>) -> Result<(), Error> {
        self.check("qr", &a)?;
        assert_eq!((q.nrows(), q.ncols()), (self.n, self.n), "qr: the basis has the wrong shape");
        if self.n == 0 {
            return Ok(());
        }
        if self.n < LEAST {
            T::qr_with(a.rb_mut(), q, self.reflectors.as_mut(), MemStack::new(&mut self.buffer));
        } else {
            self.panels.run(a.rb_mut(), q);
        }
        for j in 0..self.n {
            elementwise::scale(a.rb_mut().submatrix_mut(j + 1, j, self.n - j - 1, 1), T::ZERO);
        }
        Ok(())
    }

    /// Eigenvalues, ascending, and eigenvectors of the symmetric `a`, which is used up. Panics if results have the wrong
    /// shape.
    ///
    /// # Errors
    /// `ShapeMismatch` unless `a` has this order, `NotFinite`, `NoConvergence`; there is no second attempt in
    /// double precision.
    pub fn eigh(&mut self, mut a: MatMut<'_, T>, values: &mut [T], vectors: MatMut<'_, T>) -> Result<(), Error> {
        self.check("eigh", &a)?;
        assert_eq!(values.len(), self.n, "eigh: one value per row");
        assert_eq!((vectors.nrows(), vectors.ncols()), (self.n, self.n), "eigh: the basis has the wrong shape");
        if self.n == 0 {
            return Ok(());
        }
        let unit = range_factor(reduce::max_abs(a.rb()));
        if let Some(f) = unit {
            elementwise::scale(a.rb_mut(), f);
        }
        T::eigh_with(a.rb(), values, vectors, MemStack::new(&mut self.buffer))
            .map_err(|Stalled| Error::NoConvergence { op: "eigh", n: self.n })?;
        if let Some(f) = unit {
            values.iter_mut().for_each(|v| *v /= f);
        }
        Ok(())
    }

    /// `rhs <- a^-1 rhs` by LU with partial pivoting; `a` is used up. A singular matrix gives infinities or NaNs.
    ///
    /// # Errors
    /// `ShapeMismatch` unless `a` and `rhs` have this order, `NotFinite`.
    pub fn lu_solve(&mut self, mut a: MatMut<'_, T>, mut rhs: MatMut<'_, T>) -> Result<(), Error> {
        self.check("lu", &a)?;
        if rhs.nrows() != self.n {
            return Err(Error::shape("lu", format!("{} rows", self.n), format!("{}", rhs.nrows())));
        }
        if self.n == 0 {
            return Ok(());
        }
        T::lu_with(a.rb_mut(), &mut self.perm, &mut self.inverse, MemStack::new(&mut self.buffer));
        for j in 0..rhs.ncols() {
            for (column, &from) in self.column.iter_mut().zip(&self.perm) {
                *column = rhs[(from, j)];
            }
            for (i, &x) in self.column.iter().enumerate() {
                rhs[(i, j)] = x;
            }
        }
        trsm(Triangle::Lower, Diag::Unit, a.rb(), rhs.rb_mut(), Par::Seq);
        trsm(Triangle::Upper, Diag::NonUnit, a.rb(), rhs, Par::Seq);
        Ok(())
    }
}

impl<T: Scalar> Clone for FactorWork<T> {
    /// Fresh scratch of the same order: there is nothing in it to copy.
    fn clone(&self) -> Self {
        FactorWork::new(self.n)
    }
}

impl<T> core::fmt::Debug for FactorWork<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FactorWork").field("n", &self.n).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::{self, Lu};

    fn wave<T: Scalar>(n: usize) -> Mat<T> {
        Mat::from_fn(n, n, |i, j| T::from_f64((1.0 + 1.7 * i as f64 + 0.3 * (i * j) as f64 - 0.9 * j as f64).sin()))
    }

    fn same_bits<T: Scalar>(n: usize) {
        let a = wave::<T>(n);
        let mut work = FactorWork::new(n);
        let (mut r, mut q) = (a.clone(), Mat::zeros(n, n));
        work.qr(r.as_mut(), q.as_mut()).unwrap();
        let f = dense::qr(a.as_ref()).unwrap();
        assert!(n >= LEAST || f.q == q && f.r == r, "{n}");

        let s = &a + a.transpose();
        let (mut used, mut values, mut vectors) = (s.clone(), vec![T::ZERO; n], Mat::zeros(n, n));
        work.eigh(used.as_mut(), &mut values, vectors.as_mut()).unwrap();
        let e = dense::eigh(s.as_ref()).unwrap();
        assert!(e.values == values && e.vectors == vectors, "{n}");

        let lu = Lu::new(a.as_ref(), Par::Seq).unwrap();
        let (mut used, mut x) = (a.clone(), s.clone());
        work.lu_solve(used.as_mut(), x.as_mut()).unwrap();
        let mut y = s.clone();
        let mut buffer = MemBuffer::new(lu.solve_req(n, Par::Seq));
        lu.solve_in_place(y.as_mut(), Par::Seq, MemStack::new(&mut buffer));
        assert!(x == y, "{n}");
    }

    #[test]
    fn bits_are_those_of_the_allocating_forms() {
        for n in [0, 1, 2, 5, 33, 70] {
            same_bits::<f64>(n);
            same_bits::<f32>(n);
        }
    }

    #[test]
    fn extreme_scales_and_bad_input() {
        let mut work = FactorWork::<f64>::new(2);
        let mut a = Mat::from_fn(2, 2, |i, j| if i == j { 2e200 } else { 1e200 });
        let (mut values, mut vectors) = ([0.0; 2], Mat::zeros(2, 2));
        work.eigh(a.as_mut(), &mut values, vectors.as_mut()).unwrap();
        assert!((values[1] / 3e200 - 1.0).abs() < 1e-14);
        let mut bad = Mat::from_fn(2, 2, |_, _| f64::NAN);
        assert!(matches!(work.qr(bad.as_mut(), vectors.as_mut()), Err(Error::NotFinite { .. })));
        assert!(matches!(work.lu_solve(Mat::zeros(3, 3).as_mut(), vectors.as_mut()), Err(Error::ShapeMismatch { .. })));
    }
}
