//! Special values of every function, in both precisions and at every level.

use super::{apply, levels};
use crate::Scalar;
use crate::simd::Unary::{self, *};

/// Equal, the sign of zero included; any NaN equals any other.
fn same(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a == b && a.is_sign_negative() == b.is_sign_negative())
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// `(op, f(-inf), f(-0), f(0), f(inf))`.
const LIMITS: [(Unary, [f64; 4]); 25] = [
    (Neg, [INF, 0.0, -0.0, -INF]),
    (Abs, [INF, 0.0, 0.0, INF]),
    (Sign, [-1.0, -0.0, 0.0, 1.0]),
    (Step, [0.0, 0.0, 0.0, 1.0]),
    (Square, [INF, 0.0, 0.0, INF]),
    (Recip, [-0.0, -INF, INF, 0.0]),
    (Sqrt, [NAN, -0.0, 0.0, INF]),
    (Rsqrt, [NAN, -INF, INF, 0.0]),
    (Exp, [0.0, 1.0, 1.0, INF]),
    (Expm1, [-1.0, -0.0, 0.0, INF]),
    (Log, [NAN, -INF, -INF, INF]),
    (Log1p, [NAN, -0.0, 0.0, INF]),
    (Sin, [NAN, -0.0, 0.0, NAN]),
    (Cos, [NAN, 1.0, 1.0, NAN]),
    (Sinh, [-INF, -0.0, 0.0, INF]),
    (Cosh, [INF, 1.0, 1.0, INF]),
    (Tanh, [-1.0, -0.0, 0.0, 1.0]),
    (Sigmoid, [0.0, 0.5, 0.5, 1.0]),
    (Softplus, [0.0, core::f64::consts::LN_2, core::f64::consts::LN_2, INF]),
    (Erf, [-1.0, -0.0, 0.0, 1.0]),
    (Erfc, [2.0, 1.0, 1.0, 0.0]),
    (Atan, [-core::f64::consts::FRAC_PI_2, -0.0, 0.0, core::f64::consts::FRAC_PI_2]),
    (Asin, [NAN, -0.0, 0.0, NAN]),
    (Asinh, [-INF, -0.0, 0.0, INF]),
    (Atanh, [NAN, -0.0, 0.0, NAN]),
];

fn limits<T: Scalar>() {
    // Long enough for full vectors, so that the vectorised body is what is tested.
    for (level, kernels) in levels::<T>() {
        for (op, expected) in LIMITS {
            for (at, want) in [-INF, -0.0, 0.0, INF].into_iter().zip(expected) {
                let y = apply(kernels, op, &[T::from_f64(at); 67]);
                let want = T::from_f64(want).to_f64();
                for y in y {
                    assert!(same(y.to_f64(), want), "{level:?} {op:?}({at}) = {y}, not {want}");
                }
            }
            let y = apply(kernels, op, &[T::NAN; 67]);
            assert!(y.iter().all(|y| y.is_nan()), "{level:?} {op:?}(NaN) = {}", y[0]);
        }
    }
}

#[test]
fn limits_zeros_and_nan() {
    limits::<f32>();
    limits::<f64>();
}

#[test]
fn every_operation_is_in_the_table() {
    for (i, op) in Unary::ALL.into_iter().enumerate() {
        assert_eq!(op as usize, i);
        assert_eq!(LIMITS[i].0, op);
    }
}

#[test]
fn edges_of_over_and_underflow() {
    let smallest = f64::from_bits(1);
    let cases: [(Unary, f64, f64); 20] = [
        (Exp, 709.782712893384, f64::exp(709.782712893384)),
        (Exp, 709.7827128933841, INF),
        (Exp, -745.1332191019411, smallest),
        (Exp, -745.1332191019412, 0.0),
        (Exp, -1e300, 0.0),
        (Exp, smallest, 1.0),
        (Expm1, smallest, smallest),
        (Expm1, -smallest, -smallest),
        (Log, smallest, -744.4400719213812),
        (Log, f64::MAX, 709.782712893384),
        (Log, -smallest, NAN),
        (Log1p, -1.0, -INF),
        (Log1p, -1.0000000000000002, NAN),
        (Log1p, -smallest, -smallest),
        (Sinh, 711.0, INF),
        (Cosh, -711.0, INF),
        (Tanh, smallest, smallest),
        (Erfc, 27.3, 0.0),
        (Atanh, -1.0, -INF),
        (Atanh, 1.0000000000000002, NAN),
    ];
    for (level, kernels) in levels::<f64>() {
        for (op, x, want) in cases {
            let y = apply(kernels, op, &[x; 35]);
            for y in y {
                let close = (y - want).abs() <= want.abs() * f64::EPSILON * 2.0;
                assert!(same(y, want) || (want.is_normal() && close), "{level:?} {op:?}({x:e}) = {y:e}, not {want:e}");
            }
        }
    }
    let cases: [(Unary, f32, f32); 10] = [
        (Exp, 88.72284, f32::INFINITY),
        (Exp, -103.95, f32::from_bits(1)),
        (Exp, -103.98, 0.0),
        (Expm1, f32::from_bits(1), f32::from_bits(1)),
        (Log, f32::from_bits(1), -103.27893),
        (Log, f32::MAX, 88.72284),
        (Sinh, 89.5, f32::INFINITY),
        (Tanh, f32::from_bits(3), f32::from_bits(3)),
        (Erfc, 10.2, 0.0),
        (Erf, f32::from_bits(1), f32::from_bits(1)),
    ];
    for (level, kernels) in levels::<f32>() {
        for (op, x, want) in cases {
            for y in apply(kernels, op, &[x; 35]) {
                assert!(y == want, "{level:?} {op:?}({x:e}) = {y:e}, not {want:e}");
            }
        }
    }
}

#[test]
fn huge_angles_fall_back_to_the_standard_library() {
    // A huge element must not disturb its neighbours, nor they it.
    let mut x: Vec<f64> = (0..300).map(|i| f64::from(i) * 0.37).collect();
    x[5] = 1e22;
    x[130] = -f64::MAX;
    x[299] = 32_768.5;
    let calm: Vec<f64> = x.iter().map(|&x| if x.abs() > 32_768.0 { 0.0 } else { x }).collect();
    for (level, kernels) in levels::<f64>() {
        for (op, std) in [(Sin, f64::sin as fn(f64) -> f64), (Cos, f64::cos)] {
            let (y, quiet) = (apply(kernels, op, &x), apply(kernels, op, &calm));
            for i in 0..x.len() {
                let want = if x[i].abs() > 32_768.0 { std(x[i]) } else { quiet[i] };
                assert!(y[i] == want, "{level:?} {op:?}({})", x[i]);
            }
        }
    }
}
