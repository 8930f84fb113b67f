//! Certificates: how far an approximation is from an operator, measured by fresh probes that the approximation has never
//! seen, with exact tail bounds; and scree bounds of how much any rank could capture.
//!
//! Source: arXiv:1902.08651 section 6. With q Gaussian probes `e^2 = (1/q) |(A - A_hat) Theta|_F^2` has the mean
//! `E^2 = |A - A_hat|_F^2`, and
//! `P(e^2 <= (1 - eta) E^2) <= (exp(eta) (1 - eta))^(q/2)`, `P(e^2 >= (1 + eta) E^2) <= (exp(-eta) (1 + eta))^(q/2)`.
//! The bounds are for the squared error; [`relative`] turns a relative error of the norm into eta.

use crate::products::{Difference, Products, Wide};
use crate::{Error, Settings, la};
use linop_core::LinearOperator;
use numerics::Scalar;
use numerics::rng::{Law, Role};

/// Squared errors from one set of test probes.
///
/// Source: arXiv:1902.08651 section 6.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Estimate of `|A - A_hat|_F^2`.
    pub error_sq: f64,
    /// Estimate of `|A|_F^2` from the same probes, so that the ratio has little noise.
    pub norm_sq: f64,
    /// `|(A - A_hat) theta|^2` of every probe.
    pub per_probe: Vec<f64>,
    /// Products spent.
    pub products: usize,
}

impl Certificate {
    /// Residual energy `|A - A_hat|_F^2 / |A|_F^2`; 0 for the zero operator met exactly.
    pub fn residual_energy(&self) -> f64 {
        if self.error_sq == 0.0 { 0.0 } else { self.error_sq / self.norm_sq }
    }

    /// Bounds of the probabilities that the estimate is below `(1 - eta)` and above `(1 + eta)` times the truth.
    pub fn tail(&self, eta: f64) -> (f64, f64) {
        tail_bounds(self.per_probe.len(), eta, Field::Real)
    }
}

/// Real or complex probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Real Gaussian probes, as all of ours are.
    Real,
    /// Complex Gaussian probes.
    Complex,
}

/// Bounds of the probabilities that an estimate of a *squared* error from q probes is below `(1 - eta)` or above
/// `(1 + eta)` times the truth.
///
/// Needs `eta >= 0`. Cost: `O(1)`. Source: arXiv:1902.08651 section 6.
///
/// ```
/// use sketch::{Field, tail_bounds};
/// let (low, high) = tail_bounds(1000, 0.1, Field::Real);
/// assert!((low - 0.06854547886946127).abs() < 1e-10 && (high - 0.09585581938857757).abs() < 1e-10);
/// ```
pub fn tail_bounds(q: usize, eta: f64, field: Field) -> (f64, f64) {
    let power = match field {
        Field::Real => 0.5 * q as f64,
        Field::Complex => q as f64,
    };
    let low = if eta >= 1.0 { 0.0 } else { (power * (eta + (-eta).ln_1p())).exp() };
    (low, (power * (eta.ln_1p() - eta)).exp())
}

/// The eta of [`tail_bounds`] for a relative error `delta` of the norm itself: `(2 delta - delta^2, 2 delta + delta^2)`
/// for the lower and the upper tail.
pub fn relative(delta: f64) -> (f64, f64) {
    (2.0 * delta - delta * delta, 2.0 * delta + delta * delta)
}

/// Measures an approximation with q fresh Gaussian probes.
///
/// Both are `m x n`. Cost: q products with each of them, `6 m q` flops, four blocks of q columns. Source: arXiv:1902.08651
/// section 6.
///
/// ```
/// use linop_core::ops::{Diagonal, ScalarIdentity};
/// use sketch::{Settings, certify};
/// let a = Diagonal::new((0..50).map(|i| 1.0 + 0.01 * f64::from(i)).collect());
/// let approximation = ScalarIdentity::new(1.0, 50);
/// let c = certify(&a, &approximation, 200, &Settings::default())?;
/// let truth: f64 = (0..50).map(|i| (0.01 * f64::from(i)).powi(2)).sum();
/// assert!((c.error_sq / truth - 1.0).abs() < 0.2);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `SketchTooSmall` for no probes, `InvalidArgument` if the shapes differ, `NonFinite`, `Interrupted`.
pub fn certify<T: Scalar, S: Scalar>(
    a: &dyn LinearOperator<T>,
    approximation: &dyn LinearOperator<S>,
    q: usize,
    settings: &Settings<'_>,
) -> Result<Certificate, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "certificate", settings);
    let test = TestProbes::measure(&products, q)?;
    test.against(&Wide(approximation), settings)
}

/// Test probes with their products, to score several approximations at the price of one.
#[derive(Debug)]
pub(crate) struct TestProbes {
    theta: numerics::Mat<f64>,
    image: numerics::Mat<f64>,
    products: usize,
}

impl TestProbes {
    pub(crate) fn measure(products: &Products<'_>, q: usize) -> Result<Self, Error> {
        if q == 0 {
            return Err(Error::SketchTooSmall { op: products.op, needed: 1, got: 0 });
        }
        let before = products.spent();
        let theta = products.draw(Law::Gaussian, Role::TestProbe, products.n, 0..q);
        let image = products.apply(theta.as_ref())?;
        Ok(TestProbes { theta, image, products: products.spent() - before })
    }

    pub(crate) fn against(
        &self,
        approximation: &dyn LinearOperator<f64>,
        settings: &Settings<'_>,
    ) -> Result<Certificate, Error> {
        let (rows, columns) = (approximation.nrows(), approximation.ncols());
        if (rows, columns) != (self.image.nrows(), self.theta.nrows()) {
            let (m, n) = (self.image.nrows(), self.theta.nrows());
            return Err(Error::argument(
                "certificate",
                format!("the operator is {m} x {n}, the approximation {rows} x {columns}"),
            ));
        }
        let quiet = Settings { observer: &numerics::progress::Silent, ..*settings };
        let other = Products::new(approximation, "certificate", &quiet).apply(self.theta.as_ref())?;
        let mut rest = self.image.clone();
        numerics::dense::axpy(rest.as_mut(), -1.0, other.as_ref());
        let per_probe = la::col_dots(rest.as_ref(), rest.as_ref());
        let q = per_probe.len() as f64;
        Ok(Certificate {
            error_sq: per_probe.iter().sum::<f64>() / q,
            norm_sq: la::fro_sq(self.image.as_ref()) / q,
            per_probe,
            products: self.products,
        })
    }
}

/// The spectral norm of `A - A_hat` by power steps from one Gaussian vector: an estimate from below. A step costs one
/// product, and a transposed one unless both are self-adjoint.
///
/// Both are `m x n`. Beside the products, `O(m + n)` flops a step and as many numbers. Source: the power method.
///
/// # Errors
/// `SketchTooSmall` for no steps, `TransposeUnavailable`, `NonFinite`, `InvalidArgument` if the shapes differ.
pub fn error_norm<T: Scalar, S: Scalar>(
    a: &dyn LinearOperator<T>,
    approximation: &dyn LinearOperator<S>,
    steps: usize,
    settings: &Settings<'_>,
) -> Result<f64, Error> {
    if (a.nrows(), a.ncols()) != (approximation.nrows(), approximation.ncols()) {
        return Err(Error::argument("error norm", "the shapes of operator and approximation differ"));
    }
    let (a, b) = (Wide(a), Wide(approximation));
    let difference = Difference { a: &a, b: &b };
    power_norm(&Products::new(&difference, "error norm", settings), steps)
}

/// The spectral norm of an operator by power steps, from below.
pub(crate) fn power_norm(products: &Products<'_>, steps: usize) -> Result<f64, Error> {
    if steps == 0 {
        return Err(Error::SketchTooSmall { op: products.op, needed: 1, got: 0 });
    }
    let mut x = products.draw(Law::Gaussian, Role::TestProbe, products.n, 0..1);
    let mut value = 0.0;
    for _ in 0..steps {
        let length = la::fro_sq(x.as_ref()).sqrt();
        if length == 0.0 {
            return Ok(0.0);
        }
        let y = products.apply(la::scale_cols(x.as_ref(), &[length.recip()]).as_ref())?;
        value = la::fro_sq(y.as_ref()).sqrt();
        x = if products.symmetric { y } else { products.apply_t(y.as_ref())? };
    }
    Ok(value)
}

/// Bounds of the share of energy beyond each rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Scree {
    /// For r = 0, 1, ..: a lower bound of `tau_{r+1}^2 / |A|_F^2`.
    pub lower: Vec<f64>,
    /// An upper bound.
    pub upper: Vec<f64>,
}

/// Scree bounds from the singular values of an approximation, descending, the norm of the operator (exact, estimated,
/// or that of the approximation) and the error of the approximation.
///
/// With tail energies `t_r = (sum_{j > r} s_j^2)^(1/2)`: `(t_r / norm)^2` and `((t_r + error) / norm)^2`.
///
/// Entry r of the r + 1 in either list belongs to the approximation of rank r. Cost: `O(r)`. Source: arXiv:1902.08651 section 6.5.
pub fn scree(singular: &[f64], norm: f64, error: f64) -> Scree {
    let mut tails = vec![0.0; singular.len() + 1];
    for r in (0..singular.len()).rev() {
        tails[r] = tails[r + 1] + singular[r] * singular[r];
    }
    let share = |x: f64| if norm > 0.0 { (x / norm) * (x / norm) } else { 0.0 };
    Scree {
        lower: tails.iter().map(|t| share(t.sqrt())).collect(),
        upper: tails.iter().map(|t| share(t.sqrt() + error)).collect(),
    }
}
