//! Structured sketches: short wide operators S (l x n) with `E[S^T S] = I` that cost `n log n` or `n` a product and
//! `O(n)` memory, for data that are at hand. A matrix-free operator still sees dense probe columns, so there they pay
//! only where the test matrix must not be stored.
//!
//! | sketch | product of one column | source |
//! |---|---|---|
//! | [`Srht`] | n log n additions | subsampled randomised Hadamard transform, Tropp 2011 |
//! | [`Ssrht`] | 2 n log n additions | arXiv:1902.08651 section 3.2, with the Hadamard transform in place of the cosine transform |
//! | [`SparseSigns`] | 8 n additions | arXiv:1902.08651 section 3.3; with one entry a column, count sketch |
//!
//! Rows of the Hadamard sketches are orthogonal on the space padded to a power of two.

mod fwht;
mod hadamard;
mod sparse;

pub use fwht::fwht;
pub use hadamard::{Srht, Ssrht};
pub use sparse::SparseSigns;

use crate::Error;
use numerics::rng::{Role, Stream};

/// Signs drawn for stage `stage` of sketch `ordinal`.
fn signs(seed: u64, ordinal: u64, stage: u64, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n];
    Stream::new(seed, Role::StructuredSketch, ordinal, stage).fill_signs(&mut out);
    out
}

/// A permutation of `0..n`.
fn permutation(seed: u64, ordinal: u64, stage: u64, n: usize) -> Vec<usize> {
    let mut out: Vec<usize> = (0..n).collect();
    Stream::new(seed, Role::StructuredSketch, ordinal, stage).shuffle(&mut out);
    out
}

/// Sizes that make sense: at least one row, no more than the side.
fn check(op: &'static str, l: usize, n: usize) -> Result<(), Error> {
    if l == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    if l > n {
        return Err(Error::TooManyProbes { op, asked: l, limit: n });
    }
    Ok(())
}
