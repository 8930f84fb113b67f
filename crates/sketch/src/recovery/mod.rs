//! Low-rank approximations from sketches: singular values and vectors of any operator ([`svd`]), eigenvalues and
//! eigenvectors of a symmetric one ([`eigh`]).
//!
//! Sketch sizes follow the rules of the sources: left sketches are larger than right ones (with equal sizes the
//! generalised Nystrom error has no useful mean), truncation to the rank comes after recovery, and least-squares
//! problems are cut at `eps max(m, n)`, not at a fixed fraction.

mod symmetric;
mod twosided;

pub use symmetric::{EighOptions, EighRecovery, Order, SketchedEigh, eigh};
pub use twosided::{Recovery, SketchedSvd, SvdOptions, svd};

/// How many columns the sketches have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the right sketch `A Omega` (and of the left one, for the three-sketch recovery).
    pub right: usize,
    /// Of the left sketch `A^T Psi`; more than `right`.
    pub left: usize,
    /// Of the inner sketch; more than `right`.
    pub inner: usize,
}

impl Sizes {
    /// Sizes that suit a right sketch of `k` columns.
    pub fn from_right(k: usize) -> Self {
        let larger = k.saturating_mul(2).saturating_add(1);
        Sizes { right: k, left: larger, inner: larger }
    }

    /// Sizes for an approximation of rank `r`: ten columns more, or twice as many for very small ranks.
    pub fn for_rank(r: usize) -> Self {
        let plus = |more| r.saturating_add(more);
        Self::from_right(plus(10).min(plus(1).saturating_add(r)).max(plus(2)))
    }
}
