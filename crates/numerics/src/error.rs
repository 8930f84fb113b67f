//! The error of this crate: what a caller can meet with wrong shapes, bad numbers, singular systems or broken files.

/// What can go wrong in dense algebra, random streams and array files.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two sizes that had to agree do not.
    #[error("{op}: expected {expected}, got {got}")]
    ShapeMismatch {
        /// The operation.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What came.
        got: String,
    },
    /// An operand holds a NaN or an infinity.
    #[error("{op}: {operand} holds a NaN or an infinity")]
    NotFinite {
        /// The operation.
        op: &'static str,
        /// Which operand.
        operand: &'static str,
    },
    /// A positive definite matrix was needed.
    #[error("{op}: not positive definite (pivot {pivot})")]
    NotPositiveDefinite {
        /// The operation.
        op: &'static str,
        /// Index of the first pivot that is not positive.
        pivot: usize,
    },
    /// The matrix has no inverse.
    #[error("{op}: the matrix is singular")]
    Singular {
        /// The operation.
        op: &'static str,
    },
    /// An iteration reached its limit.
    #[error("{op}: no convergence (dimension {n})")]
    NoConvergence {
        /// The operation.
        op: &'static str,
        /// Dimension of the problem.
        n: usize,
    },
    /// The operating system refused a file operation.
    #[error("{path}: {what}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        what: String,
    },
    /// A file or text is not what it should be.
    #[error("{path}: {what}")]
    Format {
        /// The file, or the name of what was parsed.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn shape(op: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Error::ShapeMismatch { op, expected: expected.into(), got: got.into() }
    }
}
