//! Products of bfloat16 matrices with sums in single precision: twice the rate of single-precision products where the
//! processor has AVX512-BF16.
//!
//! A bfloat16 number is an `f32` without its lower 16 bits: 8 significant bits, the same range. Matrices are kept in the one form
//! that the products read and write ([`Panels`]), so a chain of products, as in a matrix iteration, never packs anything again:
//! a product stores its result, and if asked its transpose, as operands of the next one. A scaled matrix is added on the way out, so
//! `b A + c A^2` costs one product and no pass.
//!
//! ```
//! use numerics::dense::bf16::{self, Line, Out, PanelsMut};
//! use numerics::{Mat, Par};
//! let a = Mat::from_fn(3, 2, |i, j| (i + 2 * j) as f32); // [0 2; 1 3; 2 4]
//! let mut memory = vec![Line::ZERO; bf16::lines(3, 2) + bf16::lines(3, 3)];
//! let (first, second) = memory.split_at_mut(bf16::lines(3, 2));
//! let mut x = PanelsMut::new(first, 3, 2);
//! x.pack(a.as_ref(), 1.0);
//! let mut gram = PanelsMut::new(second, 3, 3);
//! bf16::symmetric_product(gram.reborrow(), 1.0, x.view(), x.view(), None, Par::Seq);
//! assert_eq!((gram.view().get(0, 0), gram.view().get(2, 1)), (4.0, 14.0));
//! ```
//!
//! - **Rounding.** To nearest, ties to even, once on the way in and once on the way out; NaN stays NaN, infinities stay, what is too
//!   large becomes infinite. Subnormal numbers (below 1.2e-38) become zeros of their sign, as in the processor's own conversion.
//! - **Sums.** In single precision, in the order of the inner index by pairs, over the whole of it; a product of two bfloat16 numbers is
//!   exact there unless it leaves the range. An entry differs from the exact sum of the rounded operands by at most `k 2^-23` of
//!   the sum of moduli, before it is rounded itself.
//! - **Machines.** Without AVX512-BF16 the same operands are widened block by block and multiplied by [`super::gemm`] in single precision, at
//!   half of its rate or somewhat more. The sums have another order, so the bits of the two paths differ within the bound above.
//! - **Threads.** An entry is one thread's work from first to last: no bit depends on their number.
//! - **Memory.** The caller's: nothing is allocated. A matrix takes two bytes an entry, rows counted in sixteens.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod convert;
mod portable;
mod product;
#[cfg(test)]
mod tests;

pub use convert::{from_bits, pack, to_bits};
pub use product::{Out, product, symmetric_product};

use crate::Scalar;

/// Rows of a panel.
const LANES: usize = 16;
/// Columns of the block of a result that is summed in registers.
const TILE: usize = 8;

/// A cache line of 16 words: two neighbouring columns of 16 rows, the left one in the lower half of each word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line([u32; LANES]);

impl Line {
    /// Zeros.
    pub const ZERO: Line = Line([0; LANES]);
}

/// Lines of a matrix of `rows x cols`.
pub fn lines(rows: usize, cols: usize) -> usize {
    rows.div_ceil(LANES) * cols.div_ceil(2)
}

/// Elements of scalar memory in which [`carve`] finds so many lines, wherever it begins.
pub fn room<T: Scalar>(lines: usize) -> usize {
    (lines + 1) * (size_of::<Line>() / size_of::<T>())
}

/// The whole lines in memory of scalars, whose contents are lost.
///
/// ```
/// use numerics::dense::bf16;
/// let mut memory = vec![0.0_f64; bf16::room::<f64>(10)];
/// assert!(bf16::carve(&mut memory).len() >= 10);
/// ```
pub fn carve<T: Scalar>(memory: &mut [T]) -> &mut [Line] {
    // SAFETY: `Scalar` is sealed: `f32` and `f64`, for which, as for the words of a line, every bit pattern is a value; a line has no padding.
    unsafe { memory.align_to_mut::<Line>().1 }
}

/// A matrix as products read it: panels of 16 rows, within a panel one [`Line`] for every two columns.
///
/// Rows and columns that fill up the last panel and the last line are zero.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    lines: &'a [Line],
    rows: usize,
    cols: usize,
}

/// The same matrix to be written to.
#[derive(Debug)]
pub struct PanelsMut<'a> {
    lines: &'a mut [Line],
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
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
        let word = self.lines[i / LANES * self.pairs() + j / 2].0[i % LANES];
        from_bits((word >> (16 * (j % 2))) as u16)
    }

    /// Lines of a panel.
    fn pairs(self) -> usize {
        self.cols.div_ceil(2)
    }
}

impl<'a> PanelsMut<'a> {
    /// A matrix in the first lines of `memory`, with whatever they hold. Panics if there are too few ([`lines`]).
    pub fn new(memory: &'a mut [Line], rows: usize, cols: usize) -> Self {
        let needed = lines(rows, cols);
        assert!(memory.len() >= needed, "{rows} x {cols} takes {needed} lines, got {}", memory.len());
        PanelsMut { lines: &mut memory[..needed], rows, cols }
    }

    /// For reading.
    pub fn view(&self) -> Panels<'_> {
        Panels { lines: self.lines, rows: self.rows, cols: self.cols }
    }

    /// For writing, for a shorter time.
    pub fn reborrow(&mut self) -> PanelsMut<'_> {
        PanelsMut { lines: self.lines, rows: self.rows, cols: self.cols }
    }
}
