//! A stored matrix. A product with k columns costs `2 m n k` flops.

use super::prelude::*;
use std::sync::OnceLock;

/// A matrix held in memory.
#[derive(Clone, Debug)]
pub struct Dense<T: Scalar> {
    mat: Mat<T>,
    props: Props,
    /// What the caller's word has to stand up to in debug builds.
    probed: OnceLock<Result<(), Error>>,
    /// Facts that stand on the caller's word.
    word: Props,
}

impl<T: Scalar> Dense<T> {
    /// Takes a matrix; nothing is assumed about it.
    pub fn new(mat: Mat<T>) -> Self {
        Dense { mat, props: Props::NONE, probed: OnceLock::from(Ok(())), word: Props::NONE }
    }

    /// Copies the lower triangle to the upper one, which makes the matrix self-adjoint by construction.
    pub fn symmetric(mut mat: Mat<T>) -> Result<Self, Error> {
        if mat.nrows() != mat.ncols() {
            return Err(Error::NotSquare { op: "Dense::symmetric", nrows: mat.nrows(), ncols: mat.ncols() });
        }
        kernels::mirror_lower(mat.as_mut());
        let n = mat.nrows();
        Ok(Dense { mat, props: Props::SELF_ADJOINT.close(n, n), probed: OnceLock::from(Ok(())), word: Props::NONE })
    }

    /// The matrix with facts that the caller vouches for; SELF_ADJOINT and PSD are probed at the first product in debug
    /// builds.
    pub fn with_props(mat: Mat<T>, props: Props) -> Self {
        let props = props.close(mat.nrows(), mat.ncols());
        Dense { mat, props, probed: OnceLock::new(), word: props }
    }

    /// The matrix.
    pub fn mat(&self) -> MatRef<'_, T> {
        self.mat.as_ref()
    }

    fn shape(&self) -> (usize, usize) {
        (self.mat.nrows(), self.mat.ncols())
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        if cfg!(debug_assertions) {
            let product = |out: MatMut<'_, T>, x: MatRef<'_, T>| {
                kernels::gemm(out, T::ONE, self.mat.as_ref(), x, T::ZERO, Par::Seq);
                Ok(())
            };
            self.probed.get_or_init(|| super::probe::probe(self.props, self.mat.ncols(), product)).clone()?;
        }
        let a = side.pick(self.mat.as_ref(), self.mat.as_ref().transpose());
        kernels::gemm(out, alpha, a, x, beta, par);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn word(&self) -> Props {
        self.word
    }
    fn price(&self, k: usize) -> Cost {
        let (m, n, k) = (self.mat.nrows() as f64, self.mat.ncols() as f64, k as f64);
        cost::<T>(2.0 * m * n * k, m * n + (m + n) * k)
    }
}

operator!(Dense, Kind::Dense, assumed: word);
