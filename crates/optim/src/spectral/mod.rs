//! A positive definite matrix learned in factorised form, `S = B diag(d) B^T`, without decompositions.
//!
//! After arXiv:2502.06268 (spectral-factorised positive-definite curvature learning). No code of its authors is public
//! and this is, to our knowledge, the only public implementation; what follows is derived here from the paper's stated
//! ingredients: the factorisation, a Riemannian gradient in local coordinates, the Cayley map, Kronecker factors of
//! determinant one, roots by powers of `d`.
//!
//! **The problem.** Averaging `S <- (1 - b g) S + b Q` (`b` the step, `g = 1`; `g = 0` sums) is a step of size `b` of plain
//! Riemannian gradient descent on `l(S) = (1/2)(Tr(Q S^-1) + g log det S)` under the Fisher-Rao metric
//! `(1/2) Tr(S^-1 dS S^-1 dS)`. In the coordinates `d exp(x)`, `B Cay(N - N^T)` (`N` strictly lower) around the present
//! point, `Cay(N) = (I + N)(I - N)^-1`, that metric is diagonal at the origin: `1/2` for each `x_i`,
//! `4 (d_i - d_j)^2 / (d_i d_j)` for each `N_ij`, nothing mixed. With `U = B^T Q B` the gradient is
//! `-(1/2)(U_ii / d_i - g)` for `x_i` and `2 U_ij (d_i - d_j) / (d_i d_j)` for `N_ij`, so the step is
//!
//! ```text
//! d_i <- d_i exp(b (U_ii / d_i - g))
//! N_ij = -(b/2) U_ij / (d_i - d_j),   B <- B Cay(N - N^T)
//! ```
//!
//! and agrees with the average to first order in `b` (a test measures second-order error). Equal eigenvalues are
//! a singularity of the coordinates only: the pseudo-inverse of the metric leaves such pairs alone. For a general loss with
//! symmetric gradient `D`, `W = B^T D B`: `x_i = -2 b d_i W_ii`, `N_ij = b W_ij d_i d_j / (d_i - d_j)`.
//!
//! **Ours.** [`Rotation::PairwiseExact`] takes for each pair the half-angle of the rotation that diagonalises the 2 x 2
//! target `[a_i, o; o, a_j]`, `a` the averaged diagonal and `o` the off-diagonal increment: the same to first order,
//! exact in two dimensions, bounded by `tan(pi/8)`, defined at equal eigenvalues. [`EigenvalueRule::Mixed`] averages where an
//! eigenvalue grows and decays exponentially where it shrinks, which cannot overflow on a cold start. Not confirmed by
//! the paper, and ours until it is: the default step sizes and period, the start, the number of factors of the
//! truncated map, and that `U` is taken before `d` moves.
//!
//! | module | idea |
//! |---|---|
//! | `factor` | one step of `(B, d)`: both rules |
//! | `cayley` | the Cayley map, exact and truncated |
//! | `dense` | one matrix: learning curvature, minimising over definite matrices |
//! | `kron` | Kronecker factors of determinant one, as an optimiser |
//!
//! Cost per step of a factor of order `n`: about `2.7 n^3` flops for the exact map, against `9 n^3` or more for an
//! eigendecomposition. State: `B` and `d`; no statistics are stored.

mod cayley;
mod dense;
mod factor;
mod kron;

pub use dense::{SpdMethod, SpdOptimizer, SpectralMatrix};
pub(crate) use factor::{Increment, Turner, grow};
pub use kron::{SpectralConfig, SpectralStart};

use serde::{Deserialize, Serialize};

/// How the basis turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// The Riemannian gradient step, as published; large where eigenvalues nearly meet.
    Gradient {
        /// Scale the skew matrix down to this Frobenius norm.
        #[serde(default)]
        cap: Option<f64>,
    },
    /// Each pair by the angle that diagonalises its 2 x 2 target.
    #[default]
    PairwiseExact,
}

/// How eigenvalues move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EigenvalueRule {
    /// `d exp(x)`, as published; overflows on a cold start.
    Exp,
    /// `d (1 + x)` where it grows, `d exp(x)` where it shrinks.
    #[default]
    Mixed,
}

/// How the Cayley map is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cayley {
    /// By one LU factorisation and one solve; orthogonal to rounding.
    #[default]
    Exact,
    /// `(I + N)^2 (I + N^2)`: products only, for `|N| < 1`; followed by `B (1.5 I - 0.5 B^T B)` in every step.
    Two,
    /// With one more factor `(I + N^4)`; the correction every tenth step.
    Three,
}

/// The choices of a spectral step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectralRules {
    /// How the basis turns.
    pub rotation: Rotation,
    /// How eigenvalues move.
    pub eigenvalues: EigenvalueRule,
    /// How the Cayley map is evaluated.
    pub cayley: Cayley,
}

#[cfg(test)]
mod natural_gradient;
#[cfg(test)]
mod tests;
