//! Rounding to bfloat16, and matrices of `f32` or `f64` into panels and back: one pass each.

use super::product::{Out, Targets, hardware};
use super::{Format, LANES, Panels, PanelsMut, TILE, portable};
use crate::{MatMut, MatRef, Scalar, simd};

/// The nearest bfloat16 number, ties to even; a NaN stays one, subnormal numbers become zeros.
///
/// ```
/// use numerics::dense::panels::{from_bits, to_bits};
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

#[inline(always)]
fn single<T: Scalar>(x: T) -> f32 {
    x.to_f64() as f32
}

/// The rounded matrix `factor a`, the product taken in the precision of `a`: as panels, as those of its transpose, or both in one pass.
///
/// Fastest if rows or columns are contiguous. Panics on a shape mismatch.
pub fn pack<T: Scalar, F: Format>(out: Out<'_, F>, a: MatRef<'_, T>, factor: T) {
    let out = Targets::new(out, (a.nrows(), a.ncols()), "pack");
    match (a.transpose().try_as_col_major(), a.try_as_col_major()) {
        (_, Some(a)) => contiguous::<T, F>(&out, |j| a.col(j).as_slice(), factor),
        (Some(a), None) => contiguous::<T, F>(&out.transpose(), |j| a.col(j).as_slice(), factor),
        (None, None) => {
            let (rows, cols) = (a.nrows(), a.ncols());
            blocks::<F>(&out, |panel, tile| {
                core::array::from_fn(|j| {
                    core::array::from_fn(|r| {
                        let (i, j) = (LANES * panel + r, TILE * tile + j);
                        if i < rows && j < cols { single(factor * a[(i, j)]) } else { 0.0 }
                    })
                })
            });
        }
    }
}

/// Blocks of a matrix whose columns are contiguous.
fn contiguous<'a, T: Scalar, F: Format>(out: &Targets, column: impl Fn(usize) -> &'a [T], factor: T) {
    let (rows, cols) = (out.rows, out.cols);
    blocks::<F>(
        out,
        #[inline(always)]
        |panel, tile| {
            let mut block = [[0.0; LANES]; TILE];
            let start = LANES * panel;
            for (j, x) in block.iter_mut().enumerate().take(cols.saturating_sub(TILE * tile)) {
                let from = &column(TILE * tile + j)[start..rows.min(start + LANES)];
                if let Some(from) = from.first_chunk::<LANES>() {
                    *x = from.map(|y| single(factor * y));
                } else {
                    x.iter_mut().zip(from).for_each(|(x, &y)| *x = single(factor * y));
                }
            }
            block
        },
    );
}

/// Writes all blocks of 16 rows and eight columns, given by columns.
#[inline(always)]
fn blocks<F: Format>(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    if hardware::<F>() {
        // SAFETY: `hardware` has seen every feature that the function is compiled for.
        return unsafe { F::pack(out, block) };
    }
    portable::pack::<F>(out, block);
}

impl<F: Format> PanelsMut<'_, F> {
    /// [`pack`] into this matrix alone.
    pub fn pack<T: Scalar>(&mut self, a: MatRef<'_, T>, factor: T) {
        pack(Out { by_rows: Some(self.reborrow()), by_columns: None }, a, factor);
    }
}

impl<F: Format> Panels<'_, F> {
    /// `out = factor a`, the product taken in the precision of `out`. Panics on a shape mismatch.
    ///
    /// Fastest if columns of `out` are contiguous.
    pub fn unpack<T: Scalar>(self, out: MatMut<'_, T>, factor: T) {
        assert_eq!((out.nrows(), out.ncols()), (self.rows, self.cols), "unpack: the result has the wrong shape");
        let of_panel = self.of_panel();
        let wide = |x: f32| factor * T::from_f64(f64::from(x));
        let mut out = out;
        if let Some(mut out) = out.as_mut().try_as_col_major_mut() {
            simd::wide(|| {
                for j in 0..self.cols {
                    let column = out.as_mut().col_mut(j).as_slice_mut();
                    for (panel, column) in column.chunks_mut(LANES).enumerate() {
                        let words = &self.lines[panel * of_panel + j / F::COLS].0;
                        column.iter_mut().zip(words).for_each(|(x, &w)| *x = wide(F::number(w, j % F::COLS)));
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
