//! Fewer directions: no more than the first layer is wide.
//!
//! If the points enter through one linear layer `z = x W` of width `n` alone, `sum_r w_r d^2 f[v_r^2] = sum_ij M_ij d_ij g(z)` with
//! `g` the rest of the program and `M = W^T (sum_r w_r v_r v_r^T) W`, `[n, n]`. So the unit directions of `z` take the place of the
//! `R` directions of `x`, and the quadratic form `M` that of the weights: `2 + n` vectors instead of `2 + R` in every layer, and in every
//! nonlinearity one product with `M`. Factoring `M` would save that product but needs a decomposition of a matrix that depends on
//! the parameters; the form is exact for any rank and sign, and differentiable.

use super::points::{Points, Sum};
use crate::error::Error;
use crate::jet::{Mode, Series, factorial, propagate_from};
use crate::ops::Op;
use crate::program::{Builder, NodeId};

/// The linear layer through which the points enter.
pub(super) struct FirstLayer {
    /// Its product.
    product: NodeId,
    /// Its matrix, and the matrix's axis over the coordinates.
    matrix: NodeId,
    axis: usize,
    /// Its outputs.
    pub(super) width: usize,
}

impl Points<'_> {
    /// The layer that multiplies the points by a matrix, if nothing else reads them.
    pub(super) fn first_layer(&self) -> Option<FirstLayer> {
        let program = self.program;
        let is_points = |id: NodeId| matches!(&program.node(id).op, Op::Input(input) if input.index == self.x);
        let mut readers = program.nodes().iter().enumerate().filter(|(_, n)| n.args.iter().any(|&a| is_points(a)));
        let ((at, node), None) = (readers.next()?, readers.next()) else { return None };
        let Op::Dot(dot) = &node.op else { return None };
        let returned = program.outputs().iter().any(|p| is_points(p.node));
        let (points, matrix) = (node.args[0], node.args[1]);
        if returned || !is_points(points) || is_points(matrix) || program.node(matrix).ty.rank() != 2 {
            return None;
        }
        match (&dot.batch[..], &dot.contract[..]) {
            ([], &[(left, axis)]) if left + 1 == self.shape().len() => {
                let width = program.node(matrix).ty.shape[1 - axis];
                Some(FirstLayer { product: NodeId(at as u32), matrix, axis, width })
            }
            _ => None,
        }
    }

    /// The first layer, if a sum's directions are to be compressed to its width: at order 2, with directions that all data share.
    pub(super) fn compressed(&self, b: &Builder, sum: &Sum) -> Option<FirstLayer> {
        let shared = match &b.node(sum.vectors).op {
            Op::Broadcast(spread) => spread.axes[..] == [0, self.shape().len()],
            _ => self.lead().is_empty(),
        };
        let may = self.compress && self.recorder.is_none() && sum.order == 2 && shared;
        self.first_layer().filter(|first| may && first.width > 0 && first.width < sum.directions)
    }

    /// The sum, propagated from the first layer's outputs.
    pub(super) fn beyond_first_layer(
        &self,
        b: &mut Builder,
        inputs: &[NodeId],
        sum: &Sum,
        first: &FirstLayer,
    ) -> Result<NodeId, Error> {
        let primal = b.inline(self.program, inputs)?;
        let matrix = primal[first.matrix.index()];
        let vectors = match &b.node(sum.vectors).op {
            Op::Broadcast(_) => b.node(sum.vectors).args[0],
            _ => sum.vectors,
        };
        let moved = b.dot(vectors, matrix, &[], &[(1, first.axis)])?;
        let weighted = match sum.weights {
            Some(w) => {
                let shape = b.shape(moved);
                let w = b.broadcast(w, &shape, &[0])?;
                b.mul(w, moved)?
            }
            None => moved,
        };
        let form = b.dot(weighted, moved, &[], &[(0, 0)])?;
        let n = first.width;
        let units = b.real_const(&[n, n], (0..n * n).map(|k| f64::from(u8::from(k / n == k % n))).collect())?;
        let shape: Vec<usize> = core::iter::once(n).chain(self.lead().iter().copied()).chain([n]).collect();
        let units = b.broadcast(units, &shape, &[0, shape.len() - 1])?;
        let factor = sum.scale * factorial(2);
        let top = match sum.drift {
            Some(drift) => {
                let drift = b.scale(drift, 1.0 / factor)?;
                Some(b.dot(drift, matrix, &[], &[(self.lead().len(), first.axis)])?)
            }
            None => None,
        };
        let mode = Mode { form: Some(form), ..self.mode(2, n, true, None) };
        let seeds = vec![None; self.program.inputs().len()];
        let start = Some((first.product, Series { each: vec![Some(units)], top }));
        let (primal, series) = propagate_from(b, self.program, inputs, &seeds, start, &mode)?;
        let at = self.program.outputs()[0].node.index();
        match series[at].as_ref().and_then(|s| s.top) {
            Some(y) => b.scale(y, factor),
            None => b.zeros_like(primal[at]),
        }
    }
}
