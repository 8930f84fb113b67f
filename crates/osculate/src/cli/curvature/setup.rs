//! From the arguments to a risk: model, data, loss, reduction, budget.

use super::{Curvature, Error};
use crate::io::{Dataset, Targets, npy};
use ::curvature::{Example, Reduction, Risk, Supervised};
use autodiff::nn::{CrossEntropy, Loss, Sequential};
use autodiff::{Array, Value};
use numerics::Scalar;
use std::ops::Range;
use std::path::Path;

impl Curvature {
    pub(super) fn risk<T: Scalar>(&self, model: Sequential, params: Vec<T>) -> Result<Risk<T>, Error> {
        let data = Dataset::read(&self.data, self.target_column.as_deref())?;
        let loss = self.loss(&data)?;
        let reduction = match self.reduction {
            super::ReductionName::Mean => Reduction::Mean,
            super::ReductionName::Sum => Reduction::Sum,
        };
        let size = self.batch_size.unwrap_or(data.len());
        let batches = data.batches(size)?.map(|rows| example(&data, &model, rows)).collect::<Result<Vec<_>, _>>()?;
        let risk = Supervised::new(model, loss, reduction).risk(params, batches)?;
        Ok(match self.memory {
            Some(bytes) => risk.with_memory(bytes),
            None => risk,
        })
    }

    fn loss(&self, data: &Dataset) -> Result<Loss, Error> {
        let weights = |path: &Path| -> Result<Vec<f64>, Error> {
            let a = npy::read(path)?;
            let list = a.to_floats::<f64>().filter(|_| a.shape().len() == 1);
            list.ok_or_else(|| {
                Error::Usage(format!("{}: expected a vector of floats, got shape {:?}", path.display(), a.shape()))
            })
        };
        let mut loss = Loss::from_name(&self.loss)?;
        match &mut loss {
            Loss::CrossEntropy(options) => {
                *options = CrossEntropy {
                    class_weights: self.class_weights.as_deref().map(weights).transpose()?,
                    label_smoothing: self.label_smoothing,
                    ignore_index: self.ignore_index,
                    soft_targets: matches!(data.targets(), Targets::Values { .. }),
                };
            }
            _ if self.class_weights.is_some() || self.label_smoothing != 0.0 => {
                return Err(Error::Usage("--class-weights and --label-smoothing belong to cross-entropy".into()));
            }
            Loss::Bce { pos_weight } => *pos_weight = self.pos_weight.as_deref().map(weights).transpose()?,
            Loss::Mse => {}
        }
        if self.pos_weight.is_some() && !matches!(loss, Loss::Bce { .. }) {
            return Err(Error::Usage("--pos-weight belongs to bce".into()));
        }
        Ok(loss)
    }
}

/// Rows `rows` of the data as values of the model's kinds.
fn example<T: Scalar>(data: &Dataset, model: &Sequential, rows: Range<usize>) -> Result<Example<T>, Error> {
    let cut = |shape: &[usize]| -> (Vec<usize>, Range<usize>) {
        let width: usize = shape[1..].iter().product();
        let shape = core::iter::once(rows.len()).chain(shape[1..].iter().copied()).collect();
        (shape, rows.start * width..rows.end * width)
    };
    let wrong = |what: &str| Error::Usage(format!("{}: {what}", data.name()));
    let (shape, range) = cut(data.inputs().shape());
    let inputs = if model.input_type().kind == autodiff::Kind::Int {
        let ids =
            data.inputs().to_integers().ok_or_else(|| wrong("the model takes integer inputs, these are floats"))?;
        Array::new(&shape, ids[range].to_vec()).map(Value::Int)
    } else {
        let x =
            data.inputs().to_floats::<T>().ok_or_else(|| wrong("the model takes float inputs, these are integers"))?;
        Array::new(&shape, x[range].to_vec()).map(Value::Real)
    };
    let (shape, range) = cut(data.targets().shape());
    let targets = match data.targets() {
        Targets::Values { values, .. } => {
            let list = values[range].iter().map(|&y| T::from_f64(y)).collect();
            Array::new(&shape, list).map(Value::Real)
        }
        Targets::Labels { labels, .. } => Array::new(&shape, labels[range].to_vec()).map(Value::Int),
    };
    let weights = data.weights().map(|w| w[rows].iter().map(|&w| T::from_f64(w)).collect());
    match (inputs, targets) {
        (Some(x), Some(y)) => Ok((x, y, weights)),
        _ => Err(wrong("inputs or targets are too large")),
    }
}
