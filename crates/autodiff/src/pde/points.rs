//! A program at points: which input moves, and sums of directional derivatives by each strategy.

use super::family::Family;
use super::streams::Recorder;
use crate::error::Error;
use crate::jet::{Mode, Series, factorial, propagate};
use crate::program::{Builder, NodeId, Program};
use crate::transform::declare_inputs;
use crate::types::{Dims, TensorType};

/// How derivatives of order two and above are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// What a model of the finished program's time (operations, numbers moved) finds cheapest: collapsed Taylor mode with the
    /// direct scheme for the biharmonic, or nested derivatives; gradients that nothing else shares by reverse mode where there are
    /// fewer components than coordinates.
    #[default]
    Auto,
    /// Nested first-order derivatives: forward over reverse at order two.
    Nested,
    /// Standard Taylor mode, summed at the end.
    Taylor,
    /// Collapsed Taylor mode.
    Collapsed,
}

/// A program whose input `x` `[.., D]` holds points: its last axis is space, the axes before it run over data.
#[derive(Clone, Copy)]
pub(crate) struct Points<'a> {
    pub(crate) program: &'a Program,
    pub(crate) x: usize,
    /// Where the taps of a tapped program take part in every propagation.
    pub(super) recorder: Option<&'a Recorder<'a>>,
}

/// `scale * sum_r w_r d^K f[v_r^K] (+ drift . grad f)`.
pub(crate) struct Sum {
    pub(crate) order: usize,
    pub(crate) directions: usize,
    /// `[R]` + shape of `x`.
    pub(crate) vectors: NodeId,
    /// `[R]`; missing: ones.
    pub(crate) weights: Option<NodeId>,
    pub(crate) scale: f64,
    /// Shape of `x`.
    pub(crate) drift: Option<NodeId>,
}

impl Sum {
    /// Vectors per datum in a hidden linear layer.
    pub(crate) fn vectors_of(&self, strategy: Strategy) -> usize {
        let (k, r) = (self.order, self.directions);
        let drift = if self.drift.is_some() { 2 } else { 0 };
        match strategy {
            Strategy::Collapsed | Strategy::Auto => 2 + (k - 1) * r,
            Strategy::Taylor => 1 + k * r + drift,
            Strategy::Nested if k == 2 => 2 * (1 + r) + drift,
            Strategy::Nested => (1 << k.min(30)) * r + drift,
        }
    }
}

impl<'a> Points<'a> {
    pub(crate) fn new(program: &'a Program, x: usize) -> Result<Self, Error> {
        let known = || program.inputs().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        if x >= program.inputs().len() {
            return Err(Error::UnknownName { what: "input of points", name: format!("#{x}"), known: known() });
        }
        let wrong = |why: &str| Error::unsupported("pde", "derivative", why);
        let ty = program.input_type(x);
        if !ty.is_real() {
            return Err(wrong("integer inputs have no derivatives"));
        }
        match ty.shape.last() {
            None => return Err(wrong("the points need a last axis over the coordinates")),
            Some(0) => return Err(wrong("the points have no coordinates (D = 0)")),
            Some(_) => {}
        }
        if program.outputs().is_empty() || !program.output_type(0).is_real() {
            return Err(wrong("output 0 must be real"));
        }
        let points = Points { program, x, recorder: None };
        let out = &program.output_type(0).shape;
        if out.len() < points.lead().len() || out[..points.lead().len()] != *points.lead() {
            return Err(wrong("the output must start with the data axes of the points"));
        }
        Ok(points)
    }

    pub(crate) fn shape(&self) -> &Dims {
        &self.program.input_type(self.x).shape
    }

    /// Number of coordinates.
    pub(crate) fn dim(&self) -> usize {
        self.shape().last().copied().unwrap_or(0)
    }

    /// Axes over data.
    pub(crate) fn lead(&self) -> &[usize] {
        let shape = self.shape();
        &shape[..shape.len() - 1]
    }

    /// Axes of one datum's output.
    pub(crate) fn components(&self) -> &[usize] {
        &self.program.output_type(0).shape[self.lead().len()..]
    }

    /// Constant directions at every point.
    pub(crate) fn spread(&self, b: &mut Builder, directions: &[Vec<f64>]) -> Result<NodeId, Error> {
        let (r, d) = (directions.len(), self.dim());
        let flat: Vec<f64> = directions.iter().flatten().copied().collect();
        let v = b.real_const(&[r, d], flat)?;
        self.spread_node(b, v)
    }

    /// `[R, D]` to `[R, .., D]`.
    pub(crate) fn spread_node(&self, b: &mut Builder, v: NodeId) -> Result<NodeId, Error> {
        let r = b.shape(v)[0];
        let shape: Vec<usize> = core::iter::once(r).chain(self.shape().iter().copied()).collect();
        b.broadcast(v, &shape, &[0, shape.len() - 1])
    }

    /// A constant family as a sum; equal weights become a factor.
    pub(crate) fn family(&self, b: &mut Builder, family: &Family, scale: f64) -> Result<Sum, Error> {
        let vectors = self.spread(b, &family.directions)?;
        let first = family.weights.first().copied().unwrap_or(1.0);
        let uniform = family.weights.iter().all(|&w| w == first);
        let weights = if uniform { None } else { Some(b.real_const(&[family.len()], family.weights.clone())?) };
        let scale = if uniform { scale * first } else { scale };
        Ok(Sum { order: family.order, directions: family.len(), vectors, weights, scale, drift: None })
    }

    /// First derivatives along `vectors` `[R, ..]`: `[R]` + shape of the output.
    pub(crate) fn firsts(&self, b: &mut Builder, inputs: &[NodeId], vectors: NodeId) -> Result<NodeId, Error> {
        let directions = b.shape(vectors)[0];
        let mode = self.mode(1, directions, false, None);
        let seed = Series { each: vec![Some(vectors)], top: None };
        let (primal, series) = self.propagate(b, inputs, seed, &mode, Some(vectors), 1.0)?;
        let at = self.program.outputs()[0].node.index();
        match series[at].as_ref().and_then(|s| s.each.first().copied().flatten()) {
            Some(y) => Ok(y),
            None => {
                let zero = b.zeros_like(primal[at])?;
                mode.spread(b, zero)
            }
        }
    }

    fn mode(&self, order: usize, directions: usize, collapsed: bool, weights: Option<NodeId>) -> Mode {
        Mode { order, directions, collapsed, weights, expansion: Default::default() }
    }

    /// The program with the series of its nodes, of which the points have this one.
    fn propagate(
        &self,
        b: &mut Builder,
        inputs: &[NodeId],
        seed: Series,
        mode: &Mode,
        vectors: Option<NodeId>,
        scale: f64,
    ) -> Result<(Vec<NodeId>, Vec<Option<Series>>), Error> {
        let mut seeds = vec![None; self.program.inputs().len()];
        seeds[self.x] = Some(seed);
        let opened = match self.recorder {
            Some(recorder) => recorder.open(b, mode, vectors, scale, &mut seeds)?,
            None => Vec::new(),
        };
        let (primal, series) = propagate(b, self.program, inputs, &seeds, mode)?;
        if let Some(recorder) = self.recorder {
            recorder.close(&opened, mode, &series);
        }
        Ok((primal, series))
    }

    /// The sum by a strategy ([`Strategy::Auto`] is collapsed here): shape of the output.
    pub(crate) fn sum(
        &self,
        b: &mut Builder,
        inputs: &[NodeId],
        sum: &Sum,
        strategy: Strategy,
    ) -> Result<NodeId, Error> {
        match strategy {
            Strategy::Collapsed | Strategy::Auto => self.collapsed(b, inputs, sum),
            Strategy::Taylor => {
                let main = self.standard(b, inputs, sum)?;
                self.with_drift(b, inputs, sum, main)
            }
            Strategy::Nested => {
                let main = if sum.order == 2 {
                    self.hessian_forms(b, inputs, sum)?
                } else {
                    self.nested_forward(b, inputs, sum)?
                };
                self.with_drift(b, inputs, sum, main)
            }
        }
    }

    fn collapsed(&self, b: &mut Builder, inputs: &[NodeId], sum: &Sum) -> Result<NodeId, Error> {
        let mode = self.mode(sum.order, sum.directions, true, sum.weights);
        let factor = sum.scale * factorial(sum.order);
        let mut top = sum.drift.map(|d| b.scale(d, 1.0 / factor)).transpose()?;
        let mut each = vec![None; mode.kept()];
        match each.first_mut() {
            Some(first) => *first = Some(sum.vectors),
            None => {
                let vectors = mode.weighted_sum(b, Some(sum.vectors))?;
                top = match (top, vectors) {
                    (Some(t), Some(v)) => Some(b.add(t, v)?),
                    (t, v) => t.or(v),
                };
            }
        }
        let (primal, series) = self.propagate(b, inputs, Series { each, top }, &mode, Some(sum.vectors), sum.scale)?;
        let at = self.program.outputs()[0].node.index();
        match series[at].as_ref().and_then(|s| s.top) {
            Some(y) => b.scale(y, factor),
            None => b.zeros_like(primal[at]),
        }
    }

    fn standard(&self, b: &mut Builder, inputs: &[NodeId], sum: &Sum) -> Result<NodeId, Error> {
        let mode = self.mode(sum.order, sum.directions, false, sum.weights);
        let mut each = vec![None; sum.order];
        each[0] = Some(sum.vectors);
        let seed = Series { each, top: None };
        let (primal, series) = self.propagate(b, inputs, seed, &mode, Some(sum.vectors), 1.0)?;
        let at = self.program.outputs()[0].node.index();
        let top = series[at].as_ref().and_then(|s| s.each.get(sum.order - 1).copied().flatten());
        match mode.weighted_sum(b, top)? {
            Some(y) => b.scale(y, sum.scale * factorial(sum.order)),
            None => b.zeros_like(primal[at]),
        }
    }

    fn with_drift(&self, b: &mut Builder, inputs: &[NodeId], sum: &Sum, main: NodeId) -> Result<NodeId, Error> {
        match sum.drift {
            Some(drift) => {
                let first = self.first_order(b, inputs, drift)?;
                b.add(main, first)
            }
            None => Ok(main),
        }
    }

    /// `drift . grad f`.
    pub(crate) fn first_order(&self, b: &mut Builder, inputs: &[NodeId], drift: NodeId) -> Result<NodeId, Error> {
        let mode = self.mode(1, 0, true, None);
        let seed = Series { each: Vec::new(), top: Some(drift) };
        let (primal, series) = self.propagate(b, inputs, seed, &mode, None, 1.0)?;
        let at = self.program.outputs()[0].node.index();
        series[at].as_ref().and_then(|s| s.top).map_or_else(|| b.zeros_like(primal[at]), Ok)
    }

    /// One for component `c`, zero for the others, at every point.
    fn unit_cotangent(&self, b: &mut Builder, c: usize) -> Result<NodeId, Error> {
        let (lead, rest) = (self.lead(), self.components());
        let count: usize = rest.iter().product();
        let unit: Vec<f64> = (0..count).map(|i| f64::from(u8::from(i == c))).collect();
        let unit = b.real_const(rest, unit)?;
        let shape: Vec<usize> = lead.iter().chain(rest).copied().collect();
        let axes: Vec<usize> = (lead.len()..shape.len()).collect();
        b.broadcast(unit, &shape, &axes)
    }

    /// All first derivatives by reverse mode, component by component: shape of the output with a last axis over the coordinates.
    pub(crate) fn cotangents(&self, b: &mut Builder, inputs: &[NodeId]) -> Result<NodeId, Error> {
        let (lead, rest) = (self.lead().to_vec(), self.components().to_vec());
        let gradient = self.program.select_outputs(&[0])?.vjp(&[self.x])?.select_outputs(&[1])?;
        let at = gradient.outputs()[0].node.index();
        let one: Vec<usize> = lead.iter().copied().chain([1, self.dim()]).collect();
        let mut parts = Vec::new();
        for c in 0..rest.iter().product() {
            let mut args = inputs.to_vec();
            args.push(self.unit_cotangent(b, c)?);
            let map = b.inline(&gradient, &args)?;
            parts.push(b.reshape(map[at], &one)?);
        }
        let shape: Vec<usize> = lead.iter().chain(&rest).copied().chain([self.dim()]).collect();
        let joined = match parts[..] {
            [] => b.full(&shape, 0.0)?,
            _ => b.concat(&parts, lead.len())?,
        };
        b.reshape(joined, &shape)
    }

    /// `sum_r w_r v_r^T H v_r` per datum, the Hessian's products by forward over reverse mode.
    fn hessian_forms(&self, b: &mut Builder, inputs: &[NodeId], sum: &Sum) -> Result<NodeId, Error> {
        let (lead, rest) = (self.lead().to_vec(), self.components().to_vec());
        let count: usize = rest.iter().product();
        let first = self.program.select_outputs(&[0])?;
        let gradient = first.vjp(&[self.x])?.select_outputs(&[1])?;
        let product = gradient.jvp(&[self.x])?.select_outputs(&[1])?;
        let n = self.program.inputs().len();
        let mut axes = vec![None; n + 2];
        axes[n + 1] = Some(0);
        let products = product.vmap(sum.directions, &axes)?;
        let mode = self.mode(2, sum.directions, false, sum.weights);
        let mut parts = Vec::with_capacity(count);
        for c in 0..count {
            let mut args = inputs.to_vec();
            args.extend([self.unit_cotangent(b, c)?, sum.vectors]);
            let map = b.inline(&products, &args)?;
            let hv = map[products.outputs()[0].node.index()];
            let form = b.mul(hv, sum.vectors)?;
            let form = b.sum(form, &[lead.len() + 1])?;
            let form =
                mode.weighted_sum(b, Some(form))?.map_or_else(|| Err(Error::Malformed("an empty sum".into())), Ok)?;
            let column: Vec<usize> = lead.iter().copied().chain([1]).collect();
            parts.push(b.reshape(form, &column)?);
        }
        let shape: Vec<usize> = lead.iter().chain(&rest).copied().collect();
        let joined = match parts[..] {
            [] => b.full(&shape, 0.0)?,
            _ => b.concat(&parts, lead.len())?,
        };
        let joined = b.reshape(joined, &shape)?;
        b.scale(joined, sum.scale)
    }

    /// `K` forward derivatives, one inside the other.
    fn nested_forward(&self, b: &mut Builder, inputs: &[NodeId], sum: &Sum) -> Result<NodeId, Error> {
        let n = self.program.inputs().len();
        let mut current = self.program.select_outputs(&[0])?;
        for k in 0..sum.order {
            let moved = current.jvp(&[self.x])?;
            let mut inner = Builder::new();
            let mut args = declare_inputs(&mut inner, self.program);
            args.push(inner.input("v", TensorType::real(self.shape())));
            if k > 0 {
                args.push(args[n]);
            }
            let map = inner.inline(&moved, &args)?;
            let tangent = map[moved.outputs()[1].node.index()];
            current = inner.finish(vec![("d".into(), tangent)]);
        }
        let mut axes = vec![None; n + 1];
        axes[n] = Some(0);
        let all = current.vmap(sum.directions, &axes)?;
        let mut args = inputs.to_vec();
        args.push(sum.vectors);
        let map = b.inline(&all, &args)?;
        let mode = self.mode(sum.order, sum.directions, false, sum.weights);
        match mode.weighted_sum(b, Some(map[all.outputs()[0].node.index()]))? {
            Some(y) => b.scale(y, sum.scale),
            None => Err(Error::Malformed("an empty sum".into())),
        }
    }
}
