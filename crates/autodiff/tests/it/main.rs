//! The contract of the crate, through its public interface.

mod calls;
mod cases;
mod chunks;
mod collapse;
mod compose;
mod data;
mod derivatives;
mod exec;
mod identities;
mod jets;
mod nn;
mod pde;
mod properties;
mod simplify;
mod stack;
mod strides;
mod taps;
mod tracing;
