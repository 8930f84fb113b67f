//! The solver itself: what it leaves invariant, its certificate, its edge cases.

use super::admm::admm;
use super::packed::Probes;
use super::program::*;
use super::proximal::proximal;
use super::*;
use crate::Probe;
use crate::synthmat::{self, Family, Symmetry, Tail};
use numerics::progress::Silent;
use numerics::rng::{Law, Role};

fn mul(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    la::mul(a.as_ref(), b.as_ref(), Par::Seq)
}

fn omega(n: usize, p: usize, law: Law) -> Mat<f64> {
    Probe { law, seed: 0, role: Role::RightProbe }.columns(n, 0..p)
}

fn solve(omega: &Mat<f64>, m: &Mat<f64>) -> Fit {
    solve_with(omega, m, &AdmmOptions::default())
}

fn solve_with(omega: &Mat<f64>, m: &Mat<f64>, options: &AdmmOptions) -> Fit {
    admm(&[block(omega, m)], options, &Silent, Par::Seq).unwrap()
}

fn block<'a>(omega: &Mat<f64>, m: &'a Mat<f64>) -> Block<'a> {
    Block { omega: Probes::given(omega.as_ref()), m: m.as_ref() }
}

fn x(fit: &Fit) -> Mat<f64> {
    la::mul_nt(fit.blocks[0].left.as_ref(), fit.blocks[0].right.as_ref(), Par::Seq)
}

fn near(a: &Mat<f64>, b: &Mat<f64>, tol: f64) {
    let scale = dense::norm_l2(b.as_ref()).max(1e-300);
    let gap = Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - b[(i, j)]);
    let gap = dense::norm_l2(gap.as_ref()) / scale;
    assert!(gap < tol, "relative distance {gap:.1e}");
}

fn near_vec(a: &[f64], b: &[f64], tol: f64) {
    let as_mat = |v: &[f64]| Mat::from_fn(v.len(), 1, |i, _| v[i]);
    near(&as_mat(a), &as_mat(b), tol);
}

fn poly(n: usize) -> Mat<f64> {
    synthmat::lord(n, &Family { rank: 5, tail: Tail::Poly(2.0), symmetry: Symmetry::Psd }, 3.0, 2).unwrap().0
}

#[test]
fn equivariant_under_shift_scale_rotation_and_permutation() {
    let (n, p) = (80, 20);
    let a = poly(n);
    let w = omega(n, p, Law::Gaussian);
    let base = solve(&w, &mul(&a, &w));
    // a diagonal on top
    let h: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin() * 5.0).collect();
    let shifted = Mat::from_fn(n, n, |i, j| a[(i, j)] + if i == j { h[i] } else { 0.0 });
    let other = solve(&w, &mul(&shifted, &w));
    near(&x(&other), &x(&base), 1e-10);
    near_vec(&other.d, &base.d.iter().zip(&h).map(|(d, h)| d + h).collect::<Vec<_>>(), 1e-10);
    // scaling
    let scaled = Mat::from_fn(n, n, |i, j| 1e5 * a[(i, j)]);
    let other = solve(&w, &mul(&scaled, &w));
    near(&x(&other), &Mat::from_fn(n, p, |i, j| 1e5 * x(&base)[(i, j)]), 1e-10);
    near_vec(&other.d, &base.d.iter().map(|d| 1e5 * d).collect::<Vec<_>>(), 1e-10);
    // other probes of the same space
    let r = la::orth(omega(p, p, Law::Gaussian), Par::Seq).unwrap();
    let turned = mul(&w, &r);
    let other = solve(&turned, &mul(&a, &turned));
    near_vec(&other.d, &base.d, 1e-10);
    near(&x(&other), &mul(&x(&base), &r), 1e-10);
    // the rows in another order
    let perm: Vec<usize> = (0..n).map(|i| (i * 7) % n).collect();
    let pa = Mat::from_fn(n, n, |i, j| a[(perm[i], perm[j])]);
    let pw = Mat::from_fn(n, p, |i, j| w[(perm[i], j)]);
    let other = solve(&pw, &mul(&pa, &pw));
    near_vec(&other.d, &perm.iter().map(|&i| base.d[i]).collect::<Vec<_>>(), 1e-10);
    near(&x(&other), &Mat::from_fn(n, p, |i, j| x(&base)[(perm[i], j)]), 1e-10);
}

#[test]
fn edge_cases_need_no_iteration() {
    let (n, p) = (40, 6);
    // one probe: the diagonal explains everything
    let a = poly(n);
    let w = omega(n, 1, Law::Rademacher);
    let m = mul(&a, &w);
    let fit = solve(&w, &m);
    assert_eq!((fit.iterations, fit.blocks[0].left.ncols()), (0, 0));
    near_vec(&fit.d, &(0..n).map(|i| w[(i, 0)] * m[(i, 0)]).collect::<Vec<_>>(), 1e-15);
    // a diagonal matrix
    let d: Vec<f64> = (0..n).map(|i| i as f64 - 20.0).collect();
    let w = omega(n, p, Law::Gaussian);
    let fit = solve(&w, &la::scale_rows(&d, w.as_ref()));
    assert!(fit.iterations == 0 && fit.converged);
    near_vec(&fit.d, &d, 1e-14);
    // no iterations: Hutchinson's diagonal
    let w = omega(n, p, Law::Rademacher);
    let m = mul(&a, &w);
    let fit = solve_with(&w, &m, &AdmmOptions { max_iter: 0, ..AdmmOptions::default() });
    let expected: Vec<f64> = la::row_dots(w.as_ref(), m.as_ref()).iter().map(|x| x / p as f64).collect();
    near_vec(&fit.d, &expected, 1e-14);
    assert!(!fit.converged);
    // zero
    let fit = solve(&w, &Mat::zeros(n, p));
    assert!(fit.converged && fit.d.iter().all(|&d| d == 0.0));
    assert!(admm(&[], &AdmmOptions { growth: 0.5, ..AdmmOptions::default() }, &Silent, Par::Seq).is_err());
}

#[test]
fn the_dual_certifies_the_optimum() {
    let (n, p) = (200, 40);
    let cases = [
        (Tail::None, 1e-4, 1e-3),
        (Tail::Poly(2.0), 1e-4, 1e-3),
        (Tail::Poly(1.0), 1e-4, 1e-3),
        (Tail::Noise(1e-2), 1e-4, 1e-3),
        (Tail::Exp(0.5), 1e-2, 1e-2),
        (Tail::Exp(0.1), 1e-2, 1e-2),
    ];
    for (tail, gap, norm) in cases {
        for (ratio, law) in
            [(1.0, Law::Rademacher), (10.0, Law::Rademacher), (1.0, Law::Gaussian), (10.0, Law::Gaussian)]
        {
            let family = Family { rank: 10, tail, symmetry: Symmetry::Psd };
            let (a, _) = synthmat::lord(n, &family, ratio, 3).unwrap();
            let w = omega(n, p, law);
            let fit = solve(&w, &mul(&a, &w));
            let dual = fit.dual.unwrap();
            assert!(fit.converged, "{tail:?} {ratio} {law}");
            let holds = dual.gap.abs() <= gap && dual.norm <= 1.0 + norm && dual.row <= 1e-10;
            assert!(holds, "{tail:?} {ratio} {law}: {dual:?}");
        }
    }
}

#[test]
fn reduced_thresholding_changes_nothing_but_the_time() {
    let (n, p) = (300, 60);
    for tail in [Tail::None, Tail::Poly(2.0), Tail::Exp(0.01)] {
        let (a, _) = synthmat::lord(n, &Family { rank: 10, tail, symmetry: Symmetry::Psd }, 3.0, 6).unwrap();
        let w = omega(n, p, Law::Rademacher);
        let m = mul(&a, &w);
        let quick = solve(&w, &m);
        let full = solve_with(&w, &m, &AdmmOptions { reduced: false, ..AdmmOptions::default() });
        assert!(quick.iterations.abs_diff(full.iterations) <= 1);
        near_vec(&quick.d, &full.d, 1e-7);
        near(&x(&quick), &x(&full), 1e-7);
    }
}

/// Where slow growth and the default agree on the optimum.
#[test]
fn fast_and_slow_growth_find_the_same_optimum() {
    let (n, p) = (120, 24);
    let w = omega(n, p, Law::Rademacher);
    let m = mul(&poly(n), &w);
    let fast = solve(&w, &m);
    let slow = solve_with(&w, &m, &AdmmOptions { growth: 1.01, max_iter: 3000, ..AdmmOptions::default() });
    let nuclear = |fit: &Fit| dense::svd(fit.blocks[0].left.as_ref()).unwrap().s.iter().sum::<f64>();
    assert!((nuclear(&fast) / nuclear(&slow) - 1.0).abs() < 1e-6);
    assert!(fast.iterations < slow.iterations);
}

#[test]
fn the_penalised_program_is_biased_in_proportion_to_lambda() {
    let (n, k, p) = (200, 10, 40);
    let family = Family { rank: k, tail: Tail::None, symmetry: Symmetry::Psd };
    let (a, d) = synthmat::lord(n, &family, 1.0, 4).unwrap();
    let w = omega(n, p, Law::Gaussian);
    let m = mul(&a, &w);
    let blocks = [block(&w, &m)];
    let mut errors = Vec::new();
    for lambda in [1e-2, 1e-3] {
        let options = ProximalOptions { lambda, ..ProximalOptions::default() };
        let fit = proximal(&blocks, &options, &Silent, Par::Seq).unwrap();
        assert!(fit.converged && fit.iterations < 400, "{}", fit.iterations);
        let gap: f64 = fit.d.iter().zip(&d).map(|(a, b)| (a - b) * (a - b)).sum();
        errors.push((gap / d.iter().map(|d| d * d).sum::<f64>()).sqrt());
    }
    let ratio = errors[0] / errors[1];
    assert!(ratio > 5.0 && ratio < 20.0 && errors[1] < 1e-2, "{errors:?}");
    assert!(
        proximal(&blocks, &ProximalOptions { lambda: 2.0, ..ProximalOptions::default() }, &Silent, Par::Seq).is_err()
    );
}
