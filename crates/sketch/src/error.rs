//! The error of this crate: what a caller can meet with wrong shapes, bad numbers or too small a sketch.

/// What can go wrong when structure is estimated from products.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A square operator was needed.
    #[error("{op}: needs a square operator, got {nrows} x {ncols}")]
    NotSquare {
        /// The method.
        op: &'static str,
        /// Rows.
        nrows: usize,
        /// Columns.
        ncols: usize,
    },
    /// A method needs a symmetric operator and the operator does not say that it is.
    #[error("{op}: needs an operator known to be self-adjoint; if it is, say so with `assume`")]
    NotSymmetric {
        /// The method.
        op: &'static str,
    },
    /// More probes than the dimension allows.
    #[error("{op}: {asked} probes for dimension {limit}")]
    TooManyProbes {
        /// The method.
        op: &'static str,
        /// Probes asked for.
        asked: usize,
        /// The most there can be.
        limit: usize,
    },
    /// The sketch shows a direction of negative curvature.
    #[error("{op}: the operator is not positive semidefinite (eigenvalue {value:.3e} of the sketched core)")]
    NotPsd {
        /// The method.
        op: &'static str,
        /// The most negative eigenvalue of the core.
        value: f64,
    },
    /// The operator offers no transposed product.
    #[error("{op}: needs transposed products, which the operator does not offer")]
    TransposeUnavailable {
        /// The method.
        op: &'static str,
    },
    /// A product came back with a NaN or an infinity.
    #[error("{op}: product {column} (counted from 0) holds a NaN or an infinity")]
    NonFinite {
        /// The method.
        op: &'static str,
        /// Which column, counted over all products of the run.
        column: usize,
    },
    /// An iteration ended without meeting its tolerance.
    #[error("{op}: no convergence after {iterations} iterations, residual {residual:.3e}")]
    NotConverged {
        /// The method.
        op: &'static str,
        /// Iterations done.
        iterations: usize,
        /// Residual attained.
        residual: f64,
    },
    /// The number of products is too small for the method.
    #[error("{op}: needs at least {needed} products, got {got}")]
    SketchTooSmall {
        /// The method.
        op: &'static str,
        /// The least that works.
        needed: usize,
        /// What was given.
        got: usize,
    },
    /// A diagonal entry is too small to divide by.
    #[error("{op}: the diagonal entry {index} is {value:.3e}, too small to divide by")]
    IllConditionedDiagonal {
        /// The operation.
        op: &'static str,
        /// Which entry.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A matrix is not positive definite.
    #[error("{op}: not positive definite")]
    NotPositiveDefinite {
        /// The operation.
        op: &'static str,
    },
    /// A parameter is outside its range.
    #[error("{op}: {what}")]
    InvalidArgument {
        /// The method.
        op: &'static str,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The observer asked to stop before there was anything to report.
    #[error("{op}: interrupted after {products} products")]
    Interrupted {
        /// The method.
        op: &'static str,
        /// Products spent.
        products: usize,
    },
    /// An operator failed.
    #[error(transparent)]
    Operator(linop_core::Error),
    /// A dense routine or a file failed.
    #[error(transparent)]
    Dense(#[from] numerics::Error),
}

impl From<linop_core::Error> for Error {
    fn from(error: linop_core::Error) -> Self {
        match error {
            linop_core::Error::TransposeUnavailable { op } => Error::TransposeUnavailable { op },
            linop_core::Error::NotSquare { op, nrows, ncols } => Error::NotSquare { op, nrows, ncols },
            linop_core::Error::Dense(inner) => Error::Dense(inner),
            other => Error::Operator(other),
        }
    }
}

impl Error {
    pub(crate) fn argument(op: &'static str, what: impl Into<String>) -> Self {
        Error::InvalidArgument { op, what: what.into() }
    }
}
