//! Which shift is the bias of which contraction.

use super::piece::{Piece, Run, common};
use super::site::{Part, Role};
use super::walk::viewed;
use super::{Axis, Use};
use crate::ops::{Op, Slice};
use crate::program::{NodeId, Program};
use crate::types::{Dims, strides};
use core::ops::Range;

/// A contraction whose result may still get a bias.
pub(super) struct Candidate {
    pub(super) node: NodeId,
    /// Position of the use.
    pub(super) index: usize,
    pub(super) parts: Vec<Part>,
}

/// Nodes that read a node; an output counts as a reader that is no node.
pub(super) fn readers(program: &Program) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); program.nodes().len()];
    for (i, node) in program.nodes().iter().enumerate() {
        node.args.iter().for_each(|a| readers[a.index()].push(i));
    }
    program.outputs().iter().for_each(|p| readers[p.node.index()].push(usize::MAX));
    readers
}

/// If `shifted`, to which a parameter is added, is the result of a contraction and goes nowhere else: the bias as a use
/// that shares the contraction's tap, and the number of the contraction.
pub(super) fn attach(
    program: &Program,
    readers: &[Vec<usize>],
    candidates: &[Candidate],
    uses: &[Use],
    shifted: NodeId,
    bias: &Piece,
    base: &Use,
) -> Option<(Use, usize)> {
    if !bias.is_full(&program.node(shifted).ty.shape) {
        return None;
    }
    let mut chain = Vec::new();
    let mut at = shifted;
    let candidate = loop {
        if !apart(program, &readers[at.index()]) {
            return None;
        }
        match candidates.iter().find(|c| c.node == at) {
            Some(c) => break c,
            None => {
                chain.push(at);
                let node = program.node(at);
                let view = matches!(node.op, Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_));
                at = *node.args.first().filter(|_| view)?;
            }
        }
    };
    let weight = &uses[candidate.index];
    if weight.bias.is_some() {
        return None;
    }
    let result = program.node(candidate.node).ty.shape.clone();
    let mut view = Piece::whole(0, &result, smallvec::smallvec![0; result.len()]);
    for &id in chain.iter().rev() {
        let node = program.node(id);
        view = viewed(&node.op, &view, &program.node(node.args[0]).ty.shape)?.ok()??;
    }
    let (groups, windowed) = matched(&candidate.parts, &result, &view, bias)?;
    let positions = weight.positions.clone();
    let attached = Use { groups, outputs: Vec::new(), positions, windowed, tap: weight.tap, ..base.clone() };
    Some((Use { bias_of: Some(candidate.index), ..attached }, candidate.index))
}

/// Whether there is one reader only, or all are slices that do not overlap.
fn apart(program: &Program, readers: &[usize]) -> bool {
    let slice = |i: usize| match program.nodes().get(i).map(|n| &n.op) {
        Some(Op::Slice(s)) => Some(s),
        _ => None,
    };
    let overlap = |s: &Slice, t: &Slice| (0..s.start.len()).all(|a| s.start[a] < t.stop[a] && t.start[a] < s.stop[a]);
    if readers.len() == 1 {
        return readers[0] != usize::MAX;
    }
    let Some(slices) = readers.iter().map(|&i| slice(i)).collect::<Option<Vec<_>>>() else { return false };
    (0..slices.len()).all(|i| (0..i).all(|j| !overlap(slices[i], slices[j])))
}

/// Matches the axes of the bias with the parts of the contraction's result.
fn matched(parts: &[Part], result: &[usize], view: &Piece, bias: &Piece) -> Option<(Vec<Axis>, Vec<Range<usize>>)> {
    let own = result_strides(parts, result)?;
    let holder = |stride: usize| {
        (0..parts.len())
            .find(|&i| own[i].is_some_and(|s| parts[i].size > 1 && (s..s * parts[i].size).contains(&stride)))
    };
    // Per part of the result, what the view holds of it: (stride in the result, size, stride of the bias).
    let mut seen: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new(); parts.len()];
    for (runs, of_bias) in view.axes.iter().zip(&bias.axes) {
        let mut fine: Vec<Run> = Vec::new();
        for r in runs.iter().rev() {
            let (mut left, mut stride) = (r.size, r.stride);
            while left > 1 {
                let part = holder(stride)?;
                let n = left.min(own[part]? * parts[part].size / stride);
                fine.push(Run { size: n, stride });
                (left, stride) = (if left % n == 0 { left / n } else { return None }, stride * n);
            }
        }
        fine.reverse();
        for (n, stride, of_bias) in common(&fine, of_bias)? {
            seen[holder(stride)?].push((stride, n, of_bias));
        }
    }
    let (mut axes, mut windowed) = (Vec::new(), Vec::new());
    for (part, (own, mut seen)) in parts.iter().zip(own.iter().zip(seen)) {
        seen.sort_unstable_by_key(|s| core::cmp::Reverse(s.0));
        let packed =
            seen.windows(2).all(|w| w[0].0 == w[1].0 * w[1].1) && seen.last().is_none_or(|s| Some(s.0) == *own);
        let n: usize = seen.iter().map(|s| s.1).product();
        let start = own.map_or(0, |s| view.offset / s % part.size);
        match part.role {
            Role::Position if packed && seen.iter().all(|s| s.2 == 0) => windowed.push(start..start + n),
            Role::Group | Role::Output if packed && n == part.size && seen.iter().all(|s| s.2 != 0) => {
                axes.extend(seen.iter().map(|s| Axis { size: s.1, stride: s.2 }));
            }
            Role::Input => {}
            Role::Repeat if part.result.is_none() => {}
            _ => return None,
        }
    }
    let ordered = axes.windows(2).all(|w| w[0].stride > w[1].stride);
    let covered: usize = axes.iter().map(|a| a.size).product();
    let total: usize = bias.axes.iter().flatten().filter(|r| r.stride != 0).map(|r| r.size).product();
    (ordered && covered == total).then_some((axes, windowed))
}

/// Stride of every part in the row-major result, if the parts fill the result.
fn result_strides(parts: &[Part], result: &[usize]) -> Option<Vec<Option<usize>>> {
    let s: Dims = strides(result);
    let mut own = vec![None; parts.len()];
    for axis in 0..result.len() {
        let mut order: Vec<usize> = (0..parts.len()).filter(|&i| parts[i].result == Some(axis)).collect();
        order.sort_by_key(|&i| parts[i].place);
        let mut stride = s[axis];
        for &i in order.iter().rev() {
            own[i] = Some(stride);
            stride *= parts[i].size;
        }
        if stride != s[axis] * result[axis] {
            return None;
        }
    }
    Some(own)
}
