//! Each leave-one-out formula against the same thing done the slow way, one factorisation a probe.

use super::*;
use crate::products::Products;
use crate::{Settings, la};
use linop_core::Props;
use linop_core::ops::Dense;
use linop_core::testing::fixed_mat;
use numerics::MatRef;

const N: usize = 40;
const K: usize = 7;

/// An orthonormal basis of the columns, whatever their rank.
fn basis(y: MatRef<'_, f64>) -> Mat<f64> {
    let f = dense::svd(y).unwrap();
    let rank = f.s.iter().filter(|&&s| s > 1e-11 * f.s[0]).count();
    la::columns(f.u.as_ref(), 0..rank)
}

fn without(a: MatRef<'_, f64>, i: usize) -> Mat<f64> {
    let rest: Vec<usize> = (0..a.ncols()).filter(|&j| j != i).collect();
    la::permute_cols(a, &rest)
}

fn mul(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    la::mul(a.as_ref(), b.as_ref(), Par::Seq)
}

fn project(q: &Mat<f64>, x: &Mat<f64>) -> Mat<f64> {
    la::project_out(q.as_ref(), x.clone(), Par::Seq)
}

fn close(a: &[f64], b: &[f64], tol: f64) {
    let scale = b.iter().fold(1e-300, |m: f64, x| m.max(x.abs()));
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tol * scale, "{i}: {a} against {b}");
    }
}

fn psd(n: usize, rank: usize, seed: u64) -> Mat<f64> {
    let f = fixed_mat::<f64>(n, rank, seed);
    la::mul_nt(f.as_ref(), f.as_ref(), Par::Seq)
}

fn column(a: &Mat<f64>, i: usize) -> Mat<f64> {
    la::columns(a.as_ref(), i..i + 1)
}

fn brute_xtrace(a: &Mat<f64>, omega: &Mat<f64>, resphere: bool) -> Vec<f64> {
    (0..omega.ncols())
        .map(|i| {
            let q = basis(mul(a, &without(omega.as_ref(), i)).as_ref());
            let rest = project(&q, &column(omega, i));
            let inside = la::col_dots(q.as_ref(), mul(a, &q).as_ref()).iter().sum::<f64>();
            let value = la::col_dots(rest.as_ref(), mul(a, &rest).as_ref())[0];
            let c = if resphere { (a.nrows() - q.ncols()) as f64 / la::fro_sq(rest.as_ref()) } else { 1.0 };
            inside + c * value
        })
        .collect()
}

fn brute_xdiag(a: &Mat<f64>, omega: &Mat<f64>) -> Vec<Vec<f64>> {
    (0..omega.ncols())
        .map(|i| {
            let q = basis(mul(a, &without(omega.as_ref(), i)).as_ref());
            let inside = la::row_dots(q.as_ref(), la::mul_tn(a.as_ref(), q.as_ref(), Par::Seq).as_ref());
            let w = column(omega, i);
            let rest = project(&q, &mul(a, &w));
            (0..a.nrows()).map(|r| inside[r] + w[(r, 0)] * rest[(r, 0)]).collect()
        })
        .collect()
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

fn mean_rows(samples: &[Vec<f64>]) -> Vec<f64> {
    (0..samples[0].len()).map(|a| samples.iter().map(|s| s[a]).sum::<f64>() / samples.len() as f64).collect()
}

/// Sizes, numbers of products and seeds of curvlinops' own test.
#[test]
fn xtrace_and_xdiag_are_their_definitions_at_other_sizes() {
    for seed in 0..5 {
        let a = fixed_mat::<f64>(50, 50, 100 + seed);
        let op = Dense::new(a.clone());
        for k in [3, 4] {
            let products = Products::new(&op, "test", &Settings::seeded(seed));
            let omega = products.right(0..k);
            close(&xtrace(&products, k, false).unwrap(), &brute_xtrace(&a, &omega, false), 1e-10);
            close(&xdiag(&products, k, 0).unwrap().0, &mean_rows(&brute_xdiag(&a, &omega)), 1e-10);
        }
    }
}

#[test]
fn xtrace_is_its_definition() {
    for (law, resphere) in [(Law::Rademacher, false), (Law::Sphere, false), (Law::Sphere, true), (Law::Gaussian, true)]
    {
        let a = fixed_mat::<f64>(N, N, 3);
        let op = Dense::new(a.clone());
        let products = Products::new(&op, "test", &Settings::seeded(5).with_law(law));
        let fast = xtrace(&products, K, resphere).unwrap();
        close(&fast, &brute_xtrace(&a, &products.right(0..K), resphere), 1e-10);
        assert_eq!(products.spent(), 2 * K);
    }
}

/// General, self-adjoint, and of a rank that the second stage exceeds; any width of the blocks.
#[test]
fn growing_xtrace_gives_the_same_as_at_once() {
    let deficient = mul(&fixed_mat::<f64>(N, 6, 20), &fixed_mat::<f64>(6, N, 21));
    let cases = [
        Dense::new(fixed_mat::<f64>(N, N, 4)),
        Dense::with_props(psd(N, N, 22), Props::PSD),
        Dense::new(deficient),
        Dense::with_props(psd(N, 6, 23), Props::PSD),
    ];
    for op in &cases {
        for block in [0, 2] {
            let settings = Settings { block, ..Settings::default() };
            let products = Products::new(op, "test", &settings);
            let at_once = xtrace(&products, 12, false).unwrap();
            close(&at_once, &brute_xtrace(&op.mat().to_owned(), &products.right(0..12), false), 1e-9);
            let mut run = XTrace::new(&products, false).unwrap();
            run.grow(&products, 3).unwrap();
            run.grow(&products, 8).unwrap();
            run.grow(&products, 12).unwrap();
            close(&run.samples(&products).unwrap(), &at_once, 1e-9);
        }
    }
}

#[test]
fn xdiag_is_its_definition() {
    let a = fixed_mat::<f64>(N, N, 6);
    let op = Dense::new(a.clone());
    let products = Products::new(&op, "test", &Settings::seeded(1));
    let (fast, sem) = xdiag(&products, K, 0).unwrap();
    let omega = products.right(0..K);
    let slow = brute_xdiag(&a, &omega);
    close(&fast, &mean_rows(&slow), 1e-10);
    let at = |r: usize| slow.iter().map(|s| s[r]).collect::<Vec<_>>();
    let expected: Vec<f64> = (0..N).map(|r| crate::settings::mean_sem(&at(r)).1.unwrap()).collect();
    close(&sem.unwrap(), &expected, 1e-9);
    assert_eq!(products.counts(), (K, K));
}

#[test]
fn xdiag_with_extra_probes_is_its_definition() {
    let a = fixed_mat::<f64>(N, N, 8);
    let op = Dense::new(a.clone());
    let products = Products::new(&op, "test", &Settings::seeded(2));
    let (fast, _) = xdiag(&products, K, 4).unwrap();
    let (omega, g) = (products.right(0..K), products.right(K..K + 4));
    let mut deflated = Mat::<f64>::zeros(N, N); // the mean of P_(i) A
    let mut y = vec![0.0; N];
    for i in 0..K {
        let q = basis(mul(&a, &without(omega.as_ref(), i)).as_ref());
        let rest = project(&q, &a);
        for c in 0..N {
            for r in 0..N {
                deflated[(r, c)] += (a[(r, c)] - rest[(r, c)]) / K as f64;
            }
        }
        let w = column(&omega, i);
        let left = mul(&rest, &w);
        (0..N).for_each(|r| y[r] += left[(r, 0)] * w[(r, 0)]);
    }
    let left = Mat::from_fn(N, N, |r, c| a[(r, c)] - deflated[(r, c)]);
    let ag = mul(&left, &g);
    let slow: Vec<f64> = (0..N)
        .map(|r| {
            let tested: f64 = (0..4).map(|j| g[(r, j)] * ag[(r, j)]).sum();
            deflated[(r, r)] + (y[r] + tested) / (K + 4) as f64
        })
        .collect();
    close(&fast, &slow, 1e-10);
    assert_eq!(products.spent(), 2 * K + 4);
}

fn brute_nystrom(a: &Mat<f64>, omega: &Mat<f64>, i: usize) -> Mat<f64> {
    let rest = without(omega.as_ref(), i);
    let y = mul(a, &rest);
    let h = la::symmetric_core(rest.as_ref(), y.as_ref(), Par::Seq);
    let inverse = la::pinv(h.as_ref(), Par::Seq).unwrap();
    la::mul_nt(mul(&y, &inverse).as_ref(), y.as_ref(), Par::Seq)
}

fn brute_xnys(a: &Mat<f64>, omega: &Mat<f64>, resphere: bool) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = a.nrows();
    let mut traces = Vec::new();
    let mut diagonals = Vec::new();
    for i in 0..omega.ncols() {
        let low = brute_nystrom(a, omega, i);
        let rest = Mat::from_fn(n, n, |r, c| a[(r, c)] - low[(r, c)]);
        let w = column(omega, i);
        let rw = mul(&rest, &w);
        let q = basis(without(omega.as_ref(), i).as_ref());
        let outside = project(&q, &w);
        let c = if resphere { (n - q.ncols()) as f64 / la::fro_sq(outside.as_ref()) } else { 1.0 };
        let value: f64 = (0..n).map(|r| w[(r, 0)] * rw[(r, 0)]).sum();
        traces.push(la::tr(low.as_ref()) + c * value);
        diagonals.push((0..n).map(|r| low[(r, r)] + w[(r, 0)] * rw[(r, 0)]).collect());
    }
    (traces, diagonals)
}

#[test]
fn xnystrace_and_xnysdiag_are_their_definitions() {
    for (law, resphere) in [(Law::Rademacher, false), (Law::Sphere, false), (Law::Sphere, true)] {
        let a = psd(N, N, 9);
        let op = Dense::with_props(a.clone(), Props::PSD);
        let products = Products::new(&op, "test", &Settings::seeded(3).with_law(law));
        let (traces, diagonals) = brute_xnys(&a, &products.right(0..K), resphere);
        let fast = xnys_trace(&products, K, resphere).unwrap();
        close(&fast, &traces, 1e-10);
        let (diagonal, _) = xnys_diag(&products, K).unwrap();
        close(&diagonal, &mean_rows(&diagonals), 1e-10);
        if !resphere {
            let sum: f64 = diagonal.iter().sum();
            assert!((sum - mean(&fast)).abs() < 1e-11 * sum);
        }
        assert_eq!(products.counts(), (2 * K, 0));
    }
}

#[test]
fn xrownorm_is_its_definition() {
    let a = fixed_mat::<f64>(30, N, 10);
    let op = Dense::new(a.clone());
    let products = Products::new(&op, "test", &Settings::seeded(4));
    let (fast, _) = xrow_norm(&products, K, RowBasis::Rows).unwrap();
    let omega = products.right(0..K);
    let slow: Vec<Vec<f64>> = (0..K)
        .map(|i| {
            let g = mul(&a, &without(omega.as_ref(), i));
            let q = basis(la::mul_tn(a.as_ref(), g.as_ref(), Par::Seq).as_ref());
            let z = mul(&a, &q);
            let rest = mul(&a, &project(&q, &column(&omega, i)));
            (0..30).map(|r| la::row_dots(z.as_ref(), z.as_ref())[r] + rest[(r, 0)].powi(2)).collect()
        })
        .collect();
    close(&fast, &mean_rows(&slow), 1e-10);
    assert_eq!(products.counts(), (2 * K, K));
}

/// Probes with a repeated column, and an operator of rank below the number of probes.
#[test]
fn dependent_columns_are_left_out_as_by_definition() {
    let mut omega = crate::Probe { law: Law::Sphere, seed: 7, role: numerics::rng::Role::RightProbe }.columns(N, 0..K);
    for i in 0..N {
        omega[(i, 4)] = omega[(i, 1)];
    }
    let deficient = mul(&fixed_mat::<f64>(N, 4, 11), &fixed_mat::<f64>(4, N, 12));
    let cases = [(fixed_mat::<f64>(N, N, 13), false), (fixed_mat::<f64>(N, N, 13), true), (deficient, false)];
    for (a, resphere) in cases {
        let y = mul(&a, &omega);
        let down = Downdate::new(y.as_ref(), Par::Seq).unwrap();
        assert!(down.q.ncols() < K);
        let z = mul(&a, &down.q);
        let core = super::xtrace::Core::of(down.q.as_ref(), z.as_ref(), omega.as_ref(), Par::Seq);
        let fast = core.samples(&down.leave, resphere, Par::Seq);
        close(&fast, &brute_xtrace(&a, &omega, resphere), 1e-9);
    }
}

/// An operator of rank below the number of probes, for the estimators that draw their own.
#[test]
fn deficient_operators_are_left_out_as_by_definition() {
    let a = mul(&fixed_mat::<f64>(N, 4, 30), &fixed_mat::<f64>(4, N, 31));
    let op = Dense::new(a.clone());
    let products = Products::new(&op, "test", &Settings::seeded(2));
    let omega = products.right(0..K);
    close(&xtrace(&products, K, false).unwrap(), &brute_xtrace(&a, &omega, false), 1e-9);
    close(&xdiag(&products, K, 0).unwrap().0, &mean_rows(&brute_xdiag(&a, &omega)), 1e-9);
    let rows: Vec<f64> = la::row_dots(a.as_ref(), a.as_ref());
    close(&xrow_norm(&products, K, RowBasis::Rows).unwrap().0, &rows, 1e-9);
    let s = psd(N, 4, 32);
    let op = Dense::with_props(s.clone(), Props::PSD);
    for (law, resphere) in [(Law::Rademacher, false), (Law::Sphere, true)] {
        let products = Products::new(&op, "test", &Settings::seeded(3).with_law(law));
        close(&xnys_trace(&products, K, resphere).unwrap(), &[la::tr(s.as_ref()); K], 1e-9);
        let d: Vec<f64> = (0..N).map(|i| s[(i, i)]).collect();
        close(&xnys_diag(&products, K).unwrap().0, &d, 1e-9);
    }
}

#[test]
fn tiny_and_huge_operators_take_the_same_branch() {
    for scale in [1e-17, 1e17] {
        let a = fixed_mat::<f64>(N, N, 14);
        let scaled = Mat::from_fn(N, N, |i, j| scale * a[(i, j)]);
        let run = |m: &Mat<f64>| {
            let op = Dense::new(m.clone());
            xtrace(&Products::new(&op, "test", &Settings::default()), K, false).unwrap()
        };
        let (plain, other) = (run(&a), run(&scaled));
        close(&other.iter().map(|x| x / scale).collect::<Vec<_>>(), &plain, 1e-11);
    }
}

#[test]
fn the_zero_operator_gives_zero() {
    let op = Dense::with_props(Mat::zeros(N, N), Props::PSD);
    let products = Products::new(&op, "test", &Settings::default().with_law(Law::Rademacher));
    assert_eq!(xtrace(&products, K, false).unwrap(), [0.0; K]);
    assert_eq!(xnys_trace(&products, K, false).unwrap(), [0.0; K]);
    assert_eq!(xdiag(&products, K, 2).unwrap().0, [0.0; N]);
    assert_eq!(xrow_norm(&products, K, RowBasis::Rows).unwrap().0, [0.0; N]);
    let sphere = Products::new(&op, "test", &Settings::default().with_law(Law::Sphere));
    assert_eq!(xnys_trace(&sphere, K, true).unwrap(), [0.0; K]);
}

/// The mean of `g_i^2` is an unbiased estimate of the squared error of a basis of one column fewer.
#[test]
fn the_free_error_estimate_has_the_right_mean() {
    for law in [Law::Gaussian, Law::Rademacher] {
        let (n, k) = (30, 6);
        let a = Mat::from_fn(n, n, |i, j| if i == j { 0.6f64.powi(i as i32) } else { 0.0 });
        let q = la::orth(fixed_mat::<f64>(n, n, 15), Par::Seq).unwrap();
        let a = mul(&mul(&q, &a), &q.transpose().to_owned());
        let (mut free, mut truth) = (Vec::new(), Vec::new());
        for seed in 0..3000 {
            let omega = crate::Probe { law, seed, role: numerics::rng::Role::RightProbe }.columns(n, 0..k);
            let down = Downdate::new(mul(&a, &omega).as_ref(), Par::Seq).unwrap();
            free.push(down.leave.error_sq());
            let q = basis(mul(&a, &without(omega.as_ref(), 0)).as_ref());
            truth.push(la::fro_sq(project(&q, &a).as_ref()));
        }
        let ((f, fs), (t, ts)) = (crate::settings::mean_sem(&free), crate::settings::mean_sem(&truth));
        assert!((f - t).abs() < 4.0 * fs.unwrap().hypot(ts.unwrap()), "{law}: {f} against {t}");
    }
}

/// Rank k - 1 is captured by the probes without any one of them.
#[test]
fn exact_for_rank_below_the_number_of_probes() {
    for n in [50, 100] {
        let k = 8;
        let a = mul(&fixed_mat::<f64>(n, k - 1, 16), &fixed_mat::<f64>(k - 1, n, 17));
        let op = Dense::new(a.clone());
        let products = Products::new(&op, "test", &Settings::default());
        let scale = dense::norm_l2(a.as_ref());
        let t = la::tr(a.as_ref());
        for x in xtrace(&products, k, false).unwrap() {
            assert!((x - t).abs() < 1e-9 * scale);
        }
        let d: Vec<f64> = (0..n).map(|i| a[(i, i)]).collect();
        close(&xdiag(&products, k, 0).unwrap().0, &d, 1e-9);
        let s = psd(n, k - 1, 18);
        let op = Dense::with_props(s.clone(), Props::PSD);
        let products = Products::new(&op, "test", &Settings::default());
        for x in xnys_trace(&products, k, false).unwrap() {
            assert!((x - la::tr(s.as_ref())).abs() < 1e-9 * la::tr(s.as_ref()));
        }
        close(&xnys_diag(&products, k).unwrap().0, &(0..n).map(|i| s[(i, i)]).collect::<Vec<_>>(), 1e-9);
    }
}

#[test]
fn an_indefinite_core_is_an_error() {
    let a = Mat::from_fn(N, N, |i, j| if i == j { if i == 0 { -1.0 } else { 1e-3 } } else { 0.0 });
    let op = Dense::with_props(a, Props::SELF_ADJOINT);
    let products = Products::new(&op, "test", &Settings::default());
    assert!(matches!(xnys_trace(&products, K, false), Err(Error::NotPsd { value, .. }) if value < 0.0));
}
