//! The contract of the crate, through its public interface.

mod identities;
mod layers;

mod operators;
