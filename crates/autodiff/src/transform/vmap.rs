//! `vmap`: a program over a new axis; blocks of vectors go through as one wider contraction, not as a loop.

use crate::error::Error;
use crate::ops::Op;
use crate::program::{Builder, NodeId, Program};
use smallvec::SmallVec;

impl Program {
    /// The program over a batch of `size`: input `i` gains a new axis at `axes[i]`, or is shared if that is `None`;
    /// every output gains a leading axis.
    ///
    /// # Errors
    /// [`Error::Input`] if `axes` does not have one entry per input, or names a place that an input does not have.
    pub fn vmap(&self, size: usize, axes: &[Option<usize>]) -> Result<Program, Error> {
        if axes.len() != self.inputs().len() {
            return Err(Error::Input {
                name: "axes".into(),
                expected: format!("{} entries", self.inputs().len()),
                got: axes.len().to_string(),
            });
        }
        let mut b = Builder::new();
        let mut inputs = Vec::with_capacity(axes.len());
        for (i, axis) in axes.iter().enumerate() {
            let mut ty = self.input_type(i).clone();
            let name = self.inputs()[i].name.clone();
            inputs.push(match *axis {
                None => (b.input(name, ty), false),
                Some(at) if at <= ty.rank() => {
                    ty.shape.insert(at, size);
                    let x = b.input(name, ty);
                    (b.move_axis(x, at, 0)?, true)
                }
                Some(at) => {
                    return Err(Error::Input {
                        name,
                        expected: format!("a new axis within 0..={}", ty.rank()),
                        got: at.to_string(),
                    });
                }
            });
        }
        let mut map: Vec<(NodeId, bool)> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            b.trace_to(node.origin);
            let value = match &node.op {
                Op::Input(input) => inputs[input.index],
                op => {
                    let args: SmallVec<[(NodeId, bool); 3]> = node.args.iter().map(|a| map[a.index()]).collect();
                    op.over(&mut b, &args, size)?
                }
            };
            map.push(value);
        }
        let mut outputs = Vec::with_capacity(self.outputs().len());
        for p in self.outputs() {
            let (id, batched) = map[p.node.index()];
            let inner = b.shape(id);
            let id = if batched {
                id
            } else {
                let shape: Vec<usize> = core::iter::once(size).chain(inner.iter().copied()).collect();
                let axes: Vec<usize> = (1..shape.len()).collect();
                b.broadcast(id, &shape, &axes)?
            };
            outputs.push((p.name.clone(), id));
        }
        Ok(b.finish(outputs))
    }
}
