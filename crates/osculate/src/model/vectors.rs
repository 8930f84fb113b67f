//! Vectors over the parameters as files: `.npy` (`[P]` or `[P, K]`) or `.safetensors` with the tensors' names.
//!
//! In a `.safetensors` file one vector has the parameters' own shapes; `K > 1` vectors have a leading axis `K`.

use super::layer::product;
use super::{Error, Parameter};
use crate::io::{self, Array, npy};
use numerics::store::{File, Tensor, TensorData};
use numerics::{Mat, MatRef, Scalar};
use std::path::Path;

/// Reads `K` vectors as the columns of a `P x K` matrix.
pub fn read_vectors<T: Scalar>(path: &Path, parameters: &[Parameter]) -> Result<Mat<T>, Error> {
    let name = path.display().to_string();
    let wrong = |what: String| Error::File(io::Error::Data { path: name.clone(), what });
    let total: usize = parameters.iter().map(|p| p.size).sum();
    let columns = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            let a = npy::read(path)?;
            let expected = || {
                wrong(format!("{:?} of shape {:?}, expected floats [{total}] or [{total}, K]", a.element(), a.shape()))
            };
            a.columns::<T>().filter(|m| m.nrows() == total).ok_or_else(expected)?
        }
        Some("safetensors") => from_tensors(&File::read(path)?, parameters, total, &wrong)?,
        _ => {
            return Err(wrong("unknown kind of vector; .npy and .safetensors are read".into()));
        }
    };
    for j in 0..columns.ncols() {
        if let Some(i) = (0..total).find(|&i| !columns[(i, j)].is_finite()) {
            return Err(wrong(format!("NaN or infinity at element {i} of column {j}")));
        }
    }
    Ok(columns)
}

fn from_tensors<T: Scalar>(
    file: &File,
    parameters: &[Parameter],
    total: usize,
    wrong: &dyn Fn(String) -> Error,
) -> Result<Mat<T>, Error> {
    if let Some(t) = file.tensors.iter().find(|t| parameters.iter().all(|p| p.name != t.name)) {
        return Err(Error::TensorUnknown { name: t.name.clone(), got: t.shape.clone() });
    }
    let mut out: Option<Mat<T>> = None;
    for p in parameters {
        let t = file.get(&p.name).ok_or_else(|| wrong(format!("tensor {:?} is missing", p.name)))?;
        let k = if t.shape == p.shape {
            Some(1)
        } else {
            t.shape.split_first().filter(|(_, rest)| *rest == p.shape.as_slice()).map(|(&k, _)| k)
        };
        let columns = out.as_ref().map(Mat::ncols);
        let k = k.filter(|&k| columns.is_none_or(|c| c == k)).ok_or_else(|| {
            let many = columns.map_or("K".into(), |c| c.to_string());
            wrong(format!(
                "tensor {:?} has shape {:?}, expected {:?} with a leading axis {many} for several vectors",
                p.name, t.shape, p.shape
            ))
        })?;
        let values: Vec<T> =
            t.data.to_vec().map_err(|_| Error::TensorType { name: t.name.clone(), got: t.data.type_name() })?;
        let m = out.get_or_insert_with(|| Mat::zeros(total, k));
        for j in 0..k {
            for i in 0..p.size {
                m[(p.offset + i, j)] = values[j * p.size + i];
            }
        }
    }
    Ok(out.unwrap_or_else(|| Mat::zeros(0, 1)))
}

/// Writes the columns of a `P x K` matrix; one column becomes `[P]` or tensors of the parameters' own shapes.
pub fn write_vectors<T: Scalar>(path: &Path, parameters: &[Parameter], columns: MatRef<'_, T>) -> Result<(), Error> {
    let name = path.display().to_string();
    let wrong = |what: String| Error::File(io::Error::Data { path: name.clone(), what });
    let total: usize = parameters.iter().map(|p| p.size).sum();
    if columns.nrows() != total {
        return Err(wrong(format!("{} rows, the model has {total} parameters", columns.nrows())));
    }
    let k = columns.ncols();
    let column = |j: usize, from: usize, size: usize| (from..from + size).map(move |i| columns[(i, j)]);
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") if k == 1 => {
            npy::write(path, &Array::from_slice(&column(0, 0, total).collect::<Vec<T>>()))?;
        }
        Some("npy") => npy::write(path, &Array::from_mat(columns))?,
        Some("safetensors") => {
            let tensors = parameters.iter().map(|p| {
                let flat: Vec<T> = (0..k).flat_map(|j| column(j, p.offset, p.size)).collect();
                let shape = if k == 1 { p.shape.clone() } else { [&[k], p.shape.as_slice()].concat() };
                debug_assert_eq!(product(&shape), Some(flat.len()));
                Tensor { name: p.name.clone(), shape, data: TensorData::from_slice(&flat) }
            });
            File { tensors: tensors.collect(), ..File::default() }.write(path)?;
        }
        _ => {
            return Err(wrong("unknown kind of vector; .npy and .safetensors are written".into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ArrayData;
    use crate::model::Sequential;

    #[test]
    fn both_formats_hold_the_same_vectors() {
        let text = r#"{"model_type": "sequential", "input": [2], "layers": [{"type": "linear", "in": 2, "out": 3}]}"#;
        let model = Sequential::parse(text, "c").unwrap();
        let p = model.parameters();
        let dir = tempfile::tempdir().unwrap();
        for k in [1usize, 2] {
            let m = Mat::<f64>::from_fn(9, k, |i, j| i as f64 + 0.25 * j as f64);
            for file in ["v.npy", "v.safetensors"] {
                let path = dir.path().join(file);
                write_vectors(&path, p, m.as_ref()).unwrap();
                assert_eq!(read_vectors::<f64>(&path, p).unwrap(), m, "{file} {k}");
            }
        }
        let saved = File::read(dir.path().join("v.safetensors")).unwrap();
        assert_eq!(saved.get("0.weight").unwrap().shape, [2, 3, 2]);
        let saved = npy::read(&dir.path().join("v.npy")).unwrap();
        assert_eq!(saved.shape(), [9, 2]);
        assert!(matches!(saved.data(), ArrayData::F64(v) if v[..4] == [0.0, 0.25, 1.0, 1.25]));
        let wide = Mat::<f64>::zeros(8, 1);
        assert!(write_vectors(&dir.path().join("v.npy"), p, wide.as_ref()).is_err());
        assert!(read_vectors::<f64>(&dir.path().join("v.txt"), p).is_err());
    }

    #[test]
    fn vectors_of_another_model() {
        let text = |out: usize| {
            format!(
                r#"{{"model_type": "sequential", "input": [2], "layers": [{{"type": "linear", "in": 2, "out": {out}}}]}}"#
            )
        };
        let (a, b) = (Sequential::parse(&text(3), "c").unwrap(), Sequential::parse(&text(4), "c").unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut m = Mat::<f32>::zeros(9, 1);
        m[(4, 0)] = f32::NAN;
        for file in ["v.npy", "v.safetensors"] {
            let path = dir.path().join(file);
            write_vectors(&path, a.parameters(), m.as_ref()).unwrap();
            let e = read_vectors::<f64>(&path, b.parameters()).unwrap_err().to_string();
            assert!(e.contains("expected") && e.contains(file), "{e}");
            let e = read_vectors::<f64>(&path, a.parameters()).unwrap_err().to_string();
            assert!(e.ends_with("NaN or infinity at element 4 of column 0"), "{e}");
        }
    }
}
