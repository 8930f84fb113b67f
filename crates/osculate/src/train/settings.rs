//! The settings of a run that are not its model, loss or data.

use super::{Error, Group};
use optim::{Method, Schedule};
use serde::{Deserialize, Serialize};

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// This many steps.
    Steps(u64),
    /// This many passes over the training data.
    Epochs(u64),
}

/// The shape of a schedule by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShapeName {
    /// One for ever.
    #[default]
    Constant,
    /// Half a cosine down.
    Cosine,
    /// A line down.
    Linear,
    /// One, then a line down over the last steps.
    Wsd,
}

/// A schedule whose length may be the run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SchedulePlan {
    /// Its shape.
    pub shape: ShapeName,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Step at which the floor is reached; `None` is the end of the run.
    pub total: Option<u64>,
    /// Steps of the decay of `wsd`.
    pub decay: u64,
    /// Last value, as a share of the learning rate.
    pub floor: f64,
}

impl SchedulePlan {
    /// The schedule of a run of so many steps.
    ///
    /// # Errors
    /// Warm-up and decay that do not fit into the total; a floor outside `[0, 1]`.
    pub fn resolve(&self, steps: u64) -> Result<Schedule, Error> {
        let total = self.total.unwrap_or(steps);
        let schedule = match self.shape {
            ShapeName::Constant => Schedule::constant(),
            ShapeName::Cosine => Schedule::cosine(total, self.floor),
            ShapeName::Linear => Schedule::linear(total, self.floor),
            ShapeName::Wsd => Schedule::wsd(total, self.decay, self.floor),
        }
        .warmup(self.warmup);
        schedule.check().map_err(|e| Error::setting("[schedule]", format!("{e} ({total} steps)")))?;
        Ok(schedule)
    }
}

/// How a [`super::Trainer`] goes about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The optimiser.
    pub method: Method,
    /// How long.
    pub length: Length,
    /// Seed of the shuffles.
    pub seed: u64,
    /// Data per step.
    pub batch_size: usize,
    /// A new order every epoch.
    pub shuffle: bool,
    /// Leave out the shorter batch at the end of an epoch.
    pub drop_last: bool,
    /// Parameter groups.
    pub groups: Vec<Group>,
    /// The learning rate's course.
    pub schedule: SchedulePlan,
    /// Largest norm of a gradient.
    pub clip: Option<f64>,
    /// Data evaluated at a time; `None` is the larger of the batch size and 256. Accuracy does not depend on it, the
    /// loss only in its last digits.
    pub eval_batch_size: Option<usize>,
}

impl Settings {
    /// A run of so many steps with batches of 64, shuffled with seed 0, at a constant learning rate.
    pub fn new(method: Method, steps: u64) -> Self {
        Settings {
            method,
            length: Length::Steps(steps),
            seed: 0,
            batch_size: 64,
            shuffle: true,
            drop_last: false,
            groups: Vec::new(),
            schedule: SchedulePlan::default(),
            clip: None,
            eval_batch_size: None,
        }
    }

    pub(super) fn eval_size(&self) -> usize {
        self.eval_batch_size.unwrap_or(self.batch_size.max(256)).max(1)
    }

    /// What may change between a stop and its resumption, for saying that it did.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let groups: Vec<_> = self.groups.iter().map(|g| format!("{g:?}")).collect();
        serde_json::json!({
            "length": format!("{:?}", self.length),
            "optimizer": self.method.settings(),
            "groups": groups,
            "schedule": self.schedule,
            "clip": self.clip,
        })
    }
}
