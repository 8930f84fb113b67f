//! Linear operators: algebra, properties, structured solves, Krylov methods.
#![forbid(unsafe_code)]

mod error;
mod operator;

pub use error::Error;
pub use operator::{Cost, LinearOperator};
