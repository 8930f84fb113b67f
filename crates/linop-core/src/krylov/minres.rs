//! MINRES: least residuals for self-adjoint operators, definite or not, singular or not.
//!
//! Source: Paige and Saunders 1975, preconditioned as in Choi's thesis (2006). One block product with A (and one with
//! M) per iteration for all unfinished columns, seven vectors per column. Consistent singular systems give the
//! solution of least norm (without preconditioner); inconsistent ones stop at `|A r| <= rtol |A| |r|` with a
//! least-squares solution, flagged [`Outcome::Inconsistent`].

use super::block::{Product, check_rhs, check_self_adjoint, column_vec, write_column};
use super::report::{Options, Outcome, Solution, SolveReport, true_residual};
use super::vector::{axpy, dot, norm, scale, unit_scale};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatRef, Par, Scalar};

const OP: &str = "minres";

/// One right-hand side under way, scaled by a power of two.
struct Column<T> {
    index: usize,
    b: Vec<T>,
    x: Vec<T>,
    /// Unnormalised Lanczos residuals `r_{k-1}`, `r_k` and `y = M r_k`.
    r1: Vec<T>,
    r2: Vec<T>,
    y: Vec<T>,
    v: Vec<T>,
    w: Vec<T>,
    w1: Vec<T>,
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
    rnorm: T,
    extra: Vec<T>,
}

/// What a column waits for.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// A Lanczos process starts from `r2`.
    Start,
    /// An ordinary step.
    Step,
}

impl<T: Scalar> Column<T> {
    fn new(index: usize, mut b: Vec<T>, x0: Option<Vec<T>>, rtol: f64, atol: f64) -> Self {
        let n = b.len();
        let bnorm = norm(&b);
        let s = unit_scale(bnorm);
        scale(&mut b, s);
        let mut x = x0.unwrap_or_else(|| vec![T::ZERO; n]);
        scale(&mut x, s);
        let bnorm = bnorm * s;
        let tol = T::from_f64((rtol * bnorm.to_f64()).max(atol * s.to_f64()));
        let zeros = || vec![T::ZERO; n];
        Self {
            index,
            r1: zeros(),
            r2: b.clone(),
            y: zeros(),
            v: zeros(),
            w: zeros(),
            w1: zeros(),
            extra: zeros(),
            b,
            x,
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
            phase: Phase::Start,
            rnorm: T::INFINITY,
        }
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
        self.trigger = beta * (self.tol / norm(&self.r2)).min(T::ONE);
    }

    /// Takes `q = A v`: the Lanczos vector that comes next goes to `extra`, still to be preconditioned.
    fn lanczos(&mut self, q: &[T]) -> T {
        self.extra.copy_from_slice(q);
        if !self.first {
            axpy(&mut self.extra, -(self.beta / self.old_beta), &self.r1);
        }
        let alpha = dot(&self.v, &self.extra);
        axpy(&mut self.extra, -(alpha / self.beta), &self.r2);
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
        axpy(&mut self.x, phi, &self.w);
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
    let n = check_self_adjoint(OP, a)?;
    check_rhs(OP, n, b)?;
    let k = b.ncols();
    options.check(OP, n, k)?;
    let mut x = Mat::zeros(n, k);
    let mut report = SolveReport::new(OP, k);
    let mut by_a = Product::new(Some(a), false, n, k, par);
    let mut by_m = Product::new(options.precond, false, n, k, par);
    let mut active: Vec<Column<T>> = (0..k)
        .map(|j| (j, column_vec(b, j)))
        .filter(|(_, b)| b.iter().any(|&x| x != T::ZERO))
        .map(|(j, b)| Column::new(j, b, options.x0.map(|x0| column_vec(x0, j)), options.rtol, options.atol))
        .collect();
    let mut done: Vec<(Column<T>, Outcome)> = Vec::new();
    if options.x0.is_some() {
        refresh(&mut active, &mut by_a)?;
        let (solved, rest) = active.drain(..).partition(|c: &Column<T>| c.rnorm <= c.tol);
        active = rest;
        done.extend(Vec::into_iter(solved).map(|c| (c, Outcome::Converged)));
    }
    let rtol = T::from_f64(options.rtol.max(T::EPS.to_f64()));
    let limit = options.iteration_limit(n);
    let mut iteration = 0;
    while !active.is_empty() {
        start(&mut active, &mut done, &mut by_m, iteration)?;
        if iteration == limit {
            done.extend(active.drain(..).map(|c| (c, Outcome::MaxIterations)));
            break;
        }
        iteration += 1;
        for (j, c) in active.iter_mut().enumerate() {
            let s = c.beta.recip();
            for (v, &y) in c.v.iter_mut().zip(&c.y) {
                *v = y * s;
            }
            by_a.set(j, &c.v);
        }
        by_a.run(active.len())?;
        let alphas: Vec<T> = active.iter_mut().enumerate().map(|(j, c)| c.lanczos(by_a.out(j))).collect();
        for (j, c) in active.iter().enumerate() {
            by_m.set(j, &c.r2);
        }
        by_m.run(active.len())?;
        let mut candidates = Vec::new();
        let mut rest = Vec::with_capacity(active.len());
        for (j, mut c) in active.drain(..).enumerate() {
            c.y.copy_from_slice(by_m.out(j));
            let square = dot(&c.r2, &c.y);
            if !(square.is_finite() && alphas[j].is_finite()) {
                return Err(Error::NotFinite { op: OP, operand: "a product" });
            }
            if square < T::ZERO {
                done.push((c, Outcome::PreconditionerNotPositiveDefinite { iteration }));
            } else if c.rotate(alphas[j], square.sqrt(), rtol) {
                done.push((c, Outcome::Inconsistent));
            } else if c.phibar <= c.trigger || c.beta == T::ZERO {
                candidates.push(c);
            } else {
                rest.push(c);
            }
        }
        active = rest;
        verify(candidates, &mut active, &mut done, &mut by_a)?;
    }
    report.iterations = iteration;
    finish(done, &mut x, &mut report, &mut by_a)?;
    report.products = by_a.columns;
    report.precond_products = by_m.columns;
    Ok(Solution { x, report })
}

/// Begins the Lanczos process of columns that are new or restarted.
fn start<T: Scalar>(
    active: &mut Vec<Column<T>>,
    done: &mut Vec<(Column<T>, Outcome)>,
    by_m: &mut Product<'_, T>,
    iteration: usize,
) -> Result<(), Error> {
    let (fresh, rest): (Vec<_>, Vec<_>) = active.drain(..).partition(|c| c.phase == Phase::Start);
    *active = rest;
    for (j, c) in fresh.iter().enumerate() {
        by_m.set(j, &c.r2);
    }
    by_m.run(fresh.len())?;
    for (j, mut c) in fresh.into_iter().enumerate() {
        c.y.copy_from_slice(by_m.out(j));
        let square = dot(&c.r2, &c.y);
        if !square.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the preconditioned residual" });
        }
        if square <= T::ZERO {
            done.push((c, Outcome::PreconditionerNotPositiveDefinite { iteration }));
        } else {
            c.begin(square.sqrt());
            active.push(c);
        }
    }
    Ok(())
}

/// `r2 = b - A x` for all columns.
fn refresh<T: Scalar>(columns: &mut [Column<T>], by_a: &mut Product<'_, T>) -> Result<(), Error> {
    for (j, c) in columns.iter().enumerate() {
        by_a.set(j, &c.x);
    }
    by_a.run(columns.len())?;
    for (j, c) in columns.iter_mut().enumerate() {
        c.rnorm = true_residual(&c.b, by_a.out(j), &mut c.extra);
        if !c.rnorm.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the residual" });
        }
        if c.phase == Phase::Start {
            c.r2.copy_from_slice(&c.extra);
        }
    }
    Ok(())
}

/// Accepts columns whose true residual meets the tolerance; the others go on with a lower trigger while the recursive
/// residual can still fall, else restart from the true one, else give up.
fn verify<T: Scalar>(
    mut candidates: Vec<Column<T>>,
    active: &mut Vec<Column<T>>,
    done: &mut Vec<(Column<T>, Outcome)>,
    by_a: &mut Product<'_, T>,
) -> Result<(), Error> {
    refresh(&mut candidates, by_a)?;
    for mut c in candidates {
        let half = T::from_f64(0.5);
        c.looks += 1;
        if c.rnorm <= c.tol {
            done.push((c, Outcome::Converged));
        } else if c.beta > T::ZERO && c.looks < 4 && c.rnorm <= T::from_f64(10.0) * c.phibar.max(c.tol) {
            c.trigger = c.phibar * half.min(half * c.tol / c.rnorm);
            active.push(c);
        } else if c.rnorm <= half * c.last_true {
            // The recursion has lost touch with the true residual, or the space is exhausted.
            c.last_true = c.rnorm;
            c.phase = Phase::Start;
            core::mem::swap(&mut c.r2, &mut c.extra);
            active.push(c);
        } else {
            done.push((c, Outcome::Stagnated));
        }
    }
    Ok(())
}

/// Writes the iterates and the final residuals.
fn finish<T: Scalar>(
    done: Vec<(Column<T>, Outcome)>,
    x: &mut Mat<T>,
    report: &mut SolveReport,
    by_a: &mut Product<'_, T>,
) -> Result<(), Error> {
    let (mut failed, solved): (Vec<_>, Vec<_>) = done.into_iter().partition(|(_, o)| *o != Outcome::Converged);
    for (j, (c, _)) in failed.iter().enumerate() {
        by_a.set(j, &c.x);
    }
    by_a.run(failed.len())?;
    for (j, (c, _)) in failed.iter_mut().enumerate() {
        c.rnorm = true_residual(&c.b, by_a.out(j), &mut c.extra);
    }
    for (mut c, outcome) in solved.into_iter().chain(failed) {
        report.finish(c.index, (c.rnorm / c.scale).to_f64(), (c.bnorm / c.scale).to_f64(), outcome);
        scale(&mut c.x, c.scale.recip());
        write_column(x.as_mut(), c.index, &c.x);
    }
    Ok(())
}
