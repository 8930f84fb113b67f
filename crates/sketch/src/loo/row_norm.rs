//! XRowNorm: squared row norms with three products a probe (two with A, one with its transpose), or two.
//!
//! Source: arXiv:2301.07825. With `G = A Omega`, a basis Q of the range of `A^T G` (or of G itself), `Z = A Q` and X as
//! in XTrace, sample i is `rowsq(Z) - (Z s_i)^2 + (G_i - Z X_i)^2`. Any basis keeps it unbiased; that of `A^T G` fits
//! the rows of A, that of G does so only for a normal operator.

use super::{Downdate, check_probes};
use crate::products::Products;
use crate::settings::Moments;
use crate::{Error, la};

/// From what the basis of XRowNorm is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowBasis {
    /// From `A^T A Omega`: three products a probe.
    #[default]
    Rows,
    /// From `A Omega`: two products a probe, for square operators that are nearly normal.
    Columns,
}

/// The estimate and its standard errors.
pub(crate) fn xrow_norm(
    products: &Products<'_>,
    k: usize,
    basis: RowBasis,
) -> Result<(Vec<f64>, Option<Vec<f64>>), Error> {
    if basis == RowBasis::Columns {
        products.square()?;
    }
    check_probes(products.op, k, products.n)?;
    let par = products.par();
    let omega = products.right(0..k);
    let g = products.apply(omega.as_ref())?;
    let downdate = match basis {
        RowBasis::Rows => Downdate::new(products.apply_t(g.as_ref())?.as_ref(), par)?,
        RowBasis::Columns => Downdate::new(g.as_ref(), par)?,
    };
    let z = products.apply(downdate.q.as_ref())?;
    let w = la::mul_tn(downdate.q.as_ref(), omega.as_ref(), par);
    let x = downdate.leave.without_own(w.as_ref());
    let zs = la::mul(z.as_ref(), downdate.leave.s.as_ref(), par);
    let rest = la::sub_mul(g, z.as_ref(), x.as_ref(), par);
    let whole = la::row_dots(z.as_ref(), z.as_ref());
    let mut moments = Moments::new(products.m);
    for i in 0..k {
        moments.push(|a| whole[a] - zs[(a, i)] * zs[(a, i)] + rest[(a, i)] * rest[(a, i)]);
    }
    let sem = moments.sem();
    Ok((moments.mean, sem))
}
