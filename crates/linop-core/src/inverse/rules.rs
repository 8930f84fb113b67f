//! The inverse column of the dispatch table: one arm per kind, and what is done where no rule helps.

use super::auto::{Algorithm, dense_or_iterative, exact};
use super::{SINGULAR, Schur, TwoTerm, Woodbury, through_base};
use crate::dispatch::{Cx, Limits, each_once, eigh_in, has_rule, square};
use crate::ops::*;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Par, Scalar};

/// `A^-1`: by structure where there is a rule, by a dense factorisation up to [`Limits::dense`], else as an
/// [`IterativeInverse`](crate::krylov::IterativeInverse) with that solver's default tolerance.
///
/// To weigh factorisation against iteration by cost, and to learn what was chosen, use [`solver`](super::solver).
///
/// # Errors
/// `NotSquare`; `Singular`; `SingularBase` for a low-rank update whose base has no inverse above the dense limit;
/// `NotPositiveDefinite` where an assumed definite matrix is not.
pub fn inverse<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    inverse_in(a, &Cx::new(limits, par))
}

pub(crate) fn inverse_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    let n = square("inverse", a)?;
    if n == 0 {
        return Ok(a.clone());
    }
    let facts = a.props();
    if facts.contains(Props::ZERO) {
        return Err(SINGULAR);
    }
    let cx = &cx.deeper();
    let op = match by_rule(a, n, cx)? {
        Some((op, algorithm)) => {
            cx.note(a, algorithm, "the structure has a rule", f64::NAN, f64::NAN);
            op
        }
        None => dense_or_iterative(a, n, cx)?,
    };
    let (output, input) = a.spaces();
    Ok(op.derived(facts.inverse(n)).between(input, output))
}

/// The inverse by structure with the rule's name; `None` where there is no rule.
fn by_rule<T: Scalar>(a: &Op<T>, n: usize, cx: &Cx) -> Result<Option<(Op<T>, Algorithm)>, Error> {
    let each = |ops: &[Op<T>]| each_once(ops, |o| inverse_in(o, cx));
    Ok(Some(match a.kind() {
        Kind::ScalarIdentity(c) if c.factor() == T::ZERO => return Err(SINGULAR),
        Kind::ScalarIdentity(c) => (Op::new(ScalarIdentity::new(c.factor().recip(), n)), Algorithm::Elementwise),
        Kind::Diagonal(d) => {
            if d.values().contains(&T::ZERO) {
                return Err(SINGULAR);
            }
            (Op::diag(d.values().iter().map(|x| x.recip()).collect()), Algorithm::Elementwise)
        }
        Kind::Permutation(_) | Kind::Orthogonal(_) => (a.t(), Algorithm::Transpose),
        Kind::Triangular(t) => (Op::new(TriangularInverse::new(t.clone())?), Algorithm::Substitution),
        Kind::TriangularInverse(t) => (Op::new(t.operand().clone()), Algorithm::Operand),
        Kind::Factored(f) => (f.operand().clone(), Algorithm::Operand),
        Kind::IterativeInverse(i) if i.is_true_inverse() => (i.operand().clone(), Algorithm::Operand),
        Kind::LowRankSolve(l) => (Op::new(l.operand().clone()), Algorithm::Operand),
        Kind::Transposed(t) => (inverse_in(t.inner(), cx)?.t(), Algorithm::Transpose),
        Kind::Scaled(s) if s.factor() == T::ZERO => return Err(SINGULAR),
        Kind::Scaled(s) => (inverse_in(s.inner(), cx)?.scaled(s.factor().recip()), Algorithm::Elementwise),
        Kind::Chain(c) if c.factors().iter().all(|f| f.nrows() == f.ncols()) => {
            let mut parts = each(c.factors())?;
            parts.reverse();
            (crate::algebra::product(&parts)?, Algorithm::Product)
        }
        Kind::Chain(c) if c.factors().iter().any(|f| f.ncols() < n) => return Err(SINGULAR),
        Kind::Kronecker(k) if !k.all_square() => return Err(SINGULAR),
        Kind::Kronecker(k) => (crate::algebra::kron(&each(k.factors())?)?, Algorithm::Kronecker),
        Kind::BlockDiag(b) if !b.all_square() => return Err(SINGULAR),
        Kind::BlockDiag(b) => (Op::new(BlockDiag::new(each(b.blocks())?)?), Algorithm::Blockwise),
        Kind::KroneckerSum(_) | Kind::Eigh(_) | Kind::Shifted(_) if spectral(a, cx) => {
            let e = eigh_in(a, cx)?;
            if e.values().contains(&T::ZERO) {
                return Err(SINGULAR);
            }
            (Op::new(e.map("inverse", |x| x.recip())?), Algorithm::Eigendecomposition)
        }
        Kind::LowRank(l) if l.rank() < n => return Err(SINGULAR),
        Kind::LowRankPlusDiag(l) => (low_rank_plus_diag(a, l, n, cx)?, Algorithm::Woodbury),
        Kind::LowRankUpdate(l) if through_base(l, n, cx) => {
            match Woodbury::new(l.base(), l.low_rank_part(), cx) {
                Ok(w) => {
                    let op = Op::new(LowRankUpdate::new(w.base_inverse.clone(), w.correction()?)?);
                    (op, Algorithm::Woodbury)
                }
                // A singular base does not make the sum singular.
                Err(Error::Singular { .. } | Error::SingularBase { .. }) if cx.fits(n) => return Ok(None),
                Err(Error::Singular { .. }) => {
                    return Err(Error::SingularBase { op: "inverse", n, limit: cx.limits.dense });
                }
                Err(e) => return Err(e),
            }
        }
        Kind::LowRankUpdate(_) if !cx.fits(n) => {
            return Err(Error::SingularBase { op: "inverse", n, limit: cx.limits.dense });
        }
        Kind::Sum(s) => match TwoTerm::new(s, cx)? {
            Some(t) => (t.inverse()?, Algorithm::TwoTermKronecker),
            None => return Ok(None),
        },
        Kind::Block(b) if !cx.fits(n) => match Schur::new(b, cx)? {
            Some(s) => (s.inverse()?, Algorithm::SchurComplement),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

fn low_rank_plus_diag<T: Scalar>(a: &Op<T>, l: &LowRankPlusDiag<T>, n: usize, cx: &Cx) -> Result<Op<T>, Error> {
    if LowRankSolve::applies(l) {
        return Ok(Op::new(LowRankSolve::new(l.clone(), cx.par)?));
    }
    let d = l.diagonal_part();
    let base_is_singular = d.contains(&T::ZERO);
    if !base_is_singular {
        match Woodbury::new(&Op::diag(d.to_vec()), l.low_rank_part(), &cx.quiet()) {
            Ok(w) => {
                let inverse: Vec<T> = d.iter().map(|x| x.recip()).collect();
                return Ok(Op::new(LowRankPlusDiag::new(inverse, w.correction()?)?));
            }
            Err(Error::SingularBase { .. }) if cx.fits(n) => {}
            Err(e) => return Err(e),
        }
    }
    if cx.fits(n) { exact(a, cx) } else { Err(Error::SingularBase { op: "inverse", n, limit: cx.limits.dense }) }
}

/// Whether the inverse goes through an eigendecomposition.
pub(crate) fn spectral<T: Scalar>(a: &Op<T>, cx: &Cx) -> bool {
    match a.kind() {
        Kind::Eigh(_) => true,
        Kind::KroneckerSum(k) => {
            let (x, y) = k.parts();
            (x.props() & y.props()).contains(Props::SELF_ADJOINT)
        }
        Kind::Shifted(s) => has_rule(s.inner(), cx.limits.dense) && !stored(s.inner()),
        _ => false,
    }
}

/// A dense matrix is cheaper to factor than to diagonalise.
fn stored<T: Scalar>(a: &Op<T>) -> bool {
    match a.kind() {
        Kind::Dense(_) => true,
        Kind::Scaled(s) => stored(s.inner()),
        Kind::Shifted(s) => stored(s.inner()),
        _ => false,
    }
}
