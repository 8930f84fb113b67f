//! The transpose: the two products swapped.

use super::prelude::*;

/// `A^T`.
#[derive(Clone, Debug)]
pub struct Transposed<T: Scalar> {
    inner: Op<T>,
}

impl<T: Scalar> Transposed<T> {
    /// The transpose of an operator.
    pub fn new(inner: Op<T>) -> Self {
        Transposed { inner }
    }

    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }

    fn shape(&self) -> (usize, usize) {
        (self.inner.ncols(), self.inner.nrows())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.flip().req(&self.inner, k, par)
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
        side.flip().run(&self.inner, out, alpha, x, beta, par, stack)
    }
    fn facts(&self) -> Props {
        self.inner.props().transposed(self.inner.nrows(), self.inner.ncols())
    }
    fn price(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
}

operator!(Transposed, Kind::Transposed);
