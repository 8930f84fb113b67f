//! `[data]`: where data come from and what of them is held out.

use super::{Error, RunConfig};
use crate::data::{self, MARKOV_CONTEXT, Text};
use crate::io::Dataset;
use numerics::Scalar;
use numerics::rng::{Role, Stream};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Default window of a text, and default distance of training windows.
const CONTEXT: usize = 64;
const STRIDE: usize = 8;
/// Training windows of the artificial source.
const MARKOV_TRAIN: usize = 400_000;
const NAMES: &str = "\"digits\", \"prose\" and \"markov\"";

/// Where data come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Data that come with the program, by name.
    Embedded(String),
    /// A file, with the column of the targets if it is a table.
    File {
        /// The file.
        path: PathBuf,
        /// Name or number of the column.
        target_column: Option<String>,
    },
}

/// What is held out of training.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation {
    /// Nothing.
    None,
    /// So many data, drawn at random (of a text, the last so many windows).
    Count(usize),
    /// This share of the data, drawn at random (of a text, its end).
    Share(f64),
    /// Data of their own.
    File(PathBuf),
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// Where they come from.
    pub source: Source,
    /// Characters of a window, for texts.
    pub context: Option<usize>,
    /// Characters between the beginnings of training windows, for texts.
    pub stride: Option<usize>,
    /// Shape that each datum's inputs are given.
    pub shape: Option<Vec<usize>>,
    /// What is held out.
    pub validation: Validation,
    /// Data per step.
    pub batch_size: usize,
    /// A new order every epoch.
    pub shuffle: bool,
    /// Leave out the shorter batch at the end of an epoch.
    pub drop_last: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataTable {
    name: Option<String>,
    path: Option<PathBuf>,
    target_column: Option<String>,
    context: Option<usize>,
    stride: Option<usize>,
    shape: Option<Vec<usize>>,
    validation: Option<toml::Value>,
    batch_size: Option<usize>,
    shuffle: Option<bool>,
    drop_last: Option<bool>,
}

impl DataTable {
    pub(super) fn checked(self) -> Result<DataConfig, Error> {
        let wrong = |what: String| Error::setting("[data]", what);
        let source = match (self.name, self.path) {
            (Some(name), None) if self.target_column.is_none() => Source::Embedded(name),
            (Some(_), None) => return Err(wrong("target_column belongs to a .csv table".into())),
            (None, Some(path)) => Source::File { path, target_column: self.target_column },
            _ => return Err(wrong("give either name, as \"digits\", or path, an .npz, .csv or .txt file".into())),
        };
        let batch_size = self.batch_size.unwrap_or(64);
        if batch_size == 0 {
            return Err(wrong("batch_size is 0, expected at least 1".into()));
        }
        let validation = match self.validation {
            None => Validation::None,
            Some(toml::Value::Integer(0)) => Validation::None,
            Some(toml::Value::Integer(n)) if n > 0 => Validation::Count(usize::try_from(n).unwrap_or(usize::MAX)),
            Some(toml::Value::Float(x)) if x > 0.0 && x < 1.0 => Validation::Share(x),
            Some(toml::Value::String(path)) => Validation::File(path.into()),
            Some(other) => {
                return Err(wrong(format!(
                    "validation is {other}, expected a number of data, a share between 0 and 1, or a file"
                )));
            }
        };
        let (shuffle, drop_last) = (self.shuffle.unwrap_or(true), self.drop_last.unwrap_or(false));
        let is_text = match &source {
            Source::Embedded(name) => name == "prose",
            Source::File { path, .. } => path.extension().is_some_and(|e| e == "txt"),
        };
        for (key, value) in [("context", self.context), ("stride", self.stride)] {
            match value {
                Some(_) if !is_text => return Err(wrong(format!("{key} belongs to a text: \"prose\" or a .txt file"))),
                Some(0) => return Err(wrong(format!("{key} is 0, expected at least 1"))),
                _ => {}
            }
        }
        let (context, stride) = (self.context, self.stride);
        Ok(DataConfig { source, context, stride, shape: self.shape, validation, batch_size, shuffle, drop_last })
    }
}

/// Data as they were read.
pub(super) struct Loaded {
    /// All data, or the training part.
    pub(super) first: Dataset,
    /// The validation part, if the source gave one.
    pub(super) validation: Option<Dataset>,
    /// What is held out has yet to be drawn from the first.
    pub(super) whole: bool,
}

/// Numbers of the data to train on, and of those held out.
pub(super) type Split = (Vec<usize>, Vec<usize>);

impl Loaded {
    fn parts(first: Dataset, validation: Option<Dataset>) -> Self {
        Loaded { first, validation, whole: false }
    }
}

impl RunConfig {
    /// Reads the data, which the source may have divided already.
    pub(super) fn load<T: Scalar>(&self) -> Result<Loaded, Error> {
        let column = match &self.data.source {
            Source::Embedded(name) => match name.as_str() {
                "digits" => {
                    let digits = data::digits()?;
                    return self.with_file(digits.subset::<T>(&(0..digits.len()).collect::<Vec<_>>())?, None);
                }
                "prose" => return self.text(data::prose()?),
                "markov" => return self.markov(),
                _ => {
                    let what = format!("no data named {name:?} come with the program; there are {NAMES}");
                    return Err(self.wrong_data(what));
                }
            },
            Source::File { path, .. } if path.extension().is_some_and(|e| e == "txt") => {
                return self.text(Text::read(&self.base().join(path))?);
            }
            Source::File { target_column, .. } => target_column.as_deref(),
        };
        let Source::File { path, .. } = &self.data.source else { return Err(self.wrong_data("no data".into())) };
        self.with_file(self.dataset(path, column)?, column)
    }

    /// The same with the validation file, if there is one.
    fn with_file(&self, all: Dataset, column: Option<&str>) -> Result<Loaded, Error> {
        match &self.data.validation {
            Validation::File(path) => Ok(Loaded::parts(all, Some(self.dataset(path, column)?))),
            _ => Ok(Loaded { first: all, validation: None, whole: true }),
        }
    }

    /// Windows of a text; held out is its end, so that no window reaches from one part into the other.
    fn text(&self, text: Text) -> Result<Loaded, Error> {
        let (context, stride) = (self.data.context.unwrap_or(CONTEXT), self.data.stride.unwrap_or(STRIDE));
        let held_out = match &self.data.validation {
            Validation::None => return Ok(Loaded::parts(text.windows(context, stride, 0..text.len())?, None)),
            Validation::File(path) => {
                let other = text.read_like(&self.base().join(path))?;
                let validation = other.windows(context, context, 0..other.len())?;
                return Ok(Loaded::parts(text.windows(context, stride, 0..text.len())?, Some(validation)));
            }
            Validation::Count(windows) => windows.saturating_mul(context).saturating_add(1),
            Validation::Share(x) => (text.len() as f64 * x).round() as usize,
        };
        let (train, validation) = text.split(context, stride, held_out)?;
        Ok(Loaded::parts(train, Some(validation)))
    }

    /// Windows of the artificial source; held out are windows of other streams.
    fn markov(&self) -> Result<Loaded, Error> {
        let count = match &self.data.validation {
            Validation::None => None,
            Validation::Count(n) => Some(*n),
            Validation::Share(x) => Some(((MARKOV_TRAIN as f64 * x).round() as usize).max(1)),
            Validation::File(_) => {
                let what = format!("validation of \"markov\" is a number or a share of windows of {MARKOV_CONTEXT}");
                return Err(self.wrong_data(what));
            }
        };
        if let Some(n) = count.filter(|&n| n > MARKOV_TRAIN) {
            return Err(self.wrong_data(format!("validation is {n}, expected at most {MARKOV_TRAIN}")));
        }
        let validation = count.map(|n| data::markov(n, 2)).transpose()?;
        Ok(Loaded::parts(data::markov(MARKOV_TRAIN, 1)?, validation))
    }

    fn dataset(&self, path: &Path, target_column: Option<&str>) -> Result<Dataset, Error> {
        let path = self.base().join(path);
        if path.extension().is_some_and(|e| e == "csv") && target_column.is_none() {
            let what = format!("{} is a table: target_column must name the column of its targets", path.display());
            return Err(self.wrong_data(what));
        }
        Ok(Dataset::read(&path, target_column)?)
    }

    /// Which of so many data to train on and which to hold out, if any.
    ///
    /// # Errors
    /// None left to train on.
    pub(super) fn held_out(&self, len: usize, seed: u64) -> Result<Option<Split>, Error> {
        let count = match self.data.validation {
            Validation::None | Validation::File(_) => return Ok(None),
            Validation::Count(n) => n,
            // At least one datum, if the share is too small for that.
            Validation::Share(x) => ((len as f64 * x).round() as usize).max(1),
        };
        if count >= len {
            let what = format!("validation takes {count} of {len} data, which leaves none for training");
            return Err(self.wrong_data(what));
        }
        let mut order = split_order(len, seed);
        let validation = order.split_off(len - count);
        Ok(Some((order, validation)))
    }

    fn wrong_data(&self, what: String) -> Error {
        Error::setting(format!("{}: [data]", self.name), what)
    }
}

/// A random order of the data whose end is held out; another stream than any epoch's.
fn split_order(len: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    Stream::new(seed, Role::Shuffle, 0, 1).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::Par;

    fn run(data: &str, model: &str) -> RunConfig {
        let text = format!(
            "steps = 3\n{model}\n[data]\n{data}\nbatch_size = 4\n[loss]\nname = \"cross-entropy\"\n[optimizer]\nname = \"adamw\"\n"
        );
        RunConfig::parse(&text, "run.toml").unwrap()
    }

    const CHARACTERS: &str = r#"
        [model]
        input = [16]
        layers = [
            { type = "embedding", num = 57, dim = 8 },
            { type = "positions", num = 16, dim = 8 },
            { type = "decoder", width = 8, heads = 2 },
            { type = "linear", in = 8, out = 57 },
        ]"#;
    const SYMBOLS: &str = r#"
        [model]
        input = [4]
        layers = [
            { type = "embedding", num = 32, dim = 4 },
            { type = "flatten" },
            { type = "linear", in = 16, out = 32 },
        ]"#;

    #[test]
    fn a_decoder_learns_from_prose() {
        let run = run("name = \"prose\"\ncontext = 16\nvalidation = 0.1", CHARACTERS);
        let mut trainer = run.trainer::<f32>(0, Par::Seq).unwrap();
        // 44161 characters with a window every 8 of them; 4907 held out, in windows of 16.
        assert_eq!((trainer.train_len(), trainer.validation_len()), (5519, 306));
        let before = trainer.validate().unwrap().unwrap().loss;
        while !trainer.finished() {
            trainer.step().unwrap();
        }
        let after = trainer.validate().unwrap().unwrap();
        assert!(after.loss < before && after.accuracy.is_some(), "{before} {}", after.loss);
    }

    #[test]
    fn a_text_may_have_a_validation_text_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.txt", &"abcd".repeat(20));
        write("b.txt", &"dcba".repeat(9));
        let model = CHARACTERS.replace("57", "4").replace("[16]", "[3]");
        let mut run = run("path = \"a.txt\"\ncontext = 3\nstride = 5\nvalidation = \"b.txt\"", &model);
        run.name = dir.path().join("run.toml").display().to_string();
        let trainer = run.trainer::<f32>(0, Par::Seq).unwrap();
        assert_eq!((trainer.train_len(), trainer.validation_len()), (16, 11));
        write("b.txt", "abcx");
        let e = run.trainer::<f32>(0, Par::Seq).err().unwrap().to_string();
        assert!(e.contains("character 3 is 'x'"), "{e}");
        run.data.validation = Validation::Count(2);
        assert_eq!(run.trainer::<f32>(0, Par::Seq).unwrap().validation_len(), 2);
        run.data.validation = Validation::Count(2000);
        assert!(run.trainer::<f32>(0, Par::Seq).is_err());
    }

    #[test]
    fn the_artificial_source_holds_out_other_streams() {
        let run = run("name = \"markov\"\nvalidation = 1024", SYMBOLS);
        let trainer = run.trainer::<f32>(0, Par::Seq).unwrap();
        assert_eq!((trainer.train_len(), trainer.validation_len()), (400_000, 1024));
        assert_ne!(data::markov(1024, 1).unwrap(), data::markov(1024, 2).unwrap());
    }

    #[test]
    fn the_example_can_be_searched() {
        let run = RunConfig::parse(include_str!("../../examples/prose.toml"), "prose.toml").unwrap();
        let search = run.search.clone().unwrap();
        let one = run.with_values(&search.draw(0, 7)).unwrap();
        let trainer = one.trainer::<f32>(0, Par::Seq).unwrap();
        assert_eq!((trainer.steps(), trainer.validation_len()), (250, 76));
        assert!((1e-3..=3e-2).contains(&one.method.lr()));
    }

    #[test]
    fn keys_of_texts_belong_to_texts() {
        for (data, part) in [
            ("name = \"digits\"\ncontext = 3", "context belongs to a text"),
            ("name = \"prose\"\nstride = 0", "stride is 0"),
            ("path = \"a.npz\"\nstride = 2", "stride belongs to a text"),
        ] {
            let text = format!(
                "steps = 3\n{SYMBOLS}\n[data]\n{data}\n[loss]\nname = \"cross-entropy\"\n[optimizer]\nname = \"adamw\"\n"
            );
            let e = RunConfig::parse(&text, "run.toml").unwrap_err().to_string();
            assert!(e.contains(part), "{e}\nlacks {part}");
        }
        let e = run("name = \"markov\"\nvalidation = \"x.npz\"", SYMBOLS).trainer::<f32>(0, Par::Seq).err().unwrap();
        assert!(e.to_string().contains("a number or a share"), "{e}");
    }
}
