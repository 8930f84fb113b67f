//! What every method is told (seed, law, block width, threads, observer) and what every estimate says about itself.

use core::fmt;
use numerics::Par;
use numerics::progress::{Observer, Silent};
use numerics::rng::Law;

/// Seed, law of the probes, columns per block product, threads, and who watches.
///
/// The numbers that come out depend on `seed` and `law` only: a probe column is one random stream, so neither the
/// block width nor the number of threads changes a bit.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Law of the probes, where the method leaves a choice. Signs unless told otherwise.
    pub law: Law,
    /// Seed of all streams.
    pub seed: u64,
    /// Columns per block product; 0 (the default) to choose by the operator's cost.
    pub block: usize,
    /// Threads.
    pub par: Par,
    /// Told of every block product; may stop the method.
    pub observer: &'a dyn Observer,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Settings { law: Law::Rademacher, seed: 0, block: 0, par: Par::Seq, observer: &Silent }
    }
}

impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("law", &self.law)
            .field("seed", &self.seed)
            .field("block", &self.block)
            .field("par", &self.par)
            .finish_non_exhaustive()
    }
}

impl Settings<'_> {
    /// The defaults with this seed.
    pub fn seeded(seed: u64) -> Self {
        Settings { seed, ..Settings::default() }
    }

    /// The same with another law.
    pub fn with_law(mut self, law: Law) -> Self {
        self.law = law;
        self
    }
}

/// How long an estimator goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Until this many products (with the operator and its transpose together) are spent.
    Products(usize),
    /// Until three standard errors are within `abs + rel |value|`, but no further than `max_products`.
    Tolerance {
        /// Absolute tolerance.
        abs: f64,
        /// Tolerance relative to the estimate.
        rel: f64,
        /// Where to give up.
        max_products: usize,
    },
}

/// How an estimator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No randomness is left in the value: structure gave it, or there were enough products to be exact.
    Exact,
    /// The products of the budget are spent.
    Spent,
    /// The tolerance is met.
    Converged,
    /// The largest number of products was reached before the tolerance.
    NotConverged,
    /// The observer stopped it; the value is what had been computed.
    Interrupted,
}

impl Status {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Status::Exact => "exact",
            Status::Spent => "spent",
            Status::Converged => "converged",
            Status::NotConverged => "not converged",
            Status::Interrupted => "interrupted",
        }
    }
}

/// A value with its standard error and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate<V> {
    /// The estimate.
    pub value: V,
    /// Its standard error (standard deviation of the samples, divided by the root of their number); zero if exact,
    /// absent if a single sample leaves it unknown.
    pub sem: Option<V>,
    /// Products with the operator. For a self-adjoint operator all products count here.
    pub products: usize,
    /// Products with its transpose.
    pub products_t: usize,
    /// How it ended.
    pub status: Status,
}

impl<V> Estimate<V> {
    /// Whether the value is exact or meets the tolerance that was asked for.
    pub fn converged(&self) -> bool {
        matches!(self.status, Status::Exact | Status::Converged)
    }

    /// Products with the operator and its transpose.
    pub fn total_products(&self) -> usize {
        self.products + self.products_t
    }
}

/// Mean and standard error of samples: `sd(ddof 1) / sqrt(k)`.
pub(crate) fn mean_sem(samples: &[f64]) -> (f64, Option<f64>) {
    let k = samples.len();
    if k == 0 {
        return (0.0, None);
    }
    let mean = samples.iter().sum::<f64>() / k as f64;
    if k == 1 {
        return (mean, None);
    }
    let var = samples.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (k - 1) as f64;
    (mean, Some((var / k as f64).sqrt()))
}

/// Running mean and sum of squared deviations of vectors (Welford), so that the samples need not be kept.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) count: usize,
    pub(crate) mean: Vec<f64>,
    square: Vec<f64>,
}

impl Moments {
    pub(crate) fn new(n: usize) -> Self {
        Moments { count: 0, mean: vec![0.0; n], square: vec![0.0; n] }
    }

    /// Adds a sample given entry by entry.
    pub(crate) fn push(&mut self, sample: impl Fn(usize) -> f64) {
        self.count += 1;
        let k = self.count as f64;
        for (i, (m, s)) in self.mean.iter_mut().zip(&mut self.square).enumerate() {
            let x = sample(i);
            let before = x - *m;
            *m += before / k;
            *s += before * (x - *m);
        }
    }

    /// Standard errors of the mean.
    pub(crate) fn sem(&self) -> Option<Vec<f64>> {
        let k = self.count as f64;
        (self.count > 1).then(|| self.square.iter().map(|s| (s.max(0.0) / (k - 1.0) / k).sqrt()).collect())
    }
}
