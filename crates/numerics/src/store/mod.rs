//! Files of named arrays, and saved states of anything made of arrays.
//!
//! The format is safetensors: eight bytes of header length, a JSON header that gives each array's type, shape and
//! byte range, then the bytes. Reading is strict, because files come from elsewhere: every length, offset and shape is
//! checked against the bytes that are there, arrays must tile the data without holes or overlaps, names must be
//! unique, and nothing is allocated that the size of the input does not justify. A [`State`] adds a JSON object
//! under the metadata key `osculate`. Writing goes to `NAME.tmp`, is synced and renamed, so that a crash leaves
//! the old file or the new one. Cost: one pass over the bytes.

mod read;
mod state;
mod write;

pub use state::State;
pub use write::atomic_write;

use crate::{DType, Error, Scalar};
use std::collections::BTreeMap;
use std::path::Path;

/// The elements of an array. Narrower types are widened on reading: half precision to `F32`, small integers and
/// booleans to `I64`.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl TensorData {
    /// Copies a slice.
    pub fn from_slice<T: Scalar>(x: &[T]) -> Self {
        match T::DTYPE {
            DType::F32 => TensorData::F32(x.iter().map(|v| v.to_f64() as f32).collect()),
            DType::F64 => TensorData::F64(x.iter().map(|v| v.to_f64()).collect()),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(v) => v.len(),
            TensorData::F64(v) => v.len(),
            TensorData::I64(v) => v.len(),
            TensorData::U8(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type's name in the file.
    pub fn type_name(&self) -> &'static str {
        match self {
            TensorData::F32(_) => "F32",
            TensorData::F64(_) => "F64",
            TensorData::I64(_) => "I64",
            TensorData::U8(_) => "U8",
        }
    }

    /// The elements as `T`, rounded if need be.
    ///
    /// # Errors
    /// `Format` for integers.
    pub fn to_vec<T: Scalar>(&self) -> Result<Vec<T>, Error> {
        match self {
            TensorData::F32(v) => Ok(v.iter().map(|x| T::from_f64(f64::from(*x))).collect()),
            TensorData::F64(v) => Ok(v.iter().map(|x| T::from_f64(*x)).collect()),
            other => Err(Error::Format {
                path: "array".into(),
                what: format!("expected floating-point numbers, got {}", other.type_name()),
            }),
        }
    }

    fn element_size(&self) -> usize {
        match self {
            TensorData::F32(_) => 4,
            TensorData::F64(_) | TensorData::I64(_) => 8,
            TensorData::U8(_) => 1,
        }
    }
}

/// A named array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name, unique in the file.
    pub name: String,
    /// Sizes of the axes; none for a single number.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: TensorData,
}

/// Product of the axes, if it can be represented.
fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

impl Tensor {
    /// An array of floating-point numbers.
    ///
    /// # Errors
    /// `ShapeMismatch` if the shape does not have as many elements as `x`.
    pub fn new<T: Scalar>(name: impl Into<String>, shape: &[usize], x: &[T]) -> Result<Self, Error> {
        let out = Tensor { name: name.into(), shape: shape.to_vec(), data: TensorData::from_slice(x) };
        out.check()?;
        Ok(out)
    }

    fn check(&self) -> Result<(), Error> {
        if count(&self.shape) == Some(self.data.len()) {
            return Ok(());
        }
        let expected = format!("elements for shape {:?} of {:?}", self.shape, self.name);
        Err(Error::shape("store", expected, self.data.len().to_string()))
    }
}

/// A safetensors file in memory.
///
/// ```
/// use numerics::store::{File, Tensor};
/// let file = File { tensors: vec![Tensor::new("w", &[2, 1], &[1.0f32, 2.0])?], ..File::default() };
/// let back = File::parse(&file.to_bytes()?)?;
/// assert_eq!(back, file);
/// assert_eq!(back.get("w").map(|t| t.shape.clone()), Some(vec![2, 1]));
/// # Ok::<(), numerics::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// The arrays, in the order of the header.
    pub tensors: Vec<Tensor>,
    /// Free text by name.
    pub metadata: BTreeMap<String, String>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Format` if it is not valid.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::Io { path: name.clone(), what: e.to_string() })?;
        read::parse(&name, &bytes)
    }

    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// `Format` if they are not valid.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        read::parse("safetensors", bytes)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// `ShapeMismatch` if a shape does not fit its elements, `Format` if two arrays share a name.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        write::to_bytes(self)
    }

    /// Writes the file, all or nothing.
    ///
    /// # Errors
    /// As [`File::to_bytes`], and `Io`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        write::to_path(self, path.as_ref())
    }

    /// The array with this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }
}
