//! What a program for operators takes, in a model that does not ask for how many data it is.
//!
//! The choice between programs must be the same for a chunk of eight data, for the three that are left over, and for the smaller chunks that
//! more threads take: otherwise bits would depend on all of these. So work that grows with the data is counted for [`REFERENCE`] of them.

use crate::error::Error;
use crate::ops::Op;
use crate::program::{Node, Program};

/// Operations that take as long as one number read from memory or written to it.
const TRAFFIC: u64 = 8;
/// Data that programs are compared for.
const REFERENCE: u64 = 8;

/// Operations, and numbers that products read and that all but views write.
///
/// `own` inputs are those of the differentiated program, with the points as input `x`, whose axes before the last are `lead`; the others are coefficients.
pub(super) fn work(program: &Program, own: usize, x: usize, lead: &[usize]) -> Result<u64, Error> {
    let program = program.stack()?;
    let mut grows = vec![false; program.nodes().len()];
    let (mut each, mut once) = (0, 0);
    for (i, node) in program.nodes().iter().enumerate() {
        grows[i] = match &node.op {
            Op::Input(input) => input_grows(&program, input.index, own, x),
            _ => node.args.iter().any(|a| grows[a.index()]),
        };
        let cost = program.node_flops(node) + TRAFFIC * written(node);
        *(if grows[i] { &mut each } else { &mut once }) += cost;
        for &a in if matches!(node.op, Op::Dot(_)) { &node.args[..] } else { &[] } {
            *(if grows[a.index()] { &mut each } else { &mut once }) += TRAFFIC * program.node(a).ty.numel() as u64;
        }
    }
    let data = lead.iter().product::<usize>().max(1) as u64;
    let reference = if lead.is_empty() { 1 } else { REFERENCE };
    Ok(each / data * reference + once)
}

/// Whether an input is larger for more data: the points, integers (labels; parameters are real), and coefficients that each datum has for itself.
fn input_grows(program: &Program, input: usize, own: usize, x: usize) -> bool {
    let shared = match program.inputs()[input].name.rsplit('.').next() {
        _ if input < own => return input == x || !program.input_type(input).is_real(),
        Some("sigma" | "directions") => 2,
        _ => 1,
    };
    program.input_type(input).rank() > shared
}

/// Numbers that a step writes.
fn written(node: &Node) -> u64 {
    match &node.op {
        Op::Input(_) | Op::Const(_) | Op::Broadcast(_) | Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) => 0,
        _ => node.ty.numel() as u64,
    }
}
