//! Dense algebra against plain loops and by reconstruction.

use crate::util::{gap, product, random, symmetric};
use numerics::dense::{self, Diag, Lblt, Llt, Lu, Triangle};
use numerics::{Error, Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar};
use std::time::{Duration, Instant};

fn tol<T: Scalar>(factor: f64) -> f64 {
    factor * T::EPS.to_f64()
}

fn as_f64<T: Scalar>(a: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].to_f64())
}

fn gemm_matches<T: Scalar>() {
    for (m, k, n) in [(1, 1, 1), (3, 1, 4), (1, 50, 1), (1, 9, 7), (130, 9, 1), (17, 33, 65), (140, 600, 3)] {
        let a: Mat<T> = random(m, k, 1);
        let b: Mat<T> = random(k, n, 2);
        let c: Mat<T> = random(m, n, 3);
        let ab = product(a.as_ref(), b.as_ref());
        for (alpha, beta) in [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25), (0.0, 0.5)] {
            for par in [Par::Seq, Par::rayon(2)] {
                let mut out = c.clone();
                dense::gemm(out.as_mut(), T::from_f64(alpha), a.as_ref(), b.as_ref(), T::from_f64(beta), par);
                let want = Mat::from_fn(m, n, |i, j| alpha * ab[(i, j)] + beta * c[(i, j)].to_f64());
                assert!(
                    gap(out.as_ref(), want.as_ref()) < tol::<T>(4.0 * (k + 2) as f64),
                    "{m} {k} {n} {alpha} {beta}"
                );
            }
        }
    }
}

#[test]
fn gemm_agrees_with_loops() {
    gemm_matches::<f32>();
    gemm_matches::<f64>();
}

#[test]
fn beta_zero_never_reads_and_empty_inner_dimension_scales() {
    for (m, n) in [(1, 1), (3, 1), (1, 4), (200, 1), (5, 6)] {
        for k in [0, 1, 3] {
            let (a, b) = (Mat::<f64>::zeros(m, k), Mat::<f64>::zeros(k, n));
            let mut out = Mat::from_fn(m, n, |_, _| f64::NAN);
            dense::gemm(out.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, Par::Seq);
            assert_eq!(gap(out.as_ref(), Mat::<f64>::zeros(m, n).as_ref()), 0.0);
        }
        let a = Mat::from_fn(m, 2, |_, _| f64::NAN);
        let b = Mat::from_fn(2, n, |_, _| f64::NAN);
        let mut out = Mat::from_fn(m, n, |_, _| 3.0);
        dense::gemm(out.as_mut(), 0.0, a.as_ref(), b.as_ref(), 2.0, Par::Seq);
        assert!(out.col_iter().all(|c| c.iter().all(|v| *v == 6.0)));
    }
    let mut out = Mat::from_fn(4, 4, |_, _| f64::NAN);
    dense::syrk(out.as_mut(), 1.0, Mat::<f64>::zeros(4, 0).as_ref(), 0.0, Par::Seq);
    assert!(out[(3, 0)] == 0.0 && out[(0, 3)].is_nan());
}

/// The lower triangle of `alpha a b + beta c` in f64, with what its rounding may amount to: each term's product, `k` additions, and the
/// three operations of `alpha` and `beta`, one `eps` each of the sum of magnitudes.
fn bounded<T: Scalar>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    alpha: f64,
    beta: f64,
    c: MatRef<'_, T>,
    found: MatRef<'_, T>,
) {
    let (n, k) = (a.nrows(), a.ncols());
    for j in 0..n {
        for i in 0..n {
            if i < j {
                assert!(found[(i, j)] == c[(i, j)], "the upper triangle was touched at ({i}, {j})");
                continue;
            }
            let term = |l: usize| a[(i, l)].to_f64() * b[(l, j)].to_f64();
            let (sum, size) = (0..k).map(term).fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
            let old = if beta == 0.0 { 0.0 } else { beta * c[(i, j)].to_f64() };
            let bound = (k as f64 + 4.0) * T::EPS.to_f64() * (alpha.abs() * size + old.abs());
            let off = (found[(i, j)].to_f64() - (alpha * sum + old)).abs();
            assert!(off <= bound, "{n} x {k} at ({i}, {j}): {off:e} of {bound:e}");
        }
    }
}

/// Sizes around tiles and slices, factors by columns, by rows, and by neither, results inside larger ones and by rows.
fn symmetric_products<T: Scalar>() {
    let sizes =
        [(1, 3), (7, 1), (9, 300), (16, 16), (17, 5), (24, 256), (31, 257), (33, 40), (48, 64), (65, 513), (100, 31)];
    for (n, k) in sizes {
        let by_columns: Mat<T> = random(n, k, 20);
        let by_rows: Mat<T> = by_columns.transpose().to_owned();
        let sparse: Mat<T> = random(2 * n, 3 * k, 21);
        let strided = sparse.as_ref().subrows(0, n).subcols(0, k).reverse_rows().reverse_cols();
        let weights: Vec<T> = (0..k).map(|i| T::from_f64(0.5 + (i % 7) as f64)).collect();
        for a in [by_columns.as_ref(), by_rows.transpose(), strided] {
            let scaled = Mat::from_fn(n, k, |i, j| a[(i, j)] * weights[j]);
            for (alpha, beta) in [(1.0, 0.0), (-0.75, 1.0), (0.3, -2.0)] {
                let (al, be) = (T::from_f64(alpha), T::from_f64(beta));
                let start = Mat::from_fn(n, n, |i, j| match beta == 0.0 && i >= j {
                    true => T::NAN,
                    false => T::from_f64((i * 3 + j) as f64 * 0.01),
                });
                let mut g = start.clone();
                dense::syrk(g.as_mut(), al, a, be, Par::Seq);
                bounded(a, a.transpose(), al.to_f64(), beta, start.as_ref(), g.as_ref());

                let mut inside = Mat::<T>::from_fn(n + 3, n + 2, |_, _| T::ONE);
                let mut view = inside.as_mut().submatrix_mut(2, 1, n, n);
                dense::copy(view.as_mut(), start.as_ref());
                dense::syrk_weighted(view.as_mut(), al, a, &weights, be, &mut vec![T::ZERO; n * k], Par::Seq);
                bounded(scaled.as_ref(), scaled.transpose(), al.to_f64(), beta, start.as_ref(), view.as_ref());
                let frame = |i: usize, j: usize| i < 2 || j < 1 || i > n + 1 || j > n;
                assert!((0..n + 3).all(|i| (0..n + 2).all(|j| !frame(i, j) || inside[(i, j)] == T::ONE)));

                let mut rows = vec![T::ZERO; n * n];
                let mut out = MatMut::from_row_major_slice_mut(&mut rows, n, n);
                dense::copy(out.as_mut(), start.as_ref());
                dense::syrk(out.as_mut(), al, a, be, Par::Seq);
                bounded(a, a.transpose(), al.to_f64(), beta, start.as_ref(), out.as_ref());
            }
            // Two operands whose product is symmetric: the second is packed for itself.
            let start = Mat::from_fn(n, n, |i, j| if i >= j { T::NAN } else { T::ONE });
            let mut g = start.clone();
            dense::gemm_lower(g.as_mut(), T::from_f64(0.3), a, by_rows.as_ref(), Par::Seq);
            bounded(a, by_rows.as_ref(), T::from_f64(0.3).to_f64(), 0.0, start.as_ref(), g.as_ref());
        }
    }
}

#[test]
fn symmetric_products_agree_with_loops_and_leave_the_upper_triangle() {
    symmetric_products::<f32>();
    symmetric_products::<f64>();
}

#[test]
fn a_nan_stays_in_its_row_and_column() {
    for (n, k) in [(20, 3), (70, 300)] {
        let mut a: Mat<f32> = random(n, k, 22);
        a[(11, 1)] = f32::NAN;
        let mut g = Mat::<f32>::zeros(n, n);
        dense::syrk(g.as_mut(), 1.0, a.as_ref(), 0.0, Par::Seq);
        assert!((0..n).all(|j| (j..n).all(|i| g[(i, j)].is_nan() == (i == 11 || j == 11))));
    }
}

#[test]
fn strided_views_enter_and_leave() {
    let a: Mat<f64> = random(40, 60, 4);
    let sub = a.as_ref().submatrix(3, 5, 20, 30).reverse_rows();
    let b: Mat<f64> = random(30, 4, 5);
    let mut wide = vec![-7.0f64; 20 * 9];
    let out = MatMut::from_row_major_slice_mut(&mut wide, 20, 9).subcols_mut(0, 4);
    dense::gemm(out, 1.0, sub, b.as_ref(), 0.0, Par::Seq);
    let want = product(sub, b.as_ref());
    for i in 0..20 {
        for j in 0..9 {
            let v = wide.get(9 * i + j).copied().unwrap();
            if j < 4 {
                assert!((v - want[(i, j)]).abs() < 1e-13);
            } else {
                assert_eq!(v, -7.0);
            }
        }
    }
}

fn elementwise_works<T: Scalar>() {
    let x: Mat<T> = random(37, 21, 6);
    let mut y: Mat<T> = random(37, 21, 7);
    let before = y.clone();
    dense::axpy(y.as_mut(), T::from_f64(0.5), x.as_ref());
    let want = Mat::from_fn(37, 21, |i, j| before[(i, j)].to_f64() + 0.5 * x[(i, j)].to_f64());
    assert!(gap(y.as_ref(), want.as_ref()) < tol::<T>(4.0));
    let mut rows = vec![T::ZERO; 37 * 21];
    dense::copy(MatMut::from_row_major_slice_mut(&mut rows, 37, 21), y.as_ref());
    assert_eq!(gap(MatRef::from_row_major_slice(&rows, 37, 21), y.as_ref()), 0.0);
    let mut s: Mat<T> = random(70, 70, 8);
    let t = s.clone();
    dense::symmetrize(s.as_mut());
    assert_eq!(gap(s.as_ref(), s.transpose()), 0.0);
    assert!((s[(60, 3)] - T::from_f64(0.5) * (t[(60, 3)] + t[(3, 60)])).to_f64().abs() < tol::<T>(2.0));
    // Around the squares that are mirrored at once, by columns, by rows and apart.
    for n in [0, 1, 31, 32, 33, 64, 70, 97] {
        let t: Mat<T> = random(n, n, 9);
        let expected = Mat::from_fn(n, n, |i, j| t[(i.max(j), i.min(j))]);
        let (mut columns, mut rows, mut apart) = (t.clone(), t.transpose().to_owned(), Mat::<T>::zeros(2 * n, n));
        dense::mirror_lower(columns.as_mut());
        dense::mirror_lower(rows.as_mut().transpose_mut());
        let mut view = apart.as_mut().reverse_rows_mut().subrows_mut(0, n);
        dense::copy(view.as_mut(), t.as_ref());
        dense::mirror_lower(view.as_mut());
        assert!(columns == expected && rows.transpose() == expected && view.as_ref() == expected, "{n}");
    }
}

#[test]
fn elementwise_operations() {
    elementwise_works::<f32>();
    elementwise_works::<f64>();
}

#[test]
fn norms_neither_overflow_nor_vanish() {
    let big = Mat::from_fn(3, 3, |_, _| 1e300f64);
    assert!((dense::norm_l2(big.as_ref()) / 3e300 - 1.0).abs() < 1e-14);
    let small = Mat::from_fn(4, 1, |_, _| 1e-310f64);
    assert!((dense::norm_l2(small.as_ref()) / 2e-310 - 1.0).abs() < 1e-10);
    let plain: Mat<f32> = random(300, 40, 9);
    let want = as_f64(plain.as_ref()).norm_l2();
    assert!((f64::from(dense::norm_l2(plain.as_ref())) / want - 1.0).abs() < 1e-6);
    let mut nan = Mat::<f64>::zeros(3, 3);
    assert_eq!(dense::norm_l2(nan.as_ref()), 0.0);
    nan[(1, 2)] = f64::NAN;
    assert!(dense::norm_l2(nan.as_ref()).is_nan());
    nan[(1, 2)] = f64::NEG_INFINITY;
    assert_eq!(dense::norm_l2(nan.as_ref()), f64::INFINITY);
    assert!(!dense::is_all_finite(nan.as_ref()));
}

fn eigen_reconstructs<T: Scalar>() {
    for n in [0, 1, 2, 10, 130, 200] {
        let a: Mat<T> = symmetric(n, 0.0, 10);
        // the strict upper triangle must not be read
        let lower = Mat::from_fn(n, n, |i, j| if i >= j { a[(i, j)] } else { T::NAN });
        let e = dense::eigh(lower.as_ref()).unwrap();
        assert!(e.values.windows(2).all(|w| w[0] <= w[1]));
        let back = dense::apply_spectral(&e, |v| v, Par::Seq);
        assert!(gap(back.as_ref(), a.as_ref()) < tol::<T>(8.0 * (n + 8) as f64), "{n}");
        assert_eq!(gap(back.as_ref(), back.transpose()), 0.0);
        let gram = product(e.vectors.transpose(), e.vectors.as_ref());
        assert!(gap(gram.as_ref(), Mat::<f64>::identity(n, n).as_ref()) < tol::<T>(4.0 * (n + 8) as f64));
        for (x, y) in dense::eigvalsh(lower.as_ref()).unwrap().iter().zip(&e.values) {
            assert!((*x - *y).to_f64().abs() < tol::<T>(8.0 * (n + 8) as f64));
        }
    }
}

#[test]
fn eigenpairs_reconstruct() {
    eigen_reconstructs::<f32>();
    eigen_reconstructs::<f64>();
}

#[test]
fn extreme_scales_keep_relative_accuracy() {
    let a: Mat<f64> = symmetric(40, 0.0, 11);
    let reference = dense::eigh(a.as_ref()).unwrap();
    let sv = dense::svd(a.as_ref()).unwrap().s;
    for f in [1e-290, 1e-200, 1e200, 1e290] {
        let scaled = Mat::from_fn(40, 40, |i, j| a[(i, j)] * f);
        let e = dense::eigh(scaled.as_ref()).unwrap();
        for (x, y) in e.values.iter().zip(&reference.values) {
            assert!((x / f - y).abs() < 1e-12, "{f} {x} {y}");
        }
        for (x, y) in dense::svd(scaled.as_ref()).unwrap().s.iter().zip(&sv) {
            assert!((x / f - y).abs() < 1e-12, "{f} {x} {y}");
        }
    }
    let a: Mat<f32> = symmetric(40, 0.0, 11);
    for f in [1e-34f32, 1e34] {
        let scaled = Mat::from_fn(40, 40, |i, j| a[(i, j)] * f);
        let e = dense::eigh(scaled.as_ref()).unwrap();
        for (x, y) in e.values.iter().zip(&reference.values) {
            assert!((f64::from(x / f) - y).abs() < 1e-4);
        }
    }
}

#[test]
fn tridiagonal_laplacian_has_known_eigenvalues() {
    for n in [1usize, 2, 5, 150] {
        let e = dense::tridiag_eigh(&vec![2.0f64; n], &vec![-1.0; n - 1]).unwrap();
        for (k, v) in e.values.iter().enumerate() {
            let want = 2.0 - 2.0 * ((k + 1) as f64 * std::f64::consts::PI / (n + 1) as f64).cos();
            assert!((v - want).abs() < 1e-13, "{n} {k}");
        }
        let back = dense::apply_spectral(&e, |v| v, Par::Seq);
        assert!((0..n).all(|i| (back[(i, i)] - 2.0).abs() < 1e-13));
        assert!((1..n).all(|i| (back[(i, i - 1)] + 1.0).abs() < 1e-13));
    }
    assert!(matches!(dense::tridiag_eigh(&[1.0f64], &[1.0]), Err(Error::ShapeMismatch { .. })));
    assert!(dense::tridiag_eigh::<f64>(&[], &[]).unwrap().values.is_empty());
}

#[test]
fn general_eigenvalues_satisfy_trace_and_determinant() {
    let a: Mat<f64> = random(30, 30, 12);
    let e = dense::eigvals(a.as_ref()).unwrap();
    let trace: f64 = (0..30).map(|i| a[(i, i)]).sum();
    assert!((e.iter().map(|v| v.0).sum::<f64>() - trace).abs() < 1e-12);
    assert!(e.iter().map(|v| v.1).sum::<f64>().abs() < 1e-12);
    let log: f64 = e.iter().map(|v| v.0.hypot(v.1).ln()).sum();
    assert!((log - Lu::new(a.as_ref(), Par::Seq).unwrap().slogdet().1).abs() < 1e-10);
}

fn orthogonal_reconstructs<T: Scalar>() {
    for (m, n) in [(1, 1), (5, 3), (3, 5), (100, 20), (64, 64), (20, 150)] {
        let a: Mat<T> = random(m, n, 13);
        let k = m.min(n);
        let bound = tol::<T>(10.0 * (m + n) as f64);
        let id = Mat::<f64>::identity(k, k);
        let f = dense::svd(a.as_ref()).unwrap();
        let us = Mat::from_fn(m, k, |i, j| f.u[(i, j)] * f.s[j]);
        assert!(gap(product(us.as_ref(), f.v.transpose()).as_ref(), a.as_ref()) < bound);
        assert!(gap(product(f.u.transpose(), f.u.as_ref()).as_ref(), id.as_ref()) < bound);
        assert!(f.s.windows(2).all(|w| w[0] >= w[1]));
        let f = dense::qr(a.as_ref()).unwrap();
        assert_eq!((f.q.ncols(), f.r.nrows(), f.r.ncols(), f.rank), (k, k, n, k));
        assert!(gap(product(f.q.as_ref(), f.r.as_ref()).as_ref(), a.as_ref()) < bound);
        assert!(gap(product(f.q.transpose(), f.q.as_ref()).as_ref(), id.as_ref()) < bound);
        let f = dense::qr_pivoted(a.as_ref()).unwrap();
        let permuted = Mat::from_fn(m, n, |i, j| a[(i, f.perm[j])]);
        assert!(gap(product(f.q.as_ref(), f.r.as_ref()).as_ref(), permuted.as_ref()) < bound);
        assert!((1..k).all(|i| f.r[(i, i)].to_f64().abs() <= f.r[(i - 1, i - 1)].to_f64().abs() + bound));
    }
    let empty = dense::svd(Mat::<T>::zeros(0, 4).as_ref()).unwrap();
    assert_eq!((empty.s.len(), empty.v.nrows()), (0, 4));
}

#[test]
fn orthogonal_factorisations_reconstruct() {
    orthogonal_reconstructs::<f32>();
    orthogonal_reconstructs::<f64>();
}

#[test]
fn rank_deficient_qr_still_has_an_orthonormal_factor() {
    let left: Mat<f64> = random(100, 16, 14);
    let right: Mat<f64> = random(16, 20, 15);
    let a = product(left.as_ref(), right.as_ref());
    let f = dense::qr(a.as_ref()).unwrap();
    assert_eq!(f.rank, 16);
    let gram = product(f.q.transpose(), f.q.as_ref());
    assert!(gap(gram.as_ref(), Mat::<f64>::identity(20, 20).as_ref()) < 1e-13);
    assert!(gap(product(f.q.as_ref(), f.r.as_ref()).as_ref(), a.as_ref()) < 1e-12);
}

fn triangular_solves<T: Scalar>() {
    for n in [1, 7, 128, 200] {
        let full: Mat<T> = symmetric(n, 2.0 * (n as f64).sqrt() + 2.0, 16);
        let b: Mat<T> = random(n, 3, 17);
        for tri in [Triangle::Lower, Triangle::Upper] {
            for diag in [Diag::NonUnit, Diag::Unit] {
                // small off-diagonal entries keep the unit case well conditioned
                let a = Mat::from_fn(n, n, |i, j| if i == j { full[(i, j)] } else { full[(i, j)] * T::from_f64(0.1) });
                let clean = Mat::from_fn(n, n, |i, j| match (i == j, (i > j) == (tri == Triangle::Lower)) {
                    (true, _) => {
                        if diag == Diag::Unit {
                            T::ONE
                        } else {
                            a[(i, j)]
                        }
                    }
                    (false, true) => a[(i, j)],
                    (false, false) => T::ZERO,
                });
                let mut x = b.clone();
                dense::trsm(tri, diag, a.as_ref(), x.as_mut(), Par::Seq);
                let back = product(clean.as_ref(), x.as_ref());
                let size = x.norm_max().to_f64().max(1.0);
                assert!(gap(back.as_ref(), b.as_ref()) < size * tol::<T>(20.0 * n as f64), "{n} {tri:?} {diag:?}");
            }
        }
    }
}

#[test]
fn triangular_solves_reconstruct() {
    triangular_solves::<f32>();
    triangular_solves::<f64>();
}

fn solvers<T: Scalar>() {
    for n in [1, 2, 6, 70, 150] {
        let b: Mat<T> = random(n, 3, 18);
        let spd: Mat<T> = symmetric(n, 2.0 * (n as f64).sqrt() + 2.0, 19);
        let indefinite: Mat<T> = Mat::from_fn(n, n, |i, j| {
            let v = spd[(i, j)];
            if i == j && i % 2 == 0 { -v } else { v }
        });
        let general: Mat<T> = Mat::from_fn(n, n, |i, j| spd[(i, (j + 1) % n)]);
        let bound = tol::<T>(50.0 * (n + 4) as f64);
        let mut buf = MemBuffer::new(numerics::StackReq::new::<T>(n * 3));

        let f = Llt::new(spd.as_ref(), Par::Seq).unwrap();
        assert!(gap(product(f.l(), f.l().transpose()).as_ref(), spd.as_ref()) < tol::<T>(20.0 * (n + 20) as f64));
        assert!((1..n).all(|j| f.l()[(0, j)] == T::ZERO));
        let mut x = b.clone();
        f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
        assert!(gap(product(spd.as_ref(), x.as_ref()).as_ref(), b.as_ref()) < bound);
        let inv = f.inverse();
        assert_eq!(gap(inv.as_ref(), inv.transpose()), 0.0);
        assert!(gap(product(spd.as_ref(), inv.as_ref()).as_ref(), Mat::<f64>::identity(n, n).as_ref()) < bound);
        let wide = dense::eigh(as_f64(spd.as_ref()).as_ref()).unwrap();
        let log: f64 = wide.values.iter().map(|v| v.ln()).sum();
        assert!((f.logdet().to_f64() - log).abs() < bound * (1.0 + log.abs()));

        let f = Lblt::new(indefinite.as_ref(), Par::Seq).unwrap();
        assert!(!f.is_singular());
        let mut x = b.clone();
        f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
        assert!(gap(product(indefinite.as_ref(), x.as_ref()).as_ref(), b.as_ref()) < bound);
        let wide = dense::eigh(as_f64(indefinite.as_ref()).as_ref()).unwrap();
        let log: f64 = wide.values.iter().map(|v| v.abs().ln()).sum();
        let sign = wide.values.iter().fold(1.0, |s, v| s * v.signum());
        let (s, l) = f.slogdet();
        assert_eq!(s.to_f64(), sign);
        assert!((l.to_f64() - log).abs() < bound * (1.0 + log.abs()));

        let f = Lu::new(general.as_ref(), Par::rayon(2)).unwrap();
        let mut x = b.clone();
        f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
        assert!(gap(product(general.as_ref(), x.as_ref()).as_ref(), b.as_ref()) < bound);
        let mut x = b.clone();
        f.solve_transpose_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
        assert!(gap(product(general.transpose(), x.as_ref()).as_ref(), b.as_ref()) < bound);
        // a cyclic shift of n columns has the sign (-1)^(n - 1)
        let (s, l) = f.slogdet();
        assert_eq!(s.to_f64(), if n % 2 == 1 { 1.0 } else { -1.0 });
        let spd_log = Llt::new(spd.as_ref(), Par::Seq).unwrap().logdet();
        assert!((l - spd_log).to_f64().abs() < bound * (1.0 + log.abs()));
    }
}

#[test]
fn solvers_reconstruct() {
    solvers::<f32>();
    solvers::<f64>();
}

#[test]
fn zero_diagonal_needs_blocks_of_two() {
    let a: Mat<f64> = Mat::from_fn(6, 6, |i, j| if i == j { 0.0 } else { 1.0 + (i * j) as f64 + (i + j) as f64 });
    let f = Lblt::new(a.as_ref(), Par::Seq).unwrap();
    let b: Mat<f64> = random(6, 2, 20);
    let mut x = b.clone();
    let mut buf = MemBuffer::new(f.solve_req(2, Par::Seq));
    f.solve_in_place(x.as_mut(), Par::Seq, MemStack::new(&mut buf));
    assert!(gap(product(a.as_ref(), x.as_ref()).as_ref(), b.as_ref()) < 1e-11);
    let (sign, log) = f.slogdet();
    let (want_sign, want_log) = Lu::new(a.as_ref(), Par::Seq).unwrap().slogdet();
    assert!(sign == want_sign && (log - want_log).abs() < 1e-12);
}

#[test]
fn singular_and_indefinite_matrices_are_named() {
    let a: Mat<f64> = Mat::from_fn(3, 3, |i, j| ((i + 1) * (j + 1)) as f64);
    for m in [a.clone(), Mat::zeros(3, 3)] {
        let f = Lblt::new(m.as_ref(), Par::Seq).unwrap();
        assert!(f.is_singular());
        assert_eq!(f.slogdet(), (0.0, f64::NEG_INFINITY));
        let f = Lu::new(m.as_ref(), Par::Seq).unwrap();
        assert!(f.is_singular());
        assert_eq!(f.slogdet(), (0.0, f64::NEG_INFINITY));
    }
    let mut m = Mat::<f64>::identity(5, 5);
    m[(3, 3)] = -1.0;
    assert_eq!(Llt::new(m.as_ref(), Par::Seq).unwrap_err(), Error::NotPositiveDefinite { op: "llt", pivot: 3 });
    let tall = Mat::<f64>::zeros(4, 3);
    assert!(matches!(Llt::new(tall.as_ref(), Par::Seq), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(dense::eigh(tall.as_ref()), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(Lu::new(tall.as_ref(), Par::Seq), Err(Error::ShapeMismatch { .. })));
}

#[test]
fn one_nan_is_refused_at_once_by_every_decomposition() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut a: Mat<f64> = symmetric(800, 1.0, 21);
        a[(500, 3)] = bad;
        let start = Instant::now();
        let v = a.as_ref();
        let refused = [
            dense::eigh(v).err(),
            dense::eigvalsh(v).err(),
            dense::eigvals(v).err(),
            dense::svd(v).err(),
            dense::qr(v).err(),
            dense::qr_pivoted(v).err(),
            Llt::new(v, Par::Seq).err(),
            Lblt::new(v, Par::Seq).err(),
            Lu::new(v, Par::Seq).err(),
            dense::expm(v).err(),
            dense::tridiag_eigh(&[1.0, bad], &[0.0]).err(),
        ];
        assert!(refused.iter().all(|e| matches!(e, Some(Error::NotFinite { .. }))), "{refused:?}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn exponential_agrees_with_the_spectral_one_and_with_a_nilpotent() {
    for scale in [1e-3, 1.0, 20.0] {
        let base: Mat<f64> = symmetric(20, 0.0, 22);
        let a = Mat::from_fn(20, 20, |i, j| scale * base[(i, j)]);
        let want = dense::apply_spectral(&dense::eigh(a.as_ref()).unwrap(), f64::exp, Par::Seq);
        let got = dense::expm(a.as_ref()).unwrap();
        assert!(gap(got.as_ref(), want.as_ref()) < 1e-11 * want.norm_max());
    }
    let nilpotent = Mat::from_fn(3, 3, |i, j| if j == i + 1 { 100.0f32 } else { 0.0 });
    let e = dense::expm(nilpotent.as_ref()).unwrap();
    assert!((e[(0, 2)] - 5000.0).abs() < 1e-2 && (e[(0, 1)] - 100.0).abs() < 1e-4 && e[(2, 0)] == 0.0);
    let huge = Mat::from_fn(2, 2, |i, j| if i == j { 1e4 } else { 0.0f64 });
    assert!(matches!(dense::expm(huge.as_ref()), Err(Error::NotFinite { operand: "the result", .. })));
    assert_eq!(dense::expm(Mat::<f64>::zeros(0, 0).as_ref()).unwrap().nrows(), 0);
}
