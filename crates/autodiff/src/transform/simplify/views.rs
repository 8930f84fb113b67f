//! Views: merged where two meet, and moved towards the inputs.

use super::{Found, Site};
use crate::ops::{Broadcast, Concat, Op, Pad, Slice};
use crate::program::{Builder, NodeId};
use crate::types::Dims;

pub(super) fn view(b: &mut Builder, site: &Site<'_>) -> Found {
    let uniform = site.args.first().and_then(|&x| b.splat(x));
    match (site.op, uniform) {
        (Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_), Some(c)) => {
            let Ok(ty) = site.op.infer(&[b.ty(site.args[0])]) else { return Ok(None) };
            b.full(&ty.shape, c).map(Some)
        }
        (Op::Pad(_), Some(0.0)) => {
            let Ok(ty) = site.op.infer(&[b.ty(site.args[0])]) else { return Ok(None) };
            b.full(&ty.shape, 0.0).map(Some)
        }
        (Op::Broadcast(outer), _) => broadcast(b, outer, site.args[0]),
        (Op::Transpose(t), None) => transpose(b, &t.perm, site.args[0]),
        (Op::Reshape(r), None) => reshape(b, &r.shape, site.args[0]),
        (Op::Slice(s), None) => slice(b, s, site),
        (Op::Pad(p), None) => pad(b, p, site.args[0]),
        (Op::Concat(c), _) => concat(b, *c, site.args),
        _ => Ok(None),
    }
}

fn broadcast(b: &mut Builder, outer: &Broadcast, x: NodeId) -> Found {
    let node = b.node(x);
    let Op::Broadcast(inner) = &node.op else { return Ok(None) };
    let (axes, source): (Dims, _) = (inner.axes.iter().map(|&a| outer.axes[a]).collect(), node.args[0]);
    b.broadcast(source, &outer.shape, &axes).map(Some)
}

/// A permutation that only moves repeated axes is another repetition.
fn transpose(b: &mut Builder, perm: &[usize], x: NodeId) -> Found {
    let node = b.node(x);
    let Op::Broadcast(inner) = &node.op else { return Ok(None) };
    let shape: Dims = perm.iter().map(|&p| inner.shape[p]).collect();
    let places: Dims = inner.axes.iter().map(|&a| perm.iter().position(|&p| p == a).unwrap_or(usize::MAX)).collect();
    if places.contains(&usize::MAX) {
        return Ok(None);
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&i| places[i]);
    let axes: Dims = order.iter().map(|&i| places[i]).collect();
    let source = node.args[0];
    let source = b.transpose(source, &order)?;
    b.broadcast(source, &shape, &axes).map(Some)
}

/// A reshape that only adds or drops axes of one, of a repetition, is another repetition.
fn reshape(b: &mut Builder, shape: &[usize], x: NodeId) -> Found {
    let node = b.node(x);
    let Op::Broadcast(inner) = &node.op else { return Ok(None) };
    let long = |s: &[usize]| -> Vec<usize> { (0..s.len()).filter(|&a| s[a] != 1).collect() };
    let (before, after) = (long(&inner.shape), long(shape));
    let same = before.len() == after.len() && before.iter().zip(&after).all(|(&p, &q)| inner.shape[p] == shape[q]);
    if !same {
        return Ok(None);
    }
    // A source with an axis of one is left alone: its place could be anywhere.
    let found: Option<Dims> = inner.axes.iter().map(|a| before.iter().position(|p| p == a).map(|k| after[k])).collect();
    let Some(axes) = found else { return Ok(None) };
    let source = node.args[0];
    b.broadcast(source, shape, &axes).map(Some)
}

fn length(s: &Slice, a: usize) -> usize {
    (s.stop[a] - s.start[a]).div_ceil(s.step[a])
}

fn slice(b: &mut Builder, s: &Slice, site: &Site<'_>) -> Found {
    let x = site.args[0];
    let node = b.node(x);
    let (op, args, shape) = (node.op.clone(), node.args.clone(), node.ty.shape.clone());
    if *s == Slice::all(&shape) {
        return Ok(Some(x));
    }
    let count = shape.len();
    match &op {
        Op::Slice(inner) => {
            let mut merged = inner.clone();
            for a in 0..count {
                merged.start[a] = inner.start[a] + s.start[a] * inner.step[a];
                merged.step[a] = inner.step[a] * s.step[a];
                let n = length(s, a);
                merged.stop[a] = if n == 0 { merged.start[a] } else { merged.start[a] + (n - 1) * merged.step[a] + 1 };
            }
            b.slice(args[0], merged).map(Some)
        }
        Op::Transpose(t) => {
            let mut inner = s.clone();
            for (to, &from) in t.perm.iter().enumerate() {
                (inner.start[from], inner.stop[from], inner.step[from]) = (s.start[to], s.stop[to], s.step[to]);
            }
            let part = b.slice(args[0], inner)?;
            b.transpose(part, &t.perm).map(Some)
        }
        Op::Broadcast(br) => {
            let source = b.shape(args[0]);
            let mut inner = Slice::all(&source);
            for (k, &a) in br.axes.iter().enumerate() {
                (inner.start[k], inner.stop[k], inner.step[k]) = (s.start[a], s.stop[a], s.step[a]);
            }
            let part = b.slice(args[0], inner)?;
            let shape: Dims = (0..count).map(|a| length(s, a)).collect();
            b.broadcast(part, &shape, &br.axes).map(Some)
        }
        Op::Concat(c) if s.step[c.axis] == 1 => {
            let mut parts = Vec::new();
            let mut at = 0;
            for &part in &args {
                let n = b.ty(part).shape[c.axis];
                let (low, high) = (s.start[c.axis].max(at), s.stop[c.axis].min(at + n));
                if low < high {
                    let mut own = s.clone();
                    (own.start[c.axis], own.stop[c.axis]) = (low - at, high - at);
                    parts.push(b.slice(part, own)?);
                }
                at += n;
            }
            // Nothing at all is left as it is.
            if parts.is_empty() { Ok(None) } else { b.concat(&parts, c.axis).map(Some) }
        }
        Op::Pad(p) => {
            let inside = |a: usize| {
                let n = shape[a] - p.low[a] - p.high[a];
                p.between[a] == 0 && s.start[a] >= p.low[a] && s.stop[a] <= p.low[a] + n
            };
            if !(0..count).all(inside) {
                return Ok(None);
            }
            let mut inner = s.clone();
            for a in 0..count {
                (inner.start[a], inner.stop[a]) = (s.start[a] - p.low[a], s.stop[a] - p.low[a]);
            }
            b.slice(args[0], inner).map(Some)
        }
        // Compute no more than is read.
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) if site.alone[0] => {
            let mut parts = Vec::with_capacity(args.len());
            for &a in &args {
                parts.push(b.slice(a, s.clone())?);
            }
            b.emit(&op, &parts).map(Some)
        }
        _ => Ok(None),
    }
}

fn pad(b: &mut Builder, outer: &Pad, x: NodeId) -> Found {
    let node = b.node(x);
    let Op::Pad(inner) = &node.op else { return Ok(None) };
    if outer.between.iter().chain(&inner.between).any(|&n| n != 0) {
        return Ok(None);
    }
    let add = |x: &Dims, y: &Dims| x.iter().zip(y).map(|(x, y)| x + y).collect();
    let merged =
        Pad { low: add(&outer.low, &inner.low), high: add(&outer.high, &inner.high), between: inner.between.clone() };
    let source = node.args[0];
    b.pad(source, merged).map(Some)
}

fn concat(b: &mut Builder, c: Concat, args: &[NodeId]) -> Found {
    let mut flat: Vec<NodeId> = Vec::new();
    for &a in args {
        match &b.node(a).op {
            Op::Concat(inner) if inner.axis == c.axis => flat.extend(b.node(a).args.iter()),
            _ if b.ty(a).shape[c.axis] == 0 => {}
            _ => flat.push(a),
        }
    }
    let mut joined: Vec<NodeId> = Vec::new();
    for a in flat.iter().copied() {
        let met = match joined.last() {
            Some(&last) => adjacent(b, last, a, c.axis)?,
            None => None,
        };
        match met {
            Some(both) => {
                joined.pop();
                joined.push(both);
            }
            None => joined.push(a),
        }
    }
    if joined.is_empty() || joined == args {
        return Ok(None);
    }
    b.concat(&joined, c.axis).map(Some)
}

/// Two neighbours in a concatenation as one value: adjacent slices of one tensor, or one number repeated.
fn adjacent(b: &mut Builder, x: NodeId, y: NodeId, axis: usize) -> Found {
    if let (Some(p), Some(q)) = (b.splat(x), b.splat(y))
        && p.to_bits() == q.to_bits()
    {
        let mut shape = b.shape(x);
        shape[axis] += b.ty(y).shape[axis];
        return b.full(&shape, p).map(Some);
    }
    let (first, second) = (b.node(x), b.node(y));
    let (Op::Slice(s), Op::Slice(t)) = (&first.op, &second.op) else { return Ok(None) };
    let same = (0..s.start.len())
        .all(|a| a == axis || (s.start[a], s.stop[a], s.step[a]) == (t.start[a], t.stop[a], t.step[a]));
    if first.args != second.args || !same || s.step[axis] != 1 || t.step[axis] != 1 || s.stop[axis] != t.start[axis] {
        return Ok(None);
    }
    let (source, mut both) = (first.args[0], s.clone());
    both.stop[axis] = t.stop[axis];
    b.slice(source, both).map(Some)
}
