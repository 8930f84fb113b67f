//! Sketches beside the rate of the product that limits them: low rank plus diagonal, Nystrom, XTrace, Walsh-Hadamard.
//!
//! Throughput is in flops of the method (elements a second are flops a second), so that every figure can be held against
//! `product` of its group; in the group of XTrace and in that of the transform it is a plain count of entries.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use linop_core::ops::{Dense, Diagonal};
use linop_core::{Props, to_dense};
use numerics::progress::Silent;
use numerics::rng::{Law, Role};
use numerics::{Mat, Par, dense};
use sketch::synthmat::{Family, Symmetry, Tail, implicit_lord};
use sketch::{
    Budget, LordOptions, Measurements, NystromVariant, Passes, Probe, Settings, TraceMethod, estimate_trace, fit_lord,
    fwht, nystrom,
};
use std::time::Duration;

fn threads() -> [(&'static str, Par); 2] {
    [("1 thread", Par::Seq), ("2 threads", Par::rayon(2))]
}

fn gaussian(n: usize, k: usize) -> Mat<f64> {
    Probe { law: Law::Gaussian, seed: 7, role: Role::SyntheticMatrix }.columns(n, 0..k)
}

/// The solver on exact structure, without its products: flops of as many iterations as it needs, three products of
/// `n x p` with `p x p` each. `product` is one of these.
fn lord(c: &mut Criterion) {
    for (n, k, p) in [(2000, 50, 150), (5000, 100, 300)] {
        let mut group = c.benchmark_group(format!("lord n {n} k {k} p {p}"));
        let family = Family { rank: k, tail: Tail::None, symmetry: Symmetry::Psd };
        let a = implicit_lord(n, &family, 10.0, 1).expect("a matrix");
        let measured = Measurements::take(&a, 0..p, &Settings::default()).expect("products");
        let options = LordOptions { passes: Passes::One, ..LordOptions::default() };
        let fit = |par| fit_lord(&measured, &options, &Silent, par).expect("a fit");
        let iterations = fit(Par::Seq).report.iterations;
        let once = 2 * n * p * p;
        let (x, w) = (gaussian(n, p), gaussian(p, p));
        let mut y = Mat::zeros(n, p);
        for (name, par) in threads() {
            group.throughput(Throughput::Elements((3 * once / 2 * iterations) as u64));
            group.bench_function(BenchmarkId::new("fit", name), |b| b.iter(|| fit(par)));
            group.throughput(Throughput::Elements(once as u64));
            group.bench_function(BenchmarkId::new("product", name), |b| {
                b.iter(|| dense::gemm(y.as_mut(), 1.0, x.as_ref(), w.as_ref(), 0.0, par));
            });
        }
        group.finish();
    }
}

/// A stored matrix, n 4000, 200 probes. All flops count: `2 n^2 l` of the products, `2 n l^2` each for the probes' basis, the
/// core and R, `4 n l^2` for the vectors. `product` is the product with the probes alone.
fn nystrom_of_a_stored_matrix(c: &mut Criterion) {
    let (n, l) = (4000, 200);
    let family = Family { rank: 300, tail: Tail::None, symmetry: Symmetry::Psd };
    let a: Mat<f64> =
        to_dense(&implicit_lord(n, &family, 0.0, 2).expect("a matrix"), Par::Seq).expect("a dense matrix");
    let op = Dense::with_props(a.clone(), Props::PSD);
    let x = gaussian(n, l);
    let mut y = Mat::zeros(n, l);
    let mut group = c.benchmark_group(format!("nystrom n {n} l {l}"));
    for (name, par) in threads() {
        let settings = Settings { par, ..Settings::default() };
        group.throughput(Throughput::Elements((2 * n * n * l + 10 * n * l * l) as u64));
        group.bench_function(BenchmarkId::new("with its products", name), |b| {
            b.iter(|| nystrom(&op, l, NystromVariant::Stable, &settings).expect("an approximation"));
        });
        group.throughput(Throughput::Elements((2 * n * n * l) as u64));
        group.bench_function(BenchmarkId::new("product", name), |b| {
            b.iter(|| dense::gemm(y.as_mut(), 1.0, a.as_ref(), x.as_ref(), 0.0, par));
        });
    }
    group.finish();
}

/// All k samples from one factorisation, against one factorisation for each sample as the definition has it. The operator is
/// diagonal, so that its products cost nothing beside the rest.
fn xtrace(c: &mut Criterion) {
    let k = 50;
    let brute = |d: &[f64], par| {
        let n = d.len();
        let omega = Probe { law: Law::Rademacher, seed: 0, role: Role::RightProbe }.columns(n, 0..k);
        let times = |x: &Mat<f64>| Mat::from_fn(n, x.ncols(), |i, j| d[i] * x[(i, j)]);
        let y = times(&omega);
        let sample = |i: usize| -> f64 {
            let rest = Mat::from_fn(n, k - 1, |a, j| y[(a, j + usize::from(j >= i))]);
            let q = dense::qr_tall(rest.as_ref(), par).expect("a basis").q;
            let mut inside = vec![0.0; k - 1];
            dense::col_dots(q.as_ref(), times(&q).as_ref(), &mut inside);
            let mut w = omega.subcols(i, 1).to_owned();
            let mut c = Mat::zeros(k - 1, 1);
            dense::gemm(c.as_mut(), 1.0, q.transpose(), w.as_ref(), 0.0, par);
            dense::gemm(w.as_mut(), -1.0, q.as_ref(), c.as_ref(), 1.0, par);
            let mut outside = [0.0];
            dense::col_dots(w.as_ref(), times(&w).as_ref(), &mut outside);
            inside.iter().sum::<f64>() + outside[0]
        };
        (0..k).map(sample).sum::<f64>() / k as f64
    };
    let spectrum = |n: usize| -> Vec<f64> { (0..n).map(|i| 1.0 / (1.0 + i as f64)).collect() };
    let fast = |d: &[f64], par| {
        let settings = Settings { par, ..Settings::default() };
        let method = TraceMethod::XTrace { resphere: false };
        estimate_trace(&Diagonal::new(d.to_vec()), method, Budget::Products(2 * k), &settings).expect("a trace").value
    };
    for n in [10_000, 100_000] {
        let d = spectrum(n);
        let mut group = c.benchmark_group(format!("xtrace n {n} k {k}"));
        group.throughput(Throughput::Elements((n * k) as u64));
        for (name, par) in threads() {
            group.bench_function(BenchmarkId::new("one factorisation", name), |b| b.iter(|| fast(&d, par)));
            if n == 10_000 {
                let (a, b) = (fast(&d, par), brute(&d, par));
                assert!((a - b).abs() < 1e-9 * b.abs(), "{a} against {b}");
                group.bench_function(BenchmarkId::new("one for each sample", name), |b| b.iter(|| brute(&d, par)));
            }
        }
        group.finish();
    }
}

/// `2^20` numbers in place, beside one pass over them.
fn walsh_hadamard(c: &mut Criterion) {
    let mut x: Vec<f64> = (0..1 << 20).map(f64::from).collect();
    let mut group = c.benchmark_group("walsh-hadamard 2^20");
    group.throughput(Throughput::Elements(1 << 20));
    group.bench_function("transform", |b| {
        b.iter(|| {
            fwht(&mut x).expect("a power of two");
            // what the transform enlarges
            x.iter_mut().for_each(|x| *x *= 1.0 / 1024.0);
        });
    });
    group.bench_function("one pass", |b| b.iter(|| x.iter_mut().for_each(|x| *x *= 1.000_000_1)));
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = lord, nystrom_of_a_stored_matrix, xtrace, walsh_hadamard
}
criterion_main!(benches);
