//! Traces: exactness, unbiasedness, the variance table, tolerances, structure.

use crate::util::*;
use linop_core::testing::fixed_mat;
use linop_core::{Op, Props, ops::Dense};
use numerics::Mat;
use numerics::rng::Law;
use sketch::{Budget, Error, Settings, Status, TraceMethod, estimate_trace, trace};

const XTRACE: TraceMethod = TraceMethod::XTrace { resphere: false };

#[test]
fn exact_with_enough_products() {
    let a = fixed_mat::<f64>(21, 21, 1);
    let op = Dense::new(a.clone());
    for (method, m) in [(XTRACE, 22), (TraceMethod::Hutchinson, 21), (TraceMethod::HutchPp, 30)] {
        let e = estimate_trace(&op, method, Budget::Products(m), &Settings::default()).unwrap();
        assert!((e.value - trace_of(&a)).abs() < 1e-12);
        assert_eq!((e.status, e.products, e.sem), (Status::Exact, 21, Some(0.0)));
    }
    let s = with_spectrum(&[1.0, 2.0, 3.0, 4.0], 2);
    let method = TraceMethod::XNysTrace { resphere: false };
    let e = estimate_trace(&psd(&s), method, Budget::Products(4), &Settings::default()).unwrap();
    assert!((e.value - 10.0).abs() < 1e-13 && e.status == Status::Exact);
}

#[test]
fn one_probe_is_exact_where_its_law_says_so() {
    let d: Vec<f64> = (0..40).map(|i| (i as f64).sin()).collect();
    let diagonal = Dense::new(Mat::from_fn(40, 40, |i, j| if i == j { d[i] } else { 0.0 }));
    let e = estimate_trace(&diagonal, TraceMethod::Hutchinson, Budget::Products(1), &Settings::default()).unwrap();
    assert!((e.value - d.iter().sum::<f64>()).abs() < 1e-13);
    assert_eq!(e.sem, None);
    let scaled = Dense::new(Mat::from_fn(40, 40, |i, j| if i == j { 0.7 } else { 0.0 }));
    let sphere = Settings::default().with_law(Law::Sphere);
    let e = estimate_trace(&scaled, TraceMethod::Hutchinson, Budget::Products(1), &sphere).unwrap();
    assert!((e.value - 28.0).abs() < 1e-12);
}

/// Mean of many draws within five standard errors of the truth.
fn unbiased(method: TraceMethod, law: Law, a: &Mat<f64>, m: usize, draws: u64) {
    let op = Dense::with_props(a.clone(), Props::NONE);
    let samples: Vec<f64> = (0..draws)
        .map(|seed| {
            let settings = Settings::seeded(seed).with_law(law);
            estimate_trace(&op, method, Budget::Products(m), &settings).unwrap().value
        })
        .collect();
    let mean = samples.iter().sum::<f64>() / draws as f64;
    let var = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (draws - 1) as f64;
    let sem = (var / draws as f64).sqrt();
    assert!((mean - trace_of(a)).abs() < 5.0 * sem, "{method:?} {law}: {mean} +- {sem} against {}", trace_of(a));
}

#[test]
fn hutchinson_is_unbiased_under_every_law() {
    let a = fixed_mat::<f64>(12, 12, 3);
    for law in [Law::Rademacher, Law::Gaussian, Law::Sphere, Law::Coordinates] {
        unbiased(TraceMethod::Hutchinson, law, &a, 2, 20_000);
    }
}

#[test]
fn deflated_estimators_are_unbiased() {
    let a = fixed_mat::<f64>(12, 12, 4);
    unbiased(TraceMethod::HutchPp, Law::Rademacher, &a, 6, 20_000);
    unbiased(TraceMethod::NaHutchPp, Law::Rademacher, &a, 9, 20_000);
    unbiased(TraceMethod::NystromPp, Law::Rademacher, &with_spectrum(&[1.0, 0.9, 0.5, 0.4, 0.2, 0.1], 5), 4, 20_000);
}

#[test]
fn leave_one_out_is_unbiased() {
    let a = fixed_mat::<f64>(12, 12, 6);
    unbiased(XTRACE, Law::Rademacher, &a, 6, 20_000);
    unbiased(TraceMethod::XTrace { resphere: true }, Law::Sphere, &a, 6, 20_000);
    let s = with_spectrum(&[1.0, 0.9, 0.5, 0.4, 0.2, 0.1], 7);
    unbiased(TraceMethod::XNysTrace { resphere: true }, Law::Sphere, &s, 3, 20_000);
}

/// The mean of estimates reaches its tolerance before 1e5 products.
#[test]
fn means_converge() {
    for n in [15, 30] {
        let mut s = numerics::rng::Stream::new(n, numerics::rng::Role::SyntheticMatrix, 0, 0);
        let a = Mat::from_fn(n as usize, n as usize, |_, _| s.uniform());
        let (op, truth) = (Dense::new(a.clone()), trace_of(&a));
        for (method, m, tol) in [
            (TraceMethod::Hutchinson, 5, 1e-3),
            (TraceMethod::HutchPp, 9, 1e-3),
            (TraceMethod::NaHutchPp, 12, 1e-3),
            (XTRACE, 6, 5e-4),
        ] {
            let (mut sum, mut spent, mut error) = (0.0, 0, f64::INFINITY);
            for seed in 0.. {
                let e = estimate_trace(&op, method, Budget::Products(m), &Settings::seeded(seed)).unwrap();
                spent += e.total_products();
                sum += e.value;
                error = (sum / (seed + 1) as f64 - truth).abs() / truth.abs();
                if error < tol || spent > 100_000 {
                    break;
                }
            }
            assert!(error < tol && spent <= 100_000, "{method:?}, {n}: {error} after {spent}");
        }
    }
}

#[test]
fn variances_are_those_of_the_table() {
    let n = 12usize;
    let a = fixed_mat::<f64>(n, n, 8);
    let s = Mat::from_fn(n, n, |i, j| 0.5 * (a[(i, j)] + a[(j, i)]));
    let (full, diag) = (fro(&s).powi(2), diag_of(&s).iter().map(|x| x * x).sum::<f64>());
    let t = trace_of(&s);
    let nf = n as f64;
    let op = Dense::new(a.clone());
    for (law, expected) in [
        (Law::Rademacher, 2.0 * (full - diag)),
        (Law::Gaussian, 2.0 * full),
        (Law::Sphere, 2.0 * nf / (nf + 2.0) * (full - t * t / nf)),
    ] {
        let samples: Vec<f64> = (0..200_000)
            .map(|seed| {
                let settings = Settings::seeded(seed).with_law(law);
                estimate_trace(&op, TraceMethod::Hutchinson, Budget::Products(1), &settings).unwrap().value
            })
            .collect();
        let mean = samples.iter().sum::<f64>() / 2e5;
        let var = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2e5;
        assert!((var / expected - 1.0).abs() < 0.03, "{law}: {var} against {expected}");
    }
}

#[test]
fn tolerances_are_met_with_the_margin() {
    let values: Vec<f64> = (1..=300).map(|j| 1.0 / f64::from(j * j)).collect();
    let truth: f64 = values.iter().sum();
    let a = with_spectrum(&values, 9);
    let budget = Budget::Tolerance { abs: 0.0, rel: 1e-2, max_products: 300 };
    let methods = [XTRACE, TraceMethod::XNysTrace { resphere: false }, TraceMethod::HutchPp, TraceMethod::NystromPp];
    for method in methods {
        let e = estimate_trace(&psd(&a), method, budget, &Settings::default()).unwrap();
        assert!(e.converged(), "{method:?}: {e:?}");
        assert!((e.value - truth).abs() < 1e-2 * truth, "{method:?}: {} against {truth}", e.value);
    }
    let hard = Budget::Tolerance { abs: 1e-9, rel: 0.0, max_products: 100 };
    let e = estimate_trace(&psd(&a), TraceMethod::Hutchinson, hard, &Settings::default()).unwrap();
    assert_eq!(e.status, Status::NotConverged);
    assert!(e.products <= 100 && e.products > 50);
}

#[test]
fn adaptive_hutchpp_keeps_its_promise() {
    let values: Vec<f64> = (1..=200).map(|j| 1.0 / f64::from(j)).collect();
    let truth: f64 = values.iter().sum();
    let a = with_spectrum(&values, 10);
    let method = TraceMethod::AdaptiveHutchPp { eta: 0.2, delta: 0.05 };
    let mut failures = 0;
    for seed in 0..20 {
        let e = estimate_trace(&symmetric(&a), method, Budget::Products(1000), &Settings::seeded(seed)).unwrap();
        assert!(e.converged() && e.products <= 400, "{e:?}");
        failures += usize::from((e.value - truth).abs() > 0.2);
    }
    assert!(failures <= 3, "{failures} of 20");
    // a range that is captured, and a spectrum so flat that n products are the cheapest answer
    let low = with_spectrum(&[vec![3.0, 2.0, 1.0], vec![0.0; 97]].concat(), 11);
    let e = estimate_trace(&symmetric(&low), method, Budget::Products(1000), &Settings::default()).unwrap();
    assert!(e.status == Status::Exact && (e.value - 6.0).abs() < 1e-9 && e.products < 12, "{e:?}");
    let flat = with_spectrum(&(0..100).map(|i| 1.0 + 0.01 * f64::from(i)).collect::<Vec<_>>(), 12);
    let tight = TraceMethod::AdaptiveHutchPp { eta: 1e-3, delta: 0.05 };
    let e = estimate_trace(&symmetric(&flat), tight, Budget::Products(1000), &Settings::default()).unwrap();
    assert!(e.status == Status::Exact && (e.value - trace_of(&flat)).abs() < 1e-9, "{e:?}");
    let e = estimate_trace(&Dense::new(flat), tight, Budget::Products(1000), &Settings::default());
    assert!(matches!(e, Err(Error::NotSymmetric { .. })));
}

#[test]
fn structure_is_exact_and_only_the_rest_is_estimated() {
    let hidden = with_spectrum(&[vec![5.0, 4.0, 3.0], vec![0.0; 57]].concat(), 13);
    let d: Vec<f64> = (0..60).map(f64::from).collect();
    let op = opaque(&hidden, Props::SELF_ADJOINT, false);
    let counted = op.counted();
    let a = (&Op::diag(d.clone()) + &counted.0.scaled(2.0)).unwrap().shifted(0.5).unwrap();
    let e = trace(&a, XTRACE, Budget::Products(10), &Settings::default()).unwrap();
    let expected = d.iter().sum::<f64>() + 2.0 * 12.0 + 30.0;
    assert!((e.value - expected).abs() < 1e-9 * expected, "{} against {expected}", e.value);
    assert_eq!((e.products, counted.1.columns()), (10, 10));
    // nothing to estimate
    let kron = Op::diag(d.clone()).kron(&Op::dense(hidden)).unwrap();
    let e = trace(&kron, XTRACE, Budget::Products(10), &Settings::default()).unwrap();
    assert_eq!((e.products, e.status), (0, Status::Exact));
    assert!((e.value - 12.0 * d.iter().sum::<f64>()).abs() < 1e-8);
    // blocks of different sizes
    let blocks = linop_core::algebra::block_diag(&[Op::diag(vec![1.0; 7]), op]).unwrap();
    let e = trace(&blocks, XTRACE, Budget::Products(10), &Settings::default()).unwrap();
    assert!((e.value - 19.0).abs() < 1e-9 && e.products == 10);
}

/// Mean relative errors with 60 products at n = 400 (factor 2 allowed), from an independent implementation.
#[test]
fn errors_at_equal_products() {
    let n = 400;
    let poly: Vec<f64> = (1..=n).map(|j| 1.0 / (j * j) as f64).collect();
    let a = psd(&with_spectrum(&poly, 14));
    let truth: f64 = poly.iter().sum();
    let mean_error = |method, law| {
        (0..30)
            .map(|seed| {
                let settings = Settings::seeded(seed).with_law(law);
                let e = estimate_trace(&a, method, Budget::Products(60), &settings).unwrap();
                (e.value - truth).abs() / truth
            })
            .sum::<f64>()
            / 30.0
    };
    for (method, law, expected) in [
        (TraceMethod::Hutchinson, Law::Rademacher, 9.5e-2),
        (TraceMethod::HutchPp, Law::Rademacher, 1.4e-3),
        (TraceMethod::NystromPp, Law::Rademacher, 1.7e-3),
        (XTRACE, Law::Rademacher, 8.8e-4),
        (TraceMethod::XTrace { resphere: true }, Law::Sphere, 8.6e-4),
        (TraceMethod::XNysTrace { resphere: true }, Law::Sphere, 5.6e-4),
    ] {
        let got = mean_error(method, law);
        assert!(got < 2.0 * expected && got > 0.5 * expected, "{method:?} {law}: {got:.2e} against {expected:.2e}");
    }
}
