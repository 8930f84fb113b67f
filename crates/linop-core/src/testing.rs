//! `check_operator`: what every operator must satisfy, against a dense copy.
//!
//! Shapes, products of both sides, alpha and beta with NaN in the memory that must not be read, block columns against
//! single ones, the adjoint dot test, the declared facts, and a run with exactly the scratch that was asked for.

use crate::{Error, LinearOperator, Props};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar};

/// Numbers in (-1, 1) that depend on the seed only.
pub fn fixed_mat<T: Scalar>(nrows: usize, ncols: usize, seed: u64) -> Mat<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    Mat::from_fn(nrows, ncols, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    })
}

/// Largest absolute entry.
pub fn max_abs<T: Scalar>(a: MatRef<'_, T>) -> f64 {
    let mut m = 0.0f64;
    for j in 0..a.ncols() {
        for i in 0..a.nrows() {
            let x = a[(i, j)].to_f64().abs();
            m = if x.is_nan() { f64::INFINITY } else { m.max(x) };
        }
    }
    m
}

/// Largest absolute difference.
pub fn max_diff<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> f64 {
    if (a.nrows(), a.ncols()) != (b.nrows(), b.ncols()) {
        return f64::INFINITY;
    }
    max_abs(Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - b[(i, j)]).as_ref())
}

fn matmul<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), b.ncols(), |i, j| {
        T::from_f64((0..a.ncols()).map(|l| a[(i, l)].to_f64() * b[(l, j)].to_f64()).sum())
    })
}

fn apply<T: Scalar>(
    op: &dyn LinearOperator<T>,
    transposed: bool,
    out: MatMut<'_, T>,
    alpha: T,
    x: MatRef<'_, T>,
    beta: T,
    par: Par,
) -> Result<(), Error> {
    let k = x.ncols();
    if transposed {
        let mut buffer = MemBuffer::new(op.apply_t_req(k, par));
        op.apply_t(out, alpha, x, beta, par, MemStack::new(&mut buffer))
    } else {
        let mut buffer = MemBuffer::new(op.apply_req(k, par));
        op.apply(out, alpha, x, beta, par, MemStack::new(&mut buffer))
    }
}

/// Panics with a reason if the operator breaks its contract; `tol` is relative to the largest entry and the size.
pub fn check_operator<T: Scalar>(op: &dyn LinearOperator<T>, dense: MatRef<'_, T>, tol: f64) {
    let (m, n) = (op.nrows(), op.ncols());
    assert_eq!((m, n), (dense.nrows(), dense.ncols()), "shape of {op:?}");
    let scale = tol * max_abs(dense).max(1e-3) * (m.max(n).max(1) as f64);
    for transposed in [false, true] {
        let a = if transposed { dense.transpose() } else { dense };
        let (rows, cols) = (a.nrows(), a.ncols());
        for k in [0, 1, 2, 5] {
            let x = fixed_mat::<T>(cols, k, 7 + k as u64);
            let expected = matmul(a, x.as_ref());
            // beta = 0 overwrites NaN.
            let mut out = Mat::from_fn(rows, k, |_, _| T::NAN);
            match apply(op, transposed, out.as_mut(), T::ONE, x.as_ref(), T::ZERO, Par::Seq) {
                Err(Error::TransposeUnavailable { .. }) if transposed => continue,
                r => assert_eq!(r, Ok(()), "apply of {op:?}"),
            }
            let d = max_diff(out.as_ref(), expected.as_ref());
            assert!(d <= scale, "product off by {d:e} (allowed {scale:e}), transposed {transposed}, k {k}: {op:?}");
            // alpha = 0 does not evaluate: NaN in x does no harm.
            let nan = Mat::from_fn(cols, k, |_, _| T::NAN);
            let start = fixed_mat::<T>(rows, k, 99);
            let (alpha, beta) = (T::from_f64(-1.5), T::from_f64(0.75));
            let mut out = start.clone();
            assert_eq!(apply(op, transposed, out.as_mut(), T::ZERO, nan.as_ref(), beta, Par::Seq), Ok(()));
            let want = Mat::from_fn(rows, k, |i, j| beta * start[(i, j)]);
            assert!(max_diff(out.as_ref(), want.as_ref()) <= scale.min(1e-6), "alpha = 0 evaluates: {op:?}");
            // alpha and beta together; a strided out and x.
            let wide = Mat::from_fn(2 * k, cols, |i, j| if i % 2 == 0 { x[(j, i / 2)] } else { T::NAN });
            let strided = Mat::from_fn(k, cols, |i, j| wide[(2 * i, j)]);
            let mut out_t = start.transpose().to_owned();
            let y = out_t.as_mut().transpose_mut();
            assert_eq!(apply(op, transposed, y, alpha, strided.as_ref().transpose(), beta, Par::Seq), Ok(()));
            let want = Mat::from_fn(rows, k, |i, j| alpha * expected[(i, j)] + beta * start[(i, j)]);
            let d = max_diff(out_t.as_ref().transpose(), want.as_ref());
            assert!(d <= 4.0 * scale + 8.0 * T::EPS.to_f64(), "alpha, beta off by {d:e}: {op:?}");
            // Columns of a block are the single products.
            let mut block = Mat::from_fn(rows, k, |_, _| T::NAN);
            assert_eq!(apply(op, transposed, block.as_mut(), T::ONE, x.as_ref(), T::ZERO, Par::Seq), Ok(()));
            for j in 0..k {
                let mut one = Mat::from_fn(rows, 1, |_, _| T::NAN);
                let xj = x.as_ref().subcols(j, 1);
                assert_eq!(apply(op, transposed, one.as_mut(), T::ONE, xj, T::ZERO, Par::Seq), Ok(()));
                let d = max_diff(one.as_ref(), block.as_ref().subcols(j, 1));
                assert!(
                    d <= scale.min(64.0 * T::EPS.to_f64() * max_abs(block.as_ref()).max(1.0)),
                    "columns differ by {d:e}"
                );
            }
        }
        let x = fixed_mat::<T>(cols + 1, 1, 3);
        let mut out = Mat::zeros(rows, 1);
        let r = apply(op, transposed, out.as_mut(), T::ONE, x.as_ref(), T::ZERO, Par::Seq);
        assert!(
            matches!(r, Err(Error::ShapeMismatch { .. } | Error::TransposeUnavailable { .. })),
            "wrong shape: {r:?}"
        );
    }
    // u . (A v) = (A^T u) . v
    let (u, v) = (fixed_mat::<T>(m, 1, 11), fixed_mat::<T>(n, 1, 12));
    let (mut av, mut atu) = (Mat::zeros(m, 1), Mat::zeros(n, 1));
    if apply(op, true, atu.as_mut(), T::ONE, u.as_ref(), T::ZERO, Par::Seq).is_ok() {
        assert_eq!(apply(op, false, av.as_mut(), T::ONE, v.as_ref(), T::ZERO, Par::Seq), Ok(()));
        let left: f64 = (0..m).map(|i| u[(i, 0)].to_f64() * av[(i, 0)].to_f64()).sum();
        let right: f64 = (0..n).map(|i| v[(i, 0)].to_f64() * atu[(i, 0)].to_f64()).sum();
        assert!((left - right).abs() <= scale * (m.max(n).max(1) as f64), "dot test {left} against {right}: {op:?}");
    }
    check_props(op.props(), dense, scale.max(1e-30)).unwrap_or_else(|e| panic!("{e}: {op:?}"));
}

/// Whether every claimed fact holds for the matrix, up to `tol` (absolute).
pub fn check_props<T: Scalar>(p: Props, a: MatRef<'_, T>, tol: f64) -> Result<(), String> {
    let (m, n) = (a.nrows(), a.ncols());
    let get = |i: usize, j: usize| a[(i, j)].to_f64();
    let all = |f: &dyn Fn(usize, usize) -> bool| (0..m).all(|i| (0..n).all(|j| f(i, j)));
    let claim = |bits: Props, holds: bool| {
        if p.contains(bits) && !holds { Err(format!("claims {bits:?} falsely")) } else { Ok(()) }
    };
    let square_only = p.without(Props::STIEFEL | Props::COSTIEFEL | Props::ZERO);
    if m != n && !square_only.is_empty() {
        return Err(format!("a rectangle claims {square_only:?}"));
    }
    claim(Props::ZERO, all(&|i, j| get(i, j).abs() <= tol))?;
    let gram = |x: MatRef<'_, T>| {
        let g = matmul(x.transpose(), x);
        let unit = Mat::from_fn(g.nrows(), g.ncols(), |i, j| if i == j { T::ONE } else { T::ZERO });
        max_diff(g.as_ref(), unit.as_ref()) <= 10.0 * tol + 1e-30
    };
    claim(Props::STIEFEL, gram(a))?;
    claim(Props::COSTIEFEL, gram(a.transpose()))?;
    if m != n {
        return Ok(());
    }
    claim(Props::LOWER, all(&|i, j| i >= j || get(i, j).abs() <= tol))?;
    claim(Props::UPPER, all(&|i, j| i <= j || get(i, j).abs() <= tol))?;
    claim(Props::DIAGONAL, all(&|i, j| i == j || get(i, j).abs() <= tol))?;
    claim(Props::UNIT_DIAG, (0..n).all(|i| (get(i, i) - 1.0).abs() <= tol))?;
    let unit = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
    claim(Props::IDENTITY, all(&|i, j| (get(i, j) - unit(i, j)).abs() <= tol))?;
    claim(Props::PERMUTATION, all(&|i, j| get(i, j).abs() <= tol || (get(i, j) - 1.0).abs() <= tol))?;
    claim(Props::SELF_ADJOINT, all(&|i, j| (get(i, j) - get(j, i)).abs() <= tol))?;
    if p.intersects(Props::PSD | Props::NSD) && n > 0 {
        let values = numerics::dense::eigvalsh(a).map_err(|e| e.to_string())?;
        let (low, high) = (values[0].to_f64(), values[n - 1].to_f64());
        claim(Props::PSD, low >= -10.0 * tol)?;
        claim(Props::NSD, high <= 10.0 * tol)?;
        claim(Props::PD, low > 0.0)?;
        claim(Props::ND, high < 0.0)?;
    }
    Ok(())
}
