//! A stored matrix. A product with k columns costs `2 m n k` flops.
//!
//! Of a symmetric matrix the transpose is multiplied, and a narrow result is made row by row and then copied: so the product reads the
//! matrix as it lies in memory, instead of packing it for a few columns.

use super::prelude::*;
use std::sync::OnceLock;

/// Fewest rows, and most columns, for which a symmetric product is made row by row.
const TALL: usize = 512;
const NARROW: usize = 64;

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
    fn is_symmetric(&self) -> bool {
        self.props.contains(Props::SELF_ADJOINT)
    }
    fn req(&self, _: Side, k: usize, _: Par) -> StackReq {
        let n = self.mat.nrows();
        // fewer columns must not ask for more
        if self.is_symmetric() && n >= TALL && k > 1 { StackReq::new::<T>(n * k.min(NARROW)) } else { StackReq::EMPTY }
    }
    fn run(
        &self,
        side: Side,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        if cfg!(debug_assertions) {
            let product = |out: MatMut<'_, T>, x: MatRef<'_, T>| {
                kernels::gemm(out, T::ONE, self.mat.as_ref(), x, T::ZERO, Par::Seq);
                Ok(())
            };
            self.probed.get_or_init(|| super::probe::probe(self.props, self.mat.ncols(), product)).clone()?;
        }
        if !self.is_symmetric() {
            let a = side.pick(self.mat.as_ref(), self.mat.as_ref().transpose());
            kernels::gemm(out, alpha, a, x, beta, par);
            return Ok(());
        }
        let a = self.mat.as_ref().transpose();
        let (n, k) = (out.nrows(), out.ncols());
        if beta != T::ZERO || n < TALL || !(2..=NARROW).contains(&k) {
            kernels::gemm(out, alpha, a, x, beta, par);
            return Ok(());
        }
        let (mut room, _) = stack.make_with(n * k, |_| T::ZERO);
        let mut rows = MatMut::from_row_major_slice_mut(&mut room, n, k);
        kernels::gemm(rows.rb_mut(), alpha, a, x, T::ZERO, par);
        for (i, row) in room.chunks_exact(k).enumerate() {
            row.iter().enumerate().for_each(|(j, &y)| out[(i, j)] = y);
        }
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
