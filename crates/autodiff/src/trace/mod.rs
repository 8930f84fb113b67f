//! Tracing: an ordinary Rust closure over [`Tensor`] handles becomes a [`Program`].
//!
//! Operators and methods never panic: the first mistake is kept, with the operation, the operands' shapes and the
//! caller's source line, and comes back as the error of [`trace`].

mod compose;
mod operators;

use crate::error::Error;
use crate::ops::{ArgMax, BinaryFn, Bits, Call, Gather, OneHot, ReduceMax, ToReal, Unary, Window};
use crate::program::{Builder, NodeId, Origin, Program};
use crate::types::{Dims, TensorType};
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug, Default)]
struct State {
    builder: Builder,
    error: Option<Error>,
    /// Where all nodes come from, if not from where they are made: the caller of a composition.
    caller: Option<&'static Location<'static>>,
}

/// The graph under construction; makes constants.
#[derive(Clone, Debug)]
pub struct Tracer(Rc<RefCell<State>>);

/// A value in a graph under construction.
#[derive(Clone, Debug)]
pub struct Tensor {
    tracer: Tracer,
    id: NodeId,
}

/// Traces a closure: it gets the tracer and one tensor per declared input, and returns named outputs.
///
/// ```
/// use autodiff::{TensorType, trace};
/// let program = trace(
///     &[("w", TensorType::real(&[3, 2])), ("x", TensorType::real(&[2]))],
///     |_, t| vec![("y", t[0].matmul(&t[1]).tanh())],
/// ).unwrap();
/// assert_eq!(program.output_type(0).shape.as_slice(), [3]);
/// ```
///
/// # Errors
/// The first operation whose operands do not fit, with the line that called it.
pub fn trace<N: Into<String>>(
    inputs: &[(&str, TensorType)],
    f: impl FnOnce(&Tracer, &[Tensor]) -> Vec<(N, Tensor)>,
) -> Result<Program, Error> {
    trace_for(None, inputs, f)
}

fn trace_for<N: Into<String>>(
    caller: Option<&'static Location<'static>>,
    inputs: &[(&str, TensorType)],
    f: impl FnOnce(&Tracer, &[Tensor]) -> Vec<(N, Tensor)>,
) -> Result<Program, Error> {
    let tracer = Tracer(Rc::new(RefCell::new(State { caller, ..State::default() })));
    let tensors: Vec<Tensor> = inputs
        .iter()
        .map(|(name, ty)| {
            let id = tracer.0.borrow_mut().builder.input(*name, ty.clone());
            Tensor { tracer: tracer.clone(), id }
        })
        .collect();
    let outputs: Vec<(String, Tensor)> = f(&tracer, &tensors).into_iter().map(|(n, t)| (n.into(), t)).collect();
    if outputs.iter().any(|(_, t)| !Rc::ptr_eq(&t.tracer.0, &tracer.0)) {
        return Err(Error::ForeignTensor { op: "trace".into(), location: String::new() });
    }
    let ids = outputs.into_iter().map(|(n, t)| (n, t.id)).collect();
    let mut state = tracer.0.borrow_mut();
    match state.error.take() {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut state.builder).finish(ids)),
    }
}

impl Tracer {
    /// Runs one step of construction; on failure the error is kept and a stand-in is returned.
    fn step(
        &self,
        location: &'static Location<'static>,
        f: impl FnOnce(&mut Builder) -> Result<NodeId, Error>,
    ) -> Tensor {
        let mut state = self.0.borrow_mut();
        let location = state.caller.unwrap_or(location);
        state.builder.trace_to(Origin(Some(location)));
        let id = match f(&mut state.builder) {
            Ok(id) => id,
            Err(error) => {
                let error = located(error, location);
                state.error.get_or_insert(error);
                state.builder.scalar(0.0)
            }
        };
        drop(state);
        Tensor { tracer: self.clone(), id }
    }

    /// A number without axes.
    pub fn scalar(&self, x: f64) -> Tensor {
        let id = self.0.borrow_mut().builder.scalar(x);
        Tensor { tracer: self.clone(), id }
    }

    /// A constant tensor, row-major.
    #[track_caller]
    pub fn constant(&self, shape: &[usize], data: &[f64]) -> Tensor {
        self.step(Location::caller(), |b| b.real_const(shape, data.to_vec()))
    }

    /// A constant tensor of integers, row-major.
    #[track_caller]
    pub fn integers(&self, shape: &[usize], data: &[i64]) -> Tensor {
        self.step(Location::caller(), |b| b.int_const(shape, data.to_vec()))
    }

    /// One value everywhere.
    #[track_caller]
    pub fn full(&self, shape: &[usize], x: f64) -> Tensor {
        self.step(Location::caller(), |b| b.full(shape, x))
    }

    /// Tensors joined along an axis.
    #[track_caller]
    pub fn concat(&self, parts: &[&Tensor], axis: usize) -> Tensor {
        let location = Location::caller();
        if parts.iter().any(|t| !Rc::ptr_eq(&t.tracer.0, &self.0)) {
            return self.foreign("concat", location);
        }
        let ids: Vec<NodeId> = parts.iter().map(|t| t.id).collect();
        self.step(location, |b| b.concat(&ids, axis))
    }

    /// Uses a program as a function; returns its outputs. Its nodes become nodes of this graph.
    #[track_caller]
    pub fn call(&self, program: &Program, inputs: &[&Tensor]) -> Vec<Tensor> {
        let location = Location::caller();
        let ids: Vec<NodeId> = inputs.iter().map(|t| t.id).collect();
        let mut map = Vec::new();
        let failed = self.step(location, |b| {
            map = b.inline(program, &ids)?;
            Ok(map.first().copied().unwrap_or(NodeId(0)))
        });
        let pick = |id: NodeId| map.get(id.index()).map_or(failed.clone(), |&id| Tensor { tracer: self.clone(), id });
        program.outputs().iter().map(|p| pick(p.node)).collect()
    }

    /// A named sub-program: the closure is traced on its own and becomes one node per result.
    ///
    /// Differentiation and batching act on the body and rename (`name.jvp`, `name.vjp`, `name.vmap`); the executor runs a
    /// registered kernel for a name where it has one. Names have no dots. The closure gets its own tracer; tensors from
    /// outside enter through `inputs` only.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let ty = TensorType::real(&[4]);
    /// let f = trace(&[("x", ty.clone()), ("y", ty)], |t, x| {
    ///     let parts = t.named("polar", &[&x[0], &x[1]], |_, x| {
    ///         vec![("radius", (&x[0] * &x[0] + &x[1] * &x[1]).sqrt()), ("slope", &x[1] / &x[0])]
    ///     });
    ///     vec![("z", &parts[0] * parts[1].atan())]
    /// })?;
    /// assert!(f.to_string().contains("call polar:slope(%0, %1)"));
    /// assert!(f.vjp(&[0])?.to_string().contains("call polar.vjp"));
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn named<N: Into<String>>(
        &self,
        name: &str,
        inputs: &[&Tensor],
        f: impl FnOnce(&Tracer, &[Tensor]) -> Vec<(N, Tensor)>,
    ) -> Vec<Tensor> {
        self.sub_program(name, inputs, None, Location::caller(), f)
    }

    /// A named sub-program whose nodes come from `caller`, or from where the closure makes them.
    fn sub_program<N: Into<String>>(
        &self,
        name: &str,
        inputs: &[&Tensor],
        caller: Option<&'static Location<'static>>,
        location: &'static Location<'static>,
        f: impl FnOnce(&Tracer, &[Tensor]) -> Vec<(N, Tensor)>,
    ) -> Vec<Tensor> {
        if inputs.iter().any(|t| !Rc::ptr_eq(&t.tracer.0, &self.0)) {
            return vec![self.foreign(name, location)];
        }
        let types = |t: &&Tensor| self.0.borrow().builder.ty(t.id).clone();
        let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
        let ports: Vec<_> = names.iter().map(String::as_str).zip(inputs.iter().map(types)).collect();
        let ids: Vec<NodeId> = inputs.iter().map(|t| t.id).collect();
        let body = match trace_for(caller, &ports, f) {
            Ok(body) if !name.contains('.') && !name.is_empty() => Arc::new(body),
            Ok(_) => {
                let why = Error::Malformed(format!("{name:?} is no name of a sub-program: it is empty or has a dot"));
                return vec![self.step(location, |_| Err(why))];
            }
            Err(error) => return vec![self.step(location, |_| Err(error))],
        };
        (0..body.outputs().len())
            .map(|k| self.step(location, |b| b.push(Call::new(name, body.clone(), k), &ids)))
            .collect()
    }

    fn foreign(&self, op: &str, location: &'static Location<'static>) -> Tensor {
        self.step(location, |_| Err(Error::ForeignTensor { op: op.into(), location: format!(" at {location}") }))
    }
}

fn located(error: Error, at: &Location<'_>) -> Error {
    match error {
        Error::Shape { op, why, operands, location } if location.is_empty() => {
            Error::Shape { op, why, operands, location: format!(" at {at}") }
        }
        other => other,
    }
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $f:expr;)*) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] #[must_use] pub fn $name(&self) -> Tensor {
                self.map(Location::caller(), |b, x| b.unary($f, x))
            })*
        }
    };
}

unary_methods! {
    /// Absolute value; derivative 0 at 0.
    abs => Unary::Abs;
    /// -1, 0 or 1.
    sign => Unary::Sign;
    /// 1 where positive, else 0.
    step => Unary::Step;
    /// `1 / x`.
    recip => Unary::Recip;
    /// Square root.
    sqrt => Unary::Sqrt;
    /// Exponential.
    exp => Unary::Exp;
    /// `e^x - 1`.
    exp_m1 => Unary::Expm1;
    /// Natural logarithm.
    ln => Unary::Log;
    /// `ln(1 + x)`.
    ln_1p => Unary::Log1p;
    /// Sine.
    sin => Unary::Sin;
    /// Cosine.
    cos => Unary::Cos;
    /// Hyperbolic sine.
    sinh => Unary::Sinh;
    /// Hyperbolic cosine.
    cosh => Unary::Cosh;
    /// Hyperbolic tangent.
    tanh => Unary::Tanh;
    /// `1 / (1 + e^-x)`.
    sigmoid => Unary::Sigmoid;
    /// `ln(1 + e^x)`, without a threshold.
    softplus => Unary::Softplus;
    /// Error function.
    erf => Unary::Erf;
    /// Complementary error function.
    erfc => Unary::Erfc;
    /// Inverse tangent.
    atan => Unary::Atan;
    /// Inverse sine.
    asin => Unary::Asin;
    /// Inverse hyperbolic sine.
    asinh => Unary::Asinh;
    /// Inverse hyperbolic tangent.
    atanh => Unary::Atanh;
    /// The value, held constant under differentiation.
    stop_gradient => Unary::StopGradient;
}

impl Tensor {
    /// Sizes of the axes.
    pub fn shape(&self) -> Dims {
        self.tracer.0.borrow().builder.shape(self.id)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// The graph that it belongs to.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    fn map(
        &self,
        location: &'static Location<'static>,
        f: impl FnOnce(&mut Builder, NodeId) -> Result<NodeId, Error>,
    ) -> Tensor {
        self.tracer.step(location, |b| f(b, self.id))
    }

    fn zip(
        &self,
        other: &Tensor,
        op: &str,
        location: &'static Location<'static>,
        f: impl FnOnce(&mut Builder, NodeId, NodeId) -> Result<NodeId, Error>,
    ) -> Tensor {
        if !Rc::ptr_eq(&self.tracer.0, &other.tracer.0) {
            return self.tracer.foreign(op, location);
        }
        self.tracer.step(location, |b| f(b, self.id, other.id))
    }

    /// A real constant power; integers are exact for every argument.
    #[track_caller]
    #[must_use]
    pub fn powf(&self, p: f64) -> Tensor {
        self.map(Location::caller(), |b, x| b.unary(Unary::Powf(Bits::new(p)), x))
    }

    /// `max(x, 0)`, with derivative 0 at 0.
    #[track_caller]
    #[must_use]
    pub fn relu(&self) -> Tensor {
        self.map(Location::caller(), Unary::relu)
    }

    /// Elementwise maximum; at a tie the derivative goes to `self`.
    #[track_caller]
    #[must_use]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        self.elementwise(BinaryFn::Max, other, Location::caller())
    }

    /// Elementwise minimum; at a tie the derivative goes to `self`.
    #[track_caller]
    #[must_use]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        self.elementwise(BinaryFn::Min, other, Location::caller())
    }

    /// 1 where less, else 0.
    #[track_caller]
    #[must_use]
    pub fn less(&self, other: &Tensor) -> Tensor {
        self.elementwise(BinaryFn::Less, other, Location::caller())
    }

    /// `x` where `self` is not zero, else `y`; all of one shape.
    #[track_caller]
    #[must_use]
    pub fn select(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let (p, y) = (self.id, y.clone());
        x.zip(&y, "select", Location::caller(), |b, x, y| b.select(p, x, y))
    }

    /// Sum over axes.
    #[track_caller]
    #[must_use]
    pub fn sum(&self, axes: &[usize]) -> Tensor {
        self.map(Location::caller(), |b, x| b.sum(x, axes))
    }

    /// Sum over all axes.
    #[track_caller]
    #[must_use]
    pub fn sum_all(&self) -> Tensor {
        self.map(Location::caller(), |b, x| {
            let axes: Vec<usize> = (0..b.ty(x).rank()).collect();
            b.sum(x, &axes)
        })
    }

    /// Maximum over axes; the derivative goes to the first winner.
    #[track_caller]
    #[must_use]
    pub fn max(&self, axes: &[usize]) -> Tensor {
        let mut axes = Dims::from_slice(axes);
        axes.sort_unstable();
        self.map(Location::caller(), |b, x| b.push(ReduceMax { axes }, &[x]))
    }

    /// Position of the first maximum along the last axis.
    #[track_caller]
    #[must_use]
    pub fn argmax(&self) -> Tensor {
        self.map(Location::caller(), |b, x| b.push(ArgMax, &[x]))
    }

    /// Same data, other axes.
    #[track_caller]
    #[must_use]
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        self.map(Location::caller(), |b, x| b.reshape(x, shape))
    }

    /// Axis `i` of the result is axis `perm[i]`.
    #[track_caller]
    #[must_use]
    pub fn transpose(&self, perm: &[usize]) -> Tensor {
        self.map(Location::caller(), |b, x| b.transpose(x, perm))
    }

    /// The last two axes exchanged.
    #[track_caller]
    #[must_use]
    pub fn t(&self) -> Tensor {
        self.map(Location::caller(), |b, x| {
            let mut perm: Vec<usize> = (0..b.ty(x).rank()).collect();
            match perm.len() {
                0 | 1 => perm.push(usize::MAX),
                n => perm.swap(n - 1, n - 2),
            }
            b.transpose(x, &perm)
        })
    }

    /// Repeats along new leading axes and axes of size one, up to `shape` (trailing axes are aligned).
    #[track_caller]
    #[must_use]
    pub fn broadcast_to(&self, shape: &[usize]) -> Tensor {
        self.map(Location::caller(), |b, x| operators::expand(b, x, shape))
    }

    /// `start..stop` of one axis.
    #[track_caller]
    #[must_use]
    pub fn slice(&self, axis: usize, start: usize, stop: usize) -> Tensor {
        self.map(Location::caller(), |b, x| b.slice_axis(x, axis, start, stop))
    }

    /// Contraction over pairs of axes, with batch axes; see [`crate::ops::Dot`].
    #[track_caller]
    #[must_use]
    pub fn dot(&self, other: &Tensor, batch: &[(usize, usize)], contract: &[(usize, usize)]) -> Tensor {
        self.zip(other, "dot", Location::caller(), |b, x, y| b.dot(x, y, batch, contract))
    }

    /// Product over the last axis of `self` and the last but one of `other` (its only one, if it is a vector); leading
    /// axes of `other` must be those of `self`, or absent.
    #[track_caller]
    #[must_use]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        self.zip(other, "matmul", Location::caller(), |b, x, y| {
            let (rx, ry) = (b.ty(x).rank(), b.ty(y).rank());
            let batch: Vec<_> = (0..ry.saturating_sub(2)).map(|i| (i, i)).collect();
            b.dot(x, y, &batch, &[(rx.wrapping_sub(1), ry.saturating_sub(2))])
        })
    }

    /// Slices along the axis behind `batch` shared leading axes, picked by an integer tensor; see [`crate::ops::Gather`].
    #[track_caller]
    #[must_use]
    pub fn gather(&self, indices: &Tensor, batch: usize) -> Tensor {
        self.zip(indices, "gather", Location::caller(), |b, x, i| b.push(Gather { batch }, &[x, i]))
    }

    /// Integers as unit vectors along a new last axis.
    #[track_caller]
    #[must_use]
    pub fn one_hot(&self, depth: usize) -> Tensor {
        self.map(Location::caller(), |b, x| b.push(OneHot { depth }, &[x]))
    }

    /// Integers as reals.
    #[track_caller]
    #[must_use]
    pub fn to_real(&self) -> Tensor {
        self.map(Location::caller(), |b, x| b.push(ToReal, &[x]))
    }

    /// Sliding windows along an axis, their elements on a new last axis.
    #[track_caller]
    #[must_use]
    pub fn windows(&self, window: Window) -> Tensor {
        self.map(Location::caller(), |b, x| b.push(window, &[x]))
    }

    /// Zeros before and after along one axis.
    #[track_caller]
    #[must_use]
    pub fn pad(&self, axis: usize, low: usize, high: usize) -> Tensor {
        self.map(Location::caller(), |b, x| {
            let n = b.ty(x).rank();
            let at = |w: usize| (0..n.max(axis + 1)).map(|a| if a == axis { w } else { 0 }).collect();
            b.pad(x, crate::ops::Pad { low: at(low), high: at(high), between: at(0) })
        })
    }
}
