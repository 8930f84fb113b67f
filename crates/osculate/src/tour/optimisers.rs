//! Optimisers side by side: the digits and a small language model under each method, by steps and by wall time.

use super::Error;
use super::chapter::Chapter;
use super::study::Study;
use super::words::{percent, plural, three, time};
use crate::data::{MARKOV_CONTEXT, MARKOV_SYMBOLS, markov};
use crate::plot::{Figure, LineChart, Scale, Section, Stroke, Table};
use crate::train::{self, Group, Method, Problem, Samples, SchedulePlan, ShapeName, Trainer};
use autodiff::nn::{Layer, Loss, Sequential};
use curvature::Reduction;
use numerics::progress::{Progress, check};
use optim::problems::MarkovSource;
use optim::{AdamWConfig, Graft, KronConfig, MuonConfig, SgdConfig, ShampooConfig, SpectralConfig, recommended};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Points of a curve.
const POINTS: u64 = 12;
/// Symbols of the validation data of the language model.
const HELD_OUT: usize = 2048;

/// Two tasks under all methods.
#[derive(Serialize, Deserialize)]
pub(super) struct Optimisers {
    tasks: Vec<Task>,
    timing: Timing,
}

/// One model and its data.
#[derive(Serialize, Deserialize)]
struct Task {
    name: String,
    parameters: usize,
    steps: u64,
    batch: usize,
    /// Loss that no model can beat, if that is known.
    floor: Option<f64>,
    curves: Vec<Curve>,
}

/// One method on one task.
#[derive(Serialize, Deserialize)]
struct Curve {
    method: String,
    learning_rate: f64,
    /// Step and validation loss.
    points: Vec<(f64, f64)>,
    /// Share of right answers at the end.
    accuracy: Option<f64>,
    diverged: bool,
}

/// Seconds at each point of each curve of each task.
#[derive(Serialize, Deserialize)]
struct Timing {
    seconds: Vec<Vec<Vec<f64>>>,
}

/// The methods at rates tried beforehand on the language model (SGD and grafted Shampoo at usual ones).
fn methods() -> Vec<(&'static str, Method)> {
    let vectors = AdamWConfig { lr: 3e-3, ..AdamWConfig::default() };
    let lr = 1e-2;
    let kron =
        |c: KronConfig| Method::Kron(KronConfig { lr, beta1: 0.9, beta2: 0.98, weight_decay: 0.0, vectors, ..c });
    let graft = Graft::Adam { beta2: 0.98, eps: 1e-8 };
    vec![
        ("gradient descent with momentum", Method::Sgd(SgdConfig { lr: 0.3, ..SgdConfig::default() })),
        ("AdamW", Method::AdamW(AdamWConfig { lr, beta2: 0.98, weight_decay: 0.0, ..AdamWConfig::default() })),
        (
            "Muon",
            Method::Muon(MuonConfig { lr: 0.02, vectors: AdamWConfig { lr, ..vectors }, ..MuonConfig::default() }),
        ),
        ("Shampoo, Adam's step length", {
            let (beta2, eps, period) = (0.98, 1e-8, 10);
            Method::Shampoo(ShampooConfig { lr, beta2, eps, period, graft, vectors, ..ShampooConfig::default() })
        }),
        ("SOAP", kron(recommended::soap())),
        ("KL-Shampoo", kron(recommended::kl_shampoo())),
        ("KL-SOAP", kron(recommended::kl_soap())),
        ("spectral", {
            Method::Spectral(SpectralConfig { lr, weight_decay: 0.0, vectors, ..SpectralConfig::default() })
        }),
    ]
}

impl Chapter for Optimisers {
    const NAME: &'static str = "optimisers";
    const TITLE: &'static str = "Optimisers side by side";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let digits = digits(study)?;
        let symbols = symbols(study)?;
        let (tasks, seconds) = [digits, symbols].into_iter().unzip();
        Ok(Optimisers { tasks, timing: Timing { seconds } })
    }

    fn render(&self, section: &mut Section) {
        section.prose(
            "A first-order method scales each number of the gradient by itself. The others look at a weight matrix as a whole: \
             they learn how its rows and its columns move together, and divide the step by the root of that, a cheap stand-in \
             for curvature. Here are eight of them on the same two tasks, from the same start, on the same batches. A step \
             costs the matrix methods more, so the right-hand charts count seconds instead of steps.",
        );
        for (task, seconds) in self.tasks.iter().zip(&self.timing.seconds) {
            task.render(seconds, section);
        }
        section.note(
            "Learning rates were tried on a language model beforehand, those of SGD and Shampoo are usual ones; one seed, \
             so small differences mean nothing. Medians over seeds after a search of equal size: docs/optim.md.",
        );
    }

    fn headline(&self) -> (String, String) {
        match self.tasks.last().and_then(|t| Some((t.best()?, t))) {
            Some((best, t)) => (best.method.clone(), format!("went lowest in {} steps of language", t.steps)),
            None => ("–".into(), "no method arrived".into()),
        }
    }

    fn summary(&self) -> Vec<String> {
        let line = |(task, seconds): (&Task, &Vec<Vec<f64>>)| {
            let (best, adam) = (task.best()?, task.curves.iter().position(|c| c.method == "AdamW")?);
            let adam_seconds = seconds.get(adam)?.last()?;
            Some(format!(
                "{}: {} reaches {}, AdamW {} in {}",
                task.name,
                best.method,
                three(best.last()?),
                three(task.curves.get(adam)?.last()?),
                time(*adam_seconds)
            ))
        };
        self.tasks.iter().zip(&self.timing.seconds).filter_map(line).collect()
    }
}

impl Curve {
    fn last(&self) -> Option<f64> {
        self.points.last().map(|p| p.1)
    }
}

impl Task {
    fn best(&self) -> Option<&Curve> {
        let arrived = self.curves.iter().filter(|c| !c.diverged && c.last().is_some());
        arrived.min_by(|a, b| a.last().unwrap_or(f64::NAN).total_cmp(&b.last().unwrap_or(f64::NAN)))
    }

    fn render(&self, seconds: &[Vec<f64>], section: &mut Section) {
        let axes = |title: &str, x: &str| LineChart::new(title).x(x, Scale::Linear).y("validation loss", Scale::Log);
        let mut by_step = axes(&format!("{}, by steps", self.name), "step");
        let mut by_time = axes(&format!("{}, by time", self.name), "seconds");
        let mut table = Table::new(["method", "learning rate", "loss", "right answers", "a step takes"]);
        for (i, c) in self.curves.iter().enumerate() {
            let at = seconds.get(i).map_or(&[][..], Vec::as_slice);
            by_step = by_step.series(c.method.as_str(), c.points.iter().copied(), Stroke::Line);
            let timed = at.iter().zip(&c.points).map(|(&s, p)| (s, p.1));
            by_time = by_time.series(c.method.as_str(), timed, Stroke::Line);
            let step_time = at.last().zip(c.points.last()).map(|(s, p)| s / p.0.max(1.0));
            table = table.row([
                c.method.clone(),
                three(c.learning_rate),
                if c.diverged { "diverged".into() } else { c.last().map_or("–".into(), three) },
                c.accuracy.map_or("–".into(), percent),
                step_time.map_or("–".into(), time),
            ]);
        }
        let floor = self.floor.map_or(String::new(), |f| format!(" No model can go below {} here.", three(f)));
        section.prose(format!(
            "**{}:** {} parameters, {} of {} data.{floor}",
            self.name,
            self.parameters,
            plural(usize::try_from(self.steps).unwrap_or(usize::MAX), "step"),
            self.batch
        ));
        section.beside([
            (Figure::Lines(&by_step), "Loss on data that training never sees, at equal numbers of steps."),
            (Figure::Lines(&by_time), "The same over the seconds spent in steps on this machine."),
        ]);
        section.table(table);
    }
}

/// The network and the pictures of the tour.
fn digits(study: &Study<'_>) -> Result<(Task, Vec<Vec<f64>>), Error> {
    let (s, net, loss) = (&study.settings, &study.net, Loss::cross_entropy());
    let samples = |data: &_, rows: usize| {
        Samples::new(data, net, &loss, Some(&net.input_type().shape))?.select(&(0..rows).collect::<Vec<_>>())
    };
    let problem = Problem {
        train: samples(&study.train_data, s.train)?,
        validation: Some(samples(&study.test_data, s.test)?),
        params: study.initial.clone(),
        reduction: Reduction::Mean,
        model: net.clone(),
        loss: loss.clone(),
    };
    race(study, "Digits", &problem, (s.digit_steps, s.batch), None, &[])
}

/// Two tanh layers on four symbols of an artificial source, whose entropy is known.
fn symbols(study: &Study<'_>) -> Result<(Task, Vec<Vec<f64>>), Error> {
    let s = &study.settings;
    let (width, hidden) = (16, s.symbol_hidden);
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let layers = vec![
        Layer::Embedding { num: MARKOV_SYMBOLS, dim: width },
        Layer::Flatten {},
        linear(MARKOV_CONTEXT * width, hidden),
        Layer::Tanh {},
        linear(hidden, hidden),
        Layer::Tanh {},
        linear(hidden, MARKOV_SYMBOLS),
    ];
    let (model, loss) = (Sequential::new(&[MARKOV_CONTEXT], layers)?, Loss::cross_entropy());
    let batch = 128;
    let data = (usize::try_from(s.symbol_steps).unwrap_or(usize::MAX).saturating_mul(batch)).min(200_000);
    let samples = |count, part| Samples::new(&markov(count, part)?, &model, &loss, None);
    let problem = Problem {
        train: samples(data, 1)?,
        validation: Some(samples(HELD_OUT, 2)?),
        params: model.init(s.seed),
        reduction: Reduction::Mean,
        loss: loss.clone(),
        model: model.clone(),
    };
    let floor = MarkovSource::new(MARKOV_SYMBOLS, 0.15, 0).map_err(|e| Error::Settings(e.to_string()))?.entropy_rate();
    race(study, "A language of 32 symbols", &problem, (s.symbol_steps, batch), Some(floor), &["0.*", "6.*"])
}

/// Every method from the same start on the same batches. `ends` are patterns of the tensors that Muon leaves to AdamW.
fn race(
    study: &Study<'_>,
    name: &str,
    problem: &Problem<f64>,
    (steps, batch): (u64, usize),
    floor: Option<f64>,
    ends: &[&str],
) -> Result<(Task, Vec<Vec<f64>>), Error> {
    let (mut curves, mut seconds) = (Vec::new(), Vec::new());
    let all = methods();
    let count = all.len() as u64;
    for (k, (method, settings)) in (0u64..).zip(all) {
        let mut groups = Vec::new();
        if matches!(settings, Method::Muon(_)) && !ends.is_empty() {
            let patterns = ends.iter().map(ToString::to_string).collect();
            groups.push(Group { name: "ends".into(), patterns, first_order: true, ..Group::default() });
        }
        let schedule =
            SchedulePlan { shape: ShapeName::Linear, warmup: (steps / 20).max(1), ..SchedulePlan::default() };
        let learning_rate = settings.lr();
        let options = train::Settings {
            seed: study.settings.seed,
            batch_size: batch,
            drop_last: true,
            groups,
            schedule,
            ..train::Settings::new(settings, steps)
        };
        let mut trainer = Trainer::new(problem.clone(), options, study.par)?;
        let (mut spent, mut points, mut at, mut diverged) = (0.0, Vec::new(), Vec::new(), false);
        while !trainer.finished() && !diverged {
            let until = (trainer.done() + steps.div_ceil(POINTS).max(1)).min(steps);
            let begun = Instant::now();
            diverged = advance(&mut trainer, until)?;
            spent += begun.elapsed().as_secs_f64();
            let loss = trainer.validate()?.map_or(f64::NAN, |s| s.loss);
            if loss.is_finite() && !diverged {
                points.push((trainer.done() as f64, loss));
                at.push(spent);
            }
            check(study.observer, &Progress::new("optimisers", k * steps + trainer.done(), count * steps))?;
        }
        let accuracy = trainer.validate()?.and_then(|s| s.accuracy).filter(|_| !diverged);
        curves.push(Curve { method: method.into(), learning_rate, points, accuracy, diverged });
        seconds.push(at);
    }
    let parameters = problem.model.params().total();
    Ok((Task { name: name.into(), parameters, steps, batch, floor, curves }, seconds))
}

/// Steps until `until`; whether it diverged, which is a finding and no failure of the tour.
fn advance(trainer: &mut Trainer<f64>, until: u64) -> Result<bool, Error> {
    while trainer.done() < until {
        match trainer.step() {
            Ok(_) => {}
            Err(train::Error::Diverged { .. }) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(false)
}
