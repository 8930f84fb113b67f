//! Conjugate gradients: accuracy, iteration counts, stagnation, curvature, singular systems, preconditioners.

use super::testing::{Matrix, dense_solve, distance, log_uniform, random, times, with_spectrum};
use super::*;
use crate::{Error, Props};
use numerics::{Mat, Par, dense};

fn tight<'a>() -> Options<'a, f64> {
    Options { rtol: 1e-12, ..Options::default() }
}

#[test]
fn cg_matches_the_dense_solve_column_by_column() -> Result<(), Error> {
    let a = with_spectrum(&log_uniform(40, 1e3), 1);
    let mut b = random(40, 4, 2);
    b.col_as_slice_mut(2).fill(0.0);
    for x in b.col_as_slice_mut(3) {
        *x *= 1e-200;
    }
    let s = cg(&a, b.as_ref(), &tight(), Par::Seq)?;
    assert!(s.report.converged(), "{:?}", s.report);
    assert_eq!(s.report.residuals[2], 0.0);
    assert!(s.report.relative.iter().all(|&r| r <= 1e-12));
    let x = s.require_converged()?;
    let exact = dense_solve(&a.a, &b)?;
    assert!(distance(&x, &exact) < 1e-8);
    assert!(x.col_as_slice(2).iter().all(|&x| x == 0.0));
    let tiny = x.col_as_slice(3).iter().zip(exact.col_as_slice(3)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(tiny < 1e-208, "{tiny}");
    // Alone or in a block: the same numbers.
    let alone = cg(&a, b.as_ref().subcols(1, 1), &tight(), Par::Seq)?.require_converged()?;
    assert_eq!(alone.col_as_slice(0), x.col_as_slice(1));
    Ok(())
}

#[test]
fn cg_needs_more_than_two_n_steps_and_gets_them() -> Result<(), Error> {
    for (cond, at_most) in [(1e4, 250), (1e6, 600), (1e8, 1000)] {
        let a = with_spectrum(&log_uniform(50, cond), 3);
        let b = random(50, 1, 4);
        let s = cg(&a, b.as_ref(), &Options::default(), Par::Seq)?;
        assert!(s.report.converged(), "{cond}: {:?}", s.report);
        assert!(s.report.iterations > 100 && s.report.iterations <= at_most, "{cond}: {}", s.report.iterations);
        assert!(s.report.relative[0] <= 1e-8);
    }
    Ok(())
}

#[test]
fn cg_stops_where_rounding_forbids_the_tolerance() -> Result<(), Error> {
    let a = with_spectrum(&[1.0, 1e-6, 1e-12], 5);
    let b = random(3, 1, 6);
    let s = cg(&a, b.as_ref(), &Options { rtol: 1e-16, ..Options::default() }, Par::Seq)?;
    assert!(matches!(s.report.outcomes[0], Outcome::Stagnated | Outcome::NotPositiveDefinite { .. }), "{:?}", s.report);
    assert!(s.report.iterations < 100, "{}", s.report.iterations);
    assert!(s.require_converged().is_err());
    let a32 = Matrix {
        a: Mat::from_fn(30, 30, |i, j| if i == j { 3.0f32 } else { 1.0 / (1.0 + i as f32 + j as f32) }),
        props: Props::SELF_ADJOINT,
    };
    let b32 = Mat::from_fn(30, 1, |i, _| (i as f32).sin());
    let s = cg(&a32, b32.as_ref(), &Options { rtol: 1e-9, ..Options::default() }, Par::Seq)?;
    assert_eq!(s.report.outcomes[0], Outcome::Stagnated);
    assert!(s.report.iterations < 200);
    assert!(cg(&a32, b32.as_ref(), &Options::default(), Par::Seq)?.report.converged());
    Ok(())
}

#[test]
fn cg_hands_back_negative_curvature() -> Result<(), Error> {
    let a = with_spectrum(&[3.0, 2.0, 1.0, -0.5, 4.0], 7);
    let b = random(5, 2, 8);
    let s = cg(&a, b.as_ref(), &Options::default(), Par::Seq)?;
    for j in 0..2 {
        assert!(matches!(s.report.outcomes[j], Outcome::NotPositiveDefinite { .. }));
        let Some(d) = &s.curvature[j] else { panic!("no direction") };
        let d = Mat::from_fn(5, 1, |i, _| d[i]);
        let ad = times(&a.a, &d);
        let curvature: f64 = (0..5).map(|i| d[(i, 0)] * ad[(i, 0)]).sum();
        assert!(curvature <= 0.0, "{curvature}");
    }
    assert!(matches!(s.require_converged(), Err(Error::NotPositiveDefinite { .. })));
    Ok(())
}

#[test]
fn cg_on_a_singular_inconsistent_system_keeps_the_best_iterate() -> Result<(), Error> {
    let mut spectrum = log_uniform(20, 10.0);
    spectrum[0] = 0.0;
    let a = with_spectrum(&spectrum, 9);
    let b = random(20, 1, 10);
    let s = cg(&a, b.as_ref(), &Options::default(), Par::Seq)?;
    assert!(!s.report.converged());
    let bnorm: f64 = dense::norm_l2(b.as_ref());
    assert!(s.report.residuals[0] <= bnorm, "{:?}", s.report);
    assert!(dense::norm_l2(s.x.as_ref()) < 1e3 * bnorm);
    Ok(())
}

#[test]
fn cg_with_an_exact_preconditioner_takes_one_iteration() -> Result<(), Error> {
    let a = with_spectrum(&log_uniform(12, 100.0), 11);
    let inverse = Matrix { a: dense_solve(&a.a, &Mat::identity(12, 12))?, props: Props::PD };
    let b = random(12, 2, 12);
    let s = cg(&a, b.as_ref(), &Options { precond: Some(&inverse), ..Options::default() }, Par::Seq)?;
    assert_eq!((s.report.iterations, s.report.converged()), (1, true));
    let negative =
        Matrix { a: Mat::from_fn(12, 12, |i, j| if i == j { -1.0 } else { 0.0 }), props: Props::SELF_ADJOINT };
    let s = cg(&a, b.as_ref(), &Options { precond: Some(&negative), ..Options::default() }, Par::Seq)?;
    assert!(matches!(s.report.outcomes[0], Outcome::PreconditionerNotPositiveDefinite { .. }));
    // Warm start at the solution: no iteration at all.
    let exact = dense_solve(&a.a, &b)?;
    let s = cg(&a, b.as_ref(), &Options { x0: Some(exact.as_ref()), ..Options::default() }, Par::Seq)?;
    assert_eq!(s.report.iterations, 0);
    Ok(())
}

/// Columns that are done cost no more products: the block shrinks when half of it is.
#[test]
fn cg_packs_the_columns_that_are_left() -> Result<(), Error> {
    let mut hard = with_spectrum(&log_uniform(50, 1e4), 15);
    hard.props = Props::PD | Props::PSD | Props::SELF_ADJOINT;
    let e = dense::eigh(hard.a.as_ref())?;
    // Seven eigenvectors, done after one step, and one that takes many.
    let b = Mat::from_fn(50, 8, |i, j| if j < 7 { e.vectors[(i, j)] } else { ((i * i) as f64).sin() });
    let (counted, counts) = crate::Op::new(hard.clone()).counted();
    let s = cg(&counted, b.as_ref(), &Options::default(), Par::Seq)?;
    assert!(s.report.converged() && s.report.iterations > 50, "{:?}", s.report);
    let columns = counts.columns() as usize;
    assert!(columns < s.report.iterations * 2 + 64, "{columns} columns in {} iterations", s.report.iterations);
    // An absolute tolerance ends a solve, too.
    let loose = Options { rtol: 0.0, atol: 1e3, ..Options::default() };
    assert_eq!(cg(&hard, b.as_ref(), &loose, Par::Seq)?.report.iterations, 0);
    Ok(())
}
