//! Training by AdamW on mini-batches, and the compiled functions of the parameters that the tour evaluates often.

use super::Error;
use super::study::{Part, Study};
use crate::data::CLASSES;
use autodiff::nn::{Loss, Sequential};
use autodiff::{Executable, Input, Output, Workspace};
use numerics::Par;
use numerics::progress::{Progress, check};
use numerics::rng::{Role, Stream};
use optim::{AdamW, AdamWConfig, Grads, Optimizer, ParamGroup, ParamList, Schedule};
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

/// A network's answers.
pub(super) struct Classifier {
    exe: Executable<f64>,
    workspace: Workspace<f64>,
    objective: Objective,
}

/// Loss, share of right answers, and the answers themselves.
pub(super) struct Score {
    pub(super) loss: f64,
    pub(super) accuracy: f64,
    /// Most likely class and its probability, per picture.
    pub(super) answers: Vec<(usize, f64)>,
}

impl Classifier {
    pub(super) fn new(net: &Sequential, pictures: usize, par: Par) -> Result<Self, Error> {
        let exe = net.trace_model(pictures)?.compile()?;
        let objective = Objective::value(net, pictures, par)?;
        Ok(Classifier { exe, workspace: Workspace::with_par(par), objective })
    }

    pub(super) fn score(&mut self, params: &[f64], part: &Part) -> Result<Score, Error> {
        let mut logits = vec![0.0; part.len() * CLASSES];
        let inputs = [Input::Real(params), Input::Real(&part.inputs)];
        self.exe.run(&mut self.workspace, &inputs, &mut [Output::Real(&mut logits)])?;
        let answers: Vec<(usize, f64)> = logits.chunks_exact(CLASSES).map(most_likely).collect();
        let right = answers.iter().zip(&part.labels).filter(|(a, y)| a.0 as i64 == **y).count();
        let (loss, _) = self.objective.evaluate(params, &part.inputs, &part.labels)?;
        Ok(Score { loss, accuracy: right as f64 / part.len() as f64, answers })
    }
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
    let s = &study.settings;
    let per_epoch = s.train / s.batch;
    let total = s.epochs * per_epoch as u64;
    let schedule = Schedule::cosine(total, 0.01).warmup((total / 20).max(1));
    schedule.check()?;
    let config = AdamWConfig { lr: s.learning_rate, weight_decay: s.weight_decay, ..AdamWConfig::default() };
    let mut optimiser = AdamW::new(config)?;
    optimiser.init(&parameter_list(net)?)?;
    let mut objective = Objective::with_gradient(net, s.batch, study.par)?;
    let mut on_train = Classifier::new(net, study.train.len(), study.par)?;
    let mut on_test = Classifier::new(net, study.test.len(), study.par)?;
    let mut score = |params: &[f64], step: u64| -> Result<Epoch, Error> {
        let (train, test) = (on_train.score(params, &study.train)?, on_test.score(params, &study.test)?);
        let (train_loss, test_loss) = (train.loss, test.loss);
        let (train_accuracy, test_accuracy) = (train.accuracy, test.accuracy);
        let (train_wrong, test_wrong) = (1.0 - train_accuracy, 1.0 - test_accuracy);
        Ok(Epoch { step, train_loss, test_loss, train_accuracy, test_accuracy, train_wrong, test_wrong })
    };
    let mut params = initial.to_vec();
    let mut fit = Fit { params: Vec::new(), batch_loss: Vec::new(), learning_rate: Vec::new(), epochs: Vec::new() };
    fit.epochs.push(score(&params, 0)?);
    let mut step = 0;
    for epoch in 0..s.epochs {
        let mut order: Vec<usize> = (0..study.train.len()).collect();
        Stream::new(s.seed, Role::Shuffle, 1, epoch).shuffle(&mut order);
        for rows in order.chunks_exact(s.batch) {
            let pixels: Vec<f64> = rows.iter().flat_map(|&i| study.train.pixels(i..i + 1)).copied().collect();
            let labels: Vec<i64> = rows.iter().map(|&i| study.train.labels[i]).collect();
            let (loss, gradient) = objective.evaluate(&params, &pixels, &labels)?;
            let multiplier = schedule.at(step);
            optimiser.step(&mut params, Grads::all(&gradient), multiplier)?;
            fit.batch_loss.push(loss);
            fit.learning_rate.push(multiplier * s.learning_rate);
            step += 1;
            check(study.observer, &Progress::new(task, step, total).with_metric("loss", loss))?;
        }
        fit.epochs.push(score(&params, step)?);
    }
    fit.params = params;
    Ok(fit)
}

fn parameter_list(net: &Sequential) -> Result<ParamList, Error> {
    let mut list = ParamList::new();
    let all = list.add_group(ParamGroup::new("all"));
    for p in net.params().iter() {
        list.push(p.name(), p.shape(), all)?;
    }
    Ok(list)
}
