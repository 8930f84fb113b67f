//! One layer: its options, its parameters, its shapes, its cost.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a layer computes; the keys are those of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the variants are the layers of torch.nn by the same names and options")]
pub enum LayerKind {
    Linear {
        #[serde(rename = "in")]
        inputs: usize,
        #[serde(rename = "out")]
        outputs: usize,
        #[serde(default = "yes")]
        bias: bool,
    },
    Conv2d {
        #[serde(rename = "in")]
        inputs: usize,
        #[serde(rename = "out")]
        outputs: usize,
        kernel: usize,
        #[serde(default = "one")]
        stride: usize,
        #[serde(default)]
        padding: usize,
        #[serde(default = "yes")]
        bias: bool,
    },
    Layernorm {
        shape: Vec<usize>,
        #[serde(default = "layernorm_eps")]
        eps: f64,
    },
    Embedding {
        num: usize,
        dim: usize,
    },
    Flatten {},
    Avgpool2d {
        kernel: usize,
        stride: Option<usize>,
    },
    Maxpool2d {
        kernel: usize,
        stride: Option<usize>,
    },
    Tanh {},
    Relu {},
    Sigmoid {},
    Gelu {},
    GeluTanh {},
    Silu {},
    Softplus {
        #[serde(default = "unit")]
        beta: f64,
    },
    Sin {},
    Elu {
        #[serde(default = "unit")]
        alpha: f64,
    },
    LeakyRelu {
        #[serde(default = "leaky_slope")]
        slope: f64,
    },
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

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayerKind::Linear { inputs, outputs, bias } => {
                write!(f, "linear {inputs} -> {outputs}{}", if *bias { "" } else { ", no bias" })
            }
            LayerKind::Conv2d { inputs, outputs, kernel, stride, padding, bias } => {
                write!(f, "conv2d {inputs} -> {outputs}, kernel {kernel}, stride {stride}, padding {padding}")?;
                f.write_str(if *bias { "" } else { ", no bias" })
            }
            LayerKind::Layernorm { shape, .. } => write!(f, "layernorm {shape:?}"),
            LayerKind::Embedding { num, dim } => write!(f, "embedding {num} x {dim}"),
            LayerKind::Avgpool2d { kernel, stride } | LayerKind::Maxpool2d { kernel, stride } => {
                write!(f, "{} kernel {kernel}, stride {}", self.name(), stride.unwrap_or(*kernel))
            }
            LayerKind::Softplus { beta } if *beta != 1.0 => write!(f, "softplus, beta {beta}"),
            LayerKind::Elu { alpha } if *alpha != 1.0 => write!(f, "elu, alpha {alpha}"),
            LayerKind::LeakyRelu { slope } => write!(f, "leaky_relu, slope {slope}"),
            other => f.write_str(other.name()),
        }
    }
}

impl LayerKind {
    /// The name under `"type"`.
    pub fn name(&self) -> &'static str {
        match self {
            LayerKind::Linear { .. } => "linear",
            LayerKind::Conv2d { .. } => "conv2d",
            LayerKind::Layernorm { .. } => "layernorm",
            LayerKind::Embedding { .. } => "embedding",
            LayerKind::Flatten {} => "flatten",
            LayerKind::Avgpool2d { .. } => "avgpool2d",
            LayerKind::Maxpool2d { .. } => "maxpool2d",
            LayerKind::Tanh {} => "tanh",
            LayerKind::Relu {} => "relu",
            LayerKind::Sigmoid {} => "sigmoid",
            LayerKind::Gelu {} => "gelu",
            LayerKind::GeluTanh {} => "gelu_tanh",
            LayerKind::Silu {} => "silu",
            LayerKind::Softplus { .. } => "softplus",
            LayerKind::Sin {} => "sin",
            LayerKind::Elu { .. } => "elu",
            LayerKind::LeakyRelu { .. } => "leaky_relu",
            LayerKind::Identity {} => "identity",
        }
    }

    /// Options that no layer of this kind may have.
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = |what: &str, n: usize| {
            if n > 0 { Ok(()) } else { Err(format!("{what:?} is 0, expected at least 1")) }
        };
        let finite = |what: &str, x: f64| {
            if x.is_finite() { Ok(()) } else { Err(format!("{what:?} is {x}, expected a finite number")) }
        };
        match self {
            LayerKind::Linear { inputs, outputs, .. } => positive("in", *inputs).and(positive("out", *outputs)),
            LayerKind::Conv2d { inputs, outputs, kernel, stride, .. } => positive("in", *inputs)
                .and(positive("out", *outputs))
                .and(positive("kernel", *kernel))
                .and(positive("stride", *stride)),
            LayerKind::Avgpool2d { kernel, stride } | LayerKind::Maxpool2d { kernel, stride } => {
                positive("kernel", *kernel).and(positive("stride", stride.unwrap_or(1)))
            }
            LayerKind::Embedding { num, dim } => positive("num", *num).and(positive("dim", *dim)),
            LayerKind::Layernorm { shape, eps } => {
                if shape.is_empty() {
                    return Err("\"shape\" is empty, expected the trailing axes, as [64]".into());
                }
                if !(*eps >= 0.0 && eps.is_finite()) {
                    return Err(format!("\"eps\" is {eps}, expected a number that is not negative"));
                }
                shape.iter().try_for_each(|&n| positive("shape", n))
            }
            LayerKind::Softplus { beta } if *beta <= 0.0 => Err(format!("\"beta\" is {beta}, expected above 0")),
            LayerKind::Softplus { beta } => finite("beta", *beta),
            LayerKind::Elu { alpha } => finite("alpha", *alpha),
            LayerKind::LeakyRelu { slope } => finite("slope", *slope),
            _ => Ok(()),
        }
    }

    /// Names and shapes of the parameters, weight before bias, in torch's layouts.
    pub fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (weight, bias) = match self {
            LayerKind::Linear { inputs, outputs, bias } => (vec![*outputs, *inputs], bias.then(|| vec![*outputs])),
            LayerKind::Conv2d { inputs, outputs, kernel, bias, .. } => {
                (vec![*outputs, *inputs, *kernel, *kernel], bias.then(|| vec![*outputs]))
            }
            LayerKind::Layernorm { shape, .. } => (shape.clone(), Some(shape.clone())),
            LayerKind::Embedding { num, dim } => (vec![*num, *dim], None),
            _ => return Vec::new(),
        };
        let mut out = vec![("weight", weight)];
        out.extend(bias.map(|b| ("bias", b)));
        out
    }

    /// The shape of one datum's output, or what is wrong with the input.
    pub(super) fn output(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        match self {
            LayerKind::Linear { inputs, outputs, .. } => match input.split_last() {
                Some((last, rest)) if last == inputs => Ok([rest, &[*outputs]].concat()),
                _ => Err(format!("needs inputs [..., {inputs}], got {input:?}")),
            },
            LayerKind::Conv2d { inputs, outputs, kernel, stride, padding, .. } => match *input {
                [c, h, w] if c == *inputs => {
                    let h = window(h, *kernel, *stride, *padding);
                    let w = window(w, *kernel, *stride, *padding);
                    match (h, w) {
                        (Some(h), Some(w)) => Ok(vec![*outputs, h, w]),
                        _ => Err(format!("the kernel does not fit into the input {input:?}")),
                    }
                }
                _ => Err(format!("needs inputs [{inputs}, height, width], got {input:?}")),
            },
            LayerKind::Layernorm { shape, .. } if !input.ends_with(shape) => {
                Err(format!("needs inputs that end with {shape:?}, got {input:?}"))
            }
            LayerKind::Embedding { dim, .. } => Ok([input, &[*dim]].concat()),
            LayerKind::Flatten {} => product(input).map(|n| vec![n]).ok_or_else(|| "too many elements".into()),
            LayerKind::Avgpool2d { kernel, stride } | LayerKind::Maxpool2d { kernel, stride } => match *input {
                [c, h, w] => {
                    let stride = stride.unwrap_or(*kernel);
                    match (window(h, *kernel, stride, 0), window(w, *kernel, stride, 0)) {
                        (Some(h), Some(w)) => Ok(vec![c, h, w]),
                        _ => Err(format!("the kernel does not fit into the input {input:?}")),
                    }
                }
                _ => Err(format!("needs inputs [channels, height, width], got {input:?}")),
            },
            _ => Ok(input.to_vec()),
        }
    }

    /// Floating-point operations for one datum: a multiplication and an addition count one each, an elementwise
    /// function one, a layer norm eight per element. `None` on overflow.
    pub(super) fn flops(&self, input: &[usize], output: &[usize]) -> Option<u64> {
        let n = product(output)? as u64;
        let per_output = match self {
            LayerKind::Linear { inputs, bias, .. } => (*inputs as u64).checked_mul(2)?.checked_sub(u64::from(!bias))?,
            LayerKind::Conv2d { inputs, kernel, bias, .. } => {
                let terms = product(&[*inputs, *kernel, *kernel])? as u64;
                terms.checked_mul(2)?.checked_sub(u64::from(!bias))?
            }
            LayerKind::Layernorm { .. } => return (product(input)? as u64).checked_mul(8),
            LayerKind::Embedding { .. } | LayerKind::Flatten {} | LayerKind::Identity {} => 0,
            LayerKind::Avgpool2d { kernel, .. } | LayerKind::Maxpool2d { kernel, .. } => {
                product(&[*kernel, *kernel])? as u64
            }
            _ => 1,
        };
        n.checked_mul(per_output)
    }
}

/// Positions of a window along one axis.
fn window(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    Some(padded.checked_sub(kernel)? / stride + 1)
}

/// The number of elements of a shape.
pub(super) fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d))
}

/// A layer in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What it computes.
    pub kind: LayerKind,
    /// Shape of one datum's input.
    pub input: Vec<usize>,
    /// Shape of one datum's output.
    pub output: Vec<usize>,
    /// Number of parameters.
    pub parameters: usize,
    /// Floating-point operations per datum.
    pub flops: u64,
}
