//! The contract between a method's rule for one block and what surrounds it.

use super::Layout;
use crate::kron_engine::FactorKind;
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::{Par, Scalar, simd};

/// What a rule gets for one step; arrays are contiguous and row-major.
pub(crate) struct Call<'a, T> {
    pub(crate) g: &'a [T],
    /// Receives the direction: the step is `-lr` times it.
    pub(crate) out: &'a mut [T],
    /// At least [`Rule::scratch_len`] long.
    pub(crate) scratch: &'a mut [T],
    /// Number of data behind the gradient.
    pub(crate) batch: f64,
    pub(crate) par: Par,
}

/// What a rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// There is a direction; otherwise the weights are not touched, decay included.
    pub(crate) moves: bool,
    /// The mode whose decomposition has just failed once too often.
    pub(crate) stuck: Option<usize>,
}

impl Done {
    pub(crate) const MOVE: Done = Done { moves: true, stuck: None };
    pub(crate) const HOLD: Done = Done { moves: false, stuck: None };
}

/// One number or array of a rule's state.
pub(crate) enum Slot<'a, T> {
    Array(Vec<usize>, &'a mut [T]),
    Count(&'a mut u64),
    Flag(&'a mut bool),
}

/// A named part of a rule's state.
pub(crate) struct Field<'a, T> {
    pub(crate) name: String,
    pub(crate) slot: Slot<'a, T>,
}

impl<'a, T> Field<'a, T> {
    pub(crate) fn array(name: impl Into<String>, shape: &[usize], values: &'a mut [T]) -> Self {
        Field { name: name.into(), slot: Slot::Array(shape.to_vec(), values) }
    }

    pub(crate) fn count(name: impl Into<String>, value: &'a mut u64) -> Self {
        Field { name: name.into(), slot: Slot::Count(value) }
    }

    pub(crate) fn flag(name: impl Into<String>, value: &'a mut bool) -> Self {
        Field { name: name.into(), slot: Slot::Flag(value) }
    }
}

/// A method's rule for one block, with its state.
pub trait Rule<T: Scalar>: Send {
    /// Elements of scratch that a step needs.
    fn scratch_len(&self) -> usize;

    /// Turns a gradient into a direction and learns from it.
    ///
    /// # Errors
    /// Failures that leave nothing to continue from.
    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error>;

    /// Everything needed to resume.
    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>>;

    /// A copy, which saving works on.
    fn boxed_clone(&self) -> Box<dyn Rule<T>>;

    /// Distinguishes storage forms whose arrays have the same shapes.
    fn layout_tag(&self) -> u64 {
        0
    }

    /// Largest root mean square of a direction.
    fn max_update_rms(&self) -> Option<f64> {
        None
    }

    /// Scale directions to root mean square one.
    fn normalizes(&self) -> bool {
        false
    }
}

/// What all methods' settings have in common.
#[derive(Clone, Debug)]
pub struct Common {
    pub(crate) lr: f64,
    pub(crate) weight_decay: f64,
    pub(crate) decay: Decay,
    pub(crate) layout: Layout,
    pub(crate) vectors: AdamWConfig,
    pub(crate) non_finite: NonFinite,
}

/// Settings of a method that [`super::Preconditioned`] can run. Implemented by the configurations of this crate.
pub trait Settings<T: Scalar>: Send {
    /// Short name, as in checkpoints.
    fn kind(&self) -> &'static str;

    /// Fails if a setting is out of range.
    ///
    /// # Errors
    /// `Setting`, naming the field.
    fn check(&self) -> Result<(), Error>;

    /// What all methods have in common.
    fn common(&self) -> Common;

    /// These settings with what the group overrides.
    fn for_group(&self, group: &ParamGroup) -> Box<dyn Settings<T>>;

    /// As saved in checkpoints.
    fn json(&self) -> serde_json::Value;

    /// A fresh rule for a block of this shape.
    #[allow(private_interfaces)]
    fn rule(&self, dims: &[usize], kinds: &[FactorKind], ordinal: u64) -> Box<dyn Rule<T>>;
}

/// Decay and rate of one step.
pub(crate) struct Shrinker<T> {
    pub(crate) l2: T,
    before: T,
    after: T,
    lr: T,
}

impl<T: Scalar> Shrinker<T> {
    pub(crate) fn new(c: &Common, multiplier: f64) -> Self {
        let s = c.decay.shrink(c.lr, multiplier, c.weight_decay);
        let f = T::from_f64;
        Shrinker { l2: f(s.l2), before: f(s.before), after: f(s.after), lr: f(c.lr * multiplier) }
    }

    pub(crate) fn apply(&self, w: &mut [T], direction: &[T]) {
        simd::wide(|| {
            for (w, &d) in w.iter_mut().zip(direction) {
                let moved = *w - (self.before * *w + self.lr * d);
                *w = moved - self.after * moved;
            }
        });
    }

    /// Normalises or caps the root mean square of a direction.
    pub(crate) fn limit(&self, direction: &mut [T], normalize: bool, cap: Option<f64>) {
        if !normalize && cap.is_none() {
            return;
        }
        let column = numerics::MatRef::from_column_major_slice(&*direction, direction.len(), 1);
        let rms = numerics::dense::norm_l2(column).to_f64() / (direction.len() as f64).sqrt();
        let mut scale = if normalize { (1e-30 + rms).recip() } else { 1.0 };
        if let Some(cap) = cap
            && rms * scale > cap
        {
            scale = cap / rms;
        }
        if scale != 1.0 {
            let scale = T::from_f64(scale);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
    }
}
