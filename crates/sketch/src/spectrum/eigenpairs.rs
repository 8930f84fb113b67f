//! Eigenpairs inside the spectrum, by shift and invert: the largest of `(A - sigma I)^-1` are the nearest to sigma.
//!
//! Pairs at the ends of the spectrum are `linop_core::krylov::eigsh`, which this uses.

use crate::{Error, Settings};
use linop_core::krylov::{Eigenpairs, EigshOptions, Which, eigsh};
use linop_core::{LinearOperator, Op, Props};
use numerics::Scalar;

/// The `k` eigenpairs nearest to `sigma`, nearest first. The inverse comes from linop-core's rules: structure, or a dense
/// factorisation.
///
/// A is `n x n`, the vectors `n x k`. Cost: one inverse (`n^3` flops without structure), then a product with it for each step of
/// `eigsh`. Source: shift and invert, Ericsson and Ruhe 1980.
///
/// ```
/// use linop_core::Op;
/// use linop_core::krylov::EigshOptions;
/// use sketch::{Settings, eigenpairs_near};
/// let a = Op::diag((0..100).map(f64::from).collect());
/// let pairs = eigenpairs_near(&a, 41.9, 3, &EigshOptions::default(), &Settings::default())?;
/// assert!((pairs.values[0] - 42.0).abs() < 1e-8 && (pairs.values[1] - 41.0).abs() < 1e-8);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `NotSymmetric`, `InvalidArgument` unless sigma is finite; a singular shifted operator (sigma is an eigenvalue), and those of `eigsh`.
pub fn eigenpairs_near<T: Scalar>(
    a: &Op<T>,
    sigma: f64,
    k: usize,
    options: &EigshOptions<'_>,
    settings: &Settings<'_>,
) -> Result<Eigenpairs<T>, Error> {
    let op = "eigenpairs near";
    if a.nrows() != a.ncols() {
        return Err(Error::NotSquare { op, nrows: a.nrows(), ncols: a.ncols() });
    }
    if !a.props().contains(Props::SELF_ADJOINT) {
        return Err(Error::NotSymmetric { op });
    }
    if !sigma.is_finite() {
        return Err(Error::argument(op, format!("needs a finite sigma, got {sigma}")));
    }
    let inverse = a.shifted(T::from_f64(-sigma))?.inverse(settings.par)?;
    let inverse =
        if inverse.props().contains(Props::SELF_ADJOINT) { inverse } else { inverse.assume(Props::SELF_ADJOINT) };
    let mut pairs = eigsh(&inverse, k, Which::Magnitude, options, settings.par)?;
    for value in &mut pairs.values {
        *value = T::from_f64(sigma + value.to_f64().recip());
    }
    Ok(pairs)
}
