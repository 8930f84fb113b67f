//! The entrywise product of a low-rank operator with any other, through products with the other alone.
//!
//! `(U C V^T o A) x = sum_q (U C)_q o A (v_q o x)` for the columns `v_q` of V and `(U C)_q` of `U C`: one product of A with `r k`
//! columns. Products of two Kronecker products, two diagonals, two small ranks or two stored matrices need no operator of
//! their own: see [`Op::hadamard`](crate::Op::hadamard).

use super::LowRank;
use super::prelude::*;

/// `L o A` with L of low rank.
#[derive(Clone, Debug)]
pub struct Hadamard<T: Scalar> {
    low: LowRank<T>,
    other: Op<T>,
    /// `U C` and `V C^T`.
    weights: [Mat<T>; 2],
    props: Props,
}

impl<T: Scalar> Hadamard<T> {
    /// The entrywise product of two operators of one shape.
    pub fn new(low: LowRank<T>, other: Op<T>) -> Result<Self, Error> {
        let (m, n) = (other.nrows(), other.ncols());
        if (low.nrows(), low.ncols()) != (m, n) {
            let got = format!("{} x {}", low.nrows(), low.ncols());
            return Err(shape_error("Hadamard", format!("{m} x {n}"), got));
        }
        let core = low.core();
        let times = |x: MatRef<'_, T>, c: MatRef<'_, T>| {
            let mut out = Mat::zeros(x.nrows(), c.ncols());
            kernels::gemm(out.as_mut(), T::ONE, x, c, T::ZERO, Par::Seq);
            out
        };
        let weights = [times(low.u(), core.as_ref()), times(low.v(), core.transpose())];
        let props = low.props().hadamard(other.props(), m, n);
        Ok(Hadamard { low, other, weights, props })
    }

    /// L and A.
    pub fn parts(&self) -> (&LowRank<T>, &Op<T>) {
        (&self.low, &self.other)
    }

    fn shape(&self) -> (usize, usize) {
        (self.other.nrows(), self.other.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let wide = k * self.low.rank();
        let (m, n) = self.shape();
        temp_req::<T>(m, wide).and(temp_req::<T>(n, wide)).and(side.req(&self.other, wide, par))
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
        let (r, k) = (self.low.rank(), x.ncols());
        let (m, n) = (out.nrows(), x.nrows());
        let right = side.pick(self.low.v(), self.low.u());
        let left = side.pick(&self.weights[0], &self.weights[1]).as_ref();
        temp!(from, rest = stack, n * r * k);
        temp!(to, rest = rest, m * r * k);
        for q in 0..r {
            for j in 0..k {
                let column = &mut from[(q * k + j) * n..][..n];
                column.iter_mut().enumerate().for_each(|(i, y)| *y = right[(i, q)] * x[(i, j)]);
            }
        }
        side.run(&self.other, view_mut(to, m, r * k), alpha, view(from, n, r * k), T::ZERO, par, rest)?;
        kernels::scale(out.rb_mut(), beta);
        for q in 0..r {
            for j in 0..k {
                let column = &to[(q * k + j) * m..][..m];
                column.iter().enumerate().for_each(|(i, &y)| out[(i, j)] += left[(i, q)] * y);
            }
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let (m, n) = self.shape();
        let wide = (self.low.rank() * k) as f64;
        let sides = (m + n) as f64;
        add_cost(self.other.cost(self.low.rank() * k), cost::<T>(2.0 * sides * wide, 2.0 * sides * wide))
    }
}

operator!(Hadamard, Kind::Hadamard);
