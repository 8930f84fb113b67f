//! GMRES(30): least residuals for general square operators, restarted.
//!
//! Source: Saad and Schultz 1986; Arnoldi with two Gram-Schmidt passes, Givens rotations, preconditioner on the
//! right, so that the residual minimised is the true one. One product with A (and M) and `8 n j` flops at step `j` of a
//! cycle; 31 vectors of memory. Columns are solved one after another. Two successive cycles that each gain less than
//! 0.1 % end the column as [`Outcome::Stagnated`].

use super::basis::project;
use super::block::{check_rhs, check_square, write_column};
use super::packed::{Packed, carve, read_column, residual};
use super::report::{Options, Outcome, Solution, SolveReport};
use super::vector::{axpy, norm, scale, unit_scale};
use crate::ops::{temp, temp_req};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

const OP: &str = "gmres";

/// Length of a cycle.
pub const RESTART: usize = 30;

/// Solves `A X = B` for square `A`; the iteration limit counts products with A per column.
///
/// ```
/// use linop_core::krylov::{Options, gmres};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, -2.0, 4.0]);
/// let b = Mat::from_fn(3, 1, |_, _| 1.0);
/// let x = gmres(&a, b.as_ref(), &Options::default(), Par::Seq)?.require_converged()?;
/// assert!((x[(1, 0)] + 0.5).abs() < 1e-7);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn gmres<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    par: Par,
) -> Result<Solution<T>, Error> {
    let (n, k) = (a.nrows(), b.ncols());
    let mut x = Mat::zeros(n, k);
    let mut report = SolveReport::new(OP, k);
    let mut memory = MemBuffer::new(req(a, options.precond, par));
    solve_in(a, b, options, x.as_mut(), &mut report, par, MemStack::new(&mut memory))?;
    Ok(Solution { x, report })
}

/// Scratch of [`solve_in`], for any number of columns: they are solved one after another.
pub(crate) fn req<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>, par: Par) -> StackReq {
    let child = Packed::child(Some(a), false, 1, par).or(Packed::child(precond, false, 1, par));
    temp_req::<T>(1, slab_len(a, precond)).and(child)
}

/// Vectors: right-hand side, iterate, the one before it, residual, the next basis vector, the correction.
const VECTORS: usize = 6;

/// Numbers of the small problem: the triangle, rotations, right-hand side, column, coefficients, projections.
const SMALL: usize = RESTART * RESTART + 2 * RESTART + 4 * (RESTART + 1);

fn slab_len<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>) -> usize {
    let n = a.nrows();
    (VECTORS + RESTART + 1) * n + SMALL + Packed::len(Some(a), false, n, 1) + Packed::len(precond, false, n, 1)
}

/// [`gmres`] into the caller's memory.
pub(crate) fn solve_in<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    mut x: MatMut<'_, T>,
    report: &mut SolveReport,
    par: Par,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let n = check_square(OP, a)?;
    check_rhs(OP, n, b)?;
    options.check(OP, n, b.ncols())?;
    temp!(slab, stack = stack, slab_len(a, options.precond));
    let mut slab: &mut [T] = slab;
    let by_a = Packed::new(Some(a), false, n, 1, par, &mut slab);
    let by_m = Packed::new(options.precond, false, n, 1, par, &mut slab);
    let [rhs, xj, before, r, w, correction] = carve::<T, VECTORS>(&mut slab, n);
    let [basis] = carve(&mut slab, (RESTART + 1) * n);
    let [rows] = carve(&mut slab, RESTART * RESTART);
    let [cosines, sines] = carve(&mut slab, RESTART);
    let [g, h, y, c] = carve(&mut slab, RESTART + 1);
    let mut solver = Cycle { by_a, by_m, n, par, before, w, correction, basis, rows, cosines, sines, g, h, y, c };
    for j in 0..b.ncols() {
        read_column(b, j, rhs);
        let size = norm(rhs);
        xj.fill(T::ZERO);
        if size == T::ZERO {
            write_column(x.as_mut(), j, xj);
            continue;
        }
        let s = unit_scale(size);
        scale(rhs, s);
        if let Some(x0) = options.x0 {
            read_column(x0, j, xj);
            scale(xj, s);
        }
        let bnorm = size * s;
        let tol = T::from_f64((options.rtol * bnorm.to_f64()).max(options.atol * s.to_f64()));
        let limit = options.iteration_limit(n);
        let (rnorm, steps, outcome) = solver.solve(rhs, xj, r, tol, limit, options.x0.is_some(), stack)?;
        report.iterations = report.iterations.max(steps);
        report.finish(j, (rnorm / s).to_f64(), size.to_f64(), outcome);
        scale(xj, s.recip());
        write_column(x.as_mut(), j, xj);
    }
    report.products = solver.by_a.columns;
    report.precond_products = solver.by_m.columns;
    Ok(())
}

struct Cycle<'a, T: Scalar> {
    by_a: Packed<'a, T>,
    by_m: Packed<'a, T>,
    n: usize,
    par: Par,
    before: &'a mut [T],
    w: &'a mut [T],
    correction: &'a mut [T],
    /// The basis vectors one after another.
    basis: &'a mut [T],
    /// The triangle, column by column.
    rows: &'a mut [T],
    cosines: &'a mut [T],
    sines: &'a mut [T],
    g: &'a mut [T],
    h: &'a mut [T],
    y: &'a mut [T],
    c: &'a mut [T],
}

impl<T: Scalar> Cycle<'_, T> {
    /// Cycles until the true residual meets `tol`; returns it with the number of steps and the outcome.
    fn solve(
        &mut self,
        b: &[T],
        x: &mut [T],
        r: &mut [T],
        tol: T,
        limit: usize,
        nonzero_start: bool,
        stack: &mut MemStack,
    ) -> Result<(T, usize, Outcome), Error> {
        r.copy_from_slice(b);
        let mut rnorm = norm(r);
        if nonzero_start {
            rnorm = residual(b, self.by_a.one(x, stack)?, r);
        }
        let (mut steps, mut stalled) = (0, 0);
        loop {
            if !rnorm.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "the residual" });
            }
            if rnorm <= tol {
                return Ok((rnorm, steps, Outcome::Converged));
            }
            if stalled == 2 {
                return Ok((rnorm, steps, Outcome::Stagnated));
            }
            if steps >= limit {
                return Ok((rnorm, steps, Outcome::MaxIterations));
            }
            self.before.copy_from_slice(x);
            steps += self.cycle(r, rnorm, x, tol, limit - steps, stack)?;
            let next = residual(b, self.by_a.one(x, stack)?, r);
            if next > rnorm {
                // Rounding only: keep the better iterate.
                x.copy_from_slice(self.before);
                rnorm = residual(b, self.by_a.one(x, stack)?, r);
                return Ok((rnorm, steps, Outcome::Stagnated));
            }
            stalled = if next > T::from_f64(0.999) * rnorm { stalled + 1 } else { 0 };
            rnorm = next;
        }
    }

    /// One cycle from the residual `r`; adds the correction to `x` and returns the number of steps.
    fn cycle(
        &mut self,
        r: &[T],
        rnorm: T,
        x: &mut [T],
        tol: T,
        limit: usize,
        stack: &mut MemStack,
    ) -> Result<usize, Error> {
        let m = RESTART.min(self.n).min(limit);
        self.put(0, Some(r), rnorm.recip());
        self.g.fill(T::ZERO);
        self.g[0] = rnorm;
        let mut steps = 0;
        while steps < m {
            let Some(next) = self.step(steps, stack)? else { break };
            steps += 1;
            if self.g[steps].abs() <= tol || next == T::ZERO {
                break;
            }
            if steps < m {
                self.put(steps, None, next.recip());
            }
        }
        // Back substitution, then x += M Q y.
        for j in (0..steps).rev() {
            let mut sum = self.g[j];
            for i in j + 1..steps {
                sum -= self.rows[i * RESTART + j] * self.y[i];
            }
            self.y[j] = sum / self.rows[j * RESTART + j];
        }
        self.correction.fill(T::ZERO);
        for (q, &y) in self.basis.chunks_exact(self.n).zip(&self.y[..steps]) {
            axpy(self.correction, y, q);
        }
        let z = self.by_m.one(self.correction, stack)?;
        axpy(x, T::ONE, z);
        Ok(steps.max(1))
    }

    /// Basis vector j is `v * factor`, v the given vector or else the latest `w`.
    fn put(&mut self, j: usize, v: Option<&[T]>, factor: T) {
        let v = v.unwrap_or(self.w);
        let q = &mut self.basis[j * self.n..][..self.n];
        for (q, &v) in q.iter_mut().zip(v) {
            *q = v * factor;
        }
    }

    /// Step j of Arnoldi with its rotation: `w` is the next direction, the result its length; `None` on a singular
    /// operator whose space is exhausted, where this direction cannot reduce the residual.
    fn step(&mut self, j: usize, stack: &mut MemStack) -> Result<Option<T>, Error> {
        let n = self.n;
        let z = self.by_m.one(&self.basis[j * n..][..n], stack)?;
        self.w.copy_from_slice(self.by_a.one(z, stack)?);
        let size = norm(self.w);
        if !size.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "a product" });
        }
        let q = MatRef::from_column_major_slice(&self.basis[..n * (j + 1)], n, j + 1);
        self.h[..=j].fill(T::ZERO);
        for _ in 0..2 {
            project(q, self.w, &mut self.h[..=j], &mut self.c[..=j], self.par);
        }
        let mut next = norm(self.w);
        let negligible = T::from_f64(10.0) * T::EPS * size;
        if next <= negligible {
            next = T::ZERO;
        }
        let h = &mut *self.h;
        for (i, (&c, &s)) in self.cosines[..j].iter().zip(&self.sines[..j]).enumerate() {
            let (top, bottom) = (h[i], h[i + 1]);
            h[i] = c * top + s * bottom;
            h[i + 1] = c * bottom - s * top;
        }
        let pivot = h[j].hypot(next);
        if pivot <= negligible {
            return Ok(None);
        }
        let (c, s) = (h[j] / pivot, next / pivot);
        (self.cosines[j], self.sines[j]) = (c, s);
        h[j] = pivot;
        self.rows[j * RESTART..][..=j].copy_from_slice(&h[..=j]);
        let top = self.g[j];
        self.g[j] = c * top;
        self.g[j + 1] = -s * top;
        Ok(Some(next))
    }
}
