//! Inverses: by structure, by dense factorisation, by iteration; damped ones of Kronecker products; pseudo-inverses.
//!
//! - `rules`: the inverse column of the dispatch table, one arm per [`Kind`](crate::Kind);
//! - `woodbury`, `schur`, `two_term`: the formulas that rules with parts need;
//! - [`solver`]: chooses between a rule, a factorisation and an iteration by cost, and reports the choice;
//! - [`damped`]: `(A + delta I)^-1` of Kronecker products, plain, heuristic or exact;
//! - [`pinv`]: pseudo-inverses, on request only.

mod auto;
mod damped;
mod pseudo;
mod rules;
mod schur;
mod two_term;
mod woodbury;

pub use auto::{Algorithm, AutoOptions, AutoReport, Choice, solver};
pub use damped::{Damped, DampedReport, Damping, damped};
pub use pseudo::pinv;
pub use rules::inverse;

pub(crate) use auto::Log;
pub(crate) use rules::{inverse_in, spectral};
pub(crate) use schur::Schur;
pub(crate) use two_term::TwoTerm;
pub(crate) use woodbury::{Woodbury, through_base};

use crate::Error;

pub(crate) const SINGULAR: Error = Error::Singular { op: "inverse" };
