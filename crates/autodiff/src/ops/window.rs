//! Sliding windows along one axis and their overlap-add: a convolution is two windows and a contraction.

use super::data::{Data, moved};
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value};
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, TensorType, flat, for_each_index, strides};
use numerics::Scalar;

/// Axis `axis` of length L becomes the `(L - dilation (size - 1) - 1) / stride + 1` windows; their elements form a new last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// The axis that the windows slide along.
    pub axis: usize,
    /// Elements per window.
    pub size: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Distance between the elements of a window.
    pub dilation: usize,
}

/// The transpose of [`Window`]: adds the windows up into an axis of length `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Fold {
    /// The windows' geometry.
    pub window: Window,
    /// Length of the axis that they are added into.
    pub len: usize,
}

impl Window {
    /// Number of windows in an axis of this length.
    pub fn count(&self, len: usize) -> Option<usize> {
        let reach = self.dilation.checked_mul(self.size.checked_sub(1)?)?.checked_add(1)?;
        if self.stride == 0 || self.dilation == 0 {
            return None;
        }
        Some(len.checked_sub(reach)? / self.stride + 1)
    }

    /// Steps of the windowed view in an array with these strides.
    fn steps(&self, strides: &[usize]) -> Dims {
        let mut steps = Dims::from_slice(strides);
        steps[self.axis] *= self.stride;
        steps.push(strides[self.axis] * self.dilation);
        steps
    }

    fn shifted(self) -> Window {
        Window { axis: self.axis + 1, ..self }
    }
}

impl Primitive for Window {
    fn name(&self) -> String {
        format!("window[axis {}, size {}, stride {}, dilation {}]", self.axis, self.size, self.stride, self.dilation)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        expect_real(x)?;
        let len = *x.shape.get(self.axis).ok_or(format!("{x} has no axis {}", self.axis))?;
        let count = self.count(len).ok_or(format!("no window of {} fits an axis of {len}", self.size))?;
        let mut shape = x.shape.clone();
        shape[self.axis] = count;
        shape.push(self.size);
        Ok(TensorType::real(&shape))
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let x = real(args[0])?;
        let steps = self.steps(&strides(x.shape()));
        let mut data = Vec::with_capacity(out.numel());
        for_each_index(&out.shape, |index| data.push(x.data()[flat(index, &steps)]));
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        t[0].map(|t| b.push(*self, &[t])).transpose()
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let len = b.ty(args[0]).shape[self.axis];
        Ok(vec![Some(b.push(Fold { window: *self, len }, &[ct])?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(self.shifted(), args)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let place = |a: usize| match a == self.axis {
            true => Err("its windows slide over the data".to_string()),
            false => Ok(a),
        };
        let last = out.rank() - 1;
        moved(of[0], out, place, |s, a| s.is_still(if a == last { self.axis } else { a }))
    }
}

impl Primitive for Fold {
    fn name(&self) -> String {
        let w = &self.window;
        format!("fold[axis {}, stride {}, dilation {}, len {}]", w.axis, w.stride, w.dilation, self.len)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        expect_real(x)?;
        let w = &self.window;
        let fits =
            x.rank() > w.axis + 1 && x.shape.last() == Some(&w.size) && w.count(self.len) == Some(x.shape[w.axis]);
        if !fits {
            return Err(format!("{x} does not hold windows of {} from an axis of {}", w.size, self.len));
        }
        let mut shape = x.shape.clone();
        shape.pop();
        shape[w.axis] = self.len;
        Ok(TensorType::real(&shape))
    }

    fn flops(&self, args: &[&TensorType], _out: &TensorType) -> u64 {
        args[0].numel() as u64
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let x = real(args[0])?;
        let steps = self.window.steps(&strides(&out.shape));
        let mut data = vec![T::ZERO; out.numel()];
        let mut from = x.data().iter();
        for_each_index(x.shape(), |index| {
            if let Some(&v) = from.next() {
                data[flat(index, &steps)] += v;
            }
        });
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, t: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        t[0].map(|t| b.push(*self, &[t])).transpose()
    }

    fn transpose(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        Ok(vec![Some(b.push(self.window, &[ct])?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(Fold { window: self.window.shifted(), len: self.len }, args)
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let axis = self.window.axis;
        let place = |a: usize| match a == axis || a + 1 == args[0].rank() {
            true => Err("it adds windows over the data".to_string()),
            false => Ok(a),
        };
        moved(of[0], out, place, |s, a| a != axis && s.is_still(a))
    }
}
