//! What a tour is asked to do.

use super::Error;
use serde::{Deserialize, Serialize};

/// Sizes and seed of a tour. Equal settings give equal findings.
///
/// ```
/// use osculate::tour::Settings;
/// assert!(Settings::fast(0).check().is_ok());
/// assert!(Settings { eigenvalues: 0, ..Settings::full(0) }.check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Seed of the split, the initial weights, the order of the data and all probing vectors.
    pub seed: u64,
    /// Pictures to train on.
    pub train: usize,
    /// Pictures to test on.
    pub test: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Passes over the training pictures.
    pub epochs: u64,
    /// Pictures of one training step.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Training pictures on which curvature is taken.
    pub curvature_data: usize,
    /// Pictures of one mini-batch of a curvature product; the result does not depend on it.
    pub curvature_batch: usize,
    /// Extreme eigenvalues, at each end.
    pub eigenvalues: usize,
    /// Whether to compute every eigenvalue of the Hessian from its dense matrix as well.
    pub whole_spectrum: bool,
    /// Hidden width of the network whose matrices are drawn.
    pub small_hidden: usize,
    /// Points of each curve of the loss.
    pub points: usize,
    /// Products of each fit of low rank plus diagonal; those beyond the number of parameters are left out.
    pub structure_products: Vec<usize>,
    /// Repetitions of each timing.
    pub repeats: usize,
    /// Steps of each optimiser on the digits.
    pub digit_steps: u64,
    /// Steps of each optimiser on the small language model.
    pub symbol_steps: u64,
    /// Hidden width of the small language model.
    pub symbol_hidden: usize,
}

impl Settings {
    /// The whole tour.
    pub fn full(seed: u64) -> Self {
        Settings {
            seed,
            train: 1500,
            test: 297,
            hidden: vec![32, 32],
            epochs: 40,
            batch: 50,
            learning_rate: 3e-3,
            weight_decay: 0.05,
            curvature_data: 1500,
            curvature_batch: 250,
            eigenvalues: 20,
            whole_spectrum: true,
            small_hidden: 8,
            points: 81,
            structure_products: vec![20, 40, 80, 160, 320],
            repeats: 15,
            digit_steps: 240,
            symbol_steps: 360,
            symbol_hidden: 64,
        }
    }

    /// A smaller network and less data, for a first look.
    pub fn fast(seed: u64) -> Self {
        Settings {
            hidden: vec![16],
            epochs: 25,
            curvature_data: 500,
            eigenvalues: 15,
            points: 41,
            structure_products: vec![20, 40, 80],
            repeats: 7,
            digit_steps: 60,
            symbol_steps: 60,
            symbol_hidden: 32,
            ..Settings::full(seed)
        }
    }

    /// The least that shows every chapter: for tests.
    pub fn tiny(seed: u64) -> Self {
        Settings {
            train: 120,
            test: 60,
            hidden: vec![5],
            epochs: 3,
            batch: 30,
            curvature_data: 40,
            curvature_batch: 25,
            eigenvalues: 3,
            small_hidden: 3,
            points: 7,
            structure_products: vec![12, 24],
            repeats: 1,
            digit_steps: 4,
            symbol_steps: 4,
            symbol_hidden: 4,
            whole_spectrum: false,
            ..Settings::full(seed)
        }
    }

    /// Fails if the sizes do not fit the data or each other.
    ///
    /// # Errors
    /// `Settings`, saying which.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            (self.train > 0 && self.test > 0, "train and test must be at least 1"),
            (self.train + self.test <= 1797, "there are 1797 pictures for train and test together"),
            ((1..=self.train).contains(&self.batch), "batch must be from 1 to train"),
            ((1..=self.train).contains(&self.curvature_data), "curvature_data must be from 1 to train"),
            (self.curvature_batch > 0, "curvature_batch must be at least 1"),
            (self.epochs > 0, "epochs must be at least 1"),
            (self.hidden.iter().chain([&self.small_hidden]).all(|&h| h > 0), "hidden widths must be at least 1"),
            (self.eigenvalues >= 2, "eigenvalues must be at least 2"),
            (self.points >= 5, "points must be at least 5"),
            (self.structure_products.iter().all(|&m| m >= 8), "structure_products must be at least 8 each"),
            (self.repeats > 0, "repeats must be at least 1"),
            (self.digit_steps > 0 && self.symbol_steps > 0, "steps of the optimisers must be at least 1"),
            (self.digit_steps.max(self.symbol_steps) <= 1 << 32, "steps of the optimisers are too many to count"),
            (self.symbol_hidden > 0, "symbol_hidden must be at least 1"),
        ];
        match rules.iter().find(|r| !r.0) {
            Some((_, what)) => Err(Error::Settings((*what).into())),
            None => Ok(()),
        }
    }
}
