//! Recomputation: values that are cheap to make are made again where they are needed late, instead of being kept.
//!
//! Reverse mode needs the operand of every product a second time, when the way back reaches it. Where elementwise arithmetic makes it
//! from something that is kept anyway (a Taylor coefficient `phi'(u_0) u_k` from the coefficients before the nonlinearity), one more
//! pass costs less than the room. A value is made twice only where this lowers the numbers that are alive, counted over the program,
//! and does not raise their maximum. Results that nothing but outputs is made of, as the weights' gradients are, come as early as they can: they
//! are the last that hold their operands. The results keep their bits.

use super::declare_inputs;
use crate::error::Error;
use crate::ops::{Op, Unary};
use crate::program::{Args, Builder, Node, NodeId, Port, Program};
use std::collections::{BTreeSet, HashMap};

/// Values smaller than the largest by more than this factor are kept.
const SMALL: usize = 64;
/// What a copy reads may be kept for it if it is smaller than the copy by this factor.
const MINOR: usize = 8;
/// Numbers that are made on the way to one number of a copy, at most.
const WORK: usize = 8;
/// Values that are tried, the largest first.
const TRIED: usize = 128;

impl Program {
    /// The program with values that elementwise arithmetic makes from what is kept anyway made a second time where they are needed late, and with
    /// results made as early as they can be: less memory, some more elementwise work, the same bits. Meant as the last step before
    /// compilation.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let ports = [("x", TensorType::real(&[512, 64])), ("w", TensorType::real(&[64, 64]))];
    /// let f = trace(&ports, |_, t| {
    ///     let layer = |x: &autodiff::Tensor| { let u = x.matmul(&t[1]); &u * &u };
    ///     vec![("loss", (0..8).fold(t[0].clone(), |x, _| layer(&x)).sum_all())]
    /// })?;
    /// let gradient = f.value_and_grad(&[1])?.simplify()?;
    /// let room = |p: &autodiff::Program| Ok::<usize, autodiff::Error>(p.compile::<f64>()?.workspace_bytes());
    /// assert!((room(&gradient.recompute()?)? as f64) < 0.7 * room(&gradient)? as f64);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn recompute(&self) -> Result<Program, Error> {
        self.verify()?;
        let program = &self.results_first()?;
        let mut choice = Choice::new(program);
        choice.choose();
        if choice.split.iter().all(Option::is_none) {
            return Ok(program.clone());
        }
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, program);
        let mut run = Run { choice: &choice, b, map: Vec::with_capacity(program.nodes().len()), again: HashMap::new() };
        for (i, node) in program.nodes().iter().enumerate() {
            let id = match &node.op {
                Op::Input(input) => inputs[input.index],
                _ => run.node(node, i),
            };
            run.map.push(id);
        }
        let end = program.nodes().len();
        let outputs = program.outputs().iter().map(|p| (p.name.clone(), run.at(p.node.index(), end))).collect();
        Ok(run.b.finish(outputs))
    }
}

impl Program {
    /// The same nodes in another order: what only outputs are made of stands where its last operand is there.
    fn results_first(&self) -> Result<Program, Error> {
        let nodes = self.nodes();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            node.args.iter().for_each(|a| readers[a.index()].push(i));
        }
        // Outputs and what is only arranged into them; and products and sums that only these read.
        let (mut tail, mut result) = (vec![false; nodes.len()], vec![false; nodes.len()]);
        for i in (0..nodes.len()).rev() {
            let op = &nodes[i].op;
            let last = readers[i].iter().all(|&r| tail[r]) && !matches!(op, Op::Input(_) | Op::Const(_));
            tail[i] = last && (is_view(op) || is_cheap(op));
            result[i] = last && (tail[i] || matches!(op, Op::Dot(_) | Op::ReduceSum(_)));
        }
        let mut missing: Vec<usize> = nodes.iter().map(|n| n.args.len()).collect();
        let mut order: Vec<usize> = Vec::with_capacity(nodes.len());
        for i in (0..nodes.len()).filter(|&i| !result[i]) {
            let mut ready = vec![i];
            while let Some(next) = ready.pop() {
                order.push(next);
                for &r in readers[next].iter().rev() {
                    missing[r] -= 1;
                    if missing[r] == 0 && result[r] {
                        ready.push(r);
                    }
                }
            }
        }
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut map: Vec<Option<NodeId>> = vec![None; nodes.len()];
        for i in order {
            let node = &nodes[i];
            map[i] = Some(match &node.op {
                Op::Input(input) => inputs[input.index],
                _ => {
                    let args: Option<Args> = node.args.iter().map(|a| map[a.index()]).collect();
                    let args = args.ok_or_else(|| Error::Malformed(format!("node {i} lacks an operand")))?;
                    b.repeat(Node { args, ..node.clone() })
                }
            });
        }
        let output = |p: &Port| Some((p.name.clone(), map[p.node.index()]?));
        let outputs: Option<Vec<_>> = self.outputs().iter().map(output).collect();
        Ok(b.finish(outputs.ok_or_else(|| Error::Malformed("an output was not reached".into()))?))
    }
}

/// Whether a node only shows its operand in another arrangement.
fn is_view(op: &Op) -> bool {
    matches!(op, Op::Broadcast(_) | Op::Transpose(_) | Op::Slice(_) | Op::Reshape(_) | Op::Window(_))
}

/// Whether a value costs about as much to make as to read.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Unary(f) => {
            matches!(f, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Step | Unary::StopGradient) || is_square(*f)
        }
        Op::Binary(_) | Op::Select(_) | Op::Concat(_) | Op::Gather(_) => true,
        _ => false,
    }
}

fn is_square(f: Unary) -> bool {
    matches!(f, Unary::Powf(p) if p.get() == 2.0)
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select(_))
}

/// A value that is made again.
struct Again {
    /// From this node on the copy is read.
    from: usize,
    /// What is made again on the way to it.
    with: BTreeSet<usize>,
}

/// Which values are made again.
struct Choice<'a> {
    program: &'a Program,
    /// The node whose memory a node shows.
    owner: Vec<usize>,
    /// By owner: the nodes that read it, in order; past the end for an output.
    reads: Vec<Vec<usize>>,
    /// Products that lie before a node.
    depth: Vec<usize>,
    split: Vec<Option<Again>>,
}

impl<'a> Choice<'a> {
    fn new(program: &'a Program) -> Self {
        let nodes = program.nodes();
        let mut owner: Vec<usize> = Vec::with_capacity(nodes.len());
        let mut reads = vec![Vec::new(); nodes.len()];
        let mut depth = Vec::with_capacity(nodes.len() + 1);
        let mut products = 0;
        for (i, node) in nodes.iter().enumerate() {
            depth.push(products);
            products += usize::from(matches!(node.op, Op::Dot(_) | Op::Call(_)));
            let view = is_view(&node.op);
            owner.push(if view { owner[node.args[0].index()] } else { i });
            if !view {
                node.args.iter().for_each(|a| reads[owner[a.index()]].push(i));
            }
        }
        depth.push(products);
        program.outputs().iter().for_each(|p| reads[owner[p.node.index()]].push(nodes.len()));
        reads.iter_mut().for_each(|r| r.dedup());
        Choice { program, owner, reads, depth, split: (0..nodes.len()).map(|_| None).collect() }
    }

    fn numel(&self, i: usize) -> usize {
        self.program.nodes()[i].ty.numel()
    }

    fn op(&self, i: usize) -> &Op {
        &self.program.nodes()[i].op
    }

    fn last(&self, i: usize) -> usize {
        self.reads[i].last().copied().unwrap_or(i)
    }

    /// Whether a value has memory of its own: elementwise values that are read in one go, or joined at once, have none.
    fn is_stored(&self, i: usize) -> bool {
        let inside = |&r: &usize| {
            self.depth[r] == self.depth[i]
                && self
                    .program
                    .nodes()
                    .get(r)
                    .is_some_and(|n| is_elementwise(&n.op) || matches!(n.op, Op::Concat(_) | Op::ReduceSum(_)))
        };
        match self.op(i) {
            Op::Const(_) | Op::Input(_) => false,
            op if is_view(op) => false,
            op if is_elementwise(op) => !self.reads[i].iter().all(inside),
            _ => true,
        }
    }

    /// The largest pause between two reads: the last node before it, and the first after it.
    fn pause(&self, i: usize) -> Option<(usize, usize)> {
        let times = core::iter::once(i).chain(self.reads[i].iter().copied());
        let pairs = times.zip(self.reads[i].iter().copied());
        pairs.filter(|&(a, b)| self.depth[b] > self.depth[a] + 1).max_by_key(|&(a, b)| self.depth[b] - self.depth[a])
    }

    /// Numbers that are alive: their maximum over the program, and their sum.
    fn alive(&self) -> (usize, usize) {
        let mut change = vec![0isize; self.program.nodes().len() + 2];
        let mut span = |from: usize, to: usize, n: usize| {
            change[from] += n as isize;
            change[to + 1] -= n as isize;
        };
        for i in (0..self.program.nodes().len()).filter(|&i| self.is_stored(i)) {
            let (n, last) = (self.numel(i), self.last(i));
            match &self.split[i] {
                Some(again) => {
                    let before = self.reads[i].iter().copied().rfind(|&r| r < again.from);
                    if let Some(before) = before {
                        span(i, before, n);
                    }
                    span(again.from, last, n);
                }
                None => span(i, last, n),
            }
        }
        let (mut now, mut most, mut sum) = (0isize, 0isize, 0isize);
        for c in change {
            now += c;
            most = most.max(now);
            sum += now;
        }
        (most as usize, sum as usize)
    }

    /// What must be made for a copy of `i` at node `at`, and what must be kept until then.
    fn recipe(&self, i: usize, at: usize) -> Option<(BTreeSet<usize>, Vec<usize>)> {
        let (mut with, mut kept, mut work) = (BTreeSet::new(), Vec::new(), self.numel(i));
        let mut stack: Vec<usize> = self.program.nodes()[i].args.iter().map(|a| self.owner[a.index()]).collect();
        while let Some(x) = stack.pop() {
            if with.contains(&x) {
                continue;
            }
            let free = matches!(self.op(x), Op::Const(_) | Op::Input(_)) || self.last(x) >= at;
            let cheap = is_cheap(self.op(x)) && self.split[x].is_none();
            if free || self.numel(x) * MINOR <= self.numel(i) || !cheap {
                kept.push(x);
                continue;
            }
            with.insert(x);
            work += self.numel(x);
            stack.extend(self.program.nodes()[x].args.iter().map(|a| self.owner[a.index()]));
        }
        (work <= WORK * self.numel(i)).then_some((with, kept))
    }

    /// Goes through the large values, and splits those that are better made again.
    fn choose(&mut self) {
        let nodes = self.program.nodes();
        let largest = (0..nodes.len()).filter(|&i| self.is_stored(i)).map(|i| self.numel(i)).max().unwrap_or(0);
        let mut tried: Vec<usize> = (0..nodes.len())
            .filter(|&i| self.numel(i) * SMALL >= largest && is_cheap(self.op(i)) && self.is_stored(i))
            .collect();
        tried.sort_by_key(|&i| core::cmp::Reverse(self.numel(i)));
        let mut now = self.alive();
        for &i in tried.iter().take(TRIED) {
            let Some((_, from)) = self.pause(i).filter(|&(_, from)| from < nodes.len()) else { continue };
            let Some((with, kept)) = self.recipe(i, from) else { continue };
            let before: Vec<Vec<usize>> = kept.iter().map(|&x| self.reads[x].clone()).collect();
            for &x in &kept {
                let place = self.reads[x].partition_point(|&r| r < from);
                self.reads[x].insert(place, from);
            }
            self.split[i] = Some(Again { from, with });
            let then = self.alive();
            if then.0 <= now.0 && then.1 < now.1 {
                now = then;
                continue;
            }
            self.split[i] = None;
            for (&x, reads) in kept.iter().zip(before).rev() {
                self.reads[x] = reads;
            }
        }
    }
}

struct Run<'a> {
    choice: &'a Choice<'a>,
    b: Builder,
    map: Vec<NodeId>,
    /// Copies, by node and the products that lie before the reader.
    again: HashMap<(usize, usize), NodeId>,
}

impl Run<'_> {
    /// A node with the operands that its reader at `at` meets.
    fn node(&mut self, node: &Node, at: usize) -> NodeId {
        let args = node.args.iter().map(|a| self.at(a.index(), at)).collect();
        self.b.repeat(Node { args, ..node.clone() })
    }

    /// The value of node `i` for a reader at `at`.
    fn at(&mut self, i: usize, at: usize) -> NodeId {
        let owner = self.choice.owner[i];
        match &self.choice.split[owner] {
            Some(again) if at >= again.from => self.copy(i, owner, again.from),
            _ => self.map[i],
        }
    }

    /// Node `i`, whose memory is `top`'s or of something that is made again with it, once more.
    fn copy(&mut self, i: usize, top: usize, from: usize) -> NodeId {
        let choice = self.choice;
        let key = (i, choice.depth[from]);
        if let Some(&id) = self.again.get(&key) {
            return id;
        }
        let node = &choice.program.nodes()[i];
        let mut args = Args::new();
        for a in &node.args {
            let owner = choice.owner[a.index()];
            let with = choice.split[top].as_ref().is_some_and(|again| again.with.contains(&owner));
            let inner = with || (is_view(&node.op) && owner == top);
            args.push(if inner { self.copy(a.index(), top, from) } else { self.at(a.index(), from) });
        }
        let id = self.b.repeat(Node { args, ..node.clone() });
        self.again.insert(key, id);
        id
    }
}
