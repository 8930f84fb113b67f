//! Weight decay: the conventions in use, and what each does to the weights around a step.
//!
//! With learning rate `lr = lr0 * s`, `s` the schedule's multiplier, and direction `D`:
//! decoupled `W <- W (1 - lr wd) - lr D`; after, on the new weights, `W <- W - lr D`, then `W <- W - lr wd W`;
//! corrected `wd s` in place of `wd`, so that the equilibrium does not move with the schedule; independent
//! `W <- W (1 - s wd) - lr D`; L2 adds `wd W` to the gradient.

use serde::{Deserialize, Serialize};

/// How weight decay acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// The weights shrink by `1 - lr wd` before the step.
    #[default]
    Decoupled,
    /// The new weights shrink by `1 - lr wd` after the step, as in the released SOAP and KL-Shampoo.
    After,
    /// Decoupled, with `wd` scaled by the schedule once more.
    Corrected,
    /// The weights shrink by `1 - s wd`, `s` the schedule's multiplier, whatever the learning rate.
    Independent,
    /// `wd W` is added to the gradient, and so passes through momentum and preconditioner.
    L2,
}

/// The convention as factors: `g + l2 W` enters, `before` and `after` shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shrink {
    pub(crate) l2: f64,
    pub(crate) before: f64,
    pub(crate) after: f64,
}

impl Decay {
    /// Factors of one step with peak rate `lr` and multiplier `s`.
    pub(crate) fn shrink(self, lr: f64, s: f64, weight_decay: f64) -> Shrink {
        let none = Shrink::default();
        match self {
            Decay::Decoupled => Shrink { before: lr * s * weight_decay, ..none },
            Decay::After => Shrink { after: lr * s * weight_decay, ..none },
            Decay::Corrected => Shrink { before: lr * s * s * weight_decay, ..none },
            Decay::Independent => Shrink { before: s * weight_decay, ..none },
            Decay::L2 => Shrink { l2: weight_decay, ..none },
        }
    }
}
