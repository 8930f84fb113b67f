//! Pseudo-inverses (Moore-Penrose), on request: nothing falls back to them by itself.
//!
//! By structure where the structure allows it; an SVD up to the dense limit; LSMR above. The pseudo-inverse of a
//! product is not the product of pseudo-inverses, so products have no rule.

use crate::dispatch::{Cx, Limits, each_once, eigh_in};
use crate::krylov::{IterativeInverse, Method};
use crate::ops::*;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, MatRef, Par, Scalar, dense as kernels};

/// `A^+`, `ncols x nrows`.
///
/// Singular values up to `rtol` times the largest **of each factor or block** count as zero; `None` stands for the size
/// times the rounding unit. Above the dense limit an operator without a rule becomes a least-squares iteration, which
/// takes no `rtol`.
///
/// ```
/// use linop_core::{Op, dispatch::Limits, inverse::pinv};
/// use numerics::Par;
/// let a = Op::diag(vec![2.0_f64, 0.0]);
/// let p = pinv(&a.kron(&a)?, None, Limits::default(), Par::Seq)?.to_dense(Par::Seq)?;
/// assert_eq!((p[(0, 0)], p[(3, 3)]), (0.25, 0.0));
/// # Ok::<(), linop_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for an `rtol` outside `[0, 1)`; those of the dense SVD.
pub fn pinv<T: Scalar>(a: &Op<T>, rtol: Option<f64>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    if let Some(rtol) = rtol.filter(|r| !(0.0..1.0).contains(r)) {
        return Err(Error::InvalidArgument { op: "pinv", what: format!("rtol = {rtol}, needs 0 <= rtol < 1") });
    }
    pinv_in(a, rtol, &Cx::new(limits, par))
}

/// The threshold relative to the largest singular value.
fn threshold<T: Scalar>(rtol: Option<f64>, m: usize, n: usize) -> T {
    T::from_f64(rtol.unwrap_or(m.max(n) as f64 * T::EPS.to_f64()))
}

/// `1 / x`, or zero up to the threshold.
fn reciprocals<T: Scalar>(values: &[T], rtol: Option<f64>, m: usize, n: usize) -> Vec<T> {
    let top = values.iter().fold(T::ZERO, |t, v| t.max(v.abs()));
    let limit = threshold::<T>(rtol, m, n) * top;
    values.iter().map(|&x| if x.abs() <= limit { T::ZERO } else { x.recip() }).collect()
}

fn pinv_in<T: Scalar>(a: &Op<T>, rtol: Option<f64>, cx: &Cx) -> Result<Op<T>, Error> {
    let (m, n) = (a.nrows(), a.ncols());
    let facts = a.props();
    if m == 0 || n == 0 || facts.contains(Props::ZERO) {
        return Ok(Op::zero(n, m));
    }
    if facts.intersects(Props::ORTHOGONAL) {
        return Ok(a.t());
    }
    let each = |ops: &[Op<T>]| each_once(ops, |o| pinv_in(o, rtol, cx));
    let op = match a.kind() {
        Kind::ScalarIdentity(c) => Op::new(ScalarIdentity::new(c.factor().recip(), n)),
        Kind::Diagonal(d) => Op::diag(reciprocals(d.values(), rtol, m, n)),
        Kind::Selection(_) => a.t(),
        Kind::Transposed(t) => pinv_in(t.inner(), rtol, cx)?.t(),
        Kind::Scaled(s) if s.factor() != T::ZERO => pinv_in(s.inner(), rtol, cx)?.scaled(s.factor().recip()),
        Kind::Kronecker(k) => crate::algebra::kron(&each(k.factors())?)?,
        Kind::BlockDiag(b) => Op::new(BlockDiag::new(each(b.blocks())?)?),
        Kind::Eigh(_) | Kind::KroneckerSum(_) | Kind::Shifted(_) if super::rules::spectral(a, cx) => {
            let e = eigh_in(a, cx)?;
            let values = reciprocals(e.values(), rtol, m, n);
            Op::new(Eigh::new(e.vectors().clone(), values)?)
        }
        Kind::LowRank(l) => low_rank(l, rtol)?,
        Kind::Factored(_) | Kind::TriangularInverse(_) | Kind::LowRankSolve(_) => super::inverse_in(a, cx)?,
        _ if cx.fits(m.max(n)) => by_svd(a, rtol, cx)?,
        _ => Op::new(IterativeInverse::new(a.clone(), Method::Lsmr)?),
    };
    Ok(op.derived(facts.pseudo_inverse(m, n)))
}

fn times<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> Mat<T> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    kernels::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, Par::Seq);
    out
}

/// `V diag(w) U^T` with the columns where w is zero dropped.
fn assemble<T: Scalar>(u: MatRef<'_, T>, w: &[T], v: MatRef<'_, T>, symmetric: bool) -> Result<Op<T>, Error> {
    let kept: Vec<usize> = (0..w.len()).filter(|&i| w[i] != T::ZERO).collect();
    let pick = |x: MatRef<'_, T>| Mat::from_fn(x.nrows(), kept.len(), |i, j| x[(i, kept[j])]);
    let r = kept.len();
    let c = Mat::from_fn(r, r, |i, j| if i == j { w[kept[i]] } else { T::ZERO });
    let (n, m) = (v.nrows(), u.nrows());
    if r * (m + n) >= m * n {
        let left = Mat::from_fn(n, r, |i, j| v[(i, kept[j])] * w[kept[j]]);
        return Ok(Op::dense(times(left.as_ref(), pick(u).transpose())));
    }
    Ok(Op::new(LowRank::new(pick(v), Some(c), (!symmetric).then(|| pick(u)))?))
}

/// `U C V^T` through thin QR factorisations: `(Qu M Qv^T)^+ = Qv M^+ Qu^T` with the small `M = Ru C Rv^T`.
fn low_rank<T: Scalar>(l: &LowRank<T>, rtol: Option<f64>) -> Result<Op<T>, Error> {
    let (qu, qv) = (kernels::qr(l.u())?, kernels::qr(l.v())?);
    let small = times(times(qu.r.as_ref(), l.core().as_ref()).as_ref(), qv.r.transpose());
    let svd = kernels::svd(small.as_ref())?;
    let w = reciprocals(&svd.s, rtol, l.nrows(), l.ncols());
    let (u, v) = (times(qu.q.as_ref(), svd.u.as_ref()), times(qv.q.as_ref(), svd.v.as_ref()));
    assemble(u.as_ref(), &w, v.as_ref(), false)
}

fn by_svd<T: Scalar>(a: &Op<T>, rtol: Option<f64>, cx: &Cx) -> Result<Op<T>, Error> {
    let (m, n) = (a.nrows(), a.ncols());
    let dense = cx.dense("pinv", a)?;
    if a.props().contains(Props::SELF_ADJOINT) {
        let e = kernels::eigh(dense.as_ref())?;
        let w = reciprocals(&e.values, rtol, m, n);
        return assemble(e.vectors.as_ref(), &w, e.vectors.as_ref(), true);
    }
    let svd = kernels::svd(dense.as_ref())?;
    let w = reciprocals(&svd.s, rtol, m, n);
    assemble(svd.u.as_ref(), &w, svd.v.as_ref(), false)
}
