//! The published traces, and the identities that every Kronecker method keeps.
use crate::common::{close, golden, largest_difference, noise, orthogonal, single};
use numerics::Scalar;
use optim::{
    Bias, Clamp, Graft, KronConfig, MuonConfig, Optimizer, Preconditioned, Settings, ShampooConfig, Start, Statistics,
    Storage, recommended, reference,
};
use optim::{Grads, LargeMode, Layout};

fn make(config: impl Settings<f64> + 'static, shape: &[usize]) -> Preconditioned<f64> {
    let mut method = Preconditioned::new(config).unwrap();
    method.init(&single(shape)).unwrap();
    method
}

/// Parameters after each of the gradients.
fn run(config: impl Settings<f64> + 'static, shape: &[usize], gradients: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut method = make(config, shape);
    let mut w = vec![1.0; shape.iter().product()];
    let step = |g: &Vec<f64>| {
        method.step(&mut w, Grads::all(g), 1.0).unwrap();
        w.clone()
    };
    gradients.iter().map(step).collect()
}

fn golden_run<T: Scalar>(config: impl Settings<T> + 'static, steps: usize) -> Vec<Vec<f64>> {
    let mut method = Preconditioned::<T>::new(config).unwrap();
    method.init(&single(&[3, 2])).unwrap();
    let mut w = vec![T::ONE; 6];
    let step = |t| {
        let g: Vec<T> = golden(t).into_iter().map(T::from_f64).collect();
        method.step(&mut w, Grads::all(&g), 1.0).unwrap();
        w.iter().map(|w| w.to_f64()).collect()
    };
    (0..steps).map(step).collect()
}

/// The weights after the numbered gradients: to `1e-11` in double precision (the values have twelve digits), and to
/// `single` in single precision.
#[track_caller]
fn follows<C>(config: C, after: &[(usize, [f64; 6])], single: f64)
where
    C: Settings<f64> + Settings<f32> + Clone + 'static,
{
    let steps = after.iter().map(|a| a.0 + 1).max().unwrap_or(0);
    let (double, narrow) = (golden_run::<f64>(config.clone(), steps), golden_run::<f32>(config, steps));
    for (t, expected) in after {
        close(&double[*t], expected, 1e-11);
        close(&narrow[*t], expected, single);
    }
}

/// Seven steps of `f32` with factors whose condition is below ten.
const SINGLE: f64 = 5e-6;

fn kl() -> KronConfig {
    KronConfig { lr: 0.1, period: 2, ..reference::kl_shampoo() }
}

#[test]
fn kl_shampoo_trace() {
    let t1 = [0.858457638644, 0.958824584296, 0.988036248892, 1.094983511601, 1.045481885466, 1.030158324550];
    let t2 = [0.767834612301, 0.972839864610, 1.003717471080, 1.131800948203, 0.998131536360, 1.055593103884];
    let t6 = [0.740326607381, 1.098707452030, 0.961023002547, 1.298669763465, 0.957739703139, 1.264299236469];
    let after = [(0, [1.0; 6]), (1, t1), (2, t2), (6, t6)];
    follows(kl(), &after, SINGLE);
    follows(KronConfig { storage: Storage::Rotated, ..kl() }, &after, SINGLE);
}

#[test]
fn kl_shampoo_factors_and_eigenvalues() {
    let mut method = make(kl(), &[3, 2]);
    let mut w = vec![1.0; 6];
    for t in 0..7 {
        method.step(&mut w, Grads::all(&golden(t)), 1.0).unwrap();
    }
    let state = method.state().unwrap();
    let array = |name: &str| state.tensor(name).unwrap().data.to_vec::<f64>().unwrap();
    let a = array("s0.w");
    let upper = [a[0], a[1], a[2], a[4], a[5], a[8]];
    let expected = [0.361376047926, -0.013911466971, 0.019857447586, 0.293959992837, 0.020248080182, 0.305435428496];
    close(&upper, &expected, 1e-11);
    let b = array("s1.w");
    close(&[b[0], b[1], b[3]], &[0.377592369573, 0.079659291299, 0.267975912939], 1e-11);
    let eigenvalues = |name: &str| array(name).iter().map(|e| 1.0 / (e * e)).collect::<Vec<_>>();
    close(&eigenvalues("e0.w"), &[0.304871454878, 0.427107829522, 0.425692037638], 1e-11);
    close(&eigenvalues("e1.w"), &[0.457952833636, 0.318882017396], 1e-11);
}

#[test]
fn kl_soap_trace() {
    let config = KronConfig { lr: 0.1, period: 2, ..reference::kl_soap() };
    let t2 = [0.768982323466, 0.918044658439, 0.974198217117, 1.161874452517, 0.894914415830, 1.146343389210];
    let t6 = [0.720420082425, 1.033553042643, 0.893344129670, 1.463822058169, 0.802973606565, 1.566407269910];
    follows(config, &[(2, t2), (6, t6)], SINGLE);
}

#[test]
fn soap_trace() {
    let config = KronConfig { lr: 0.1, period: 2, ..reference::soap() };
    let t2 = [0.718218363360, 0.890044712068, 0.964289155450, 1.210836385995, 0.888001224039, 1.173632003785];
    let t6 = [0.624476640833, 0.982514526044, 0.887207662651, 1.404202653646, 0.807006389651, 1.471622455934];
    for storage in [Storage::Original, Storage::Rotated] {
        follows(KronConfig { storage, ..config.clone() }, &[(2, t2), (6, t6)], SINGLE);
    }
}

#[test]
fn shampoo_traces() {
    let base = ShampooConfig { eps: 1e-6, ..reference::meta_shampoo() };
    let average = ShampooConfig { beta2: 0.9, ..base.clone() };
    let half = ShampooConfig { exponent: Some(0.5), ..average.clone() };
    let grafted = ShampooConfig { graft: Graft::Adam { beta2: 0.9, eps: 1e-8 }, ..half.clone() };
    let cases = [
        (base, [0.9833414463, 0.9878524899, 0.9868615099, 1.0034803761, 0.9871737046, 1.0161694651]),
        (average, [0.9747878944, 0.9854885729, 0.9807707878, 1.0068154181, 0.9815861887, 1.0237942851]),
        (half, [0.9864935899, 0.9899237694, 0.9886816061, 1.0080635916, 0.9870257550, 1.0199457056]),
        (grafted, [0.9695110136, 0.9730669889, 0.9751488722, 1.0171139513, 0.9701493092, 1.0457000954]),
    ];
    for (config, expected) in cases {
        let newton =
            ShampooConfig { root: optim::RootEngine::Newton { tol: 1e-10, iterations: 100 }, ..config.clone() };
        close(&golden_run::<f64>(config.clone(), 5)[4], &expected, 1e-9);
        close(&golden_run::<f64>(newton, 5)[4], &expected, 1e-7);
        // Statistics of rank two behind an eps of 1e-6: the root multiplies rounding by up to 1e3.
        close(&golden_run::<f32>(config, 5)[4], &expected, 1e-3);
    }
}

#[test]
fn the_rotated_form_is_the_same_method() {
    let gradients: Vec<_> = (0..300).map(|t| noise(16 * 24, 7, t)).collect();
    for config in [reference::kl_shampoo(), reference::kl_soap()] {
        let original = KronConfig { lr: 1e-2, ..config };
        let rotated = KronConfig { storage: Storage::Rotated, ..original.clone() };
        let (a, b) = (run(original, &[16, 24], &gradients), run(rotated, &[16, 24], &gradients));
        close(&a[299], &b[299], 1e-12);
    }
}

#[test]
fn axes_of_length_one_are_dropped() {
    let gradients: Vec<_> = (0..12).map(|t| noise(20, 3, t)).collect();
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo()] {
        let flat = run(config.clone(), &[4, 5], &gradients);
        assert_eq!(run(config.clone(), &[4, 5, 1], &gradients), flat);
        assert_eq!(run(config, &[1, 4, 1, 5], &gradients), flat);
    }
}

/// Largest difference of the directions of 36 steps, as a share of their size, after `(S_a, S_b)` and `(l_a, l_b)` have become
/// `(c S_a, S_b / c)` and `(c l_a, l_b / c)`; at most what `tolerance` says of the method that was left alone.
pub(crate) fn gauge<T: Scalar>(c: f64, tolerance: impl Fn(&Preconditioned<T>) -> f64) {
    let gradient = |t: u64| -> Vec<T> { noise(20, 1, t).into_iter().map(T::from_f64).collect() };
    for storage in [Storage::Original, Storage::Rotated] {
        let config = KronConfig { clamp: Clamp::None, period: 3, storage, ..reference::kl_shampoo() };
        let [mut plain, mut scaled] = [(); 2].map(|()| Preconditioned::<T>::new(config.clone()).unwrap());
        plain.init(&single(&[5, 4])).unwrap();
        scaled.init(&single(&[5, 4])).unwrap();
        let mut w = vec![T::ZERO; 20];
        for t in 0..4 {
            plain.step(&mut w, Grads::all(&gradient(t)), 1.0).unwrap();
        }
        let mut state = plain.state().unwrap();
        for tensor in &mut state.tensors {
            let factor = match tensor.name.as_str() {
                "s0.w" => c,
                "s1.w" => 1.0 / c,
                "e0.w" => c.sqrt().recip(),
                "e1.w" => c.sqrt(),
                _ => continue,
            };
            let values = tensor.data.to_vec::<T>().unwrap();
            let values: Vec<T> = values.iter().map(|x| T::from_f64(x.to_f64() * factor)).collect();
            *tensor = numerics::store::Tensor::new(tensor.name.clone(), &tensor.shape, &values).unwrap();
        }
        scaled.load_state(&state).unwrap();
        let (mut a, mut b) = (vec![T::ZERO; 20], vec![T::ZERO; 20]);
        for t in 4..40 {
            plain.step(&mut a, Grads::all(&gradient(t)), 1.0).unwrap();
            scaled.step(&mut b, Grads::all(&gradient(t)), 1.0).unwrap();
        }
        let [a, b] = [a, b].map(|x| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>());
        let size = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        close(&a, &b, tolerance(&plain) * size);
    }
}

/// With a power of four not one bit differs.
#[test]
fn directions_do_not_depend_on_the_gauge() {
    gauge::<f64>(1e-3, |_| 1e-12);
    gauge::<f64>(1e3, |_| 1e-12);
    gauge::<f64>(1024.0, |_| 0.0);
}

pub(crate) fn turned(g: &[f64], left: &numerics::Mat<f64>, right: &numerics::Mat<f64>) -> Vec<f64> {
    let (m, n) = (left.nrows(), right.nrows());
    let x = left * numerics::MatRef::from_row_major_slice(g, m, n) * right.transpose();
    (0..m * n).map(|i| x[(i / n, i % n)]).collect()
}

/// One gradient after the other.
type List = Vec<Vec<f64>>;

/// Gradients of a 5 x 4 matrix with a generic spectrum, so that no basis is left to rounding; the two rotations; the gradients turned by them.
pub(crate) fn plain_and_turned() -> (List, [numerics::Mat<f64>; 2], List) {
    let (m, n) = (5, 4);
    let turn = [orthogonal(m, 1), orthogonal(n, 2)];
    let gradient = |t: u64| -> Vec<f64> {
        let g = noise(m * n, 5, t);
        (0..m * n).map(|i| g[i] * (1.0 + (i / n) as f64) / (1.0 + 0.5 * (i % n) as f64)).collect()
    };
    let plain: List = (0..25).map(gradient).collect();
    let both = plain.iter().map(|g| turned(g, &turn[0], &turn[1])).collect();
    (plain, turn, both)
}

#[test]
fn methods_turn_with_the_gradient() {
    let (plain, [left, right], both) = plain_and_turned();
    fn change(config: impl Settings<f64> + 'static, shape: &[usize], g: &[Vec<f64>]) -> Vec<f64> {
        let w = run(config, shape, g);
        w[24].iter().map(|x| x - 1.0).collect()
    }
    let check = |a: Vec<f64>, b: Vec<f64>| close(&turned(&a, &left, &right), &b, 1e-9);
    let shape = [5, 4];
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo(), recommended::soap()] {
        // Decay is not equivariant about one.
        let config = KronConfig { lr: 1e-2, weight_decay: 0.0, period: 3, ..config };
        check(change(config.clone(), &shape, &plain), change(config, &shape, &both));
    }
    let shampoo = ShampooConfig { eps: 1e-6, beta2: 0.9, ..ShampooConfig::default() };
    check(change(shampoo.clone(), &shape, &plain), change(shampoo, &shape, &both));
    let muon = MuonConfig::default();
    check(change(muon.clone(), &shape, &plain), change(muon, &shape, &both));
}

#[test]
fn muon_does_not_see_the_scale() {
    let gradients: Vec<_> = (0..10).map(|t| noise(12, 5, t)).collect();
    let scaled: Vec<Vec<f64>> = gradients.iter().map(|g| g.iter().map(|x| x * 1024.0).collect()).collect();
    let config = MuonConfig { eps: 0.0, ..MuonConfig::default() };
    let (a, b) = (run(config.clone(), &[3, 4], &gradients), run(config, &[3, 4], &scaled));
    close(&a[9], &b[9], 1e-13);
}

/// Singular values of Muon's direction.
#[test]
fn muon_pushes_singular_values_towards_one() {
    for shape in [[6, 9], [9, 6], [7, 7]] {
        let g = noise(shape[0] * shape[1], 8, 0);
        let config = MuonConfig { lr: 1.0, ..MuonConfig::default() };
        let w = run(config, &shape, &[g]);
        let d = numerics::Mat::from_fn(shape[0], shape[1], |i, j| 1.0 - w[0][i * shape[1] + j]);
        let stretch = (shape[0] as f64 / shape[1] as f64).max(1.0).sqrt();
        let s = numerics::dense::svd(d.as_ref()).unwrap().s;
        assert!(s.iter().all(|s| (0.6..1.35).contains(&(s / stretch))), "{s:?}");
    }
}

/// After its transient KL-Shampoo's direction does not depend on the scale of the gradient.
#[test]
fn kl_shampoo_forgets_the_scale() {
    let spectrum = |i: usize| (1.0 + (i / 4) as f64) / (1.0 + 0.7 * (i % 4) as f64);
    let gradient = |t: u64, s: f64| -> Vec<f64> {
        noise(20, 11, t).iter().enumerate().map(|(i, g)| s * g * spectrum(i)).collect()
    };
    let config = KronConfig { clamp: Clamp::None, period: 3, lr: 1.0, weight_decay: 0.0, ..reference::kl_shampoo() };
    // Directions of steps 600 and 1000.
    let directions = |s: f64| {
        let mut method = make(config.clone(), &[5, 4]);
        let mut w = vec![0.0; 20];
        let mut all = Vec::new();
        for t in 0..1000 {
            let before = w.clone();
            method.step(&mut w, Grads::all(&gradient(t, s)), 1.0).unwrap();
            if t == 599 || t == 999 {
                all.push(w.iter().zip(&before).map(|(a, b)| a - b).collect::<Vec<_>>());
            }
        }
        all
    };
    let plain = directions(1.0);
    for s in [1e-2, 1e2] {
        for ((plain, scaled), tolerance) in plain.iter().zip(directions(s)).zip([5e-4, 1e-5]) {
            let size = plain.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            let d = largest_difference(plain, &scaled) / size;
            assert!(d < tolerance, "{s}: {d:e} of {tolerance:e}");
        }
    }
}

/// On diagonal gradients a basis stays a signed permutation, to the rounding of a few Householder reflections.
pub(crate) fn bases_stay_permutations<T: Scalar>() {
    let n = 4;
    let gradient = |t: u64| -> Vec<T> {
        let size = |i: usize| (5 - i) as f64 * (1.0 + 0.1 * (t as f64 + i as f64).sin());
        (0..n * n).map(|i| if i % (n + 1) == 0 { T::from_f64(size(i / n)) } else { T::ZERO }).collect()
    };
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo(), recommended::soap()] {
        let mut method = Preconditioned::<T>::new(KronConfig { period: 4, ..config }).unwrap();
        method.init(&single(&[n, n])).unwrap();
        let mut w = vec![T::ZERO; n * n];
        for t in 0..20 {
            method.step(&mut w, Grads::all(&gradient(t)), 1.0).unwrap();
        }
        let state = method.state().unwrap();
        for name in ["q0.w", "q1.w"] {
            let q: Vec<f64> =
                state.tensor(name).unwrap().data.to_vec::<T>().unwrap().iter().map(|q| q.to_f64().abs()).collect();
            let near = |x: f64| (q.iter().filter(|q| (**q - x).abs() <= 2.0 * T::EPS.to_f64())).count();
            assert!(near(1.0) == n && near(0.0) == n * (n - 1), "{name} {q:?}");
        }
    }
}

#[test]
fn diagonal_gradients_leave_bases_signed_permutations() {
    bases_stay_permutations::<f64>();
}

/// A diagonal problem stays diagonal, and each entry follows a recursion that can be done by hand.
#[test]
fn diagonal_gradients_give_scalar_recursions() {
    let n = 3;
    let diagonal = |t: u64| -> Vec<f64> {
        // Positive, with an order that does not change.
        (0..n).map(|i| (4 - i) as f64 * (1.0 + 0.1 * (t as f64 + i as f64).sin())).collect()
    };
    let gradients: Vec<Vec<f64>> = (0..30)
        .map(|t| {
            let mut g = vec![0.0; n * n];
            g.iter_mut().step_by(n + 1).zip(diagonal(t)).for_each(|(g, d)| *g = d);
            g
        })
        .collect();
    let config = KronConfig { lr: 0.01, weight_decay: 0.0, clamp: Clamp::None, ..reference::kl_shampoo() };
    let w = run(config, &[n, n], &gradients);
    for i in 0..n {
        let (mut x, mut m, mut l) = (1.0, 0.0, 0.1);
        for t in 1..30 {
            let g = diagonal(t)[i];
            m = 0.9 * m + 0.1 * g;
            x -= 0.01 * m / (l + 1e-8);
            // Both sides have the same eigenvalue: delta = g^2 / (l n).
            l = 0.98 * l + 0.02 * g * g / (l * n as f64);
        }
        assert!((w[29][i * n + i] - x).abs() < 1e-12, "{} {x}", w[29][i * n + i]);
    }
    let off = (0..n * n).filter(|i| i % (n + 1) != 0);
    assert!(off.into_iter().all(|i| (w[29][i] - 1.0).abs() < 1e-13));

    let soap = KronConfig { lr: 0.01, weight_decay: 0.0, ..reference::soap() };
    let w = run(soap, &[n, n], &gradients);
    for i in 0..n {
        let (mut x, mut m, mut v) = (1.0, 0.0, 0.0);
        for t in 1..30 {
            let g = diagonal(t)[i];
            (m, v) = (0.95 * m + 0.05 * g, 0.95 * v + 0.05 * g * g);
            let b = 1.0 - 0.95_f64.powi(t as i32);
            x -= 0.01 * b.sqrt() / b * m / (v.sqrt() + 1e-8);
        }
        assert!((w[29][i * n + i] - x).abs() < 1e-12);
    }
}

#[test]
fn vectors_are_stepped_by_adamw_bit_for_bit() {
    for shape in [&[7][..], &[7, 1], &[1, 7], &[]] {
        let n: usize = shape.iter().product();
        let gradients: Vec<_> = (0..5).map(|t| noise(n, 2, t)).collect();
        let a = run(reference::kl_shampoo(), shape, &gradients);
        let mut adam = optim::AdamW::new(optim::AdamWConfig::default()).unwrap();
        adam.init(&single(shape)).unwrap();
        let mut w = vec![1.0; n];
        for g in &gradients {
            adam.step(&mut w, Grads::all(g), 1.0).unwrap();
        }
        assert_eq!(a[4], w);
    }
}

/// A diagonal factor is the diagonal of the dense one while the dense basis is that of the parameters.
#[test]
fn diagonal_factors_for_long_axes() {
    let layout = Layout { max_dim: 4, ..Layout::default() };
    let gradients: Vec<_> = (0..20).map(|t| noise(24, 4, t)).collect();
    for large in [LargeMode::Diagonal, LargeMode::Identity] {
        for config in [recommended::kl_shampoo(), reference::soap()] {
            let config = KronConfig { layout: Layout { large, ..layout }, lr: 1e-2, ..config };
            let w = run(config, &[4, 6], &gradients);
            assert!(w[19].iter().all(|x| x.is_finite() && *x != 1.0 && (x - 1.0).abs() < 0.5));
        }
    }
    // All modes diagonal: a recursion of vectors, done here by hand, with averages that are corrected for their start and not.
    for statistics in [false, true] {
        let config = KronConfig {
            layout: Layout { max_dim: 1, ..layout },
            lr: 1e-2,
            weight_decay: 0.0,
            start: Start::Fixed(0.1),
            balance: false,
            clamp: Clamp::None,
            bias: Bias { statistics, ..Bias::default() },
            ..recommended::kl_shampoo()
        };
        let w = run(config, &[2, 3], &gradients.iter().map(|g| g[..6].to_vec()).collect::<Vec<_>>());
        let (mut x, mut m, mut a, mut b) = ([1.0; 6], [0.0; 6], [0.1_f64; 2], [0.1_f64; 3]);
        for (t, g) in gradients.iter().enumerate().skip(1) {
            let (old_a, old_b) = (a, b);
            for i in 0..6 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                x[i] -= 1e-2 * m[i] / ((a[i / 3] * b[i % 3]).sqrt() + 1e-8);
            }
            // The first gradient, which made the start, counts as one that was seen.
            let c = if statistics { 0.02 / (1.0 - 0.98_f64.powi(t as i32 + 1)) } else { 0.02 };
            for i in 0..2 {
                let d: f64 = (0..3).map(|j| g[3 * i + j] * g[3 * i + j] / old_b[j]).sum::<f64>() / 3.0;
                a[i] = (1.0 - c) * a[i] + c * d;
            }
            for j in 0..3 {
                let d: f64 = (0..2).map(|i| g[3 * i + j] * g[3 * i + j] / old_a[i]).sum::<f64>() / 2.0;
                b[j] = (1.0 - c) * b[j] + c * d;
            }
        }
        close(&w[19], &x, 1e-13);
    }
}

/// Blocks are tensors of their own.
#[test]
fn blocks_are_independent() {
    let layout = Layout { max_dim: 3, large: LargeMode::Block, ..Layout::default() };
    let gradients: Vec<_> = (0..8).map(|t| noise(24, 6, t)).collect();
    let config = KronConfig { layout, lr: 1e-2, ..recommended::kl_shampoo() };
    let whole = run(config.clone(), &[4, 6], &gradients);
    // The block of rows 0..3 and columns 3..6.
    let part: Vec<Vec<f64>> = gradients.iter().map(|g| (0..9).map(|i| g[(i / 3) * 6 + 3 + i % 3]).collect()).collect();
    let alone = run(config, &[3, 3], &part);
    let cut: Vec<f64> = (0..9).map(|i| whole[7][(i / 3) * 6 + 3 + i % 3]).collect();
    assert_eq!(cut, alone[7]);
}

/// Every member of the family is a method of its own that steps and stays finite, for any number of axes.
#[test]
fn every_statistic_scale_and_order_of_tensor() {
    use optim::{Eigenvalues, Order, Phase, Refresh, Scale, Transport};
    let gradients: Vec<_> = (0..12).map(|t| noise(24, 9, t)).collect();
    let statistics =
        [Statistics::Raw, Statistics::Kl, Statistics::Sq, Statistics::Vn, Statistics::F, Statistics::TracePower(0.3)];
    for statistics in statistics {
        for scale in [Scale::Kronecker, Scale::Free] {
            for eigenvalues in [Eigenvalues::Ema, Eigenvalues::Instantaneous] {
                for refresh in [Refresh::Qr(2), Refresh::Eigh, Refresh::Adaptive(0.1)] {
                    for shape in [&[4, 6][..], &[2, 3, 4], &[2, 3, 2, 2]] {
                        let base = KronConfig {
                            statistics,
                            scale,
                            eigenvalues,
                            refresh,
                            lr: 1e-3,
                            period: 3,
                            phase: Phase::Hashed,
                            damping: 1e-4,
                            transport: Transport::Rotate,
                            max_update_rms: Some(2.0),
                            ..recommended::kl_shampoo()
                        };
                        // Both storage forms are one method; the QR sign is no part of it.
                        let original = KronConfig { storage: Storage::Original, ..base.clone() };
                        let (a, b) = (run(base.clone(), shape, &gradients), run(original, shape, &gradients));
                        close(&a[11], &b[11], 1e-9);
                        let first = KronConfig { order: Order::StatisticsFirst, ..base };
                        let c = run(first, shape, &gradients);
                        assert!(c[11].iter().all(|x| x.is_finite()) && c[11] != a[11]);
                    }
                }
            }
        }
    }
}

/// The idealised method by plain formulas: factors decomposed anew, both updated from the old other one.
pub(crate) fn idealised_by_hand(gradients: &[Vec<f64>], m: usize, n: usize, statistics_first: bool) -> Vec<f64> {
    use numerics::{Mat, Par, dense};
    let power = |s: &Mat<f64>, e: f64| {
        let pairs = dense::eigh(s.as_ref()).unwrap();
        dense::apply_spectral(&pairs, |l| l.powf(e), Par::Seq)
    };
    let scaled = |k: usize| Mat::from_fn(k, k, |i, j| if i == j { 0.1 } else { 0.0 });
    let (mut a, mut b, mut momentum, mut w) =
        (scaled(m), scaled(n), Mat::<f64>::zeros(m, n), Mat::<f64>::from_fn(m, n, |_, _| 1.0));
    for g in gradients {
        let g = Mat::from_fn(m, n, |i, j| g[i * n + j]);
        let mix = |s: &Mat<f64>, new: Mat<f64>, k: usize| {
            Mat::from_fn(s.nrows(), s.nrows(), |i, j| 0.98 * s[(i, j)] + 0.02 / k as f64 * new[(i, j)])
        };
        let new_a = mix(&a, &g * power(&b, -1.0) * g.transpose(), n);
        let new_b = mix(&b, g.transpose() * power(&a, -1.0) * &g, m);
        momentum = Mat::from_fn(m, n, |i, j| 0.9 * momentum[(i, j)] + 0.1 * g[(i, j)]);
        let d = if statistics_first {
            power(&new_a, -0.5) * &momentum * power(&new_b, -0.5)
        } else {
            power(&a, -0.5) * &momentum * power(&b, -0.5)
        };
        w = Mat::from_fn(m, n, |i, j| w[(i, j)] - 0.01 * d[(i, j)]);
        (a, b) = (new_a, new_b);
    }
    (0..m * n).map(|i| w[(i / n, i % n)]).collect()
}

/// With a decomposition in every step and eigenvalues read off the factors, the scheme is the idealised one.
#[test]
fn idealised_kl_shampoo() {
    let gradients: Vec<_> = (0..30).map(|t| noise(20, 13, t)).collect();
    for order in [optim::Order::StatisticsFirst, optim::Order::StepFirst] {
        let expected = idealised_by_hand(&gradients, 5, 4, order == optim::Order::StatisticsFirst);
        for storage in [Storage::Original, Storage::Rotated] {
            let config = KronConfig {
                lr: 0.01,
                eps: 0.0,
                weight_decay: 0.0,
                order,
                storage,
                ..reference::idealised_kl_shampoo()
            };
            close(&run(config, &[5, 4], &gradients)[29], &expected, 1e-13);
        }
    }
}
