//! Traces of functions by stochastic Lanczos quadrature: `tr f(A) = E v^T f(A) v`, each term by a Gauss rule.
//!
//! Source: Golub and Meurant 2010; Ubaru, Chen, Saad 2017. Log determinants, traces of inverses, Schatten norms and
//! entropies are choices of f.
//!
//! Deflated, with approximate eigenpairs (Q, Lambda) and any constant c: `tr f(A) = sum (f(l) - f(c)) + E [v^T f(A) v -
//! sum (f(l) - f(c)) (q^T v)^2]`. That is unbiased however poor the pairs are; good ones take the leading part of the
//! variance away.

use super::{Rule, side_by_side, symmetric_size};
use crate::norms::Normal;
use crate::products::{Products, Wide};
use crate::settings::mean_sem;
use crate::watched::Watched;
use crate::{EighOptions, EighRecovery, Error, Estimate, Order, Settings, Sizes, Status, la, structure};
use core::ops::ControlFlow;
use linop_core::krylov::Reorth;
use linop_core::{LinearOperator, Op, Props};
use numerics::progress::Progress;
use numerics::rng::Law;
use numerics::{Mat, MatRef, Par, Scalar};

/// Steps and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuadratureOptions {
    /// Lanczos steps of a run.
    pub steps: usize,
    /// Runs, each from its own probe.
    pub runs: usize,
    /// Reorthogonalisation. Without it memory and work are smaller, and weights stay usable.
    pub reorth: Reorth,
}

impl Default for QuadratureOptions {
    fn default() -> Self {
        QuadratureOptions { steps: 20, runs: 30, reorth: Reorth::Full }
    }
}

impl QuadratureOptions {
    /// Runs of 20 steps for so many products.
    ///
    /// # Errors
    /// `SketchTooSmall` for fewer than two runs.
    pub fn for_products(m: usize) -> Result<Self, Error> {
        const STEPS: usize = 20;
        if m / STEPS < 2 {
            return Err(Error::SketchTooSmall { op: "quadrature", needed: 2 * STEPS, got: m });
        }
        Ok(QuadratureOptions { steps: STEPS, runs: m / STEPS, reorth: Reorth::Full })
    }

    fn check(&self, op: &'static str) -> Result<(), Error> {
        if self.steps == 0 || self.runs == 0 {
            return Err(Error::argument(op, "needs at least one step and one run"));
        }
        Ok(())
    }
}

/// `tr f(A)` of a self-adjoint operator. Probes have the law of the settings (signs or sphere).
///
/// A is `n x n`. Cost: `steps` products a run; with reorthogonalisation `4 n steps^2` flops a run and `n steps` numbers for each of
/// the runs that go side by side. Source: Ubaru, Chen, Saad 2017.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{QuadratureOptions, Settings, trace_function};
/// let a = Diagonal::new((1..=100).map(f64::from).collect());
/// let t = trace_function(&a, f64::sqrt, &QuadratureOptions::default(), &Settings::default())?;
/// let truth: f64 = (1..=100).map(|i| f64::from(i).sqrt()).sum();
/// assert!((t.value - truth).abs() < 1e-3 * truth);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `NotSymmetric`, `InvalidArgument`, `Interrupted` before the first run ends.
pub fn trace_function<T: Scalar>(
    a: &dyn LinearOperator<T>,
    f: impl Fn(f64) -> f64,
    options: &QuadratureOptions,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    average(&Products::new(&Wide(a), "quadrature", settings), &f, None, options)
}

/// The same with `pairs` approximate eigenpairs of a range finder as a control variate.
///
/// Cost: that of [`trace_function`], and two products and `10 n pairs` flops for each pair. Source: control variates, as the Nystrom
/// part in arXiv:2109.10659.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{QuadratureOptions, Settings, trace_function_deflated};
/// let a = Diagonal::new((1..=300).map(|j| 0.01 + 1.0 / f64::from(j * j)).collect());
/// let options = QuadratureOptions { runs: 10, ..QuadratureOptions::default() };
/// let t = trace_function_deflated(&a, f64::ln, 20, &options, &Settings::default())?;
/// let truth: f64 = (1..=300).map(|j| (0.01 + 1.0 / f64::from(j * j)).ln()).sum();
/// assert!((t.value - truth).abs() < 1e-2 * truth.abs());
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// As [`trace_function`]; `SketchTooSmall` for no pairs.
pub fn trace_function_deflated<T: Scalar>(
    a: &dyn LinearOperator<T>,
    f: impl Fn(f64) -> f64,
    pairs: usize,
    options: &QuadratureOptions,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    let wide = Wide(a);
    let hmt = EighOptions {
        recovery: EighRecovery::Hmt { power: 0 },
        sizes: Sizes::from_right(pairs),
        rank: None,
        order: Order::Magnitude,
    };
    let found = crate::eigh(&wide, &hmt, settings)?;
    let base = found.values.last().map_or(0.0, |&v| f(v));
    let excess: Vec<f64> = found.values.iter().map(|&v| f(v) - base).collect();
    if !excess.iter().all(|x| x.is_finite()) {
        return Err(Error::argument("quadrature", "the function is not finite at an eigenvalue of the deflation"));
    }
    let control = Control { vectors: found.vectors, excess };
    let products = Products::new(&wide, "quadrature", settings).after(found.products);
    let mut estimate = average(&products, &f, Some(&control), options)?;
    estimate.products += found.products;
    Ok(estimate)
}

/// `sum excess_i q_i q_i^T`, whose trace is known.
struct Control {
    vectors: Mat<f64>,
    excess: Vec<f64>,
}

impl Control {
    fn trace(&self) -> f64 {
        self.excess.iter().sum()
    }

    /// `v^T C v` of every column.
    fn forms(&self, v: MatRef<'_, f64>, par: Par) -> Vec<f64> {
        let c = la::mul_tn(self.vectors.as_ref(), v, par);
        (0..c.ncols()).map(|j| self.excess.iter().zip(c.col_as_slice(j)).map(|(e, c)| e * c * c).sum()).collect()
    }
}

/// The mean over runs of `|v|^2 sum_i w_i f(theta_i)`, less the control variate and plus its trace.
fn average(
    products: &Products<'_>,
    f: &dyn Fn(f64) -> f64,
    control: Option<&Control>,
    options: &QuadratureOptions,
) -> Result<Estimate<f64>, Error> {
    let (op, settings) = (products.op, &products.settings);
    let n = symmetric_size(products)?;
    options.check(op)?;
    if settings.law == Law::Coordinates {
        return Err(Error::argument(op, "needs probes of law signs, sphere or gaussian"));
    }
    if n == 0 {
        return Ok(Estimate { value: 0.0, sem: Some(0.0), products: 0, products_t: 0, status: Status::Exact });
    }
    let (mut samples, mut spent) = (Vec::new(), 0);
    let mut status = Status::Spent;
    let width = side_by_side(products, options.steps, options.reorth);
    for first in (0..options.runs).step_by(width) {
        let runs = first..(first + width).min(options.runs);
        let known = control.map(|control| {
            let start = super::starts(settings.law, runs.clone(), n, settings);
            control.forms(start.as_ref(), settings.par)
        });
        let rules = super::rules(products, settings.law, runs, options.steps, options.reorth)?;
        for (k, Rule { nodes, length_sq, steps }) in rules.into_iter().enumerate() {
            spent += steps;
            let whole = length_sq * nodes.iter().map(|(node, weight)| weight * f(*node)).sum::<f64>();
            let known = known.as_ref().zip(control).map_or(0.0, |(forms, control)| forms[k] - control.trace());
            samples.push(whole - known);
        }
        let progress = Progress::new(op, samples.len() as u64, options.runs as u64);
        if samples.len() < options.runs && settings.observer.report(&progress) == ControlFlow::Break(()) {
            status = Status::Interrupted;
            break;
        }
    }
    let (value, sem) = mean_sem(&samples);
    if !value.is_finite() {
        return Err(Error::argument(op, "the function is not finite at a node: the operator is not in its domain"));
    }
    Ok(Estimate { value, sem, products: spent, products_t: 0, status })
}

/// `ln det A` of a positive definite operator: factors, blocks and updates with a rule exactly, the rest by quadrature.
///
/// Cost and source: as [`trace_function`], for the rest that structure leaves.
///
/// # Errors
/// As [`trace_function`]; `NotPositiveDefinite` if a quadrature node is not positive or an exact part is not.
pub fn logdet<T: Scalar>(
    a: &Op<T>,
    options: &QuadratureOptions,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    let op = "logdet";
    if a.nrows() != a.ncols() {
        return Err(Error::NotSquare { op, nrows: a.nrows(), ncols: a.ncols() });
    }
    let structure::Parts { exact, rest } = structure::split_logdet(a, settings.par)?;
    let status = if rest.is_empty() { Status::Exact } else { Status::Spent };
    let mut total = Estimate { value: exact, sem: Some(0.0), products: 0, products_t: 0, status };
    for (weight, part) in rest {
        let wide = Wide(&part);
        let ln = |x: f64| if x > 0.0 { x.ln() } else { f64::NAN };
        let products = Products::new(&wide, op, settings).after(total.products);
        let estimate = average(&products, &ln, None, options).map_err(|e| match e {
            Error::InvalidArgument { op, what } if what.starts_with("the function") => {
                Error::NotPositiveDefinite { op }
            }
            e => e,
        })?;
        total.value += weight * estimate.value;
        total.sem = total.sem.zip(estimate.sem).map(|(a, b)| a.hypot(weight * b));
        total.products += estimate.products;
        if estimate.status == Status::Interrupted {
            total.status = Status::Interrupted;
        }
    }
    if total.status == Status::Interrupted {
        return Err(Error::Interrupted { op, products: total.products });
    }
    Ok(total)
}

/// The Schatten norm `(sum_i sigma_i^p)^(1/p)` by quadrature on `A^T A` (on A itself if it is self-adjoint). The standard
/// error is that of the norm to first order.
///
/// A is `m x n`. Cost and source: as [`trace_function`], with a product and a transposed one for each step unless A is self-adjoint.
///
/// # Errors
/// `InvalidArgument` unless `p > 0`, `TransposeUnavailable`, and those of [`trace_function`].
pub fn schatten_norm<T: Scalar>(
    a: &dyn LinearOperator<T>,
    p: f64,
    options: &QuadratureOptions,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    let op = "schatten norm";
    if !(p > 0.0 && p.is_finite()) {
        return Err(Error::argument(op, format!("needs p > 0, got {p}")));
    }
    let wide = Wide(a);
    let symmetric = a.props().contains(Props::SELF_ADJOINT);
    let mut estimate = if symmetric {
        average(&Products::new(&wide, op, settings), &|x: f64| x.abs().powf(p), None, options)?
    } else {
        let watched = Watched::new(&wide);
        let normal = Normal(&watched);
        average(&Products::new(&normal, op, settings), &|x: f64| x.max(0.0).powf(0.5 * p), None, options)
            .map_err(|e| watched.renamed(op, e))?
    };
    let sum = estimate.value.max(0.0);
    estimate.value = sum.powf(p.recip());
    estimate.sem = estimate.sem.map(|s| if sum > 0.0 { s * estimate.value / (p * sum) } else { 0.0 });
    if !symmetric {
        estimate.products_t = estimate.products;
    }
    Ok(estimate)
}
