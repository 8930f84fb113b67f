//! Certificates, quadrature, densities, triangles.

use crate::bits::same_bits;
use crate::util::*;
use linop_core::krylov::{EigshOptions, Reorth, lanczos};
use linop_core::ops::Dense;
use linop_core::testing::{check_operator, fixed_mat, max_diff};
use linop_core::{LinearOperator, Op, Props, to_dense};
use numerics::rng::Law;
use numerics::{Mat, Par, dense};
use sketch::*;

#[test]
fn tail_bounds_have_their_reference_values() {
    let close = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 1e-10 && (a.1 - b.1).abs() < 1e-10;
    assert!(close(tail_bounds(10, 1.0, Field::Complex), (0.0, 0.046_489_528_076_784_51)));
    let many = tail_bounds(1000, 0.1, Field::Complex);
    assert!(close(many, (0.004_698_482_673_443_763, 0.009_188_338_110_655_603)));
    let real = tail_bounds(1000, 0.1, Field::Real);
    assert!(close(real, (0.068_545_478_869_461_27, 0.095_855_819_388_577_57)));
    assert!([1, 7, 100].iter().all(|&q| tail_bounds(q, 0.0, Field::Real) == (1.0, 1.0)));
    assert_eq!(relative(0.5), (0.75, 1.25));
}

#[test]
fn certificates_are_accurate_and_covered_by_their_tails() {
    let n = 800;
    let a = fixed_mat::<f64>(n, n, 40);
    let noise = fixed_mat::<f64>(n, n, 41);
    let b = Mat::from_fn(n, n, |i, j| a[(i, j)] + 0.1 * noise[(i, j)]);
    let (a_op, b_op) = (Dense::new(a.clone()), Dense::new(b.clone()));
    let c = certify(&a_op, &b_op, 300, &Settings::default()).unwrap();
    let truth = fro(&sub(&a, &b)).powi(2);
    assert!((c.error_sq / truth - 1.0).abs() < 0.02 && (c.norm_sq / fro(&a).powi(2) - 1.0).abs() < 0.02);
    assert!((c.residual_energy() / (truth / fro(&a).powi(2)) - 1.0).abs() < 0.02);
    assert_eq!((c.per_probe.len(), c.products), (300, 300));
    assert_eq!(certify(&a_op, &a_op, 3, &Settings::default()).unwrap().residual_energy(), 0.0);
    // worst case: an error of rank one
    let u = fixed_mat::<f64>(40, 1, 42);
    let one = Dense::new(mul(&u, &t(&u)));
    let zero = Dense::new(Mat::<f64>::zeros(40, 40));
    let truth = fro(&mul(&u, &t(&u))).powi(2);
    let (mut low, mut high) = (0, 0);
    for seed in 0..2000 {
        let c = certify(&one, &zero, 5, &Settings::seeded(seed)).unwrap();
        low += usize::from(c.error_sq <= 0.5 * truth);
        high += usize::from(c.error_sq >= 1.5 * truth);
    }
    let (low, high) = (low as f64 / 2000.0, high as f64 / 2000.0);
    let bound = tail_bounds(5, 0.5, Field::Real);
    assert!((low - 0.217).abs() < 0.03 && (high - 0.189).abs() < 0.03, "{low} {high}");
    assert!(low < bound.0 && high < bound.1);
}

#[test]
fn scree_bounds_hold() {
    let n = 100;
    let values: Vec<f64> = (0..n).map(|j| 0.9f64.powi(j)).collect();
    let a = with_spectrum(&values, 43);
    let options = SvdOptions { recovery: Recovery::Hmt { power: 0 }, sizes: Sizes::from_right(30), rank: None };
    let op = symmetric(&a);
    let f = svd(&op, &options, &Settings::default()).unwrap();
    let q = 300;
    let c = certify(&op, &f.operator::<f64>().unwrap(), q, &Settings::default()).unwrap();
    let total: f64 = values.iter().map(|x| x * x).sum();
    for (norm, slack) in
        [(fro(&a), (0.02, 0.05)), (c.norm_sq.sqrt(), (0.5 * (2.0 / q as f64).sqrt(), 0.5 * (2.0 / q as f64).sqrt()))]
    {
        let bounds = scree(&f.s, norm, c.error_sq.sqrt());
        for r in 0..bounds.lower.len() {
            let truth = values[r..].iter().map(|x| x * x).sum::<f64>() / total;
            assert!(bounds.lower[r] <= truth + slack.0 && truth <= bounds.upper[r] + slack.1, "{r}");
        }
        assert!(bounds.lower.windows(2).all(|w| w[0] >= w[1]) && bounds.upper.windows(2).all(|w| w[0] >= w[1]));
    }
    let own = f.s.iter().map(|s| s * s).sum::<f64>().sqrt();
    assert!((scree(&f.s, own, 0.0).lower[0] - 1.0).abs() < 1e-12);
}

#[test]
fn gauss_rules_are_exact_for_polynomials() {
    let values: Vec<f64> = (0..60).map(|i| (f64::from(i) * 0.37).sin()).collect();
    let a = with_spectrum(&values, 44);
    let v = fixed_mat::<f64>(60, 1, 45);
    let rule = lanczos(&symmetric(&a), v.col_as_slice(0), 4, Reorth::Full, Par::Seq).unwrap();
    let mut power = v.clone();
    for degree in 0..=8 {
        let truth = dense::dot(v.col_as_slice(0), power.col_as_slice(0));
        let sum: f64 = rule.quadrature().unwrap().iter().map(|(x, w)| w * x.powi(degree)).sum();
        let error = (rule.norm * rule.norm * sum - truth).abs() / (1.0 + truth.abs());
        assert!(if degree < 8 { error < 1e-10 } else { error > 1e-9 }, "{degree}: {error}");
        power = mul(&a, &power);
    }
}

#[test]
fn traces_of_functions() {
    let n = 400;
    let values: Vec<f64> = (1..=n).map(|j| 1.0 / f64::from(j * j) + 0.01).collect();
    let a = with_spectrum(&values, 46);
    let truth: f64 = values.iter().map(|x| x.ln()).sum();
    assert!((truth + 1815.04).abs() < 0.01);
    let options = QuadratureOptions { steps: 20, runs: 30, reorth: Reorth::Full };
    let got = trace_function(&psd(&a), f64::ln, &options, &Settings::default()).unwrap();
    assert!((got.value - truth).abs() < 4.0 * got.sem.unwrap() && got.sem.unwrap() < 4.0, "{got:?}");
    assert_eq!(got.products, 600);
    // without reorthogonalisation the weights still serve
    let none = QuadratureOptions { reorth: Reorth::None, ..options };
    let other = trace_function(&psd(&a), f64::ln, &none, &Settings::default()).unwrap();
    assert!((other.value - got.value).abs() < 1e-2, "{} {}", other.value, got.value);
    let inverse = trace_function(&psd(&a), f64::recip, &options, &Settings::default()).unwrap();
    let truth: f64 = values.iter().map(|x| x.recip()).sum();
    assert!((inverse.value / truth - 1.0).abs() < 5e-3);
    same_bits(|s| vec![trace_function(&psd(&a), f64::ln, &QuadratureOptions { runs: 3, ..options }, s).unwrap().value]);
}

#[test]
fn deflation_is_unbiased_and_sharper() {
    let values: Vec<f64> = (1..=200).map(|j| 0.01 + 1.0 / f64::from(j * j)).collect();
    let a = with_spectrum(&values, 63);
    let truth: f64 = values.iter().map(|x| x.ln()).sum();
    let options = QuadratureOptions { steps: 25, runs: 60, reorth: Reorth::Full };
    let plain = trace_function(&psd(&a), f64::ln, &options, &Settings::default()).unwrap();
    let sharp = trace_function_deflated(&psd(&a), f64::ln, 20, &options, &Settings::default()).unwrap();
    assert!((sharp.value - truth).abs() < 4.0 * sharp.sem.unwrap(), "{sharp:?} against {truth}");
    assert!(sharp.sem.unwrap() < 0.5 * plain.sem.unwrap(), "{:?} against {:?}", sharp.sem, plain.sem);
    assert_eq!(sharp.products, plain.products + 40);
}

#[test]
fn log_determinants_take_structure_first() {
    let values: Vec<f64> = (1..=50).map(|j| 1.0 + f64::from(j) * 0.02).collect();
    let hidden = opaque(&with_spectrum(&values, 47), Props::PD, false);
    let d: Vec<f64> = (1..=4).map(f64::from).collect();
    let options = QuadratureOptions { steps: 15, runs: 40, reorth: Reorth::Full };
    let whole = Op::diag(d.clone()).kron(&hidden).unwrap().scaled(3.0);
    let got = logdet(&whole, &options, &Settings::default()).unwrap();
    let of = |v: &[f64]| v.iter().map(|x| x.ln()).sum::<f64>();
    let truth = 50.0 * of(&d) + 4.0 * of(&values) + 200.0 * 3f64.ln();
    assert!((got.value - truth).abs() < 5.0 * got.sem.unwrap() + 1e-9, "{got:?} against {truth}");
    assert_eq!(got.products, 600);
    let exact = logdet(&Op::diag(d), &options, &Settings::default()).unwrap();
    assert_eq!((exact.status, exact.products), (Status::Exact, 0));
    let indefinite = opaque(&with_spectrum(&[1.0, -1.0, 2.0, 3.0], 48), Props::SELF_ADJOINT, false);
    assert!(matches!(logdet(&indefinite, &options, &Settings::default()), Err(Error::NotPositiveDefinite { .. })));
    assert!(matches!(QuadratureOptions::for_products(30), Err(Error::SketchTooSmall { needed: 40, .. })));
}

#[test]
fn schatten_norms() {
    let a = fixed_mat::<f64>(60, 40, 49);
    let s = dense::svd(a.as_ref()).unwrap().s;
    let options = QuadratureOptions { steps: 20, runs: 100, reorth: Reorth::Full };
    for p in [1.0, 2.0, 4.0] {
        let got = schatten_norm(&Dense::new(a.clone()), p, &options, &Settings::default()).unwrap();
        let truth = s.iter().map(|x| x.powf(p)).sum::<f64>().powf(1.0 / p);
        assert!((got.value - truth).abs() < 4.0 * got.sem.unwrap() + 1e-3 * truth, "{p}: {got:?} against {truth}");
    }
    let indefinite = with_spectrum(&[3.0, -4.0, 0.0, 0.0, 0.0, 0.0], 50);
    let got = schatten_norm(&symmetric(&indefinite), 1.0, &options, &Settings::default()).unwrap();
    assert!((got.value - 7.0).abs() < 4.0 * got.sem.unwrap());
}

#[test]
fn breakdown_is_no_failure() {
    let options = DensityOptions { steps: 10, runs: 2, ..DensityOptions::default() };
    for c in [0.0, 1.0, -7.5] {
        let a = Dense::with_props(Mat::from_fn(80, 80, |i, j| if i == j { c } else { 0.0 }), Props::SELF_ADJOINT);
        let d = spectral_density(&a, &options, &Settings::default()).unwrap();
        assert!((d.integral(|_| 1.0) - 1.0).abs() < 1e-10 && d.density.iter().all(|x| x.is_finite()));
        let peak = d.grid[d.density.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0];
        assert!((peak - c).abs() < 1e-4 * (1.0 + c.abs()));
        let l = log_spectral_density(&a, &options, &Settings::default()).unwrap();
        assert!(l.density_nu.iter().all(|x| x.is_finite()));
        let k = chebyshev_density(&a, 20, 2, &Settings::default()).unwrap();
        assert!(k.moments.iter().all(|x| x.is_finite()));
    }
    let two = with_spectrum(&(0..60).map(|i| if i % 3 == 0 { 2.0 } else { -1.0 }).collect::<Vec<_>>(), 51);
    let rule = lanczos(&symmetric(&two), fixed_mat::<f64>(60, 1, 52).col_as_slice(0), 10, Reorth::Full, Par::Seq);
    let nodes = rule.unwrap().quadrature().unwrap();
    let weight: f64 = nodes.iter().filter(|(x, _)| (x - 2.0).abs() < 1e-9 || (x + 1.0).abs() < 1e-9).map(|n| n.1).sum();
    assert!((weight - 1.0).abs() < 1e-10);
}

#[test]
fn no_ghosts_with_reorthogonalisation() {
    let mut values: Vec<f64> = (0..99).map(|i| f64::from(i) / 99.0).collect();
    values.push(1000.0);
    let a = with_spectrum(&values, 53);
    let run = lanczos(&symmetric(&a), fixed_mat::<f64>(100, 1, 54).col_as_slice(0), 60, Reorth::Full, Par::Seq);
    let ritz = run.unwrap().ritz().unwrap().values;
    assert!(ritz.windows(2).all(|w| w[1] - w[0] > 1e-6));
}

#[test]
fn densities_have_mass_one_and_the_right_mean() {
    let n = 200;
    // most of the spectrum at its lower end, where bumps are cut off
    let values: Vec<f64> = (0..n).map(|i| if i < 180 { 0.0 } else { f64::from(i - 179) }).collect();
    let a = with_spectrum(&values, 55);
    for steps in [10, 40, 90] {
        for kappa in [None, Some(1.04)] {
            let options = DensityOptions { steps, runs: 20, kappa, ..DensityOptions::default() };
            let d = spectral_density(&symmetric(&a), &options, &Settings::default()).unwrap();
            assert!((d.integral(|_| 1.0) - 1.0).abs() < 1e-2);
            if steps == 90 && kappa.is_none() {
                let mean = values.iter().sum::<f64>() / f64::from(n);
                assert!((d.integral(|x| x) - mean).abs() < 0.15, "{} {mean}", d.integral(|x| x));
            }
        }
    }
    let options = DensityOptions { steps: 10, runs: 20, kappa: Some(1.04), parity: true, ..DensityOptions::default() };
    let cut = spectral_density(&symmetric(&a), &options, &Settings::default()).unwrap();
    assert!(cut.integral(|_| 1.0) < 0.8);
    let l = log_spectral_density(&symmetric(&a), &DensityOptions::default(), &Settings::default()).unwrap();
    let log_nu: Vec<f64> = l.nu.iter().map(|x| x.ln()).collect();
    let mass: f64 = (1..log_nu.len())
        .map(|i| 0.5 * (log_nu[i] - log_nu[i - 1]) * (l.density_log_nu[i] + l.density_log_nu[i - 1]))
        .sum();
    assert!((mass - 1.0).abs() < 1e-10);
    same_bits(|s| spectral_density(&symmetric(&a), &DensityOptions { runs: 2, ..options }, s).unwrap().density);
}

#[test]
fn chebyshev_moments_are_traces() {
    let values: Vec<f64> = (0..50).map(|i| f64::from(i) * 0.1 - 2.0).collect();
    let a = with_spectrum(&values, 56);
    let kpm = chebyshev_density(&symmetric(&a), 30, 400, &Settings::default().with_law(Law::Sphere)).unwrap();
    for (k, &moment) in kpm.moments.iter().enumerate() {
        let truth: f64 = values
            .iter()
            .map(|x| (k as f64 * ((x - kpm.center) / kpm.half_width).clamp(-1.0, 1.0).acos()).cos())
            .sum::<f64>()
            / 50.0;
        assert!((moment - truth).abs() < 0.03, "{k}: {moment} against {truth}");
    }
    assert!((kpm.mean(200, |_| 1.0) - 1.0).abs() < 1e-10);
    let mean = values.iter().sum::<f64>() / 50.0;
    assert!((kpm.mean(200, |x| x) - mean).abs() < 0.1);
    same_bits(|s| chebyshev_density(&symmetric(&a), 20, 9, s).unwrap().moments);
}

#[test]
fn eigenpairs_inside_the_spectrum() {
    let values: Vec<f64> = (0..80).map(|i| f64::from(i) * 0.25 - 5.0).collect();
    let a = with_spectrum(&values, 57);
    let pairs =
        eigenpairs_near(&Op::new(symmetric(&a)), 1.1, 4, &EigshOptions::default(), &Settings::default()).unwrap();
    assert!(distance(&pairs.values, &[1.0, 1.25, 0.75, 1.5]) < 1e-9, "{:?}", pairs.values);
    for j in 0..4 {
        let x = Mat::from_fn(80, 1, |i, _| pairs.vectors[(i, j)]);
        let rest = sub(&mul(&a, &x), &Mat::from_fn(80, 1, |i, _| pairs.values[j] * x[(i, 0)]));
        assert!(fro(&rest) < 1e-9);
    }
}

fn strict(a: &Mat<f64>, side: Side) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| {
        let kept = if side == Side::Lower { i > j } else { i < j };
        if kept { a[(i, j)] } else { 0.0 }
    })
}

#[test]
fn triangles_are_exact_with_steps_of_one_and_consistent() {
    let n = 23;
    let a = fixed_mat::<f64>(n, n, 58);
    for side in [Side::Lower, Side::Upper] {
        let op = Masked::triangle(Op::dense(a.clone()), side, Some(1), 0, 0).unwrap();
        check_operator(&op, strict(&a, side).as_ref(), 1e-12);
        for (step, probes) in [(4, 0), (5, 3), (23, 2)] {
            // the products say what the matrix is; its transposed products must agree
            let op = Masked::triangle(Op::dense(a.clone()), side, Some(step), probes, 9).unwrap();
            let m: Mat<f64> = to_dense(&op, Par::Seq).unwrap();
            check_operator(&op, m.as_ref(), 1e-12);
        }
        let many = Masked::triangle(Op::dense(a.clone()), side, Some(3), 20_000, 9).unwrap();
        let m: Mat<f64> = to_dense(&many, Par::Seq).unwrap();
        assert!(max_diff(m.as_ref(), strict(&a, side).as_ref()) < 0.05);
        let counted = Op::dense(a.clone()).counted();
        let half = Masked::triangle(counted.0, side, None, 0, 0).unwrap();
        let x = fixed_mat::<f64>(n, 1, 59);
        let mut out = Mat::zeros(n, 1);
        let mut buffer = numerics::MemBuffer::new(half.apply_req(1, Par::Seq));
        half.apply(out.as_mut(), 1.0, x.as_ref(), 0.0, Par::Seq, numerics::MemStack::new(&mut buffer)).unwrap();
        assert_eq!(counted.1.columns(), 1);
    }
}

#[test]
fn short_steps_are_near_the_triangle() {
    let n = 100;
    let a = fixed_mat::<f64>(n, n, 60);
    let x = fixed_mat::<f64>(n, 1, 61);
    let truth = mul(&strict(&a, Side::Lower), &x);
    for (probes, bound) in [(0, 0.05), (200, 0.02)] {
        let op = Masked::triangle(Op::dense(a.clone()), Side::Lower, Some(2), probes, 1).unwrap();
        let m: Mat<f64> = to_dense(&op, Par::Seq).unwrap();
        let error = fro(&sub(&mul(&m, &x), &truth)).powi(2) / fro(&truth).powi(2);
        assert!(error < bound, "{probes}: {error}");
    }
}

#[test]
fn bands_are_unbiased() {
    let n = 12;
    let a = fixed_mat::<f64>(n, n, 62);
    let op = Masked::band(Op::dense(a.clone()), 2, 1, 20_000, 3).unwrap();
    let m: Mat<f64> = to_dense(&op, Par::Seq).unwrap();
    let band = Mat::from_fn(n, n, |i, j| if i <= j + 2 && j <= i + 1 { a[(i, j)] } else { 0.0 });
    assert!(max_diff(m.as_ref(), band.as_ref()) < 0.06);
    assert!(Masked::band(Op::dense(a.clone()), 2, 1, 0, 0).is_err());
    assert!(Masked::triangle(Op::dense(fixed_mat::<f64>(3, 4, 1)), Side::Lower, None, 0, 0).is_err());
    assert!(Masked::triangle(Op::dense(a), Side::Lower, Some(0), 0, 0).is_err());
}
