//! The error of this crate.

/// What can go wrong when a risk is set up or its curvature is multiplied with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model or the loss could not be traced, transformed or run.
    #[error(transparent)]
    Program(#[from] autodiff::Error),
    /// The model or the loss is not set up right.
    #[error(transparent)]
    Model(#[from] autodiff::nn::ModelError),
    /// An operator failed.
    #[error(transparent)]
    Operator(#[from] linop_core::Error),
    /// A program does not have the inputs and outputs that its role asks for.
    #[error("{role}: expected {expected}, got {got}")]
    Interface {
        /// Model or loss.
        role: &'static str,
        /// What it must look like.
        expected: String,
        /// What it looks like.
        got: String,
    },
    /// The data cannot be used.
    #[error("data: {0}")]
    Data(String),
    /// A parameter vector of the wrong length.
    #[error("expected {expected} parameters, got {got}")]
    Parameters {
        /// What the model has.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// A parameter group that is not one.
    #[error("parameters {range:?} as a group: expected increasing places within 0..{total}, none empty")]
    Group {
        /// The first range that does not fit.
        range: core::ops::Range<usize>,
        /// Number of parameters.
        total: usize,
    },
    /// A matrix that this risk does not determine.
    #[error("{what}: {why}")]
    Unsupported {
        /// The matrix.
        what: &'static str,
        /// What is missing.
        why: String,
    },
}
