//! The settings of the Kronecker engine: one field per axis along which the published methods differ.

use super::{FactorKind, Kron};
use crate::blockwise::{Common, Layout, Rule, Settings};
use crate::error::check;
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::Scalar;
use serde::{Deserialize, Serialize};

/// What is averaged into the factor of mode `j`: `X X^T` of an unfolding of the gradient, with weights on the other modes.
///
/// With trace power `q` (the Bregman family) it is `G S_b^(q-1) G^T / Tr(S_b^q)` for a matrix, and the product of such weights
/// and traces over the other modes for a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// `G G^T` as it is, not divided by anything: Shampoo, SOAP.
    Raw,
    /// `q = 0`, the maximum-likelihood factors: `G S_b^-1 G^T / n`.
    #[default]
    Kl,
    /// `q = 1/2`, the objective of PSGD's whitening.
    Sq,
    /// `q = 1`, von Neumann: `G G^T / Tr S_b`.
    Vn,
    /// `q = 2`, Frobenius.
    F,
    /// Any `q` in `[0, 2]`.
    TracePower(f64),
}

impl Statistics {
    /// The trace power, if there is one.
    pub fn power(self) -> Option<f64> {
        match self {
            Statistics::Raw => None,
            Statistics::Kl => Some(0.0),
            Statistics::Sq => Some(0.5),
            Statistics::Vn => Some(1.0),
            Statistics::F => Some(2.0),
            Statistics::TracePower(q) => Some(q),
        }
    }
}

/// What the rotated momentum is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The product of one eigenvalue per mode.
    #[default]
    Kronecker,
    /// A second moment of its own for every element of the rotated gradient: SOAP, KL-SOAP.
    Free,
}

/// Where the eigenvalues of a factor come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eigenvalues {
    /// A moving average of each step's projection on the basis of that step.
    #[default]
    Ema,
    /// `diag(Q^T S Q)` of the present factor.
    Instantaneous,
}

/// How a basis follows its factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// This many steps of orthogonal iteration, `Q <- qr(S Q)`.
    Qr(u32),
    /// All eigenvectors anew.
    Eigh,
    /// One step of orthogonal iteration, left out while `|offdiag(Q^T S Q)| <= tolerance |Q^T S Q|`.
    Adaptive(f64),
}

/// Whether a gradient enters the statistics before or after the step it causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Step with what was known before: SOAP, KL-Shampoo.
    #[default]
    StepFirst,
    /// Learn from the gradient first.
    StatisticsFirst,
}

/// How factors begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The first gradient makes factors and bases and moves nothing; all eigenvalues are this number.
    Fixed(f64),
    /// The same, with eigenvalues of the first gradient's mean square: free of scale.
    #[default]
    FirstGradient,
    /// Factors are this multiple of the identity; the first gradient is an ordinary step.
    Identity(f64),
}

/// What keeps eigenvalues away from zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clamp {
    /// Nothing.
    None,
    /// `1/sqrt(eigenvalue) <= max(10, min(dimension, cap))` in each factor, as released with KL-Shampoo.
    PerFactor(f64),
    /// A floor for the product over the modes, divided among them so that no choice of scale between factors matters.
    Product(f64),
}

/// When bases are refreshed, relative to a tensor's step counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// All tensors in the same step.
    #[default]
    Aligned,
    /// Each at an offset made from its ordinal, which flattens the time per step.
    Hashed,
}

/// In which basis factors and momentum are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// That of the parameters.
    Original,
    /// The current eigenbasis: the same trajectory in exact arithmetic, fewer products.
    #[default]
    Rotated,
}

/// What a free second moment does when the basis moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// It stays with its column numbers (and is permuted if columns are sorted).
    #[default]
    Keep,
    /// `V <- (H o H)^T V (H o H)` with `H = Q_old^T Q_new`, which keeps it positive and its sum.
    Rotate,
}

/// Which averages are corrected for starting at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bias {
    /// The momentum.
    pub momentum: bool,
    /// The free second moment; its `eps` is then effectively `eps / sqrt(1 - beta2^t)`.
    pub second_moment: bool,
    /// The factors, and the averages of eigenvalues with them: both are then weighted means of what was seen, and the start is
    /// forgotten after a few gradients instead of `1/(1 - beta2)`.
    pub statistics: bool,
}

/// Settings of the Kronecker methods; presets are in [`crate::reference`] and [`crate::recommended`].
///
/// A [`ParamGroup`] may override `lr`, `weight_decay`, `beta1`, `beta2` and `eps`, for matrices and vectors alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KronConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the momentum.
    pub beta1: f64,
    /// Decay of the second moment, and of statistics and eigenvalues unless `statistics_beta` is given.
    pub beta2: f64,
    /// Decay of statistics and eigenvalues.
    pub statistics_beta: Option<f64>,
    /// Added to the denominator.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// What a factor averages.
    pub statistics: Statistics,
    /// What the rotated momentum is divided by.
    pub scale: Scale,
    /// Where eigenvalues come from.
    pub eigenvalues: Eigenvalues,
    /// The step is along `S^(-1/root) M`, 2; with a free second moment it is always 2.
    pub root: f64,
    /// How bases follow.
    pub refresh: Refresh,
    /// Steps between refreshes.
    pub period: u64,
    /// Which steps those are.
    pub phase: Phase,
    /// Step or statistics first.
    pub order: Order,
    /// How factors begin.
    pub start: Start,
    /// What keeps eigenvalues away from zero.
    pub clamp: Clamp,
    /// Damping of the curvature: factors of `E[g g^T] + damping I`.
    pub damping: f64,
    /// At every refresh give all factors the same mean eigenvalue, which changes no direction.
    pub balance: bool,
    /// Which averages are corrected.
    pub bias: Bias,
    /// Sort columns by `diag(Q^T S Q)` at a refresh, with all that is attached to them.
    pub sort: bool,
    /// What a free second moment does at a refresh.
    pub transport: Transport,
    /// In which basis factors and momentum are stored.
    pub storage: Storage,
    /// For three modes, the order of updates of the released KL-Shampoo, in which later modes see new eigenvalues.
    pub released_order3: bool,
    /// Add `n` times the machine epsilon to a factor scaled to largest entry one before its eigenvectors are taken;
    /// otherwise `1e-30` at the first decomposition and nothing later.
    pub shift_eigh: bool,
    /// Scale every direction to root mean square one.
    pub normalize: bool,
    /// Largest root mean square of a direction.
    pub max_update_rms: Option<f64>,
    /// Which tensors get factors, and of which modes.
    pub layout: Layout,
    /// Settings for tensors with fewer than two modes longer than one.
    pub vectors: AdamWConfig,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for KronConfig {
    /// The recommended KL-Shampoo.
    fn default() -> Self {
        KronConfig {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.98,
            statistics_beta: None,
            eps: 1e-8,
            weight_decay: 0.01,
            decay: Decay::Decoupled,
            statistics: Statistics::Kl,
            scale: Scale::Kronecker,
            eigenvalues: Eigenvalues::Ema,
            root: 2.0,
            refresh: Refresh::Qr(1),
            period: 10,
            phase: Phase::Aligned,
            order: Order::StepFirst,
            start: Start::FirstGradient,
            clamp: Clamp::Product(1e-16),
            damping: 0.0,
            balance: true,
            bias: Bias { statistics: true, ..Bias::default() },
            sort: false,
            transport: Transport::Keep,
            storage: Storage::Rotated,
            released_order3: false,
            shift_eigh: true,
            normalize: false,
            max_update_rms: None,
            layout: Layout::default(),
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl KronConfig {
    /// Decay of statistics and eigenvalues.
    pub(crate) fn statistics_decay(&self) -> f64 {
        self.statistics_beta.unwrap_or(self.beta2)
    }

    /// Short name, as in checkpoints.
    pub(crate) fn kind(&self) -> &'static str {
        match (self.statistics, self.scale) {
            (Statistics::Raw, Scale::Free) => "soap",
            (Statistics::Raw, Scale::Kronecker) => "kron",
            (Statistics::Kl, Scale::Kronecker) => "kl-shampoo",
            (Statistics::Kl, Scale::Free) => "kl-soap",
            (Statistics::Sq, Scale::Kronecker) => "sq-shampoo",
            (Statistics::Vn, Scale::Kronecker) => "vn-shampoo",
            (Statistics::F, Scale::Kronecker) => "f-shampoo",
            (_, Scale::Kronecker) => "bregman-shampoo",
            (_, Scale::Free) => "bregman-soap",
        }
    }

    pub(crate) fn for_group(&self, g: &ParamGroup) -> Self {
        KronConfig {
            lr: g.lr_from(self.lr),
            weight_decay: g.weight_decay.unwrap_or(self.weight_decay),
            beta1: g.beta1.unwrap_or(self.beta1),
            beta2: g.beta2.unwrap_or(self.beta2),
            eps: g.eps.unwrap_or(self.eps),
            ..self.clone()
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        let positive = |field, x: f64| check(x.is_finite() && x > 0.0, field, x, "finite and above 0");
        let decay = |field, x: f64| check((0.0..1.0).contains(&x), field, x, "in [0, 1)");
        at_least_0("lr", self.lr)?;
        decay("beta1", self.beta1)?;
        decay("beta2", self.beta2)?;
        decay("statistics_beta", self.statistics_decay())?;
        at_least_0("eps", self.eps)?;
        at_least_0("weight_decay", self.weight_decay)?;
        at_least_0("damping", self.damping)?;
        positive("root", self.root)?;
        check(self.period > 0, "period", self.period as f64, "at least 1")?;
        if let Some(q) = self.statistics.power() {
            check((0.0..=2.0).contains(&q), "statistics", q, "a trace power in [0, 2]")?;
        }
        match self.refresh {
            Refresh::Qr(sweeps) => {
                check((1..=100).contains(&sweeps), "refresh", f64::from(sweeps), "from 1 to 100 sweeps")?;
            }
            Refresh::Adaptive(tolerance) => at_least_0("refresh", tolerance)?,
            Refresh::Eigh => {}
        }
        match self.start {
            Start::Fixed(x) | Start::Identity(x) => positive("start", x)?,
            Start::FirstGradient => {}
        }
        match self.clamp {
            Clamp::PerFactor(x) | Clamp::Product(x) => positive("clamp", x)?,
            Clamp::None => {}
        }
        if let Some(rms) = self.max_update_rms {
            positive("max_update_rms", rms)?;
        }
        self.layout.check()?;
        self.vectors.check()
    }
}

impl<T: Scalar> Settings<T> for KronConfig {
    fn kind(&self) -> &'static str {
        KronConfig::kind(self)
    }

    fn check(&self) -> Result<(), Error> {
        KronConfig::check(self)
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

    fn for_group(&self, group: &ParamGroup) -> Box<dyn Settings<T>> {
        Box::new(KronConfig::for_group(self, group))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    #[allow(private_interfaces)]
    fn rule(&self, dims: &[usize], kinds: &[FactorKind], ordinal: u64) -> Box<dyn Rule<T>> {
        Box::new(Kron::new(self, dims, kinds, ordinal))
    }
}
