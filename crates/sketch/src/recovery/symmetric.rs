//! Eigenvalues of symmetric, possibly indefinite operators from sketches. The core is made symmetric before its
//! decomposition, so that no half of what was measured is thrown away.

use super::Sizes;
use super::twosided::{Recovery, check_sizes, gen_nystrom, inner_core, left_least_squares};
use crate::products::{Products, Wide};
use crate::{Error, Settings, la, range};
use linop_core::{LinearOperator, ops::LowRank};
use numerics::{Mat, MatRef, Par, Scalar, dense};

/// How eigenpairs are recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EighRecovery {
    /// Two passes: a basis Q of the range, then `Q^T A Q`.
    Hmt {
        /// Power steps of the range finder.
        power: usize,
    },
    /// One pass, the symmetric part of the two-sketch recovery.
    TwoSketch,
    /// One pass, right sketch and inner sketch.
    ThreeSketch,
    /// One pass, the symmetric part of the generalised Nystrom recovery.
    GenNystrom,
    /// One pass with the right sketch alone; at most half as many eigenpairs as columns.
    OneSketch,
}

/// In which order eigenvalues come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Descending magnitude.
    #[default]
    Magnitude,
    /// Descending value.
    Value,
}

/// What [`eigh`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EighOptions {
    /// The recovery.
    pub recovery: EighRecovery,
    /// Sizes of the sketches; cut to the operator's size.
    pub sizes: Sizes,
    /// Eigenpairs kept (those of largest magnitude); all if absent.
    pub rank: Option<usize>,
    /// Their order.
    pub order: Order,
}

/// `A ~= V diag(values) V^T`.
#[derive(Clone, Debug)]
pub struct SketchedEigh {
    /// Eigenvalues in the order asked for.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors.
    pub vectors: Mat<f64>,
    /// Products spent.
    pub products: usize,
}

impl SketchedEigh {
    /// The approximation as an operator.
    ///
    /// An `n x n` operator. Cost: a copy of the vectors.
    ///
    /// # Errors
    /// Only if the sizes of the public fields were changed to disagree.
    pub fn operator<T: Scalar>(&self) -> Result<LowRank<T>, Error> {
        let r = self.values.len();
        let core = Mat::from_fn(r, r, |i, j| if i == j { T::from_f64(self.values[i]) } else { T::ZERO });
        let v = Mat::from_fn(self.vectors.nrows(), r, |i, j| T::from_f64(self.vectors[(i, j)]));
        Ok(LowRank::new(v, Some(core), None)?)
    }
}

/// Eigenpairs of a symmetric operator from sketches.
///
/// A is `n x n`, the vectors `n x r`. Cost: with k right columns and l left ones or s inner ones, 2 k (two passes, and 2 k for each
/// power step), k + l, k + s, k + l, and k products in the order of [`EighRecovery`]; 10 to 30 times `n k^2` flops, `9 k^3` for the
/// core, up to `2 n (k + l)` numbers. Sources: Halko, Martinsson, Tropp 2011 (5.3); arXiv:1609.00048; arXiv:1902.08651;
/// arXiv:2009.11392.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{EighOptions, EighRecovery, Order, Settings, Sizes, eigh};
/// let a = Diagonal::new((0..50).map(|i| if i == 7 { -3.0 } else if i == 9 { 2.0 } else { 0.0 }).collect());
/// let options = EighOptions {
///     recovery: EighRecovery::OneSketch, sizes: Sizes::from_right(8), rank: Some(2), order: Order::Magnitude,
/// };
/// let f = eigh(&a, &options, &Settings::default())?;
/// assert!((f.values[0] + 3.0).abs() < 1e-10 && (f.values[1] - 2.0).abs() < 1e-10 && f.products == 8);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `NotSymmetric`, `SketchTooSmall`, `NonFinite`, `Interrupted`.
pub fn eigh<T: Scalar>(
    a: &dyn LinearOperator<T>,
    options: &EighOptions,
    settings: &Settings<'_>,
) -> Result<SketchedEigh, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "eigh", settings);
    let n = products.square()?;
    if !products.symmetric {
        return Err(Error::NotSymmetric { op: products.op });
    }
    if n == 0 {
        return Ok(SketchedEigh { values: Vec::new(), vectors: Mat::zeros(0, 0), products: 0 });
    }
    let k = options.sizes.right.min(n);
    let two_sided = match options.recovery {
        EighRecovery::TwoSketch => Recovery::TwoSketch,
        EighRecovery::ThreeSketch => Recovery::ThreeSketch,
        EighRecovery::GenNystrom => Recovery::GenNystrom,
        EighRecovery::Hmt { .. } | EighRecovery::OneSketch => Recovery::Hmt { power: 0 },
    };
    check_sizes(products.op, two_sided, &options.sizes, k, (n, n))?;
    if options.recovery == EighRecovery::OneSketch && k < n.min(2) {
        return Err(Error::SketchTooSmall { op: products.op, needed: 2, got: k });
    }
    let par = settings.par;
    let (basis, core) = match options.recovery {
        EighRecovery::Hmt { power } => {
            let (q, _) = range::find(&products, k, power)?;
            let core = la::symmetric_core(q.as_ref(), products.apply(q.as_ref())?.as_ref(), par);
            (q, core)
        }
        EighRecovery::TwoSketch => {
            let (q, b) = left_least_squares(&products, k, options.sizes.left.min(n))?;
            symmetric_part(q.as_ref(), b.transpose(), par)?
        }
        EighRecovery::GenNystrom => {
            let (left, right) = gen_nystrom(&products, k, options.sizes.left.min(n))?;
            symmetric_part(left.as_ref(), right.as_ref(), par)?
        }
        EighRecovery::ThreeSketch => {
            let q = la::orth(products.apply(products.right(0..k).as_ref())?, par)?;
            let mut core = inner_core(&products, q.as_ref(), q.as_ref(), options.sizes.inner.min(n))?;
            dense::symmetrize(core.as_mut());
            (q, core)
        }
        EighRecovery::OneSketch => one_sketch(&products, k, n)?,
    };
    let e = dense::eigh(core.as_ref())?;
    let mut by_size: Vec<usize> = (0..e.values.len()).collect();
    by_size.sort_by(|&i, &j| e.values[j].abs().total_cmp(&e.values[i].abs()));
    by_size.truncate(options.rank.unwrap_or(usize::MAX));
    if options.order == Order::Value {
        by_size.sort_by(|&i, &j| e.values[j].total_cmp(&e.values[i]));
    }
    let values = by_size.iter().map(|&i| e.values[i]).collect();
    let vectors = la::mul(basis.as_ref(), la::permute_cols(e.vectors.as_ref(), &by_size).as_ref(), par);
    Ok(SketchedEigh { values, vectors, products: products.spent() })
}

/// Basis and core of `(left right^T + right left^T) / 2`.
fn symmetric_part(left: MatRef<'_, f64>, right: MatRef<'_, f64>, par: Par) -> Result<(Mat<f64>, Mat<f64>), Error> {
    let k = left.ncols();
    let f = dense::qr(la::hcat(left, right).as_ref())?;
    let (a, b) = (f.r.as_ref().subcols(0, k), f.r.as_ref().subcols(k, k));
    let mut core = la::mul_nt(a, b, par);
    dense::symmetrize(core.as_mut());
    Ok((f.q, core))
}

/// The top half of the left singular vectors of Y, and the core by least squares on the probes.
fn one_sketch(products: &Products<'_>, k: usize, n: usize) -> Result<(Mat<f64>, Mat<f64>), Error> {
    let par = products.par();
    products.plan(k);
    let omega = products.right(0..k);
    let y = products.apply(omega.as_ref())?;
    if k == n {
        // the probes span everything
        let q = la::orth(y.clone(), par)?;
        let seen = la::mul_tn(q.as_ref(), omega.as_ref(), par);
        let z = la::mul_tn(q.as_ref(), y.as_ref(), par);
        let mut core = la::lstsq(seen.transpose(), z.transpose(), par)?;
        dense::symmetrize(core.as_mut());
        return Ok((q, core));
    }
    let f = dense::svd(y.as_ref())?;
    let cut = f64::EPSILON * n.max(k) as f64 * f.s[0];
    let r = (k / 2).min(f.s.iter().take_while(|&&s| s > cut).count());
    let q = la::columns(f.u.as_ref(), 0..r);
    let core = core_from_sketch(q.as_ref(), y.as_ref(), omega.as_ref(), par)?;
    Ok((q, core))
}

/// `C = (Q^T Y) (Q^T Omega)^+`, made symmetric.
pub(crate) fn core_from_sketch(
    q: MatRef<'_, f64>,
    y: MatRef<'_, f64>,
    omega: MatRef<'_, f64>,
    par: Par,
) -> Result<Mat<f64>, Error> {
    let seen = la::mul_tn(q, omega, par);
    let z = la::mul_tn(q, y, par);
    // C seen = z, so seen^T C^T = z^T
    let mut core = la::lstsq(seen.transpose(), z.transpose(), par)?;
    dense::symmetrize(core.as_mut());
    Ok(core)
}
