//! `a A`, folded into alpha, and `A + sigma I`, a product and an axpy.

use super::prelude::*;

/// `a A`.
#[derive(Clone, Debug)]
pub struct Scaled<T: Scalar> {
    factor: T,
    inner: Op<T>,
}

impl<T: Scalar> Scaled<T> {
    /// `factor * inner`.
    pub fn new(factor: T, inner: Op<T>) -> Self {
        Scaled { factor, inner }
    }

    /// The factor.
    pub fn factor(&self) -> T {
        self.factor
    }

    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }

    fn shape(&self) -> (usize, usize) {
        (self.inner.nrows(), self.inner.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.req(&self.inner, k, par)
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
        side.run(&self.inner, out, alpha * self.factor, x, beta, par, stack)
    }
    fn facts(&self) -> Props {
        let (m, n) = self.shape();
        self.inner.props().scaled(self.factor.to_f64(), m, n)
    }
    fn price(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
}

operator!(Scaled, Kind::Scaled);

/// `A + sigma I`.
#[derive(Clone, Debug)]
pub struct Shifted<T: Scalar> {
    inner: Op<T>,
    sigma: T,
}

impl<T: Scalar> Shifted<T> {
    /// `inner + sigma I`, for a square operand.
    pub fn new(inner: Op<T>, sigma: T) -> Result<Self, Error> {
        require_square("Shifted", &inner)?;
        Ok(Shifted { inner, sigma })
    }

    /// The shift.
    pub fn sigma(&self) -> T {
        self.sigma
    }

    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }

    fn shape(&self) -> (usize, usize) {
        (self.inner.nrows(), self.inner.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.req(&self.inner, k, par)
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
        side.run(&self.inner, out.rb_mut(), alpha, x, beta, par, stack)?;
        kernels::axpy(out, alpha * self.sigma, x);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.inner.props().shifted(self.sigma.to_f64(), self.inner.nrows())
    }
    fn price(&self, k: usize) -> Cost {
        let nk = (self.inner.nrows() * k) as f64;
        add_cost(self.inner.cost(k), cost::<T>(2.0 * nk, 3.0 * nk))
    }
}

operator!(Shifted, Kind::Shifted);
