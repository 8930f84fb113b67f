//! `Op`: an owned, cheaply cloned handle of any operator.
//!
//! The algebra (`+`, `-`, `*`, `.t()`, `.kron()`, ...) works on handles and rewrites where structure allows.

use crate::{Cost, Error, Kind, LinearOperator, Props, Space};
use core::fmt::{self, Debug};
use numerics::rng::{Law, Role};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};
use std::sync::Arc;

/// A shared operator: `Arc<dyn LinearOperator<T>>` with an algebra.
pub struct Op<T: Scalar>(Arc<dyn LinearOperator<T>>);

impl<T: Scalar> Op<T> {
    /// Takes an operator.
    pub fn new(op: impl LinearOperator<T> + 'static) -> Self {
        Op(Arc::new(op))
    }

    /// Takes a shared operator.
    pub fn from_arc(op: Arc<dyn LinearOperator<T>>) -> Self {
        Op(op)
    }

    /// The operator behind the handle.
    pub fn as_dyn(&self) -> &(dyn LinearOperator<T> + 'static) {
        &*self.0
    }

    /// The operator with facts added that the caller vouches for.
    pub fn assume(&self, props: Props) -> Self {
        if self.props().contains(props) { self.clone() } else { Op::new(crate::ops::Assumed::new(self.clone(), props)) }
    }

    /// The operator with facts that follow from how it was made: they are not probed.
    pub(crate) fn derived(self, props: Props) -> Self {
        if self.props().contains(props) { self } else { Op::new(crate::ops::Assumed::derived(self, props)) }
    }

    /// The operator between these spaces (of results, of inputs); `None` leaves a side as it is.
    ///
    /// ```
    /// use linop_core::{Error, LinearOperator, Op, Space};
    /// let space = Space::new([vec![2, 3], vec![2]])?;
    /// let a = Op::diag(vec![1.0_f64; 8]).with_spaces(Some(space.clone()), Some(space.clone()))?;
    /// assert!((&a * &a)?.spaces().0.is_some_and(|s| **s == space));
    /// // The same size in other shapes does not fit.
    /// let other = Op::<f64>::identity(8).with_spaces(Some(Space::new([vec![8]])?), None)?;
    /// assert!(matches!(&a + &other, Err(Error::SpaceMismatch { .. })));
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ShapeMismatch` for a space of another size.
    pub fn with_spaces(&self, output: Option<Space>, input: Option<Space>) -> Result<Self, Error> {
        let (old_output, old_input) = self.spaces();
        let output = output.map(Arc::new).or_else(|| old_output.cloned());
        let input = input.map(Arc::new).or_else(|| old_input.cloned());
        Ok(Op::new(crate::ops::Spaced::new(self.clone(), output, input)?))
    }

    /// The operator between spaces that are known to fit.
    pub(crate) fn between(self, output: Option<&Arc<Space>>, input: Option<&Arc<Space>>) -> Self {
        if (output.is_none() && input.is_none()) || self.spaces() == (output, input) {
            return self;
        }
        match crate::ops::Spaced::new(self.clone(), output.cloned(), input.cloned()) {
            Ok(spaced) => Op::new(spaced),
            Err(_) => self,
        }
    }

    /// How far `u . (A v)` and `(A^T u) . v` are apart for random u and v, relative to `max(|u| |A v|, |A^T u| |v|)`: a
    /// quick test of a product and its transpose that are written apart.
    ///
    /// ```
    /// use linop_core::{Op, ops::ClosureOp};
    /// use numerics::Par;
    /// // The transpose of a doubling must double, too.
    /// let double = |c: f64| move |mut out: numerics::MatMut<'_, f64>, x: numerics::MatRef<'_, f64>| {
    ///     for j in 0..x.ncols() { for i in 0..x.nrows() { out[(i, j)] = c * x[(i, j)]; } }
    ///     Ok(())
    /// };
    /// let right = Op::new(ClosureOp::new(50, 50, double(2.0)).with_transpose(double(2.0)));
    /// let wrong = Op::new(ClosureOp::new(50, 50, double(2.0)).with_transpose(double(2.1)));
    /// assert!(right.dot_test(0, Par::Seq)? < 1e-14 && wrong.dot_test(0, Par::Seq)? > 1e-6);
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the two products, `TransposeUnavailable` among them.
    pub fn dot_test(&self, seed: u64, par: Par) -> Result<f64, Error> {
        let (m, n) = (self.nrows(), self.ncols());
        let draw = |len: usize, i: u64| {
            let mut x = Mat::zeros(len, 1);
            numerics::rng::probe(Law::Gaussian, seed, Role::LanczosStart, i, x.col_as_slice_mut(0));
            x
        };
        let (u, v) = (draw(m, 0), draw(n, 1));
        let (mut av, mut atu) = (Mat::<T>::zeros(m, 1), Mat::<T>::zeros(n, 1));
        let mut buffer = MemBuffer::new(self.apply_req(1, par).or(self.apply_t_req(1, par)));
        self.apply(av.as_mut(), T::ONE, v.as_ref(), T::ZERO, par, MemStack::new(&mut buffer))?;
        self.apply_t(atu.as_mut(), T::ONE, u.as_ref(), T::ZERO, par, MemStack::new(&mut buffer))?;
        let dot = |x: &Mat<T>, y: &Mat<T>| -> f64 {
            x.col_as_slice(0).iter().zip(y.col_as_slice(0)).map(|(x, y)| x.to_f64() * y.to_f64()).sum()
        };
        let norm = |x: &Mat<T>| dot(x, x).sqrt();
        let scale = (norm(&u) * norm(&av)).max(norm(&atu) * norm(&v));
        let apart = (dot(&u, &av) - dot(&atu, &v)).abs();
        Ok(if scale > 0.0 { apart / scale } else { apart })
    }

    /// A counting and timing wrapper, and its counters.
    pub fn counted(&self) -> (Self, Arc<crate::ops::Counts>) {
        let (op, counts) = crate::ops::Counted::new(self.clone());
        (Op::new(op), counts)
    }

    /// `A X` as a new matrix: the product for callers who do not keep scratch.
    ///
    /// ```
    /// use linop_core::Op;
    /// use numerics::{Mat, Par};
    /// let y = Op::diag(vec![1.0, 2.0]).times_mat(Mat::from_fn(2, 3, |_, j| j as f64).as_ref(), Par::Seq)?;
    /// assert_eq!(y[(1, 2)], 4.0);
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ShapeMismatch`, and those of the operator.
    pub fn times_mat(&self, x: MatRef<'_, T>, par: Par) -> Result<Mat<T>, Error> {
        let mut out = Mat::zeros(self.nrows(), x.ncols());
        let mut buffer = MemBuffer::new(self.apply_req(x.ncols(), par));
        self.apply(out.as_mut(), T::ONE, x, T::ZERO, par, MemStack::new(&mut buffer))?;
        Ok(out)
    }

    /// `A^-1 B` by the rules of [`inverse`](Self::inverse). For more than one solve keep the inverse.
    ///
    /// ```
    /// use linop_core::{Mat, Op, Par};
    /// let x = Op::diag(vec![1.0, 2.0]).solve(Mat::from_fn(2, 1, |_, _| 4.0).as_ref(), Par::Seq)?;
    /// assert_eq!((x[(0, 0)], x[(1, 0)]), (4.0, 2.0));
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ShapeMismatch`, and those of [`inverse`](Self::inverse) and of an iteration that does not converge.
    pub fn solve(&self, b: MatRef<'_, T>, par: Par) -> Result<Mat<T>, Error> {
        self.inverse(par)?.times_mat(b, par)
    }

    /// The matrix: products with blocks of 64 unit vectors, transposed ones if `8 * nrows < ncols`.
    pub fn to_dense(&self, par: Par) -> Result<Mat<T>, Error> {
        to_dense(self, par)
    }

    /// Whether two handles share one operator.
    pub fn same(&self, other: &Op<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Scalar> Clone for Op<T> {
    fn clone(&self) -> Self {
        Op(Arc::clone(&self.0))
    }
}

impl<T: Scalar> Debug for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! forward {
    ($([$($gen:tt)*] $ty:ty, $self:ident => $inner:expr;)*) => {$(
        impl<T: Scalar, $($gen)*> LinearOperator<T> for $ty {
            fn nrows(&$self) -> usize { $inner.nrows() }
            fn ncols(&$self) -> usize { $inner.ncols() }
            fn apply_req(&$self, k: usize, par: Par) -> StackReq { $inner.apply_req(k, par) }
            fn apply_t_req(&$self, k: usize, par: Par) -> StackReq { $inner.apply_t_req(k, par) }
            fn apply(
                &$self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, par: Par, stack: &mut MemStack,
            ) -> Result<(), Error> {
                $inner.apply(out, alpha, x, beta, par, stack)
            }
            fn apply_t(
                &$self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, par: Par, stack: &mut MemStack,
            ) -> Result<(), Error> {
                $inner.apply_t(out, alpha, x, beta, par, stack)
            }
            fn props(&$self) -> Props { $inner.props() }
            fn assumed(&$self) -> Props { $inner.assumed() }
            fn kind(&$self) -> Kind<'_, T> { $inner.kind() }
            fn cost(&$self, k: usize) -> Cost { $inner.cost(k) }
            fn spaces(&$self) -> (Option<&Arc<Space>>, Option<&Arc<Space>>) { $inner.spaces() }
        }
    )*};
}

forward! {
    [] Op<T>, self => self.0;
    [A: LinearOperator<T> + ?Sized] Arc<A>, self => (**self);
    [A: LinearOperator<T> + ?Sized] Box<A>, self => (**self);
    [A: LinearOperator<T> + ?Sized] &A, self => (**self);
}

/// The matrix of any operator, see [`Op::to_dense`]; more than 1 GiB is [`Error::MemoryCap`].
pub fn to_dense<T: Scalar>(op: &dyn LinearOperator<T>, par: Par) -> Result<Mat<T>, Error> {
    to_dense_within(op, crate::dispatch::Limits::MEMORY, par)
}

/// The matrix, if it takes no more than `cap` bytes.
pub(crate) fn to_dense_within<T: Scalar>(op: &dyn LinearOperator<T>, cap: usize, par: Par) -> Result<Mat<T>, Error> {
    const WIDTH: usize = 64;
    let (m, n) = (op.nrows(), op.ncols());
    let bytes = m.saturating_mul(n).saturating_mul(size_of::<T>());
    if bytes > cap {
        return Err(Error::MemoryCap { op: "to_dense", bytes, cap });
    }
    let mut out = Mat::zeros(m, n);
    if m == 0 || n == 0 {
        return Ok(out);
    }
    let unit = |rows: usize, start: usize, k: usize| {
        Mat::from_fn(rows, k, |i, j| if i == start + j { T::ONE } else { T::ZERO })
    };
    if 8 * m < n {
        let mut buffer = MemBuffer::new(op.apply_t_req(WIDTH.min(m), par));
        for start in (0..m).step_by(WIDTH) {
            let k = WIDTH.min(m - start);
            let rows = out.as_mut().subrows_mut(start, k).transpose_mut();
            match op.apply_t(rows, T::ONE, unit(m, start, k).as_ref(), T::ZERO, par, MemStack::new(&mut buffer)) {
                Err(Error::TransposeUnavailable { .. }) => return plain(op, out, par),
                r => r?,
            }
        }
        return Ok(out);
    }
    return plain(op, out, par);

    fn plain<T: Scalar>(op: &dyn LinearOperator<T>, mut out: Mat<T>, par: Par) -> Result<Mat<T>, Error> {
        let n = op.ncols();
        let mut buffer = MemBuffer::new(op.apply_req(WIDTH.min(n), par));
        for start in (0..n).step_by(WIDTH) {
            let k = WIDTH.min(n - start);
            let unit = Mat::from_fn(n, k, |i, j| if i == start + j { T::ONE } else { T::ZERO });
            let cols = out.as_mut().subcols_mut(start, k);
            op.apply(cols, T::ONE, unit.as_ref(), T::ZERO, par, MemStack::new(&mut buffer))?;
        }
        Ok(out)
    }
}
