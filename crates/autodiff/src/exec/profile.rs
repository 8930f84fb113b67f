//! What each step of a compiled program costs: counted when it is planned, timed when it is asked for.

use super::machine::Step;
use super::{Executable, Input, Output, Workspace};
use crate::error::Error;
use numerics::Scalar;

/// Counted cost of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    kind: &'static str,
    flops: u64,
    bytes: u64,
}

impl Cost {
    /// Whether the step may be worth several threads.
    pub(super) fn is_large(&self) -> bool {
        self.flops.max(self.bytes / 8) >= 1 << 16
    }
}

/// One step of a compiled program, with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepProfile {
    /// `fused`, `product`, `sum`, `copy` and so on.
    pub kind: &'static str,
    /// Floating-point operations; an elementwise function counts as one.
    pub flops: u64,
    /// Bytes of the buffers that the step reads or writes, each counted whole.
    pub bytes: u64,
    /// Mean seconds of a run.
    pub seconds: f64,
}

impl<T: Scalar> Step<T> {
    /// The cost of a step that touches this many elements.
    pub(super) fn cost(&self, elements: usize) -> Cost {
        let (kind, flops) = match self {
            Step::Fused(k) => ("fused", k.flops()),
            Step::Copy(_) | Step::CopyInt(_) => ("copy", 0),
            Step::Accumulate(m) => ("accumulate", m.shape.iter().product()),
            Step::Zero { .. } => ("zero", 0),
            Step::Product { product, .. } => ("product", product.flops()),
            Step::Sum { len, reduction, .. } => ("sum", len * reduction.gone.iter().product::<usize>()),
            Step::Max { len, reduction, .. } => ("max", len * reduction.gone.iter().product::<usize>()),
            Step::ArgMax { n, len, .. } => ("argmax", n * len),
            Step::Pick { .. } => ("gather", 0),
            Step::Scatter { u_len, .. } => ("scatter", *u_len),
            Step::OneHot { .. } => ("one_hot", 0),
            Step::ToReal { .. } => ("to_real", 0),
            Step::Named { kernel, len, .. } => (kernel.label(), len * kernel.flops_per_element()),
        };
        Cost { kind, flops: flops as u64, bytes: (elements * size_of::<T>()) as u64 }
    }
}

impl<T: Scalar> Executable<T> {
    /// Runs the program `runs` times (at least once, after one run to warm up) and says what each step took.
    ///
    /// # Errors
    /// As for [`Executable::run`].
    pub fn profile(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
        runs: usize,
    ) -> Result<Vec<StepProfile>, Error> {
        self.drive(workspace, &[], inputs, outputs, None)?;
        let mut times = Vec::new();
        for _ in 0..runs.max(1) {
            self.drive(workspace, &[], inputs, outputs, Some(&mut times))?;
        }
        let plan = self.plan_for(&workspace.layout)?;
        let step = |(c, t): (&Cost, f64)| StepProfile {
            kind: c.kind,
            flops: c.flops,
            bytes: c.bytes,
            seconds: t / runs.max(1) as f64,
        };
        Ok(plan.costs.iter().zip(times).map(step).collect())
    }
}
