//! Linear operators: matrices known by their products. Algebra, properties, structured solves, Krylov methods.
//!
//! # Build
//! An operator is anything that implements [`LinearOperator`]: one of the [`ops`], or a pair of closures
//! ([`ops::ClosureOp`]). [`Op`] is a shared handle of one; the algebra works on handles.
//!
//! ```
//! use linop_core::{LinearOperator, Mat, Op, Par, Props, ops::{ClosureOp, Dense}};
//! let s = Op::new(Dense::with_props(Mat::from_fn(3, 3, |i, j| if i == j { 2.0_f64 } else { 0.5 }), Props::PD));
//! let reverse = Op::new(ClosureOp::new(3, 3, |mut out, x| {
//!     for j in 0..x.ncols() { for i in 0..3 { out[(i, j)] = x[(2 - i, j)]; } }
//!     Ok(())
//! }).with_props(Props::SELF_ADJOINT));
//!
//! // Combine: rewrites keep the structure, facts follow from facts.
//! let kron = s.kron(&s)?;                       // never stored
//! let damped = kron.shifted(0.1)?;              // known to be positive definite
//! assert!(damped.props().contains(Props::PD));
//! let turned = (&(&reverse * &s)? * &reverse)?; // a palindrome: definite, too
//! assert!(turned.props().contains(Props::PSD));
//! assert!((turned.to_dense(Par::Seq)?[(0, 0)] - 2.0).abs() < 1e-15);
//!
//! // Solve by structure: the eigenbases of the factors give the inverse and the determinant of the whole.
//! let inverse = damped.inverse(Par::Seq)?;
//! let one = (&inverse * &damped)?.to_dense(Par::Seq)?;
//! assert!((one[(4, 4)] - 1.0).abs() < 1e-14);
//! let (sign, log) = damped.slogdet(Par::Seq)?;
//! assert!(sign == 1.0 && log.is_finite());
//! # Ok::<(), linop_core::Error>(())
//! ```
//!
//! # Solve and look at the spectrum when only products are known
//! ```
//! use linop_core::krylov::{EigshOptions, Options, Which, cg, eigsh};
//! use linop_core::{Mat, Par, Props, ops::ClosureOp};
//! let n = 500;
//! let laplacian = ClosureOp::<f64>::new(n, n, move |mut out, x| {
//!     for j in 0..x.ncols() {
//!         for i in 0..n {
//!             let left = if i > 0 { x[(i - 1, j)] } else { 0.0 };
//!             let right = if i + 1 < n { x[(i + 1, j)] } else { 0.0 };
//!             out[(i, j)] = 2.5 * x[(i, j)] - left - right;
//!         }
//!     }
//!     Ok(())
//! }).with_props(Props::PD);
//! // Three right-hand sides, one block product per iteration.
//! let b = Mat::from_fn(n, 3, |i, j| ((i + j) % 7) as f64);
//! let solution = cg(&laplacian, b.as_ref(), &Options::default(), Par::Seq)?;
//! assert!(solution.report.converged() && solution.report.iterations < 60);
//! let top = eigsh(&laplacian, 2, Which::Largest, &EigshOptions::default(), Par::Seq)?;
//! assert!((top.values[0] - 4.5).abs() < 1e-3);
//! # Ok::<(), linop_core::Error>(())
//! ```
//!
//! # Where to look
//! | wanted | module |
//! |---|---|
//! | an operator | [`ops`]; sums, products and the like as methods of [`Op`] and in [`algebra`] |
//! | inverse, determinant, trace, diagonal, eigenvalues, powers, norms by structure | [`dispatch`], as methods of [`Op`] |
//! | how a solve will be done, damped Kronecker products, pseudo-inverses | [`inverse`] |
//! | CG, MINRES, LSMR, GMRES, Neumann series, Lanczos, `eigsh` | [`krylov`] |
//! | faer's matrix-free traits, both ways | [`bridge`] |
//! | facts about an operator; what is a vector made of | [`Props`], [`Space`] |
//! | checks for operators of your own | `testing` (feature of that name), [`Op::dot_test`] |
//!
//! Products take the caller's scratch ([`LinearOperator::apply_req`]) and allocate nothing. A product's bits do not depend
//! on the number of threads or on how many columns go together, as long as the operator is made of the ones here. What is
//! not known is never guessed: an algorithm that needs a property asks for it, and [`Op::assume`] is how to vouch for one.
#![forbid(unsafe_code)]

pub mod algebra;
pub mod bridge;
pub mod dispatch;
mod error;
pub mod inverse;
mod kind;
pub mod krylov;
mod op;
mod operator;
pub mod ops;
mod props;
mod source;
mod space;
#[cfg(feature = "testing")]
pub mod testing;

/// The vocabulary of dense data, so that a user needs no other crate: faer's matrices and views, and the scalar trait.
pub use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, StackReq};

pub use error::Error;
pub use kind::Kind;
pub use op::{Op, to_dense};
pub use operator::{Cost, LinearOperator};
pub use props::Props;
pub use source::Source;
pub use space::Space;
