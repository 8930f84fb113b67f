//! Range finders: an orthonormal basis that captures most of what an operator does.
//!
//! Source: Halko, Martinsson, Tropp 2011; the free error estimate from arXiv:2207.06342. With l = k + s Gaussian columns
//! the mean error is at most `sqrt(1 + k/(s-1))` times that of the best rank-k approximation. Power steps
//! re-orthonormalise at every half step and sharpen slowly decaying spectra at two products a column each. A block Krylov
//! basis keeps all the blocks that power steps throw away (Musco and Musco 2015, arXiv:1504.05477).

use crate::loo::LeaveOut;
use crate::products::{Products, Wide};
use crate::{Error, Settings, Status, la};
use linop_core::LinearOperator;
use numerics::dense::{self, Qr};
use numerics::{Mat, Scalar};

/// An orthonormal basis and what is known about it.
#[derive(Clone, Debug)]
pub struct RangeBasis {
    /// Orthonormal columns.
    pub q: Mat<f64>,
    /// An unbiased estimate of `|A - Q Q^T A|_F^2` for a basis of one column fewer, from the sketch itself; absent after
    /// power steps.
    pub error_sq: Option<f64>,
    /// Products with the operator.
    pub products: usize,
    /// Products with its transpose.
    pub products_t: usize,
    /// Whether an adaptive search met its tolerance.
    pub status: Status,
}

/// A basis from `l` probes and `power` power steps; `l` is cut to the smaller side.
///
/// A is `m x n`, the basis `m x l`. Cost: `l (1 + 2 power)` products, `5 m l^2` flops an orthonormalisation (at the rate of products
/// where the columns are well conditioned), `3 m l` numbers. Source: Halko, Martinsson, Tropp 2011, algorithms 4.1 and 4.4; the error
/// estimate, arXiv:2207.06342.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{Settings, range_finder};
/// let a = Diagonal::new((0..60).map(|i| 0.5f64.powi(i)).collect());
/// let basis = range_finder(&a, 12, 0, &Settings::default())?;
/// assert_eq!((basis.q.ncols(), basis.products), (12, 12));
/// assert!(basis.error_sq.is_some_and(|e| e < 1e-4));
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `SketchTooSmall` for no probes, `TransposeUnavailable` with power steps, `NonFinite`, `Interrupted`.
pub fn range_finder<T: Scalar>(
    a: &dyn LinearOperator<T>,
    l: usize,
    power: usize,
    settings: &Settings<'_>,
) -> Result<RangeBasis, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "range finder", settings);
    let (q, error_sq) = find(&products, l, power)?;
    let (plain, transposed) = products.counts();
    Ok(RangeBasis { q, error_sq, products: plain, products_t: transposed, status: Status::Spent })
}

pub(crate) fn find(products: &Products<'_>, l: usize, power: usize) -> Result<(Mat<f64>, Option<f64>), Error> {
    if l == 0 {
        return Err(Error::SketchTooSmall { op: products.op, needed: 1, got: 0 });
    }
    let l = l.min(products.m).min(products.n);
    products.plan(products.spent() + l.saturating_mul(power.saturating_mul(2).saturating_add(1)));
    let y = products.apply(products.right(0..l).as_ref())?;
    if power == 0 {
        let Qr { q, r, .. } = dense::cholesky_qr(y, products.par())?;
        // dependent columns: the range is captured to rounding
        let leave = LeaveOut::from_triangle(r.as_ref(), products.m, products.par());
        return Ok((q, Some(leave.map_or(0.0, |leave| leave.error_sq()))));
    }
    let mut q = la::orth(y, products.par())?;
    for _ in 0..power {
        let z = products.apply_t(q.as_ref())?;
        q = la::orth(z, products.par())?;
        let y = products.apply(q.as_ref())?;
        q = la::orth(y, products.par())?;
    }
    Ok((q, None))
}

/// A basis of the block Krylov space of `A Omega, (A A^T) A Omega, .., (A A^T)^steps A Omega`, of `A Omega, .., A^(steps + 1) Omega`
/// for a self-adjoint operator: `l (steps + 1)` columns, cut to the smaller side.
///
/// Every block is made orthogonal to all earlier ones before it is multiplied. Beside power steps of the same depth it has more
/// columns at no further product, and converges in about the square root of their number. Products: l, and for each
/// step `2 l`, or l if the operator is self-adjoint; `8 n l` flops a column of the basis and pass.
///
/// Source: Musco and Musco 2015, arXiv:1504.05477.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{Settings, range_krylov};
/// let a = Diagonal::new((1..=200).map(|i| 1.0 / f64::from(i)).collect());
/// let basis = range_krylov(&a, 5, 3, &Settings::default())?;
/// assert_eq!((basis.q.ncols(), basis.products), (20, 20));
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// As [`range_finder`].
pub fn range_krylov<T: Scalar>(
    a: &dyn LinearOperator<T>,
    l: usize,
    steps: usize,
    settings: &Settings<'_>,
) -> Result<RangeBasis, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "block krylov", settings);
    let top = products.m.min(products.n);
    if l == 0 {
        return Err(Error::SketchTooSmall { op: products.op, needed: 1, got: 0 });
    }
    let (l, par) = (l.min(top), settings.par);
    let a_step = if products.symmetric { 1 } else { 2 };
    products.plan(l * (1 + a_step * steps.min(top)));
    let mut q = la::orth(products.apply(products.right(0..l).as_ref())?, par)?;
    for _ in 0..steps {
        let old = q.ncols();
        if old == top {
            break;
        }
        let count = l.min(top - old);
        let latest = q.as_ref().subcols(old - l, count);
        let next = if products.symmetric {
            products.apply(latest)?
        } else {
            let image = products.apply_t(latest)?;
            products.apply(la::orth(image, par)?.as_ref())?
        };
        let more = la::extend_basis(q.as_ref(), next, par)?;
        q = la::hcat(q.as_ref(), more.q.as_ref());
    }
    let (plain, transposed) = products.counts();
    let status = if q.ncols() == top { Status::Exact } else { Status::Spent };
    Ok(RangeBasis { q, error_sq: None, products: plain, products_t: transposed, status })
}

/// When an adaptive search for a basis ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangeTolerance {
    /// Absolute Frobenius error.
    pub abs: f64,
    /// Frobenius error relative to the norm of the operator (which is estimated from the same products).
    pub rel: f64,
    /// Columns added at a time.
    pub step: usize,
    /// Most columns.
    pub max_columns: usize,
}

/// A basis that grows until the estimated error `|A - Q Q^T A|_F` is within the tolerance.
///
/// A is `m x n`. Cost: a product a column, `13 m l` flops for each of the l columns, a triangle of `l x l`. Source: Halko,
/// Martinsson, Tropp 2011, algorithm 4.2 by blocks, with the error estimate of arXiv:2207.06342.
///
/// # Errors
/// `InvalidArgument` for a step of 0 or negative tolerances, `SketchTooSmall` for no columns, `NonFinite`, `Interrupted` before the first step.
pub fn range_adaptive<T: Scalar>(
    a: &dyn LinearOperator<T>,
    tolerance: &RangeTolerance,
    settings: &Settings<'_>,
) -> Result<RangeBasis, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "adaptive range finder", settings);
    if tolerance.step == 0 || !(tolerance.abs >= 0.0 && tolerance.rel >= 0.0) {
        return Err(Error::argument(products.op, "needs a step of at least 1 and tolerances that are not negative"));
    }
    if tolerance.max_columns == 0 {
        return Err(Error::SketchTooSmall { op: products.op, needed: 1, got: 0 });
    }
    let par = settings.par;
    let top = tolerance.max_columns.min(products.m).min(products.n);
    let mut q = Mat::zeros(products.m, 0);
    let mut r = Mat::zeros(0, 0);
    let (mut norm_sq, mut error_sq) = (0.0, None);
    let mut status = Status::NotConverged;
    while q.ncols() < top {
        let (old, new) = (q.ncols(), q.ncols().saturating_add(tolerance.step).min(top));
        let y = products.apply(products.right(old..new).as_ref())?;
        norm_sq += la::fro_sq(y.as_ref());
        let more = la::extend_basis(q.as_ref(), y, par)?;
        let before = r;
        r = Mat::from_fn(new, new, |i, j| match (i < old, j < old) {
            (true, true) => before[(i, j)],
            (true, false) => more.inside[(i, j - old)],
            (false, false) => more.r[(i - old, j - old)],
            (false, true) => 0.0,
        });
        q = la::hcat(q.as_ref(), more.q.as_ref());
        // dependent columns: the range is captured to rounding
        let estimate = LeaveOut::from_triangle(r.as_ref(), products.m, par).map_or(0.0, |leave| leave.error_sq());
        error_sq = Some(estimate);
        if estimate.sqrt() <= tolerance.abs + tolerance.rel * (norm_sq / new as f64).sqrt() {
            status = Status::Converged;
            break;
        }
        if products.stopped() {
            status = Status::Interrupted;
            break;
        }
    }
    if q.ncols() == products.m.min(products.n) {
        status = Status::Exact;
    }
    let (plain, transposed) = products.counts();
    Ok(RangeBasis { q, error_sq, products: plain, products_t: transposed, status })
}
