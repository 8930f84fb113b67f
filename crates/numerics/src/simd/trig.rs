//! Sine, cosine and two of their inverses.
//!
//! Sine and cosine: reduction by multiples of pi/2 whose first products are exact (Cody and Waite), two short
//! polynomials, and a choice by the quadrant's two low bits. Beyond `|x| = 32768` the constants run out of bits:
//! those elements alone go to the standard library. Inverse tangent: `pi/4 + atan((a - 1) / (a + 1))` or `pi/2 -
//! atan(1 / a)` bring the argument below `tan(pi/8)`. Inverse sine: `pi/2 - 2 asin(sqrt((1 - a) / 2))` above one
//! half.

use super::loops::UnaryOp;
use super::real::{Real, Token};

#[inline(always)]
fn shifted_sine<R: Real, K: Token>(x: R, shift: u8) -> R {
    let (r, low, q) = x.quadrant::<K>(shift);
    let z = r * r;
    let sine = r + (r * z).fma::<K>(R::sin_poly::<K>(z), low);
    let half = R::HALF * z;
    let w = R::ONE - half;
    let cosine = w + ((R::ONE - w - half) + (z * z).fma::<K>(R::cos_poly::<K>(z), -(r * low)));
    R::pick(q, sine, cosine)
}

pub(super) struct Sin;
impl<R: Real> UnaryOp<R> for Sin {
    const GUARDED: bool = true;
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let y = shifted_sine::<R, K>(x, 0);
        if x == R::ZERO { x } else { y }
    }
    #[inline(always)]
    fn outside(x: R) -> bool {
        x.magnitude() > R::TRIG_MAX
    }
    #[inline(always)]
    fn slow(x: R) -> R {
        x.std_sin()
    }
}

pub(super) struct Cos;
impl<R: Real> UnaryOp<R> for Cos {
    const GUARDED: bool = true;
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        shifted_sine::<R, K>(x, 1)
    }
    #[inline(always)]
    fn outside(x: R) -> bool {
        x.magnitude() > R::TRIG_MAX
    }
    #[inline(always)]
    fn slow(x: R) -> R {
        x.std_cos()
    }
}

pub(super) struct Atan;
impl<R: Real> UnaryOp<R> for Atan {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let (middle, high) = (a > R::TAN_LOW, a > R::TAN_HIGH);
        let (top, bottom, turns) = if middle { (a - R::ONE, a + R::ONE, R::HALF) } else { (a, R::ONE, R::ZERO) };
        let (top, bottom, turns) = if high { (-R::ONE, a, R::ONE) } else { (top, bottom, turns) };
        let r = top / bottom;
        let z = r * r;
        let low = (r * z).fma::<K>(R::atan_poly::<K>(z), turns * R::HALF_PI_LO);
        let y = (turns * R::HALF_PI + (r + low)).signed(x);
        if a < R::TINY { x } else { y }
    }
}

pub(super) struct Asin;
impl<R: Real> UnaryOp<R> for Asin {
    #[inline(always)]
    fn eval<K: Token>(x: R) -> R {
        let a = x.magnitude();
        let outer = a > R::HALF;
        let w = R::HALF * (R::ONE - a);
        let z = if outer { w } else { a * a };
        let s = if outer { w.root() } else { a };
        let y = (s * z).fma::<K>(R::asin_poly::<K>(z), s);
        let far = R::HALF_PI - (y + y - R::HALF_PI_LO);
        let y = if outer { far } else { y };
        if a < R::TINY { x } else { y.signed(x) }
    }
}
