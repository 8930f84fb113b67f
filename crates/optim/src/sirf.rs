//! SIRF-Shampoo: inverse- and root-free, by multiplicative updates of the inverse's factors.
//!
//! The preconditioner is `(x)_j K_j K_j^T`, an estimate of `S^-1`. With `H = sqrt(batch) G x_j K_j^T`,
//! `step_j = (1/2)[(p_j/P) H_(j) H_(j)^T + damping prod_{i != j}(Tr(K_i^T K_i)/p_i) K_j^T K_j - gamma I]`,
//! `m_j <- a2 m_j + (1 - a2) step_j`, `K_j <- K_j (I - b m_j / max(1, |m_j|_F))`; the direction is `G x_j K_j K_j^T`
//! through a heavy ball. arXiv:2402.03496, structures arXiv:2312.05705, and the released sirfshampoo. Root-free: it
//! needs the batch size ([`crate::Preconditioned::set_batch`]). Modes longer than the layout allows have a diagonal
//! `K`. Cost per step of an `m x n` matrix: `9 m n (m + n) + 2 (m^3 + n^3)` flops, products only.

use crate::blockwise::{Call, Common, Done, Field, Layout, Rule, Settings};
use crate::error::check;
use crate::kron_engine::FactorKind;
use crate::kron_engine::modes::{Shape, square, square_mut};
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::{Par, Scalar, dense};
use serde::{Deserialize, Serialize};

/// Settings of SIRF-Shampoo. A [`ParamGroup`] may override `lr`, `weight_decay` and `beta1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SirfConfig {
    /// Learning rate, 1e-3.
    pub lr: f64,
    /// Heavy-ball momentum, 0.9.
    pub beta1: f64,
    /// Step size of the factors, 0.01.
    pub curvature_lr: f64,
    /// Decay of the factors' momenta, 0.5.
    pub curvature_momentum: f64,
    /// Damping, 1e-3.
    pub damping: f64,
    /// 1 averages curvature, 0 sums it.
    pub gamma: f64,
    /// Steps between updates of the factors, 1.
    pub period: u64,
    /// Weight decay, 0.
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

impl Default for SirfConfig {
    fn default() -> Self {
        SirfConfig {
            lr: 1e-3,
            beta1: 0.9,
            curvature_lr: 0.01,
            curvature_momentum: 0.5,
            damping: 1e-3,
            gamma: 1.0,
            period: 1,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
            max_update_rms: None,
            layout: Layout::default(),
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl<T: Scalar> Settings<T> for SirfConfig {
    fn kind(&self) -> &'static str {
        "sirf-shampoo"
    }

    fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        let decay = |field, x: f64| check((0.0..1.0).contains(&x), field, x, "in [0, 1)");
        at_least_0("lr", self.lr)?;
        decay("beta1", self.beta1)?;
        decay("curvature_lr", self.curvature_lr)?;
        decay("curvature_momentum", self.curvature_momentum)?;
        at_least_0("damping", self.damping)?;
        check((0.0..=1.0).contains(&self.gamma), "gamma", self.gamma, "in [0, 1]")?;
        check(self.period > 0, "period", self.period as f64, "at least 1")?;
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
        Box::new(SirfConfig {
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
        let shape = Shape::new(dims);
        Box::new(Sirf {
            sides: dims.iter().zip(kinds).map(|(&n, &kind)| Side::new(n, kind)).collect(),
            momentum: vec![T::ZERO; shape.len()],
            step: 0,
            traces: Vec::with_capacity(dims.len()),
            config: self.clone(),
            shape,
        })
    }
}

/// One mode: `K` and its momentum; a diagonal for long modes. `next` and `kk` are scratch.
#[derive(Clone, Debug)]
struct Side<T> {
    n: usize,
    kind: FactorKind,
    k: Vec<T>,
    m: Vec<T>,
    kk: Vec<T>,
    next: Vec<T>,
}

impl<T: Scalar> Side<T> {
    fn new(n: usize, kind: FactorKind) -> Self {
        let (len, stride) = match kind {
            FactorKind::Dense => (n * n, n + 1),
            FactorKind::Diagonal => (n, 1),
            FactorKind::Identity => (0, 1),
        };
        let zeros = || vec![T::ZERO; len];
        let mut k = zeros();
        k.iter_mut().step_by(stride).for_each(|x| *x = T::ONE);
        Side { n, kind, k, m: zeros(), kk: zeros(), next: zeros() }
    }

    fn is_on(&self) -> bool {
        self.kind != FactorKind::Identity
    }

    /// `Tr(K^T K) / n`.
    fn mean_square(&self) -> T {
        if self.is_on() { dense::dot(&self.k, &self.k) / T::from_usize(self.n) } else { T::ONE }
    }

    /// `K <- K (I - rate m)`; kept as it is if that is not finite.
    fn multiply(&mut self, rate: T, par: Par) {
        match self.kind {
            FactorKind::Dense => {
                let n = self.n;
                self.next.copy_from_slice(&self.k);
                let next = square_mut(&mut self.next, n);
                dense::gemm(next, -rate, square(&self.k, n), square(&self.m, n), T::ONE, par);
            }
            _ => {
                for ((next, &k), &m) in self.next.iter_mut().zip(&self.k).zip(&self.m) {
                    *next = k - rate * (k * m);
                }
            }
        }
        if self.next.iter().all(|x| x.is_finite()) {
            core::mem::swap(&mut self.k, &mut self.next);
        }
    }
}

#[derive(Clone, Debug)]
struct Sirf<T> {
    config: SirfConfig,
    shape: Shape,
    sides: Vec<Side<T>>,
    momentum: Vec<T>,
    step: u64,
    traces: Vec<T>,
}

impl<T: Scalar> Sirf<T> {
    /// `x <- x x_j K_j^T`, or `K_j` with `forward = false`.
    fn apply(&self, forward: bool, x: &mut [T], scratch: &mut [T], par: Par) {
        for (j, side) in self.sides.iter().enumerate() {
            match side.kind {
                FactorKind::Dense => {
                    let k = square(&side.k, side.n);
                    let k = if forward { k.transpose() } else { k };
                    self.shape.along(j, k, x, scratch, par);
                    x.copy_from_slice(scratch);
                }
                FactorKind::Diagonal => self.shape.scale(j, &side.k, x),
                FactorKind::Identity => {}
            }
        }
    }

    /// Moves the factors; `h` is the gradient times all `K_j^T`.
    fn learn(&mut self, h: &[T], batch: f64, par: Par) {
        let f = T::from_f64;
        let (a, c) = (f(self.config.curvature_momentum), f(1.0 - self.config.curvature_momentum));
        self.traces.clear();
        self.traces.extend(self.sides.iter().map(Side::mean_square));
        for (j, side) in self.sides.iter_mut().enumerate().filter(|(_, s)| s.is_on()) {
            let others = self.traces.iter().enumerate().filter(|&(i, _)| i != j).fold(T::ONE, |x, (_, &t)| x * t);
            let damping = f(self.config.damping) * others;
            let weight = f(batch * side.n as f64 / self.shape.len() as f64);
            let stride = if side.kind == FactorKind::Dense {
                let n = side.n;
                // The triangle that `outer` goes on with.
                let kk = square_mut(&mut side.kk, n).transpose_mut();
                dense::syrk(kk, damping, square(&side.k, n).transpose(), T::ZERO, par);
                self.shape.outer(j, h, weight, &mut side.kk, T::ONE, par);
                n + 1
            } else {
                self.shape.squares(j, h, &mut side.kk);
                side.kk.iter_mut().zip(&side.k).for_each(|(x, &k)| *x = weight * *x + damping * (k * k));
                1
            };
            side.kk.iter_mut().step_by(stride).for_each(|x| *x -= f(self.config.gamma));
            if !side.kk.iter().all(|x| x.is_finite()) {
                continue;
            }
            let half = f(0.5);
            side.m.iter_mut().zip(&side.kk).for_each(|(m, &s)| *m = a * *m + c * (half * s));
            let norm = dense::norm_l2(square_or_column(&side.m, side.n)).max(T::ONE);
            side.multiply(f(self.config.curvature_lr) / norm, par);
        }
    }
}

fn square_or_column<T>(x: &[T], n: usize) -> numerics::MatRef<'_, T> {
    numerics::MatRef::from_row_major_slice(x, n, x.len() / n.max(1))
}

impl<T: Scalar> Rule<T> for Sirf<T> {
    fn scratch_len(&self) -> usize {
        2 * self.shape.len()
    }

    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, batch, par } = call;
        let (h, scratch) = scratch.split_at_mut(self.shape.len());
        let x = &mut scratch[..self.shape.len()];
        self.step += 1;
        if (self.step - 1).is_multiple_of(self.config.period) {
            h.copy_from_slice(g);
            self.apply(true, h, x, par);
            self.learn(h, batch, par);
        }
        h.copy_from_slice(g);
        self.apply(true, h, x, par);
        self.apply(false, h, x, par);
        let b = T::from_f64(self.config.beta1);
        for ((m, &h), out) in self.momentum.iter_mut().zip(&*h).zip(out) {
            let next = b * *m + h;
            *m = if next.is_finite() { next } else { T::ZERO };
            *out = *m;
        }
        Ok(Done::MOVE)
    }

    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>> {
        let dims = self.shape.dims().to_vec();
        let mut fields =
            vec![Field::count("step", &mut self.step), Field::array("momentum", &dims, &mut self.momentum)];
        for (j, side) in self.sides.iter_mut().enumerate() {
            let shape = match side.kind {
                FactorKind::Dense => vec![side.n, side.n],
                FactorKind::Diagonal => vec![side.n],
                FactorKind::Identity => continue,
            };
            fields.push(Field::array(format!("k{j}"), &shape, &mut side.k));
            fields.push(Field::array(format!("m{j}"), &shape, &mut side.m));
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
