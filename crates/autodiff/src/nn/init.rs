//! PyTorch's default initialisation: weights and biases of linear and convolutional layers uniform on
//! `+-1 / sqrt(fan_in)`, gains 1 and shifts 0, embeddings and positions standard normal.
//!
//! Parameter tensor `i` draws from its own stream (seed, init, i), so later layers never change the numbers of earlier ones.

use super::layer::Layer;
use super::sequential::Sequential;
use numerics::Scalar;
use numerics::rng::{Role, Stream};

enum Law {
    Constant(f64),
    Uniform(f64),
    Normal,
}

impl Layer {
    fn law(&self, parameter: &str) -> Law {
        let bound = |fan_in: usize| Law::Uniform(1.0 / (fan_in as f64).sqrt());
        match self {
            Layer::Linear { inputs, .. } => bound(*inputs),
            Layer::Conv2d { inputs, kernel, .. } => bound(inputs * kernel * kernel),
            Layer::Embedding { .. } | Layer::Positions { .. } => Law::Normal,
            Layer::Decoder { .. } if parameter.starts_with("norm") => {
                Law::Constant(if parameter.ends_with("weight") { 1.0 } else { 0.0 })
            }
            // Only the second of the two linear layers behind the attention takes the hidden width.
            Layer::Decoder { width, hidden, .. } if parameter.starts_with("contract") => {
                bound(hidden.unwrap_or(4 * width))
            }
            Layer::Decoder { width, .. } => bound(*width),
            Layer::LayerNorm { .. } => Law::Constant(if parameter == "weight" { 1.0 } else { 0.0 }),
            // No parameters. Written out, so that a new layer with some is not given a law by accident.
            Layer::Flatten {}
            | Layer::AvgPool2d { .. }
            | Layer::MaxPool2d { .. }
            | Layer::Tanh {}
            | Layer::Relu {}
            | Layer::Sigmoid {}
            | Layer::Gelu {}
            | Layer::GeluTanh {}
            | Layer::Silu {}
            | Layer::Softplus { .. }
            | Layer::Sin {}
            | Layer::Elu { .. }
            | Layer::LeakyRelu { .. }
            | Layer::Identity {} => Law::Constant(0.0),
        }
    }
}

impl Sequential {
    /// Initial parameters, the same for the same seed everywhere; drawn in double precision.
    ///
    /// ```
    /// use autodiff::nn::{Layer, Sequential};
    /// let model = Sequential::new(&[4], vec![Layer::Linear { inputs: 4, outputs: 3, bias: true }])?;
    /// let params: Vec<f64> = model.init(7);
    /// assert!(params.len() == 15 && params.iter().all(|p| p.abs() <= 0.5));
    /// # Ok::<(), autodiff::nn::ModelError>(())
    /// ```
    pub fn init<T: Scalar>(&self, seed: u64) -> Vec<T> {
        let mut flat = Vec::with_capacity(self.params().total());
        let mut params = self.params().iter().zip(0u64..);
        for layer in self.layers() {
            for (own, _) in layer.params() {
                let Some((param, ordinal)) = params.next() else { continue };
                let mut stream = Stream::new(seed, Role::Init, ordinal, 0);
                let law = layer.law(own);
                flat.extend((0..param.numel()).map(|_| {
                    T::from_f64(match law {
                        Law::Constant(c) => c,
                        Law::Uniform(bound) => bound * (2.0 * stream.uniform() - 1.0),
                        Law::Normal => stream.normal(),
                    })
                }));
            }
        }
        flat
    }
}
