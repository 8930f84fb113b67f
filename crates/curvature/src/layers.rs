//! The exact diagonal from layer inputs and output cotangents, where each parameter meets each datum once.
//!
//! A linear layer's gradient for datum n and vector v is `g_nv a_n^T`, so its squares sum to `(sum_v g o g)^T (a o a)`
//! over the data: one product per layer, and no gradient of a datum is formed (arXiv:2507.05127, section 4, for the
//! vectors). Cost: a forward pass, a backward pass to layer outputs per vector, one product per layer.

use crate::error::Error;
use crate::risk::{Traced, inline_model};
use autodiff::{Builder, Leaf, NodeId, Orientation, Program, TapKind, Use};

/// The program from the model's inputs and vectors `[V, n, ..]` to the sum of squares of all gradients, in the order of the
/// parameters; none if some parameter is used in another way than once per datum in a layer.
pub(crate) fn squares(traced: &Traced, leaves: &[Leaf], n: usize, vectors: usize) -> Result<Option<Program>, Error> {
    let model = traced.model.inline()?;
    let Ok(taps) = model.taps(leaves) else { return Ok(None) };
    let mut order: Vec<&Use> = taps.uses.iter().collect();
    order.sort_by_key(|u| u.param);
    let once =
        order.len() == leaves.len() && order.iter().enumerate().all(|(i, u)| u.param == i && fits(u, &leaves[i], n));
    if !once {
        return Ok(None);
    }
    let split = taps.linearize()?;
    let back = split.transpose()?;
    let mut axes = vec![None; back.inputs().len()];
    if let Some(cotangent) = axes.last_mut() {
        *cotangent = Some(0);
    }
    let back = back.vmap(vectors, &axes)?;

    let mut b = Builder::new();
    let (inputs, _) = inline_model(&mut b, &model)?;
    let map = b.inline(&split.primal, &inputs)?;
    let value = |i: usize| map[split.primal.outputs()[i].node.index()];
    let outputs = split.primal.outputs().len();
    let mut args: Vec<NodeId> = (outputs - split.residuals..outputs).map(value).collect();
    args.push(b.input("vectors", back.input_type(back.inputs().len() - 1).clone()));
    let pulled = b.inline(&back, &args)?;
    let mut parts = Vec::with_capacity(order.len());
    for u in order {
        let g = pulled[back.outputs()[u.tap].node.index()];
        let squared = b.mul(g, g)?;
        let g = b.sum(squared, &[0])?;
        let a = u.input.map(value);
        let part = squares_of(&mut b, u, g, a)?;
        parts.push(b.scale(part, u.factor * u.factor)?);
    }
    let all = b.concat(&parts, 0)?;
    Ok(Some(b.finish(vec![("squares".into(), all)])))
}

/// Whether a use is one of a whole parameter, once for each of `n` data.
fn fits(u: &Use, leaf: &Leaf, n: usize) -> bool {
    let size = |axes: &[autodiff::Axis]| axes.iter().map(|a| a.size).product::<usize>();
    let numel = size(&u.groups) * size(&u.outputs) * size(&u.inputs);
    let kind = match u.kind {
        TapKind::Contraction => u.groups.is_empty() && u.orientation() != Orientation::Strided,
        TapKind::Shift | TapKind::Scale => u.orientation() == Orientation::OutIn,
        TapKind::Lookup => false,
    };
    let once = u.positions == [n] && u.windowed.iter().all(|w| *w == (0..n));
    kind && once && u.unfold.is_empty() && numel == leaf.shape.iter().product::<usize>() && u.offset == 0
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
