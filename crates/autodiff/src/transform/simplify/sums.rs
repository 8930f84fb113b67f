//! Sums: of what repeats, of sums, of factors, of contractions.

use super::contract::Factor;
use super::{Found, Site};
use crate::ops::{Binary, BinaryFn, Dot, Op, Unary};
use crate::program::{Builder, NodeId};
use crate::types::Dims;

pub(super) fn sum(b: &mut Builder, site: &Site<'_>) -> Found {
    let Op::ReduceSum(r) = site.op else { return Ok(None) };
    let (x, axes) = (site.args[0], &r.axes);
    let shape = b.shape(x);
    if axes.is_empty() {
        return Ok(Some(x));
    }
    if axes.iter().any(|&a| shape[a] == 1) {
        // An axis of one is dropped, not summed.
        let rest: Vec<usize> = axes.iter().copied().filter(|&a| shape[a] != 1).collect();
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
        let total = b.sum(x, &rest)?;
        return b.reshape(total, &kept).map(Some);
    }
    let node = b.node(x);
    let (op, args) = (node.op.clone(), node.args.clone());
    match &op {
        Op::Broadcast(br) => {
            let count: usize = axes.iter().filter(|a| !br.axes.contains(a)).map(|&a| shape[a]).product();
            if count == 1 {
                return inner_sum(b, args[0], &br.axes, &shape, axes);
            }
            let total = match inner_sum(b, args[0], &br.axes, &shape, axes)? {
                Some(total) => total,
                None => return Ok(None),
            };
            b.scale(total, count as f64).map(Some)
        }
        Op::ReduceSum(inner) => {
            let old = b.ty(args[0]).rank();
            let kept: Vec<usize> = (0..old).filter(|a| !inner.axes.contains(a)).collect();
            let all: Vec<usize> = inner.axes.iter().copied().chain(axes.iter().map(|&a| kept[a])).collect();
            b.sum(args[0], &all).map(Some)
        }
        Op::Transpose(t) => {
            let before: Vec<usize> = axes.iter().map(|&a| t.perm[a]).collect();
            let total = b.sum(args[0], &before)?;
            let left: Vec<usize> = t.perm.iter().copied().filter(|p| !before.contains(p)).collect();
            let perm: Vec<usize> = left.iter().map(|p| left.iter().filter(|q| *q < p).count()).collect();
            b.transpose(total, &perm).map(Some)
        }
        Op::Pad(p)
            if (0..shape.len()).all(|a| axes.contains(&a) || (p.low[a], p.high[a], p.between[a]) == (0, 0, 0)) =>
        {
            b.sum(args[0], axes).map(Some)
        }
        Op::Unary(Unary::Neg) if site.alone[0] => {
            let total = b.sum(args[0], axes)?;
            b.neg(total).map(Some)
        }
        Op::Binary(Binary(BinaryFn::Mul)) if site.alone[0] => {
            for (factor, other) in [(0, 1), (1, 0)] {
                if let Some(still) = still_factor(b, args[factor], axes)? {
                    let total = b.sum(args[other], axes)?;
                    return b.mul(still, total).map(Some);
                }
            }
            Ok(None)
        }
        Op::Dot(d) if site.alone[0] => of_dot(b, d, &args, axes),
        _ => Ok(None),
    }
}

/// The sum of a repetition, without the factor of the axes that repeat.
fn inner_sum(b: &mut Builder, source: NodeId, places: &[usize], shape: &[usize], axes: &[usize]) -> Found {
    let own: Vec<usize> = (0..places.len()).filter(|&k| axes.contains(&places[k])).collect();
    if own.is_empty() && !axes.iter().any(|a| !places.contains(a)) {
        return Ok(None);
    }
    let total = b.sum(source, &own)?;
    let left: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let sizes: Dims = left.iter().map(|&a| shape[a]).collect();
    let kept: Dims = left.iter().enumerate().filter(|(_, a)| places.contains(a)).map(|(to, _)| to).collect();
    b.broadcast(total, &sizes, &kept).map(Some)
}

/// A factor that does not change along the summed axes, without these axes.
fn still_factor(b: &mut Builder, x: NodeId, axes: &[usize]) -> Found {
    let node = b.node(x);
    let Op::Broadcast(br) = &node.op else { return Ok(None) };
    if axes.iter().any(|a| br.axes.contains(a)) {
        return Ok(None);
    }
    let (source, shape, places) = (node.args[0], br.shape.clone(), br.axes.clone());
    inner_sum(b, source, &places, &shape, axes)
}

/// A contraction whose result is summed: free axes are summed before it, batch axes become contracted ones.
fn of_dot(b: &mut Builder, d: &Dot, args: &[NodeId], axes: &[usize]) -> Found {
    let ranks = [b.ty(args[0]).rank(), b.ty(args[1]).rank()];
    let free = [d.free(0, ranks[0]), d.free(1, ranks[1])];
    let nb = d.batch.len();
    let mut before = [Vec::new(), Vec::new()];
    let (mut batch, mut contract) = (Vec::new(), d.contract.clone());
    for (z, &pair) in d.batch.iter().enumerate() {
        if axes.contains(&z) { contract.push(pair) } else { batch.push(pair) }
    }
    for (side, start) in [(0, nb), (1, nb + free[0].len())] {
        before[side]
            .extend(free[side].iter().enumerate().filter(|(k, _)| axes.contains(&(start + k))).map(|(_, &a)| a));
    }
    let mut summed = [args[0], args[1]];
    for side in [0, 1] {
        summed[side] = b.sum(args[side], &before[side])?;
        let shift = |a: usize| a - before[side].iter().filter(|&&s| s < a).count();
        for pair in batch.iter_mut().chain(&mut contract) {
            if side == 0 { pair.0 = shift(pair.0) } else { pair.1 = shift(pair.1) }
        }
    }
    b.dot(summed[0], summed[1], &batch, &contract).map(Some)
}

/// A scalar factor is taken out of a sum by the rule for products; this is for factors that are numbers.
pub(super) fn scaled(b: &mut Builder, x: NodeId, factor: Factor) -> Result<NodeId, crate::error::Error> {
    match factor {
        Factor::Number(c) => b.scale(x, c),
        Factor::Node(s) => {
            let shape = b.shape(x);
            let s = b.broadcast(s, &shape, &[])?;
            b.mul(s, x)
        }
    }
}
