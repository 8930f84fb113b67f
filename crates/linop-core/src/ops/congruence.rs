//! `X^T A X`, and the Gram operators `X^T X` and `X X^T`.

use super::prelude::*;

/// `X^T A X`.
#[derive(Clone, Debug)]
pub struct Congruence<T: Scalar> {
    x: Op<T>,
    a: Op<T>,
    props: Props,
}

impl<T: Scalar> Congruence<T> {
    /// `X^T A X` for square A.
    pub fn new(x: Op<T>, a: Op<T>) -> Result<Self, Error> {
        let n = require_square("Congruence", &a)?;
        if x.nrows() != n {
            return Err(shape_error("Congruence", format!("X with {n} rows"), format!("{}", x.nrows())));
        }
        let outer = x.props().transposed(x.nrows(), x.ncols());
        let props = a.props().congruence(outer, x.ncols(), n);
        Ok(Congruence { x, a, props })
    }

    /// X and A.
    pub fn parts(&self) -> (&Op<T>, &Op<T>) {
        (&self.x, &self.a)
    }

    fn shape(&self) -> (usize, usize) {
        (self.x.ncols(), self.x.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let t = temp_req::<T>(self.x.nrows(), k);
        let outer = self.x.apply_req(k, par).or(self.x.apply_t_req(k, par));
        t.and(t).and(outer.or(side.req(&self.a, k, par)))
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
        let (n, k) = (self.x.nrows(), x.ncols());
        temp!(t, rest = stack, n * k);
        temp!(u, rest = rest, n * k);
        self.x.apply(view_mut(t, n, k), T::ONE, x, T::ZERO, par, rest)?;
        side.run(&self.a, view_mut(u, n, k), T::ONE, view(t, n, k), T::ZERO, par, rest)?;
        self.x.apply_t(out, alpha, view(u, n, k), beta, par, rest)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let x = self.x.cost(k);
        add_cost(self.a.cost(k), add_cost(x, x))
    }
}

operator!(Congruence, Kind::Congruence);

/// `X^T X` or `X X^T`.
#[derive(Clone, Debug)]
pub struct Gram<T: Scalar> {
    x: Op<T>,
    inner: bool,
    props: Props,
}

impl<T: Scalar> Gram<T> {
    /// `X^T X`.
    pub fn inner(x: Op<T>) -> Self {
        Self::build(x, true)
    }

    /// `X X^T`.
    pub fn outer(x: Op<T>) -> Self {
        Self::build(x, false)
    }

    fn build(x: Op<T>, inner: bool) -> Self {
        let (m, n) = (x.nrows(), x.ncols());
        let mut p = x.props();
        let (size, mid) = if inner {
            p = p.transposed(m, n);
            (n, m)
        } else {
            (m, n)
        };
        let exact = Props::IDENTITY.when(p.contains(Props::COSTIEFEL));
        let props = (Props::IDENTITY.close(mid, mid).congruence(p, size, mid) | exact).close(size, size);
        Gram { x, inner, props }
    }

    /// X, and whether this is `X^T X`.
    pub fn parts(&self) -> (&Op<T>, bool) {
        (&self.x, self.inner)
    }

    fn shape(&self) -> (usize, usize) {
        let n = if self.inner { self.x.ncols() } else { self.x.nrows() };
        (n, n)
    }
    fn mid(&self) -> usize {
        if self.inner { self.x.nrows() } else { self.x.ncols() }
    }
    fn req(&self, _: Side, k: usize, par: Par) -> StackReq {
        temp_req::<T>(self.mid(), k).and(self.x.apply_req(k, par).or(self.x.apply_t_req(k, par)))
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (n, k) = (self.mid(), x.ncols());
        temp!(t, rest = stack, n * k);
        let first = if self.inner { Side::Plain } else { Side::Transposed };
        first.run(&self.x, view_mut(t, n, k), T::ONE, x, T::ZERO, par, rest)?;
        first.flip().run(&self.x, out, alpha, view(t, n, k), beta, par, rest)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let x = self.x.cost(k);
        add_cost(x, x)
    }
}

operator!(Gram, Kind::Gram);
