//! The closed forms against the traced losses, against dense matrices, and where logits are extreme.

use super::{Root, Target, TermLoss};
use autodiff::nn::{CrossEntropy, Loss};
use autodiff::{Array, TensorType, Value};
use numerics::Scalar;
use numerics::rng::{Role, Stream};

const TERMS: usize = 7;
const CLASSES: usize = 4;

fn numbers(stream: u64, n: usize, scale: f64) -> Vec<f64> {
    let mut x = vec![0.0; n];
    Stream::new(5, Role::SyntheticMatrix, stream, 0).fill_normal(&mut x);
    x.iter().map(|x| scale * x).collect()
}

fn real<T: Scalar>(shape: &[usize], data: &[f64]) -> Value<T> {
    Value::Real(Array::new(shape, data.iter().map(|&x| T::from_f64(x)).collect()).unwrap())
}

fn losses() -> Vec<Loss> {
    let weights = Some(vec![0.5, 2.0, 1.25, 0.75]);
    let ce = |class_weights: &Option<Vec<f64>>, label_smoothing, soft_targets| {
        let class_weights = class_weights.clone();
        Loss::CrossEntropy(CrossEntropy { class_weights, label_smoothing, soft_targets, ignore_index: -100 })
    };
    vec![
        Loss::mse(),
        ce(&None, 0.0, false),
        ce(&weights, 0.0, false),
        ce(&weights, 0.125, false),
        ce(&None, 0.0, true),
        ce(&weights, 0.125, true),
        Loss::bce(),
        Loss::Bce { pos_weight: weights },
    ]
}

fn targets<T: Scalar>(loss: &Loss) -> Value<T> {
    let shape = [TERMS, CLASSES];
    match loss {
        Loss::CrossEntropy(ce) if !ce.soft_targets => {
            let label = |t: usize| if t == 2 { -100 } else { (t * 5 % CLASSES) as i64 };
            Value::Int(Array::from_fn(&[TERMS], label))
        }
        Loss::Mse => real(&shape, &numbers(1, TERMS * CLASSES, 1.0)),
        // Rows that do not add up to one are legal soft targets.
        _ => real(&shape, &numbers(2, TERMS * CLASSES, 1.0).iter().map(|x| x.abs() % 1.0).collect::<Vec<_>>()),
    }
}

/// Value, gradient and Hessian product of all terms: traced and differentiated; closed form.
fn both<T: Scalar>(loss: &Loss, f: &[f64], v: &[f64]) -> [Vec<T>; 2] {
    let shape = [TERMS, CLASSES];
    let y = targets::<T>(loss);
    let program = loss.program(&TensorType::real(&shape), false).unwrap();
    let hvp = program.value_and_grad(&[0]).unwrap().jvp(&[0]).unwrap().select_outputs(&[0, 1, 3]).unwrap();
    let out = hvp.interpret(&[real(&shape, f), y.clone(), real(&shape, v)]).unwrap();
    let traced = out.iter().flat_map(|o| o.real().unwrap().data().to_vec()).collect();

    let terms = TermLoss::new(loss.clone(), CLASSES).unwrap();
    let narrow = |x: &[f64]| -> Vec<T> { x.iter().map(|&x| T::from_f64(x)).collect() };
    let (f, v) = (narrow(f), narrow(v));
    let (mut value, mut u, mut hv) = (T::ZERO, Vec::new(), Vec::new());
    for (t, y) in terms.targets((&y).into()).enumerate() {
        let rows = t * CLASSES..(t + 1) * CLASSES;
        let w = terms.weight(y);
        value += w * terms.value(&f[rows.clone()], y);
        let mut row = [T::ZERO; CLASSES];
        terms.gradient(&f[rows.clone()], y, &mut row);
        u.extend(row.iter().map(|&u| w * u));
        terms.hessian_product(&f[rows.clone()], y, &v[rows], &mut row);
        hv.extend(row.iter().map(|&h| w * h));
    }
    [traced, [vec![value], u, hv].concat()]
}

fn agree<T: Scalar>(tol: f64) {
    for loss in losses() {
        for scale in [1.0, 8.0] {
            let (f, v) = (numbers(3, TERMS * CLASSES, scale), numbers(4, TERMS * CLASSES, 1.0));
            let [traced, closed] = both::<T>(&loss, &f, &v);
            assert_eq!(traced.len(), closed.len());
            for (a, b) in traced.iter().zip(&closed) {
                let (a, b) = (a.to_f64(), b.to_f64());
                assert!((a - b).abs() <= tol * (1.0 + b.abs()), "{loss:?} at scale {scale}: {a} against {b}");
            }
        }
    }
}

/// The same sums in another order: a few ulp of the largest partial sum.
#[test]
fn closed_forms_are_the_traced_losses() {
    agree::<f64>(1e-13);
    agree::<f32>(2e-5);
}

#[test]
fn roots_square_to_the_hessian() {
    for loss in losses() {
        let terms = TermLoss::new(loss.clone(), CLASSES).unwrap();
        let y = targets::<f64>(&loss);
        for scale in [1.0, 8.0, 300.0] {
            let f = numbers(6, TERMS * CLASSES, scale);
            for (t, y) in terms.targets((&y).into()).enumerate() {
                let f = &f[t * CLASSES..(t + 1) * CLASSES];
                let mut root = Root::new();
                terms.prepare(f, y, &mut root);
                let columns: Vec<Vec<f64>> = (0..terms.root_columns())
                    .map(|j| {
                        let mut column = vec![f64::NAN; CLASSES];
                        terms.root_column(&root, j, &mut column);
                        column
                    })
                    .collect();
                for c in 0..CLASSES {
                    let (mut unit, mut h) = ([0.0; CLASSES], [0.0; CLASSES]);
                    unit[c] = 1.0;
                    terms.hessian_product(f, y, &unit, &mut h);
                    for d in 0..CLASSES {
                        let square: f64 = columns.iter().map(|r| r[c] * r[d]).sum();
                        assert!((square - h[d]).abs() <= 1e-15 * (1.0 + h[d].abs()) * 4.0, "{loss:?}: {square} {h:?}");
                    }
                }
            }
        }
    }
}

/// All outcomes of one label, each with its probability: `sum_y p_y u_y u_y^T = H`.
#[test]
fn expectation_over_labels_is_the_hessian() {
    let terms = TermLoss::new(Loss::cross_entropy(), 3).unwrap();
    let f = [0.4, -1.1, 2.0];
    let total: f64 = f.iter().map(|f: &f64| f.exp()).sum();
    let mut sum = [[0.0; 3]; 3];
    for y in 0..3 {
        let mut u = [0.0; 3];
        terms.gradient(&f, Target::Label(y as i64), &mut u);
        let p = f[y].exp() / total;
        (0..9).for_each(|i| sum[i / 3][i % 3] += p * u[i / 3] * u[i % 3]);
    }
    for (c, row) in sum.iter().enumerate() {
        let (mut unit, mut h) = ([0.0; 3], [0.0; 3]);
        unit[c] = 1.0;
        terms.hessian_product(&f, Target::Label(0), &unit, &mut h);
        row.iter().zip(h).for_each(|(a, b)| assert!((a - b).abs() < 1e-16 * 4.0));
    }
}

#[test]
fn weights_and_counts_are_the_traced_ones() {
    for loss in losses() {
        let terms = TermLoss::new(loss.clone(), CLASSES).unwrap();
        let y = targets::<f64>(&loss);
        let program = loss.weights_program(&TensorType::real(&[TERMS, CLASSES])).unwrap();
        let out = program.interpret(std::slice::from_ref(&y)).unwrap();
        for (t, y) in terms.targets((&y).into()).enumerate() {
            assert!((terms.weight(y) - out[0].real().unwrap().data()[t]).abs() < 1e-15);
            assert!((terms.count(y) - out[1].real().unwrap().data()[t]).abs() < 1e-15);
        }
    }
}

/// Two logits a gap apart: `H v = p (1 - p) (v_0 - v_1) (1, -1)` and `u = (-p, p)` with `p = 1 / (1 + e^gap)`, to rounding.
fn near_certainty<T: Scalar>(gaps: &[f64], tol: f64) {
    let terms = TermLoss::new(Loss::cross_entropy(), 2).unwrap();
    let program = Loss::cross_entropy().program(&TensorType::real(&[1, 2]), false).unwrap();
    let hvp = program.value_and_grad(&[0]).unwrap().jvp(&[0]).unwrap().select_outputs(&[0, 1, 3]).unwrap();
    let compiled = hvp.compile::<T>().unwrap();
    for &gap in gaps {
        let (f, v) = ([gap, 0.0], [0.3, -1.2]);
        let rare = (-gap).exp() / (1.0 + (-gap).exp());
        let common = 1.0 / (1.0 + (-gap).exp());
        let h = rare * common * (v[0] - v[1]);
        let expected = [(-gap).exp().ln_1p(), -rare, rare, h, -h];
        let narrow = [f, v].map(|x| x.map(T::from_f64));
        let y = Value::Int(Array::new(&[1], vec![0]).unwrap());
        let inputs = [real(&[1, 2], &f), y, real(&[1, 2], &v)];
        let flat = |out: Vec<Value<T>>| out.iter().flat_map(|o| o.real().unwrap().data().to_vec()).collect::<Vec<T>>();
        let mut closed = vec![terms.value(&narrow[0], Target::Label(0))];
        let mut row = [T::ZERO; 2];
        terms.gradient(&narrow[0], Target::Label(0), &mut row);
        closed.extend(row);
        terms.hessian_product(&narrow[0], Target::Label(0), &narrow[1], &mut row);
        closed.extend(row);
        for (route, got) in [
            ("closed", closed),
            ("interpreted", flat(hvp.interpret(&inputs).unwrap())),
            ("compiled", flat(compiled.call(&inputs).unwrap())),
        ] {
            for (g, e) in got.iter().zip(expected) {
                assert!(
                    (g.to_f64() - e).abs() <= tol * e.abs(),
                    "{route} at gap {gap}: {got:?}, expected {expected:?}"
                );
            }
        }
    }
}

#[test]
fn cross_entropy_keeps_its_digits_near_certainty() {
    near_certainty::<f64>(&[0.5, 15.0, 40.0, 300.0, 700.0, 1e3], 4e-15);
    near_certainty::<f32>(&[0.5, 15.0, 40.0, 80.0, 1e3], 2e-6);
}

#[test]
fn extreme_logits_stay_finite() {
    for loss in losses() {
        for scale in [1e3, 1e6] {
            let f: Vec<f64> = numbers(7, TERMS * CLASSES, 1.0).iter().map(|x| scale * x.signum()).collect();
            let [traced, closed] = both::<f64>(&loss, &f, &numbers(8, TERMS * CLASSES, 1.0));
            assert!(traced.iter().chain(&closed).all(|x| x.is_finite()), "{loss:?}");
            traced.iter().zip(&closed).for_each(|(a, b)| assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs())));
        }
    }
    // Curvature of a logit of 40: e^-40, not 0.
    let terms = TermLoss::new(Loss::bce(), 1).unwrap();
    for f in [-40.0, 40.0] {
        let mut h = [0.0];
        terms.hessian_product(&[f], Target::Row(&[1.0]), &[1.0], &mut h);
        let expected = (-40f64).exp() / (1.0 + (-40f64).exp()).powi(2);
        assert!((h[0] - expected).abs() <= 4e-16 * expected);
    }
}

/// The mean of `g g^T` over draws is the Hessian; the error bar is the entries' own deviation.
#[test]
fn samples_have_the_hessian_as_covariance() {
    const DRAWS: usize = 20_000;
    for loss in losses() {
        let terms = TermLoss::new(loss.clone(), CLASSES).unwrap();
        let y = targets::<f64>(&loss);
        let y = terms.targets((&y).into()).next().unwrap();
        let f = numbers(9, CLASSES, 1.0);
        let (mut sum, mut squares) = ([[0.0; CLASSES]; CLASSES], [[0.0; CLASSES]; CLASSES]);
        for m in 0..DRAWS {
            let mut g = [0.0; CLASSES];
            terms.sample(&f, y, &mut Stream::new(11, Role::McLabels, 0, m as u64), &mut g);
            for c in 0..CLASSES {
                for d in 0..CLASSES {
                    sum[c][d] += g[c] * g[d];
                    squares[c][d] += (g[c] * g[d]).powi(2);
                }
            }
        }
        for c in 0..CLASSES {
            let (mut unit, mut h) = ([0.0; CLASSES], [0.0; CLASSES]);
            unit[c] = 1.0;
            terms.hessian_product(&f, y, &unit, &mut h);
            for d in 0..CLASSES {
                let mean = sum[c][d] / DRAWS as f64;
                let deviation = ((squares[c][d] / DRAWS as f64 - mean * mean).max(0.0) / DRAWS as f64).sqrt();
                assert!((mean - h[d]).abs() <= 4.5 * deviation + 1e-12, "{loss:?}: {mean} +- {deviation}, {}", h[d]);
            }
        }
    }
}

#[test]
fn options_that_do_not_fit_are_errors() {
    let loss = Loss::Bce { pos_weight: Some(vec![1.0, 2.0]) };
    assert!(TermLoss::new(loss.clone(), 2).is_ok());
    assert!(TermLoss::new(loss, 3).is_err());
}
