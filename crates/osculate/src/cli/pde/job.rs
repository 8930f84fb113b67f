//! The evaluation: programs per chunk of points, timed runs, estimates with standard errors, parameter gradients.

use super::points::Points;
use super::samples::Samples;
use super::{Error, Name, Request};
use crate::cli::timing::median;
use autodiff::nn::Sequential;
use autodiff::pde::{Cost, Operator, Pde};
use autodiff::{Executable, Input, Output, Program, Workspace, trace};
use numerics::rng::Law;
use numerics::{Par, Scalar};
use std::time::Instant;

/// Points that go through one compiled program.
const CHUNK: usize = 64;

/// Results `[N, ..]` with their standard errors.
pub(super) type Results<T> = Vec<(autodiff::Array<T>, Option<autodiff::Array<T>>)>;

/// What was found, and the seconds of compilation and of one evaluation.
pub(super) struct Evaluation<T> {
    pub(super) compile: f64,
    pub(super) run: f64,
    pub(super) results: Results<T>,
    pub(super) costs: Vec<Cost>,
}

pub(super) struct Job<'a, T> {
    pub(super) model: &'a Sequential,
    pub(super) params: &'a [T],
    pub(super) points: &'a Points<T>,
    pub(super) request: &'a Request<T>,
    pub(super) par: Par,
}

impl<T: Scalar> Job<'_, T> {
    /// Ranges of points of at most `CHUNK`.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let n = self.points.n;
        (0..n).step_by(CHUNK).map(move |from| (from, (from + CHUNK).min(n)))
    }

    fn pde<'m>(&self, model: &'m Program, operators: &[(String, Operator)]) -> Pde<'m> {
        let pde = Pde::new(model, 1).strategy(self.request.strategy);
        operators.iter().fold(pde, |pde, (name, operator)| pde.operator(name.clone(), operator.clone()))
    }

    fn exact_operators(&self) -> Vec<(String, Operator)> {
        self.request.operators.iter().map(|(label, _, op)| (label.clone(), op.clone())).collect()
    }

    /// Inputs of a chunk of an exact program, in its order.
    fn inputs(&self, program: &Program, from: usize, to: usize) -> Result<Vec<Input<'_, T>>, Error> {
        let one = |i: usize| {
            let name = program.inputs()[i].name.as_str();
            let given = match (i, name.rsplit('.').next()) {
                (0, _) => Some(self.params),
                (1, _) => Some(self.points.part(from, to)),
                (_, Some("sigma")) => self.request.sigma.as_ref().map(|s| s.part(from, to)),
                (_, Some("drift")) => self.request.drift.as_ref().map(|b| b.part(from, to)),
                _ => None,
            };
            given.map(Input::Real).ok_or_else(|| Error::Usage(format!("input {name:?} is not known")))
        };
        (0..program.inputs().len()).map(one).collect()
    }

    /// Programs compiled per chunk size, and what all chunks cost together; a request that makes no sense is a usage error.
    fn compiled(&self, operators: &[(String, Operator)]) -> Result<Compiled<T>, Error> {
        let started = Instant::now();
        let mut programs: Vec<ForRows<T>> = Vec::new();
        let mut costs = Vec::new();
        for (from, to) in self.chunks() {
            let rows = to - from;
            if programs.iter().any(|p| p.0 == rows) {
                continue;
            }
            let model = self.model.trace_model(rows)?;
            let pde = self.pde(&model, operators);
            let program = pde.build().map_err(|e| Error::Usage(e.to_string()))?;
            let executable = program.compile()?;
            programs.push((rows, program, executable));
            add_up(&mut costs, &pde.costs()?, self.chunks().filter(|c| c.1 - c.0 == rows).count() as u64);
        }
        Ok(Compiled { seconds: started.elapsed().as_secs_f64(), programs, costs })
    }

    /// Evaluates all chunks into `results`, one flat list per output.
    fn evaluate<'b>(
        &self,
        compiled: &Compiled<T>,
        workspace: &mut Workspace<T>,
        results: &mut [Vec<T>],
        inputs: impl Fn(&Program, usize, usize) -> Result<Vec<Input<'b, T>>, Error>,
    ) -> Result<(), Error> {
        for (from, to) in self.chunks() {
            let Some((rows, program, executable)) = compiled.programs.iter().find(|p| p.0 == to - from) else {
                continue;
            };
            let mut outputs: Vec<Output<'_, T>> = results
                .iter_mut()
                .enumerate()
                .map(|(k, all)| {
                    let width = program.output_type(k).numel() / rows;
                    all.resize(self.points.n * width, T::ZERO);
                    Output::Real(&mut all[from * width..to * width])
                })
                .collect();
            executable.run(workspace, &inputs(program, from, to)?, &mut outputs)?;
        }
        Ok(())
    }

    pub(super) fn exact(&self, repeat: usize) -> Result<Evaluation<T>, Error> {
        let compiled = self.compiled(&self.exact_operators())?;
        let mut workspace = Workspace::with_par(self.par);
        let mut flat = vec![Vec::new(); self.request.operators.len()];
        let mut times = Vec::with_capacity(repeat);
        for _ in 0..=repeat {
            let started = Instant::now();
            self.evaluate(&compiled, &mut workspace, &mut flat, |p, from, to| self.inputs(p, from, to))?;
            times.push(started.elapsed().as_secs_f64());
        }
        let mut results = Results::new();
        for (k, data) in flat.into_iter().enumerate() {
            results.push((array(&compiled.shape(k, self.points.n), data)?, None));
        }
        // The first run warms up.
        let run = median(times.split_off(1)).unwrap_or_default();
        Ok(Evaluation { compile: compiled.seconds, run, results, costs: compiled.costs })
    }

    /// Means over groups of directions, and their spread. Groups of one size share their programs.
    pub(super) fn stochastic(&self, samples: &Samples<T>, repeat: usize) -> Result<Evaluation<T>, Error> {
        let mut done = Evaluation { compile: 0.0, run: 0.0, results: Results::new(), costs: Vec::new() };
        let mut times = vec![0.0; repeat.max(1)];
        let mut workspace = Workspace::with_par(self.par);
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
                let laid: Vec<Vec<T>> = self.chunks().map(|c| self.laid_out(samples, &directions, c)).collect();
                let mut values = vec![Vec::new()];
                for time in &mut times {
                    let started = Instant::now();
                    self.evaluate(compiled, &mut workspace, &mut values, |_, from, to| {
                        let all = [self.params, self.points.part(from, to), &laid[from / CHUNK], &weights];
                        Ok(all.map(Input::Real).to_vec())
                    })?;
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

    /// A group's directions as the program of a chunk takes them: `[R, D]`, or `[R, rows, D]` per datum.
    fn laid_out(&self, samples: &Samples<T>, directions: &[Vec<T>], (from, to): (usize, usize)) -> Vec<T> {
        let d = self.points.d;
        let range = if samples.per_datum { from * d..to * d } else { 0..d };
        directions.iter().flat_map(|v| v[range.clone()].iter().copied()).collect()
    }

    /// `(1/2N) sum (operator)^2` and its gradient in the parameters.
    pub(super) fn parameter_gradient(&self) -> Result<(f64, Vec<T>), Error> {
        let (mut sum, mut share) = (vec![T::ZERO; self.params.len()], vec![T::ZERO; self.params.len()]);
        let (mut loss, mut value) = (0.0, [T::ZERO]);
        let mut workspace = Workspace::with_par(self.par);
        let mut made: Vec<ForRows<T>> = Vec::new();
        for (from, to) in self.chunks() {
            let rows = to - from;
            if !made.iter().any(|m| m.0 == rows) {
                let gradient = self.gradient_program(rows)?;
                let executable = gradient.compile()?;
                made.push((rows, gradient, executable));
            }
            let Some((_, program, executable)) = made.iter().find(|m| m.0 == rows) else { continue };
            let mut outputs = [Output::Real(&mut value), Output::Real(&mut share)];
            executable.run(&mut workspace, &self.inputs(program, from, to)?, &mut outputs)?;
            loss += value[0].to_f64();
            sum.iter_mut().zip(&share).for_each(|(s, &g)| *s += g);
        }
        Ok((loss, sum))
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
        Ok(whole.value_and_grad(&[0])?)
    }
}

/// A number of points, and the program for so many.
type ForRows<T> = (usize, Program, Executable<T>);

/// Compiled programs by chunk size, the seconds that took, and what all chunks cost together.
struct Compiled<T> {
    seconds: f64,
    programs: Vec<ForRows<T>>,
    costs: Vec<Cost>,
}

impl<T> Compiled<T> {
    /// Shape of output `k` for all `n` points.
    fn shape(&self, k: usize, n: usize) -> Vec<usize> {
        let inner = self.programs.first().map(|p| p.1.output_type(k).shape[1..].to_vec());
        core::iter::once(n).chain(inner.unwrap_or_default()).collect()
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
