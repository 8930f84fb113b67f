//! Contractions as matrix products: axes are joined until one product (or a short loop of products) remains.
//!
//! Batch axes along which one operand repeats become free axes of the other. Free and contracted axes are joined where
//! the strides allow it; an operand whose contracted axes cannot be joined is packed first.

use super::chunk::{Chunked, Spread};
use crate::types::Dims;
use core::fmt;
use numerics::{MatMut, MatRef, Par, Scalar, dense};

/// One axis: its size and its stride in the left operand, the right operand and the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) n: usize,
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) c: usize,
}

impl Axis {
    fn stride(&self, side: usize) -> usize {
        if side == 0 { self.a } else { self.b }
    }

    fn set(&mut self, side: usize, stride: usize) {
        if side == 0 { self.a = stride } else { self.b = stride }
    }
}

/// Axes by role.
#[derive(Clone, Debug, Default)]
pub(super) struct Axes {
    pub(super) batch: Vec<Axis>,
    pub(super) rows: Vec<Axis>,
    pub(super) cols: Vec<Axis>,
    pub(super) inner: Vec<Axis>,
}

/// An operand to be copied first: sizes, strides of the source and of the copy.
#[derive(Debug)]
pub(super) struct Packing {
    pub(super) side: usize,
    pub(super) shape: Dims,
    pub(super) strides: Dims,
    pub(super) to: Dims,
}

impl Packing {
    /// Elements that the copy takes, in whole cache lines.
    pub(super) fn room(&self) -> usize {
        self.shape.iter().product::<usize>().next_multiple_of(16)
    }
}

/// A loop of products.
#[derive(Debug)]
pub(super) struct Product {
    outer: Vec<Axis>,
    row: Axis,
    col: Axis,
    inner: Axis,
}

const UNIT: Axis = Axis { n: 1, a: 0, b: 0, c: 0 };
/// A loop over products narrower than this is avoided by packing.
const NARROW: usize = 64;
/// Distances (elements) whose multiples meet in few sets of the first-level cache.
const ALIASED: usize = 128;
/// Free size of the other operand from which packing costs little beside the product.
const REUSED: usize = 384;
/// Contracted size of each product from which adding products up costs little.
const DEEP: usize = 64;
/// Multiplications that a chunk should have at least.
const CHUNK: usize = 1 << 16;
/// Multiplications up to which plain loops beat a call.
const TINY: usize = 64;
/// Multiplications from which a product is spread over threads.
const PARALLEL: usize = 128 * 128 * 128;

fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for x in axes {
        match out.last_mut() {
            Some(l) if l.a == x.a * x.n && l.b == x.b * x.n && l.c == x.c * x.n => {
                *l = Axis { n: l.n * x.n, ..*x };
            }
            _ => out.push(*x),
        }
    }
    out
}

fn size(axes: &[Axis]) -> usize {
    axes.iter().map(|x| x.n).product()
}

fn sort(axes: &mut [Axis], key: impl Fn(&Axis) -> usize) {
    axes.sort_by_key(|x| core::cmp::Reverse(key(x)));
}

impl Axes {
    /// Drops trivial axes, and lets one-sided batch axes be free ones.
    fn clean(&mut self) {
        let drop = |axes: &mut Vec<Axis>| axes.retain(|x| x.n != 1);
        [&mut self.batch, &mut self.rows, &mut self.cols, &mut self.inner].into_iter().for_each(drop);
        let batch = core::mem::take(&mut self.batch);
        for x in batch {
            match x {
                Axis { b: 0, .. } => self.rows.push(x),
                Axis { a: 0, .. } => self.cols.push(x),
                _ => self.batch.push(x),
            }
        }
        sort(&mut self.rows, |x| x.c);
        sort(&mut self.cols, |x| x.c);
        sort(&mut self.batch, |x| x.c);
    }

    /// Chooses the order of the contracted axes; says which operands must be packed for these to join.
    fn settle(&mut self) -> [bool; 2] {
        let mut pack = [false; 2];
        let mut orders = [self.inner.clone(), self.inner.clone()];
        sort(&mut orders[0], |x| x.a);
        sort(&mut orders[1], |x| x.b);
        let joins =
            |order: &[Axis], side: usize| order.windows(2).all(|w| w[0].stride(side) == w[1].stride(side) * w[1].n);
        let [left, right] = orders;
        if joins(&left, 0) {
            let better = !joins(&left, 1) && joins(&right, 0) && joins(&right, 1);
            self.inner = if better { right } else { left };
            pack[1] = !joins(&self.inner, 1);
        } else if joins(&right, 1) {
            self.inner = right;
            pack[0] = true;
        } else {
            self.inner = left;
            pack = [true; 2];
        }
        pack
    }

    /// Says which operands to pack.
    pub(super) fn arrange(&mut self) -> Vec<Packing> {
        self.clean();
        let mut pack = self.settle();
        pack[0] |= narrow(&self.rows, 0) || scattered(&self.rows, &self.inner, 0);
        pack[1] |= narrow(&self.cols, 1) || scattered(&self.cols, &self.inner, 1);
        if let Some(side) = self.aliased() {
            pack[side] = true;
        }
        (0..2).filter(|&side| pack[side]).map(|side| self.pack(side)).collect()
    }

    /// The contraction as a loop that packs slices, where that beats packing whole operands: where an operand is made of
    /// overlapping windows, or where a loop over one contracted axis lets the others join.
    pub(super) fn chunked(&self) -> Option<Chunked> {
        let mut axes = self.clone();
        axes.clean();
        let pack = axes.settle();
        if pack == [false; 2] {
            return None;
        }
        let windows = [0, 1].map(|side| pack[side] && axes.repeats(side));
        let count = |pack: [bool; 2]| pack.iter().filter(|&&p| p).count();
        if let Some(&axis) = axes.inner.iter().max_by_key(|x| x.a.max(x.b)) {
            let mut rest = axes.clone();
            rest.inner.retain(|x| *x != axis);
            let packs = rest.settle();
            let fewer = count(packs) < count(pack) || windows.contains(&true);
            if fewer && size(&rest.inner) >= DEEP {
                return Some(rest.chunk(axis, true, packs));
            }
        }
        let side = windows.iter().position(|&w| w)?;
        let list = match (axes.batch.is_empty(), side) {
            (false, _) => &mut axes.batch,
            (true, 0) => &mut axes.rows,
            (true, _) => &mut axes.cols,
        };
        if list.is_empty() {
            return None;
        }
        let axis = list.remove(0);
        let work = size(&axes.rows) * size(&axes.cols) * size(&axes.inner);
        (axis.stride(side) > 0 && work >= CHUNK).then(|| axes.chunk(axis, false, pack))
    }

    /// The contraction as a loop over slices of the value that are multiplied into scratch and added to where they belong: for a
    /// value whose positions repeat (its strides are those of folded windows). `None` if no axis keeps the slices apart.
    pub(super) fn folded(&self) -> Option<Chunked> {
        let mut axes = self.clone();
        axes.clean();
        let reach = |a: &Axes| a.value().map(|x| (x.n - 1) * x.c).sum::<usize>();
        let axis = *axes.value().max_by_key(|x| x.c)?;
        [&mut axes.batch, &mut axes.rows, &mut axes.cols].into_iter().for_each(|list| list.retain(|x| *x != axis));
        if axis.c <= reach(&axes) {
            return None;
        }
        let long = axes.value().filter(|x| x.c == 1).map(|x| x.n).max();
        let last = |list: &[Axis]| list.iter().any(|x| x.c == 1 && Some(x.n) == long);
        let (rows, cols) = (axes.rows.iter_mut(), axes.cols.iter_mut());
        let mut order: Vec<&mut Axis> = axes.batch.iter_mut().collect();
        match last(&self.rows) {
            true => order.extend(cols.chain(rows)),
            false => order.extend(rows.chain(cols)),
        }
        let shape: Dims = order.iter().map(|x| x.n).collect();
        let from = crate::types::strides(&shape);
        let to: Dims = order.iter_mut().zip(&from).map(|(x, &s)| core::mem::replace(&mut x.c, s)).collect();
        let pack = axes.settle();
        let mut chunked = axes.chunk(axis, false, pack);
        chunked.spread = Some(Spread { shape, from, to });
        Some(chunked)
    }

    /// The axes of the value.
    fn value(&self) -> impl Iterator<Item = &Axis> {
        self.batch.iter().chain(&self.rows).chain(&self.cols)
    }

    /// Whether packing writes more than there is to read.
    fn repeats(&self, side: usize) -> bool {
        let free = if side == 0 { &self.rows } else { &self.cols };
        let axes = || self.batch.iter().chain(free).chain(&self.inner).filter(|x| x.stride(side) > 0);
        let reach: usize = axes().map(|x| (x.n - 1) * x.stride(side)).sum::<usize>() + 1;
        axes().map(|x| x.n).product::<usize>() > reach
    }

    fn chunk(mut self, axis: Axis, sums: bool, pack: [bool; 2]) -> Chunked {
        let packs = [0, 1].map(|side| pack[side].then(|| self.pack(side)));
        Chunked { axis, sums, add: false, packs, product: self.product(), spread: None }
    }

    /// The operand that a large product reads at distances that fall into few cache sets: faer keeps the other one packed
    /// and takes this one as it lies, the left one for a row-major value and the right one for a column-major value.
    fn aliased(&self) -> Option<usize> {
        let (rows, cols, inner) = (size(&self.rows), size(&self.cols), size(&self.inner));
        if rows * cols * inner < PARALLEL {
            return None;
        }
        let fastest = |axes: &[Axis]| axes.iter().any(|x| x.c == 1);
        let (side, free, others) = match (fastest(&self.cols), fastest(&self.rows)) {
            (true, _) => (0, &self.rows, cols),
            (_, true) => (1, &self.cols, rows),
            _ => return None,
        };
        let neighbours = free.iter().any(|x| x.stride(side) == 1);
        let far = self.inner.last().is_some_and(|x| x.stride(side) % ALIASED == 0 && x.stride(side) > 0);
        (neighbours && far && others >= REUSED).then_some(side)
    }

    fn pack(&mut self, side: usize) -> Packing {
        let free = if side == 0 { &mut self.rows } else { &mut self.cols };
        let longest = |axes: &[Axis]| axes.iter().filter(|x| x.stride(side) == 1).map(|x| x.n).max().unwrap_or(0);
        // Of two lists that both run through neighbours (windows do), the one with the longer rows runs fastest.
        let flip = longest(free) > longest(&self.inner) && longest(&self.inner) > 0;
        // A free axis along which the operand repeats keeps stride zero.
        let free = free.iter_mut().filter(|x| x.stride(side) != 0);
        let mut outer: Vec<&mut Axis> = self.batch.iter_mut().filter(|x| x.stride(side) != 0).collect();
        match flip {
            true => outer.extend(self.inner.iter_mut().chain(free)),
            false => outer.extend(free.chain(&mut self.inner)),
        }
        let shape: Dims = outer.iter().map(|x| x.n).collect();
        let from: Dims = outer.iter().map(|x| x.stride(side)).collect();
        let to = crate::types::strides(&shape);
        for (x, &s) in outer.iter_mut().zip(&to) {
            x.set(side, s);
        }
        Packing { side, shape, strides: from, to }
    }

    /// The loop of products, after packing.
    pub(super) fn product(&self) -> Product {
        let take = |axes: &[Axis], outer: &mut Vec<Axis>| {
            let mut axes = merged(axes);
            let widest = (0..axes.len()).max_by_key(|&i| axes[i].n);
            let best = widest.map_or(UNIT, |i| axes.remove(i));
            outer.extend(axes);
            best
        };
        let mut outer = self.batch.clone();
        let row = take(&self.rows, &mut outer);
        let col = take(&self.cols, &mut outer);
        let inner = merged(&self.inner);
        Product { outer: merged(&outer), row, col, inner: inner.first().copied().unwrap_or(UNIT) }
    }
}

/// Whether the free axes stay narrow, though the value's layout would let them be joined.
fn narrow(free: &[Axis], side: usize) -> bool {
    let now = merged(free);
    let ideal: Vec<Axis> = free.iter().map(|x| Axis { n: x.n, a: x.c, b: x.c, c: x.c }).collect();
    let repeats = free.iter().any(|x| x.stride(side) == 0);
    !repeats && now.len() > merged(&ideal).len() && now.iter().all(|x| x.n < NARROW)
}

/// Whether no two neighbours of an operand are neighbours in memory, as faer's fast kernels want them.
fn scattered(free: &[Axis], inner: &[Axis], side: usize) -> bool {
    let mut strides = free.iter().chain(inner).map(|x| x.stride(side)).filter(|&s| s > 0).peekable();
    strides.peek().is_some() && strides.all(|s| s > 1)
}

/// The operands' and the value's pointers on their way to another thread.
#[derive(Clone, Copy)]
struct Ends<T>(*const T, *const T, *mut T);

// SAFETY: only handed to threads that write to different positions of the value.
unsafe impl<T: Scalar> Send for Ends<T> {}
// SAFETY: as above; sharing it only copies the pointers.
unsafe impl<T: Scalar> Sync for Ends<T> {}

impl<T: Scalar> Ends<T> {
    fn moved(self, x: &Axis, i: usize) -> Self {
        Ends(self.0.wrapping_add(i * x.a), self.1.wrapping_add(i * x.b), self.2.wrapping_add(i * x.c))
    }
}

/// Rows x inner x columns, times the length of the loop.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.row.n, self.inner.n, self.col.n)?;
        match self.outer.iter().map(|x| x.n).product::<usize>() {
            1 => Ok(()),
            n => write!(f, ", {n} times"),
        }
    }
}

impl Product {
    pub(super) fn flops(&self) -> usize {
        let outer: usize = self.outer.iter().map(|x| x.n).product();
        2 * outer * self.row.n * self.col.n * self.inner.n
    }

    /// The products, or what they add to the value.
    ///
    /// # Safety
    /// All positions lie inside the operands' allocations; the value's is disjoint from them.
    pub(super) unsafe fn run<T: Scalar>(&self, a: *const T, b: *const T, c: *mut T, add: bool, par: Par) {
        let one = self.row.n * self.col.n * self.inner.n;
        let total = one * self.outer.iter().map(|x| x.n).product::<usize>();
        match self.outer.first() {
            // SAFETY: handed on.
            Some(x) if x.n > 1 && one < PARALLEL && total >= PARALLEL && par.degree() > 1 => unsafe {
                self.split(par.degree(), x, x.n, add, Ends(a, b, c));
            },
            // SAFETY: handed on.
            _ => unsafe { self.run_at(&self.outer, a, b, c, add, par) },
        }
    }

    /// The first `n` positions of the first outer axis, on several threads.
    unsafe fn split<T: Scalar>(&self, threads: usize, x: &Axis, n: usize, add: bool, ends: Ends<T>) {
        if threads == 1 || n == 1 {
            for i in 0..n {
                let Ends(a, b, c) = ends.moved(x, i);
                // SAFETY: position `i` of the axis.
                unsafe { self.run_at(&self.outer[1..], a, b, c, add, Par::Seq) };
            }
            return;
        }
        let (left, half) = (threads / 2, n / 2);
        let far = ends.moved(x, half);
        rayon::join(
            // SAFETY: the halves are positions of their own.
            || unsafe { self.split(left, x, half, add, ends) },
            // SAFETY: as above.
            || unsafe { self.split(threads - left, x, n - half, add, far) },
        );
    }

    unsafe fn run_at<T: Scalar>(&self, outer: &[Axis], a: *const T, b: *const T, c: *mut T, add: bool, par: Par) {
        if let [x, rest @ ..] = outer {
            for i in 0..x.n {
                // SAFETY: position `i` of an axis of all three.
                unsafe { self.run_at(rest, a.add(i * x.a), b.add(i * x.b), c.add(i * x.c), add, par) };
            }
            return;
        }
        let Product { row, col, inner, .. } = self;
        let work = row.n * col.n * inner.n;
        if work <= TINY {
            for i in 0..row.n {
                for j in 0..col.n {
                    // SAFETY: positions of the three axes.
                    unsafe {
                        let term = |k: usize| *a.add(i * row.a + k * inner.a) * *b.add(k * inner.b + j * col.b);
                        let c = c.add(i * row.c + j * col.c);
                        *c = (0..inner.n).fold(if add { *c } else { T::ZERO }, |s, k| s + term(k));
                    }
                }
            }
            return;
        }
        let par = if work >= PARALLEL { par } else { Par::Seq };
        // SAFETY: the views cover positions of the axes; distinct elements of the value have distinct places.
        unsafe {
            let x = MatRef::from_raw_parts(a, row.n, inner.n, row.a as isize, inner.a as isize);
            let y = MatRef::from_raw_parts(b, inner.n, col.n, inner.b as isize, col.b as isize);
            let out = MatMut::from_raw_parts_mut(c, row.n, col.n, row.c as isize, col.c as isize);
            dense::gemm(out, T::ONE, x, y, if add { T::ONE } else { T::ZERO }, par);
        }
    }
}
