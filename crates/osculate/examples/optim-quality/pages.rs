//! Tables and charts from the results.

use crate::methods::{ALL, Method};
use crate::report::{fill, quartiles};
use crate::results::{Line, Results, Stage};
use crate::tasks::Task;
use crate::{Failure, MEASURE};
use osculate::plot::{LineChart, Scale, Stroke};
use std::fmt::Write;
use std::path::Path;

/// Methods whose curves are drawn.
const DRAWN: [&str; 6] = ["AdamW", "Muon", "Shampoo, Adam graft", "SOAP", "KL-Shampoo", "spectral"];

fn losses(results: &Results, task: &Task, method: &Method, stage: Stage) -> Option<[f64; 3]> {
    quartiles(results.of(task.name, method.name, stage).filter_map(Line::loss).map(|l| task.score(l)).collect())
}

fn cell(quartiles: Option<[f64; 3]>) -> String {
    quartiles.map_or("-".into(), |[a, b, c]| format!("{b:.3} [{a:.3}, {c:.3}]"))
}

/// `lr 0.0100, beta1 0.95`: what the search chose.
fn setting(line: &Line) -> String {
    let short = |key: &str| key.trim_start_matches("optimizer.").replace('_', " ");
    let number = |x: f64| if x < 1e-2 { format!("{x:.1e}") } else { format!("{x:.3}") };
    line.values.iter().map(|(k, &v)| format!("{} {}", short(k), number(v))).collect::<Vec<_>>().join(", ")
}

fn table(results: &Results, task: &Task) -> Result<String, Failure> {
    let mut rows: Vec<(f64, String)> = Vec::new();
    for method in &ALL {
        let Some(first) = results.of(task.name, method.name, Stage::Steps).next() else { continue };
        let equal = losses(results, task, method, Stage::Steps);
        let timed = results.of(task.name, method.name, Stage::Time).next();
        let ms = results.step_time(task.name, method.name).map_or("-".into(), |t| format!("{:.2}", 1e3 * t));
        let lost = results.of(task.name, method.name, Stage::Search).filter(|l| l.curve.is_none()).count();
        let mut row = format!("| {} | {} |", method.name, cell(equal));
        write!(row, " {ms} | {} |", timed.map_or("-".into(), |l| l.steps.to_string()))?;
        write!(row, " {} | {lost} | {} |", cell(losses(results, task, method, Stage::Time)), setting(first))?;
        rows.push((equal.map_or(f64::INFINITY, |q| q[1]), row));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = format!(
        "| method | {}, {} steps | ms per step | steps in {MEASURE}'s time | {} then | diverged | chosen |\n",
        task.unit(),
        task.steps,
        task.unit()
    );
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    rows.iter().for_each(|(_, row)| text += &format!("{row}\n"));
    Ok(text)
}

/// One table a task, by the marker in the page.
pub(crate) fn tables(results: &Results, tasks: &[Task]) -> Result<Vec<(String, String)>, Failure> {
    tasks.iter().map(|t| Ok((format!("quality-{}", t.name), table(results, t)?))).collect()
}

/// Puts the tables into their page.
pub(crate) fn write(tables: &[(String, String)], page: &Path) -> Result<(), Failure> {
    Ok(fill(page, tables.iter().map(|(name, table)| (name.as_str(), table)))?)
}

/// Median curves over steps and over time, one chart each.
pub(crate) fn draw(results: &Results, tasks: &[Task], folder: &Path) -> Result<(), Failure> {
    for task in tasks {
        for (by, column, label) in [("steps", 0, "step"), ("time", 1, "seconds of one thread")] {
            let title = format!("{}: validation loss", task.name);
            let mut chart = LineChart::new(title).x(label, Scale::Linear).y(task.unit(), Scale::Log);
            for method in ALL.iter().filter(|m| DRAWN.contains(&m.name)) {
                let curves: Vec<_> =
                    results.of(task.name, method.name, Stage::Steps).filter_map(|l| l.curve.clone()).collect();
                let points = curves.iter().map(Vec::len).min().unwrap_or(0);
                let median = |k: usize, of: usize| {
                    quartiles(curves.iter().map(|c| c[k][of]).collect()).map_or(f64::NAN, |q| q[1])
                };
                let line: Vec<(f64, f64)> =
                    (0..points).map(|k| (median(k, column), task.score(median(k, 2)))).collect();
                if !line.is_empty() {
                    chart = chart.series(method.name, line, Stroke::Line);
                }
            }
            let path = folder.join(format!("optim-quality-{}-{by}.svg", task.name));
            std::fs::write(&path, chart.svg(720.0))?;
            println!("written: {}", path.display());
        }
    }
    Ok(())
}
