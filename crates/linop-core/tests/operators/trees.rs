//! Random expressions: the operator of an expression is the expression of the matrices, on both sides, with facts that hold.

use crate::samples::*;
use linop_core::ops::*;
use linop_core::testing::{check_operator, check_props, fixed_mat, max_abs, max_diff};
use linop_core::{Error, LinearOperator, Op, Props, Source, algebra};
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, Scalar};
use proptest::prelude::*;

/// Operator, matrix, and a bound of the entries that occurred on the way (what rounding is relative to).
struct Tree<T: Scalar> {
    op: Op<T>,
    mat: Mat<T>,
    size: f64,
}

impl<T: Scalar> Tree<T> {
    fn new(op: Op<T>, mat: Mat<T>, below: f64) -> Self {
        let size = below.max(max_abs(mat.as_ref()));
        Tree { op, mat, size }
    }
}

fn leaf<T: Scalar>(s: &mut Stream, n: usize) -> Tree<T> {
    let (op, mat) = square(s.next_u64() as usize % SORTS, n, s.next_u64() % 1000);
    Tree::new(op, mat, 1.0)
}

/// An `n x n` expression of at most this depth.
fn tree<T: Scalar>(s: &mut Stream, depth: usize, n: usize) -> Tree<T> {
    if depth == 0 {
        return leaf(s, n);
    }
    let t = T::from_f64;
    let sub = |s: &mut Stream| tree::<T>(s, depth - 1, n);
    match s.next_u64() % 14 {
        0 | 1 => {
            let (a, b) = (sub(s), sub(s));
            Tree::new(a.op.plus(&b.op).unwrap(), add(&a.mat, &b.mat), a.size + b.size)
        }
        2 => {
            let (a, b) = (sub(s), sub(s));
            Tree::new((&a.op - &b.op).unwrap(), add(&a.mat, &scale(-1.0, &b.mat)), a.size + b.size)
        }
        3 | 4 => {
            let (a, b) = (sub(s), sub(s));
            let below = a.size * b.size * n as f64;
            Tree::new(a.op.times(&b.op).unwrap(), mul(&a.mat, &b.mat), below)
        }
        5 => {
            let (a, c) = (sub(s), [-2.0, -1.0, 0.0, 0.5][s.next_u64() as usize % 4]);
            Tree::new(a.op.scaled(t(c)), scale(c, &a.mat), 2.0 * a.size)
        }
        6 => {
            let (a, c) = (sub(s), [-1.0, 0.0, 0.5][s.next_u64() as usize % 3]);
            Tree::new(a.op.shifted(t(c)).unwrap(), add(&a.mat, &scale(c, &eye(n))), a.size + 1.0)
        }
        7 => {
            let a = sub(s);
            Tree::new(a.op.t(), tr(&a.mat), a.size)
        }
        8 => {
            let (a, b) = (sub(s), sub(s));
            let below = a.size * a.size * b.size * (n * n) as f64;
            Tree::new(b.op.congruence(&a.op).unwrap(), mul(&tr(&a.mat), &mul(&b.mat, &a.mat)), below)
        }
        9 => {
            let a = sub(s);
            let below = a.size * a.size * n as f64;
            Tree::new(Op::new(Gram::outer(a.op)), mul(&a.mat, &tr(&a.mat)), below)
        }
        10 => {
            let (a, b) = (sub(s), sub(s));
            match a.op.hadamard(&b.op) {
                Ok(op) => {
                    let mat = Mat::from_fn(n, n, |i, j| a.mat[(i, j)] * b.mat[(i, j)]);
                    Tree::new(op, mat, a.size * b.size * (1 + n) as f64)
                }
                Err(Error::Unsupported { .. }) => a,
                Err(e) => panic!("{e}"),
            }
        }
        11 if n > 1 => {
            let k = 1 + s.next_u64() as usize % (n - 1);
            let (a, b) = (tree::<T>(s, depth - 1, k), tree::<T>(s, depth - 1, n - k));
            let op = algebra::block_diag(&[a.op, b.op]).unwrap();
            Tree::new(op, direct(&a.mat, &b.mat), a.size.max(b.size))
        }
        12 if n.is_multiple_of(2) && n > 0 => {
            let (a, b) = (tree::<T>(s, depth - 1, n / 2), leaf(s, 2));
            Tree::new(a.op.kron(&b.op).unwrap(), kron(&a.mat, &b.mat), a.size * b.size)
        }
        _ => {
            let a = tree::<T>(s, depth - 1, n + 1);
            let mut list: Vec<usize> = (0..=n).collect();
            list.remove(s.next_u64() as usize % (n + 1));
            if s.next_u64().is_multiple_of(2) {
                list.reverse();
            }
            let mat = Mat::from_fn(n, n, |i, j| a.mat[(list[i], list[j])]);
            Tree::new(a.op.sub(&list, &list).unwrap(), mat, a.size)
        }
    }
}

fn holds<T: Scalar>(seed: u64, depth: usize, n: usize) -> Result<(), TestCaseError> {
    let x = tree::<T>(&mut Stream::new(seed, Role::SyntheticMatrix, 0, 0), depth, n);
    let unit = T::EPS.to_f64() * x.size * (1 + n) as f64;
    let got = x.op.to_dense(Par::Seq).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let off = max_diff(got.as_ref(), x.mat.as_ref());
    prop_assert!(off <= 200.0 * unit, "off by {off:e}, allowed {:e}: {:?}", 200.0 * unit, x.op);
    // The matrix of the operator itself: rounding on the way is no concern of the laws.
    let largest = max_abs(got.as_ref()).max(1e-3);
    check_operator(&Op::new(Facts(x.op.clone())), got.as_ref(), (500.0 * unit / largest).max(64.0 * T::EPS.to_f64()));
    // A definite matrix may be singular to rounding.
    let strict = Props::PD | Props::ND;
    let tol = 2000.0 * unit;
    check_props(x.op.props().without(strict), got.as_ref(), tol).map_err(TestCaseError::fail)?;
    prop_assert_eq!(x.op.sources().len(), x.op.props().names().count());
    prop_assert!(x.op.sources().iter().all(|(_, s)| [Source::Derived, Source::Checked, Source::Assumed].contains(s)));
    Ok(())
}

/// An operator whose facts are looked at elsewhere.
#[derive(Debug)]
struct Facts<T: Scalar>(Op<T>);

impl<T: Scalar> LinearOperator<T> for Facts<T> {
    fn nrows(&self) -> usize {
        self.0.nrows()
    }
    fn ncols(&self) -> usize {
        self.0.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> numerics::StackReq {
        self.0.apply_req(k, par)
    }
    fn apply_t_req(&self, k: usize, par: Par) -> numerics::StackReq {
        self.0.apply_t_req(k, par)
    }
    fn apply(
        &self,
        out: numerics::MatMut<'_, T>,
        alpha: T,
        x: numerics::MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut numerics::MemStack,
    ) -> Result<(), Error> {
        self.0.apply(out, alpha, x, beta, par, stack)
    }
    fn apply_t(
        &self,
        out: numerics::MatMut<'_, T>,
        alpha: T,
        x: numerics::MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut numerics::MemStack,
    ) -> Result<(), Error> {
        self.0.apply_t(out, alpha, x, beta, par, stack)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn expressions_match_dense(seed in any::<u64>(), depth in 0usize..5, n in 0usize..10) {
        holds::<f64>(seed, depth, n)?;
        holds::<f32>(seed, depth, n)?;
    }
}

#[test]
fn doubt_spreads() {
    let word = Op::new(Dense::with_props(fixed_mat::<f64>(3, 3, 1), Props::STIEFEL));
    let sure = Op::diag(vec![1.0, 2.0, 3.0]);
    let all = |op: &Op<f64>, s: Source| !op.sources().is_empty() && op.sources().iter().all(|(_, x)| *x == s);
    assert!(all(&word, Source::Assumed) && all(&sure, Source::Checked));
    assert!(all(&sure.kron(&sure).unwrap(), Source::Derived));
    assert!(all(&word.kron(&Op::identity(2)).unwrap(), Source::Assumed));
    assert!(all(&word.kron(&word).unwrap().counted().0, Source::Assumed));
    assert!(all(&Op::new(Gram::outer(Op::dense(fixed_mat::<f64>(3, 2, 2)))), Source::Derived));
    assert!(all(&sure.assume(Props::PD), Source::Checked));
}
