//! Conjugate gradients for positive definite operators, a block of independent columns at a time.
//!
//! Source: Hestenes and Stiefel 1952 with a preconditioner. One block product with A (and one with M) per iteration
//! for all unfinished columns, about ten vector operations per column, four vectors per column of memory. The
//! recursive residual is never overwritten while the directions are conjugate: when it meets the tolerance, `b - A x`
//! is computed; if that misses, it becomes the residual **and** the directions are started afresh. A restart that does
//! not halve the true residual ends the column as [`Outcome::Stagnated`].

use super::block::{Product, check_rhs, check_self_adjoint, column_vec, write_column};
use super::report::{Options, Outcome, Solution, SolveReport, true_residual};
use super::vector::{axpy, dot, norm, scale, unit_scale, xpby};
use crate::{Error, LinearOperator};
use core::ops::Deref;
use numerics::{Mat, MatRef, Par, Scalar};

/// A [`Solution`] with the directions of zero or negative curvature that were met.
#[derive(Clone, Debug)]
#[must_use = "a solution may not have converged: look at the report or call `require_converged`"]
pub struct CgSolution<T: Scalar> {
    /// Iterates and report.
    pub solution: Solution<T>,
    /// For every column that ended as [`Outcome::NotPositiveDefinite`], a unit vector `d` with `d^T A d <= 0`.
    pub curvature: Vec<Option<Vec<T>>>,
}

impl<T: Scalar> Deref for CgSolution<T> {
    type Target = Solution<T>;
    fn deref(&self) -> &Solution<T> {
        &self.solution
    }
}

impl<T: Scalar> CgSolution<T> {
    /// The solution, or the error of the first column that did not meet its tolerance.
    pub fn require_converged(self) -> Result<Mat<T>, Error> {
        self.solution.require_converged()
    }
}

/// One right-hand side under way, scaled by a power of two so that `|b|` is about one.
struct Column<T> {
    index: usize,
    b: Vec<T>,
    x: Vec<T>,
    r: Vec<T>,
    p: Vec<T>,
    rz: T,
    rnorm: T,
    tol: T,
    scale: T,
    last_true: T,
    /// Residual norm of the start.
    first: T,
    /// Residual norm and copy of the best iterate, once the iteration has got worse than it.
    best: Option<(T, Vec<T>)>,
    restarted: bool,
}

impl<T: Scalar> Column<T> {
    /// The step `x += alpha p`, `r -= alpha q`; keeps the iterate that is left if it is the best so far.
    fn step(&mut self, alpha: T, q: &[T]) {
        axpy(&mut self.r, -alpha, q);
        let rnorm = norm(&self.r);
        let best = self.best.as_ref().map_or(T::INFINITY, |b| b.0);
        if !(rnorm <= self.rnorm) && self.rnorm < best {
            match &mut self.best {
                Some((norm, x)) => {
                    *norm = self.rnorm;
                    x.copy_from_slice(&self.x);
                }
                none => *none = Some((self.rnorm, self.x.clone())),
            }
        }
        axpy(&mut self.x, alpha, &self.p);
        self.rnorm = rnorm;
    }
}

/// Solves `A X = B` for self-adjoint positive definite `A`.
///
/// `A` must be known to be self-adjoint; definiteness is watched: a column that meets `p^T A p <= 0` ends as
/// [`Outcome::NotPositiveDefinite`] with its iterate of least residual, and the direction is handed back.
///
/// ```
/// use linop_core::krylov::{Options, cg};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, 2.0, 4.0]);
/// let b = Mat::from_fn(3, 1, |_, _| 1.0);
/// let x = cg(&a, b.as_ref(), &Options::default(), Par::Seq)?.require_converged()?;
/// assert!((x[(2, 0)] - 0.25).abs() < 1e-7);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn cg<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    par: Par,
) -> Result<CgSolution<T>, Error> {
    const OP: &str = "cg";
    let n = check_self_adjoint(OP, a)?;
    check_rhs(OP, n, b)?;
    let k = b.ncols();
    options.check(OP, n, k)?;

    let mut x = Mat::zeros(n, k);
    let mut curvature = vec![None; k];
    let mut report = SolveReport::new(OP, k);
    let mut by_a = Product::new(Some(a), false, n, k, par);
    let mut by_m = Product::new(options.precond, false, n, k, par);
    let mut active = start(b, options);
    residuals(&mut active, &mut by_a, options.x0.is_some())?;

    let limit = options.iteration_limit(n);
    let mut done: Vec<(Column<T>, Outcome)> = Vec::new();
    for iteration in 0..=limit {
        verify(&mut active, &mut done, &mut by_a)?;
        if iteration == limit {
            done.extend(active.drain(..).map(|c| (c, Outcome::MaxIterations)));
        }
        if active.is_empty() {
            break;
        }
        report.iterations = iteration + 1;

        for (j, c) in active.iter().enumerate() {
            by_m.set(j, &c.r);
        }
        by_m.run(active.len())?;
        let mut kept = Vec::with_capacity(active.len());
        for (j, mut c) in active.drain(..).enumerate() {
            let z = by_m.out(j);
            let rz = dot(&c.r, z);
            if !rz.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "the preconditioned residual" });
            }
            if rz <= T::ZERO {
                done.push((c, Outcome::PreconditionerNotPositiveDefinite { iteration }));
                continue;
            }
            if c.restarted {
                c.p.copy_from_slice(z);
                c.restarted = false;
            } else {
                let beta = rz / c.rz;
                xpby(&mut c.p, z, beta);
            }
            c.rz = rz;
            by_a.set(kept.len(), &c.p);
            kept.push(c);
        }
        by_a.run(kept.len())?;
        for (j, mut c) in kept.into_iter().enumerate() {
            let q = by_a.out(j);
            let curvature_p = dot(&c.p, q);
            if !curvature_p.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "a product with A" });
            }
            if curvature_p <= T::ZERO {
                let mut d = c.p.clone();
                let length = norm(&d);
                scale(&mut d, length.recip());
                curvature[c.index] = Some(d);
                done.push((c, Outcome::NotPositiveDefinite { iteration }));
                continue;
            }
            let alpha = c.rz / curvature_p;
            c.step(alpha, q);
            if !c.rnorm.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "the residual" });
            }
            active.push(c);
        }
    }
    finish(done, options.x0, x.as_mut(), &mut report, &mut by_a)?;
    report.products = by_a.columns;
    report.precond_products = by_m.columns;
    Ok(CgSolution { solution: Solution { x, report }, curvature })
}

/// Columns with a nonzero right-hand side; the others keep the answer zero.
fn start<T: Scalar>(b: MatRef<'_, T>, options: &Options<'_, T>) -> Vec<Column<T>> {
    let n = b.nrows();
    let mut columns = Vec::with_capacity(b.ncols());
    for index in 0..b.ncols() {
        let mut rhs = column_vec(b, index);
        let bnorm = norm(&rhs);
        if bnorm == T::ZERO {
            continue;
        }
        let s = unit_scale(bnorm);
        scale(&mut rhs, s);
        let mut x = options.x0.map_or_else(|| vec![T::ZERO; n], |x0| column_vec(x0, index));
        scale(&mut x, s);
        let tol = (options.rtol * (bnorm * s).to_f64()).max(options.atol * s.to_f64());
        columns.push(Column {
            index,
            r: rhs.clone(),
            rnorm: norm(&rhs),
            x,
            p: vec![T::ZERO; n],
            rz: T::ONE,
            tol: T::from_f64(tol),
            scale: s,
            last_true: T::INFINITY,
            first: norm(&rhs),
            best: None,
            restarted: true,
            b: rhs,
        });
    }
    columns
}

/// Initial residuals, where the start is not zero.
fn residuals<T: Scalar>(active: &mut [Column<T>], by_a: &mut Product<'_, T>, nonzero: bool) -> Result<(), Error> {
    if nonzero {
        for (j, c) in active.iter().enumerate() {
            by_a.set(j, &c.x);
        }
        by_a.run(active.len())?;
        for (j, c) in active.iter_mut().enumerate() {
            c.rnorm = true_residual(&c.b, by_a.out(j), &mut c.r);
            c.first = c.rnorm;
            if !c.rnorm.is_finite() {
                return Err(Error::NotFinite { op: "cg", operand: "a product with A" });
            }
        }
    }
    Ok(())
}

/// For columns whose recursive residual meets the tolerance: accepts, restarts or gives up on the true one.
fn verify<T: Scalar>(
    active: &mut Vec<Column<T>>,
    done: &mut Vec<(Column<T>, Outcome)>,
    by_a: &mut Product<'_, T>,
) -> Result<(), Error> {
    let (candidates, rest): (Vec<_>, Vec<_>) = active.drain(..).partition(|c| c.rnorm <= c.tol);
    *active = rest;
    for (j, c) in candidates.iter().enumerate() {
        by_a.set(j, &c.x);
    }
    by_a.run(candidates.len())?;
    let mut restarting = Vec::new();
    for (j, mut c) in candidates.into_iter().enumerate() {
        c.rnorm = true_residual(&c.b, by_a.out(j), &mut c.r);
        if c.rnorm <= c.tol {
            done.push((c, Outcome::Converged));
        } else if !(c.rnorm <= T::from_f64(0.5) * c.last_true) {
            done.push((c, Outcome::Stagnated));
        } else {
            c.last_true = c.rnorm;
            c.restarted = true;
            restarting.push(c);
        }
    }
    weigh(&mut restarting, by_a)?;
    active.append(&mut restarting);
    Ok(())
}

/// Replaces the recursive residual norms of the kept iterates by true ones.
fn weigh<T: Scalar>(columns: &mut [Column<T>], by_a: &mut Product<'_, T>) -> Result<(), Error> {
    let mut width = 0;
    for (_, x) in columns.iter().filter_map(|c| c.best.as_ref()) {
        by_a.set(width, x);
        width += 1;
    }
    by_a.run(width)?;
    let mut r = Vec::new();
    let mut j = 0;
    for c in columns {
        if let Some((norm, _)) = &mut c.best {
            *norm = true_residual(&c.b, by_a.out(j), &mut r);
            j += 1;
        }
    }
    Ok(())
}

/// Unscales the iterates; columns that failed get the best of start, kept iterate and last iterate, by true residual.
fn finish<T: Scalar>(
    done: Vec<(Column<T>, Outcome)>,
    x0: Option<MatRef<'_, T>>,
    mut x: numerics::MatMut<'_, T>,
    report: &mut SolveReport,
    by_a: &mut Product<'_, T>,
) -> Result<(), Error> {
    let (solved, failed): (Vec<_>, Vec<_>) = done.into_iter().partition(|(_, o)| *o == Outcome::Converged);
    let (mut columns, outcomes): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
    weigh(&mut columns, by_a)?;
    for (j, c) in columns.iter().enumerate() {
        by_a.set(j, &c.x);
    }
    by_a.run(columns.len())?;
    for (j, c) in columns.iter_mut().enumerate() {
        c.rnorm = true_residual(&c.b, by_a.out(j), &mut c.r);
        if let Some((norm, best)) = c.best.take()
            && !(c.rnorm <= norm)
        {
            (c.rnorm, c.x) = (norm, best);
        }
        if !(c.rnorm <= c.first) {
            c.rnorm = c.first;
            c.x = x0.map_or_else(|| vec![T::ZERO; c.x.len()], |x0| column_vec(x0, c.index));
            scale(&mut c.x, c.scale);
        }
    }
    for (mut c, outcome) in solved.into_iter().chain(columns.into_iter().zip(outcomes)) {
        report.finish(c.index, (c.rnorm / c.scale).to_f64(), (norm(&c.b) / c.scale).to_f64(), outcome);
        scale(&mut c.x, c.scale.recip());
        write_column(x.as_mut(), c.index, &c.x);
    }
    Ok(())
}
