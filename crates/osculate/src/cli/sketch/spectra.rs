//! Spectral densities: by Lanczos runs, of logarithms of magnitudes, by Chebyshev moments.

use super::super::{Error, density};
use super::{Found, Job};
use ::sketch::{
    DensityOptions, Kpm, QuadratureOptions, Status, chebyshev_density, log_spectral_density, spectral_density,
};
use numerics::Scalar;

/// Probes of the Chebyshev moments.
const PROBES: usize = 4;

#[derive(Clone, Copy)]
enum Kind {
    Lanczos,
    Log,
    Chebyshev,
}

impl<T: Scalar> Job<'_, T> {
    pub(super) fn density(&self) -> Result<Found, Error> {
        let (name, kind) =
            self.args.choose(&[("lanczos", Kind::Lanczos), ("log", Kind::Log), ("chebyshev", Kind::Chebyshev)])?;
        let QuadratureOptions { steps, runs, .. } = QuadratureOptions::for_products(self.args.budget())?;
        let options = DensityOptions { steps, runs, ..DensityOptions::default() };
        let (grid, values, products, status) = match kind {
            Kind::Lanczos => {
                let d = spectral_density(&self.op, &options, &self.settings)?;
                (d.grid, d.density, d.products, d.status)
            }
            Kind::Log => {
                let d = log_spectral_density(&self.op, &options, &self.settings)?;
                (d.nu, d.density_log_nu, d.products, d.status)
            }
            Kind::Chebyshev => {
                let moments = 2 * (self.args.budget() / PROBES).max(1);
                let kpm = chebyshev_density(&self.op, moments, PROBES, &self.settings)?;
                let (grid, values) = tabulated(&kpm, options.points);
                (grid, values, kpm.products, Status::Spent)
            }
        };
        let name_of_grid = if matches!(kind, Kind::Log) { "nu" } else { "grid" };
        let chart = match kind {
            Kind::Log => density::log_chart("Density of ln |eigenvalue|", &grid, &values),
            _ => density::chart("Spectral density", &grid, &values),
        };
        let mut found = Found::new((products, 0), status)
            .field("estimator", name)
            .field(name_of_grid, grid.as_slice())
            .field("density", values.as_slice())
            .line("density", density::spark(&values))
            .line("from, to", format!("{:.4e}  {:.4e}", grid[0], grid[grid.len() - 1]))
            .line("by", name)
            .vector(name_of_grid, &grid)
            .vector("density", &values);
        found.chart = Some(chart.svg(density::WIDTH));
        Ok(found)
    }
}

/// The density of the moments on an even grid between the ends, where the formula divides by zero.
fn tabulated(kpm: &Kpm, points: usize) -> (Vec<f64>, Vec<f64>) {
    let at = |i: usize| kpm.center + kpm.half_width * ((2 * i + 1) as f64 / points as f64 - 1.0);
    let grid: Vec<f64> = (0..points).map(at).collect();
    let values = grid.iter().map(|&x| kpm.density(x)).collect();
    (grid, values)
}
