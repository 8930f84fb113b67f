//! Products for processors without the instructions: blocks of both factors are widened on the stack and multiplied by
//! [`dense::gemm`], 64 or 32 columns at a time; products of two bfloat16 numbers are exact there.

use super::product::{Job, Targets};
use super::{Format, LANES, Line, Panels, TILE};
use crate::{MatMut, MatRef, Par, dense, simd};
use core::ops::Range;

/// Panels of a block, on either side.
const GROUP: usize = 4;
/// Rows of a block, and columns of what is multiplied at a time.
const SIDE: usize = GROUP * LANES;

type Block = [f32; SIDE * SIDE];

pub(super) fn strip<F: Format>(job: &Job<'_, F>, columns: Range<usize>) {
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
fn sums<F: Format>(
    job: &Job<'_, F>,
    (start, high): (usize, usize),
    (across, wide): (usize, usize),
    [a, b, c]: [&mut Block; 3],
) {
    let (rows, cols) = (high * LANES, wide * LANES);
    let mut sum = MatMut::from_column_major_slice_mut(&mut c[..rows * cols], rows, cols);
    sum.fill(0.0);
    for first in (0..job.lines).step_by(SIDE / 2) {
        let some = first..job.lines.min(first + SIDE / 2);
        let inner = F::COLS * some.len();
        widen::<F>(&job.a[start * job.lines..], job.lines, high, some.clone(), a);
        widen::<F>(&job.b[across * job.lines..], job.lines, wide, some, b);
        let x = MatRef::from_column_major_slice(&a[..rows * inner], rows, inner);
        let y = MatRef::from_column_major_slice(&b[..cols * inner], cols, inner);
        dense::gemm(sum.as_mut(), 1.0, x, y.transpose(), 1.0, Par::Seq);
    }
}

/// Some lines of panels as single-precision numbers, by columns.
fn widen<F: Format>(lines: &[Line], stride: usize, panels: usize, some: Range<usize>, to: &mut Block) {
    let height = panels * LANES;
    simd::wide(|| {
        for panel in 0..panels {
            let lines = &lines[panel * stride..][some.clone()];
            for (line, to) in lines.iter().zip(to.chunks_exact_mut(F::COLS * height)) {
                for (column, to) in to.chunks_exact_mut(height).enumerate() {
                    let to = &mut to[panel * LANES..][..LANES];
                    to.iter_mut().zip(&line.0).for_each(|(x, &w)| *x = F::number(w, column));
                }
            }
        }
    });
}

/// Rounds and writes all blocks of a matrix.
#[inline(always)]
pub(super) fn pack<F: Format>(out: &Targets, block: impl Fn(usize, usize) -> [[f32; LANES]; TILE]) {
    simd::wide(|| {
        for (panel, tile) in out.blocks() {
            store::<F>(out, panel, tile, &block(panel, tile));
        }
    });
}

/// Rounds and writes sixteen rows by eight columns, whose sums are `stride` apart from column to column.
fn finish<F: Format>(job: &Job<'_, F>, panel: usize, tile: usize, sums: &[f32], stride: usize) {
    let mut block = [[0.0; LANES]; TILE];
    let rows = LANES.min(job.out.rows - LANES * panel);
    let cols = TILE.min(job.out.cols.saturating_sub(TILE * tile));
    for (j, x) in block.iter_mut().enumerate().take(cols) {
        let added = added(job.add, panel, TILE * tile + j);
        for (r, x) in x.iter_mut().enumerate().take(rows) {
            *x = job.alpha * sums[j * stride + r] + added[r];
        }
    }
    store::<F>(&job.out, panel, tile, &block);
}

/// `beta c` in a column of a panel.
#[inline(always)]
fn added<F: Format>(add: Option<(f32, Panels<'_, F>)>, panel: usize, j: usize) -> [f32; LANES] {
    let Some((beta, c)) = add else { return [0.0; LANES] };
    let line = &c.lines[panel * c.of_panel() + j / F::COLS].0;
    line.map(|word| beta * F::number(word, j % F::COLS))
}

#[inline(always)]
fn store<F: Format>(to: &Targets, panel: usize, tile: usize, x: &[[f32; LANES]; TILE]) {
    if let Some(out) = &to.by_rows {
        for (p, x) in x.chunks_exact(F::COLS).enumerate() {
            let at = TILE / F::COLS * tile + p;
            if at < out.lines {
                // SAFETY: panel and line lie within the result, and this tile's lines are this thread's (`Target::line`).
                let line = unsafe { &mut (*out.line(panel, at)).0 };
                for (r, w) in line.iter_mut().enumerate() {
                    *w = F::word(|column| x[column][r]);
                }
            }
        }
    }
    if let Some(out) = &to.by_columns {
        let (across, offset) = (tile * TILE / LANES, tile * TILE % LANES);
        for q in 0..LANES / F::COLS {
            let at = LANES / F::COLS * panel + q;
            if at < out.lines {
                // SAFETY: as above, in the transpose.
                let line = unsafe { &mut (*out.line(across, at)).0 };
                for (w, x) in line[offset..offset + TILE].iter_mut().zip(x) {
                    *w = F::word(|column| x[F::COLS * q + column]);
                }
            }
        }
    }
}
