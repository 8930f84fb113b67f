//! A tensor seen along one mode: products with a matrix, outer products, scalings, squares.
//!
//! A row-major tensor of shape `p_1 .. p_k` is, along mode `j`, `left x p_j x right`. A product along the last mode
//! is one matrix product from the right, along any other `left` products from the left, on slices of contiguous
//! memory; for a matrix each is one product. Cost of a product along mode `j`: `2 p_j` flops per element; of an outer
//! product half of that.

use numerics::simd::Wide;
use numerics::{MatMut, MatRef, Par, Scalar, dense, simd};

/// Partial sums of a row.
const LANES: usize = 16;

/// Lengths of the modes of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    dims: Vec<usize>,
    len: usize,
}

impl Shape {
    pub(crate) fn new(dims: &[usize]) -> Self {
        Shape { dims: dims.to_vec(), len: dims.iter().product() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// `left`, `p_j`, `right`.
    pub(crate) fn split(&self, mode: usize) -> (usize, usize, usize) {
        let left = self.dims[..mode].iter().product();
        let right = self.dims[mode + 1..].iter().product();
        (left, self.dims[mode], right)
    }

    /// `out = a x` along a mode: `out[l, i, r] = sum_k a[i, k] x[l, k, r]`.
    pub(crate) fn along<T: Scalar>(&self, mode: usize, a: MatRef<'_, T>, x: &[T], out: &mut [T], par: Par) {
        let (left, p, right) = self.split(mode);
        if right == 1 {
            let x = MatRef::from_row_major_slice(x, left, p);
            let out = MatMut::from_row_major_slice_mut(out, left, p);
            dense::gemm(out, T::ONE, x, a.transpose(), T::ZERO, par);
            return;
        }
        let block = p * right;
        for (x, out) in x.chunks_exact(block).zip(out.chunks_exact_mut(block)) {
            let x = MatRef::from_row_major_slice(x, p, right);
            let out = MatMut::from_row_major_slice_mut(out, p, right);
            dense::gemm(out, T::ONE, a, x, T::ZERO, par);
        }
    }

    /// `s = beta s + alpha X X^T` with `X` the unfolding of `x` along a mode; `s` is symmetric,
    /// of which the triangle on and above the diagonal, by rows, is read.
    pub(crate) fn outer<T: Scalar>(&self, mode: usize, x: &[T], alpha: T, s: &mut [T], beta: T, par: Par) {
        self.outer_triangle(mode, x, alpha, s, beta, par);
        complete(s, self.dims[mode]);
    }

    /// The triangle of [`Shape::outer`] that is read, and nothing below it.
    pub(crate) fn outer_triangle<T: Scalar>(&self, mode: usize, x: &[T], alpha: T, s: &mut [T], beta: T, par: Par) {
        let (left, p, right) = self.split(mode);
        // By columns, which is the same for a symmetric matrix: products run at half the speed into rows.
        let mut s = MatMut::from_column_major_slice_mut(s, p, p);
        if right == 1 {
            let x = MatRef::from_row_major_slice(x, left, p);
            dense::syrk(s, alpha, x.transpose(), beta, par);
            return;
        }
        for (b, x) in x.chunks_exact(p * right).enumerate() {
            let beta = if b == 0 { beta } else { T::ONE };
            let x = MatRef::from_row_major_slice(x, p, right);
            dense::syrk(s.as_mut(), alpha, x, beta, par);
        }
    }

    /// [`Shape::outer_triangle`] of a matrix whose other mode is weighted by `w`; `scratch` has its length.
    pub(crate) fn weighted_outer_triangle<T: Scalar>(
        &self,
        mode: usize,
        x: &[T],
        w: &[T],
        alpha: T,
        s: &mut [T],
        beta: T,
        scratch: &mut [T],
        par: Par,
    ) {
        let p = self.dims[mode];
        let x = MatRef::from_row_major_slice(x, self.dims[0], self.len / self.dims[0].max(1));
        let x = if mode == 0 { x } else { x.transpose() };
        let s = MatMut::from_column_major_slice_mut(s, p, p);
        dense::syrk_weighted(s, alpha, x, w, beta, scratch, par);
    }

    /// Sums of squares of a matrix along either mode, weighted along the other one: `sum_c (x[r, c] w_1[c])^2` and
    /// `sum_r (x[r, c] w_0[r])^2`, in one pass.
    pub(crate) fn weighted_squares<T: Scalar>(&self, weights: [&[T]; 2], x: &[T], rows: &mut [T], columns: &mut [T]) {
        simd::run_wide(WeightedSquares { weights, x, rows, columns });
    }

    /// `out = x` times `weights[i]` along every mode `i` other than `mode` (an empty one leaves its mode alone), and the
    /// sums of squares of `out` along `mode`; one pass for a matrix.
    pub(crate) fn weigh_and_square<T: Scalar>(
        &self,
        mode: usize,
        weights: &[Vec<T>],
        x: &[T],
        out: &mut [T],
        sums: &mut [T],
    ) {
        if let [rows, cols] = self.dims[..] {
            let other = &weights[1 - mode];
            let len = if mode == 0 { cols } else { rows };
            if other.len() == len && cols > 0 {
                return match mode {
                    0 => weigh_columns(cols, other, x, out, sums),
                    _ => weigh_rows(cols, other, x, out, sums),
                };
            }
        }
        out.copy_from_slice(x);
        for (i, w) in weights.iter().enumerate().filter(|(i, w)| *i != mode && !w.is_empty()) {
            self.scale(i, w, out);
        }
        self.squares(mode, out, sums);
    }

    /// `x[l, i, r] *= w[i]`.
    pub(crate) fn scale<T: Scalar>(&self, mode: usize, w: &[T], x: &mut [T]) {
        let (_, p, right) = self.split(mode);
        if right == 1 {
            simd::wide(|| {
                for row in x.chunks_exact_mut(p) {
                    row.iter_mut().zip(w).for_each(|(x, &w)| *x *= w);
                }
            });
        } else {
            simd::wide(|| {
                for block in x.chunks_exact_mut(p * right) {
                    for (row, &w) in block.chunks_exact_mut(right).zip(w) {
                        row.iter_mut().for_each(|x| *x *= w);
                    }
                }
            });
        }
    }

    /// `out[i] = sum over the other modes of x[l, i, r]^2`.
    pub(crate) fn squares<T: Scalar>(&self, mode: usize, x: &[T], out: &mut [T]) {
        let (_, p, right) = self.split(mode);
        out.fill(T::ZERO);
        if right == 1 {
            simd::wide(|| {
                for row in x.chunks_exact(p) {
                    row.iter().zip(out.iter_mut()).for_each(|(&x, o)| *o += x * x);
                }
            });
        } else {
            for block in x.chunks_exact(p * right) {
                for (row, o) in block.chunks_exact(right).zip(out.iter_mut()) {
                    *o += dense::dot(row, row);
                }
            }
        }
    }

    /// Reorders slices along a mode: `out[l, i, r] = x[l, order[i], r]`.
    pub(crate) fn permute<T: Scalar>(&self, mode: usize, order: &[usize], x: &[T], out: &mut [T]) {
        let (left, p, right) = self.split(mode);
        for l in 0..left {
            for (i, &from) in order.iter().enumerate() {
                let (to, from) = ((l * p + i) * right, (l * p + from) * right);
                out[to..to + right].copy_from_slice(&x[from..from + right]);
            }
        }
    }
}

/// `out[i, c] = x[i, c] w[c]`, `sums[i]` the squares of row `i`.
fn weigh_columns<T: Scalar>(cols: usize, w: &[T], x: &[T], out: &mut [T], sums: &mut [T]) {
    simd::wide(|| weigh_each_row(cols, w, x, out, sums));
}

#[inline(always)]
fn weigh_each_row<T: Scalar>(cols: usize, w: &[T], x: &[T], out: &mut [T], sums: &mut [T]) {
    for ((x, out), sum) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).zip(sums) {
        // Independent sums, so that the loop runs on whole registers.
        let mut lanes = [T::ZERO; LANES];
        let (x, x_rest) = x.as_chunks::<LANES>();
        let (w, w_rest) = w.as_chunks::<LANES>();
        let (out, out_rest) = out.as_chunks_mut::<LANES>();
        for ((x, w), out) in x.iter().zip(w).zip(out) {
            for k in 0..LANES {
                out[k] = x[k] * w[k];
                lanes[k] += out[k] * out[k];
            }
        }
        for ((lane, (x, w)), out) in lanes.iter_mut().zip(x_rest.iter().zip(w_rest)).zip(out_rest) {
            *out = *x * *w;
            *lane += *out * *out;
        }
        *sum = lanes.iter().copied().sum();
    }
}

struct WeightedSquares<'a, T> {
    weights: [&'a [T]; 2],
    x: &'a [T],
    rows: &'a mut [T],
    columns: &'a mut [T],
}

impl<T: Scalar> Wide for WeightedSquares<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let WeightedSquares { weights, x, rows, columns } = self;
        columns.fill(T::ZERO);
        for ((x, sum), &weight) in x.chunks_exact(columns.len().max(1)).zip(rows).zip(weights[0]) {
            *sum = weighted_row(x, weight, weights[1], columns);
        }
    }
}

/// The weighted sum of squares of a row, whose own weighted squares are added to those of the columns.
#[inline(always)]
fn weighted_row<T: Scalar>(x: &[T], weight: T, w: &[T], columns: &mut [T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (w, w_rest) = w.as_chunks::<LANES>();
    let (columns, columns_rest) = columns.as_chunks_mut::<LANES>();
    for ((x, w), column) in x.iter().zip(w).zip(columns) {
        for k in 0..LANES {
            let (along, across) = (x[k] * w[k], x[k] * weight);
            lanes[k] += along * along;
            column[k] += across * across;
        }
    }
    for ((lane, (&x, &w)), column) in lanes.iter_mut().zip(x_rest.iter().zip(w_rest)).zip(columns_rest) {
        let (along, across) = (x * w, x * weight);
        *lane += along * along;
        *column += across * across;
    }
    lanes.iter().copied().sum()
}

/// Copies the triangle above the diagonal of a symmetric row-major array below it.
pub(crate) fn complete<T: Scalar>(s: &mut [T], n: usize) {
    dense::mirror_lower(MatMut::from_column_major_slice_mut(s, n, n));
}

/// `out[i, c] = x[i, c] w[i]`, `sums[c]` the squares of column `c`.
fn weigh_rows<T: Scalar>(cols: usize, w: &[T], x: &[T], out: &mut [T], sums: &mut [T]) {
    sums.fill(T::ZERO);
    simd::wide(|| {
        for ((x, out), &w) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)).zip(w) {
            for ((&x, out), sum) in x.iter().zip(out).zip(sums.iter_mut()) {
                *out = x * w;
                *sum += *out * *out;
            }
        }
    });
}

/// A square row-major array as a matrix.
pub(crate) fn square<T>(x: &[T], n: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(x, n, n)
}

/// A square row-major array as a matrix to write to.
pub(crate) fn square_mut<T>(x: &mut [T], n: usize) -> MatMut<'_, T> {
    MatMut::from_row_major_slice_mut(x, n, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<f64> {
        (0..n).map(|i| (1.0 + 1.3 * i as f64).sin()).collect()
    }

    #[test]
    fn every_mode_of_a_tensor_against_index_arithmetic() {
        let dims = [3usize, 4, 2, 5];
        let shape = Shape::new(&dims);
        let x = wave(shape.len());
        let at = |i: [usize; 4]| x[((i[0] * 4 + i[1]) * 2 + i[2]) * 5 + i[3]];
        for mode in 0..4 {
            let p = dims[mode];
            let a = wave(p * p);
            let mut out = vec![0.0; shape.len()];
            shape.along(mode, square(&a, p), &x, &mut out, Par::Seq);
            let mut s = vec![1.0; p * p];
            shape.outer(mode, &x, 0.5, &mut s, 2.0, Par::Seq);
            let mut squares = vec![0.0; p];
            shape.squares(mode, &x, &mut squares);
            let (mut s_ref, mut flat) = (vec![2.0; p * p], 0);
            for i0 in 0..3 {
                for i1 in 0..4 {
                    for i2 in 0..2 {
                        for i3 in 0..5 {
                            let here = [i0, i1, i2, i3];
                            let mut sum = 0.0;
                            for k in 0..p {
                                let mut there = here;
                                there[mode] = k;
                                sum += a[here[mode] * p + k] * at(there);
                                s_ref[here[mode] * p + k] += 0.5 * at(here) * at(there);
                            }
                            assert!((out[flat] - sum).abs() < 1e-13);
                            flat += 1;
                        }
                    }
                }
            }
            assert!(s.iter().zip(&s_ref).all(|(a, b)| (a - b).abs() < 1e-12));
            assert!((0..p).all(|i| (squares[i] - (s_ref[i * p + i] - 2.0) * 2.0).abs() < 1e-12));
        }
    }

    #[test]
    fn one_pass_over_a_matrix_does_what_three_do() {
        for dims in [&[3_usize, 37][..], &[37, 3], &[2, 3, 4], &[5, 16]] {
            let shape = Shape::new(dims);
            let (x, weights): (_, Vec<Vec<f64>>) = (wave(shape.len()), dims.iter().map(|&n| wave(n)).collect());
            for mode in 0..dims.len() {
                for skipped in [false, true] {
                    let mut weights = weights.clone();
                    if skipped {
                        weights[(mode + 1) % dims.len()].clear();
                    }
                    let (mut out, mut sums) = (vec![7.0; shape.len()], vec![7.0; dims[mode]]);
                    shape.weigh_and_square(mode, &weights, &x, &mut out, &mut sums);
                    let (mut expected, mut squares) = (x.clone(), vec![0.0; dims[mode]]);
                    for i in (0..dims.len()).filter(|&i| i != mode && !weights[i].is_empty()) {
                        shape.scale(i, &weights[i], &mut expected);
                    }
                    shape.squares(mode, &expected, &mut squares);
                    assert_eq!(out, expected);
                    assert!(sums.iter().zip(&squares).all(|(a, b)| (a - b).abs() < 1e-13 * b.max(1.0)));
                }
            }
        }
    }

    #[test]
    fn a_matrix_in_one_pass_does_what_its_scaled_copies_do() {
        for dims in [[3_usize, 37], [37, 3], [1, 5], [40, 52]] {
            let shape = Shape::new(&dims);
            let (x, weights): (_, Vec<Vec<f64>>) = (wave(shape.len()), dims.iter().map(|&n| wave(n)).collect());
            let mut sums = dims.map(|n| vec![7.0; n]);
            let [rows, columns] = &mut sums;
            shape.weighted_squares([&weights[0], &weights[1]], &x, rows, columns);
            for mode in 0..2 {
                let p = dims[mode];
                let (mut scaled, mut squares) = (vec![0.0; shape.len()], vec![0.0; p]);
                shape.weigh_and_square(mode, &weights, &x, &mut scaled, &mut squares);
                assert_eq!(sums[mode], squares);
                let (mut s, mut expected) = (vec![1.0; p * p], vec![1.0; p * p]);
                let mut scratch = vec![0.0; shape.len()];
                shape.weighted_outer_triangle(mode, &x, &weights[1 - mode], 0.5, &mut s, 2.0, &mut scratch, Par::Seq);
                complete(&mut s, p);
                shape.outer(mode, &scaled, 0.5, &mut expected, 2.0, Par::Seq);
                assert!(s.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13), "{dims:?} {mode}");
            }
        }
    }

    #[test]
    fn scalings_along_every_mode() {
        let shape = Shape::new(&[2, 3, 2]);
        let (a, b, c) = ([1.0, 2.0], [3.0, 5.0, 7.0], [11.0, 13.0]);
        let x: Vec<f64> = (0..12).map(|i| a[i / 6] * b[i / 2 % 3] * c[i % 2]).collect();
        let mut y = vec![1.0; 12];
        shape.scale(0, &a, &mut y);
        shape.scale(1, &b, &mut y);
        shape.scale(2, &c, &mut y);
        assert_eq!(x, y);
        let mut z = vec![0.0; 12];
        shape.permute(1, &[2, 0, 1], &y, &mut z);
        assert_eq!(z[0], 7.0 * 11.0);
    }
}
