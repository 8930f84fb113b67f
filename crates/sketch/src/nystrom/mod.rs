//! Nystrom approximations of positive semidefinite operators, `A_hat = U diag(values) U^T` from l products.
//!
//! Source: arXiv:2110.02820. With orthonormal Gaussian probes and a shift of `eps |Y|_F` that is removed from the
//! values again, `A_hat Omega = A Omega` and `0 <= A_hat <= A`. With `Y = Q R` and the Cholesky factor C of the shifted core, the SVD of
//! the small `R C^-1` gives the rest. Cost beside the products: `10 n l^2` flops and that SVD.

mod precond;
mod solve;

pub use precond::NystromPrecond;
pub use solve::{AdaptiveNystrom, NystromSolution, nystrom_adaptive, nystrom_solve};

use crate::products::{Products, Wide};
use crate::{Error, Settings, la};
use linop_core::{LinearOperator, ops::LowRank};
use numerics::dense::{self, Diag, TallQr, Triangle};
use numerics::rng::{Law, Role};
use numerics::{Mat, MatRef, Par, Scalar};

/// How the core is factored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NystromVariant {
    /// Orthonormal probes, shift removed: accurate to rounding.
    #[default]
    Stable,
    /// Plain Gaussian probes, one Cholesky factorisation, and the shift stays in the values. Loses about four digits; kept
    /// for the comparison with arXiv:2505.12149, where it is the fast form on a GPU.
    CholeskyOnly,
}

/// `U diag(values) U^T` with orthonormal U and values descending.
///
/// `n x n` of rank r. Source: arXiv:2110.02820.
#[derive(Clone, Debug)]
pub struct Nystrom {
    /// Orthonormal eigenvectors, `n x r`.
    pub u: Mat<f64>,
    /// Eigenvalues, not negative, descending.
    pub values: Vec<f64>,
    /// The shift that was used. Values below ten times it may be rounding noise.
    pub shift: f64,
    /// Products spent.
    pub products: usize,
}

impl Nystrom {
    /// The approximation as an operator.
    ///
    /// An `n x n` operator. Cost: a copy of U.
    ///
    /// # Errors
    /// Only if the sizes of the public fields were changed to disagree.
    pub fn operator<T: Scalar>(&self) -> Result<LowRank<T>, Error> {
        let r = self.values.len();
        let core = Mat::from_fn(r, r, |i, j| if i == j { T::from_f64(self.values[i]) } else { T::ZERO });
        let u = Mat::from_fn(self.u.nrows(), r, |i, j| T::from_f64(self.u[(i, j)]));
        Ok(LowRank::new(u, Some(core), None)?)
    }

    /// The number of values that stand out of the shift.
    pub fn rank(&self) -> usize {
        self.values.iter().filter(|&&v| v > 10.0 * self.shift).count()
    }
}

/// The Nystrom approximation with `l` probes.
///
/// A is `n x n` and positive semidefinite. Cost: l products, `10 n l^2` flops and `3 n l` numbers. Source: arXiv:2110.02820,
/// algorithm 2.1; for the variant without a shift removed, arXiv:2505.12149.
///
/// ```
/// use linop_core::ops::Diagonal;
/// use sketch::{NystromVariant, Settings, nystrom};
/// let a = Diagonal::new((1..=50).map(|j| 1.0 / f64::from(j * j)).collect());
/// let low = nystrom(&a, 20, NystromVariant::Stable, &Settings::default())?;
/// assert!((low.values[0] - 1.0).abs() < 1e-2 && low.products == 20);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `TooManyProbes`, `SketchTooSmall`, `NotPsd`, `NonFinite`, `Interrupted`.
pub fn nystrom<T: Scalar>(
    a: &dyn LinearOperator<T>,
    l: usize,
    variant: NystromVariant,
    settings: &Settings<'_>,
) -> Result<Nystrom, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "nystrom", settings);
    let n = products.square()?;
    crate::loo::check_probes(products.op, l, n)?;
    products.plan(l);
    let omega = probes(n, 0..l, variant, settings)?;
    let y = products.apply(omega.as_ref())?;
    factor(products.op, omega.as_ref(), y, variant, settings.par)
}

pub(crate) fn probes(
    n: usize,
    range: std::ops::Range<usize>,
    variant: NystromVariant,
    settings: &Settings<'_>,
) -> Result<Mat<f64>, Error> {
    let probe = crate::Probe { law: Law::Gaussian, seed: settings.seed, role: Role::Nystrom };
    let raw = probe.columns_on(n, range, settings.par);
    match variant {
        NystromVariant::Stable => la::orth_random(raw, settings.par),
        NystromVariant::CholeskyOnly => Ok(raw),
    }
}

/// From probes and their products.
pub(crate) fn factor(
    op: &'static str,
    omega: MatRef<'_, f64>,
    y: Mat<f64>,
    variant: NystromVariant,
    par: Par,
) -> Result<Nystrom, Error> {
    const TRIES: usize = 8;
    let (n, l) = (y.nrows(), y.ncols());
    let size = dense::norm_l2(y.as_ref());
    if size == 0.0 {
        return Ok(Nystrom { u: Mat::zeros(n, 0), values: Vec::new(), shift: 0.0, products: l });
    }
    let plain = la::symmetric_core(omega, y.as_ref(), par);
    let gram = match variant {
        NystromVariant::Stable => Mat::identity(l, l),
        NystromVariant::CholeskyOnly => la::gram(omega, par),
    };
    let mut shift = f64::EPSILON * size;
    for attempt in 0..TRIES {
        let mut h = plain.clone();
        dense::axpy(h.as_mut(), shift, gram.as_ref());
        match dense::Llt::new(h.as_ref(), par) {
            Ok(llt) => {
                let mut shifted = y;
                dense::axpy(shifted.as_mut(), shift, omega);
                // B = Q R C^-1 with Y_shifted = Q R and H = C^T C, C = L^T
                let qr = TallQr::of(shifted, par)?;
                let mut small = qr.r().transpose().to_owned();
                dense::trsm(Triangle::Lower, Diag::NonUnit, llt.l(), small.as_mut(), par);
                let f = dense::svd(small.transpose())?;
                let kept = if variant == NystromVariant::Stable { shift } else { 0.0 };
                let values = f.s.iter().map(|s| (s * s - kept).max(0.0)).collect();
                return Ok(Nystrom { u: qr.q_times(f.u.as_ref(), par), values, shift, products: l });
            }
            Err(numerics::Error::NotPositiveDefinite { .. }) => {
                if attempt == 0 {
                    check_psd(op, plain.as_ref())?;
                }
                shift *= 10.0;
            }
            Err(e) => return Err(e.into()),
        }
    }
    by_eigenvalues(plain.as_ref(), y.as_ref(), par)
}

/// An indefinite core proves that the operator is not positive semidefinite.
fn check_psd(op: &'static str, h: MatRef<'_, f64>) -> Result<(), Error> {
    let values = dense::eigvalsh(h)?;
    let (low, high) = (values[0], values[values.len() - 1]);
    if low < -10.0 * values.len() as f64 * f64::EPSILON * high {
        return Err(Error::NotPsd { op, value: low });
    }
    Ok(())
}

/// Without a shift: the core is inverted on its eigenvalues above rounding.
fn by_eigenvalues(h: MatRef<'_, f64>, y: MatRef<'_, f64>, par: Par) -> Result<Nystrom, Error> {
    let k = h.nrows();
    let e = dense::eigh(h)?;
    let top = e.values[k - 1].max(e.values[0].abs());
    let kept: Vec<usize> = (0..k).filter(|&j| e.values[j] > k as f64 * f64::EPSILON * top).collect();
    let root: Vec<f64> = kept.iter().map(|&j| e.values[j].sqrt().recip()).collect();
    let l = la::scale_cols(la::permute_cols(e.vectors.as_ref(), &kept).as_ref(), &root);
    let f = dense::svd(la::mul(y, l.as_ref(), par).as_ref())?;
    let values = f.s.iter().map(|s| s * s).collect();
    Ok(Nystrom { u: f.u, values, shift: 0.0, products: y.ncols() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use linop_core::testing::fixed_mat;

    fn full(low: &Nystrom) -> Mat<f64> {
        la::mul_nt(la::scale_cols(low.u.as_ref(), &low.values).as_ref(), low.u.as_ref(), Par::Seq)
    }

    fn gap(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
        dense::norm_l2(Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - b[(i, j)]).as_ref())
            / dense::norm_l2(b.as_ref())
    }

    /// Only the space that the probes span matters.
    #[test]
    fn invariant_under_a_change_of_basis_of_the_probes() {
        let (n, l) = (60, 12);
        let f = fixed_mat::<f64>(n, n, 1);
        let a = la::mul_nt(f.as_ref(), f.as_ref(), Par::Seq);
        let omega = probes(n, 0..l, NystromVariant::Stable, &Settings::seeded(3)).unwrap();
        let turn = la::orth(fixed_mat::<f64>(l, l, 2), Par::Seq).unwrap();
        let other = la::mul(omega.as_ref(), turn.as_ref(), Par::Seq);
        let run = |omega: &Mat<f64>| {
            let y = la::mul(a.as_ref(), omega.as_ref(), Par::Seq);
            factor("test", omega.as_ref(), y, NystromVariant::Stable, Par::Seq).unwrap()
        };
        assert!(gap(&full(&run(&other)), &full(&run(&omega))) < 1e-10);
    }

    /// The route without a shift, where probes repeat.
    #[test]
    fn repeated_probes_change_nothing() {
        let (n, l) = (40, 6);
        let f = fixed_mat::<f64>(n, n, 4);
        let a = la::mul_nt(f.as_ref(), f.as_ref(), Par::Seq);
        let omega = probes(n, 0..l, NystromVariant::CholeskyOnly, &Settings::seeded(5)).unwrap();
        let twice = la::hcat(omega.as_ref(), omega.as_ref());
        let by = |omega: &Mat<f64>| {
            let y = la::mul(a.as_ref(), omega.as_ref(), Par::Seq);
            let h = la::symmetric_core(omega.as_ref(), y.as_ref(), Par::Seq);
            by_eigenvalues(h.as_ref(), y.as_ref(), Par::Seq).unwrap()
        };
        let (once, again) = (by(&omega), by(&twice));
        assert_eq!(again.values.len(), l);
        assert!(gap(&full(&again), &full(&once)) < 1e-9);
    }
}
