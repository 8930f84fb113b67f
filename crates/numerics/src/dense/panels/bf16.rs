//! The tile of a product by `vdpbf16ps`, which multiplies 32 pairs of bfloat16 numbers and adds them to 16 single-precision sums.
//!
//! Subnormal operands count as zeros there and subnormal sums become zeros, whatever the processor's mode.

use super::product::{Job, Targets};
use super::{Bf16, LANES, Line, TILE};
use core::arch::x86_64::*;
use core::ops::Range;

/// Whether the running processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn strip(job: &Job<'_, Bf16>, columns: Range<usize>) {
    job.tiles(columns, |panel, count, tile| match count {
        1 => group::<1>(job, panel, tile),
        2 => group::<2>(job, panel, tile),
        _ => group::<3>(job, panel, tile),
    });
}

/// Rounds and writes all blocks of a matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    for (panel, tile) in out.blocks() {
        let block = block(panel, tile);
        let mut x = [_mm512_setzero_ps(); TILE];
        for (x, from) in x.iter_mut().zip(&block) {
            // SAFETY: 16 numbers.
            *x = unsafe { _mm512_loadu_ps(from.as_ptr()) };
        }
        store(out, round(x), panel, tile);
    }
}

/// `V` panels of rows by eight columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn group<const V: usize>(job: &Job<'_, Bf16>, panel: usize, tile: usize) {
    let a = &job.a[panel * job.lines..][..V * job.lines];
    let b = &job.b[tile * TILE / LANES * job.lines..][..job.lines];
    let sums = sums::<V>(a, b, tile * TILE % LANES);
    for (v, sums) in sums.into_iter().enumerate() {
        store(&job.out, finish(job, sums, panel + v, tile), panel + v, tile);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn sums<const V: usize>(a: &[Line], b: &[Line], offset: usize) -> [[__m512; TILE]; V] {
    let pairs = b.len();
    assert!(a.len() == V * pairs && offset <= LANES - TILE);
    let mut sums = [[_mm512_setzero_ps(); TILE]; V];
    let a = a.as_ptr();
    for (p, line) in b.iter().enumerate() {
        let mut x = [_mm512_setzero_si512(); V];
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: `v < V` and `p < pairs`, so this is one of the V * pairs lines of `a`, which are aligned to 64 bytes.
            *x = unsafe { _mm512_load_si512(a.add(v * pairs + p).cast()) };
        }
        let line: *const u32 = line.0.as_ptr();
        for j in 0..TILE {
            // SAFETY: `offset + j < 16`, as asserted.
            let y = _mm512_set1_epi32(unsafe { *line.add(offset + j) }.cast_signed());
            for v in 0..V {
                sums[v][j] = _mm512_dpbf16_ps(sums[v][j], half(x[v]), half(y));
            }
        }
    }
    sums
}

/// The same 512 bits as 32 bfloat16 numbers.
#[inline(always)]
fn half(x: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without padding, and every pattern is a value of either.
    unsafe { core::mem::transmute::<__m512i, __m512bh>(x) }
}

/// The rounded result of 16 rows and eight columns. Zeros outside of the matrix.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn finish(job: &Job<'_, Bf16>, mut sums: [__m512; TILE], panel: usize, tile: usize) -> [__m512i; TILE / 2] {
    let alpha = _mm512_set1_ps(job.alpha);
    for s in &mut sums {
        *s = _mm512_mul_ps(alpha, *s);
    }
    if let Some((beta, c)) = job.add {
        let (beta, upper) = (_mm512_set1_ps(beta), _mm512_set1_epi32(-1 << 16));
        let first = TILE / 2 * tile;
        let pairs = c.of_panel();
        for p in 0..TILE / 2 {
            if first + p < pairs {
                let line: &Line = &c.lines[panel * pairs + first + p];
                // SAFETY: a line is 64 bytes, aligned to 64.
                let words = unsafe { _mm512_load_si512(core::ptr::from_ref(line).cast()) };
                let left = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
                let right = _mm512_castsi512_ps(_mm512_and_si512(words, upper));
                sums[2 * p] = _mm512_fmadd_ps(beta, left, sums[2 * p]);
                sums[2 * p + 1] = _mm512_fmadd_ps(beta, right, sums[2 * p + 1]);
            }
        }
    }
    let rows = LANES.min(job.out.rows - LANES * panel);
    let cols = TILE.min(job.out.cols.saturating_sub(TILE * tile));
    if rows < LANES || cols < TILE {
        let inside = ((1_u32 << rows) - 1) as u16;
        for (j, s) in sums.iter_mut().enumerate() {
            *s = _mm512_maskz_mov_ps(if j < cols { inside } else { 0 }, *s);
        }
    }
    round(sums)
}

/// Two columns to a vector, the left one in its lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round(x: [__m512; TILE]) -> [__m512i; TILE / 2] {
    let mut out = [_mm512_setzero_si512(); TILE / 2];
    for p in 0..TILE / 2 {
        let two = _mm512_cvtne2ps_pbh(x[2 * p + 1], x[2 * p]);
        // SAFETY: both are 512 bits without padding, and every pattern is a value of either.
        out[p] = unsafe { core::mem::transmute::<__m512bh, __m512i>(two) };
    }
    out
}

/// Halves of a vector of 32 by turns: the words of a line from two columns.
const TURNS: [u16; 32] = {
    let mut at = [0; 32];
    let mut r = 0;
    while r < 16 {
        (at[2 * r], at[2 * r + 1]) = (r as u16, 16 + r as u16);
        r += 1;
    }
    at
};
/// Words of the pairs 0 to 3 of four columns, pair by pair, from two vectors of two columns; the upper ones are four words on.
const LOWER: [i32; 16] = [0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27];
const UPPER: [i32; 16] = [4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31];
/// The first two pairs of eight columns from two vectors of four columns; and the last two.
const FIRST: [i64; 8] = [0, 1, 8, 9, 2, 3, 10, 11];
const LAST: [i64; 8] = [4, 5, 12, 13, 6, 7, 14, 15];

/// Writes the block to the result and to its transpose.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn store(to: &Targets, x: [__m512i; TILE / 2], panel: usize, tile: usize) {
    if let Some(out) = &to.by_rows {
        // SAFETY: 64 bytes, read from an array of that size.
        let turns = unsafe { _mm512_loadu_si512(TURNS.as_ptr().cast()) };
        for (p, x) in x.into_iter().enumerate() {
            let pair = TILE / 2 * tile + p;
            if pair < out.lines {
                // SAFETY: panel and pair lie within the result, this tile's lines are this thread's (`Target::line`), and lines are aligned.
                unsafe { _mm512_store_si512(out.line(panel, pair).cast(), _mm512_permutexvar_epi16(turns, x)) };
            }
        }
    }
    if let Some(out) = &to.by_columns {
        let (across, offset) = (tile * TILE / LANES, tile * TILE % LANES);
        for (q, two) in turn(x).into_iter().enumerate() {
            let pair = LANES / 2 * panel + 2 * q;
            let halves = [_mm512_castsi512_si256(two), _mm512_extracti64x4_epi64::<1>(two)];
            for (i, half) in halves.into_iter().enumerate() {
                if pair + i < out.lines {
                    // SAFETY: as above, in the transpose; `offset` is 0 or 8, so the eight words lie within the line.
                    unsafe { _mm256_storeu_si256(out.line(across, pair + i).cast::<u32>().add(offset).cast(), half) };
                }
            }
        }
    }
}

/// Eight columns of eight words, two to a vector, turned to eight pairs of rows of eight words, two to a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn turn(x: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: 64 bytes each, read from arrays of that size.
    let [lower, upper, first, last] = unsafe {
        [
            _mm512_loadu_si512(LOWER.as_ptr().cast()),
            _mm512_loadu_si512(UPPER.as_ptr().cast()),
            _mm512_loadu_si512(FIRST.as_ptr().cast()),
            _mm512_loadu_si512(LAST.as_ptr().cast()),
        ]
    };
    let left = [lower, upper].map(|at| _mm512_permutex2var_epi32(x[0], at, x[1]));
    let right = [lower, upper].map(|at| _mm512_permutex2var_epi32(x[2], at, x[3]));
    [
        _mm512_permutex2var_epi64(left[0], first, right[0]),
        _mm512_permutex2var_epi64(left[0], last, right[0]),
        _mm512_permutex2var_epi64(left[1], first, right[1]),
        _mm512_permutex2var_epi64(left[1], last, right[1]),
    ]
}
