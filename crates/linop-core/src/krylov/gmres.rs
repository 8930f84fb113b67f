//! GMRES(30): least residuals for general square operators, restarted.
//!
//! Source: Saad and Schultz 1986; Arnoldi with two Gram-Schmidt passes, Givens rotations, preconditioner on the
//! right, so that the residual minimised is the true one. One product with A (and M) and `8 n j` flops at step `j` of a
//! cycle; 31 vectors of memory. Columns are solved one after another. Two successive cycles that each gain less than
//! 0.1 % end the column as [`Outcome::Stagnated`].

use super::basis::Basis;
use super::block::{Product, check_rhs, check_square, column_vec, write_column};
use super::report::{Options, Outcome, Solution, SolveReport, true_residual};
use super::vector::{axpy, norm, scale, unit_scale};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatRef, Par, Scalar};

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
    let n = check_square(OP, a)?;
    check_rhs(OP, n, b)?;
    options.check(OP, n, b.ncols())?;
    let mut solver = Cycle {
        by_a: Product::new(Some(a), false, n, 1, par),
        by_m: Product::new(options.precond, false, n, 1, par),
        n,
        par,
    };
    let mut report = SolveReport::new(OP, b.ncols());
    let mut x = Mat::zeros(n, b.ncols());
    for j in 0..b.ncols() {
        let mut rhs = column_vec(b, j);
        let size = norm(&rhs);
        if size == T::ZERO {
            continue;
        }
        let s = unit_scale(size);
        scale(&mut rhs, s);
        let mut xj = options.x0.map_or_else(|| vec![T::ZERO; n], |x0| column_vec(x0, j));
        scale(&mut xj, s);
        let bnorm = size * s;
        let tol = T::from_f64((options.rtol * bnorm.to_f64()).max(options.atol * s.to_f64()));
        let (rnorm, steps, outcome) =
            solver.solve(&rhs, &mut xj, tol, options.iteration_limit(n), options.x0.is_some())?;
        report.iterations = report.iterations.max(steps);
        report.finish(j, (rnorm / s).to_f64(), size.to_f64(), outcome);
        scale(&mut xj, s.recip());
        write_column(x.as_mut(), j, &xj);
    }
    report.products = solver.by_a.columns;
    report.precond_products = solver.by_m.columns;
    Ok(Solution { x, report })
}

struct Cycle<'a, T: Scalar> {
    by_a: Product<'a, T>,
    by_m: Product<'a, T>,
    n: usize,
    par: Par,
}

impl<T: Scalar> Cycle<'_, T> {
    /// Cycles until the true residual meets `tol`; returns it with the number of steps and the outcome.
    fn solve(
        &mut self,
        b: &[T],
        x: &mut [T],
        tol: T,
        limit: usize,
        nonzero_start: bool,
    ) -> Result<(T, usize, Outcome), Error> {
        let mut r = b.to_vec();
        let mut rnorm = norm(&r);
        if nonzero_start {
            rnorm = true_residual(b, self.by_a.one(x)?, &mut r);
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
            let before: Vec<T> = x.to_vec();
            steps += self.cycle(&r, rnorm, x, tol, limit - steps)?;
            let next = true_residual(b, self.by_a.one(x)?, &mut r);
            if next > rnorm {
                // Rounding only: keep the better iterate.
                x.copy_from_slice(&before);
                rnorm = true_residual(b, self.by_a.one(x)?, &mut r);
                return Ok((rnorm, steps, Outcome::Stagnated));
            }
            stalled = if next > T::from_f64(0.999) * rnorm { stalled + 1 } else { 0 };
            rnorm = next;
        }
    }

    /// One cycle from the residual `r`; adds the correction to `x` and returns the number of steps.
    fn cycle(&mut self, r: &[T], rnorm: T, x: &mut [T], tol: T, limit: usize) -> Result<usize, Error> {
        let m = RESTART.min(self.n).min(limit);
        let mut q = Basis::new(self.n, m + 1);
        q.push(r, rnorm.recip());
        let mut rows = Mat::<T>::zeros(m, m);
        let mut rotations: Vec<(T, T)> = Vec::with_capacity(m);
        let mut g = vec![T::ZERO; m + 1];
        g[0] = rnorm;
        let mut h = vec![T::ZERO; m + 1];
        let mut w = vec![T::ZERO; self.n];
        let mut steps = 0;
        while steps < m {
            let j = steps;
            let z = self.by_m.one(q.col(j))?;
            w.copy_from_slice(self.by_a.one(z)?);
            let size = norm(&w);
            if !size.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "a product" });
            }
            q.project_out(&mut w, &mut h[..=j], self.par);
            let mut next = norm(&w);
            if next <= T::from_f64(10.0) * T::EPS * size {
                next = T::ZERO;
            }
            for (i, &(c, s)) in rotations.iter().enumerate() {
                let (top, bottom) = (h[i], h[i + 1]);
                h[i] = c * top + s * bottom;
                h[i + 1] = c * bottom - s * top;
            }
            let pivot = h[j].hypot(next);
            if pivot <= T::from_f64(10.0) * T::EPS * size {
                // A singular operator on an exhausted space: this direction cannot reduce the residual.
                break;
            }
            let (c, s) = (h[j] / pivot, next / pivot);
            rotations.push((c, s));
            h[j] = pivot;
            for i in 0..=j {
                rows[(i, j)] = h[i];
            }
            let top = g[j];
            g[j] = c * top;
            g[j + 1] = -s * top;
            steps += 1;
            if g[j + 1].abs() <= tol || next == T::ZERO {
                break;
            }
            if steps < m {
                q.push(&w, next.recip());
            }
        }
        let mut y = g[..steps].to_vec();
        for j in (0..steps).rev() {
            y[j] /= rows[(j, j)];
            for i in 0..j {
                let change = rows[(i, j)] * y[j];
                y[i] -= change;
            }
        }
        let mut correction = vec![T::ZERO; self.n];
        for (j, &y) in y.iter().enumerate() {
            axpy(&mut correction, y, q.col(j));
        }
        let z = self.by_m.one(&correction)?;
        axpy(x, T::ONE, z);
        Ok(steps.max(1))
    }
}
