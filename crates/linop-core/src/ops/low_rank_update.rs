//! `A + U C V^T` for an operator A that has a structured solve.

use super::LowRank;
use super::prelude::*;

/// `A + U C V^T`.
#[derive(Clone, Debug)]
pub struct LowRankUpdate<T: Scalar> {
    base: Op<T>,
    low: LowRank<T>,
    props: Props,
}

impl<T: Scalar> LowRankUpdate<T> {
    /// `base + low`, both of one shape.
    pub fn new(base: Op<T>, low: LowRank<T>) -> Result<Self, Error> {
        let (m, n) = (base.nrows(), base.ncols());
        if (low.nrows(), low.ncols()) != (m, n) {
            let got = format!("{} x {}", low.nrows(), low.ncols());
            return Err(shape_error("LowRankUpdate", format!("{m} x {n}"), got));
        }
        let props = base.props().add(low.props(), m, n);
        Ok(LowRankUpdate { base, low, props })
    }

    /// A.
    pub fn base(&self) -> &Op<T> {
        &self.base
    }

    /// `U C V^T`.
    pub fn low_rank_part(&self) -> &LowRank<T> {
        &self.low
    }

    fn shape(&self) -> (usize, usize) {
        (self.base.nrows(), self.base.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.req(&self.base, k, par).or(side.req(&self.low, k, par))
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
        side.run(&self.base, out.rb_mut(), alpha, x, beta, par, stack)?;
        side.run(&self.low, out, alpha, x, T::ONE, par, stack)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        add_cost(self.base.cost(k), self.low.cost(k))
    }
}

operator!(LowRankUpdate, Kind::LowRankUpdate);
