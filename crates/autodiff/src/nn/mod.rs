//! Models as data: named parameters in one flat vector, layers with PyTorch's layouts, losses, initialisation, files.
//!
//! A [`Sequential`] is read from the same `config.json` that describes a `torch.nn.Sequential` and is traced into an
//! ordinary [`Program`](crate::Program) of one flat parameter vector, so that every derivative in its parameters is a
//! matrix of side [`ParamSpace::total`].
//!
//! ```
//! use autodiff::nn::{Loss, Sequential};
//! let model = Sequential::from_json(
//!     r#"{"model_type": "sequential", "input": [3],
//!         "layers": [{"type": "linear", "in": 3, "out": 2}, {"type": "tanh"}]}"#,
//! )?;
//! assert_eq!(model.params().total(), 8);
//! let risk = model.trace_loss(5, &Loss::mse(), false)?;
//! let gradient = risk.grad(&[0])?;
//! assert_eq!(gradient.output_type(0).shape.as_slice(), [8]);
//! # Ok::<(), autodiff::nn::ModelError>(())
//! ```

mod decoder;
mod error;
mod file;
mod init;
mod layer;
mod loss;
mod params;
mod sequential;

pub use error::ModelError;
pub use layer::Layer;
pub use loss::{CrossEntropy, Loss};
pub use params::{Param, ParamSpace};
pub use sequential::Sequential;
