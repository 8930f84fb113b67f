//! The error of this crate.

/// What can go wrong when operators are built, combined, applied or solved with.
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
    /// A square operator was needed.
    #[error("{op}: needs a square operator, got {nrows} x {ncols}")]
    NotSquare {
        /// The operation.
        op: &'static str,
        /// Rows.
        nrows: usize,
        /// Columns.
        ncols: usize,
    },
    /// The operator offers no transposed product.
    #[error("{op}: the operator has no transposed product; give one, or assume SELF_ADJOINT if it is")]
    TransposeUnavailable {
        /// The operation.
        op: &'static str,
    },
    /// A property that the algorithm relies on is not known to hold.
    #[error("{op}: the operator is not known to be {needed}; if it is, say so with `assume`")]
    MissingProperty {
        /// The operation.
        op: &'static str,
        /// The property.
        needed: &'static str,
    },
    /// An assumed property is false.
    #[error("{op}: assumed {property} does not hold (violation {violation:.3e})")]
    FalseAssumption {
        /// The operation.
        op: &'static str,
        /// The property.
        property: &'static str,
        /// How far off.
        violation: f64,
    },
    /// A positive definite operator was needed.
    #[error("{op}: not positive definite (pivot or step {pivot})")]
    NotPositiveDefinite {
        /// The operation.
        op: &'static str,
        /// Index of the pivot, or number of the step, where it showed.
        pivot: usize,
    },
    /// An inverse of a singular operator.
    #[error("{op}: the operator is singular")]
    Singular {
        /// The operation.
        op: &'static str,
    },
    /// Woodbury's identity needs an invertible base.
    #[error("{op}: the base of the low-rank update is singular and {n} is above the dense limit {limit}")]
    SingularBase {
        /// The operation.
        op: &'static str,
        /// Size.
        n: usize,
        /// Largest size treated densely.
        limit: usize,
    },
    /// An iteration ended without meeting its tolerance.
    #[error("{op}: no convergence after {iters} iterations, relative residual {residual:.3e}")]
    NoConvergence {
        /// The operation.
        op: &'static str,
        /// Iterations done.
        iters: usize,
        /// Relative residual attained.
        residual: f64,
    },
    /// A series diverges.
    #[error("{op}: the series diverges (noticed at term {term})")]
    Diverged {
        /// The operation.
        op: &'static str,
        /// The term.
        term: usize,
    },
    /// An index list is out of range or repeats an index.
    #[error("{op}: invalid index {index}: {why}")]
    InvalidIndex {
        /// The operation.
        op: &'static str,
        /// The index.
        index: usize,
        /// Reason.
        why: &'static str,
    },
    /// Spaces (lists of tensor shapes) do not match.
    #[error("{op}: the spaces differ: {left} against {right}")]
    SpaceMismatch {
        /// The operation.
        op: &'static str,
        /// Left side.
        left: String,
        /// Right side.
        right: String,
    },
    /// NaN or infinity where a finite number is needed.
    #[error("{op}: {operand} holds NaN or infinity")]
    NotFinite {
        /// The operation.
        op: &'static str,
        /// The operand.
        operand: &'static str,
    },
    /// No exact rule exists and densifying is over the limit: estimate with the `sketch` crate.
    #[error(
        "{op}: no exact rule for this operator of size {n}; estimate it with the sketch crate, or allow a larger dense limit"
    )]
    NeedsEstimate {
        /// The operation.
        op: &'static str,
        /// Size.
        n: usize,
    },
    /// A dense copy would be larger than allowed.
    #[error("{op}: a dense copy needs {bytes} bytes, the cap is {cap}")]
    MemoryCap {
        /// The operation.
        op: &'static str,
        /// Needed.
        bytes: usize,
        /// Allowed.
        cap: usize,
    },
    /// A parameter is outside its range.
    #[error("{op}: {what}")]
    InvalidArgument {
        /// The operation.
        op: &'static str,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The operation is not defined for this operator.
    #[error("{op}: unsupported: {what}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// What.
        what: String,
    },
    /// A user-supplied operator failed.
    #[error("{op}: {what}")]
    Operator {
        /// The operator.
        op: &'static str,
        /// Its own message.
        what: String,
    },
    /// A dense routine failed.
    #[error(transparent)]
    Dense(#[from] numerics::Error),
}
