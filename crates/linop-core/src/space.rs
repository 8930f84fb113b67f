//! `Space`: what a flat vector is made of, so that callers who think in lists of tensors get checked views.
//!
//! A vector of the space is the concatenation of the row-major tensors, in declared order; nothing is ever reordered.
//! Spaces are attached to operators on request ([`Op::with_spaces`](crate::Op::with_spaces)) and carried through the
//! algebra: sizes are always checked, shapes where both sides have them.

use crate::Error;
use core::fmt;
use core::ops::Range;
use numerics::{Mat, Scalar};

/// A list of tensor shapes and where each tensor begins in a flat vector.
///
/// ```
/// use linop_core::Space;
/// // Weight and bias of a layer with 2 outputs and 3 inputs.
/// let space = Space::new([vec![2, 3], vec![2]])?;
/// let flat: Vec<f64> = (0..8).map(f64::from).collect();
/// let parts = space.split(&flat)?;
/// assert_eq!((parts[0].len(), parts[1]), (6, &[6.0, 7.0][..]));
/// assert!(space.split(&flat[1..]).is_err());
/// # Ok::<(), linop_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Space {
    shapes: Vec<Vec<usize>>,
    /// One more than there are tensors.
    offsets: Vec<usize>,
}

impl Space {
    /// The space of lists of tensors of these shapes; an empty shape is a number.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty list, or if the total size overflows.
    pub fn new<S: Into<Vec<usize>>>(shapes: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let shapes: Vec<Vec<usize>> = shapes.into_iter().map(Into::into).collect();
        if shapes.is_empty() {
            return Err(Error::InvalidArgument { op: "Space", what: "needs at least one tensor".into() });
        }
        let too_large = || Error::InvalidArgument { op: "Space", what: "the size overflows".into() };
        let mut offsets = vec![0usize];
        let mut end = 0usize;
        for shape in &shapes {
            let size = shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d)).ok_or_else(too_large)?;
            end = end.checked_add(size).ok_or_else(too_large)?;
            offsets.push(end);
        }
        Ok(Space { shapes, offsets })
    }

    /// Length of a flat vector.
    pub fn size(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The shapes, in order.
    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    /// Where tensor `i` stands in a flat vector.
    ///
    /// # Errors
    /// `InvalidIndex` if there are fewer tensors.
    pub fn range(&self, i: usize) -> Result<Range<usize>, Error> {
        match self.offsets.get(i..i + 2) {
            Some(&[start, end]) => Ok(start..end),
            _ => Err(Error::InvalidIndex { op: "Space", index: i, why: "there are fewer tensors" }),
        }
    }

    fn check_len(&self, len: usize) -> Result<(), Error> {
        if len == self.size() {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            op: "Space",
            expected: format!("a vector of {}", self.size()),
            got: len.to_string(),
        })
    }

    /// The tensors of a flat vector, as row-major slices.
    ///
    /// # Errors
    /// `ShapeMismatch` for a vector of another length.
    pub fn split<'a, T>(&self, flat: &'a [T]) -> Result<Vec<&'a [T]>, Error> {
        self.check_len(flat.len())?;
        Ok(self.offsets.windows(2).map(|w| &flat[w[0]..w[1]]).collect())
    }

    /// The tensors of a flat vector, to be written.
    ///
    /// # Errors
    /// `ShapeMismatch` for a vector of another length.
    pub fn split_mut<'a, T>(&self, mut flat: &'a mut [T]) -> Result<Vec<&'a mut [T]>, Error> {
        self.check_len(flat.len())?;
        let mut parts = Vec::with_capacity(self.shapes.len());
        for w in self.offsets.windows(2) {
            let (head, tail) = flat.split_at_mut(w[1] - w[0]);
            parts.push(head);
            flat = tail;
        }
        Ok(parts)
    }

    /// One block of `k` vectors from tensors of shape `[*shape, k]`, whose last axis counts the vectors (as Python code
    /// keeps them); the columns of the result are flat vectors.
    ///
    /// # Errors
    /// `ShapeMismatch` for a wrong number of tensors or a tensor of the wrong size.
    pub fn columns<T: Scalar>(&self, tensors: &[&[T]], k: usize) -> Result<Mat<T>, Error> {
        if tensors.len() != self.shapes.len() {
            let expected = format!("{} tensors", self.shapes.len());
            return Err(Error::ShapeMismatch { op: "Space", expected, got: tensors.len().to_string() });
        }
        let mut out = Mat::zeros(self.size(), k);
        for (w, tensor) in self.offsets.windows(2).zip(tensors) {
            let size = w[1] - w[0];
            if tensor.len() != size * k {
                let expected = format!("a tensor of {size} x {k}");
                return Err(Error::ShapeMismatch { op: "Space", expected, got: tensor.len().to_string() });
            }
            for i in 0..size {
                for j in 0..k {
                    out[(w[0] + i, j)] = tensor[i * k + j];
                }
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, shape) in self.shapes.iter().enumerate() {
            if i > 0 {
                f.write_str(" + ")?;
            }
            write!(f, "{shape:?}")?;
        }
        Ok(())
    }
}

/// The one space of two that meet, if any; both must be equal where both are known.
pub(crate) fn meet<'a, S: core::ops::Deref<Target = Space>>(
    op: &'static str,
    left: Option<&'a S>,
    right: Option<&'a S>,
) -> Result<Option<&'a S>, Error> {
    match (left, right) {
        (Some(l), Some(r)) if **l != **r => Err(Error::SpaceMismatch { op, left: l.to_string(), right: r.to_string() }),
        _ => Ok(left.or(right)),
    }
}
