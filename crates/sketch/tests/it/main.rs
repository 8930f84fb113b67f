//! The contract of the crate, checked from outside.

mod bits;
mod diagonal;
mod input;
mod lord;
mod recovery;
mod spectrum;
mod trace;
mod util;
