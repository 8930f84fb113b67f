//! `eigsh`: some eigenpairs of a self-adjoint operator by thick-restart Lanczos.
//!
//! Source: Wu and Simon 2000 (thick restart), with full two-pass reorthogonalisation. A basis of
//! `m = max(2k + 20, 40)` vectors; each restart keeps `k + (m - k) / 2` Ritz vectors. A breakdown continues with a
//! random vector, and after convergence **probing runs** on the orthogonal complement look for copies of repeated
//! eigenvalues that a single Krylov space cannot see; about 1.6 times the products of a run without them. The
//! operator is multiplied by a power of two that makes `|A v|` about one. Sizes up to 64, and `k > n / 4`, are
//! computed densely.

use super::basis::{Basis, fresh};
use super::block::{Product, check_self_adjoint};
use super::vector::{axpy, column, norm, unit_scale};
use crate::{Error, LinearOperator};
use numerics::dense::{self, Eigh, gemm};
use numerics::progress::{Observer, Progress};
use numerics::{Mat, Par, Scalar};

/// Which eigenvalues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The algebraically largest, descending.
    Largest,
    /// The algebraically smallest, ascending.
    Smallest,
    /// As many at **each** end as asked for: the smallest ascending, then the largest descending.
    Both,
    /// Those of largest magnitude, descending in magnitude.
    Magnitude,
}

impl Which {
    /// Indices of ascending `values`, most wanted first.
    fn order<T: Scalar>(self, values: &[T]) -> Vec<usize> {
        let n = values.len();
        match self {
            Which::Largest => (0..n).rev().collect(),
            Which::Smallest => (0..n).collect(),
            Which::Both => (0..n).map(|i| if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 }).collect(),
            Which::Magnitude => {
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&i, &j| values[j].abs().to_f64().total_cmp(&values[i].abs().to_f64()));
                order
            }
        }
    }

    /// How far a value lies on the wanted side; `end` is 0 for the low end of `Both`, 1 for the high one.
    fn rank<T: Scalar>(self, end: usize, value: T) -> T {
        match self {
            Which::Largest => value,
            Which::Smallest => -value,
            Which::Magnitude => value.abs(),
            Which::Both if end == 0 => -value,
            Which::Both => value,
        }
    }

    fn ends(self) -> usize {
        if self == Which::Both { 2 } else { 1 }
    }
}

/// Tolerance, limits and seed of [`eigsh`].
#[derive(Clone, Copy)]
pub struct EigshOptions<'a> {
    /// A pair has converged when its residual is at most `tol` times the largest magnitude of a Ritz value.
    /// `None`: 1e-10 in `f64`, 1e-5 in `f32`.
    pub tol: Option<f64>,
    /// Largest number of restarts of one run.
    pub max_restarts: usize,
    /// Seed of starting and probing vectors.
    pub seed: u64,
    /// Whether to look for missed copies of repeated eigenvalues after convergence.
    pub probing: bool,
    /// Told of every restart, with the number of converged pairs; may stop the search.
    pub observer: Option<&'a dyn Observer>,
}

impl core::fmt::Debug for EigshOptions<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EigshOptions")
            .field("tol", &self.tol)
            .field("max_restarts", &self.max_restarts)
            .field("seed", &self.seed)
            .field("probing", &self.probing)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}

impl Default for EigshOptions<'_> {
    fn default() -> Self {
        Self { observer: None, tol: None, max_restarts: 500, seed: 0, probing: true }
    }
}

/// Whether copies of repeated eigenvalues can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplicities {
    /// A dense decomposition: nothing is missing.
    Exact,
    /// A probing run on the complement of the pairs found none that belongs among them.
    Probed,
    /// Probing was turned off or did not converge.
    Unverified,
}

/// What [`eigsh`] did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EigshReport {
    /// Whether all pairs met the tolerance.
    pub converged: bool,
    /// Whether the observer stopped the search; the pairs are the best so far.
    pub interrupted: bool,
    /// Columns multiplied by the operator.
    pub products: usize,
    /// Restarts, probing included.
    pub restarts: usize,
    /// Probing runs.
    pub probes: usize,
    /// `|A x - theta x|` of every pair, from one final block product.
    pub residuals: Vec<f64>,
    /// Largest magnitude of a Ritz value met: errors of the values are relative to this, not to the value.
    pub scale: f64,
    /// Number of returned values below `tol * scale`: these carry no digits.
    pub insignificant: usize,
    /// What is known about repeated eigenvalues.
    pub multiplicities: Multiplicities,
}

/// Eigenpairs with their report.
#[derive(Clone, Debug)]
pub struct Eigenpairs<T: Scalar> {
    /// The eigenvalues, ordered as [`Which`] says.
    pub values: Vec<T>,
    /// Orthonormal eigenvectors, one per column.
    pub vectors: Mat<T>,
    /// What was done.
    pub report: EigshReport,
}

/// `k` eigenpairs of a self-adjoint operator (`2 k` for [`Which::Both`]).
///
/// Pairs that did not converge are returned too; [`EigshReport::converged`] tells.
///
/// ```
/// use linop_core::krylov::{EigshOptions, Which, eigsh};
/// use linop_core::ops::Diagonal;
/// use numerics::Par;
///
/// let a = Diagonal::new((0..100).map(f64::from).collect());
/// let top = eigsh(&a, 2, Which::Largest, &EigshOptions::default(), Par::Seq)?;
/// assert!(top.report.converged);
/// assert!((top.values[0] - 99.0).abs() < 1e-8 && (top.values[1] - 98.0).abs() < 1e-8);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn eigsh<T: Scalar>(
    a: &dyn LinearOperator<T>,
    k: usize,
    which: Which,
    options: &EigshOptions<'_>,
    par: Par,
) -> Result<Eigenpairs<T>, Error> {
    const OP: &str = "eigsh";
    let n = check_self_adjoint(OP, a)?;
    let total = k.saturating_mul(which.ends());
    if total > n {
        return Err(Error::InvalidArgument { op: OP, what: format!("{total} eigenpairs of an operator of size {n}") });
    }
    let tol = options.tol.unwrap_or(if size_of::<T>() == 4 { 1e-5 } else { 1e-10 });
    if !(0.0..1.0).contains(&tol) {
        return Err(Error::InvalidArgument { op: OP, what: format!("tol = {tol}, needs 0 <= tol < 1") });
    }
    if total == 0 {
        return assemble(a, Mat::zeros(n, 0), Vec::new(), which, tol, empty_report(), par);
    }
    if n <= 64 || total > n / 4 {
        return dense_pairs(a, total, which, tol, par);
    }

    let mut search = Search {
        by_a: Product::new(Some(a), false, n, 1, par),
        n,
        which,
        tol: T::from_f64(tol),
        max_restarts: options.max_restarts,
        seed: options.seed,
        draw: 0,
        scale: T::ONE,
        theta_max: T::ZERO,
        restarts: 0,
        observer: options.observer,
        interrupted: false,
        par,
    };
    search.choose_scale()?;
    let nothing = Basis::new(n, 0);
    let main = search.run(total, &nothing, None)?;
    let (mut values, mut vectors, converged) = (main.values, main.vectors, main.converged);
    let (mut probes, mut multiplicities) = (0, Multiplicities::Unverified);
    if converged && options.probing && !search.interrupted {
        // Every displacement improves a wanted value, so this ends; the bound is for operators that are not symmetric.
        while probes <= n {
            probes += 1;
            let locked = Basis::from_mat(vectors.clone());
            let found = search.run(which.ends(), &locked, Some(&values))?;
            if search.interrupted || !found.converged && !found.inside {
                break;
            }
            if found.inside || !search.displaces(&found.values, &values) {
                multiplicities = Multiplicities::Probed;
                break;
            }
            (values, vectors) = search.merge(&vectors, &found.vectors, total)?;
        }
    }
    let inverse = search.scale.recip();
    let values = values.into_iter().map(|v| v * inverse).collect();
    let report = EigshReport {
        converged,
        interrupted: search.interrupted,
        products: search.by_a.columns,
        restarts: search.restarts,
        probes,
        residuals: Vec::new(),
        scale: (search.theta_max * inverse).to_f64(),
        insignificant: 0,
        multiplicities,
    };
    assemble(a, vectors, values, which, tol, report, par)
}

fn empty_report() -> EigshReport {
    EigshReport {
        converged: true,
        interrupted: false,
        products: 0,
        restarts: 0,
        probes: 0,
        residuals: Vec::new(),
        scale: 0.0,
        insignificant: 0,
        multiplicities: Multiplicities::Exact,
    }
}

/// All eigenpairs densely, then the wanted ones.
fn dense_pairs<T: Scalar>(
    a: &dyn LinearOperator<T>,
    total: usize,
    which: Which,
    tol: f64,
    par: Par,
) -> Result<Eigenpairs<T>, Error> {
    let n = a.nrows();
    let mut full = crate::to_dense(a, par)?;
    dense::symmetrize(full.as_mut());
    let e = dense::eigh(full.as_ref())?;
    let order = which.order(&e.values);
    let values: Vec<T> = order[..total].iter().map(|&i| e.values[i]).collect();
    let vectors = Mat::from_fn(n, total, |i, j| e.vectors[(i, order[j])]);
    let scale = e.values.iter().fold(0.0, |s: f64, v| s.max(v.to_f64().abs()));
    let report = EigshReport { products: n, scale, ..empty_report() };
    assemble(a, vectors, values, which, tol, report, par)
}

/// Puts the pairs into the documented order and recomputes their residuals.
fn assemble<T: Scalar>(
    a: &dyn LinearOperator<T>,
    vectors: Mat<T>,
    values: Vec<T>,
    which: Which,
    tol: f64,
    mut report: EigshReport,
    par: Par,
) -> Result<Eigenpairs<T>, Error> {
    let k = values.len();
    let mut order: Vec<usize> = (0..k).collect();
    let key = |i: usize| values[i].to_f64();
    match which {
        Which::Largest => order.sort_by(|&i, &j| key(j).total_cmp(&key(i))),
        Which::Smallest => order.sort_by(|&i, &j| key(i).total_cmp(&key(j))),
        Which::Magnitude => order.sort_by(|&i, &j| key(j).abs().total_cmp(&key(i).abs())),
        Which::Both => {
            order.sort_by(|&i, &j| key(i).total_cmp(&key(j)));
            order[k / 2..].reverse();
        }
    }
    let vectors = Mat::from_fn(vectors.nrows(), k, |i, j| vectors[(i, order[j])]);
    let values: Vec<T> = order.iter().map(|&i| values[i]).collect();
    let mut by_a = Product::new(Some(a), false, a.nrows(), k, par);
    for j in 0..k {
        by_a.set(j, vectors.col_as_slice(j));
    }
    by_a.run(k)?;
    report.products += by_a.columns;
    report.residuals = (0..k)
        .map(|j| {
            let mut r = by_a.out(j).to_vec();
            axpy(&mut r, -values[j], vectors.col_as_slice(j));
            norm(&r).to_f64()
        })
        .collect();
    report.insignificant = values.iter().filter(|v| v.to_f64().abs() < tol * report.scale).count();
    Ok(Eigenpairs { values, vectors, report })
}

/// The state that main and probing runs share.
struct Search<'a, T: Scalar> {
    by_a: Product<'a, T>,
    n: usize,
    which: Which,
    tol: T,
    max_restarts: usize,
    seed: u64,
    draw: u64,
    /// The power of two the operator is multiplied by.
    scale: T,
    /// Largest magnitude of a Ritz value so far, scaled.
    theta_max: T,
    restarts: usize,
    observer: Option<&'a dyn Observer>,
    interrupted: bool,
    par: Par,
}

/// What one run found, scaled.
struct Found<T: Scalar> {
    values: Vec<T>,
    vectors: Mat<T>,
    converged: bool,
    /// A probing run saw early that its best value lies inside the wanted ones.
    inside: bool,
}

impl<T: Scalar> Search<'_, T> {
    /// Random unit vector orthogonal to the bases.
    fn fresh(&mut self, bases: &[&Basis<T>]) -> Result<Vec<T>, Error> {
        fresh(self.n, self.seed, &mut self.draw, bases, self.par).ok_or(Error::NoConvergence {
            op: "eigsh",
            iters: self.restarts,
            residual: f64::NAN,
        })
    }

    fn choose_scale(&mut self) -> Result<(), Error> {
        let v = self.fresh(&[])?;
        self.draw = 0;
        let size = norm(self.by_a.one(&v)?);
        if !size.is_finite() {
            return Err(Error::NotFinite { op: "eigsh", operand: "a product with A" });
        }
        self.scale = unit_scale(size);
        Ok(())
    }

    /// Thick-restart Lanczos for the `k` most wanted pairs orthogonal to `locked`.
    fn run(&mut self, k: usize, locked: &Basis<T>, wanted: Option<&[T]>) -> Result<Found<T>, Error> {
        let room = self.n - locked.len();
        let m = room.min((2 * k + 20).max(40));
        let mut basis = Basis::new(self.n, m);
        let start = self.fresh(&[locked])?;
        basis.push(&start, T::ONE);
        let mut h = Mat::<T>::zeros(m, m);
        let mut w = vec![T::ZERO; self.n];
        let mut coefficients = vec![T::ZERO; m];
        let mut ignored = vec![T::ZERO; locked.len()];
        let mut c = vec![T::ZERO; locked.len().max(m)];
        let mut largest = T::ZERO;
        for restart in 0..=self.max_restarts {
            let beta = loop {
                let j = basis.len() - 1;
                self.by_a.set(0, basis.col(j));
                self.by_a.run_scaled(1, self.scale)?;
                w.copy_from_slice(self.by_a.out(0));
                coefficients[..=j].fill(T::ZERO);
                for _ in 0..2 {
                    locked.pass(&mut w, &mut ignored, &mut c, self.par);
                    basis.pass(&mut w, &mut coefficients[..=j], &mut c, self.par);
                }
                for i in 0..=j {
                    h[(i, j)] = coefficients[i];
                    h[(j, i)] = coefficients[i];
                    largest = largest.max(coefficients[i].abs());
                }
                let mut beta = norm(&w);
                if !(beta.is_finite() && coefficients[j].is_finite()) {
                    return Err(Error::NotFinite { op: "eigsh", operand: "a product with A" });
                }
                largest = largest.max(beta);
                let breakdown = beta <= T::from_f64(10.0 * (m as f64).sqrt()) * T::EPS * largest;
                if breakdown {
                    beta = T::ZERO;
                }
                if j + 1 == m {
                    break beta;
                }
                if let Some(wanted) = wanted
                    && j + 1 >= 16
                    && (j + 1) % 8 == 0
                    && self.inside(&ritz(&h, j + 1)?, beta, wanted)
                {
                    return Ok(Found {
                        values: Vec::new(),
                        vectors: Mat::zeros(self.n, 0),
                        converged: false,
                        inside: true,
                    });
                }
                if breakdown {
                    let next = self.fresh(&[&basis, locked])?;
                    basis.push(&next, T::ONE);
                } else {
                    basis.push(&w, beta.recip());
                }
            };
            self.restarts += usize::from(restart > 0);
            let e = ritz(&h, m)?;
            for v in &e.values {
                self.theta_max = self.theta_max.max(v.abs());
            }
            let order = self.which.order(&e.values);
            let limit = self.tol * self.theta_max;
            let met = order[..k].iter().filter(|&&i| beta * e.vectors[(m - 1, i)].abs() <= limit).count();
            let converged = met == k;
            if let Some(observer) = self.observer {
                let progress = Progress {
                    task: if wanted.is_some() { "eigsh probing" } else { "eigsh" },
                    done: restart as u64,
                    of: 0,
                    metric: Some(("converged pairs", met as f64)),
                };
                self.interrupted = observer.report(&progress).is_break();
            }
            if converged || self.interrupted || restart == self.max_restarts {
                let s = Mat::from_fn(m, k, |i, j| e.vectors[(i, order[j])]);
                basis.rotate(s.as_ref(), self.par);
                let values = order[..k].iter().map(|&i| e.values[i]).collect();
                return Ok(Found { values, vectors: basis.as_ref().to_owned(), converged, inside: false });
            }
            if let Some(wanted) = wanted
                && self.inside(&e, beta, wanted)
            {
                return Ok(Found {
                    values: Vec::new(),
                    vectors: Mat::zeros(self.n, 0),
                    converged: false,
                    inside: true,
                });
            }
            let keep = (k + (m - k) / 2).min(m - 1);
            let s = Mat::from_fn(m, keep, |i, j| e.vectors[(i, order[j])]);
            basis.rotate(s.as_ref(), self.par);
            h.fill(T::ZERO);
            for j in 0..keep {
                h[(j, j)] = e.values[order[j]];
            }
            if beta == T::ZERO {
                let next = self.fresh(&[&basis, locked])?;
                basis.push(&next, T::ONE);
            } else {
                basis.push(&w, beta.recip());
            }
        }
        Err(Error::NoConvergence { op: "eigsh", iters: self.restarts, residual: f64::NAN })
    }

    /// The least wanted of the wanted values, as a rank, at one end.
    fn worst(&self, end: usize, wanted: &[T]) -> T {
        let mut ranks: Vec<T> = wanted.iter().map(|&v| self.which.rank(end, v)).collect();
        ranks.sort_by(|a, b| b.to_f64().total_cmp(&a.to_f64()));
        ranks[wanted.len() / self.which.ends() - 1]
    }

    /// Whether the best Ritz values lie inside the wanted ones by more than ten of their residuals, at every end.
    fn inside(&self, e: &Eigh<T>, beta: T, wanted: &[T]) -> bool {
        let m = e.values.len();
        let order = self.which.order(&e.values);
        (0..self.which.ends()).all(|end| {
            let i = order[end];
            let residual = beta * e.vectors[(m - 1, i)].abs();
            self.which.rank(end, e.values[i]) + T::from_f64(10.0) * residual < self.worst(end, wanted)
        })
    }

    /// Whether a probing run found a value that belongs among the wanted ones.
    fn displaces(&self, found: &[T], wanted: &[T]) -> bool {
        let slack = T::from_f64(10.0) * self.tol * self.theta_max;
        (0..self.which.ends()).any(|end| self.which.rank(end, found[end]) > self.worst(end, wanted) + slack)
    }

    /// Rayleigh-Ritz on `[X, x]`; the best `k`.
    fn merge(&mut self, x: &Mat<T>, extra: &Mat<T>, k: usize) -> Result<(Vec<T>, Mat<T>), Error> {
        let mut basis = Basis::new(self.n, x.ncols() + extra.ncols());
        for v in (0..x.ncols()).map(|j| x.col_as_slice(j)).chain((0..extra.ncols()).map(|j| extra.col_as_slice(j))) {
            let mut v = v.to_vec();
            let (mut ignored, mut c) = (vec![T::ZERO; basis.len()], vec![T::ZERO; basis.len()]);
            basis.project_out(&mut v, &mut ignored, &mut c, self.par);
            let length = norm(&v);
            basis.push(&v, length.recip());
        }
        let size = basis.len();
        let mut h = Mat::zeros(size, size);
        for j in 0..size {
            self.by_a.set(0, basis.col(j));
            self.by_a.run_scaled(1, self.scale)?;
            gemm(
                h.as_mut().subcols_mut(j, 1),
                T::ONE,
                basis.as_ref().transpose(),
                column(self.by_a.out(0)),
                T::ZERO,
                self.par,
            );
        }
        dense::symmetrize(h.as_mut());
        let e = dense::eigh(h.as_ref())?;
        let order = self.which.order(&e.values);
        let s = Mat::from_fn(size, k, |i, j| e.vectors[(i, order[j])]);
        basis.rotate(s.as_ref(), self.par);
        Ok((order[..k].iter().map(|&i| e.values[i]).collect(), basis.as_ref().to_owned()))
    }
}

/// Eigenpairs of the leading `j x j` block of the projected operator.
fn ritz<T: Scalar>(h: &Mat<T>, j: usize) -> Result<Eigh<T>, Error> {
    Ok(dense::eigh(h.as_ref().submatrix(0, 0, j, j))?)
}
