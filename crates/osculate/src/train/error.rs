//! The error of training runs: a description that makes no sense, data that do not fit, a run that cannot go on.

/// What can go wrong in a training run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text of a run's description is wrong.
    #[error("{path}{}: {what}", .line.map(|l| format!(":{l}")).unwrap_or_default())]
    Config {
        /// The file.
        path: String,
        /// Line, counted from one, if it is known.
        line: Option<usize>,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A setting is out of range or does not go with another one.
    #[error("{key}: {what}")]
    Setting {
        /// The setting, as `data.batch_size`.
        key: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The data do not fit the model or the loss.
    #[error("{data}: {what}")]
    Data {
        /// Name of the data.
        data: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A data file.
    #[error(transparent)]
    File(#[from] crate::io::Error),
    /// The model or the loss.
    #[error(transparent)]
    Model(#[from] autodiff::nn::ModelError),
    /// A program that does not compile or run.
    #[error(transparent)]
    Program(#[from] autodiff::Error),
    /// The optimiser.
    #[error(transparent)]
    Optimizer(#[from] optim::Error),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Store(#[from] numerics::Error),
    /// A new run would overwrite an old one.
    #[error("{dir}: holds a run that reached step {step}; give --resume to go on with it, or another folder")]
    Occupied {
        /// The folder.
        dir: String,
        /// The step of its latest checkpoint.
        step: u64,
    },
    /// There is nothing to resume.
    #[error("{dir}: no checkpoint to resume from; leave --resume out to start the run")]
    NoCheckpoint {
        /// The folder.
        dir: String,
    },
    /// A checkpoint is damaged or belongs to something else.
    #[error("{path}: {what}")]
    Checkpoint {
        /// The file.
        path: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A history file is damaged or belongs to something else.
    #[error("{path}: {what}")]
    History {
        /// The file.
        path: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Loss, gradient or parameters are no longer finite. The last checkpoint is as it was.
    #[error("the run diverged at step {step}: {what}; lower the learning rate or clip the gradient{}", kept_words(.kept))]
    Diverged {
        /// The step that could not be taken, counted from one.
        step: u64,
        /// What was not finite.
        what: String,
        /// The last good checkpoint, if there is one.
        kept: Option<String>,
    },
}

fn kept_words(kept: &Option<String>) -> String {
    kept.as_ref().map(|path| format!("; the last good checkpoint is {path}")).unwrap_or_default()
}

impl Error {
    pub(crate) fn setting(key: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Setting { key: key.into(), what: what.into() }
    }

    pub(crate) fn data(data: &str, what: impl Into<String>) -> Self {
        Error::Data { data: data.to_owned(), what: what.into() }
    }
}
