//! Vectorised elementwise kernels, chosen at run time for the instruction set of the machine.
//!
//! Each function is written as plain scalar Rust without branches and compiled once per instruction set
//! (AVX-512, AVX2 with FMA, the target's baseline), `f32` and `f64`; the compiler vectorises the loop. The machine is
//! looked at once. No entry point allocates.
//!
//! - **Accuracy.** The transcendental functions are within a few units in the last place over the whole range,
//!   subnormal results included: below 1 to 2 for most, 3 for `erfc` (the unit tests state the bound of each).
//!   `pow` is the standard library's, one element at a time; so are sine and cosine beyond `|x| = 32768`.
//! - **Special values.** NaN goes in, NaN comes out, in `max`, `min` and the maximum of a slice too (comparisons
//!   give 0, `Ne` 1). Odd functions keep the sign of zero.
//! - **Reproducibility.** An element's result depends on nothing but its operands: not on the length of the
//!   slice, its alignment or the position. Reductions add into 32 running values (element `i` into value `i mod
//!   32`) that a fixed tree then joins. Two instruction sets agree to the bit if both fuse multiply and add; the
//!   x86-64 baseline does not, and differs from them by that rounding.
//! - **Cost.** With AVX2, one thread, data in L1/L2, in ns per element for `f64` / `f32`: `exp` 1.6 / 0.5, `tanh`
//!   2.1 / 0.7, `sin` 2.3 / 1.0, `erf` 6.4 / 1.7; the standard library takes 5.2 / 2.9, 14 / 15 and 10 / 3.4 for
//!   the first three (measured on a busy machine).
//! - **Lengths.** Operands must have equal lengths; this is checked in debug builds. In release builds the shortest one
//!   counts.
//!
//! ```
//! use numerics::simd::{self, Unary};
//!
//! let x = [0.0, 1.0, f64::NEG_INFINITY];
//! let mut y = [0.0; 3];
//! simd::unary(Unary::Exp, &x, &mut y);
//! assert_eq!(y[0], 1.0);
//! assert!((y[1] - std::f64::consts::E).abs() < 1e-15);
//! assert_eq!(y[2], 0.0);
//! ```

mod api;
mod arith;
mod dispatch;
mod erf;
mod exp;
mod log;
mod loops;
mod real;
#[cfg(test)]
mod tests;
mod trig;
mod wide;

pub use api::*;
pub use dispatch::{
    BinaryFn, BinaryLeftFn, BinaryRightFn, BinaryScalarFn, BinaryScalarLeftFn, BinaryScalarRightFn, Kernels, Level,
    ScalarBinaryFn, ScalarTernaryFn, TernaryFn, UnaryFn, UnaryInplaceFn,
};
pub use wide::{Wide, run_wide, wide};

/// What [`crate::Scalar`] asks of a type so that each elementwise kernel is compiled once per instruction set.
pub trait SimdKernels: Sized + 'static {
    /// The kernels of this machine's strongest instruction set, looked up once.
    fn kernels() -> &'static Kernels<Self>;
    /// The kernels of one instruction set, if this machine has it.
    fn kernels_at(level: Level) -> Option<&'static Kernels<Self>>;
}

/// Calls a macro with the lists of unary and binary operations, in the order of the enums.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            [Neg Abs Sign Step Square Recip Sqrt Rsqrt Exp Expm1 Log Log1p Sin Cos Sinh Cosh Tanh Sigmoid Softplus
             Erf Erfc Atan Asin Asinh Atanh]
            [Add Sub Mul Div Max Min Pow Lt Le Gt Ge Eq Ne]
        }
    };
}
use operations;

/// Functions of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unary {
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// -1, 0 or 1; a zero keeps its sign.
    Sign,
    /// 1 for `x > 0`, 0 for `x <= 0`.
    Step,
    /// `x^2`.
    Square,
    /// `1 / x`.
    Recip,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// Exponential.
    Exp,
    /// `e^x - 1`, accurate near zero.
    Expm1,
    /// Natural logarithm.
    Log,
    /// `ln(1 + x)`, accurate near zero.
    Log1p,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `ln(1 + e^x)`.
    Softplus,
    /// Error function.
    Erf,
    /// `1 - erf(x)`, with relative accuracy in the tail.
    Erfc,
    /// Inverse tangent.
    Atan,
    /// Inverse sine.
    Asin,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic tangent.
    Atanh,
}

/// Functions of two variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
    /// `a^b`.
    Pow,
    /// 1 if `a < b`, else 0.
    Lt,
    /// 1 if `a <= b`, else 0.
    Le,
    /// 1 if `a > b`, else 0.
    Gt,
    /// 1 if `a >= b`, else 0.
    Ge,
    /// 1 if `a == b`, else 0.
    Eq,
    /// 1 if `a != b`, else 0.
    Ne,
}

/// A product and a sum or difference, each rounded: the bits of two passes in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ternary {
    /// `a * b + c`.
    MulAdd,
    /// `a * b - c`.
    MulSub,
    /// `c - a * b`.
    SubMul,
}

impl Ternary {
    /// Every operation, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::MulAdd, Self::MulSub, Self::SubMul];
}

macro_rules! lists {
    ([$($un:ident)*] [$($bin:ident)*]) => {
        impl Unary {
            /// Every operation, in the order of declaration.
            pub const ALL: [Self; [$(Self::$un),*].len()] = [$(Self::$un),*];
        }
        impl Binary {
            /// Every operation, in the order of declaration.
            pub const ALL: [Self; [$(Self::$bin),*].len()] = [$(Self::$bin),*];
        }
    };
}
operations!(lists);
