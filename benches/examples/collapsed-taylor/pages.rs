//! The tables: slopes of time and of memory, beside the paper's and what the numbers of vectors say.

use crate::Settings;
use crate::measure::{Figures, Series};
use crate::paper::Slope;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Where collapsed / standard is to lie, for derivatives of order 2 and 4.
const STANDARD: [RangeInclusive<f64>; 2] = [0.45..=0.60, 0.68..=0.85];
/// Where collapsed / nested is to lie.
const NESTED: RangeInclusive<f64> = 0.0..=0.55;
/// Where direct / interpolated is to lie, both collapsed.
const DIRECT: RangeInclusive<f64> = 0.0..=0.35;
/// Where the memory with a gradient of collapsed / standard is to lie.
const MEMORY: RangeInclusive<f64> = 0.40..=0.60;

/// `0.51`, in bold where it leaves its range.
fn judged(x: f64, range: &RangeInclusive<f64>) -> String {
    if range.contains(&x) { format!("{x:.2}") } else { format!("**{x:.2}**") }
}

/// `0.45 to 0.60`, or `at most 0.55`.
fn shown(range: &RangeInclusive<f64>) -> String {
    let (low, high) = (*range.start(), *range.end());
    if low > 0.0 { format!("{low:.2} to {high:.2}") } else { format!("at most {high:.2}") }
}

fn range(figures: &Figures) -> &'static RangeInclusive<f64> {
    if figures.row.order() == 4 { &STANDARD[1] } else { &STANDARD[0] }
}

/// Collapsed / standard by what grows: vectors of an exact operator at a point, vectors of one sample more.
fn by_vectors(figures: &Figures, [standard, fast]: [&Series; 2]) -> f64 {
    if figures.row.sampled() {
        let order = figures.row.order() as f64;
        return (order - 1.0) / order;
    }
    fast.vectors as f64 / standard.vectors as f64
}

/// Nested, standard, and each of the routes that are compared with them.
fn compared(figures: &Figures) -> Option<(&Series, &Series, Vec<&Series>)> {
    let fast = ["collapsed", "direct"].iter().filter_map(|name| figures.of(name)).collect();
    Some((figures.of("nested")?, figures.of("standard")?, fast))
}

fn title(figures: &Figures, fast: &Series) -> String {
    match (figures.row.order(), figures.row.sampled(), fast.name) {
        (4, false, "collapsed") => format!("{}, interpolated", figures.row.name),
        (4, false, name) => format!("{}, {name}", figures.row.name),
        _ => figures.row.name.to_owned(),
    }
}

/// The paper's quotients by collapsed Taylor mode; it has no direct scheme.
fn papers(figures: &Figures, fast: &Series, of: impl Fn(Slope) -> f64) -> [String; 2] {
    let [nested, standard, collapsed] = figures.row.paper.map(of);
    match fast.name {
        "collapsed" => [collapsed / standard, collapsed / nested].map(|x| format!("{x:.2}")),
        _ => ["-".into(), "-".into()],
    }
}

/// Milliseconds for one point or sample more, and their quotients.
pub(crate) fn slopes(found: &[Figures], s: &Settings) -> String {
    let clock = if s.processor { "seconds on a processor" } else { "seconds of the clock" };
    let threads = if s.threads == 1 { "one thread".to_owned() } else { format!("{} threads", s.threads) };
    let mut out = format!(
        "Milliseconds per point, and per sample at {} points; least of {} rounds, {clock}, {threads}. Accepted: collapsed / standard {} \
         (order 2) and {} (order 4), collapsed / nested {}; what leaves its range is in bold.\n\n",
        crate::rows::POINTS,
        s.rounds,
        shown(&STANDARD[0]),
        shown(&STANDARD[1]),
        shown(&NESTED),
    );
    out += "| operator | nested | standard | collapsed | least R^2 | collapsed / standard | by vectors | paper | collapsed / nested | paper |\n";
    out += &format!("|{}\n", "---|".repeat(10));
    let mut notes = String::new();
    for figures in found {
        let Some((nested, standard, all)) = compared(figures) else { continue };
        let times = [nested, standard].map(Series::time);
        for &fast in &all {
            let (time, [over_standard, over_nested]) = (fast.time(), papers(figures, fast, |x| x.ms));
            let ms = |x: f64| format!("{:.3}", 1e3 * x);
            let [a, b] = [times[1].slope, times[0].slope].map(|other| time.slope / other);
            // The direct scheme moves along no directions; the ranges are meant for those that do.
            let a = if fast.name == "direct" { format!("{a:.2}") } else { judged(a, range(figures)) };
            let r2 = times.iter().chain([&time]).fold(1.0f64, |m, line| m.min(line.r2));
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {r2:.4} | {a} | {:.2} | {over_standard} | {} | {over_nested} |",
                title(figures, fast),
                ms(times[0].slope),
                ms(times[1].slope),
                ms(time.slope),
                by_vectors(figures, [standard, fast]),
                judged(b, &NESTED),
            );
            if fast.name == "direct" {
                let share = fast.time().slope / all[0].time().slope;
                let _ = writeln!(
                    notes,
                    "\nThe direct biharmonic takes {} of the interpolated one's time, both collapsed (accepted: {}).",
                    judged(share, &DIRECT),
                    shown(&DIRECT)
                );
            }
        }
    }
    out + &notes
}

/// MiB for one point or sample more, and their quotients.
pub(crate) fn memory(found: &[Figures]) -> String {
    let mut out = format!(
        "MiB per point, and per sample at {} points, of programs that take all points at once, without inputs and outputs; the parameter \
         gradient is that of half the sum of squares. Accepted with gradient: collapsed / standard {}.\n\n",
        crate::rows::POINTS,
        shown(&MEMORY),
    );
    out += "| operator | values: nested | standard | collapsed | collapsed / standard | paper | with gradient: nested | standard | collapsed | collapsed / standard | paper |\n";
    out += &format!("|{}\n", "---|".repeat(11));
    for figures in found {
        let Some((nested, standard, all)) = compared(figures) else { continue };
        for fast in all {
            let _ = write!(out, "| {} |", title(figures, fast));
            for (gradient, of) in [(false, (|x| x.values) as fn(Slope) -> f64), (true, |x| x.with_gradient)] {
                let slope =
                    |s: &Series| if gradient { s.gradient_memory() } else { s.memory() }.slope / f64::from(1 << 20);
                let [a, b, c] = [nested, standard, fast].map(slope);
                let meant = gradient && fast.name == "collapsed";
                let ratio = if meant { judged(c / b, &MEMORY) } else { format!("{:.2}", c / b) };
                let _ = write!(out, " {a:.2} | {b:.2} | {c:.2} | {ratio} | {} |", papers(figures, fast, of)[0]);
            }
            out.push('\n');
        }
    }
    out
}
