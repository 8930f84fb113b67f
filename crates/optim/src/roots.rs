//! Inverse roots `A^{-e}` of symmetric positive semi-definite matrices.
//!
//! Three engines: from the eigenvalues, lifted off zero; the same with small eigenvalues cut off (a pseudo-inverse);
//! and a coupled Newton iteration that uses products only (Guo and Higham, "A Schur-Newton method for the matrix
//! pth root and its inverse", 2006): from `z = (1 + p) / (2 |A|_F)`, `X = z^{1/p} I`, `M = z A`, repeat
//! `T = ((p + 1) I - M) / p`, `X <- X T`, `M <- T^p M` until `M` is the identity; then `X = A^{-1/p}`.
//! Costs for order `n`: about `11 n^3` flops through the eigenvalues, `2 (2 + log2 p) n^3` for each of 15 to 40 Newton
//! steps.

use crate::Error;
use crate::error::check;
use crate::kron_engine::ladder::{Decompositions, eigenpairs};
use numerics::dense::{self, Eigh, FactorWork};
use numerics::{Mat, MatMut, MatRef, Par, Scalar};

/// `(A + eps I)^{-exponent}` through the eigenvalues.
///
/// If the least eigenvalue `l` of `A + eps I` lies below `eps`, as rounding can bring about, all are moved up by
/// `eps - l`.
///
/// ```
/// use numerics::{Mat, Par};
/// let a = Mat::from_fn(2, 2, |i, j| if i == j { 4.0_f64 } else { 0.0 });
/// let root = optim::roots::inverse_root(a.as_ref(), 0.5, 0.0, Par::Seq)?;
/// assert!((root[(0, 0)] - 0.5).abs() < 1e-15);
/// # Ok::<(), optim::Error>(())
/// ```
///
/// # Errors
/// Settings out of range, or what [`dense::eigh`] reports.
pub fn inverse_root<T: Scalar>(a: MatRef<'_, T>, exponent: f64, eps: f64, par: Par) -> Result<Mat<T>, Error> {
    check(exponent.is_finite(), "exponent", exponent, "finite")?;
    check(eps.is_finite() && eps >= 0.0, "eps", eps, "finite and at least 0")?;
    let e = eigh_shifted(a, eps)?;
    let eps = T::from_f64(eps);
    // Taken off first and added last: the least one becomes `eps` exactly, however large the others are.
    let least = e.values.first().copied().filter(|&least| least < eps);
    let lifted = |l: T| least.map_or(l, |least| (l - least) + eps);
    Ok(dense::apply_spectral(&e, |l| lifted(l).powf(T::from_f64(-exponent)), par))
}

/// `A^{-exponent}` on the span of the eigenvectors whose eigenvalues exceed `max(rtol * largest, atol)`, zero elsewhere.
///
/// `rtol = None` is `n` times the machine epsilon.
///
/// # Errors
/// As [`inverse_root`].
pub fn pseudo_inverse_root<T: Scalar>(
    a: MatRef<'_, T>,
    exponent: f64,
    rtol: Option<f64>,
    atol: f64,
    par: Par,
) -> Result<Mat<T>, Error> {
    let rtol = rtol.unwrap_or(a.nrows() as f64 * T::EPS.to_f64());
    check(exponent.is_finite(), "exponent", exponent, "finite")?;
    check(rtol.is_finite() && rtol >= 0.0, "rtol", rtol, "finite and at least 0")?;
    check(atol.is_finite() && atol >= 0.0, "atol", atol, "finite and at least 0")?;
    let e = dense::eigh(a)?;
    let largest = e.values.last().map_or(0.0, |l| l.to_f64());
    let cut = T::from_f64((rtol * largest).max(atol));
    let power = |l: T| if l > cut { l.powf(T::from_f64(-exponent)) } else { T::ZERO };
    Ok(dense::apply_spectral(&e, power, par))
}

/// What [`newton_root`] found.
#[derive(Clone, Debug)]
pub struct NewtonRoot<T> {
    /// `A^{-1/p}`.
    pub root: Mat<T>,
    /// Steps taken.
    pub iterations: usize,
    /// Largest entry of `M - I` at the end.
    pub residual: f64,
}

/// `A^{-1/p}` by the coupled Newton iteration, for `A` positive definite.
///
/// Stops when the residual falls below `tol`. It cannot converge on a singular matrix: add a multiple of the
/// identity first.
///
/// # Errors
/// `p = 0`, a shape that is not square, bad numbers, or no convergence within `max_iterations`.
pub fn newton_root<T: Scalar>(
    a: MatRef<'_, T>,
    p: u32,
    tol: f64,
    max_iterations: usize,
    par: Par,
) -> Result<NewtonRoot<T>, Error> {
    check(p > 0, "p", f64::from(p), "at least 1")?;
    let n = a.nrows();
    if a.ncols() != n {
        let got = format!("{n} x {}", a.ncols());
        return Err(
            numerics::Error::ShapeMismatch { op: "newton_root", expected: "a square matrix".into(), got }.into()
        );
    }
    if !dense::is_all_finite(a) {
        return Err(numerics::Error::NotFinite { op: "newton_root", operand: "the matrix" }.into());
    }
    if n == 0 {
        return Ok(NewtonRoot { root: Mat::zeros(0, 0), iterations: 0, residual: 0.0 });
    }
    let mut work = NewtonWork::new(n);
    let (iterations, residual) = work.run(a, p, tol, max_iterations, par)?;
    Ok(NewtonRoot { root: work.x, iterations, residual })
}

/// Memory of the Newton iteration; the root is left in `x`.
#[derive(Clone, Debug)]
pub(crate) struct NewtonWork<T> {
    pub(crate) x: Mat<T>,
    m: Mat<T>,
    t: Mat<T>,
    u: Mat<T>,
}

impl<T: Scalar> NewtonWork<T> {
    pub(crate) fn new(n: usize) -> Self {
        let zeros = || Mat::zeros(n, n);
        NewtonWork { x: zeros(), m: zeros(), t: zeros(), u: zeros() }
    }

    /// Iterations and residual.
    pub(crate) fn run(
        &mut self,
        a: MatRef<'_, T>,
        p: u32,
        tol: f64,
        max_iterations: usize,
        par: Par,
    ) -> Result<(usize, f64), Error> {
        let n = a.nrows();
        let norm = dense::norm_l2(a);
        let stalled = || Error::from(numerics::Error::NoConvergence { op: "newton_root", n });
        if norm == T::ZERO {
            return Err(stalled());
        }
        let NewtonWork { x, m, t, u } = self;
        let q = f64::from(p);
        let z = T::from_f64((1.0 + q) / 2.0) / norm;
        dense::scale(x.as_mut(), T::ZERO);
        add_to_diagonal(x.as_mut(), z.powf(T::from_f64(1.0 / q)));
        dense::copy(m.as_mut(), a);
        dense::scale(m.as_mut(), z);
        let mut residual = distance_from_identity(m.as_ref());
        for iterations in 0..=max_iterations {
            if residual < tol {
                return Ok((iterations, residual));
            }
            if iterations == max_iterations || !residual.is_finite() {
                break;
            }
            for j in 0..n {
                for i in 0..n {
                    let one = if i == j { T::from_f64(q + 1.0) } else { T::ZERO };
                    t[(i, j)] = (one - m[(i, j)]) / T::from_f64(q);
                }
            }
            dense::gemm(u.as_mut(), T::ONE, x.as_ref(), t.as_ref(), T::ZERO, par);
            core::mem::swap(x, u);
            multiply_by_power(m, t, u, p, par);
            dense::symmetrize(m.as_mut());
            residual = distance_from_identity(m.as_ref());
        }
        Err(stalled())
    }
}

/// `m <- t^p m`, by squaring; `t` and `u` are used up.
fn multiply_by_power<T: Scalar>(m: &mut Mat<T>, t: &mut Mat<T>, u: &mut Mat<T>, mut p: u32, par: Par) {
    loop {
        if p & 1 == 1 {
            dense::gemm(u.as_mut(), T::ONE, t.as_ref(), m.as_ref(), T::ZERO, par);
            core::mem::swap(m, u);
        }
        p >>= 1;
        if p == 0 {
            return;
        }
        dense::gemm(u.as_mut(), T::ONE, t.as_ref(), t.as_ref(), T::ZERO, par);
        core::mem::swap(t, u);
    }
}

fn distance_from_identity<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let mut most = 0.0_f64;
    for j in 0..m.ncols() {
        for i in 0..m.nrows() {
            let one = if i == j { 1.0 } else { 0.0 };
            let d = (m[(i, j)].to_f64() - one).abs();
            most = if d.is_nan() { f64::NAN } else { most.max(d) };
        }
    }
    most
}

/// `f >= 0` of the symmetric matrix in `a`, which is used up, into `out`; `vectors` is scratch. `f` is given the
/// least and the largest eigenvalue too.
pub(crate) fn spectral_into<T: Scalar>(
    tools: &Decompositions<T>,
    work: &mut FactorWork<T>,
    mut a: MatMut<'_, T>,
    values: &mut [T],
    mut vectors: MatMut<'_, T>,
    mut out: MatMut<'_, T>,
    f: impl Fn(T, T, T) -> T,
    par: Par,
) -> Result<(), Error> {
    eigenpairs(tools, work, a.as_mut(), values, vectors.as_mut(), out.as_mut())?;
    let (least, largest) = match (values.first(), values.last()) {
        (Some(&least), Some(&largest)) => (least, largest),
        _ => return Ok(()),
    };
    // Half of each value to either side: a symmetric product.
    for (j, &l) in values.iter().enumerate() {
        dense::scale(vectors.as_mut().subcols_mut(j, 1), f(l, least, largest).sqrt());
    }
    dense::syrk(out.as_mut(), T::ONE, vectors.as_ref(), T::ZERO, par);
    dense::mirror_lower(out);
    Ok(())
}

/// Eigenpairs of `a + eps I`.
pub(crate) fn eigh_shifted<T: Scalar>(a: MatRef<'_, T>, eps: f64) -> Result<Eigh<T>, Error> {
    let mut shifted = a.to_owned();
    add_to_diagonal(shifted.as_mut(), T::from_f64(eps));
    Ok(dense::eigh(shifted.as_ref())?)
}

pub(crate) fn add_to_diagonal<T: Scalar>(mut a: MatMut<'_, T>, x: T) {
    for i in 0..a.nrows() {
        a[(i, i)] += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A symmetric matrix with these eigenvalues.
    fn spread(values: &[f64]) -> Mat<f64> {
        let n = values.len();
        let g = Mat::from_fn(n, n, |i, j| (1.0 + 2.3 * i as f64 + 0.7 * (i * j) as f64 + j as f64).sin());
        let q = dense::qr(g.as_ref()).unwrap().q;
        let e = Eigh { values: values.to_vec(), vectors: q };
        dense::apply_spectral(&e, |l| l, Par::Seq)
    }

    fn power(a: &Mat<f64>, p: u32) -> Mat<f64> {
        (1..p).fold(a.clone(), |acc, _| &acc * a)
    }

    fn log_spaced(n: usize, condition: f64) -> Vec<f64> {
        (0..n).map(|i| condition.powf(-(i as f64) / (n - 1) as f64)).collect()
    }

    #[test]
    fn newton_takes_the_published_number_of_steps() {
        let easy = spread(&log_spaced(12, 1e4));
        for (p, steps) in [(1, 18), (2, 16), (3, 15), (4, 14)] {
            let found = newton_root(easy.as_ref(), p, 1e-10, 100, Par::Seq).unwrap();
            assert!(found.iterations.abs_diff(steps) <= 1, "p {p}: {}", found.iterations);
            let product = &power(&found.root, p) * &easy;
            assert!(distance_from_identity(product.as_ref()) < 1e-9, "p {p}");
        }
        let hard = spread(&log_spaced(12, 1e10));
        // The inverse itself is known to condition times machine epsilon, its fourth root better.
        for (p, tolerance) in [(1, 5e-6), (4, 3e-7)] {
            let found = newton_root(hard.as_ref(), p, 1e-6, 100, Par::Seq).unwrap();
            assert!((27..=40).contains(&found.iterations), "p {p}: {}", found.iterations);
            let exact = inverse_root(hard.as_ref(), 1.0 / f64::from(p), 0.0, Par::Seq).unwrap();
            let error = (&found.root - &exact).norm_l2() / exact.norm_l2();
            assert!(error < tolerance, "p {p}: {error}");
        }
    }

    #[test]
    fn newton_reports_what_it_cannot_do() {
        let singular = spread(&[1.0, 0.5, 0.0]);
        assert!(newton_root(singular.as_ref(), 2, 1e-8, 100, Par::Seq).is_err());
        assert!(newton_root(Mat::<f64>::zeros(3, 3).as_ref(), 2, 1e-8, 100, Par::Seq).is_err());
        assert!(newton_root(Mat::<f64>::zeros(3, 2).as_ref(), 2, 1e-8, 100, Par::Seq).is_err());
        assert!(newton_root(singular.as_ref(), 0, 1e-8, 100, Par::Seq).is_err());
        let bad = Mat::from_fn(2, 2, |_, _| f64::NAN);
        assert!(newton_root(bad.as_ref(), 2, 1e-8, 100, Par::Seq).is_err());
    }

    #[test]
    fn three_engines_agree() {
        let a = spread(&[3.0, 1.0, 0.2, 0.05]);
        let by_eigh = inverse_root(a.as_ref(), 0.25, 0.0, Par::Seq).unwrap();
        let by_newton = newton_root(a.as_ref(), 4, 1e-13, 100, Par::Seq).unwrap().root;
        let by_pseudo = pseudo_inverse_root(a.as_ref(), 0.25, None, 0.0, Par::Seq).unwrap();
        assert!((&by_eigh - &by_newton).norm_l2() < 1e-11);
        assert!((&by_eigh - &by_pseudo).norm_l2() < 1e-13);
    }

    #[test]
    fn negative_eigenvalues_are_lifted_and_small_ones_cut() {
        let a = spread(&[1.0, -1e-9]);
        let lifted = inverse_root(a.as_ref(), 0.5, 1e-6, Par::Seq).unwrap();
        let e = dense::eigvalsh(lifted.as_ref()).unwrap();
        // The least eigenvalue becomes eps: its inverse root is 1000.
        assert!((e[1] - 1e3).abs() < 1e-3, "{e:?}");
        let cut = pseudo_inverse_root(a.as_ref(), 0.5, None, 0.0, Par::Seq).unwrap();
        let e = dense::eigvalsh(cut.as_ref()).unwrap();
        assert!(e[0].abs() < 1e-12 && (e[1] - 1.0).abs() < 1e-12, "{e:?}");
    }
}
