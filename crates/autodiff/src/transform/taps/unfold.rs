//! Windows in front of a contraction: what makes it a convolution.

use super::Unfold;
use super::site::{Part, Role};
use crate::ops::{Op, Window};
use crate::program::{NodeId, Program};

/// The windows that the operand `x` of a use consists of, and the node that they slide over.
pub(super) fn windows(program: &Program, x: NodeId, parts: &[Part]) -> Option<(Vec<Unfold>, NodeId)> {
    // Axes of the current node as axes of `x`.
    let mut axes: Vec<usize> = (0..program.node(x).ty.rank()).collect();
    let mut found: Vec<(usize, usize, Window)> = Vec::new();
    let mut padding = vec![(0, 0); axes.len()];
    let mut at = x;
    loop {
        let node = program.node(at);
        match &node.op {
            Op::Window(w) => {
                let inner = axes.pop()?;
                found.push((axes[w.axis], inner, *w));
            }
            Op::Transpose(t) => {
                let old = axes.clone();
                t.perm.iter().enumerate().for_each(|(i, &p)| axes[p] = old[i]);
            }
            Op::Pad(p) if !found.is_empty() && p.between.iter().all(|&n| n == 0) => {
                for (a, &axis) in axes.iter().enumerate() {
                    padding[axis].0 += p.low[a];
                    padding[axis].1 += p.high[a];
                }
            }
            _ => break,
        }
        at = node.args[0];
    }
    // Zeros may only stand where windows slide, and each window needs an axis of its own.
    let slides = |axis: usize| found.iter().filter(|f| f.0 == axis).count();
    if found.is_empty() || (0..padding.len()).any(|a| slides(a) > 1 || (slides(a) == 0 && padding[a] != (0, 0))) {
        return None;
    }
    let place = |axis: usize, role: Role| {
        let same = |p: &&Part| p.role == role;
        let list: Vec<&Part> = parts.iter().filter(same).collect();
        let alone = parts.iter().filter(|p| p.other == Some(axis)).count() == 1;
        list.iter().position(|p| p.other == Some(axis) && alone)
    };
    let mut unfold = Vec::with_capacity(found.len());
    for (outer, inner, w) in found {
        let axis = axes.iter().position(|&a| a == outer)?;
        // A window of one element is no axis of the weight.
        let input = place(inner, Role::Input)?;
        let (size, stride, dilation) = (w.size, w.stride, w.dilation);
        let position = place(outer, Role::Position)?;
        unfold.push(Unfold { position, input, axis, size, stride, dilation, padding: padding[outer] });
    }
    unfold.sort_by_key(|u| u.position);
    Some((unfold, at))
}
