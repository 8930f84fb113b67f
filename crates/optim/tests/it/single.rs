//! The identities of `kron.rs` in single precision.
//!
//! Tolerances are units in the last place of `f32`, argued before measuring: as many of them as double precision is allowed where the
//! same test has a bound in both, otherwise 300 for the few hundred roundings of some tens of steps, times the condition of the
//! factors, by which a whitening multiplies them.
use crate::common::{close, golden, largest_difference, noise, single};
use crate::kron::{gauge, idealised_by_hand, plain_and_turned, turned};
use numerics::{Mat, dense};
use optim::{
    AdamWConfig, Clamp, Grads, KronConfig, MuonConfig, Optimizer, Order, Preconditioned, Settings, ShampooConfig,
    Storage, recommended, reference,
};

const ULP: f64 = f32::EPSILON as f64;

/// A bound of double precision, in as many units in the last place.
fn alike(double: f64) -> f64 {
    double / f64::EPSILON * ULP
}

fn make(config: impl Settings<f32> + 'static, shape: &[usize]) -> Preconditioned<f32> {
    let mut method = Preconditioned::new(config).unwrap();
    method.init(&single(shape)).unwrap();
    method
}

/// Parameters after the last of the gradients, from ones, and the method.
fn end(
    config: impl Settings<f32> + 'static,
    shape: &[usize],
    gradients: &[Vec<f64>],
) -> (Vec<f64>, Preconditioned<f32>) {
    let mut method = make(config, shape);
    let mut w = vec![1.0_f32; shape.iter().product()];
    for g in gradients {
        let g: Vec<f32> = g.iter().map(|&g| g as f32).collect();
        method.step(&mut w, Grads::all(&g), 1.0).unwrap();
    }
    (w.iter().map(|&w| f64::from(w)).collect(), method)
}

/// Numbers that single precision holds exactly.
fn rounded(g: &[f64]) -> Vec<f64> {
    g.iter().map(|&g| f64::from(g as f32)).collect()
}

/// The larger condition of the two factors of a method with dense ones.
fn condition(method: &Preconditioned<f32>) -> f64 {
    let state = method.state().unwrap();
    let one = |name: &str| {
        let tensor = state.tensor(name).unwrap();
        let (n, s) = (tensor.shape[0], tensor.data.to_vec::<f32>().unwrap());
        let l = dense::eigvalsh(Mat::from_fn(n, n, |i, j| f64::from(s[i * n + j])).as_ref()).unwrap();
        l[n - 1] / l[0]
    };
    one("s0.w").max(one("s1.w"))
}

#[test]
fn adamw_trace() {
    let mut adam = optim::AdamW::<f32>::new(AdamWConfig { lr: 0.1, ..AdamWConfig::default() }).unwrap();
    adam.init(&single(&[3, 2])).unwrap();
    let mut w = [1.0_f32; 6];
    for t in 0..5 {
        let g: Vec<f32> = golden(t).iter().map(|&g| g as f32).collect();
        adam.step(&mut w, Grads::all(&g), 1.0).unwrap();
    }
    let expected = [0.608547249677, 0.778430373611, 0.679813644312, 0.993100127169, 0.727391310963, 1.398601928269];
    // Five steps of a few roundings each of numbers of order one.
    close(&w.map(f64::from), &expected, 30.0 * ULP);
}

#[test]
fn kl_shampoo_factors_and_eigenvalues() {
    let config = KronConfig { lr: 0.1, period: 2, ..reference::kl_shampoo() };
    let (_, method) = end(config, &[3, 2], &(0..7).map(golden).collect::<Vec<_>>());
    let state = method.state().unwrap();
    let array = |name: &str| -> Vec<f64> {
        state.tensor(name).unwrap().data.to_vec::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect()
    };
    let tolerance = 300.0 * ULP * condition(&method);
    let (a, b) = (array("s0.w"), array("s1.w"));
    let expected = [0.361376047926, -0.013911466971, 0.019857447586, 0.293959992837, 0.020248080182, 0.305435428496];
    close(&[a[0], a[1], a[2], a[4], a[5], a[8]], &expected, tolerance);
    close(&[b[0], b[1], b[3]], &[0.377592369573, 0.079659291299, 0.267975912939], tolerance);
    let eigenvalues = |name: &str| array(name).iter().map(|e| 1.0 / (e * e)).collect::<Vec<_>>();
    close(&eigenvalues("e0.w"), &[0.304871454878, 0.427107829522, 0.425692037638], tolerance);
    close(&eigenvalues("e1.w"), &[0.457952833636, 0.318882017396], tolerance);
}

#[test]
fn directions_do_not_depend_on_the_gauge() {
    let rounding = |plain: &Preconditioned<f32>| 300.0 * ULP * condition(plain);
    gauge(1e-3, rounding);
    gauge(1e3, rounding);
    gauge::<f32>(1024.0, |_| 0.0);
}

#[test]
fn methods_turn_with_the_gradient() {
    let (plain, [left, right], both) = plain_and_turned();
    fn change(config: impl Settings<f32> + 'static, g: &[Vec<f64>]) -> (Vec<f64>, Preconditioned<f32>) {
        let (w, method) = end(config, &[5, 4], g);
        (w.iter().map(|x| x - 1.0).collect(), method)
    }
    let check = |a: &[f64], b: &[f64], condition: f64| {
        let size = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let tolerance = 300.0 * ULP * condition * size;
        assert!(tolerance < 0.1 * size, "a test that holds of anything: {condition}");
        close(&turned(a, &left, &right), b, tolerance);
    };
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo(), recommended::soap()] {
        let config = KronConfig { lr: 1e-2, weight_decay: 0.0, period: 3, ..config };
        let ((a, method), (b, _)) = (change(config.clone(), &plain), change(config, &both));
        check(&a, &b, condition(&method));
    }
    // The first statistics are singular but for `eps`: their largest eigenvalue is about 100 here.
    let shampoo = ShampooConfig { eps: 1.0, beta2: 0.9, ..ShampooConfig::default() };
    check(&change(shampoo.clone(), &plain).0, &change(shampoo, &both).0, 100.0);
    let muon = MuonConfig::default();
    // A quintic step stretches small singular values by 3.4, five of them by 480.
    check(&change(muon.clone(), &plain).0, &change(muon, &both).0, 480.0);
}

#[test]
fn muon_does_not_see_the_scale() {
    let gradients: Vec<_> = (0..10).map(|t| noise(12, 5, t)).collect();
    let scaled: Vec<Vec<f64>> = gradients.iter().map(|g| g.iter().map(|x| x * 1024.0).collect()).collect();
    let config = MuonConfig { eps: 0.0, ..MuonConfig::default() };
    let (a, b) = (end(config.clone(), &[3, 4], &gradients).0, end(config, &[3, 4], &scaled).0);
    close(&a, &b, alike(1e-13));
}

/// After 1000 steps the start of fixed size is forgotten: what is left are `1e-5`, as in double precision, and rounding.
#[test]
fn kl_shampoo_forgets_the_scale() {
    let spectrum = |i: usize| (1.0 + (i / 4) as f64) / (1.0 + 0.7 * (i % 4) as f64);
    let config = KronConfig { clamp: Clamp::None, period: 3, lr: 1.0, weight_decay: 0.0, ..reference::kl_shampoo() };
    let last = |s: f32| {
        let mut method = make(config.clone(), &[5, 4]);
        let mut w = vec![0.0_f32; 20];
        for t in 0..1000 {
            let g: Vec<f32> =
                noise(20, 11, t).iter().enumerate().map(|(i, g)| s * ((g * spectrum(i)) as f32)).collect();
            w.fill(0.0);
            method.step(&mut w, Grads::all(&g), 1.0).unwrap();
        }
        (w.iter().map(|&w| f64::from(w)).collect::<Vec<_>>(), method)
    };
    let (plain, method) = last(1.0);
    let size = plain.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let tolerance = 1e-5 + 300.0 * ULP * condition(&method);
    for s in [1e-2, 1e2] {
        let d = largest_difference(&plain, &last(s).0) / size;
        assert!(d < tolerance, "{s}: {d:e} of {tolerance:e}");
    }
}

/// The same number of units in the last place as in double precision, where `1e-12` is asked for.
#[test]
fn the_rotated_form_is_the_same_method() {
    let gradients: Vec<_> = (0..300).map(|t| noise(16 * 24, 7, t)).collect();
    for config in [reference::kl_shampoo(), reference::kl_soap()] {
        let original = KronConfig { lr: 1e-2, ..config };
        let rotated = KronConfig { storage: Storage::Rotated, ..original.clone() };
        let (a, b) = (end(original, &[16, 24], &gradients).0, end(rotated, &[16, 24], &gradients).0);
        close(&a, &b, alike(1e-12));
    }
}

#[test]
fn axes_of_length_one_are_dropped() {
    let gradients: Vec<_> = (0..12).map(|t| noise(20, 3, t)).collect();
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo()] {
        let flat = end(config.clone(), &[4, 5], &gradients).0;
        assert_eq!(end(config.clone(), &[4, 5, 1], &gradients).0, flat);
        assert_eq!(end(config, &[1, 4, 1, 5], &gradients).0, flat);
    }
}

#[test]
fn idealised_kl_shampoo() {
    let gradients: Vec<_> = (0..30).map(|t| rounded(&noise(20, 13, t))).collect();
    for order in [Order::StatisticsFirst, Order::StepFirst] {
        let expected = idealised_by_hand(&gradients, 5, 4, order == Order::StatisticsFirst);
        for storage in [Storage::Original, Storage::Rotated] {
            let config = KronConfig {
                lr: 0.01,
                eps: 0.0,
                weight_decay: 0.0,
                order,
                storage,
                ..reference::idealised_kl_shampoo()
            };
            close(&end(config, &[5, 4], &gradients).0, &expected, alike(1e-13));
        }
    }
}

#[test]
fn diagonal_gradients_leave_bases_signed_permutations() {
    crate::kron::bases_stay_permutations::<f32>();
}

#[test]
fn diagonal_gradients_give_scalar_recursions() {
    let n = 3;
    let diagonal = |t: u64| -> Vec<f64> {
        rounded(&(0..n).map(|i| (4 - i) as f64 * (1.0 + 0.1 * (t as f64 + i as f64).sin())).collect::<Vec<_>>())
    };
    let gradient = |t: u64| {
        let mut g = vec![0.0; n * n];
        g.iter_mut().step_by(n + 1).zip(diagonal(t)).for_each(|(g, d)| *g = d);
        g
    };
    let gradients: Vec<Vec<f64>> = (0..30).map(gradient).collect();
    let config = KronConfig { lr: 0.01, weight_decay: 0.0, clamp: Clamp::None, ..reference::kl_shampoo() };
    let kl = end(config, &[n, n], &gradients).0;
    let soap = end(KronConfig { lr: 0.01, weight_decay: 0.0, ..reference::soap() }, &[n, n], &gradients).0;
    for i in 0..n {
        let (mut x, mut m, mut l) = (1.0, 0.0, 0.1);
        let (mut y, mut p, mut v) = (1.0, 0.0, 0.0);
        for t in 1..30 {
            let g = diagonal(t)[i];
            m = 0.9 * m + 0.1 * g;
            x -= 0.01 * m / (l + 1e-8);
            l = 0.98 * l + 0.02 * g * g / (l * n as f64);
            (p, v) = (0.95 * p + 0.05 * g, 0.95 * v + 0.05 * g * g);
            let b = 1.0 - 0.95_f64.powi(t as i32);
            y -= 0.01 * b.sqrt() / b * p / (v.sqrt() + 1e-8);
        }
        // Thirty steps of some ten roundings of numbers of order one.
        assert!((kl[i * (n + 1)] - x).abs() < 300.0 * ULP, "{} {x}", kl[i * (n + 1)]);
        assert!((soap[i * (n + 1)] - y).abs() < 300.0 * ULP, "{} {y}", soap[i * (n + 1)]);
    }
    let off = (0..n * n).filter(|i| i % (n + 1) != 0);
    assert!(off.into_iter().all(|i| (kl[i] - 1.0).abs() < alike(1e-13) && (soap[i] - 1.0).abs() < alike(1e-13)));
}

#[test]
fn vectors_are_stepped_by_adamw_bit_for_bit() {
    for shape in [&[7][..], &[7, 1], &[1, 7], &[]] {
        let n: usize = shape.iter().product();
        let gradients: Vec<_> = (0..5).map(|t| noise(n, 2, t)).collect();
        let a = end(reference::kl_shampoo(), shape, &gradients).0;
        let mut adam = optim::AdamW::<f32>::new(AdamWConfig::default()).unwrap();
        adam.init(&single(shape)).unwrap();
        let mut w = vec![1.0_f32; n];
        for g in &gradients {
            let g: Vec<f32> = g.iter().map(|&g| g as f32).collect();
            adam.step(&mut w, Grads::all(&g), 1.0).unwrap();
        }
        assert_eq!(a, w.iter().map(|&w| f64::from(w)).collect::<Vec<_>>());
    }
}
