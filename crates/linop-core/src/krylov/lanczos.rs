//! The Lanczos process: a tridiagonal matrix that stands for a self-adjoint operator as seen from one vector.
//!
//! Source: Golub and Meurant 2010 for the quadrature; reorthogonalisation in two passes. `m` steps cost `m` products
//! and, with reorthogonalisation, `4 n m^2` flops and `n m` memory. Without it copies of converged eigenvalues
//! ("ghosts") appear: weights stay usable, multiplicities do not.

use super::basis::Basis;
use super::block::{Product, check_self_adjoint, finite};
use super::vector::{axpy, column, dot, norm};
use crate::{Error, LinearOperator};
use numerics::dense::{Eigh, gemm, tridiag_eigh};
use numerics::{Mat, MatRef, Par, Scalar};
use rayon::prelude::*;

/// Whether new vectors are made orthogonal to all earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reorth {
    /// Against all, twice.
    #[default]
    Full,
    /// Only by the three-term recurrence; two vectors of memory.
    None,
}

/// The result of a Lanczos process.
#[derive(Clone, Debug)]
pub struct Lanczos<T: Scalar> {
    /// Diagonal of the tridiagonal matrix.
    pub alpha: Vec<T>,
    /// Its off-diagonal, one shorter.
    pub beta: Vec<T>,
    /// Norm of the vector that would have come next; zero after a breakdown.
    pub residual: T,
    /// The orthonormal vectors, with [`Reorth::Full`].
    pub basis: Option<Mat<T>>,
    /// Norm of the starting vector.
    pub norm: T,
    /// Whether an invariant subspace was found before the last step, so that the matrix is exact.
    pub breakdown: bool,
}

impl<T: Scalar> Lanczos<T> {
    /// Eigenvalues (ascending) and eigenvectors of the tridiagonal matrix.
    pub fn ritz(&self) -> Result<Eigh<T>, Error> {
        Ok(tridiag_eigh(&self.alpha, &self.beta)?)
    }

    /// Nodes and weights of the Gauss rule: `v^T f(A) v ~= |v|^2 sum_i weight_i f(node_i)`, exact for polynomials of
    /// degree up to `2 m - 1`.
    pub fn quadrature(&self) -> Result<Vec<(T, T)>, Error> {
        let e = self.ritz()?;
        Ok(e.values.iter().enumerate().map(|(i, &node)| (node, e.vectors[(0, i)] * e.vectors[(0, i)])).collect())
    }

    /// Upper bound of the largest eigenvalue that holds with high probability: top Ritz value plus its residual.
    pub fn upper_bound(&self) -> Result<T, Error> {
        let e = self.ritz()?;
        let m = e.values.len();
        Ok(e.values[m - 1] + self.residual * e.vectors[(m - 1, m - 1)].abs())
    }
}

/// Runs at most `steps` Lanczos steps from `v`.
///
/// ```
/// use linop_core::krylov::{Reorth, lanczos};
/// use linop_core::ops::Diagonal;
/// use numerics::Par;
///
/// let a = Diagonal::new(vec![1.0f64, 2.0, 4.0]);
/// let run = lanczos(&a, &[1.0, 1.0, 1.0], 3, Reorth::Full, Par::Seq)?;
/// assert!((run.ritz()?.values[2] - 4.0).abs() < 1e-12);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub fn lanczos<T: Scalar>(
    a: &dyn LinearOperator<T>,
    v: &[T],
    steps: usize,
    reorth: Reorth,
    par: Par,
) -> Result<Lanczos<T>, Error> {
    let mut runs = lanczos_block(a, column(v), steps, reorth, par)?;
    runs.pop().ok_or(Error::InvalidArgument { op: OP, what: "needs a vector".into() })
}

/// Runs from every column of `v`, side by side: each step multiplies all vectors as one block. Every run has the bits that it
/// has alone.
///
/// ```
/// use linop_core::krylov::{Reorth, lanczos, lanczos_block};
/// use linop_core::ops::Diagonal;
/// use numerics::{Mat, Par};
///
/// let a = Diagonal::new(vec![1.0f64, 2.0, 4.0]);
/// let v = Mat::from_fn(3, 2, |i, j| (1 + i * j) as f64);
/// let runs = lanczos_block(&a, v.as_ref(), 2, Reorth::Full, Par::Seq)?;
/// assert_eq!(runs[1].alpha, lanczos(&a, &[1.0, 2.0, 3.0], 2, Reorth::Full, Par::Seq)?.alpha);
/// # Ok::<(), linop_core::Error>(())
/// ```
///
/// # Errors
/// `NotSquare` or a missing fact about symmetry, `ShapeMismatch`, `NotFinite`, `InvalidArgument` for no steps or a zero
/// column.
pub fn lanczos_block<T: Scalar>(
    a: &dyn LinearOperator<T>,
    v: MatRef<'_, T>,
    steps: usize,
    reorth: Reorth,
    par: Par,
) -> Result<Vec<Lanczos<T>>, Error> {
    let n = check_self_adjoint(OP, a)?;
    if v.nrows() != n {
        return Err(Error::ShapeMismatch {
            op: OP,
            expected: format!("a vector of length {n}"),
            got: v.nrows().to_string(),
        });
    }
    finite(OP, "v", v)?;
    let m = if reorth == Reorth::Full { steps.min(n) } else { steps };
    let mut runs = (0..v.ncols()).map(|j| Run::new(v, j, m, reorth)).collect::<Result<Vec<_>, _>>()?;
    let mut by_a = Product::new(Some(a), false, n, runs.len(), par);
    for j in 0..m {
        let active: Vec<&mut Run<T>> = runs.iter_mut().filter(|run| !run.breakdown).collect();
        let runs_left = active.len();
        active.iter().enumerate().for_each(|(k, run)| by_a.set(k, &run.q));
        by_a.run(active.len())?;
        let more = j + 1 < m;
        let work = active.into_iter().enumerate().map(|(k, run)| (run, by_a.out(k)));
        if par.degree() > 1 && runs_left > 1 {
            // runs do not see each other
            let work: Vec<_> = work.collect();
            work.into_par_iter().try_for_each(|(run, product)| run.step(product, more, Par::Seq))?;
        } else {
            for (run, product) in work {
                run.step(product, more, par)?;
            }
        }
    }
    Ok(runs.into_iter().map(Run::finish).collect())
}

const OP: &str = "lanczos";

/// One process under way.
struct Run<T: Scalar> {
    steps: usize,
    norm: T,
    q: Vec<T>,
    previous: Vec<T>,
    w: Vec<T>,
    alpha: Vec<T>,
    beta: Vec<T>,
    last: T,
    largest: T,
    breakdown: bool,
    /// The vectors so far, and room for their coefficients; none without reorthogonalisation.
    basis: Option<(Basis<T>, Vec<T>, Vec<T>)>,
}

impl<T: Scalar> Run<T> {
    /// From column `j` of `v`.
    fn new(v: MatRef<'_, T>, j: usize, steps: usize, reorth: Reorth) -> Result<Self, Error> {
        let n = v.nrows();
        let mut q: Vec<T> = (0..n).map(|i| v[(i, j)]).collect();
        let length = norm(&q);
        if steps == 0 || length == T::ZERO {
            return Err(Error::InvalidArgument { op: OP, what: "needs at least one step and a nonzero vector".into() });
        }
        q.iter_mut().for_each(|x| *x /= length);
        let room = || vec![T::ZERO; steps];
        Ok(Run {
            steps,
            norm: length,
            q,
            previous: vec![T::ZERO; n],
            w: vec![T::ZERO; n],
            alpha: Vec::with_capacity(steps.min(n)),
            beta: Vec::with_capacity(steps.min(n)),
            last: T::ZERO,
            largest: T::ZERO,
            breakdown: false,
            basis: (reorth == Reorth::Full).then(|| (Basis::new(n, steps), room(), room())),
        })
    }

    /// A step, given the product with the latest vector; `more` if another step follows.
    fn step(&mut self, product: &[T], more: bool, par: Par) -> Result<(), Error> {
        self.w.copy_from_slice(product);
        let a = dot(&self.q, &self.w);
        if !a.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "a product with A" });
        }
        axpy(&mut self.w, -a, &self.q);
        axpy(&mut self.w, -self.last, &self.previous);
        if let Some((basis, h, c)) = &mut self.basis {
            basis.push(&self.q, T::ONE);
            let len = basis.len();
            basis.project_out(&mut self.w, &mut h[..len], c, par);
        }
        self.last = norm(&self.w);
        self.alpha.push(a);
        self.largest = self.largest.max(a.abs()).max(self.last);
        self.breakdown = self.last <= T::from_f64(10.0 * (self.steps as f64).sqrt()) * T::EPS * self.largest;
        if self.breakdown {
            self.last = T::ZERO;
        } else if more {
            self.beta.push(self.last);
            core::mem::swap(&mut self.previous, &mut self.q);
            let inverse = self.last.recip();
            self.q.iter_mut().zip(&self.w).for_each(|(q, &w)| *q = w * inverse);
        }
        Ok(())
    }

    fn finish(self) -> Lanczos<T> {
        let basis = self.basis.map(|(basis, ..)| basis.as_ref().to_owned());
        let Run { alpha, beta, last, norm, breakdown, .. } = self;
        Lanczos { alpha, beta, residual: last, basis, norm, breakdown }
    }
}

/// `f(A) v` by `steps` Lanczos steps with full reorthogonalisation: `|v| Q f(T) e_1`.
pub fn function_times_vector<T: Scalar>(
    a: &dyn LinearOperator<T>,
    v: &[T],
    steps: usize,
    f: impl Fn(T) -> T,
    par: Par,
) -> Result<Vec<T>, Error> {
    if v.iter().all(|&x| x == T::ZERO) && v.len() == a.ncols() {
        return Ok(vec![T::ZERO; a.nrows()]);
    }
    let run = lanczos(a, v, steps, Reorth::Full, par)?;
    let e = run.ritz()?;
    let m = e.values.len();
    let weights: Vec<T> = (0..m).map(|i| run.norm * f(e.values[i]) * e.vectors[(0, i)]).collect();
    let mut c = Mat::zeros(m, 1);
    gemm(c.as_mut(), T::ONE, e.vectors.as_ref(), column(&weights), T::ZERO, Par::Seq);
    let mut out = Mat::zeros(v.len(), 1);
    if let Some(q) = &run.basis {
        gemm(out.as_mut(), T::ONE, q.as_ref(), c.as_ref(), T::ZERO, par);
    }
    Ok(out.col_as_slice(0).to_vec())
}
