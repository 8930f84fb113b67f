//! LSMR: least squares for rectangular, singular or badly scaled operators.
//!
//! Source: Fong and Saunders, arXiv:1006.0758. One block product with A and one with its transpose per iteration for
//! all unfinished columns, five vectors per column. A column ends when `|r| <= max(rtol |b|, atol)` (solved) or
//! `|A^T r| <= rtol |A| |r|` (least squares, [`Outcome::Inconsistent`]); both are checked on the true residual.
//! Rank-deficient problems give the solution of least norm when started at zero without preconditioner.

use super::block::{Product, check_rhs, column_vec, write_column};
use super::report::{Options, Outcome, Solution, SolveReport, true_residual};
use super::vector::{axpy, norm, scale, unit_scale, xpby};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatRef, Par, Scalar};

const OP: &str = "lsmr";

/// Products with `A N` and its transpose, `N` the preconditioner on the right.
struct Products<'a, T: Scalar> {
    a: Product<'a, T>,
    at: Product<'a, T>,
    n: Product<'a, T>,
    nt: Product<'a, T>,
}

impl<T: Scalar> Products<'_, T> {
    /// `A N v` for the first `k` columns set in `n`; results in `a`.
    fn forward(&mut self, k: usize) -> Result<(), Error> {
        self.n.run(k)?;
        for j in 0..k {
            self.a.set(j, self.n.out(j));
        }
        self.a.run(k)
    }

    /// `N^T A^T u` for the first `k` columns set in `at`; results in `nt`.
    fn backward(&mut self, k: usize) -> Result<(), Error> {
        self.at.run(k)?;
        for j in 0..k {
            self.nt.set(j, self.at.out(j));
        }
        self.nt.run(k)
    }
}

/// One right-hand side under way, scaled by a power of two. The unknown is `y` with `x = x_base + N y`.
struct Column<T> {
    index: usize,
    b: Vec<T>,
    base: Vec<T>,
    y: Vec<T>,
    u: Vec<T>,
    v: Vec<T>,
    h: Vec<T>,
    hbar: Vec<T>,
    r: Vec<T>,
    scalars: Recurrence<T>,
    norm_a2: T,
    tol: T,
    bnorm: T,
    scale: T,
    last_true: T,
    last_gradient: T,
    rnorm: T,
    fresh: bool,
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
    let (m, n, k) = (a.nrows(), a.ncols(), b.ncols());
    check_rhs(OP, m, b)?;
    options.check(OP, n, k)?;
    let mut by = Products {
        a: Product::new(Some(a), false, n, k, par),
        at: Product::new(Some(a), true, m, k, par),
        n: Product::new(options.precond, false, n, k, par),
        nt: Product::new(options.precond, true, n, k, par),
    };
    let mut report = SolveReport::new(OP, k);
    let mut done: Vec<(Column<T>, Outcome)> = Vec::new();
    let mut active: Vec<Column<T>> = Vec::new();
    for j in 0..k {
        let mut rhs = column_vec(b, j);
        let size = norm(&rhs);
        if size == T::ZERO {
            continue;
        }
        let s = unit_scale(size);
        scale(&mut rhs, s);
        let mut base = options.x0.map_or_else(|| vec![T::ZERO; n], |x0| column_vec(x0, j));
        scale(&mut base, s);
        let tol = (options.rtol * (size * s).to_f64()).max(options.atol * s.to_f64());
        active.push(Column {
            index: j,
            r: rhs.clone(),
            rnorm: norm(&rhs),
            u: rhs.clone(),
            b: rhs,
            base,
            y: vec![T::ZERO; n],
            v: vec![T::ZERO; n],
            h: vec![T::ZERO; n],
            hbar: vec![T::ZERO; n],
            scalars: Recurrence::new(T::ZERO, T::ZERO),
            norm_a2: T::ZERO,
            tol: T::from_f64(tol),
            bnorm: size * s,
            scale: s,
            last_true: T::INFINITY,
            last_gradient: T::INFINITY,
            fresh: true,
        });
    }
    let rtol = T::from_f64(options.rtol.max(T::EPS.to_f64()));
    if options.x0.is_some() {
        for (j, c) in active.iter().enumerate() {
            by.a.set(j, &c.base);
        }
        by.a.run(active.len())?;
        for (j, c) in active.iter_mut().enumerate() {
            c.rnorm = true_residual(&c.b, by.a.out(j), &mut c.r);
        }
        let (solved, rest): (Vec<_>, Vec<_>) = active.drain(..).partition(|c| c.rnorm <= c.tol);
        done.extend(solved.into_iter().map(|c| (c, Outcome::Converged)));
        active = rest;
    }
    let limit = options.iteration_limit(n.max(m));
    let mut iteration = 0;
    while !active.is_empty() {
        begin(&mut active, &mut done, &mut by, rtol)?;
        if iteration == limit {
            done.extend(active.drain(..).map(|c| (c, Outcome::MaxIterations)));
            break;
        }
        iteration += 1;
        let candidates = step(&mut active, &mut by, rtol)?;
        verify(candidates, &mut active, &mut done, &mut by, rtol)?;
    }
    report.iterations = iteration;
    let mut x = Mat::zeros(n, k);
    finish(done, &mut x, &mut report, &mut by)?;
    report.products = by.a.columns + by.at.columns;
    report.precond_products = by.n.columns + by.nt.columns;
    Ok(Solution { x, report })
}

/// Starts the bidiagonalisation of new and restarted columns from their residual `r`.
fn begin<T: Scalar>(
    active: &mut Vec<Column<T>>,
    done: &mut Vec<(Column<T>, Outcome)>,
    by: &mut Products<'_, T>,
    rtol: T,
) -> Result<(), Error> {
    let (mut fresh, rest): (Vec<_>, Vec<_>) = active.drain(..).partition(|c| c.fresh);
    *active = rest;
    for (j, c) in fresh.iter_mut().enumerate() {
        c.u.copy_from_slice(&c.r);
        scale(&mut c.u, c.rnorm.recip());
        by.at.set(j, &c.u);
    }
    by.backward(fresh.len())?;
    for (j, mut c) in fresh.into_iter().enumerate() {
        c.v.copy_from_slice(by.nt.out(j));
        let alpha = norm(&c.v);
        if !alpha.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "a product with A^T" });
        }
        if alpha == T::ZERO || alpha <= rtol * c.norm_a2.sqrt() {
            // A^T r = 0: the start is a least-squares solution.
            done.push((c, Outcome::Inconsistent));
            continue;
        }
        scale(&mut c.v, alpha.recip());
        c.h.copy_from_slice(&c.v);
        c.hbar.fill(T::ZERO);
        c.y.fill(T::ZERO);
        c.scalars = Recurrence::new(alpha, c.rnorm);
        c.norm_a2 = c.norm_a2.max(alpha * alpha);
        c.fresh = false;
        active.push(c);
    }
    Ok(())
}

/// One iteration of all active columns; removes and returns those that look finished.
fn step<T: Scalar>(active: &mut Vec<Column<T>>, by: &mut Products<'_, T>, rtol: T) -> Result<Vec<Column<T>>, Error> {
    let width = active.len();
    for (j, c) in active.iter().enumerate() {
        by.n.set(j, &c.v);
    }
    by.forward(width)?;
    let mut betas = Vec::with_capacity(width);
    for (j, c) in active.iter_mut().enumerate() {
        xpby(&mut c.u, by.a.out(j), -c.scalars.alpha);
        let beta = norm(&c.u);
        if beta > T::ZERO {
            scale(&mut c.u, beta.recip());
        }
        betas.push(beta);
        by.at.set(j, &c.u);
    }
    by.backward(width)?;
    let (mut candidates, mut rest) = (Vec::new(), Vec::with_capacity(width));
    for (j, mut c) in active.drain(..).enumerate() {
        let beta = betas[j];
        let mut alpha = T::ZERO;
        if beta > T::ZERO {
            xpby(&mut c.v, by.nt.out(j), -beta);
            alpha = norm(&c.v);
            if alpha > T::ZERO {
                scale(&mut c.v, alpha.recip());
            }
        }
        if !(alpha.is_finite() && beta.is_finite()) {
            return Err(Error::NotFinite { op: OP, operand: "a product" });
        }
        c.norm_a2 += beta * beta;
        let norm_a = c.norm_a2.sqrt();
        c.norm_a2 += alpha * alpha;
        let (of_hbar, of_y, of_h) = c.scalars.step(alpha, beta);
        xpby(&mut c.hbar, &c.h, of_hbar);
        axpy(&mut c.y, of_y, &c.hbar);
        xpby(&mut c.h, &c.v, of_h);
        let s = &c.scalars;
        if s.rnorm <= c.tol || s.zetabar.abs() <= rtol * norm_a * s.rnorm || alpha == T::ZERO || beta == T::ZERO {
            candidates.push(c);
        } else {
            rest.push(c);
        }
    }
    *active = rest;
    Ok(candidates)
}

/// Checks finished columns on their true residual and gradient; the others restart from there, or give up.
fn verify<T: Scalar>(
    mut candidates: Vec<Column<T>>,
    active: &mut Vec<Column<T>>,
    done: &mut Vec<(Column<T>, Outcome)>,
    by: &mut Products<'_, T>,
    rtol: T,
) -> Result<(), Error> {
    let width = candidates.len();
    absorb(&mut candidates, by)?;
    for (j, c) in candidates.iter().enumerate() {
        by.at.set(j, &c.r);
    }
    by.backward(width)?;
    for (j, mut c) in candidates.into_iter().enumerate() {
        let gradient = norm(by.nt.out(j));
        let half = T::from_f64(0.5);
        if c.rnorm <= c.tol {
            done.push((c, Outcome::Converged));
        } else if gradient <= rtol * c.norm_a2.sqrt() * c.rnorm {
            done.push((c, Outcome::Inconsistent));
        } else if !(c.rnorm <= half * c.last_true || gradient <= half * c.last_gradient) {
            done.push((c, Outcome::Stagnated));
        } else {
            c.last_true = c.rnorm;
            c.last_gradient = gradient;
            c.fresh = true;
            active.push(c);
        }
    }
    Ok(())
}

/// `x_base += N y` and the true residuals.
fn absorb<T: Scalar>(columns: &mut [Column<T>], by: &mut Products<'_, T>) -> Result<(), Error> {
    for (j, c) in columns.iter().enumerate() {
        by.n.set(j, &c.y);
    }
    by.n.run(columns.len())?;
    for (j, c) in columns.iter_mut().enumerate() {
        axpy(&mut c.base, T::ONE, by.n.out(j));
        c.y.fill(T::ZERO);
        by.a.set(j, &c.base);
    }
    by.a.run(columns.len())?;
    for (j, c) in columns.iter_mut().enumerate() {
        c.rnorm = true_residual(&c.b, by.a.out(j), &mut c.r);
        if !c.rnorm.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "the residual" });
        }
    }
    Ok(())
}

/// Writes the iterates and the final residuals.
fn finish<T: Scalar>(
    done: Vec<(Column<T>, Outcome)>,
    x: &mut Mat<T>,
    report: &mut SolveReport,
    by: &mut Products<'_, T>,
) -> Result<(), Error> {
    let (mut cut, mut ended): (Vec<_>, Vec<_>) = done.into_iter().partition(|(_, o)| *o == Outcome::MaxIterations);
    let mut columns: Vec<Column<T>> = cut.drain(..).map(|(c, _)| c).collect();
    absorb(&mut columns, by)?;
    ended.extend(columns.into_iter().map(|c| (c, Outcome::MaxIterations)));
    for (mut c, outcome) in ended {
        report.finish(c.index, (c.rnorm / c.scale).to_f64(), (c.bnorm / c.scale).to_f64(), outcome);
        scale(&mut c.base, c.scale.recip());
        write_column(x.as_mut(), c.index, &c.base);
    }
    Ok(())
}
