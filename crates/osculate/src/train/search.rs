//! A random search over the settings of a run: every setting is a [`Run`] in a folder of its own, every result a line of
//! `search.jsonl`. A search that was stopped goes on where it was, within a run too, and ends with the same results.

use super::run::{Ending, Run};
use super::space::{Metric, Range, SearchConfig};
use super::{Error, RunConfig};
use numerics::progress::{Observer, Progress};
use numerics::{Par, Scalar};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the results in a search's folder.
pub const RESULTS: &str = "search.jsonl";
/// Units of progress that one run counts.
const UNITS: u64 = 1000;

/// One run of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Number of the setting, from 0.
    pub setting: u64,
    /// Seed of the run.
    pub seed: u64,
    /// What was drawn, by its place in the description.
    pub values: BTreeMap<String, serde_json::Value>,
    /// Steps done.
    pub steps: u64,
    /// Seconds of the run.
    pub seconds: f64,
    /// Scores at the end; none after a divergence.
    pub metrics: BTreeMap<String, f64>,
    /// Why there are no scores.
    pub failure: Option<String>,
}

/// A setting with the scores of its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Number of the setting.
    pub setting: u64,
    /// What was drawn.
    pub values: BTreeMap<String, serde_json::Value>,
    /// Lower quartile, median and upper quartile over the seeds that arrived; `None` if none did.
    pub quartiles: Option<[f64; 3]>,
    /// Runs that diverged.
    pub failures: usize,
    /// Mean seconds of a run.
    pub seconds: f64,
}

/// What a search has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// What settings are judged by.
    pub metric: Metric,
    /// Settings, the best first; those of which a run failed stand last.
    pub standings: Vec<Standing>,
    /// All runs, in order.
    pub trials: Vec<Trial>,
    /// How many of them an earlier call had done.
    pub resumed: usize,
}

/// A search in a folder.
pub struct Search<'a> {
    config: &'a RunConfig,
    search: &'a SearchConfig,
    dir: PathBuf,
    seed: u64,
    par: Par,
    trials: Vec<Trial>,
    resumed: usize,
}

impl<'a> Search<'a> {
    /// Begins a search in a folder, or goes on with the one that is there.
    ///
    /// # Errors
    /// A description without `[search]`; a folder that holds a search, or none, against `resume`; results that were drawn
    /// from other ranges.
    pub fn open(config: &'a RunConfig, dir: &Path, seed: u64, par: Par, resume: bool) -> Result<Self, Error> {
        let search = config
            .search
            .as_ref()
            .ok_or_else(|| Error::setting("[search]", "missing: a search needs settings and ranges"))?;
        let path = dir.join(RESULTS);
        let mut new = Search { config, search, dir: dir.to_owned(), seed, par, trials: Vec::new(), resumed: 0 };
        let failed = |e: &std::io::Error| Error::from(crate::io::Error::io(&path, e));
        match (path.exists(), resume) {
            (true, false) => {
                let what = "holds a search; give --resume to go on with it, or another folder".into();
                return Err(Error::History { path: path.display().to_string(), what });
            }
            (false, true) => return Err(Error::NoCheckpoint { dir: dir.display().to_string() }),
            (false, false) => {
                // Mistakes of the ranges show before anything is written.
                for i in 0..search.settings {
                    config.with_values(&search.draw(seed, i))?;
                }
                std::fs::create_dir_all(dir).map_err(|e| failed(&e))?;
                std::fs::write(&path, "").map_err(|e| failed(&e))?;
            }
            (true, true) => {
                new.trials = new.read(&path)?;
                new.resumed = new.trials.len();
            }
        }
        Ok(new)
    }

    /// The lines of an earlier call; a torn last line is cut off.
    fn read(&self, path: &Path) -> Result<Vec<Trial>, Error> {
        let failed = |e: &std::io::Error| Error::from(crate::io::Error::io(path, e));
        let wrong = |what: String| Error::History { path: path.display().to_string(), what };
        let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut trials = Vec::new();
        for (i, line) in text[..whole].lines().enumerate() {
            let trial: Trial = serde_json::from_str(line).map_err(|e| wrong(format!("line {}: {e}", i + 1)))?;
            let (setting, seed) = self.place(i as u64);
            if (trial.setting, trial.seed) != (setting, seed) || trial.values != self.values(setting)? {
                let what = "is of a search with other ranges, seeds or another seed; choose another folder";
                return Err(wrong(format!("line {}: {what}", i + 1)));
            }
            trials.push(trial);
        }
        let file = OpenOptions::new().write(true).open(path).map_err(|e| failed(&e))?;
        file.set_len(whole as u64).map_err(|e| failed(&e))?;
        Ok(trials)
    }

    /// Setting and seed of a trial.
    fn place(&self, trial: u64) -> (u64, u64) {
        (trial / self.search.seeds, self.seed.wrapping_add(trial % self.search.seeds))
    }

    fn values(&self, setting: u64) -> Result<BTreeMap<String, serde_json::Value>, Error> {
        let json = |(key, v): (String, toml::Value)| match serde_json::to_value(&v) {
            Ok(v) => Ok((key, v)),
            Err(e) => Err(Error::setting("[search]", format!("ranges: {key:?}: {e}"))),
        };
        self.search.draw(self.seed, setting).into_iter().map(json).collect()
    }

    /// Runs what has not run yet.
    ///
    /// # Errors
    /// Whatever ends a run but a divergence, which is a result.
    pub fn drive<T: Scalar>(&mut self, observer: &dyn Observer) -> Result<Ending, Error> {
        let total = self.search.settings * self.search.seeds;
        while (self.trials.len() as u64) < total {
            let index = self.trials.len() as u64;
            match self.run_one::<T>(index, total, observer)? {
                Some(trial) => self.append(trial)?,
                None => return Ok(Ending::Interrupted),
            }
        }
        Ok(Ending::Finished)
    }

    fn run_one<T: Scalar>(&self, index: u64, total: u64, observer: &dyn Observer) -> Result<Option<Trial>, Error> {
        let (setting, seed) = self.place(index);
        let config = self.config.with_values(&self.search.draw(self.seed, setting))?;
        let trainer = config.trainer::<T>(seed, self.par)?;
        let cadence = config.cadence(&trainer);
        let dir = self.dir.join(format!("{setting:04}-{seed}"));
        let mut run = match Run::begin(trainer, &dir, cadence) {
            Err(Error::Occupied { .. }) => Run::resume(config.trainer::<T>(seed, self.par)?, &dir, cadence)?,
            other => other?,
        };
        let units = |p: &Progress<'_>| index * UNITS + (UNITS as f64 * p.fraction().unwrap_or(0.0)) as u64;
        let inner =
            |p: &Progress<'_>| observer.report(&Progress { task: "search", done: units(p), of: total * UNITS, ..*p });
        let failure = match run.drive(&inner) {
            Ok(Ending::Interrupted) => return Ok(None),
            Ok(Ending::Finished) => None,
            Err(Error::Diverged { step, what, .. }) => Some(format!("diverged at step {step}: {what}")),
            Err(e) => return Err(e),
        };
        let mut metrics = BTreeMap::new();
        let (training, validation) = if failure.is_none() { run.scores() } else { (None, None) };
        for (name, scores) in [("train", training), ("validation", validation)] {
            let Some(s) = scores else { continue };
            metrics.insert(format!("{name}_loss"), s.loss);
            metrics.extend(s.accuracy.map(|a| (format!("{name}_accuracy"), a)));
        }
        metrics.retain(|_, x| x.is_finite());
        let (steps, seconds) = (run.trainer().done(), run.seconds());
        Ok(Some(Trial { setting, seed, values: self.values(setting)?, steps, seconds, metrics, failure }))
    }

    fn append(&mut self, trial: Trial) -> Result<(), Error> {
        let path = self.results();
        let failed = |e: std::io::Error| Error::from(crate::io::Error::io(&path, &e));
        let text = serde_json::to_string(&trial).map_err(|e| failed(e.into()))?;
        let mut file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        writeln!(file, "{text}").and_then(|()| file.sync_data()).map_err(failed)?;
        self.trials.push(trial);
        Ok(())
    }

    /// The file of results.
    pub fn results(&self) -> PathBuf {
        self.dir.join(RESULTS)
    }

    /// The laws of the values.
    pub fn ranges(&self) -> &BTreeMap<String, Range> {
        &self.search.ranges
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        let any = |m: Metric| self.trials.iter().any(|t| t.metrics.contains_key(m.name()));
        let default = if any(Metric::ValidationLoss) { Metric::ValidationLoss } else { Metric::TrainLoss };
        let metric = self.search.metric.unwrap_or(default);
        let mut standings: Vec<Standing> = self
            .trials
            .chunk_by(|a, b| a.setting == b.setting)
            .map(|runs| {
                let mut scores: Vec<f64> = runs.iter().filter_map(|t| t.metrics.get(metric.name()).copied()).collect();
                scores.sort_by(f64::total_cmp);
                Standing {
                    setting: runs[0].setting,
                    values: runs[0].values.clone(),
                    quartiles: (!scores.is_empty()).then(|| [0.25, 0.5, 0.75].map(|q| quantile(&scores, q))),
                    failures: runs.len() - scores.len(),
                    seconds: runs.iter().map(|t| t.seconds).sum::<f64>() / runs.len() as f64,
                }
            })
            .collect();
        let sign = if metric.is_accuracy() { -1.0 } else { 1.0 };
        let rank = |s: &Standing| (s.failures, s.quartiles.map_or(f64::INFINITY, |q| sign * q[1]));
        standings.sort_by(|a, b| {
            let ((fa, a), (fb, b)) = (rank(a), rank(b));
            fa.cmp(&fb).then(a.total_cmp(&b))
        });
        Findings { metric, standings, trials: self.trials.clone(), resumed: self.resumed }
    }
}

/// The value below which a share `q` of the sorted numbers lies, with straight lines between them.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (at - at.floor()) * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!([0.25, 0.5, 0.75].map(|q| quantile(&[1.0, 2.0, 3.0, 4.0, 9.0], q)), [2.0, 3.0, 4.0]);
        assert_eq!([0.25, 0.5].map(|q| quantile(&[1.0, 2.0], q)), [1.25, 1.5]);
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
    }
}
