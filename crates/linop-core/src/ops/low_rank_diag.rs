//! `diag(d) + U C V^T`. A product costs that of the low-rank part and one pass over d.

use super::prelude::*;
use super::{LowRank, diagonal::Diagonal};

/// `diag(d) + U C V^T`; V defaults to U.
#[derive(Clone, Debug)]
pub struct LowRankPlusDiag<T: Scalar> {
    d: Diagonal<T>,
    low: LowRank<T>,
    props: Props,
}

impl<T: Scalar> LowRankPlusDiag<T> {
    /// `diag(d) + low`.
    pub fn new(d: Vec<T>, low: LowRank<T>) -> Result<Self, Error> {
        let n = d.len();
        if (low.nrows(), low.ncols()) != (n, n) {
            let got = format!("{} x {}", low.nrows(), low.ncols());
            return Err(shape_error("LowRankPlusDiag", format!("a low-rank part of {n} x {n}"), got));
        }
        let d = Diagonal::new(d);
        let props = d.props().add(low.props(), n, n);
        Ok(LowRankPlusDiag { d, low, props })
    }

    /// d.
    pub fn diagonal_part(&self) -> &[T] {
        self.d.values()
    }

    /// `U C V^T`.
    pub fn low_rank_part(&self) -> &LowRank<T> {
        &self.low
    }

    fn shape(&self) -> (usize, usize) {
        (self.d.nrows(), self.d.nrows())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.req(&self.low, k, par)
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
        side.run(&self.d, out.rb_mut(), alpha, x, beta, par, stack)?;
        side.run(&self.low, out, alpha, x, T::ONE, par, stack)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        add_cost(self.d.cost(k), self.low.cost(k))
    }
}

operator!(LowRankPlusDiag, Kind::LowRankPlusDiag);
