//! The walk through a program that finds the uses of parameters and puts the taps in.

use super::bias::{self, Candidate};
use super::piece::Piece;
use super::site::{Site, canonical_other, describe, parts, rows_are_even, spread, tap_type};
use super::unfold::windows;
use super::{Kind, Leaf, Taps, Use};
use crate::error::Error;
use crate::ops::{Binary, BinaryFn, Dot, Gather, Op, Unary};
use crate::program::{Builder, Node, NodeId, Program};
use crate::types::Dims;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The piece behind a rearrangement; `None` if the operation is none, an error if the piece does not stay a box, and
/// nothing inside if the rearrangement drops it.
pub(super) fn viewed(op: &Op, piece: &Piece, shape: &[usize]) -> Option<Result<Option<Piece>, ()>> {
    match op {
        Op::Transpose(t) => Some(Ok(Some(piece.transposed(&t.perm)))),
        Op::Broadcast(b) => Some(Ok(Some(piece.broadcast(&b.shape, &b.axes)))),
        Op::Reshape(r) => Some(piece.reshaped(shape, &r.shape).map(Some)),
        Op::Slice(s) => Some(piece.sliced(s)),
        Op::Unary(Unary::Neg) => Some(Ok(Some(piece.scaled(-1.0)))),
        _ => None,
    }
}

struct Walk<'p> {
    program: &'p Program,
    leaves: &'p [Leaf],
    readers: Vec<Vec<usize>>,
    b: Builder,
    /// New node of every old one, and the parameters in it.
    map: Vec<NodeId>,
    pieces: Vec<Vec<Piece>>,
    uses: Vec<Use>,
    candidates: Vec<Candidate>,
    /// Outputs beyond the program's own, by node.
    extra: Vec<NodeId>,
    known: HashMap<NodeId, usize>,
    taps: usize,
}

pub(super) fn taps(program: &Program, leaves: &[Leaf]) -> Result<Taps, Error> {
    let program = &program.inline()?;
    let mut b = Builder::new();
    let inputs = super::super::declare_inputs(&mut b, program);
    let n = program.nodes().len();
    let mut walk = Walk {
        program,
        leaves,
        readers: bias::readers(program),
        b,
        map: Vec::with_capacity(n),
        pieces: Vec::with_capacity(n),
        uses: Vec::new(),
        candidates: Vec::new(),
        extra: Vec::new(),
        known: HashMap::new(),
        taps: 0,
    };
    walk.check_leaves()?;
    for (i, node) in program.nodes().iter().enumerate() {
        let (id, pieces) = match &node.op {
            Op::Input(input) => (inputs[input.index], walk.leaf_pieces(input.index)),
            _ => walk.node(i, node)?,
        };
        walk.map.push(id);
        walk.pieces.push(pieces);
    }
    for p in program.outputs() {
        if let Some(piece) = walk.pieces[p.node.index()].first() {
            return Err(walk.unsupported(piece, p.node, format!("it is returned as output {:?}", p.name)));
        }
    }
    let mut outputs: Vec<(String, NodeId)> =
        program.outputs().iter().map(|p| (p.name.clone(), walk.map[p.node.index()])).collect();
    let own = outputs.len();
    outputs.extend(walk.extra.iter().enumerate().map(|(k, &id)| (format!("in.{k}"), id)));
    for u in &walk.uses {
        if let Some(s) = u.source {
            outputs[s].0 = format!("source.{}", s - own);
        }
    }
    let program = walk.b.finish(outputs);
    Ok(Taps { program, uses: walk.uses, inputs: inputs.len(), outputs: own })
}

impl Walk<'_> {
    fn check_leaves(&self) -> Result<(), Error> {
        for (k, leaf) in self.leaves.iter().enumerate() {
            let wrong = |what: String| Error::UnknownName { what: "parameter", name: leaf.name.clone(), known: what };
            let real = self.program.inputs().get(leaf.input).is_some_and(|p| self.program.node(p.node).ty.is_real());
            if !real {
                return Err(wrong(format!(
                    "{} inputs, and input {} is not among the real ones",
                    self.program.inputs().len(),
                    leaf.input
                )));
            }
            let ty = self.program.input_type(leaf.input);
            let end = |l: &Leaf| l.offset.unwrap_or(0) + l.shape.iter().product::<usize>();
            let fits = match leaf.offset {
                None => leaf.shape == ty.shape,
                Some(_) => ty.rank() == 1 && end(leaf) <= ty.shape[0],
            };
            let clash = |other: &&Leaf| {
                let apart = end(other) <= leaf.offset.unwrap_or(0) || end(leaf) <= other.offset.unwrap_or(0);
                other.input == leaf.input && !apart
            };
            if !fits {
                return Err(wrong(format!(
                    "input {} of type {ty}, which does not hold {:?}",
                    leaf.input,
                    leaf.shape.as_slice()
                )));
            }
            if let Some(other) = self.leaves[..k].iter().find(clash) {
                return Err(wrong(format!("{:?}, which has entries of it", other.name)));
            }
        }
        Ok(())
    }

    fn leaf_pieces(&self, input: usize) -> Vec<Piece> {
        let leaves = self.leaves.iter().enumerate().filter(|(_, l)| l.input == input);
        let piece = |(k, l): (usize, &Leaf)| match l.offset {
            None => Piece::whole(k, &l.shape, smallvec::smallvec![0; l.shape.len()]),
            Some(at) => Piece::whole(k, &[l.shape.iter().product()], smallvec::smallvec![at]),
        };
        leaves.map(piece).filter(|p| (0..p.axes.len()).all(|a| p.size(a) > 0)).collect()
    }

    fn shape(&self, id: NodeId) -> &Dims {
        &self.program.node(id).ty.shape
    }

    fn unsupported(&self, piece: &Piece, at: NodeId, operation: impl Into<String>) -> Error {
        Error::UnsupportedUse {
            parameter: self.leaves[piece.param].name.clone(),
            operation: operation.into(),
            node: at.index(),
            remedy: "leave it out of the list of parameters, or use the exact operators, which need no taps",
        }
    }

    /// Copies a node; puts taps on it where it uses parameters. Returns its new value and the parameters in it.
    fn node(&mut self, i: usize, node: &Node) -> Result<(NodeId, Vec<Piece>), Error> {
        let id = NodeId(i as u32);
        let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| self.map[a.index()]).collect();
        let holds: SmallVec<[bool; 3]> = node.args.iter().map(|a| !self.pieces[a.index()].is_empty()).collect();
        let value = self.b.push(node.op.clone(), &args)?;
        if !holds.contains(&true) || matches!(node.op, Op::Unary(Unary::StopGradient)) {
            return Ok((value, Vec::new()));
        }
        if let Some(moved) = self.rearranged(id, node)? {
            return Ok((value, moved));
        }
        let mut result = value;
        for (side, arg) in node.args.iter().enumerate() {
            for piece in self.pieces[arg.index()].clone() {
                let Some((site, factor)) = self.site(node, side, &args, &piece)? else {
                    return Err(self.unsupported(&piece, id, node.op.name()));
                };
                result = self.tap(id, node, side, &site, piece.scaled(factor), result)?;
            }
        }
        Ok((result, Vec::new()))
    }

    /// The parameters behind a rearrangement or a constant factor; `None` if the node is neither.
    fn rearranged(&self, id: NodeId, node: &Node) -> Result<Option<Vec<Piece>>, Error> {
        let first = node.args[0];
        let mut moved = Vec::new();
        if let Op::Binary(Binary(f @ (BinaryFn::Mul | BinaryFn::Div))) = node.op {
            for (side, other) in [(0, 1), (1, 0)] {
                let c = self.b.splat(self.map[node.args[other].index()]);
                if let (Some(c), true) = (c, side == 0 || f == BinaryFn::Mul) {
                    let c = if f == BinaryFn::Div { 1.0 / c } else { c };
                    let pieces = &self.pieces[node.args[side].index()];
                    return Ok(Some(pieces.iter().map(|p| p.scaled(c)).collect()));
                }
            }
            return Ok(None);
        }
        if let Op::Concat(c) = &node.op {
            let pure = |a: &NodeId| !self.pieces[a.index()].is_empty() || self.b.splat(self.map[a.index()]).is_some();
            if !node.args.iter().all(pure) {
                return Ok(None);
            }
            let mut at = 0;
            for a in &node.args {
                moved.extend(self.pieces[a.index()].iter().map(|p| p.moved(c.axis, at)));
                at += self.shape(*a)[c.axis];
            }
            return Ok(Some(moved));
        }
        if node.args.len() != 1 {
            return Ok(None);
        }
        for piece in &self.pieces[first.index()] {
            match viewed(&node.op, piece, self.shape(first)) {
                None => return Ok(None),
                Some(Ok(p)) => moved.extend(p),
                Some(Err(())) => return Err(self.unsupported(piece, id, node.op.name())),
            }
        }
        Ok(Some(moved))
    }

    /// How the operand on this side enters a node that is linear in it, and a constant factor.
    fn site(&mut self, node: &Node, side: usize, args: &[NodeId], piece: &Piece) -> Result<Option<(Site, f64)>, Error> {
        let rank = node.ty.rank();
        let same: Vec<_> = (0..rank).map(|a| (a, a, a)).collect();
        let elementwise = |kind, other| Site {
            kind,
            other,
            batch: same.clone(),
            contract: vec![],
            free: vec![],
            own: vec![],
            rows: None,
        };
        let shift = || elementwise(Kind::Shift, None);
        let scale = |other| elementwise(Kind::Scale, Some(other));
        Ok(Some(match &node.op {
            Op::Dot(d) => (self.contraction(node, d, side, args[1 - side]), 1.0),
            Op::ReduceSum(r) => {
                let shape = self.shape(node.args[0]).clone();
                let sizes: Vec<usize> = r.axes.iter().map(|&a| shape[a]).collect();
                let ones = self.b.full(&sizes, 1.0)?;
                let kept = (0..shape.len()).filter(|a| !r.axes.contains(a));
                let own = kept.enumerate().map(|(z, p)| (p, z)).collect();
                let contract = r.axes.iter().copied().enumerate().collect();
                let (other, batch, free) = (Some(ones), vec![], vec![]);
                (Site { kind: Kind::Contraction, other, batch, contract, free, own, rows: None }, 1.0)
            }
            Op::Binary(Binary(BinaryFn::Add)) => (shift(), 1.0),
            Op::Binary(Binary(BinaryFn::Sub)) => (shift(), if side == 0 { 1.0 } else { -1.0 }),
            Op::Binary(Binary(BinaryFn::Mul)) => (scale(args[1 - side]), 1.0),
            Op::Binary(Binary(BinaryFn::Div)) if side == 0 => (scale(self.b.unary(Unary::Recip, args[1])?), 1.0),
            Op::Select(_) if side > 0 => {
                let one = self.b.full(&node.ty.shape, 1.0)?;
                let zero = self.b.full(&node.ty.shape, 0.0)?;
                let chosen = if side == 1 { (one, zero) } else { (zero, one) };
                (scale(self.b.select(args[0], chosen.0, chosen.1)?), 1.0)
            }
            // A shift of its own box of the result.
            Op::Concat(_) => (shift(), 1.0),
            Op::Gather(Gather { batch }) if side == 0 => {
                let shape = self.shape(node.args[0]);
                if !rows_are_even(piece, *batch, shape[*batch]) {
                    return Ok(None);
                }
                let picks = self.shape(node.args[1]).len();
                let (same, free) =
                    ((0..*batch).map(|a| (a, a, a)).collect(), (*batch..picks).map(|a| (a, a)).collect());
                let own = (batch + 1..shape.len()).map(|p| (p, p - 1 + picks - batch)).collect();
                let (kind, other, rows) = (Kind::Lookup, Some(args[1]), Some(*batch));
                (Site { kind, other, batch: same, contract: vec![], free, own, rows }, 1.0)
            }
            _ => return Ok(None),
        }))
    }

    fn contraction(&self, node: &Node, d: &Dot, side: usize, other: NodeId) -> Site {
        let pick = |&(l, r): &(usize, usize)| if side == 0 { (r, l) } else { (l, r) };
        let batch = d.batch.iter().enumerate().map(|(z, p)| (pick(p).0, pick(p).1, z)).collect();
        let ranks = [0, 1].map(|s| self.shape(node.args[s]).len());
        let free = [0, 1].map(|s| d.free(s, ranks[s]));
        let start = [d.batch.len(), d.batch.len() + free[0].len()];
        let places = |s: usize| free[s].iter().enumerate().map(|(k, &a)| (a, start[s] + k)).collect();
        Site {
            kind: Kind::Contraction,
            other: Some(other),
            batch,
            contract: d.contract.iter().map(pick).collect(),
            free: places(1 - side),
            own: places(side),
            rows: None,
        }
    }

    /// Adds the tap of one use to `result`.
    fn tap(
        &mut self,
        id: NodeId,
        node: &Node,
        side: usize,
        site: &Site,
        piece: Piece,
        result: NodeId,
    ) -> Result<NodeId, Error> {
        let shape = node.ty.shape.clone();
        let piece = match &node.op {
            Op::Concat(c) => piece.moved(c.axis, node.args[..side].iter().map(|a| self.shape(*a)[c.axis]).sum()),
            _ => piece,
        };
        let list = parts(site, &piece, &shape);
        let mut entry = describe(site, &piece, &list, &self.leaves[piece.param].name);
        if let (Kind::Shift, 2) = (site.kind, node.args.len()) {
            let shifted = node.args[1 - side];
            let found =
                bias::attach(self.program, &self.readers, &self.candidates, &self.uses, shifted, &piece, &entry);
            if let Some((attached, weight)) = found.filter(|_| matches!(node.op, Op::Binary(_))) {
                self.uses[weight].bias = Some(self.uses.len());
                self.uses.push(attached);
                return Ok(result);
            }
        }
        if let Some(x) = site.other {
            let x = canonical_other(&mut self.b, site, &piece, &list, x)?;
            entry.input = Some(self.output(x));
        }
        if let (Kind::Contraction, Op::Dot(_)) = (site.kind, &node.op) {
            if let Some((unfold, source)) = windows(self.program, node.args[1 - side], &list) {
                entry.unfold = unfold;
                entry.source = Some(self.output(self.map[source.index()]));
            }
            let alone =
                self.pieces[node.args[side].index()].len() == 1 && self.pieces[node.args[1 - side].index()].is_empty();
            if alone {
                self.candidates.push(Candidate { node: id, index: self.uses.len(), parts: list.clone() });
            }
        }
        entry.tap = self.taps;
        let tap = self.b.input(format!("tap.{}", self.taps), tap_type(&list));
        self.taps += 1;
        self.uses.push(entry);
        let tap = spread(&mut self.b, site, &piece, &list, tap, &shape)?;
        self.b.add(result, tap)
    }

    /// Position of a node among the outputs.
    fn output(&mut self, id: NodeId) -> usize {
        let own = self.program.outputs().len();
        let next = own + self.extra.len();
        let at = *self.known.entry(id).or_insert(next);
        if at == next {
            self.extra.push(id);
        }
        at
    }
}
