//! `model_type: sequential`: a chain of layers.

use super::layer::product;
use super::{Error, Layer, LayerKind};
use numerics::Scalar;
use numerics::store::{File, Tensor, TensorData};
use serde::Deserialize;
use std::path::Path;

/// One parameter tensor and its place in the flat vector.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Parameter {
    /// `"{layer}.weight"` or `"{layer}.bias"`.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Index of its first element in the flat vector.
    pub offset: usize,
    /// Number of elements.
    pub size: usize,
    /// The layer it belongs to.
    pub layer: usize,
}

/// A chain of layers whose shapes fit.
///
/// ```
/// use osculate::model::Sequential;
/// let text = r#"{"model_type": "sequential", "input": [784],
///     "layers": [{"type": "linear", "in": 784, "out": 32}, {"type": "tanh"}, {"type": "linear", "in": 32, "out": 10}]}"#;
/// let model = Sequential::parse(text, "config.json").unwrap();
/// assert_eq!(model.parameter_count(), 784 * 32 + 32 + 32 * 10 + 10);
/// assert_eq!(model.parameters()[2].name, "2.weight");
/// assert_eq!(model.output(), [10]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    input: Vec<usize>,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    parameter_count: usize,
    flops: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    model_type: String,
    input: Vec<usize>,
    layers: Vec<serde_json::Value>,
}

impl Sequential {
    /// Reads `config.json` of a model directory, or a configuration file itself.
    pub fn read(model: &Path) -> Result<Self, Error> {
        let file = if model.is_dir() { model.join("config.json") } else { model.to_owned() };
        let path = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|e| Error::Io { path: path.clone(), what: e.to_string() })?;
        Self::parse(&text, &path)
    }

    /// Parses a configuration; `path` goes into messages.
    pub fn parse(text: &str, path: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::Config { path: path.to_owned(), what };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| wrong(format!("not valid JSON: {e}")))?;
        match value.get("model_type").map(|t| t.as_str()) {
            Some(Some("sequential")) => {}
            Some(Some(other)) => {
                return Err(wrong(format!("model_type {other:?} is not supported, expected \"sequential\"")));
            }
            _ => return Err(wrong("no \"model_type\", expected \"sequential\"".into())),
        }
        let config: Config = serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?;
        debug_assert_eq!(config.model_type, "sequential");
        if config.input.contains(&0) || product(&config.input).is_none() {
            return Err(wrong(format!("\"input\" is {:?}, expected the shape of one datum", config.input)));
        }
        let mut model = Sequential {
            input: config.input,
            layers: Vec::new(),
            parameters: Vec::new(),
            parameter_count: 0,
            flops: 0,
        };
        for (index, value) in config.layers.into_iter().enumerate() {
            let kind: LayerKind = serde_json::from_value(value).map_err(|e| Error::Layer {
                path: path.to_owned(),
                index,
                layer: None,
                what: e.to_string(),
            })?;
            let words = kind.to_string();
            model.push(index, kind).map_err(|what| Error::Layer {
                path: path.to_owned(),
                index,
                layer: Some(words),
                what,
            })?;
        }
        Ok(model)
    }

    fn push(&mut self, index: usize, kind: LayerKind) -> Result<(), String> {
        kind.check()?;
        if matches!(kind, LayerKind::Embedding { .. }) && index > 0 {
            return Err("an embedding takes token ids and so must be layer 0".into());
        }
        let input = self.output().to_vec();
        let output = kind.output(&input).map_err(|what| match index {
            0 => format!("{what} (the model's input)"),
            _ => format!("{what} from layer {} ({})", index - 1, self.layers[index - 1].kind),
        })?;
        let large = || "too many elements to count".to_owned();
        product(&output).ok_or_else(large)?;
        let flops = kind.flops(&input, &output).ok_or_else(large)?;
        let before = self.parameter_count;
        for (name, shape) in kind.parameters() {
            let size = product(&shape).ok_or_else(large)?;
            let offset = self.parameter_count;
            self.parameter_count = offset.checked_add(size).ok_or_else(large)?;
            self.parameters.push(Parameter { name: format!("{index}.{name}"), shape, offset, size, layer: index });
        }
        self.flops = self.flops.checked_add(flops).ok_or_else(large)?;
        self.layers.push(Layer { kind, input, output, parameters: self.parameter_count - before, flops });
        Ok(())
    }

    /// Shape of one datum.
    pub fn input(&self) -> &[usize] {
        &self.input
    }

    /// Shape of one datum's output.
    pub fn output(&self) -> &[usize] {
        self.layers.last().map_or(&self.input, |l| &l.output)
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The parameters in the order of the flat vector.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Length of the flat vector.
    pub fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// Floating-point operations of one evaluation on one datum.
    pub fn flops(&self) -> u64 {
        self.flops
    }

    /// Reads `model.safetensors` of a model directory (or the file itself) as the flat vector of parameters.
    pub fn read_weights<T: Scalar>(&self, model: &Path) -> Result<Vec<T>, Error> {
        let file = if model.is_dir() { model.join("model.safetensors") } else { model.to_owned() };
        self.flatten(&File::read(&file)?)
    }

    /// The flat vector of parameters held by a file's tensors.
    pub fn flatten<T: Scalar>(&self, file: &File) -> Result<Vec<T>, Error> {
        let tensors: Vec<(&str, &[usize])> =
            file.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        self.check_tensors(&tensors)?;
        let mut flat = Vec::with_capacity(self.parameter_count);
        for t in self.parameters.iter().filter_map(|p| file.get(&p.name)) {
            let values: Vec<T> =
                t.data.to_vec().map_err(|_| Error::TensorType { name: t.name.clone(), got: t.data.type_name() })?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::TensorValue { name: t.name.clone(), at });
            }
            flat.extend(values);
        }
        Ok(flat)
    }

    /// The tensors of a flat vector, by name; `None` if its length is not the number of parameters.
    pub fn unflatten<T: Scalar>(&self, flat: &[T]) -> Option<File> {
        if flat.len() != self.parameter_count {
            return None;
        }
        let tensors = self
            .parameters
            .iter()
            .map(|p| Tensor {
                name: p.name.clone(),
                shape: p.shape.clone(),
                data: TensorData::from_slice(&flat[p.offset..p.offset + p.size]),
            })
            .collect();
        Some(File { tensors, ..File::default() })
    }

    /// Demands exactly the tensors of this model, with their shapes.
    pub fn check_tensors(&self, tensors: &[(&str, &[usize])]) -> Result<(), Error> {
        for p in &self.parameters {
            let layer = || self.layers[p.layer].kind.to_string();
            match tensors.iter().find(|(n, _)| *n == p.name) {
                Some((_, shape)) if *shape == p.shape => {}
                Some((_, shape)) => {
                    return Err(Error::TensorShape {
                        name: p.name.clone(),
                        got: shape.to_vec(),
                        expected: p.shape.clone(),
                        index: p.layer,
                        layer: layer(),
                    });
                }
                None => {
                    return Err(Error::TensorMissing {
                        name: p.name.clone(),
                        expected: p.shape.clone(),
                        index: p.layer,
                        layer: layer(),
                    });
                }
            }
        }
        match tensors.iter().find(|(n, _)| self.parameters.iter().all(|p| p.name != *n)) {
            Some((n, shape)) => Err(Error::TensorUnknown { name: (*n).to_owned(), got: shape.to_vec() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(input: &str, layers: &str) -> Result<Sequential, Error> {
        let text = format!(r#"{{"model_type": "sequential", "input": {input}, "layers": [{layers}]}}"#);
        Sequential::parse(&text, "config.json")
    }

    #[test]
    fn shapes_offsets_and_flops() {
        let layers = r#"{"type": "conv2d", "in": 1, "out": 4, "kernel": 3, "padding": 1}, {"type": "gelu_tanh"},
            {"type": "maxpool2d", "kernel": 2, "stride": 2}, {"type": "flatten"}, {"type": "layernorm", "shape": [64]},
            {"type": "linear", "in": 64, "out": 10, "bias": false}"#;
        let m = model("[1, 8, 8]", layers).unwrap();
        let shapes: Vec<&[usize]> = m.layers().iter().map(|l| l.output.as_slice()).collect();
        assert_eq!(shapes, [&[4, 8, 8][..], &[4, 8, 8], &[4, 4, 4], &[64], &[64], &[10]]);
        let p: Vec<(&str, usize)> = m.parameters().iter().map(|p| (p.name.as_str(), p.offset)).collect();
        assert_eq!(p, [("0.weight", 0), ("0.bias", 36), ("4.weight", 40), ("4.bias", 104), ("5.weight", 168)]);
        assert_eq!(m.parameter_count(), 808);
        // 256 outputs of 9 products, 8 sums, one bias; 256 gelus; 64 maxima of 4; 8 * 64; 10 outputs of 64 products, 63 sums.
        let flops: Vec<u64> = m.layers().iter().map(|l| l.flops).collect();
        assert_eq!(flops, [256 * 18, 256, 256, 0, 512, 1270]);
        assert_eq!(m.flops(), flops.iter().sum::<u64>());
    }

    #[test]
    fn sequences_and_strides() {
        let m = model("[12]", r#"{"type": "embedding", "num": 50, "dim": 8}, {"type": "linear", "in": 8, "out": 3}"#)
            .unwrap();
        assert_eq!(m.output(), [12, 3]);
        assert_eq!(m.flops(), 12 * 3 * 16);
        let c = model(
            "[3, 9, 7]",
            r#"{"type": "conv2d", "in": 3, "out": 2, "kernel": 3, "stride": 2}, {"type": "avgpool2d", "kernel": 3}"#,
        )
        .unwrap();
        assert_eq!((c.layers()[0].output.as_slice(), c.output()), (&[2, 4, 3][..], &[2, 1, 1][..]));
        let none = model("[5]", "").unwrap();
        assert_eq!((none.output(), none.parameter_count()), (&[5][..], 0));
    }

    #[test]
    fn configurations_that_do_not_fit() {
        for (input, layers, message) in [
            (
                "[4]",
                r#"{"type": "linear", "in": 5, "out": 2}"#,
                "config.json: layer 0 (linear 5 -> 2): needs inputs [..., 5], got [4] (the model's input)",
            ),
            (
                "[4]",
                r#"{"type": "tanh"}, {"type": "linear", "in": 5, "out": 2}"#,
                "config.json: layer 1 (linear 5 -> 2): needs inputs [..., 5], got [4] from layer 0 (tanh)",
            ),
            ("[4]", r#"{"type": "linear", "in": 4}"#, "config.json: layer 0: missing field `out`"),
            (
                "[4]",
                r#"{"type": "linear", "in": 4, "out": 0}"#,
                "config.json: layer 0 (linear 4 -> 0): \"out\" is 0, expected at least 1",
            ),
            ("[4]", r#"{"type": "tanh", "in": 4}"#, "config.json: layer 0: unknown field `in`"),
            (
                "[4]",
                r#"{"type": "softplus", "beta": -1}"#,
                "config.json: layer 0 (softplus, beta -1): \"beta\" is -1, expected above 0",
            ),
            (
                "[1, 2, 2]",
                r#"{"type": "conv2d", "in": 1, "out": 1, "kernel": 3}"#,
                "config.json: layer 0 (conv2d 1 -> 1, kernel 3, stride 1, padding 0): the kernel does not fit into the input [1, 2, 2] (the model's input)",
            ),
            (
                "[4]",
                r#"{"type": "layernorm", "shape": [3]}"#,
                "config.json: layer 0 (layernorm [3]): needs inputs that end with [3], got [4] (the model's input)",
            ),
            ("[0]", "", "config.json: \"input\" is [0], expected the shape of one datum"),
            (
                "[4]",
                r#"{"type": "identity"}, {"type": "embedding", "num": 3, "dim": 2}"#,
                "config.json: layer 1 (embedding 3 x 2): an embedding takes token ids and so must be layer 0",
            ),
            (
                "[4]",
                r#"{"type": "linear", "in": 4, "out": 9223372036854775807}"#,
                "config.json: layer 0 (linear 4 -> 9223372036854775807): too many elements to count",
            ),
        ] {
            let e = model(input, layers).unwrap_err().to_string();
            assert!(e.starts_with(message), "{e}\n{message}");
        }
        let e = model("[4]", r#"{"type": "swish"}"#).unwrap_err().to_string();
        assert!(e.starts_with("config.json: layer 0: unknown variant `swish`, expected one of `linear`"), "{e}");
        let e = Sequential::parse(r#"{"model_type": "gpt2"}"#, "c").unwrap_err().to_string();
        assert_eq!(e, "c: model_type \"gpt2\" is not supported, expected \"sequential\"");
        assert!(Sequential::parse("{", "c").unwrap_err().to_string().starts_with("c: not valid JSON"));
        assert!(Sequential::parse("[]", "c").unwrap_err().to_string().contains("no \"model_type\""));
    }

    #[test]
    fn tensors_are_checked() {
        let m =
            model("[32]", r#"{"type": "tanh"}, {"type": "tanh"}, {"type": "linear", "in": 32, "out": 10}"#).unwrap();
        let (w, b): (&[usize], &[usize]) = (&[10, 32], &[10]);
        assert!(m.check_tensors(&[("2.bias", b), ("2.weight", w)]).is_ok());
        for (tensors, message) in [
            (
                vec![("2.weight", &[10, 31][..]), ("2.bias", b)],
                "tensor \"2.weight\" has shape [10, 31], expected [10, 32] from layer 2 (linear 32 -> 10)",
            ),
            (
                vec![("2.weight", w)],
                "tensor \"2.bias\" is missing, expected with shape [10] from layer 2 (linear 32 -> 10)",
            ),
            (
                vec![("2.weight", w), ("2.bias", b), ("3.bias", b)],
                "tensor \"3.bias\" with shape [10] belongs to no layer of the model",
            ),
        ] {
            assert_eq!(m.check_tensors(&tensors).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn flat_vectors_come_back() {
        let m = model(
            "[2]",
            r#"{"type": "linear", "in": 2, "out": 3}, {"type": "tanh"}, {"type": "linear", "in": 3, "out": 1}"#,
        )
        .unwrap();
        let flat: Vec<f64> = (0..13).map(f64::from).collect();
        let mut file = m.unflatten(&flat).unwrap();
        file.tensors.reverse();
        assert_eq!(m.flatten::<f64>(&file).unwrap(), flat);
        assert_eq!(file.get("0.bias").unwrap().data, TensorData::F64(vec![6.0, 7.0, 8.0]));
        assert!(m.unflatten(&flat[1..]).is_none());
        let dir = tempfile::tempdir().unwrap();
        file.write(dir.path().join("model.safetensors")).unwrap();
        let narrow: Vec<f32> = m.read_weights(dir.path()).unwrap();
        assert_eq!(narrow[12], 12.0);
        file.tensors[0].data = TensorData::F64(vec![f64::NAN]);
        assert_eq!(
            m.flatten::<f64>(&file).unwrap_err().to_string(),
            "tensor \"2.bias\" holds NaN or infinity at element 0"
        );
        file.tensors[0].data = TensorData::I64(vec![1]);
        assert_eq!(m.flatten::<f64>(&file).unwrap_err().to_string(), "tensor \"2.bias\" holds I64, expected floats");
        assert!(matches!(m.read_weights::<f64>(&dir.path().join("no")), Err(Error::Store(_))));
    }

    proptest! {
        #[test]
        fn any_sizes_are_read_or_refused(a in any::<u64>(), b in 0u64..5, k in any::<u64>(), s in 0u64..3, p in any::<u64>()) {
            let _ = model(&format!("[{b}, {k}, 7]"), &format!(r#"{{"type": "conv2d", "in": {b}, "out": {a}, "kernel": {k}, "stride": {s}, "padding": {p}}}"#));
            let _ = model(&format!("[{a}]"), &format!(r#"{{"type": "linear", "in": {a}, "out": {k}}}, {{"type": "flatten"}}"#));
            let _ = model("[3]", &format!(r#"{{"type": "embedding", "num": {a}, "dim": {k}}}, {{"type": "layernorm", "shape": [{k}]}}"#));
        }

        #[test]
        fn random_text_never_panics(text in "[{}\\[\\]\",:a-z0-9 -]{0,60}") {
            let _ = Sequential::parse(&text, "c");
        }
    }
}
