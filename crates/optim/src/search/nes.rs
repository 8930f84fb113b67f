//! Natural evolution strategies: the covariance follows the utilities of ranked samples.
//!
//! With utilities `u_k = max(0, ln(K/2 + 1) - ln k) / sum - 1/K` for ranks `k = 1 .. K`, `h = sum u_k z_k` and
//! `H = sum u_k z_k z_k^T`: the mean moves by `A h`, the covariance by `A (r H) A^T` to first order.

use super::{Adaptation, Part, Ranked};
use crate::Error;
use crate::spectral::{SpectralMatrix, SpectralRules};
use numerics::{Mat, Par, dense};

fn utilities(population: usize) -> Vec<f64> {
    let k = population as f64;
    let raw: Vec<f64> = (1..=population).map(|i| ((k / 2.0 + 1.0).ln() - (i as f64).ln()).max(0.0)).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|u| u / sum - 1.0 / k).collect()
}

/// `h` and `H`.
fn moments(ranked: &Ranked<'_>, utilities: &[f64]) -> (Vec<f64>, Mat<f64>) {
    let dim = ranked.z.nrows();
    let mut h = vec![0.0; dim];
    let mut weighted = Mat::zeros(dim, utilities.len());
    let mut sorted = Mat::zeros(dim, utilities.len());
    for (k, (&column, &u)) in ranked.order.iter().zip(utilities).enumerate() {
        for i in 0..dim {
            let z = ranked.z[(i, column)];
            h[i] += u * z;
            weighted[(i, k)] = u * z;
            sorted[(i, k)] = z;
        }
    }
    let mut second = Mat::zeros(dim, dim);
    dense::gemm(second.as_mut(), 1.0, weighted.as_ref(), sorted.transpose(), 0.0, Par::Seq);
    dense::symmetrize(second.as_mut());
    (h, second)
}

fn add_product(mean: &mut [f64], a: impl Fn(usize, usize) -> f64, z: &[f64], rate: f64) {
    for (i, m) in mean.iter_mut().enumerate() {
        *m += rate * z.iter().enumerate().map(|(j, z)| a(i, j) * z).sum::<f64>();
    }
}

/// Cumulative step-size adaptation beside the spectral rule.
#[derive(Clone)]
struct Path {
    p: Vec<f64>,
    /// Effective number of samples in the mean.
    effective: f64,
    cumulation: f64,
    damping: f64,
}

/// `A = B sqrt(d)`; with step-size adaptation, `A = sigma B sqrt(d)` and `det d = 1`.
#[derive(Clone)]
pub(super) struct Spectral {
    s: SpectralMatrix<f64>,
    sigma: f64,
    start: f64,
    rules: SpectralRules,
    utilities: Vec<f64>,
    rate: f64,
    mean_rate: f64,
    path: Option<Path>,
}

impl Spectral {
    pub(super) fn new(
        dim: usize,
        population: usize,
        sigma: f64,
        rate: f64,
        mean_rate: f64,
        rules: SpectralRules,
        step_size: bool,
    ) -> Result<Self, Error> {
        let utilities = utilities(population);
        let path = step_size.then(|| {
            let positive: Vec<f64> = utilities.iter().map(|u| u + 1.0 / population as f64).collect();
            let effective = 1.0 / positive.iter().map(|w| w * w).sum::<f64>();
            let d = dim as f64;
            let cumulation = (effective + 2.0) / (d + effective + 5.0);
            let damping = 1.0 + 2.0 * (((effective - 1.0) / (d + 1.0)).sqrt() - 1.0).max(0.0) + cumulation;
            Path { p: vec![0.0; dim], effective, cumulation, damping }
        });
        let scale = if step_size { 1.0 } else { sigma * sigma };
        let s = SpectralMatrix::new(dim, scale, rules)?;
        let now = if step_size { sigma } else { 1.0 };
        Ok(Spectral { s, sigma: now, start: now, rules, utilities, rate, mean_rate, path })
    }

    /// Follows the path of the whitened mean; `h` in the eigenbasis, `turn` to the space of parameters.
    fn adapt_step_size(&mut self, h: &[f64]) {
        let Some(path) = &mut self.path else { return };
        let dim = h.len();
        let b = self.s.basis();
        let gain = (path.cumulation * (2.0 - path.cumulation) * path.effective).sqrt();
        for (i, p) in path.p.iter_mut().enumerate() {
            let step: f64 = h.iter().enumerate().map(|(j, h)| b[(i, j)] * h).sum();
            *p = (1.0 - path.cumulation) * *p + gain * step;
        }
        let length = path.p.iter().map(|p| p * p).sum::<f64>().sqrt();
        self.sigma *= ((path.cumulation / path.damping) * (length / super::cma::expected_length(dim) - 1.0)).exp();
    }
}

impl Adaptation for Spectral {
    fn sample(&self, mean: &[f64], z: &[f64], x: &mut [f64]) {
        let (b, d) = (self.s.basis(), self.s.eigenvalues());
        x.copy_from_slice(mean);
        add_product(x, |i, j| b[(i, j)] * d[j].sqrt(), z, self.sigma);
    }

    fn adapt(&mut self, mean: &mut [f64], ranked: &Ranked<'_>) -> Result<bool, Error> {
        let (h, second) = moments(ranked, &self.utilities);
        let dim = h.len();
        {
            let (b, d) = (self.s.basis(), self.s.eigenvalues());
            add_product(mean, |i, j| b[(i, j)] * d[j].sqrt(), &h, self.mean_rate * self.sigma);
        }
        self.adapt_step_size(&h);
        let d = self.s.eigenvalues();
        let increment = Mat::from_fn(dim, dim, |i, j| self.rate * second[(i, j)] * (d[i] * d[j]).sqrt());
        let mut growth: Vec<f64> = (0..dim).map(|i| self.rate * second[(i, i)]).collect();
        if self.path.is_some() {
            // The determinant belongs to the step size.
            let level = growth.iter().sum::<f64>() / dim as f64;
            growth.iter_mut().for_each(|x| *x -= level);
        }
        self.s.step_in_basis(&increment, &growth, self.path.is_some(), Par::Seq)?;
        Ok(false)
    }

    fn restart(&mut self) {
        self.sigma = self.start;
        if let Ok(s) = SpectralMatrix::new(self.s.order(), self.start * self.start, self.rules) {
            self.s = s;
        }
    }

    fn population(&self) -> usize {
        self.utilities.len()
    }

    fn parts(&mut self) -> Vec<Part<'_>> {
        let dim = self.s.order();
        let (b, d) = self.s.arrays_mut();
        let mut parts = vec![
            Part::Array("b", vec![dim, dim], b),
            Part::Array("d", vec![dim], d),
            Part::Number("sigma", &mut self.sigma),
        ];
        if let Some(path) = &mut self.path {
            parts.push(Part::Array("path", vec![dim], &mut path.p));
        }
        parts
    }

    fn boxed_clone(&self) -> Box<dyn Adaptation> {
        Box::new(self.clone())
    }
}

/// `A = exp(X / 2)` products: `A <- A exp(r H / 2)`, so that `S = A A^T` moves by `A exp(r H) A^T`.
#[derive(Clone)]
pub(super) struct Xnes {
    a: Vec<f64>,
    dim: usize,
    sigma: f64,
    utilities: Vec<f64>,
    rate: f64,
    mean_rate: f64,
}

impl Xnes {
    pub(super) fn new(dim: usize, population: usize, sigma: f64, rate: f64, mean_rate: f64) -> Self {
        let mut new = Xnes { a: vec![0.0; dim * dim], dim, sigma, utilities: utilities(population), rate, mean_rate };
        new.restart();
        new
    }
}

impl Adaptation for Xnes {
    fn sample(&self, mean: &[f64], z: &[f64], x: &mut [f64]) {
        x.copy_from_slice(mean);
        add_product(x, |i, j| self.a[i * self.dim + j], z, 1.0);
    }

    fn adapt(&mut self, mean: &mut [f64], ranked: &Ranked<'_>) -> Result<bool, Error> {
        let (h, mut second) = moments(ranked, &self.utilities);
        let (a, dim) = (&self.a, self.dim);
        add_product(mean, |i, j| a[i * dim + j], &h, self.mean_rate);
        dense::scale(second.as_mut(), 0.5 * self.rate);
        let e = dense::eigh(second.as_ref())?;
        let exp = dense::apply_spectral(&e, f64::exp, Par::Seq);
        let old = crate::kron_engine::modes::square(&self.a, dim).to_owned();
        let new = crate::kron_engine::modes::square_mut(&mut self.a, dim);
        dense::gemm(new, 1.0, old.as_ref(), exp.as_ref(), 0.0, Par::Seq);
        Ok(false)
    }

    fn restart(&mut self) {
        self.a.fill(0.0);
        self.a.iter_mut().step_by(self.dim + 1).for_each(|a| *a = self.sigma);
    }

    fn population(&self) -> usize {
        self.utilities.len()
    }

    fn parts(&mut self) -> Vec<Part<'_>> {
        vec![Part::Array("a", vec![self.dim, self.dim], &mut self.a)]
    }

    fn boxed_clone(&self) -> Box<dyn Adaptation> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilities_sum_to_zero_and_fall() {
        for k in [3, 10, 12] {
            let u = utilities(k);
            assert!(u.iter().sum::<f64>().abs() < 1e-15);
            assert!(u.windows(2).all(|w| w[0] >= w[1]) && u[0] > 0.0);
        }
    }
}
