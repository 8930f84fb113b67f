//! Streams: what every parameter meets, and what comes back to it, while a program moves along Taylor curves.
//!
//! A linear layer multiplies its value, the derivatives along each direction and the collapsed sum by one matrix. These vectors are its
//! *streams*: a layer shares its weights along them as it does along the data, so that the parameter's gradient is the sum over data and
//! streams of cotangent times operand. This is what Kronecker factors of losses of differential equations (arXiv:2405.15603) and
//! per-datum Jacobians of residuals (arXiv:2505.12149) are made of. Streams are derivatives, not Taylor coefficients: order `k` is
//! `k!` times its coefficient, and its cotangent the coefficient's divided by `k!`.
//!
//! Not every way to an operator has streams. Nested derivatives go through a weight forwards and backwards: what meets the parameter is no
//! derivative of the layer's value. The nested biharmonic's vectors are pairs, a stream of the inner operator along a stream of the outer, and the
//! direct scheme's are sums over pairs of coordinates; neither is one of a family of directions, which is what streams are labelled and shared by.
//! Per-datum gradients do not depend on the way, so that Taylor mode's streams (of [`Scheme::Symmetric`](super::Scheme::Symmetric) for the biharmonic)
//! serve for these operators too; and [`Program::taps`](crate::Program::taps) of the program that [`Pde::build`] returns puts a tap on every product of any way.
//! A convolution's windows slide over each stream by themselves, with the directions as one more axis of what they slide over, which
//! [`Use::unfold`] has no place for: operands are given as windows.
//!
//! The parameters are tapped first, then the tapped program is propagated with the taps as inputs that move.

use super::build::{Maker, Pde};
use super::points::{Points, Strategy};
use crate::error::Error;
use crate::jet::{Mode, Series, factorial};
use crate::ops::Op;
use crate::program::{Builder, NodeId};
use crate::transform::{Kind, Leaf, Taps, Use, declare_inputs};
use crate::types::TensorType;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// One of the vectors that a datum brings through a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The layer's value. Biases and shifts act on it alone.
    Value,
    /// The derivative of this order along a direction.
    Derivative {
        /// Families of directions are counted as they occur; operators that use the same directions share one.
        family: usize,
        /// At least 1.
        order: usize,
        /// Which of the family's directions.
        direction: usize,
    },
    /// The weighted sum of derivatives of this order over the directions, with the drift's first derivative: collapsed.
    Sum {
        /// At least 1.
        order: usize,
    },
}

/// Operators with a tap on every use of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Streams {
    /// Like [`Program::taps`](crate::Program::taps) of the operators' program, but for each use of a parameter in the model, with the streams as its last
    /// position: taps are `positions ++ [streams] ++ groups ++ outputs`, other operands `positions ++ [streams] ++ groups ++ inputs`.
    /// Uses that act on the value alone are windowed to stream 0. Convolutions come without [`Use::unfold`].
    pub taps: Taps,
    /// What the streams are; the first is the value.
    pub streams: Vec<Stream>,
}

/// The streams of one order and family, or of one sum.
struct Block {
    streams: Vec<Stream>,
    /// Directions and order; sums have none.
    key: Option<(NodeId, usize)>,
    /// Derivatives per scaled coefficient.
    factor: f64,
    /// Per tap: the derivatives, which are inputs, and the coefficients made of them.
    inputs: Vec<NodeId>,
    seeds: Vec<NodeId>,
    /// Per further output of the tapped program: its coefficient.
    operands: Vec<Option<NodeId>>,
}

/// Gives moving taps to every propagation of a program, and keeps the coefficients of the other operands.
pub(super) struct Recorder<'a> {
    taps: &'a Taps,
    blocks: RefCell<Vec<Block>>,
}

impl Recorder<'_> {
    /// Gives series to the taps: one block per order, one for the sum. Returns the blocks, by order.
    pub(super) fn open(
        &self,
        b: &mut Builder,
        mode: &Mode,
        vectors: Option<NodeId>,
        scale: f64,
        seeds: &mut [Option<Series>],
    ) -> Result<Vec<Option<usize>>, Error> {
        let mut opened = Vec::new();
        for order in 1..=mode.kept() {
            opened.push(match vectors {
                Some(v) if mode.directions > 0 => Some(self.derivatives(b, mode.directions, v, order)?),
                _ => None,
            });
        }
        if mode.collapsed && mode.order > 0 {
            let streams = vec![Stream::Sum { order: mode.order }];
            let factor = scale * factorial(mode.order);
            opened.push(Some(self.block(b, streams, None, if factor == 0.0 { 1.0 } else { factor })?));
        }
        let blocks = self.blocks.borrow();
        for t in 0..self.taps.len() {
            let seed = |k: &Option<usize>| k.map(|k| blocks[k].seeds[t]);
            let mut each: Vec<Option<NodeId>> = opened.iter().map(seed).collect();
            let top = if each.len() > mode.kept() { each.pop().flatten() } else { None };
            seeds[self.taps.inputs + t] = Some(Series { each, top });
        }
        Ok(opened)
    }

    /// Keeps what a propagation found.
    pub(super) fn close(&self, opened: &[Option<usize>], mode: &Mode, series: &[Option<Series>]) {
        let mut blocks = self.blocks.borrow_mut();
        for (k, block) in opened.iter().enumerate().filter_map(|(k, block)| Some((k, (*block)?))) {
            let coefficient = |s: &Series| if k < mode.kept() { s.each.get(k).copied().flatten() } else { s.top };
            let outputs = self.taps.program.outputs()[self.taps.outputs..].iter();
            blocks[block].operands = outputs.map(|p| series[p.node.index()].as_ref().and_then(coefficient)).collect();
        }
    }

    /// The block of an order of a family, which is made once.
    fn derivatives(&self, b: &mut Builder, directions: usize, vectors: NodeId, order: usize) -> Result<usize, Error> {
        let known = |key: (NodeId, usize)| self.blocks.borrow().iter().position(|block| block.key == Some(key));
        if let Some(at) = known((vectors, order)) {
            return Ok(at);
        }
        let family = {
            let blocks = self.blocks.borrow();
            let mut families: Vec<NodeId> = Vec::new();
            for v in blocks.iter().filter_map(|block| block.key).map(|key| key.0).chain([vectors]) {
                if !families.contains(&v) {
                    families.push(v);
                }
            }
            families.iter().position(|&v| v == vectors).unwrap_or(0)
        };
        let streams = (0..directions).map(|direction| Stream::Derivative { family, order, direction }).collect();
        self.block(b, streams, Some((vectors, order)), factorial(order))
    }

    fn block(
        &self,
        b: &mut Builder,
        streams: Vec<Stream>,
        key: Option<(NodeId, usize)>,
        factor: f64,
    ) -> Result<usize, Error> {
        let at = self.blocks.borrow().len();
        let (mut inputs, mut seeds) = (Vec::new(), Vec::new());
        for (t, input) in self.taps.taps().into_iter().enumerate() {
            let shape = &self.taps.program.input_type(input).shape;
            let axis = key.map(|_| streams.len());
            let shape: Vec<usize> = axis.into_iter().chain(shape.iter().copied()).collect();
            let x = b.input(format!("tap.{t}.{at}"), TensorType::real(&shape));
            inputs.push(x);
            seeds.push(b.scale(x, 1.0 / factor)?);
        }
        self.blocks.borrow_mut().push(Block { streams, key, factor, inputs, seeds, operands: Vec::new() });
        Ok(at)
    }
}

impl Pde<'_> {
    /// The operators with a tap on every use of `params`, for all streams of collapsed (or standard) Taylor mode.
    ///
    /// ```
    /// use autodiff::pde::{Operator, Pde, Stream};
    /// use autodiff::{Leaf, TensorType, trace};
    /// let ports = [("w", TensorType::real(&[4, 3])), ("b", TensorType::real(&[4])), ("x", TensorType::real(&[5, 3]))];
    /// let f = trace(&ports, |_, t| vec![("f", (t[2].matmul(&t[0].t()) + &t[1]).tanh().sum(&[1]))])?;
    /// let pde = Pde::new(&f, 2).operator("value", Operator::Value).operator("laplacian", Operator::Laplacian);
    /// let streams = pde.streams(&[Leaf::input(&f, 0)?, Leaf::input(&f, 1)?])?;
    /// // The value, three first derivatives, their sum of second ones.
    /// assert_eq!((streams.streams.len(), streams.streams[4]), (5, Stream::Sum { order: 2 }));
    /// let (weight, bias) = (&streams.taps.uses[0], &streams.taps.uses[1]);
    /// assert_eq!((&weight.positions[..], &bias.windowed[1]), (&[5, 5][..], &(0..1)));
    /// // Operands and cotangents of the weight: [points, streams, 3] and [points, streams, 4].
    /// let backward = streams.taps.backward()?;
    /// assert_eq!(backward.output_type(weight.input.unwrap()).shape.as_slice(), [5, 5, 3]);
    /// assert_eq!(backward.output_type(backward.output_index("tap.0")?).shape.as_slice(), [5, 5, 4]);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`build`](Self::build) and of [`Program::taps`](crate::Program::taps); nested derivatives and schemes of the biharmonic that do not move along
    /// directions, which have no streams; points among the parameters.
    pub fn streams(&self, params: &[Leaf]) -> Result<Streams, Error> {
        let none = |why: &str| Err(Error::unsupported("pde", "taps", why));
        let strategy = match self.strategy {
            Strategy::Auto => Strategy::Collapsed,
            Strategy::Nested => return none("nested derivatives have no streams; use Taylor mode"),
            other => other,
        };
        if params.iter().any(|leaf| leaf.input == self.x) {
            return none("the points cannot be a parameter");
        }
        let taps = self.program.inline()?.taps(params)?;
        let recorder = Recorder { taps: &taps, blocks: RefCell::default() };
        let points = Points { recorder: Some(&recorder), ..Points::new(&taps.program, self.x)? };
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, &taps.program);
        let vectors = Cell::new(0);
        let mut outputs = Vec::with_capacity(self.operators.len());
        for (name, operator) in &self.operators {
            let maker = Maker { points, inputs: &inputs, strategy, reverse: false, name, vectors: &vectors };
            outputs.push((name.clone(), maker.make(&mut b, operator)?));
        }
        let primal = b.inline(&taps.program, &inputs)?;
        let values = taps.program.outputs()[taps.outputs..].iter().map(|p| primal[p.node.index()]).collect();
        let blocks = recorder.blocks.into_inner();
        Parts { taps: &taps, own: outputs.len(), values, blocks }.stack(b, outputs)
    }
}

/// A program with separate taps and operands for each block.
struct Parts<'a> {
    taps: &'a Taps,
    /// Number of operators.
    own: usize,
    /// The further outputs of the tapped program.
    values: Vec<NodeId>,
    blocks: Vec<Block>,
}

impl Parts<'_> {
    fn count(&self) -> usize {
        1 + self.blocks.iter().map(|block| block.streams.len()).sum::<usize>()
    }

    /// Joins the streams of every tap and of every operand.
    fn stack(&self, mut b: Builder, mut outputs: Vec<(String, NodeId)>) -> Result<Streams, Error> {
        outputs.extend(self.values.iter().map(|&v| ("value".into(), v)));
        let mut tapped: Vec<Vec<usize>> = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let index = |id: &NodeId| match &b.node(*id).op {
                Op::Input(input) => Ok(input.index),
                _ => Err(Error::Malformed("a tap is not an input".into())),
            };
            tapped.push(block.inputs.iter().map(index).collect::<Result<_, _>>()?);
            for (k, &value) in self.values.iter().enumerate() {
                let x = match block.operands.get(k).copied().flatten() {
                    Some(x) => b.scale(x, block.factor)?,
                    None if !b.ty(value).is_real() => value,
                    None => {
                        let shape = b.shape(value);
                        let axis = block.key.map(|_| block.streams.len());
                        let shape: Vec<usize> = axis.into_iter().chain(shape.iter().copied()).collect();
                        b.full(&shape, 0.0)?
                    }
                };
                outputs.push(("operand".into(), x));
            }
        }
        let apart = b.finish(outputs);
        let mut c = Builder::new();
        let mut given: Vec<Option<NodeId>> = vec![None; apart.inputs().len()];
        let taps: Vec<usize> = self.taps.taps().into_iter().chain(tapped.iter().flatten().copied()).collect();
        for (i, slot) in given.iter_mut().enumerate().filter(|(i, _)| !taps.contains(i)) {
            *slot = Some(c.input(apart.inputs()[i].name.clone(), apart.input_type(i).clone()));
        }
        let inputs = given.iter().flatten().count();
        for t in 0..self.taps.len() {
            self.split(&mut c, t, &tapped, &mut given)?;
        }
        let given: Option<Vec<NodeId>> = given.into_iter().collect();
        let given = given.ok_or_else(|| Error::Malformed("a tap was left out".into()))?;
        let map = c.inline(&apart, &given)?;
        let made: Vec<NodeId> = apart.outputs().iter().map(|p| map[p.node.index()]).collect();
        let mut outputs: Vec<(String, NodeId)> =
            apart.outputs()[..self.own].iter().zip(&made).map(|(p, &id)| (p.name.clone(), id)).collect();
        let uses = self.uses(&mut c, &made[self.own..], &mut outputs)?;
        let streams = core::iter::once(Stream::Value).chain(self.blocks.iter().flat_map(|b| b.streams.clone()));
        let program = c.finish(outputs).simplify()?;
        Ok(Streams { taps: Taps { program, uses, inputs, outputs: self.own }, streams: streams.collect() })
    }

    /// Declares the taps of all streams as one input, and takes it apart.
    fn split(
        &self,
        c: &mut Builder,
        t: usize,
        tapped: &[Vec<usize>],
        given: &mut [Option<NodeId>],
    ) -> Result<(), Error> {
        let shape = self.taps.program.input_type(self.taps.inputs + t).shape.clone();
        let at = self.taps.uses.iter().find(|u| u.tap == t).map_or(0, |u| u.positions.len());
        let mut whole = shape.to_vec();
        whole.insert(at, self.count());
        let whole = c.input(format!("tap.{t}"), TensorType::real(&whole));
        let value = c.slice_axis(whole, at, 0, 1)?;
        given[self.taps.inputs + t] = Some(c.reshape(value, &shape)?);
        let mut from = 1;
        for (block, inputs) in self.blocks.iter().zip(tapped) {
            let part = c.slice_axis(whole, at, from, from + block.streams.len())?;
            from += block.streams.len();
            given[inputs[t]] = Some(match block.key {
                Some(_) => c.move_axis(part, at, 0)?,
                None => c.reshape(part, &shape)?,
            });
        }
        Ok(())
    }

    /// The uses with their streams, whose operands become outputs.
    fn uses(&self, c: &mut Builder, made: &[NodeId], outputs: &mut Vec<(String, NodeId)>) -> Result<Vec<Use>, Error> {
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        let mut uses = Vec::with_capacity(self.taps.uses.len());
        for u in &self.taps.uses {
            let at = u.positions.len();
            let mut u = Use { unfold: Vec::new(), source: None, ..u.clone() };
            u.positions.push(self.count());
            // Shifts do not move, and neither do integers.
            u.windowed.push(if matches!(u.kind, Kind::Shift | Kind::Lookup) { 0..1 } else { 0..self.count() });
            if let Some(old) = u.input {
                let k = old - self.taps.outputs;
                u.input = Some(match known.entry((k, at)) {
                    Entry::Occupied(e) => *e.get(),
                    Entry::Vacant(e) => {
                        let x = self.joined(c, made, k, at)?;
                        outputs.push((format!("in.{}", outputs.len() - self.own), x));
                        *e.insert(outputs.len() - 1)
                    }
                });
            }
            uses.push(u);
        }
        Ok(uses)
    }

    /// All streams of operand `k`, with their axis at `at`.
    fn joined(&self, c: &mut Builder, made: &[NodeId], k: usize, at: usize) -> Result<NodeId, Error> {
        let (value, count) = (made[k], self.values.len());
        let shape = c.shape(value);
        let mut one = shape.to_vec();
        one.insert(at, 1);
        if !c.ty(value).is_real() {
            one[at] = self.count();
            let axes: Vec<usize> = (0..one.len()).filter(|&a| a != at).collect();
            return c.broadcast(value, &one, &axes);
        }
        let mut parts = vec![c.reshape(value, &one)?];
        for (i, block) in self.blocks.iter().enumerate() {
            let x = made[(i + 1) * count + k];
            parts.push(match block.key {
                Some(_) => c.move_axis(x, 0, at)?,
                None => c.reshape(x, &one)?,
            });
        }
        c.concat(&parts, at)
    }
}
