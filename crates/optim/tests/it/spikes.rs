//! One gradient a thousand times too large in i.i.d. noise: how each method takes it, and how long it takes to recover.
//!
//! KL-Shampoo preconditions with what it knew before and lets the spike through; then its statistics are too large and its steps
//! too small until they have forgotten, `ln(1000 ..) / (1 - beta2)` steps. Methods with a free second moment see the spike in
//! it at once; their basis follows at the next refresh, and then they jump.
use crate::common::single;
use numerics::Scalar;
use numerics::rng::{Role, Stream};
use optim::{Grads, KronConfig, Optimizer, Preconditioned, reference};

const ROWS: usize = 64;
const COLS: usize = 32;
const BETA2: f64 = 0.95;
const PERIOD: u64 = 10;
/// No refresh falls on it: the counter is one less than the number of gradients.
const AT: usize = 204;
const STEPS: usize = 560;

/// Root mean squares of the updates.
fn updates<T: Scalar>(config: KronConfig, seed: u64, steps: usize) -> Vec<f64> {
    let config = KronConfig { lr: 1.0, beta1: 0.9, beta2: BETA2, weight_decay: 0.0, period: PERIOD, ..config };
    let mut method = Preconditioned::<T>::new(config).unwrap();
    method.init(&single(&[ROWS, COLS])).unwrap();
    let mut w = vec![T::ZERO; ROWS * COLS];
    let mut g = vec![T::ZERO; ROWS * COLS];
    let step = |t: usize| {
        let mut stream = Stream::new(seed, Role::TestProbe, t as u64, 0);
        let size = if t == AT { 1e3 } else { 1.0 };
        g.iter_mut().for_each(|g| *g = T::from_f64(size * stream.normal()));
        // Differences of weights would lose digits in single precision.
        w.fill(T::ZERO);
        method.step(&mut w, Grads::all(&g), 1.0).unwrap();
        (w.iter().map(|w| w.to_f64().powi(2)).sum::<f64>() / (ROWS * COLS) as f64).sqrt()
    };
    (0..steps).map(step).collect()
}

/// Median before the spike.
fn baseline(rms: &[f64]) -> f64 {
    let mut x = rms[AT / 2..AT].to_vec();
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

/// Where the update is least after the spike, and the first step from there on that is within 1.5 of the baseline. Looking from the
/// minimum on leaves out the steps on the way down that pass the baseline.
fn recovery(rms: &[f64]) -> (usize, usize) {
    let least = (AT + 1..rms.len()).min_by(|&a, &b| rms[a].total_cmp(&rms[b])).unwrap();
    let base = baseline(rms);
    let back = least + rms[least..].iter().position(|&r| r > base / 1.5).unwrap();
    (least, back)
}

fn within(found: f64, expected: f64, share: f64) -> bool {
    (found / expected - 1.0).abs() <= share
}

/// `10.5 / (1 - beta2)` or `9.3 / (1 - beta2)` steps from the spike, within five per cent.
fn recovers(rms: &[f64], constant: f64) -> bool {
    within((recovery(rms).1 - AT) as f64, constant / (1.0 - BETA2), 0.05)
}

#[test]
fn kl_shampoo_lets_a_spike_through_and_then_waits() {
    for seed in 0..4 {
        let rms = updates::<f64>(reference::kl_shampoo(), seed, STEPS);
        assert!(within(baseline(&rms), 0.23, 0.02), "{seed}: {}", baseline(&rms));
        assert!((96.0..103.0).contains(&rms[AT]), "{seed}: {}", rms[AT]);
        assert!(within(rms[AT + 1], 1.8e-3, 0.05), "{seed}: {}", rms[AT + 1]);
        let (least, back) = recovery(&rms);
        assert!((1.15e-4..1.45e-4).contains(&rms[least]), "{seed}: {}", rms[least]);
        assert!(recovers(&rms, 10.5), "{seed}: {}", back - AT);
    }
}

#[test]
fn the_cap_on_updates_removes_the_spike_and_nothing_before_it() {
    let plain = updates::<f64>(reference::kl_shampoo(), 0, AT + 1);
    let capped = updates::<f64>(KronConfig { max_update_rms: Some(1.0), ..reference::kl_shampoo() }, 0, AT + 1);
    assert!((capped[AT] - 1.0).abs() < 1e-12 && plain[AT] > 90.0);
    assert_eq!(capped[..AT], plain[..AT]);
}

/// The largest update of the next `period + 1` steps has a refresh among them.
fn absorbs_and_jumps(config: &KronConfig, seed: u64) {
    let kind = format!("{:?} {seed}", config.statistics);
    let rms = updates::<f64>(config.clone(), seed, STEPS);
    assert!(within(rms[AT], 0.446, 0.02), "{kind}: {}", rms[AT]);
    assert!(within(rms[AT + 1], 0.412, 0.05), "{kind}: {}", rms[AT + 1]);
    let most = rms[AT + 1..=AT + 1 + PERIOD as usize].iter().copied().fold(0.0, f64::max);
    assert!((1.5..12.0).contains(&most), "{kind}: {most}");
    assert!(recovers(&rms, 9.3), "{kind}: {}", recovery(&rms).1 - AT);
}

#[test]
fn soap_absorbs_a_spike_and_jumps_when_its_basis_follows() {
    for seed in 0..4 {
        absorbs_and_jumps(&reference::soap(), seed);
    }
}

#[test]
fn kl_soap_does_as_soap() {
    for seed in 0..4 {
        absorbs_and_jumps(&reference::kl_soap(), seed);
    }
}

/// The same in single precision, where the spike's square is still seven digits from the noise's.
#[test]
fn single_precision_recovers_too() {
    let rms = updates::<f32>(reference::kl_shampoo(), 1, STEPS);
    assert!((96.0..103.0).contains(&rms[AT]) && recovers(&rms, 10.5), "{}", rms[AT]);
    for config in [reference::soap(), reference::kl_soap()] {
        let rms = updates::<f32>(config, 1, STEPS);
        assert!(within(rms[AT], 0.446, 0.02) && recovers(&rms, 9.3), "{}", rms[AT]);
    }
}
