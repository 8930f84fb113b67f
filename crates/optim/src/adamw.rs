//! AdamW (arXiv:1412.6980, arXiv:1711.05101): momentum over the root of the second moment, decay decoupled.
//!
//! With `t` counted from one per tensor,
//! `W <- W (1 - lr wd)`, `M <- b1 M + (1 - b1) G`, `V <- b2 V + (1 - b2) G^2`,
//! `W <- W - lr / (1 - b1^t) * M / (sqrt(V) / sqrt(1 - b2^t) + eps)`.
//! One pass per tensor reads `G`, and reads and writes `W`, `M`, `V`: about 12 operations per element, two arrays
//! of state. In `f32` the decay and the step are summed before they meet `W`, so that a small decay is not
//! lost in rounding `1 - lr wd`.

use crate::error::check;
use crate::slots::{Slots, bias_correction};
use crate::{Error, Grads, NonFinite, Optimizer, ParamList, SecondMoment, StepInfo};
use numerics::{Scalar, simd, store::State};

const KIND: &str = "adamw";
const VERSION: u32 = 1;

/// Settings of [`AdamW`]; a [`crate::ParamGroup`] may override all but the policy.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Learning rate, 1e-3.
    pub lr: f64,
    /// Decay of the first moment, 0.9.
    pub beta1: f64,
    /// Decay of the second moment, 0.999.
    pub beta2: f64,
    /// Added to the denominator, 1e-8.
    pub eps: f64,
    /// Weight decay, 0.01.
    pub weight_decay: f64,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, non_finite: NonFinite::Error }
    }
}

impl AdamWConfig {
    /// These settings with what the group overrides.
    pub(crate) fn for_group(&self, g: &crate::ParamGroup) -> Result<Self, Error> {
        let config = AdamWConfig {
            lr: g.lr_from(self.lr),
            beta1: g.beta1.unwrap_or(self.beta1),
            beta2: g.beta2.unwrap_or(self.beta2),
            eps: g.eps.unwrap_or(self.eps),
            weight_decay: g.weight_decay.unwrap_or(self.weight_decay),
            non_finite: self.non_finite,
        };
        config.check().map(|()| config)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        let decay = |field, x: f64| check((0.0..1.0).contains(&x), field, x, "in [0, 1)");
        at_least_0("lr", self.lr)?;
        decay("beta1", self.beta1)?;
        decay("beta2", self.beta2)?;
        at_least_0("eps", self.eps)?;
        at_least_0("weight_decay", self.weight_decay)
    }
}

/// Adam with decoupled weight decay.
///
/// ```
/// use optim::{AdamW, AdamWConfig, Grads, Optimizer, ParamGroup, ParamList};
/// let mut list = ParamList::new();
/// let g = list.add_group(ParamGroup::new("all"));
/// list.push("w", &[2], g)?;
/// let mut adam = AdamW::new(AdamWConfig { lr: 0.1, weight_decay: 0.0, ..AdamWConfig::default() })?;
/// adam.init(&list)?;
/// let mut w = [1.0_f64, 1.0];
/// adam.step(&mut w, Grads::all(&[3.0, -0.2]), 1.0)?;
/// // The first step has the length of the learning rate in every coordinate.
/// assert!((w[0] - 0.9).abs() < 1e-7 && (w[1] - 1.1).abs() < 1e-7);
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW<T> {
    config: AdamWConfig,
    groups: Vec<AdamWConfig>,
    slots: Option<Slots<T, 2>>,
}

impl<T: Scalar> AdamW<T> {
    /// An optimiser that waits for its parameter list.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(config: AdamWConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(AdamW { config, groups: Vec::new(), slots: None })
    }

    /// The settings.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// Steps left out so far because a gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.slots.as_ref().map_or(0, |s| s.skipped)
    }
}

impl<T: Scalar> Optimizer<T> for AdamW<T> {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn init(&mut self, list: &ParamList) -> Result<(), Error> {
        self.groups = list.groups().iter().map(|g| self.config.for_group(g)).collect::<Result<_, _>>()?;
        self.slots = Some(Slots::new(list, ["m", "v"]));
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
        let [m, v] = &mut slots.arrays;
        for (i, p) in slots.list.params().iter().enumerate() {
            if !grads.has(i) {
                info.missing += 1;
                continue;
            }
            slots.count[i] += 1;
            info.updated += 1;
            let coefficients = Coefficients::new(&self.groups[p.group()], lr_multiplier, slots.count[i]);
            let at = p.range();
            update(&mut params[at.clone()], &grads.values()[at.clone()], &mut m[at.clone()], &mut v[at], coefficients);
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

    fn second_moment(&self, param: usize) -> Option<SecondMoment<'_, T>> {
        let slots = self.slots.as_ref()?;
        let p = slots.list.params().get(param)?;
        Some(SecondMoment {
            v: &slots.arrays[1][p.range()],
            beta2: self.groups[p.group()].beta2,
            count: slots.count[param],
        })
    }
}

/// What the kernel needs of the settings, for one tensor and one step.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<T> {
    b1: T,
    c1: T,
    b2: T,
    c2: T,
    decay: T,
    step: T,
    root: T,
    eps: T,
}

impl<T: Scalar> Coefficients<T> {
    pub(crate) fn new(s: &AdamWConfig, lr_multiplier: f64, t: u64) -> Self {
        let lr = s.lr * lr_multiplier;
        Coefficients {
            b1: T::from_f64(s.beta1),
            c1: T::from_f64(1.0 - s.beta1),
            b2: T::from_f64(s.beta2),
            c2: T::from_f64(1.0 - s.beta2),
            decay: T::from_f64(lr * s.weight_decay),
            step: T::from_f64(lr / bias_correction(s.beta1, t)),
            root: T::from_f64(1.0 / bias_correction(s.beta2, t).sqrt()),
            eps: T::from_f64(s.eps),
        }
    }
}

/// The single pass; slices are zipped so that nothing is checked per element and the loop becomes vector code.
pub(crate) fn update<T: Scalar>(w: &mut [T], g: &[T], m: &mut [T], v: &mut [T], c: Coefficients<T>) {
    let moments = m.iter_mut().zip(v.iter_mut());
    simd::wide(|| {
        for ((w, &g), (m, v)) in w.iter_mut().zip(g).zip(moments) {
            let m1 = c.b1 * *m + c.c1 * g;
            let v1 = c.b2 * *v + c.c2 * (g * g);
            let denominator = v1.sqrt() * c.root + c.eps;
            // Without eps, a coordinate whose gradients were all zero, or too small to be squared, does not move.
            let direction = if denominator == T::ZERO { T::ZERO } else { m1 / denominator };
            *w = *w - (c.decay * *w + c.step * direction);
            (*m, *v) = (m1, v1);
        }
    });
}
