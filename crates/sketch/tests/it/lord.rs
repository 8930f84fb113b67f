//! Low rank plus diagonal: exact recovery, order of the methods, the factor as an operator, measurements in files.

use crate::bits::same_bits;
use crate::util::*;
use core::ops::ControlFlow;
use linop_core::ops::{Dense, LowRankPlusDiag};
use linop_core::testing::{check_operator, fixed_mat, max_diff};
use linop_core::{LinearOperator, Op, Props, to_dense};
use numerics::progress::{Progress, Silent};
use numerics::rng::Law;
use numerics::{Mat, Par, dense};
use proptest::prelude::*;
use sketch::synthmat::{Family, Symmetry, Tail, implicit_lord, lord};
use sketch::*;

fn energy(found: &Lord, a: &Mat<f64>) -> f64 {
    let m: Mat<f64> = to_dense(found, Par::Seq).unwrap();
    (fro(&sub(&m, a)) / fro(a)).powi(2)
}

fn toy(n: usize) -> Mat<f64> {
    Mat::from_fn(n, n, |i, j| if i == j { 2.0 } else { 1.0 })
}

/// The canonical operator `11^T + I`: what each baseline leaves, in closed form.
#[test]
fn baselines_on_the_canonical_operator() {
    for n in [10usize, 100] {
        let a = toy(n);
        let op = symmetric(&a);
        let nf = n as f64;
        let d = diag_of(&a);
        let oracle = DiagonalSource::Oracle(&d);
        let settings = Settings::default();
        let close = |found: Result<Lord, Error>, expected: f64| {
            let got = energy(&found.unwrap(), &a);
            assert!((got - expected).abs() < 1e-12, "{got} against {expected}");
        };
        close(diagonal_only(&op, oracle, &settings), (nf - 1.0) / (nf + 3.0));
        // the closed forms are for the best rank-one part, which all probes together give after truncation
        let top = eigh(
            &op,
            &EighOptions {
                recovery: EighRecovery::Hmt { power: 0 },
                sizes: Sizes::from_right(n),
                rank: Some(1),
                order: Order::Magnitude,
            },
            &settings,
        )
        .unwrap();
        let core = Mat::from_fn(1, 1, |_, _| top.values[0]);
        let low = Lord::new(vec![0.0; n], top.vectors.clone(), core.clone(), None).unwrap();
        close(Ok(low.clone()), (nf - 1.0) / (nf * (nf + 3.0)));
        let rest: Vec<f64> = low.diagonal(Par::Seq).unwrap().iter().zip(&d).map(|(l, d)| d - l).collect();
        let expected = (nf - 1.0) / (nf * nf * (nf + 3.0));
        close(Lord::new(rest, top.vectors, core, None), expected);
        // the diagonal first, then the best rank-one part of the rest, whose eigenvalues are n - 1 and -1
        let rest = Mat::from_fn(n, n, |i, j| if i == j { 0.0 } else { a[(i, j)] });
        let options = EighOptions {
            recovery: EighRecovery::Hmt { power: 0 },
            sizes: Sizes::from_right(n),
            rank: Some(1),
            order: Order::Magnitude,
        };
        let top = eigh(&symmetric(&rest), &options, &settings).unwrap();
        let core = Mat::from_fn(1, 1, |_, _| top.values[0]);
        close(Lord::new(d.clone(), top.vectors, core, None), (nf - 1.0) / (nf * (nf + 3.0)));
        // one probe finds no better
        let both = diagonal_then_low(&op, 1, oracle, &settings).unwrap();
        assert!(energy(&both, &a) >= (nf - 1.0) / (nf * (nf + 3.0)) - 1e-12);
    }
}

#[test]
fn the_canonical_operator_is_found() {
    for n in [50usize, 500] {
        let u = Mat::from_fn(n, 1, |_, _| 1.0);
        let low = linop_core::ops::LowRank::gram(u);
        let op = LowRankPlusDiag::new(vec![1.0; n], low).unwrap();
        for p in [6, 8] {
            for seed in 0..20 {
                let found = sketch_lord(&op, p, &LordOptions::default(), &Settings::seeded(seed)).unwrap();
                let worst = found.diagonal_part().iter().fold(0.0f64, |m, d| m.max((d - 1.0).abs()));
                assert!(worst < 1e-3, "n {n}, p {p}, seed {seed}: {worst}");
                assert!(found.report.iterations <= 110, "{}", found.report.iterations);
            }
        }
    }
}

fn recovers(k: usize, p: usize, ratio: f64, symmetry: Symmetry) {
    let n = 400;
    let family = Family { rank: k, tail: Tail::None, symmetry };
    let op = implicit_lord(n, &family, ratio, 7).unwrap();
    let a: Mat<f64> = to_dense(&op, Par::Seq).unwrap();
    for passes in [Passes::One, Passes::Two] {
        let options = LordOptions { passes, ..LordOptions::default() };
        let found = sketch_lord(&op, p, &options, &Settings::seeded(1)).unwrap();
        let error = distance(found.diagonal_part(), op.diagonal_part()) / (k as f64).sqrt();
        let rho = energy(&found, &a);
        assert!(error < 1e-6 && rho < 1e-11, "k {k}, ratio {ratio}, {symmetry:?}, {passes:?}: {error:.1e} {rho:.1e}");
        assert!(found.report.iterations <= 150 && !found.report.sketch_too_small);
        let both = if symmetry == Symmetry::General { p } else { 0 };
        let second = if passes == Passes::Two { found.rank() } else { 0 };
        assert_eq!((found.report.products, found.report.products_t), (p + second, both));
    }
}

const RATIOS: [f64; 5] = [0.0, 0.1, 1.0, 10.0, 100.0];

#[test]
fn exact_psd_structure_is_recovered() {
    for ratio in RATIOS {
        recovers(5, 14, ratio, Symmetry::Psd);
        recovers(10, 24, ratio, Symmetry::Psd);
        recovers(20, 44, ratio, Symmetry::Psd);
    }
}

#[test]
fn exact_indefinite_structure_is_recovered() {
    for ratio in RATIOS {
        recovers(5, 14, ratio, Symmetry::Indefinite);
        recovers(10, 24, ratio, Symmetry::Indefinite);
        recovers(20, 44, ratio, Symmetry::Indefinite);
    }
}

#[test]
fn exact_asymmetric_structure_is_recovered() {
    for ratio in RATIOS {
        recovers(5, 14, ratio, Symmetry::General);
        recovers(10, 24, ratio, Symmetry::General);
    }
}

#[test]
fn exact_asymmetric_structure_of_larger_rank_is_recovered() {
    RATIOS.into_iter().for_each(|ratio| recovers(20, 44, ratio, Symmetry::General));
}

#[test]
fn exact_structure_of_rank_40_is_recovered() {
    RATIOS.into_iter().for_each(|ratio| recovers(40, 84, ratio, Symmetry::Psd));
}

#[test]
fn exact_indefinite_structure_of_rank_40_is_recovered() {
    RATIOS.into_iter().for_each(|ratio| recovers(40, 84, ratio, Symmetry::Indefinite));
}

#[test]
fn exact_asymmetric_structure_of_rank_40_is_recovered() {
    RATIOS.into_iter().for_each(|ratio| recovers(40, 84, ratio, Symmetry::General));
}

/// Median residual energies at n = 400, R = 10, p = 40, sign probes, from an independent implementation: factor 2, factor
/// 100 where below 1e-10. Oracle diagonals for the baselines.
fn table_row(tail: Tail, ratio: f64, expected: [f64; 6]) {
    let (n, p) = (400, 40);
    let family = Family { rank: 10, tail, symmetry: Symmetry::Psd };
    let mut columns = vec![Vec::new(); 6];
    for seed in 0..3 {
        let (a, _) = lord(n, &family, ratio, seed).unwrap();
        let op = symmetric(&a);
        let settings = Settings::seeded(seed);
        let d = diag_of(&a);
        let oracle = DiagonalSource::Oracle(&d);
        let joint = |passes| sketch_lord(&op, p, &LordOptions { passes, ..LordOptions::default() }, &settings);
        let fits = [
            low_only(&op, p, &settings),
            diagonal_only(&op, oracle, &settings),
            low_then_diagonal(&op, p, oracle, &settings),
            diagonal_then_low(&op, p, oracle, &settings),
            joint(Passes::One),
            joint(Passes::Two),
        ];
        for (column, fit) in columns.iter_mut().zip(fits) {
            column.push(energy(&fit.unwrap(), &a));
        }
    }
    for (i, column) in columns.iter_mut().enumerate() {
        column.sort_by(f64::total_cmp);
        let (got, want) = (column[1], expected[i]);
        let factor = if want < 1e-10 { 100.0 } else { 2.0 };
        assert!(
            got < factor * want && (want < 1e-10 || got > want / factor),
            "{tail:?} {ratio} column {i}: {got:.1e} against {want:.1e}"
        );
    }
}

#[test]
fn table_of_residual_energies_exact() {
    table_row(Tail::None, 10.0, [2.7e-1, 7.7e-1, 1.0e-1, 3.4e-2, 3e-14, 3e-14]);
}

#[test]
fn table_of_residual_energies_exp() {
    table_row(Tail::Exp(0.5), 10.0, [2.8e-1, 7.7e-1, 1.1e-1, 3.9e-2, 3.4e-12, 2.7e-13]);
}

#[test]
fn table_of_residual_energies_poly() {
    table_row(Tail::Poly(2.0), 1.0, [4.3e-3, 9.6e-1, 2.3e-3, 4.9e-2, 8.6e-5, 2.2e-5]);
}

/// Joint, then diagonal first, then low rank first, then low rank alone, then diagonal alone: with exact diagonals for the
/// baselines, on every seed.
#[test]
fn the_order_of_the_methods() {
    let family = Family { rank: 10, tail: Tail::Exp(0.5), symmetry: Symmetry::Psd };
    for seed in 0..5 {
        let (a, _) = lord(400, &family, 10.0, seed).unwrap();
        let (op, settings, d) = (symmetric(&a), Settings::seeded(seed), diag_of(&a));
        let oracle = DiagonalSource::Oracle(&d);
        let fits = [
            sketch_lord(&op, 40, &LordOptions::default(), &settings),
            diagonal_then_low(&op, 40, oracle, &settings),
            low_then_diagonal(&op, 40, oracle, &settings),
            low_only(&op, 40, &settings),
            diagonal_only(&op, oracle, &settings),
        ];
        let left: Vec<f64> = fits.into_iter().map(|f| energy(&f.unwrap(), &a)).collect();
        // the ratios of the table, within a factor of 2
        assert!(left[0] < 1e-9 * left[1], "{left:?}");
        for (k, ratio) in [(1, 1.1e-1 / 3.9e-2), (2, 2.8e-1 / 1.1e-1), (3, 7.7e-1 / 2.8e-1)] {
            let got = left[k + 1] / left[k];
            assert!(got > 1.0 && got > 0.5 * ratio && got < 2.0 * ratio, "{k}: {got} in {left:?}");
        }
    }
}

#[test]
fn asymmetric_approximate_structure() {
    let family = Family { rank: 10, tail: Tail::Poly(2.0), symmetry: Symmetry::General };
    let (a, _) = lord(400, &family, 10.0, 1).unwrap();
    let op = Dense::new(a.clone());
    for (passes, expected) in [(Passes::One, 9e-5), (Passes::Two, 1.1e-5)] {
        let found =
            sketch_lord(&op, 40, &LordOptions { passes, ..LordOptions::default() }, &Settings::default()).unwrap();
        let rho = energy(&found, &a);
        assert!(rho < 2.0 * expected, "{passes:?}: {rho:.1e}");
    }
}

#[test]
fn the_guard_takes_the_best() {
    let settings = Settings::default();
    for (tail, ratio) in
        [(Tail::Exp(0.01), 1.0), (Tail::Poly(1.0), 10.0), (Tail::None, 10.0), (Tail::Noise(1e-4), 10.0)]
    {
        let (a, _) = lord(200, &Family { rank: 10, tail, symmetry: Symmetry::Psd }, ratio, 5).unwrap();
        for passes in [Passes::One, Passes::Two] {
            let options = LordOptions { passes, ..LordOptions::default() };
            let choice = sketch_lord_auto(&symmetric(&a), 30, 10, &options, &settings).unwrap();
            let best = choice.candidates.iter().map(|c| c.residual_energy).fold(f64::INFINITY, f64::min);
            assert_eq!(choice.certificate.residual_energy(), best);
            assert_eq!(choice.certificate.products, 10);
            let truth = energy(&choice.lord, &a);
            assert!((best / truth - 1.0).abs() < 0.6 || truth < 1e-10, "{tail:?} {passes:?}: {best} against {truth}");
            if passes == Passes::One {
                assert_eq!(choice.lord.report.products, 40);
            }
        }
    }
    // too few probes for the rank: said, not hidden
    let family = Family { rank: 40, tail: Tail::None, symmetry: Symmetry::Psd };
    let op = implicit_lord(200, &family, 1.0, 6).unwrap();
    let found = sketch_lord(&op, 15, &LordOptions::default(), &settings).unwrap();
    assert!(found.report.sketch_too_small);
}

#[test]
fn fits_have_the_same_bits() {
    let (a, _) = lord(120, &Family { rank: 6, tail: Tail::Poly(2.0), symmetry: Symmetry::Psd }, 3.0, 8).unwrap();
    let op = symmetric(&a);
    let all = |l: Lord| {
        let core = l.low_rank_part().core();
        let u = l.low_rank_part().u().to_owned();
        [l.diagonal_part().to_vec(), diag_of(&core), u.col_as_slice(0).to_vec()].concat()
    };
    same_bits(|s| all(sketch_lord(&op, 20, &LordOptions::default(), s).unwrap()));
    same_bits(|s| all(sketch_lord(&Dense::new(a.clone()), 20, &LordOptions::default(), s).unwrap()));
    same_bits(|s| all(diagonal_then_low(&op, 20, DiagonalSource::XDiag(20), s).unwrap()));
    same_bits(|s| all(low_then_diagonal(&op, 20, DiagonalSource::Hutchinson(20), s).unwrap()));
}

#[test]
fn measurements_are_stored_and_merged() {
    let a = fixed_mat::<f64>(30, 30, 9);
    let op = Dense::new(a.clone());
    let settings = Settings::seeded(u64::MAX - 3);
    let all = Measurements::take(&op, 0..12, &settings).unwrap();
    let shares: Vec<Measurements> =
        [0..4, 4..9, 9..12].into_iter().map(|r| Measurements::take(&op, r, &settings).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let back: Vec<Measurements> = shares
        .iter()
        .enumerate()
        .map(|(i, share)| {
            let path = folder.path().join(format!("{i}.safetensors"));
            share.save(&path).unwrap();
            Measurements::load(&path).unwrap()
        })
        .collect();
    assert_eq!(back, shares);
    let merged = back[2].merge(&back[0]).unwrap().merge(&back[1]).unwrap();
    assert_eq!(merged, all);
    let options = LordOptions { passes: Passes::One, ..LordOptions::default() };
    let fit = |m: &Measurements| fit_lord(m, &options, &Silent, Par::Seq).unwrap();
    assert_eq!(fit(&merged).diagonal_part(), fit(&all).diagonal_part());
    assert!(back[0].merge(&back[0]).unwrap_err().to_string().contains("column 0"));
    let other = Measurements::take(&op, 20..22, &Settings::seeded(1)).unwrap();
    assert!(matches!(all.merge(&other), Err(Error::InvalidArgument { .. })));
    let two = LordOptions::default();
    assert!(matches!(fit_lord(&all, &two, &Silent, Par::Seq), Err(Error::InvalidArgument { .. })));
    // a file of something else
    let path = folder.path().join("bad");
    std::fs::write(&path, b"nonsense").unwrap();
    assert!(matches!(Measurements::load(&path), Err(Error::Dense(_))));
}

/// What [`shares_of_several_processes`] starts: measures the share that it is told to, or nothing.
#[test]
fn a_share_in_a_process_of_its_own() {
    let Ok(told) = std::env::var("SKETCH_SHARE") else { return };
    let mut words = told.split(',');
    let mut number = || words.next().unwrap().parse::<usize>().unwrap();
    let range = number()..number();
    let share = Measurements::take(&measured_apart(), range, &Settings::seeded(5)).unwrap();
    share.save(words.next().unwrap()).unwrap();
}

/// The same in every process.
fn measured_apart() -> LowRankPlusDiag<f64> {
    let family = Family { rank: 5, tail: Tail::None, symmetry: Symmetry::Psd };
    implicit_lord(80, &family, 3.0, 2).unwrap()
}

#[test]
fn shares_of_several_processes() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let path = |i: usize| folder.path().join(format!("{i}.safetensors"));
    let shares = [(0, 6), (6, 7), (7, 16)];
    let started: Vec<_> = shares
        .iter()
        .enumerate()
        .map(|(i, (from, to))| {
            let mut process = std::process::Command::new(&program);
            process.args(["--exact", "lord::a_share_in_a_process_of_its_own"]);
            process.env("SKETCH_SHARE", format!("{from},{to},{}", path(i).display()));
            process.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    assert!(started.into_iter().all(|mut p| p.wait().unwrap().success()));
    let read = |i| Measurements::load(path(i)).unwrap();
    let all = read(2).merge(&read(0)).unwrap().merge(&read(1)).unwrap();
    let a = measured_apart();
    assert_eq!(all, Measurements::take(&a, 0..16, &Settings::seeded(5)).unwrap());
    let one = LordOptions { passes: Passes::One, ..LordOptions::default() };
    let found = fit_lord(&all, &one, &Silent, Par::Seq).unwrap();
    assert!(found.rank() == 5 && found.report.products == 16);
    assert!(distance(found.diagonal_part(), a.diagonal_part()) < 1e-6);
}

#[test]
fn columns_may_stream_by() {
    let general = fixed_mat::<f64>(40, 40, 10);
    let symmetric = Mat::from_fn(40, 40, |i, j| 0.5 * (general[(i, j)] + general[(j, i)]));
    let a = &general;
    for two_sided in [false, true] {
        let a = if two_sided { &general } else { &symmetric };
        let mut stream = ColumnStream::new(40, 0..9, two_sided, &Settings::default()).unwrap();
        for (first, count) in [(20, 20), (0, 7), (7, 13)] {
            stream.absorb(first, a.as_ref().subcols(first, count)).unwrap();
        }
        let streamed = stream.finish().unwrap();
        let op = opaque(a, if two_sided { Props::NONE } else { Props::SELF_ADJOINT }, two_sided);
        let direct = Measurements::take(&op, 0..9, &Settings::default()).unwrap();
        assert!(max_diff(streamed.right(), direct.right()) < 1e-13);
        if let (Some(a), Some(b)) = (streamed.left(), direct.left()) {
            assert!(max_diff(a, b) < 1e-13);
        }
        assert_eq!(streamed.is_two_sided(), direct.is_two_sided());
    }
    let mut stream = ColumnStream::new(40, 0..3, false, &Settings::default()).unwrap();
    stream.absorb(0, a.as_ref().subcols(0, 10)).unwrap();
    assert!(stream.absorb(5, a.as_ref().subcols(5, 2)).unwrap_err().to_string().contains("column 5"));
    assert!(stream.absorb(39, a.as_ref().subcols(0, 2)).is_err());
    assert!(stream.finish().unwrap_err().to_string().contains("column 10"));
}

#[test]
fn interrupted_fits_say_so() {
    let (a, _) = lord(100, &Family { rank: 5, tail: Tail::Poly(1.0), symmetry: Symmetry::Psd }, 3.0, 11).unwrap();
    let stop = |p: &Progress<'_>| {
        let late = p.metric.is_some() && p.done >= 4;
        if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let settings = Settings { observer: &stop, ..Settings::default() };
    let found = sketch_lord(&symmetric(&a), 20, &LordOptions::default(), &settings).unwrap();
    assert!(found.report.interrupted && !found.report.converged && found.report.iterations == 4);
}

#[test]
fn bad_input() {
    let a = fixed_mat::<f64>(20, 20, 12);
    let options = LordOptions::default();
    let settings = Settings::default();
    let e = sketch_lord(&Dense::new(fixed_mat::<f64>(4, 6, 1)), 3, &options, &settings);
    assert!(matches!(e, Err(Error::NotSquare { .. })));
    assert!(matches!(sketch_lord(&Dense::new(a.clone()), 21, &options, &settings), Err(Error::TooManyProbes { .. })));
    assert!(matches!(sketch_lord(&Dense::new(a.clone()), 0, &options, &settings), Err(Error::SketchTooSmall { .. })));
    let e = sketch_lord(&opaque(&a, Props::NONE, false), 5, &options, &settings);
    assert!(matches!(e, Err(Error::TransposeUnavailable { .. })));
    let coordinates = settings.with_law(Law::Coordinates);
    assert!(matches!(
        sketch_lord(&Dense::new(a.clone()), 5, &options, &coordinates),
        Err(Error::InvalidArgument { .. })
    ));
    for passes in [Passes::One, Passes::Two] {
        let empty = Dense::new(Mat::<f64>::zeros(0, 0));
        let e = sketch_lord(&empty, 1, &LordOptions { passes, ..options }, &settings);
        assert!(matches!(e, Err(Error::TooManyProbes { asked: 1, limit: 0, .. })), "{e:?}");
    }
    // the third product holds a NaN
    for block in [1, 4, 0] {
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let poisoned = linop_core::ops::ClosureOp::<f64>::new(40, 40, move |mut out, x| {
            for j in 0..x.ncols() {
                let third = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2;
                (0..40).for_each(|i| out[(i, j)] = if third && i == 7 { f64::NAN } else { x[(i, j)] });
            }
            Ok(())
        });
        let poisoned = poisoned.with_transpose(|out, x| {
            dense::copy(out, x);
            Ok(())
        });
        let e = sketch_lord(&poisoned, 6, &options, &Settings { block, ..settings });
        assert!(matches!(e, Err(Error::NonFinite { column: 2, .. })), "{e:?}");
    }
    let zero = sketch_lord(&symmetric(&Mat::zeros(10, 10)), 4, &options, &settings).unwrap();
    assert!(zero.rank() == 0 && zero.diagonal_part().iter().all(|&d| d == 0.0));
    let one = sketch_lord(&symmetric(&Mat::from_fn(1, 1, |_, _| -2.5)), 1, &options, &settings).unwrap();
    assert_eq!(one.diagonal_part(), [-2.5]);
    let short = [1.0];
    let e = diagonal_only(&Dense::new(a), DiagonalSource::Oracle(&short), &settings);
    assert!(matches!(e, Err(Error::InvalidArgument { .. })));
}

/// Clipped on request only: a negative diagonal and an indefinite low-rank part are legitimate.
#[test]
fn definite_fits_on_request() {
    let family = Family { rank: 6, tail: Tail::None, symmetry: Symmetry::Indefinite };
    let (a, d) = lord(120, &family, 5.0, 21).unwrap();
    assert!(d.iter().any(|&d| d < -0.1));
    let op = symmetric(&a);
    for passes in [Passes::One, Passes::Two] {
        let free = LordOptions { passes, ..LordOptions::default() };
        let found = sketch_lord(&op, 20, &free, &Settings::default()).unwrap();
        assert!(energy(&found, &a) < 1e-11 && found.diagonal_part().iter().any(|&d| d < -0.1));
        let clipped = sketch_lord(&op, 20, &LordOptions { psd: true, ..free }, &Settings::default()).unwrap();
        let expected = found.clipped_psd(Par::Seq).unwrap();
        let (m, e): (Mat<f64>, Mat<f64>) =
            (to_dense(&clipped, Par::Seq).unwrap(), to_dense(&expected, Par::Seq).unwrap());
        assert!(fro(&sub(&m, &e)) < 1e-10 * fro(&a) && clipped.rank() < 6);
        assert!(dense::eigvalsh(m.as_ref()).unwrap()[0] > -1e-12 * fro(&a));
        let guarded = sketch_lord_auto(&op, 20, 5, &LordOptions { psd: true, ..free }, &Settings::default()).unwrap();
        assert!(guarded.lord.diagonal_part().iter().all(|&d| d >= 0.0));
    }
}

/// Products are rounded to 6e-8, everything else is done in double precision.
#[test]
fn single_precision_operators_are_recovered_to_their_rounding() {
    let family = Family { rank: 5, tail: Tail::None, symmetry: Symmetry::Psd };
    let (a, d) = lord(150, &family, 5.0, 22).unwrap();
    let narrow = Dense::with_props(Mat::from_fn(150, 150, |i, j| a[(i, j)] as f32), Props::SELF_ADJOINT);
    let found = sketch_lord(&narrow, 20, &LordOptions::default(), &Settings::default()).unwrap();
    assert!(
        distance(found.diagonal_part(), &d) < 1e-4 * norm(&d),
        "{:e}",
        distance(found.diagonal_part(), &d) / norm(&d)
    );
    assert!(energy(&found, &a) < 1e-9, "{:e}", energy(&found, &a));
}

fn random_lord(n: usize, r: usize, seed: u64, two_sided: bool) -> (Lord, Mat<f64>) {
    let d: Vec<f64> = (0..n).map(|i| 1.0 + (i as f64 * 0.9 + seed as f64).sin().abs() * 3.0).collect();
    let u = fixed_mat::<f64>(n, r, seed + 1);
    let c = fixed_mat::<f64>(r, r, seed + 2);
    let (c, v) = if two_sided {
        (c, Some(fixed_mat::<f64>(n, r, seed + 3)))
    } else {
        (Mat::from_fn(r, r, |i, j| 0.2 * (c[(i, j)] + c[(j, i)])), None)
    };
    let right = v.clone().unwrap_or_else(|| u.clone());
    let low = mul(&mul(&u, &c), &t(&right));
    let a = Mat::from_fn(n, n, |i, j| low[(i, j)] + if i == j { d[i] } else { 0.0 });
    (Lord::new(d, u, c, v).unwrap(), a)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_factor_agrees_with_its_matrix(n in 1usize..40, r in 0usize..6, seed in 0u64..1000, two_sided: bool) {
        let r = r.min(n);
        let (found, a) = random_lord(n, r, seed, two_sided);
        check_operator(&found, a.as_ref(), 1e-12);
        let lu = dense::Lu::new(a.as_ref(), Par::Seq).unwrap();
        let condition = {
            let s = dense::svd(a.as_ref()).unwrap().s;
            s[0] / s[n - 1]
        };
        prop_assume!(condition < 1e6);
        let (sign, log) = found.slogdet(Par::Seq).unwrap();
        let (expected_sign, expected_log) = lu.slogdet();
        prop_assert_eq!(sign, expected_sign);
        prop_assert!((log - expected_log).abs() < 1e-12 * condition * (1.0 + log.abs()));
        let inverse: Mat<f64> = to_dense(&found.inverse(Par::Seq).unwrap(), Par::Seq).unwrap();
        let unit = Mat::from_fn(n, n, |i, j| f64::from(i == j));
        prop_assert!(fro(&sub(&mul(&inverse, &a), &unit)) < 1e-12 * condition * n as f64);
        prop_assert!((found.trace(Par::Seq).unwrap() - trace_of(&a)).abs() < 1e-12 * fro(&a) * n as f64);
        prop_assert!(distance(&found.diagonal(Par::Seq).unwrap(), &diag_of(&a)) < 1e-12 * fro(&a));
        prop_assert!((found.frobenius_sq(Par::Seq).unwrap() / fro(&a).powi(2) - 1.0).abs() < 1e-11);
        let shifted: Mat<f64> = to_dense(&found.shifted(0.7).unwrap(), Par::Seq).unwrap();
        prop_assert!((trace_of(&shifted) - trace_of(&a) - 0.7 * n as f64).abs() < 1e-11 * fro(&a) * n as f64);
        if !two_sided {
            let lowest = dense::eigvalsh(a.as_ref()).unwrap()[0];
            if lowest.abs() > 1e-9 {
                prop_assert_eq!(found.is_positive_definite(Par::Seq).unwrap(), lowest > 0.0);
            }
            let clipped: Mat<f64> = to_dense(&found.clipped_psd(Par::Seq).unwrap(), Par::Seq).unwrap();
            prop_assert!(dense::eigvalsh(clipped.as_ref()).unwrap()[0] > -1e-12 * fro(&a));
        }
    }
}

#[test]
fn samples_have_the_inverse_as_covariance() {
    let n = 6;
    let u = fixed_mat::<f64>(n, 2, 20);
    let c = Mat::from_fn(2, 2, |i, j| {
        if i != j {
            0.0
        } else if i == 0 {
            2.0
        } else {
            -0.3
        }
    });
    let d = vec![1.0, 2.0, 1.5, 1.0, 3.0, 1.0];
    let a = Lord::new(d, u, c, None).unwrap();
    assert!(a.is_positive_definite(Par::Seq).unwrap());
    let count = 200_000;
    let x = a.sample_inverse(count, 1, Par::Seq).unwrap();
    let covariance = mul(&x, &t(&x));
    let inverse: Mat<f64> = to_dense(&a.inverse(Par::Seq).unwrap(), Par::Seq).unwrap();
    let worst = (0..n)
        .flat_map(|i| (0..n).map(move |j| (i, j)))
        .map(|(i, j)| (covariance[(i, j)] / count as f64 - inverse[(i, j)]).abs())
        .fold(0.0, f64::max);
    assert!(worst < 0.02, "{worst}");
    let indefinite = Lord::new(vec![1.0; 3], Mat::from_fn(3, 1, |_, _| 1.0), Mat::from_fn(1, 1, |_, _| -0.5), None);
    assert!(matches!(indefinite.unwrap().sample_inverse(1, 0, Par::Seq), Err(Error::NotPositiveDefinite { .. })));
    let flat = Lord::new(vec![1.0, 0.0, 1.0], Mat::from_fn(3, 1, |_, _| 1.0), Mat::from_fn(1, 1, |_, _| 1.0), None);
    let flat = flat.unwrap();
    assert!(matches!(flat.inverse(Par::Seq), Err(Error::IllConditionedDiagonal { index: 1, .. })));
    assert!(matches!(flat.slogdet(Par::Seq), Err(Error::IllConditionedDiagonal { index: 1, .. })));
    assert_eq!(Op::new(flat).nrows(), 3);
}

#[test]
fn factors_go_through_files() {
    let folder = tempfile::tempdir().unwrap();
    for two_sided in [false, true] {
        let (found, a) = random_lord(12, 3, 5, two_sided);
        let path = folder.path().join("lord");
        found.save(&path).unwrap();
        let back = Lord::load(&path).unwrap();
        check_operator(&back, a.as_ref(), 1e-13);
        assert_eq!(back.diagonal_part(), found.diagonal_part());
        assert_eq!(back.low_rank_part().is_symmetric_form(), !two_sided);
        assert!(matches!(Measurements::load(&path), Err(Error::Dense(_))));
    }
    assert!(Lord::load(folder.path().join("nothing")).is_err());
}
