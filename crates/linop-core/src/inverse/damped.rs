//! Damped inverses of Kronecker products of symmetric PSD factors, and of what is built from them.
//!
//! Sources: Martens and Grosse, arXiv:1503.05671, section 6.3 (the heuristic); for the exact form the eigenbases of the
//! factors. With two factors of traces `tr_i`, sizes `n_i` and `m_i = tr_i / n_i`:
//!
//! - [`Damping::Plain`]: `(S1 + delta I)^-1 (x) (S2 + delta I)^-1 (x) ...`; what that adds to the product is about
//!   `delta (m_1 + m_2)`, not delta;
//! - [`Damping::Heuristic`]: the same with `sqrt(delta) / rho` and `sqrt(delta) * rho`, `rho = sqrt(m_2 / m_1)`, which
//!   minimises a trace bound of the difference to the exact form and does not depend on how scale is split between the
//!   factors;
//! - [`Damping::Exact`]: `(S1 (x) S2 + delta I)^-1 = (Q1 (x) Q2) diag(1 / (l1 l2 + delta)) (Q1 (x) Q2)^T`.
//!
//! Costs one Cholesky factorisation (plain, heuristic) or eigendecomposition (exact) per factor. The operand is left
//! alone: damping is always out of place.

use super::rules::inverse_in;
use crate::dispatch::{Cx, Limits, eigh_in, trace};
use crate::ops::{BlockDiag, Eigh, Triangular, TriangularInverse};
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::dense::Llt;
use numerics::{Mat, Par, Scalar};

const OP: &str = "damped inverse";

/// How a Kronecker product is damped.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Damping {
    /// The same shift for every factor.
    Plain,
    /// One or two factors, shifted according to their traces.
    Heuristic {
        /// Least shift of a factor.
        floor: f64,
    },
    /// The product itself is shifted.
    Exact,
}

impl Damping {
    /// [`Damping::Heuristic`] with the usual floor of 1e-8.
    pub const HEURISTIC: Damping = Damping::Heuristic { floor: 1e-8 };
}

/// What [`damped`] did, block by block.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DampedReport {
    /// For every block the shift of each factor, or the one shift of the whole for the exact form and for blocks that
    /// are no Kronecker product.
    pub shifts: Vec<Vec<f64>>,
    /// Shifts that were raised to the floor of the heuristic.
    pub floored: usize,
    /// Blocks with a factor of zero trace: the heuristic fell back to equal shifts.
    pub zero_traces: usize,
    /// Negative eigenvalues of PSD factors that were taken as zero.
    pub clipped: usize,
    /// Factors whose Cholesky factorisation failed in `f32` and was redone in `f64`.
    pub retried: usize,
}

/// A damped inverse and how it came about.
#[derive(Clone, Debug)]
pub struct Damped<T: Scalar> {
    /// The inverse.
    pub inverse: Op<T>,
    /// Shifts and repairs.
    pub report: DampedReport,
}

/// `(A + delta I)^-1`, where the Kronecker products in A (A itself, or the blocks of a block diagonal) are damped in one
/// of three ways.
///
/// `delta` holds one number for all blocks or one per block. An [`Eigh`] operator, for example EKFAC, becomes
/// `1 / (l + delta)`; anything else is shifted and inverted. Factors must be known to be self-adjoint. Eigenvalues of
/// factors known to be PSD are clipped at zero and counted. A Cholesky factorisation that fails in `f32` is redone in
/// `f64` and counted.
///
/// ```
/// use linop_core::inverse::{Damping, damped};
/// use linop_core::{LinearOperator, Op, Props, dispatch::Limits, ops::Dense};
/// use numerics::{Mat, Par};
/// let s = Op::new(Dense::with_props(Mat::from_fn(2, 2, |i, j| if i == j { 2.0_f64 } else { 1.0 }), Props::PD));
/// let kfac = s.kron(&s)?;
/// let exact = damped(&kfac, &[0.1], Damping::Exact, Limits::default(), Par::Seq)?.inverse;
/// let check = (&exact * &kfac.shifted(0.1)?)?.to_dense(Par::Seq)?;
/// assert!((check[(0, 0)] - 1.0).abs() < 1e-14);
/// // Scale moved from one factor to the other does not change the heuristic.
/// let plain = |a: &Op<f64>| damped(a, &[0.1], Damping::HEURISTIC, Limits::default(), Par::Seq)?.inverse.trace(Par::Seq);
/// let moved = s.assume(Props::PSD).scaled(4.0).kron(&s.scaled(0.25))?;
/// assert!((plain(&kfac)? - plain(&moved)?).abs() < 1e-14);
/// # Ok::<(), linop_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for a negative or non-finite delta, a wrong number of them, more than two factors or a negative
/// trace with the heuristic; `MissingProperty` for factors not known to be self-adjoint; `NotPositiveDefinite` with the
/// pivot where a shifted factor is not; `Singular`.
pub fn damped<T: Scalar>(
    a: &Op<T>,
    delta: &[f64],
    damping: Damping,
    limits: Limits,
    par: Par,
) -> Result<Damped<T>, Error> {
    crate::ops::require_square(OP, a)?;
    if let Some(bad) = delta.iter().find(|d| !(d.is_finite() && **d >= 0.0)) {
        return Err(Error::InvalidArgument { op: OP, what: format!("delta = {bad}, needs a finite number >= 0") });
    }
    let cx = Cx::new(limits, par);
    let mut report = DampedReport::default();
    let inverse = match a.kind() {
        Kind::BlockDiag(b) => {
            let blocks = b.blocks();
            let delta = match delta {
                [one] => vec![*one; blocks.len()],
                many if many.len() == blocks.len() => many.to_vec(),
                many => return Err(wrong_count(many.len(), blocks.len())),
            };
            let mut inverses: Vec<Op<T>> = Vec::with_capacity(blocks.len());
            for (i, block) in blocks.iter().enumerate() {
                let seen = (0..i).find(|&j| blocks[j].same(block) && delta[j] == delta[i]);
                let (inverse, shifts) = match seen {
                    Some(j) => (inverses[j].clone(), report.shifts[j].clone()),
                    None => one(block, delta[i], damping, &cx, &mut report)?,
                };
                inverses.push(inverse);
                report.shifts.push(shifts);
            }
            Op::new(BlockDiag::new(inverses)?)
        }
        _ => {
            let &[delta] = delta else { return Err(wrong_count(delta.len(), 1)) };
            let (inverse, shifts) = one(a, delta, damping, &cx, &mut report)?;
            report.shifts.push(shifts);
            inverse
        }
    };
    Ok(Damped { inverse, report })
}

fn wrong_count(got: usize, blocks: usize) -> Error {
    Error::InvalidArgument { op: OP, what: format!("{got} dampings for {blocks} blocks; give one, or one per block") }
}

/// One block: its damped inverse and the shifts.
fn one<T: Scalar>(
    a: &Op<T>,
    delta: f64,
    damping: Damping,
    cx: &Cx,
    report: &mut DampedReport,
) -> Result<(Op<T>, Vec<f64>), Error> {
    let lone = [a.clone()];
    let (scale, factors) = match a.kind() {
        Kind::Kronecker(k) => (T::ONE, k.factors()),
        // A Kronecker product with its scalar pulled out: the scalar returns to the first factor.
        Kind::Scaled(s) => match s.inner().kind() {
            Kind::Kronecker(k) => (s.factor(), k.factors()),
            _ => (T::ONE, &lone[..]),
        },
        _ => (T::ONE, &lone[..]),
    };
    let mut factors = factors.to_vec();
    factors[0] = factors[0].scaled(scale);
    if factors.iter().any(|f| !f.props().contains(Props::SELF_ADJOINT)) {
        return Err(Error::MissingProperty { op: OP, needed: "SELF_ADJOINT (every factor)" });
    }
    let single = factors.len() == 1;
    let shifts = match damping {
        Damping::Plain => vec![delta; factors.len()],
        Damping::Heuristic { floor } => heuristic(&factors, delta, floor, cx, report)?,
        Damping::Exact if single => vec![delta],
        Damping::Exact => return Ok((exact(&factors, delta, cx, report)?, vec![delta])),
    };
    let parts = factors.iter().zip(&shifts).map(|(f, &s)| shifted_inverse(f, s, cx, report));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let inverse = if single { parts[0].clone() } else { crate::algebra::kron(&parts)? };
    Ok((inverse, shifts))
}

/// `sqrt(delta) / rho` and `sqrt(delta) * rho`.
fn heuristic<T: Scalar>(
    factors: &[Op<T>],
    delta: f64,
    floor: f64,
    cx: &Cx,
    report: &mut DampedReport,
) -> Result<Vec<f64>, Error> {
    if !(floor.is_finite() && floor >= 0.0) {
        return Err(Error::InvalidArgument { op: OP, what: format!("floor = {floor}, needs a finite number >= 0") });
    }
    let wanted = match factors {
        [_] => vec![delta],
        [a, b] => {
            let mean = |f: &Op<T>| -> Result<f64, Error> {
                let m = trace(f, cx.limits, cx.par)?.to_f64() / f.nrows().max(1) as f64;
                if m >= 0.0 && m.is_finite() {
                    Ok(m)
                } else {
                    let what = format!("a factor's mean eigenvalue is {m:.3e}; the heuristic needs PSD factors");
                    Err(Error::InvalidArgument { op: OP, what })
                }
            };
            let (first, second) = (mean(a)?, mean(b)?);
            let root = delta.sqrt();
            if first == 0.0 || second == 0.0 {
                report.zero_traces += 1;
                vec![root, root]
            } else {
                let rho = (second / first).sqrt();
                vec![root / rho, root * rho]
            }
        }
        more => {
            let what = format!("the heuristic is for one or two factors, not {}; use plain or exact", more.len());
            return Err(Error::InvalidArgument { op: OP, what });
        }
    };
    report.floored += wanted.iter().filter(|&&s| s < floor).count();
    Ok(wanted.into_iter().map(|s| s.max(floor)).collect())
}

/// `(S1 (x) S2 (x) ... + delta I)^-1` through the eigenvalues of the factors.
fn exact<T: Scalar>(factors: &[Op<T>], delta: f64, cx: &Cx, report: &mut DampedReport) -> Result<Op<T>, Error> {
    let mut parts = Vec::with_capacity(factors.len());
    for f in factors {
        parts.push(clipped(eigh_in(f, cx)?, f.props().contains(Props::PSD), report)?);
    }
    let values = parts.iter().fold(vec![T::ONE], |l, e| crate::dispatch::outer(&l, e.values(), |x, y| x * y));
    let vectors = crate::algebra::kron(&parts.iter().map(|e| e.vectors().clone()).collect::<Vec<_>>())?;
    shifted_reciprocal(&Eigh::new(vectors, values)?, delta)
}

/// `Q diag(1 / (l + delta)) Q^T`.
fn shifted_reciprocal<T: Scalar>(e: &Eigh<T>, delta: f64) -> Result<Op<T>, Error> {
    let delta = T::from_f64(delta);
    if e.values().iter().any(|&l| l + delta == T::ZERO) {
        return Err(Error::Singular { op: OP });
    }
    Ok(Op::new(e.map(OP, |l| (l + delta).recip())?))
}

/// The decomposition with negative eigenvalues of a PSD operator taken as zero.
fn clipped<T: Scalar>(e: Eigh<T>, psd: bool, report: &mut DampedReport) -> Result<Eigh<T>, Error> {
    let negative = e.values().iter().filter(|&&l| l < T::ZERO).count();
    if !psd || negative == 0 {
        return Ok(e);
    }
    report.clipped += negative;
    e.map(OP, |l| if l < T::ZERO { T::ZERO } else { l })
}

/// `(S + shift I)^-1` of one factor.
fn shifted_inverse<T: Scalar>(s: &Op<T>, shift: f64, cx: &Cx, report: &mut DampedReport) -> Result<Op<T>, Error> {
    if let Kind::Eigh(e) = s.kind() {
        return shifted_reciprocal(&clipped(e.clone(), s.props().contains(Props::PSD), report)?, shift);
    }
    let shifted = s.shifted(T::from_f64(shift))?;
    match inverse_in(&shifted, cx) {
        Err(Error::NotPositiveDefinite { pivot, .. }) if size_of::<T>() == 4 => {
            report.retried += 1;
            in_double(s, shift, pivot, cx)
        }
        result => result,
    }
}

/// The factor's Cholesky factorisation in `f64`, cast back.
fn in_double<T: Scalar>(s: &Op<T>, shift: f64, pivot: usize, cx: &Cx) -> Result<Op<T>, Error> {
    let single = cx.dense(OP, s)?;
    let n = single.nrows();
    let double = Mat::from_fn(n, n, |i, j| single[(i, j)].to_f64() + if i == j { shift } else { 0.0 });
    let l = match Llt::new(double.as_ref(), cx.par) {
        Ok(l) => l,
        Err(numerics::Error::NotPositiveDefinite { pivot, .. }) => {
            return Err(Error::NotPositiveDefinite { op: OP, pivot });
        }
        Err(e) => return Err(e.into()),
    };
    let l = l.l();
    let cast = Mat::from_fn(n, n, |i, j| if i >= j { T::from_f64(l[(i, j)]) } else { T::ZERO });
    if (0..n).any(|i| cast[(i, i)] == T::ZERO) {
        return Err(Error::NotPositiveDefinite { op: OP, pivot });
    }
    let solve = Op::new(TriangularInverse::new(Triangular::lower(cast)?)?);
    // L^-T L^-1, a palindrome.
    Ok((&solve.t() * &solve)?.derived(Props::PD))
}
