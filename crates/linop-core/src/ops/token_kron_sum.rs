//! `sum_i (x_i x_i^T) (x) S_i`, the form of an attention layer's diagonal Hessian blocks.
//!
//! With the rows `x_i` of X (`N x d`) and Z (`d x h`) as the row-major vector: `A rvec(Z) = rvec(X^T Y)`, where row i of Y is
//! `S_i (Z^T x_i)`. All K columns go through two wide products with X and one product with K columns per token:
//! `4 N d h K + 2 N h^2 K` flops. Trace, diagonal and Frobenius norm are exact without forming a block. The mirrored form
//! `sum_i S_i (x) (x_i x_i^T)` differs in the order of the indices only.

use super::prelude::*;

/// A sum over tokens of Kronecker products with a rank-one factor.
#[derive(Clone, Debug)]
pub struct TokenKronSum<T: Scalar> {
    /// `N x d`.
    x: Mat<T>,
    /// `h x (h N)`: the cores side by side.
    s: Mat<T>,
    mirrored: bool,
    props: Props,
}

impl<T: Scalar> TokenKronSum<T> {
    /// `sum_i (x_i x_i^T) (x) S_i`: the `x_i` are the rows of `x`, the `S_i` stand side by side in `cores`, `h x (h N)`.
    ///
    /// The operator is known to be self-adjoint if every core is exactly symmetric; definiteness is for
    /// [`assume`](crate::Op::assume).
    ///
    /// ```
    /// use linop_core::{LinearOperator, Op, Props, ops::TokenKronSum};
    /// use numerics::{Mat, Par};
    /// let x = Mat::from_fn(2, 3, |i, j| (i + 2 * j) as f64);
    /// let cores = Mat::from_fn(2, 4, |i, j| if i == j % 2 { 1.0 + j as f64 } else { 0.5 });
    /// let a = Op::new(TokenKronSum::new(x, cores)?);
    /// assert_eq!((a.nrows(), a.props().contains(Props::SELF_ADJOINT)), (6, true));
    /// let trace: f64 = a.to_dense(Par::Seq)?.diagonal().column_vector().iter().sum();
    /// assert!((a.trace(Par::Seq)? - trace).abs() < 1e-12);
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    pub fn new(x: Mat<T>, cores: Mat<T>) -> Result<Self, Error> {
        Self::build(x, cores, false)
    }

    /// `sum_i S_i (x) (x_i x_i^T)`.
    pub fn mirrored(x: Mat<T>, cores: Mat<T>) -> Result<Self, Error> {
        Self::build(x, cores, true)
    }

    fn build(x: Mat<T>, s: Mat<T>, mirrored: bool) -> Result<Self, Error> {
        let (tokens, h) = (x.nrows(), s.nrows());
        if s.ncols() != h * tokens {
            let got = format!("{} x {}", s.nrows(), s.ncols());
            return Err(shape_error("TokenKronSum", format!("cores of {h} x {}", h * tokens), got));
        }
        let symmetric = |i: usize| (0..h).all(|c| (0..c).all(|r| s[(r, i * h + c)] == s[(c, i * h + r)]));
        let n = x.ncols() * h;
        let props = Props::SELF_ADJOINT.when((0..tokens).all(symmetric)) | Props::ZERO.when(tokens == 0);
        Ok(TokenKronSum { x, s, mirrored, props: props.close(n, n) })
    }

    /// X, `N x d`.
    pub fn tokens(&self) -> MatRef<'_, T> {
        self.x.as_ref()
    }

    /// `S_i`, `h x h`.
    pub fn core(&self, i: usize) -> MatRef<'_, T> {
        let h = self.s.nrows();
        self.s.as_ref().subcols(i * h, h)
    }

    /// Whether the cores are the left factors.
    pub fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// `sum |x_i|^2 tr S_i`.
    pub(crate) fn trace(&self) -> T {
        let h = self.s.nrows();
        (0..self.x.nrows())
            .map(|i| {
                let square: T = (0..self.x.ncols()).map(|a| self.x[(i, a)] * self.x[(i, a)]).sum();
                square * (0..h).map(|k| self.s[(k, i * h + k)]).sum::<T>()
            })
            .sum()
    }

    /// `(X o X)^T [diag S_i]`.
    pub(crate) fn diagonal(&self) -> Vec<T> {
        let (tokens, d, h) = self.sizes();
        let mut out = vec![T::ZERO; d * h];
        for a in 0..d {
            for k in 0..h {
                let term = |i: usize| self.x[(i, a)] * self.x[(i, a)] * self.s[(k, i * h + k)];
                out[self.place(a, k)] = (0..tokens).map(term).sum();
            }
        }
        out
    }

    /// `sum_ij (x_i . x_j)^2 <S_i, S_j>`, by blocks of tokens: `N^2 (d + h^2)` flops.
    pub(crate) fn frobenius_sq(&self, par: Par) -> T {
        const WIDTH: usize = 256;
        let (tokens, _, h) = self.sizes();
        // The cores as columns of length h^2.
        let flat = Mat::from_fn(h * h, tokens, |p, i| self.s[(p % h, i * h + p / h)]);
        let mut total = T::ZERO;
        for start in (0..tokens).step_by(WIDTH) {
            let width = WIDTH.min(tokens - start);
            let (mut gram, mut cores) = (Mat::zeros(tokens, width), Mat::zeros(tokens, width));
            let rows = self.x.as_ref().subrows(start, width);
            kernels::gemm(gram.as_mut(), T::ONE, self.x.as_ref(), rows.transpose(), T::ZERO, par);
            let columns = flat.as_ref().subcols(start, width);
            kernels::gemm(cores.as_mut(), T::ONE, flat.as_ref().transpose(), columns, T::ZERO, par);
            for j in 0..width {
                for i in 0..tokens {
                    total += gram[(i, j)] * gram[(i, j)] * cores[(i, j)];
                }
            }
        }
        total
    }

    /// Tokens, d, h.
    fn sizes(&self) -> (usize, usize, usize) {
        (self.x.nrows(), self.x.ncols(), self.s.nrows())
    }

    /// Where entry (a, k) of Z stands in a vector.
    fn place(&self, a: usize, k: usize) -> usize {
        if self.mirrored { k * self.x.ncols() + a } else { a * self.s.nrows() + k }
    }

    fn shape(&self) -> (usize, usize) {
        let n = self.x.ncols() * self.s.nrows();
        (n, n)
    }
    fn req(&self, _: Side, k: usize, _: Par) -> StackReq {
        let (tokens, d, h) = self.sizes();
        let token = temp_req::<T>(tokens * h, k);
        temp_req::<T>(d * h, k).and(token).and(token)
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
        let ((tokens, d, h), columns) = (self.sizes(), x.ncols());
        let rows = h * columns;
        // Z of all columns as one (h K) x d matrix: the h rows of column j together.
        temp!(z, rest = stack, rows * d);
        temp!(w, rest = rest, rows * tokens);
        temp!(y, _rest = rest, rows * tokens);
        for a in 0..d {
            for j in 0..columns {
                for k in 0..h {
                    z[a * rows + j * h + k] = x[(self.place(a, k), j)];
                }
            }
        }
        kernels::gemm(view_mut(w, rows, tokens), T::ONE, view(z, rows, d), self.x.transpose(), T::ZERO, par);
        for i in 0..tokens {
            let core = side.pick(self.core(i), self.core(i).transpose());
            let (from, to) = (&w[i * rows..], &mut y[i * rows..]);
            kernels::gemm(view_mut(to, h, columns), T::ONE, core, view(from, h, columns), T::ZERO, Par::Seq);
        }
        kernels::gemm(view_mut(z, rows, d), alpha, view(y, rows, tokens), self.x.as_ref(), T::ZERO, par);
        for a in 0..d {
            for j in 0..columns {
                for k in 0..h {
                    let value = z[a * rows + j * h + k];
                    let slot = &mut out[(self.place(a, k), j)];
                    *slot = if beta == T::ZERO { value } else { value + beta * *slot };
                }
            }
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let (tokens, d, h) = self.sizes();
        let (tokens, d, h, k) = (tokens as f64, d as f64, h as f64, k as f64);
        cost::<T>(tokens * h * k * (4.0 * d + 2.0 * h), tokens * (d + h * h) + 4.0 * d * h * k)
    }
}

operator!(TokenKronSum, Kind::TokenKronSum);
