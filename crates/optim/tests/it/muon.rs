//! Muon's iteration in bfloat16 and in single precision beside the exact one.
use crate::common::{noise, single};
use numerics::dense::panels;
use numerics::{Mat, Scalar, dense};
use optim::{Grads, Method, MuonConfig, Optimizer, Precision, Preconditioned};

/// The direction of the first step, divided by its stretch.
fn direction<T: Scalar>(precision: Precision, iterations: u32, shape: [usize; 2], g: &[f64]) -> Mat<f64> {
    let config = MuonConfig { lr: 1.0, precision, iterations, ..MuonConfig::default() };
    let mut method = Preconditioned::<T>::new(config).unwrap();
    method.init(&single(&shape)).unwrap();
    let mut w = vec![T::ZERO; g.len()];
    let g: Vec<T> = g.iter().map(|&g| T::from_f64(g)).collect();
    method.step(&mut w, Grads::all(&g), 1.0).unwrap();
    let stretch = (shape[0] as f64 / shape[1] as f64).max(1.0).sqrt();
    Mat::from_fn(shape[0], shape[1], |i, j| -w[i * shape[1] + j].to_f64() / stretch)
}

/// The numbers rounded to bfloat16.
fn rounded(x: &Mat<f64>) -> Mat<f64> {
    let round = |x: f64| f64::from(panels::from_bits(panels::to_bits(x as f32)));
    Mat::from_fn(x.nrows(), x.ncols(), |i, j| round(x[(i, j)]))
}

/// The iteration with sums in double precision and its three results rounded, each step as the formula has it.
fn transcribed(iterations: u32, shape: [usize; 2], g: &[f64]) -> Mat<f64> {
    let u = Mat::from_fn(shape[0], shape[1], |i, j| (0.05 + 0.95 * 0.05) * g[i * shape[1] + j]);
    let u = if shape[0] > shape[1] { u.transpose().to_owned() } else { u };
    let norm = dense::norm_l2(u.as_ref()) + 1e-7;
    let mut x = rounded(&Mat::from_fn(u.nrows(), u.ncols(), |i, j| u[(i, j)] / norm));
    for _ in 0..iterations {
        let a = rounded(&(&x * x.transpose()));
        let square = &a * &a;
        let p = rounded(&Mat::from_fn(a.nrows(), a.nrows(), |i, j| -4.775 * a[(i, j)] + 2.0315 * square[(i, j)]));
        let px = &p * &x;
        x = rounded(&Mat::from_fn(x.nrows(), x.ncols(), |i, j| 3.4445 * x[(i, j)] + px[(i, j)]));
    }
    if shape[0] > shape[1] { x.transpose().to_owned() } else { x }
}

const SHAPES: [[usize; 2]; 6] = [[40, 90], [90, 40], [17, 100], [130, 300], [64, 64], [2, 30]];

/// An entry whose sum lies near the middle between two numbers may go to the other one by the order of sums: of 1 in 2^8
/// entries at most, by at most 2^-7, so 2^-11 of the size for each of three roundings. From the second step on such a difference moves
/// every sum of its row, and the two soon round apart as from the exact iteration.
#[test]
fn bfloat16_iteration_is_the_formula_with_its_results_rounded() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let g = noise(shape[0] * shape[1], seed as u64, 0);
        for (iterations, bound) in [(0, 1e-4), (1, 1e-3), (2, 2e-3), (5, 0.03)] {
            let expected = transcribed(iterations, shape, &g);
            let size = dense::norm_l2(expected.as_ref());
            for d in [
                direction::<f32>(Precision::Bfloat16, iterations, shape, &g),
                direction::<f64>(Precision::Bfloat16, iterations, shape, &g),
            ] {
                let off = dense::norm_l2((&d - &expected).as_ref()) / size;
                assert!(off < bound, "{shape:?} after {iterations}: {off:e}");
            }
        }
    }
}

/// A rounding is off by 0.3 % of an entry, root mean square 0.17 %. That of `P = b A + c A^2` counts three times: its singular values
/// are near 2.8 where those of `X` are near 0.9. Three such errors, each multiplied at most by the slope 1.7 that
/// the quintic has on its band in a step that follows, make 0.5 to 2 %.
#[test]
fn bfloat16_directions_are_near_those_of_the_exact_iteration() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let g = noise(shape[0] * shape[1], seed as u64, 0);
        let exact = direction::<f64>(Precision::Own, 5, shape, &g);
        let size = dense::norm_l2(exact.as_ref());
        let d = direction::<f32>(Precision::Bfloat16, 5, shape, &g);
        let off = dense::norm_l2((&d - &exact).as_ref()) / size;
        assert!(off < 0.03, "{shape:?}: {off:e}");
        // Singular values of a square matrix begin too small for five steps.
        if shape[0] != shape[1] {
            let s = dense::svd(d.as_ref()).unwrap().s;
            assert!(s.iter().all(|s| (0.65..1.2).contains(s)), "{shape:?}: {s:?}");
        }
    }
}

/// Three products a step, with sums of at most 300 terms; an error of a step is multiplied by the slope of the quintic, at most 3.4445, in each
/// that follows.
#[test]
fn single_precision_follows_double_precision() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let g = noise(shape[0] * shape[1], seed as u64, 0);
        for iterations in [0, 1, 2, 5] {
            let exact = direction::<f64>(Precision::Own, iterations, shape, &g);
            let off = &direction::<f32>(Precision::Own, iterations, shape, &g) - &exact;
            let off = dense::norm_l2(off.as_ref()) / dense::norm_l2(exact.as_ref());
            let bound = 20.0 * f64::from(f32::EPSILON) * 3.4445_f64.powi(iterations as i32);
            assert!(off < bound, "{shape:?} after {iterations}: {off:e} of {bound:e}");
        }
    }
}

#[test]
fn no_direction_and_directions_of_all_sizes() {
    let g = noise(12, 3, 0);
    let plain = direction::<f32>(Precision::Bfloat16, 5, [3, 4], &g);
    let zero = direction::<f32>(Precision::Bfloat16, 5, [3, 4], &[0.0; 12]);
    assert_eq!(zero, Mat::<f64>::zeros(3, 4));
    for power in [-10, 20, 60] {
        let scaled: Vec<f64> = g.iter().map(|x| x * 2f64.powi(power)).collect();
        let d = direction::<f32>(Precision::Bfloat16, 5, [3, 4], &scaled);
        let off = dense::norm_l2((&d - &plain).as_ref());
        assert!(off < 0.05, "2^{power}: {off:e}");
    }
}

#[test]
fn the_published_preset_iterates_in_bfloat16() {
    let precision = |text: &str| match serde_json::from_str::<Method>(text).unwrap() {
        Method::Muon(c) => c.precision,
        other => panic!("{other:?}"),
    };
    assert_eq!(precision(r#"{"method": "muon"}"#), Precision::Own);
    assert_eq!(precision(r#"{"method": "muon", "preset": "reference"}"#), Precision::Bfloat16);
    assert_eq!(precision(r#"{"method": "muon", "precision": "bfloat16"}"#), Precision::Bfloat16);
    let error =
        serde_json::from_str::<Method>(r#"{"method": "muon", "precision": "float16"}"#).unwrap_err().to_string();
    assert!(error.contains("float16") && error.contains("bfloat16"), "{error}");
}
