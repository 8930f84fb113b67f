//! Hessian-free optimisation (Martens 2010): damped Gauss-Newton steps from products alone.
//!
//! `(J^T J + damping I) d = -g` is solved by conjugate gradients to a loose tolerance. The damping follows Levenberg and Marquardt:
//! with `rho` the decrease of the loss divided by the one that the quadratic model predicts, it is tripled below 1/4 and halved
//! above 3/4. A step that does not lower the loss enough is halved some times, then given up. A step costs a linearisation, a product for
//! every iteration and one more, and a value for every trial.

use crate::gauss_newton::{HalfSquare, Linearized, Point};
use autodiff::{Array, Program, Value};
use linop_core::Op;
use linop_core::krylov::{Options, cg};
use numerics::{MatRef, Par, dense};

/// What went wrong.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Rules of the method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The first damping, and the least one.
    pub(crate) damping: f64,
    /// See `damping`.
    pub(crate) least_damping: f64,
    /// Tolerance of the linear systems, relative to the gradient.
    pub(crate) tolerance: f64,
    /// Most iterations for one system.
    pub(crate) iterations: usize,
    /// How often a step may be halved.
    pub(crate) halvings: i32,
}

impl Default for Config {
    fn default() -> Self {
        Config { damping: 1.0, least_damping: 1e-12, tolerance: 1e-2, iterations: 200, halvings: 5 }
    }
}

/// Share of the slope that a step has to gain (Armijo).
const GAIN: f64 = 1e-4;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// The loss before it, and after it.
    pub(crate) before: f64,
    /// See `before`.
    pub(crate) loss: f64,
    /// The damping of its system.
    pub(crate) damping: f64,
    /// Decrease of the loss along the whole step, divided by the predicted one.
    pub(crate) ratio: f64,
    /// Products with the Gauss-Newton matrix.
    pub(crate) products: usize,
    /// The part of it that was taken: a power of 1/2, or 0.
    pub(crate) share: f64,
}

/// The method for one residual program.
pub(crate) struct HessianFree {
    config: Config,
    damping: f64,
    linearized: Linearized,
    loss: HalfSquare,
}

impl HessianFree {
    /// For a residual program `(params, data..) -> residual`.
    ///
    /// # Errors
    /// A derivative that an operation does not have.
    pub(crate) fn new(residual: &Program, config: Config) -> Result<Self, Failure> {
        Ok(HessianFree {
            config,
            damping: config.damping,
            linearized: Linearized::new(residual)?,
            loss: HalfSquare::new(residual)?,
        })
    }

    /// One step: the parameters are the first of the inputs, and change in place.
    ///
    /// # Errors
    /// Inputs that do not fit; a residual that is not finite.
    pub(crate) fn step(&mut self, inputs: &mut [Value<f64>]) -> Result<Step, Failure> {
        let Point { loss: before, gradient, matrix } = self.linearized.at(inputs)?;
        let start = inputs[0].real().ok_or("parameters of integers")?.data().to_vec();
        let (op, damping) = (Op::new(matrix), self.damping);
        let (d, products) = self.direction(&op, &gradient)?;
        let slope = dense::dot(&gradient, &d);
        let bent = op.times_mat(column(&d), Par::Seq)?;
        let predicted = -slope - 0.5 * dense::dot(&d, bent.col_as_slice(0));
        let (mut share, mut taken, mut ratio) = (1.0, None, f64::NAN);
        for halving in 0..=self.config.halvings {
            share = 0.5f64.powi(halving);
            let moved: Vec<f64> = start.iter().zip(&d).map(|(x, d)| x + share * d).collect();
            inputs[0] = Value::Real(Array::new(&[moved.len()], moved).ok_or("parameters of another length")?);
            let loss = self.loss.at(inputs)?;
            if halving == 0 {
                ratio = (before - loss) / predicted;
            }
            if loss <= before + GAIN * share * slope {
                taken = Some(loss);
                break;
            }
        }
        if taken.is_none() {
            share = 0.0;
            inputs[0] = Value::Real(Array::new(&[start.len()], start).ok_or("parameters of another length")?);
        }
        self.adapt(ratio);
        Ok(Step { before, loss: taken.unwrap_or(before), damping, ratio, products: products + 1, share })
    }

    /// The step that the damped model asks for, and the products that it took.
    fn direction(&self, matrix: &Op<f64>, gradient: &[f64]) -> Result<(Vec<f64>, usize), Failure> {
        let down: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let options =
            Options { rtol: self.config.tolerance, max_iter: Some(self.config.iterations), ..Options::default() };
        // A system that stops at the limit has a direction of descent too.
        let found = cg(matrix.shifted(self.damping)?.as_dyn(), column(&down), &options, Par::Seq)?;
        Ok((found.x.col_as_slice(0).to_vec(), found.report.products))
    }

    /// The next damping; a ratio that is no number counts as a bad one.
    fn adapt(&mut self, ratio: f64) {
        if ratio > 0.75 {
            self.damping = (self.damping / 2.0).max(self.config.least_damping);
        } else if ratio.is_nan() || ratio < 0.25 {
            self.damping *= 3.0;
        }
    }
}

fn column(x: &[f64]) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(x, x.len(), 1)
}
