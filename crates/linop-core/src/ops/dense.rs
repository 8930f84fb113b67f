//! A stored matrix. A product with k columns costs `2 m n k` flops.

use super::prelude::*;

/// A matrix held in memory.
#[derive(Clone, Debug)]
pub struct Dense<T: Scalar> {
    mat: Mat<T>,
    props: Props,
}

impl<T: Scalar> Dense<T> {
    /// Takes a matrix; nothing is assumed about it.
    pub fn new(mat: Mat<T>) -> Self {
        Dense { mat, props: Props::NONE }
    }

    /// Copies the lower triangle to the upper one, which makes the matrix self-adjoint by construction.
    pub fn symmetric(mut mat: Mat<T>) -> Result<Self, Error> {
        if mat.nrows() != mat.ncols() {
            return Err(Error::NotSquare { op: "Dense::symmetric", nrows: mat.nrows(), ncols: mat.ncols() });
        }
        kernels::mirror_lower(mat.as_mut());
        let n = mat.nrows();
        Ok(Dense { mat, props: Props::SELF_ADJOINT.close(n, n) })
    }

    /// The matrix with facts that the caller vouches for.
    pub fn with_props(mat: Mat<T>, props: Props) -> Self {
        let props = props.close(mat.nrows(), mat.ncols());
        Dense { mat, props }
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
        let a = side.pick(self.mat.as_ref(), self.mat.as_ref().transpose());
        kernels::gemm(out, alpha, a, x, beta, par);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let (m, n, k) = (self.mat.nrows() as f64, self.mat.ncols() as f64, k as f64);
        cost::<T>(2.0 * m * n * k, m * n + (m + n) * k)
    }
}

operator!(Dense, Kind::Dense);
