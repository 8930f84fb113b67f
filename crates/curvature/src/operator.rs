//! The operators: curvature matrices `P x P` and the Jacobian, known by their products.

use crate::engine::{Engine, Make, Product, ProductReport, Recipe, Side};
use crate::error::Error;
use crate::fisher::Fisher;
use crate::programs;
use crate::risk::Risk;
use linop_core::{Cost, LinearOperator, Props};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};

/// A symmetric `P x P` curvature matrix of a risk, known by its products.
///
/// `apply` asks for no scratch: it keeps its workspaces, one set per concurrent caller, made on first use. Its result has the
/// same bits for any number of threads and any number of columns at once.
pub struct CurvatureOperator<T: 'static> {
    name: &'static str,
    dim: usize,
    props: Props,
    engine: Engine<T>,
}

impl<T: 'static> core::fmt::Debug for CurvatureOperator<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}({} x {})", self.name, self.dim, self.dim)
    }
}

impl<T: Scalar> CurvatureOperator<T> {
    pub(crate) fn new(name: &'static str, risk: &Risk<T>, props: Props, recipe: Recipe<'_, T>) -> Result<Self, Error> {
        let props = props.close(risk.dim(), risk.dim());
        Ok(CurvatureOperator { name, dim: risk.dim(), props, engine: Engine::new(risk, recipe)? })
    }

    /// How products are made.
    pub fn report(&self) -> ProductReport {
        self.engine.report()
    }
}

fn check<T: Scalar>(
    op: &'static str,
    rows: (usize, usize),
    x: MatRef<'_, T>,
    out: MatMut<'_, T>,
) -> Result<(), linop_core::Error> {
    let k = x.ncols();
    if (x.nrows(), out.nrows(), out.ncols()) == (rows.0, rows.1, k) {
        return Ok(());
    }
    Err(linop_core::Error::ShapeMismatch {
        op,
        expected: format!("{} x {k} operand and {} x {k} result", rows.0, rows.1),
        got: format!("{} x {} and {} x {}", x.nrows(), k, out.nrows(), out.ncols()),
    })
}

fn failed(op: &'static str) -> impl Fn(Error) -> linop_core::Error {
    move |e| linop_core::Error::Operator { op, what: e.to_string() }
}

impl<T: Scalar> LinearOperator<T> for CurvatureOperator<T> {
    fn nrows(&self) -> usize {
        self.dim
    }

    fn ncols(&self) -> usize {
        self.dim
    }

    fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check(self.name, (self.dim, self.dim), x, out.as_mut())?;
        let product = Product { output: 0, sides: (Side::Shared, Side::Shared), out, alpha, x, beta };
        self.engine.apply(product, par).map_err(failed(self.name))
    }

    fn props(&self) -> Props {
        self.props
    }

    fn cost(&self, k: usize) -> Cost {
        self.engine.cost(0, k)
    }
}

/// The Jacobian of the model's outputs in the parameters, `[N S C, P]`: rows by datum, position, output. Neither loss nor
/// kappa enter. Both products keep one forward pass.
pub struct JacobianOperator<T: 'static> {
    dim: usize,
    engine: Engine<T>,
}

impl<T: 'static> core::fmt::Debug for JacobianOperator<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Jacobian(.. x {})", self.dim)
    }
}

impl<T: Scalar> JacobianOperator<T> {
    /// How products are made.
    pub fn report(&self) -> ProductReport {
        self.engine.report()
    }
}

impl<T: Scalar> LinearOperator<T> for JacobianOperator<T> {
    fn nrows(&self) -> usize {
        self.engine.rows()
    }

    fn ncols(&self) -> usize {
        self.dim
    }

    fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check("Jacobian", (self.dim, self.nrows()), x, out.as_mut())?;
        let product = Product { output: 0, sides: (Side::Shared, Side::Rows), out, alpha, x, beta };
        self.engine.apply(product, par).map_err(failed("Jacobian"))
    }

    fn apply_t(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check("Jacobian^T", (self.nrows(), self.dim), x, out.as_mut())?;
        let product = Product { output: 1, sides: (Side::Rows, Side::Shared), out, alpha, x, beta };
        self.engine.apply(product, par).map_err(failed("Jacobian^T"))
    }

    fn cost(&self, k: usize) -> Cost {
        self.engine.cost(0, k)
    }
}

impl<T: Scalar> Risk<T> {
    /// The Hessian of the risk.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn hessian(&self) -> Result<CurvatureOperator<T>, Error> {
        let scale = self.loss_scale().to_f64();
        let make: Make<'_> = &|traced, _| programs::hessian(traced, scale);
        CurvatureOperator::new("Hessian", self, Props::SELF_ADJOINT, Recipe::passes(1, make, None))
    }

    /// The generalised Gauss-Newton matrix `kappa sum_t w_t J_t^T H_t J_t`, which for the losses named here is the Fisher
    /// matrix of type 2; positive semidefinite for convex losses.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn ggn(&self) -> Result<CurvatureOperator<T>, Error> {
        let scale = self.loss_scale().to_f64();
        let make: Make<'_> = &|traced, _| programs::ggn(traced, scale);
        let passes = Recipe::passes(1, make, None);
        match self.layered("GGN", Fisher::Type2, passes)? {
            Some(layers) => Ok(layers),
            None => CurvatureOperator::new("GGN", self, Props::PSD, passes),
        }
    }

    /// The Hessian minus the GGN: `kappa sum_t w_t sum_c u_tc Hess f_tc`, what is lost when the model is linearised.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn residual(&self) -> Result<CurvatureOperator<T>, Error> {
        let scale = self.loss_scale().to_f64();
        let make: Make<'_> = &|traced, _| programs::residual(traced, scale);
        CurvatureOperator::new("Hessian - GGN", self, Props::SELF_ADJOINT, Recipe::passes(1, make, None))
    }

    /// The Jacobian of the outputs for all data, `[N S C, P]`, with its transpose.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn jacobian(&self) -> Result<JacobianOperator<T>, Error> {
        let make: Make<'_> = &|traced, _| programs::jacobian(traced);
        Ok(JacobianOperator { dim: self.dim(), engine: Engine::new(self, Recipe::passes(2, make, None))? })
    }
}
