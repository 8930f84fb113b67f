//! `osculate tour`: the main job, a report about the curvature of a network that has just learnt to read digits.

use super::text::span;
use super::{Bar, Context, Error, Reply, interrupt};
use crate::tour::{self, Settings};
use clap::Args;
use numerics::DType;
use numerics::progress::{Observer, Progress};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

const FOLDER: &str = "osculate-tour";

#[derive(Args)]
#[command(after_help = "Writes into the folder of --out [default: osculate-tour]:\n  \
    tour.html    the report, one page that loads nothing else\n  \
    tour.json    every number and picture in it\n  \
    net/         the trained network, for the other verbs\n  \
    digits.npz   the pictures on which its curvature was taken\n\n\
    Ctrl-C stops at the next step; the report then holds the chapters that were finished.\n\n\
    Examples:\n  osculate tour\n  osculate tour --fast --out /tmp/tour\n  \
    osculate curvature --model osculate-tour/net --data osculate-tour/digits.npz --loss cross-entropy --operator hessian --eigs 5")]
pub(super) struct Tour {
    /// A smaller network and less data: within a minute
    #[arg(long)]
    fast: bool,
    /// The least that shows every chapter
    #[arg(long, hide = true, conflicts_with = "fast")]
    tiny: bool,
}

impl Tour {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        if context.dtype == Some(DType::F32) {
            return Err(Error::Usage("the tour compares derivatives to ten digits and runs in f64 only".into()));
        }
        let settings = match (self.fast, self.tiny) {
            (true, _) => Settings::fast(context.seed),
            (_, true) => Settings::tiny(context.seed),
            _ => Settings::full(context.seed),
        };
        let out = context.out.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
        let asked = interrupt::watch();
        let bar = Bar::new(context.quiet);
        let observer = |p: &Progress<'_>| match asked.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => bar.report(p),
        };
        let done = tour::run(&settings, &out, context.par(), &observer);
        drop(bar);
        let done = done.map_err(|e| match e {
            tour::Error::Numerics(numerics::Error::Interrupted) => {
                Error::Interrupted(format!("the chapters that were finished are in {}", out.display()))
            }
            e => e.into(),
        })?;
        let chapters = tour::summary(&done.findings)?;
        let listed: Vec<Value> = chapters
            .iter()
            .enumerate()
            .map(|(i, (title, lines))| {
                let own = &done.findings["chapters"][i];
                json!({"name": own["name"], "title": title, "seconds": own["seconds"], "summary": lines})
            })
            .collect();
        Ok(Reply::new("tour", DType::F64, text(&done, &chapters))
            .with("settings", json!(settings))
            .with("chapters", listed)
            .with("report", done.html.display().to_string())
            .with("findings", done.json.display().to_string())
            .with("net", done.net.display().to_string())
            .with("data", done.data.display().to_string()))
    }
}

fn text(done: &tour::Outcome, chapters: &[(String, Vec<String>)]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, hence the discarded results.
    for (i, (title, lines)) in chapters.iter().enumerate() {
        let seconds = done.findings["chapters"][i]["seconds"].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(out, "{}  {title}  ({})", i + 1, span(seconds));
        for line in lines {
            let _ = writeln!(out, "   {line}");
        }
    }
    let _ = writeln!(
        out,
        "\nThe trained network and its data are ready for the other verbs:\n   \
         osculate curvature --model {} --data {} --loss cross-entropy --operator hessian --eigs 5\n\n\
         numbers  {}\nreport   {}",
        done.net.display(),
        done.data.display(),
        done.json.display(),
        done.html.display()
    );
    out
}
