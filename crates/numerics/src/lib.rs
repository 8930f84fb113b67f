//! The ground of osculate: scalars, dense factorisations, SIMD kernels, random streams, array files, progress.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod dense;
mod error;
pub mod progress;
pub mod rng;
mod scalar;
pub mod simd;
pub mod store;

pub use error::Error;
pub use scalar::{DType, DoubleView, Scalar};

/// faer's vocabulary for dense data, re-exported so that everyone names the same version.
pub use faer::{
    Mat, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack, StackReq},
};
