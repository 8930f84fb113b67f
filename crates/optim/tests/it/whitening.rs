//! Methods that learn an inverse root by products only: what their fixed points are.
use crate::common::single;
use numerics::Mat;
use numerics::rng::{Role, Stream};
use optim::{Grads, Optimizer, Preconditioned, PsgdConfig, Settings, SirfConfig};

const M: usize = 4;
const N: usize = 5;

/// `A Z B` with fixed diagonal `A`, `B` of condition 16 and 25: the curvature is `A^2 (x) B^2`.
fn gradient(t: u64) -> Vec<f64> {
    let mut s = Stream::new(5, Role::TestProbe, t, 0);
    (0..M * N).map(|i| left(i / N) * right(i % N) * s.normal()).collect()
}

fn left(i: usize) -> f64 {
    4f64.powf(-(i as f64) / 3.0)
}

fn right(j: usize) -> f64 {
    5f64.powf(-(j as f64) / 4.0)
}

/// Directions over the last steps of a long run, without momentum.
fn directions(config: impl Settings<f64> + 'static, steps: u64, last: u64) -> Vec<Vec<f64>> {
    let mut method = Preconditioned::<f64>::new(config).unwrap();
    method.init(&single(&[M, N])).unwrap();
    let mut w = vec![0.0; M * N];
    let mut all = Vec::new();
    for t in 0..steps {
        let before = w.clone();
        method.step(&mut w, Grads::all(&gradient(t)), 1.0).unwrap();
        if t >= steps - last {
            all.push(before.iter().zip(&w).map(|(a, b)| a - b).collect());
        }
    }
    all
}

/// Second moments of each element.
fn moments(directions: &[Vec<f64>]) -> Vec<f64> {
    let count = directions.len() as f64;
    (0..M * N).map(|i| directions.iter().map(|d| d[i] * d[i]).sum::<f64>() / count).collect()
}

#[test]
fn psgd_whitens() {
    let config = PsgdConfig {
        lr: 1.0,
        beta1: 0.0,
        max_skew: 10.0,
        max_update_rms: 1e3,
        max_entry: 1e3,
        ..PsgdConfig::default()
    };
    for max_skew in [10.0, 1e-3] {
        // Dense factors, then diagonal ones; the curvature is diagonal, so both can be exact.
        let config = PsgdConfig { max_skew, ..config.clone() };
        let white = moments(&directions(config, 4000, 2000));
        let mean = white.iter().sum::<f64>() / 20.0;
        assert!((0.6..1.4).contains(&mean), "{max_skew}: {mean}");
        assert!(white.iter().all(|x| (0.6..1.5).contains(&(x / mean))), "{max_skew}: {white:?}");
    }
}

/// The noise belongs to seed, tensor and step.
#[test]
fn psgd_is_a_function_of_its_seed() {
    let run = |seed| directions(PsgdConfig { seed, balance_probability: 0.5, ..PsgdConfig::default() }, 30, 1);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// `K K^T` tends to the inverse curvature: the direction's second moment is that of `S^-1 g`, one over the curvature.
#[test]
fn sirf_shampoo_inverts() {
    let config = SirfConfig { lr: 1.0, beta1: 0.0, damping: 0.0, curvature_lr: 0.02, ..SirfConfig::default() };
    let found = moments(&directions(config, 4000, 2000));
    let scale = Mat::from_fn(M, N, |i, j| found[i * N + j] * (left(i) * right(j)).powi(2));
    let mean = (0..M * N).map(|i| scale[(i / N, i % N)]).sum::<f64>() / 20.0;
    assert!((0.6..1.6).contains(&mean), "{mean}");
    for i in 0..M * N {
        assert!((0.6..1.6).contains(&(scale[(i / N, i % N)] / mean)), "{scale:?}");
    }
}
