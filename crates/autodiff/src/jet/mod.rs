//! Taylor mode: how a program moves along curves, to any order, and collapsed to a weighted sum at the top.
//!
//! Along `x(t) = sum_k x_k t^k` an output is `y(t) = sum_k y_k t^k`. One propagation gives the derivatives of every order for
//! `R` curves through one point; the primal value is computed once. Inside, coefficients are scaled (`x_k = x^(k)(0)/k!`);
//! at the interface everything is a derivative. Collapsing (arXiv:2505.13644) propagates the sum over the directions of
//! the top order in the place of its `R` parts: `2 + (K-1) R` vectors instead of `1 + K R`.

pub(crate) mod algebra;
mod ode;
mod push;
mod recurrence;
mod tower;

pub use push::Expansion;
pub(crate) use push::{Mode, Series, directional, propagate, propagate_from};

use crate::error::Error;
use crate::program::{Builder, NodeId, Program};
use crate::transform::{check_wrt, declare_inputs};
use crate::types::TensorType;

/// What a jet propagates.
///
/// ```
/// use autodiff::{Array, Jet, TensorType, trace};
/// // The first four derivatives of sin at 0 in direction 1.
/// let f = trace(&[("x", TensorType::real(&[1]))], |_, x| vec![("y", x[0].sin())])?;
/// let jet = f.jet(&[0], &Jet::new(4, 1).straight())?;
/// let one = |v: f64| Array::new(&[1], vec![v]).unwrap();
/// let direction = Array::new(&[1, 1], vec![1.0]).unwrap();
/// let out = jet.interpret(&[one(0.0).into(), direction.into()])?;
/// let derivatives: Vec<f64> = out[1..].iter().map(|v| v.real().unwrap().data()[0]).collect();
/// assert_eq!(derivatives, [1.0, 0.0, -1.0, 0.0]);
/// # Ok::<(), autodiff::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jet {
    order: usize,
    directions: usize,
    straight: bool,
    expansion: Expansion,
}

impl Jet {
    /// Derivatives up to `order` along `directions` curves.
    pub fn new(order: usize, directions: usize) -> Self {
        Jet { order, directions, straight: false, expansion: Expansion::Auto }
    }

    /// The curves are straight lines: only first derivatives are inputs, the others are structurally zero.
    #[must_use]
    pub fn straight(mut self) -> Self {
        self.straight = true;
        self
    }

    /// How elementwise functions are expanded.
    #[must_use]
    pub fn expansion(mut self, expansion: Expansion) -> Self {
        self.expansion = expansion;
        self
    }
}

/// `k!`.
pub(crate) fn factorial(k: usize) -> f64 {
    (1..=k).map(|i| i as f64).product()
}

impl Program {
    /// Taylor mode in the inputs `wrt`.
    ///
    /// The new program takes the inputs, then for `k = 1 ..= K` (only 1 if straight) a derivative `d{k}.name` `[R, S]` for each
    /// of `wrt` of shape `[S]`; it returns the outputs, then for each `k` a derivative `d{k}.name` `[R, S]` per real output.
    /// Order 0 is the program itself. Costs about `1 + K R` programs in the linear operations.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if `wrt` names no differentiable input.
    pub fn jet(&self, wrt: &[usize], jet: &Jet) -> Result<Program, Error> {
        check_wrt(self, wrt)?;
        if jet.order == 0 {
            return Ok(self.clone());
        }
        let program = &self.inline()?;
        let mut run = Run::start(program, wrt, jet, false)?;
        let (primal, series) = propagate(&mut run.b, program, &run.inputs, &run.seeds, &run.mode)?;
        let mut outputs = program.named_outputs(&primal);
        for k in 1..=jet.order {
            run.derivatives(program, &primal, &series, k, &mut outputs)?;
        }
        Ok(run.b.finish(outputs))
    }

    /// Collapsed Taylor mode in the inputs `wrt`: like [`jet`](Self::jet), but of the top order only the weighted sum over the
    /// directions goes in and comes out (arXiv:2505.13644, section 3.1).
    ///
    /// The new program takes the inputs; for `k = 1 .. K` derivatives `d{k}.name` `[R, S]` (only `k = 1` if straight); unless
    /// straight, `sum.name` `[S]` = `sum_r w_r x^(K)_r`; and the `weights` `[R]`, of any sign. It returns the outputs, for `k = 1 .. K`
    /// derivatives `d{k}.name` `[R, S]`, and `sum.name` `[S]` = `sum_r w_r y^(K)_r` per real output. At order 1 a straight
    /// collapsed jet takes its directions through `sum.name`, since no order is kept per direction.
    ///
    /// ```
    /// use autodiff::{Array, Jet, TensorType, trace};
    /// // The Laplacian of x^2 + 3 y^2 from two directions.
    /// let f = trace(&[("x", TensorType::real(&[2]))], |t, x| {
    ///     vec![("y", (x[0].powf(2.0) * t.constant(&[2], &[1.0, 3.0])).sum_all())]
    /// })?;
    /// let laplacian = f.collapsed_jet(&[0], &Jet::new(2, 2).straight())?;
    /// let x = Array::new(&[2], vec![0.3, 0.4]).unwrap();
    /// let identity = Array::new(&[2, 2], vec![1.0, 0.0, 0.0, 1.0]).unwrap();
    /// let ones = Array::new(&[2], vec![1.0, 1.0]).unwrap();
    /// let out = laplacian.interpret(&[x.into(), identity.into(), ones.into()])?;
    /// assert_eq!(out[2].real().unwrap().data(), [8.0]);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownName`] if `wrt` names no differentiable input.
    pub fn collapsed_jet(&self, wrt: &[usize], jet: &Jet) -> Result<Program, Error> {
        check_wrt(self, wrt)?;
        if jet.order == 0 {
            return Ok(self.clone());
        }
        let program = &self.inline()?;
        let mut run = Run::start(program, wrt, jet, true)?;
        let (primal, series) = propagate(&mut run.b, program, &run.inputs, &run.seeds, &run.mode)?;
        let mut outputs = program.named_outputs(&primal);
        for k in 1..jet.order {
            run.derivatives(program, &primal, &series, k, &mut outputs)?;
        }
        for p in program.outputs().iter().filter(|p| program.node(p.node).ty.is_real()) {
            let at = p.node.index();
            let top = match series[at].as_ref().and_then(|s| s.top) {
                Some(top) => run.b.scale(top, factorial(jet.order))?,
                None => run.b.zeros_like(primal[at])?,
            };
            outputs.push((format!("sum.{}", p.name), top));
        }
        Ok(run.b.finish(outputs))
    }

    fn named_outputs(&self, primal: &[NodeId]) -> Vec<(String, NodeId)> {
        self.outputs().iter().map(|p| (p.name.clone(), primal[p.node.index()])).collect()
    }
}

/// A propagation with its inputs declared.
struct Run {
    b: Builder,
    inputs: Vec<NodeId>,
    seeds: Vec<Option<Series>>,
    mode: Mode,
}

impl Run {
    fn start(program: &Program, wrt: &[usize], jet: &Jet, collapsed: bool) -> Result<Self, Error> {
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, program);
        let mut mode = Mode {
            order: jet.order,
            directions: jet.directions,
            collapsed,
            weights: None,
            form: None,
            expansion: jet.expansion,
        };
        let mut seeds: Vec<Option<Series>> = vec![None; inputs.len()];
        let given = if jet.straight { mode.kept().min(1) } else { mode.kept() };
        for k in 1..=given {
            for &i in wrt {
                let shape = &program.input_type(i).shape;
                let shape: Vec<usize> = core::iter::once(jet.directions).chain(shape.iter().copied()).collect();
                let x = b.input(format!("d{k}.{}", program.inputs()[i].name), TensorType::real(&shape));
                let x = b.scale(x, 1.0 / factorial(k))?;
                seeds[i].get_or_insert_default().each.push(Some(x));
            }
        }
        if collapsed {
            if !jet.straight || jet.order == 1 {
                for &i in wrt {
                    let x = b.input(format!("sum.{}", program.inputs()[i].name), program.input_type(i).clone());
                    let x = b.scale(x, 1.0 / factorial(jet.order))?;
                    seeds[i].get_or_insert_default().top = Some(x);
                }
            }
            mode.weights = Some(b.input("weights", TensorType::real(&[jet.directions])));
        }
        for &i in wrt {
            seeds[i].get_or_insert_default().each.resize(mode.kept(), None);
        }
        Ok(Run { b, inputs, seeds, mode })
    }

    /// Appends the unscaled derivatives of order `k` of the real outputs.
    fn derivatives(
        &mut self,
        program: &Program,
        primal: &[NodeId],
        series: &[Option<Series>],
        k: usize,
        outputs: &mut Vec<(String, NodeId)>,
    ) -> Result<(), Error> {
        for p in program.outputs().iter().filter(|p| program.node(p.node).ty.is_real()) {
            let at = p.node.index();
            let value = match series[at].as_ref().and_then(|s| s.each.get(k - 1).copied().flatten()) {
                Some(x) => self.b.scale(x, factorial(k))?,
                None => {
                    let zero = self.b.zeros_like(primal[at])?;
                    self.mode.spread(&mut self.b, zero)?
                }
            };
            outputs.push((format!("d{k}.{}", p.name), value));
        }
        Ok(())
    }
}
