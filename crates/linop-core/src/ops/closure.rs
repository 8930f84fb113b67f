//! An operator from closures. The closure computes plain products; alpha and beta cost one temporary.

use super::prelude::*;
use numerics::rng::{Law, Role, probe};
use std::sync::OnceLock;

type Product<T> = dyn Fn(MatMut<'_, T>, MatRef<'_, T>) -> Result<(), String> + Send + Sync;

/// An operator that calls a function for `out = A x` and, if there is one, another for `out = A^T x`.
///
/// ```
/// use linop_core::{LinearOperator, Op, ops::ClosureOp};
/// use numerics::{Mat, Par};
/// let twice = ClosureOp::new(2, 2, |mut out, x| {
///     for j in 0..x.ncols() { for i in 0..2 { out[(i, j)] = 2.0 * x[(i, j)]; } }
///     Ok(())
/// });
/// let dense: Mat<f64> = Op::new(twice).to_dense(Par::Seq)?;
/// assert_eq!(dense[(1, 1)], 2.0);
/// # Ok::<(), linop_core::Error>(())
/// ```
pub struct ClosureOp<T: Scalar> {
    shape: (usize, usize),
    plain: Box<Product<T>>,
    transposed: Option<Box<Product<T>>>,
    props: Props,
    probed: OnceLock<Result<(), Error>>,
}

impl<T: Scalar> ClosureOp<T> {
    /// From a function that overwrites `out` (`nrows x k`) with `A x` (`x` is `ncols x k`).
    pub fn new(
        nrows: usize,
        ncols: usize,
        f: impl Fn(MatMut<'_, T>, MatRef<'_, T>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        ClosureOp {
            shape: (nrows, ncols),
            plain: Box::new(f),
            transposed: None,
            props: Props::NONE,
            probed: OnceLock::new(),
        }
    }

    /// Adds the transposed product.
    pub fn with_transpose(
        mut self,
        f: impl Fn(MatMut<'_, T>, MatRef<'_, T>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.transposed = Some(Box::new(f));
        self
    }

    /// States facts that the caller vouches for; SELF_ADJOINT and PSD are probed at the first product in debug builds.
    pub fn with_props(mut self, props: Props) -> Self {
        self.props = props.close(self.shape.0, self.shape.1);
        self
    }

    /// Error unless two products with one vector are equal, bit for bit: a function that draws random numbers, or that
    /// walks its data in another order every time, is no linear operator.
    pub fn check_deterministic(&self) -> Result<(), Error> {
        let (m, n) = self.shape;
        let mut x = Mat::zeros(n, 1);
        probe(Law::Gaussian, 0, Role::LanczosStart, 0, x.col_as_slice_mut(0));
        let failed = |what| Error::Operator { op: "ClosureOp", what };
        let (mut first, mut second) = (Mat::zeros(m, 1), Mat::zeros(m, 1));
        (self.plain)(first.as_mut(), x.as_ref()).map_err(failed)?;
        (self.plain)(second.as_mut(), x.as_ref()).map_err(failed)?;
        if first == second {
            return Ok(());
        }
        Err(failed("two products with one vector differ: dropout, shuffled data or random numbers inside?".into()))
    }

    fn shape(&self) -> (usize, usize) {
        self.shape
    }
    fn req(&self, side: Side, k: usize, _: Par) -> StackReq {
        temp_req::<T>(side.pick(self.shape.0, self.shape.1), k)
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let f = match (side, &self.transposed) {
            (Side::Plain, _) => &self.plain,
            (Side::Transposed, Some(f)) => f,
            (Side::Transposed, None) if self.props.contains(Props::SELF_ADJOINT) => &self.plain,
            (Side::Transposed, None) => {
                return Err(Error::TransposeUnavailable { op: "ClosureOp" });
            }
        };
        let failed = |what| Error::Operator { op: "ClosureOp", what };
        if cfg!(debug_assertions) {
            let product = |out: MatMut<'_, T>, x: MatRef<'_, T>| (self.plain)(out, x).map_err(failed);
            self.probed.get_or_init(|| super::probe::probe(self.props, self.shape.1, product)).clone()?;
        }
        if alpha == T::ONE && beta == T::ZERO {
            return f(out, x).map_err(failed);
        }
        let (m, k) = (out.nrows(), out.ncols());
        temp!(t, _rest = stack, m * k);
        f(view_mut(t, m, k), x).map_err(failed)?;
        add_scaled(out, alpha, view(t, m, k), beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let (m, n, k) = (self.shape.0 as f64, self.shape.1 as f64, k as f64);
        cost::<T>(2.0 * m * n * k, m * n + (m + n) * k)
    }
}

impl<T: Scalar> core::fmt::Debug for ClosureOp<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClosureOp").field("shape", &self.shape).field("props", &self.props).finish_non_exhaustive()
    }
}

operator!(ClosureOp, |_| Kind::Opaque, assumed: facts);
