//! Exponential and its relatives: `exp`, `expm1`, `tanh`, `sigmoid`, `sinh`, `cosh`.
//!
//! `x = n ln 2 + r` by a magic-number addition and two constants, a polynomial for `e^r - 1`, and `2^n` assembled
//! in the exponent bits, in two factors so that results decay gradually into the subnormals. The relatives all
//! start from `expm1`, which keeps them accurate relative to a small result. No table, no branch.

use super::loops::UnaryOp;
use super::real::{Real, Token};

/// `(r, n)` with `x = n ln 2 + r`, where `n` is chosen by `near`, a number close to `x`.
#[inline(always)]
pub(super) fn reduce<R: Real, K: Token>(x: R, near: R) -> (R, R) {
    let n = near.nearest::<K>(R::LOG2E);
    let r = (-n).fma::<K>(R::LN2_HI, x);
    ((-n).fma::<K>(R::LN2_LO, r), n)
}

/// `e^r - 1` for a reduced argument.
#[inline(always)]
pub(super) fn expm1_reduced<R: Real, K: Token>(r: R) -> R {
    (r * r).fma::<K>(R::exp_poly::<K>(r), r)
}

/// `v 2^n` with one rounding, also where the result is subnormal or infinite.
#[inline(always)]
pub(super) fn scale<R: Real, K: Token>(v: R, n: R) -> R {
    let n1 = n.nearest::<K>(R::HALF);
    v * n1.pow2() * (n - n1).pow2()
}

#[inline(always)]
pub(super) fn exp<R: Real, K: Token>(x: R) -> R {
    let x = if x > R::EXP_MAX { R::EXP_MAX } else { x };
    let x = if x < R::EXP_MIN { R::EXP_MIN } else { x };
    let (r, n) = reduce::<R, K>(x, x);
    scale::<R, K>(R::ONE + expm1_reduced::<R, K>(r), n)
}

/// `expm1` for `x <= 0`, where one power of two is enough.
#[inline(always)]
fn expm1_negative<R: Real, K: Token>(x: R) -> R {
    let x = if x < R::EXPM1_MIN { R::EXPM1_MIN } else { x };
    let (r, n) = reduce::<R, K>(x, x);
    let s = n.pow2();
    s.fma::<K>(expm1_reduced::<R, K>(r), s - R::ONE)
}

/// `(e^x - 1) / 2^halvings`, with overflow only where that number overflows.
#[inline(always)]
fn expm1_scaled<R: Real, K: Token>(x: R, halvings: R) -> R {
    let x = if x > R::EXP_MAX { R::EXP_MAX } else { x };
    let x = if x < R::EXPM1_MIN { R::EXPM1_MIN } else { x };
    let (r, n) = reduce::<R, K>(x, x);
    let p = expm1_reduced::<R, K>(r);
    let n1 = n.nearest::<K>(R::HALF);
    let n2 = n - n1;
    let s = n1.pow2();
    // 2^n p + 2^n - 1 = 2^n2 (2^n1 p + (2^n1 - 2^-n2))
    s.fma::<K>(p, s - (-n2).pow2()) * (n2 - halvings).pow2()
}

pub(super) struct Exp;
impl<R: Real> UnaryOp<R> for Exp {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        exp::<R, K>(x)
    }
}

pub(super) struct Expm1;
impl<R: Real> UnaryOp<R> for Expm1 {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let y = expm1_scaled::<R, K>(x, R::ZERO);
        if x == R::ZERO { x } else { y }
    }
}

pub(super) struct Tanh;
impl<R: Real> UnaryOp<R> for Tanh {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let t = expm1_negative::<R, K>(-(a + a));
        let y = (-t / (t + R::TWO)).signed(x);
        if a < R::TINY { x } else { y }
    }
}

pub(super) struct Sigmoid;
impl<R: Real> UnaryOp<R> for Sigmoid {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let e = exp::<R, K>(-x.magnitude());
        let top = if x < R::ZERO { e } else { R::ONE };
        top / (R::ONE + e)
    }
}

pub(super) struct Sinh;
impl<R: Real> UnaryOp<R> for Sinh {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        // With h = (e^a - 1) / 2: sinh a = h + h / (2 h + 1).
        let a = x.magnitude();
        let h = expm1_scaled::<R, K>(a, R::ONE);
        let y = h + h / (h + h + R::ONE);
        let y = if h > R::SINH_BIG { h } else { y };
        if a < R::TINY { x } else { y.signed(x) }
    }
}

pub(super) struct Cosh;
impl<R: Real> UnaryOp<R> for Cosh {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        // With w = e^a / 2: cosh a = w + 1 / (4 w).
        let w = expm1_scaled::<R, K>(x.magnitude(), R::ONE) + R::HALF;
        w + R::HALF / (w + w)
    }
}
