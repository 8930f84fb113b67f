//! `simplify`: the same values by less work.
//!
//! Local rewrites in the direction that never costs more, repeated until nothing changes: constants are folded, views
//! are merged and moved towards the inputs, what repeats is computed once and repeated afterwards, sums meet
//! broadcasts and factors, chains of contractions are multiplied in the cheapest order (by the primitives' own
//! counts), and what no output needs is gone. Cost: a few walks over the nodes.
//!
//! Rules that move work across a node apply only where nobody else reads that node. `0 x` becomes `0`, as everywhere in
//! this crate, also where `x` may turn out infinite or NaN; no rule assumes more about values than that.

mod arithmetic;
mod contract;
mod fold;
mod sums;
mod views;

use super::declare_inputs;
use crate::error::Error;
use crate::ops::Op;
use crate::program::{Builder, NodeId, Program};
use smallvec::SmallVec;

/// Rounds after which to stop: every round that changes something lowers the work or moves a node towards the inputs.
const ROUNDS: usize = 64;

/// One node to be rewritten: its operation on operands in the new program.
struct Site<'a> {
    op: &'a Op,
    args: &'a [NodeId],
    /// Which operands nobody else reads.
    alone: &'a [bool],
}

type Found = Result<Option<NodeId>, Error>;

impl Program {
    /// The same values by less work: never more flops, the same inputs and outputs, and a program that is not simplified
    /// further by doing it again. Calls are replaced by their bodies, except where the executor has a kernel.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let ports = [("a", TensorType::real(&[100, 100])), ("b", TensorType::real(&[100, 100])), ("x", TensorType::real(&[100]))];
    /// let f = trace(&ports, |_, t| vec![("y", t[0].matmul(&t[1]).matmul(&(&t[2] * 2.0)) + 0.0)])?;
    /// let g = f.simplify()?;
    /// assert!(f.flops() > 2_000_000 && g.flops() < 41_000, "{g}");
    /// assert_eq!(g.simplify()?, g);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn simplify(&self) -> Result<Program, Error> {
        self.verify()?;
        let kernels = crate::exec::kernels(self);
        let mut best = self.inline_unless(&|i, _| kernels[i])?;
        let mut cost = best.flops();
        for _ in 0..ROUNDS {
            let mut next = round(&best, true)?;
            if next.flops() > cost {
                // A node that looked like one reader's turned out to be shared after all.
                next = round(&best, false)?;
            }
            if next.flops() > cost || next == best {
                break;
            }
            cost = next.flops();
            best = next;
        }
        Ok(best)
    }
}

/// Rewrites every node once; `moving` allows the rules that move work across nodes.
fn round(program: &Program, moving: bool) -> Result<Program, Error> {
    let mut readers = vec![0usize; program.nodes().len()];
    program.nodes().iter().flat_map(|n| &n.args).for_each(|a| readers[a.index()] += 1);
    program.outputs().iter().for_each(|p| readers[p.node.index()] += 1);
    let mut b = Builder::new();
    let inputs = declare_inputs(&mut b, program);
    let mut map: Vec<NodeId> = Vec::with_capacity(readers.len());
    for node in program.nodes() {
        b.trace_to(node.origin);
        let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| map[a.index()]).collect();
        let alone: SmallVec<[bool; 3]> = node.args.iter().map(|a| moving && readers[a.index()] == 1).collect();
        map.push(match &node.op {
            Op::Input(input) => inputs[input.index],
            op => rewrite(&mut b, &Site { op, args: &args, alone: &alone })?,
        });
    }
    Ok(b.finish(program.outputs().iter().map(|p| (p.name.clone(), map[p.node.index()])).collect()))
}

fn rewrite(b: &mut Builder, site: &Site<'_>) -> Result<NodeId, Error> {
    let rules = [fold::constant, views::view, sums::sum, arithmetic::elementwise, contract::dot, contract::factor];
    for rule in rules {
        if let Some(id) = rule(b, site)? {
            return Ok(id);
        }
    }
    b.emit(site.op, site.args)
}

/// Number of elements of a value.
fn numel(b: &Builder, id: NodeId) -> usize {
    b.ty(id).numel()
}
