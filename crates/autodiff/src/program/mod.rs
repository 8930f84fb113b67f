//! `Program`: a pure, static-shape tensor graph, and the builder that hash-conses it.

mod bodies;
mod builder;
mod derived;
mod display;
mod extend;
mod origin;
mod stored;

pub(crate) use bodies::Extent;
pub use builder::Builder;
pub(crate) use derived::{Derived, Rule};
pub use origin::Origin;

use crate::error::Error;
use crate::ops::Op;
use crate::types::TensorType;
use smallvec::SmallVec;
use std::sync::Arc;

/// Position of a node in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The position as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Operand list of a node.
pub type Args = SmallVec<[NodeId; 3]>;

/// One operation with its operands and the type of its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// The primitive.
    pub op: Op,
    /// Operands; each stands earlier in the program.
    pub args: Args,
    /// Kind and shape of the value.
    pub ty: TensorType,
    /// Where it was traced.
    #[serde(skip)]
    pub origin: Origin,
}

/// A named input or output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The node that holds its value.
    pub node: NodeId,
}

/// A pure tensor program: nodes in topological order, named inputs and outputs.
///
/// Make one with [`trace`](crate::trace); every transformation yields another. It goes to a file and back with serde: every
/// named sub-program is written once, however often it is called.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(into = "stored::Stored", try_from = "stored::Stored")]
pub struct Program {
    pub(crate) nodes: Arc<[Node]>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

impl Program {
    /// The nodes, operands before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Type of input `i`.
    pub fn input_type(&self, i: usize) -> &TensorType {
        &self.node(self.inputs[i].node).ty
    }

    /// Type of output `i`.
    pub fn output_type(&self, i: usize) -> &TensorType {
        &self.node(self.outputs[i].node).ty
    }

    /// Position of the input with this name.
    pub fn input_index(&self, name: &str) -> Result<usize, Error> {
        position(&self.inputs, name, "input")
    }

    /// Position of the output with this name.
    pub fn output_index(&self, name: &str) -> Result<usize, Error> {
        position(&self.outputs, name, "output")
    }

    /// Floating-point operations of one run, by the primitives' own counts; of named sub-programs, those of their bodies,
    /// where what they share counts once.
    pub fn flops(&self) -> u64 {
        let count = |p: &Program| p.nodes.iter().map(|n| p.node_flops(n)).sum();
        match self.has_calls() {
            true => self.inline().map_or_else(|_| count(self), |p| count(&p)),
            false => count(self),
        }
    }

    pub(crate) fn node_flops(&self, node: &Node) -> u64 {
        let args: SmallVec<[&TensorType; 3]> = node.args.iter().map(|&a| &self.node(a).ty).collect();
        node.op.flops(&args, &node.ty)
    }

    /// Checks every invariant: operands precede users, each recorded type is what the shape rule gives, ports exist; of named
    /// sub-programs, too.
    pub fn verify(&self) -> Result<(), Error> {
        self.verify_all()
    }

    /// The invariants of the program's own nodes.
    fn verify_nodes(&self) -> Result<(), Error> {
        for (i, node) in self.nodes.iter().enumerate() {
            if node.args.iter().any(|a| a.index() >= i) {
                return Err(Error::Malformed(format!("node {i} uses a later node")));
            }
            if let Op::Input(input) = &node.op
                && self.inputs.get(input.index).is_none_or(|p| p.node.index() != i)
            {
                return Err(Error::Malformed(format!("node {i} is an input that no port names")));
            }
            let args: SmallVec<[&TensorType; 3]> = node.args.iter().map(|&a| &self.node(a).ty).collect();
            match node.op.infer(&args) {
                Ok(ty) if ty == node.ty => {}
                Ok(ty) => return Err(Error::Malformed(format!("node {i} is {}, its rule gives {ty}", node.ty))),
                Err(why) => return Err(Error::Malformed(format!("node {i} ({}): {why}", node.op.name()))),
            }
        }
        match self.inputs.iter().chain(&self.outputs).find(|p| p.node.index() >= self.nodes.len()) {
            Some(p) => Err(Error::Malformed(format!("port {:?} names no node", p.name))),
            None => Ok(()),
        }
    }
}

fn position(ports: &[Port], name: &str, what: &'static str) -> Result<usize, Error> {
    ports.iter().position(|p| p.name == name).ok_or_else(|| {
        let known: Vec<_> = ports.iter().map(|p| p.name.as_str()).collect();
        Error::UnknownName { what, name: name.into(), known: known.join(", ") }
    })
}
