//! Vectorised elementwise kernels, chosen at run time for the instruction set of the machine.

/// What [`crate::Scalar`] asks of a type so that each elementwise kernel is compiled once per instruction set.
pub trait SimdKernels: Sized {}
impl SimdKernels for f32 {}
impl SimdKernels for f64 {}
