//! Values put where they will be needed: parts of outputs and of joined values, written in place instead of copied there.

use super::fuse::can_store;
use super::view::View;
use crate::ops::Op;
use crate::program::{NodeId, Program};
use crate::types::Dims;

/// When values are made and read for the last time, counted in products.
pub(super) struct Times {
    made: Vec<usize>,
    read: Vec<usize>,
}

impl Times {
    pub(super) fn of(program: &Program, users: &[Vec<usize>]) -> Self {
        let nodes = program.nodes();
        let shows =
            |i: usize| matches!(nodes[i].op, Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Broadcast(_));
        let mut made: Vec<usize> = Vec::with_capacity(nodes.len());
        let (mut now, mut at) = (0, Vec::with_capacity(nodes.len()));
        for (i, node) in nodes.iter().enumerate() {
            made.push(if shows(i) { made[node.args[0].index()] } else { now });
            at.push(now);
            now += usize::from(matches!(node.op, Op::Dot(_)));
        }
        let mut read = at.clone();
        for i in (0..nodes.len()).rev() {
            let last = users[i].iter().map(|&u| if shows(u) { read[u] } else { at[u] }).max();
            read[i] = last.unwrap_or(at[i]);
        }
        Times { made, read }
    }

    /// Whether a part is there long before it is joined, or read long after the joined value: in the joined value's place it would hold that.
    pub(super) fn outlives(&self, part: usize, joined: usize) -> bool {
        self.made[part] + 1 < self.made[joined] || self.read[part] > self.read[joined] + 1
    }
}

/// Lets the node that computes `id` put its value where it shows as `view`, through reshapes and transpositions, unless it has
/// a place already or cannot write there.
pub(super) fn assign(program: &Program, targets: &mut [Option<View>], id: NodeId, view: View) {
    let (mut id, mut view) = (id, view);
    loop {
        let node = program.node(id);
        if view.numel() == 0 {
            return;
        }
        let writes = match &node.op {
            Op::Reshape(_) => match view.reshaped(&program.node(node.args[0]).ty.shape) {
                Some(v) => {
                    (id, view) = (node.args[0], v);
                    continue;
                }
                None => return,
            },
            Op::Transpose(t) => {
                let mut strides: Dims = smallvec::smallvec![0; t.perm.len()];
                t.perm.iter().zip(&view.strides).for_each(|(&axis, &s)| strides[axis] = s);
                let shape = program.node(node.args[0]).ty.shape.clone();
                (id, view) = (node.args[0], View { shape, strides, ..view });
                continue;
            }
            Op::Dot(_) | Op::Concat(_) => true,
            Op::ReduceSum(_) | Op::ReduceMax(_) | Op::Call(_) => view.is_dense(),
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) => can_store(&view),
            _ => false,
        };
        let slot = &mut targets[id.index()];
        if writes && slot.is_none() {
            *slot = Some(view);
        }
        return;
    }
}
