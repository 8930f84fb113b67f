//! What the benchmarks share: the networks that the claims are about, and how times are compared on a machine that others use too.

pub mod optimizers;
pub mod options;
pub mod perceptron;
pub mod rounds;
pub mod taylor;

use numerics::Scalar;
use numerics::rng::{Role, Stream};

/// Uniform numbers in `[0, 1)`.
pub fn numbers<T: Scalar>(n: usize, stream: u64) -> Vec<T> {
    let mut x = vec![T::ZERO; n];
    Stream::new(0, Role::SyntheticMatrix, stream, 0).fill_uniform(&mut x);
    x
}
