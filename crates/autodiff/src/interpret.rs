//! The interpreter: evaluates a program node by node, slowly and obviously; the truth that fast paths are tested against.
//! A named sub-program is evaluated once for all of its results.

use crate::array::Value;
use crate::error::Error;
use crate::ops::Op;
use crate::program::Program;
use numerics::Scalar;
use smallvec::SmallVec;
use std::sync::Arc;

/// Checks that values fit a program's inputs.
pub(crate) fn check_inputs<T>(program: &Program, inputs: &[Value<T>]) -> Result<(), Error> {
    if inputs.len() != program.inputs().len() {
        return Err(Error::Input {
            name: "list".into(),
            expected: format!("{} values", program.inputs().len()),
            got: format!("{}", inputs.len()),
        });
    }
    for (i, (port, value)) in program.inputs().iter().zip(inputs).enumerate() {
        let (expected, got) = (program.input_type(i), value.ty());
        if expected != &got {
            return Err(Error::Input { name: port.name.clone(), expected: expected.to_string(), got: got.to_string() });
        }
    }
    Ok(())
}

impl Program {
    /// Runs the program with the interpreter.
    ///
    /// ```
    /// use autodiff::{Array, TensorType, trace};
    /// let square = trace(&[("x", TensorType::real(&[2]))], |_, x| vec![("y", &x[0] * &x[0])]).unwrap();
    /// let y = square.interpret(&[Array::new(&[2], vec![3.0, 4.0]).unwrap().into()]).unwrap();
    /// assert_eq!(y[0].real().unwrap().data(), [9.0, 16.0]);
    /// ```
    ///
    /// # Errors
    /// Inputs of the wrong number, kind or shape; an index outside its axis; a program whose invariants do not hold.
    pub fn interpret<T: Scalar>(&self, inputs: &[Value<T>]) -> Result<Vec<Value<T>>, Error> {
        self.verify()?;
        check_inputs(self, inputs)?;
        let mut values: Vec<Value<T>> = Vec::with_capacity(self.nodes().len());
        // All results of a body that was called, by the call's node: other outputs of the same call are read off them.
        let mut called: Vec<(usize, Vec<Value<T>>)> = Vec::new();
        for (i, node) in self.nodes().iter().enumerate() {
            let value = match &node.op {
                Op::Input(input) => inputs[input.index].clone(),
                Op::Call(call) => {
                    let same = |(k, _): &&(usize, Vec<Value<T>>)| {
                        let first = &self.nodes()[*k];
                        matches!(&first.op, Op::Call(c) if Arc::ptr_eq(c.body(), call.body()))
                            && first.args == node.args
                    };
                    match called.iter().find(same) {
                        Some((_, results)) => results[call.output()].clone(),
                        None => {
                            let args: Vec<Value<T>> = node.args.iter().map(|a| values[a.index()].clone()).collect();
                            let results = call.body().interpret(&args)?;
                            let value = results[call.output()].clone();
                            called.push((i, results));
                            value
                        }
                    }
                }
                op => {
                    let args: SmallVec<[&Value<T>; 3]> = node.args.iter().map(|a| &values[a.index()]).collect();
                    op.eval(&args, &node.ty)?
                }
            };
            values.push(value);
        }
        Ok(self.outputs().iter().map(|p| values[p.node.index()].clone()).collect())
    }
}
