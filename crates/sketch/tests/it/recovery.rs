//! Range finders, sketched decompositions, Nystrom approximations and the solver that they precondition.

use crate::bits::same_bits;
use crate::util::*;
use linop_core::krylov::{Options, cg};
use linop_core::ops::Dense;
use linop_core::testing::fixed_mat;
use linop_core::{LinearOperator, Op, Props};
use numerics::rng::Law;
use numerics::{Mat, Par, dense};
use sketch::synthmat::{Family, Symmetry, Tail, matrix};
use sketch::*;

const RECOVERIES: [Recovery; 4] =
    [Recovery::Hmt { power: 0 }, Recovery::TwoSketch, Recovery::ThreeSketch, Recovery::GenNystrom];

fn approximation(f: &SketchedSvd) -> Mat<f64> {
    let us = Mat::from_fn(f.u.nrows(), f.s.len(), |i, j| f.u[(i, j)] * f.s[j]);
    mul(&us, &t(&f.v))
}

fn orthonormal(q: &Mat<f64>) -> bool {
    let g = mul(&t(q), q);
    (0..g.nrows()).all(|i| (0..g.nrows()).all(|j| (g[(i, j)] - f64::from(i == j)).abs() < 1e-10))
}

fn svd_shape(h: usize, w: usize, rank: usize, outer: usize, inner: usize) {
    let a = matrix(h, w, &Family { rank, tail: Tail::Exp(100.0), symmetry: Symmetry::General }, 1).unwrap();
    for law in [Law::Rademacher, Law::Gaussian] {
        for recovery in RECOVERIES {
            let sizes = Sizes { right: outer, left: 2 * outer + 1, inner };
            let options = SvdOptions { recovery, sizes, rank: Some(rank) };
            let f = svd(&Dense::new(a.clone()), &options, &Settings::seeded(2).with_law(law)).unwrap();
            let worst = linop_core::testing::max_diff(approximation(&f).as_ref(), a.as_ref());
            assert!(worst < 3e-8, "{recovery:?} {law} {h} x {w}: {worst:.1e}");
            assert!(orthonormal(&f.u) && orthonormal(&f.v));
            assert!(f.s.windows(2).all(|s| s[0] >= s[1]) && f.s.iter().all(|&s| s >= 0.0));
        }
    }
}

#[test]
fn svd_is_exact_for_low_rank() {
    svd_shape(30, 30, 5, 15, 20);
    svd_shape(20, 30, 5, 15, 20);
    svd_shape(30, 20, 5, 15, 20);
}

#[test]
fn svd_is_exact_for_low_rank_at_larger_sizes() {
    svd_shape(200, 150, 20, 35, 40);
}

fn eigh_shape(n: usize, rank: usize, outer: usize, inner: usize, recovery: EighRecovery) {
    let a = matrix(n, n, &Family { rank, tail: Tail::Exp(100.0), symmetry: Symmetry::Indefinite }, 3).unwrap();
    for order in [Order::Magnitude, Order::Value] {
        let sizes = Sizes { right: outer, left: 2 * outer + 1, inner };
        let options = EighOptions { recovery, sizes, rank: Some(rank), order };
        let f = eigh(&symmetric(&a), &options, &Settings::seeded(4)).unwrap();
        let scaled = Mat::from_fn(n, f.values.len(), |i, j| f.vectors[(i, j)] * f.values[j]);
        let worst = linop_core::testing::max_diff(mul(&scaled, &t(&f.vectors)).as_ref(), a.as_ref());
        assert!(worst < 3e-8, "{recovery:?} {n}: {worst:.1e}");
        assert!(orthonormal(&f.vectors));
        let key = |v: f64| if order == Order::Magnitude { v.abs() } else { v };
        assert!(f.values.windows(2).all(|v| key(v[0]) >= key(v[1])));
    }
}

#[test]
fn eigh_is_exact_for_low_rank() {
    for recovery in
        [EighRecovery::Hmt { power: 0 }, EighRecovery::TwoSketch, EighRecovery::ThreeSketch, EighRecovery::GenNystrom]
    {
        eigh_shape(30, 5, 15, 20, recovery);
        eigh_shape(200, 20, 35, 40, recovery);
    }
    eigh_shape(30, 5, 15, 20, EighRecovery::OneSketch);
    eigh_shape(200, 20, 42, 40, EighRecovery::OneSketch);
}

/// The mean error over 200 draws against the bounds of the sources.
#[test]
fn mean_errors_keep_their_bounds() {
    let n = 60;
    let values: Vec<f64> = (1..=n).map(|j| 1.0 / j as f64).collect();
    let a = Dense::new(with_spectrum(&values, 5));
    let dense_a = with_spectrum(&values, 5);
    let tail = |j: usize| values[j..].iter().map(|x| x * x).sum::<f64>();
    let (k, l) = (11usize, 23usize);
    let mean = |recovery| {
        let options = SvdOptions { recovery, sizes: Sizes { right: k, left: l, inner: l }, rank: None };
        (0..200)
            .map(|seed| {
                let f = svd(&a, &options, &Settings::seeded(seed).with_law(Law::Gaussian)).unwrap();
                fro(&sub(&approximation(&f), &dense_a)).powi(2)
            })
            .sum::<f64>()
            / 200.0
    };
    let hmt = (1..k - 1).map(|r| (1.0 + r as f64 / (k - r - 1) as f64) * tail(r)).fold(f64::INFINITY, f64::min);
    assert!(mean(Recovery::Hmt { power: 0 }) <= hmt);
    let f = |s: usize, t: usize| s as f64 / (t - s - 1) as f64;
    let two = (0..k - 1).map(|r| (1.0 + f(r, k)) * tail(r)).fold(f64::INFINITY, f64::min) * (1.0 + f(k, l));
    let got = mean(Recovery::TwoSketch);
    assert!(got <= two, "{got} above {two}");
    let three = (l - 1) as f64 / (l - k - 1) as f64
        * (0..k - 1).map(|r| (k + r - 1) as f64 / (k - r - 1) as f64 * tail(r)).fold(f64::INFINITY, f64::min);
    let got = mean(Recovery::ThreeSketch);
    assert!(got <= three, "{got} above {three}");
}

#[test]
fn power_steps_help_slow_decay() {
    let values: Vec<f64> = (1..=80).map(|j| 1.0 / f64::from(j).sqrt()).collect();
    let a = with_spectrum(&values, 6);
    let error = |power| {
        let q = range_finder(&symmetric(&a), 15, power, &Settings::default()).unwrap().q;
        fro(&sub(&a, &mul(&q, &mul(&t(&q), &a))))
    };
    let best = values[15..].iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(error(2) < error(0) && error(2) < 1.02 * best, "{} {} {best}", error(0), error(2));
}

/// Twelve columns a block: at equal products the Krylov space leaves less than power steps, and as many of its columns leave no
/// more than two hundredths beyond the best approximation.
#[test]
fn krylov_blocks_beat_power_steps_at_equal_products() {
    let values: Vec<f64> = (1..=120).map(|j| 1.0 / f64::from(j).sqrt()).collect();
    let left = |a: &Mat<f64>, q: &Mat<f64>| fro(&sub(a, &mul(q, &mul(&t(q), a))));
    let s = with_spectrum(&values, 17);
    let (l, settings) = (12, Settings::default());
    let power = range_finder(&symmetric(&s), l, 1, &settings).unwrap();
    let krylov = range_krylov(&symmetric(&s), l, 2, &settings).unwrap();
    assert_eq!((power.products, krylov.products, krylov.q.ncols(), krylov.status), (36, 36, 36, Status::Spent));
    assert!(orthonormal(&krylov.q) && left(&s, &krylov.q) < 0.85 * left(&s, &power.q));
    // the best part of rank 12 inside the basis against the best part of all
    let best = values[l..].iter().map(|x| x * x).sum::<f64>().sqrt();
    let inside = mul(&t(&krylov.q), &s);
    let kept: f64 = dense::svd(inside.as_ref()).unwrap().s[..l].iter().map(|x| x * x).sum();
    assert!((fro(&s).powi(2) - kept).sqrt() < 1.02 * best);
    // without symmetry two products a step; more columns than the matrix has are cut
    let a = mul(&s, &fixed_mat::<f64>(120, 90, 18));
    let op = Dense::new(a.clone());
    let krylov = range_krylov(&op, l, 2, &settings).unwrap();
    let power = range_finder(&op, l, 2, &settings).unwrap();
    assert_eq!((krylov.products, krylov.products_t), (power.products, power.products_t));
    assert!(orthonormal(&krylov.q) && left(&a, &krylov.q) < 0.8 * left(&a, &power.q));
    let all = range_krylov(&op, 40, 5, &settings).unwrap();
    assert!(all.status == Status::Exact && all.q.ncols() == 90 && left(&a, &all.q) < 1e-10 * fro(&a));
    // an invariant space: the rest of the basis is arbitrary, not spoiled
    let low = with_spectrum(&[vec![1.0; 7], vec![0.0; 43]].concat(), 19);
    let basis = range_krylov(&symmetric(&low), 5, 3, &settings).unwrap();
    assert!(orthonormal(&basis.q) && left(&low, &basis.q) < 1e-10);
    assert!(matches!(range_krylov(&op, 0, 1, &settings), Err(Error::SketchTooSmall { .. })));
    let e = range_krylov(&opaque(&a, Props::NONE, false), 3, 1, &settings);
    assert!(matches!(e, Err(Error::TransposeUnavailable { .. })));
}

#[test]
fn adaptive_ranges_meet_their_tolerance() {
    let values: Vec<f64> = (0..100).map(|j| 0.7f64.powi(j)).collect();
    let a = with_spectrum(&values, 7);
    let tolerance = RangeTolerance { abs: 0.0, rel: 1e-3, step: 6, max_columns: 60 };
    let basis = range_adaptive(&symmetric(&a), &tolerance, &Settings::default()).unwrap();
    assert!(orthonormal(&basis.q) && basis.status == Status::Converged);
    let left = fro(&sub(&a, &mul(&basis.q, &mul(&t(&basis.q), &a))));
    assert!(left < 3e-3 * fro(&a) && basis.q.ncols() < 40, "{left} with {}", basis.q.ncols());
    // exact rank: the dependence is noticed
    let low = with_spectrum(&[vec![1.0; 7], vec![0.0; 43]].concat(), 8);
    let basis = range_adaptive(&symmetric(&low), &tolerance, &Settings::default()).unwrap();
    assert!(basis.q.ncols() == 12 && orthonormal(&basis.q) && basis.error_sq.unwrap() < 1e-20);
    same_bits(|s| range_adaptive(&symmetric(&a), &tolerance, s).unwrap().q.col_as_slice(5).to_vec());
}

#[test]
fn decompositions_have_the_same_bits() {
    let a = Dense::new(fixed_mat::<f64>(150, 120, 9));
    for recovery in RECOVERIES {
        let options = SvdOptions { recovery, sizes: Sizes::from_right(20), rank: Some(9) };
        same_bits(|s| {
            let f = svd(&a, &options, s).unwrap();
            [f.s, f.u.col_as_slice(3).to_vec()].concat()
        });
    }
    let p = psd(&with_spectrum(&(1..=200).map(|j| 1.0 / f64::from(j)).collect::<Vec<_>>(), 10));
    same_bits(|s| nystrom(&p, 40, NystromVariant::Stable, s).unwrap().values);
    same_bits(|s| nystrom_adaptive(&p, 1e-2, &AdaptiveNystrom::default(), s).unwrap().values);
}

fn nystrom_matrix(low: &Nystrom) -> Mat<f64> {
    let scaled = Mat::from_fn(low.u.nrows(), low.values.len(), |i, j| low.u[(i, j)] * low.values[j]);
    mul(&scaled, &t(&low.u))
}

#[test]
fn nystrom_keeps_its_laws() {
    let n = 80;
    let values: Vec<f64> = (1..=n).map(|j| 1.0 / f64::from(j * j)).collect();
    let a = with_spectrum(&values, 11);
    let low = nystrom(&psd(&a), 20, NystromVariant::Stable, &Settings::default()).unwrap();
    let hat = nystrom_matrix(&low);
    // it interpolates the probes
    let omega = Probe { law: Law::Gaussian, seed: 0, role: numerics::rng::Role::Nystrom }.columns(80, 0..20);
    assert!(fro(&sub(&mul(&hat, &omega), &mul(&a, &omega))) < 1e-10 * fro(&mul(&a, &omega)));
    // 0 <= A_hat <= A
    let low_end = |m: &Mat<f64>| dense::eigvalsh(m.as_ref()).unwrap()[0];
    assert!(low_end(&hat) > -1e-10 && low_end(&sub(&a, &hat)) > -1e-10);
    assert!(orthonormal(&low.u) && low.values.windows(2).all(|v| v[0] >= v[1]));
    // the Cholesky-only form agrees to fewer digits
    let fast = nystrom(&psd(&a), 20, NystromVariant::CholeskyOnly, &Settings::default()).unwrap();
    assert!(fro(&sub(&nystrom_matrix(&fast), &hat)) < 1e-6);
}

#[test]
fn nystrom_of_low_rank_and_zero() {
    let a = with_spectrum(&[vec![2.0; 6], vec![0.0; 44]].concat(), 12);
    for l in [3, 6, 20] {
        let low = nystrom(&psd(&a), l, NystromVariant::Stable, &Settings::default()).unwrap();
        assert_eq!(low.rank(), l.min(6));
        if l >= 6 {
            assert!(fro(&sub(&nystrom_matrix(&low), &a)) < 1e-7);
        }
    }
    let zero = nystrom(&psd(&Mat::zeros(30, 30)), 5, NystromVariant::Stable, &Settings::default()).unwrap();
    assert_eq!((zero.u.ncols(), zero.rank()), (0, 0));
    let identity = NystromPrecond::<f64>::new(&zero, 0.5).unwrap();
    let dense_identity = linop_core::to_dense(&identity, Par::Seq).unwrap();
    assert!((0..30).all(|i| dense_identity[(i, i)] == 1.0));
}

#[test]
fn the_preconditioner_is_an_operator_and_bounds_the_condition() {
    let n = 60;
    let values: Vec<f64> = (1..=n).map(|j| 1.0 / f64::from(j * j)).collect();
    let a = with_spectrum(&values, 13);
    let mu = 1e-3;
    let low = nystrom(&psd(&a), 15, NystromVariant::Stable, &Settings::default()).unwrap();
    let inverse = NystromPrecond::<f64>::new(&low, mu).unwrap();
    let floor = low.values[14];
    let expected = Mat::from_fn(60, 60, |i, j| {
        let low_part: f64 =
            (0..15).map(|k| ((floor + mu) / (low.values[k] + mu) - 1.0) * low.u[(i, k)] * low.u[(j, k)]).sum();
        f64::from(i == j) + low_part
    });
    linop_core::testing::check_operator(&inverse, expected.as_ref(), 1e-13);
    let root = linop_core::to_dense(&NystromPrecond::<f64>::root(&low, mu).unwrap(), Par::Seq).unwrap();
    let damped = Mat::from_fn(60, 60, |i, j| a[(i, j)] + if i == j { mu } else { 0.0 });
    let e = dense::eigvalsh(mul(&root, &mul(&damped, &root)).as_ref()).unwrap();
    let left = sub(&a, &nystrom_matrix(&low));
    let top = dense::eigvalsh(left.as_ref()).unwrap()[59];
    assert!(e[59] / e[0] <= (floor + mu + top) / mu * (1.0 + 1e-10));
    assert!(NystromPrecond::<f64>::new(&low, 0.0).is_err());
}

/// Iterations at n = 400, eigenvalues `j^-2`, tolerance 1e-10: 8 and 25 in an independent implementation.
#[test]
fn preconditioned_solves_need_few_iterations() {
    let n = 400;
    let values: Vec<f64> = (1..=n).map(|j| 1.0 / f64::from(j * j)).collect();
    let a = with_spectrum(&values, 14);
    let op = psd(&a);
    let b = Probe { law: Law::Gaussian, seed: 5, role: numerics::rng::Role::TestProbe }.columns(400, 0..3);
    let options = Options { rtol: 1e-10, ..Options::default() };
    for (mu, l, expected) in [(1e-3, 143, 8), (1e-5, 200, 25)] {
        let fixed = AdaptiveNystrom { start: l, max_rank: Some(l), ..AdaptiveNystrom::default() };
        let found = nystrom_solve(&op, mu, b.as_ref(), &fixed, &options, &Settings::default()).unwrap();
        let report = &found.solution.report;
        assert!(report.converged() && report.iterations <= 2 * expected, "{}", report.iterations);
        let shifted = Op::new(op.clone()).shifted(mu).unwrap();
        let plain = cg(&shifted, b.as_ref(), &options, Par::Seq).unwrap();
        assert!(plain.report.iterations > 5 * expected, "{}", plain.report.iterations);
        let damped = Mat::from_fn(400, 400, |i, j| a[(i, j)] + if i == j { mu } else { 0.0 });
        let llt = dense::Llt::new(damped.as_ref(), Par::Seq).unwrap();
        let x = mul(&llt.inverse(), &b);
        assert!(fro(&sub(&found.solution.x, &x)) < 1e-8 * fro(&x));
    }
    let adaptive =
        nystrom_solve(&op, 1e-4, b.as_ref(), &AdaptiveNystrom::default(), &options, &Settings::default()).unwrap();
    assert!(adaptive.solution.report.converged() && adaptive.solution.report.iterations < 80);
    assert!(adaptive.nystrom.values.len() < 300);
}

#[test]
fn structured_sketches_are_operators() {
    let (n, l) = (50, 12);
    let srht = Srht::new(n, l, 1, 0).unwrap();
    let ssrht = Ssrht::new(n, l, 1, 0).unwrap();
    let sparse = SparseSigns::new(n, l, 1, 0).unwrap();
    let check = |op: &dyn LinearOperator<f64>, columns: Mat<f64>| {
        linop_core::testing::check_operator(op, columns.transpose(), 1e-13);
    };
    check(&srht, srht.columns(0..l).unwrap());
    check(&ssrht, ssrht.columns(0..l).unwrap());
    check(&sparse, sparse.columns(0..l).unwrap());
    let probe = Probe { law: Law::Sphere, seed: 3, role: numerics::rng::Role::RightProbe };
    linop_core::testing::check_operator::<f64>(&probe.operator(n, 40), probe.columns(n, 0..40).as_ref(), 1e-13);
    assert!(Srht::new(8, 9, 0, 0).is_err() && Ssrht::new(8, 0, 0, 0).is_err() && srht.columns(5..13).is_err());
}

#[test]
fn structured_sketches_have_orthogonal_rows_and_mean_identity() {
    let (n, l) = (64, 12);
    for s in [Srht::new(n, l, 4, 2).unwrap().columns(0..l), Ssrht::new(n, l, 4, 2).unwrap().columns(0..l)] {
        let s = s.unwrap();
        let g = mul(&t(&s), &s);
        let scale = n as f64 / l as f64;
        assert!((0..l).all(|i| (0..l).all(|j| (g[(i, j)] - scale * f64::from(i == j)).abs() < 1e-12 * scale)));
    }
    // E[S^T S] = I on 50 numbers padded to 64, and for sparse signs
    let n = 50;
    let draws = 4000u64;
    let means: Vec<Mat<f64>> = (0..4)
        .map(|kind| {
            let mut sum = Mat::<f64>::zeros(n, n);
            for ordinal in 0..draws {
                let s = match kind {
                    0 => Srht::new(n, 10, 7, ordinal).unwrap().columns(0..10),
                    1 => Ssrht::new(n, 10, 7, ordinal).unwrap().columns(0..10),
                    2 => SparseSigns::new(n, 10, 7, ordinal).unwrap().columns(0..10),
                    _ => SparseSigns::count_sketch(n, 10, 7, ordinal).unwrap().columns(0..10),
                }
                .unwrap();
                let g = mul(&s, &t(&s));
                for j in 0..n {
                    for i in 0..n {
                        sum[(i, j)] += g[(i, j)] / draws as f64;
                    }
                }
            }
            sum
        })
        .collect();
    for (kind, mean) in means.iter().enumerate() {
        let worst = (0..n)
            .flat_map(|i| (0..n).map(move |j| (i, j)))
            .map(|(i, j)| (mean[(i, j)] - f64::from(i == j)).abs())
            .fold(0.0, f64::max);
        // an entry has variance of at most 1/10; six standard deviations over 2500 entries
        assert!(worst < 6.0 * (0.1 / draws as f64).sqrt(), "{kind}: {worst}");
    }
}

#[test]
fn sizes_are_checked() {
    let a = Dense::new(fixed_mat::<f64>(40, 40, 15));
    let options = |recovery, left| SvdOptions { recovery, sizes: Sizes { right: 10, left, inner: left }, rank: None };
    for recovery in [Recovery::TwoSketch, Recovery::GenNystrom, Recovery::ThreeSketch] {
        let e = svd(&a, &options(recovery, 10), &Settings::default());
        assert!(matches!(e, Err(Error::SketchTooSmall { needed: 11, got: 10, .. })), "{recovery:?}");
    }
    let e = svd(
        &opaque(&fixed_mat::<f64>(40, 40, 16), Props::NONE, false),
        &options(Recovery::TwoSketch, 20),
        &Settings::default(),
    );
    assert!(matches!(e, Err(Error::TransposeUnavailable { .. })));
    let e = eigh(
        &a,
        &EighOptions {
            recovery: EighRecovery::OneSketch,
            sizes: Sizes::from_right(8),
            rank: None,
            order: Order::Value,
        },
        &Settings::default(),
    );
    assert!(matches!(e, Err(Error::NotSymmetric { .. })));
    let all = svd(&a, &options(Recovery::Hmt { power: 0 }, 0), &Settings::default()).unwrap();
    assert_eq!(all.s.len(), 10);
}

#[test]
fn synthetic_matrices_are_what_they_say() {
    for (tail, symmetry) in
        [(Tail::Exp(0.1), Symmetry::General), (Tail::Poly(1.0), Symmetry::Psd), (Tail::Exp(0.5), Symmetry::Indefinite)]
    {
        let family = Family { rank: 5, tail, symmetry };
        let a = matrix(40, 40, &family, 9).unwrap();
        let s = dense::svd(a.as_ref()).unwrap().s;
        assert!(distance(&s, &family.spectrum(40)) < 1e-10);
        assert_eq!(a, matrix(40, 40, &family, 9).unwrap());
        let (b, d) = synthmat::lord(40, &family, 3.0, 9).unwrap();
        assert!((norm(&d) - 3.0 * fro(&a) / 40f64.sqrt()).abs() < 1e-10);
        assert!((0..40).all(|i| (b[(i, i)] - a[(i, i)] - d[i]).abs() < 1e-15));
    }
    let wide = matrix(20, 30, &Family { rank: 3, tail: Tail::Exp(1.0), symmetry: Symmetry::General }, 1).unwrap();
    assert_eq!((wide.nrows(), wide.ncols()), (20, 30));
    assert!(matrix(20, 30, &Family { rank: 3, tail: Tail::None, symmetry: Symmetry::Psd }, 1).is_err());
    let noise = matrix(30, 30, &Family { rank: 4, tail: Tail::Noise(1e-2), symmetry: Symmetry::Psd }, 1).unwrap();
    let low = dense::eigvalsh(noise.as_ref()).unwrap();
    assert!(low[0] > -1e-15 && low[29] > 0.99 && low[25] < 0.1);
    let family = Family { rank: 4, tail: Tail::None, symmetry: Symmetry::Indefinite };
    let implicit = synthmat::implicit_lord(30, &family, 2.0, 5).unwrap();
    assert_eq!(implicit.low_rank_part().rank(), 4);
    assert!((norm(implicit.diagonal_part()) - 2.0 * (4.0f64 / 30.0).sqrt()).abs() < 1e-12);
}
