//! What a primitive has to say about itself.

use super::data::Data;
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::TensorType;
use numerics::Scalar;

/// How a primitive's Taylor coefficients depend on those of its operands, beyond the linear part that `jvp` states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taylor {
    /// Orders do not mix: its derivative does not change along the curve (linear, piecewise linear, or flat).
    Linear,
    /// An elementwise function with derivatives of every order.
    Elementwise(super::Unary),
    /// Linear in each of its two operands.
    Product,
    /// The first operand divided by the second.
    Quotient,
    /// Whatever its body says; it is replaced by the body first.
    Composite,
}

/// The whole truth about one primitive.
pub trait Primitive {
    /// Name with attributes, as listings show it.
    fn name(&self) -> String;

    /// The shape rule; the error says what is wrong in words.
    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String>;

    /// Floating-point operations; views and copies count none.
    fn flops(&self, _args: &[&TensorType], _out: &TensorType) -> u64 {
        0
    }

    /// Whether the operands may be swapped.
    fn commutes(&self) -> bool {
        false
    }

    /// Evaluates; operands have the inferred types.
    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error>;

    /// Tangent of the value; `None` where it is zero. Tangents of integer operands are `None`.
    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error>;

    /// How orders mix in Taylor mode.
    fn taylor(&self) -> Taylor;

    /// Cotangents of the operands marked `linear`; the value is linear in them jointly.
    fn transpose(
        &self,
        _b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        _ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        Err(Error::unsupported(self.name(), "transpose", "the operation is not linear"))
    }

    /// The operation over a new leading axis of `size` on the operands marked `batched` (at least one is).
    fn batch(&self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize) -> Result<NodeId, Error>;

    /// How the value depends on the data, given how the operands do; the error says how data are mixed.
    fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String>;
}

pub(super) fn expect_args<'a, const N: usize>(args: &[&'a TensorType]) -> Result<[&'a TensorType; N], String> {
    <[&TensorType; N]>::try_from(args).map_err(|_| format!("takes {N} operands, got {}", args.len()))
}

pub(super) fn expect_real(ty: &TensorType) -> Result<(), String> {
    if ty.is_real() { Ok(()) } else { Err("needs real operands; convert integers with `to_real`".into()) }
}

/// The array of an operand whose kind the shape rule has checked.
pub(super) fn real<T>(v: &Value<T>) -> Result<&crate::array::Array<T>, Error> {
    v.real().ok_or_else(|| Error::Malformed("a real operand was expected".into()))
}

pub(super) fn int<T>(v: &Value<T>) -> Result<&crate::array::Array<i64>, Error> {
    v.int().ok_or_else(|| Error::Malformed("an integer operand was expected".into()))
}

pub(super) fn value<T>(shape: &[usize], data: Vec<T>) -> Result<Value<T>, Error> {
    crate::array::Array::new(shape, data)
        .map(Value::Real)
        .ok_or_else(|| Error::Malformed("a kernel produced the wrong number of elements".into()))
}

/// Gives an operand without the batch axis one, so that all have it.
pub(super) fn with_batch(b: &mut Builder, x: NodeId, batched: bool, size: usize) -> Result<NodeId, Error> {
    if batched {
        return Ok(x);
    }
    let inner = b.shape(x);
    let mut shape = inner.clone();
    shape.insert(0, size);
    let axes: Vec<usize> = (1..=inner.len()).collect();
    b.broadcast(x, &shape, &axes)
}
