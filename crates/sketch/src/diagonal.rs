//! Diagonals: what structure gives is taken exactly, the rest is estimated from products, with an error per entry.
//!
//! | method | products | source |
//! |---|---|---|
//! | Hutchinson | m | Bekas, Kokiopoulou, Saad 2007 |
//! | Diag++ (one-sided) | m | arXiv:2201.10684 |
//! | XDiag | m | arXiv:2301.07825 |
//! | XNysDiag | m, PSD | arXiv:2301.07825 |
//!
//! The two-sided form of Diag++ is not offered: its diagonal is biased (only the sum of it is not). With enough products
//! for all columns of the operator the diagonal is computed exactly.

use crate::loo::{xdiag, xnys_diag};
use crate::products::{Products, Wide};
use crate::settings::Moments;
use crate::{Error, Estimate, Settings, Status, la, structure};
use linop_core::{LinearOperator, Op};
use numerics::Scalar;
use numerics::rng::Law;

/// An estimator of the diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiagonalMethod {
    /// The mean of `v o A v`; with `ratio` divided by that of `v o v`, for laws other than signs.
    Hutchinson {
        /// Divide by the mean of the squared entries.
        ratio: bool,
    },
    /// A low-rank part taken exactly, Hutchinson on the rest; transposed products.
    DiagPp,
    /// Leave-one-out Diag++ with `extra` further probes that only test; sign probes, transposed products.
    XDiag {
        /// Probes that do not enter the basis, out of the budget.
        extra: usize,
    },
    /// Leave-one-out Nystrom; PSD operators.
    XNysDiag,
}

impl DiagonalMethod {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            DiagonalMethod::Hutchinson { .. } => "hutchinson",
            DiagonalMethod::DiagPp => "diag++",
            DiagonalMethod::XDiag { .. } => "xdiag",
            DiagonalMethod::XNysDiag => "xnysdiag",
        }
    }

    fn least(self) -> usize {
        match self {
            DiagonalMethod::Hutchinson { .. } | DiagonalMethod::XNysDiag => 1,
            DiagonalMethod::DiagPp => 3,
            DiagonalMethod::XDiag { extra } => extra.saturating_add(2),
        }
    }

    fn is_exact(self, m: usize, n: usize) -> bool {
        match self {
            DiagonalMethod::XDiag { extra } => 2 * (m.saturating_sub(extra) / 2) >= n,
            _ => m >= n,
        }
    }
}

/// The diagonal of a square operator with `m` products: structure first, the remainder by `method`.
///
/// A is `n x n`, the result has n entries. Cost: m products where structure leaves a rest; beside them `4 n m` flops and `O(n)`
/// numbers for Hutchinson, and with a basis of k columns (a third of the products for Diag++, half for XDiag, all for XNysDiag) about
/// `10 n k^2` flops and `5 n k` numbers. Sources: the table of methods, Bekas, Kokiopoulou, Saad 2007, arXiv:2201.10684,
/// arXiv:2301.07825.
///
/// ```
/// use linop_core::{Op, ops::ClosureOp};
/// use sketch::{DiagonalMethod, Settings, diagonal};
/// let ones = Op::new(ClosureOp::new(50, 50, |mut out, x| {
///     for j in 0..x.ncols() {
///         let s: f64 = (0..50).map(|i| x[(i, j)]).sum();
///         (0..50).for_each(|i| out[(i, j)] = s);
///     }
///     Ok(())
/// }).with_props(linop_core::Props::PSD));
/// let a = (&ones + &Op::diag(vec![2.0; 50]))?;
/// let d = diagonal(&a, DiagonalMethod::XDiag { extra: 0 }, 8, &Settings::default())?;
/// assert!(d.value.iter().all(|x| (x - 3.0).abs() < 1e-9));
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `SketchTooSmall`, `NotPsd`, `TransposeUnavailable`, `NonFinite`, `InvalidArgument`, `Interrupted`.
pub fn diagonal<T: Scalar>(
    a: &Op<T>,
    method: DiagonalMethod,
    m: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<Vec<f64>>, Error> {
    if a.nrows() != a.ncols() {
        return Err(Error::NotSquare { op: method.name(), nrows: a.nrows(), ncols: a.ncols() });
    }
    let split = structure::split_diagonal(a, settings.par)?;
    let Some(rest) = split.rest else {
        return Ok(exactly(split.exact, (0, 0)));
    };
    let mut estimate = estimate_diagonal(&rest, method, m, settings)?;
    estimate.value.iter_mut().zip(&split.exact).for_each(|(x, e)| *x += e);
    Ok(estimate)
}

fn exactly(value: Vec<f64>, (products, products_t): (usize, usize)) -> Estimate<Vec<f64>> {
    let sem = Some(vec![0.0; value.len()]);
    Estimate { value, sem, products, products_t, status: Status::Exact }
}

/// The diagonal from `m` products alone, whatever the structure.
///
/// Shapes and cost: as [`diagonal`].
///
/// # Errors
/// As [`diagonal`].
pub fn estimate_diagonal<T: Scalar>(
    a: &dyn LinearOperator<T>,
    method: DiagonalMethod,
    m: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<Vec<f64>>, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, method.name(), settings);
    with_products(&products, method, m)
}

pub(crate) fn with_products(
    products: &Products<'_>,
    method: DiagonalMethod,
    m: usize,
) -> Result<Estimate<Vec<f64>>, Error> {
    let n = products.square()?;
    if n == 0 {
        return Ok(exactly(Vec::new(), (0, 0)));
    }
    if m < method.least() {
        return Err(Error::SketchTooSmall { op: method.name(), needed: method.least(), got: m });
    }
    if method.is_exact(m, n) {
        let value = products.exact_diagonal()?;
        return Ok(exactly(value, products.counts()));
    }
    products.plan(m);
    let (value, sem) = match method {
        DiagonalMethod::Hutchinson { ratio } => hutchinson(products, m, ratio)?,
        DiagonalMethod::DiagPp => diagpp(products, m)?,
        DiagonalMethod::XDiag { extra } => xdiag(products, (m - extra) / 2, extra)?,
        DiagonalMethod::XNysDiag => xnys_diag(products, m)?,
    };
    let (plain, transposed) = products.counts();
    let odd = if matches!(method, DiagonalMethod::XDiag { .. }) { 1 } else { 0 };
    let cut = products.stopped() && products.spent() + odd < m;
    let status = if cut { Status::Interrupted } else { Status::Spent };
    Ok(Estimate { value, sem, products: plain, products_t: transposed, status })
}

/// The diagonal to a tolerance: products double, with new stages, until the root mean square of the standard errors is
/// within `rtol` of that of the entries. All products count; no stage is begun that would exceed `max_products`.
///
/// Cost: less than twice the products of the last stage, else as [`diagonal`].
///
/// # Errors
/// As [`diagonal`]; `InvalidArgument` unless `rtol > 0`.
pub fn diagonal_within<T: Scalar>(
    a: &dyn LinearOperator<T>,
    method: DiagonalMethod,
    rtol: f64,
    max_products: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<Vec<f64>>, Error> {
    const START: usize = 16;
    if !(rtol > 0.0 && rtol.is_finite()) {
        return Err(Error::argument(method.name(), format!("needs a tolerance above 0, got {rtol}")));
    }
    let size = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut m = START.max(method.least().saturating_mul(2)).min(max_products);
    let (mut plain, mut transposed) = (0, 0);
    loop {
        let mut found = estimate_diagonal(a, method, m, settings)?;
        (plain, transposed) = (plain + found.products, transposed + found.products_t);
        (found.products, found.products_t) = (plain, transposed);
        if matches!(found.status, Status::Exact | Status::Interrupted) {
            return Ok(found);
        }
        let met = found.sem.as_deref().is_some_and(|sem| size(sem) <= rtol * size(&found.value));
        if met || plain + transposed + 2 * m > max_products {
            found.status = if met { Status::Converged } else { Status::NotConverged };
            return Ok(found);
        }
        m *= 2;
    }
}

type Diagonal = (Vec<f64>, Option<Vec<f64>>);

fn hutchinson(products: &Products<'_>, m: usize, ratio: bool) -> Result<Diagonal, Error> {
    if ratio && products.settings.law == Law::Coordinates {
        return Err(Error::argument(products.op, "the ratio form divides by zero entries of coordinate probes"));
    }
    let (n, width) = (products.n, products.width());
    let mut moments = Moments::new(n);
    let mut weight = vec![0.0; n];
    while moments.count < m {
        let omega = products.right(moments.count..(moments.count + width).min(m));
        let y = products.apply(omega.as_ref())?;
        for j in 0..omega.ncols() {
            let (w, y) = (omega.col_as_slice(j), y.col_as_slice(j));
            moments.push(|i| w[i] * y[i]);
            weight.iter_mut().zip(w).for_each(|(s, w)| *s += w * w);
        }
        if products.stopped() {
            break;
        }
    }
    let mut sem = moments.sem();
    if ratio {
        let count = moments.count as f64;
        let divide = |x: &mut Vec<f64>| x.iter_mut().zip(&weight).for_each(|(x, w)| *x /= w / count);
        divide(&mut moments.mean);
        sem.iter_mut().for_each(divide);
    }
    Ok((moments.mean, sem))
}

/// `d = rowdot(Q, A^T Q) + mean of g o (I - Q Q^T) A g`, with a third of the products for each term.
fn diagpp(products: &Products<'_>, m: usize) -> Result<Diagonal, Error> {
    let (par, k) = (products.par(), m / 3);
    let q = la::orth(products.apply(products.right(0..k).as_ref())?, par)?;
    let z = products.apply_t(q.as_ref())?;
    let inside = la::row_dots(q.as_ref(), z.as_ref());
    let count = m - 2 * k;
    let width = products.width();
    let mut moments = Moments::new(products.n);
    while moments.count < count {
        let start = k + moments.count;
        let g = products.right(start..(start + width).min(k + count));
        let ag = products.apply(g.as_ref())?;
        let c = la::mul_tn(q.as_ref(), ag.as_ref(), par);
        let rest = la::sub_mul(ag, q.as_ref(), c.as_ref(), par);
        for j in 0..g.ncols() {
            moments.push(|i| g[(i, j)] * rest[(i, j)]);
        }
        if products.stopped() {
            break;
        }
    }
    let sem = moments.sem();
    Ok((inside.iter().zip(&moments.mean).map(|(a, b)| a + b).collect(), sem))
}

/// The entries `A[i, i - k]`, from `m` products: for k > 0 those below the diagonal, for k < 0 those above it; the
/// diagonal itself for k = 0. The result has `n - |k|` entries, from top to bottom.
///
/// Cost: m products and `5 n m` flops. The variance of an entry is the sum of squares of the others in its row. Source: the estimator
/// of Bekas, Kokiopoulou, Saad 2007 with one factor shifted.
///
/// # Errors
/// `NotSquare`, `InvalidArgument` unless `|k| < n`, `SketchTooSmall` for no products, `NonFinite`.
pub fn sub_diagonal<T: Scalar>(
    a: &dyn LinearOperator<T>,
    k: isize,
    m: usize,
    settings: &Settings<'_>,
) -> Result<Estimate<Vec<f64>>, Error> {
    let op = "sub-diagonal";
    let wide = Wide(a);
    let products = Products::new(&wide, op, settings);
    let n = products.square()?;
    let shift = k.unsigned_abs();
    if shift >= n {
        return Err(Error::argument(op, format!("|k| must be below {n}, got {k}")));
    }
    if m == 0 {
        return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
    }
    let (row, column) = if k >= 0 { (shift, 0) } else { (0, shift) };
    let width = products.width();
    products.plan(m);
    let mut moments = Moments::new(n - shift);
    while moments.count < m {
        let omega = products.right(moments.count..(moments.count + width).min(m));
        let y = products.apply(omega.as_ref())?;
        for j in 0..omega.ncols() {
            moments.push(|i| omega[(i + column, j)] * y[(i + row, j)]);
        }
        if products.stopped() {
            break;
        }
    }
    let status = if moments.count < m { Status::Interrupted } else { Status::Spent };
    let sem = moments.sem();
    Ok(Estimate { value: moments.mean, sem, products: products.counts().0, products_t: 0, status })
}
