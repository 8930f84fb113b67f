//! Matrices of outer products from layer inputs and output cotangents: their diagonal, and their products.
//!
//! A linear layer's gradient for datum n and vector v is `g_nv a_n^T` (arXiv:2507.05127, section 4). Where each parameter
//! meets each datum once, the squares sum to `(sum_v g o g)^T (a o a)` over the data: one product per layer, and no gradient
//! of a datum is formed. And with all `g_nv` at hand, a product with the matrix needs no pass through the network: per
//! layer one product with `a`, two readings of `g`, one product with `a^T`.

use crate::error::Error;
use crate::risk::{Traced, inline_model};
use autodiff::{Axis, Builder, Leaf, NodeId, Orientation, Program, TapKind, TensorType, Use};

/// What every use of a parameter meets, as nodes of a program under construction.
struct Tapped {
    /// The uses in the order of the parameters.
    uses: Vec<Use>,
    /// Of each use, the other operand.
    operands: Vec<Option<NodeId>>,
    /// Of each tap, the cotangents `[V, n, ..]`.
    cotangents: Vec<NodeId>,
}

impl Tapped {
    /// Inlines the model and, for `vectors` vectors per datum that `vectors_of` puts in the layout `[V, n, ..]` of the
    /// model's outputs, its backward pass to the taps; none unless every use `fits` and each parameter has one.
    fn new(
        b: &mut Builder,
        traced: &Traced,
        leaves: &[Leaf],
        vectors: usize,
        fits: impl Fn(&Use, &Leaf) -> bool,
        vectors_of: impl FnOnce(&mut Builder, &TensorType) -> Result<NodeId, Error>,
    ) -> Result<Option<Self>, Error> {
        let model = traced.model.inline()?;
        let Ok(taps) = model.taps(leaves) else { return Ok(None) };
        let mut uses = taps.uses.clone();
        uses.sort_by_key(|u| u.param);
        if uses.len() != leaves.len()
            || uses.iter().zip(leaves).enumerate().any(|(i, (u, l))| u.param != i || !fits(u, l))
        {
            return Ok(None);
        }
        let split = taps.linearize()?;
        let back = split.transpose()?;
        let mut axes = vec![None; back.inputs().len()];
        if let Some(cotangent) = axes.last_mut() {
            *cotangent = Some(0);
        }
        let back = back.vmap(vectors, &axes)?;
        let (inputs, _) = inline_model(b, &model)?;
        let map = b.inline(&split.primal, &inputs)?;
        let value = |i: usize| map[split.primal.outputs()[i].node.index()];
        let outputs = split.primal.outputs().len();
        let mut args: Vec<NodeId> = (outputs - split.residuals..outputs).map(value).collect();
        args.push(vectors_of(b, back.input_type(back.inputs().len() - 1))?);
        let pulled = b.inline(&back, &args)?;
        let cotangents = (0..taps.len()).map(|k| pulled[back.outputs()[k].node.index()]).collect();
        let operands = uses.iter().map(|u| u.input.map(value)).collect();
        Ok(Some(Tapped { uses, operands, cotangents }))
    }
}

/// The program from the model's inputs and vectors `[V, n, ..]` to the sum of squares of all gradients, in the order of the
/// parameters; none if some parameter is used in another way than once per datum in a layer.
pub(crate) fn squares(traced: &Traced, leaves: &[Leaf], n: usize, vectors: usize) -> Result<Option<Program>, Error> {
    let mut b = Builder::new();
    let once = |u: &Use, leaf: &Leaf| u.positions == [n] && fits(u, leaf);
    let declare = |b: &mut Builder, ty: &TensorType| Ok(b.input("vectors", ty.clone()));
    let Some(tapped) = Tapped::new(&mut b, traced, leaves, vectors, once, declare)? else { return Ok(None) };
    let mut parts = Vec::with_capacity(leaves.len());
    for (u, a) in tapped.uses.iter().zip(&tapped.operands) {
        let g = tapped.cotangents[u.tap];
        let squared = b.mul(g, g)?;
        let g = b.sum(squared, &[0])?;
        let part = squares_of(&mut b, u, g, *a)?;
        parts.push(b.scale(part, u.factor * u.factor)?);
    }
    let all = b.concat(&parts, 0)?;
    Ok(Some(b.finish(vec![("squares".into(), all)])))
}

/// `scale sum_n J_n^T (sum_v g_nv g_nv^T) J_n x` for vectors `[n, V, ..]`, the extra input: all that does not depend on `x`
/// are layer inputs and cotangents. None if some parameter is used in another way than in one layer, once or at several
/// positions of each datum.
pub(crate) fn outer(
    traced: &Traced,
    leaves: &[Leaf],
    [n, vectors]: [usize; 2],
    scale: f64,
) -> Result<Option<Program>, Error> {
    let mut b = Builder::new();
    let width = traced.model.output_type(0).numel() / n.max(1);
    let declare = |b: &mut Builder, ty: &TensorType| {
        let g = b.input("extra.0", TensorType::real(&[n, vectors, width]));
        let g = b.transpose(g, &[1, 0, 2])?;
        Ok(b.reshape(g, &ty.shape)?)
    };
    let of_data = |u: &Use, leaf: &Leaf| u.positions.first() == Some(&n) && fits(u, leaf);
    let Some(tapped) = Tapped::new(&mut b, traced, leaves, vectors, of_data, declare)? else { return Ok(None) };
    let x = b.input("v", traced.model.input_type(0).clone());

    // `J x` at the taps, then `<g_nv, J_n x>` over all of them.
    let mut tangents: Vec<Option<NodeId>> = vec![None; tapped.cotangents.len()];
    for ((u, a), leaf) in tapped.uses.iter().zip(&tapped.operands).zip(leaves) {
        let t = tangent(&mut b, u, leaf, *a, x)?;
        tangents[u.tap] = Some(match tangents[u.tap] {
            Some(sum) => b.add(sum, t)?,
            None => t,
        });
    }
    let mut inner: Option<NodeId> = None;
    for (&g, t) in tapped.cotangents.iter().zip(&tangents) {
        let Some(t) = *t else { continue };
        let (g, t) = (flat(&mut b, g, 2)?, flat(&mut b, t, 1)?);
        let part = b.dot(g, t, &[(1, 0)], &[(2, 1)])?;
        inner = Some(match inner {
            Some(sum) => b.add(sum, part)?,
            None => part,
        });
    }
    let Some(inner) = inner else { return Ok(None) };
    let inner = b.scale(inner, scale)?;

    // `sum_v g_nv inner_nv` at the taps, then the layers' gradients.
    let mut parts = Vec::with_capacity(leaves.len());
    for (u, a) in tapped.uses.iter().zip(&tapped.operands) {
        let g = tapped.cotangents[u.tap];
        let shape = b.shape(g)[1..].to_vec();
        let g = flat(&mut b, g, 2)?;
        let y = b.dot(inner, g, &[(0, 1)], &[(1, 0)])?;
        let y = b.reshape(y, &shape)?;
        let part = gradient(&mut b, u, y, *a)?;
        parts.push(b.scale(part, u.factor)?);
    }
    let all = b.concat(&parts, 0)?;
    Ok(Some(b.finish(vec![("product".into(), all)])))
}

/// The node with all axes from `axis` on as one.
fn flat(b: &mut Builder, node: NodeId, axis: usize) -> Result<NodeId, Error> {
    let shape = b.shape(node);
    let mut joined = shape[..axis].to_vec();
    joined.push(shape[axis..].iter().product());
    Ok(b.reshape(node, &joined)?)
}

fn sizes(axes: &[Axis]) -> usize {
    axes.iter().map(|a| a.size).product()
}

/// The change of a use's result, `positions ++ [outputs]`, when its parameter changes by its part of `x`.
fn tangent(b: &mut Builder, u: &Use, leaf: &Leaf, a: Option<NodeId>, x: NodeId) -> Result<NodeId, Error> {
    let (p, at) = (u.positions.len(), leaf.offset.unwrap_or(0));
    let (outs, ins) = (sizes(&u.groups) * sizes(&u.outputs), sizes(&u.inputs));
    let w = b.slice_axis(x, 0, at, at + leaf.shape.iter().product::<usize>())?;
    let shape: Vec<usize> = u.positions.iter().copied().chain([outs]).collect();
    let t = match (u.kind, a) {
        (TapKind::Contraction, Some(a)) => {
            let a = flat(b, a, p)?;
            let inside = u.orientation() == Orientation::InOut;
            let w = b.reshape(w, &if inside { [ins, outs] } else { [outs, ins] })?;
            b.dot(a, w, &[], &[(p, usize::from(!inside))])?
        }
        (TapKind::Scale, Some(a)) => {
            let (a, w) = (flat(b, a, p)?, b.broadcast(w, &shape, &[p])?);
            b.mul(a, w)?
        }
        _ => b.broadcast(w, &shape, &[p])?,
    };
    Ok(b.scale(t, u.factor)?)
}

/// The gradient of a use's parameter, flat, from the cotangent `positions ++ outputs` of its result.
fn gradient(b: &mut Builder, u: &Use, y: NodeId, a: Option<NodeId>) -> Result<NodeId, Error> {
    let p = u.positions.len();
    let positions: Vec<usize> = (0..p).collect();
    let pairs: Vec<(usize, usize)> = positions.iter().map(|&i| (i, i)).collect();
    let sum = match (u.kind, a) {
        (TapKind::Contraction, Some(a)) => {
            let (y, a) = (flat(b, y, p)?, flat(b, a, p)?);
            if u.orientation() == Orientation::InOut { b.dot(a, y, &[], &pairs)? } else { b.dot(y, a, &[], &pairs)? }
        }
        (TapKind::Scale, Some(a)) => {
            let (y, a) = (flat(b, y, p)?, flat(b, a, p)?);
            let product = b.mul(y, a)?;
            b.sum(product, &positions)?
        }
        _ => b.sum(y, &positions)?,
    };
    let numel = b.shape(sum).iter().product();
    Ok(b.reshape(sum, &[numel])?)
}

/// Whether a use is one of a whole parameter, at all its positions.
fn fits(u: &Use, leaf: &Leaf) -> bool {
    let numel = sizes(&u.groups) * sizes(&u.outputs) * sizes(&u.inputs);
    let kind = match u.kind {
        TapKind::Contraction => u.groups.is_empty() && u.orientation() != Orientation::Strided,
        TapKind::Shift | TapKind::Scale => u.orientation() == Orientation::OutIn,
        TapKind::Lookup => false,
    };
    let everywhere = u.windowed.iter().zip(&u.positions).all(|(w, &n)| *w == (0..n));
    kind && everywhere && u.unfold.is_empty() && numel == leaf.shape.iter().product::<usize>() && u.offset == 0
}

/// The squares of one use, flat, from those of the cotangents `[n, ..]` and the other operand `[n, ..]`.
fn squares_of(b: &mut Builder, u: &Use, g: NodeId, a: Option<NodeId>) -> Result<NodeId, Error> {
    let a = match a {
        Some(a) => Some(b.mul(a, a)?),
        None => None,
    };
    let sum = match (u.kind, a) {
        (TapKind::Contraction, Some(a)) if u.orientation() == Orientation::InOut => b.dot(a, g, &[], &[(0, 0)])?,
        (TapKind::Contraction, Some(a)) => b.dot(g, a, &[], &[(0, 0)])?,
        (TapKind::Scale, Some(a)) => {
            let product = b.mul(g, a)?;
            b.sum(product, &[0])?
        }
        _ => b.sum(g, &[0])?,
    };
    let numel = b.shape(sum).iter().product();
    Ok(b.reshape(sum, &[numel])?)
}
