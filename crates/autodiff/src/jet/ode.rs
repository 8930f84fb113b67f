//! Taylor series of the solution of a differential equation (Bettencourt et al. 2019, "Taylor-Mode Automatic Differentiation for
//! Higher-Order Derivatives in JAX"; Griewank and Walther, chapter 13).
//!
//! With `z' = f(z)` and `z(t) = sum_k z_k t^k` the next coefficient is `z_{k+1} = f_k(z_0, .., z_k) / (k + 1)`. Every round propagates one
//! order more; by recurrences its lower orders are the nodes of the round before, which the builder finds again, so that the
//! program grows by what is new only: `O(K^2)` operations per elementwise function, one product per linear layer and order.

use super::push::{Expansion, Mode, Series, propagate};
use crate::error::Error;
use crate::program::{Builder, Program};
use crate::transform::{check_wrt, declare_inputs};

impl Program {
    /// The Taylor coefficients `z_0 .. z_order` of the solution of `z' = f(z)` through input `z`, `f` being output 0: a program of the same
    /// inputs with one output `series` `[order + 1]` + shape of `z`. The other inputs do not move. Coefficients are scaled: the solution
    /// at `t` is `sum_k z_k t^k`.
    ///
    /// ```
    /// use autodiff::{Array, TensorType, trace};
    /// // z' = z^2 from 1/2: z(t) = 1 / (2 - t), coefficients 2^-(k+1).
    /// let f = trace(&[("z", TensorType::real(&[1]))], |_, z| vec![("dz", &z[0] * &z[0])])?;
    /// let out = f.solution_series(0, 3)?.interpret(&[Array::new(&[1], vec![0.5]).unwrap().into()])?;
    /// assert_eq!(out[0].real().unwrap().data(), [0.5, 0.25, 0.125, 0.0625]);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownName`] if `z` is no differentiable input; an output 0 of another type than `z`.
    pub fn solution_series(&self, z: usize, order: usize) -> Result<Program, Error> {
        check_wrt(self, &[z])?;
        let ty = self.input_type(z).clone();
        if self.outputs().is_empty() || *self.output_type(0) != ty {
            let why = format!("output 0 must be the derivative of the input, of its type {ty}");
            return Err(Error::unsupported("solution_series", "derivative", why));
        }
        let program = &self.inline()?;
        let at = program.outputs()[0].node.index();
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, program);
        let lead: Vec<usize> = core::iter::once(1).chain(ty.shape.iter().copied()).collect();
        let mut each = Vec::with_capacity(order);
        for k in 0..order {
            let mode = Mode {
                order: k,
                directions: 1,
                collapsed: false,
                weights: None,
                form: None,
                expansion: Expansion::Recurrences,
            };
            let mut seeds = vec![None; inputs.len()];
            if k > 0 {
                seeds[z] = Some(Series { each: each.clone(), top: None });
            }
            let (primal, series) = propagate(&mut b, program, &inputs, &seeds, &mode)?;
            let slope = match k {
                0 => Some(b.reshape(primal[at], &lead)?),
                _ => series[at].as_ref().and_then(|s| s.each.get(k - 1).copied().flatten()),
            };
            each.push(slope.map(|s| b.scale(s, 1.0 / (k as f64 + 1.0))).transpose()?);
        }
        let mut rows = vec![b.reshape(inputs[z], &lead)?];
        for coefficient in each {
            rows.push(match coefficient {
                Some(c) => c,
                None => b.full(&lead, 0.0)?,
            });
        }
        let joined = b.concat(&rows, 0)?;
        b.finish(vec![("series".into(), joined)]).simplify()
    }
}
