//! The program for noisy products: minimise `|P(M - X)|^2 / 2 + lambda |X|_*` by accelerated soft-imputation.
//!
//! P removes from every row what a diagonal explains; it is a projector, so the step is 1. Restarts when the momentum
//! points uphill. The diagonal is biased by about `1.4 lambda / sigma_1(L Omega)`: an option for noisy products, not the
//! default.

use super::packed::{Rows, for_each};
use super::program::{Block, Fit, RowFit, cut};
use super::shrink::{Shrinker, Shrunk, spectral_norm};
use crate::Error;
use core::ops::ControlFlow;
use numerics::progress::{Observer, Progress};
use numerics::{Par, dense};

/// Parameters of the accelerated iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProximalOptions {
    /// Threshold relative to the largest singular value of the part of M that no diagonal explains.
    pub lambda: f64,
    /// Stop when an iteration changes X by less than this, relative to X.
    pub tol: f64,
    /// Most iterations. With 0 the diagonal is Hutchinson's and the low-rank part zero.
    pub max_iter: usize,
}

impl Default for ProximalOptions {
    fn default() -> Self {
        ProximalOptions { lambda: 1e-3, tol: 1e-10, max_iter: 2000 }
    }
}

/// Solves the penalised program.
pub(crate) fn proximal(
    blocks: &[Block<'_>],
    options: &ProximalOptions,
    observer: &dyn Observer,
    par: Par,
) -> Result<Fit, Error> {
    if !(options.lambda > 0.0 && options.lambda < 1.0 && options.tol > 0.0) {
        return Err(Error::argument("sketch lord", format!("needs 0 < lambda < 1 and tol > 0, got {options:?}")));
    }
    let rows = RowFit::new(blocks, par);
    let (d0, b) = rows.split();
    let mut top = 0.0f64;
    for b in &b {
        top = top.max(spectral_norm(b, par)?);
    }
    let mut fit = Fit::start(blocks, &d0);
    if top == 0.0 {
        fit.residual = 0.0;
        fit.converged = true;
        return Ok(fit);
    }
    let level = options.lambda * top;
    let zeros = || b.iter().map(|b| Rows::zeros(b.n(), b.p())).collect::<Vec<_>>();
    let mut state = State { x: zeros(), before: zeros(), t: zeros(), push: 0.0 };
    fit.bytes = state.bytes(&b) + blocks.iter().map(|b| b.omega.bytes()).sum::<usize>();
    let mut momentum = 1.0f64;
    let mut shrunk = Vec::new();
    while fit.iterations < options.max_iter && !fit.converged && !fit.interrupted {
        fit.iterations += 1;
        state.aim(&rows, &b);
        shrunk.clear();
        for t in &state.t {
            shrunk.push(Shrinker::default().shrink(t, level, par)?);
        }
        let [uphill, change, size] = state.advance(&shrunk, par);
        if uphill > 0.0 {
            momentum = 1.0;
        }
        let grown = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
        state.push = (momentum - 1.0) / grown;
        momentum = grown;
        fit.residual = if size > 0.0 { (change / size).sqrt() } else { 0.0 };
        fit.converged = fit.residual <= options.tol;
        let progress = Progress::new("sketch lord", fit.iterations as u64, options.max_iter as u64)
            .with_metric("residual", fit.residual);
        fit.interrupted = observer.report(&progress) == ControlFlow::Break(()) && !fit.converged;
    }
    // d = q(M - X)
    let part = rows.of(&state.x);
    fit.d.iter_mut().zip(&part).for_each(|(d, x)| *d -= x);
    if !shrunk.is_empty() {
        fit.blocks = shrunk.into_iter().zip(&state.t).map(|(s, t)| s.factors(t, par)).collect();
    }
    Ok(fit)
}

/// What the iteration carries: X, the one before, and `T = P M + Q Y` for the extrapolated `Y = X + push (X - before)`.
struct State {
    x: Vec<Rows>,
    before: Vec<Rows>,
    t: Vec<Rows>,
    push: f64,
}

impl State {
    fn bytes(&self, b: &[Rows]) -> usize {
        b.iter().chain(&self.x).chain(&self.before).chain(&self.t).map(Rows::bytes).sum()
    }

    /// `T = B + diag(q(Y)) Omega`.
    fn aim(&mut self, rows: &RowFit<'_, '_>, b: &[Rows]) {
        let (x, before, push) = (&self.x, &self.before, self.push);
        let mut e = vec![0.0; rows.n()];
        let mut none = vec![0.0; rows.n()];
        let room = || (rows.room(), rows.room());
        for_each(cut(&mut self.t, &mut e, &mut none), rows.par, room, |(room, y), (first, mut t, e, _)| {
            for i in 0..e.len() {
                let mut inner = 0.0;
                for (k, block) in rows.blocks.iter().enumerate() {
                    let row = x[k].row(first + i).iter().zip(before[k].row(first + i));
                    y[k].iter_mut().zip(row).for_each(|(y, (x, before))| *y = x + push * (x - before));
                    inner += dense::dot(block.omega.row(first + i, &mut room[k]), &y[k]);
                }
                let e = rows.divide(first + i, inner);
                for (k, block) in rows.blocks.iter().enumerate() {
                    let p = block.omega.p();
                    let row = b[k].row(first + i).iter().zip(block.omega.row(first + i, &mut room[k]));
                    t[k][i * p..(i + 1) * p].iter_mut().zip(row).for_each(|(t, (b, w))| *t = b + e * w);
                }
            }
        });
    }

    /// X of the T that was shrunk takes the place of X; returns `<Y - X', X' - X>`, `|X' - X|^2` and `|X'|^2`.
    fn advance(&mut self, shrunk: &[Shrunk], par: Par) -> [f64; 3] {
        let push = self.push;
        let mut total = [0.0; 3];
        for (k, shrunk) in shrunk.iter().enumerate() {
            let pieces = self.x[k].pieces().zip(self.before[k].pieces()).zip(self.t[k].pieces());
            let mut work: Vec<_> = pieces.map(|((x, before), t)| (x, before, t, [0.0; 3])).collect();
            for_each(work.iter_mut().collect(), par, Vec::new, |z, (x, before, t, sums)| {
                shrunk.of_piece(t, z);
                for ((x, before), z) in x.iter_mut().zip(before.iter_mut()).zip(&*z) {
                    let y = *x + push * (*x - *before);
                    let step = z - *x;
                    sums[0] += (y - z) * step;
                    sums[1] += step * step;
                    sums[2] += z * z;
                    (*before, *x) = (*x, *z);
                }
            });
            work.iter().for_each(|w| total.iter_mut().zip(&w.3).for_each(|(t, s)| *t += s));
        }
        total
    }
}
