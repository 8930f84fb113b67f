//! `collapse`: sums are pulled towards the inputs, through everything that is linear in what is summed.
//!
//! The rewrite of arXiv:2505.13644 (section 3.1) for any program: whoever sums the highest derivatives of standard Taylor mode
//! over directions, with weights or without, gets the program that propagates the sum instead. A sum stops at a product of
//! two values that both change along the summed axis, and at a value that somebody needs in full anyway. Cost: a few walks
//! over the nodes.

use super::declare_inputs;
use crate::error::Error;
use crate::ops::{BinaryFn, Broadcast, Dot, Op, Unary};
use crate::program::{Builder, NodeId, Program};
use crate::types::Dims;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

/// A sum over axes of a node; along a single axis possibly with weights, a node of the old program with `R` elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pull {
    axes: Dims,
    weights: Option<NodeId>,
}

impl Pull {
    fn over(axes: Dims) -> Self {
        Pull { axes, weights: None }
    }

    fn with_axes(&self, axes: Dims) -> Self {
        Pull { axes, weights: self.weights }
    }
}

impl Program {
    /// The program with every sum pulled towards the inputs.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// // A sum of a hundred products with one matrix is one product with the sum.
    /// let ports = [("w", TensorType::real(&[50, 50])), ("x", TensorType::real(&[100, 50]))];
    /// let f = trace(&ports, |_, t| vec![("y", (t[1].matmul(&t[0]) * 2.0).sum(&[0]))])?;
    /// let g = f.collapse()?;
    /// assert!(g.flops() * 40 < f.flops(), "{g}");
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn collapse(&self) -> Result<Program, Error> {
        let program = self.inline()?.simplify()?;
        // A trial run finds out which values are needed in full however far sums are pulled; there they may as well stop.
        let (_, whole) = rewrite(&program, &HashSet::new())?;
        let (collapsed, _) = rewrite(&program, &whole)?;
        let collapsed = collapsed.simplify()?;
        Ok(if collapsed.flops() < program.flops() { collapsed } else { program })
    }
}

fn rewrite(program: &Program, stop: &HashSet<NodeId>) -> Result<(Program, HashSet<NodeId>), Error> {
    let mut b = Builder::new();
    let inputs = declare_inputs(&mut b, program);
    let mut run = Run {
        program,
        b,
        inputs,
        stop,
        values: HashMap::new(),
        sums: HashMap::new(),
        steady: HashMap::new(),
        cut: HashMap::new(),
    };
    let mut outputs = Vec::with_capacity(program.outputs().len());
    for port in program.outputs() {
        outputs.push((port.name.clone(), run.value(port.node)?));
    }
    let whole = run.values.into_keys().collect();
    Ok((run.b.finish(outputs), whole))
}

struct Run<'a> {
    program: &'a Program,
    b: Builder,
    inputs: Vec<NodeId>,
    /// Nodes at which sums stop.
    stop: &'a HashSet<NodeId>,
    values: HashMap<NodeId, NodeId>,
    sums: HashMap<(NodeId, Pull), NodeId>,
    /// Whether values change along axes.
    steady: HashMap<(NodeId, Dims), bool>,
    /// Steady values without axes.
    cut: HashMap<(NodeId, Dims), NodeId>,
}

impl Run<'_> {
    fn shape(&self, id: NodeId) -> &Dims {
        &self.program.node(id).ty.shape
    }

    /// The value of a node in full. Operands are made first, from a stack, since programs can be deep.
    fn value(&mut self, id: NodeId) -> Result<NodeId, Error> {
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.values.contains_key(&top) {
                stack.pop();
                continue;
            }
            let node = self.program.node(top);
            let sums = matches!(node.op, Op::ReduceSum(_));
            let missing = node.args.iter().copied().filter(|a| !sums && !self.values.contains_key(a));
            let before = stack.len();
            stack.extend(missing);
            if stack.len() > before {
                continue;
            }
            let made = match &node.op {
                Op::Input(input) => self.inputs[input.index],
                Op::ReduceSum(sum) => self.sum(node.args[0], &Pull::over(sum.axes.clone()))?,
                op => {
                    let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| self.values[a]).collect();
                    self.b.trace_to(node.origin);
                    self.b.emit(op, &args)?
                }
            };
            self.values.insert(top, made);
            stack.pop();
        }
        Ok(self.values[&id])
    }

    /// A sum of a node.
    fn sum(&mut self, id: NodeId, pull: &Pull) -> Result<NodeId, Error> {
        if pull.axes.is_empty() {
            return self.value(id);
        }
        let key = (id, pull.clone());
        if let Some(&made) = self.sums.get(&key) {
            return Ok(made);
        }
        let pulled = if self.stop.contains(&id) { None } else { self.pulled(id, pull)? };
        let made = match pulled {
            Some(made) => made,
            None => self.plain(id, pull)?,
        };
        self.sums.insert(key, made);
        Ok(made)
    }

    /// The sum where it stops.
    fn plain(&mut self, id: NodeId, pull: &Pull) -> Result<NodeId, Error> {
        let x = self.value(id)?;
        let x = match pull.weights {
            Some(w) => {
                let w = self.weights(w)?;
                let shape = self.shape(id).clone();
                let w = self.b.broadcast(w, &shape, &pull.axes)?;
                self.b.mul(w, x)?
            }
            None => x,
        };
        self.b.sum(x, &pull.axes)
    }

    /// Weights as a vector.
    fn weights(&mut self, id: NodeId) -> Result<NodeId, Error> {
        let w = self.value(id)?;
        let n = self.b.ty(w).numel();
        self.b.reshape(w, &[n])
    }

    /// The sum made from sums of operands, if the node is linear in what changes along the axes.
    fn pulled(&mut self, id: NodeId, pull: &Pull) -> Result<Option<NodeId>, Error> {
        let node = self.program.node(id);
        let args = node.args.clone();
        match node.op.clone() {
            Op::Unary(Unary::Neg) => {
                let x = self.sum(args[0], pull)?;
                self.b.neg(x).map(Some)
            }
            Op::Binary(f) => self.binary(f.0, &args, pull),
            Op::Select(_) if self.steady(args[0], &pull.axes) => {
                let p = self.without(args[0], &pull.axes)?;
                let (x, y) = (self.sum(args[1], pull)?, self.sum(args[2], pull)?);
                self.b.select(p, x, y).map(Some)
            }
            Op::Broadcast(spread) => self.broadcast(&spread, args[0], pull).map(Some),
            Op::Transpose(t) => {
                let axes: Dims = pull.axes.iter().map(|&a| t.perm[a]).collect();
                let kept: Vec<usize> =
                    (0..t.perm.len()).filter(|a| !pull.axes.contains(a)).map(|a| t.perm[a]).collect();
                let x = self.sum(args[0], &pull.with_axes(sorted(&axes)))?;
                self.b.transpose(x, &ranks(&kept)).map(Some)
            }
            Op::Reshape(r) => {
                let Some(axes) = same_axes(self.shape(args[0]), &r.shape, &pull.axes) else { return Ok(None) };
                let kept: Vec<usize> =
                    (0..r.shape.len()).filter(|a| !pull.axes.contains(a)).map(|a| r.shape[a]).collect();
                let x = self.sum(args[0], &pull.with_axes(axes))?;
                self.b.reshape(x, &kept).map(Some)
            }
            Op::ReduceSum(inner) => self.nested(&inner.axes, args[0], pull),
            Op::Concat(c) if !pull.axes.contains(&c.axis) => {
                let parts = args.iter().map(|&a| self.sum(a, pull)).collect::<Result<Vec<_>, _>>()?;
                let axis = c.axis - pull.axes.iter().filter(|&&a| a < c.axis).count();
                self.b.concat(&parts, axis).map(Some)
            }
            Op::Dot(d) => self.dot(&d, &args, pull),
            _ => Ok(None),
        }
    }

    fn binary(&mut self, f: BinaryFn, args: &[NodeId], pull: &Pull) -> Result<Option<NodeId>, Error> {
        let (x, y) = (args[0], args[1]);
        match f {
            BinaryFn::Add | BinaryFn::Sub => {
                let (x, y) = (self.sum(x, pull)?, self.sum(y, pull)?);
                self.b.binary(f, x, y).map(Some)
            }
            BinaryFn::Mul => {
                for (still, moving) in [(x, y), (y, x)] {
                    if self.steady(still, &pull.axes) {
                        let factor = self.without(still, &pull.axes)?;
                        let rest = self.sum(moving, pull)?;
                        return self.b.mul(factor, rest).map(Some);
                    }
                }
                for (weights, moving) in [(x, y), (y, x)] {
                    if let (None, Some(w)) = (pull.weights, self.weights_along(weights, &pull.axes)) {
                        let pull = Pull { axes: pull.axes.clone(), weights: Some(w) };
                        return self.sum(moving, &pull).map(Some);
                    }
                }
                Ok(None)
            }
            BinaryFn::Div if self.steady(y, &pull.axes) => {
                let (x, y) = (self.sum(x, pull)?, self.without(y, &pull.axes)?);
                self.b.div(x, y).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The vector along one axis that a value repeats everywhere else.
    fn weights_along(&self, id: NodeId, axes: &[usize]) -> Option<NodeId> {
        let node = self.program.node(id);
        match (&node.op, axes) {
            (Op::Broadcast(b), &[axis])
                if b.axes.contains(&axis) && self.program.node(node.args[0]).ty.numel() == b.shape[axis] =>
            {
                Some(node.args[0])
            }
            _ => None,
        }
    }

    /// What repeats is summed by counting (or by the sum of the weights).
    fn broadcast(&mut self, spread: &Broadcast, x: NodeId, pull: &Pull) -> Result<NodeId, Error> {
        let kept: Vec<usize> = (0..spread.shape.len()).filter(|a| !pull.axes.contains(a)).collect();
        let shape: Vec<usize> = kept.iter().map(|&a| spread.shape[a]).collect();
        let inner: Dims = (0..spread.axes.len()).filter(|&i| pull.axes.contains(&spread.axes[i])).collect();
        let places: Vec<usize> = spread.axes.iter().filter_map(|a| kept.iter().position(|k| k == a)).collect();
        let repeats: f64 =
            pull.axes.iter().filter(|a| !spread.axes.contains(a)).map(|&a| spread.shape[a] as f64).product();
        // Weights run along the one axis: either it is the operand's, or it repeats.
        let own = pull.axes.first().is_some_and(|a| spread.axes.contains(a));
        let weights = pull.weights.filter(|_| own);
        let x = self.sum(x, &Pull { axes: inner, weights })?;
        let x = match pull.weights.filter(|_| !own) {
            Some(w) => {
                let w = self.weights(w)?;
                let total = self.b.sum(w, &[0])?;
                let like = self.b.shape(x);
                let total = self.b.broadcast(total, &like, &[])?;
                self.b.mul(total, x)?
            }
            None => self.b.scale(x, repeats)?,
        };
        self.b.broadcast(x, &shape, &places)
    }

    /// A sum of a sum: all axes at once if there are no weights, else the weighted one first.
    fn nested(&mut self, inner: &Dims, x: NodeId, pull: &Pull) -> Result<Option<NodeId>, Error> {
        let rank = self.shape(x).len();
        let kept: Vec<usize> = (0..rank).filter(|a| !inner.contains(a)).collect();
        let outer: Dims = pull.axes.iter().map(|&a| kept[a]).collect();
        if pull.weights.is_none() {
            let all: Dims = inner.iter().chain(&outer).copied().collect();
            return self.sum(x, &Pull::over(sorted(&all))).map(Some);
        }
        let y = self.sum(x, &pull.with_axes(outer.clone()))?;
        let rest: Vec<usize> = inner.iter().map(|&a| a - outer.iter().filter(|&&o| o < a).count()).collect();
        self.b.sum(y, &rest).map(Some)
    }

    /// A free axis is summed in its operand; a batch axis of which one operand is free of is summed in the other.
    fn dot(&mut self, d: &Dot, args: &[NodeId], pull: &Pull) -> Result<Option<NodeId>, Error> {
        let &[axis] = pull.axes.as_slice() else { return Ok(None) };
        let rank = |side: usize| self.shape(args[side]).len();
        let (left, right) = (d.free(0, rank(0)), d.free(1, rank(1)));
        let batch = d.batch.len();
        if axis < batch {
            return Ok(None);
        }
        let (side, place) = match axis - batch {
            i if i < left.len() => (0, left[i]),
            i => (1, right[i - left.len()]),
        };
        let summed = self.sum(args[side], &pull.with_axes(Dims::from_slice(&[place])))?;
        let other = self.value(args[1 - side])?;
        let shift = |pair: (usize, usize)| match side {
            0 => (pair.0 - usize::from(pair.0 > place), pair.1),
            _ => (pair.0, pair.1 - usize::from(pair.1 > place)),
        };
        let pairs = |list: &[(usize, usize)]| list.iter().map(|&p| shift(p)).collect::<Vec<_>>();
        let (batch, contract) = (pairs(&d.batch), pairs(&d.contract));
        match side {
            0 => self.b.dot(summed, other, &batch, &contract).map(Some),
            _ => self.b.dot(other, summed, &batch, &contract).map(Some),
        }
    }

    /// Whether a value does not change along axes.
    fn steady(&mut self, id: NodeId, axes: &Dims) -> bool {
        if let Some(&known) = self.steady.get(&(id, axes.clone())) {
            return known;
        }
        let node = self.program.node(id);
        let steady = match &node.op {
            Op::Broadcast(b) => axes.iter().all(|a| !b.axes.contains(a)),
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) => node.args.iter().all(|&a| self.steady(a, axes)),
            _ => false,
        };
        self.steady.insert((id, axes.clone()), steady);
        steady
    }

    /// A steady value without the axes.
    fn without(&mut self, id: NodeId, axes: &Dims) -> Result<NodeId, Error> {
        if let Some(&made) = self.cut.get(&(id, axes.clone())) {
            return Ok(made);
        }
        let node = self.program.node(id);
        let made = if let Op::Broadcast(spread) = &node.op {
            let kept: Vec<usize> = (0..spread.shape.len()).filter(|a| !axes.contains(a)).collect();
            let shape: Vec<usize> = kept.iter().map(|&a| spread.shape[a]).collect();
            let places: Vec<usize> = spread.axes.iter().filter_map(|a| kept.iter().position(|k| k == a)).collect();
            let x = self.value(node.args[0])?;
            self.b.broadcast(x, &shape, &places)?
        } else {
            let args =
                node.args.iter().map(|&a| self.without(a, axes)).collect::<Result<SmallVec<[NodeId; 3]>, _>>()?;
            self.b.emit(&node.op, &args)?
        };
        self.cut.insert((id, axes.clone()), made);
        Ok(made)
    }
}

fn sorted(axes: &[usize]) -> Dims {
    let mut axes = Dims::from_slice(axes);
    axes.sort_unstable();
    axes
}

/// The permutation that the order of these distinct numbers is.
fn ranks(x: &[usize]) -> Vec<usize> {
    x.iter().map(|a| x.iter().filter(|b| *b < a).count()).collect()
}

/// The axes of `from` that are exactly the given axes of `to`, one to one.
fn same_axes(from: &[usize], to: &[usize], axes: &[usize]) -> Option<Dims> {
    let outer = |shape: &[usize], axis: usize| shape[..axis].iter().product::<usize>();
    if from.contains(&0) {
        return None;
    }
    axes.iter()
        .map(|&a| {
            let size = to[a];
            (0..from.len()).find(|&f| from[f] == size && size > 1 && outer(from, f) == outer(to, a))
        })
        .collect()
}
