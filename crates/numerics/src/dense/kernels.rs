//! The non-generic `f32`/`f64` instances behind the generic functions of [`crate::dense`].

/// What [`crate::Scalar`] asks of a type so that heavy faer code is compiled once, in this crate.
pub trait DenseKernels: Sized {}
impl DenseKernels for f32 {}
impl DenseKernels for f64 {}
