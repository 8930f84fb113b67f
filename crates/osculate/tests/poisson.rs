//! The pieces of the example `poisson`: its residual against closed forms, its Gauss-Newton matrix against columns of the Jacobian, and
//! its method's steps.

#[path = "../examples/poisson/gauss_newton.rs"]
mod gauss_newton;
#[path = "../examples/poisson/hessian_free.rs"]
mod hessian_free;
#[path = "../examples/poisson/problem.rs"]
#[allow(dead_code)]
mod problem;

use autodiff::{Array, Error, Program, TensorType, Value, trace};
use gauss_newton::Linearized;
use hessian_free::{Config, HessianFree};
use numerics::Par;
use problem::{Points, loss_and_gradient, network, residual};
use std::f64::consts::PI;

const INTERIOR: usize = 30;
const BOUNDARY: usize = 12;

fn array(shape: &[usize], data: Vec<f64>) -> Value<f64> {
    Array::new(shape, data).unwrap().into()
}

fn inputs(params: Vec<f64>, points: Points) -> Vec<Value<f64>> {
    vec![
        array(&[params.len()], params),
        array(&[INTERIOR, 2], points.interior),
        array(&[INTERIOR], points.source),
        array(&[BOUNDARY, 2], points.boundary),
    ]
}

/// A small network's residual program with its inputs.
fn small() -> (Program, Vec<Value<f64>>) {
    let model = network(4).unwrap();
    let program = residual(|n| model.trace_model(n), INTERIOR, BOUNDARY).unwrap();
    (program, inputs(model.init(42), Points::draw(42, INTERIOR, BOUNDARY)))
}

fn data(value: &Value<f64>) -> &[f64] {
    value.real().unwrap().data()
}

fn assert_close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for (i, (x, y)) in got.iter().zip(want).enumerate() {
        assert!((x - y).abs() <= tolerance * largest, "{i}: {x} and {y}");
    }
}

#[test]
fn points_lie_where_they_should() {
    let points = Points::draw(42, 200, 400);
    assert!(points.interior.iter().chain(&points.boundary).all(|x| (0.0..=1.0).contains(x)));
    let mut sides = [0; 4];
    for p in points.boundary.chunks_exact(2) {
        let on = [p[1] == 0.0, p[1] == 1.0, p[0] == 0.0, p[0] == 1.0];
        sides.iter_mut().zip(on).for_each(|(n, on)| *n += usize::from(on));
    }
    assert_eq!(sides.iter().sum::<usize>(), 400);
    // Expected 100 each, with a standard deviation of 8.7.
    assert!(sides.iter().all(|n| (60..140).contains(n)), "{sides:?}");
}

/// `c` times the solution, with `c` the one parameter, as a program of its own: no residual where `c = 1`, otherwise `(1 - c)` times the
/// source inside.
#[test]
fn the_solution_has_no_residual() {
    let model = |n: usize| -> Result<Program, Error> {
        trace(&[("params", TensorType::real(&[1])), ("x", TensorType::real(&[n, 2]))], |_, t| {
            let sines = (&t[1] * PI).sin();
            let f = sines.slice(1, 0, 1) * sines.slice(1, 1, 2);
            vec![("f", f * t[0].broadcast_to(&[n, 1]))]
        })
    };
    let program = residual(model, INTERIOR, BOUNDARY).unwrap();
    let at = |c: f64| program.interpret(&inputs(vec![c], Points::draw(7, INTERIOR, BOUNDARY))).unwrap().swap_remove(0);
    assert!(data(&at(1.0)).iter().all(|r| r.abs() < 1e-14));
    let source = Points::draw(7, INTERIOR, BOUNDARY).source;
    let expected: Vec<f64> = source.iter().map(|s| -0.5 * s / (INTERIOR as f64).sqrt()).collect();
    assert_close(&data(&at(1.5))[BOUNDARY..], &expected, 1e-13);
}

/// `sum_i a_i |w_i|^2 tanh''(w_i . x + b_i) + source` inside, `sum_i a_i tanh(w_i . x + b_i) + c` on the boundary.
#[test]
fn a_networks_residual_is_its_closed_form() {
    let (program, inputs) = small();
    let (p, width) = (data(&inputs[0]), 4);
    let unit = |i: usize, x: &[f64]| {
        let (w, t) = (&p[2 * i..2 * i + 2], (p[2 * i] * x[0] + p[2 * i + 1] * x[1] + p[2 * width + i]).tanh());
        (p[3 * width + i], w[0] * w[0] + w[1] * w[1], t)
    };
    let value = |x: &[f64]| {
        p[4 * width]
            + (0..width)
                .map(|i| {
                    let (a, _, t) = unit(i, x);
                    a * t
                })
                .sum::<f64>()
    };
    let bent = |x: &[f64]| {
        (0..width)
            .map(|i| {
                let (a, w, t) = unit(i, x);
                -2.0 * a * w * t * (1.0 - t * t)
            })
            .sum::<f64>()
    };
    let edge = data(&inputs[3]).chunks_exact(2).map(|x| value(x) / (BOUNDARY as f64).sqrt());
    let inside = data(&inputs[1]).chunks_exact(2).zip(data(&inputs[2]));
    let inside = inside.map(|(x, s)| (bent(x) + s) / (INTERIOR as f64).sqrt());
    let expected: Vec<f64> = edge.chain(inside).collect();
    assert_close(data(&program.interpret(&inputs).unwrap()[0]), &expected, 1e-14);
    assert_close(data(&program.compile().unwrap().call(&inputs).unwrap()[0]), &expected, 1e-14);
}

#[test]
fn the_matrix_is_made_of_the_jacobians_columns() {
    let (program, inputs) = small();
    let n = data(&inputs[0]).len();
    let push = program.jvp(&[0]).unwrap();
    let mut columns = Vec::new();
    for k in 0..n {
        let mut all = inputs.clone();
        all.push(array(&[n], (0..n).map(|i| f64::from(u8::from(i == k))).collect()));
        columns.push(data(&push.interpret(&all).unwrap()[1]).to_vec());
    }
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let point = Linearized::new(&program).unwrap().at(&inputs).unwrap();
    let dense = linop_core::to_dense(&point.matrix, Par::Seq).unwrap();
    let got: Vec<f64> = (0..n * n).map(|k| dense[(k / n, k % n)]).collect();
    let expected: Vec<f64> = (0..n * n).map(|k| dot(&columns[k / n], &columns[k % n])).collect();
    assert_close(&got, &expected, 1e-13);
    let r = program.interpret(&inputs).unwrap().swap_remove(0);
    let gradient: Vec<f64> = columns.iter().map(|c| dot(c, data(&r))).collect();
    assert_close(&point.gradient, &gradient, 1e-13);
    let both = loss_and_gradient(&program).unwrap().interpret(&inputs).unwrap();
    assert_close(data(&both[0]), &[point.loss], 1e-14);
    assert_close(data(&both[1]), &gradient, 1e-13);
}

#[test]
fn steps_lower_the_loss_and_the_damping_follows_the_ratio() {
    let (program, mut inputs) = small();
    let mut method = HessianFree::new(&program, Config::default()).unwrap();
    let mut steps = Vec::new();
    for _ in 0..40 {
        let before = data(&inputs[0]).to_vec();
        let step = method.step(&mut inputs).unwrap();
        assert!(if step.share == 0.0 { data(&inputs[0]) == before } else { step.loss < step.before }, "{step:?}");
        steps.push(step);
    }
    for pair in steps.windows(2) {
        let factor = pair[1].damping / pair[0].damping;
        let expected = if pair[0].ratio > 0.75 {
            0.5
        } else if pair[0].ratio < 0.25 {
            3.0
        } else {
            1.0
        };
        assert!((factor - expected).abs() < 1e-12, "{pair:?}");
        assert_eq!(pair[0].loss, pair[1].before);
    }
    let (first, last) = (steps[0].before, steps[39].loss);
    assert!(last < 0.05 * first, "{first} to {last}");
}
