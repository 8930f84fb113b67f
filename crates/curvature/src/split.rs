//! A product program cut in two: what depends on the point only, done once; what depends on the direction, done per product.
//!
//! The values that cross the cut are the residuals. Rearrangements are not kept but made again behind the cut, where the
//! executor reads them in place: a weight matrix that a product needs is the parameter vector itself, not a copy of it.

use crate::error::Error;
use autodiff::ops::Op;
use autodiff::{Args, Builder, NodeId, Program};

/// A program with inputs `data.., directions..` and one output per direction, cut.
pub(crate) struct Split {
    /// From the data inputs to the residuals.
    pub(crate) primal: Program,
    /// For each output: from the data inputs, the residuals and its direction to the output.
    pub(crate) linear: Vec<Program>,
    /// For each residual: whether it depends on the parameters only.
    pub(crate) fixed: Vec<bool>,
}

/// Inputs that are the same for all data.
pub(crate) fn is_shared(input: &str) -> bool {
    matches!(input, "params" | "fixed")
}

/// Cuts a program whose last `directions` inputs are directions; output `i` depends on direction `i` only.
pub(crate) fn split(program: &Program, directions: usize) -> Result<Split, Error> {
    // The cut goes through named sub-programs, whose derivatives hold work that does not depend on the direction.
    let program = &program.inline()?;
    let data = program.inputs().len() - directions;
    let reached = |from: &dyn Fn(usize) -> bool| -> Vec<bool> {
        let mut seen = vec![false; program.nodes().len()];
        for (i, node) in program.nodes().iter().enumerate() {
            seen[i] = match &node.op {
                Op::Input(input) => from(input.index),
                _ => node.args.iter().any(|a| seen[a.index()]),
            };
        }
        seen
    };
    let active = reached(&|input| input >= data);
    let varying = reached(&|input| input < data && !is_shared(&program.inputs()[input].name));
    let mut needed = vec![false; program.nodes().len()];
    program.outputs().iter().for_each(|p| needed[p.node.index()] = true);
    for (i, node) in program.nodes().iter().enumerate().rev().filter(|(i, _)| active[*i]) {
        if needed[i] {
            node.args.iter().for_each(|a| needed[a.index()] = true);
        }
    }
    let mut kept: Vec<usize> =
        (0..active.len()).filter(|&i| needed[i] && !active[i]).filter_map(|i| base(program, i)).collect();
    kept.sort_unstable();
    kept.dedup();
    let primal = primal(program, data, &active, &kept)?;
    let linear = (0..directions).map(|d| linear(program, data, &active, &kept, d)).collect::<Result<_, _>>()?;
    Ok(Split { primal, linear, fixed: kept.iter().map(|&i| !varying[i]).collect() })
}

/// The node that has to be kept so that node `i` can be made from it by rearranging; none if inputs are enough.
fn base(program: &Program, i: usize) -> Option<usize> {
    let node = &program.nodes()[i];
    match &node.op {
        Op::Input(_) | Op::Const(_) => None,
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => base(program, node.args[0].index()),
        Op::Slice(_) if base(program, node.args[0].index()).is_none() => None,
        _ => Some(i),
    }
}

fn primal(program: &Program, data: usize, active: &[bool], kept: &[usize]) -> Result<Program, Error> {
    let mut b = Builder::new();
    let inputs: Vec<NodeId> =
        (0..data).map(|i| b.input(program.inputs()[i].name.clone(), program.input_type(i).clone())).collect();
    let mut map: Vec<Option<NodeId>> = vec![None; active.len()];
    for (i, node) in program.nodes().iter().enumerate().filter(|(i, _)| !active[*i]) {
        map[i] = match &node.op {
            Op::Input(input) => inputs.get(input.index).copied(),
            op => Some(b.push(op.clone(), &operands(&node.args, &map)?)?),
        };
    }
    let outputs = kept.iter().enumerate().filter_map(|(k, &i)| Some((format!("res.{k}"), map[i]?))).collect();
    Ok(b.finish(outputs))
}

fn linear(program: &Program, data: usize, active: &[bool], kept: &[usize], d: usize) -> Result<Program, Error> {
    let mut b = Builder::new();
    let declare = |b: &mut Builder, i: usize| b.input(program.inputs()[i].name.clone(), program.input_type(i).clone());
    let mut inputs: Vec<Option<NodeId>> = (0..data).map(|i| Some(declare(&mut b, i))).collect();
    let mut map: Vec<Option<NodeId>> = vec![None; active.len()];
    for (k, &i) in kept.iter().enumerate() {
        map[i] = Some(b.input(format!("res.{k}"), program.nodes()[i].ty.clone()));
    }
    inputs.resize(program.inputs().len(), None);
    inputs[data + d] = Some(declare(&mut b, data + d));
    let output = program.outputs()[d].node.index();
    let mut wanted = vec![false; active.len()];
    wanted[output] = true;
    for (i, node) in program.nodes().iter().enumerate().rev() {
        // Behind a kept value nothing is wanted.
        if wanted[i] && map[i].is_none() {
            node.args.iter().for_each(|a| wanted[a.index()] = true);
        }
    }
    for (i, node) in program.nodes().iter().enumerate().filter(|(i, _)| wanted[*i]) {
        if map[i].is_none() {
            map[i] = match &node.op {
                Op::Input(input) => inputs[input.index],
                op => Some(b.push(op.clone(), &operands(&node.args, &map)?)?),
            };
        }
    }
    let output = map[output].ok_or_else(|| autodiff::Error::Malformed("an output of another direction".into()))?;
    Ok(b.finish(vec![("product".into(), output)]))
}

fn operands(args: &Args, map: &[Option<NodeId>]) -> Result<Args, Error> {
    let found: Option<Args> = args.iter().map(|a| map[a.index()]).collect();
    Ok(found.ok_or_else(|| autodiff::Error::Malformed("a node lacks an operand".into()))?)
}
