//! Neumann series on the golden cases of the specification; inverse operators and their transposes.

use super::testing::{Matrix, dense_solve, distance, random, rows, times, with_spectrum};
use super::*;
use crate::{Error, LinearOperator, Op, Props};
use numerics::{Mat, MemBuffer, MemStack, Par, dense};

fn golden(scale: f64) -> Matrix<f64> {
    let mut a = rows(&[&[1.0, 0.5, 0.25], &[5.0 / 7.0, 1.0, 1.0 / 7.0], &[0.3, 0.6, 1.0]], Props::NONE);
    dense::scale(a.a.as_mut(), scale);
    a
}

#[test]
fn neumann_golden_cases() -> Result<(), Error> {
    let b = random(3, 2, 28);
    let series = |a: &Matrix<f64>, terms: usize, alpha: f64, precond: Option<&dyn LinearOperator<f64>>| {
        neumann(a, b.as_ref(), &NeumannOptions { terms, alpha: Alpha::Fixed(alpha), precond }, Par::Seq)
    };
    let near = |a: &Matrix<f64>, s: Solution<f64>| -> Result<bool, Error> {
        let exact = dense_solve(&a.a, &b)?;
        let mut ok = true;
        for j in 0..2 {
            for i in 0..3 {
                ok &= (s.x[(i, j)] - exact[(i, j)]).abs() <= 1e-5 + 1e-3 * exact[(i, j)].abs();
            }
        }
        Ok(ok)
    };
    assert!(near(&golden(1.0), series(&golden(1.0), 1000, 1.0, None)?)?);
    assert!(matches!(series(&golden(2.0), 1000, 1.0, None), Err(Error::Diverged { .. })));
    assert!(near(&golden(2.0), series(&golden(2.0), 1000, 0.5, None)?)?);
    let a = rows(&[&[5.0, 1.0, 1.0], &[1.0, 4.0, 1.0], &[1.0, 1.0, 3.0]], Props::PD | Props::SELF_ADJOINT);
    assert!(matches!(series(&a, 100, 1.0, None), Err(Error::Diverged { .. })));
    assert!(near(&a, series(&a, 100, 0.3, None)?)?);
    assert!(!near(&a, series(&a, 20, 0.3, None)?)?);
    let jacobi =
        Matrix { a: Mat::from_fn(3, 3, |i, j| if i == j { 1.0 / a.a[(i, i)] } else { 0.0 }), props: Props::PD };
    assert!(near(&a, series(&a, 20, 1.0, Some(&jacobi))?)?);
    let lower = Mat::from_fn(3, 3, |i, j| if i >= j { a.a[(i, j)] } else { 0.0 });
    let gauss_seidel = Matrix { a: dense_solve(&lower, &Mat::identity(3, 3))?, props: Props::NONE };
    assert!(near(&a, series(&a, 20, 1.0, Some(&gauss_seidel))?)?);
    let exact = Matrix { a: dense_solve(&a.a, &Mat::identity(3, 3))?, props: Props::PD };
    let s = series(&a, 0, 1.0, Some(&exact))?;
    assert!(s.report.converged() && near(&a, s)?);
    // Automatic step length: converges although the plain series diverges.
    let auto = NeumannOptions { terms: 100, alpha: Alpha::Auto, precond: None };
    assert!(near(&a, neumann(&a, b.as_ref(), &auto, Par::Seq)?)?);
    assert!(matches!(neumann(&golden(1.0), b.as_ref(), &auto, Par::Seq), Err(Error::MissingProperty { .. })));
    let both = NeumannOptions { precond: Some(&jacobi), ..auto };
    assert!(matches!(neumann(&a, b.as_ref(), &both, Par::Seq), Err(Error::InvalidArgument { .. })));
    Ok(())
}

#[test]
fn neumann_error_identity_and_slow_divergence() -> Result<(), Error> {
    let a = golden(1.0);
    let p = rows(&[&[0.9, 0.1, 0.0], &[0.0, 1.1, 0.2], &[0.1, 0.0, 0.8]], Props::NONE);
    let b = random(3, 1, 29);
    let (terms, alpha) = (7, 0.6);
    let options = NeumannOptions { terms, alpha: Alpha::Fixed(alpha), precond: Some(&p) };
    let s = neumann(&a, b.as_ref(), &options, Par::Seq)?;
    assert_eq!((s.report.products, s.report.precond_products), (terms + 1, terms + 1));
    let exact = dense_solve(&a.a, &b)?;
    let mut error = exact.clone();
    let pa = times(&p.a, &a.a);
    for _ in 0..=terms {
        let change = times(&pa, &error);
        error = Mat::from_fn(3, 1, |i, _| error[(i, 0)] - alpha * change[(i, 0)]);
    }
    for i in 0..3 {
        assert!((exact[(i, 0)] - s.x[(i, 0)] - error[(i, 0)]).abs() < 1e-12);
    }
    let slow = rows(&[&[1.0, 0.0], &[0.0, 2.05]], Props::PD);
    let b = Mat::from_fn(2, 1, |_, _| 1.0);
    let options = NeumannOptions::default();
    assert_eq!(
        neumann(&slow, b.as_ref(), &options, Par::Seq).err(),
        Some(Error::Diverged { op: "neumann", term: 100 })
    );
    Ok(())
}

fn apply(op: &dyn LinearOperator<f64>, x: &Mat<f64>, transposed: bool) -> Result<Mat<f64>, Error> {
    let mut memory = MemBuffer::new(op.apply_req(x.ncols(), Par::Seq));
    // beta = 0 must not read the output.
    let mut out = Mat::from_fn(op.nrows(), x.ncols(), |_, _| f64::NAN);
    if transposed {
        out = Mat::from_fn(op.ncols(), x.ncols(), |_, _| f64::NAN);
        op.apply_t(out.as_mut(), 2.0, x.as_ref(), 0.0, Par::Seq, MemStack::new(&mut memory))?;
    } else {
        op.apply(out.as_mut(), 2.0, x.as_ref(), 0.0, Par::Seq, MemStack::new(&mut memory))?;
    }
    Ok(out)
}

#[test]
fn inverse_operators_and_their_transposes() -> Result<(), Error> {
    let general = golden(1.0);
    let b = random(3, 2, 30);
    let twice = Mat::from_fn(3, 2, |i, j| 2.0 * b[(i, j)]);
    let transposed = general.a.transpose().to_owned();
    for method in [Method::Gmres, Method::Lsmr, Method::Neumann { terms: 400, alpha: Alpha::Fixed(1.0) }] {
        let inverse = IterativeInverse::new(Op::new(general.clone()), method)?.with_tolerances(1e-13, 0.0);
        assert!(distance(&apply(&inverse, &b, false)?, &dense_solve(&general.a, &twice)?) < 1e-9, "{method:?}");
        assert!(distance(&apply(&inverse, &b, true)?, &dense_solve(&transposed, &twice)?) < 1e-9, "{method:?}");
        assert_eq!(inverse.props(), Props::NONE);
    }
    let mut pd = with_spectrum(&[1.0, 0.8, 0.3], 31);
    pd.props = Props::PD | Props::PSD | Props::SELF_ADJOINT;
    for method in [Method::Cg, Method::Minres, Method::Neumann { terms: 200, alpha: Alpha::Auto }] {
        let inverse = IterativeInverse::new(Op::new(pd.clone()), method)?.with_tolerances(1e-13, 0.0);
        let y = apply(&inverse, &b, false)?;
        assert!(distance(&y, &dense_solve(&pd.a, &twice)?) < 1e-9, "{method:?}");
        assert!(distance(&y, &apply(&inverse, &b, true)?) < 1e-12, "{method:?}");
        assert!(inverse.props().contains(Props::SELF_ADJOINT));
        let series = matches!(method, Method::Neumann { .. });
        assert_eq!(inverse.props().contains(Props::PD), !series, "{method:?}");
        assert_eq!(inverse.last_report().is_some(), !series);
    }
    // Preconditioned by a non-symmetric operator, transposed.
    let p = rows(&[&[0.9, 0.1, 0.0], &[0.0, 1.1, 0.2], &[0.1, 0.0, 0.8]], Props::NONE);
    for method in [Method::Gmres, Method::Lsmr, Method::Neumann { terms: 400, alpha: Alpha::Fixed(0.9) }] {
        let inverse = IterativeInverse::new(Op::new(general.clone()), method)?
            .with_precond(Op::new(p.clone()))?
            .with_tolerances(1e-13, 0.0);
        assert!(distance(&apply(&inverse, &b, true)?, &dense_solve(&transposed, &twice)?) < 1e-9, "{method:?}");
    }
    // The inverse of the inverse.
    let inner = IterativeInverse::new(Op::new(pd.clone()), Method::Cg)?.with_tolerances(1e-14, 0.0);
    let outer = IterativeInverse::new(Op::new(inner), Method::Cg)?.with_tolerances(1e-10, 0.0);
    assert!(distance(&apply(&outer, &b, false)?, &times(&pd.a, &twice)) < 1e-8);
    Ok(())
}

#[test]
fn inverse_operators_refuse_and_fail_with_types() -> Result<(), Error> {
    let indefinite = with_spectrum(&[1.0, -1.0, 2.0], 32);
    let b = random(3, 1, 33);
    let inverse = IterativeInverse::new(Op::new(indefinite.clone()), Method::Cg)?;
    assert!(matches!(apply(&inverse, &b, false), Err(Error::NotPositiveDefinite { .. })));
    let mut out = b.clone();
    inverse.apply(
        out.as_mut(),
        0.0,
        b.as_ref(),
        3.0,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(inverse.apply_req(1, Par::Seq))),
    )?;
    assert!((out[(0, 0)] - 3.0 * b[(0, 0)]).abs() < 1e-15);
    assert!(matches!(IterativeInverse::new(Op::new(golden(1.0)), Method::Cg), Err(Error::MissingProperty { .. })));
    let wide = Matrix { a: random(2, 3, 34), props: Props::NONE };
    assert!(matches!(IterativeInverse::new(Op::new(wide.clone()), Method::Gmres), Err(Error::NotSquare { .. })));
    let pinv = IterativeInverse::new(Op::new(wide), Method::Lsmr)?;
    assert_eq!((pinv.nrows(), pinv.ncols()), (3, 2));
    let wrong = inverse.apply(
        Mat::zeros(2, 1).as_mut(),
        1.0,
        b.as_ref(),
        0.0,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(numerics::StackReq::EMPTY)),
    );
    assert!(matches!(wrong, Err(Error::ShapeMismatch { .. })));
    Ok(())
}

#[test]
fn inverse_operators_pass_the_operator_checks() -> Result<(), Error> {
    use crate::testing::check_operator;
    let mut a = with_spectrum(&[2.0, 1.5, 1.0, 0.7, 0.5], 35);
    a.props = Props::PD | Props::PSD | Props::SELF_ADJOINT;
    let exact = dense_solve(&a.a, &Mat::identity(5, 5))?;
    for method in [Method::Cg, Method::Minres, Method::Gmres, Method::Lsmr] {
        let inverse = IterativeInverse::new(Op::new(a.clone()), method)?.with_tolerances(1e-13, 0.0);
        check_operator(&inverse, exact.as_ref(), 1e-9);
    }
    Ok(())
}

#[test]
fn an_automatic_series_takes_no_preconditioner() -> Result<(), Error> {
    let mut a = with_spectrum(&[2.0, 1.5, 1.0], 36);
    a.props = Props::PD | Props::PSD | Props::SELF_ADJOINT;
    let auto = IterativeInverse::new(Op::new(a.clone()), Method::Neumann { terms: 5, alpha: Alpha::Auto })?;
    assert_eq!(auto.cost(2).flops, 5.0 * a.cost(2).flops);
    let Method::Neumann { alpha: Alpha::Fixed(alpha), .. } = auto.method() else { panic!("{:?}", auto.method()) };
    assert!((alpha - 0.5).abs() < 1e-12, "{alpha}");
    assert!(matches!(auto.with_precond(Op::new(a)), Err(Error::InvalidArgument { .. })));
    Ok(())
}
