//! The step on a matrix by several threads, which meet twice.
//!
//! Rows of `P = Q_1^T G Q_2`, of the averages, of the direction `D` in the basis and of `Y = D Q_2^T` depend on no other rows: half of
//! them go from the gradient to `Y` on each thread. Then follow half of the rows of `Q_1 Y` and one of the two statistics on each. Every product has
//! the bits of the whole one, so those of a step do not depend on the threads.
//!
//! Threads that share out each product by itself meet eight times, and passes between products are one thread's.

use super::{Averages, Kron};
use crate::kron_engine::factor::Factor;
use crate::kron_engine::modes::square;
use crate::kron_engine::{Order, Storage};
use numerics::{MatMut, MatRef, Par, Scalar, dense};

/// From so many multiplications by a basis on it is worth a second thread.
const LEAST: usize = 1 << 20;
/// Rows of a half are a multiple of this.
const ROWS: usize = 8;

/// Arrays of the block's shape: the rotated gradient and two that hold what is on its way.
pub(super) struct Room<'a, T> {
    pub(super) p: &'a mut [T],
    pub(super) x: &'a mut [T],
    pub(super) t: &'a mut [T],
}

/// The same rows of several arrays.
struct Rows<'a, T> {
    first: usize,
    p: &'a mut [T],
    x: &'a mut [T],
    t: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
}

impl<'a, T> Rows<'a, T> {
    /// `v` may be empty.
    fn split(self, row: usize, length: usize) -> (Self, Self) {
        let at = row * length;
        let (p, x, t) = (self.p.split_at_mut(at), self.x.split_at_mut(at), self.t.split_at_mut(at));
        let (m, v) = (self.m.split_at_mut(at), self.v.split_at_mut(at.min(self.v.len())));
        (
            Rows { first: self.first, p: p.0, x: x.0, t: t.0, m: m.0, v: v.0 },
            Rows { first: self.first + row, p: p.1, x: x.1, t: t.1, m: m.1, v: v.1 },
        )
    }
}

/// A share of the rows.
fn share(rows: usize, part: f64) -> usize {
    ((rows as f64 * part / ROWS as f64).round() as usize * ROWS).min(rows)
}

fn matrix<T>(x: &[T], cols: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(x, x.len() / cols, cols)
}

fn matrix_mut<T>(x: &mut [T], cols: usize) -> MatMut<'_, T> {
    let rows = x.len() / cols;
    MatMut::from_row_major_slice_mut(x, rows, cols)
}

impl<T: Scalar> Kron<T> {
    /// Whether there are threads, and work for them, and this is a matrix whose statistics come from the rotated gradient alone.
    pub(super) fn goes_by_halves(&self, par: Par) -> bool {
        let c = &self.config;
        let [m, n] = self.shape.dims() else { return false };
        let usual = c.storage == Storage::Rotated && c.order == Order::StepFirst;
        let simple = self.eigenvalues_are_idle() || !self.unweighted();
        // A statistic of a much longer second axis would be more than all the rest.
        let even = *n <= 3 * m;
        let work = self.shape.len() * (m + n);
        par.degree() > 1 && usual && simple && even && work >= LEAST && self.factors.iter().all(Factor::is_dense)
    }

    /// Direction, statistics and eigenvalues; `matrices` is scratch.
    pub(super) fn step_by_halves(&mut self, g: &[T], room: Room<'_, T>, out: &mut [T], matrices: &mut [T], par: Par) {
        let ways = par.degree();
        let (few, more, part) = (Par::rayon(ways / 2), Par::rayon(ways - ways / 2), (ways / 2) as f64 / ways as f64);
        let [m, n] = *self.shape.dims() else { return };
        let Room { p, x, t } = room;
        {
            let averages =
                Averages { config: &self.config, shape: &self.shape, factors: &self.factors, step: self.step };
            let (left, right) = (square(&self.factors[0].q, m), square(&self.factors[1].q, n));
            let all = Rows { first: 0, p, x, t, m: &mut self.m, v: &mut self.v };
            let (one, other) = all.split(share(m, part), n);
            let rows = |rows: Rows<'_, T>, par: Par| {
                let Rows { first, p, x, t, m, v } = rows;
                let left = left.transpose().subrows(first, p.len() / n);
                dense::gemm(matrix_mut(x, n), T::ONE, left, matrix(g, n), T::ZERO, par);
                dense::gemm(matrix_mut(p, n), T::ONE, matrix(x, n), right, T::ZERO, par);
                averages.run(first, p, m, v, t);
                dense::gemm(matrix_mut(x, n), T::ONE, matrix(t, n), right.transpose(), T::ZERO, par);
            };
            rayon::join(|| rows(one, few), || rows(other, more));
        }
        let (b, c) = self.statistics_decay();
        self.begin_learning();
        let idle = self.eigenvalues_are_idle();
        if !idle {
            self.mean_squares(p);
        }
        let (keep, weights) = (T::from_f64(b), [0, 1].map(|j| T::from_f64(c) * self.share(j)));
        let [first, second] = &mut self.factors[..] else { return };
        let left = square(&first.q, m);
        // Of the product `2 m^2 n`, of the statistics `m^2 n` and `m n^2` flops.
        let own = (part * (3 * m + n) as f64 - m as f64) / (2 * m) as f64;
        let (top, bottom) = out.split_at_mut(share(m, own.clamp(0.0, 1.0)) * n);
        let (scratch, other_scratch) = matrices.split_at_mut(m * n);
        let (shape, w, p, x) = (&self.shape, &self.weights, &*p, matrix(x, n));
        let back = |first: usize, out: &mut [T], par: Par| {
            let left = left.subrows(first, out.len() / n);
            dense::gemm(matrix_mut(out, n), T::ONE, left, x, T::ZERO, par);
        };
        let statistic = |j: usize, s: &mut [T], scratch: &mut [T], par: Par| match w[1 - j].is_empty() {
            true => shape.outer_triangle(j, p, weights[j], s, keep, par),
            false => shape.weighted_outer_triangle(j, p, &w[1 - j], weights[j], s, keep, scratch, par),
        };
        let (start, s, other_s) = (top.len() / n, &mut first.s, &mut second.s);
        rayon::join(
            || {
                back(0, top, few);
                statistic(0, s, scratch, few);
            },
            || {
                back(start, bottom, more);
                statistic(1, other_s, other_scratch, more);
            },
        );
        if !idle {
            self.average_all(b, c);
        }
        self.clamp_averages();
    }
}
