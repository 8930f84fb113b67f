//! Every entry point that takes an operator, on every kind of bad input: each mistake has its own error, and nothing panics.

use crate::util::*;
use linop_core::krylov::Options;
use linop_core::{LinearOperator, Op, Props, ops::ClosureOp, ops::Dense, testing::fixed_mat};
use numerics::progress::Silent;
use numerics::rng::Law;
use numerics::{Mat, Par};
use sketch::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Run = Box<dyn Fn(&Op<f64>, usize, &Settings<'_>) -> Result<Vec<f64>, Error>>;

/// A method with about `k` products or probes; what comes back are all its numbers.
struct Entry {
    name: String,
    needs: u8,
    run: Run,
}

impl Entry {
    fn needs(&self, what: u8) -> bool {
        self.needs & what != 0
    }
}

const SQUARE: u8 = 1;
const TRANSPOSED: u8 = 2;
const SYMMETRIC: u8 = 4;
const PSD: u8 = 8;
/// Takes no number of products.
const UNSIZED: u8 = 16;
/// Needs a positive definite operator; says so in other words than the PSD methods.
const DEFINITE: u8 = 32;

fn one(e: Estimate<f64>) -> Vec<f64> {
    std::iter::once(e.value).chain(e.sem).collect()
}

fn many(e: Estimate<Vec<f64>>) -> Vec<f64> {
    e.value.into_iter().chain(e.sem.into_iter().flatten()).collect()
}

fn flat(m: &Mat<f64>) -> Vec<f64> {
    (0..m.ncols()).flat_map(|j| m.col_as_slice(j).to_vec()).collect()
}

fn parts(a: &Lord) -> Vec<f64> {
    let mut all = a.diagonal(Par::Seq).unwrap();
    all.push(a.frobenius_sq(Par::Seq).unwrap());
    all
}

/// All of them.
fn entries() -> Vec<Entry> {
    let mut list = Vec::new();
    traces(&mut |name, needs, run| list.push(Entry { name, needs, run }));
    diagonals_and_norms(&mut |name, needs, run| list.push(Entry { name, needs, run }));
    low_rank(&mut |name, needs, run| list.push(Entry { name, needs, run }));
    spectra(&mut |name, needs, run| list.push(Entry { name, needs, run }));
    low_rank_plus_diagonal(&mut |name, needs, run| list.push(Entry { name, needs, run }));
    list
}

type Add<'a> = &'a mut dyn FnMut(String, u8, Run);

fn traces(add: Add<'_>) {
    use TraceMethod::*;
    for (method, law, needs) in [
        (Hutchinson, Law::Rademacher, 0),
        (HutchPp, Law::Rademacher, 0),
        (NaHutchPp, Law::Rademacher, TRANSPOSED),
        (AdaptiveHutchPp { eta: 0.1, delta: 0.1 }, Law::Rademacher, SYMMETRIC),
        (NystromPp, Law::Rademacher, PSD),
        (XTrace { resphere: false }, Law::Rademacher, 0),
        (XTrace { resphere: true }, Law::Sphere, 0),
        (XNysTrace { resphere: false }, Law::Rademacher, PSD),
        (XNysTrace { resphere: true }, Law::Sphere, PSD),
    ] {
        let run: Run = Box::new(move |a, k, s| {
            // where the test chooses the law, all use it
            let s = if s.law == Law::Rademacher { s.with_law(law) } else { *s };
            estimate_trace(a, method, Budget::Products(k), &s).map(one)
        });
        add(format!("{method:?}"), SQUARE | needs, run);
        let run: Run = Box::new(move |a, k, s| {
            let s = if s.law == Law::Rademacher { s.with_law(law) } else { *s };
            trace(a, method, Budget::Tolerance { abs: 1e-3, rel: 0.0, max_products: k }, &s).map(one)
        });
        add(format!("{method:?} to a tolerance"), SQUARE | needs, run);
    }
}

fn diagonals_and_norms(add: Add<'_>) {
    use DiagonalMethod::*;
    for (method, needs) in [
        (Hutchinson { ratio: false }, 0),
        (Hutchinson { ratio: true }, 0),
        (DiagPp, TRANSPOSED),
        (XDiag { extra: 0 }, TRANSPOSED),
        (XDiag { extra: 2 }, TRANSPOSED),
        (XNysDiag, PSD),
    ] {
        add(format!("{method:?}"), SQUARE | needs, Box::new(move |a, k, s| diagonal(a, method, k, s).map(many)));
        let run: Run = Box::new(move |a, k, s| diagonal_within(a, method, 1e-2, k, s).map(many));
        add(format!("{method:?} to a tolerance"), SQUARE | needs, run);
    }
    add("sub-diagonal".into(), SQUARE, Box::new(|a, k, s| sub_diagonal(a, 0, k, s).map(many)));
    add("frobenius".into(), 0, Box::new(|a, k, s| frobenius_sq(a, k, s).map(one)));
    for (method, needs) in [
        (RowNormMethod::Hutchinson, 0),
        (RowNormMethod::XRowNorm(RowBasis::Rows), TRANSPOSED),
        (RowNormMethod::XRowNorm(RowBasis::Columns), SQUARE),
    ] {
        add(format!("row norms {method:?}"), needs, Box::new(move |a, k, s| row_norms_sq(a, method, k, s).map(many)));
    }
    add("spectral norm".into(), TRANSPOSED | UNSIZED, Box::new(|a, _, s| spectral_norm(a, 1e-3, s).map(one)));
    add("lower bounds".into(), TRANSPOSED, Box::new(|a, k, s| norm_lower_bounds(a, k, s).map(|(x, y)| vec![x, y])));
    add("upper bound".into(), 0, Box::new(|a, k, s| norm_upper_bound(a, 3.0, k, s).map(|x| vec![x])));
    let zero = |a: &Op<f64>| Dense::new(Mat::<f64>::zeros(a.nrows(), a.ncols()));
    let run: Run = Box::new(move |a, k, s| certify(a, &zero(a), k, s).map(|c| vec![c.error_sq, c.norm_sq]));
    add("certify".into(), 0, run);
    add("error norm".into(), TRANSPOSED, Box::new(move |a, k, s| error_norm(a, &zero(a), k, s).map(|x| vec![x])));
}

fn low_rank(add: Add<'_>) {
    for power in [0, 1] {
        let needs = if power > 0 { TRANSPOSED } else { 0 };
        let run: Run = Box::new(move |a, k, s| range_finder(a, k, power, s).map(|b| flat(&b.q)));
        add(format!("range, {power} power steps"), needs, run);
    }
    add("range krylov".into(), TRANSPOSED, Box::new(|a, k, s| range_krylov(a, k, 2, s).map(|b| flat(&b.q))));
    let run: Run = Box::new(|a, k, s| {
        let tolerance = RangeTolerance { abs: 1e-6, rel: 0.0, step: 2, max_columns: k };
        range_adaptive(a, &tolerance, s).map(|b| flat(&b.q))
    });
    add("range adaptive".into(), 0, run);
    for recovery in [
        Recovery::Hmt { power: 0 },
        Recovery::Hmt { power: 1 },
        Recovery::TwoSketch,
        Recovery::ThreeSketch,
        Recovery::GenNystrom,
    ] {
        let run: Run = Box::new(move |a, k, s| {
            let f = svd(a, &SvdOptions { recovery, sizes: Sizes::from_right(k), rank: None }, s)?;
            Ok([f.s.clone(), flat(&f.u), flat(&f.v)].concat())
        });
        add(format!("svd {recovery:?}"), TRANSPOSED, run);
    }
    for recovery in [
        EighRecovery::Hmt { power: 0 },
        EighRecovery::TwoSketch,
        EighRecovery::ThreeSketch,
        EighRecovery::GenNystrom,
        EighRecovery::OneSketch,
    ] {
        let run: Run = Box::new(move |a, k, s| {
            let options = EighOptions { recovery, sizes: Sizes::from_right(k), rank: None, order: Order::Magnitude };
            let f = eigh(a, &options, s)?;
            Ok([f.values.clone(), flat(&f.vectors)].concat())
        });
        add(format!("eigh {recovery:?}"), SQUARE | SYMMETRIC, run);
    }
    for variant in [NystromVariant::Stable, NystromVariant::CholeskyOnly] {
        let run: Run =
            Box::new(move |a, k, s| nystrom(a, k, variant, s).map(|f| [f.values.clone(), flat(&f.u)].concat()));
        add(format!("nystrom {variant:?}"), SQUARE | PSD, run);
    }
    let rank = |k| AdaptiveNystrom { start: k, ..AdaptiveNystrom::default() };
    let run: Run = Box::new(move |a, k, s| nystrom_adaptive(a, 1e-2, &rank(k), s).map(|f| f.values));
    add("nystrom adaptive".into(), SQUARE | PSD, run);
    let run: Run = Box::new(move |a, k, s| {
        let b = Mat::from_fn(a.nrows(), 2, |i, j| (i + j) as f64);
        nystrom_solve(a, 1e-2, b.as_ref(), &rank(k), &Options::default(), s).map(|f| flat(&f.solution.x))
    });
    add("nystrom solve".into(), SQUARE | PSD, run);
}

fn spectra(add: Add<'_>) {
    let quadrature = |runs| QuadratureOptions { steps: 6, runs, ..QuadratureOptions::default() };
    let density = |runs| DensityOptions { steps: 6, runs, points: 50, ..DensityOptions::default() };
    let square = |x: f64| x * x;
    let symmetric = SQUARE | SYMMETRIC;
    add(
        "trace of a function".into(),
        symmetric,
        Box::new(move |a, k, s| trace_function(a, square, &quadrature(k), s).map(one)),
    );
    let run: Run = Box::new(move |a, k, s| trace_function_deflated(a, square, k, &quadrature(k), s).map(one));
    add("trace of a function, deflated".into(), symmetric, run);
    add("logdet".into(), symmetric | DEFINITE, Box::new(move |a, k, s| logdet(a, &quadrature(k), s).map(one)));
    let run: Run = Box::new(move |a, k, s| schatten_norm(a, 1.5, &quadrature(k), s).map(one));
    add("schatten norm".into(), TRANSPOSED, run);
    add("density".into(), symmetric, Box::new(move |a, k, s| spectral_density(a, &density(k), s).map(|d| d.density)));
    let run: Run = Box::new(move |a, k, s| log_spectral_density(a, &density(k), s).map(|d| d.density_nu));
    add("log density".into(), symmetric, run);
    let run: Run = Box::new(move |a, k, s| {
        spectral_densities(a, &density(k), s).map(|(x, y)| [x.density, y.density_log_nu].concat())
    });
    add("densities".into(), symmetric, run);
    add("chebyshev moments".into(), symmetric, Box::new(|a, k, s| chebyshev_density(a, 7, k, s).map(|d| d.moments)));
}

fn low_rank_plus_diagonal(add: Add<'_>) {
    let both = SQUARE | TRANSPOSED;
    let solvers = [Solver::default(), Solver::Proximal(ProximalOptions { max_iter: 30, ..ProximalOptions::default() })];
    for solver in solvers {
        for passes in [Passes::One, Passes::Two] {
            let options = LordOptions { passes, solver, ..LordOptions::default() };
            let run: Run = Box::new(move |a, k, s| sketch_lord(a, k, &options, s).map(|l| parts(&l)));
            add(format!("lord {options:?}"), both, run);
            let run: Run = Box::new(move |a, k, s| sketch_lord_auto(a, k, 3, &options, s).map(|c| parts(&c.lord)));
            add(format!("lord, the best, {options:?}"), both, run);
        }
    }
    let run: Run = Box::new(|a, k, s| {
        let measured = Measurements::take(a, 0..k, s)?;
        let options = LordOptions { passes: Passes::One, ..LordOptions::default() };
        fit_lord(&measured, &options, &Silent, s.par).map(|l| parts(&l))
    });
    add("measurements and their fit".into(), both, run);
    add("low rank".into(), both, Box::new(|a, k, s| low_only(a, k, s).map(|l| parts(&l))));
    for (name, needs, source) in [
        ("hutchinson", SQUARE, (|m| DiagonalSource::Hutchinson(m)) as fn(usize) -> DiagonalSource<'static>),
        ("xdiag", both, |m| DiagonalSource::XDiag(m)),
    ] {
        let run: Run = Box::new(move |a, k, s| diagonal_only(a, source(k), s).map(|l| parts(&l)));
        add(format!("diagonal, {name}"), needs, run);
        let run: Run = Box::new(move |a, k, s| low_then_diagonal(a, k, source(2 * k), s).map(|l| parts(&l)));
        add(format!("low rank, then diagonal, {name}"), both, run);
        let run: Run = Box::new(move |a, k, s| diagonal_then_low(a, k, source(2 * k), s).map(|l| parts(&l)));
        add(format!("diagonal, then low rank, {name}"), both, run);
    }
}

/// What says that an operator is too small, or asked for too much.
fn is_size(e: &Error) -> bool {
    matches!(e, Error::SketchTooSmall { .. } | Error::TooManyProbes { .. } | Error::InvalidArgument { .. })
}

fn all_finite(name: &str, found: &[f64]) {
    assert!(found.iter().all(|x| x.is_finite()), "{name}: {found:?}");
}

#[test]
fn operators_that_are_not_square() {
    for (m, n) in [(9, 25), (25, 9)] {
        let a = opaque(&fixed_mat::<f64>(m, n, 1), Props::NONE, true);
        for entry in entries() {
            let found = (entry.run)(&a, 4, &Settings::default());
            if entry.needs(SQUARE) {
                let named = matches!(found, Err(Error::NotSquare { nrows, ncols, .. }) if (nrows, ncols) == (m, n));
                assert!(named, "{}: {found:?}", entry.name);
            } else {
                all_finite(&entry.name, &found.unwrap_or_else(|e| panic!("{}: {e}", entry.name)));
            }
        }
    }
}

#[test]
fn no_products_and_more_than_there_are_columns() {
    let a = with_spectrum(&(0..12).map(|i| 1.0 / f64::from(1 + i)).collect::<Vec<_>>(), 2);
    let a = opaque(&a, Props::PD, false);
    for entry in entries() {
        if !entry.needs(UNSIZED) {
            let found = (entry.run)(&a, 0, &Settings::default());
            assert!(found.as_ref().is_err_and(is_size), "{}: {found:?}", entry.name);
        }
        match (entry.run)(&a, 40, &Settings::default()) {
            Ok(found) => all_finite(&entry.name, &found),
            Err(e) => assert!(matches!(e, Error::TooManyProbes { limit: 12, .. }), "{}: {e}", entry.name),
        }
    }
}

/// Nothing in, nothing out; where there is something to divide by, an error.
#[test]
fn the_zero_operator() {
    let a = opaque(&Mat::zeros(40, 40), Props::PSD, false);
    for entry in entries() {
        let found = (entry.run)(&a, 30, &Settings::default());
        if entry.needs(DEFINITE) {
            assert!(matches!(found, Err(Error::NotPositiveDefinite { .. })), "{}: {found:?}", entry.name);
        } else {
            all_finite(&entry.name, &found.unwrap_or_else(|e| panic!("{}: {e}", entry.name)));
        }
    }
}

#[test]
fn operators_of_one_dimension_and_of_none() {
    for (n, value) in [(0, 0.0), (1, 2.5), (2, 2.5)] {
        let a = opaque(&Mat::from_fn(n, n, |i, j| if i == j { value } else { 0.0 }), Props::PD, false);
        for entry in entries() {
            for k in [1, 2, 6, 24] {
                match (entry.run)(&a, k, &Settings::default()) {
                    Ok(found) => all_finite(&entry.name, &found),
                    Err(e) => assert!(is_size(&e), "{} of {n} with {k}: {e}", entry.name),
                }
            }
        }
    }
    // with products enough, one dimension is exact wherever there is one value
    let a = opaque(&Mat::from_fn(1, 1, |_, _| 2.5), Props::PD, false);
    for entry in entries().into_iter().filter(|e| e.needs(SQUARE) && !e.needs(UNSIZED)) {
        let found = (entry.run)(&a, 24, &Settings::default());
        let single =
            ["lord", "nystrom", "function", "logdet", "density", "densities", "chebyshev", "low rank", "fit", "row"];
        if !single.iter().any(|s| entry.name.contains(s)) {
            let found = found.unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            assert!((found[0].abs() - 2.5).abs() < 1e-12, "{}: {found:?}", entry.name);
        }
    }
}

/// Known by its products alone, diagonal, positive definite; the product with number `bad` holds a NaN. Products that a debug build
/// spends on probing the stated facts do not count. The number of products so far comes with it.
fn poisoned(n: usize, bad: usize) -> (Op<f64>, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(usize::MAX / 2));
    let counter = seen.clone();
    let op = Op::new(
        ClosureOp::new(n, n, move |mut out, x| {
            for j in 0..x.ncols() {
                let number = seen.fetch_add(1, Ordering::Relaxed);
                for i in 0..n {
                    out[(i, j)] = if number == bad && i == 3 { f64::NAN } else { (1 + i) as f64 * x[(i, j)] };
                }
            }
            Ok(())
        })
        .with_props(Props::PD),
    );
    op.times_mat(Mat::<f64>::zeros(n, 1).as_ref(), Par::Seq).unwrap();
    counter.store(0, Ordering::Relaxed);
    (op, counter)
}

/// The first, the third and the last product of every method, whichever of its steps makes it.
#[test]
fn a_nan_names_its_product() {
    for entry in entries() {
        for block in [1, 5, 0] {
            let settings = Settings { block, ..Settings::default() };
            let (healthy, count) = poisoned(80, usize::MAX);
            let found = (entry.run)(&healthy, 12, &settings);
            if !found.as_ref().is_err_and(is_size) {
                all_finite(&entry.name, &found.unwrap_or_else(|e| panic!("{}: {e}", entry.name)));
            }
            let total = count.load(Ordering::Relaxed);
            for bad in [0, 2, total.saturating_sub(1)].into_iter().filter(|&b| b < total) {
                let e = (entry.run)(&poisoned(80, bad).0, 12, &settings);
                let named = matches!(e, Err(Error::NonFinite { column, .. }) if column == bad);
                assert!(named, "{}, product {bad} of {total}, blocks of {block}: {e:?}", entry.name);
            }
        }
    }
}

/// An operator that says nothing of itself and cannot be transposed.
#[test]
fn missing_transposes_and_missing_facts() {
    let a = with_spectrum(&(0..40).map(|i| 1.0 / f64::from(1 + i)).collect::<Vec<_>>(), 3);
    let a = opaque(&a, Props::NONE, false);
    for entry in entries() {
        let found = (entry.run)(&a, 30, &Settings::default());
        if entry.needs(SYMMETRIC) {
            assert!(matches!(found, Err(Error::NotSymmetric { .. })), "{}: {found:?}", entry.name);
        } else if entry.needs(TRANSPOSED) {
            assert!(matches!(found, Err(Error::TransposeUnavailable { .. })), "{}: {found:?}", entry.name);
        } else if let Err(e) = found {
            // the norm by which the adaptive rank is judged takes a transpose
            let norm = entry.name.starts_with("nystrom") && matches!(e, Error::TransposeUnavailable { .. });
            assert!(norm, "{}: {e}", entry.name);
        }
    }
}

/// Coordinate probes that repeat, signs of which there are only four or eight, an operator of rank one.
#[test]
fn probes_and_products_of_deficient_rank() {
    for (n, rank, k) in [(3, 3, 3), (6, 6, 5), (6, 1, 5), (30, 2, 12)] {
        let values: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 + i as f64 } else { 0.0 }).collect();
        let a = opaque(&with_spectrum(&values, 4), Props::PSD, false);
        for law in [Law::Coordinates, Law::Rademacher] {
            for seed in 0..12 {
                let settings = Settings::seeded(seed).with_law(law);
                for entry in entries() {
                    match (entry.run)(&a, k, &settings) {
                        Ok(found) => all_finite(&format!("{}, {n}, {rank}, {law}, {seed}", entry.name), &found),
                        Err(Error::NotPositiveDefinite { .. }) if entry.needs(DEFINITE) => {}
                        Err(e) => assert!(is_size(&e), "{}, {n}, {rank}, {law}, {seed}: {e}", entry.name),
                    }
                }
            }
        }
    }
}

#[test]
fn indefinite_operators() {
    let values: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let a = opaque(&with_spectrum(&values, 5), Props::SELF_ADJOINT, false);
    for entry in entries() {
        let found = (entry.run)(&a, 20, &Settings::default());
        if entry.needs(PSD) {
            assert!(matches!(found, Err(Error::NotPsd { value, .. }) if value < 0.0), "{}: {found:?}", entry.name);
        } else if entry.needs(DEFINITE) {
            assert!(matches!(found, Err(Error::NotPositiveDefinite { .. })), "{}: {found:?}", entry.name);
        } else if !entry.needs(PSD) && !found.as_ref().is_err_and(is_size) {
            all_finite(&entry.name, &found.unwrap_or_else(|e| panic!("{}: {e}", entry.name)));
        }
    }
}

/// A block of all columns that a number can count.
#[test]
fn blocks_of_any_width() {
    let a = opaque(&with_spectrum(&[3.0, 2.0, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1], 6), Props::PD, false);
    for entry in entries() {
        let run = |block| (entry.run)(&a, 4, &Settings { block, ..Settings::default() });
        assert_eq!(run(usize::MAX), run(3), "{}", entry.name);
    }
}
