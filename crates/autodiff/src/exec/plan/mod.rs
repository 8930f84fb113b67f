//! From a program to steps: views, fusion, buffers.
//!
//! Nodes are visited in order. An elementwise node joins the open run of its shape, unless one of its operands is a view
//! of a value of that run; a run is closed (and becomes a step) when somebody outside needs one of its values. So
//! whatever an open run reads from outside is computed before the run is.

mod contraction;
mod runs;
mod sums;

use crate::array::Value;
use crate::error::Error;
use crate::exec::arena::{self, Span};
use crate::exec::bind::Layout;
use crate::exec::loops::{self, Pick, Reduction};
use crate::exec::machine::{Loc, Move, Place, Plan, Step};
use crate::exec::named::Named;
use crate::exec::profile::Cost;
use crate::exec::target;
use crate::exec::view::{View, coalesce};
use crate::ops::{Fold, Gather, OneHot, Op, Pad, ScatterAdd, Slice};
use crate::program::{Node, NodeId, Program};
use crate::types::{Dims, Kind, flat, strides};
use numerics::Scalar;
use runs::Run;
use std::sync::Arc;
use sums::Sums;

/// Members of a run before it is closed anyway: compilation of a run is quadratic at worst.
const LONGEST_RUN: usize = 256;
/// A part smaller than a joined value by this factor has memory of its own if it lives at other times.
const SMALL_PART: usize = 4;
/// Terms of a sum up to which ...
const SHORT_SUM: usize = 24;
/// ... that many neighbouring sums are formed side by side.
const LONG_SUMS: usize = 8;

enum Home {
    Arena,
    Const(usize),
    Input(usize),
    Output(usize),
    /// The memory of another buffer, which nobody reads any more when this one is written.
    Same(usize),
}

struct Buf {
    kind: Kind,
    home: Home,
    len: usize,
    first: usize,
    last: usize,
}

struct Planner<'p, T> {
    program: &'p Program,
    layout: &'p Layout,
    users: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    views: Vec<View>,
    /// The nodes that a buffer, with those that take its place, shows.
    showing: Vec<Vec<usize>>,
    /// The node that computes what a node's view shows.
    owners: Vec<usize>,
    sums: Sums,
    /// Where a node had best put its value: a part of an output or of a value that it is joined into.
    targets: Vec<Option<View>>,
    /// Where values are that a step computes before their node's turn.
    ahead: Vec<Option<View>>,
    /// Where the outputs are, real ones only.
    ends: Vec<Option<View>>,
    bufs: Vec<Buf>,
    open: Vec<Run>,
    steps: Vec<Step<T>>,
    costs: Vec<Cost>,
    consts: Vec<T>,
    int_consts: Vec<i64>,
}

fn place(v: &View) -> Place {
    Place { buf: v.buf, offset: v.offset }
}

fn elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select(_))
}

/// Compiles a program for arguments that lie like this.
pub(in crate::exec) fn compile<T: Scalar>(program: &Program, layout: &Layout) -> Result<Plan<T>, Error> {
    program.verify()?;
    let n = program.nodes().len();
    let mut users = vec![Vec::new(); n];
    let mut is_output = vec![false; n];
    for (i, node) in program.nodes().iter().enumerate() {
        for a in &node.args {
            users[a.index()].push(i);
        }
    }
    program.outputs().iter().for_each(|p| is_output[p.node.index()] = true);
    let mut p = Planner {
        program,
        layout,
        sums: Sums::of(program, &users, &is_output),
        users,
        is_output,
        views: Vec::with_capacity(n),
        showing: Vec::new(),
        owners: Vec::with_capacity(n),
        targets: vec![None; n],
        ahead: vec![None; n],
        ends: Vec::new(),
        bufs: Vec::new(),
        open: Vec::new(),
        steps: Vec::new(),
        costs: Vec::new(),
        consts: Vec::new(),
        int_consts: Vec::new(),
    };
    p.aim();
    p.aim_sums();
    for (i, node) in program.nodes().iter().enumerate() {
        let view = p.node(i, node)?;
        if view.shape != node.ty.shape {
            return Err(Error::Malformed(format!("node {i} has another shape than its operation gives")));
        }
        if view.end() > p.bufs[view.buf].len {
            return Err(Error::Malformed(format!("node {i} reaches beyond its operand")));
        }
        let shows =
            matches!(node.op, Op::Broadcast(_) | Op::Transpose(_) | Op::Slice(_) | Op::Window(_) | Op::Reshape(_));
        let owner = match node.args.first() {
            Some(a) if shows && p.views[a.index()].buf == view.buf => p.owners[a.index()],
            _ => i,
        };
        let root = p.root(view.buf);
        p.showing[root].push(i);
        p.owners.push(owner);
        p.views.push(view);
    }
    Ok(p.finish())
}

impl<T: Scalar> Planner<'_, T> {
    fn buffer(&mut self, kind: Kind, len: usize, home: Home) -> usize {
        self.bufs.push(Buf { kind, home, len, first: usize::MAX, last: 0 });
        self.showing.push(Vec::new());
        self.bufs.len() - 1
    }

    /// The buffer whose memory a buffer has.
    fn root(&self, buf: usize) -> usize {
        match self.bufs[buf].home {
            Home::Same(other) => self.root(other),
            _ => buf,
        }
    }

    fn real(&mut self, len: usize) -> usize {
        self.buffer(Kind::Real, len, Home::Arena)
    }

    /// Appends a step of the current node that reads or writes these views.
    fn emit(&mut self, step: Step<T>, touched: &[&View]) {
        let nodes = vec![self.views.len().min(self.program.nodes().len() - 1)];
        self.emit_for(nodes, step, touched);
    }

    fn emit_for(&mut self, nodes: Vec<usize>, step: Step<T>, touched: &[&View]) {
        let now = self.steps.len();
        let bytes = |v: &&View| v.footprint() * if self.bufs[v.buf].kind == Kind::Int { 8 } else { size_of::<T>() };
        self.costs.push(step.cost(nodes, touched.iter().map(bytes).sum()));
        for v in touched {
            let root = self.root(v.buf);
            let buf = &mut self.bufs[root];
            buf.first = buf.first.min(now);
            buf.last = buf.last.max(now);
        }
        self.steps.push(step);
    }

    /// Chooses places for values that end in outputs or in joined values.
    fn aim(&mut self) {
        let program = self.program;
        for (i, port) in program.outputs().iter().enumerate() {
            let ty = &program.node(port.node).ty;
            if ty.kind == Kind::Int {
                self.ends.push(None);
                continue;
            }
            let strides = self.layout.output(i).map_or_else(|| strides(&ty.shape), |s| s.expand(&ty.shape));
            let mut view = View { buf: 0, offset: 0, shape: ty.shape.clone(), strides };
            view.buf = self.buffer(Kind::Real, view.end(), Home::Output(i));
            target::assign(program, &mut self.targets, port.node, view.clone());
            self.ends.push(Some(view));
        }
        let times = target::Times::of(program, &self.users);
        for (i, node) in program.nodes().iter().enumerate().rev() {
            let Op::Concat(c) = &node.op else { continue };
            let view = match self.targets[i].clone() {
                Some(view) => view,
                None => View::dense(self.real(node.ty.numel()), &node.ty.shape),
            };
            self.targets[i] = Some(view.clone());
            let lasts = !matches!(self.bufs[view.buf].home, Home::Arena);
            for (&arg, part) in node.args.iter().zip(self.parts(node, c.axis, &view)) {
                if !lasts && part.numel() * SMALL_PART < view.numel() && times.outlives(arg.index(), i) {
                    continue;
                }
                target::assign(program, &mut self.targets, arg, part);
            }
        }
    }

    /// The parts of a joined value.
    fn parts(&self, node: &Node, axis: usize, whole: &View) -> Vec<View> {
        let mut offset = whole.offset;
        let part = |a: &NodeId| {
            let shape = self.program.node(*a).ty.shape.clone();
            let view = View { buf: whole.buf, offset, shape, strides: whole.strides.clone() };
            offset += view.shape[axis] * whole.strides[axis];
            view
        };
        node.args.iter().map(part).collect()
    }

    /// A view whose contents are computed by the steps so far.
    fn ready(&mut self, id: NodeId) -> View {
        self.force(self.owners[id.index()]);
        self.views[id.index()].clone()
    }

    fn copy(&mut self, src: &View, dst: usize, offset: usize, strides: &[usize]) {
        if src.numel() == 0 {
            return;
        }
        let (shape, [from, to]) = coalesce(&src.shape, [&src.strides, strides]);
        let m = Move { src: place(src), dst: Place { buf: dst, offset }, shape, from, to };
        let step = if self.bufs[dst].kind == Kind::Int { Step::CopyInt(m) } else { Step::Copy(m) };
        let whole = View { buf: dst, offset, shape: src.shape.clone(), strides: Dims::from_slice(strides) };
        self.emit(step, &[src, &whole]);
    }

    fn packed(&mut self, src: &View) -> View {
        let dst = self.buffer(self.bufs[src.buf].kind, src.numel(), Home::Arena);
        let view = View::dense(dst, &src.shape);
        self.copy(src, dst, 0, &view.strides);
        view
    }

    /// The operand, row-major without gaps.
    fn dense(&mut self, id: NodeId) -> View {
        let view = self.ready(id);
        if view.is_dense() { view } else { self.packed(&view) }
    }

    fn zeros(&mut self, shape: &[usize]) -> View {
        let len = shape.iter().product();
        let buf = self.real(len);
        let view = View::dense(buf, shape);
        self.emit(Step::Zero { buf, len }, &[&view]);
        view
    }

    fn node(&mut self, i: usize, node: &Node) -> Result<View, Error> {
        if let Some(view) = self.ahead[i].take() {
            return Ok(view);
        }
        let shape = &node.ty.shape;
        let len = node.ty.numel();
        Ok(match &node.op {
            Op::Input(input) => {
                let known = self.program.inputs().get(input.index).is_some_and(|p| p.node.index() == i);
                if !known {
                    return Err(Error::Malformed(format!("node {i} is no declared input")));
                }
                let home = Home::Input(input.index);
                match self.layout.input(input.index) {
                    Some(stride) => {
                        let mut view = View { buf: 0, offset: 0, shape: shape.clone(), strides: stride.expand(shape) };
                        view.buf = self.buffer(node.ty.kind, view.end(), home);
                        view
                    }
                    None => View::dense(self.buffer(node.ty.kind, len, home), shape),
                }
            }
            Op::Const(c) => match c.splat() {
                Some(x) => {
                    self.consts.push(T::from_f64(x));
                    let buf = self.buffer(Kind::Real, 1, Home::Const(self.consts.len() - 1));
                    let strides = smallvec::smallvec![0; shape.len()];
                    View { buf, offset: 0, shape: shape.clone(), strides }
                }
                None => {
                    let home = match node.op.eval::<T>(&[], &node.ty)? {
                        Value::Real(a) => {
                            self.consts.extend_from_slice(a.data());
                            self.consts.len() - len
                        }
                        Value::Int(a) => {
                            self.int_consts.extend_from_slice(a.data());
                            self.int_consts.len() - len
                        }
                    };
                    View::dense(self.buffer(node.ty.kind, len, Home::Const(home)), shape)
                }
            },
            op if elementwise(op) => {
                if let Some(view) = self.summed(i) {
                    return Ok(view);
                }
                self.join(i, node);
                match self.targets[i].take() {
                    Some(view) => view,
                    None => View::dense(self.real(len), shape),
                }
            }
            Op::Broadcast(b) => {
                let x = &self.views[node.args[0].index()];
                let mut strides: Dims = smallvec::smallvec![0; shape.len()];
                b.axes.iter().zip(&x.strides).for_each(|(&axis, &s)| strides[axis] = s);
                View { buf: x.buf, offset: x.offset, shape: shape.clone(), strides }
            }
            Op::Transpose(t) => {
                let x = &self.views[node.args[0].index()];
                let strides = t.perm.iter().map(|&a| x.strides[a]).collect();
                View { buf: x.buf, offset: x.offset, shape: shape.clone(), strides }
            }
            Op::Slice(Slice { start, step, .. }) => {
                let x = &self.views[node.args[0].index()];
                let strides = x.strides.iter().zip(step).map(|(a, b)| a * b).collect();
                View { buf: x.buf, offset: x.offset + flat(start, &x.strides), shape: shape.clone(), strides }
            }
            Op::Window(w) => {
                let x = &self.views[node.args[0].index()];
                let mut strides = x.strides.clone();
                strides.push(strides[w.axis] * w.dilation);
                strides[w.axis] *= w.stride;
                View { buf: x.buf, offset: x.offset, shape: shape.clone(), strides }
            }
            Op::Reshape(_) => match self.views[node.args[0].index()].reshaped(shape) {
                Some(view) => view,
                None => {
                    let x = self.ready(node.args[0]);
                    View { shape: shape.clone(), strides: strides(shape), ..self.packed(&x) }
                }
            },
            Op::Dot(d) => self.dot(i, node, d),
            Op::ReduceSum(r) => self.reduce(i, node, &r.axes, true),
            Op::ReduceMax(r) => self.reduce(i, node, &r.axes, false),
            Op::ArgMax(_) => {
                let x = self.dense(node.args[0]);
                let out = self.buffer(Kind::Int, len, Home::Arena);
                let n = x.shape.last().copied().unwrap_or(1);
                let view = View::dense(out, shape);
                self.emit(Step::ArgMax { x: place(&x), n, out, len }, &[&x, &view]);
                view
            }
            Op::Pad(Pad { low, between, .. }) => {
                let x = self.ready(node.args[0]);
                let out = self.zeros(shape);
                let to: Dims = out.strides.iter().zip(between).map(|(s, n)| s * (n + 1)).collect();
                self.copy(&x, out.buf, flat(low, &out.strides), &to);
                out
            }
            Op::Concat(c) => {
                let out = match self.targets[i].take() {
                    Some(view) => view,
                    None => View::dense(self.real(len), shape),
                };
                for (&a, part) in node.args.iter().zip(self.parts(node, c.axis, &out)) {
                    let x = self.ready(a);
                    if !x.is(&part) {
                        self.copy(&x, part.buf, part.offset, &part.strides);
                    }
                }
                out
            }
            Op::Gather(Gather { batch }) => {
                let (x, index) = (self.dense(node.args[0]), self.dense(node.args[1]));
                let pick = Pick {
                    picks: index.shape[*batch..].iter().product(),
                    size: x.shape[*batch],
                    rest: x.shape[batch + 1..].iter().product(),
                };
                let out = self.real(len);
                let (x_len, index_len) = (x.numel(), index.numel());
                let (xp, index_place) = (place(&x), place(&index));
                let step = Step::Pick { x: xp, x_len, index: index_place, index_len, pick, out, len };
                let view = View::dense(out, shape);
                self.emit(step, &[&x, &index, &view]);
                view
            }
            Op::ScatterAdd(ScatterAdd { batch, size }) => {
                let (index, u) = (self.dense(node.args[0]), self.dense(node.args[1]));
                let pick = Pick {
                    picks: index.shape[*batch..].iter().product(),
                    size: *size,
                    rest: u.shape[index.shape.len()..].iter().product(),
                };
                let out = self.real(len);
                let (u_len, index_len) = (u.numel(), index.numel());
                let (up, index_place) = (place(&u), place(&index));
                let step = Step::Scatter { u: up, u_len, index: index_place, index_len, pick, out, len };
                let view = View::dense(out, shape);
                self.emit(step, &[&u, &index, &view]);
                view
            }
            Op::OneHot(OneHot { depth }) => {
                let index = self.dense(node.args[0]);
                let out = self.real(len);
                let step = Step::OneHot { index: place(&index), index_len: index.numel(), depth: *depth, out, len };
                let view = View::dense(out, shape);
                self.emit(step, &[&index, &view]);
                view
            }
            Op::ToReal(_) => {
                let index = self.dense(node.args[0]);
                let out = self.real(len);
                let view = View::dense(out, shape);
                self.emit(Step::ToReal { index: place(&index), out, len }, &[&index, &view]);
                view
            }
            Op::Fold(Fold { window, .. }) => {
                let x = self.ready(node.args[0]);
                let out = self.laid_out(i, node);
                self.emit(Step::Zero { buf: out.buf, len }, &[&out]);
                let mut to = out.strides.clone();
                to.push(to[window.axis] * window.dilation);
                to[window.axis] *= window.stride;
                if x.numel() > 0 {
                    let (shape, from, to) = loops::long_rows(&x.shape, &x.strides, &to);
                    let (shape, [from, to]) = coalesce(&shape, [&from, &to]);
                    let dst = Place { buf: out.buf, offset: 0 };
                    let step = Step::Accumulate(Move { src: place(&x), dst, shape, from, to });
                    self.emit(step, &[&x, &out]);
                }
                out
            }
            Op::Call(call) => {
                let Some(kernel) = Named::of(call) else {
                    return Err(Error::Malformed(format!("node {i}, {}, was not replaced by its body", call.label())));
                };
                let x = self.dense(node.args[0]);
                let view = self.dense_target(i, node);
                let n = shape.last().copied().unwrap_or(1);
                let step = Step::Named { kernel, x: place(&x), n, out: place(&view), len };
                self.emit(step, &[&x, &view]);
                view
            }
            // `elementwise` took these.
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) => {
                return Err(Error::Malformed(format!("node {i} was planned twice")));
            }
        })
    }

    /// Where a node writes a value without gaps.
    fn dense_target(&mut self, i: usize, node: &Node) -> View {
        match self.targets[i].take().filter(View::is_dense) {
            Some(view) => view,
            None => View::dense(self.real(node.ty.numel()), &node.ty.shape),
        }
    }

    fn reduce(&mut self, i: usize, node: &Node, axes: &[usize], sum: bool) -> View {
        if let Some(view) = self.end_run(i, node, axes) {
            return view;
        }
        let x = self.ready(node.args[0]);
        let view = self.dense_target(i, node);
        let len = node.ty.numel();
        if len > 0 {
            let part = |keep: bool| -> (Dims, Dims) {
                let axes = (0..x.shape.len()).filter(|a| axes.contains(a) != keep);
                let (n, s): (Dims, Dims) = axes.map(|a| (x.shape[a], x.strides[a])).unzip();
                let (n, [s]) = coalesce(&n, [&s]);
                (n, s)
            };
            let ((kept, kept_strides), (gone, gone_strides)) = (part(true), part(false));
            let fastest = |s: &Dims| s.iter().copied().filter(|&s| s > 0).min().unwrap_or(usize::MAX);
            // Rows are added, too, where the sums are short and many.
            let short = gone.iter().product::<usize>() < SHORT_SUM && kept.last().is_some_and(|&n| n >= LONG_SUMS);
            let by_rows = short || fastest(&kept_strides) < fastest(&gone_strides);
            let reduction = Reduction { kept, kept_strides, gone, gone_strides, by_rows };
            let (xp, out) = (place(&x), place(&view));
            let step = match sum {
                true => Step::Sum { x: xp, out, len, reduction },
                false => Step::Max { x: xp, out, len, reduction },
            };
            self.emit(step, &[&x, &view]);
        }
        view
    }

    /// Makes output `i` of a value that is not there yet.
    fn deliver(&mut self, i: usize, id: NodeId) {
        let v = self.ready(id);
        let end = match self.ends[i].take() {
            Some(end) => end,
            None => View::dense(self.buffer(Kind::Int, v.numel(), Home::Output(i)), &v.shape),
        };
        if !v.is(&end) {
            self.copy(&v, end.buf, 0, &end.strides);
        }
    }

    fn finish(mut self) -> Plan<T> {
        for (i, port) in self.program.outputs().iter().enumerate() {
            self.deliver(i, port.node);
        }
        let mut sizes = [0; 2];
        let mut offsets = vec![0; self.bufs.len()];
        for (kind, size) in [Kind::Real, Kind::Int].into_iter().zip(&mut sizes) {
            let used = |b: &Buf| matches!(b.home, Home::Arena) && b.kind == kind && b.first != usize::MAX;
            let ids: Vec<usize> = (0..self.bufs.len()).filter(|&i| used(&self.bufs[i])).collect();
            let spans: Vec<Span> = ids
                .iter()
                .map(|&i| Span { len: self.bufs[i].len, first: self.bufs[i].first, last: self.bufs[i].last })
                .collect();
            let (at, total) = arena::place(&spans);
            ids.iter().zip(at).for_each(|(&i, at)| offsets[i] = at);
            *size = total;
        }
        let locs = (0..self.bufs.len()).map(|b| self.root(b)).map(|b| match self.bufs[b].home {
            Home::Arena | Home::Same(_) => Loc::Arena(offsets[b]),
            Home::Const(at) => Loc::Const(at),
            Home::Input(i) => Loc::Input(i),
            Home::Output(i) => Loc::Output(i),
        });
        let locs: Vec<Loc> = locs.collect();
        let registers = self.steps.iter().map(|s| match s {
            Step::Fused(k) => k.registers,
            Step::Chunked { chunked, .. } => chunked.scratch(),
            _ => 0,
        });
        Plan {
            registers: registers.max().unwrap_or(0),
            locs,
            arena: sizes[0],
            ints: sizes[1],
            consts: Arc::new(self.consts),
            int_consts: Arc::new(self.int_consts),
            steps: self.steps,
            costs: self.costs,
        }
    }
}
