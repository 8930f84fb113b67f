//! `Layer`: what a sequential model is made of, with PyTorch's layouts and meanings.
//!
//! Shapes in configurations are those of one datum; traced tensors carry the batch as axis 0. A convolution is zero
//! padding, two sliding windows and one contraction, so its derivatives of every order are those of these primitives.

use super::decoder::DecoderBlock;
use crate::ops::Window;
use crate::trace::Tensor;
use crate::types::{Kind, TensorType, checked_numel};
use core::fmt;
use serde::{Deserialize, Serialize};

/// One layer, as `config.json` describes it.
///
/// ```
/// use autodiff::nn::Layer;
/// let layer: Layer = serde_json::from_str(r#"{"type": "linear", "in": 4, "out": 2}"#)?;
/// assert_eq!(layer, Layer::Linear { inputs: 4, outputs: 2, bias: true });
/// assert_eq!(layer.to_string(), "linear 4 -> 2");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Layer {
    /// `x W^T + b` over the last axis; weight `[out, in]`.
    Linear {
        /// Size of the last axis that comes in.
        #[serde(rename = "in")]
        inputs: usize,
        /// Size of the last axis that goes out.
        #[serde(rename = "out")]
        outputs: usize,
        /// Whether there is a bias.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Correlation with square kernels over `[C, H, W]`; weight `[out, in, k, k]`.
    Conv2d {
        /// Channels in.
        #[serde(rename = "in")]
        inputs: usize,
        /// Channels out.
        #[serde(rename = "out")]
        outputs: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Distance between windows.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros on each side.
        #[serde(default)]
        padding: usize,
        /// Whether there is a bias.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Normalisation over the trailing axes with a gain and a shift.
    LayerNorm {
        /// The trailing axes.
        shape: Vec<usize>,
        /// Added to the variance.
        #[serde(default = "layernorm_eps")]
        eps: f64,
    },
    /// Rows of a table, picked by token ids; weight `[num, dim]`.
    Embedding {
        /// Number of tokens.
        num: usize,
        /// Size of a row.
        dim: usize,
    },
    /// A row of a table added to each position of `[S, dim]`; weight `[num, dim]`, `S <= num`.
    Positions {
        /// Most positions.
        num: usize,
        /// Size of a row.
        dim: usize,
    },
    /// A block of a decoder-only transformer on `[S, width]`: attention to this and earlier positions, then two linear layers
    /// with GELU between them, both on normalised inputs and added to what came in.
    Decoder {
        /// Size of the last axis.
        width: usize,
        /// Heads, which share the width.
        heads: usize,
        /// Width between the two linear layers; four times the width if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hidden: Option<usize>,
    },
    /// All axes of a datum as one.
    Flatten {},
    /// Means of windows over `[C, H, W]`.
    AvgPool2d {
        /// Side of the window.
        kernel: usize,
        /// Distance between windows; the side if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// Maxima of windows over `[C, H, W]`.
    MaxPool2d {
        /// Side of the window.
        kernel: usize,
        /// Distance between windows; the side if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// Hyperbolic tangent.
    Tanh {},
    /// `max(x, 0)`.
    Relu {},
    /// `1 / (1 + e^-x)`.
    Sigmoid {},
    /// `x Phi(x)`.
    Gelu {},
    /// The tanh form of GELU.
    #[serde(rename = "gelu_tanh")]
    GeluTanh {},
    /// `x sigmoid(x)`.
    Silu {},
    /// `ln(1 + e^(beta x)) / beta`, without a threshold.
    Softplus {
        /// Sharpness.
        #[serde(default = "unit")]
        beta: f64,
    },
    /// Sine.
    Sin {},
    /// `x` where positive, else `alpha (e^x - 1)`.
    Elu {
        /// Depth of the negative side.
        #[serde(default = "unit")]
        alpha: f64,
    },
    /// `x` where positive, else `slope x`.
    #[serde(rename = "leaky_relu")]
    LeakyRelu {
        /// Slope of the negative side.
        #[serde(default = "leaky_slope")]
        slope: f64,
    },
    /// Nothing.
    Identity {},
}

fn yes() -> bool {
    true
}
fn one() -> usize {
    1
}
fn unit() -> f64 {
    1.0
}
fn layernorm_eps() -> f64 {
    1e-5
}
fn leaky_slope() -> f64 {
    0.01
}

impl Layer {
    fn block(&self) -> Option<DecoderBlock> {
        let Layer::Decoder { width, heads, hidden } = *self else { return None };
        Some(DecoderBlock { width, heads, hidden: hidden.unwrap_or(width.saturating_mul(4)) })
    }

    /// Names (without the layer's index) and shapes of its parameters, weight before bias.
    pub fn params(&self) -> Vec<(&'static str, Vec<usize>)> {
        let mut list = Vec::new();
        match self {
            Layer::Linear { inputs, outputs, bias } => {
                list.push(("weight", vec![*outputs, *inputs]));
                if *bias {
                    list.push(("bias", vec![*outputs]));
                }
            }
            Layer::Conv2d { inputs, outputs, kernel, bias, .. } => {
                list.push(("weight", vec![*outputs, *inputs, *kernel, *kernel]));
                if *bias {
                    list.push(("bias", vec![*outputs]));
                }
            }
            Layer::LayerNorm { shape, .. } => {
                list.push(("weight", shape.clone()));
                list.push(("bias", shape.clone()));
            }
            Layer::Embedding { num, dim } | Layer::Positions { num, dim } => list.push(("weight", vec![*num, *dim])),
            Layer::Decoder { .. } => list.extend(self.block().into_iter().flat_map(DecoderBlock::params)),
            _ => {}
        }
        list
    }

    /// Whether its own numbers make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let sizes: Vec<(&str, usize)> = match self {
            Layer::Linear { inputs, outputs, .. } => vec![("in", *inputs), ("out", *outputs)],
            Layer::Conv2d { inputs, outputs, kernel, stride, .. } => {
                vec![("in", *inputs), ("out", *outputs), ("kernel", *kernel), ("stride", *stride)]
            }
            Layer::LayerNorm { shape, .. } => shape.iter().map(|&n| ("shape", n)).collect(),
            Layer::Embedding { num, dim } | Layer::Positions { num, dim } => vec![("num", *num), ("dim", *dim)],
            Layer::AvgPool2d { kernel, stride } | Layer::MaxPool2d { kernel, stride } => {
                vec![("kernel", *kernel), ("stride", stride.unwrap_or(*kernel))]
            }
            _ => Vec::new(),
        };
        if let Some((key, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return Err(format!("\"{key}\" is 0, expected at least 1"));
        }
        if let Some(block) = self.block() {
            return block.check();
        }
        match self {
            Layer::LayerNorm { shape, .. } if shape.is_empty() => Err("\"shape\" is empty".into()),
            Layer::LayerNorm { eps, .. } if !(eps.is_finite() && *eps >= 0.0) => {
                Err(format!("\"eps\" is {eps}, expected a number that is not negative"))
            }
            Layer::Softplus { beta } if !(beta.is_finite() && *beta > 0.0) => {
                Err(format!("\"beta\" is {beta}, expected a positive number"))
            }
            Layer::Elu { alpha: x } | Layer::LeakyRelu { slope: x } if !x.is_finite() => {
                Err(format!("its parameter is {x}, expected a finite number"))
            }
            _ => Ok(()),
        }
    }

    /// Kind and shape of one datum's value, given those of one datum's input.
    ///
    /// # Errors
    /// What the layer expects and what it got, in words.
    pub fn infer(&self, input: &TensorType) -> Result<TensorType, String> {
        let shape = input.shape.as_slice();
        match self {
            Layer::Identity {} => return Ok(input.clone()),
            Layer::Flatten {} => {
                let n = checked_numel(shape).ok_or_else(|| format!("inputs {input} are too large"))?;
                return Ok(TensorType { kind: input.kind, shape: [n].as_slice().into() });
            }
            Layer::Embedding { dim, .. } => {
                if input.kind != Kind::Int {
                    return Err(format!("expects token ids and so must be the first layer, got real inputs {input}"));
                }
                return Ok(TensorType::real(&[shape, &[*dim]].concat()));
            }
            _ if input.kind == Kind::Int => return Err(format!("expects real inputs, got {input}")),
            _ => {}
        }
        match self {
            Layer::Linear { inputs, outputs, .. } => match shape.split_last() {
                Some((last, lead)) if last == inputs => Ok(TensorType::real(&[lead, &[*outputs]].concat())),
                _ => Err(format!("expects a last axis of {inputs}, got inputs {input}")),
            },
            Layer::Conv2d { inputs, outputs, kernel, stride, padding, .. } => {
                if shape.len() != 3 || shape[0] != *inputs {
                    return Err(format!("expects inputs [{inputs}, H, W], got {input}"));
                }
                windows(input, *outputs, *kernel, *stride, *padding)
            }
            Layer::AvgPool2d { kernel, stride } | Layer::MaxPool2d { kernel, stride } => {
                if shape.len() != 3 {
                    return Err(format!("expects inputs [C, H, W], got {input}"));
                }
                windows(input, shape[0], *kernel, stride.unwrap_or(*kernel), 0)
            }
            Layer::Positions { num, dim } => match shape {
                [s, d] if s <= num && d == dim => Ok(input.clone()),
                _ => Err(format!("expects inputs [positions, {dim}] with at most {num} positions, got {input}")),
            },
            Layer::Decoder { .. } => self.block().map_or_else(|| Ok(input.clone()), |block| block.infer(input)),
            Layer::LayerNorm { shape: own, .. } if !shape.ends_with(own) => {
                Err(format!("expects trailing axes {own:?}, got inputs {input}"))
            }
            _ => Ok(input.clone()),
        }
    }

    /// The layer's value for traced inputs `[N, ...]` and its traced parameters.
    ///
    /// Operands that do not fit are an error of the trace, as for every method of [`Tensor`].
    #[track_caller]
    #[must_use]
    pub fn apply(&self, params: &[Tensor], x: &Tensor) -> Tensor {
        let declared = self.params();
        if params.len() != declared.len() {
            // A constant without its numbers: the trace records which parameter is absent, by its shape.
            let shape = declared.get(params.len()).map_or(&[1][..], |(_, s)| s.as_slice());
            return x.tracer().constant(shape, &[]);
        }
        match self {
            Layer::Linear { .. } => {
                let y = x.dot(&params[0], &[], &[(x.rank().wrapping_sub(1), 1)]);
                params.get(1).map_or(y.clone(), |b| y + b)
            }
            Layer::Conv2d { outputs, kernel, stride, padding, .. } => {
                let padded = match padding {
                    0 => x.clone(),
                    p => x.pad(2, *p, *p).pad(3, *p, *p),
                };
                // [N, C, H, W, k, k] with [O, C, k, k] gives [N, H, W, O].
                let y = patches(&padded, *kernel, *stride).dot(&params[0], &[], &[(1, 1), (4, 2), (5, 3)]);
                let y = y.transpose(&[0, 3, 1, 2]);
                params.get(1).map_or(y.clone(), |b| y + b.reshape(&[*outputs, 1, 1]))
            }
            Layer::LayerNorm { shape, eps } => x.normalize(shape.len(), *eps) * &params[0] + &params[1],
            Layer::Embedding { .. } => params[0].gather(x, 0),
            Layer::Positions { .. } => x + params[0].slice(0, 0, x.shape().get(1).copied().unwrap_or(0)),
            Layer::Decoder { .. } => self.block().map_or_else(|| x.clone(), |block| block.apply(params, x)),
            Layer::Flatten {} => {
                let shape = x.shape();
                let lead = shape.first().copied().unwrap_or(1);
                x.reshape(&[lead, shape.iter().skip(1).product()])
            }
            Layer::AvgPool2d { kernel, stride } => patches(x, *kernel, stride.unwrap_or(*kernel)).mean(&[4, 5]),
            Layer::MaxPool2d { kernel, stride } => patches(x, *kernel, stride.unwrap_or(*kernel)).max(&[4, 5]),
            Layer::Tanh {} => x.tanh(),
            Layer::Relu {} => x.relu(),
            Layer::Sigmoid {} => x.sigmoid(),
            Layer::Gelu {} => x.gelu(),
            Layer::GeluTanh {} => x.gelu_tanh(),
            Layer::Silu {} => x.silu(),
            Layer::Softplus { beta } if *beta == 1.0 => x.softplus(),
            Layer::Softplus { beta } => x.softplus_beta(*beta),
            Layer::Sin {} => x.sin(),
            Layer::Elu { alpha } => x.elu(*alpha),
            Layer::LeakyRelu { slope } => x.leaky_relu(*slope),
            Layer::Identity {} => x.clone(),
        }
    }

    /// Whether it passes values of any kind through, so that token ids may stand before it.
    pub(super) fn is_transparent(&self) -> bool {
        matches!(self, Layer::Identity {} | Layer::Flatten {})
    }
}

/// `[N, C, H, W]` as `[N, C, H', W', k, k]`.
#[track_caller]
fn patches(x: &Tensor, size: usize, stride: usize) -> Tensor {
    x.windows(Window { axis: 2, size, stride, dilation: 1 }).windows(Window { axis: 3, size, stride, dilation: 1 })
}

/// `[channels, H', W']` after windows over the padded `[C, H, W]`.
fn windows(
    input: &TensorType,
    channels: usize,
    size: usize,
    stride: usize,
    padding: usize,
) -> Result<TensorType, String> {
    let window = Window { axis: 0, size, stride, dilation: 1 };
    let count = |len: usize| window.count(padding.checked_mul(2)?.checked_add(len)?);
    match (count(input.shape[1]), count(input.shape[2])) {
        (Some(h), Some(w)) => Ok(TensorType::real(&[channels, h, w])),
        _ => Err(format!("a window of {size} with padding {padding} does not fit inputs {input}")),
    }
}

impl Layer {
    /// The name under `"type"`.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::Linear { .. } => "linear",
            Layer::Conv2d { .. } => "conv2d",
            Layer::LayerNorm { .. } => "layernorm",
            Layer::Embedding { .. } => "embedding",
            Layer::Positions { .. } => "positions",
            Layer::Decoder { .. } => "decoder",
            Layer::Flatten {} => "flatten",
            Layer::AvgPool2d { .. } => "avgpool2d",
            Layer::MaxPool2d { .. } => "maxpool2d",
            Layer::Tanh {} => "tanh",
            Layer::Relu {} => "relu",
            Layer::Sigmoid {} => "sigmoid",
            Layer::Gelu {} => "gelu",
            Layer::GeluTanh {} => "gelu_tanh",
            Layer::Silu {} => "silu",
            Layer::Softplus { .. } => "softplus",
            Layer::Sin {} => "sin",
            Layer::Elu { .. } => "elu",
            Layer::LeakyRelu { .. } => "leaky_relu",
            Layer::Identity {} => "identity",
        }
    }
}

/// The layer in short; options that have their default are left out.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut bias_here = true;
        match self {
            Layer::Linear { inputs, outputs, bias } => {
                write!(f, " {inputs} -> {outputs}")?;
                bias_here = *bias;
            }
            Layer::Conv2d { inputs, outputs, kernel, stride, padding, bias } => {
                write!(f, " {inputs} -> {outputs}, kernel {kernel}")?;
                if *stride != 1 {
                    write!(f, ", stride {stride}")?;
                }
                if *padding != 0 {
                    write!(f, ", padding {padding}")?;
                }
                bias_here = *bias;
            }
            Layer::LayerNorm { shape, .. } => write!(f, " {shape:?}")?,
            Layer::Embedding { num, dim } => write!(f, " {num} -> {dim}")?,
            Layer::Positions { num, dim } => write!(f, " {num} x {dim}")?,
            Layer::Decoder { width, heads, .. } => write!(f, " {width}, {heads} heads")?,
            Layer::AvgPool2d { kernel, stride } | Layer::MaxPool2d { kernel, stride } => {
                write!(f, " {kernel}")?;
                if let Some(stride) = stride.filter(|s| s != kernel) {
                    write!(f, ", stride {stride}")?;
                }
            }
            Layer::Softplus { beta: x } | Layer::Elu { alpha: x } if *x != 1.0 => write!(f, " {x}")?,
            Layer::LeakyRelu { slope } => write!(f, " {slope}")?,
            _ => {}
        }
        f.write_str(if bias_here { "" } else { ", no bias" })
    }
}
