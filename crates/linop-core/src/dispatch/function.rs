//! Powers, roots, exponentials and logarithms. Kronecker factors are treated one by one where that is right: for
//! non-integer powers only if all are PSD (`sqrt([-1] (x) [-1])` is 1, not `i * i`).

use super::spectrum::eigh_in;
use super::{Cx, Limits, square};
use crate::ops::{BlockDiag, Eigh, KroneckerSum};
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Par, Scalar, dense as kernels};

/// `A^p`; p = 0 gives the identity.
pub fn power<T: Scalar>(a: &Op<T>, p: f64, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    power_in(a, p, &Cx { limits, par })
}

/// `exp A`.
pub fn exp<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    exp_in(a, &Cx { limits, par })
}

/// `log A` of a positive definite operator.
pub fn log<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Op<T>, Error> {
    log_in(a, &Cx { limits, par })
}

/// Eigenvalues that rounding took below zero although the operator is PSD are zero.
fn spectrum<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Eigh<T>, Error> {
    let e = eigh_in(a, cx)?;
    if a.props().contains(Props::PSD) { e.map("eigh", |x| if x < T::ZERO { T::ZERO } else { x }) } else { Ok(e) }
}

fn power_in<T: Scalar>(a: &Op<T>, p: f64, cx: &Cx) -> Result<Op<T>, Error> {
    let n = square("power", a)?;
    if !p.is_finite() {
        return Err(Error::InvalidArgument { op: "power", what: format!("the exponent is {p}, it must be finite") });
    }
    if p == 0.0 {
        return Ok(Op::identity(n));
    }
    if p == 1.0 {
        return Ok(a.clone());
    }
    let integer = p.fract() == 0.0;
    let psd = |ops: &[Op<T>]| ops.iter().all(|f| f.props().contains(Props::PSD));
    match a.kind() {
        Kind::Permutation(_) | Kind::Orthogonal(_) if p == -1.0 => Ok(a.t()),
        Kind::Kronecker(k) if psd(k.factors()) => {
            crate::algebra::kron(&k.factors().iter().map(|f| power_in(f, p, cx)).collect::<Result<Vec<_>, _>>()?)
        }
        Kind::BlockDiag(b) if b.all_square() => {
            let blocks = b.blocks().iter().map(|b| power_in(b, p, cx)).collect::<Result<Vec<_>, _>>()?;
            Ok(Op::new(BlockDiag::new(blocks)?))
        }
        Kind::Scaled(s) if s.factor() > T::ZERO => {
            Ok(power_in(s.inner(), p, cx)?.scaled(s.factor().powf(T::from_f64(p))))
        }
        _ => {
            let e = spectrum(a, cx)?;
            if p < 0.0 && e.values().contains(&T::ZERO) {
                return Err(Error::Singular { op: "power" });
            }
            if !integer && e.values().iter().any(|&x| x < T::ZERO) {
                return Err(Error::MissingProperty { op: "power", needed: "PSD" });
            }
            let f = |x: T| {
                if integer && p.abs() < 1e9 { x.powi(p as i32) } else { x.powf(T::from_f64(p)) }
            };
            Ok(Op::new(e.map("power", f)?))
        }
    }
}

fn exp_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    square("exp", a)?;
    match a.kind() {
        Kind::KroneckerSum(k) => crate::algebra::kron(&[exp_in(k.parts().0, cx)?, exp_in(k.parts().1, cx)?]),
        Kind::BlockDiag(b) if b.all_square() => {
            Ok(Op::new(BlockDiag::new(b.blocks().iter().map(|b| exp_in(b, cx)).collect::<Result<Vec<_>, _>>()?)?))
        }
        _ if a.props().contains(Props::SELF_ADJOINT) => {
            let e = Op::new(eigh_in(a, cx)?.map("exp", |x| x.exp())?);
            Ok(e)
        }
        _ => Ok(Op::dense(kernels::expm(cx.dense("exp", a)?.as_ref())?)),
    }
}

fn log_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    square("log", a)?;
    if !a.props().contains(Props::SELF_ADJOINT) {
        return Err(Error::MissingProperty { op: "log", needed: "SELF_ADJOINT and PD" });
    }
    match a.kind() {
        Kind::Kronecker(k) if k.factors().len() >= 2 && k.factors().iter().all(|f| f.props().contains(Props::PD)) => {
            let logs = k.factors().iter().map(|f| log_in(f, cx)).collect::<Result<Vec<_>, _>>()?;
            let (first, rest) = (logs[0].clone(), &logs[1..]);
            rest.iter().try_fold(first, |a, b| Ok(Op::new(KroneckerSum::new(a, b.clone())?)))
        }
        Kind::BlockDiag(b) if b.all_square() => {
            Ok(Op::new(BlockDiag::new(b.blocks().iter().map(|b| log_in(b, cx)).collect::<Result<Vec<_>, _>>()?)?))
        }
        _ => {
            let e = eigh_in(a, cx)?;
            if let Some(pivot) = e.values().iter().position(|&x| x <= T::ZERO || x.is_nan()) {
                return Err(Error::NotPositiveDefinite { op: "log", pivot });
            }
            Ok(Op::new(e.map("log", |x| x.ln())?))
        }
    }
}
