//! The contract of the crate, through its public interface.

mod cases;
mod derivatives;
mod nn;
mod exec;
mod properties;
mod tracing;
