//! `osculate train --search`: a random search with progress, and its table and plots at the end.

use super::text::{Side, count, span, table};
use super::{Bar, Context, Error, Reply, interrupt};
use crate::io::write_whole;
use crate::plot::{LineChart, Scale, Stroke};
use crate::train::{Ending, Findings, RunConfig, Search};
use numerics::Scalar;
use numerics::progress::{Observer, Progress};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Settings that the table shows.
const SHOWN: usize = 10;

pub(super) fn run_in<T: Scalar>(config: &RunConfig, resume: bool, context: &Context) -> Result<Reply, Error> {
    let seed = context.given_seed.or(config.seed).unwrap_or(0);
    let folder = context.out.clone().unwrap_or_else(|| config.folder().with_extension("search"));
    let mut search = Search::open(config, &folder, seed, context.par(), resume)?;
    let asked = interrupt::watch();
    let bar = Bar::new(context.quiet);
    let observer = |p: &Progress<'_>| match asked.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => bar.report(p),
    };
    let ending = search.drive::<T>(&observer);
    drop(bar);
    if ending? == Ending::Interrupted {
        let done = search.findings().trials.len();
        return Err(Error::Interrupted(format!(
            "after {done} runs; everything is saved in {}, --resume goes on",
            folder.display()
        )));
    }
    let findings = search.findings();
    let plots = draw(&search, &findings, &folder)?;
    let best = findings.standings.first().filter(|s| s.quartiles.is_some());
    let failures = findings.trials.iter().filter(|t| t.failure.is_some()).count();
    Ok(Reply::new("train", T::DTYPE, text(&findings, &search.results(), &plots))
        .with("seed", seed)
        .with("metric", findings.metric.name())
        .with("runs", findings.trials.len())
        .with("failures", failures)
        .with("resumed_runs", findings.resumed)
        .with("best", best.map_or(Value::Null, |s| json!(s)))
        .with("standings", json!(findings.standings))
        .with("results", search.results().display().to_string())
        .with("plots", plots.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()))
}

/// One chart per value that is a number: the metric of every run over it.
fn draw(search: &Search<'_>, findings: &Findings, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = findings.metric.name();
    let mut files = Vec::new();
    for (key, range) in search.ranges() {
        let decay = key.rsplit('.').next().is_some_and(|k| k.starts_with("beta")) && range.is_logarithmic();
        let x = |v: f64| if decay { 1.0 - v } else { v };
        let point = |t: &crate::train::Trial| Some((x(t.values[key].as_f64()?), *t.metrics.get(name)?));
        let points: Vec<(f64, f64)> = findings.trials.iter().filter_map(point).collect();
        if points.is_empty() {
            continue;
        }
        let scale = if range.is_logarithmic() { Scale::Log } else { Scale::Linear };
        let label = if decay { format!("1 - {key}") } else { key.clone() };
        let y = if findings.metric.is_accuracy() { Scale::Linear } else { Scale::Log };
        let title = format!("{} by {label}", name.replace('_', " "));
        let chart =
            LineChart::new(title).x(label, scale).y(name.replace('_', " "), y).series("runs", points, Stroke::Points);
        let safe: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        let path = folder.join(format!("search-{safe}.svg"));
        write_whole(&path, |w| w.write_all(chart.svg(720.0).as_bytes()))?;
        files.push(path);
    }
    Ok(files)
}

fn text(findings: &Findings, results: &Path, plots: &[PathBuf]) -> String {
    let metric = findings.metric.name().replace('_', " ");
    let keys: Vec<&String> = findings.trials.first().map(|t| t.values.keys().collect()).unwrap_or_default();
    let mut header = vec![("setting", Side::Right), (metric.as_str(), Side::Right), ("quartiles", Side::Left)];
    header.push(("time", Side::Right));
    header.extend(keys.iter().map(|k| (k.as_str(), Side::Right)));
    let row = |s: &crate::train::Standing| {
        let (median, spread) = match s.quartiles {
            Some([a, b, c]) if s.failures == 0 => (format!("{b:.5}"), format!("{a:.5} to {c:.5}")),
            Some([_, b, _]) => (format!("{b:.5}"), format!("{} diverged", s.failures)),
            None => ("-".into(), "diverged".into()),
        };
        let mut cells = vec![s.setting.to_string(), median, spread, span(s.seconds)];
        cells.extend(keys.iter().map(|k| short(&s.values[*k])));
        cells
    };
    let rows: Vec<Vec<String>> = findings.standings.iter().take(SHOWN).map(row).collect();
    let mut out = format!(
        "{} runs of {} settings, best first",
        count(findings.trials.len() as u64),
        count(findings.standings.len() as u64)
    );
    out += if findings.resumed > 0 { ", some from before\n\n" } else { "\n\n" };
    out += &table(&header, &rows);
    out += &format!("\nresults  {}\n", results.display());
    plots.iter().for_each(|p| out += &format!("plot     {}\n", p.display()));
    out
}

fn short(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(x) if x != 0.0 && !(1e-3..1e4).contains(&x.abs()) => format!("{x:.3e}"),
        Some(x) => format!("{x:.4}"),
        None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}
