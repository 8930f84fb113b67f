//! Choosing how to invert, and saying what was chosen.
//!
//! Order: a rule of the structure; else a dense factorisation against an iteration, whichever costs fewer flops for the
//! number of right-hand sides expected, the dense one only within the limits of size and memory. The iteration follows
//! from what is **known**: CG if PD, MINRES if self-adjoint, GMRES(30) if square, LSMR if rectangular. Nothing is run
//! whose precondition is only hoped for; `assume` is the way to say more.

use crate::dispatch::{Cx, Limits};
use crate::krylov::{IterativeInverse, Method};
use crate::ops::Factored;
use crate::{Error, LinearOperator, Op, Props};
use core::fmt;
use numerics::{Par, Scalar};
use std::sync::Mutex;

use super::rules::inverse_in;

/// How a solve is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Entry by entry: scalars and diagonals.
    Elementwise,
    /// The transpose: permutations, orthogonal operators.
    Transpose,
    /// Forward or backward substitution.
    Substitution,
    /// The inverse of an inverse: its operand.
    Operand,
    /// The reversed product of the factors' inverses.
    Product,
    /// Factor by factor.
    Kronecker,
    /// Block by block.
    Blockwise,
    /// Through eigenvalues.
    Eigendecomposition,
    /// A low-rank correction of the base's inverse.
    Woodbury,
    /// Two generalised eigenproblems.
    TwoTermKronecker,
    /// A 2 x 2 grid through the complement of its first block.
    SchurComplement,
    /// Dense Cholesky.
    Cholesky,
    /// Dense Bunch-Kaufman.
    BunchKaufman,
    /// Dense LU.
    Lu,
    /// Conjugate gradients.
    Cg,
    /// MINRES.
    Minres,
    /// GMRES(30).
    Gmres,
    /// LSMR.
    Lsmr,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Elementwise => "elementwise",
            Algorithm::Transpose => "transpose",
            Algorithm::Substitution => "substitution",
            Algorithm::Operand => "operand of the inverse",
            Algorithm::Product => "reversed product",
            Algorithm::Kronecker => "Kronecker factors",
            Algorithm::Blockwise => "block by block",
            Algorithm::Eigendecomposition => "eigendecomposition",
            Algorithm::Woodbury => "Woodbury",
            Algorithm::TwoTermKronecker => "two-term Kronecker",
            Algorithm::SchurComplement => "Schur complement",
            Algorithm::Cholesky => "Cholesky",
            Algorithm::BunchKaufman => "Bunch-Kaufman",
            Algorithm::Lu => "LU",
            Algorithm::Cg => "CG",
            Algorithm::Minres => "MINRES",
            Algorithm::Gmres => "GMRES(30)",
            Algorithm::Lsmr => "LSMR",
        })
    }
}

/// One decision: how an operator, or a part of one, is inverted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// How deep the part lies in the whole; 0 is the whole.
    pub depth: usize,
    /// Rows and columns of the part.
    pub shape: (usize, usize),
    /// What is done.
    pub algorithm: Algorithm,
    /// Why.
    pub reason: &'static str,
    /// Estimated flops of a dense factorisation with its setup and solves, where it was weighed.
    pub dense_flops: Option<f64>,
    /// Estimated flops of the iteration, where it was weighed.
    pub iterative_flops: Option<f64>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (indent, (m, n)) = (2 * self.depth, self.shape);
        write!(f, "{:indent$}{m} x {n}: {} ({})", "", self.algorithm, self.reason)?;
        if let (Some(d), Some(i)) = (self.dense_flops, self.iterative_flops) {
            write!(f, "; dense {d:.2e} flops, iterative {i:.2e}")?;
        }
        Ok(())
    }
}

/// Decisions on their way into a report.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Choice>>);

impl Log {
    pub(crate) fn push(&self, choice: Choice) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(choice);
    }

    fn into_choices(self) -> Vec<Choice> {
        let mut all = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A part reports before its whole does; the reader wants the whole first.
        all.reverse();
        all
    }
}

/// What [`solver`] is to assume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoOptions {
    /// How far dense copies may go.
    pub limits: Limits,
    /// Right-hand sides expected in all, over the life of the inverse.
    pub columns: usize,
    /// Iterations per right-hand side to reckon with, at most the size.
    pub iterations: usize,
}

impl Default for AutoOptions {
    fn default() -> Self {
        AutoOptions { limits: Limits::default(), columns: 1, iterations: 200 }
    }
}

/// What [`solver`] decided, the whole first, its parts after it.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoReport {
    /// One entry per operator that had to be inverted.
    pub choices: Vec<Choice>,
}

impl AutoReport {
    /// What is done with the whole.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.choices.first().map(|c| c.algorithm)
    }
}

impl fmt::Display for AutoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.choices.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(c, f)?;
        }
        Ok(())
    }
}

/// The inverse (for a rectangle: the pseudo-inverse, by least squares) in the cheapest way that is known to be right.
///
/// ```
/// use linop_core::inverse::{Algorithm, AutoOptions, solver};
/// use linop_core::{Op, Props, ops::ClosureOp};
/// use numerics::Par;
/// // Nothing is known but products and definiteness: conjugate gradients.
/// let laplacian = ClosureOp::new(5000, 5000, |mut out, x| {
///     for j in 0..x.ncols() {
///         for i in 0..5000 {
///             let at = |k: usize| if k < 5000 { x[(k, j)] } else { 0.0 };
///             out[(i, j)] = 2.5 * at(i) - at(i.wrapping_sub(1)) - at(i + 1);
///         }
///     }
///     Ok(())
/// });
/// let a = Op::new(laplacian.with_props(Props::PD));
/// let (inverse, report) = solver(&a, &AutoOptions::default(), Par::Seq)?;
/// assert_eq!(report.algorithm(), Some(Algorithm::Cg));
/// // A Kronecker product of it with a diagonal is inverted factor by factor.
/// let (_, report) = solver(&a.kron(&Op::diag(vec![1.0, 2.0]))?, &AutoOptions::default(), Par::Seq)?;
/// assert_eq!(report.algorithm(), Some(Algorithm::Kronecker));
/// println!("{report}");
/// # let _ = inverse;
/// # Ok::<(), linop_core::Error>(())
/// ```
///
/// # Errors
/// As [`inverse`](super::inverse); `MissingProperty` never, because every fallback needs only what is known.
pub fn solver<T: Scalar>(a: &Op<T>, options: &AutoOptions, par: Par) -> Result<(Op<T>, AutoReport), Error> {
    let log = Log::default();
    let cx = Cx::new(options.limits, par).weighing(options, &log);
    let inverse = if a.nrows() == a.ncols() {
        inverse_in(a, &cx)?
    } else {
        let iterative = iterative_flops(a, 2 * options.iterations, options.columns);
        cx.deeper().note(a, Algorithm::Lsmr, "rectangular: least squares", f64::NAN, iterative);
        Op::new(IterativeInverse::new(a.clone(), Method::Lsmr)?)
    };
    Ok((inverse, AutoReport { choices: log.into_choices() }))
}

/// Flops of `iterations` products for every right-hand side.
fn iterative_flops<T: Scalar>(a: &Op<T>, iterations: usize, columns: usize) -> f64 {
    a.cost(1).flops * iterations.min(a.ncols()) as f64 * columns as f64
}

/// Where no rule helps: a dense factorisation or an iteration.
pub(super) fn dense_or_iterative<T: Scalar>(a: &Op<T>, n: usize, cx: &Cx) -> Result<Op<T>, Error> {
    let size = n as f64;
    let stored = matches!(a.kind(), crate::Kind::Dense(_));
    let (columns, iterations) = cx.weights.unwrap_or((1, 200));
    let copy = if stored { 0.0 } else { a.cost(64).flops * (size / 64.0).ceil() };
    let dense = size.powi(3) / 3.0 + copy + 2.0 * size * size * columns as f64;
    let iterative = iterative_flops(a, iterations, columns);
    let small = cx.fits(n);
    let chosen = if small && (cx.weights.is_none() || dense <= iterative) { exact(a, cx) } else { iterate(a) };
    let (algorithm, reason) = match chosen.as_ref().map(|op| op.kind()) {
        Ok(crate::Kind::Factored(f)) => (
            match f.algorithm() {
                "llt" => Algorithm::Cholesky,
                "lblt" => Algorithm::BunchKaufman,
                _ => Algorithm::Lu,
            },
            "no rule, small enough to factor",
        ),
        Ok(crate::Kind::IterativeInverse(i)) => (
            match i.method() {
                Method::Cg => Algorithm::Cg,
                Method::Minres => Algorithm::Minres,
                _ => Algorithm::Gmres,
            },
            if small { "no rule, cheaper than factoring" } else { "no rule, too large to factor" },
        ),
        _ => return chosen,
    };
    cx.note(a, algorithm, reason, dense, iterative);
    chosen
}

/// The inverse by a dense factorisation.
pub(super) fn exact<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Op<T>, Error> {
    let mat = cx.dense("inverse", a)?;
    Ok(Op::new(Factored::new(a.clone(), mat.as_ref(), cx.par)?))
}

/// The inverse by the iteration that needs only what is known.
fn iterate<T: Scalar>(a: &Op<T>) -> Result<Op<T>, Error> {
    let facts = a.props();
    let method = if facts.contains(Props::PD) {
        Method::Cg
    } else if facts.contains(Props::SELF_ADJOINT) {
        Method::Minres
    } else {
        Method::Gmres
    };
    Ok(Op::new(IterativeInverse::new(a.clone(), method)?))
}
