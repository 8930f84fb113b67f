//! Curvature products: residuals of the forward (and backward) pass kept per batch, and a linear program run per product.

use crate::error::Error;
use crate::risk::{Risk, Traced};
use autodiff::{Array, Builder, Executable, Linearized, Program, Value, Workspace};
use linop_core::{LinearOperator, Props};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is done once per point (`primal`, whose outputs are the residuals) and once per product (`linear`, from
/// residuals and a direction to the product's share of a batch).
pub(crate) struct Split {
    primal: Program,
    linear: Program,
}

/// `Hess L`: forward over reverse.
pub(crate) fn hessian(traced: &Traced) -> Result<Split, Error> {
    let Linearized { primal, linear, outputs, residuals } = traced.whole.grad(&[0])?.linearize(&[0])?;
    let keep: Vec<usize> = (outputs..outputs + residuals).collect();
    Ok(Split { primal: primal.select_outputs(&keep)?, linear })
}

/// `J^T H J`: the model linearised, the loss's Hessian in the output, the model's transpose.
pub(crate) fn ggn(traced: &Traced) -> Result<Split, Error> {
    let model = traced.model.linearize(&[0])?;
    let loss = traced.loss.grad(&[0])?.linearize(&[0])?;
    let back = model.transpose()?;

    let mut b = Builder::new();
    let inputs: Vec<_> =
        (0..2).map(|i| b.input(traced.model.inputs()[i].name.clone(), traced.model.input_type(i).clone())).collect();
    let map = b.inline(&model.primal, &inputs)?;
    let ports = model.primal.outputs();
    let mut outputs: Vec<_> = ports[model.outputs..].iter().map(|p| map[p.node.index()]).collect();
    let mut args = vec![map[ports[0].node.index()]];
    for i in 1..traced.loss.inputs().len() {
        args.push(b.input(format!("target.{i}"), traced.loss.input_type(i).clone()));
    }
    let map = b.inline(&loss.primal, &args)?;
    outputs.extend(loss.primal.outputs()[loss.outputs..].iter().map(|p| map[p.node.index()]));
    let primal = b.finish(outputs.into_iter().enumerate().map(|(k, id)| (format!("res.{k}"), id)).collect());

    let mut b = Builder::new();
    let residuals = |b: &mut Builder, from: &Linearized, label: &str| -> Vec<_> {
        (0..from.residuals).map(|k| b.input(format!("{label}.{k}"), from.linear.input_type(k).clone())).collect()
    };
    let model_residuals = residuals(&mut b, &model, "model");
    let loss_residuals = residuals(&mut b, &loss, "loss");
    let v = b.input("v", traced.model.input_type(0).clone());
    let with = |list: &[autodiff::NodeId], x| list.iter().copied().chain([x]).collect::<Vec<_>>();
    let map = b.inline(&model.linear, &with(&model_residuals, v))?;
    let jv = map[model.linear.outputs()[0].node.index()];
    let map = b.inline(&loss.linear, &with(&loss_residuals, jv))?;
    let hjv = map[loss.linear.outputs()[0].node.index()];
    let map = b.inline(&back, &with(&model_residuals, hjv))?;
    let linear = b.finish(vec![("product".into(), map[back.outputs()[0].node.index()])]);
    Ok(Split { primal, linear })
}

/// One batch at the point: its residuals, and which split its shape uses.
struct Cached<T> {
    split: usize,
    residuals: Vec<Value<T>>,
}

/// Compiled products of K directions at a time, by split and K, made on first use.
type Widened<T> = Mutex<HashMap<(usize, usize), Arc<Executable<T>>>>;

/// A symmetric `P x P` curvature matrix of a risk, known by its products.
pub struct CurvatureOperator<T> {
    name: &'static str,
    dim: usize,
    loss_scale: T,
    props: Props,
    splits: Vec<Split>,
    batches: Vec<Cached<T>>,
    widened: Widened<T>,
    /// One per concurrent caller, made on first use.
    workspaces: Mutex<Vec<Workspace<T>>>,
}

impl<T> core::fmt::Debug for CurvatureOperator<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}({} x {}, {} batches)", self.name, self.dim, self.dim, self.batches.len())
    }
}

impl<T: Scalar> CurvatureOperator<T> {
    pub(crate) fn new(
        name: &'static str,
        risk: &Risk<T>,
        props: Props,
        make: impl Fn(&Traced) -> Result<Split, Error>,
    ) -> Result<Self, Error> {
        let (mut splits, mut batches): (Vec<Split>, Vec<Cached<T>>) = (Vec::new(), Vec::new());
        let mut primals: Vec<Executable<T>> = Vec::new();
        let mut workspace = Workspace::new();
        for i in 0..risk.batches().len() {
            let split = match risk.same_shape_before(i) {
                Some(j) => batches[j].split,
                None => {
                    splits.push(make(&risk.traced(i)?)?);
                    primals.push(splits[splits.len() - 1].primal.compile()?);
                    splits.len() - 1
                }
            };
            let residuals = primals[split].call_with(&mut workspace, &risk.inputs(i)?)?;
            batches.push(Cached { split, residuals });
        }
        let (widened, workspaces) = (Mutex::new(HashMap::new()), Mutex::new(vec![workspace]));
        let props = props.close(risk.dim(), risk.dim());
        Ok(CurvatureOperator {
            name,
            dim: risk.dim(),
            loss_scale: risk.loss_scale(),
            props,
            splits,
            batches,
            widened,
            workspaces,
        })
    }

    fn program(&self, split: usize, k: usize) -> Result<Arc<Executable<T>>, Error> {
        let mut made = lock(&self.widened);
        if let Some(program) = made.get(&(split, k)) {
            return Ok(program.clone());
        }
        let linear = &self.splits[split].linear;
        let mut axes = vec![None; linear.inputs().len()];
        if let Some(direction) = axes.last_mut() {
            *direction = Some(0);
        }
        let program = Arc::new(linear.vmap(k, &axes)?.compile()?);
        made.insert((split, k), program.clone());
        Ok(program)
    }

    /// The unscaled product with the columns of `x`, row-major `[K, P]`: per-batch shares added in batch order.
    fn product(&self, x: MatRef<'_, T>) -> Result<Vec<T>, Error> {
        let k = x.ncols();
        let directions = Array::from_fn(&[k, self.dim], |i| x[(i % self.dim, i / self.dim)]);
        let mut sum = vec![T::ZERO; k * self.dim];
        let mut workspace = lock(&self.workspaces).pop().unwrap_or_default();
        for batch in &self.batches {
            let mut inputs = batch.residuals.clone();
            inputs.push(Value::Real(directions.clone()));
            let out = self.program(batch.split, k)?.call_with(&mut workspace, &inputs)?;
            if let Some(share) = out[0].real() {
                sum.iter_mut().zip(share.data()).for_each(|(s, &x)| *s += x);
            }
        }
        lock(&self.workspaces).push(workspace);
        Ok(sum)
    }
}

/// What is behind the lock; a panic elsewhere leaves it usable.
fn lock<X>(mutex: &Mutex<X>) -> MutexGuard<'_, X> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
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
        _par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let (k, p) = (x.ncols(), self.dim);
        if (x.nrows(), out.nrows(), out.ncols()) != (p, p, k) {
            return Err(linop_core::Error::ShapeMismatch {
                op: self.name,
                expected: format!("{p} x {k} operand and result"),
                got: format!("{} x {} and {} x {}", x.nrows(), k, out.nrows(), out.ncols()),
            });
        }
        numerics::dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO || k == 0 || p == 0 {
            return Ok(());
        }
        let product =
            self.product(x).map_err(|e| linop_core::Error::Operator { op: self.name, what: e.to_string() })?;
        let scale = alpha * self.loss_scale;
        for (j, column) in product.chunks_exact(p).enumerate() {
            for (i, &y) in column.iter().enumerate() {
                out[(i, j)] += scale * y;
            }
        }
        Ok(())
    }

    fn props(&self) -> Props {
        self.props
    }
}

impl<T: Scalar> Risk<T> {
    /// The Hessian of the risk.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn hessian(&self) -> Result<CurvatureOperator<T>, Error> {
        CurvatureOperator::new("Hessian", self, Props::SELF_ADJOINT, hessian)
    }

    /// The generalised Gauss-Newton matrix `kappa sum_t w_t J_t^T H_t J_t`; positive semidefinite for convex losses.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn ggn(&self) -> Result<CurvatureOperator<T>, Error> {
        CurvatureOperator::new("GGN", self, Props::PSD, ggn)
    }
}
