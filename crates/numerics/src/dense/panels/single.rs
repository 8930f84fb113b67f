//! The tile of a product in single precision, by fused multiplications and additions of 16 numbers at a time.

use super::product::{Job, Targets};
use super::{LANES, Line, Single, TILE};
use core::arch::x86_64::*;
use core::ops::Range;

/// Whether the running processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[target_feature(enable = "avx512f")]
pub(super) fn strip(job: &Job<'_, Single>, columns: Range<usize>) {
    job.tiles(columns, |panel, count, tile| match count {
        1 => group::<1>(job, panel, tile),
        2 => group::<2>(job, panel, tile),
        _ => group::<3>(job, panel, tile),
    });
}

/// Writes all blocks of a matrix.
#[target_feature(enable = "avx512f")]
pub(super) fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    for (panel, tile) in out.blocks() {
        let block = block(panel, tile);
        let mut x = [_mm512_setzero_ps(); TILE];
        for (x, from) in x.iter_mut().zip(&block) {
            // SAFETY: 16 numbers.
            *x = unsafe { _mm512_loadu_ps(from.as_ptr()) };
        }
        store(out, x, panel, tile);
    }
}

/// `V` panels of rows by eight columns.
#[target_feature(enable = "avx512f")]
fn group<const V: usize>(job: &Job<'_, Single>, panel: usize, tile: usize) {
    let a = &job.a[panel * job.lines..][..V * job.lines];
    let b = &job.b[tile * TILE / LANES * job.lines..][..job.lines];
    let sums = sums::<V>(a, b, tile * TILE % LANES);
    for (v, sums) in sums.into_iter().enumerate() {
        store(&job.out, finish(job, sums, panel + v, tile), panel + v, tile);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sums<const V: usize>(a: &[Line], b: &[Line], offset: usize) -> [[__m512; TILE]; V] {
    let depth = b.len();
    assert!(a.len() == V * depth && offset <= LANES - TILE);
    let mut sums = [[_mm512_setzero_ps(); TILE]; V];
    let a = a.as_ptr();
    for (k, line) in b.iter().enumerate() {
        let mut x = [_mm512_setzero_ps(); V];
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: `v < V` and `k < depth`, so this is one of the V * depth lines of `a`, which are aligned to 64 bytes.
            *x = unsafe { _mm512_load_ps(a.add(v * depth + k).cast()) };
        }
        let line: *const f32 = line.0.as_ptr().cast();
        for j in 0..TILE {
            // SAFETY: `offset + j < 16`, as asserted; every word is a number.
            let y = _mm512_set1_ps(unsafe { *line.add(offset + j) });
            for v in 0..V {
                sums[v][j] = _mm512_fmadd_ps(x[v], y, sums[v][j]);
            }
        }
    }
    sums
}

/// The result of 16 rows and eight columns. Zeros outside of the matrix.
#[inline]
#[target_feature(enable = "avx512f")]
fn finish(job: &Job<'_, Single>, mut sums: [__m512; TILE], panel: usize, tile: usize) -> [__m512; TILE] {
    let alpha = _mm512_set1_ps(job.alpha);
    for s in &mut sums {
        *s = _mm512_mul_ps(alpha, *s);
    }
    if let Some((beta, c)) = job.add {
        let beta = _mm512_set1_ps(beta);
        let (first, of_panel) = (TILE * tile, c.of_panel());
        for (j, s) in sums.iter_mut().enumerate() {
            if first + j < of_panel {
                let line: &Line = &c.lines[panel * of_panel + first + j];
                // SAFETY: a line is 64 bytes, aligned to 64.
                let numbers = unsafe { _mm512_load_ps(core::ptr::from_ref(line).cast()) };
                *s = _mm512_fmadd_ps(beta, numbers, *s);
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
    sums
}

/// Quarters 0 and 1 of two vectors by turns; and the last two.
const FIRST: [i64; 8] = [0, 1, 8, 9, 2, 3, 10, 11];
const LAST: [i64; 8] = [4, 5, 12, 13, 6, 7, 14, 15];

/// Writes the block to the result and to its transpose.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &Targets, x: [__m512; TILE], panel: usize, tile: usize) {
    if let Some(out) = &to.by_rows {
        for (j, x) in x.into_iter().enumerate() {
            let line = TILE * tile + j;
            if line < out.lines {
                // SAFETY: panel and line lie within the result, this tile's lines are this thread's (`Target::line`), and lines are aligned.
                unsafe { _mm512_store_ps(out.line(panel, line).cast(), x) };
            }
        }
    }
    if let Some(out) = &to.by_columns {
        let (across, offset) = (tile * TILE / LANES, tile * TILE % LANES);
        for (k, turned) in turn(x).into_iter().enumerate() {
            for (half, two) in turned.into_iter().enumerate() {
                // Rows `k` and `4 + k` of this half of the panel.
                let line = LANES * panel + 8 * half + k;
                let rows = [_mm512_castpd512_pd256(two), _mm512_extractf64x4_pd::<1>(two)];
                for (i, row) in rows.into_iter().enumerate() {
                    if line + 4 * i < out.lines {
                        // SAFETY: as above, in the transpose; `offset` is 0 or 8, so the eight numbers lie within the line.
                        unsafe {
                            let at: *mut f32 = out.line(across, line + 4 * i).cast();
                            _mm256_storeu_ps(at.add(offset), _mm256_castpd_ps(row));
                        }
                    }
                }
            }
        }
    }
}

/// The rows of a block: at `[k][h]` row `8 h + k` and, after it, row `8 h + 4 + k`, eight numbers each.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn(x: [__m512; TILE]) -> [[__m512d; 2]; 4] {
    // SAFETY: 64 bytes each, read from arrays of that size.
    let [first, last] = unsafe { [FIRST, LAST].map(|at| _mm512_loadu_si512(at.as_ptr().cast())) };
    let (left, right) = (quarters([x[0], x[1], x[2], x[3]]), quarters([x[4], x[5], x[6], x[7]]));
    let mut out = [[_mm512_setzero_pd(); 2]; 4];
    for k in 0..4 {
        out[k] = [_mm512_permutex2var_pd(left[k], first, right[k]), _mm512_permutex2var_pd(left[k], last, right[k])];
    }
    out
}

/// Of four columns: vector `k` has in its quarter `q` the four numbers of row `4 q + k`.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(x: [__m512; 4]) -> [__m512d; 4] {
    let [a, b] = [(x[0], x[1]), (x[2], x[3])]
        .map(|(x, y)| [_mm512_castps_pd(_mm512_unpacklo_ps(x, y)), _mm512_castps_pd(_mm512_unpackhi_ps(x, y))]);
    [
        _mm512_unpacklo_pd(a[0], b[0]),
        _mm512_unpackhi_pd(a[0], b[0]),
        _mm512_unpacklo_pd(a[1], b[1]),
        _mm512_unpackhi_pd(a[1], b[1]),
    ]
}
