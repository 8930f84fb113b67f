//! Dense factorisations and products: the one place that calls faer's decompositions.
pub mod kernels;
