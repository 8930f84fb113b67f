//! `Sequential`: layers one after the other, what `torch.nn.Sequential` saves, traced as one program.

use super::error::ModelError;
use super::layer::Layer;
use super::loss::Loss;
use super::params::ParamSpace;
use crate::program::Program;
use crate::trace::{Tensor, trace};
use crate::types::{Dims, Kind, TensorType};
use serde::Deserialize;

/// A model of layers that follow one another; tensor names are `"{index}.weight"` and `"{index}.bias"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    input: TensorType,
    layers: Vec<Layer>,
    // Types of one datum before layer i; the last is the output.
    types: Vec<TensorType>,
    params: ParamSpace,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(rename = "model_type")]
    _model_type: String,
    input: Vec<usize>,
    layers: Vec<serde_json::Value>,
}

impl Sequential {
    /// Layers on inputs of this shape (of one datum); token ids if the first layer is an embedding.
    ///
    /// # Errors
    /// A layer whose numbers make no sense or that does not accept what comes to it, by its index.
    pub fn new(input: &[usize], layers: Vec<Layer>) -> Result<Self, ModelError> {
        if input.contains(&0) {
            return Err(ModelError::Config(format!("\"input\" is {input:?}, expected sizes of at least 1")));
        }
        let tokens = matches!(layers.iter().find(|l| !l.is_transparent()), Some(Layer::Embedding { .. }));
        let input = if tokens { TensorType::int(input) } else { TensorType::real(input) };
        let mut types = vec![input.clone()];
        let mut tensors = Vec::new();
        let mut at = input.clone();
        for (index, layer) in layers.iter().enumerate() {
            let named = |what| ModelError::Layer { index, layer: layer.to_string(), what };
            layer.check().map_err(named)?;
            at = layer.infer(&at).map_err(|what| {
                named(match index {
                    0 => format!("{what} (the model's input)"),
                    _ => format!("{what} from layer {} ({})", index - 1, layers[index - 1]),
                })
            })?;
            types.push(at.clone());
            tensors.extend(layer.params().into_iter().map(|(name, shape)| (format!("{index}.{name}"), shape)));
        }
        Ok(Sequential { input, layers, types, params: ParamSpace::new(tensors)? })
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Text that is not JSON; unknown or missing keys; layers that do not fit.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let value = serde_json::from_str(text).map_err(|e| ModelError::Config(e.to_string()))?;
        Self::from_config(&value)
    }

    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// Unknown or missing keys; layers that do not fit.
    pub fn from_config(value: &serde_json::Value) -> Result<Self, ModelError> {
        match value.get("model_type").and_then(serde_json::Value::as_str) {
            Some("sequential") => {}
            Some(other) => {
                return Err(ModelError::Config(format!("\"model_type\" is {other:?}, expected \"sequential\"")));
            }
            None => return Err(ModelError::Config("no \"model_type\", expected \"sequential\"".into())),
        }
        let config = Config::deserialize(value).map_err(|e| ModelError::Config(e.to_string()))?;
        let layers = config.layers.iter().enumerate().map(|(index, layer)| {
            Layer::deserialize(layer).map_err(|e| {
                let name = layer.get("type").and_then(serde_json::Value::as_str).unwrap_or("of no type");
                ModelError::Layer { index, layer: name.into(), what: e.to_string() }
            })
        });
        Self::new(&config.input, layers.collect::<Result<_, _>>()?)
    }

    /// The description that [`Sequential::from_config`] reads.
    pub fn to_config(&self) -> serde_json::Value {
        serde_json::json!({
            "model_type": "sequential",
            "input": self.input.shape.as_slice(),
            "layers": self.layers,
        })
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The parameters in order: by layer, weight before bias.
    pub fn params(&self) -> &ParamSpace {
        &self.params
    }

    /// Kind and shape of one datum.
    pub fn input_type(&self) -> &TensorType {
        &self.input
    }

    /// Kind and shape of one datum's output.
    pub fn output_type(&self) -> &TensorType {
        self.types.last().unwrap_or(&self.input)
    }

    /// Kind and shape of one datum's value behind layer `index`.
    pub fn layer_output(&self, index: usize) -> Option<&TensorType> {
        self.types.get(index + 1)
    }

    /// The layer that a parameter belongs to, with its index.
    pub fn layer_of(&self, param: usize) -> Option<(usize, &Layer)> {
        let mut end = 0;
        self.layers.iter().enumerate().find(|(_, layer)| {
            end += layer.params().len();
            param < end
        })
    }

    /// Traced outputs `[N, ...]` of traced inputs `[N, ...]`, with one tensor per parameter.
    ///
    /// Parameters that are absent or do not fit are an error of the trace, as for every method of [`Tensor`].
    #[track_caller]
    #[must_use]
    pub fn forward(&self, params: &[Tensor], x: &Tensor) -> Tensor {
        let mut rest = params;
        let mut y = x.clone();
        for layer in &self.layers {
            let (own, tail) = rest.split_at(layer.params().len().min(rest.len()));
            y = layer.apply(own, &y);
            rest = tail;
        }
        match rest.first() {
            None => y,
            // A parameter too many is as much a mistake as one too few; a constant without its number records it.
            Some(_) => x.tracer().constant(&[1], &[]),
        }
    }

    fn batched(&self, ty: &TensorType, batch: usize) -> TensorType {
        let shape: Dims = std::iter::once(batch).chain(ty.shape.iter().copied()).collect();
        TensorType { kind: ty.kind, shape }
    }

    /// The program `(params [P], inputs [batch, ...]) -> outputs [batch, ...]`.
    ///
    /// # Errors
    /// An empty batch; sizes beyond what memory can hold.
    pub fn trace_model(&self, batch: usize) -> Result<Program, ModelError> {
        let ports = self.ports(batch)?;
        let program = trace(&ports, |_, t| {
            let params = self.params.split_tensor(&t[0]);
            vec![("outputs", self.forward(&params, &t[1]))]
        })?;
        Ok(program)
    }

    /// The program `(params [P], inputs, targets[, weights [batch]]) -> loss`: the sum over all terms, with their
    /// weights and without the scale of a reduction.
    ///
    /// # Errors
    /// An empty batch; a loss that does not fit the model's outputs.
    pub fn trace_loss(&self, batch: usize, loss: &Loss, weighted: bool) -> Result<Program, ModelError> {
        let mut ports = self.ports(batch)?;
        ports.push(("targets", loss.target_type(&self.batched(self.output_type(), batch))?));
        if weighted {
            ports.push(("weights", TensorType::real(&[batch])));
        }
        let program = trace(&ports, |_, t| {
            let outputs = self.forward(&self.params.split_tensor(&t[0]), &t[1]);
            vec![("loss", loss.total(&outputs, &t[2], t.get(3)))]
        })?;
        Ok(program)
    }

    fn ports(&self, batch: usize) -> Result<Vec<(&'static str, TensorType)>, ModelError> {
        if batch == 0 {
            return Err(ModelError::Config("a batch of 0 data, expected at least 1".into()));
        }
        let params = TensorType { kind: Kind::Real, shape: [self.params.total()].as_slice().into() };
        Ok(vec![("params", params), ("inputs", self.batched(&self.input, batch))])
    }

    /// Floating-point operations of layer `index` for one datum; `None` if there is no such layer.
    ///
    /// # Errors
    /// Sizes beyond what memory can hold.
    pub fn layer_flops(&self, index: usize) -> Result<Option<u64>, ModelError> {
        let Some(layer) = self.layers.get(index) else { return Ok(None) };
        let mut ports = vec![("inputs", self.batched(&self.types[index], 1))];
        ports.extend(layer.params().into_iter().map(|(name, shape)| (name, TensorType::real(&shape))));
        let program = trace(&ports, |_, t| vec![("outputs", layer.apply(&t[1..], &t[0]))])?;
        Ok(Some(program.flops()))
    }

    /// Floating-point operations of the outputs of one datum.
    ///
    /// # Errors
    /// Sizes beyond what memory can hold.
    pub fn flops_per_datum(&self) -> Result<u64, ModelError> {
        Ok(self.trace_model(1)?.flops())
    }
}
