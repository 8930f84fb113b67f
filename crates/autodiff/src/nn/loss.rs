//! Losses as traced functions of the outputs: `sum_t w_t l_t` over the loss terms, without the scale of a reduction.
//!
//! A term is one datum or one position of it; its outputs are `f` in R^C. Squared error is `sum_c (f_c - y_c)^2`,
//! cross-entropy `-sum_c q_c log p_c` with `p = softmax f`, binary cross-entropy
//! `sum_c b_c y_c softplus(-f_c) + (1 - y_c) softplus(f_c)`. Class weights `a` and label smoothing `e` of cross-entropy
//! enter as one target `a_c ((1 - e) q_c + e / C)`, whose sum is the term's weight `w_t` and whose normalised form is
//! the target of `l_t`; an ignored label has weight 0. Cost: a few passes over the outputs.

use super::error::ModelError;
use crate::array::Value;
use crate::program::Program;
use crate::trace::{Tensor, trace};
use crate::types::{Dims, Kind, TensorType};
use numerics::Scalar;

/// Options of cross-entropy; the default is PyTorch's.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// One factor per class.
    pub class_weights: Option<Vec<f64>>,
    /// Share of the target that is spread evenly, in `[0, 1]`.
    pub label_smoothing: f64,
    /// The label of terms that do not count.
    pub ignore_index: i64,
    /// Whether targets are distributions over the classes instead of labels.
    pub soft_targets: bool,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { class_weights: None, label_smoothing: 0.0, ignore_index: -100, soft_targets: false }
    }
}

/// A loss with its options.
///
/// ```
/// use autodiff::{Array, TensorType, nn::Loss};
/// let loss = Loss::mse().program(&TensorType::real(&[2, 1]), false)?;
/// let column = |a, b| Array::new(&[2, 1], vec![a, b]).unwrap().into();
/// let value = loss.interpret(&[column(1.0, 2.0), column(0.0, 0.0)])?;
/// assert_eq!(value[0].real().unwrap().data(), [5.0]);
/// # Ok::<(), autodiff::nn::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// Squared error, summed over the last axis.
    Mse,
    /// Cross-entropy of logits; classes on the last axis, or on axis 1 of images `[N, C, H, W]`.
    CrossEntropy(CrossEntropy),
    /// Binary cross-entropy of logits, summed over the last axis.
    Bce {
        /// One factor of the positive part per output.
        pos_weight: Option<Vec<f64>>,
    },
}

impl Loss {
    /// Squared error.
    pub fn mse() -> Self {
        Loss::Mse
    }

    /// Cross-entropy of labels with PyTorch's defaults.
    pub fn cross_entropy() -> Self {
        Loss::CrossEntropy(CrossEntropy::default())
    }

    /// Binary cross-entropy without weights.
    pub fn bce() -> Self {
        Loss::Bce { pos_weight: None }
    }

    /// The loss of this name with its default options.
    ///
    /// # Errors
    /// A name that no loss has.
    pub fn from_name(name: &str) -> Result<Self, ModelError> {
        match name {
            "mse" => Ok(Self::mse()),
            "cross-entropy" => Ok(Self::cross_entropy()),
            "bce" => Ok(Self::bce()),
            _ => Err(ModelError::Config(format!(
                "no loss named {name:?}; there are \"mse\", \"cross-entropy\", \"bce\""
            ))),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::Mse => "mse",
            Loss::CrossEntropy(_) => "cross-entropy",
            Loss::Bce { .. } => "bce",
        }
    }

    fn error(&self, what: impl Into<String>) -> ModelError {
        ModelError::Loss { loss: self.name(), what: what.into() }
    }

    /// The axis of outputs `[N, ...]` of this rank that holds the C outputs of a term; `None` if C = 1 has no axis.
    pub fn class_axis(&self, rank: usize) -> Option<usize> {
        match (self, rank) {
            (_, 0 | 1) => None,
            (Loss::CrossEntropy(_), 4) => Some(1),
            _ => Some(rank - 1),
        }
    }

    /// Number of outputs C of one term.
    pub fn classes(&self, outputs: &[usize]) -> usize {
        self.class_axis(outputs.len()).map_or(1, |axis| outputs[axis])
    }

    /// Kind and shape of the targets for outputs `[N, ...]`.
    ///
    /// # Errors
    /// Options that do not fit the outputs: the wrong number of weights, smoothing outside `[0, 1]`.
    pub fn target_type(&self, outputs: &TensorType) -> Result<TensorType, ModelError> {
        let classes = self.classes(&outputs.shape);
        if outputs.kind != Kind::Real || outputs.rank() == 0 {
            return Err(self.error(format!("expects real outputs with a batch axis, got {outputs}")));
        }
        let weights = match self {
            Loss::Mse => None,
            Loss::CrossEntropy(ce) => ce.class_weights.as_ref(),
            Loss::Bce { pos_weight } => pos_weight.as_ref(),
        };
        if let Some(w) = weights {
            if w.len() != classes {
                return Err(self.error(format!("{} weights, expected {classes} from outputs {outputs}", w.len())));
            }
            if let Some(bad) = w.iter().find(|x| !(x.is_finite() && **x >= 0.0)) {
                return Err(self.error(format!("weight {bad}, expected finite numbers that are not negative")));
            }
        }
        match self {
            Loss::CrossEntropy(ce) => {
                if !(0.0..=1.0).contains(&ce.label_smoothing) {
                    return Err(self.error(format!("label smoothing {}, expected 0 to 1", ce.label_smoothing)));
                }
                if ce.soft_targets {
                    return Ok(outputs.clone());
                }
                let axis = self.class_axis(outputs.rank());
                let kept = outputs.shape.iter().enumerate().filter(|(i, _)| Some(*i) != axis).map(|(_, &n)| n);
                Ok(TensorType { kind: Kind::Int, shape: kept.collect() })
            }
            _ => Ok(outputs.clone()),
        }
    }

    /// Checks the values of targets: labels must be classes or the ignored one, probabilities in `[0, 1]`.
    ///
    /// # Errors
    /// The first target that is not allowed, with its position.
    pub fn check_targets<T: Scalar>(&self, outputs: &[usize], targets: &Value<T>) -> Result<(), ModelError> {
        let expected = self.target_type(&TensorType::real(outputs))?;
        if targets.ty() != expected {
            return Err(self.error(format!("targets {}, expected {expected}", targets.ty())));
        }
        let classes = self.classes(outputs);
        match (self, targets) {
            (Loss::CrossEntropy(ce), Value::Int(labels)) => {
                let known = |y: i64| y == ce.ignore_index || usize::try_from(y).is_ok_and(|y| y < classes);
                match labels.data().iter().position(|&y| !known(y)) {
                    Some(at) => {
                        let y = labels.data()[at];
                        let ignored = ce.ignore_index;
                        Err(self.error(format!("target {at} is {y}, expected 0..{classes} or {ignored} (ignored)")))
                    }
                    None => Ok(()),
                }
            }
            (_, Value::Real(values)) => {
                let top = if matches!(self, Loss::Mse) { f64::MAX } else { 1.0 };
                let low = if matches!(self, Loss::Mse) { f64::MIN } else { 0.0 };
                match values.data().iter().position(|y| !(low..=top).contains(&y.to_f64())) {
                    Some(at) => {
                        let range = if top == 1.0 { "0 to 1" } else { "a finite number" };
                        Err(self.error(format!("target {at} is {}, expected {range}", values.data()[at])))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The outputs with the classes on the last axis, always there.
    #[track_caller]
    fn classes_last(&self, x: &Tensor) -> Tensor {
        let rank = x.rank();
        match self.class_axis(rank) {
            None => x.unsqueeze(rank),
            Some(axis) if axis + 1 == rank => x.clone(),
            Some(axis) => {
                let order: Vec<usize> = (0..rank).filter(|&i| i != axis).chain([axis]).collect();
                x.transpose(&order)
            }
        }
    }

    /// The target of cross-entropy with class weights and smoothing, `[terms.., C]`, and 1 where a term counts.
    #[track_caller]
    fn mixed_target(&self, ce: &CrossEntropy, targets: &Tensor, classes: usize) -> (Tensor, Tensor) {
        let tracer = targets.tracer();
        let q = if ce.soft_targets {
            self.classes_last(targets)
        } else {
            let q = targets.one_hot(classes);
            match usize::try_from(ce.ignore_index) {
                Ok(i) if i < classes => {
                    let keep: Vec<f64> = (0..classes).map(|c| if c == i { 0.0 } else { 1.0 }).collect();
                    q * tracer.constant(&[classes], &keep)
                }
                _ => q,
            }
        };
        let last = q.rank() - 1;
        let counts = if ce.soft_targets { tracer.full(&q.shape()[..last], 1.0) } else { q.sum(&[last]) };
        let e = ce.label_smoothing;
        let smooth = if e == 0.0 { q } else { q * (1.0 - e) + counts.unsqueeze(last) * (e / classes as f64) };
        let mixed = match &ce.class_weights {
            Some(a) => smooth * tracer.constant(&[classes], a),
            None => smooth,
        };
        (mixed, counts)
    }

    /// `w_t l_t` of every term, `[N, positions..]`.
    #[track_caller]
    #[must_use]
    pub fn weighted_terms(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        let name = match self {
            Loss::Mse => "squared_error",
            Loss::CrossEntropy(_) => "cross_entropy",
            Loss::Bce { .. } => "binary_cross_entropy",
        };
        outputs.composed_with(name, &[targets], |x| self.terms(&x[0], &x[1]))
    }

    #[track_caller]
    fn terms(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        let f = self.classes_last(outputs);
        let last = f.rank() - 1;
        match self {
            Loss::Mse => {
                let r = f - self.classes_last(targets);
                (&r * &r).sum(&[last])
            }
            Loss::CrossEntropy(ce) => {
                let (q, _) = self.mixed_target(ce, targets, self.classes(&outputs.shape()));
                -(q * f.log_softmax()).sum(&[last])
            }
            Loss::Bce { pos_weight } => {
                let y = self.classes_last(targets);
                let positive = &y * (-&f).softplus();
                let positive = match pos_weight {
                    Some(b) => positive * f.tracer().constant(&[b.len()], b),
                    None => positive,
                };
                (positive + (1.0 - y) * f.softplus()).sum(&[last])
            }
        }
    }

    /// `w_t` of every term for outputs of this shape, `[N, positions..]`: 1, or the sum of cross-entropy's target.
    #[track_caller]
    #[must_use]
    pub fn term_weights(&self, outputs: &[usize], targets: &Tensor) -> Tensor {
        match self {
            Loss::CrossEntropy(ce) => {
                let (q, _) = self.mixed_target(ce, targets, self.classes(outputs));
                q.sum(&[q.rank() - 1])
            }
            _ => targets.tracer().full(&self.terms_shape(outputs), 1.0),
        }
    }

    /// What every term adds to the denominator of the `mean` reduction, `[N, positions..]`: C for squared error and
    /// binary cross-entropy; the label's class weight, 0 where ignored, for labels; 1 for soft targets.
    #[track_caller]
    #[must_use]
    pub fn mean_counts(&self, outputs: &[usize], targets: &Tensor) -> Tensor {
        let classes = self.classes(outputs);
        match self {
            Loss::CrossEntropy(ce) => {
                let plain = CrossEntropy { label_smoothing: 0.0, ..ce.clone() };
                let (q, counts) = self.mixed_target(&plain, targets, classes);
                if ce.soft_targets { counts } else { q.sum(&[q.rank() - 1]) }
            }
            _ => targets.tracer().full(&self.terms_shape(outputs), classes as f64),
        }
    }

    fn terms_shape(&self, outputs: &[usize]) -> Dims {
        let axis = self.class_axis(outputs.len());
        outputs.iter().enumerate().filter(|(i, _)| Some(*i) != axis).map(|(_, &n)| n).collect()
    }

    /// `sum_t w_t l_t`, each term also times the weight `[N]` of its datum where there are such.
    #[track_caller]
    #[must_use]
    pub fn total(&self, outputs: &Tensor, targets: &Tensor, weights: Option<&Tensor>) -> Tensor {
        let terms = self.weighted_terms(outputs, targets);
        match weights {
            None => terms.sum_all(),
            Some(w) => {
                let positions: Vec<usize> = (1..terms.rank()).collect();
                (terms.sum(&positions) * w).sum_all()
            }
        }
    }

    /// The program `(outputs, targets[, weights [N]]) -> loss`, the sum over all terms.
    ///
    /// # Errors
    /// Options that do not fit the outputs.
    pub fn program(&self, outputs: &TensorType, weighted: bool) -> Result<Program, ModelError> {
        let mut ports = vec![("outputs", outputs.clone()), ("targets", self.target_type(outputs)?)];
        if weighted {
            ports.push(("weights", TensorType::real(&outputs.shape[..1])));
        }
        Ok(trace(&ports, |_, t| vec![("loss", self.total(&t[0], &t[1], t.get(2)))])?)
    }

    /// The program `targets -> (weights w_t, counts)` of every term; the sum of `counts` is the denominator of `mean`.
    ///
    /// # Errors
    /// Options that do not fit the outputs.
    pub fn weights_program(&self, outputs: &TensorType) -> Result<Program, ModelError> {
        let ports = [("targets", self.target_type(outputs)?)];
        Ok(trace(&ports, |_, t| {
            let weights = self.term_weights(&outputs.shape, &t[0]);
            vec![("weights", weights), ("counts", self.mean_counts(&outputs.shape, &t[0]))]
        })?)
    }
}
