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
        if let Some(ratio) = swing(&scales) {
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

/// The ratio of two scales that have repeated for 20 iterations, if they do.
fn swing(scales: &[f64]) -> Option<f64> {
    let tail = scales.len().checked_sub(22).map(|from| &scales[from..])?;
    let repeats = tail.windows(3).all(|w| (w[2] / w[0] - 1.0).abs() < 1e-9);
    let ratio = tail[1] / tail[0];
    (repeats && (ratio - 1.0).abs() > 1e-6).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::rng::{Role, Stream};

    fn noise(rows: usize, cols: usize, seed: u64, t: u64) -> Mat<f64> {
        let mut s = Stream::new(seed, Role::TestProbe, t, 0);
        Mat::from_fn(rows, cols, |_, _| s.normal())
    }

    /// `count` samples `A Z B`, row-major.
    fn samples(m: usize, n: usize, count: u64, seed: u64) -> Vec<f64> {
        let (a, b) = (noise(m, m, seed, 1000), noise(n, n, seed, 1001));
        let mut all = Vec::new();
        for t in 0..count {
            let g = &a * noise(m, n, seed, t) * &b;
            all.extend((0..m * n).map(|i| g[(i / n, i % n)]));
        }
        all
    }

    fn kron(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
        let n = b.nrows();
        Mat::from_fn(a.nrows() * n, a.nrows() * n, |i, j| a[(i / n, j / n)] * b[(i % n, j % n)])
    }

    fn distance(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
        (a - b).norm_l2() / b.norm_l2()
    }

    fn product(f: &KroneckerFit<f64>) -> Mat<f64> {
        kron(&f.left, &f.right)
    }

    const FLIP_FLOP: FitOptions =
        FitOptions { power: 0.0, relaxation: 1.0, alternate: true, start: 1.0, tol: 1e-11, max_iterations: 1000 };

    #[test]
    fn flip_flop_descends_and_averages_reach_the_same_product() {
        let (m, n) = (6, 9);
        let c = second_moment(&samples(m, n, 200, 3), m * n, Par::Seq).unwrap();
        let found = fit(c.as_ref(), m, n, &FLIP_FLOP).unwrap();
        assert!(found.change < 1e-11);
        // Monotone: replay the iteration and watch the objective.
        let mut right = Mat::<f64>::identity(n, n);
        let mut last = f64::INFINITY;
        for _ in 0..found.iterations {
            let left = update_left(c.as_ref(), m, n, right.as_ref(), 0.0).unwrap();
            let middle = kl_objective(c.as_ref(), left.as_ref(), right.as_ref()).unwrap();
            right = update_right(c.as_ref(), m, n, left.as_ref(), 0.0).unwrap();
            let now = kl_objective(c.as_ref(), left.as_ref(), right.as_ref()).unwrap();
            let slack = 1e-12 * now.abs();
            assert!(middle <= last + slack && now <= middle + slack);
            last = now;
        }
        // E Tr(L^-1 G R^-1 G^T) = m n at the solution.
        let l = dense::Llt::new(found.left.as_ref(), Par::Seq).unwrap();
        let r = dense::Llt::new(found.right.as_ref(), Par::Seq).unwrap();
        let logs = 9.0 * l.logdet() + 6.0 * r.logdet();
        let trace = 2.0 * kl_objective(c.as_ref(), found.left.as_ref(), found.right.as_ref()).unwrap() - logs;
        assert!((trace / 54.0 - 1.0).abs() < 1e-12, "{trace}");
        for relaxation in [0.02, 0.2, 0.7] {
            let max_iterations = (60.0 / relaxation) as usize;
            let o = FitOptions { relaxation, start: 0.1, tol: 1e-300, max_iterations, ..FitOptions::default() };
            let (mut left, mut right) = (Mat::<f64>::identity(m, m), Mat::<f64>::identity(n, n));
            dense::scale(left.as_mut(), 0.1);
            dense::scale(right.as_mut(), 0.1);
            for _ in 0..o.max_iterations {
                let new = blend(&left, &update_left(c.as_ref(), m, n, right.as_ref(), 0.0).unwrap(), relaxation);
                right = blend(&right, &update_right(c.as_ref(), m, n, left.as_ref(), 0.0).unwrap(), relaxation);
                left = new;
            }
            let d = distance(&kron(&left, &right), &product(&found));
            assert!(d < 1e-12, "{relaxation}: {d}");
        }
    }

    #[test]
    fn pure_simultaneous_iteration_swings_and_is_caught() {
        let (m, n) = (4, 5);
        let c = second_moment(&samples(m, n, 60, 5), m * n, Par::Seq).unwrap();
        let o = FitOptions { relaxation: 1.0, ..FitOptions::default() };
        match fit(c.as_ref(), m, n, &o) {
            Err(Error::Oscillates { ratio, .. }) => assert!((ratio - 1.0).abs() > 1e-3, "{ratio}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_of_the_family_are_what_they_are_known_to_be() {
        let (m, n) = (4, 5);
        // A sum of two terms, so that no Kronecker product is exact.
        let (a, b) = (samples(m, n, 300, 7), samples(m, n, 300, 8));
        let all: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let c = second_moment(&all, m * n, Par::Seq).unwrap();
        let at =
            |power: f64| fit(c.as_ref(), m, n, &FitOptions { power, tol: 1e-13, ..FitOptions::default() }).unwrap();

        let kl = fit(c.as_ref(), m, n, &FLIP_FLOP).unwrap();
        assert!(distance(&product(&at(0.0)), &product(&kl)) < 1e-10);

        let identity = |k| Mat::<f64>::identity(k, k);
        let (gg, hh) = (
            contract_right(c.as_ref(), m, n, identity(n).as_ref()),
            update_right(c.as_ref(), m, n, identity(m).as_ref(), 0.0).unwrap(),
        );
        let closed = {
            let mut x = kron(&gg, &hh);
            // `update_right` has divided by the trace of the identity.
            dense::scale(x.as_mut(), m as f64 / trace(&c));
            x
        };
        let vn = product(&at(1.0));
        assert!(distance(&vn, &closed) < 1e-11);
        assert!((trace(&vn) / trace(&c) - 1.0).abs() < 1e-11);

        // Rearranged so that a Kronecker product is a rank-one matrix.
        let rearranged = Mat::from_fn(m * m, n * n, |i, j| c[((i / m) * n + j / n, (i % m) * n + j % n)]);
        let svd = dense::svd(rearranged.as_ref()).unwrap();
        let nearest = Mat::from_fn(m * n, m * n, |i, j| {
            svd.s[0] * svd.u[((i / n) * m + j / n, 0)] * svd.v[((i % n) * n + j % n, 0)]
        });
        assert!(distance(&product(&at(2.0)), &nearest) < 1e-10);

        let (mut kl_last, mut frobenius_last) = (f64::NEG_INFINITY, f64::INFINITY);
        for power in [0.0, 0.5, 1.0, 1.5, 2.0] {
            let f = at(power);
            let kl = kl_objective(c.as_ref(), f.left.as_ref(), f.right.as_ref()).unwrap();
            let frobenius = distance(&product(&f), &c);
            assert!(kl > kl_last && frobenius < frobenius_last, "{power}");
            (kl_last, frobenius_last) = (kl, frobenius);
        }
    }

    /// `(1/m) E |L^-1/2 L_N L^-1/2 - I|^2 = (m + 1) / (N r_eff(R^q))` with `R` at the truth.
    #[test]
    fn the_error_of_few_samples_has_its_closed_form() {
        let (m, n, count, repeats) = (6, 8, 5, 4000);
        let right = Mat::from_fn(n, n, |i, j| if i == j { (1.0 + i as f64).powf(-1.8) } else { 0.0 });
        for (power, expected) in [(0.0, 0.1750), (0.5, 0.2653), (1.0, 0.5684), (2.0, 1.1352)] {
            let r_eff = {
                let l: Vec<f64> = (0..n).map(|j| right[(j, j)].powf(power)).collect();
                l.iter().sum::<f64>().powi(2) / l.iter().map(|x| x * x).sum::<f64>()
            };
            let formula = (m + 1) as f64 / (count as f64 * r_eff);
            assert!((formula - expected).abs() < 1e-4, "{power}: {formula}");
            let mut mean = 0.0;
            let mut stream = Stream::new(1, Role::TestProbe, 0, 0);
            for _ in 0..repeats {
                let mut all = Vec::with_capacity(m * n * count);
                for _ in 0..count * m {
                    all.extend((0..n).map(|j| right[(j, j)].sqrt() * stream.normal()));
                }
                // Whitening by the true left factor makes it the identity.
                let c = second_moment(&all, m * n, Par::Seq).unwrap();
                let l = update_left(c.as_ref(), m, n, right.as_ref(), power).unwrap();
                mean += (l - Mat::<f64>::identity(m, m)).squared_norm_l2() / (m * repeats) as f64;
            }
            assert!((mean / formula - 1.0).abs() < 0.03, "{power}: {mean} {formula}");
        }
    }

    #[test]
    fn exact_products_are_recovered() {
        let (m, n) = (4, 6);
        let truth = {
            let (a, b) = (noise(m, m, 2, 1000), noise(n, n, 2, 1001));
            kron(&(&a * a.transpose()), &(b.transpose() * &b))
        };
        let mut errors = Vec::new();
        for count in [200, 3200] {
            let all = samples(m, n, count, 2);
            let c = second_moment(&all, m * n, Par::Seq).unwrap();
            let f = fit(c.as_ref(), m, n, &FLIP_FLOP).unwrap();
            errors.push(distance(&product(&f), &truth));
            // Whitened samples have identity moments on both sides, at the fit's own factors exactly.
            let l = crate::roots::inverse_root(f.left.as_ref(), 0.5, 0.0, Par::Seq).unwrap();
            let r = crate::roots::inverse_root(f.right.as_ref(), 0.5, 0.0, Par::Seq).unwrap();
            let white = kron(&l, &r);
            let moment = &white * &c * &white;
            let rows = contract_right(moment.as_ref(), m, n, Mat::<f64>::identity(n, n).as_ref());
            for i in 0..m {
                for k in 0..m {
                    let want = if i == k { n as f64 } else { 0.0 };
                    assert!((rows[(i, k)] - want).abs() < 1e-9);
                }
            }
        }
        // Sixteen times the samples, a quarter of the error, give or take the luck of one draw.
        let ratio = errors[0] / errors[1];
        assert!((2.0..8.0).contains(&ratio), "{errors:?}");
    }

    /// Long-tailed gradients that are no Kronecker product: few samples hurt the more the larger the trace power.
    #[test]
    fn stability_on_long_tails_falls_with_the_trace_power() {
        let (m, n, pool) = (8, 12, 512);
        let mut terms = Vec::new();
        for (k, (weight, p)) in [(1.0, 1.8), (0.3, 1.2), (0.15, 0.8)].into_iter().enumerate() {
            let basis = |size: usize, seed: u64| {
                let q = crate::problems::orthogonal(size, seed).unwrap();
                Mat::from_fn(size, size, |i, j| q[(i, j)] * (1.0 + j as f64).powf(-p / 2.0))
            };
            terms.push((weight, basis(m, 2 * k as u64), basis(n, 2 * k as u64 + 1)));
        }
        let mut all = Vec::new();
        for t in 0..pool {
            let mut g = noise(m, n, 21, t);
            dense::scale(g.as_mut(), 0.02);
            for (k, (weight, l, r)) in terms.iter().enumerate() {
                let mut x = l * noise(m, n, 30 + k as u64, t) * r;
                dense::scale(x.as_mut(), *weight);
                g += x;
            }
            all.extend((0..m * n).map(|i| 0.1 * g[(i / n, i % n)]));
        }
        let len = m * n;
        let moment = |x: &[f64]| second_moment(x, len, Par::Seq).unwrap();
        let few = 10;
        let whole = moment(&all);
        let parts: Vec<_> = (0..8).map(|k| moment(&all[k * few * len..(k + 1) * few * len])).collect();
        let mut last = 0.0;
        for power in [0.0, 1.0, 2.0] {
            let o = FitOptions { power, tol: 1e-7, ..FitOptions::default() };
            let reference = product(&fit(whole.as_ref(), m, n, &o).unwrap());
            let white = crate::roots::inverse_root(reference.as_ref(), 0.5, 0.0, Par::Seq).unwrap();
            let mut error = 0.0;
            for c in &parts {
                let found = product(&fit(c.as_ref(), m, n, &o).unwrap());
                let relative = &white * &found * &white - Mat::<f64>::identity(len, len);
                error += relative.squared_norm_l2() / (len * parts.len()) as f64;
            }
            assert!(error > 1.2 * last, "{power}: {error} after {last}");
            last = error;
        }
    }

    #[test]
    fn bad_input() {
        let c = Mat::<f64>::identity(6, 6);
        let o = FitOptions::default();
        assert!(fit(c.as_ref(), 2, 2, &o).is_err());
        assert!(fit(c.as_ref(), 2, 3, &FitOptions { power: 2.5, ..o }).is_err());
        assert!(fit(c.as_ref(), 2, 3, &FitOptions { relaxation: 0.0, ..o }).is_err());
        assert!(fit(Mat::<f64>::zeros(6, 6).as_ref(), 2, 3, &o).is_err());
        let one = second_moment(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 6, Par::Seq).unwrap();
        assert!(fit(one.as_ref(), 2, 3, &FLIP_FLOP).is_err());
        assert!(second_moment(&[1.0; 5], 2, Par::Seq).is_err());
        assert!(second_moment::<f64>(&[], 2, Par::Seq).is_err());
    }
}
