//! `Op`: an owned, cheaply cloned handle of any operator.
//!
//! The algebra (`+`, `-`, `*`, `.t()`, `.kron()`, ...) works on handles and rewrites where structure allows.

use crate::{Cost, Error, Kind, LinearOperator, Props};
use core::fmt::{self, Debug};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};
use std::sync::Arc;

/// A shared operator: `Arc<dyn LinearOperator<T>>` with an algebra.
pub struct Op<T: Scalar>(Arc<dyn LinearOperator<T>>);

impl<T: Scalar> Op<T> {
    /// Takes an operator.
    pub fn new(op: impl LinearOperator<T> + 'static) -> Self {
        Op(Arc::new(op))
    }

    /// Takes a shared operator.
    pub fn from_arc(op: Arc<dyn LinearOperator<T>>) -> Self {
        Op(op)
    }

    /// The operator behind the handle.
    pub fn as_dyn(&self) -> &(dyn LinearOperator<T> + 'static) {
        &*self.0
    }

    /// The operator with facts added that the caller vouches for.
    pub fn assume(&self, props: Props) -> Self {
        if self.props().contains(props) { self.clone() } else { Op::new(crate::ops::Assumed::new(self.clone(), props)) }
    }

    /// The operator with facts that follow from how it was made: they are not probed.
    pub(crate) fn derived(self, props: Props) -> Self {
        if self.props().contains(props) { self } else { Op::new(crate::ops::Assumed::derived(self, props)) }
    }

    /// A counting and timing wrapper, and its counters.
    pub fn counted(&self) -> (Self, Arc<crate::ops::Counts>) {
        let (op, counts) = crate::ops::Counted::new(self.clone());
        (Op::new(op), counts)
    }

    /// The matrix: products with blocks of 64 unit vectors, transposed ones if `8 * nrows < ncols`.
    pub fn to_dense(&self, par: Par) -> Result<Mat<T>, Error> {
        to_dense(self, par)
    }

    /// Whether two handles share one operator.
    pub fn same(&self, other: &Op<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Scalar> Clone for Op<T> {
    fn clone(&self) -> Self {
        Op(Arc::clone(&self.0))
    }
}

impl<T: Scalar> Debug for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! forward {
    ($([$($gen:tt)*] $ty:ty, $self:ident => $inner:expr;)*) => {$(
        impl<T: Scalar, $($gen)*> LinearOperator<T> for $ty {
            fn nrows(&$self) -> usize { $inner.nrows() }
            fn ncols(&$self) -> usize { $inner.ncols() }
            fn apply_req(&$self, k: usize, par: Par) -> StackReq { $inner.apply_req(k, par) }
            fn apply_t_req(&$self, k: usize, par: Par) -> StackReq { $inner.apply_t_req(k, par) }
            fn apply(
                &$self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, par: Par, stack: &mut MemStack,
            ) -> Result<(), Error> {
                $inner.apply(out, alpha, x, beta, par, stack)
            }
            fn apply_t(
                &$self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, par: Par, stack: &mut MemStack,
            ) -> Result<(), Error> {
                $inner.apply_t(out, alpha, x, beta, par, stack)
            }
            fn props(&$self) -> Props { $inner.props() }
            fn kind(&$self) -> Kind<'_, T> { $inner.kind() }
            fn cost(&$self, k: usize) -> Cost { $inner.cost(k) }
        }
    )*};
}

forward! {
    [] Op<T>, self => self.0;
    [A: LinearOperator<T> + ?Sized] Arc<A>, self => (**self);
    [A: LinearOperator<T> + ?Sized] Box<A>, self => (**self);
    [A: LinearOperator<T> + ?Sized] &A, self => (**self);
}

/// The matrix of any operator, see [`Op::to_dense`]; more than 1 GiB is [`Error::MemoryCap`].
pub fn to_dense<T: Scalar>(op: &dyn LinearOperator<T>, par: Par) -> Result<Mat<T>, Error> {
    to_dense_within(op, crate::dispatch::Limits::MEMORY, par)
}

/// The matrix, if it takes no more than `cap` bytes.
pub(crate) fn to_dense_within<T: Scalar>(op: &dyn LinearOperator<T>, cap: usize, par: Par) -> Result<Mat<T>, Error> {
    const WIDTH: usize = 64;
    let (m, n) = (op.nrows(), op.ncols());
    let bytes = m.saturating_mul(n).saturating_mul(size_of::<T>());
    if bytes > cap {
        return Err(Error::MemoryCap { op: "to_dense", bytes, cap });
    }
    let mut out = Mat::zeros(m, n);
    if m == 0 || n == 0 {
        return Ok(out);
    }
    let unit = |rows: usize, start: usize, k: usize| {
        Mat::from_fn(rows, k, |i, j| if i == start + j { T::ONE } else { T::ZERO })
    };
    if 8 * m < n {
        let mut buffer = MemBuffer::new(op.apply_t_req(WIDTH.min(m), par));
        for start in (0..m).step_by(WIDTH) {
            let k = WIDTH.min(m - start);
            let rows = out.as_mut().subrows_mut(start, k).transpose_mut();
            match op.apply_t(rows, T::ONE, unit(m, start, k).as_ref(), T::ZERO, par, MemStack::new(&mut buffer)) {
                Err(Error::TransposeUnavailable { .. }) => return plain(op, out, par),
                r => r?,
            }
        }
        return Ok(out);
    }
    return plain(op, out, par);

    fn plain<T: Scalar>(op: &dyn LinearOperator<T>, mut out: Mat<T>, par: Par) -> Result<Mat<T>, Error> {
        let n = op.ncols();
        let mut buffer = MemBuffer::new(op.apply_req(WIDTH.min(n), par));
        for start in (0..n).step_by(WIDTH) {
            let k = WIDTH.min(n - start);
            let unit = Mat::from_fn(n, k, |i, j| if i == start + j { T::ONE } else { T::ZERO });
            let cols = out.as_mut().subcols_mut(start, k);
            op.apply(cols, T::ONE, unit.as_ref(), T::ZERO, par, MemStack::new(&mut buffer))?;
        }
        Ok(out)
    }
}
