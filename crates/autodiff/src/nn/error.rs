//! The error of models: every message names the layer or tensor and what would be right.

/// What can go wrong when a model is described, read, written or combined with a loss.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The description as a whole is wrong.
    #[error("model config: {0}")]
    Config(String),
    /// The description in a file is wrong.
    #[error("{path}: {}", without_prefix(.error))]
    InFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: Box<ModelError>,
    },
    /// One layer's description is wrong, or it does not accept what the layer before it yields.
    #[error("layer {index} ({layer}): {what}")]
    Layer {
        /// Position of the layer.
        index: usize,
        /// The layer in short.
        layer: String,
        /// What is wrong.
        what: String,
    },
    /// A stored tensor has the wrong shape.
    #[error("tensor {name:?} has shape {got:?}, expected {expected:?} from layer {index} ({layer})")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that the model needs.
        expected: Vec<usize>,
        /// Position of the layer.
        index: usize,
        /// The layer in short.
        layer: String,
    },
    /// A stored tensor is not of floating-point numbers.
    #[error("tensor {name:?} holds {got}, expected floating-point numbers")]
    TensorKind {
        /// The tensor.
        name: String,
        /// Its element type.
        got: &'static str,
    },
    /// A stored tensor holds a NaN or an infinity.
    #[error("tensor {name:?} holds {value} at element {at}, expected finite numbers")]
    TensorValue {
        /// The tensor.
        name: String,
        /// Index of the element, row-major.
        at: usize,
        /// What stands there.
        value: f64,
    },
    /// A tensor is absent.
    #[error("tensor {name:?} is missing, expected shape {expected:?} from layer {index} ({layer})")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The shape that the model needs.
        expected: Vec<usize>,
        /// Position of the layer.
        index: usize,
        /// The layer in short.
        layer: String,
    },
    /// A tensor belongs to no layer.
    #[error("tensor {name:?} of shape {got:?} belongs to no layer; the model has {known}")]
    UnexpectedTensor {
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The names that exist.
        known: String,
    },
    /// A flat vector has the wrong length.
    #[error("parameter vector: expected {expected} numbers, got {got}")]
    VectorLength {
        /// Number of parameters.
        expected: usize,
        /// Length that came.
        got: usize,
    },
    /// Two parameters have one name.
    #[error("parameter {name:?} is declared twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that no parameter has.
    #[error("no parameter named {name:?}; there are {known}")]
    UnknownParameter {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// There are more parameters than memory can hold.
    #[error("parameter {name:?} of shape {shape:?} makes the model too large")]
    TooLarge {
        /// The parameter where the count overflowed.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The loss does not fit the outputs or targets.
    #[error("{loss} loss: {what}")]
    Loss {
        /// Which loss.
        loss: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Tracing or running failed.
    #[error(transparent)]
    Program(#[from] crate::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] numerics::Error),
}

impl ModelError {
    /// The names, for a message.
    pub(super) fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
        let names: Vec<&str> = names.collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

/// In a message that begins with the file, the words "model config" would say it twice.
fn without_prefix(error: &ModelError) -> String {
    match error {
        ModelError::Config(what) => what.clone(),
        other => other.to_string(),
    }
}
