use crate::common::{bits, single, wave};
use optim::{Decay, Error, Grads, NonFinite, Optimizer, Sgd, SgdConfig};

fn sgd(config: SgdConfig, n: usize) -> Sgd<f64> {
    let mut sgd = Sgd::new(config).unwrap();
    sgd.init(&single(&[n])).unwrap();
    sgd
}

/// The textbook recursion, one coordinate at a time.
fn by_hand(c: SgdConfig, w: f64, gradients: &[f64]) -> f64 {
    let (mut w, mut m) = (w, None::<f64>);
    for &g in gradients {
        let g = if c.decay == Decay::L2 { g + c.weight_decay * w } else { g };
        let now = m.map_or(g, |m| c.momentum * m + (1.0 - c.damping) * g);
        let d = if c.nesterov { g + c.momentum * now } else { now };
        if c.decay == Decay::Decoupled {
            w *= 1.0 - c.lr * c.weight_decay;
        }
        w -= c.lr * d;
        m = Some(now);
    }
    w
}

#[test]
fn every_variant_follows_the_recursion() {
    for decay in [Decay::Decoupled, Decay::L2] {
        for (momentum, damping, nesterov) in [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.3, false), (0.9, 0.0, true)]
        {
            let config =
                SgdConfig { lr: 0.05, momentum, damping, nesterov, weight_decay: 0.1, decay, ..SgdConfig::default() };
            let mut sgd = sgd(config, 7);
            let mut w: Vec<f64> = wave(7, 8);
            let start = w.clone();
            let gradients: Vec<Vec<f64>> = (0..6).map(|t| wave(7, t)).collect();
            for g in &gradients {
                sgd.step(&mut w, Grads::all(g), 1.0).unwrap();
            }
            for i in 0..7 {
                let column: Vec<f64> = gradients.iter().map(|g| g[i]).collect();
                assert!((w[i] - by_hand(config, start[i], &column)).abs() < 1e-14, "{config:?}");
            }
        }
    }
}

#[test]
fn quadratic() {
    for nesterov in [false, true] {
        let mut sgd = sgd(SgdConfig { lr: 0.1, nesterov, ..SgdConfig::default() }, 9);
        let target: Vec<f64> = wave(9, 5);
        let mut w = vec![0.0; 9];
        for _ in 0..1000 {
            let g: Vec<f64> = (0..9).map(|i| (1.0 + i as f64) * (w[i] - target[i])).collect();
            sgd.step(&mut w, Grads::all(&g), 1.0).unwrap();
        }
        assert!(w.iter().zip(&target).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}

#[test]
fn missing_and_bad_gradients() {
    let mut sgd = sgd(SgdConfig { non_finite: NonFinite::Skip, weight_decay: 0.1, ..SgdConfig::default() }, 3);
    let mut w: Vec<f64> = wave(3, 1);
    let start = bits(&w);
    let info = sgd.step(&mut w, Grads::masked(&[f64::NAN; 3], &[false]), 1.0).unwrap();
    assert_eq!((info.step, info.updated, info.missing, info.skipped), (1, 0, 1, None));
    let info = sgd.step(&mut w, Grads::all(&[0.0, f64::INFINITY, 0.0]), 1.0).unwrap();
    assert_eq!((info.step, info.skipped, sgd.skipped()), (1, Some(0), 1));
    assert_eq!(bits(&w), start);
    assert!(sgd.second_moment(0).is_none());
}

#[test]
fn wrong_settings() {
    let base = SgdConfig::default();
    for config in [
        SgdConfig { lr: f64::INFINITY, ..base },
        SgdConfig { momentum: 1.0, ..base },
        SgdConfig { damping: 1.1, ..base },
        SgdConfig { weight_decay: -1.0, ..base },
        SgdConfig { nesterov: true, momentum: 0.0, ..base },
        SgdConfig { nesterov: true, damping: 0.1, ..base },
    ] {
        assert!(matches!(Sgd::<f64>::new(config), Err(Error::Setting { .. })), "{config:?}");
    }
}
