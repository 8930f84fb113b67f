//! Flat parameter vectors in files: `.npy` `[P]` or `[P, K]`, or `.safetensors` by parameter names, where more than one
//! column is a leading axis.

use super::Error;
use crate::io::{Array, npy};
use autodiff::nn::Sequential;
use numerics::store::{File, Tensor};
use numerics::{Mat, MatRef, Scalar};
use std::path::Path;

/// Whether a path means safetensors; an extension that is neither is a usage error.
fn is_safetensors(path: &Path) -> Result<bool, Error> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => Ok(false),
        Some("safetensors") => Ok(true),
        _ => Err(Error::Usage(format!("{}: expected a name that ends in .npy or .safetensors", path.display()))),
    }
}

/// Reads vectors as columns.
pub(super) fn read<T: Scalar>(path: &Path, model: &Sequential) -> Result<Mat<T>, Error> {
    let p = model.params().total();
    let columns = if is_safetensors(path)? {
        read_named(path, model)?
    } else {
        let a = npy::read(path)?;
        a.columns::<T>().filter(|m| m.nrows() == p).ok_or_else(|| {
            let (shape, kind) = (a.shape(), a.element().name());
            Error::Usage(format!("{}: expected floats [{p}] or [{p}, K], got {kind} {shape:?}", path.display()))
        })?
    };
    if numerics::dense::is_all_finite(columns.as_ref()) {
        Ok(columns)
    } else {
        Err(Error::Usage(format!("{}: a vector holds NaN or infinity", path.display())))
    }
}

fn read_named<T: Scalar>(path: &Path, model: &Sequential) -> Result<Mat<T>, Error> {
    let file = File::read(path)?;
    let wrong = |what: String| Error::Usage(format!("{}: {what}", path.display()));
    let mut columns: Option<Mat<T>> = None;
    for param in model.params().iter() {
        let tensor = file.get(param.name()).ok_or_else(|| wrong(format!("tensor {:?} is missing", param.name())))?;
        let shape = param.shape();
        let k = match tensor.shape.as_slice() {
            s if s == shape => 1,
            [k, rest @ ..] if rest == shape => *k,
            got => {
                return Err(wrong(format!(
                    "tensor {:?} has shape {got:?}, expected {shape:?} or [K, ..]",
                    param.name()
                )));
            }
        };
        let data = tensor.data.to_vec::<T>()?;
        let m = columns.get_or_insert_with(|| Mat::zeros(model.params().total(), k));
        if m.ncols() != k {
            return Err(wrong(format!("tensor {:?} holds {k} vectors, others {}", param.name(), m.ncols())));
        }
        for j in 0..k {
            for (i, row) in param.range().enumerate() {
                m[(row, j)] = data[j * param.numel() + i];
            }
        }
    }
    Ok(columns.unwrap_or_else(|| Mat::zeros(0, 1)))
}

/// Writes columns, one as `[P]`.
pub(super) fn write<T: Scalar>(path: &Path, model: &Sequential, columns: MatRef<'_, T>) -> Result<(), Error> {
    let k = columns.ncols();
    if !is_safetensors(path)? {
        return write_npy(path, columns);
    }
    let mut tensors = Vec::new();
    for param in model.params().iter() {
        let data: Vec<T> = (0..k).flat_map(|j| param.range().map(move |i| columns[(i, j)])).collect();
        let mut shape = param.shape().to_vec();
        if k != 1 {
            shape.insert(0, k);
        }
        tensors.push(Tensor::new(param.name(), &shape, &data)?);
    }
    Ok(File { tensors, metadata: Default::default() }.write(path)?)
}

fn write_npy<T: Scalar>(path: &Path, columns: MatRef<'_, T>) -> Result<(), Error> {
    let array = if columns.ncols() == 1 {
        Array::from_slice(&(0..columns.nrows()).map(|i| columns[(i, 0)]).collect::<Vec<_>>())
    } else {
        Array::from_mat(columns)
    };
    Ok(npy::write(path, &array)?)
}

/// Writes columns that are no parameter vectors, one as `[M]`; they have no names.
pub(super) fn write_plain<T: Scalar>(path: &Path, columns: MatRef<'_, T>) -> Result<(), Error> {
    if is_safetensors(path)? {
        return Err(Error::Usage(format!("{}: outputs have no names, save them as .npy", path.display())));
    }
    write_npy(path, columns)
}
