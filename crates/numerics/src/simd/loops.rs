//! The loops around the element bodies, written once and instantiated per instruction set.
//!
//! Slices are zipped, never indexed, and every element goes through the same arithmetic wherever it stands:
//! results do not depend on length, alignment or position. Reductions use 32 running values and a fixed tree of
//! additions.

use super::real::{Real, Token};

/// A function of one variable.
pub(super) trait UnaryOp<R: Real>: 'static {
    /// Whether some arguments need [`UnaryOp::slow`].
    const GUARDED: bool = false;
    /// The branch-free body.
    fn eval<K: Token>(x: R) -> R;
    /// Arguments that the body does not cover.
    #[inline(always)]
    fn outside(_x: R) -> bool {
        false
    }
    /// What those get instead.
    #[inline(always)]
    fn slow(x: R) -> R {
        x
    }
}

/// A function of two variables.
pub(super) trait BinaryOp<R: Real>: 'static {
    /// The branch-free body.
    fn eval(a: R, b: R) -> R;
}

/// A function of three variables.
pub(super) trait TernaryOp<R: Real>: 'static {
    /// The branch-free body.
    fn eval(a: R, b: R, c: R) -> R;
}

/// Elements between two looks for arguments outside the fast range.
const GUARD_BLOCK: usize = 128;

#[inline(always)]
fn guarded<R: Real, O: UnaryOp<R>, K: Token>(x: R) -> R {
    if O::outside(x) { O::slow(x) } else { O::eval::<K>(x) }
}

#[inline(always)]
fn any_outside<R: Real, O: UnaryOp<R>>(x: &[R]) -> bool {
    x.iter().fold(false, |any, &x| any | O::outside(x))
}

#[inline(always)]
pub(super) fn unary<R: Real, O: UnaryOp<R>, K: Token>(x: &[R], y: &mut [R]) {
    if !O::GUARDED {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = O::eval::<K>(x);
        }
        return;
    }
    for (y, x) in y.chunks_mut(GUARD_BLOCK).zip(x.chunks(GUARD_BLOCK)) {
        if any_outside::<R, O>(x) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = guarded::<R, O, K>(x);
            }
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = O::eval::<K>(x);
            }
        }
    }
}

#[inline(always)]
pub(super) fn unary_inplace<R: Real, O: UnaryOp<R>, K: Token>(y: &mut [R]) {
    if !O::GUARDED {
        for y in y {
            *y = O::eval::<K>(*y);
        }
        return;
    }
    for y in y.chunks_mut(GUARD_BLOCK) {
        if any_outside::<R, O>(y) {
            for y in y {
                *y = guarded::<R, O, K>(*y);
            }
        } else {
            for y in y {
                *y = O::eval::<K>(*y);
            }
        }
    }
}

#[inline(always)]
pub(super) fn binary<R: Real, O: BinaryOp<R>, K: Token>(a: &[R], b: &[R], y: &mut [R]) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = O::eval(a, b);
    }
}

#[inline(always)]
pub(super) fn binary_scalar<R: Real, O: BinaryOp<R>, K: Token>(a: &[R], s: R, y: &mut [R]) {
    for (y, &a) in y.iter_mut().zip(a) {
        *y = O::eval(a, s);
    }
}

#[inline(always)]
pub(super) fn scalar_binary<R: Real, O: BinaryOp<R>, K: Token>(s: R, b: &[R], y: &mut [R]) {
    for (y, &b) in y.iter_mut().zip(b) {
        *y = O::eval(s, b);
    }
}

#[inline(always)]
pub(super) fn binary_left<R: Real, O: BinaryOp<R>, K: Token>(y: &mut [R], b: &[R]) {
    for (y, &b) in y.iter_mut().zip(b) {
        *y = O::eval(*y, b);
    }
}

#[inline(always)]
pub(super) fn binary_right<R: Real, O: BinaryOp<R>, K: Token>(a: &[R], y: &mut [R]) {
    for (y, &a) in y.iter_mut().zip(a) {
        *y = O::eval(a, *y);
    }
}

#[inline(always)]
pub(super) fn binary_scalar_left<R: Real, O: BinaryOp<R>, K: Token>(y: &mut [R], s: R) {
    for y in y {
        *y = O::eval(*y, s);
    }
}

#[inline(always)]
pub(super) fn binary_scalar_right<R: Real, O: BinaryOp<R>, K: Token>(s: R, y: &mut [R]) {
    for y in y {
        *y = O::eval(s, *y);
    }
}

#[inline(always)]
pub(super) fn fma<R: Real, K: Token>(a: &[R], b: &[R], c: &[R], y: &mut [R]) {
    for (((y, &a), &b), &c) in y.iter_mut().zip(a).zip(b).zip(c) {
        *y = a.fma::<K>(b, c);
    }
}

#[inline(always)]
pub(super) fn fma_acc<R: Real, K: Token>(y: &mut [R], a: &[R], b: &[R]) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = a.fma::<K>(b, *y);
    }
}

#[inline(always)]
pub(super) fn ternary<R: Real, O: TernaryOp<R>, K: Token>(a: &[R], b: &[R], c: &[R], y: &mut [R]) {
    for (((y, &a), &b), &c) in y.iter_mut().zip(a).zip(b).zip(c) {
        *y = O::eval(a, b, c);
    }
}

#[inline(always)]
pub(super) fn scalar_ternary<R: Real, O: TernaryOp<R>, K: Token>(s: R, b: &[R], c: &[R], y: &mut [R]) {
    for ((y, &b), &c) in y.iter_mut().zip(b).zip(c) {
        *y = O::eval(s, b, c);
    }
}

#[inline(always)]
pub(super) fn mul_acc<R: Real, K: Token>(y: &mut [R], a: &[R], b: &[R]) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = *y + a * b;
    }
}

#[inline(always)]
pub(super) fn select<R: Real, K: Token>(p: &[R], a: &[R], b: &[R], y: &mut [R]) {
    for (((y, &p), &a), &b) in y.iter_mut().zip(p).zip(a).zip(b) {
        *y = if p == R::ZERO { b } else { a };
    }
}

#[inline(always)]
pub(super) fn affine<R: Real, K: Token>(x: &[R], a: R, b: R, y: &mut [R]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = a.fma::<K>(x, b);
    }
}

#[inline(always)]
pub(super) fn affine_inplace<R: Real, K: Token>(y: &mut [R], a: R, b: R) {
    for y in y {
        *y = a.fma::<K>(*y, b);
    }
}

#[inline(always)]
pub(super) fn axpy<R: Real, K: Token>(y: &mut [R], alpha: R, x: &[R]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = alpha.fma::<K>(x, *y);
    }
}

/// Binary powering from the lowest bit of `n`.
#[inline(always)]
fn power<R: Real>(x: R, mut n: u32) -> R {
    let (mut square, mut y) = (x, R::ONE);
    loop {
        if n & 1 == 1 {
            y = y * square;
        }
        n >>= 1;
        if n == 0 {
            return y;
        }
        square = square * square;
    }
}

#[inline(always)]
fn map<R: Real>(x: &[R], y: &mut [R], f: impl Fn(R) -> R) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// The small exponents have their own loops, in which the powering is unrolled; the arithmetic is the same.
#[inline(always)]
pub(super) fn powi<R: Real, K: Token>(x: &[R], n: i32, y: &mut [R]) {
    match n {
        0 => map(x, y, |_| R::ONE),
        1 => map(x, y, |x| x),
        2 => map(x, y, |x| power(x, 2)),
        3 => map(x, y, |x| power(x, 3)),
        4 => map(x, y, |x| power(x, 4)),
        5 => map(x, y, |x| power(x, 5)),
        6 => map(x, y, |x| power(x, 6)),
        -1 => map(x, y, |x| R::ONE / x),
        -2 => map(x, y, |x| R::ONE / power(x, 2)),
        n if n > 0 => map(x, y, |x| power(x, n.unsigned_abs())),
        n => map(x, y, |x| R::ONE / power(x, n.unsigned_abs())),
    }
}

/// Running values of a reduction.
const LANES: usize = 32;

#[inline(always)]
fn tree<R: Real>(mut lanes: [R; LANES], f: impl Fn(R, R) -> R) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn fold<R: Real>(x: &[R], start: R, f: impl Fn(R, R) -> R) -> R {
    let mut lanes = [start; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], block[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, x);
    }
    tree(lanes, f)
}

#[inline(always)]
pub(super) fn sum<R: Real, K: Token>(x: &[R]) -> R {
    fold(x, R::ZERO, |a, x| a + x)
}

#[inline(always)]
pub(super) fn max<R: Real, K: Token>(x: &[R]) -> R {
    fold(x, -R::INF, |a, x| if x > a || x.partial_cmp(&x).is_none() { x } else { a })
}

#[inline(always)]
pub(super) fn dot<R: Real, K: Token>(x: &[R], y: &[R]) -> R {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    let mut lanes = [R::ZERO; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] = x[i].fma::<K>(y[i], lanes[i]);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = x.fma::<K>(y, *lane);
    }
    tree(lanes, |a, b| a + b)
}
