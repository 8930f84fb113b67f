//! The dispatch table against dense matrices.

use crate::samples::*;
use linop_core::dispatch::{self, Limits};
use linop_core::ops::*;
use linop_core::testing::{fixed_mat, max_abs, max_diff};
use linop_core::{Error, LinearOperator, Op, Props, algebra};
use numerics::{Mat, Par};
use proptest::prelude::*;

/// Nothing may be made dense beyond 4 x 4: the rule itself has to answer.
const TIGHT: Limits = Limits { dense: 4 };

fn near(got: f64, want: f64, scale: f64, what: &str) -> Result<(), TestCaseError> {
    prop_assert!((got - want).abs() <= 1e-9 * (1.0 + scale), "{what}: {got} against {want}");
    Ok(())
}

fn condition(m: &Mat<f64>) -> f64 {
    if m.nrows() == 0 {
        return 1.0;
    }
    let s = numerics::dense::svd(m.as_ref()).unwrap().s;
    if s[s.len() - 1] == 0.0 { f64::INFINITY } else { s[0] / s[s.len() - 1] }
}

fn rules(op: &Op<f64>, m: &Mat<f64>, limits: Limits) -> Result<(), TestCaseError> {
    let n = m.nrows();
    let size = max_abs(m.as_ref()) * (1 + n) as f64;
    let fail = |e: Error| TestCaseError::fail(format!("{e}: {op:?}"));
    let trace: f64 = (0..n).map(|i| m[(i, i)]).sum();
    near(dispatch::trace(op, limits, Par::Seq).map_err(fail)?, trace, size, "trace")?;
    let diagonal = dispatch::diagonal(op, limits, Par::Seq).map_err(fail)?;
    prop_assert_eq!(diagonal.len(), n);
    for i in 0..n {
        near(diagonal[i], m[(i, i)], size, "diagonal")?;
    }
    let squares: f64 = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|p| m[p] * m[p]).sum();
    near(dispatch::frobenius_sq(op, limits, Par::Seq).map_err(fail)?, squares, squares, "frobenius")?;
    let condition = condition(m);
    let (sign, log) = dispatch::slogdet(op, limits, Par::Seq).map_err(fail)?;
    if condition < 1e8 {
        let want = if n == 0 { (1.0, 0.0) } else { numerics::dense::Lu::new(m.as_ref(), Par::Seq).unwrap().slogdet() };
        prop_assert_eq!(sign, want.0, "sign of {:?}", op);
        near(log, want.1, n as f64, "log det")?;
        let inverse = dispatch::inverse(op, limits, Par::Seq).map_err(fail)?;
        let d = inverse.to_dense(Par::Seq).map_err(fail)?;
        let off = max_diff(mul(&d, m).as_ref(), eye(n).as_ref());
        prop_assert!(off <= 1e-12 * condition * (1 + n) as f64, "inverse off by {off:e}: {op:?}");
        let tol = 1e-11 * condition * (1.0 + max_abs(d.as_ref()));
        linop_core::testing::check_props(inverse.props(), d.as_ref(), tol)
            .map_err(|e| TestCaseError::fail(format!("inverse {e}: {op:?}")))?;
    } else if condition > 1e13 {
        prop_assert!(sign == 0.0 || log < -15.0, "{sign} {log}");
    }
    if op.props().contains(Props::SELF_ADJOINT) {
        let e = dispatch::eigh(op, Limits::default(), Par::Seq).map_err(fail)?;
        let d = Op::new(e).to_dense(Par::Seq).map_err(fail)?;
        near(max_diff(d.as_ref(), m.as_ref()), 0.0, size, "eigh")?;
        let exp = op.exp(Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        let want = numerics::dense::expm(m.as_ref()).unwrap();
        near(max_diff(exp.as_ref(), want.as_ref()), 0.0, max_abs(want.as_ref()), "exp")?;
    }
    if op.props().contains(Props::PD) && condition < 1e6 {
        let root = op.root(2.0, Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        near(max_diff(mul(&root, &root).as_ref(), m.as_ref()), 0.0, size, "root")?;
        let log = op.log(Par::Seq).map_err(fail)?;
        let back = log.exp(Par::Seq).map_err(fail)?.to_dense(Par::Seq).map_err(fail)?;
        near(max_diff(back.as_ref(), m.as_ref()), 0.0, size, "exp of log")?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn leaves(s in 0..SORTS, n in 0usize..5, seed in 0u64..1000, a in -2i32..3) {
        let (op, m) = square(s, n, seed);
        rules(&op, &m, TIGHT)?;
        rules(&Op::new(Transposed::new(op.clone())), &tr(&m), TIGHT)?;
        let a = f64::from(a);
        rules(&Op::new(Scaled::new(a, op.clone())), &scale(a, &m), TIGHT)?;
        rules(&Op::new(Shifted::new(op, a).unwrap()), &add(&m, &scale(a, &eye(n))), TIGHT)?;
    }

    #[test]
    fn products_and_blocks(s in 0..SORTS, t in 0..SORTS, n in 0usize..4, k in 0usize..4, seed in 0u64..1000) {
        let (a, da) = square(s, n, seed);
        let (b, db) = square(t, k, seed + 7);
        rules(&a.kron(&b).unwrap(), &kron(&da, &db), TIGHT)?;
        rules(&algebra::block_diag(&[a.clone(), b.clone()]).unwrap(), &direct(&da, &db), TIGHT)?;
        let sum = add(&kron(&da, &eye(k)), &kron(&eye(n), &db));
        let symmetric = (a.props() & b.props()).contains(Props::SELF_ADJOINT);
        rules(&a.kron_sum(&b).unwrap(), &sum, if symmetric { TIGHT } else { Limits::default() })?;
        let (c, dc) = square(t, n, seed + 9);
        rules(&(&a * &c).unwrap(), &mul(&da, &dc), TIGHT)?;
        rules(&(&a + &c).unwrap(), &add(&da, &dc), Limits::default())?;
    }

    #[test]
    fn damped_kroneckers(s in 1usize..6, t in 1usize..6, seed in 0u64..1000) {
        let (a, da) = square(s, 3, seed);
        let (b, db) = square(t, 2, seed + 7);
        let k = kron(&da, &db);
        rules(&a.kron(&b).unwrap().shifted(0.7).unwrap(), &add(&k, &scale(0.7, &eye(6))), TIGHT)?;
        let (c, dc) = square(2, 3, seed + 11);
        let (d, dd) = square(7, 2, seed + 13);
        let both = (&a.kron(&b).unwrap() + &c.kron(&d).unwrap()).unwrap();
        let want = add(&k, &kron(&dc, &dd));
        let got = dispatch::slogdet(&both, TIGHT, Par::Seq).unwrap();
        let lu = numerics::dense::Lu::new(want.as_ref(), Par::Seq).unwrap().slogdet();
        prop_assume!(condition(&want) < 1e8);
        prop_assert_eq!(got.0, lu.0);
        near(got.1, lu.1, 10.0, "two-term log det")?;
        let inverse = dispatch::inverse(&both, TIGHT, Par::Seq).unwrap().to_dense(Par::Seq).unwrap();
        near(max_diff(mul(&inverse, &want).as_ref(), eye(6).as_ref()), 0.0, condition(&want), "two-term inverse")?;
    }

    #[test]
    fn grids_by_schur_complement(s in 0..SORTS, seed in 0u64..1000, corner in any::<bool>()) {
        let (a, da) = square([2, 7, 16, 17][s % 4], 3, seed);
        let (d, dd) = square(s, 4, seed + 1);
        let (b, db) = rectangle(3, 4, seed + 2);
        let (c, dc) = rectangle(4, 3, seed + 3);
        let c = corner.then_some(c);
        let m = Mat::from_fn(7, 7, |i, j| match (i < 3, j < 3) {
            (true, true) => da[(i, j)],
            (true, false) => db[(i, j - 3)],
            (false, true) => if corner { dc[(i - 3, j)] } else { 0.0 },
            _ => dd[(i - 3, j - 3)],
        });
        let grid = Block::new(vec![3, 4], vec![3, 4], vec![vec![Some(a), Some(b)], vec![c, Some(d)]]).unwrap();
        let condition = condition(&m);
        if condition > 1e6 {
            return Ok(());
        }
        let op = Op::new(grid);
        let (sign, log) = dispatch::slogdet(&op, TIGHT, Par::Seq).unwrap();
        let want = numerics::dense::Lu::new(m.as_ref(), Par::Seq).unwrap().slogdet();
        prop_assert_eq!(sign, want.0);
        near(log, want.1, 7.0, "log det")?;
        let inverse = dispatch::inverse(&op, TIGHT, Par::Seq).unwrap().to_dense(Par::Seq).unwrap();
        near(max_diff(mul(&inverse, &m).as_ref(), eye(7).as_ref()), 0.0, condition, "inverse")?;
    }

    #[test]
    fn low_rank_updates(s in 0..SORTS, n in 5usize..8, r in 1usize..4, seed in 0u64..1000, core in any::<bool>()) {
        let (u, v) = (fixed_mat::<f64>(n, r, seed), fixed_mat::<f64>(n, r, seed + 1));
        let c = fixed_mat::<f64>(r, r, seed + 2);
        let low = if core {
            LowRank::new(u.clone(), Some(c.clone()), Some(v.clone())).unwrap()
        } else {
            LowRank::gram(u.clone())
        };
        let dlow = if core { mul(&mul(&u, &c), &tr(&v)) } else { mul(&u, &tr(&u)) };
        rules(&Op::new(low.clone()), &dlow, Limits::default())?;
        let (a, da) = square(s, n, seed + 3);
        rules(&(&a + &Op::new(low)).unwrap(), &add(&da, &dlow), Limits::default())?;
    }
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
    let none = Limits { dense: 1 };
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
