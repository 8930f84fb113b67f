//! The contract of the crate, through its public interface.

mod calls;
mod cases;
mod chunks;
mod collapse;
mod compose;
#[path = "../../../numerics/tests/it/damage.rs"]
mod damage;
mod data;
mod derivatives;
mod estimates;
mod exec;
mod functionals;
mod fusion;
mod hostile;
mod identities;
mod jets;
mod nested;
mod nn;
mod pde;
mod properties;
mod recompute;
mod simplify;
mod stack;
mod streams;
mod strides;
mod taps;
mod tracing;
