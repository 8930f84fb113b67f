//! Damped Kronecker inverses, pseudo-inverses, and the choice of an algorithm.

use crate::rules::{allowed, near, off};
use crate::samples::*;
use linop_core::dispatch::Limits;
use linop_core::inverse::{Algorithm, AutoOptions, Damping, damped, pinv, solver};
use linop_core::ops::*;
use linop_core::testing::{check_operator, fixed_mat, max_abs};
use linop_core::{Error, Kind, LinearOperator, Op, Props, algebra};
use numerics::{Mat, MatRef, Par, Scalar, dense};
use proptest::prelude::*;

fn of<T: Scalar>(a: &Op<T>, delta: f64, damping: Damping) -> Result<linop_core::inverse::Damped<T>, Error> {
    damped(a, &[delta], damping, Limits::default(), Par::Seq)
}

fn inverts<T: Scalar>(inverse: &Op<T>, m: &Mat<T>, what: &str) -> Result<(), TestCaseError> {
    let d = inverse.to_dense(Par::Seq).unwrap();
    near(off(&mul(&d, m), &eye(m.nrows())), T::ZERO, crate::rules::condition(m), what)
}

fn three_dampings<T: Scalar>(seed: u64, delta: f64) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>(3, 4, seed);
    let (b, db) = square::<T>(2, 3, seed + 1);
    let k = a.kron(&b).unwrap();
    let shift = |m: &Mat<T>, s: f64| add(m, &scale(s, &eye(m.nrows())));
    let exact = of(&k, delta, Damping::Exact).unwrap();
    prop_assert!(matches!(exact.inverse.kind(), Kind::Eigh(_)));
    prop_assert!(exact.inverse.props().contains(Props::PD));
    inverts(&exact.inverse, &shift(&kron(&da, &db), delta), "exact")?;
    let plain = of(&k, delta, Damping::Plain).unwrap();
    inverts(&plain.inverse, &kron(&shift(&da, delta), &shift(&db, delta)), "plain")?;
    prop_assert_eq!(plain.report.shifts, vec![vec![delta; 2]]);
    let trace = |m: &Mat<T>| (0..m.nrows()).map(|i| m[(i, i)].to_f64()).sum::<f64>() / m.nrows() as f64;
    let rho = (trace(&db) / trace(&da)).sqrt();
    let root = delta.sqrt();
    let heuristic = of(&k, delta, Damping::HEURISTIC).unwrap();
    inverts(&heuristic.inverse, &kron(&shift(&da, root / rho), &shift(&db, root * rho)), "heuristic")?;
    prop_assert_eq!(heuristic.report.floored + heuristic.report.zero_traces, 0);
    // Scale moved between the factors, or pulled out in front, changes nothing.
    let moved = a.scaled(T::from_f64(8.0)).kron(&b.scaled(T::from_f64(0.125))).unwrap();
    let again = of(&moved, delta, Damping::HEURISTIC).unwrap().inverse.to_dense(Par::Seq).unwrap();
    let first = heuristic.inverse.to_dense(Par::Seq).unwrap();
    near(off(&again, &first), T::ZERO, max_abs(first.as_ref()), "invariance")?;
    // The operand is left as it was.
    near(off(&k.to_dense(Par::Seq).unwrap(), &kron(&da, &db)), T::ZERO, 1.0, "operand")
}

fn pseudo_inverses<T: Scalar>(seed: u64) -> Result<(), TestCaseError> {
    let thin = fixed_mat::<T>(5, 2, seed);
    let wide = fixed_mat::<T>(2, 4, seed + 1);
    let low = LowRank::new(thin.clone(), None, Some(tr(&wide))).unwrap();
    let deficient = mul(&thin, &wide);
    let (p, dp) = square::<T>(3, 4, seed);
    let (d, dd) = square::<T>(6, 4, seed);
    let cases: Vec<Pair<T>> = vec![
        (Op::new(low), deficient.clone()),
        (Op::dense(deficient.clone()), deficient.clone()),
        (Op::dense(thin.clone()), thin.clone()),
        (Op::dense(wide.clone()), wide.clone()),
        (p.clone(), dp.clone()),
        (d.clone(), dd.clone()),
        (d.kron(&Op::dense(thin.clone())).unwrap(), kron(&dd, &thin)),
        (algebra::block_diag(&[p, Op::dense(wide.clone())]).unwrap(), direct(&dp, &wide)),
        (Op::dense(thin.clone()).scaled(T::from_f64(-2.0)).t(), scale(-2.0, &tr(&thin))),
        (Op::zero(2, 3), Mat::zeros(2, 3)),
        (d.kron_sum(&d).unwrap(), add(&kron(&dd, &eye(4)), &kron(&eye(4), &dd))),
        (
            Op::new(Selection::new(vec![2, 0], 3).unwrap()),
            Mat::from_fn(2, 3, |i, j| if [2, 0][i] == j { T::ONE } else { T::ZERO }),
        ),
    ];
    let threshold = Some(if size_of::<T>() == 4 { 1e-4 } else { 1e-10 });
    for (i, (a, m)) in cases.iter().enumerate() {
        let plus = pinv(a, threshold, Limits::default(), Par::Seq).unwrap();
        prop_assert_eq!((plus.nrows(), plus.ncols()), (m.ncols(), m.nrows()));
        let x = plus.to_dense(Par::Seq).unwrap();
        // The four conditions of Penrose.
        let (ax, xa) = (mul(m, &x), mul(&x, m));
        let size = max_abs(m.as_ref()) * (1.0 + max_abs(x.as_ref())).powi(2) * 10.0;
        near(off(&mul(&ax, m), m), T::ZERO, size, &format!("A X A = A, case {i}"))?;
        near(off(&mul(&xa, &x), &x), T::ZERO, size, &format!("X A X = X, case {i}"))?;
        near(off(&ax, &tr(&ax)), T::ZERO, size, &format!("A X symmetric, case {i}"))?;
        near(off(&xa, &tr(&xa)), T::ZERO, size, &format!("X A symmetric, case {i}"))?;
        check_operator(&plus, x.as_ref(), 100.0 * T::EPS.to_f64());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn dampings_match_dense(seed in 0u64..1000, delta in 1e-3f64..1.0) {
        three_dampings::<f64>(seed, delta)?;
        three_dampings::<f32>(seed, delta)?;
    }

    #[test]
    fn pseudo_inverses_meet_penrose(seed in 0u64..1000) {
        pseudo_inverses::<f64>(seed)?;
        pseudo_inverses::<f32>(seed)?;
    }
}

fn psd(m: Mat<f64>) -> Op<f64> {
    Op::new(Dense::with_props(m, Props::PSD))
}

#[test]
fn the_heuristic_of_degenerate_factors() {
    let (b, _) = square::<f64>(2, 3, 1);
    let zero = psd(Mat::zeros(2, 2));
    let with_zero = Op::new(Kronecker::new(vec![zero.clone(), b.clone()]).unwrap());
    let d = of(&with_zero, 0.04, Damping::HEURISTIC).unwrap();
    assert_eq!((d.report.zero_traces, &d.report.shifts[0][..]), (1, &[0.2, 0.2][..]));
    let negative =
        Op::new(Dense::with_props(Mat::from_fn(2, 2, |i, j| if i == j { -1.0 } else { 0.0 }), Props::SELF_ADJOINT));
    let k = Op::new(Kronecker::new(vec![negative, b.clone()]).unwrap());
    assert!(matches!(of(&k, 0.1, Damping::HEURISTIC), Err(Error::InvalidArgument { .. })));
    // A floor that acts is reported.
    let tiny = psd(Mat::from_fn(2, 2, |i, j| if i == j { 1e-14 } else { 0.0 }));
    let large = psd(Mat::from_fn(2, 2, |i, j| if i == j { 1e14 } else { 0.0 }));
    let d = of(&Op::new(Kronecker::new(vec![tiny, large]).unwrap()), 1e-4, Damping::HEURISTIC).unwrap();
    assert_eq!((d.report.floored, d.report.shifts[0][0]), (1, 1e-8));
    let three = b.kron(&b).unwrap().kron(&b).unwrap();
    assert!(matches!(of(&three, 0.1, Damping::HEURISTIC), Err(Error::InvalidArgument { .. })));
    assert!(of(&three, 0.1, Damping::Exact).is_ok() && of(&three, 0.1, Damping::Plain).is_ok());
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(of(&three, bad, Damping::Plain), Err(Error::InvalidArgument { .. })));
    }
    let general = Op::dense(fixed_mat::<f64>(2, 2, 1));
    assert!(matches!(of(&general.kron(&b).unwrap(), 0.1, Damping::Exact), Err(Error::MissingProperty { .. })));
    // Nothing to invert without damping.
    assert!(matches!(of(&with_zero, 0.0, Damping::Exact), Err(Error::Singular { .. })));
}

#[test]
fn negative_rounding_of_psd_factors_is_clipped_and_counted() {
    let e = Eigh::new(Op::identity(2), vec![1.0, -1e-17]).unwrap();
    let factor = Op::new(e).assume(Props::PSD);
    let d = of(&factor.kron(&factor).unwrap(), 0.5, Damping::Exact).unwrap();
    assert_eq!(d.report.clipped, 2);
    let m = d.inverse.to_dense(Par::Seq).unwrap();
    assert!((m[(0, 0)] - 1.0 / 1.5).abs() < 1e-15 && m[(3, 3)] == 2.0);
    // An Eigh operator is damped on its eigenvalues.
    let d = of(&factor, 0.25, Damping::Plain).unwrap();
    assert!(matches!(d.inverse.kind(), Kind::Eigh(e) if e.values()[1] == 4.0));
}

#[test]
fn blocks_are_damped_one_by_one() {
    let (a, da) = square::<f64>(2, 2, 1);
    let (b, db) = square::<f64>(2, 3, 2);
    let kfac = algebra::block_diag(&[a.kron(&b).unwrap(), b.clone(), a.kron(&b).unwrap()]).unwrap();
    let deltas = [0.1, 0.2, 0.3];
    let d = damped(&kfac, &deltas, Damping::Exact, Limits::default(), Par::Seq).unwrap();
    let shift = |m: &Mat<f64>, s: f64| add(m, &scale(s, &eye(m.nrows())));
    let k = kron(&da, &db);
    let want = direct(&direct(&shift(&k, 0.1), &shift(&db, 0.2)), &shift(&k, 0.3));
    inverts(&d.inverse, &want, "per block").unwrap();
    assert_eq!(d.report.shifts, [[0.1], [0.2], [0.3]]);
    let wrong = damped(&kfac, &[0.1, 0.2], Damping::Exact, Limits::default(), Par::Seq);
    assert!(matches!(wrong, Err(Error::InvalidArgument { .. })));
}

#[test]
fn single_precision_cholesky_is_retried_in_double() {
    // Singular but for a shift near the rounding of f32: the factorisation fails in one precision, not in the other.
    let n = 60;
    let mut retried = 0;
    for (seed, shift) in (0..60).flat_map(|s| [1e-7, 1e-6, 4e-6].map(|d| (s, d))) {
        let m = square::<f32>(0, n, seed).1;
        let m =
            Mat::from_fn(n, n, |i, j| (1..n).map(|l| f64::from(m[(i, l)]) * f64::from(m[(j, l)])).sum::<f64>() as f32);
        let factor = Op::new(Dense::with_props(m.clone(), Props::PD));
        let Ok(d) = of(&factor, shift, Damping::Plain) else { continue };
        retried += d.report.retried;
        assert_eq!(d.report.retried == 1, matches!(d.inverse.kind(), Kind::Chain(_)));
        assert!(d.inverse.props().contains(Props::PD));
        if d.report.retried == 1 {
            // The factor of the double-precision matrix, rounded.
            let x = d.inverse.to_dense(Par::Seq).unwrap();
            let wide = Mat::from_fn(n, n, |i, j| f64::from(m[(i, j)]) + if i == j { shift } else { 0.0 });
            let exact = dense::Llt::new(wide.as_ref(), Par::Seq).unwrap().inverse();
            let scale = max_abs(exact.as_ref());
            let off = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|p| (f64::from(x[p]) - exact[p]).abs());
            assert!(off.fold(0.0, f64::max) <= 1e-4 * scale);
        }
    }
    assert!(retried > 0, "no case was found");
    // In f64 the pivot is handed back.
    let indefinite = Mat::from_fn(2, 2, |i, j| if i == j { [10.0, -0.15][i] } else { 0.0 });
    let claimed = Op::new(Dense::with_props(indefinite, Props::PD));
    assert!(matches!(of(&claimed, 0.1, Damping::Plain), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
}

#[test]
fn the_choice_follows_cost_and_facts() {
    let options = AutoOptions::default();
    let hidden = |props: Props, n: usize| {
        let closure = ClosureOp::<f64>::new(n, n, |mut out, x| {
            for j in 0..x.ncols() {
                for i in 0..x.nrows() {
                    out[(i, j)] = x[(i, j)] * (1.0 + i as f64 / x.nrows() as f64);
                }
            }
            Ok(())
        });
        let same = |mut out: numerics::MatMut<'_, f64>, x: MatRef<'_, f64>| {
            for j in 0..x.ncols() {
                for i in 0..x.nrows() {
                    out[(i, j)] = x[(i, j)] * (1.0 + i as f64 / x.nrows() as f64);
                }
            }
            Ok(())
        };
        Op::new(closure.with_transpose(same).with_props(props))
    };
    for (props, algorithm) in
        [(Props::PD, Algorithm::Cg), (Props::SELF_ADJOINT, Algorithm::Minres), (Props::NONE, Algorithm::Gmres)]
    {
        let a = hidden(props, 3000);
        let (inverse, report) = solver(&a, &options, Par::Seq).unwrap();
        assert_eq!(report.algorithm(), Some(algorithm));
        assert!(report.choices[0].dense_flops.unwrap() > 0.0);
        let x = numerics::Mat::from_fn(3000, 1, |i, _| 1.0 + i as f64 / 3000.0);
        let mut out = Mat::zeros(3000, 1);
        let mut buffer = numerics::MemBuffer::new(inverse.apply_req(1, Par::Seq));
        let stack = numerics::MemStack::new(&mut buffer);
        inverse.apply(out.as_mut(), 1.0, x.as_ref(), 0.0, Par::Seq, stack).unwrap();
        assert!((0..3000).all(|i| (out[(i, 0)] - 1.0).abs() < 1e-6));
        // The inverse of the inverse is the operand itself.
        assert!(inverse.inverse(Par::Seq).unwrap().same(&a));
    }
    // For many right-hand sides: factored.
    let many = AutoOptions { columns: 100_000, ..options };
    let (_, report) = solver(&hidden(Props::PD, 50), &many, Par::Seq).unwrap();
    assert_eq!(report.algorithm(), Some(Algorithm::Cholesky));
    let (_, report) = solver(&hidden(Props::NONE, 300), &many, Par::Seq).unwrap();
    assert_eq!(report.algorithm(), Some(Algorithm::Lu));
    let (_, report) = solver(&hidden(Props::SELF_ADJOINT, 50), &many, Par::Seq).unwrap();
    assert_eq!(report.algorithm(), Some(Algorithm::BunchKaufman));
    // Rectangular: least squares.
    let (tall, dt) = rectangle::<f64>(6, 3, 1);
    let (inverse, report) = solver(&tall, &options, Par::Seq).unwrap();
    assert_eq!(report.algorithm(), Some(Algorithm::Lsmr));
    let left = mul(&inverse.to_dense(Par::Seq).unwrap(), &dt);
    assert!(off(&left, &eye(3)) < 1e-6);
    // A nested choice is reported with its parts.
    let nested = hidden(Props::PD, 3000).kron(&Op::diag(vec![1.0, 2.0])).unwrap();
    let (_, report) = solver(&nested, &options, Par::Seq).unwrap();
    let algorithms: Vec<_> = report.choices.iter().map(|c| (c.depth, c.algorithm)).collect();
    assert_eq!(algorithms, [(0, Algorithm::Kronecker), (1, Algorithm::Elementwise), (1, Algorithm::Cg)]);
    assert_eq!(report.to_string().lines().count(), 3);
    assert!(report.to_string().starts_with("6000 x 6000: Kronecker factors (the structure has a rule)"));
    assert!(allowed::<f64>().near < allowed::<f32>().near);
}
