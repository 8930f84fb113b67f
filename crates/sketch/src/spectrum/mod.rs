//! Spectra from Lanczos runs: traces of functions by quadrature, densities, Chebyshev moments, partial eigenpairs.
//!
//! Every method needs an operator that says it is self-adjoint. A run of M steps costs M products; the Gauss rule that it
//! gives is exact for polynomials of degree up to `2 M - 1`.

mod chebyshev;
mod density;
mod eigenpairs;
mod quadrature;

pub use chebyshev::{Kpm, chebyshev_density};
pub use density::{Density, DensityOptions, LogDensity, log_spectral_density, spectral_densities, spectral_density};
pub use eigenpairs::eigenpairs_near;
pub use quadrature::{QuadratureOptions, logdet, schatten_norm, trace_function, trace_function_deflated};

use crate::products::Products;
use crate::{Error, Settings};
use linop_core::LinearOperator;
use linop_core::krylov::{Reorth, lanczos};
use numerics::Mat;
use numerics::rng::{Law, Role};

/// Nodes and weights of one Gauss rule, and the squared length of its starting vector.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) nodes: Vec<(f64, f64)>,
    pub(crate) length_sq: f64,
    pub(crate) steps: usize,
}

/// The starting vector of run number `run`.
pub(crate) fn start(law: Law, run: usize, n: usize, settings: &Settings<'_>) -> Mat<f64> {
    crate::Probe { law, seed: settings.seed, role: Role::LanczosStart }.columns(n, run..run + 1)
}

/// Run number `run` of Lanczos from a probe of this law.
pub(crate) fn rule(
    a: &dyn LinearOperator<f64>,
    law: Law,
    run: usize,
    steps: usize,
    reorth: Reorth,
    settings: &Settings<'_>,
) -> Result<Rule, Error> {
    let start = start(law, run, a.ncols(), settings);
    let result = lanczos(a, start.col_as_slice(0), steps, reorth, settings.par)?;
    Ok(Rule { nodes: result.quadrature()?, length_sq: result.norm * result.norm, steps: result.alpha.len() })
}

/// The size of a square operator that says it is self-adjoint.
pub(crate) fn symmetric_size(products: &Products<'_>) -> Result<usize, Error> {
    let n = products.square()?;
    if !products.symmetric {
        return Err(Error::NotSymmetric { op: products.op });
    }
    Ok(n)
}
