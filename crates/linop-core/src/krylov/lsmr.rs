//! LSMR: least squares for rectangular, singular or badly scaled operators.
//!
//! Source: Fong and Saunders, arXiv:1006.0758. One block product with A and one with its transpose per iteration for
//! all unfinished columns, eight vectors per column. A column ends when `|r| <= max(rtol |b|, atol)` (solved) or
//! `|A^T r| <= rtol |A| |r|` (least squares, [`Outcome::Inconsistent`]); both are checked on the true residual.
//! Rank-deficient problems give the solution of least norm when started at zero without preconditioner.

use super::block::{check_rhs, write_column};
use super::packed::{Packed, carve, read_column, residual};
use super::report::{Options, Outcome, Solution, SolveReport};
use super::vector::{axpy, norm, scale, unit_scale, xpby};
use crate::ops::{temp, temp_req};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

const OP: &str = "lsmr";

/// Products with `A N` and its transpose, `N` the preconditioner on the right.
struct Products<'a, T: Scalar> {
    a: Packed<'a, T>,
    at: Packed<'a, T>,
    n: Packed<'a, T>,
    nt: Packed<'a, T>,
}

impl<T: Scalar> Products<'_, T> {
    /// `A N v` for the first `k` columns set in `n`; results in `a`.
    fn forward(&mut self, k: usize, stack: &mut MemStack) -> Result<(), Error> {
        self.n.run(k, stack)?;
        for j in 0..k {
            self.a.set(j, self.n.out(j));
        }
        self.a.run(k, stack)
    }

    /// `N^T A^T u` for the first `k` columns set in `at`; results in `nt`.
    fn backward(&mut self, k: usize, stack: &mut MemStack) -> Result<(), Error> {
        self.at.run(k, stack)?;
        for j in 0..k {
            self.nt.set(j, self.at.out(j));
        }
        self.nt.run(k, stack)
    }
}

/// One right-hand side under way, scaled by a power of two. The unknown is `y` with `x = x_base + N y`.
struct Column<'a, T> {
    b: &'a mut [T],
    base: &'a mut [T],
    y: &'a mut [T],
    u: &'a mut [T],
    v: &'a mut [T],
    h: &'a mut [T],
    hbar: &'a mut [T],
    r: &'a mut [T],
    scalars: Recurrence<T>,
    norm_a2: T,
    tol: T,
    bnorm: T,
    scale: T,
    last_true: T,
    last_gradient: T,
    rnorm: T,
    /// `|u|` of the step under way.
    beta: T,
    phase: Phase,
}

/// What a column waits for.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The bidiagonalisation starts from `r`.
    Start,
    /// An ordinary step.
    Step,
    /// Looks finished: the true residual and gradient decide.
    Candidate,
    /// Nothing.
    Done(Outcome),
}

/// Numbers per column: four vectors of each side.
fn column_len(m: usize, n: usize) -> usize {
    3 * m + 5 * n
}

impl<'a, T: Scalar> Column<'a, T> {
    fn new(b: MatRef<'_, T>, n: usize, j: usize, options: &Options<'_, T>, slab: &mut &'a mut [T]) -> Self {
        let [rhs, u, r] = carve(slab, b.nrows());
        let [base, y, v, h, hbar] = carve(slab, n);
        read_column(b, j, rhs);
        let size = norm(rhs);
        let zero = size == T::ZERO;
        let s = if zero { T::ONE } else { unit_scale(size) };
        scale(rhs, s);
        match options.x0.filter(|_| !zero) {
            Some(x0) => {
                read_column(x0, j, base);
                scale(base, s);
            }
            None => base.fill(T::ZERO),
        }
        y.fill(T::ZERO);
        r.copy_from_slice(rhs);
        let tol = (options.rtol * (size * s).to_f64()).max(options.atol * s.to_f64());
        Column {
            rnorm: norm(rhs),
            b: rhs,
            base,
            y,
            u,
            v,
            h,
            hbar,
            r,
            scalars: Recurrence::new(T::ZERO, T::ZERO),
            norm_a2: T::ZERO,
            tol: T::from_f64(tol),
            bnorm: size * s,
            scale: s,
            last_true: T::INFINITY,
            last_gradient: T::INFINITY,
            beta: T::ZERO,
            phase: if zero { Phase::Done(Outcome::Converged) } else { Phase::Start },
        }
    }
}

/// The scalars of the two QR factorisations and of the residual's norm (section 3 and 5 of the paper).
#[derive(Clone, Copy)]
struct Recurrence<T> {
    alpha: T,
    alphabar: T,
    zetabar: T,
    rho: T,
    rhobar: T,
    cbar: T,
    sbar: T,
    zeta: T,
    betadd: T,
    betad: T,
    rhod: T,
    tautilde: T,
    thetatilde: T,
    rnorm: T,
}

impl<T: Scalar> Recurrence<T> {
    fn new(alpha: T, beta: T) -> Self {
        Self {
            alpha,
            alphabar: alpha,
            zetabar: alpha * beta,
            rho: T::ONE,
            rhobar: T::ONE,
            cbar: T::ONE,
            sbar: T::ZERO,
            zeta: T::ZERO,
            betadd: beta,
            betad: T::ZERO,
            rhod: T::ONE,
            tautilde: T::ZERO,
            thetatilde: T::ZERO,
            rnorm: beta,
        }
    }

    /// Advances by one bidiagonalisation step; returns the factors of `hbar`, of the update of `y`, and of `h`.
    fn step(&mut self, alpha: T, beta: T) -> (T, T, T) {
        let ratio = |a: T, b: T| if b == T::ZERO { T::ZERO } else { a / b };
        let (rho_old, rhobar_old, zeta_old) = (self.rho, self.rhobar, self.zeta);
        self.rho = self.alphabar.hypot(beta);
        let (c, s) = (ratio(self.alphabar, self.rho), ratio(beta, self.rho));
        let theta = s * alpha;
        self.alphabar = c * alpha;
        let thetabar = self.sbar * self.rho;
        let rhotemp = self.cbar * self.rho;
        self.rhobar = rhotemp.hypot(theta);
        self.cbar = ratio(rhotemp, self.rhobar);
        self.sbar = ratio(theta, self.rhobar);
        self.zeta = self.cbar * self.zetabar;
        self.zetabar = -self.sbar * self.zetabar;
        self.alpha = alpha;
        // Norm of the residual.
        let betahat = c * self.betadd;
        self.betadd = -s * self.betadd;
        let theta_old = self.thetatilde;
        let rho_tilde = self.rhod.hypot(thetabar);
        let (ct, st) = (ratio(self.rhod, rho_tilde), ratio(thetabar, rho_tilde));
        self.thetatilde = st * self.rhobar;
        self.rhod = ct * self.rhobar;
        self.betad = -st * self.betad + ct * betahat;
        self.tautilde = ratio(zeta_old - theta_old * self.tautilde, rho_tilde);
        let taud = ratio(self.zeta - self.thetatilde * self.tautilde, self.rhod);
        self.rnorm = (self.betad - taud).hypot(self.betadd);
        (
            -ratio(thetabar * self.rho, rho_old * rhobar_old),
            ratio(self.zeta, self.rho * self.rhobar),
            -ratio(theta, self.rho),
        )
    }
}

/// Minimises `|b - A x|` for every column of `B`; `A` may have any shape but needs a transposed product.
///
/// A preconditioner `N` (square, size of the unknowns) acts on the right and needs a transposed product too.
///
/// ```
/// use linop_core::krylov::{Options, lsmr};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, -2.0, 4.0]);
/// let b = Mat::from_fn(3, 1, |_, _| 1.0);
/// let x = lsmr(&a, b.as_ref(), &Options::default(), Par::Seq)?.require_converged()?;
/// assert!((x[(1, 0)] + 0.5).abs() < 1e-7);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn lsmr<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    par: Par,
) -> Result<Solution<T>, Error> {
    let (n, k) = (a.ncols(), b.ncols());
    let mut x = Mat::zeros(n, k);
    let mut report = SolveReport::new(OP, k);
    let mut memory = MemBuffer::new(req(a, options.precond, k, par));
    solve_in(a, b, options, x.as_mut(), &mut report, par, MemStack::new(&mut memory))?;
    Ok(Solution { x, report })
}

/// Scratch of [`solve_in`] for `k` columns.
pub(crate) fn req<T: Scalar>(
    a: &dyn LinearOperator<T>,
    precond: Option<&dyn LinearOperator<T>>,
    k: usize,
    par: Par,
) -> StackReq {
    let both = |op| Packed::child(op, false, k, par).or(Packed::child(op, true, k, par));
    let child = both(Some(a)).or(both(precond));
    temp_req::<T>(1, slab_len(a, precond, k)).and(StackReq::new::<Column<'_, T>>(k)).and(child)
}

fn slab_len<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>, k: usize) -> usize {
    let (m, n) = (a.nrows(), a.ncols());
    let by_a = Packed::len(Some(a), false, n, k) + Packed::len(Some(a), true, m, k);
    let by_n = Packed::len(precond, false, n, k) + Packed::len(precond, true, n, k);
    column_len(m, n) * k + by_a + by_n
}

/// [`lsmr`] into the caller's memory.
pub(crate) fn solve_in<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    x: MatMut<'_, T>,
    report: &mut SolveReport,
    par: Par,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let (m, n, k) = (a.nrows(), a.ncols(), b.ncols());
    check_rhs(OP, m, b)?;
    options.check(OP, n, k)?;
    temp!(slab, stack = stack, slab_len(a, options.precond, k));
    let mut slab: &mut [T] = slab;
    let mut by = Products {
        a: Packed::new(Some(a), false, n, k, par, &mut slab),
        at: Packed::new(Some(a), true, m, k, par, &mut slab),
        n: Packed::new(options.precond, false, n, k, par, &mut slab),
        nt: Packed::new(options.precond, true, n, k, par, &mut slab),
    };
    let (mut columns, stack) = stack.make_with(k, |j| Column::new(b, n, j, options, &mut slab));
    let columns: &mut [Column<'_, T>] = &mut columns;
    let rtol = T::from_f64(options.rtol.max(T::EPS.to_f64()));
    if options.x0.is_some() {
        true_residuals(columns, Phase::Start, &mut by, stack)?;
        let solved = columns.iter_mut().filter(|c| c.phase == Phase::Start && c.rnorm <= c.tol);
        solved.for_each(|c| c.phase = Phase::Done(Outcome::Converged));
    }
    let limit = options.iteration_limit(n.max(m));
    let mut iteration = 0;
    while columns.iter().any(|c| !matches!(c.phase, Phase::Done(_))) {
        begin(columns, &mut by, rtol, stack)?;
        if iteration == limit {
            // They end with the true residual of what they have.
            columns.iter_mut().filter(|c| c.phase == Phase::Step).for_each(|c| c.phase = Phase::Candidate);
            absorb(columns, &mut by, stack)?;
            let cut = columns.iter_mut().filter(|c| c.phase == Phase::Candidate);
            cut.for_each(|c| c.phase = Phase::Done(Outcome::MaxIterations));
            break;
        }
        iteration += 1;
        step(columns, &mut by, rtol, stack)?;
        verify(columns, &mut by, rtol, stack)?;
    }
    report.iterations = iteration;
    finish(columns, x, report);
    report.products = by.a.columns + by.at.columns;
    report.precond_products = by.n.columns + by.nt.columns;
    Ok(())
}

/// Starts the bidiagonalisation of new and restarted columns from their residual `r`.
fn begin<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by: &mut Products<'_, T>,
    rtol: T,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter_mut().filter(|c| c.phase == Phase::Start) {
        c.u.copy_from_slice(c.r);
        scale(c.u, c.rnorm.recip());
        by.at.set(width, c.u);
        width += 1;
    }
    by.backward(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Start).enumerate() {
        c.v.copy_from_slice(by.nt.out(j));
        let alpha = norm(c.v);
        if !alpha.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "a product with A^T" });
        }
        if alpha == T::ZERO || alpha <= rtol * c.norm_a2.sqrt() {
            // A^T r = 0: the start is a least-squares solution.
            c.phase = Phase::Done(Outcome::Inconsistent);
            continue;
        }
        scale(c.v, alpha.recip());
        c.h.copy_from_slice(c.v);
        c.hbar.fill(T::ZERO);
        c.y.fill(T::ZERO);
        c.scalars = Recurrence::new(alpha, c.rnorm);
        c.norm_a2 = c.norm_a2.max(alpha * alpha);
        c.phase = Phase::Step;
    }
    Ok(())
}

/// One iteration of all columns under way; those that look finished become candidates.
fn step<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by: &mut Products<'_, T>,
    rtol: T,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == Phase::Step) {
        by.n.set(width, c.v);
        width += 1;
    }
    by.forward(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Step).enumerate() {
        xpby(c.u, by.a.out(j), -c.scalars.alpha);
        c.beta = norm(c.u);
        if c.beta > T::ZERO {
            scale(c.u, c.beta.recip());
        }
        by.at.set(j, c.u);
    }
    by.backward(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Step).enumerate() {
        let beta = c.beta;
        let mut alpha = T::ZERO;
        if beta > T::ZERO {
            xpby(c.v, by.nt.out(j), -beta);
            alpha = norm(c.v);
            if alpha > T::ZERO {
                scale(c.v, alpha.recip());
            }
        }
        if !(alpha.is_finite() && beta.is_finite()) {
            return Err(Error::NotFinite { op: OP, operand: "a product" });
        }
        c.norm_a2 += beta * beta;
        let norm_a = c.norm_a2.sqrt();
        c.norm_a2 += alpha * alpha;
        let (of_hbar, of_y, of_h) = c.scalars.step(alpha, beta);
        xpby(c.hbar, c.h, of_hbar);
        axpy(c.y, of_y, c.hbar);
        xpby(c.h, c.v, of_h);
        let s = &c.scalars;
        if s.rnorm <= c.tol || s.zetabar.abs() <= rtol * norm_a * s.rnorm || alpha == T::ZERO || beta == T::ZERO {
            c.phase = Phase::Candidate;
        }
    }
    Ok(())
}

/// Checks candidates on their true residual and gradient; the others restart from there, or give up.
fn verify<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by: &mut Products<'_, T>,
    rtol: T,
    stack: &mut MemStack,
) -> Result<(), Error> {
    absorb(columns, by, stack)?;
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == Phase::Candidate) {
        by.at.set(width, c.r);
        width += 1;
    }
    by.backward(width, stack)?;
    let half = T::from_f64(0.5);
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Candidate).enumerate() {
        let gradient = norm(by.nt.out(j));
        if c.rnorm <= c.tol {
            c.phase = Phase::Done(Outcome::Converged);
        } else if gradient <= rtol * c.norm_a2.sqrt() * c.rnorm {
            c.phase = Phase::Done(Outcome::Inconsistent);
        } else if !(c.rnorm <= half * c.last_true || gradient <= half * c.last_gradient) {
            c.phase = Phase::Done(Outcome::Stagnated);
        } else {
            c.last_true = c.rnorm;
            c.last_gradient = gradient;
            c.phase = Phase::Start;
        }
    }
    Ok(())
}

/// `x_base += N y` of the candidates, and their true residuals.
fn absorb<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by: &mut Products<'_, T>,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == Phase::Candidate) {
        by.n.set(width, c.y);
        width += 1;
    }
    by.n.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Candidate).enumerate() {
        axpy(c.base, T::ONE, by.n.out(j));
        c.y.fill(T::ZERO);
    }
    true_residuals(columns, Phase::Candidate, by, stack)
}

/// `r = b - A x_base` of all columns in a phase.
fn true_residuals<T: Scalar>(
    columns: &mut [Column<'_, T>],
    phase: Phase,
    by: &mut Products<'_, T>,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == phase) {
        by.a.set(width, c.base);
        width += 1;
    }
    by.a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == phase).enumerate() {
        c.rnorm = residual(c.b, by.a.out(j), c.r);
        if !c.rnorm.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the residual" });
        }
    }
    Ok(())
}

/// Writes the iterates and the final residuals.
fn finish<T: Scalar>(columns: &mut [Column<'_, T>], mut x: MatMut<'_, T>, report: &mut SolveReport) {
    for (index, c) in columns.iter_mut().enumerate() {
        if let Phase::Done(outcome) = c.phase {
            report.finish(index, (c.rnorm / c.scale).to_f64(), (c.bnorm / c.scale).to_f64(), outcome);
        }
        scale(c.base, c.scale.recip());
        write_column(x.as_mut(), index, c.base);
    }
}
