//! Operators of the network of arXiv:2505.13644 in its input: programs for a few points at a time, run over all of them.
//!
//! The benchmark and the reproduction of the paper's slopes time the same thing: the network D-768-768-512-512-1 (tanh) with
//! PyTorch's law of initial parameters, and points that are uniform in the unit cube.

use crate::numbers;
use crate::perceptron::layers;
use autodiff::nn::{ModelError, Sequential};
use autodiff::pde::{Chunked, Operator, Pde, Strategy, chunk_size};
use autodiff::{Error, Input, Output, Program, trace};
use numerics::{Par, Scalar};

/// Sizes of the layers for points of `dim` coordinates.
pub fn widths(dim: usize) -> [usize; 6] {
    [dim, 768, 768, 512, 512, 1]
}

/// The network, its parameters, and the points.
pub struct Setting<T> {
    /// The network.
    pub model: Sequential,
    /// Its parameters, one after the other.
    pub params: Vec<T>,
    /// The points, `[n, D]`.
    pub x: Vec<T>,
    /// How many points there are, and how many are taken at a time.
    pub n: usize,
    /// See `n`.
    pub chunk: usize,
    /// Threads.
    pub par: Par,
    /// Random directions and their weights, where the operator takes them.
    pub directions: Option<(Vec<T>, Vec<T>)>,
}

impl<T: Scalar> Setting<T> {
    /// The network for points of `dim` coordinates, and `n` points.
    pub fn new(dim: usize, n: usize, chunk: usize, par: Par) -> Self {
        let model = layers(&widths(dim), "tanh");
        let params = model.init(0);
        Setting { model, params, x: numbers(n * dim, 1), n, chunk, par, directions: None }
    }

    /// The program of an operator at `rows` points.
    ///
    /// # Errors
    /// An operator that does not fit the points.
    pub fn pde(&self, rows: usize, operator: &Operator, strategy: Strategy) -> Result<Program, ModelError> {
        let model = self.model.trace_model(rows)?;
        Ok(Pde::new(&model, 1).strategy(strategy).operator("operator", operator.clone()).build()?)
    }

    /// The operator at every point.
    ///
    /// # Errors
    /// An operator that does not fit the points.
    pub fn value(&self, operator: &Operator, strategy: Strategy) -> Result<Case<T>, ModelError> {
        let chunk = chunk_size(self.n, self.chunk, self.par);
        let chunked = Chunked::new(self.n, chunk, |rows| self.pde(rows, operator, strategy))?;
        Ok(Case { chunked, outputs: vec![vec![T::ZERO; self.n]] })
    }

    /// The program of half the mean over all points of the operator's squares, and of its gradient in the parameters.
    ///
    /// # Errors
    /// An operator that does not fit the points, or that takes inputs of its own.
    pub fn slope(&self, rows: usize, operator: &Operator, strategy: Strategy) -> Result<Program, ModelError> {
        let operator = self.pde(rows, operator, strategy)?;
        let ports = [("params", operator.input_type(0).clone()), ("x", operator.input_type(1).clone())];
        let scale = 0.5 / self.n as f64;
        let loss = trace(&ports, |t, x| {
            vec![("loss", t.call(&operator, &[&x[0], &x[1]]).swap_remove(0).powf(2.0).sum_all() * scale)]
        })?;
        Ok(loss.value_and_grad(&[0])?.simplify()?)
    }

    /// The same, compiled.
    ///
    /// # Errors
    /// Those of [`Setting::slope`].
    pub fn gradient(&self, operator: &Operator, strategy: Strategy) -> Result<Case<T>, ModelError> {
        let chunked = Chunked::new(self.n, self.chunk, |rows| self.slope(rows, operator, strategy))?;
        Ok(Case { chunked, outputs: vec![vec![T::ZERO], vec![T::ZERO; self.params.len()]] })
    }
}

/// A program compiled for the points of a setting, with room for what it returns.
pub struct Case<T> {
    chunked: Chunked<T>,
    /// What the last run returned.
    pub outputs: Vec<Vec<T>>,
}

impl<T: Scalar> Case<T> {
    /// Runs it over all points of the setting that it was made from.
    ///
    /// # Errors
    /// Another setting, or one without the directions that the operator takes.
    pub fn run(&mut self, s: &Setting<T>) -> Result<(), Error> {
        let mut inputs = vec![Input::Real(&s.params), Input::Real(&s.x)];
        inputs.extend(s.directions.iter().flat_map(|(v, w)| [Input::Real(v), Input::Real(w)]));
        let mut outputs: Vec<Output<'_, T>> = self.outputs.iter_mut().map(|x| Output::Real(x)).collect();
        self.chunked.run(s.par, &inputs, &mut outputs)
    }
}
