//! The bridge to faer's matrix-free world, both ways, and faer's block conjugate gradients through it.
//!
//! faer's traits cannot fail: [`AsFaer`] keeps the first error, fills the product with NaN and hands the error out
//! through [`AsFaer::take_error`]. faer has no `alpha`, `beta`: [`FromFaer`] needs a temporary where they are used.

use crate::{Cost, Error, LinearOperator, Props};
use faer::linalg::{temp_mat_scratch, temp_mat_zeroed};
use faer::mat::AsMatMut;
use faer::matrix_free::conjugate_gradient::{CgError, CgParams, conjugate_gradient, conjugate_gradient_scratch};
use faer::matrix_free::{BiLinOp, BiPrecond, IdentityPrecond, InitialGuessStatus, LinOp, Precond};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq, dense};
use std::sync::{Mutex, PoisonError};

/// An operator of this crate as faer's `LinOp`, `BiLinOp`, `Precond` and `BiPrecond`.
#[derive(Debug)]
pub struct AsFaer<'a, T: Scalar> {
    op: &'a dyn LinearOperator<T>,
    error: Mutex<Option<Error>>,
}

impl<'a, T: Scalar> AsFaer<'a, T> {
    /// Wraps an operator.
    pub fn new(op: &'a dyn LinearOperator<T>) -> Self {
        Self { op, error: Mutex::new(None) }
    }

    /// The first error of a product since the last call.
    pub fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn product(&self, mut out: MatMut<'_, T>, x: MatRef<'_, T>, transposed: bool, par: Par, stack: &mut MemStack) {
        let result = if transposed {
            self.op.apply_t(out.as_mut(), T::ONE, x, T::ZERO, par, stack)
        } else {
            self.op.apply(out.as_mut(), T::ONE, x, T::ZERO, par, stack)
        };
        if let Err(error) = result {
            out.fill(T::NAN);
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

impl<T: Scalar> LinOp<T> for AsFaer<'_, T> {
    fn apply_scratch(&self, rhs_ncols: usize, par: Par) -> StackReq {
        self.op.apply_req(rhs_ncols, par)
    }
    fn nrows(&self) -> usize {
        self.op.nrows()
    }
    fn ncols(&self) -> usize {
        self.op.ncols()
    }
    fn apply(&self, out: MatMut<'_, T>, rhs: MatRef<'_, T>, par: Par, stack: &mut MemStack) {
        self.product(out, rhs, false, par, stack);
    }
    fn conj_apply(&self, out: MatMut<'_, T>, rhs: MatRef<'_, T>, par: Par, stack: &mut MemStack) {
        self.product(out, rhs, false, par, stack);
    }
}

impl<T: Scalar> BiLinOp<T> for AsFaer<'_, T> {
    fn transpose_apply_scratch(&self, rhs_ncols: usize, par: Par) -> StackReq {
        self.op.apply_t_req(rhs_ncols, par)
    }
    fn transpose_apply(&self, out: MatMut<'_, T>, rhs: MatRef<'_, T>, par: Par, stack: &mut MemStack) {
        self.product(out, rhs, true, par, stack);
    }
    fn adjoint_apply(&self, out: MatMut<'_, T>, rhs: MatRef<'_, T>, par: Par, stack: &mut MemStack) {
        self.product(out, rhs, true, par, stack);
    }
}

impl<T: Scalar> Precond<T> for AsFaer<'_, T> {}
impl<T: Scalar> BiPrecond<T> for AsFaer<'_, T> {}

/// A faer operator as one of this crate.
///
/// faer's operators do not tell what a product costs. Without [`FromFaer::with_cost`] it is taken for a stored matrix.
#[derive(Debug)]
pub struct FromFaer<L> {
    op: L,
    props: Props,
    /// Of a product with no columns, and of each column.
    cost: Option<(Cost, Cost)>,
}

impl<L> FromFaer<L> {
    /// Wraps a faer operator; `props` are the facts the caller knows about it ([`Props::NONE`] if none).
    pub fn new(op: L, props: Props) -> Self {
        Self { op, props, cost: None }
    }

    /// States what a product costs: `once` for any number of columns, and `each` for every column.
    ///
    /// ```
    /// use linop_core::bridge::{AsFaer, FromFaer};
    /// use linop_core::ops::Diagonal;
    /// use linop_core::{Cost, LinearOperator, Props};
    /// let d = Diagonal::new(vec![1.0f64; 100]);
    /// let (once, each) = (Cost { flops: 0.0, bytes: 800.0 }, Cost { flops: 100.0, bytes: 1600.0 });
    /// let a = FromFaer::new(AsFaer::new(&d), Props::NONE).with_cost(once, each);
    /// let two = LinearOperator::<f64>::cost(&a, 2);
    /// assert_eq!((two.flops, two.bytes), (200.0, 4000.0));
    /// ```
    pub fn with_cost(mut self, once: Cost, each: Cost) -> Self {
        self.cost = Some((once, each));
        self
    }

    /// The operator.
    pub fn into_inner(self) -> L {
        self.op
    }
}

/// Shape check of a product `out = A x`.
fn check(out: (usize, usize), x: (usize, usize), nrows: usize, ncols: usize) -> Result<(), Error> {
    if x.0 == ncols && out == (nrows, x.1) {
        Ok(())
    } else {
        Err(Error::ShapeMismatch {
            op: "a faer operator",
            expected: format!("x with {ncols} rows, out {nrows} x {}", x.1),
            got: format!("x with {} rows, out {} x {}", x.0, out.0, out.1),
        })
    }
}

impl<T: Scalar, L: BiLinOp<T> + Send> LinearOperator<T> for FromFaer<L> {
    fn nrows(&self) -> usize {
        self.op.nrows()
    }
    fn ncols(&self) -> usize {
        self.op.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        temp_mat_scratch::<T>(self.op.nrows(), k).and(self.op.apply_scratch(k, par))
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        temp_mat_scratch::<T>(self.op.ncols(), k).and(self.op.transpose_apply_scratch(k, par))
    }
    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        check(out.shape(), x.shape(), self.op.nrows(), self.op.ncols())?;
        if alpha == T::ZERO {
            dense::scale(out, beta);
        } else if beta == T::ZERO {
            self.op.apply(out.as_mut(), x, par, stack);
            if alpha != T::ONE {
                dense::scale(out, alpha);
            }
        } else {
            let (mut temp, stack) = temp_mat_zeroed::<T, _, _>(out.nrows(), out.ncols(), stack);
            let mut temp = temp.as_mat_mut();
            self.op.apply(temp.as_mut(), x, par, stack);
            dense::scale(out.as_mut(), beta);
            dense::axpy(out, alpha, temp.as_ref());
        }
        Ok(())
    }
    fn apply_t(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        check(out.shape(), x.shape(), self.op.ncols(), self.op.nrows())?;
        if alpha == T::ZERO {
            dense::scale(out, beta);
        } else if beta == T::ZERO {
            self.op.transpose_apply(out.as_mut(), x, par, stack);
            if alpha != T::ONE {
                dense::scale(out, alpha);
            }
        } else {
            let (mut temp, stack) = temp_mat_zeroed::<T, _, _>(out.nrows(), out.ncols(), stack);
            let mut temp = temp.as_mat_mut();
            self.op.transpose_apply(temp.as_mut(), x, par, stack);
            dense::scale(out.as_mut(), beta);
            dense::axpy(out, alpha, temp.as_ref());
        }
        Ok(())
    }
    fn props(&self) -> Props {
        self.props
    }
    /// As stated, otherwise that of a stored matrix.
    fn cost(&self, k: usize) -> Cost {
        let (m, n) = (self.op.nrows() as f64, self.op.ncols() as f64);
        let size = size_of::<T>() as f64;
        let (once, each) = self
            .cost
            .unwrap_or((Cost { flops: 0.0, bytes: size * m * n }, Cost { flops: 2.0 * m * n, bytes: size * (m + n) }));
        Cost { flops: once.flops + k as f64 * each.flops, bytes: once.bytes + k as f64 * each.bytes }
    }
}

/// faer's block conjugate gradients: one Krylov space shared by all columns, so fewer products than
/// [`cg`](crate::krylov::cg) for many columns, but one tolerance (`rtol` on the Frobenius norm) for the whole block.
///
/// Returns the solution and the number of block products. A non-positive pivot is
/// reported as [`Error::NotPositiveDefinite`] without its step, which faer does not tell.
///
/// ```
/// use linop_core::bridge::block_cg;
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, 2.0, 4.0]);
/// let b = Mat::from_fn(3, 2, |i, j| (i + j) as f64);
/// let (x, products) = block_cg(&a, b.as_ref(), None, 1e-9, 100, Par::Seq)?;
/// assert!((x[(2, 0)] - 0.5).abs() < 1e-7 && products <= 100);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn block_cg<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    precond: Option<&dyn LinearOperator<T>>,
    rtol: f64,
    max_iter: usize,
    par: Par,
) -> Result<(Mat<T>, usize), Error> {
    const OP: &str = "block_cg";
    let n = crate::krylov::check_self_adjoint(OP, a)?;
    crate::krylov::check_rhs(OP, n, b)?;
    crate::krylov::check_precond(OP, precond, n)?;
    if !(rtol >= 0.0 && rtol.is_finite()) {
        return Err(Error::InvalidArgument { op: OP, what: format!("rtol = {rtol}, needs a finite number >= 0") });
    }
    let mut x = Mat::zeros(n, b.ncols());
    if n == 0 || b.ncols() == 0 {
        return Ok((x, 0));
    }
    let op = AsFaer::new(a);
    let params = CgParams::<T> {
        // With `Zero` faer 0.24.4 never writes the first residual and works on uninitialised memory.
        initial_guess: InitialGuessStatus::MaybeNonZero,
        rel_tolerance: T::from_f64(rtol),
        max_iters: max_iter,
        ..CgParams::default()
    };
    let wrapped = precond.map(AsFaer::new);
    let result = match &wrapped {
        Some(m) => {
            let mut memory = MemBuffer::new(conjugate_gradient_scratch(m, &op, b.ncols(), par));
            conjugate_gradient(x.as_mut(), m, &op, b, params, |_| {}, par, MemStack::new(&mut memory))
        }
        None => {
            let m = IdentityPrecond { dim: n };
            let mut memory = MemBuffer::new(conjugate_gradient_scratch(m, &op, b.ncols(), par));
            conjugate_gradient(x.as_mut(), m, &op, b, params, |_| {}, par, MemStack::new(&mut memory))
        }
    };
    if let Some(error) = op.take_error().or_else(|| wrapped.as_ref().and_then(AsFaer::take_error)) {
        return Err(error);
    }
    match result {
        Ok(info) => Ok((x, info.iter_count)),
        Err(CgError::NonPositiveDefiniteOperator) => Err(Error::NotPositiveDefinite { op: OP, pivot: 0 }),
        Err(CgError::NonPositiveDefinitePreconditioner) => {
            Err(Error::NotPositiveDefinite { op: "preconditioner", pivot: 0 })
        }
        Err(CgError::NoConvergence { rel_residual, .. }) => {
            Err(Error::NoConvergence { op: OP, iters: max_iter, residual: rel_residual.to_f64() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::krylov::testing::{Matrix, distance, log_uniform, random, rows, times, with_spectrum};

    #[test]
    fn products_cross_the_bridge_both_ways() -> Result<(), Error> {
        let a = Matrix { a: random(5, 3, 1), props: Props::NONE };
        let back = FromFaer::new(AsFaer::new(&a), Props::NONE);
        let (x, y) = (random(3, 2, 2), random(5, 2, 3));
        for (alpha, beta) in [(1.0, 0.0), (2.0, 0.0), (-0.5, 3.0), (0.0, 2.0)] {
            let start = random(5, 2, 4);
            let mut out = if beta == 0.0 { Mat::from_fn(5, 2, |_, _| f64::NAN) } else { start.clone() };
            let mut memory = MemBuffer::new(back.apply_req(2, Par::Seq));
            back.apply(out.as_mut(), alpha, x.as_ref(), beta, Par::Seq, MemStack::new(&mut memory))?;
            let ax = times(&a.a, &x);
            let expected =
                Mat::from_fn(5, 2, |i, j| alpha * ax[(i, j)] + if beta == 0.0 { 0.0 } else { beta * start[(i, j)] });
            assert!(distance(&out, &expected) < 1e-13);
            let start = random(3, 2, 5);
            let mut out = if beta == 0.0 { Mat::from_fn(3, 2, |_, _| f64::NAN) } else { start.clone() };
            let mut memory = MemBuffer::new(back.apply_t_req(2, Par::Seq));
            back.apply_t(out.as_mut(), alpha, y.as_ref(), beta, Par::Seq, MemStack::new(&mut memory))?;
            let aty = times(&a.a.transpose().to_owned(), &y);
            let expected =
                Mat::from_fn(3, 2, |i, j| alpha * aty[(i, j)] + if beta == 0.0 { 0.0 } else { beta * start[(i, j)] });
            assert!(distance(&out, &expected) < 1e-13);
        }
        let mut memory = MemBuffer::new(back.apply_req(2, Par::Seq));
        let wrong = back.apply(Mat::zeros(3, 2).as_mut(), 1.0, x.as_ref(), 0.0, Par::Seq, MemStack::new(&mut memory));
        assert!(matches!(wrong, Err(Error::ShapeMismatch { .. })));
        Ok(())
    }

    #[test]
    fn block_cg_solves_and_fails_with_types() -> Result<(), Error> {
        let a = with_spectrum(&log_uniform(40, 100.0), 6);
        let b = random(40, 4, 7);
        let (x, products) = block_cg(&a, b.as_ref(), None, 1e-8, 200, Par::Seq)?;
        assert!(distance(&times(&a.a, &x), &b) < 1e-6 && products > 0);
        let m = {
            let e = dense::eigh(a.a.as_ref())?;
            Matrix { a: dense::apply_spectral(&e, |l| 1.0 / l, Par::Seq), props: Props::PD }
        };
        let (x, fewer) = block_cg(&a, b.as_ref(), Some(&m), 1e-8, 200, Par::Seq)?;
        assert!(distance(&times(&a.a, &x), &b) < 1e-6 && fewer < products);
        let starved = block_cg(&a, b.as_ref(), None, 1e-11, 2, Par::Seq);
        assert!(matches!(starved, Err(Error::NoConvergence { iters: 2, .. })), "{starved:?}");
        let zero = block_cg(&a, Mat::zeros(40, 2).as_ref(), None, 1e-8, 10, Par::Seq)?;
        assert!(dense::norm_l2(zero.0.as_ref()) == 0.0);
        let negative = rows(&[&[-1.0, 0.0], &[0.0, -2.0]], Props::SELF_ADJOINT);
        let refused = block_cg(&negative, random(2, 1, 8).as_ref(), None, 1e-8, 10, Par::Seq);
        assert!(matches!(refused, Err(Error::NotPositiveDefinite { .. })), "{refused:?}");
        Ok(())
    }

    /// Has no transposed product.
    #[derive(Debug)]
    struct OneWay;

    impl LinearOperator<f64> for OneWay {
        fn nrows(&self) -> usize {
            2
        }
        fn ncols(&self) -> usize {
            2
        }
        fn apply_req(&self, _k: usize, _par: Par) -> StackReq {
            StackReq::EMPTY
        }
        fn apply(
            &self,
            out: MatMut<'_, f64>,
            _alpha: f64,
            _x: MatRef<'_, f64>,
            beta: f64,
            _par: Par,
            _stack: &mut MemStack,
        ) -> Result<(), Error> {
            dense::scale(out, beta);
            Ok(())
        }
    }

    #[test]
    fn errors_of_products_are_kept() {
        let bridge = AsFaer::new(&OneWay);
        let mut out = Mat::<f64>::zeros(2, 1);
        let x = Mat::<f64>::zeros(2, 1);
        bridge.transpose_apply(out.as_mut(), x.as_ref(), Par::Seq, MemStack::new(&mut MemBuffer::new(StackReq::EMPTY)));
        assert!(out[(0, 0)].is_nan());
        assert!(matches!(bridge.take_error(), Some(Error::TransposeUnavailable { .. })));
        assert_eq!(bridge.take_error(), None);
    }
}
