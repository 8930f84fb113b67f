//! Random directions: means and variances of the estimates at many samples, against their formulas.
//!
//! Bounds are five standard errors of what is estimated, the error of a variance being that of a mean of squares. Signs over all vectors,
//! where nothing is random, are in `pde` and `identities`.

use crate::cases::numbers;
use autodiff::pde::{Operator, Pde, Scheme};
use autodiff::{Array, Executable, Jet, Program, TensorType, Value, trace};
use numerics::rng::{Law, Role, Stream, probe_at};

const D: usize = 4;
/// Samples of one run.
const RUN: usize = 50_000;

/// Mean, variance and their standard errors.
struct Moments {
    mean: f64,
    mean_error: f64,
    variance: f64,
    variance_error: f64,
}

fn moments(samples: &[f64]) -> Moments {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let squares: Vec<f64> = samples.iter().map(|y| (y - mean).powi(2)).collect();
    let variance = squares.iter().sum::<f64>() / n;
    let fourth = squares.iter().map(|s| s * s).sum::<f64>() / n;
    Moments {
        mean,
        mean_error: (variance / n).sqrt(),
        variance,
        variance_error: ((fourth - variance * variance).max(0.0) / n).sqrt(),
    }
}

impl Moments {
    fn check(&self, what: &str, mean: f64, variance: Option<f64>) {
        let apart = (self.mean - mean).abs();
        assert!(apart <= 5.0 * self.mean_error + 1e-12, "{what}: mean {} ± {}, {mean}", self.mean, self.mean_error);
        if let Some(variance) = variance {
            let (got, error) = (self.variance, self.variance_error);
            assert!((got - variance).abs() <= 5.0 * error, "{what}: variance {got} ± {error}, {variance}");
            assert!((got / variance - 1.0).abs() < 0.05, "{what}: variance {got}, {variance}");
        }
    }
}

/// `d^order f[v^order]` at one point for many directions.
struct Sampler {
    exe: Executable<f64>,
    order: usize,
    x: Array<f64>,
}

impl Sampler {
    fn new(f: &Program, order: usize, x: &Array<f64>) -> Self {
        let exe = f.jet(&[0], &Jet::new(order, RUN).straight()).unwrap().compile().unwrap();
        Sampler { exe, order, x: x.clone() }
    }

    fn sample(&self, law: Law, runs: usize) -> Vec<f64> {
        let mut all = Vec::with_capacity(runs * RUN);
        for run in 0..runs {
            let mut v = vec![0.0; RUN * D];
            for (s, v) in v.chunks_exact_mut(D).enumerate() {
                probe_at(law, 3, Role::PdeDirections, ((run * RUN + s) as u64, 0), v);
            }
            let v = Array::new(&[RUN, 1, D], v).unwrap();
            let out = self.exe.call(&[Value::from(self.x.clone()), Value::from(v)]).unwrap();
            all.extend_from_slice(out[self.order].real().unwrap().data());
        }
        all
    }
}

/// A quadratic form and its matrix, symmetric.
fn quadratic() -> (Program, Vec<f64>) {
    let a = numbers(&[D, D], 17, -1.0, 1.5);
    let h = (0..D * D).map(|k| a.data()[k] + a.data()[k % D * D + k / D]).collect();
    let f = trace(&[("x", TensorType::real(&[1, D]))], |t, x| {
        let a = t.constant(&[D, D], a.data());
        vec![("f", (x[0].matmul(&a) * &x[0]).sum(&[1]))]
    })
    .unwrap();
    (f, h)
}

/// The variances of one sample for each law, a million samples each.
#[test]
fn laplacians_vary_as_their_formulas_say() {
    let (f, h) = quadratic();
    let sampler = Sampler::new(&f, 2, &numbers(&[1, D], 4, -1.0, 1.0));
    let trace: f64 = (0..D).map(|i| h[i * D + i]).sum();
    let all: f64 = h.iter().map(|x| x * x).sum();
    let diagonal: f64 = (0..D).map(|i| h[i * D + i].powi(2)).sum();
    let d = D as f64;
    let cases = [
        (Law::Gaussian, 2.0 * all),
        (Law::Rademacher, 2.0 * (all - diagonal)),
        (Law::Sphere, 2.0 * d / (d + 2.0) * (all - trace * trace / d)),
    ];
    for (law, variance) in cases {
        moments(&sampler.sample(law, 20)).check(law.name(), trace, Some(variance));
    }
}

/// `B` of `D` coordinates without replacement, scaled by `D/B`: `D^2 (1 - B/D)/B` times the variance of the diagonal's entries.
#[test]
fn coordinates_without_replacement_vary_as_their_formula_says() {
    let (f, h) = quadratic();
    let x = numbers(&[1, D], 4, -1.0, 1.0);
    let units = Array::from_fn(&[D, 1, D], |k| f64::from(u8::from(k / D == k % D)));
    let jet = f.jet(&[0], &Jet::new(2, D).straight()).unwrap();
    let second = jet.interpret(&[Value::from(x), Value::from(units)]).unwrap().remove(2);
    let pure = second.real().unwrap().data();
    let mean = pure.iter().sum::<f64>() / D as f64;
    assert!((0..D).all(|i| (pure[i] - h[i * D + i]).abs() < 1e-13));
    let spread = pure.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / (D - 1) as f64;
    for batch in 1..D {
        let estimates: Vec<f64> = (0..100_000)
            .map(|s| {
                let mut order: Vec<usize> = (0..D).collect();
                Stream::new(5, Role::PdeDirections, s, batch as u64).shuffle(&mut order);
                order[..batch].iter().map(|&i| pure[i]).sum::<f64>() * D as f64 / batch as f64
            })
            .collect();
        let b = batch as f64;
        let variance = (D * D) as f64 * (1.0 - b / D as f64) / b * spread;
        moments(&estimates).check(&format!("{batch} coordinates"), D as f64 * mean, Some(variance));
    }
}

/// Means of fourth derivatives: three biharmonics for Gaussians, `3 D / (D + 2)` for the sphere, and for signs short of it by twice the
/// sum of the pure fourth derivatives.
#[test]
fn fourth_derivatives_average_to_the_biharmonic() {
    let x = numbers(&[1, D], 4, -1.0, 1.0);
    let f = trace(&[("x", TensorType::real(&[1, D]))], |t, x| {
        let w = t.constant(&[D, 3], numbers(&[D, 3], 21, -0.9, 0.9).data());
        vec![("f", x[0].matmul(&w).tanh().sum(&[1]))]
    })
    .unwrap();
    let value = |operator| {
        let p = Pde::new(&f, 0).operator("op", operator).build().unwrap();
        p.interpret(&[Value::from(x.clone())]).unwrap()[0].real().unwrap().data()[0]
    };
    let biharmonic = value(Operator::Biharmonic(Scheme::Direct));
    let pure = (0..D).map(|i| {
        let mut alpha = vec![0; D];
        alpha[i] = 4;
        value(Operator::Linear(vec![(alpha, 1.0)]))
    });
    let short = 2.0 * pure.sum::<f64>();
    let sampler = Sampler::new(&f, 4, &x);
    let d = D as f64;
    let cases = [
        (Law::Gaussian, 3.0 * biharmonic),
        (Law::Sphere, 3.0 * d / (d + 2.0) * biharmonic),
        (Law::Rademacher, 3.0 * biharmonic - short),
    ];
    for (law, mean) in cases {
        moments(&sampler.sample(law, 4)).check(law.name(), mean, None);
    }
    assert!(short.abs() > 0.05, "the correction shows: {short}");
}
