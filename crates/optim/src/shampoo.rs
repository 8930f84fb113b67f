//! Shampoo: the momentum times an inverse root of each mode's statistics.
//!
//! `L_j <- b2 L_j + w G_(j) G_(j)^T` with the present gradient (`b2 = 1`: a sum, as in arXiv:1802.09568; otherwise an
//! average, corrected for its start), `P = M^ x_1 L_1^{-e} .. x_k L_k^{-e}`, `e = 1/(2k)` by default. The order of
//! operations, the exponents, trace scaling and grafting are those of Meta's distributed Shampoo (arXiv:2309.06497);
//! momentum after preconditioning, Nesterov's step and statistics that start at a multiple of the identity those of
//! Google's scalable Shampoo (arXiv:2002.09018). Trace scaling by `Tr(L)^{-1/2}` with `e = 1/2` gives VN-Shampoo's fixed
//! point. Cost per step of an `m x n` matrix: `3 m n (m + n)` flops, and the roots every `period` steps.

mod sides;

use crate::blockwise::{Call, Common, Done, Field, Layout, Rule, Settings};
use crate::error::check;
use crate::kron_engine::ladder::Decompositions;
use crate::kron_engine::modes::{Shape, complete, square};
use crate::kron_engine::{FactorKind, TOLERATED_FAILURES};
use crate::roots::NewtonWork;
use crate::slots::bias_correction;
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::dense::FactorWork;
use numerics::{MatRef, Par, Scalar, dense, simd};
use serde::{Deserialize, Serialize};

/// How an inverse root is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootEngine {
    /// Through the eigenvalues of `L + eps I`, lifted to at least `eps`.
    #[default]
    Eigh,
    /// Eigenvalues up to `max(rtol * largest, atol)` count as zero and stay zero; `eps` must be 0.
    PseudoInverse {
        /// Relative to the largest; `n` times the machine epsilon if absent.
        #[serde(default)]
        rtol: Option<f64>,
        /// Absolute.
        #[serde(default)]
        atol: f64,
    },
    /// Coupled Newton iteration on `L + eps I`, for exponents `1/p`; falls back to the eigenvalues.
    Newton {
        /// Largest entry of the residual.
        tol: f64,
        /// Most steps.
        iterations: usize,
    },
}

/// A second method whose step length is taken over; all act on the same momentum, with a second moment of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Graft {
    /// No grafting: before `start` the direction is the momentum itself.
    #[default]
    None,
    /// The length of the momentum.
    Sgd,
    /// Sum of squares.
    AdaGrad {
        /// Added to the root.
        eps: f64,
    },
    /// Average of squares.
    RmsProp {
        /// Its decay.
        beta2: f64,
        /// Added to the root.
        eps: f64,
    },
    /// Average of squares, corrected for its start.
    Adam {
        /// Its decay.
        beta2: f64,
        /// Added to the root.
        eps: f64,
    },
}

/// Settings of Shampoo; defaults are those of Meta's implementation.
///
/// A [`ParamGroup`] may override `lr`, `weight_decay`, `beta1`, `beta2` and `eps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShampooConfig {
    /// Learning rate, 1e-2.
    pub lr: f64,
    /// Decay of the momentum, 0.9.
    pub beta1: f64,
    /// Decay of the statistics, 1: a sum.
    pub beta2: f64,
    /// Decay in the present direction only, if it differs from `beta1`.
    pub beta3: Option<f64>,
    /// Added to the statistics before the root, 1e-12.
    pub eps: f64,
    /// `eps` is relative to the largest eigenvalue, off.
    pub relative_eps: bool,
    /// Exponent on every mode; `1/(2k)` if absent.
    pub exponent: Option<f64>,
    /// Exponent per mode, over `exponent`; 0 switches a mode off.
    pub exponents: Vec<f64>,
    /// Engine of the roots.
    pub root: RootEngine,
    /// Steps between roots, 1.
    pub period: u64,
    /// First step with roots; `period` if absent.
    pub start: Option<u64>,
    /// Average with weight `1 - beta2`, on; off: weight 1 and no correction.
    pub weighted: bool,
    /// Correct averages of momentum and statistics for their start, on.
    pub bias_correction: bool,
    /// Divide statistics by the root of their trace, off.
    pub trace_scaling: bool,
    /// Statistics start at this multiple of the identity, 0.
    pub initial: f64,
    /// Whose step length is taken.
    pub graft: Graft,
    /// Decay of a heavy-ball momentum after preconditioning, 0: none.
    pub late_momentum: f64,
    /// Nesterov's step with the late momentum, off.
    pub nesterov: bool,
    /// Weight decay, 0.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// Largest root mean square of a direction.
    pub max_update_rms: Option<f64>,
    /// Which tensors get factors; blocks of 1024.
    pub layout: Layout,
    /// Settings for the other tensors.
    pub vectors: AdamWConfig,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for ShampooConfig {
    fn default() -> Self {
        ShampooConfig {
            lr: 1e-2,
            beta1: 0.9,
            beta2: 1.0,
            beta3: None,
            eps: 1e-12,
            relative_eps: false,
            exponent: None,
            exponents: Vec::new(),
            root: RootEngine::Eigh,
            period: 1,
            start: None,
            weighted: true,
            bias_correction: true,
            trace_scaling: false,
            initial: 0.0,
            graft: Graft::None,
            late_momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
            max_update_rms: None,
            layout: Layout { max_dim: 1024, large: crate::LargeMode::Block, ..Layout::default() },
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl ShampooConfig {
    fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        let decay = |field, x: f64| check((0.0..1.0).contains(&x), field, x, "in [0, 1)");
        at_least_0("lr", self.lr)?;
        decay("beta1", self.beta1)?;
        check((0.0..=1.0).contains(&self.beta2), "beta2", self.beta2, "in [0, 1]")?;
        decay("beta3", self.beta3.unwrap_or(0.0))?;
        decay("late_momentum", self.late_momentum)?;
        at_least_0("weight_decay", self.weight_decay)?;
        at_least_0("initial", self.initial)?;
        for e in self.exponents.iter().copied().chain(self.exponent) {
            at_least_0("exponent", e)?;
        }
        check(self.period > 0, "period", self.period as f64, "at least 1")?;
        match self.root {
            RootEngine::PseudoInverse { rtol, atol } => {
                check(self.eps == 0.0, "eps", self.eps, "0, as the pseudo-inverse needs")?;
                at_least_0("rtol", rtol.unwrap_or(0.0))?;
                at_least_0("atol", atol)?;
            }
            RootEngine::Eigh => check(self.eps.is_finite() && self.eps > 0.0, "eps", self.eps, "finite and above 0")?,
            RootEngine::Newton { tol, iterations } => {
                check(iterations <= 10_000, "iterations", iterations as f64, "at most 10000")?;
                check(self.eps.is_finite() && self.eps > 0.0, "eps", self.eps, "finite and above 0")?;
                check(tol > 0.0, "tol", tol, "above 0")?;
            }
        }
        match self.graft {
            Graft::None | Graft::Sgd => {}
            Graft::AdaGrad { eps } => at_least_0("graft eps", eps)?,
            Graft::RmsProp { beta2, eps } | Graft::Adam { beta2, eps } => {
                decay("graft beta2", beta2)?;
                at_least_0("graft eps", eps)?;
            }
        }
        if let Some(rms) = self.max_update_rms {
            check(rms > 0.0, "max_update_rms", rms, "above 0")?;
        }
        self.layout.check()?;
        self.vectors.check()
    }

    fn exponent_of(&self, mode: usize, order: usize) -> f64 {
        let all = self.exponent.unwrap_or(0.5 / order as f64);
        self.exponents.get(mode).copied().unwrap_or(all)
    }
}

impl<T: Scalar> Settings<T> for ShampooConfig {
    fn kind(&self) -> &'static str {
        "shampoo"
    }

    fn check(&self) -> Result<(), Error> {
        ShampooConfig::check(self)
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
        Box::new(ShampooConfig {
            lr: g.lr_from(self.lr),
            weight_decay: g.weight_decay.unwrap_or(self.weight_decay),
            beta1: g.beta1.unwrap_or(self.beta1),
            beta2: g.beta2.unwrap_or(self.beta2),
            eps: g.eps.unwrap_or(self.eps),
            ..self.clone()
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    #[allow(private_interfaces)]
    fn rule(&self, dims: &[usize], kinds: &[FactorKind], _ordinal: u64) -> Box<dyn Rule<T>> {
        Box::new(Shampoo::new(self, dims, kinds))
    }
}

/// One mode: statistics, kept in the triangle on and above the diagonal, and their root; vectors for a diagonal factor.
#[derive(Clone, Debug)]
struct Side<T: Scalar> {
    n: usize,
    kind: FactorKind,
    exponent: f64,
    l: Vec<T>,
    root: Vec<T>,
    failures: u64,
    work: FactorWork<T>,
    newton: Option<NewtonWork<T>>,
    values: Vec<T>,
    power: [Vec<f64>; 2],
}

impl<T: Scalar> Side<T> {
    fn new(n: usize, kind: FactorKind, exponent: f64, config: &ShampooConfig) -> Self {
        let (len, stride) = match kind {
            FactorKind::Dense => (n * n, n + 1),
            FactorKind::Diagonal => (n, 1),
            FactorKind::Identity => (0, 1),
        };
        let diagonal = |x: f64| {
            let mut a = vec![T::ZERO; len];
            a.iter_mut().step_by(stride).for_each(|a| *a = T::from_f64(x));
            a
        };
        let dense = if kind == FactorKind::Dense && exponent != 0.0 { n } else { 0 };
        let newton = matches!(config.root, RootEngine::Newton { .. }).then(|| NewtonWork::new(dense));
        Side {
            n,
            kind,
            exponent,
            l: diagonal(config.initial),
            root: diagonal(1.0),
            failures: 0,
            work: FactorWork::new(dense),
            newton,
            values: vec![T::ZERO; dense],
            power: [vec![0.0; dense], vec![0.0; dense]],
        }
    }

    fn is_on(&self) -> bool {
        self.exponent != 0.0 && self.kind != FactorKind::Identity
    }
}

#[derive(Clone, Debug)]
struct Shampoo<T: Scalar> {
    config: ShampooConfig,
    shape: Shape,
    sides: Vec<Side<T>>,
    m: Vec<T>,
    v: Vec<T>,
    late: Vec<T>,
    step: u64,
    tools: Decompositions<T>,
}

impl<T: Scalar> Shampoo<T> {
    fn new(config: &ShampooConfig, dims: &[usize], kinds: &[FactorKind]) -> Self {
        let shape = Shape::new(dims);
        let side = |(j, (&n, &kind)): (usize, (&usize, &FactorKind))| {
            Side::new(n, kind, config.exponent_of(j, dims.len()), config)
        };
        let grafted = !matches!(config.graft, Graft::None | Graft::Sgd);
        let len = |wanted: bool| if wanted { shape.len() } else { 0 };
        Shampoo {
            sides: dims.iter().zip(kinds).enumerate().map(side).collect(),
            m: vec![T::ZERO; shape.len()],
            v: vec![T::ZERO; len(grafted)],
            late: vec![T::ZERO; len(config.late_momentum > 0.0)],
            step: 0,
            tools: Decompositions::default(),
            config: config.clone(),
            shape,
        }
    }

    fn learn(&mut self, g: &[T], par: Par) {
        let b = self.config.beta2;
        let weight = T::from_f64(if b < 1.0 && self.config.weighted { 1.0 - b } else { 1.0 });
        let keep = T::from_f64(b);
        sides::learn(&self.shape, 0, &mut self.sides, g, (keep, weight), par);
    }

    /// New roots; the first mode whose root has failed too often.
    fn find_roots(&mut self, matrices: &mut [T], par: Par) -> Option<usize> {
        let c = &self.config;
        let corrected = c.beta2 < 1.0 && c.weighted && c.bias_correction;
        let correction = if corrected { bias_correction(c.beta2, self.step).recip() } else { 1.0 };
        sides::new_roots(c, &self.tools, correction, &mut self.sides, matrices, par);
        self.sides.iter().position(|s| s.is_on() && s.failures > TOLERATED_FAILURES)
    }

    /// The filtered gradient of this step, into `out`.
    fn filter(&mut self, g: &[T], out: &mut [T]) {
        let c = &self.config;
        let b3 = c.beta3.unwrap_or(c.beta1);
        let gain = if c.bias_correction {
            (1.0 - b3 * c.beta1.powi(i32::try_from(self.step - 1).unwrap_or(i32::MAX))).recip()
        } else {
            1.0
        };
        let f = T::from_f64;
        let (b1, c1, b3, c3, gain) = (f(c.beta1), f(1.0 - c.beta1), f(b3), f(1.0 - b3), f(gain));
        simd::wide(|| {
            for ((m, &g), out) in self.m.iter_mut().zip(g).zip(out) {
                *out = gain * (b3 * *m + c3 * g);
                *m = b1 * *m + c1 * g;
            }
        });
    }

    /// The graft's direction, from the filtered gradient; `false` if there is no graft.
    fn graft(&mut self, g: &[T], filtered: &[T], out: &mut [T]) -> bool {
        let (beta2, weight, eps, correction) = match self.config.graft {
            Graft::None => return false,
            Graft::Sgd => {
                out.copy_from_slice(filtered);
                return true;
            }
            Graft::AdaGrad { eps } => (1.0, 1.0, eps, 1.0),
            Graft::RmsProp { beta2, eps } => (beta2, 1.0 - beta2, eps, 1.0),
            Graft::Adam { beta2, eps } => (beta2, 1.0 - beta2, eps, bias_correction(beta2, self.step).recip()),
        };
        let f = T::from_f64;
        let (b, w, eps, root) = (f(beta2), f(weight), f(eps), f(correction.sqrt()));
        simd::wide(|| {
            for (((out, v), &g), &m) in out.iter_mut().zip(&mut self.v).zip(g).zip(filtered) {
                *v = b * *v + w * (g * g);
                let denominator = v.sqrt() * root + eps;
                *out = if denominator == T::ZERO { T::ZERO } else { m / denominator };
            }
        });
        true
    }

    /// `out = x` times all roots.
    fn precondition(&self, x: &mut [T], out: &mut [T], par: Par) {
        let (mut from, mut to) = (&mut *x, &mut *out);
        let mut moves = 0;
        for (j, side) in self.sides.iter().enumerate().filter(|(_, s)| s.is_on()) {
            match side.kind {
                FactorKind::Dense => {
                    self.shape.along(j, square(&side.root, side.n), from, to, par);
                    core::mem::swap(&mut from, &mut to);
                    moves += 1;
                }
                _ => self.shape.scale(j, &side.root, from),
            }
        }
        if moves % 2 == 0 {
            out.copy_from_slice(x);
        }
    }

    /// Heavy ball after preconditioning.
    fn late(&mut self, out: &mut [T]) {
        if self.late.is_empty() {
            return;
        }
        let mu = T::from_f64(self.config.late_momentum);
        for (m, d) in self.late.iter_mut().zip(out) {
            *m = mu * *m + *d;
            *d = if self.config.nesterov { *d + mu * *m } else { *m };
        }
    }
}

impl<T: Scalar> Rule<T> for Shampoo<T> {
    fn scratch_len(&self) -> usize {
        2 * self.shape.len() + self.sides.iter().map(sides::room).sum::<usize>()
    }

    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, par, .. } = call;
        let n = self.shape.len();
        let (filtered, scratch) = scratch.split_at_mut(n);
        let (grafted, matrices) = scratch.split_at_mut(n);
        self.step += 1;
        let start = self.config.start.unwrap_or(self.config.period).max(1);
        let due = self.step == start || (self.step > start && self.step.is_multiple_of(self.config.period));
        self.learn(g, par);
        let stuck = if due { self.find_roots(matrices, par) } else { None };
        self.filter(g, filtered);
        let has_graft = self.graft(g, filtered, grafted);
        if self.step < start {
            out.copy_from_slice(if has_graft { grafted } else { filtered });
        } else {
            let wanted = has_graft.then(|| norm(grafted));
            self.precondition(filtered, out, par);
            if let Some(wanted) = wanted {
                let scale = T::from_f64(wanted / (norm(out) + 1e-16));
                simd::wide(|| out.iter_mut().for_each(|x| *x *= scale));
            }
        }
        self.late(out);
        Ok(Done { moves: true, stuck })
    }

    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>> {
        let dims = self.shape.dims().to_vec();
        let mut fields = vec![Field::count("step", &mut self.step), Field::array("m", &dims, &mut self.m)];
        if !self.v.is_empty() {
            fields.push(Field::array("v", &dims, &mut self.v));
        }
        if !self.late.is_empty() {
            fields.push(Field::array("late", &dims, &mut self.late));
        }
        for (j, side) in self.sides.iter_mut().enumerate() {
            let shape = match side.kind {
                FactorKind::Dense => {
                    complete(&mut side.l, side.n);
                    vec![side.n, side.n]
                }
                FactorKind::Diagonal => vec![side.n],
                FactorKind::Identity => continue,
            };
            fields.push(Field::array(format!("l{j}"), &shape, &mut side.l));
            fields.push(Field::array(format!("root{j}"), &shape, &mut side.root));
            fields.push(Field::count(format!("failures{j}"), &mut side.failures));
        }
        fields
    }

    fn boxed_clone(&self) -> Box<dyn Rule<T>> {
        Box::new(self.clone())
    }

    fn max_update_rms(&self) -> Option<f64> {
        self.config.max_update_rms
    }
}

fn norm<T: Scalar>(x: &[T]) -> f64 {
    dense::norm_l2(MatRef::from_column_major_slice(x, x.len(), 1)).to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::MatMut;

    fn no_eigh<T>(
        _: &mut FactorWork<T>,
        _: MatMut<'_, T>,
        _: &mut [T],
        _: MatMut<'_, T>,
    ) -> Result<(), numerics::Error> {
        Err(numerics::Error::NoConvergence { op: "eigh", n: 0 })
    }

    fn wave<T: Scalar>(t: usize) -> Vec<T> {
        let at = |i: usize| (0.3 + 1.7 * i as f64 + 0.31 * (t * t) as f64 + 0.9 * t as f64).sin();
        (0..20).map(|i| T::from_f64(at(i))).collect()
    }

    fn step<T: Scalar>(rule: &mut Shampoo<T>, t: usize) -> Option<usize> {
        let (mut out, mut scratch) = (vec![T::ZERO; 20], vec![T::ZERO; rule.scratch_len()]);
        let call = Call { g: &wave(t), out: &mut out, scratch: &mut scratch, batch: 1.0, par: Par::Seq };
        let done = rule.direction(call).unwrap();
        assert!(done.moves && out.iter().all(|x| x.is_finite()));
        done.stuck
    }

    #[test]
    fn a_failing_decomposition_keeps_the_old_root_and_is_an_error_the_fourth_time() {
        failing::<f64>();
        failing::<f32>();
    }

    fn failing<T: Scalar>() {
        let pseudo = RootEngine::PseudoInverse { rtol: None, atol: 0.0 };
        for (root, eps) in [(RootEngine::Eigh, 1e-6), (pseudo, 0.0)] {
            let config = ShampooConfig { beta2: 0.9, period: 2, root, eps, ..ShampooConfig::default() };
            let mut rule = Shampoo::<T>::new(&config, &[4, 5], &[FactorKind::Dense; 2]);
            for t in 0..4 {
                assert_eq!(step(&mut rule, t), None);
            }
            let roots = |rule: &Shampoo<T>| rule.sides.iter().map(|s| s.root.clone()).collect::<Vec<_>>();
            let before = roots(&rule);
            rule.tools.eigh = no_eigh;
            // Roots are due at 6, 8, 10 and 12.
            let stuck: Vec<_> = (4..12).map(|t| step(&mut rule, t)).collect();
            assert_eq!(stuck, [None, None, None, None, None, None, None, Some(0)], "{root:?}");
            assert_eq!(roots(&rule), before, "{root:?}");
            assert_eq!(rule.sides[1].failures, TOLERATED_FAILURES + 1);
            // One success forgives.
            rule.tools = Decompositions::default();
            assert_eq!((step(&mut rule, 12), step(&mut rule, 13)), (None, None));
            assert!(rule.sides[0].failures == 0 && roots(&rule) != before, "{root:?}");
        }
    }

    #[test]
    fn a_newton_root_that_does_not_converge_falls_back_to_eigenvalues() {
        let newton = RootEngine::Newton { tol: 1e-30, iterations: 3 };
        let config = |root| ShampooConfig { eps: 1e-6, root, ..ShampooConfig::default() };
        let mut by_newton = Shampoo::<f64>::new(&config(newton), &[4, 5], &[FactorKind::Dense; 2]);
        let mut by_eigh = Shampoo::<f64>::new(&config(RootEngine::Eigh), &[4, 5], &[FactorKind::Dense; 2]);
        for t in 0..3 {
            assert_eq!((step(&mut by_newton, t), step(&mut by_eigh, t)), (None, None));
        }
        assert_eq!(by_newton.sides[0].root, by_eigh.sides[0].root);
    }
}
