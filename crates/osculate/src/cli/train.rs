//! `osculate train`: a run from its description, with progress, checkpoints and exact resumption.

use super::text::{Side, count, span, sparkline, table};
use super::{Bar, Context, Error, Reply, interrupt};
use crate::train::{Ending, Run, RunConfig, Scores, read_history};
use clap::Args;
use numerics::progress::{Observer, Progress};
use numerics::{DType, Scalar};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    osculate train --config digits.toml\n  \
    osculate train --config digits.toml --seed 1 --out runs/1 --json\n  \
    osculate train --config digits.toml --resume\n  \
    osculate train --config digits.toml --search\n\n\
    A description in TOML, the smallest one that works:\n  \
    epochs = 20\n  \
    model = { input = [64], layers = [{ type = \"linear\", in = 64, out = 10 }] }\n  \
    data = { name = \"digits\", validation = 297 }\n  \
    loss = { name = \"cross-entropy\" }\n  \
    optimizer = { name = \"adamw\", lr = 0.01 }\n\n\
    The run's folder (--out, checkpoint.dir, or NAME.run beside NAME.toml) gets checkpoints, history.jsonl, and\n\
    at the end config.json and model.safetensors, so that it is a model for the other verbs.\n\
    Ctrl-C stops after the current step and saves it. Every key is explained in docs/train.md.")]
pub(super) struct Train {
    /// The description of the run
    #[arg(long, value_name = "RUN.toml")]
    config: PathBuf,
    /// Go on from the latest checkpoint, exactly as if the run had never stopped
    #[arg(long)]
    resume: bool,
    /// Try the settings that the table [search] describes
    #[arg(long)]
    search: bool,
}

impl Train {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        let config = RunConfig::read(&self.config)?;
        let dtype = context.dtype.or(config.dtype).unwrap_or(DType::F32);
        if self.search {
            return match dtype {
                DType::F32 => super::search::run_in::<f32>(&config, self.resume, context),
                DType::F64 => super::search::run_in::<f64>(&config, self.resume, context),
            };
        }
        match dtype {
            DType::F32 => self.run_in::<f32>(&config, context),
            DType::F64 => self.run_in::<f64>(&config, context),
        }
    }

    fn run_in<T: Scalar>(&self, config: &RunConfig, context: &Context) -> Result<Reply, Error> {
        let seed = context.given_seed.or(config.seed).unwrap_or(0);
        let folder = context.out.clone().unwrap_or_else(|| config.folder());
        let trainer = config.trainer::<T>(seed, context.par())?;
        let cadence = config.cadence(&trainer);
        let mut run =
            if self.resume { Run::resume(trainer, &folder, cadence)? } else { Run::begin(trainer, &folder, cadence)? };
        let asked = interrupt::watch();
        let bar = Bar::new(context.quiet);
        let observer = |p: &Progress<'_>| match asked.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => bar.report(p),
        };
        let ending = run.drive(&observer);
        drop(bar);
        match ending? {
            Ending::Finished => Ok(reply(&run, config, seed, T::DTYPE)?),
            Ending::Interrupted => Err(Error::Interrupted(format!(
                "at step {} of {}; everything is saved in {}, --resume goes on",
                run.trainer().done(),
                run.trainer().steps(),
                run.checkpoint().display()
            ))),
        }
    }
}

fn reply<T: Scalar>(run: &Run<T>, config: &RunConfig, seed: u64, dtype: DType) -> Result<Reply, Error> {
    let t = run.trainer();
    let (training, validation) = run.scores();
    let scores = |s: Option<Scores>| s.map(|s| json!({"loss": s.loss, "accuracy": s.accuracy}));
    Ok(Reply::new("train", dtype, text(run, config)?)
        .with("seed", seed)
        .with("parameters", t.params().len())
        .with("steps", t.done())
        .with("epochs", t.done() as f64 / t.steps_per_epoch() as f64)
        .with("train", scores(training).unwrap_or(Value::Null))
        .with("validation", scores(validation).unwrap_or(Value::Null))
        .with("skipped", t.skipped())
        .with("resumed_from", run.resumed_from())
        .with("train_seconds", run.seconds())
        .with("checkpoint", run.checkpoint().display().to_string())
        .with("history", run.history().display().to_string())
        .with("model", run.folder().display().to_string()))
}

fn text<T: Scalar>(run: &Run<T>, config: &RunConfig) -> Result<String, Error> {
    let t = run.trainer();
    let held_out = match t.validation_len() {
        0 => String::new(),
        n => format!(", {} for validation", count(n as u64)),
    };
    let mut out = format!(
        "{}: {} parameters, {} data in batches of {}{held_out}\n",
        config.name,
        count(t.params().len() as u64),
        count(t.train_len() as u64),
        t.settings().batch_size,
    );
    if let Some(step) = run.resumed_from() {
        out += &format!("resumed at step {step}\n");
    }
    out += "\n";
    let (training, validation) = run.scores();
    let rows: Vec<Vec<String>> = [("training", training), ("validation", validation)]
        .into_iter()
        .filter_map(|(name, s)| Some((name, s?)))
        .map(|(name, s)| {
            let accuracy = s.accuracy.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a));
            vec![name.into(), format!("{:.6}", s.loss), accuracy]
        })
        .collect();
    out += &table(&[("data", Side::Left), ("loss", Side::Right), ("accuracy", Side::Right)], &rows);
    let losses: Vec<f64> = read_history(run.history())?.iter().map(|r| r.loss).collect();
    out += &format!("\nloss        {}\n", sparkline(&losses, 60));
    let steps = t.done();
    out += &format!(
        "steps       {} ({:.1} epochs) in {}, {:.3} ms each\n",
        count(steps),
        steps as f64 / t.steps_per_epoch() as f64,
        span(run.seconds()),
        1e3 * run.seconds() / steps.max(1) as f64,
    );
    if t.skipped() > 0 {
        out += &format!("left out    {} steps, see the events of the history\n", count(t.skipped()));
    }
    out += &format!("history     {}\n", run.history().display());
    out += &format!("checkpoint  {}\n", run.checkpoint().display());
    out += &format!("model       {}\n", run.folder().display());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_in_the_help_works() {
        let command = Train::augment_args(clap::Command::new("train"));
        let help = command.get_after_help().unwrap().to_string();
        let (_, from) = help.split_once("the smallest one that works:\n").unwrap();
        let (text, _) = from.split_once("\n\n").unwrap();
        let mut trainer = RunConfig::parse(text, "run.toml").unwrap().trainer::<f32>(0, numerics::Par::Seq).unwrap();
        assert_eq!(trainer.steps(), 20 * 24);
        assert!(trainer.step().unwrap().loss.is_finite());
    }
}
