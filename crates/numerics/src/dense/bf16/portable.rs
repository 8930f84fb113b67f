//! Products in single precision, for processors without the instruction: blocks of both factors are widened on the stack and multiplied by
//! [`dense::gemm`], 64 columns at a time; products of two bfloat16 numbers are exact there.

use super::convert::{left, right, to_bits};
use super::product::{Job, Targets};
use super::{LANES, Line, Panels, TILE};
use crate::{MatMut, MatRef, Par, dense, simd};
use core::ops::Range;

/// Panels of a block, on either side.
const GROUP: usize = 4;
/// Rows of a block, and columns of what is multiplied at a time.
const SIDE: usize = GROUP * LANES;

type Block = [f32; SIDE * SIDE];

pub(super) fn strip(job: &Job<'_>, columns: Range<usize>) {
    let panels = job.out.rows.div_ceil(LANES);
    let (mut a, mut b, mut c) = ([0.0; SIDE * SIDE], [0.0; SIDE * SIDE], [0.0; SIDE * SIDE]);
    for across in columns.clone().step_by(GROUP) {
        let wide = GROUP.min(columns.end - across);
        for start in (0..panels).step_by(GROUP) {
            let high = GROUP.min(panels - start);
            if job.reaches(start + high - 1, across) {
                sums(job, (start, high), (across, wide), [&mut a, &mut b, &mut c]);
                for panel in start..start + high {
                    for tile in across * (LANES / TILE)..(across + wide) * (LANES / TILE) {
                        if job.reaches(panel, tile * TILE / LANES) {
                            let at = (tile * TILE - across * LANES) * high * LANES + (panel - start) * LANES;
                            finish(job, panel, tile, &c[at..], high * LANES);
                        }
                    }
                }
            }
        }
    }
}

/// The product of panels of `a` with panels of `b`, by columns.
fn sums(job: &Job<'_>, (start, high): (usize, usize), (across, wide): (usize, usize), [a, b, c]: [&mut Block; 3]) {
    let (rows, cols) = (high * LANES, wide * LANES);
    let mut sum = MatMut::from_column_major_slice_mut(&mut c[..rows * cols], rows, cols);
    sum.fill(0.0);
    for first in (0..job.pairs).step_by(SIDE / 2) {
        let pairs = first..job.pairs.min(first + SIDE / 2);
        let inner = 2 * pairs.len();
        widen(&job.a[start * job.pairs..], job.pairs, high, pairs.clone(), a);
        widen(&job.b[across * job.pairs..], job.pairs, wide, pairs, b);
        let x = MatRef::from_column_major_slice(&a[..rows * inner], rows, inner);
        let y = MatRef::from_column_major_slice(&b[..cols * inner], cols, inner);
        dense::gemm(sum.as_mut(), 1.0, x, y.transpose(), 1.0, Par::Seq);
    }
}

/// Some columns of panels as single-precision numbers, by columns.
fn widen(lines: &[Line], stride: usize, panels: usize, pairs: Range<usize>, to: &mut Block) {
    let height = panels * LANES;
    simd::wide(|| {
        for panel in 0..panels {
            let lines = &lines[panel * stride..][pairs.clone()];
            for (line, to) in lines.iter().zip(to.chunks_exact_mut(2 * height)) {
                let (x, y) = to.split_at_mut(height);
                x[panel * LANES..][..LANES].iter_mut().zip(&line.0).for_each(|(x, &w)| *x = left(w));
                y[panel * LANES..][..LANES].iter_mut().zip(&line.0).for_each(|(y, &w)| *y = right(w));
            }
        }
    });
}

/// Rounds and writes all blocks of a matrix.
#[inline(always)]
pub(super) fn pack(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    simd::wide(|| {
        for (panel, tile) in out.blocks() {
            let mut rounded = [[0; LANES]; TILE];
            for (to, from) in rounded.iter_mut().zip(&block(panel, tile)) {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = to_bits(from));
            }
            store(out, panel, tile, &rounded);
        }
    });
}

/// Rounds and writes sixteen rows by eight columns, whose sums are `stride` apart from column to column.
fn finish(job: &Job<'_>, panel: usize, tile: usize, sums: &[f32], stride: usize) {
    let mut rounded = [[0_u16; LANES]; TILE];
    let rows = LANES.min(job.out.rows - LANES * panel);
    let cols = TILE.min(job.out.cols.saturating_sub(TILE * tile));
    for (j, x) in rounded.iter_mut().enumerate().take(cols) {
        let added = added(job.add, panel, TILE * tile + j);
        for (r, x) in x.iter_mut().enumerate().take(rows) {
            *x = to_bits(job.alpha * sums[j * stride + r] + added[r]);
        }
    }
    store(&job.out, panel, tile, &rounded);
}

/// `beta c` in a column of a panel.
#[inline(always)]
fn added(add: Option<(f32, Panels<'_>)>, panel: usize, j: usize) -> [f32; LANES] {
    let Some((beta, c)) = add else { return [0.0; LANES] };
    let line = &c.lines[panel * c.pairs() + j / 2].0;
    let mut part = [0.0; LANES];
    for r in 0..LANES {
        part[r] = beta * if j.is_multiple_of(2) { left(line[r]) } else { right(line[r]) };
    }
    part
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
