//! Models on disk: a directory with `config.json` and `model.safetensors`, as PyTorch's users exchange them.
//!
//! Numbers are widened or rounded to the type asked for (f16 and bf16 included). Names and shapes must agree with the
//! configuration to the letter: a tensor too many, too few or of another shape is an error that names it.

use super::error::ModelError;
use super::sequential::Sequential;
use numerics::store::{self, TensorData};
use numerics::{Error, Scalar};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const TENSORS: &str = "model.safetensors";

impl Sequential {
    /// Reads a model and its flat parameter vector.
    ///
    /// ```
    /// use autodiff::nn::{Layer, Sequential};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("model");
    /// let model = Sequential::new(&[2], vec![Layer::Linear { inputs: 2, outputs: 1, bias: false }])?;
    /// model.save(&path, &[0.5, -0.25])?;
    /// let (read, params) = Sequential::load::<f64>(&path)?;
    /// assert_eq!((read, params), (model, vec![0.5, -0.25]));
    /// # Ok::<(), autodiff::nn::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// Files that are absent or malformed; a configuration that makes no sense; tensors that do not agree with it.
    pub fn load<T: Scalar>(dir: impl AsRef<Path>) -> Result<(Self, Vec<T>), ModelError> {
        let dir = dir.as_ref();
        let model = Self::load_config(dir)?;
        let params = model.params_from_file(&store::File::read(dir.join(TENSORS))?)?;
        Ok((model, params))
    }

    /// Reads a model without its parameters, from a directory or from the configuration file itself.
    ///
    /// # Errors
    /// A `config.json` that is absent, malformed or makes no sense.
    pub fn load_config(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let file = if path.is_file() { path.to_owned() } else { path.join(CONFIG) };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|e| Error::Io { path: name.clone(), what: e.to_string() })?;
        Self::from_json(&text).map_err(|error| ModelError::InFile { path: name, error: Box::new(error) })
    }

    /// The file of parameters beside a model's configuration, if there is one.
    pub fn weights_file(dir: impl AsRef<Path>) -> Option<PathBuf> {
        Some(dir.as_ref().join(TENSORS)).filter(|f| f.is_file())
    }

    /// Writes the model with these parameters; each file appears whole or not at all, the directory is made if absent.
    ///
    /// # Errors
    /// A vector of the wrong length; the system's refusal.
    pub fn save<T: Scalar>(&self, dir: impl AsRef<Path>, params: &[T]) -> Result<(), ModelError> {
        let dir = dir.as_ref();
        let mut file = self.params_to_file(params)?;
        // Readers of PyTorch's ecosystem ask for this mark.
        file.metadata.insert("format".into(), "pt".into());
        let io = |what: String| Error::Io { path: dir.display().to_string(), what };
        std::fs::create_dir_all(dir).map_err(|e| io(e.to_string()))?;
        let text = serde_json::to_string_pretty(&self.to_config()).map_err(|e| io(e.to_string()))?;
        file.write(dir.join(TENSORS))?;
        store::atomic_write(&dir.join(CONFIG), |w| writeln!(w, "{text}"))?;
        Ok(())
    }

    /// The flat vector of a file with one tensor per parameter.
    ///
    /// # Errors
    /// A tensor that is missing, unexpected, of another shape, of integers, or that holds NaN or infinity.
    pub fn params_from_file<T: Scalar>(&self, file: &store::File) -> Result<Vec<T>, ModelError> {
        // Grows with what the file holds: a configuration may promise any number of parameters.
        let mut flat = Vec::new();
        for (ordinal, param) in self.params().iter().enumerate() {
            let name = param.name().to_string();
            let expected = param.shape().to_vec();
            let (index, layer) =
                self.layer_of(ordinal).map_or((0, String::new()), |(index, layer)| (index, layer.to_string()));
            let Some(tensor) = file.get(&name) else {
                return Err(ModelError::MissingTensor { name, expected, index, layer });
            };
            if tensor.shape != expected {
                return Err(ModelError::TensorShape { name, got: tensor.shape.clone(), expected, index, layer });
            }
            if !matches!(tensor.data, TensorData::F32(_) | TensorData::F64(_)) {
                return Err(ModelError::TensorKind { name, got: tensor.data.type_name() });
            }
            let values = tensor.data.to_vec::<T>()?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(ModelError::TensorValue { name, at, value: values[at].to_f64() });
            }
            flat.extend(values);
        }
        match file.tensors.iter().find(|t| self.params().get(&t.name).is_err()) {
            None => Ok(flat),
            Some(extra) => Err(ModelError::UnexpectedTensor {
                name: extra.name.clone(),
                got: extra.shape.clone(),
                known: ModelError::known(self.params().iter().map(|p| p.name())),
            }),
        }
    }

    /// A file with one tensor per parameter, from a flat vector.
    ///
    /// # Errors
    /// A vector of the wrong length.
    pub fn params_to_file<T: Scalar>(&self, params: &[T]) -> Result<store::File, ModelError> {
        let tensors = self.params().views(params)?.map(|(p, part)| store::Tensor::new(p.name(), p.shape(), part));
        Ok(store::File { tensors: tensors.collect::<Result<_, _>>()?, ..store::File::default() })
    }
}
