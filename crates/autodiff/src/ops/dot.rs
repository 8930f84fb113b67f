//! `Dot`: contraction over pairs of axes, with batch axes; every product of matrices is one.

use super::data::{Data, Shared};
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value};
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, TensorType, flat, for_each_index, strides};
use numerics::Scalar;

/// Pairs of axes (left, right) that run together (`batch`) or are summed over (`contract`).
///
/// The value's axes are the batch axes in the order given, the left operand's free axes, the right operand's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Dot {
    /// Axes that run together.
    pub batch: Vec<(usize, usize)>,
    /// Axes that are summed over.
    pub contract: Vec<(usize, usize)>,
}

impl Dot {
    /// Free axes of the operand (0 left, 1 right) of this rank.
    pub(crate) fn free(&self, side: usize, rank: usize) -> Vec<usize> {
        (0..rank).filter(|a| !self.pairs().any(|p| pick(p, side) == *a)).collect()
    }

    /// The contraction of operands that both have a new leading axis, which is summed over too.
    pub(crate) fn with_leading_contracted(&self, b: &mut Builder, x: NodeId, y: NodeId) -> Result<NodeId, Error> {
        let shift = |pairs: &[(usize, usize)]| pairs.iter().map(|&(l, r)| (l + 1, r + 1)).collect::<Vec<_>>();
        let mut contract = shift(&self.contract);
        contract.insert(0, (0, 0));
        b.dot(x, y, &shift(&self.batch), &contract)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.batch.iter().chain(&self.contract).copied()
    }

    fn inner_size(&self, x: &TensorType) -> usize {
        self.contract.iter().map(|&(l, _)| x.shape[l]).product()
    }

    /// Cotangent of one operand: `ct` contracted with the other operand over the other's free axes.
    fn cotangent(&self, b: &mut Builder, args: &[NodeId], side: usize, ct: NodeId) -> Result<NodeId, Error> {
        let other = args[1 - side];
        let (rank, other_rank) = (b.ty(args[side]).rank(), b.ty(other).rank());
        let (free, other_free) = (self.free(side, rank), self.free(1 - side, other_rank));
        let nb = self.batch.len();
        let other_start = if side == 0 { nb + free.len() } else { nb };
        let batch: Vec<_> = self.batch.iter().enumerate().map(|(i, &p)| (i, pick(p, 1 - side))).collect();
        let contract: Vec<_> = other_free.iter().enumerate().map(|(i, &a)| (other_start + i, a)).collect();
        // Axes of the product: batch, own free axes, then the contracted axes in the other operand's order.
        let product = b.dot(ct, other, &batch, &contract)?;
        let mut contracted = self.contract.clone();
        contracted.sort_unstable_by_key(|&p| pick(p, 1 - side));
        let places = self.batch.iter().map(|&p| pick(p, side)).chain(free);
        let places: Vec<usize> = places.chain(contracted.iter().map(|&p| pick(p, side))).collect();
        let mut perm = vec![0; rank];
        for (from, &to) in places.iter().enumerate() {
            perm[to] = from;
        }
        b.transpose(product, &perm)
    }
}

fn pick(pair: (usize, usize), side: usize) -> usize {
    if side == 0 { pair.0 } else { pair.1 }
}

impl Primitive for Dot {
    fn name(&self) -> String {
        let show =
            |pairs: &[(usize, usize)]| pairs.iter().map(|(l, r)| format!("{l}-{r}")).collect::<Vec<_>>().join(" ");
        match self.batch.is_empty() {
            true => format!("dot[{}]", show(&self.contract)),
            false => format!("dot[{} | batch {}]", show(&self.contract), show(&self.batch)),
        }
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x, y] = expect_args(args)?;
        expect_real(x)?;
        expect_real(y)?;
        for side in [0, 1] {
            let mut axes: Vec<_> = self.pairs().map(|p| pick(p, side)).collect();
            axes.sort_unstable();
            let rank = [x, y][side].rank();
            if axes.windows(2).any(|w| w[0] == w[1]) || axes.last().is_some_and(|&a| a >= rank) {
                return Err(format!("axes {axes:?} are repeated or outside the {rank} axes of operand {side}"));
            }
        }
        if let Some((l, r)) = self.pairs().find(|&(l, r)| x.shape[l] != y.shape[r]) {
            return Err(format!("axis {l} of size {} meets axis {r} of size {}", x.shape[l], y.shape[r]));
        }
        let batch = self.batch.iter().map(|&(l, _)| x.shape[l]);
        let left = self.free(0, x.rank()).into_iter().map(|a| x.shape[a]);
        let right = self.free(1, y.rank()).into_iter().map(|a| y.shape[a]);
        let shape: Dims = batch.chain(left).chain(right).collect();
        Ok(TensorType::real(&shape))
    }

    fn flops(&self, args: &[&TensorType], out: &TensorType) -> u64 {
        2 * (out.numel() as u64) * (self.inner_size(args[0]) as u64)
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let (x, y) = (real(args[0])?, real(args[1])?);
        let (sx, sy) = (strides(x.shape()), strides(y.shape()));
        let (free_x, free_y) = (self.free(0, x.shape().len()), self.free(1, y.shape().len()));
        let inner: Dims = self.contract.iter().map(|&(l, _)| x.shape()[l]).collect();
        let inner_x: Dims = self.contract.iter().map(|&(l, _)| sx[l]).collect();
        let inner_y: Dims = self.contract.iter().map(|&(_, r)| sy[r]).collect();
        let outer_x = self.batch.iter().map(|&(l, _)| sx[l]).chain(free_x.iter().map(|&a| sx[a]));
        let outer_x: Dims = outer_x.chain(free_y.iter().map(|_| 0)).collect();
        let outer_y = self.batch.iter().map(|&(_, r)| sy[r]).chain(free_x.iter().map(|_| 0));
        let outer_y: Dims = outer_y.chain(free_y.iter().map(|&a| sy[a])).collect();
        let mut data = Vec::with_capacity(out.numel());
        for_each_index(&out.shape, |index| {
            let (px, py) = (flat(index, &outer_x), flat(index, &outer_y));
            let mut sum = T::ZERO;
            for_each_index(&inner, |k| sum += x.data()[px + flat(k, &inner_x)] * y.data()[py + flat(k, &inner_y)]);
            data.push(sum);
        });
        value(&out.shape, data)
    }

    fn taylor(&self) -> Taylor {
        Taylor::Product
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        _out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        let left = tangents[0].map(|t| b.dot(t, args[1], &self.batch, &self.contract)).transpose()?;
        let right = tangents[1].map(|t| b.dot(args[0], t, &self.batch, &self.contract)).transpose()?;
        match (left, right) {
            (Some(p), Some(q)) => b.add(p, q).map(Some),
            (p, q) => Ok(p.or(q)),
        }
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        match (linear[0], linear[1]) {
            (true, false) => Ok(vec![Some(self.cotangent(b, args, 0, ct)?), None]),
            (false, true) => Ok(vec![None, Some(self.cotangent(b, args, 1, ct)?)]),
            _ => Err(Error::unsupported(self.name(), "transpose", "bilinear in these operands")),
        }
    }

    /// The new axis joins the free axes of the operand that has it (one wider product); only if both have it is it
    /// a batch axis.
    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        let shift = |pairs: &[(usize, usize)]| -> Vec<(usize, usize)> {
            pairs.iter().map(|&(l, r)| (l + usize::from(batched[0]), r + usize::from(batched[1]))).collect()
        };
        let (mut batch, contract) = (shift(&self.batch), shift(&self.contract));
        if batched[0] && batched[1] {
            batch.insert(0, (0, 0));
            return b.dot(args[0], args[1], &batch, &contract);
        }
        let place = match batched[0] {
            true => self.batch.len(),
            false => self.batch.len() + self.free(0, b.ty(args[0]).rank()).len(),
        };
        let product = b.dot(args[0], args[1], &batch, &contract)?;
        b.move_axis(product, place, 0)
    }

    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
        let ranks = [args[0].rank(), args[1].rank()];
        let free = [self.free(0, ranks[0]), self.free(1, ranks[1])];
        let along = |side: usize, axis: usize| -> Result<Data, String> {
            let (at, shift) = (free[side].iter().position(|&a| a == axis), side * free[0].len());
            if let Some(k) = at {
                return match of[1 - side] {
                    Data::Shared(_) => Ok(Data::Along(self.batch.len() + shift + k)),
                    Data::Along(_) => Err("it pairs every datum with every other".into()),
                    Data::Sum => Err("it joins a sum over the data with single data".into()),
                };
            }
            let partner = |pairs: &[(usize, usize)]| pairs.iter().position(|&p| pick(p, side) == axis);
            if let Some(k) = partner(&self.batch) {
                of[1 - side].still(pick(self.batch[k], 1 - side))?;
                return Ok(Data::Along(k));
            }
            let k = partner(&self.contract).ok_or("an axis is in no place")?;
            of[1 - side].still(pick(self.contract[k], 1 - side))?;
            Ok(Data::Sum)
        };
        match (of[0], of[1]) {
            (Data::Along(a), _) => along(0, a),
            (_, Data::Along(a)) => along(1, a),
            (Data::Shared(x), Data::Shared(y)) => {
                let nb = self.batch.len();
                Ok(Data::Shared(Shared::axes(out, x.is_zero() || y.is_zero(), |z| match z.checked_sub(nb) {
                    None => x.is_still(self.batch[z].0) && y.is_still(self.batch[z].1),
                    Some(k) if k < free[0].len() => x.is_still(free[0][k]),
                    Some(k) => y.is_still(free[1][k - free[0].len()]),
                })))
            }
            (x, y) if x.is_shared() || y.is_shared() => Ok(Data::Sum),
            _ => Err("it multiplies two sums over the data".into()),
        }
    }
}
