//! Largest error against references of higher or equal precision, in units in the last place.

use super::golden::{self, ERROR_FUNCTIONS};
use super::{apply, levels};
use crate::simd::Unary;

/// `n` points from `a` to `b`.
fn grid(a: f64, b: f64, n: usize) -> impl Iterator<Item = f64> {
    (0..=n).map(move |i| a + (b - a) * (i as f64 / n as f64))
}

/// Points over all magnitudes and both signs, subnormals included, plus grids where functions bend.
fn points64() -> Vec<f64> {
    let mut x: Vec<f64> = (0..200_000_u64)
        .map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .filter(|x| x.is_finite())
        .collect();
    x.extend(grid(-1.5, 1.5, 60_001));
    x.extend(grid(-40.0, 40.0, 60_001));
    x.extend(grid(-760.0, 720.0, 60_001));
    x.extend(grid(-32_768.0, 32_768.0, 60_001));
    // Neighbours of multiples of pi/4, where reduced arguments are smallest or largest.
    x.extend((-3000..3000).map(|i| f64::from(i) * std::f64::consts::FRAC_PI_4));
    x
}

fn points32() -> Vec<f32> {
    let mut x: Vec<f32> =
        (0..1_000_000_u32).map(|i| f32::from_bits(i.wrapping_mul(4_297))).filter(|x| x.is_finite()).collect();
    for (a, b) in [(-1.5, 1.5), (-12.0, 12.0), (-105.0, 90.0), (-32_768.0, 32_768.0)] {
        x.extend(grid(a, b, 60_001).map(|x| x as f32));
    }
    x.extend((-3000..3000).map(|i| (f64::from(i) * std::f64::consts::FRAC_PI_4) as f32));
    x
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Operation, reference, allowed error of `f64` and `f32` kernels.
type Case = (Unary, fn(f64) -> f64, f64, f64);

const CASES: [Case; 15] = [
    (Unary::Exp, f64::exp, 1.01, 0.8),
    (Unary::Expm1, f64::exp_m1, 1.5, 1.1),
    (Unary::Log, f64::ln, 1.01, 0.8),
    (Unary::Log1p, f64::ln_1p, 1.5, 0.8),
    (Unary::Sin, f64::sin, 1.5, 1.1),
    (Unary::Cos, f64::cos, 1.5, 1.1),
    (Unary::Sinh, f64::sinh, 2.5, 1.6),
    (Unary::Cosh, f64::cosh, 2.0, 1.4),
    (Unary::Tanh, f64::tanh, 3.0, 1.8),
    (Unary::Sigmoid, sigmoid, 2.5, 1.6),
    (Unary::Softplus, softplus, 2.5, 1.3),
    (Unary::Atan, f64::atan, 2.0, 1.5),
    (Unary::Asin, f64::asin, 2.5, 2.5),
    (Unary::Rsqrt, |x| 1.0 / x.sqrt(), 0.0, 1.0),
    (Unary::Recip, f64::recip, 0.0, 0.5),
];

/// Error in units of `eps` of the reference, or of the smallest subnormal; infinite if only one overflows.
fn error(y: f64, reference: f64, eps: f64, smallest: f64, largest: f64) -> f64 {
    if reference.is_nan() || y.is_nan() {
        return if reference.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let reference_overflows = reference.abs() > largest;
    if reference_overflows || y.is_infinite() {
        // The last representable step may round either way.
        let close = reference.abs() > largest * (1.0 - 2.0 * eps) && (y.abs() >= largest * (1.0 - 2.0 * eps));
        return if close && y.signum() == reference.signum() { 0.0 } else { f64::INFINITY };
    }
    (y - reference).abs() / (reference.abs() * eps).max(smallest)
}

fn error64(y: f64, reference: f64) -> f64 {
    error(y, reference, f64::EPSILON, f64::from_bits(1), f64::MAX)
}

fn error32(y: f32, reference: f64) -> f64 {
    error(y.into(), reference, f32::EPSILON.into(), f32::from_bits(1).into(), f32::MAX.into())
}

/// Arguments and values.
type Table = [(f64, f64)];

/// The worst point and its error.
fn worst<T: Copy>(x: &[T], errors: impl Iterator<Item = f64>) -> (f64, T) {
    let mut found = (0.0, x[0]);
    for (&x, e) in x.iter().zip(errors) {
        if e > found.0 {
            found = (e, x);
        }
    }
    found
}

#[test]
fn f64_kernels_are_within_a_few_units() {
    let x = points64();
    for (level, kernels) in levels::<f64>() {
        for (op, f, allowed, _) in CASES {
            let y = apply(kernels, op, &x);
            let (e, at) = worst(&x, x.iter().zip(&y).map(|(&x, &y)| error64(y, f(x))));
            println!("{level:?} {op:?} f64: {e:.2} at {at:e} (allowed {allowed})");
            assert!(e <= allowed, "{level:?} {op:?} f64: {e:.2} units at {at:e}");
        }
    }
}

#[test]
fn f32_kernels_are_within_a_few_units() {
    let x = points32();
    for (level, kernels) in levels::<f32>() {
        for (op, f, _, allowed) in CASES {
            let y = apply(kernels, op, &x);
            let (e, at) = worst(&x, x.iter().zip(&y).map(|(&x, &y)| error32(y, f(x.into()))));
            println!("{level:?} {op:?} f32: {e:.2} at {at:e} (allowed {allowed})");
            assert!(e <= allowed, "{level:?} {op:?} f32: {e:.2} units at {at:e}");
        }
    }
}

#[test]
fn error_functions_match_golden_values() {
    let x: Vec<f64> = ERROR_FUNCTIONS.iter().map(|v| v.0).collect();
    for (level, kernels) in levels::<f64>() {
        let erf = apply(kernels, Unary::Erf, &x);
        let erfc = apply(kernels, Unary::Erfc, &x);
        let (e, at) = worst(&x, erf.iter().zip(&ERROR_FUNCTIONS).map(|(&y, v)| error64(y, v.1)));
        println!("{level:?} erf f64: {e:.2} at {at:e}");
        assert!(e <= 1.0, "{level:?} erf: {e:.2} units at {at:e}");
        let (e, at) = worst(&x, erfc.iter().zip(&ERROR_FUNCTIONS).map(|(&y, v)| error64(y, v.2)));
        println!("{level:?} erfc f64: {e:.2} at {at:e}");
        assert!(e <= 3.0, "{level:?} erfc: {e:.2} units at {at:e}");
    }
}

#[test]
fn f32_error_functions_match_the_f64_kernels() {
    let x = points32();
    let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    for (level, kernels) in levels::<f32>() {
        let reference = levels::<f64>().find(|(l, _)| *l == level).map(|(_, k)| k).unwrap();
        for (op, allowed) in [(Unary::Erf, 1.0), (Unary::Erfc, 3.5)] {
            let (y, r) = (apply(kernels, op, &x), apply(reference, op, &wide));
            let (e, at) = worst(&x, y.iter().zip(&r).map(|(&y, &r)| error32(y, r)));
            println!("{level:?} {op:?} f32: {e:.2} at {at:e}");
            assert!(e <= allowed, "{level:?} {op:?} f32: {e:.2} units at {at:e}");
        }
    }
}

/// The standard library's single-precision versions lose many digits (or overflow) for these two; `f64` serves as
/// reference.
#[test]
fn inverse_hyperbolic_functions_in_f32() {
    let x = points32();
    for (level, kernels) in levels::<f32>() {
        for (op, f, allowed) in [(Unary::Asinh, f64::asinh as fn(f64) -> f64, 2.5), (Unary::Atanh, f64::atanh, 2.5)] {
            let y = apply(kernels, op, &x);
            let (e, at) = worst(&x, x.iter().zip(&y).map(|(&x, &y)| error32(y, f(x.into()))));
            println!("{level:?} {op:?} f32: {e:.2} at {at:e}");
            assert!(e <= allowed, "{level:?} {op:?} f32: {e:.2} units at {at:e}");
        }
    }
}

#[test]
fn golden_values_of_the_other_functions() {
    let tables: [(Unary, &Table, f64); 9] = [
        (Unary::Atan, &golden::ATAN, 1.5),
        (Unary::Asin, &golden::ASIN, 2.5),
        (Unary::Asinh, &golden::ASINH, 2.5),
        (Unary::Atanh, &golden::ATANH, 2.5),
        (Unary::Tanh, &golden::TANH, 2.0),
        (Unary::Sigmoid, &golden::SIGMOID, 2.0),
        (Unary::Softplus, &golden::SOFTPLUS, 1.5),
        (Unary::Expm1, &golden::EXPM1, 1.5),
        (Unary::Sin, &golden::SIN, 1.0),
    ];
    for (level, kernels) in levels::<f64>() {
        for (op, table, allowed) in tables {
            let x: Vec<f64> = table.iter().map(|v| v.0).collect();
            let y = apply(kernels, op, &x);
            let (e, at) = worst(&x, y.iter().zip(table).map(|(&y, v)| error64(y, v.1)));
            println!("{level:?} {op:?} f64 golden: {e:.2} at {at:e}");
            assert!(e <= allowed, "{level:?} {op:?} f64: {e:.2} units at {at:e}");
        }
    }
}
