//! Every operator against a dense matrix that is built without operators.

use linop_core::ops::*;
use linop_core::testing::{check_operator, fixed_mat};
use linop_core::{Error, LinearOperator, Op, Props};
use numerics::{Mat, MatRef, Par, Scalar};

fn op<T: Scalar>(m: usize, n: usize, seed: u64) -> (Op<T>, Mat<T>) {
    let a = fixed_mat::<T>(m, n, seed);
    (Op::new(Dense::new(a.clone())), a)
}

fn mul<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), b.ncols(), |i, j| (0..a.ncols()).map(|l| a[(i, l)] * b[(l, j)]).sum())
}

fn t<T: Scalar>(a: &Mat<T>) -> Mat<T> {
    a.transpose().to_owned()
}

fn kron<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    let (p, q) = (b.nrows(), b.ncols());
    Mat::from_fn(a.nrows() * p, a.ncols() * q, |i, j| a[(i / p, j / q)] * b[(i % p, j % q)])
}

fn eye<T: Scalar>(n: usize) -> Mat<T> {
    Mat::from_fn(n, n, |i, j| if i == j { T::ONE } else { T::ZERO })
}

fn diag<T: Scalar>(d: &[T]) -> Mat<T> {
    Mat::from_fn(d.len(), d.len(), |i, j| if i == j { d[i] } else { T::ZERO })
}

fn add<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] + b[(i, j)])
}

fn check<T: Scalar>(op: &dyn LinearOperator<T>, dense: &Mat<T>) {
    check_operator(op, dense.as_ref(), 16.0 * T::EPS.to_f64());
}

fn leaves<T: Scalar>() {
    for (m, n) in [(0, 0), (0, 3), (3, 0), (1, 1), (4, 4), (5, 3), (3, 40)] {
        let (a, d) = op::<T>(m, n, 1);
        check(&a, &d);
        check(&a.clone(), &d);
        check(&Transposed::new(a.clone()), &t(&d));
        check(&Zero::<T>::new(m, n), &Mat::zeros(m, n));
        check(&Scaled::new(T::from_f64(-2.5), a), &Mat::from_fn(m, n, |i, j| T::from_f64(-2.5) * d[(i, j)]));
    }
    for n in [0, 1, 5] {
        for c in [1.0, 0.0, -2.0] {
            let c = T::from_f64(c);
            check(&ScalarIdentity::new(c, n), &diag(&vec![c; n]));
        }
        let d: Vec<T> = (0..n).map(|i| T::from_f64(i as f64 - 1.5)).collect();
        check(&Diagonal::new(d.clone()), &diag(&d));
        let (a, m) = op::<T>(n, n, 3);
        check(&Shifted::new(a, T::from_f64(0.5)).unwrap(), &add(&m, &diag(&vec![T::from_f64(0.5); n])));
        let sym = Mat::from_fn(n, n, |i, j| m[(i.max(j), i.min(j))]);
        check(&Dense::symmetric(m.clone()).unwrap(), &sym);
        let low = Mat::from_fn(n, n, |i, j| if i >= j { m[(i, j)] } else { T::ZERO });
        check(&Triangular::lower(m.clone()).unwrap(), &low);
        check(
            &Triangular::upper(m.clone()).unwrap(),
            &Mat::from_fn(n, n, |i, j| if i <= j { m[(i, j)] } else { T::ZERO }),
        );
    }
}

#[test]
fn leaves_match_dense() {
    leaves::<f64>();
    leaves::<f32>();
}

#[test]
fn index_operators_match_dense() {
    let p = Permutation::<f64>::new(vec![2, 0, 3, 1]).unwrap();
    let d = Mat::from_fn(4, 4, |i, j| f64::from(u8::from([2, 0, 3, 1][i] == j)));
    check(&p, &d);
    assert_eq!(p.sign(), -1.0);
    check(&Permutation::<f64>::new(vec![1, 0]).unwrap(), &Mat::from_fn(2, 2, |i, j| f64::from(u8::from(i != j))));
    let s = Selection::<f32>::new(vec![3, 0], 5).unwrap();
    check(&s, &Mat::from_fn(2, 5, |i, j| if [3, 0][i] == j { 1.0 } else { 0.0 }));
    let (a, m) = op::<f64>(6, 5, 8);
    let sub = Submatrix::new(a, vec![4, 0, 2], vec![1, 3]).unwrap();
    check(&sub, &Mat::from_fn(3, 2, |i, j| m[([4, 0, 2][i], [1, 3][j])]));
    let repeated = Selection::<f64>::new(vec![1, 1], 3);
    assert!(matches!(repeated, Err(Error::InvalidIndex { index: 1, why: "repeated", .. })));
    assert!(matches!(Permutation::<f64>::new(vec![0, 2]), Err(Error::InvalidIndex { index: 2, .. })));
}

fn composites<T: Scalar>() {
    let (a, da) = op::<T>(4, 3, 1);
    let (b, db) = op::<T>(3, 5, 2);
    let (c, dc) = op::<T>(5, 4, 3);
    let (e, de) = op::<T>(4, 3, 4);
    check(&Sum::new(vec![a.clone(), e.clone()]).unwrap(), &add(&da, &de));
    check(&Chain::new(vec![a.clone(), b.clone(), c.clone()]).unwrap(), &mul(&mul(&da, &db), &dc));
    check(&Chain::new(vec![a.clone()]).unwrap(), &da);
    let bd = BlockDiag::new(vec![a.clone(), b.clone(), b.clone()]).unwrap();
    let dbd = Mat::from_fn(10, 13, |i, j| match (i, j) {
        (0..4, 0..3) => da[(i, j)],
        (4..7, 3..8) => db[(i - 4, j - 3)],
        (7..10, 8..13) => db[(i - 7, j - 8)],
        _ => T::ZERO,
    });
    check(&bd, &dbd);
    let grid =
        Block::new(vec![4, 3], vec![3, 5], vec![vec![Some(a.clone()), None], vec![None, Some(b.clone())]]).unwrap();
    check(&grid, &Mat::from_fn(7, 8, |i, j| dbd[(i, j)]));
    let (s, ds) = op::<T>(4, 4, 9);
    check(&Congruence::new(a.clone(), s).unwrap(), &mul(&t(&da), &mul(&ds, &da)));
    check(&Gram::inner(a.clone()), &mul(&t(&da), &da));
    check(&Gram::outer(a.clone()), &mul(&da, &t(&da)));
    let (u, core, v) = (fixed_mat::<T>(6, 2, 1), fixed_mat::<T>(2, 2, 2), fixed_mat::<T>(6, 2, 3));
    let low = LowRank::new(u.clone(), Some(core.clone()), Some(v.clone())).unwrap();
    let dlow = mul(&mul(&u, &core), &t(&v));
    check(&low, &dlow);
    check(&LowRank::gram(u.clone()), &mul(&u, &t(&u)));
    let d: Vec<T> = (0..6).map(|i| T::from_f64(1.0 + i as f64)).collect();
    check(&LowRankPlusDiag::new(d.clone(), low.clone()).unwrap(), &add(&dlow, &diag(&d)));
    let (base, dbase) = op::<T>(6, 6, 5);
    check(&LowRankUpdate::new(base, low).unwrap(), &add(&dbase, &dlow));
}

fn entrywise<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] * b[(i, j)])
}

fn token_sums_and_entrywise_products<T: Scalar>() {
    for (tokens, d, h) in [(5, 3, 2), (1, 4, 1), (7, 1, 3), (0, 2, 2), (3, 0, 2)] {
        let (x, cores) = (fixed_mat::<T>(tokens, d, 3), fixed_mat::<T>(h, h * tokens, 4));
        let (mut left, mut right) = (Mat::zeros(d * h, d * h), Mat::zeros(d * h, d * h));
        for i in 0..tokens {
            let outer = Mat::from_fn(d, d, |a, b| x[(i, a)] * x[(i, b)]);
            let core = Mat::from_fn(h, h, |a, b| cores[(a, h * i + b)]);
            left = add(&left, &kron(&outer, &core));
            right = add(&right, &kron(&core, &outer));
        }
        check(&TokenKronSum::new(x.clone(), cores.clone()).unwrap(), &left);
        let mirrored = Op::new(TokenKronSum::mirrored(x, cores).unwrap());
        check(&mirrored, &right);
        let squares: T = (0..d * h).flat_map(|j| (0..d * h).map(move |i| (i, j))).map(|p| right[p] * right[p]).sum();
        let got = mirrored.frobenius_sq(Par::Seq).unwrap();
        assert!((got - squares).to_f64().abs() <= 100.0 * T::EPS.to_f64() * (1.0 + squares.to_f64()));
    }
    assert!(matches!(TokenKronSum::new(Mat::<T>::zeros(2, 3), Mat::zeros(2, 3)), Err(Error::ShapeMismatch { .. })));
    let (u, c, v) = (fixed_mat::<T>(5, 2, 1), fixed_mat::<T>(2, 2, 2), fixed_mat::<T>(4, 2, 3));
    let low = LowRank::new(u.clone(), Some(c.clone()), Some(v.clone())).unwrap();
    let dlow = mul(&mul(&u, &c), &t(&v));
    let (a, da) = op::<T>(5, 4, 6);
    check(&Hadamard::new(low.clone(), a.clone()).unwrap(), &entrywise(&dlow, &da));
    check(&Op::new(low.clone()).hadamard(&a).unwrap(), &entrywise(&dlow, &da));
    check(
        &a.scaled(T::from_f64(-2.0)).hadamard(&Op::new(low.clone())).unwrap().scaled(T::from_f64(-0.5)),
        &entrywise(&dlow, &da),
    );
    let sum = Op::new(Sum::new(vec![a.clone(), Op::new(low.clone())]).unwrap());
    check(&sum.hadamard(&Op::new(low.clone())).unwrap(), &entrywise(&add(&da, &dlow), &dlow));
    assert!(matches!(Hadamard::new(low, Op::identity(5)), Err(Error::ShapeMismatch { .. })));
    let (b, db) = op::<T>(4, 4, 7);
    let d: Vec<T> = (0..4).map(|i| T::from_f64(i as f64 - 1.0)).collect();
    let plus = LowRankPlusDiag::new(d.clone(), LowRank::gram(v.clone())).unwrap();
    let dplus = add(&diag(&d), &mul(&v, &t(&v)));
    check(&b.hadamard(&Op::new(plus)).unwrap(), &entrywise(&db, &dplus));
    // Blocks that repeat more often than there are columns are multiplied side by side.
    let (tall, dtall) = op::<T>(3, 2, 9);
    let bd = BlockDiag::repeated(vec![(tall, 7), (b, 1)]).unwrap();
    let dbd = Mat::from_fn(25, 18, |i, j| match (i, j) {
        (0..21, 0..14) if i / 3 == j / 2 => dtall[(i % 3, j % 2)],
        (21.., 14..) => db[(i - 21, j - 14)],
        _ => T::ZERO,
    });
    check(&bd, &dbd);
}

#[test]
fn token_sums_and_entrywise_products_match_dense() {
    token_sums_and_entrywise_products::<f64>();
    token_sums_and_entrywise_products::<f32>();
}

#[test]
fn composites_match_dense() {
    composites::<f64>();
    composites::<f32>();
}

fn kroneckers<T: Scalar>() {
    let shapes: [&[(usize, usize)]; 7] = [
        &[(3, 2)],
        &[(3, 2), (2, 4)],
        &[(2, 3), (3, 1), (2, 2)],
        &[(1, 2), (40, 3), (2, 1)],
        &[(2, 2), (3, 35)],
        &[(2, 1), (1, 3), (2, 2), (3, 2)],
        &[(2, 0), (3, 3)],
    ];
    for s in shapes {
        let parts: Vec<_> = s.iter().enumerate().map(|(i, &(m, n))| op::<T>(m, n, 20 + i as u64)).collect();
        let dense = parts[1..].iter().fold(parts[0].1.clone(), |d, (_, m)| kron(&d, m));
        check(&Kronecker::new(parts.into_iter().map(|p| p.0).collect()).unwrap(), &dense);
    }
    let (a, da) = op::<T>(3, 3, 1);
    let (b, db) = op::<T>(4, 4, 2);
    check(&KroneckerSum::new(a, b).unwrap(), &add(&kron(&da, &eye(4)), &kron(&eye(3), &db)));
}

#[test]
fn kroneckers_match_dense() {
    kroneckers::<f64>();
    kroneckers::<f32>();
}

fn spd<T: Scalar>(n: usize, seed: u64) -> Mat<T> {
    let x = fixed_mat::<T>(n, n, seed);
    add(&mul(&x, &t(&x)), &eye(n))
}

fn close<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, tol: f64) {
    let d = linop_core::testing::max_diff(a, b);
    assert!(d <= tol, "off by {d:e}");
}

#[test]
fn eigh_and_inverses_match_dense() {
    let a = spd::<f64>(5, 3);
    let e = numerics::dense::eigh(a.as_ref()).unwrap();
    let q = Op::new(Orthogonal::new(Op::new(Dense::new(e.vectors))).unwrap());
    let spectral = Eigh::new(q, e.values).unwrap();
    assert!(spectral.props().contains(Props::PD));
    check_operator(&spectral, a.as_ref(), 1e-14);
    let (general, _) = op::<f64>(5, 5, 1);
    assert!(matches!(Eigh::new(general.clone(), vec![1.0; 5]), Err(Error::MissingProperty { .. })));
    for props in [Props::PD, Props::SELF_ADJOINT, Props::NONE] {
        let operand = Op::new(Dense::with_props(a.clone(), props));
        let inverse = Factored::new(operand, a.as_ref(), Par::Seq).unwrap();
        let d = Op::new(inverse.clone()).to_dense(Par::Seq).unwrap();
        close(mul(&d, &a).as_ref(), eye(5).as_ref(), 1e-11);
        check_operator(&inverse, d.as_ref(), 1e-12);
    }
    let g = fixed_mat::<f64>(5, 5, 77);
    let inverse = Op::new(Factored::new(Op::new(Dense::new(g.clone())), g.as_ref(), Par::Seq).unwrap());
    close(mul(&inverse.to_dense(Par::Seq).unwrap(), &g).as_ref(), eye(5).as_ref(), 1e-11);
    for lower in [true, false] {
        let m = add(&fixed_mat::<f64>(5, 5, 4), &Mat::from_fn(5, 5, |i, j| if i == j { 3.0 } else { 0.0 }));
        let tri = if lower { Triangular::lower(m).unwrap() } else { Triangular::upper(m).unwrap() };
        let stored = tri.mat().to_owned();
        let inverse = Op::new(TriangularInverse::new(tri).unwrap());
        let d = inverse.to_dense(Par::Seq).unwrap();
        close(mul(&d, &stored).as_ref(), eye(5).as_ref(), 1e-13);
        check_operator(&inverse, d.as_ref(), 1e-13);
    }
}

#[test]
fn closures_and_wrappers() {
    let a = fixed_mat::<f64>(4, 3, 1);
    let product = |a: Mat<f64>| {
        move |mut out: numerics::MatMut<'_, f64>, x: MatRef<'_, f64>| {
            numerics::dense::gemm(out.as_mut(), 1.0, a.as_ref(), x, 0.0, Par::Seq);
            Ok(())
        }
    };
    let closure = ClosureOp::new(4, 3, product(a.clone()));
    check(&closure, &a);
    let both = Op::new(closure.with_transpose(product(t(&a))));
    check(&both, &a);
    let (counted, counts) = both.counted();
    check(&counted, &a);
    assert!(counts.products() > 4 && counts.transposed_products() > 4 && counts.columns() > counts.products());
    let failing = ClosureOp::<f64>::new(2, 2, |_, _| Err("no data".into()));
    assert_eq!(
        Op::new(failing).to_dense(Par::Seq).unwrap_err(),
        Error::Operator { op: "ClosureOp", what: "no data".into() }
    );
}

#[test]
fn assumptions_are_probed_in_debug_builds() {
    let (a, _) = op::<f64>(6, 6, 5);
    let claimed = a.assume(Props::SELF_ADJOINT);
    let result = claimed.to_dense(Par::Seq);
    if cfg!(debug_assertions) {
        assert!(matches!(result, Err(Error::FalseAssumption { property: "SELF_ADJOINT", .. })));
    }
    let s = spd::<f32>(6, 1);
    let fine = Op::new(Dense::new(s.clone())).assume(Props::PD);
    check(&fine, &s);
    // What is said when a matrix or a function is handed over is probed as well.
    let shift = ClosureOp::<f64>::new(3, 3, |mut out, x| {
        for j in 0..x.ncols() {
            for i in 0..3 {
                out[(i, j)] = x[((i + 1) % 3, j)];
            }
        }
        Ok(())
    });
    let claimed = Op::new(shift.with_props(Props::SELF_ADJOINT)).to_dense(Par::Seq);
    assert_eq!(claimed.is_err(), cfg!(debug_assertions));
    let minus = Mat::from_fn(3, 3, |i, j| if i == j { -1.0f64 } else { 0.0 });
    let claimed = Op::new(Dense::with_props(minus, Props::PSD)).to_dense(Par::Seq);
    assert_eq!(claimed.is_err(), cfg!(debug_assertions));
    let negative = Op::new(ScalarIdentity::new(-1.0f64, 3)).assume(Props::PSD);
    assert_eq!(negative.to_dense(Par::Seq).is_err(), cfg!(debug_assertions));
}

/// Flops of a Kronecker product applied to one column in the best order of its modes, by trying all.
fn fewest_flops(shapes: &[(usize, usize)], sizes: &mut Vec<usize>, left: usize) -> f64 {
    if left == 0 {
        return 0.0;
    }
    let mut best = f64::INFINITY;
    for i in (0..shapes.len()).filter(|i| left >> i & 1 == 1) {
        let (m, n) = shapes[i];
        let others: usize = (0..shapes.len()).filter(|&j| j != i).map(|j| sizes[j]).product();
        sizes[i] = m;
        best = best.min(2.0 * (m * n * others) as f64 + fewest_flops(shapes, sizes, left & !(1 << i)));
        sizes[i] = n;
    }
    best
}

#[test]
fn kronecker_products_are_applied_in_the_cheapest_order() {
    let mut numbers = numerics::rng::Stream::new(3, numerics::rng::Role::SyntheticMatrix, 0, 0);
    for _ in 0..200 {
        let count = 2 + numbers.next_u64() as usize % 4;
        let size = |s: &mut numerics::rng::Stream| 1 + s.next_u64() as usize % 6;
        let shapes: Vec<(usize, usize)> = (0..count).map(|_| (size(&mut numbers), size(&mut numbers))).collect();
        let factors = shapes.iter().map(|&(m, n)| op::<f64>(m, n, 1).0).collect();
        let kron = Kronecker::new(factors).unwrap();
        let mut sizes = shapes.iter().map(|s| s.1).collect();
        assert_eq!(kron.cost(1).flops, fewest_flops(&shapes, &mut sizes, (1 << count) - 1), "{shapes:?}");
    }
}

/// A wide operator is made dense by its transpose: 3 products of the 40 that its columns would take.
#[test]
fn dense_copies_take_the_shorter_side() {
    for (m, n, transposed) in [(3, 40, true), (3, 24, false), (40, 3, false)] {
        let (a, d) = op::<f64>(m, n, 1);
        let (counted, counts) = a.counted();
        close(counted.to_dense(Par::Seq).unwrap().as_ref(), d.as_ref(), 0.0);
        assert_eq!(
            (counts.transposed_products() > 0, counts.columns()),
            (transposed, m.min(n).max(usize::from(!transposed) * n) as u64)
        );
    }
}

/// Operators are shared by threads, each with scratch of its own; iterative inverses keep their reports behind a lock.
#[test]
fn products_in_several_threads_at_once() {
    let pd = Op::new(Dense::with_props(spd::<f64>(20, 3), Props::PD));
    let (a, b) = (op::<f64>(5, 5, 1).0, op::<f64>(4, 4, 2).0);
    let cg = linop_core::krylov::IterativeInverse::new(pd.clone(), linop_core::krylov::Method::Cg).unwrap();
    let low = LowRank::gram(fixed_mat::<f64>(20, 2, 6));
    let closure = ClosureOp::new(20, 20, |mut out, x| {
        (0..x.ncols()).for_each(|j| (0..20).for_each(|i| out[(i, j)] = 2.0 * x[(i, j)]));
        Ok(())
    });
    let ops = [
        a.kron(&b).unwrap(),
        pd.inverse(Par::Seq).unwrap(),
        Op::new(cg),
        pd.shifted(0.5).unwrap(),
        Op::new(low).plus(&pd).unwrap(),
        Op::new(closure.with_props(Props::PD)),
        pd.counted().0,
    ];
    let x = fixed_mat::<f64>(20, 3, 9);
    for op in &ops {
        let once = op.times_mat(x.as_ref(), Par::Seq).unwrap();
        std::thread::scope(|s| {
            let runs: Vec<_> = (0..4)
                .map(|_| s.spawn(|| (0..8).all(|_| op.times_mat(x.as_ref(), Par::Seq).unwrap() == once)))
                .collect();
            assert!(runs.into_iter().all(|r| r.join().unwrap()), "{op:?}");
        });
    }
}

/// One column alone has the bits that it has in a block, for any number of threads.
#[test]
fn products_do_not_depend_on_threads_or_width() {
    let (a, _) = op::<f64>(60, 50, 1);
    let (b, _) = op::<f64>(45, 70, 2);
    let (c, _) = op::<f64>(50, 60, 3);
    let ops = [
        a.kron(&b).unwrap(),
        (&a * &c).unwrap(),
        Op::new(Gram::inner(b.clone())),
        linop_core::algebra::block_diag(&[a.clone(), b, c]).unwrap(),
        Op::new(BlockDiag::repeated(vec![(op::<f64>(30, 20, 4).0, 3)]).unwrap()),
        Op::new(TokenKronSum::new(fixed_mat(40, 30, 5), fixed_mat(3, 120, 6)).unwrap()),
        Op::new(Hadamard::new(LowRank::gram(fixed_mat(60, 3, 7)), Op::dense(fixed_mat(60, 60, 8))).unwrap()),
    ];
    for op in &ops {
        let x = fixed_mat::<f64>(op.ncols(), 4, 9);
        let run = |x: MatRef<'_, f64>, par: Par| {
            let mut out = Mat::zeros(op.nrows(), x.ncols());
            let mut buffer = numerics::MemBuffer::new(op.apply_req(x.ncols(), par));
            let stack = numerics::MemStack::new(&mut buffer);
            op.apply(out.as_mut(), 1.0, x, 0.0, par, stack).unwrap();
            out
        };
        let block = run(x.as_ref(), Par::Seq);
        assert_eq!(block, run(x.as_ref(), Par::rayon(2)));
        for j in 0..4 {
            assert_eq!(run(x.as_ref().subcols(j, 1), Par::rayon(2)).as_ref(), block.as_ref().subcols(j, 1));
        }
    }
}
