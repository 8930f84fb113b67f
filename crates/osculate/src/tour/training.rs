//! Training: from random weights to a network that reads digits.

use super::Error;
use super::chapter::Chapter;
use super::fit::{Epoch, Fit, answers, fit};
use super::study::Study;
use super::words::{layers, percent, plural, three, time};
use crate::data::CLASSES;
use crate::plot::{Figure, HeatMap, HeatScale, Images, LineChart, Scale, Section, Stroke, sparkline};
use serde::{Deserialize, Serialize};
use std::time::Instant;

const SIDE: usize = 8;
const SHOWN_MISTAKES: usize = 12;

/// History and results of the training.
#[derive(Serialize, Deserialize)]
pub(super) struct Training {
    layers: Vec<String>,
    parameters: usize,
    batch: usize,
    peak_learning_rate: f64,
    weight_decay: f64,
    /// Mini-batch loss and learning rate of each step.
    batch_loss: Vec<f64>,
    learning_rate: Vec<f64>,
    /// The start, then after each epoch.
    epochs: Vec<Epoch>,
    test: usize,
    mistakes: usize,
    /// Test pictures by what they show (row) and what the network said (column).
    confusion: Vec<Vec<usize>>,
    /// The mistakes of which the network was surest, surest first.
    shown: Vec<Mistake>,
    timing: Timing,
}

#[derive(Serialize, Deserialize)]
struct Mistake {
    shows: usize,
    said: usize,
    /// Probability that the network gave its answer.
    sure: f64,
    pixels: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Timing {
    train_seconds: f64,
}

impl Chapter for Training {
    const NAME: &'static str = "training";
    const TITLE: &'static str = "Learning";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let started = Instant::now();
        let Fit { params, batch_loss, learning_rate, epochs } = fit(study, &study.net, &study.initial, "training")?;
        let timing = Timing { train_seconds: started.elapsed().as_secs_f64() };
        let answers = answers(&study.net, &params, &study.test, study.par)?;
        let mut confusion = vec![vec![0; CLASSES]; CLASSES];
        let mut shown = Vec::new();
        for (i, &(said, sure)) in answers.iter().enumerate() {
            let shows = study.test.labels[i] as usize;
            confusion[shows][said] += 1;
            if said != shows {
                shown.push(Mistake { shows, said, sure, pixels: study.test.pixels(i..i + 1).to_vec() });
            }
        }
        let mistakes = shown.len();
        shown.sort_by(|a, b| b.sure.total_cmp(&a.sure));
        shown.truncate(SHOWN_MISTAKES);
        study.trained = Some(params);
        Ok(Training {
            layers: study.net.layers().iter().map(ToString::to_string).collect(),
            parameters: study.net.params().total(),
            batch: study.settings.batch,
            peak_learning_rate: study.settings.learning_rate,
            weight_decay: study.settings.weight_decay,
            batch_loss,
            learning_rate,
            epochs,
            test: study.test.len(),
            mistakes,
            confusion,
            shown,
            timing,
        })
    }

    fn render(&self, section: &mut Section) {
        let (Some(first), Some(last)) = (self.epochs.first(), self.epochs.last()) else { return };
        section.prose(format!(
            "The network is as plain as they come: {} with {} parameters. AdamW changes all of them {} times, each time \
             after looking at {}, with a learning rate that warms up to {} and then follows a cosine down to a \
             hundredth of it (weight decay {}). The loss is the mean cross-entropy: the average surprise at the right \
             answer.",
            layers(&self.layers),
            self.parameters,
            self.batch_loss.len(),
            plural(self.batch, "picture"),
            three(self.peak_learning_rate),
            three(self.weight_decay),
        ));
        section.cards([
            (percent(last.test_accuracy), "of unseen digits read right".to_owned()),
            (percent(last.train_accuracy), "of the training digits".to_owned()),
            (format!("{} → {}", three(first.train_loss), three(last.train_loss)), "training loss".to_owned()),
            (time(self.timing.train_seconds), format!("for {} steps", self.batch_loss.len())),
        ]);
        let by_epoch = |f: fn(&Epoch) -> f64| self.epochs.iter().map(move |e| (e.step as f64, f(e)));
        let by_step = |v: &[f64]| v.iter().enumerate().map(|(i, &x)| ((i + 1) as f64, x)).collect::<Vec<_>>();
        let loss = LineChart::new("Loss while learning")
            .x("step", Scale::Linear)
            .y("mean cross-entropy", Scale::Log)
            .series("mini-batch", by_step(&self.batch_loss), Stroke::Faint)
            .series("training pictures", by_epoch(|e| e.train_loss), Stroke::Line)
            .series("test pictures", by_epoch(|e| e.test_loss), Stroke::Line);
        section.lines(
            &loss,
            "Pale: the loss of each mini-batch. Strong: the loss on all training and all test pictures after each pass. \
             Where the two lines part, the network has begun to learn its training pictures by heart.",
        );
        let wrong = LineChart::new("Mistakes while learning")
            .x("step", Scale::Linear)
            .y("share of wrong answers", Scale::Linear)
            .series("training pictures", by_epoch(|e| e.train_wrong), Stroke::Line)
            .series("test pictures", by_epoch(|e| e.test_wrong), Stroke::Line);
        let rate = LineChart::new("Learning rate").x("step", Scale::Linear).y("learning rate", Scale::Linear).series(
            "rate",
            by_step(&self.learning_rate),
            Stroke::Line,
        );
        section.beside([
            (Figure::Lines(&wrong), "Wrong answers after each pass."),
            (Figure::Lines(&rate), "The schedule: warm-up on a line, then half a cosine."),
        ]);
        self.render_mistakes(section);
    }

    fn headline(&self) -> (String, String) {
        let right = self.epochs.last().map_or(f64::NAN, |e| e.test_accuracy);
        (percent(right), "of unseen digits read right".into())
    }

    fn summary(&self) -> Vec<String> {
        let losses: Vec<f64> = self.epochs.iter().map(|e| e.train_loss).collect();
        let Some(last) = self.epochs.last() else { return Vec::new() };
        vec![
            format!("{} parameters, {} steps of AdamW", self.parameters, self.batch_loss.len()),
            format!(
                "loss {} {}, {} of {} unseen digits wrong ({} right)",
                sparkline(&losses, 24),
                three(last.train_loss),
                self.mistakes,
                self.test,
                percent(last.test_accuracy)
            ),
        ]
    }
}

impl Training {
    fn render_mistakes(&self, section: &mut Section) {
        let names = || (0..CLASSES).map(|c| c.to_string());
        let counts = self.confusion.iter().flatten().map(|&n| n as f64).collect();
        if let Some(map) =
            HeatMap::new("What it said about each test picture", CLASSES, CLASSES, counts, HeatScale::Amount)
        {
            let map =
                map.with_labels(names(), names()).with_axes("the picture shows", "the network says").with_values(0);
            section.heat(
                &map,
                format!(
                    "Counts of test pictures. A perfect reader would fill the diagonal only; {} of {} lie beside it.",
                    self.mistakes, self.test
                ),
            );
        }
        if self.shown.is_empty() {
            section.prose("It made no mistake on the test pictures.");
            return;
        }
        let mut images = Images::new("Its surest mistakes").side(84.0);
        for m in &self.shown {
            let label = format!("{}, said {} ({:.0} %)", m.shows, m.said, 100.0 * m.sure);
            images = images.tile(SIDE, m.pixels.clone(), label);
        }
        section.images(
            &images,
            "Test pictures that the network got wrong, those first of which it was surest: what they show, what it said, \
             and how sure it was.",
        );
    }
}
