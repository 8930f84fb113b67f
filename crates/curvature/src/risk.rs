//! `Risk`: a model, a loss and data; the scalar function whose curvature is wanted.
//!
//! `L(theta) = kappa sum_t w_t l(f_t, y_t)` over loss terms `t` (arXiv:2501.19183). The loss program returns the sum with
//! its weights; `kappa` is applied once per product, so that mini-batches of any sizes add up to the same risk.

use crate::error::Error;
use autodiff::{Executable, Program, TensorType, Value, Workspace};
use numerics::Scalar;
use std::sync::Arc;

type ModelFn = Arc<dyn Fn(usize) -> Result<Program, Error> + Send + Sync>;

type LossFn = Arc<dyn Fn(&TensorType, &[TensorType]) -> Result<Program, Error> + Send + Sync>;

/// One mini-batch: inputs `[N, ..]` and whatever the loss needs beside the model's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// What the model sees.
    pub inputs: Value<T>,
    /// Targets, weights.
    pub targets: Vec<Value<T>>,
}

impl<T> Batch<T> {
    /// Number of data.
    pub fn len(&self) -> usize {
        self.inputs.ty().shape.first().copied().unwrap_or(0)
    }

    /// Whether it holds no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn target_types(&self) -> Vec<TensorType> {
        self.targets.iter().map(Value::ty).collect()
    }
}

/// A model at a point, a loss and data.
#[derive(Clone)]
pub struct Risk<T> {
    model: ModelFn,
    loss: LossFn,
    params: Arc<[T]>,
    batches: Arc<[Batch<T>]>,
    loss_scale: T,
}

impl<T> core::fmt::Debug for Risk<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Risk({} parameters, {} batches)", self.params.len(), self.batches.len())
    }
}

/// Programs of one batch shape.
pub(crate) struct Traced {
    /// `(params, inputs) -> f`.
    pub(crate) model: Program,
    /// `(f, targets..) -> sum`.
    pub(crate) loss: Program,
    /// `(params, inputs, targets..) -> sum`.
    pub(crate) whole: Program,
}

impl<T: Scalar> Risk<T> {
    /// Puts a risk together; batches without data are skipped. `loss_scale` is kappa.
    ///
    /// `model` makes the program for a batch of the given size: inputs `params` `[P]` and the batch's inputs, one output.
    /// `loss` makes the program for an output type and the types of a batch's targets: it takes the output, then the
    /// targets, and returns the weighted sum of the loss terms, without axes.
    ///
    /// # Errors
    /// No data at all; a model or loss whose interface is not the documented one for some batch.
    pub fn new<E: Into<Error>, F: Into<Error>>(
        model: impl Fn(usize) -> Result<Program, E> + Send + Sync + 'static,
        loss: impl Fn(&TensorType, &[TensorType]) -> Result<Program, F> + Send + Sync + 'static,
        params: Vec<T>,
        batches: Vec<Batch<T>>,
        loss_scale: T,
    ) -> Result<Self, Error> {
        let batches: Vec<_> = batches.into_iter().filter(|b| !b.is_empty()).collect();
        if batches.is_empty() {
            return Err(Error::Data("there is no batch with data".into()));
        }
        if !loss_scale.is_finite() {
            return Err(Error::Data(format!("the loss scale is {loss_scale}")));
        }
        let model: ModelFn = Arc::new(move |n| model(n).map_err(Into::into));
        let loss: LossFn = Arc::new(move |f, y| loss(f, y).map_err(Into::into));
        let risk = Risk { model, loss, params: params.into(), batches: batches.into(), loss_scale };
        for i in 0..risk.batches.len() {
            if risk.same_shape_before(i).is_none() {
                risk.traced(i)?;
            }
        }
        Ok(risk)
    }

    /// Number of parameters.
    pub fn dim(&self) -> usize {
        self.params.len()
    }

    /// The point.
    pub fn params(&self) -> &[T] {
        &self.params
    }

    /// The data.
    pub fn batches(&self) -> &[Batch<T>] {
        &self.batches
    }

    /// kappa.
    pub fn loss_scale(&self) -> T {
        self.loss_scale
    }

    /// The same risk at another point.
    pub fn with_params(&self, params: Vec<T>) -> Result<Self, Error> {
        if params.len() != self.dim() {
            return Err(Error::Parameters { expected: self.dim(), got: params.len() });
        }
        Ok(Risk { params: params.into(), ..self.clone() })
    }

    /// The first batch with the shapes of batch `i`, if there is one before it.
    pub(crate) fn same_shape_before(&self, i: usize) -> Option<usize> {
        let types = |b: &Batch<T>| (b.inputs.ty(), b.target_types());
        (0..i).find(|&j| types(&self.batches[j]) == types(&self.batches[i]))
    }

    /// Traces model and loss for the shapes of batch `i`.
    pub(crate) fn traced(&self, i: usize) -> Result<Traced, Error> {
        let batch = &self.batches[i];
        let model = (self.model)(batch.len())?;
        let expected = vec![TensorType::real(&[self.dim()]), batch.inputs.ty()];
        check_interface("model", &model, &expected)?;
        let output = model.output_type(0).clone();
        let targets = batch.target_types();
        let loss = (self.loss)(&output, &targets)?;
        let expected: Vec<_> = core::iter::once(output).chain(targets).collect();
        check_interface("loss", &loss, &expected)?;
        if loss.output_type(0).rank() != 0 {
            let got = loss.output_type(0).to_string();
            return Err(Error::Interface { role: "loss", expected: "a number without axes".into(), got });
        }
        let whole = compose(&model, &loss)?;
        Ok(Traced { model, loss, whole })
    }

    /// The values that the whole program takes for batch `i`.
    pub(crate) fn inputs(&self, i: usize) -> Result<Vec<Value<T>>, Error> {
        let batch = &self.batches[i];
        let params = autodiff::Array::new(&[self.dim()], self.params.to_vec())
            .ok_or(Error::Parameters { expected: self.dim(), got: self.params.len() })?;
        let mut values = vec![Value::Real(params), batch.inputs.clone()];
        values.extend(batch.targets.iter().cloned());
        Ok(values)
    }

    /// Value and gradient of the risk.
    pub fn value_and_gradient(&self) -> Result<(T, Vec<T>), Error> {
        let mut programs: Vec<Option<Arc<Executable<T>>>> = vec![None; self.batches.len()];
        let mut workspace = Workspace::new();
        let (mut value, mut gradient) = (T::ZERO, vec![T::ZERO; self.dim()]);
        for i in 0..self.batches.len() {
            let program = match self.same_shape_before(i).and_then(|j| programs[j].clone()) {
                Some(program) => program,
                None => Arc::new(self.traced(i)?.whole.value_and_grad(&[0])?.compile()?),
            };
            let out = program.call_with(&mut workspace, &self.inputs(i)?)?;
            programs[i] = Some(program);
            value += out[0].real().map_or(T::NAN, |a| a.data()[0]);
            if let Some(g) = out[1].real() {
                gradient.iter_mut().zip(g.data()).for_each(|(sum, &g)| *sum += g);
            }
        }
        gradient.iter_mut().for_each(|g| *g *= self.loss_scale);
        Ok((value * self.loss_scale, gradient))
    }
}

fn check_interface(role: &'static str, program: &Program, expected: &[TensorType]) -> Result<(), Error> {
    let got: Vec<_> = (0..program.inputs().len()).map(|i| program.input_type(i).clone()).collect();
    let show = |types: &[TensorType]| types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
    if got != expected {
        return Err(Error::Interface { role, expected: show(expected), got: show(&got) });
    }
    match program.outputs().len() {
        1 => Ok(()),
        n => Err(Error::Interface { role, expected: "one output".into(), got: format!("{n} outputs") }),
    }
}

/// `(params, inputs, targets..) -> loss(model(params, inputs), targets..)`.
fn compose(model: &Program, loss: &Program) -> Result<Program, Error> {
    let mut b = autodiff::Builder::new();
    let params = b.input("params", model.input_type(0).clone());
    let inputs = b.input("inputs", model.input_type(1).clone());
    let map = b.inline(model, &[params, inputs])?;
    let mut args = vec![map[model.outputs()[0].node.index()]];
    for i in 1..loss.inputs().len() {
        args.push(b.input(format!("target.{i}"), loss.input_type(i).clone()));
    }
    let map = b.inline(loss, &args)?;
    Ok(b.finish(vec![("loss".into(), map[loss.outputs()[0].node.index()])]))
}
