//! Which methods train the small language model, with which settings, and how a setting is chosen.

use crate::jobs::{Failure, Job, Values};
use crate::markov::{Data, train};
use optim::{
    AdamWConfig, Bias, Clamp, Eigenvalues, Graft, KronConfig, Method, MuonConfig, Order, PsgdConfig, Refresh,
    SgdConfig, ShampooConfig, SirfConfig, SpectralConfig, Start, Statistics, recommended, reference,
};
use std::sync::Arc;

/// AdamW for vectors.
fn vectors() -> AdamWConfig {
    AdamWConfig { beta2: 0.98, ..AdamWConfig::default() }
}

/// With the decays of the protocol.
fn protocol(c: KronConfig) -> Method {
    with_vectors(KronConfig { beta1: 0.9, beta2: 0.98, ..c })
}

fn with_vectors(c: KronConfig) -> Method {
    Method::Kron(KronConfig { vectors: vectors(), ..c })
}

/// The reference presets with the settings of the protocol.
fn methods() -> Vec<(&'static str, Method)> {
    let (kron, vectors) = (protocol, vectors());
    let kl = reference::kl_shampoo;
    let family = |statistics| kron(KronConfig { statistics, ..kl() });
    vec![
        ("AdamW, second decay 0.999", Method::AdamW(AdamWConfig::default())),
        ("KL-Shampoo, start from the first gradient", kron(KronConfig { start: Start::FirstGradient, ..kl() })),
        ("SOAP", kron(reference::soap())),
        ("KL-Shampoo, published start", kron(kl())),
        ("KL-SOAP", kron(reference::kl_soap())),
        ("KL-Shampoo, recommended", kron(recommended::kl_shampoo())),
        ("AdamW", Method::AdamW(AdamWConfig { beta2: 0.98, ..AdamWConfig::default() })),
        ("Muon", Method::Muon(MuonConfig { vectors, ..MuonConfig::default() })),
        (
            "KL-Shampoo, eigenvalues read off",
            kron(KronConfig { eigenvalues: Eigenvalues::Instantaneous, start: Start::FirstGradient, ..kl() }),
        ),
        ("spectral", Method::Spectral(SpectralConfig { vectors, ..SpectralConfig::default() })),
        ("SOAP, recommended", kron(recommended::soap())),
        ("KL-SOAP, recommended", kron(recommended::kl_soap())),
        ("VN-Shampoo, published start", family(Statistics::Vn)),
        ("SQ-Shampoo, published start", family(Statistics::Sq)),
        ("F-Shampoo, published start", family(Statistics::F)),
        (
            "KL-Shampoo, start from the first gradient, period 1",
            kron(KronConfig { start: Start::FirstGradient, period: 1, ..kl() }),
        ),
        ("gradient descent with momentum", Method::Sgd(SgdConfig::default())),
        (
            "Shampoo, Adam graft",
            Method::Shampoo(ShampooConfig {
                beta2: 0.98,
                eps: 1e-8,
                period: 10,
                graft: Graft::Adam { beta2: 0.98, eps: 1e-8 },
                vectors,
                ..ShampooConfig::default()
            }),
        ),
        ("SIRF-Shampoo", Method::Sirf(SirfConfig { vectors, ..SirfConfig::default() })),
        (
            "SIRF-Shampoo, factors' step 0.1",
            Method::Sirf(SirfConfig { curvature_lr: 0.1, vectors, ..SirfConfig::default() }),
        ),
        ("PSGD-Kron", Method::Psgd(PsgdConfig { vectors, ..PsgdConfig::default() })),
    ]
}

/// Methods whose loss is looked at over other draws of the source, each draw with a start of its own, and how many draws.
pub(crate) const OVER_SOURCES: [&str; 6] =
    ["AdamW", "Muon", "KL-Shampoo, published start", "KL-Shampoo, start from the first gradient", "KL-SOAP", "SOAP"];
const SOURCES: u64 = 10;

fn with_lr(method: &Method, lr: f64) -> Method {
    let mut method = method.clone();
    match &mut method {
        Method::AdamW(c) => c.lr = lr,
        Method::Muon(c) => c.lr = lr,
        Method::Kron(c) => c.lr = lr,
        Method::Spectral(c) => c.lr = lr,
        Method::Psgd(c) => c.lr = lr,
        Method::Sgd(c) => c.lr = lr,
        Method::Shampoo(c) => c.lr = lr,
        Method::Sirf(c) => c.lr = lr,
        _ => {}
    }
    method
}

/// The recommended KL-Shampoo with one thing changed at a time, and what it is compared with.
fn ablations() -> Vec<(&'static str, KronConfig)> {
    let kl = recommended::kl_shampoo;
    let plain = || KronConfig { bias: Bias::default(), ..kl() };
    let read_off = || KronConfig { eigenvalues: Eigenvalues::Instantaneous, ..kl() };
    vec![
        ("recommended", kl()),
        ("averages not corrected for their start", plain()),
        ("published start", KronConfig { start: Start::Fixed(0.1), ..kl() }),
        ("published start, averages not corrected", KronConfig { start: Start::Fixed(0.1), ..plain() }),
        ("eigenvalues read off", read_off()),
        ("eigenvalues read off, averages not corrected", KronConfig { bias: Bias::default(), ..read_off() }),
        ("period 1", KronConfig { period: 1, ..kl() }),
        ("period 1, averages not corrected", KronConfig { period: 1, ..plain() }),
        ("period 1, eigenvalues read off", KronConfig { period: 1, ..read_off() }),
        ("period 2", KronConfig { period: 2, ..kl() }),
        ("period 5", KronConfig { period: 5, ..kl() }),
        ("second decay 0.95", KronConfig { beta2: 0.95, ..kl() }),
        ("second decay 0.99", KronConfig { beta2: 0.99, ..kl() }),
        ("two sweeps a refresh", KronConfig { refresh: Refresh::Qr(2), ..kl() }),
        ("factors not balanced", KronConfig { balance: false, ..kl() }),
        ("no floor", KronConfig { clamp: Clamp::None, ..kl() }),
        ("update RMS at most 1", KronConfig { max_update_rms: Some(1.0), ..kl() }),
        ("statistics first", KronConfig { order: Order::StatisticsFirst, ..kl() }),
        ("free second moment (KL-SOAP)", recommended::kl_soap()),
        ("SOAP, recommended", KronConfig { beta1: 0.9, beta2: 0.98, ..recommended::soap() }),
    ]
}

/// The best of the rates at seed 0, then that rate at the other seeds: what chose it is no part of what is reported.
fn chosen(data: &Data, method: &Method, rates: &[f64], seeds: u64, steps: u64) -> Result<Values, Failure> {
    let mut best: Option<(f64, f64)> = None;
    let mut diverged = 0;
    for &rate in rates {
        match train(data, &with_lr(method, rate), 0, steps)?.0 {
            Some(excess) if best.is_none_or(|b| excess < b.0) => best = Some((excess, rate)),
            Some(_) => {}
            None => diverged += 1,
        }
    }
    let mut values = vec![("diverged".to_owned(), Some(f64::from(diverged)))];
    let Some((excess, rate)) = best else { return Ok(values) };
    values.push(("rate".into(), Some(rate)));
    values.push(("seed 0".into(), Some(excess)));
    for seed in 1..=seeds {
        let (excess, ms) = train(data, &with_lr(method, rate), seed, steps)?;
        values.push((format!("seed {seed}"), excess));
        values.push((format!("ms per step, seed {seed}"), Some(ms)));
    }
    Ok(values)
}

pub(crate) fn jobs(fast: bool) -> Result<Vec<Job>, Failure> {
    let (train_size, test_size) = if fast { (40_000, 6_000) } else { (400_000, 60_000) };
    let data = Arc::new(Data::new(train_size, test_size, 0)?);
    let (seeds, steps) = if fast { (1, 100) } else { (5, 1500) };
    let mut jobs = Vec::new();
    let mut grid = |table: &'static str, name: &'static str, method: Method, rates: &'static [f64]| {
        let data = data.clone();
        let work = move || chosen(&data, &method, rates, seeds, steps);
        jobs.push(Job::new(table, name, 0, work));
    };
    for (name, method) in methods() {
        let rates: &[f64] = match (fast, name) {
            (true, _) => &[1e-2],
            (_, "gradient descent with momentum") => &[3e-2, 1e-1, 3e-1, 1.0],
            (_, "SIRF-Shampoo" | "SIRF-Shampoo, factors' step 0.1") => &[3e-4, 1e-3, 3e-3, 1e-2],
            (_, "Muon") => &[5e-3, 1e-2, 2e-2, 5e-2],
            _ => &[1e-3, 3e-3, 1e-2, 3e-2],
        };
        grid("markov", name, method, rates);
    }
    for (name, config) in ablations().into_iter().take(if fast { 2 } else { usize::MAX }) {
        let rates: &[f64] = if fast { &[1e-2] } else { &[7e-3, 1e-2, 1.4e-2] };
        grid("markov-ablation", name, with_vectors(config), rates);
    }
    for (name, method) in methods().into_iter().filter(|m| OVER_SOURCES.contains(&m.0)) {
        for draw in 0..if fast { 1 } else { SOURCES } {
            let method = with_lr(&method, if name == "Muon" { 2e-2 } else { 1e-2 });
            let work = move || {
                let data = Data::new(train_size, test_size, draw)?;
                let excess = train(&data, &method, draw, steps)?.0;
                Ok(vec![("entropy of the source".to_owned(), Some(data.entropy)), ("nats above it".to_owned(), excess)])
            };
            jobs.push(Job::new("markov-sources", name, draw, work));
        }
    }
    Ok(jobs)
}
