//! SketchLoRD's solver (our ADMM): alternate between thresholding singular values and fitting the diagonal, with a
//! penalty that grows slowly.
//!
//! The reports about arXiv:2509.23587 name ADMM on a nuclear-norm program; its own pseudo-code and parameters could not
//! be read, so this is our derivation and no parity is claimed. The iteration starts from `B = P M` (what no diagonal
//! explains), which makes it equivariant: adding `diag(h)` to A adds h to the diagonal and changes nothing else. Each
//! iteration costs `3 n p^2 + 9 p^3` flops a block.
//!
//! Memory: two arrays of `n x p` a block, B and one that holds the argument T of the thresholding and the dual variable
//! `U = P(T - X)` in turn, and the probes, a bit an entry if they are signs. X is made anew from T at the end.

use super::packed::Rows;
use super::program::{Block, Dual, Fit, LowBlock, RowFit};
use super::shrink::{Shrinker, Shrunk, spectral_norm};
use crate::{Error, la};
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
pub(crate) fn admm(
    blocks: &[Block<'_>],
    options: &AdmmOptions,
    observer: &dyn Observer,
    par: Par,
) -> Result<Fit, Error> {
    options.check()?;
    let rows = RowFit::new(blocks, par);
    let (d0, b) = rows.split();
    let size = b.iter().map(Rows::norm_sq).sum::<f64>().sqrt();
    let whole = blocks.iter().map(|b| la::fro_sq(b.m)).sum::<f64>().sqrt();
    let mut fit = Fit::start(blocks, &d0);
    if size <= 1e-13 * whole || b.iter().all(|b| b.p() == 0) {
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
    fit.bytes = state.bytes(&b) + blocks.iter().map(|b| b.omega.bytes()).sum::<usize>();
    let last = options.cap * state.rho;
    let mut shrunk = state.shrink(par)?;
    loop {
        fit.iterations += 1;
        fit.residual = rows.ascend(&b, &shrunk, &mut state.s, &mut state.e).sqrt() / size;
        fit.converged = fit.residual < options.tol;
        let progress = Progress::new("sketch lord", fit.iterations as u64, options.max_iter as u64)
            .with_metric("residual", fit.residual);
        fit.interrupted = observer.report(&progress) == ControlFlow::Break(()) && !fit.converged;
        if fit.converged || fit.interrupted || fit.iterations == options.max_iter {
            break;
        }
        let rho = (options.growth * state.rho).min(last);
        rows.combine(&b, &mut state.e, state.rho / rho, &mut state.s);
        state.rho = rho;
        shrunk = state.shrink(par)?;
    }
    fit.d.iter_mut().zip(&state.e).for_each(|(d, e)| *d += e);
    let dual = state.dual(&rows, &b, &fit.d0, par)?;
    // the low-rank part that belongs to the last dual variable and the last diagonal
    rows.combine(&b, &mut state.e, 1.0, &mut state.s);
    drop(b);
    let shrunk = state.shrink(par)?;
    fit.dual = Some(dual.certify(shrunk.iter().map(|s| s.nuclear).sum()));
    fit.blocks = state.factors(shrunk, par);
    Ok(fit)
}

/// What the iteration carries.
struct State {
    rho: f64,
    e: Vec<f64>,
    /// T before a dual step, U after it.
    s: Vec<Rows>,
    shrinkers: Vec<Shrinker>,
}

/// What the dual variable says by itself.
struct DualPart {
    norm: f64,
    inner: f64,
    row: f64,
}

impl DualPart {
    fn certify(&self, nuclear: f64) -> Dual {
        let gap = if nuclear > 0.0 { (nuclear - self.inner / self.norm.max(1.0)) / nuclear } else { 0.0 };
        Dual { gap, norm: self.norm, row: self.row }
    }
}

impl State {
    fn new(b: &[Rows], rho: f64, reduced: bool) -> Self {
        let e = vec![0.0; b.first().map_or(0, Rows::n)];
        let shrinkers = b.iter().map(|_| Shrinker::new(reduced)).collect();
        State { rho, e, s: b.to_vec(), shrinkers }
    }

    fn bytes(&self, b: &[Rows]) -> usize {
        b.iter().chain(&self.s).map(Rows::bytes).sum::<usize>() + 2 * size_of_val(self.e.as_slice())
    }

    fn shrink(&mut self, par: Par) -> Result<Vec<Shrunk>, Error> {
        let level = self.rho.recip();
        self.s.iter().zip(&mut self.shrinkers).map(|(t, shrinker)| shrinker.shrink(t, level, par)).collect()
    }

    /// Of `V = rho U`: its norm, its inner product with `M = B + diag(d0) Omega`, its largest component along the probes.
    fn dual(&self, rows: &RowFit<'_, '_>, b: &[Rows], d0: &[f64], par: Par) -> Result<DualPart, Error> {
        let (mut norm, mut inner) = (0.0f64, 0.0);
        for (u, b) in self.s.iter().zip(b) {
            norm = norm.max(self.rho * spectral_norm(u, par)?);
            inner += self.rho * u.dot(b);
        }
        let q = rows.of(&self.s);
        inner += self.rho * q.iter().zip(d0).zip(rows.weight()).map(|((q, d), w)| q * d * w).sum::<f64>();
        Ok(DualPart { norm, inner, row: q.iter().fold(0.0f64, |m, q| m.max((self.rho * q).abs())) })
    }

    fn factors(self, shrunk: Vec<Shrunk>, par: Par) -> Vec<LowBlock> {
        shrunk.into_iter().zip(&self.s).map(|(s, t)| s.factors(t, par)).collect()
    }
}
