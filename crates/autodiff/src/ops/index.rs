//! Picking and adding by integer indices: embeddings, label losses, max pooling.

use super::data::{Data, Shared, TWO_AXES, alone, moved};
use super::rule::{Primitive, Taylor, expect_args, expect_real, int, real, value, with_batch};
use crate::array::{Array, Value};
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, Kind, TensorType};
use numerics::Scalar;

/// `gather(x, i)`: `x` is `[batch.., V, rest..]`, `i` is `[batch.., picks..]`, the value `[batch.., picks.., rest..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Gather {
    /// Number of leading axes that both operands share.
    pub batch: usize,
}

/// `scatter_add(i, u)`: the transpose of [`Gather`] in `x`; `u` is `[batch.., picks.., rest..]`, the value `[batch.., size, rest..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ScatterAdd {
    /// Number of leading axes that both operands share.
    pub batch: usize,
    /// Size of the axis that is indexed.
    pub size: usize,
}

fn expect_int(ty: &TensorType) -> Result<(), String> {
    if ty.kind == Kind::Int { Ok(()) } else { Err("needs integer indices".into()) }
}

fn position(op: &'static str, index: i64, size: usize) -> Result<usize, Error> {
    usize::try_from(index).ok().filter(|&i| i < size).ok_or(Error::IndexOutOfRange { op, index, size })
}

impl Primitive for Gather {
    fn name(&self) -> String {
        format!("gather[batch {}]", self.batch)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x, i] = expect_args(args)?;
        expect_real(x)?;
        expect_int(i)?;
        let n = self.batch;
        if x.rank() <= n || i.rank() < n || x.shape[..n] != i.shape[..n] {
            return Err(format!("the operands do not share {n} leading axes before the indexed one"));
        }
        let shape: Dims = i.shape.iter().chain(&x.shape[n + 1..]).copied().collect();
        Ok(TensorType::real(&shape))
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let (x, i) = (real(args[0])?, int(args[1])?);
        let size = x.shape()[self.batch];
        let rest: usize = x.shape()[self.batch + 1..].iter().product();
        let picks: usize = i.shape()[self.batch..].iter().product();
        let mut data = Vec::with_capacity(out.numel());
        for (k, &index) in i.data().iter().enumerate() {
            let row = (k / picks) * size + position("gather", index, size)?;
            data.extend_from_slice(&x.data()[row * rest..(row + 1) * rest]);
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
        tangents[0].map(|t| b.push(*self, &[t, args[1]])).transpose()
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        let size = b.ty(args[0]).shape[self.batch];
        Ok(vec![Some(b.push(ScatterAdd { batch: self.batch, size }, &[args[1], ct])?), None])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        match (batched[0], batched[1]) {
            (true, false) => {
                // The new axis stands right behind the indexed one while picking.
                let x = b.move_axis(args[0], 0, self.batch + 1)?;
                let picked = b.push(*self, &[x, args[1]])?;
                let place = b.ty(args[1]).rank();
                b.move_axis(picked, place, 0)
            }
            (false, true) if self.batch == 0 => b.push(*self, args),
            _ => {
                let x = with_batch(b, args[0], batched[0], size)?;
                b.push(Gather { batch: self.batch + 1 }, &[x, args[1]])
            }
        }
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let (batch, picks) = (self.batch, args[1].rank() - self.batch);
        match (of[0].no_sum()?, of[1].no_sum()?) {
            (Data::Along(a), _) if a == batch => Err("it picks among the data".into()),
            (Data::Along(a), i) if a < batch => i.still(a).map(|()| Data::Along(a)),
            (Data::Along(_), Data::Along(_)) => Err(TWO_AXES.into()),
            (Data::Along(a), _) => Ok(Data::Along(a - 1 + picks)),
            (x, Data::Along(a)) if a < batch => x.still(a).map(|()| Data::Along(a)),
            (_, Data::Along(a)) => Ok(Data::Along(a)),
            (Data::Shared(x), Data::Shared(i)) => Ok(Data::Shared(Shared::axes(out, x.is_zero(), |z| {
                if z < batch {
                    x.is_still(z) && i.is_still(z)
                } else if z < batch + picks {
                    i.is_still(z)
                } else {
                    x.is_still(z + 1 - picks)
                }
            }))),
            _ => Err("the operands of a gather are wrong".into()),
        }
    }
}

impl Primitive for ScatterAdd {
    fn name(&self) -> String {
        format!("scatter_add[batch {}, size {}]", self.batch, self.size)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [i, u] = expect_args(args)?;
        expect_int(i)?;
        expect_real(u)?;
        if i.rank() < self.batch || u.rank() < i.rank() || u.shape[..i.rank()] != i.shape[..] {
            return Err("the updates do not begin with the axes of the indices".into());
        }
        let mut shape = Dims::from_slice(&i.shape[..self.batch]);
        shape.push(self.size);
        shape.extend_from_slice(&u.shape[i.rank()..]);
        Ok(TensorType::real(&shape))
    }

    fn flops(&self, args: &[&TensorType], _out: &TensorType) -> u64 {
        args[1].numel() as u64
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let (i, u) = (int(args[0])?, real(args[1])?);
        let rest: usize = u.shape()[i.shape().len()..].iter().product();
        let picks: usize = i.shape()[self.batch..].iter().product();
        let mut data = vec![T::ZERO; out.numel()];
        for (k, &index) in i.data().iter().enumerate() {
            let row = (k / picks) * self.size + position("scatter_add", index, self.size)?;
            for r in 0..rest {
                data[row * rest + r] += u.data()[k * rest + r];
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
        tangents[1].map(|t| b.push(*self, &[args[0], t])).transpose()
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        Ok(vec![None, Some(b.push(Gather { batch: self.batch }, &[ct, args[0]])?)])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        if !batched[0] {
            let place = b.ty(args[0]).rank();
            let u = b.move_axis(args[1], 0, place)?;
            let sum = b.push(*self, &[args[0], u])?;
            return b.move_axis(sum, self.batch + 1, 0);
        }
        let u = with_batch(b, args[1], batched[1], size)?;
        b.push(ScatterAdd { batch: self.batch + 1, size: self.size }, &[args[0], u])
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let (batch, rank) = (self.batch, args[0].rank());
        match (of[0].no_sum()?, of[1]) {
            (i, Data::Along(a)) if a < rank => {
                i.still(a)?;
                Ok(if a < batch { Data::Along(a) } else { Data::Sum })
            }
            (Data::Along(a), u) => {
                u.still(a)?;
                Ok(if a < batch { Data::Along(a) } else { Data::Sum })
            }
            (_, Data::Along(a)) => Ok(Data::Along(a + batch + 1 - rank)),
            (_, Data::Sum) => Ok(Data::Sum),
            (Data::Shared(i), Data::Shared(u)) => Ok(Data::Shared(Shared::axes(out, u.is_zero(), |z| {
                (z < batch && i.is_still(z) && u.is_still(z)) || (z > batch && u.is_still(z + rank - batch - 1))
            }))),
            _ => Err("the operands of a scatter are wrong".into()),
        }
    }
}

/// Position of the first maximum along the last axis, which vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ArgMax;

impl Primitive for ArgMax {
    fn name(&self) -> String {
        "argmax".into()
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        expect_real(x)?;
        match x.shape.split_last() {
            Some((&n, kept)) if n > 0 => Ok(TensorType::int(kept)),
            _ => Err("needs a last axis that is not empty".into()),
        }
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let x = real(args[0])?;
        let n = x.shape().last().copied().unwrap_or(1);
        let first_max = |row: &[T]| {
            let better = |best: usize, i: usize| !row[best].is_nan() && (row[i] > row[best] || row[i].is_nan());
            (1..n).fold(0, |best, i| if better(best, i) { i } else { best }) as i64
        };
        let data = x.data().chunks_exact(n).map(first_max).collect();
        Array::new(&out.shape, data).map(Value::Int).ok_or_else(|| Error::Malformed("argmax".into()))
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(*self, args)
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        match of[0].no_sum()? {
            Data::Along(a) if a + 1 == args[0].rank() => Err("it looks for the maximum among the data".into()),
            of => moved(of, out, Ok, Shared::is_still),
        }
    }
}

/// Indices as unit vectors along a new last axis; an index outside `0..depth` gives zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct OneHot {
    /// Length of the new axis.
    pub depth: usize,
}

impl Primitive for OneHot {
    fn name(&self) -> String {
        format!("one_hot[{}]", self.depth)
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [i] = expect_args(args)?;
        expect_int(i)?;
        let mut shape = i.shape.clone();
        shape.push(self.depth);
        Ok(TensorType::real(&shape))
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let mut data = vec![T::ZERO; out.numel()];
        for (k, &index) in int(args[0])?.data().iter().enumerate() {
            if let Ok(i) = position("one_hot", index, self.depth) {
                data[k * self.depth + i] = T::ONE;
            }
        }
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(*self, args)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let size = out.rank() - 1;
        moved(of[0].no_sum()?, out, Ok, |s, a| a < size && s.is_still(a))
    }
}

/// Integers as reals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ToReal;

impl Primitive for ToReal {
    fn name(&self) -> String {
        "to_real".into()
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [i] = expect_args(args)?;
        expect_int(i)?;
        Ok(TensorType::real(&i.shape))
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        value(&out.shape, int(args[0])?.data().iter().map(|&i| T::from_f64(i as f64)).collect())
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.push(*self, args)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], _: &TensorType) -> Result<Data, String> {
        alone(of[0], false)
    }
}
