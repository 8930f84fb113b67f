//! Reverse mode: the transpose of the linear part of forward mode.

use super::forward::push_forward;
use super::{check_wrt, declare_inputs};
use crate::error::Error;
use crate::ops::{Call, Op, Primitive, Slice};
use crate::program::{Args, Builder, NodeId, Program};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Which nodes of `b` depend on the given ones.
pub(super) fn dependents(b: &Builder, roots: &[NodeId]) -> Vec<bool> {
    let mut active = vec![false; b.len()];
    for i in 0..b.len() {
        let id = NodeId(i as u32);
        active[i] = roots.contains(&id) || b.node(id).args.iter().any(|a| active[a.index()]);
    }
    active
}

/// Transposes the linear map from `roots` to `outputs` that stands in `b`: returns the cotangent of each root.
pub(super) fn pull_back(b: &mut Builder, roots: &[NodeId], outputs: &[(NodeId, NodeId)]) -> Result<Vec<NodeId>, Error> {
    let active = dependents(b, roots);
    let mut cotangent: Vec<Option<NodeId>> = vec![None; active.len()];
    let mut pieces: HashMap<NodeId, Vec<Piece>> = HashMap::new();
    for &(node, ct) in outputs {
        accumulate(b, &mut cotangent, node, ct)?;
    }
    for i in (0..active.len()).rev() {
        let id = NodeId(i as u32);
        if let Some(parts) = pieces.remove(&id) {
            let ct = assemble(b, id, parts)?;
            accumulate(b, &mut cotangent, id, ct)?;
        }
        if !active[i] || roots.contains(&id) {
            continue;
        }
        let node = b.node(id);
        let (op, args, origin): (_, Args, _) = (node.op.clone(), node.args.clone(), node.origin);
        b.trace_to(origin);
        let linear: SmallVec<[bool; 3]> = args.iter().map(|a| active[a.index()]).collect();
        let cts = match (&op, cotangent[i]) {
            (Op::Call(call), _) => match siblings(b, call, &args, i, &cotangent) {
                outputs if outputs.is_empty() => continue,
                outputs => call.transpose_outputs(b, &args, &linear, &outputs)?,
            },
            (_, None) => continue,
            (Op::Slice(slice), Some(ct)) => {
                pieces.entry(args[0]).or_default().push((slice.clone(), ct));
                continue;
            }
            (_, Some(ct)) => op.transpose(b, &args, &linear, ct)?,
        };
        for ((&arg, ct), _) in args.iter().zip(cts).zip(&linear).filter(|(_, linear)| **linear) {
            if let Some(ct) = ct {
                accumulate(b, &mut cotangent, arg, ct)?;
            }
        }
    }
    let mut result = Vec::with_capacity(roots.len());
    for &root in roots {
        result.push(match cotangent[root.index()] {
            Some(ct) => ct,
            None => b.zeros_like(root)?,
        });
    }
    Ok(result)
}

/// The outputs of one named sub-program that have cotangents. They are transposed together when the first of its nodes
/// is reached, because all are known then: at any other node there is nothing to do.
fn siblings(
    b: &Builder,
    call: &Call,
    args: &[NodeId],
    at: usize,
    cotangent: &[Option<NodeId>],
) -> Vec<(usize, NodeId)> {
    let mut found = Vec::new();
    for (i, ct) in cotangent.iter().enumerate() {
        let node = b.node(NodeId(i as u32));
        if let Op::Call(other) = &node.op
            && node.args.as_slice() == args
            && call.same_body(other)
        {
            if i < at {
                return Vec::new();
            }
            found.extend(ct.map(|ct| (other.output(), ct)));
        }
    }
    found.sort_unstable_by_key(|f| f.0);
    found
}

/// The cotangent of a slice of some node.
type Piece = (Slice, NodeId);

/// The cotangent of a node that is used through slices: pieces side by side along one axis are joined, which costs one
/// pass; only what overlaps is padded and added, which costs a pass each.
fn assemble(b: &mut Builder, node: NodeId, mut pieces: Vec<Piece>) -> Result<NodeId, Error> {
    let shape = b.shape(node);
    let Some(axis) = common_axis(&shape, &pieces) else {
        let mut sum = None;
        for (slice, ct) in pieces {
            let padded =
                slice.transpose(b, &[node], &[true], ct)?[0].ok_or_else(|| Error::Malformed("slice".into()))?;
            sum = Some(sum.map_or(Ok(padded), |sum| b.add(sum, padded))?);
        }
        return sum.map_or_else(|| b.zeros_like(node), Ok);
    };
    pieces.sort_by_key(|(slice, _)| slice.start[axis]);
    let mut parts = Vec::with_capacity(pieces.len());
    let mut at = 0;
    let fill = |b: &mut Builder, parts: &mut Vec<NodeId>, from: usize, to: usize| -> Result<(), Error> {
        if from < to {
            let mut gap = shape.clone();
            gap[axis] = to - from;
            parts.push(b.full(&gap, 0.0)?);
        }
        Ok(())
    };
    for (slice, ct) in pieces {
        fill(b, &mut parts, at, slice.start[axis])?;
        parts.push(ct);
        at = slice.stop[axis];
    }
    fill(b, &mut parts, at, shape[axis])?;
    b.concat(&parts, axis)
}

/// The one axis along which all pieces are cut, if they are whole elsewhere, without steps, and do not overlap.
fn common_axis(shape: &[usize], pieces: &[Piece]) -> Option<usize> {
    let cut = |s: &Slice, a: usize| s.start[a] != 0 || s.stop[a] != shape[a];
    let (first, _) = pieces.first()?;
    let axis = (0..shape.len()).find(|&a| cut(first, a))?;
    let plain = |s: &Slice| s.step.iter().all(|&n| n == 1) && (0..shape.len()).all(|a| a == axis || !cut(s, a));
    let mut spans: Vec<(usize, usize)> = pieces.iter().map(|(s, _)| (s.start[axis], s.stop[axis])).collect();
    spans.sort_unstable();
    let apart = spans.windows(2).all(|w| w[0].1 <= w[1].0);
    (apart && pieces.iter().all(|(s, _)| plain(s))).then_some(axis)
}

fn accumulate(b: &mut Builder, cotangent: &mut [Option<NodeId>], node: NodeId, ct: NodeId) -> Result<(), Error> {
    cotangent[node.index()] = Some(match cotangent[node.index()] {
        Some(sum) => b.add(sum, ct)?,
        None => ct,
    });
    Ok(())
}

impl Program {
    /// The transpose of a program that is linear in the inputs marked so, as the body of a named sub-program: takes the
    /// other inputs and a cotangent `ct.name` for each of `outputs`, returns one `ct.name` per linear input.
    pub(crate) fn transposed(&self, linear: &[bool], outputs: &[usize]) -> Result<Program, Error> {
        let mut b = Builder::new();
        let (mut inputs, mut roots) = (Vec::new(), Vec::new());
        for (port, &linear) in self.inputs().iter().zip(linear) {
            let ty = self.node(port.node).ty.clone();
            let id = if linear { b.placeholder(ty) } else { b.input(port.name.clone(), ty) };
            roots.extend(linear.then_some(id));
            inputs.push(id);
        }
        let bare = |name: &str| name.strip_prefix("d.").unwrap_or(name).to_owned();
        let mut seeds = Vec::new();
        for &k in outputs {
            let ct = b.input(format!("ct.{}", bare(&self.outputs()[k].name)), self.output_type(k).clone());
            seeds.push((self.outputs()[k].node, ct));
        }
        let map = b.inline(self, &inputs)?;
        let active = dependents(&b, &roots);
        let ends: Vec<_> = seeds.into_iter().map(|(n, ct)| (map[n.index()], ct)).collect();
        let ends: Vec<_> = ends.into_iter().filter(|(n, _)| active[n.index()]).collect();
        let cotangents = pull_back(&mut b, &roots, &ends)?;
        let names = self.inputs().iter().zip(linear).filter(|(_, l)| **l).map(|(p, _)| format!("ct.{}", bare(&p.name)));
        Ok(b.finish(names.zip(cotangents).collect()))
    }

    /// Reverse mode in the inputs `wrt`: the new program takes the inputs and a cotangent `ct.name` for each real output,
    /// and returns the outputs and a cotangent `ct.name` for each of `wrt`.
    ///
    /// Costs about three times the program for a deep network.
    pub fn vjp(&self, wrt: &[usize]) -> Result<Program, Error> {
        let seed =
            |b: &mut Builder, output: &str, i: usize| Ok(b.input(format!("ct.{output}"), self.output_type(i).clone()));
        self.reverse_of(wrt, self.outputs().len(), seed)
    }

    /// Value and gradient of output 0, which has no axes: outputs are all outputs, then `grad.name` for each of `wrt`.
    ///
    /// ```
    /// use autodiff::{Array, TensorType, trace};
    /// let f = trace(&[("x", TensorType::real(&[2]))], |_, x| vec![("y", (&x[0] * &x[0]).sum(&[0]))]).unwrap();
    /// let out = f.value_and_grad(&[0]).unwrap().interpret(&[Array::new(&[2], vec![3.0, 4.0]).unwrap().into()]).unwrap();
    /// assert_eq!(out[0].real().unwrap().data(), [25.0]);
    /// assert_eq!(out[1].real().unwrap().data(), [6.0, 8.0]);
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if output 0 has axes.
    pub fn value_and_grad(&self, wrt: &[usize]) -> Result<Program, Error> {
        if self.outputs().is_empty() || self.output_type(0).rank() != 0 || !self.output_type(0).is_real() {
            return Err(Error::unsupported("gradient", "scalar output", "output 0 must be a real number without axes"));
        }
        let mut program = self.reverse_of(wrt, self.outputs().len(), |b, _, i| {
            let shape = self.output_type(i).shape.clone();
            b.full(&shape, if i == 0 { 1.0 } else { 0.0 })
        })?;
        let n = self.outputs().len();
        for port in &mut program.outputs[n..] {
            port.name = port.name.replacen("ct.", "grad.", 1);
        }
        Ok(program)
    }

    /// The gradient alone: like [`value_and_grad`](Self::value_and_grad) without the values.
    pub fn grad(&self, wrt: &[usize]) -> Result<Program, Error> {
        let full = self.value_and_grad(wrt)?;
        let keep: Vec<usize> = (self.outputs().len()..full.outputs().len()).collect();
        full.select_outputs(&keep)
    }

    /// The program with only these outputs, in this order.
    pub fn select_outputs(&self, keep: &[usize]) -> Result<Program, Error> {
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let map = b.inline(self, &inputs)?;
        let mut outputs = Vec::with_capacity(keep.len());
        for &i in keep {
            let port = self.outputs().get(i).ok_or_else(|| Error::UnknownName {
                what: "output",
                name: format!("#{i}"),
                known: format!("{} outputs", self.outputs().len()),
            })?;
            outputs.push((port.name.clone(), map[port.node.index()]));
        }
        Ok(b.finish(outputs))
    }

    /// Reverse mode with seeds for the first `count` outputs; the others are values only.
    pub(super) fn reverse_of(
        &self,
        wrt: &[usize],
        count: usize,
        mut seed: impl FnMut(&mut Builder, &str, usize) -> Result<NodeId, Error>,
    ) -> Result<Program, Error> {
        check_wrt(self, wrt)?;
        let related = self.related_calls();
        if related.contains(&true) {
            // A call and its derivative are passed once, not one after the other: their cotangents meet inside the body.
            return self.inline_unless(&|i, _| !related.get(i).copied().unwrap_or(true))?.reverse_of(wrt, count, seed);
        }
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut seeds = Vec::new();
        for (i, port) in self.outputs()[..count].iter().enumerate() {
            if self.output_type(i).is_real() {
                seeds.push((port.node, seed(&mut b, &port.name, i)?));
            }
        }
        // Tangents enter as placeholders; once the linear part is transposed nothing refers to them.
        let mut tangents = vec![None; inputs.len()];
        let mut roots = Vec::with_capacity(wrt.len());
        for &i in wrt {
            let root = b.placeholder(self.input_type(i).clone());
            tangents[i] = Some(root);
            roots.push(root);
        }
        let (primal, tangent) = push_forward(&mut b, self, &inputs, &tangents)?;
        let ends: Vec<_> = seeds.iter().filter_map(|&(node, ct)| Some((tangent[node.index()]?, ct))).collect();
        let cotangents = pull_back(&mut b, &roots, &ends)?;
        let mut outputs: Vec<(String, NodeId)> =
            self.outputs().iter().map(|p| (p.name.clone(), primal[p.node.index()])).collect();
        for (&i, ct) in wrt.iter().zip(cotangents) {
            outputs.push((format!("ct.{}", self.inputs()[i].name), ct));
        }
        Ok(b.finish(outputs))
    }
}
