//! `osculate sketch`: what products with a stored matrix tell about it, with error bars and certificates.
//!
//! The matrix is used by its products alone, whatever its file could give exactly: the verb shows what the estimators
//! do, and counts what they spend.

mod estimates;
mod factors;
mod spectra;

use super::text::prefixed;
use super::timing::{Timed, Times, median};
use super::{Bar, Context, Error, Reply, interrupt};
use crate::io::{self, Array, npy};
use ::sketch::{Settings, Status};
use clap::{Args, ValueEnum};
use linop_core::ops::Dense;
use linop_core::{Op, Props};
use numerics::progress::{Observer, Progress};
use numerics::rng::Law;
use numerics::{DType, Mat, Scalar};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Products that a method spends unless it is told otherwise.
const PRODUCTS: usize = 60;
/// The same for the log-determinant.
const LOGDET_PRODUCTS: usize = 600;
/// Probes of a certificate, on top of the method's own products.
const CERTIFICATE: usize = 10;

#[derive(Args)]
#[command(after_help = "Methods and their estimators, the default first:\n  \
    trace     xtrace hutchinson hutch++ na-hutch++ adaptive-hutch++ nystrom++ xnystrace\n  \
    diagonal  xdiag hutchinson diag++ xnysdiag\n  \
    svd       hmt two-sketch three-sketch gen-nystrom\n  \
    eigh      hmt two-sketch three-sketch gen-nystrom one-sketch\n  \
    nystrom   stable cholesky-only\n  \
    lord      auto joint two-pass low-rank diagonal diagonal-then-low low-then-diagonal\n  \
    density   lanczos log chebyshev\n  \
    logdet    quadrature\n\n\
    --products counts products with the matrix and its transpose together; methods in several passes split them. The \
    certificate of an approximation takes 10 more. With --save PREFIX arrays go to PREFIX.NAME.npy.\n\n\
    Examples:\n  osculate sketch --matrix a.npy --method trace --products 100\n  \
    osculate sketch --matrix a.npy --method diagonal --rtol 0.05 --save d\n  \
    osculate sketch --matrix a.npy --method lord --products 60 --save fit --json\n  \
    osculate sketch --matrix a.npy --method density --save spectrum")]
pub(super) struct Sketch {
    /// The matrix [M, N], .npy of floats; symmetric if it is so to rounding
    #[arg(long, value_name = "A.npy")]
    matrix: PathBuf,
    /// What to find out
    #[arg(long, value_enum)]
    method: Method,
    /// How: see below
    #[arg(long, value_name = "NAME")]
    estimator: Option<String>,
    /// Products to spend [default: 60, logdet 600]
    #[arg(long, value_name = "M", conflicts_with = "rtol")]
    products: Option<usize>,
    /// Go on until three standard errors are within this share of the value, the errors of a diagonal in the mean square, or
    /// the certified Frobenius error of an approximation
    #[arg(long, value_name = "R")]
    rtol: Option<f64>,
    /// Law of the probes: rademacher (signs), gaussian (gauss), sphere or coordinates
    #[arg(long, value_name = "LAW", default_value = "rademacher")]
    law: Law,
    /// xtrace, xnystrace: rescale probes of law sphere or gaussian to their mean length
    #[arg(long)]
    resphere: bool,
    /// svd, eigh, lord: the largest rank of the approximation
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
    /// Timed runs after one that warms up; 0 for that one alone
    #[arg(long, value_name = "R", default_value_t = 0)]
    repeat: usize,
    /// Where arrays go: PREFIX.NAME.npy, and PREFIX.svg for densities
    #[arg(long, value_name = "PREFIX")]
    save: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    Trace,
    Diagonal,
    Svd,
    Eigh,
    Nystrom,
    Lord,
    Density,
    Logdet,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Trace => "trace",
            Method::Diagonal => "diagonal",
            Method::Svd => "svd",
            Method::Eigh => "eigh",
            Method::Nystrom => "nystrom",
            Method::Lord => "lord",
            Method::Density => "density",
            Method::Logdet => "logdet",
        }
    }
}

/// What a method found: fields for programs, lines for people, arrays for files.
#[derive(Default)]
struct Found {
    fields: Vec<(&'static str, Value)>,
    lines: Vec<(&'static str, String)>,
    arrays: Vec<(&'static str, Array)>,
    chart: Option<String>,
    products: (usize, usize),
    status: Option<Status>,
}

impl Found {
    fn new(products: (usize, usize), status: Status) -> Self {
        Found { products, status: Some(status), ..Found::default() }
    }

    fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn line(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.lines.push((name, text.into()));
        self
    }

    fn array(mut self, name: &'static str, array: Array) -> Self {
        self.arrays.push((name, array));
        self
    }

    fn vector(self, name: &'static str, values: &[f64]) -> Self {
        self.array(name, Array::from_slice(values))
    }

    fn matrix(self, name: &'static str, values: &Mat<f64>) -> Self {
        self.array(name, Array::from_mat(values.as_ref()))
    }
}

/// A method under way.
struct Job<'a, T: Scalar> {
    args: &'a Sketch,
    op: Op<T>,
    symmetric: bool,
    settings: Settings<'a>,
}

impl<T: Scalar> Job<'_, T> {
    fn run(&self) -> Result<Found, Error> {
        match self.args.method {
            Method::Trace => self.trace(),
            Method::Diagonal => self.diagonal(),
            Method::Svd => self.svd(),
            Method::Eigh => self.eigh(),
            Method::Nystrom => self.nystrom(),
            Method::Lord => self.lord(),
            Method::Density => self.density(),
            Method::Logdet => self.logdet(),
        }
    }
}

impl Sketch {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        self.check()?;
        match context.dtype.unwrap_or(DType::F64) {
            DType::F64 => self.run_in::<f64>(context),
            DType::F32 => self.run_in::<f32>(context),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if self.rtol.is_some_and(|r| !(r > 0.0 && r.is_finite())) {
            return usage("--rtol: expected a positive number".into());
        }
        if self.rtol.is_some() && self.method == Method::Density {
            return usage("a density has no single error: give --products instead of --rtol".into());
        }
        if self.resphere && self.method != Method::Trace {
            return usage("--resphere belongs to the trace".into());
        }
        if self.rank == Some(0) {
            return usage("--rank 0: expected at least 1".into());
        }
        if self.rank.is_some() && !matches!(self.method, Method::Svd | Method::Eigh | Method::Lord) {
            return usage("--rank belongs to svd, eigh and lord".into());
        }
        Ok(())
    }

    fn run_in<T: Scalar>(&self, context: &Context) -> Result<Reply, Error> {
        let a = read::<T>(&self.matrix)?;
        let (m, n) = (a.nrows(), a.ncols());
        let apart = asymmetry(&a);
        let props = if apart.is_none() { Props::SELF_ADJOINT } else { Props::NONE };
        if let (Some((i, j)), true) = (apart, self.needs_symmetry()) {
            let what = if m != n {
                format!("{m} x {n}: {} needs a square matrix", self.method.name())
            } else {
                format!("entries [{i}, {j}] and [{j}, {i}] differ: {} needs a symmetric matrix", self.what())
            };
            return Err(io::Error::data(&self.matrix.display().to_string(), what).into());
        }
        let times = Times::default();
        let op = Op::new(Timed { inner: Op::new(Dense::with_props(a, props)), times: times.clone() });
        let asked = interrupt::watch();
        let bar = Bar::new(context.quiet);
        let observer = |p: &Progress<'_>| match asked.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => bar.report(p),
        };
        let settings = Settings {
            law: self.law,
            seed: context.seed,
            par: context.par(),
            observer: &observer,
            ..Settings::default()
        };
        let job = Job { args: self, op, symmetric: apart.is_none(), settings };
        let started = Instant::now();
        let found = job.run()?;
        let mut runs = vec![started.elapsed().as_secs_f64()];
        for round in 0..self.repeat {
            let started = Instant::now();
            job.run()?;
            let seconds = started.elapsed().as_secs_f64();
            if round == 0 { runs[0] = seconds } else { runs.push(seconds) }
        }
        drop(bar);
        let files = self.write(&found)?;
        let reply = Reply::new("sketch", T::DTYPE, String::new())
            .with("method", self.method.name())
            .with("law", self.law.name())
            .with("shape", json!([m, n]))
            .with("symmetric", apart.is_none());
        let reply = reply.with("method_seconds", median(runs));
        Ok(self.finish(reply, &found, &files, times.median()))
    }

    fn finish(&self, mut reply: Reply, found: &Found, files: &[String], seconds: Option<f64>) -> Reply {
        let shape = reply.fields["shape"].clone();
        let mut text = format!("{}: {} x {}\n", self.matrix.display(), shape[0], shape[1]);
        // Writing to a String cannot fail, hence the discarded results.
        for (name, line) in &found.lines {
            let _ = writeln!(text, "{name:<15}{line}");
        }
        let (plain, transposed) = found.products;
        let each = seconds.map(|s| format!(", {}s each", prefixed_small(s))).unwrap_or_default();
        let _ = writeln!(text, "{:<15}{plain} + {transposed} transposed{each}", "products");
        for file in files {
            let _ = writeln!(text, "{:<15}{file}", "written");
        }
        for (name, value) in &found.fields {
            reply = reply.with(name, value.clone());
        }
        reply
            .with("products", plain)
            .with("products_transposed", transposed)
            .with("product_seconds", seconds)
            .with("status", found.status.map(Status::name))
            .with("files", files)
            .with_text(text)
    }

    /// Writes the arrays and the chart; returns the names of the files.
    fn write(&self, found: &Found) -> Result<Vec<String>, Error> {
        let Some(prefix) = &self.save else { return Ok(Vec::new()) };
        let path = |name: &str| {
            let mut path = prefix.clone().into_os_string();
            path.push(name);
            PathBuf::from(path)
        };
        let mut files = Vec::new();
        for (name, array) in &found.arrays {
            let path = path(&format!(".{name}.npy"));
            npy::write(&path, array)?;
            files.push(path.display().to_string());
        }
        if let Some(svg) = &found.chart {
            let path = path(".svg");
            io::write_whole(&path, |w| w.write_all(svg.as_bytes()))?;
            files.push(path.display().to_string());
        }
        Ok(files)
    }

    /// Method and estimator, for messages.
    fn what(&self) -> String {
        match &self.estimator {
            Some(estimator) => format!("{} by {estimator}", self.method.name()),
            None => self.method.name().to_owned(),
        }
    }

    fn needs_symmetry(&self) -> bool {
        match self.method {
            Method::Eigh | Method::Nystrom | Method::Density | Method::Logdet => true,
            Method::Trace | Method::Diagonal => {
                matches!(self.estimator.as_deref(), Some("nystrom++" | "xnystrace" | "xnysdiag" | "adaptive-hutch++"))
            }
            Method::Svd | Method::Lord => false,
        }
    }

    /// The estimator that was asked for, of those that there are; the first by default.
    fn choose<E: Copy>(&self, known: &[(&'static str, E)]) -> Result<(&'static str, E), Error> {
        let Some(asked) = &self.estimator else { return Ok(known[0]) };
        known.iter().find(|(name, _)| name == asked).copied().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|k| k.0).collect();
            let (method, names) = (self.method.name(), names.join(", "));
            Error::Usage(format!("--estimator {asked}: {method} has {names}"))
        })
    }

    fn budget(&self) -> usize {
        let default = if self.method == Method::Logdet { LOGDET_PRODUCTS } else { PRODUCTS };
        self.products.unwrap_or(default)
    }
}

/// Seconds with a prefix below one.
fn prefixed_small(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} µ", prefixed(s * 1e6)),
        s if s < 1.0 => format!("{} m", prefixed(s * 1e3)),
        s => format!("{} ", prefixed(s)),
    }
}

/// A matrix of finite floats.
fn read<T: Scalar>(path: &Path) -> Result<Mat<T>, Error> {
    let array = npy::read(path)?;
    let name = path.display().to_string();
    let wrong = |what: String| Error::from(io::Error::data(&name, what));
    let &[_, columns] = array.shape() else {
        return Err(wrong(format!("expected a matrix [M, N], got shape {:?}", array.shape())));
    };
    if let Some(at) = array.first_non_finite() {
        return Err(wrong(format!("entry [{}, {}] is NaN or infinite", at / columns, at % columns)));
    }
    let kind = array.element().name();
    array.columns::<T>().ok_or_else(|| wrong(format!("expected floats, got {kind}")))
}

/// Where a matrix differs most from its transpose, if by more than rounding; for one that is not square, [0, 0].
fn asymmetry<T: Scalar>(a: &Mat<T>) -> Option<(usize, usize)> {
    if a.nrows() != a.ncols() {
        return Some((0, 0));
    }
    let (mut worst, mut at, mut size) = (0.0, None, 0.0f64);
    for j in 0..a.ncols() {
        for i in 0..=j {
            let gap = (a[(i, j)].to_f64() - a[(j, i)].to_f64()).abs();
            size = size.max(a[(i, j)].to_f64().abs());
            if gap > worst {
                (worst, at) = (gap, Some((i, j)));
            }
        }
    }
    let rounding = 64.0 * T::EPS.to_f64();
    at.filter(|_| worst > rounding * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_to_rounding() {
        let mut a = Mat::from_fn(3, 3, |i, j| (i + j) as f64);
        assert_eq!(asymmetry(&a), None);
        a[(0, 2)] += 1e-15;
        assert_eq!(asymmetry(&a), None);
        a[(0, 2)] += 1e-9;
        assert_eq!(asymmetry(&a), Some((0, 2)));
        assert!(asymmetry(&Mat::<f64>::zeros(2, 3)).is_some());
    }

    #[test]
    fn small_times() {
        assert_eq!([2.5e-6, 1.25e-2, 3.0].map(prefixed_small), ["2.50 µ", "12.5 m", "3 "]);
    }
}
