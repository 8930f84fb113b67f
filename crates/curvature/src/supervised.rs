//! Supervised risks: a sequential model, a named loss, a reduction; kappa comes from one pass over the targets.
//!
//! `mean` divides by the number of scalar outputs (squared error, binary cross-entropy), by the sum of the labels' class
//! weights (cross-entropy with labels), or by the number of terms (soft targets); never by per-datum weights.

use crate::error::Error;
use crate::loss::TermLoss;
use crate::risk::{Batch, Risk};
use autodiff::nn::{Loss, Sequential};
use autodiff::{Array, TensorType, Value};
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

    /// The risk at a point, over mini-batches of any sizes.
    ///
    /// # Errors
    /// Targets that the loss does not accept, parameters of the wrong number, a `mean` over terms without weight.
    pub fn risk<T: Scalar>(&self, params: Vec<T>, batches: Vec<Example<T>>) -> Result<Risk<T>, Error> {
        let expected = self.model.params().total();
        if params.len() != expected {
            return Err(Error::Parameters { expected, got: params.len() });
        }
        let mut denominator = 0.0;
        let mut checked = Vec::with_capacity(batches.len());
        for (inputs, targets, weights) in batches {
            let n = inputs.ty().shape.first().copied().unwrap_or(0);
            if n == 0 {
                continue;
            }
            let outputs = self.outputs(n);
            let expected = self.loss.target_type(&outputs)?;
            if targets.ty() != expected {
                let got = targets.ty();
                return Err(Error::Data(format!("targets are {got}, the loss needs {expected} for {n} data")));
            }
            self.loss.check_targets(&outputs.shape, &targets)?;
            let terms = TermLoss::new(self.loss.clone(), self.loss.classes(&outputs.shape))?;
            denominator += terms.targets(&targets).map(|y| terms.count(y)).sum::<f64>();
            let mut list = vec![targets];
            if let Some(w) = weights {
                let got = w.len();
                let w = Array::new(&[n], w)
                    .filter(|w| w.data().iter().all(|w| w.is_finite() && *w >= T::ZERO))
                    .ok_or_else(|| Error::Data(format!("expected {n} weights, none negative, got {got}")))?;
                list.push(Value::Real(w));
            }
            checked.push(Batch { inputs, targets: list });
        }
        let loss_scale = match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Fixed(kappa) => kappa,
            Reduction::Mean if checked.is_empty() || denominator > 0.0 => 1.0 / denominator,
            Reduction::Mean => return Err(Error::Data("no loss term has a weight, so the mean does not exist".into())),
        };
        if checked.is_empty() {
            return Err(Error::Data("there is no batch with data".into()));
        }
        let (model, loss) = (self.model.clone(), self.loss.clone());
        Risk::new(
            move |n| model.trace_model(n),
            move |f: &TensorType, targets: &[TensorType]| loss.program(f, targets.len() > 1),
            params,
            checked,
            T::from_f64(loss_scale),
        )
    }

    fn outputs(&self, n: usize) -> TensorType {
        let ty = self.model.output_type();
        let mut shape = ty.shape.clone();
        shape.insert(0, n);
        TensorType { kind: ty.kind, shape }
    }
}
