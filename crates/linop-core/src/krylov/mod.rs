//! Krylov methods: solvers, eigenpairs and quadrature that see an operator only through its products.
//!
//! Every solver takes a block of right-hand sides and treats its columns independently; all but GMRES multiply the
//! unfinished columns by the operator in one block product per iteration. Non-convergence is no error of the call: it
//! is an [`Outcome`] in the [`SolveReport`], beside the best iterate; [`Solution::require_converged`] makes it one.

// Comparisons are written so that NaN falls on the failing side.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

mod basis;
mod block;
mod cg;
mod eigsh;
mod gmres;
mod inverse;
mod lanczos;
mod lsmr;
mod minres;
mod neumann;
mod packed;
mod report;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests_cg;
#[cfg(test)]
mod tests_eigen;
#[cfg(test)]
mod tests_inverse;
#[cfg(test)]
mod tests_solvers;
mod vector;

pub(crate) use block::{check_precond, check_rhs, check_self_adjoint};
pub use cg::{CgSolution, cg};
pub use eigsh::{Eigenpairs, EigshOptions, EigshReport, Multiplicities, Which, eigsh};
pub use gmres::{RESTART, gmres};
pub use inverse::{IterativeInverse, Method};
pub use lanczos::{Lanczos, Reorth, function_times_vector, lanczos, lanczos_block};
pub use lsmr::lsmr;
pub use minres::minres;
pub use neumann::{Alpha, NeumannOptions, neumann};
pub use report::{Options, Outcome, Solution, SolveReport};
