//! A saved state: arrays, scalars and a configuration, with the kind, version and precision they belong to.

use super::{File, Tensor};
use crate::{DType, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata key of the JSON object.
const KEY: &str = "osculate";

/// Everything needed to resume something: an optimiser, an operator's factors, measurements of a sketch.
///
/// In the file, scalars that are not finite are the strings "nan", "inf", "-inf", and 64-bit integers are
/// hexadecimal strings, because JSON has neither.
///
/// ```
/// use numerics::{DType, store::{State, Tensor}};
/// let mut state = State::new("adamw", 1, DType::F64);
/// state.step = 12;
/// state.scalars.insert("best".into(), f64::INFINITY);
/// state.tensors.push(Tensor::new("m", &[2], &[0.5, -0.5])?);
/// let back = State::parse(&state.to_bytes()?)?;
/// back.expect("adamw", 1, DType::F64)?;
/// assert_eq!(back, state);
/// assert!(back.expect("shampoo", 1, DType::F64).unwrap_err().to_string().contains("adamw"));
/// # Ok::<(), numerics::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What it is the state of.
    pub kind: String,
    /// Version of the layout of this kind.
    pub format_version: u32,
    /// Precision of the computation.
    pub dtype: DType,
    /// Steps done.
    pub step: u64,
    /// Settings.
    pub config: serde_json::Value,
    /// Numbers by name, NaN and infinities included.
    pub scalars: BTreeMap<String, f64>,
    /// Arrays.
    pub tensors: Vec<Tensor>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Word(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format_version: u32,
    kind: String,
    dtype: String,
    step: String,
    config: serde_json::Value,
    scalars: BTreeMap<String, Number>,
}

fn bad(path: &str, what: String) -> Error {
    Error::Format { path: path.into(), what }
}

impl State {
    /// An empty state.
    pub fn new(kind: impl Into<String>, format_version: u32, dtype: DType) -> Self {
        State {
            kind: kind.into(),
            format_version,
            dtype,
            step: 0,
            config: serde_json::Value::Null,
            scalars: BTreeMap::new(),
            tensors: Vec::new(),
        }
    }

    /// Fails unless the state is of this kind, version and precision.
    ///
    /// # Errors
    /// `Format`, naming what was expected and what was found.
    pub fn expect(&self, kind: &str, format_version: u32, dtype: DType) -> Result<(), Error> {
        let differ = |field: &str, want: &str, got: &str| {
            Err(bad("state", format!("expected {field} {want}, found {field} {got}")))
        };
        if self.kind != kind {
            return differ("kind", kind, &self.kind);
        }
        if self.format_version != format_version {
            return differ("version", &format_version.to_string(), &self.format_version.to_string());
        }
        if self.dtype != dtype {
            return differ("dtype", dtype.name(), self.dtype.name());
        }
        Ok(())
    }

    /// The array with this name.
    ///
    /// # Errors
    /// `Format` if there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        let found = self.tensors.iter().find(|t| t.name == name);
        found.ok_or_else(|| bad("state", format!("a state of kind {:?} lacks the array {name:?}", self.kind)))
    }

    /// The scalar with this name.
    ///
    /// # Errors
    /// `Format` if there is none.
    pub fn scalar(&self, name: &str) -> Result<f64, Error> {
        let found = self.scalars.get(name).copied();
        found.ok_or_else(|| bad("state", format!("a state of kind {:?} lacks the scalar {name:?}", self.kind)))
    }

    fn to_file(&self) -> Result<File, Error> {
        let number = |x: f64| match x {
            x if x.is_finite() => Number::Finite(x),
            x if x.is_nan() => Number::Word("nan".into()),
            x => Number::Word(if x > 0.0 { "inf" } else { "-inf" }.into()),
        };
        let record = Record {
            format_version: self.format_version,
            kind: self.kind.clone(),
            dtype: self.dtype.name().into(),
            step: format!("{:x}", self.step),
            config: self.config.clone(),
            scalars: self.scalars.iter().map(|(k, v)| (k.clone(), number(*v))).collect(),
        };
        let text = serde_json::to_string(&record).map_err(|e| bad("state", e.to_string()))?;
        Ok(File { tensors: self.tensors.clone(), metadata: BTreeMap::from([(KEY.into(), text)]) })
    }

    fn from_file(path: &str, file: File) -> Result<Self, Error> {
        let text =
            file.metadata.get(KEY).ok_or_else(|| bad(path, format!("no metadata {KEY:?}: not a saved state")))?;
        let r: Record = serde_json::from_str(text).map_err(|e| bad(path, format!("metadata {KEY:?}: {e}")))?;
        let dtype = match r.dtype.as_str() {
            "f32" => DType::F32,
            "f64" => DType::F64,
            other => {
                return Err(bad(path, format!("expected dtype f32 or f64, found dtype {other:?}")));
            }
        };
        let digits = !r.step.is_empty() && r.step.bytes().all(|b| b.is_ascii_hexdigit());
        let step = u64::from_str_radix(&r.step, 16).ok().filter(|_| digits);
        let step = step.ok_or_else(|| bad(path, format!("the step {:?} is not a hexadecimal number", r.step)))?;
        let mut scalars = BTreeMap::new();
        for (name, value) in r.scalars {
            let x = match value {
                Number::Finite(x) => x,
                Number::Word(w) => match w.as_str() {
                    "nan" => f64::NAN,
                    "inf" => f64::INFINITY,
                    "-inf" => f64::NEG_INFINITY,
                    _ => {
                        return Err(bad(path, format!("the scalar {name:?} is {w:?}, not a number")));
                    }
                },
            };
            scalars.insert(name, x);
        }
        Ok(State {
            kind: r.kind,
            format_version: r.format_version,
            dtype,
            step,
            config: r.config,
            scalars,
            tensors: file.tensors,
        })
    }

    /// The bytes of the state's file.
    ///
    /// # Errors
    /// As [`File::to_bytes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.to_file()?.to_bytes()
    }

    /// Parses the bytes of a state's file.
    ///
    /// # Errors
    /// `Format` if they are not a valid state.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        State::from_file("state", File::parse(bytes)?)
    }

    /// Writes the state, all or nothing.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.to_file()?.write(path)
    }

    /// Reads a state; follow with [`State::expect`].
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Format` if it is not a valid state.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        State::from_file(&path.display().to_string(), File::read(path)?)
    }
}
