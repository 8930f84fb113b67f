//! The exact diagonal of the Hessian of a net with one hidden layer of tanh under squared error, in closed form, and checked by
//! products with unit vectors.
//!
//! The Gauss-Newton part comes from [`Risk::fisher_diagonal`]. What the Hessian has beyond it is
//! `kappa sum_n sum_o 2 (f_o - y_o) d2 f_o`, and of `f = V tanh(W x + b) + c` the only second derivatives on the diagonal are
//! `d2 f_o / dW_hi^2 = V_oh tanh''(z_h) x_i^2`, and those for b, with 1 for `x_i`.

use autodiff::Value;
use curvature::{Batch, Fisher, Risk};
use linop_core::Op;
use numerics::{Mat, Par};
use std::error::Error;

/// Entries of W that are checked by products; those of b, V and c all are.
const CHECKED: usize = 240;
/// Largest difference that is rounding, beside the largest entry of its tensor.
const ROUNDING: f64 = 1e-10;
/// Products at a time.
const BLOCK: usize = 32;

/// The diagonal of the risk's Hessian, of a net with these widths.
pub(crate) fn exact(risk: &Risk<f64>, hessian: &Op<f64>, widths: [usize; 3]) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut diagonal = risk.fisher_diagonal(Fisher::Type2, Par::Seq)?;
    let mut rest = vec![0.0; diagonal.len()];
    for batch in risk.batches() {
        add_residual(risk.params(), batch, widths, &mut rest)?;
    }
    let kappa = risk.loss_scale();
    diagonal.iter_mut().zip(&rest).for_each(|(d, r)| *d += kappa * r);
    check(&diagonal, hessian, widths)?;
    Ok(diagonal)
}

/// Adds `sum_n sum_o 2 (f_o - y_o) d2 f_o` of a batch.
fn add_residual(
    params: &[f64],
    batch: &Batch<f64>,
    [inputs, hidden, outputs]: [usize; 3],
    sum: &mut [f64],
) -> Result<(), Box<dyn Error>> {
    let (w, rest) = params.split_at(hidden * inputs);
    let (b, rest) = rest.split_at(hidden);
    let (v, c) = rest.split_at(outputs * hidden);
    let (Value::Real(x), [Value::Real(y)]) = (&batch.inputs, &batch.targets[..]) else {
        return Err("expected real inputs and targets without weights".into());
    };
    for (x, y) in x.data().chunks_exact(inputs).zip(y.data().chunks_exact(outputs)) {
        let a: Vec<f64> = w.chunks_exact(inputs).zip(b).map(|(w, b)| (dot(w, x) + b).tanh()).collect();
        let cotangents: Vec<f64> =
            (0..outputs).map(|o| 2.0 * (dot(&v[o * hidden..(o + 1) * hidden], &a) + c[o] - y[o])).collect();
        for (h, &a) in a.iter().enumerate() {
            let pulled: f64 = cotangents.iter().enumerate().map(|(o, e)| e * v[o * hidden + h]).sum();
            let second = pulled * -2.0 * a * (1.0 - a * a);
            sum[h * inputs..(h + 1) * inputs].iter_mut().zip(x).for_each(|(s, x)| *s += second * x * x);
            sum[hidden * inputs + h] += second;
        }
    }
    Ok(())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares entries with `e_i^T H e_i`.
fn check(diagonal: &[f64], hessian: &Op<f64>, [inputs, hidden, outputs]: [usize; 3]) -> Result<(), Box<dyn Error>> {
    let n = diagonal.len();
    let mut start = 0;
    for (name, length) in [("W", hidden * inputs), ("b", hidden), ("V", outputs * hidden), ("c", outputs)] {
        let tensor = &diagonal[start..start + length];
        let largest = tensor.iter().fold(0.0, |top: f64, d| top.max(d.abs()));
        // A step that shares no factor with the number of inputs meets all of them, in all rows.
        let step = if name == "W" { (length / CHECKED) | 1 } else { 1 };
        let entries: Vec<usize> = (start..start + length).step_by(step).collect();
        for block in entries.chunks(BLOCK) {
            let unit = Mat::from_fn(n, block.len(), |i, j| f64::from(u8::from(i == block[j])));
            let product = hessian.times_mat(unit.as_ref(), Par::Seq)?;
            for (j, &i) in block.iter().enumerate() {
                let (closed, multiplied) = (diagonal[i], product[(i, j)]);
                let apart = (closed - multiplied).abs();
                if apart.is_nan() || apart > ROUNDING * largest {
                    return Err(format!(
                        "entry {i} ({name}) is {multiplied:e} by a product, {closed:e} in closed form"
                    )
                    .into());
                }
            }
        }
        start += length;
    }
    if start == n { Ok(()) } else { Err(format!("{n} parameters where {start} were expected").into()) }
}
