//! Powers, roots, exponentials and logarithms.
//!
//! Through eigenvalues where the operator is known to be self-adjoint, elementwise on diagonals, factor by factor on
//! Kronecker products where that is right: for powers that are no integers only if all factors are PSD
//! (`sqrt([-1] (x) [-1])` is 1, not `i * i`). General operators go through the dense exponential and logarithm.

use super::{Cx, Limits, each_once, eigh_in, square};
use crate::inverse::inverse_in;
use crate::ops::*;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, Par, Scalar, dense as kernels};

/// `A^p`; p = 0 gives the identity.
pub fn power<T: Scalar>(a: &Op<T>, p: f64, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    power_in(a, p, &Cx::new(limits, par))
}

/// `exp A`.
pub fn exp<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    exp_in(a, &Cx::new(limits, par))
}

/// The principal logarithm of an operator without eigenvalues on the closed negative axis.
pub fn log<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    log_in(a, &Cx::new(limits, par))
}

/// Eigenvalues that rounding took below zero although the operator is PSD are zero.
fn spectrum<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Eigh<T>, Error> {
    let e = eigh_in(a, cx)?;
    if a.props().contains(Props::PSD) { e.map("eigh", |x| if x < T::ZERO { T::ZERO } else { x }) } else { Ok(e) }
}

/// `x^p` for every x, with the errors of what has no real value.
fn powers<T: Scalar>(values: &[T], p: f64) -> Result<Vec<T>, Error> {
    let integer = p.fract() == 0.0;
    if p < 0.0 && values.contains(&T::ZERO) {
        return Err(Error::Singular { op: "power" });
    }
    if !integer && values.iter().any(|&x| x < T::ZERO) {
        return Err(Error::MissingProperty { op: "power", needed: "PSD" });
    }
    let small = integer && p.abs() < 1e9;
    let out: Vec<T> = values.iter().map(|&x| if small { x.powi(p as i32) } else { x.powf(T::from_f64(p)) }).collect();
    finite("power", out)
}

fn finite<T: Scalar>(op: &'static str, values: Vec<T>) -> Result<Vec<T>, Error> {
    if values.iter().all(|x| x.is_finite()) {
        Ok(values)
    } else {
        Err(Error::NotFinite { op, operand: "the function of the eigenvalues" })
    }
}

/// Orthonormal V and values of a self-adjoint `U C U^T`, as many as U has columns: `U = Q R`, eigh of `R C R^T`.
pub(super) fn thin_eigh<T: Scalar>(l: &LowRank<T>) -> Result<(Mat<T>, Vec<T>), Error> {
    let qr = kernels::qr(l.u())?;
    let times = |a: numerics::MatRef<'_, T>, b: numerics::MatRef<'_, T>| {
        let mut out = Mat::zeros(a.nrows(), b.ncols());
        kernels::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, Par::Seq);
        out
    };
    let mut small = times(times(qr.r.as_ref(), l.core().as_ref()).as_ref(), qr.r.transpose());
    kernels::symmetrize(small.as_mut());
    let e = kernels::eigh(small.as_ref())?;
    Ok((times(qr.q.as_ref(), e.vectors.as_ref()), e.values))
}

/// Whether [`thin_eigh`] applies.
pub(super) fn is_thin<T: Scalar>(a: &Op<T>, l: &LowRank<T>) -> bool {
    a.props().contains(Props::SELF_ADJOINT) && l.is_symmetric_form() && l.rank() < a.nrows()
}

/// `V diag(w) V^T` as a low-rank operator.
fn thin<T: Scalar>(v: Mat<T>, w: Vec<T>) -> Result<LowRank<T>, Error> {
    let r = w.len();
    LowRank::new(v, Some(Mat::from_fn(r, r, |i, j| if i == j { w[i] } else { T::ZERO })), None)
}

fn diagonal<T: Scalar>(mut f: impl FnMut(&[T]) -> Result<Vec<T>, Error>, a: &Op<T>) -> Option<Result<Op<T>, Error>> {
    match a.kind() {
        Kind::ScalarIdentity(c) => Some(f(&[c.factor()]).map(|c| Op::new(ScalarIdentity::new(c[0], a.nrows())))),
        Kind::Diagonal(d) => Some(f(d.values()).map(Op::diag)),
        _ => None,
    }
}

fn power_in<T: Scalar>(a: &Op<T>, p: f64, cx: &Cx) -> Result<Op<T>, Error> {
    let n = square("power", a)?;
    if !p.is_finite() {
        return Err(Error::InvalidArgument { op: "power", what: format!("the exponent is {p}, it must be finite") });
    }
    if p == 0.0 || n == 0 {
        return Ok(Op::identity(n));
    }
    if p == 1.0 {
        return Ok(a.clone());
    }
    if let Some(op) = diagonal(|x| powers(x, p), a) {
        return op;
    }
    let integer = p.fract() == 0.0 && p.abs() < 1e9;
    let factorwise = |ops: &[Op<T>]| integer || ops.iter().all(|f| f.props().contains(Props::PSD));
    match a.kind() {
        Kind::Permutation(q) if integer => Ok(Op::new(permutation_power(q, p as i64)?)),
        Kind::Permutation(_) | Kind::Orthogonal(_) if p == -1.0 => Ok(a.t()),
        Kind::Transposed(t) => Ok(power_in(t.inner(), p, cx)?.t()),
        // Negative powers of a general operator are powers of its inverse: only one of the two may turn round.
        Kind::Factored(f) if p < 0.0 || through_eigenvalues(f.operand()) => power_in(f.operand(), -p, cx),
        Kind::LowRankSolve(l) => power_in(&Op::new(l.operand().clone()), -p, cx),
        Kind::TriangularInverse(t) if p < 0.0 => power_in(&Op::new(t.operand().clone()), -p, cx),
        Kind::IterativeInverse(i) if i.is_true_inverse() && (p < 0.0 || through_eigenvalues(i.operand())) => {
            power_in(i.operand(), -p, cx)
        }
        Kind::Kronecker(k) if k.all_square() && factorwise(k.factors()) => {
            crate::algebra::kron(&each_once(k.factors(), |f| power_in(f, p, cx))?)
        }
        Kind::BlockDiag(b) if b.all_square() => {
            Ok(Op::new(BlockDiag::new(each_once(b.blocks(), |b| power_in(b, p, cx))?)?))
        }
        Kind::Scaled(s) if s.factor() > T::ZERO || integer => {
            let c = powers(&[s.factor()], p)?[0];
            Ok(power_in(s.inner(), p, cx)?.scaled(c))
        }
        Kind::LowRank(l) if p > 0.0 && is_thin(a, l) => {
            let (v, values) = thin_eigh(l)?;
            let floor = |x: T| if x < T::ZERO && a.props().contains(Props::PSD) { T::ZERO } else { x };
            let values: Vec<T> = values.into_iter().map(floor).collect();
            Ok(Op::new(thin(v, powers(&values, p)?)?))
        }
        _ if a.props().contains(Props::SELF_ADJOINT) => {
            let e = spectrum(a, cx)?;
            let values = powers(e.values(), p)?;
            Ok(Op::new(Eigh::new(e.vectors().clone(), values)?))
        }
        _ if p == -1.0 => inverse_in(a, cx),
        _ if integer && p < 0.0 => power_in(&inverse_in(a, cx)?, -p, cx),
        _ if integer => repeated_product(a, p as u64, cx),
        _ => {
            let mut log = kernels::logm(cx.dense("power", a)?.as_ref())?;
            kernels::scale(log.as_mut(), T::from_f64(p));
            Ok(Op::dense(kernels::expm(log.as_ref())?))
        }
    }
}

fn through_eigenvalues<T: Scalar>(a: &Op<T>) -> bool {
    a.props().contains(Props::SELF_ADJOINT)
}

/// The list of a permutation followed `p` times (or its inverse `-p` times), cycle by cycle.
fn permutation_power<T: Scalar>(q: &Permutation<T>, p: i64) -> Result<Permutation<T>, Error> {
    let list = q.list();
    let mut out = vec![0; list.len()];
    let mut seen = vec![false; list.len()];
    for start in 0..list.len() {
        let mut cycle = Vec::new();
        let mut i = start;
        while !seen[i] {
            seen[i] = true;
            cycle.push(i);
            i = list[i];
        }
        let len = cycle.len();
        for (at, &i) in cycle.iter().enumerate() {
            out[i] = cycle[(at as i64 + p.rem_euclid(len as i64)) as usize % len];
        }
    }
    Permutation::new(out)
}

/// `A^p` of a general operator by squaring.
fn repeated_product<T: Scalar>(a: &Op<T>, mut p: u64, cx: &Cx) -> Result<Op<T>, Error> {
    let mut square = cx.dense("power", a)?;
    let n = square.nrows();
    let times = |a: &Mat<T>, b: &Mat<T>| {
        let mut out = Mat::zeros(n, n);
        kernels::gemm(out.as_mut(), T::ONE, a.as_ref(), b.as_ref(), T::ZERO, cx.par);
        out
    };
    let mut out: Option<Mat<T>> = None;
    while p > 0 {
        if p & 1 == 1 {
            out = Some(out.map_or_else(|| square.clone(), |o| times(&o, &square)));
        }
        p >>= 1;
        if p > 0 {
            square = times(&square, &square);
        }
    }
    let kept = a.props() & (Props::LOWER | Props::UPPER | Props::UNIT_DIAG | Props::ORTHOGONAL);
    Ok(out.map_or_else(|| Op::identity(n), Op::dense).derived(kept))
}

fn exp_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    let n = square("exp", a)?;
    if let Some(op) = diagonal(|x| finite("exp", x.iter().map(|x| x.exp()).collect()), a) {
        return op;
    }
    match a.kind() {
        Kind::KroneckerSum(k) => crate::algebra::kron(&[exp_in(k.parts().0, cx)?, exp_in(k.parts().1, cx)?]),
        Kind::BlockDiag(b) if b.all_square() => Ok(Op::new(BlockDiag::new(each_once(b.blocks(), |b| exp_in(b, cx))?)?)),
        Kind::Transposed(t) => Ok(exp_in(t.inner(), cx)?.t()),
        Kind::LowRank(l) if is_thin(a, l) => {
            let (v, values) = thin_eigh(l)?;
            let w = finite("exp", values.into_iter().map(|x| x.exp_m1()).collect())?;
            Ok(Op::new(LowRankPlusDiag::new(vec![T::ONE; n], thin(v, w)?)?).derived(Props::PD))
        }
        _ if a.props().contains(Props::SELF_ADJOINT) => Ok(Op::new(eigh_in(a, cx)?.map("exp", |x| x.exp())?)),
        _ => Ok(Op::dense(kernels::expm(cx.dense("exp", a)?.as_ref())?)),
    }
}

fn log_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    if square("log", a)? == 0 {
        return Ok(a.clone());
    }
    let positive = |values: &[T]| match values.iter().position(|&x| x <= T::ZERO || x.is_nan()) {
        Some(pivot) => Err(Error::NotPositiveDefinite { op: "log", pivot }),
        None => Ok(values.iter().map(|x| x.ln()).collect()),
    };
    if let Some(op) = diagonal(positive, a) {
        return op;
    }
    match a.kind() {
        Kind::Kronecker(k) if k.factors().len() >= 2 && k.factors().iter().all(|f| f.props().contains(Props::PD)) => {
            let logs = each_once(k.factors(), |f| log_in(f, cx))?;
            let (first, rest) = (logs[0].clone(), &logs[1..]);
            rest.iter().try_fold(first, |a, b| Ok(Op::new(KroneckerSum::new(a, b.clone())?)))
        }
        Kind::BlockDiag(b) if b.all_square() => Ok(Op::new(BlockDiag::new(each_once(b.blocks(), |b| log_in(b, cx))?)?)),
        Kind::Transposed(t) => Ok(log_in(t.inner(), cx)?.t()),
        Kind::Factored(f) => Ok(log_in(f.operand(), cx)?.scaled(-T::ONE)),
        Kind::IterativeInverse(i) if i.is_true_inverse() => Ok(log_in(i.operand(), cx)?.scaled(-T::ONE)),
        Kind::LowRankSolve(l) => Ok(log_in(&Op::new(l.operand().clone()), cx)?.scaled(-T::ONE)),
        _ if a.props().contains(Props::SELF_ADJOINT) => {
            let e = eigh_in(a, cx)?;
            let values = positive(e.values())?;
            Ok(Op::new(Eigh::new(e.vectors().clone(), values)?))
        }
        _ => Ok(Op::dense(kernels::logm(cx.dense("log", a)?.as_ref())?)),
    }
}
