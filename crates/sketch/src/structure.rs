//! What an operator's structure gives without estimation. Traces and diagonals of sums, blocks and updates are added up
//! by linop-core's rules; only the operators without a rule remain, as one operator, to be estimated.

use crate::Error;
use linop_core::dispatch::{self, Limits};
use linop_core::{Kind, LinearOperator, Op, algebra};
use numerics::{Par, Scalar};

/// Structure only: nothing is made dense.
pub(crate) fn structure_only() -> Limits {
    let none = |mut limits: Limits| {
        limits.dense = 0;
        limits
    };
    none(Limits::default())
}

/// An exact part and the operator whose part is still missing.
pub(crate) struct Split<V, T: Scalar> {
    pub(crate) exact: V,
    pub(crate) rest: Option<Op<T>>,
}

/// The value by rule, or `None` where it would have to be estimated.
fn by_rule<V>(value: Result<V, linop_core::Error>) -> Result<Option<V>, Error> {
    match value {
        Ok(v) => Ok(Some(v)),
        Err(linop_core::Error::NeedsEstimate { .. } | linop_core::Error::SingularBase { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Splits `a` for its diagonal.
pub(crate) fn split_diagonal<T: Scalar>(a: &Op<T>, par: Par) -> Result<Split<Vec<f64>, T>, Error> {
    let n = a.nrows();
    let wide = |v: Vec<T>| v.into_iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    if let Some(d) = by_rule(dispatch::diagonal(a, structure_only(), par))? {
        return Ok(Split { exact: wide(d), rest: None });
    }
    let add = |x: &mut [f64], y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    Ok(match a.kind() {
        Kind::Sum(s) => {
            let mut exact = vec![0.0; n];
            let mut rest = Vec::new();
            for term in s.terms() {
                let part = split_diagonal(term, par)?;
                add(&mut exact, &part.exact);
                rest.extend(part.rest);
            }
            Split { exact, rest: Some(algebra::sum(&rest)?) }
        }
        Kind::Scaled(s) => {
            let mut part = split_diagonal(s.inner(), par)?;
            part.exact.iter_mut().for_each(|x| *x *= s.factor().to_f64());
            Split { exact: part.exact, rest: part.rest.map(|op| op.scaled(s.factor())) }
        }
        Kind::Shifted(s) => {
            let mut part = split_diagonal(s.inner(), par)?;
            part.exact.iter_mut().for_each(|x| *x += s.sigma().to_f64());
            part
        }
        Kind::LowRankUpdate(l) => {
            let mut part = split_diagonal(l.base(), par)?;
            let low = Op::new(l.low_rank_part().clone());
            add(&mut part.exact, &wide(dispatch::diagonal(&low, structure_only(), par)?));
            part
        }
        Kind::Transposed(t) => split_diagonal(t.inner(), par)?,
        Kind::BlockDiag(b) if b.all_square() => {
            let (mut exact, mut rest) = (Vec::with_capacity(n), Vec::new());
            for block in b.blocks() {
                let part = split_diagonal(block, par)?;
                exact.extend(part.exact);
                rest.push(part.rest.unwrap_or_else(|| Op::zero(block.nrows(), block.nrows())));
            }
            Split { exact, rest: Some(algebra::block_diag(&rest)?) }
        }
        _ => Split { exact: vec![0.0; n], rest: Some(a.clone()) },
    })
}

/// Splits `a` for its trace.
pub(crate) fn split_trace<T: Scalar>(a: &Op<T>, par: Par) -> Result<Split<f64, T>, Error> {
    if let Some(t) = by_rule(dispatch::trace(a, structure_only(), par))? {
        return Ok(Split { exact: t.to_f64(), rest: None });
    }
    let split = split_diagonal(a, par)?;
    Ok(Split { exact: split.exact.iter().sum(), rest: split.rest })
}

/// The squared Frobenius norm, if structure gives it.
pub(crate) fn frobenius_sq<T: Scalar>(a: &Op<T>, par: Par) -> Result<Option<f64>, Error> {
    Ok(by_rule(dispatch::frobenius_sq(a, structure_only(), par))?.map(|x| x.to_f64()))
}

/// An exact number and weighted operators whose numbers are missing.
pub(crate) struct Parts<T: Scalar> {
    pub(crate) exact: f64,
    pub(crate) rest: Vec<(f64, Op<T>)>,
}

/// Splits a positive definite operator for its log determinant.
pub(crate) fn split_logdet<T: Scalar>(a: &Op<T>, par: Par) -> Result<Parts<T>, Error> {
    if let Some((sign, log)) = by_rule(dispatch::slogdet(a, structure_only(), par))? {
        return if sign > T::ZERO {
            Ok(Parts { exact: log.to_f64(), rest: Vec::new() })
        } else {
            Err(Error::NotPositiveDefinite { op: "logdet" })
        };
    }
    let join = |parts: Vec<(f64, &Op<T>)>| {
        let mut all = Parts { exact: 0.0, rest: Vec::new() };
        for (weight, op) in parts {
            let part = split_logdet(op, par)?;
            all.exact += weight * part.exact;
            all.rest.extend(part.rest.into_iter().map(|(w, op)| (w * weight, op)));
        }
        Ok(all)
    };
    let n = a.nrows();
    match a.kind() {
        Kind::Scaled(s) if s.factor() > T::ZERO => {
            let mut part = split_logdet(s.inner(), par)?;
            part.exact += n as f64 * s.factor().to_f64().ln();
            Ok(part)
        }
        Kind::BlockDiag(b) if b.all_square() => join(b.blocks().iter().map(|b| (1.0, b)).collect()),
        Kind::Kronecker(k) if k.all_square() => {
            join(k.factors().iter().map(|f| ((n / f.nrows().max(1)) as f64, f)).collect())
        }
        _ => Ok(Parts { exact: 0.0, rest: vec![(1.0, a.clone())] }),
    }
}
