//! Structure from matrix-vector products: traces, diagonals and norms with error bars, low-rank and
//! low-rank-plus-diagonal approximations with certificates, spectra.
//!
//! An operator is known by what it does to blocks of vectors. Every method says how many products it spent, draws its
//! random numbers from streams addressed by seed, role and column, and gives the same bits for any block width and
//! any number of threads. All computations run in double precision, whatever the operator's own.
//!
//! A mini-batch operator that changes from call to call breaks every formula here: fix the batch first.
//!
//! ```
//! use linop_core::{Op, ops::ClosureOp};
//! use sketch::{Settings, TraceMethod, Budget, trace};
//! let a: Op<f64> = Op::new(ClosureOp::new(100, 100, |mut out, x| {
//!     for j in 0..x.ncols() {
//!         for i in 0..100 {
//!             out[(i, j)] = x[(i, j)] / (1.0 + i as f64).powi(2);
//!         }
//!     }
//!     Ok(())
//! }));
//! let t = trace(&a, TraceMethod::XTrace { resphere: false }, Budget::Products(40), &Settings::seeded(1))?;
//! assert!((t.value - 1.635).abs() < 0.05 && t.sem.is_some());
//! # Ok::<(), sketch::Error>(())
//! ```
//!
//! # Which estimator when
//!
//! | wanted | known of the operator | take |
//! |---|---|---|
//! | trace | nothing | [`trace`] with [`TraceMethod::XTrace`]; where the spectrum decays slowly, sphere probes and `resphere` |
//! | | positive semidefinite | [`TraceMethod::XNysTrace`], half the products for the same basis |
//! | | hardly any decay, or nearly diagonal | [`TraceMethod::Hutchinson`]: a basis only costs |
//! | | one pass, products come as they please | [`TraceMethod::NaHutchPp`] |
//! | | an absolute error is prescribed, self-adjoint | [`TraceMethod::AdaptiveHutchPp`] |
//! | diagonal | has a transpose | [`diagonal`] with [`DiagonalMethod::XDiag`]; `extra` probes where memory is short |
//! | | positive semidefinite | [`DiagonalMethod::XNysDiag`] |
//! | | nearly diagonal, or no transpose | [`DiagonalMethod::Hutchinson`] |
//! | another diagonal, a triangle, a band | | [`sub_diagonal`], [`Masked`] |
//! | norms | | [`frobenius_sq`], [`spectral_norm`], [`row_norms_sq`], [`schatten_norm`]; bounds by [`norm_lower_bounds`], [`norm_upper_bound`] |
//! | `ln det`, `tr f(A)` | self-adjoint | [`logdet`], [`trace_function`]; [`trace_function_deflated`] where a few eigenvalues stand out |
//! | density of the eigenvalues | self-adjoint | [`spectral_density`]; over orders of magnitude, [`log_spectral_density`]; [`chebyshev_density`] where memory is short |
//! | singular triplets | fast decay | [`svd`] with [`Recovery::Hmt`]; in one pass, [`Recovery::TwoSketch`] |
//! | eigenpairs | fast decay | [`eigh`], the same; near a number, [`eigenpairs_near`]; exact ones at the ends, `linop_core::krylov::eigsh` |
//! | a basis of the range | fast decay | [`range_finder`]; to a tolerance, [`range_adaptive`] |
//! | | slow decay | [`range_krylov`] |
//! | low rank, `0 <= A_hat <= A` | positive semidefinite | [`nystrom`] |
//! | solution of `(A + mu I) x = b` | positive semidefinite | [`nystrom_solve`] |
//! | low rank plus diagonal, to solve, sample, take determinants | | [`sketch_lord_auto`], then [`Lord`] |
//! | how good any of these is | | [`certify`], with [`tail_bounds`] |
//! | a short sketch of data at hand | | [`SparseSigns`], [`Srht`], [`Ssrht`] |
//!
//! Estimators over all columns ([`trace`], [`diagonal`], [`frobenius_sq`], [`logdet`]) take what structure gives exactly, and estimate the
//! rest; those named `estimate_*` do not look. With enough products for every column the answer is exact and says so. Every mistake of a caller has its
//! own variant of [`Error`]; a NaN is reported with the number of the product that it came from.
#![forbid(unsafe_code)]

mod certify;
mod diagonal;
mod error;
mod la;
mod loo;
mod lord;
mod norms;
mod nystrom;
mod probe;
mod products;
mod range;
mod recovery;
mod settings;
mod special;
mod spectrum;
mod structure;
mod structured;
pub mod synthmat;
mod trace;
mod triangular;
mod watched;

pub use certify::{Certificate, Field, Scree, certify, error_norm, relative, scree, tail_bounds};
pub use diagonal::{DiagonalMethod, diagonal, diagonal_within, estimate_diagonal, sub_diagonal};
pub use error::Error;
pub use loo::RowBasis;
pub use lord::{
    AdmmOptions, Candidate, ColumnStream, DiagonalSource, Dual, Lord, LordChoice, LordOptions, LordReport,
    Measurements, Passes, ProximalOptions, Solver, diagonal_only, diagonal_then_low, fit_lord, low_only,
    low_then_diagonal, sketch_lord, sketch_lord_auto,
};
pub use norms::{
    RowNormMethod, estimate_frobenius_sq, frobenius_sq, norm_lower_bounds, norm_upper_bound, row_norms_sq,
    spectral_norm,
};
pub use nystrom::{
    AdaptiveNystrom, Nystrom, NystromPrecond, NystromSolution, NystromVariant, nystrom, nystrom_adaptive, nystrom_solve,
};
pub use probe::{Probe, ProbeMatrix};
pub use range::{RangeBasis, RangeTolerance, range_adaptive, range_finder, range_krylov};
pub use recovery::{
    EighOptions, EighRecovery, Order, Recovery, Sizes, SketchedEigh, SketchedSvd, SvdOptions, eigh, svd,
};
pub use settings::{Budget, Estimate, Settings, Status};
pub use spectrum::{
    Density, DensityOptions, Kpm, LogDensity, QuadratureOptions, chebyshev_density, eigenpairs_near,
    log_spectral_density, logdet, schatten_norm, spectral_densities, spectral_density, trace_function,
    trace_function_deflated,
};
pub use structured::{SparseSigns, Srht, Ssrht, fwht};
pub use trace::{TraceMethod, estimate_trace, trace};
pub use triangular::{Masked, Side};
