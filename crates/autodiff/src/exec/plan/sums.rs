//! Sums of two products: the second is added to the first where that stands, which costs one stream through memory less than
//! a pass that adds them, and no memory for the second.
//!
//! A curvature product has them in every layer: `W dx + dW x`, and the like backwards and for the weights.

use super::Planner;
use crate::exec::view::View;
use crate::ops::{Binary, BinaryFn, Op};
use crate::program::Program;
use numerics::Scalar;

/// Which nodes are sums of two products that nobody else needs.
pub(super) struct Sums {
    /// By node: the first product, for the sum and for the second product.
    first: Vec<Option<usize>>,
}

impl Sums {
    pub(super) fn of(program: &Program, users: &[Vec<usize>], is_output: &[bool]) -> Self {
        let nodes = program.nodes();
        let mut first = vec![None; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            let (Op::Binary(Binary(BinaryFn::Add)), [x, y]) = (&node.op, &node.args[..]) else { continue };
            let (x, y) = (x.index().min(y.index()), x.index().max(y.index()));
            let alone = |k: usize| users[k] == [i] && !is_output[k];
            let product = |k: usize| match &nodes[k].op {
                Op::Dot(d) => d.contract.iter().all(|&(l, _)| program.node(nodes[k].args[0]).ty.shape[l] > 0),
                _ => false,
            };
            if x != y && node.ty.numel() > 0 && [x, y].into_iter().all(|k| alone(k) && product(k)) {
                (first[i], first[y]) = (Some(x), Some(x));
            }
        }
        Sums { first }
    }

    /// The product that node `i`, a second product or the sum, is added to.
    pub(super) fn first(&self, i: usize) -> Option<usize> {
        self.first[i]
    }
}

impl<T: Scalar> Planner<'_, T> {
    /// Lets first products have the places of their sums.
    pub(super) fn aim_sums(&mut self) {
        for (i, node) in self.program.nodes().iter().enumerate() {
            if let (Op::Binary(_), Some(x)) = (&node.op, self.sums.first(i))
                && self.targets[x].is_none()
            {
                self.targets[x] = self.targets[i].take();
            }
        }
    }

    /// Where the first product of a second one, or of their sum, stands.
    pub(super) fn summed(&self, i: usize) -> Option<View> {
        self.sums.first(i).map(|x| self.views[x].clone())
    }
}
