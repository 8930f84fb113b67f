//! What the numbers of a line are, and which instructions multiply them.

use super::convert::{from_bits, to_bits};
#[cfg(not(target_arch = "x86_64"))]
use super::portable;
use super::product::{Job, Targets};
use super::{LANES, TILE};
use core::ops::Range;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Bf16 {}
    impl Sealed for super::Single {}
}

/// bfloat16: an `f32` without its lower 16 bits; two columns to a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16;

/// `f32`: a column to a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Single;

/// A format of the numbers in panels: [`Bf16`] or [`Single`].
pub trait Format: Copy + core::fmt::Debug + Default + Send + Sync + 'static + sealed::Sealed {
    /// Columns of a line.
    const COLS: usize;

    /// Whether the running processor has vector instructions for it.
    fn available() -> bool;

    /// The number in a word that belongs to a column of its line.
    fn number(word: u32, column: usize) -> f32;

    /// The word of these numbers, rounded to the format; one for every column of a line.
    fn word(numbers: impl Fn(usize) -> f32) -> u32;

    /// Computes all tiles of some panels of columns.
    ///
    /// # Safety
    /// The format's instructions are available.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    unsafe fn strip(job: &Job<'_, Self>, columns: Range<usize>);

    /// Rounds and writes all blocks of a matrix.
    ///
    /// # Safety
    /// The format's instructions are available.
    #[doc(hidden)]
    #[allow(private_interfaces)]
    unsafe fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]);
}

macro_rules! by_module {
    ($format:ident, $module:ident, $cols:literal, $number:path, $word:path) => {
        impl Format for $format {
            const COLS: usize = $cols;

            fn available() -> bool {
                #[cfg(target_arch = "x86_64")]
                let yes = super::$module::available();
                #[cfg(not(target_arch = "x86_64"))]
                let yes = false;
                yes
            }

            #[inline(always)]
            fn number(word: u32, column: usize) -> f32 {
                $number(word, column)
            }

            #[inline(always)]
            fn word(numbers: impl Fn(usize) -> f32) -> u32 {
                $word(numbers)
            }

            #[allow(private_interfaces)]
            unsafe fn strip(job: &Job<'_, Self>, columns: Range<usize>) {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the caller's promise.
                unsafe {
                    super::$module::strip(job, columns);
                }
                #[cfg(not(target_arch = "x86_64"))]
                portable::strip(job, columns);
            }

            #[allow(private_interfaces)]
            unsafe fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the caller's promise.
                unsafe {
                    super::$module::pack(out, block);
                }
                #[cfg(not(target_arch = "x86_64"))]
                portable::pack::<Self>(out, block);
            }
        }
    };
}

by_module!(Bf16, bf16, 2, half_number, half_word);
by_module!(Single, single, 1, whole_number, whole_word);

#[inline(always)]
fn half_number(word: u32, column: usize) -> f32 {
    from_bits((word >> (16 * column)) as u16)
}

#[inline(always)]
fn half_word(numbers: impl Fn(usize) -> f32) -> u32 {
    u32::from(to_bits(numbers(0))) | u32::from(to_bits(numbers(1))) << 16
}

#[inline(always)]
fn whole_number(word: u32, _column: usize) -> f32 {
    f32::from_bits(word)
}

#[inline(always)]
fn whole_word(numbers: impl Fn(usize) -> f32) -> u32 {
    numbers(0).to_bits()
}
