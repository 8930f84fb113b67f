//! XDiag: an unbiased estimate of the diagonal with k products and k transposed ones, sign probes only; with `extra`
//! probes that test without contributing to the basis, for when memory (`n k` numbers) is what runs out.
//!
//! Source: arXiv:2301.07825; the extra probes as in XHutch++. With `Z = A^T Q`, sample i is
//! `rowdot(Q, Z) - (Q s_i) o (Z s_i) + g_i (Q s_i) o omega_i`. Gaussian probes would make ratios without a variance.

use super::{Downdate, check_probes};
use crate::products::Products;
use crate::settings::Moments;
use crate::{Error, la};
use numerics::rng::Law;

/// The estimate and its standard errors.
pub(crate) fn xdiag(products: &Products<'_>, k: usize, extra: usize) -> Result<(Vec<f64>, Option<Vec<f64>>), Error> {
    let n = products.square()?;
    if products.settings.law != Law::Rademacher {
        return Err(Error::argument(products.op, format!("XDiag needs sign probes, got {}", products.settings.law)));
    }
    check_probes(products.op, k, n)?;
    products.plan(products.spent() + 2 * k + extra);
    let par = products.par();
    let omega = products.right(0..k);
    let y = products.apply(omega.as_ref())?;
    let basis = Downdate::new(y.as_ref(), par)?;
    let z = products.apply_t(basis.q.as_ref())?;
    let qs = la::mul(basis.q.as_ref(), basis.leave.s.as_ref(), par);
    let zs = la::mul(z.as_ref(), basis.leave.s.as_ref(), par);
    let whole = la::row_dots(basis.q.as_ref(), z.as_ref());
    let residual = |a: usize, i: usize| basis.leave.g[i] * qs[(a, i)] * omega[(a, i)];
    if extra == 0 {
        let mut moments = Moments::new(n);
        for i in 0..k {
            moments.push(|a| whole[a] - qs[(a, i)] * zs[(a, i)] + residual(a, i));
        }
        let sem = moments.sem();
        return Ok((moments.mean, sem));
    }
    let own = la::row_dots(qs.as_ref(), zs.as_ref());
    let mut moments = Moments::new(n);
    for i in 0..k {
        moments.push(|a| residual(a, i));
    }
    // mean over i of Q_(i) Q_(i)^T A is Q (I - S S^T / k) Z^T
    let width = products.width();
    for start in (0..extra).step_by(width) {
        let count = width.min(extra - start);
        let g = products.right(k + start..k + start + count);
        let ag = products.apply(g.as_ref())?;
        let c = la::mul_tn(z.as_ref(), g.as_ref(), par);
        let sc = la::mul_tn(basis.leave.s.as_ref(), c.as_ref(), par);
        let left = la::mul(basis.leave.s.as_ref(), sc.as_ref(), par);
        let c = numerics::Mat::from_fn(c.nrows(), c.ncols(), |i, j| c[(i, j)] - left[(i, j)] / k as f64);
        let rest = la::sub_mul(ag, basis.q.as_ref(), c.as_ref(), par);
        for j in 0..count {
            moments.push(|a| g[(a, j)] * rest[(a, j)]);
        }
        if products.stopped() {
            break;
        }
    }
    let sem = moments.sem();
    let value = (0..n).map(|a| whole[a] - own[a] / k as f64 + moments.mean[a]).collect();
    Ok((value, sem))
}
