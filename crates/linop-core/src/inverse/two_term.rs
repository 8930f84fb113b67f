//! The sum of two Kronecker products, `A (x) B + C (x) D`, solved through two generalised eigenproblems.
//!
//! Source: Martens and Grosse, arXiv:1503.05671, appendix B. With self-adjoint A, B and positive definite C, D:
//! `A Va = C Va La`, `Va^T C Va = I`, the same for (B, D), and the inverse is
//! `(Va (x) Vb) (La (x) Lb + I)^-1 (Va (x) Vb)^T`. Costs a Cholesky factorisation and an eigendecomposition of each size,
//! then two products with `Va (x) Vb` per solve. A difference of two Kronecker products is the same thing: scalars go
//! into the self-adjoint side.

use super::SINGULAR;
use crate::dispatch::{Cx, of_values, outer};
use crate::ops::Sum;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::dense::{Diag, Triangle};
use numerics::{Mat, Scalar, dense as kernels};

/// The factored sum of two Kronecker products.
pub(crate) struct TwoTerm<T: Scalar> {
    va: Mat<T>,
    vb: Mat<T>,
    /// `s (La (x) Lb + I)`, s the sign that was taken out to make the second term positive.
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

/// `c A (x) B` as c, A, B.
fn parts<T: Scalar>(term: &Op<T>) -> Option<(T, &Op<T>, &Op<T>)> {
    let (c, inner) = match term.kind() {
        Kind::Scaled(s) => (s.factor(), s.inner()),
        _ => (T::ONE, term),
    };
    match inner.kind() {
        Kind::Kronecker(k) => match k.factors() {
            [a, b] => Some((c, a, b)),
            _ => None,
        },
        _ => None,
    }
}

impl<T: Scalar> TwoTerm<T> {
    /// The factored form, if the sum has it; the order of the terms does not matter.
    pub(crate) fn new(sum: &Sum<T>, cx: &Cx) -> Result<Option<Self>, Error> {
        let [x, y] = sum.terms() else { return Ok(None) };
        let (Some((s, a, b)), Some((t, c, d))) = (parts(x), parts(y)) else {
            return Ok(None);
        };
        if a.nrows() != c.nrows() || b.nrows() != d.nrows() {
            return Ok(None);
        }
        let both = |p: Props, x: &Op<T>, y: &Op<T>| (x.props() & y.props()).contains(p);
        let usable =
            |x: (&Op<T>, &Op<T>), y: (&Op<T>, &Op<T>)| both(Props::SELF_ADJOINT, x.0, x.1) && both(Props::PD, y.0, y.1);
        let (s, a, b, t, c, d) = if usable((a, b), (c, d)) && t != T::ZERO {
            (s, a, b, t, c, d)
        } else if usable((c, d), (a, b)) && s != T::ZERO {
            (t, c, d, s, a, b)
        } else {
            return Ok(None);
        };
        if !cx.fits(a.nrows()) || !cx.fits(b.nrows()) {
            return Ok(None);
        }
        let (va, la, log_c) = generalised(a, c, cx)?;
        let (vb, lb, log_d) = generalised(b, d, cx)?;
        let values = outer(&la, &lb, |x, y| s * (x * y) + t);
        let log_base = T::from_usize(lb.len()) * log_c + T::from_usize(la.len()) * log_d;
        Ok(Some(TwoTerm { va, vb, values, log_base }))
    }

    pub(crate) fn inverse(&self) -> Result<Op<T>, Error> {
        if self.values.contains(&T::ZERO) {
            return Err(SINGULAR);
        }
        let v = Op::dense(self.va.clone()).kron(&Op::dense(self.vb.clone()))?;
        let middle = Op::diag(self.values.iter().map(|x| x.recip()).collect());
        middle.congruence(&v.t())
    }

    pub(crate) fn slogdet(&self) -> (T, T) {
        let (sign, log) = of_values(self.values.iter().copied());
        (sign, log + self.log_base)
    }
}
