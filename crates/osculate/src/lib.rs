//! Curvature, higher derivatives and the methods that use them: library, command line and tour.
//!
//! The crates below are re-exported, so that this one is enough: [`autodiff`] traces, differentiates and compiles programs;
//! [`curvature`] makes operators of a network's curvature; [`linop_core`] and [`sketch`] work with operators;
//! [`optim`] optimises; [`numerics`] is the ground. What is added here:
//!
//! | wanted | module |
//! |---|---|
//! | arrays and data sets from npy, npz and csv files | [`io`] |
//! | the handwritten digits that come with the program | [`data`] |
//! | training as a TOML file says, with checkpoints and search | [`train`] |
//! | figures as SVG | [`plot`] |
//! | the tour and its report | [`tour`] |
//! | the command line | [`cli`] |
//!
//! ```
//! use osculate::autodiff::nn::{Loss, Sequential};
//! use osculate::autodiff::{Array, Value};
//! use osculate::curvature::{Reduction, Supervised};
//! use osculate::linop_core::krylov::{EigshOptions, Which, eigsh};
//! use osculate::numerics::Par;
//!
//! // The sharpest direction of a small network on the digits, before training.
//! let model = Sequential::from_json(r#"{"model_type": "sequential", "input": [64], "layers": [
//!     {"type": "linear", "in": 64, "out": 8}, {"type": "tanh"}, {"type": "linear", "in": 8, "out": 10}]}"#)?;
//! let digits = osculate::data::digits()?;
//! let pixels: Vec<f64> = (0..100).flat_map(|i| digits.image(i)).map(|&p| f64::from(p) / 16.0).collect();
//! let labels: Vec<i64> = digits.labels()[..100].iter().map(|&l| i64::from(l)).collect();
//! let x = Value::Real(Array::new(&[100, 64], pixels).ok_or("pixels")?);
//! let y = Value::Int(Array::new(&[100], labels).ok_or("labels")?);
//! let params = model.init::<f64>(0);
//! let risk = Supervised::new(model, Loss::cross_entropy(), Reduction::Mean).risk(params, vec![(x, y, None)])?;
//! let top = eigsh(&risk.ggn()?, 1, Which::Largest, &EigshOptions::default(), Par::Seq)?;
//! assert!(top.values[0] > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub use {autodiff, curvature, linop_core, numerics, optim, sketch};

pub mod cli;
pub mod data;
pub mod io;
pub mod plot;
pub mod tour;
pub mod train;
