//! The kernel polynomial method: Chebyshev moments of the spectral density, damped by Jackson's kernel.
//!
//! Source: Weisse, Wellein, Alvermann, Fehske 2006. Two moments come from one product, by
//! `T_2k = 2 T_k^2 - 1` and `T_2k+1 = 2 T_k+1 T_k - T_1`, and all probes are multiplied as one block.

use super::density::ends;
use super::symmetric_size;
use crate::products::{Products, Wide};
use crate::{Error, Settings, la};
use linop_core::LinearOperator;
use numerics::rng::{Law, Role};
use numerics::{Mat, Scalar};

/// Moments of a density in the interval `center +- half_width`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kpm {
    /// `mu_k`, the mean of `T_k` over the spectrum, k = 0, 1, ..
    pub moments: Vec<f64>,
    /// Middle of the interval.
    pub center: f64,
    /// Half of its width.
    pub half_width: f64,
    /// Products spent.
    pub products: usize,
}

impl Kpm {
    /// Jackson's damping factor of moment k.
    fn jackson(&self, k: usize) -> f64 {
        let order = self.moments.len() as f64; // K + 1 for moments 0..=K
        let angle = core::f64::consts::PI / order;
        let x = angle * k as f64;
        ((order - k as f64) * x.cos() + x.sin() / angle.tan()) / order
    }

    /// The density at `lambda`; 0 outside the interval.
    ///
    /// Cost: a cosine a moment.
    pub fn density(&self, lambda: f64) -> f64 {
        let t = (lambda - self.center) / self.half_width;
        if t.abs() >= 1.0 {
            return 0.0;
        }
        let angle = t.acos();
        let sum: f64 =
            (1..self.moments.len()).map(|k| 2.0 * self.jackson(k) * self.moments[k] * (angle * k as f64).cos()).sum();
        (self.jackson(0) * self.moments[0] + sum) / (core::f64::consts::PI * (1.0 - t * t).sqrt() * self.half_width)
    }

    /// The mean of f over the damped density, by Gauss-Chebyshev quadrature with `points` nodes.
    ///
    /// Cost: a cosine for each moment and node.
    pub fn mean(&self, points: usize, f: impl Fn(f64) -> f64) -> f64 {
        let pi = core::f64::consts::PI;
        (0..points)
            .map(|i| {
                let angle = pi * (i as f64 + 0.5) / points as f64;
                let sum: f64 = (1..self.moments.len())
                    .map(|k| 2.0 * self.jackson(k) * self.moments[k] * (angle * k as f64).cos())
                    .sum();
                (self.jackson(0) * self.moments[0] + sum) * f(self.center + self.half_width * angle.cos())
                    / points as f64
            })
            .sum()
    }
}

/// The first `moments` Chebyshev moments from `probes` probes of the law of the settings.
///
/// A is `n x n` and self-adjoint. Cost: half as many products as moments for each probe, about 40 for the ends of the spectrum,
/// `O(n)` flops a product, four blocks of `n x probes`. Source: Weisse, Wellein, Alvermann, Fehske 2006.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{Settings, chebyshev_density};
/// let a = Diagonal::new((0..100).map(|i| if i < 50 { -1.0 } else { 1.0 }).collect());
/// let kpm = chebyshev_density(&a, 60, 4, &Settings::default())?;
/// assert!(kpm.density(1.0) > 10.0 * kpm.density(0.0).abs());
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `NotSymmetric`, `InvalidArgument` for fewer than two moments or no probes, `NonFinite`, `Interrupted`.
pub fn chebyshev_density<T: Scalar>(
    a: &dyn LinearOperator<T>,
    moments: usize,
    probes: usize,
    settings: &Settings<'_>,
) -> Result<Kpm, Error> {
    let op = "chebyshev density";
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    let n = symmetric_size(&products)?;
    if moments < 2 || probes == 0 || n == 0 || settings.law == Law::Coordinates {
        return Err(Error::argument(
            op,
            "needs a nonempty operator, at least two moments and one probe of law signs, sphere or gaussian",
        ));
    }
    let (low, high, spent) = ends(&products)?;
    let center = 0.5 * (low + high);
    let width = if high - low <= 1e-12 * low.abs().max(high.abs()) {
        2e-3 * if center == 0.0 { 1.0 } else { center.abs() }
    } else {
        high - low
    };
    let half_width = 0.55 * width;
    let steps = moments.div_ceil(2);
    products.plan(steps * probes);
    let start = products.draw(settings.law, Role::LanczosStart, n, 0..probes);
    let scaled = |x: &Mat<f64>| -> Result<Mat<f64>, Error> {
        let y = products.apply(x.as_ref())?;
        Ok(Mat::from_fn(n, probes, |i, j| (y[(i, j)] - center * x[(i, j)]) / half_width))
    };
    let mean =
        |x: &Mat<f64>, y: &Mat<f64>| la::col_dots(x.as_ref(), y.as_ref()).iter().sum::<f64>() / (n * probes) as f64;
    let mut out = vec![0.0; moments + 1];
    let (mut before, mut now) = (start.clone(), scaled(&start)?);
    (out[0], out[1]) = (mean(&start, &start), mean(&now, &start));
    for k in 1..steps + 1 {
        // now = T_k v, before = T_{k-1} v
        if 2 * k < out.len() {
            out[2 * k] = 2.0 * mean(&now, &now) - out[0];
        }
        if 2 * k + 1 >= out.len() {
            break;
        }
        let image = scaled(&now)?;
        let next = Mat::from_fn(n, probes, |i, j| 2.0 * image[(i, j)] - before[(i, j)]);
        out[2 * k + 1] = 2.0 * mean(&next, &now) - out[1];
        (before, now) = (now, next);
    }
    out.truncate(moments);
    Ok(Kpm { moments: out, center, half_width, products: spent + products.spent() })
}
