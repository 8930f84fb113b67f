//! Values put where they will be needed: parts of outputs and of joined values, written in place instead of copied there.

use super::fuse::can_store;
use super::view::View;
use crate::ops::Op;
use crate::program::{NodeId, Program};
use crate::types::Dims;

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
