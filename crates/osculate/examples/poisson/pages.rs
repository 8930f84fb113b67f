//! The table and the curves of `docs/papers/collapsed-taylor.md`.

use crate::report::quartiles;
use crate::runs::{Budget, METHODS, State};
use osculate::plot::{LineChart, Scale, Stroke};
use std::fmt::Write as _;

/// Points of a curve.
const PLACES: usize = 160;
/// The earliest time that is drawn.
const FIRST: f64 = 0.02;

/// The runs of one method, one a seed.
pub(crate) type Runs = Vec<Vec<State>>;

/// The last state that fits, of every seed.
fn reached(runs: &Runs, fits: impl Fn(&State) -> bool) -> Vec<State> {
    runs.iter().filter_map(|run| run.iter().take_while(|s| fits(s)).last().copied()).collect()
}

fn cell(states: &[State], of: impl Fn(&State) -> f64) -> String {
    let quartiles = quartiles(states.iter().map(of).collect());
    quartiles.map_or("-".into(), |[a, b, c]| format!("{b:.1e} [{a:.1e}, {c:.1e}]"))
}

/// Medians with quartiles over the seeds, after the steps and after the seconds of the budget.
pub(crate) fn table(all: &[Runs; 2], budgets: [Budget; 2]) -> String {
    let seconds = budgets[0].seconds;
    let mut out = format!(
        "| method | steps | loss | RMSE | steps in {seconds} s | loss then | RMSE then |\n|{}\n",
        "---|".repeat(7)
    );
    for ((name, runs), budget) in METHODS.iter().zip(all).zip(budgets) {
        let (steps, timed) = (reached(runs, |s| s.step <= budget.steps), reached(runs, |s| s.seconds <= seconds));
        let median = quartiles(timed.iter().map(|s| s.step as f64).collect()).map_or(f64::NAN, |q| q[1]);
        let _ =
            write!(out, "| {name} | {} | {} | {} |", budget.steps, cell(&steps, |s| s.loss), cell(&steps, |s| s.rmse));
        let _ = writeln!(out, " {median:.0} | {} | {} |", cell(&timed, |s| s.loss), cell(&timed, |s| s.rmse));
    }
    out
}

/// Medians over the seeds against seconds.
pub(crate) fn chart(all: &[Runs; 2], title: &str, label: &str, seconds: f64, of: impl Fn(&State) -> f64) -> String {
    let mut chart = LineChart::new(title).x("seconds of one thread", Scale::Log).y(label, Scale::Log);
    for (name, runs) in METHODS.iter().zip(all) {
        let place = |k: usize| FIRST * (seconds / FIRST).powf(k as f64 / (PLACES - 1) as f64);
        let at =
            |t: f64| quartiles(reached(runs, |s| s.seconds <= t).iter().map(&of).collect()).map_or(f64::NAN, |q| q[1]);
        chart = chart.series(*name, (0..PLACES).map(|k| (place(k), at(place(k)))), Stroke::Line);
    }
    chart.svg(720.0)
}
