//! Failing decompositions, and what only the inside shows.

use super::factor::Factor;
use super::ladder::Decompositions;
use super::modes::Shape;
use super::*;
use crate::blockwise::{Call, Rule};
use crate::{presets, reference};
use numerics::dense::FactorWork;
use numerics::{MatMut, Par, Scalar};

fn wave<T: Scalar>(n: usize, t: usize) -> Vec<T> {
    let at = |i: usize| 0.3 + 1.7 * i as f64 + 0.31 * (t * t) as f64 + 0.9 * (t as f64);
    (0..n).map(|i| T::from_f64(at(i).sin())).collect()
}

fn kron<T: Scalar>(config: &KronConfig, dims: &[usize]) -> Kron<T> {
    Kron::new(config, dims, &vec![FactorKind::Dense; dims.len()], 0)
}

/// One step; the direction, or `None` if there is none, and the stuck mode.
fn step<T: Scalar>(rule: &mut Kron<T>, g: &[T]) -> (Option<Vec<T>>, Option<usize>) {
    let (mut out, mut scratch) = (vec![T::ZERO; g.len()], vec![T::ZERO; rule.scratch_len()]);
    let call = Call { g, out: &mut out, scratch: &mut scratch, batch: 1.0, par: Par::Seq };
    let done = rule.direction(call).unwrap();
    (done.moves.then_some(out), done.stuck)
}

fn no_eigh<T>(_: &mut FactorWork<T>, _: MatMut<'_, T>, _: &mut [T], _: MatMut<'_, T>) -> Result<(), numerics::Error> {
    Err(numerics::Error::NoConvergence { op: "eigh", n: 0 })
}

fn no_qr<T>(_: &mut FactorWork<T>, _: MatMut<'_, T>, _: MatMut<'_, T>) -> Result<(), numerics::Error> {
    Err(numerics::Error::NotFinite { op: "qr", operand: "the matrix" })
}

#[test]
fn a_failing_decomposition_keeps_the_old_basis_and_is_an_error_the_fourth_time() {
    failing::<f64>();
    failing::<f32>();
}

fn failing<T: Scalar>() {
    for config in [reference::kl_shampoo(), presets::recommended::kl_shampoo(), reference::soap()] {
        let config = KronConfig { period: 2, ..config };
        let mut rule = kron::<T>(&config, &[4, 5]);
        for t in 0..5 {
            step(&mut rule, &wave(20, t));
        }
        rule.tools = Decompositions { eigh: no_eigh, qr: no_qr };
        let mut stuck = Vec::new();
        for t in 5..13 {
            let before: Vec<_> = rule.factors.iter().map(|f| f.q.clone()).collect();
            let (direction, failed) = step(&mut rule, &wave(20, t));
            assert!(direction.unwrap().iter().all(|x| x.is_finite()));
            // Sorting permutes columns and what is attached to them; it is no new basis.
            if !config.sort {
                assert_eq!(rule.factors.iter().map(|f| f.q.clone()).collect::<Vec<_>>(), before);
            }
            stuck.push(failed);
        }
        // The counter stands at 4: refreshes at 6, 8, 10, 12; the fourth failure is one too many.
        let expected = [None, None, None, None, None, None, None, Some(0)];
        assert_eq!(stuck, expected, "{config:?}");
        assert_eq!(rule.factors[0].failures, 4);
        // One success forgives.
        rule.tools = Decompositions::default();
        for t in 13..15 {
            assert_eq!(step(&mut rule, &wave(20, t)).1, None);
        }
        assert_eq!(rule.factors[0].failures, 0);
    }
}

#[test]
fn a_failing_qr_alone_is_replaced_by_eigenvectors() {
    replaced::<f64>();
    replaced::<f32>();
}

fn replaced<T: Scalar>() {
    for config in [reference::kl_shampoo(), presets::recommended::kl_shampoo()] {
        let config = KronConfig { period: 1, ..config };
        let mut rule = kron::<T>(&config, &[4, 5]);
        step(&mut rule, &wave(20, 0));
        rule.tools.qr = no_qr;
        for t in 1..4 {
            assert_eq!(step(&mut rule, &wave(20, t)).1, None);
        }
        assert_eq!(rule.factors[1].failures, 0);
        let q = modes::square(&rule.factors[1].q, 5);
        let defect = (q.transpose() * q - numerics::Mat::<T>::identity(5, 5)).norm_max();
        assert!(defect.to_f64() < 450.0 * T::EPS.to_f64());
    }
}

#[test]
fn a_failure_at_the_first_call_starts_from_the_identity() {
    let mut rule = kron::<f64>(&reference::kl_shampoo(), &[3, 3]);
    rule.tools = Decompositions { eigh: no_eigh, qr: no_qr };
    assert_eq!(step(&mut rule, &wave(9, 0)), (None, None));
    assert_eq!(rule.factors[0].failures, 1);
    assert_eq!(rule.factors[0].q, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert!(step(&mut rule, &wave(9, 1)).0.is_some());
}

#[test]
fn a_zero_gradient_says_nothing_to_a_start_from_the_first_gradient() {
    let mut rule = kron::<f64>(&presets::recommended::kl_shampoo(), &[3, 4]);
    for _ in 0..3 {
        assert_eq!(step(&mut rule, &[0.0; 12]), (None, None));
    }
    assert!(!rule.begun && rule.step == 0);
    assert_eq!(step(&mut rule, &wave(12, 0)), (None, None));
    let moved = step(&mut rule, &wave(12, 1)).0.unwrap();
    assert!(moved.iter().all(|x| x.is_finite()) && moved.iter().any(|x| *x != 0.0));
    // Eigenvalues have the scale of the gradient: lambda_a lambda_b is its mean square.
    let mut fresh = kron::<f64>(&presets::recommended::kl_shampoo(), &[3, 4]);
    let g = wave(12, 0);
    step(&mut fresh, &g);
    let l = Factor::eigenvalue(fresh.factors[0].e[0]) * Factor::eigenvalue(fresh.factors[1].e[0]);
    assert!((l - g.iter().map(|x| x * x).sum::<f64>() / 12.0).abs() < 1e-14);
}

/// `lambda_t - diag(Q^T S_t Q) = b^t (lambda_0 - diag(Q^T S_0 Q))` while the basis stays and the clamp is off. Each of 40
/// steps rounds both sides a few times: 300 units in the last place of the largest eigenvalue, or of one.
#[test]
fn the_two_eigenvalue_schemes_differ_by_their_start() {
    schemes::<f64>();
    schemes::<f32>();
}

fn schemes<T: Scalar>() {
    for storage in [Storage::Original, Storage::Rotated] {
        let config = KronConfig { period: 1000, clamp: Clamp::None, storage, ..reference::kl_shampoo() };
        let mut rule = kron::<T>(&config, &[4, 5]);
        step(&mut rule, &wave(20, 0));
        let mut largest = 1.0_f64;
        let mut gap = |rule: &Kron<T>| -> Vec<f64> {
            let mut all = Vec::new();
            for mut f in rule.factors.clone() {
                f.complete();
                let mut d = vec![T::ZERO; f.n];
                basis::projected_diagonal(storage, &f, &mut d, &mut [T::ZERO; 25], Par::Seq);
                all.extend(f.e.iter().zip(&d).map(|(&e, d)| (Factor::eigenvalue(e) - *d).to_f64()));
                largest = d.iter().fold(largest, |l, d| l.max(d.to_f64()));
            }
            all
        };
        let start = gap(&rule);
        let mut worst = 0.0_f64;
        for t in 1..=40 {
            step(&mut rule, &wave(20, t));
            let decay = 0.98_f64.powi(t as i32);
            worst = gap(&rule).iter().zip(&start).map(|(a, b)| (a - decay * b).abs()).fold(worst, f64::max);
        }
        let bound = 300.0 * T::EPS.to_f64() * largest;
        assert!(worst < bound, "{storage:?}: {worst:e} of {bound:e}");
    }
}

/// `delta = diag(Q^T D Q)`, `D_a = G S_b^-1 G^T / n`, `D_b = G^T S_a^-1 G / m`: from the projected gradient, from the factor
/// that one gradient makes, and by plain products. With a decay of zero `delta` is the new eigenvalue.
#[test]
fn eigenvalues_are_the_diagonal_of_the_projected_statistics() {
    projected_statistics::<f64>(1e-14);
    // Two products, and weights whose squares span less than a hundred.
    projected_statistics::<f32>(300.0 * f64::from(f32::EPSILON));
}

fn projected_statistics<T: Scalar>(tolerance: f64) {
    let dims = [4_usize, 5];
    for storage in [Storage::Original, Storage::Rotated] {
        let config = KronConfig { clamp: Clamp::None, storage, period: 3, ..reference::kl_shampoo() };
        let mut rule = kron::<T>(&config, &dims);
        for t in 0..8 {
            step(&mut rule, &wave(20, t));
        }
        rule.config.statistics_beta = Some(0.0);
        // No refresh may come between the two ways.
        rule.config.period = 1000;
        let g = wave::<T>(20, 8);
        let (mut projected, mut read_off) = (rule.clone(), rule.clone());
        read_off.config.eigenvalues = Eigenvalues::Instantaneous;
        step(&mut projected, &g);
        step(&mut read_off, &g);
        let g = numerics::Mat::from_fn(4, 5, |i, j| g[i * 5 + j].to_f64());
        for (j, other) in [(0, 1), (1, 0)] {
            let (q, o) = (&rule.factors[j], &rule.factors[other]);
            let inverse = numerics::Mat::from_fn(o.n, o.n, |a, b| {
                let term = |k: usize| o.q[a * o.n + k].to_f64() * o.e[k].to_f64().powi(2) * o.q[b * o.n + k].to_f64();
                (0..o.n).map(term).sum::<f64>()
            });
            let g = if j == 0 { g.clone() } else { g.transpose().to_owned() };
            let statistics = &g * inverse * g.transpose();
            let basis = numerics::Mat::from_fn(q.n, q.n, |a, b| q.q[a * q.n + b].to_f64());
            let turned = basis.transpose() * statistics * basis;
            for i in 0..q.n {
                let expected = turned[(i, i)] / dims[other] as f64;
                for found in [&projected, &read_off] {
                    let l = Factor::eigenvalue(found.factors[j].e[i]).to_f64();
                    assert!(
                        (l - expected).abs() < tolerance * expected.max(1.0),
                        "{storage:?} {j} {i}: {l} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_product_clamp_does_not_see_the_gauge() {
    let start = |c: f64| {
        let mut a = Factor::<f64>::new(3, FactorKind::Dense);
        let mut b = Factor::<f64>::new(2, FactorKind::Diagonal);
        a.e.copy_from_slice(&[1.0, 1e7, 0.0]);
        b.e.copy_from_slice(&[1e9, 2.0]);
        a.e.iter_mut().for_each(|e| *e /= c.sqrt());
        b.e.iter_mut().for_each(|e| *e *= c.sqrt());
        let mut all = [a, b];
        factor::clamp_product(&mut all, 1e-8);
        let mut products = Vec::new();
        for x in &all[0].e {
            products.extend(all[1].e.iter().map(|y| x * y));
        }
        products
    };
    let plain = start(1.0);
    for c in [1e-3, 1e3] {
        assert!(start(c).iter().zip(&plain).all(|(a, b)| (a / b - 1.0).abs() < 2e-15 * 10.0));
    }
    // The two smallest eigenvalues multiply to the floor.
    let least = plain.iter().fold(0.0_f64, |m, &e| m.max(e));
    assert!((1.0 / (least * least) / 1e-8 - 1.0).abs() < 1e-12);
    // Nothing to go by: the floor is shared evenly.
    let mut zero = [Factor::<f64>::new(2, FactorKind::Dense), Factor::<f64>::new(2, FactorKind::Dense)];
    factor::clamp_product(&mut zero, 1e-8);
    assert!(zero.iter().all(|f| f.e.iter().all(|e| (e - 1e2).abs() < 1e-10)));
}

#[test]
fn balancing_changes_no_product() {
    let mut rule = kron::<f64>(&KronConfig { balance: false, ..KronConfig::default() }, &[3, 4, 2]);
    for t in 0..6 {
        step(&mut rule, &wave(24, t));
    }
    rule.factors[0].s.iter_mut().for_each(|s| *s *= 1e3);
    rule.factors[0].e.iter_mut().for_each(|e| *e *= 1e-2);
    let product = |rule: &Kron<f64>| rule.factors[0].e[1] * rule.factors[1].e[2] * rule.factors[2].e[0];
    let before = product(&rule);
    factor::balance(&mut rule.factors);
    assert!((product(&rule) / before - 1.0).abs() < 1e-14);
    let mean = rule.factors[0].mean_eigenvalue();
    assert!(rule.factors.iter().all(|f| (f.mean_eigenvalue() / mean - 1.0).abs() < 1e-13));
}

/// With the third factor held at the identity the order-3 formulas are those of the matrix, up to the order of sums: the same
/// number of units in the last place in both precisions.
#[test]
fn a_third_mode_of_length_one_that_stays_fixed_changes_nothing() {
    third_mode::<f64>(1e-12);
    third_mode::<f32>(1e-12 / f64::EPSILON * f64::from(f32::EPSILON));
}

fn third_mode<T: Scalar>(tolerance: f64) {
    let config = KronConfig { released_order3: false, clamp: Clamp::None, ..reference::kl_shampoo() };
    let mut flat = kron::<T>(&config, &[4, 5]);
    let kinds = [FactorKind::Dense, FactorKind::Dense, FactorKind::Identity];
    let mut cube = Kron::new(&config, &[4, 5, 1], &kinds, 0);
    for t in 0..30 {
        let g = wave(20, t);
        let (a, b) = (step(&mut flat, &g).0, step(&mut cube, &g).0);
        let (Some(a), Some(b)) = (a, b) else { continue };
        let near = |(a, b): (&T, &T)| (*a - *b).to_f64().abs() < tolerance * (1.0 + a.to_f64().abs());
        assert!(a.iter().zip(&b).all(near), "{t}");
    }
    assert_eq!(cube.shape, Shape::new(&[4, 5, 1]));
}
