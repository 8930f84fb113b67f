//! Factorisations for solving: Cholesky (`2 n^2` flops per column after `n^3/3`), Bunch-Kaufman for symmetric
//! indefinite matrices, LU with partial pivoting. A column is solved with the same bits alone or in a block, for
//! any parallelism.

use super::{Diag, Triangle, mirror_lower, need_finite, need_square, trsm};
use crate::{Error, Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense::is_all_finite};
use faer::prelude::*;

fn lower_copy<T: Scalar>(op: &'static str, a: MatRef<'_, T>) -> Result<Mat<T>, Error> {
    need_square(op, a)?;
    let n = a.nrows();
    let f = Mat::from_fn(n, n, |i, j| if i >= j { a[(i, j)] } else { T::ZERO });
    need_finite(op, f.as_ref())?;
    Ok(f)
}

/// `rhs[i] <- rhs[perm[i]]` row by row, or the inverse of that.
fn permute<T: Scalar>(mut rhs: MatMut<'_, T>, perm: &[usize], inverse: bool, stack: &mut MemStack) {
    let (mut column, _) = stack.make_with(perm.len(), |_| T::ZERO);
    for j in 0..rhs.ncols() {
        for (i, &p) in perm.iter().enumerate() {
            let (to, from) = if inverse { (p, i) } else { (i, p) };
            column[to] = rhs[(from, j)];
        }
        for i in 0..perm.len() {
            rhs[(i, j)] = column[i];
        }
    }
}

/// Cholesky factorisation `a = L L^T` of a positive definite matrix.
#[derive(Clone, Debug)]
pub struct Llt<T> {
    l: Mat<T>,
}

impl<T: Scalar> Llt<T> {
    /// Factors the symmetric matrix whose lower triangle is given.
    ///
    /// # Errors
    /// `ShapeMismatch` unless square, `NotFinite`, `NotPositiveDefinite` with the index of the pivot.
    ///
    /// ```
    /// use numerics::{Mat, MemBuffer, MemStack, Par, dense::Llt};
    /// let a = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f64 } else { 1.0 });
    /// let f = Llt::new(a.as_ref(), Par::Seq)?;
    /// let mut x = Mat::from_fn(2, 1, |_, _| 3.0);
    /// let mut buf = MemBuffer::new(f.solve_req(1, Par::Seq));
    /// f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
    /// assert!((x[(0, 0)] - 1.0).abs() < 1e-15 && (f.logdet() - 3.0f64.ln()).abs() < 1e-15);
    /// # Ok::<(), numerics::Error>(())
    /// ```
    pub fn new(a: MatRef<'_, T>, par: Par) -> Result<Self, Error> {
        let op = "llt";
        let mut l = lower_copy(op, a)?;
        if l.nrows() > 0 {
            T::llt_in_place(l.as_mut(), par).map_err(|pivot| Error::NotPositiveDefinite { op, pivot })?;
            // the factorisation leaves rounding residue above the diagonal
            for j in 1..l.ncols() {
                l.as_mut().submatrix_mut(0, j, j, 1).fill(T::ZERO);
            }
            for pivot in 0..l.nrows() {
                if !Scalar::is_finite(l[(pivot, pivot)]) {
                    return Err(Error::NotPositiveDefinite { op, pivot });
                }
            }
        }
        Ok(Llt { l })
    }

    /// The factor; zero above the diagonal.
    pub fn l(&self) -> MatRef<'_, T> {
        self.l.as_ref()
    }

    /// Scratch of a solve for `k` columns.
    pub fn solve_req(&self, k: usize, par: Par) -> StackReq {
        let _ = (k, par);
        StackReq::EMPTY
    }

    /// `rhs <- a^-1 rhs`. Panics on a shape mismatch.
    pub fn solve_in_place(&self, mut rhs: MatMut<'_, T>, par: Par, stack: &mut MemStack) {
        let _ = stack;
        trsm(Triangle::Lower, Diag::NonUnit, self.l.as_ref(), rhs.rb_mut(), par);
        trsm(Triangle::Upper, Diag::NonUnit, self.l.transpose(), rhs, par);
    }

    /// Logarithm of the determinant.
    pub fn logdet(&self) -> T {
        let logs: Vec<T> = (0..self.l.nrows()).map(|i| Scalar::ln(self.l[(i, i)])).collect();
        T::from_f64(2.0) * super::sum(&logs)
    }

    /// The inverse, exactly symmetric.
    pub fn inverse(&self) -> Mat<T> {
        let n = self.l.nrows();
        let mut inv = Mat::identity(n, n);
        trsm(Triangle::Lower, Diag::NonUnit, self.l.as_ref(), inv.as_mut(), Par::Seq);
        trsm(Triangle::Upper, Diag::NonUnit, self.l.transpose(), inv.as_mut(), Par::Seq);
        mirror_lower(inv.as_mut());
        inv
    }
}

/// Bunch-Kaufman factorisation `P a P^T = L B L^T` of a symmetric, possibly indefinite matrix, `B` with blocks of
/// size one and two.
#[derive(Clone, Debug)]
pub struct Lblt<T> {
    f: Mat<T>,
    sub: Vec<T>,
    perm: Vec<usize>,
    singular: bool,
}

impl<T: Scalar> Lblt<T> {
    /// Factors the symmetric matrix whose lower triangle is given. A singular matrix is accepted: see
    /// [`Lblt::is_singular`]. The factorisation is sequential whatever `par`.
    ///
    /// # Errors
    /// `ShapeMismatch` unless square, `NotFinite`.
    ///
    /// ```
    /// use numerics::{Mat, Par, dense::Lblt};
    /// let a = Mat::from_fn(2, 2, |i, j| if i == j { 0.0 } else { 2.0 });
    /// let (sign, log) = Lblt::new(a.as_ref(), Par::Seq)?.slogdet();
    /// assert!(sign == -1.0 && (log - 4.0f64.ln()).abs() < 1e-15);
    /// # Ok::<(), numerics::Error>(())
    /// ```
    pub fn new(a: MatRef<'_, T>, par: Par) -> Result<Self, Error> {
        let _ = par;
        let mut f = lower_copy("lblt", a)?;
        let n = f.nrows();
        let mut sub = vec![T::ZERO; n];
        let perm = if n == 0 { Vec::new() } else { T::lblt_in_place(f.as_mut(), &mut sub) };
        for j in 1..n {
            f.as_mut().submatrix_mut(0, j, j, 1).fill(T::ZERO);
        }
        let broken = !is_all_finite(f.as_ref()) || !sub.iter().all(|v| Scalar::is_finite(*v));
        let mut out = Lblt { f, sub, perm, singular: broken };
        if !broken {
            let mut zero = false;
            out.each_block(|sign, _| zero |= sign == T::ZERO);
            out.singular = zero;
        }
        Ok(out)
    }

    /// Calls back with the sign and the logarithm of the magnitude of each block's determinant.
    fn each_block(&self, mut f: impl FnMut(T, T)) {
        let sign = |x: T| {
            if x == T::ZERO {
                T::ZERO
            } else if x < T::ZERO {
                -T::ONE
            } else {
                T::ONE
            }
        };
        let mut i = 0;
        while i < self.f.nrows() {
            let d = self.f[(i, i)];
            let s = self.sub[i];
            if s == T::ZERO || i + 1 == self.f.nrows() {
                f(sign(d), Scalar::ln(Scalar::abs(d)));
                i += 1;
            } else {
                let ratio = (d / s) * (self.f[(i + 1, i + 1)] / s) - T::ONE;
                f(sign(ratio), T::from_f64(2.0) * Scalar::ln(Scalar::abs(s)) + Scalar::ln(Scalar::abs(ratio)));
                i += 2;
            }
        }
    }

    /// Whether a pivot vanished exactly; a solve then gives infinities or NaNs.
    pub fn is_singular(&self) -> bool {
        self.singular
    }

    /// Scratch of a solve for `k` columns.
    pub fn solve_req(&self, k: usize, par: Par) -> StackReq {
        let _ = (k, par);
        StackReq::new::<T>(self.f.nrows())
    }

    /// `rhs <- a^-1 rhs`. Panics on a shape mismatch.
    pub fn solve_in_place(&self, mut rhs: MatMut<'_, T>, par: Par, stack: &mut MemStack) {
        let n = self.f.nrows();
        assert_eq!(rhs.nrows(), n, "lblt: right-hand side has the wrong number of rows");
        permute(rhs.rb_mut(), &self.perm, false, stack);
        trsm(Triangle::Lower, Diag::Unit, self.f.as_ref(), rhs.rb_mut(), par);
        let mut i = 0;
        while i < n {
            let (d, s) = (self.f[(i, i)], self.sub[i]);
            if s == T::ZERO || i + 1 == n {
                for j in 0..rhs.ncols() {
                    rhs[(i, j)] /= d;
                }
                i += 1;
            } else {
                // [d s; s e] scaled by 1/s: [p 1; 1 q], of determinant p q - 1
                let (p, q) = (d / s, self.f[(i + 1, i + 1)] / s);
                let det = p * q - T::ONE;
                for j in 0..rhs.ncols() {
                    let (x, y) = (rhs[(i, j)] / s, rhs[(i + 1, j)] / s);
                    rhs[(i, j)] = (q * x - y) / det;
                    rhs[(i + 1, j)] = (p * y - x) / det;
                }
                i += 2;
            }
        }
        trsm(Triangle::Upper, Diag::Unit, self.f.transpose(), rhs.rb_mut(), par);
        permute(rhs, &self.perm, true, stack);
    }

    /// Sign of the determinant and logarithm of its magnitude; `(0, -inf)` if singular.
    pub fn slogdet(&self) -> (T, T) {
        if self.singular {
            return (T::ZERO, -T::INFINITY);
        }
        let (mut sign, mut log) = (T::ONE, T::ZERO);
        self.each_block(|s, l| {
            sign *= s;
            log += l;
        });
        (sign, log)
    }
}

/// LU factorisation `P a = L U` with partial pivoting of a square matrix.
#[derive(Clone, Debug)]
pub struct Lu<T> {
    f: Mat<T>,
    perm: Vec<usize>,
    odd: bool,
    singular: bool,
}

impl<T: Scalar> Lu<T> {
    /// Factors a square matrix. A singular matrix is accepted: see [`Lu::is_singular`]. The factorisation is
    /// sequential whatever `par`, because its bits would depend on the number of threads.
    ///
    /// # Errors
    /// `ShapeMismatch` unless square, `NotFinite`.
    ///
    /// ```
    /// use numerics::{Mat, MemBuffer, MemStack, Par, dense::Lu};
    /// let a = Mat::from_fn(2, 2, |i, j| (1 + 2 * i + j) as f64); // [1 2; 3 4]
    /// let f = Lu::new(a.as_ref(), Par::Seq)?;
    /// let mut x = Mat::from_fn(2, 1, |i, _| [3.0, 7.0][i]);
    /// let mut buf = MemBuffer::new(f.solve_req(1, Par::Seq));
    /// f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
    /// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(1, 0)] - 1.0).abs() < 1e-14);
    /// # Ok::<(), numerics::Error>(())
    /// ```
    pub fn new(a: MatRef<'_, T>, par: Par) -> Result<Self, Error> {
        let _ = par;
        need_square("lu", a)?;
        need_finite("lu", a)?;
        let mut f = a.to_owned();
        let (perm, swaps) = if f.nrows() == 0 { (Vec::new(), 0) } else { T::lu_in_place(f.as_mut()) };
        let zero = (0..f.nrows()).any(|i| f[(i, i)] == T::ZERO);
        let singular = zero || !is_all_finite(f.as_ref());
        Ok(Lu { f, perm, odd: swaps % 2 == 1, singular })
    }

    /// Whether a pivot vanished exactly; a solve then gives infinities or NaNs.
    pub fn is_singular(&self) -> bool {
        self.singular
    }

    /// Scratch of a solve for `k` columns.
    pub fn solve_req(&self, k: usize, par: Par) -> StackReq {
        let _ = (k, par);
        StackReq::new::<T>(self.f.nrows())
    }

    /// `rhs <- a^-1 rhs`. Panics on a shape mismatch.
    pub fn solve_in_place(&self, mut rhs: MatMut<'_, T>, par: Par, stack: &mut MemStack) {
        assert_eq!(rhs.nrows(), self.f.nrows(), "lu: right-hand side has the wrong number of rows");
        permute(rhs.rb_mut(), &self.perm, false, stack);
        trsm(Triangle::Lower, Diag::Unit, self.f.as_ref(), rhs.rb_mut(), par);
        trsm(Triangle::Upper, Diag::NonUnit, self.f.as_ref(), rhs, par);
    }

    /// Scratch of a transposed solve for `k` columns.
    pub fn solve_t_req(&self, k: usize, par: Par) -> StackReq {
        self.solve_req(k, par)
    }

    /// `rhs <- a^-T rhs`. Panics on a shape mismatch.
    pub fn solve_transpose_in_place(&self, mut rhs: MatMut<'_, T>, par: Par, stack: &mut MemStack) {
        assert_eq!(rhs.nrows(), self.f.nrows(), "lu: right-hand side has the wrong number of rows");
        trsm(Triangle::Lower, Diag::NonUnit, self.f.transpose(), rhs.rb_mut(), par);
        trsm(Triangle::Upper, Diag::Unit, self.f.transpose(), rhs.rb_mut(), par);
        permute(rhs, &self.perm, true, stack);
    }

    /// Sign of the determinant and logarithm of its magnitude; `(0, -inf)` if singular.
    pub fn slogdet(&self) -> (T, T) {
        if self.singular {
            return (T::ZERO, -T::INFINITY);
        }
        let mut sign = if self.odd { -T::ONE } else { T::ONE };
        let mut log = T::ZERO;
        for i in 0..self.f.nrows() {
            let d = self.f[(i, i)];
            if d < T::ZERO {
                sign = -sign;
            }
            log += Scalar::ln(Scalar::abs(d));
        }
        (sign, log)
    }
}
