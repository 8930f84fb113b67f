//! Singular value decompositions from sketches.
//!
//! | recovery | products (plain + transposed) | source |
//! |---|---|---|
//! | `Hmt` | k (1 + 2 power) + k | Halko, Martinsson, Tropp 2011 |
//! | `TwoSketch` | k + l, one pass | arXiv:1609.00048 |
//! | `ThreeSketch` | k + s + k, one pass | arXiv:1902.08651 |
//! | `GenNystrom` | k + l, one pass | arXiv:2009.11392 |

use super::Sizes;
use crate::products::{Products, Wide};
use crate::{Error, Settings, la, range};
use linop_core::{LinearOperator, ops::LowRank};
use numerics::rng::Role;
use numerics::{Mat, MatRef, Par, Scalar, dense};

/// How singular triplets are recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Two passes: a basis of the range, then `Q^T A`.
    Hmt {
        /// Power steps of the range finder.
        power: usize,
    },
    /// One pass: a right and a larger left sketch.
    TwoSketch,
    /// One pass: right and left sketches of one size and an inner one.
    ThreeSketch,
    /// One pass without orthonormalisation before the least squares.
    GenNystrom,
}

/// What [`svd`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvdOptions {
    /// The recovery.
    pub recovery: Recovery,
    /// Sizes of the sketches; cut to the operator's sides.
    pub sizes: Sizes,
    /// Triplets kept; all if absent.
    pub rank: Option<usize>,
}

/// `A ~= U diag(s) V^T`.
#[derive(Clone, Debug)]
pub struct SketchedSvd {
    /// Orthonormal left vectors.
    pub u: Mat<f64>,
    /// Singular values, descending, not negative.
    pub s: Vec<f64>,
    /// Orthonormal right vectors.
    pub v: Mat<f64>,
    /// Products with the operator.
    pub products: usize,
    /// Products with its transpose.
    pub products_t: usize,
}

impl SketchedSvd {
    /// The approximation as an operator.
    ///
    /// An `m x n` operator. Cost: a copy of the vectors.
    ///
    /// # Errors
    /// Only if the sizes of the public fields were changed to disagree.
    pub fn operator<T: Scalar>(&self) -> Result<LowRank<T>, Error> {
        let cast = |a: &Mat<f64>| Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(a[(i, j)]));
        let r = self.s.len();
        let core = Mat::from_fn(r, r, |i, j| if i == j { T::from_f64(self.s[i]) } else { T::ZERO });
        Ok(LowRank::new(cast(&self.u), Some(core), Some(cast(&self.v)))?)
    }
}

/// A low-rank singular value decomposition from sketches.
///
/// A is `m x n`, U `m x r`, V `n x r`. Cost: the products of the table of methods (k right columns, l left, s inner ones); 10 to 30
/// times `(m + n) k^2` flops and up to `2 (m + n) l` numbers. Sources: Halko, Martinsson, Tropp 2011; arXiv:1609.00048;
/// arXiv:1902.08651; arXiv:2009.11392.
///
/// ```
/// use linop_core::ops::Dense;
/// use numerics::Mat;
/// use sketch::{Recovery, Settings, Sizes, SvdOptions, svd};
/// let a = Dense::new(Mat::from_fn(60, 40, |i, j| ((i + 1) * (j + 1)) as f64));
/// let options = SvdOptions { recovery: Recovery::TwoSketch, sizes: Sizes::for_rank(1), rank: Some(1) };
/// let f = svd(&a, &options, &Settings::default())?;
/// assert!((f.s[0] - (73810.0f64 * 22140.0).sqrt()).abs() < 1e-6);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `SketchTooSmall` if a sketch is empty or the left or inner one is not larger than the right one,
/// `TransposeUnavailable`, `NonFinite`, `Interrupted`.
pub fn svd<T: Scalar>(
    a: &dyn LinearOperator<T>,
    options: &SvdOptions,
    settings: &Settings<'_>,
) -> Result<SketchedSvd, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "svd", settings);
    let (m, n) = (products.m, products.n);
    let small = m.min(n);
    if small == 0 {
        let empty = |n| Mat::zeros(n, 0);
        return Ok(SketchedSvd { u: empty(m), s: Vec::new(), v: empty(n), products: 0, products_t: 0 });
    }
    let k = options.sizes.right.min(small);
    check_sizes(products.op, options.recovery, &options.sizes, k, (m, n))?;
    let (u, s, v) = match options.recovery {
        Recovery::Hmt { power } => hmt(&products, k, power)?,
        Recovery::TwoSketch => two_sketch(&products, k, options.sizes.left.min(m))?,
        Recovery::ThreeSketch => three_sketch(&products, k, options.sizes.inner.min(small))?,
        Recovery::GenNystrom => {
            let (left, right) = gen_nystrom(&products, k, options.sizes.left.min(m))?;
            of_product(left.as_ref(), right.as_ref(), settings.par)?
        }
    };
    let r = options.rank.unwrap_or(s.len()).min(s.len());
    let (plain, transposed) = products.counts();
    Ok(SketchedSvd {
        u: la::columns(u.as_ref(), 0..r),
        s: s[..r].to_vec(),
        v: la::columns(v.as_ref(), 0..r),
        products: plain,
        products_t: transposed,
    })
}

pub(super) fn check_sizes(
    op: &'static str,
    recovery: Recovery,
    sizes: &Sizes,
    k: usize,
    (m, n): (usize, usize),
) -> Result<(), Error> {
    if k == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    // a sketch of the whole side is exact, whatever the other
    let need = |size: usize, side: usize| {
        if size > k || size >= side { Ok(()) } else { Err(Error::SketchTooSmall { op, needed: k + 1, got: size }) }
    };
    match recovery {
        Recovery::Hmt { .. } => Ok(()),
        Recovery::TwoSketch | Recovery::GenNystrom => need(sizes.left, m),
        Recovery::ThreeSketch => need(sizes.inner, m.min(n)),
    }
}

type Triplets = (Mat<f64>, Vec<f64>, Mat<f64>);

/// The SVD of `q b` for orthonormal q.
fn of_basis(q: MatRef<'_, f64>, b: MatRef<'_, f64>, par: Par) -> Result<Triplets, Error> {
    let f = dense::svd(b)?;
    Ok((la::mul(q, f.u.as_ref(), par), f.s, f.v))
}

/// The SVD of `left right^T`.
fn of_product(left: MatRef<'_, f64>, right: MatRef<'_, f64>, par: Par) -> Result<Triplets, Error> {
    let (a, b) = (dense::qr(left)?, dense::qr(right)?);
    let f = dense::svd(la::mul_nt(a.r.as_ref(), b.r.as_ref(), par).as_ref())?;
    Ok((la::mul(a.q.as_ref(), f.u.as_ref(), par), f.s, la::mul(b.q.as_ref(), f.v.as_ref(), par)))
}

fn hmt(products: &Products<'_>, k: usize, power: usize) -> Result<Triplets, Error> {
    let (q, _) = range::find(products, k, power)?;
    let z = products.apply_t(q.as_ref())?;
    let f = dense::svd(z.as_ref())?;
    Ok((la::mul(q.as_ref(), f.v.as_ref(), products.par()), f.s, f.u))
}

/// `A ~= Q B` with `B = (Psi^T Q)^+ W^T`.
pub(super) fn left_least_squares(products: &Products<'_>, k: usize, l: usize) -> Result<(Mat<f64>, Mat<f64>), Error> {
    products.plan(k + l);
    let y = products.apply(products.right(0..k).as_ref())?;
    let psi = products.draw(products.settings.law, Role::LeftProbe, products.m, 0..l);
    let w = products.apply_t(psi.as_ref())?;
    let q = la::orth(y, products.par())?;
    let seen = la::mul_tn(psi.as_ref(), q.as_ref(), products.par());
    let b = la::lstsq(seen.as_ref(), w.transpose(), products.par())?;
    Ok((q, b))
}

fn two_sketch(products: &Products<'_>, k: usize, l: usize) -> Result<Triplets, Error> {
    let (q, b) = left_least_squares(products, k, l)?;
    of_basis(q.as_ref(), b.as_ref(), products.par())
}

/// `(Phi_1^T Q)^+ (Phi_1^T A Phi_2) ((Phi_2^T P)^+)^T`.
pub(super) fn inner_core(
    products: &Products<'_>,
    q: MatRef<'_, f64>,
    p: MatRef<'_, f64>,
    s: usize,
) -> Result<Mat<f64>, Error> {
    let (law, par) = (products.settings.law, products.par());
    let phi1 = products.draw(law, Role::InnerLeft, products.m, 0..s);
    let phi2 = products.draw(law, Role::InnerRight, products.n, 0..s);
    let z = la::mul_tn(phi1.as_ref(), products.apply(phi2.as_ref())?.as_ref(), par);
    let half = la::lstsq(la::mul_tn(phi1.as_ref(), q, par).as_ref(), z.as_ref(), par)?;
    let core = la::lstsq(la::mul_tn(phi2.as_ref(), p, par).as_ref(), half.transpose(), par)?;
    Ok(core.transpose().to_owned())
}

fn three_sketch(products: &Products<'_>, k: usize, s: usize) -> Result<Triplets, Error> {
    products.plan(2 * k + s);
    let par = products.par();
    let y = products.apply(products.right(0..k).as_ref())?;
    let psi = products.draw(products.settings.law, Role::LeftProbe, products.m, 0..k);
    let w = products.apply_t(psi.as_ref())?;
    let (q, p) = (la::orth(y, par)?, la::orth(w, par)?);
    let core = inner_core(products, q.as_ref(), p.as_ref(), s)?;
    let f = dense::svd(core.as_ref())?;
    Ok((la::mul(q.as_ref(), f.u.as_ref(), par), f.s, la::mul(p.as_ref(), f.v.as_ref(), par)))
}

/// `A ~= left right^T` with `left = Y (Psi^T Y)^+` up to the orthonormal factor that goes to the right.
pub(super) fn gen_nystrom(products: &Products<'_>, k: usize, l: usize) -> Result<(Mat<f64>, Mat<f64>), Error> {
    products.plan(k + l);
    let par = products.par();
    let y = products.apply(products.right(0..k).as_ref())?;
    let psi = products.draw(products.settings.law, Role::LeftProbe, products.m, 0..l);
    let w = products.apply_t(psi.as_ref())?;
    let f = dense::svd(la::mul_tn(psi.as_ref(), y.as_ref(), par).as_ref())?;
    let cut = f64::EPSILON * l.max(k) as f64 * f.s.first().copied().unwrap_or(0.0);
    let kept = f.s.iter().take_while(|&&s| s > cut).count();
    let inverse: Vec<f64> = f.s[..kept].iter().map(|s| s.recip()).collect();
    let v = la::scale_cols(f.v.as_ref().subcols(0, kept), &inverse);
    Ok((la::mul(y.as_ref(), v.as_ref(), par), la::mul(w.as_ref(), f.u.as_ref().subcols(0, kept), par)))
}
