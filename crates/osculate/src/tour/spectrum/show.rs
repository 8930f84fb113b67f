//! The spectrum as text, figures and tables.

use super::{BLOCK, Ends, Point, Spectrum, Whole};
use crate::plot::{BarChart, Figure, LineChart, Scale, Section, Stroke, Table};
use crate::tour::words::{error, percent, plural, three, time};

impl Spectrum {
    pub(super) fn cards(&self, section: &mut Section) {
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

    pub(super) fn extremes(&self, section: &mut Section) {
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
            if let (Some(a), Some(b)) = (h.get(c.wrapping_sub(2)), h.get(c.wrapping_sub(1))) {
                text += &format!(
                    "From number {} to number {c} the Hessian's falls from {} to {}. ",
                    c.saturating_sub(1),
                    three(*a),
                    three(*b)
                );
            }
            text += if (c.saturating_sub(2)..=c).contains(&i) && ratio > 1.5 {
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

    pub(super) fn histograms(&self, section: &mut Section) {
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

    pub(super) fn costs(&self, section: &mut Section) {
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
