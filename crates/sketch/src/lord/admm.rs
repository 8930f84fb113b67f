//! SketchLoRD's solver (our ADMM): alternate between thresholding singular values and fitting the diagonal, with a
//! penalty that grows slowly.
//!
//! The reports about arXiv:2509.23587 name ADMM on a nuclear-norm program; its own pseudo-code and parameters could not
//! be read, so this is our derivation and no parity is claimed. The iteration starts from `B = P M` (what no diagonal
//! explains), which makes it equivariant: adding `diag(h)` to A adds h to the diagonal and changes nothing else. Each
//! iteration costs `3 n p^2 + 9 p^3` flops a block.

use super::program::{Block, Dual, Fit, LowBlock, RowFit, Rows, combine, without_diagonal};
use super::shrink::{Shrinker, Shrunk, spectral_norm};
use crate::Error;
use core::ops::ControlFlow;
use numerics::Par;
use numerics::progress::{Observer, Progress};

/// Parameters of the iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmmOptions {
    /// Stop when the constraint holds to this, relative to the part of M that no diagonal explains.
    pub tol: f64,
    /// Most iterations. With 0 the diagonal is Hutchinson's and the low-rank part zero.
    pub max_iter: usize,
    /// Growth of the penalty per iteration. 1.01 gives a tighter dual certificate at more iterations.
    pub growth: f64,
    /// Largest penalty, relative to the first.
    pub cap: f64,
    /// First penalty, relative to `1 / |B|_2`.
    pub start: f64,
    /// Let a few block power steps from the last leading singular vectors replace full decompositions where few survive.
    pub reduced: bool,
}

impl Default for AdmmOptions {
    fn default() -> Self {
        AdmmOptions { tol: 1e-7, max_iter: 500, growth: 1.1, cap: 1e7, start: 1.25, reduced: true }
    }
}

impl AdmmOptions {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let sound = self.tol > 0.0 && self.growth >= 1.0 && self.cap >= 1.0 && self.start > 0.0;
        if sound && [self.tol, self.growth, self.cap, self.start].iter().all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(Error::argument("sketch lord", format!("tol, start > 0 and growth, cap >= 1 are needed, got {self:?}")))
    }
}

/// Solves the program for the given blocks (one, or two that share the diagonal).
pub(crate) fn admm(blocks: &[Block], options: &AdmmOptions, observer: &dyn Observer, par: Par) -> Result<Fit, Error> {
    options.check()?;
    let rows = RowFit::new(blocks);
    let d0 = rows.of(blocks, |k| &blocks[k].m);
    let (n, p) = blocks.first().map_or((0, 0), |b| (b.m.n(), b.m.p()));
    let b: Vec<Rows> = blocks.iter().map(|b| without_diagonal(&b.m, &d0, &b.omega)).collect();
    let size = b.iter().map(Rows::norm_sq).sum::<f64>().sqrt();
    let whole = blocks.iter().map(|b| b.m.norm_sq()).sum::<f64>().sqrt();
    let mut fit = Fit {
        d: d0,
        blocks: blocks.iter().map(|b| LowBlock::zero(n, b.m.p())).collect(),
        iterations: 0,
        residual: 1.0,
        converged: false,
        interrupted: false,
        dual: None,
    };
    if size <= 1e-13 * whole || p == 0 {
        fit.residual = 0.0;
        fit.converged = true;
        return Ok(fit);
    }
    if options.max_iter == 0 {
        return Ok(fit);
    }
    let mut top = 0.0f64;
    for b in &b {
        top = top.max(spectral_norm(b, par)?);
    }
    let mut state = State::new(&b, options.start / top, options.reduced);
    let last = options.cap * state.rho;
    loop {
        fit.iterations += 1;
        fit.residual = state.step(blocks, &b, &rows, par)?.sqrt() / size;
        fit.converged = fit.residual < options.tol;
        let progress = Progress::new("sketch lord", fit.iterations as u64, options.max_iter as u64)
            .with_metric("residual", fit.residual);
        fit.interrupted = observer.report(&progress) == ControlFlow::Break(()) && !fit.converged;
        if fit.converged || fit.interrupted || fit.iterations == options.max_iter {
            break;
        }
        state.raise((options.growth * state.rho).min(last));
    }
    fit.dual = Some(state.certificate(blocks, &rows, par)?);
    fit.d.iter_mut().zip(&state.e).for_each(|(d, e)| *d += e);
    fit.blocks = state.factors(par);
    Ok(fit)
}

/// What the iteration carries.
struct State {
    rho: f64,
    e: Vec<f64>,
    u: Vec<Rows>,
    t: Vec<Rows>,
    x: Vec<Rows>,
    shrinkers: Vec<Shrinker>,
    shrunk: Vec<Shrunk>,
}

impl State {
    fn new(b: &[Rows], rho: f64, reduced: bool) -> Self {
        let zeros = || b.iter().map(|b| Rows::zeros(b.n(), b.p())).collect::<Vec<_>>();
        let shrinkers = b.iter().map(|_| Shrinker::new(reduced)).collect();
        let e = vec![0.0; b.first().map_or(0, Rows::n)];
        State { rho, e, u: zeros(), t: zeros(), x: zeros(), shrinkers, shrunk: Vec::new() }
    }

    /// One iteration; returns the squared violation of the constraint.
    fn step(&mut self, blocks: &[Block], b: &[Rows], rows: &RowFit, par: Par) -> Result<f64, Error> {
        self.shrunk.clear();
        for (k, block) in blocks.iter().enumerate() {
            combine(&mut self.t[k], &b[k], &self.e, &block.omega, &self.u[k], par);
            self.shrunk.push(self.shrinkers[k].shrink(&self.t[k], self.rho.recip(), &mut self.x[k], par)?);
        }
        Ok(rows.ascend(blocks, b, &self.x, &mut self.u, &mut self.e, par))
    }

    /// Takes a larger penalty, keeping the unscaled dual variable.
    fn raise(&mut self, rho: f64) {
        self.u.iter_mut().for_each(|u| u.scale(self.rho / rho));
        self.rho = rho;
    }

    /// `V = rho U`.
    fn certificate(&self, blocks: &[Block], rows: &RowFit, par: Par) -> Result<Dual, Error> {
        let (mut norm, mut inner) = (0.0f64, 0.0);
        for (u, block) in self.u.iter().zip(blocks) {
            norm = norm.max(self.rho * spectral_norm(u, par)?);
            inner += self.rho * u.dot(&block.m);
        }
        let q = rows.of(blocks, |k| &self.u[k]);
        let row = q.iter().fold(0.0f64, |m, q| m.max((self.rho * q).abs()));
        let nuclear: f64 = self.shrunk.iter().map(|s| s.nuclear).sum();
        let gap = if nuclear > 0.0 { (nuclear - inner / norm.max(1.0)) / nuclear } else { 0.0 };
        Ok(Dual { gap, norm, row })
    }

    fn factors(self, par: Par) -> Vec<LowBlock> {
        self.shrunk.into_iter().zip(&self.t).map(|(s, t)| s.factors(t, par)).collect()
    }
}
