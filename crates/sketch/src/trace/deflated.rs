//! Trace estimators that take a low-rank part of the operator exactly and estimate the rest.

use super::Stage;
use crate::nystrom::{NystromVariant, factor};
use crate::products::Products;
use crate::settings::mean_sem;
use crate::{Error, la};
use numerics::Mat;
use numerics::rng::{Law, Role};

/// Hutch++ (arXiv:2010.09649, algorithm 1): `floor(m/3)` columns for the basis, as many products for its part, the
/// rest for Hutchinson on the complement.
pub(super) fn hutchpp(products: &Products<'_>, m: usize) -> Result<Stage, Error> {
    let par = products.par();
    let k = m / 3;
    let y = products.apply(products.right(0..k).as_ref())?;
    let q = la::orth(y, products.par())?;
    let aq = products.apply(q.as_ref())?;
    let inside = la::col_dots(q.as_ref(), aq.as_ref()).iter().sum::<f64>();
    let mut samples = Vec::new();
    residual_samples(products, q.as_ref(), k, m - 2 * k, &mut samples, par)?;
    let (mean, sem) = mean_sem(&samples);
    Ok((inside + mean, sem))
}

/// Samples `g^T (I - QQ^T) A (I - QQ^T) g` for `count` probes from column `first`.
fn residual_samples(
    products: &Products<'_>,
    q: numerics::MatRef<'_, f64>,
    first: usize,
    count: usize,
    samples: &mut Vec<f64>,
    par: numerics::Par,
) -> Result<(), Error> {
    let width = products.width();
    while samples.len() < count {
        let start = first + samples.len();
        let g = products.right(start..(start + width).min(first + count));
        let c = la::mul_tn(q, g.as_ref(), par);
        let g = la::sub_mul(g, q, c.as_ref(), par);
        samples.extend(la::col_dots(g.as_ref(), products.apply(g.as_ref())?.as_ref()));
        if products.stopped() {
            break;
        }
    }
    Ok(())
}

/// NA-Hutch++ (arXiv:2010.09649, algorithm 2): one pass, the budget split 1/6 transposed, 1/3 for the range, 1/2 for
/// Hutchinson on `A - Z K W^T`.
pub(super) fn na_hutchpp(products: &Products<'_>, m: usize) -> Result<Stage, Error> {
    let (par, n) = (products.par(), products.n);
    let (left, right) = (m / 6, m / 3);
    let s = products.draw(products.settings.law, Role::LeftProbe, n, 0..left);
    let w = products.apply_t(s.as_ref())?;
    let z = products.apply(products.right(0..right).as_ref())?;
    let k = la::pinv(la::mul_tn(s.as_ref(), z.as_ref(), par).as_ref(), par)?;
    let wz = la::mul_tn(w.as_ref(), z.as_ref(), par);
    let inside = la::tr(la::mul(k.as_ref(), wz.as_ref(), par).as_ref());
    let count = m - left - right;
    let g = products.right(right..right + count);
    let ag = products.apply(g.as_ref())?;
    let wg = la::mul_tn(w.as_ref(), g.as_ref(), par);
    let zg = la::mul_tn(z.as_ref(), g.as_ref(), par);
    let low = la::col_dots(zg.as_ref(), la::mul(k.as_ref(), wg.as_ref(), par).as_ref());
    let whole = la::col_dots(g.as_ref(), ag.as_ref());
    let samples: Vec<f64> = whole.iter().zip(&low).map(|(a, b)| a - b).collect();
    let (mean, sem) = mean_sem(&samples);
    Ok((inside + mean, sem))
}

/// Nystrom++: half of the products for a Nystrom approximation from orthonormalised Gaussian probes, half for
/// Hutchinson with sign probes on what it leaves.
pub(super) fn nystrompp(products: &Products<'_>, m: usize) -> Result<Stage, Error> {
    let (par, n) = (products.par(), products.n);
    let k = m / 2;
    let omega = la::orth(products.draw(Law::Gaussian, Role::RightProbe, n, 0..k), products.par())?;
    let y = products.apply(omega.as_ref())?;
    let low = factor(products.op, omega.as_ref(), y, NystromVariant::Stable, par)?;
    let inside = low.values.iter().sum::<f64>();
    let psi = products.draw(Law::Rademacher, Role::RightProbe, n, k..m);
    let whole = la::col_dots(psi.as_ref(), products.apply(psi.as_ref())?.as_ref());
    let c: Mat<f64> = la::mul_tn(low.u.as_ref(), psi.as_ref(), par);
    let part = la::col_dots(c.as_ref(), la::scale_rows(&low.values, c.as_ref()).as_ref());
    let samples: Vec<f64> = whole.iter().zip(&part).map(|(a, b)| a - b).collect();
    let (mean, sem) = mean_sem(&samples);
    Ok((inside + mean, sem))
}
