//! Contractions in chunks: an operand that must be rearranged is rearranged one slice at a time, while the slice is in the
//! cache, and multiplied at once.
//!
//! The windows of a convolution are never written out for a whole batch: forward the chunks are the data; for the weights'
//! gradient the products of the data are added up, in order; for the inputs' gradient the windows of one datum are folded at once.
//! Slices that do not share a result are spread over threads, otherwise
//! each product is; the bits do not depend on the threads.

use super::contract::{Axis, Packing, Product};
use super::loops::{self, Sent};
use crate::types::Dims;
use numerics::{Par, Scalar};

/// A loop over one axis of a contraction.
#[derive(Debug)]
pub(super) struct Chunked {
    /// The axis; its strides are those of the operands as they lie.
    pub(super) axis: Axis,
    /// Whether the products are added up: the axis is contracted.
    pub(super) sums: bool,
    /// Whether the value is added to what stands there.
    pub(super) add: bool,
    /// What is packed of the left and of the right operand.
    pub(super) packs: [Option<Packing>; 2],
    /// The product of a slice.
    pub(super) product: Product,
    /// How a slice of the value is added to where it belongs, if it cannot be written there.
    pub(super) spread: Option<Spread>,
}

/// A dense box that is added to a strided one, whose positions may repeat.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) shape: Dims,
    pub(super) from: Dims,
    pub(super) to: Dims,
}

impl Chunked {
    /// Scratch elements that a thread needs.
    pub(super) fn scratch(&self) -> usize {
        let spread = self.spread.as_ref().map_or(0, |s| s.shape.iter().product());
        self.packs.iter().flatten().map(Packing::room).sum::<usize>() + spread
    }

    pub(super) fn flops(&self) -> usize {
        self.axis.n * self.product.flops()
    }

    /// # Safety
    /// As for [`Product::run`]; `scratch` has room for every thread and is apart from all else.
    pub(super) unsafe fn run<T: Scalar>(&self, a: *const T, b: *const T, c: *mut T, scratch: *mut T, par: Par) {
        let ends = (Sent(a), Sent(b), Sent(c), Sent(scratch));
        if self.sums {
            // SAFETY: handed on.
            unsafe { self.range(ends, 0, self.axis.n, par) };
        } else {
            // SAFETY: handed on.
            unsafe { self.split(ends, par.degree().min(self.axis.n).max(1), 0, self.axis.n) };
        }
    }

    unsafe fn split<T: Scalar>(&self, ends: Ends<T>, threads: usize, from: usize, to: usize) {
        if threads == 1 {
            // SAFETY: handed on.
            return unsafe { self.range(ends, from, to, Par::Seq) };
        }
        let half = threads / 2;
        let middle = from + (to - from) * half / threads;
        let far = (ends.0, ends.1, ends.2, Sent(ends.3.get().wrapping_add(half * self.scratch())));
        rayon::join(
            // SAFETY: slices of their own, in scratch of their own.
            move || unsafe { self.split(ends, half, from, middle) },
            // SAFETY: as above.
            move || unsafe { self.split(far, threads - half, middle, to) },
        );
    }

    /// The slices `from..to`.
    unsafe fn range<T: Scalar>(&self, ends: Ends<T>, from: usize, to: usize, par: Par) {
        let (a, b, c, scratch) = (ends.0.get(), ends.1.get(), ends.2.get(), ends.3.get());
        for i in from..to {
            let mut sides = [a.wrapping_add(i * self.axis.a), b.wrapping_add(i * self.axis.b)];
            let mut room = scratch;
            for (side, pack) in sides.iter_mut().zip(&self.packs) {
                let Some(p) = pack else { continue };
                // SAFETY: the slice lies inside the operand, and the scratch has room for it.
                unsafe { loops::copy_on(par.degree(), &p.shape, *side, &p.strides, room, &p.to) };
                *side = room;
                room = room.wrapping_add(p.room());
            }
            // SAFETY: the slice of the value is inside, and the operands' slices too.
            unsafe {
                let c = c.wrapping_add(i * self.axis.c);
                match &self.spread {
                    None => self.product.run(sides[0], sides[1], c, self.add || (self.sums && i > 0), par),
                    Some(s) => {
                        self.product.run(sides[0], sides[1], room, false, par);
                        loops::add(&s.shape, room, &s.from, c, &s.to);
                    }
                }
            }
        }
    }
}

/// Pointers to the operands, the value and the scratch, on their way to another thread.
type Ends<T> = (Sent<*const T>, Sent<*const T>, Sent<*mut T>, Sent<*mut T>);
