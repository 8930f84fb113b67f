//! Sine and cosine.
//!
//! Reduction by multiples of pi/2 whose first products are exact (Cody and Waite), two short polynomials, and a choice by the
//! quadrant's two low bits. Beyond `|x| = 32768` the constants run out of bits: those elements alone go to the standard library.

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
