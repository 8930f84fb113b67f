//! The compiled executor: a program as a list of steps over one arena.
//!
//! Compilation resolves every rearrangement to a strided view, fuses runs of elementwise nodes into blocked kernels, turns
//! contractions into the largest matrix products that the strides allow, and gives buffers that never live together
//! the same memory. Constants are materialised once. A run takes one pass over the steps and, from the second
//! run in a workspace on, allocates nothing. Results have the same bits in every run and for any number of threads.
//!
//! Cost: the program's flops, plus one read and one write per fused operand and value.

mod arena;
mod contract;
mod fuse;
mod loops;
mod machine;
mod named;
mod plan;
mod profile;
mod view;

use crate::array::{Array, Value};
use crate::error::Error;
use crate::program::Program;
use crate::types::{Kind, TensorType};
use core::sync::atomic::{AtomicPtr, Ordering};
use machine::{Loc, Machine, Move, Step};
use numerics::{Par, Scalar};
use profile::Cost;
pub use profile::StepProfile;
use std::time::Instant;

/// Data of an input, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// Floating-point numbers.
    Real(&'a [T]),
    /// Integers.
    Int(&'a [i64]),
}

/// Room for an output, row-major.
#[derive(Debug)]
pub enum Output<'a, T> {
    /// Floating-point numbers.
    Real(&'a mut [T]),
    /// Integers.
    Int(&'a mut [i64]),
}

/// The memory that a run needs; keep it between runs. It serves any executable, and grows to the largest.
#[derive(Debug)]
pub struct Workspace<T> {
    arena: Vec<T>,
    ints: Vec<i64>,
    registers: Vec<T>,
    /// Where the real outputs of the current run are.
    outputs: Vec<AtomicPtr<T>>,
    par: Par,
}

impl<T: Scalar> Default for Workspace<T> {
    fn default() -> Self {
        let (arena, ints, registers, outputs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Workspace { arena, ints, registers, outputs, par: Par::rayon(0) }
    }
}

impl<T: Scalar> Workspace<T> {
    /// An empty workspace; large steps may use all threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty workspace for runs on this many threads. The results do not depend on it.
    pub fn with_par(par: Par) -> Self {
        Workspace { par, ..Self::default() }
    }

    fn fit(&mut self, arena: usize, ints: usize, registers: usize) {
        fn grow<E: Clone>(v: &mut Vec<E>, n: usize, zero: E) {
            if v.len() < n {
                v.resize(n, zero);
            }
        }
        grow(&mut self.arena, arena, T::ZERO);
        grow(&mut self.ints, ints, 0);
        grow(&mut self.registers, registers * self.par.degree(), T::ZERO);
    }
}

/// A program compiled for one floating-point type.
///
/// ```
/// use autodiff::{Array, TensorType, trace};
/// let f = trace(&[("x", TensorType::real(&[3]))], |_, x| vec![("y", (&x[0] * &x[0]).exp().sum_all())])?;
/// let exe = f.grad(&[0])?.compile::<f64>()?;
/// let grad = exe.call(&[Array::new(&[3], vec![0.0, 0.5, 1.0]).unwrap().into()])?;
/// let g = grad[0].real().unwrap().data();
/// assert!((g[2] - 2.0 * 1f64.exp()).abs() < 1e-14);
/// # Ok::<(), autodiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Executable<T> {
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<(String, TensorType)>,
    steps: Vec<Step<T>>,
    costs: Vec<Cost>,
    /// Copies from buffers to outputs, in order, where a step has not written there itself; `dst` is not used.
    results: Vec<Option<Move>>,
    locs: Vec<Loc>,
    consts: Vec<T>,
    int_consts: Vec<i64>,
    arena: usize,
    ints: usize,
    registers: usize,
}

impl Program {
    /// Compiles the program for fast, repeated runs.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn compile<T: Scalar>(&self) -> Result<Executable<T>, Error> {
        self.verify()?;
        let chosen = named::Named::chosen(self);
        plan::compile(&self.inline_unless(&|i, _| chosen[i])?)
    }
}

fn mismatch(name: &str, expected: &TensorType, kind: Kind, len: usize) -> Error {
    let got = if kind == Kind::Int { "integers" } else { "reals" };
    Error::Input { name: name.into(), expected: expected.to_string(), got: format!("{len} {got}") }
}

fn check_count(name: &str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Input { name: name.into(), expected: format!("{expected} values"), got: format!("{got}") })
}

impl<T: Scalar> Executable<T> {
    /// Types of the inputs.
    pub fn input_types(&self) -> impl ExactSizeIterator<Item = &TensorType> {
        self.inputs.iter().map(|(_, ty)| ty)
    }

    /// Types of the outputs.
    pub fn output_types(&self) -> impl ExactSizeIterator<Item = &TensorType> {
        self.outputs.iter().map(|(_, ty)| ty)
    }

    /// Bytes that a workspace takes.
    pub fn workspace_bytes(&self) -> usize {
        (self.arena + self.registers) * size_of::<T>() + self.ints * size_of::<i64>()
    }

    /// Number of steps: fused kernels, products, reductions, copies.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Runs the program. From the second run with a workspace on, nothing is allocated (on several threads, the thread
    /// pool's queue may grow now and then).
    ///
    /// # Errors
    /// Inputs or outputs of the wrong number, kind or length; an index outside its axis.
    pub fn run(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
    ) -> Result<(), Error> {
        self.drive(workspace, inputs, outputs, None)
    }

    /// Runs the program, and adds the time of each step to `times` if there are any.
    fn drive(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
        mut times: Option<&mut [f64]>,
    ) -> Result<(), Error> {
        check_count("list", self.inputs.len(), inputs.len())?;
        check_count("list of outputs", self.outputs.len(), outputs.len())?;
        for ((name, ty), x) in self.inputs.iter().zip(inputs) {
            let (kind, len) = match x {
                Input::Real(x) => (Kind::Real, x.len()),
                Input::Int(x) => (Kind::Int, x.len()),
            };
            if kind != ty.kind || len != ty.numel() {
                return Err(mismatch(name, ty, kind, len));
            }
        }
        for ((name, ty), y) in self.outputs.iter().zip(outputs.iter()) {
            let (kind, len) = match y {
                Output::Real(y) => (Kind::Real, y.len()),
                Output::Int(y) => (Kind::Int, y.len()),
            };
            if kind != ty.kind || len != ty.numel() {
                return Err(mismatch(name, ty, kind, len));
            }
        }
        workspace.fit(self.arena, self.ints, self.registers);
        workspace.outputs.clear();
        workspace.outputs.extend(outputs.iter_mut().map(|y| match y {
            Output::Real(y) => AtomicPtr::new(y.as_mut_ptr()),
            Output::Int(_) => AtomicPtr::default(),
        }));
        let machine = Machine::new(&self.locs, &self.consts, &self.int_consts, inputs, workspace);
        for (i, step) in self.steps.iter().enumerate() {
            let start = times.is_some().then(Instant::now);
            // SAFETY: inputs were checked, the workspace was fitted, and the steps are this plan's.
            unsafe { machine.step(step)? };
            if let (Some(start), Some(times)) = (start, times.as_deref_mut()) {
                times[i] += start.elapsed().as_secs_f64();
            }
        }
        for (i, (m, y)) in self.results.iter().zip(outputs).enumerate() {
            let Some(m) = m else { continue };
            match y {
                Output::Real(_) => {
                    let dst = machine.outputs[i].load(Ordering::Relaxed);
                    let src = machine.read(m.src.buf).wrapping_add(m.src.offset);
                    // SAFETY: the view lies inside its buffer, the output has its size, and they are apart.
                    unsafe { loops::copy(&m.shape, src, &m.from, dst, &m.to) };
                }
                Output::Int(y) => {
                    let src = machine.read_int(m.src.buf).wrapping_add(m.src.offset);
                    // SAFETY: as above.
                    unsafe { loops::copy(&m.shape, src, &m.from, y.as_mut_ptr(), &m.to) };
                }
            }
        }
        Ok(())
    }

    /// Runs the program once, in fresh memory.
    ///
    /// # Errors
    /// As for [`Executable::run`]; shapes are checked too.
    pub fn call(&self, inputs: &[Value<T>]) -> Result<Vec<Value<T>>, Error> {
        self.call_with(&mut Workspace::new(), inputs)
    }

    /// Runs the program in a workspace; only the results are allocated.
    ///
    /// # Errors
    /// As for [`Executable::call`].
    pub fn call_with(&self, workspace: &mut Workspace<T>, inputs: &[Value<T>]) -> Result<Vec<Value<T>>, Error> {
        for ((name, ty), x) in self.inputs.iter().zip(inputs) {
            if ty != &x.ty() {
                let (expected, got) = (ty.to_string(), x.ty().to_string());
                return Err(Error::Input { name: name.clone(), expected, got });
            }
        }
        let inputs: Vec<Input<'_, T>> = inputs
            .iter()
            .map(|x| match x {
                Value::Real(a) => Input::Real(a.data()),
                Value::Int(a) => Input::Int(a.data()),
            })
            .collect();
        let room = |ty: &TensorType| match ty.kind {
            Kind::Real => Value::Real(Array::from_fn(&ty.shape, |_| T::ZERO)),
            Kind::Int => Value::Int(Array::from_fn(&ty.shape, |_| 0)),
        };
        let mut values: Vec<Value<T>> = self.output_types().map(room).collect();
        let mut outputs: Vec<Output<'_, T>> = values
            .iter_mut()
            .map(|y| match y {
                Value::Real(a) => Output::Real(a.data_mut()),
                Value::Int(a) => Output::Int(a.data_mut()),
            })
            .collect();
        self.run(workspace, &inputs, &mut outputs)?;
        drop(outputs);
        Ok(values)
    }
}
