//! `Builder`: appends nodes, never twice the same; what transformations write programs with.

use super::derived::Derivations;
use super::{Args, Node, NodeId, Origin, Port, Program};
use crate::error::Error;
use crate::ops::{Const, Input, Op};
use crate::types::{Dims, Kind, TensorType};
use smallvec::SmallVec;
use std::collections::HashMap;

/// An append-only graph under construction, with common subexpressions shared as they arise.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    known: HashMap<(Op, Args), NodeId>,
    inputs: Vec<Port>,
    origin: Origin,
    pub(super) derived: Derivations,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the next input.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> NodeId {
        let op = Op::Input(Input { index: self.inputs.len(), ty: ty.clone() });
        let node = self.append(op, Args::new(), ty);
        self.inputs.push(Port { name: name.into(), node });
        node
    }

    /// Adds a node, or finds the one that already computes the same.
    pub fn push(&mut self, op: impl Into<Op>, args: &[NodeId]) -> Result<NodeId, Error> {
        let op = op.into();
        let types: SmallVec<[&TensorType; 3]> = args.iter().map(|&a| self.ty(a)).collect();
        let ty = op.infer(&types).map_err(|why| Error::Shape {
            op: op.name(),
            why,
            operands: types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "),
            location: String::new(),
        })?;
        drop(types);
        let mut args = Args::from_slice(args);
        if op.commutes() {
            args.sort_unstable();
        }
        if let Some(&id) = self.known.get(&(op.clone(), args.clone())) {
            return Ok(id);
        }
        let id = self.append(op.clone(), args.clone(), ty);
        self.known.insert((op, args), id);
        Ok(id)
    }

    /// Adds a node of this graph's operands, even if another computes the same.
    pub(crate) fn repeat(&mut self, node: Node) -> NodeId {
        self.origin = node.origin;
        self.append(node.op, node.args, node.ty)
    }

    /// A leaf that is no input: it stands for a tangent while a transformation is under way.
    pub(crate) fn placeholder(&mut self, ty: TensorType) -> NodeId {
        self.append(Op::Input(Input { index: usize::MAX, ty: ty.clone() }), Args::new(), ty)
    }

    /// Nodes added from now on come from there.
    pub(crate) fn trace_to(&mut self, origin: Origin) {
        self.origin = origin;
    }

    fn append(&mut self, op: Op, args: Args, ty: TensorType) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { op, args, ty, origin: self.origin });
        id
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Type of a node's value.
    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.node(id).ty
    }

    /// Shape of a node's value.
    pub fn shape(&self, id: NodeId) -> Dims {
        self.ty(id).shape.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A constant without axes.
    pub fn scalar(&mut self, x: f64) -> NodeId {
        let ty = TensorType { kind: Kind::Real, shape: Dims::new() };
        let op = Op::Const(Const::real(&[], vec![x]));
        let key = (op.clone(), Args::new());
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = self.append(op, Args::new(), ty);
        self.known.insert(key, id);
        id
    }

    /// A constant tensor with one value everywhere.
    pub fn full(&mut self, shape: &[usize], x: f64) -> Result<NodeId, Error> {
        let s = self.scalar(x);
        self.broadcast(s, shape, &[])
    }

    /// The value, if the node is a constant with one value everywhere.
    pub fn splat(&self, id: NodeId) -> Option<f64> {
        let node = self.node(id);
        match &node.op {
            Op::Const(c) => c.splat(),
            Op::Broadcast(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => self.splat(node.args[0]),
            _ => None,
        }
    }

    /// Copies a program into this graph with the given nodes as its inputs; returns the nodes of all its nodes.
    pub fn inline(&mut self, program: &Program, inputs: &[NodeId]) -> Result<Vec<NodeId>, Error> {
        self.copy(program, inputs, Self::push_op)
    }

    /// The same through [`Builder::emit`], so that the identities of the builder apply again.
    pub fn emit_all(&mut self, program: &Program, inputs: &[NodeId]) -> Result<Vec<NodeId>, Error> {
        self.copy(program, inputs, Self::emit)
    }

    fn push_op(&mut self, op: &Op, args: &[NodeId]) -> Result<NodeId, Error> {
        self.push(op.clone(), args)
    }

    fn copy(
        &mut self,
        program: &Program,
        inputs: &[NodeId],
        put: impl Fn(&mut Self, &Op, &[NodeId]) -> Result<NodeId, Error>,
    ) -> Result<Vec<NodeId>, Error> {
        if inputs.len() != program.inputs.len() {
            return Err(Error::Malformed(format!("{} inputs given, {} taken", inputs.len(), program.inputs.len())));
        }
        let mut map = Vec::with_capacity(program.nodes.len());
        for node in program.nodes.iter() {
            self.trace_to(node.origin);
            let id = match &node.op {
                Op::Input(input) => {
                    let id = inputs[input.index];
                    if self.ty(id) != &node.ty {
                        return Err(Error::Input {
                            name: program.inputs[input.index].name.clone(),
                            expected: node.ty.to_string(),
                            got: self.ty(id).to_string(),
                        });
                    }
                    id
                }
                op => {
                    let args: Args = node.args.iter().map(|a| map[a.index()]).collect();
                    put(self, op, &args)?
                }
            };
            map.push(id);
        }
        Ok(map)
    }

    /// Closes the graph: keeps what the outputs need (and every input), in order.
    pub fn finish(self, outputs: Vec<(String, NodeId)>) -> Program {
        let mut live = vec![false; self.nodes.len()];
        for (_, id) in &outputs {
            live[id.index()] = true;
        }
        for p in &self.inputs {
            live[p.node.index()] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for a in &self.nodes[i].args {
                    live[a.index()] = true;
                }
            }
        }
        let mut map = vec![NodeId(u32::MAX); self.nodes.len()];
        let mut nodes = Vec::new();
        for (i, mut node) in self.nodes.into_iter().enumerate() {
            if live[i] {
                node.args.iter_mut().for_each(|a| *a = map[a.index()]);
                map[i] = NodeId(nodes.len() as u32);
                nodes.push(node);
            }
        }
        let port = |name: String, id: NodeId| Port { name, node: map[id.index()] };
        Program {
            nodes: nodes.into(),
            inputs: self.inputs.into_iter().map(|p| port(p.name, p.node)).collect(),
            outputs: outputs.into_iter().map(|(n, id)| port(n, id)).collect(),
        }
    }
}
