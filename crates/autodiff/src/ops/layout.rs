//! Views and rearrangements: nothing is computed, elements move. All are linear.

use super::data::{Data, Shared, moved, together};
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value, with_batch};
use crate::array::{Array, Value};
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, TensorType, checked_numel, flat, for_each_index, reshape_groups, reshaped_axis, strides};
use numerics::Scalar;

/// Reads `x` at strides: element `index` of the value is at `offset + index . steps`.
fn strided<T: Scalar>(x: &Value<T>, out: &TensorType, offset: usize, steps: &[usize]) -> Result<Value<T>, Error> {
    fn gather<E: Copy>(data: &[E], out: &TensorType, offset: usize, steps: &[usize]) -> Vec<E> {
        let mut moved = Vec::with_capacity(out.numel());
        for_each_index(&out.shape, |index| moved.push(data[offset + flat(index, steps)]));
        moved
    }
    match x {
        Value::Real(a) => value(&out.shape, gather(a.data(), out, offset, steps)),
        Value::Int(a) => Array::new(&out.shape, gather(a.data(), out, offset, steps))
            .map(Value::Int)
            .ok_or_else(|| Error::Malformed("a view of the wrong size".into())),
    }
}

fn same_tangent<P: Into<super::Op> + Clone>(
    op: &P,
    b: &mut Builder,
    tangents: &[Option<NodeId>],
) -> Result<Option<NodeId>, Error> {
    tangents[0].map(|t| b.push(op.clone(), &[t])).transpose()
}

/// Operand axis `i` becomes axis `axes[i]` of the value; along the others the data repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Broadcast {
    /// Shape of the value.
    pub shape: Dims,
    /// Increasing, one per operand axis.
    pub axes: Dims,
}

impl Primitive for Broadcast {
    fn name(&self) -> String {
        format!("broadcast{:?}", self.axes.as_slice())
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        let increasing = self.axes.windows(2).all(|w| w[0] < w[1]);
        let inside = self.axes.last().is_none_or(|&a| a < self.shape.len());
        if self.axes.len() != x.rank() || !increasing || !inside {
            return Err(format!("axes {:?} do not place {x} in {:?}", self.axes.as_slice(), self.shape.as_slice()));
        }
        if self.axes.iter().zip(&x.shape).any(|(&a, &n)| self.shape[a] != n) {
            return Err(format!("{x} does not fit {:?} at axes {:?}", self.shape.as_slice(), self.axes.as_slice()));
        }
        checked_numel(&self.shape).ok_or("the shape is too large")?;
        Ok(TensorType { kind: x.kind, shape: self.shape.clone() })
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let s = strides(&args[0].ty().shape);
        let mut steps: Dims = smallvec::smallvec![0; self.shape.len()];
        self.axes.iter().zip(&s).for_each(|(&a, &step)| steps[a] = step);
        strided(args[0], out, 0, &steps)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        same_tangent(self, b, t)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let repeated: Vec<usize> = (0..self.shape.len()).filter(|a| !self.axes.contains(a)).collect();
        Ok(vec![Some(b.sum(ct, &repeated)?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let shape: Dims = core::iter::once(size).chain(self.shape.iter().copied()).collect();
        let axes: Dims = core::iter::once(0).chain(self.axes.iter().map(|a| a + 1)).collect();
        b.broadcast(args[0], &shape, &axes)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let place = |a: usize| self.axes.get(a).copied().ok_or_else(|| "an axis is in no place".to_string());
        moved(of[0], out, place, |s, z| match self.axes.iter().position(|&a| a == z) {
            Some(a) => s.is_still(a),
            None => true,
        })
    }
}

/// Same data in row-major order, other axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Reshape {
    /// Shape of the value.
    pub shape: Dims,
}

impl Primitive for Reshape {
    fn name(&self) -> String {
        "reshape".into()
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        match checked_numel(&self.shape) {
            Some(n) if n == x.numel() => Ok(TensorType { kind: x.kind, shape: self.shape.clone() }),
            _ => Err(format!("{x} does not have as many elements as {:?}", self.shape.as_slice())),
        }
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let steps = strides(&out.shape);
        strided(args[0], out, 0, &steps)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        same_tangent(self, b, t)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let shape = b.shape(args[0]);
        Ok(vec![Some(b.reshape(ct, &shape)?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let shape: Dims = core::iter::once(size).chain(self.shape.iter().copied()).collect();
        b.reshape(args[0], &shape)
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let (old, new) = (args[0].shape.as_slice(), out.shape.as_slice());
        let place =
            |a| reshaped_axis(old, new, a).ok_or_else(|| "it joins the data axis with others, or cuts it".into());
        moved(of[0], out, place, |s, z| {
            let same = |a: usize| reshaped_axis(old, new, a) == Some(z);
            let group = reshape_groups(old, new).into_iter().find(|(_, after)| after.contains(&z));
            group.is_some_and(|(mut before, _)| {
                before.clone().all(|a| s.is_still(a)) || before.any(|a| s.is_still(a) && same(a))
            })
        })
    }
}

/// Axis `i` of the value is axis `perm[i]` of the operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Transpose {
    /// A permutation of the axes.
    pub perm: Dims,
}

impl Primitive for Transpose {
    fn name(&self) -> String {
        format!("transpose{:?}", self.perm.as_slice())
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            return Err(format!("{:?} is no permutation of the axes of {x}", self.perm.as_slice()));
        }
        Ok(TensorType { kind: x.kind, shape: self.perm.iter().map(|&p| x.shape[p]).collect() })
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let s = strides(&args[0].ty().shape);
        let steps: Dims = self.perm.iter().map(|&p| s[p]).collect();
        strided(args[0], out, 0, &steps)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        same_tangent(self, b, t)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let mut inverse = self.perm.clone();
        self.perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
        Ok(vec![Some(b.transpose(ct, &inverse)?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        let perm: Dims = core::iter::once(0).chain(self.perm.iter().map(|p| p + 1)).collect();
        b.transpose(args[0], &perm)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let place =
            |a: usize| self.perm.iter().position(|&p| p == a).ok_or_else(|| "an axis is in no place".to_string());
        moved(of[0], out, place, |s, z| s.is_still(self.perm[z]))
    }
}

/// Elements `start, start + step, ..` below `stop` of each axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Slice {
    /// First index per axis.
    pub start: Dims,
    /// First index not taken, per axis.
    pub stop: Dims,
    /// At least one, per axis.
    pub step: Dims,
}

impl Slice {
    /// Everything.
    pub fn all(shape: &[usize]) -> Self {
        let n = shape.len();
        Slice { start: smallvec::smallvec![0; n], stop: Dims::from_slice(shape), step: smallvec::smallvec![1; n] }
    }

    fn size(&self, axis: usize) -> usize {
        (self.stop[axis] - self.start[axis]).div_ceil(self.step[axis])
    }
}

impl Primitive for Slice {
    fn name(&self) -> String {
        let axis = |i: usize| match self.step[i] {
            1 => format!("{}:{}", self.start[i], self.stop[i]),
            s => format!("{}:{}:{s}", self.start[i], self.stop[i]),
        };
        format!("slice[{}]", (0..self.step.len()).map(axis).collect::<Vec<_>>().join(", "))
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        let n = x.rank();
        if [&self.start, &self.stop, &self.step].iter().any(|d| d.len() != n) {
            return Err(format!("bounds are needed for each of the {n} axes"));
        }
        let bad = |i: usize| self.start[i] > self.stop[i] || self.stop[i] > x.shape[i] || self.step[i] == 0;
        match (0..n).find(|&i| bad(i)) {
            Some(i) => {
                Err(format!("bounds {}:{} do not lie in axis {i} of size {}", self.start[i], self.stop[i], x.shape[i]))
            }
            None => Ok(TensorType { kind: x.kind, shape: (0..n).map(|i| self.size(i)).collect() }),
        }
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let s = strides(&args[0].ty().shape);
        let steps: Dims = s.iter().zip(&self.step).map(|(a, b)| a * b).collect();
        strided(args[0], out, flat(&self.start, &s), &steps)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        same_tangent(self, b, t)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let shape = b.shape(args[0]);
        if (0..shape.len()).any(|i| self.size(i) == 0) {
            return Ok(vec![Some(b.full(&shape, 0.0)?)]);
        }
        let last = |i: usize| self.start[i] + (self.size(i) - 1) * self.step[i] + 1;
        let high = (0..shape.len()).map(|i| shape[i] - last(i)).collect();
        let pad = Pad { low: self.start.clone(), high, between: self.step.iter().map(|s| s - 1).collect() };
        Ok(vec![Some(b.pad(ct, pad)?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let with = |first: usize, d: &Dims| core::iter::once(first).chain(d.iter().copied()).collect();
        b.slice(args[0], Slice { start: with(0, &self.start), stop: with(size, &self.stop), step: with(1, &self.step) })
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let whole = |a: usize| self.start[a] == 0 && self.step[a] == 1 && self.stop[a] == args[0].shape[a];
        let place = |a: usize| if whole(a) { Ok(a) } else { Err("it picks some of the data".to_string()) };
        moved(of[0], out, place, Shared::is_still)
    }
}

/// Zeros before, after and between the elements of each axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Pad {
    /// Zeros before, per axis.
    pub low: Dims,
    /// Zeros after, per axis.
    pub high: Dims,
    /// Zeros between neighbours, per axis.
    pub between: Dims,
}

impl Pad {
    /// Whether it pads nothing.
    pub fn is_nothing(&self) -> bool {
        [&self.low, &self.high, &self.between].iter().all(|d| d.iter().all(|&n| n == 0))
    }
}

impl Primitive for Pad {
    fn name(&self) -> String {
        let axis = |i: usize| match self.between[i] {
            0 => format!("{}+{}", self.low[i], self.high[i]),
            n => format!("{}+{}/{n}", self.low[i], self.high[i]),
        };
        format!("pad[{}]", (0..self.low.len()).map(axis).collect::<Vec<_>>().join(", "))
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        expect_real(x)?;
        if [&self.low, &self.high, &self.between].iter().any(|d| d.len() != x.rank()) {
            return Err(format!("widths are needed for each of the {} axes", x.rank()));
        }
        let size = |i: usize| {
            let n = x.shape[i];
            let gaps = n.saturating_sub(1).checked_mul(self.between[i])?;
            n.checked_add(gaps)?.checked_add(self.low[i])?.checked_add(self.high[i])
        };
        let shape: Dims = (0..x.rank()).map(size).collect::<Option<_>>().ok_or("the shape is too large")?;
        checked_numel(&shape).ok_or("the shape is too large")?;
        Ok(TensorType::real(&shape))
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let x = real(args[0])?;
        let s = strides(&out.shape);
        let steps: Dims = s.iter().zip(&self.between).map(|(s, n)| s * (n + 1)).collect();
        let offset = flat(&self.low, &s);
        let mut data = vec![T::ZERO; out.numel()];
        let mut from = x.data().iter();
        for_each_index(x.shape(), |index| {
            if let Some(&v) = from.next() {
                data[offset + flat(index, &steps)] = v;
            }
        });
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        same_tangent(self, b, t)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let shape = b.shape(ct);
        let stop = shape.iter().zip(&self.high).map(|(n, h)| n - h).collect();
        let step = self.between.iter().map(|n| n + 1).collect();
        Ok(vec![Some(b.slice(ct, Slice { start: self.low.clone(), stop, step })?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        let with = |d: &Dims| core::iter::once(0).chain(d.iter().copied()).collect();
        b.pad(args[0], Pad { low: with(&self.low), high: with(&self.high), between: with(&self.between) })
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let none = |a: usize| self.low[a] == 0 && self.high[a] == 0 && self.between[a] == 0;
        let place = |a: usize| if none(a) { Ok(a) } else { Err("it puts zeros between the data".to_string()) };
        moved(of[0], out, place, |s, a| s.is_still(a) && (none(a) || s.is_zero()))
    }
}

/// Tensors joined along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

impl Primitive for Concat {
    fn name(&self) -> String {
        format!("concat[{}]", self.axis)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let first = *args.first().ok_or("needs at least one operand")?;
        let mut out = first.clone();
        let size = out.shape.get_mut(self.axis).ok_or(format!("{first} has no axis {}", self.axis))?;
        *size = 0;
        for ty in args {
            expect_real(ty)?;
            let fits =
                ty.rank() == first.rank() && (0..ty.rank()).all(|a| a == self.axis || ty.shape[a] == first.shape[a]);
            if !fits {
                return Err(format!("{ty} and {first} differ outside axis {}", self.axis));
            }
            out.shape[self.axis] += ty.shape[self.axis];
        }
        Ok(out)
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let outer: usize = out.shape[..self.axis].iter().product();
        let mut data = Vec::with_capacity(out.numel());
        for o in 0..outer {
            for arg in args {
                let x = real(arg)?;
                let chunk = x.data().len() / outer;
                data.extend_from_slice(&x.data()[o * chunk..(o + 1) * chunk]);
            }
        }
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        if tangents.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(args.len());
        for (&x, t) in args.iter().zip(tangents) {
            parts.push(match t {
                Some(t) => *t,
                None => b.zeros_like(x)?,
            });
        }
        b.concat(&parts, self.axis).map(Some)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let mut start = 0;
        let mut parts = Vec::with_capacity(args.len());
        for (&x, &linear) in args.iter().zip(linear) {
            let size = b.ty(x).shape[self.axis];
            parts.push(if linear { Some(b.slice_axis(ct, self.axis, start, start + size)?) } else { None });
            start += size;
        }
        Ok(parts)
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let mut parts = Vec::with_capacity(args.len());
        for (&x, &has) in args.iter().zip(batched) {
            parts.push(with_batch(b, x, has, size)?);
        }
        b.concat(&parts, self.axis + 1)
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        match together(of, |of| of.iter().all(|d| d.adds()))? {
            Data::Along(a) if a == self.axis => Err("it joins data with data".into()),
            Data::Shared(s) => {
                let alone = args.len() == 1;
                Ok(Data::Shared(Shared::axes(out, s.is_zero(), |a| s.is_still(a) && (a != self.axis || alone))))
            }
            of => Ok(of),
        }
    }
}
