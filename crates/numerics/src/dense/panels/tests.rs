//! Both formats on both paths, by vector instructions where the processor has them and by plain arithmetic, against products of the rounded
//! operands in double precision.

use super::product::forced;
use super::*;
use crate::rng::{Role, Stream};
use crate::{Mat, MatRef, Par};
use proptest::prelude::*;

/// Runs a test on the processor's path and on the plain one.
fn on_both_paths(f: impl Fn()) {
    f();
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            forced::PORTABLE.set(false);
        }
    }
    let _back = Back;
    forced::PORTABLE.set(true);
    f();
}

/// A matrix with memory of its own, which begins as rubbish.
struct Owned<F> {
    memory: Vec<Line>,
    rows: usize,
    cols: usize,
    format: PhantomData<F>,
}

impl<F: Format> Owned<F> {
    fn new(rows: usize, cols: usize) -> Self {
        let memory = vec![Line([0x7fc1_3f80; LANES]); lines::<F>(rows, cols)];
        Owned { memory, rows, cols, format: PhantomData }
    }

    fn of(a: MatRef<'_, f32>) -> Self {
        let mut new = Owned::new(a.nrows(), a.ncols());
        new.to().pack(a, 1.0);
        new
    }

    fn to(&mut self) -> PanelsMut<'_, F> {
        PanelsMut::new(&mut self.memory, self.rows, self.cols)
    }

    fn view(&self) -> Panels<'_, F> {
        Panels { lines: &self.memory, rows: self.rows, cols: self.cols, format: PhantomData }
    }

    fn dense(&self) -> Mat<f64> {
        Mat::from_fn(self.rows, self.cols, |i, j| f64::from(self.view().get(i, j)))
    }
}

fn normal(rows: usize, cols: usize, seed: u64) -> Mat<f32> {
    let mut x = vec![0.0; rows * cols];
    Stream::new(seed, Role::TestProbe, rows as u64, cols as u64).fill_normal(&mut x);
    Mat::from_fn(rows, cols, |i, j| x[i * cols + j])
}

fn random<F: Format>(rows: usize, cols: usize, seed: u64) -> Owned<F> {
    Owned::of(normal(rows, cols, seed).as_ref())
}

fn both<F: Format>(
    alpha: f32,
    a: &Owned<F>,
    b: &Owned<F>,
    add: Option<(f32, &Owned<F>)>,
    par: Par,
) -> (Owned<F>, Owned<F>) {
    let (mut by_rows, mut by_columns) = (Owned::new(a.rows, b.rows), Owned::new(b.rows, a.rows));
    let out = Out { by_rows: Some(by_rows.to()), by_columns: Some(by_columns.to()) };
    product(out, alpha, a.view(), b.view(), add.map(|(beta, c)| (beta, c.view())), par);
    (by_rows, by_columns)
}

/// The product in double precision and the same with moduli.
fn exact<F: Format>(alpha: f32, a: &Owned<F>, b: &Owned<F>, add: Option<(f32, &Owned<F>)>) -> (Mat<f64>, Mat<f64>) {
    let (x, y) = (a.dense(), b.dense());
    let c = add.map(|(beta, c)| (f64::from(beta), c.dense()));
    let sum = |i: usize, j: usize, f: fn(f64) -> f64| {
        let inner: f64 = (0..a.cols).map(|k| f(x[(i, k)] * y[(j, k)])).sum();
        f(f64::from(alpha)) * inner + c.as_ref().map_or(0.0, |(beta, c)| f(beta * c[(i, j)]))
    };
    let of = |f: fn(f64) -> f64| Mat::from_fn(a.rows, b.rows, |i, j| sum(i, j, f));
    (of(|x| x), of(f64::abs))
}

/// Words that fill up panels and lines are zero: products rely on it.
fn assert_filled_up<F: Format>(x: &Owned<F>) {
    let of_panel = x.cols.div_ceil(F::COLS);
    for (at, line) in x.memory.iter().enumerate() {
        for (r, word) in line.0.iter().enumerate() {
            let (i, j) = (at / of_panel * LANES + r, at % of_panel * F::COLS);
            assert!(i < x.rows || *word == 0, "row {i} of {} x {}", x.rows, x.cols);
            let last = F::COLS - 1;
            assert!(j + last < x.cols || last == 0 || word >> 16 == 0, "column {} of {} x {}", j + 1, x.rows, x.cols);
        }
    }
}

#[test]
fn numbers_go_through_and_others_go_to_the_nearest() {
    for bits in 0..=u16::MAX {
        let x = from_bits(bits);
        if x.is_nan() {
            assert!(from_bits(to_bits(x)).is_nan());
            continue;
        }
        let subnormal = x != 0.0 && x.abs() < f32::MIN_POSITIVE;
        assert_eq!(to_bits(x), if subnormal { bits & 0x8000 } else { bits }, "{x:e}");
        let next = from_bits(bits.wrapping_add(1));
        if !next.is_finite() || subnormal || x == 0.0 {
            continue;
        }
        // Exact in double precision: the middle, and its neighbours in single precision.
        let middle = (0.5 * (f64::from(x) + f64::from(next))) as f32;
        let even = if bits % 2 == 0 { bits } else { bits + 1 };
        assert_eq!(to_bits(middle), even, "{middle:e}");
        assert_eq!(to_bits(f32::from_bits(middle.to_bits() - 1)), bits);
        assert_eq!(to_bits(f32::from_bits(middle.to_bits() + 1)), bits + 1);
    }
    assert_eq!(from_bits(to_bits(f32::MAX)), f32::INFINITY);
    assert_eq!(from_bits(to_bits(-f32::MAX)), f32::NEG_INFINITY);
    // A NaN whose payload is in the lower half only.
    assert!(from_bits(to_bits(f32::from_bits(0x7f80_0001))).is_nan());
    assert_eq!(to_bits(-1e-39), 0x8000);
}

/// One factor the identity: what is left is the multiplication with `alpha` and the rounding.
#[test]
fn results_are_rounded_as_single_numbers_are() {
    on_both_paths(|| {
        let identity = Owned::<Bf16>::of(Mat::from_fn(7, 7, |i, j| f32::from(u8::from(i == j))).as_ref());
        let mut x = normal(40, 7, 1);
        x[(3, 2)] = 2f32.powi(-126);
        x[(4, 2)] = -0.0;
        x[(39, 6)] = 2f32.powi(127);
        let x = Owned::of(x.as_ref());
        for alpha in [1.0, 1.000_061, -0.1, 3.0, 0.25] {
            let (y, _) = both(alpha, &x, &identity, None, Par::Seq);
            for i in 0..40 {
                for j in 0..7 {
                    let expected = to_bits(alpha * x.view().get(i, j));
                    let got = to_bits(y.view().get(i, j));
                    assert!(got == expected || (got | expected) & 0x7fff == 0, "{alpha} * {}", x.view().get(i, j));
                }
            }
        }
    });
}

/// Small whole numbers leave nothing to round, so each term has to be there once.
#[test]
fn whole_numbers_are_exact_at_every_size_around_a_tile() {
    on_both_paths(whole_numbers_are_exact::<Bf16>);
    on_both_paths(whole_numbers_are_exact::<Single>);
}

fn whole_numbers_are_exact<F: Format>() {
    let whole = |rows, cols, seed: u64| {
        Owned::<F>::of(Mat::from_fn(rows, cols, |i, j| ((i * 5 + j * 3 + seed as usize) % 3) as f32 - 1.0).as_ref())
    };
    for m in [1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65, 97, 113] {
        for n in [1, 7, 8, 9, 15, 16, 17, 24, 33] {
            for k in [0, 1, 2, 3, 8, 31, 64] {
                let (a, b, c) = (whole(m, k, 1), whole(n, k, 2), whole(m, n, 3));
                let (y, turned) = both(2.0, &a, &b, Some((-1.0, &c)), Par::Seq);
                let (expected, _) = exact(2.0, &a, &b, Some((-1.0, &c)));
                assert_eq!(y.dense(), expected, "{m} {n} {k}");
                assert_eq!(turned.dense().transpose().to_owned(), expected, "{m} {n} {k}");
                assert_filled_up(&y);
                assert_filled_up(&turned);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// One rounding to 8 bits, and single precision for the sum: what the first result lacks comes out of a second product that
    /// subtracts it, so the sum is seen to 16 bits.
    #[test]
    fn sums_are_those_of_single_precision(
        m in 1_usize..70, n in 1_usize..40, k in 1_usize..300, seed in 0_u64..1000, alpha in -3.0_f32..3.0, beta in -5.0_f32..5.0,
    ) {
        on_both_paths(|| {
            let (a, b, c) = (random::<Bf16>(m, k, seed), random(n, k, seed + 1), random(m, n, seed + 2));
            let (first, _) = both(alpha, &a, &b, Some((beta, &c)), Par::Seq);
            let (expected, moduli) = exact(alpha, &a, &b, Some((beta, &c)));
            let (sum, _) = both(alpha, &a, &b, None, Par::Seq);
            let (rest, _) = both(alpha, &a, &b, Some((-1.0, &sum)), Par::Seq);
            let (product, inner) = exact(alpha, &a, &b, None);
            // Every term is added once, and the last three operations are products with the scalars and their sum; each is
            // off by half a unit of a partial sum, which the moduli bound.
            let terms = (k + 4) as f64 * f64::from(f32::EPSILON);
            for i in 0..m {
                for j in 0..n {
                    let d = (first.dense()[(i, j)] - expected[(i, j)]).abs();
                    let bound = terms * moduli[(i, j)];
                    assert!(d <= bound + 2f64.powi(-8) * (expected[(i, j)].abs() + bound), "{i} {j}: {d:e}");
                    let both = sum.dense()[(i, j)] + rest.dense()[(i, j)];
                    // The difference is at most 2^-8 of the sum, and loses 2^-8 of that.
                    let bound = terms * (inner[(i, j)] + product[(i, j)].abs());
                    let d = (both - product[(i, j)]).abs();
                    assert!(d <= bound + 2f64.powi(-16) * (product[(i, j)].abs() + bound), "{i} {j}: {d:e}");
                }
            }
        });
    }

    /// The form for symmetric results has the bits of the full product, on both sides of the diagonal.
    #[test]
    fn symmetric_products_have_the_bits_of_full_ones(n in 1_usize..150, k in 1_usize..80, seed in 0_u64..1000) {
        on_both_paths(|| symmetric_products_have_the_bits::<Bf16>(n, k, seed));
        on_both_paths(|| symmetric_products_have_the_bits::<Single>(n, k, seed));
    }
}

fn symmetric_products_have_the_bits<F: Format>(n: usize, k: usize, seed: u64) {
    let a = random::<F>(n, k, seed);
    let mut gram = Owned::new(n, n);
    symmetric_product(gram.to(), 1.0, a.view(), a.view(), None, Par::Seq);
    assert_filled_up(&gram);
    let (full, _) = both(1.0, &a, &a, None, Par::Seq);
    assert_eq!(gram.memory, full.memory);
    let mut square = Owned::new(n, n);
    symmetric_product(square.to(), 2.0315, gram.view(), gram.view(), Some((-4.775, gram.view())), Par::Seq);
    let (full, turned) = both(2.0315, &gram, &gram, Some((-4.775, &gram)), Par::Seq);
    assert_eq!(square.memory, full.memory);
    assert_eq!(square.memory, turned.memory);
}

#[test]
fn threads_change_no_bit() {
    on_both_paths(threads_change_nothing::<Bf16>);
    on_both_paths(threads_change_nothing::<Single>);
}

fn threads_change_nothing<F: Format>() {
    // Beyond the size from which threads are used, and more than one block of rows.
    let (a, b, c) = (random::<F>(203, 1502, 1), random(180, 1502, 2), random(203, 180, 3));
    let run = |par: Par| {
        let (x, y) = both(1.5, &a, &b, Some((0.5, &c)), par);
        let mut s = Owned::new(203, 203);
        symmetric_product(s.to(), 1.0, a.view(), a.view(), None, par);
        (x.memory, y.memory, s.memory)
    };
    let alone = run(Par::Seq);
    for threads in [2, 3, 5] {
        assert!(run(Par::rayon(threads)) == alone, "{threads} threads");
    }
}

#[test]
fn numbers_that_are_not_finite_stay_in_their_rows_and_columns() {
    on_both_paths(numbers_stay_where_they_are::<Bf16>);
    on_both_paths(numbers_stay_where_they_are::<Single>);
}

fn numbers_stay_where_they_are<F: Format>() {
    for (bad, n) in [(f32::NAN, 17), (f32::INFINITY, 17), (f32::NEG_INFINITY, 24)] {
        let mut x = normal(35, 5, 1);
        x[(20, 3)] = bad;
        let (a, b) = (Owned::<F>::of(x.as_ref()), random(n, 5, 2));
        let (y, turned) = both(1.0, &a, &b, None, Par::Seq);
        for i in 0..35 {
            for j in 0..n {
                let (u, v) = (y.view().get(i, j), bad * b.view().get(j, 3));
                assert_eq!(u.is_finite(), i != 20, "{i} {j}: {u}");
                assert!(i != 20 || (u.is_nan() && v.is_nan()) || u == v, "{i} {j}: {u} for {v}");
            }
        }
        assert_filled_up(&y);
        assert_filled_up(&turned);
        // From the other side the panels are filled up beside what is not finite.
        let (y, turned) = both(1.0, &b, &a, None, Par::Seq);
        assert_filled_up(&y);
        assert_filled_up(&turned);
    }
}

#[test]
fn both_paths_agree_within_the_error_of_their_sums() {
    let (a, b) = (random::<Bf16>(70, 500, 1), random(40, 500, 2));
    let (here, _) = both(1.0, &a, &b, None, Par::Seq);
    forced::PORTABLE.set(true);
    let (plain, _) = both(1.0, &a, &b, None, Par::Seq);
    forced::PORTABLE.set(false);
    let (_, moduli) = exact(1.0, &a, &b, None);
    let mut apart = 0;
    for i in 0..70 {
        for j in 0..40 {
            let (x, y) = (f64::from(here.view().get(i, j)), f64::from(plain.view().get(i, j)));
            // A unit where a sum is close to the middle between two numbers.
            let bound = 2.0 * 504.0 * f64::from(f32::EPSILON) * moduli[(i, j)] + 2f64.powi(-7) * x.abs();
            assert!((x - y).abs() <= bound, "{x} {y}");
            apart += usize::from(x != y);
        }
    }
    assert!(apart < 70 * 40 / 20, "{apart} entries differ");
}

#[test]
fn packing_takes_every_layout_and_unpacking_gives_back_what_was_packed() {
    for (m, n) in [(1, 1), (3, 40), (16, 32), (17, 33), (40, 65), (50, 3)] {
        let a = normal(m, n, 7);
        let rounded = Mat::from_fn(m, n, |i, j| from_bits(to_bits(0.3 * a[(i, j)])));
        let by_rows: Vec<f32> = (0..m * n).map(|at| a[(at / n, at % n)]).collect();
        let strided = Mat::from_fn(2 * m, 2 * n, |i, j| if i % 2 + j % 2 == 0 { a[(i / 2, j / 2)] } else { f32::NAN });
        // SAFETY: every second row and column of an owned matrix.
        let strided = unsafe {
            MatRef::from_raw_parts(strided.as_ptr(), m, n, 2 * strided.row_stride(), 2 * strided.col_stride())
        };
        let mut first = None;
        for a in [a.as_ref(), MatRef::from_row_major_slice(&by_rows, m, n), strided] {
            let mut x = Owned::<Bf16>::new(m, n);
            x.to().pack(a, 0.3);
            assert_filled_up(&x);
            let mut columns = Mat::from_fn(m, n, |_, _| f32::NAN);
            x.view().unpack(columns.as_mut(), 1.0);
            assert_eq!(columns, rounded, "{m} x {n}");
            let mut rows = Mat::from_fn(n, m, |_, _| f32::NAN);
            x.view().unpack(rows.as_mut().transpose_mut(), 2.0);
            assert_eq!(rows, Mat::from_fn(n, m, |i, j| 2.0 * rounded[(j, i)]), "{m} x {n}");
            assert_eq!(first.get_or_insert(x.memory.clone()), &x.memory);
        }
        let double = Mat::from_fn(m, n, |i, j| f64::from(a[(i, j)]));
        let mut x = Owned::<Bf16>::new(m, n);
        x.to().pack(double.as_ref(), 1.0);
        let mut back = Mat::zeros(m, n);
        x.view().unpack(back.as_mut(), 1.0_f64);
        assert_eq!(back, Mat::from_fn(m, n, |i, j| f64::from(from_bits(to_bits(a[(i, j)])))));
    }
}

#[test]
fn memory_of_scalars_holds_the_lines_that_it_is_asked_for() {
    let mut memory = vec![0.0_f32; room::<f32>(5) + 16];
    for start in 0..16 {
        let end = start + room::<f32>(5);
        let found = carve(&mut memory[start..end]);
        assert!(found.len() >= 5);
        found.fill(Line([u32::MAX; LANES]));
    }
    let mut memory = vec![0.0_f64; room::<f64>(3) + 8];
    for start in 0..8 {
        let end = start + room::<f64>(3);
        assert!(carve(&mut memory[start..end]).len() >= 3);
    }
    assert!(carve::<f64>(&mut []).is_empty());
}

#[test]
fn wrong_shapes_are_named() {
    let message = |f: &(dyn Fn() + std::panic::RefUnwindSafe)| -> String {
        let error = std::panic::catch_unwind(f).unwrap_err();
        error.downcast_ref::<String>().cloned().or(error.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap()
    };
    let text = message(&|| drop(both(1.0, &random::<Bf16>(3, 4, 1), &random(3, 5, 1), None, Par::Seq)));
    assert!(text.contains("inner dimensions"), "{text}");
    let text = message(&|| {
        drop(both(1.0, &random::<Bf16>(3, 4, 1), &random(2, 4, 1), Some((1.0, &random(2, 3, 1))), Par::Seq))
    });
    assert!(text.contains("added matrix"), "{text}");
    let text = message(&|| assert_eq!(PanelsMut::<Bf16>::new(&mut [Line::ZERO; 2], 3, 6).view().rows(), 3));
    assert!(text.contains("3 lines"), "{text}");
    let text = message(&|| {
        let (a, mut out) = (random::<Bf16>(3, 4, 1), Owned::new(3, 2));
        product(Out { by_rows: Some(out.to()), by_columns: None }, 1.0, a.view(), a.view(), None, Par::Seq);
    });
    assert!(text.contains("shape of the result"), "{text}");
}

/// Sums of single-precision numbers are not rounded a second time, and packing is exact.
#[test]
fn single_precision_is_kept() {
    on_both_paths(|| {
        for (m, n, k) in [(1, 1, 1), (17, 9, 33), (50, 40, 300), (97, 24, 700)] {
            let (a, b, c) = (random::<Single>(m, k, 1), random(n, k, 2), random(m, n, 3));
            let given = normal(m, k, 1);
            assert_eq!(a.dense(), Mat::from_fn(m, k, |i, j| f64::from(given[(i, j)])));
            let (y, turned) = both(-1.5, &a, &b, Some((0.3, &c)), Par::Seq);
            let (expected, moduli) = exact(-1.5, &a, &b, Some((0.3, &c)));
            let got = y.dense();
            let terms = (k + 4) as f64 * f64::from(f32::EPSILON);
            for i in 0..m {
                for j in 0..n {
                    let d = (got[(i, j)] - expected[(i, j)]).abs();
                    assert!(d <= terms * moduli[(i, j)], "{i} {j}: {d:e}");
                    assert_eq!(y.view().get(i, j), turned.view().get(j, i));
                }
            }
            let mut back = Mat::from_fn(m, n, |_, _| f32::NAN);
            y.view().unpack(back.as_mut(), 2.0);
            assert_eq!(back, Mat::from_fn(m, n, |i, j| 2.0 * y.view().get(i, j)));
        }
    });
}
