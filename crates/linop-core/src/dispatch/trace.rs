//! Traces and diagonals. Cost: the sum of the parts' costs, never a product with the whole where a rule exists.

use super::{Cx, Limits, square};
use crate::ops::LowRank;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{MatRef, MemBuffer, MemStack, Par, Scalar};

/// The trace of a square operator.
pub fn trace<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<T, Error> {
    trace_in(a, &Cx::new(limits, par))
}

/// The diagonal of a square operator.
pub fn diagonal<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Vec<T>, Error> {
    diagonal_in(a, &Cx::new(limits, par))
}

pub(crate) fn trace_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<T, Error> {
    let n = square("trace", a)?;
    if n == 0 {
        return Ok(T::ZERO);
    }
    let size = |op: &Op<T>| T::from_usize(op.nrows());
    Ok(match a.kind() {
        Kind::ScalarIdentity(c) => T::from_usize(n) * c.factor(),
        Kind::Zero(_) => T::ZERO,
        Kind::Eigh(e) => e.values().iter().copied().sum(),
        Kind::Scaled(s) => s.factor() * trace_in(s.inner(), cx)?,
        Kind::Shifted(s) => trace_in(s.inner(), cx)? + T::from_usize(n) * s.sigma(),
        Kind::Transposed(t) => trace_in(t.inner(), cx)?,
        Kind::Sum(s) => s.terms().iter().map(|t| trace_in(t, cx)).sum::<Result<T, _>>()?,
        Kind::Kronecker(k) if k.all_square() => {
            k.factors().iter().try_fold(T::ONE, |p, f| Ok::<_, Error>(p * trace_in(f, cx)?))?
        }
        Kind::KroneckerSum(k) => {
            let (x, y) = k.parts();
            size(y) * trace_in(x, cx)? + size(x) * trace_in(y, cx)?
        }
        Kind::BlockDiag(b) if b.all_square() => b.blocks().iter().map(|b| trace_in(b, cx)).sum::<Result<T, _>>()?,
        Kind::LowRankUpdate(l) => trace_in(l.base(), cx)? + low_diagonal(l.low_rank_part()).into_iter().sum::<T>(),
        Kind::TokenKronSum(t) => t.trace(),
        Kind::Gram(g) => super::norm::frobenius_in(g.parts().0, cx)?,
        Kind::Chain(c) => match c.factors() {
            [x, y] => match (x.kind(), y.kind()) {
                (Kind::Dense(x), Kind::Dense(y)) => dot_of_product(x.mat(), y.mat()),
                (Kind::LowRank(_), _) => cyclic(c.factors(), 0, cx)?,
                (_, Kind::LowRank(_)) => cyclic(c.factors(), 1, cx)?,
                _ => diagonal_in(a, cx)?.into_iter().sum(),
            },
            factors => match factors.iter().position(|f| matches!(f.kind(), Kind::LowRank(_))) {
                Some(at) => cyclic(factors, at, cx)?,
                None => diagonal_in(a, cx)?.into_iter().sum(),
            },
        },
        _ => diagonal_in(a, cx)?.into_iter().sum(),
    })
}

/// `tr(X Y) = sum X o Y^T`.
fn dot_of_product<T: Scalar>(x: MatRef<'_, T>, y: MatRef<'_, T>) -> T {
    (0..x.ncols()).map(|j| (0..x.nrows()).map(|i| x[(i, j)] * y[(j, i)]).sum::<T>()).sum()
}

/// `tr(U C V^T M) = sum C^T o (V^T M U)`, where M is the product of the other factors, turned round cyclically.
fn cyclic<T: Scalar>(factors: &[Op<T>], at: usize, cx: &Cx) -> Result<T, Error> {
    let Kind::LowRank(l) = factors[at].kind() else {
        return Err(Error::MissingProperty { op: "trace", needed: "of low rank" });
    };
    let others: Vec<Op<T>> = factors[at + 1..].iter().chain(&factors[..at]).cloned().collect();
    let r = l.rank();
    let mut image = numerics::Mat::zeros(l.v().nrows(), r);
    let m = crate::algebra::product(&others)?;
    let mut buffer = MemBuffer::new(m.apply_req(r, cx.par));
    m.apply(image.as_mut(), T::ONE, l.u(), T::ZERO, cx.par, MemStack::new(&mut buffer))?;
    let mut core = numerics::Mat::zeros(r, r);
    numerics::dense::gemm(core.as_mut(), T::ONE, l.v().transpose(), image.as_ref(), T::ZERO, cx.par);
    Ok(dot_of_product(l.core().as_ref(), core.as_ref()))
}

/// `sum_k (U C)_ik V_ik` for every row.
pub(crate) fn low_diagonal<T: Scalar>(l: &LowRank<T>) -> Vec<T> {
    let (u, v, r) = (l.u(), l.v(), l.rank());
    let c = l.c();
    (0..u.nrows().min(v.nrows()))
        .map(|i| match c {
            None => (0..r).map(|k| u[(i, k)] * v[(i, k)]).sum(),
            Some(c) => (0..r).map(|k| (0..r).map(|j| u[(i, j)] * c[(j, k)]).sum::<T>() * v[(i, k)]).sum(),
        })
        .collect()
}

pub(crate) fn diagonal_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Vec<T>, Error> {
    let n = square("diagonal", a)?;
    let of = |m: MatRef<'_, T>| (0..n).map(|i| m[(i, i)]).collect::<Vec<T>>();
    let add = |mut x: Vec<T>, y: &[T]| {
        x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
        x
    };
    Ok(match a.kind() {
        Kind::ScalarIdentity(c) => vec![c.factor(); n],
        Kind::Zero(_) => vec![T::ZERO; n],
        Kind::Diagonal(d) => d.values().to_vec(),
        Kind::Dense(d) => of(d.mat()),
        Kind::Triangular(t) => of(t.mat()),
        Kind::TriangularInverse(t) => of(t.operand().mat()).into_iter().map(|x| x.recip()).collect(),
        Kind::Permutation(p) => {
            p.list().iter().enumerate().map(|(i, &p)| if i == p { T::ONE } else { T::ZERO }).collect()
        }
        Kind::Orthogonal(o) => diagonal_in(o.inner(), cx)?,
        Kind::Scaled(s) => diagonal_in(s.inner(), cx)?.into_iter().map(|x| s.factor() * x).collect(),
        Kind::Shifted(s) => diagonal_in(s.inner(), cx)?.into_iter().map(|x| x + s.sigma()).collect(),
        Kind::Transposed(t) => diagonal_in(t.inner(), cx)?,
        Kind::Sum(s) => {
            let mut out = vec![T::ZERO; n];
            for t in s.terms() {
                out = add(out, &diagonal_in(t, cx)?);
            }
            out
        }
        Kind::Kronecker(k) if k.all_square() => {
            let mut out = vec![T::ONE];
            for f in k.factors() {
                let d = diagonal_in(f, cx)?;
                out = out.iter().flat_map(|&x| d.iter().map(move |&y| x * y)).collect();
            }
            out
        }
        Kind::KroneckerSum(k) => {
            let (x, y) = (diagonal_in(k.parts().0, cx)?, diagonal_in(k.parts().1, cx)?);
            x.iter().flat_map(|&x| y.iter().map(move |&y| x + y)).collect()
        }
        Kind::BlockDiag(b) if b.all_square() => {
            let mut out = Vec::with_capacity(n);
            for b in b.blocks() {
                out.extend(diagonal_in(b, cx)?);
            }
            out
        }
        Kind::Block(b) if b.partition().0 == b.partition().1 => {
            let mut out = Vec::with_capacity(n);
            for (i, &h) in b.partition().0.iter().enumerate() {
                match b.block(i, i) {
                    Some(b) => out.extend(diagonal_in(b, cx)?),
                    None => out.extend(std::iter::repeat_n(T::ZERO, h)),
                }
            }
            out
        }
        Kind::LowRank(l) => low_diagonal(l),
        Kind::LowRankPlusDiag(l) => add(low_diagonal(l.low_rank_part()), l.diagonal_part()),
        Kind::LowRankUpdate(l) => add(low_diagonal(l.low_rank_part()), &diagonal_in(l.base(), cx)?),
        Kind::Submatrix(s) if s.inner().nrows() == s.inner().ncols() && s.indices().0 == s.indices().1 => {
            let d = diagonal_in(s.inner(), cx)?;
            s.indices().0.iter().map(|&i| d[i]).collect()
        }
        Kind::Eigh(e) => match squared(e.vectors()) {
            Some(q) => times_vector(&q, e.values(), cx)?,
            None => of(cx.dense("diagonal", a)?.as_ref()),
        },
        // diag(X X^T) = (X o X) 1, diag(X^T D X) = (X o X)^T d.
        Kind::Gram(g) => match squared(g.parts().0) {
            Some(x) if g.parts().1 => times_vector(&x.t(), &vec![T::ONE; x.nrows()], cx)?,
            Some(x) => times_vector(&x, &vec![T::ONE; x.ncols()], cx)?,
            None => of(cx.dense("diagonal", a)?.as_ref()),
        },
        Kind::Congruence(c) => match (squared(c.parts().0), c.parts().1.kind()) {
            (Some(x), Kind::Diagonal(d)) => times_vector(&x.t(), d.values(), cx)?,
            (Some(x), Kind::ScalarIdentity(s)) => times_vector(&x.t(), &vec![s.factor(); x.nrows()], cx)?,
            _ => of(cx.dense("diagonal", a)?.as_ref()),
        },
        Kind::TokenKronSum(t) => t.diagonal(),
        Kind::Hadamard(h) => {
            let (low, other) = h.parts();
            let of_other = diagonal_in(other, cx)?;
            low_diagonal(low).into_iter().zip(&of_other).map(|(x, &y)| x * y).collect()
        }
        Kind::Selection(s) => {
            s.rows().iter().enumerate().map(|(i, &r)| if i == r { T::ONE } else { T::ZERO }).collect()
        }
        _ if a.props().contains(Props::UNIT_DIAG) => vec![T::ONE; n],
        _ => of(cx.dense("diagonal", a)?.as_ref()),
    })
}

/// `Q x`.
fn times_vector<T: Scalar>(q: &Op<T>, x: &[T], cx: &Cx) -> Result<Vec<T>, Error> {
    let mut out = vec![T::ZERO; q.nrows()];
    let mut buffer = MemBuffer::new(q.apply_req(1, cx.par));
    let view = numerics::MatMut::from_column_major_slice_mut(&mut out, q.nrows(), 1);
    let x = MatRef::from_column_major_slice(x, x.len(), 1);
    q.apply(view, T::ONE, x, T::ZERO, cx.par, MemStack::new(&mut buffer))?;
    Ok(out)
}

/// `Q o Q` where structure gives it.
fn squared<T: Scalar>(q: &Op<T>) -> Option<Op<T>> {
    match q.kind() {
        Kind::Orthogonal(o) => squared(o.inner()),
        Kind::Dense(_) => q.hadamard(q).ok(),
        Kind::ScalarIdentity(_) | Kind::Diagonal(_) => q.hadamard(q).ok(),
        Kind::Permutation(_) | Kind::Selection(_) => Some(q.clone()),
        Kind::Transposed(t) => Some(squared(t.inner())?.t()),
        Kind::Scaled(s) => Some(squared(s.inner())?.scaled(s.factor() * s.factor())),
        Kind::Kronecker(k) => crate::algebra::kron(&k.factors().iter().map(squared).collect::<Option<Vec<_>>>()?).ok(),
        Kind::BlockDiag(b) => {
            crate::algebra::block_diag(&b.blocks().iter().map(squared).collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}
