//! The inverse of a stored matrix through its factorisation: Cholesky, Bunch-Kaufman or LU. A solve costs `2 n^2 k`.

use super::prelude::*;
use numerics::dense::{Lblt, Llt, Lu};
use std::sync::Arc;

#[derive(Clone)]
enum Factor<T: Scalar> {
    Llt(Arc<Llt<T>>),
    Lblt(Arc<Lblt<T>>),
    Lu(Arc<Lu<T>>),
}

/// `A^-1` of a factored matrix.
#[derive(Clone)]
pub struct Factored<T: Scalar> {
    factor: Factor<T>,
    operand: Op<T>,
    props: Props,
}

impl<T: Scalar> Factored<T> {
    /// Factors `mat`, the matrix of `operand`: Cholesky if it is known PD, Bunch-Kaufman if self-adjoint, LU otherwise.
    ///
    /// A matrix only known to be PSD is tried with Cholesky first. Singular matrices are [`Error::Singular`].
    pub fn new(operand: Op<T>, mat: MatRef<'_, T>, par: Par) -> Result<Self, Error> {
        let n = require_square("Factored", &operand)?;
        let known = operand.props();
        if !kernels::is_all_finite(mat) {
            return Err(Error::NotFinite { op: "Factored", operand: "the matrix" });
        }
        let props = known.inverse(n);
        if known.contains(Props::PSD) {
            match Llt::new(mat, par) {
                Ok(f) => {
                    return Ok(Factored { factor: Factor::Llt(Arc::new(f)), operand, props });
                }
                Err(numerics::Error::NotPositiveDefinite { pivot, .. }) if known.contains(Props::PD) => {
                    return Err(Error::NotPositiveDefinite { op: "Factored", pivot });
                }
                Err(numerics::Error::NotPositiveDefinite { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let factor = if known.contains(Props::SELF_ADJOINT) {
            let f = Lblt::new(mat, par)?;
            if f.is_singular() {
                return Err(Error::Singular { op: "Factored" });
            }
            Factor::Lblt(Arc::new(f))
        } else {
            let f = Lu::new(mat, par)?;
            if f.is_singular() {
                return Err(Error::Singular { op: "Factored" });
            }
            Factor::Lu(Arc::new(f))
        };
        Ok(Factored { factor, operand, props })
    }

    /// What it is the inverse of.
    pub fn operand(&self) -> &Op<T> {
        &self.operand
    }

    /// Which factorisation it is: `"llt"`, `"lblt"` or `"lu"`.
    pub fn algorithm(&self) -> &'static str {
        match &self.factor {
            Factor::Llt(_) => "llt",
            Factor::Lblt(_) => "lblt",
            Factor::Lu(_) => "lu",
        }
    }

    /// Sign and log absolute determinant of the *operand*.
    pub fn operand_slogdet(&self) -> (T, T) {
        match &self.factor {
            Factor::Llt(f) => (T::ONE, f.logdet()),
            Factor::Lblt(f) => f.slogdet(),
            Factor::Lu(f) => f.slogdet(),
        }
    }

    fn shape(&self) -> (usize, usize) {
        (self.operand.nrows(), self.operand.nrows())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let solve = match (&self.factor, side) {
            (Factor::Llt(f), _) => f.solve_req(k, par),
            (Factor::Lblt(f), _) => f.solve_req(k, par),
            (Factor::Lu(f), Side::Plain) => f.solve_req(k, par),
            (Factor::Lu(f), Side::Transposed) => f.solve_t_req(k, par),
        };
        temp_req::<T>(self.operand.nrows(), k).and(solve)
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (n, k) = (x.nrows(), x.ncols());
        temp!(t, rest = stack, n * k);
        kernels::copy(view_mut(t, n, k), x);
        match (&self.factor, side) {
            (Factor::Llt(f), _) => f.solve_in_place(view_mut(t, n, k), par, rest),
            (Factor::Lblt(f), _) => f.solve_in_place(view_mut(t, n, k), par, rest),
            (Factor::Lu(f), Side::Plain) => f.solve_in_place(view_mut(t, n, k), par, rest),
            (Factor::Lu(f), Side::Transposed) => f.solve_transpose_in_place(view_mut(t, n, k), par, rest),
        }
        add_scaled(out, alpha, view(t, n, k), beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let n = self.operand.nrows() as f64;
        cost::<T>(2.0 * n * n * k as f64, n * n + 2.0 * n * k as f64)
    }
}

impl<T: Scalar> core::fmt::Debug for Factored<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Factored").field("n", &self.operand.nrows()).field("algorithm", &self.algorithm()).finish()
    }
}

operator!(Factored, Kind::Factored);
