//! Structured operators beside the same work written out by hand: a Kronecker product, a solve with diagonal plus low rank,
//! conjugate gradients on a block of right-hand sides.
//!
//! In each group `operator` against `by hand` is the price of the abstraction; the limit is a factor of 1.2.

use criterion::{Criterion, criterion_group, criterion_main};
use faer::Accum;
use faer::linalg::matmul::matmul;
use linop_core::krylov::{Options, cg};
use linop_core::ops::{Dense, LowRank};
use linop_core::{LinearOperator, Op, Props};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatMut, MatRef, MemBuffer, MemStack, Par, Scalar, dense};
use std::time::Duration;

fn random<T: Scalar>(m: usize, n: usize, stream: u64) -> Mat<T> {
    let mut s = Stream::new(0, Role::SyntheticMatrix, stream, 0);
    Mat::from_fn(m, n, |_, _| T::from_f64(s.uniform() - 0.5))
}

fn apply<T: Scalar>(op: &Op<T>, x: &Mat<T>, out: &mut Mat<T>, memory: &mut MemBuffer) {
    op.apply(out.as_mut(), T::ONE, x.as_ref(), T::ZERO, Par::Seq, MemStack::new(memory)).expect("a product");
}

/// `(A (x) B) rvec(X) = rvec(A X B^T)`.
fn kronecker<T: Scalar>(c: &mut Criterion) {
    let (m, n) = (256, 200);
    let (a, b) = (random::<T>(m, m, 1), random::<T>(n, n, 2));
    let op = Op::dense(a.clone()).kron(&Op::dense(b.clone())).expect("a Kronecker product");
    for k in [1, 4] {
        let mut group = c.benchmark_group(format!("kronecker {}/{k} columns", T::DTYPE));
        let x = random::<T>(m * n, k, 3);
        let mut out = Mat::zeros(m * n, k);
        let mut memory = MemBuffer::new(op.apply_req(k, Par::Seq));
        group.bench_function("operator", |bench| bench.iter(|| apply(&op, &x, &mut out, &mut memory)));
        let mut middle = vec![T::ZERO; m * n * k];
        let flat: Vec<T> = (0..k).flat_map(|j| (0..m * n).map(move |i| (i, j))).map(|p| x[p]).collect();
        let mut result = vec![T::ZERO; m * n * k];
        group.bench_function("by hand", |bench| {
            bench.iter(|| {
                let wide = MatRef::from_column_major_slice(&flat, n, m * k);
                let to = MatMut::from_column_major_slice_mut(&mut middle, n, m * k);
                matmul(to, Accum::Replace, b.as_ref(), wide, T::ONE, Par::Seq);
                for (from, to) in middle.chunks_exact(m * n).zip(result.chunks_exact_mut(m * n)) {
                    let from = MatRef::from_column_major_slice(from, n, m);
                    let to = MatMut::from_column_major_slice_mut(to, n, m);
                    matmul(to, Accum::Replace, from, a.as_ref().transpose(), T::ONE, Par::Seq);
                }
            });
        });
        group.finish();
    }
}

/// Four tall products and two scalings.
fn woodbury<T: Scalar>(c: &mut Criterion) {
    let (n, r, k) = (20_000, 48, 8);
    let u = random::<T>(n, r, 1);
    let d: Vec<T> = (0..n).map(|i| T::from_f64(1.0 + (i % 7) as f64)).collect();
    let op = Op::diag(d.clone()).plus(&Op::new(LowRank::gram(u.clone()))).and_then(|a| a.inverse(Par::Seq));
    let op = op.expect("an inverse");
    let mut group = c.benchmark_group(format!("woodbury {}", T::DTYPE));
    let x = random::<T>(n, k, 2);
    let mut out = Mat::zeros(n, k);
    let mut memory = MemBuffer::new(op.apply_req(k, Par::Seq));
    group.bench_function("operator", |bench| bench.iter(|| apply(&op, &x, &mut out, &mut memory)));
    let half: Vec<T> = d.iter().map(|d| d.sqrt().recip()).collect();
    let svd = dense::svd(Mat::from_fn(n, r, |i, j| half[i] * u[(i, j)]).as_ref()).expect("an SVD");
    let (mut y, mut small, mut again) = (Mat::zeros(n, k), Mat::zeros(r, k), Mat::zeros(r, k));
    group.bench_function("by hand", |bench| {
        bench.iter(|| {
            for j in 0..k {
                y.col_as_slice_mut(j).iter_mut().zip(x.col_as_slice(j)).zip(&half).for_each(|((y, &x), &h)| *y = h * x);
            }
            let q = svd.u.as_ref();
            matmul(small.as_mut(), Accum::Replace, q.transpose(), y.as_ref(), T::ONE, Par::Seq);
            matmul(y.as_mut(), Accum::Add, q, small.as_ref(), -T::ONE, Par::Seq);
            matmul(again.as_mut(), Accum::Replace, q.transpose(), y.as_ref(), T::ONE, Par::Seq);
            matmul(y.as_mut(), Accum::Add, q, again.as_ref(), -T::ONE, Par::Seq);
            for j in 0..k {
                small.col_as_slice_mut(j).iter_mut().zip(&svd.s).for_each(|(c, &s)| *c /= T::ONE + s * s);
            }
            matmul(y.as_mut(), Accum::Add, q, small.as_ref(), T::ONE, Par::Seq);
            for j in 0..k {
                out.col_as_slice_mut(j)
                    .iter_mut()
                    .zip(y.col_as_slice(j))
                    .zip(&half)
                    .for_each(|((o, &y), &h)| *o = h * y);
            }
        });
    });
    group.finish();
}

/// As many iterations as the solver needs on a block of right-hand sides, and the final residual.
fn conjugate_gradients<T: Scalar>(c: &mut Criterion) {
    let (n, k) = (1200, 4);
    let x = random::<T>(n, n, 1);
    let mut a = Mat::from_fn(n, n, |i, j| if i == j { T::from_usize(n) } else { T::ZERO });
    matmul(a.as_mut(), Accum::Add, x.as_ref(), x.transpose(), T::ONE, Par::Seq);
    let op = Dense::with_props(a.clone(), Props::PD);
    let b = random::<T>(n, k, 2);
    let mut group = c.benchmark_group(format!("cg {}", T::DTYPE));
    let options = Options { rtol: if size_of::<T>() == 4 { 1e-4 } else { 1e-8 }, ..Options::default() };
    let steps = cg(&op, b.as_ref(), &options, Par::Seq).expect("a solve").report.iterations;
    group.bench_function("operator", |bench| {
        bench.iter(|| cg(&op, b.as_ref(), &options, Par::Seq).expect("a solve"));
    });
    group.bench_function("by hand", |bench| {
        bench.iter(|| {
            let (mut x, mut r, mut p) = (Mat::<T>::zeros(n, k), b.clone(), b.clone());
            let mut q = Mat::zeros(n, k);
            let mut rr: Vec<T> = (0..k).map(|j| dense::dot(r.col_as_slice(j), r.col_as_slice(j))).collect();
            for _ in 0..steps {
                matmul(q.as_mut(), Accum::Replace, a.as_ref(), p.as_ref(), T::ONE, Par::Seq);
                for (j, rr) in rr.iter_mut().enumerate() {
                    let alpha = *rr / dense::dot(p.col_as_slice(j), q.col_as_slice(j));
                    x.col_as_slice_mut(j).iter_mut().zip(p.col_as_slice(j)).for_each(|(x, &p)| *x += alpha * p);
                    r.col_as_slice_mut(j).iter_mut().zip(q.col_as_slice(j)).for_each(|(r, &q)| *r += -alpha * q);
                    let next = dense::dot(r.col_as_slice(j), r.col_as_slice(j));
                    let beta = next / *rr;
                    *rr = next;
                    p.col_as_slice_mut(j).iter_mut().zip(r.col_as_slice(j)).for_each(|(p, &r)| *p = r + beta * *p);
                }
            }
            q.copy_from(&b);
            matmul(q.as_mut(), Accum::Add, a.as_ref(), x.as_ref(), -T::ONE, Par::Seq);
            (x, q)
        });
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = kronecker::<f64>, kronecker::<f32>, woodbury::<f64>, woodbury::<f32>, conjugate_gradients::<f64>,
        conjugate_gradients::<f32>
}
criterion_main!(benches);
