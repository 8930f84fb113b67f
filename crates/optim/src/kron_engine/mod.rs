//! One engine for the methods that keep a Kronecker product of factors: SOAP, KL-Shampoo, KL-SOAP, their Bregman family.
//!
//! A gradient `G` of shape `p_1 .. p_k`, `P` its number of elements, has curvature `S = S_1 (x) .. (x) S_k`. Each
//! factor has a basis `Q_j` that follows its eigenvectors and eigenvalue estimates `l_j`, stored as `e_j = l_j^{-1/2}`.
//! One step rotates the gradient, `P = G x_j Q_j^T`, averages momentum, divides by eigenvalues (or by a free second
//! moment), rotates back, updates factors and eigenvalues, and every `period` steps refreshes the bases. The methods
//! differ in what a factor averages, where eigenvalues come from, and in which order all this happens: each such
//! difference is a field of [`KronConfig`], and a method is a preset.
//!
//! Sources: SOAP arXiv:2409.11321 and its released code; KL-Shampoo and KL-SOAP arXiv:2509.03378 and its released
//! code; the trace-power family from the co-authors' "How Bregman divergences shape Shampoo"; adaptive refresh
//! arXiv:2506.03595. Ours: the rotated storage, the product clamp, the start from the first gradient, diagonal
//! factors for long modes, any number of modes.
//!
//! Cost per step of an `m x n` matrix: `5 m n (m + n)` flops with rotated storage; a refresh costs about
//! `6 (m^3 + n^3)`. State: `2 (m^2 + n^2)`, one momentum, and one second moment if it is free.
//!
//! | module | idea |
//! |---|---|
//! | `config` | the axes of variation |
//! | `modes` | a tensor along one mode |
//! | `factor` | one factor: statistics, basis, eigenvalues |
//! | `ladder` | a decomposition that may fail, and what is tried instead |
//! | `basis` | the refresh, and what moves along with a basis |
//! | `step` | the order of operations |

mod basis;
mod config;
mod factor;
pub(crate) mod ladder;
pub(crate) mod modes;
mod step;

pub use config::{
    Bias, Clamp, Eigenvalues, KronConfig, Order, Phase, Refresh, Scale, Start, Statistics, Storage, Transport,
};
pub(crate) use factor::FactorKind;
pub(crate) use ladder::TOLERATED_FAILURES;
pub(crate) use step::Kron;

#[cfg(test)]
mod tests;
