//! `ParamSpace`: named tensors in declared order, laid end to end in one flat vector, each row-major.
//!
//! The flat vector is what operators, optimisers and files of vectors see; splitting it copies nothing ([`ParamSpace::view`])
//! or makes one array per tensor ([`ParamSpace::split`]).

use super::error::ModelError;
use crate::array::Array;
use crate::trace::Tensor;
use crate::transform::Leaf;
use crate::types::{Dims, checked_numel};
use core::ops::Range;

/// One parameter tensor and its place in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Param {
    name: String,
    shape: Dims,
    offset: usize,
}

impl Param {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where it begins in the flat vector.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Number of its entries.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its place in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.numel()
    }
}

/// Named parameter tensors in declared order.
///
/// ```
/// use autodiff::nn::ParamSpace;
/// let space = ParamSpace::new([("0.weight", vec![2, 3]), ("0.bias", vec![2])])?;
/// let flat = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
/// assert_eq!(space.total(), 8);
/// assert_eq!(space.view("0.bias", &flat)?, [7.0, 8.0]);
/// # Ok::<(), autodiff::nn::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ParamSpace {
    params: Vec<Param>,
    total: usize,
}

impl ParamSpace {
    /// Lays tensors out in the order given.
    ///
    /// # Errors
    /// A name that occurs twice; a total that does not fit into memory.
    pub fn new<N: Into<String>, S: AsRef<[usize]>>(
        tensors: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, ModelError> {
        let mut space = ParamSpace::default();
        for (name, shape) in tensors {
            let (name, shape) = (name.into(), shape.as_ref());
            if space.params.iter().any(|p| p.name == name) {
                return Err(ModelError::DuplicateName { name });
            }
            let end = checked_numel(shape).and_then(|n| checked_numel(&[n.checked_add(space.total)?]));
            let Some(end) = end else {
                return Err(ModelError::TooLarge { name, shape: shape.to_vec() });
            };
            space.params.push(Param { name, shape: Dims::from_slice(shape), offset: space.total });
            space.total = end;
        }
        Ok(space)
    }

    /// Number of parameters in all, the length of the flat vector.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// The tensors in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Param> {
        self.params.iter()
    }

    /// The tensors in order.
    pub fn as_slice(&self) -> &[Param] {
        &self.params
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// No tensor has it.
    pub fn get(&self, name: &str) -> Result<&Param, ModelError> {
        self.iter().find(|p| p.name == name).ok_or_else(|| ModelError::UnknownParameter {
            name: name.into(),
            known: ModelError::known(self.iter().map(Param::name)),
        })
    }

    fn check<T>(&self, flat: &[T]) -> Result<(), ModelError> {
        if flat.len() == self.total {
            Ok(())
        } else {
            Err(ModelError::VectorLength { expected: self.total, got: flat.len() })
        }
    }

    /// The part of a flat vector that belongs to one tensor.
    ///
    /// # Errors
    /// No tensor of this name; a vector of another length.
    pub fn view<'a, T>(&self, name: &str, flat: &'a [T]) -> Result<&'a [T], ModelError> {
        self.check(flat)?;
        Ok(&flat[self.get(name)?.range()])
    }

    /// Every tensor with its part of a flat vector.
    ///
    /// # Errors
    /// A vector of another length.
    pub fn views<'a, T>(&'a self, flat: &'a [T]) -> Result<impl Iterator<Item = (&'a Param, &'a [T])>, ModelError> {
        self.check(flat)?;
        Ok(self.iter().map(move |p| (p, &flat[p.range()])))
    }

    /// Every tensor with its part of a flat vector, to be written.
    ///
    /// # Errors
    /// A vector of another length.
    pub fn views_mut<'a, T>(
        &'a self,
        flat: &'a mut [T],
    ) -> Result<impl Iterator<Item = (&'a Param, &'a mut [T])>, ModelError> {
        self.check(flat)?;
        let mut rest = flat;
        Ok(self.iter().map(move |p| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(p.numel());
            rest = tail;
            (p, part)
        }))
    }

    /// One array per tensor.
    ///
    /// # Errors
    /// A vector of another length.
    pub fn split<T: Clone>(&self, flat: &[T]) -> Result<Vec<Array<T>>, ModelError> {
        Ok(self.views(flat)?.map(|(p, part)| Array::from_fn(p.shape(), |i| part[i].clone())).collect())
    }

    /// The flat vector of arrays in declared order.
    ///
    /// # Errors
    /// Too few, too many, or arrays of other shapes.
    pub fn join<T: Clone>(&self, parts: &[Array<T>]) -> Result<Vec<T>, ModelError> {
        let fits = parts.len() == self.len() && self.iter().zip(parts).all(|(p, a)| p.shape() == a.shape());
        if !fits {
            let list = |shapes: Vec<&[usize]>| shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
            return Err(ModelError::Config(format!(
                "parameters of shapes {}, expected {}",
                list(parts.iter().map(Array::shape).collect()),
                list(self.iter().map(Param::shape).collect()),
            )));
        }
        let mut flat = Vec::with_capacity(self.total);
        parts.iter().for_each(|a| flat.extend_from_slice(a.data()));
        Ok(flat)
    }

    /// The tensors as leaves for [`Program::taps`](crate::Program::taps), where `input` of the program is the flat vector.
    pub fn leaves(&self, input: usize) -> Vec<Leaf> {
        let leaf = |p: &Param| Leaf { name: p.name.clone(), input, offset: Some(p.offset), shape: p.shape.clone() };
        self.iter().map(leaf).collect()
    }

    /// A traced flat vector as one traced tensor per parameter: slices and reshapes only.
    #[track_caller]
    #[must_use]
    pub fn split_tensor(&self, flat: &Tensor) -> Vec<Tensor> {
        self.iter().map(|p| flat.slice(0, p.range().start, p.range().end).reshape(p.shape())).collect()
    }
}

impl<'a> IntoIterator for &'a ParamSpace {
    type Item = &'a Param;
    type IntoIter = core::slice::Iter<'a, Param>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
