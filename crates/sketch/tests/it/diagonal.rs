//! Diagonals, row norms, sub-diagonals, norms.

use crate::util::*;
use linop_core::testing::fixed_mat;
use linop_core::{Op, Props, ops::Dense};
use numerics::Mat;
use numerics::rng::Law;
use sketch::*;

fn check_unbiased(truth: &[f64], draws: u64, run: impl Fn(u64) -> Vec<f64>) {
    let n = truth.len();
    let (mut sum, mut square) = (vec![0.0; n], vec![0.0; n]);
    for seed in 0..draws {
        for (i, x) in run(seed).into_iter().enumerate() {
            sum[i] += x;
            square[i] += x * x;
        }
    }
    let k = draws as f64;
    for i in 0..n {
        let mean = sum[i] / k;
        let sem = ((square[i] / k - mean * mean).max(0.0) / k).sqrt();
        assert!((mean - truth[i]).abs() < 5.0 * sem + 1e-12, "{i}: {mean} +- {sem} against {}", truth[i]);
    }
}

#[test]
fn estimators_are_unbiased() {
    let a = fixed_mat::<f64>(12, 12, 20);
    let op = Dense::new(a.clone());
    let methods = [
        (DiagonalMethod::Hutchinson { ratio: false }, Law::Gaussian, 3),
        (DiagonalMethod::DiagPp, Law::Rademacher, 6),
        (DiagonalMethod::XDiag { extra: 0 }, Law::Rademacher, 6),
        (DiagonalMethod::XDiag { extra: 2 }, Law::Rademacher, 8),
    ];
    for (method, law, m) in methods {
        check_unbiased(&diag_of(&a), 20_000, |seed| {
            estimate_diagonal(&op, method, m, &Settings::seeded(seed).with_law(law)).unwrap().value
        });
    }
    let rows: Vec<f64> = (0..12).map(|i| (0..12).map(|j| a[(i, j)].powi(2)).sum()).collect();
    let columns = RowNormMethod::XRowNorm(RowBasis::Columns);
    for (method, m) in [(RowNormMethod::Hutchinson, 3), (RowNormMethod::XRowNorm(RowBasis::Rows), 9), (columns, 8)] {
        check_unbiased(&rows, 10_000, |seed| row_norms_sq(&op, method, m, &Settings::seeded(seed)).unwrap().value);
    }
    for k in [2isize, -3] {
        let truth: Vec<f64> = (0..12)
            .filter(|&i| i as isize - k >= 0 && (i as isize - k) < 12)
            .map(|i| a[(i, (i as isize - k) as usize)])
            .collect();
        check_unbiased(&truth, 10_000, |seed| sub_diagonal(&op, k, 2, &Settings::seeded(seed)).unwrap().value);
    }
}

/// The mean of estimates reaches three hundredths of the largest entry before 1e5 products.
#[test]
fn means_converge() {
    for n in [15, 30] {
        let mut s = numerics::rng::Stream::new(n, numerics::rng::Role::SyntheticMatrix, 0, 0);
        let a = Mat::from_fn(n as usize, n as usize, |_, _| s.uniform());
        let (op, truth) = (Dense::new(a.clone()), diag_of(&a));
        let top = truth.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (method, m) in [
            (DiagonalMethod::Hutchinson { ratio: false }, 5),
            (DiagonalMethod::DiagPp, 9),
            (DiagonalMethod::XDiag { extra: 0 }, 6),
        ] {
            let (mut sum, mut spent, mut worst) = (vec![0.0; n as usize], 0, f64::INFINITY);
            for seed in 0.. {
                let e = estimate_diagonal(&op, method, m, &Settings::seeded(seed)).unwrap();
                spent += e.total_products();
                sum.iter_mut().zip(&e.value).for_each(|(s, x)| *s += x);
                let gap = |(s, t): (&f64, &f64)| (s / (seed + 1) as f64 - t).abs();
                worst = sum.iter().zip(&truth).map(gap).fold(0.0f64, f64::max) / top;
                if worst < 3e-2 || spent > 100_000 {
                    break;
                }
            }
            assert!(worst < 3e-2 && spent <= 100_000, "{method:?}, {n}: {worst} after {spent}");
        }
    }
}

/// One-probe variances of `v_i (A v)_i`.
#[test]
fn variances_are_those_of_the_table() {
    let n = 12;
    let a = fixed_mat::<f64>(n, n, 21);
    let op = Dense::new(a.clone());
    let nf = n as f64;
    for law in [Law::Rademacher, Law::Gaussian, Law::Sphere] {
        let (mut sum, mut square) = (vec![0.0; n], vec![0.0; n]);
        let draws = 200_000u64;
        for seed in 0..draws {
            let settings = Settings::seeded(seed).with_law(law);
            let method = DiagonalMethod::Hutchinson { ratio: false };
            for (i, x) in estimate_diagonal(&op, method, 1, &settings).unwrap().value.into_iter().enumerate() {
                sum[i] += x;
                square[i] += x * x;
            }
        }
        let total: f64 = (0..n).map(|i| square[i] / draws as f64 - (sum[i] / draws as f64).powi(2)).sum();
        let row = |i: usize| (0..n).map(|j| a[(i, j)].powi(2)).sum::<f64>();
        let own = |i: usize| a[(i, i)].powi(2);
        let expected: f64 = (0..n)
            .map(|i| match law {
                Law::Rademacher => row(i) - own(i),
                Law::Gaussian => row(i) + own(i),
                _ => nf / (nf + 2.0) * (row(i) + (1.0 - 2.0 / nf) * own(i)),
            })
            .sum();
        assert!((total / expected - 1.0).abs() < 0.03, "{law}: {total} against {expected}");
    }
}

#[test]
fn exact_with_enough_products_and_for_diagonal_matrices() {
    let a = fixed_mat::<f64>(15, 15, 22);
    let op = Dense::new(a.clone());
    let e = estimate_diagonal(&op, DiagonalMethod::XDiag { extra: 0 }, 16, &Settings::default()).unwrap();
    assert!(distance(&e.value, &diag_of(&a)) < 1e-13 && e.status == Status::Exact && e.products == 15);
    let rows = row_norms_sq(&op, RowNormMethod::XRowNorm(RowBasis::Rows), 15, &Settings::default()).unwrap();
    assert!(rows.status == Status::Exact);
    let d = Dense::new(Mat::from_fn(30, 30, |i, j| if i == j { i as f64 - 4.0 } else { 0.0 }));
    let e = estimate_diagonal(&d, DiagonalMethod::Hutchinson { ratio: false }, 1, &Settings::default()).unwrap();
    assert!((0..30).all(|i| e.value[i] == i as f64 - 4.0));
    // the ratio form is exact for diagonal matrices under any law with entries
    let gauss = Settings::default().with_law(Law::Gaussian);
    let e = estimate_diagonal(&d, DiagonalMethod::Hutchinson { ratio: true }, 2, &gauss).unwrap();
    assert!((0..30).all(|i| (e.value[i] - (i as f64 - 4.0)).abs() < 1e-12));
}

#[test]
fn structure_is_exact() {
    let hidden = with_spectrum(&[vec![5.0, 4.0, 3.0], vec![0.0; 57]].concat(), 23);
    let d: Vec<f64> = (0..60).map(f64::from).collect();
    let op = opaque(&hidden, Props::SELF_ADJOINT, false);
    let a = (&Op::diag(d.clone()) + &op.scaled(-2.0)).unwrap();
    let e = diagonal(&a, DiagonalMethod::XDiag { extra: 0 }, 10, &Settings::default()).unwrap();
    let expected: Vec<f64> = (0..60).map(|i| d[i] - 2.0 * hidden[(i, i)]).collect();
    assert!(distance(&e.value, &expected) < 1e-9);
    // a basis of rank 3 needs three transposed products
    assert_eq!((e.products, e.products_t), (8, 0));
}

#[test]
fn norms_bound_and_estimate() {
    let values: Vec<f64> = (0..80).map(|i| 0.8f64.powi(i)).collect();
    let a = with_spectrum(&values, 24);
    let truth: f64 = values.iter().map(|x| x * x).sum();
    let e = estimate_frobenius_sq(&Dense::new(a.clone()), 4000, &Settings::default()).unwrap();
    assert!((e.value - truth).abs() < 5.0 * e.sem.unwrap());
    let wide = Mat::from_fn(5, 80, |i, j| a[(i, j)]);
    let e = estimate_frobenius_sq(&Dense::new(wide.clone()), 500, &Settings::default()).unwrap();
    assert!((e.value - fro(&wide).powi(2)).abs() < 5.0 * e.sem.unwrap() && e.products_t == 500);
    let e = estimate_frobenius_sq(&opaque(&wide, Props::NONE, false), 500, &Settings::default()).unwrap();
    assert!((e.value - fro(&wide).powi(2)).abs() < 5.0 * e.sem.unwrap() && e.products == 500);
    let s = spectral_norm(&Dense::new(wide.clone()), 1e-10, &Settings::default()).unwrap();
    let top = numerics::dense::svd(wide.as_ref()).unwrap().s[0];
    assert!((s.value - top).abs() < 1e-9 * top);
    let s = spectral_norm(&symmetric(&a), 1e-10, &Settings::default()).unwrap();
    assert!((s.value - 1.0).abs() < 1e-9);
    let (op, frobenius) = norm_lower_bounds(&Dense::new(a.clone()), 20, &Settings::default()).unwrap();
    assert!(op <= 1.0 + 1e-12 && op > 0.999 && frobenius <= truth.sqrt() + 1e-12 && frobenius > 0.99 * truth.sqrt());
    let failures = (0..200)
        .filter(|&seed| norm_upper_bound(&Dense::new(a.clone()), 2.0, 3, &Settings::seeded(seed)).unwrap() < 1.0)
        .count();
    assert!(failures <= 40, "{failures} of 200, bound 25 in the mean"); // 200 / 8 plus three standard deviations
    let exact = frobenius_sq(&Op::diag(values.clone()), 3, &Settings::default()).unwrap();
    assert!(exact.status == Status::Exact && (exact.value - truth).abs() < 1e-14);
}

/// The acceptance test of a public sketching library, at its seeds: low rank with a steep tail plus a strong diagonal.
#[test]
fn low_rank_with_a_strong_diagonal() {
    use sketch::synthmat::{Family, Symmetry, Tail, lord};
    let family = Family { rank: 50, tail: Tail::Exp(100.0), symmetry: Symmetry::Psd };
    for seed in [12_345u64, 54_321, 17_265, 127_419_128] {
        let (a, _) = lord(200, &family, 3.0, seed).unwrap();
        let d = diag_of(&a);
        let op = symmetric(&a);
        let settings = Settings::seeded(seed);
        let close = |got: &[f64]| {
            assert!((distance(got, &d) / norm(&d)).powi(2) < 0.15, "{seed}: {}", (distance(got, &d) / norm(&d)).powi(2))
        };
        let near = |got: f64| {
            let error = (got - trace_of(&a)).abs() / (200f64.sqrt() * norm(&d));
            assert!(error * error < 0.01, "{seed}: {error}");
        };
        for (method, m) in [
            (DiagonalMethod::Hutchinson { ratio: false }, 199),
            (DiagonalMethod::XDiag { extra: 0 }, 110),
            (DiagonalMethod::XDiag { extra: 500 }, 610),
        ] {
            let e = estimate_diagonal(&op, method, m, &settings).unwrap();
            assert_eq!(e.status, Status::Spent);
            close(&e.value);
            near(e.value.iter().sum());
        }
        for method in [TraceMethod::HutchPp, TraceMethod::XTrace { resphere: false }] {
            near(estimate_trace(&op, method, Budget::Products(165), &settings).unwrap().value);
        }
    }
}

/// Targets of arXiv:2512.15929, figure 16.1, at a fifth of its size: the median of ten largest errors, relative to the largest entry.
#[test]
fn leave_one_out_diagonals_reach_their_published_errors() {
    let n = 200;
    let exponential: Vec<f64> = (0..n).map(|i| 0.7f64.powi(i)).collect();
    let step: Vec<f64> = (0..n).map(|i| if i < 50 { 1.0 } else { 1e-3 }).collect();
    for (method, values, m, bound) in [
        (DiagonalMethod::XDiag { extra: 0 }, &exponential, 70, 1e-2),
        (DiagonalMethod::XDiag { extra: 0 }, &step, 120, 5e-2),
        (DiagonalMethod::XNysDiag, &exponential, 50, 1e-3),
        (DiagonalMethod::XNysDiag, &step, 110, 5e-2),
    ] {
        let a = with_spectrum(values, 25);
        let (op, d) = (psd(&a), diag_of(&a));
        let top = d.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let mut errors: Vec<f64> = (0..10)
            .map(|seed| {
                let e = estimate_diagonal(&op, method, m, &Settings::seeded(seed)).unwrap();
                assert_eq!(e.status, Status::Spent);
                e.value.iter().zip(&d).map(|(x, y)| (x - y).abs()).fold(0.0f64, f64::max) / top
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        assert!(errors[5] < bound, "{method:?}, {m} products: {:.1e}", errors[5]);
    }
}

/// Relative errors of the lower bounds at the sizes of the same library.
#[test]
fn norm_bounds_are_tight_for_fast_decay() {
    use sketch::synthmat::{Family, Symmetry, Tail, matrix};
    for (h, w, theta, q, bounds) in [
        (20, 10, 0.01, 10, (1e-5, 1e-5)),
        (50, 20, 0.1, 15, (0.01, 0.02)),
        (20, 50, 0.1, 15, (0.01, 0.02)),
        (200, 200, 0.1, 20, (1e-3, 0.02)),
    ] {
        let a =
            matrix(h, w, &Family { rank: 5.min(w), tail: Tail::Exp(theta), symmetry: Symmetry::General }, 3).unwrap();
        let got = norm_lower_bounds(&Dense::new(a.clone()), q, &Settings::default()).unwrap();
        let top = numerics::dense::svd(a.as_ref()).unwrap().s[0];
        let errors = (1.0 - got.0 / top, 1.0 - got.1 / fro(&a));
        assert!(errors.0 < bounds.0 && errors.1 < bounds.1, "{h} x {w}: {errors:?}");
    }
}
