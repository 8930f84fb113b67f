//! Spectra from Lanczos runs: traces of functions by quadrature, densities, Chebyshev moments, partial eigenpairs.
//!
//! Every method needs an operator that says it is self-adjoint. A run of M steps costs M products, and several runs go side
//! by side, so that products are of blocks; the Gauss rule that a run gives is exact for polynomials of degree up to `2 M - 1`.

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
use linop_core::krylov::{Lanczos, Reorth, lanczos_block};
use numerics::Mat;
use numerics::rng::{Law, Role};
use std::ops::Range;

/// Nodes and weights of one Gauss rule, and the squared length of its starting vector.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) nodes: Vec<(f64, f64)>,
    pub(crate) length_sq: f64,
    pub(crate) steps: usize,
}

/// The starting vectors of some runs.
pub(crate) fn starts(law: Law, runs: Range<usize>, n: usize, settings: &Settings<'_>) -> Mat<f64> {
    crate::Probe { law, seed: settings.seed, role: Role::LanczosStart }.columns_on(n, runs, settings.par)
}

/// Runs number `runs` of Lanczos from probes of this law, side by side.
pub(crate) fn rules(
    products: &Products<'_>,
    law: Law,
    runs: Range<usize>,
    steps: usize,
    reorth: Reorth,
) -> Result<Vec<Rule>, Error> {
    let start = starts(law, runs, products.n, &products.settings);
    let results = lanczos_block(products.operator(), start.as_ref(), steps, reorth, products.par());
    let results = results.map_err(|e| products.named(e))?;
    let rule = |r: Lanczos<f64>| Ok(Rule { nodes: r.quadrature()?, length_sq: r.norm * r.norm, steps: r.alpha.len() });
    results.into_iter().map(rule).collect()
}

/// Runs that go side by side: as many as a block product has columns, within the memory of their vectors.
pub(crate) fn side_by_side(products: &Products<'_>, steps: usize, reorth: Reorth) -> usize {
    /// Numbers that the vectors of all runs may take: a quarter of a gigabyte.
    const ROOM: usize = 1 << 25;
    let kept = if reorth == Reorth::Full { steps } else { 3 };
    products.width().min(ROOM / products.n.saturating_mul(kept).max(1)).max(1)
}

/// The size of a square operator that says it is self-adjoint.
pub(crate) fn symmetric_size(products: &Products<'_>) -> Result<usize, Error> {
    let n = products.square()?;
    if !products.symmetric {
        return Err(Error::NotSymmetric { op: products.op });
    }
    Ok(n)
}
