//! Forward mode: tangents beside values.

use super::{check_wrt, declare_inputs};
use crate::error::Error;
use crate::ops::Op;
use crate::program::{Builder, NodeId, Program};
use smallvec::SmallVec;

/// Adds the program to `b` with its tangents: returns, for each of its nodes, value and tangent (`None`: zero).
pub(super) fn push_forward(
    b: &mut Builder,
    program: &Program,
    inputs: &[NodeId],
    tangents: &[Option<NodeId>],
) -> Result<(Vec<NodeId>, Vec<Option<NodeId>>), Error> {
    let primal = b.inline(program, inputs)?;
    let mut tangent: Vec<Option<NodeId>> = Vec::with_capacity(primal.len());
    for (node, &out) in program.nodes().iter().zip(&primal) {
        b.trace_to(node.origin);
        let t = match &node.op {
            Op::Input(input) => tangents[input.index],
            op => {
                let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| primal[a.index()]).collect();
                let ts: SmallVec<[Option<NodeId>; 3]> = node.args.iter().map(|a| tangent[a.index()]).collect();
                if ts.iter().all(Option::is_none) { None } else { op.jvp(b, &args, out, &ts)? }
            }
        };
        tangent.push(t);
    }
    Ok((primal, tangent))
}

impl Program {
    /// The tangents alone, as the body of a named sub-program: takes the inputs and a tangent per input of `wrt`, returns
    /// those tangents that do not vanish; also says which output of it belongs to which output of the program.
    pub(crate) fn tangents(&self, wrt: &[usize]) -> Result<(Program, Vec<Option<usize>>), Error> {
        check_wrt(self, wrt)?;
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut tangents = vec![None; inputs.len()];
        for &i in wrt {
            tangents[i] = Some(b.input(format!("d.{}", self.inputs()[i].name), self.input_type(i).clone()));
        }
        let (_, tangent) = push_forward(&mut b, self, &inputs, &tangents)?;
        let (mut places, mut outputs) = (Vec::new(), Vec::new());
        for p in self.outputs() {
            let t = tangent[p.node.index()];
            places.push(t.map(|_| outputs.len()));
            outputs.extend(t.map(|t| (format!("d.{}", p.name), t)));
        }
        Ok((b.finish(outputs), places))
    }

    /// Forward mode in the inputs `wrt`: the new program takes the inputs and a tangent `d.name` for each of `wrt`, and
    /// returns the outputs and their tangents `d.name`. Costs about twice the program.
    ///
    /// ```
    /// use autodiff::{Array, TensorType, trace};
    /// let f = trace(&[("x", TensorType::real(&[1]))], |_, x| vec![("y", x[0].sin())]).unwrap();
    /// let one = |v: f64| Array::new(&[1], vec![v]).unwrap().into();
    /// let out = f.jvp(&[0]).unwrap().interpret(&[one(0.0), one(2.0)]).unwrap();
    /// assert_eq!(out[1].real().unwrap().data(), [2.0]);
    /// ```
    pub fn jvp(&self, wrt: &[usize]) -> Result<Program, Error> {
        check_wrt(self, wrt)?;
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut tangents = vec![None; inputs.len()];
        for &i in wrt {
            tangents[i] = Some(b.input(format!("d.{}", self.inputs()[i].name), self.input_type(i).clone()));
        }
        let (primal, tangent) = push_forward(&mut b, self, &inputs, &tangents)?;
        let mut outputs: Vec<(String, NodeId)> =
            self.outputs().iter().map(|p| (p.name.clone(), primal[p.node.index()])).collect();
        for p in self.outputs() {
            if b.ty(primal[p.node.index()]).is_real() {
                let t = match tangent[p.node.index()] {
                    Some(t) => t,
                    None => b.zeros_like(primal[p.node.index()])?,
                };
                outputs.push((format!("d.{}", p.name), t));
            }
        }
        Ok(b.finish(outputs))
    }
}
