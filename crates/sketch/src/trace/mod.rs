//! Traces: what structure gives is taken exactly, the rest is estimated from products, with an error bar.
//!
//! | method | products | exact for | source |
//! |---|---|---|---|
//! | Hutchinson | m | diagonal (signs), multiples of the identity (sphere) | Hutchinson 1989 |
//! | Hutch++ | m | rank <= m/3 | arXiv:2010.09649 |
//! | NA-Hutch++ | m, one pass | rank <= m/6 | arXiv:2010.09649 |
//! | adaptive Hutch++ | as the tolerance asks | | arXiv:2109.10659 |
//! | Nystrom++ | m, PSD | rank <= m/2 | arXiv:2109.10659 |
//! | XTrace | m | rank < m/2 | arXiv:2301.07825 |
//! | XNysTrace | m, PSD | rank < m | arXiv:2301.07825 |
//!
//! With at least n products (two per probe of XTrace) the trace is computed exactly from n products instead.

mod adaptive;
mod deflated;

use crate::loo::{XTrace, xnys_trace, xtrace};
use crate::products::{Products, Wide};
use crate::settings::mean_sem;
use crate::{Budget, Error, Estimate, Settings, Status, la, structure};
use linop_core::{LinearOperator, Op};
use numerics::Scalar;

/// An estimator of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceMethod {
    /// The mean of `v^T A v`.
    Hutchinson,
    /// A low-rank part taken exactly, Hutchinson on the rest.
    HutchPp,
    /// The same in one pass, with transposed products.
    NaHutchPp,
    /// Hutch++ that chooses its own split for an absolute error of at most `eta` with probability `1 - 2 delta`.
    /// Self-adjoint operators; Gaussian probes; the budget is only a cap.
    AdaptiveHutchPp {
        /// Absolute error.
        eta: f64,
        /// Half of the failure probability.
        delta: f64,
    },
    /// A Nystrom part taken exactly, Hutchinson on the rest; PSD operators.
    NystromPp,
    /// Leave-one-out Hutch++.
    XTrace {
        /// Rescale probes to their mean length (sphere or Gaussian probes only).
        resphere: bool,
    },
    /// Leave-one-out Nystrom++; PSD operators.
    XNysTrace {
        /// As in `XTrace`.
        resphere: bool,
    },
}

impl TraceMethod {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            TraceMethod::Hutchinson => "hutchinson",
            TraceMethod::HutchPp => "hutch++",
            TraceMethod::NaHutchPp => "na-hutch++",
            TraceMethod::AdaptiveHutchPp { .. } => "adaptive hutch++",
            TraceMethod::NystromPp => "nystrom++",
            TraceMethod::XTrace { .. } => "xtrace",
            TraceMethod::XNysTrace { .. } => "xnystrace",
        }
    }

    /// The least number of products.
    fn least(self) -> usize {
        match self {
            TraceMethod::Hutchinson | TraceMethod::XNysTrace { .. } => 1,
            TraceMethod::XTrace { .. } | TraceMethod::NystromPp => 2,
            TraceMethod::HutchPp => 3,
            TraceMethod::NaHutchPp => 6,
            TraceMethod::AdaptiveHutchPp { .. } => 3,
        }
    }

    /// Whether so many products are enough for the exact answer.
    fn is_exact(self, m: usize, n: usize) -> bool {
        match self {
            TraceMethod::XTrace { .. } => 2 * (m / 2) >= n,
            _ => m >= n,
        }
    }
}

/// The trace of a square operator: structure first, the remainder by `method`.
///
/// A is `n x n`. Cost: the products of the budget where structure leaves a rest; beside them `2 n` flops a product for Hutchinson,
/// and with a basis of k columns (a third of the products for Hutch++, a quarter to a half for its relatives, half for XTrace, all
/// for XNysTrace) about `10 n k^2` flops and `3 n k` numbers. Sources: the table of methods, Hutchinson 1989, arXiv:2010.09649,
/// arXiv:2109.10659, arXiv:2301.07825.
///
/// ```
/// use linop_core::{Op, ops::ClosureOp};
/// use sketch::{Budget, Settings, TraceMethod, trace};
/// // the sum of a stored diagonal and of an operator that is only known by its products (here 11^T)
/// let ones = Op::new(ClosureOp::new(50, 50, |mut out, x| {
///     for j in 0..x.ncols() {
///         let s: f64 = (0..50).map(|i| x[(i, j)]).sum();
///         (0..50).for_each(|i| out[(i, j)] = s);
///     }
///     Ok(())
/// }));
/// let a = (&ones + &Op::diag(vec![2.0; 50]))?;
/// let t = trace(&a, TraceMethod::XTrace { resphere: false }, Budget::Products(10), &Settings::default())?;
/// assert!((t.value - 150.0).abs() < 1e-9 && t.products == 10);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `SketchTooSmall`, `NotPsd`, `TransposeUnavailable`, `NonFinite`, `InvalidArgument`, `Interrupted`.
pub fn trace<T: Scalar>(
    a: &Op<T>,
    method: TraceMethod,
    budget: Budget,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    if a.nrows() != a.ncols() {
        return Err(Error::NotSquare { op: method.name(), nrows: a.nrows(), ncols: a.ncols() });
    }
    let split = structure::split_trace(a, settings.par)?;
    let Some(rest) = split.rest else {
        return Ok(exactly(split.exact, (0, 0)));
    };
    let budget = match budget {
        // a relative tolerance is relative to the whole
        Budget::Tolerance { abs, rel, max_products } => {
            return with_tolerance(&rest, method, abs, rel, max_products, split.exact, settings);
        }
        products => products,
    };
    let mut estimate = estimate_trace(&rest, method, budget, settings)?;
    estimate.value += split.exact;
    Ok(estimate)
}

/// The trace from products alone, whatever the structure.
///
/// Shapes and cost: as [`trace`].
///
/// # Errors
/// As [`trace`].
pub fn estimate_trace<T: Scalar>(
    a: &dyn LinearOperator<T>,
    method: TraceMethod,
    budget: Budget,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    match budget {
        Budget::Products(m) => {
            let wide = Wide(a);
            let products = Products::new(&wide, method.name(), settings);
            with_products(&products, method, m)
        }
        Budget::Tolerance { abs, rel, max_products } => {
            with_tolerance(a, method, abs, rel, max_products, 0.0, settings)
        }
    }
}

fn exactly(value: f64, (products, products_t): (usize, usize)) -> Estimate<f64> {
    Estimate { value, sem: Some(0.0), products, products_t, status: Status::Exact }
}

fn exact(products: &Products<'_>) -> Result<Estimate<f64>, Error> {
    let d = products.exact_diagonal()?;
    Ok(exactly(d.iter().sum(), products.counts()))
}

/// Value and standard error of one stage.
type Stage = (f64, Option<f64>);

fn with_products(products: &Products<'_>, method: TraceMethod, m: usize) -> Result<Estimate<f64>, Error> {
    let n = products.square()?;
    if n == 0 {
        return Ok(exactly(0.0, (0, 0)));
    }
    if m < method.least() {
        return Err(Error::SketchTooSmall { op: method.name(), needed: method.least(), got: m });
    }
    if let TraceMethod::AdaptiveHutchPp { eta, delta } = method {
        return adaptive::adaptive(products, eta, delta, m);
    }
    if method.is_exact(m, n) {
        return exact(products);
    }
    let (value, sem) = stage(products, method, m)?;
    let (plain, transposed) = products.counts();
    let status = if products.stopped() && products.spent() < m { Status::Interrupted } else { Status::Spent };
    Ok(Estimate { value, sem, products: plain, products_t: transposed, status })
}

fn stage(products: &Products<'_>, method: TraceMethod, m: usize) -> Result<Stage, Error> {
    products.plan(products.spent() + m);
    match method {
        TraceMethod::Hutchinson => {
            let mut samples = Vec::new();
            hutchinson(products, m, &mut samples)?;
            Ok(mean_sem(&samples))
        }
        TraceMethod::HutchPp => deflated::hutchpp(products, m),
        TraceMethod::NaHutchPp => deflated::na_hutchpp(products, m),
        TraceMethod::NystromPp => deflated::nystrompp(products, m),
        TraceMethod::XTrace { resphere } => Ok(mean_sem(&xtrace(products, m / 2, resphere)?)),
        TraceMethod::XNysTrace { resphere } => Ok(mean_sem(&xnys_trace(products, m, resphere)?)),
        TraceMethod::AdaptiveHutchPp { .. } => {
            Err(Error::argument(products.op, "the adaptive estimator has no stages"))
        }
    }
}

/// Adds samples `v^T A v` until there are m; stops early if asked to.
fn hutchinson(products: &Products<'_>, m: usize, samples: &mut Vec<f64>) -> Result<(), Error> {
    let width = products.width();
    while samples.len() < m {
        let range = samples.len()..(samples.len() + width).min(m);
        let omega = products.right(range);
        samples.extend(la::col_dots(omega.as_ref(), products.apply(omega.as_ref())?.as_ref()));
        if products.stopped() {
            break;
        }
    }
    Ok(())
}

/// Doubles the products until three standard errors are within the tolerance. Hutchinson and XTrace go on from what
/// they have; the other methods start each stage anew, and all products count.
fn with_tolerance<T: Scalar>(
    a: &dyn LinearOperator<T>,
    method: TraceMethod,
    abs: f64,
    rel: f64,
    max_products: usize,
    offset: f64,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    const START: usize = 8;
    const MARGIN: f64 = 3.0;
    let wide = Wide(a);
    let products = Products::new(&wide, method.name(), settings);
    let n = products.square()?;
    if !(abs >= 0.0 && rel >= 0.0) {
        return Err(Error::argument(products.op, format!("tolerances must not be negative, got {abs} and {rel}")));
    }
    if n == 0 || matches!(method, TraceMethod::AdaptiveHutchPp { .. }) {
        let mut estimate = with_products(&products, method, max_products)?;
        estimate.value += offset;
        return Ok(estimate);
    }
    let per_probe = if matches!(method, TraceMethod::XTrace { .. }) { 2 } else { 1 };
    let mut m = (START * per_probe).max(4 * method.least());
    let mut samples = Vec::new();
    let mut growing = match method {
        TraceMethod::XTrace { resphere } => Some(XTrace::new(&products, resphere)?),
        _ => None,
    };
    let mut last: Option<Stage> = None;
    let report = |stage: Stage, status: Status| {
        let (plain, transposed) = products.counts();
        let sem = stage.1;
        Ok(Estimate { value: stage.0 + offset, sem, products: plain, products_t: transposed, status })
    };
    loop {
        let reuses = growing.is_some() || method == TraceMethod::Hutchinson;
        let next = if reuses { m } else { products.spent() + m };
        if method.is_exact(m, n) && products.spent() + n <= max_products {
            let mut estimate = exact(&products)?;
            estimate.value += offset;
            return Ok(estimate);
        }
        if next > max_products {
            return match last {
                Some(stage) => report(stage, Status::NotConverged),
                None => Err(Error::SketchTooSmall { op: products.op, needed: next, got: max_products }),
            };
        }
        products.plan(next);
        let result = match &mut growing {
            Some(run) => run.grow(&products, m / 2).and_then(|()| Ok(mean_sem(&run.samples(&products)?))),
            None if method == TraceMethod::Hutchinson => {
                hutchinson(&products, m, &mut samples).map(|()| mean_sem(&samples))
            }
            None => stage(&products, method, m),
        };
        let (value, sem) = match (result, last) {
            (Ok(stage), _) => stage,
            (Err(Error::Interrupted { .. }), Some(stage)) => return report(stage, Status::Interrupted),
            (Err(e), _) => return Err(e),
        };
        last = Some((value, sem));
        if sem.is_some_and(|sem| MARGIN * sem <= abs + rel * (value + offset).abs()) {
            return report((value, sem), Status::Converged);
        }
        if products.stopped() {
            return report((value, sem), Status::Interrupted);
        }
        m *= 2;
        let cap = if reuses { max_products } else { max_products.saturating_sub(products.spent()) };
        // the last stage uses what is left, if that is worth a stage
        if m > cap && 4 * cap > 3 * m {
            m = cap;
        }
    }
}
