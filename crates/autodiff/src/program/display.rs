//! How a program is shown: a listing of one node a line, and a graph for Graphviz.

use super::{NodeId, Program};
use crate::ops::Op;
use core::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            let text = match &node.op {
                Op::Input(input) => format!("input {:?}", self.inputs[input.index].name),
                op => {
                    let args: Vec<_> = node.args.iter().map(|a| format!("%{}", a.0)).collect();
                    format!("{}({})", op.name(), args.join(", "))
                }
            };
            let flops = self.node_flops(node);
            let cost = if flops == 0 { String::new() } else { format!("  # {flops} flops") };
            writeln!(f, "%{i}: {} = {text}{cost}", node.ty)?;
        }
        let outputs: Vec<_> = self.outputs.iter().map(|p| format!("{}: %{}", p.name, p.node.0)).collect();
        writeln!(f, "return {}", outputs.join(", "))
    }
}

impl Program {
    /// The graph in the DOT language.
    pub fn to_dot(&self) -> String {
        let mut s = String::from("digraph program {\n  node [shape=box, fontname=monospace];\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let label = match &node.op {
                Op::Input(input) => self.inputs[input.index].name.clone(),
                op => op.name(),
            };
            let label = label.replace('\\', "\\\\").replace('"', "\\\"");
            s += &format!("  n{i} [label=\"{label}\\n{}\"];\n", node.ty);
            for a in &node.args {
                s += &format!("  n{} -> n{i};\n", a.0);
            }
        }
        for p in &self.outputs {
            let NodeId(id) = p.node;
            s += &format!("  n{id} [peripheries=2];\n");
        }
        s + "}\n"
    }
}
