//! Linear operators: algebra, properties, structured solves, Krylov methods.
//!
//! ```
//! use linop_core::{Kind, LinearOperator, Op, Props, ops::Dense};
//! use numerics::{Mat, Par};
//! let a = Op::new(Dense::with_props(Mat::from_fn(2, 2, |i, j| if i == j { 2.0 } else { 1.0 }), Props::PD));
//! // A damped Kronecker product keeps its facts and is inverted through its factors.
//! let damped = a.kron(&a)?.shifted(0.1)?;
//! assert!(damped.props().contains(Props::PD));
//! let inverse = damped.inverse(Par::Seq)?;
//! assert!(matches!(inverse.kind(), Kind::Eigh(_)));
//! # Ok::<(), linop_core::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod algebra;
pub mod bridge;
pub mod dispatch;
mod error;
pub mod inverse;
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
