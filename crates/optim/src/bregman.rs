//! Kronecker approximations of a second moment by Bregman divergences: the oracle behind the Shampoo family.
//!
//! Given `C = E[g g^T]`, `g = vec(G)` row-major, the factors of trace power `q` are the fixed point of
//! `L = E[G R^{q-1} G^T] / Tr(R^q)`, `R = E[G^T L^{q-1} G] / Tr(L^q)`: `q = 0` is the maximum-likelihood estimate of a
//! matrix normal (Dutilleul 1999, the target of KL-Shampoo, arXiv:2509.03378), `q = 1` has the closed form
//! `E[G G^T] (x) E[G^T G] / Tr C`, `q = 2` is the nearest Kronecker product in the Frobenius norm (Van Loan and
//! Pitsianis 1993). The family is the co-authors' ("How Bregman divergences shape Shampoo", Eq. 4, Table 6); what is
//! here fits offline, for the online methods see [`crate::KronConfig`]. `L (x) R` is unique, `L` and `R` up to `c L`,
//! `R / c`.
//!
//! Simultaneous updates without relaxation swing for ever between two scales; that is noticed and reported. Cost per
//! iteration: `4 (m n)^2` flops and two eigendecompositions.

use crate::Error;
use crate::error::check;
use numerics::{Mat, MatRef, Par, Scalar, dense};

/// How [`fit`] iterates.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitOptions {
    /// Trace power, in `[0, 2]`.
    pub power: f64,
    /// Share of the new factors in each iteration, 0.3.
    pub relaxation: f64,
    /// Update one factor with the newest other one, in turns, without relaxation (flip-flop).
    pub alternate: bool,
    /// Both factors start at this multiple of the identity, 1.
    pub start: f64,
    /// Stop when the relative changes of both factors sum to less, 1e-10.
    pub tol: f64,
    /// Most iterations, 10 000.
    pub max_iterations: usize,
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions { power: 0.0, relaxation: 0.3, alternate: false, start: 1.0, tol: 1e-10, max_iterations: 10_000 }
    }
}

/// Factors of a Kronecker approximation `left (x) right`.
#[derive(Clone, Debug)]
pub struct KroneckerFit<T> {
    /// Acts on rows, `m x m`.
    pub left: Mat<T>,
    /// Acts on columns, `n x n`.
    pub right: Mat<T>,
    /// Iterations done.
    pub iterations: usize,
    /// Sum of the relative changes in the last one.
    pub change: f64,
}

/// Second moment of row-major `m x n` samples that lie one after the other.
///
/// # Errors
/// Unless there is at least one sample of the right length.
pub fn second_moment<T: Scalar>(samples: &[T], len: usize, par: Par) -> Result<Mat<T>, Error> {
    let count = samples.len().checked_div(len).unwrap_or(0);
    crate::error::check_len("samples", count * len, samples.len())?;
    check(count > 0, "samples", count as f64, "at least one")?;
    let x = MatRef::from_column_major_slice(samples, len, count);
    let mut c = Mat::zeros(len, len);
    dense::syrk(c.as_mut(), T::ONE / T::from_usize(count), x, T::ZERO, par);
    dense::mirror_lower(c.as_mut());
    Ok(c)
}

/// Fits a Kronecker product to the second moment `c` of `m x n` matrices.
///
/// ```
/// use numerics::{Mat, Par};
/// use optim::bregman::{FitOptions, fit};
/// // An exact product of diag(1, 4) and diag(9, 1).
/// let d = [9.0, 1.0, 36.0, 4.0_f64];
/// let c = Mat::from_fn(4, 4, |i, j| if i == j { d[i] } else { 0.0 });
/// let found = fit(c.as_ref(), 2, 2, &FitOptions { alternate: true, ..FitOptions::default() })?;
/// assert!((found.left[(1, 1)] / found.left[(0, 0)] - 4.0).abs() < 1e-12);
/// assert!((found.left[(0, 0)] * found.right[(0, 0)] - 9.0).abs() < 1e-12);
/// # Ok::<(), optim::Error>(())
/// ```
///
/// # Errors
/// Settings out of range, shapes that do not fit, bad numbers; factors that become singular (too few samples);
/// [`Error::Oscillates`]; no convergence.
pub fn fit<T: Scalar>(c: MatRef<'_, T>, m: usize, n: usize, options: &FitOptions) -> Result<KroneckerFit<T>, Error> {
    let o = options;
    check((0.0..=2.0).contains(&o.power), "power", o.power, "in [0, 2]")?;
    check(o.relaxation > 0.0 && o.relaxation <= 1.0, "relaxation", o.relaxation, "in (0, 1]")?;
    check(o.start > 0.0 && o.start.is_finite(), "start", o.start, "positive and finite")?;
    check(o.tol > 0.0, "tol", o.tol, "above 0")?;
    check(m > 0 && n > 0, "m, n", m.min(n) as f64, "at least 1")?;
    let fits = c.nrows() == m * n && c.ncols() == m * n;
    crate::error::check_len("second moment", m * n, if fits { m * n } else { c.nrows() })?;
    if !dense::is_all_finite(c) {
        return Err(numerics::Error::NotFinite { op: "fit", operand: "the second moment" }.into());
    }
    let start = T::from_f64(o.start);
    let identity = |k: usize| Mat::from_fn(k, k, |i, j| if i == j { start } else { T::ZERO });
    let (mut left, mut right) = (identity(m), identity(n));
    let share = if o.alternate { 1.0 } else { o.relaxation };
    let mut scales = Vec::new();
    for iterations in 1..=o.max_iterations {
        let new_left = blend(&left, &update_left(c, m, n, right.as_ref(), o.power)?, share);
        let new_right = {
            let seen = if o.alternate { &new_left } else { &left };
            blend(&right, &update_right(c, m, n, seen.as_ref(), o.power)?, share)
        };
        let change = relative_change(&left, &new_left) + relative_change(&right, &new_right);
        (left, right) = (new_left, new_right);
        if change < o.tol {
            return Ok(KroneckerFit { left, right, iterations, change });
        }
        scales.push(trace(&left) * trace(&right));
        if let Some(ratio) = swing(&scales, T::EPS.to_f64()) {
            return Err(Error::Oscillates { op: "fit", ratio });
        }
    }
    Err(numerics::Error::NoConvergence { op: "fit", n: m * n }.into())
}

/// `(1/2)(log det S + Tr(C S^-1))` for `S = left (x) right`: the KL divergence to `N(0, S)` up to a constant.
///
/// # Errors
/// If a factor is not positive definite.
pub fn kl_objective<T: Scalar>(c: MatRef<'_, T>, left: MatRef<'_, T>, right: MatRef<'_, T>) -> Result<f64, Error> {
    let (m, n) = (left.nrows(), right.nrows());
    let (l, r) = (dense::Llt::new(left, Par::Seq)?, dense::Llt::new(right, Par::Seq)?);
    let logdet = n as f64 * l.logdet().to_f64() + m as f64 * r.logdet().to_f64();
    let projected = contract_right(c, m, n, r.inverse().as_ref());
    let l_inv = l.inverse();
    let mut sum = 0.0;
    for i in 0..m {
        for k in 0..m {
            sum += (l_inv[(i, k)] * projected[(k, i)]).to_f64();
        }
    }
    Ok(0.5 * (logdet + sum))
}

/// `E[G R^{q-1} G^T] / Tr(R^q)`.
pub(crate) fn update_left<T: Scalar>(
    c: MatRef<'_, T>,
    m: usize,
    n: usize,
    right: MatRef<'_, T>,
    power: f64,
) -> Result<Mat<T>, Error> {
    let (weight, trace) = weight_and_trace(right, power)?;
    let mut new = contract_right(c, m, n, weight.as_ref());
    dense::scale(new.as_mut(), trace.recip());
    Ok(new)
}

fn update_right<T: Scalar>(
    c: MatRef<'_, T>,
    m: usize,
    n: usize,
    left: MatRef<'_, T>,
    power: f64,
) -> Result<Mat<T>, Error> {
    let (weight, trace) = weight_and_trace(left, power)?;
    let mut new = Mat::zeros(n, n);
    for i in 0..m {
        for k in 0..m {
            let w = weight[(i, k)];
            dense::axpy(new.as_mut(), w, c.submatrix(i * n, k * n, n, n));
        }
    }
    dense::symmetrize(new.as_mut());
    dense::scale(new.as_mut(), trace.recip());
    Ok(new)
}

/// `E[G W G^T]` from the second moment: entry `(i, k)` is the inner product of block `(i, k)` with `W`.
fn contract_right<T: Scalar>(c: MatRef<'_, T>, m: usize, n: usize, w: MatRef<'_, T>) -> Mat<T> {
    let mut out = Mat::zeros(m, m);
    let mut dots = vec![T::ZERO; n];
    for i in 0..m {
        for k in 0..=i {
            dense::col_dots(c.submatrix(i * n, k * n, n, n), w, &mut dots);
            let sum = dense::sum(&dots);
            out[(i, k)] = sum;
            out[(k, i)] = sum;
        }
    }
    out
}

/// `A^{q-1}` and `Tr(A^q)`.
fn weight_and_trace<T: Scalar>(a: MatRef<'_, T>, power: f64) -> Result<(Mat<T>, T), Error> {
    let e = dense::eigh(a)?;
    let largest = e.values.last().copied().unwrap_or(T::ZERO);
    let least = e.values.first().copied().unwrap_or(T::ZERO);
    if largest <= T::ZERO || (power < 1.0 && least <= T::from_usize(a.nrows()) * T::EPS * largest) {
        return Err(numerics::Error::Singular { op: "fit" }.into());
    }
    let raised = |l: T, p: f64| l.max(T::ZERO).powf(T::from_f64(p));
    let trace = e.values.iter().map(|&l| raised(l, power)).sum();
    Ok((dense::apply_spectral(&e, |l| raised(l, power - 1.0), Par::Seq), trace))
}

fn blend<T: Scalar>(old: &Mat<T>, new: &Mat<T>, share: f64) -> Mat<T> {
    let (keep, share) = (T::from_f64(1.0 - share), T::from_f64(share));
    Mat::from_fn(old.nrows(), old.ncols(), |i, j| keep * old[(i, j)] + share * new[(i, j)])
}

fn relative_change<T: Scalar>(old: &Mat<T>, new: &Mat<T>) -> f64 {
    ((new - old).norm_l2() / old.norm_l2()).to_f64()
}

fn trace<T: Scalar>(a: &Mat<T>) -> f64 {
    (0..a.nrows()).map(|i| a[(i, i)].to_f64()).sum()
}

/// The ratio of two scales that have repeated for 20 iterations, to 1e-9 or what the precision allows, if they do.
fn swing(scales: &[f64], eps: f64) -> Option<f64> {
    let same = (256.0 * eps).max(1e-9);
    let tail = scales.len().checked_sub(22).map(|from| &scales[from..])?;
    let repeats = tail.windows(3).all(|w| (w[2] / w[0] - 1.0).abs() < same);
    let ratio = tail[1] / tail[0];
    (repeats && (ratio - 1.0).abs() > 1e3 * same).then_some(ratio)
}

#[cfg(test)]
mod tests;
