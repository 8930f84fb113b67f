//! Models as directories: `config.json` beside `model.safetensors`.
//!
//! [`Sequential`] is what `torch.nn.Sequential` saves. Reading a configuration infers every layer's shapes and lists
//! the parameters in their fixed order (layer order, weight before bias) with offsets into the flat vector; weights
//! are then checked against that list, so a wrong file is found before anything is computed with it.

mod layer;
mod sequential;

pub use layer::{Layer, LayerKind};
pub use sequential::{Parameter, Sequential};

/// What can be wrong with a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {what}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        what: String,
    },
    /// The configuration is not valid.
    #[error("{path}: {what}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A layer of the configuration is not valid or does not fit its input.
    #[error("{path}: layer {index}{}: {what}", .layer.as_ref().map(|l| format!(" ({l})")).unwrap_or_default())]
    Layer {
        /// The file.
        path: String,
        /// Which layer.
        index: usize,
        /// The layer in words, if it could be read.
        layer: Option<String>,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A tensor has another shape than its layer.
    #[error("tensor {name:?} has shape {got:?}, expected {expected:?} from layer {index} ({layer})")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The right shape.
        expected: Vec<usize>,
        /// The layer that says so.
        index: usize,
        /// That layer in words.
        layer: String,
    },
    /// A tensor is missing.
    #[error("tensor {name:?} is missing, expected with shape {expected:?} from layer {index} ({layer})")]
    TensorMissing {
        /// The tensor.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The layer that needs it.
        index: usize,
        /// That layer in words.
        layer: String,
    },
    /// A tensor that no layer has.
    #[error("tensor {name:?} with shape {got:?} belongs to no layer of the model")]
    TensorUnknown {
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
    },
    /// A parameter that does not hold floats.
    #[error("tensor {name:?} holds {got}, expected floats")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its element type.
        got: &'static str,
    },
    /// A parameter that is not finite.
    #[error("tensor {name:?} holds NaN or infinity at element {at}")]
    TensorValue {
        /// The tensor.
        name: String,
        /// Index of the element, row-major.
        at: usize,
    },
    /// A file of arrays.
    #[error(transparent)]
    File(#[from] crate::io::Error),
    /// The file of tensors cannot be read.
    #[error(transparent)]
    Store(#[from] numerics::Error),
}
