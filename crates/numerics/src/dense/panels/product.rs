//! The loops around the tiles: blocks of rows that stay in the second cache, tiles of columns that stay in the first, threads
//! over panels of columns.
//!
//! A tile is the inner product of up to three panels of `a` (48 rows) with half a panel of `b` (8 columns) over the whole inner
//! dimension: 24 vectors of sums stay in registers, and `3 + 8` words are read for 24 instructions. Per tile `a` comes from the
//! second cache at 8 bytes a cycle, a third of what it gives.

use super::{Format, LANES, Line, Panels, PanelsMut, TILE, portable};
use crate::Par;
use core::ops::Range;

/// Bytes of the left factor that are to stay in the second cache.
#[cfg(target_arch = "x86_64")]
const SECOND_CACHE: usize = 512 << 10;
/// Panels of a tile.
#[cfg(target_arch = "x86_64")]
const WIDEST: usize = 3;
/// From this many multiplications a product is split over threads.
const PARALLEL: usize = 1 << 20;

/// Where a product goes.
#[derive(Debug, Default)]
pub struct Out<'a, F: Format> {
    /// The result.
    pub by_rows: Option<PanelsMut<'a, F>>,
    /// The transpose of the result.
    pub by_columns: Option<PanelsMut<'a, F>>,
}

/// `alpha a b^T + beta c`, with `(beta, c) = add`, as a matrix, as its transpose, or both.
///
/// `2 m n k` flops. Panics on a shape mismatch. See [the module](super) for rounding, bits and threads.
pub fn product<F: Format>(
    out: Out<'_, F>,
    alpha: f32,
    a: Panels<'_, F>,
    b: Panels<'_, F>,
    add: Option<(f32, Panels<'_, F>)>,
    par: Par,
) {
    run(Job::new(a, b, alpha, add, Targets::new(out, (a.rows, b.rows), "product")), par);
}

/// `alpha a b^T + beta c` for a symmetric `c` and factors whose product is known to be symmetric: `b = a`, or two that commute.
///
/// Only tiles that reach the lower triangle are computed, each is stored on both sides: half of the work, and the lower triangle
/// has the bits of [`product`]. Panics on a shape mismatch.
pub fn symmetric_product<F: Format>(
    out: PanelsMut<'_, F>,
    alpha: f32,
    a: Panels<'_, F>,
    b: Panels<'_, F>,
    add: Option<(f32, Panels<'_, F>)>,
    par: Par,
) {
    assert_eq!((out.rows, out.cols), (a.rows, a.rows), "symmetric product: wrong shape of the result");
    assert_eq!(a.rows, b.rows, "symmetric product: the factors have different numbers of rows");
    let target = Target::new(out);
    let out = Targets { rows: a.rows, cols: a.rows, by_rows: Some(target), by_columns: Some(target) };
    run(Job { symmetric: true, ..Job::new(a, b, alpha, add, out) }, par);
}

/// Lines that tiles write to, each its own.
#[derive(Clone, Copy)]
pub(super) struct Target {
    at: *mut Line,
    /// Lines of a panel.
    pub(super) lines: usize,
    len: usize,
}

// SAFETY: a target stands for the exclusive borrow that it was made of, for the duration of one product; `run` gives each thread panels of columns
// of its own, and `Target::line` says why tiles of different ones never meet in a line.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn new<F: Format>(out: PanelsMut<'_, F>) -> Self {
        Target { at: out.lines.as_mut_ptr(), lines: out.cols.div_ceil(F::COLS), len: out.lines.len() }
    }

    /// A line of a panel, to be written by the thread that owns it.
    ///
    /// A tile of panel `i` of rows and panel `j` of columns writes to lines of columns `j` in panel `i` of the result, and to lines of
    /// columns `i` in panel `j` of the transpose. Where both are one matrix, which is symmetric, `j <= i`: lines of tiles with
    /// different `j` could be the same only if `i = j` in both.
    ///
    /// # Safety
    /// `panel` and `line < self.lines` must lie within the matrix, and be the caller's by the rule above.
    #[inline(always)]
    pub(super) unsafe fn line(&self, panel: usize, line: usize) -> *mut Line {
        let at = panel * self.lines + line;
        debug_assert!(line < self.lines && at < self.len);
        // SAFETY: within the borrow, by the caller's promise.
        unsafe { self.at.add(at) }
    }
}

/// A result and its transpose.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) by_rows: Option<Target>,
    pub(super) by_columns: Option<Target>,
}

impl Targets {
    /// Panics if a form is not of this shape.
    pub(super) fn new<F: Format>(out: Out<'_, F>, shape: (usize, usize), op: &str) -> Self {
        let Out { by_rows, by_columns } = out;
        assert!(by_rows.as_ref().is_none_or(|o| (o.rows, o.cols) == shape), "{op}: wrong shape of the result");
        assert!(by_columns.as_ref().is_none_or(|o| (o.cols, o.rows) == shape), "{op}: wrong shape of the transpose");
        let (by_rows, by_columns) = (by_rows.map(Target::new), by_columns.map(Target::new));
        Targets { rows: shape.0, cols: shape.1, by_rows, by_columns }
    }

    pub(super) fn transpose(self) -> Self {
        Targets { rows: self.cols, cols: self.rows, by_rows: self.by_columns, by_columns: self.by_rows }
    }

    /// Blocks of 16 rows and eight columns that cover both forms to the end of their panels.
    pub(super) fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let tiles = self.cols.div_ceil(LANES) * (LANES / TILE);
        (0..self.rows.div_ceil(LANES)).flat_map(move |panel| (0..tiles).map(move |tile| (panel, tile)))
    }
}

/// One product.
pub(super) struct Job<'a, F: Format> {
    pub(super) a: &'a [Line],
    pub(super) b: &'a [Line],
    /// Lines of a panel of either factor.
    pub(super) lines: usize,
    pub(super) alpha: f32,
    pub(super) add: Option<(f32, Panels<'a, F>)>,
    pub(super) out: Targets,
    symmetric: bool,
    /// By the processor's vector instructions.
    hardware: bool,
}

impl<'a, F: Format> Job<'a, F> {
    fn new(a: Panels<'a, F>, b: Panels<'a, F>, alpha: f32, add: Option<(f32, Panels<'a, F>)>, out: Targets) -> Self {
        assert_eq!(a.cols, b.cols, "product: inner dimensions differ");
        let shape = (a.rows, b.rows);
        assert!(add.is_none_or(|(_, c)| (c.rows, c.cols) == shape), "product: wrong shape of the added matrix");
        Job {
            a: a.lines,
            b: b.lines,
            lines: a.of_panel(),
            alpha,
            add,
            out,
            symmetric: false,
            hardware: hardware::<F>(),
        }
    }

    /// Calls `f(panel, count, tile)` for groups of at most three panels of rows and tiles of these panels of columns, a
    /// block of rows at a time.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn tiles(&self, columns: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
        let panels = self.out.rows.div_ceil(LANES);
        let bytes = (self.lines * size_of::<Line>()).max(1);
        let block = (SECOND_CACHE / bytes / WIDEST * WIDEST).max(WIDEST);
        for start in (0..panels).step_by(block) {
            let end = panels.min(start + block);
            for tile in LANES / TILE * columns.start..LANES / TILE * columns.end {
                let mut panel = if self.symmetric { start.max(tile * TILE / LANES) } else { start };
                while panel < end {
                    let count = match end - panel {
                        // Two and two are faster than three and one.
                        4 => 2,
                        left => left.min(WIDEST),
                    };
                    f(panel, count, tile);
                    panel += count;
                }
            }
        }
    }

    /// Whether a panel of rows and one of columns meet in a block that is to be computed.
    pub(super) fn reaches(&self, panel: usize, column: usize) -> bool {
        !self.symmetric || column <= panel
    }

    /// Where to cut panels of columns so that the first part has this share of the work.
    fn cut(&self, columns: &Range<usize>, share: f64) -> usize {
        let panels = self.out.rows.div_ceil(LANES);
        let work = |j: usize| if self.symmetric { panels - j } else { 1 };
        let wanted = share * columns.clone().map(work).sum::<usize>() as f64;
        let mut sum = 0;
        let passed = |&j: &usize| {
            sum += work(j);
            sum as f64 >= wanted
        };
        columns.clone().find(passed).map_or(columns.end, |j| j + 1).clamp(columns.start + 1, columns.end - 1)
    }
}

/// Whether the format's products run on the processor's vector instructions.
pub(super) fn hardware<F: Format>() -> bool {
    F::available() && !forced::portable()
}

/// Tests run both paths.
pub(super) mod forced {
    #[cfg(test)]
    thread_local! {
        pub(in super::super) static PORTABLE: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
    }

    /// Whether this thread's products are to do without the hardware; never outside of tests.
    #[inline(always)]
    pub(super) fn portable() -> bool {
        #[cfg(test)]
        return PORTABLE.get();
        #[cfg(not(test))]
        false
    }
}

fn run<F: Format>(job: Job<'_, F>, par: Par) {
    if job.out.rows == 0 || job.out.cols == 0 {
        return;
    }
    let multiplications = job.out.rows.saturating_mul(job.out.cols).saturating_mul(F::COLS * job.lines);
    let threads = if multiplications >= PARALLEL { par.degree() } else { 1 };
    split(&job, 0..job.out.cols.div_ceil(LANES), threads);
}

fn split<F: Format>(job: &Job<'_, F>, columns: Range<usize>, threads: usize) {
    if threads <= 1 || columns.len() <= 1 {
        return strip(job, columns);
    }
    let first = threads / 2;
    let middle = job.cut(&columns, first as f64 / threads as f64);
    rayon::join(|| split(job, columns.start..middle, first), || split(job, middle..columns.end, threads - first));
}

fn strip<F: Format>(job: &Job<'_, F>, columns: Range<usize>) {
    if job.hardware {
        // SAFETY: `hardware` has seen every feature that the function is compiled for.
        return unsafe { F::strip(job, columns) };
    }
    portable::strip(job, columns);
}
