//! Transformations: each takes a program to a program, and they compose in any order.
//!
//! Reverse mode is not a rule of its own: it is the transpose of the linear part of forward mode, so that every
//! primitive states one derivative only.

mod collapse;
mod data;
mod forward;
mod inline;
mod linearize;
mod recompute;
mod reverse;
mod simplify;
mod stack;
mod taps;
mod vmap;

pub use data::DataAxes;
pub use linearize::Linearized;
pub use taps::{Axis, Kind, Leaf, Orientation, Taps, Unfold, Use};

use crate::error::Error;
use crate::program::{Builder, NodeId, Program};

impl Program {
    /// The program with zeros for these inputs, which are inputs no more; what vanishes with them is gone.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if one of them does not exist or is not real.
    pub fn with_zeros(&self, which: &[usize]) -> Result<Program, Error> {
        check_wrt(self, which)?;
        let mut b = Builder::new();
        let mut inputs = Vec::with_capacity(self.inputs().len());
        for i in 0..self.inputs().len() {
            let ty = self.input_type(i).clone();
            inputs.push(match which.contains(&i) {
                true => b.full(&ty.shape, 0.0)?,
                false => b.input(self.inputs()[i].name.clone(), ty),
            });
        }
        let map = b.emit_all(self, &inputs)?;
        Ok(b.finish(self.outputs().iter().map(|p| (p.name.clone(), map[p.node.index()])).collect()))
    }
}

/// Declares the inputs of `program` anew in `b`.
pub(crate) fn declare_inputs(b: &mut Builder, program: &Program) -> Vec<NodeId> {
    (0..program.inputs().len())
        .map(|i| b.input(program.inputs()[i].name.clone(), program.input_type(i).clone()))
        .collect()
}

pub(crate) fn check_wrt(program: &Program, wrt: &[usize]) -> Result<(), Error> {
    for (k, &i) in wrt.iter().enumerate() {
        let fine = i < program.inputs().len() && program.input_type(i).is_real() && !wrt[..k].contains(&i);
        if !fine {
            let known: Vec<_> = program.inputs().iter().map(|p| p.name.as_str()).collect();
            return Err(Error::UnknownName {
                what: "differentiable input",
                name: format!("#{i}"),
                known: known.join(", "),
            });
        }
    }
    Ok(())
}
