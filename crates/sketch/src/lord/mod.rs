//! Low rank plus diagonal from products: SketchLoRD (our ADMM), its guard, its baselines, and the factor as an operator.
//!
//! Source: arXiv:2509.23587. Of the paper only the abstract and reports about it could be read: a sketch, a nuclear-norm
//! program, ADMM, the diagonal in closed form. Solver, parameters and recovery here are our own derivation.
//!
//! `A = L + diag(d)` with L of rank k is found exactly from `p >= 2k + 4` products of a symmetric operator (and as many
//! transposed ones otherwise). Low rank alone, diagonal alone, and one after the other all fail on it: the diagonal of L
//! is not zero, and the leading directions of A take up part of the diagonal.

mod admm;
mod auto;
mod baseline;
mod file;
mod measure;
mod packed;
mod program;
mod proximal;
mod recover;
mod sample;
mod shrink;
#[cfg(test)]
mod tests;

pub use admm::AdmmOptions;
pub use auto::{Candidate, LordChoice, sketch_lord_auto};
pub use baseline::{DiagonalSource, diagonal_only, diagonal_then_low, low_only, low_then_diagonal};
pub use measure::{ColumnStream, Measurements};
pub use program::Dual;
pub use proximal::ProximalOptions;
pub use recover::{LordOptions, Passes, Solver, fit_lord, sketch_lord};

use crate::structure::structure_only;
use crate::{Error, la};
use linop_core::dispatch;
use linop_core::ops::{LowRank, LowRankPlusDiag};
use linop_core::{Cost, Kind, LinearOperator, Op, Props};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, StackReq, dense};

/// How a [`Lord`] was found.
#[derive(Clone, Debug, PartialEq)]
pub struct LordReport {
    /// The method.
    pub method: &'static str,
    /// Products with the operator.
    pub products: usize,
    /// Products with its transpose.
    pub products_t: usize,
    /// Iterations of the solver.
    pub iterations: usize,
    /// Its last residual.
    pub residual: f64,
    /// Whether the residual met the tolerance.
    pub converged: bool,
    /// Whether the observer stopped the solver.
    pub interrupted: bool,
    /// The dual certificate of the convex program, from the ADMM solver.
    pub dual: Option<Dual>,
    /// Bytes of the measurements and of the solver's arrays: the most that the method holds at a time, the operator's own
    /// memory and a few blocks of the final rank apart. 0 where there is no solver.
    pub bytes: usize,
    /// The smallest singular value of the low-rank block is not small: there is no low-rank structure that so few
    /// products could show, or they are too few.
    pub sketch_too_small: bool,
}

impl LordReport {
    pub(crate) fn direct(method: &'static str, (products, products_t): (usize, usize)) -> Self {
        LordReport {
            method,
            products,
            products_t,
            iterations: 0,
            residual: 0.0,
            converged: true,
            interrupted: false,
            dual: None,
            bytes: 0,
            sketch_too_small: false,
        }
    }
}

/// `diag(d) + U C V^T` as an operator, with what one does with a covariance or a curvature: solve, determinant, samples.
///
/// An `n x n` operator; `4 n r + n` flops a product. C is `r x r`, U and V are `n x r`.
#[derive(Clone, Debug)]
pub struct Lord {
    op: LowRankPlusDiag<f64>,
    /// How it was found.
    pub report: LordReport,
}

/// Entries of the diagonal below this, relative to its largest, are not divided by.
const SMALL_DIAGONAL: f64 = 1e-13;

impl Lord {
    /// From its parts: U is `n x r`, C `r x r`, V `n x r` (U if absent).
    ///
    /// # Errors
    /// A shape mismatch.
    pub fn new(d: Vec<f64>, u: Mat<f64>, c: Mat<f64>, v: Option<Mat<f64>>) -> Result<Self, Error> {
        let op = LowRankPlusDiag::new(d, LowRank::new(u, Some(c), v)?)?;
        Ok(Lord { op, report: LordReport::direct("given", (0, 0)) })
    }

    pub(crate) fn with_report(mut self, report: LordReport) -> Self {
        self.report = report;
        self
    }

    /// d.
    pub fn diagonal_part(&self) -> &[f64] {
        self.op.diagonal_part()
    }

    /// `U C V^T`.
    pub fn low_rank_part(&self) -> &LowRank<f64> {
        self.op.low_rank_part()
    }

    /// Columns of U.
    pub fn rank(&self) -> usize {
        self.op.low_rank_part().rank()
    }

    /// The operator, for linop-core's algebra.
    ///
    /// Cost: a copy of the factors.
    pub fn op(&self) -> Op<f64> {
        Op::new(self.op.clone())
    }

    fn n(&self) -> usize {
        self.op.diagonal_part().len()
    }

    /// Fails if an entry of d is too small to divide by.
    fn check_diagonal(&self, op: &'static str) -> Result<(), Error> {
        let d = self.diagonal_part();
        let top = d.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        match d.iter().position(|x| x.abs() <= SMALL_DIAGONAL * top) {
            Some(index) => Err(Error::IllConditionedDiagonal { op, index, value: d[index] }),
            None => Ok(()),
        }
    }

    /// `A^-1`, again low rank plus diagonal, by `I + C V^T D^-1 U`.
    ///
    /// Cost: `4 n r^2` flops, then as a product with A. Source: Woodbury 1950.
    ///
    /// # Errors
    /// `IllConditionedDiagonal` if an entry of d is (nearly) zero; a singular operator.
    pub fn inverse(&self, par: Par) -> Result<Op<f64>, Error> {
        self.check_diagonal("inverse")?;
        Ok(dispatch::inverse(&self.op(), structure_only(), par)?)
    }

    /// Sign and logarithm of the determinant.
    ///
    /// Cost: `2 n r^2` flops. Source: the determinant lemma, `det D det(I + C V^T D^-1 U)`.
    ///
    /// # Errors
    /// `IllConditionedDiagonal` if an entry of d is (nearly) zero.
    pub fn slogdet(&self, par: Par) -> Result<(f64, f64), Error> {
        self.check_diagonal("slogdet")?;
        Ok(dispatch::slogdet(&self.op(), structure_only(), par)?)
    }

    /// The trace.
    ///
    /// Cost: `2 n r^2` flops.
    ///
    /// # Errors
    /// None that the parts can cause.
    pub fn trace(&self, par: Par) -> Result<f64, Error> {
        Ok(dispatch::trace(&self.op(), structure_only(), par)?)
    }

    /// The diagonal of the sum.
    ///
    /// Cost: `2 n r^2` flops.
    ///
    /// # Errors
    /// None that the parts can cause.
    pub fn diagonal(&self, par: Par) -> Result<Vec<f64>, Error> {
        Ok(dispatch::diagonal(&self.op(), structure_only(), par)?)
    }

    /// The squared Frobenius norm.
    ///
    /// Cost: `4 n r^2` flops.
    ///
    /// # Errors
    /// None that the parts can cause.
    pub fn frobenius_sq(&self, par: Par) -> Result<f64, Error> {
        Ok(dispatch::frobenius_sq(&self.op(), structure_only(), par)?)
    }

    /// `A + mu I`.
    ///
    /// Cost: a copy of the factors.
    ///
    /// # Errors
    /// None that the parts can cause.
    pub fn shifted(&self, mu: f64) -> Result<Self, Error> {
        let d = self.diagonal_part().iter().map(|x| x + mu).collect();
        let op = LowRankPlusDiag::new(d, self.low_rank_part().clone())?;
        Ok(Lord { op, report: self.report.clone() })
    }

    /// A positive semidefinite operator of the same form: eigenvalues of the low-rank part and entries of d clipped at 0.
    /// Negative entries of d are legitimate (a residual curvature); clip only where definiteness is needed.
    ///
    /// Cost: `8 n r^2` flops.
    ///
    /// # Errors
    /// `NotSymmetric` for a two-sided factor.
    pub fn clipped_psd(&self, par: Par) -> Result<Self, Error> {
        let low = self.symmetric_low("clipping")?;
        // orthonormal columns, so that eigenvalues of the core are those of the part
        let f = dense::qr(low.u())?;
        let core = low.core();
        let inner = la::mul_nt(la::mul(f.r.as_ref(), core.as_ref(), par).as_ref(), f.r.as_ref(), par);
        let mut inner = inner;
        dense::symmetrize(inner.as_mut());
        let e = dense::eigh(inner.as_ref())?;
        let kept: Vec<usize> = (0..e.values.len()).rev().filter(|&j| e.values[j] > 0.0).collect();
        let u = la::mul(f.q.as_ref(), la::permute_cols(e.vectors.as_ref(), &kept).as_ref(), par);
        let c = Mat::from_fn(kept.len(), kept.len(), |i, j| if i == j { e.values[kept[i]] } else { 0.0 });
        let d = self.diagonal_part().iter().map(|x| x.max(0.0)).collect();
        Ok(Lord::new(d, u, c, None)?.with_report(self.report.clone()))
    }

    fn symmetric_low(&self, op: &'static str) -> Result<&LowRank<f64>, Error> {
        if self.op.props().contains(Props::SELF_ADJOINT) && self.low_rank_part().is_symmetric_form() {
            Ok(self.low_rank_part())
        } else {
            Err(Error::NotSymmetric { op })
        }
    }
}

impl LinearOperator<f64> for Lord {
    fn nrows(&self) -> usize {
        self.n()
    }
    fn ncols(&self) -> usize {
        self.n()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.op.apply_req(k, par)
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.op.apply_t_req(k, par)
    }
    fn apply(
        &self,
        out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.op.apply(out, alpha, x, beta, par, stack)
    }
    fn apply_t(
        &self,
        out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.op.apply_t(out, alpha, x, beta, par, stack)
    }
    fn props(&self) -> Props {
        self.op.props()
    }
    fn kind(&self) -> Kind<'_, f64> {
        Kind::LowRankPlusDiag(&self.op)
    }
    fn cost(&self, k: usize) -> Cost {
        self.op.cost(k)
    }
}
