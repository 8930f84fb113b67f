//! Inner products `<A, B> = tr(A^T B)`: the cross terms of a sum's Frobenius norm.

use super::Cx;
use super::norm::frobenius_in;
use super::trace::{diagonal_in, trace_in};
use crate::ops::LowRank;
use crate::{Error, Kind, LinearOperator, Op};
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par, Scalar, dense as kernels};

/// `<A, B>` of two operators of one shape.
pub(super) fn inner_in<T: Scalar>(a: &Op<T>, b: &Op<T>, cx: &Cx) -> Result<T, Error> {
    if a.same(b) {
        return frobenius_in(a, cx);
    }
    match rule(a, b, cx)? {
        Some(x) => Ok(x),
        None => match rule(b, a, cx)? {
            Some(x) => Ok(x),
            None => {
                let (x, y) = (cx.dense("frobenius_sq", a)?, cx.dense("frobenius_sq", b)?);
                Ok(entrywise(x.as_ref(), y.as_ref()))
            }
        },
    }
}

fn entrywise<T: Scalar>(x: MatRef<'_, T>, y: MatRef<'_, T>) -> T {
    (0..x.ncols()).map(|j| (0..x.nrows()).map(|i| x[(i, j)] * y[(i, j)]).sum::<T>()).sum()
}

/// What the structure of `a` gives; the caller tries both orders.
fn rule<T: Scalar>(a: &Op<T>, b: &Op<T>, cx: &Cx) -> Result<Option<T>, Error> {
    let square = a.nrows() == a.ncols();
    let pairs = |x: &[Op<T>], y: &[Op<T>]| {
        let meet = |(x, y): (&Op<T>, &Op<T>)| (x.nrows(), x.ncols()) == (y.nrows(), y.ncols());
        x.len() == y.len() && x.iter().zip(y).all(meet)
    };
    Ok(Some(match (a.kind(), b.kind()) {
        (Kind::Zero(_), _) => T::ZERO,
        (Kind::Scaled(s), _) => s.factor() * inner_in(s.inner(), b, cx)?,
        (Kind::Sum(s), _) => s.terms().iter().map(|t| inner_in(t, b, cx)).sum::<Result<T, _>>()?,
        (Kind::Transposed(s), Kind::Transposed(t)) => inner_in(s.inner(), t.inner(), cx)?,
        (Kind::Shifted(s), _) if square => inner_in(s.inner(), b, cx)? + s.sigma() * trace_in(b, cx)?,
        (Kind::ScalarIdentity(c), _) => c.factor() * trace_in(b, cx)?,
        (Kind::Diagonal(d), _) => {
            let of_b = diagonal_in(b, cx)?;
            d.values().iter().zip(&of_b).map(|(&x, &y)| x * y).sum()
        }
        (Kind::LowRank(l), _) => low_rank(l, b, cx.par)?,
        (Kind::LowRankPlusDiag(l), _) => {
            let base = Op::diag(l.diagonal_part().to_vec());
            inner_in(&base, b, cx)? + low_rank(l.low_rank_part(), b, cx.par)?
        }
        (Kind::LowRankUpdate(l), _) => inner_in(l.base(), b, cx)? + low_rank(l.low_rank_part(), b, cx.par)?,
        (Kind::Dense(x), Kind::Dense(y)) => entrywise(x.mat(), y.mat()),
        (Kind::Kronecker(x), Kind::Kronecker(y)) if pairs(x.factors(), y.factors()) => {
            let mut product = T::ONE;
            for (x, y) in x.factors().iter().zip(y.factors()) {
                product *= inner_in(x, y, cx)?;
            }
            product
        }
        (Kind::KroneckerSum(x), Kind::Kronecker(y)) => {
            let ((p, q), [c, d]) = (x.parts(), y.factors()) else { return Ok(None) };
            if !pairs(&[p.clone(), q.clone()], y.factors()) {
                return Ok(None);
            }
            inner_in(p, c, cx)? * trace_in(d, cx)? + trace_in(c, cx)? * inner_in(q, d, cx)?
        }
        (Kind::BlockDiag(x), Kind::BlockDiag(y)) if pairs(x.blocks(), y.blocks()) => {
            x.blocks().iter().zip(y.blocks()).map(|(x, y)| inner_in(x, y, cx)).sum::<Result<T, _>>()?
        }
        (Kind::Eigh(x), Kind::Eigh(y)) if x.vectors().same(y.vectors()) => {
            x.values().iter().zip(y.values()).map(|(&x, &y)| x * y).sum()
        }
        _ => return Ok(None),
    }))
}

/// `<U C V^T, B> = sum C o (U^T B V)`.
fn low_rank<T: Scalar>(l: &LowRank<T>, b: &Op<T>, par: Par) -> Result<T, Error> {
    let r = l.rank();
    let mut bv = Mat::zeros(b.nrows(), r);
    let mut buffer = MemBuffer::new(b.apply_req(r, par));
    b.apply(bv.as_mut(), T::ONE, l.v(), T::ZERO, par, MemStack::new(&mut buffer))?;
    let mut core = Mat::zeros(r, r);
    kernels::gemm(core.as_mut(), T::ONE, l.u().transpose(), bv.as_ref(), T::ZERO, par);
    Ok(entrywise(l.core().as_ref(), core.as_ref()))
}
