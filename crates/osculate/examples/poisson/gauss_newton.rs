//! The Gauss-Newton matrix `J^T J` of a residual, known by its products: a jvp and a vjp of one linearised program.
//!
//! What does not depend on the direction is computed once at a point ([`Linearized::at`]); a product then runs the linear part forwards and
//! backwards. Nothing of the size of `J` is ever stored.

use autodiff::{Error, Executable, Input, Output, Program, TensorType, Value, Workspace, trace};
use linop_core::{Error as OperatorError, LinearOperator, Props};
use numerics::{MatMut, MatRef, MemStack, Par, StackReq};
use std::sync::{Arc, Mutex};

/// Half the square of a residual program's output.
pub(crate) struct HalfSquare {
    residual: Executable<f64>,
    workspace: Workspace<f64>,
}

impl HalfSquare {
    /// Compiles.
    ///
    /// # Errors
    /// A program that is malformed.
    pub(crate) fn new(residual: &Program) -> Result<Self, Error> {
        Ok(HalfSquare { residual: residual.stack()?.compile()?, workspace: Workspace::new() })
    }

    /// Its value.
    ///
    /// # Errors
    /// Inputs that do not fit the program.
    pub(crate) fn at(&mut self, inputs: &[Value<f64>]) -> Result<f64, Error> {
        Ok(half_square(&self.residual.call_with(&mut self.workspace, inputs)?[0]))
    }
}

fn half_square(r: &Value<f64>) -> f64 {
    r.real().map_or(0.0, |r| 0.5 * numerics::dense::dot(r.data(), r.data()))
}

/// A residual program `(params, data..) -> residual`, split and compiled.
pub(crate) struct Linearized {
    /// To the residual and what the linear part needs of a point.
    primal: Executable<f64>,
    /// `(kept.., u) -> J^T u`.
    pull: Executable<f64>,
    /// `(kept.., v) -> J^T J v`.
    product: Arc<Executable<f64>>,
    workspace: Workspace<f64>,
    dim: usize,
}

/// Value, gradient of half the square, and Gauss-Newton matrix at a point.
pub(crate) struct Point {
    pub(crate) loss: f64,
    pub(crate) gradient: Vec<f64>,
    pub(crate) matrix: GaussNewton,
}

impl Linearized {
    /// Splits and compiles.
    ///
    /// # Errors
    /// A derivative that an operation does not have.
    pub(crate) fn new(residual: &Program) -> Result<Self, Error> {
        let split = residual.linearize(&[0])?;
        let (push, kept) = (split.linear, split.residuals);
        // Cotangents of the tangent that goes in; the map is linear, so that any tangent will do.
        let pull = push.vjp(&[kept])?.select_outputs(&[1])?;
        let (params, rows) = (residual.input_type(0).clone(), residual.output_type(0).clone());
        let held: Vec<String> = (0..kept).map(|k| format!("kept.{k}")).collect();
        let ports = |last: (&'static str, TensorType)| {
            let kept = held.iter().enumerate().map(|(k, name)| (name.as_str(), push.input_type(k).clone()));
            kept.chain([last]).collect::<Vec<(&str, TensorType)>>()
        };
        let back = trace(&ports(("u", rows)), |t, x| {
            let zero = t.full(&params.shape, 0.0);
            let args: Vec<_> = x[..kept].iter().chain([&zero, &x[kept]]).collect();
            vec![("product", t.call(&pull, &args).swap_remove(0))]
        })?;
        let both = trace(&ports(("v", params.clone())), |t, x| {
            let all: Vec<_> = x.iter().collect();
            let moved = t.call(&push, &all).swap_remove(0);
            let args: Vec<_> = x[..kept].iter().chain([&moved]).collect();
            vec![("product", t.call(&back, &args).swap_remove(0))]
        })?;
        let compiled = |p: &Program| p.simplify()?.stack()?.compile();
        Ok(Linearized {
            primal: split.primal.stack()?.compile()?,
            pull: compiled(&back)?,
            product: Arc::new(compiled(&both)?),
            workspace: Workspace::new(),
            dim: params.numel(),
        })
    }

    /// Linearises at a point; `inputs` are those of the residual program.
    ///
    /// # Errors
    /// Inputs that do not fit the program.
    pub(crate) fn at(&mut self, inputs: &[Value<f64>]) -> Result<Point, Error> {
        let mut kept = self.primal.call_with(&mut self.workspace, inputs)?;
        let residual = kept.remove(0);
        let r = residual.real().map_or(&[][..], |r| r.data());
        let mut gradient = vec![0.0; self.dim];
        self.pull.run_with(&mut self.workspace, &kept, &[Input::Real(r)], &mut [Output::Real(&mut gradient)])?;
        Ok(Point {
            loss: half_square(&residual),
            gradient,
            matrix: GaussNewton::new(self.product.clone(), kept, self.dim),
        })
    }
}

/// `J^T J` at a point.
pub(crate) struct GaussNewton {
    product: Arc<Executable<f64>>,
    kept: Vec<Value<f64>>,
    dim: usize,
    room: Mutex<Room>,
}

/// What one product needs.
struct Room {
    workspace: Workspace<f64>,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl GaussNewton {
    fn new(product: Arc<Executable<f64>>, kept: Vec<Value<f64>>, dim: usize) -> Self {
        let room = Room { workspace: Workspace::new(), x: vec![0.0; dim], y: vec![0.0; dim] };
        GaussNewton { product, kept, dim, room: Mutex::new(room) }
    }
}

impl core::fmt::Debug for GaussNewton {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "GaussNewton({0} x {0})", self.dim)
    }
}

impl LinearOperator<f64> for GaussNewton {
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
        mut out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        _par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), OperatorError> {
        if x.nrows() != self.dim || out.nrows() != self.dim || x.ncols() != out.ncols() {
            return Err(OperatorError::ShapeMismatch {
                op: "GaussNewton",
                expected: format!("{} rows on both sides, as many columns", self.dim),
                got: format!("{} x {} and {} x {}", x.nrows(), x.ncols(), out.nrows(), out.ncols()),
            });
        }
        numerics::dense::scale(out.as_mut(), beta);
        if alpha == 0.0 {
            return Ok(());
        }
        let failed = |e: Error| OperatorError::Operator { op: "GaussNewton", what: e.to_string() };
        // A panic elsewhere leaves the room usable: all of it is written before it is read.
        let mut room = self.room.lock().unwrap_or_else(|e| e.into_inner());
        let Room { workspace, x: from, y: to } = &mut *room;
        for j in 0..x.ncols() {
            from.iter_mut().enumerate().for_each(|(i, v)| *v = x[(i, j)]);
            let outputs = &mut [Output::Real(to)];
            self.product.run_with(workspace, &self.kept, &[Input::Real(from)], outputs).map_err(failed)?;
            to.iter().enumerate().for_each(|(i, y)| out[(i, j)] += alpha * y);
        }
        Ok(())
    }

    fn props(&self) -> Props {
        Props::PSD.close(self.dim, self.dim)
    }
}
