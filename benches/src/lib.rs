//! What the benchmarks share.

pub mod optimizers;
