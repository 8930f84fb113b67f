//! What SketchLoRD is compared with: low rank alone, diagonal alone, and one after the other.
//!
//! The low-rank part of a symmetric operator is `Q (Q^T A Q) Q^T` with all p columns of `Q = orth(A Omega)`; of others it
//! is `Q Q^T A`. Diagonals are estimated with probes of their own: with those of the basis the residual of `Q Q^T A` on
//! them is zero, and so would be its diagonal. Oracle versions take the exact diagonal of A and still lose on low rank
//! plus diagonal.

use super::{Lord, LordReport};
use crate::diagonal::{DiagonalMethod, with_products};
use crate::products::{Difference, Products, Wide};
use crate::{Error, Settings, la};
use linop_core::LinearOperator;
use linop_core::ops::Diagonal;
use numerics::rng::Role;
use numerics::{Mat, Scalar};

/// Where a diagonal comes from.
///
/// Cost: none for an oracle, else the products named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DiagonalSource<'a> {
    /// The exact diagonal of A: an advantage that only a test has.
    Oracle(&'a [f64]),
    /// Hutchinson with so many products.
    Hutchinson(usize),
    /// XDiag with so many products.
    XDiag(usize),
}

impl DiagonalSource<'_> {
    /// The diagonal of `a`, which is A itself less a part with the diagonal `known`; `before` products were made for that part.
    fn diagonal(
        &self,
        a: &dyn LinearOperator<f64>,
        known: Option<&[f64]>,
        before: usize,
        settings: &Settings<'_>,
    ) -> Result<(Vec<f64>, (usize, usize)), Error> {
        let (method, m) = match *self {
            DiagonalSource::Oracle(d) => {
                if d.len() != a.nrows() {
                    let what = format!("a diagonal of {} entries for size {}", d.len(), a.nrows());
                    return Err(Error::argument("baseline", what));
                }
                let rest = d.iter().enumerate().map(|(i, d)| d - known.map_or(0.0, |k| k[i])).collect();
                return Ok((rest, (0, 0)));
            }
            DiagonalSource::Hutchinson(m) => (DiagonalMethod::Hutchinson { ratio: false }, m),
            DiagonalSource::XDiag(m) => (DiagonalMethod::XDiag { extra: 0 }, m),
        };
        let products = Products::new(a, "baseline", settings).with_role(Role::InnerRight).after(before);
        let estimate = with_products(&products, method, m)?;
        Ok((estimate.value, products.counts()))
    }
}

/// `diag(d)` alone.
///
/// A is `n x n`. Cost: that of the diagonal.
///
/// # Errors
/// `NotSquare`, `SketchTooSmall`, `TransposeUnavailable`, `NonFinite`, `InvalidArgument`.
pub fn diagonal_only<T: Scalar>(
    a: &dyn LinearOperator<T>,
    source: DiagonalSource<'_>,
    settings: &Settings<'_>,
) -> Result<Lord, Error> {
    let wide = Wide(a);
    let n = Products::new(&wide, "baseline", settings).square()?;
    let (d, counts) = source.diagonal(&wide, None, 0, settings)?;
    let lord = Lord::new(d, Mat::zeros(n, 0), Mat::zeros(0, 0), None)?;
    Ok(lord.with_report(LordReport::direct("diagonal", counts)))
}

/// Low rank alone, from `2 p` products.
///
/// A is `n x n`. Cost: beside the products `8 n p^2` flops and `3 n p` numbers. Source: Halko, Martinsson, Tropp 2011 (5.3).
///
/// # Errors
/// As [`diagonal_only`]; `TooManyProbes` for p > n.
pub fn low_only<T: Scalar>(a: &dyn LinearOperator<T>, p: usize, settings: &Settings<'_>) -> Result<Lord, Error> {
    let wide = Wide(a);
    let n = a.nrows();
    let (lord, counts) = low(&wide, vec![0.0; n], p, 0, settings)?;
    Ok(lord.with_report(LordReport::direct("low rank", counts)))
}

fn low(
    a: &dyn LinearOperator<f64>,
    d: Vec<f64>,
    p: usize,
    before: usize,
    settings: &Settings<'_>,
) -> Result<(Lord, (usize, usize)), Error> {
    let products = Products::new(a, "baseline", settings).after(before);
    let n = products.square()?;
    crate::loo::check_probes(products.op, p, n)?;
    products.plan(2 * p);
    let q = la::orth(products.apply(products.right(0..p).as_ref())?, settings.par)?;
    let lord = if products.symmetric {
        let core = la::symmetric_core(q.as_ref(), products.apply(q.as_ref())?.as_ref(), settings.par);
        Lord::new(d, q, core, None)?
    } else {
        let v = products.apply_t(q.as_ref())?;
        let identity = Mat::from_fn(p, p, |i, j| if i == j { 1.0 } else { 0.0 });
        Lord::new(d, q, identity, Some(v))?
    };
    Ok((lord, products.counts()))
}

/// The diagonal of A first, then low rank of the rest.
///
/// Cost: that of both.
///
/// # Errors
/// As [`low_only`].
pub fn diagonal_then_low<T: Scalar>(
    a: &dyn LinearOperator<T>,
    p: usize,
    source: DiagonalSource<'_>,
    settings: &Settings<'_>,
) -> Result<Lord, Error> {
    let wide = Wide(a);
    Products::new(&wide, "baseline", settings).square()?;
    let (d, first) = source.diagonal(&wide, None, 0, settings)?;
    let diagonal = Diagonal::new(d.clone());
    let rest = Difference { a: &wide, b: &diagonal };
    let (lord, second) = low(&rest, d, p, first.0 + first.1, settings)?;
    let counts = (first.0 + second.0, first.1 + second.1);
    Ok(lord.with_report(LordReport::direct("diagonal, then low rank", counts)))
}

/// Low rank of A first, then the diagonal of the rest.
///
/// Cost: that of both, and `4 n p` flops for each product of the second.
///
/// # Errors
/// As [`low_only`].
pub fn low_then_diagonal<T: Scalar>(
    a: &dyn LinearOperator<T>,
    p: usize,
    source: DiagonalSource<'_>,
    settings: &Settings<'_>,
) -> Result<Lord, Error> {
    let wide = Wide(a);
    let n = a.nrows();
    let (part, first) = low(&wide, vec![0.0; n], p, 0, settings)?;
    let known = part.diagonal(settings.par)?;
    let rest = Difference { a: &wide, b: &part };
    let (d, second) = source.diagonal(&rest, Some(&known), first.0 + first.1, settings)?;
    let part = part.low_rank_part();
    let v = (!part.is_symmetric_form()).then(|| part.v().to_owned());
    let counts = (first.0 + second.0, first.1 + second.1);
    let lord = Lord::new(d, part.u().to_owned(), part.core(), v)?;
    Ok(lord.with_report(LordReport::direct("low rank, then diagonal", counts)))
}
