//! XNysTrace and XNysDiag: leave-one-out estimates of a positive semidefinite operator with k products in all.
//!
//! Source: arXiv:2301.07825. The Nystrom approximation `F F^T` of all probes, less `z_i z_i^T`, is that of all but the
//! i-th. The core `H = Omega^T A Omega` is inverted through its eigenvalues above `k eps |H|`, with no shift, so that
//! rank-deficient operators and repeated probes are no special case. A negative eigenvalue of H proves that A is not
//! positive semidefinite; H can be positive for an A that is not, so passing proves nothing. The trace is unbiased
//! even then.

use super::{Downdate, check_probes, check_resphere};
use crate::products::Products;
use crate::settings::Moments;
use crate::{Error, la};
use numerics::{Mat, dense};

/// The approximation by all probes and what leaves one out.
struct Nystrom {
    omega: Mat<f64>,
    /// `A_hat = F F^T`.
    f: Mat<f64>,
    /// `z_i`, zero where probe i is not essential.
    z: Mat<f64>,
    /// `z_i^T omega_i`.
    own: Vec<f64>,
}

fn build(products: &Products<'_>, k: usize) -> Result<Nystrom, Error> {
    let n = products.square()?;
    check_probes(products.op, k, n)?;
    products.plan(products.spent() + k);
    let par = products.par();
    let omega = products.right(0..k);
    let y = products.apply(omega.as_ref())?;
    let h = la::symmetric_core(omega.as_ref(), y.as_ref(), par);
    let e = dense::eigh(h.as_ref())?;
    let (low, high) = (e.values[0], e.values[k - 1]);
    if low < -10.0 * k as f64 * f64::EPSILON * high {
        return Err(Error::NotPsd { op: products.op, value: low });
    }
    let top = high.max(low.abs());
    let kept: Vec<usize> = (0..k).filter(|&j| e.values[j] > k as f64 * f64::EPSILON * top).collect();
    let vectors = la::permute_cols(e.vectors.as_ref(), &kept);
    let root: Vec<f64> = kept.iter().map(|&j| e.values[j].sqrt().recip()).collect();
    let l = la::scale_cols(vectors.as_ref(), &root);
    let f = la::mul(y.as_ref(), l.as_ref(), par);
    let mut rows = Mat::zeros(kept.len(), k);
    let mut own = vec![0.0; k];
    for i in 0..k {
        let leverage: f64 = (0..kept.len()).map(|j| vectors[(i, j)] * vectors[(i, j)]).sum();
        if leverage > 1.0 - f64::EPSILON.sqrt() {
            let length = (0..kept.len()).map(|j| l[(i, j)] * l[(i, j)]).sum::<f64>().sqrt();
            (0..kept.len()).for_each(|j| rows[(j, i)] = l[(i, j)] / length);
            own[i] = length.recip();
        }
    }
    let z = la::mul(f.as_ref(), rows.as_ref(), par);
    Ok(Nystrom { omega, f, z, own })
}

/// The k samples of XNysTrace.
pub(crate) fn xnys_trace(products: &Products<'_>, k: usize, resphere: bool) -> Result<Vec<f64>, Error> {
    check_resphere(products.op, products.settings.law, resphere)?;
    let nystrom = build(products, k)?;
    let par = products.par();
    let c = if resphere {
        let basis = Downdate::new(nystrom.omega.as_ref(), par)?;
        let w = la::mul_tn(basis.q.as_ref(), nystrom.omega.as_ref(), par);
        let omega = nystrom.omega.as_ref();
        let x = basis.leave.without_own(w.as_ref());
        basis.leave.resphere(omega.nrows(), &la::col_dots(omega, omega), x.as_ref())
    } else {
        vec![1.0; k]
    };
    let whole = la::fro_sq(nystrom.f.as_ref());
    let left_out = la::col_dots(nystrom.z.as_ref(), nystrom.z.as_ref());
    Ok((0..k).map(|i| whole - left_out[i] + c[i] * nystrom.own[i] * nystrom.own[i]).collect())
}

/// The estimate of XNysDiag and its standard errors.
pub(crate) fn xnys_diag(products: &Products<'_>, k: usize) -> Result<(Vec<f64>, Option<Vec<f64>>), Error> {
    let nystrom = build(products, k)?;
    let whole = la::row_dots(nystrom.f.as_ref(), nystrom.f.as_ref());
    let mut moments = Moments::new(whole.len());
    for i in 0..k {
        let z = nystrom.z.col_as_slice(i);
        let omega = nystrom.omega.col_as_slice(i);
        moments.push(|a| whole[a] - z[a] * z[a] + nystrom.own[i] * z[a] * omega[a]);
    }
    let sem = moments.sem();
    Ok((moments.mean, sem))
}
