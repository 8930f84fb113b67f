//! The public entry points: look-ups that return function pointers, and functions that call through them.

use super::dispatch::{
    BinaryFn, BinaryLeftFn, BinaryRightFn, BinaryScalarFn, BinaryScalarLeftFn, BinaryScalarRightFn, ScalarBinaryFn,
    ScalarTernaryFn, TernaryFn, UnaryFn, UnaryInplaceFn,
};
use super::{Binary, Ternary, Unary};
use crate::Scalar;

macro_rules! lookups {
    ($($(#[$doc:meta])* $name:ident($op:ty) -> $ret:ident, $field:ident;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name<T: Scalar>(op: $op) -> $ret<T> {
                T::kernels().$field[op as usize]
            }
        )*
    };
}

lookups! {
    /// The kernel behind [`unary`]: a function pointer to keep, so that hot loops look nothing up.
    ///
    /// ```
    /// use numerics::simd::{self, Unary};
    ///
    /// let tanh = simd::unary_kernel::<f64>(Unary::Tanh);
    /// let mut y = [0.0; 2];
    /// tanh(&[0.0, f64::INFINITY], &mut y);
    /// assert_eq!(y, [0.0, 1.0]);
    /// ```
    unary_kernel(Unary) -> UnaryFn, unary;
    /// The kernel behind [`unary_inplace`].
    unary_inplace_kernel(Unary) -> UnaryInplaceFn, unary_inplace;
    /// The kernel behind [`binary`].
    binary_kernel(Binary) -> BinaryFn, binary;
    /// The kernel behind [`binary_scalar`].
    binary_scalar_kernel(Binary) -> BinaryScalarFn, binary_scalar;
    /// The kernel behind [`scalar_binary`].
    scalar_binary_kernel(Binary) -> ScalarBinaryFn, scalar_binary;
    /// The kernel behind [`binary_left`].
    binary_left_kernel(Binary) -> BinaryLeftFn, binary_left;
    /// The kernel behind [`binary_right`].
    binary_right_kernel(Binary) -> BinaryRightFn, binary_right;
    /// The kernel behind [`binary_scalar_left`].
    binary_scalar_left_kernel(Binary) -> BinaryScalarLeftFn, binary_scalar_left;
    /// The kernel behind [`binary_scalar_right`].
    binary_scalar_right_kernel(Binary) -> BinaryScalarRightFn, binary_scalar_right;
    /// A product and a sum of three slices, to keep.
    ///
    /// ```
    /// use numerics::simd::{self, Ternary};
    ///
    /// let mut y = [0.0];
    /// simd::ternary_kernel::<f64>(Ternary::SubMul)(&[2.0], &[3.0], &[10.0], &mut y);
    /// assert_eq!(y, [4.0]);
    /// ```
    ternary_kernel(Ternary) -> TernaryFn, ternary;
    /// The same with a number as the first factor.
    scalar_ternary_kernel(Ternary) -> ScalarTernaryFn, scalar_ternary;
}

/// `y = op(x)`.
#[inline]
pub fn unary<T: Scalar>(op: Unary, x: &[T], y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    unary_kernel(op)(x, y);
}

/// `y = op(y)`.
#[inline]
pub fn unary_inplace<T: Scalar>(op: Unary, y: &mut [T]) {
    unary_inplace_kernel(op)(y);
}

/// `y = a op b`.
///
/// ```
/// use numerics::simd::{self, Binary};
///
/// let mut y = [0.0_f32; 3];
/// simd::binary(Binary::Lt, &[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0], &mut y);
/// assert_eq!(y, [1.0, 0.0, 0.0]);
/// ```
#[inline]
pub fn binary<T: Scalar>(op: Binary, a: &[T], b: &[T], y: &mut [T]) {
    debug_assert!(a.len() == y.len() && b.len() == y.len());
    binary_kernel(op)(a, b, y);
}

/// `y = a op s` for a number `s`.
#[inline]
pub fn binary_scalar<T: Scalar>(op: Binary, a: &[T], s: T, y: &mut [T]) {
    debug_assert_eq!(a.len(), y.len());
    binary_scalar_kernel(op)(a, s, y);
}

/// `y = s op b` for a number `s`.
#[inline]
pub fn scalar_binary<T: Scalar>(op: Binary, s: T, b: &[T], y: &mut [T]) {
    debug_assert_eq!(b.len(), y.len());
    scalar_binary_kernel(op)(s, b, y);
}

/// `y = y op b`.
#[inline]
pub fn binary_left<T: Scalar>(op: Binary, y: &mut [T], b: &[T]) {
    debug_assert_eq!(b.len(), y.len());
    binary_left_kernel(op)(y, b);
}

/// `y = a op y`.
#[inline]
pub fn binary_right<T: Scalar>(op: Binary, a: &[T], y: &mut [T]) {
    debug_assert_eq!(a.len(), y.len());
    binary_right_kernel(op)(a, y);
}

/// `y = y op s` for a number `s`.
#[inline]
pub fn binary_scalar_left<T: Scalar>(op: Binary, y: &mut [T], s: T) {
    binary_scalar_left_kernel(op)(y, s);
}

/// `y = s op y` for a number `s`.
#[inline]
pub fn binary_scalar_right<T: Scalar>(op: Binary, s: T, y: &mut [T]) {
    binary_scalar_right_kernel(op)(s, y);
}

/// `y = a * b + c`.
#[inline]
pub fn fma<T: Scalar>(a: &[T], b: &[T], c: &[T], y: &mut [T]) {
    debug_assert!(a.len() == y.len() && b.len() == y.len() && c.len() == y.len());
    (T::kernels().fma)(a, b, c, y);
}

/// `y += a * b`.
#[inline]
pub fn fma_acc<T: Scalar>(y: &mut [T], a: &[T], b: &[T]) {
    debug_assert!(a.len() == y.len() && b.len() == y.len());
    (T::kernels().fma_acc)(y, a, b);
}

/// `y += a * b`, each rounded: the bits of [`binary`] followed by [`binary_left`].
#[inline]
pub fn mul_acc<T: Scalar>(y: &mut [T], a: &[T], b: &[T]) {
    debug_assert!(a.len() == y.len() && b.len() == y.len());
    (T::kernels().mul_acc)(y, a, b);
}

/// `y = a` where `p` is not zero, else `b`.
#[inline]
pub fn select<T: Scalar>(p: &[T], a: &[T], b: &[T], y: &mut [T]) {
    debug_assert!(p.len() == y.len() && a.len() == y.len() && b.len() == y.len());
    (T::kernels().select)(p, a, b, y);
}

/// `y = a * x + b` for numbers `a` and `b`.
#[inline]
pub fn affine<T: Scalar>(x: &[T], a: T, b: T, y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    (T::kernels().affine)(x, a, b, y);
}

/// `y = a * y + b` for numbers `a` and `b`.
#[inline]
pub fn affine_inplace<T: Scalar>(y: &mut [T], a: T, b: T) {
    (T::kernels().affine_inplace)(y, a, b);
}

/// `y += alpha * x`.
#[inline]
pub fn axpy<T: Scalar>(y: &mut [T], alpha: T, x: &[T]) {
    debug_assert_eq!(x.len(), y.len());
    (T::kernels().axpy)(y, alpha, x);
}

/// `y = x^n`, by binary powering; negative exponents invert the positive power.
#[inline]
pub fn powi<T: Scalar>(x: &[T], n: i32, y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    (T::kernels().powi)(x, n, y);
}

/// `y = x^p` for a number `p`.
#[inline]
pub fn powf<T: Scalar>(x: &[T], p: T, y: &mut [T]) {
    binary_scalar(Binary::Pow, x, p, y);
}

/// The sum of a slice, zero if empty.
///
/// ```
/// assert_eq!(numerics::simd::sum(&[1.0, 2.0, 3.5]), 6.5);
/// ```
#[inline]
pub fn sum<T: Scalar>(x: &[T]) -> T {
    (T::kernels().sum)(x)
}

/// The inner product of two slices.
#[inline]
pub fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    debug_assert_eq!(x.len(), y.len());
    (T::kernels().dot)(x, y)
}

/// The largest element: NaN if there is one, minus infinity if there is none.
#[inline]
pub fn max<T: Scalar>(x: &[T]) -> T {
    (T::kernels().max)(x)
}
