//! Runs: the two methods from the same start on the same points, and what they have reached on the way.

use crate::gauss_newton::HalfSquare;
use crate::hessian_free::{Config, Failure, HessianFree};
use crate::problem::{Points, loss_and_gradient, network, residual, solution, uniform};
use autodiff::nn::Sequential;
use autodiff::{Array, Executable, Input, Output, Program, Value, Workspace};
use numerics::rng::Role;
use optim::{AdamW, AdamWConfig, Grads, Optimizer, ParamGroup, ParamList};
use std::time::Instant;

/// Units of the hidden layer.
const WIDTH: usize = 64;
/// Points inside, on the boundary, and of the test.
const INTERIOR: usize = 900;
const BOUNDARY: usize = 120;
const TEST: usize = 9000;

/// A state on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) step: usize,
    /// Seconds in steps so far.
    pub(crate) seconds: f64,
    pub(crate) loss: f64,
    pub(crate) rmse: f64,
}

/// A run ends when it has taken so many steps and so many seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    /// Steps from one state that is kept to the next.
    pub(crate) every: usize,
}

/// A method that changes the parameters, which are the first of its inputs.
trait Method {
    fn step(&mut self, inputs: &mut [Value<f64>]) -> Result<(), Failure>;
}

impl Method for HessianFree {
    fn step(&mut self, inputs: &mut [Value<f64>]) -> Result<(), Failure> {
        HessianFree::step(self, inputs).map(|_| ())
    }
}

/// Adam with PyTorch's settings.
struct Adam {
    optimizer: AdamW<f64>,
    slope: Executable<f64>,
    workspace: Workspace<f64>,
    gradient: Vec<f64>,
}

impl Adam {
    fn new(residual: &Program) -> Result<Self, Failure> {
        let dim = residual.input_type(0).numel();
        let mut list = ParamList::new();
        let all = list.add_group(ParamGroup::new("all"));
        list.push("params", &[dim], all)?;
        let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() })?;
        optimizer.init(&list)?;
        let slope = loss_and_gradient(residual)?.compile()?;
        Ok(Adam { optimizer, slope, workspace: Workspace::new(), gradient: vec![0.0; dim] })
    }
}

impl Method for Adam {
    fn step(&mut self, inputs: &mut [Value<f64>]) -> Result<(), Failure> {
        let given: Vec<Input<'_, f64>> = inputs.iter().map(Input::from).collect();
        let mut loss = [0.0];
        let outputs = &mut [Output::Real(&mut loss), Output::Real(&mut self.gradient)];
        self.slope.run(&mut self.workspace, &given, outputs)?;
        let Value::Real(params) = &mut inputs[0] else { return Err("parameters of integers".into()) };
        self.optimizer.step(params.data_mut(), Grads::all(&self.gradient), 1.0)?;
        Ok(())
    }
}

/// Judges parameters: the loss, and the root of the mean squared error at points of their own.
struct Judge {
    loss: HalfSquare,
    model: Executable<f64>,
    workspace: Workspace<f64>,
    points: Value<f64>,
    exact: Vec<f64>,
}

impl Judge {
    fn new(model: &Sequential, residual: &Program, seed: u64) -> Result<Self, Failure> {
        let points = uniform(seed, Role::PdeEvaluation, TEST);
        let exact = points.chunks_exact(2).map(|p| solution([p[0], p[1]])).collect();
        let (loss, model) = (HalfSquare::new(residual)?, model.trace_model(TEST)?.compile()?);
        Ok(Judge { loss, model, workspace: Workspace::new(), points: array(&[TEST, 2], points)?, exact })
    }

    fn state(&mut self, step: usize, seconds: f64, inputs: &[Value<f64>]) -> Result<State, Failure> {
        let f = self.model.call_with(&mut self.workspace, &[inputs[0].clone(), self.points.clone()])?;
        let f = f[0].real().ok_or("a model of integers")?.data();
        let squares: f64 = f.iter().zip(&self.exact).map(|(f, y)| (f - y).powi(2)).sum();
        Ok(State { step, seconds, loss: self.loss.at(inputs)?, rmse: (squares / TEST as f64).sqrt() })
    }
}

fn array(shape: &[usize], data: Vec<f64>) -> Result<Value<f64>, Failure> {
    Ok(Array::new(shape, data).ok_or("data of another shape")?.into())
}

/// Seconds of this program on a processor, or of the clock where the system does not say.
fn now(origin: Instant) -> f64 {
    osculate::cli::processor_seconds().unwrap_or_else(|| origin.elapsed().as_secs_f64())
}

/// The names of the methods.
pub(crate) const METHODS: [&str; 2] = ["Adam", "Hessian-free"];

/// One run of each method, from the same start on the same points.
pub(crate) fn both(seed: u64, budgets: [Budget; 2]) -> Result<[Vec<State>; 2], Failure> {
    let model = network(WIDTH)?;
    let program = residual(|n| model.trace_model(n), INTERIOR, BOUNDARY)?;
    let points = Points::draw(seed, INTERIOR, BOUNDARY);
    let params = model.init::<f64>(seed);
    let start = [
        array(&[params.len()], params)?,
        array(&[INTERIOR, 2], points.interior)?,
        array(&[INTERIOR], points.source)?,
        array(&[BOUNDARY, 2], points.boundary)?,
    ];
    let mut judge = Judge::new(&model, &program, seed)?;
    let (mut adam, mut free) = (Adam::new(&program)?, HessianFree::new(&program, Config::default())?);
    Ok([one(&mut adam, &start, &mut judge, budgets[0])?, one(&mut free, &start, &mut judge, budgets[1])?])
}

/// What judging takes does not count.
fn one(
    method: &mut dyn Method,
    start: &[Value<f64>],
    judge: &mut Judge,
    budget: Budget,
) -> Result<Vec<State>, Failure> {
    let origin = Instant::now();
    let (mut inputs, mut step, mut seconds) = (start.to_vec(), 0, 0.0);
    let mut states = vec![judge.state(0, 0.0, &inputs)?];
    while step < budget.steps || seconds < budget.seconds {
        let begun = now(origin);
        for _ in 0..budget.every {
            method.step(&mut inputs)?;
        }
        seconds += now(origin) - begun;
        step += budget.every;
        states.push(judge.state(step, seconds, &inputs)?);
    }
    Ok(states)
}
