//! Arithmetic of truncated power series whose coefficients are nodes; a missing coefficient is zero.

use crate::error::Error;
use crate::program::{Builder, NodeId};

/// A coefficient, or zero.
pub(crate) type Coefficient = Option<NodeId>;

/// `x + y`.
pub(crate) fn add(b: &mut Builder, x: Coefficient, y: Coefficient) -> Result<Coefficient, Error> {
    match (x, y) {
        (Some(x), Some(y)) => b.add(x, y).map(Some),
        (x, y) => Ok(x.or(y)),
    }
}

/// `x - y`.
pub(crate) fn sub(b: &mut Builder, x: Coefficient, y: Coefficient) -> Result<Coefficient, Error> {
    match (x, y) {
        (Some(x), Some(y)) => b.sub(x, y).map(Some),
        (None, Some(y)) => b.neg(y).map(Some),
        (x, None) => Ok(x),
    }
}

/// `x y`.
pub(crate) fn mul(b: &mut Builder, x: Coefficient, y: Coefficient) -> Result<Coefficient, Error> {
    match (x, y) {
        (Some(x), Some(y)) => b.mul(x, y).map(Some),
        _ => Ok(None),
    }
}

/// `c x`.
pub(crate) fn scale(b: &mut Builder, x: Coefficient, c: f64) -> Result<Coefficient, Error> {
    match x {
        Some(_) if c == 0.0 => Ok(None),
        Some(x) => b.scale(x, c).map(Some),
        None => Ok(None),
    }
}

/// The sum of several.
pub(crate) fn sum_of(b: &mut Builder, terms: &[Coefficient]) -> Result<Coefficient, Error> {
    let mut sum = None;
    for &term in terms {
        sum = add(b, sum, term)?;
    }
    Ok(sum)
}

/// `sum_j weight(j) x_j y_{k-j}` over `j` in `range`.
pub(crate) fn convolve(
    b: &mut Builder,
    x: &[Coefficient],
    y: &[Coefficient],
    k: usize,
    range: core::ops::RangeInclusive<usize>,
    weight: impl Fn(usize) -> f64,
) -> Result<Coefficient, Error> {
    let mut sum = None;
    for j in range {
        let (left, right) = (x.get(j).copied().flatten(), y.get(k - j).copied().flatten());
        let product = mul(b, left, right)?;
        let term = scale(b, product, weight(j))?;
        sum = add(b, sum, term)?;
    }
    Ok(sum)
}

/// `(x y)_0 .. (x y)_order`.
pub(crate) fn product(
    b: &mut Builder,
    x: &[Coefficient],
    y: &[Coefficient],
    order: usize,
) -> Result<Vec<Coefficient>, Error> {
    (0..=order).map(|k| convolve(b, x, y, k, 0..=k, |_| 1.0)).collect()
}
