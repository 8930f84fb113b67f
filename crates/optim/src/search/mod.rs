//! Gradient-free search: a normal distribution `N(m, S)` that adapts to the function by the ranks of its samples.
//!
//! Three rules for `S`. *Spectral*: the factorised Riemannian step of [`crate::spectral`], no matrix exponential and no
//! decomposition (after arXiv:2502.06268; the generation's increment, rates and rotation rule are ours). *xNES*
//! (Glasmachers et al. 2010): `S <- S^{1/2} exp(r H) S^{1/2}`, which the spectral step equals to first order. *CMA-ES*
//! (Hansen, arXiv:1604.00772, constants of the section on defaults): rank-one and rank-mu updates, an evolution path,
//! cumulative step-size adaptation, restarts with a doubled population. The spectral rule can take the step-size
//! adaptation as an option: the determinant of `S` then follows the path's length, its shape the ranks.
//!
//! A generation of `K` samples costs `K D^2` flops for the samples, `K D^2` for their moments, and `5 D^3` (spectral) or two
//! decompositions. Everything is a function of the seed and the generation, so a saved search continues with the
//! same bits.

mod cma;
mod nes;

use crate::Error;
use crate::error::{check, check_len};
use crate::spectral::SpectralRules;
use cma::Cma;
use nes::{Spectral, Xnes};
use numerics::rng::{Role, Stream};
use numerics::store::{State, Tensor};
use numerics::{DType, Mat};
use serde::{Deserialize, Serialize};

const KIND: &str = "search";
const VERSION: u32 = 1;

/// How the covariance adapts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchMethod {
    /// The spectral-factorised step.
    Spectral {
        /// Rotation, eigenvalue rule, Cayley map.
        #[serde(default)]
        rules: SpectralRules,
        /// Cumulative step-size adaptation for the determinant, off.
        #[serde(default)]
        step_size: bool,
    },
    /// By matrix exponentials.
    Xnes,
    /// CMA-ES.
    Cma {
        /// Start again from the start, with twice the population, when a run has converged or degenerated.
        #[serde(default)]
        restarts: bool,
    },
}

/// Settings of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// How the covariance adapts.
    pub method: SearchMethod,
    /// Seed of all samples, 0.
    pub seed: u64,
    /// Samples per generation; `4 + floor(3 ln D)` if absent.
    pub population: Option<usize>,
    /// Standard deviation at the start, 1.
    pub sigma: f64,
    /// Rate of the covariance; `(9 + 3 ln D) / (5 D^1.5)` if absent. CMA-ES has constants of its own.
    pub rate: Option<f64>,
    /// Rate of the mean, 1.
    pub mean_rate: f64,
}

impl Default for SearchConfig {
    fn default() -> Self {
        SearchConfig {
            method: SearchMethod::Spectral { rules: SpectralRules::default(), step_size: false },
            seed: 0,
            population: None,
            sigma: 1.0,
            rate: None,
            mean_rate: 1.0,
        }
    }
}

/// Samples of one generation, best first, in the coordinates in which they are standard normal.
pub(crate) struct Ranked<'a> {
    /// Standard normal vectors, one per column, in drawing order.
    pub(crate) z: &'a Mat<f64>,
    /// Columns from the best to the worst.
    pub(crate) order: &'a [usize],
    /// Values, in drawing order.
    pub(crate) values: &'a [f64],
}

/// One array or number of an adaptation's state.
pub(crate) enum Part<'a> {
    Array(&'static str, Vec<usize>, &'a mut [f64]),
    Number(&'static str, &'a mut f64),
}

/// A rule that adapts the distribution.
pub(crate) trait Adaptation: Send {
    /// `x = mean + A z` for a standard normal `z`.
    fn sample(&self, mean: &[f64], z: &[f64], x: &mut [f64]);
    /// Moves mean and covariance after a generation; `true`: start again.
    fn adapt(&mut self, mean: &mut [f64], ranked: &Ranked<'_>) -> Result<bool, Error>;
    /// Forgets everything but the restarts.
    fn restart(&mut self);
    /// Samples per generation.
    fn population(&self) -> usize;
    /// Everything needed to resume.
    fn parts(&mut self) -> Vec<Part<'_>>;
    /// Makes what follows from the parts again.
    fn loaded(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn boxed_clone(&self) -> Box<dyn Adaptation>;
}

/// What a search has found so far.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchReport {
    /// Values asked for so far.
    pub evaluations: u64,
    /// Generations done.
    pub generations: u64,
    /// Restarts done.
    pub restarts: u64,
    /// Best value so far; infinite before the first finite one.
    pub best_value: f64,
    /// Where it was found.
    pub best: Vec<f64>,
}

/// Minimises a function of a vector by its values alone.
///
/// ```
/// use optim::search::{Search, SearchConfig};
/// let mut search = Search::new(SearchConfig::default(), &[3.0, -2.0])?;
/// while search.report().best_value > 1e-10 && search.report().evaluations < 4000 {
///     search.generation(|x| x[0] * x[0] + 10.0 * (x[1] - x[0]).powi(2))?;
/// }
/// assert!(search.report().best_value <= 1e-10);
/// # Ok::<(), optim::Error>(())
/// ```
pub struct Search {
    config: SearchConfig,
    start: Vec<f64>,
    mean: Vec<f64>,
    adaptation: Box<dyn Adaptation>,
    report: SearchReport,
    z: Mat<f64>,
    x: Vec<f64>,
    values: Vec<f64>,
    order: Vec<usize>,
}

impl Search {
    /// Starts at a point.
    ///
    /// # Errors
    /// If settings are out of range, the start is empty or not finite.
    pub fn new(config: SearchConfig, start: &[f64]) -> Result<Self, Error> {
        let dim = start.len();
        check(dim > 0, "dim", dim as f64, "at least 1")?;
        check(config.sigma > 0.0 && config.sigma.is_finite(), "sigma", config.sigma, "positive and finite")?;
        check(config.mean_rate > 0.0 && config.mean_rate <= 1.0, "mean_rate", config.mean_rate, "in (0, 1]")?;
        if let Some(rate) = config.rate {
            check(rate > 0.0 && rate <= 1.0, "rate", rate, "in (0, 1]")?;
        }
        for &x in start {
            check(x.is_finite(), "start", x, "finite")?;
        }
        let population = config.population.unwrap_or(4 + (3.0 * (dim as f64).ln()).floor() as usize);
        check(population >= 3, "population", population as f64, "at least 3")?;
        let rate = config.rate.unwrap_or_else(|| {
            let d = dim as f64;
            ((9.0 + 3.0 * d.ln()) / (5.0 * d.powf(1.5))).min(1.0)
        });
        let adaptation: Box<dyn Adaptation> = match config.method {
            SearchMethod::Spectral { rules, step_size } => {
                Box::new(Spectral::new(dim, population, config.sigma, rate, config.mean_rate, rules, step_size)?)
            }
            SearchMethod::Xnes => Box::new(Xnes::new(dim, population, config.sigma, rate, config.mean_rate)),
            SearchMethod::Cma { restarts } => Box::new(Cma::new(dim, population, config.sigma, restarts)),
        };
        let report = SearchReport {
            evaluations: 0,
            generations: 0,
            restarts: 0,
            best_value: f64::INFINITY,
            best: start.to_vec(),
        };
        Ok(Search {
            config,
            start: start.to_vec(),
            mean: start.to_vec(),
            adaptation,
            report,
            z: Mat::zeros(0, 0),
            x: vec![0.0; dim],
            values: Vec::new(),
            order: Vec::new(),
        })
    }

    /// The settings.
    pub fn config(&self) -> &SearchConfig {
        &self.config
    }

    /// What was found so far.
    pub fn report(&self) -> &SearchReport {
        &self.report
    }

    /// The mean of the distribution.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// One generation. Values that are NaN count as worst.
    ///
    /// # Errors
    /// If the covariance can no longer be decomposed; the search is as before, but for the best point.
    pub fn generation(&mut self, mut f: impl FnMut(&[f64]) -> f64) -> Result<&SearchReport, Error> {
        let (dim, population) = (self.mean.len(), self.adaptation.population());
        if self.z.ncols() != population {
            self.z = Mat::zeros(dim, population);
        }
        self.values.clear();
        for k in 0..population {
            let mut stream = Stream::new(self.config.seed, Role::OptimiserNoise, self.report.generations, k as u64);
            let z = self.z.col_as_slice_mut(k);
            stream.fill_normal(z);
            self.adaptation.sample(&self.mean, z, &mut self.x);
            let value = f(&self.x);
            let value = if value.is_nan() { f64::INFINITY } else { value };
            if value < self.report.best_value {
                self.report.best_value = value;
                self.report.best.copy_from_slice(&self.x);
            }
            self.values.push(value);
        }
        self.order.clear();
        self.order.extend(0..population);
        self.order.sort_by(|&a, &b| self.values[a].total_cmp(&self.values[b]));
        self.report.evaluations += population as u64;
        self.report.generations += 1;
        let ranked = Ranked { z: &self.z, order: &self.order, values: &self.values };
        if self.adaptation.adapt(&mut self.mean, &ranked)? {
            self.report.restarts += 1;
            self.adaptation.restart();
            self.mean.copy_from_slice(&self.start);
        }
        Ok(&self.report)
    }

    /// Everything needed to resume.
    ///
    /// # Errors
    /// None at present sizes.
    pub fn state(&self) -> Result<State, Error> {
        let dim = self.mean.len();
        let mut state = State::new(KIND, VERSION, DType::F64);
        state.step = self.report.generations;
        state.config = serde_json::json!(self.config);
        state.scalars.insert("evaluations".into(), self.report.evaluations as f64);
        state.scalars.insert("restarts".into(), self.report.restarts as f64);
        state.scalars.insert("best_value".into(), self.report.best_value);
        state.tensors.push(Tensor::new("mean", &[dim], &self.mean)?);
        state.tensors.push(Tensor::new("best", &[dim], &self.report.best)?);
        let mut copy = self.adaptation.boxed_clone();
        for part in copy.parts() {
            match part {
                Part::Array(name, shape, values) => state.tensors.push(Tensor::new(name, &shape, values)?),
                Part::Number(name, x) => drop(state.scalars.insert(name.into(), *x)),
            }
        }
        Ok(state)
    }

    /// Continues from a saved state with the same settings.
    ///
    /// # Errors
    /// If the state is of something else, of other settings or of another dimension; then nothing has changed.
    pub fn load_state(&mut self, state: &State) -> Result<(), Error> {
        state.expect(KIND, VERSION, DType::F64)?;
        let saved: SearchConfig = serde_json::from_value(state.config.clone())
            .map_err(|e| Error::Checkpoint { what: format!("settings of the search: {e}") })?;
        if saved != self.config {
            return Err(Error::Checkpoint { what: "the search was saved with other settings".into() });
        }
        let array = |name: &str, len: usize| -> Result<Vec<f64>, Error> {
            let values = state.tensor(name)?.data.to_vec::<f64>()?;
            check_len("array of the checkpoint", len, values.len())?;
            Ok(values)
        };
        let dim = self.mean.len();
        let (mean, best) = (array("mean", dim)?, array("best", dim)?);
        let mut adaptation = self.adaptation.boxed_clone();
        for part in adaptation.parts() {
            match part {
                Part::Array(name, _, values) => values.copy_from_slice(&array(name, values.len())?),
                Part::Number(name, x) => *x = state.scalar(name)?,
            }
        }
        adaptation.loaded()?;
        self.report = SearchReport {
            evaluations: crate::slots::counter(state, "evaluations")?,
            generations: state.step,
            restarts: crate::slots::counter(state, "restarts")?,
            best_value: state.scalar("best_value")?,
            best,
        };
        (self.mean, self.adaptation) = (mean, adaptation);
        Ok(())
    }
}
