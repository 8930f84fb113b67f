//! Training: the loop behind `osculate train`, and for programs.
//!
//! A [`Trainer`] is a run in memory: model, loss, data, optimiser, one step at a time. A [`Run`] puts it into a folder with
//! checkpoints and a history, and drives it. A [`RunConfig`] is the description of a run in a file. The gradient is one
//! program, traced and compiled once per batch size. Results depend on the seed, not on the number of threads, and a run
//! that is resumed is bitwise the run that was never stopped.
//!
//! ```
//! use osculate::train::{Cadence, Ending, Run, RunConfig};
//! let config = RunConfig::parse(r#"
//!     steps = 40
//!     model = { input = [64], layers = [{ type = "linear", in = 64, out = 10 }] }
//!     data = { name = "digits", validation = 297 }
//!     loss = { name = "cross-entropy" }
//!     optimizer = { name = "adamw", lr = 0.02 }
//! "#, "run.toml")?;
//! # let folder = tempfile::tempdir().unwrap();
//! # let dir = folder.path();
//! let trainer = config.trainer::<f32>(0, numerics::Par::Seq)?;
//! let cadence = Cadence { log: 1, eval: 0, eval_training: true, checkpoint: 20, keep: 2 };
//! let mut run = Run::begin(trainer, dir, cadence)?;
//! assert_eq!(run.drive(&numerics::progress::Silent)?, Ending::Finished);
//! assert!(run.scores().1.unwrap().accuracy.unwrap() > 0.8);
//! # Ok::<(), osculate::train::Error>(())
//! ```

mod checkpoint;
mod config;
mod error;
mod history;
mod method;
mod objective;
mod run;
mod samples;
mod search;
mod settings;
mod setup;
mod source;
mod space;
mod trainer;

pub use config::{CheckpointConfig, EvalConfig, ModelConfig, RunConfig};
pub use error::Error;
pub use history::{Event, Record, read_history};
pub use method::Group;
pub use optim::Method;
pub use run::{Cadence, Ending, HISTORY, Run};
pub use samples::Samples;
pub use search::{Findings, RESULTS, Search, Standing, Trial};
pub use settings::{Length, SchedulePlan, Settings, ShapeName};
pub use source::{DataConfig, Source, Validation};
pub use space::{Metric, Range, SearchConfig};
pub use trainer::{Problem, Scores, StepReport, Trainer};
