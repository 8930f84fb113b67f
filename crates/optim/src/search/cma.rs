//! CMA-ES: weighted recombination, rank-one and rank-mu updates, an evolution path, cumulative step-size adaptation.
//!
//! Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772. A run starts again with a doubled population
//! when the best values of the last `10 + ceil(30 D / lambda)` generations lie within `1e-12 max(1, |f|)`, when the largest
//! standard deviation falls below `1e-12`, or when the condition of `C` exceeds `1e14`.

use super::{Adaptation, Part, Ranked};
use crate::Error;
use numerics::{Mat, MatRef, dense};

/// Mean length of a standard normal vector.
pub(super) fn expected_length(dim: usize) -> f64 {
    let d = dim as f64;
    d.sqrt() * (1.0 - 1.0 / (4.0 * d) + 1.0 / (21.0 * d * d))
}

#[derive(Clone)]
pub(super) struct Cma {
    dim: usize,
    base_population: usize,
    start_sigma: f64,
    restarts_wanted: bool,
    /// Doublings of the population.
    doublings: f64,
    sigma: f64,
    generation: f64,
    c: Vec<f64>,
    p_sigma: Vec<f64>,
    p_c: Vec<f64>,
    /// Eigenvectors of `C` and roots of its eigenvalues.
    b: Mat<f64>,
    d: Vec<f64>,
    /// Best value of each recent generation, oldest first; room for the longest window.
    history: Vec<f64>,
    kept: f64,
}

/// Constants of a population.
struct Rates {
    weights: Vec<f64>,
    effective: f64,
    sigma: f64,
    damping: f64,
    path: f64,
    rank_one: f64,
    rank_mu: f64,
}

impl Rates {
    fn new(dim: usize, population: usize) -> Self {
        let (n, mu) = (dim as f64, population / 2);
        let top = ((population + 1) as f64 / 2.0).ln();
        let mut weights: Vec<f64> = (1..=mu.max(1)).map(|i| top - (i as f64).ln()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        let e = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
        let sigma = (e + 2.0) / (n + e + 5.0);
        let rank_one = 2.0 / ((n + 1.3).powi(2) + e);
        let rank_mu = (1.0 - rank_one).min(2.0 * (e - 2.0 + 1.0 / e) / ((n + 2.0).powi(2) + e));
        Rates {
            weights,
            effective: e,
            sigma,
            damping: 1.0 + 2.0 * (((e - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + sigma,
            path: (4.0 + e / n) / (n + 4.0 + 2.0 * e / n),
            rank_one,
            rank_mu,
        }
    }
}

/// Further restarts keep the population.
const MAX_DOUBLINGS: f64 = 20.0;

/// Generations over which values must stand still.
fn window(dim: usize, population: usize) -> usize {
    10 + (30 * dim).div_ceil(population)
}

impl Cma {
    pub(super) fn new(dim: usize, population: usize, sigma: f64, restarts: bool) -> Self {
        let mut new = Cma {
            dim,
            base_population: population,
            start_sigma: sigma,
            restarts_wanted: restarts,
            doublings: 0.0,
            sigma,
            generation: 0.0,
            c: vec![0.0; dim * dim],
            p_sigma: vec![0.0; dim],
            p_c: vec![0.0; dim],
            b: Mat::identity(dim, dim),
            d: vec![1.0; dim],
            history: vec![0.0; window(dim, population)],
            kept: 0.0,
        };
        new.reset();
        new
    }

    fn reset(&mut self) {
        self.sigma = self.start_sigma;
        self.generation = 0.0;
        self.c.fill(0.0);
        self.c.iter_mut().step_by(self.dim + 1).for_each(|c| *c = 1.0);
        self.p_sigma.fill(0.0);
        self.p_c.fill(0.0);
        self.b = Mat::identity(self.dim, self.dim);
        self.d.fill(1.0);
        self.kept = 0.0;
    }

    /// `C = B diag(d^2) B^T`.
    fn decompose(&mut self) -> Result<(), Error> {
        let c = MatRef::from_row_major_slice(&self.c, self.dim, self.dim);
        let e = dense::eigh(c)?;
        self.d.iter_mut().zip(&e.values).for_each(|(d, l)| *d = l.max(0.0).sqrt());
        self.b = e.vectors;
        Ok(())
    }

    /// Remembers the generation's best value; `true`: start again.
    fn is_over(&mut self, best: f64) -> bool {
        let window = window(self.dim, self.population()).min(self.history.len());
        let mut kept = self.kept as usize;
        if kept == window {
            self.history.copy_within(1..window, 0);
            kept -= 1;
        }
        self.history[kept] = best;
        self.kept = (kept + 1) as f64;
        if !self.restarts_wanted {
            return false;
        }
        let recent = &self.history[..kept + 1];
        let (least, most) = recent.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
        let still = kept + 1 == window && most - least <= 1e-12 * least.abs().max(1.0);
        let (low, high) = self.d.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &d| (a.min(d), b.max(d)));
        still || self.sigma * high < 1e-12 || high * high > 1e14 * low * low
    }
}

impl Adaptation for Cma {
    fn sample(&self, mean: &[f64], z: &[f64], x: &mut [f64]) {
        for (i, (x, m)) in x.iter_mut().zip(mean).enumerate() {
            let y: f64 = (0..self.dim).map(|j| self.b[(i, j)] * self.d[j] * z[j]).sum();
            *x = m + self.sigma * y;
        }
    }

    fn adapt(&mut self, mean: &mut [f64], ranked: &Ranked<'_>) -> Result<bool, Error> {
        let n = self.dim;
        let r = Rates::new(n, self.population());
        self.generation += 1.0;
        // Steps in the space of parameters, y = B d z, of the better half.
        let steps = Mat::from_fn(n, r.weights.len(), |i, k| {
            (0..n).map(|j| self.b[(i, j)] * self.d[j] * ranked.z[(j, ranked.order[k])]).sum::<f64>()
        });
        let z_mean: Vec<f64> = (0..n)
            .map(|j| r.weights.iter().enumerate().map(|(k, w)| w * ranked.z[(j, ranked.order[k])]).sum())
            .collect();
        let y_mean: Vec<f64> =
            (0..n).map(|i| r.weights.iter().enumerate().map(|(k, w)| w * steps[(i, k)]).sum()).collect();
        mean.iter_mut().zip(&y_mean).for_each(|(m, y)| *m += self.sigma * y);

        // C^-1/2 y = B z.
        let gain = (r.sigma * (2.0 - r.sigma) * r.effective).sqrt();
        for i in 0..n {
            let white: f64 = (0..n).map(|j| self.b[(i, j)] * z_mean[j]).sum();
            self.p_sigma[i] = (1.0 - r.sigma) * self.p_sigma[i] + gain * white;
        }
        let length = self.p_sigma.iter().map(|p| p * p).sum::<f64>().sqrt();
        let settled = (1.0 - (1.0 - r.sigma).powf(2.0 * self.generation)).sqrt();
        let h = f64::from(length / settled < (1.4 + 2.0 / (n as f64 + 1.0)) * expected_length(n));
        let gain = (r.path * (2.0 - r.path) * r.effective).sqrt();
        self.p_c.iter_mut().zip(&y_mean).for_each(|(p, y)| *p = (1.0 - r.path) * *p + h * gain * y);

        let keep = 1.0 - r.rank_one - r.rank_mu + (1.0 - h) * r.rank_one * r.path * (2.0 - r.path);
        for i in 0..n {
            for j in 0..=i {
                let mu: f64 = r.weights.iter().enumerate().map(|(k, w)| w * steps[(i, k)] * steps[(j, k)]).sum();
                let new = keep * self.c[i * n + j] + r.rank_one * self.p_c[i] * self.p_c[j] + r.rank_mu * mu;
                self.c[i * n + j] = new;
                self.c[j * n + i] = new;
            }
        }
        self.sigma *= ((r.sigma / r.damping) * (length / expected_length(n) - 1.0)).exp();
        self.decompose()?;
        Ok(self.is_over(ranked.values[ranked.order[0]]))
    }

    fn restart(&mut self) {
        self.doublings = (self.doublings + 1.0).min(MAX_DOUBLINGS);
        self.reset();
    }

    fn population(&self) -> usize {
        self.base_population << self.doublings as u32
    }

    fn parts(&mut self) -> Vec<Part<'_>> {
        let (n, window) = (self.dim, self.history.len());
        vec![
            Part::Number("doublings", &mut self.doublings),
            Part::Number("sigma", &mut self.sigma),
            Part::Number("generation", &mut self.generation),
            Part::Number("kept", &mut self.kept),
            Part::Array("c", vec![n, n], &mut self.c),
            Part::Array("p_sigma", vec![n], &mut self.p_sigma),
            Part::Array("p_c", vec![n], &mut self.p_c),
            Part::Array("history", vec![window], &mut self.history),
        ]
    }

    fn loaded(&mut self) -> Result<(), Error> {
        for (name, x, most) in [
            ("doublings", self.doublings, MAX_DOUBLINGS),
            ("kept", self.kept, self.history.len() as f64),
            ("generation", self.generation, 9e15),
        ] {
            if !((0.0..=most).contains(&x) && x.fract() == 0.0) {
                return Err(Error::Checkpoint { what: format!("{name:?} is {x}, not a count up to {most}") });
            }
        }
        // A fresh run has never decomposed the identity.
        if self.generation > 0.0 { self.decompose() } else { Ok(()) }
    }

    fn boxed_clone(&self) -> Box<dyn Adaptation> {
        Box::new(self.clone())
    }
}
