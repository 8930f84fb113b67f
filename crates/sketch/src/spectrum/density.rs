//! Spectral densities from Lanczos runs: every Ritz value becomes a Gaussian bump with the weight of its Gauss rule.
//!
//! Source: Papyan 2020, algorithm 2 (arXiv:2002.08772). The interval is padded by a margin on both sides; the bumps have
//! standard deviation `2 / ((M - 1) sqrt(8 ln kappa))` in units of the half-width, M the steps asked for. Each bump is
//! divided by its own sum over the grid, so that the density has mass one; without that a cluster at the end of the
//! spectrum loses up to a third of its mass. `parity` leaves the bumps as they are, for comparison with curvlinops.
//! Cost: M products a run, 40 for the ends of the spectrum.

use super::{Rule, side_by_side, symmetric_size};
use crate::products::{Products, Wide};
use crate::{Error, Settings, Status};
use core::ops::ControlFlow;
use linop_core::LinearOperator;
use linop_core::krylov::{EigshOptions, Reorth, Which, eigsh};
use numerics::Scalar;
use numerics::progress::Progress;
use numerics::rng::Law;

/// What a density is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DensityOptions {
    /// Lanczos steps of a run, at least 2.
    pub steps: usize,
    /// Runs, from vectors on the sphere.
    pub runs: usize,
    /// Points of the grid.
    pub points: usize,
    /// Padding of the interval on either side, relative to its width.
    pub margin: f64,
    /// Overlap of neighbouring bumps, above 1; `None` for 3 (linear) or 1.04 (logarithmic).
    pub kappa: Option<f64>,
    /// Added to magnitudes before the logarithm.
    pub epsilon: f64,
    /// Reorthogonalisation.
    pub reorth: Reorth,
    /// Leave bumps at the edges cut off.
    pub parity: bool,
}

impl Default for DensityOptions {
    fn default() -> Self {
        DensityOptions {
            steps: 40,
            runs: 10,
            points: 1024,
            margin: 0.05,
            kappa: None,
            epsilon: 1e-5,
            reorth: Reorth::Full,
            parity: false,
        }
    }
}

/// A density on a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// Grid, ascending and evenly spaced.
    pub grid: Vec<f64>,
    /// Density at every point.
    pub density: Vec<f64>,
    /// Products spent.
    pub products: usize,
    /// `Spent`, or `Interrupted` with the mean over the runs that ended.
    pub status: Status,
}

impl Density {
    /// The integral of `f` times the density, by the trapezoid rule.
    pub fn integral(&self, f: impl Fn(f64) -> f64) -> f64 {
        trapezoid(&self.grid, &self.density, f)
    }
}

/// The density of `nu = |lambda| + epsilon` on a logarithmic grid.
#[derive(Clone, Debug, PartialEq)]
pub struct LogDensity {
    /// Grid of nu, ascending, its logarithm evenly spaced.
    pub nu: Vec<f64>,
    /// Density with respect to nu.
    pub density_nu: Vec<f64>,
    /// Density with respect to `ln nu`.
    pub density_log_nu: Vec<f64>,
    /// Products spent.
    pub products: usize,
    /// As in [`Density`].
    pub status: Status,
}

fn trapezoid(grid: &[f64], density: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    (1..grid.len())
        .map(|i| 0.5 * (grid[i] - grid[i - 1]) * (f(grid[i]) * density[i] + f(grid[i - 1]) * density[i - 1]))
        .sum()
}

/// The spectral density of a self-adjoint operator, normalised to mass one.
///
/// A is `n x n`. Cost: `steps` products a run and about 40 for the ends of the spectrum; with reorthogonalisation `4 n steps^2` flops
/// a run and `n steps` numbers for each of the runs that go side by side. Source: Papyan 2020, arXiv:2002.08772.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{DensityOptions, Settings, spectral_density};
/// let a = Diagonal::new((0..200).map(|i| f64::from(i % 2)).collect());
/// let d = spectral_density(&a, &DensityOptions::default(), &Settings::default())?;
/// assert!((d.integral(|_| 1.0) - 1.0).abs() < 1e-10);
/// assert!((d.integral(|x| x) - 0.5).abs() < 0.1);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `NotSymmetric`, `InvalidArgument`, `NotConverged` for the ends of the spectrum, `Interrupted` before the
/// first run ends.
pub fn spectral_density<T: Scalar>(
    a: &dyn LinearOperator<T>,
    options: &DensityOptions,
    settings: &Settings<'_>,
) -> Result<Density, Error> {
    let wide = Wide(a);
    Ok(Measured::new(&wide, "spectral density", options, settings)?.linear(options))
}

/// The density of the logarithm of `|lambda| + epsilon`: for spectra that spread over many orders of magnitude.
///
/// Cost and source: as [`spectral_density`].
///
/// # Errors
/// As [`spectral_density`]; `InvalidArgument` unless `epsilon > 0`.
pub fn log_spectral_density<T: Scalar>(
    a: &dyn LinearOperator<T>,
    options: &DensityOptions,
    settings: &Settings<'_>,
) -> Result<LogDensity, Error> {
    let wide = Wide(a);
    let op = "log spectral density";
    check_epsilon(op, options)?;
    Ok(Measured::new(&wide, op, options, settings)?.logarithmic(options))
}

/// Both densities from the same runs, at the price of one; either says what they cost together.
///
/// # Errors
/// As [`log_spectral_density`].
pub fn spectral_densities<T: Scalar>(
    a: &dyn LinearOperator<T>,
    options: &DensityOptions,
    settings: &Settings<'_>,
) -> Result<(Density, LogDensity), Error> {
    let wide = Wide(a);
    let op = "spectral densities";
    check_epsilon(op, options)?;
    let measured = Measured::new(&wide, op, options, settings)?;
    Ok((measured.linear(options), measured.logarithmic(options)))
}

fn check_epsilon(op: &'static str, options: &DensityOptions) -> Result<(), Error> {
    if options.epsilon > 0.0 && options.epsilon.is_finite() {
        return Ok(());
    }
    Err(Error::argument(op, format!("needs epsilon > 0, got {}", options.epsilon)))
}

/// A padded interval.
struct Interval {
    center: f64,
    half: f64,
}

impl Interval {
    fn new(low: f64, high: f64, margin: f64) -> Self {
        let center = 0.5 * (low + high);
        let mut half = 0.5 * (high - low);
        if high - low <= 1e-12 * low.abs().max(high.abs()) {
            half = if center == 0.0 { 1e-3 } else { 1e-3 * center.abs() };
        }
        Interval { center, half: half * (1.0 + 2.0 * margin) }
    }
}

/// The ends of the spectrum to a relative tolerance of 1e-2, and the products that took.
pub(super) fn ends(products: &Products<'_>) -> Result<(f64, f64, usize), Error> {
    let options =
        EigshOptions { tol: Some(1e-2), seed: products.settings.seed, probing: false, ..EigshOptions::default() };
    let run = |which| eigsh(products.operator(), 1, which, &options, products.par()).map_err(|e| products.named(e));
    if products.n == 1 {
        let found = run(Which::Largest)?;
        return Ok((found.values[0], found.values[0], found.report.products));
    }
    let found = run(Which::Both)?;
    if !found.report.converged {
        let residual = found.report.residuals.iter().copied().fold(0.0, f64::max);
        return Err(Error::NotConverged { op: "ends of the spectrum", iterations: found.report.products, residual });
    }
    let (a, b) = (found.values[0], found.values[1]);
    Ok((a.min(b), a.max(b), found.report.products))
}

/// The runs and the ends of the spectrum.
struct Measured {
    rules: Vec<Rule>,
    ends: (f64, f64),
    products: usize,
    status: Status,
}

impl Measured {
    fn new(
        a: &dyn LinearOperator<f64>,
        op: &'static str,
        options: &DensityOptions,
        settings: &Settings<'_>,
    ) -> Result<Self, Error> {
        let products = Products::new(a, op, settings);
        let n = symmetric_size(&products)?;
        let sound = options.steps >= 2
            && options.runs >= 1
            && options.points >= 2
            && options.margin >= 0.0
            && options.margin.is_finite()
            && options.kappa.is_none_or(|k| k > 1.0 && k.is_finite());
        if !sound || n == 0 {
            return Err(Error::argument(
                op,
                "needs a nonempty operator, steps >= 2, runs >= 1, points >= 2, finite margin >= 0 and kappa > 1",
            ));
        }
        let (mut low, mut high, mut spent) = ends(&products)?;
        let (mut rules, mut status) = (Vec::new(), Status::Spent);
        let width = side_by_side(&products, options.steps, options.reorth);
        for first in (0..options.runs).step_by(width) {
            let runs = first..(first + width).min(options.runs);
            for rule in super::rules(&products, Law::Sphere, runs, options.steps, options.reorth)? {
                spent += rule.steps;
                for &(node, _) in &rule.nodes {
                    (low, high) = (low.min(node), high.max(node));
                }
                rules.push(rule);
            }
            let progress = Progress::new(op, rules.len() as u64, options.runs as u64);
            if rules.len() < options.runs && settings.observer.report(&progress) == ControlFlow::Break(()) {
                status = Status::Interrupted;
                break;
            }
        }
        Ok(Measured { rules, ends: (low, high), products: spent, status })
    }

    fn linear(&self, options: &DensityOptions) -> Density {
        let interval = Interval::new(self.ends.0, self.ends.1, options.margin);
        let nodes = |rule: &Rule| rule.nodes.clone();
        let (t, density) = self.bumps(&interval, options, options.kappa.unwrap_or(3.0), nodes);
        let grid = t.iter().map(|t| interval.center + interval.half * t).collect();
        let density = density.iter().map(|x| x / interval.half).collect();
        Density { grid, density, products: self.products, status: self.status }
    }

    fn logarithmic(&self, options: &DensityOptions) -> LogDensity {
        let shifted = |x: f64| (x.abs() + options.epsilon).ln();
        let all = self.rules.iter().flat_map(|r| r.nodes.iter().map(|n| n.0.abs()));
        let smallest = all.fold(f64::INFINITY, f64::min);
        let largest = self.ends.0.abs().max(self.ends.1.abs());
        let interval = Interval::new(shifted(smallest), shifted(largest), options.margin);
        let nodes = |rule: &Rule| rule.nodes.iter().map(|&(x, w)| (shifted(x), w)).collect();
        let (t, density) = self.bumps(&interval, options, options.kappa.unwrap_or(1.04), nodes);
        let nu: Vec<f64> = t.iter().map(|t| (interval.center + interval.half * t).exp()).collect();
        let density_log_nu: Vec<f64> = density.iter().map(|x| x / interval.half).collect();
        let density_nu = density_log_nu.iter().zip(&nu).map(|(x, nu)| x / nu).collect();
        LogDensity { nu, density_nu, density_log_nu, products: self.products, status: self.status }
    }

    /// The mean over the runs of the sum of bumps, on the grid of t in [-1, 1].
    fn bumps(
        &self,
        interval: &Interval,
        options: &DensityOptions,
        kappa: f64,
        nodes: impl Fn(&Rule) -> Vec<(f64, f64)>,
    ) -> (Vec<f64>, Vec<f64>) {
        let points = options.points;
        let step = 2.0 / (points - 1) as f64;
        let t: Vec<f64> = (0..points).map(|i| -1.0 + step * i as f64).collect();
        let sigma = 2.0 / ((options.steps - 1) as f64 * (8.0 * kappa.ln()).sqrt());
        let mut out = vec![0.0; points];
        for rule in &self.rules {
            for (node, weight) in nodes(rule) {
                let at = (node - interval.center) / interval.half;
                let bump: Vec<f64> = t.iter().map(|t| (-0.5 * ((t - at) / sigma).powi(2)).exp()).collect();
                let mass = if options.parity {
                    sigma * (2.0 * core::f64::consts::PI).sqrt()
                } else {
                    step * (bump.iter().sum::<f64>() - 0.5 * (bump[0] + bump[points - 1]))
                };
                if mass > 0.0 {
                    let factor = weight / (mass * self.rules.len() as f64);
                    out.iter_mut().zip(&bump).for_each(|(o, b)| *o += factor * b);
                }
            }
        }
        (t, out)
    }
}
