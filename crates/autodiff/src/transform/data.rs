//! The data axis: which axis of every value carries the index of the datum.
//!
//! Where each datum's values depend on that datum only, data may be cut into chunks, weighted, sampled and
//! differentiated one by one. Every primitive states its rule; one that mixes data (statistics of a batch, a reshape
//! across the axis, a sum before the loss) is an error that names it. Sums over the data may pass through linear
//! operations only, so that the sums of chunks add up. Cost: one walk, nothing is evaluated.

use crate::error::Error;
use crate::ops::{Broadcast, Call, Data, Op, Reshape, Shared, Slice};
use crate::program::{Builder, NodeId, Program, Rule};
use crate::types::TensorType;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// How every value of a program depends on the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataAxes {
    nodes: Vec<Data>,
    outputs: Vec<NodeId>,
}

impl DataAxes {
    /// How output `i` depends on the data.
    pub fn output(&self, i: usize) -> Option<Data> {
        self.outputs.get(i).map(|id| self.node(*id))
    }

    /// How a node of the program depends on the data.
    pub fn node(&self, id: NodeId) -> Data {
        self.nodes[id.index()]
    }
}

impl Program {
    /// Labels the axis of every value that carries the index of the datum, given those of the inputs.
    ///
    /// ```
    /// use autodiff::{Error, TensorType, ops::Data, trace};
    /// let ports = [("w", TensorType::real(&[3, 2])), ("x", TensorType::real(&[5, 2]))];
    /// let model = trace(&ports, |_, t| vec![("y", t[1].matmul(&t[0].t()).tanh())])?;
    /// assert_eq!(model.data_axes(&[None, Some(0)])?.output(0), Some(Data::Along(0)));
    /// let normed = trace(&ports, |_, t| vec![("y", (&t[1] - t[1].mean(&[0])).matmul(&t[0].t()))])?;
    /// let message = normed.data_axes(&[None, Some(0)]).unwrap_err().to_string();
    /// assert!(message.starts_with("sub in node") && message.contains("sum over the data"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MixesData`] with the operation and its line; [`Error::Input`] for axes that the inputs do not have.
    pub fn data_axes(&self, axes: &[Option<usize>]) -> Result<DataAxes, Error> {
        self.check_axes(axes)?;
        let of: Vec<Data> = axes
            .iter()
            .enumerate()
            .map(|(i, axis)| axis.map_or(Data::Shared(Shared::any(self.input_type(i))), Data::Along))
            .collect();
        self.data_of(&of)
    }

    fn check_axes(&self, axes: &[Option<usize>]) -> Result<usize, Error> {
        let wrong = |name: &str, expected: String, got: String| Error::Input { name: name.into(), expected, got };
        let count = self.inputs().len();
        if axes.len() != count {
            return Err(wrong("data axes", format!("{count} entries"), axes.len().to_string()));
        }
        let mut size = None;
        for (i, axis) in axes.iter().enumerate().filter_map(|(i, a)| Some((i, (*a)?))) {
            let (name, ty) = (&self.inputs()[i].name, self.input_type(i));
            match (ty.shape.get(axis), size) {
                (None, _) => return Err(wrong(name, format!("a data axis below {}", ty.rank()), axis.to_string())),
                (Some(&n), Some(m)) if n != m => {
                    return Err(wrong(name, format!("{m} data, as in other inputs"), format!("{n} along axis {axis}")));
                }
                (Some(&n), _) => size = Some(n),
            }
        }
        size.ok_or_else(|| wrong("data axes", "an input that holds data".into(), "none".into()))
    }

    /// The same from what is known of the inputs.
    pub(crate) fn data_of(&self, inputs: &[Data]) -> Result<DataAxes, Error> {
        let mut nodes: Vec<Data> = Vec::with_capacity(self.nodes().len());
        // Bodies that were looked at, by what was known of their inputs: other results of the same call are read off.
        let mut bodies: HashMap<(*const Program, Vec<Data>), DataAxes> = HashMap::new();
        for (i, node) in self.nodes().iter().enumerate() {
            let data = match &node.op {
                Op::Input(input) => Ok(inputs[input.index]),
                Op::Call(call) => {
                    let of: Vec<Data> = node.args.iter().map(|a| nodes[a.index()]).collect();
                    let key = (Arc::as_ptr(call.body()), of);
                    match bodies.get(&key) {
                        Some(known) => Ok(known),
                        None => match call.body().data_of(&key.1) {
                            Ok(axes) => Ok(&*bodies.entry(key).or_insert(axes)),
                            Err(e) => Err(format!("inside, {e}")),
                        },
                    }
                    .and_then(|axes| axes.output(call.output()).ok_or_else(|| "there is no such output".into()))
                }
                op => {
                    let of: SmallVec<[Data; 3]> = node.args.iter().map(|a| nodes[a.index()]).collect();
                    let types: SmallVec<[&TensorType; 3]> = node.args.iter().map(|&a| &self.node(a).ty).collect();
                    op.data(&types, &of, &node.ty)
                }
            };
            nodes.push(data.map_err(|why| self.mixed(i, &nodes, why))?);
        }
        Ok(DataAxes { nodes, outputs: self.outputs().iter().map(|p| p.node).collect() })
    }

    fn mixed(&self, i: usize, known: &[Data], mut why: String) -> Error {
        let node = &self.nodes()[i];
        let sum_among = |args: &[NodeId]| args.iter().copied().find(|a| known[a.index()] == Data::Sum);
        if let Some(mut sum) = sum_among(&node.args) {
            while let Some(before) = sum_among(&self.node(sum).args) {
                sum = before;
            }
            let made = self.node(sum);
            why += &format!("; the sum is made by {} in node {}{}", made.op.name(), sum.index(), made.origin.text());
        }
        Error::MixesData { op: node.op.name(), node: i, why, location: node.origin.text() }
    }

    /// The program for another number of data, traced anew from its nodes.
    ///
    /// Constants stay what they are: a factor `1/N` that was written for the old number is not changed.
    ///
    /// # Errors
    /// As for [`Program::data_axes`].
    pub fn with_data_size(&self, axes: &[Option<usize>], size: usize) -> Result<Program, Error> {
        let known = self.data_axes(axes)?;
        self.resized(&known, size)
    }

    fn resized(&self, known: &DataAxes, size: usize) -> Result<Program, Error> {
        let mut b = Builder::new();
        let mut map: Vec<NodeId> = Vec::with_capacity(self.nodes().len());
        // Inputs first, in their order.
        let mut inputs = Vec::new();
        for (i, p) in self.inputs().iter().enumerate() {
            let mut ty = self.input_type(i).clone();
            if let Data::Along(a) = known.node(p.node) {
                ty.shape[a] = size;
            }
            inputs.push(b.input(p.name.clone(), ty));
        }
        for (i, node) in self.nodes().iter().enumerate() {
            b.trace_to(node.origin);
            let Op::Input(input) = &node.op else {
                let of: SmallVec<[Data; 3]> = node.args.iter().map(|a| known.node(*a)).collect();
                let mut args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| map[a.index()]).collect();
                for k in 0..args.len() {
                    if let Some(axis) = meets_data(&node.op, &of, k) {
                        args[k] = stretched(&mut b, args[k], axis, size)?;
                    }
                }
                let op = resized_op(&mut b, &node.op, &of, known.nodes[i], size)?;
                map.push(b.emit(&op, &args)?);
                continue;
            };
            map.push(inputs[input.index]);
        }
        Ok(b.finish(self.outputs().iter().map(|p| (p.name.clone(), map[p.node.index()])).collect()))
    }

    /// The program of one datum: inputs that hold data lose their data axis, and so do outputs. `vmap` over these axes
    /// gives the program back, and `vmap` of a derivative gives that derivative of every datum.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let ports = [("w", TensorType::real(&[2])), ("x", TensorType::real(&[5, 2]))];
    /// let f = trace(&ports, |_, t| vec![("loss", t[1].matmul(&t[0]).sin().sum_all())])?;
    /// let axes = [None, Some(0)];
    /// let gradients = f.one_datum(&axes)?.grad(&[0])?.vmap(5, &axes)?;
    /// assert_eq!(gradients.output_type(0).shape.as_slice(), [5, 2]);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Program::data_axes`].
    pub fn one_datum(&self, axes: &[Option<usize>]) -> Result<Program, Error> {
        let known = self.data_axes(axes)?;
        let one = self.resized(&known, 1)?;
        let mut b = Builder::new();
        let mut inputs = Vec::new();
        for (i, p) in one.inputs().iter().enumerate() {
            let whole = one.input_type(i).clone();
            let mut ty = whole.clone();
            if let Some(a) = axes[i] {
                ty.shape.remove(a);
            }
            let x = b.input(p.name.clone(), ty);
            inputs.push(b.reshape(x, &whole.shape)?);
        }
        let map = b.emit_all(&one, &inputs)?;
        let mut outputs = Vec::new();
        for (i, p) in one.outputs().iter().enumerate() {
            let mut id = map[p.node.index()];
            if let Some(Data::Along(a)) = known.output(i) {
                let mut shape = b.shape(id);
                shape.remove(a);
                id = b.reshape(id, &shape)?;
            }
            outputs.push((p.name.clone(), id));
        }
        Ok(b.finish(outputs))
    }
}

/// The operation for another number of data.
fn resized_op(b: &mut Builder, op: &Op, of: &[Data], out: Data, size: usize) -> Result<Op, Error> {
    if let Op::Call(call) = op {
        let rule = Rule::Resized { size, of: of.to_vec() };
        let make = |p: &Program| Ok((p.resized(&p.data_of(of)?, size)?, Vec::new()));
        let body = b.derived(call.body(), rule, make)?.body;
        return Ok(Call::new(call.label(), body, call.output()).into());
    }
    let Data::Along(axis) = out else { return Ok(op.clone()) };
    Ok(match op {
        Op::Broadcast(Broadcast { shape, axes }) => {
            let mut shape = shape.clone();
            shape[axis] = size;
            Broadcast { shape, axes: axes.clone() }.into()
        }
        Op::Reshape(Reshape { shape }) => {
            let mut shape = shape.clone();
            shape[axis] = size;
            Reshape { shape }.into()
        }
        Op::Slice(s) => {
            let mut stop = s.stop.clone();
            stop[axis] = size;
            Slice { stop, ..s.clone() }.into()
        }
        op => op.clone(),
    })
}

/// The axis of operand `k`, which holds no data, that runs along the data axis of the others.
fn meets_data(op: &Op, of: &[Data], k: usize) -> Option<usize> {
    if !matches!(of[k], Data::Shared(_)) {
        return None;
    }
    let along = |i: usize| if let Some(Data::Along(a)) = of.get(i) { Some(*a) } else { None };
    match op {
        Op::Binary(_) | Op::Select(_) | Op::Concat(_) => (0..of.len()).find_map(along),
        Op::Dot(d) => {
            let axis = along(1 - k)?;
            let mut pairs = d.batch.iter().chain(&d.contract);
            pairs.find_map(|&(l, r)| match k {
                0 => (r == axis).then_some(l),
                _ => (l == axis).then_some(r),
            })
        }
        Op::Gather(g) => along(1 - k).filter(|&a| a < g.batch),
        Op::ScatterAdd(_) if k == 1 => along(0),
        Op::ScatterAdd(s) => along(1).filter(|&a| a < s.batch),
        _ => None,
    }
}

/// A value that does not change along an axis, with another size there.
fn stretched(b: &mut Builder, x: NodeId, axis: usize, size: usize) -> Result<NodeId, Error> {
    let mut shape = b.shape(x);
    if shape[axis] == size {
        return Ok(x);
    }
    if let Some(c) = b.splat(x) {
        shape[axis] = size;
        return b.full(&shape, c);
    }
    if let Op::Broadcast(br) = &b.node(x).op {
        let (mut inner, axes) = (b.node(x).args[0], br.axes.clone());
        if let Some(k) = axes.iter().position(|&a| a == axis) {
            inner = stretched(b, inner, k, size)?;
        }
        shape[axis] = size;
        return b.broadcast(inner, &shape, &axes);
    }
    let one = b.slice_axis(x, axis, 0, 1)?;
    let mut without = shape.clone();
    without.remove(axis);
    let one = b.reshape(one, &without)?;
    shape[axis] = size;
    let axes: Vec<usize> = (0..shape.len()).filter(|&a| a != axis).collect();
    b.broadcast(one, &shape, &axes)
}
