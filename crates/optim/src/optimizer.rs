//! The one interface of all methods.

use crate::{Error, Grads, ParamList};
use numerics::{Scalar, store::State};

/// What to do when a gradient holds a NaN or an infinity. In both cases it never enters the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// Return an error, with parameters and state as they were.
    #[default]
    Error,
    /// Leave out the whole step, count it, and say so in [`StepInfo`].
    Skip,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepInfo {
    /// Steps done so far, this one included, skipped ones not.
    pub step: u64,
    /// Tensors changed by this step.
    pub updated: usize,
    /// Tensors left alone because they had no gradient.
    pub missing: usize,
    /// The step was left out because the gradient of the tensor with this index is not finite.
    pub skipped: Option<usize>,
}

/// The second moment of one tensor's gradients, as an optimiser accumulated it.
///
/// `v` is the raw accumulator `v <- beta2 v + (1 - beta2) g^2` from zero, without bias correction: the input of
/// Fisher-diagonal estimates that need no pass over the data (arXiv:2507.18807).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondMoment<'a, T> {
    /// The accumulator, row-major.
    pub v: &'a [T],
    /// Its decay.
    pub beta2: f64,
    /// How many gradients went into it.
    pub count: u64,
}

/// A method that changes parameters along gradients.
///
/// Decay parameters are always decays (near one). The learning rate of a step is the configured one times the
/// multiplier of that step, see [`crate::Schedule`]. A tensor whose gradient is missing keeps its values and its
/// whole state, its step counter included, and is not decayed; its first gradient, whenever it comes, is its first
/// step. Saving and loading at any step continues with the same bits.
pub trait Optimizer<T: Scalar>: Send {
    /// Short name, as in checkpoints.
    fn kind(&self) -> &'static str;

    /// Takes the parameter list and allocates a fresh state for it, forgetting any earlier one.
    ///
    /// # Errors
    /// If a group's settings are out of range.
    fn init(&mut self, list: &ParamList) -> Result<(), Error>;

    /// Number of data that the next gradients are a mean over; methods without a root weigh their statistics by it, the
    /// others do not ask.
    ///
    /// # Errors
    /// Unless positive and finite.
    fn set_batch(&mut self, batch: f64) -> Result<(), Error> {
        crate::error::check(batch > 0.0 && batch.is_finite(), "batch", batch, "positive and finite")
    }

    /// One step, in place.
    ///
    /// # Errors
    /// Before anything has changed: lengths that do not fit the list, a multiplier that is negative or not finite,
    /// a gradient that is not finite under [`NonFinite::Error`], or no list yet.
    fn step(&mut self, params: &mut [T], grads: Grads<'_, T>, lr_multiplier: f64) -> Result<StepInfo, Error>;

    /// Everything needed to resume.
    ///
    /// # Errors
    /// If there is no list yet.
    fn state(&self) -> Result<State, Error>;

    /// Continues from a saved state; the list must have been given by [`Optimizer::init`]. The settings stay those
    /// of this optimiser, so a run may be resumed with a different learning rate.
    ///
    /// # Errors
    /// If the state is of another kind, version or precision, or of other parameters; then nothing has changed.
    fn load_state(&mut self, state: &State) -> Result<(), Error>;

    /// The second moment of the tensor with this index, if the method keeps one.
    fn second_moment(&self, param: usize) -> Option<SecondMoment<'_, T>> {
        let _ = param;
        None
    }
}
