//! PSGD with Kronecker factors: whitening by gradient descent on the factors, without inverses or decompositions.
//!
//! `P = (x)_j Q_j^T Q_j`. With `G~ = P (G + d E)`, `E` standard normal, `d = 1e-9 + eps |G|`: per mode `t1 = G~_(j) G~_(j)^T`,
//! `t2 = numel / p_j`, `l = |t1|_2 + t2` (a lower bound of the norm by power steps), `L <- max(0.9 L + 0.1 l, l)`,
//! `Q <- Q - (0.1 / L)(t1 - t2) Q`, then one rotation `exp(a R) Q`, `R = Q^T - Q`, `a` chosen to increase the trace most,
//! which keeps `Q` near a symmetric positive definite matrix; now and then factors are balanced to equal largest entry.
//! The direction `P M` is clipped to root mean square 2 and entries of 10. The variant "Q0.5EQ1.5" of psgd_torch
//! (Li, arXiv:1512.04202 and later). The noise is a function of seed, tensor and step. Cost per step of an `m x n` matrix:
//! `9 m n (m + n) + 8 (m^3 + n^3)` flops, products only.

use crate::blockwise::{Call, Common, Done, Field, Layout, Rule, Settings};
use crate::error::check;
use crate::kron_engine::FactorKind;
use crate::kron_engine::modes::{Shape, square, square_mut};
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::rng::{Role, Stream};
use numerics::{MatRef, Par, Scalar, dense};
use serde::{Deserialize, Serialize};

/// Largest step of the rotation.
const MAX_ROTATION: f64 = 0.125;
/// Added to the gradient as noise, at least.
const NOISE: f64 = 1e-9;

/// Settings of PSGD-Kron. A [`ParamGroup`] may override `lr`, `weight_decay` and `beta1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PsgdConfig {
    /// Learning rate, 1e-3.
    pub lr: f64,
    /// Decay of the momentum, 0.9.
    pub beta1: f64,
    /// Step size of the factors, 0.1.
    pub curvature_lr: f64,
    /// Decay of the smoothness estimate, 0.9.
    pub smoothness_beta: f64,
    /// Probability of balancing the factors in a step, 0.01.
    pub balance_probability: f64,
    /// Modes with `size^2` above this times the number of elements are diagonal, 1.
    pub max_skew: f64,
    /// Largest entry of a direction, 10.
    pub max_entry: f64,
    /// Largest root mean square of a direction, 2.
    pub max_update_rms: f64,
    /// Seed of the noise, 0.
    pub seed: u64,
    /// Weight decay, 0.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// Which tensors get factors, and of which modes.
    pub layout: Layout,
    /// Settings for the other tensors.
    pub vectors: AdamWConfig,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for PsgdConfig {
    fn default() -> Self {
        PsgdConfig {
            lr: 1e-3,
            beta1: 0.9,
            curvature_lr: 0.1,
            smoothness_beta: 0.9,
            balance_probability: 0.01,
            max_skew: 1.0,
            max_entry: 10.0,
            max_update_rms: 2.0,
            seed: 0,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
            layout: Layout::default(),
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl<T: Scalar> Settings<T> for PsgdConfig {
    fn kind(&self) -> &'static str {
        "psgd-kron"
    }

    fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        let decay = |field, x: f64| check((0.0..1.0).contains(&x), field, x, "in [0, 1)");
        at_least_0("lr", self.lr)?;
        decay("beta1", self.beta1)?;
        decay("curvature_lr", self.curvature_lr)?;
        decay("smoothness_beta", self.smoothness_beta)?;
        check(
            (0.0..=1.0).contains(&self.balance_probability),
            "balance_probability",
            self.balance_probability,
            "in [0, 1]",
        )?;
        check(self.max_skew > 0.0, "max_skew", self.max_skew, "above 0")?;
        check(self.max_entry > 0.0, "max_entry", self.max_entry, "above 0")?;
        check(self.max_update_rms > 0.0, "max_update_rms", self.max_update_rms, "above 0")?;
        at_least_0("weight_decay", self.weight_decay)?;
        self.layout.check()?;
        self.vectors.check()
    }

    fn common(&self) -> Common {
        Common {
            lr: self.lr,
            weight_decay: self.weight_decay,
            decay: self.decay,
            layout: self.layout,
            vectors: self.vectors,
            non_finite: self.non_finite,
        }
    }

    fn for_group(&self, g: &ParamGroup) -> Box<dyn Settings<T>> {
        Box::new(PsgdConfig {
            lr: g.lr_from(self.lr),
            weight_decay: g.weight_decay.unwrap_or(self.weight_decay),
            beta1: g.beta1.unwrap_or(self.beta1),
            ..self.clone()
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    #[allow(private_interfaces)]
    fn rule(&self, dims: &[usize], kinds: &[FactorKind], ordinal: u64) -> Box<dyn Rule<T>> {
        let shape = Shape::new(dims);
        let side = |(&n, &kind): (&usize, &FactorKind)| {
            let skewed = (n * n) as f64 > self.max_skew * shape.len() as f64;
            Side::new(n, if skewed && kind == FactorKind::Dense { FactorKind::Diagonal } else { kind })
        };
        Box::new(Psgd {
            sides: dims.iter().zip(kinds).map(side).collect(),
            m: vec![T::ZERO; shape.len()],
            step: 0,
            ordinal,
            config: self.clone(),
            shape,
        })
    }
}

/// One mode: `Q` and the smoothness estimate; the rest is scratch.
#[derive(Clone, Debug)]
struct Side<T> {
    n: usize,
    kind: FactorKind,
    q: Vec<T>,
    smoothness: T,
    t1: Vec<T>,
    r: Vec<T>,
    rq: Vec<T>,
    x: Vec<T>,
    y: Vec<T>,
}

impl<T: Scalar> Side<T> {
    fn new(n: usize, kind: FactorKind) -> Self {
        let (len, square) = match kind {
            FactorKind::Dense => (n * n, n * n),
            FactorKind::Diagonal => (n, 0),
            FactorKind::Identity => (0, 0),
        };
        let zeros = |len| vec![T::ZERO; len];
        Side {
            n,
            kind,
            q: zeros(len),
            smoothness: T::ZERO,
            t1: zeros(len),
            r: zeros(square),
            rq: zeros(square),
            x: zeros(n),
            y: zeros(n),
        }
    }

    fn is_on(&self) -> bool {
        self.kind != FactorKind::Identity
    }

    fn fill(&mut self, scale: T) {
        let stride = if self.kind == FactorKind::Dense { self.n + 1 } else { 1 };
        self.q.fill(T::ZERO);
        self.q.iter_mut().step_by(stride).for_each(|x| *x = scale);
    }

    fn largest(&self) -> T {
        self.q.iter().fold(T::ZERO, |top, &x| top.max(x.abs()))
    }

    /// A lower bound of the norm of the symmetric `a`: power steps from its longest column.
    fn norm_bound(a: &[T], n: usize, x: &mut Vec<T>, y: &mut Vec<T>) -> T {
        let squares = |row: &[T]| dense::dot(row, row);
        let longest = a.chunks_exact(n).enumerate().fold((0, -T::ONE), |best, (i, row)| {
            let s = squares(row);
            if s > best.1 { (i, s) } else { best }
        });
        x.copy_from_slice(&a[longest.0 * n..(longest.0 + 1) * n]);
        let mut bound = T::ZERO;
        for _ in 0..3 {
            let norm = squares(x).sqrt();
            if norm == T::ZERO || !norm.is_finite() {
                return bound;
            }
            x.iter_mut().for_each(|x| *x /= norm);
            for (y, row) in y.iter_mut().zip(a.chunks_exact(n)) {
                *y = dense::dot(row, x);
            }
            bound = squares(y).sqrt();
            core::mem::swap(x, y);
        }
        bound
    }

    /// One step of a factor; `t1` is the whitened second moment of its mode.
    fn update(&mut self, t2: T, rate: T, beta: T, par: Par) {
        let n = self.n;
        let norm = match self.kind {
            FactorKind::Dense => Self::norm_bound(&self.t1, n, &mut self.x, &mut self.y),
            _ => self.t1.iter().fold(T::ZERO, |top, &x| top.max(x)),
        };
        let l = norm + t2;
        self.smoothness = (beta * self.smoothness + (T::ONE - beta) * l).max(l);
        let rate = rate / self.smoothness;
        if !rate.is_finite() {
            return;
        }
        if self.kind == FactorKind::Dense {
            self.t1.iter_mut().step_by(n + 1).for_each(|x| *x -= t2);
            self.rq.copy_from_slice(&self.q);
            let next = square_mut(&mut self.rq, n);
            dense::gemm(next, -rate, square(&self.t1, n), square(&self.q, n), T::ONE, par);
            core::mem::swap(&mut self.q, &mut self.rq);
            self.straighten(par);
        } else {
            self.q.iter_mut().zip(&self.t1).for_each(|(q, &t1)| *q -= rate * ((t1 - t2) * *q));
        }
    }

    /// `Q <- exp(a R) Q` to second order, with `R = Q^T - Q` scaled to norm one and `a` where the trace is largest.
    fn straighten(&mut self, par: Par) {
        let n = self.n;
        for i in 0..n {
            for j in 0..n {
                self.r[i * n + j] = self.q[j * n + i] - self.q[i * n + j];
            }
        }
        let norm = Self::norm_bound(&self.r, n, &mut self.x, &mut self.y);
        if norm <= T::TINY {
            return;
        }
        self.r.iter_mut().for_each(|x| *x /= norm);
        dense::gemm(square_mut(&mut self.rq, n), T::ONE, square(&self.r, n), square(&self.q, n), T::ZERO, par);
        let rrq = square_mut(&mut self.t1, n);
        dense::gemm(rrq, T::ONE, square(&self.r, n), square(&self.rq, n), T::ZERO, par);
        let trace = |a: &[T]| a.iter().step_by(n + 1).copied().sum::<T>();
        let (first, second) = (trace(&self.rq), trace(&self.t1));
        let most = T::from_f64(MAX_ROTATION);
        let a = if second < T::ZERO { (-(first / second)).min(most) } else { most };
        let half = T::from_f64(0.5) * a * a;
        for ((q, &rq), &rrq) in self.q.iter_mut().zip(&self.rq).zip(&self.t1) {
            *q += a * rq + half * rrq;
        }
    }
}

#[derive(Clone, Debug)]
struct Psgd<T> {
    config: PsgdConfig,
    shape: Shape,
    sides: Vec<Side<T>>,
    m: Vec<T>,
    step: u64,
    ordinal: u64,
}

/// `(mean |g|^4 + noise^4)^{-1/8}`, of numbers divided by the largest.
fn start_scale<T: Scalar>(g: &[T]) -> f64 {
    let top = g.iter().fold(NOISE, |top, x| top.max(x.to_f64().abs()));
    let fourth = g.iter().map(|x| (x.to_f64() / top).powi(4)).sum::<f64>() / g.len().max(1) as f64;
    (fourth + (NOISE / top).powi(4)).powf(-0.125) / top.sqrt()
}

impl<T: Scalar> Psgd<T> {
    /// `x <- P x`.
    fn apply(&self, x: &mut [T], scratch: &mut [T], par: Par) {
        for (j, side) in self.sides.iter().enumerate() {
            match side.kind {
                FactorKind::Dense => {
                    let q = square(&side.q, side.n);
                    self.shape.along(j, q, x, scratch, par);
                    self.shape.along(j, q.transpose(), scratch, x, par);
                }
                FactorKind::Diagonal => {
                    self.shape.scale(j, &side.q, x);
                    self.shape.scale(j, &side.q, x);
                }
                FactorKind::Identity => {}
            }
        }
    }

    fn balance(&mut self) {
        let count = self.sides.iter().filter(|s| s.is_on()).count().max(1);
        let logs: f64 = self.sides.iter().filter(|s| s.is_on()).map(|s| s.largest().to_f64().ln()).sum();
        let mean = (logs / count as f64).exp();
        for side in self.sides.iter_mut().filter(|s| s.is_on()) {
            let factor = T::from_f64(mean) / side.largest();
            if factor.is_finite() && factor > T::ZERO {
                side.q.iter_mut().for_each(|q| *q *= factor);
            }
        }
    }

    fn learn(&mut self, g: &[T], x: &mut [T], scratch: &mut [T], par: Par) {
        let mut stream = Stream::new(self.config.seed, Role::OptimiserNoise, self.ordinal, self.step);
        if stream.uniform() < self.config.balance_probability {
            self.balance();
        }
        let least = T::from_f64(NOISE);
        for (x, &g) in x.iter_mut().zip(g) {
            *x = g + (least + T::EPS * g.abs()) * T::from_f64(stream.normal());
        }
        self.apply(x, scratch, par);
        if !x.iter().all(|x| x.is_finite()) {
            return;
        }
        let f = T::from_f64;
        let (rate, beta) = (f(self.config.curvature_lr), f(self.config.smoothness_beta));
        for (j, side) in self.sides.iter_mut().enumerate().filter(|(_, s)| s.is_on()) {
            match side.kind {
                FactorKind::Dense => self.shape.outer(j, x, T::ONE, &mut side.t1, T::ZERO, par),
                _ => self.shape.squares(j, x, &mut side.t1),
            }
            side.update(f(self.shape.len() as f64 / side.n as f64), rate, beta, par);
        }
    }
}

impl<T: Scalar> Rule<T> for Psgd<T> {
    fn scratch_len(&self) -> usize {
        2 * self.shape.len()
    }

    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, par, .. } = call;
        let (x, scratch) = scratch.split_at_mut(self.shape.len());
        let y = &mut scratch[..self.shape.len()];
        if self.step == 0 {
            let count = self.sides.iter().filter(|s| s.is_on()).count().max(1);
            let scale = T::from_f64(start_scale(g).powf(1.0 / count as f64));
            self.sides.iter_mut().for_each(|s| s.fill(scale));
        }
        self.step += 1;
        self.learn(g, x, y, par);
        let (b, c) = (T::from_f64(self.config.beta1), T::from_f64(1.0 - self.config.beta1));
        for ((m, &g), out) in self.m.iter_mut().zip(g).zip(out.iter_mut()) {
            *m = b * *m + c * g;
            *out = *m;
        }
        self.apply(out, y, par);
        clip(out, self.config.max_update_rms, self.config.max_entry);
        Ok(Done::MOVE)
    }

    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>> {
        let dims = self.shape.dims().to_vec();
        let mut fields = vec![Field::count("step", &mut self.step), Field::array("m", &dims, &mut self.m)];
        for (j, side) in self.sides.iter_mut().enumerate() {
            let shape = match side.kind {
                FactorKind::Dense => vec![side.n, side.n],
                FactorKind::Diagonal => vec![side.n],
                FactorKind::Identity => continue,
            };
            fields.push(Field::array(format!("q{j}"), &shape, &mut side.q));
            fields.push(Field::array(format!("smoothness{j}"), &[1], core::slice::from_mut(&mut side.smoothness)));
        }
        fields
    }

    fn boxed_clone(&self) -> Box<dyn Rule<T>> {
        Box::new(self.clone())
    }
}

/// Scales to a largest root mean square, then cuts entries.
fn clip<T: Scalar>(x: &mut [T], rms: f64, entry: f64) {
    let norm = dense::norm_l2(MatRef::from_column_major_slice(&*x, x.len(), 1)).to_f64();
    let own = norm / (x.len().max(1) as f64).sqrt();
    if own > rms {
        let scale = T::from_f64(rms / own);
        x.iter_mut().for_each(|x| *x *= scale);
    }
    let most = T::from_f64(entry);
    x.iter_mut().for_each(|x| *x = x.min(most).max(-most));
}
