//! Parameter groups: a model as a function of some of its parameters, the others constant.
//!
//! Slices of the parameter vector that lie inside the group or outside it are taken from the one or the other, so that
//! derivatives never pass through the constant ones.

use crate::error::Error;
use autodiff::ops::{Op, Slice};
use autodiff::{Args, Builder, NodeId, Program};
use core::ops::Range;

/// Checks that the ranges are places in a vector of `total` entries, in increasing order.
pub(crate) fn check(ranges: &[Range<usize>], total: usize) -> Result<(), Error> {
    let mut end = 0;
    for range in ranges {
        if range.is_empty() || range.start < end || range.end > total {
            return Err(Error::Group { range: range.clone(), total });
        }
        end = range.end;
    }
    if ranges.is_empty() { Err(Error::Group { range: 0..0, total }) } else { Ok(()) }
}

/// The entries at the ranges, one after the other.
pub(crate) fn pick<T: Copy>(all: &[T], ranges: &[Range<usize>]) -> Vec<T> {
    ranges.iter().flat_map(|r| &all[r.clone()]).copied().collect()
}

/// The output of `model` `(params, inputs)`, with the parameters at `ranges` taken from the group's vector and the others
/// from the vector of all; `[group, inputs, all]` are nodes of `b`.
pub(crate) fn restrict(
    b: &mut Builder,
    model: &Program,
    [group, inputs, all]: [NodeId; 3],
    ranges: &[Range<usize>],
) -> Result<NodeId, Error> {
    let is_params = |id: NodeId| matches!(&model.node(id).op, Op::Input(input) if input.index == 0);
    let mut map: Vec<NodeId> = Vec::with_capacity(model.nodes().len());
    for node in model.nodes() {
        let id = match &node.op {
            // Its users are looked after below, unless it is used as a whole.
            Op::Input(input) if input.index == 0 => group,
            Op::Input(_) => inputs,
            Op::Slice(slice) if is_params(node.args[0]) && slice.step[0] == 1 => pieces(b, group, all, ranges, slice)?,
            op => {
                let mut args = Args::new();
                for &a in &node.args {
                    args.push(if is_params(a) {
                        let total = b.shape(all)[0];
                        join(b, group, all, ranges, 0..total)?
                    } else {
                        map[a.index()]
                    });
                }
                b.push(op.clone(), &args)?
            }
        };
        map.push(id);
    }
    let output = model.outputs()[0].node;
    if is_params(output) {
        let total = b.shape(all)[0];
        return join(b, group, all, ranges, 0..total);
    }
    Ok(map[output.index()])
}

fn pieces(b: &mut Builder, group: NodeId, all: NodeId, ranges: &[Range<usize>], s: &Slice) -> Result<NodeId, Error> {
    join(b, group, all, ranges, s.start[0]..s.stop[0])
}

/// Entries `wanted` of the parameters, from the two vectors that hold them.
fn join(
    b: &mut Builder,
    group: NodeId,
    all: NodeId,
    ranges: &[Range<usize>],
    wanted: Range<usize>,
) -> Result<NodeId, Error> {
    let mut parts = Vec::new();
    let (mut at, mut offset) = (wanted.start, 0);
    for range in ranges {
        let inside = range.start.max(wanted.start)..range.end.min(wanted.end);
        if inside.start < inside.end {
            if at < inside.start {
                parts.push(b.slice_axis(all, 0, at, inside.start)?);
            }
            let from = offset + inside.start - range.start;
            parts.push(b.slice_axis(group, 0, from, from + inside.len())?);
            at = inside.end;
        }
        offset += range.len();
    }
    if at < wanted.end || parts.is_empty() {
        parts.push(b.slice_axis(all, 0, at, wanted.end)?);
    }
    Ok(if parts.len() == 1 { parts[0] } else { b.concat(&parts, 0)? })
}
