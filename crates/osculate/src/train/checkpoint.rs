//! Checkpoints: one file that holds parameters, optimiser state and step, and the folder that keeps the latest of them.
//!
//! A file appears whole or not at all (written beside, synced, renamed). It carries what the run must agree with: model,
//! data, loss, batches, seed, method, precision. Anything else, as the learning rate or the number of steps, may change
//! between a stop and its resumption.

use super::Error;
use super::trainer::Trainer;
use numerics::Scalar;
use numerics::store::{State, Tensor};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const KIND: &str = "train";
const VERSION: u32 = 1;
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";
const PARAMS: &str = "param.";
const OPTIMIZER: &str = "optimizer.";

impl<T: Scalar> Trainer<T> {
    /// Everything needed to go on.
    ///
    /// # Errors
    /// An optimiser that cannot be saved.
    pub fn state(&self) -> Result<State, Error> {
        let mut state = State::new(KIND, VERSION, T::DTYPE);
        state.step = self.done;
        let inner = self.optimizer.state()?;
        state.config = json!({
            "run": self.identity(),
            "settings": self.settings.as_json(),
            "optimizer": {"kind": inner.kind, "format_version": inner.format_version,
                "step": format!("{:x}", inner.step), "config": inner.config},
        });
        state.scalars.insert("skipped".into(), self.skipped as f64);
        state.scalars.insert("skipped_in_row".into(), self.skipped_in_row as f64);
        state.scalars.extend(inner.scalars.into_iter().map(|(k, x)| (format!("{OPTIMIZER}{k}"), x)));
        for (p, values) in self.model().params().views(&self.params)? {
            state.tensors.push(Tensor::new(format!("{PARAMS}{}", p.name()), p.shape(), values)?);
        }
        state.tensors.extend(inner.tensors.into_iter().map(|t| Tensor { name: format!("{OPTIMIZER}{}", t.name), ..t }));
        Ok(state)
    }

    /// Goes on from a saved state; returns which settings have changed since, in words.
    ///
    /// # Errors
    /// A state of something else, of another version, precision, model, method, seed or other data; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<Vec<String>, Error> {
        state.expect(KIND, VERSION, T::DTYPE)?;
        self.check_identity(&state.config["run"])?;
        let inner = optimizer_state(state)?;
        let mut params = Vec::with_capacity(self.params.len());
        for p in self.model().params().iter() {
            let t = state.tensor(&format!("{PARAMS}{}", p.name()))?;
            let values = t.data.to_vec::<T>()?;
            if t.shape != p.shape() || values.len() != p.numel() {
                return Err(Error::setting(
                    "checkpoint",
                    format!("parameter {:?} has shape {:?}, expected {:?}", p.name(), t.shape, p.shape()),
                ));
            }
            params.extend(values);
        }
        let (skipped, in_row) = (counter(state, "skipped")?, counter(state, "skipped_in_row")?);
        self.optimizer.load_state(&inner)?;
        self.params = params;
        self.done = state.step;
        (self.skipped, self.skipped_in_row) = (skipped, in_row);
        Ok(differences(&state.config["settings"], &self.settings.as_json()))
    }

    /// What a run must agree with to go on from a checkpoint.
    fn identity(&self) -> Value {
        let digest = |s: &super::Samples<T>| json!({"data": s.len(), "digest": format!("{:016x}", s.digest())});
        json!({
            "model": self.model().to_config(),
            "loss": format!("{:?}", self.objective.loss()),
            "reduction": format!("{:?}", self.reduction),
            "training data": digest(&self.train),
            "method": self.optimizer.kind(),
            "seed": format!("{:#x}", self.settings.seed),
            "batch size": self.settings.batch_size,
            "shuffle": self.settings.shuffle,
            "drop_last": self.settings.drop_last,
        })
    }

    fn check_identity(&self, saved: &Value) -> Result<(), Error> {
        let own = self.identity();
        for (key, now) in own.as_object().into_iter().flatten() {
            let then = &saved[key.as_str()];
            if then != now {
                let what = match key.as_str() {
                    "model" => "is the checkpoint of another model".to_owned(),
                    "training data" if then["data"] != now["data"] => {
                        format!("was made with {} training data, there are {}", then["data"], now["data"])
                    }
                    "training data" => "was made with other training data".to_owned(),
                    _ => format!("is of a run whose {key} is {}, this one's is {}", plain(then), plain(now)),
                };
                return Err(Error::setting("checkpoint", what));
            }
        }
        Ok(())
    }
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn counter(state: &State, name: &str) -> Result<u64, Error> {
    let x = state.scalar(name)?;
    if x >= 0.0 && x.fract() == 0.0 && x < 9e15 {
        Ok(x as u64)
    } else {
        Err(Error::setting("checkpoint", format!("{name:?} is {x}, not a count")))
    }
}

/// The part of a state that is the optimiser's.
fn optimizer_state(state: &State) -> Result<State, Error> {
    let about = &state.config["optimizer"];
    let kind = about["kind"].as_str();
    let version = about["format_version"].as_u64().and_then(|v| u32::try_from(v).ok());
    let step = about["step"].as_str().and_then(|s| u64::from_str_radix(s, 16).ok());
    let (Some(kind), Some(version), Some(step)) = (kind, version, step) else {
        return Err(Error::setting("checkpoint", "says nothing about its optimiser"));
    };
    let own = |name: &str| name.strip_prefix(OPTIMIZER).map(str::to_owned);
    let mut inner = State::new(kind, version, state.dtype);
    inner.step = step;
    inner.config = about["config"].clone();
    inner.scalars = state.scalars.iter().filter_map(|(k, &x)| Some((own(k)?, x))).collect();
    let tensor = |t: &Tensor| Some(Tensor { name: own(&t.name)?, ..t.clone() });
    inner.tensors = state.tensors.iter().filter_map(tensor).collect();
    Ok(inner)
}

/// `key: then -> now` for every entry that differs, nested ones by their path.
fn differences(then: &Value, now: &Value) -> Vec<String> {
    fn walk(path: &str, then: &Value, now: &Value, out: &mut Vec<String>) {
        match (then, now) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&at, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
                }
            }
            (a, b) if a != b => out.push(format!("{path}: {a} -> {b}")),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk("", then, now, &mut out);
    out
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    keep: usize,
}

impl Folder {
    pub(super) fn new(dir: &Path, keep: usize) -> Self {
        Folder { dir: dir.to_owned(), keep: keep.max(1) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Steps and files of the checkpoints, oldest first; none if there is no folder.
    pub(super) fn list(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let failed = |e: &std::io::Error| Error::from(crate::io::Error::io(&self.dir, e));
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
            Err(e) => return Err(failed(&e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed(&e))?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            if let Some(step) = digits.and_then(|d| d.parse().ok()) {
                found.push((step, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The latest checkpoint.
    pub(super) fn latest(&self) -> Result<Option<(u64, PathBuf)>, Error> {
        Ok(self.list()?.pop())
    }

    /// Writes a checkpoint and removes the ones that are too many.
    pub(super) fn write(&self, state: &State) -> Result<PathBuf, Error> {
        let path = self.dir.join(format!("{PREFIX}{:08}{SUFFIX}", state.step));
        state.write(&path)?;
        let list = self.list()?;
        for (_, old) in list.iter().take(list.len().saturating_sub(self.keep)) {
            std::fs::remove_file(old).map_err(|e| crate::io::Error::io(old, &e))?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::DType;

    #[test]
    fn the_latest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), 2);
        assert_eq!(folder.latest().unwrap(), None);
        std::fs::write(dir.path().join("checkpoint-00000007.safetensors.tmp"), "torn").unwrap();
        std::fs::write(dir.path().join("checkpoint-x.safetensors"), "other").unwrap();
        for step in [0, 9, 10, 123_456_789_012] {
            let mut state = State::new("train", 1, DType::F64);
            state.step = step;
            folder.write(&state).unwrap();
        }
        let steps: Vec<u64> = folder.list().unwrap().into_iter().map(|(s, _)| s).collect();
        assert_eq!(steps, [10, 123_456_789_012]);
        assert_eq!(Folder::new(&dir.path().join("no"), 1).latest().unwrap(), None);
    }

    #[test]
    fn changes_are_named() {
        let then = json!({"lr": 0.1, "schedule": {"warmup": 3, "shape": "cosine"}, "gone": 1});
        let now = json!({"lr": 0.2, "schedule": {"warmup": 3, "shape": "linear"}, "new": true});
        let expected =
            ["gone: 1 -> null", "lr: 0.1 -> 0.2", "new: null -> true", "schedule.shape: \"cosine\" -> \"linear\""];
        assert_eq!(differences(&then, &now), expected);
    }
}
