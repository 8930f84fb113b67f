//! `osculate pde`: differential operators of a model in its input, by Taylor mode (arXiv:2505.13644).

mod job;
mod points;
mod samples;

use self::job::Job;
use self::points::{Given, Points};
use self::samples::Samples;
use super::text::{Side, prefixed, span, table};
use super::{Context, Error, Reply, vectors};
use crate::io::{Array, npy};
use autodiff::nn::Sequential;
use autodiff::pde::{Coefficients, Cost, Drift, Footprint, Operator, Scheme, Strategy};
use clap::{Args, ValueEnum};
use numerics::rng::Law;
use numerics::{DType, Mat, Scalar};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    osculate pde --model net/ --points x.npy --operator laplacian --save lap.npy\n  \
    osculate pde --model net/ --points x.npy --operator gradient --save g.npy --operator laplacian --save lap.npy --json\n  \
    osculate pde --model net/ --points x.npy --operator mixed --save m.npy --multi-index 2,1 --multi-index 0,3 --coefficient 1 \
    --coefficient 0.5\n  \
    osculate pde --model net/ --points x.npy --operator laplacian --save lap.npy --samples 64 --law rademacher")]
pub(super) struct PdeVerb {
    /// A directory with config.json and model.safetensors; the model takes vectors
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Points [N, D], .npy
    #[arg(long, value_name = "X.npy")]
    points: PathBuf,
    /// What to evaluate, each with a --save (repeatable)
    #[arg(long, value_enum, required = true)]
    operator: Vec<Name>,
    /// Where the values of the operator at the same place go, .npy
    #[arg(long, value_name = "F.npy", required = true)]
    save: Vec<PathBuf>,
    /// How second and higher derivatives are made
    #[arg(long, value_enum, default_value = "auto")]
    strategy: StrategyName,
    /// How the biharmonic is made
    #[arg(long, value_enum, default_value = "auto")]
    scheme: SchemeName,
    /// weighted-laplacian: A = sigma sigma^T, [D, R] or [N, D, R]
    #[arg(long, value_name = "S.npy", conflicts_with = "matrix")]
    sigma: Option<PathBuf>,
    /// weighted-laplacian: A itself, [D, D], symmetrised; it may be indefinite
    #[arg(long, value_name = "A.npy")]
    matrix: Option<PathBuf>,
    /// weighted-laplacian: adds b . grad f, b [D] or [N, D]
    #[arg(long, value_name = "B.npy")]
    drift: Option<PathBuf>,
    /// mixed: exponents, one per coordinate (repeatable)
    #[arg(long, value_name = "I,J,..")]
    multi_index: Vec<String>,
    /// mixed: the coefficient of the multi-index at the same place [default: 1 each]
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    coefficient: Vec<f64>,
    /// Estimate second and fourth order operators from this many random directions
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// Law of the directions: rademacher, gaussian, sphere or coordinates
    #[arg(long, alias = "distribution", value_name = "LAW", default_value = "rademacher", requires = "samples")]
    law: Law,
    /// Directions of its own for every point
    #[arg(long, requires = "samples")]
    per_datum: bool,
    /// Gradient of (1/2N) sum (operator)^2 over the parameters, .npy or .safetensors; needs exactly one operator
    #[arg(long, value_name = "G")]
    parameter_gradient: Option<PathBuf>,
    /// Also report vectors, operations and memory of every strategy, for values and for parameter gradients
    #[arg(long, conflicts_with = "samples")]
    strategies: bool,
    /// Timed runs after one warm-up
    #[arg(long, value_name = "R", default_value_t = 5)]
    repeat: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Value,
    Gradient,
    Divergence,
    Laplacian,
    WeightedLaplacian,
    Biharmonic,
    Mixed,
}

#[derive(Clone, Copy, ValueEnum)]
enum StrategyName {
    Auto,
    Nested,
    Taylor,
    Collapsed,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemeName {
    Auto,
    A,
    B,
    C,
    Nested,
}

impl PdeVerb {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        if self.operator.len() != self.save.len() {
            let (n, m) = (self.operator.len(), self.save.len());
            return Err(Error::Usage(format!("{n} --operator and {m} --save: each operator needs one file")));
        }
        if self.parameter_gradient.is_some() && self.operator.len() != 1 {
            return Err(Error::Usage("--parameter-gradient needs exactly one operator".into()));
        }
        if self.parameter_gradient.is_some() && self.samples.is_some() {
            return Err(Error::Usage("--parameter-gradient needs an exact operator, without --samples".into()));
        }
        if let Some(path) = self.save.iter().find(|p| p.extension().is_none_or(|e| e != "npy")) {
            return Err(Error::Usage(format!("{}: values are written as .npy", path.display())));
        }
        match context.dtype.unwrap_or(DType::F64) {
            DType::F64 => self.run_in::<f64>(context),
            DType::F32 => self.run_in::<f32>(context),
        }
    }

    fn run_in<T: Scalar>(&self, context: &Context) -> Result<Reply, Error> {
        let (model, params) = Sequential::load::<T>(&self.model)?;
        let points = Points::<T>::read(&self.points, &model)?;
        let request = self.request::<T>(&points)?;
        let samples = self.samples.map(|s| Samples::<T>::draw(self, s, &points, context.seed)).transpose()?;
        let job = Job { model: &model, params: &params, points: &points, request: &request, par: context.par() };
        let done = match &samples {
            None => job.exact(self.repeat)?,
            Some(samples) => job.stochastic(samples, self.repeat)?,
        };
        for ((values, stderr), path) in done.results.iter().zip(&self.save) {
            npy::write(path, &squeezed(values))?;
            if let Some(stderr) = stderr {
                npy::write(&path.with_extension("stderr.npy"), &squeezed(stderr))?;
            }
        }
        let mut reply = Reply::new("pde", T::DTYPE, String::new())
            .with("points", points.n)
            .with(
                "operators",
                done.costs
                    .iter()
                    .map(|c| json!({"name": c.name, "vectors": c.vectors, "flops": c.flops}))
                    .collect::<Vec<_>>(),
            )
            .with("compile_seconds", done.compile)
            .with("run_seconds", done.run)
            .with("workspace_bytes", done.workspace)
            .with("peak_bytes", json!(done.peak));
        if let Some(path) = &self.parameter_gradient {
            let done = job.parameter_gradient(self.repeat)?;
            let g = Mat::from_fn(done.gradient.len(), 1, |i, _| done.gradient[i]);
            vectors::write(path, &model, g.as_ref())?;
            reply = reply
                .with("loss", done.loss)
                .with("gradient_seconds", done.run)
                .with("gradient_workspace_bytes", done.workspace)
                .with("gradient_peak_bytes", json!(done.peak));
        }
        let mut text = self.text(&points, &done.costs, done.compile, done.run);
        if self.strategies {
            let (rows, all) = job.footprints()?;
            text += &footprints(rows, &all);
            reply = reply.with("points_at_a_time", rows).with("strategies", json!(all));
        }
        Ok(reply.with_text(text))
    }

    fn text<T>(&self, points: &Points<T>, costs: &[Cost], compile: f64, run: f64) -> String {
        let rows: Vec<Vec<String>> = costs
            .iter()
            .zip(&self.save)
            .map(|(c, path)| {
                vec![c.name.clone(), c.vectors.to_string(), prefixed(c.flops as f64), path.display().to_string()]
            })
            .collect();
        let header = [("operator", Side::Left), ("vectors", Side::Right), ("flops", Side::Right), ("file", Side::Left)];
        let head = format!("{}: {} points in {} dimensions\n\n", self.model.display(), points.n, points.d);
        let foot = format!("\ncompiled in {}, one evaluation {}\n", span(compile), span(run));
        head + &table(&header, &rows) + &foot
    }

    /// The operators by name, and the inputs that they add.
    fn request<T: Scalar>(&self, points: &Points<T>) -> Result<Request<T>, Error> {
        let strategy = match self.strategy {
            StrategyName::Auto => Strategy::Auto,
            StrategyName::Nested => Strategy::Nested,
            StrategyName::Taylor => Strategy::Taylor,
            StrategyName::Collapsed => Strategy::Collapsed,
        };
        let mut request = Request { strategy, operators: Vec::new(), sigma: None, drift: None };
        let weighted = self.operator.contains(&Name::WeightedLaplacian);
        if !weighted && (self.sigma.is_some() || self.matrix.is_some() || self.drift.is_some()) {
            return Err(Error::Usage("--sigma, --matrix and --drift belong to weighted-laplacian".into()));
        }
        if !self.operator.contains(&Name::Mixed) && !self.multi_index.is_empty() {
            return Err(Error::Usage("--multi-index belongs to mixed".into()));
        }
        if let Some(path) = &self.sigma {
            request.sigma = Some(points.coefficients(path, 2)?);
        }
        if let Some(path) = &self.drift {
            request.drift = Some(points.coefficients(path, 1)?);
        }
        for (k, &name) in self.operator.iter().enumerate() {
            let label = name.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
            let again = self.operator[..k].contains(&name);
            let label = if again { format!("{label}.{k}") } else { label };
            request.operators.push((label, name, self.exact(name, points, &request)?));
        }
        Ok(request)
    }

    fn exact<T: Scalar>(&self, name: Name, points: &Points<T>, request: &Request<T>) -> Result<Operator, Error> {
        Ok(match name {
            Name::Value => Operator::Value,
            Name::Gradient => Operator::Gradient,
            Name::Divergence => Operator::Divergence,
            Name::Laplacian => Operator::Laplacian,
            Name::Biharmonic => Operator::Biharmonic(match self.scheme {
                SchemeName::Auto => Scheme::Auto,
                SchemeName::A => Scheme::Interpolated,
                SchemeName::B => Scheme::Symmetric,
                SchemeName::C => Scheme::Direct,
                SchemeName::Nested => Scheme::Nested,
            }),
            Name::Mixed => Operator::Linear(self.terms()?),
            Name::WeightedLaplacian => {
                let coefficients = match (&request.sigma, &self.matrix) {
                    (Some(sigma), _) => Coefficients::Sigma { columns: sigma.columns, per_datum: sigma.per_datum },
                    (None, Some(path)) => Coefficients::Matrix(matrix(path, points.d)?),
                    (None, None) => {
                        return Err(Error::Usage("weighted-laplacian needs --sigma or --matrix".into()));
                    }
                };
                let drift = request.drift.as_ref().map(|b| if b.per_datum { Drift::PerDatum } else { Drift::Shared });
                Operator::WeightedLaplacian { coefficients, drift }
            }
        })
    }

    fn terms(&self) -> Result<Vec<(Vec<usize>, f64)>, Error> {
        if self.multi_index.is_empty() {
            return Err(Error::Usage("mixed needs --multi-index, for example 2,1,0".into()));
        }
        if !self.coefficient.is_empty() && self.coefficient.len() != self.multi_index.len() {
            let (n, m) = (self.multi_index.len(), self.coefficient.len());
            return Err(Error::Usage(format!("{n} --multi-index and {m} --coefficient: give one each, or none")));
        }
        let parse = |text: &String| -> Result<Vec<usize>, Error> {
            let parts: Result<Vec<usize>, _> = text.split(',').map(|p| p.trim().parse()).collect();
            let alpha =
                parts.map_err(|_| Error::Usage(format!("--multi-index {text}: expected numbers like 2,1,0")))?;
            match alpha.iter().try_fold(0usize, |s, &a| s.checked_add(a)) {
                Some(order) if order <= 12 => Ok(alpha),
                _ => Err(Error::Usage(format!("--multi-index {text}: orders above 12 are not supported"))),
            }
        };
        let alphas = self.multi_index.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let coefficient = |k: usize| self.coefficient.get(k).copied().unwrap_or(1.0);
        Ok(alphas.into_iter().enumerate().map(|(k, alpha)| (alpha, coefficient(k))).collect())
    }
}

/// The needs of every strategy as a table.
fn footprints(rows: usize, all: &[Footprint]) -> String {
    let mib = |bytes: usize| format!("{:.2}", bytes as f64 / f64::from(1 << 20));
    let line = |f: &Footprint| -> Vec<String> {
        let name = format!("{:?}", f.strategy).to_lowercase();
        let (value, gradient) = (prefixed(f.flops as f64), prefixed(f.gradient_flops as f64));
        vec![name, f.vectors.to_string(), value, mib(f.bytes), gradient, mib(f.gradient_bytes)]
    };
    let right = |title| (title, Side::Right);
    let titles = ["vectors", "flops", "MiB", "gradient flops", "gradient MiB"].map(right);
    let header: Vec<(&str, Side)> = std::iter::once(("strategy", Side::Left)).chain(titles).collect();
    let rows_of: Vec<Vec<String>> = all.iter().map(line).collect();
    format!("\n{rows} points at a time, on one thread:\n\n{}", table(&header, &rows_of))
}

fn matrix(path: &Path, d: usize) -> Result<Vec<f64>, Error> {
    let a = npy::read(path)?;
    let got = a.shape().to_vec();
    let wrong = || Error::Usage(format!("{}: expected floats [{d}, {d}], got {got:?}", path.display()));
    if got != [d, d] {
        return Err(wrong());
    }
    a.to_floats::<f64>().ok_or_else(wrong)
}

struct Request<T> {
    strategy: Strategy,
    operators: Vec<(String, Name, Operator)>,
    sigma: Option<Given<T>>,
    drift: Option<Given<T>>,
}

/// `[N, 1]` as `[N]`.
fn squeezed<T: Scalar>(values: &autodiff::Array<T>) -> Array {
    let mut shape = values.shape().to_vec();
    if shape.len() >= 2 && shape[1] == 1 {
        shape.remove(1);
    }
    let flat = Array::from_slice(values.data());
    Array::new(shape, flat.data().clone()).unwrap_or(flat)
}
