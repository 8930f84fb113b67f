//! The compiled executor: a program as a list of steps over one arena.
//!
//! Compilation resolves every rearrangement to a strided view, fuses runs of elementwise nodes into blocked kernels, turns
//! contractions into the largest matrix products that the strides allow, and gives buffers that never live together
//! the same memory. Constants are materialised once. A run takes one pass over the steps and, from the second
//! run in a workspace on, allocates nothing. Results have the same bits in every run and for any number of threads.
//!
//! Cost: the program's flops, plus one read and one write per fused operand and value.

mod arena;
mod bind;
mod chunk;
mod contract;
mod ending;
mod fuse;
mod loops;
mod machine;
mod named;
mod peak;
mod plan;
mod profile;
mod target;
mod view;
mod workspace;

use crate::array::{Array, Value};
use crate::error::Error;
use crate::program::Program;
use crate::types::{Kind, TensorType};
pub use bind::{Input, Output};
use bind::{Layout, Mismatch};
use machine::{Machine, Plan};
use numerics::Scalar;
pub use peak::Peak;
pub use profile::{Profile, StepProfile};
use std::sync::{Arc, RwLock};
use std::time::Instant;
pub use workspace::Workspace;

/// Plans kept for arguments that do not lie row-major.
const KEPT_PLANS: usize = 16;

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
    program: Program,
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<(String, TensorType)>,
    plan: Arc<Plan<T>>,
    /// Plans for other strides of the arguments, the latest last.
    others: RwLock<Vec<(Layout, Arc<Plan<T>>)>>,
}

/// Which nodes of a program are calls that kernels run.
pub(crate) fn kernels(program: &Program) -> Vec<bool> {
    named::Named::chosen(program)
}

impl Program {
    /// Compiles the program for fast, repeated runs.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn compile<T: Scalar>(&self) -> Result<Executable<T>, Error> {
        self.verify()?;
        let chosen = named::Named::chosen(self);
        let program = self.inline_unless(&|i, _| chosen[i])?;
        let plan = Arc::new(plan::compile(&program, &Layout::default())?);
        let named = |port: &crate::program::Port| (port.name.clone(), self.node(port.node).ty.clone());
        Ok(Executable {
            inputs: self.inputs().iter().map(named).collect(),
            outputs: self.outputs().iter().map(named).collect(),
            program,
            plan,
            others: RwLock::new(Vec::new()),
        })
    }
}

fn mismatch(name: &str, expected: &TensorType, Mismatch(got): Mismatch) -> Error {
    Error::Input { name: name.into(), expected: expected.to_string(), got }
}

fn check_count(name: &str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Input { name: name.into(), expected: format!("{expected} values"), got: format!("{got}") })
}

impl<T: Scalar> Executable<T> {
    /// The program as it is run: calls that kernels run are left, all others are replaced by their bodies.
    pub fn program(&self) -> &Program {
        &self.program
    }

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
        self.plan.bytes()
    }

    /// Number of steps: fused kernels, products, reductions, copies.
    pub fn steps(&self) -> usize {
        self.plan.steps.len()
    }

    /// Runs the program. From the second run with a workspace on, nothing is allocated (on several threads, the thread
    /// pool's queue may grow now and then).
    ///
    /// Arguments are borrowed and read (written) where they are. The first run with a new arrangement of strides
    /// ([`Input::Columns`]) plans for it, in about the time of a compilation; the last sixteen are kept. The bits of the results are those
    /// of row-major arguments, except where the program sums over the leading axis of such an input.
    ///
    /// # Errors
    /// Inputs or outputs of the wrong number, kind or length; an index outside its axis.
    pub fn run(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
    ) -> Result<(), Error> {
        self.drive(workspace, &[], inputs, outputs, None)
    }

    /// Runs the program on `held` values (residuals kept from another program, say) followed by `inputs`; neither is copied.
    ///
    /// ```
    /// use autodiff::{Array, Input, Output, TensorType, Workspace, trace};
    /// let f = trace(&[("x", TensorType::real(&[2]))], |_, x| vec![("y", x[0].sin())])?;
    /// let split = f.linearize(&[0])?;
    /// let mut held = split.primal.compile::<f64>()?.call(&[Array::new(&[2], vec![0.0, 1.0]).unwrap().into()])?;
    /// held.drain(..split.outputs);
    /// let (linear, v, mut out) = (split.linear.compile()?, [1.0, 2.0], [0.0; 2]);
    /// linear.run_with(&mut Workspace::new(), &held, &[Input::Real(&v)], &mut [Output::Real(&mut out)])?;
    /// assert_eq!(out[0], 1.0);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Executable::run`]; the held values' shapes are checked too.
    pub fn run_with(
        &self,
        workspace: &mut Workspace<T>,
        held: &[Value<T>],
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
    ) -> Result<(), Error> {
        self.drive(workspace, held, inputs, outputs, None)
    }

    /// Runs the program, and adds the time of each step to `times` if there are any.
    fn drive(
        &self,
        workspace: &mut Workspace<T>,
        held: &[Value<T>],
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
        times: Option<&mut Vec<f64>>,
    ) -> Result<(), Error> {
        self.bind(workspace, held, inputs, outputs)?;
        let plan = self.plan_for(&workspace.layout)?;
        workspace.fit(&plan);
        let machine = Machine::new(&plan, workspace);
        // SAFETY: the arguments were checked against the plan's sizes and strides, and the workspace was fitted.
        let run = || unsafe { plan.run(&machine, times) };
        // The thread pool is entered once per run: each entry costs as much as a small step.
        let enter = machine.par.degree() > 1 && plan.is_large() && rayon::current_thread_index().is_none();
        if enter { rayon::join(run, || ()).0 } else { run() }
    }

    /// Checks the arguments, and notes where they are and how they lie.
    fn bind(
        &self,
        w: &mut Workspace<T>,
        held: &[Value<T>],
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
    ) -> Result<(), Error> {
        check_count("list", self.inputs.len(), held.len() + inputs.len())?;
        check_count("list of outputs", self.outputs.len(), outputs.len())?;
        w.clear();
        let (first, rest) = self.inputs.split_at(held.len());
        for ((name, ty), x) in first.iter().zip(held) {
            if !x.is(ty) {
                return Err(mismatch(name, ty, Mismatch(x.ty().to_string())));
            }
            w.push_input(None, Input::from(x).pointers());
        }
        for ((name, ty), x) in rest.iter().zip(inputs) {
            let stride = x.stride(ty).map_err(|m| mismatch(name, ty, m))?;
            w.push_input(stride, x.pointers());
        }
        for ((name, ty), y) in self.outputs.iter().zip(outputs.iter_mut()) {
            let stride = y.stride(ty).map_err(|m| mismatch(name, ty, m))?;
            w.push_output(stride, y.pointers());
        }
        Ok(())
    }

    /// The plan for arguments that lie like this.
    fn plan_for(&self, layout: &Layout) -> Result<Arc<Plan<T>>, Error> {
        if layout.is_plain() {
            return Ok(self.plan.clone());
        }
        let find = |list: &[(Layout, Arc<Plan<T>>)]| list.iter().find(|(l, _)| l == layout).map(|(_, p)| p.clone());
        // A panic elsewhere leaves the list usable.
        let known = find(&self.others.read().unwrap_or_else(|e| e.into_inner()));
        if let Some(plan) = known {
            return Ok(plan);
        }
        let mut plan = plan::compile(&self.program, layout)?;
        plan.share_constants(&self.plan);
        let plan = Arc::new(plan);
        let mut others = self.others.write().unwrap_or_else(|e| e.into_inner());
        if others.len() == KEPT_PLANS {
            others.remove(0);
        }
        others.push((layout.clone(), plan.clone()));
        Ok(plan)
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
        let room = |ty: &TensorType| match ty.kind {
            Kind::Real => Value::Real(Array::from_fn(&ty.shape, |_| T::ZERO)),
            Kind::Int => Value::Int(Array::from_fn(&ty.shape, |_| 0)),
        };
        let mut values: Vec<Value<T>> = self.output_types().map(room).collect();
        let mut outputs: Vec<Output<'_, T>> = values.iter_mut().map(Output::from).collect();
        self.drive(workspace, inputs, &[], &mut outputs, None)?;
        drop(outputs);
        Ok(values)
    }
}

impl<T: Scalar> Plan<T> {
    /// Takes the steps one by one, and adds the time of each to `times` if there are any.
    ///
    /// # Safety
    /// The machine was made for this plan and arguments of its sizes and strides.
    unsafe fn run(&self, machine: &Machine<'_, T>, times: Option<&mut Vec<f64>>) -> Result<(), Error> {
        let Some(times) = times else {
            // SAFETY: handed on.
            return self.steps.iter().try_for_each(|step| unsafe { machine.step(step) });
        };
        times.resize(self.steps.len(), 0.0);
        for (step, time) in self.steps.iter().zip(times) {
            let start = Instant::now();
            // SAFETY: handed on.
            unsafe { machine.step(step)? };
            *time += start.elapsed().as_secs_f64();
        }
        Ok(())
    }
}
