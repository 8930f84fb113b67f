use crate::common::{bits, golden, mixed, single, wave};
use optim::{AdamW, AdamWConfig, Error, Grads, NonFinite, Optimizer, Schedule};

fn adam(config: AdamWConfig, list: &optim::ParamList) -> AdamW<f64> {
    let mut adam = AdamW::new(config).unwrap();
    adam.init(list).unwrap();
    adam
}

#[test]
fn golden_gradient() {
    let expected = [
        1.341470984807897,
        1.24570521217672,
        1.491664810452469,
        0.367918068772656,
        1.175463180551151,
        -0.824086699536166,
    ];
    for (a, b) in golden(0).iter().zip(expected) {
        assert!((a - b).abs() < 1e-14);
    }
}

#[test]
fn golden_trace() {
    let mut adam = adam(AdamWConfig { lr: 0.1, ..AdamWConfig::default() }, &single(&[3, 2]));
    let mut w = vec![1.0; 6];
    for t in 0..5 {
        let info = adam.step(&mut w, Grads::all(&golden(t)), 1.0).unwrap();
        assert_eq!((info.step, info.updated, info.missing, info.skipped), (t as u64 + 1, 1, 0, None));
    }
    let expected = [0.608547249677, 0.778430373611, 0.679813644312, 0.993100127169, 0.727391310963, 1.398601928269];
    for (a, b) in w.iter().zip(expected) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn second_moment_is_the_plain_average_bit_for_bit() {
    let beta2 = 0.98;
    let mut adam = adam(AdamWConfig { beta2, ..AdamWConfig::default() }, &single(&[3, 2]));
    let (mut w, mut v) = (vec![1.0; 6], [0.0; 6]);
    for t in 0..20 {
        let g = golden(t);
        adam.step(&mut w, Grads::all(&g), 1.0).unwrap();
        for (v, g) in v.iter_mut().zip(&g) {
            *v = beta2 * *v + (1.0 - beta2) * (g * g);
        }
    }
    let moment = adam.second_moment(0).unwrap();
    assert_eq!(bits(moment.v), bits(&v));
    assert_eq!((moment.beta2, moment.count), (beta2, 20));
    assert!(adam.second_moment(1).is_none());
}

#[test]
fn decay_comes_before_the_step_and_scales_with_the_multiplier() {
    let config = AdamWConfig { lr: 0.1, weight_decay: 0.5, ..AdamWConfig::default() };
    let mut adam = adam(config, &single(&[1]));
    let mut w = [2.0];
    adam.step(&mut w, Grads::all(&[0.0]), 0.5).unwrap();
    assert!((w[0] - 2.0 * (1.0 - 0.025)).abs() < 1e-15);
    let before = w;
    adam.step(&mut w, Grads::all(&[7.0]), 0.0).unwrap();
    assert_eq!(w, before);
}

#[test]
fn missing_gradients_touch_nothing() {
    let list = mixed();
    let (n, config) = (list.len(), AdamWConfig { lr: 0.1, weight_decay: 0.2, ..AdamWConfig::default() });
    let mut adam = adam(config, &list);
    let mut w: Vec<f64> = wave(n, 9);
    let start = w.clone();
    // What stands for a missing gradient may be anything.
    let mut g: Vec<f64> = wave(n, 0);
    g[..6].fill(f64::NAN);
    for _ in 0..3 {
        let info = adam.step(&mut w, Grads::masked(&g, &[false, true, true, true]), 1.0).unwrap();
        assert_eq!((info.updated, info.missing), (3, 1));
    }
    assert_eq!(bits(&w[..6]), bits(&start[..6]));
    assert!(w[6..].iter().zip(&start[6..]).all(|(a, b)| a != b));
    assert_eq!(adam.second_moment(0).unwrap().count, 0);
    assert!(adam.second_moment(0).unwrap().v.iter().all(|&v| v == 0.0));

    // Its first gradient is its first step: the same as alone.
    let mut alone = AdamW::<f64>::new(config).unwrap();
    alone.init(&single(&[2, 3])).unwrap();
    let mut v = start[..6].to_vec();
    for t in 1..4 {
        let g: Vec<f64> = wave(n, t);
        adam.step(&mut w, Grads::all(&g), 1.0).unwrap();
        alone.step(&mut v, Grads::all(&g[..6]), 1.0).unwrap();
    }
    assert_eq!(bits(&w[..6]), bits(&v));
}

#[test]
fn gradients_that_are_not_finite() {
    let list = mixed();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut g: Vec<f64> = wave(list.len(), 3);
        g[17] = bad;
        let mut w: Vec<f64> = wave(list.len(), 1);
        let start = w.clone();

        let mut strict = adam(AdamWConfig::default(), &list);
        strict.step(&mut w, Grads::all(&wave(list.len(), 4)), 0.0).unwrap();
        let before = strict.state().unwrap();
        let error = strict.step(&mut w, Grads::all(&g), 1.0).unwrap_err();
        assert_eq!(error, Error::NonFiniteGradient { parameter: "vector".into() });
        assert_eq!((strict.state().unwrap(), bits(&w)), (before, bits(&start)));

        let mut lenient = adam(AdamWConfig { non_finite: NonFinite::Skip, ..AdamWConfig::default() }, &list);
        let info = lenient.step(&mut w, Grads::all(&g), 1.0).unwrap();
        assert_eq!((info.step, info.updated, info.skipped), (0, 0, Some(3)));
        assert_eq!((bits(&w), lenient.skipped()), (bits(&start), 1));
        assert!(lenient.second_moment(0).unwrap().v.iter().all(|&v| v == 0.0));
        assert_eq!(lenient.second_moment(3).unwrap().count, 0);
    }
}

#[test]
fn no_offset_and_no_gradient_is_no_step() {
    let mut adam = AdamW::<f32>::new(AdamWConfig { eps: 0.0, weight_decay: 0.0, ..AdamWConfig::default() }).unwrap();
    adam.init(&single(&[3])).unwrap();
    let mut w = [1.0_f32, 2.0, 3.0];
    adam.step(&mut w, Grads::all(&[0.0, 1e-30, 1.0]), 1.0).unwrap();
    assert_eq!(w[..2], [1.0, 2.0]);
    assert!(w[2] < 3.0);
}

#[test]
fn small_decay_survives_single_precision() {
    let mut adam = AdamW::<f32>::new(AdamWConfig { lr: 1e-3, weight_decay: 0.01, ..AdamWConfig::default() }).unwrap();
    adam.init(&single(&[1])).unwrap();
    let mut w = [1.0_f32];
    for _ in 0..10_000 {
        adam.step(&mut w, Grads::all(&[0.0]), 1.0).unwrap();
    }
    let exact = (10_000.0 * (-1e-5_f64).ln_1p()).exp();
    assert!((f64::from(w[0]) - exact).abs() < 2e-3, "{} {exact}", w[0]);
}

#[test]
fn quadratic() {
    let mut adam = adam(AdamWConfig { lr: 0.1, weight_decay: 0.0, ..AdamWConfig::default() }, &mixed());
    let target: Vec<f64> = wave(18, 5);
    let mut w = vec![0.0; 18];
    let schedule = Schedule::linear(2000, 0.0).warmup(20);
    for step in 0..2000 {
        let g: Vec<f64> = (0..18).map(|i| (1.0 + i as f64) * (w[i] - target[i])).collect();
        adam.step(&mut w, Grads::all(&g), schedule.at(step)).unwrap();
    }
    let worst = w.iter().zip(&target).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn wrong_arguments() {
    let list = single(&[3]);
    let mut unready = AdamW::<f64>::new(AdamWConfig::default()).unwrap();
    let mut w = [0.0; 3];
    let not_ready = Error::NotInitialised { kind: "adamw" };
    assert_eq!(unready.step(&mut w, Grads::all(&[0.0; 3]), 1.0), Err(not_ready.clone()));
    assert_eq!(unready.state().unwrap_err(), not_ready);
    let mut adam = adam(AdamWConfig::default(), &list);
    assert!(matches!(adam.step(&mut w[..2], Grads::all(&[0.0; 3]), 1.0), Err(Error::Length { .. })));
    assert!(matches!(adam.step(&mut w, Grads::all(&[0.0; 2]), 1.0), Err(Error::Length { .. })));
    assert!(matches!(adam.step(&mut w, Grads::masked(&[0.0; 3], &[true; 2]), 1.0), Err(Error::Length { .. })));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(adam.step(&mut w, Grads::all(&[0.0; 3]), bad), Err(Error::Setting { .. })));
    }
    let base = AdamWConfig::default();
    for config in [
        AdamWConfig { lr: -1.0, ..base },
        AdamWConfig { lr: f64::NAN, ..base },
        AdamWConfig { beta1: 1.0, ..base },
        AdamWConfig { beta2: -0.1, ..base },
        AdamWConfig { eps: -1e-8, ..base },
        AdamWConfig { weight_decay: f64::INFINITY, ..base },
    ] {
        assert!(matches!(AdamW::<f64>::new(config), Err(Error::Setting { .. })), "{config:?}");
    }
    let mut list = optim::ParamList::new();
    list.add_group(optim::ParamGroup::new("x").betas(0.9, 1.5));
    assert!(matches!(adam.init(&list), Err(Error::Setting { field: "beta2", .. })));
}

#[test]
fn state_stays_where_init_put_it() {
    let list = mixed();
    let mut adam = adam(AdamWConfig::default(), &list);
    let at = adam.second_moment(0).unwrap().v.as_ptr();
    let mut w: Vec<f64> = wave(list.len(), 1);
    for t in 0..5 {
        adam.step(&mut w, Grads::all(&wave(list.len(), t)), 1.0).unwrap();
        assert_eq!(adam.second_moment(0).unwrap().v.as_ptr(), at);
    }
    assert_eq!(adam.second_moment(3).unwrap().v.as_ptr(), at.wrapping_add(7));
}
