//! Linear operators: algebra, properties, structured solves, Krylov methods.
#![forbid(unsafe_code)]

pub mod algebra;
pub mod bridge;
pub mod dispatch;
mod error;
mod kind;
pub mod krylov;
mod op;
mod operator;
pub mod ops;
mod props;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::Error;
pub use kind::Kind;
pub use op::{Op, to_dense};
pub use operator::{Cost, LinearOperator};
pub use props::Props;
