//! The contract of the crate, through its public interface.

mod cases;
mod derivatives;
mod exec;
mod jets;
mod nn;
mod pde;
mod properties;
mod tracing;
