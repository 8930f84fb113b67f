//! Curvature of neural networks as linear operators.
//!
//! A [`Risk`] is a model program, a loss program and data; from it come its gradient and its curvature matrices as
//! [`linop_core::LinearOperator`]s, which are never stored (arXiv:2501.19183).
//!
//! | wanted | item |
//! |---|---|
//! | a model from a file, a named loss and its reduction | [`Supervised`] |
//! | programs of your own | [`Risk::new`] |
//! | gradient | [`Risk::gradient`], [`Risk::value_and_gradient`] |
//! | Hessian, generalised Gauss-Newton matrix | [`Risk::hessian`], [`Risk::ggn`] |
//! | Fisher matrices: Monte Carlo, empirical | [`Risk::fisher`] with [`Fisher`] |
//! | Jacobian of the outputs in the parameters | [`Risk::jacobian`] |
//! | some parameters only | [`Risk::block`] |
//! | how a product is made, and what it keeps | [`ProductReport`], [`Risk::with_memory`], [`Risk::with_products`] |
//!
//! Eigenvalues, solves and estimates come from `linop_core::krylov` and `sketch`, which take any operator.
//!
//! ```
//! use autodiff::{Array, TensorType, Value, trace};
//! use curvature::{Batch, Risk};
//! // Least squares with two parameters: the Hessian is 2/N X^T X.
//! let model = |n: usize| trace(
//!     &[("params", TensorType::real(&[2])), ("inputs", TensorType::real(&[n, 2]))],
//!     |_, t| vec![("f", t[1].matmul(&t[0]))],
//! );
//! let loss = |f: &TensorType, y: &[TensorType]| trace(
//!     &[("f", f.clone()), ("y", y[0].clone())],
//!     |_, t| vec![("sum", (&t[0] - &t[1]).powf(2.0).sum_all())],
//! );
//! let x = Array::new(&[2, 2], vec![1.0, 0.0, 1.0, 2.0]).unwrap();
//! let y = Array::new(&[2], vec![1.0, 3.0]).unwrap();
//! let batch = Batch { inputs: Value::Real(x), targets: vec![Value::Real(y)] };
//! let risk = Risk::new(model, loss, vec![0.0, 0.0], vec![batch], 0.5)?;
//! let dense = linop_core::to_dense(&risk.hessian()?, numerics::Par::Seq)?;
//! assert_eq!((dense[(0, 0)], dense[(0, 1)], dense[(1, 1)]), (2.0, 2.0, 4.0));
//! # Ok::<(), curvature::Error>(())
//! ```
#![forbid(unsafe_code)]

mod block;
mod choice;
mod chunk;
mod diagonal;
mod engine;
mod error;
mod fisher;
mod gradient;
mod layers;
pub mod loss;
mod operator;
mod programs;
mod risk;
mod split;
mod supervised;

pub use engine::{Mode, ProductReport};
pub use error::Error;
pub use fisher::{EfScale, Fisher, Granularity};
pub use gradient::Gradient;
pub use operator::{CurvatureOperator, JacobianOperator};
pub use risk::{Batch, Risk};
pub use supervised::{Example, Reduction, Supervised};
