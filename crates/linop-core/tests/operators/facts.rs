//! The propagation table and the rewrites: the matrix is the expected one and no fact is claimed falsely.

use crate::samples::*;
use linop_core::algebra;
use linop_core::ops::*;
use linop_core::testing::{check_operator, check_props, max_abs, max_diff};
use linop_core::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, Par, Scalar};
use proptest::prelude::*;

fn agree<T: Scalar>(op: &Op<T>, dense: &Mat<T>) -> Result<(), TestCaseError> {
    let got = op.to_dense(Par::Seq).map_err(|e| TestCaseError::fail(format!("{e}: {op:?}")))?;
    let tol =
        450.0 * T::EPS.to_f64() * (1.0 + max_abs(dense.as_ref())) * (1.0 + dense.nrows().max(dense.ncols()) as f64);
    let d = max_diff(got.as_ref(), dense.as_ref());
    prop_assert!(d <= tol, "off by {d:e} (allowed {tol:e}): {op:?}");
    check_props(op.props(), dense.as_ref(), tol).map_err(|e| TestCaseError::fail(format!("{e}: {op:?}")))
}

fn unary_constructions<T: Scalar>(sort: usize, n: usize, seed: u64, a: i32, sigma: i32) -> Result<(), TestCaseError> {
    let (op, m) = square::<T>(sort, n, seed);
    agree(&op, &m)?;
    agree(&op.t(), &tr(&m))?;
    agree(&Op::new(Transposed::new(op.clone())), &tr(&m))?;
    let a = f64::from(a) * 0.5;
    let t = T::from_f64;
    agree(&op.scaled(t(a)), &scale(a, &m))?;
    agree(&op.scaled(t(a)).scaled(-T::ONE), &scale(-a, &m))?;
    agree(&Op::new(Scaled::new(t(a), op.clone())), &scale(a, &m))?;
    let sigma = f64::from(sigma) * 0.5;
    let shifted = add(&m, &scale(sigma, &eye(n)));
    agree(&op.shifted(t(sigma)).unwrap(), &shifted)?;
    agree(&Op::new(Shifted::new(op.clone(), t(sigma)).unwrap()), &shifted)?;
    agree(&Op::new(Gram::inner(op.clone())), &mul(&tr(&m), &m))?;
    agree(&Op::new(Gram::outer(op.clone())), &mul(&m, &tr(&m)))?;
    agree(&(&op.t() * &op).unwrap(), &mul(&tr(&m), &m))?;
    Ok(())
}

fn binary_constructions<T: Scalar>(s: usize, t: usize, n: usize, k: usize, seed: u64) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>(s, n, seed);
    let (b, db) = square::<T>(t, n, seed + 17);
    let (c, dc) = square::<T>(t, k, seed + 29);
    agree(&(&a + &b).unwrap(), &add(&da, &db))?;
    agree(&(&a - &b).unwrap(), &add(&da, &scale(-1.0, &db)))?;
    agree(&Op::new(Sum::new(vec![a.clone(), b.clone()]).unwrap()), &add(&da, &db))?;
    agree(&(&a * &b).unwrap(), &mul(&da, &db))?;
    agree(&Op::new(Chain::new(vec![a.clone(), b.clone()]).unwrap()), &mul(&da, &db))?;
    agree(&a.kron(&c).unwrap(), &kron(&da, &dc))?;
    agree(&Op::new(Kronecker::new(vec![a.clone(), c.clone()]).unwrap()), &kron(&da, &dc))?;
    agree(&a.kron_sum(&c).unwrap(), &add(&kron(&da, &eye(k)), &kron(&eye(n), &dc)))?;
    agree(&algebra::block_diag(&[a.clone(), c.clone()]).unwrap(), &direct(&da, &dc))?;
    let congruent = mul(&tr(&da), &mul(&db, &da));
    agree(&b.congruence(&a).unwrap(), &congruent)?;
    agree(&algebra::product(&[a.t(), b.clone(), a.clone()]).unwrap(), &congruent)?;
    match a.hadamard(&b) {
        Ok(h) => agree(&h, &Mat::from_fn(n, n, |i, j| da[(i, j)] * db[(i, j)]))?,
        Err(e) => prop_assert!(matches!(e, Error::Unsupported { .. }), "{e}"),
    }
    Ok(())
}

fn rectangular_constructions<T: Scalar>(
    s: usize,
    m: usize,
    n: usize,
    k: usize,
    seed: u64,
) -> Result<(), TestCaseError> {
    let (x, dx) = rectangle::<T>(m, n, seed);
    let (y, dy) = rectangle::<T>(n, k, seed + 3);
    let (a, da) = square::<T>(s, n, seed);
    agree(&(&x * &a).unwrap(), &mul(&dx, &da))?;
    agree(&algebra::product(&[x.clone(), a.clone(), x.t()]).unwrap(), &mul(&dx, &mul(&da, &tr(&dx))))?;
    agree(&(&(&x * &a).unwrap() * &y).unwrap().t(), &tr(&mul(&mul(&dx, &da), &dy)))?;
    agree(&x.kron(&a).unwrap(), &kron(&dx, &da))?;
    agree(&a.kron(&x).unwrap().t(), &tr(&kron(&da, &dx)))?;
    agree(&algebra::block_diag(&[x.clone(), a.clone(), y.clone()]).unwrap(), &direct(&direct(&dx, &da), &dy))?;
    agree(&x.kron(&y).unwrap(), &kron(&dx, &dy))?;
    Ok(())
}

fn submatrices<T: Scalar>(s: usize, n: usize, seed: u64, order: bool, cut: usize) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>(s, n, seed);
    let mut list: Vec<usize> = (0..n).filter(|i| !(i + cut).is_multiple_of(3)).collect();
    if order {
        list.reverse();
    }
    let all: Vec<usize> = (0..n).collect();
    for (rows, cols) in [(&list, &list), (&all, &list), (&list, &all)] {
        let want = Mat::from_fn(rows.len(), cols.len(), |i, j| da[(rows[i], cols[j])]);
        agree(&a.sub(rows, cols).unwrap(), &want)?;
    }
    Ok(())
}

fn sums_of_many<T: Scalar>(sorts: &[usize], n: usize, seed: u64) -> Result<(), TestCaseError> {
    let parts: Vec<Pair<T>> = sorts.iter().enumerate().map(|(i, &s)| square(s, n, seed + i as u64)).collect();
    let ops: Vec<_> = parts.iter().map(|p| p.0.clone()).collect();
    let dense = parts[1..].iter().fold(parts[0].1.clone(), |d, p| add(&d, &p.1));
    let total = algebra::sum(&ops).unwrap();
    agree(&total, &dense)?;
    let scale = 450.0 * T::EPS.to_f64() * (1.0 + n as f64);
    check_operator(&total, dense.as_ref(), scale);
    let product = parts[1..].iter().fold(parts[0].1.clone(), |d, p| mul(&d, &p.1));
    agree(&algebra::product(&ops).unwrap(), &product)?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn unary_constructions_match_dense(sort in 0..SORTS, n in 0usize..5, seed in 0u64..1000, a in -2i32..3, sigma in -2i32..3) {
        unary_constructions::<f64>(sort, n, seed, a, sigma)?;
        unary_constructions::<f32>(sort, n, seed, a, sigma)?;
    }

    #[test]
    fn binary_constructions_match_dense(s in 0..SORTS, t in 0..SORTS, n in 0usize..5, k in 1usize..4, seed in 0u64..1000) {
        binary_constructions::<f64>(s, t, n, k, seed)?;
        binary_constructions::<f32>(s, t, n, k, seed)?;
    }

    #[test]
    fn rectangular_constructions_match_dense(s in 0..SORTS, m in 0usize..4, n in 1usize..4, k in 1usize..3, seed in 0u64..1000) {
        rectangular_constructions::<f64>(s, m, n, k, seed)?;
        rectangular_constructions::<f32>(s, m, n, k, seed)?;
    }

    #[test]
    fn submatrices_match_dense(s in 0..SORTS, n in 1usize..6, seed in 0u64..1000, order in any::<bool>(), cut in 0usize..6) {
        submatrices::<f64>(s, n, seed, order, cut)?;
        submatrices::<f32>(s, n, seed, order, cut)?;
    }

    #[test]
    fn sums_of_many_match_dense(sorts in proptest::collection::vec(0..SORTS, 1..5), n in 1usize..5, seed in 0u64..1000) {
        sums_of_many::<f64>(&sorts, n, seed)?;
        sums_of_many::<f32>(&sorts, n, seed)?;
    }
}

#[test]
fn rewrites_choose_the_cheap_kind() {
    let (a, _) = square::<f64>(0, 3, 1);
    let (s, _) = square::<f64>(1, 3, 2);
    let (p, _) = square::<f64>(2, 3, 3);
    let d = Op::diag(vec![1.0, 2.0, 3.0]);
    let low = Op::new(LowRank::gram(linop_core::testing::fixed_mat::<f64>(3, 1, 1)));
    let id = Op::identity(3);
    assert!((&id * &a).unwrap().same(&a));
    assert!(a.t().t().same(&a));
    assert!(s.t().same(&s));
    assert!(matches!((&a * &Op::zero(3, 5)).unwrap().kind(), Kind::Zero(_)));
    assert!(matches!((&d + &id).unwrap().kind(), Kind::Diagonal(_)));
    assert!(matches!((&d * &d).unwrap().kind(), Kind::Diagonal(_)));
    assert!(matches!((&low + &low).unwrap().kind(), Kind::LowRank(l) if l.rank() == 2));
    assert!(matches!((&low + &d).unwrap().kind(), Kind::LowRankPlusDiag(_)));
    assert!(matches!((&(&low + &d).unwrap() + &low).unwrap().kind(), Kind::LowRankPlusDiag(_)));
    let k = s.kron(&p).unwrap();
    let mixed = (&k * &k).unwrap();
    assert!(matches!(mixed.kind(), Kind::Kronecker(k) if k.factors().len() == 2));
    let shared = (&k + &s.kron(&s).unwrap()).unwrap();
    assert!(matches!(shared.kind(), Kind::Kronecker(_)));
    // The shift goes to the base, the low-rank part stays last.
    let big = Op::new(LowRank::gram(linop_core::testing::fixed_mat::<f64>(9, 2, 1)));
    let whole = (&k + &big).unwrap().shifted(0.5).unwrap();
    let Kind::LowRankUpdate(u) = whole.kind() else { panic!("{whole:?}") };
    assert!(matches!(u.base().kind(), Kind::Shifted(_)));
    assert!(matches!(a.scaled(2.0).scaled(3.0).kind(), Kind::Scaled(s) if s.factor() == 6.0));
    let tiny = a.scaled(1e-200).scaled(1e-200);
    assert!(matches!(tiny.kind(), Kind::Scaled(s) if s.factor() != 0.0));
    // Opaque operators are not looked into.
    let (hidden, counts) = d.counted();
    let sum = (&hidden + &d).unwrap();
    sum.to_dense(Par::Seq).unwrap();
    assert_eq!(counts.products(), 1);
    assert!(d.assume(Props::PD).same(&d));
    let small = algebra::product(&[a.clone(), a.clone()]).unwrap();
    assert!(matches!(algebra::fused(&small, 100, Par::Seq).unwrap().kind(), Kind::Dense(_)));
    assert!(matches!(algebra::fused(&small, 1, Par::Seq).unwrap().kind(), Kind::Chain(_)));
}
