//! What a solver is asked for, and what it reports: tolerances, iterations, residual and outcome of every column.

use crate::{Error, LinearOperator};
use numerics::{Mat, MatRef, Scalar};

/// Tolerances, limits and helpers of a Krylov solver.
///
/// A column is solved when `|b - A x| <= max(rtol |b|, atol)`. Defaults: `rtol` 1e-8 in `f64` and 1e-5 in `f32`
/// (1e-8 is below what `f32` can attain), `atol` 0, `min(max(20 n, 1000), 10_000)` iterations, start at zero, no
/// preconditioner.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a, T: Scalar> {
    /// Tolerance relative to `|b|`.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// Largest number of iterations; `None` for the default.
    pub max_iter: Option<usize>,
    /// An operator near the inverse of A. CG and MINRES need it positive definite; GMRES and LSMR use it on the right.
    pub precond: Option<&'a dyn LinearOperator<T>>,
    /// Where to start; zero if absent.
    pub x0: Option<MatRef<'a, T>>,
}

impl<T: Scalar> Default for Options<'_, T> {
    fn default() -> Self {
        Self { rtol: default_rtol::<T>(), atol: 0.0, max_iter: None, precond: None, x0: None }
    }
}

impl<T: Scalar> Options<'_, T> {
    /// The iteration limit for size `n`.
    pub fn iteration_limit(&self, n: usize) -> usize {
        self.max_iter.unwrap_or_else(|| (20 * n).clamp(1000, 10_000))
    }

    /// Checks the tolerances, the preconditioner and the start against `ncols` unknowns and `k` columns.
    pub(crate) fn check(&self, op: &'static str, ncols: usize, k: usize) -> Result<(), Error> {
        for (name, tol) in [("rtol", self.rtol), ("atol", self.atol)] {
            if !(tol >= 0.0 && tol.is_finite()) {
                return Err(Error::InvalidArgument { op, what: format!("{name} = {tol}, needs a finite number >= 0") });
            }
        }
        super::block::check_precond(op, self.precond, ncols)?;
        if let Some(x0) = self.x0 {
            if x0.nrows() != ncols || x0.ncols() != k {
                return Err(Error::ShapeMismatch {
                    op,
                    expected: format!("a {ncols} x {k} start"),
                    got: format!("{} x {}", x0.nrows(), x0.ncols()),
                });
            }
            super::block::finite(op, "x0", x0)?;
        }
        Ok(())
    }
}

/// The default relative tolerance of a scalar type.
pub(crate) fn default_rtol<T: Scalar>() -> f64 {
    if size_of::<T>() == 4 { 1e-5 } else { 1e-8 }
}

/// How the iteration of one column ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The true residual meets the tolerance.
    Converged,
    /// The system has no solution; the iterate is a least-squares solution.
    Inconsistent,
    /// The iteration limit was reached.
    MaxIterations,
    /// Rounding (or a stalled restart) keeps the residual above the tolerance.
    Stagnated,
    /// A direction of zero or negative curvature was met at this iteration.
    NotPositiveDefinite {
        /// The iteration.
        iteration: usize,
    },
    /// The preconditioner showed a direction of zero or negative curvature at this iteration.
    PreconditionerNotPositiveDefinite {
        /// The iteration.
        iteration: usize,
    },
    /// A truncated series was summed to its last term; its residual is in the report.
    Truncated,
}

/// What a solve did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SolveReport {
    /// Name of the method.
    pub algorithm: &'static str,
    /// Iterations, the largest over the columns.
    pub iterations: usize,
    /// Columns multiplied by A or its transpose, in all.
    pub products: usize,
    /// Columns multiplied by the preconditioner or its transpose, in all.
    pub precond_products: usize,
    /// `|b - A x|` of every column, from a final product.
    pub residuals: Vec<f64>,
    /// The same relative to `|b|` (0 for a zero right-hand side).
    pub relative: Vec<f64>,
    /// How every column ended.
    pub outcomes: Vec<Outcome>,
}

impl SolveReport {
    pub(crate) fn new(algorithm: &'static str, k: usize) -> Self {
        Self {
            algorithm,
            iterations: 0,
            products: 0,
            precond_products: 0,
            residuals: vec![0.0; k],
            relative: vec![0.0; k],
            outcomes: vec![Outcome::Converged; k],
        }
    }

    /// Empty again, for another solve with `k` columns; memory is kept.
    pub(crate) fn reset(&mut self, algorithm: &'static str, k: usize) {
        (self.algorithm, self.iterations, self.products, self.precond_products) = (algorithm, 0, 0, 0);
        for list in [&mut self.residuals, &mut self.relative] {
            list.clear();
            list.resize(k, 0.0);
        }
        self.outcomes.clear();
        self.outcomes.resize(k, Outcome::Converged);
    }

    /// Whether every column met its tolerance.
    pub fn converged(&self) -> bool {
        self.outcomes.iter().all(|o| *o == Outcome::Converged)
    }

    /// Records how column `j` ended.
    pub(crate) fn finish(&mut self, j: usize, residual: f64, bnorm: f64, outcome: Outcome) {
        self.residuals[j] = residual;
        self.relative[j] = if bnorm > 0.0 { residual / bnorm } else { 0.0 };
        self.outcomes[j] = outcome;
    }

    /// The typed error of the first column that is no solution, if any.
    pub fn first_failure(&self, accept_least_squares: bool) -> Option<Error> {
        let op = self.algorithm;
        self.outcomes.iter().zip(&self.relative).find_map(|(outcome, &residual)| match *outcome {
            Outcome::Converged | Outcome::Truncated => None,
            Outcome::Inconsistent if accept_least_squares => None,
            Outcome::Inconsistent => Some(Error::Singular { op }),
            Outcome::MaxIterations | Outcome::Stagnated => {
                Some(Error::NoConvergence { op, iters: self.iterations, residual })
            }
            Outcome::NotPositiveDefinite { iteration } => Some(Error::NotPositiveDefinite { op, pivot: iteration }),
            Outcome::PreconditionerNotPositiveDefinite { iteration } => {
                Some(Error::NotPositiveDefinite { op: "preconditioner", pivot: iteration })
            }
        })
    }
}

/// The iterates with their report.
#[derive(Clone, Debug)]
#[must_use = "a solution may not have converged: look at the report or call `require_converged`"]
pub struct Solution<T: Scalar> {
    /// One column per right-hand side; the iterate of least residual where the tolerance was not met.
    pub x: Mat<T>,
    /// What the solver did.
    pub report: SolveReport,
}

impl<T: Scalar> Solution<T> {
    /// The solution, or the error of the first column that did not meet its tolerance.
    pub fn require_converged(self) -> Result<Mat<T>, Error> {
        match self.report.first_failure(false) {
            None => Ok(self.x),
            Some(error) => Err(error),
        }
    }

    /// Like [`require_converged`](Self::require_converged), but least-squares solutions of inconsistent systems pass.
    pub fn require_least_squares(self) -> Result<Mat<T>, Error> {
        match self.report.first_failure(true) {
            None => Ok(self.x),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_defaults() {
        let o = Options::<f64>::default();
        assert_eq!(
            (o.rtol, o.iteration_limit(3), o.iteration_limit(100), o.iteration_limit(9999)),
            (1e-8, 1000, 2000, 10_000)
        );
        assert_eq!(Options::<f32>::default().rtol, 1e-5);
        let bad = Options::<f64> { rtol: f64::NAN, ..Options::default() };
        assert!(matches!(bad.check("x", 2, 1), Err(Error::InvalidArgument { .. })));
    }

    #[test]
    fn failures_become_typed_errors() {
        let mut r = SolveReport::new("cg", 2);
        assert!(r.converged() && r.first_failure(false).is_none());
        r.iterations = 7;
        r.finish(1, 2.0, 4.0, Outcome::Stagnated);
        assert_eq!(r.first_failure(true), Some(Error::NoConvergence { op: "cg", iters: 7, residual: 0.5 }));
        r.finish(1, 2.0, 4.0, Outcome::Inconsistent);
        assert_eq!(r.first_failure(true), None);
        assert_eq!(r.first_failure(false), Some(Error::Singular { op: "cg" }));
    }
}
