//! Inverses by structure; Woodbury's identity for low-rank parts, generalised eigenproblems for sums of two Kroneckers.

use super::spectrum::{eigh_in, has_rule, outer};
use super::{Cx, Limits, square};
use crate::ops::*;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::dense::{Diag, Lu, Triangle};
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par, Scalar, dense as kernels};

/// `A^-1`.
pub fn inverse<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    inverse_in(a, &Cx { limits, par })
}

const SINGULAR: Error = Error::Singular { op: "inverse" };

pub(crate) fn inverse_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    let n = square("inverse", a)?;
    if n == 0 {
        return Ok(a.clone());
    }
    let facts = a.props();
    if facts.contains(Props::ZERO) {
        return Err(SINGULAR);
    }
    let each = |ops: &[Op<T>]| ops.iter().map(|o| inverse_in(o, cx)).collect::<Result<Vec<_>, _>>();
    let op = match a.kind() {
        Kind::ScalarIdentity(c) => Op::new(ScalarIdentity::new(c.factor().recip(), n)),
        Kind::Diagonal(d) => {
            if d.values().contains(&T::ZERO) {
                return Err(SINGULAR);
            }
            Op::diag(d.values().iter().map(|x| x.recip()).collect())
        }
        Kind::Permutation(_) | Kind::Orthogonal(_) => a.t(),
        Kind::Triangular(t) => Op::new(TriangularInverse::new(t.clone())?),
        Kind::TriangularInverse(t) => Op::new(t.operand().clone()),
        Kind::Factored(f) => f.operand().clone(),
        Kind::Transposed(t) => inverse_in(t.inner(), cx)?.t(),
        Kind::Scaled(s) => inverse_in(s.inner(), cx)?.scaled(s.factor().recip()),
        Kind::Chain(c) if c.factors().iter().all(|f| f.nrows() == f.ncols()) => {
            let mut parts = each(c.factors())?;
            parts.reverse();
            crate::algebra::product(&parts)?
        }
        Kind::Chain(c) if c.factors().iter().any(|f| f.ncols() < n) => return Err(SINGULAR),
        Kind::Kronecker(k) => {
            if !k.all_square() {
                return Err(SINGULAR);
            }
            crate::algebra::kron(&each(k.factors())?)?
        }
        Kind::BlockDiag(b) => {
            if !b.all_square() {
                return Err(SINGULAR);
            }
            Op::new(BlockDiag::new(each(b.blocks())?)?)
        }
        Kind::KroneckerSum(_) | Kind::Eigh(_) | Kind::Shifted(_) if spectral(a) => {
            let e = eigh_in(a, cx)?;
            if e.values().contains(&T::ZERO) {
                return Err(SINGULAR);
            }
            Op::new(e.map("inverse", |x| x.recip())?)
        }
        Kind::LowRank(l) if l.rank() < n => return Err(SINGULAR),
        Kind::LowRankSolve(l) => Op::new(l.operand().clone()),
        Kind::LowRankPlusDiag(l) if LowRankSolve::applies(l) => Op::new(LowRankSolve::new(l.clone(), cx.par)?),
        Kind::LowRankPlusDiag(l) if l.diagonal_part().iter().all(|&x| x != T::ZERO) => {
            match Woodbury::new(&Op::diag(l.diagonal_part().to_vec()), l.low_rank_part(), cx) {
                Ok(w) => {
                    let inverse: Vec<T> = l.diagonal_part().iter().map(|x| x.recip()).collect();
                    Op::new(LowRankPlusDiag::new(inverse, w.correction()?)?)
                }
                Err(Error::SingularBase { .. }) if cx.fits(n) => dense_inverse(a, n, cx)?,
                Err(e) => return Err(e),
            }
        }
        Kind::LowRankUpdate(l) if through_base(l, n, cx) => {
            match Woodbury::new(l.base(), l.low_rank_part(), cx) {
                Ok(w) => Op::new(LowRankUpdate::new(w.base_inverse.clone(), w.correction()?)?),
                // A singular base does not make the sum singular.
                Err(Error::Singular { .. } | Error::SingularBase { .. }) if cx.fits(n) => dense_inverse(a, n, cx)?,
                Err(Error::Singular { .. }) => {
                    return Err(Error::SingularBase { op: "inverse", n, limit: cx.limits.dense });
                }
                Err(e) => return Err(e),
            }
        }
        Kind::LowRankPlusDiag(_) | Kind::LowRankUpdate(_) if !cx.fits(n) => {
            return Err(Error::SingularBase { op: "inverse", n, limit: cx.limits.dense });
        }
        Kind::Sum(s) => match TwoTerm::new(s, cx)? {
            Some(t) => t.inverse()?,
            None => dense_inverse(a, n, cx)?,
        },
        Kind::Block(b) if !cx.fits(n) => match Schur::new(b, cx)? {
            Some(s) => s.inverse()?,
            None => dense_inverse(a, n, cx)?,
        },
        _ => dense_inverse(a, n, cx)?,
    };
    Ok(op.derived(facts.inverse(n)))
}

/// Whether Woodbury's identity is the way: a dense base costs as much to factor as the dense sum does.
pub(crate) fn through_base<T: Scalar>(l: &LowRankUpdate<T>, n: usize, cx: &Cx) -> bool {
    l.base().has_solve() && !(cx.fits(n) && matches!(l.base().kind(), Kind::Dense(_)))
}

/// A 2 x 2 grid with a solvable first block: `S = D - C A^-1 B` carries the rest.
pub(crate) struct Schur<T: Scalar> {
    a_inverse: Op<T>,
    b: Op<T>,
    c: Op<T>,
    pub(crate) complement: Op<T>,
}

impl<T: Scalar> Schur<T> {
    pub(crate) fn new(grid: &Block<T>, cx: &Cx) -> Result<Option<Self>, Error> {
        let (h, w) = grid.partition();
        let (&[m, n], true) = (h, h == w) else {
            return Ok(None);
        };
        let Some(a) = grid.block(0, 0).filter(|a| a.has_solve()) else {
            return Ok(None);
        };
        if !cx.fits(n) {
            return Ok(None);
        }
        let get = |i: usize, j: usize| grid.block(i, j).cloned().unwrap_or_else(|| Op::zero(h[i], w[j]));
        let a_inverse = match inverse_in(a, cx) {
            Ok(inverse) => inverse,
            Err(Error::Singular { .. }) => {
                return Err(Error::SingularBase { op: "Schur complement", n: m, limit: cx.limits.dense });
            }
            Err(e) => return Err(e),
        };
        let (b, c) = (get(0, 1), get(1, 0));
        let through = crate::algebra::product(&[c.clone(), a_inverse.clone(), b.clone()])?;
        let dense = get(1, 1).plus(&through.scaled(-T::ONE))?.to_dense(cx.par)?;
        Ok(Some(Schur { a_inverse, b, c, complement: Op::dense(dense) }))
    }

    fn inverse(&self) -> Result<Op<T>, Error> {
        let par = Par::Seq;
        let dense = crate::to_dense(&self.complement, par)?;
        let s = Op::new(Factored::new(self.complement.clone(), dense.as_ref(), par)?);
        let left = crate::algebra::product(&[self.a_inverse.clone(), self.b.clone(), s.clone()])?.scaled(-T::ONE);
        let right = self.c.times(&self.a_inverse)?;
        let (m, n) = (self.a_inverse.nrows(), s.nrows());
        let corner = self.a_inverse.plus(&left.times(&right)?.scaled(-T::ONE))?;
        let lower = s.times(&right)?.scaled(-T::ONE);
        let rows = vec![vec![Some(corner), Some(left)], vec![Some(lower), Some(s)]];
        Ok(Op::new(Block::new(vec![m, n], vec![m, n], rows)?))
    }
}

pub(crate) fn spectral<T: Scalar>(a: &Op<T>) -> bool {
    match a.kind() {
        Kind::Eigh(_) => true,
        Kind::KroneckerSum(k) => {
            let (x, y) = k.parts();
            (x.props() & y.props()).contains(Props::SELF_ADJOINT)
        }
        // A dense matrix is cheaper to factor than to diagonalise.
        Kind::Shifted(s) => has_rule(s.inner()) && !matches!(s.inner().kind(), Kind::Dense(_)),
        _ => false,
    }
}

fn dense_inverse<T: Scalar>(a: &Op<T>, n: usize, cx: &Cx) -> Result<Op<T>, Error> {
    if !cx.fits(n) {
        let what = format!("no rule for this operator of size {n}: use an iterative solver, or a larger dense limit");
        return Err(Error::Unsupported { op: "inverse", what });
    }
    let mat = crate::to_dense(a, cx.par)?;
    Ok(Op::new(Factored::new(a.clone(), mat.as_ref(), cx.par)?))
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
        let limit = if cx.fits(n) { 1e5 } else { T::EPS.to_f64().powf(-0.75) };
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
    fn correction(&self) -> Result<LowRank<T>, Error> {
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

/// `A (x) B + C (x) D` with self-adjoint A, B and positive definite C, D: the generalised eigenproblems
/// `A Va = C Va La`, `Va^T C Va = I` (and for B, D) give `(Va (x) Vb)(La (x) Lb + I)^-1 (Va (x) Vb)^T`.
pub(crate) struct TwoTerm<T: Scalar> {
    va: Mat<T>,
    vb: Mat<T>,
    values: Vec<T>,
    log_base: T,
}

/// `V` and `L` of `A V = C V L`, and `log det C`.
fn generalised<T: Scalar>(a: &Op<T>, c: &Op<T>, cx: &Cx) -> Result<(Mat<T>, Vec<T>, T), Error> {
    let c = kernels::Llt::new(cx.dense("two-term Kronecker", c)?.as_ref(), cx.par)?;
    let mut s = cx.dense("two-term Kronecker", a)?;
    kernels::trsm(Triangle::Lower, Diag::NonUnit, c.l(), s.as_mut(), cx.par);
    let mut s = s.transpose().to_owned();
    kernels::trsm(Triangle::Lower, Diag::NonUnit, c.l(), s.as_mut(), cx.par);
    kernels::symmetrize(s.as_mut());
    let e = kernels::eigh(s.as_ref())?;
    let mut v = e.vectors;
    kernels::trsm(Triangle::Upper, Diag::NonUnit, c.l().transpose(), v.as_mut(), cx.par);
    Ok((v, e.values, c.logdet()))
}

impl<T: Scalar> TwoTerm<T> {
    pub(crate) fn new(sum: &Sum<T>, cx: &Cx) -> Result<Option<Self>, Error> {
        let [x, y] = sum.terms() else { return Ok(None) };
        let (Kind::Kronecker(x), Kind::Kronecker(y)) = (x.kind(), y.kind()) else {
            return Ok(None);
        };
        let ([a, b], [c, d]) = (x.factors(), y.factors()) else {
            return Ok(None);
        };
        if a.nrows() != c.nrows() || b.nrows() != d.nrows() {
            return Ok(None);
        }
        let both = |p: Props, x: &Op<T>, y: &Op<T>| (x.props() & y.props()).contains(p);
        let (a, b, c, d) = if both(Props::SELF_ADJOINT, a, b) && both(Props::PD, c, d) {
            (a, b, c, d)
        } else if both(Props::SELF_ADJOINT, c, d) && both(Props::PD, a, b) {
            (c, d, a, b)
        } else {
            return Ok(None);
        };
        if !cx.fits(a.nrows()) || !cx.fits(b.nrows()) {
            return Ok(None);
        }
        let (va, la, log_c) = generalised(a, c, cx)?;
        let (vb, lb, log_d) = generalised(b, d, cx)?;
        let values = outer(&la, &lb, |x, y| x * y + T::ONE);
        let log_base = T::from_usize(lb.len()) * log_c + T::from_usize(la.len()) * log_d;
        Ok(Some(TwoTerm { va, vb, values, log_base }))
    }

    fn inverse(&self) -> Result<Op<T>, Error> {
        if self.values.contains(&T::ZERO) {
            return Err(SINGULAR);
        }
        let v = Op::dense(self.va.clone()).kron(&Op::dense(self.vb.clone()))?;
        let middle = Op::diag(self.values.iter().map(|x| x.recip()).collect());
        middle.congruence(&v.t())
    }

    pub(crate) fn slogdet(&self) -> (T, T) {
        let (sign, log) = super::slogdet::of_values(self.values.iter().copied());
        (sign, log + self.log_base)
    }
}
