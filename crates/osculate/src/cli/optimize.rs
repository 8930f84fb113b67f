//! `osculate optimize`: matrix and gradient-free problems on which methods of `optim` can be watched alone.
//!
//! Two losses over symmetric positive definite matrices, from the identity, by their gradients; and five functions of a
//! vector, by their values alone.

use super::text::{Side, count, span, sparkline, table};
use super::{Bar, Context, Error, Reply, interrupt};
use crate::io::{Array, npy};
use clap::{Args, ValueEnum};
use numerics::progress::{Observer, Progress};
use numerics::{DType, Mat, Par};
use optim::problems::{Function, Problem, SpdProblem};
use optim::search::{Search, SearchConfig, SearchMethod};
use optim::spectral::{EigenvalueRule, Rotation, SpdMethod, SpdOptimizer, SpectralRules};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Largest number of coordinates, and order of a matrix.
const MAX_DIM: usize = 4096;
/// Points of `nearness` unless the caller says otherwise.
const POINTS: usize = 2500;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    osculate optimize --problem log-det --method spectral --dim 60 --cond 1e4 --step 0.25\n  \
    osculate optimize --problem log-det --method rgd --json\n  \
    osculate optimize --problem rosenbrock --method spectral --dim 20\n  \
    osculate optimize --problem cigar --rotated --method cma --restarts --seed 3\n\n\
    log-det minimises Tr(S Q) - log det S, nearness the mean of |S Q x - x|^2 / 2, both over positive definite S from the\n\
    identity; the others are functions of a vector, minimised by their values alone.")]
pub(super) struct Optimize {
    /// What to minimise
    #[arg(long, value_enum)]
    problem: ProblemName,
    /// How: spectral, rgd or first-order for matrices; spectral, xnes or cma for functions
    #[arg(long, value_enum)]
    method: MethodName,
    /// Coordinates [default: 10], or order of the matrix [default: 20]
    #[arg(long, value_name = "D")]
    dim: Option<usize>,
    /// Matrices: condition of Q [default: 100]
    #[arg(long, value_name = "X")]
    cond: Option<f64>,
    /// Functions: in a basis that the seed draws
    #[arg(long)]
    rotated: bool,
    /// Matrices: step size [default: 0.1 for log-det, 0.01 for nearness]
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    step: Option<f64>,
    /// Spectral: how the basis turns
    #[arg(long, value_enum, default_value = "pairwise")]
    rotation: RotationName,
    /// Spectral: how eigenvalues move
    #[arg(long, value_enum, default_value = "exp")]
    eigenvalues: EigenvalueName,
    /// Cma: start again with twice the samples when a run has converged
    #[arg(long)]
    restarts: bool,
    /// Stop below this distance from the minimum [default: 1e-10 for matrices, 1e-8 for functions]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    target: Option<f64>,
    /// Stop after so many iterations (matrices) [default: 3000] or values (functions) [default: 4000 per coordinate]
    #[arg(long, value_name = "N")]
    budget: Option<u64>,
    /// Where the solution goes, .npy
    #[arg(long, value_name = "F.npy")]
    save: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProblemName {
    LogDet,
    Nearness,
    Sphere,
    Ellipsoid,
    Cigar,
    Rosenbrock,
    Ackley,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodName {
    Spectral,
    Rgd,
    FirstOrder,
    Xnes,
    Cma,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RotationName {
    Pairwise,
    Gradient,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EigenvalueName {
    Exp,
    Mixed,
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}

/// What came out.
struct Outcome {
    /// Iterations of a matrix, values of a function.
    spent: u64,
    /// Distance from the minimum.
    value: f64,
    /// Why it ended.
    stopped: String,
    /// Pairs of what was spent and the distance then.
    history: Vec<(u64, f64)>,
    solution: Array,
    extra: Vec<(&'static str, Value)>,
}

/// Asks to stop when the user does, and shows how far it is.
struct Watch {
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
    bar: Bar,
    of: u64,
}

impl Watch {
    fn goes_on(&self, spent: u64, value: f64) -> bool {
        let progress = Progress::new("optimize", spent, self.of).with_metric("value", value);
        !self.asked.load(Ordering::Relaxed) && self.bar.report(&progress) == ControlFlow::Continue(())
    }
}

impl Optimize {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        let function = self.function();
        self.check(function.is_some(), context)?;
        let dim = self.dim.unwrap_or(if function.is_some() { 10 } else { 20 });
        let target = self.target.unwrap_or(if function.is_some() { 1e-8 } else { 1e-10 });
        let budget = self.budget.unwrap_or(if function.is_some() { 4000 * dim as u64 } else { 3000 });
        let watch = Watch { asked: interrupt::watch(), bar: Bar::new(context.quiet), of: budget };
        let started = Instant::now();
        let outcome = match function {
            Some(f) => self.search(f, dim, (target, budget), context.seed, &watch)?,
            None => self.descend(dim, (target, budget), context.seed, &watch)?,
        };
        let seconds = started.elapsed().as_secs_f64();
        drop(watch);
        if let Some(path) = &self.save {
            npy::write(path, &outcome.solution)?;
        }
        let unit = if function.is_some() { "evaluations" } else { "iterations" };
        let text = self.text(&outcome, (dim, target, unit), seconds);
        let mut reply = Reply::new("optimize", DType::F64, text)
            .with("problem", name(self.problem))
            .with("method", name(self.method))
            .with("dim", dim)
            .with(unit, outcome.spent)
            .with("value", finite(outcome.value))
            .with("target", target)
            .with("reached", outcome.value < target)
            .with("stopped", outcome.stopped)
            .with("optimize_seconds", seconds)
            .with("history", outcome.history.iter().map(|&(n, x)| json!([n, finite(x)])).collect::<Vec<_>>());
        for (key, value) in outcome.extra {
            reply = reply.with(key, value);
        }
        Ok(reply)
    }

    fn function(&self) -> Option<Function> {
        Some(match self.problem {
            ProblemName::LogDet | ProblemName::Nearness => return None,
            ProblemName::Sphere => Function::Sphere,
            ProblemName::Ellipsoid => Function::Ellipsoid,
            ProblemName::Cigar => Function::Cigar,
            ProblemName::Rosenbrock => Function::Rosenbrock,
            ProblemName::Ackley => Function::Ackley,
        })
    }

    fn check(&self, function: bool, context: &Context) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        let (problem, method) = (name(self.problem), name(self.method));
        if context.dtype == Some(DType::F32) {
            return usage("--dtype f32: optimize computes in f64".into());
        }
        match (function, self.method) {
            (true, MethodName::Rgd | MethodName::FirstOrder) => {
                return usage(format!("{method} needs gradients of a matrix; {problem} has spectral, xnes and cma"));
            }
            (false, MethodName::Xnes | MethodName::Cma) => {
                return usage(format!("{method} searches by values; {problem} has spectral, rgd and first-order"));
            }
            _ => {}
        }
        if function && (self.cond.is_some() || self.step.is_some()) {
            return usage(format!("--cond and --step belong to log-det and nearness, not to {problem}"));
        }
        if !function && self.rotated {
            return usage(format!("--rotated belongs to functions; the basis of {problem} is drawn anyway"));
        }
        if self.restarts && self.method != MethodName::Cma {
            return usage("--restarts belongs to cma".into());
        }
        let turned = self.rotation != RotationName::Pairwise || self.eigenvalues != EigenvalueName::Exp;
        if turned && self.method != MethodName::Spectral {
            return usage("--rotation and --eigenvalues belong to spectral".into());
        }
        if let Some(d) = self.dim.filter(|d| !(1..=MAX_DIM).contains(d)) {
            return usage(format!("--dim {d}: expected 1 to {MAX_DIM}"));
        }
        if let Some(t) = self.target.filter(|t| !t.is_finite()) {
            return usage(format!("--target {t}: expected a finite number"));
        }
        match &self.save {
            Some(path) if path.extension().is_none_or(|e| e != "npy") => {
                usage(format!("{}: expected a name that ends in .npy", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn rules(&self) -> SpectralRules {
        SpectralRules {
            rotation: match self.rotation {
                RotationName::Pairwise => Rotation::PairwiseExact,
                RotationName::Gradient => Rotation::Gradient { cap: None },
            },
            eigenvalues: match self.eigenvalues {
                EigenvalueName::Exp => EigenvalueRule::Exp,
                EigenvalueName::Mixed => EigenvalueRule::Mixed,
            },
            ..SpectralRules::default()
        }
    }

    fn descend(&self, n: usize, (target, budget): (f64, u64), seed: u64, watch: &Watch) -> Result<Outcome, Error> {
        let cond = self.cond.unwrap_or(100.0);
        let (problem, step) = match self.problem {
            ProblemName::Nearness => (SpdProblem::nearness(n, cond, POINTS, seed)?, self.step.unwrap_or(0.01)),
            _ => (SpdProblem::log_det(n, cond, seed)?, self.step.unwrap_or(0.1)),
        };
        let method = match self.method {
            MethodName::Rgd => SpdMethod::AffineInvariant,
            MethodName::FirstOrder => SpdMethod::FirstOrder,
            _ => SpdMethod::Spectral(self.rules()),
        };
        let mut opt = SpdOptimizer::<f64>::new(n, method)?;
        let mut history = Vec::new();
        let (mut spent, mut value) = (0, f64::NAN);
        let stopped = loop {
            let (excess, gradient) = match problem.excess_and_gradient(opt.value().as_ref()) {
                Ok(found) => found,
                Err(e) => break ended(e)?,
            };
            value = excess;
            history.push((spent, excess));
            if excess < target {
                break "target".to_owned();
            }
            if !excess.is_finite() {
                break "the loss is not finite".to_owned();
            }
            if spent == budget {
                break "budget".to_owned();
            }
            if !watch.goes_on(spent, excess) {
                break "interrupted".to_owned();
            }
            match opt.step(gradient.as_ref(), step) {
                Ok(()) => spent += 1,
                Err(e) => break ended(e)?,
            }
        };
        let mut extra = vec![("condition", json!(cond)), ("step", json!(step))];
        if let Some(s) = opt.spectral() {
            extra.push(("orthogonality_defect", json!(s.orthogonality_defect(Par::Seq))));
        }
        Ok(Outcome { spent, value, stopped, history, solution: Array::from_mat(opt.value().as_ref()), extra })
    }

    fn search(
        &self,
        function: Function,
        dim: usize,
        (target, budget): (f64, u64),
        seed: u64,
        watch: &Watch,
    ) -> Result<Outcome, Error> {
        let problem = Problem::new(function, dim)?;
        // Another stream than the samples': the basis is part of the problem.
        let problem = if self.rotated { problem.rotated(seed.wrapping_add(1))? } else { problem };
        let method = match self.method {
            MethodName::Xnes => SearchMethod::Xnes,
            MethodName::Cma => SearchMethod::Cma { restarts: self.restarts },
            _ => SearchMethod::Spectral { rules: self.rules(), step_size: false },
        };
        let mut search = Search::new(SearchConfig { method, seed, ..SearchConfig::default() }, &problem.start())?;
        let mut history = Vec::new();
        let stopped = loop {
            let report = match search.generation(|x| problem.value(x)) {
                Ok(report) => report,
                Err(e) => break ended(e)?,
            };
            history.push((report.evaluations, report.best_value));
            if report.best_value < target {
                break "target".to_owned();
            }
            if report.evaluations >= budget {
                break "budget".to_owned();
            }
            if !watch.goes_on(report.evaluations, report.best_value) {
                break "interrupted".to_owned();
            }
        };
        let report = search.report();
        let best = Mat::from_fn(dim, 1, |i, _| report.best[i]);
        let extra = vec![
            ("generations", json!(report.generations)),
            ("restarts", json!(report.restarts)),
            ("rotated", json!(self.rotated)),
        ];
        let solution = Array::from_slice(best.col_as_slice(0));
        Ok(Outcome { spent: report.evaluations, value: report.best_value, stopped, history, solution, extra })
    }

    fn text(&self, o: &Outcome, (dim, target, unit): (usize, f64, &str), seconds: f64) -> String {
        let size = if self.function().is_some() { format!("{dim} coordinates") } else { format!("{dim} x {dim}") };
        let mut out = format!("{} by {}, {size}\n\n", name(self.problem), name(self.method));
        let mut rows = vec![
            vec!["value".to_owned(), format!("{:.3e}", o.value)],
            vec!["target".to_owned(), format!("{target:.1e}")],
            vec![unit.to_owned(), count(o.spent)],
            vec!["stopped by".to_owned(), o.stopped.clone()],
            vec!["time".to_owned(), span(seconds)],
        ];
        let words = |(key, v): &(&str, Value)| vec![key.replace('_', " "), v.to_string()];
        rows.extend(o.extra.iter().map(words));
        out += &table(&[("", Side::Left), ("", Side::Right)], &rows);
        let logs: Vec<f64> = o.history.iter().map(|(_, x)| x.max(1e-300).log10()).collect();
        out += &format!("\nlog10 of the value  {}\n", sparkline(&logs, 60));
        if let Some(path) = &self.save {
            out += &format!("solution            {}\n", path.display());
        }
        out
    }
}

/// A method that breaks down has an end; other errors are the caller's.
fn ended(e: optim::Error) -> Result<String, Error> {
    match e {
        optim::Error::Numerics(e) => Ok(e.to_string()),
        other => Err(other.into()),
    }
}

/// JSON has no other numbers.
fn finite(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { json!(x.to_string()) }
}
