//! Woodbury's identity: `M = A + U C V^T` is inverted through A and `K = I + C V^T A^-1 U`.
//!
//! `M^-1 = A^-1 - A^-1 U K^-1 C V^T A^-1`, `det M = det A det K`; C may be singular. Setting up costs two solves with r
//! columns and `2 n r^2` flops, and is done once: the inverse is again a low-rank update.

use super::{SINGULAR, inverse_in};
use crate::dispatch::Cx;
use crate::ops::{LowRank, LowRankUpdate};
use crate::{Error, Kind, LinearOperator, Op};
use numerics::dense::Lu;
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par, Scalar, dense as kernels};

/// Whether Woodbury's identity is the way: a dense base costs as much to factor as the dense sum does.
pub(crate) fn through_base<T: Scalar>(l: &LowRankUpdate<T>, n: usize, cx: &Cx) -> bool {
    l.base().has_solve() && !(cx.fits(n) && matches!(l.base().kind(), Kind::Dense(_)))
}

/// `A + U C V^T` by way of `K = I + C V^T A^-1 U`.
pub(crate) struct Woodbury<T: Scalar> {
    pub(crate) base_inverse: Op<T>,
    /// `A^-1 U`.
    left: Mat<T>,
    /// `A^-T V`.
    right: Mat<T>,
    core: Mat<T>,
    small: Lu<T>,
    par: Par,
}

fn times<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) -> Mat<T> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    kernels::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, par);
    out
}

impl<T: Scalar> Woodbury<T> {
    pub(crate) fn new(base: &Op<T>, low: &LowRank<T>, cx: &Cx) -> Result<Self, Error> {
        let par = cx.par;
        let inverse = inverse_in(base, cx)?;
        let (n, r) = (base.nrows(), low.rank());
        let mut buffer = MemBuffer::new(inverse.apply_req(r, par).or(inverse.apply_t_req(r, par)));
        let (mut left, mut right) = (Mat::zeros(n, r), Mat::zeros(n, r));
        inverse.apply(left.as_mut(), T::ONE, low.u(), T::ZERO, par, MemStack::new(&mut buffer))?;
        inverse.apply_t(right.as_mut(), T::ONE, low.v(), T::ZERO, par, MemStack::new(&mut buffer))?;
        // A base that is singular but for rounding spoils the identity: |A| |A^-1| along U and V shows it.
        let mut image = Mat::<T>::zeros(n, r);
        let mut buffer = MemBuffer::new(base.apply_req(r, par));
        base.apply(image.as_mut(), T::ONE, low.u(), T::ZERO, par, MemStack::new(&mut buffer))?;
        let norms =
            [image.as_ref(), left.as_ref(), right.as_ref(), low.u(), low.v()].map(|m| kernels::norm_l2(m).to_f64());
        let scale = norms[0] / norms[3];
        let growth = (scale * norms[1] / norms[3]) * (scale * norms[2] / norms[4]);
        // Where the dense form is at hand, little growth is enough to prefer it.
        let limit = T::EPS.to_f64().powf(if cx.fits(n) { -0.32 } else { -0.75 });
        if growth.is_nan() && norms[3] * norms[4] != 0.0 || growth > limit {
            return Err(Error::SingularBase { op: "low-rank update", n, limit: cx.limits.dense });
        }
        let core = low.core();
        let inner = times(low.v().transpose(), left.as_ref(), par);
        let mut k = times(core.as_ref(), inner.as_ref(), par);
        (0..r).for_each(|i| k[(i, i)] += T::ONE);
        let small = Lu::new(k.as_ref(), par)?;
        Ok(Woodbury { base_inverse: inverse, left, right, core, small, par })
    }

    pub(crate) fn slogdet(&self) -> (T, T) {
        self.small.slogdet()
    }

    /// `-(A^-1 U) K^-1 C (A^-T V)^T`.
    pub(crate) fn correction(&self) -> Result<LowRank<T>, Error> {
        if self.small.is_singular() {
            return Err(SINGULAR);
        }
        let mut c = self.core.clone();
        let r = c.nrows();
        let mut buffer = MemBuffer::new(self.small.solve_req(r, self.par));
        self.small.solve_in_place(c.as_mut(), self.par, MemStack::new(&mut buffer));
        kernels::scale(c.as_mut(), -T::ONE);
        LowRank::new(self.left.clone(), Some(c), Some(self.right.clone()))
    }
}
