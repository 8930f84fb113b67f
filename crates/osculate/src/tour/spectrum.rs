//! The curvature spectrum before and after training: extreme eigenvalues, the whole spectrum, the price of a product.
//!
//! A few eigenvalues of the Hessian of a trained classifier stand far above the rest (arXiv:1706.04454); in the
//! Gauss-Newton matrix about as many as there are classes, which are the class means of its cross-class gradients
//! (arXiv:1901.08244).

use super::Error;
use super::chapter::Chapter;
use super::fit::Objective;
use super::study::{Study, dense, dot, norm, product, times};
use super::words::{error, percent, plural, three, time};
use crate::data::CLASSES;
use crate::plot::{BarChart, Figure, LineChart, Scale, Section, Stroke, Table};
use curvature::{CurvatureOperator, Risk};
use linop_core::LinearOperator;
use linop_core::krylov::{Eigenpairs, EigshOptions, Multiplicities, Which, eigsh};
use numerics::Mat;
use numerics::dense::eigvalsh;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Bars of the histogram of the whole spectrum.
const BINS: usize = 90;
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
        let (start, _) = point(study, &before, &hessian_start, &ggn_start, k, "at the start")?;
        let (at_end, pairs) = point(study, &after, &hessian, &ggn, k, "trained")?;
        let v = study.unit(0);
        let top: Vec<f64> = (0..pairs.vectors.nrows()).map(|i| pairs.vectors[(i, k)]).collect();
        let apart = |h: &CurvatureOperator<f64>, g: &CurvatureOperator<f64>, v: &[f64]| -> Result<f64, Error> {
            let (h, g) = (times(h, v, study.par)?, times(g, v, study.par)?);
            Ok(norm(&h.iter().zip(&g).map(|(h, g)| h - g).collect::<Vec<_>>()) / norm(&h))
        };
        let (symmetry, finite_difference, step) = check(study, &hessian, &trained)?;
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
            whole.push(spectrum(study, &hessian_start, "at the start", &start.hessian)?);
            whole.push(spectrum(study, &hessian, "trained", &at_end.hessian)?);
        }
        let timing = measure(study, &hessian, &ggn, &trained)?;
        let (data, parameters) = (study.settings.curvature_data, trained.len());
        study.top = Some(upper(pairs, k));
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

impl Spectrum {
    fn cards(&self, section: &mut Section) {
        let first = |v: &[f64]| v.first().copied().unwrap_or(f64::NAN);
        section.cards([
            (three(first(&self.start.hessian.largest)), "largest eigenvalue of the Hessian at the start".to_owned()),
            (three(first(&self.trained.hessian.largest)), "after training".to_owned()),
            (three(first(&self.trained.hessian.smallest)), "smallest, after training".to_owned()),
            (
                format!("{}×", three(self.timing.hessian_gradients)),
                "the time of a gradient for one Hessian product".to_owned(),
            ),
        ]);
    }

    fn extremes(&self, section: &mut Section) {
        let ranked = |v: &[f64]| v.iter().enumerate().map(|(i, &x)| ((i + 1) as f64, x)).collect::<Vec<_>>();
        let chart = LineChart::new("The largest eigenvalues")
            .x("rank", Scale::Linear)
            .y("eigenvalue", Scale::Log)
            .series("Hessian, start", ranked(&self.start.hessian.largest), Stroke::Dashed)
            .series("Hessian, trained", ranked(&self.trained.hessian.largest), Stroke::Solid)
            .series("Gauss–Newton, trained", ranked(&self.trained.ggn.largest), Stroke::Points);
        section.lines(
            &chart,
            "Eigenvalues by rank, on a logarithmic axis. Where the points of the Gauss–Newton matrix sit on the line of the \
             Hessian, the network's own bending plays no part.",
        );
        let (h, g) = (&self.trained.hessian.largest, &self.trained.ggn.largest);
        let c = self.classes;
        let mut text = format!(
            "**What one expects:** about as many outliers as there are classes, here C = {c}. In the Gauss–Newton matrix they \
             come from the C ways of pushing one class's score against the others, averaged over the pictures of a class \
             (arXiv:1901.08244); since only differences of scores matter, often C − 1 remain.\n\n"
        );
        if let (Some((i, ratio)), Some((j, other))) = (gap(h), gap(g)) {
            text += &format!(
                "**What is here:** among the first {} eigenvalues the widest relative step comes after number {i} of the \
                 Hessian (a factor of {}) and after number {j} of the Gauss–Newton matrix (a factor of {}). ",
                h.len(),
                three(ratio),
                three(other)
            );
            if let (Some(a), Some(b)) = (h.get(c - 2), h.get(c - 1)) {
                text += &format!(
                    "From number {} to number {c} the Hessian's falls from {} to {}. ",
                    c - 1,
                    three(*a),
                    three(*b)
                );
            }
            text += if (c - 2..=c).contains(&i) && ratio > 1.5 {
                "That is what the theory says, on a small scale."
            } else {
                "So the outliers fade into the bulk more than they stand apart from it. The theory promises a clear gap only \
                 where all pictures of a class push alike; the chapter on where curvature lives looks at how far they do."
            };
        }
        section.prose(text);
        let row = |name: &str, loss: &Point, e: &Ends| {
            let at = |v: &[f64]| v.first().map_or_else(|| "–".to_owned(), |&x| three(x));
            let state = if e.converged { error(e.residual) } else { format!("{} (not converged)", error(e.residual)) };
            vec![name.to_owned(), three(loss.loss), at(&e.largest), at(&e.smallest), e.products.to_string(), state]
        };
        section.table(
            Table::new(["matrix, point", "loss", "largest", "smallest", "products", "worst residual"])
                .row(row("Hessian, start", &self.start, &self.start.hessian))
                .row(row("Hessian, trained", &self.trained, &self.trained.hessian))
                .row(row("Gauss–Newton, start", &self.start, &self.start.ggn))
                .row(row("Gauss–Newton, trained", &self.trained, &self.trained.ggn)),
        );
    }

    fn histograms(&self, section: &mut Section) {
        let (Some(start), Some(trained)) = (self.whole.first(), self.whole.get(1)) else { return };
        let steps = |w: &Whole| -> Vec<(f64, f64)> {
            let ends = w.counts.iter().copied().chain([0.0]);
            w.edges.iter().copied().zip(ends.map(|n| if n > 0.0 { n } else { f64::NAN })).collect()
        };
        let bars = |w: &Whole| -> Vec<(f64, f64)> {
            // A bar for every bin that holds something, with gaps between.
            steps(w).windows(2).flat_map(|p| [p[0], (p[1].0, p[0].1), (p[1].0, f64::NAN)]).collect()
        };
        let chart = |w: &Whole, title: &str| {
            LineChart::new(title).x("eigenvalue", Scale::Linear).y("how many", Scale::Log).series(
                "Hessian",
                bars(w),
                Stroke::Steps,
            )
        };
        section.prose(format!(
            "With {} parameters the matrix can still be written down, as a check and to see all of it. Almost all \
             eigenvalues crowd around zero: directions in which the loss hardly changes. The largest {} hold {} of the sum \
             of all magnitudes at the start and {} after training; {} of {} eigenvalues are negative.",
            self.parameters,
            self.classes,
            percent(start.top_share),
            percent(trained.top_share),
            trained.negative,
            self.parameters
        ));
        let (before, after) =
            (chart(start, "All eigenvalues at the start"), chart(trained, "All eigenvalues, trained"));
        section.beside([
            (Figure::Lines(&before), "Histogram of the whole spectrum at the random start.".to_owned()),
            (
                Figure::Lines(&after),
                format!(
                    "The same after training: a tall bulk at zero, and single eigenvalues far to the right of it. The \
                     extreme ones agree with those of the search to {} of the largest.",
                    error(trained.difference)
                ),
            ),
        ]);
    }

    fn costs(&self, section: &mut Section) {
        let t = &self.timing;
        let chart = BarChart::new("What a product costs", "time, in gradients", Scale::Linear)
            .bar("gradient", 1.0, None)
            .bar("Hessian", t.hessian_gradients, None)
            .bar(format!("Hessian, one of {BLOCK}"), t.hessian_block_gradients, None)
            .bar("Gauss–Newton", t.ggn_gradients, None);
        section.bars(
            &chart,
            format!(
                "The shortest of {} rounds on this machine; one of {BLOCK} means that so many vectors are multiplied at once. A gradient of the loss on {} takes {}; the forward pass that all products share \
                 is paid once and not counted.",
                t.rounds,
                plural(self.data, "picture"),
                time(t.gradient_seconds)
            ),
        );
        let c = &self.checks;
        section.prose("Should you believe these numbers? Three checks, each of which could have failed:").table(
            Table::new(["check", "relative error"])
                .row(["`u·Hv = v·Hu` for two random vectors".to_owned(), error(c.symmetry)])
                .row([
                    format!("`Hv` against differences of gradients (step {})", error(c.step)),
                    error(c.finite_difference),
                ])
                .row(["eigenpairs: the worst residual of the table above".to_owned(), {
                    let all = [&self.start.hessian, &self.trained.hessian, &self.start.ggn, &self.trained.ggn];
                    let worst = |e: &&Ends| e.residual / e.largest.first().copied().unwrap_or(1.0);
                    error(all.iter().map(worst).fold(0.0, f64::max))
                }]),
        );
        section.prose(format!(
            "And how much does Gauss–Newton leave out? Along a random direction the two products differ by {} at the start \
             and by {} after training; along the top eigenvector of the trained Hessian by {}.",
            percent(c.ggn_start),
            percent(c.ggn_trained),
            percent(c.ggn_top)
        ));
    }
}

/// Number and size of the widest relative step between successive eigenvalues.
fn gap(values: &[f64]) -> Option<(usize, f64)> {
    let ratio = |w: &[f64]| if w[1] > 0.0 { w[0] / w[1] } else { 0.0 };
    values.windows(2).map(ratio).enumerate().map(|(i, r)| (i + 1, r)).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Loss, gradient and extreme eigenvalues; the pairs are those of the Hessian, `k` smallest, then `k` largest.
fn point(
    study: &Study<'_>,
    risk: &Risk<f64>,
    hessian: &CurvatureOperator<f64>,
    ggn: &CurvatureOperator<f64>,
    k: usize,
    name: &str,
) -> Result<(Point, Eigenpairs<f64>), Error> {
    let (loss, gradient) = risk.value_and_gradient()?;
    let pairs = search(study, hessian, k, Which::Both, &format!("eigenvalues of the Hessian {name}"))?;
    let top = search(study, ggn, k, Which::Largest, &format!("eigenvalues of Gauss–Newton {name}"))?;
    let ends = |e: &Eigenpairs<f64>, largest: Vec<f64>, smallest: Vec<f64>| Ends {
        largest,
        smallest,
        residual: e.report.residuals.iter().copied().fold(0.0, f64::max),
        products: e.report.products,
        converged: e.report.converged,
        probed: e.report.multiplicities != Multiplicities::Unverified,
    };
    let point = Point {
        loss,
        gradient_norm: norm(&gradient),
        hessian: ends(&pairs, pairs.values[k..].to_vec(), pairs.values[..k].to_vec()),
        ggn: ends(&top, top.values.clone(), Vec::new()),
    };
    Ok((point, pairs))
}

fn search(
    study: &Study<'_>,
    op: &CurvatureOperator<f64>,
    k: usize,
    which: Which,
    task: &str,
) -> Result<Eigenpairs<f64>, Error> {
    study.tell(task, 0, 0)?;
    let observer =
        |p: &numerics::progress::Progress<'_>| study.observer.report(&numerics::progress::Progress { task, ..*p });
    let options = EigshOptions { seed: study.settings.seed, observer: Some(&observer), ..EigshOptions::default() };
    let found = eigsh(op, k, which, &options, study.par)?;
    if found.report.interrupted { Err(numerics::Error::Interrupted.into()) } else { Ok(found) }
}

/// The largest `k` of `k` smallest and `k` largest.
fn upper(pairs: Eigenpairs<f64>, k: usize) -> Eigenpairs<f64> {
    let n = pairs.vectors.nrows();
    let vectors = Mat::from_fn(n, k, |i, j| pairs.vectors[(i, k + j)]);
    Eigenpairs { values: pairs.values[k..].to_vec(), vectors, ..pairs }
}

/// Symmetry, agreement with differences of gradients, and their step.
fn check(study: &Study<'_>, hessian: &CurvatureOperator<f64>, at: &[f64]) -> Result<(f64, f64, f64), Error> {
    let (u, v, step) = (study.unit(1), study.unit(2), 1e-3);
    let (hu, hv) = (times(hessian, &u, study.par)?, times(hessian, &v, study.par)?);
    let symmetry = (dot(&u, &hv) - dot(&v, &hu)).abs() / norm(&hv);
    let sample = study.sample();
    let mut objective = Objective::with_gradient(&study.net, sample.len(), study.par)?;
    let mut gradient = |t: f64| -> Result<Vec<f64>, Error> {
        let there: Vec<f64> = at.iter().zip(&v).map(|(x, v)| x + t * v).collect();
        Ok(objective.evaluate(&there, &sample.inputs, &sample.labels)?.1)
    };
    let (ahead, behind) = (gradient(step)?, gradient(-step)?);
    let off = ahead.iter().zip(&behind).zip(&hv).map(|((a, b), h)| (a - b) / (2.0 * step) - h);
    Ok((symmetry, norm(&off.collect::<Vec<_>>()) / norm(&hv), step))
}

fn spectrum(study: &Study<'_>, op: &CurvatureOperator<f64>, name: &str, ends: &Ends) -> Result<Whole, Error> {
    let matrix = dense(op, study, &format!("whole Hessian {name}"))?;
    study.tell("eigenvalues of the dense matrix", 0, 0)?;
    let eigenvalues = eigvalsh(matrix.as_ref())?;
    let n = eigenvalues.len();
    let (low, high) = (eigenvalues[0].min(0.0), eigenvalues[n - 1].max(f64::MIN_POSITIVE));
    let width = (high - low) / BINS as f64;
    let mut counts = vec![0.0; BINS];
    for &x in &eigenvalues {
        counts[(((x - low) / width) as usize).min(BINS - 1)] += 1.0;
    }
    let magnitude = |v: &[f64]| v.iter().map(|x| x.abs()).sum::<f64>();
    let above = eigenvalues.iter().rev().zip(&ends.largest);
    let below = eigenvalues.iter().zip(&ends.smallest);
    Ok(Whole {
        point: name.into(),
        negative: eigenvalues.iter().filter(|&&x| x < 0.0).count(),
        top_share: magnitude(&eigenvalues[n.saturating_sub(CLASSES)..]) / magnitude(&eigenvalues),
        edges: (0..=BINS).map(|i| low + width * i as f64).collect(),
        counts,
        difference: above.chain(below).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / high,
        eigenvalues,
    })
}

/// Times of a gradient and of products, interleaved; the shortest of each, which other work on the machine disturbs least.
fn measure(
    study: &Study<'_>,
    hessian: &CurvatureOperator<f64>,
    ggn: &CurvatureOperator<f64>,
    at: &[f64],
) -> Result<Timing, Error> {
    // The same mini-batches as those of the products.
    let (n, size) = (study.settings.curvature_data, study.settings.curvature_batch);
    let batches: Vec<_> = (0..n).step_by(size).map(|i| i..(i + size).min(n)).collect();
    let mut whole = Objective::with_gradient(&study.net, size.min(n), study.par)?;
    let mut rest = Objective::with_gradient(&study.net, batches.last().map_or(1, ExactSizeIterator::len), study.par)?;
    let mut gradient_of_all = || -> Result<(), Error> {
        for rows in &batches {
            let objective = if rows.len() == size.min(n) { &mut whole } else { &mut rest };
            objective.evaluate(at, study.train.pixels(rows.clone()), &study.train.labels[rows.clone()])?;
        }
        Ok(())
    };
    let v = study.unit(3);
    let block = Mat::from_fn(hessian.nrows(), BLOCK, |i, j| v[(i + j) % v.len()]);
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for repeat in 0..=study.settings.repeats {
        study.tell("timing", repeat, study.settings.repeats)?;
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        gradient_of_all()?;
        let gradient = lap();
        times(hessian, &v, study.par)?;
        let h = lap();
        times(ggn, &v, study.par)?;
        let g = lap();
        product(hessian, block.as_ref(), study.par)?;
        let b = lap();
        // The first round warms up caches and compiles the block.
        if repeat > 0 {
            seconds.iter_mut().zip([gradient, h, g, b / BLOCK as f64]).for_each(|(list, s)| list.push(s));
        }
    }
    let [gradient_seconds, hessian_seconds, ggn_seconds, hessian_block_seconds] = seconds.map(least);
    Ok(Timing {
        rounds: study.settings.repeats,
        gradient_seconds,
        hessian_seconds,
        ggn_seconds,
        hessian_block_seconds,
        hessian_gradients: hessian_seconds / gradient_seconds,
        ggn_gradients: ggn_seconds / gradient_seconds,
        hessian_block_gradients: hessian_block_seconds / gradient_seconds,
    })
}

fn least(list: Vec<f64>) -> f64 {
    list.into_iter().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_step_is_relative() {
        assert_eq!(gap(&[100.0, 50.0, 5.0, 4.0]), Some((2, 10.0)));
        assert_eq!(gap(&[1.0]), None);
        assert_eq!(gap(&[1.0, -1.0]), Some((1, 0.0)));
    }
}
