//! Eigendecompositions by structure: those of Kronecker products and sums are Kronecker products of the factors'.

use super::{Cx, Limits, each_once, square};
use crate::ops::{BlockDiag, Eigh, Kronecker};
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Par, Scalar, dense as kernels};

/// `A = Q diag(l) Q^T` of an operator known to be self-adjoint.
pub fn eigh<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Eigh<T>, Error> {
    eigh_in(a, &Cx::new(limits, par))
}

/// Whether an eigendecomposition costs no more than those of factors and blocks, none of them above `limit`.
pub(crate) fn has_rule<T: Scalar>(a: &Op<T>, limit: usize) -> bool {
    if !a.props().contains(Props::SELF_ADJOINT) {
        return false;
    }
    // A part without structure is made dense, which is cheap beside the whole.
    let part = |p: &Op<T>| has_rule(p, limit) || (p.props().contains(Props::SELF_ADJOINT) && p.nrows() <= limit);
    match a.kind() {
        Kind::ScalarIdentity(_) | Kind::Zero(_) | Kind::Diagonal(_) | Kind::Eigh(_) | Kind::Dense(_) => true,
        Kind::Kronecker(k) => k.factors().iter().all(part),
        Kind::BlockDiag(b) => b.blocks().iter().all(part),
        Kind::KroneckerSum(k) => part(k.parts().0) && part(k.parts().1),
        Kind::Scaled(s) => has_rule(s.inner(), limit),
        Kind::Shifted(s) => has_rule(s.inner(), limit),
        _ => false,
    }
}

pub(crate) fn eigh_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Eigh<T>, Error> {
    let n = square("eigh", a)?;
    if !a.props().contains(Props::SELF_ADJOINT) {
        return Err(Error::MissingProperty { op: "eigh", needed: "SELF_ADJOINT" });
    }
    let known = |p: &Op<T>| p.props().contains(Props::SELF_ADJOINT);
    match a.kind() {
        Kind::Eigh(e) => Ok(e.clone()),
        Kind::ScalarIdentity(c) => Eigh::new(Op::identity(n), vec![c.factor(); n]),
        Kind::Zero(_) => Eigh::new(Op::identity(n), vec![T::ZERO; n]),
        Kind::Diagonal(d) => Eigh::new(Op::identity(n), d.values().to_vec()),
        Kind::Scaled(s) if known(s.inner()) => {
            let e = eigh_in(s.inner(), cx)?;
            e.map("eigh", |x| s.factor() * x)
        }
        Kind::Shifted(s) if known(s.inner()) => {
            let e = eigh_in(s.inner(), cx)?;
            e.map("eigh", |x| x + s.sigma())
        }
        Kind::Kronecker(k) if k.factors().iter().all(known) => {
            let parts = each_once(k.factors(), |f| eigh_in(f, cx))?;
            let l = parts.iter().fold(vec![T::ONE], |l, e| outer(&l, e.values(), |x, y| x * y));
            Eigh::new(Op::new(Kronecker::new(parts.iter().map(|e| e.vectors().clone()).collect())?), l)
        }
        Kind::KroneckerSum(k) if known(k.parts().0) && known(k.parts().1) => {
            let (x, y) = (eigh_in(k.parts().0, cx)?, eigh_in(k.parts().1, cx)?);
            let l = outer(x.values(), y.values(), |x, y| x + y);
            Eigh::new(Op::new(Kronecker::new(vec![x.vectors().clone(), y.vectors().clone()])?), l)
        }
        Kind::BlockDiag(b) if b.blocks().iter().all(known) => {
            let parts = each_once(b.blocks(), |b| eigh_in(b, cx))?;
            let l = parts.iter().flat_map(|e| e.values().iter().copied()).collect();
            Eigh::new(Op::new(BlockDiag::new(parts.iter().map(|e| e.vectors().clone()).collect())?), l)
        }
        _ => {
            let e = kernels::eigh(cx.dense("eigh", a)?.as_ref())?;
            let q = Op::dense(e.vectors).derived(Props::ORTHOGONAL);
            Eigh::new(q, e.values)
        }
    }
}

/// All `f(x_i, y_j)`, j fastest: the order of Kronecker products.
pub(crate) fn outer<T: Scalar>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> Vec<T> {
    x.iter().flat_map(|&x| y.iter().map(move |&y| (x, y))).map(|(x, y)| f(x, y)).collect()
}
