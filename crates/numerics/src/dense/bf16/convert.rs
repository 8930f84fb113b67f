//! Rounding to bfloat16, and matrices of `f32` or `f64` into panels and back: one pass each.

use super::{LANES, Line, Panels, PanelsMut};
use crate::{MatMut, MatRef, Scalar, simd};

/// The nearest bfloat16 number, ties to even; a NaN stays one, subnormal numbers become zeros.
///
/// ```
/// use numerics::dense::bf16::{from_bits, to_bits};
/// assert_eq!(from_bits(to_bits(3.4445)), 3.4375);
/// assert_eq!(from_bits(to_bits(1e-40)), 0.0);
/// assert!(from_bits(to_bits(f32::NAN)).is_nan());
/// ```
#[inline(always)]
pub fn to_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let size = bits & 0x7fff_ffff;
    // Without branches, for loops that are to become vector code; a carry beyond the largest number gives infinity.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let normal = if size < 0x0080_0000 { (bits >> 16) & 0x8000 } else { rounded };
    (if size > 0x7f80_0000 { (bits >> 16) | 0x40 } else { normal }) as u16
}

/// The number that a bfloat16 pattern stands for.
#[inline(always)]
pub fn from_bits(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Two neighbours in one word.
#[inline(always)]
pub(super) fn word(left: f32, right: f32) -> u32 {
    u32::from(to_bits(left)) | u32::from(to_bits(right)) << 16
}

/// The left one of a word.
#[inline(always)]
pub(super) fn left(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

/// The right one of a word.
#[inline(always)]
pub(super) fn right(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

#[inline(always)]
fn single<T: Scalar>(x: T) -> f32 {
    x.to_f64() as f32
}

impl PanelsMut<'_> {
    /// The rounded matrix `factor a`, the product taken in the precision of `a`. Panics on a shape mismatch.
    ///
    /// Fastest if rows or columns are contiguous.
    pub fn pack<T: Scalar>(&mut self, a: MatRef<'_, T>, factor: T) {
        assert_eq!((a.nrows(), a.ncols()), (self.rows, self.cols), "pack: the matrix has the wrong shape");
        let pairs = self.cols.div_ceil(2);
        if pairs == 0 {
            return;
        }
        let by_rows = a.transpose().try_as_col_major();
        for (panel, lines) in self.lines.chunks_exact_mut(pairs).enumerate() {
            let start = LANES * panel;
            let rows = LANES.min(self.rows - start);
            if let Some(by_rows) = by_rows {
                simd::wide(|| pack_rows(lines, rows, |r| by_rows.col(start + r).as_slice(), factor));
            } else if let Some(by_columns) = a.try_as_col_major() {
                let column = |j: usize| by_columns.col(j).as_slice().get(start..start + rows);
                simd::wide(|| pack_columns(lines, self.cols, column, factor));
            } else {
                let entry = |i: usize, j: usize| {
                    if i < rows && j < self.cols { single(factor * a[(start + i, j)]) } else { 0.0 }
                };
                for (p, line) in lines.iter_mut().enumerate() {
                    *line = Line(core::array::from_fn(|r| word(entry(r, 2 * p), entry(r, 2 * p + 1))));
                }
            }
        }
    }
}

/// A panel of contiguous rows: sixteen words of each at a time, and a turn of the block.
#[inline(always)]
fn pack_rows<'a, T: Scalar>(lines: &mut [Line], rows: usize, row: impl Fn(usize) -> &'a [T], factor: T) {
    let mut block = [[0_u32; LANES]; LANES];
    for (at, lines) in lines.chunks_mut(LANES).enumerate() {
        for (r, words) in block.iter_mut().enumerate().take(rows) {
            let from = &row(r)[2 * LANES * at..];
            if let Some(from) = from.first_chunk::<{ 2 * LANES }>() {
                for (k, w) in words.iter_mut().enumerate() {
                    *w = word(single(factor * from[2 * k]), single(factor * from[2 * k + 1]));
                }
            } else {
                let entry = |j: usize| from.get(j).map_or(0.0, |&x| single(factor * x));
                for (k, w) in words.iter_mut().enumerate() {
                    *w = word(entry(2 * k), entry(2 * k + 1));
                }
            }
        }
        for (p, line) in lines.iter_mut().enumerate() {
            for (r, w) in line.0.iter_mut().enumerate() {
                *w = block[r][p];
            }
        }
    }
}

/// A panel of contiguous columns, two to a line.
#[inline(always)]
fn pack_columns<'a, T: Scalar>(lines: &mut [Line], cols: usize, column: impl Fn(usize) -> Option<&'a [T]>, factor: T) {
    for (p, line) in lines.iter_mut().enumerate() {
        let one = |j: usize| -> [f32; LANES] {
            let mut x = [0.0; LANES];
            if let Some(from) = if j < cols { column(j) } else { None } {
                x.iter_mut().zip(from).for_each(|(x, &y)| *x = single(factor * y));
            }
            x
        };
        let (x, y) = (one(2 * p), one(2 * p + 1));
        for (r, w) in line.0.iter_mut().enumerate() {
            *w = word(x[r], y[r]);
        }
    }
}

impl Panels<'_> {
    /// `out = factor a`, the product taken in the precision of `out`. Panics on a shape mismatch.
    ///
    /// Fastest if columns of `out` are contiguous.
    pub fn unpack<T: Scalar>(self, out: MatMut<'_, T>, factor: T) {
        assert_eq!((out.nrows(), out.ncols()), (self.rows, self.cols), "unpack: the result has the wrong shape");
        let pairs = self.pairs();
        let wide = |x: f32| factor * T::from_f64(f64::from(x));
        let mut out = out;
        if let Some(mut out) = out.as_mut().try_as_col_major_mut() {
            simd::wide(|| {
                for j in 0..self.cols {
                    let column = out.as_mut().col_mut(j).as_slice_mut();
                    for (panel, column) in column.chunks_mut(LANES).enumerate() {
                        let words = &self.lines[panel * pairs + j / 2].0;
                        if j % 2 == 0 {
                            column.iter_mut().zip(words).for_each(|(x, &w)| *x = wide(left(w)));
                        } else {
                            column.iter_mut().zip(words).for_each(|(x, &w)| *x = wide(right(w)));
                        }
                    }
                }
            });
            return;
        }
        for j in 0..self.cols {
            for i in 0..self.rows {
                out[(i, j)] = wide(self.get(i, j));
            }
        }
    }
}
