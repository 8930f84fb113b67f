//! Tables in Markdown from the results, put into the pages between their markers, and compared with the values that are known.

use crate::jobs::{Failure, Table};
use crate::report::{fill, quartiles};
use crate::settings::OVER_SOURCES;
use std::collections::BTreeMap;
use std::path::Path;

/// Known medians with the share that a reproduction may be off: table, case, name, value, share.
const KNOWN: [(&str, &str, &str, f64, f64); 34] = [
    ("quadratic", "KL", "loss", 0.00766, 0.25),
    ("quadratic", "SQ", "loss", 0.00753, 0.25),
    ("quadratic", "VN", "loss", 0.00860, 0.25),
    ("quadratic", "F", "loss", 0.0370, 0.25),
    ("matrices", "log-det, n 20, condition 1e2, step 0.1 | pairwise rule", "steps", 69.0, 0.1),
    ("matrices", "log-det, n 20, condition 1e2, step 0.25 | pairwise rule", "steps", 27.0, 0.1),
    ("matrices", "log-det, n 60, condition 1e4, step 0.1 | pairwise rule", "steps", 92.0, 0.1),
    ("matrices", "log-det, n 60, condition 1e4, step 0.25 | pairwise rule", "steps", 39.0, 0.1),
    ("matrices", "nearness, n 20, condition 1e2, step 0.01 | pairwise rule", "steps", 1380.0, 0.1),
    ("matrices", "log-det, n 20, condition 1e2, step 0.1 | exact affine-invariant", "steps", 63.0, 0.1),
    ("matrices", "log-det, n 20, condition 1e2, step 0.25 | exact affine-invariant", "steps", 22.0, 0.1),
    ("matrices", "log-det, n 60, condition 1e4, step 0.1 | exact affine-invariant", "steps", 76.0, 0.1),
    ("matrices", "log-det, n 60, condition 1e4, step 0.25 | exact affine-invariant", "steps", 27.0, 0.1),
    ("matrices", "nearness, n 20, condition 1e2, step 0.01 | exact affine-invariant", "steps", 1161.0, 0.1),
    ("search", "sphere, D 10 | pairwise rule", "evaluations", 5760.0, 0.15),
    ("search", "sphere, D 20 | pairwise rule", "evaluations", 24348.0, 0.15),
    ("search", "ellipsoid, rotated, D 10 | pairwise rule", "evaluations", 9160.0, 0.15),
    ("search", "ellipsoid, rotated, D 20 | pairwise rule", "evaluations", 37788.0, 0.15),
    ("search", "Rosenbrock, D 10 | pairwise rule", "evaluations", 10810.0, 0.15),
    ("search", "Rosenbrock, D 20 | pairwise rule", "evaluations", 48216.0, 0.15),
    ("search", "cigar, rotated, D 10 | pairwise rule", "evaluations", 10000.0, 0.15),
    ("search", "cigar, rotated, D 20 | pairwise rule", "evaluations", 40716.0, 0.15),
    ("search", "Ackley, D 10 | pairwise rule", "evaluations", 11450.0, 0.15),
    ("search", "Ackley, D 20 | pairwise rule", "evaluations", 46404.0, 0.15),
    ("search", "sphere, D 10 | xNES", "evaluations", 6150.0, 0.15),
    ("search", "sphere, D 20 | xNES", "evaluations", 26376.0, 0.15),
    ("search", "ellipsoid, rotated, D 20 | xNES", "evaluations", 37200.0, 0.15),
    ("search", "Rosenbrock, D 20 | xNES", "evaluations", 45216.0, 0.15),
    ("search", "cigar, rotated, D 20 | xNES", "evaluations", 43440.0, 0.15),
    ("search", "sphere, D 20 | CMA-ES", "evaluations", 2772.0, 0.15),
    ("search", "ellipsoid, rotated, D 20 | CMA-ES", "evaluations", 18288.0, 0.15),
    ("search", "Rosenbrock, D 20 | CMA-ES", "evaluations", 20316.0, 0.15),
    ("search", "cigar, rotated, D 20 | CMA-ES", "evaluations", 8472.0, 0.15),
    ("search", "Ackley, D 20 | CMA-ES", "evaluations", 5136.0, 0.15),
];

fn digits(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 0.1 => format!("{x:.3}"),
        0.0 => "0".into(),
        a if a >= 1e-3 => format!("{x:.5}"),
        _ => format!("{x:.1e}"),
    }
}

/// `median [quartiles]`, with how many arrived if not all did.
fn cell(values: Option<&Vec<Option<f64>>>) -> String {
    let Some(values) = values else { return "-".into() };
    let found: Vec<f64> = values.iter().flatten().copied().collect();
    let share = if found.len() < values.len() { format!(" ({}/{})", found.len(), values.len()) } else { String::new() };
    match quartiles(found) {
        None => format!("none{share}"),
        Some([a, b, c]) if values.len() == 1 || a == c => format!("{}{share}", digits(b)),
        Some([a, b, c]) => format!("{} [{}, {}]{share}", digits(b), digits(a), digits(c)),
    }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn head(cells: &[String]) -> String {
    row(cells.iter().cloned()) + &row(cells.iter().map(|_| "---".into()))
}

/// Cases down, names across.
fn plain(table: &Table, cases: &[&str]) -> String {
    let cases: Vec<&&str> = cases.iter().filter(|c| table.contains_key(**c)).collect();
    let Some(names) = cases.first().and_then(|c| table.get(**c)) else { return String::new() };
    let names: Vec<String> = names.keys().cloned().collect();
    let mut text = head(&[vec![String::new()], names.clone()].concat());
    for case in cases {
        text += &row([case.replace(" | ", ", ")].into_iter().chain(names.iter().map(|n| cell(table[*case].get(n)))));
    }
    text
}

/// Cases `ROW | COLUMN`, one name.
fn crossed(table: &Table, name: &str) -> String {
    let parts = |case: &String| case.split_once(" | ").map(|(a, b)| (a.to_owned(), b.to_owned()));
    let keys: Vec<(String, String)> = table.keys().filter_map(parts).collect();
    let unique = |all: Vec<String>| {
        all.into_iter().fold(Vec::new(), |mut seen: Vec<String>, x| {
            if !seen.contains(&x) {
                seen.push(x);
            }
            seen
        })
    };
    let rows = unique(keys.iter().map(|k| k.0.clone()).collect());
    let columns = unique(keys.iter().map(|k| k.1.clone()).collect());
    let mut text = head(&[vec![String::new()], columns.clone()].concat());
    for r in &rows {
        let found = columns.iter().map(|c| cell(table.get(&format!("{r} | {c}")).and_then(|t| t.get(name))));
        text += &row([r.clone()].into_iter().chain(found));
    }
    text
}

/// Methods by their median over the seeds that had no part in choosing the setting.
fn by_median(table: &Table) -> String {
    let mut rows: Vec<(f64, String)> = Vec::new();
    for (case, values) in table {
        let of = |name: &str| values.get(name).into_iter().flatten().copied();
        let seeds: Vec<Option<f64>> = (1..=5).flat_map(|k| of(&format!("seed {k}"))).collect();
        let median = quartiles(seeds.iter().flatten().copied().collect()).map_or(f64::INFINITY, |q| q[1]);
        let rate = of("rate").flatten().next().map_or("-".into(), |r| format!("{r:.4}"));
        rows.push((median, row([case.clone(), rate, cell(Some(&seeds)), cell(values.get("diverged"))])));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let names = ["method", "rate", "nats above the source", "settings that diverged"];
    head(&names.map(String::from)) + &rows.into_iter().map(|r| r.1).collect::<String>()
}

/// How many known values are met, and which are not.
fn against_known(results: &BTreeMap<String, Table>, wanted: &str) -> String {
    let (mut met, mut count, mut missed) = (0, 0, String::new());
    for (table, case, name, value, share) in KNOWN.iter().filter(|k| k.0 == wanted) {
        let Some(found) = results.get(*table).and_then(|t| t.get(*case)?.get(*name)) else { continue };
        let Some([_, median, _]) = quartiles(found.iter().flatten().copied().collect()) else { continue };
        count += 1;
        if (median / value - 1.0).abs() <= *share {
            met += 1;
        } else {
            missed += &format!(" Outside: {case}, {} where {} is known.", digits(median), digits(*value));
        }
    }
    if count == 0 { String::new() } else { format!("\n{met} of {count} known values met.{missed}\n") }
}

/// All tables that there are results for, by marker; `compared` with what is known.
pub(crate) fn tables(results: &BTreeMap<String, Table>, compared: bool) -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    let known = |name: &str| if compared { against_known(results, name) } else { String::new() };
    let members = ["KL", "SQ", "VN", "F"];
    if let Some(t) = results.get("fits") {
        all.insert("fits", plain(t, &members));
        all.insert("spectra", plain(t, &["KL spectrum", "SQ spectrum", "VN spectrum", "F spectrum"]));
    }
    if let Some(t) = results.get("quadratic") {
        all.insert("quadratic", plain(t, &members) + &known("quadratic"));
    }
    if let Some(t) = results.get("matrices") {
        all.insert("matrices", crossed(t, "steps") + &known("matrices"));
        all.insert("matrices-defect", crossed(t, "defect"));
    }
    if let Some(t) = results.get("matrices-sampled") {
        let cases: Vec<&str> = t.keys().map(String::as_str).collect();
        all.insert("matrices-sampled", plain(t, &cases));
    }
    if let Some(t) = results.get("search") {
        all.insert("search", crossed(t, "evaluations") + &known("search"));
    }
    if let Some(t) = results.get("markov-sources") {
        all.insert("markov-sources", plain(t, &OVER_SOURCES));
    }
    for name in ["markov", "markov-ablation"] {
        all.extend(results.get(name).map(|t| (name, by_median(t))));
    }
    all
}

/// Puts the tables into the pages of the papers, in `folder`.
pub(crate) fn write(tables: &BTreeMap<&'static str, String>, folder: &Path) -> Result<(), Failure> {
    for name in ["kl-shampoo.md", "spectral.md"] {
        fill(&folder.join(name), tables.iter().map(|(name, table)| (*name, table)))?;
    }
    Ok(())
}
