//! The error of this crate.

/// What can go wrong when a program is traced, transformed or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation was given operands whose shapes or kinds do not fit.
    #[error("{op}: {why}; operands {operands}{location}")]
    Shape {
        /// The operation.
        op: String,
        /// What is wrong.
        why: String,
        /// The operands' types.
        operands: String,
        /// ` at file:line` of the caller, where it is known.
        location: String,
    },
    /// A derivative, transposition or batching that is not defined.
    #[error("{op}: no {rule} rule: {why}")]
    Unsupported {
        /// The operation.
        op: String,
        /// Which rule is missing.
        rule: &'static str,
        /// Why, and the remedy.
        why: String,
    },
    /// A parameter is used in a way that taps cannot describe.
    #[error(
        "parameter {parameter:?} is used in node {node} by {operation}, which is not linear in it or mixes its axes; {remedy}"
    )]
    UnsupportedUse {
        /// The parameter.
        parameter: String,
        /// What reads it.
        operation: String,
        /// Position of the node that reads it.
        node: usize,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A value of one datum depends on other data.
    #[error("{op} in node {node}{location} mixes data: {why}")]
    MixesData {
        /// The operation.
        op: String,
        /// Position of the node.
        node: usize,
        /// How.
        why: String,
        /// ` at file:line` of the trace, where it is known.
        location: String,
    },
    /// Two tensors of different traces were mixed.
    #[error("{op}: the operands belong to different traces{location}")]
    ForeignTensor {
        /// The operation.
        op: String,
        /// Where.
        location: String,
    },
    /// A program was run with inputs that it does not take.
    #[error("input {name}: expected {expected}, got {got}")]
    Input {
        /// Name of the input, or its position.
        name: String,
        /// What the program declares.
        expected: String,
        /// What came.
        got: String,
    },
    /// A name that the program does not have.
    #[error("no {what} named {name:?}; there are {known}")]
    UnknownName {
        /// Input or output.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// An invariant of a program does not hold: the message says which node.
    #[error("malformed program: {0}")]
    Malformed(String),
    /// An index lies outside the axis that it selects from.
    #[error("{op}: index {index} is outside 0..{size}")]
    IndexOutOfRange {
        /// The operation.
        op: &'static str,
        /// The index.
        index: i64,
        /// Size of the axis.
        size: usize,
    },
    /// Numerics failed below.
    #[error(transparent)]
    Numerics(#[from] NumericsError),
}

/// A failure of the layers below, by its message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NumericsError(pub String);

impl Error {
    pub(crate) fn unsupported(op: impl Into<String>, rule: &'static str, why: impl Into<String>) -> Self {
        Error::Unsupported { op: op.into(), rule, why: why.into() }
    }
}
