//! `IterativeInverse`: the inverse of an operator, as an operator whose product is a solve.
//!
//! The transposed product solves with the transposed operand. A product costs the solver's iterations times the
//! operand's product and, unlike other operators, allocates the solver's vectors.

use super::block::{Product, check_precond, check_rhs, check_self_adjoint, check_square};
use super::neumann::{Alpha, resolve_alpha, series};
use super::report::{Options, Solution, SolveReport, default_rtol};
use super::{cg, gmres, lsmr, minres};
use crate::{Cost, Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};
use std::sync::{Mutex, PoisonError};

/// How an [`IterativeInverse`] solves.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// Conjugate gradients: positive definite operators.
    Cg,
    /// MINRES: self-adjoint operators; inconsistent systems are an error.
    Minres,
    /// LSMR: any shape; the pseudo-inverse.
    Lsmr,
    /// GMRES(30): square operators.
    Gmres,
    /// The truncated Neumann series, which is the inverse of nothing in particular but costs a fixed number of products.
    Neumann {
        /// Terms after the zeroth.
        terms: usize,
        /// Step length.
        alpha: Alpha,
    },
}

/// The inverse (or pseudo-inverse) of an operator by iteration.
///
/// ```
/// use linop_core::krylov::{IterativeInverse, Method};
/// use linop_core::ops::Diagonal;
/// use linop_core::{Op, to_dense};
/// use numerics::Par;
///
/// let a = Op::new(Diagonal::new(vec![1.0f64, 2.0]));
/// let inverse = IterativeInverse::new(a, Method::Cg)?;
/// assert!((to_dense(&inverse, Par::Seq)?[(1, 1)] - 0.5).abs() < 1e-7);
/// # Ok::<(), linop_core::Error>(())
/// ```
#[derive(Debug)]
pub struct IterativeInverse<T: Scalar> {
    operand: Op<T>,
    precond: Option<Op<T>>,
    method: Method,
    /// The step length of the series was chosen for the operand alone.
    automatic: bool,
    rtol: f64,
    atol: f64,
    max_iter: Option<usize>,
    last: Mutex<Option<SolveReport>>,
}

impl<T: Scalar> IterativeInverse<T> {
    /// The inverse of `operand`. The automatic step length of a Neumann series is computed here, once.
    pub fn new(operand: Op<T>, method: Method) -> Result<Self, Error> {
        const OP: &str = "inverse";
        let automatic = matches!(method, Method::Neumann { alpha: Alpha::Auto, .. });
        let method = match method {
            Method::Cg | Method::Minres => {
                check_self_adjoint(OP, operand.as_dyn())?;
                method
            }
            Method::Lsmr => method,
            Method::Gmres => {
                check_square(OP, operand.as_dyn())?;
                method
            }
            Method::Neumann { terms, alpha } => {
                check_square(OP, operand.as_dyn())?;
                let alpha = resolve_alpha(operand.as_dyn(), alpha, false, Par::Seq)?;
                Method::Neumann { terms, alpha: Alpha::Fixed(alpha.to_f64()) }
            }
        };
        Ok(Self {
            operand,
            precond: None,
            method,
            automatic,
            rtol: default_rtol::<T>(),
            atol: 0.0,
            max_iter: None,
            last: Mutex::new(None),
        })
    }

    /// Solves with this preconditioner; a series with automatic step length takes none.
    pub fn with_precond(mut self, precond: Op<T>) -> Result<Self, Error> {
        if self.automatic {
            return Err(Error::InvalidArgument {
                op: "inverse",
                what: "the automatic alpha needs a series without preconditioner; give a number".into(),
            });
        }
        check_precond("inverse", Some(precond.as_dyn()), self.operand.ncols())?;
        self.precond = Some(precond);
        Ok(self)
    }

    /// Solves to these tolerances.
    pub fn with_tolerances(mut self, rtol: f64, atol: f64) -> Self {
        (self.rtol, self.atol) = (rtol, atol);
        self
    }

    /// Limits the iterations.
    pub fn with_max_iter(mut self, max_iter: usize) -> Self {
        self.max_iter = Some(max_iter);
        self
    }

    /// The operator whose inverse this is.
    pub fn operand(&self) -> &Op<T> {
        &self.operand
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether this is the inverse to within the tolerance, not a series cut short or a pseudo-inverse.
    pub fn is_true_inverse(&self) -> bool {
        matches!(self.method, Method::Cg | Method::Minres | Method::Gmres)
    }

    /// The report of the latest solve of any thread.
    pub fn last_report(&self) -> Option<SolveReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Solves with the operand, or with its transpose.
    fn solve(&self, b: MatRef<'_, T>, transposed: bool, par: Par) -> Result<Mat<T>, Error> {
        let a = self.operand.as_dyn();
        let flipped = Flipped(a);
        let symmetric = a.props().contains(Props::SELF_ADJOINT);
        let flip = transposed && !symmetric;
        let operand: &dyn LinearOperator<T> = if flip { &flipped } else { a };
        let square = a.nrows() == a.ncols();
        let p = self.precond.as_ref().map(Op::as_dyn);
        let flipped_p = p.map(Flipped);
        let precond: Option<&dyn LinearOperator<T>> = match &flipped_p {
            Some(p) if transposed && square => Some(p),
            _ if transposed => None,
            _ => p,
        };
        let options = Options { rtol: self.rtol, atol: self.atol, max_iter: self.max_iter, precond, x0: None };
        let solution = match self.method {
            // The transpose of a preconditioner of a self-adjoint method is itself.
            Method::Cg => cg(operand, b, &Options { precond: p, ..options }, par)?.solution,
            Method::Minres => minres(operand, b, &Options { precond: p, ..options }, par)?,
            Method::Lsmr => lsmr(operand, b, &options, par)?,
            Method::Gmres => gmres(operand, b, &options, par)?,
            Method::Neumann { terms, alpha } => {
                return self.sum(operand, precond, b, terms, alpha, par);
            }
        };
        let Solution { x, report } = solution;
        let failure = report.first_failure(self.method == Method::Lsmr);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        match failure {
            None => Ok(x),
            Some(error) => Err(error),
        }
    }

    /// The Neumann series without the residual's extra product.
    fn sum(
        &self,
        operand: &dyn LinearOperator<T>,
        precond: Option<&dyn LinearOperator<T>>,
        b: MatRef<'_, T>,
        terms: usize,
        alpha: Alpha,
        par: Par,
    ) -> Result<Mat<T>, Error> {
        let (n, k) = (operand.nrows(), b.ncols());
        check_rhs("inverse", n, b)?;
        let alpha = resolve_alpha(operand, alpha, precond.is_some(), par)?;
        let mut by_a = Product::new(Some(operand), false, n, k, par);
        let mut by_p = Product::new(precond, false, n, k, par);
        series(&mut by_a, &mut by_p, b, alpha, terms)
    }

    fn add_to(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        transposed: bool,
        par: Par,
    ) -> Result<(), Error> {
        let rows = if transposed { self.operand.nrows() } else { self.operand.ncols() };
        if out.nrows() != rows || out.ncols() != x.ncols() {
            return Err(Error::ShapeMismatch {
                op: "inverse",
                expected: format!("out of {rows} x {}", x.ncols()),
                got: format!("{} x {}", out.nrows(), out.ncols()),
            });
        }
        if alpha == T::ZERO {
            dense::scale(out, beta);
            return Ok(());
        }
        let y = self.solve(x, transposed, par)?;
        dense::scale(out.as_mut(), beta);
        dense::axpy(out, alpha, y.as_ref());
        Ok(())
    }
}

impl<T: Scalar> LinearOperator<T> for IterativeInverse<T> {
    fn nrows(&self) -> usize {
        self.operand.ncols()
    }

    fn ncols(&self) -> usize {
        self.operand.nrows()
    }

    fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.add_to(out, alpha, x, beta, false, par)
    }

    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.add_to(out, alpha, x, beta, true, par)
    }

    fn kind(&self) -> Kind<'_, T> {
        Kind::IterativeInverse(self)
    }

    fn cost(&self, k: usize) -> Cost {
        // An iteration count is not known beforehand: as many as a well conditioned or preconditioned system takes.
        let products = match self.method {
            Method::Neumann { terms, .. } => terms,
            Method::Lsmr => 2 * self.operand.ncols().min(50),
            _ => self.operand.ncols().min(50),
        };
        let one = self.operand.cost(k);
        let p = self.precond.as_ref().map_or(Cost::default(), |p| p.cost(k));
        Cost { flops: products as f64 * (one.flops + p.flops), bytes: products as f64 * (one.bytes + p.bytes) }
    }

    fn props(&self) -> Props {
        let (a, square) = (self.operand.props(), self.operand.nrows() == self.operand.ncols());
        let symmetric_precond = self.precond.as_ref().is_none_or(|p| p.props().contains(Props::SELF_ADJOINT));
        let definite = Props::SELF_ADJOINT | Props::PSD | Props::PD | Props::NSD | Props::ND;
        match self.method {
            Method::Cg | Method::Minres | Method::Gmres => a & definite,
            // With a preconditioner the norm that is least on a deficient operator is another one.
            Method::Lsmr if square && (self.precond.is_none() || a.intersects(Props::PD | Props::ND)) => a & definite,
            Method::Neumann { .. } if symmetric_precond => a & Props::SELF_ADJOINT,
            _ => Props::NONE,
        }
    }
}

/// The transpose of a borrowed operator.
#[derive(Debug)]
struct Flipped<'a, T: Scalar>(&'a dyn LinearOperator<T>);

impl<T: Scalar> LinearOperator<T> for Flipped<'_, T> {
    fn nrows(&self) -> usize {
        self.0.ncols()
    }
    fn ncols(&self) -> usize {
        self.0.nrows()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.0.apply_t_req(k, par)
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.0.apply_req(k, par)
    }
    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.0.apply_t(out, alpha, x, beta, par, stack)
    }
    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.0.apply(out, alpha, x, beta, par, stack)
    }
    fn props(&self) -> Props {
        self.0.props().transposed(self.0.nrows(), self.0.ncols())
    }
}
