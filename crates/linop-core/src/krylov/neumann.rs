//! The truncated Neumann series `alpha sum_{k=0}^{K} (I - alpha P A)^k P` as an approximate inverse.
//!
//! Its error is exactly `A^-1 b - x_K = (I - alpha P A)^{K+1} A^-1 b`, so it converges if and only if the spectral
//! radius of `I - alpha P A` is below one. `K` products with A and `K + 1` with P. Growth of the terms is an error:
//! a term above 1e4 times the first, one that is not finite, or a last term above the first.

use super::basis::fresh;
use super::block::{Product, check_precond, check_rhs, check_self_adjoint, check_square, write_column};
use super::lanczos::{Reorth, lanczos};
use super::report::{Outcome, Solution, SolveReport, default_rtol, true_residual};
use super::vector::{axpy, norm};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatRef, Par, Scalar};

const OP: &str = "neumann";

/// The step length of a Neumann series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// This number.
    Fixed(f64),
    /// `1 / lmax` with an upper bound of the largest eigenvalue from 15 Lanczos steps; needs a self-adjoint operator
    /// and no preconditioner.
    Auto,
}

/// Parameters of [`neumann`].
#[derive(Clone, Copy, Debug)]
pub struct NeumannOptions<'a, T: Scalar> {
    /// Terms after the zeroth.
    pub terms: usize,
    /// Step length.
    pub alpha: Alpha,
    /// The operator P.
    pub precond: Option<&'a dyn LinearOperator<T>>,
}

impl<T: Scalar> Default for NeumannOptions<'_, T> {
    fn default() -> Self {
        Self { terms: 100, alpha: Alpha::Fixed(1.0), precond: None }
    }
}

/// Sums the series for every column of `B`.
///
/// The report's outcome is [`Outcome::Converged`] where the residual (from one more product) is within the default
/// tolerance of Krylov solvers, else [`Outcome::Truncated`].
///
/// ```
/// use linop_core::krylov::{Alpha, NeumannOptions, neumann};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, 2.0]);
/// let b = Mat::from_fn(2, 1, |_, _| 1.0);
/// let options = NeumannOptions { alpha: Alpha::Auto, ..NeumannOptions::default() };
/// let x = neumann(&a, b.as_ref(), &options, Par::Seq)?.x;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-9 && (x[(1, 0)] - 0.5).abs() < 1e-9);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn neumann<T: Scalar>(
    a: &dyn LinearOperator<T>,
    b: MatRef<'_, T>,
    options: &NeumannOptions<'_, T>,
    par: Par,
) -> Result<Solution<T>, Error> {
    let n = check_square(OP, a)?;
    check_rhs(OP, n, b)?;
    check_precond(OP, options.precond, n)?;
    let alpha = resolve_alpha(a, options.alpha, options.precond.is_some(), par)?;
    let k = b.ncols();
    let mut by_a = Product::new(Some(a), false, n, k, par);
    let mut by_p = Product::new(options.precond, false, n, k, par);
    let x = series(&mut by_a, &mut by_p, b, alpha, options.terms)?;
    for j in 0..k {
        by_a.set(j, x.col_as_slice(j));
    }
    by_a.run(k)?;
    let mut report = SolveReport::new(OP, k);
    report.iterations = options.terms;
    report.products = by_a.columns;
    report.precond_products = by_p.columns;
    let mut r = Vec::new();
    for j in 0..k {
        let rhs = super::block::column_vec(b, j);
        let bnorm = norm(&rhs).to_f64();
        let rnorm = true_residual(&rhs, by_a.out(j), &mut r).to_f64();
        let solved = rnorm <= default_rtol::<T>() * bnorm;
        report.finish(j, rnorm, bnorm, if solved { Outcome::Converged } else { Outcome::Truncated });
    }
    Ok(Solution { x, report })
}

/// The step length as a number.
pub(crate) fn resolve_alpha<T: Scalar>(
    a: &dyn LinearOperator<T>,
    alpha: Alpha,
    preconditioned: bool,
    par: Par,
) -> Result<T, Error> {
    match alpha {
        Alpha::Fixed(alpha) if alpha.is_finite() => Ok(T::from_f64(alpha)),
        Alpha::Fixed(alpha) => Err(Error::InvalidArgument { op: OP, what: format!("alpha = {alpha}") }),
        Alpha::Auto if preconditioned => Err(Error::InvalidArgument {
            op: OP,
            what: "the automatic alpha needs a series without preconditioner; give a number".into(),
        }),
        Alpha::Auto => {
            let n = check_self_adjoint(OP, a)?;
            let Some(v) = fresh(n, 0, &mut 0, &[], par) else {
                return Ok(T::ONE);
            };
            let top = lanczos(a, &v, 15, Reorth::Full, par)?.upper_bound()?;
            if top > T::ZERO { Ok(top.recip()) } else { Err(Error::NotPositiveDefinite { op: OP, pivot: 0 }) }
        }
    }
}

/// `alpha sum_{k <= terms} (I - alpha P A)^k P b`, guarded against divergence.
pub(crate) fn series<T: Scalar>(
    by_a: &mut Product<'_, T>,
    by_p: &mut Product<'_, T>,
    b: MatRef<'_, T>,
    alpha: T,
    terms: usize,
) -> Result<Mat<T>, Error> {
    let k = b.ncols();
    for j in 0..k {
        by_p.set(j, &super::block::column_vec(b, j));
    }
    by_p.run(k)?;
    let mut v: Vec<Vec<T>> = (0..k).map(|j| by_p.out(j).to_vec()).collect();
    let mut x = v.clone();
    let first: Vec<T> = v.iter().map(|v| norm(v)).collect();
    if first.iter().any(|f| !f.is_finite()) {
        return Err(Error::NotFinite { op: OP, operand: "P b" });
    }
    for term in 1..=terms {
        for (j, v) in v.iter().enumerate() {
            by_a.set(j, v);
        }
        by_a.run(k)?;
        for j in 0..k {
            by_p.set(j, by_a.out(j));
        }
        by_p.run(k)?;
        for j in 0..k {
            axpy(&mut v[j], -alpha, by_p.out(j));
            axpy(&mut x[j], T::ONE, &v[j]);
            let size = norm(&v[j]);
            let limit = if term == terms { T::ONE } else { T::from_f64(1e4) };
            if !(size <= limit * first[j]) {
                return Err(Error::Diverged { op: OP, term });
            }
        }
    }
    let mut out = Mat::zeros(x.first().map_or(b.nrows(), Vec::len), k);
    for (j, x) in x.iter_mut().enumerate() {
        super::vector::scale(x, alpha);
        write_column(out.as_mut(), j, x);
    }
    Ok(out)
}
