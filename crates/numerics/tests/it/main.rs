//! Tests of `numerics` through its public interface, one binary.

mod bits;
mod damage;
mod dense;
mod rng;
mod store;
mod util;
