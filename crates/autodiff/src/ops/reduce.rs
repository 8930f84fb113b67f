//! Reductions over axes.

use super::data::{Data, moved};
use super::index::ArgMax;
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value};
use super::{Gather, Op};
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, TensorType, flat, for_each_index, strides};
use numerics::Scalar;

fn infer(axes: &[usize], args: &[&TensorType]) -> Result<TensorType, String> {
    let [x] = expect_args(args)?;
    expect_real(x)?;
    if axes.windows(2).any(|w| w[0] >= w[1]) || axes.last().is_some_and(|&a| a >= x.rank()) {
        return Err(format!("axes {axes:?} are not increasing axes of {x}"));
    }
    let kept: Dims = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.shape[a]).collect();
    Ok(TensorType::real(&kept))
}

/// Folds the reduced axes of every kept position, in row-major order.
fn fold<T: Scalar>(
    axes: &[usize],
    x: &Value<T>,
    out: &TensorType,
    f: impl Fn(Option<T>, T) -> T,
) -> Result<Value<T>, Error> {
    let x = real(x)?;
    let s = strides(x.shape());
    let kept: Dims = (0..x.shape().len()).filter(|a| !axes.contains(a)).map(|a| s[a]).collect();
    let inner: Dims = axes.iter().map(|&a| x.shape()[a]).collect();
    let inner_strides: Dims = axes.iter().map(|&a| s[a]).collect();
    let mut data = Vec::with_capacity(out.numel());
    for_each_index(&out.shape, |index| {
        let base = flat(index, &kept);
        let mut acc = None;
        for_each_index(&inner, |k| acc = Some(f(acc, x.data()[base + flat(k, &inner_strides)])));
        data.push(acc.unwrap_or(T::ZERO));
    });
    value(&out.shape, data)
}

/// Where a kept axis is in the value, and which axis a place in the value was.
fn kept_place(axes: &[usize], a: usize) -> usize {
    a - axes.iter().filter(|&&r| r < a).count()
}

fn kept_axis(axes: &[usize], place: usize) -> usize {
    axes.iter().fold(place, |a, &r| if r <= a { a + 1 } else { a })
}

fn shifted(axes: &[usize]) -> Dims {
    axes.iter().map(|a| a + 1).collect()
}

/// Sum over axes, which vanish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ReduceSum {
    /// Increasing.
    pub axes: Dims,
}

impl Primitive for ReduceSum {
    fn name(&self) -> String {
        format!("sum{:?}", self.axes.as_slice())
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        infer(&self.axes, args)
    }

    fn flops(&self, args: &[&TensorType], _out: &TensorType) -> u64 {
        args[0].numel() as u64
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        fold(&self.axes, args[0], out, |acc, x| acc.map_or(x, |a| a + x))
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        tangents[0].map(|t| b.sum(t, &self.axes)).transpose()
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let shape = b.shape(args[0]);
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !self.axes.contains(a)).collect();
        Ok(vec![Some(b.broadcast(ct, &shape, &kept)?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.sum(args[0], &shifted(&self.axes))
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        match of[0] {
            Data::Along(a) if self.axes.contains(&a) => Ok(Data::Sum),
            of => moved(of, out, |a| Ok(kept_place(&self.axes, a)), |s, k| s.is_still(kept_axis(&self.axes, k))),
        }
    }
}

/// Maximum over axes, which vanish; its derivative goes to the first winner. NaN wins over everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ReduceMax {
    /// Increasing, none of size zero.
    pub axes: Dims,
}

impl Primitive for ReduceMax {
    fn name(&self) -> String {
        format!("max{:?}", self.axes.as_slice())
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let ty = infer(&self.axes, args)?;
        match self.axes.iter().find(|&&a| args[0].shape[a] == 0) {
            Some(a) => Err(format!("the maximum over axis {a} of size 0 does not exist")),
            None => Ok(ty),
        }
    }

    fn flops(&self, args: &[&TensorType], _out: &TensorType) -> u64 {
        args[0].numel() as u64
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        fold(&self.axes, args[0], out, |acc, x| match acc {
            Some(a) if a.is_nan() || a >= x => a,
            _ => x,
        })
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
        let Some(t) = tangents[0] else { return Ok(None) };
        // Kept axes first, the reduced ones merged into the last: then pick the tangent at the winner.
        let shape = b.shape(args[0]);
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !self.axes.contains(a)).collect();
        let perm: Vec<usize> = kept.iter().chain(&self.axes).copied().collect();
        let mut merged: Vec<usize> = kept.iter().map(|&a| shape[a]).collect();
        merged.push(self.axes.iter().map(|&a| shape[a]).product());
        let arrange = |b: &mut Builder, x: NodeId| {
            let x = b.transpose(x, &perm)?;
            b.reshape(x, &merged)
        };
        let (x, t) = (arrange(b, args[0])?, arrange(b, t)?);
        let winner = b.push(ArgMax, &[x])?;
        b.push(Gather { batch: kept.len() }, &[t, winner]).map(Some)
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(Op::ReduceMax(ReduceMax { axes: shifted(&self.axes) }), args)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        match of[0].no_sum()? {
            Data::Along(a) if self.axes.contains(&a) => Err("it takes the maximum over the data".into()),
            of => moved(of, out, |a| Ok(kept_place(&self.axes, a)), |s, k| s.is_still(kept_axis(&self.axes, k))),
        }
    }
}
