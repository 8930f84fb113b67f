//! Solves of `(A + mu I) x = b` by conjugate gradients with a Nystrom preconditioner whose rank finds itself.
//!
//! Source: arXiv:2110.02820, algorithm E.2. The rank doubles, keeping probes and products, until the error of the
//! approximation is within a factor of mu or its smallest value is. The iteration is linop-core's block CG.

use super::{Nystrom, NystromPrecond, NystromVariant, factor, probes};
use crate::certify::power_norm;
use crate::products::{Difference, Products, Wide};
use crate::watched::Watched;
use crate::{Error, Settings, la};
use linop_core::krylov::{Options, Solution, cg};
use linop_core::{Cost, LinearOperator, Props};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};

/// When the rank is large enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveNystrom {
    /// First rank.
    pub start: usize,
    /// Largest rank; `None` for the size.
    pub max_rank: Option<usize>,
    /// Stop when `|A - A_hat| <= error_factor mu`, the norm by a power iteration.
    pub error_factor: f64,
    /// Stop when the smallest value kept is at most this times mu.
    pub value_factor: f64,
    /// Steps of the power iteration (one product each).
    pub power_steps: usize,
}

impl Default for AdaptiveNystrom {
    fn default() -> Self {
        AdaptiveNystrom { start: 16, max_rank: None, error_factor: 1.0, value_factor: 10.0, power_steps: 10 }
    }
}

/// A Nystrom approximation good enough to precondition `A + mu I`.
///
/// A is `n x n`. Cost: for a final rank l, l products and `power_steps` more for each doubling before it (twice as many unless A says
/// that it is self-adjoint), `20 n l^2` flops, `4 n l` numbers. Source: arXiv:2110.02820, algorithm E.2.
///
/// # Errors
/// As [`super::nystrom`]; `InvalidArgument` unless `mu > 0`, there is a power step, and the factors are not negative.
pub fn nystrom_adaptive<T: Scalar>(
    a: &dyn LinearOperator<T>,
    mu: f64,
    options: &AdaptiveNystrom,
    settings: &Settings<'_>,
) -> Result<Nystrom, Error> {
    let op = "adaptive nystrom";
    if !(mu > 0.0 && mu.is_finite()) {
        return Err(Error::argument(op, format!("needs mu > 0, got {mu}")));
    }
    if options.power_steps == 0 || !(options.error_factor >= 0.0 && options.value_factor >= 0.0) {
        return Err(Error::argument(
            op,
            format!("needs a power step and factors that are not negative, got {options:?}"),
        ));
    }
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    let n = products.square()?;
    let top = options.max_rank.unwrap_or(n).min(n);
    crate::loo::check_probes(op, options.start.min(top), n)?;
    let par = settings.par;
    let (mut omega, mut y) = (Mat::zeros(n, 0), Mat::zeros(n, 0));
    let (mut l, mut power) = (options.start.min(top), 0);
    loop {
        let old = omega.ncols();
        let raw = probes(n, old..l, NystromVariant::CholeskyOnly, settings)?;
        let fresh = la::extend_basis(omega.as_ref(), raw, par)?.q;
        y = la::hcat(y.as_ref(), products.apply(fresh.as_ref())?.as_ref());
        omega = la::hcat(omega.as_ref(), fresh.as_ref());
        let mut low = factor(op, omega.as_ref(), y.clone(), NystromVariant::Stable, par)?;
        low.products = products.spent() + power;
        let smallest = low.values.last().copied().unwrap_or(0.0);
        if l == top || low.values.len() < l || smallest <= options.value_factor * mu || products.stopped() {
            return Ok(low);
        }
        let approximation = low.operator::<f64>()?;
        let rest = Difference { a: &wide, b: &approximation };
        let steps = Products::new(&rest, op, settings).after(low.products);
        let left = power_norm(&steps, options.power_steps)?;
        power += steps.spent();
        products.skip(steps.spent());
        low.products = products.spent() + power;
        if left <= options.error_factor * mu {
            return Ok(low);
        }
        l = (2 * l).min(top);
    }
}

/// `A + mu I`, borrowed.
#[derive(Debug)]
struct Damped<'a, T: Scalar> {
    a: &'a dyn LinearOperator<T>,
    mu: T,
}

impl<T: Scalar> LinearOperator<T> for Damped<'_, T> {
    fn nrows(&self) -> usize {
        self.a.nrows()
    }
    fn ncols(&self) -> usize {
        self.a.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.a.apply_req(k, par)
    }
    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.a.apply(out.as_mut(), alpha, x, beta, par, stack)?;
        dense::axpy(out, alpha * self.mu, x);
        Ok(())
    }
    fn props(&self) -> Props {
        (self.a.props() & Props::SELF_ADJOINT) | Props::PD.close(self.nrows(), self.ncols())
    }
    fn cost(&self, k: usize) -> Cost {
        let (one, nk) = (self.a.cost(k), (self.a.nrows() * k) as f64);
        Cost { flops: one.flops + 2.0 * nk, bytes: one.bytes + 3.0 * size_of::<T>() as f64 * nk }
    }
}

/// A solution with what the preconditioner cost.
#[derive(Debug)]
pub struct NystromSolution<T: Scalar> {
    /// The iterates and the report of conjugate gradients.
    pub solution: Solution<T>,
    /// The approximation that preconditioned it.
    pub nystrom: Nystrom,
}

/// Solves `(A + mu I) x = b` for a positive semidefinite A and any number of right-hand sides.
///
/// A is `n x n`, b `n x k`. Cost: that of the approximation, and for each iteration a product with the columns that have not
/// converged and `4 n l` flops a column. With `l >= 2 ceil(1.5 d) + 1`, d the effective dimension at mu, the mean condition number is
/// below 28 and the iterations do not depend on the spectrum. Source: arXiv:2110.02820.
///
/// ```
/// use linop_core::{krylov::Options, ops::Diagonal};
/// use numerics::Mat;
/// use sketch::{AdaptiveNystrom, Settings, nystrom_solve};
/// let a = Diagonal::new((1..=200).map(|j| 1.0 / f64::from(j * j)).collect());
/// let b = Mat::from_fn(200, 1, |_, _| 1.0);
/// let options = Options { rtol: 1e-10, ..Options::default() };
/// let found = nystrom_solve(&a, 1e-3, b.as_ref(), &AdaptiveNystrom::default(), &options, &Settings::default())?;
/// assert!(found.solution.report.converged() && found.solution.report.iterations < 40);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// As [`nystrom_adaptive`], and those of conjugate gradients. Columns that do not converge are in the report.
pub fn nystrom_solve<T: Scalar>(
    a: &dyn LinearOperator<T>,
    mu: f64,
    b: MatRef<'_, T>,
    rank: &AdaptiveNystrom,
    options: &Options<'_, T>,
    settings: &Settings<'_>,
) -> Result<NystromSolution<T>, Error> {
    let nystrom = nystrom_adaptive(a, mu, rank, settings)?;
    let solution = solve_with(a, mu, b, &nystrom, options, settings.par)?;
    Ok(NystromSolution { solution, nystrom })
}

/// Conjugate gradients with a given approximation as preconditioner.
pub(crate) fn solve_with<T: Scalar>(
    a: &dyn LinearOperator<T>,
    mu: f64,
    b: MatRef<'_, T>,
    nystrom: &Nystrom,
    options: &Options<'_, T>,
    par: Par,
) -> Result<Solution<T>, Error> {
    let precond = NystromPrecond::<T>::new(nystrom, mu)?;
    let watched = Watched::new(a).after(nystrom.products);
    let damped = Damped { a: &watched, mu: T::from_f64(mu) };
    let options = Options { precond: Some(&precond), ..*options };
    Ok(cg(&damped, b, &options, par).map_err(|e| watched.named("nystrom solve", e))?.solution)
}
