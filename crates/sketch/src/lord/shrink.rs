//! Singular value thresholding of a tall matrix through its small Gram matrix, `2 n p^2 + 9 p^3` flops, or less where the
//! leading singular vectors are known from the last call.
//!
//! Singular values below about `1e-8 sigma_1` are noise in the Gram matrix; thresholds are far above. When few singular
//! values survive, a few block power steps from the last leading vectors replace the full eigendecomposition. The result
//! is taken only if it has converged, reaches below the threshold, and leaves no more than the threshold's energy per
//! missing direction; every fifth call is full in any case.

use super::packed::Rows;
use super::program::LowBlock;
use crate::{Error, la};
use numerics::dense::{self, Eigh};
use numerics::{Mat, MatMut, MatRef, Par};

/// Directions carried beyond those that survive.
const EXTRA: usize = 5;
/// Block power steps before giving up.
const POWER_STEPS: usize = 4;
/// A full decomposition at least this often.
const FULL_EVERY: usize = 5;
/// Residual of an accepted eigenvector, relative to the largest eigenvalue.
const RESIDUAL: f64 = 1e-11;

/// A thresholding operator with the memory of its last call.
#[derive(Debug, Default)]
pub(crate) struct Shrinker {
    /// Leading eigenvectors of the last Gram matrix, p x (r + EXTRA).
    last: Option<Mat<f64>>,
    since_full: usize,
    /// Whether the memory may be used.
    reduced: bool,
}

/// What survived: `X = T V diag(f) V^T`.
pub(crate) struct Shrunk {
    /// Right singular vectors kept, p x r.
    right: Mat<f64>,
    /// What the kept singular values were multiplied by.
    factor: Vec<f64>,
    /// `V diag(f)` where few are kept, else the whole of `V diag(f) V^T`.
    map: Mat<f64>,
    /// Sum of the shrunk singular values.
    pub(crate) nuclear: f64,
}

/// Leading eigenpairs, descending.
struct Leading {
    values: Vec<f64>,
    vectors: Mat<f64>,
}

impl Shrinker {
    /// `reduced`: the memory may be used.
    pub(crate) fn new(reduced: bool) -> Self {
        Shrinker { reduced, ..Shrinker::default() }
    }

    /// T with its singular values lowered by `level`, as a map of its rows.
    pub(crate) fn shrink(&mut self, t: &Rows, level: f64, par: Par) -> Result<Shrunk, Error> {
        let gram = la::gram(t.wide().transpose(), par);
        let top = self.leading(gram.as_ref(), level * level, par)?;
        let kept = top.values.iter().take_while(|&&v| v > level * level).count();
        self.last = (2 * (kept + EXTRA) < t.p())
            .then(|| la::columns(top.vectors.as_ref(), 0..(kept + EXTRA).min(top.values.len())));
        let sigma: Vec<f64> = top.values[..kept].iter().map(|v| v.sqrt()).collect();
        let factor: Vec<f64> = sigma.iter().map(|s| 1.0 - level / s).collect();
        let right = la::columns(top.vectors.as_ref(), 0..kept);
        let nuclear = sigma.iter().map(|s| s - level).sum();
        let map = if 2 * kept < t.p() {
            la::scale_cols(right.as_ref(), &factor)
        } else {
            let shrunk = Eigh { values: factor.clone(), vectors: right.clone() };
            dense::apply_spectral(&shrunk, |f| f, par)
        };
        Ok(Shrunk { right, factor, map, nuclear })
    }

    fn leading(&mut self, gram: MatRef<'_, f64>, threshold: f64, par: Par) -> Result<Leading, Error> {
        if self.reduced
            && self.since_full + 1 < FULL_EVERY
            && let Some(start) = self.last.take()
            && let Some(found) = by_power(gram, start, threshold, par)?
        {
            self.since_full += 1;
            return Ok(found);
        }
        self.since_full = 0;
        let e = dense::eigh(gram)?;
        let order: Vec<usize> = (0..e.values.len()).rev().collect();
        let vectors = la::permute_cols(e.vectors.as_ref(), &order);
        Ok(Leading { values: order.iter().map(|&j| e.values[j]).collect(), vectors })
    }
}

/// Block power steps with a Rayleigh-Ritz projection; `None` if they do not settle the eigenvalues above the threshold.
fn by_power(gram: MatRef<'_, f64>, start: Mat<f64>, threshold: f64, par: Par) -> Result<Option<Leading>, Error> {
    let mut q = start;
    let mut image = la::mul(gram, q.as_ref(), par);
    for _ in 0..POWER_STEPS {
        q = la::orth(image, par)?;
        image = la::mul(gram, q.as_ref(), par);
        let e = dense::eigh(la::symmetric_core(q.as_ref(), image.as_ref(), par).as_ref())?;
        let order: Vec<usize> = (0..e.values.len()).rev().collect();
        let turn = la::permute_cols(e.vectors.as_ref(), &order);
        let values: Vec<f64> = order.iter().map(|&j| e.values[j]).collect();
        let kept = values.iter().take_while(|&&v| v > threshold).count();
        if kept + 2 > values.len() {
            return Ok(None);
        }
        let (vectors, images) = (la::mul(q.as_ref(), turn.as_ref(), par), la::mul(image.as_ref(), turn.as_ref(), par));
        let missing = la::tr(gram) - values.iter().sum::<f64>();
        if missing > (gram.nrows() - values.len()) as f64 * threshold {
            return Ok(None);
        }
        let residual = |j: usize| {
            let (x, y) = (vectors.col_as_slice(j), images.col_as_slice(j));
            x.iter().zip(y).map(|(x, y)| (y - values[j] * x).powi(2)).sum::<f64>().sqrt()
        };
        if (0..kept).all(|j| residual(j) <= RESIDUAL * values[0]) {
            return Ok(Some(Leading { values, vectors }));
        }
    }
    Ok(None)
}

impl Shrunk {
    /// X of some whole rows of T, one after the other.
    pub(crate) fn of_piece(&self, t: &[f64], x: &mut Vec<f64>) {
        let p = self.right.nrows();
        x.resize(t.len(), 0.0);
        let rows = t.len() / p.max(1);
        let t = MatRef::from_column_major_slice(t, p, rows);
        let out = MatMut::from_column_major_slice_mut(x, p, rows);
        if self.map.ncols() == p {
            dense::gemm(out, 1.0, self.map.as_ref(), t, 0.0, Par::Seq);
        } else {
            let inside = la::mul(self.right.transpose(), t, Par::Seq);
            dense::gemm(out, 1.0, self.map.as_ref(), inside.as_ref(), 0.0, Par::Seq);
        }
    }

    /// The factors of X from the T that was shrunk.
    pub(crate) fn factors(self, t: &Rows, par: Par) -> LowBlock {
        let mut left = la::mul(t.wide().transpose(), self.right.as_ref(), par);
        for (j, factor) in self.factor.iter().enumerate() {
            left.col_as_slice_mut(j).iter_mut().for_each(|x| *x *= factor);
        }
        LowBlock { left, right: self.right }
    }
}

/// Largest singular value, through the Gram matrix.
pub(crate) fn spectral_norm(a: &Rows, par: Par) -> Result<f64, Error> {
    let g = la::gram(a.wide().transpose(), par);
    Ok(dense::eigvalsh(g.as_ref())?.last().copied().unwrap_or(0.0).max(0.0).sqrt())
}
