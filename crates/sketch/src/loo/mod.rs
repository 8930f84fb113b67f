//! Leave-one-out estimators: every probe tests the low-rank approximation that the *other* probes make.
//!
//! Source: arXiv:2301.07825 and arXiv:2512.15929. With `Y = Q R` the basis without column i is reached by a rank-one
//! downdate, `Q_(i) Q_(i)^T = Q (I - s_i s_i^T) Q^T` with `s_i = R^-T e_i / |R^-T e_i|`, so all k approximations
//! together cost little more than one: `8 n k^2` flops beside the products instead of `k` factorisations.
//!
//! Where columns of Y are dependent R has no inverse. Then R comes from a column-pivoted QR cut at the numerical rank,
//! its pseudo-inverse takes the place of the inverse, and a column whose leverage is below one is not essential: the
//! others span the same space without it, and `s_i = 0`.

mod nystrom;
mod row_norm;
#[cfg(test)]
mod tests;
mod xdiag;
mod xtrace;

pub(crate) use nystrom::{xnys_diag, xnys_trace};
pub use row_norm::RowBasis;
pub(crate) use row_norm::xrow_norm;
pub(crate) use xdiag::xdiag;
pub(crate) use xtrace::{XTrace, xtrace};

use crate::{Error, la};
use numerics::dense::{self, Qr};
use numerics::rng::Law;
use numerics::{Mat, MatRef, Par};

/// Below this leverage a column is not essential to the span of all.
const ESSENTIAL: f64 = 1.0 - 1e-8;

/// The directions `s_i` that leave column i of `Y = Q R` out, in the coordinates of Q.
#[derive(Clone, Debug)]
pub(crate) struct LeaveOut {
    /// Columns `s_i`, `r x k`; zero for a column that is not essential.
    pub(crate) s: Mat<f64>,
    /// `g_i = s_i^T r_i`: the part of column i outside the span of the others.
    pub(crate) g: Vec<f64>,
    /// Which columns are essential.
    pub(crate) essential: Vec<bool>,
}

impl LeaveOut {
    /// From the upper triangle of n rows, if it is not numerically singular.
    pub(crate) fn from_triangle(r: MatRef<'_, f64>, n: usize, par: Par) -> Option<Self> {
        let k = r.ncols();
        let top = (0..r.nrows()).map(|j| r[(j, j)].abs()).fold(0.0, f64::max);
        let cut = f64::EPSILON * n.max(k) as f64 * top;
        if r.nrows() < k || (0..k).any(|j| r[(j, j)].abs() <= cut) {
            return None;
        }
        let mut s = la::inverse_transpose(r, par);
        let mut g = Vec::with_capacity(k);
        for i in 0..k {
            let length = dense::norm_l2(s.as_ref().subcols(i, 1));
            s.col_as_slice_mut(i).iter_mut().for_each(|x| *x /= length);
            g.push(length.recip());
        }
        Some(LeaveOut { s, g, essential: vec![true; k] })
    }

    /// `W - s_i s_i^T W` column by column: the coordinates of probe i in the basis without column i.
    pub(crate) fn without_own(&self, w: MatRef<'_, f64>) -> Mat<f64> {
        let c = la::col_dots(self.s.as_ref(), w);
        Mat::from_fn(w.nrows(), w.ncols(), |i, j| w[(i, j)] - self.s[(i, j)] * c[j])
    }

    /// The mean of `g_i^2`: an unbiased estimate of the squared error that the basis of one column fewer leaves.
    pub(crate) fn error_sq(&self) -> f64 {
        self.g.iter().map(|g| g * g).sum::<f64>() / self.g.len().max(1) as f64
    }

    /// The factors that rescale probe i of n entries, less its part in the basis without column i, to its mean length; `full`
    /// are the squared lengths of the probes.
    pub(crate) fn resphere(&self, n: usize, full: &[f64], x: MatRef<'_, f64>) -> Vec<f64> {
        let inside = la::col_dots(x, x);
        (0..full.len())
            .map(|i| {
                let rest = full[i] - inside[i];
                let dimension = n - self.s.nrows() + usize::from(self.essential[i]);
                if rest <= 1e-12 * full[i] { 1.0 } else { dimension as f64 / rest }
            })
            .collect()
    }
}

/// `Y = Q R` with what leaves column i out.
#[derive(Clone, Debug)]
pub(crate) struct Downdate {
    /// Orthonormal basis of the columns, `n x r`.
    pub(crate) q: Mat<f64>,
    pub(crate) leave: LeaveOut,
}

impl Downdate {
    /// From the columns of Y (`n x k`, k <= n).
    pub(crate) fn new(y: MatRef<'_, f64>, par: Par) -> Result<Self, Error> {
        let Qr { q, r, .. } = dense::cholesky_qr(y.to_owned(), par)?;
        match LeaveOut::from_triangle(r.as_ref(), y.nrows(), par) {
            Some(leave) => Ok(Downdate { q, leave }),
            None => Self::pivoted(y, y.nrows(), par),
        }
    }

    /// From columns that are dependent; `n` is the length whose rounding is the measure of that, more than the rows of Y if Y is
    /// in coordinates.
    pub(crate) fn pivoted(y: MatRef<'_, f64>, n: usize, par: Par) -> Result<Self, Error> {
        let (rows, k) = (y.nrows(), y.ncols());
        let f = dense::qr_pivoted(y)?;
        let top = if k == 0 || rows == 0 { 0.0 } else { f.r[(0, 0)].abs() };
        let cut = f64::EPSILON * n.max(k) as f64 * top;
        let rank = (0..k.min(rows)).take_while(|&j| f.r[(j, j)].abs() > cut).count();
        let mut r = Mat::zeros(rank, k);
        for (j, &column) in f.perm.iter().enumerate() {
            for i in 0..rank {
                r[(i, column)] = f.r[(i, j)];
            }
        }
        // P = R^+ through R^T = B L: P = B L^-T, and the leverages are the squared rows of B
        let b = dense::qr(r.transpose())?;
        let leverage = la::row_dots(b.q.as_ref(), b.q.as_ref());
        let p = la::mul_nt(b.q.as_ref(), la::inverse(b.r.as_ref(), par).as_ref(), par);
        let mut out = LeaveOut {
            s: Mat::zeros(rank, k),
            g: vec![0.0; k],
            essential: leverage.iter().map(|&l| l > ESSENTIAL).collect(),
        };
        for i in (0..k).filter(|&i| leverage[i] > ESSENTIAL) {
            let length = (0..rank).map(|j| p[(i, j)] * p[(i, j)]).sum::<f64>().sqrt();
            for j in 0..rank {
                out.s[(j, i)] = p[(i, j)] / length;
                out.g[i] += out.s[(j, i)] * r[(j, i)];
            }
        }
        Ok(Downdate { q: la::columns(f.q.as_ref(), 0..rank), leave: out })
    }
}

/// Resphering rescales probes by their lengths, which signs do not have.
pub(crate) fn check_resphere(op: &'static str, law: Law, resphere: bool) -> Result<(), Error> {
    if resphere && !matches!(law, Law::Sphere | Law::Gaussian) {
        return Err(Error::argument(op, format!("resphering needs probes of law sphere or gaussian, got {law}")));
    }
    Ok(())
}

/// At least one probe, at most n.
pub(crate) fn check_probes(op: &'static str, k: usize, n: usize) -> Result<(), Error> {
    if k == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    if k > n {
        return Err(Error::TooManyProbes { op, asked: k, limit: n });
    }
    Ok(())
}
