//! The contract of the crate, through its public interface.

mod calls;
mod cases;
mod collapse;
mod compose;
#[path = "../../../numerics/tests/it/damage.rs"]
mod damage;
mod data;
mod derivatives;
mod exec;
mod hostile;
mod jets;
mod nn;
mod pde;
mod properties;
mod simplify;
mod strides;
mod taps;
mod tracing;
