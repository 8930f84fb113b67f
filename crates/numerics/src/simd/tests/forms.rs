//! The forms of one operation agree, results do not depend on layout, reductions have their stated order.

use super::{apply, levels};
use crate::Scalar;
use crate::simd::{self, Binary, Level, Ternary, Unary};

/// Deterministic numbers of mixed sign and size, specials among them.
fn numbers<T: Scalar>(n: usize, salt: u64) -> Vec<T> {
    (0..n as u64)
        .map(|i| {
            let h = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xd1b5_4a32_d192_ed03));
            let h = (h ^ (h >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = ((h >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 20.0;
            T::from_f64(match h & 63 {
                0 => f64::NAN,
                1 => 0.0,
                2 => f64::INFINITY,
                3 => 1e6 * x,
                _ => x,
            })
        })
        .collect()
}

fn finite<T: Scalar>(n: usize, salt: u64) -> Vec<T> {
    numbers::<T>(n, salt).into_iter().map(|x| if x.is_finite() { x } else { T::ONE }).collect()
}

fn same_bits<T: Scalar>(a: T, b: T) -> bool {
    (a.is_nan() && b.is_nan()) || a.to_f64().to_bits() == b.to_f64().to_bits()
}

fn assert_same<T: Scalar>(a: &[T], b: &[T], what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        assert!(same_bits(a, b), "{what}: element {i}: {a:e} and {b:e}");
    }
}

fn layout<T: Scalar>() {
    let x = numbers::<T>(301, 1);
    for (level, kernels) in levels::<T>() {
        for op in Unary::ALL {
            let whole = apply(kernels, op, &x);
            for start in 0..9 {
                for len in [0, 1, 2, 3, 5, 8, 13, 17, 31, 64, 100, 129, 290] {
                    let part = apply(kernels, op, &x[start..start + len]);
                    assert_same(&part, &whole[start..start + len], &format!("{level:?} {op:?} {start}+{len}"));
                }
                let mut y = x.clone();
                (kernels.unary_inplace[op as usize])(&mut y[start..]);
                assert_same(&y[start..], &whole[start..], &format!("{level:?} {op:?} in place"));
                assert_same(&y[..start], &x[..start], "untouched");
            }
        }
    }
}

#[test]
fn unary_results_do_not_depend_on_length_or_alignment() {
    layout::<f32>();
    layout::<f64>();
}

fn reference<T: Scalar>(op: Binary, a: T, b: T) -> T {
    let truth = |c: bool| if c { T::ONE } else { T::ZERO };
    let nan = a.is_nan() || b.is_nan();
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max if nan => T::NAN,
        Binary::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        Binary::Min if nan => T::NAN,
        Binary::Min => {
            if a < b {
                a
            } else {
                b
            }
        }
        Binary::Pow => a.powf(b),
        Binary::Lt => truth(a < b),
        Binary::Le => truth(a <= b),
        Binary::Gt => truth(a > b),
        Binary::Ge => truth(a >= b),
        Binary::Eq => truth(a == b),
        Binary::Ne => truth(a != b),
    }
}

fn binary_forms<T: Scalar>() {
    let (a, mut b) = (numbers::<T>(203, 2), numbers::<T>(203, 3));
    b[..20].copy_from_slice(&a[..20]);
    let s = T::from_f64(1.25);
    for (level, k) in levels::<T>() {
        for op in Binary::ALL {
            let i = op as usize;
            let what = format!("{level:?} {op:?}");
            let want = |f: &dyn Fn(usize) -> (T, T)| -> Vec<T> {
                (0..a.len()).map(f).map(|(a, b)| reference(op, a, b)).collect()
            };
            let slices = want(&|j| (a[j], b[j]));
            let (right, left) = (want(&|j| (a[j], s)), want(&|j| (s, a[j])));
            let mut y = vec![T::ZERO; a.len()];
            (k.binary[i])(&a, &b, &mut y);
            assert_same(&y, &slices, &what);
            (k.binary_scalar[i])(&a, s, &mut y);
            assert_same(&y, &right, &what);
            (k.scalar_binary[i])(s, &a, &mut y);
            assert_same(&y, &left, &what);
            y.copy_from_slice(&a);
            (k.binary_left[i])(&mut y, &b);
            assert_same(&y, &slices, &what);
            y.copy_from_slice(&b);
            (k.binary_right[i])(&a, &mut y);
            assert_same(&y, &slices, &what);
            y.copy_from_slice(&a);
            (k.binary_scalar_left[i])(&mut y, s);
            assert_same(&y, &right, &what);
            y.copy_from_slice(&a);
            (k.binary_scalar_right[i])(s, &mut y);
            assert_same(&y, &left, &what);
        }
    }
}

#[test]
fn all_binary_forms_agree_with_scalar_code() {
    binary_forms::<f32>();
    binary_forms::<f64>();
}

#[test]
fn ternary_forms_and_their_accumulating_versions_agree() {
    let (a, b, c) = (finite::<f64>(75, 4), finite::<f64>(75, 5), finite::<f64>(75, 6));
    for (level, k) in levels::<f64>() {
        let fused = level > Level::Baseline;
        let fma = |a: f64, b: f64, c: f64| if fused { a.mul_add(b, c) } else { a * b + c };
        let mut y = vec![0.0; a.len()];
        (k.fma)(&a, &b, &c, &mut y);
        if cfg!(target_arch = "x86_64") {
            let want: Vec<f64> = (0..a.len()).map(|i| fma(a[i], b[i], c[i])).collect();
            assert_same(&y, &want, "fma");
        }
        let mut z = c.clone();
        (k.fma_acc)(&mut z, &a, &b);
        assert_same(&z, &y, "fma_acc");
        (k.fma)(&[1.5; 75], &b, &c, &mut y);
        z.copy_from_slice(&c);
        (k.axpy)(&mut z, 1.5, &b);
        assert_same(&z, &y, "axpy");
        (k.fma)(&[1.5; 75], &b, &[-0.7; 75], &mut y);
        (k.affine)(&b, 1.5, -0.7, &mut z);
        assert_same(&z, &y, "affine");
        z.copy_from_slice(&b);
        (k.affine_inplace)(&mut z, 1.5, -0.7);
        assert_same(&z, &y, "affine_inplace");
        (k.select)(&[0.0, 1.0, f64::NAN, -0.0, -2.0], &a[..5], &b[..5], &mut y[..5]);
        assert_same(&y[..5], &[b[0], a[1], a[2], b[3], a[4]], "select");
    }
}

/// One pass has the bits of two.
fn chained<T: Scalar>() {
    let (a, b, c) = (numbers::<T>(75, 4), numbers::<T>(75, 5), numbers::<T>(75, 6));
    for (level, k) in levels::<T>() {
        let binary = |op: Binary, x: &[T], y: &[T]| {
            let mut z = vec![T::ZERO; x.len()];
            (k.binary[op as usize])(x, y, &mut z);
            z
        };
        for s in [None, Some(T::from_f64(-0.3))] {
            let left = s.map_or_else(|| a.clone(), |s| vec![s; a.len()]);
            let product = binary(Binary::Mul, &left, &b);
            for (op, want) in [
                (Ternary::MulAdd, binary(Binary::Add, &product, &c)),
                (Ternary::MulSub, binary(Binary::Sub, &product, &c)),
                (Ternary::SubMul, binary(Binary::Sub, &c, &product)),
            ] {
                let mut y = vec![T::ZERO; a.len()];
                match s {
                    Some(s) => (k.scalar_ternary[op as usize])(s, &b, &c, &mut y),
                    None => (k.ternary[op as usize])(&a, &b, &c, &mut y),
                }
                assert_same(&y, &want, &format!("{level:?} {op:?} {}", s.is_some()));
            }
            let mut y = c.clone();
            (k.mul_acc)(&mut y, &left, &b);
            assert_same(&y, &binary(Binary::Add, &c, &product), "mul_acc");
        }
    }
}

#[test]
fn products_with_sums_round_twice() {
    chained::<f32>();
    chained::<f64>();
}

#[test]
fn integer_powers() {
    let x = finite::<f64>(70, 7);
    for (_, k) in levels::<f64>() {
        let mut y = vec![0.0; x.len()];
        for n in [-9, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 12, 31] {
            (k.powi)(&x, n, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let want = x.powi(n);
                let close = (y - want).abs() <= 1e-13 * want.abs();
                assert!(close || y == want, "{x}^{n} = {y}, not {want}");
            }
        }
        (k.powi)(&[2.0; 3], i32::MIN, &mut y[..3]);
        assert_eq!(y[..3], [0.0; 3]);
    }
}

/// The documented order of additions, one element at a time.
fn ordered_sum<T: Scalar>(terms: impl Iterator<Item = T>, add: impl Fn(usize, T, T) -> T) -> T {
    let mut lanes = [T::ZERO; 32];
    for (i, x) in terms.enumerate() {
        lanes[i % 32] = add(i, lanes[i % 32], x);
    }
    for width in [16, 8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

fn reductions<T: Scalar>() {
    for n in [0, 1, 5, 31, 32, 33, 64, 100, 1000, 4099] {
        let (x, y) = (finite::<T>(n, 8), finite::<T>(n, 9));
        let sum = ordered_sum(x.iter().copied(), |_, a, x| a + x);
        let plain = ordered_sum(x.iter().copied(), |i, a, x| a + x * y[i]);
        let exact: f64 = x.iter().zip(&y).map(|(x, y)| x.to_f64() * y.to_f64()).sum();
        let size: f64 = x.iter().zip(&y).map(|(x, y)| (x.to_f64() * y.to_f64()).abs()).sum();
        let mut fused = None;
        for (level, k) in levels::<T>() {
            assert!(same_bits((k.sum)(&x), sum), "{level:?} sum of {n}");
            let dot = (k.dot)(&x, &y);
            assert!((dot.to_f64() - exact).abs() <= size * T::EPS.to_f64() * 20.0, "{level:?} dot of {n}");
            if cfg!(target_arch = "x86_64") && level == Level::Baseline {
                assert!(same_bits(dot, plain), "{level:?} dot of {n}");
            }
            if level > Level::Baseline {
                assert!(same_bits(*fused.get_or_insert(dot), dot), "{level:?} dot of {n}");
            }
            let largest = x.iter().fold(-T::INFINITY, |a, &b| if b > a { b } else { a });
            assert!(same_bits((k.max)(&x), largest), "{level:?} max of {n}");
            for bad in 0..n.min(40) {
                let mut x = x.clone();
                x[bad] = T::NAN;
                assert!((k.max)(&x).is_nan(), "{level:?} max with NaN at {bad}");
            }
        }
    }
}

#[test]
fn reductions_follow_the_documented_order() {
    reductions::<f32>();
    reductions::<f64>();
}

#[test]
fn fused_levels_agree_to_the_bit_and_the_baseline_nearly() {
    let x = finite::<f64>(1000, 10);
    for op in Unary::ALL {
        let results: Vec<_> = levels::<f64>().map(|(level, k)| (level, apply(k, op, &x))).collect();
        let fused: Vec<_> = results.iter().filter(|(level, _)| *level > Level::Baseline).collect();
        for pair in fused.windows(2) {
            assert_same(&pair[0].1, &pair[1].1, &format!("{op:?}"));
        }
        for (level, y) in &results {
            for (&a, &b) in y.iter().zip(&results[0].1) {
                let close = (a - b).abs() <= 8.0 * f64::EPSILON * b.abs();
                assert!(close || same_bits(a, b), "{level:?} {op:?}: {a:e} and {b:e}");
            }
        }
    }
}

#[test]
fn public_functions_reach_the_kernels() {
    let (a, b) = (finite::<f32>(50, 11), finite::<f32>(50, 12));
    let mut y = vec![0.0; 50];
    let mut z = vec![0.0; 50];
    simd::unary(Unary::Tanh, &a, &mut y);
    z.copy_from_slice(&a);
    simd::unary_inplace(Unary::Tanh, &mut z);
    assert_same(&y, &z, "unary");
    simd::unary_kernel::<f32>(Unary::Tanh)(&a, &mut z);
    assert_same(&y, &z, "unary_kernel");
    simd::binary(Binary::Sub, &a, &b, &mut y);
    z.copy_from_slice(&a);
    simd::binary_left(Binary::Sub, &mut z, &b);
    assert_same(&y, &z, "left");
    z.copy_from_slice(&b);
    simd::binary_right(Binary::Sub, &a, &mut z);
    assert_same(&y, &z, "right");
    simd::powf(&a, 2.0, &mut y);
    simd::binary_scalar(Binary::Pow, &a, 2.0, &mut z);
    assert_same(&y, &z, "powf");
    simd::scalar_binary(Binary::Div, 2.0, &a, &mut y);
    z.copy_from_slice(&a);
    simd::binary_scalar_right(Binary::Div, 2.0, &mut z);
    assert_same(&y, &z, "scalar");
    assert_eq!(simd::sum(&[1.0_f32; 100]), 100.0);
    assert_eq!(simd::dot(&[2.0_f32; 100], &[3.0; 100]), 600.0);
    assert_eq!(simd::max(&[2.0_f32, 5.0, -7.0]), 5.0);
    assert_eq!(simd::max::<f64>(&[]), f64::NEG_INFINITY);
}
