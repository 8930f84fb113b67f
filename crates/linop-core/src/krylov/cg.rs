//! Conjugate gradients for positive definite operators, a block of independent columns at a time.
//!
//! Source: Hestenes and Stiefel 1952 with a preconditioner. One block product with A (and one with M) per iteration
//! for all unfinished columns, about ten vector operations per column, four vectors per column of memory. The
//! recursive residual is never overwritten while the directions are conjugate: when it meets the tolerance, `b - A x`
//! is computed; if that misses, it becomes the residual **and** the directions are started afresh. A restart that does
//! not halve the true residual ends the column as [`Outcome::Stagnated`]. Nothing is allocated once the memory of a
//! solve is there.

use super::block::{check_rhs, check_self_adjoint, write_column};
use super::packed::{Packed, carve, read_column, residual};
use super::report::{Options, Outcome, Solution, SolveReport};
use super::vector::{axpy, dot, norm, quick_norm, scale, unit_scale, xpby};
use crate::ops::{temp, temp_req};
use crate::{Error, LinearOperator};
use core::ops::Deref;
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

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

#[derive(Clone, Copy, PartialEq)]
enum State {
    Active,
    /// Has just been restarted from its true residual.
    Restarted,
    Done(Outcome),
}

/// Vectors per column.
const VECTORS: usize = 5;

/// One right-hand side under way, scaled by a power of two so that `|b|` is about one.
struct Column<'a, T> {
    b: &'a mut [T],
    x: &'a mut [T],
    r: &'a mut [T],
    p: &'a mut [T],
    /// The best iterate and its residual norm, once the iteration has got worse than it.
    best: &'a mut [T],
    best_norm: Option<T>,
    rz: T,
    rnorm: T,
    bnorm: T,
    tol: T,
    scale: T,
    last_true: T,
    /// Residual norm of the start.
    first: T,
    restarted: bool,
    state: State,
}

impl<T: Scalar> Column<'_, T> {
    /// The step `x += alpha p`, `r -= alpha q`; keeps the iterate that is left if it is the best so far.
    fn step(&mut self, alpha: T, q: &[T]) {
        axpy(self.r, -alpha, q);
        let rnorm = quick_norm(self.r);
        if !(rnorm <= self.rnorm) && self.rnorm < self.best_norm.unwrap_or(T::INFINITY) {
            self.best_norm = Some(self.rnorm);
            self.best.copy_from_slice(self.x);
        }
        axpy(self.x, alpha, self.p);
        self.rnorm = rnorm;
    }

    fn is(&self, state: State) -> bool {
        self.state == state
    }

    fn failed(&self) -> bool {
        matches!(self.state, State::Done(o) if o != Outcome::Converged)
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
    let (n, k) = (a.nrows(), b.ncols());
    let mut x = Mat::zeros(n, k);
    let mut curvature = vec![None; k];
    let mut report = SolveReport::new(OP, k);
    let mut memory = MemBuffer::new(req(a, options.precond, k, par));
    let stack = MemStack::new(&mut memory);
    solve_in(a, b, options, x.as_mut(), &mut report, Some(&mut curvature), par, stack)?;
    Ok(CgSolution { solution: Solution { x, report }, curvature })
}

const OP: &str = "cg";

/// Scratch of [`solve_in`] for `k` columns.
pub(crate) fn req<T: Scalar>(
    a: &dyn LinearOperator<T>,
    precond: Option<&dyn LinearOperator<T>>,
    k: usize,
    par: Par,
) -> StackReq {
    let child = Packed::child(Some(a), false, k, par).or(Packed::child(precond, false, k, par));
    temp_req::<T>(1, slab_len(a, precond, k)).and(StackReq::new::<Column<'_, T>>(k)).and(child)
}

fn slab_len<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>, k: usize) -> usize {
    let n = a.nrows();
    (VECTORS * n * k) + n + Packed::len(Some(a), false, n, k) + Packed::len(precond, false, n, k)
}

/// [`cg`] into the caller's memory; the directions of curvature are kept if there is a list for them.
pub(crate) fn solve_in<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    x: MatMut<'_, T>,
    report: &mut SolveReport,
    mut curvature: Option<&mut Vec<Option<Vec<T>>>>,
    par: Par,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let n = check_self_adjoint(OP, a)?;
    check_rhs(OP, n, b)?;
    let k = b.ncols();
    options.check(OP, n, k)?;
    temp!(slab, stack = stack, slab_len(a, options.precond, k));
    let mut slab: &mut [T] = slab;
    let mut by_a = Packed::new(Some(a), false, n, k, par, &mut slab);
    let mut by_m = Packed::new(options.precond, false, n, k, par, &mut slab);
    let [spare] = carve(&mut slab, n);
    let (mut columns, stack) = stack.make_with(k, |j| start(b, j, options, &mut slab));
    let columns: &mut [Column<'_, T>] = &mut columns;
    residuals(columns, &mut by_a, options.x0.is_some(), stack)?;

    let limit = options.iteration_limit(n);
    for iteration in 0..=limit {
        verify(columns, &mut by_a, spare, stack)?;
        if iteration == limit {
            let cut = columns.iter_mut().filter(|c| c.is(State::Active));
            cut.for_each(|c| c.state = State::Done(Outcome::MaxIterations));
        }
        if !columns.iter().any(|c| c.is(State::Active)) {
            break;
        }
        report.iterations = iteration + 1;

        let preconditioned = options.precond.is_some();
        if preconditioned {
            let width = pack(columns, &mut by_m, |c| c.is(State::Active).then_some(&*c.r));
            by_m.run(width, stack)?;
        }
        let mut kept = 0;
        for (j, c) in columns.iter_mut().filter(|c| c.is(State::Active)).enumerate() {
            let z = if preconditioned { by_m.out(j) } else { &*c.r };
            let rz = if preconditioned { dot(c.r, z) } else { c.rnorm * c.rnorm };
            if !rz.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "the preconditioned residual" });
            }
            if rz <= T::ZERO {
                c.state = State::Done(Outcome::PreconditionerNotPositiveDefinite { iteration });
                continue;
            }
            if c.restarted {
                c.p.copy_from_slice(z);
                c.restarted = false;
            } else {
                let beta = rz / c.rz;
                xpby(c.p, z, beta);
            }
            c.rz = rz;
            by_a.set(kept, c.p);
            kept += 1;
        }
        by_a.run(kept, stack)?;
        let mut place = 0;
        for (index, c) in columns.iter_mut().enumerate() {
            if !c.is(State::Active) {
                continue;
            }
            let q = by_a.out(place);
            place += 1;
            let curvature_p = dot(c.p, q);
            if !curvature_p.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "a product with A" });
            }
            if curvature_p <= T::ZERO {
                c.state = State::Done(Outcome::NotPositiveDefinite { iteration });
                if let Some(list) = &mut curvature {
                    let length = norm(c.p);
                    list[index] = Some(c.p.iter().map(|&x| x * length.recip()).collect());
                }
                continue;
            }
            c.step(c.rz / curvature_p, q);
            if !c.rnorm.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "the residual" });
            }
        }
    }
    finish(columns, options.x0, x, report, &mut by_a, spare, stack)?;
    report.products = by_a.columns;
    report.precond_products = by_m.columns;
    Ok(())
}

/// Sets the vectors that `pick` gives as inputs, side by side; returns how many.
fn pack<T: Scalar>(
    columns: &[Column<'_, T>],
    by: &mut Packed<'_, T>,
    pick: impl for<'c> Fn(&'c Column<'_, T>) -> Option<&'c [T]>,
) -> usize {
    let mut width = 0;
    for x in columns.iter().filter_map(pick) {
        by.set(width, x);
        width += 1;
    }
    width
}

/// The column of right-hand side j; a zero one is done before it begins.
fn start<'a, T: Scalar>(b: MatRef<'_, T>, j: usize, options: &Options<'_, T>, slab: &mut &'a mut [T]) -> Column<'a, T> {
    let [rhs, x, r, p, best] = carve::<T, VECTORS>(slab, b.nrows());
    read_column(b, j, rhs);
    let bnorm = norm(rhs);
    let zero = bnorm == T::ZERO;
    let s = if zero { T::ONE } else { unit_scale(bnorm) };
    scale(rhs, s);
    if let Some(x0) = options.x0.filter(|_| !zero) {
        read_column(x0, j, x);
        scale(x, s);
    } else {
        x.fill(T::ZERO);
    }
    r.copy_from_slice(rhs);
    let rnorm = norm(rhs);
    let tol = (options.rtol * (bnorm * s).to_f64()).max(options.atol * s.to_f64());
    Column {
        b: rhs,
        x,
        r,
        p,
        best,
        best_norm: None,
        rz: T::ONE,
        rnorm,
        bnorm: rnorm,
        tol: T::from_f64(tol),
        scale: s,
        last_true: T::INFINITY,
        first: rnorm,
        restarted: true,
        state: if zero { State::Done(Outcome::Converged) } else { State::Active },
    }
}

/// Initial residuals, where the start is not zero.
fn residuals<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by_a: &mut Packed<'_, T>,
    nonzero: bool,
    stack: &mut MemStack,
) -> Result<(), Error> {
    if nonzero {
        let width = pack(columns, by_a, |c| c.is(State::Active).then_some(&*c.x));
        by_a.run(width, stack)?;
        for (j, c) in columns.iter_mut().filter(|c| c.is(State::Active)).enumerate() {
            c.rnorm = residual(c.b, by_a.out(j), c.r);
            c.first = c.rnorm;
            if !c.rnorm.is_finite() {
                return Err(Error::NotFinite { op: OP, operand: "a product with A" });
            }
        }
    }
    Ok(())
}

/// For columns whose recursive residual meets the tolerance: accepts, restarts or gives up on the true one.
fn verify<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by_a: &mut Packed<'_, T>,
    spare: &mut [T],
    stack: &mut MemStack,
) -> Result<(), Error> {
    let candidate = |c: &Column<'_, T>| c.is(State::Active) && c.rnorm <= c.tol;
    let width = pack(columns, by_a, |c| candidate(c).then_some(&*c.x));
    if width == 0 {
        return Ok(());
    }
    by_a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| candidate(c)).enumerate() {
        c.rnorm = residual(c.b, by_a.out(j), c.r);
        if c.rnorm <= c.tol {
            c.state = State::Done(Outcome::Converged);
        } else if !(c.rnorm <= T::from_f64(0.5) * c.last_true) {
            c.state = State::Done(Outcome::Stagnated);
        } else {
            c.last_true = c.rnorm;
            c.restarted = true;
            c.state = State::Restarted;
        }
    }
    weigh(columns, |c| c.is(State::Restarted), by_a, spare, stack)?;
    columns.iter_mut().filter(|c| c.is(State::Restarted)).for_each(|c| c.state = State::Active);
    Ok(())
}

/// Replaces the recursive residual norms of the kept iterates by true ones.
fn weigh<T: Scalar>(
    columns: &mut [Column<'_, T>],
    which: impl Fn(&Column<'_, T>) -> bool,
    by_a: &mut Packed<'_, T>,
    spare: &mut [T],
    stack: &mut MemStack,
) -> Result<(), Error> {
    let kept = |c: &Column<'_, T>| which(c) && c.best_norm.is_some();
    let width = pack(columns, by_a, |c| kept(c).then_some(&*c.best));
    by_a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| kept(c)).enumerate() {
        c.best_norm = Some(residual(c.b, by_a.out(j), spare));
    }
    Ok(())
}

/// Unscales the iterates; columns that failed get the best of start, kept iterate and last iterate, by true residual.
fn finish<T: Scalar>(
    columns: &mut [Column<'_, T>],
    x0: Option<MatRef<'_, T>>,
    mut x: MatMut<'_, T>,
    report: &mut SolveReport,
    by_a: &mut Packed<'_, T>,
    spare: &mut [T],
    stack: &mut MemStack,
) -> Result<(), Error> {
    weigh(columns, |c| c.failed(), by_a, spare, stack)?;
    let width = pack(columns, by_a, |c| c.failed().then_some(&*c.x));
    by_a.run(width, stack)?;
    let mut place = 0;
    for (index, c) in columns.iter_mut().enumerate() {
        if c.failed() {
            c.rnorm = residual(c.b, by_a.out(place), c.r);
            place += 1;
            if let Some(norm) = c.best_norm
                && !(c.rnorm <= norm)
            {
                c.rnorm = norm;
                core::mem::swap(&mut c.x, &mut c.best);
            }
            if !(c.rnorm <= c.first) {
                c.rnorm = c.first;
                match x0 {
                    Some(x0) => {
                        read_column(x0, index, c.x);
                        scale(c.x, c.scale);
                    }
                    None => c.x.fill(T::ZERO),
                }
            }
        }
        if let State::Done(outcome) = c.state {
            let rnorm = if c.bnorm == T::ZERO { T::ZERO } else { c.rnorm };
            report.finish(index, (rnorm / c.scale).to_f64(), (c.bnorm / c.scale).to_f64(), outcome);
        }
        scale(c.x, c.scale.recip());
        write_column(x.as_mut(), index, c.x);
    }
    Ok(())
}
