//! Spectral densities as pictures and sparklines.

use super::text::sparkline;
use crate::plot::{LineChart, Scale, Stroke};

/// Width of a picture.
pub(super) const WIDTH: f64 = 720.0;

/// A density over the eigenvalues; its axis is logarithmic, because a bulk at zero hides all else.
pub(super) fn chart(title: &str, grid: &[f64], density: &[f64]) -> LineChart {
    LineChart::new(title).x("eigenvalue", Scale::Linear).y("density", Scale::Log).series(
        "density",
        visible(grid, density),
        Stroke::Line,
    )
}

/// A density of the logarithm of magnitudes.
pub(super) fn log_chart(title: &str, nu: &[f64], density: &[f64]) -> LineChart {
    LineChart::new(title).x("magnitude", Scale::Log).y("density of its logarithm", Scale::Linear).series(
        "density",
        nu.iter().copied().zip(density.iter().copied()),
        Stroke::Area,
    )
}

/// Points down to a millionth of the top, below which a sum of bumps says nothing.
fn visible(grid: &[f64], density: &[f64]) -> Vec<(f64, f64)> {
    let top = density.iter().copied().fold(0.0, f64::max);
    let seen = |y: f64| if y > 1e-6 * top { y } else { f64::NAN };
    grid.iter().zip(density).map(|(&x, &y)| (x, seen(y))).collect()
}

/// A density in a line of text.
pub(super) fn spark(density: &[f64]) -> String {
    let top = density.iter().copied().fold(0.0, f64::max);
    let floored: Vec<f64> = density.iter().map(|x| x.max(1e-6 * top)).collect();
    sparkline(&floored, 60)
}
