//! Traces of an independent program: `tests/golden/make_golden.py`.
use crate::common::single;
use numerics::Scalar;
use numerics::store::File;
use optim::{
    Grads, KronConfig, MuonConfig, Optimizer, Preconditioned, PsgdConfig, RootEngine, Settings, ShampooConfig,
    SirfConfig, SpectralConfig, Statistics, Storage, reference,
};
use std::path::Path;

struct Trace {
    shape: Vec<usize>,
    gradients: Vec<f64>,
    weights: Vec<f64>,
}

fn trace(name: &str) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/traces.safetensors");
    let file = File::read(path).unwrap();
    let gradients = file.get(&format!("{name}.gradients")).unwrap();
    let weights = file.get(&format!("{name}.weights")).unwrap();
    Trace {
        shape: gradients.shape[1..].to_vec(),
        gradients: gradients.data.to_vec().unwrap(),
        weights: weights.data.to_vec().unwrap(),
    }
}

/// Largest difference of a parameter over all steps.
fn distance<T: Scalar>(name: &str, config: impl Settings<T> + 'static, batch: f64) -> f64 {
    let trace = trace(name);
    let n: usize = trace.shape.iter().product();
    let mut method = Preconditioned::<T>::new(config).unwrap();
    method.set_batch(batch).unwrap();
    method.init(&single(&trace.shape)).unwrap();
    let mut w = vec![T::ONE; n];
    let mut worst = 0.0_f64;
    for (g, expected) in trace.gradients.chunks_exact(n).zip(trace.weights.chunks_exact(n)) {
        let g: Vec<T> = g.iter().map(|&g| T::from_f64(g)).collect();
        method.step(&mut w, Grads::all(&g), 1.0).unwrap();
        worst = w.iter().zip(expected).map(|(w, e)| (w.to_f64() - e).abs()).fold(worst, f64::max);
    }
    worst
}

/// Double precision to 1e-10; single precision to what 13 steps of feedback between inverse factors leave of `f32`.
#[track_caller]
fn holds(name: &str, config: impl Settings<f64> + Settings<f32> + Clone + 'static, batch: f64) {
    let double = distance::<f64>(name, config.clone(), batch);
    assert!(double < 1e-10, "{name}: {double:e}");
    let single = distance::<f32>(name, config, batch);
    assert!(single < 2e-4, "{name}: {single:e} in single precision");
}

fn kron(base: KronConfig) -> KronConfig {
    KronConfig { lr: 0.05, period: 3, ..base }
}

#[test]
fn kl_shampoo_and_kl_soap() {
    for (name, config) in [
        ("kl-shampoo-5x4", reference::kl_shampoo()),
        ("kl-soap-5x4", reference::kl_soap()),
        ("kl-shampoo-3x4x5", reference::kl_shampoo()),
        ("kl-soap-3x4x5", reference::kl_soap()),
        ("kl-shampoo-3x4x5-simultaneous", KronConfig { released_order3: false, ..reference::kl_shampoo() }),
        ("kl-shampoo-2x3x2x3", reference::kl_shampoo()),
    ] {
        let rotated = KronConfig { storage: Storage::Rotated, ..config.clone() };
        holds(name, kron(config), 1.0);
        holds(name, kron(rotated), 1.0);
    }
}

#[test]
fn trace_power_family() {
    for (name, statistics) in
        [("sq-shampoo-5x4", Statistics::Sq), ("vn-shampoo-5x4", Statistics::Vn), ("f-shampoo-5x4", Statistics::F)]
    {
        let config = kron(reference::bregman(statistics));
        let rotated = KronConfig { storage: Storage::Rotated, ..config.clone() };
        holds(name, config, 1.0);
        holds(name, rotated, 1.0);
    }
}

#[test]
fn soap() {
    for name in ["soap-5x4", "soap-3x4x5"] {
        let config = kron(reference::soap());
        let rotated = KronConfig { storage: Storage::Rotated, ..config.clone() };
        holds(name, config, 1.0);
        holds(name, rotated, 1.0);
    }
}

#[test]
fn shampoo() {
    let base = ShampooConfig { eps: 1e-6, ..reference::meta_shampoo() };
    let traced = ShampooConfig { beta2: 0.9, exponent: Some(0.5), trace_scaling: true, ..base.clone() };
    let root = RootEngine::PseudoInverse { rtol: None, atol: 0.0 };
    let pseudo = ShampooConfig { beta2: 0.9, exponent: Some(1.0 / 3.0), eps: 0.0, root, ..base.clone() };
    holds("shampoo-3x4x5-sum", base, 1.0);
    // The condition of a first average is beyond single precision.
    assert!(distance::<f64>("shampoo-5x4-trace-scaling", traced, 1.0) < 1e-10);
    assert!(distance::<f64>("shampoo-3x5-pseudo-inverse", pseudo, 1.0) < 1e-9);
}

#[test]
fn sirf_shampoo() {
    let config = SirfConfig { lr: 0.01, curvature_lr: 0.05, ..SirfConfig::default() };
    holds("sirf-4x5", config.clone(), 16.0);
    holds("sirf-2x3x4", config, 1.0);
}

#[test]
fn muon() {
    holds("muon-6x4", MuonConfig::default(), 1.0);
}

/// The gradient's noise of 1e-9, which the transcription leaves out, is all the difference that there may be.
#[test]
fn psgd() {
    let base = PsgdConfig { lr: 0.01, balance_probability: 0.0, ..PsgdConfig::default() };
    let balanced = PsgdConfig { balance_probability: 1.0, ..base.clone() };
    let clipped = PsgdConfig { max_update_rms: 0.3, max_entry: 0.6, ..base.clone() };
    for (name, config) in [
        ("psgd-5x5", base.clone()),
        ("psgd-3x4x5-balanced", balanced),
        ("psgd-2x6-diagonal-mode", base),
        ("psgd-5x5-clipped", clipped),
    ] {
        let double = distance::<f64>(name, config.clone(), 1.0);
        assert!(double < 1e-9, "{name}: {double:e}");
        let single = distance::<f32>(name, config, 1.0);
        assert!(single < 1e-5, "{name}: {single:e} in single precision");
    }
}

#[test]
fn spectral() {
    let config = SpectralConfig { lr: 0.05, curvature_lr: 0.1, ..SpectralConfig::default() };
    holds("spectral-4x5", config.clone(), 1.0);
    holds("spectral-2x3x4-root-4", SpectralConfig { root: 4.0, ..config }, 1.0);
}
