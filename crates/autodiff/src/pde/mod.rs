//! Differential operators of a traced function in its input: one program that evaluates them, exactly, by Taylor mode.
//!
//! Points stand in the last axis of one input, data in the axes before it; each datum's output depends on its own point only.
//! Every operator is available by nested first-order derivatives, by standard and by collapsed Taylor mode
//! (arXiv:2505.13644), so that the gain can be seen; collapsed is the default. The Laplacian by collapsed Taylor mode is what is
//! known as the forward Laplacian (arXiv:2307.08214).

mod build;
mod choice;
mod chunks;
mod compress;
mod family;
mod footprint;
mod interpolate;
mod points;
mod rational;
mod streams;
mod tuple;

pub use build::{Coefficients, Cost, Drift, Operator, Pde, Scheme};
pub use chunks::{Chunked, chunk_size};
pub use footprint::Footprint;
pub use points::Strategy;
pub use streams::{Stream, Streams};
