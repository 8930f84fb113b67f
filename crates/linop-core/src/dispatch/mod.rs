//! Structural rules: solves, determinants, traces, spectra and norms that use what an operator is made of.
//!
//! Every rule matches on [`crate::Kind`]. Where none applies, operators of size up to [`Limits::dense`] are made dense;
//! above it traces, diagonals and determinants answer [`Error::NeedsEstimate`] and solves [`Error::Unsupported`], for
//! the callers that have estimators and iterative solvers.

mod function;
mod inverse;
mod norm;
mod slogdet;
mod spectrum;
mod trace;

pub use function::{exp, log, power};
pub use inverse::inverse;
pub use norm::frobenius_sq;
pub use slogdet::slogdet;
pub use spectrum::eigh;
pub use trace::{diagonal, trace};

use crate::ops::Eigh;
use crate::{Error, Kind, LinearOperator, Op, Props, to_dense};
use numerics::{Mat, Par, Scalar};

/// How far the dense fallback goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of rows or columns that is made dense.
    pub dense: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { dense: 2048 }
    }
}

/// What every rule carries along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx {
    pub(crate) limits: Limits,
    pub(crate) par: Par,
}

impl Cx {
    pub(crate) fn fits(&self, n: usize) -> bool {
        n <= self.limits.dense
    }

    pub(crate) fn dense<T: Scalar>(&self, op: &'static str, a: &Op<T>) -> Result<Mat<T>, Error> {
        let n = a.nrows().max(a.ncols());
        if self.fits(n) { to_dense(a, self.par) } else { Err(Error::NeedsEstimate { op, n }) }
    }
}

pub(crate) fn square<T: Scalar>(op: &'static str, a: &Op<T>) -> Result<usize, Error> {
    crate::ops::require_square(op, a)
}

impl<T: Scalar> Op<T> {
    /// Sign and log absolute determinant; `(0, -inf)` for a singular operator, `(1, 0)` for an empty one.
    ///
    /// ```
    /// use linop_core::Op;
    /// use numerics::Par;
    /// let a = Op::diag(vec![2.0_f64, -3.0]);
    /// let (sign, log) = a.kron(&a)?.slogdet(Par::Seq)?;
    /// assert_eq!(sign, 1.0);
    /// assert!((log - 4.0 * 6.0_f64.ln()).abs() < 1e-14);
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    pub fn slogdet(&self, par: Par) -> Result<(T, T), Error> {
        slogdet(self, Limits::default(), par)
    }

    /// The trace.
    pub fn trace(&self, par: Par) -> Result<T, Error> {
        trace(self, Limits::default(), par)
    }

    /// The diagonal.
    pub fn diagonal(&self, par: Par) -> Result<Vec<T>, Error> {
        diagonal(self, Limits::default(), par)
    }

    /// The inverse by structure or by a dense factorisation.
    pub fn inverse(&self, par: Par) -> Result<Op<T>, Error> {
        inverse(self, Limits::default(), par)
    }

    /// Eigenvalues and eigenvectors of an operator known to be self-adjoint, in the order of its structure.
    pub fn eigh(&self, par: Par) -> Result<Eigh<T>, Error> {
        eigh(self, Limits::default(), par)
    }

    /// `A^p` of an operator known to be self-adjoint (PSD unless p is an integer).
    pub fn power(&self, p: f64, par: Par) -> Result<Op<T>, Error> {
        power(self, p, Limits::default(), par)
    }

    /// The principal q-th root `A^(1/q)`; negative q gives inverse roots.
    pub fn root(&self, q: f64, par: Par) -> Result<Op<T>, Error> {
        power(self, 1.0 / q, Limits::default(), par)
    }

    /// The matrix exponential.
    pub fn exp(&self, par: Par) -> Result<Op<T>, Error> {
        exp(self, Limits::default(), par)
    }

    /// The matrix logarithm of an operator known to be positive definite.
    pub fn log(&self, par: Par) -> Result<Op<T>, Error> {
        log(self, Limits::default(), par)
    }

    /// The squared Frobenius norm.
    pub fn frobenius_sq(&self, par: Par) -> Result<T, Error> {
        frobenius_sq(self, Limits::default(), par)
    }

    /// Whether a solve by structure exists that needs no dense copy of the whole.
    pub fn has_solve(&self) -> bool {
        if self.nrows() != self.ncols() {
            return false;
        }
        let all = |ops: &[Op<T>]| ops.iter().all(Op::has_solve);
        match self.kind() {
            Kind::ScalarIdentity(c) => c.factor() != T::ZERO,
            Kind::Diagonal(d) => d.values().iter().all(|&x| x != T::ZERO),
            Kind::Permutation(_) | Kind::Orthogonal(_) | Kind::Factored(_) | Kind::TriangularInverse(_) => true,
            Kind::Triangular(_) | Kind::Dense(_) => true,
            Kind::Eigh(e) => e.values().iter().all(|&x| x != T::ZERO),
            Kind::Kronecker(k) => all(k.factors()),
            Kind::BlockDiag(b) => all(b.blocks()),
            Kind::Chain(c) => all(c.factors()),
            Kind::Scaled(s) => s.inner().has_solve(),
            Kind::Transposed(t) => t.inner().has_solve(),
            Kind::Shifted(s) => spectrum::has_rule(s.inner()),
            Kind::KroneckerSum(k) => {
                let (a, b) = k.parts();
                (a.props() & b.props()).contains(Props::SELF_ADJOINT)
            }
            Kind::LowRankPlusDiag(l) => l.diagonal_part().iter().all(|&x| x != T::ZERO),
            Kind::LowRankUpdate(l) => l.base().has_solve(),
            _ => false,
        }
    }
}
