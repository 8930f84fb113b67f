//! Elementwise arithmetic: signs, factors, choices that are no choices; what repeats is computed once.

use super::{Found, Site};
use crate::ops::{Binary, BinaryFn, Op, Unary};
use crate::program::{Builder, NodeId};
use crate::types::Dims;

pub(super) fn elementwise(b: &mut Builder, site: &Site<'_>) -> Found {
    match site.op {
        Op::Unary(f) => match unary(b, *f, site)? {
            None => repeated(b, site),
            some => Ok(some),
        },
        Op::Binary(Binary(f)) => match binary(b, *f, site)? {
            None => repeated(b, site),
            some => Ok(some),
        },
        Op::Select(_) => match b.splat(site.args[0]) {
            Some(p) if p != 0.0 => Ok(Some(site.args[1])),
            Some(_) => Ok(Some(site.args[2])),
            _ if site.args[1] == site.args[2] => Ok(Some(site.args[1])),
            _ => repeated(b, site),
        },
        _ => Ok(None),
    }
}

/// The operand of a negation.
fn negated(b: &Builder, x: NodeId) -> Option<NodeId> {
    let node = b.node(x);
    matches!(node.op, Op::Unary(Unary::Neg)).then(|| node.args[0])
}

/// The operands of an elementwise function of two tensors.
fn operands(b: &Builder, x: NodeId, f: BinaryFn) -> Option<(NodeId, NodeId)> {
    let node = b.node(x);
    (node.op == Op::Binary(Binary(f))).then(|| (node.args[0], node.args[1]))
}

/// A number times, or plus, something.
fn with_number(b: &Builder, x: NodeId, f: BinaryFn) -> Option<(f64, NodeId)> {
    let (p, q) = operands(b, x, f)?;
    match (b.splat(p), b.splat(q)) {
        (Some(c), None) => Some((c, q)),
        (None, Some(c)) => Some((c, p)),
        _ => None,
    }
}

fn unary(b: &mut Builder, f: Unary, site: &Site<'_>) -> Found {
    let x = site.args[0];
    if f == Unary::Neg && site.alone[0] {
        if let Some((p, q)) = operands(b, x, BinaryFn::Sub) {
            return b.sub(q, p).map(Some);
        }
        if let Some((c, y)) = with_number(b, x, BinaryFn::Mul) {
            return b.scale(y, -c).map(Some);
        }
    }
    Ok(None)
}

fn binary(b: &mut Builder, f: BinaryFn, site: &Site<'_>) -> Found {
    let (x, y) = (site.args[0], site.args[1]);
    let (minus_x, minus_y) = (negated(b, x), negated(b, y));
    match f {
        BinaryFn::Add => match (minus_x, minus_y) {
            (_, Some(y)) => b.sub(x, y).map(Some),
            (Some(x), None) => b.sub(y, x).map(Some),
            _ => numbers(b, f, site),
        },
        BinaryFn::Sub => match minus_y {
            Some(y) => b.add(x, y).map(Some),
            None => Ok(None),
        },
        BinaryFn::Mul | BinaryFn::Div if minus_x.is_some() && minus_y.is_some() => {
            let (x, y) = (minus_x.unwrap_or(x), minus_y.unwrap_or(y));
            b.binary(f, x, y).map(Some)
        }
        BinaryFn::Mul => {
            for (c, x) in [(x, minus_y), (y, minus_x)] {
                if let (Some(c), Some(x)) = (b.splat(c), x) {
                    return b.scale(x, -c).map(Some);
                }
            }
            for (k, other) in [(0, y), (1, x)] {
                let node = b.node(site.args[k]);
                if let (Op::Unary(Unary::Recip), true) = (&node.op, site.alone[k]) {
                    let by = node.args[0];
                    return b.div(other, by).map(Some);
                }
            }
            numbers(b, f, site)
        }
        BinaryFn::Max | BinaryFn::Min if x == y => Ok(Some(x)),
        _ => Ok(None),
    }
}

/// Two numbers that follow each other become one.
fn numbers(b: &mut Builder, f: BinaryFn, site: &Site<'_>) -> Found {
    for (k, other) in [(0, 1), (1, 0)] {
        let (Some(c), true) = (b.splat(site.args[k]), site.alone[other]) else { continue };
        if let Some((d, x)) = with_number(b, site.args[other], f) {
            let both = f.value(c, d);
            if !both.is_finite() || (both == 0.0 && c * d != 0.0) || (both == 0.0 && f == BinaryFn::Mul) {
                continue;
            }
            let shape = b.shape(x);
            let both = b.full(&shape, both)?;
            return b.binary(f, both, x).map(Some);
        }
    }
    Ok(None)
}

/// Operands that all repeat along an axis: compute once, then repeat.
fn repeated(b: &mut Builder, site: &Site<'_>) -> Found {
    let shape = b.shape(site.args[0]);
    let mut kept = vec![false; shape.len()];
    for &a in site.args {
        match &b.node(a).op {
            Op::Broadcast(br) => br.axes.iter().for_each(|&axis| kept[axis] = true),
            _ => return Ok(None),
        }
    }
    if kept.iter().all(|k| *k) || shape.contains(&0) {
        return Ok(None);
    }
    let axes: Dims = (0..shape.len()).filter(|&a| kept[a]).collect();
    let small: Dims = axes.iter().map(|&a| shape[a]).collect();
    let mut parts = Vec::with_capacity(site.args.len());
    for &a in site.args {
        let node = b.node(a);
        let Op::Broadcast(br) = &node.op else { return Ok(None) };
        let places: Dims = br.axes.iter().map(|axis| axes.iter().filter(|&a| a < axis).count()).collect();
        let source = node.args[0];
        parts.push(b.broadcast(source, &small, &places)?);
    }
    let once = b.emit(site.op, &parts)?;
    b.broadcast(once, &shape, &axes).map(Some)
}
