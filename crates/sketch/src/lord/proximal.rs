//! The program for noisy products: minimise `|P(M - X)|^2 / 2 + lambda |X|_*` by accelerated soft-imputation.
//!
//! P removes from every row what a diagonal explains; it is a projector, so the step is 1. Restarts when the momentum
//! points uphill. The diagonal is biased by about `1.4 lambda / sigma_1(L Omega)`: an option for noisy products, not the
//! default.

use super::program::*;
use crate::Error;
use core::ops::ControlFlow;
use numerics::progress::{Observer, Progress};
use numerics::{Mat, Par, dense};

/// Parameters of the accelerated iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProximalOptions {
    /// Threshold relative to the largest singular value of the part of M that no diagonal explains.
    pub lambda: f64,
    /// Stop when an iteration changes X by less than this, relative to X.
    pub tol: f64,
    /// Most iterations.
    pub max_iter: usize,
}

impl Default for ProximalOptions {
    fn default() -> Self {
        ProximalOptions { lambda: 1e-3, tol: 1e-10, max_iter: 2000 }
    }
}

/// Solves the penalised program.
pub(crate) fn proximal(
    blocks: &[Block],
    options: &ProximalOptions,
    observer: &dyn Observer,
    par: Par,
) -> Result<Fit, Error> {
    if !(options.lambda > 0.0 && options.lambda < 1.0 && options.tol > 0.0) {
        return Err(Error::argument("sketch lord", format!("needs 0 < lambda < 1 and tol > 0, got {options:?}")));
    }
    let rows = RowFit::new(blocks);
    let d0 = rows.of(blocks, |b| blocks[b].m.as_ref());
    let mut b: Vec<Mat<f64>> = blocks.iter().map(|b| b.m.clone()).collect();
    let mut top = 0.0f64;
    for (b, block) in b.iter_mut().zip(blocks) {
        subtract_rows(b, &d0, &block.omega);
        top = top.max(spectral_norm(b.as_ref(), par)?);
    }
    let n = d0.len();
    let empty = |blocks: &[Block]| blocks.iter().map(|b| LowBlock::zero(n, b.m.nrows())).collect();
    let mut fit = Fit {
        d: d0.clone(),
        blocks: empty(blocks),
        iterations: 0,
        residual: 1.0,
        converged: top == 0.0,
        interrupted: false,
        dual: None,
    };
    if top == 0.0 {
        fit.residual = 0.0;
        return Ok(fit);
    }
    let level = options.lambda * top;
    let zeros = || b.iter().map(|b| Mat::<f64>::zeros(b.nrows(), b.ncols())).collect::<Vec<_>>();
    let (mut x, mut y, mut next, mut t) = (zeros(), zeros(), zeros(), zeros());
    let mut momentum = 1.0f64;
    let mut shrunk = Vec::new();
    while fit.iterations < options.max_iter && !fit.converged && !fit.interrupted {
        fit.iterations += 1;
        // T = P M + Q Y = B + diag(q(Y)) Omega
        let e: Vec<f64> = rows.of(blocks, |k| y[k].as_ref()).into_iter().map(|e| -e).collect();
        shrunk.clear();
        for k in 0..blocks.len() {
            dense::copy(t[k].as_mut(), b[k].as_ref());
            subtract_rows(&mut t[k], &e, &blocks[k].omega);
            shrunk.push(shrink(t[k].as_ref(), level, &mut next[k], par)?);
        }
        let (mut uphill, mut change, mut size) = (0.0, 0.0, 0.0);
        for k in 0..blocks.len() {
            for i in 0..n {
                let (x, y, z) = (x[k].col_as_slice(i), y[k].col_as_slice(i), next[k].col_as_slice(i));
                for ((x, y), z) in x.iter().zip(y).zip(z) {
                    uphill += (y - z) * (z - x);
                    change += (z - x) * (z - x);
                    size += z * z;
                }
            }
        }
        if uphill > 0.0 {
            momentum = 1.0;
        }
        let grown = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
        let push = (momentum - 1.0) / grown;
        momentum = grown;
        for k in 0..blocks.len() {
            for i in 0..n {
                let (x, y, z) = (x[k].col_as_slice(i), y[k].col_as_slice_mut(i), next[k].col_as_slice(i));
                for ((x, y), z) in x.iter().zip(y).zip(z) {
                    *y = z + push * (z - x);
                }
            }
            core::mem::swap(&mut x[k], &mut next[k]);
        }
        fit.residual = if size > 0.0 { (change / size).sqrt() } else { 0.0 };
        fit.converged = fit.residual <= options.tol;
        let progress = Progress::new("sketch lord", fit.iterations as u64, options.max_iter as u64)
            .with_metric("residual", fit.residual);
        fit.interrupted = observer.report(&progress) == ControlFlow::Break(()) && !fit.converged;
    }
    // d = q(M - X)
    let part = rows.of(blocks, |k| x[k].as_ref());
    fit.d = d0.iter().zip(&part).map(|(d, x)| d - x).collect();
    fit.blocks = shrunk.into_iter().zip(&t).map(|(s, t)| s.factors(t.as_ref(), par)).collect();
    Ok(fit)
}
