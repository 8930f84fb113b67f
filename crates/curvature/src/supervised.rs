//! Supervised risks: a sequential model, a named loss, a reduction; kappa comes from one pass over the targets.
//!
//! `mean` divides by the number of scalar outputs (squared error, binary cross-entropy), by the sum of the labels' class
//! weights (cross-entropy with labels), or by the number of terms (soft targets); never by per-datum weights.

use crate::error::Error;
use crate::loss::TermLoss;
use crate::risk::{Batch, Risk, Terms};
use autodiff::nn::{Loss, Param, Sequential};
use autodiff::{Array, Builder, Kind, Leaf, Program, TensorType, Value};
use numerics::Scalar;
use std::sync::Arc;

/// What the sum over the loss terms is divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduction {
    /// PyTorch's mean.
    Mean,
    /// Nothing: kappa is 1.
    Sum,
    /// This kappa.
    Fixed(f64),
}

/// A model, a loss and a reduction, waiting for parameters and data.
///
/// ```
/// use autodiff::nn::{Loss, Sequential};
/// use autodiff::{Array, Value};
/// use curvature::{Reduction, Supervised};
/// let config = r#"{"model_type": "sequential", "input": [2], "layers": [{"type": "linear", "in": 2, "out": 1, "bias": false}]}"#;
/// let problem = Supervised::new(Sequential::from_json(config)?, Loss::mse(), Reduction::Mean);
/// let x = Value::Real(Array::new(&[2, 2], vec![1.0, 0.0, 0.0, 2.0]).unwrap());
/// let y = Value::Real(Array::new(&[2, 1], vec![1.0, 2.0]).unwrap());
/// let risk = problem.risk(vec![1.0, 1.0], vec![(x, y, None)])?;
/// let (loss, gradient) = risk.value_and_gradient()?;
/// assert_eq!((loss, gradient), (0.0, vec![0.0, 0.0]));
/// # Ok::<(), curvature::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Supervised {
    model: Arc<Sequential>,
    loss: Loss,
    reduction: Reduction,
}

/// Inputs, targets, and a weight per datum where there are such.
pub type Example<T> = (Value<T>, Value<T>, Option<Vec<T>>);

impl Supervised {
    /// Puts the three together.
    pub fn new(model: Sequential, loss: Loss, reduction: Reduction) -> Self {
        Supervised { model: Arc::new(model), loss, reduction }
    }

    /// The model.
    pub fn model(&self) -> &Sequential {
        &self.model
    }

    /// The risk at a point, over mini-batches of any sizes; how the data is cut does not matter.
    ///
    /// Images of logits `[N, C, H, W]` are taken as positions: the outputs are `[N, H W, C]`.
    ///
    /// # Errors
    /// Targets that the loss does not accept, parameters of the wrong number, a `mean` over terms without weight.
    pub fn risk<T: Scalar>(&self, params: Vec<T>, batches: Vec<Example<T>>) -> Result<Risk<T>, Error> {
        let expected = self.model.params().total();
        if params.len() != expected {
            return Err(Error::Parameters { expected, got: params.len() });
        }
        let terms = TermLoss::new(self.loss.clone(), self.loss.classes(&self.outputs(1).shape))?;
        let batch = self.joined(batches)?;
        let loss_scale = match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Fixed(kappa) => kappa,
            Reduction::Mean => {
                let denominator: f64 = terms.targets((&batch.targets[0]).into()).map(|y| terms.count(y)).sum();
                if denominator <= 0.0 {
                    return Err(Error::Data("no loss term has a weight, so the mean does not exist".into()));
                }
                1.0 / denominator
            }
        };
        let (model, loss, images) = (self.model.clone(), self.loss.clone(), self.images());
        let risk = Risk::new(
            move |n| {
                let model = model.trace_model(n)?;
                if images { positions_last(&model) } else { Ok(model) }
            },
            move |f: &TensorType, targets: &[TensorType]| loss.program(f, targets.len() > 1),
            params,
            vec![batch],
            T::from_f64(loss_scale),
        )?;
        let leaf =
            |p: &Param| Leaf { name: p.name().into(), input: 0, offset: Some(p.offset()), shape: p.shape().into() };
        let leaves = self.model.params().iter().map(leaf).collect();
        Ok(risk.with_terms(Terms { loss: terms, mean: self.reduction == Reduction::Mean, leaves }))
    }

    fn outputs(&self, n: usize) -> TensorType {
        let ty = self.model.output_type();
        let mut shape = ty.shape.clone();
        shape.insert(0, n);
        TensorType { kind: ty.kind, shape }
    }

    /// Whether the outputs are images whose classes are not on the last axis.
    fn images(&self) -> bool {
        let rank = self.outputs(1).rank();
        self.loss.class_axis(rank).is_some_and(|axis| axis + 1 != rank)
    }

    /// All batches as one, checked.
    fn joined<T: Scalar>(&self, batches: Vec<Example<T>>) -> Result<Batch<T>, Error> {
        let weighted = batches.iter().any(|(.., w)| w.is_some());
        let (mut inputs, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (x, y, w) in batches {
            let n = x.ty().shape.first().copied().unwrap_or(0);
            if n == 0 {
                continue;
            }
            let outputs = self.outputs(n);
            let (expected, got) = (self.loss.target_type(&outputs)?, y.ty());
            if got != expected {
                return Err(Error::Data(format!("targets are {got}, the loss needs {expected} for {n} data")));
            }
            self.loss.check_targets(&outputs.shape, &y)?;
            inputs.push(x);
            targets.push(if self.images() { target_positions(y) } else { y });
            if weighted {
                let w = w.unwrap_or_else(|| vec![T::ONE; n]);
                let got = w.len();
                let w = Array::new(&[n], w)
                    .filter(|w| w.data().iter().all(|w| w.is_finite() && *w >= T::ZERO))
                    .ok_or_else(|| Error::Data(format!("expected {n} weights, none negative, got {got}")))?;
                weights.push(Value::Real(w));
            }
        }
        let targets = [join(targets)?, join(weights)?].into_iter().flatten().collect();
        let inputs = join(inputs)?.ok_or_else(|| Error::Data("there is no batch with data".into()))?;
        Ok(Batch { inputs, targets })
    }
}

/// Values one after the other along the first axis; nothing of nothing.
fn join<T: Clone>(values: Vec<Value<T>>) -> Result<Option<Value<T>>, Error> {
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return Ok(None) };
    let mut ty = first.ty();
    let (mut reals, mut ints) = match first {
        Value::Real(a) => (a.into_data(), Vec::new()),
        Value::Int(a) => (Vec::new(), a.into_data()),
    };
    for value in values {
        let next = value.ty();
        if next.kind != ty.kind || next.shape[1..] != ty.shape[1..] {
            return Err(Error::Data(format!("batches of {ty} and {next} do not go together")));
        }
        ty.shape[0] += next.shape[0];
        match value {
            Value::Real(a) => reals.extend_from_slice(a.data()),
            Value::Int(a) => ints.extend_from_slice(a.data()),
        }
    }
    let joined = match ty.kind {
        Kind::Real => Array::new(&ty.shape, reals).map(Value::Real),
        Kind::Int => Array::new(&ty.shape, ints).map(Value::Int),
    };
    joined.map(Some).ok_or_else(|| Error::Data(format!("{ty} is too large")))
}

/// Outputs `[N, C, H, W]` as `[N, H W, C]`.
fn positions_last(model: &Program) -> Result<Program, autodiff::nn::ModelError> {
    let mut b = Builder::new();
    let inputs: Vec<_> =
        model.inputs().iter().enumerate().map(|(i, p)| b.input(p.name.clone(), model.input_type(i).clone())).collect();
    let f = b.inline(model, &inputs)?[model.outputs()[0].node.index()];
    let shape = b.shape(f);
    let f = b.transpose(f, &[0, 2, 3, 1])?;
    let f = b.reshape(f, &[shape[0], shape[2] * shape[3], shape[1]])?;
    Ok(b.finish(vec![("outputs".into(), f)]))
}

/// Targets of images by position: labels `[N, H W]`, distributions `[N, H W, C]`.
fn target_positions<T: Scalar>(targets: Value<T>) -> Value<T> {
    match targets {
        Value::Int(a) => {
            let n = a.shape()[0];
            let rest = a.data().len() / n.max(1);
            Value::Int(Array::from_fn(&[n, rest], |i| a.data()[i]))
        }
        Value::Real(a) => {
            let (n, c) = (a.shape()[0], a.shape()[1]);
            let hw = a.data().len() / (n * c).max(1);
            let at = |i: usize| (i / (hw * c) * c + i % c) * hw + i / c % hw;
            Value::Real(Array::from_fn(&[n, hw, c], |i| a.data()[at(i)]))
        }
    }
}
