//! The rewrites at construction, one row each: the result has the cheap kind, the right matrix, and no lost facts.

use crate::samples::*;
use linop_core::ops::*;
use linop_core::testing::{check_props, fixed_mat, max_diff};
use linop_core::{Kind, LinearOperator, Op, Props, algebra};
use numerics::{Mat, Par, Scalar};

/// Left side as a matrix, right side as built, and whether its kind is the expected one.
type Outcome<T> = (Mat<T>, Op<T>, bool);

struct Parts<T: Scalar> {
    a: Pair<T>,
    b: Pair<T>,
    s: Pair<T>,
    pd: Pair<T>,
    d: Pair<T>,
    e: Pair<T>,
    p: Pair<T>,
    low: Pair<T>,
    kron: Pair<T>,
}

fn parts<T: Scalar>() -> Parts<T> {
    let u = fixed_mat::<T>(6, 2, 9);
    let (x, y) = (square::<T>(2, 3, 1), square::<T>(1, 2, 2));
    Parts {
        a: square(0, 6, 3),
        b: square(0, 6, 4),
        s: square(1, 6, 5),
        pd: square(2, 6, 6),
        d: square(7, 6, 7),
        e: square(17, 6, 8),
        p: square(11, 6, 2),
        low: (Op::new(LowRank::gram(u.clone())), mul(&u, &tr(&u))),
        kron: (x.0.kron(&y.0).unwrap(), kron(&x.1, &y.1)),
    }
}

fn times<T: Scalar>(a: &Pair<T>, b: &Pair<T>) -> Pair<T> {
    (a.0.times(&b.0).unwrap(), mul(&a.1, &b.1))
}

fn plus<T: Scalar>(a: &Pair<T>, b: &Pair<T>) -> Pair<T> {
    (a.0.plus(&b.0).unwrap(), add(&a.1, &b.1))
}

fn t<T: Scalar>(x: f64) -> T {
    T::from_f64(x)
}

/// A pair and a test of its operator as one outcome.
fn expect<T: Scalar>(pair: Pair<T>, holds: impl Fn(&Op<T>) -> bool) -> Outcome<T> {
    let good = holds(&pair.0);
    (pair.1, pair.0, good)
}

macro_rules! is {
    ($pattern:pat $(if $guard:expr)?) => {
        |op| matches!(op.kind(), $pattern $(if $guard)?)
    };
}

fn table<T: Scalar>() -> Vec<(&'static str, Outcome<T>)> {
    let p = &parts::<T>();
    let id: Pair<T> = (Op::identity(6), eye(6));
    let zero: Pair<T> = (Op::zero(6, 6), Mat::zeros(6, 6));
    let blocks =
        |x: &Pair<T>, y: &Pair<T>| (algebra::block_diag(&[x.0.clone(), y.0.clone()]).unwrap(), direct(&x.1, &y.1));
    let scaled = |c: f64, x: &Pair<T>| (x.0.scaled(t(c)), scale(c, &x.1));
    let shifted = |c: f64, x: &Pair<T>| (x.0.shifted(t(c)).unwrap(), add(&x.1, &scale(c, &eye(x.1.nrows()))));
    let second = {
        let (x, y) = (square::<T>(1, 3, 11), square::<T>(1, 2, 12));
        (x.0.kron(&y.0).unwrap(), kron(&x.1, &y.1))
    };
    let inverse_of_inverse = |a: &Pair<T>| {
        let back = a.0.inverse(Par::Seq).unwrap().inverse(Par::Seq).unwrap();
        let same = back.same(&a.0);
        (a.1.clone(), back, same)
    };
    let iterative = {
        let method = linop_core::krylov::Method::Cg;
        let inverse = Op::new(linop_core::krylov::IterativeInverse::new(p.pd.0.clone(), method).unwrap());
        let back = inverse.inverse(Par::Seq).unwrap();
        let same = back.same(&p.pd.0);
        (p.pd.1.clone(), back, same)
    };
    vec![
        (
            "nested sums are flat",
            expect(plus(&plus(&p.a, &p.b), &plus(&p.b, &p.s)), is!(Kind::Sum(s) if s.terms().len() == 4)),
        ),
        (
            "nested chains are flat",
            expect(times(&times(&p.a, &p.b), &times(&p.a, &p.s)), is!(Kind::Chain(c) if c.factors().len() == 4)),
        ),
        ("I A -> A", expect(times(&id, &p.a), |op| op.same(&p.a.0))),
        ("A I -> A", expect(times(&p.a, &id), |op| op.same(&p.a.0))),
        ("0 A -> 0", expect(times(&zero, &p.a), is!(Kind::Zero(_)))),
        ("(A^T)^T -> A", expect((p.a.0.t().t(), p.a.1.clone()), |op| op.same(&p.a.0))),
        ("A^T -> A if self-adjoint", expect((p.s.0.t(), p.s.1.clone()), |op| op.same(&p.s.0))),
        ("a (b A) -> (ab) A", expect(scaled(3.0, &scaled(2.0, &p.a)), is!(Kind::Scaled(s) if s.factor() == t(6.0)))),
        (
            "scalars to the front",
            expect(times(&scaled(2.0, &p.a), &scaled(3.0, &p.b)), is!(Kind::Scaled(s) if s.factor() == t(6.0))),
        ),
        ("Diagonal + Diagonal", expect(plus(&p.d, &p.d), is!(Kind::Diagonal(_)))),
        ("Diagonal * Diagonal", expect(times(&p.d, &p.d), is!(Kind::Diagonal(_)))),
        ("scalar + Diagonal", expect(shifted(2.0, &p.d), is!(Kind::Diagonal(_)))),
        ("Permutation * Permutation", expect(times(&p.p, &p.p), is!(Kind::Permutation(_)))),
        ("Kron * Kron", expect(times(&p.kron, &second), is!(Kind::Kronecker(k) if k.factors().len() == 2))),
        ("Kron + Kron but for one factor", {
            let (x, y, z) = (square::<T>(2, 3, 1), square::<T>(1, 2, 2), square::<T>(0, 2, 3));
            let one = (x.0.kron(&y.0).unwrap(), kron(&x.1, &y.1));
            let other = (x.0.kron(&z.0).unwrap(), kron(&x.1, &z.1));
            expect(plus(&one, &other), is!(Kind::Kronecker(_)))
        }),
        ("BlockDiag + BlockDiag", expect(plus(&blocks(&p.a, &p.s), &blocks(&p.b, &p.d)), is!(Kind::BlockDiag(_)))),
        ("BlockDiag * BlockDiag", expect(times(&blocks(&p.a, &p.s), &blocks(&p.b, &p.d)), is!(Kind::BlockDiag(_)))),
        ("Eigh + sigma I -> Eigh", expect(shifted(0.5, &p.e), is!(Kind::Eigh(_)))),
        ("LowRank + LowRank", expect(plus(&p.low, &p.low), is!(Kind::LowRank(l) if l.rank() == 4))),
        ("LowRank + Diagonal", expect(plus(&p.low, &p.d), is!(Kind::LowRankPlusDiag(_)))),
        ("LowRankPlusDiag + LowRank", expect(plus(&plus(&p.low, &p.d), &p.low), is!(Kind::LowRankPlusDiag(_)))),
        ("LowRankPlusDiag + sigma I", expect(shifted(1.0, &plus(&p.low, &p.d)), is!(Kind::LowRankPlusDiag(_)))),
        ("A + LowRank, A with a solve", expect(plus(&p.kron, &p.low), is!(Kind::LowRankUpdate(_)))),
        (
            "LowRankUpdate + sigma I goes to the base",
            expect(
                shifted(1.0, &plus(&p.kron, &p.low)),
                is!(Kind::LowRankUpdate(u) if matches!(u.base().kind(), Kind::Shifted(_))),
            ),
        ),
        (
            "(A B)^T -> B^T A^T",
            expect(
                (p.a.0.times(&p.b.0).unwrap().t(), tr(&mul(&p.a.1, &p.b.1))),
                is!(Kind::Chain(c) if matches!(c.factors()[0].kind(), Kind::Transposed(_))),
            ),
        ),
        ("(A^-1)^-1 -> A, factored", inverse_of_inverse(&p.pd)),
        ("(A^-1)^-1 -> A, by iteration", iterative),
        (
            "fused on request",
            expect(
                (algebra::fused(&p.a.0.times(&p.b.0).unwrap(), 100, Par::Seq).unwrap(), mul(&p.a.1, &p.b.1)),
                is!(Kind::Dense(_)),
            ),
        ),
    ]
}

fn every_row<T: Scalar>() {
    for (name, (want, op, kind)) in table::<T>() {
        assert!(kind, "{name}: {op:?}");
        let got = op.to_dense(Par::Seq).unwrap();
        let size = linop_core::testing::max_abs(want.as_ref());
        let tol = 1e3 * T::EPS.to_f64() * (1.0 + size);
        assert!(max_diff(got.as_ref(), want.as_ref()) <= tol, "{name}: {:e}", max_diff(got.as_ref(), want.as_ref()));
        check_props(op.props(), want.as_ref(), tol).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn every_rewrite_keeps_the_matrix() {
    every_row::<f64>();
    every_row::<f32>();
}

#[test]
fn facts_of_the_expression_survive() {
    let p = parts::<f64>();
    // The sum knows that it is PD although the rewritten low-rank form could not tell.
    let claimed = p.low.0.assume(Props::PSD).plus(&p.d.0).unwrap();
    assert!(claimed.props().contains(Props::PD));
    let vouched = Op::dense(p.pd.1.clone()).assume(Props::PD);
    assert!(vouched.scaled(2.0).scaled(0.5).props().contains(Props::PD));
    assert!(vouched.kron(&vouched).unwrap().times(&vouched.kron(&vouched).unwrap()).is_ok());
}
