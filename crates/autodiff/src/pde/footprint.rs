//! What each strategy needs: vectors, operations, and memory from the compiled plans.

use super::build::Pde;
use super::points::Strategy;
use crate::error::Error;
use crate::program::Program;
use crate::trace::trace;
use numerics::Scalar;

/// The needs of one strategy, for the data of the program.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Footprint {
    /// How derivatives are made.
    pub strategy: Strategy,
    /// Vectors per datum that a linear layer in the middle of the network multiplies, of all operators.
    pub vectors: usize,
    /// Floating-point operations of all operators.
    pub flops: u64,
    /// Bytes that a run works in, besides its inputs and outputs.
    pub bytes: usize,
    /// Floating-point operations of half the sum of squares with its gradient.
    pub gradient_flops: u64,
    /// Bytes that this works in: what the operators' values need and what is kept for the way back.
    pub gradient_bytes: usize,
}

impl Pde<'_> {
    /// What every strategy needs for the operators, and for the gradient of half the sum of their squares in the inputs `wrt`.
    ///
    /// ```
    /// use autodiff::pde::{Operator, Pde, Strategy};
    /// use autodiff::{TensorType, trace};
    /// let ports = [("x", TensorType::real(&[16, 8])), ("w", TensorType::real(&[8, 32])), ("v", TensorType::real(&[32, 32]))];
    /// let f = trace(&ports, |_, t| vec![("f", t[0].matmul(&t[1]).tanh().matmul(&t[2]).tanh().sum(&[1]))])?;
    /// let all = Pde::new(&f, 0).operator("laplacian", Operator::Laplacian).footprints::<f64>(&[1, 2])?;
    /// let of = |s: Strategy| all.iter().find(|f| f.strategy == s).unwrap();
    /// assert!(of(Strategy::Collapsed).bytes < of(Strategy::Taylor).bytes);
    /// assert!(of(Strategy::Collapsed).gradient_bytes < of(Strategy::Taylor).gradient_bytes);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`build`](Self::build); `wrt` that names no differentiable input.
    pub fn footprints<T: Scalar>(&self, wrt: &[usize]) -> Result<Vec<Footprint>, Error> {
        let all = [Strategy::Nested, Strategy::Taylor, Strategy::Collapsed, Strategy::Auto];
        all.into_iter().map(|strategy| self.clone().strategy(strategy).footprint::<T>(wrt)).collect()
    }

    /// The same for the strategy of this request alone.
    ///
    /// # Errors
    /// As for [`footprints`](Self::footprints).
    pub fn footprint<T: Scalar>(&self, wrt: &[usize]) -> Result<Footprint, Error> {
        let (program, vectors) = self.counted()?;
        let gradient = squares(&program)?.value_and_grad(wrt)?.simplify()?.stack()?.recompute()?;
        let program = program.stack()?.recompute()?;
        Ok(Footprint {
            strategy: self.strategy,
            vectors,
            flops: program.flops(),
            bytes: program.compile::<T>()?.workspace_bytes(),
            gradient_flops: gradient.flops(),
            gradient_bytes: gradient.compile::<T>()?.workspace_bytes(),
        })
    }
}

/// Half the sum of squares of all outputs.
fn squares(program: &Program) -> Result<Program, Error> {
    let ports: Vec<_> = (0..program.inputs().len())
        .map(|i| (program.inputs()[i].name.as_str(), program.input_type(i).clone()))
        .collect();
    trace(&ports, |t, x| {
        let outputs = t.call(program, &x.iter().collect::<Vec<_>>());
        let sum = outputs.iter().fold(t.scalar(0.0), |sum, y| sum + y.powf(2.0).sum_all());
        vec![("loss", sum * 0.5)]
    })
}
