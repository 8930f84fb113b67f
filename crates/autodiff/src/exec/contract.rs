//! Contractions as matrix products: axes are joined until one product (or a short loop of products) remains.
//!
//! Batch axes along which one operand repeats become free axes of the other. Free and contracted axes are joined where
//! the strides allow it; an operand whose contracted axes cannot be joined is packed first.

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

/// An operand to be copied first: sizes and strides of the source; the copy is row-major.
pub(super) struct Packing {
    pub(super) side: usize,
    pub(super) shape: Dims,
    pub(super) strides: Dims,
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

fn sort(axes: &mut [Axis], key: impl Fn(&Axis) -> usize) {
    axes.sort_by_key(|x| core::cmp::Reverse(key(x)));
}

impl Axes {
    /// Drops trivial axes, lets one-sided batch axes be free ones, and says which operands to pack.
    pub(super) fn arrange(&mut self) -> Vec<Packing> {
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
        pack[0] |= narrow(&self.rows, 0) || scattered(&self.rows, &self.inner, 0);
        pack[1] |= narrow(&self.cols, 1) || scattered(&self.cols, &self.inner, 1);
        if let Some(side) = self.aliased() {
            pack[side] = true;
        }
        (0..2).filter(|&side| pack[side]).map(|side| self.pack(side)).collect()
    }

    /// The operand that a large product reads at distances that fall into few cache sets: faer keeps the other one packed
    /// and takes this one as it lies, the left one for a row-major value and the right one for a column-major value.
    fn aliased(&self) -> Option<usize> {
        let size = |axes: &[Axis]| axes.iter().map(|x| x.n).product::<usize>();
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
        let outer = self.batch.iter_mut().chain(free).filter(|x| x.stride(side) != 0);
        let mut axes: Vec<&mut Axis> = outer.chain(&mut self.inner).collect();
        let shape: Dims = axes.iter().map(|x| x.n).collect();
        let strides: Dims = axes.iter().map(|x| x.stride(side)).collect();
        for (x, s) in axes.iter_mut().zip(crate::types::strides(&shape)) {
            x.set(side, s);
        }
        // A free axis along which the operand repeats keeps stride zero.
        Packing { side, shape, strides }
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

    /// # Safety
    /// All positions lie inside the operands' allocations; the value's is disjoint from them.
    pub(super) unsafe fn run<T: Scalar>(&self, a: *const T, b: *const T, c: *mut T, par: Par) {
        let one = self.row.n * self.col.n * self.inner.n;
        let total = one * self.outer.iter().map(|x| x.n).product::<usize>();
        match self.outer.first() {
            // SAFETY: handed on.
            Some(x) if x.n > 1 && one < PARALLEL && total >= PARALLEL && par.degree() > 1 => unsafe {
                self.split(par.degree(), x, x.n, Ends(a, b, c));
            },
            // SAFETY: handed on.
            _ => unsafe { self.run_at(&self.outer, a, b, c, par) },
        }
    }

    /// The first `n` positions of the first outer axis, on several threads.
    unsafe fn split<T: Scalar>(&self, threads: usize, x: &Axis, n: usize, ends: Ends<T>) {
        if threads == 1 || n == 1 {
            for i in 0..n {
                let Ends(a, b, c) = ends.moved(x, i);
                // SAFETY: position `i` of the axis.
                unsafe { self.run_at(&self.outer[1..], a, b, c, Par::Seq) };
            }
            return;
        }
        let (left, half) = (threads / 2, n / 2);
        let far = ends.moved(x, half);
        rayon::join(
            // SAFETY: the halves are positions of their own.
            || unsafe { self.split(left, x, half, ends) },
            // SAFETY: as above.
            || unsafe { self.split(threads - left, x, n - half, far) },
        );
    }

    unsafe fn run_at<T: Scalar>(&self, outer: &[Axis], a: *const T, b: *const T, c: *mut T, par: Par) {
        if let [x, rest @ ..] = outer {
            for i in 0..x.n {
                // SAFETY: position `i` of an axis of all three.
                unsafe { self.run_at(rest, a.add(i * x.a), b.add(i * x.b), c.add(i * x.c), par) };
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
                        *c.add(i * row.c + j * col.c) = (0..inner.n).fold(T::ZERO, |s, k| s + term(k));
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
            dense::gemm(out, T::ONE, x, y, T::ZERO, par);
        }
    }
}
