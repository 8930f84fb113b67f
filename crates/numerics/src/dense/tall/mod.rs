//! QR factorisations of tall matrices, on several threads, with the same bits for every number of them.
//!
//! - [`reflections`]: Householder reflections by pieces of rows. Stable for any columns; Q may stay in factored form.
//! - [`cholesky`]: two Cholesky factorisations of Gram matrices, three times as fast, where the columns allow it; otherwise
//!   by reflections.

mod cholesky;
mod reflections;

pub use cholesky::{CholeskyQr, cholesky_qr, cholesky_qr_beside};
pub use reflections::{TallQr, qr_tall};
