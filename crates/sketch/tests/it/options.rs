//! Bad sizes, options and parts, where they are not an operator's: each has its own error, and nothing panics.

use crate::util::*;
use linop_core::krylov::{EigshOptions, Reorth};
use linop_core::ops::{Dense, Diagonal};
use linop_core::testing::fixed_mat;
use linop_core::{LinearOperator, Op, Props, to_dense};
use numerics::progress::Silent;
use numerics::rng::{Law, Role};
use numerics::{Mat, Par};
use sketch::synthmat::{Family, Symmetry, Tail};
use sketch::*;

fn default() -> Settings<'static> {
    Settings::default()
}

fn argument<T: std::fmt::Debug>(found: Result<T, Error>) {
    assert!(matches!(found, Err(Error::InvalidArgument { .. })), "{found:?}");
}

fn too_small<T: std::fmt::Debug>(found: Result<T, Error>) {
    assert!(matches!(found, Err(Error::SketchTooSmall { .. })), "{found:?}");
}

fn too_many<T: std::fmt::Debug>(found: Result<T, Error>) {
    assert!(matches!(found, Err(Error::TooManyProbes { .. })), "{found:?}");
}

fn harmonic(n: usize) -> Diagonal<f64> {
    Diagonal::new((0..n).map(|i| 1.0 / (1 + i) as f64).collect())
}

#[test]
fn tolerances_and_numbers_of_estimators() {
    let a = opaque(&with_spectrum(&(0..30).map(|i| 1.0 / f64::from(1 + i)).collect::<Vec<_>>(), 1), Props::PD, false);
    for (abs, rel) in [(-1.0, 0.0), (0.0, -1.0), (f64::NAN, 0.0), (0.0, f64::NAN)] {
        let budget = Budget::Tolerance { abs, rel, max_products: 20 };
        argument(trace(&a, TraceMethod::Hutchinson, budget, &default()));
    }
    for (eta, delta) in [(0.0, 0.1), (-1.0, 0.1), (f64::NAN, 0.1), (0.1, 0.0), (0.1, 1.0), (0.1, f64::NAN)] {
        let method = TraceMethod::AdaptiveHutchPp { eta, delta };
        argument(estimate_trace(&a, method, Budget::Products(20), &default()));
    }
    for rtol in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        argument(diagonal_within(&a, DiagonalMethod::XNysDiag, rtol, 20, &default()));
    }
    let all = DiagonalMethod::XDiag { extra: usize::MAX };
    too_small(diagonal(&a, all, 20, &default()));
    too_small(diagonal_within(&a, all, 0.1, 20, &default()));
    let ratio = DiagonalMethod::Hutchinson { ratio: true };
    argument(diagonal(&a, ratio, 5, &default().with_law(Law::Coordinates)));
    for k in [30, -30, isize::MAX, isize::MIN] {
        argument(sub_diagonal(&a, k, 5, &default()));
    }
    assert_eq!(sub_diagonal(&a, -29, 5, &default()).unwrap().value.len(), 1);
    for tol in [-1.0, 1.0, f64::NAN] {
        argument(spectral_norm(&a, tol, &default()));
    }
    for alpha in [1.0, 0.0, f64::NAN, f64::INFINITY] {
        argument(norm_upper_bound(&a, alpha, 5, &default()));
    }
}

#[test]
fn sizes_of_sketches() {
    for r in [0, 1, usize::MAX] {
        let sizes = Sizes::for_rank(r);
        assert!(sizes.right > r || r == usize::MAX);
        assert!(sizes.left >= sizes.right && sizes.inner >= sizes.right);
    }
    // sizes beyond the operator's are cut to it, and then the result is exact
    let a = Dense::new(fixed_mat::<f64>(9, 7, 2));
    let options = |sizes| SvdOptions { recovery: Recovery::TwoSketch, sizes, rank: Some(usize::MAX) };
    let f = svd(&a, &options(Sizes::for_rank(usize::MAX)), &default()).unwrap();
    assert_eq!(f.s.len(), 7);
    let exact = numerics::dense::svd(fixed_mat::<f64>(9, 7, 2).as_ref()).unwrap().s;
    assert!(distance(&f.s, &exact) < 1e-10 * norm(&exact));
    let empty = svd(&a, &SvdOptions { rank: Some(0), ..options(Sizes::for_rank(2)) }, &default()).unwrap();
    assert_eq!((empty.s.len(), empty.u.ncols(), empty.v.ncols()), (0, 0, 0));
    let all = usize::MAX;
    assert_eq!(range_krylov(&a, 2, all, &default()).unwrap().q.ncols(), 7);
    let tolerance = RangeTolerance { abs: 0.0, rel: 0.0, step: all, max_columns: all };
    assert_eq!(range_adaptive(&a, &tolerance, &default()).unwrap().status, Status::Exact);
    for tolerance in [
        RangeTolerance { step: 0, ..tolerance },
        RangeTolerance { abs: -1.0, ..tolerance },
        RangeTolerance { rel: f64::NAN, ..tolerance },
    ] {
        argument(range_adaptive(&a, &tolerance, &default()));
    }
    // one column shows no eigenpair
    let one =
        EighOptions { recovery: EighRecovery::OneSketch, sizes: Sizes::from_right(1), rank: None, order: Order::Value };
    too_small(eigh(&harmonic(9), &one, &default()));
}

#[test]
fn certificates_of_other_shapes() {
    let (a, b) = (harmonic(6), Dense::new(fixed_mat::<f64>(6, 5, 3)));
    argument(certify(&a, &b, 3, &default()));
    argument(error_norm(&a, &b, 3, &default()));
    too_small(error_norm(&a, &harmonic(6), 0, &default()));
    assert_eq!(error_norm(&a, &harmonic(6), 3, &default()).unwrap(), 0.0);
    let nothing = Dense::new(Mat::<f64>::zeros(6, 6));
    assert_eq!(certify(&nothing, &nothing, 3, &default()).unwrap().residual_energy(), 0.0);
    // bounds of probabilities stay bounds
    for (q, eta) in [(0, 0.5), (10, 0.0), (10, 1.0), (10, 5.0), (usize::MAX, 0.1)] {
        let (low, high) = tail_bounds(q, eta, Field::Real);
        assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high), "{q} {eta}: {low} {high}");
    }
    assert_eq!(scree(&[], 0.0, 1.0), Scree { lower: vec![0.0], upper: vec![0.0] });
    let nan = Dense::new(Mat::from_fn(6, 6, |i, j| if (i, j) == (2, 4) { f64::NAN } else { 0.0 }));
    assert!(matches!(certify(&a, &nan, 3, &default()), Err(Error::NonFinite { column: 0, .. })));
}

#[test]
fn options_of_nystrom() {
    let a = harmonic(40);
    for mu in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        argument(nystrom_adaptive(&a, mu, &AdaptiveNystrom::default(), &default()));
        let low = nystrom(&a, 5, NystromVariant::Stable, &default()).unwrap();
        argument(NystromPrecond::<f64>::new(&low, mu));
        argument(NystromPrecond::<f64>::root(&low, mu));
    }
    let good = AdaptiveNystrom::default();
    too_small(nystrom_adaptive(&a, 1e-3, &AdaptiveNystrom { start: 0, ..good }, &default()));
    too_small(nystrom_adaptive(&a, 1e-3, &AdaptiveNystrom { max_rank: Some(0), ..good }, &default()));
    for bad in [
        AdaptiveNystrom { power_steps: 0, ..good },
        AdaptiveNystrom { error_factor: f64::NAN, ..good },
        AdaptiveNystrom { value_factor: -1.0, ..good },
    ] {
        argument(nystrom_adaptive(&a, 1e-3, &bad, &default()));
    }
    let most = AdaptiveNystrom { start: usize::MAX, max_rank: Some(usize::MAX), ..good };
    assert_eq!(nystrom_adaptive(&a, 1e-9, &most, &default()).unwrap().values.len(), 40);
    // a right-hand side of another height
    let b = Mat::from_fn(39, 1, |_, _| 1.0);
    let found = nystrom_solve(&a, 1e-3, b.as_ref(), &good, &Default::default(), &default());
    assert!(matches!(found, Err(Error::Operator(linop_core::Error::ShapeMismatch { .. }))));
}

#[test]
fn options_of_spectra() {
    let a = harmonic(40);
    for m in [0, 1, 39] {
        too_small(QuadratureOptions::for_products(m));
    }
    let good = QuadratureOptions::default();
    for bad in [QuadratureOptions { steps: 0, ..good }, QuadratureOptions { runs: 0, ..good }] {
        argument(trace_function(&a, f64::ln, &bad, &default()));
        argument(logdet(&opaque(&Mat::identity(4, 4), Props::PD, false), &bad, &default()));
        argument(schatten_norm(&a, 2.0, &bad, &default()));
    }
    argument(trace_function(&a, f64::ln, &good, &default().with_law(Law::Coordinates)));
    argument(trace_function(&a, |_| f64::NAN, &good, &default()));
    argument(trace_function_deflated(&a, |_| f64::INFINITY, 4, &good, &default()));
    for p in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        argument(schatten_norm(&a, p, &good, &default()));
    }
    let good = DensityOptions { steps: 5, runs: 2, points: 20, ..DensityOptions::default() };
    for bad in [
        DensityOptions { steps: 1, ..good },
        DensityOptions { runs: 0, ..good },
        DensityOptions { points: 1, ..good },
        DensityOptions { margin: -0.1, ..good },
        DensityOptions { margin: f64::INFINITY, ..good },
        DensityOptions { kappa: Some(1.0), ..good },
        DensityOptions { kappa: Some(f64::INFINITY), ..good },
    ] {
        argument(spectral_density(&a, &bad, &default()));
        argument(log_spectral_density(&a, &bad, &default()));
        argument(spectral_densities(&a, &bad, &default()));
    }
    for epsilon in [0.0, -1.0, f64::NAN] {
        argument(log_spectral_density(&a, &DensityOptions { epsilon, ..good }, &default()));
        argument(spectral_densities(&a, &DensityOptions { epsilon, ..good }, &default()));
    }
    // more steps than there are eigenvalues end by themselves
    let endless = QuadratureOptions { steps: usize::MAX, runs: 2, reorth: Reorth::Full };
    let t = trace_function(&a, |x| x * x, &endless, &default()).unwrap();
    let truth: f64 = (1..=40).map(|i| f64::from(i * i).recip()).sum();
    assert!((t.value - truth).abs() < 1e-10 && t.products <= 80, "{t:?}");
    for (moments, probes) in [(0, 2), (1, 2), (5, 0)] {
        argument(chebyshev_density(&a, moments, probes, &default()));
    }
    argument(chebyshev_density(&a, 5, 2, &default().with_law(Law::Coordinates)));
}

#[test]
fn pairs_near_a_number() {
    let a = Op::diag((0..20).map(f64::from).collect());
    let near = |a: &Op<f64>, sigma, k| eigenpairs_near(a, sigma, k, &EigshOptions::default(), &default());
    for sigma in [f64::NAN, f64::INFINITY] {
        argument(near(&a, sigma, 1));
    }
    // an eigenvalue itself
    assert!(near(&a, 3.0, 1).is_err());
    assert!(near(&a, 2.9, 21).is_err());
    assert!(near(&a, 2.9, 0).unwrap().values.is_empty());
    assert_eq!(near(&a, 2.9, 20).unwrap().values.len(), 20);
    let plain = Op::dense(fixed_mat::<f64>(6, 6, 4));
    assert!(matches!(near(&plain, 0.1, 1), Err(Error::NotSymmetric { .. })));
    let wide = Op::dense(fixed_mat::<f64>(6, 7, 4));
    assert!(matches!(near(&wide, 0.1, 1), Err(Error::NotSquare { .. })));
    let nan = opaque(&Mat::from_fn(6, 6, |i, j| if i == j { f64::NAN } else { 0.0 }), Props::SELF_ADJOINT, false);
    assert!(near(&nan, 0.1, 1).is_err());
}

#[test]
fn probes_as_operators() {
    let probe = Probe { law: Law::Gaussian, seed: 1, role: Role::RightProbe };
    assert_eq!((probe.columns(0, 0..3).nrows(), probe.columns(5, 2..2).ncols()), (0, 0));
    let omega = probe.operator(5, 4);
    too_many(omega.columns(3..5));
    assert_eq!(omega.columns(2..4).unwrap(), probe.columns(5, 2..4));
    let op: Op<f64> = Op::new(omega);
    assert!(op.times_mat(Mat::zeros(5, 1).as_ref(), Par::Seq).is_err());
    for (n, p) in [(0, 3), (3, 0)] {
        let dense: Mat<f64> = to_dense(&probe.operator(n, p), Par::Seq).unwrap();
        assert_eq!((dense.nrows(), dense.ncols()), (n, p));
    }
}

#[test]
fn structured_sketches_of_any_size() {
    for (n, l) in [(0, 0), (5, 0)] {
        too_small(Srht::new(n, l, 0, 0));
        too_small(Ssrht::new(n, l, 0, 0));
        too_small(SparseSigns::new(n, l, 0, 0));
        too_small(SparseSigns::count_sketch(n, l, 0, 0));
    }
    for (n, l) in [(0, 1), (5, 6)] {
        too_many(Srht::new(n, l, 0, 0));
        too_many(Ssrht::new(n, l, 0, 0));
        too_many(SparseSigns::new(n, l, 0, 0));
        too_many(SparseSigns::count_sketch(n, l, 0, 0));
    }
    too_many(Srht::new(5, 3, 0, 0).unwrap().columns(0..4));
    too_many(Ssrht::new(5, 3, 0, 0).unwrap().columns(0..4));
    too_many(SparseSigns::new(5, 3, 0, 0).unwrap().columns(0..4));
    let sketches: [Op<f64>; 4] = [
        Op::new(Srht::new(1, 1, 0, 0).unwrap()),
        Op::new(Ssrht::new(1, 1, 0, 0).unwrap()),
        Op::new(SparseSigns::new(1, 1, 0, 0).unwrap()),
        Op::new(SparseSigns::count_sketch(1, 1, 0, 0).unwrap()),
    ];
    for s in sketches {
        assert!((s.to_dense(Par::Seq).unwrap()[(0, 0)].abs() - 1.0).abs() < 1e-15);
        assert!(s.times_mat(Mat::zeros(2, 1).as_ref(), Par::Seq).is_err());
    }
    for n in [0, 3, 12] {
        argument(fwht(&mut vec![1.0f64; n]));
    }
    let mut one = [2.0f64];
    fwht(&mut one).unwrap();
    assert_eq!(one, [2.0]);
}

#[test]
fn triangles_and_bands() {
    let square = || Op::dense(fixed_mat::<f64>(6, 6, 5));
    let wide = || Op::dense(fixed_mat::<f64>(6, 7, 5));
    let not_square = |e: Result<Masked<f64>, Error>| assert!(matches!(e, Err(Error::NotSquare { .. })), "{e:?}");
    not_square(Masked::triangle(wide(), Side::Lower, None, 0, 0));
    not_square(Masked::band(wide(), 1, 1, 2, 0));
    argument(Masked::triangle(square(), Side::Lower, Some(0), 0, 0));
    too_small(Masked::band(square(), 1, 1, 0, 0));
    // a step, and a band, wider than the operator
    let all = usize::MAX;
    for side in [Side::Lower, Side::Upper] {
        let whole = Masked::triangle(square(), side, Some(all), 3, 0).unwrap();
        let cut = Masked::triangle(square(), side, Some(6), 3, 0).unwrap();
        assert_eq!(to_dense(&whole, Par::Seq).unwrap(), to_dense(&cut, Par::Seq).unwrap());
    }
    let whole = Masked::band(square(), all, all, 3, 0).unwrap();
    let cut = Masked::band(square(), 6, 6, 3, 0).unwrap();
    assert_eq!(to_dense(&whole, Par::Seq).unwrap(), to_dense(&cut, Par::Seq).unwrap());
    for n in [0, 1] {
        let small = Masked::triangle(Op::dense(Mat::<f64>::identity(n, n)), Side::Lower, None, 2, 0).unwrap();
        assert_eq!(to_dense(&small, Par::Seq).unwrap(), Mat::<f64>::zeros(n, n));
    }
    // products with the transpose are those of the operator
    let plain = opaque(&fixed_mat::<f64>(6, 6, 5), Props::NONE, false);
    let lower: Op<f64> = Op::new(Masked::triangle(plain, Side::Lower, Some(2), 0, 0).unwrap());
    assert!(lower.times_mat(Mat::zeros(6, 1).as_ref(), Par::Seq).is_ok());
    let found = lower.t().times_mat(Mat::zeros(6, 1).as_ref(), Par::Seq);
    assert!(matches!(found, Err(linop_core::Error::TransposeUnavailable { .. })), "{found:?}");
}

#[test]
fn families_of_matrices() {
    let family = |rank, tail, symmetry| Family { rank, tail, symmetry };
    let general = family(3, Tail::Exp(0.5), Symmetry::General);
    argument(synthmat::matrix(2, 5, &general, 0));
    for wrong in [family(3, Tail::None, Symmetry::Psd), family(3, Tail::Noise(0.1), Symmetry::General)] {
        assert!(matches!(synthmat::matrix(5, 6, &wrong, 0), Err(Error::NotSquare { .. })));
    }
    argument(synthmat::lord(2, &general, 1.0, 0));
    argument(synthmat::implicit_lord(5, &general, 1.0, 0));
    argument(synthmat::implicit_lord(2, &family(3, Tail::None, Symmetry::Psd), 1.0, 0));
    for tail in [Tail::Exp(f64::NAN), Tail::Poly(f64::INFINITY), Tail::Noise(f64::NAN)] {
        argument(synthmat::matrix(5, 5, &family(3, tail, Symmetry::General), 0));
    }
    argument(synthmat::lord(5, &general, f64::NAN, 0));
    argument(synthmat::implicit_lord(5, &family(2, Tail::None, Symmetry::Psd), f64::INFINITY, 0));
    for symmetry in [Symmetry::General, Symmetry::Psd, Symmetry::Indefinite] {
        for tail in [Tail::None, Tail::Exp(1.0), Tail::Noise(0.1)] {
            let (a, d) = synthmat::lord(0, &family(0, tail, symmetry), 1.0, 0).unwrap();
            assert_eq!((a.nrows(), d.len()), (0, 0));
            let (a, d) = synthmat::lord(1, &family(1, tail, symmetry), 1.0, 0).unwrap();
            assert!(a[(0, 0)].is_finite() && d[0].is_finite());
        }
        let empty = synthmat::implicit_lord(0, &family(0, Tail::None, symmetry), 1.0, 0).unwrap();
        assert_eq!(LinearOperator::<f64>::nrows(&empty), 0);
    }
}

#[test]
fn streams_of_columns() {
    let mut stream = ColumnStream::new(4, 0..2, true, &default()).unwrap();
    argument(ColumnStream::new(4, 0..2, true, &default().with_law(Law::Coordinates)));
    let block = |m, n| Mat::from_fn(m, n, |i, j| (i + j) as f64);
    for (first, m, n) in [(0, 3, 1), (0, 4, 5), (3, 4, 2), (5, 4, 0), (usize::MAX, 4, 1)] {
        argument(stream.absorb(first, block(m, n).as_ref()));
    }
    let nan = Mat::from_fn(4, 2, |i, j| if (i, j) == (1, 1) { f64::NAN } else { 0.0 });
    assert!(matches!(stream.absorb(1, nan.as_ref()), Err(Error::NonFinite { column: 2, .. })));
    stream.absorb(1, block(4, 2).as_ref()).unwrap();
    argument(stream.absorb(2, block(4, 2).as_ref()));
    argument(stream.finish());
    assert!(ColumnStream::new(0, 0..2, false, &default()).unwrap().finish().is_ok());
}

#[test]
fn fits_of_any_measurements() {
    let a = harmonic(8);
    let one = LordOptions { passes: Passes::One, ..LordOptions::default() };
    let fit = |m: &Measurements, options: &LordOptions| fit_lord(m, options, &Silent, Par::Seq);
    let take = |range| Measurements::take(&a, range, &default()).unwrap();
    argument(fit(&take(0..4), &LordOptions::default()));
    too_small(fit(&take(3..3), &one));
    argument(take(0..3).merge(&take(2..4)));
    argument(take(0..3).merge(&Measurements::take(&harmonic(7), 3..4, &default()).unwrap()));
    argument(take(0..3).merge(&Measurements::take(&a, 3..4, &Settings::seeded(1)).unwrap()));
    // more measurements than rows; none of a matrix without any
    let found = fit(&take(0..20), &one).unwrap();
    assert!(certify(&a, &found, 5, &default()).unwrap().residual_energy() < 1e-10);
    let nothing = Measurements::take(&Diagonal::<f64>::new(Vec::new()), 0..3, &default()).unwrap();
    assert_eq!(fit(&nothing, &one).unwrap().diagonal_part().len(), 0);
    for solver in [
        Solver::Admm(AdmmOptions { tol: 0.0, ..AdmmOptions::default() }),
        Solver::Admm(AdmmOptions { growth: 0.9, ..AdmmOptions::default() }),
        Solver::Admm(AdmmOptions { cap: f64::INFINITY, ..AdmmOptions::default() }),
        Solver::Admm(AdmmOptions { start: f64::NAN, ..AdmmOptions::default() }),
        Solver::Proximal(ProximalOptions { lambda: 0.0, ..ProximalOptions::default() }),
        Solver::Proximal(ProximalOptions { lambda: 1.0, ..ProximalOptions::default() }),
        Solver::Proximal(ProximalOptions { tol: f64::NAN, ..ProximalOptions::default() }),
    ] {
        argument(fit(&take(0..4), &LordOptions { solver, ..one }));
    }
    // no iterations, and no rank: what is left is Hutchinson's diagonal
    let low = Dense::with_props(with_spectrum(&[4.0, 3.0, 2.0, 1.0, 0.5, 0.4, 0.3, 0.2], 7), Props::PD);
    let low = Measurements::take(&low, 0..5, &default()).unwrap();
    let idle = [
        Solver::Admm(AdmmOptions { max_iter: 0, ..AdmmOptions::default() }),
        Solver::Proximal(ProximalOptions { max_iter: 0, ..ProximalOptions::default() }),
    ];
    for solver in idle {
        let found = fit(&low, &LordOptions { solver, ..one }).unwrap();
        assert!(found.rank() == 0 && !found.report.converged && found.report.iterations == 0);
    }
    assert_eq!(fit(&low, &LordOptions { max_rank: Some(0), ..one }).unwrap().rank(), 0);
    let few = sketch_lord_auto(&a, 1, 1, &one, &default()).unwrap();
    assert!(few.certificate.residual_energy() < 1e-12);
    too_small(sketch_lord_auto(&a, 4, 0, &one, &default()));
}

#[test]
fn oracles_of_another_length() {
    let (a, short) = (harmonic(8), [1.0; 7]);
    let oracle = DiagonalSource::Oracle(&short);
    argument(diagonal_only(&a, oracle, &default()));
    argument(low_then_diagonal(&a, 3, oracle, &default()));
    argument(diagonal_then_low(&a, 3, oracle, &default()));
}

#[test]
fn factors_that_cannot_be_used() {
    let u = |n, r| Mat::from_fn(n, r, |i, j| (i + 2 * j) as f64);
    for (d, n, r, v) in [(3, 4, 1, None), (4, 4, 2, Some((4, 1))), (4, 4, 1, Some((3, 1)))] {
        let v = v.map(|(n, r)| u(n, r));
        assert!(matches!(Lord::new(vec![1.0; d], u(n, r), Mat::identity(r, r), v), Err(Error::Operator(_))));
    }
    assert!(Lord::new(vec![1.0; 4], u(4, 2), Mat::identity(3, 3), None).is_err());
    let new = |d: Vec<f64>, c: f64| Lord::new(d, u(3, 1), Mat::from_fn(1, 1, |_, _| c), None).unwrap();
    let hole = new(vec![1.0, 0.0, 2.0], 1.0);
    let ill = |e: Option<Error>| assert!(matches!(e, Some(Error::IllConditionedDiagonal { index: 1, .. })), "{e:?}");
    ill(hole.inverse(Par::Seq).err());
    ill(hole.slogdet(Par::Seq).err());
    ill(hole.sample_inverse(2, 0, Par::Seq).err());
    ill(hole.is_positive_definite(Par::Seq).err());
    let indefinite = new(vec![1.0, 1.0, 1.0], -1.0);
    assert!(!indefinite.is_positive_definite(Par::Seq).unwrap());
    assert!(matches!(indefinite.sample_inverse(2, 0, Par::Seq), Err(Error::NotPositiveDefinite { .. })));
    let negative = new(vec![1.0, -1.0, 1.0], 0.1);
    assert!(matches!(negative.sample_inverse(2, 0, Par::Seq), Err(Error::NotPositiveDefinite { .. })));
    let two_sided = Lord::new(vec![1.0; 3], u(3, 1), Mat::identity(1, 1), Some(Mat::zeros(3, 1))).unwrap();
    assert!(matches!(two_sided.clipped_psd(Par::Seq), Err(Error::NotSymmetric { .. })));
    assert!(matches!(two_sided.sample_inverse(1, 0, Par::Seq), Err(Error::NotSymmetric { .. })));
    assert!(matches!(two_sided.is_positive_definite(Par::Seq), Err(Error::NotSymmetric { .. })));
    // a singular sum of sound parts: I - 1/5 u u^T for |u|^2 = 5
    let singular = new(vec![1.0; 3], -0.2);
    assert!(singular.inverse(Par::Seq).is_err() || singular.slogdet(Par::Seq).is_ok_and(|(_, log)| log < -30.0));
    let nothing = Lord::new(Vec::new(), Mat::zeros(0, 0), Mat::zeros(0, 0), None).unwrap();
    assert_eq!(nothing.slogdet(Par::Seq).unwrap(), (1.0, 0.0));
    assert_eq!(nothing.sample_inverse(3, 0, Par::Seq).unwrap().ncols(), 3);
    assert_eq!((nothing.trace(Par::Seq).unwrap(), nothing.frobenius_sq(Par::Seq).unwrap()), (0.0, 0.0));
    assert!(nothing.is_positive_definite(Par::Seq).unwrap());
    assert_eq!(nothing.clipped_psd(Par::Seq).unwrap().rank(), 0);
}
