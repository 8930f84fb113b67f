//! The convex program behind SketchLoRD and the pieces that its solvers share.
//!
//! Given `M = A Omega` of an operator `A = L + diag(d)`: minimise `|X|_*` subject to `X + diag(d) Omega = M`, X standing for
//! `L Omega`. With transposed products `W = A^T Psi` a second block `Z + diag(d) Psi = W` shares the same d and adds `|Z|_*`.
//! For fixed X the best d is explicit, `q(M - X)_i = <omega_i, (M - X)_i> / |omega_i|^2` over the rows of all blocks, so
//! every row of `L Omega` is known but for its component along `omega_i`.
//!
//! All matrices are kept transposed, p x n, so that what belongs to one row of A is contiguous.

use crate::{Error, la};
use numerics::dense::{self, Eigh};
use numerics::{Mat, MatRef, Par};

/// Probes and their products, transposed.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// `Omega^T`, p x n.
    pub(crate) omega: Mat<f64>,
    /// `M^T`.
    pub(crate) m: Mat<f64>,
}

impl Block {
    /// From tall probes and products.
    pub(crate) fn new(omega: MatRef<'_, f64>, m: MatRef<'_, f64>) -> Self {
        Block { omega: omega.transpose().to_owned(), m: m.transpose().to_owned() }
    }
}

/// A low-rank block of the solution: `X = left right^T`, right orthonormal, left with orthogonal columns.
#[derive(Clone, Debug)]
pub(crate) struct LowBlock {
    /// n x r.
    pub(crate) left: Mat<f64>,
    /// p x r.
    pub(crate) right: Mat<f64>,
}

impl LowBlock {
    pub(crate) fn zero(n: usize, p: usize) -> Self {
        LowBlock { left: Mat::zeros(n, 0), right: Mat::zeros(p, 0) }
    }
}

/// How a solver ended, with its dual certificate.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) d: Vec<f64>,
    pub(crate) blocks: Vec<LowBlock>,
    pub(crate) iterations: usize,
    pub(crate) residual: f64,
    pub(crate) converged: bool,
    pub(crate) interrupted: bool,
    pub(crate) dual: Option<Dual>,
}

/// The dual certificate: V feasible up to scaling proves that the nuclear norm is within the gap of the optimum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    /// `(|X|_* - <V, M> / max(1, |V|)) / |X|_*`.
    pub gap: f64,
    /// `|V|_2`, at most 1 at the optimum.
    pub norm: f64,
    /// Largest `|q(V)_i|`, 0 at the optimum.
    pub row: f64,
}

/// `q`: per row of A, the inner products with the probes over the squared lengths.
#[derive(Debug)]
pub(crate) struct RowFit {
    weight: Vec<f64>,
}

impl RowFit {
    pub(crate) fn new(blocks: &[Block]) -> Self {
        let n = blocks.first().map_or(0, |b| b.omega.ncols());
        let mut weight = vec![0.0; n];
        for block in blocks {
            for (i, w) in weight.iter_mut().enumerate() {
                let row = block.omega.col_as_slice(i);
                *w += dense::dot(row, row);
            }
        }
        RowFit { weight }
    }

    /// `q(h)` of blocks given transposed. A row without probes has 0.
    pub(crate) fn of<'a>(&self, blocks: &[Block], h: impl Fn(usize) -> MatRef<'a, f64>) -> Vec<f64> {
        let mut out = vec![0.0; self.weight.len()];
        for (b, block) in blocks.iter().enumerate() {
            let h = h(b);
            for (i, o) in out.iter_mut().enumerate() {
                *o +=
                    dense::dot(block.omega.col_as_slice(i), h.col(i).try_as_col_major().map_or(&[], |c| c.as_slice()));
            }
        }
        for (o, w) in out.iter_mut().zip(&self.weight) {
            *o = if *w > 0.0 { *o / *w } else { 0.0 };
        }
        out
    }
}

/// `h - diag(e) Omega`, everything transposed, in place.
pub(crate) fn subtract_rows(h: &mut Mat<f64>, e: &[f64], omega: &Mat<f64>) {
    for (i, &e) in e.iter().enumerate() {
        for (h, w) in h.col_as_slice_mut(i).iter_mut().zip(omega.col_as_slice(i)) {
            *h -= e * w;
        }
    }
}

/// Squared Frobenius norm.
pub(crate) fn norm_sq(blocks: &[Mat<f64>]) -> f64 {
    blocks.iter().map(|b| la::fro_sq(b.as_ref())).sum()
}

/// Largest singular value of a wide matrix, through its small Gram matrix.
pub(crate) fn spectral_norm(wide: MatRef<'_, f64>, par: Par) -> Result<f64, Error> {
    let g = la::gram(wide.transpose(), par);
    Ok(dense::eigvalsh(g.as_ref())?.last().copied().unwrap_or(0.0).max(0.0).sqrt())
}

/// Singular value thresholding of T by `level`, T given transposed (p x n), through the p x p Gram matrix.
///
/// Singular values below about `1e-8 sigma_1` are noise there; levels are far above. Returns the transposed X in `out`,
/// and its factors' ingredients.
pub(crate) struct Shrunk {
    /// Right singular vectors kept, p x r.
    pub(crate) right: Mat<f64>,
    /// What the kept singular values were multiplied by.
    pub(crate) factor: Vec<f64>,
    /// Sum of the shrunk singular values.
    pub(crate) nuclear: f64,
}

pub(crate) fn shrink(t: MatRef<'_, f64>, level: f64, out: &mut Mat<f64>, par: Par) -> Result<Shrunk, Error> {
    let g = la::gram(t.transpose(), par);
    let e = dense::eigh(g.as_ref())?;
    let kept: Vec<usize> = (0..e.values.len()).rev().filter(|&j| e.values[j] > level * level).collect();
    let sigma: Vec<f64> = kept.iter().map(|&j| e.values[j].sqrt()).collect();
    let factor: Vec<f64> = sigma.iter().map(|s| 1.0 - level / s).collect();
    let right = la::permute_cols(e.vectors.as_ref(), &kept);
    let nuclear = sigma.iter().map(|s| s - level).sum();
    if 2 * kept.len() < t.nrows() {
        let inside = la::mul_tn(right.as_ref(), t, par);
        let scaled = la::scale_cols(right.as_ref(), &factor);
        dense::gemm(out.as_mut(), 1.0, scaled.as_ref(), inside.as_ref(), 0.0, par);
    } else {
        let shrunk = Eigh { values: factor.clone(), vectors: right.clone() };
        let w = dense::apply_spectral(&shrunk, |f| f, par);
        dense::gemm(out.as_mut(), 1.0, w.as_ref(), t, 0.0, par);
    }
    Ok(Shrunk { right, factor, nuclear })
}

impl Shrunk {
    /// The factors of X from the T that was shrunk.
    pub(crate) fn factors(self, t: MatRef<'_, f64>, par: Par) -> LowBlock {
        let left = la::mul(t.transpose(), self.right.as_ref(), par);
        LowBlock { left: la::scale_cols(left.as_ref(), &self.factor), right: self.right }
    }
}
