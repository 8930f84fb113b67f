//! `Array<T>` and `Value<T>`: plain row-major tensors that enter and leave a program.

use crate::types::{Dims, Kind, TensorType};
use numerics::{MatRef, Scalar};

/// A shape and contiguous row-major data.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    shape: Dims,
    data: Vec<T>,
}

impl<T> Array<T> {
    /// Wraps data; `None` if its length is not the product of the sizes.
    ///
    /// ```
    /// let a = autodiff::Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    /// assert_eq!(a.shape(), [2, 3]);
    /// ```
    pub fn new(shape: &[usize], data: Vec<T>) -> Option<Self> {
        (crate::types::checked_numel(shape)? == data.len()).then(|| Array { shape: Dims::from_slice(shape), data })
    }

    /// Evaluates `f` at every flat position.
    pub fn from_fn(shape: &[usize], f: impl FnMut(usize) -> T) -> Self {
        let n = shape.iter().product();
        Array { shape: Dims::from_slice(shape), data: (0..n).map(f).collect() }
    }

    /// A tensor without axes.
    pub fn scalar(x: T) -> Self {
        Array { shape: Dims::new(), data: vec![x] }
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The numbers, row-major.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Gives the numbers up.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }
}

impl<T: Scalar> Array<T> {
    /// The first axis as rows, all others as columns.
    pub fn as_matrix(&self) -> MatRef<'_, T> {
        let rows = self.shape.first().copied().unwrap_or(1);
        MatRef::from_row_major_slice(&self.data, rows, self.data.len().checked_div(rows).unwrap_or(0))
    }
}

/// A value of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<T> {
    /// Floating-point numbers.
    Real(Array<T>),
    /// Integers.
    Int(Array<i64>),
}

impl<T> Value<T> {
    /// Kind and shape.
    pub fn ty(&self) -> TensorType {
        match self {
            Value::Real(a) => TensorType { kind: Kind::Real, shape: a.shape.clone() },
            Value::Int(a) => TensorType { kind: Kind::Int, shape: a.shape.clone() },
        }
    }

    /// Whether it is of this type.
    pub(crate) fn is(&self, ty: &TensorType) -> bool {
        match self {
            Value::Real(a) => ty.kind == Kind::Real && a.shape == ty.shape,
            Value::Int(a) => ty.kind == Kind::Int && a.shape == ty.shape,
        }
    }

    /// The array, if it is real.
    pub fn real(&self) -> Option<&Array<T>> {
        match self {
            Value::Real(a) => Some(a),
            Value::Int(_) => None,
        }
    }

    /// The array, if it is real.
    pub fn into_real(self) -> Option<Array<T>> {
        match self {
            Value::Real(a) => Some(a),
            Value::Int(_) => None,
        }
    }

    /// The array, if it is of integers.
    pub fn int(&self) -> Option<&Array<i64>> {
        match self {
            Value::Int(a) => Some(a),
            Value::Real(_) => None,
        }
    }
}

impl<T> From<Array<T>> for Value<T> {
    fn from(a: Array<T>) -> Self {
        Value::Real(a)
    }
}
