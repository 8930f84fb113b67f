//! The truncated Neumann series `alpha sum_{k=0}^{K} (I - alpha P A)^k P` as an approximate inverse.
//!
//! Its error is exactly `A^-1 b - x_K = (I - alpha P A)^{K+1} A^-1 b`, so it converges if and only if the spectral
//! radius of `I - alpha P A` is below one. `K` products with A and `K + 1` with P. Growth of the terms is an error:
//! a term above 1e4 times the first, one that is not finite, or a last term above the first.

use super::basis::fresh;
use super::block::{check_precond, check_rhs, check_self_adjoint, check_square, write_column};
use super::lanczos::{Reorth, lanczos};
use super::packed::{Packed, carve, read_column, residual};
use super::report::{Outcome, Solution, SolveReport, default_rtol};
use super::vector::{axpy, norm};
use crate::ops::{temp, temp_req};
use crate::{Error, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

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
    let mut x = Mat::zeros(n, k);
    let child = Packed::child(Some(a), false, k, par);
    let mut memory = MemBuffer::new(req(a, options.precond, k, par).or(temp_req::<T>(1, 2 * n * k + n).and(child)));
    let stack = MemStack::new(&mut memory);
    let (products, precond_products) = series_in(a, options.precond, b, alpha, options.terms, x.as_mut(), par, stack)?;
    let mut report = SolveReport::new(OP, k);
    report.iterations = options.terms;
    report.products = products + k;
    report.precond_products = precond_products;
    temp!(slab, stack = stack, Packed::len(Some(a), false, n, k) + n);
    let mut slab: &mut [T] = slab;
    let mut by_a = Packed::new(Some(a), false, n, k, par, &mut slab);
    for j in 0..k {
        by_a.set(j, x.col_as_slice(j));
    }
    by_a.run(k, stack)?;
    let mut rhs = vec![T::ZERO; n];
    for j in 0..k {
        read_column(b, j, &mut rhs);
        let bnorm = norm(&rhs).to_f64();
        let rnorm = residual(&rhs, by_a.out(j), slab).to_f64();
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

/// Scratch of [`series_in`] for `k` columns.
pub(crate) fn req<T: Scalar>(
    a: &dyn LinearOperator<T>,
    precond: Option<&dyn LinearOperator<T>>,
    k: usize,
    par: Par,
) -> StackReq {
    let child = Packed::child(Some(a), false, k, par).or(Packed::child(precond, false, k, par));
    temp_req::<T>(1, slab_len(a, precond, k)).and(child)
}

fn slab_len<T: Scalar>(a: &dyn LinearOperator<T>, precond: Option<&dyn LinearOperator<T>>, k: usize) -> usize {
    let n = a.nrows();
    2 * n * k + k + Packed::len(Some(a), false, n, k) + Packed::len(precond, false, n, k)
}

/// `x = alpha sum_{k <= terms} (I - alpha P A)^k P b`, guarded against divergence; returns the columns multiplied by A
/// and by P.
pub(crate) fn series_in<T: Scalar>(
    a: &dyn LinearOperator<T>,
    precond: Option<&dyn LinearOperator<T>>,
    b: MatRef<'_, T>,
    alpha: T,
    terms: usize,
    mut out: MatMut<'_, T>,
    par: Par,
    stack: &mut MemStack,
) -> Result<(usize, usize), Error> {
    let (n, k) = (a.nrows(), b.ncols());
    if n == 0 || k == 0 {
        return Ok((0, 0));
    }
    temp!(slab, stack = stack, slab_len(a, precond, k));
    let mut slab: &mut [T] = slab;
    let mut by_a = Packed::new(Some(a), false, n, k, par, &mut slab);
    let mut by_p = Packed::new(precond, false, n, k, par, &mut slab);
    let [v, x] = carve(&mut slab, n * k);
    let [first] = carve(&mut slab, k);
    for (j, v) in v.chunks_exact_mut(n).enumerate() {
        read_column(b, j, v);
        by_p.set(j, v);
    }
    by_p.run(k, stack)?;
    for (j, v) in v.chunks_exact_mut(n).enumerate() {
        v.copy_from_slice(by_p.out(j));
        first[j] = norm(v);
        if !first[j].is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "P b" });
        }
    }
    x.copy_from_slice(v);
    for term in 1..=terms {
        for (j, v) in v.chunks_exact(n).enumerate() {
            by_a.set(j, v);
        }
        by_a.run(k, stack)?;
        for j in 0..k {
            by_p.set(j, by_a.out(j));
        }
        by_p.run(k, stack)?;
        for (j, (v, x)) in v.chunks_exact_mut(n).zip(x.chunks_exact_mut(n)).enumerate() {
            axpy(v, -alpha, by_p.out(j));
            axpy(x, T::ONE, v);
            let size = norm(v);
            let limit = if term == terms { T::ONE } else { T::from_f64(1e4) };
            if !(size <= limit * first[j]) {
                return Err(Error::Diverged { op: OP, term });
            }
        }
    }
    for (j, x) in x.chunks_exact_mut(n).enumerate() {
        super::vector::scale(x, alpha);
        write_column(out.as_mut(), j, x);
    }
    Ok((by_a.columns, by_p.columns))
}
