//! One block product per iteration: packs the vectors of the unfinished columns side by side.

use super::vector;
use crate::{Error, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar};

/// Scratch, input and output of repeated products with one operator (or with the identity, for no preconditioner).
pub(crate) struct Product<'a, T: Scalar> {
    op: Option<&'a dyn LinearOperator<T>>,
    transposed: bool,
    input: Mat<T>,
    output: Mat<T>,
    scratch: MemBuffer,
    par: Par,
    /// Columns multiplied so far.
    pub(crate) columns: usize,
}

impl<'a, T: Scalar> Product<'a, T> {
    /// Room for `k` columns; `size` is the size of the identity when there is no operator.
    pub(crate) fn new(
        op: Option<&'a dyn LinearOperator<T>>,
        transposed: bool,
        size: usize,
        k: usize,
        par: Par,
    ) -> Self {
        let (m, n) = match op {
            None => (size, size),
            Some(op) if transposed => (op.ncols(), op.nrows()),
            Some(op) => (op.nrows(), op.ncols()),
        };
        let req = match op {
            None => numerics::StackReq::EMPTY,
            Some(op) if transposed => op.apply_t_req(k, par),
            Some(op) => op.apply_req(k, par),
        };
        Self {
            op,
            transposed,
            input: Mat::zeros(n, k),
            output: if op.is_some() { Mat::zeros(m, k) } else { Mat::zeros(0, k) },
            scratch: MemBuffer::new(req),
            par,
            columns: 0,
        }
    }

    /// Writes input column `j`.
    pub(crate) fn set(&mut self, j: usize, x: &[T]) {
        self.input.col_as_slice_mut(j).copy_from_slice(x);
    }

    /// Multiplies the first `k` input columns, times `alpha`.
    pub(crate) fn run_scaled(&mut self, k: usize, alpha: T) -> Result<(), Error> {
        if k == 0 {
            return Ok(());
        }
        let Some(op) = self.op else {
            for j in 0..k {
                if alpha != T::ONE {
                    vector::scale(self.input.col_as_slice_mut(j), alpha);
                }
            }
            return Ok(());
        };
        self.columns += k;
        let (x, y) = (self.input.as_ref().subcols(0, k), self.output.as_mut().subcols_mut(0, k));
        let stack = MemStack::new(&mut self.scratch);
        if self.transposed {
            op.apply_t(y, alpha, x, T::ZERO, self.par, stack)
        } else {
            op.apply(y, alpha, x, T::ZERO, self.par, stack)
        }
    }

    /// Multiplies the first `k` input columns.
    pub(crate) fn run(&mut self, k: usize) -> Result<(), Error> {
        self.run_scaled(k, T::ONE)
    }

    /// Output column `j` of the latest product.
    pub(crate) fn out(&self, j: usize) -> &[T] {
        if self.op.is_some() { self.output.col_as_slice(j) } else { self.input.col_as_slice(j) }
    }

    /// Multiplies one vector.
    pub(crate) fn one(&mut self, x: &[T]) -> Result<&[T], Error> {
        self.set(0, x);
        self.run(1)?;
        Ok(self.out(0))
    }
}

/// Writes a vector into column `j`.
pub(crate) fn write_column<T: Scalar>(mut a: MatMut<'_, T>, j: usize, x: &[T]) {
    for (i, &x) in x.iter().enumerate() {
        a[(i, j)] = x;
    }
}

/// Checks shape and finiteness of right-hand sides.
pub(crate) fn check_rhs<T: Scalar>(op: &'static str, nrows: usize, b: MatRef<'_, T>) -> Result<(), Error> {
    if b.nrows() != nrows {
        return Err(Error::ShapeMismatch { op, expected: format!("{nrows} rows"), got: format!("{}", b.nrows()) });
    }
    finite(op, "b", b)
}

/// Error if a matrix holds NaN or infinity.
pub(crate) fn finite<T: Scalar>(op: &'static str, operand: &'static str, b: MatRef<'_, T>) -> Result<(), Error> {
    if numerics::dense::is_all_finite(b) { Ok(()) } else { Err(Error::NotFinite { op, operand }) }
}

/// Error unless the operator is square.
pub(crate) fn check_square<T: Scalar>(op: &'static str, a: &dyn LinearOperator<T>) -> Result<usize, Error> {
    if a.nrows() == a.ncols() {
        Ok(a.nrows())
    } else {
        Err(Error::NotSquare { op, nrows: a.nrows(), ncols: a.ncols() })
    }
}

/// Error unless the operator is square and known to be self-adjoint.
pub(crate) fn check_self_adjoint<T: Scalar>(op: &'static str, a: &dyn LinearOperator<T>) -> Result<usize, Error> {
    let n = check_square(op, a)?;
    if a.props().contains(crate::Props::SELF_ADJOINT) {
        Ok(n)
    } else {
        Err(Error::MissingProperty { op, needed: "SELF_ADJOINT" })
    }
}

/// Error unless a preconditioner is square of size `n`.
pub(crate) fn check_precond<T: Scalar>(
    op: &'static str,
    m: Option<&dyn LinearOperator<T>>,
    n: usize,
) -> Result<(), Error> {
    match m {
        Some(m) if m.nrows() != n || m.ncols() != n => Err(Error::ShapeMismatch {
            op,
            expected: format!("a {n} x {n} preconditioner"),
            got: format!("{} x {}", m.nrows(), m.ncols()),
        }),
        _ => Ok(()),
    }
}
