//! Kernels for named sub-programs: the registry, and where one is used.
//!
//! A kernel replaces a call only if the call's body is the composition that the kernel was written for, node by node,
//! and nothing else in the program needs the inside of that body: a derivative of the same call shares its
//! intermediate values when both are replaced by their bodies, which is cheaper than computing them twice.

use crate::ops::{Call, Op};
use crate::program::{Node, NodeId, Program};
use crate::trace::{Tensor, trace};
use crate::types::TensorType;
use numerics::simd::{self, Binary, Unary};
use numerics::{Par, Scalar};
use std::collections::HashMap;

/// A registered kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Softmax,
    LogSoftmax,
}

/// Name, kernel, and the composition that it computes.
type Entry = (&'static str, Named, fn(&Tensor) -> Tensor);

const REGISTRY: [Entry; 2] =
    [("softmax", Named::Softmax, Tensor::softmax), ("log_softmax", Named::LogSoftmax, Tensor::log_softmax)];

/// Elements that a thread should have at least.
const PARALLEL: usize = 1 << 14;

impl Named {
    /// The kernel of a call, if there is one.
    pub(super) fn of(call: &Call) -> Option<Named> {
        let name = call.label().strip_suffix(".vmap").unwrap_or(call.label());
        let &(_, kernel, composition) = REGISTRY.iter().find(|e| e.0 == name)?;
        let [input] = call.body().inputs() else { return None };
        let ty = &call.body().node(input.node).ty;
        let same = |p: &Program| p.nodes().len() == call.body().nodes().len() && in_order(p) == in_order(call.body());
        reference(ty, composition).filter(|p| call.body().outputs().len() == 1 && same(p)).map(|_| kernel)
    }

    /// Which nodes of a program are run by kernels.
    pub(super) fn chosen(program: &Program) -> Vec<bool> {
        let mut chosen = program.related_calls();
        for (node, chosen) in program.nodes().iter().zip(&mut chosen) {
            *chosen = matches!(&node.op, Op::Call(c) if !*chosen && Named::of(c).is_some());
        }
        chosen
    }

    pub(super) fn label(self) -> &'static str {
        REGISTRY.iter().find(|e| e.1 == self).map_or("kernel", |e| e.0)
    }

    /// Operations per element, as its composition counts them.
    pub(super) fn flops_per_element(self) -> usize {
        5
    }

    /// Runs it over rows of `n` elements.
    pub(super) fn run<T: Scalar>(self, n: usize, x: &[T], out: &mut [T], par: Par) {
        if n > 0 {
            let threads = par.degree().min(x.len() / PARALLEL).max(1);
            self.split(n, x, out, threads);
        }
    }

    fn split<T: Scalar>(self, n: usize, x: &[T], out: &mut [T], threads: usize) {
        let rows = x.len() / n;
        if threads <= 1 || rows <= 1 {
            return x.chunks_exact(n).zip(out.chunks_exact_mut(n)).for_each(|(x, y)| self.row(x, y));
        }
        let half = threads / 2;
        let at = (rows * half / threads).max(1) * n;
        let ((x0, x1), (y0, y1)) = (x.split_at(at), out.split_at_mut(at));
        rayon::join(|| self.split(n, x0, y0, half), || self.split(n, x1, y1, threads - half));
    }

    fn row<T: Scalar>(self, x: &[T], y: &mut [T]) {
        let top = simd::max(x);
        simd::binary_scalar(Binary::Sub, x, top, y);
        match self {
            Named::Softmax => {
                simd::unary_inplace(Unary::Exp, y);
                let sum = simd::sum(y);
                simd::binary_scalar_left(Binary::Div, y, sum);
            }
            Named::LogSoftmax => {
                let (mut sum, mut block) = (T::ZERO, [T::ZERO; 256]);
                for part in y.chunks(block.len()) {
                    let e = &mut block[..part.len()];
                    simd::unary(Unary::Exp, part, e);
                    sum += simd::sum(e);
                }
                simd::binary_scalar_left(Binary::Sub, y, sum.ln());
            }
        }
    }
}

/// The nodes that the first output needs, operands in the order in which they are read: the same for two programs that
/// do the same, whatever order they were written in.
fn in_order(program: &Program) -> Vec<Node> {
    fn visit(p: &Program, id: NodeId, place: &mut HashMap<NodeId, NodeId>, out: &mut Vec<Node>) -> NodeId {
        if let Some(&at) = place.get(&id) {
            return at;
        }
        let mut node = p.node(id).clone();
        for a in &mut node.args {
            *a = visit(p, *a, place, out);
        }
        let at = NodeId(out.len() as u32);
        out.push(node);
        place.insert(id, at);
        at
    }
    let mut nodes = Vec::new();
    if let Some(first) = program.outputs().first() {
        visit(program, first.node, &mut HashMap::new(), &mut nodes);
    }
    nodes
}

/// The body of a composition for this type.
fn reference(ty: &TensorType, composition: fn(&Tensor) -> Tensor) -> Option<Program> {
    let whole = trace(&[("x0", ty.clone())], |_, x| vec![("out", composition(&x[0]))]).ok()?;
    match &whole.node(whole.outputs()[0].node).op {
        Op::Call(call) => Some(Program::clone(call.body())),
        _ => None,
    }
}
