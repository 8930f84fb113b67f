//! The solvers' working memory: one piece of the caller's stack, cut into vectors, and block products of the columns
//! that are still under way.

use super::vector;
use crate::{Error, LinearOperator};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};

/// Cuts `K` vectors of length `n` off the front.
pub(crate) fn carve<'a, T, const K: usize>(slab: &mut &'a mut [T], n: usize) -> [&'a mut [T]; K] {
    core::array::from_fn(|_| {
        let (head, tail) = core::mem::take(slab).split_at_mut(n);
        *slab = tail;
        head
    })
}

/// Products of one operator (or of the identity, where there is no preconditioner) with packed columns.
pub(crate) struct Packed<'a, T: Scalar> {
    op: Option<&'a dyn LinearOperator<T>>,
    transposed: bool,
    /// Rows of the result and of the input.
    rows: (usize, usize),
    input: &'a mut [T],
    output: &'a mut [T],
    par: Par,
    /// Columns multiplied so far.
    pub(crate) columns: usize,
}

fn rows<T: Scalar>(op: Option<&dyn LinearOperator<T>>, transposed: bool, size: usize) -> (usize, usize) {
    match op {
        None => (size, size),
        Some(op) if transposed => (op.ncols(), op.nrows()),
        Some(op) => (op.nrows(), op.ncols()),
    }
}

impl<'a, T: Scalar> Packed<'a, T> {
    /// Numbers to carve for `k` columns; `size` is the size of the identity when there is no operator.
    pub(crate) fn len(op: Option<&dyn LinearOperator<T>>, transposed: bool, size: usize, k: usize) -> usize {
        let (m, n) = rows(op, transposed, size);
        (if op.is_some() { m + n } else { n }).saturating_mul(k)
    }

    /// Scratch of the operator itself.
    pub(crate) fn child(op: Option<&dyn LinearOperator<T>>, transposed: bool, k: usize, par: Par) -> StackReq {
        // Fewer columns may ask for more.
        (1..=k).fold(StackReq::EMPTY, |r, k| match op {
            None => r,
            Some(op) if transposed => r.or(op.apply_t_req(k, par)),
            Some(op) => r.or(op.apply_req(k, par)),
        })
    }

    pub(crate) fn new(
        op: Option<&'a dyn LinearOperator<T>>,
        transposed: bool,
        size: usize,
        k: usize,
        par: Par,
        slab: &mut &'a mut [T],
    ) -> Self {
        let (m, n) = rows(op, transposed, size);
        let [input] = carve(slab, n * k);
        let [output] = carve(slab, if op.is_some() { m * k } else { 0 });
        Packed { op, transposed, rows: (m, n), input, output, par, columns: 0 }
    }

    /// Writes input column `j`.
    pub(crate) fn set(&mut self, j: usize, x: &[T]) {
        let n = self.rows.1;
        self.input[j * n..][..n].copy_from_slice(x);
    }

    /// Multiplies the first `k` input columns.
    pub(crate) fn run(&mut self, k: usize, stack: &mut MemStack) -> Result<(), Error> {
        let Some(op) = self.op.filter(|_| k > 0) else {
            return Ok(());
        };
        self.columns += k;
        let (m, n) = self.rows;
        let x = MatRef::from_column_major_slice(&self.input[..n * k], n, k);
        let y = MatMut::from_column_major_slice_mut(&mut self.output[..m * k], m, k);
        if self.transposed {
            op.apply_t(y, T::ONE, x, T::ZERO, self.par, stack)
        } else {
            op.apply(y, T::ONE, x, T::ZERO, self.par, stack)
        }
    }

    /// Output column `j` of the latest product.
    pub(crate) fn out(&self, j: usize) -> &[T] {
        let (m, n) = self.rows;
        if self.op.is_some() { &self.output[j * m..][..m] } else { &self.input[j * n..][..n] }
    }

    /// Multiplies one vector.
    pub(crate) fn one(&mut self, x: &[T], stack: &mut MemStack) -> Result<&[T], Error> {
        self.set(0, x);
        self.run(1, stack)?;
        Ok(self.out(0))
    }
}

/// Column `j` of any matrix into a vector.
pub(crate) fn read_column<T: Scalar>(a: MatRef<'_, T>, j: usize, x: &mut [T]) {
    for (i, x) in x.iter_mut().enumerate() {
        *x = a[(i, j)];
    }
}

/// `r = b - ax`; returns `|r|`.
pub(crate) fn residual<T: Scalar>(b: &[T], ax: &[T], r: &mut [T]) -> T {
    for ((r, &b), &ax) in r.iter_mut().zip(b).zip(ax) {
        *r = b - ax;
    }
    vector::norm(r)
}
