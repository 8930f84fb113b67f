//! The memory of a run, kept between runs.

use super::bind::{Layout, Stride};
use super::machine::Plan;
use core::sync::atomic::AtomicPtr;
use numerics::{Par, Scalar};

/// Where an argument is: its real numbers, or its integers.
#[derive(Debug)]
pub(super) struct Argument<T> {
    pub(super) real: AtomicPtr<T>,
    pub(super) int: AtomicPtr<i64>,
}

/// The memory that a run needs; keep it between runs. It serves any executable, and grows to the largest.
#[derive(Debug)]
pub struct Workspace<T> {
    pub(super) arena: Vec<T>,
    pub(super) ints: Vec<i64>,
    pub(super) registers: Vec<T>,
    pub(super) par: Par,
    /// How the arguments of the current run lie, and where.
    pub(super) layout: Layout,
    pub(super) inputs: Vec<Argument<T>>,
    pub(super) outputs: Vec<Argument<T>>,
}

impl<T: Scalar> Default for Workspace<T> {
    fn default() -> Self {
        Workspace {
            arena: Vec::new(),
            ints: Vec::new(),
            registers: Vec::new(),
            par: Par::rayon(0),
            layout: Layout::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
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

    pub(super) fn fit(&mut self, plan: &Plan<T>) {
        fn grow<E: Clone>(v: &mut Vec<E>, n: usize, zero: E) {
            if v.len() < n {
                v.resize(n, zero);
            }
        }
        grow(&mut self.arena, plan.arena, T::ZERO);
        grow(&mut self.ints, plan.ints, 0);
        grow(&mut self.registers, plan.registers * self.par.degree(), T::ZERO);
    }

    pub(super) fn clear(&mut self) {
        self.layout.clear();
        self.inputs.clear();
        self.outputs.clear();
    }

    pub(super) fn push_input(&mut self, stride: Option<Stride>, (real, int): (*const T, *const i64)) {
        self.layout.push_input(stride);
        let (real, int) = (AtomicPtr::new(real.cast_mut()), AtomicPtr::new(int.cast_mut()));
        self.inputs.push(Argument { real, int });
    }

    pub(super) fn push_output(&mut self, stride: Option<Stride>, (real, int): (*mut T, *mut i64)) {
        self.layout.push_output(stride);
        self.outputs.push(Argument { real: AtomicPtr::new(real), int: AtomicPtr::new(int) });
    }
}
