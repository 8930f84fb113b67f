//! The contract of the crate, checked from outside.

mod bits;
#[path = "../../../numerics/tests/it/damage.rs"]
mod damage;
mod diagonal;
mod entries;
mod hostile;
mod input;
mod lord;
mod options;
mod recovery;
mod spectrum;
mod trace;
mod util;
