//! Products of matrices that are kept in the one form that products read and write, so that a chain of them, as in a matrix
//! iteration, never packs anything again.
//!
//! A product stores its result, and if asked its transpose, as operands of the next one ([`Panels`]). A scaled matrix is added on the
//! way out, so `b A + c A^2` costs one product and no pass; a product that is known to be symmetric costs half, and both of its triangles
//! are there. Two formats:
//!
//! - [`Bf16`]: bfloat16 numbers, sums in single precision; with AVX512-BF16 twice the rate of single-precision products. A bfloat16 number
//!   is an `f32` without its lower 16 bits: 8 significant bits, the same range.
//! - [`Single`]: `f32`, with AVX-512 at the machine's rate.
//!
//! ```
//! use numerics::dense::panels::{self, Bf16, Line, PanelsMut};
//! use numerics::{Mat, Par};
//! let a = Mat::from_fn(3, 2, |i, j| (i + 2 * j) as f32); // [0 2; 1 3; 2 4]
//! let mut memory = vec![Line::ZERO; panels::lines::<Bf16>(3, 2) + panels::lines::<Bf16>(3, 3)];
//! let (first, second) = memory.split_at_mut(panels::lines::<Bf16>(3, 2));
//! let mut x = PanelsMut::<Bf16>::new(first, 3, 2);
//! x.pack(a.as_ref(), 1.0);
//! let mut gram = PanelsMut::new(second, 3, 3);
//! panels::symmetric_product(gram.reborrow(), 1.0, x.view(), x.view(), None, Par::Seq);
//! assert_eq!((gram.view().get(0, 0), gram.view().get(2, 1)), (4.0, 14.0));
//! ```
//!
//! - **Rounding.** Of bfloat16: to nearest, ties to even, once on the way in and once on the way out; NaN stays NaN, infinities stay, what is too
//!   large becomes infinite. Subnormal numbers (below 1.2e-38) become zeros of their sign, as in the processor's own conversion.
//! - **Sums.** In single precision, in the order of the inner index (bfloat16: by pairs) over the whole of it; a product of two bfloat16 numbers is
//!   exact there unless it leaves the range, one of single-precision numbers is fused with its addition. An entry differs from the exact
//!   sum of the rounded operands by at most `k 2^-23` of the sum of moduli, before it is rounded itself.
//! - **Machines.** Without the instructions the same operands are widened block by block and multiplied by [`super::gemm`] in single precision, at
//!   half of its rate or somewhat more. The sums have another order, so the bits of the two paths differ within the bound above.
//! - **Threads.** An entry is one thread's work from first to last: no bit depends on their number.
//! - **Memory.** The caller's: nothing is allocated. A matrix takes two or four bytes an entry, rows counted in sixteens.

#[cfg(target_arch = "x86_64")]
mod bf16;
mod convert;
mod format;
mod portable;
mod product;
#[cfg(target_arch = "x86_64")]
mod single;
#[cfg(test)]
mod tests;

pub use convert::{from_bits, pack, to_bits};
pub use format::{Bf16, Format, Single};
pub use product::{Out, product, symmetric_product};

use crate::Scalar;
use core::marker::PhantomData;

/// Rows of a panel.
const LANES: usize = 16;
/// Columns of the block of a result that is summed in registers.
const TILE: usize = 8;

/// A cache line of 16 words, one for each row of a panel: a column of single-precision numbers, or two neighbouring columns of bfloat16 ones, the left
/// one in the lower half of each word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line([u32; LANES]);

impl Line {
    /// Zeros.
    pub const ZERO: Line = Line([0; LANES]);
}

/// Lines of a matrix of `rows x cols`.
pub fn lines<F: Format>(rows: usize, cols: usize) -> usize {
    rows.div_ceil(LANES) * cols.div_ceil(F::COLS)
}

/// Elements of scalar memory in which [`carve`] finds so many lines, wherever it begins.
pub fn room<T: Scalar>(lines: usize) -> usize {
    (lines + 1) * (size_of::<Line>() / size_of::<T>())
}

/// The whole lines in memory of scalars, whose contents are lost.
///
/// ```
/// use numerics::dense::panels;
/// let mut memory = vec![0.0_f64; panels::room::<f64>(10)];
/// assert!(panels::carve(&mut memory).len() >= 10);
/// ```
pub fn carve<T: Scalar>(memory: &mut [T]) -> &mut [Line] {
    // SAFETY: `Scalar` is sealed: `f32` and `f64`, for which, as for the words of a line, every bit pattern is a value; a line has no padding.
    unsafe { memory.align_to_mut::<Line>().1 }
}

/// A matrix as products read it: panels of 16 rows, within a panel one [`Line`] for every [`Format::COLS`] columns.
///
/// Rows and columns that fill up the last panel and the last line are zero.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, F> {
    lines: &'a [Line],
    rows: usize,
    cols: usize,
    format: PhantomData<F>,
}

/// The same matrix to be written to.
#[derive(Debug)]
pub struct PanelsMut<'a, F> {
    lines: &'a mut [Line],
    rows: usize,
    cols: usize,
    format: PhantomData<F>,
}

impl<F: Format> Panels<'_, F> {
    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(self) -> usize {
        self.cols
    }

    /// One entry. Panics outside of the matrix.
    pub fn get(self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) of {} x {}", self.rows, self.cols);
        F::number(self.lines[i / LANES * self.of_panel() + j / F::COLS].0[i % LANES], j % F::COLS)
    }

    /// Lines of a panel.
    fn of_panel(self) -> usize {
        self.cols.div_ceil(F::COLS)
    }
}

impl<'a, F: Format> PanelsMut<'a, F> {
    /// A matrix in the first lines of `memory`, with whatever they hold. Panics if there are too few ([`lines`]).
    pub fn new(memory: &'a mut [Line], rows: usize, cols: usize) -> Self {
        let needed = lines::<F>(rows, cols);
        assert!(memory.len() >= needed, "{rows} x {cols} takes {needed} lines, got {}", memory.len());
        PanelsMut { lines: &mut memory[..needed], rows, cols, format: PhantomData }
    }

    /// For reading.
    pub fn view(&self) -> Panels<'_, F> {
        Panels { lines: self.lines, rows: self.rows, cols: self.cols, format: PhantomData }
    }

    /// For writing, for a shorter time.
    pub fn reborrow(&mut self) -> PanelsMut<'_, F> {
        PanelsMut { lines: self.lines, rows: self.rows, cols: self.cols, format: PhantomData }
    }
}
