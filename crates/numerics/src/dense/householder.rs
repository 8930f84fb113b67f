//! QR of square matrices with an explicit orthogonal factor, by panels of Householder reflections in the compact form
//! `I - V T V^T` (Schreiber and Van Loan 1989).
//!
//! faer halves a panel down to single columns and applies each half by products, which for orders of some hundreds are too narrow to be
//! quick. Here a panel lies in one piece of memory and is factored by reflections [`NARROW`] columns at a time; these are applied to
//! the rest of the panel, and the panel to all else, by two products each, with `V` and `Y = V T`. Cost: `8/3 n^3` flops for
//! both factors. As stable as any Householder factorisation. Sequential.

use super::{copy, gemm};
use crate::simd::{self, Wide};
use crate::{MatMut, MatRef, Par, Scalar};
use faer::prelude::*;

/// Partial sums of a column.
const LANES: usize = 32;
/// Columns that are factored one by one.
const NARROW: usize = 32;
/// Least order that is worth panels.
pub(super) const LEAST: usize = 48;

/// Columns of a panel: the wider, the fewer passes over a matrix that no cache holds.
fn width(n: usize) -> usize {
    match n {
        0..512 => 32,
        512..1536 => 64,
        _ => 128,
    }
}

/// Memory for one order: about `4 n` times the width of a panel.
pub(super) struct Panels<T> {
    n: usize,
    width: usize,
    /// Reflections of the panel.
    v: Vec<T>,
    /// The same times `T`.
    y: Vec<T>,
    /// What they make of the columns that they are applied to.
    w: Vec<T>,
    /// The triangles `T`, side by side.
    t: Vec<T>,
    gram: Vec<T>,
    taus: Vec<T>,
}

impl<T: Scalar> Panels<T> {
    /// Memory for order `n`; none for an order that is not worth it.
    pub(super) fn new(n: usize) -> Self {
        if n < LEAST { Self::with_width(0, 0) } else { Self::with_width(n, width(n)) }
    }

    /// The same with panels of this width.
    fn with_width(n: usize, width: usize) -> Self {
        let room = |n: usize| vec![T::ZERO; n * width];
        Panels { n, width, v: room(n), y: room(n), w: room(n), t: room(n), gram: room(width), taus: room(1) }
    }

    /// `a = q r`: the upper triangle of `a` becomes that of `r`, below it lie the reflections. Shapes are the caller's duty.
    pub(super) fn run(&mut self, mut a: MatMut<'_, T>, mut q: MatMut<'_, T>) {
        let n = self.n;
        for start in (0..n).step_by(self.width.max(1)) {
            let (rows, width) = (n - start, self.width.min(n - start));
            let mut panel = a.rb_mut().submatrix_mut(start, start, rows, width);
            copy(columns(&mut self.v, rows, width), panel.rb());
            self.factor(rows, width);
            copy(panel.rb_mut(), shared(&self.v, rows, width));
            unit_lower(&mut self.v[..rows * width], rows);
            let t = &mut self.t[start * self.width..];
            compact(shared(&self.v, rows, width), &self.taus, &mut self.gram, t, columns(&mut self.y, rows, width));
            let rest = n - start - width;
            if rest > 0 {
                let a = a.rb_mut().submatrix_mut(start, start + width, rows, rest);
                reflect_all(shared(&self.v, rows, width), shared(&self.y, rows, width), &mut self.w, a);
            }
        }
        self.unfold(a.rb(), q.rb_mut());
    }

    /// Factors the panel in `v`; above the reflections it leaves `R`.
    fn factor(&mut self, rows: usize, width: usize) {
        for from in (0..width).step_by(NARROW) {
            let to = (from + NARROW).min(width);
            factor(&mut self.v[from * rows..to * rows], rows, from, &mut self.taus[from..to]);
            if to == width {
                break;
            }
            let (narrow, height) = (to - from, rows - from);
            let (v, y) = self.y.split_at_mut(height * narrow);
            copy(columns(v, height, narrow), shared(&self.v, rows, width).submatrix(from, from, height, narrow));
            unit_lower(v, height);
            // The triangle is needed only here.
            let (t, w) = self.w.split_at_mut(narrow * narrow);
            compact(shared(v, height, narrow), &self.taus[from..], &mut self.gram, t, columns(y, height, narrow));
            let rest = columns(&mut self.v, rows, width).submatrix_mut(from, to, height, width - to);
            reflect_all(shared(v, height, narrow), shared(y, height, narrow), w, rest);
        }
    }

    /// The product of all reflections: those that start at a row leave the rows and columns before it alone.
    fn unfold(&mut self, a: MatRef<'_, T>, mut q: MatMut<'_, T>) {
        let n = self.n;
        for start in (0..n).step_by(self.width.max(1)).rev() {
            let (rows, width) = (n - start, self.width.min(n - start));
            copy(columns(&mut self.v, rows, width), a.submatrix(start, start, rows, width));
            unit_lower(&mut self.v[..rows * width], rows);
            let (v, triangle) = (shared(&self.v, rows, width), shared(&self.t[start * self.width..], width, width));
            gemm(columns(&mut self.y, rows, width), T::ONE, v, triangle, T::ZERO, Par::Seq);
            let y = shared(&self.y, rows, width);
            let (mut own, mut others) = q.rb_mut().submatrix_mut(start, start, rows, rows).split_at_col_mut(width);
            gemm(own.rb_mut(), -T::ONE, y, v.subrows(0, width).transpose(), T::ZERO, Par::Seq);
            for j in 0..width {
                own[(j, j)] += T::ONE;
            }
            let rest = rows - width;
            if rest > 0 {
                let mut w = columns(&mut self.w, width, rest);
                let below = others.rb().subrows(width, rest);
                gemm(w.rb_mut(), T::ONE, v.subrows(width, rest).transpose(), below, T::ZERO, Par::Seq);
                gemm(others.rb_mut().subrows_mut(0, width), -T::ONE, y.subrows(0, width), w.rb(), T::ZERO, Par::Seq);
                let below = others.rb_mut().subrows_mut(width, rest);
                gemm(below, -T::ONE, y.subrows(width, rest), w.rb(), T::ONE, Par::Seq);
            }
        }
    }
}

/// `a -= V (Y^T a)`.
fn reflect_all<T: Scalar>(v: MatRef<'_, T>, y: MatRef<'_, T>, w: &mut [T], mut a: MatMut<'_, T>) {
    let mut w = columns(w, v.ncols(), a.ncols());
    gemm(w.rb_mut(), T::ONE, y.transpose(), a.rb(), T::ZERO, Par::Seq);
    gemm(a.rb_mut(), -T::ONE, v, w.rb(), T::ONE, Par::Seq);
}

/// Ones on the diagonal and zeros above it.
fn unit_lower<T: Scalar>(v: &mut [T], rows: usize) {
    for (j, column) in v.chunks_exact_mut(rows).enumerate() {
        column[..j].fill(T::ZERO);
        column[j] = T::ONE;
    }
}

/// The triangle `T`, `t_j = -tau_j T (V^T v_j)` above `tau_j`, and `Y = V T`.
fn compact<T: Scalar>(v: MatRef<'_, T>, taus: &[T], gram: &mut [T], t: &mut [T], y: MatMut<'_, T>) {
    let width = v.ncols();
    let mut gram = columns(gram, width, width);
    gemm(gram.rb_mut(), T::ONE, v.transpose(), v, T::ZERO, Par::Seq);
    let t = &mut t[..width * width];
    t.fill(T::ZERO);
    for j in 0..width {
        let (before, column) = t.split_at_mut(j * width);
        for (k, t) in before.chunks_exact(width).enumerate() {
            let by = -(taus[j] * gram[(k, j)]);
            column[..=k].iter_mut().zip(t).for_each(|(c, &t)| *c += by * t);
        }
        column[j] = taus[j];
    }
    gemm(y, T::ONE, v, shared(t, width, width), T::ZERO, Par::Seq);
}

fn columns<T>(x: &mut [T], rows: usize, width: usize) -> MatMut<'_, T> {
    MatMut::from_column_major_slice_mut(&mut x[..rows * width], rows, width)
}

fn shared<T>(x: &[T], rows: usize, width: usize) -> MatRef<'_, T> {
    MatRef::from_column_major_slice(&x[..rows * width], rows, width)
}

/// Reflections of some columns, one by one, from row `top` on.
fn factor<T: Scalar>(panel: &mut [T], rows: usize, top: usize, taus: &mut [T]) {
    for (j, tau) in taus.iter_mut().enumerate() {
        let (head, rest) = panel.split_at_mut((j + 1) * rows);
        let column = &mut head[j * rows + top + j..];
        *tau = reflection(column);
        if *tau != T::ZERO {
            simd::run_wide(Apply { tau: *tau, v: &column[1..], rest, rows, top: top + j });
        }
    }
}

/// Turns a column into `(beta, v)` with `(I - tau (1, v)(1, v)^T) column = (beta, 0)`; returns `tau`, zero for a column that is that
/// already.
fn reflection<T: Scalar>(column: &mut [T]) -> T {
    let below = norm(column.get(1..).unwrap_or(&[]));
    if below == T::ZERO {
        return T::ZERO;
    }
    // Of subnormal numbers, which repeated columns leave, a quotient is not exact enough for `tau` to fit `v`.
    let tiny = T::TINY / T::EPS;
    let up = if below < tiny { tiny.recip() } else { T::ONE };
    if up != T::ONE {
        simd::wide(|| column.iter_mut().for_each(|x| *x *= up));
    }
    let (alpha, length) = (column[0], norm(column));
    let beta = if alpha < T::ZERO { length } else { -length };
    let top = alpha - beta;
    simd::wide(|| column[1..].iter_mut().for_each(|x| *x /= top));
    column[0] = beta / up;
    top / -beta
}

/// Euclidean length; squares that overflow or vanish are avoided.
fn norm<T: Scalar>(x: &[T]) -> T {
    let squares = super::dot(x, x);
    if squares.is_finite() && squares > T::TINY / T::EPS {
        return Scalar::sqrt(squares);
    }
    let top = x.iter().fold(T::ZERO, |top, &x| if Scalar::abs(x) > top { Scalar::abs(x) } else { top });
    if top == T::ZERO {
        return T::ZERO;
    }
    let squares: T = x.iter().map(|&x| (x / top) * (x / top)).sum();
    top * Scalar::sqrt(squares)
}

/// Applies a reflection `(1, v)` to the rest of a panel, from row `top` on.
struct Apply<'a, T> {
    tau: T,
    v: &'a [T],
    rest: &'a mut [T],
    rows: usize,
    top: usize,
}

impl<T: Scalar> Wide for Apply<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        for column in self.rest.chunks_exact_mut(self.rows) {
            reflect(self.tau, self.v, &mut column[self.top..]);
        }
    }
}

/// `x -= tau (1, v) ((1, v) . x)`.
#[inline(always)]
fn reflect<T: Scalar>(tau: T, v: &[T], x: &mut [T]) {
    let Some((first, x)) = x.split_first_mut() else { return };
    let (blocks, end) = v.as_chunks::<LANES>();
    let (x_blocks, x_end) = x.as_chunks::<LANES>();
    let mut sums = [T::ZERO; LANES];
    for (v, x) in blocks.iter().zip(x_blocks) {
        for l in 0..LANES {
            sums[l] += v[l] * x[l];
        }
    }
    for (sum, (&v, &x)) in sums.iter_mut().zip(end.iter().zip(x_end)) {
        *sum += v * x;
    }
    let by = tau * (*first + fold(sums));
    *first -= by;
    x.iter_mut().zip(v).for_each(|(x, &v)| *x -= by * v);
}

#[inline(always)]
fn fold<T: Scalar>(mut sums: [T; LANES]) -> T {
    for half in [16, 8, 4, 2, 1] {
        for l in 0..half {
            sums[l] += sums[l + half];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mat;
    use crate::rng::{Role, Stream};

    /// `|Q R - A|` beside the longest column of `A`, `|Q^T Q - I|`, both largest entries.
    fn errors<T: Scalar>(a: &Mat<T>, q: &Mat<T>, r: &Mat<T>) -> (f64, f64) {
        let n = a.nrows();
        let wide = |x: &Mat<T>| Mat::from_fn(n, n, |i, j| x[(i, j)].to_f64());
        let (a, q, r) = (wide(a), wide(q), wide(r));
        let gram = q.transpose() * &q - Mat::<f64>::identity(n, n);
        let longest = (0..n).map(|j| a.col(j).norm_l2()).fold(1e-300, f64::max);
        ((&q * &r - &a).norm_max() / longest, gram.norm_max())
    }

    fn factors<T: Scalar>(a: &Mat<T>, mut panels: Panels<T>) -> (Mat<T>, Mat<T>) {
        let n = a.nrows();
        let (mut r, mut q) = (a.clone(), Mat::from_fn(n, n, |_, _| T::NAN));
        panels.run(r.as_mut(), q.as_mut());
        for j in 0..n {
            for i in j + 1..n {
                r[(i, j)] = T::ZERO;
            }
        }
        (q, r)
    }

    /// Panels of every width, whole and broken, one and several; graded columns and rows, columns that depend on others or vanish, a
    /// triangle, the identity, entries whose squares overflow or vanish. `n` reflections round like a walk: `sqrt(n)` units in the last place, and ten, twice over.
    fn stable<T: Scalar>() {
        let widths = [32, 64, 128];
        let orders = [48, 63, 64, 97, 160, 255, 256, 300];
        let large = (520, width(520));
        for (n, width) in widths.into_iter().flat_map(|w| orders.map(|n| (n, w))).chain([large]) {
            let mut s = Stream::new(0, Role::SyntheticMatrix, n as u64, 0);
            let mut noise = || s.uniform() - 0.5;
            let plain = Mat::from_fn(n, n, |_, _| T::from_f64(noise()));
            let near = |off: f64| {
                Mat::from_fn(n, n, |i, j| {
                    let d = if i == j { 1.0 } else { 0.0 };
                    T::from_f64(d) + T::from_f64(off) * plain[(i, j)]
                })
            };
            let power = |x: f64, e: usize| T::from_f64(x.powi(e as i32));
            let tiny = T::from_f64(if T::EPS.to_f64() > 1e-10 { 1e-30 } else { 1e-250 });
            let cases = [
                ("plain", plain.clone()),
                ("near the identity", near(1e-3)),
                ("identity", near(0.0)),
                ("graded columns", Mat::from_fn(n, n, |i, j| plain[(i, j)] * power(0.9, j))),
                ("graded rows", Mat::from_fn(n, n, |i, j| plain[(i, j)] * power(0.9, i))),
                ("dependent columns", Mat::from_fn(n, n, |i, j| plain[(i, j % 5)])),
                ("zero columns", Mat::from_fn(n, n, |i, j| if j % 3 == 0 { T::ZERO } else { plain[(i, j)] })),
                ("triangle", Mat::from_fn(n, n, |i, j| if i <= j { plain[(i, j)] } else { T::ZERO })),
                ("nothing", Mat::zeros(n, n)),
                ("small", Mat::from_fn(n, n, |i, j| plain[(i, j)] * tiny)),
                ("large", Mat::from_fn(n, n, |i, j| plain[(i, j)] / tiny)),
            ];
            for (name, a) in cases {
                let (q, r) = factors(&a, Panels::with_width(n, width));
                let (product, orthogonal) = errors(&a, &q, &r);
                let bound = 2.0 * (10.0 + (n as f64).sqrt()) * T::EPS.to_f64();
                assert!(
                    product < bound && orthogonal < bound,
                    "{name} {n}, {width}: {product:e}, {orthogonal:e} of {bound:e}"
                );
            }
        }
    }

    #[test]
    fn factors_multiply_to_the_matrix_and_the_basis_is_orthogonal() {
        assert_eq!([511, 512, 1535, 1536].map(width), [32, 64, 64, 128]);
        stable::<f32>();
        stable::<f64>();
    }

    /// Up to signs the factorisation of a regular matrix is unique.
    #[test]
    fn the_factors_are_those_of_the_other_routine() {
        let mut s = Stream::new(1, Role::SyntheticMatrix, 0, 0);
        let a = Mat::from_fn(130, 130, |i, j| s.uniform() - 0.5 + if i == j { 8.0 } else { 0.0 });
        let (q, r) = factors(&a, Panels::new(130));
        let other = crate::dense::qr(a.as_ref()).unwrap();
        for j in 0..130 {
            let sign = (r[(j, j)] * other.r[(j, j)]).signum();
            for i in 0..130 {
                assert!((r[(j, i)] - sign * other.r[(j, i)]).abs() < 1e-12);
                assert!((q[(i, j)] - sign * other.q[(i, j)]).abs() < 1e-13);
            }
        }
    }
}
