//! Low rank plus diagonal: what structure the curvature matrices have, seen through products alone.
//!
//! Spectral densities by Lanczos runs, and the joint fit of SketchLoRD (arXiv:2509.23587, our ADMM) against low rank alone,
//! diagonal alone, one after the other, the best by held-out probes, and two that are told the exact diagonal; each at the same
//! number of products and judged by the same fresh probes.

use super::Error;
use super::chapter::Chapter;
use super::study::Study;
use super::words::{error, percent, plural, three};
use crate::plot::{Figure, LineChart, Scale, Section, Stroke, Table};
use ::sketch::{
    DensityOptions, DiagonalMethod, DiagonalSource, Lord, LordOptions, Passes, Settings, certify, diagonal_only,
    diagonal_then_low, estimate_diagonal, low_only, low_then_diagonal, sketch_lord, sketch_lord_auto,
    spectral_densities,
};
use curvature::Fisher;
use linop_core::LinearOperator;
use serde::{Deserialize, Serialize};

/// Probes that judge a fit.
const PROBES: usize = 20;
/// Lanczos steps of a run, and runs.
const STEPS: usize = 30;
const RUNS: usize = 6;
/// Points of a density.
const POINTS: usize = 300;
/// Below this share of the top a density says nothing.
const FLOOR: f64 = 1e-6;

/// Spectral densities and residual energies of the Hessian and of the Gauss-Newton matrix at the trained point.
#[derive(Serialize, Deserialize)]
pub(super) struct Structure {
    parameters: usize,
    data: usize,
    probes: usize,
    matrices: Vec<Matrix>,
}

#[derive(Serialize, Deserialize)]
struct Matrix {
    name: String,
    /// `(eigenvalue, density)`, where there is any.
    density: Vec<(f64, f64)>,
    /// `(magnitude, density of its logarithm)`.
    log_density: Vec<(f64, f64)>,
    density_products: usize,
    /// Products of the fits.
    budgets: Vec<usize>,
    fits: Vec<Fits>,
    /// Rank of the joint fit at each budget.
    ranks: Vec<usize>,
}

/// One way to fit.
#[derive(Serialize, Deserialize)]
struct Fits {
    method: String,
    /// `|A - A_hat|^2 / |A|^2` at each budget.
    energies: Vec<f64>,
}

/// The methods of a fit, in the order in which they are shown.
const METHODS: [&str; 8] = [
    "joint",
    "low rank",
    "diagonal",
    "diagonal, then low rank",
    "low rank, then diagonal",
    "best of three",
    "exact diagonal, then low rank",
    "low rank, then exact diagonal",
];
/// The methods from here on are told the diagonal.
const TOLD: usize = 6;
/// Most probes that choose the best of three.
const HELD_OUT: usize = 10;

/// The fit of a method with so many products in all. Baselines in two parts give half of them to the diagonal, unless they are
/// told it; the choice among three pays for its own probes.
fn fit(
    method: &str,
    a: &dyn LinearOperator<f64>,
    m: usize,
    known: &[f64],
    settings: &Settings<'_>,
) -> Result<Lord, ::sketch::Error> {
    let one = LordOptions { passes: Passes::One, ..LordOptions::default() };
    let told = DiagonalSource::Oracle(known);
    match method {
        "low rank" => low_only(a, m / 2, settings),
        "diagonal" => diagonal_only(a, DiagonalSource::XDiag(m), settings),
        "diagonal, then low rank" => diagonal_then_low(a, m / 4, DiagonalSource::XDiag(m / 2), settings),
        "low rank, then diagonal" => low_then_diagonal(a, m / 4, DiagonalSource::XDiag(m / 2), settings),
        "best of three" => {
            let probes = HELD_OUT.min(m / 4);
            Ok(sketch_lord_auto(a, m - probes, probes, &one, settings)?.lord)
        }
        "exact diagonal, then low rank" => diagonal_then_low(a, m / 2, told, settings),
        "low rank, then exact diagonal" => low_then_diagonal(a, m / 2, told, settings),
        _ => sketch_lord(a, m, &one, settings),
    }
}

fn settings<'a>(study: &Study<'a>) -> Settings<'a> {
    Settings { par: study.par, observer: study.observer, ..Settings::seeded(study.settings.seed) }
}

/// The exact diagonal of the Hessian: that of the dense matrix if there was one, otherwise by as many products as parameters.
fn hessian_diagonal(study: &Study<'_>, a: &dyn LinearOperator<f64>) -> Result<Vec<f64>, Error> {
    if let Some(known) = &study.hessian_diagonal {
        return Ok(known.clone());
    }
    study.tell("diagonal of the Hessian", 0, 1)?;
    Ok(estimate_diagonal(a, DiagonalMethod::Hutchinson { ratio: false }, a.nrows(), &settings(study))?.value)
}

fn matrix(study: &Study<'_>, name: &str, a: &dyn LinearOperator<f64>, known: &[f64]) -> Result<Matrix, Error> {
    let settings = settings(study);
    let options =
        DensityOptions { steps: STEPS.min(a.nrows()), runs: RUNS, points: POINTS, ..DensityOptions::default() };
    let (linear, log) = spectral_densities(a, &options, &settings)?;
    let top = linear.density.iter().copied().fold(0.0, f64::max);
    let density = linear.grid.iter().copied().zip(linear.density.iter().copied());
    let budgets: Vec<usize> = study.settings.structure_products.iter().copied().filter(|&m| m <= a.nrows()).collect();
    let mut fits: Vec<Fits> = METHODS.iter().map(|m| Fits { method: (*m).to_owned(), energies: Vec::new() }).collect();
    let mut ranks = Vec::new();
    for (step, &m) in budgets.iter().enumerate() {
        study.tell(&format!("low rank plus diagonal: {name}"), step, budgets.len())?;
        for fits in &mut fits {
            let found = fit(&fits.method, a, m, known, &settings)?;
            fits.energies.push(certify(a, &found, PROBES, &settings)?.residual_energy());
            if fits.method == METHODS[0] {
                ranks.push(found.rank());
            }
        }
    }
    Ok(Matrix {
        name: name.to_owned(),
        density: density.filter(|p| p.1 > FLOOR * top).collect(),
        log_density: log.nu.into_iter().zip(log.density_log_nu).collect(),
        density_products: linear.products,
        budgets,
        fits,
        ranks,
    })
}

impl Chapter for Structure {
    const NAME: &'static str = "structure";
    const TITLE: &'static str = "Low rank plus diagonal";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let risk = study.risk(&study.net, study.trained()?)?;
        let (hessian, ggn) = (risk.hessian()?, risk.ggn()?);
        let known = (hessian_diagonal(study, &hessian)?, risk.fisher_diagonal(Fisher::Type2, study.par)?);
        let matrices =
            vec![matrix(study, "Hessian", &hessian, &known.0)?, matrix(study, "Gauss–Newton matrix", &ggn, &known.1)?];
        Ok(Structure { parameters: risk.dim(), data: study.settings.curvature_data, probes: PROBES, matrices })
    }

    fn render(&self, section: &mut Section) {
        section.prose(format!(
            "A matrix of {p} × {p} numbers that is known by its products alone can still be described: by how its eigenvalues are spread, and by a simple matrix close to it. Both are found from some dozens of products on {}, without ever writing the matrix down.",
            plural(self.data, "training picture"),
            p = self.parameters
        ));
        self.densities(section);
        self.energies(section);
    }

    fn headline(&self) -> (String, String) {
        let best = self.matrices.first().and_then(|m| Some((m.best()?, *m.budgets.last()?)));
        match best {
            Some(((_, energy), m)) => {
                (percent(1.0 - energy), format!("of the Hessian's energy from {}", plural(m, "product")))
            }
            None => ("–".into(), "of the Hessian from products".into()),
        }
    }

    fn summary(&self) -> Vec<String> {
        let line = |m: &Matrix| -> Option<String> {
            let (method, energy) = m.best()?;
            let products = plural(*m.budgets.last()?, "product");
            let joint = m.at_end(METHODS[0])?;
            Some(format!(
                "{}: from {products} {method} leaves {} of the energy, the joint fit {}",
                m.name,
                error(energy),
                error(joint)
            ))
        };
        self.matrices.iter().filter_map(line).collect()
    }
}

impl Matrix {
    /// The method with the least energy at the largest budget, of those that know products alone.
    fn best(&self) -> Option<(&str, f64)> {
        let last = |f: &'_ Fits| f.energies.last().copied();
        let all = self.fits.iter().take(TOLD).filter_map(|f| Some((f.method.as_str(), last(f)?)));
        all.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn at_end(&self, method: &str) -> Option<f64> {
        self.fits.iter().find(|f| f.method == method)?.energies.last().copied()
    }
}

impl Structure {
    fn densities(&self, section: &mut Section) {
        let mut linear =
            LineChart::new("How eigenvalues are spread").x("eigenvalue", Scale::Linear).y("density", Scale::Log);
        let mut log = LineChart::new("The same by magnitude")
            .x("magnitude", Scale::Log)
            .y("density of its logarithm", Scale::Linear);
        for m in &self.matrices {
            linear = linear.series(m.name.as_str(), m.density.iter().copied(), Stroke::Line);
            log = log.series(m.name.as_str(), m.log_density.iter().copied(), Stroke::Line);
        }
        let products = self.matrices.first().map_or(0, |m| m.density_products);
        section.beside([
            (
                Figure::Lines(&linear),
                format!(
                    "Densities of mass one from runs of Lanczos' method, {} for each matrix: every peak away from zero is an outlier, as wide as the method can see sharply.",
                    plural(products, "product")
                ),
            ),
            (
                Figure::Lines(&log),
                "On a logarithmic axis the bulk at zero comes apart: most directions are flatter than the steepest by many powers of ten."
                    .to_owned(),
            ),
        ]);
    }

    fn energies(&self, section: &mut Section) {
        section.prose(
            "The steep directions are few, so a matrix of **low rank** should hold most of it; the flat ones are many, and a **diagonal** may hold what they have in common. Taking one first spoils the other: the low-rank part has a diagonal of its own, and the steepest directions take a share of the diagonal with them. The joint fit finds both at once from one sketch (SketchLoRD, arXiv:2509.23587; the solver is ours).",
        );
        let chart = |m: &Matrix| {
            let mut chart = LineChart::new(m.name.as_str()).x("products", Scale::Log).y("residual energy", Scale::Log);
            for (i, f) in m.fits.iter().enumerate() {
                let points = m.budgets.iter().map(|&b| b as f64).zip(f.energies.iter().copied());
                chart = chart.series(f.method.as_str(), points, if i < TOLD { Stroke::Solid } else { Stroke::Dashed });
            }
            chart
        };
        let charts: Vec<LineChart> = self.matrices.iter().map(chart).collect();
        let caption = |m: &Matrix| {
            format!(
                "What each approximation of the {} leaves of the sum of squared entries, at equal numbers of products, by the same {} fresh probes. Methods in two parts give half of their products to each; the dashed ones are told the exact diagonal and spend all on the low rank. The best of three is chosen among the joint fit and either part alone by probes that it pays for.",
                m.name, self.probes
            )
        };
        section.beside(charts.iter().zip(&self.matrices).map(|(c, m)| (Figure::Lines(c), caption(m))));
        self.table(section);
        for m in &self.matrices {
            let (Some((best, energy)), Some(joint)) = (m.best(), m.at_end(METHODS[0])) else { continue };
            let rank = m.ranks.last().copied().unwrap_or(0);
            section.prose(if best == METHODS[0] {
                format!(
                    "**{}:** the joint fit, of rank {rank}, is the closest of those that know products alone and leaves {}.",
                    m.name,
                    three(energy)
                )
            } else {
                format!(
                    "**{}:** here **{best}** is the closest of those that know products alone and leaves {}, the joint fit of rank {rank} {}. A tail of eigenvalues that falls slowly is neither of low rank nor diagonal, and a fit from one pass pays for it; that is why a fit should be judged by fresh probes, as these are.",
                    m.name,
                    three(energy),
                    three(joint)
                )
            });
        }
    }

    /// What is left at the largest number of products.
    fn table(&self, section: &mut Section) {
        let shown = |x: Option<String>| x.unwrap_or_else(|| "–".to_owned());
        let heads = self.matrices.iter().map(|m| {
            let products = m.budgets.last().map(|&b| plural(b, "product"));
            format!("{}, {}", m.name, shown(products))
        });
        let mut table = Table::new(["what is left".to_owned()].into_iter().chain(heads));
        for method in METHODS {
            let cells = self.matrices.iter().map(|m| shown(m.at_end(method).map(three)));
            table = table.row([method.to_owned()].into_iter().chain(cells));
        }
        section.table(table);
    }
}
