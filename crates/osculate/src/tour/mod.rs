//! The tour: one run that trains a small network on real data and looks at its curvature, as a report to be read.
//!
//! Each chapter computes *findings*, plain data that serialise, and renders itself from them alone. The report is
//! therefore a pure function of the JSON file beside it ([`html`]), and every number and picture in it can be checked
//! there. After each chapter both files are written whole, so an interrupted tour leaves a readable shorter one.
//! Same settings and seed, same findings to the last bit, on any number of threads; only what stands under `seconds`
//! and `timing` differs from run to run.
//!
//! A new chapter is one file that implements `Chapter` and one line in `CHAPTERS`.

mod chapter;
mod contact;
mod digits;
mod fit;
mod laplacian;
mod layers;
mod matrices;
mod optimisers;
mod settings;
mod spectrum;
mod structure;
mod study;
#[cfg(test)]
mod tests;
mod training;
mod words;

pub use settings::Settings;

use crate::io::write_whole;
use crate::plot::Report;
use chapter::{Entry, entry};
use numerics::Par;
use numerics::progress::Observer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use study::Study;

/// The chapters in order; a chapter may use what earlier ones left in the study.
const CHAPTERS: [Entry; 9] = [
    entry::<digits::Digits>(),
    entry::<training::Training>(),
    entry::<spectrum::Spectrum>(),
    entry::<matrices::Matrices>(),
    entry::<contact::Contact>(),
    entry::<layers::Layers>(),
    entry::<structure::Structure>(),
    entry::<laplacian::Laplacian>(),
    entry::<optimisers::Optimisers>(),
];

/// Why a tour did not reach its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings do not fit the data or each other.
    #[error("tour settings: {0}")]
    Settings(String),
    /// A chapter needs what another one computes.
    #[error("tour: {needed} is missing; it belongs to an earlier chapter")]
    Order {
        /// What is missing.
        needed: &'static str,
    },
    /// Findings that this version cannot read.
    #[error("findings of {chapter:?}: {what}")]
    Findings {
        /// The chapter.
        chapter: String,
        /// What is wrong with them.
        what: String,
    },
    /// Data or output files.
    #[error(transparent)]
    File(#[from] crate::io::Error),
    /// The network.
    #[error(transparent)]
    Model(#[from] autodiff::nn::ModelError),
    /// A traced program.
    #[error(transparent)]
    Program(#[from] autodiff::Error),
    /// A curvature matrix.
    #[error(transparent)]
    Curvature(#[from] curvature::Error),
    /// An eigenvalue search or a product.
    #[error(transparent)]
    Operator(#[from] linop_core::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// An estimate from products.
    #[error(transparent)]
    Sketch(::sketch::Error),
    /// A decomposition, or an observer that asked to stop.
    #[error(transparent)]
    Numerics(#[from] numerics::Error),
}

impl From<::sketch::Error> for Error {
    fn from(error: ::sketch::Error) -> Self {
        match error {
            ::sketch::Error::Interrupted { .. } => Error::Numerics(numerics::Error::Interrupted),
            other => Error::Sketch(other),
        }
    }
}

/// What a tour leaves behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every number of the report.
    pub findings: Value,
    /// The report.
    pub html: PathBuf,
    /// The findings as a file.
    pub json: PathBuf,
    /// The trained network as a model directory.
    pub net: PathBuf,
    /// The data that its curvature was taken on.
    pub data: PathBuf,
}

/// Runs the tour and writes `tour.html`, `tour.json`, the trained network `net/` and its data `digits.npz` into `out`.
///
/// ```
/// use osculate::tour::{self, Settings};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path();
/// let done = tour::run(&Settings::tiny(0), out, numerics::Par::Seq, &numerics::progress::Silent)?;
/// assert_eq!(tour::html(&done.findings)?, std::fs::read_to_string(done.html).unwrap());
/// # Ok::<(), tour::Error>(())
/// ```
///
/// # Errors
/// Settings that make no sense, files that cannot be written, and whatever a computation reports; an observer that
/// breaks stops the tour, with the finished chapters in the files.
pub fn run(settings: &Settings, out: &Path, par: Par, observer: &dyn Observer) -> Result<Outcome, Error> {
    let started = Instant::now();
    let mut study = Study::new(settings.clone(), par, observer)?;
    std::fs::create_dir_all(out)
        .map_err(|e| crate::io::Error::Io { path: out.display().to_string(), what: e.to_string() })?;
    let outcome = |findings| Outcome {
        findings,
        html: out.join("tour.html"),
        json: out.join("tour.json"),
        net: out.join("net"),
        data: out.join("digits.npz"),
    };
    let mut chapters: Vec<Value> = Vec::new();
    for entry in &CHAPTERS {
        let begun = Instant::now();
        let findings = (entry.compute)(&mut study)?;
        let seconds = begun.elapsed().as_secs_f64();
        chapters.push(json!({"name": entry.name, "title": entry.title, "seconds": seconds, "findings": findings}));
        let so_far = outcome(json!({
            "title": "A tour of curvature",
            "version": env!("CARGO_PKG_VERSION"),
            "settings": settings,
            "threads": par.degree(),
            "seconds": started.elapsed().as_secs_f64(),
            "of_chapters": CHAPTERS.len(),
            "chapters": chapters,
        }));
        write(&so_far)?;
        if chapters.len() == CHAPTERS.len() {
            study.save(&so_far.net, &so_far.data)?;
            return Ok(so_far);
        }
    }
    Err(Error::Order { needed: "the last chapter" })
}

fn write(outcome: &Outcome) -> Result<(), Error> {
    let text = format!("{}\n", outcome.findings);
    write_whole(&outcome.json, |w| w.write_all(text.as_bytes()))?;
    let page = html(&outcome.findings)?;
    write_whole(&outcome.html, |w| w.write_all(page.as_bytes()))?;
    Ok(())
}

/// The report as one self-contained page, from the findings alone.
///
/// # Errors
/// Findings without chapters, or of a chapter that this version does not know or cannot read.
pub fn html(findings: &Value) -> Result<String, Error> {
    Ok(report(findings)?.html())
}

/// What a chapter's findings come to, a few lines for a terminal: title, then the lines.
///
/// # Errors
/// As for [`html`].
pub fn summary(findings: &Value) -> Result<Vec<(String, Vec<String>)>, Error> {
    each(findings, |entry, own| Ok((entry.title.to_owned(), (entry.summary)(own)?)))
}

fn report(findings: &Value) -> Result<Report, Error> {
    let (parts, of) = (chapters(findings)?.len(), findings["of_chapters"].as_u64().unwrap_or(0));
    let mut report = Report::new(
        findings["title"].as_str().unwrap_or_default(),
        "A small network learns to read handwritten digits. Then we look at the shape of the valley it came to rest in: \
         how sharply the loss bends, in which directions, and how far a parabola tells the truth about it.",
    );
    report.section("In short").cards(each(findings, |entry, own| (entry.headline)(own))?);
    each(findings, |entry, own| (entry.render)(own, report.section(entry.title)))?;
    let (seed, version) = (&findings["settings"]["seed"], findings["version"].as_str().unwrap_or_default());
    let seconds = findings["seconds"].as_f64().unwrap_or(f64::NAN);
    let unfinished = if (parts as u64) < of {
        format!(" The tour was stopped after {parts} of {of} chapters.")
    } else {
        String::new()
    };
    report.footer(format!(
        "Osculate {version}, seed {seed}, {seconds:.0} s in all. Every number and picture on this page comes from \
         `tour.json` beside it.{unfinished}"
    ));
    Ok(report)
}

fn chapters(findings: &Value) -> Result<&Vec<Value>, Error> {
    let none = || Error::Findings { chapter: "tour".into(), what: "no list of chapters".into() };
    findings["chapters"].as_array().ok_or_else(none)
}

/// Calls `f` with every chapter of the findings and what it found.
fn each<R>(findings: &Value, mut f: impl FnMut(&Entry, &Value) -> Result<R, Error>) -> Result<Vec<R>, Error> {
    chapters(findings)?
        .iter()
        .map(|c| {
            let name = c["name"].as_str().unwrap_or_default();
            let unknown = || Error::Findings { chapter: name.into(), what: "this version has no such chapter".into() };
            let entry = CHAPTERS.iter().find(|e| e.name == name).ok_or_else(unknown)?;
            f(entry, &c["findings"])
        })
        .collect()
}
