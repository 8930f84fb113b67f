//! Where curvature lives: the top eigenvectors by layer, what they do to the scores, and how much of the gradient they hold.
//!
//! Gradients of a trained classifier lie for a large part in the space of its top eigenvectors (arXiv:1812.04754).

use super::Error;
use super::chapter::Chapter;
use super::fit::{Objective, Slope};
use super::study::{Study, norm};
use super::words::{percent, plural, three};
use crate::data::CLASSES;
use crate::plot::{HeatMap, HeatScale, LineChart, Scale, Section, Stroke};
use linop_core::krylov::Eigenpairs;
use serde::{Deserialize, Serialize};

/// Eigenvectors shown one by one.
const SHOWN: usize = 10;

/// Eigenvectors by parameter tensor and by class.
#[derive(Serialize, Deserialize)]
pub(super) struct Layers {
    /// Name and size of each tensor.
    tensors: Vec<(String, usize)>,
    /// Share of the parameters that each tensor has.
    share: Vec<f64>,
    eigenvalues: Vec<f64>,
    /// Share of the squared entries of eigenvector `i` in tensor `j`, row by row.
    mass: Vec<f64>,
    /// How much each class's score rises per unit of distance along eigenvector `i`: mean over the pictures, less the mean
    /// over the classes, row by row.
    pushes: Vec<f64>,
    /// Share of the squared rises of single pictures that this mean explains, for each eigenvector.
    explained: Vec<f64>,
    /// Mean share of the squared mini-batch gradient in the span of the first `i + 1` eigenvectors.
    captured: Vec<f64>,
    /// What a random vector would have there.
    expected: Vec<f64>,
    batches: usize,
    batch: usize,
}

impl Chapter for Layers {
    const NAME: &'static str = "layers";
    const TITLE: &'static str = "Where curvature lives";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let top = study.top()?;
        let (p, k) = (top.vectors.nrows(), top.vectors.ncols());
        let params = study.net.params();
        let tensors: Vec<(String, usize)> = params.iter().map(|t| (t.name().to_owned(), t.numel())).collect();
        let mut mass = Vec::with_capacity(k * tensors.len());
        for i in 0..k {
            for t in params.iter() {
                mass.push(t.range().map(|r| top.vectors[(r, i)].powi(2)).sum());
            }
        }
        let (pushes, explained) = pushes(study, top)?;
        Ok(Layers {
            share: tensors.iter().map(|t| t.1 as f64 / p as f64).collect(),
            tensors,
            eigenvalues: top.values.clone(),
            mass,
            pushes,
            explained,
            captured: captured(study, top)?,
            expected: (1..=k).map(|i| i as f64 / p as f64).collect(),
            batches: study.train.len() / study.settings.batch,
            batch: study.settings.batch,
        })
    }

    fn render(&self, section: &mut Section) {
        section.prose(
            "An eigenvector of the Hessian is a direction in the space of all parameters at once. Which layers does it move? \
             The square of its entries, summed over a tensor, says how much of it lies there.",
        );
        self.render_tensors(section);
        self.render_pushes(section);
        self.render_captured(section);
    }

    fn headline(&self) -> (String, String) {
        let (shown, all) = (self.shown(), self.parameters());
        let captured = shown.checked_sub(1).and_then(|i| self.captured.get(i)).copied().unwrap_or(f64::NAN);
        (percent(captured), format!("of a gradient in {shown} of {all} directions"))
    }

    fn summary(&self) -> Vec<String> {
        let k = CLASSES.min(self.captured.len());
        let Some(c) = k.checked_sub(1).and_then(|i| self.captured.get(i)) else { return Vec::new() };
        vec![format!("{} of a gradient lies in the top {k} eigenvectors", percent(*c))]
    }
}

impl Layers {
    fn parameters(&self) -> usize {
        self.tensors.iter().fold(0, |n, t| t.1.saturating_add(n))
    }

    fn shown(&self) -> usize {
        self.eigenvalues.len().min(SHOWN)
    }

    fn render_tensors(&self, section: &mut Section) {
        let (shown, tensors) = (self.shown(), self.tensors.len());
        let columns = self.tensors.iter().map(|t| t.0.clone());
        let rows = (1..=shown).map(|i| i.to_string()).chain(["fair share".to_owned()]);
        let cells = self.mass.iter().take(shown * tensors).chain(&self.share).map(|x| 100.0 * x).collect();
        let title = "Top eigenvectors by tensor, %";
        if let Some(map) = HeatMap::new(title, shown + 1, tensors, cells, HeatScale::Amount) {
            let map =
                map.with_labels(rows, columns).with_axes("eigenvector", "tensor").with_values(0).with_limit(100.0);
            section.heat(
                &map,
                "Per cent of each eigenvector in each tensor. The last row is what the tensor would have if eigenvectors \
                 were spread evenly over all parameters.",
            );
        }
        let mean = |t: usize| self.mass.iter().skip(t).step_by(tensors).take(shown).sum::<f64>() / shown as f64;
        let fair = |t: usize| self.share.get(t).copied().unwrap_or(f64::NAN);
        let dense = |t: &usize| mean(*t) / fair(*t);
        if let Some(t) = (0..tensors).max_by(|a, b| dense(a).total_cmp(&dense(b))) {
            section.prose(format!(
                "For its size, `{}` weighs most: it has {} of the parameters and {} of the first {shown} eigenvectors, {} \
                 times its fair share.",
                self.tensors[t].0,
                percent(fair(t)),
                percent(mean(t)),
                three(dense(&t))
            ));
        }
    }

    fn render_pushes(&self, section: &mut Section) {
        let shown = self.shown();
        let rows = (1..=shown).map(|i| i.to_string());
        let columns = (0..CLASSES).map(|c| c.to_string());
        section.prose(
            "And what does a step along an eigenvector do to the answers? It raises the scores of some digits and lowers \
             those of others.",
        );
        let title = "What each eigenvector pushes";
        if let Some(map) = HeatMap::new(title, shown, CLASSES, self.pushes.clone(), HeatScale::Diverging) {
            let map = map.with_labels(rows, columns).with_axes("eigenvector", "score of the digit").with_values(1);
            section.heat(
                &map,
                "Mean rise of each digit's score over the pictures, per unit of distance (what all scores have in common is \
                 taken out). Red up, blue down; the sign of a row as a whole is a convention.",
            );
        }
        let explained = self.explained.iter().sum::<f64>() / self.explained.len().max(1) as f64;
        section.prose(format!(
            "These are the pushes of one class against others that the outliers are made of. They are the same for every \
             picture only in part: on average over these eigenvectors, the mean accounts for {} of the squared rises of \
             single pictures.",
            percent(explained)
        ));
    }

    fn render_captured(&self, section: &mut Section) {
        let ranked = |v: &[f64]| v.iter().enumerate().map(|(i, &x)| ((i + 1) as f64, x)).collect::<Vec<_>>();
        let chart = LineChart::new("How much of a gradient lies in the top eigenspace")
            .x("number of eigenvectors", Scale::Linear)
            .y("share of the squared gradient", Scale::Linear)
            .series("mini-batch gradients", ranked(&self.captured), Stroke::Solid)
            .series("a random vector", ranked(&self.expected), Stroke::Dashed);
        let (batches, pictures) = (self.batches, plural(self.batch, "picture"));
        section.lines(&chart, format!("Mean over {batches} mini-batches of {pictures} at the trained point."));
        let shown = self.shown();
        let last = shown.saturating_sub(1);
        if let (Some(c), Some(e)) = (self.captured.get(last), self.expected.get(last)) {
            section.prose(format!(
                "The first {shown} of {} directions hold {} of a gradient's squared length, where chance would put {}: the \
                 noise of training lives mostly in the few directions in which the loss bends most.",
                self.parameters(),
                percent(*c),
                percent(*e)
            ));
        }
    }
}

/// For the first eigenvectors: mean rises of the scores, and the share of all squared rises that they explain.
fn pushes(study: &Study<'_>, top: &Eigenpairs<f64>) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (p, shown) = (top.vectors.nrows(), top.vectors.ncols().min(SHOWN));
    let (sample, at) = (study.sample(), study.trained()?);
    let mut slope = Slope::new(&study.net, sample.len(), study.par)?;
    let (mut pushes, mut explained) = (Vec::new(), Vec::new());
    for i in 0..shown {
        study.tell("scores along eigenvectors", i, shown)?;
        let v: Vec<f64> = (0..p).map(|r| top.vectors[(r, i)]).collect();
        let rises = centred(slope.along(at, &sample.inputs, &v)?);
        let n = sample.len() as f64;
        let mean: Vec<f64> = (0..CLASSES).map(|c| rises.iter().skip(c).step_by(CLASSES).sum::<f64>() / n).collect();
        explained.push(n * norm(&mean).powi(2) / norm(&rises).powi(2).max(f64::MIN_POSITIVE));
        pushes.extend(upright(mean));
    }
    Ok((pushes, explained))
}

/// Mean shares of the squared mini-batch gradient in the spans of the first 1, 2, .. eigenvectors.
fn captured(study: &Study<'_>, top: &Eigenpairs<f64>) -> Result<Vec<f64>, Error> {
    let (batch, batches) = (study.settings.batch, study.train.len() / study.settings.batch);
    let mut objective = Objective::with_gradient(&study.net, batch, study.par)?;
    let mut captured = vec![0.0; top.vectors.ncols()];
    for b in 0..batches {
        study.tell("gradients of mini-batches", b, batches)?;
        let rows = b * batch..(b + 1) * batch;
        let (pixels, labels) = (study.train.pixels(rows.clone()), &study.train.labels[rows]);
        let (_, g) = objective.evaluate(study.trained()?, pixels, labels)?;
        let (length, mut inside) = (norm(&g).powi(2).max(f64::MIN_POSITIVE), 0.0);
        for (i, share) in captured.iter_mut().enumerate() {
            inside += g.iter().enumerate().map(|(r, g)| top.vectors[(r, i)] * g).sum::<f64>().powi(2);
            *share += inside / length / batches as f64;
        }
    }
    Ok(captured)
}

/// Scores `[N, C]` less the mean over the classes of each picture.
fn centred(mut scores: Vec<f64>) -> Vec<f64> {
    for row in scores.chunks_exact_mut(CLASSES) {
        let mean = row.iter().sum::<f64>() / CLASSES as f64;
        row.iter_mut().for_each(|x| *x -= mean);
    }
    scores
}

/// The sign that makes the largest entry positive.
fn upright(v: Vec<f64>) -> Vec<f64> {
    let top = v.iter().copied().fold(0.0f64, |m, x| if x.abs() > m.abs() { x } else { m });
    if top < 0.0 { v.iter().map(|x| -x).collect() } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_entry_is_positive() {
        assert_eq!(upright(vec![1.0, -3.0, 2.0]), [-1.0, 3.0, -2.0]);
        assert_eq!(upright(vec![1.0, 3.0]), [1.0, 3.0]);
    }

    #[test]
    fn a_common_rise_is_no_push() {
        assert!(centred(vec![3.0; 2 * CLASSES]).iter().all(|&x| x == 0.0));
    }
}
