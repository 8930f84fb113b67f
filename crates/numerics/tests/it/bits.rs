//! The promises about bits, so that a new version of faer cannot break one unseen.

use crate::util::{random, same, symmetric};
use numerics::dense::{self, Diag, Triangle};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar};

fn gemm<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, beta: f64, par: Par) -> Mat<T> {
    let mut out = Mat::from_fn(a.nrows(), b.ncols(), |i, _| T::from_usize(i % 7));
    dense::gemm(out.as_mut(), T::from_f64(1.3), a, b, T::from_f64(beta), par);
    out
}

fn check_product<T: Scalar>(m: usize, k: usize, n: usize) {
    let plain: Mat<T> = random(m, k, 1);
    let stored: Mat<T> = random(k, m, 2);
    let b: Mat<T> = random(k, n, 3);
    for (a, name) in [(plain.as_ref(), "plain"), (stored.transpose(), "transposed")] {
        for beta in [0.0, 1.0, 0.5] {
            let wide = gemm(a, b.as_ref(), beta, Par::Seq);
            for threads in [2, 3, 5] {
                let shared = gemm(a, b.as_ref(), beta, Par::rayon(threads));
                assert!(same(wide.as_ref(), shared.as_ref()), "{name} {m} {k} {n} by {threads}");
            }
            for par in [Par::Seq, Par::rayon(2)] {
                for j in [0, n / 2, n - 1] {
                    let one = gemm(a, b.as_ref().subcols(j, 1), beta, par);
                    assert!(same(one.as_ref(), wide.as_ref().subcols(j, 1)), "{name} {m}x{k}x{n} column {j} {beta}");
                }
                if n > 2 {
                    let two = gemm(a, b.as_ref().subcols(1, 2), beta, par);
                    assert!(same(two.as_ref(), wide.as_ref().subcols(1, 2)), "{name} {m}x{k}x{n} width 2");
                }
            }
        }
    }
}

fn products<T: Scalar>() {
    for m in [1, 2, 3, 5, 8, 17, 64, 127, 128, 129, 257, 300] {
        for k in [1, 2, 3, 7, 16, 33, 64, 130, 511, 513, 700, 1500] {
            check_product::<T>(m, k, 5);
        }
    }
    check_product::<T>(500, 500, 17);
    check_product::<T>(1000, 300, 40);
    // Halves by columns, by rows, one that leaves a lone column, and several of them.
    check_product::<T>(90, 200, 66);
    check_product::<T>(1540, 70, 40);
    check_product::<T>(97, 700, 17);
    check_product::<T>(2, 9000, 5);
    check_product::<T>(1, 9000, 70);
}

#[test]
fn products_have_the_same_bits_for_any_width_and_parallelism_f64() {
    products::<f64>();
}

#[test]
fn products_have_the_same_bits_for_any_width_and_parallelism_f32() {
    products::<f32>();
}

/// Every layout of the three operands, as programs in row-major order meet them.
fn row_major_results<T: Scalar>() {
    for m in [1, 2, 3, 17, 129, 200] {
        for k in [2, 40, 64, 65, 300, 700] {
            let (a, at): (Mat<T>, Mat<T>) = (random(m, k, 4), random(k, m, 4));
            let (b, bt): (Mat<T>, Mat<T>) = (random(k, 7, 5), random(7, k, 5));
            let start: Vec<T> = (0..m * 7).map(|i| T::from_usize(i % 5)).collect();
            for a in [a.as_ref(), at.transpose()] {
                for b in [b.as_ref(), bt.transpose()] {
                    for (alpha, beta) in [(1.0, 0.0), (0.7, 1.0), (-1.0, 1.0), (0.7, 0.3)] {
                        let run = |out: &mut [T], n: usize, b: MatRef<'_, T>, par: Par| {
                            let out = MatMut::from_row_major_slice_mut(out, m, n);
                            dense::gemm(out, T::from_f64(alpha), a, b, T::from_f64(beta), par);
                        };
                        let mut wide = start.clone();
                        run(&mut wide, 7, b, Par::Seq);
                        let mut two = start.clone();
                        run(&mut two, 7, b, Par::rayon(2));
                        assert!(wide == two, "{m} x {k} {alpha} {beta}");
                        for j in [0, 3, 6] {
                            let mut one: Vec<T> = (0..m).map(|i| start[7 * i + j]).collect();
                            run(&mut one, 1, b.subcols(j, 1), Par::rayon(2));
                            assert!((0..m).all(|i| one[i] == wide[7 * i + j]), "{m} x {k} {alpha} {beta} column {j}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn row_major_results_have_the_same_bits_for_any_width() {
    row_major_results::<f32>();
    row_major_results::<f64>();
}

fn rows<T: Scalar>() {
    for (m, k, n) in [(7, 3, 9), (40, 64, 5), (40, 65, 1), (300, 200, 2), (9, 700, 3), (150, 30, 150)] {
        let b: Mat<T> = random(k, n, 21);
        let (plain, stored): (Mat<T>, Mat<T>) = (random(m, k, 22), random(k, m, 23));
        for a in [plain.as_ref(), stored.transpose()] {
            let all = gemm(a, b.as_ref(), 0.0, Par::Seq);
            for (start, count) in [(0, 1), (m / 2, 1), (1, 2), (2, 5)] {
                let some = gemm(a.subrows(start, count), b.as_ref(), 0.0, Par::Seq);
                assert!(same(some.as_ref(), all.as_ref().subrows(start, count)), "{m} {k} {n} rows {start} {count}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_for_any_height() {
    rows::<f32>();
    rows::<f64>();
}

fn triangular<T: Scalar>() {
    for n in [1, 2, 5, 31, 64, 100, 128, 129, 130, 300, 500] {
        let a: Mat<T> = symmetric(n, 2.0 * (n as f64).sqrt() + 2.0, 6);
        let b: Mat<T> = random(n, 9, 7);
        for tri in [Triangle::Lower, Triangle::Upper] {
            for view in [a.as_ref(), a.transpose()] {
                let solve = |b: MatRef<'_, T>, par| {
                    let mut x = b.to_owned();
                    dense::trsm(tri, Diag::NonUnit, view, x.as_mut(), par);
                    x
                };
                let wide = solve(b.as_ref(), Par::Seq);
                assert!(same(wide.as_ref(), solve(b.as_ref(), Par::rayon(2)).as_ref()), "{tri:?} {n}");
                for j in [0, 4, 8] {
                    for par in [Par::Seq, Par::rayon(2)] {
                        let one = solve(b.as_ref().subcols(j, 1), par);
                        assert!(same(one.as_ref(), wide.as_ref().subcols(j, 1)), "{tri:?} {n} column {j}");
                    }
                }
                let three = solve(b.as_ref().subcols(2, 3), Par::Seq);
                assert!(same(three.as_ref(), wide.as_ref().subcols(2, 3)), "{tri:?} {n} width 3");
            }
        }
    }
}

#[test]
fn triangular_solves_have_the_same_bits_for_any_width_and_parallelism() {
    triangular::<f32>();
    triangular::<f64>();
}

fn cholesky<T: Scalar>() {
    for n in [3, 64, 300, 700] {
        let a: Mat<T> = symmetric(n, 4.0 * (n as f64).sqrt(), 8);
        let one = dense::Llt::new(a.as_ref(), Par::Seq).unwrap();
        let two = dense::Llt::new(a.as_ref(), Par::rayon(2)).unwrap();
        assert!(same(one.l(), two.l()), "llt {n}");
        let b: Mat<T> = random(n, 5, 9);
        let mut wide = b.clone();
        let mut buf = MemBuffer::new(one.solve_req(5, Par::Seq));
        one.solve_in_place(wide.as_mut(), Par::Seq, MemStack::new(&mut buf));
        let mut lone = b.as_ref().subcols(3, 1).to_owned();
        one.solve_in_place(lone.as_mut(), Par::rayon(2), MemStack::new(&mut buf));
        assert!(same(lone.as_ref(), wide.as_ref().subcols(3, 1)), "solve {n}");
    }
}

#[test]
fn cholesky_has_the_same_bits_for_any_parallelism() {
    cholesky::<f32>();
    cholesky::<f64>();
}

fn grams<T: Scalar>() {
    for (n, k) in [(1, 10), (5, 700), (64, 64), (300, 1000), (600, 100)] {
        let a: Mat<T> = random(n, k, 10);
        let run = |par| {
            let mut g = Mat::from_fn(n, n, |i, j| T::from_usize(i + j));
            dense::syrk(g.as_mut(), T::from_f64(0.7), a.as_ref(), T::from_f64(0.5), par);
            g
        };
        let one = run(Par::Seq);
        let weights: Vec<T> = (0..k).map(|i| T::from_f64(1.0 / (1 + i % 5) as f64)).collect();
        let other = |par| {
            let (mut g, mut w) = (Mat::zeros(n, n), Mat::zeros(n, n));
            dense::gemm_lower(g.as_mut(), T::from_f64(0.7), a.as_ref(), a.transpose(), par);
            dense::syrk_weighted(w.as_mut(), T::ONE, a.as_ref(), &weights, T::ZERO, &mut vec![T::ZERO; n * k], par);
            (g, w)
        };
        let (g, w) = other(Par::Seq);
        for threads in [2, 3, 7] {
            assert!(same(one.as_ref(), run(Par::rayon(threads)).as_ref()), "syrk {n} {k}");
            let (h, v) = other(Par::rayon(threads));
            assert!(same(g.as_ref(), h.as_ref()) && same(w.as_ref(), v.as_ref()), "gemm_lower, syrk_weighted {n} {k}");
        }
        let (mut scaled, mut plain) = (Mat::zeros(n, n), Mat::zeros(n, n));
        let weighted = Mat::from_fn(n, k, |i, j| a[(i, j)] * weights[j]);
        dense::syrk(scaled.as_mut(), T::ONE, weighted.as_ref(), T::ZERO, Par::Seq);
        dense::syrk(plain.as_mut(), T::from_f64(0.7), a.as_ref(), T::ZERO, Par::Seq);
        assert!(
            same(scaled.as_ref(), w.as_ref()) && same(plain.as_ref(), g.as_ref()),
            "one product by two ways {n} {k}"
        );
    }
}

#[test]
fn gram_matrices_have_the_same_bits_for_any_parallelism() {
    grams::<f32>();
    grams::<f64>();
}

#[test]
fn sums_do_not_depend_on_strides() {
    let a: Mat<f32> = random(10_000, 3, 11);
    let b: Mat<f32> = random(10_000, 3, 12);
    let rows_a: Vec<f32> = (0..30_000).map(|i| a[(i / 3, i % 3)]).collect();
    let rows_b: Vec<f32> = (0..30_000).map(|i| b[(i / 3, i % 3)]).collect();
    let (mut one, mut two) = ([0.0f32; 3], [0.0f32; 3]);
    dense::col_dots(a.as_ref(), b.as_ref(), &mut one);
    let ra = MatRef::from_row_major_slice(&rows_a, 10_000, 3);
    let rb = MatRef::from_row_major_slice(&rows_b, 10_000, 3);
    dense::col_dots(ra, rb, &mut two);
    assert_eq!(one, two);
    for j in 0..3 {
        let exact: f64 = (0..10_000).map(|i| f64::from(a[(i, j)]) * f64::from(b[(i, j)])).sum();
        assert!((f64::from(one[j]) - exact).abs() < 1e-3);
        let x: Vec<f32> = (0..10_000).map(|i| a[(i, j)]).collect();
        let y: Vec<f32> = (0..10_000).map(|i| b[(i, j)]).collect();
        assert_eq!(dense::dot(&x, &y), one[j]);
        let total: f64 = x.iter().map(|v| f64::from(*v)).sum();
        assert!((f64::from(dense::sum(&x)) - total).abs() < 1e-3);
    }
}
