//! `IterativeInverse`: the inverse of an operator, as an operator whose product is a solve.
//!
//! The transposed product solves with the transposed operand. A product costs the solver's iterations times the
//! operand's product; the solver's vectors come from the caller's scratch, and nothing is allocated.

use super::block::{check_precond, check_rhs, check_self_adjoint, check_square};
use super::neumann::{self, Alpha, resolve_alpha};
use super::report::{Options, SolveReport, default_rtol};
use super::{cg, gmres, lsmr, minres};
use crate::ops::{add_scaled, begin, temp, temp_req, view, view_mut};
use crate::{Cost, Error, Kind, LinearOperator, Op, Props};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Reports of finished solves, to be written again: as many as there have been solves at the same time.
    reports: Mutex<Reports>,
}

/// Reports on the shelf; the last in the list is the latest.
#[derive(Debug)]
struct Reports {
    shelf: Vec<SolveReport>,
    any: bool,
}

/// Columns and simultaneous solves for which a report is at hand from the start.
const PREPARED: (usize, usize) = (64, 4);

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
            reports: Mutex::new(Reports { shelf: vec![SolveReport::new("", PREPARED.0); PREPARED.1], any: false }),
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

    /// The report of the latest solve of any thread; a Neumann series makes none.
    pub fn last_report(&self) -> Option<SolveReport> {
        let reports = self.reports();
        reports.shelf.last().filter(|_| reports.any).cloned()
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operand and preconditioner as a solve sees them.
    fn sides<'a>(&'a self, transposed: bool, turned: &'a mut Turned<'a, T>) -> Sides<'a, T> {
        let a = self.operand.as_dyn();
        let p = self.precond.as_ref().map(Op::as_dyn);
        *turned = Turned { a: Some(Flipped(a)), p: p.map(Flipped) };
        let turned: &'a Turned<'a, T> = turned;
        let symmetric = a.props().contains(Props::SELF_ADJOINT);
        let operand: &dyn LinearOperator<T> = match &turned.a {
            Some(flipped) if transposed && !symmetric => flipped,
            _ => a,
        };
        let square = a.nrows() == a.ncols();
        let precond: Option<&dyn LinearOperator<T>> = match (&turned.p, self.method) {
            // The transpose of a preconditioner of a self-adjoint method is itself.
            (_, Method::Cg | Method::Minres) => p,
            (Some(flipped), _) if transposed && square => Some(flipped),
            _ if transposed => None,
            _ => p,
        };
        Sides { operand, precond }
    }

    fn req(&self, transposed: bool, k: usize, par: Par) -> StackReq {
        let mut turned = Turned::default();
        let Sides { operand, precond } = self.sides(transposed, &mut turned);
        let solver = match self.method {
            Method::Cg => cg::req(operand, precond, k, par),
            Method::Minres => minres::req(operand, precond, k, par),
            Method::Lsmr => lsmr::req(operand, precond, k, par),
            Method::Gmres => gmres::req(operand, precond, par),
            Method::Neumann { .. } => neumann::req(operand, precond, k, par),
        };
        temp_req::<T>(operand.ncols(), k).and(solver)
    }

    /// Solves with the operand, or with its transpose.
    fn solve(
        &self,
        b: MatRef<'_, T>,
        x: MatMut<'_, T>,
        transposed: bool,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let mut turned = Turned::default();
        let Sides { operand, precond } = self.sides(transposed, &mut turned);
        let options = Options { rtol: self.rtol, atol: self.atol, max_iter: self.max_iter, precond, x0: None };
        if let Method::Neumann { terms, alpha } = self.method {
            check_rhs("inverse", operand.nrows(), b)?;
            let alpha = resolve_alpha(operand, alpha, precond.is_some(), par)?;
            return neumann::series_in(operand, precond, b, alpha, terms, x, par, stack).map(|_| ());
        }
        let mut report = self.reports().shelf.pop().unwrap_or_else(|| SolveReport::new("", b.ncols()));
        report.reset(self.name(), b.ncols());
        let result = match self.method {
            Method::Cg => cg::solve_in(operand, b, &options, x, &mut report, None, par, stack),
            Method::Minres => minres::solve_in(operand, b, &options, x, &mut report, par, stack),
            Method::Lsmr => lsmr::solve_in(operand, b, &options, x, &mut report, par, stack),
            _ => gmres::solve_in(operand, b, &options, x, &mut report, par, stack),
        };
        let failure = report.first_failure(self.method == Method::Lsmr);
        let mut reports = self.reports();
        reports.any = true;
        reports.shelf.push(report);
        drop(reports);
        result?;
        failure.map_or(Ok(()), Err)
    }

    fn name(&self) -> &'static str {
        match self.method {
            Method::Cg => "cg",
            Method::Minres => "minres",
            Method::Lsmr => "lsmr",
            Method::Gmres => "gmres",
            Method::Neumann { .. } => "neumann",
        }
    }

    fn add_to(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        transposed: bool,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (m, n) = (self.operand.nrows(), self.operand.ncols());
        let (rows, cols) = if transposed { (m, n) } else { (n, m) };
        if !begin("inverse", (rows, cols), out.as_mut(), alpha, x, beta)? {
            return Ok(());
        }
        let k = x.ncols();
        temp!(y, stack = stack, rows * k);
        self.solve(x, view_mut(y, rows, k), transposed, par, stack)?;
        add_scaled(out, alpha, view(y, rows, k), beta);
        Ok(())
    }
}

/// What a solve works with.
struct Sides<'a, T: Scalar> {
    operand: &'a dyn LinearOperator<T>,
    precond: Option<&'a dyn LinearOperator<T>>,
}

/// Room for the transposes of operand and preconditioner.
struct Turned<'a, T: Scalar> {
    a: Option<Flipped<'a, T>>,
    p: Option<Flipped<'a, T>>,
}

impl<T: Scalar> Default for Turned<'_, T> {
    fn default() -> Self {
        Turned { a: None, p: None }
    }
}

impl<T: Scalar> LinearOperator<T> for IterativeInverse<T> {
    fn nrows(&self) -> usize {
        self.operand.ncols()
    }

    fn ncols(&self) -> usize {
        self.operand.nrows()
    }

    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.req(false, k, par)
    }

    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.req(true, k, par)
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
        self.add_to(out, alpha, x, beta, false, par, stack)
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
        self.add_to(out, alpha, x, beta, true, par, stack)
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
    fn cost(&self, k: usize) -> Cost {
        self.0.cost(k)
    }
}
