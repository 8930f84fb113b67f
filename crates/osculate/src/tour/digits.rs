//! The data: handwritten digits, what they look like, and how they are divided.

use super::Error;
use super::chapter::Chapter;
use super::study::Study;
use crate::data::{CLASSES, PIXELS};
use crate::plot::{Images, Section, Table};
use serde::{Deserialize, Serialize};

const SIDE: usize = 8;
const PER_CLASS: usize = 3;

/// Counts, samples and class means of the digits.
#[derive(Serialize, Deserialize)]
pub(super) struct Digits {
    total: usize,
    train: usize,
    test: usize,
    /// Training and test pictures of each class.
    train_counts: Vec<usize>,
    test_counts: Vec<usize>,
    /// The first training pictures of each class, grey values from 0 to 1, class by class.
    samples: Vec<Picture>,
    /// Mean training picture of each class.
    means: Vec<Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
struct Picture {
    label: usize,
    pixels: Vec<f64>,
}

impl Chapter for Digits {
    const NAME: &'static str = "digits";
    const TITLE: &'static str = "The data: handwritten digits";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let count = |labels: &[i64]| -> Vec<usize> {
            (0..CLASSES as i64).map(|c| labels.iter().filter(|&&y| y == c).count()).collect()
        };
        let train = &study.train;
        let of_class = |c: usize| (0..train.len()).filter(move |&i| train.labels[i] == c as i64);
        let samples = (0..PER_CLASS * CLASSES)
            .filter_map(|k| {
                let label = k % CLASSES;
                let i = of_class(label).nth(k / CLASSES)?;
                Some(Picture { label, pixels: train.pixels(i..i + 1).to_vec() })
            })
            .collect();
        let mean = |c: usize| {
            let n = of_class(c).count().max(1) as f64;
            (0..PIXELS).map(|p| of_class(c).map(|i| train.inputs[i * PIXELS + p]).sum::<f64>() / n).collect()
        };
        Ok(Digits {
            total: study.digits.len(),
            train: train.len(),
            test: study.test.len(),
            train_counts: count(&train.labels),
            test_counts: count(&study.test.labels),
            samples,
            means: (0..CLASSES).map(mean).collect(),
        })
    }

    fn render(&self, section: &mut Section) {
        let Digits { total, train, test, .. } = self;
        let mut samples = Images::new("Pictures to train on").side(54.0);
        for p in &self.samples {
            samples = samples.tile(SIDE, p.pixels.clone(), p.label.to_string());
        }
        let mut means = Images::new("The average of each class").side(54.0);
        for (c, mean) in self.means.iter().enumerate() {
            means = means.tile(SIDE, mean.clone(), c.to_string());
        }
        let row = |name: &str, counts: &[usize]| {
            let total = counts.iter().fold(0usize, |n, c| n.saturating_add(*c));
            let cells = counts.iter().chain([&total]).map(usize::to_string);
            std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let header = std::iter::once("digit".to_owned()).chain((0..CLASSES).map(|c| c.to_string()));
        section
            .prose(format!(
                "{total} digits, written by 13 people and scanned in the 1990s, come with the program: pictures of {SIDE} × \
                 {SIDE} pixels with 17 shades each. They are small enough that everything below takes minutes on a \
                 laptop, and real enough to be mistaken now and then, by a network and by you."
            ))
            .images(
                &samples,
                format!("The first {PER_CLASS} training pictures of each digit. A cell is one pixel."),
            )
            .prose(format!(
                "A shuffle that depends on the seed alone puts {train} pictures aside to learn from and {test} to be \
                 tested on. The network never sees the second group while it learns."
            ))
            .table(
                Table::new(header.chain(["all".to_owned()]))
                    .row(row("to learn", &self.train_counts))
                    .row(row("to test", &self.test_counts)),
            )
            .images(
                &means,
                "The mean of the training pictures of each digit: what a machine would remember that only ever saw averages.",
            )
            .note(
                "Source: test part of “Optical Recognition of Handwritten Digits” by E. Alpaydin and C. Kaynak (1998), UCI \
                 Machine Learning Repository, taken from scikit-learn 1.9.1. Licence of the data according to UCI: CC BY \
                 4.0. Details are in `docs/data.md`.",
            );
    }

    fn headline(&self) -> (String, String) {
        (self.total.to_string(), "handwritten digits, one network".into())
    }

    fn summary(&self) -> Vec<String> {
        vec![format!("{} pictures of 8 × 8: {} to learn from, {} to be tested on", self.total, self.train, self.test)]
    }
}
