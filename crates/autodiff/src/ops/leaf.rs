//! Leaves of a program: inputs and constants.

use super::data::{Data, Shared};
use super::rule::{Primitive, Taylor, with_batch};
use crate::array::{Array, Value};
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::{Dims, Kind, TensorType};
use numerics::Scalar;
use std::sync::Arc;

/// An input of the program, by its position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Input {
    /// Position among the inputs.
    pub index: usize,
    /// Kind and shape.
    pub ty: TensorType,
}

impl Primitive for Input {
    fn name(&self) -> String {
        format!("input{}", self.index)
    }

    fn infer(&self, _args: &[&TensorType]) -> Result<TensorType, String> {
        Ok(self.ty.clone())
    }

    fn eval<T: Scalar>(&self, _args: &[&Value<T>], _out: &TensorType) -> Result<Value<T>, Error> {
        Err(Error::Malformed("an input was evaluated".into()))
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }

    fn batch(&self, _: &mut Builder, _: &[NodeId], _: &[bool], _: usize) -> Result<NodeId, Error> {
        Err(Error::Malformed("an input has no operands to batch".into()))
    }

    fn data(&self, _: &[&TensorType], _: &[Data], _: &TensorType) -> Result<Data, String> {
        Err("an input has no operands".into())
    }
}

/// A constant; reals are kept in `f64`, compared by their bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Const {
    shape: Dims,
    data: Literal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
enum Literal {
    Real(Arc<[u64]>),
    Int(Arc<[i64]>),
}

impl Const {
    /// A real constant.
    pub fn real(shape: &[usize], data: Vec<f64>) -> Self {
        Const { shape: Dims::from_slice(shape), data: Literal::Real(data.into_iter().map(f64::to_bits).collect()) }
    }

    /// An integer constant.
    pub fn int(shape: &[usize], data: Vec<i64>) -> Self {
        Const { shape: Dims::from_slice(shape), data: Literal::Int(data.into()) }
    }

    /// The one value of a real constant, if it has only one.
    pub fn splat(&self) -> Option<f64> {
        match &self.data {
            Literal::Real(bits) => {
                let first = *bits.first()?;
                bits.iter().all(|&b| b == first).then(|| f64::from_bits(first))
            }
            Literal::Int(_) => None,
        }
    }
}

impl Primitive for Const {
    fn name(&self) -> String {
        match (&self.data, self.splat()) {
            (_, Some(x)) => format!("const {x:?}"),
            (Literal::Real(_), None) => "const".into(),
            (Literal::Int(d), None) if d.len() == 1 => format!("const {}i", d[0]),
            (Literal::Int(_), None) => "const int".into(),
        }
    }

    fn infer(&self, _args: &[&TensorType]) -> Result<TensorType, String> {
        let (kind, len) = match &self.data {
            Literal::Real(d) => (Kind::Real, d.len()),
            Literal::Int(d) => (Kind::Int, d.len()),
        };
        match crate::types::checked_numel(&self.shape) {
            Some(n) if n == len => Ok(TensorType { kind, shape: self.shape.clone() }),
            _ => Err(format!("{len} numbers do not fill shape {:?}", self.shape.as_slice())),
        }
    }

    fn eval<T: Scalar>(&self, _args: &[&Value<T>], _out: &TensorType) -> Result<Value<T>, Error> {
        let wrong = || Error::Malformed("a constant of the wrong length".into());
        match &self.data {
            Literal::Real(d) => {
                let data = d.iter().map(|&b| T::from_f64(f64::from_bits(b))).collect();
                Array::new(&self.shape, data).map(Value::Real).ok_or_else(wrong)
            }
            Literal::Int(d) => Array::new(&self.shape, d.to_vec()).map(Value::Int).ok_or_else(wrong),
        }
    }

    fn taylor(&self) -> Taylor {
        Taylor::Linear
    }

    fn jvp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, _: &[Option<NodeId>]) -> Result<Option<NodeId>, Error> {
        Ok(None)
    }

    fn batch(&self, b: &mut Builder, _: &[NodeId], _: &[bool], size: usize) -> Result<NodeId, Error> {
        let x = b.push(self.clone(), &[])?;
        with_batch(b, x, false, size)
    }

    fn data(&self, _: &[&TensorType], _: &[Data], out: &TensorType) -> Result<Data, String> {
        Ok(Data::Shared(match self.splat() {
            Some(x) => Shared::uniform(x == 0.0),
            None => Shared::any(out),
        }))
    }
}
