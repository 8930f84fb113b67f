//! The two curvature matrices of a small network, entry by entry.

use super::Error;
use super::chapter::Chapter;
use super::fit::fit;
use super::study::{Study, dense, small_perceptron};
use super::words::{layers, percent, plural, three};
use crate::plot::{Figure, HeatMap, HeatScale, LineChart, Scale, Section, Stroke};
use numerics::Mat;
use numerics::dense::eigvalsh;
use serde::{Deserialize, Serialize};

const DECADES: f64 = 5.0;

/// Hessian and Gauss-Newton matrix of a small trained network.
#[derive(Serialize, Deserialize)]
pub(super) struct Matrices {
    layers: Vec<String>,
    parameters: usize,
    data: usize,
    train_loss: f64,
    test_accuracy: f64,
    /// Parameter tensors: name and size, in order.
    blocks: Vec<(String, usize)>,
    /// Lower triangles, row by row: the Hessian, the Gauss-Newton matrix, and the first less the second.
    hessian: Vec<f64>,
    ggn: Vec<f64>,
    difference: Vec<f64>,
    /// Largest magnitude of an entry of the three.
    limit: f64,
    /// Shares of the squared entries by pairs of tensors, row by row.
    hessian_energy: Vec<f64>,
    difference_energy: Vec<f64>,
    /// Frobenius norm of the difference over that of the Hessian.
    relative_difference: f64,
    /// Magnitudes of the positive and of the negative eigenvalues, descending, without those that are rounding.
    hessian_positive: Vec<f64>,
    hessian_negative: Vec<f64>,
    ggn_positive: Vec<f64>,
}

impl Chapter for Matrices {
    const NAME: &'static str = "matrices";
    const TITLE: &'static str = "Two matrices, entry by entry";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let net = small_perceptron(study.settings.small_hidden)?;
        let fitted = fit(study, &net, &net.init(study.settings.seed), "training the small network")?;
        let risk = study.risk(&net, &fitted.params)?;
        let hessian = dense(&risk.hessian()?, study, "small Hessian")?;
        let ggn = dense(&risk.ggn()?, study, "small Gauss–Newton matrix")?;
        let n = hessian.nrows();
        let difference = Mat::from_fn(n, n, |i, j| hessian[(i, j)] - ggn[(i, j)]);
        let blocks: Vec<(String, usize)> = net.params().iter().map(|p| (p.name().to_owned(), p.numel())).collect();
        let (of_hessian, of_ggn) = (eigvalsh(hessian.as_ref())?, eigvalsh(ggn.as_ref())?);
        let zero = ROUNDING * of_hessian.iter().chain(&of_ggn).fold(0.0f64, |m, x| m.max(x.abs()));
        let square = |m: &Mat<f64>| -> f64 { (0..n * n).map(|k| m[(k / n, k % n)].powi(2)).sum() };
        let limit = (0..n * n).flat_map(|k| [&hessian, &ggn].map(|m| m[(k / n, k % n)].abs())).fold(0.0, f64::max);
        let last = fitted.epochs.last().ok_or(Error::Order { needed: "the small network" })?;
        Ok(Matrices {
            layers: net.layers().iter().map(ToString::to_string).collect(),
            parameters: n,
            data: study.settings.curvature_data,
            train_loss: last.train_loss,
            test_accuracy: last.test_accuracy,
            hessian_energy: energy(&hessian, &blocks),
            difference_energy: energy(&difference, &blocks),
            relative_difference: (square(&difference) / square(&hessian)).sqrt(),
            blocks,
            hessian: lower(&hessian),
            ggn: lower(&ggn),
            difference: lower(&difference),
            limit,
            hessian_positive: of_hessian.iter().rev().copied().filter(|&x| x > zero).collect(),
            hessian_negative: of_hessian.iter().filter(|&&x| x < -zero).map(|x| -x).collect(),
            ggn_positive: of_ggn.into_iter().rev().filter(|&x| x > zero).collect(),
        })
    }

    fn render(&self, section: &mut Section) {
        section.prose(format!(
            "To see a curvature matrix entry by entry, take a smaller network: {}. The pictures are first averaged down to \
             4 × 4 pixels, which leaves {} parameters, and it still reads {} of the test digits right.",
            layers(&self.layers),
            self.parameters,
            percent(self.test_accuracy)
        ));
        self.maps(section);
        let top = |v: &[f64]| v.first().map_or_else(|| "0".to_owned(), |&x| three(x));
        section.prose(format!(
            "The three pictures share one scale: red is positive, blue negative, and equal steps of colour are equal factors, \
             over {DECADES} powers of ten. The difference is {} of the Hessian, measured by the root of the sum of squares, \
             on {}. The largest eigenvalue is {} for the Hessian and {} for Gauss–Newton; the most negative one of the \
             Hessian is −{}. Left out of the figure are {} eigenvalues of the Hessian and {} of Gauss–Newton that are zero up \
             to rounding: directions in which nothing happens at all.",
            percent(self.relative_difference),
            plural(self.data, "training picture"),
            top(&self.hessian_positive),
            top(&self.ggn_positive),
            top(&self.hessian_negative),
            self.parameters.saturating_sub(self.hessian_positive.len() + self.hessian_negative.len()),
            self.parameters.saturating_sub(self.ggn_positive.len()),
        ));
        self.energies(section);
    }

    fn headline(&self) -> (String, String) {
        (percent(self.relative_difference), "of a small Hessian is not Gauss–Newton".into())
    }

    fn summary(&self) -> Vec<String> {
        vec![format!(
            "{} parameters: Gauss–Newton differs from the Hessian by {}",
            self.parameters,
            percent(self.relative_difference)
        )]
    }
}

impl Matrices {
    fn maps(&self, section: &mut Section) {
        let map = |title: &str, lower: &[f64]| {
            let scale = HeatScale::SignedLog { decades: DECADES };
            let full = mirrored(lower, self.parameters);
            HeatMap::new(title, self.parameters, self.parameters, full, scale)
                .map(|m| m.with_blocks(self.blocks.iter().cloned()).with_limit(self.limit))
        };
        let maps = [
            map("Hessian", &self.hessian),
            map("Gauss–Newton", &self.ggn),
            map("Hessian − Gauss–Newton", &self.difference),
        ];
        let spectra = self.spectra();
        if let [Some(h), Some(g), Some(d)] = &maps {
            section.beside([
                (
                    Figure::Heat(h),
                    "Second derivatives of the loss after training. One cell is one pair of parameters; lines separate the \
                     tensors named at the left, in the same order from left to right.",
                ),
                (
                    Figure::Heat(g),
                    "The part that comes from the loss. The chequered squares are pairs of hidden units: the 16 weights with \
                     which each unit sees the picture bend together, with one sign or the other.",
                ),
                (
                    Figure::Heat(d),
                    "What is left: the bending of the network, weighted with how wrong its answers are. A first-layer weight \
                     meets only its own hidden unit there, and the last layer not itself, since the output is linear in it.",
                ),
                (Figure::Lines(&spectra), "All eigenvalues of both matrices by rank, on a logarithmic axis."),
            ]);
        }
    }

    fn energies(&self, section: &mut Section) {
        let names = || self.blocks.iter().map(|b| b.0.clone());
        let table = |title: &str, shares: &[f64]| {
            let percents = shares.iter().map(|x| 100.0 * x).collect();
            HeatMap::new(title, self.blocks.len(), self.blocks.len(), percents, HeatScale::Amount)
                .map(|m| m.with_labels(names(), names()).with_values(1).with_limit(100.0))
        };
        let tables = [
            table("Energy of the Hessian, %", &self.hessian_energy),
            table("Energy of the difference, %", &self.difference_energy),
        ];
        if let [Some(h), Some(d)] = &tables {
            section.beside([
                (Figure::Heat(h), "Where the squares of the entries lie, by pairs of tensors, in per cent of all."),
                (Figure::Heat(d), "The same for what Gauss–Newton leaves out."),
            ]);
        }
    }

    fn spectra(&self) -> LineChart {
        let ranked = |v: &[f64]| v.iter().enumerate().map(|(i, &x)| ((i + 1) as f64, x)).collect::<Vec<_>>();
        LineChart::new("Eigenvalues")
            .x("rank", Scale::Linear)
            .y("magnitude", Scale::Log)
            .series("Hessian, positive", ranked(&self.hessian_positive), Stroke::Line)
            .series("Hessian, negative", ranked(&self.hessian_negative), Stroke::Dashed)
            .series("Gauss–Newton", ranked(&self.ggn_positive), Stroke::Line)
    }
}

/// Eigenvalues below this share of the largest are rounding: the matrix' own error is about its size times 1e-16.
const ROUNDING: f64 = 1e-13;

/// The lower triangle, row by row.
fn lower(m: &Mat<f64>) -> Vec<f64> {
    (0..m.nrows()).flat_map(|i| (0..=i).map(move |j| m[(i, j)])).collect()
}

/// The whole symmetric matrix of a lower triangle, row-major; nothing if the triangle has another size.
fn mirrored(lower: &[f64], n: usize) -> Vec<f64> {
    if n.checked_mul(n).and_then(|square| square.checked_add(n)) != Some(2 * lower.len()) {
        return Vec::new();
    }
    let at = |i: usize, j: usize| lower.get(i * (i + 1) / 2 + j).copied().unwrap_or(f64::NAN);
    (0..n * n).map(|k| at((k / n).max(k % n), (k / n).min(k % n))).collect()
}

/// Shares of the sum of squares by pairs of blocks, row by row.
fn energy(m: &Mat<f64>, blocks: &[(String, usize)]) -> Vec<f64> {
    let starts: Vec<usize> = blocks
        .iter()
        .scan(0, |at, b| {
            let start = *at;
            *at += b.1;
            Some(start)
        })
        .collect();
    let mut out = Vec::with_capacity(blocks.len() * blocks.len());
    for (&r, (_, height)) in starts.iter().zip(blocks) {
        for (&c, (_, width)) in starts.iter().zip(blocks) {
            let rows = r..r + height;
            out.push(rows.flat_map(|i| (c..c + width).map(move |j| m[(i, j)].powi(2))).sum::<f64>());
        }
    }
    let all: f64 = out.iter().sum();
    out.iter().map(|x| if all > 0.0 { x / all } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triangles_and_blocks() {
        let m = Mat::from_fn(3, 3, |i, j| (1 + i + j) as f64);
        let l = lower(&m);
        assert_eq!(l, [1.0, 2.0, 3.0, 3.0, 4.0, 5.0]);
        assert!(mirrored(&l, 4).is_empty() && mirrored(&l, usize::MAX).is_empty());
        assert_eq!(mirrored(&l, 3), [1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0]);
        let e = energy(&m, &[("a".into(), 2), ("b".into(), 1)]);
        let all = 93.0;
        assert_eq!(e, [18.0 / all, 25.0 / all, 25.0 / all, 25.0 / all]);
    }
}
