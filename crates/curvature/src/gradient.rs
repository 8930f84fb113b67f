//! Value and gradient of a risk, compiled: chunk by chunk, shares added in order.

use crate::chunk::{Chunk, Source};
use crate::error::Error;
use crate::risk::{Risk, residual_bytes};
use crate::split::split;
use autodiff::{Executable, Input, Output, Workspace};
use numerics::Scalar;

/// Programs of one chunk size.
struct Variant<T> {
    sources: Vec<Source>,
    program: Executable<T>,
}

/// A risk's value and gradient, compiled for repeated evaluation at its point.
///
/// Cost of an evaluation: a forward and a backward pass over all data.
pub struct Gradient<T> {
    risk: Risk<T>,
    chunks: Vec<(Chunk, usize)>,
    variants: Vec<Variant<T>>,
    workspace: Workspace<T>,
    share: Vec<T>,
}

impl<T> core::fmt::Debug for Gradient<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Gradient({:?}, {} chunks)", self.risk, self.chunks.len())
    }
}

impl<T: Scalar> Gradient<T> {
    /// The value of the risk; its gradient goes to `gradient`.
    ///
    /// # Errors
    /// Room of the wrong length; an index out of range.
    pub fn evaluate(&mut self, gradient: &mut [T]) -> Result<T, Error> {
        if gradient.len() != self.risk.dim() {
            return Err(Error::Parameters { expected: self.risk.dim(), got: gradient.len() });
        }
        let (mut sum, mut value) = (T::ZERO, [T::ZERO]);
        for (i, (chunk, variant)) in self.chunks.iter().enumerate() {
            let Variant { sources, program } = &self.variants[*variant];
            let inputs: Vec<Input<'_, T>> = sources.iter().map(|s| s.value(&self.risk, chunk, &[])).collect();
            let slope = if i == 0 { &mut *gradient } else { &mut self.share };
            let mut outputs = [Output::Real(&mut value), Output::Real(slope)];
            program.run(&mut self.workspace, &inputs, &mut outputs)?;
            sum += value[0];
            if i > 0 {
                numerics::simd::axpy(gradient, T::ONE, &self.share);
            }
        }
        let scale = self.risk.loss_scale();
        gradient.iter_mut().for_each(|g| *g *= scale);
        Ok(sum * scale)
    }
}

impl<T: Scalar> Risk<T> {
    /// Value and gradient, compiled.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have.
    pub fn gradient(&self) -> Result<Gradient<T>, Error> {
        let list = self.chunks(|n| {
            let cut = split(&self.traced(0, n)?.whole.jvp(&[0])?.select_outputs(&[1])?, 1)?;
            Ok(residual_bytes::<T>(&cut.primal, &cut.fixed))
        })?;
        let (mut known, mut variants, mut chunks) = (Vec::new(), Vec::new(), Vec::with_capacity(list.len()));
        for chunk in list {
            let types = self.chunk_types(&chunk);
            let variant = match known.iter().position(|key| *key == types) {
                Some(at) => at,
                None => {
                    let whole = self.traced(chunk.batch, chunk.rows.len())?.whole;
                    let sources = Source::list(whole.inputs())?;
                    variants.push(Variant { sources, program: whole.value_and_grad(&[0])?.compile()? });
                    known.push(types);
                    known.len() - 1
                }
            };
            chunks.push((chunk, variant));
        }
        let share = if chunks.len() > 1 { vec![T::ZERO; self.dim()] } else { Vec::new() };
        Ok(Gradient { risk: self.clone(), chunks, variants, workspace: Workspace::new(), share })
    }

    /// Value and gradient of the risk, once.
    ///
    /// # Errors
    /// A derivative that some operation of the model does not have; an index out of range.
    pub fn value_and_gradient(&self) -> Result<(T, Vec<T>), Error> {
        let mut gradient = vec![T::ZERO; self.dim()];
        let value = self.gradient()?.evaluate(&mut gradient)?;
        Ok((value, gradient))
    }
}
