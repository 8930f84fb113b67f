//! `Array`: a shape and a flat row-major buffer of one of six element types.

use numerics::{Mat, Scalar};

/// The element types that files may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned byte.
    U8,
    /// Truth value, one byte.
    Bool,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::U8 | Element::Bool => 1,
        }
    }

    /// The short name used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F64 => "f64",
            Element::I64 => "i64",
            Element::I32 => "i32",
            Element::U8 => "u8",
            Element::Bool => "bool",
        }
    }
}

/// The buffer of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// Binary32.
    F32(Vec<f32>),
    /// Binary64.
    F64(Vec<f64>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl ArrayData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            ArrayData::F32(v) => v.len(),
            ArrayData::F64(v) => v.len(),
            ArrayData::I64(v) => v.len(),
            ArrayData::I32(v) => v.len(),
            ArrayData::U8(v) => v.len(),
            ArrayData::Bool(v) => v.len(),
        }
    }

    /// No elements at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its element type.
    pub fn element(&self) -> Element {
        match self {
            ArrayData::F32(_) => Element::F32,
            ArrayData::F64(_) => Element::F64,
            ArrayData::I64(_) => Element::I64,
            ArrayData::I32(_) => Element::I32,
            ArrayData::U8(_) => Element::U8,
            ArrayData::Bool(_) => Element::Bool,
        }
    }
}

/// An n-dimensional array in row-major order.
///
/// ```
/// use osculate::io::{Array, ArrayData};
/// let a = Array::new(vec![2, 2], ArrayData::F64(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
/// assert_eq!(a.columns::<f64>().unwrap()[(0, 1)], 2.0);
/// assert!(Array::new(vec![3], ArrayData::U8(vec![1])).is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: ArrayData,
}

impl Array {
    /// Joins a shape and a buffer; `None` if their sizes differ.
    pub fn new(shape: Vec<usize>, data: ArrayData) -> Option<Self> {
        let n = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d))?;
        (n == data.len()).then_some(Array { shape, data })
    }

    /// A vector of floats.
    pub fn from_slice<T: Scalar>(x: &[T]) -> Self {
        Array { shape: vec![x.len()], data: floats(x.iter().copied()) }
    }

    /// A matrix as `[nrows, ncols]`.
    pub fn from_mat<T: Scalar>(a: numerics::MatRef<'_, T>) -> Self {
        let cells = (0..a.nrows()).flat_map(|i| (0..a.ncols()).map(move |j| a[(i, j)]));
        Array { shape: vec![a.nrows(), a.ncols()], data: floats(cells) }
    }

    /// Its shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements, row-major.
    pub fn data(&self) -> &ArrayData {
        &self.data
    }

    /// Its elements by value, row-major.
    pub fn into_data(self) -> ArrayData {
        self.data
    }

    /// Its element type.
    pub fn element(&self) -> Element {
        self.data.element()
    }

    /// The elements as `T`, rounded if need be; `None` unless they are floats.
    pub fn to_floats<T: Scalar>(&self) -> Option<Vec<T>> {
        match &self.data {
            ArrayData::F32(v) => Some(v.iter().map(|&x| T::from_f64(f64::from(x))).collect()),
            ArrayData::F64(v) => Some(v.iter().map(|&x| T::from_f64(x)).collect()),
            _ => None,
        }
    }

    /// The elements as integers; `None` if they are floats.
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        match &self.data {
            ArrayData::F32(_) | ArrayData::F64(_) => None,
            ArrayData::I64(v) => Some(v.clone()),
            ArrayData::I32(v) => Some(v.iter().map(|&x| i64::from(x)).collect()),
            ArrayData::U8(v) => Some(v.iter().map(|&x| i64::from(x)).collect()),
            ArrayData::Bool(v) => Some(v.iter().map(|&x| i64::from(x)).collect()),
        }
    }

    /// A float array `[P]` or `[P, K]` as `K` columns; `None` for other ranks and integers.
    pub fn columns<T: Scalar>(&self) -> Option<Mat<T>> {
        let (rows, cols) = match *self.shape.as_slice() {
            [p] => (p, 1),
            [p, k] => (p, k),
            _ => return None,
        };
        let flat = self.to_floats::<T>()?;
        Some(Mat::from_fn(rows, cols, |i, j| flat[i * cols + j]))
    }

    /// Position of the first NaN or infinity; `None` if all are finite or the elements are integers.
    pub fn first_non_finite(&self) -> Option<usize> {
        match &self.data {
            ArrayData::F32(v) => v.iter().position(|x| !x.is_finite()),
            ArrayData::F64(v) => v.iter().position(|x| !x.is_finite()),
            _ => None,
        }
    }
}

/// Collects scalars into the buffer of their type.
fn floats<T: Scalar>(x: impl Iterator<Item = T>) -> ArrayData {
    match T::DTYPE {
        numerics::DType::F32 => ArrayData::F32(x.map(|v| v.to_f64() as f32).collect()),
        numerics::DType::F64 => ArrayData::F64(x.map(|v| v.to_f64()).collect()),
    }
}
