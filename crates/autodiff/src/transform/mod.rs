//! Transformations: each takes a program to a program, and they compose in any order.
//!
//! Reverse mode is not a rule of its own: it is the transpose of the linear part of forward mode, so that every
//! primitive states one derivative only.

mod forward;
mod linearize;
mod reverse;
mod vmap;

pub use linearize::Linearized;

use crate::error::Error;
use crate::program::{Builder, NodeId, Program};

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
