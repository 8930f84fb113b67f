//! `osculate pde`: differential operators of a model in its input, by Taylor mode (arXiv:2505.13644).

use super::text::{Side, prefixed, span, table};
use super::{Context, Error, Reply, vectors};
use crate::io::{Array, npy};
use autodiff::nn::Sequential;
use autodiff::pde::{Coefficients, Cost, Drift, Operator, Pde, Scheme, Strategy};
use autodiff::{Executable, Program, Value, Workspace, trace};
use clap::{Args, ValueEnum};
use numerics::rng::{Law, Role, Stream, probe_at};
use numerics::{DType, Mat, Par, Scalar};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Points that go through one compiled program.
const CHUNK: usize = 64;

/// Groups of samples whose spread gives a standard error.
const GROUPS: usize = 16;

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
        let mut job = Job { model: &model, params: &params, points: &points, request: &request, par: context.par() };
        let (compile_seconds, run_seconds, results, costs) = match &samples {
            None => job.exact(self.repeat)?,
            Some(samples) => job.stochastic(samples, self.repeat)?,
        };
        for ((values, stderr), path) in results.iter().zip(&self.save) {
            npy::write(path, &squeezed(values))?;
            if let Some(stderr) = stderr {
                npy::write(&path.with_extension("stderr.npy"), &squeezed(stderr))?;
            }
        }
        let mut reply = Reply::new("pde", T::DTYPE, String::new())
            .with("points", points.n)
            .with(
                "operators",
                costs
                    .iter()
                    .map(|c| json!({"name": c.name, "vectors": c.vectors, "flops": c.flops}))
                    .collect::<Vec<_>>(),
            )
            .with("compile_seconds", compile_seconds)
            .with("run_seconds", run_seconds);
        if let Some(path) = &self.parameter_gradient {
            let (loss, gradient) = job.parameter_gradient()?;
            let g = Mat::from_fn(gradient.len(), 1, |i, _| gradient[i]);
            vectors::write(path, &model, g.as_ref())?;
            reply = reply.with("loss", loss);
        }
        let text = self.text(&points, &costs, compile_seconds, run_seconds);
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

fn matrix(path: &Path, d: usize) -> Result<Vec<f64>, Error> {
    let a = npy::read(path)?;
    let got = a.shape().to_vec();
    let wrong = || Error::Usage(format!("{}: expected floats [{d}, {d}], got {got:?}", path.display()));
    if got != [d, d] {
        return Err(wrong());
    }
    a.to_floats::<f64>().ok_or_else(wrong)
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

/// Points `[N, D]`.
struct Points<T> {
    n: usize,
    d: usize,
    data: Vec<T>,
}

/// An array with an optional leading axis over the data.
struct Given<T> {
    per_datum: bool,
    columns: usize,
    /// Numbers per datum.
    width: usize,
    data: Vec<T>,
}

impl<T: Scalar> Given<T> {
    /// The part of a range of data, with its shape.
    fn part(&self, from: usize, to: usize, inner: &[usize]) -> Option<Value<T>> {
        let (shape, data) = if self.per_datum {
            let shape: Vec<usize> = core::iter::once(to - from).chain(inner.iter().copied()).collect();
            (shape, self.data[from * self.width..to * self.width].to_vec())
        } else {
            (inner.to_vec(), self.data.clone())
        };
        autodiff::Array::new(&shape, data).map(Value::Real)
    }
}

impl<T: Scalar> Points<T> {
    fn read(path: &Path, model: &Sequential) -> Result<Self, Error> {
        let wrong = |what: String| Error::Usage(format!("{}: {what}", path.display()));
        let input = model.input_type();
        let [d] = *input.shape.as_slice() else {
            return Err(wrong(format!("the model takes {input}; points need a model of vectors")));
        };
        if input.kind == autodiff::Kind::Int {
            return Err(wrong("the model takes integers, which have no derivatives".into()));
        }
        let a = npy::read(path)?;
        let [n, width] = *a.shape() else {
            return Err(wrong(format!("expected points [N, {d}], got {:?}", a.shape())));
        };
        if width != d {
            return Err(wrong(format!("expected points [N, {d}] for the model's input, got [{n}, {width}]")));
        }
        if n == 0 || d == 0 {
            return Err(wrong(format!("there are no points: [{n}, {d}]")));
        }
        if let Some(at) = a.first_non_finite() {
            return Err(wrong(format!("point {} holds NaN or infinity", at / d)));
        }
        let data = a.to_floats().ok_or_else(|| wrong(format!("expected floats, got {}", a.element().name())))?;
        Ok(Points { n, d, data })
    }

    fn chunk(&self, from: usize, to: usize) -> Option<Value<T>> {
        autodiff::Array::new(&[to - from, self.d], self.data[from * self.d..to * self.d].to_vec()).map(Value::Real)
    }

    /// `[D, ..]` or `[N, D, ..]`, `rank` axes per datum.
    fn coefficients(&self, path: &Path, rank: usize) -> Result<Given<T>, Error> {
        let a = npy::read(path)?;
        let shape = a.shape().to_vec();
        let inner = match shape.len() {
            r if r == rank => &shape[..],
            r if r == rank + 1 && shape[0] == self.n => &shape[1..],
            _ => &[],
        };
        let fits = inner.first() == Some(&self.d);
        let finite = a.first_non_finite().is_none();
        match a.to_floats::<T>() {
            Some(data) if fits && finite => Ok(Given {
                per_datum: shape.len() > rank,
                columns: inner.get(1).copied().unwrap_or(1),
                width: inner.iter().product(),
                data,
            }),
            _ => {
                let (d, n) = (self.d, self.n);
                let rest = if rank == 2 { ", R" } else { "" };
                Err(Error::Usage(format!(
                    "{}: expected finite floats [{d}{rest}] or [{n}, {d}{rest}], got {} {shape:?}",
                    path.display(),
                    a.element().name()
                )))
            }
        }
    }
}

struct Request<T> {
    strategy: Strategy,
    operators: Vec<(String, Name, Operator)>,
    sigma: Option<Given<T>>,
    drift: Option<Given<T>>,
}

/// Random directions, in groups.
struct Samples<T> {
    law: Law,
    /// `[groups][per group][N or 1][D]`.
    groups: Vec<Vec<Vec<T>>>,
    per_datum: bool,
}

impl<T: Scalar> Samples<T> {
    fn draw(verb: &PdeVerb, count: usize, points: &Points<T>, seed: u64) -> Result<Self, Error> {
        let (n, d, law) = (points.n, points.d, verb.law);
        let stochastic = |name: &Name| matches!(name, Name::Laplacian | Name::Biharmonic);
        if count == 0 {
            return Err(Error::Usage("--samples 0: at least one direction is needed".into()));
        }
        if let Some(name) = verb.operator.iter().find(|n| !stochastic(n)) {
            let name = name.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
            return Err(Error::Usage(format!(
                "--samples: {name} has no stochastic form; laplacian and biharmonic have"
            )));
        }
        if law == Law::Coordinates && count > d {
            return Err(Error::Usage(format!(
                "--law coordinates: {count} samples of {d} coordinates without replacement"
            )));
        }
        if law == Law::Coordinates && verb.operator.contains(&Name::Biharmonic) {
            return Err(Error::Usage("--law coordinates is defined for the laplacian only".into()));
        }
        let owners = if verb.per_datum { n } else { 1 };
        // All directions of one owner at once, so that coordinates do not repeat.
        let own = |owner: usize| -> Vec<Vec<T>> {
            let j = if verb.per_datum { 1 + owner as u64 } else { 0 };
            if law == Law::Coordinates {
                let mut order: Vec<usize> = (0..d).collect();
                Stream::new(seed, Role::PdeDirections, 0, j).shuffle(&mut order);
                let size = T::from_f64((d as f64).sqrt());
                let unit = |axis: usize| (0..d).map(|i| if i == axis { size } else { T::ZERO }).collect();
                return order[..count].iter().map(|&axis| unit(axis)).collect();
            }
            (0..count as u64)
                .map(|s| {
                    let mut v = vec![T::ZERO; d];
                    probe_at(law, seed, Role::PdeDirections, (s, j), &mut v);
                    v
                })
                .collect()
        };
        let all: Vec<Vec<Vec<T>>> = (0..owners).map(own).collect();
        let size = count.div_ceil(GROUPS);
        let groups = (0..count)
            .step_by(size)
            .map(|from| {
                (from..(from + size).min(count))
                    .map(|s| all.iter().flat_map(|own| own[s].iter().copied()).collect())
                    .collect()
            })
            .collect();
        Ok(Samples { law, groups, per_datum: verb.per_datum })
    }
}

/// Results `[N, ..]` with their standard errors.
type Results<T> = Vec<(autodiff::Array<T>, Option<autodiff::Array<T>>)>;

struct Job<'a, T> {
    model: &'a Sequential,
    params: &'a [T],
    points: &'a Points<T>,
    request: &'a Request<T>,
    par: Par,
}

impl<T: Scalar> Job<'_, T> {
    fn params(&self) -> Result<Value<T>, Error> {
        let array = autodiff::Array::new(&[self.params.len()], self.params.to_vec());
        array.map(Value::Real).ok_or_else(|| Error::Usage("the parameters are too large".into()))
    }

    /// Ranges of points of at most `CHUNK`.
    fn chunks(&self) -> Vec<(usize, usize)> {
        (0..self.points.n).step_by(CHUNK).map(|from| (from, (from + CHUNK).min(self.points.n))).collect()
    }

    fn program(&self, rows: usize, operators: &[(String, Operator)]) -> Result<(Program, Vec<Cost>), Error> {
        let model = self.model.trace_model(rows)?;
        let mut pde = Pde::new(&model, 1).strategy(self.request.strategy);
        for (name, operator) in operators {
            pde = pde.operator(name.clone(), operator.clone());
        }
        let program = pde.build().map_err(|e| Error::Usage(e.to_string()))?;
        let costs = pde.costs().map_err(|e| Error::Usage(e.to_string()))?;
        Ok((program, costs))
    }

    fn exact_operators(&self) -> Vec<(String, Operator)> {
        self.request.operators.iter().map(|(label, _, op)| (label.clone(), op.clone())).collect()
    }

    /// Inputs of a chunk of an exact program, in its order.
    fn inputs(&self, program: &Program, from: usize, to: usize) -> Result<Vec<Value<T>>, Error> {
        let d = self.points.d;
        let missing = |name: &str| Error::Usage(format!("input {name:?} is not known"));
        (0..program.inputs().len())
            .map(|i| {
                let name = program.inputs()[i].name.as_str();
                let value = match (i, name.rsplit('.').next()) {
                    (0, _) => Some(self.params()?),
                    (1, _) => self.points.chunk(from, to),
                    (_, Some("sigma")) => self.request.sigma.as_ref().and_then(|s| s.part(from, to, &[d, s.columns])),
                    (_, Some("drift")) => self.request.drift.as_ref().and_then(|b| b.part(from, to, &[d])),
                    _ => None,
                };
                value.ok_or_else(|| missing(name))
            })
            .collect()
    }

    /// Compiled programs per chunk size, in the order of `chunks`.
    fn compiled(&self, operators: &[(String, Operator)]) -> Result<(f64, Vec<Compiled<T>>, Vec<Cost>), Error> {
        let started = Instant::now();
        let mut made: Vec<Compiled<T>> = Vec::new();
        let mut costs = Vec::new();
        for (from, to) in self.chunks() {
            let rows = to - from;
            if made.iter().any(|c| c.rows == rows) {
                continue;
            }
            let (program, per_operator) = self.program(rows, operators)?;
            let executable = program.compile().map_err(|e| Error::Usage(e.to_string()))?;
            made.push(Compiled { rows, program, executable });
            add_up(&mut costs, per_operator, self.chunks().iter().filter(|c| c.1 - c.0 == rows).count() as u64);
        }
        Ok((started.elapsed().as_secs_f64(), made, costs))
    }

    fn exact(&mut self, repeat: usize) -> Result<(f64, f64, Results<T>, Vec<Cost>), Error> {
        let (compile, made, costs) = self.compiled(&self.exact_operators())?;
        let mut workspace = Workspace::with_par(self.par);
        let mut once = |results: &mut Vec<Vec<T>>| -> Result<(), Error> {
            results.clear();
            results.resize(self.request.operators.len(), Vec::new());
            for (from, to) in self.chunks() {
                let Some(c) = made.iter().find(|c| c.rows == to - from) else { continue };
                let out = c.executable.call_with(&mut workspace, &self.inputs(&c.program, from, to)?);
                for (all, part) in results.iter_mut().zip(out.map_err(|e| Error::Usage(e.to_string()))?) {
                    if let Some(part) = part.real() {
                        all.extend_from_slice(part.data());
                    }
                }
            }
            Ok(())
        };
        let mut flat = Vec::new();
        once(&mut flat)?;
        let mut times = Vec::with_capacity(repeat);
        for _ in 0..repeat {
            let started = Instant::now();
            once(&mut flat)?;
            times.push(started.elapsed().as_secs_f64());
        }
        let results = self.shaped(&made[0].program, flat)?.into_iter().map(|a| (a, None)).collect();
        Ok((compile, median(&mut times), results, costs))
    }

    /// Flat results with the shapes of the program's outputs and all N points.
    fn shaped(&self, program: &Program, flat: Vec<Vec<T>>) -> Result<Vec<autodiff::Array<T>>, Error> {
        flat.into_iter()
            .enumerate()
            .map(|(k, data)| {
                let mut shape = program.output_type(k).shape.to_vec();
                shape[0] = self.points.n;
                autodiff::Array::new(&shape, data).ok_or_else(|| Error::Usage("a result has the wrong size".into()))
            })
            .collect()
    }

    /// Means over groups of directions, and their spread.
    fn stochastic(&mut self, samples: &Samples<T>, repeat: usize) -> Result<(f64, f64, Results<T>, Vec<Cost>), Error> {
        let mut compile = 0.0;
        let mut totals = Vec::new();
        let mut results = Results::new();
        let mut times = vec![0.0; repeat.max(1)];
        for (label, name, _) in &self.request.operators {
            let biharmonic = *name == Name::Biharmonic;
            let mut means: Vec<Vec<T>> = Vec::new();
            let mut shape = Vec::new();
            for group in &samples.groups {
                let (directions, weights) = self.family(samples, group, biharmonic);
                let order = if biharmonic { 4 } else { 2 };
                let operator = Operator::Directional { order, directions: weights.len(), per_datum: samples.per_datum };
                let (seconds, made, costs) = self.compiled(&[(label.clone(), operator)])?;
                compile += seconds;
                add_up(&mut totals, costs, 1);
                let mut workspace = Workspace::with_par(self.par);
                let mut values = Vec::new();
                for time in &mut times {
                    values.clear();
                    let started = Instant::now();
                    for (from, to) in self.chunks() {
                        let Some(c) = made.iter().find(|c| c.rows == to - from) else { continue };
                        let inputs = self.sampled_inputs(samples, &directions, &weights, from, to)?;
                        let out = c.executable.call_with(&mut workspace, &inputs);
                        if let Some(part) = out.map_err(|e| Error::Usage(e.to_string()))?[0].real() {
                            values.extend_from_slice(part.data());
                        }
                    }
                    *time += started.elapsed().as_secs_f64();
                }
                shape = made[0].program.output_type(0).shape.to_vec();
                means.push(values);
            }
            shape[0] = self.points.n;
            let sizes: Vec<f64> = samples.groups.iter().map(|g| g.len() as f64).collect();
            results.push(spread(&shape, &means, &sizes)?);
        }
        Ok((compile, median(&mut times), results, totals))
    }

    /// Directions (row by row) and weights of a group's estimate.
    fn family(&self, samples: &Samples<T>, group: &[Vec<T>], biharmonic: bool) -> (Vec<Vec<T>>, Vec<T>) {
        let (s, d) = (group.len() as f64, self.points.d);
        let mut directions = group.to_vec();
        let weight = match (biharmonic, samples.law) {
            (false, _) => 1.0 / s,
            (true, Law::Sphere) => (d as f64 + 2.0) / (3.0 * d as f64 * s),
            (true, _) => 1.0 / (3.0 * s),
        };
        let mut weights = vec![T::from_f64(weight); group.len()];
        if biharmonic && samples.law == Law::Rademacher {
            // E d^4 f[v^4] is short of the pure fourth derivatives, which are added exactly.
            let owners = group.first().map_or(1, |v| v.len() / d);
            for axis in 0..d {
                directions.push((0..owners * d).map(|i| if i % d == axis { T::ONE } else { T::ZERO }).collect());
                weights.push(T::from_f64(2.0 / 3.0));
            }
        }
        (directions, weights)
    }

    fn sampled_inputs(
        &self,
        samples: &Samples<T>,
        directions: &[Vec<T>],
        weights: &[T],
        from: usize,
        to: usize,
    ) -> Result<Vec<Value<T>>, Error> {
        let (r, d) = (directions.len(), self.points.d);
        let (shape, range) =
            if samples.per_datum { (vec![r, to - from, d], from * d..to * d) } else { (vec![r, d], 0..d) };
        let flat: Vec<T> = directions.iter().flat_map(|v| v[range.clone()].iter().copied()).collect();
        let parts = [
            self.points.chunk(from, to),
            autodiff::Array::new(&shape, flat).map(Value::Real),
            autodiff::Array::new(&[r], weights.to_vec()).map(Value::Real),
        ];
        let mut inputs = vec![self.params()?];
        for part in parts {
            inputs.push(part.ok_or_else(|| Error::Usage("the directions are too large".into()))?);
        }
        Ok(inputs)
    }

    /// `(1/2N) sum (operator)^2` and its gradient in the parameters.
    fn parameter_gradient(&self) -> Result<(f64, Vec<T>), Error> {
        let failed = |e: autodiff::Error| Error::Usage(e.to_string());
        let mut sum = vec![T::ZERO; self.params.len()];
        let mut loss = 0.0;
        let mut workspace = Workspace::with_par(self.par);
        let mut made: Vec<(usize, Program, Executable<T>)> = Vec::new();
        for (from, to) in self.chunks() {
            let rows = to - from;
            if !made.iter().any(|m| m.0 == rows) {
                let (operator, _) = self.program(rows, &self.exact_operators())?;
                let ports: Vec<_> = (0..operator.inputs().len())
                    .map(|i| (operator.inputs()[i].name.as_str(), operator.input_type(i).clone()))
                    .collect();
                let scale = 0.5 / self.points.n as f64;
                let whole = trace(&ports, |t, x| {
                    let refs: Vec<_> = x.iter().collect();
                    vec![("loss", t.call(&operator, &refs).swap_remove(0).powf(2.0).sum_all() * scale)]
                })
                .map_err(failed)?;
                let gradient = whole.value_and_grad(&[0]).map_err(failed)?;
                let executable = gradient.compile().map_err(failed)?;
                made.push((rows, gradient, executable));
            }
            let Some((_, program, executable)) = made.iter().find(|m| m.0 == rows) else { continue };
            let out = executable.call_with(&mut workspace, &self.inputs(program, from, to)?).map_err(failed)?;
            if let (Some(value), Some(g)) = (out[0].real(), out[1].real()) {
                loss += value.data()[0].to_f64();
                sum.iter_mut().zip(g.data()).for_each(|(s, &g)| *s += g);
            }
        }
        Ok((loss, sum))
    }
}

struct Compiled<T> {
    rows: usize,
    program: Program,
    executable: Executable<T>,
}

/// Adds the flops of `times` runs; vectors are per datum.
fn add_up(totals: &mut Vec<Cost>, costs: Vec<Cost>, times: u64) {
    for cost in costs {
        match totals.iter_mut().find(|t| t.name == cost.name) {
            Some(total) => total.flops += cost.flops * times,
            None => totals.push(Cost { flops: cost.flops * times, ..cost }),
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// The mean over all samples from group means, and its standard error from their spread (one group: none).
fn spread<T: Scalar>(
    shape: &[usize],
    means: &[Vec<T>],
    sizes: &[f64],
) -> Result<(autodiff::Array<T>, Option<autodiff::Array<T>>), Error> {
    let total: f64 = sizes.iter().sum();
    let groups = means.len() as f64;
    let n = means.first().map_or(0, Vec::len);
    let (mut mean, mut error) = (vec![T::ZERO; n], vec![T::ZERO; n]);
    for i in 0..n {
        let m: f64 = means.iter().zip(sizes).map(|(g, s)| g[i].to_f64() * s).sum::<f64>() / total;
        // Group means vary as sigma^2 / size.
        let square: f64 = means.iter().zip(sizes).map(|(g, s)| s * (g[i].to_f64() - m).powi(2)).sum();
        mean[i] = T::from_f64(m);
        error[i] = T::from_f64((square / (groups - 1.0).max(1.0) / total).sqrt());
    }
    let wrong = || Error::Usage("a result has the wrong size".into());
    let mean = autodiff::Array::new(shape, mean).ok_or_else(wrong)?;
    let error = autodiff::Array::new(shape, error).ok_or_else(wrong)?;
    Ok((mean, (means.len() > 1).then_some(error)))
}
