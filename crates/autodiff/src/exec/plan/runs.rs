//! Runs of elementwise nodes: which nodes are fused, where a run ends, and whose memory its values take.

use super::{Home, LONGEST_RUN, Planner, elementwise, place};
use crate::exec::ending::{Ending, Grid};
use crate::exec::fuse::{Kernel, Member, Operand};
use crate::exec::machine::Step;
use crate::exec::view::View;
use crate::ops::{Op, ReduceMax, ReduceSum};
use crate::program::{Node, NodeId};
use crate::types::{Dims, Kind};
use numerics::Scalar;

/// A run that may still grow.
pub(super) struct Run {
    shape: Dims,
    /// Elementwise nodes of this shape, and reductions of some of them.
    nodes: Vec<usize>,
    /// How the reductions go over the shape, all alike.
    grid: Option<Grid>,
}

impl Run {
    fn has(&self, node: usize) -> bool {
        self.nodes.binary_search(&node).is_ok()
    }
}

impl<T: Scalar> Planner<'_, T> {
    /// Makes sure that a node's value is computed by the steps so far.
    pub(super) fn force(&mut self, node: usize) {
        if let Some(k) = self.open.iter().position(|r| r.has(node)) {
            self.close(k);
        }
    }

    /// Puts an elementwise node into the run of its shape.
    pub(super) fn join(&mut self, i: usize, node: &Node) {
        for a in &node.args {
            let member = elementwise(&self.program.node(*a).op);
            let inside = member && self.open.iter().any(|r| r.shape == node.ty.shape && r.has(a.index()));
            if !inside {
                self.force(self.owners[a.index()]);
            }
        }
        match self.open.iter_mut().position(|r| r.shape == node.ty.shape) {
            Some(k) if self.open[k].nodes.len() < LONGEST_RUN => self.open[k].nodes.push(i),
            full => {
                if let Some(k) = full {
                    self.close(k);
                }
                self.open.push(Run { shape: node.ty.shape.clone(), nodes: vec![i], grid: None });
            }
        }
    }

    /// Puts a reduction at the end of the run that computes its operand, if there is one that can take it.
    pub(super) fn end_run(&mut self, i: usize, node: &Node, axes: &[usize]) -> Option<View> {
        let x = node.args[0];
        if !elementwise(&self.program.node(x).op) {
            return None;
        }
        let k = self.open.iter().position(|r| r.has(x.index()))?;
        let grid = Grid::new(&self.open[k].shape, axes)?;
        let run = &mut self.open[k];
        if run.grid.is_some_and(|g| g != grid) || run.nodes.len() >= LONGEST_RUN {
            return None;
        }
        run.grid = Some(grid);
        run.nodes.push(i);
        Some(self.dense_target(i, node))
    }

    /// Takes the reductions of a run's values into the run whose turn has not come yet.
    fn look_ahead(&mut self, run: &mut Run) {
        let program = self.program;
        let members = run.nodes.len();
        for k in (0..members).filter(|&k| elementwise(&program.nodes()[run.nodes[k]].op)).collect::<Vec<_>>() {
            for u in self.users[run.nodes[k]].clone() {
                let node = &program.nodes()[u];
                let (Op::ReduceSum(ReduceSum { axes }) | Op::ReduceMax(ReduceMax { axes })) = &node.op else {
                    continue;
                };
                let grid = Grid::new(&run.shape, axes).filter(|g| run.grid.is_none_or(|known| known == *g));
                if let (true, Some(grid)) = (u > self.views.len(), grid) {
                    run.grid = Some(grid);
                    run.nodes.push(u);
                    self.ahead[u] = Some(self.dense_target(u, node));
                }
            }
        }
        run.nodes[members..].sort_unstable();
    }

    pub(super) fn close(&mut self, k: usize) {
        let mut run = self.open.swap_remove(k);
        let numel: usize = run.shape.iter().product();
        if numel == 0 {
            return;
        }
        self.look_ahead(&mut run);
        let mut touched: Vec<View> = Vec::new();
        let (mut members, mut endings) = (Vec::new(), Vec::new());
        // Where a node of the run stands among the members.
        let mut place_of = Vec::with_capacity(run.nodes.len());
        for &n in &run.nodes {
            let node = &self.program.nodes()[n];
            place_of.push(members.len());
            let inside = |a: &NodeId| run.nodes.binary_search(&a.index()).ok().map(|at| place_of[at]);
            if let (false, Some(grid)) = (elementwise(&node.op), run.grid) {
                let ending = self.ending(n, node, grid, &mut touched);
                endings.extend(inside(&node.args[0]).map(|of| (of, ending)));
                continue;
            }
            let operand =
                |a: &NodeId| inside(a).map_or_else(|| Operand::Outside(self.views[a.index()].clone()), Operand::Member);
            let args: Vec<Operand> = node.args.iter().map(operand).collect();
            for a in &args {
                match a {
                    Operand::Outside(v) if touched.iter().all(|t| !t.is(v)) => touched.push(v.clone()),
                    Operand::Outside(_) | Operand::Member(_) => {}
                }
            }
            let leaves = self.is_output[n] || self.users[n].iter().any(|&u| !run.has(u));
            members.push(Member { op: &node.op, args, store: leaves.then(|| self.views[n].clone()), last: false });
        }
        self.take_places(&run, &mut members);
        touched.extend(members.iter().filter_map(|m| m.store.clone()));
        let kernel = Kernel::new(numel, &members, endings);
        self.emit_for(run.nodes.clone(), Step::Fused(kernel), &touched.iter().collect::<Vec<_>>());
    }

    fn ending(&mut self, n: usize, node: &Node, grid: Grid, touched: &mut Vec<View>) -> Ending {
        let view = self.views.get(n).or(self.ahead[n].as_ref()).cloned();
        let view = view.unwrap_or_else(|| self.dense_target(n, node));
        let out = place(&view);
        touched.push(view);
        let partial = (grid.scratch() > 0).then(|| self.real(grid.scratch()));
        touched.extend(partial.map(|buf| View::dense(buf, &[grid.scratch()])));
        let sum = matches!(node.op, Op::ReduceSum(_));
        Ending { grid, sum, out, partial }
    }

    /// Lets stored values take the places of operands that nobody needs after the run.
    fn take_places(&mut self, run: &Run, members: &mut [Member<'_>]) {
        let numel: usize = run.shape.iter().product();
        let whole = |p: &Self, v: &View| {
            let buf = &p.bufs[p.root(v.buf)];
            matches!(buf.home, Home::Arena) && buf.kind == Kind::Real && buf.len == numel && v.is_dense()
        };
        let mut dying: Vec<usize> = Vec::new();
        let mut outside: Vec<View> = Vec::new();
        for m in members.iter() {
            outside.extend(m.args.iter().filter_map(|a| match a {
                Operand::Outside(v) => Some(v.clone()),
                Operand::Member(_) => None,
            }));
        }
        for v in &outside {
            let root = self.root(v.buf);
            let alone = || outside.iter().all(|o| self.root(o.buf) != root || whole(self, o));
            if !dying.contains(&root) && whole(self, v) && alone() && self.dies(root, run) {
                dying.push(root);
            }
        }
        for m in members {
            let Some(view) = m.store.clone() else { continue };
            let fresh = matches!(self.bufs[view.buf].home, Home::Arena) && self.bufs[view.buf].first == usize::MAX;
            if !(fresh && whole(self, &view)) {
                continue;
            }
            let Some(root) = dying.pop() else { return };
            self.bufs[view.buf].home = Home::Same(root);
            let shown = core::mem::take(&mut self.showing[view.buf]);
            self.showing[root].extend(shown);
            m.last = true;
        }
    }

    /// Whether nobody outside the run still reads a buffer.
    fn dies(&self, root: usize, run: &Run) -> bool {
        let done = |&u: &usize| run.has(u) || (u < self.views.len() && !self.open.iter().any(|r| r.has(u)));
        self.showing[root].iter().all(|&m| !self.is_output[m] && self.users[m].iter().all(done))
    }
}
