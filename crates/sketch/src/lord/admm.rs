//! SketchLoRD's solver (our ADMM): alternate between thresholding singular values and fitting the diagonal, with a
//! penalty that grows slowly.
//!
//! The reports about arXiv:2509.23587 name ADMM on a nuclear-norm program; its own pseudo-code and parameters could not
//! be read, so this is our derivation and no parity is claimed. The iteration starts from `B = P M` (what no diagonal
//! explains), which makes it equivariant: adding `diag(h)` to A adds h to the diagonal and changes nothing else. Each
//! iteration costs `3 n p^2 + 9 p^3` flops a block.

use super::program::*;
use crate::Error;
use core::ops::ControlFlow;
use numerics::progress::{Observer, Progress};
use numerics::{Mat, Par, dense};

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
}

impl Default for AdmmOptions {
    fn default() -> Self {
        AdmmOptions { tol: 1e-7, max_iter: 500, growth: 1.1, cap: 1e7, start: 1.25 }
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
    let d0 = rows.of(blocks, |b| blocks[b].m.as_ref());
    let (p, n) = blocks.first().map_or((0, 0), |b| (b.m.nrows(), b.m.ncols()));
    let b: Vec<Mat<f64>> = blocks
        .iter()
        .map(|block| {
            let mut b = block.m.clone();
            subtract_rows(&mut b, &d0, &block.omega);
            b
        })
        .collect();
    let size = norm_sq(&b).sqrt();
    let whole: f64 = blocks.iter().map(|b| crate::la::fro_sq(b.m.as_ref())).sum::<f64>().sqrt();
    let mut fit = Fit {
        d: d0.clone(),
        blocks: blocks.iter().map(|b| LowBlock::zero(n, b.m.nrows())).collect(),
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
        top = top.max(spectral_norm(b.as_ref(), par)?);
    }
    let mut state = State::new(blocks, &b, options.start / top);
    let last = options.cap * state.rho;
    loop {
        fit.iterations += 1;
        let moved = state.step(blocks, &b, &rows, par)?;
        fit.residual = moved / size;
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

/// What the iteration carries, transposed as the blocks are.
struct State {
    rho: f64,
    e: Vec<f64>,
    u: Vec<Mat<f64>>,
    t: Vec<Mat<f64>>,
    x: Vec<Mat<f64>>,
    shrunk: Vec<Shrunk>,
}

impl State {
    fn new(blocks: &[Block], b: &[Mat<f64>], rho: f64) -> Self {
        let zeros = || b.iter().map(|b| Mat::zeros(b.nrows(), b.ncols())).collect::<Vec<_>>();
        let n = blocks.first().map_or(0, |b| b.m.ncols());
        State { rho, e: vec![0.0; n], u: zeros(), t: zeros(), x: zeros(), shrunk: Vec::new() }
    }

    /// One iteration; returns the norm of the constraint's violation.
    fn step(&mut self, blocks: &[Block], b: &[Mat<f64>], rows: &RowFit, par: Par) -> Result<f64, Error> {
        self.shrunk.clear();
        for (k, block) in blocks.iter().enumerate() {
            let t = &mut self.t[k];
            dense::copy(t.as_mut(), b[k].as_ref());
            subtract_rows(t, &self.e, &block.omega);
            dense::axpy(t.as_mut(), 1.0, self.u[k].as_ref());
            self.shrunk.push(shrink(self.t[k].as_ref(), self.rho.recip(), &mut self.x[k], par)?);
            // x becomes G = B - X + U
            for i in 0..self.e.len() {
                let (x, b, u) = (self.x[k].col_as_slice_mut(i), b[k].col_as_slice(i), self.u[k].col_as_slice(i));
                for ((x, b), u) in x.iter_mut().zip(b).zip(u) {
                    *x = b - *x + u;
                }
            }
        }
        self.e = rows.of(blocks, |k| self.x[k].as_ref());
        let mut moved = 0.0;
        for (k, block) in blocks.iter().enumerate() {
            subtract_rows(&mut self.x[k], &self.e, &block.omega);
            // the violation B - X - diag(e) Omega is what U moved by
            for i in 0..self.e.len() {
                let (new, old) = (self.x[k].col_as_slice(i), self.u[k].col_as_slice(i));
                moved += new.iter().zip(old).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            }
            core::mem::swap(&mut self.u[k], &mut self.x[k]);
        }
        Ok(moved.sqrt())
    }

    /// Takes a larger penalty, keeping the unscaled dual variable.
    fn raise(&mut self, rho: f64) {
        for u in &mut self.u {
            dense::scale(u.as_mut(), self.rho / rho);
        }
        self.rho = rho;
    }

    /// `V = rho U`.
    fn certificate(&self, blocks: &[Block], rows: &RowFit, par: Par) -> Result<Dual, Error> {
        let (mut norm, mut inner) = (0.0f64, 0.0);
        for (u, block) in self.u.iter().zip(blocks) {
            norm = norm.max(self.rho * spectral_norm(u.as_ref(), par)?);
            inner += self.rho * crate::la::col_dots(u.as_ref(), block.m.as_ref()).iter().sum::<f64>();
        }
        let q = rows.of(blocks, |k| self.u[k].as_ref());
        let row = q.iter().fold(0.0f64, |m, q| m.max((self.rho * q).abs()));
        let nuclear: f64 = self.shrunk.iter().map(|s| s.nuclear).sum();
        let gap = if nuclear > 0.0 { (nuclear - inner / norm.max(1.0)) / nuclear } else { 0.0 };
        Ok(Dual { gap, norm, row })
    }

    fn factors(self, par: Par) -> Vec<LowBlock> {
        self.shrunk.into_iter().zip(&self.t).map(|(s, t)| s.factors(t.as_ref(), par)).collect()
    }
}
