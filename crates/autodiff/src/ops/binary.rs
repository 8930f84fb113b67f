//! Elementwise functions of two tensors, comparison and choice.

use super::data::{Data, together};
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value, with_batch};
use super::unary::Unary;
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::TensorType;
use numerics::Scalar;

/// Which function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    Div,
    /// The larger; at a tie the first operand is the winner.
    Max,
    /// The smaller; at a tie the first operand is the winner.
    Min,
    /// 1 where the first is less, else 0.
    Less,
    /// 1 where the first is not greater, else 0.
    LessEqual,
    /// 1 where equal, else 0.
    Equal,
}

impl BinaryFn {
    /// The function itself. `Max` and `Min` hand a NaN on.
    pub fn value<T: Scalar>(self, x: T, y: T) -> T {
        let truth = |p: bool| if p { T::ONE } else { T::ZERO };
        match self {
            BinaryFn::Add => x + y,
            BinaryFn::Sub => x - y,
            BinaryFn::Mul => x * y,
            BinaryFn::Div => x / y,
            BinaryFn::Max | BinaryFn::Min if y.is_nan() => y,
            BinaryFn::Max if y > x => y,
            BinaryFn::Min if y < x => y,
            BinaryFn::Max | BinaryFn::Min => x,
            BinaryFn::Less => truth(x < y),
            BinaryFn::LessEqual => truth(x <= y),
            BinaryFn::Equal => truth(x == y),
        }
    }

    fn is_comparison(self) -> bool {
        matches!(self, BinaryFn::Less | BinaryFn::LessEqual | BinaryFn::Equal)
    }
}

/// An elementwise function of two tensors of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Binary(pub BinaryFn);

impl Primitive for Binary {
    fn name(&self) -> String {
        match self.0 {
            BinaryFn::LessEqual => "less_equal".into(),
            f => format!("{f:?}").to_lowercase(),
        }
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x, y] = expect_args(args)?;
        expect_real(x)?;
        expect_real(y)?;
        if x.shape == y.shape { Ok(x.clone()) } else { Err("the shapes differ".into()) }
    }

    fn flops(&self, _args: &[&TensorType], out: &TensorType) -> u64 {
        out.numel() as u64
    }

    fn commutes(&self) -> bool {
        matches!(self.0, BinaryFn::Add | BinaryFn::Mul | BinaryFn::Equal)
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let (x, y) = (real(args[0])?, real(args[1])?);
        value(&out.shape, x.data().iter().zip(y.data()).map(|(&x, &y)| self.0.value(x, y)).collect())
    }

    fn taylor(&self) -> Taylor {
        match self.0 {
            BinaryFn::Mul => Taylor::Product,
            BinaryFn::Div => Taylor::Quotient,
            _ => Taylor::Linear,
        }
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        let (x, y) = (args[0], args[1]);
        let terms = match self.0 {
            f if f.is_comparison() => return Ok(None),
            BinaryFn::Add => [tangents[0], tangents[1]],
            BinaryFn::Sub => [tangents[0], tangents[1].map(|t| b.neg(t)).transpose()?],
            BinaryFn::Mul => {
                let left = tangents[0].map(|t| b.mul(t, y)).transpose()?;
                [left, tangents[1].map(|t| b.mul(x, t)).transpose()?]
            }
            BinaryFn::Div => {
                let left = tangents[0].map(|t| b.div(t, y)).transpose()?;
                let right = match tangents[1] {
                    Some(t) => {
                        let slope = b.div(out, y)?;
                        let product = b.mul(slope, t)?;
                        Some(b.neg(product)?)
                    }
                    None => None,
                };
                [left, right]
            }
            _ => {
                // Whether the second operand won, asked of the value, so that the operand need not be kept.
                let second = if self.0 == BinaryFn::Max { (x, out) } else { (out, x) };
                let second = b.binary(BinaryFn::Less, second.0, second.1)?;
                let zero = b.zeros_like(x)?;
                let (tx, ty) = (tangents[0].unwrap_or(zero), tangents[1].unwrap_or(zero));
                let t = b.select(second, ty, tx)?;
                return Ok(tangents.iter().any(Option::is_some).then_some(t));
            }
        };
        match terms {
            [Some(p), Some(q)] => b.add(p, q).map(Some),
            [p, q] => Ok(p.or(q)),
        }
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        match (self.0, linear[0], linear[1]) {
            (BinaryFn::Add, p, q) => Ok(vec![p.then_some(ct), q.then_some(ct)]),
            (BinaryFn::Sub, p, q) => {
                let minus = if q { Some(b.neg(ct)?) } else { None };
                Ok(vec![p.then_some(ct), minus])
            }
            (BinaryFn::Mul, true, false) => Ok(vec![Some(b.mul(ct, args[1])?), None]),
            (BinaryFn::Mul, false, true) => Ok(vec![None, Some(b.mul(args[0], ct)?)]),
            (BinaryFn::Div, true, false) => Ok(vec![Some(b.div(ct, args[1])?), None]),
            _ => Err(Error::unsupported(self.name(), "transpose", "not linear in these operands")),
        }
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let x = with_batch(b, args[0], batched[0], size)?;
        let y = with_batch(b, args[1], batched[1], size)?;
        b.binary(self.0, x, y)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], _: &TensorType) -> Result<Data, String> {
        together(of, |of| match self.0 {
            BinaryFn::Add | BinaryFn::Sub => of.iter().all(|d| d.adds()),
            BinaryFn::Mul => of[0].is_shared() || of[1].is_shared(),
            BinaryFn::Div => of[1].is_shared(),
            _ => false,
        })
    }
}

/// `select(p, x, y)`: `x` where `p` is not zero, else `y`; three tensors of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Select;

impl Primitive for Select {
    fn name(&self) -> String {
        "select".into()
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [p, x, y] = expect_args(args)?;
        for ty in [p, x, y] {
            expect_real(ty)?;
        }
        if p.shape == x.shape && x.shape == y.shape { Ok(x.clone()) } else { Err("the shapes differ".into()) }
    }

    fn flops(&self, _args: &[&TensorType], out: &TensorType) -> u64 {
        out.numel() as u64
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        let (p, x, y) = (real(args[0])?, real(args[1])?, real(args[2])?);
        let pick = |i: usize| if p.data()[i] != T::ZERO { x.data()[i] } else { y.data()[i] };
        value(&out.shape, (0..out.numel()).map(pick).collect())
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        if tangents[1].is_none() && tangents[2].is_none() {
            return Ok(None);
        }
        let zero = b.zeros_like(out)?;
        b.select(args[0], tangents[1].unwrap_or(zero), tangents[2].unwrap_or(zero)).map(Some)
    }

    fn transpose(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        if linear[0] {
            return Err(Error::unsupported("select", "transpose", "not linear in its predicate"));
        }
        let zero = b.zeros_like(ct)?;
        let x = if linear[1] { Some(b.select(args[0], ct, zero)?) } else { None };
        let y = if linear[2] { Some(b.select(args[0], zero, ct)?) } else { None };
        Ok(vec![None, x, y])
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error> {
        let p = with_batch(b, args[0], batched[0], size)?;
        let x = with_batch(b, args[1], batched[1], size)?;
        let y = with_batch(b, args[2], batched[2], size)?;
        b.select(p, x, y)
    }

    fn data(&self, _: &[&TensorType], of: &[Data], _: &TensorType) -> Result<Data, String> {
        together(of, |of| of[0].is_shared() && of[1].adds() && of[2].adds())
    }
}

impl Unary {
    /// `max(x, 0)` is `Max` with the constant first, so that its derivative at zero is zero.
    pub(crate) fn relu(b: &mut Builder, x: NodeId) -> Result<NodeId, Error> {
        let zero = b.zeros_like(x)?;
        b.binary(BinaryFn::Max, zero, x)
    }
}
