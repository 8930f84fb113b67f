//! The dispatch table against dense matrices.

use crate::samples::*;
use linop_core::dispatch::{self, Limits};
use linop_core::ops::*;
use linop_core::testing::{fixed_mat, max_abs, max_diff};
use linop_core::{Error, LinearOperator, Op, Props, algebra};
use numerics::{Mat, Par, Scalar};
use proptest::prelude::*;

/// Nothing may be made dense beyond 4 x 4: the rule itself has to answer.
pub(crate) const TIGHT: Limits = Limits { dense: 4, memory: Limits::MEMORY };

/// What a comparison allows, by scalar type.
pub(crate) struct Allowed {
    /// Relative error of traces, norms and the like.
    pub(crate) near: f64,
    /// Rounding units per unit of condition number, for inverses.
    pub(crate) units: f64,
    /// Condition numbers up to which inverses are compared.
    pub(crate) condition: f64,
}

pub(crate) fn allowed<T: Scalar>() -> Allowed {
    if size_of::<T>() == 4 {
        Allowed { near: 3e-4, units: 400.0, condition: 1e3 }
    } else {
        Allowed { near: 1e-9, units: 4500.0, condition: 1e8 }
    }
}

pub(crate) fn near<T: Scalar>(got: T, want: T, scale: f64, what: &str) -> Result<(), TestCaseError> {
    let off = (got.to_f64() - want.to_f64()).abs();
    prop_assert!(off <= allowed::<T>().near * (1.0 + scale), "{what}: {got} against {want}");
    Ok(())
}

pub(crate) fn condition<T: Scalar>(m: &Mat<T>) -> f64 {
    if m.nrows() == 0 {
        return 1.0;
    }
    let s = numerics::dense::svd(m.as_ref()).unwrap().s;
    if s[s.len() - 1] == T::ZERO { f64::INFINITY } else { s[0].to_f64() / s[s.len() - 1].to_f64() }
}

/// Largest difference, as a number of the type.
pub(crate) fn off<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> T {
    T::from_f64(max_diff(a.as_ref(), b.as_ref()))
}

fn rules<T: Scalar>(op: &Op<T>, m: &Mat<T>, limits: Limits) -> Result<(), TestCaseError> {
    let n = m.nrows();
    let size = max_abs(m.as_ref()) * (1 + n) as f64;
    let fail = |e: Error| TestCaseError::fail(format!("{e}: {op:?}"));
    let trace: T = (0..n).map(|i| m[(i, i)]).sum();
    near(dispatch::trace(op, limits, Par::Seq).map_err(fail)?, trace, size, "trace")?;
    let diagonal = dispatch::diagonal(op, limits, Par::Seq).map_err(fail)?;
    prop_assert_eq!(diagonal.len(), n);
    for i in 0..n {
        near(diagonal[i], m[(i, i)], size, "diagonal")?;
    }
    let squares: T = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|p| m[p] * m[p]).sum();
    near(dispatch::frobenius_sq(op, limits, Par::Seq).map_err(fail)?, squares, squares.to_f64(), "frobenius")?;
    let condition = condition(m);
    let (sign, log) = dispatch::slogdet(op, limits, Par::Seq).map_err(fail)?;
    if condition < allowed::<T>().condition {
        let want =
            if n == 0 { (T::ONE, T::ZERO) } else { numerics::dense::Lu::new(m.as_ref(), Par::Seq).unwrap().slogdet() };
        prop_assert_eq!(sign, want.0, "sign of {:?}", op);
        near(log, want.1, n as f64, "log det")?;
        let inverse = dispatch::inverse(op, limits, Par::Seq).map_err(fail)?;
        let d = inverse.to_dense(Par::Seq).map_err(fail)?;
        let off = max_diff(mul(&d, m).as_ref(), eye::<T>(n).as_ref());
        let unit = T::EPS.to_f64() * allowed::<T>().units * condition;
        prop_assert!(off <= unit * (1 + n) as f64, "inverse off by {off:e}: {op:?}");
        let tol = 10.0 * unit * (1.0 + max_abs(d.as_ref()));
        linop_core::testing::check_props(inverse.props(), d.as_ref(), tol)
            .map_err(|e| TestCaseError::fail(format!("inverse {e}: {op:?}")))?;
    } else if condition > 1e13 {
        prop_assert!(sign == T::ZERO || log < T::from_f64(-15.0), "{sign} {log}");
    }
    if op.props().contains(Props::SELF_ADJOINT) {
        let e = dispatch::eigh(op, Limits::default(), Par::Seq).map_err(fail)?;
        let d = Op::new(e).to_dense(Par::Seq).map_err(fail)?;
        near(off(&d, m), T::ZERO, size, "eigh")?;
        let exp = op.exp(Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        let want = numerics::dense::expm(m.as_ref()).unwrap();
        near(off(&exp, &want), T::ZERO, max_abs(want.as_ref()), "exp")?;
    }
    if op.props().contains(Props::PD) && condition < allowed::<T>().condition.sqrt() * 100.0 {
        let root = op.root(2.0, Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        near(off(&mul(&root, &root), m), T::ZERO, size, "root")?;
        let log = op.log(Par::Seq).map_err(fail)?;
        let back = log.exp(Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        near(off(&back, m), T::ZERO, size, "exp of log")?;
    }
    Ok(())
}

fn leaves<T: Scalar>(s: usize, n: usize, seed: u64, a: i32) -> Result<(), TestCaseError> {
    let (op, m) = square::<T>(s, n, seed);
    rules(&op, &m, TIGHT)?;
    rules(&Op::new(Transposed::new(op.clone())), &tr(&m), TIGHT)?;
    let a = f64::from(a);
    rules(&Op::new(Scaled::new(T::from_f64(a), op.clone())), &scale(a, &m), TIGHT)?;
    rules(&Op::new(Shifted::new(op, T::from_f64(a)).unwrap()), &add(&m, &scale(a, &eye(n))), TIGHT)?;
    Ok(())
}

fn products_and_blocks<T: Scalar>(s: usize, t: usize, n: usize, k: usize, seed: u64) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>(s, n, seed);
    let (b, db) = square::<T>(t, k, seed + 7);
    rules(&a.kron(&b).unwrap(), &kron(&da, &db), TIGHT)?;
    rules(&algebra::block_diag(&[a.clone(), b.clone()]).unwrap(), &direct(&da, &db), TIGHT)?;
    let sum = add(&kron(&da, &eye(k)), &kron(&eye(n), &db));
    let symmetric = (a.props() & b.props()).contains(Props::SELF_ADJOINT);
    rules(&a.kron_sum(&b).unwrap(), &sum, if symmetric { TIGHT } else { Limits::default() })?;
    let (c, dc) = square::<T>(t, n, seed + 9);
    rules(&(&a * &c).unwrap(), &mul(&da, &dc), TIGHT)?;
    rules(&(&a + &c).unwrap(), &add(&da, &dc), Limits::default())?;
    Ok(())
}

fn damped_kroneckers<T: Scalar>(s: usize, t: usize, seed: u64) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>(s, 3, seed);
    let (b, db) = square::<T>(t, 2, seed + 7);
    let k = kron(&da, &db);
    rules(&a.kron(&b).unwrap().shifted(T::from_f64(0.7)).unwrap(), &add(&k, &scale(0.7, &eye(6))), TIGHT)?;
    let (c, dc) = square::<T>(2, 3, seed + 11);
    let (d, dd) = square::<T>(7, 2, seed + 13);
    let both = (&a.kron(&b).unwrap() + &c.kron(&d).unwrap()).unwrap();
    let want = add(&k, &kron(&dc, &dd));
    let got = dispatch::slogdet(&both, TIGHT, Par::Seq).unwrap();
    let lu = numerics::dense::Lu::new(want.as_ref(), Par::Seq).unwrap().slogdet();
    if condition(&want) > allowed::<T>().condition {
        return Ok(());
    }
    prop_assert_eq!(got.0, lu.0);
    near(got.1, lu.1, 10.0, "two-term log det")?;
    let inverse = dispatch::inverse(&both, TIGHT, Par::Seq).unwrap().to_dense(Par::Seq).unwrap();
    near(off(&mul(&inverse, &want), &eye(want.nrows())), T::ZERO, condition(&want), "two-term inverse")?;
    Ok(())
}

fn grids_by_schur_complement<T: Scalar>(s: usize, seed: u64, corner: bool) -> Result<(), TestCaseError> {
    let (a, da) = square::<T>([2, 7, 16, 17][s % 4], 3, seed);
    let (d, dd) = square::<T>(s, 4, seed + 1);
    let (b, db) = rectangle::<T>(3, 4, seed + 2);
    let (c, dc) = rectangle::<T>(4, 3, seed + 3);
    let c = corner.then_some(c);
    let m = Mat::from_fn(7, 7, |i, j| match (i < 3, j < 3) {
        (true, true) => da[(i, j)],
        (true, false) => db[(i, j - 3)],
        (false, true) => {
            if corner {
                dc[(i - 3, j)]
            } else {
                T::ZERO
            }
        }
        _ => dd[(i - 3, j - 3)],
    });
    let grid = Block::new(vec![3, 4], vec![3, 4], vec![vec![Some(a), Some(b)], vec![c, Some(d)]]).unwrap();
    let condition = condition(&m);
    if condition > allowed::<T>().condition.min(1e6) {
        return Ok(());
    }
    let op = Op::new(grid);
    let (sign, log) = dispatch::slogdet(&op, TIGHT, Par::Seq).unwrap();
    let want = numerics::dense::Lu::new(m.as_ref(), Par::Seq).unwrap().slogdet();
    prop_assert_eq!(sign, want.0);
    near(log, want.1, 7.0, "log det")?;
    let inverse = dispatch::inverse(&op, TIGHT, Par::Seq).unwrap().to_dense(Par::Seq).unwrap();
    near(off(&mul(&inverse, &m), &eye(m.nrows())), T::ZERO, condition, "inverse")?;
    Ok(())
}

fn low_rank_updates<T: Scalar>(s: usize, n: usize, r: usize, seed: u64, core: bool) -> Result<(), TestCaseError> {
    let (u, v) = (fixed_mat::<T>(n, r, seed), fixed_mat::<T>(n, r, seed + 1));
    let c = fixed_mat::<T>(r, r, seed + 2);
    let low = if core {
        LowRank::new(u.clone(), Some(c.clone()), Some(v.clone())).unwrap()
    } else {
        LowRank::gram(u.clone())
    };
    let dlow = if core { mul(&mul(&u, &c), &tr(&v)) } else { mul(&u, &tr(&u)) };
    rules(&Op::new(low.clone()), &dlow, Limits::default())?;
    let (a, da) = square::<T>(s, n, seed + 3);
    rules(&(&a + &Op::new(low)).unwrap(), &add(&da, &dlow), Limits::default())?;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn leaves_match_dense(s in 0..SORTS, n in 0usize..5, seed in 0u64..1000, a in -2i32..3) {
        leaves::<f64>(s, n, seed, a)?;
        leaves::<f32>(s, n, seed, a)?;
    }

    #[test]
    fn products_and_blocks_match_dense(s in 0..SORTS, t in 0..SORTS, n in 0usize..4, k in 0usize..4, seed in 0u64..1000) {
        products_and_blocks::<f64>(s, t, n, k, seed)?;
        products_and_blocks::<f32>(s, t, n, k, seed)?;
    }

    #[test]
    fn damped_kroneckers_match_dense(s in 1usize..6, t in 1usize..6, seed in 0u64..1000) {
        damped_kroneckers::<f64>(s, t, seed)?;
        damped_kroneckers::<f32>(s, t, seed)?;
    }

    #[test]
    fn grids_by_schur_complement_match_dense(s in 0..SORTS, seed in 0u64..1000, corner in any::<bool>()) {
        grids_by_schur_complement::<f64>(s, seed, corner)?;
        grids_by_schur_complement::<f32>(s, seed, corner)?;
    }

    #[test]
    fn low_rank_updates_match_dense(s in 0..SORTS, n in 5usize..8, r in 1usize..4, seed in 0u64..1000, core in any::<bool>()) {
        low_rank_updates::<f64>(s, n, r, seed, core)?;
        low_rank_updates::<f32>(s, n, r, seed, core)?;
    }
}

/// faer's single-precision SVD stalls on this sum; `numerics` answers all the same.
#[test]
fn the_case_that_stalls_in_single_precision() {
    damped_kroneckers::<f32>(3, 1, 261).unwrap();
}

#[test]
fn singular_and_empty_cases() {
    let inf = f64::NEG_INFINITY;
    let (x, _) = rectangle(2, 3, 1);
    let (y, _) = rectangle(3, 2, 2);
    assert_eq!(x.kron(&y).unwrap().slogdet(Par::Seq), Ok((0.0, inf)));
    assert_eq!(x.kron(&y).unwrap().inverse(Par::Seq).unwrap_err(), Error::Singular { op: "inverse" });
    assert_eq!((&y * &x).unwrap().slogdet(Par::Seq), Ok((0.0, inf)));
    let empty = Op::new(ScalarIdentity::new(0.0, 0));
    assert_eq!(empty.slogdet(Par::Seq), Ok((1.0, 0.0)));
    let zero = Op::zero(3, 3);
    assert_eq!(zero.slogdet(Par::Seq), Ok((0.0, inf)));
    assert_eq!(zero.kron(&empty).unwrap().slogdet(Par::Seq), Ok((1.0, 0.0)));
    let singular = Op::diag(vec![1.0, 0.0]);
    assert_eq!(singular.kron(&singular).unwrap().slogdet(Par::Seq), Ok((0.0, inf)));
    // A zero on the diagonal of a low-rank update does not make the sum singular.
    let low = Op::new(LowRank::gram(Mat::from_fn(2, 1, |i, _| if i == 1 { 2.0 } else { 0.0 })));
    let sum = (&singular + &low).unwrap();
    let (sign, log) = sum.slogdet(Par::Seq).unwrap();
    assert!(sign == 1.0 && (log - 4.0_f64.ln()).abs() < 1e-14);
    assert!(sum.inverse(Par::Seq).is_ok());
    let none = Limits::dense(1);
    assert!(matches!(dispatch::inverse(&sum, none, Par::Seq), Err(Error::SingularBase { n: 2, limit: 1, .. })));
    let opaque = Op::new(ClosureOp::<f64>::new(9, 9, |_, _| Ok(())));
    assert!(matches!(dispatch::trace(&opaque, none, Par::Seq), Err(Error::NeedsEstimate { n: 9, .. })));
    assert!(matches!(x.trace(Par::Seq), Err(Error::NotSquare { .. })));
    // No factorwise root of two negative factors.
    let minus = Op::new(ScalarIdentity::new(-1.0_f64, 1))
        .kron(&Op::new(Dense::with_props(Mat::from_fn(1, 1, |_, _| -1.0), Props::SELF_ADJOINT)));
    let root = minus.unwrap().root(2.0, Par::Seq).unwrap().to_dense(Par::Seq).unwrap();
    assert!((root[(0, 0)] - 1.0).abs() < 1e-15);
}

#[test]
fn low_rank_solves_stay_accurate_near_the_range() {
    let n = 40;
    let u = fixed_mat::<f64>(n, 3, 5);
    let large = Mat::from_fn(n, 3, |i, j| 1e4 * u[(i, j)]);
    let op = (&Op::identity(n) + &Op::new(LowRank::gram(large.clone()))).unwrap();
    let inverse = op.inverse(Par::Seq).unwrap();
    let b = Mat::from_fn(n, 1, |i, _| u[(i, 0)]);
    let apply = |op: &Op<f64>, x: &Mat<f64>| {
        let mut out = Mat::zeros(n, 1);
        let mut buffer = numerics::MemBuffer::new(op.apply_req(1, Par::Seq));
        let stack = numerics::MemStack::new(&mut buffer);
        op.apply(out.as_mut(), 1.0, x.as_ref(), 0.0, Par::Seq, stack).unwrap();
        out
    };
    let x = apply(&inverse, &b);
    let residual = max_diff(apply(&op, &x).as_ref(), b.as_ref());
    assert!(residual < 1e-12, "{residual:e}");
    let dense = inverse.to_dense(Par::Seq).unwrap();
    linop_core::testing::check_operator(&inverse, dense.as_ref(), 1e-14);
    assert!(inverse.props().contains(Props::PD));
}
