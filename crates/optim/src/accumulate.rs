//! Micro-batches: the mean gradient of a batch that is too large to go through at once.
//!
//! Statistics of the matrix methods are quadratic in the gradient, so they must see the gradient of the whole
//! batch once, never its parts: sum the parts here, then step with the mean. One pass and one array.

use crate::error::{check, check_len};
use crate::{Error, Grads, ParamList};
use numerics::Scalar;

/// Collects weighted gradients of micro-batches.
///
/// The mean of tensor `i` is over the micro-batches in which it had a gradient at all; a tensor that never had one
/// has none in the mean either.
///
/// ```
/// use optim::{Accumulator, Grads, ParamGroup, ParamList};
/// let mut list = ParamList::new();
/// let g = list.add_group(ParamGroup::new("all"));
/// list.push("w", &[2], g)?;
/// let mut sum = Accumulator::<f64>::new(&list);
/// sum.add(Grads::all(&[1.0, 2.0]), 8.0)?; // the mean over 8 data
/// sum.add(Grads::all(&[4.0, 8.0]), 4.0)?; // the mean over 4 more
/// assert_eq!(sum.weight(), 12.0);
/// assert_eq!(sum.mean().values(), [2.0, 4.0]);
/// sum.clear();
/// assert!(!sum.mean().has(0));
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Accumulator<T> {
    list: ParamList,
    sum: Vec<T>,
    mean: Vec<T>,
    weights: Vec<f64>,
    present: Vec<bool>,
    weight: f64,
}

impl<T: Scalar> Accumulator<T> {
    /// An empty sum for this list.
    pub fn new(list: &ParamList) -> Self {
        let n = list.params().len();
        Accumulator {
            list: list.clone(),
            sum: vec![T::ZERO; list.len()],
            mean: vec![T::ZERO; list.len()],
            weights: vec![0.0; n],
            present: vec![false; n],
            weight: 0.0,
        }
    }

    /// Adds the mean gradient of a micro-batch; `weight` is the number of its data, or their total weight.
    ///
    /// # Errors
    /// If lengths do not fit the list or the weight is not positive and finite; then nothing has changed.
    pub fn add(&mut self, grads: Grads<'_, T>, weight: f64) -> Result<(), Error> {
        grads.check(&self.list)?;
        check(weight > 0.0 && weight.is_finite(), "weight of a micro-batch", weight, "positive and finite")?;
        self.weight += weight;
        let w = T::from_f64(weight);
        for (i, p) in self.list.params().iter().enumerate() {
            if grads.has(i) {
                self.weights[i] += weight;
                self.present[i] = true;
                for (s, &g) in self.sum[p.range()].iter_mut().zip(&grads.values()[p.range()]) {
                    *s += w * g;
                }
            }
        }
        Ok(())
    }

    /// Total weight of what was added: the size of the batch, for methods that need it.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The mean gradient so far.
    pub fn mean(&mut self) -> Grads<'_, T> {
        for (i, p) in self.list.params().iter().enumerate() {
            if self.present[i] {
                let scale = T::from_f64(1.0 / self.weights[i]);
                for (m, &s) in self.mean[p.range()].iter_mut().zip(&self.sum[p.range()]) {
                    *m = scale * s;
                }
            }
        }
        Grads::masked(&self.mean, &self.present)
    }

    /// Starts the next batch.
    pub fn clear(&mut self) {
        self.sum.fill(T::ZERO);
        self.weights.fill(0.0);
        self.present.fill(false);
        self.weight = 0.0;
    }

    /// Continues from a saved sum, so that a run may stop between micro-batches.
    ///
    /// # Errors
    /// If the lengths differ from this list's.
    pub fn restore(&mut self, sum: &[T], weights: &[f64], weight: f64) -> Result<(), Error> {
        check_len("sum of gradients", self.sum.len(), sum.len())?;
        check_len("weights of gradients", self.weights.len(), weights.len())?;
        self.sum.copy_from_slice(sum);
        self.weights.copy_from_slice(weights);
        self.present.iter_mut().zip(weights).for_each(|(p, &w)| *p = w > 0.0);
        self.weight = weight;
        Ok(())
    }

    /// The weighted sum, the weight per tensor: what [`Accumulator::restore`] takes.
    pub fn parts(&self) -> (&[T], &[f64]) {
        (&self.sum, &self.weights)
    }
}
