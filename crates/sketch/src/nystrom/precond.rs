//! The Nystrom preconditioner of `A + mu I`: `(l + mu) U (Lambda + mu)^-1 U^T + (I - U U^T)`, l the smallest value kept.
//!
//! Source: arXiv:2110.02820. The condition number after preconditioning is at most `(l + mu + |A - A_hat|) / mu`.
//! A product costs `4 n r` flops a column.

use super::Nystrom;
use crate::Error;
use crate::products::check_shapes;
use linop_core::{Cost, LinearOperator, Props};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};

/// An operator near the inverse of `A + mu I`, up to scale; positive definite.
///
/// An `n x n` operator; `4 n r` flops a product. Source: arXiv:2110.02820.
#[derive(Clone, Debug)]
pub struct NystromPrecond<T: Scalar> {
    u: Mat<T>,
    /// What replaces one in the direction of each column of U, minus one.
    excess: Vec<T>,
}

impl<T: Scalar> NystromPrecond<T> {
    /// From an approximation of A and the shift of the system.
    ///
    /// Cost: a copy of U, `n r`.
    ///
    /// # Errors
    /// `InvalidArgument` unless `mu > 0`.
    pub fn new(low: &Nystrom, mu: f64) -> Result<Self, Error> {
        Self::with_power(low, mu, 1.0)
    }

    /// The square root of the same, for symmetric preconditioning.
    ///
    /// Cost: a copy of U, `n r`.
    ///
    /// # Errors
    /// `InvalidArgument` unless `mu > 0`.
    pub fn root(low: &Nystrom, mu: f64) -> Result<Self, Error> {
        Self::with_power(low, mu, 0.5)
    }

    fn with_power(low: &Nystrom, mu: f64, power: f64) -> Result<Self, Error> {
        if !(mu > 0.0 && mu.is_finite()) {
            return Err(Error::argument("nystrom preconditioner", format!("needs mu > 0, got {mu}")));
        }
        let floor = low.values.last().copied().unwrap_or(0.0);
        let excess = low.values.iter().map(|v| T::from_f64(((floor + mu) / (v + mu)).powf(power) - 1.0)).collect();
        let u = Mat::from_fn(low.u.nrows(), low.values.len(), |i, j| T::from_f64(low.u[(i, j)]));
        Ok(NystromPrecond { u, excess })
    }
}

impl<T: Scalar> LinearOperator<T> for NystromPrecond<T> {
    fn nrows(&self) -> usize {
        self.u.nrows()
    }

    fn ncols(&self) -> usize {
        self.u.nrows()
    }

    fn apply_req(&self, k: usize, _: Par) -> StackReq {
        StackReq::new::<T>(self.excess.len() * k)
    }

    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let n = self.u.nrows();
        check_shapes("nystrom preconditioner", (n, n), &out, &x)?;
        dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO {
            return Ok(());
        }
        let (r, k) = (self.excess.len(), x.ncols());
        let (mut space, _) = stack.make_with(r * k, |_| T::ZERO);
        let mut c = MatMut::from_column_major_slice_mut(&mut space, r, k);
        dense::gemm(c.as_mut(), T::ONE, self.u.transpose(), x, T::ZERO, par);
        for j in 0..k {
            for i in 0..r {
                c[(i, j)] *= self.excess[i];
            }
        }
        dense::axpy(out.as_mut(), alpha, x);
        dense::gemm(out, alpha, self.u.as_ref(), c.as_ref(), T::ONE, par);
        Ok(())
    }

    fn props(&self) -> Props {
        Props::PD.close(self.nrows(), self.nrows())
    }

    fn cost(&self, k: usize) -> Cost {
        let (n, r, k) = (self.u.nrows() as f64, self.excess.len() as f64, k as f64);
        Cost { flops: 4.0 * n * r * k, bytes: size_of::<T>() as f64 * (2.0 * n * r + 3.0 * n * k) }
    }
}
