//! The evaluation: programs per chunk of points, timed runs, estimates with standard errors, parameter gradients.

use super::points::Points;
use super::samples::Samples;
use super::{Error, Name, Request};
use crate::cli::resident::growth;
use crate::cli::timing::median;
use autodiff::nn::Sequential;
use autodiff::pde::{Chunked, Cost, Footprint, Operator, Pde, chunk_size};
use autodiff::{Input, Output, Program, trace};
use numerics::rng::Law;
use numerics::{Par, Scalar};
use std::time::Instant;

/// Most points that go through a program at a time: a layer's coefficients stay in the cache.
const CHUNK: usize = 8;

/// Results `[N, ..]` with their standard errors.
pub(super) type Results<T> = Vec<(autodiff::Array<T>, Option<autodiff::Array<T>>)>;

/// What was found, and the seconds of compilation and of one evaluation.
pub(super) struct Evaluation<T> {
    pub(super) compile: f64,
    pub(super) run: f64,
    /// Bytes of scratch memory.
    pub(super) workspace: usize,
    /// Bytes by which the process grew in the first run.
    pub(super) peak: Option<u64>,
    pub(super) results: Results<T>,
    pub(super) costs: Vec<Cost>,
}

/// A loss, its gradient, and the seconds and bytes of scratch memory of one evaluation.
pub(super) struct Slope<T> {
    pub(super) loss: f64,
    pub(super) gradient: Vec<T>,
    pub(super) run: f64,
    pub(super) workspace: usize,
    pub(super) peak: Option<u64>,
}

pub(super) struct Job<'a, T> {
    pub(super) model: &'a Sequential,
    pub(super) params: &'a [T],
    pub(super) points: &'a Points<T>,
    pub(super) request: &'a Request<T>,
    pub(super) par: Par,
}

impl<T: Scalar> Job<'_, T> {
    fn pde<'m>(&self, model: &'m Program, operators: &[(String, Operator)]) -> Pde<'m> {
        let pde = Pde::new(model, 1).strategy(self.request.strategy);
        operators.iter().fold(pde, |pde, (name, operator)| pde.operator(name.clone(), operator.clone()))
    }

    fn exact_operators(&self) -> Vec<(String, Operator)> {
        self.request.operators.iter().map(|(label, _, op)| (label.clone(), op.clone())).collect()
    }

    /// Inputs of an exact program, in its order.
    fn inputs(&self, names: &[String]) -> Result<Vec<Input<'_, T>>, Error> {
        let one = |(i, name): (usize, &String)| {
            let given = match (i, name.rsplit('.').next()) {
                (0, _) => Some(self.params),
                (1, _) => Some(self.points.all()),
                (_, Some("sigma")) => self.request.sigma.as_ref().map(|s| s.all()),
                (_, Some("drift")) => self.request.drift.as_ref().map(|b| b.all()),
                _ => None,
            };
            given.map(Input::Real).ok_or_else(|| Error::Usage(format!("input {name:?} is not known")))
        };
        names.iter().enumerate().map(one).collect()
    }

    /// The program compiled for chunks, and what all chunks cost together; a request that makes no sense is a usage error.
    fn compiled(&self, operators: &[(String, Operator)]) -> Result<Compiled<T>, Error> {
        let started = Instant::now();
        let n = self.points.n;
        let build = |rows: usize| -> Result<Program, Error> {
            let model = self.model.trace_model(rows)?;
            self.pde(&model, operators).build().map_err(|e| Error::Usage(e.to_string()))
        };
        let chunk = chunk_size(n, CHUNK, self.par);
        let chunked = Chunked::new(n, chunk, build)?;
        let seconds = started.elapsed().as_secs_f64();
        let mut costs = Vec::new();
        for (rows, times) in [(chunk, n / chunk), (n % chunk, 1)] {
            if rows > 0 {
                let model = self.model.trace_model(rows)?;
                add_up(&mut costs, &self.pde(&model, operators).costs()?, times as u64);
            }
        }
        let program = build(1)?;
        let names = program.inputs().iter().map(|p| p.name.clone()).collect();
        let shapes = (0..program.outputs().len()).map(|k| program.output_type(k).shape[1..].to_vec()).collect();
        Ok(Compiled { seconds, chunked, names, shapes, costs })
    }

    /// Evaluates all points into `results`, one flat list per output.
    fn evaluate(&self, compiled: &Compiled<T>, results: &mut [Vec<T>], inputs: &[Input<'_, T>]) -> Result<(), Error> {
        for (all, shape) in results.iter_mut().zip(&compiled.shapes) {
            all.resize(self.points.n * shape.iter().product::<usize>(), T::ZERO);
        }
        let mut outputs: Vec<Output<'_, T>> = results.iter_mut().map(|y| Output::Real(y)).collect();
        Ok(compiled.chunked.run(self.par, inputs, &mut outputs)?)
    }

    pub(super) fn exact(&self, repeat: usize) -> Result<Evaluation<T>, Error> {
        let compiled = self.compiled(&self.exact_operators())?;
        let inputs = self.inputs(&compiled.names)?;
        let mut flat = vec![Vec::new(); self.request.operators.len()];
        // The first run warms up.
        let (warm, peak) = growth(|| self.evaluate(&compiled, &mut flat, &inputs));
        warm?;
        let mut times = Vec::with_capacity(repeat);
        for _ in 0..repeat {
            let started = Instant::now();
            self.evaluate(&compiled, &mut flat, &inputs)?;
            times.push(started.elapsed().as_secs_f64());
        }
        let mut results = Results::new();
        for (k, data) in flat.into_iter().enumerate() {
            results.push((array(&compiled.shape(k, self.points.n), data)?, None));
        }
        let run = median(times).unwrap_or_default();
        let workspace = compiled.chunked.workspace_bytes(self.par);
        Ok(Evaluation { compile: compiled.seconds, run, workspace, peak, results, costs: compiled.costs })
    }

    /// Means over groups of directions, and their spread. Groups of one size share their programs.
    pub(super) fn stochastic(&self, samples: &Samples<T>, repeat: usize) -> Result<Evaluation<T>, Error> {
        let (results, costs) = (Results::new(), Vec::new());
        let mut done = Evaluation { compile: 0.0, run: 0.0, workspace: 0, peak: None, results, costs };
        let mut times = vec![0.0; repeat.max(1)];
        for (label, name, _) in &self.request.operators {
            let biharmonic = *name == Name::Biharmonic;
            let mut made: Vec<(usize, Compiled<T>)> = Vec::new();
            let mut means: Vec<Vec<T>> = Vec::new();
            for group in &samples.groups {
                let (directions, weights) = self.family(samples, group, biharmonic);
                let r = weights.len();
                if !made.iter().any(|m| m.0 == r) {
                    let order = if biharmonic { 4 } else { 2 };
                    let operator = Operator::Directional { order, directions: r, per_datum: samples.per_datum };
                    made.push((r, self.compiled(&[(label.clone(), operator)])?));
                    done.compile += made[made.len() - 1].1.seconds;
                }
                let Some((_, compiled)) = made.iter().find(|m| m.0 == r) else { continue };
                add_up(&mut done.costs, &compiled.costs, 1);
                done.workspace = done.workspace.max(compiled.chunked.workspace_bytes(self.par));
                let inputs = [self.params, self.points.all(), &directions, &weights].map(Input::Real);
                let mut values = vec![Vec::new()];
                for time in &mut times {
                    let started = Instant::now();
                    self.evaluate(compiled, &mut values, &inputs)?;
                    *time += started.elapsed().as_secs_f64();
                }
                means.append(&mut values);
            }
            let Some((_, compiled)) = made.first() else { continue };
            let sizes: Vec<f64> = samples.groups.iter().map(|g| g.len() as f64).collect();
            done.results.push(spread(&compiled.shape(0, self.points.n), &means, &sizes)?);
        }
        done.run = median(times).unwrap_or_default();
        Ok(done)
    }

    /// Directions `[R, D]` (`[R, N, D]` per datum) and weights of a group's estimate.
    fn family(&self, samples: &Samples<T>, group: &[Vec<T>], biharmonic: bool) -> (Vec<T>, Vec<T>) {
        let (s, d) = (group.len() as f64, self.points.d);
        let mut directions = group.concat();
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
                directions.extend((0..owners * d).map(|i| if i % d == axis { T::ONE } else { T::ZERO }));
                weights.push(T::from_f64(2.0 / 3.0));
            }
        }
        (directions, weights)
    }

    /// `(1/2N) sum (operator)^2` and its gradient in the parameters, `repeat` times after a warm-up.
    pub(super) fn parameter_gradient(&self, repeat: usize) -> Result<Slope<T>, Error> {
        let gradient = Chunked::new(self.points.n, CHUNK, |rows| self.gradient_program(rows))?;
        let program = self.gradient_program(1)?;
        let names: Vec<String> = program.inputs().iter().map(|p| p.name.clone()).collect();
        let inputs = self.inputs(&names)?;
        let (mut loss, mut slope) = ([T::ZERO], vec![T::ZERO; self.params.len()]);
        let mut once = || gradient.run(self.par, &inputs, &mut [Output::Real(&mut loss), Output::Real(&mut slope)]);
        let (warm, peak) = growth(&mut once);
        warm?;
        let mut times = Vec::with_capacity(repeat);
        for _ in 0..repeat {
            let started = Instant::now();
            once()?;
            times.push(started.elapsed().as_secs_f64());
        }
        let run = median(times).unwrap_or_default();
        let workspace = gradient.workspace_bytes(self.par);
        Ok(Slope { loss: loss[0].to_f64(), gradient: slope, run, workspace, peak })
    }

    /// What every strategy needs for the operators and for the gradient of their squares in the parameters, for one chunk.
    pub(super) fn footprints(&self) -> Result<(usize, Vec<Footprint>), Error> {
        let rows = CHUNK.min(self.points.n);
        let model = self.model.trace_model(rows)?;
        let pde = self.pde(&model, &self.exact_operators());
        Ok((rows, pde.footprints::<T>(&[0]).map_err(|e| Error::Usage(e.to_string()))?))
    }

    fn gradient_program(&self, rows: usize) -> Result<Program, Error> {
        let model = self.model.trace_model(rows)?;
        let operator = self.pde(&model, &self.exact_operators()).build().map_err(|e| Error::Usage(e.to_string()))?;
        let ports: Vec<_> = (0..operator.inputs().len())
            .map(|i| (operator.inputs()[i].name.as_str(), operator.input_type(i).clone()))
            .collect();
        let scale = 0.5 / self.points.n as f64;
        let whole = trace(&ports, |t, x| {
            let refs: Vec<_> = x.iter().collect();
            vec![("loss", t.call(&operator, &refs).swap_remove(0).powf(2.0).sum_all() * scale)]
        })?;
        Ok(whole.value_and_grad(&[0])?.simplify()?)
    }
}

/// The program of a request, the seconds that took, and what all chunks cost together.
struct Compiled<T> {
    seconds: f64,
    chunked: Chunked<T>,
    /// Names of the inputs.
    names: Vec<String>,
    /// Shapes of one datum's outputs.
    shapes: Vec<Vec<usize>>,
    costs: Vec<Cost>,
}

impl<T> Compiled<T> {
    /// Shape of output `k` for all `n` points.
    fn shape(&self, k: usize, n: usize) -> Vec<usize> {
        core::iter::once(n).chain(self.shapes.get(k).into_iter().flatten().copied()).collect()
    }
}

fn array<T>(shape: &[usize], data: Vec<T>) -> Result<autodiff::Array<T>, Error> {
    autodiff::Array::new(shape, data).ok_or_else(|| Error::Usage("a result has the wrong size".into()))
}

/// Adds the flops of `times` runs; vectors are per datum.
fn add_up(totals: &mut Vec<Cost>, costs: &[Cost], times: u64) {
    for cost in costs {
        match totals.iter_mut().find(|t| t.name == cost.name) {
            Some(total) => total.flops += cost.flops * times,
            None => totals.push(Cost { flops: cost.flops * times, ..cost.clone() }),
        }
    }
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
    let error = if means.len() > 1 { Some(array(shape, error)?) } else { None };
    Ok((array(shape, mean)?, error))
}
