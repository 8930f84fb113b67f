//! What each step of a compiled program costs: counted when it is planned, timed when it is asked for.

use super::machine::Step;
use super::{Executable, Input, Output, Peak, Workspace};
use crate::error::Error;
use core::fmt;
use numerics::Scalar;

/// Counted cost of a step.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    kind: &'static str,
    /// The nodes whose values are computed.
    nodes: Vec<usize>,
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepProfile {
    /// `fused`, `product`, `sum`, `copy` and so on.
    pub kind: &'static str,
    /// The operations and their sizes.
    pub what: String,
    /// The nodes of [`Executable::program`] whose values it computes (of a copy: the node that asks for it).
    pub nodes: Vec<usize>,
    /// Floating-point operations; an elementwise function counts as one.
    pub flops: u64,
    /// Bytes of the operands and values that it reads or writes, each counted once.
    pub bytes: u64,
    /// Mean seconds of a run.
    pub seconds: f64,
    /// The part of the machine's peak that it reaches: the rate of products for a product, the rate of memory for all else. What
    /// works in the caches can exceed 1.
    pub of_peak: f64,
}

/// The steps of a compiled program in order, with the limits that they are compared with; displays as a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// The steps.
    pub steps: Vec<StepProfile>,
    /// What the machine can do.
    pub peak: Peak,
    /// Runs that the times are means of.
    pub runs: usize,
}

impl Profile {
    /// Mean seconds of a run.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|s| s.seconds).sum()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.seconds();
        writeln!(f, "{:>4} {:>10} {:>6} {:>10} {:>10} {:>8}  step", "", "us", "share", "Mflop", "kB", "of peak")?;
        let row = |f: &mut fmt::Formatter<'_>, seconds: f64, flops: u64, bytes: u64| {
            let (us, share) = (1e6 * seconds, 100.0 * seconds / total);
            write!(f, " {us:>10.1} {share:>5.1}% {:>10.2} {:>10.1}", flops as f64 / 1e6, bytes as f64 / 1e3)
        };
        for (i, s) in self.steps.iter().enumerate() {
            write!(f, "{i:>4}")?;
            row(f, s.seconds, s.flops, s.bytes)?;
            writeln!(f, " {:>7.1}%  {} {}", 100.0 * s.of_peak, s.kind, s.what)?;
        }
        let sum = |g: fn(&StepProfile) -> u64| self.steps.iter().map(g).sum();
        write!(f, "{:>4}", "")?;
        row(f, total, sum(|s| s.flops), sum(|s| s.bytes))?;
        let Peak { flops, bandwidth } = self.peak;
        writeln!(f, " {:>8}  all; peak {:.1} Gflop/s, {:.1} GB/s", "", flops / 1e9, bandwidth / 1e9)
    }
}

impl<T: Scalar> Step<T> {
    /// The cost of a step that touches this many bytes.
    pub(super) fn cost(&self, nodes: Vec<usize>, bytes: usize) -> Cost {
        let (kind, flops) = match self {
            Step::Fused(k) => ("fused", k.flops()),
            Step::Copy(_) | Step::CopyInt(_) => ("copy", 0),
            Step::Accumulate(m) => ("accumulate", m.shape.iter().product()),
            Step::Zero { .. } => ("zero", 0),
            Step::Product { product, .. } => ("product", product.flops()),
            Step::Chunked { chunked, .. } => ("product", chunked.flops()),
            Step::Sum { len, reduction, .. } => ("sum", len * reduction.gone.iter().product::<usize>()),
            Step::Max { len, reduction, .. } => ("max", len * reduction.gone.iter().product::<usize>()),
            Step::ArgMax { n, len, .. } => ("argmax", n * len),
            Step::Pick { .. } => ("gather", 0),
            Step::Scatter { u_len, .. } => ("scatter", *u_len),
            Step::OneHot { .. } => ("one_hot", 0),
            Step::ToReal { .. } => ("to_real", 0),
            Step::Named { kernel, len, .. } => (kernel.label(), len * kernel.flops_per_element()),
        };
        Cost { kind, nodes, flops: flops as u64, bytes: bytes as u64 }
    }
}

impl<T: Scalar> Executable<T> {
    /// Runs the program `runs` times (at least once, after one run to warm up) and says what each step took, beside what the
    /// machine can do ([`Peak::measure`]).
    ///
    /// ```
    /// use autodiff::{Input, Output, TensorType, Workspace, trace};
    /// let ports = [("x", TensorType::real(&[64, 32])), ("w", TensorType::real(&[16, 32]))];
    /// let f = trace(&ports, |_, t| vec![("y", t[0].matmul(&t[1].t()).tanh())])?;
    /// let (x, w, mut y) = (vec![0.5; 64 * 32], vec![0.1; 16 * 32], vec![0.0; 64 * 16]);
    /// let (inputs, mut outputs) = ([Input::Real(&x), Input::Real(&w)], [Output::Real(&mut y)]);
    /// let profile = f.compile::<f64>()?.profile(&mut Workspace::new(), &inputs, &mut outputs, 3)?;
    /// assert_eq!((profile.steps[0].kind, profile.steps[0].flops), ("product", 2 * 64 * 32 * 16));
    /// assert!(profile.to_string().contains("fused tanh [64, 16]"));
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Executable::run`].
    pub fn profile(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[Input<'_, T>],
        outputs: &mut [Output<'_, T>],
        runs: usize,
    ) -> Result<Profile, Error> {
        self.drive(workspace, &[], inputs, outputs, None)?;
        let mut times = Vec::new();
        for _ in 0..runs.max(1) {
            self.drive(workspace, &[], inputs, outputs, Some(&mut times))?;
        }
        let plan = self.plan_for(&workspace.layout)?;
        let peak = Peak::measure::<T>(workspace.par);
        let step = |((s, c), t): ((&Step<T>, &Cost), f64)| {
            let seconds = t / runs.max(1) as f64;
            let reached =
                if c.kind == "product" { c.flops as f64 / peak.flops } else { c.bytes as f64 / peak.bandwidth };
            let of_peak = if seconds > 0.0 { reached / seconds } else { 0.0 };
            let (what, nodes) = (self.describe(s, c), c.nodes.clone());
            StepProfile { kind: c.kind, what, nodes, flops: c.flops, bytes: c.bytes, seconds, of_peak }
        };
        let steps = plan.steps.iter().zip(&plan.costs).zip(times).map(step).collect();
        Ok(Profile { steps, peak, runs: runs.max(1) })
    }

    /// The operations of a step and their sizes.
    fn describe(&self, step: &Step<T>, cost: &Cost) -> String {
        match step {
            Step::Product { product, add, .. } => return format!("{product}{}", if *add { ", added" } else { "" }),
            Step::Chunked { chunked, .. } => {
                let how = match (chunked.sums, &chunked.spread) {
                    (true, _) => "added up",
                    (false, Some(_)) => "folded",
                    (false, None) => "packed",
                };
                return format!("{}, {} times, {how}", chunked.product, chunked.axis.n);
            }
            _ => {}
        }
        let nodes = self.program.nodes();
        let mut names: Vec<String> = Vec::new();
        for name in cost.nodes.iter().map(|&n| nodes[n].op.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let shape = cost.nodes.last().map_or(&[][..], |&n| &nodes[n].ty.shape);
        format!("{} {shape:?}", names.join(" "))
    }
}
