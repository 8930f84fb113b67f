//! How a contraction becomes a step, and how values lie that nobody else has a say in.

use super::{Home, Planner, place};
use crate::exec::contract::{Axes, Axis};
use crate::exec::machine::Step;
use crate::exec::view::View;
use crate::ops::{Dot, Op};
use crate::program::Node;
use crate::types::{Dims, Kind, strides};
use numerics::Scalar;

impl<T: Scalar> Planner<'_, T> {
    pub(super) fn dot(&mut self, i: usize, node: &Node, d: &Dot) -> View {
        let (mut x, mut y) = (self.ready(node.args[0]), self.ready(node.args[1]));
        let len = node.ty.numel();
        let view = match self.targets[i].take() {
            Some(view) => view,
            None => self.laid_out(i, node),
        };
        let inner: usize = d.contract.iter().map(|&(l, _)| x.shape[l]).product();
        if len == 0 || inner == 0 {
            return self.zeros(&node.ty.shape);
        }
        let mut axes = Axes::default();
        let mut c = view.strides.iter().copied();
        let mut next = || c.next().unwrap_or(0);
        for &(l, r) in &d.batch {
            axes.batch.push(Axis { n: x.shape[l], a: x.strides[l], b: y.strides[r], c: next() });
        }
        for l in d.free(0, x.shape.len()) {
            axes.rows.push(Axis { n: x.shape[l], a: x.strides[l], b: 0, c: next() });
        }
        for r in d.free(1, y.shape.len()) {
            axes.cols.push(Axis { n: y.shape[r], a: 0, b: y.strides[r], c: next() });
        }
        for &(l, r) in &d.contract {
            axes.inner.push(Axis { n: x.shape[l], a: x.strides[l], b: y.strides[r], c: 0 });
        }
        let step = match axes.chunked() {
            Some(chunked) => Step::Chunked { a: place(&x), b: place(&y), c: place(&view), chunked: Box::new(chunked) },
            None => {
                for p in axes.arrange() {
                    let operand = if p.side == 0 { &mut x } else { &mut y };
                    let source = View { buf: operand.buf, offset: operand.offset, shape: p.shape, strides: p.strides };
                    *operand = self.packed(&source);
                }
                Step::Product { a: place(&x), b: place(&y), c: place(&view), product: axes.product() }
            }
        };
        self.emit(step, &[&x, &y, &view]);
        view
    }

    /// Room for a value, in the order that suits its one user.
    pub(super) fn laid_out(&mut self, i: usize, node: &Node) -> View {
        let shape = &node.ty.shape;
        let (order, _) = self.order(i);
        let arranged: Dims = order.iter().map(|&a| shape[a]).collect();
        let mut laid: Dims = smallvec::smallvec![0; shape.len()];
        order.iter().zip(strides(&arranged)).for_each(|(&a, s)| laid[a] = s);
        let buf = self.buffer(Kind::Real, node.ty.numel(), Home::Arena);
        View { buf, offset: 0, shape: shape.clone(), strides: laid }
    }

    /// The axes of a value from the slowest to the fastest, and where among them an axis of window elements had best stand:
    /// row-major after the transpositions that follow, and with the elements of windows that are folded outside the axes that
    /// they are folded into, so that the windows are long rows.
    fn order(&self, i: usize) -> (Dims, usize) {
        let nodes = self.program.nodes();
        let last = nodes[i].ty.shape.len();
        let ([user], false) = (&self.users[i][..], self.is_output[i]) else { return ((0..last).collect(), last) };
        match &nodes[*user].op {
            Op::Transpose(t) => {
                let (order, at) = self.order(*user);
                (order.iter().map(|&a| t.perm[a]).collect(), at)
            }
            Op::Fold(f) => {
                let (mut order, at) = self.order(*user);
                let at = order.iter().position(|&a| a == f.window.axis).map_or(at, |p| p.min(at));
                order.insert(at, last - 1);
                (order, at + 1)
            }
            _ => ((0..last).collect(), last),
        }
    }
}
