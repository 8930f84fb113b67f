//! Optimisers that use curvature, and the first-order ones they are compared with.
//!
//! Parameters are named tensors over one flat vector ([`ParamList`]); a gradient is a flat vector of the same
//! length in which whole tensors may be missing ([`Grads`]). A method is an [`Optimizer`]: it is told the list
//! once, allocates its state there, and then steps without allocating. Learning rates follow a [`Schedule`],
//! a pure function of the step number; gradients are clipped by [`clip_global_norm`], micro-batches are averaged by
//! [`Accumulator`]. [`Method`] is any of them by name, as a configuration file says it.
//!
//! | method | settings | source |
//! |---|---|---|
//! | AdamW, SGD | [`AdamWConfig`], [`SgdConfig`] | arXiv:1711.05101 |
//! | Shampoo, with grafts | [`ShampooConfig`] | arXiv:1802.09568, arXiv:2309.06497, arXiv:2002.09018 |
//! | SOAP | [`KronConfig`], [`reference::soap`], [`recommended::soap`] | arXiv:2409.11321 |
//! | KL-Shampoo, KL-SOAP, their Bregman family | [`KronConfig`], [`reference::kl_shampoo`], [`recommended::kl_shampoo`] | arXiv:2509.03378 |
//! | spectral-factorised Riemannian method | [`SpectralConfig`], [`spectral`] | arXiv:2502.06268, derived here |
//! | SIRF-Shampoo | [`SirfConfig`] | arXiv:2402.03496, arXiv:2312.05705 |
//! | PSGD-Kron | [`PsgdConfig`] | arXiv:1512.04202 and psgd_torch |
//! | Muon | [`MuonConfig`] | Jordan et al. 2024 |
//!
//! Matrix methods are run by [`Preconditioned`], which sends vectors to AdamW and cuts large axes. Beside optimisers of
//! networks there are [`search`] without gradients, descent over definite matrices ([`spectral::SpdOptimizer`]), the
//! offline fits behind the Shampoo family ([`bregman`]), [`roots`] of matrices, and [`problems`] to try all this on.
//!
//! ```
//! use optim::{AdamW, AdamWConfig, Grads, Optimizer, ParamGroup, ParamList, Schedule};
//! let mut list = ParamList::new();
//! let weights = list.add_group(ParamGroup::new("weights"));
//! let biases = list.add_group(ParamGroup::new("biases").weight_decay(0.0));
//! list.push("layer.weight", &[3, 2], weights)?;
//! list.push("layer.bias", &[3], biases)?;
//!
//! let mut adam = AdamW::<f64>::new(AdamWConfig { lr: 0.05, ..AdamWConfig::default() })?;
//! adam.init(&list)?;
//! let schedule = Schedule::cosine(200, 0.0).warmup(10);
//! let mut w = vec![1.0; list.len()];
//! for step in 0..200 {
//!     let gradient: Vec<f64> = w.iter().map(|x| x - 0.25).collect();
//!     adam.step(&mut w, Grads::all(&gradient), schedule.at(step))?;
//! }
//! assert!(w.iter().all(|x| (x - 0.25).abs() < 0.05));
//! # Ok::<(), optim::Error>(())
//! ```
#![forbid(unsafe_code)]

mod accumulate;
mod adamw;
mod blockwise;
pub mod bregman;
mod clip;
mod decay;
mod error;
pub mod kron_engine;
mod method;
mod muon;
mod optimizer;
mod params;
mod presets;
pub mod problems;
mod psgd;
pub mod roots;
mod schedule;
pub mod search;
mod sgd;
mod shampoo;
mod sirf;
mod slots;
pub mod spectral;

pub use accumulate::Accumulator;
pub use adamw::{AdamW, AdamWConfig};
pub use blockwise::{LargeMode, Layout, Preconditioned, Settings};
pub use clip::{Clip, clip_global_norm, global_norm};
pub use decay::Decay;
pub use error::Error;
pub use kron_engine::{
    Bias, Clamp, Eigenvalues, KronConfig, Order, Phase, Refresh, Scale, Start, Statistics, Storage, Transport,
};
pub use method::Method;
pub use muon::{MuonConfig, Precision};
pub use optimizer::{NonFinite, Optimizer, SecondMoment, StepInfo};
pub use params::{Grads, Param, ParamGroup, ParamList};
pub use presets::{recommended, reference};
pub use psgd::PsgdConfig;
pub use schedule::{DecayShape, Schedule};
pub use sgd::{Sgd, SgdConfig};
pub use shampoo::{Graft, RootEngine, ShampooConfig};
pub use sirf::SirfConfig;
pub use spectral::SpectralConfig;
