//! Training as `osculate train` does it, and the compiled functions of the parameters that the tour evaluates often.

use super::Error;
use super::study::{Part, Study};
use crate::data::CLASSES;
use crate::io::Dataset;
use crate::train::{self, Method, Problem, Samples, SchedulePlan, Scores, ShapeName, Trainer};
use autodiff::nn::{Loss, Sequential};
use autodiff::{Executable, Input, Output, Workspace};
use curvature::Reduction;
use numerics::Par;
use numerics::progress::{Progress, check};
use optim::AdamWConfig;
use serde::{Deserialize, Serialize};

/// The mean cross-entropy of a network on a fixed number of pictures, compiled, with or without its gradient.
pub(super) struct Objective {
    exe: Executable<f64>,
    workspace: Workspace<f64>,
    terms: f64,
    /// Length of the gradient; 0 without one.
    dim: usize,
}

impl Objective {
    pub(super) fn value(net: &Sequential, pictures: usize, par: Par) -> Result<Self, Error> {
        let exe = net.trace_loss(pictures, &Loss::cross_entropy(), false)?.compile()?;
        Ok(Objective { exe, workspace: Workspace::with_par(par), terms: pictures as f64, dim: 0 })
    }

    pub(super) fn with_gradient(net: &Sequential, pictures: usize, par: Par) -> Result<Self, Error> {
        let program = net.trace_loss(pictures, &Loss::cross_entropy(), false)?.value_and_grad(&[0])?;
        let dim = net.params().total();
        Ok(Objective { exe: program.compile()?, workspace: Workspace::with_par(par), terms: pictures as f64, dim })
    }

    /// The loss, and the gradient if there is one (otherwise it is empty).
    pub(super) fn evaluate(
        &mut self,
        params: &[f64],
        pixels: &[f64],
        labels: &[i64],
    ) -> Result<(f64, Vec<f64>), Error> {
        let (mut loss, mut gradient) = ([0.0], vec![0.0; self.dim]);
        let inputs = [Input::Real(params), Input::Real(pixels), Input::Int(labels)];
        if self.dim == 0 {
            self.exe.run(&mut self.workspace, &inputs, &mut [Output::Real(&mut loss)])?;
        } else {
            let outputs = &mut [Output::Real(&mut loss), Output::Real(&mut gradient)];
            self.exe.run(&mut self.workspace, &inputs, outputs)?;
        }
        gradient.iter_mut().for_each(|g| *g /= self.terms);
        Ok((loss[0] / self.terms, gradient))
    }
}

/// The derivative of a network's scores along a direction of its parameters.
pub(super) struct Slope {
    exe: Executable<f64>,
    workspace: Workspace<f64>,
    pictures: usize,
}

impl Slope {
    pub(super) fn new(net: &Sequential, pictures: usize, par: Par) -> Result<Self, Error> {
        let exe = net.trace_model(pictures)?.jvp(&[0])?.compile()?;
        Ok(Slope { exe, workspace: Workspace::with_par(par), pictures })
    }

    /// Row by row, one row per picture.
    pub(super) fn along(&mut self, params: &[f64], pixels: &[f64], direction: &[f64]) -> Result<Vec<f64>, Error> {
        let (mut scores, mut rises) = (vec![0.0; self.pictures * CLASSES], vec![0.0; self.pictures * CLASSES]);
        let inputs = [Input::Real(params), Input::Real(pixels), Input::Real(direction)];
        self.exe.run(&mut self.workspace, &inputs, &mut [Output::Real(&mut scores), Output::Real(&mut rises)])?;
        Ok(rises)
    }
}

/// A network's answers: most likely class and its probability, per picture.
pub(super) fn answers(net: &Sequential, params: &[f64], part: &Part, par: Par) -> Result<Vec<(usize, f64)>, Error> {
    let exe: Executable<f64> = net.trace_model(part.len())?.compile()?;
    let mut scores = vec![0.0; part.len() * CLASSES];
    let inputs = [Input::Real(params), Input::Real(&part.inputs)];
    exe.run(&mut Workspace::with_par(par), &inputs, &mut [Output::Real(&mut scores)])?;
    Ok(scores.chunks_exact(CLASSES).map(most_likely).collect())
}

/// The class of the largest logit and its softmax probability.
fn most_likely(logits: &[f64]) -> (usize, f64) {
    let (mut best, mut top) = (0, f64::NEG_INFINITY);
    for (i, &z) in logits.iter().enumerate() {
        if z > top {
            (best, top) = (i, z);
        }
    }
    (best, 1.0 / logits.iter().map(|z| (z - top).exp()).sum::<f64>())
}

/// The state of training after an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Epoch {
    pub(super) step: u64,
    pub(super) train_loss: f64,
    pub(super) test_loss: f64,
    pub(super) train_accuracy: f64,
    pub(super) test_accuracy: f64,
    /// Shares of wrong answers.
    pub(super) train_wrong: f64,
    pub(super) test_wrong: f64,
}

/// What training leaves behind.
pub(super) struct Fit {
    pub(super) params: Vec<f64>,
    /// Mini-batch loss of each step.
    pub(super) batch_loss: Vec<f64>,
    /// Learning rate of each step.
    pub(super) learning_rate: Vec<f64>,
    /// The start, then after each epoch.
    pub(super) epochs: Vec<Epoch>,
}

/// Trains a network from `initial` as the study's settings say: warm-up, then half a cosine down to a hundredth.
pub(super) fn fit(study: &Study<'_>, net: &Sequential, initial: &[f64], task: &str) -> Result<Fit, Error> {
    let mut trainer = trainer(study, net, initial)?;
    let (total, per_epoch) = (trainer.steps(), trainer.steps_per_epoch());
    let mut fit = Fit { params: Vec::new(), batch_loss: Vec::new(), learning_rate: Vec::new(), epochs: Vec::new() };
    fit.epochs.push(epoch(&mut trainer)?);
    while !trainer.finished() {
        let step = trainer.step()?;
        fit.batch_loss.push(step.loss);
        fit.learning_rate.push(step.lr);
        check(study.observer, &Progress::new(task, step.step, total).with_metric("loss", step.loss))?;
        if step.step.is_multiple_of(per_epoch) {
            fit.epochs.push(epoch(&mut trainer)?);
        }
    }
    fit.params = trainer.params().to_vec();
    Ok(fit)
}

fn trainer(study: &Study<'_>, net: &Sequential, initial: &[f64]) -> Result<Trainer<f64>, Error> {
    let (s, loss) = (&study.settings, Loss::cross_entropy());
    let samples = |data: &Dataset, rows: usize| {
        Samples::new(data, net, &loss, Some(&net.input_type().shape))?.select(&(0..rows).collect::<Vec<_>>())
    };
    let problem = Problem {
        train: samples(&study.train_data, s.train)?,
        validation: Some(samples(&study.test_data, s.test)?),
        params: initial.to_vec(),
        reduction: Reduction::Mean,
        model: net.clone(),
        loss,
    };
    let steps = s.epochs * (s.train / s.batch) as u64;
    let method =
        Method::AdamW(AdamWConfig { lr: s.learning_rate, weight_decay: s.weight_decay, ..AdamWConfig::default() });
    let schedule =
        SchedulePlan { shape: ShapeName::Cosine, warmup: (steps / 20).max(1), floor: 0.01, ..SchedulePlan::default() };
    let settings = train::Settings {
        seed: s.seed,
        batch_size: s.batch,
        drop_last: true,
        schedule,
        ..train::Settings::new(method, steps)
    };
    Ok(Trainer::new(problem, settings, study.par)?)
}

/// The scores where the trainer stands.
fn epoch(trainer: &mut Trainer<f64>) -> Result<Epoch, Error> {
    let none = Scores { loss: f64::NAN, accuracy: None };
    let (train, test) = (trainer.score_training()?, trainer.validate()?.unwrap_or(none));
    let right = |s: Scores| s.accuracy.unwrap_or(0.0);
    Ok(Epoch {
        step: trainer.done(),
        train_loss: train.loss,
        test_loss: test.loss,
        train_accuracy: right(train),
        test_accuracy: right(test),
        train_wrong: 1.0 - right(train),
        test_wrong: 1.0 - right(test),
    })
}
