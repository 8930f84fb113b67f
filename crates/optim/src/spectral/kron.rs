//! Kronecker factors of determinant one, `S = alpha (S_1 (x) .. (x) S_k)`, as a preconditioner for tensors.
//!
//! Fixing `det S_j = 1` removes the freedom to move scale between factors, so that the metric in the coordinates
//! `(log alpha, log d_j, N_j)` is block diagonal and non-singular: `P/2` for `log alpha`, `P/(2 p_j)` on the trace-free
//! `log d_j`, `4 (P/p_j) (d_i - d_l)^2 / (d_i d_l)` for a rotation. With `U_j` the second moment of the gradient in the
//! eigenbasis of mode `j`, whitened by all other modes, and `t = sum_i U_j,ii / d_j,i` (the same for every `j`):
//!
//! ```text
//! alpha    <- alpha exp(b (t / (alpha P) - g))
//! d_j,i    <- d_j,i exp(b (U_j,ii p_j / (alpha P d_j,i) - t / (alpha P)))
//! N_j,il    = -(b/2) U_j,il p_j / (alpha P (d_j,i - d_j,l)),   B_j <- B_j Cay(N_j - N_j^T)
//! ```
//!
//! all from old values. With the `Mixed` rule a growing `alpha` is averaged, `alpha (1 + x)`, and the factors take the new
//! sample with weight `b / (1 + x)`, its share of that average (ours: otherwise a start at the wrong scale throws the
//! eigenvalues apart). Then the mean of `log d_j`, which exact arithmetic keeps at zero, is taken off. The step is
//! along `S^{-1/p}` of the momentum for any root `p`; `p = 1` needs the gradient's second moment per datum, that is,
//! `batch` times that of a mean gradient ([`crate::Preconditioned::set_batch`]). Source and derivation: the head of
//! [`crate::spectral`]. Cost per step of an `m x n` matrix: `5 m n (m + n)` flops, and `2.7 (m^3 + n^3)` when bases move.

use super::factor::log_growth;
use super::{Cayley, EigenvalueRule, Increment, SpectralRules, Turner, grow};
use crate::blockwise::{Call, Common, Done, Field, Layout, Rule, Settings};
use crate::error::check;
use crate::kron_engine::FactorKind;
use crate::kron_engine::modes::{Shape, square};
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::{MatRef, Par, Scalar, dense, simd};
use serde::{Deserialize, Serialize};

/// Where `alpha` starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpectralStart {
    /// At the first gradient's mean square; that gradient moves nothing.
    #[default]
    FirstGradient,
    /// At this number.
    Fixed(f64),
}

/// Settings of the spectral method. A [`ParamGroup`] may override `lr`, `weight_decay` and `beta1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectralConfig {
    /// Learning rate, 1e-3.
    pub lr: f64,
    /// Decay of the momentum, 0.9.
    pub beta1: f64,
    /// Step size of the curvature, 0.05.
    pub curvature_lr: f64,
    /// From each of these steps on, in ascending order, another step size holds instead; empty.
    pub curvature_warmup: Vec<(u64, f64)>,
    /// Divide a factor's step size by the Frobenius norm of its relative increment where that exceeds one, off.
    pub norm_cap: bool,
    /// 1 averages curvature, 0 sums it.
    pub gamma: f64,
    /// Damping of the curvature, 0.
    pub damping: f64,
    /// The step is along `S^(-1/root)`, 2.
    pub root: f64,
    /// Steps between curvature steps, 2.
    pub period: u64,
    /// Where `alpha` starts.
    pub start: SpectralStart,
    /// Rotation, eigenvalue rule, Cayley map.
    pub rules: SpectralRules,
    /// Weight decay, 0.01.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// Largest root mean square of a direction.
    pub max_update_rms: Option<f64>,
    /// Which tensors get factors, and of which modes.
    pub layout: Layout,
    /// Settings for the other tensors.
    pub vectors: AdamWConfig,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for SpectralConfig {
    fn default() -> Self {
        SpectralConfig {
            lr: 1e-3,
            beta1: 0.9,
            curvature_lr: 0.05,
            curvature_warmup: Vec::new(),
            norm_cap: false,
            gamma: 1.0,
            damping: 0.0,
            root: 2.0,
            period: 2,
            start: SpectralStart::FirstGradient,
            rules: SpectralRules::default(),
            weight_decay: 0.01,
            decay: Decay::Decoupled,
            max_update_rms: None,
            layout: Layout::default(),
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl SpectralConfig {
    /// Curvature step size of a step, counted from one.
    fn curvature_lr_at(&self, step: u64) -> f64 {
        let passed = self.curvature_warmup.iter().rev().find(|&&(from, _)| from <= step);
        passed.map_or(self.curvature_lr, |&(_, lr)| lr)
    }
}

impl<T: Scalar> Settings<T> for SpectralConfig {
    fn kind(&self) -> &'static str {
        "spectral"
    }

    fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        at_least_0("lr", self.lr)?;
        check((0.0..1.0).contains(&self.beta1), "beta1", self.beta1, "in [0, 1)")?;
        for lr in self.curvature_warmup.iter().map(|w| w.1).chain([self.curvature_lr]) {
            check((0.0..1.0).contains(&lr), "curvature_lr", lr, "in [0, 1)")?;
        }
        let sorted = self.curvature_warmup.is_sorted_by_key(|w| w.0);
        check(sorted, "curvature_warmup", 0.0, "in ascending order of steps")?;
        check((0.0..=1.0).contains(&self.gamma), "gamma", self.gamma, "in [0, 1]")?;
        at_least_0("damping", self.damping)?;
        check(self.root.is_finite() && self.root > 0.0, "root", self.root, "finite and above 0")?;
        check(self.period > 0, "period", self.period as f64, "at least 1")?;
        if let SpectralStart::Fixed(x) = self.start {
            check(x.is_finite() && x > 0.0, "start", x, "finite and above 0")?;
        }
        if let super::Rotation::Gradient { cap: Some(cap) } = self.rules.rotation {
            check(cap > 0.0, "cap", cap, "above 0")?;
        }
        at_least_0("weight_decay", self.weight_decay)?;
        if let Some(rms) = self.max_update_rms {
            check(rms > 0.0, "max_update_rms", rms, "above 0")?;
        }
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
        Box::new(SpectralConfig {
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
    fn rule(&self, dims: &[usize], kinds: &[FactorKind], _ordinal: u64) -> Box<dyn Rule<T>> {
        Box::new(SpectralKron::new(self, dims, kinds))
    }
}

/// One mode: basis (dense only), logarithms of the eigenvalues, which sum to zero.
#[derive(Clone, Debug)]
pub(crate) struct Mode<T: Scalar> {
    pub(crate) n: usize,
    kind: FactorKind,
    pub(crate) b: Vec<T>,
    pub(crate) log_d: Vec<T>,
    d: Vec<T>,
    u: Vec<T>,
    a: Vec<T>,
    turner: Turner<T>,
}

impl<T: Scalar> Mode<T> {
    fn new(n: usize, kind: FactorKind, cayley: Cayley) -> Self {
        let dense = if kind == FactorKind::Dense { n } else { 0 };
        let mut b = vec![T::ZERO; dense * dense];
        b.iter_mut().step_by(dense + 1).for_each(|x| *x = T::ONE);
        Mode {
            n,
            kind,
            b,
            log_d: vec![T::ZERO; n],
            d: vec![T::ONE; n],
            u: vec![T::ZERO; if dense > 0 { n * n } else { n }],
            a: vec![T::ZERO; n],
            turner: Turner::new(dense, cayley),
        }
    }

    /// Diagonal of the whitened second moment.
    fn diagonal(&self, i: usize) -> T {
        if self.kind == FactorKind::Dense { self.u[i * (self.n + 1)] } else { self.u[i] }
    }

    fn inverse_trace(&self) -> T {
        self.d.iter().map(|d| d.recip()).sum()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SpectralKron<T: Scalar> {
    config: SpectralConfig,
    shape: Shape,
    pub(crate) modes: Vec<Mode<T>>,
    pub(crate) alpha: T,
    m: Vec<T>,
    begun: bool,
    step: u64,
    powers: Vec<Vec<T>>,
    traces: Vec<T>,
}

impl<T: Scalar> SpectralKron<T> {
    pub(crate) fn new(config: &SpectralConfig, dims: &[usize], kinds: &[FactorKind]) -> Self {
        let shape = Shape::new(dims);
        SpectralKron {
            modes: dims.iter().zip(kinds).map(|(&n, &kind)| Mode::new(n, kind, config.rules.cayley)).collect(),
            alpha: T::ONE,
            m: vec![T::ZERO; shape.len()],
            begun: false,
            step: 0,
            powers: dims.iter().map(|&n| vec![T::ONE; n]).collect(),
            traces: Vec::with_capacity(dims.len()),
            config: config.clone(),
            shape,
        }
    }

    /// Projects on all bases, or back.
    fn rotate(&self, forward: bool, x: &mut [T], scratch: &mut [T], par: Par) {
        let (mut from, mut to) = (&mut *x, &mut *scratch);
        let mut apart = false;
        for (j, mode) in self.modes.iter().enumerate().filter(|(_, m)| m.kind == FactorKind::Dense) {
            let b = square(&mode.b, mode.n);
            let b = if forward { b.transpose() } else { b };
            self.shape.along(j, b, from, to, par);
            core::mem::swap(&mut from, &mut to);
            apart = !apart;
        }
        if apart {
            x.copy_from_slice(scratch);
        }
    }

    /// One curvature step from the mean of `g g^T` over gradients that lie one after the other; returns `t`, the mean of their
    /// whitened squares.
    pub(crate) fn learn(
        &mut self,
        g: &[T],
        beta: f64,
        batch: f64,
        p: &mut [T],
        x: &mut [T],
        par: Par,
    ) -> Result<T, Error> {
        for mode in &mut self.modes {
            mode.d.iter_mut().zip(&mode.log_d).for_each(|(d, l)| *d = l.exp());
        }
        let len = self.shape.len().max(1);
        let weight = T::from_f64(if self.config.root == 1.0 { batch } else { 1.0 } * len as f64 / g.len() as f64);
        for (sample, g) in g.chunks_exact(len).enumerate() {
            p.copy_from_slice(g);
            self.rotate(true, p, x, par);
            let keep = if sample > 0 { T::ONE } else { T::ZERO };
            for j in 0..self.modes.len() {
                self.second_moment(j, p, x, weight, keep, par);
            }
        }
        self.traces.clear();
        self.traces.extend(self.modes.iter().map(Mode::inverse_trace));
        let damping = T::from_f64(self.config.damping);
        let mut t = T::ZERO;
        let mut first = true;
        for j in 0..self.modes.len() {
            if self.modes[j].kind == FactorKind::Identity {
                continue;
            }
            let others = self.traces.iter().enumerate().filter(|&(i, _)| i != j).fold(T::ONE, |a, (_, &t)| a * t);
            let mode = &mut self.modes[j];
            let stride = if mode.kind == FactorKind::Dense { mode.n + 1 } else { 1 };
            mode.u.iter_mut().step_by(stride).for_each(|u| *u += damping * others);
            if first {
                t = (0..mode.n).map(|i| mode.diagonal(i) / mode.d[i]).sum();
                first = false;
            }
        }
        let total = T::from_usize(self.shape.len());
        let level = t / (self.alpha * total);
        let x = T::from_f64(beta) * (level - T::from_f64(self.config.gamma));
        let mixed = self.config.rules.eigenvalues == EigenvalueRule::Mixed;
        // Where the average grows, the new sample's share of it is what is left after dividing by the growth.
        let share = if mixed && x > T::ZERO { T::ONE + x } else { T::ONE };
        let inner = T::from_f64(beta) / share;
        for mode in self.modes.iter_mut().filter(|m| m.kind != FactorKind::Identity) {
            let per = self.alpha * (total / T::from_usize(mode.n));
            step_mode(&self.config, mode, per, level, inner, self.step, par)?;
        }
        let alpha = self.alpha * grow(self.config.rules.eigenvalues, x);
        if alpha > T::TINY && alpha.is_finite() {
            self.alpha = alpha;
        }
        Ok(t)
    }

    /// `U_j <- keep U_j + weight (that of the rotated gradient p)`.
    fn second_moment(&mut self, j: usize, p: &[T], x: &mut [T], weight: T, keep: T, par: Par) {
        if self.modes[j].kind == FactorKind::Identity {
            return;
        }
        x.copy_from_slice(p);
        for (i, mode) in self.modes.iter().enumerate().filter(|&(i, m)| i != j && m.kind != FactorKind::Identity) {
            let w = &mut self.powers[i];
            w.iter_mut().zip(&mode.d).for_each(|(w, d)| *w = d.sqrt().recip());
            self.shape.scale(i, w, x);
        }
        let (mode, squares) = (&mut self.modes[j], &mut self.powers[j]);
        match mode.kind {
            FactorKind::Dense => self.shape.outer(j, x, weight, &mut mode.u, keep, par),
            _ => {
                self.shape.squares(j, x, squares);
                mode.u.iter_mut().zip(squares).for_each(|(u, s)| *u = keep * *u + weight * *s);
            }
        }
    }

    fn precondition(&mut self, x: &mut [T], scratch: &mut [T], par: Par) {
        self.rotate(true, x, scratch, par);
        let exponent = T::from_f64(-1.0 / self.config.root);
        for (j, mode) in self.modes.iter().enumerate().filter(|(_, m)| m.kind != FactorKind::Identity) {
            let w = &mut self.powers[j];
            w.iter_mut().zip(&mode.log_d).for_each(|(w, &l)| *w = (exponent * l).exp());
            self.shape.scale(j, w, x);
        }
        let scale = self.alpha.powf(exponent);
        simd::wide(|| x.iter_mut().for_each(|x| *x *= scale));
        self.rotate(false, x, scratch, par);
    }
}

/// Moves one mode: `per = alpha P / p_j`, `level = t / (alpha P)`.
fn step_mode<T: Scalar>(
    config: &SpectralConfig,
    mode: &mut Mode<T>,
    per: T,
    level: T,
    beta: T,
    step: u64,
    par: Par,
) -> Result<(), Error> {
    let n = mode.n;
    let beta = if config.norm_cap { capped(mode, per, level, beta) } else { beta };
    for i in 0..n {
        mode.a[i] = (T::ONE - beta * level) * mode.d[i] + beta * (mode.diagonal(i) / per);
    }
    if mode.kind == FactorKind::Dense {
        let increment = Increment { d: &mode.d, a: &mode.a, u: square(&mode.u, n).transpose() };
        let share = beta / per;
        let off = |u: T, _: usize, _: usize| share * u;
        mode.turner.turn(&config.rules, &mut mode.b, &increment, off, step, par)?;
    }
    for i in 0..n {
        let x = beta * (mode.diagonal(i) / (per * mode.d[i]) - level);
        let moved = mode.log_d[i] + log_growth(config.rules.eigenvalues, x);
        if moved.is_finite() {
            mode.log_d[i] = moved;
        }
    }
    let mean = mode.log_d.iter().copied().sum::<T>() / T::from_usize(n);
    mode.log_d.iter_mut().for_each(|l| *l -= mean);
    Ok(())
}

/// `beta / max(1, beta |E|_F)` with `E` the increment relative to the present factor.
fn capped<T: Scalar>(mode: &Mode<T>, per: T, level: T, beta: T) -> T {
    let mut squares = 0.0;
    let dense = mode.kind == FactorKind::Dense;
    for i in 0..mode.n {
        let own = (mode.diagonal(i) / (per * mode.d[i]) - level).to_f64();
        squares += own * own;
        for l in 0..if dense { i } else { 0 } {
            let x = (mode.u[i * mode.n + l] / (per * (mode.d[i] * mode.d[l]).sqrt())).to_f64();
            squares += 2.0 * x * x;
        }
    }
    beta / T::from_f64((beta.to_f64() * squares.sqrt()).max(1.0))
}

impl<T: Scalar> Rule<T> for SpectralKron<T> {
    fn scratch_len(&self) -> usize {
        2 * self.shape.len()
    }

    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, batch, par } = call;
        let (p, scratch) = scratch.split_at_mut(self.shape.len());
        let x = &mut scratch[..self.shape.len()];
        if !self.begun {
            match self.config.start {
                SpectralStart::Fixed(alpha) => self.alpha = T::from_f64(alpha),
                SpectralStart::FirstGradient => {
                    let norm = dense::norm_l2(MatRef::from_column_major_slice(g, g.len(), 1)).to_f64();
                    let rms = norm / (g.len() as f64).sqrt();
                    let weight = if self.config.root == 1.0 { batch } else { 1.0 };
                    let alpha = T::from_f64(rms * rms * weight);
                    // A gradient of zero says nothing about the scale, nor does one whose square leaves the range.
                    if alpha > T::TINY && alpha.is_finite() {
                        self.alpha = alpha;
                        self.begun = true;
                    }
                    return Ok(Done::HOLD);
                }
            }
            self.begun = true;
        }
        self.step += 1;
        if (self.step - 1).is_multiple_of(self.config.period) {
            let beta = self.config.curvature_lr_at(self.step);
            self.learn(g, beta, batch, p, x, par)?;
        }
        let (b, c) = (T::from_f64(self.config.beta1), T::from_f64(1.0 - self.config.beta1));
        simd::wide(|| {
            for ((m, &g), out) in self.m.iter_mut().zip(g).zip(out.iter_mut()) {
                *m = b * *m + c * g;
                *out = *m;
            }
        });
        self.precondition(out, x, par);
        Ok(Done::MOVE)
    }

    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>> {
        let dims = self.shape.dims().to_vec();
        let mut fields = vec![
            Field::flag("begun", &mut self.begun),
            Field::count("step", &mut self.step),
            Field::array("alpha", &[1], core::slice::from_mut(&mut self.alpha)),
            Field::array("m", &dims, &mut self.m),
        ];
        for (j, mode) in self.modes.iter_mut().enumerate() {
            let n = mode.n;
            if mode.kind == FactorKind::Dense {
                fields.push(Field::array(format!("b{j}"), &[n, n], &mut mode.b));
            }
            if mode.kind != FactorKind::Identity {
                fields.push(Field::array(format!("log_d{j}"), &[n], &mut mode.log_d));
            }
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
