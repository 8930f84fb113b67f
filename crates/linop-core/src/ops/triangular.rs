//! Triangular matrices and their inverses by substitution. A product or solve costs `n^2 k` useful flops.

use super::prelude::*;
use numerics::dense::{Diag, Triangle};

/// A lower or upper triangular matrix; the other triangle is stored as zeros.
#[derive(Clone, Debug)]
pub struct Triangular<T: Scalar> {
    mat: Mat<T>,
    lower: bool,
    props: Props,
}

impl<T: Scalar> Triangular<T> {
    /// The lower triangle of a square matrix.
    pub fn lower(mat: Mat<T>) -> Result<Self, Error> {
        Self::build(mat, true)
    }

    /// The upper triangle of a square matrix.
    pub fn upper(mat: Mat<T>) -> Result<Self, Error> {
        Self::build(mat, false)
    }

    fn build(mut mat: Mat<T>, lower: bool) -> Result<Self, Error> {
        let n = mat.nrows();
        if n != mat.ncols() {
            return Err(Error::NotSquare { op: "Triangular", nrows: n, ncols: mat.ncols() });
        }
        for j in 0..n {
            for i in 0..n {
                if (lower && i < j) || (!lower && i > j) {
                    mat[(i, j)] = T::ZERO;
                }
            }
        }
        let unit = (0..n).all(|i| mat[(i, i)] == T::ONE);
        let props = (if lower { Props::LOWER } else { Props::UPPER }) | Props::UNIT_DIAG.when(unit);
        Ok(Triangular { mat, lower, props: props.close(n, n) })
    }

    /// The matrix, with zeros in the other triangle.
    pub fn mat(&self) -> MatRef<'_, T> {
        self.mat.as_ref()
    }

    /// Whether it is the lower triangle.
    pub fn is_lower(&self) -> bool {
        self.lower
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
        let n = self.mat.nrows() as f64;
        cost::<T>(2.0 * n * n * k as f64, n * n + 2.0 * n * k as f64)
    }
}

operator!(Triangular, Kind::Triangular);

/// The inverse of a triangular matrix, by substitution.
#[derive(Clone, Debug)]
pub struct TriangularInverse<T: Scalar> {
    of: Triangular<T>,
}

impl<T: Scalar> TriangularInverse<T> {
    /// The inverse; a zero on the diagonal is [`Error::Singular`].
    pub fn new(of: Triangular<T>) -> Result<Self, Error> {
        if (0..of.mat.nrows()).any(|i| of.mat[(i, i)] == T::ZERO) {
            return Err(Error::Singular { op: "TriangularInverse" });
        }
        Ok(TriangularInverse { of })
    }

    /// What it is the inverse of.
    pub fn operand(&self) -> &Triangular<T> {
        &self.of
    }

    fn shape(&self) -> (usize, usize) {
        self.of.shape()
    }
    fn req(&self, _: Side, k: usize, _: Par) -> StackReq {
        temp_req::<T>(self.of.mat.nrows(), k)
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (n, k) = (x.nrows(), x.ncols());
        temp!(t, _rest = stack, n * k);
        kernels::copy(view_mut(t, n, k), x);
        let a = side.pick(self.of.mat.as_ref(), self.of.mat.as_ref().transpose());
        let lower = self.of.lower == (side == Side::Plain);
        let triangle = if lower { Triangle::Lower } else { Triangle::Upper };
        kernels::trsm(triangle, Diag::NonUnit, a, view_mut(t, n, k), par);
        add_scaled(out, alpha, view(t, n, k), beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.of.props.inverse(self.of.mat.nrows())
    }
    fn price(&self, k: usize) -> Cost {
        self.of.price(k)
    }
}

operator!(TriangularInverse, Kind::TriangularInverse);
