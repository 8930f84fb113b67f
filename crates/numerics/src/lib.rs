//! The ground of osculate: scalars, dense factorisations, SIMD kernels, random streams, array files, progress.
//!
//! | wanted | module |
//! |---|---|
//! | products, factorisations, eigenvalues, roots and exponentials of dense matrices: faer's, with finiteness checked, errors typed, and bits that do not depend on the number of columns | [`dense`] |
//! | elementwise functions over slices, at a few ulp, by the widest vectors of the machine | [`simd`] |
//! | random numbers addressed by seed, role and index | [`rng`] |
//! | safetensors files and saved states, written atomically | [`store`] |
//! | progress and cancellation of long loops | [`progress`] |
//! | what is generic over `f32` and `f64` | [`Scalar`], [`DType`] |
//!
//! ```
//! use numerics::{Mat, dense};
//! let a = Mat::from_fn(3, 3, |i, j| if i == j { 2.0_f64 } else { 1.0 });
//! let eigen = dense::eigh(a.as_ref())?;
//! assert!((eigen.values[0] - 1.0).abs() < 1e-14 && (eigen.values[2] - 4.0).abs() < 1e-14);
//! # Ok::<(), numerics::Error>(())
//! ```
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
