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
        let inner: usize = d.contract.iter().map(|&(l, _)| x.shape[l]).product();
        if len == 0 || inner == 0 {
            return self.zeros(&node.ty.shape);
        }
        if let Some(view) = self.dot_and_folds(i, d, &x, &y) {
            return view;
        }
        let first = self.summed(i);
        let add = first.is_some();
        let view = match first.or_else(|| self.targets[i].take()) {
            Some(view) => view,
            None => self.laid_out(i, node),
        };
        let mut axes = axes_of(d, &x, &y, &view);
        let step = match axes.chunked() {
            Some(mut chunked) => {
                chunked.add = add;
                Step::Chunked { a: place(&x), b: place(&y), c: place(&view), chunked: Box::new(chunked) }
            }
            None => {
                for p in axes.arrange() {
                    let operand = if p.side == 0 { &mut x } else { &mut y };
                    let source = View { buf: operand.buf, offset: operand.offset, shape: p.shape, strides: p.strides };
                    *operand = self.packed(&source);
                }
                Step::Product { a: place(&x), b: place(&y), c: place(&view), product: axes.product(), add }
            }
        };
        self.emit(step, &[&x, &y, &view]);
        view
    }

    /// A contraction whose value is windows that are folded, as one step that folds them slice by slice.
    fn dot_and_folds(&mut self, i: usize, d: &Dot, x: &View, y: &View) -> Option<View> {
        let nodes = self.program.nodes();
        let mut chain = vec![i];
        let mut end = 0;
        while let ([user], false) = (&self.users[chain[chain.len() - 1]][..], self.is_output[chain[chain.len() - 1]]) {
            match nodes[*user].op {
                Op::Fold(_) => end = chain.len(),
                Op::Transpose(_) => {}
                _ => break,
            }
            chain.push(*user);
        }
        chain.truncate(end + 1);
        let last = chain.pop().filter(|_| end > 0)?;
        let out = self.laid_out(last, &nodes[last]);
        // From the folded value back to the contraction: where each value's elements end up.
        let mut views = vec![(last, out.clone())];
        for &at in chain.iter().rev() {
            let (user, after) = &views[views.len() - 1];
            let mut strides = after.strides.clone();
            match &nodes[*user].op {
                Op::Fold(f) => {
                    strides.push(strides[f.window.axis] * f.window.dilation);
                    strides[f.window.axis] *= f.window.stride;
                }
                Op::Transpose(t) => t.perm.iter().zip(&after.strides).for_each(|(&axis, &s)| strides[axis] = s),
                _ => return None,
            }
            views.push((at, View { shape: nodes[at].ty.shape.clone(), strides, ..out.clone() }));
        }
        let (_, view) = views.pop()?;
        let chunked = Box::new(axes_of(d, x, y, &view).folded()?);
        self.emit(Step::Zero { buf: out.buf, len: out.numel() }, &[&out]);
        self.emit(Step::Chunked { a: place(x), b: place(y), c: place(&view), chunked }, &[x, y, &out]);
        for (at, view) in views {
            self.ahead[at] = Some(view);
        }
        Some(view)
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

/// The axes of a contraction by their roles.
fn axes_of(d: &Dot, x: &View, y: &View, value: &View) -> Axes {
    let mut axes = Axes::default();
    let mut c = value.strides.iter().copied();
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
    axes
}
