//! The tile of a product in plain arithmetic: words are taken apart into two single-precision numbers, whose products are exact.

use super::convert::{left, right, to_bits};
use super::product::{Job, Targets};
use super::{LANES, Panels, TILE};
use crate::simd;
use core::ops::Range;

/// Columns whose sums are in registers together.
const COLUMNS: usize = 4;

pub(super) fn strip(job: &Job<'_>, columns: Range<usize>) {
    simd::wide(|| job.tiles(columns, 1, |panel, _, tile| block(job, panel, tile)));
}

/// Rounds and writes all blocks of a matrix.
#[inline(always)]
pub(super) fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    simd::wide(|| {
        for (panel, tile) in out.blocks() {
            store(out, panel, tile, &block(panel, tile).map(|x| x.map(to_bits)));
        }
    });
}

/// Sixteen rows by eight columns.
#[inline(always)]
fn block(job: &Job<'_>, panel: usize, tile: usize) {
    let mut rounded = [[0_u16; LANES]; TILE];
    let rows = LANES.min(job.out.rows - LANES * panel);
    let cols = TILE.min(job.out.cols.saturating_sub(TILE * tile));
    for start in (0..TILE).step_by(COLUMNS) {
        let sums = sums(job, panel, tile, start);
        for (j, sums) in sums.iter().enumerate().take(cols.saturating_sub(start)) {
            let added = added(job.add, panel, TILE * tile + start + j);
            for (r, (x, s)) in rounded[start + j].iter_mut().zip(sums).enumerate() {
                *x = if r < rows { to_bits(job.alpha * s + added[r]) } else { 0 };
            }
        }
    }
    store(&job.out, panel, tile, &rounded);
}

#[inline(always)]
fn sums(job: &Job<'_>, panel: usize, tile: usize, start: usize) -> [[f32; LANES]; COLUMNS] {
    let a = &job.a[panel * job.pairs..][..job.pairs];
    let b = &job.b[tile * TILE / LANES * job.pairs..][..job.pairs];
    let offset = tile * TILE % LANES + start;
    let mut sums = [[0.0; LANES]; COLUMNS];
    for (a, b) in a.iter().zip(b) {
        let (x, y) = (a.0.map(left), a.0.map(right));
        for (j, sums) in sums.iter_mut().enumerate() {
            let (u, v) = (left(b.0[offset + j]), right(b.0[offset + j]));
            for r in 0..LANES {
                sums[r] += x[r] * u;
                sums[r] += y[r] * v;
            }
        }
    }
    sums
}

/// `beta c` in a column of a panel.
#[inline(always)]
fn added(add: Option<(f32, Panels<'_>)>, panel: usize, j: usize) -> [f32; LANES] {
    let Some((beta, c)) = add else { return [0.0; LANES] };
    let line = &c.lines[panel * c.pairs() + j / 2].0;
    let part = if j.is_multiple_of(2) { line.map(left) } else { line.map(right) };
    part.map(|x| beta * x)
}

#[inline(always)]
fn store(to: &Targets, panel: usize, tile: usize, x: &[[u16; LANES]; TILE]) {
    let word = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
    if let Some(out) = &to.by_rows {
        for (p, x) in x.chunks_exact(2).enumerate() {
            let pair = TILE / 2 * tile + p;
            if pair < out.pairs {
                // SAFETY: panel and pair lie within the result, and this tile's lines are this thread's (`Target::line`).
                let line = unsafe { &mut (*out.line(panel, pair)).0 };
                for (r, w) in line.iter_mut().enumerate() {
                    *w = word(x[0][r], x[1][r]);
                }
            }
        }
    }
    if let Some(out) = &to.by_columns {
        let (across, offset) = (tile * TILE / LANES, tile * TILE % LANES);
        for q in 0..LANES / 2 {
            let pair = LANES / 2 * panel + q;
            if pair < out.pairs {
                // SAFETY: as above, in the transpose.
                let line = unsafe { &mut (*out.line(across, pair)).0 };
                for (w, x) in line[offset..offset + TILE].iter_mut().zip(x) {
                    *w = word(x[2 * q], x[2 * q + 1]);
                }
            }
        }
    }
}
