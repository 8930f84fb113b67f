//! MINRES, LSMR and GMRES against dense solves; bad operands and empty blocks for every solver.

use super::testing::{Matrix, dense_solve, distance, log_uniform, random, rows, times, with_spectrum};
use super::*;
use crate::{Error, Props};
use numerics::{Mat, Par, dense};

fn tight<'a>() -> Options<'a, f64> {
    Options { rtol: 1e-12, ..Options::default() }
}

#[test]
fn bad_operands_are_typed_errors() {
    let a = with_spectrum(&[1.0, 2.0, 3.0], 13);
    let mut b = random(3, 1, 14);
    let short = random(2, 1, 14);
    let o = Options::default();
    assert!(matches!(cg(&a, short.as_ref(), &o, Par::Seq), Err(Error::ShapeMismatch { .. })));
    b[(1, 0)] = f64::NAN;
    let nan = |e: Option<Error>| assert!(matches!(e, Some(Error::NotFinite { operand: "b", .. })), "{e:?}");
    nan(cg(&a, b.as_ref(), &o, Par::Seq).err());
    nan(minres(&a, b.as_ref(), &o, Par::Seq).err());
    nan(lsmr(&a, b.as_ref(), &o, Par::Seq).err());
    nan(gmres(&a, b.as_ref(), &o, Par::Seq).err());
    nan(neumann(&a, b.as_ref(), &NeumannOptions::default(), Par::Seq).err());
    b[(1, 0)] = 1.0;
    let unknown = Matrix { a: a.a.clone(), props: Props::NONE };
    assert!(matches!(cg(&unknown, b.as_ref(), &o, Par::Seq), Err(Error::MissingProperty { .. })));
    assert!(matches!(minres(&unknown, b.as_ref(), &o, Par::Seq), Err(Error::MissingProperty { .. })));
    let mut broken = a.clone();
    broken.a[(0, 0)] = f64::NAN;
    assert!(matches!(cg(&broken, b.as_ref(), &o, Par::Seq), Err(Error::NotFinite { .. })));
    assert!(matches!(minres(&broken, b.as_ref(), &o, Par::Seq), Err(Error::NotFinite { .. })));
    assert!(matches!(gmres(&broken, b.as_ref(), &o, Par::Seq), Err(Error::NotFinite { .. })));
    assert!(matches!(lsmr(&broken, b.as_ref(), &o, Par::Seq), Err(Error::NotFinite { .. })));
    let wide = Matrix { a: random(2, 3, 1), props: Props::NONE };
    assert!(matches!(gmres(&wide, short.as_ref(), &o, Par::Seq), Err(Error::NotSquare { .. })));
}

#[test]
fn empty_blocks_and_sizes_are_legal() -> Result<(), Error> {
    let a = with_spectrum(&[1.0, 2.0], 15);
    let none = Mat::<f64>::zeros(2, 0);
    let o = Options::default();
    for s in [
        cg(&a, none.as_ref(), &o, Par::Seq)?.solution,
        minres(&a, none.as_ref(), &o, Par::Seq)?,
        gmres(&a, none.as_ref(), &o, Par::Seq)?,
        lsmr(&a, none.as_ref(), &o, Par::Seq)?,
        neumann(&a, none.as_ref(), &NeumannOptions::default(), Par::Seq)?,
    ] {
        assert_eq!((s.x.shape(), s.report.products), ((2, 0), 0), "{}", s.report.algorithm);
    }
    let empty = Matrix::<f64> { a: Mat::zeros(0, 0), props: Props::SELF_ADJOINT };
    let b = Mat::zeros(0, 2);
    assert_eq!(cg(&empty, b.as_ref(), &o, Par::Seq)?.require_converged()?.shape(), (0, 2));
    assert_eq!(gmres(&empty, b.as_ref(), &o, Par::Seq)?.require_converged()?.shape(), (0, 2));
    Ok(())
}

#[test]
fn minres_solves_indefinite_systems() -> Result<(), Error> {
    let spectrum: Vec<f64> =
        log_uniform(40, 1e3).iter().enumerate().map(|(i, v)| if i % 3 == 0 { -v } else { *v }).collect();
    let a = with_spectrum(&spectrum, 16);
    let mut b = random(40, 3, 17);
    b.col_as_slice_mut(1).fill(0.0);
    let s = minres(&a, b.as_ref(), &tight(), Par::Seq)?;
    assert!(s.report.converged() && s.report.relative.iter().all(|&r| r <= 1e-12), "{:?}", s.report);
    assert!(distance(&s.x, &dense_solve(&a.a, &b)?) < 1e-8);
    // With a positive definite preconditioner, |A|^-1.
    let m = {
        let e = dense::eigh(a.a.as_ref())?;
        Matrix { a: dense::apply_spectral(&e, |l| 1.0 / l.abs(), Par::Seq), props: Props::PD }
    };
    let p = minres(&a, b.as_ref(), &Options { precond: Some(&m), rtol: 1e-10, ..Options::default() }, Par::Seq)?;
    assert!(p.report.converged() && p.report.iterations < s.report.iterations / 3, "{:?}", p.report);
    Ok(())
}

#[test]
fn minres_on_singular_systems() -> Result<(), Error> {
    let mut spectrum: Vec<f64> = log_uniform(30, 20.0);
    (spectrum[3], spectrum[4], spectrum[5]) = (0.0, -0.3, 0.0);
    let a = with_spectrum(&spectrum, 18);
    let e = dense::eigh(a.a.as_ref())?;
    let pinv = dense::apply_spectral(&e, |l| if l.abs() < 1e-10 { 0.0 } else { 1.0 / l }, Par::Seq);
    // Consistent: the solution of least norm.
    let b = times(&a.a, &random(30, 2, 19));
    let s = minres(&a, b.as_ref(), &Options { rtol: 1e-11, ..Options::default() }, Par::Seq)?;
    assert!(s.report.converged(), "{:?}", s.report);
    assert!(distance(&s.x, &times(&pinv, &b)) < 1e-8);
    // Inconsistent: flagged, with the least possible residual.
    let b = random(30, 2, 20);
    let s = minres(&a, b.as_ref(), &Options::default(), Par::Seq)?;
    assert_eq!(s.report.outcomes, [Outcome::Inconsistent; 2]);
    let ax = times(&a.a, &times(&pinv, &b));
    for j in 0..2 {
        let best: f64 = (0..30).map(|i| (b[(i, j)] - ax[(i, j)]).powi(2)).sum::<f64>().sqrt();
        assert!((s.report.residuals[j] / best - 1.0).abs() < 1e-9, "{} {best}", s.report.residuals[j]);
    }
    assert!(matches!(s.require_converged(), Err(Error::Singular { op: "minres" })));
    // The zero operator.
    let zero = Matrix::<f64> { a: Mat::zeros(4, 4), props: Props::SELF_ADJOINT };
    let s = minres(&zero, random(4, 1, 1).as_ref(), &Options::default(), Par::Seq)?;
    assert_eq!(s.report.outcomes[0], Outcome::Inconsistent);
    assert!(s.x.col_as_slice(0).iter().all(|&x| x == 0.0));
    Ok(())
}

#[test]
fn lsmr_least_squares_of_every_shape() -> Result<(), Error> {
    for (m, n) in [(30, 12), (12, 30), (20, 20)] {
        let a = Matrix { a: random(m, n, 21), props: Props::NONE };
        let b = random(m, 3, 22);
        let svd = dense::svd(a.a.as_ref())?;
        let r = svd.s.len();
        let mut c = Mat::zeros(r, 3);
        dense::gemm(c.as_mut(), 1.0, svd.u.as_ref().transpose(), b.as_ref(), 0.0, Par::Seq);
        let c = Mat::from_fn(r, 3, |i, j| c[(i, j)] / svd.s[i]);
        let exact = times(&svd.v, &c);
        let s = lsmr(&a, b.as_ref(), &Options { rtol: 1e-12, ..Options::default() }, Par::Seq)?;
        let expected = if m > n { Outcome::Inconsistent } else { Outcome::Converged };
        assert_eq!(s.report.outcomes, [expected; 3], "{m} x {n}: {:?}", s.report);
        assert!(distance(&s.x, &exact) < 1e-8, "{m} x {n}: {}", distance(&s.x, &exact));
    }
    // A^T b = 0: zero, without dividing.
    let a = rows(&[&[1.0], &[0.0]], Props::NONE);
    let b = Mat::from_fn(2, 1, |i, _| i as f64);
    let s = lsmr(&a, b.as_ref(), &Options::default(), Par::Seq)?;
    assert_eq!((s.report.outcomes[0], s.x[(0, 0)]), (Outcome::Inconsistent, 0.0));
    // A preconditioner on the right.
    let a = Matrix {
        a: Mat::from_fn(30, 10, |i, j| random(30, 10, 23)[(i, j)] * 10f64.powi(j as i32 - 5)),
        props: Props::NONE,
    };
    let n = Matrix {
        a: Mat::from_fn(10, 10, |i, j| if i == j { 10f64.powi(5 - j as i32) } else { 0.0 }),
        props: Props::PD,
    };
    let b = times(&a.a, &random(10, 1, 24));
    let s = lsmr(&a, b.as_ref(), &Options { precond: Some(&n), ..Options::default() }, Par::Seq)?;
    assert!(s.report.converged() && s.report.iterations < 60, "{:?}", s.report);
    Ok(())
}

#[test]
fn gmres_on_general_systems() -> Result<(), Error> {
    let mut a = random(50, 50, 25);
    for i in 0..50 {
        a[(i, i)] += 12.0;
    }
    let a = Matrix { a, props: Props::NONE };
    let mut b = random(50, 3, 26);
    b.col_as_slice_mut(1).fill(0.0);
    let s = gmres(&a, b.as_ref(), &tight(), Par::Seq)?;
    assert!(s.report.converged(), "{:?}", s.report);
    assert!(distance(&s.x, &dense_solve(&a.a, &b)?) < 1e-10);
    let inverse = Matrix { a: dense_solve(&a.a, &Mat::identity(50, 50))?, props: Props::NONE };
    let s = gmres(&a, b.as_ref(), &Options { precond: Some(&inverse), ..Options::default() }, Par::Seq)?;
    assert_eq!((s.report.iterations, s.report.converged()), (1, true));
    // A cyclic shift of length 40 makes no progress in cycles of 30.
    let shift = Matrix { a: Mat::from_fn(40, 40, |i, j| f64::from((j + 1) % 40 == i)), props: Props::NONE };
    let e = Mat::from_fn(40, 1, |i, _| f64::from(i == 0));
    let s = gmres(&shift, e.as_ref(), &Options::default(), Par::Seq)?;
    assert_eq!((s.report.outcomes[0], s.report.iterations), (Outcome::Stagnated, 60));
    // Singular and inconsistent.
    let zero = rows(&[&[1.0, 0.0], &[0.0, 0.0]], Props::NONE);
    let s = gmres(&zero, Mat::from_fn(2, 1, |_, _| 1.0).as_ref(), &Options::default(), Par::Seq)?;
    assert!(matches!(s.require_converged(), Err(Error::NoConvergence { .. })));
    Ok(())
}

#[test]
fn gmres_does_not_give_up_on_slow_convection_diffusion() -> Result<(), Error> {
    let n = 20;
    let size = n * n;
    let mut a = Mat::zeros(size, size);
    for y in 0..n {
        for x in 0..n {
            let i = y * n + x;
            a[(i, i)] = 4.0;
            if x > 0 {
                a[(i, i - 1)] = -1.9;
            }
            if x + 1 < n {
                a[(i, i + 1)] = -0.1;
            }
            if y > 0 {
                a[(i, i - n)] = -1.9;
            }
            if y + 1 < n {
                a[(i, i + n)] = -0.1;
            }
        }
    }
    let a = Matrix { a, props: Props::NONE };
    let b = random(size, 1, 27);
    let s = gmres(&a, b.as_ref(), &Options::default(), Par::Seq)?;
    assert!(s.report.converged(), "{:?}", s.report);
    Ok(())
}

#[test]
fn single_precision_meets_its_default_tolerance() -> Result<(), Error> {
    let a = with_spectrum(&log_uniform(40, 100.0), 40);
    let a = Matrix { a: Mat::from_fn(40, 40, |i, j| a.a[(i, j)] as f32), props: Props::SELF_ADJOINT };
    let b = Mat::from_fn(40, 3, |i, j| ((3 * i + j) as f32).cos() * 1e-25);
    let o = Options::default();
    for report in [
        cg(&a, b.as_ref(), &o, Par::Seq)?.solution.report,
        minres(&a, b.as_ref(), &o, Par::Seq)?.report,
        gmres(&a, b.as_ref(), &o, Par::Seq)?.report,
        lsmr(&a, b.as_ref(), &o, Par::Seq)?.report,
    ] {
        assert!(report.converged() && report.relative.iter().all(|&r| r <= 1.0001e-5), "{report:?}");
    }
    Ok(())
}

#[test]
fn starts_and_limits_are_respected() -> Result<(), Error> {
    let mut a = with_spectrum(&log_uniform(30, 1e3), 41);
    a.props = Props::SELF_ADJOINT | Props::PD | Props::PSD;
    let b = random(30, 2, 42);
    let exact = dense_solve(&a.a, &b)?;
    let warm = Options { x0: Some(exact.as_ref()), ..Options::default() };
    let near = Mat::from_fn(30, 2, |i, j| exact[(i, j)] + 1e-3);
    let closer = Options { x0: Some(near.as_ref()), ..Options::default() };
    let cut = Options { max_iter: Some(3), ..Options::default() };
    type Solver = fn(
        &dyn crate::LinearOperator<f64>,
        numerics::MatRef<'_, f64>,
        &Options<'_, f64>,
    ) -> Result<Solution<f64>, Error>;
    let solvers: [Solver; 4] = [
        |a, b, o| Ok(cg(a, b, o, Par::Seq)?.solution),
        |a, b, o| minres(a, b, o, Par::Seq),
        |a, b, o| gmres(a, b, o, Par::Seq),
        |a, b, o| lsmr(a, b, o, Par::Seq),
    ];
    for solve in solvers {
        let s = solve(&a, b.as_ref(), &warm)?;
        assert_eq!((s.report.iterations, s.report.converged()), (0, true), "{:?}", s.report);
        let s = solve(&a, b.as_ref(), &closer)?;
        assert!(s.report.converged() && distance(&s.x, &exact) < 1e-4, "{:?}", s.report);
        let s = solve(&a, b.as_ref(), &cut)?;
        assert_eq!((s.report.iterations, s.report.outcomes[0]), (3, Outcome::MaxIterations), "{:?}", s.report);
        // The report's residual is that of the iterate it comes with.
        let ax = times(&a.a, &s.x);
        for j in 0..2 {
            let r: f64 = (0..30).map(|i| (b[(i, j)] - ax[(i, j)]).powi(2)).sum::<f64>().sqrt();
            assert!((r / s.report.residuals[j] - 1.0).abs() < 1e-9, "{:?}", s.report);
        }
        assert!(matches!(s.require_converged(), Err(Error::NoConvergence { iters: 3, .. })));
    }
    Ok(())
}

#[test]
fn threads_and_block_width_do_not_change_a_bit() -> Result<(), Error> {
    let mut a = with_spectrum(&log_uniform(300, 50.0), 43);
    a.props = Props::SELF_ADJOINT | Props::PD | Props::PSD;
    let b = random(300, 3, 44);
    let o = Options::default();
    let two = Par::rayon(2);
    let all = |par| -> Result<[Mat<f64>; 4], Error> {
        Ok([
            cg(&a, b.as_ref(), &o, par)?.solution.x,
            minres(&a, b.as_ref(), &o, par)?.x,
            gmres(&a, b.as_ref(), &o, par)?.x,
            lsmr(&a, b.as_ref(), &o, par)?.x,
        ])
    };
    for (sequential, parallel) in all(Par::Seq)?.iter().zip(&all(two)?) {
        assert_eq!(distance(sequential, parallel), 0.0);
    }
    let block = minres(&a, b.as_ref(), &o, two)?.x;
    let alone = minres(&a, b.as_ref().subcols(2, 1), &o, Par::Seq)?.x;
    assert_eq!(block.col_as_slice(2), alone.col_as_slice(0));
    let block = lsmr(&a, b.as_ref(), &o, two)?.x;
    let alone = lsmr(&a, b.as_ref().subcols(2, 1), &o, Par::Seq)?.x;
    assert_eq!(block.col_as_slice(2), alone.col_as_slice(0));
    Ok(())
}
