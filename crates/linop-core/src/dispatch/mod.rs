//! Structural rules: solves, determinants, traces, spectra and norms that use what an operator is made of.
//!
//! Every rule matches on [`crate::Kind`]. Where none applies, operators of size up to [`Limits::dense`] are made dense;
//! above it traces, diagonals and determinants answer [`Error::NeedsEstimate`], for the callers that have estimators,
//! and solves become iterations. The inverse column has a module of its own, [`crate::inverse`].

mod eigenvalues;
mod function;
mod inner;
mod norm;
mod slogdet;
mod spectrum;
mod trace;

pub use crate::inverse::inverse;
pub use eigenvalues::eigenvalues;
pub use function::{exp, log, power};
pub use norm::frobenius_sq;
pub use slogdet::slogdet;
pub use spectrum::eigh;
pub use trace::{diagonal, trace};

pub(crate) use slogdet::of_values;
pub(crate) use spectrum::{eigh_in, has_rule, outer};

use crate::inverse::{Algorithm, AutoOptions, Choice, Log};
use crate::ops::Eigh;
use crate::{Error, Kind, LinearOperator, Op, Props, op::to_dense_within};
use numerics::{Mat, Par, Scalar};

/// How far the dense fallback goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of rows or columns that is made dense.
    pub dense: usize,
    /// Largest number of bytes of a dense copy.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { dense: 2048, memory: Limits::MEMORY }
    }
}

impl Limits {
    /// The default cap of dense copies: 1 GiB.
    pub const MEMORY: usize = 1 << 30;

    /// Dense copies of at most this size, within the default memory.
    pub fn dense(dense: usize) -> Self {
        Limits { dense, ..Limits::default() }
    }
}

/// What every rule carries along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) limits: Limits,
    pub(crate) par: Par,
    /// Right-hand sides and iterations to weigh by; without them whatever fits is factored.
    pub(crate) weights: Option<(usize, usize)>,
    log: Option<&'a Log>,
    /// Inverses within inverses so far.
    depth: usize,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(limits: Limits, par: Par) -> Self {
        Cx { limits, par, weights: None, log: None, depth: 0 }
    }

    /// Weighs costs and keeps a log.
    pub(crate) fn weighing(self, options: &AutoOptions, log: &'a Log) -> Self {
        Cx { weights: Some((options.columns, options.iterations)), log: Some(log), ..self }
    }

    /// One inverse further in.
    pub(crate) fn deeper(&self) -> Self {
        Cx { depth: self.depth + 1, ..*self }
    }

    /// Without log, for parts that are no decision of their own.
    pub(crate) fn quiet(&self) -> Self {
        Cx { log: None, ..*self }
    }

    /// Logs a decision; costs that were not estimated are NaN.
    pub(crate) fn note<T: Scalar>(
        &self,
        a: &Op<T>,
        algorithm: Algorithm,
        reason: &'static str,
        dense: f64,
        iterative: f64,
    ) {
        let known = |x: f64| (!x.is_nan()).then_some(x);
        if let Some(log) = self.log {
            log.push(Choice {
                depth: self.depth.saturating_sub(1),
                shape: (a.nrows(), a.ncols()),
                algorithm,
                reason,
                dense_flops: known(dense),
                iterative_flops: known(iterative),
            });
        }
    }

    pub(crate) fn fits(&self, n: usize) -> bool {
        n <= self.limits.dense && n.saturating_mul(n).saturating_mul(8) <= self.limits.memory
    }

    pub(crate) fn dense<T: Scalar>(&self, op: &'static str, a: &Op<T>) -> Result<Mat<T>, Error> {
        let n = a.nrows().max(a.ncols());
        if n > self.limits.dense {
            return Err(Error::NeedsEstimate { op, n });
        }
        to_dense_within(a, self.limits.memory, self.par)
    }
}

/// `f` of every operator, once for handles that occur again.
pub(crate) fn each_once<T: Scalar, U: Clone>(
    ops: &[Op<T>],
    mut f: impl FnMut(&Op<T>) -> Result<U, Error>,
) -> Result<Vec<U>, Error> {
    let mut out: Vec<U> = Vec::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        let seen = ops[..i].iter().position(|other| other.same(op)).map(|j| out[j].clone());
        out.push(match seen {
            Some(value) => value,
            None => f(op)?,
        });
    }
    Ok(out)
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

    /// The determinant of an operator of size up to 64; larger ones overflow too easily: use
    /// [`slogdet`](Self::slogdet).
    pub fn det(&self, par: Par) -> Result<T, Error> {
        const LIMIT: usize = 64;
        if self.nrows() > LIMIT {
            let what = format!("size {} is above {LIMIT}; use slogdet", self.nrows());
            return Err(Error::InvalidArgument { op: "det", what });
        }
        let (sign, log) = self.slogdet(par)?;
        Ok(sign * log.exp())
    }

    /// The trace.
    pub fn trace(&self, par: Par) -> Result<T, Error> {
        trace(self, Limits::default(), par)
    }

    /// The diagonal.
    pub fn diagonal(&self, par: Par) -> Result<Vec<T>, Error> {
        diagonal(self, Limits::default(), par)
    }

    /// The inverse by structure, by a dense factorisation, or for large operators without structure by iteration.
    ///
    /// ```
    /// use linop_core::{Op, Kind};
    /// use numerics::{Mat, Par};
    /// let low = Op::new(linop_core::ops::LowRank::gram(Mat::from_fn(1000, 2, |i, j| ((i + j) % 3) as f64)));
    /// let a = low.shifted(0.5)?; // diagonal plus low rank: Woodbury
    /// let inverse = a.inverse(Par::Seq)?;
    /// assert!(matches!(inverse.kind(), Kind::LowRankSolve(_)));
    /// # use linop_core::LinearOperator;
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    pub fn inverse(&self, par: Par) -> Result<Op<T>, Error> {
        inverse(self, Limits::default(), par)
    }

    /// The pseudo-inverse, see [`pinv`](crate::inverse::pinv).
    pub fn pinv(&self, par: Par) -> Result<Op<T>, Error> {
        crate::inverse::pinv(self, None, Limits::default(), par)
    }

    /// All eigenvalues as (real, imaginary) pairs, in the order of the structure.
    pub fn eigenvalues(&self, par: Par) -> Result<Vec<(T, T)>, Error> {
        eigenvalues(self, Limits::default(), par)
    }

    /// Eigenvalues and eigenvectors of an operator known to be self-adjoint, in the order of its structure.
    pub fn eigh(&self, par: Par) -> Result<Eigh<T>, Error> {
        eigh(self, Limits::default(), par)
    }

    /// `A^p`; for a self-adjoint operator PSD unless p is an integer, for a general one without eigenvalues on the
    /// closed negative axis unless p is an integer.
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

    /// The principal logarithm of an operator without eigenvalues on the closed negative axis.
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
            Kind::Shifted(s) => has_rule(s.inner(), Limits::default().dense),
            Kind::KroneckerSum(k) => {
                let (a, b) = k.parts();
                (a.props() & b.props()).contains(Props::SELF_ADJOINT)
            }
            Kind::LowRankPlusDiag(l) => l.diagonal_part().iter().all(|&x| x != T::ZERO),
            Kind::LowRankUpdate(l) => l.base().has_solve(),
            Kind::LowRankSolve(_) => true,
            _ => false,
        }
    }
}
