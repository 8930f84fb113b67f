//! One period (ten steps, one refresh) of the optimisers on single matrices and on many small ones, with their limits beside
//! them: faer's products of the same flops for the matrix methods, a pass over the same memory for AdamW.
//!
//! `optim f32 512x512/soap` against `optim f32 512x512/products of soap`: the quotient is the share of the machine's matrix rate
//! that a step reaches, refresh included. `without refresh` is the same method with a refresh that never comes.
//!
//! `OPTIM_SHAPES` (default `256x256,512x512,many`; any `MxN`, and `MxN-dense` for a dense factor on a long axis), `OPTIM_DTYPES` (`f32`) and
//! `OPTIM_METHODS` choose; the sizes above the defaults take minutes each.

use benches::optimizers::{PERIOD, Stepper, flops, half_product, method, shapes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use numerics::{Mat, Par, Scalar, dense};
use optim::Method;
use std::hint::black_box;
use std::time::Duration;

const METHODS: [&str; 7] = ["soap", "kl-shampoo", "shampoo", "muon", "muon-bfloat16", "spectral", "adamw"];

/// Products with as many flops as a period of the method, `(m x n)(n x n)` again and again, in the precision that the method has them in.
fn products<T: Scalar>(c: &mut Criterion, group: &str, name: &str, flops: f64, (m, n): (usize, usize)) {
    let (rows, inner) = (m.max(n), m.min(n));
    let one = 2.0 * rows as f64 * (inner * inner) as f64;
    let count = (flops / one).ceil().max(1.0);
    let fill = |r: usize, c: usize| Mat::<T>::from_fn(r, c, |i, j| T::from_f64(((i * 7 + j * 3) as f64).sin()));
    let (x, y) = (fill(rows, inner), fill(inner, inner));
    let mut out = Mat::zeros(rows, inner);
    let mut half = half_product(x.as_ref(), y.as_ref(), Par::Seq);
    let mut single = || dense::gemm(out.as_mut(), T::ONE, x.as_ref(), y.as_ref(), T::ZERO, Par::Seq);
    let product: &mut dyn FnMut() = if name.ends_with("-bfloat16") { &mut half } else { &mut single };
    let mut group = c.benchmark_group(group);
    // The rate is what is compared: the count is rounded up.
    group.throughput(Throughput::Elements((count * one) as u64));
    group.bench_function(format!("products of {name}"), |b| {
        b.iter(|| {
            for _ in 0..count as usize {
                product();
            }
        });
    });
    group.finish();
}

/// The memory traffic of a period of AdamW: weights and moments read and written, the gradient read.
fn pass<T: Scalar>(c: &mut Criterion, group: &str, len: usize) {
    let [mut w, mut m, mut v] = [(); 3].map(|()| vec![T::ONE; len]);
    let g = vec![T::from_f64(1e-3); len];
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Bytes((7 * len * core::mem::size_of::<T>() * PERIOD) as u64));
    group.bench_function("memory of adamw", |b| {
        b.iter(|| {
            for _ in 0..PERIOD {
                for (((w, m), v), g) in w.iter_mut().zip(&mut m).zip(&mut v).zip(&g) {
                    *m += *g;
                    *v += *g;
                    *w += *g;
                }
                black_box((&w, &m, &v));
            }
        });
    });
    group.finish();
}

/// The same method with a refresh that never comes in a benchmark's time.
fn without_refresh(method: &Method) -> Option<Method> {
    let mut method = method.clone();
    match &mut method {
        Method::Kron(c) => c.period = u64::MAX,
        Method::Shampoo(c) => {
            c.period = u64::MAX;
            c.start = Some(1);
        }
        _ => return None,
    }
    Some(method)
}

fn one<T: Scalar>(c: &mut Criterion, case: &str, name: &str) {
    let method = method(name).expect("a listed method");
    let shapes = shapes(case).expect("a listed shape");
    let group = format!("optim {} {case}", T::DTYPE);
    let flops = match shapes.as_slice() {
        [shape] => flops(&method, shape[0], shape[1]),
        _ => None,
    };
    let mut bench = |label: &str, method: &Method| {
        let mut stepper = Stepper::<T>::new(method, &shapes, Par::Seq).expect("a stepper");
        let mut group = c.benchmark_group(&group);
        match flops {
            Some(f) => group.throughput(Throughput::Elements((f * PERIOD as f64) as u64)),
            None => {
                let len: usize = shapes.iter().map(|s| s.iter().product::<usize>()).sum();
                group.throughput(Throughput::Bytes((7 * len * core::mem::size_of::<T>() * PERIOD) as u64))
            }
        };
        group.bench_function(label, |b| b.iter(|| stepper.steps(PERIOD).expect("a step")));
        group.finish();
    };
    bench(name, &method);
    if let Some(other) = without_refresh(&method) {
        bench(&format!("{name} without refresh"), &other);
    }
    match (flops, shapes.as_slice()) {
        (Some(f), [shape]) => products::<T>(c, &group, name, f * PERIOD as f64, (shape[0], shape[1])),
        (None, [shape]) if name == "adamw" => pass::<T>(c, &group, shape.iter().product()),
        _ => {}
    }
}

/// Words of an environment variable, separated by commas.
fn listed(name: &str, default: &str) -> Vec<String> {
    let text = std::env::var(name).unwrap_or_else(|_| default.into());
    text.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

fn steps(c: &mut Criterion) {
    let methods = listed("OPTIM_METHODS", &METHODS.join(","));
    for dtype in listed("OPTIM_DTYPES", "f32") {
        for case in listed("OPTIM_SHAPES", "256x256,512x512,many") {
            let (shape, suffix) = case.strip_suffix("-dense").map_or((case.as_str(), ""), |shape| (shape, "-dense"));
            // Only methods with factors have another form with a dense one.
            for name in methods.iter().filter(|m| suffix.is_empty() || ["soap", "kl-shampoo"].contains(&m.as_str())) {
                let name = format!("{name}{suffix}");
                if dtype == "f64" { one::<f64>(c, shape, &name) } else { one::<f32>(c, shape, &name) }
            }
        }
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = steps
}
criterion_main!(benches);
