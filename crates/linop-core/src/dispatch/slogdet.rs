//! Determinants as (sign, log of the absolute value). Singular: (0, -inf); empty: (1, 0).

use super::spectrum::eigh_in;
use super::{Cx, Limits, square};
use crate::inverse::{Schur, TwoTerm, Woodbury, spectral, through_base};
use crate::ops::LowRankSolve;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::dense::{Lblt, Llt, Lu};
use numerics::{MatRef, Par, Scalar};

/// Sign and log absolute determinant of a square operator.
pub fn slogdet<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<(T, T), Error> {
    slogdet_in(a, &Cx::new(limits, par))
}

fn singular<T: Scalar>() -> (T, T) {
    (T::ZERO, -T::INFINITY)
}

/// Of a diagonal.
pub(crate) fn of_values<T: Scalar>(values: impl IntoIterator<Item = T>) -> (T, T) {
    let (mut sign, mut log) = (T::ONE, T::ZERO);
    for x in values {
        if x == T::ZERO {
            return singular();
        }
        sign *= x.signum();
        log += x.abs().ln();
    }
    (sign, log)
}

/// `(s, l)` to the power n; the caller has dealt with singular factors.
fn pow<T: Scalar>((s, l): (T, T), n: usize) -> (T, T) {
    (if n.is_multiple_of(2) { T::ONE } else { s }, T::from_usize(n) * l)
}

fn join<T: Scalar>(a: (T, T), b: (T, T)) -> (T, T) {
    if a.0 == T::ZERO || b.0 == T::ZERO { singular() } else { (a.0 * b.0, a.1 + b.1) }
}

fn all<T: Scalar>(ops: &[Op<T>], cx: &Cx) -> Result<(T, T), Error> {
    ops.iter().try_fold((T::ONE, T::ZERO), |acc, o| Ok(join(acc, slogdet_in(o, cx)?)))
}

fn dense<T: Scalar>(a: MatRef<'_, T>, facts: Props, par: Par) -> Result<(T, T), Error> {
    if facts.contains(Props::PSD) {
        match Llt::new(a, par) {
            Ok(f) => return Ok((T::ONE, f.logdet())),
            Err(numerics::Error::NotPositiveDefinite { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if facts.contains(Props::SELF_ADJOINT) { Ok(Lblt::new(a, par)?.slogdet()) } else { Ok(Lu::new(a, par)?.slogdet()) }
}

pub(crate) fn slogdet_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<(T, T), Error> {
    let n = square("slogdet", a)?;
    if n == 0 {
        return Ok((T::ONE, T::ZERO));
    }
    let facts = a.props();
    if facts.contains(Props::ZERO) {
        return Ok(singular());
    }
    let fallback = || dense(cx.dense("slogdet", a)?.as_ref(), facts, cx.par);
    match a.kind() {
        Kind::ScalarIdentity(c) => Ok(pow(of_values([c.factor()]), n)),
        Kind::Diagonal(d) => Ok(of_values(d.values().iter().copied())),
        Kind::Permutation(p) => Ok((p.sign(), T::ZERO)),
        Kind::Triangular(t) => Ok(of_values((0..n).map(|i| t.mat()[(i, i)]))),
        Kind::TriangularInverse(t) => {
            let (s, l) = of_values((0..n).map(|i| t.operand().mat()[(i, i)]));
            Ok((s, -l))
        }
        Kind::Factored(f) => {
            let (s, l) = f.operand_slogdet();
            Ok((s, -l))
        }
        Kind::IterativeInverse(i) if i.is_true_inverse() => {
            let (s, l) = slogdet_in(i.operand(), cx)?;
            Ok((s, -l))
        }
        Kind::Orthogonal(o) => Ok((slogdet_in(o.inner(), cx)?.0, T::ZERO)),
        Kind::Eigh(e) => Ok(of_values(e.values().iter().copied())),
        Kind::Transposed(t) => slogdet_in(t.inner(), cx),
        Kind::Scaled(s) => Ok(join(pow(of_values([s.factor()]), n), slogdet_in(s.inner(), cx)?)),
        Kind::Chain(c) if c.factors().iter().all(|f| f.nrows() == f.ncols()) => all(c.factors(), cx),
        Kind::Chain(c) if c.factors().iter().any(|f| f.ncols() < n) => Ok(singular()),
        Kind::Kronecker(k) if !k.all_square() => Ok(singular()),
        Kind::Kronecker(k) => k.factors().iter().try_fold((T::ONE, T::ZERO), |acc, f| {
            let part = slogdet_in(f, cx)?;
            Ok(if part.0 == T::ZERO { singular() } else { join(acc, pow(part, n / f.nrows())) })
        }),
        Kind::BlockDiag(b) if !b.all_square() => Ok(singular()),
        Kind::BlockDiag(b) => all(b.blocks(), cx),
        Kind::KroneckerSum(_) | Kind::Shifted(_) if spectral(a, cx) => {
            Ok(of_values(eigh_in(a, cx)?.values().iter().copied()))
        }
        Kind::LowRank(l) if l.rank() < n => Ok(singular()),
        Kind::LowRankSolve(l) => Ok((T::ONE, -l.operand_logdet())),
        Kind::LowRankPlusDiag(l) if LowRankSolve::applies(l) => {
            Ok((T::ONE, LowRankSolve::new(l.clone(), cx.par)?.operand_logdet()))
        }
        Kind::LowRankPlusDiag(l) if l.diagonal_part().iter().all(|&x| x != T::ZERO) => {
            let base = Op::diag(l.diagonal_part().to_vec());
            match Woodbury::new(&base, l.low_rank_part(), cx) {
                Ok(w) => Ok(join(of_values(l.diagonal_part().iter().copied()), w.slogdet())),
                Err(Error::SingularBase { .. }) if cx.fits(n) => fallback(),
                Err(e) => Err(e),
            }
        }
        Kind::LowRankUpdate(l) if through_base(l, n, cx) => match Woodbury::new(l.base(), l.low_rank_part(), cx) {
            Ok(w) => Ok(join(slogdet_in(l.base(), cx)?, w.slogdet())),
            Err(Error::Singular { .. } | Error::SingularBase { .. }) if cx.fits(n) => fallback(),
            Err(Error::Singular { .. }) => Err(Error::SingularBase { op: "slogdet", n, limit: cx.limits.dense }),
            Err(e) => Err(e),
        },
        Kind::LowRankPlusDiag(_) | Kind::LowRankUpdate(_) if !cx.fits(n) => {
            Err(Error::SingularBase { op: "slogdet", n, limit: cx.limits.dense })
        }
        Kind::Sum(s) => match TwoTerm::new(s, cx)? {
            Some(t) => Ok(t.slogdet()),
            None => fallback(),
        },
        Kind::Block(b) if !cx.fits(n) => match (Schur::new(b, cx)?, b.block(0, 0)) {
            (Some(s), Some(a)) => Ok(join(slogdet_in(a, cx)?, slogdet_in(&s.complement, cx)?)),
            _ => fallback(),
        },
        _ => fallback(),
    }
}
