//! Softmax cross-entropy without cancellation: everything in differences from the largest logit.
//!
//! With `k` the largest, `d_i = f_i - f_k` and `s = sum_{i != k} e^{d_i}`: `p_i = e^{d_i} / (1 + s)`. Then
//! `H v = p o (v' - p . v')` with `v' = v - v_k` keeps its digits as `p_k` nears 1, where `p o v - p (p . v)` loses them,
//! and so does `p_k - q_k` written as `-sum_{i != k} (p_i - q_i)`.

use numerics::Scalar;

/// A softmax: which logit is largest, and `1 / (1 + s)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax<T> {
    top: usize,
    rest: T,
    largest: T,
}

impl<T: Scalar> Softmax<T> {
    /// Of these logits, at least one.
    pub(super) fn new(f: &[T]) -> Self {
        let top = largest(f);
        let rest: T = (0..f.len()).filter(|&i| i != top).map(|i| (f[i] - f[top]).exp()).sum();
        Softmax { top, rest, largest: T::ONE / (T::ONE + rest) }
    }

    /// `p_i`.
    fn at(&self, f: &[T], i: usize) -> T {
        if i == self.top { self.largest } else { (f[i] - f[self.top]).exp() * self.largest }
    }

    /// `log p_i`.
    pub(super) fn log(&self, f: &[T], i: usize) -> T {
        let d = if i == self.top { T::ZERO } else { f[i] - f[self.top] };
        d - self.rest.ln_1p()
    }

    /// `p - q` for a distribution `q`.
    pub(super) fn minus(&self, f: &[T], q: impl Fn(usize) -> T, out: &mut [T]) {
        let mut sum = T::ZERO;
        for (i, o) in out.iter_mut().enumerate() {
            if i != self.top {
                *o = self.at(f, i) - q(i);
                sum += *o;
            }
        }
        if let Some(o) = out.get_mut(self.top) {
            *o = -sum;
        }
    }

    /// `(diag p - p p^T) v`.
    pub(super) fn hessian_product(&self, f: &[T], v: &[T], out: &mut [T]) {
        let mut mean = T::ZERO;
        for i in 0..f.len() {
            out[i] = self.at(f, i);
            if i != self.top {
                mean += out[i] * (v[i] - v[self.top]);
            }
        }
        for i in 0..f.len() {
            let difference = if i == self.top { T::ZERO } else { v[i] - v[self.top] };
            out[i] *= difference - mean;
        }
    }

    /// The class at `u` in `[0, 1)` of the distribution function.
    pub(super) fn draw(&self, f: &[T], u: f64) -> usize {
        let mut below = 0.0;
        for i in 0..f.len() {
            below += self.at(f, i).to_f64();
            if u < below {
                return i;
            }
        }
        self.top
    }
}

fn largest<T: Scalar>(f: &[T]) -> usize {
    (1..f.len()).fold(0, |top, i| if f[i] > f[top] { i } else { top })
}

/// What the columns of one term's Hessian root share. A root has `R R^T = H`; softmax takes the triangular one with the
/// largest probability last, so that its C - 1 columns are ratios of sums that only grow.
#[derive(Clone, Debug, Default)]
pub struct Root<T> {
    /// Entries of the diagonal, or probabilities in the order of elimination.
    values: Vec<T>,
    /// `tails[j] = sum_{i > j}` of the probabilities, from the end.
    tails: Vec<T>,
    /// The class that changes places with the last.
    top: usize,
}

impl<T: Scalar> Root<T> {
    /// Room for a root.
    pub fn new() -> Self {
        Root { values: Vec::new(), tails: Vec::new(), top: 0 }
    }

    pub(super) fn set_diagonal(&mut self, curvature: impl Iterator<Item = T>) {
        self.values.clear();
        self.values.extend(curvature.map(Scalar::sqrt));
    }

    pub(super) fn diagonal(&self, j: usize, out: &mut [T]) {
        out.fill(T::ZERO);
        out[j] = self.values[j];
    }

    pub(super) fn set_softmax(&mut self, f: &[T]) {
        let p = Softmax::new(f);
        self.top = p.top;
        self.values.clear();
        self.values.extend((0..f.len()).map(|i| p.at(f, i)));
        if let Some(last) = f.len().checked_sub(1) {
            self.values.swap(self.top, last);
        }
        self.tails.clear();
        self.tails.resize(f.len(), T::ZERO);
        for j in (1..f.len()).rev() {
            self.tails[j - 1] = self.tails[j] + self.values[j];
        }
    }

    /// `R_jj = sqrt(p_j q_j / q_{j-1})`, `R_ij = -(p_i / q_j) R_jj` below, with `q_j` the tail sums and `q_{-1} = 1`.
    pub(super) fn triangular(&self, j: usize, out: &mut [T]) {
        let (p, q) = (&self.values, &self.tails);
        let before = if j == 0 { T::ONE } else { q[j - 1] };
        out.fill(T::ZERO);
        out[j] = (p[j] * (q[j] / before)).sqrt();
        for i in j + 1..p.len() {
            out[i] = -(p[i] / q[j]) * out[j];
        }
        let last = p.len() - 1;
        out.swap(self.top, last);
    }
}
