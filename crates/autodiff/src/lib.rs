//! Traced tensor programs and their derivatives.
//!
//! A closure is traced once into a [`Program`]; every derivative is a transformation from program to program:
//! [`Program::jvp`], [`Program::vjp`], [`Program::linearize`], [`Program::vmap`]; they compose in any order.
//!
//! ```
//! use autodiff::{Array, TensorType, trace};
//! // f(x) = sum(sin(x)^2); its Hessian times v, forward over reverse.
//! let f = trace(&[("x", TensorType::real(&[2]))], |_, x| vec![("f", x[0].sin().powf(2.0).sum_all())])?;
//! let hvp = f.grad(&[0])?.jvp(&[0])?; // (x, v) -> (gradient, Hessian times v)
//! let x = Array::new(&[2], vec![0.3, 0.7]).unwrap();
//! let v = Array::new(&[2], vec![1.0, 0.0]).unwrap();
//! let out = hvp.compile::<f64>()?.call(&[x.into(), v.into()])?;
//! let expected = 2.0 * (0.6f64).cos();
//! assert!((out[1].real().unwrap().data()[0] - expected).abs() < 1e-14);
//! # Ok::<(), autodiff::Error>(())
//! ```
//!
//! # Where to look
//! | wanted | item |
//! |---|---|
//! | write a program | [`trace`], [`Tensor`]; printed with `{}` or [`Program::to_dot`] |
//! | first derivatives | [`Program::grad`], [`Program::value_and_grad`], [`Program::jvp`], [`Program::vjp`], [`Program::linearize`] |
//! | many at once | [`Program::vmap`] |
//! | derivatives of any order along curves | [`Program::jet`], [`Expansion`], [`Program::solution_series`] for differential equations |
//! | Laplacians and other differential operators | [`pde`] |
//! | the same from a program written by hand | [`Program::collapse`] |
//! | what meets a parameter, and what comes back to it | [`Program::taps`] |
//! | run it | [`Program::compile`], [`Executable::run`]; node by node, slowly: [`Program::interpret`] |
//! | where the time goes | [`Executable::profile`], [`Program::flops`] |
//! | layers, losses, models from files | [`nn`] |
#![deny(unsafe_code)]

mod array;
mod error;
#[allow(unsafe_code)]
mod exec;
mod interpret;
mod jet;
pub mod nn;
pub mod ops;
pub mod pde;
mod program;
mod trace;
mod transform;
mod types;

pub use array::{Array, Value};
pub use error::{Error, NumericsError};
pub use exec::{Executable, Input, Output, Peak, Profile, StepProfile, Workspace};
pub use jet::{Expansion, Jet};
pub use program::{Args, Builder, Node, NodeId, Origin, Port, Program};
pub use trace::{Tensor, Tracer, trace};
pub use transform::{Axis, DataAxes, Kind as TapKind, Leaf, Linearized, Orientation, Taps, Unfold, Use};
pub use types::{Dims, Kind, TensorType};
