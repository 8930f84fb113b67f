//! `LinearOperator`: a matrix that is known by its products.
//!
//! Source: arXiv:2501.19183; the contract is in the documentation of [`LinearOperator`]. A product with a block of K columns costs what
//! [`LinearOperator::cost`] says and allocates nothing: scratch comes from the caller.

use crate::{Error, Kind, Props, Space};
use core::fmt::Debug;
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};
use std::sync::Arc;

/// An estimate of what one product costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// A real `nrows x ncols` matrix that can be multiplied by blocks of vectors.
///
/// Contract: `beta == 0` overwrites `out` without reading it; `alpha == 0` does not evaluate the operator; `out` and
/// `x` do not alias; zero columns and zero sizes are legal; nothing is allocated; `apply` may be called from several
/// threads at once with separate stacks.
pub trait LinearOperator<T: Scalar>: Debug + Send + Sync {
    /// Number of rows.
    fn nrows(&self) -> usize;

    /// Number of columns.
    fn ncols(&self) -> usize;

    /// Upper bound of the scratch that [`apply`](Self::apply) needs for `k` columns.
    fn apply_req(&self, k: usize, par: Par) -> StackReq;

    /// Upper bound of the scratch that [`apply_t`](Self::apply_t) needs for `k` columns.
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.apply_req(k, par)
    }

    /// `out = alpha * A * x + beta * out`, with `x` of shape `ncols x k` and `out` of shape `nrows x k`.
    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error>;

    /// `out = alpha * A^T * x + beta * out`, with `x` of shape `nrows x k` and `out` of shape `ncols x k`.
    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        if self.props().contains(Props::SELF_ADJOINT) {
            self.apply(out, alpha, x, beta, par, stack)
        } else {
            Err(Error::TransposeUnavailable { op: "apply_t" })
        }
    }

    /// Facts known to hold; an absent bit means unknown.
    fn props(&self) -> Props {
        Props::NONE
    }

    /// The facts among [`props`](Self::props) that stand on a caller's word alone; parts answer for themselves.
    fn assumed(&self) -> Props {
        Props::NONE
    }

    /// A borrowed view of the structure, for dispatch; user operators are [`Kind::Opaque`].
    fn kind(&self) -> Kind<'_, T> {
        Kind::Opaque
    }

    /// The spaces of results and of inputs, where the caller has attached them.
    fn spaces(&self) -> (Option<&Arc<Space>>, Option<&Arc<Space>>) {
        (None, None)
    }

    /// Estimated cost of a product with `k` columns.
    fn cost(&self, k: usize) -> Cost {
        let (m, n, k) = (self.nrows() as f64, self.ncols() as f64, k as f64);
        Cost { flops: 2.0 * m * n * k, bytes: size_of::<T>() as f64 * (m * n + (m + n) * k) }
    }
}
