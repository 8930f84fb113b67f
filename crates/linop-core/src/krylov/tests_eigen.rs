//! Lanczos and `eigsh` against known spectra.

use super::testing::{Matrix, distance, log_uniform, random, times, with_spectrum};
use super::*;
use crate::{Error, LinearOperator, Props};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};

fn check_pairs<T: Scalar>(e: &Eigenpairs<T>, expected: &[f64], tol: f64) {
    let values: Vec<f64> = e.values.iter().map(|v| v.to_f64()).collect();
    assert!(e.report.converged, "{:?}", e.report);
    assert_eq!(values.len(), expected.len());
    let top = e.report.scale;
    for (v, w) in values.iter().zip(expected) {
        assert!((v - w).abs() <= tol * top, "{values:?} {expected:?} {:?}", e.report);
    }
    assert!(e.report.residuals.iter().all(|&r| r <= 100.0 * tol * top), "{:?}", e.report);
    let k = values.len();
    let mut gram = Mat::zeros(k, k);
    dense::gemm(gram.as_mut(), T::ONE, e.vectors.as_ref().transpose(), e.vectors.as_ref(), T::ZERO, Par::Seq);
    assert!(distance(&gram, &Mat::identity(k, k)) < 1e3 * T::EPS.to_f64());
}

#[test]
fn lanczos_quadrature_is_exact_for_polynomials() -> Result<(), Error> {
    let a = with_spectrum(&log_uniform(40, 50.0), 1);
    let v = random(40, 1, 2);
    for reorth in [Reorth::Full, Reorth::None] {
        let run = lanczos(&a, v.col_as_slice(0), 4, reorth, Par::Seq)?;
        let mut power = v.clone();
        for degree in 0..8 {
            let exact = dense::dot(v.col_as_slice(0), power.col_as_slice(0));
            let rule: f64 =
                run.quadrature()?.iter().map(|(x, w)| w * x.powi(degree)).sum::<f64>() * run.norm * run.norm;
            assert!((rule / exact - 1.0).abs() < 1e-12, "{degree}: {rule} {exact}");
            power = times(&a.a, &power);
        }
    }
    Ok(())
}

/// Runs that end at different steps do not disturb each other.
#[test]
fn lanczos_of_a_block_has_the_bits_of_its_columns() -> Result<(), Error> {
    let n = 30;
    let a = crate::ops::Diagonal::new((0..n).map(|i| (i / 3) as f64).collect());
    let v = Mat::from_fn(n, 4, |i, j| match j {
        0 => f64::from(u8::from(i < 3)), // an eigenvector
        1 => f64::from(u8::from(i < 12)),
        _ => ((i * (j + 3)) as f64).sin(),
    });
    for reorth in [Reorth::Full, Reorth::None] {
        let runs = lanczos_block(&a, v.as_ref(), 8, reorth, Par::Seq)?;
        for (j, run) in runs.iter().enumerate() {
            let alone = lanczos(&a, v.col_as_slice(j), 8, reorth, Par::Seq)?;
            assert_eq!(
                (&run.alpha, &run.beta, run.residual, run.norm),
                (&alone.alpha, &alone.beta, alone.residual, alone.norm)
            );
            assert_eq!(run.breakdown, alone.breakdown);
        }
        assert!(runs[0].breakdown && runs[0].alpha.len() == 1 && runs[3].alpha.len() == 8);
    }
    assert!(lanczos_block(&a, Mat::<f64>::zeros(n, 0).as_ref(), 8, Reorth::Full, Par::Seq)?.is_empty());
    Ok(())
}

#[test]
fn lanczos_breaks_down_on_invariant_subspaces() -> Result<(), Error> {
    let zero = Matrix::<f64> { a: Mat::zeros(5, 5), props: Props::SELF_ADJOINT };
    let run = lanczos(&zero, &[1.0; 5], 4, Reorth::Full, Par::Seq)?;
    assert!(run.breakdown && run.alpha == [0.0] && run.residual == 0.0);
    let two = with_spectrum(&[1.0, 1.0, 1.0, 2.0, 2.0, 2.0], 3);
    let run = lanczos(&two, &[1.0, 0.0, 2.0, 0.0, 0.5, 0.0], 6, Reorth::Full, Par::Seq)?;
    assert!(run.breakdown && run.alpha.len() == 2);
    let values = run.ritz()?.values;
    assert!((values[0] - 1.0).abs() < 1e-12 && (values[1] - 2.0).abs() < 1e-12);
    assert!(matches!(lanczos(&two, &[0.0; 6], 3, Reorth::Full, Par::Seq), Err(Error::InvalidArgument { .. })));
    assert!(matches!(lanczos(&two, &[f64::NAN; 6], 3, Reorth::Full, Par::Seq), Err(Error::NotFinite { .. })));
    Ok(())
}

#[test]
fn functions_of_operators() -> Result<(), Error> {
    let a = with_spectrum(&log_uniform(30, 30.0), 4);
    let v = random(30, 1, 5);
    let exact = times(&dense::apply_spectral(&dense::eigh(a.a.as_ref())?, |x: f64| x.exp(), Par::Seq), &v);
    let y = function_times_vector(&a, v.col_as_slice(0), 15, |x| x.exp(), Par::Seq)?;
    for (y, e) in y.iter().zip(exact.col_as_slice(0)) {
        assert!((y - e).abs() < 1e-11);
    }
    assert_eq!(function_times_vector(&a, &[0.0; 30], 3, |x| x, Par::Seq)?, vec![0.0; 30]);
    Ok(())
}

/// Values of a diagonal operator of size `n`: distinct, with both signs.
fn mixed(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 0.7).sin() * (1.0 + i as f64 / n as f64)).collect()
}

#[test]
fn every_end_of_the_spectrum() -> Result<(), Error> {
    for n in [50, 120] {
        let mut values = mixed(n);
        let a = with_spectrum(&values, 6);
        values.sort_by(f64::total_cmp);
        let k = 4;
        let o = EigshOptions::default();
        let descending: Vec<f64> = values.iter().rev().take(k).copied().collect();
        check_pairs(&eigsh(&a, k, Which::Largest, &o, Par::Seq)?, &descending, 1e-9);
        check_pairs(&eigsh(&a, k, Which::Smallest, &o, Par::Seq)?, &values[..k], 1e-9);
        let both: Vec<f64> = values[..k].iter().chain(&descending).copied().collect();
        check_pairs(&eigsh(&a, k, Which::Both, &o, Par::Seq)?, &both, 1e-9);
        let mut by_size = values.clone();
        by_size.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        let e = eigsh(&a, k, Which::Magnitude, &o, Par::Seq)?;
        check_pairs(&e, &by_size[..k], 1e-9);
        let expected = if n <= 64 { Multiplicities::Exact } else { Multiplicities::Probed };
        assert_eq!(e.report.multiplicities, expected);
    }
    Ok(())
}

#[test]
fn copies_of_repeated_eigenvalues_are_found() -> Result<(), Error> {
    // A 30-fold top: a single Krylov space sees one copy.
    let mut values = vec![1.0; 30];
    values.extend(log_uniform(210, 1e3).iter().map(|v| 0.9 * v));
    let a = with_spectrum(&values, 7);
    let o = EigshOptions::default();
    check_pairs(&eigsh(&a, 10, Which::Largest, &o, Par::Seq)?, &[1.0; 10], 1e-9);
    // I_4 (x) X^T X with deficient X: zero 4 x 11 times.
    let x = random(20, 31, 8);
    let mut gram = Mat::zeros(31, 31);
    dense::gemm(gram.as_mut(), 1.0, x.as_ref().transpose(), x.as_ref(), 0.0, Par::Seq);
    let kron = Mat::from_fn(124, 124, |i, j| if i / 31 == j / 31 { gram[(i % 31, j % 31)] } else { 0.0 });
    let a = Matrix { a: kron, props: Props::SELF_ADJOINT };
    for seed in 0..3 {
        let o = EigshOptions { seed, ..o };
        check_pairs(&eigsh(&a, 10, Which::Smallest, &o, Par::Seq)?, &[0.0; 10], 1e-9);
    }
    // Low multiplicity inside the wanted ones.
    let mut values: Vec<f64> = (0..200).map(|i| f64::from(i) / 200.0).collect();
    values[198] = 2.0;
    values[197] = 2.0;
    values[199] = 3.0;
    values[196] = 1.5;
    values[195] = 1.5;
    let a = with_spectrum(&values, 9);
    let e = eigsh(&a, 5, Which::Largest, &o, Par::Seq)?;
    check_pairs(&e, &[3.0, 2.0, 2.0, 1.5, 1.5], 1e-9);
    assert!(e.report.probes >= 1);
    Ok(())
}

#[test]
fn scales_near_the_ends_of_the_range() -> Result<(), Error> {
    let values = mixed(100);
    let a = with_spectrum(&values, 10);
    let o = EigshOptions::default();
    let top = eigsh(&a, 3, Which::Largest, &o, Par::Seq)?.values;
    for scale in [1e-160, 1e160] {
        let scaled = Matrix { a: Mat::from_fn(100, 100, |i, j| a.a[(i, j)] * scale), props: Props::SELF_ADJOINT };
        let e = eigsh(&scaled, 3, Which::Largest, &o, Par::Seq)?;
        let expected: Vec<f64> = top.iter().map(|v| v * scale).collect();
        check_pairs(&e, &expected, 1e-9);
    }
    let single = Matrix { a: Mat::from_fn(100, 100, |i, j| (a.a[(i, j)] * 1e-20) as f32), props: Props::SELF_ADJOINT };
    let expected: Vec<f64> = top.iter().map(|v| v * 1e-20).collect();
    check_pairs(&eigsh(&single, 3, Which::Largest, &o, Par::Seq)?, &expected, 1e-5);
    Ok(())
}

#[test]
fn zero_and_identity_operators() -> Result<(), Error> {
    let o = EigshOptions::default();
    let zero = Matrix::<f64> { a: Mat::zeros(80, 80), props: Props::SELF_ADJOINT };
    check_pairs(&eigsh(&zero, 3, Which::Both, &o, Par::Seq)?, &[0.0; 6], 1e-12);
    let one = Matrix::<f64> { a: Mat::identity(80, 80), props: Props::SELF_ADJOINT };
    check_pairs(&eigsh(&one, 5, Which::Smallest, &o, Par::Seq)?, &[1.0; 5], 1e-12);
    Ok(())
}

/// The 1-D Laplacian of size n.
#[derive(Debug)]
struct Laplacian(usize);

impl LinearOperator<f64> for Laplacian {
    fn nrows(&self) -> usize {
        self.0
    }
    fn ncols(&self) -> usize {
        self.0
    }
    fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn apply(
        &self,
        mut out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        _par: Par,
        _stack: &mut MemStack,
    ) -> Result<(), Error> {
        dense::scale(out.as_mut(), beta);
        for j in 0..x.ncols() {
            for i in 0..self.0 {
                let left = if i > 0 { x[(i - 1, j)] } else { 0.0 };
                let right = if i + 1 < self.0 { x[(i + 1, j)] } else { 0.0 };
                out[(i, j)] += alpha * (2.0 * x[(i, j)] - left - right);
            }
        }
        Ok(())
    }
    fn props(&self) -> Props {
        Props::SELF_ADJOINT
    }
}

#[test]
fn hard_ends_need_restarts() -> Result<(), Error> {
    let n = 300;
    let a = Laplacian(n);
    let value = |i: usize| 2.0 - 2.0 * (core::f64::consts::PI * i as f64 / (n as f64 + 1.0)).cos();
    let e = eigsh(&a, 2, Which::Smallest, &EigshOptions::default(), Par::Seq)?;
    check_pairs(&e, &[value(1), value(2)], 1e-9);
    assert!(e.report.restarts > 3);
    // Without enough restarts the pairs come back unconverged, and say so.
    let short = EigshOptions { max_restarts: 1, ..EigshOptions::default() };
    let e = eigsh(&a, 2, Which::Smallest, &short, Par::Seq)?;
    assert!(!e.report.converged && e.report.multiplicities == Multiplicities::Unverified);
    assert_eq!(e.report.residuals.len(), 2);
    Ok(())
}

#[test]
fn observers_see_restarts_and_can_stop() -> Result<(), Error> {
    use core::ops::ControlFlow;
    use core::sync::atomic::{AtomicU64, Ordering};
    use numerics::progress::Progress;
    let seen = AtomicU64::new(0);
    let observer = |p: &Progress<'_>| {
        seen.store(p.done, Ordering::Relaxed);
        if p.done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let o = EigshOptions { observer: Some(&observer), ..EigshOptions::default() };
    let e = eigsh(&Laplacian(300), 2, Which::Smallest, &o, Par::Seq)?;
    assert_eq!((seen.load(Ordering::Relaxed), e.report.restarts), (2, 2));
    assert!(e.report.interrupted && !e.report.converged && e.values.len() == 2);
    Ok(())
}

#[test]
fn hard_spectra_keep_their_copies() -> Result<(), Error> {
    let n = 240;
    let spectra: [(&str, Vec<f64>); 6] = [
        ("pairs", (0..n).map(|i| ((i / 2) as f64).sqrt()).collect()),
        ("triples, geometric", (0..n).map(|i| 0.95f64.powi((i / 3) as i32)).collect()),
        ("outliers, 7-fold", (0..n).map(|i| if i < 7 { 5.0 } else { (i as f64 * 0.1).sin() }).collect()),
        ("half zero", (0..n).map(|i| if i < n / 2 { 0.0 } else { i as f64 }).collect()),
        ("three values", (0..n).map(|i| (i % 3) as f64 - 1.0).collect()),
        ("negative top", (0..n).map(|i| -1.0 - ((i / 5) as f64)).collect()),
    ];
    for (name, values) in spectra {
        let a = with_spectrum(&values, 14);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let size = sorted[n - 1].abs().max(sorted[0].abs());
        for which in [Which::Largest, Which::Smallest, Which::Both] {
            for seed in 0..2 {
                let o = EigshOptions { seed, ..EigshOptions::default() };
                let k = 6;
                let e = eigsh(&a, k, which, &o, Par::Seq)?;
                let low = sorted[..k].iter().copied();
                let high = sorted.iter().rev().take(k).copied();
                let expected: Vec<f64> = match which {
                    Which::Largest => high.collect(),
                    Which::Smallest => low.collect(),
                    _ => low.chain(high).collect(),
                };
                assert!(e.report.converged, "{name} {which:?} {seed}: {:?}", e.report);
                for (v, w) in e.values.iter().zip(&expected) {
                    assert!(
                        (v - w).abs() < 1e-8 * size,
                        "{name} {which:?} {seed}: {:?} {expected:?} {:?}",
                        e.values,
                        e.report
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn values_without_digits_are_counted() -> Result<(), Error> {
    let mut values = vec![0.0; 100];
    values[0] = 1.0;
    values[1] = 1e-14;
    let a = with_spectrum(&values, 11);
    let e = eigsh(&a, 2, Which::Largest, &EigshOptions::default(), Par::Seq)?;
    assert_eq!(e.report.insignificant, 1, "{:?}", e.report);
    assert!((e.values[0] - 1.0).abs() < 1e-12);
    Ok(())
}

#[test]
fn refusals() {
    let a = with_spectrum(&[1.0, 2.0, 3.0], 12);
    let o = EigshOptions::default();
    assert!(matches!(eigsh(&a, 4, Which::Largest, &o, Par::Seq), Err(Error::InvalidArgument { .. })));
    assert!(matches!(eigsh(&a, 2, Which::Both, &o, Par::Seq), Err(Error::InvalidArgument { .. })));
    let unknown = Matrix { a: a.a.clone(), props: Props::NONE };
    assert!(matches!(eigsh(&unknown, 1, Which::Largest, &o, Par::Seq), Err(Error::MissingProperty { .. })));
    let mut broken = with_spectrum(&mixed(80), 13);
    broken.a[(3, 3)] = f64::INFINITY;
    assert!(matches!(eigsh(&broken, 1, Which::Largest, &o, Par::Seq), Err(Error::NotFinite { .. })));
    let nothing = eigsh(&a, 0, Which::Largest, &o, Par::Seq);
    assert!(nothing.is_ok_and(|e| e.values.is_empty() && e.vectors.shape() == (3, 0)));
}
