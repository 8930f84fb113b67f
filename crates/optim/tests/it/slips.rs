//! Five slips of published implementations, and why none can happen here. Each is real: the repositories and pull requests are
//! those of Meta's, NVIDIA's and Heavyball's optimisers. Each is tested in double and in single precision.
//!
//! 1. KL statistics without the other side's length: no fixed point for matrices that are not square.
//! 2. A first step that whitens with eigenvalues of zero.
//! 3. Columns of a basis sorted, the arrays attached to them not.
//! 4. `diag(Q^T S Q)` in half precision.
//! 5. A tensor without a gradient whose state changes, so that a resumed run is another one.
use crate::common::{bits, close, noise, orthogonal, single, wave};
use crate::faults::methods;
use numerics::Scalar;
use numerics::store::State;
use optim::{
    Clamp, Grads, KronConfig, NonFinite, Optimizer, ParamGroup, ParamList, Preconditioned, Start, Statistics, Storage,
    recommended, reference,
};

fn ready<T: Scalar>(config: KronConfig, shape: &[usize]) -> Preconditioned<T> {
    let mut method = Preconditioned::new(config).unwrap();
    method.init(&single(shape)).unwrap();
    method
}

/// Numbers in another precision.
fn cast<T: Scalar>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&x| T::from_f64(x)).collect()
}

/// An array of a method's state.
fn array<T: Scalar>(method: &Preconditioned<T>, name: &str) -> Vec<f64> {
    let held = method.state().unwrap().tensor(name).unwrap().data.to_vec::<T>().unwrap();
    held.iter().map(|x| x.to_f64()).collect()
}

/// Weights of a 5 x 4 matrix after all gradients.
fn run<T: Scalar>(config: KronConfig, gradients: &[Vec<f64>]) -> Vec<f64> {
    let mut method = ready::<T>(config, &[5, 4]);
    let mut w = vec![T::ONE; 20];
    for g in gradients {
        method.step(&mut w, Grads::all(&cast::<T>(g)), 1.0).unwrap();
    }
    w.iter().map(|x| x.to_f64()).collect()
}

/// **First slip**: statistics without `1/n` and `1/m`. The ratio of the factors then like `exp(+-(1 - b)(n - m)/(n + m) t)`; ours settles.
#[test]
fn factors_of_unequal_sides_do_not_drift_apart() {
    settle::<f64>();
    settle::<f32>();
}

fn settle<T: Scalar>() {
    let (m, n) = (4, 32);
    let config = KronConfig {
        lr: 0.0,
        start: Start::Identity(1.0),
        clamp: Clamp::None,
        period: 50,
        balance: false,
        ..recommended::kl_shampoo()
    };
    let mut method = ready::<T>(config, &[m, n]);
    let mut w = vec![T::ZERO; m * n];
    let mut ratios = Vec::new();
    for t in 0..2000 {
        method.step(&mut w, Grads::all(&cast::<T>(&noise(m * n, 17, t))), 1.0).unwrap();
        if t % 500 == 499 {
            let mean = |name: &str| {
                let e = array(&method, name);
                e.iter().map(|e| 1.0 / (e * e)).sum::<f64>() / e.len() as f64
            };
            let (a, b) = (mean("e0.w"), mean("e1.w"));
            assert!((0.5..2.0).contains(&(a * b)), "{a} {b}");
            ratios.push(a / b);
        }
    }
    // The slip multiplies the ratio by exp(0.0157 * 2 * 500) = 7e6 between looks; a random walk does not.
    assert!(ratios.windows(2).all(|r| (r[1] / r[0]).ln().abs() < 4.0), "{ratios:?}");
}

/// **Second slip**: whitening with eigenvalues of zero in the first step, which blows the first factors up by `1/eps`.
#[test]
fn the_first_factors_have_the_scale_of_the_gradient() {
    first_factors::<f64>();
    first_factors::<f32>();
}

fn first_factors<T: Scalar>() {
    // Gradients of variance one; the slip makes factors of 1e8. Where averages are corrected for their start a factor is the mean of
    // the first products and not a fiftieth of them: its mean eigenvalue keeps the bound, its entries are chi-squared over few.
    let damped =
        KronConfig { bias: optim::Bias { statistics: false, ..Default::default() }, ..recommended::kl_shampoo() };
    for (config, each) in [(reference::kl_shampoo(), true), (damped, true), (recommended::kl_shampoo(), false)] {
        let mut method = ready::<T>(config, &[5, 4]);
        let mut w = vec![T::ZERO; 20];
        for t in 0..2 {
            method.step(&mut w, Grads::all(&cast::<T>(&noise(20, 19, t))), 1.0).unwrap();
            for (name, n) in [("s0.w", 5), ("s1.w", 4)] {
                let s = array(&method, name);
                let mean = s.iter().step_by(n + 1).sum::<f64>() / n as f64;
                assert!(mean < 2.0 && (!each || s.iter().all(|s| s.abs() < 2.0)), "{name} {s:?}");
            }
        }
    }
}

/// **Third slip**: columns are sorted and what is attached to them is not. With sorting on or off the bases differ by a permutation only,
/// and so the trajectory does not differ while nothing but the order of columns changes.
#[test]
fn sorting_moves_everything_that_is_attached() {
    // The spectrum turns over half way, so that columns do change places.
    let gradients: Vec<Vec<f64>> = (0..40)
        .map(|t| {
            let g = noise(20, 23, t);
            let weight = |i: usize| if t < 20 { 1.0 / (1 + i) as f64 } else { 1.0 / (5 - i) as f64 };
            (0..20).map(|i| g[i] * weight(i / 4)).collect()
        })
        .collect();
    for scale in [optim::Scale::Kronecker, optim::Scale::Free] {
        for storage in [Storage::Original, Storage::Rotated] {
            // With eigenvectors anew in every refresh sorting first would be undone; a basis that is never refreshed
            // shows the permutation alone.
            let config = KronConfig {
                lr: 0.01,
                period: 5,
                refresh: optim::Refresh::Adaptive(2.0),
                scale,
                storage,
                ..recommended::kl_shampoo()
            };
            let sorted = KronConfig { sort: true, ..config.clone() };
            close(&run::<f64>(config.clone(), &gradients), &run::<f64>(sorted.clone(), &gradients), 1e-11);
            // Forty steps of a few roundings of numbers of order one; the difference of two random matrices would be 0.1.
            let f32_bound = 100.0 * f64::from(f32::EPSILON);
            close(&run::<f32>(config, &gradients), &run::<f32>(sorted, &gradients), f32_bound);
        }
    }
}

/// **Fourth slip**: `diag(Q^T S Q)` in half precision. Here `diag(Q^T S Q)` of a spectrum from 2.5e6 to 0.1 keeps its least
/// entry, which ten bits of mantissa turn into -27.
#[test]
fn small_eigenvalues_survive_beside_large_ones() {
    survive::<f32>();
    survive::<f64>();
}

fn survive<T: Scalar>() {
    let statistics = Statistics::Raw;
    for storage in [Storage::Original, Storage::Rotated] {
        let config = KronConfig {
            statistics,
            storage,
            eigenvalues: optim::Eigenvalues::Instantaneous,
            refresh: optim::Refresh::Eigh,
            clamp: Clamp::None,
            balance: false,
            period: 1,
            ..recommended::kl_shampoo()
        };
        let e = wild::<T>(config);
        // None is frozen, so none came out negative; the rotated form keeps the least one's size as well.
        assert!(e.iter().all(|e| *e > 0.0 && e.is_finite()), "{storage:?} {e:?}");
        let least = e.iter().fold(0.0_f64, |m, &e| m.max(e)).powi(-2);
        let most = e.iter().fold(f64::INFINITY, |m, &e| m.min(e)).powi(-2);
        assert!(most > 1e6 && least < 10.0, "{storage:?}: {least} {most}");
    }
}

/// Roots of the eigenvalues of the first factor after gradients whose rows differ by a factor of 5000.
fn wild<T: Scalar>(config: KronConfig) -> Vec<f64> {
    let mut method = ready::<T>(config, &[4, 4]);
    let mut w = vec![T::ZERO; 16];
    let turn = orthogonal(4, 3);
    for t in 0..40 {
        let z = noise(16, 29, t);
        let scale = |i: usize| [1581.0, 30.0, 1.0, 0.316][i];
        let g = numerics::Mat::from_fn(4, 4, |i, j| scale(i) * z[4 * i + j]);
        let g = &turn * g;
        let g: Vec<T> = (0..16).map(|i| T::from_f64(g[(i / 4, i % 4)])).collect();
        method.step(&mut w, Grads::all(&g), 1.0).unwrap();
    }
    array(&method, "e0.w")
}

fn pair() -> ParamList {
    let mut list = ParamList::new();
    let all = list.add_group(ParamGroup::new("all").weight_decay(0.1));
    list.push("steady", &[4, 5], all).unwrap();
    list.push("late", &[5, 4], all).unwrap();
    list
}

/// What is saved of one tensor: names, numbers.
fn saved<T: Scalar>(state: &State, name: &str) -> Vec<(String, Vec<u64>)> {
    let own = |key: &str| key.ends_with(&format!(".{name}"));
    let arrays = state.tensors.iter().filter(|t| own(&t.name));
    let arrays = arrays.map(|t| (t.name.clone(), bits(&t.data.to_vec::<T>().unwrap())));
    let scalars = state.scalars.iter().filter(|(key, _)| own(key)).map(|(key, x)| (key.clone(), vec![x.to_bits()]));
    arrays.chain(scalars).collect()
}

/// **Fifth slip**: a tensor without a gradient. It keeps weights (no decay), momentum, factors and counters, and its first
/// gradient, whenever it comes, is its first: the run that starts then has the same bits. So has the run that is saved and
/// resumed while the tensor waits.
#[test]
fn a_tensor_without_gradient_waits_unchanged_and_resumes() {
    waits::<f64>();
    waits::<f32>();
}

fn waits<T: Scalar>() {
    let list = pair();
    for (i, mut method) in methods::<T>(NonFinite::Error).into_iter().enumerate() {
        let another = || methods::<T>(NonFinite::Error).swap_remove(i);
        method.init(&list).unwrap();
        let start: Vec<T> = wave(40, 1);
        let mut w = start.clone();
        let fresh = saved::<T>(&method.state().unwrap(), "late");
        for t in 0..4 {
            let info = method.step(&mut w, Grads::masked(&wave::<T>(40, t), &[true, false]), 1.0).unwrap();
            assert_eq!((info.updated, info.missing), (1, 1));
        }
        let kind = Optimizer::<T>::kind(&method);
        assert_eq!(saved::<T>(&method.state().unwrap(), "late"), fresh, "{kind}");
        assert_eq!(bits(&w[20..]), bits(&start[20..]), "{kind}");
        assert_ne!(bits(&w[..20]), bits(&start[..20]), "{kind}");

        let mut resumed = another();
        resumed.init(&list).unwrap();
        resumed.load_state(&State::parse(&method.state().unwrap().to_bytes().unwrap()).unwrap()).unwrap();
        let mut unborn = another();
        unborn.init(&list).unwrap();
        let (mut again, mut first) = (w.clone(), start.clone());
        for t in 4..12 {
            let g: Vec<T> = wave(40, t);
            method.step(&mut w, Grads::all(&g), 1.0).unwrap();
            resumed.step(&mut again, Grads::all(&g), 1.0).unwrap();
            unborn.step(&mut first, Grads::masked(&g, &[false, true]), 1.0).unwrap();
        }
        assert_eq!(bits(&w), bits(&again), "{kind}");
        assert_eq!(method.state().unwrap(), resumed.state().unwrap(), "{kind}");
        assert_eq!(bits(&w[20..]), bits(&first[20..]), "{kind}");
    }
}
