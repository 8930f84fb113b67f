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
mod tall;
mod trace;
mod triangular;

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
