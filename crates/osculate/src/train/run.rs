//! `Run`: a [`Trainer`] with its history and checkpoints in a folder, driven to its end or until someone stops it.
//!
//! A checkpoint is written before the first step, every so many steps, at the end, and when the observer asks to stop. The
//! history is made durable before the checkpoint that counts its lines, so at every moment the folder holds a checkpoint
//! and at least its history.

use super::checkpoint::Folder;
use super::history::{Event, History, Record};
use super::{Error, Scores, StepReport, Trainer};
use numerics::Scalar;
use numerics::progress::{Observer, Progress};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// When a run writes what. Steps of 0 mean only at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Steps between lines of the history that nothing else asks for.
    pub log: u64,
    /// Steps between evaluations.
    pub eval: u64,
    /// Evaluate on the training data too.
    pub eval_training: bool,
    /// Steps between checkpoints.
    pub checkpoint: u64,
    /// Checkpoints to keep.
    pub keep: usize,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// The observer asked to stop; everything up to there is saved.
    Interrupted,
}

/// A run in a folder.
pub struct Run<T: Scalar> {
    trainer: Trainer<T>,
    cadence: Cadence,
    folder: Folder,
    history: History,
    checkpoint: PathBuf,
    /// The step of that checkpoint.
    saved: u64,
    resumed_from: Option<u64>,
    notices: Vec<Event>,
    last: Option<StepReport>,
    scores: Option<(Option<Scores>, Option<Scores>)>,
    seconds_before: f64,
    started: Instant,
}

/// Name of the history in a run's folder.
pub const HISTORY: &str = "history.jsonl";

impl<T: Scalar> Run<T> {
    /// Begins a run in a folder, which is made if need be, with a checkpoint of its first parameters.
    ///
    /// # Errors
    /// A folder that holds a run already, or that cannot be written to.
    pub fn begin(trainer: Trainer<T>, dir: &Path, cadence: Cadence) -> Result<Self, Error> {
        let folder = Folder::new(dir, cadence.keep);
        if let Some((step, _)) = folder.latest()? {
            return Err(Error::Occupied { dir: dir.display().to_string(), step });
        }
        std::fs::create_dir_all(dir).map_err(|e| {
            let what = format!("the folder of the run cannot be made: {e}");
            crate::io::Error::Io { path: dir.display().to_string(), what }
        })?;
        let history = History::create(&dir.join(HISTORY))?;
        let mut run = Run {
            trainer,
            cadence,
            folder,
            history,
            checkpoint: PathBuf::new(),
            saved: 0,
            resumed_from: None,
            notices: Vec::new(),
            last: None,
            scores: None,
            seconds_before: 0.0,
            started: Instant::now(),
        };
        run.save()?;
        Ok(run)
    }

    /// Goes on from the latest checkpoint of a folder; the history is cut to what it was then.
    ///
    /// # Errors
    /// No checkpoint; one that is damaged or of another run; a history that does not reach it.
    pub fn resume(mut trainer: Trainer<T>, dir: &Path, cadence: Cadence) -> Result<Self, Error> {
        let folder = Folder::new(dir, cadence.keep);
        let (step, path) = folder.latest()?.ok_or_else(|| Error::NoCheckpoint { dir: dir.display().to_string() })?;
        let state = numerics::store::State::read(&path)?;
        let of_file = |what: String| Error::Checkpoint { path: path.display().to_string(), what };
        let changes = trainer.restore(&state).map_err(|e| match e {
            Error::Setting { what, .. } => of_file(what),
            Error::Store(numerics::Error::Format { what, .. }) => of_file(what),
            Error::Optimizer(e) => of_file(e.to_string()),
            other => other,
        })?;
        if trainer.done() != step {
            return Err(of_file(format!("holds step {}, not {step} as its name says", trainer.done())));
        }
        let number = |name: &str| state.scalar(name).map_err(|e| of_file(e.to_string()));
        let lines = number("history_lines")?;
        let seconds_before = number("seconds")?;
        if !(lines >= 0.0 && lines.fract() == 0.0 && lines < 9e15 && seconds_before >= 0.0) {
            return Err(of_file(format!("says that the history has {lines} lines after {seconds_before} seconds")));
        }
        let history = History::resume(&dir.join(HISTORY), lines as u64)?;
        Ok(Run {
            trainer,
            cadence,
            folder,
            history,
            checkpoint: path,
            saved: step,
            resumed_from: Some(step),
            notices: changes.into_iter().map(|c| Event::new("settings-changed", c)).collect(),
            last: None,
            scores: None,
            seconds_before,
            started: Instant::now(),
        })
    }

    /// Takes steps until the end, or until the observer asks to stop, and saves the model.
    ///
    /// # Errors
    /// `Diverged`, with the last good checkpoint; files that cannot be written.
    pub fn drive(&mut self, observer: &dyn Observer) -> Result<Ending, Error> {
        while !self.trainer.finished() {
            let report = match self.trainer.step() {
                Ok(report) => report,
                Err(e) => return Err(self.give_up(e)),
            };
            self.record(&report)?;
            let (done, steps) = (self.trainer.done(), self.trainer.steps());
            let progress = Progress::new("train", done, steps).with_metric("loss", report.loss);
            self.last = Some(report);
            if due(done, self.cadence.checkpoint) {
                self.save()?;
            }
            if observer.report(&progress) == ControlFlow::Break(()) && done < steps {
                self.end()?;
                return Ok(Ending::Interrupted);
            }
        }
        if self.scores.is_none() {
            // A finished run was resumed.
            self.scores = Some(self.evaluate()?);
        }
        self.end()?;
        Ok(Ending::Finished)
    }

    /// The line of a step, with evaluations if they are due.
    fn record(&mut self, report: &StepReport) -> Result<(), Error> {
        let mut metrics = BTreeMap::new();
        metrics.extend(report.gradient_norm.map(|norm| ("gradient_norm".to_owned(), norm)));
        let mut events = std::mem::take(&mut self.notices);
        events.extend(report.events.iter().cloned());
        let evaluated = due(report.step, self.cadence.eval) || self.trainer.finished();
        if evaluated {
            let (training, validation) = self.evaluate()?;
            for (name, scores) in [("train", training), ("validation", validation)] {
                let Some(s) = scores else { continue };
                metrics.insert(format!("{name}_loss"), s.loss);
                metrics.extend(s.accuracy.map(|a| (format!("{name}_accuracy"), a)));
            }
            self.scores = Some((training, validation));
        }
        if evaluated || !events.is_empty() || due(report.step, self.cadence.log) {
            let (step, loss, lr) = (report.step, report.loss, report.lr);
            self.history.append(&Record { step, seconds: self.seconds(), loss, lr, metrics, events })?;
        }
        if evaluated { self.history.flush() } else { Ok(()) }
    }

    fn evaluate(&mut self) -> Result<(Option<Scores>, Option<Scores>), Error> {
        // Without validation data the training data are all there is.
        let training = self.cadence.eval_training || self.trainer.validation.is_none();
        let training = if training { Some(self.trainer.score_training()?) } else { None };
        Ok((training, self.trainer.validate()?))
    }

    /// Writes a divergence into the history and names the checkpoint that is still good.
    fn give_up(&mut self, error: Error) -> Error {
        let Error::Diverged { step, what, .. } = error else { return error };
        let mut events = std::mem::take(&mut self.notices);
        events.push(Event::new("diverged", what.clone()));
        let record =
            Record { step, seconds: self.seconds(), loss: f64::NAN, lr: 0.0, metrics: BTreeMap::new(), events };
        match self.history.append(&record).and_then(|()| self.history.sync()) {
            Ok(()) => Error::Diverged { step, what, kept: Some(self.checkpoint.display().to_string()) },
            Err(e) => e,
        }
    }

    /// Writes a checkpoint; one whose parameters are not finite is not worth it.
    fn save(&mut self) -> Result<(), Error> {
        if let Err(e) = self.trainer.check_params() {
            return Err(self.give_up(e));
        }
        self.history.sync()?;
        let mut state = self.trainer.state()?;
        state.scalars.insert("history_lines".into(), self.history.lines() as f64);
        state.scalars.insert("seconds".into(), self.seconds());
        self.checkpoint = self.folder.write(&state)?;
        self.saved = self.trainer.done();
        Ok(())
    }

    /// The last checkpoint, and the folder as a model.
    fn end(&mut self) -> Result<(), Error> {
        if self.saved != self.trainer.done() {
            self.save()?;
        }
        Ok(self.trainer.model().save(self.folder.dir(), self.trainer.params())?)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer<T> {
        &self.trainer
    }

    /// Seconds of this run, those before a stop included, pauses not.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// The latest checkpoint.
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// The history.
    pub fn history(&self) -> &Path {
        self.history.path()
    }

    /// The folder; after [`Run::drive`] it is also a model directory.
    pub fn folder(&self) -> &Path {
        self.folder.dir()
    }

    /// The step at which the run was resumed, if it was.
    pub fn resumed_from(&self) -> Option<u64> {
        self.resumed_from
    }

    /// The last step that was taken.
    pub fn last_step(&self) -> Option<&StepReport> {
        self.last.as_ref()
    }

    /// The latest scores on training and validation data.
    pub fn scores(&self) -> (Option<Scores>, Option<Scores>) {
        self.scores.unwrap_or_default()
    }
}

/// Whether something that happens every so many steps happens after this one.
fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
