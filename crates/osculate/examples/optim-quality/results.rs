//! Lines of results, one a run, in a file that grows.

use crate::Failure;
use crate::methods::Method;
use crate::tasks::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    Search,
    Steps,
    Time,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) task: String,
    pub(crate) method: String,
    pub(crate) stage: Stage,
    pub(crate) setting: u64,
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) values: BTreeMap<String, f64>,
    /// `[step, seconds, validation loss]`; `None` if it diverged.
    pub(crate) curve: Option<Vec<[f64; 3]>>,
}

impl Line {
    pub(crate) fn new(task: &Task, method: &Method, stage: Stage, setting: u64, seed: u64) -> Self {
        let (task, method) = (task.name.to_owned(), method.name.to_owned());
        Line { task, method, stage, setting, seed, steps: 0, values: BTreeMap::new(), curve: None }
    }

    /// Validation loss at the end.
    pub(crate) fn loss(&self) -> Option<f64> {
        Some(self.curve.as_ref()?.last()?[2])
    }

    /// Seconds per step.
    fn step_time(&self) -> Option<f64> {
        let [steps, seconds, _] = self.curve.as_ref()?.last()?;
        Some(seconds / steps)
    }
}

/// All lines, in memory and in their file.
pub(crate) struct Results {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Results {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        // A torn last line is made again.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        if whole.len() < text.len() {
            std::fs::write(path, whole)?;
        }
        let lines = whole.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Results { path: path.to_owned(), lines })
    }

    pub(crate) fn has(&self, l: &Line) -> bool {
        let key = |x: &Line| (x.task.clone(), x.method.clone(), x.stage as u8, x.setting, x.seed);
        self.lines.iter().any(|x| key(x) == key(l))
    }

    pub(crate) fn add(&mut self, line: Line) -> Result<(), Failure> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
        self.lines.push(line);
        Ok(())
    }

    /// Runs of a method for one purpose.
    pub(crate) fn of<'a>(&'a self, task: &'a str, method: &'a str, stage: Stage) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |l| l.task == task && l.method == method && l.stage == stage)
    }

    /// The setting with the least loss in the search.
    pub(crate) fn best(&self, task: &str, method: &str) -> Option<u64> {
        let arrived = self.of(task, method, Stage::Search).filter_map(|l| Some((l.loss()?, l.setting)));
        arrived.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, setting)| setting)
    }

    /// Least seconds per step over the seeds of equal steps.
    pub(crate) fn step_time(&self, task: &str, method: &str) -> Option<f64> {
        self.of(task, method, Stage::Steps).filter_map(Line::step_time).min_by(f64::total_cmp)
    }
}
