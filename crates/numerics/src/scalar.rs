//! `Scalar`: the one numeric trait of the workspace, implemented for `f32` and `f64` and sealed.

use crate::simd::{self, Unary};
use core::fmt::{Debug, Display, LowerExp};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};
use faer::{MatMut, MatRef};

/// The two floating-point types that programs, operators and files are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 => 8,
        }
    }

    /// The short name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }
}

impl Display for DType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A scalar type that may be `f64`: views pass where it is, without a copy.
pub trait DoubleView: Sized {
    /// A view of doubles as one of this type, if they are the same.
    fn of_doubles(a: MatRef<'_, f64>) -> Option<MatRef<'_, Self>>;
    /// The same for a view that can be written to.
    fn of_doubles_mut(a: MatMut<'_, f64>) -> Option<MatMut<'_, Self>>;
}

impl DoubleView for f64 {
    fn of_doubles(a: MatRef<'_, f64>) -> Option<MatRef<'_, f64>> {
        Some(a)
    }
    fn of_doubles_mut(a: MatMut<'_, f64>) -> Option<MatMut<'_, f64>> {
        Some(a)
    }
}

impl DoubleView for f32 {
    fn of_doubles(_: MatRef<'_, f64>) -> Option<MatRef<'_, f32>> {
        None
    }
    fn of_doubles_mut(_: MatMut<'_, f64>) -> Option<MatMut<'_, f32>> {
        None
    }
}

/// One number through an elementwise kernel.
fn by_kernel<T: Scalar>(op: Unary, x: T) -> T {
    let mut y = [x];
    simd::unary_inplace(op, &mut y);
    y[0]
}

macro_rules! scalar_trait {
    ($($(#[$doc:meta])* fn $name:ident(self $(, $arg:ident: $ty:ty)*) -> $ret:ty;)*) => {
        /// A real floating-point number: `f32` or `f64`.
        ///
        /// The supertrait is faer's own field trait, so a `Scalar` can enter every faer routine; the methods
        /// are those of the primitive types, under the same names.
        pub trait Scalar:
            sealed::Sealed
            + faer::traits::RealField
            + crate::dense::kernels::DenseKernels
            + crate::simd::SimdKernels
            + DoubleView
            + Copy + Default + Debug + Display + LowerExp + Send + Sync + 'static
            + PartialOrd + Sum
            + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
            + AddAssign + SubAssign + MulAssign + DivAssign
        {
            /// Which of the two it is.
            const DTYPE: DType;
            /// Zero.
            const ZERO: Self;
            /// One.
            const ONE: Self;
            /// Distance from one to the next larger number.
            const EPS: Self;
            /// Largest finite value.
            const MAX: Self;
            /// Smallest positive normal value.
            const TINY: Self;
            /// Positive infinity.
            const INFINITY: Self;
            /// A quiet NaN.
            const NAN: Self;

            /// Rounds an `f64` to this type.
            fn from_f64(x: f64) -> Self;
            /// Widens to `f64`, exactly.
            fn to_f64(self) -> f64;
            /// Rounds a count to this type.
            fn from_usize(n: usize) -> Self {
                Self::from_f64(n as f64)
            }
            /// Inverse hyperbolic sine, by the kernel of [`simd`](crate::simd): the standard library's single-precision
            /// version overflows for large arguments.
            fn asinh(self) -> Self {
                by_kernel(Unary::Asinh, self)
            }
            /// Inverse hyperbolic tangent, by the kernel of [`simd`](crate::simd): the standard library's
            /// single-precision version loses many digits near one.
            fn atanh(self) -> Self {
                by_kernel(Unary::Atanh, self)
            }
            $($(#[$doc])* fn $name(self $(, $arg: $ty)*) -> $ret;)*
        }

        scalar_trait!(@impl f32, DType::F32; $(fn $name(self $(, $arg: $ty)*) -> $ret;)*);
        scalar_trait!(@impl f64, DType::F64; $(fn $name(self $(, $arg: $ty)*) -> $ret;)*);
    };
    (@impl $t:ident, $dtype:expr; $(fn $name:ident(self $(, $arg:ident: $ty:ty)*) -> $ret:ty;)*) => {
        impl Scalar for $t {
            const DTYPE: DType = $dtype;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPS: Self = $t::EPSILON;
            const MAX: Self = $t::MAX;
            const TINY: Self = $t::MIN_POSITIVE;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;

            #[inline]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
            $(#[inline] fn $name(self $(, $arg: $ty)*) -> $ret { <$t>::$name(self $(, $arg)*) })*
        }
    };
}

scalar_trait! {
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Sign as ±1 (zero has its sign bit's), NaN for NaN.
    fn signum(self) -> Self;
    /// `1 / self`.
    fn recip(self) -> Self;
    /// Exponential.
    fn exp(self) -> Self;
    /// `exp(self) - 1`, accurate near zero.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + self)`, accurate near zero.
    fn ln_1p(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Inverse tangent.
    fn atan(self) -> Self;
    /// Inverse sine.
    fn asin(self) -> Self;
    /// Real power.
    fn powf(self, p: Self) -> Self;
    /// Integer power.
    fn powi(self, n: i32) -> Self;
    /// `sqrt(self^2 + other^2)` without overflow.
    fn hypot(self, other: Self) -> Self;
    /// The larger; a NaN operand is ignored.
    fn max(self, other: Self) -> Self;
    /// The smaller; a NaN operand is ignored.
    fn min(self, other: Self) -> Self;
    /// Largest integer not above.
    fn floor(self) -> Self;
    /// Nearest integer.
    fn round(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// NaN.
    fn is_nan(self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the exact value's `f32` neighbourhood, against `f64`.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, points: impl Iterator<Item = f32>) -> f64 {
        let ulp = |y: f64| f64::from((y as f32).abs().max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
        points.map(|x| (f64::from(f(x)) - exact(x.into())).abs() / ulp(exact(x.into()))).fold(0.0, f64::max)
    }

    #[test]
    fn inverse_hyperbolic_functions_keep_their_digits_in_f32() {
        // Down to the last number below one.
        let near_one = (1..24).flat_map(|e| [1.0 - 0.5f32.powi(e), 0.5f32.powi(e) - 1.0]);
        let small = (1..60).flat_map(|e| [0.5f32.powi(e), -0.7f32.powi(e)]);
        let e = worst(Scalar::atanh, f64::atanh, near_one.chain(small));
        assert!(e <= 2.5, "atanh: {e} units");
        let wide = (-120..120).flat_map(|e| [1.3 * 2f32.powi(e), -1.1 * 2f32.powi(e)]);
        let e = worst(Scalar::asinh, f64::asinh, wide);
        assert!(e <= 2.5, "asinh: {e} units");
    }

    #[test]
    fn inverse_hyperbolic_functions_undo_their_originals_in_f64() {
        for i in -40..=40 {
            let x = f64::from(i) * 0.1;
            let y = Scalar::asinh(f64::sinh(x));
            assert!((y - x).abs() <= 4.0 * f64::EPSILON * x.abs(), "asinh sinh {x} = {y}");
            // tanh squeezes numbers together: its error grows by cosh^2.
            let y = Scalar::atanh(f64::tanh(x));
            assert!((y - x).abs() <= 2.0 * f64::EPSILON * x.cosh().powi(2), "atanh tanh {x} = {y}");
        }
        assert_eq!(Scalar::atanh(1.0f64), f64::INFINITY);
        assert!(Scalar::atanh(1.5f64).is_nan() && Scalar::asinh(f32::NAN).is_nan());
        assert_eq!(Scalar::asinh(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}
