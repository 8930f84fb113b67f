//! The error function and its complement.
//!
//! `erfc(x) = e^(-x^2) P(t) / (x + K)`, `t = (x - K) / (x + K)`, one polynomial for all `x >= 0`: the factor in
//! front of the Gaussian is smooth in `t`. The square is split into an exact head and a tail, so the relative
//! error stays a few units down to underflow. `erf` uses an odd polynomial up to 1 and `1 - erfc` above.

use super::exp::{expm1_reduced, reduce, scale};
use super::loops::UnaryOp;
use super::real::{Real, Token};

/// `erfc(a)` for `a >= 0`.
#[inline(always)]
fn erfc_positive<R: Real, K: Token>(a: R) -> R {
    let a = if a > R::ERFC_MAX { R::ERFC_MAX } else { a };
    let q = R::ONE / (a + R::ERFC_K);
    let factor = q * R::erfc_poly::<K>((a - R::ERFC_K) * q);
    // a^2 = h^2 + (a - h)(a + h), the first exact.
    let h = a.head();
    let (r, n) = reduce::<R, K>(-(h * h), -(a * a));
    let r = r - (a - h) * (a + h);
    scale::<R, K>(factor.fma::<K>(expm1_reduced::<R, K>(r), factor), n)
}

pub(super) struct Erf;
impl<R: Real> UnaryOp<R> for Erf {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let inner = x.fma::<K>(R::erf_poly::<K>(x * x), x);
        let outer = (R::ONE - erfc_positive::<R, K>(a)).signed(x);
        let y = if a > R::ONE { outer } else { inner };
        if x == R::ZERO { x } else { y }
    }
}

pub(super) struct Erfc;
impl<R: Real> UnaryOp<R> for Erfc {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let y = erfc_positive::<R, K>(x.magnitude());
        if x < R::ZERO { R::TWO - y } else { y }
    }
}
