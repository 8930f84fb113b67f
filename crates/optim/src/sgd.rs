//! Stochastic gradient descent with momentum, Nesterov's or the plain one.
//!
//! `M <- mu M + (1 - damping) G`, where a tensor's first gradient enters undamped; the direction is `M`, or
//! `G + mu M` after Nesterov; `W <- W (1 - lr wd) - lr * direction`, or another convention of [`Decay`]. One pass and one array of state per tensor.

use crate::error::check;
use crate::slots::Slots;
use crate::{Decay, Error, Grads, NonFinite, Optimizer, ParamList, StepInfo};
use numerics::{Scalar, store::State};

const KIND: &str = "sgd";
const VERSION: u32 = 1;

/// Settings of [`Sgd`]; a [`crate::ParamGroup`] may override `lr`, `momentum` (as its `beta1`) and `weight_decay`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate, 1e-2.
    pub lr: f64,
    /// Momentum, 0.9; 0 is plain gradient descent.
    pub momentum: f64,
    /// Share of each gradient after the first that is kept out of the momentum, 0.
    pub damping: f64,
    /// Look ahead along the momentum, off. Needs momentum above 0 and damping 0.
    pub nesterov: bool,
    /// Weight decay, 0.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig {
            lr: 1e-2,
            momentum: 0.9,
            damping: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
            non_finite: NonFinite::Error,
        }
    }
}

impl SgdConfig {
    fn check(&self) -> Result<(), Error> {
        check(self.lr.is_finite() && self.lr >= 0.0, "lr", self.lr, "finite and at least 0")?;
        check((0.0..1.0).contains(&self.momentum), "momentum", self.momentum, "in [0, 1)")?;
        check((0.0..=1.0).contains(&self.damping), "damping", self.damping, "in [0, 1]")?;
        let decay = self.weight_decay;
        check(decay.is_finite() && decay >= 0.0, "weight_decay", decay, "finite and at least 0")?;
        if self.nesterov {
            check(self.momentum > 0.0, "momentum", self.momentum, "above 0, as Nesterov's step needs")?;
            check(self.damping == 0.0, "damping", self.damping, "0, as Nesterov's step needs")?;
        }
        Ok(())
    }
}

/// Gradient descent with momentum.
///
/// ```
/// use optim::{Grads, Optimizer, ParamGroup, ParamList, Sgd, SgdConfig};
/// let mut list = ParamList::new();
/// let g = list.add_group(ParamGroup::new("all"));
/// list.push("w", &[1], g)?;
/// let mut sgd = Sgd::new(SgdConfig { lr: 0.5, momentum: 0.5, ..SgdConfig::default() })?;
/// sgd.init(&list)?;
/// let mut w = [1.0_f64];
/// sgd.step(&mut w, Grads::all(&[1.0]), 1.0)?;
/// sgd.step(&mut w, Grads::all(&[1.0]), 1.0)?;
/// assert_eq!(w, [-0.25]);
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<T> {
    config: SgdConfig,
    groups: Vec<SgdConfig>,
    slots: Option<Slots<T, 1>>,
}

impl<T: Scalar> Sgd<T> {
    /// An optimiser that waits for its parameter list.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(config: SgdConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Sgd { config, groups: Vec::new(), slots: None })
    }

    /// The settings.
    pub fn config(&self) -> &SgdConfig {
        &self.config
    }

    /// Steps left out so far because a gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.slots.as_ref().map_or(0, |s| s.skipped)
    }
}

impl<T: Scalar> Optimizer<T> for Sgd<T> {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn init(&mut self, list: &ParamList) -> Result<(), Error> {
        let resolve = |g: &crate::ParamGroup| {
            let config = SgdConfig {
                lr: g.lr_from(self.config.lr),
                momentum: g.beta1.unwrap_or(self.config.momentum),
                weight_decay: g.weight_decay.unwrap_or(self.config.weight_decay),
                ..self.config
            };
            config.check().map(|()| config)
        };
        self.groups = list.groups().iter().map(resolve).collect::<Result<_, _>>()?;
        self.slots = Some(Slots::new(list, ["momentum"]));
        Ok(())
    }

    fn step(&mut self, params: &mut [T], grads: Grads<'_, T>, lr_multiplier: f64) -> Result<StepInfo, Error> {
        let slots = self.slots.as_mut().ok_or(Error::NotInitialised { kind: KIND })?;
        let skipped = slots.admit(params, &grads, lr_multiplier, self.config.non_finite)?;
        if skipped.is_some() {
            slots.skipped += 1;
            return Ok(StepInfo { step: slots.steps, skipped, ..StepInfo::default() });
        }
        slots.steps += 1;
        let mut info = StepInfo { step: slots.steps, ..StepInfo::default() };
        let [momentum] = &mut slots.arrays;
        for (i, p) in slots.list.params().iter().enumerate() {
            if !grads.has(i) {
                info.missing += 1;
                continue;
            }
            slots.count[i] += 1;
            info.updated += 1;
            let c = Coefficients::new(&self.groups[p.group()], lr_multiplier, slots.count[i] == 1);
            let at = p.range();
            update(&mut params[at.clone()], &grads.values()[at.clone()], &mut momentum[at], c);
        }
        Ok(info)
    }

    fn state(&self) -> Result<State, Error> {
        let slots = self.slots.as_ref().ok_or(Error::NotInitialised { kind: KIND })?;
        slots.save(KIND, VERSION, serde_json::json!(self.config))
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let slots = self.slots.as_mut().ok_or(Error::NotInitialised { kind: KIND })?;
        slots.restore(state, KIND, VERSION)
    }
}

/// The direction is `ahead * M + here * G`; the other names are those of the module's formulas.
#[derive(Clone, Copy)]
struct Coefficients<T> {
    lr: T,
    mu: T,
    share: T,
    ahead: T,
    here: T,
    l2: T,
    decay: T,
    after: T,
}

impl<T: Scalar> Coefficients<T> {
    fn new(s: &SgdConfig, lr_multiplier: f64, first: bool) -> Self {
        let lr = s.lr * lr_multiplier;
        let (ahead, here) = if s.nesterov { (s.momentum, 1.0) } else { (1.0, 0.0) };
        let shrink = s.decay.shrink(s.lr, lr_multiplier, s.weight_decay);
        let f = T::from_f64;
        Coefficients {
            lr: f(lr),
            mu: f(s.momentum),
            share: f(if first { 1.0 } else { 1.0 - s.damping }),
            ahead: f(ahead),
            here: f(here),
            l2: f(shrink.l2),
            decay: f(shrink.before),
            after: f(shrink.after),
        }
    }
}

fn update<T: Scalar>(w: &mut [T], g: &[T], m: &mut [T], c: Coefficients<T>) {
    for ((w, &g), m) in w.iter_mut().zip(g).zip(m.iter_mut()) {
        let g = g + c.l2 * *w;
        let m1 = c.mu * *m + c.share * g;
        let direction = c.ahead * m1 + c.here * g;
        let moved = *w - (c.decay * *w + c.lr * direction);
        *w = moved - c.after * moved;
        *m = m1;
    }
}
