//! Products do not allocate, counted by an allocator of this thread's requests; the iterative inverses included.
use linop_core::bridge::{AsFaer, FromFaer};
use linop_core::krylov::{Alpha, IterativeInverse, Method};
use linop_core::ops::*;
use linop_core::testing::fixed_mat;
use linop_core::{LinearOperator, Op, Props, algebra};
use numerics::{Mat, MemBuffer, MemStack, Par, Scalar};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every request goes unchanged to the system's allocator; counting touches only a constant-initialised
// thread-local cell, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's layout, as given.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System.alloc` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(f: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}

const N: usize = 12;

fn general<T: Scalar>(m: usize, n: usize, seed: u64) -> Op<T> {
    Op::dense(fixed_mat(m, n, seed))
}

fn definite<T: Scalar>(n: usize) -> Op<T> {
    let a = Mat::from_fn(n, n, |i, j| T::from_f64(1.0 / (1.0 + i.abs_diff(j) as f64) + if i == j { 1.0 } else { 0.0 }));
    Op::new(Dense::with_props(a, Props::PD))
}

/// One of every operator, with its name.
fn zoo<T: Scalar>() -> Vec<(&'static str, Op<T>)> {
    let t = T::from_f64;
    let (a, b, pd) = (general::<T>(N, N, 1), general::<T>(N, N, 2), definite::<T>(N));
    let (rows, cols): (Vec<usize>, Vec<usize>) = ((0..N / 2).rev().collect(), (0..N).step_by(2).collect());
    let d = || (0..N).map(|i| t(1.0 + i as f64)).collect::<Vec<T>>();
    let low = LowRank::new(fixed_mat(N, 2, 3), Some(fixed_mat(2, 2, 4)), Some(fixed_mat(N, 2, 5))).unwrap();
    let gram = LowRank::gram(fixed_mat::<T>(N, 2, 6));
    let e = numerics::dense::eigh(pd.to_dense(Par::Seq).unwrap().as_ref()).unwrap();
    let q = Op::new(Dense::with_props(e.vectors, Props::ORTHOGONAL));
    let lower = Triangular::lower(fixed_mat::<T>(N, N, 7)).unwrap();
    let (small, wide) = (general::<T>(3, 4, 8), general::<T>(40, 5, 9));
    let closure = ClosureOp::new(N, N, |mut out, x| {
        for j in 0..x.ncols() {
            for i in 0..N {
                out[(i, j)] = x[(N - 1 - i, j)];
            }
        }
        Ok(())
    });
    let faer = FromFaer::new(AsFaer::new(Box::leak(Box::new(a.clone()))), Props::NONE);
    let mut all = vec![
        ("Dense", a.clone()),
        ("ScalarIdentity", Op::new(ScalarIdentity::new(t(2.0), N))),
        ("Zero", Op::zero(N, N)),
        ("Diagonal", Op::diag(d())),
        ("Permutation", Op::new(Permutation::new((0..N).rev().collect()).unwrap())),
        ("Selection", Op::new(Selection::new(rows.clone(), N).unwrap())),
        ("Triangular", Op::new(lower.clone())),
        ("TriangularInverse", Op::new(TriangularInverse::new(lower).unwrap())),
        ("Factored llt", pd.inverse(Par::Seq).unwrap()),
        ("Factored lblt", pd.shifted(t(-1.5)).unwrap().inverse(Par::Seq).unwrap()),
        ("Factored lu", a.inverse(Par::Seq).unwrap()),
        ("Orthogonal", Op::new(Orthogonal::new(q.clone()).unwrap())),
        ("Sum", Op::new(Sum::new(vec![a.clone(), b.clone()]).unwrap())),
        ("Scaled", Op::new(Scaled::new(t(3.0), a.clone()))),
        ("Shifted", Op::new(Shifted::new(a.clone(), t(3.0)).unwrap())),
        ("Chain", Op::new(Chain::new(vec![a.clone(), b.clone(), a.clone()]).unwrap())),
        ("Transposed", Op::new(Transposed::new(a.clone()))),
        ("Kronecker", algebra::kron(&[small.clone(), wide.clone(), small]).unwrap()),
        ("KroneckerSum", definite::<T>(3).kron_sum(&definite(4)).unwrap()),
        ("BlockDiag", Op::new(BlockDiag::repeated(vec![(general(3, 2, 1), 9), (wide, 1)]).unwrap())),
        ("Block", Op::new(Block::new(vec![N], vec![N, N], vec![vec![Some(a.clone()), Some(b.clone())]]).unwrap())),
        ("LowRank", Op::new(low.clone())),
        ("LowRankPlusDiag", Op::new(LowRankPlusDiag::new(d(), low.clone()).unwrap())),
        ("LowRankSolve", Op::new(LowRankPlusDiag::new(d(), gram.clone()).unwrap()).inverse(Par::Seq).unwrap()),
        ("LowRankUpdate", Op::new(LowRankUpdate::new(pd.clone(), low.clone()).unwrap())),
        ("Woodbury", Op::new(LowRankPlusDiag::new(d(), low.clone()).unwrap()).inverse(Par::Seq).unwrap()),
        ("Eigh", Op::new(Eigh::new(q, d()).unwrap())),
        ("Submatrix", a.sub(&rows, &cols).unwrap()),
        ("Congruence", pd.congruence(&a).unwrap()),
        ("Gram", Op::new(Gram::inner(a.clone()))),
        ("Hadamard", Op::new(Hadamard::new(low, a.clone()).unwrap())),
        ("TokenKronSum", Op::new(TokenKronSum::new(fixed_mat(7, 4, 1), fixed_mat(3, 21, 2)).unwrap())),
        ("ClosureOp", Op::new(closure.with_props(Props::SELF_ADJOINT))),
        ("Counted", a.counted().0),
        ("Assumed", a.assume(Props::STIEFEL)),
        ("FromFaer", Op::new(faer)),
    ];
    let precond = Op::diag(vec![t(0.5); N]);
    let shifted = a.shifted(t(4.0)).unwrap();
    for (name, op, method) in [
        ("cg", pd.clone(), Method::Cg),
        ("minres", pd.shifted(t(-0.7)).unwrap(), Method::Minres),
        ("lsmr", general(N + 3, N, 5), Method::Lsmr),
        ("gmres", shifted, Method::Gmres),
        ("neumann", pd, Method::Neumann { terms: 20, alpha: Alpha::Fixed(0.2) }),
    ] {
        let inverse = IterativeInverse::new(op, method).unwrap();
        all.push((name, Op::new(inverse)));
    }
    let preconditioned = IterativeInverse::new(definite(N), Method::Cg).unwrap().with_precond(precond).unwrap();
    all.push(("cg with preconditioner", Op::new(preconditioned)));
    all
}

fn no_product_allocates<T: Scalar>() {
    for (name, op) in zoo::<T>() {
        for transposed in [false, true] {
            for k in [1, 3] {
                let (m, n) = if transposed { (op.ncols(), op.nrows()) } else { (op.nrows(), op.ncols()) };
                let (x, mut out) = (fixed_mat::<T>(n, k, 9), fixed_mat::<T>(m, k, 10));
                let req = if transposed { op.apply_t_req(k, Par::Seq) } else { op.apply_req(k, Par::Seq) };
                let mut memory = MemBuffer::new(req);
                let mut run = |alpha: f64, beta: f64| {
                    let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
                    let stack = MemStack::new(&mut memory);
                    if transposed {
                        op.apply_t(out.as_mut(), alpha, x.as_ref(), beta, Par::Seq, stack)
                    } else {
                        op.apply(out.as_mut(), alpha, x.as_ref(), beta, Par::Seq, stack)
                    }
                };
                // Facts that were assumed are probed once, in debug builds.
                let first = run(1.0, 0.0);
                let mut last = Ok(());
                let count = counted(|| {
                    last = run(1.0, 0.0).and(run(-0.5, 2.0));
                });
                assert_eq!(last, first, "{name}");
                assert!(first.is_ok() || transposed, "{name}: {first:?}");
                assert_eq!(count, 0, "{name}, {k} columns, transposed {transposed}, {} bytes", size_of::<T>());
            }
        }
    }
}

#[test]
fn no_product_allocates_in_double() {
    no_product_allocates::<f64>();
}

#[test]
fn no_product_allocates_in_single() {
    no_product_allocates::<f32>();
}

/// The number of allocations of a solve does not grow with its iterations.
#[test]
fn solvers_allocate_once() {
    use linop_core::krylov::{Options, cg, gmres, lsmr, minres};
    let a = definite::<f64>(30);
    let b = fixed_mat::<f64>(30, 2, 3);
    let count = |limit: usize| {
        let options = Options { rtol: 0.0, atol: 0.0, max_iter: Some(limit), ..Options::default() };
        [
            counted(|| drop(cg(&a, b.as_ref(), &options, Par::Seq))),
            counted(|| drop(minres(&a, b.as_ref(), &options, Par::Seq))),
            counted(|| drop(lsmr(&a, b.as_ref(), &options, Par::Seq))),
            counted(|| drop(gmres(&a, b.as_ref(), &options, Par::Seq))),
        ]
    };
    count(1);
    assert_eq!(count(2), count(9));
}
