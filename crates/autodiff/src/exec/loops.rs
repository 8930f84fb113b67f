//! Loops over strided boxes: copies, reductions, picking, adding up. All are sequential and add in a fixed order.

use super::ending::{reduce_rows, row_sum};
use crate::error::Error;
use crate::types::Dims;
use numerics::{Scalar, simd};

/// Rows shorter than this are reduced by a plain loop.
const SHORT: usize = 24;

/// Side of a tile of a transposing copy: a cache line of `f64`.
const TILE: usize = 8;
/// Distance of near neighbours.
const NEAR: usize = 8;
/// Elements of a copy that are worth a thread.
const PARALLEL: usize = 1 << 16;

/// Copies a box; both sides have one stride per axis.
///
/// # Safety
/// Every position of the box is inside both allocations, and they do not overlap.
pub(super) unsafe fn copy<E: Copy>(shape: &[usize], src: *const E, ss: &[usize], dst: *mut E, ds: &[usize]) {
    match *shape {
        // SAFETY: one element each, inside by the caller's promise.
        [] => unsafe { *dst = *src },
        // SAFETY: `n` neighbours on both sides, inside and disjoint by the caller's promise.
        [n] if ss[0] == 1 && ds[0] == 1 => unsafe { core::ptr::copy_nonoverlapping(src, dst, n) },
        [n] => {
            for i in 0..n {
                // SAFETY: position `i` of the box.
                unsafe { *dst.add(i * ds[0]) = *src.add(i * ss[0]) };
            }
        }
        // SAFETY: handed on.
        [n, m] if ss[0] == 1 && ds[1] == 1 && ss[1] > 1 => unsafe { transpose(n, m, src, ss[1], dst, ds[0]) },
        [n, ..] => {
            for i in 0..n {
                // SAFETY: the sub-box at `i` lies inside the box.
                unsafe { copy(&shape[1..], src.add(i * ss[0]), &ss[1..], dst.add(i * ds[0]), &ds[1..]) };
            }
        }
    }
}

/// Copies `m` columns of length `n`, `from` apart, as `n` rows, `to` apart: by tiles, each read and written in whole lines.
unsafe fn transpose<E: Copy>(n: usize, m: usize, src: *const E, from: usize, dst: *mut E, to: usize) {
    for left in (0..m).step_by(TILE) {
        for top in (0..n).step_by(TILE) {
            let (height, width) = (TILE.min(n - top), TILE.min(m - left));
            // SAFETY: the tile lies inside the box, whose elements are inside both allocations by the caller's promise.
            unsafe {
                let (src, dst) = (src.add(top + left * from), dst.add(top * to + left));
                if (height, width) == (TILE, TILE) {
                    let mut tile = [[*src; TILE]; TILE];
                    for (j, column) in tile.iter_mut().enumerate() {
                        for (i, x) in column.iter_mut().enumerate() {
                            *x = *src.add(i + j * from);
                        }
                    }
                    for i in 0..TILE {
                        for (j, column) in tile.iter().enumerate() {
                            *dst.add(i * to + j) = column[i];
                        }
                    }
                } else {
                    for (i, j) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
                        *dst.add(i * to + j) = *src.add(i + j * from);
                    }
                }
            }
        }
    }
}

/// A pointer on its way to another thread.
#[derive(Clone, Copy)]
pub(super) struct Sent<P>(pub(super) P);

// SAFETY: the users of these pointers give each thread elements of its own.
unsafe impl<P> Send for Sent<P> {}

impl<P> Sent<P> {
    /// Taking the whole wrapper along, not the bare pointer inside.
    pub(super) fn get(self) -> P {
        self.0
    }
}

/// [`copy`] of a large box on several threads, halves of the first axis at a time.
///
/// # Safety
/// As for [`copy`]; distinct positions of the box have distinct places in `dst`.
pub(super) unsafe fn copy_on<E: Copy + Send>(
    threads: usize,
    shape: &[usize],
    src: *const E,
    ss: &[usize],
    dst: *mut E,
    ds: &[usize],
) {
    let total: usize = shape.iter().product();
    let threads = threads.min(total / PARALLEL);
    if threads < 2 || shape[0] < 2 {
        // SAFETY: handed on.
        return unsafe { copy(shape, src, ss, dst, ds) };
    }
    let half = (shape[0] / 2).next_multiple_of(TILE).min(shape[0] - 1);
    let (mut low, mut high) = (Dims::from_slice(shape), Dims::from_slice(shape));
    (low[0], high[0]) = (half, shape[0] - half);
    let ends = (Sent(src), Sent(dst));
    let far = (Sent(src.wrapping_add(half * ss[0])), Sent(dst.wrapping_add(half * ds[0])));
    rayon::join(
        // SAFETY: the halves of the box are boxes of their own.
        move || unsafe { copy_on(threads / 2, &low, ends.0.get(), ss, ends.1.get(), ds) },
        // SAFETY: as above.
        move || unsafe { copy_on(threads - threads / 2, &high, far.0.get(), ss, far.1.get(), ds) },
    );
}

/// The axes of a box that is added to another in the order that makes the innermost loop long: the longest of the axes that
/// run through near neighbours of the destination comes last, the others by its strides.
pub(super) fn long_rows(shape: &[usize], from: &[usize], to: &[usize]) -> (Dims, Dims, Dims) {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(to[i]));
    let near = order.iter().copied().filter(|&i| (1..=NEAR).contains(&to[i])).max_by_key(|&i| shape[i]);
    if let Some(long) = near {
        order.retain(|&i| i != long);
        order.push(long);
    }
    let by = |x: &[usize]| order.iter().map(|&i| x[i]).collect();
    (by(shape), by(from), by(to))
}

/// Adds a box to another, `dst += src`; positions of `dst` may repeat.
///
/// # Safety
/// As for [`copy`].
pub(super) unsafe fn add<T: Scalar>(shape: &[usize], src: *const T, ss: &[usize], dst: *mut T, ds: &[usize]) {
    match *shape {
        // SAFETY: one element each, inside by the caller's promise.
        [] => unsafe { *dst += *src },
        [n] if ss[0] == 1 && ds[0] == 1 => {
            // SAFETY: `n` neighbours on both sides, inside and disjoint by the caller's promise.
            let (x, y) = unsafe { (core::slice::from_raw_parts(src, n), core::slice::from_raw_parts_mut(dst, n)) };
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
        }
        [n] => {
            for i in 0..n {
                // SAFETY: position `i` of the box.
                unsafe { *dst.add(i * ds[0]) += *src.add(i * ss[0]) };
            }
        }
        [n, ..] => {
            for i in 0..n {
                // SAFETY: the sub-box at `i` lies inside the box.
                unsafe { add(&shape[1..], src.add(i * ss[0]), &ss[1..], dst.add(i * ds[0]), &ds[1..]) };
            }
        }
    }
}

/// [`add`] of a large box on several threads, which share out the positions of the first axis if their targets are apart.
///
/// # Safety
/// As for [`copy`].
pub(super) unsafe fn add_on<T: Scalar>(
    threads: usize,
    shape: &[usize],
    src: *const T,
    ss: &[usize],
    dst: *mut T,
    ds: &[usize],
) {
    let total: usize = shape.iter().product();
    let threads = threads.min(total / PARALLEL);
    let reach = || -> usize { shape.iter().zip(ds).skip(1).map(|(n, s)| (n - 1) * s).sum() };
    if threads < 2 || shape[0] < 2 || ds[0] <= reach() {
        // SAFETY: handed on.
        return unsafe { add(shape, src, ss, dst, ds) };
    }
    let half = shape[0] / 2;
    let (mut low, mut high) = (Dims::from_slice(shape), Dims::from_slice(shape));
    (low[0], high[0]) = (half, shape[0] - half);
    let ends = (Sent(src), Sent(dst));
    let far = (Sent(src.wrapping_add(half * ss[0])), Sent(dst.wrapping_add(half * ds[0])));
    rayon::join(
        // SAFETY: the halves of the box are boxes of their own, and so are their targets.
        move || unsafe { add_on(threads / 2, &low, ends.0.get(), ss, ends.1.get(), ds) },
        // SAFETY: as above.
        move || unsafe { add_on(threads - threads / 2, &high, far.0.get(), ss, far.1.get(), ds) },
    );
}

/// Reads the elements `at..at + dst.len()` of a box in row-major order; `inner` are the box's row-major strides.
///
/// # Safety
/// The box lies inside the allocation and has these elements.
pub(super) unsafe fn gather<T: Copy>(
    shape: &[usize],
    inner: &[usize],
    strides: &[usize],
    src: *const T,
    at: usize,
    dst: &mut [T],
) {
    match *shape {
        [] => {
            for d in dst {
                // SAFETY: the only element of the box.
                *d = unsafe { *src };
            }
        }
        [_] if strides[0] == 1 => {
            // SAFETY: the elements `at..` of the box are neighbours, and a `&mut` slice is disjoint from them.
            unsafe { core::ptr::copy_nonoverlapping(src.add(at), dst.as_mut_ptr(), dst.len()) };
        }
        // SAFETY: all elements of the row are this one.
        [_] if strides[0] == 0 => dst.fill(unsafe { *src }),
        [_] => {
            for (i, d) in dst.iter_mut().enumerate() {
                // SAFETY: element `at + i` of the box.
                *d = unsafe { *src.add((at + i) * strides[0]) };
            }
        }
        _ => {
            let (mut row, mut from, mut rest) = (at / inner[0], at % inner[0], dst);
            while !rest.is_empty() {
                let (now, later) = rest.split_at_mut(rest.len().min(inner[0] - from));
                // SAFETY: part of row `row` of the box.
                unsafe { gather(&shape[1..], &inner[1..], &strides[1..], src.add(row * strides[0]), from, now) };
                (row, from, rest) = (row + 1, 0, later);
            }
        }
    }
}

/// Sum of a box.
///
/// # Safety
/// The box lies inside the allocation.
unsafe fn sum_box<T: Scalar>(shape: &[usize], src: *const T, strides: &[usize]) -> T {
    match *shape {
        // SAFETY: one element.
        [] => unsafe { *src },
        // SAFETY: `n` neighbours.
        [n] if strides[0] == 1 && n >= SHORT => row_sum(unsafe { core::slice::from_raw_parts(src, n) }),
        [n, ..] => {
            // SAFETY: the sub-box at `i` lies inside the box.
            let part = |i: usize| unsafe { sum_box(&shape[1..], src.add(i * strides[0]), &strides[1..]) };
            (1..n).fold(part(0), |acc, i| acc + part(i))
        }
    }
}

/// Joins the rows of a box (reduced axes) into `out`, whose one axis has stride `step` in the source.
///
/// # Safety
/// Box and rows lie inside the allocation, disjoint from `out`.
unsafe fn join_rows<T: Scalar>(
    (op, f): (simd::Binary, impl Fn(T, T) -> T + Copy),
    shape: &[usize],
    src: *const T,
    strides: &[usize],
    step: usize,
    out: &mut [T],
) {
    match *shape {
        [] if step == 1 => {
            // SAFETY: a row of neighbours.
            let row = unsafe { core::slice::from_raw_parts(src, out.len()) };
            simd::binary_left(op, out, row);
        }
        [] => {
            for (i, o) in out.iter_mut().enumerate() {
                // SAFETY: element `i` of the row.
                *o = f(*o, unsafe { *src.add(i * step) });
            }
        }
        [n, ..] => {
            for i in 0..n {
                // SAFETY: the sub-box at `i` lies inside the box.
                unsafe { join_rows((op, f), &shape[1..], src.add(i * strides[0]), &strides[1..], step, out) };
            }
        }
    }
}

/// The larger, NaN if there is one.
fn larger<T: Scalar>(a: T, b: T) -> T {
    if a.is_nan() || a >= b { a } else { b }
}

/// Axes that stay and axes that go, each coalesced.
#[derive(Debug)]
pub(super) struct Reduction {
    pub(super) kept: Dims,
    pub(super) kept_strides: Dims,
    pub(super) gone: Dims,
    pub(super) gone_strides: Dims,
    /// Whether whole rows are added (the kept axis runs fastest) rather than each row summed.
    pub(super) by_rows: bool,
}

impl Reduction {
    /// # Safety
    /// The operand's box lies inside its allocation; `out` has one element per kept position and is disjoint.
    pub(super) unsafe fn sum<T: Scalar>(&self, src: *const T, out: &mut [T]) {
        if self.gone.contains(&0) {
            return out.fill(T::ZERO);
        }
        // SAFETY: handed on.
        unsafe { self.sum_at(&self.kept, src, &self.kept_strides, out) };
    }

    /// [`Reduction::sum`] on several threads, which share the kept positions out; each sum is one thread's, so its bits
    /// do not depend on their number.
    ///
    /// # Safety
    /// As for [`Reduction::sum`].
    pub(super) unsafe fn sum_on<T: Scalar>(&self, threads: usize, src: *const T, out: &mut [T]) {
        let work = out.len() * self.gone.iter().product::<usize>();
        let threads = threads.min(work / PARALLEL);
        match self.kept.first() {
            Some(&n) if threads > 1 && n > 1 && work > 0 => {
                // SAFETY: handed on.
                unsafe { self.sum_rows(threads, n, src, out) };
            }
            // SAFETY: handed on.
            _ => unsafe { self.sum(src, out) },
        }
    }

    /// The first `n` positions of the first kept axis.
    unsafe fn sum_rows<T: Scalar>(&self, threads: usize, n: usize, src: *const T, out: &mut [T]) {
        if threads == 1 || n == 1 {
            let kept: Dims = core::iter::once(n).chain(self.kept[1..].iter().copied()).collect();
            // SAFETY: these positions are inside the box.
            return unsafe { self.sum_at(&kept, src, &self.kept_strides, out) };
        }
        let half = n / 2;
        let (low, high) = out.split_at_mut(out.len() / n * half);
        let (near, far) = (Sent(src), Sent(src.wrapping_add(half * self.kept_strides[0])));
        rayon::join(
            // SAFETY: the halves are positions of their own.
            move || unsafe { self.sum_rows(threads / 2, half, near.get(), low) },
            // SAFETY: as above.
            move || unsafe { self.sum_rows(threads - threads / 2, n - half, far.get(), high) },
        );
    }

    unsafe fn sum_at<T: Scalar>(&self, kept: &[usize], src: *const T, strides: &[usize], out: &mut [T]) {
        match *kept {
            // SAFETY: `n` rows of neighbours, one behind the other.
            [n] if self.gone.len() == 1 && self.gone_strides[0] == 1 && strides[0] == self.gone[0] => unsafe {
                reduce_rows(true, self.gone[0], core::slice::from_raw_parts(src, n * self.gone[0]), out);
            },
            // SAFETY: the reduced box of this kept position.
            [] => out[0] = unsafe { sum_box(&self.gone, src, &self.gone_strides) },
            [_] if self.by_rows => {
                out.fill(T::ZERO);
                // SAFETY: the reduced box of this kept row.
                unsafe {
                    let add = (simd::Binary::Add, |a, b| a + b);
                    join_rows(add, &self.gone, src, &self.gone_strides, strides[0], out);
                }
            }
            [n, ..] => {
                let chunk = out.len() / n;
                for (i, part) in out.chunks_exact_mut(chunk).enumerate() {
                    // SAFETY: the sub-box of kept position `i`.
                    unsafe { self.sum_at(&kept[1..], src.add(i * strides[0]), &strides[1..], part) };
                }
            }
        }
    }

    /// The maximum, NaN if there is one.
    ///
    /// # Safety
    /// As for [`Reduction::sum`].
    pub(super) unsafe fn max<T: Scalar>(&self, src: *const T, out: &mut [T]) {
        // SAFETY: handed on.
        unsafe { self.max_at(&self.kept, src, &self.kept_strides, out) };
    }

    unsafe fn max_at<T: Scalar>(&self, kept: &[usize], src: *const T, strides: &[usize], out: &mut [T]) {
        match *kept {
            // SAFETY: `n` rows of neighbours, one behind the other.
            [n] if self.gone.len() == 1 && self.gone_strides[0] == 1 && strides[0] == self.gone[0] => unsafe {
                reduce_rows(false, self.gone[0], core::slice::from_raw_parts(src, n * self.gone[0]), out);
            },
            // SAFETY: the reduced box of this kept position.
            [] => out[0] = unsafe { max_box(&self.gone, src, &self.gone_strides) },
            [_] if self.by_rows => {
                out.fill(-T::INFINITY);
                // SAFETY: the reduced box of this kept row.
                unsafe {
                    let max = (simd::Binary::Max, larger);
                    join_rows(max, &self.gone, src, &self.gone_strides, strides[0], out);
                }
            }
            [n, ..] => {
                let chunk = out.len() / n;
                for (i, part) in out.chunks_exact_mut(chunk).enumerate() {
                    // SAFETY: the sub-box of kept position `i`.
                    unsafe { self.max_at(&kept[1..], src.add(i * strides[0]), &strides[1..], part) };
                }
            }
        }
    }
}

/// Maximum of a box that is not empty.
///
/// # Safety
/// The box lies inside the allocation.
unsafe fn max_box<T: Scalar>(shape: &[usize], src: *const T, strides: &[usize]) -> T {
    match *shape {
        // SAFETY: one element.
        [] => unsafe { *src },
        // SAFETY: `n` neighbours.
        [n] if strides[0] == 1 && n >= SHORT => simd::max(unsafe { core::slice::from_raw_parts(src, n) }),
        [n, ..] => {
            // SAFETY: the sub-box at `i` lies inside the box.
            let part = |i: usize| unsafe { max_box(&shape[1..], src.add(i * strides[0]), &strides[1..]) };
            (1..n).fold(part(0), |acc, i| larger(acc, part(i)))
        }
    }
}

/// Position of the first maximum (or NaN) of each row of length `n`.
pub(super) fn argmax<T: Scalar>(x: &[T], n: usize, out: &mut [i64]) {
    for (row, o) in x.chunks_exact(n).zip(out) {
        let better = |best: usize, i: usize| !row[best].is_nan() && (row[i] > row[best] || row[i].is_nan());
        *o = (1..n).fold(0, |best, i| if better(best, i) { i } else { best }) as i64;
    }
}

fn position(op: &'static str, index: i64, size: usize) -> Result<usize, Error> {
    usize::try_from(index).ok().filter(|&i| i < size).ok_or(Error::IndexOutOfRange { op, index, size })
}

/// Sizes of a gather or scatter: picks per batch, size of the indexed axis, elements behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub(super) picks: usize,
    pub(super) size: usize,
    pub(super) rest: usize,
}

pub(super) fn pick<T: Scalar>(g: Pick, x: &[T], index: &[i64], out: &mut [T]) -> Result<(), Error> {
    for (k, &i) in index.iter().enumerate() {
        let row = (k / g.picks) * g.size + position("gather", i, g.size)?;
        out[k * g.rest..(k + 1) * g.rest].copy_from_slice(&x[row * g.rest..(row + 1) * g.rest]);
    }
    Ok(())
}

pub(super) fn scatter<T: Scalar>(g: Pick, index: &[i64], u: &[T], out: &mut [T]) -> Result<(), Error> {
    out.fill(T::ZERO);
    for (k, &i) in index.iter().enumerate() {
        let row = (k / g.picks) * g.size + position("scatter_add", i, g.size)?;
        let target = &mut out[row * g.rest..(row + 1) * g.rest];
        simd::binary_left(simd::Binary::Add, target, &u[k * g.rest..(k + 1) * g.rest]);
    }
    Ok(())
}

pub(super) fn one_hot<T: Scalar>(depth: usize, index: &[i64], out: &mut [T]) {
    out.fill(T::ZERO);
    for (k, &i) in index.iter().enumerate() {
        if let Ok(i) = position("one_hot", i, depth) {
            out[k * depth + i] = T::ONE;
        }
    }
}
