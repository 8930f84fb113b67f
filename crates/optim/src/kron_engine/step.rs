//! The order of operations of one step on one block, as each method publishes it.

mod halves;

use super::basis::{self, Attached, Move, Sides, Turned};
use super::factor::{Factor, FactorKind, balance, clamp_product, rotate};
use super::ladder::{Bench, Decompositions, TOLERATED_FAILURES, bench_len, split_bench};
use super::modes::Shape;
use super::{Clamp, Eigenvalues, KronConfig, Order, Phase, Scale, Start, Statistics, Storage};
use crate::Error;
use crate::blockwise::{Call, Done, Field, Rule};
use crate::slots::bias_correction;
use halves::Room;
use numerics::dense::FactorWork;
use numerics::rng::{Role, Stream};
use numerics::simd::Wide;
use numerics::{Par, Scalar, dense, simd};

/// The state of one block.
#[derive(Clone, Debug)]
pub(crate) struct Kron<T: Scalar> {
    pub(crate) config: KronConfig,
    pub(crate) shape: Shape,
    pub(crate) factors: Vec<Factor<T>>,
    pub(crate) m: Vec<T>,
    pub(crate) v: Vec<T>,
    /// Bases exist.
    pub(crate) begun: bool,
    pub(crate) step: u64,
    /// Gradients that went into the statistics.
    seen: u64,
    offset: u64,
    pub(crate) tools: Decompositions<T>,
    weights: Vec<Vec<T>>,
    sums: Vec<T>,
    delta: Vec<Vec<T>>,
    spare: Vec<T>,
    /// One per factor; of order zero where nothing is decomposed.
    works: Vec<FactorWork<T>>,
    sorting: Vec<usize>,
    moves: Vec<Move>,
}

impl<T: Scalar> Kron<T> {
    /// `ordinal` is the tensor's index in the list.
    pub(crate) fn new(config: &KronConfig, dims: &[usize], kinds: &[FactorKind], ordinal: u64) -> Self {
        let shape = Shape::new(dims);
        let factors: Vec<_> = dims.iter().zip(kinds).map(|(&n, &kind)| Factor::new(n, kind)).collect();
        let offset = match config.phase {
            Phase::Aligned => 0,
            Phase::Hashed => Stream::key(0, Role::OptimiserNoise, ordinal, 0) % config.period,
        };
        let free = if config.scale == Scale::Free { shape.len() } else { 0 };
        Kron {
            m: vec![T::ZERO; shape.len()],
            v: vec![T::ZERO; free],
            weights: dims.iter().map(|&n| Vec::with_capacity(n)).collect(),
            sums: vec![T::ONE; dims.len()],
            delta: dims.iter().map(|&n| vec![T::ZERO; n]).collect(),
            spare: Vec::with_capacity(dims.iter().copied().max().unwrap_or(0)),
            works: factors.iter().map(|f| FactorWork::new(if f.is_dense() { f.n } else { 0 })).collect(),
            sorting: Vec::with_capacity(dims.iter().copied().max().unwrap_or(0)),
            moves: vec![Move::Stayed; factors.len()],
            config: config.clone(),
            shape,
            factors,
            begun: false,
            step: 0,
            seen: 0,
            offset,
            tools: Decompositions::default(),
        }
    }

    /// Decay of the statistics at their next update, and its complement.
    fn statistics_decay(&self) -> (f64, f64) {
        let b = self.config.statistics_decay();
        if !self.config.bias.statistics {
            return (b, 1.0 - b);
        }
        let c = (1.0 - b) / bias_correction(b, self.seen + 1);
        (1.0 - c, c)
    }

    /// The first gradient makes factors and bases. `false`: it is zero and says nothing.
    fn begin(&mut self, g: &[T], matrices: &mut [T], par: Par) -> bool {
        let column = numerics::MatRef::from_column_major_slice(g, g.len(), 1);
        let rms = dense::norm_l2(column).to_f64() / (g.len() as f64).sqrt();
        if self.config.start == Start::FirstGradient && rms == 0.0 {
            return false;
        }
        let (_, c) = self.statistics_decay();
        self.seen += 1;
        self.begun = true;
        let modes = self.factors.iter().filter(|f| !f.is_identity()).count().max(1);
        let first = match self.config.start {
            Start::FirstGradient => rms.powf(2.0 / modes as f64),
            Start::Fixed(l) | Start::Identity(l) => l,
        };
        for (j, f) in self.factors.iter_mut().enumerate().filter(|(_, f)| !f.is_identity()) {
            let share = match self.config.statistics.power() {
                Some(_) => f.n as f64 / self.shape.len() as f64,
                None => 1.0,
            };
            let weight = T::from_f64(c * share);
            if f.is_dense() {
                self.shape.outer(j, g, weight, &mut f.s, T::ZERO, par);
                // A failure leaves the identity, and is counted.
                let [s, h, t, u] = split_bench(matrices, f.n);
                let bench = Bench { s, h, t, u, values: &mut self.delta[j], work: &mut self.works[j] };
                let _found = basis::begin(&self.config, &self.tools, f, bench);
            } else {
                self.shape.squares(j, g, &mut f.s);
                f.s.iter_mut().for_each(|x| *x *= weight);
            }
            f.e.fill(T::from_f64(first.sqrt().recip()));
        }
        true
    }

    /// Momentum and direction with the present bases; `p` is the rotated gradient, `x` and `t` are scratch.
    fn advance(&mut self, g: &[T], p: &[T], x: &mut [T], t: &mut [T], out: &mut [T], par: Par) {
        let (config, shape, factors) = (&self.config, &self.shape, &self.factors[..]);
        let averages = Averages { config, shape, factors, step: self.step };
        if (config.scale, config.storage) == (Scale::Kronecker, Storage::Original) {
            let (b1, c1) = averages.first();
            simd::wide(|| self.m.iter_mut().zip(g).for_each(|(m, &g)| *m = b1 * *m + c1 * g));
            rotate(shape, factors, true, None, &self.m, x, t, par);
            averages.divide(0, x, None, t);
        } else {
            averages.run(0, p, &mut self.m, &mut self.v, t);
        }
        rotate(&self.shape, &self.factors, false, None, t, out, x, par);
    }

    /// Statistics and eigenvalues from a gradient; `p` is its rotation, `x` and `t` are scratch.
    fn learn(&mut self, g: &[T], p: &[T], x: &mut [T], t: &mut [T], par: Par) {
        let (b, c) = self.statistics_decay();
        self.begin_learning();
        let ema = self.config.eigenvalues == Eigenvalues::Ema;
        if self.config.released_order3 && self.factors.len() == 3 && self.factors.iter().all(Factor::is_dense) {
            self.learn_as_released(g, p, x, t, b, c, par);
        } else if self.takes_one_pass() {
            self.learn_in_one_pass(p, x, b, c, par);
        } else {
            let idle = self.eigenvalues_are_idle();
            for j in 0..self.factors.len() {
                if idle && self.factors[j].is_dense() {
                    let unfolded = if self.config.storage == Storage::Rotated { p } else { g };
                    let (keep, weight) = (T::from_f64(b), T::from_f64(c));
                    self.shape.outer_triangle(j, unfolded, weight, &mut self.factors[j].s, keep, par);
                    continue;
                }
                self.project(j, p, x);
                self.add_statistics(j, g, x, t, b, c, par);
            }
            for j in 0..self.factors.len() {
                if ema && !(idle && self.factors[j].is_dense()) {
                    self.average(j, b, c);
                }
            }
        }
        self.clamp_averages();
    }

    /// One more gradient, and the weights that it is to have.
    fn begin_learning(&mut self) {
        self.seen += 1;
        for i in 0..self.factors.len() {
            self.weigh(i);
        }
    }

    fn clamp_averages(&mut self) {
        if let (Clamp::Product(floor), Eigenvalues::Ema) = (self.config.clamp, self.config.eigenvalues) {
            clamp_product(&mut self.factors, floor);
        }
    }

    /// Whether this is a matrix in rotated storage with weights on both modes: KL-Shampoo as it is mostly used.
    fn takes_one_pass(&self) -> bool {
        let weighted = self.weights.iter().all(|w| !w.is_empty());
        self.weights.len() == 2 && weighted && self.config.storage == Storage::Rotated
    }

    /// The gradient is read once for the mean squares of both modes, and weighted on its way into each statistic.
    fn learn_in_one_pass(&mut self, p: &[T], x: &mut [T], b: f64, c: f64, par: Par) {
        self.mean_squares(p);
        for j in 0..2 {
            if !self.factors[j].is_dense() {
                continue;
            }
            let (keep, weight) = (T::from_f64(b), T::from_f64(c) * self.share(j));
            let (w, s) = (&self.weights[1 - j], &mut self.factors[j].s);
            self.shape.weighted_outer_triangle(j, p, w, weight, s, keep, x, par);
        }
        self.average_all(b, c);
    }

    /// Of a matrix whose modes are both weighted.
    fn mean_squares(&mut self, p: &[T]) {
        if let [rows, columns] = &mut self.delta[..] {
            self.shape.weighted_squares([&self.weights[0], &self.weights[1]], p, rows, columns);
        }
        (0..2).for_each(|j| self.share_out(j));
    }

    /// What is left to do for both modes of a matrix once the dense statistics are there.
    fn average_all(&mut self, b: f64, c: f64) {
        for j in 0..2 {
            if self.factors[j].is_dense() {
                self.damp(j, c);
            } else {
                self.average_diagonal(j, b, c);
            }
        }
        if self.config.eigenvalues == Eigenvalues::Ema {
            (0..2).for_each(|j| self.average(j, b, c));
        }
    }

    /// Three modes in the order of the released code: the last first, and later ones see some new eigenvalues.
    fn learn_as_released(&mut self, g: &[T], p: &[T], x: &mut [T], t: &mut [T], b: f64, c: f64, par: Par) {
        for j in [2, 1] {
            self.project(j, p, x);
            self.add_statistics(j, g, x, t, b, c, par);
        }
        let old_sum = self.sums[2];
        core::mem::swap(&mut self.weights[2], &mut self.spare);
        self.average(2, b, c);
        self.weigh(2);
        self.project(1, p, x);
        self.average(1, b, c);
        self.weigh(1);
        core::mem::swap(&mut self.weights[2], &mut self.spare);
        self.sums[2] = old_sum;
        self.project(0, p, x);
        self.add_statistics(0, g, x, t, b, c, par);
        self.average(0, b, c);
    }

    /// Weights that mode `i` puts on the others' statistics.
    fn weigh(&mut self, i: usize) {
        let f = &self.factors[i];
        match self.config.statistics.power() {
            Some(q) => self.sums[i] = f.weights(q, &mut self.weights[i]),
            None => self.sums[i] = T::ONE,
        }
        // No weights are quicker than ones.
        if self.unweighted() || self.factors[i].is_identity() {
            self.weights[i].clear();
        }
    }

    /// Whether nothing asks for the eigenvalues of a dense factor: SOAP divides by a second moment of its own and weighs nothing.
    fn eigenvalues_are_idle(&self) -> bool {
        let c = &self.config;
        (c.statistics, c.scale, c.eigenvalues) == (Statistics::Raw, Scale::Free, Eigenvalues::Ema) && !c.balance
    }

    /// Whether the weights are all one.
    fn unweighted(&self) -> bool {
        matches!(self.config.statistics.power(), None | Some(1.0))
    }

    /// One over the traces of the modes other than `j`.
    fn share(&self, j: usize) -> T {
        let sum = |acc: T, (_, &s): (usize, &T)| acc * s;
        let product = self.sums.iter().enumerate().filter(|&(i, _)| i != j).fold(T::ONE, sum);
        let share = product.recip();
        if share.is_finite() { share } else { T::ZERO }
    }

    fn whiten(&self, j: usize, x: &mut [T]) {
        for (i, w) in self.weights.iter().enumerate().filter(|(i, w)| *i != j && !w.is_empty()) {
            self.shape.scale(i, w, x);
        }
    }

    /// `x`: the rotated gradient whitened on the modes other than `j`; `delta[j]`: its mean squares along `j`.
    fn project(&mut self, j: usize, p: &[T], x: &mut [T]) {
        if self.factors[j].is_identity() {
            return;
        }
        self.shape.weigh_and_square(j, &self.weights, p, x, &mut self.delta[j]);
        self.share_out(j);
    }

    /// Mean squares and damping from sums of squares.
    fn share_out(&mut self, j: usize) {
        let share = self.share(j);
        let damping = T::from_f64(self.config.damping) * self.damping_weight(j);
        self.delta[j].iter_mut().for_each(|d| *d = *d * share + damping);
    }

    /// What damping `C + I` adds to the eigenvalues of mode `j`.
    fn damping_weight(&self, j: usize) -> T {
        if self.config.damping == 0.0 {
            return T::ZERO;
        }
        let squares = |(i, w): (usize, &Vec<T>)| match (i == j, w.is_empty()) {
            (true, _) => T::ONE,
            (_, true) => T::from_usize(self.factors[i].n),
            _ => dense::dot(w, w),
        };
        self.share(j) * self.weights.iter().enumerate().map(squares).fold(T::ONE, |a, b| a * b)
    }

    /// `x` is what [`Kron::project`] left there.
    fn add_statistics(&mut self, j: usize, g: &[T], x: &mut [T], t: &mut [T], b: f64, c: f64, par: Par) {
        let (keep, weight) = (T::from_f64(b), T::from_f64(c) * self.share(j));
        match self.factors[j].kind {
            FactorKind::Identity => return,
            FactorKind::Diagonal => return self.average_diagonal(j, b, c),
            FactorKind::Dense => {}
        }
        let unfolded: &[T] = if self.config.storage == Storage::Rotated {
            x
        } else if self.unweighted() {
            g
        } else {
            rotate(&self.shape, &self.factors, true, Some(j), g, t, x, par);
            self.whiten(j, t);
            t
        };
        self.shape.outer_triangle(j, unfolded, weight, &mut self.factors[j].s, keep, par);
        self.damp(j, c);
    }

    fn average_diagonal(&mut self, j: usize, b: f64, c: f64) {
        let (keep, c) = (T::from_f64(b), T::from_f64(c));
        self.factors[j].s.iter_mut().zip(&self.delta[j]).for_each(|(s, &d)| *s = keep * *s + c * d);
    }

    /// A multiple of the identity, which matters only where eigenvalues are read off the factor.
    fn damp(&mut self, j: usize, c: f64) {
        let damping = T::from_f64(c * self.config.damping) * self.damping_weight(j);
        if self.config.eigenvalues == Eigenvalues::Instantaneous && damping != T::ZERO {
            let f = &mut self.factors[j];
            f.s.iter_mut().step_by(f.n + 1).for_each(|s| *s += damping);
        }
    }

    fn average(&mut self, j: usize, b: f64, c: f64) {
        let cap = self.factors[j].cap(&self.config);
        self.factors[j].average_eigenvalues(&self.delta[j], T::from_f64(b), T::from_f64(c), cap);
    }

    /// Refreshes bases if this step is one of those, and eigenvalues that are read off the factors.
    /// Returns whether the bases moved, and the first factor that has failed too often.
    fn refresh(&mut self, x: &mut [T], t: &mut [T], matrices: &mut [T], par: Par) -> (bool, Option<usize>) {
        let due = (self.step + self.offset).is_multiple_of(self.config.period);
        let mut stuck = None;
        if due {
            if self.config.balance {
                balance(&mut self.factors);
            }
            stuck = self.refresh_bases(x, t, matrices, par);
        }
        if self.config.eigenvalues == Eigenvalues::Instantaneous {
            for (f, delta) in self.factors.iter_mut().zip(&mut self.delta).filter(|(f, _)| !f.is_identity()) {
                if self.config.storage == Storage::Original {
                    f.complete();
                }
                basis::projected_diagonal(self.config.storage, f, delta, matrices, par);
                let cap = f.cap(&self.config);
                f.set_eigenvalues(delta.iter().copied(), cap);
            }
            if let Clamp::Product(floor) = self.config.clamp {
                clamp_product(&mut self.factors, floor);
            }
        }
        (due, stuck)
    }

    fn refresh_bases(&mut self, x: &mut [T], t: &mut [T], matrices: &mut [T], par: Par) -> Option<usize> {
        // The original storage carries a momentum that lives in the basis through the space of the parameters.
        let carry = self.config.storage == Storage::Original && self.config.scale == Scale::Free;
        if carry {
            rotate(&self.shape, &self.factors, false, None, &self.m, t, x, par);
        }
        for j in (0..self.factors.len()).filter(|_| self.config.sort) {
            if self.factors[j].is_dense() {
                let attached = attached(&self.config, &mut self.m, &mut self.v, x);
                let room = (&mut self.delta[j][..], &mut *matrices, &mut self.sorting);
                basis::sort(&self.config, &self.shape, j, &mut self.factors[j], attached, room, par);
            }
        }
        let (factors, values, works, moves) =
            (&mut self.factors[..], &mut self.delta[..], &mut self.works[..], &mut self.moves[..]);
        basis::refresh(&self.config, &self.tools, Sides { factors, values, works, moves, matrices }, par);
        let turned = Turned { factors: &self.factors, moves: &self.moves, matrices };
        let (m, v) = ((&mut self.m[..], &mut *t), (&mut self.v[..], &mut *x));
        basis::follow(&self.config, &self.shape, turned, m, v, par);
        let failed = |(&moved, f): (&Move, &Factor<T>)| moved == Move::Failed && f.failures > TOLERATED_FAILURES;
        let stuck = self.moves.iter().zip(&self.factors).position(failed);
        if carry {
            rotate(&self.shape, &self.factors, true, None, t, &mut self.m, x, par);
        }
        stuck
    }
}

/// What moves with the bases.
fn attached<'a, T: Scalar>(
    config: &KronConfig,
    m: &'a mut [T],
    v: &'a mut [T],
    scratch: &'a mut [T],
) -> Attached<'a, T> {
    Attached {
        m: (config.storage == Storage::Rotated).then_some(m),
        v: (config.scale == Scale::Free).then_some(v),
        scratch,
    }
}

/// What makes rows of the direction in the basis of the same rows of the rotated gradient.
struct Averages<'a, T> {
    config: &'a KronConfig,
    shape: &'a Shape,
    factors: &'a [Factor<T>],
    step: u64,
}

impl<T: Scalar> Averages<'_, T> {
    /// Weights of the old momentum and of a gradient.
    fn first(&self) -> (T, T) {
        (T::from_f64(self.config.beta1), T::from_f64(1.0 - self.config.beta1))
    }

    fn gain(&self) -> f64 {
        if self.config.bias.momentum { bias_correction(self.config.beta1, self.step).recip() } else { 1.0 }
    }

    /// New averages in the basis, and the direction `t`; `row` is the first row of all modes but the last one.
    fn run(&self, row: usize, p: &[T], m: &mut [T], v: &mut [T], t: &mut [T]) {
        let c = self.config;
        if c.scale == Scale::Kronecker {
            return self.divide(row, m, Some(p), t);
        }
        let mut gain = self.gain();
        if c.bias.second_moment {
            gain *= bias_correction(c.beta2, self.step).sqrt();
        }
        let second = (T::from_f64(c.beta2), T::from_f64(1.0 - c.beta2));
        let (eps, gain) = (T::from_f64(c.eps), T::from_f64(gain));
        simd::run_wide(Moments { m, v, p, t, first: self.first(), second, eps, gain });
    }

    /// The momentum in the basis, with a new gradient if there is one, divided by the eigenvalues' roots.
    fn divide(&self, row: usize, m: &mut [T], p: Option<&[T]>, t: &mut [T]) {
        let (b1, c1) = self.first();
        let (shape, factors, root) = (self.shape, self.factors, self.config.root);
        let (eps, gain) = (T::from_f64(self.config.eps), T::from_f64(self.gain()));
        let new = p.map(|p| (p, b1, c1));
        simd::run_wide(Divide { shape, factors, first: row, root, eps, gain, m, new, t });
    }
}

/// Averages of a gradient and of its squares, with two weights each, and `t = gain m / (sqrt(v) + eps)`.
struct Moments<'a, T> {
    m: &'a mut [T],
    v: &'a mut [T],
    p: &'a [T],
    t: &'a mut [T],
    first: (T, T),
    second: (T, T),
    eps: T,
    gain: T,
}

impl<T: Scalar> Wide for Moments<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Moments { m, v, p, t, first, second, eps, gain } = self;
        for (((t, v), m), &p) in t.iter_mut().zip(v).zip(m).zip(p) {
            // Everything is computed before it is chosen from: no branch, so that the loop runs on whole registers.
            let mean = first.0 * *m + first.1 * p;
            let square = second.0 * *v + second.1 * (p * p);
            let denominator = square.sqrt() + eps;
            let quotient = gain * (mean / denominator);
            (*m, *v) = (mean, square);
            *t = if denominator == T::ZERO { T::ZERO } else { quotient };
        }
    }
}

/// `t = gain m E / (1 + eps E)` with `E` the product of `e_j^{2/root}`, that is `m / (sqrt(l) + eps)` for a square root. With a new
/// gradient and its two weights `m` is averaged in the same pass.
struct Divide<'a, T> {
    shape: &'a Shape,
    factors: &'a [Factor<T>],
    /// The first row that `m` has.
    first: usize,
    root: f64,
    eps: T,
    gain: T,
    m: &'a mut [T],
    new: Option<(&'a [T], T, T)>,
    t: &'a mut [T],
}

impl<T: Scalar> Wide for Divide<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(mut self) {
        let last = self.shape.dims().last().copied().unwrap_or(0);
        if last == 0 {
            return;
        }
        let (m, t) = (core::mem::take(&mut self.m), core::mem::take(&mut self.t));
        for (row, (m, t)) in m.chunks_exact_mut(last).zip(t.chunks_exact_mut(last)).enumerate() {
            if let Some((g, old, new)) = self.new {
                m.iter_mut().zip(&g[row * last..]).for_each(|(m, &g)| *m = old * *m + new * g);
            }
            self.row(self.first + row, m, t);
        }
    }
}

impl<T: Scalar> Divide<'_, T> {
    #[inline(always)]
    fn row(&self, row: usize, m: &[T], t: &mut [T]) {
        let Some((tail, leading)) = self.factors.split_last() else { return };
        let plain = self.root == 2.0;
        let exponent = T::from_f64(2.0 / self.root);
        let power = |e: T| if plain { e } else { e.powf(exponent) };
        let (mut rest, mut lead) = (row, T::ONE);
        for f in leading.iter().rev() {
            if !f.is_identity() {
                lead *= power(f.e[rest % f.n]);
            }
            rest /= f.n;
        }
        let scale = |e: T| self.gain * (e / (T::ONE + self.eps * e));
        if tail.is_identity() {
            let by = scale(lead);
            t.iter_mut().zip(m).for_each(|(t, &m)| *t = m * by);
        } else if plain {
            t.iter_mut().zip(m).zip(&tail.e).for_each(|((t, &m), &e)| *t = m * scale(lead * e));
        } else {
            t.iter_mut().zip(m).zip(&tail.e).for_each(|((t, &m), &e)| *t = m * scale(lead * power(e)));
        }
    }
}

impl<T: Scalar> Rule<T> for Kron<T> {
    fn scratch_len(&self) -> usize {
        let benches: usize = self.factors.iter().filter(|f| f.is_dense()).map(|f| bench_len(f.n)).sum();
        3 * self.shape.len() + benches
    }

    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, par, .. } = call;
        let n = self.shape.len();
        let (p, scratch) = scratch.split_at_mut(n);
        let (x, scratch) = scratch.split_at_mut(n);
        let (t, matrices) = scratch.split_at_mut(n);
        if !self.begun {
            match self.config.start {
                Start::Identity(s) => {
                    self.factors.iter_mut().for_each(|f| f.set_identity(s));
                    self.begun = true;
                }
                _ => {
                    self.begin(g, matrices, par);
                    return Ok(Done::HOLD);
                }
            }
        }
        self.step += 1;
        if self.goes_by_halves(par) {
            let room = Room { p, x: &mut *x, t: &mut *t };
            self.step_by_halves(g, room, out, matrices, par);
            let stuck = self.refresh(x, t, matrices, par).1;
            return Ok(Done { moves: true, stuck });
        }
        rotate(&self.shape, &self.factors, true, None, g, p, x, par);
        let stuck = match self.config.order {
            Order::StepFirst => {
                self.advance(g, p, x, t, out, par);
                self.learn(g, p, x, t, par);
                self.refresh(x, t, matrices, par).1
            }
            Order::StatisticsFirst => {
                self.learn(g, p, x, t, par);
                let (moved, stuck) = self.refresh(x, t, matrices, par);
                if moved {
                    rotate(&self.shape, &self.factors, true, None, g, p, x, par);
                }
                self.advance(g, p, x, t, out, par);
                stuck
            }
        };
        Ok(Done { moves: true, stuck })
    }

    fn fields(&mut self) -> Vec<Field<'_, T>> {
        let dims = self.shape.dims().to_vec();
        let mut fields = vec![
            Field::flag("begun", &mut self.begun),
            Field::count("step", &mut self.step),
            Field::count("seen", &mut self.seen),
            Field::array("m", &dims, &mut self.m),
        ];
        if !self.v.is_empty() || self.config.scale == Scale::Free {
            fields.push(Field::array("v", &dims, &mut self.v));
        }
        for (j, f) in self.factors.iter_mut().enumerate() {
            f.complete();
            let square = [f.n, f.n];
            match f.kind {
                FactorKind::Identity => continue,
                FactorKind::Diagonal => fields.push(Field::array(format!("s{j}"), &[f.n], &mut f.s)),
                FactorKind::Dense => {
                    fields.push(Field::array(format!("s{j}"), &square, &mut f.s));
                    fields.push(Field::array(format!("q{j}"), &square, &mut f.q));
                }
            }
            fields.push(Field::array(format!("e{j}"), &[f.n], &mut f.e));
            fields.push(Field::count(format!("failures{j}"), &mut f.failures));
        }
        fields
    }

    fn boxed_clone(&self) -> Box<dyn Rule<T>> {
        Box::new(self.clone())
    }

    fn layout_tag(&self) -> u64 {
        u64::from(self.config.storage == Storage::Rotated)
    }

    fn max_update_rms(&self) -> Option<f64> {
        self.config.max_update_rms
    }

    fn normalizes(&self) -> bool {
        self.config.normalize
    }
}
