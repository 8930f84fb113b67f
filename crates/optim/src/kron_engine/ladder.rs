//! Decompositions that may fail, and what is tried instead.
//!
//! A factor is symmetrised and scaled by the power of two next to `1 / max |S_ij|`, so no digit changes. A QR step that
//! gives numbers that are not finite is replaced by an eigendecomposition; that one retries in double precision by
//! itself (`numerics::dense::eigh`); if it fails too the old basis stays and the failure is counted, per factor, until a
//! success. After more than three in a row the step reports an error.

use super::modes::square;
use crate::Error;
use numerics::dense::{self, Eigh, Qr};
use numerics::{Mat, MatRef, Scalar};

/// Failures in a row after which a step returns an error.
pub(crate) const TOLERATED_FAILURES: u64 = 3;

/// The decompositions in use; tests put failing ones in their place.
#[derive(Clone, Copy)]
pub(crate) struct Decompositions<T> {
    pub(crate) eigh: fn(MatRef<'_, T>) -> Result<Eigh<T>, numerics::Error>,
    pub(crate) qr: fn(MatRef<'_, T>) -> Result<Qr<T>, numerics::Error>,
}

impl<T: Scalar> Default for Decompositions<T> {
    fn default() -> Self {
        Decompositions { eigh: dense::eigh::<T>, qr: dense::qr::<T> }
    }
}

impl<T> core::fmt::Debug for Decompositions<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Decompositions")
    }
}

/// What is added to the diagonal before eigenvectors are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shift {
    /// A number added to the matrix as it is.
    Plain(f64),
    /// `n` times the machine epsilon, added to the scaled matrix.
    Relative,
    Nothing,
}

/// A factor made ready for a decomposition.
pub(crate) enum Ready<T> {
    /// A symmetric copy whose largest entry lies near one, and what it was multiplied by.
    Scaled(Mat<T>, T),
    /// Nothing was seen so far: there is no basis to look for.
    Zero,
    /// An overflow.
    NotFinite,
}

pub(crate) fn scaled_copy<T: Scalar>(s: &[T], n: usize) -> Ready<T> {
    let mut top = 0.0_f64;
    for &x in s {
        let x = x.to_f64().abs();
        if !x.is_finite() {
            return Ready::NotFinite;
        }
        top = top.max(x);
    }
    if top == 0.0 {
        return Ready::Zero;
    }
    let limit = if T::EPS.to_f64() > 1e-10 { 120.0 } else { 1000.0 };
    let unit = T::from_f64((-top.log2().floor()).clamp(-limit, limit).exp2());
    let mut copy = square(s, n).to_owned();
    dense::scale(copy.as_mut(), unit);
    dense::symmetrize(copy.as_mut());
    Ready::Scaled(copy, unit)
}

/// Eigenvectors in descending order of eigenvalue; values belong to the scaled and shifted copy.
pub(crate) fn eigenvectors<T: Scalar>(
    tools: &Decompositions<T>,
    mut copy: Mat<T>,
    unit: T,
    shift: Shift,
) -> Result<(Mat<T>, Vec<T>), Error> {
    let n = copy.nrows();
    let add = match shift {
        Shift::Plain(x) => T::from_f64(x) * unit,
        Shift::Relative => T::from_usize(n) * T::EPS,
        Shift::Nothing => T::ZERO,
    };
    crate::roots::add_to_diagonal(copy.as_mut(), add);
    let e = (tools.eigh)(copy.as_ref())?;
    let finite = dense::is_all_finite(e.vectors.as_ref());
    if !finite {
        return Err(numerics::Error::NoConvergence { op: "eigh", n }.into());
    }
    let q = Mat::from_fn(n, n, |i, j| e.vectors[(i, n - 1 - j)]);
    Ok((q, e.values.into_iter().rev().map(|l| l - add).collect()))
}

/// QR factors, refused if they are not finite.
pub(crate) fn orthogonal<T: Scalar>(tools: &Decompositions<T>, a: MatRef<'_, T>) -> Option<Qr<T>> {
    let f = (tools.qr)(a).ok()?;
    (dense::is_all_finite(f.q.as_ref()) && dense::is_all_finite(f.r.as_ref())).then_some(f)
}
