//! From a description to a run: model, data and their split, in the precision of the run.

use super::config::ModelConfig;
use super::{Cadence, Error, Problem, RunConfig, Samples, Settings, Trainer};
use crate::io::{Dataset, Targets};
use autodiff::nn::{Loss, Sequential};
use numerics::store::File;
use numerics::{Par, Scalar};
use std::path::{Path, PathBuf};

/// Parameters, gradient and the two moments of AdamW: what the smallest run holds.
const VECTORS: usize = 4;

/// Data as they are used, and the loss that takes their targets.
struct Parts<T> {
    loss: Loss,
    train: Samples<T>,
    validation: Option<Samples<T>>,
}

impl RunConfig {
    /// The folder of the description: paths in it start there.
    pub fn base(&self) -> PathBuf {
        Path::new(&self.name).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Where checkpoints go: `checkpoint.dir`, or `NAME.run` beside a description `NAME.toml`.
    pub fn folder(&self) -> PathBuf {
        match &self.checkpoint.dir {
            Some(dir) => self.base().join(dir),
            None => Path::new(&self.name).with_extension("run"),
        }
    }

    /// Reads model and data and sets the run up. Nothing is written.
    ///
    /// # Errors
    /// Files that cannot be read; data that do not fit; settings that do not go together.
    pub fn trainer<T: Scalar>(&self, seed: u64, par: Par) -> Result<Trainer<T>, Error> {
        let (model, params) = self.model::<T>(seed)?;
        let Parts { loss, train, validation } = self.samples::<T>(&model, seed)?;
        let settings = Settings {
            method: self.method.clone(),
            length: self.length,
            seed,
            batch_size: self.data.batch_size,
            shuffle: self.data.shuffle,
            drop_last: self.data.drop_last,
            groups: self.groups.clone(),
            schedule: self.schedule,
            clip: self.clip,
            eval_batch_size: self.eval.batch_size,
        };
        let problem = Problem { model, params, loss, reduction: self.reduction, train, validation };
        Trainer::new(problem, settings, par)
    }

    /// When a run of this description writes what.
    pub fn cadence<T: Scalar>(&self, trainer: &Trainer<T>) -> Cadence {
        let epoch = trainer.steps_per_epoch();
        Cadence {
            log: self.log_every,
            eval: self.eval.every.unwrap_or(epoch),
            eval_training: self.eval.train,
            checkpoint: self.checkpoint.every.unwrap_or(epoch),
            keep: self.checkpoint.keep,
        }
    }

    fn model<T: Scalar>(&self, seed: u64) -> Result<(Sequential, Vec<T>), Error> {
        let wrong = |what: String| Error::setting(format!("{}: [model]", self.name), what);
        // A few numbers in a file can ask for more memory than there is; asking first makes that an error.
        let fits = |model: &Sequential| {
            let total = model.params().total();
            let needed = total.saturating_mul(VECTORS);
            let no = |_| wrong(format!("{total} parameters, with their gradient and moments more than memory holds"));
            Vec::<T>::new().try_reserve_exact(needed).map_err(no)
        };
        match &self.model {
            ModelConfig::Inline(config) => {
                let model = Sequential::from_config(config).map_err(|e| wrong(e.to_string()))?;
                fits(&model)?;
                let params = model.init(seed);
                Ok((model, params))
            }
            ModelConfig::Path { path, fresh } => {
                let path = self.base().join(path);
                let model = Sequential::load_config(&path)?;
                let params = match Sequential::weights_file(&path).filter(|_| !fresh) {
                    Some(file) => model.params_from_file(&File::read(file)?)?,
                    None => {
                        fits(&model)?;
                        model.init(seed)
                    }
                };
                Ok((model, params))
            }
        }
    }

    fn samples<T: Scalar>(&self, model: &Sequential, seed: u64) -> Result<Parts<T>, Error> {
        let loaded = self.load::<T>()?;
        let mut loss = self.loss.clone();
        if let Loss::CrossEntropy(options) = &mut loss {
            options.soft_targets = matches!(loaded.first.targets(), Targets::Values { .. });
        }
        let samples = |d: &Dataset| Samples::<T>::new(d, model, &loss, self.data.shape.as_deref());
        let all = samples(&loaded.first)?;
        let split = if loaded.whole { self.held_out(all.len(), seed)? } else { None };
        let (train, validation) = match split {
            Some((train, validation)) => (all.select(&train)?, Some(all.select(&validation)?)),
            None => (all, loaded.validation.as_ref().map(samples).transpose()?),
        };
        Ok(Parts { loss, train, validation })
    }
}
