//! The perceptron 784-1024-512-256-128-64-10 (ReLU, biases) with 512 data, and the matrix products of its gradient.

use crate::numbers;
use autodiff::nn::Sequential;
use faer::Accum;
use faer::linalg::matmul::matmul;
use numerics::{Mat, Par, Scalar};

/// Sizes of the layers.
pub const WIDTHS: [usize; 7] = [784, 1024, 512, 256, 128, 64, 10];
/// Number of data.
pub const BATCH: usize = 512;

/// The model.
pub fn model() -> Sequential {
    layers(&WIDTHS, "relu")
}

/// Linear layers of these widths with an activation between them.
///
/// # Panics
/// If there is no such activation.
pub fn layers(widths: &[usize], activation: &str) -> Sequential {
    let mut layers = Vec::new();
    for (i, w) in widths.windows(2).enumerate() {
        if i > 0 {
            layers.push(format!(r#"{{"type": "{activation}"}}"#));
        }
        layers.push(format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1]));
    }
    let layers = layers.join(", ");
    Sequential::from_json(&format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{layers}]}}"#, widths[0]))
        .expect("a valid model")
}

/// A class for every datum.
pub fn label(i: usize) -> i64 {
    (i * 7 % 10) as i64
}

/// Flops of one pass over the weights, and of its part behind the first layer.
pub fn passes() -> (f64, f64) {
    let weights: Vec<f64> = WIDTHS.windows(2).map(|w| (w[0] * w[1]) as f64).collect();
    let all: f64 = weights.iter().sum();
    (2.0 * BATCH as f64 * all, 2.0 * BATCH as f64 * (all - weights[0]))
}

/// faer's products of one gradient's shapes: forward, and backward to weights and (but for the first layer) inputs.
pub fn products<T: Scalar>(par: Par) -> impl FnMut() {
    let mut list = Vec::new();
    for (i, w) in WIDTHS.windows(2).enumerate() {
        list.push((BATCH, w[0], w[1]));
        list.push((w[1], BATCH, w[0]));
        if i > 0 {
            list.push((BATCH, w[1], w[0]));
        }
    }
    products_of::<T>(&list, par)
}

/// faer's products of these shapes (rows, inner, columns), in its best layouts.
pub fn products_of<T: Scalar>(shapes: &[(usize, usize, usize)], par: Par) -> impl FnMut() + use<T> {
    let fill = |r: usize, c: usize, s: u64| {
        let data = numbers::<T>(r * c, s);
        Mat::from_fn(r, c, |i, j| data[j * r + i])
    };
    let mut mats: Vec<_> =
        shapes.iter().map(|&(m, k, n)| (fill(m, k, 2), fill(k, n, 3), Mat::<T>::zeros(m, n))).collect();
    move || {
        for (x, y, out) in &mut mats {
            matmul(out.as_mut(), Accum::Replace, x.as_ref(), y.as_ref(), T::ONE, par);
        }
    }
}
