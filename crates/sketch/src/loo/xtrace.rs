//! XTrace: an unbiased trace estimate with `2 k` products, exact for operators of rank below k.
//!
//! Source: arXiv:2301.07825. With `Z = A Q`, `W = Q^T Omega`, `H = Q^T Z`, `T = Z^T Omega` and X the columns of W less
//! their part along s_i: `t_i = tr H - s_i^T H s_i + c_i (X_i^T H X_i - T_i^T X_i + g_i s_i^T W_i)`.

use super::{Downdate, LeaveOut, check_probes, check_resphere};
use crate::products::Products;
use crate::{Error, la};
use numerics::{Mat, MatRef, Par, dense};

/// The samples `t_i` from a basis, its image `Z = A Q`, what leaves a column out, and the probes.
pub(super) fn samples(
    leave: &LeaveOut,
    q: MatRef<'_, f64>,
    z: MatRef<'_, f64>,
    omega: MatRef<'_, f64>,
    resphere: bool,
    par: Par,
) -> Vec<f64> {
    let w = la::mul_tn(q, omega, par);
    let h = la::mul_tn(q, z, par);
    let t = la::mul_tn(z, omega, par);
    let x = leave.without_own(w.as_ref());
    let s = leave.s.as_ref();
    let shs = la::col_dots(s, la::mul(h.as_ref(), s, par).as_ref());
    let xhx = la::col_dots(x.as_ref(), la::mul(h.as_ref(), x.as_ref(), par).as_ref());
    let (tx, sw) = (la::col_dots(t.as_ref(), x.as_ref()), la::col_dots(s, w.as_ref()));
    let c = if resphere { leave.resphere(omega, x.as_ref()) } else { vec![1.0; omega.ncols()] };
    let whole = la::tr(h.as_ref());
    (0..omega.ncols()).map(|i| whole - shs[i] + c[i] * (xhx[i] - tx[i] + leave.g[i] * sw[i])).collect()
}

/// The k samples of XTrace.
pub(crate) fn xtrace(products: &Products<'_>, k: usize, resphere: bool) -> Result<Vec<f64>, Error> {
    let mut run = XTrace::new(products, resphere)?;
    run.grow(products, k)?;
    run.samples(products)
}

/// XTrace whose probes can be added to: the basis is extended, and only new directions are multiplied.
#[derive(Debug)]
pub(crate) struct XTrace {
    resphere: bool,
    omega: Mat<f64>,
    q: Mat<f64>,
    r: Mat<f64>,
    z: Mat<f64>,
}

impl XTrace {
    pub(crate) fn new(products: &Products<'_>, resphere: bool) -> Result<Self, Error> {
        let n = products.square()?;
        check_resphere(products.op, products.settings.law, resphere)?;
        let none = || Mat::zeros(n, 0);
        Ok(XTrace { resphere, omega: none(), q: none(), r: Mat::zeros(0, 0), z: none() })
    }

    pub(crate) fn probes(&self) -> usize {
        self.omega.ncols()
    }

    /// Adds probes until there are k, with two products each.
    pub(crate) fn grow(&mut self, products: &Products<'_>, k: usize) -> Result<(), Error> {
        let (n, par, old) = (products.n, products.par(), self.probes());
        check_probes(products.op, k, n)?;
        let omega = products.right(old..k);
        let y = products.apply(omega.as_ref())?;
        let new = la::extend_basis(self.q.as_ref(), y, par)?;
        let mut r = Mat::zeros(k, k);
        dense::copy(r.as_mut().submatrix_mut(0, 0, old, old), self.r.as_ref());
        for j in old..k {
            for i in 0..old {
                r[(i, j)] = new.inside[(i, j - old)];
            }
            for i in old..=j {
                r[(i, j)] = new.r[(i - old, j - old)];
            }
        }
        let z = products.apply(new.q.as_ref())?;
        la::append(&mut self.omega, omega);
        la::append(&mut self.q, new.q);
        la::append(&mut self.z, z);
        self.r = r;
        Ok(())
    }

    /// The samples. Where columns are dependent the span of `Y = Q R` is found anew inside that of Q, so that its image needs
    /// no further product.
    pub(crate) fn samples(&self, products: &Products<'_>) -> Result<Vec<f64>, Error> {
        let (par, omega) = (products.par(), self.omega.as_ref());
        if let Some(leave) = LeaveOut::from_triangle(self.r.as_ref(), products.n, par) {
            return Ok(samples(&leave, self.q.as_ref(), self.z.as_ref(), omega, self.resphere, par));
        }
        let y = la::mul(self.q.as_ref(), self.r.as_ref(), par);
        let basis = Downdate::new(y.as_ref(), par)?;
        let inside = la::mul_tn(self.q.as_ref(), basis.q.as_ref(), par);
        let z = la::mul(self.z.as_ref(), inside.as_ref(), par);
        Ok(samples(&basis.leave, basis.q.as_ref(), z.as_ref(), omega, self.resphere, par))
    }
}
