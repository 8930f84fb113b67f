//! `Call`: a named sub-program as one node; every transformation acts on its body and renames.
//!
//! `attention` becomes `attention.jvp`, `attention.vjp`, `attention.vjp.jvp`, `attention.vmap`. The executor runs a
//! registered kernel for a name where it has one, and otherwise the body, so that a name costs nothing.

use super::data::Data;
use super::rule::{Primitive, Taylor};
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, Derived, Extent, NodeId, Program, Rule};
use crate::types::TensorType;
use core::fmt;
use core::hash::{Hash, Hasher};
use numerics::Scalar;
use std::sync::Arc;

/// One output of a named sub-program; its operands are the sub-program's inputs.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Call {
    name: String,
    output: usize,
    #[serde(skip)]
    body: Arc<Program>,
    #[serde(skip)]
    extent: Extent,
    /// Where the body stands in the table of a file; has no meaning elsewhere.
    #[serde(rename = "body")]
    place: usize,
}

impl fmt::Debug for Call {
    /// Name and result; a body that is shown wherever it is called may be shown without end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.output == other.output && self.same_body(other)
    }
}

impl Eq for Call {}

impl Hash for Call {
    /// Of the name and the size of the body only: equal names mean equal bodies nearly always.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, self.output, self.body.nodes().len(), self.body.outputs().len()).hash(state);
    }
}

impl Call {
    /// Output `output` of a body.
    pub fn new(name: impl Into<String>, body: Arc<Program>, output: usize) -> Self {
        Call { name: name.into(), output, extent: body.extent(), body, place: 0 }
    }

    /// The call of a body that stands at this place of a file.
    pub(crate) fn at(&self, place: usize) -> Self {
        Call { body: Arc::default(), extent: Extent::default(), place, ..self.clone() }
    }

    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// How large the body is when it is written out.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// The name without the output.
    pub fn label(&self) -> &str {
        &self.name
    }

    /// The name that it was given, before transformations added theirs.
    pub fn base(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Which output of the body it is.
    pub fn output(&self) -> usize {
        self.output
    }

    /// The sub-program.
    pub fn body(&self) -> &Arc<Program> {
        &self.body
    }

    /// Whether both are outputs of one sub-program.
    pub fn same_body(&self, other: &Self) -> bool {
        self.name == other.name && (Arc::ptr_eq(&self.body, &other.body) || self.body == other.body)
    }

    /// Name of the tangents in these inputs of the body.
    fn tangent_name(&self, wrt: &[usize]) -> String {
        let real = (0..self.body.inputs().len()).filter(|&i| self.body.input_type(i).is_real());
        suffixed(&self.name, "jvp", wrt.iter().copied().eq(real), wrt)
    }

    /// Name of the transpose: tangents and cotangents exchange, anything else is transposed twice by nobody.
    fn transposed_name(&self, linear: &[usize]) -> String {
        let natural = |prefix: &str| {
            let ports = self.body.inputs().iter().enumerate();
            ports.filter(|(_, p)| p.name.starts_with(prefix)).map(|(i, _)| i).eq(linear.iter().copied())
        };
        let (stem, last) = self.name.rsplit_once('.').unwrap_or((&self.name, ""));
        match (last.strip_prefix("jvp"), last.strip_prefix("vjp")) {
            (Some(which), _) if natural("d.") => format!("{stem}.vjp{which}"),
            (_, Some(which)) if natural("ct.") => format!("{stem}.jvp{which}"),
            _ if last == "t" => stem.into(),
            _ => suffixed(&self.name, "t", linear.len() == self.body.inputs().len(), linear),
        }
    }

    /// Cotangents of the operands marked `linear`, given those of some outputs of one body.
    pub(crate) fn transpose_outputs(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        cts: &[(usize, NodeId)],
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let outputs: Vec<usize> = cts.iter().map(|c| c.0).collect();
        let rule = Rule::Transposed { linear: linear.to_vec(), outputs: outputs.clone() };
        let body = b.derived(&self.body, rule, |p| Ok((p.transposed(linear, &outputs)?, Vec::new())))?.body;
        let which: Vec<usize> = (0..linear.len()).filter(|&i| linear[i]).collect();
        let mut name = self.transposed_name(&which);
        if outputs.len() < self.body.outputs().len() {
            name = suffixed(&name, "of", false, &outputs);
        }
        let operands = args.iter().zip(linear).filter(|(_, l)| !**l).map(|(a, _)| *a);
        let operands: Vec<NodeId> = operands.chain(cts.iter().map(|c| c.1)).collect();
        let mut results = vec![None; linear.len()];
        for (k, &i) in which.iter().enumerate() {
            results[i] = Some(b.push(Call::new(name.clone(), body.clone(), k), &operands)?);
        }
        Ok(results)
    }
}

fn suffixed(name: &str, what: &str, whole: bool, which: &[usize]) -> String {
    match whole {
        true => format!("{name}.{what}"),
        false => format!("{name}.{what}[{}]", which.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")),
    }
}

impl Primitive for Call {
    fn name(&self) -> String {
        match self.body.outputs() {
            [_] => format!("call {}", self.name),
            outputs => format!("call {}:{}", self.name, outputs.get(self.output).map_or("?", |p| &p.name)),
        }
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let body = &self.body;
        self.extent.check()?;
        if args.len() != body.inputs().len() {
            return Err(format!("takes {} operands, got {}", body.inputs().len(), args.len()));
        }
        for (i, ty) in args.iter().enumerate() {
            if body.input_type(i) != *ty {
                return Err(format!("operand {:?} is {ty}, expected {}", body.inputs()[i].name, body.input_type(i)));
            }
        }
        match body.outputs().get(self.output) {
            Some(_) => Ok(body.output_type(self.output).clone()),
            None => Err(format!("there is no output {} of {}", self.output, body.outputs().len())),
        }
    }

    /// Of the whole body; outputs of one body share it, see [`Program::flops`].
    fn flops(&self, _args: &[&TensorType], _out: &TensorType) -> u64 {
        self.body.flops()
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], _out: &TensorType) -> Result<Value<T>, Error> {
        let inputs: Vec<Value<T>> = args.iter().map(|&v| v.clone()).collect();
        let mut outputs = self.body.interpret(&inputs)?;
        Ok(outputs.swap_remove(self.output))
    }

    fn taylor(&self) -> Taylor {
        Taylor::Composite
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        let wrt: Vec<usize> = (0..tangents.len()).filter(|&i| tangents[i].is_some()).collect();
        let Derived { body, places } = b.derived(&self.body, Rule::Tangents(wrt.clone()), |p| p.tangents(&wrt))?;
        let Some(place) = places[self.output] else { return Ok(None) };
        let operands: Vec<NodeId> = args.iter().copied().chain(tangents.iter().flatten().copied()).collect();
        b.push(Call::new(self.tangent_name(&wrt), body, place), &operands).map(Some)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        self.transpose_outputs(b, args, linear, &[(self.output, ct)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let axes: Vec<Option<usize>> = batched.iter().map(|&x| x.then_some(0)).collect();
        let rule = Rule::Batched { size, axes: axes.clone() };
        let body = b.derived(&self.body, rule, |p| Ok((p.vmap(size, &axes)?, Vec::new())))?.body;
        let name = if self.name.ends_with(".vmap") { self.name.clone() } else { format!("{}.vmap", self.name) };
        b.push(Call::new(name, body, self.output), args)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], _: &TensorType) -> Result<Data, String> {
        match self.body.data_of(of).map_err(|e| format!("inside, {e}"))?.output(self.output) {
            Some(data) => Ok(data),
            None => Err("there is no such output".into()),
        }
    }
}
