//! `RUN.toml`: the description of a run, read strictly. Every key, its default and its unit: `docs/train.md`.
//!
//! Unknown keys are errors that name the key and the known ones, with the line. What can be judged without data or
//! model is judged here, so a run that cannot work stops before anything is read or written.

use super::method::{Group, method_from_table};
use super::source::{DataConfig, DataTable};
use super::space::{SearchConfig, SearchTable};
use super::{Error, Length, SchedulePlan, ShapeName};
use autodiff::nn::{CrossEntropy, Loss};
use curvature::Reduction;
use numerics::DType;
use optim::Method;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A run as its file describes it; paths are as written.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// Name of the file, for messages.
    pub name: String,
    /// How long it runs.
    pub length: Length,
    /// Seed of initialisation, split and shuffling.
    pub seed: Option<u64>,
    /// Precision.
    pub dtype: Option<DType>,
    /// A line of history every so many steps.
    pub log_every: u64,
    /// The model.
    pub model: ModelConfig,
    /// The data.
    pub data: DataConfig,
    /// The loss; whether its targets are soft is for the data to say.
    pub loss: Loss,
    /// What the sum over the loss terms is divided by.
    pub reduction: Reduction,
    /// The optimiser.
    pub method: Method,
    /// Parameter groups.
    pub groups: Vec<Group>,
    /// The learning rate's course.
    pub schedule: SchedulePlan,
    /// Largest norm of a gradient.
    pub clip: Option<f64>,
    /// When losses over whole sets are computed.
    pub eval: EvalConfig,
    /// Where and when checkpoints are written.
    pub checkpoint: CheckpointConfig,
    /// The settings that a search tries.
    pub search: Option<SearchConfig>,
    /// All of it as it was read.
    pub(super) table: toml::Table,
}

/// `[model]`: a directory, or the keys of a `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// A directory with `config.json`.
    Path {
        /// The directory.
        path: PathBuf,
        /// Start from fresh parameters even if there are stored ones.
        fresh: bool,
    },
    /// The text of a `config.json`.
    Inline(serde_json::Value),
}

/// `[eval]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalConfig {
    /// Steps between evaluations; 0 is only at the end, `None` every epoch.
    pub every: Option<u64>,
    /// Evaluate on the training data too.
    pub train: bool,
    /// Data evaluated at a time.
    pub batch_size: Option<usize>,
}

/// `[checkpoint]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointConfig {
    /// The folder; `None` lies beside the description.
    pub dir: Option<PathBuf>,
    /// Steps between checkpoints; 0 is only at the end, `None` every epoch.
    pub every: Option<u64>,
    /// How many to keep.
    pub keep: usize,
}

impl RunConfig {
    /// Reads a description.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`RunConfig::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| crate::io::Error::io(path, &e))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a description; `name` is for messages.
    ///
    /// ```
    /// use osculate::train::{Length, RunConfig};
    /// let run = RunConfig::parse(r#"
    ///     epochs = 3
    ///     model = { input = [64], layers = [{ type = "linear", in = 64, out = 10 }] }
    ///     data = { name = "digits" }
    ///     loss = { name = "cross-entropy" }
    ///     optimizer = { name = "adamw", lr = 0.01 }
    /// "#, "run.toml")?;
    /// assert_eq!((run.length, run.method.lr()), (Length::Epochs(3), 0.01));
    /// # Ok::<(), osculate::train::Error>(())
    /// ```
    ///
    /// # Errors
    /// Text that is not TOML; unknown, missing or contradicting keys; values out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let file: RunFile = toml::from_str(text).map_err(|e| {
            let start = e.span().map(|s| s.start).filter(|&at| at > 0 || !e.message().starts_with("missing field"));
            let line = start.map(|at| text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count() + 1);
            Error::Config { path: name.to_owned(), line, what: plain_words(e.message()) }
        })?;
        // The text was TOML a moment ago.
        let table = toml::from_str(text).unwrap_or_default();
        file.located(table, name)
    }

    /// As [`RunConfig::parse`], from a table.
    pub(super) fn from_table(table: toml::Table, name: &str) -> Result<Self, Error> {
        let what =
            |e: toml::de::Error| Error::Config { path: name.to_owned(), line: None, what: plain_words(e.message()) };
        RunFile::deserialize(toml::Value::Table(table.clone())).map_err(what)?.located(table, name)
    }
}

/// serde's word for what a person writes in TOML is "field".
pub(super) fn plain_words(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
        .replace("duplicate field", "duplicate key")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    steps: Option<u64>,
    epochs: Option<u64>,
    seed: Option<u64>,
    dtype: Option<DtypeName>,
    log_every: Option<u64>,
    model: ModelTable,
    data: DataTable,
    loss: LossTable,
    optimizer: toml::Table,
    #[serde(default)]
    group: Vec<GroupTable>,
    #[serde(default)]
    schedule: ScheduleTable,
    clip: Option<ClipTable>,
    #[serde(default)]
    eval: EvalTable,
    #[serde(default)]
    checkpoint: CheckpointTable,
    search: Option<SearchTable>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DtypeName {
    F32,
    F64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    path: Option<PathBuf>,
    fresh: Option<bool>,
    model_type: Option<String>,
    input: Option<Vec<usize>>,
    layers: Option<Vec<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LossTable {
    name: String,
    reduction: Option<toml::Value>,
    class_weights: Option<Vec<f64>>,
    label_smoothing: Option<f64>,
    ignore_index: Option<i64>,
    pos_weight: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    name: Option<String>,
    #[serde(rename = "match")]
    patterns: toml::Value,
    lr_factor: Option<f64>,
    first_order: Option<bool>,
    weight_decay: Option<f64>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    momentum: Option<f64>,
    eps: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleTable {
    shape: Option<ShapeName>,
    warmup: Option<u64>,
    total: Option<u64>,
    decay: Option<u64>,
    floor: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClipTable {
    norm: f64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvalTable {
    every: Option<u64>,
    train: Option<bool>,
    batch_size: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointTable {
    dir: Option<PathBuf>,
    every: Option<u64>,
    keep: Option<usize>,
}

impl RunFile {
    fn located(self, table: toml::Table, name: &str) -> Result<RunConfig, Error> {
        self.checked(table, name).map_err(|e| match e {
            Error::Setting { key, what } => {
                Error::Config { path: name.to_owned(), line: None, what: format!("{key}: {what}") }
            }
            other => other,
        })
    }

    fn checked(self, table: toml::Table, name: &str) -> Result<RunConfig, Error> {
        let length = match (self.steps, self.epochs) {
            (Some(0), _) | (_, Some(0)) => return Err(Error::setting("steps", "0, expected at least 1")),
            (Some(n), None) => Length::Steps(n),
            (None, Some(n)) => Length::Epochs(n),
            (Some(_), Some(_)) => return Err(Error::setting("steps", "give steps or epochs, not both")),
            (None, None) => return Err(Error::setting("steps", "missing; give steps or epochs")),
        };
        if self.log_every == Some(0) {
            return Err(Error::setting("log_every", "0, expected at least 1"));
        }
        let clip = self.clip.map(|c| c.norm);
        if let Some(norm) = clip.filter(|n| !(n.is_finite() && *n > 0.0)) {
            return Err(Error::setting("[clip]", format!("norm is {norm}, expected a number above 0")));
        }
        if self.checkpoint.keep == Some(0) {
            return Err(Error::setting("[checkpoint]", "keep is 0, expected at least 1"));
        }
        if self.eval.batch_size == Some(0) {
            return Err(Error::setting("[eval]", "batch_size is 0, expected at least 1"));
        }
        let (loss, reduction) = self.loss.checked()?;
        Ok(RunConfig {
            name: name.to_owned(),
            length,
            seed: self.seed,
            dtype: self.dtype.map(|d| match d {
                DtypeName::F32 => DType::F32,
                DtypeName::F64 => DType::F64,
            }),
            log_every: self.log_every.unwrap_or(1),
            model: self.model.checked()?,
            data: self.data.checked()?,
            loss,
            reduction,
            method: method_from_table(self.optimizer)?,
            groups: self.group.into_iter().enumerate().map(|(i, g)| g.checked(i)).collect::<Result<_, _>>()?,
            schedule: self.schedule.checked()?,
            clip,
            eval: EvalConfig {
                every: self.eval.every,
                train: self.eval.train.unwrap_or(true),
                batch_size: self.eval.batch_size,
            },
            checkpoint: CheckpointConfig {
                dir: self.checkpoint.dir,
                every: self.checkpoint.every,
                keep: self.checkpoint.keep.unwrap_or(2),
            },
            search: self.search.map(SearchTable::checked).transpose()?,
            table,
        })
    }
}

impl ModelTable {
    fn checked(self) -> Result<ModelConfig, Error> {
        let wrong = |what: &str| Err(Error::setting("[model]", what));
        match (self.path, self.input, self.layers) {
            (Some(path), None, None) if self.model_type.is_none() => {
                Ok(ModelConfig::Path { path, fresh: self.fresh.unwrap_or(false) })
            }
            (None, Some(input), Some(layers)) if self.fresh.is_none() => {
                let layers = serde_json::to_value(layers).map_err(|e| Error::setting("[model]", e.to_string()))?;
                let kind = self.model_type.unwrap_or_else(|| "sequential".into());
                Ok(ModelConfig::Inline(serde_json::json!({"model_type": kind, "input": input, "layers": layers})))
            }
            (None, None, None) => wrong("give path, a directory with config.json; or input and layers"),
            (None, ..) if self.fresh.is_some() => wrong("fresh belongs to path"),
            (None, ..) => wrong("input and layers belong together"),
            _ => wrong("give either path or input and layers"),
        }
    }
}

impl LossTable {
    fn checked(self) -> Result<(Loss, Reduction), Error> {
        let wrong = |what: String| Error::setting("[loss]", what);
        let mut loss = Loss::from_name(&self.name).map_err(|_| {
            wrong(format!("no loss named {:?}; there are \"mse\", \"cross-entropy\", \"bce\"", self.name))
        })?;
        let for_classes = self.class_weights.is_some() || self.label_smoothing.is_some() || self.ignore_index.is_some();
        if for_classes && !matches!(loss, Loss::CrossEntropy(_)) {
            return Err(wrong("class_weights, label_smoothing and ignore_index belong to cross-entropy".into()));
        }
        if self.pos_weight.is_some() && !matches!(loss, Loss::Bce { .. }) {
            return Err(wrong("pos_weight belongs to bce".into()));
        }
        match &mut loss {
            Loss::CrossEntropy(options) => {
                *options = CrossEntropy {
                    class_weights: self.class_weights,
                    label_smoothing: self.label_smoothing.unwrap_or(0.0),
                    ignore_index: self.ignore_index.unwrap_or(-100),
                    soft_targets: false,
                };
            }
            Loss::Bce { pos_weight } => *pos_weight = self.pos_weight,
            Loss::Mse => {}
        }
        let reduction = match &self.reduction {
            None => Reduction::Mean,
            Some(toml::Value::String(s)) if s == "mean" => Reduction::Mean,
            Some(toml::Value::String(s)) if s == "sum" => Reduction::Sum,
            Some(toml::Value::Float(x)) if x.is_finite() && *x > 0.0 => Reduction::Fixed(*x),
            Some(toml::Value::Integer(n)) if *n > 0 => Reduction::Fixed(*n as f64),
            Some(other) => {
                return Err(wrong(format!(
                    "reduction is {other}, expected \"mean\", \"sum\" or a factor above 0 of the sum"
                )));
            }
        };
        Ok((loss, reduction))
    }
}

impl GroupTable {
    fn checked(self, index: usize) -> Result<Group, Error> {
        let name = self.name.unwrap_or_else(|| format!("group {index}"));
        let wrong = |what: String| Error::setting(format!("[[group]] {name:?}"), what);
        let expected = "expected a pattern of parameter names, as \"*.bias\", or a list of them";
        let patterns = match self.patterns {
            toml::Value::String(pattern) => vec![pattern],
            toml::Value::Array(list) => list
                .into_iter()
                .map(|v| match v {
                    toml::Value::String(pattern) => Ok(pattern),
                    other => Err(wrong(format!("match holds {other}, {expected}"))),
                })
                .collect::<Result<_, _>>()?,
            other => return Err(wrong(format!("match is {other}, {expected}"))),
        };
        if self.beta1.is_some() && self.momentum.is_some() {
            return Err(wrong("beta1 and momentum are one setting; give one of them".into()));
        }
        Ok(Group {
            patterns,
            lr_factor: self.lr_factor,
            first_order: self.first_order.unwrap_or(false),
            weight_decay: self.weight_decay,
            beta1: self.beta1.or(self.momentum),
            beta2: self.beta2,
            eps: self.eps,
            name,
        })
    }
}

impl ScheduleTable {
    fn checked(self) -> Result<SchedulePlan, Error> {
        let shape = self.shape.unwrap_or(ShapeName::Constant);
        let wrong = |what: &str| Err(Error::setting("[schedule]", what));
        if self.decay.is_some() != (shape == ShapeName::Wsd) {
            return wrong(if self.decay.is_some() {
                "decay belongs to the shape wsd"
            } else {
                "the shape wsd needs decay, the number of its last steps"
            });
        }
        if shape == ShapeName::Constant && (self.total.is_some() || self.floor.is_some()) {
            return wrong("total and floor belong to the shapes cosine, linear and wsd");
        }
        Ok(SchedulePlan {
            shape,
            warmup: self.warmup.unwrap_or(0),
            total: self.total,
            decay: self.decay.unwrap_or(0),
            floor: self.floor.unwrap_or(0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Validation;
    use proptest::prelude::*;

    const GOOD: &str = r#"
steps = 10
seed = 3
dtype = "f64"
log_every = 2

[model]
input = [2]
layers = [{ type = "linear", in = 2, out = 1 }]

[data]
path = "d.npz"
validation = 0.25
batch_size = 8

[loss]
name = "mse"
reduction = "sum"

[optimizer]
name = "sgd"
lr = 0.1

[[group]]
match = ["*.bias"]
weight_decay = 0.0

[schedule]
shape = "wsd"
warmup = 2
decay = 3
floor = 0.1

[clip]
norm = 1.5

[eval]
every = 5
train = false

[checkpoint]
dir = "out"
every = 4
keep = 3
"#;

    #[test]
    fn everything_is_read() {
        let run = RunConfig::parse(GOOD, "run.toml").unwrap();
        assert_eq!((run.length, run.seed, run.dtype, run.log_every), (Length::Steps(10), Some(3), Some(DType::F64), 2));
        assert_eq!(run.data.validation, Validation::Share(0.25));
        assert_eq!((run.loss, run.reduction), (Loss::Mse, Reduction::Sum));
        assert_eq!((run.clip, run.eval.every, run.eval.train), (Some(1.5), Some(5), false));
        assert_eq!(run.groups[0].patterns, ["*.bias"]);
        assert_eq!((run.schedule.warmup, run.schedule.decay, run.schedule.floor), (2, 3, 0.1));
        assert_eq!((run.checkpoint.every, run.checkpoint.keep), (Some(4), 3));
        assert!(matches!(run.model, ModelConfig::Inline(v) if v["layers"][0]["out"] == 1));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            ("seed = 3", "sede = 3", "run.toml:3: unknown key `sede`, expected one of `steps`, `epochs`, `seed`"),
            ("batch_size = 8", "batchsize = 8", "run.toml:14: unknown key `batchsize`, expected one of `name`, `path`"),
            ("lr = 0.1", "lrr = 0.1", "[optimizer]: sgd: unknown key `lrr`, expected one of `lr`, `momentum`"),
            ("steps = 10", "steps = 0", "steps: 0, expected at least 1"),
            ("steps = 10", "", "give steps or epochs"),
            ("steps = 10", "steps = 1\nepochs = 1", "not both"),
            ("steps = 10", "steps = -1", "run.toml:2: invalid value: integer `-1`"),
            ("steps = 10", "steps = ", "run.toml:2: "),
            ("[clip]", "[search]\n[clip]", "missing key `settings`"),
            ("batch_size = 8", "batch_size = 0", "batch_size is 0"),
            ("validation = 0.25", "validation = 1.5", "validation is 1.5, expected a number of data"),
            ("path = \"d.npz\"", "", "give either name"),
            ("path = \"d.npz\"", "path = \"d.npz\"\nname = \"digits\"", "give either name"),
            ("name = \"mse\"", "name = \"mae\"", "no loss named \"mae\"; there are \"mse\""),
            ("name = \"mse\"", "name = \"mse\"\nlabel_smoothing = 0.1", "belong to cross-entropy"),
            ("name = \"mse\"", "name = \"mse\"\npos_weight = [1.0]", "belongs to bce"),
            ("reduction = \"sum\"", "reduction = \"average\"", "expected \"mean\", \"sum\""),
            ("decay = 3\n", "", "wsd needs decay"),
            ("shape = \"wsd\"", "shape = \"cosine\"", "decay belongs to the shape wsd"),
            ("shape = \"wsd\"", "shape = \"step\"", "unknown variant `step`"),
            ("norm = 1.5", "norm = 0.0", "norm is 0"),
            ("norm = 1.5", "", "missing key `norm`"),
            ("keep = 3", "keep = 0", "keep is 0"),
            ("match = [\"*.bias\"]", "match = 3", "match is 3"),
            ("input = [2]", "", "input and layers belong together"),
            ("input = [2]", "input = [2]\npath = \"net\"", "either path or input and layers"),
            ("input = [2]", "input = [2]\nfresh = true", "fresh belongs to path"),
            ("log_every = 2", "log_every = 0", "log_every: 0"),
            ("dtype = \"f64\"", "dtype = \"f16\"", "unknown variant `f16`, expected `f32` or `f64`"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let e = RunConfig::parse(&GOOD.replacen(from, to, 1), "run.toml").unwrap_err().to_string();
            assert!(e.starts_with("run.toml") && e.contains(part), "{e}\nlacks {part}");
        }
        let e = RunConfig::parse("steps = 1", "run.toml").unwrap_err().to_string();
        assert_eq!(e, "run.toml: missing key `model`");
    }

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../../../docs/train.md");
        let mut keys = 0;
        for (from, to) in [
            ("seed = 3", "zzz = 3"),
            ("input = [2]", "zzz = 2"),
            ("path = \"d.npz\"", "zzz = 2"),
            ("reduction = \"sum\"", "zzz = 2"),
            ("lr = 0.1", "zzz = 2"),
            ("name = \"sgd\"\nlr = 0.1", "name = \"adamw\"\nzzz = 2"),
            ("match = [\"*.bias\"]", "zzz = 2"),
            ("warmup = 2", "zzz = 2"),
            ("norm = 1.5", "zzz = 2"),
            ("train = false", "zzz = 2"),
            ("keep = 3", "zzz = 2"),
            ("keep = 3", "keep = 3\n[search]\nzzz = 2"),
        ]
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .into_iter()
        .chain(optim::Method::NAMES.into_iter().flat_map(method_keys))
        {
            assert!(GOOD.contains(&from), "{from}");
            let e = RunConfig::parse(&GOOD.replacen(&from, &to, 1), "run.toml").unwrap_err().to_string();
            let known = e.split_once("unknown key `zzz`, expected ").unwrap_or_else(|| panic!("{e}")).1;
            for key in known.split('`').skip(1).step_by(2) {
                keys += 1;
                // Tables have a heading, keys a place in a table or an assignment.
                let forms = [format!("`{key}`"), format!("`[{key}]`"), format!("`[[{key}]]`"), format!("`{key} = ")];
                assert!(forms.iter().any(|form| page.contains(form)), "{key}");
            }
        }
        assert!(keys > 300, "{keys}");
        assert!(Method::NAMES.iter().all(|n| page.contains(&format!("`{n}`"))));
    }

    /// An unknown key of a method and of the tables inside it.
    fn method_keys(name: &str) -> Vec<(String, String)> {
        let inner = ["", "vectors", "layout", "bias", "rules"].into_iter().filter(|t| {
            let settings = Method::named(name, false).expect("listed").settings();
            t.is_empty() || settings.get(t).is_some_and(serde_json::Value::is_object)
        });
        let table = |t: &str| if t.is_empty() { "zzz = 2".to_owned() } else { format!("{t} = {{ zzz = 2 }}") };
        let from = "name = \"sgd\"\nlr = 0.1";
        inner.map(|t| (from.to_owned(), format!("name = \"{name}\"\n{}", table(t)))).collect()
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = RunConfig::parse(&text, "x");
        }

        #[test]
        fn toml_like_text_never_panics(text in "[a-z0-9\\[\\]{}=\"'.,# \\n_-]{0,200}") {
            let _ = RunConfig::parse(&text, "x");
        }

        #[test]
        fn damaged_descriptions_never_panic(at in 0..GOOD.len(), cut in 0usize..12, put in "[a-z0-9\\[\\]{}=\"'., \\n-]{0,6}") {
            let end = (at + cut).min(GOOD.len());
            let _ = RunConfig::parse(&format!("{}{put}{}", &GOOD[..at], &GOOD[end..]), "x");
        }
    }
}
