//! Gradient and curvature products of a multilayer perceptron (784-1024-512-256-128-64-10, batch 512), with their limit
//! beside them: faer's own products of the same shapes.
//!
//! `gradient/N threads/compiled` against `gradient/N threads/products alone`: the quotient is the share of the machine's
//! matrix rate that a gradient reaches. The curvature products run with the forward pass cached.

use autodiff::nn::{Loss, Sequential};
use autodiff::{Array, Input, Output, Value, Workspace};
use criterion::{Criterion, criterion_group, criterion_main};
use curvature::{Reduction, Supervised};
use faer::Accum;
use faer::linalg::matmul::matmul;
use linop_core::LinearOperator;
use numerics::rng::{Role, Stream};
use numerics::{Mat, MemBuffer, MemStack, Par, Scalar};
use std::time::Duration;

const WIDTHS: [usize; 7] = [784, 1024, 512, 256, 128, 64, 10];
const BATCH: usize = 512;

fn model() -> Sequential {
    let mut layers = Vec::new();
    for (i, w) in WIDTHS.windows(2).enumerate() {
        if i > 0 {
            layers.push(r#"{"type": "relu"}"#.to_owned());
        }
        layers.push(format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1]));
    }
    let text =
        format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{}]}}"#, WIDTHS[0], layers.join(", "));
    Sequential::from_json(&text).expect("a valid model")
}

fn numbers<T: Scalar>(n: usize, stream: u64) -> Vec<T> {
    let mut x = vec![T::ZERO; n];
    Stream::new(0, Role::SyntheticMatrix, stream, 0).fill_uniform(&mut x);
    x
}

fn labels() -> Vec<i64> {
    (0..BATCH).map(|i| (i * 7 % 10) as i64).collect()
}

/// The products of one gradient: forward, and backward to weights and (but for the first layer) inputs.
fn shapes() -> Vec<(usize, usize, usize)> {
    let mut list = Vec::new();
    for (i, w) in WIDTHS.windows(2).enumerate() {
        list.push((BATCH, w[0], w[1]));
        list.push((w[1], BATCH, w[0]));
        if i > 0 {
            list.push((BATCH, w[1], w[0]));
        }
    }
    list
}

fn gradient<T: Scalar>(c: &mut Criterion) {
    let model = model();
    let loss = Loss::cross_entropy();
    let program = model.trace_loss(BATCH, &loss, false).and_then(|p| Ok(p.value_and_grad(&[0])?)).expect("a gradient");
    let exe = program.compile::<T>().expect("a compiled gradient");
    let params: Vec<T> = model.init(0);
    let (x, y) = (numbers::<T>(BATCH * WIDTHS[0], 1), labels());
    let mut value = vec![T::ZERO; 1];
    let mut slope = vec![T::ZERO; params.len()];
    let products: Vec<(Mat<T>, Mat<T>, Mat<T>)> = shapes()
        .into_iter()
        .map(|(m, k, n)| {
            let fill = |r: usize, c: usize, s: u64| {
                let data = numbers::<T>(r * c, s);
                Mat::from_fn(r, c, |i, j| data[j * r + i])
            };
            (fill(m, k, 2), fill(k, n, 3), Mat::zeros(m, n))
        })
        .collect();
    for threads in [1, 2] {
        let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
        let mut group = c.benchmark_group(format!("gradient {}/{threads} threads", T::DTYPE));
        let mut workspace = Workspace::with_par(par);
        group.bench_function("compiled", |b| {
            b.iter(|| {
                let inputs = [Input::Real(&params), Input::Real(&x), Input::Int(&y)];
                let mut outputs = [Output::Real(&mut value), Output::Real(&mut slope)];
                exe.run(&mut workspace, &inputs, &mut outputs).expect("a run");
            });
        });
        let mut products = products.clone();
        group.bench_function("products alone", |b| {
            b.iter(|| {
                for (x, y, out) in &mut products {
                    matmul(out.as_mut(), Accum::Replace, x.as_ref(), y.as_ref(), T::ONE, par);
                }
            });
        });
        group.finish();
    }
}

fn curvature_products<T: Scalar>(c: &mut Criterion) {
    let problem = Supervised::new(model(), Loss::cross_entropy(), Reduction::Mean);
    let params: Vec<T> = problem.model().init(0);
    let x = Array::new(&[BATCH, WIDTHS[0]], numbers::<T>(BATCH * WIDTHS[0], 1)).expect("inputs");
    let y = Array::new(&[BATCH], labels()).expect("labels");
    let risk = problem.risk(params, vec![(Value::Real(x), Value::Int(y), None)]).expect("a risk");
    let operators = [("hessian", risk.hessian().expect("a Hessian")), ("ggn", risk.ggn().expect("a GGN"))];
    for (name, op) in &operators {
        let mut group = c.benchmark_group(format!("{name} {}", T::DTYPE));
        for k in [1, 8] {
            let data = numbers::<T>(op.nrows() * k, 4);
            let v = Mat::from_fn(op.nrows(), k, |i, j| data[j * op.nrows() + i]);
            let mut out = Mat::zeros(op.nrows(), k);
            let mut memory = MemBuffer::new(op.apply_req(k, Par::Seq));
            group.bench_function(format!("{k} columns"), |b| {
                b.iter(|| {
                    let stack = MemStack::new(&mut memory);
                    op.apply(out.as_mut(), T::ONE, v.as_ref(), T::ZERO, Par::Seq, stack).expect("a product");
                });
            });
        }
        group.finish();
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = gradient::<f64>, gradient::<f32>, curvature_products::<f64>, curvature_products::<f32>
}
criterion_main!(benches);
