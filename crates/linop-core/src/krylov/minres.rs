//! MINRES: least residuals for self-adjoint operators, definite or not, singular or not.
//!
//! Source: Paige and Saunders 1975, preconditioned as in Choi's thesis (2006). One block product with A (and one with
//! M) per iteration for all unfinished columns, seven vectors per column. Consistent singular systems give the
//! solution of least norm (without preconditioner); inconsistent ones stop at `|A r| <= rtol |A| |r|` with a
//! least-squares solution, flagged [`Outcome::Inconsistent`].

use super::block::{check_rhs, check_self_adjoint, write_column};
use super::packed::{Packed, carve, read_column, residual};
use super::report::{Options, Outcome, Solution, SolveReport};
use super::vector::{axpy, dot, norm, scale, unit_scale};
use crate::ops::{temp, temp_req};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

const OP: &str = "minres";

/// One right-hand side under way, scaled by a power of two.
struct Column<'a, T> {
    b: &'a mut [T],
    x: &'a mut [T],
    /// Unnormalised Lanczos residuals `r_{k-1}`, `r_k` and `y = M r_k`.
    r1: &'a mut [T],
    r2: &'a mut [T],
    y: &'a mut [T],
    v: &'a mut [T],
    w: &'a mut [T],
    w1: &'a mut [T],
    beta: T,
    old_beta: T,
    dbar: T,
    epsilon: T,
    cs: T,
    sn: T,
    phibar: T,
    /// Largest Lanczos coefficient so far, an estimate of `|A|`.
    anorm: T,
    first: bool,
    tol: T,
    bnorm: T,
    scale: T,
    /// Recursive residual (in the norm of M) at which the true one is looked at.
    trigger: T,
    /// True residual at the latest restart, and looks at the true residual since then.
    last_true: T,
    looks: usize,
    phase: Phase,
    /// The Lanczos coefficient of the step under way.
    alpha: T,
    rnorm: T,
    extra: &'a mut [T],
}

/// What a column waits for.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// A Lanczos process starts from `r2`.
    Start,
    /// An ordinary step.
    Step,
    /// Looks finished: the true residual decides.
    Candidate,
    /// Nothing.
    Done(Outcome),
}

/// Vectors per column.
const VECTORS: usize = 9;

impl<'a, T: Scalar> Column<'a, T> {
    fn new(b: MatRef<'_, T>, j: usize, options: &Options<'_, T>, slab: &mut &'a mut [T]) -> Self {
        let [rhs, x, r1, r2, y, v, w, w1, extra] = carve::<T, VECTORS>(slab, b.nrows());
        read_column(b, j, rhs);
        let bnorm = norm(rhs);
        let zero = bnorm == T::ZERO;
        let s = if zero { T::ONE } else { unit_scale(bnorm) };
        scale(rhs, s);
        match options.x0.filter(|_| !zero) {
            Some(x0) => {
                read_column(x0, j, x);
                scale(x, s);
            }
            None => x.fill(T::ZERO),
        }
        r2.copy_from_slice(rhs);
        let bnorm = bnorm * s;
        let tol = T::from_f64((options.rtol * bnorm.to_f64()).max(options.atol * s.to_f64()));
        Self {
            b: rhs,
            x,
            r1,
            r2,
            y,
            v,
            w,
            w1,
            extra,
            beta: T::ZERO,
            old_beta: T::ZERO,
            dbar: T::ZERO,
            epsilon: T::ZERO,
            cs: -T::ONE,
            sn: T::ZERO,
            phibar: T::ZERO,
            anorm: T::ZERO,
            first: true,
            tol,
            bnorm,
            scale: s,
            trigger: T::ZERO,
            last_true: T::INFINITY,
            looks: 0,
            phase: if zero { Phase::Done(Outcome::Converged) } else { Phase::Start },
            alpha: T::ZERO,
            rnorm: if zero { T::ZERO } else { T::INFINITY },
        }
    }

    fn failed(&self) -> bool {
        matches!(self.phase, Phase::Done(o) if o != Outcome::Converged)
    }

    /// Starts the recurrences once `y = M r2` is known; `beta^2 = r2 . y`.
    fn begin(&mut self, beta: T) {
        self.beta = beta;
        self.old_beta = T::ZERO;
        self.dbar = T::ZERO;
        self.epsilon = T::ZERO;
        self.cs = -T::ONE;
        self.sn = T::ZERO;
        self.phibar = beta;
        self.first = true;
        self.w.fill(T::ZERO);
        self.w1.fill(T::ZERO);
        self.phase = Phase::Step;
        self.looks = 0;
        // Without preconditioner beta is |r|; with one the ratio of the norms at the start is the first guess.
        self.trigger = beta * (self.tol / norm(self.r2)).min(T::ONE);
    }

    /// Takes `q = A v`: the Lanczos vector that comes next goes to `extra`, still to be preconditioned.
    fn lanczos(&mut self, q: &[T]) -> T {
        self.extra.copy_from_slice(q);
        if !self.first {
            axpy(self.extra, -(self.beta / self.old_beta), self.r1);
        }
        let alpha = dot(self.v, self.extra);
        axpy(self.extra, -(alpha / self.beta), self.r2);
        core::mem::swap(&mut self.r1, &mut self.r2);
        core::mem::swap(&mut self.r2, &mut self.extra);
        alpha
    }

    /// Completes the step; true if `x` is a least-squares solution already (then it is left alone).
    fn rotate(&mut self, alpha: T, beta: T, rtol: T) -> bool {
        self.old_beta = self.beta;
        self.beta = beta;
        // Rounding leaves a remainder of this size where the Krylov space is exhausted.
        self.anorm = self.anorm.max(alpha.abs()).max(beta);
        if beta <= T::from_f64(10.0) * T::EPS * self.anorm {
            self.beta = T::ZERO;
        }
        self.first = false;
        let old_epsilon = self.epsilon;
        let delta = self.cs * self.dbar + self.sn * alpha;
        let gbar = self.sn * self.dbar - self.cs * alpha;
        self.epsilon = self.sn * self.beta;
        self.dbar = -self.cs * self.beta;
        if gbar.hypot(self.dbar) <= rtol * self.anorm {
            return true;
        }
        let gamma = gbar.hypot(self.beta);
        self.cs = gbar / gamma;
        self.sn = self.beta / gamma;
        let phi = self.cs * self.phibar;
        self.phibar = self.sn * self.phibar;
        let inverse = gamma.recip();
        // extra <- the direction of two steps ago, overwritten by the new one.
        core::mem::swap(&mut self.extra, &mut self.w1);
        core::mem::swap(&mut self.w1, &mut self.w);
        for i in 0..self.v.len() {
            self.w[i] = (self.v[i] - old_epsilon * self.extra[i] - delta * self.w1[i]) * inverse;
        }
        axpy(self.x, phi, self.w);
        false
    }
}

/// Solves `A X = B` for self-adjoint `A`, in the sense of least residuals.
///
/// `A` must be known to be self-adjoint, a preconditioner positive definite. The scaled threshold for inconsistency
/// is `rtol`.
///
/// ```
/// use linop_core::krylov::{Options, minres};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, -2.0, 4.0]);
/// let b = Mat::from_fn(3, 1, |_, _| 1.0);
/// let x = minres(&a, b.as_ref(), &Options::default(), Par::Seq)?.require_converged()?;
/// assert!((x[(1, 0)] + 0.5).abs() < 1e-7);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn minres<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    par: Par,
) -> Result<Solution<T>, Error> {
    let (n, k) = (a.nrows(), b.ncols());
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
    let child = Packed::child(Some(a), false, k, par).or(Packed::child(precond, false, k, par));
    temp_req::<T>(1, slab_len(a, precond, k)).and(StackReq::new::<Column<'_, T>>(k)).and(child)
}

fn slab_len<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>, k: usize) -> usize {
    let n = a.nrows();
    VECTORS * n * k + Packed::len(Some(a), false, n, k) + Packed::len(precond, false, n, k)
}

/// [`minres`] into the caller's memory.
pub(crate) fn solve_in<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &Options<'_, T>,
    x: MatMut<'_, T>,
    report: &mut SolveReport,
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
    let (mut columns, stack) = stack.make_with(k, |j| Column::new(b, j, options, &mut slab));
    let columns: &mut [Column<'_, T>] = &mut columns;
    if options.x0.is_some() {
        refresh(columns, Phase::Start, &mut by_a, stack)?;
        let solved = columns.iter_mut().filter(|c| c.phase == Phase::Start && c.rnorm <= c.tol);
        solved.for_each(|c| c.phase = Phase::Done(Outcome::Converged));
    }
    let rtol = T::from_f64(options.rtol.max(T::EPS.to_f64()));
    let limit = options.iteration_limit(n);
    let mut iteration = 0;
    while columns.iter().any(|c| !matches!(c.phase, Phase::Done(_))) {
        start(columns, &mut by_m, iteration, stack)?;
        if iteration == limit {
            let cut = columns.iter_mut().filter(|c| c.phase == Phase::Step);
            cut.for_each(|c| c.phase = Phase::Done(Outcome::MaxIterations));
            break;
        }
        iteration += 1;
        step(columns, &mut by_a, &mut by_m, iteration, rtol, stack)?;
        verify(columns, &mut by_a, stack)?;
    }
    report.iterations = iteration;
    finish(columns, x, report, &mut by_a, stack)?;
    report.products = by_a.columns;
    report.precond_products = by_m.columns;
    Ok(())
}

/// One Lanczos step of every column under way, and the rotation that follows.
fn step<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by_a: &mut Packed<'_, T>,
    by_m: &mut Packed<'_, T>,
    iteration: usize,
    rtol: T,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter_mut().filter(|c| c.phase == Phase::Step) {
        let s = c.beta.recip();
        for (v, &y) in c.v.iter_mut().zip(&*c.y) {
            *v = y * s;
        }
        by_a.set(width, c.v);
        width += 1;
    }
    by_a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Step).enumerate() {
        c.alpha = c.lanczos(by_a.out(j));
        by_m.set(j, c.r2);
    }
    by_m.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Step).enumerate() {
        c.y.copy_from_slice(by_m.out(j));
        let square = dot(c.r2, c.y);
        if !(square.is_finite() && c.alpha.is_finite()) {
            return Err(Error::NotFinite { op: OP, operand: "a product" });
        }
        if square < T::ZERO {
            c.phase = Phase::Done(Outcome::PreconditionerNotPositiveDefinite { iteration });
        } else if c.rotate(c.alpha, square.sqrt(), rtol) {
            c.phase = Phase::Done(Outcome::Inconsistent);
        } else if c.phibar <= c.trigger || c.beta == T::ZERO {
            c.phase = Phase::Candidate;
        }
    }
    Ok(())
}

/// Begins the Lanczos process of columns that are new or restarted.
fn start<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by_m: &mut Packed<'_, T>,
    iteration: usize,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == Phase::Start) {
        by_m.set(width, c.r2);
        width += 1;
    }
    by_m.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == Phase::Start).enumerate() {
        c.y.copy_from_slice(by_m.out(j));
        let square = dot(c.r2, c.y);
        if !square.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the preconditioned residual" });
        }
        if square <= T::ZERO {
            c.phase = Phase::Done(Outcome::PreconditionerNotPositiveDefinite { iteration });
        } else {
            c.begin(square.sqrt());
        }
    }
    Ok(())
}

/// The true residual of all columns in a phase: to `extra`, and to `r2` of those that start.
fn refresh<T: Scalar>(
    columns: &mut [Column<'_, T>],
    phase: Phase,
    by_a: &mut Packed<'_, T>,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.phase == phase) {
        by_a.set(width, c.x);
        width += 1;
    }
    by_a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.phase == phase).enumerate() {
        c.rnorm = residual(c.b, by_a.out(j), c.extra);
        if !c.rnorm.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the residual" });
        }
        if phase == Phase::Start {
            c.r2.copy_from_slice(c.extra);
        }
    }
    Ok(())
}

/// Accepts candidates whose true residual meets the tolerance; the others go on with a lower trigger while the
/// recursive residual can still fall, else restart from the true one, else give up.
fn verify<T: Scalar>(
    columns: &mut [Column<'_, T>],
    by_a: &mut Packed<'_, T>,
    stack: &mut MemStack,
) -> Result<(), Error> {
    refresh(columns, Phase::Candidate, by_a, stack)?;
    let half = T::from_f64(0.5);
    for c in columns.iter_mut().filter(|c| c.phase == Phase::Candidate) {
        c.looks += 1;
        if c.rnorm <= c.tol {
            c.phase = Phase::Done(Outcome::Converged);
        } else if c.beta > T::ZERO && c.looks < 4 && c.rnorm <= T::from_f64(10.0) * c.phibar.max(c.tol) {
            c.trigger = c.phibar * half.min(half * c.tol / c.rnorm);
            c.phase = Phase::Step;
        } else if c.rnorm <= half * c.last_true {
            // The recursion has lost touch with the true residual, or the space is exhausted.
            c.last_true = c.rnorm;
            c.phase = Phase::Start;
            core::mem::swap(&mut c.r2, &mut c.extra);
        } else {
            c.phase = Phase::Done(Outcome::Stagnated);
        }
    }
    Ok(())
}

/// Writes the iterates and the final residuals.
fn finish<T: Scalar>(
    columns: &mut [Column<'_, T>],
    mut x: MatMut<'_, T>,
    report: &mut SolveReport,
    by_a: &mut Packed<'_, T>,
    stack: &mut MemStack,
) -> Result<(), Error> {
    let mut width = 0;
    for c in columns.iter().filter(|c| c.failed()) {
        by_a.set(width, c.x);
        width += 1;
    }
    by_a.run(width, stack)?;
    for (j, c) in columns.iter_mut().filter(|c| c.failed()).enumerate() {
        c.rnorm = residual(c.b, by_a.out(j), c.extra);
    }
    for (index, c) in columns.iter_mut().enumerate() {
        if let Phase::Done(outcome) = c.phase {
            report.finish(index, (c.rnorm / c.scale).to_f64(), (c.bnorm / c.scale).to_f64(), outcome);
        }
        scale(c.x, c.scale.recip());
        write_column(x.as_mut(), index, c.x);
    }
    Ok(())
}
