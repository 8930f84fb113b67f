//! Contractions: what repeats is left out, factors go to the smaller side, chains are multiplied in the cheapest order.

use super::sums::scaled;
use super::{Found, Site, numel};
use crate::error::Error;
use crate::ops::{Binary, BinaryFn, Dot, Op, Unary};
use crate::program::{Builder, NodeId};
use crate::types::Dims;

type Pairs = Vec<(usize, usize)>;

pub(super) fn dot(b: &mut Builder, site: &Site<'_>) -> Found {
    let Op::Dot(d) = site.op else { return Ok(None) };
    for side in [0, 1] {
        if let Some(id) = repeats(b, d, site, side)? {
            return Ok(Some(id));
        }
        if let Some(id) = absorbed(b, d, site, side)? {
            return Ok(Some(id));
        }
        if let Some((factor, inner)) = factor_of(b, site.args[side])
            && site.alone[side]
            && out_numel(b, d, site.args) < numel(b, inner)
        {
            let mut args = [site.args[0], site.args[1]];
            args[side] = inner;
            let product = b.dot(args[0], args[1], &d.batch, &d.contract)?;
            return scaled(b, product, factor).map(Some);
        }
    }
    reordered(b, d, site)
}

fn out_numel(b: &Builder, d: &Dot, args: &[NodeId]) -> usize {
    Op::from(d.clone()).infer(&[b.ty(args[0]), b.ty(args[1])]).map_or(usize::MAX, |ty| ty.numel())
}

/// A scalar that multiplies a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor {
    Number(f64),
    /// A value without axes.
    Node(NodeId),
}

/// A tensor as a scalar times another.
fn factor_of(b: &Builder, x: NodeId) -> Option<(Factor, NodeId)> {
    let node = b.node(x);
    match node.op {
        Op::Unary(Unary::Neg) => Some((Factor::Number(-1.0), node.args[0])),
        Op::Binary(Binary(BinaryFn::Mul)) => [(0, 1), (1, 0)].into_iter().find_map(|(s, t)| {
            let (scalar, tensor) = (node.args[s], node.args[t]);
            if let Some(c) = b.splat(scalar) {
                return Some((Factor::Number(c), tensor));
            }
            let by = b.node(scalar);
            match &by.op {
                Op::Broadcast(br) if br.axes.is_empty() => Some((Factor::Node(by.args[0]), tensor)),
                _ => None,
            }
        }),
        _ => None,
    }
}

/// A scalar times a large contraction of small operands: the scalar goes to the smaller operand.
pub(super) fn factor(b: &mut Builder, site: &Site<'_>) -> Found {
    let negated = *site.op == Op::Unary(Unary::Neg);
    if !negated && *site.op != Op::Binary(Binary(BinaryFn::Mul)) {
        return Ok(None);
    }
    for (k, &x) in site.args.iter().enumerate() {
        let node = b.node(x);
        let Op::Dot(d) = &node.op else { continue };
        if !site.alone[k] {
            continue;
        }
        let (d, mut args) = (d.clone(), [node.args[0], node.args[1]]);
        let by = if negated { Some(Factor::Number(-1.0)) } else { scalar(b, site.args[1 - k]) };
        let side = usize::from(numel(b, args[1]) < numel(b, args[0]));
        let (Some(by), true) = (by, numel(b, args[side]) < numel(b, x)) else { continue };
        args[side] = scaled(b, args[side], by)?;
        return b.dot(args[0], args[1], &d.batch, &d.contract).map(Some);
    }
    Ok(None)
}

fn scalar(b: &Builder, x: NodeId) -> Option<Factor> {
    if let Some(c) = b.splat(x) {
        return Some(Factor::Number(c));
    }
    let node = b.node(x);
    match &node.op {
        Op::Broadcast(br) if br.axes.is_empty() => Some(Factor::Node(node.args[0])),
        _ => None,
    }
}

fn pick(pair: &mut (usize, usize), side: usize) -> &mut usize {
    if side == 0 { &mut pair.0 } else { &mut pair.1 }
}

/// One operand repeats along axes: a free one is added to the result, a contracted one is summed in the other operand,
/// a batch one becomes free in the other operand.
fn repeats(b: &mut Builder, d: &Dot, site: &Site<'_>, side: usize) -> Found {
    let node = b.node(site.args[side]);
    let Op::Broadcast(br) = &node.op else { return Ok(None) };
    let (source, places, shape) = (node.args[0], br.axes.clone(), br.shape.clone());
    if shape.contains(&0) || places.len() == shape.len() {
        return Ok(None);
    }
    let other = site.args[1 - side];
    let still = |mut p: (usize, usize)| !places.contains(pick(&mut p, side));
    // Axes of the other operand that are summed before, and the pairs that stay.
    let summed: Vec<usize> =
        d.contract.iter().filter(|p| still(**p)).map(|&(l, r)| if side == 0 { r } else { l }).collect();
    let slim = b.sum(other, &summed)?;
    let shift = |a: usize| a - summed.iter().filter(|&&s| s < a).count();
    let moved = |p: &(usize, usize)| {
        let mut p = *p;
        let own = pick(&mut p, side);
        *own = places.iter().position(|a| a == own).unwrap_or(usize::MAX);
        let far = pick(&mut p, 1 - side);
        *far = shift(*far);
        p
    };
    let contract: Pairs = d.contract.iter().filter(|p| !still(**p)).map(moved).collect();
    let batch: Pairs = d.batch.iter().filter(|p| !still(**p)).map(moved).collect();
    let inner = Dot { batch, contract };
    let args = if side == 0 { [source, slim] } else { [slim, source] };
    let product = match places.is_empty() {
        // One number everywhere: a factor.
        true => scaled(b, slim, Factor::Node(source))?,
        false => b.dot(args[0], args[1], &inner.batch, &inner.contract)?,
    };
    // Where every axis of the wanted result is in the product; `None` where the result repeats.
    let ranks = [b.ty(args[0]).rank(), b.ty(args[1]).rank()];
    let free = [inner.free(0, ranks[0]), inner.free(1, ranks[1])];
    let start = [inner.batch.len(), inner.batch.len() + free[0].len()];
    let at = |of: usize, axis: usize| free[of].iter().position(|&a| a == axis).map(|k| start[of] + k);
    let own_axis = |axis: usize| places.iter().position(|&a| a == axis);
    let mut origin: Vec<Option<usize>> = Vec::new();
    let mut sizes = Dims::new();
    let mut next = 0;
    for &(l, r) in &d.batch {
        let (own, far) = if side == 0 { (l, r) } else { (r, l) };
        sizes.push(shape[own]);
        origin.push(match still((l, r)) {
            true => at(1 - side, shift(far)),
            false => {
                next += 1;
                Some(next - 1)
            }
        });
    }
    let old_free = [d.free(0, b.ty(site.args[0]).rank()), d.free(1, b.ty(site.args[1]).rank())];
    for of in [0, 1] {
        for &axis in &old_free[of] {
            sizes.push(b.ty(site.args[of]).shape[axis]);
            origin.push(match of == side {
                true => own_axis(axis).and_then(|a| at(side, a)),
                false => at(of, shift(axis)),
            });
        }
    }
    spread(b, product, &origin, &sizes).map(Some)
}

/// A value whose axis `origin[i]` becomes axis `i`; the others repeat.
fn spread(b: &mut Builder, x: NodeId, origin: &[Option<usize>], sizes: &[usize]) -> Result<NodeId, Error> {
    let perm: Vec<usize> = origin.iter().flatten().copied().collect();
    let axes: Vec<usize> = (0..origin.len()).filter(|&i| origin[i].is_some()).collect();
    let x = b.transpose(x, &perm)?;
    b.broadcast(x, sizes, &axes)
}

/// A transposed operand whose free axes keep their order is read where it lies.
fn absorbed(b: &mut Builder, d: &Dot, site: &Site<'_>, side: usize) -> Found {
    let node = b.node(site.args[side]);
    let Op::Transpose(t) = &node.op else { return Ok(None) };
    let (perm, source) = (t.perm.clone(), node.args[0]);
    let free: Vec<usize> = d.free(side, perm.len()).into_iter().map(|a| perm[a]).collect();
    if free.windows(2).any(|w| w[0] > w[1]) {
        return Ok(None);
    }
    let moved = |pairs: &Pairs| -> Pairs {
        pairs
            .iter()
            .map(|&p| {
                let mut p = p;
                let own = pick(&mut p, side);
                *own = perm[*own];
                p
            })
            .collect()
    };
    let mut args = [site.args[0], site.args[1]];
    args[side] = source;
    b.dot(args[0], args[1], &moved(&d.batch), &moved(&d.contract)).map(Some)
}

/// `(A B) C` as `A (B C)` or `(A C) B`, where that is cheaper; without batch axes.
fn reordered(b: &mut Builder, d: &Dot, site: &Site<'_>) -> Found {
    if !d.batch.is_empty() {
        return Ok(None);
    }
    for side in [0, 1] {
        let node = b.node(site.args[side]);
        let Op::Dot(inner) = &node.op else { continue };
        if !inner.batch.is_empty() || !site.alone[side] {
            continue;
        }
        let (inner, x, y, c) = (inner.clone(), node.args[0], node.args[1], site.args[1 - side]);
        let outer: Pairs = d.contract.iter().map(|&(l, r)| if side == 0 { (l, r) } else { (r, l) }).collect();
        let (count, rest) = (b.ty(site.args[side]).rank(), b.ty(c).rank() - outer.len());
        let now = flops(b, &inner, x, y)? + flops(b, d, site.args[0], site.args[1])?;
        let Some((id, cost)) = chain(b, &inner, &outer, [x, y, c])? else { continue };
        if cost >= now {
            // Its nodes stay behind unused, and vanish.
            continue;
        }
        if side == 0 {
            return Ok(Some(id));
        }
        // The axes of `c` come first.
        let own = count - outer.len();
        let perm: Vec<usize> = (own..own + rest).chain(0..own).collect();
        return b.transpose(id, &perm).map(Some);
    }
    Ok(None)
}

fn flops(b: &Builder, d: &Dot, x: NodeId, y: NodeId) -> Result<u64, Error> {
    let types = [b.ty(x), b.ty(y)];
    let op = Op::from(d.clone());
    let out = op.infer(&types).map_err(Error::Malformed)?;
    Ok(op.flops(&types, &out))
}

/// `(x y) c` multiplied from the other end, with the axes of `(x y)` first, and its cost.
fn chain(b: &mut Builder, inner: &Dot, outer: &Pairs, [x, y, c]: [NodeId; 3]) -> Result<Option<(NodeId, u64)>, Error> {
    let free = [inner.free(0, b.ty(x).rank()), inner.free(1, b.ty(y).rank())];
    let first = free[0].len();
    let of_y = outer.iter().filter(|p| p.0 >= first).count();
    if of_y == outer.len() {
        // x (y c): the axes of x come first, then what y and c have left, as before.
        let late: Pairs = outer.iter().map(|&(l, r)| (free[1][l - first], r)).collect();
        let e = Dot { batch: vec![], contract: late.clone() };
        let left: Vec<usize> = e.free(0, b.ty(y).rank());
        let place = |axis: usize| left.iter().position(|&a| a == axis).unwrap_or(usize::MAX);
        let f = Dot { batch: vec![], contract: inner.contract.iter().map(|&(l, r)| (l, place(r))).collect() };
        let first_cost = flops(b, &e, y, c)?;
        let yc = b.dot(y, c, &[], &e.contract)?;
        let cost = first_cost + flops(b, &f, x, yc)?;
        return Ok(Some((b.dot(x, yc, &[], &f.contract)?, cost)));
    }
    if of_y == 0 {
        // (x c) y: the axes of c come before those of y, and are moved behind them.
        let e = Dot { batch: vec![], contract: outer.iter().map(|&(l, r)| (free[0][l], r)).collect() };
        let left: Vec<usize> = e.free(0, b.ty(x).rank());
        let place = |axis: usize| left.iter().position(|&a| a == axis).unwrap_or(usize::MAX);
        let f = Dot { batch: vec![], contract: inner.contract.iter().map(|&(l, r)| (place(l), r)).collect() };
        let first_cost = flops(b, &e, x, c)?;
        let xc = b.dot(x, c, &[], &e.contract)?;
        let cost = first_cost + flops(b, &f, xc, y)?;
        let product = b.dot(xc, y, &[], &f.contract)?;
        let (own, of_c) = (left.len() - inner.contract.len(), b.ty(c).rank() - outer.len());
        let of_y = free[1].len();
        let perm: Vec<usize> = (0..own).chain(own + of_c..own + of_c + of_y).chain(own..own + of_c).collect();
        return Ok(Some((b.transpose(product, &perm)?, cost)));
    }
    Ok(None)
}
