//! Points, and coefficients that every point may have of its own.

use super::Error;
use crate::io::npy;
use autodiff::nn::Sequential;
use numerics::Scalar;
use std::path::Path;

/// Points `[N, D]`.
pub(super) struct Points<T> {
    pub(super) n: usize,
    pub(super) d: usize,
    data: Vec<T>,
}

/// An array with an optional leading axis over the data.
pub(super) struct Given<T> {
    pub(super) per_datum: bool,
    pub(super) columns: usize,
    data: Vec<T>,
}

impl<T> Given<T> {
    /// All numbers.
    pub(super) fn all(&self) -> &[T] {
        &self.data
    }
}

impl<T: Scalar> Points<T> {
    pub(super) fn read(path: &Path, model: &Sequential) -> Result<Self, Error> {
        let wrong = |what: String| Error::Usage(format!("{}: {what}", path.display()));
        let input = model.input_type();
        let [d] = *input.shape.as_slice() else {
            return Err(wrong(format!("the model takes {input}; points need a model of vectors")));
        };
        if input.kind == autodiff::Kind::Int {
            return Err(wrong("the model takes integers, which have no derivatives".into()));
        }
        let a = npy::read(path)?;
        let [n, width] = *a.shape() else {
            return Err(wrong(format!("expected points [N, {d}], got {:?}", a.shape())));
        };
        if width != d {
            return Err(wrong(format!("expected points [N, {d}] for the model's input, got [{n}, {width}]")));
        }
        if n == 0 || d == 0 {
            return Err(wrong(format!("there are no points: [{n}, {d}]")));
        }
        if let Some(at) = a.first_non_finite() {
            return Err(wrong(format!("point {} holds NaN or infinity", at / d)));
        }
        let data = a.to_floats().ok_or_else(|| wrong(format!("expected floats, got {}", a.element().name())))?;
        Ok(Points { n, d, data })
    }

    /// All points.
    pub(super) fn all(&self) -> &[T] {
        &self.data
    }

    /// `[D, ..]` or `[N, D, ..]`, `rank` axes per datum.
    pub(super) fn coefficients(&self, path: &Path, rank: usize) -> Result<Given<T>, Error> {
        let a = npy::read(path)?;
        let shape = a.shape().to_vec();
        let inner = match shape.len() {
            r if r == rank => &shape[..],
            r if r == rank + 1 && shape[0] == self.n => &shape[1..],
            _ => &[],
        };
        let fits = inner.first() == Some(&self.d);
        let finite = a.first_non_finite().is_none();
        match a.to_floats::<T>() {
            Some(data) if fits && finite => {
                Ok(Given { per_datum: shape.len() > rank, columns: inner.get(1).copied().unwrap_or(1), data })
            }
            _ => {
                let (d, n) = (self.d, self.n);
                let rest = if rank == 2 { ", R" } else { "" };
                Err(Error::Usage(format!(
                    "{}: expected finite floats [{d}{rest}] or [{n}, {d}{rest}], got {} {shape:?}",
                    path.display(),
                    a.element().name()
                )))
            }
        }
    }
}
