//! The program for noisy products: minimise `|P(M - X)|^2 / 2 + lambda |X|_*` by accelerated soft-imputation.
//!
//! P removes from every row what a diagonal explains; it is a projector, so the step is 1. Restarts when the momentum
//! points uphill. The diagonal is biased by about `1.4 lambda / sigma_1(L Omega)`: an option for noisy products, not the
//! default.

use super::program::{Block, Fit, LowBlock, RowFit, Rows, combine, without_diagonal};
use super::shrink::{Shrinker, spectral_norm};
use crate::Error;
use core::ops::ControlFlow;
use numerics::Par;
use numerics::progress::{Observer, Progress};

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
    let d0 = rows.of(blocks, |k| &blocks[k].m);
    let b: Vec<Rows> = blocks.iter().map(|b| without_diagonal(&b.m, &d0, &b.omega)).collect();
    let mut top = 0.0f64;
    for b in &b {
        top = top.max(spectral_norm(b, par)?);
    }
    let n = d0.len();
    let mut fit = Fit {
        d: d0,
        blocks: blocks.iter().map(|b| LowBlock::zero(n, b.m.p())).collect(),
        iterations: 0,
        residual: if top == 0.0 { 0.0 } else { 1.0 },
        converged: top == 0.0,
        interrupted: false,
        dual: None,
    };
    if top == 0.0 {
        return Ok(fit);
    }
    let level = options.lambda * top;
    let zeros = || b.iter().map(|b| Rows::zeros(b.n(), b.p())).collect::<Vec<_>>();
    let zero = zeros();
    let (mut x, mut y, mut next, mut t) = (zeros(), zeros(), zeros(), zeros());
    let mut momentum = 1.0f64;
    let mut shrunk = Vec::new();
    while fit.iterations < options.max_iter && !fit.converged && !fit.interrupted {
        fit.iterations += 1;
        // T = P M + Q Y = B + diag(q(Y)) Omega
        let e: Vec<f64> = rows.of(blocks, |k| &y[k]).into_iter().map(|e| -e).collect();
        shrunk.clear();
        for (k, block) in blocks.iter().enumerate() {
            combine(&mut t[k], &b[k], &e, &block.omega, &zero[k], par);
            shrunk.push(Shrinker::default().shrink(&t[k], level, &mut next[k], par)?);
        }
        let (mut uphill, mut change, mut size) = (0.0, 0.0, 0.0);
        for k in 0..blocks.len() {
            for i in 0..n {
                for ((x, y), z) in x[k].row(i).iter().zip(y[k].row(i)).zip(next[k].row(i)) {
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
                for ((y, x), z) in y[k].row_mut(i).iter_mut().zip(x[k].row(i)).zip(next[k].row(i)) {
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
    let part = rows.of(blocks, |k| &x[k]);
    fit.d.iter_mut().zip(&part).for_each(|(d, x)| *d -= x);
    fit.blocks = shrunk.into_iter().zip(&t).map(|(s, t)| s.factors(t, par)).collect();
    Ok(fit)
}
