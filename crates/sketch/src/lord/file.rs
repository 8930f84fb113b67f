//! A [`Lord`] in a file: safetensors with a JSON header, like every state of the workspace.

use super::{Lord, LordReport};
use crate::Error;
use numerics::store::{State, Tensor};
use numerics::{DType, Mat, MatRef};
use std::path::Path;

const KIND: &str = "lord";
const VERSION: u32 = 1;

impl Lord {
    /// Writes diagonal, factors and the counts of the report.
    ///
    /// Cost: `8 (n + 2 n r + r^2)` bytes, written to a file of another name first.
    ///
    /// ```
    /// use numerics::Mat;
    /// use sketch::Lord;
    /// let a = Lord::new(vec![1.0, 2.0], Mat::from_fn(2, 1, |i, _| i as f64), Mat::from_fn(1, 1, |_, _| 3.0), None)?;
    /// let path = std::env::temp_dir().join("osculate-lord-example.safetensors");
    /// a.save(&path)?;
    /// assert_eq!(Lord::load(&path)?.diagonal_part(), [1.0, 2.0]);
    /// # std::fs::remove_file(path).ok();
    /// # Ok::<(), sketch::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of writing files.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let low = self.low_rank_part();
        let mut state = State::new(KIND, VERSION, DType::F64);
        state.config = serde_json::json!({
            "method": self.report.method,
            "products": [self.report.products, self.report.products_t],
            "iterations": self.report.iterations,
            "converged": self.report.converged,
        });
        state.scalars.insert("residual".into(), self.report.residual);
        let d = self.diagonal_part();
        state.tensors.push(Tensor::new("diagonal", &[d.len()], d)?);
        state.tensors.push(tensor("u", low.u())?);
        state.tensors.push(tensor("core", low.core().as_ref())?);
        if !low.is_symmetric_form() {
            state.tensors.push(tensor("v", low.v())?);
        }
        state.write(path)?;
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote. The report has the stored counts and the method `stored`; the dual
    /// certificate is not kept.
    ///
    /// Cost: one reading of the file.
    ///
    /// # Errors
    /// Those of reading files; a format error naming what is wrong; `InvalidArgument` for numbers that are not finite.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let state = State::read(path)?;
        state.expect(KIND, VERSION, DType::F64)?;
        let d = state.tensor("diagonal")?.data.to_vec::<f64>()?;
        let v = if state.tensors.iter().any(|t| t.name == "v") { Some(matrix(&state, "v")?) } else { None };
        if !d.iter().all(|x| x.is_finite()) {
            return Err(Error::argument("load", "the diagonal holds a NaN or an infinity"));
        }
        let count =
            |i: usize| state.config["products"].get(i).and_then(serde_json::Value::as_u64).unwrap_or(0) as usize;
        let report = LordReport {
            iterations: state.config["iterations"].as_u64().unwrap_or(0) as usize,
            converged: state.config["converged"].as_bool().unwrap_or(false),
            residual: state.scalar("residual")?,
            ..LordReport::direct("stored", (count(0), count(1)))
        };
        Ok(Lord::new(d, matrix(&state, "u")?, matrix(&state, "core")?, v)?.with_report(report))
    }
}

fn tensor(name: &str, a: MatRef<'_, f64>) -> Result<Tensor, Error> {
    let (m, n) = (a.nrows(), a.ncols());
    let flat: Vec<f64> = (0..m).flat_map(|i| (0..n).map(move |j| a[(i, j)])).collect();
    Ok(Tensor::new(name, &[m, n], &flat)?)
}

fn matrix(state: &State, name: &str) -> Result<Mat<f64>, Error> {
    let tensor = state.tensor(name)?;
    let &[m, n] = tensor.shape.as_slice() else {
        return Err(Error::argument("load", format!("{name} must be a matrix, its shape is {:?}", tensor.shape)));
    };
    let flat = tensor.data.to_vec::<f64>()?;
    if !flat.iter().all(|x| x.is_finite()) {
        return Err(Error::argument("load", format!("{name} holds a NaN or an infinity")));
    }
    Ok(Mat::from_fn(m, n, |i, j| flat[i * n + j]))
}
