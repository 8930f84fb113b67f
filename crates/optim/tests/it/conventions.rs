//! What surrounds a method: conventions of weight decay, micro-batches, merged axes, vectors with a factor.
use crate::common::{bits, close, noise, single};
use numerics::{Mat, Par};
use optim::{
    Accumulator, AdamWConfig, Decay, Grads, KronConfig, Layout, MuonConfig, Optimizer, ParamGroup, ParamList,
    Preconditioned, Settings, ShampooConfig, recommended, reference, roots,
};

fn make(config: impl Settings<f64> + 'static, list: &ParamList) -> Preconditioned<f64> {
    let mut method = Preconditioned::new(config).unwrap();
    method.init(list).unwrap();
    method
}

/// Weights after each of the gradients, with the schedule's multiplier.
fn run(config: impl Settings<f64> + 'static, shape: &[usize], gradients: &[Vec<f64>], s: f64) -> Vec<Vec<f64>> {
    let mut method = make(config, &single(shape));
    let mut w = noise(shape.iter().product(), 1, 0);
    let step = |g: &Vec<f64>| {
        method.step(&mut w, Grads::all(g), s).unwrap();
        w.clone()
    };
    gradients.iter().map(step).collect()
}

/// Directions do not see the weights unless decay enters the gradient, so those of a run without decay are known.
#[test]
fn each_convention_of_decay_around_a_matrix_step() {
    let (lr, wd, s, shape) = (0.1, 0.3, 0.5, [4, 5]);
    let gradients: Vec<_> = (0..12).map(|t| noise(20, 2, t)).collect();
    let base = KronConfig { lr, weight_decay: 0.0, period: 3, ..recommended::kl_shampoo() };
    let plain = run(base.clone(), &shape, &gradients, s);
    let start = noise(20, 1, 0);
    let moves: Vec<Vec<f64>> = (0..12)
        .map(|t| {
            let before = if t == 0 { &start } else { &plain[t - 1] };
            plain[t].iter().zip(before).map(|(a, b)| a - b).collect()
        })
        .collect();
    for (decay, before, after) in [
        (Decay::Decoupled, lr * s * wd, 0.0),
        (Decay::After, 0.0, lr * s * wd),
        (Decay::Corrected, lr * s * s * wd, 0.0),
        (Decay::Independent, s * wd, 0.0),
    ] {
        let found = run(KronConfig { weight_decay: wd, decay, ..base.clone() }, &shape, &gradients, s);
        let mut w = start.clone();
        // The first call moves nothing and shrinks nothing.
        for t in 1..12 {
            w.iter_mut().zip(&moves[t]).for_each(|(w, m)| *w = ((1.0 - before) * *w + m) * (1.0 - after));
            close(&found[t], &w, 1e-12);
        }
    }
    // L2 is a gradient with `wd W` in it, through momentum and preconditioner.
    let l2 = KronConfig { weight_decay: wd, decay: Decay::L2, ..base.clone() };
    let (mut a, mut b) = (make(l2, &single(&shape)), make(base, &single(&shape)));
    let (mut w, mut v) = (start.clone(), start);
    for g in &gradients {
        a.step(&mut w, Grads::all(g), s).unwrap();
        let whole: Vec<f64> = g.iter().zip(&v).map(|(g, v)| g + wd * v).collect();
        b.step(&mut v, Grads::all(&whole), s).unwrap();
    }
    close(&w, &v, 1e-13);
}

/// Statistics are quadratic: they must see the mean over the micro-batches once. Some parts have no gradient of one tensor.
#[test]
fn micro_batches_step_as_the_whole_batch_does() {
    let mut list = ParamList::new();
    let all = list.add_group(ParamGroup::new("all"));
    list.push("a", &[3, 4], all).unwrap();
    list.push("b", &[5], all).unwrap();
    let part = |t: u64, k: u64| noise(17, 40 + k, t);
    let mut sum = Accumulator::<f64>::new(&list);
    let (mut parts, mut whole) = (make(reference::soap(), &list), make(reference::soap(), &list));
    let (mut w, mut v) = (noise(17, 1, 0), noise(17, 1, 0));
    for t in 0..12 {
        sum.clear();
        // Eight data, four, and four without the vector.
        sum.add(Grads::all(&part(t, 0)), 8.0).unwrap();
        sum.add(Grads::all(&part(t, 1)), 4.0).unwrap();
        sum.add(Grads::masked(&part(t, 2), &[true, false]), 4.0).unwrap();
        assert_eq!(sum.weight(), 16.0);
        parts.step(&mut w, sum.mean(), 1.0).unwrap();
        let mean: Vec<f64> = (0..17)
            .map(|i| {
                let (a, b, c) = (part(t, 0)[i], part(t, 1)[i], part(t, 2)[i]);
                if i < 12 { (8.0 * a + 4.0 * b + 4.0 * c) / 16.0 } else { (8.0 * a + 4.0 * b) / 12.0 }
            })
            .collect();
        whole.step(&mut v, Grads::all(&mean), 1.0).unwrap();
        close(&w, &v, 1e-11);
    }
    let before = sum.mean().values().to_vec();
    assert!(sum.add(Grads::all(&part(0, 0)), 0.0).is_err() && sum.add(Grads::all(&[1.0; 3]), 1.0).is_err());
    assert_eq!(sum.mean().values(), before);
    // A tensor that never had a gradient has none in the mean: its weights stay.
    sum.clear();
    sum.add(Grads::masked(&part(0, 0), &[true, false]), 1.0).unwrap();
    assert!(sum.mean().has(0) && !sum.mean().has(1));
    let tail = bits(&w[12..]);
    parts.step(&mut w, sum.mean(), 1.0).unwrap();
    assert_eq!(bits(&w[12..]), tail);
}

/// Neighbouring axes that are merged are one axis.
#[test]
fn merged_axes_are_one_axis() {
    let gradients: Vec<_> = (0..9).map(|t| noise(48, 3, t)).collect();
    let layout = Layout { merge: 6, ..Layout::default() };
    let config = KronConfig { period: 3, ..recommended::kl_shampoo() };
    let merged = run(KronConfig { layout, ..config.clone() }, &[2, 3, 8], &gradients, 1.0);
    assert_eq!(merged, run(config.clone(), &[6, 8], &gradients, 1.0));
    assert!(merged != run(config, &[2, 3, 8], &gradients, 1.0));
    // All into one: a vector, which AdamW steps.
    let layout = Layout { merge: 48, ..layout };
    let muon = MuonConfig { layout, lr: 0.1, ..MuonConfig::default() };
    let adam = run(muon, &[2, 3, 8], &gradients, 1.0);
    let mut plain = optim::AdamW::new(AdamWConfig::default()).unwrap();
    plain.init(&single(&[48])).unwrap();
    let mut w = noise(48, 1, 0);
    for g in &gradients {
        plain.step(&mut w, Grads::all(g), 1.0).unwrap();
    }
    assert_eq!(adam[8], w);
}

/// A vector with a factor of its own: Shampoo with one mode has the exponent 1/2.
#[test]
fn vectors_may_have_one_dense_factor() {
    let gradients: Vec<_> = (0..6).map(|t| noise(4, 5, t)).collect();
    let layout = Layout { precondition_1d: true, ..Layout::default() };
    let config = ShampooConfig { lr: 0.1, eps: 1e-3, layout, ..ShampooConfig::default() };
    let found = run(config, &[4], &gradients, 1.0);
    let (mut l, mut m, mut w) = (Mat::<f64>::zeros(4, 4), [0.0; 4], noise(4, 1, 0));
    for (t, g) in gradients.iter().enumerate() {
        for i in 0..4 {
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            (0..4).for_each(|j| l[(i, j)] += g[i] * g[j]);
        }
        let root = roots::inverse_root(l.as_ref(), 0.5, 1e-3, Par::Seq).unwrap();
        let gain = 1.0 / (1.0 - 0.9_f64.powi(t as i32 + 1));
        for i in 0..4 {
            w[i] -= 0.1 * gain * (0..4).map(|j| root[(i, j)] * m[j]).sum::<f64>();
        }
        close(&found[t], &w, 1e-11);
    }
    // The rest of the family takes the same route.
    let soap = KronConfig { period: 2, layout, ..reference::soap() };
    let kl = KronConfig { period: 2, layout, ..recommended::kl_shampoo() };
    for config in [soap, kl] {
        let w = run(config.clone(), &[4], &gradients, 1.0);
        let plain = run(KronConfig { layout: Layout::default(), ..config }, &[4], &gradients, 1.0);
        assert!(w[5].iter().all(|x| x.is_finite()) && w[5] != plain[5]);
    }
}
