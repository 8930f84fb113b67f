//! `Op`: an owned, cheaply cloned handle of any operator.
//!
//! The algebra (`+`, `-`, `*`, `.t()`, `.kron()`, ...) works on handles and rewrites where structure allows.

use crate::{Cost, Error, Kind, LinearOperator, Props};
use core::fmt::{self, Debug};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};
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
