//! Any block width and one or two threads give the same bits.

use crate::util::*;
use linop_core::{LinearOperator, Op, Props, testing::fixed_mat};
use numerics::{Mat, MemBuffer, MemStack, Par};
use sketch::*;

/// Runs under several block widths and thread counts; the results must be equal bit for bit.
pub(crate) fn same_bits(run: impl Fn(&Settings<'_>) -> Vec<f64>) {
    let base = Settings::seeded(3);
    let first: Vec<u64> = run(&base).into_iter().map(f64::to_bits).collect();
    assert!(!first.is_empty());
    for block in [1, 7, 1000] {
        for par in [Par::Seq, Par::rayon(2)] {
            let settings = Settings { block, par, ..base };
            let other: Vec<u64> = run(&settings).into_iter().map(f64::to_bits).collect();
            assert!(first == other, "block {block}, {par:?}");
        }
    }
}

fn matrix() -> Mat<f64> {
    with_spectrum(&(1..=300).map(|j| 1.0 / f64::from(j)).collect::<Vec<_>>(), 30)
}

#[test]
fn traces_have_the_same_bits() {
    let a = linop_core::ops::Dense::with_props(matrix(), Props::PSD);
    for method in [
        TraceMethod::Hutchinson,
        TraceMethod::HutchPp,
        TraceMethod::NaHutchPp,
        TraceMethod::NystromPp,
        TraceMethod::XTrace { resphere: false },
        TraceMethod::XNysTrace { resphere: false },
        TraceMethod::AdaptiveHutchPp { eta: 0.5, delta: 0.1 },
    ] {
        same_bits(|settings| {
            let e = estimate_trace(&a, method, Budget::Products(60), settings).unwrap();
            vec![e.value, e.sem.unwrap()]
        });
    }
}

#[test]
fn diagonals_have_the_same_bits() {
    let a = linop_core::ops::Dense::new(fixed_mat::<f64>(200, 200, 31));
    for method in [
        DiagonalMethod::Hutchinson { ratio: false },
        DiagonalMethod::DiagPp,
        DiagonalMethod::XDiag { extra: 0 },
        DiagonalMethod::XDiag { extra: 9 },
    ] {
        same_bits(|settings| {
            let e = estimate_diagonal(&a, method, 30, settings).unwrap();
            [e.value, e.sem.unwrap()].concat()
        });
    }
    same_bits(|s| row_norms_sq(&a, RowNormMethod::XRowNorm(RowBasis::Rows), 30, s).unwrap().value);
}

fn flat(a: &Mat<f64>) -> Vec<f64> {
    (0..a.ncols()).flat_map(|j| a.col_as_slice(j).to_vec()).collect()
}

#[test]
fn factors_have_the_same_bits() {
    let general = linop_core::ops::Dense::new(fixed_mat::<f64>(150, 120, 32));
    for recovery in [Recovery::Hmt { power: 1 }, Recovery::TwoSketch, Recovery::ThreeSketch, Recovery::GenNystrom] {
        same_bits(|settings| {
            let f = svd(&general, &SvdOptions { recovery, sizes: Sizes::from_right(20), rank: Some(12) }, settings)
                .unwrap();
            [f.s, flat(&f.u), flat(&f.v)].concat()
        });
    }
    let symmetric = linop_core::ops::Dense::with_props(matrix(), Props::SELF_ADJOINT);
    let recoveries = [
        EighRecovery::Hmt { power: 0 },
        EighRecovery::TwoSketch,
        EighRecovery::ThreeSketch,
        EighRecovery::GenNystrom,
        EighRecovery::OneSketch,
    ];
    for recovery in recoveries {
        let options = EighOptions { recovery, sizes: Sizes::from_right(20), rank: None, order: Order::Magnitude };
        same_bits(|settings| {
            let f = eigh(&symmetric, &options, settings).unwrap();
            [f.values, flat(&f.vectors)].concat()
        });
    }
    let a = linop_core::ops::Dense::with_props(matrix(), Props::PSD);
    for variant in [NystromVariant::Stable, NystromVariant::CholeskyOnly] {
        same_bits(|settings| {
            let f = nystrom(&a, 25, variant, settings).unwrap();
            [f.values, flat(&f.u)].concat()
        });
    }
    same_bits(|settings| nystrom_adaptive(&a, 1e-3, &AdaptiveNystrom::default(), settings).unwrap().values);
    let tolerance = RangeTolerance { abs: 0.0, rel: 0.05, step: 9, max_columns: 90 };
    same_bits(|settings| flat(&range_finder(&general, 15, 2, settings).unwrap().q));
    same_bits(|settings| flat(&range_krylov(&general, 8, 2, settings).unwrap().q));
    same_bits(|settings| flat(&range_krylov(&symmetric, 8, 3, settings).unwrap().q));
    same_bits(|settings| flat(&range_adaptive(&a, &tolerance, settings).unwrap().q));
}

#[test]
fn norms_certificates_and_bands_have_the_same_bits() {
    let a = linop_core::ops::Dense::new(fixed_mat::<f64>(90, 90, 33));
    let other = linop_core::ops::Dense::new(fixed_mat::<f64>(90, 90, 34));
    same_bits(|settings| {
        let f = estimate_frobenius_sq(&a, 21, settings).unwrap();
        vec![f.value, f.sem.unwrap()]
    });
    for method in [RowNormMethod::Hutchinson, RowNormMethod::XRowNorm(RowBasis::Columns)] {
        same_bits(|settings| row_norms_sq(&a, method, 30, settings).unwrap().value);
    }
    same_bits(|settings| sub_diagonal(&a, -3, 30, settings).unwrap().value);
    same_bits(|settings| {
        let (low, frobenius) = norm_lower_bounds(&a, 12, settings).unwrap();
        let spectral = spectral_norm(&a, 1e-8, settings).unwrap().value;
        vec![low, frobenius, spectral, norm_upper_bound(&a, 2.0, 5, settings).unwrap()]
    });
    same_bits(|settings| {
        let c = certify(&a, &other, 13, settings).unwrap();
        [vec![c.error_sq, c.norm_sq, error_norm(&a, &other, 6, settings).unwrap()], c.per_probe].concat()
    });
    same_bits(|settings| diagonal_within(&a, DiagonalMethod::XDiag { extra: 0 }, 0.5, 400, settings).unwrap().value);
    let rel = Budget::Tolerance { abs: 0.0, rel: 0.2, max_products: 300 };
    same_bits(|settings| {
        vec![estimate_trace(&a, TraceMethod::XTrace { resphere: false }, rel, settings).unwrap().value]
    });
}

#[test]
fn spectra_have_the_same_bits() {
    let a = linop_core::ops::Dense::with_props(matrix(), Props::PD);
    let options = DensityOptions { steps: 12, runs: 3, points: 64, ..DensityOptions::default() };
    same_bits(|settings| {
        let (linear, log) = spectral_densities(&a, &options, settings).unwrap();
        assert_eq!(linear, spectral_density(&a, &options, settings).unwrap());
        assert_eq!(log, log_spectral_density(&a, &options, settings).unwrap());
        [linear.grid, linear.density, log.density_nu].concat()
    });
    same_bits(|settings| chebyshev_density(&a, 30, 4, settings).unwrap().moments);
    let runs = QuadratureOptions { steps: 10, runs: 4, ..QuadratureOptions::default() };
    same_bits(|settings| {
        let t = trace_function(&a, f64::sqrt, &runs, settings).unwrap();
        let deflated = trace_function_deflated(&a, f64::sqrt, 10, &runs, settings).unwrap();
        vec![t.value, t.sem.unwrap(), deflated.value, schatten_norm(&a, 1.5, &runs, settings).unwrap().value]
    });
}

/// The columns of a product as they come with one, seven or all columns at a time.
fn product_columns(op: &dyn LinearOperator<f64>, transposed: bool, x: &Mat<f64>, settings: &Settings<'_>) -> Vec<f64> {
    let k = x.ncols();
    let width = if settings.block == 0 { k } else { settings.block.min(k) };
    let (rows, par) = (if transposed { op.ncols() } else { op.nrows() }, settings.par);
    let req = if transposed { op.apply_t_req(width, par) } else { op.apply_req(width, par) };
    let (mut buffer, mut out) = (MemBuffer::new(req), Mat::from_fn(rows, k, |i, j| (i + j) as f64));
    for start in (0..k).step_by(width) {
        let count = width.min(k - start);
        let (y, x) = (out.as_mut().subcols_mut(start, count), x.as_ref().subcols(start, count));
        let stack = MemStack::new(&mut buffer);
        if transposed {
            op.apply_t(y, 0.7, x, -0.3, par, stack).unwrap();
        } else {
            op.apply(y, 0.7, x, -0.3, par, stack).unwrap();
        }
    }
    flat(&out)
}

#[test]
fn operators_have_the_same_bits() {
    let (n, l) = (130, 24);
    let a = Op::dense(fixed_mat::<f64>(n, n, 35));
    let probe = Probe { law: numerics::rng::Law::Sphere, seed: 3, role: numerics::rng::Role::RightProbe };
    let low = nystrom(
        &linop_core::ops::Dense::with_props(matrix(), Props::PSD),
        20,
        NystromVariant::Stable,
        &Settings::default(),
    );
    let operators: Vec<Box<dyn LinearOperator<f64>>> = vec![
        Box::new(Masked::triangle(a.clone(), Side::Lower, Some(20), 3, 1).unwrap()),
        Box::new(Masked::triangle(a.clone(), Side::Upper, None, 2, 1).unwrap()),
        Box::new(Masked::band(a, 3, 2, 5, 1).unwrap()),
        Box::new(Srht::new(n, l, 2, 0).unwrap()),
        Box::new(Ssrht::new(n, l, 2, 0).unwrap()),
        Box::new(SparseSigns::new(n, l, 2, 0).unwrap()),
        Box::new(SparseSigns::count_sketch(n, l, 2, 0).unwrap()),
        Box::new(probe.operator(n, 40)),
        Box::new(NystromPrecond::<f64>::new(&low.unwrap(), 1e-2).unwrap()),
        Box::new(
            sketch_lord(
                &linop_core::ops::Dense::with_props(matrix(), Props::PSD),
                30,
                &LordOptions::default(),
                &Settings::default(),
            )
            .unwrap(),
        ),
    ];
    for op in &operators {
        for transposed in [false, true] {
            let x = fixed_mat::<f64>(if transposed { op.nrows() } else { op.ncols() }, 15, 36);
            same_bits(|settings| product_columns(op.as_ref(), transposed, &x, settings));
        }
    }
}

/// Large enough for the product of a stored symmetric matrix that is made row by row.
#[test]
fn narrow_and_wide_products_have_the_same_bits() {
    let n = 600;
    let g = fixed_mat::<f64>(n, n, 37);
    let a = Mat::from_fn(n, n, |i, j| g[(i, j)] + g[(j, i)]);
    let op = linop_core::ops::Dense::with_props(a, Props::SELF_ADJOINT);
    same_bits(|settings| flat(&Measurements::take(&op, 0..90, settings).unwrap().right().to_owned()));
    same_bits(|settings| {
        let runs = QuadratureOptions { steps: 6, runs: 9, ..QuadratureOptions::default() };
        let t = trace_function(&op, |x| x * x, &runs, settings).unwrap();
        vec![t.value, t.sem.unwrap()]
    });
}

#[test]
fn solves_and_pairs_have_the_same_bits() {
    let a = linop_core::ops::Dense::with_props(matrix(), Props::PSD);
    let b = fixed_mat::<f64>(300, 9, 38);
    let (rank, options) =
        (AdaptiveNystrom::default(), linop_core::krylov::Options { rtol: 1e-9, ..Default::default() });
    same_bits(|settings| {
        let found = nystrom_solve(&a, 1e-2, b.as_ref(), &rank, &options, settings).unwrap();
        assert!(found.solution.report.converged());
        [flat(&found.solution.x), found.nystrom.values].concat()
    });
    // any number of right-hand sides at a time
    let all = nystrom_solve(&a, 1e-2, b.as_ref(), &rank, &options, &Settings::default()).unwrap().solution.x;
    for (start, count) in [(0, 1), (1, 8)] {
        let part = b.as_ref().subcols(start, count);
        let x = nystrom_solve(&a, 1e-2, part, &rank, &options, &Settings::default()).unwrap().solution.x;
        assert_eq!(x.as_ref(), all.as_ref().subcols(start, count));
    }
    let op = Op::new(linop_core::ops::Dense::with_props(matrix(), Props::PD));
    let eigsh = linop_core::krylov::EigshOptions::default();
    same_bits(|settings| {
        let pairs = eigenpairs_near(&op, 0.3, 3, &eigsh, settings).unwrap();
        [pairs.values, flat(&pairs.vectors)].concat()
    });
    let lord = random_factor();
    same_bits(|settings| {
        let x = lord.sample_inverse(6, 4, settings.par).unwrap();
        let inverse = lord.inverse(settings.par).unwrap();
        let y: Mat<f64> = inverse.times_mat(b.as_ref().subrows(0, 90), settings.par).unwrap();
        let (_, log) = lord.slogdet(settings.par).unwrap();
        let clipped = lord.clipped_psd(settings.par).unwrap();
        [flat(&x), flat(&y), vec![log], flat(&clipped.low_rank_part().u().to_owned())].concat()
    });
}

fn random_factor() -> Lord {
    let d = (0..90).map(|i| 1.0 + f64::from(i).sin().abs()).collect();
    let c = Mat::from_fn(4, 4, |i, j| if i == j { [1.0, 0.5, -0.001, 2.0][i] } else { 0.0 });
    Lord::new(d, fixed_mat::<f64>(90, 4, 39), c, None).unwrap()
}

/// Beyond the length from which sums over rows are split into chunks.
#[test]
fn long_vectors_have_the_same_bits() {
    let n = 20_000;
    let a = linop_core::ops::Diagonal::new((0..n).map(|i| 1.0 / (1.0 + f64::from(i))).collect());
    same_bits(|settings| {
        let method = TraceMethod::XTrace { resphere: false };
        let e = estimate_trace(&a, method, Budget::Products(12), settings).unwrap();
        vec![e.value, e.sem.unwrap()]
    });
    same_bits(|settings| nystrom(&a, 6, NystromVariant::Stable, settings).unwrap().values);
    same_bits(|settings| {
        let e = estimate_diagonal(&a, DiagonalMethod::XDiag { extra: 2 }, 14, settings).unwrap();
        [e.value, e.sem.unwrap()].concat()
    });
    same_bits(|settings| {
        let found = sketch_lord(&a, 3, &LordOptions::default(), settings).unwrap();
        found.diagonal_part()[..50].to_vec()
    });
}
