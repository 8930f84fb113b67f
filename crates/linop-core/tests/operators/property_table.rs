//! The propagation table, row by row: what must survive is claimed, what is claimed is true.
//!
//! `facts` looks for false claims over random operands; here every row of the table is an entry of [`ROWS`] that says
//! which facts the result has to know. A row that is missing is missing from the list.

use crate::samples::*;
use linop_core::inverse::pinv;
use linop_core::krylov::{Alpha, IterativeInverse, Method};
use linop_core::ops::*;
use linop_core::testing::{check_props, fixed_mat, max_abs};
use linop_core::{LinearOperator, Op, Props, algebra, dispatch::Limits};
use numerics::{Mat, Par, Scalar};

/// An operator and what has to be known about it.
type Case<T> = (Op<T>, Props);

/// Operands of every sort, `n x n`.
struct Operands<T: Scalar> {
    general: Op<T>,
    symmetric: Op<T>,
    psd: Op<T>,
    pd: Op<T>,
    nsd: Op<T>,
    nd: Op<T>,
    diagonal: Op<T>,
    lower: Op<T>,
    unit_upper: Op<T>,
    orthogonal: Op<T>,
    permutation: Op<T>,
    identity: Op<T>,
    tall: Op<T>,
    seed: u64,
}

const N: usize = 4;

impl<T: Scalar> Operands<T> {
    fn new(seed: u64) -> Self {
        let get = |sort: usize| square::<T>(sort, N, seed + 31 * sort as u64).0;
        let q = numerics::dense::qr(fixed_mat::<T>(N + 2, N, seed + 5).as_ref()).unwrap().q;
        Operands {
            general: get(0),
            symmetric: get(1),
            pd: get(2),
            psd: get(3),
            nd: get(4),
            nsd: get(5),
            diagonal: get(7),
            lower: get(8),
            unit_upper: get(9),
            orthogonal: get(10),
            permutation: get(11),
            identity: Op::identity(N),
            tall: Op::new(Dense::with_props(q, Props::STIEFEL)),
            seed,
        }
    }
}

fn t<T: Scalar>(x: f64) -> T {
    T::from_f64(x)
}

fn scaled<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let mut all = Vec::new();
    for (op, keeps) in [
        (&o.symmetric, Props::SELF_ADJOINT),
        (&o.diagonal, Props::DIAGONAL),
        (&o.lower, Props::LOWER),
        (&o.unit_upper, Props::UPPER),
    ] {
        all.extend([(op.scaled(t(2.5)), keeps), (op.scaled(t(-2.5)), keeps)]);
    }
    let definite = [(&o.psd, Props::PSD), (&o.pd, Props::PD), (&o.nsd, Props::NSD), (&o.nd, Props::ND)];
    let flipped = [Props::NSD, Props::ND, Props::PSD, Props::PD];
    for ((op, keeps), swapped) in definite.into_iter().zip(flipped) {
        all.extend([(op.scaled(t(0.5)), keeps), (op.scaled(t(-0.5)), swapped)]);
    }
    all.push((o.general.scaled(T::ZERO), Props::ZERO));
    all.push((o.orthogonal.scaled(-T::ONE), Props::ORTHOGONAL));
    all.push((o.tall.scaled(-T::ONE), Props::STIEFEL));
    all.push((o.unit_upper.scaled(T::ONE), Props::UNIT_DIAG));
    all
}

fn sum<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let plus = |a: &Op<T>, b: &Op<T>| a.plus(b).unwrap();
    vec![
        (plus(&o.symmetric, &o.psd), Props::SELF_ADJOINT),
        (plus(&o.psd, &o.pd), Props::PD),
        (plus(&o.psd, &o.psd.kron(&Op::identity(1)).unwrap()), Props::PSD),
        (plus(&o.nsd, &o.nd), Props::ND),
        (plus(&o.nsd, &o.nsd.kron(&Op::identity(1)).unwrap()), Props::NSD),
        (plus(&o.diagonal, &o.identity), Props::DIAGONAL | Props::PD),
        (plus(&o.lower, &o.diagonal), Props::LOWER),
        (plus(&o.unit_upper, &o.diagonal), Props::UPPER),
    ]
}

fn shifted<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let shift = |a: &Op<T>, s: f64| a.shifted(t(s)).unwrap();
    vec![
        (shift(&o.psd, 0.5), Props::PD),
        (shift(&o.pd, 0.5), Props::PD),
        (shift(&o.nsd, -0.5), Props::ND),
        (shift(&o.nd, -0.5), Props::ND),
        (shift(&o.symmetric, -0.5), Props::SELF_ADJOINT),
        (shift(&o.lower, 2.0), Props::LOWER),
        (shift(&o.unit_upper, -2.0), Props::UPPER),
        (shift(&o.diagonal, 1.0), Props::DIAGONAL | Props::PD),
    ]
}

fn transposed<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    vec![
        (o.lower.t(), Props::UPPER),
        (o.unit_upper.t(), Props::LOWER | Props::UNIT_DIAG),
        (o.tall.t(), Props::COSTIEFEL),
        (o.orthogonal.t(), Props::ORTHOGONAL),
        (o.permutation.t(), Props::PERMUTATION),
        (Op::new(Transposed::new(o.pd.clone())), Props::PD),
        (Op::new(Transposed::new(o.nsd.clone())), Props::NSD),
        (Op::new(Transposed::new(o.nd.clone())), Props::ND),
        (Op::new(Transposed::new(o.symmetric.clone())), Props::SELF_ADJOINT),
        (Op::new(Transposed::new(o.diagonal.clone())), Props::DIAGONAL),
        (Op::zero(N, N + 1).t(), Props::ZERO),
    ]
}

fn product<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let times = |a: &Op<T>, b: &Op<T>| a.times(b).unwrap();
    let second = square::<T>(8, N, o.seed + 77).0;
    let diagonal = Op::diag((0..N).map(|i| t(1.0 + i as f64)).collect());
    vec![
        (times(&o.tall, &o.orthogonal), Props::STIEFEL),
        (times(&o.orthogonal, &o.tall.t()), Props::COSTIEFEL),
        (times(&o.lower, &second), Props::LOWER),
        (times(&o.unit_upper, &o.unit_upper), Props::UPPER | Props::UNIT_DIAG),
        (times(&o.diagonal, &diagonal), Props::DIAGONAL | Props::PD),
        (times(&o.permutation, &o.permutation), Props::PERMUTATION),
        (times(&o.orthogonal, &o.permutation), Props::ORTHOGONAL),
    ]
}

fn palindrome<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let around = |m: &Op<T>, z: &Op<T>| algebra::product(&[m.clone(), z.clone(), m.t()]).unwrap();
    let kron = o.general.kron(&o.lower).unwrap();
    let big = square::<T>(1, N * N, o.seed + 3).0;
    vec![
        (algebra::product(&[o.general.clone(), o.general.t()]).unwrap(), Props::PSD),
        (algebra::product(&[o.tall.t(), o.tall.clone()]).unwrap(), Props::PD),
        (around(&o.general, &o.symmetric), Props::SELF_ADJOINT),
        (around(&o.general, &o.psd), Props::PSD),
        (around(&o.general, &o.nsd), Props::NSD),
        (around(&o.tall.t(), &square::<T>(2, N + 2, o.seed).0), Props::PD),
        (around(&o.orthogonal, &o.nd), Props::ND),
        (algebra::product(&[o.pd.clone(), o.pd.clone(), o.pd.clone()]).unwrap(), Props::PD),
        // The transpose of a Kronecker product is known again although it was rewritten factor by factor.
        (around(&kron, &big), Props::SELF_ADJOINT),
        (
            around(&algebra::block_diag(&[o.general.clone(), o.lower.clone()]).unwrap(), &direct_sum(o)),
            Props::SELF_ADJOINT,
        ),
        (around(&o.general.times(&o.lower).unwrap(), &o.symmetric), Props::SELF_ADJOINT),
    ]
}

fn direct_sum<T: Scalar>(o: &Operands<T>) -> Op<T> {
    square::<T>(1, 2 * N, o.seed + 9).0
}

fn kronecker<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let kron = |a: &Op<T>, b: &Op<T>| a.kron(b).unwrap();
    vec![
        (kron(&o.symmetric, &o.psd), Props::SELF_ADJOINT),
        (kron(&o.diagonal, &o.diagonal), Props::DIAGONAL | Props::PD),
        (kron(&o.lower, &o.diagonal), Props::LOWER),
        (kron(&o.unit_upper, &o.unit_upper), Props::UPPER | Props::UNIT_DIAG),
        (kron(&o.tall, &o.orthogonal), Props::STIEFEL),
        (kron(&o.tall.t(), &o.permutation), Props::COSTIEFEL),
        (kron(&o.permutation, &o.permutation), Props::PERMUTATION),
        (kron(&o.psd, &o.pd), Props::PSD),
        (kron(&o.nsd, &o.nsd), Props::PSD),
        (kron(&o.psd, &o.nsd), Props::NSD),
        (kron(&o.pd, &o.pd), Props::PD),
        (kron(&o.nd, &o.nd), Props::PD),
        (kron(&o.pd, &o.nd), Props::ND),
    ]
}

fn kronecker_sum<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let sum = |a: &Op<T>, b: &Op<T>| a.kron_sum(b).unwrap();
    vec![
        (sum(&o.symmetric, &o.nd), Props::SELF_ADJOINT),
        (sum(&o.psd, &o.psd), Props::PSD),
        (sum(&o.psd, &o.pd), Props::PD),
        (sum(&o.nsd, &o.nsd), Props::NSD),
        (sum(&o.diagonal, &o.diagonal), Props::DIAGONAL),
        (sum(&o.lower, &o.lower), Props::LOWER),
        (sum(&o.unit_upper, &o.diagonal), Props::UPPER),
    ]
}

fn block_diag<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let join = |a: &Op<T>, b: &Op<T>| algebra::block_diag(&[a.clone(), b.clone()]).unwrap();
    vec![
        (join(&o.symmetric, &o.psd), Props::SELF_ADJOINT),
        (join(&o.psd, &o.pd), Props::PSD),
        (join(&o.pd, &o.pd), Props::PD),
        (join(&o.nsd, &o.nd), Props::NSD),
        (join(&o.nd, &o.nd), Props::ND),
        (join(&o.diagonal, &o.identity), Props::DIAGONAL),
        (join(&o.lower, &o.lower), Props::LOWER),
        (join(&o.unit_upper, &o.unit_upper), Props::UPPER | Props::UNIT_DIAG),
        (join(&o.tall, &o.orthogonal), Props::STIEFEL),
        (join(&o.tall.t(), &o.orthogonal), Props::COSTIEFEL),
        (join(&o.permutation, &o.permutation), Props::PERMUTATION),
        (join(&o.identity, &o.identity), Props::IDENTITY),
    ]
}

fn submatrix<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let list = [0, 2, 3];
    let turned = [3, 0, 2];
    let all: Vec<usize> = (0..N + 2).collect();
    let mut out = Vec::new();
    for (op, keeps) in [
        (&o.symmetric, Props::SELF_ADJOINT),
        (&o.psd, Props::PSD),
        (&o.pd, Props::PD),
        (&o.nsd, Props::NSD),
        (&o.nd, Props::ND),
        (&o.diagonal, Props::DIAGONAL),
        (&o.unit_upper, Props::UNIT_DIAG),
    ] {
        out.extend([(op.sub(&list, &list).unwrap(), keeps), (op.sub(&turned, &turned).unwrap(), keeps)]);
    }
    out.push((o.lower.sub(&list, &list).unwrap(), Props::LOWER));
    out.push((o.unit_upper.sub(&list, &list).unwrap(), Props::UPPER));
    out.push((o.tall.sub(&all, &[1, 3]).unwrap(), Props::STIEFEL));
    out
}

fn congruence<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let x = Op::dense(fixed_mat::<T>(N, N - 1, o.seed + 4));
    vec![
        (o.symmetric.congruence(&x).unwrap(), Props::SELF_ADJOINT),
        (o.psd.congruence(&x).unwrap(), Props::PSD),
        (o.nsd.congruence(&x).unwrap(), Props::NSD),
        (Op::new(Gram::inner(x.clone())), Props::PSD),
        (Op::new(Gram::outer(x)), Props::PSD),
        (Op::new(Gram::inner(o.tall.clone())), Props::IDENTITY),
    ]
}

fn inverse<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let inverse = |a: &Op<T>| a.inverse(Par::Seq).unwrap();
    let low = Op::new(LowRank::gram(fixed_mat::<T>(N, 2, o.seed)));
    let psd = low.plus(&o.diagonal).unwrap();
    vec![
        (inverse(&o.symmetric), Props::SELF_ADJOINT),
        (inverse(&o.pd), Props::PD),
        (inverse(&o.nd), Props::ND),
        (inverse(&o.orthogonal), Props::ORTHOGONAL),
        (inverse(&o.permutation), Props::PERMUTATION),
        (inverse(&o.diagonal), Props::DIAGONAL | Props::PD),
        (inverse(&o.lower), Props::LOWER),
        (inverse(&o.unit_upper), Props::UPPER | Props::UNIT_DIAG),
        (inverse(&psd), Props::PD),
        // Known to be semidefinite, found to be invertible.
        (inverse(&Op::new(Dense::with_props(o.pd.to_dense(Par::Seq).unwrap(), Props::PSD))), Props::PD),
    ]
}

fn pseudo_inverse<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let pinv = |a: &Op<T>| pinv(a, None, Limits::default(), Par::Seq).unwrap();
    let flat = Op::diag((0..N).map(|i| t(i as f64)).collect());
    vec![
        (pinv(&o.psd), Props::PSD),
        (pinv(&o.nsd), Props::NSD),
        (pinv(&o.symmetric), Props::SELF_ADJOINT),
        (pinv(&flat), Props::DIAGONAL | Props::PSD),
        (pinv(&o.tall), Props::COSTIEFEL),
    ]
}

fn neumann<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let series = IterativeInverse::new(o.pd.clone(), Method::Neumann { terms: 3, alpha: Alpha::Fixed(0.1) }).unwrap();
    vec![(Op::new(series), Props::SELF_ADJOINT)]
}

fn function<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    vec![
        (o.symmetric.exp(Par::Seq).unwrap(), Props::PD),
        (o.pd.log(Par::Seq).unwrap(), Props::SELF_ADJOINT),
        (o.pd.root(2.0, Par::Seq).unwrap(), Props::PD),
        (o.psd.root(2.0, Par::Seq).unwrap(), Props::PSD),
        (o.symmetric.power(2.0, Par::Seq).unwrap(), Props::PSD),
    ]
}

fn hadamard<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let times = |a: &Op<T>, b: &Op<T>| a.hadamard(b).unwrap();
    let low = Op::new(LowRank::gram(fixed_mat::<T>(N, 2, o.seed)));
    vec![
        (times(&o.psd, &o.pd), Props::PSD),
        (times(&o.symmetric, &o.psd), Props::SELF_ADJOINT),
        (times(&o.diagonal, &o.general), Props::DIAGONAL),
        (times(&low, &low), Props::PSD),
        (times(&low, &o.pd.kron(&Op::identity(1)).unwrap()), Props::PSD),
        (times(&o.pd.kron(&o.psd).unwrap(), &o.psd.kron(&o.pd).unwrap()), Props::PSD),
    ]
}

fn spectral<T: Scalar>(o: &Operands<T>) -> Vec<Case<T>> {
    let with =
        |f: fn(usize) -> f64| Op::new(Eigh::new(o.orthogonal.clone(), (0..N).map(|i| t(f(i))).collect()).unwrap());
    vec![
        (with(|i| i as f64 - 1.5), Props::SELF_ADJOINT),
        (with(|i| i as f64), Props::PSD),
        (with(|i| 1.0 + i as f64), Props::PD),
        (with(|i| -1.0 - i as f64), Props::ND),
    ]
}

/// One row of the table: its left column, and what it makes of operands.
struct Row {
    construction: &'static str,
    double: fn(&Operands<f64>) -> Vec<Case<f64>>,
    single: fn(&Operands<f32>) -> Vec<Case<f32>>,
}

macro_rules! rows {
    ($($construction:literal => $f:ident,)*) => {
        const ROWS: &[Row] =
            &[$(Row { construction: $construction, double: $f::<f64>, single: $f::<f32> }),*];
    };
}

rows! {
    "a A" => scaled,
    "A + B" => sum,
    "A + sigma I" => shifted,
    "A^T" => transposed,
    "A B" => product,
    "M Z M^T" => palindrome,
    "A (x) B" => kronecker,
    "A (+) B" => kronecker_sum,
    "diag(A, B)" => block_diag,
    "A[i, i]" => submatrix,
    "X^T A X" => congruence,
    "A^-1" => inverse,
    "A^+" => pseudo_inverse,
    "Neumann series" => neumann,
    "f(A)" => function,
    "A o B" => hadamard,
    "Q diag(l) Q^T" => spectral,
}

fn check<T: Scalar>(construction: &str, case: usize, (op, must): &Case<T>) {
    let known = op.props();
    assert!(known.contains(*must), "{construction}, case {case}: {must:?} is lost, known is {known:?}: {op:?}");
    let dense: Mat<T> = op.to_dense(Par::Seq).unwrap();
    let tol = 2e3 * T::EPS.to_f64() * (1.0 + max_abs(dense.as_ref()));
    if let Err(e) = check_props(known, dense.as_ref(), tol) {
        panic!("{construction}, case {case}: {e}: {op:?}");
    }
}

#[test]
fn every_row_keeps_what_it_must_and_claims_nothing_false() {
    for seed in 0..12 {
        let (double, single) = (Operands::<f64>::new(seed), Operands::<f32>::new(seed));
        for row in ROWS {
            for (i, case) in (row.double)(&double).iter().enumerate() {
                check(row.construction, i, case);
            }
            for (i, case) in (row.single)(&single).iter().enumerate() {
                check(row.construction, i, case);
            }
        }
    }
}
