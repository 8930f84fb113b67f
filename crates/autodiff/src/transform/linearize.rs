//! `linearize`: the work that does not depend on the direction, done once; and the linear rest.

use super::forward::push_forward;
use super::reverse::{dependents, pull_back};
use super::{check_wrt, declare_inputs};
use crate::error::Error;
use crate::ops::Op;
use crate::program::{Builder, NodeId, Program};

/// A program split at a point: `primal` returns the outputs and the residuals; `linear` takes residuals and tangents
/// and returns the outputs' tangents. A curvature operator runs `primal` once and `linear` for every product.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Linearized {
    /// Takes the inputs; returns the outputs, then the residuals `res.k`.
    pub primal: Program,
    /// Takes the residuals, then a tangent `d.name` per differentiated input; returns `d.name` per real output.
    pub linear: Program,
    /// How many of the primal's outputs are the program's own.
    pub outputs: usize,
    /// How many residuals there are.
    pub residuals: usize,
}

impl Program {
    /// Splits forward mode in the inputs `wrt` into the part that is done once per point and the linear part.
    pub fn linearize(&self, wrt: &[usize]) -> Result<Linearized, Error> {
        self.linearize_of(wrt, self.outputs().len())
    }

    /// The same for the first `count` outputs; the others are values only.
    pub(super) fn linearize_of(&self, wrt: &[usize], count: usize) -> Result<Linearized, Error> {
        if self.has_calls() {
            // What is done once per point may be anywhere inside a sub-program.
            return self.inline()?.linearize_of(wrt, count);
        }
        check_wrt(self, wrt)?;
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut tangents = vec![None; inputs.len()];
        let mut roots = Vec::with_capacity(wrt.len());
        for &i in wrt {
            let root = b.placeholder(self.input_type(i).clone());
            tangents[i] = Some(root);
            roots.push(root);
        }
        let (primal, tangent) = push_forward(&mut b, self, &inputs, &tangents)?;
        let mut ends = Vec::new();
        for p in self.outputs()[..count].iter().filter(|p| self.node(p.node).ty.is_real()) {
            let t = match tangent[p.node.index()] {
                Some(t) => t,
                None => b.zeros_like(primal[p.node.index()])?,
            };
            ends.push((format!("d.{}", p.name), t));
        }
        let names = wrt.iter().map(|&i| format!("d.{}", self.inputs()[i].name)).collect::<Vec<_>>();
        let (linear, residuals) = extract_linear(&b, &roots, &names, &ends)?;
        let mut outputs: Vec<(String, NodeId)> =
            self.outputs().iter().map(|p| (p.name.clone(), primal[p.node.index()])).collect();
        let count = residuals.len();
        outputs.extend(residuals.into_iter().enumerate().map(|(k, id)| (format!("res.{k}"), id)));
        Ok(Linearized { primal: b.finish(outputs), linear, outputs: self.outputs().len(), residuals: count })
    }
}

/// The nodes that lead from `roots` to `ends` as a program of their own; what it needs from outside becomes an input.
fn extract_linear(
    b: &Builder,
    roots: &[NodeId],
    names: &[String],
    ends: &[(String, NodeId)],
) -> Result<(Program, Vec<NodeId>), Error> {
    let active = dependents(b, roots);
    let mut needed = vec![false; b.len()];
    ends.iter().for_each(|(_, id)| needed[id.index()] = true);
    for i in (0..b.len()).rev() {
        if needed[i] && active[i] {
            b.node(NodeId(i as u32)).args.iter().for_each(|a| needed[a.index()] = true);
        }
    }
    let mut out = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; b.len()];
    let mut residuals = Vec::new();
    for i in (0..b.len()).filter(|&i| needed[i] && !active[i]) {
        let id = NodeId(i as u32);
        match recompute(b, id, &mut out)? {
            Some(copy) => map[i] = Some(copy),
            None => {
                map[i] = Some(out.input(format!("res.{}", residuals.len()), b.ty(id).clone()));
                residuals.push(id);
            }
        }
    }
    for (&root, name) in roots.iter().zip(names) {
        map[root.index()] = Some(out.input(name.clone(), b.ty(root).clone()));
    }
    for i in (0..b.len()).filter(|&i| needed[i] && active[i]) {
        if map[i].is_none() {
            let node = b.node(NodeId(i as u32));
            let args: Option<Vec<NodeId>> = node.args.iter().map(|a| map[a.index()]).collect();
            let args = args.ok_or_else(|| Error::Malformed("a linear node lacks an operand".into()))?;
            map[i] = Some(out.push(node.op.clone(), &args)?);
        }
    }
    let ends = ends.iter().filter_map(|(name, id)| Some((name.clone(), map[id.index()]?))).collect();
    Ok((out.finish(ends), residuals))
}

/// Copies a node that is cheaper to make again than to keep: a constant, or a constant spread out.
fn recompute(b: &Builder, id: NodeId, out: &mut Builder) -> Result<Option<NodeId>, Error> {
    let node = b.node(id);
    match &node.op {
        Op::Const(_) => out.push(node.op.clone(), &[]).map(Some),
        Op::Broadcast(_) => match recompute(b, node.args[0], out)? {
            Some(x) => out.push(node.op.clone(), &[x]).map(Some),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

impl Linearized {
    /// The transposed linear program: takes residuals, then a cotangent `ct.name` per output of `linear`, and returns a
    /// cotangent `ct.name` per differentiated input.
    pub fn transpose(&self) -> Result<Program, Error> {
        let mut b = Builder::new();
        let mut inputs: Vec<NodeId> = (0..self.residuals)
            .map(|k| b.input(self.linear.inputs()[k].name.clone(), self.linear.input_type(k).clone()))
            .collect();
        let bare = |name: &str| name.strip_prefix("d.").unwrap_or(name).to_owned();
        let seeds: Vec<NodeId> = (0..self.linear.outputs().len())
            .map(|i| {
                b.input(format!("ct.{}", bare(&self.linear.outputs()[i].name)), self.linear.output_type(i).clone())
            })
            .collect();
        let mut roots = Vec::new();
        for i in self.residuals..self.linear.inputs().len() {
            let root = b.placeholder(self.linear.input_type(i).clone());
            inputs.push(root);
            roots.push(root);
        }
        let map = b.inline(&self.linear, &inputs)?;
        let ends: Vec<_> = self.linear.outputs().iter().zip(seeds).map(|(p, ct)| (map[p.node.index()], ct)).collect();
        let active = dependents(&b, &roots);
        let ends: Vec<_> = ends.into_iter().filter(|(id, _)| active[id.index()]).collect();
        let cotangents = pull_back(&mut b, &roots, &ends)?;
        let names = self.linear.inputs()[self.residuals..].iter().map(|p| format!("ct.{}", bare(&p.name)));
        Ok(b.finish(names.zip(cotangents).collect()))
    }
}
