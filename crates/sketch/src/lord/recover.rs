//! From the blocks `X ~= L Omega`, `Z ~= L^T Psi` of the solver to factors of L.
//!
//! One pass uses the measurements alone, two passes multiply A by the basis found. In one pass the rank is that of X if
//! it is at most three quarters of the probes, else half of the probes: with as many columns as probes the system for
//! the core is nearly singular.

use super::admm::{AdmmOptions, admm};
use super::measure::Measurements;
use super::program::{Block, Fit, LowBlock};
use super::proximal::{ProximalOptions, proximal};
use super::{Lord, LordReport};
use crate::products::{Products, Wide};
use crate::{Error, Settings, la};
use linop_core::LinearOperator;
use numerics::progress::Observer;
use numerics::{Mat, MatRef, Par, Scalar, dense};

/// How often the operator is visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passes {
    /// Once: the fewest products of all.
    One,
    /// Twice: another product for every column of the basis; the best accuracy.
    #[default]
    Two,
}

/// Which program is solved, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Solver {
    /// Nuclear norm under the exact constraint.
    Admm(AdmmOptions),
    /// Nuclear norm as a penalty, for noisy products.
    Proximal(ProximalOptions),
}

impl Default for Solver {
    fn default() -> Self {
        Solver::Admm(AdmmOptions::default())
    }
}

/// What [`sketch_lord`] is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LordOptions {
    /// One pass or two.
    pub passes: Passes,
    /// The solver.
    pub solver: Solver,
    /// Largest rank of the low-rank part, below that of the rules.
    pub max_rank: Option<usize>,
    /// Clip negative eigenvalues of the low-rank part and negative entries of the diagonal.
    pub psd: bool,
}

/// Low rank plus diagonal of a square operator from `p` products (and `p` transposed ones unless it says that it is
/// self-adjoint); with two passes up to `p` more. For an operator of rank k plus diagonal take `p >= 2 k + 4`.
///
/// ```
/// use linop_core::ops::ClosureOp;
/// use linop_core::Props;
/// use sketch::{LordOptions, Settings, sketch_lord};
/// // 11^T + I
/// let a = ClosureOp::<f64>::new(60, 60, |mut out, x| {
///     for j in 0..x.ncols() {
///         let s: f64 = (0..60).map(|i| x[(i, j)]).sum();
///         (0..60).for_each(|i| out[(i, j)] = s + x[(i, j)]);
///     }
///     Ok(())
/// }).with_props(Props::PD);
/// let found = sketch_lord(&a, 8, &LordOptions::default(), &Settings::default())?;
/// assert!(found.diagonal_part().iter().all(|d| (d - 1.0).abs() < 1e-3));
/// assert_eq!(found.rank(), 1);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare`, `SketchTooSmall` for no products, `TooManyProbes`, `TransposeUnavailable`, `NonFinite`,
/// `InvalidArgument`, `Interrupted` while measuring. A solver that does not converge, or is interrupted, says so in the
/// report.
pub fn sketch_lord<T: Scalar>(
    a: &dyn LinearOperator<T>,
    p: usize,
    options: &LordOptions,
    settings: &Settings<'_>,
) -> Result<Lord, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "sketch lord", settings);
    let measured = measure(&products, p)?;
    let problem = Problem::new(&measured);
    let fit = problem.solve(&options.solver, settings.observer, settings.par)?;
    let factors = problem.factors(&fit, settings.par)?;
    let lord = match options.passes {
        Passes::One => factors.one_pass(factors.one_pass_rank(), &fit, options)?,
        Passes::Two => factors.two_pass(&products, &fit, options)?,
    };
    Ok(lord.with_report(factors.report(&fit, products.counts())))
}

/// The one-pass fit of measurements that were taken before.
///
/// # Errors
/// `SketchTooSmall` without columns, `InvalidArgument` for two passes (there is no operator to visit again).
pub fn fit_lord(
    measured: &Measurements,
    options: &LordOptions,
    observer: &dyn Observer,
    par: Par,
) -> Result<Lord, Error> {
    if options.passes == Passes::Two {
        return Err(Error::argument("fit lord", "measurements allow one pass only"));
    }
    if measured.columns().is_empty() {
        return Err(Error::SketchTooSmall { op: "fit lord", needed: 1, got: 0 });
    }
    let problem = Problem::new(measured);
    let fit = problem.solve(&options.solver, observer, par)?;
    let factors = problem.factors(&fit, par)?;
    let lord = factors.one_pass(factors.one_pass_rank(), &fit, options)?;
    Ok(lord.with_report(factors.report(&fit, measured.products())))
}

pub(super) fn measure(products: &Products<'_>, p: usize) -> Result<Measurements, Error> {
    let n = products.square()?;
    crate::loo::check_probes(products.op, p, n)?;
    Measurements::measure(products, 0..p)
}

/// Probes and products as tall matrices.
#[derive(Debug)]
pub(super) struct Problem {
    omega: Mat<f64>,
    m: Mat<f64>,
    side: Option<(Mat<f64>, Mat<f64>)>,
}

impl Problem {
    pub(super) fn new(measured: &Measurements) -> Self {
        Problem {
            omega: measured.omega(),
            m: measured.right().to_owned(),
            side: measured.left().map(|w| (measured.psi(), w.to_owned())),
        }
    }

    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::new(self.omega.as_ref(), self.m.as_ref())];
        if let Some((psi, w)) = &self.side {
            blocks.push(Block::new(psi.as_ref(), w.as_ref()));
        }
        blocks
    }

    pub(super) fn solve(&self, solver: &Solver, observer: &dyn Observer, par: Par) -> Result<Fit, Error> {
        let blocks = self.blocks();
        match solver {
            Solver::Admm(options) => admm(&blocks, options, observer, par),
            Solver::Proximal(options) => proximal(&blocks, options, observer, par),
        }
    }

    /// Singular triplets of the blocks of a fit.
    pub(super) fn factors<'a>(&'a self, fit: &Fit, par: Par) -> Result<Factors<'a>, Error> {
        let x = Triplets::of(&fit.blocks[0], par)?;
        let z = fit.blocks.get(1).map(|b| Triplets::of(b, par)).transpose()?;
        Ok(Factors { problem: self, x, z, par })
    }

    /// The same for the measurements themselves, for the fit without a diagonal.
    pub(super) fn raw_factors(&self, par: Par) -> Result<Factors<'_>, Error> {
        let triplets = |m: &Mat<f64>| -> Result<Triplets, Error> {
            let f = dense::svd(m.as_ref())?;
            Ok(Triplets { u: f.u, s: f.s, v: f.v })
        };
        let z = self.side.as_ref().map(|(_, w)| triplets(w)).transpose()?;
        Ok(Factors { problem: self, x: triplets(&self.m)?, z, par })
    }
}

/// `U diag(s) V^T`, s descending.
#[derive(Debug)]
struct Triplets {
    u: Mat<f64>,
    s: Vec<f64>,
    v: Mat<f64>,
}

impl Triplets {
    fn of(block: &LowBlock, par: Par) -> Result<Self, Error> {
        let q = dense::qr(block.left.as_ref())?;
        let f = dense::svd(q.r.as_ref())?;
        let u = la::mul(q.q.as_ref(), f.u.as_ref(), par);
        Ok(Triplets { u, s: f.s, v: la::mul(block.right.as_ref(), f.v.as_ref(), par) })
    }

    /// Singular values that are more than noise of the thresholding.
    fn rank(&self) -> usize {
        let top = self.s.first().copied().unwrap_or(0.0);
        self.s.iter().take_while(|&&s| s > 1e-6 * top).count()
    }

    fn u(&self, r: usize) -> MatRef<'_, f64> {
        self.u.as_ref().subcols(0, r)
    }

    /// `V_r diag(s_r)`.
    fn image(&self, r: usize) -> Mat<f64> {
        la::scale_cols(self.v.as_ref().subcols(0, r), &self.s[..r])
    }
}

/// Factors of the low-rank blocks, from which a [`Lord`] of any rank is made.
#[derive(Debug)]
pub(super) struct Factors<'a> {
    problem: &'a Problem,
    x: Triplets,
    z: Option<Triplets>,
    par: Par,
}

impl Factors<'_> {
    fn probes(&self) -> usize {
        self.problem.omega.ncols()
    }

    pub(super) fn rank(&self) -> usize {
        self.z.as_ref().map_or(usize::MAX, Triplets::rank).min(self.x.rank())
    }

    pub(super) fn one_pass_rank(&self) -> usize {
        let (p, rank) = (self.probes(), self.rank());
        if rank <= 3 * p / 4 { rank } else { p / 2 }
    }

    /// Largest rank that is safe in one pass.
    pub(super) fn largest_one_pass_rank(&self) -> usize {
        self.rank().min(3 * self.probes() / 4)
    }

    /// From the measurements alone.
    pub(super) fn one_pass(&self, r: usize, fit: &Fit, options: &LordOptions) -> Result<Lord, Error> {
        let r = r.min(options.max_rank.unwrap_or(r)).min(self.x.s.len());
        let par = self.par;
        let u = self.x.u(r);
        let Some(z) = &self.z else {
            // C (U^T Omega) = U^T X
            let seen = la::mul_tn(self.problem.omega.as_ref(), u, par);
            let mut core = la::lstsq(seen.as_ref(), self.x.image(r).as_ref(), par)?;
            dense::symmetrize(core.as_mut());
            return symmetric(&fit.d, u, core, options, par);
        };
        let Some((psi, _)) = &self.problem.side else {
            return Err(Error::argument("sketch lord", "a left block without left probes"));
        };
        let v = z.u(r);
        // C (V^T Omega) = U^T X and (Psi^T U) C = Z^T V, averaged
        let first = la::lstsq(la::mul_tn(self.problem.omega.as_ref(), v, par).as_ref(), self.x.image(r).as_ref(), par)?;
        let second = la::lstsq(la::mul_tn(psi.as_ref(), u, par).as_ref(), z.image(r).as_ref(), par)?;
        let core = Mat::from_fn(r, r, |i, j| 0.5 * (first[(j, i)] + second[(i, j)]));
        Lord::new(fit.d.clone(), u.to_owned(), core, Some(v.to_owned()))
    }

    /// With a second visit: `C = U^T A V - U^T diag(d) V`.
    pub(super) fn two_pass(&self, products: &Products<'_>, fit: &Fit, options: &LordOptions) -> Result<Lord, Error> {
        let rank = self.rank().min(self.probes());
        let r = rank.min(options.max_rank.unwrap_or(rank));
        let par = self.par;
        let u = self.x.u(r);
        let v = self.z.as_ref().map_or(u, |z| z.u(r));
        products.plan(products.spent() + r);
        let mut image = products.apply(v)?;
        let scaled = la::scale_rows(&fit.d, v);
        dense::axpy(image.as_mut(), -1.0, scaled.as_ref());
        let mut core = la::mul_tn(u, image.as_ref(), par);
        if self.z.is_none() {
            dense::symmetrize(core.as_mut());
            return symmetric(&fit.d, u, core, options, par);
        }
        Lord::new(fit.d.clone(), u.to_owned(), core, Some(v.to_owned()))
    }

    pub(super) fn report(&self, fit: &Fit, (products, products_t): (usize, usize)) -> LordReport {
        let p = self.probes();
        let full = |t: &Triplets| t.s.len() == p && t.s[p - 1] > 0.05 * t.s[0];
        LordReport {
            method: "joint",
            products,
            products_t,
            iterations: fit.iterations,
            residual: fit.residual,
            converged: fit.converged,
            interrupted: fit.interrupted,
            dual: fit.dual,
            sketch_too_small: full(&self.x) || self.z.as_ref().is_some_and(full),
        }
    }
}

/// Diagonalises a symmetric core.
fn symmetric(d: &[f64], u: MatRef<'_, f64>, core: Mat<f64>, options: &LordOptions, par: Par) -> Result<Lord, Error> {
    let e = dense::eigh(core.as_ref())?;
    let mut order: Vec<usize> = (0..e.values.len()).filter(|&j| !options.psd || e.values[j] > 0.0).collect();
    order.sort_by(|&i, &j| e.values[j].abs().total_cmp(&e.values[i].abs()));
    let basis = la::mul(u, la::permute_cols(e.vectors.as_ref(), &order).as_ref(), par);
    let core = Mat::from_fn(order.len(), order.len(), |i, j| if i == j { e.values[order[i]] } else { 0.0 });
    let d = d.iter().map(|x| if options.psd { x.max(0.0) } else { *x }).collect();
    Lord::new(d, basis, core, None)
}
