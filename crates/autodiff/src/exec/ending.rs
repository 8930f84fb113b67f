//! Reductions at the end of a fused run: what the run computes is added up (or its maximum taken) block by block, while it
//! is in the cache.
//!
//! The iteration space is a matrix, row-major: either every row gives one number, or the rows (of each of several such matrices) are added
//! into one. Numbers are
//! added in the order of the same reduction on its own ([`row_sum`]), whatever the blocks and threads: rows in order, and a
//! long row by pieces of fixed length, also in order. Threads share out the rows, the columns, or the pieces.

use super::machine::{Machine, Place};
use numerics::Scalar;
use numerics::simd::{self, Binary};

/// Elements of a piece of a long sum.
pub(super) const PIECE: usize = 256;
/// Columns from which threads can share out a sum over rows.
const WIDE: usize = 512;
/// Positions from which sharing out matters.
const MANY: usize = 1 << 17;
/// Rows shorter than this are reduced side by side.
const SHORT: usize = 24;
/// Short rows that are reduced side by side.
const ABREAST: usize = 8;

/// How the positions of a run are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Whether rows are added into one row, and not each summed.
    pub(super) down: bool,
    /// Positions of a row; of a piece, if there is one sum only.
    pub(super) row: usize,
    /// Numbers that a sum has.
    terms: usize,
    /// Number of partial results; one if they are the results.
    parts: usize,
    /// Matrices whose rows are added, one behind the other.
    blocks: usize,
}

impl Grid {
    /// Of a row-major space that is reduced over these axes; `None` if it is no matrix then, or if threads could not share it out.
    pub(super) fn new(shape: &[usize], axes: &[usize]) -> Option<Grid> {
        let size =
            |gone: bool| -> usize { (0..shape.len()).filter(|i| axes.contains(i) == gone).map(|i| shape[i]).product() };
        let (kept, terms) = (size(false), size(true));
        if kept * terms == 0 || terms == 1 {
            return None;
        }
        if kept == 1 {
            return Some(Grid { down: false, row: PIECE, terms, parts: terms.div_ceil(PIECE), blocks: 1 });
        }
        // Axes of size one stand anywhere.
        let wide: Vec<bool> = (0..shape.len()).filter(|&i| shape[i] > 1).map(|i| axes.contains(&i)).collect();
        if wide.is_sorted() {
            return Some(Grid { down: false, row: terms, terms, parts: 1, blocks: 1 });
        }
        let long: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] > 1).collect();
        let first = wide.iter().position(|&gone| gone)?;
        let blocks: usize = long[..first].iter().map(|&i| shape[i]).product();
        let (row, together) = (kept / blocks, wide[first..].is_sorted_by(|a, b| a >= b));
        // Short rows are better added up by themselves.
        let shared = if blocks > 1 { row >= SHORT } else { kept >= WIDE || kept * terms < MANY };
        (shared && together).then_some(Grid { down: true, row, terms, parts: 1, blocks })
    }

    /// Positions that threads must not part.
    pub(super) fn unit(&self) -> usize {
        if self.down { self.row * self.terms } else { self.row }
    }

    /// Whether threads share out columns.
    pub(super) fn by_columns(&self) -> bool {
        self.down && self.blocks == 1
    }

    /// Where rows are added: place of the sum of the position `at`, and whether it is the first of its sum.
    fn column(&self, at: usize) -> (usize, bool) {
        let (whole, within) = (at / self.unit() * self.row, at % self.unit());
        (whole + within % self.row, within < self.row)
    }

    /// Elements of the partial results, zero if there are none.
    pub(super) fn scratch(&self) -> usize {
        match self.parts {
            1 => 0,
            parts => parts,
        }
    }
}

/// A reduction and where its result goes.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) grid: Grid,
    /// A sum, or a maximum.
    pub(super) sum: bool,
    pub(super) out: Place,
    /// Room for partial results, if there are such.
    pub(super) partial: Option<usize>,
}

impl Ending {
    fn join<T: Scalar>(&self, a: T, b: T) -> T {
        match self.sum {
            true => a + b,
            false if a.is_nan() || a >= b => a,
            false => b,
        }
    }

    fn op(&self) -> Binary {
        if self.sum { Binary::Add } else { Binary::Max }
    }

    fn target<T: Scalar>(&self, m: &Machine<'_, T>) -> *mut T {
        match self.partial {
            Some(buf) => m.write(buf),
            None => m.write(self.out.buf).wrapping_add(self.out.offset),
        }
    }

    /// Takes in the values at the positions from `at` on.
    ///
    /// # Safety
    /// The machine's buffers have the sizes that the plan gave them; the positions of a row (of a column, where rows are added) come in
    /// order and on one thread.
    pub(super) unsafe fn take<T: Scalar>(&self, m: &Machine<'_, T>, at: usize, x: &[T]) {
        let Grid { down, row, terms, .. } = self.grid;
        let target = self.target(m);
        let (mut at, mut x) = (at, x);
        while !x.is_empty() {
            let column = at % row;
            let whole = if down || column > 0 { 0 } else { x.len() / row };
            if whole > 0 {
                // SAFETY: one result for each of these rows, which no other thread has.
                let out = unsafe { core::slice::from_raw_parts_mut(target.add(at / row), whole) };
                let (now, later) = x.split_at(whole * row);
                reduce_rows(self.sum, row, now, out);
                (at, x) = (at + now.len(), later);
                continue;
            }
            let most = if down { row - column } else { (row - column).min(PIECE - column % PIECE) };
            let (now, later) = x.split_at(x.len().min(most));
            if down {
                let (place, first) = self.grid.column(at);
                // SAFETY: a part of a row of results, which no other thread has.
                let out = unsafe { core::slice::from_raw_parts_mut(target.add(place), now.len()) };
                match first {
                    true => out.copy_from_slice(now),
                    false => simd::binary_left(self.op(), out, now),
                }
            } else {
                // SAFETY: the result of this row, which no other thread has.
                let out = unsafe { &mut *target.add(at / row) };
                let part = match (self.sum, terms < SHORT) {
                    (true, true) => row_sum(now),
                    (true, false) => simd::sum(now),
                    (false, _) => simd::max(now),
                };
                *out = if column == 0 { part } else { self.join(*out, part) };
            }
            (at, x) = (at + now.len(), later);
        }
    }

    /// Takes in the products of the values at the positions from `at` on, of a sum over rows: the bits of products that are made first.
    ///
    /// # Safety
    /// As for [`Ending::take`]; rows are added.
    pub(super) unsafe fn take_product<T: Scalar>(&self, m: &Machine<'_, T>, at: usize, x: &[T], y: &[T]) {
        let target = self.target(m);
        let (mut at, mut x, mut y) = (at, x, y);
        while !x.is_empty() {
            let (place, first) = self.grid.column(at);
            let n = x.len().min(self.grid.row - at % self.grid.row);
            let ((x_now, x_later), (y_now, y_later)) = (x.split_at(n), y.split_at(n));
            // SAFETY: a part of a row of results, which no other thread has.
            let out = unsafe { core::slice::from_raw_parts_mut(target.add(place), n) };
            match first {
                true => simd::binary(Binary::Mul, x_now, y_now, out),
                false => simd::mul_acc(out, x_now, y_now),
            }
            (at, x, y) = (at + n, x_later, y_later);
        }
    }

    /// Joins the partial results, in order.
    ///
    /// # Safety
    /// The machine's buffers have the sizes that the plan gave them, and every position was taken.
    pub(super) unsafe fn finish<T: Scalar>(&self, m: &Machine<'_, T>) {
        let Some(buf) = self.partial else { return };
        // SAFETY: the result and the room for partial ones, which are apart.
        unsafe {
            let out = m.write(self.out.buf).wrapping_add(self.out.offset);
            let parts = core::slice::from_raw_parts(m.read(buf), self.grid.scratch());
            *out = parts[1..].iter().fold(parts[0], |a, &b| self.join(a, b));
        }
    }
}

/// The sum of numbers that are neighbours: one by one if they are few, else by pieces.
pub(super) fn row_sum<T: Scalar>(x: &[T]) -> T {
    if x.len() < SHORT {
        return x.iter().copied().reduce(|a, b| a + b).unwrap_or(T::ZERO);
    }
    x.chunks(PIECE).map(simd::sum).reduce(|a, b| a + b).unwrap_or(T::ZERO)
}

/// The sum or the maximum of each row of length `n`.
pub(super) fn reduce_rows<T: Scalar>(sum: bool, n: usize, x: &[T], out: &mut [T]) {
    if n >= SHORT {
        let all = out.iter_mut().zip(x.chunks_exact(n));
        return match sum {
            true => all.for_each(|(o, row)| *o = row_sum(row)),
            false => all.for_each(|(o, row)| *o = simd::max(row)),
        };
    }
    match sum {
        true => short_rows(n, x, out, |a, b| a + b),
        false => short_rows(n, x, out, |a, b| if a.is_nan() || a >= b { a } else { b }),
    }
}

/// Several rows at a time, so that their additions do not wait for each other.
fn short_rows<T: Scalar>(n: usize, x: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
    let (groups, rest) = out.as_chunks_mut::<ABREAST>();
    let (now, later) = x.split_at(groups.len() * ABREAST * n);
    for (group, x) in groups.iter_mut().zip(now.chunks_exact(ABREAST * n)) {
        let mut acc: [T; ABREAST] = core::array::from_fn(|r| x[r * n]);
        for j in 1..n {
            for (r, a) in acc.iter_mut().enumerate() {
                *a = f(*a, x[r * n + j]);
            }
        }
        *group = acc;
    }
    for (o, row) in rest.iter_mut().zip(later.chunks_exact(n)) {
        *o = row[1..].iter().fold(row[0], |a, &b| f(a, b));
    }
}
