//! The curvature spectrum before and after training: extreme eigenvalues, the whole spectrum, the price of a product.
//!
//! A few eigenvalues of the Hessian of a trained classifier stand far above the rest (arXiv:1706.04454); in the
//! Gauss-Newton matrix about as many as there are classes, which are the class means of its cross-class gradients
//! (arXiv:1901.08244).

mod cost;
mod search;
mod show;

use super::Error;
use super::chapter::Chapter;
use super::study::{Study, norm, times};
use super::words::{error, plural, three};
use crate::data::CLASSES;
use crate::plot::Section;
use curvature::CurvatureOperator;
use serde::{Deserialize, Serialize};

/// Columns of the block whose price is measured.
const BLOCK: usize = 8;

/// Eigenvalues, checks and costs.
#[derive(Serialize, Deserialize)]
pub(super) struct Spectrum {
    parameters: usize,
    data: usize,
    classes: usize,
    tolerance: f64,
    start: Point,
    trained: Point,
    /// Every eigenvalue of the Hessian, at the start and trained, if that was asked for.
    whole: Vec<Whole>,
    checks: Checks,
    timing: Timing,
}

/// What a point of the landscape looks like.
#[derive(Serialize, Deserialize)]
struct Point {
    loss: f64,
    gradient_norm: f64,
    hessian: Ends,
    ggn: Ends,
}

/// The result of one eigenvalue search.
#[derive(Serialize, Deserialize)]
struct Ends {
    /// Descending.
    largest: Vec<f64>,
    /// Ascending; empty if only the upper end was looked at.
    smallest: Vec<f64>,
    /// Largest residual `|A x - theta x|` of all pairs.
    residual: f64,
    products: usize,
    converged: bool,
    probed: bool,
}

#[derive(Serialize, Deserialize)]
struct Whole {
    point: String,
    /// Ascending.
    eigenvalues: Vec<f64>,
    negative: usize,
    /// Share of the sum of magnitudes that the largest `classes` have.
    top_share: f64,
    edges: Vec<f64>,
    counts: Vec<f64>,
    /// Largest difference to the extreme eigenvalues of the search, relative to the largest.
    difference: f64,
}

/// Relative errors that should be rounding or truncation errors.
#[derive(Serialize, Deserialize)]
struct Checks {
    /// `|u.Hv - v.Hu| / (|u| |Hv|)`.
    symmetry: f64,
    /// `|Hv - (g(+h v) - g(-h v)) / 2h| / |Hv|`.
    finite_difference: f64,
    step: f64,
    /// `|Hv - Gv| / |Hv|` for a random v, at the start and trained.
    ggn_start: f64,
    ggn_trained: f64,
    /// The same for the top eigenvector of the trained Hessian.
    ggn_top: f64,
}

/// The shortest of several rounds, in seconds.
#[derive(Serialize, Deserialize)]
struct Timing {
    rounds: usize,
    gradient_seconds: f64,
    hessian_seconds: f64,
    ggn_seconds: f64,
    /// Of one of several products at once.
    hessian_block_seconds: f64,
    /// The same as multiples of the gradient.
    hessian_gradients: f64,
    ggn_gradients: f64,
    hessian_block_gradients: f64,
}

impl Chapter for Spectrum {
    const NAME: &'static str = "spectrum";
    const TITLE: &'static str = "The spectrum of curvature";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let (net, k) = (study.net.clone(), study.settings.eigenvalues);
        let (initial, trained) = (study.initial.clone(), study.trained()?.to_vec());
        let before = study.risk(&net, &initial)?;
        let after = study.risk(&net, &trained)?;
        let (hessian_start, ggn_start) = (before.hessian()?, before.ggn()?);
        let (hessian, ggn) = (after.hessian()?, after.ggn()?);
        let (start, _) = search::point(study, &before, &hessian_start, &ggn_start, k, "at the start")?;
        let (at_end, pairs) = search::point(study, &after, &hessian, &ggn, k, "trained")?;
        let v = study.unit(0);
        let top: Vec<f64> = (0..pairs.vectors.nrows()).map(|i| pairs.vectors[(i, k)]).collect();
        let apart = |h: &CurvatureOperator<f64>, g: &CurvatureOperator<f64>, v: &[f64]| -> Result<f64, Error> {
            let (h, g) = (times(h, v, study.par)?, times(g, v, study.par)?);
            Ok(norm(&h.iter().zip(&g).map(|(h, g)| h - g).collect::<Vec<_>>()) / norm(&h))
        };
        let (symmetry, finite_difference, step) = search::check(study, &hessian, &trained)?;
        let checks = Checks {
            symmetry,
            finite_difference,
            step,
            ggn_start: apart(&hessian_start, &ggn_start, &v)?,
            ggn_trained: apart(&hessian, &ggn, &v)?,
            ggn_top: apart(&hessian, &ggn, &top)?,
        };
        let mut whole = Vec::new();
        if study.settings.whole_spectrum {
            whole.push(search::spectrum(study, &hessian_start, "at the start", &start.hessian)?.0);
            let (found, diagonal) = search::spectrum(study, &hessian, "trained", &at_end.hessian)?;
            whole.push(found);
            study.hessian_diagonal = Some(diagonal);
        }
        let timing = cost::measure(study, &after, &hessian, &ggn)?;
        let (data, parameters) = (study.settings.curvature_data, trained.len());
        study.top = Some(search::upper(pairs, k));
        Ok(Spectrum {
            parameters,
            data,
            classes: CLASSES,
            tolerance: 1e-10,
            start,
            trained: at_end,
            whole,
            checks,
            timing,
        })
    }

    fn render(&self, section: &mut Section) {
        let p = self.parameters;
        section
            .prose(format!(
                "Close to a point the loss is a paraboloid, and its shape is the **Hessian**: the {p} × {p} matrix of second \
                 derivatives. Its eigenvectors are the axes of the paraboloid, its eigenvalues say how sharply the loss \
                 bends along them: a large one is the wall of a gorge, one near zero is a direction in which nothing \
                 happens, a negative one is a slope that falls away to both sides. The **Gauss–Newton matrix** keeps the \
                 part of it that comes from the loss and leaves out the part that comes from the bending of the network \
                 itself; it has no negative eigenvalues."
            ))
            .prose(format!(
                "Neither matrix is written down. Both are known by their products with vectors, on {}, and Lanczos' method \
                 finds their extreme eigenvalues from those.",
                plural(self.data, "training picture")
            ));
        self.cards(section);
        self.extremes(section);
        self.histograms(section);
        self.costs(section);
    }

    fn headline(&self) -> (String, String) {
        let top = |p: &Point| p.hessian.largest.first().map_or_else(|| "–".to_owned(), |&x| three(x));
        (format!("{} → {}", top(&self.start), top(&self.trained)), "largest curvature, before and after".into())
    }

    fn summary(&self) -> Vec<String> {
        let t = &self.timing;
        let top = |p: &Point| p.hessian.largest.first().copied().unwrap_or(f64::NAN);
        vec![
            format!(
                "largest eigenvalue of the Hessian {} at the start, {} trained",
                three(top(&self.start)),
                three(top(&self.trained))
            ),
            format!(
                "a Hessian product costs {} gradients, a Gauss–Newton product {}",
                three(t.hessian_gradients),
                three(t.ggn_gradients)
            ),
            format!(
                "finite differences agree to {}, symmetry to {}",
                error(self.checks.finite_difference),
                error(self.checks.symmetry)
            ),
        ]
    }
}
