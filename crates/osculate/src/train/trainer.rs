//! `Trainer`: a model, a loss, data and an optimiser, advanced one step at a time.
//!
//! Everything about step `s` follows from its number: the epoch is `s` divided by the steps of an epoch, its order is the
//! shuffle keyed by (seed, shuffle, epoch), and the learning rate is the schedule's value at `s`. So the state of a run is
//! its parameters, the optimiser's state and the number of steps, and a run that goes on from there is bitwise the run
//! that was never stopped. A step costs one gradient, one copy of its batch and one pass of the optimiser.

use super::history::Event;
use super::method::param_list;
use super::objective::{Objective, Sums};
use super::samples::{Batch, Samples};
use super::{Error, Length, Settings};
use autodiff::nn::{Loss, Sequential};
use curvature::Reduction;
use numerics::rng::{Role, Stream};
use numerics::{Par, Scalar};
use optim::{Grads, NonFinite, Optimizer, ParamList, Schedule, clip_global_norm};

/// Steps left out one after the other before a run counts as diverged.
pub(super) const MAX_SKIPPED: u64 = 20;

/// A model at its first parameters, a loss and data.
#[derive(Clone, Debug)]
pub struct Problem<T> {
    /// The model.
    pub model: Sequential,
    /// Its parameters before the first step.
    pub params: Vec<T>,
    /// The loss.
    pub loss: Loss,
    /// What the sum over the loss terms of a batch is divided by.
    pub reduction: Reduction,
    /// What it is trained on.
    pub train: Samples<T>,
    /// What it is only evaluated on.
    pub validation: Option<Samples<T>>,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Loss of the batch, before the step.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradient before clipping, if the run clips.
    pub gradient_norm: Option<f64>,
    /// What was out of the ordinary.
    pub events: Vec<Event>,
}

/// Loss and share of right answers over whole data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The loss, reduced as in training.
    pub loss: f64,
    /// Share of right answers; squared error has none.
    pub accuracy: Option<f64>,
}

/// A run in memory.
///
/// ```
/// use autodiff::nn::{Layer, Loss, Sequential};
/// use osculate::train::{Method, Problem, Samples, Settings, Trainer};
/// let layers = vec![Layer::Linear { inputs: 64, outputs: 10, bias: true }];
/// let model = Sequential::new(&[64], layers)?;
/// let (train, test) = osculate::data::digits()?.split::<f64>(0, 1500)?;
/// let loss = Loss::cross_entropy();
/// let problem = Problem {
///     params: model.init::<f64>(0),
///     train: Samples::new(&train, &model, &loss, None)?,
///     validation: Some(Samples::new(&test, &model, &loss, None)?),
///     reduction: curvature::Reduction::Mean,
///     model,
///     loss,
/// };
/// let adam = Method::AdamW(optim::AdamWConfig { lr: 0.02, ..Default::default() });
/// let mut trainer = Trainer::new(problem, Settings::new(adam, 30), numerics::Par::Seq)?;
/// while !trainer.finished() {
///     trainer.step()?;
/// }
/// assert!(trainer.validate()?.unwrap().accuracy.unwrap() > 0.8);
/// # Ok::<(), osculate::train::Error>(())
/// ```
pub struct Trainer<T: Scalar> {
    pub(super) objective: Objective<T>,
    pub(super) train: Samples<T>,
    pub(super) validation: Option<Samples<T>>,
    pub(super) settings: Settings,
    pub(super) reduction: Reduction,
    pub(super) optimizer: Box<dyn Optimizer<T>>,
    pub(super) params: Vec<T>,
    pub(super) done: u64,
    /// Steps left out since the last one that was taken.
    pub(super) skipped_in_row: u64,
    /// Steps left out in all.
    pub(super) skipped: u64,
    list: ParamList,
    schedule: Schedule,
    steps: u64,
    gradient: Vec<T>,
    batch: Batch<T>,
    order: Vec<usize>,
    order_of: Option<u64>,
}

impl<T: Scalar> Trainer<T> {
    /// Sets a run up; nothing is compiled before its first step.
    ///
    /// # Errors
    /// Settings out of range; parameters that are not the model's; a model without parameters; a number of steps beyond
    /// counting.
    pub fn new(problem: Problem<T>, settings: Settings, par: Par) -> Result<Self, Error> {
        let Problem { model, params, loss, reduction, train, validation } = problem;
        let expected = model.params().total();
        if expected == 0 {
            return Err(Error::setting("[model]", "has no parameters, so there is nothing to train"));
        }
        if params.len() != expected {
            return Err(optim::Error::Length { what: "parameters", expected, got: params.len() }.into());
        }
        let per_epoch = steps_per_epoch(train.len(), &settings)?;
        let steps = match settings.length {
            Length::Steps(n) => Some(n),
            Length::Epochs(n) => n.checked_mul(per_epoch),
        };
        let steps = steps.filter(|&n| n > 0);
        let steps = steps.ok_or_else(|| Error::setting("steps", "expected at least 1, and fewer than 2^64"))?;
        let schedule = settings.schedule.resolve(steps)?;
        if let Some(norm) = settings.clip.filter(|n| !(n.is_finite() && *n > 0.0)) {
            return Err(Error::setting("[clip]", format!("norm is {norm}, expected a number above 0")));
        }
        let list = param_list(model.params(), &settings.method, &settings.groups)?;
        let mut optimizer = settings.method.build_with(par)?;
        optimizer.init(&list)?;
        Ok(Trainer {
            objective: Objective::new(model, loss, par),
            batch: train.batch(),
            order: Vec::new(),
            order_of: None,
            gradient: vec![T::ZERO; expected],
            done: 0,
            skipped: 0,
            skipped_in_row: 0,
            list,
            train,
            validation,
            settings,
            reduction,
            optimizer,
            params,
            schedule,
            steps,
        })
    }

    /// The model.
    pub fn model(&self) -> &Sequential {
        self.objective.model()
    }

    /// The parameters as they are.
    pub fn params(&self) -> &[T] {
        &self.params
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &dyn Optimizer<T> {
        &*self.optimizer
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of training data.
    pub fn train_len(&self) -> usize {
        self.train.len()
    }

    /// Number of validation data.
    pub fn validation_len(&self) -> usize {
        self.validation.as_ref().map_or(0, Samples::len)
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        steps_per_epoch(self.train.len(), &self.settings).unwrap_or(1)
    }

    /// Whether all steps are done.
    pub fn finished(&self) -> bool {
        self.done >= self.steps
    }

    /// Steps that were left out because a loss or gradient was not finite, or a batch had no loss term.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes one step.
    ///
    /// # Errors
    /// `Diverged` if the loss or the gradient is not finite and the optimiser is not told to skip such steps, or if too
    /// many were skipped in a row; nothing has changed then. Indices outside their axis.
    pub fn step(&mut self) -> Result<StepReport, Error> {
        let lr_multiplier = self.schedule.at(self.done);
        let rows = self.rows();
        self.train.gather(&self.order[rows.clone()], &mut self.batch);
        let sums = self.objective.gradient(&self.params, rows.len(), &self.batch, &mut self.gradient)?;
        let lr = self.settings.method.lr() * lr_multiplier;
        let mut report = StepReport { step: self.done + 1, loss: 0.0, lr, gradient_norm: None, events: Vec::new() };
        let Some(scale) = scale(self.reduction, &sums) else {
            self.left_out(&mut report, Event::new("empty-batch", "the batch has no loss term with a weight"));
            return Ok(report);
        };
        report.loss = sums.loss * scale;
        if !report.loss.is_finite() {
            let what = format!("the loss is {}", report.loss);
            self.not_finite(&mut report, what)?;
            return Ok(report);
        }
        let factor = T::from_f64(scale);
        self.gradient.iter_mut().for_each(|g| *g *= factor);
        if let Some(norm) = self.settings.clip {
            report.gradient_norm = Some(clip_global_norm(&self.list, &mut self.gradient, None, norm)?.norm);
        }
        if sums.count > 0.0 {
            // `scale` times a sum over `count` terms is the mean over this many.
            self.optimizer.set_batch(1.0 / (scale * scale * sums.count))?;
        }
        match self.optimizer.step(&mut self.params, Grads::all(&self.gradient), lr_multiplier) {
            Ok(info) => match info.skipped {
                None => {
                    self.skipped_in_row = 0;
                    self.done += 1;
                }
                Some(i) => {
                    let name = self.list.params().get(i).map_or("", |p| p.name());
                    self.not_finite(&mut report, format!("the gradient of {name:?} holds a NaN or an infinity"))?;
                }
            },
            Err(e @ optim::Error::NonFiniteGradient { .. }) => {
                return Err(Error::Diverged { step: report.step, what: e.to_string(), kept: None });
            }
            Err(e @ optim::Error::Decomposition { .. }) => {
                // The step was taken, with an older basis.
                report.events.push(Event::new("old-basis", e.to_string()));
                self.skipped_in_row = 0;
                self.done += 1;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(report)
    }

    fn left_out(&mut self, report: &mut StepReport, event: Event) {
        report.events.push(event);
        self.skipped += 1;
        self.done += 1;
    }

    /// Leaves the step out if the optimiser is told so, and fails otherwise.
    fn not_finite(&mut self, report: &mut StepReport, what: String) -> Result<(), Error> {
        let diverged = |what| Err(Error::Diverged { step: report.step, what, kept: None });
        if self.settings.method.non_finite() == NonFinite::Error {
            return diverged(what);
        }
        if self.skipped_in_row + 1 >= MAX_SKIPPED {
            return diverged(format!("{what}, as in the {} steps before, which were left out", self.skipped_in_row));
        }
        self.skipped_in_row += 1;
        self.left_out(report, Event::new("skipped", what));
        Ok(())
    }

    /// Which places of the epoch's order the next step takes; the order is made if need be.
    fn rows(&mut self) -> core::ops::Range<usize> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, within) = (self.done / per_epoch, self.done % per_epoch);
        if self.order_of != Some(epoch) {
            self.order.clear();
            self.order.extend(0..self.train.len());
            if self.settings.shuffle {
                Stream::new(self.settings.seed, Role::Shuffle, epoch, 0).shuffle(&mut self.order);
            }
            self.order_of = Some(epoch);
        }
        let size = self.settings.batch_size;
        let start = within as usize * size;
        start..start.saturating_add(size).min(self.order.len())
    }

    /// Scores over all training data.
    ///
    /// # Errors
    /// A program that does not run.
    pub fn score_training(&mut self) -> Result<Scores, Error> {
        let size = self.settings.eval_size();
        let sums = self.objective.evaluate(&self.params, &self.train, size)?;
        Ok(scores(self.reduction, &sums))
    }

    /// Scores over all validation data, if there are any.
    ///
    /// # Errors
    /// A program that does not run.
    pub fn validate(&mut self) -> Result<Option<Scores>, Error> {
        let size = self.settings.eval_size();
        let Some(data) = &self.validation else { return Ok(None) };
        let sums = self.objective.evaluate(&self.params, data, size)?;
        Ok(Some(scores(self.reduction, &sums)))
    }

    /// Fails if a parameter is not finite.
    pub(super) fn check_params(&self) -> Result<(), Error> {
        let bad = self.list.params().iter().find(|p| !self.params[p.range()].iter().all(|x| x.is_finite()));
        match bad {
            None => Ok(()),
            Some(p) => {
                let what = format!("the parameter {:?} holds a NaN or an infinity", p.name());
                Err(Error::Diverged { step: self.done, what, kept: None })
            }
        }
    }
}

fn steps_per_epoch(data: usize, settings: &Settings) -> Result<u64, Error> {
    let size = settings.batch_size;
    if size == 0 {
        return Err(Error::setting("data.batch_size", "0, expected at least 1"));
    }
    match if settings.drop_last { data / size } else { data.div_ceil(size) } {
        0 => {
            let what = format!("{size} is more than the {data} training data, and drop_last leaves them out");
            Err(Error::setting("data.batch_size", what))
        }
        n => Ok(n as u64),
    }
}

/// What the sums are multiplied by; `None` if there is nothing to average.
fn scale(reduction: Reduction, sums: &Sums) -> Option<f64> {
    match reduction {
        Reduction::Mean => (sums.count > 0.0).then(|| 1.0 / sums.count),
        Reduction::Sum => Some(1.0),
        Reduction::Fixed(factor) => Some(factor),
    }
}

fn scores(reduction: Reduction, sums: &Sums) -> Scores {
    Scores {
        loss: scale(reduction, sums).map_or(f64::NAN, |s| sums.loss * s),
        accuracy: (sums.answers > 0).then(|| sums.hits as f64 / sums.answers as f64),
    }
}
