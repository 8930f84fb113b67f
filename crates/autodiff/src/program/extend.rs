//! The builder's vocabulary: one method per operation, with the identities that cost nothing to see
//! (`x + 0`, `1 x`, `0 x`, `--x`, views that change nothing) applied as nodes are added.

use super::{Builder, NodeId};
use crate::error::Error;
use crate::ops::{
    Binary, BinaryFn, Broadcast, Concat, Const, Dot, Op, Pad, Primitive, ReduceSum, Reshape, Select, Slice, Transpose,
    Unary,
};
use crate::types::Dims;

impl Builder {
    /// Adds a node through the vocabulary below, so that its identities apply.
    pub fn emit(&mut self, op: &Op, args: &[NodeId]) -> Result<NodeId, Error> {
        match (op, args) {
            (Op::Unary(f), &[x]) => self.unary(*f, x),
            (Op::Binary(Binary(f)), &[x, y]) => self.binary(*f, x, y),
            (Op::Select(_), &[p, x, y]) => self.select(p, x, y),
            (Op::Broadcast(b), &[x]) => self.broadcast(x, &b.shape, &b.axes),
            (Op::Reshape(r), &[x]) => self.reshape(x, &r.shape),
            (Op::Transpose(t), &[x]) => self.transpose(x, &t.perm),
            (Op::ReduceSum(r), &[x]) => self.sum(x, &r.axes),
            (Op::Dot(d), &[x, y]) => self.dot(x, y, &d.batch, &d.contract),
            (Op::Slice(s), &[x]) => self.slice(x, s.clone()),
            (Op::Pad(p), &[x]) => self.pad(x, p.clone()),
            (Op::Concat(c), xs) => self.concat(xs, c.axis),
            _ => self.push(op.clone(), args),
        }
    }

    /// Applies an elementwise function.
    pub fn unary(&mut self, f: Unary, x: NodeId) -> Result<NodeId, Error> {
        if let (Unary::Neg, Op::Unary(Unary::Neg)) = (f, &self.node(x).op) {
            return Ok(self.node(x).args[0]);
        }
        if let (Some(c), false) = (self.splat(x), f == Unary::StopGradient) {
            let shape = self.shape(x);
            return self.full(&shape, f.value(c));
        }
        match f {
            Unary::Powf(p) if p.get() == 1.0 => Ok(x),
            Unary::Powf(p) if p.get() == 0.0 => {
                let shape = self.shape(x);
                self.full(&shape, 1.0)
            }
            _ => self.push(f, &[x]),
        }
    }

    /// Applies a function of two tensors of one shape.
    pub fn binary(&mut self, f: BinaryFn, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        if self.ty(x) == self.ty(y) {
            match (f, self.splat(x), self.splat(y)) {
                (f, Some(a), Some(b)) => {
                    let shape = self.shape(x);
                    return self.full(&shape, f.value(a, b));
                }
                (BinaryFn::Add, Some(0.0), _) | (BinaryFn::Mul, Some(1.0), _) => return Ok(y),
                (BinaryFn::Add | BinaryFn::Sub, _, Some(0.0)) => return Ok(x),
                (BinaryFn::Mul | BinaryFn::Div, _, Some(1.0)) => return Ok(x),
                (BinaryFn::Sub, Some(0.0), _) | (BinaryFn::Mul, Some(-1.0), _) => return self.unary(Unary::Neg, y),
                (BinaryFn::Mul | BinaryFn::Div, _, Some(-1.0)) => return self.unary(Unary::Neg, x),
                (BinaryFn::Mul, Some(0.0), _) => return Ok(x),
                (BinaryFn::Mul, _, Some(0.0)) => return Ok(y),
                _ => {}
            }
        }
        self.push(Binary(f), &[x, y])
    }

    /// `x + y`.
    pub fn add(&mut self, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        self.binary(BinaryFn::Add, x, y)
    }

    /// `x - y`.
    pub fn sub(&mut self, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        self.binary(BinaryFn::Sub, x, y)
    }

    /// `x * y`, elementwise.
    pub fn mul(&mut self, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        self.binary(BinaryFn::Mul, x, y)
    }

    /// `x / y`, elementwise.
    pub fn div(&mut self, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        self.binary(BinaryFn::Div, x, y)
    }

    /// `-x`.
    pub fn neg(&mut self, x: NodeId) -> Result<NodeId, Error> {
        self.unary(Unary::Neg, x)
    }

    /// `c * x`.
    pub fn scale(&mut self, x: NodeId, c: f64) -> Result<NodeId, Error> {
        let shape = self.shape(x);
        let c = self.full(&shape, c)?;
        self.mul(c, x)
    }

    /// `x + c`.
    pub fn add_scalar(&mut self, x: NodeId, c: f64) -> Result<NodeId, Error> {
        let shape = self.shape(x);
        let c = self.full(&shape, c)?;
        self.add(x, c)
    }

    /// Zeros of the shape of `like`.
    pub fn zeros_like(&mut self, like: NodeId) -> Result<NodeId, Error> {
        let shape = self.shape(like);
        self.full(&shape, 0.0)
    }

    /// `x` where `p` is not zero, else `y`.
    pub fn select(&mut self, p: NodeId, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        if x == y {
            return Ok(x);
        }
        self.push(Select, &[p, x, y])
    }

    /// Adds axes: operand axis `i` becomes axis `axes[i]` of `shape`, the others repeat.
    pub fn broadcast(&mut self, x: NodeId, shape: &[usize], axes: &[usize]) -> Result<NodeId, Error> {
        if self.ty(x).shape.as_slice() == shape && axes.iter().copied().eq(0..shape.len()) {
            return Ok(x);
        }
        if let Op::Broadcast(inner) = &self.node(x).op
            && axes.len() == inner.shape.len()
        {
            // A repetition of a repetition; a wrong axis is the shape rule's to find.
            let places: Option<Dims> = inner.axes.iter().map(|&a| axes.get(a).copied()).collect();
            let fits = axes.windows(2).all(|w| w[0] < w[1])
                && axes.iter().zip(&inner.shape).all(|(&a, n)| shape.get(a) == Some(n));
            if let (Some(places), true) = (places, fits) {
                let source = self.node(x).args[0];
                return self.broadcast(source, shape, &places);
            }
        }
        self.push(Broadcast { shape: Dims::from_slice(shape), axes: Dims::from_slice(axes) }, &[x])
    }

    /// Same data, other axes.
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> Result<NodeId, Error> {
        if self.ty(x).shape.as_slice() == shape {
            return Ok(x);
        }
        if let Op::Reshape(_) = self.node(x).op {
            let inner = self.node(x).args[0];
            return self.reshape(inner, shape);
        }
        self.push(Reshape { shape: Dims::from_slice(shape) }, &[x])
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    pub fn transpose(&mut self, x: NodeId, perm: &[usize]) -> Result<NodeId, Error> {
        if perm.iter().copied().eq(0..self.ty(x).rank()) {
            return Ok(x);
        }
        if let Op::Transpose(t) = &self.node(x).op
            && perm.len() == t.perm.len()
            && perm.iter().all(|&p| p < perm.len())
        {
            let composed: Dims = perm.iter().map(|&p| t.perm[p]).collect();
            let inner = self.node(x).args[0];
            return self.transpose(inner, &composed);
        }
        self.push(Transpose { perm: Dims::from_slice(perm) }, &[x])
    }

    /// Moves one axis to another place, the others keep their order.
    pub fn move_axis(&mut self, x: NodeId, from: usize, to: usize) -> Result<NodeId, Error> {
        let mut perm: Vec<usize> = (0..self.ty(x).rank()).collect();
        if from >= perm.len() || to >= perm.len() {
            return self.transpose(x, &[usize::MAX]);
        }
        let axis = perm.remove(from);
        perm.insert(to, axis);
        self.transpose(x, &perm)
    }

    /// Sums over axes, which vanish.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId, Error> {
        if axes.is_empty() {
            return Ok(x);
        }
        let mut axes = Dims::from_slice(axes);
        axes.sort_unstable();
        self.push(ReduceSum { axes }, &[x])
    }

    /// Generalised contraction; the result's axes are batch, then free axes of `x`, then free axes of `y`.
    pub fn dot(
        &mut self,
        x: NodeId,
        y: NodeId,
        batch: &[(usize, usize)],
        contract: &[(usize, usize)],
    ) -> Result<NodeId, Error> {
        self.push(Dot { batch: batch.into(), contract: contract.into() }, &[x, y])
    }

    /// A part of one axis.
    pub fn slice_axis(&mut self, x: NodeId, axis: usize, start: usize, stop: usize) -> Result<NodeId, Error> {
        let shape = self.shape(x);
        let mut slice = Slice::all(&shape);
        match (slice.start.get_mut(axis), slice.stop.get_mut(axis)) {
            (Some(a), Some(b)) => (*a, *b) = (start, stop),
            // One bound too many: the shape rule says which axes there are.
            _ => slice.start.push(start),
        }
        self.slice(x, slice)
    }

    /// A strided box.
    pub fn slice(&mut self, x: NodeId, slice: Slice) -> Result<NodeId, Error> {
        if slice == Slice::all(&self.ty(x).shape) {
            return Ok(x);
        }
        if let (Some(c), Ok(ty)) = (self.splat(x), slice.infer(&[self.ty(x)])) {
            return self.full(&ty.shape, c);
        }
        self.push(slice, &[x])
    }

    /// Zeros around and between.
    pub fn pad(&mut self, x: NodeId, pad: Pad) -> Result<NodeId, Error> {
        if pad.is_nothing() {
            return Ok(x);
        }
        self.push(pad, &[x])
    }

    /// Joins tensors along an axis.
    pub fn concat(&mut self, xs: &[NodeId], axis: usize) -> Result<NodeId, Error> {
        match xs {
            [x] => Ok(*x),
            _ => self.push(Concat { axis }, xs),
        }
    }

    /// An integer constant.
    pub fn int_const(&mut self, shape: &[usize], data: Vec<i64>) -> Result<NodeId, Error> {
        self.push(Const::int(shape, data), &[])
    }

    /// A real constant.
    pub fn real_const(&mut self, shape: &[usize], data: Vec<f64>) -> Result<NodeId, Error> {
        self.push(Const::real(shape, data), &[])
    }
}
