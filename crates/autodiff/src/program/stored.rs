//! How a program is written to a file: its nodes, and a table of the named sub-programs in which each stands once.
//!
//! A call names its body by its place in the table; a body calls earlier ones only, so that nothing can contain itself.

use super::{Node, Port, Program};
use crate::ops::{Call, Op};
use std::collections::HashMap;
use std::sync::Arc;

/// A program whose calls name their bodies by number.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Flat {
    nodes: Vec<Node>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// What a file holds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Stored {
    bodies: Vec<Flat>,
    nodes: Vec<Node>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl From<Program> for Stored {
    fn from(program: Program) -> Stored {
        let mut places: HashMap<*const Program, usize> = HashMap::new();
        let mut known: HashMap<&Program, usize> = HashMap::new();
        let bodies = program.bodies();
        let mut table = Vec::new();
        for body in &bodies {
            let place = *known.entry(body).or_insert_with(|| {
                table.push(numbered(body, &places));
                table.len() - 1
            });
            places.insert(Arc::as_ptr(body), place);
        }
        let Flat { nodes, inputs, outputs } = numbered(&program, &places);
        Stored { bodies: table, nodes, inputs, outputs }
    }
}

fn numbered(program: &Program, places: &HashMap<*const Program, usize>) -> Flat {
    let node = |node: &Node| match &node.op {
        Op::Call(call) => {
            let place = places.get(&Arc::as_ptr(call.body())).copied().unwrap_or(usize::MAX);
            Node { op: call.at(place).into(), ..node.clone() }
        }
        _ => node.clone(),
    };
    Flat {
        nodes: program.nodes.iter().map(node).collect(),
        inputs: program.inputs.clone(),
        outputs: program.outputs.clone(),
    }
}

impl TryFrom<Stored> for Program {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Program, String> {
        let mut bodies: Vec<Arc<Program>> = Vec::with_capacity(stored.bodies.len());
        for flat in stored.bodies {
            let body = resolved(flat, &bodies).map_err(|why| format!("sub-program {}: {why}", bodies.len()))?;
            bodies.push(Arc::new(body));
        }
        let Stored { nodes, inputs, outputs, .. } = stored;
        resolved(Flat { nodes, inputs, outputs }, &bodies)
    }
}

/// The program, its calls pointing to the bodies that are there.
fn resolved(flat: Flat, bodies: &[Arc<Program>]) -> Result<Program, String> {
    let mut nodes = flat.nodes;
    for (i, node) in nodes.iter_mut().enumerate() {
        let Op::Call(call) = &node.op else { continue };
        let Some(body) = bodies.get(call.place()) else {
            let (place, known) = (call.place(), bodies.len());
            return Err(format!("node {i} calls sub-program {place}, of {known} that stand before it"));
        };
        let call = Call::new(call.label(), body.clone(), call.output());
        call.extent().check().map_err(|why| format!("node {i} ({}): {why}", call.label()))?;
        node.op = call.into();
    }
    Ok(Program { nodes: nodes.into(), inputs: flat.inputs, outputs: flat.outputs })
}
