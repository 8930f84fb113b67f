//! The evaluation: programs per chunk of points, timed runs, estimates with standard errors, parameter gradients.

use super::points::Points;
use super::samples::Samples;
use super::{Error, Name, Request};
use autodiff::nn::Sequential;
use autodiff::pde::{Cost, Operator, Pde};
use autodiff::{Executable, Program, Value, Workspace, trace};
use numerics::rng::Law;
use numerics::{Par, Scalar};
use std::time::Instant;

/// Points that go through one compiled program.
const CHUNK: usize = 64;

/// Results `[N, ..]` with their standard errors.
pub(super) type Results<T> = Vec<(autodiff::Array<T>, Option<autodiff::Array<T>>)>;

pub(super) struct Job<'a, T> {
    pub(super) model: &'a Sequential,
    pub(super) params: &'a [T],
    pub(super) points: &'a Points<T>,
    pub(super) request: &'a Request<T>,
    pub(super) par: Par,
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
    fn compiled(&self, operators: &[(String, Operator)]) -> Result<Built<T>, Error> {
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
        Ok(Built { seconds: started.elapsed().as_secs_f64(), made, costs })
    }

    pub(super) fn exact(&mut self, repeat: usize) -> Result<(f64, f64, Results<T>, Vec<Cost>), Error> {
        let Built { seconds: compile, made, costs } = self.compiled(&self.exact_operators())?;
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
    pub(super) fn stochastic(
        &mut self,
        samples: &Samples<T>,
        repeat: usize,
    ) -> Result<(f64, f64, Results<T>, Vec<Cost>), Error> {
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
                let Built { seconds, made, costs } = self.compiled(&[(label.clone(), operator)])?;
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
    pub(super) fn parameter_gradient(&self) -> Result<(f64, Vec<T>), Error> {
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

/// Compiled programs, the time that took, and what all chunks cost together.
struct Built<T> {
    seconds: f64,
    made: Vec<Compiled<T>>,
    costs: Vec<Cost>,
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
