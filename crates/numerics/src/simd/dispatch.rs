//! Instruction-set levels and their tables of function pointers.
//!
//! Each level instantiates the loops under its own `#[target_feature]`; the table for the running
//! machine is looked up once per type. Adding a level is one line of `levels!`.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::loops::{self, BinaryOp, TernaryOp, UnaryOp};
use super::real::{self, Real};
use super::{Binary, SimdKernels, Ternary, Unary};

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the target guarantees (SSE2 on x86-64, NEON on AArch64).
    Baseline,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, DQ, BW, VL, CD.
    Avx512,
}

impl Level {
    /// All levels, weakest first.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// Whether this machine can run the level.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            match self {
                Self::Baseline => true,
                Self::Avx2 => avx2(),
                Self::Avx512 => {
                    avx2()
                        && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512vl")
                        && is_x86_feature_detected!("avx512cd")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Baseline
        }
    }

    /// The strongest level of this machine.
    pub fn detected() -> Self {
        Self::ALL.into_iter().rev().find(|level| level.is_available()).unwrap_or(Self::Baseline)
    }
}

/// `y = f(x)`.
pub type UnaryFn<T> = fn(&[T], &mut [T]);
/// `y = f(y)`.
pub type UnaryInplaceFn<T> = fn(&mut [T]);
/// `y = f(a, b)`.
pub type BinaryFn<T> = fn(&[T], &[T], &mut [T]);
/// `y = f(a, s)` for a number `s`.
pub type BinaryScalarFn<T> = fn(&[T], T, &mut [T]);
/// `y = f(s, b)` for a number `s`.
pub type ScalarBinaryFn<T> = fn(T, &[T], &mut [T]);
/// `y = f(y, b)`.
pub type BinaryLeftFn<T> = fn(&mut [T], &[T]);
/// `y = f(a, y)`.
pub type BinaryRightFn<T> = fn(&[T], &mut [T]);
/// `y = f(y, s)` for a number `s`.
pub type BinaryScalarLeftFn<T> = fn(&mut [T], T);
/// `y = f(s, y)` for a number `s`.
pub type BinaryScalarRightFn<T> = fn(T, &mut [T]);
/// `y = f(a, b, c)`.
pub type TernaryFn<T> = fn(&[T], &[T], &[T], &mut [T]);
/// `y = f(s, b, c)` for a number `s`.
pub type ScalarTernaryFn<T> = fn(T, &[T], &[T], &mut [T]);

/// One type's kernels for one instruction set.
pub struct Kernels<T> {
    pub(super) unary: [UnaryFn<T>; Unary::ALL.len()],
    pub(super) unary_inplace: [UnaryInplaceFn<T>; Unary::ALL.len()],
    pub(super) binary: [BinaryFn<T>; Binary::ALL.len()],
    pub(super) binary_scalar: [BinaryScalarFn<T>; Binary::ALL.len()],
    pub(super) scalar_binary: [ScalarBinaryFn<T>; Binary::ALL.len()],
    pub(super) binary_left: [BinaryLeftFn<T>; Binary::ALL.len()],
    pub(super) binary_right: [BinaryRightFn<T>; Binary::ALL.len()],
    pub(super) binary_scalar_left: [BinaryScalarLeftFn<T>; Binary::ALL.len()],
    pub(super) binary_scalar_right: [BinaryScalarRightFn<T>; Binary::ALL.len()],
    pub(super) ternary: [TernaryFn<T>; Ternary::ALL.len()],
    pub(super) scalar_ternary: [ScalarTernaryFn<T>; Ternary::ALL.len()],
    pub(super) mul_acc: fn(&mut [T], &[T], &[T]),
    pub(super) fma: TernaryFn<T>,
    pub(super) fma_acc: fn(&mut [T], &[T], &[T]),
    pub(super) select: TernaryFn<T>,
    pub(super) affine: fn(&[T], T, T, &mut [T]),
    pub(super) affine_inplace: fn(&mut [T], T, T),
    pub(super) axpy: fn(&mut [T], T, &[T]),
    pub(super) powi: fn(&[T], i32, &mut [T]),
    pub(super) sum: fn(&[T]) -> T,
    pub(super) dot: fn(&[T], &[T]) -> T,
    pub(super) max: fn(&[T]) -> T,
}

/// One loop, compiled for the target's guaranteed features or for more.
macro_rules! entry {
    ([] $token:ident $name:ident [$($op:ident: $bound:ident)?] ($($arg:ident: $ty:ty),*) $(-> $ret:ty)?) => {
        pub(super) fn $name<R: Real $(, $op: $bound<R>)?>($($arg: $ty),*) $(-> $ret)? {
            loops::$name::<R, $($op,)? real::$token>($($arg),*)
        }
    };
    ([$feature:literal] $token:ident $name:ident [$($op:ident: $bound:ident)?]
     ($($arg:ident: $ty:ty),*) $(-> $ret:ty)?) => {
        pub(super) fn $name<R: Real $(, $op: $bound<R>)?>($($arg: $ty),*) $(-> $ret)? {
            #[target_feature(enable = $feature)]
            fn instance<R: Real $(, $op: $bound<R>)?>($($arg: $ty),*) $(-> $ret)? {
                loops::$name::<R, $($op,)? real::$token>($($arg),*)
            }
            // SAFETY: this function is reachable only through the level's table, which `kernels_at` hands out
            // after `Level::is_available` has seen every feature named above on the running processor.
            unsafe { instance::<R $(, $op)?>($($arg),*) }
        }
    };
}

macro_rules! table {
    ($t:ty; [$($un:ident)*] [$($bin:ident)*]) => {
        Kernels {
            unary: [$(unary::<$t, ops::$un>),*],
            unary_inplace: [$(unary_inplace::<$t, ops::$un>),*],
            binary: [$(binary::<$t, ops::$bin>),*],
            binary_scalar: [$(binary_scalar::<$t, ops::$bin>),*],
            scalar_binary: [$(scalar_binary::<$t, ops::$bin>),*],
            binary_left: [$(binary_left::<$t, ops::$bin>),*],
            binary_right: [$(binary_right::<$t, ops::$bin>),*],
            binary_scalar_left: [$(binary_scalar_left::<$t, ops::$bin>),*],
            binary_scalar_right: [$(binary_scalar_right::<$t, ops::$bin>),*],
            ternary: [ternary::<$t, ops::MulAdd>, ternary::<$t, ops::MulSub>, ternary::<$t, ops::SubMul>],
            scalar_ternary: [
                scalar_ternary::<$t, ops::MulAdd>,
                scalar_ternary::<$t, ops::MulSub>,
                scalar_ternary::<$t, ops::SubMul>,
            ],
            mul_acc: mul_acc::<$t>,
            fma: fma::<$t>,
            fma_acc: fma_acc::<$t>,
            select: select::<$t>,
            affine: affine::<$t>,
            affine_inplace: affine_inplace::<$t>,
            axpy: axpy::<$t>,
            powi: powi::<$t>,
            sum: sum::<$t>,
            dot: dot::<$t>,
            max: max::<$t>,
        }
    };
}

macro_rules! level {
    ($module:ident $token:ident [$($feature:literal)?] $un:tt $bin:tt) => {
        mod $module {
            use super::*;
            entry!([$($feature)?] $token unary [O: UnaryOp] (x: &[R], y: &mut [R]));
            entry!([$($feature)?] $token unary_inplace [O: UnaryOp] (y: &mut [R]));
            entry!([$($feature)?] $token binary [O: BinaryOp] (a: &[R], b: &[R], y: &mut [R]));
            entry!([$($feature)?] $token binary_scalar [O: BinaryOp] (a: &[R], s: R, y: &mut [R]));
            entry!([$($feature)?] $token scalar_binary [O: BinaryOp] (s: R, b: &[R], y: &mut [R]));
            entry!([$($feature)?] $token binary_left [O: BinaryOp] (y: &mut [R], b: &[R]));
            entry!([$($feature)?] $token binary_right [O: BinaryOp] (a: &[R], y: &mut [R]));
            entry!([$($feature)?] $token binary_scalar_left [O: BinaryOp] (y: &mut [R], s: R));
            entry!([$($feature)?] $token binary_scalar_right [O: BinaryOp] (s: R, y: &mut [R]));
            entry!([$($feature)?] $token ternary [O: TernaryOp] (a: &[R], b: &[R], c: &[R], y: &mut [R]));
            entry!([$($feature)?] $token scalar_ternary [O: TernaryOp] (s: R, b: &[R], c: &[R], y: &mut [R]));
            entry!([$($feature)?] $token mul_acc [] (y: &mut [R], a: &[R], b: &[R]));
            entry!([$($feature)?] $token fma [] (a: &[R], b: &[R], c: &[R], y: &mut [R]));
            entry!([$($feature)?] $token fma_acc [] (y: &mut [R], a: &[R], b: &[R]));
            entry!([$($feature)?] $token select [] (p: &[R], a: &[R], b: &[R], y: &mut [R]));
            entry!([$($feature)?] $token affine [] (x: &[R], a: R, b: R, y: &mut [R]));
            entry!([$($feature)?] $token affine_inplace [] (y: &mut [R], a: R, b: R));
            entry!([$($feature)?] $token axpy [] (y: &mut [R], alpha: R, x: &[R]));
            entry!([$($feature)?] $token powi [] (x: &[R], n: i32, y: &mut [R]));
            entry!([$($feature)?] $token sum [] (x: &[R]) -> R);
            entry!([$($feature)?] $token dot [] (x: &[R], y: &[R]) -> R);
            entry!([$($feature)?] $token max [] (x: &[R]) -> R);
            pub(super) static F32: Kernels<f32> = table!(f32; $un $bin);
            pub(super) static F64: Kernels<f64> = table!(f64; $un $bin);
        }
    };
}

macro_rules! levels {
    ($un:tt $bin:tt) => {
        #[cfg(not(target_arch = "aarch64"))]
        level!(baseline Plain [] $un $bin);
        #[cfg(target_arch = "aarch64")]
        level!(baseline Fused [] $un $bin);
        #[cfg(target_arch = "x86_64")]
        level!(avx2 Fused ["avx2,fma"] $un $bin);
        #[cfg(target_arch = "x86_64")]
        level!(avx512 Fused ["avx512f,avx512dq,avx512bw,avx512vl,avx512cd,avx2,fma"] $un $bin);
    };
}

/// The element bodies, under the names of the operations.
mod ops {
    pub(super) use super::super::arith::*;
    pub(super) use super::super::erf::*;
    pub(super) use super::super::exp::*;
    pub(super) use super::super::log::*;
    pub(super) use super::super::trig::*;
}

super::operations!(levels);

macro_rules! simd_kernels {
    ($t:ty, $table:ident) => {
        impl SimdKernels for $t {
            fn kernels_at(level: Level) -> Option<&'static Kernels<Self>> {
                if !level.is_available() {
                    return None;
                }
                match level {
                    Level::Baseline => Some(&baseline::$table),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => Some(&avx2::$table),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => Some(&avx512::$table),
                    #[cfg(not(target_arch = "x86_64"))]
                    _ => None,
                }
            }

            #[inline]
            fn kernels() -> &'static Kernels<Self> {
                static CHOSEN: OnceLock<&Kernels<$t>> = OnceLock::new();
                CHOSEN.get_or_init(|| Self::kernels_at(Level::detected()).unwrap_or(&baseline::$table))
            }
        }
    };
}

simd_kernels!(f32, F32);
simd_kernels!(f64, F64);
