//! Logarithms and what is made of them: `log`, `log1p`, `softplus`, `asinh`, `atanh`.
//!
//! `x = 2^k m` with `m` in `[sqrt(1/2), sqrt 2)`, then `ln m = 2 s + s R(s^2)` in `s = f / (2 + f)`, `f = m - 1`,
//! written as `f - f^2/2 + s (f^2/2 + R)` so that the leading term is exact. `log1p` adds the first-order effect
//! of the rounding of `1 + x`.

use super::exp::exp;
use super::loops::UnaryOp;
use super::real::{Real, Token};

/// `ln u + c` for a positive normal `u` and a small `c`.
#[inline(always)]
fn log_normal<R: Real, K: Token>(u: R, lifted: R, c: R) -> R {
    let (k, m) = u.split();
    let k = k - lifted;
    let f = m - R::ONE;
    let s = f / (R::TWO + f);
    let z = s * s;
    let rest = z * R::log_poly::<K>(z);
    let half = R::HALF * f * f;
    let low = s.fma::<K>(half + rest, k.fma::<K>(R::LN2_LO, c));
    k.fma::<K>(R::LN2_HI, -((half - low) - f))
}

#[inline(always)]
fn log1p<R: Real, K: Token>(x: R) -> R {
    let u = R::ONE + x;
    let lost = if x > R::ONE { R::ONE - (u - x) } else { x - (u - R::ONE) };
    log_normal::<R, K>(u, R::ZERO, lost / u)
}

/// The answers outside the open interval `(0, inf)` of the argument `u` of the logarithm, NaN included.
#[inline(always)]
fn specials<R: Real>(u: R, y: R) -> R {
    let y = if u < R::INF { y } else { u };
    let y = if u == R::ZERO { -R::INF } else { y };
    if u < R::ZERO { R::NAN } else { y }
}

pub(super) struct Log;
impl<R: Real> UnaryOp<R> for Log {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let small = x < R::TINY;
        let u = if small { x * R::LIFT } else { x };
        let lifted = if small { R::LIFT_EXPONENT } else { R::ZERO };
        specials(x, log_normal::<R, K>(u, lifted, R::ZERO))
    }
}

pub(super) struct Log1p;
impl<R: Real> UnaryOp<R> for Log1p {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let y = specials(R::ONE + x, log1p::<R, K>(x));
        if x.magnitude() < R::TINY { x } else { y }
    }
}

/// `ln(1 + e^x) = max(x, 0) + log1p(e^-|x|)`.
pub(super) struct Softplus;
impl<R: Real> UnaryOp<R> for Softplus {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let e = exp::<R, K>(-x.magnitude());
        let tail = if e < R::TINY { e } else { log1p::<R, K>(e) };
        let linear = if x > R::ZERO { x } else { R::ZERO };
        // A NaN is neither below TINY nor an honest logarithm: hand it through.
        if x.magnitude() <= R::INF { linear + tail } else { x }
    }
}

/// `asinh a = log1p(a + a^2 / (1 + sqrt(1 + a^2)))`, and `ln 2a` where the square would overflow.
pub(super) struct Asinh;
impl<R: Real> UnaryOp<R> for Asinh {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let big = a > R::ASINH_BIG;
        let square = a * a;
        let w = a + square / (R::ONE + (R::ONE + square).root());
        let w = if big { a } else { w };
        let y = log1p::<R, K>(w) + if big { R::LN2 } else { R::ZERO };
        let y = if a < R::INF { y } else { a };
        if a < R::TINY { x } else { y.signed(x) }
    }
}

/// `atanh a = log1p(2 a / (1 - a)) / 2`.
pub(super) struct Atanh;
impl<R: Real> UnaryOp<R> for Atanh {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let w = (a + a) / (R::ONE - a);
        let y = specials(R::ONE + w, log1p::<R, K>(w)) * R::HALF;
        if a < R::TINY { x } else { y.signed(x) }
    }
}
