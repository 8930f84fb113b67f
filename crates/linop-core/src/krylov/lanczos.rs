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
use numerics::{Mat, Par, Scalar};

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
    const OP: &str = "lanczos";
    let n = check_self_adjoint(OP, a)?;
    if v.len() != n {
        return Err(Error::ShapeMismatch {
            op: OP,
            expected: format!("a vector of length {n}"),
            got: v.len().to_string(),
        });
    }
    finite(OP, "v", column(v))?;
    let length = norm(v);
    if steps == 0 || length == T::ZERO {
        return Err(Error::InvalidArgument { op: OP, what: "needs at least one step and a nonzero vector".into() });
    }
    let m = if reorth == Reorth::Full { steps.min(n) } else { steps };
    let mut by_a = Product::new(Some(a), false, n, 1, par);
    let mut basis = Basis::new(n, if reorth == Reorth::Full { m } else { 0 });
    let (mut h, mut c) = (vec![T::ZERO; m], vec![T::ZERO; m]);
    let (mut alpha, mut beta): (Vec<T>, Vec<T>) = (Vec::with_capacity(m), Vec::with_capacity(m));
    let mut q: Vec<T> = v.iter().map(|&x| x / length).collect();
    let mut previous = vec![T::ZERO; n];
    let mut w = vec![T::ZERO; n];
    let (mut largest, mut breakdown, mut last) = (T::ZERO, false, T::ZERO);
    for j in 0..m {
        w.copy_from_slice(by_a.one(&q)?);
        let aj = dot(&q, &w);
        if !aj.is_finite() {
            return Err(Error::NotFinite { op: OP, operand: "a product with A" });
        }
        axpy(&mut w, -aj, &q);
        axpy(&mut w, -last, &previous);
        if reorth == Reorth::Full {
            basis.push(&q, T::ONE);
            basis.project_out(&mut w, &mut h[..basis.len()], &mut c, par);
        }
        last = norm(&w);
        alpha.push(aj);
        largest = largest.max(aj.abs()).max(last);
        breakdown = last <= T::from_f64(10.0 * (m as f64).sqrt()) * T::EPS * largest;
        if breakdown {
            last = T::ZERO;
            break;
        }
        if j + 1 < m {
            beta.push(last);
            core::mem::swap(&mut previous, &mut q);
            let inverse = last.recip();
            for (q, &w) in q.iter_mut().zip(&w) {
                *q = w * inverse;
            }
        }
    }
    let basis = (reorth == Reorth::Full).then(|| basis.as_ref().to_owned());
    Ok(Lanczos { alpha, beta, residual: last, basis, norm: length, breakdown })
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
