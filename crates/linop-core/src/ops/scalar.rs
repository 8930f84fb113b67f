//! `c I` (the identity for `c = 1`) and the zero map. Bandwidth-bound.

use super::prelude::*;

/// `c I` of size n.
#[derive(Clone, Debug)]
pub struct ScalarIdentity<T: Scalar> {
    c: T,
    n: usize,
}

impl<T: Scalar> ScalarIdentity<T> {
    /// `c I`.
    pub fn new(c: T, n: usize) -> Self {
        ScalarIdentity { c, n }
    }

    /// `I`.
    pub fn identity(n: usize) -> Self {
        ScalarIdentity { c: T::ONE, n }
    }

    /// The factor.
    pub fn factor(&self) -> T {
        self.c
    }

    fn shape(&self) -> (usize, usize) {
        (self.n, self.n)
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        add_scaled(out, alpha * self.c, x, beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        if self.n == 0 {
            return Props::of_diagonal([]);
        }
        Props::of_diagonal([self.c.to_f64()]).close(self.n, self.n)
    }
    fn price(&self, k: usize) -> Cost {
        cost::<T>((self.n * k) as f64, 2.0 * (self.n * k) as f64)
    }
}

operator!(ScalarIdentity, Kind::ScalarIdentity);

/// The zero map from `ncols` to `nrows` dimensions.
#[derive(Clone, Debug)]
pub struct Zero<T: Scalar> {
    nrows: usize,
    ncols: usize,
    marker: core::marker::PhantomData<T>,
}

impl<T: Scalar> Zero<T> {
    /// The `nrows x ncols` zero.
    pub fn new(nrows: usize, ncols: usize) -> Self {
        Zero { nrows, ncols, marker: core::marker::PhantomData }
    }

    fn shape(&self) -> (usize, usize) {
        (self.nrows, self.ncols)
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        _: T,
        _: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        kernels::scale(out, beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        Props::ZERO.close(self.nrows, self.ncols)
    }
    fn price(&self, k: usize) -> Cost {
        cost::<T>(0.0, (self.nrows * k) as f64)
    }
}

operator!(Zero, Kind::Zero);
