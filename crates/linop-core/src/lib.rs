//! Linear operators: algebra, properties, structured solves, Krylov methods.
#![forbid(unsafe_code)]

mod error;
mod kind;
mod op;
mod operator;
mod props;

pub use error::Error;
pub use kind::Kind;
pub use op::Op;
pub use operator::{Cost, LinearOperator};
pub use props::Props;
