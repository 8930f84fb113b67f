//! `Products`: the one way in which this crate touches an operator. It multiplies blocks, counts columns, names the
//! column that came back with a NaN ([`Watched`]), and asks the observer after every block.
//!
//! All of the crate computes in double precision whatever the operator's own precision, so that Gram matrices and
//! inner products of single-precision operators do not lose half of their digits; [`Wide`] is the view that converts.

use crate::watched::Watched;
use crate::{Error, Settings};
use core::cell::Cell;
use core::ops::ControlFlow;
use linop_core::{Cost, LinearOperator, Props};
use numerics::progress::Progress;
use numerics::rng::{Law, Role};
use numerics::{DType, Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq, dense};
use std::ops::Range;

/// What every operator of this crate checks first: `out` and `x` have as many rows as the product needs, and as many
/// columns as each other.
pub(crate) fn check_shapes<T: Scalar>(
    op: &'static str,
    (rows, inner): (usize, usize),
    out: &MatMut<'_, T>,
    x: &MatRef<'_, T>,
) -> Result<(), linop_core::Error> {
    if (out.nrows(), x.nrows(), out.ncols()) == (rows, inner, x.ncols()) {
        return Ok(());
    }
    Err(linop_core::Error::ShapeMismatch {
        op,
        expected: format!("out of {rows} x k and x of {inner} x k"),
        got: format!("{} x {} and {} x {}", out.nrows(), out.ncols(), x.nrows(), x.ncols()),
    })
}

/// An operator of any precision seen in double precision. Its products allocate, unless double is its own.
pub(crate) struct Wide<'a, T: Scalar>(pub(crate) &'a dyn LinearOperator<T>);

impl<T: Scalar> core::fmt::Debug for Wide<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Scalar> Wide<'_, T> {
    fn run(
        &self,
        transposed: bool,
        mut out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        if let (Some(x), Some(out)) = (T::of_doubles(x), T::of_doubles_mut(out.as_mut())) {
            let (alpha, beta) = (T::from_f64(alpha), T::from_f64(beta));
            return if transposed {
                self.0.apply_t(out, alpha, x, beta, par, stack)
            } else {
                self.0.apply(out, alpha, x, beta, par, stack)
            };
        }
        let k = x.ncols();
        let narrow: Mat<T> = Mat::from_fn(x.nrows(), k, |i, j| T::from_f64(x[(i, j)]));
        let mut y: Mat<T> = Mat::zeros(out.nrows(), k);
        let (one, zero) = (T::ONE, T::ZERO);
        if transposed {
            let mut buffer = MemBuffer::new(self.0.apply_t_req(k, par));
            self.0.apply_t(y.as_mut(), one, narrow.as_ref(), zero, par, MemStack::new(&mut buffer))?;
        } else {
            let mut buffer = MemBuffer::new(self.0.apply_req(k, par));
            self.0.apply(y.as_mut(), one, narrow.as_ref(), zero, par, MemStack::new(&mut buffer))?;
        }
        for j in 0..k {
            for i in 0..out.nrows() {
                let v = alpha * y[(i, j)].to_f64();
                out[(i, j)] = if beta == 0.0 { v } else { v + beta * out[(i, j)] };
            }
        }
        Ok(())
    }
}

impl<T: Scalar> LinearOperator<f64> for Wide<'_, T> {
    fn nrows(&self) -> usize {
        self.0.nrows()
    }
    fn ncols(&self) -> usize {
        self.0.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        if T::DTYPE == DType::F64 { self.0.apply_req(k, par) } else { StackReq::EMPTY }
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        if T::DTYPE == DType::F64 { self.0.apply_t_req(k, par) } else { StackReq::EMPTY }
    }
    fn apply(
        &self,
        out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.run(false, out, alpha, x, beta, par, stack)
    }
    fn apply_t(
        &self,
        out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.run(true, out, alpha, x, beta, par, stack)
    }
    fn props(&self) -> Props {
        self.0.props()
    }
    fn cost(&self, k: usize) -> Cost {
        self.0.cost(k)
    }
}

/// `A - B` of two operators of one shape.
#[derive(Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) a: &'a dyn LinearOperator<f64>,
    pub(crate) b: &'a dyn LinearOperator<f64>,
}

impl LinearOperator<f64> for Difference<'_> {
    fn nrows(&self) -> usize {
        self.a.nrows()
    }
    fn ncols(&self) -> usize {
        self.a.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.a.apply_req(k, par).or(self.b.apply_req(k, par))
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.a.apply_t_req(k, par).or(self.b.apply_t_req(k, par))
    }
    fn apply(
        &self,
        mut out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.a.apply(out.as_mut(), alpha, x, beta, par, stack)?;
        self.b.apply(out, -alpha, x, 1.0, par, stack)
    }
    fn apply_t(
        &self,
        mut out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.a.apply_t(out.as_mut(), alpha, x, beta, par, stack)?;
        self.b.apply_t(out, -alpha, x, 1.0, par, stack)
    }
    fn props(&self) -> Props {
        self.a.props() & self.b.props() & Props::SELF_ADJOINT
    }
    fn cost(&self, k: usize) -> Cost {
        let (a, b) = (self.a.cost(k), self.b.cost(k));
        Cost { flops: a.flops + b.flops, bytes: a.bytes + b.bytes }
    }
}

/// Counted, checked and watched block products with one operator.
pub(crate) struct Products<'a> {
    a: Watched<'a, f64>,
    pub(crate) op: &'static str,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) symmetric: bool,
    pub(crate) settings: Settings<'a>,
    role: Role,
    planned: Cell<usize>,
    plain: Cell<usize>,
    transposed: Cell<usize>,
    stopped: Cell<bool>,
}

impl<'a> Products<'a> {
    pub(crate) fn new(a: &'a dyn LinearOperator<f64>, op: &'static str, settings: &Settings<'a>) -> Self {
        Products {
            a: Watched::new(a),
            op,
            m: a.nrows(),
            n: a.ncols(),
            symmetric: a.props().contains(Props::SELF_ADJOINT),
            settings: *settings,
            role: Role::RightProbe,
            planned: Cell::new(0),
            plain: Cell::new(0),
            transposed: Cell::new(0),
            stopped: Cell::new(false),
        }
    }

    /// The same with right probes of another role, independent of the usual ones.
    pub(crate) fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The same where the method has multiplied so many columns before: errors count them.
    pub(crate) fn after(mut self, products: usize) -> Self {
        self.a = self.a.after(products);
        self
    }

    /// The method has multiplied so many columns in another way: errors count them.
    pub(crate) fn skip(&self, products: usize) {
        self.a.skip(products);
    }

    /// The operator for iterations that multiply by themselves: their products are not counted here, but an error names the column
    /// among all of them.
    pub(crate) fn operator(&self) -> &Watched<'a, f64> {
        &self.a
    }

    /// An error of such an iteration.
    pub(crate) fn named(&self, error: linop_core::Error) -> Error {
        self.a.named(self.op, error)
    }

    /// The size, if square.
    pub(crate) fn square(&self) -> Result<usize, Error> {
        if self.m == self.n {
            return Ok(self.n);
        }
        Err(Error::NotSquare { op: self.op, nrows: self.m, ncols: self.n })
    }

    pub(crate) fn par(&self) -> Par {
        self.settings.par
    }

    /// Columns of a block product: as the settings say, or as suits the operator's cost. An operator that is read from
    /// memory as a whole (a stored matrix) is worth wider blocks than one whose work grows with the columns.
    pub(crate) fn width(&self) -> usize {
        const LEAST: usize = 32;
        const MOST: usize = 256;
        /// Of what is asked for, so that sums of widths stay numbers.
        const ASKED: usize = usize::MAX / 4;
        /// Flops a byte at which memory no longer limits a product.
        const ENOUGH: f64 = 48.0;
        if self.settings.block > 0 {
            return self.settings.block.min(ASKED);
        }
        let intensity = |k: usize| {
            let cost = self.a.cost(k);
            cost.flops / cost.bytes.max(1.0)
        };
        let mut width = LEAST;
        while width < MOST && intensity(width) < ENOUGH && intensity(2 * width) > 1.5 * intensity(width) {
            width *= 2;
        }
        width
    }

    /// Says how many products there will be, for the observer.
    pub(crate) fn plan(&self, products: usize) {
        self.planned.set(products);
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.plain.get(), self.transposed.get())
    }

    pub(crate) fn spent(&self) -> usize {
        self.plain.get() + self.transposed.get()
    }

    /// Whether the observer has asked to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.get()
    }

    pub(crate) fn interrupted(&self) -> Error {
        Error::Interrupted { op: self.op, products: self.spent() }
    }

    /// Probe columns of length n for the right, of the law of the settings.
    pub(crate) fn right(&self, range: Range<usize>) -> Mat<f64> {
        self.draw(self.settings.law, self.role, self.n, range)
    }

    pub(crate) fn draw(&self, law: Law, role: Role, n: usize, range: Range<usize>) -> Mat<f64> {
        crate::Probe { law, seed: self.settings.seed, role }.columns_on(n, range, self.par())
    }

    /// `A x`.
    pub(crate) fn apply(&self, x: MatRef<'_, f64>) -> Result<Mat<f64>, Error> {
        self.run(false, x)
    }

    /// `A^T x`; for a self-adjoint operator the same as [`apply`](Self::apply), and counted there.
    pub(crate) fn apply_t(&self, x: MatRef<'_, f64>) -> Result<Mat<f64>, Error> {
        self.run(!self.symmetric, x)
    }

    /// The whole matrix, by products with unit vectors of the smaller side if there is a choice.
    pub(crate) fn dense(&self) -> Result<Mat<f64>, Error> {
        self.plan(self.spent() + self.n);
        self.apply(Mat::from_fn(self.n, self.n, |i, j| if i == j { 1.0 } else { 0.0 }).as_ref())
    }

    /// `D = diag(A)` by n products, without keeping the matrix.
    pub(crate) fn exact_diagonal(&self) -> Result<Vec<f64>, Error> {
        let n = self.square()?;
        self.plan(self.spent() + n);
        let mut d = Vec::with_capacity(n);
        let width = self.width();
        for start in (0..n).step_by(width) {
            let k = width.min(n - start);
            let y = self.apply(Mat::from_fn(n, k, |i, j| if i == start + j { 1.0 } else { 0.0 }).as_ref())?;
            d.extend((0..k).map(|j| y[(start + j, j)]));
            if self.stopped() && start + k < n {
                return Err(self.interrupted());
            }
        }
        Ok(d)
    }

    fn run(&self, transposed: bool, x: MatRef<'_, f64>) -> Result<Mat<f64>, Error> {
        let rows = if transposed { self.n } else { self.m };
        let mut out = dense::zeros(rows, x.ncols(), self.par());
        self.run_into(transposed, x, out.as_mut())?;
        Ok(out)
    }

    /// `A x` in memory that is there.
    pub(crate) fn apply_into(&self, x: MatRef<'_, f64>, out: MatMut<'_, f64>) -> Result<(), Error> {
        self.run_into(false, x, out)
    }

    /// `A^T x` in memory that is there; as [`apply_t`](Self::apply_t).
    pub(crate) fn apply_t_into(&self, x: MatRef<'_, f64>, out: MatMut<'_, f64>) -> Result<(), Error> {
        self.run_into(!self.symmetric, x, out)
    }

    /// Goes through so many columns a block at a time; an observer that asks to stop ends it between two blocks.
    pub(crate) fn by_blocks(
        &self,
        columns: Range<usize>,
        mut run: impl FnMut(Range<usize>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let width = self.width();
        for start in columns.clone().step_by(width) {
            if start > columns.start && self.stopped() {
                return Err(self.interrupted());
            }
            run(start..(start + width).min(columns.end))?;
        }
        Ok(())
    }

    fn run_into(&self, transposed: bool, x: MatRef<'_, f64>, mut out: MatMut<'_, f64>) -> Result<(), Error> {
        let (rows, k) = (out.nrows(), x.ncols());
        if rows == 0 || k == 0 {
            return Ok(());
        }
        let width = self.width().min(k);
        let par = self.par();
        let req = if transposed { self.a.apply_t_req(width, par) } else { self.a.apply_req(width, par) };
        let mut buffer = MemBuffer::new(req);
        for start in (0..k).step_by(width) {
            if start > 0 && self.stopped() {
                return Err(self.interrupted());
            }
            let count = width.min(k - start);
            let (y, x) = (out.as_mut().subcols_mut(start, count), x.subcols(start, count));
            let stack = MemStack::new(&mut buffer);
            let done = if transposed {
                self.a.apply_t(y, 1.0, x, 0.0, par, stack)
            } else {
                self.a.apply(y, 1.0, x, 0.0, par, stack)
            };
            done.map_err(|e| self.named(e))?;
            let counter = if transposed { &self.transposed } else { &self.plain };
            counter.set(counter.get() + count);
            let progress = Progress::new(self.op, self.spent() as u64, self.planned.get() as u64);
            if let ControlFlow::Break(()) = self.settings.observer.report(&progress) {
                self.stopped.set(true);
            }
        }
        Ok(())
    }
}

impl core::fmt::Debug for Products<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Products").field("op", &self.op).field("spent", &self.spent()).finish_non_exhaustive()
    }
}
