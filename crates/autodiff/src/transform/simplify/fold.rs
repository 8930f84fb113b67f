//! Constant folding: what has constant operands is evaluated, in `f64`, if the result is small.

use super::{Found, Site};
use crate::array::Value;
use crate::ops::{Const, Gather, Op, Slice};
use crate::program::{Builder, NodeId};
use crate::types::TensorType;

/// Elements that a folded constant has at most.
const LARGEST: usize = 4096;

pub(super) fn constant(b: &mut Builder, site: &Site<'_>) -> Found {
    if let Op::Const(c) = site.op {
        // One value everywhere is kept as a number that repeats.
        return match (c.splat(), site.op.infer(&[])) {
            (Some(x), Ok(ty)) if ty.rank() > 0 => b.full(&ty.shape, x).map(Some),
            _ => Ok(None),
        };
    }
    if let Op::Gather(Gather { batch: 0 }) = site.op
        && let Some(id) = even_rows(b, site)?
    {
        return Ok(Some(id));
    }
    if matches!(site.op, Op::Broadcast(_) | Op::Call(_)) || site.args.is_empty() {
        return Ok(None);
    }
    let literal = |&a: &NodeId| -> Option<Value<f64>> { value(b, a) };
    let Some(values) = site.args.iter().map(literal).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let types: Vec<TensorType> = values.iter().map(Value::ty).collect();
    let Ok(ty) = site.op.infer(&types.iter().collect::<Vec<_>>()) else { return Ok(None) };
    if ty.numel() > LARGEST {
        return Ok(None);
    }
    // What cannot be evaluated (an index outside its axis) fails when it is run.
    let Ok(result) = site.op.eval::<f64>(&values.iter().collect::<Vec<_>>(), &ty) else { return Ok(None) };
    match result {
        Value::Real(a) => {
            let c = Const::real(a.shape(), a.data().to_vec());
            match c.splat() {
                Some(x) if ty.rank() > 0 => b.full(&ty.shape, x).map(Some),
                _ => b.push(c, &[]).map(Some),
            }
        }
        Value::Int(a) => b.int_const(a.shape(), a.data().to_vec()).map(Some),
    }
}

/// The value of a constant, or of a number that repeats, if it is small.
fn value(b: &Builder, id: NodeId) -> Option<Value<f64>> {
    let node = b.node(id);
    if node.ty.numel() > LARGEST {
        return None;
    }
    match &node.op {
        Op::Const(_) => node.op.eval(&[], &node.ty).ok(),
        Op::Broadcast(_) => {
            let inner = value(b, node.args[0])?;
            node.op.eval(&[&inner], &node.ty).ok()
        }
        _ => None,
    }
}

/// Rows picked at even distances are a slice.
fn even_rows(b: &mut Builder, site: &Site<'_>) -> Found {
    let (x, index) = (site.args[0], b.node(site.args[1]));
    let (Op::Const(_), [count]) = (&index.op, index.ty.shape.as_slice()) else { return Ok(None) };
    let (count, size) = (*count, b.ty(x).shape[0]);
    let Ok(Value::Int(list)) = index.op.eval::<f64>(&[], &index.ty) else { return Ok(None) };
    let list: Vec<usize> = list.data().iter().filter_map(|&i| usize::try_from(i).ok()).collect();
    let step = if count > 1 { list.get(1).zip(list.first()).map_or(0, |(b, a)| b.saturating_sub(*a)) } else { 1 };
    let even = list.len() == count && list.windows(2).all(|w| w[1] == w[0] + step);
    let (Some(&first), Some(&last)) = (list.first(), list.last()) else { return Ok(None) };
    if !even || step == 0 || last >= size {
        return Ok(None);
    }
    let mut slice = Slice::all(&b.ty(x).shape);
    (slice.start[0], slice.stop[0], slice.step[0]) = (first, last + 1, step);
    b.slice(x, slice).map(Some)
}
