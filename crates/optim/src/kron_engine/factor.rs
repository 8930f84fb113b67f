//! One factor of the product: its statistics, its basis, its eigenvalue estimates.

use super::modes::Shape;
use super::{Clamp, KronConfig};
use numerics::Scalar;

/// How much of a factor is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactorKind {
    /// Statistics, basis, eigenvalues.
    Dense,
    /// Eigenvalues in the basis of the parameters: the optimum under a diagonal constraint.
    Diagonal,
    /// Nothing: the identity.
    Identity,
}

/// `S` and `Q` are row-major `n x n` for a dense factor; a diagonal one keeps the diagonal of `S` only. Of `S`, which is symmetric, the
/// triangle on and above the diagonal is kept up to date; [`Factor::complete`] fills the other one for those who read it.
#[derive(Clone, Debug)]
pub(crate) struct Factor<T> {
    pub(crate) n: usize,
    pub(crate) kind: FactorKind,
    pub(crate) s: Vec<T>,
    pub(crate) q: Vec<T>,
    /// `l^{-1/2}`: stored in place of `l`, because there and back is not the identity in floating point.
    pub(crate) e: Vec<T>,
    /// Decompositions that failed in a row.
    pub(crate) failures: u64,
}

impl<T: Scalar> Factor<T> {
    pub(crate) fn new(n: usize, kind: FactorKind) -> Self {
        let (s, q) = match kind {
            FactorKind::Dense => (n * n, n * n),
            FactorKind::Diagonal => (n, 0),
            FactorKind::Identity => (0, 0),
        };
        let e = if kind == FactorKind::Identity { 0 } else { n };
        Factor { n, kind, s: vec![T::ZERO; s], q: vec![T::ZERO; q], e: vec![T::ZERO; e], failures: 0 }
    }

    pub(crate) fn is_dense(&self) -> bool {
        self.kind == FactorKind::Dense
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.kind == FactorKind::Identity
    }

    /// `Q = I`, `S = s I`, eigenvalues `s`.
    pub(crate) fn set_identity(&mut self, s: f64) {
        self.reset_basis();
        let stride = if self.is_dense() { self.n + 1 } else { 1 };
        self.s.fill(T::ZERO);
        self.s.iter_mut().step_by(stride).for_each(|x| *x = T::from_f64(s));
        self.e.fill(T::from_f64(s.sqrt().recip()));
    }

    pub(crate) fn reset_basis(&mut self) {
        self.q.fill(T::ZERO);
        self.q.iter_mut().step_by(self.n + 1).for_each(|x| *x = T::ONE);
    }

    /// Makes `S` symmetric.
    pub(crate) fn complete(&mut self) {
        if self.is_dense() {
            super::modes::complete(&mut self.s, self.n);
        }
    }

    /// Eigenvalue behind a stored `e`; zero for a frozen direction.
    pub(crate) fn eigenvalue(e: T) -> T {
        if e == T::ZERO { T::ZERO } else { (e * e).recip() }
    }

    /// The weights `l^{(q-1)/2}` that another mode's statistics put on this mode, and `sum l^q`.
    pub(crate) fn weights(&self, power: f64, out: &mut Vec<T>) -> T {
        out.clear();
        if self.is_identity() {
            out.resize(self.n, T::ONE);
            return T::from_usize(self.n);
        }
        let mut sum = T::ZERO;
        for &e in &self.e {
            let (w, l) = match (power, e == T::ZERO) {
                (0.0, _) => (e, T::ONE),
                (1.0, _) => (T::ONE, Self::eigenvalue(e)),
                (_, true) => (T::ZERO, T::ZERO),
                (2.0, _) => (e.recip(), Self::eigenvalue(e) * Self::eigenvalue(e)),
                (q, _) => (e.powf(T::from_f64(1.0 - q)), e.powf(T::from_f64(-2.0 * q))),
            };
            out.push(w);
            sum += l;
        }
        sum
    }

    /// `l <- b l + c delta`, then `e = l^{-1/2}` under the clamp; an `e` that is not finite freezes its direction.
    pub(crate) fn average_eigenvalues(&mut self, delta: &[T], b: T, c: T, cap: Option<T>) {
        for (e, &d) in self.e.iter_mut().zip(delta) {
            let l = b * Self::eigenvalue(*e) + c * d;
            *e = inverse_root(l, cap);
        }
    }

    /// `l <- values`.
    pub(crate) fn set_eigenvalues(&mut self, values: impl Iterator<Item = T>, cap: Option<T>) {
        for (e, l) in self.e.iter_mut().zip(values) {
            *e = inverse_root(l.max(T::ZERO), cap);
        }
    }

    /// Mean eigenvalue.
    pub(crate) fn mean_eigenvalue(&self) -> f64 {
        let sum: f64 = self.e.iter().map(|&e| Self::eigenvalue(e).to_f64()).sum();
        sum / self.n.max(1) as f64
    }

    /// The cap on `e` of the released code.
    pub(crate) fn cap(&self, config: &KronConfig) -> Option<T> {
        match config.clamp {
            Clamp::PerFactor(cap) => Some(T::from_f64((self.n as f64).min(cap).max(10.0))),
            _ => None,
        }
    }
}

fn inverse_root<T: Scalar>(l: T, cap: Option<T>) -> T {
    let e = l.sqrt().recip();
    // A plain comparison keeps a NaN a NaN, which then freezes the direction.
    let e = match cap {
        Some(cap) if e > cap => cap,
        _ => e,
    };
    if e.is_finite() { e } else { T::ZERO }
}

/// Geometric mean of the mean eigenvalues, over the modes that have any.
fn overall<T: Scalar>(factors: &[Factor<T>]) -> (f64, usize) {
    let (mut log, mut count) = (0.0, 0);
    for f in factors.iter().filter(|f| !f.is_identity()) {
        log += f.mean_eigenvalue().ln();
        count += 1;
    }
    ((log / count.max(1) as f64).exp(), count)
}

/// `l_j <- max(l_j, floor^{1/k} m_j / m)`, `m_j` the mean of `l_j` and `m` the geometric mean of the `m_j`.
///
/// The floors multiply to `floor`, and scaling one factor up and another down scales them along.
pub(crate) fn clamp_product<T: Scalar>(factors: &mut [Factor<T>], floor: f64) {
    let (overall, count) = overall(factors);
    let share = floor.powf(1.0 / count.max(1) as f64);
    for f in factors.iter_mut().filter(|f| !f.is_identity()) {
        let ratio = f.mean_eigenvalue() / overall;
        let least = share * if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 };
        let most = T::from_f64(least.sqrt().recip());
        for e in &mut f.e {
            if *e > most || *e == T::ZERO {
                *e = most;
            }
        }
    }
}

/// Gives all factors the same mean eigenvalue; the product does not change.
pub(crate) fn balance<T: Scalar>(factors: &mut [Factor<T>]) {
    let (overall, _) = overall(factors);
    if !(overall.is_finite() && overall > 0.0) {
        return;
    }
    for f in factors.iter_mut().filter(|f| !f.is_identity()) {
        let c = overall / f.mean_eigenvalue();
        let (up, down) = (T::from_f64(c), T::from_f64(c.sqrt().recip()));
        f.s.iter_mut().for_each(|x| *x *= up);
        f.e.iter_mut().for_each(|x| *x *= down);
    }
}

/// Projects on all bases: `out = x x_j Q_j^T`, or back with `forward = false`; modes in `skip` stay. Forward from the first mode on, back from
/// the last: the rows of a matrix then take part in one product with the whole of the other factor at either end ([`super::halves`]).
pub(crate) fn rotate<T: Scalar>(
    shape: &Shape,
    factors: &[Factor<T>],
    forward: bool,
    skip: Option<usize>,
    x: &[T],
    out: &mut [T],
    scratch: &mut [T],
    par: numerics::Par,
) {
    let count = factors.iter().enumerate().filter(|(j, f)| f.is_dense() && Some(*j) != skip).count();
    // Alternate between the two buffers so that the last product lands in `out`.
    let mut to_out = count % 2 == 1;
    let mut first = true;
    for at in 0..factors.len() {
        let j = if forward { at } else { factors.len() - 1 - at };
        let f = &factors[j];
        if !f.is_dense() || Some(j) == skip {
            continue;
        }
        let q = super::modes::square(&f.q, f.n);
        let q = if forward { q.transpose() } else { q };
        match (first, to_out) {
            (true, true) => shape.along(j, q, x, out, par),
            (true, false) => shape.along(j, q, x, scratch, par),
            (false, true) => shape.along(j, q, scratch, out, par),
            (false, false) => shape.along(j, q, out, scratch, par),
        }
        first = false;
        to_out = !to_out;
    }
    if first {
        out.copy_from_slice(x);
    }
}
