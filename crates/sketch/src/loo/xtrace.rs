//! XTrace: an unbiased trace estimate with `2 k` products, exact for operators of rank below k.
//!
//! Source: arXiv:2301.07825. With `Z = A Q`, `W = Q^T Omega`, `H = Q^T Z`, `T = Z^T Omega` and X the columns of W less
//! their part along s_i: `t_i = tr H - s_i^T H s_i + c_i (X_i^T H X_i - T_i^T X_i + g_i s_i^T W_i)`.

use super::{Downdate, LeaveOut, check_probes, check_resphere};
use crate::products::Products;
use crate::{Error, la};
use numerics::dense::{self, CholeskyQr};
use numerics::{Mat, MatRef, Par};

/// The small products that samples are made of.
#[derive(Clone, Debug)]
pub(super) struct Core {
    /// `Q^T Omega`.
    w: Mat<f64>,
    /// `Q^T Z`.
    h: Mat<f64>,
    /// `Z^T Omega`.
    t: Mat<f64>,
    /// Squared lengths of the probes, and their number of entries.
    lengths: (Vec<f64>, usize),
}

impl Core {
    fn empty(n: usize) -> Self {
        let none = || Mat::zeros(0, 0);
        Core { w: none(), h: none(), t: none(), lengths: (Vec::new(), n) }
    }

    /// From a basis, its image and the probes.
    #[cfg(test)]
    pub(super) fn of(q: MatRef<'_, f64>, z: MatRef<'_, f64>, omega: MatRef<'_, f64>, par: Par) -> Self {
        let (w, h, t) = (la::mul_tn(q, omega, par), la::mul_tn(q, z, par), la::mul_tn(z, omega, par));
        Core { w, h, t, lengths: (la::col_dots(omega, omega), omega.nrows()) }
    }

    /// The same for the basis `Q P`.
    fn turned(&self, p: MatRef<'_, f64>, par: Par) -> Self {
        let turn = |a: &Mat<f64>| la::mul_tn(p, a.as_ref(), par);
        let h = la::mul(turn(&self.h).as_ref(), p, par);
        Core { w: turn(&self.w), h, t: turn(&self.t), lengths: self.lengths.clone() }
    }

    /// The samples `t_i`.
    pub(super) fn samples(&self, leave: &LeaveOut, resphere: bool, par: Par) -> Vec<f64> {
        let Core { w, h, t, lengths: (lengths, n) } = self;
        let x = leave.without_own(w.as_ref());
        let s = leave.s.as_ref();
        let shs = la::col_dots(s, la::mul(h.as_ref(), s, par).as_ref());
        let xhx = la::col_dots(x.as_ref(), la::mul(h.as_ref(), x.as_ref(), par).as_ref());
        let (tx, sw) = (la::col_dots(t.as_ref(), x.as_ref()), la::col_dots(s, w.as_ref()));
        let c = if resphere { leave.resphere(*n, lengths, x.as_ref()) } else { vec![1.0; lengths.len()] };
        let whole = la::tr(h.as_ref());
        (0..lengths.len()).map(|i| whole - shs[i] + c[i] * (xhx[i] - tx[i] + leave.g[i] * sw[i])).collect()
    }
}

/// The k samples of XTrace.
pub(crate) fn xtrace(products: &Products<'_>, k: usize, resphere: bool) -> Result<Vec<f64>, Error> {
    let mut run = XTrace::new(products, resphere)?;
    run.grows = false;
    run.grow(products, k)?;
    run.samples(products)
}

/// XTrace whose probes can be added to: the basis is extended, and only new directions are multiplied.
///
/// Z is made a block of columns at a time and leaves only its products with the basis and the probes. For a self-adjoint
/// operator `T = Z^T Omega = Q^T Y = R` needs no product at all.
#[derive(Debug)]
pub(crate) struct XTrace {
    resphere: bool,
    omega: Mat<f64>,
    q: Mat<f64>,
    r: Mat<f64>,
    core: Core,
    /// Whether more probes may come; otherwise probes and basis are not kept.
    grows: bool,
    /// The image of the basis, for probes to come, of an operator that is not self-adjoint.
    z: Mat<f64>,
}

impl XTrace {
    pub(crate) fn new(products: &Products<'_>, resphere: bool) -> Result<Self, Error> {
        let n = products.square()?;
        check_resphere(products.op, products.settings.law, resphere)?;
        let none = || Mat::zeros(n, 0);
        let (omega, q, z) = (none(), none(), none());
        Ok(XTrace { resphere, omega, q, r: Mat::zeros(0, 0), core: Core::empty(n), grows: true, z })
    }

    pub(crate) fn probes(&self) -> usize {
        self.omega.ncols()
    }

    /// Adds probes until there are k, with two products each.
    pub(crate) fn grow(&mut self, products: &Products<'_>, k: usize) -> Result<(), Error> {
        let (n, par, old) = (products.n, products.par(), self.probes());
        check_probes(products.op, k, n)?;
        let mut omega = products.right(old..k);
        let y = products.apply(omega.as_ref())?;
        let (new, beside) = self.extend(y, omega.as_ref(), par)?;
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
        let mut core = Core { w: larger(&self.core.w, k), h: larger(&self.core.h, k), ..self.core.clone() };
        core.lengths.0.extend(self.lengths(omega.as_ref()));
        let (q, fresh) = (self.q.as_ref(), new.q.as_ref());
        put(&mut core.w, (0, old), q, omega.as_ref(), par);
        put(&mut core.w, (old, 0), fresh, self.omega.as_ref(), par);
        match &beside {
            Some((seen, _)) => core.w = seen.clone(),
            None => put(&mut core.w, (old, old), fresh, omega.as_ref(), par),
        }
        if products.symmetric {
            core.t = r.clone();
        } else {
            core.t = larger(&self.core.t, k);
            put(&mut core.h, (old, 0), fresh, self.z.as_ref(), par);
            put(&mut core.t, (0, old), self.z.as_ref(), omega.as_ref(), par);
        }
        // fresh memory costs as much as a product, so the image takes that of probes that are not needed any more
        let spent = products.symmetric && !self.grows;
        let room = || dense::zeros(n, products.width().min(k - old), par);
        let mut z = if spent { core::mem::replace(&mut omega, Mat::zeros(n, 0)) } else { room() };
        products.by_blocks(old..k, |columns| {
            let (first, count) = (columns.start, columns.len());
            products.apply_into(fresh.subcols(first - old, count), z.as_mut().subcols_mut(0, count))?;
            let z = z.as_ref().subcols(0, count);
            put(&mut core.h, (0, first), q, z, par);
            // of a self-adjoint operator the upper triangle is the lower one
            let from = if products.symmetric { first } else { old };
            put(&mut core.h, (from, first), fresh.subcols(from - old, k - from), z, par);
            if !products.symmetric {
                put(&mut core.t, (first, 0), z, self.omega.as_ref(), par);
                put(&mut core.t, (first, old), z, omega.as_ref(), par);
                if self.grows {
                    self.z = la::hcat(self.z.as_ref(), z);
                }
            }
            Ok(())
        })?;
        if products.symmetric {
            let mirrored = core.h.as_ref().submatrix(0, old, old, k - old).transpose().to_owned();
            dense::copy(core.h.as_mut().submatrix_mut(old, 0, k - old, old), mirrored.as_ref());
            dense::mirror_lower(core.h.as_mut().submatrix_mut(old, old, k - old, k - old));
        }
        if let Some((_, Some(turn))) = beside {
            core = core.turned(turn.as_ref(), par);
            if products.symmetric {
                core.t = r.clone();
            }
        }
        if self.grows {
            la::append(&mut self.omega, omega);
            la::append(&mut self.q, new.q);
        }
        (self.r, self.core) = (r, core);
        Ok(())
    }

    /// Squared lengths of probes. Nobody reads them unless probes are rescaled.
    fn lengths(&self, omega: MatRef<'_, f64>) -> Vec<f64> {
        if self.resphere { la::col_dots(omega, omega) } else { vec![omega.nrows() as f64; omega.ncols()] }
    }

    /// The new columns of the basis. If they are all that will ever be, they are made orthonormal by a turn of the small products
    /// only, and come with their products with the probes, and the turn.
    fn extend(&self, y: Mat<f64>, omega: MatRef<'_, f64>, par: Par) -> Result<(la::Extension, Option<Turned>), Error> {
        if self.grows || self.q.ncols() > 0 {
            return Ok((la::extend_basis(self.q.as_ref(), y, par)?, None));
        }
        let inside = Mat::zeros(0, y.ncols());
        let CholeskyQr { p, turn, r, beside } = dense::cholesky_qr_beside(y, omega, par)?;
        Ok((la::Extension { inside, q: p, r }, Some((beside, turn))))
    }

    /// The samples. Where columns are dependent the span of `Y = Q R` is found anew in the coordinates of Q.
    pub(crate) fn samples(&self, products: &Products<'_>) -> Result<Vec<f64>, Error> {
        let par = products.par();
        if let Some(leave) = LeaveOut::from_triangle(self.r.as_ref(), products.n, par) {
            return Ok(self.core.samples(&leave, self.resphere, par));
        }
        let basis = Downdate::pivoted(self.r.as_ref(), products.n, par)?;
        Ok(self.core.turned(basis.q.as_ref(), par).samples(&basis.leave, self.resphere, par))
    }
}

/// Products of a basis with the probes, and what turns it into an orthonormal one.
type Turned = (Mat<f64>, Option<Mat<f64>>);

/// A square matrix in the corner of a larger one of zeros.
fn larger(a: &Mat<f64>, k: usize) -> Mat<f64> {
    let mut out = Mat::zeros(k, k);
    dense::copy(out.as_mut().submatrix_mut(0, 0, a.nrows(), a.ncols()), a.as_ref());
    out
}

/// Writes `a^T b` at a place.
fn put(out: &mut Mat<f64>, (i, j): (usize, usize), a: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) {
    if a.ncols() > 0 && b.ncols() > 0 {
        let product = la::mul_tn(a, b, par);
        dense::copy(out.as_mut().submatrix_mut(i, j, a.ncols(), b.ncols()), product.as_ref());
    }
}
