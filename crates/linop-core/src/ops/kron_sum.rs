//! `A (+) B = A (x) I + I (x) B`. A product costs one of A and one of B on reshaped data.

use super::prelude::*;

/// `A (x) I + I (x) B` for square A and B.
#[derive(Clone, Debug)]
pub struct KroneckerSum<T: Scalar> {
    a: Op<T>,
    b: Op<T>,
    props: Props,
}

impl<T: Scalar> KroneckerSum<T> {
    /// The Kronecker sum of two square operators.
    pub fn new(a: Op<T>, b: Op<T>) -> Result<Self, Error> {
        let na = require_square("KroneckerSum", &a)?;
        let nb = require_square("KroneckerSum", &b)?;
        let n = na
            .checked_mul(nb)
            .ok_or_else(|| Error::InvalidArgument { op: "KroneckerSum", what: "the size overflows".into() })?;
        let props = a.props().kron_sum(b.props(), n);
        Ok(KroneckerSum { a, b, props })
    }

    /// A and B.
    pub fn parts(&self) -> (&Op<T>, &Op<T>) {
        (&self.a, &self.b)
    }

    fn shape(&self) -> (usize, usize) {
        let n = self.a.nrows() * self.b.nrows();
        (n, n)
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let (na, nb) = (self.a.nrows(), self.b.nrows());
        let children = side.req(&self.a, nb, par).or(side.req(&self.b, na * k, par));
        temp_req::<T>(na * nb, k).and(temp_req::<T>(na * nb, k)).and(children)
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
        let (na, nb, k) = (self.a.nrows(), self.b.nrows(), x.ncols());
        let n = na * nb;
        temp!(src, rest = stack, n * k);
        temp!(dst, rest = rest, n * k);
        kernels::copy(view_mut(src, n, k), x);
        side.run(&self.b, view_mut(dst, nb, na * k), T::ONE, view(src, nb, na * k), T::ZERO, par, rest)?;
        for j in 0..k {
            let from = view(&src[j * n..], nb, na).transpose();
            let to = view_mut(&mut dst[j * n..], nb, na).transpose_mut();
            side.run(&self.a, to, T::ONE, from, T::ONE, par, rest)?;
        }
        add_scaled(out, alpha, view(dst, n, k), beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        add_cost(self.a.cost(k * self.b.nrows()), self.b.cost(k * self.a.nrows()))
    }
}

operator!(KroneckerSum, Kind::KroneckerSum);
