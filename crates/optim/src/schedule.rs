//! Learning-rate schedules as pure functions of the step number.
//!
//! Nothing is remembered between steps, so resuming a run is calling the same function with the next number.
//! A schedule gives the multiplier of the step about to be taken, counted from zero; its peak is one.

use crate::Error;
use crate::error::check;
use serde::{Deserialize, Serialize};

/// What happens after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "shape")]
#[serde(deny_unknown_fields)]
pub enum DecayShape {
    /// One for ever.
    Constant,
    /// Half a cosine from one to `floor` at step `total`, then `floor`.
    Cosine {
        /// Step at which the floor is reached.
        total: u64,
        /// Last value.
        floor: f64,
    },
    /// A line from one to `floor` at step `total`, then `floor`.
    Linear {
        /// Step at which the floor is reached.
        total: u64,
        /// Last value.
        floor: f64,
    },
    /// Warm-up, stable, decay: one until `decay` steps before `total`, then a line to `floor` (arXiv:2404.06395).
    Wsd {
        /// Step at which the floor is reached.
        total: u64,
        /// Length of the decay.
        decay: u64,
        /// Last value.
        floor: f64,
    },
}

/// Warm-up on a line, then a [`DecayShape`].
///
/// ```
/// use optim::Schedule;
/// let s = Schedule::wsd(100, 20, 0.1).warmup(4);
/// s.check()?;
/// assert_eq!((s.at(0), s.at(3), s.at(79)), (0.25, 1.0, 1.0));
/// assert!((s.at(90) - 0.55).abs() < 1e-15);
/// assert_eq!(s.at(100), 0.1);
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Steps of warm-up: step `s` below it has multiplier `(s + 1) / warmup`, so the first one moves already.
    #[serde(default)]
    pub warmup: u64,
    /// What follows.
    #[serde(flatten)]
    pub shape: DecayShape,
}

impl Schedule {
    fn new(shape: DecayShape) -> Self {
        Schedule { warmup: 0, shape }
    }

    /// Always one.
    pub fn constant() -> Self {
        Schedule::new(DecayShape::Constant)
    }

    /// Half a cosine down to `floor` at step `total`.
    pub fn cosine(total: u64, floor: f64) -> Self {
        Schedule::new(DecayShape::Cosine { total, floor })
    }

    /// A line down to `floor` at step `total`.
    pub fn linear(total: u64, floor: f64) -> Self {
        Schedule::new(DecayShape::Linear { total, floor })
    }

    /// One, then a line down to `floor` over the last `decay` of `total` steps.
    pub fn wsd(total: u64, decay: u64, floor: f64) -> Self {
        Schedule::new(DecayShape::Wsd { total, decay, floor })
    }

    /// Sets the steps of warm-up; they count towards `total`.
    #[must_use]
    pub fn warmup(mut self, steps: u64) -> Self {
        self.warmup = steps;
        self
    }

    /// Fails if warm-up and decay do not fit into the total, or the floor is outside `[0, 1]`.
    ///
    /// # Errors
    /// `Setting`, naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let (total, decay, floor) = match self.shape {
            DecayShape::Constant => return Ok(()),
            DecayShape::Cosine { total, floor } | DecayShape::Linear { total, floor } => (total, 0, floor),
            DecayShape::Wsd { total, decay, floor } => (total, decay, floor),
        };
        check((0.0..=1.0).contains(&floor), "floor", floor, "in [0, 1]")?;
        check(self.warmup <= total, "warmup", self.warmup as f64, "at most the total number of steps")?;
        check(decay <= total - self.warmup, "decay", decay as f64, "at most what warm-up leaves of the total")
    }

    /// Multiplier of the step with this number, counted from zero.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        match self.shape {
            DecayShape::Constant => 1.0,
            DecayShape::Cosine { total, floor } => {
                let x = progress(step, self.warmup, total);
                blend((0.5 * (1.0 + (core::f64::consts::PI * x).cos())).max(0.0), floor)
            }
            DecayShape::Linear { total, floor } => blend(1.0 - progress(step, self.warmup, total), floor),
            DecayShape::Wsd { total, decay, floor } => {
                blend(1.0 - progress(step, total.saturating_sub(decay), total), floor)
            }
        }
    }
}

/// How far `step` is on the way from `from` to `to`, in `[0, 1]`.
fn progress(step: u64, from: u64, to: u64) -> f64 {
    match step {
        s if s >= to => 1.0,
        s if s <= from => 0.0,
        s => (s - from) as f64 / (to - from) as f64,
    }
}

/// `floor` at 0 and one at 1, exactly.
fn blend(x: f64, floor: f64) -> f64 {
    if x >= 1.0 { 1.0 } else { floor + (1.0 - floor) * x }
}
