//! The operators, one file each, and what they share.
//!
//! Every operator writes one `run` for both sides; the `operator!` macro turns it into a [`LinearOperator`] with the
//! contract's checks, so that `alpha == 0`, empty shapes and wrong shapes are handled in one place.

mod block;
mod block_diag;
mod chain;
mod closure;
mod congruence;
mod dense;
mod diagonal;
mod eigh;
mod factored;
mod hadamard;
mod kron_sum;
mod kronecker;
mod low_rank;
mod low_rank_diag;
mod low_rank_solve;
mod low_rank_update;
mod permutation;
mod probe;
mod scalar;
mod scaled;
mod selection;
mod spaced;
mod submatrix;
mod sum;
mod token_kron_sum;
mod transposed;
mod triangular;
mod wrappers;

pub use block::Block;
pub use block_diag::BlockDiag;
pub use chain::Chain;
pub use closure::ClosureOp;
pub use congruence::{Congruence, Gram};
pub use dense::Dense;
pub use diagonal::Diagonal;
pub use eigh::Eigh;
pub use factored::Factored;
pub use hadamard::Hadamard;
pub use kron_sum::KroneckerSum;
pub use kronecker::Kronecker;
pub use low_rank::LowRank;
pub use low_rank_diag::LowRankPlusDiag;
pub use low_rank_solve::LowRankSolve;
pub use low_rank_update::LowRankUpdate;
pub use permutation::Permutation;
pub use scalar::{ScalarIdentity, Zero};
pub use scaled::{Scaled, Shifted};
pub use selection::Selection;
pub use spaced::Spaced;
pub use submatrix::Submatrix;
pub use sum::Sum;
pub use token_kron_sum::TokenKronSum;
pub use transposed::Transposed;
pub use triangular::{Triangular, TriangularInverse};
pub use wrappers::{Assumed, Counted, Counts, Orthogonal};

use crate::{Cost, Error, LinearOperator};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense as kernels};

/// Which product is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `A x`.
    Plain,
    /// `A^T x`.
    Transposed,
}

impl Side {
    pub(crate) fn flip(self) -> Side {
        match self {
            Side::Plain => Side::Transposed,
            Side::Transposed => Side::Plain,
        }
    }

    pub(crate) fn pick<U>(self, plain: U, transposed: U) -> U {
        match self {
            Side::Plain => plain,
            Side::Transposed => transposed,
        }
    }

    pub(crate) fn req<T: Scalar>(self, op: &dyn LinearOperator<T>, k: usize, par: Par) -> StackReq {
        match self {
            Side::Plain => op.apply_req(k, par),
            Side::Transposed => op.apply_t_req(k, par),
        }
    }

    pub(crate) fn run<T: Scalar>(
        self,
        op: &dyn LinearOperator<T>,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        match self {
            Side::Plain => op.apply(out, alpha, x, beta, par, stack),
            Side::Transposed => op.apply_t(out, alpha, x, beta, par, stack),
        }
    }
}

/// Checks shapes; does the whole work and answers `false` when there is nothing to evaluate.
pub(crate) fn begin<T: Scalar>(
    op: &'static str,
    (nrows, ncols): (usize, usize),
    out: MatMut<'_, T>,
    alpha: T,
    x: MatRef<'_, T>,
    beta: T,
) -> Result<bool, Error> {
    if x.nrows() != ncols || out.nrows() != nrows || out.ncols() != x.ncols() {
        return Err(Error::ShapeMismatch {
            op,
            expected: format!("x {ncols} x k, out {nrows} x k"),
            got: format!("x {} x {}, out {} x {}", x.nrows(), x.ncols(), out.nrows(), out.ncols()),
        });
    }
    if out.nrows() == 0 || out.ncols() == 0 {
        return Ok(false);
    }
    if alpha == T::ZERO || ncols == 0 {
        kernels::scale(out, beta);
        return Ok(false);
    }
    Ok(true)
}

/// `out = f(i, x[i, j]) + beta * out`, the row source being `x[source(i), j]`; `beta == 0` does not read `out`.
pub(crate) fn map_rows<T: Scalar>(
    mut out: MatMut<'_, T>,
    x: MatRef<'_, T>,
    beta: T,
    source: impl Fn(usize) -> usize,
    f: impl Fn(usize, T) -> T,
) {
    for j in 0..out.ncols() {
        for i in 0..out.nrows() {
            let y = f(i, x[(source(i), j)]);
            let slot = &mut out[(i, j)];
            *slot = if beta == T::ZERO { y } else { y + beta * *slot };
        }
    }
}

/// `out = alpha * x + beta * out`.
pub(crate) fn add_scaled<T: Scalar>(out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T) {
    map_rows(out, x, beta, |i| i, |_, v| alpha * v);
}

/// The scratch of a `rows x cols` temporary.
pub(crate) fn temp_req<T: Scalar>(rows: usize, cols: usize) -> StackReq {
    StackReq::new_aligned::<T>(rows.saturating_mul(cols), 64)
}

/// A zeroed column-major temporary of `len` numbers.
macro_rules! temp {
    ($buffer:ident, $rest:ident = $stack:expr, $len:expr) => {
        let (mut $buffer, $rest) = $stack.make_aligned_with::<T>($len, 64, |_| T::ZERO);
        let $buffer: &mut [T] = &mut $buffer;
    };
}
pub(crate) use temp;

pub(crate) fn view<T>(data: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::from_column_major_slice(&data[..rows * cols], rows, cols)
}

pub(crate) fn view_mut<T>(data: &mut [T], rows: usize, cols: usize) -> MatMut<'_, T> {
    MatMut::from_column_major_slice_mut(&mut data[..rows * cols], rows, cols)
}

pub(crate) fn shape_error(op: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::ShapeMismatch { op, expected: expected.into(), got: got.into() }
}

pub(crate) fn require_square<T: Scalar>(op: &'static str, a: &dyn LinearOperator<T>) -> Result<usize, Error> {
    let (nrows, ncols) = (a.nrows(), a.ncols());
    if nrows == ncols { Ok(nrows) } else { Err(Error::NotSquare { op, nrows, ncols }) }
}

/// Refuses indices that are out of range or repeated.
pub(crate) fn check_indices(op: &'static str, indices: &[usize], n: usize) -> Result<(), Error> {
    let mut seen = vec![false; n];
    for &i in indices {
        match seen.get_mut(i) {
            None => {
                return Err(Error::InvalidIndex { op, index: i, why: "out of range" });
            }
            Some(s) if *s => {
                return Err(Error::InvalidIndex { op, index: i, why: "repeated" });
            }
            Some(s) => *s = true,
        }
    }
    Ok(())
}

pub(crate) fn cost<T: Scalar>(flops: f64, numbers: f64) -> Cost {
    Cost { flops, bytes: numbers * size_of::<T>() as f64 }
}

pub(crate) fn add_cost(a: Cost, b: Cost) -> Cost {
    Cost { flops: a.flops + b.flops, bytes: a.bytes + b.bytes }
}

/// Writes the trait around `shape`, `req`, `run`, `facts` and `price` of a type.
macro_rules! operator {
    ($ty:ident, $kind:expr $(, spaces: $spaces:ident)? $(, assumed: $assumed:ident)?) => {
        impl<T: numerics::Scalar> crate::LinearOperator<T> for $ty<T> {
            fn nrows(&self) -> usize {
                self.shape().0
            }
            fn ncols(&self) -> usize {
                self.shape().1
            }
            fn apply_req(&self, k: usize, par: numerics::Par) -> numerics::StackReq {
                self.req(crate::ops::Side::Plain, k, par)
            }
            fn apply_t_req(&self, k: usize, par: numerics::Par) -> numerics::StackReq {
                self.req(crate::ops::Side::Transposed, k, par)
            }
            fn apply(
                &self,
                mut out: numerics::MatMut<'_, T>,
                alpha: T,
                x: numerics::MatRef<'_, T>,
                beta: T,
                par: numerics::Par,
                stack: &mut numerics::MemStack,
            ) -> Result<(), crate::Error> {
                if crate::ops::begin(stringify!($ty), self.shape(), out.rb_mut(), alpha, x, beta)? {
                    self.run(crate::ops::Side::Plain, out, alpha, x, beta, par, stack)?;
                }
                Ok(())
            }
            fn apply_t(
                &self,
                mut out: numerics::MatMut<'_, T>,
                alpha: T,
                x: numerics::MatRef<'_, T>,
                beta: T,
                par: numerics::Par,
                stack: &mut numerics::MemStack,
            ) -> Result<(), crate::Error> {
                let (m, n) = self.shape();
                if crate::ops::begin(stringify!($ty), (n, m), out.rb_mut(), alpha, x, beta)? {
                    self.run(crate::ops::Side::Transposed, out, alpha, x, beta, par, stack)?;
                }
                Ok(())
            }
            fn props(&self) -> crate::Props {
                self.facts()
            }
            fn kind(&self) -> crate::Kind<'_, T> {
                #[allow(clippy::redundant_closure_call)]
                ($kind)(self)
            }
            fn cost(&self, k: usize) -> crate::Cost {
                self.price(k)
            }
            $(fn assumed(&self) -> crate::Props {
                self.$assumed()
            })?
            $(fn spaces(&self) -> (Option<&std::sync::Arc<crate::Space>>, Option<&std::sync::Arc<crate::Space>>) {
                self.$spaces()
            })?
        }
    };
}
pub(crate) use operator;

/// What nearly every operator file uses.
mod prelude {
    pub(crate) use super::{
        Side, add_cost, add_scaled, check_indices, cost, map_rows, operator, require_square, shape_error, temp,
        temp_req, view, view_mut,
    };
    pub(crate) use crate::{Cost, Error, Kind, LinearOperator, Op, Props};
    pub(crate) use faer::reborrow::ReborrowMut as _;
    pub(crate) use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense as kernels};
}
