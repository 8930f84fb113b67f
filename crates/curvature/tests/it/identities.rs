//! Curvature identities that hold whatever the numbers are (arXiv:2501.19183; dense ground truth in f64).

use autodiff::{Array, Program, TensorType, Value, trace};
use curvature::{Batch, Risk};
use linop_core::{LinearOperator, to_dense};
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par};

fn normals(seed: u64, n: usize) -> Vec<f64> {
    let mut x = vec![0.0; n];
    Stream::new(seed, Role::SyntheticMatrix, 0, 0).fill_normal(&mut x);
    x
}

fn real(shape: &[usize], data: Vec<f64>) -> Value<f64> {
    Value::Real(Array::new(shape, data).unwrap())
}

fn dense(op: &dyn LinearOperator<f64>) -> Mat<f64> {
    to_dense(op, Par::Seq).unwrap()
}

fn assert_close(a: &Mat<f64>, b: &Mat<f64>, tol: f64) {
    let scale = (0..b.nrows()).flat_map(|i| (0..b.ncols()).map(move |j| b[(i, j)].abs())).fold(0.0, f64::max);
    for i in 0..a.nrows() {
        for j in 0..a.ncols() {
            let d = (a[(i, j)] - b[(i, j)]).abs();
            assert!(d <= tol * scale, "({i}, {j}): {} against {}", a[(i, j)], b[(i, j)]);
        }
    }
}

/// `f = W x` with `W` of shape 3 x 4.
fn linear(n: usize) -> Result<Program, autodiff::Error> {
    trace(&[("params", TensorType::real(&[12])), ("inputs", TensorType::real(&[n, 4]))], |_, t| {
        vec![("f", t[1].matmul(&t[0].reshape(&[3, 4]).t()))]
    })
}

/// A 4-5-3 net with tanh.
fn net(n: usize) -> Result<Program, autodiff::Error> {
    trace(&[("params", TensorType::real(&[35])), ("inputs", TensorType::real(&[n, 4]))], |_, t| {
        let (w, v) = (t[0].slice(0, 0, 20).reshape(&[5, 4]), t[0].slice(0, 20, 35).reshape(&[3, 5]));
        vec![("f", t[1].matmul(&w.t()).tanh().matmul(&v.t()))]
    })
}

/// The same net with ReLU.
fn relu_net(n: usize) -> Result<Program, autodiff::Error> {
    trace(&[("params", TensorType::real(&[35])), ("inputs", TensorType::real(&[n, 4]))], |_, t| {
        let (w, v) = (t[0].slice(0, 0, 20).reshape(&[5, 4]), t[0].slice(0, 20, 35).reshape(&[3, 5]));
        vec![("f", t[1].matmul(&w.t()).relu().matmul(&v.t()))]
    })
}

fn square(f: &TensorType, y: &[TensorType]) -> Result<Program, autodiff::Error> {
    trace(&[("f", f.clone()), ("y", y[0].clone())], |_, t| vec![("sum", (&t[0] - &t[1]).powf(2.0).sum_all())])
}

fn cross_entropy(f: &TensorType, y: &[TensorType]) -> Result<Program, autodiff::Error> {
    trace(&[("f", f.clone()), ("y", y[0].clone())], |_, t| {
        vec![("sum", -(t[0].log_softmax() * t[1].one_hot(3)).sum_all())]
    })
}

type Make = fn(usize) -> Result<Program, autodiff::Error>;

fn data(cuts: &[usize], classes: bool) -> Vec<Batch<f64>> {
    let n: usize = cuts.iter().sum();
    let (x, y) = (normals(1, n * 4), normals(2, n * 3));
    let mut start = 0;
    let mut batches = Vec::new();
    for &size in cuts {
        let rows = start..start + size;
        let inputs = real(&[size, 4], x[rows.start * 4..rows.end * 4].to_vec());
        let target = if classes {
            Value::Int(Array::from_fn(&[size], |i| ((rows.start + i) * 7 % 3) as i64))
        } else {
            real(&[size, 3], y[rows.start * 3..rows.end * 3].to_vec())
        };
        batches.push(Batch { inputs, targets: vec![target] });
        start += size;
    }
    batches
}

fn risk(model: Make, classes: bool, cuts: &[usize]) -> Risk<f64> {
    let p = if std::ptr::fn_addr_eq(model, linear as Make) { 12 } else { 35 };
    let params = normals(3, p).into_iter().map(|x| 0.5 * x).collect();
    if classes {
        Risk::new(model, cross_entropy, params, data(cuts, classes), 0.125).unwrap()
    } else {
        Risk::new(model, square, params, data(cuts, classes), 0.125).unwrap()
    }
}

/// `H = kappa 2 (I (x) X^T X)`, and the same GGN.
#[test]
fn least_squares_has_the_textbook_hessian() {
    let r = risk(linear, false, &[5, 3]);
    let x = normals(1, 32);
    let expected = Mat::from_fn(12, 12, |i, j| {
        let inner = |a: usize, b: usize| (0..8).map(|n| x[n * 4 + a] * x[n * 4 + b]).sum::<f64>();
        if i / 4 == j / 4 { 0.25 * inner(i % 4, j % 4) } else { 0.0 }
    });
    assert_close(&dense(&r.hessian().unwrap()), &expected, 1e-13);
    assert_close(&dense(&r.ggn().unwrap()), &expected, 1e-13);
}

/// `H = G = kappa sum (diag p - p p^T) (x) x x^T`.
#[test]
fn softmax_regression_has_the_textbook_hessian() {
    let r = risk(linear, true, &[4, 4]);
    let (x, w) = (normals(1, 32), r.params());
    let mut expected = Mat::<f64>::zeros(12, 12);
    for n in 0..8 {
        let f: Vec<f64> = (0..3).map(|c| (0..4).map(|k| w[c * 4 + k] * x[n * 4 + k]).sum()).collect();
        let z: f64 = f.iter().map(|f| f.exp()).sum();
        let p: Vec<f64> = f.iter().map(|f| f.exp() / z).collect();
        for i in 0..12 {
            for j in 0..12 {
                let h = if i / 4 == j / 4 { p[i / 4] } else { 0.0 } - p[i / 4] * p[j / 4];
                expected[(i, j)] += 0.125 * h * x[n * 4 + i % 4] * x[n * 4 + j % 4];
            }
        }
    }
    assert_close(&dense(&r.hessian().unwrap()), &expected, 1e-12);
    assert_close(&dense(&r.ggn().unwrap()), &expected, 1e-12);
}

/// Two routes of ours: 1e-12.
#[test]
fn any_cut_of_the_data_gives_the_same_operator() {
    for classes in [false, true] {
        let whole = risk(net, classes, &[12]);
        for cuts in [&[4, 4, 4][..], &[1, 11], &[5, 0, 7]] {
            let cut = risk(net, classes, cuts);
            assert_close(&dense(&cut.hessian().unwrap()), &dense(&whole.hessian().unwrap()), 1e-12);
            assert_close(&dense(&cut.ggn().unwrap()), &dense(&whole.ggn().unwrap()), 1e-12);
            let ((a, g), (b, h)) = (cut.value_and_gradient().unwrap(), whole.value_and_gradient().unwrap());
            assert!((a - b).abs() <= 1e-13 * b.abs());
            g.iter().zip(&h).for_each(|(g, h)| assert!((g - h).abs() <= 1e-12));
        }
    }
}

#[test]
fn hessian_is_the_derivative_of_the_gradient() {
    let r = risk(net, true, &[7, 3]);
    let h = dense(&r.hessian().unwrap());
    let step = 1e-5;
    for j in [0, 7, 19, 20, 34] {
        let moved = |s: f64| {
            let mut p = r.params().to_vec();
            p[j] += s;
            r.with_params(p).unwrap().value_and_gradient().unwrap().1
        };
        let (plus, minus) = (moved(step), moved(-step));
        for i in 0..35 {
            let difference = (plus[i] - minus[i]) / (2.0 * step);
            assert!((h[(i, j)] - difference).abs() < 1e-9, "({i}, {j}): {} against {difference}", h[(i, j)]);
        }
    }
}

/// Away from kinks the Hessian's same-layer blocks are the GGN's when the activation is piecewise linear.
#[test]
fn relu_networks_share_their_layer_blocks() {
    let r = risk(relu_net, true, &[6, 4]);
    let (h, g) = (dense(&r.hessian().unwrap()), dense(&r.ggn().unwrap()));
    let block = |m: &Mat<f64>, a: usize, n: usize| m.submatrix(a, a, n, n).to_owned();
    assert_close(&block(&h, 0, 20), &block(&g, 0, 20), 1e-12);
    assert_close(&block(&h, 20, 15), &block(&g, 20, 15), 1e-12);
    let off = (0..20).map(|i| (h[(i, 25)] - g[(i, 25)]).abs()).fold(0.0, f64::max);
    assert!(off > 1e-4, "the other blocks differ");
}

#[test]
fn wrong_interfaces_are_errors() {
    let ok = data(&[3], false);
    let make = |params: usize, batches: Vec<Batch<f64>>| Risk::new(net, square, vec![0.1; params], batches, 1.0);
    assert!(make(34, ok.clone()).is_err(), "the model has 35 parameters");
    assert!(make(35, vec![]).is_err(), "no data");
    assert!(make(35, data(&[0], false)).is_err(), "no data");
    let mut wide = ok.clone();
    wide[0].inputs = real(&[3, 5], vec![0.0; 15]);
    assert!(make(35, wide).is_err(), "inputs of the wrong width");
    let mut short = ok;
    short[0].targets = vec![real(&[2, 3], vec![0.0; 6])];
    assert!(make(35, short).is_err(), "fewer targets than data");
}

/// What belongs to one datum must not meet what belongs to another: the operation is named.
#[test]
fn models_that_mix_data_are_errors() {
    let centred = |n: usize| {
        trace(&[("params", TensorType::real(&[12])), ("inputs", TensorType::real(&[n, 4]))], |_, t| {
            let x = &t[1] - t[1].mean(&[0]).reshape(&[1, 4]).broadcast_to(&[n, 4]);
            vec![("f", x.matmul(&t[0].reshape(&[3, 4]).t()))]
        })
    };
    let message = Risk::new(centred, square, vec![0.1; 12], data(&[5], false), 1.0).unwrap_err().to_string();
    assert!(message.contains("sub") && message.contains("identities.rs"), "{message}");
    let product = |f: &TensorType, y: &[TensorType]| {
        trace(&[("f", f.clone()), ("y", y[0].clone())], |_, t| {
            let sum = (&t[0] - &t[1]).powf(2.0).sum_all();
            vec![("sum", &sum * &sum)]
        })
    };
    let message = Risk::new(linear, product, vec![0.1; 12], data(&[5], false), 1.0).unwrap_err().to_string();
    assert!(message.contains("mul"), "{message}");
}
