//! Symmetric products by tiles of our own: only tiles that touch the lower triangle are computed.
//!
//! faer's kernels compute 96 (single precision) or 48 rows at a time, so that of a Gram matrix of order 256 they compute
//! two thirds; halving it into squares of 64 leaves 0.61. Here a tile has two registers of rows and eight columns,
//! and one register of rows where the other lies above the diagonal: 0.53 of the product at order 256. Larger matrices are halved
//! down to that.
//! Operands are packed into panels of two registers of rows, for one slice of the inner dimension at a time, scaled by the weights of
//! [`super::syrk_weighted`] on the way. The left operand's panels are read by registers, the right one's by single numbers, so a Gram
//! matrix packs its factor once.
//!
//! AVX-512 only; elsewhere, and for larger ones, [`lower`] declines and the caller halves the matrix. Every element is the sum of the slices in order, each of
//! them a chain of fused multiply-adds, whoever computes its tile: threads change no bit. One buffer per thread is kept
//! for the panels.

use crate::simd::{self, Level, Wide};
use crate::{MatMut, MatRef, Par, Scalar};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::cell::Cell;
use std::sync::OnceLock;

/// Columns of a tile.
const COLS: usize = 8;
/// Largest order: above it a product of halves is as quick as tiles, and its panels no longer fit the caches.
const LARGEST: usize = 256;
/// Inner dimension of one packed slice.
const SLICE: usize = 256;
/// Multiplications from which threads share the tiles.
const PARALLEL: usize = 128 * 128 * 128;

/// What the tiles are made of: instances for `f32` and `f64`.
pub(super) trait Tiles: Scalar {
    /// Numbers in a register.
    const LANES: usize;

    /// `tile[c][r] = sum over k of a[k][r] b[k][c]`, `ROWS` registers of `r`, eight `c`; columns of `tile` are two registers apart.
    ///
    /// # Safety
    /// AVX-512 F. `a` can be read for `depth` rows of a panel, up to `ROWS` registers of each, `b` likewise for eight numbers.
    unsafe fn tile<const ROWS: usize>(depth: usize, a: *const Self, b: *const Self, tile: &mut Tile<Self>);

    /// Packs one panel: `to[k][r] = from[r][k] weights[k]`, zeros for rows that there are not.
    ///
    /// # Safety
    /// AVX-512 F. `to` can be written for `depth` times two registers; `from` as it says; `weights` is null or has `depth` numbers.
    unsafe fn pack(to: *mut Self, from: Source<Self>, depth: usize, weights: *const Self);
}

/// A tile of results, by columns of two registers; the length is that of `f32`.
#[repr(align(64))]
pub(super) struct Tile<T>([T; 32 * COLS]);

/// Rows of an operand that become one panel.
#[derive(Clone, Copy)]
pub(super) struct Source<T> {
    at: *const T,
    rows: usize,
    row_stride: isize,
    col_stride: isize,
}

/// A cache line of the packing buffer.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

thread_local! {
    static PANELS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// One slice of one product. The pointers outlive the call that makes it.
#[derive(Clone, Copy)]
struct Job<T> {
    out: *mut T,
    stride: usize,
    n: usize,
    alpha: T,
    beta: T,
    depth: usize,
    left: *mut T,
    right: *mut T,
}

// SAFETY: threads write to tiles and panels of their own and read panels that nobody writes any more.
unsafe impl<T: Send> Send for Job<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Job<T> {}

/// A view to pack, shared by threads.
#[derive(Clone, Copy)]
struct Operand<'a, T> {
    view: MatRef<'a, T>,
    /// Weights of the columns of this slice.
    weights: Option<&'a [T]>,
}

fn available() -> bool {
    static YES: OnceLock<bool> = OnceLock::new();
    *YES.get_or_init(|| Level::detected() >= Level::Avx512)
}

/// The lower triangle of `out = alpha a diag(w)^2 b + beta out`, with `b = a^T` if absent and `w = 1` if absent; `false`, and nothing done, if
/// the machine, the size or the layout of `out` is not for it.
pub(super) fn lower<T: Tiles>(
    out: MatMut<'_, T>,
    beta: T,
    alpha: T,
    a: MatRef<'_, T>,
    b: Option<MatRef<'_, T>>,
    weights: Option<&[T]>,
    par: Par,
) -> bool {
    let (n, k) = (a.nrows(), a.ncols());
    let columns = out.row_stride() == 1 && usize::try_from(out.col_stride()).is_ok_and(|stride| stride >= n);
    if !available() || !columns || n <= T::LANES || n > LARGEST || k == 0 {
        return false;
    }
    let b = b.map(|b| b.transpose());
    let panels = n.div_ceil(2 * T::LANES);
    let panel = 2 * T::LANES * SLICE.min(k);
    let lines = (panels * panel * size_of::<T>()).div_ceil(size_of::<Line>());
    let mut buffer = PANELS.take();
    let wanted = if b.is_some() { 2 * lines } else { lines };
    if buffer.len() < wanted {
        buffer.resize(wanted, Line([0; 64]));
    }
    let left: *mut T = buffer.as_mut_ptr().cast();
    let right = if b.is_some() { buffer[lines..].as_mut_ptr().cast() } else { left };
    let ways = if n * n * k >= PARALLEL { par.degree().min(panels) } else { 1 };
    let (stride, out) = (out.col_stride().unsigned_abs(), out.as_ptr_mut());
    for start in (0..k).step_by(SLICE) {
        let depth = SLICE.min(k - start);
        let beta = if start == 0 { beta } else { T::ONE };
        let job = Job { out, stride, n, alpha, beta, depth, left, right };
        let weights = weights.map(|w| &w[start..start + depth]);
        let a = Operand { view: a.subcols(start, depth), weights };
        let b = b.as_ref().map(|b| Operand { view: b.subcols(start, depth), weights });
        let job = &job;
        split(0, panels, ways, false, &|from, to| {
            for p in from..to {
                // SAFETY: panels are within the buffer, and each is packed by one thread.
                unsafe {
                    a.pack(p, job.left(p));
                    if let Some(b) = b {
                        b.pack(p, job.right(p));
                    }
                }
            }
        });
        split(0, panels, ways, true, &|from, to| simd::run_wide(Rows { job, from, to }));
    }
    PANELS.set(buffer);
    true
}

/// Calls `f` on parts of a range, by as many threads; `triangle`: the work of `i` grows with `i`.
fn split(from: usize, to: usize, ways: usize, triangle: bool, f: &(impl Fn(usize, usize) + Sync)) {
    if ways <= 1 || to - from <= 1 {
        return f(from, to);
    }
    let middle =
        if triangle { (((from * from + to * to) / 2) as f64).sqrt().round() as usize } else { from + (to - from) / 2 };
    let middle = middle.clamp(from + 1, to - 1);
    rayon::join(|| split(from, middle, ways / 2, triangle, f), || split(middle, to, ways - ways / 2, triangle, f));
}

impl<T: Tiles> Operand<'_, T> {
    /// # Safety
    /// `to` has room for the panel; AVX-512.
    unsafe fn pack(&self, panel: usize, to: *mut T) {
        let (first, size) = (panel * 2 * T::LANES, 2 * T::LANES);
        let rows = self.view.nrows().saturating_sub(first).min(size);
        let view = self.view.subrows(first, rows);
        let from = Source { at: view.as_ptr(), rows, row_stride: view.row_stride(), col_stride: view.col_stride() };
        let weights = self.weights.map_or(core::ptr::null(), <[T]>::as_ptr);
        // SAFETY: the view is borrowed, the weights have as many numbers as it has columns, the rest is the caller's.
        unsafe { T::pack(to, from, view.ncols(), weights) }
    }
}

/// The tiles of some panels of rows, which are packed and belong to one thread.
struct Rows<'a, T> {
    job: &'a Job<T>,
    from: usize,
    to: usize,
}

impl<T: Tiles> Wide for Rows<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        for p in self.from..self.to {
            // SAFETY: all panels are packed, and no tile belongs to two panels of rows.
            unsafe { self.job.rows(p) };
        }
    }
}

impl<T: Tiles> Job<T> {
    /// Where a panel of the left operand begins.
    #[inline(always)]
    fn left(&self, panel: usize) -> *mut T {
        self.left.wrapping_add(panel * 2 * T::LANES * self.depth)
    }

    /// The same of the right operand, which may be the left one.
    #[inline(always)]
    fn right(&self, panel: usize) -> *mut T {
        self.right.wrapping_add(panel * 2 * T::LANES * self.depth)
    }

    /// All tiles of one panel of rows.
    ///
    /// # Safety
    /// The panels are packed, nobody else writes to these rows, `out` has `n` columns; AVX-512.
    #[inline(always)]
    unsafe fn rows(&self, panel: usize) {
        let size = 2 * T::LANES;
        let (first, end) = (panel * size, ((panel + 1) * size).min(self.n));
        let mut tile = Tile([T::ZERO; 32 * COLS]);
        for col in (0..end).step_by(COLS) {
            // Of a panel of which half lies beyond the last row, or above the diagonal, one register is enough.
            let skipped = if col >= first + T::LANES { T::LANES } else { 0 };
            let short = skipped > 0 || end <= first + T::LANES;
            let (other, within) = (col / size, col % size);
            // SAFETY: both panels are in the buffer; a tile reads as far as a panel is wide.
            unsafe {
                // The old numbers arrive while the sums are made.
                for j in col..(col + COLS).min(self.n) {
                    let line = self.out.wrapping_add(j * self.stride + first);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(T::LANES).cast());
                }
                let a = self.left(panel).add(skipped);
                let b = self.right(other).add(within);
                if short {
                    T::tile::<1>(self.depth, a, b, &mut tile);
                } else {
                    T::tile::<2>(self.depth, a, b, &mut tile);
                }
                let first = first + skipped;
                for j in col..(col + COLS).min(self.n) {
                    let start = first.max(j);
                    if start < end {
                        let from = &tile.0[(j - col) * size + (start - first)..][..end - start];
                        self.store(
                            core::slice::from_raw_parts_mut(self.out.add(j * self.stride + start), end - start),
                            from,
                        );
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn store(&self, out: &mut [T], sums: &[T]) {
        let (alpha, beta) = (self.alpha, self.beta);
        if beta == T::ZERO {
            out.iter_mut().zip(sums).for_each(|(o, &s)| *o = alpha * s);
        } else {
            out.iter_mut().zip(sums).for_each(|(o, &s)| *o = beta * *o + alpha * s);
        }
    }
}

mod avx512 {
    use super::{COLS, Source, Tile, Tiles};
    use core::arch::x86_64::*;

    /// Repeats a statement for the columns of a tile, with constant indices, so that sums stay in registers.
    macro_rules! each_column {
        ($m:ident) => {
            $m!(0);
            $m!(1);
            $m!(2);
            $m!(3);
            $m!(4);
            $m!(5);
            $m!(6);
            $m!(7);
        };
    }

    macro_rules! tiles {
        ($t:ident, $lanes:literal, $v:ident, $mask:ty, $zero:ident, $set:ident, $load:ident, $some:ident, $store:ident, $fma:ident, $mul:ident,
         $transpose:ident) => {
            impl Tiles for $t {
                const LANES: usize = $lanes;

                #[inline]
                #[target_feature(enable = "avx512f")]
                unsafe fn tile<const ROWS: usize>(depth: usize, a: *const $t, b: *const $t, tile: &mut Tile<$t>) {
                    let mut sums = [[$zero(); COLS]; 2];
                    let (mut a, mut b) = (a, b);
                    for _ in 0..depth {
                        // SAFETY: the caller's panels.
                        unsafe {
                            let top = $load(a);
                            let bottom = if ROWS == 2 { $load(a.add($lanes)) } else { top };
                            macro_rules! add {
                                ($c:literal) => {
                                    let x = $set(*b.add($c));
                                    sums[0][$c] = $fma(top, x, sums[0][$c]);
                                    if ROWS == 2 {
                                        sums[1][$c] = $fma(bottom, x, sums[1][$c]);
                                    }
                                };
                            }
                            each_column!(add);
                            a = a.add(2 * $lanes);
                            b = b.add(2 * $lanes);
                        }
                    }
                    let to = tile.0.as_mut_ptr();
                    macro_rules! put {
                        ($c:literal) => {
                            // SAFETY: eight columns of two registers are within the tile.
                            unsafe {
                                $store(to.add(2 * $lanes * $c), sums[0][$c]);
                                if ROWS == 2 {
                                    $store(to.add(2 * $lanes * $c + $lanes), sums[1][$c]);
                                }
                            }
                        };
                    }
                    each_column!(put);
                }

                #[target_feature(enable = "avx512f")]
                unsafe fn pack(to: *mut $t, from: Source<$t>, depth: usize, weights: *const $t) {
                    let weight = |k: usize| {
                        // SAFETY: null or `depth` numbers.
                        if weights.is_null() { 1.0 } else { unsafe { *weights.add(k) } }
                    };
                    let below =
                        |count: usize| -> $mask { if count >= $lanes { <$mask>::MAX } else { (1 << count) - 1 } };
                    for half in 0..2 {
                        let rows = from.rows.saturating_sub(half * $lanes).min($lanes);
                        // SAFETY: strides of the caller's view; masked loads touch nothing beyond the rows and columns that there are.
                        unsafe {
                            let at = from.at.wrapping_offset((half * $lanes) as isize * from.row_stride);
                            let to = to.add(half * $lanes);
                            if from.row_stride == 1 || rows <= 1 {
                                for k in 0..depth {
                                    let x = $some(below(rows), at.wrapping_offset(k as isize * from.col_stride));
                                    $store(to.add(2 * $lanes * k), $mul(x, $set(weight(k))));
                                }
                            } else if from.col_stride == 1 {
                                for k in (0..depth).step_by($lanes) {
                                    let mut block = [$zero(); $lanes];
                                    let width = below(depth - k);
                                    for (i, x) in block[..rows].iter_mut().enumerate() {
                                        *x = $some(
                                            width,
                                            at.wrapping_offset(i as isize * from.row_stride).wrapping_add(k),
                                        );
                                    }
                                    let columns = $transpose(block);
                                    for (k, x) in (k..depth).zip(columns) {
                                        $store(to.add(2 * $lanes * k), $mul(x, $set(weight(k))));
                                    }
                                }
                            } else {
                                for k in 0..depth {
                                    for i in 0..$lanes {
                                        let offset = i as isize * from.row_stride + k as isize * from.col_stride;
                                        let x = if i < rows { *at.wrapping_offset(offset) * weight(k) } else { 0.0 };
                                        to.add(2 * $lanes * k + i).write(x);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        };
    }

    tiles!(
        f32,
        16,
        __m512,
        __mmask16,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_mul_ps,
        transpose_16
    );
    tiles!(
        f64,
        8,
        __m512d,
        __mmask8,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_mul_pd,
        transpose_8
    );

    /// Lanes 0 and 2, or 1 and 3, of either operand.
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;

    /// A square of numbers, transposed: pairs, then quadruples within lanes of 128 bits, then the lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose_16(r: [__m512; 16]) -> [__m512; 16] {
        let zero = _mm512_setzero_ps();
        let (mut t, mut u, mut v, mut out) = ([zero; 16], [zero; 16], [zero; 16], [zero; 16]);
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            for j in 0..2 {
                let (x, y) = (_mm512_castps_pd(t[4 * i + j]), _mm512_castps_pd(t[4 * i + j + 2]));
                u[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
                u[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
            }
        }
        for j in 0..4 {
            for half in 0..2 {
                let (x, y) = (u[8 * half + j], u[8 * half + 4 + j]);
                v[8 * half + j] = _mm512_shuffle_f32x4::<EVEN>(x, y);
                v[8 * half + 4 + j] = _mm512_shuffle_f32x4::<ODD>(x, y);
            }
        }
        for j in 0..8 {
            out[j] = _mm512_shuffle_f32x4::<EVEN>(v[j], v[8 + j]);
            out[8 + j] = _mm512_shuffle_f32x4::<ODD>(v[j], v[8 + j]);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose_8(r: [__m512d; 8]) -> [__m512d; 8] {
        let zero = _mm512_setzero_pd();
        let (mut t, mut v, mut out) = ([zero; 8], [zero; 8], [zero; 8]);
        for i in 0..4 {
            t[2 * i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
        }
        for j in 0..2 {
            for half in 0..2 {
                let (x, y) = (t[4 * half + j], t[4 * half + 2 + j]);
                v[4 * half + j] = _mm512_shuffle_f64x2::<EVEN>(x, y);
                v[4 * half + 2 + j] = _mm512_shuffle_f64x2::<ODD>(x, y);
            }
        }
        for j in 0..4 {
            out[j] = _mm512_shuffle_f64x2::<EVEN>(v[j], v[4 + j]);
            out[4 + j] = _mm512_shuffle_f64x2::<ODD>(v[j], v[4 + j]);
        }
        out
    }
}
