//! The compiled programs of a run: loss with gradient, and loss with outputs, one of each per batch size.
//!
//! A run has at most two batch sizes for each, the regular one and the remainder of an epoch, so everything is compiled
//! at most four times and the memory of all runs is one workspace. Cost of a gradient: about three forward passes.

use super::Error;
use super::samples::{Batch, Samples, with_batch};
use autodiff::nn::{Loss, Sequential};
use autodiff::{Executable, Input, Output, Program, TensorType, Workspace, trace};
use numerics::{Par, Scalar};
use std::collections::BTreeMap;

/// A model and a loss, compiled on demand.
pub(super) struct Objective<T> {
    model: Sequential,
    loss: Loss,
    gradients: BTreeMap<(usize, bool), Executable<T>>,
    scores: BTreeMap<(usize, bool), Executable<T>>,
    outputs: Vec<T>,
    workspace: Workspace<T>,
}

/// Sums over loss terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// Weighted loss.
    pub(super) loss: f64,
    /// What `mean` divides by.
    pub(super) count: f64,
    /// Answers that were right.
    pub(super) hits: u64,
    /// Answers that could be right.
    pub(super) answers: u64,
}

impl<T: Scalar> Objective<T> {
    pub(super) fn new(model: Sequential, loss: Loss, par: Par) -> Self {
        Objective {
            model,
            loss,
            gradients: BTreeMap::new(),
            scores: BTreeMap::new(),
            outputs: Vec::new(),
            workspace: Workspace::with_par(par),
        }
    }

    pub(super) fn model(&self) -> &Sequential {
        &self.model
    }

    pub(super) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// `(params, inputs, targets[, weights]) -> (sum of the loss, what mean divides by[, outputs])`.
    fn program(&self, n: usize, weighted: bool, with_outputs: bool) -> Result<Program, Error> {
        let outputs = with_batch(n, self.model.output_type());
        let mut ports = vec![
            ("params", TensorType::real(&[self.model.params().total()])),
            ("inputs", with_batch(n, self.model.input_type())),
            ("targets", self.loss.target_type(&outputs)?),
        ];
        if weighted {
            ports.push(("weights", TensorType::real(&[n])));
        }
        Ok(trace(&ports, |_, t| {
            let y = self.model.forward(&self.model.params().split_tensor(&t[0]), &t[1]);
            let mut results = vec![
                ("loss", self.loss.total(&y, &t[2], t.get(3))),
                ("count", self.loss.mean_counts(&outputs.shape, &t[2]).sum_all()),
            ];
            if with_outputs {
                results.push(("outputs", y));
            }
            results
        })?)
    }

    /// The sums of a batch of `n` data; `gradient` becomes that of the summed loss.
    pub(super) fn gradient(
        &mut self,
        params: &[T],
        n: usize,
        batch: &Batch<T>,
        gradient: &mut [T],
    ) -> Result<Sums, Error> {
        let key = (n, batch.weights.is_some());
        if !self.gradients.contains_key(&key) {
            let compiled = self.program(n, key.1, false)?.value_and_grad(&[0])?.compile()?;
            self.gradients.insert(key, compiled);
        }
        let (mut loss, mut count) = ([T::ZERO], [T::ZERO]);
        let mut out = [Output::Real(&mut loss), Output::Real(&mut count), Output::Real(gradient)];
        run(&self.gradients[&key], &mut self.workspace, params, batch, &mut out)?;
        Ok(Sums { loss: loss[0].to_f64(), count: count[0].to_f64(), ..Sums::default() })
    }

    /// The sums over whole data, `size` at a time in their own order.
    pub(super) fn evaluate(&mut self, params: &[T], data: &Samples<T>, size: usize) -> Result<Sums, Error> {
        let mut batch = data.batch();
        let mut total = Sums::default();
        let rows: Vec<usize> = (0..data.len()).collect();
        for rows in rows.chunks(size) {
            data.gather(rows, &mut batch);
            let sums = self.score(params, rows.len(), &batch)?;
            total.loss += sums.loss;
            total.count += sums.count;
            total.hits += sums.hits;
            total.answers += sums.answers;
        }
        Ok(total)
    }

    fn score(&mut self, params: &[T], n: usize, batch: &Batch<T>) -> Result<Sums, Error> {
        let key = (n, batch.weights.is_some());
        if !self.scores.contains_key(&key) {
            self.scores.insert(key, self.program(n, key.1, true)?.compile()?);
        }
        let shape = with_batch(n, self.model.output_type()).shape;
        self.outputs.resize(shape.iter().product(), T::ZERO);
        let (mut loss, mut count) = ([T::ZERO], [T::ZERO]);
        let mut out = [Output::Real(&mut loss), Output::Real(&mut count), Output::Real(&mut self.outputs)];
        run(&self.scores[&key], &mut self.workspace, params, batch, &mut out)?;
        let (hits, answers) = hits(&self.loss, &shape, &self.outputs, batch.targets.input());
        Ok(Sums { loss: loss[0].to_f64(), count: count[0].to_f64(), hits, answers })
    }
}

fn run<T: Scalar>(
    program: &Executable<T>,
    workspace: &mut Workspace<T>,
    params: &[T],
    batch: &Batch<T>,
    outputs: &mut [Output<'_, T>],
) -> Result<(), Error> {
    let three = [Input::Real(params), batch.inputs.input(), batch.targets.input()];
    match &batch.weights {
        None => program.run(workspace, &three, outputs)?,
        Some(w) => {
            let [a, b, c] = three;
            program.run(workspace, &[a, b, c, Input::Real(w)], outputs)?;
        }
    }
    Ok(())
}

/// Right answers and answers: the class with the largest output against the label (or the likeliest class), for `bce` the
/// sign of every output against the target's side of 1/2. Squared error has no answers.
fn hits<T: Scalar>(loss: &Loss, shape: &[usize], outputs: &[T], targets: Input<'_, T>) -> (u64, u64) {
    match (loss, targets) {
        (Loss::CrossEntropy(ce), targets) => {
            let axis = loss.class_axis(shape.len());
            let classes = loss.classes(shape);
            let inner: usize = axis.map_or(1, |a| shape[a + 1..].iter().product());
            let likeliest = |x: &[T], term: usize| {
                let first = (term / inner) * classes * inner + term % inner;
                (1..classes).fold(0, |best, c| if x[first + c * inner] > x[first + best * inner] { c } else { best })
            };
            let terms = outputs.len() / classes.max(1);
            let (mut right, mut all) = (0, 0);
            for term in 0..terms {
                let answer = match targets {
                    Input::Int(labels) if labels[term] == ce.ignore_index => continue,
                    Input::Int(labels) => usize::try_from(labels[term]).unwrap_or(usize::MAX),
                    Input::Real(soft) => likeliest(soft, term),
                    // Targets are batches of data, which lie row-major.
                    Input::Columns(_) => continue,
                };
                all += 1;
                right += u64::from(likeliest(outputs, term) == answer);
            }
            (right, all)
        }
        (Loss::Bce { .. }, Input::Real(y)) => {
            let half = T::from_f64(0.5);
            let right = outputs.iter().zip(y).filter(|&(&f, &y)| (f > T::ZERO) == (y > half)).count();
            (right as u64, y.len() as u64)
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autodiff::nn::CrossEntropy;

    #[test]
    fn answers_are_counted() {
        let ce = Loss::cross_entropy();
        let f = [0.0, 2.0, 1.0, 5.0, 1.0, 1.0, 0.0, 0.0, 3.0];
        assert_eq!(hits(&ce, &[3, 3], &f, Input::Int(&[1, 1, 2])), (2, 3));
        assert_eq!(hits(&ce, &[3, 3], &f, Input::Int(&[1, -100, -100])), (1, 1));
        // Two classes of 1 x 2 images: the first image says 1 then 0.
        assert_eq!(hits(&ce, &[1, 2, 1, 2], &[0.0, 4.0, 1.0, 2.0], Input::Int(&[1, 0])), (2, 2));
        let soft = Loss::CrossEntropy(CrossEntropy { soft_targets: true, ..CrossEntropy::default() });
        assert_eq!(hits(&soft, &[2, 2], &[1.0, 0.0, 1.0, 0.0], Input::Real(&[0.9, 0.1, 0.2, 0.8])), (1, 2));
        assert_eq!(hits(&Loss::bce(), &[2], &[-1.0, 0.5], Input::Real(&[0.0, 0.25])), (1, 2));
        assert_eq!(hits(&Loss::mse(), &[2], &[1.0, 1.0], Input::Real(&[1.0, 1.0])), (0, 0));
    }
}
