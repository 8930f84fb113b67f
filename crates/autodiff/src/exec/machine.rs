//! Where buffers are while a program runs, and the steps of the plan.

use super::chunk::Chunked;
use super::contract::Product;
use super::fuse::Kernel;
use super::loops::{self, Pick, Reduction};
use super::named::Named;
use super::profile::Cost;
use super::workspace::{Argument, Workspace};
use crate::error::Error;
use crate::types::Dims;
use core::sync::atomic::Ordering;
use numerics::{Par, Scalar};
use std::sync::Arc;

/// Home of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loc {
    /// Memory of the workspace, from this element on.
    Arena(usize),
    /// The executable's constants, from this element on.
    Const(usize),
    /// An input.
    Input(usize),
    /// Memory of an output.
    Output(usize),
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) buf: usize,
    pub(super) offset: usize,
}

/// A strided copy.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) src: Place,
    pub(super) dst: Place,
    pub(super) shape: Dims,
    pub(super) from: Dims,
    pub(super) to: Dims,
}

/// One step of a plan.
#[derive(Debug)]
pub(super) enum Step<T> {
    Fused(Kernel<T>),
    Copy(Move),
    CopyInt(Move),
    /// Adds instead of copying.
    Accumulate(Move),
    Zero {
        buf: usize,
        len: usize,
    },
    Product {
        a: Place,
        b: Place,
        c: Place,
        product: Product,
        /// To what stands there.
        add: bool,
    },
    Chunked {
        a: Place,
        b: Place,
        c: Place,
        chunked: Box<Chunked>,
    },
    Sum {
        x: Place,
        out: Place,
        len: usize,
        reduction: Reduction,
    },
    Max {
        x: Place,
        out: Place,
        len: usize,
        reduction: Reduction,
    },
    ArgMax {
        x: Place,
        n: usize,
        out: usize,
        len: usize,
    },
    Pick {
        x: Place,
        x_len: usize,
        index: Place,
        index_len: usize,
        pick: Pick,
        out: usize,
        len: usize,
    },
    Scatter {
        u: Place,
        u_len: usize,
        index: Place,
        index_len: usize,
        pick: Pick,
        out: usize,
        len: usize,
    },
    OneHot {
        index: Place,
        index_len: usize,
        depth: usize,
        out: usize,
        len: usize,
    },
    ToReal {
        index: Place,
        out: usize,
        len: usize,
    },
    /// A kernel of the registry over rows of `n` elements.
    Named {
        kernel: Named,
        x: Place,
        n: usize,
        out: Place,
        len: usize,
    },
}

/// What is done, and the memory it takes.
#[derive(Debug)]
pub(super) struct Plan<T> {
    pub(super) steps: Vec<Step<T>>,
    pub(super) costs: Vec<Cost>,
    pub(super) locs: Vec<Loc>,
    pub(super) consts: Arc<Vec<T>>,
    pub(super) int_consts: Arc<Vec<i64>>,
    pub(super) arena: usize,
    pub(super) ints: usize,
    pub(super) registers: usize,
}

impl<T: Scalar> Plan<T> {
    /// Bytes that a workspace takes.
    pub(super) fn bytes(&self) -> usize {
        (self.arena + self.registers) * size_of::<T>() + self.ints * size_of::<i64>()
    }

    /// Whether some step may be worth several threads.
    pub(super) fn is_large(&self) -> bool {
        self.costs.iter().any(Cost::is_large)
    }

    /// Drops its own constants where another plan of the same program has the same ones.
    pub(super) fn share_constants(&mut self, other: &Plan<T>) {
        if self.consts == other.consts && self.int_consts == other.int_consts {
            self.consts.clone_from(&other.consts);
            self.int_consts.clone_from(&other.int_consts);
        }
    }
}

/// The pointers of one run.
pub(super) struct Machine<'a, T> {
    locs: &'a [Loc],
    arena: *mut T,
    ints: *mut i64,
    consts: *const T,
    int_consts: *const i64,
    inputs: &'a [Argument<T>],
    outputs: &'a [Argument<T>],
    pub(super) registers: *mut T,
    pub(super) par: Par,
}

// SAFETY: the pointers are only followed inside unsafe functions, whose callers keep the threads' positions apart.
unsafe impl<T: Scalar> Sync for Machine<'_, T> {}

impl<'a, T: Scalar> Machine<'a, T> {
    pub(super) fn new(plan: &'a Plan<T>, w: &'a mut Workspace<T>) -> Self {
        Machine {
            locs: &plan.locs,
            arena: w.arena.as_mut_ptr(),
            ints: w.ints.as_mut_ptr(),
            consts: plan.consts.as_ptr(),
            int_consts: plan.int_consts.as_ptr(),
            inputs: &w.inputs,
            outputs: &w.outputs,
            registers: w.registers.as_mut_ptr(),
            par: w.par,
        }
    }

    /// First element of a real buffer.
    pub(super) fn read(&self, buf: usize) -> *const T {
        match self.locs[buf] {
            Loc::Const(at) => self.consts.wrapping_add(at),
            Loc::Input(i) => self.inputs[i].real.load(Ordering::Relaxed),
            Loc::Arena(_) | Loc::Output(_) => self.write(buf),
        }
    }

    /// First element of a real buffer of the workspace or the outputs.
    pub(super) fn write(&self, buf: usize) -> *mut T {
        match self.locs[buf] {
            Loc::Arena(at) => self.arena.wrapping_add(at),
            Loc::Output(i) => self.outputs[i].real.load(Ordering::Relaxed),
            Loc::Const(_) | Loc::Input(_) => core::ptr::null_mut(),
        }
    }

    fn read_int(&self, buf: usize) -> *const i64 {
        match self.locs[buf] {
            Loc::Const(at) => self.int_consts.wrapping_add(at),
            Loc::Input(i) => self.inputs[i].int.load(Ordering::Relaxed),
            Loc::Arena(_) | Loc::Output(_) => self.write_int(buf),
        }
    }

    fn write_int(&self, buf: usize) -> *mut i64 {
        match self.locs[buf] {
            Loc::Arena(at) => self.ints.wrapping_add(at),
            Loc::Output(i) => self.outputs[i].int.load(Ordering::Relaxed),
            Loc::Const(_) | Loc::Input(_) => core::ptr::null_mut(),
        }
    }

    fn at(&self, p: Place) -> *const T {
        self.read(p.buf).wrapping_add(p.offset)
    }

    unsafe fn slice(&self, p: Place, len: usize) -> &[T] {
        // SAFETY: the plan checked that the place holds `len` elements; nothing writes there during a step.
        unsafe { core::slice::from_raw_parts(self.at(p), len) }
    }

    unsafe fn ints(&self, p: Place, len: usize) -> &[i64] {
        // SAFETY: as for `slice`.
        unsafe { core::slice::from_raw_parts(self.read_int(p.buf).wrapping_add(p.offset), len) }
    }

    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, p: Place, len: usize) -> &mut [T] {
        // SAFETY: `len` elements of a buffer of the workspace or an output; liveness keeps them disjoint from all that the
        // step reads.
        unsafe { core::slice::from_raw_parts_mut(self.write(p.buf).wrapping_add(p.offset), len) }
    }

    #[allow(clippy::mut_from_ref)]
    unsafe fn out(&self, buf: usize, len: usize) -> &mut [T] {
        // SAFETY: handed on.
        unsafe { self.part(Place { buf, offset: 0 }, len) }
    }

    /// Runs a step.
    ///
    /// # Safety
    /// The step, the buffers' homes and the workspace belong to one plan, and the inputs have its sizes.
    pub(super) unsafe fn step(&self, step: &Step<T>) -> Result<(), Error> {
        // SAFETY: the plan placed every operand inside its buffer and the value's buffer apart from the operands'.
        unsafe {
            match step {
                Step::Fused(k) => k.run(self),
                Step::Copy(m) => {
                    let dst = self.write(m.dst.buf).add(m.dst.offset);
                    loops::copy_on(self.par.degree(), &m.shape, self.at(m.src), &m.from, dst, &m.to);
                }
                Step::CopyInt(m) => {
                    let src = self.read_int(m.src.buf).add(m.src.offset);
                    loops::copy(&m.shape, src, &m.from, self.write_int(m.dst.buf).add(m.dst.offset), &m.to);
                }
                Step::Accumulate(m) => {
                    let dst = self.write(m.dst.buf).add(m.dst.offset);
                    loops::add_on(self.par.degree(), &m.shape, self.at(m.src), &m.from, dst, &m.to);
                }
                Step::Zero { buf, len } => self.out(*buf, *len).fill(T::ZERO),
                Step::Product { a, b, c, product, add } => {
                    product.run(self.at(*a), self.at(*b), self.write(c.buf).add(c.offset), *add, self.par);
                }
                Step::Chunked { a, b, c, chunked } => {
                    let c = self.write(c.buf).add(c.offset);
                    chunked.run(self.at(*a), self.at(*b), c, self.registers, self.par);
                }
                Step::Sum { x, out, len, reduction } => {
                    reduction.sum_on(self.par.degree(), self.at(*x), self.part(*out, *len));
                }
                Step::Max { x, out, len, reduction } => reduction.max(self.at(*x), self.part(*out, *len)),
                Step::ArgMax { x, n, out, len } => {
                    let out = core::slice::from_raw_parts_mut(self.write_int(*out), *len);
                    loops::argmax(self.slice(*x, n * len), *n, out);
                }
                Step::Pick { x, x_len, index, index_len, pick, out, len } => {
                    let index = self.ints(*index, *index_len);
                    loops::pick(*pick, self.slice(*x, *x_len), index, self.out(*out, *len))?;
                }
                Step::Scatter { u, u_len, index, index_len, pick, out, len } => {
                    let index = self.ints(*index, *index_len);
                    loops::scatter(*pick, index, self.slice(*u, *u_len), self.out(*out, *len))?;
                }
                Step::OneHot { index, index_len, depth, out, len } => {
                    loops::one_hot(*depth, self.ints(*index, *index_len), self.out(*out, *len));
                }
                Step::Named { kernel, x, n, out, len } => {
                    kernel.run(*n, self.slice(*x, *len), self.part(*out, *len), self.par);
                }
                Step::ToReal { index, out, len } => {
                    let out = self.out(*out, *len).iter_mut();
                    out.zip(self.ints(*index, *len)).for_each(|(o, &i)| *o = T::from_f64(i as f64));
                }
            }
        }
        Ok(())
    }
}
