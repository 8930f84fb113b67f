//! Norms from products: squared Frobenius norm, squared row norms, bounds of the spectral norm from both sides.

use crate::loo::{RowBasis, xrow_norm};
use crate::products::{Products, Wide};
use crate::settings::{Moments, mean_sem};
use crate::watched::Watched;
use crate::{Error, Estimate, Settings, Status, la, structure};
use linop_core::krylov::{EigshOptions, Which, eigsh};
use linop_core::{Cost, LinearOperator, Op, Props};
use numerics::rng::{Law, Role};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};

/// The squared Frobenius norm: exactly where structure gives it, else the mean of `|A v|^2` over `m` probes of the
/// smaller side.
///
/// A is `m x n` of any shape. Cost: so many products, `2 n` flops each. Source: Hutchinson 1989, for `A^T A`.
///
/// # Errors
/// `SketchTooSmall` for no products, `NonFinite`; a wide operator without transposed products is measured from the
/// other side.
pub fn frobenius_sq<T: Scalar>(a: &Op<T>, m: usize, settings: &Settings<'_>) -> Result<Estimate<f64>, Error> {
    match structure::frobenius_sq(a, settings.par)? {
        Some(value) => Ok(Estimate { value, sem: Some(0.0), products: 0, products_t: 0, status: Status::Exact }),
        None => estimate_frobenius_sq(a, m, settings),
    }
}

/// The squared Frobenius norm from products alone.
///
/// Shapes and cost: as [`frobenius_sq`].
///
/// # Errors
/// As [`frobenius_sq`].
pub fn estimate_frobenius_sq<T: Scalar>(
    a: &dyn LinearOperator<T>,
    m: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    let op = "frobenius norm";
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    if m == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    products.plan(m);
    let (mut samples, width) = (Vec::new(), products.width());
    let mut transposed = products.n > products.m;
    while samples.len() < m {
        let n = if transposed { products.m } else { products.n };
        let range = samples.len()..(samples.len() + width).min(m);
        let omega = products.draw(settings.law, Role::RightProbe, n, range);
        let y = match if transposed { products.apply_t(omega.as_ref()) } else { products.apply(omega.as_ref()) } {
            Err(Error::TransposeUnavailable { .. }) if transposed && samples.is_empty() => {
                transposed = false;
                continue;
            }
            y => y?,
        };
        samples.extend(la::col_dots(y.as_ref(), y.as_ref()));
        if products.stopped() {
            break;
        }
    }
    let (value, sem) = mean_sem(&samples);
    let (plain, t) = products.counts();
    let status = if samples.len() < m { Status::Interrupted } else { Status::Spent };
    Ok(Estimate { value, sem, products: plain, products_t: t, status })
}

/// An estimator of the squared row norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNormMethod {
    /// The mean of `(A v) o (A v)`; m products.
    Hutchinson,
    /// Leave-one-out; three (or two) products a probe.
    XRowNorm(RowBasis),
}

/// The squared norms of the rows with at most `m` products.
///
/// A is `M x n`, the result has M entries. Cost: at most m products; Hutchinson: `3 M` flops each; XRowNorm with k probes: `12 n k^2`
/// flops and `6 n k` numbers. Source: arXiv:2301.07825.
///
/// # Errors
/// `SketchTooSmall`, `TransposeUnavailable`, `NotSquare` for [`RowBasis::Columns`], `NonFinite`.
pub fn row_norms_sq<T: Scalar>(
    a: &dyn LinearOperator<T>,
    method: RowNormMethod,
    m: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<Vec<f64>>, Error> {
    let op = "row norms";
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    let per_probe = match method {
        RowNormMethod::Hutchinson => 1,
        RowNormMethod::XRowNorm(RowBasis::Rows) => 3,
        RowNormMethod::XRowNorm(RowBasis::Columns) => 2,
    };
    if m < per_probe {
        return Err(Error::SketchTooSmall { op, needed: per_probe, got: m });
    }
    let k = m / per_probe;
    if per_probe * k >= products.n {
        let d = products.dense()?;
        let value = la::row_dots(d.as_ref(), d.as_ref());
        let sem = Some(vec![0.0; value.len()]);
        return Ok(Estimate { value, sem, products: products.counts().0, products_t: 0, status: Status::Exact });
    }
    products.plan(per_probe * k);
    let (value, sem) = match method {
        RowNormMethod::XRowNorm(basis) => xrow_norm(&products, k, basis)?,
        RowNormMethod::Hutchinson => {
            let mut moments = Moments::new(products.m);
            let width = products.width();
            while moments.count < k && !products.stopped() {
                let omega = products.right(moments.count..(moments.count + width).min(k));
                let y = products.apply(omega.as_ref())?;
                for j in 0..y.ncols() {
                    moments.push(|i| y[(i, j)] * y[(i, j)]);
                }
            }
            let sem = moments.sem();
            (moments.mean, sem)
        }
    };
    let (plain, t) = products.counts();
    let status = if plain + t < per_probe * k { Status::Interrupted } else { Status::Spent };
    Ok(Estimate { value, sem, products: plain, products_t: t, status })
}

/// `A^T A` without forming it.
#[derive(Debug)]
pub(crate) struct Normal<'a>(pub(crate) &'a dyn LinearOperator<f64>);

impl LinearOperator<f64> for Normal<'_> {
    fn nrows(&self) -> usize {
        self.0.ncols()
    }
    fn ncols(&self) -> usize {
        self.0.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        let inner = self.0.apply_req(k, par).or(self.0.apply_t_req(k, par));
        StackReq::new::<f64>(self.0.nrows() * k).and(inner)
    }
    fn apply(
        &self,
        out: MatMut<'_, f64>,
        alpha: f64,
        x: MatRef<'_, f64>,
        beta: f64,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let (m, k) = (self.0.nrows(), x.ncols());
        let (mut space, rest) = stack.make_with(m * k, |_| 0.0);
        let mut y = MatMut::from_column_major_slice_mut(&mut space, m, k);
        self.0.apply(y.as_mut(), 1.0, x, 0.0, par, rest)?;
        self.0.apply_t(out, alpha, y.as_ref(), beta, par, rest)
    }
    fn props(&self) -> Props {
        Props::PSD.close(self.nrows(), self.nrows())
    }
    fn cost(&self, k: usize) -> Cost {
        let one = self.0.cost(k);
        Cost { flops: 2.0 * one.flops, bytes: 2.0 * one.bytes }
    }
}

/// The spectral norm, by the largest eigenvalue of `A^T A` (of A itself if it is self-adjoint) to relative tolerance
/// `tol`. The standard error is absent: the error is that of the iteration, not of sampling.
///
/// A is `m x n`. Cost: products until the iteration converges (two an iteration for an A that does not say it is self-adjoint), one
/// at a time, with a basis of 40 vectors; up to 64 columns, as many products as columns. Source: Wu and Simon 2000, thick-restart
/// Lanczos.
///
/// # Errors
/// `InvalidArgument` unless `0 <= tol < 1`, `TransposeUnavailable`, `NotConverged`, `NonFinite`, and those of linop-core's `eigsh`.
pub fn spectral_norm<T: Scalar>(
    a: &dyn LinearOperator<T>,
    tol: f64,
    settings: &Settings<'_>,
) -> Result<Estimate<f64>, Error> {
    let op = "spectral norm";
    if !(0.0..1.0).contains(&tol) {
        return Err(Error::argument(op, format!("needs 0 <= tol < 1, got {tol}")));
    }
    let wide = Wide(a);
    let watched = Watched::new(&wide);
    if a.nrows() == 0 || a.ncols() == 0 {
        return Ok(Estimate { value: 0.0, sem: None, products: 0, products_t: 0, status: Status::Exact });
    }
    let options = EigshOptions {
        tol: Some(tol),
        seed: settings.seed,
        probing: false,
        observer: Some(settings.observer),
        ..EigshOptions::default()
    };
    let symmetric = a.props().contains(Props::SELF_ADJOINT);
    let pairs = if symmetric {
        eigsh(&watched, 1, Which::Magnitude, &options, settings.par)
    } else {
        eigsh(&Normal(&watched), 1, Which::Largest, &options, settings.par)
    };
    let pairs = pairs.map_err(|e| watched.named(op, e))?;
    let top = pairs.values.first().copied().unwrap_or(0.0);
    if !pairs.report.converged {
        let residual = pairs.report.residuals.first().copied().unwrap_or(f64::NAN);
        return Err(Error::NotConverged { op, iterations: pairs.report.products, residual });
    }
    let value = if symmetric { top.abs() } else { top.max(0.0).sqrt() };
    let products_t = if symmetric { 0 } else { pairs.report.products };
    Ok(Estimate { value, sem: None, products: pairs.report.products, products_t, status: Status::Converged })
}

/// Lower bounds of the spectral and Frobenius norms from a basis of `A Omega`: the norms of `Q^T A`, with `q` products and
/// `q` transposed ones.
///
/// Cost: beside the products, `11 m q^2` flops. Source: Halko, Martinsson, Tropp 2011: the norm of a projection is never larger.
///
/// # Errors
/// `SketchTooSmall` for no probes, `TransposeUnavailable`, `NonFinite`.
pub fn norm_lower_bounds<T: Scalar>(
    a: &dyn LinearOperator<T>,
    q: usize,
    settings: &Settings<'_>,
) -> Result<(f64, f64), Error> {
    let op = "norm bounds";
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    if q == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    if products.m == 0 || products.n == 0 {
        return Ok((0.0, 0.0));
    }
    let q = q.min(products.m).min(products.n);
    let basis = la::orth(products.apply(products.right(0..q).as_ref())?, settings.par)?;
    let b = products.apply_t(basis.as_ref())?;
    let s = dense::svd(b.as_ref())?.s;
    Ok((s[0], la::fro_sq(b.as_ref()).sqrt()))
}

/// A bound of the spectral norm that fails with probability at most `alpha^-r`:
/// `alpha sqrt(2 / pi) max |A v|` over r Gaussian probes (Halko, Martinsson, Tropp 2011, lemma 4.1).
///
/// Cost: r products.
///
/// # Errors
/// `InvalidArgument` unless `alpha > 1`, `SketchTooSmall` for no probes, `NonFinite`.
pub fn norm_upper_bound<T: Scalar>(
    a: &dyn LinearOperator<T>,
    alpha: f64,
    r: usize,
    settings: &Settings<'_>,
) -> Result<f64, Error> {
    let op = "norm bounds";
    if !(alpha > 1.0 && alpha.is_finite()) {
        return Err(Error::argument(op, format!("needs alpha > 1, got {alpha}")));
    }
    if r == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    let omega = products.draw(Law::Gaussian, Role::TestProbe, products.n, 0..r);
    let y = products.apply(omega.as_ref())?;
    let longest = la::col_dots(y.as_ref(), y.as_ref()).into_iter().fold(0.0, f64::max).sqrt();
    Ok(alpha * (2.0 / core::f64::consts::PI).sqrt() * longest)
}
