//! Propagation of Taylor coefficients, standard or collapsed, through any program.
//!
//! The coefficient of order `k` of a node is the node's tangent rule applied to the operands' coefficients of order `k`,
//! plus a remainder of lower orders that only products, quotients and smooth elementwise functions have
//! ([`Taylor`]). Collapsed (arXiv:2505.13644, section 3.1): the top order enters linearly, so that its weighted sum over
//! the directions propagates by itself, and the remainder is summed where it arises.

use super::algebra::{Coefficient, add, mul, scale};
use super::recurrence::unary;
use super::tower::{Factors, all_hold_squares, monomials};
use crate::error::Error;
use crate::ops::{BinaryFn, Dot, Op, Taylor, Unary};
use crate::program::{Builder, NodeId, Program};
use crate::types::TensorType;
use smallvec::SmallVec;

/// Scaled coefficients of one node that moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Orders 1, 2, .. per direction, `[R, S]`; missing is zero.
    pub(crate) each: Vec<Coefficient>,
    /// Weighted sum over the directions of the top order, `[S]`, if collapsed.
    pub(crate) top: Coefficient,
}

/// How elementwise functions are expanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expansion {
    /// Towers up to order 6, recurrences above.
    #[default]
    Auto,
    /// Derivative towers with the grouped formula of Faà di Bruno.
    Towers,
    /// Recurrences.
    Recurrences,
}

/// What is propagated.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    pub(crate) order: usize,
    pub(crate) directions: usize,
    pub(crate) collapsed: bool,
    /// `[R]`; missing: all ones.
    pub(crate) weights: Option<NodeId>,
    /// `[R, R]`, symmetric, at collapsed order 2 in the place of weights: `sum_rs F_rs x_r y_s` where they give `sum_r w_r x_r y_r`.
    pub(crate) form: Option<NodeId>,
    pub(crate) expansion: Expansion,
}

impl Mode {
    /// Orders that are kept per direction.
    pub(crate) fn kept(&self) -> usize {
        if self.collapsed { self.order.saturating_sub(1) } else { self.order }
    }

    fn uses_towers(&self) -> bool {
        match self.expansion {
            Expansion::Auto => self.order <= 6,
            Expansion::Towers => true,
            Expansion::Recurrences => false,
        }
    }

    fn is_top(&self, k: usize) -> bool {
        self.collapsed && k == self.order
    }

    /// `x` with a leading axis over the directions.
    pub(crate) fn spread(&self, b: &mut Builder, x: NodeId) -> Result<NodeId, Error> {
        let inner = b.shape(x);
        let shape: Vec<usize> = core::iter::once(self.directions).chain(inner.iter().copied()).collect();
        let axes: Vec<usize> = (1..shape.len()).collect();
        b.broadcast(x, &shape, &axes)
    }

    /// `w_r x_r`, or `sum_s F_rs x_s`.
    fn weigh(&self, b: &mut Builder, x: NodeId) -> Result<NodeId, Error> {
        if let Some(form) = self.form {
            return b.dot(form, x, &[], &[(1, 0)]);
        }
        let Some(w) = self.weights else { return Ok(x) };
        let shape = b.shape(x);
        let w = b.broadcast(w, &shape, &[0])?;
        b.mul(w, x)
    }

    /// `sum_r w_r x_r y_r`, or `sum_rs F_rs x_r y_s`.
    fn paired(&self, b: &mut Builder, x: Coefficient, y: Coefficient) -> Result<Coefficient, Error> {
        let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
        let y = self.weigh(b, y)?;
        let product = b.mul(x, y)?;
        b.sum(product, &[0]).map(Some)
    }

    /// `sum_r w_r x_r`.
    pub(crate) fn weighted_sum(&self, b: &mut Builder, x: Coefficient) -> Result<Coefficient, Error> {
        let Some(x) = x else { return Ok(None) };
        let x = self.weigh(b, x)?;
        b.sum(x, &[0]).map(Some)
    }
}

/// Adds the program to `b` with the series of every node; `seeds` are those of its inputs (`None`: constant).
pub(crate) fn propagate(
    b: &mut Builder,
    program: &Program,
    inputs: &[NodeId],
    seeds: &[Option<Series>],
    mode: &Mode,
) -> Result<(Vec<NodeId>, Vec<Option<Series>>), Error> {
    propagate_from(b, program, inputs, seeds, None, mode)
}

/// The same with the series of one node given.
pub(crate) fn propagate_from(
    b: &mut Builder,
    program: &Program,
    inputs: &[NodeId],
    seeds: &[Option<Series>],
    start: Option<(NodeId, Series)>,
    mode: &Mode,
) -> Result<(Vec<NodeId>, Vec<Option<Series>>), Error> {
    let primal = b.inline(program, inputs)?;
    let mut series: Vec<Option<Series>> = Vec::with_capacity(primal.len());
    for (i, (node, &out)) in program.nodes().iter().zip(&primal).enumerate() {
        if let Some((_, given)) = start.as_ref().filter(|(id, _)| id.index() == i) {
            series.push(Some(given.clone()));
            continue;
        }
        let next = match &node.op {
            Op::Input(input) => seeds.get(input.index).cloned().flatten(),
            op => {
                let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| primal[a.index()]).collect();
                let moving: SmallVec<[Option<&Series>; 3]> =
                    node.args.iter().map(|a| series[a.index()].as_ref()).collect();
                if moving.iter().all(Option::is_none) { None } else { step(b, op, &args, out, &moving, mode)? }
            }
        };
        series.push(next);
    }
    Ok((primal, series))
}

/// The series of one node.
fn step(
    b: &mut Builder,
    op: &Op,
    args: &[NodeId],
    out: NodeId,
    moving: &[Option<&Series>],
    mode: &Mode,
) -> Result<Option<Series>, Error> {
    if !b.ty(out).is_real() {
        return Ok(None);
    }
    if op.taylor() == Taylor::Composite {
        return Err(Error::Malformed(format!("{} was not replaced by its body", op.name())));
    }
    let guarded = match op.taylor() {
        Taylor::Elementwise(f) => guard(b, f, args[0], moving[0])?,
        _ => None,
    };
    let (args, out) = match &guarded {
        Some((x, y)) => (core::slice::from_ref(x), *y),
        None => (args, out),
    };
    if let (Taylor::Elementwise(f), false, Some(x)) = (op.taylor(), mode.uses_towers(), moving[0]) {
        return by_recurrence(b, f, args[0], out, x, mode).map(Some);
    }
    let mut result = Series::default();
    for k in 1..=mode.kept() {
        let tangents: SmallVec<[Coefficient; 3]> =
            moving.iter().map(|s| s.and_then(|s| s.each.get(k - 1).copied().flatten())).collect();
        let linear = directional(b, op, args, out, &tangents, mode.directions)?;
        let rest = remainder(b, op, args, out, moving, &result.each, k, mode)?;
        result.each.push(add(b, linear, rest)?);
    }
    if mode.collapsed && mode.order > 0 {
        let tangents: SmallVec<[Coefficient; 3]> = moving.iter().map(|s| s.and_then(|s| s.top)).collect();
        let linear = if tangents.iter().any(Option::is_some) { op.jvp(b, args, out, &tangents)? } else { None };
        let rest = remainder(b, op, args, out, moving, &result.each, mode.order, mode)?;
        result.top = add(b, linear, rest)?;
    }
    let zero = result.top.is_none() && result.each.iter().all(Option::is_none);
    Ok((!zero).then_some(result))
}

/// The tangent rule over a leading axis of directions.
pub(crate) fn directional(
    b: &mut Builder,
    op: &Op,
    args: &[NodeId],
    out: NodeId,
    tangents: &[Coefficient],
    size: usize,
) -> Result<Coefficient, Error> {
    if tangents.iter().all(Option::is_none) {
        return Ok(None);
    }
    // The rule is written once for one direction in a scratch graph, then replayed with the axis.
    let mut scratch = Builder::new();
    let mut map: Vec<Option<(NodeId, bool)>> = Vec::new();
    let mut stand_in = |scratch: &mut Builder, ty: TensorType, to: (NodeId, bool)| {
        map.resize(scratch.len(), None);
        map.push(Some(to));
        scratch.placeholder(ty)
    };
    let inner: SmallVec<[NodeId; 3]> =
        args.iter().map(|&a| stand_in(&mut scratch, b.ty(a).clone(), (a, false))).collect();
    let value = stand_in(&mut scratch, b.ty(out).clone(), (out, false));
    let moved: SmallVec<[Coefficient; 3]> = args
        .iter()
        .zip(tangents)
        .map(|(&a, t)| t.map(|t| stand_in(&mut scratch, b.ty(a).clone(), (t, true))))
        .collect();
    let Some(result) = op.jvp(&mut scratch, &inner, value, &moved)? else { return Ok(None) };
    map.resize(scratch.len(), None);
    for i in 0..scratch.len() {
        if map[i].is_some() {
            continue;
        }
        let node = scratch.node(NodeId(i as u32));
        let known: Option<SmallVec<[(NodeId, bool); 3]>> = node.args.iter().map(|a| map[a.index()]).collect();
        let Some(known) = known else { return Err(Error::Malformed("a tangent rule refers to a later node".into())) };
        map[i] = Some(node.op.over(b, &known, size)?);
    }
    match map[result.index()] {
        Some((id, true)) => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// What lower orders add to order `k`: per direction, or summed over the directions at a collapsed top.
fn remainder(
    b: &mut Builder,
    op: &Op,
    args: &[NodeId],
    out: NodeId,
    moving: &[Option<&Series>],
    value: &[Coefficient],
    k: usize,
    mode: &Mode,
) -> Result<Coefficient, Error> {
    let each = |i: usize, j: usize| moving[i].and_then(|s| s.each.get(j - 1).copied().flatten());
    match (op.taylor(), op) {
        (Taylor::Linear | Taylor::Composite, _) => Ok(None),
        (Taylor::Elementwise(f), _) => match moving[0] {
            Some(x) => faa_di_bruno(b, f, args[0], out, x, k, mode),
            None => Ok(None),
        },
        (Taylor::Product, Op::Dot(dot)) => {
            let mut sum = None;
            for j in 1..k {
                let term = match (each(0, j), each(1, k - j)) {
                    (Some(x), Some(y)) if mode.is_top(k) => Some(contract_directions(b, dot, x, y, mode)?),
                    (Some(x), Some(y)) => Some(op.batch(b, &[x, y], &[true, true], mode.directions)?),
                    _ => None,
                };
                sum = add(b, sum, term)?;
            }
            Ok(sum)
        }
        (Taylor::Product, _) => {
            if mode.form.is_some() && mode.is_top(k) {
                return mode.paired(b, each(0, 1), each(1, 1));
            }
            let mut sum = None;
            for j in 1..k {
                let term = mul(b, each(0, j), each(1, k - j))?;
                sum = add(b, sum, term)?;
            }
            if mode.is_top(k) { mode.weighted_sum(b, sum) } else { Ok(sum) }
        }
        (Taylor::Quotient, _) => {
            let mut sum = None;
            if mode.form.is_some() && mode.is_top(k) {
                sum = mode.paired(b, each(1, 1), value[0])?;
            } else {
                for j in 1..k {
                    let term = mul(b, each(1, j), value[k - j - 1])?;
                    sum = add(b, sum, term)?;
                }
                if mode.is_top(k) {
                    sum = mode.weighted_sum(b, sum)?;
                }
            }
            let Some(sum) = sum else { return Ok(None) };
            let below = if mode.is_top(k) { args[1] } else { mode.spread(b, args[1])? };
            let share = b.div(sum, below)?;
            b.neg(share).map(Some)
        }
    }
}

/// `sum_r w_r B(x_r, y_r)` as one contraction that runs over the directions too.
fn contract_directions(b: &mut Builder, dot: &Dot, x: NodeId, y: NodeId, mode: &Mode) -> Result<NodeId, Error> {
    let smaller_left = b.ty(x).numel() <= b.ty(y).numel();
    let (x, y) = if smaller_left { (mode.weigh(b, x)?, y) } else { (x, mode.weigh(b, y)?) };
    dot.with_leading_contracted(b, x, y)
}

fn faa_di_bruno(
    b: &mut Builder,
    f: Unary,
    x: NodeId,
    y: NodeId,
    series: &Series,
    k: usize,
    mode: &Mode,
) -> Result<Coefficient, Error> {
    let mut sum = None;
    if mode.form.is_some() && mode.is_top(k) {
        let first = series.each.first().copied().flatten();
        let square = mode.paired(b, first, first)?;
        let derivative = f.derivative(b, x, y, 2)?;
        let term = mul(b, Some(derivative), square)?;
        return scale(b, term, 0.5);
    }
    // The weights go into the square that the higher monomials are made of: once, not into each of them.
    let first = series.each.first().copied().flatten();
    let weighted = mode.is_top(k) && mode.weights.is_some() && k > 2;
    let square = if weighted { mul(b, first, first)?.map(|s| mode.weigh(b, s)).transpose()? } else { None };
    for q in 2..=k {
        let square = square.filter(|_| all_hold_squares(k, q));
        let Some((factor, monomials)) = monomials(b, &Factors { u: &series.each, square }, k, q)? else { continue };
        let derivative = f.derivative(b, x, y, q as u32)?;
        if b.splat(derivative) == Some(0.0) {
            continue;
        }
        let derivative = b.scale(derivative, factor)?;
        let term = if mode.is_top(k) {
            let summed = match square {
                Some(_) => b.sum(monomials, &[0]).map(Some)?,
                None => mode.weighted_sum(b, Some(monomials))?,
            };
            mul(b, Some(derivative), summed)?
        } else {
            let derivative = mode.spread(b, derivative)?;
            mul(b, Some(derivative), Some(monomials))?
        };
        sum = add(b, sum, term)?;
    }
    Ok(sum)
}

fn by_recurrence(
    b: &mut Builder,
    f: Unary,
    x: NodeId,
    y: NodeId,
    series: &Series,
    mode: &Mode,
) -> Result<Series, Error> {
    let mut u = vec![Some(mode.spread(b, x)?)];
    u.extend(series.each.iter().copied());
    u.resize(mode.order + 1, None);
    let all = unary(b, f, &u, mode.order)?;
    let mut result = Series { each: all.iter().skip(1).take(mode.kept()).copied().collect(), top: None };
    result.each.resize(mode.kept(), None);
    if mode.collapsed {
        let rest = mode.weighted_sum(b, all.get(mode.order).copied().flatten())?;
        let linear = match series.top {
            Some(top) => {
                let slope = f.derivative(b, x, y, 1)?;
                Some(b.mul(slope, top)?)
            }
            None => None,
        };
        result.top = add(b, linear, rest)?;
    }
    Ok(result)
}

/// A root at zero whose argument does not move there stays where it is: such elements are expanded about one, where
/// every derivative is finite, so that zero times infinity does not arise. Returns the point and the value there.
fn guard(b: &mut Builder, f: Unary, x: NodeId, series: Option<&Series>) -> Result<Option<(NodeId, NodeId)>, Error> {
    let root = match f {
        Unary::Sqrt => true,
        Unary::Powf(p) => p.get() > 0.0 && p.get().fract() != 0.0,
        _ => false,
    };
    let (true, Some(series)) = (root, series) else { return Ok(None) };
    let mut size = series.top.map(|t| b.unary(Unary::Abs, t)).transpose()?;
    for &c in series.each.iter().flatten() {
        let c = b.unary(Unary::Abs, c)?;
        let c = b.sum(c, &[0])?;
        size = add(b, size, Some(c))?;
    }
    let Some(size) = size else { return Ok(None) };
    let zero = b.zeros_like(x)?;
    let still = b.binary(BinaryFn::Equal, size, zero)?;
    let at_zero = b.binary(BinaryFn::Equal, x, zero)?;
    let mask = b.mul(still, at_zero)?;
    let one = b.full(&b.shape(x), 1.0)?;
    let point = b.select(mask, one, x)?;
    let value = b.unary(f, point)?;
    Ok(Some((point, value)))
}
