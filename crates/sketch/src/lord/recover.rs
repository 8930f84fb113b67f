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
use numerics::dense::{self, TallQr};
use numerics::progress::Observer;
use numerics::rng::Role;
use numerics::{Mat, MatRef, Par, Scalar};

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
/// A is `n x n`. Cost: the products; `3 n p^2 + 9 p^3` flops an iteration of the solver (20 to 150 of them), `8 n p^2` for the
/// factors; three arrays of `n x p` doubles, and a bit an entry for sign probes; all twice without symmetry. Source: arXiv:2509.23587
/// for the idea; solver and recovery are our own derivation.
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
    let problem = Problem { measured: &measured, par: settings.par };
    let mut fit = problem.solve(&options.solver, settings.observer)?;
    let factors = problem.factors(&mut fit)?;
    let lord = match options.passes {
        Passes::One => factors.one_pass(factors.one_pass_rank(), &fit.d, options)?,
        Passes::Two => factors.two_pass(&products, &fit.d, options)?,
    };
    Ok(lord.with_report(factors.report(&fit, products.counts())))
}

/// The one-pass fit of measurements that were taken before.
///
/// Cost: as [`sketch_lord`] without the products.
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
    let problem = Problem { measured, par };
    let mut fit = problem.solve(&options.solver, observer)?;
    let factors = problem.factors(&mut fit)?;
    let lord = factors.one_pass(factors.one_pass_rank(), &fit.d, options)?;
    Ok(lord.with_report(factors.report(&fit, measured.products())))
}

pub(super) fn measure(products: &Products<'_>, p: usize) -> Result<Measurements, Error> {
    let n = products.square()?;
    crate::loo::check_probes(products.op, p, n)?;
    Measurements::measure(products, 0..p)
}

/// Measurements to be explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem<'a> {
    pub(super) measured: &'a Measurements,
    pub(super) par: Par,
}

impl<'a> Problem<'a> {
    pub(super) fn solve(&self, solver: &Solver, observer: &dyn Observer) -> Result<Fit, Error> {
        let measured = self.measured;
        let mut blocks = vec![Block { omega: measured.packed(Role::RightProbe, self.par), m: measured.right() }];
        if let Some(w) = measured.left() {
            blocks.push(Block { omega: measured.packed(Role::LeftProbe, self.par), m: w });
        }
        match solver {
            Solver::Admm(options) => admm(&blocks, options, observer, self.par),
            Solver::Proximal(options) => proximal(&blocks, options, observer, self.par),
        }
    }

    /// Singular triplets of the blocks of a fit, which are taken from it.
    pub(super) fn factors(&self, fit: &mut Fit) -> Result<Factors<'a>, Error> {
        let mut triplets = core::mem::take(&mut fit.blocks).into_iter().map(|b| Triplets::of(b, self.par));
        let x = triplets.next().transpose()?;
        let x = x.ok_or_else(|| Error::argument("sketch lord", "the solver left no block"))?;
        let z = triplets.next().transpose()?;
        Ok(Factors { measured: self.measured, x, z, par: self.par })
    }

    /// The same for the measurements themselves, for the fit without a diagonal; `most` left vectors are made.
    pub(super) fn raw_factors(&self, most: usize) -> Result<Factors<'a>, Error> {
        let triplets = |m| Triplets::of_matrix(m, most, self.par);
        let z = self.measured.left().map(triplets).transpose()?;
        Ok(Factors { measured: self.measured, x: triplets(self.measured.right())?, z, par: self.par })
    }
}

/// `U diag(s) V^T`, s descending.
#[derive(Debug)]
struct Triplets {
    /// The leading left vectors.
    u: Mat<f64>,
    s: Vec<f64>,
    v: Mat<f64>,
}

impl Triplets {
    fn of(block: LowBlock, par: Par) -> Result<Self, Error> {
        let LowBlock { left, right } = block;
        let most = left.ncols();
        let f = Self::of_columns(left, most, par)?;
        Ok(Triplets { v: la::mul(right.as_ref(), f.v.as_ref(), par), ..f })
    }

    fn of_matrix(m: MatRef<'_, f64>, most: usize, par: Par) -> Result<Self, Error> {
        Self::of_columns(m.to_owned(), most, par)
    }

    /// Of a tall matrix, in its memory, with `most` left vectors at most.
    fn of_columns(a: Mat<f64>, most: usize, par: Par) -> Result<Self, Error> {
        if a.nrows() < a.ncols() {
            let f = dense::svd(a.as_ref())?;
            return Ok(Triplets { u: f.u, s: f.s, v: f.v });
        }
        let q = TallQr::of(a, par)?;
        let f = dense::svd(q.r())?;
        let u = q.q_times(f.u.subcols(0, most.min(f.u.ncols())), par);
        Ok(Triplets { u, s: f.s, v: f.v })
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
    measured: &'a Measurements,
    x: Triplets,
    z: Option<Triplets>,
    par: Par,
}

impl Factors<'_> {
    fn probes(&self) -> usize {
        self.measured.columns().len()
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
    pub(super) fn one_pass(&self, r: usize, d: &[f64], options: &LordOptions) -> Result<Lord, Error> {
        let r = r.min(options.max_rank.unwrap_or(r)).min(self.x.u.ncols());
        let par = self.par;
        let u = self.x.u(r);
        let Some(z) = &self.z else {
            // C (U^T Omega) = U^T X
            let seen = self.measured.probes_times(Role::RightProbe, u, par);
            let mut core = la::lstsq(seen.as_ref(), self.x.image(r).as_ref(), par)?;
            dense::symmetrize(core.as_mut());
            return symmetric(d, u, core, options, par);
        };
        let v = z.u(r);
        // C (V^T Omega) = U^T X and (Psi^T U) C = Z^T V, averaged
        let seen = |role, basis| self.measured.probes_times(role, basis, par);
        let first = la::lstsq(seen(Role::RightProbe, v).as_ref(), self.x.image(r).as_ref(), par)?;
        let second = la::lstsq(seen(Role::LeftProbe, u).as_ref(), z.image(r).as_ref(), par)?;
        let core = Mat::from_fn(r, r, |i, j| 0.5 * (first[(j, i)] + second[(i, j)]));
        Lord::new(d.to_vec(), u.to_owned(), core, Some(v.to_owned()))
    }

    /// With a second visit: `C = U^T A V - U^T diag(d) V`.
    pub(super) fn two_pass(&self, products: &Products<'_>, d: &[f64], options: &LordOptions) -> Result<Lord, Error> {
        let rank = self.rank().min(self.probes());
        let r = rank.min(options.max_rank.unwrap_or(rank));
        let par = self.par;
        let u = self.x.u(r);
        let v = self.z.as_ref().map_or(u, |z| z.u(r));
        products.plan(products.spent() + r);
        let mut core = Mat::zeros(r, r);
        products.by_blocks(0..r, |columns| {
            let v = v.subcols(columns.start, columns.len());
            let mut image = products.apply(v)?;
            for j in 0..columns.len() {
                let column = image.col_as_slice_mut(j).iter_mut().zip(d).zip(v.col(j).iter());
                column.for_each(|((y, d), v)| *y -= d * v);
            }
            let part = la::mul_tn(u, image.as_ref(), par);
            dense::copy(core.as_mut().subcols_mut(columns.start, columns.len()), part.as_ref());
            Ok(())
        })?;
        if self.z.is_none() {
            dense::symmetrize(core.as_mut());
            return symmetric(d, u, core, options, par);
        }
        Lord::new(d.to_vec(), u.to_owned(), core, Some(v.to_owned()))
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
            bytes: self.measured.bytes() + fit.bytes,
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
