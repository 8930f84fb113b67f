//! Taylor mode: towers against recurrences, against nested forward mode, against closed forms, collapsed against standard.

use crate::cases::{Case, all, numbers};
use crate::properties::{program, step};
use autodiff::{Array, Expansion, Jet, Program, Tensor, TensorType, Value, trace};
use proptest::prelude::*;

fn run(program: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    program.verify().unwrap();
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    program.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

pub(crate) fn assert_close(what: &str, got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tol * scale, "{what}, element {i}: {g} against {e}");
    }
}

fn with_lead(r: usize, shape: &[usize]) -> Vec<usize> {
    core::iter::once(r).chain(shape.iter().copied()).collect()
}

/// Derivative inputs of every order, `[R, S]` per input; higher orders smaller, so that results stay comparable.
fn curves(inputs: &[Array<f64>], order: usize, r: usize) -> Vec<Array<f64>> {
    let one = |k: usize, i: usize| numbers(&with_lead(r, inputs[i].shape()), (100 * k + i) as u64, -0.5, 0.5);
    (1..=order).flat_map(|k| (0..inputs.len()).map(move |i| one(k, i))).collect()
}

fn joined(parts: &[&[Array<f64>]]) -> Vec<Array<f64>> {
    parts.iter().flat_map(|p| p.iter().cloned()).collect()
}

fn every(case: &Case) -> Vec<usize> {
    (0..case.inputs.len()).collect()
}

/// Both expansions of every primitive and composition, orders 0 to 8.
#[test]
fn towers_and_recurrences_agree() {
    for c in all() {
        for order in [0, 1, 2, 3, 4, 6, 8] {
            let jet = |e| c.program.jet(&every(&c), &Jet::new(order, 2).expansion(e)).unwrap();
            let inputs = joined(&[&c.inputs, &curves(&c.inputs, order, 2)]);
            let towers = run(&jet(Expansion::Towers), &inputs);
            let recurrences = run(&jet(Expansion::Recurrences), &inputs);
            assert_eq!(towers.len(), 1 + order);
            for k in 0..=order {
                // Towers of the arctangent's kind cancel at high order: a digit is lost per two orders.
                let tol = if k <= 4 { 1e-12 } else { 1e-11 };
                let what = format!("{} order {k} of {order}", c.name);
                assert_close(&what, towers[k].data(), recurrences[k].data(), tol);
            }
        }
    }
}

/// `t -> f(sum_k x^(k) t^k / k!)` differentiated `k` times by forward mode.
fn along(program: &Program, order: usize) -> Program {
    let n = program.inputs().len();
    let mut ports: Vec<(String, TensorType)> = vec![("t".into(), TensorType::real(&[]))];
    for k in 0..=order {
        ports.extend((0..n).map(|i| (format!("x{k}.{i}"), program.input_type(i).clone())));
    }
    let borrowed: Vec<(&str, TensorType)> = ports.iter().map(|(s, t)| (s.as_str(), t.clone())).collect();
    trace(&borrowed, |t, x| {
        let at: Vec<Tensor> = (0..n)
            .map(|i| {
                let mut sum = x[1 + i].clone();
                let mut factor = 1.0;
                for k in 1..=order {
                    factor /= k as f64;
                    sum = sum + &x[1 + k * n + i] * &(x[0].powf(k as f64) * factor);
                }
                sum
            })
            .collect();
        let at: Vec<&Tensor> = at.iter().collect();
        vec![("y", t.call(program, &at).remove(0))]
    })
    .unwrap()
}

#[test]
fn jets_are_nested_forward_derivatives() {
    let order = 4;
    for c in all() {
        if c.name == "stop_gradient" {
            continue;
        }
        let r = 2;
        let seeds = curves(&c.inputs, order, r);
        let jet = run(&c.program.jet(&every(&c), &Jet::new(order, r)).unwrap(), &joined(&[&c.inputs, &seeds]));
        let mut nested = along(&c.program, order);
        for k in 1..=order {
            nested = nested.jvp(&[0]).unwrap();
            let last = nested.outputs().len() - 1;
            // Only the newest derivative, with the tangent of t fixed to one by the input below.
            let top = nested.select_outputs(&[last]).unwrap();
            for direction in 0..r {
                let mut inputs = vec![Array::new(&[], vec![0.0]).unwrap()];
                inputs.extend(c.inputs.iter().cloned());
                for s in &seeds {
                    let n = s.data().len() / r;
                    let part = s.data()[direction * n..(direction + 1) * n].to_vec();
                    inputs.push(Array::new(&s.shape()[1..], part).unwrap());
                }
                inputs.extend((0..k).map(|_| Array::new(&[], vec![1.0]).unwrap()));
                let truth = run(&top, &inputs).remove(0);
                let n = truth.data().len();
                let got = &jet[k].data()[direction * n..(direction + 1) * n];
                assert_close(&format!("{} order {k}", c.name), got, truth.data(), 1e-10);
            }
            nested = nested.select_outputs(&[last]).unwrap();
        }
    }
}

/// Coefficients of known series, by both expansions.
#[test]
fn closed_forms() {
    type F = fn(&Tensor) -> Tensor;
    let cases: [(&str, f64, F, Vec<f64>); 7] = [
        ("exp", 0.0, |x| x.exp(), vec![1.0; 9]),
        ("log1p", 0.0, |x| x.ln_1p(), vec![0.0, 1.0, -1.0, 2.0, -6.0, 24.0, -120.0, 720.0, -5040.0]),
        ("sin", 0.0, |x| x.sin(), vec![0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0]),
        ("1/(1-t)", 0.0, |x| (-x + 1.0).recip(), vec![1.0, 1.0, 2.0, 6.0, 24.0, 120.0, 720.0, 5040.0, 40320.0]),
        ("tanh", 0.0, |x| x.tanh(), vec![0.0, 1.0, 0.0, -2.0, 0.0, 16.0, 0.0, -272.0, 0.0]),
        ("x^3 at 0", 0.0, |x| x.powf(3.0), vec![0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (
            "(1+t)^0.5",
            1.0,
            |x| x.powf(0.5),
            vec![1.0, 0.5, -0.25, 0.375, -0.9375, 3.28125, -14.765625, 81.2109375, -527.87109375],
        ),
    ];
    for (name, at, f, expected) in cases {
        let p = trace(&[("x", TensorType::real(&[]))], |_, x| vec![("y", f(&x[0]))]).unwrap();
        for e in [Expansion::Towers, Expansion::Recurrences] {
            let jet = p.jet(&[0], &Jet::new(8, 1).straight().expansion(e)).unwrap();
            let out = run(&jet, &[Array::new(&[], vec![at]).unwrap(), Array::new(&[1], vec![1.0]).unwrap()]);
            for k in 0..=8 {
                let tol = 1e-12 * expected[k].abs().max(1.0);
                assert!((out[k].data()[0] - expected[k]).abs() <= tol, "{name} {e:?} {k}: {}", out[k].data()[0]);
            }
        }
    }
}

/// The weighted sum over directions of a standard jet's top order.
fn summed(standard: &[Array<f64>], weights: &[f64], order: usize) -> Vec<f64> {
    let top = &standard[order];
    let n = top.data().len() / weights.len().max(1);
    (0..n).map(|i| weights.iter().enumerate().map(|(r, w)| w * top.data()[r * n + i]).sum()).collect()
}

fn collapsed_equals_standard(what: &str, p: &Program, point: &[Array<f64>], order: usize, r: usize, e: Expansion) {
    let wrt: Vec<usize> = (0..point.len()).collect();
    let seeds = curves(point, order, r);
    let weights = numbers(&[r], 77, -1.0, 1.0);
    let standard = run(&p.jet(&wrt, &Jet::new(order, r).expansion(e)).unwrap(), &joined(&[point, &seeds]));
    let tops: Vec<Array<f64>> = seeds[(order - 1) * point.len()..]
        .iter()
        .zip(point)
        .map(|(s, x)| {
            let n = x.data().len();
            Array::from_fn(x.shape(), |i| (0..r).map(|d| weights.data()[d] * s.data()[d * n + i]).sum())
        })
        .collect();
    let program = p.collapsed_jet(&wrt, &Jet::new(order, r).expansion(e)).unwrap();
    let inputs = joined(&[point, &seeds[..(order - 1) * point.len()], &tops, std::slice::from_ref(&weights)]);
    let collapsed = run(&program, &inputs);
    for k in 0..order {
        assert_close(&format!("{what} order {k}"), collapsed[k].data(), standard[k].data(), 1e-13);
    }
    let expected = summed(&standard, weights.data(), order);
    assert_close(&format!("{what} sum at {order}"), collapsed[order].data(), &expected, 1e-12);
}

#[test]
fn collapsed_jets_are_sums_of_standard_ones() {
    for c in all() {
        for (order, r) in [(1, 3), (2, 1), (2, 7), (3, 3), (4, 2)] {
            for e in [Expansion::Towers, Expansion::Recurrences] {
                collapsed_equals_standard(c.name, &c.program, &c.inputs, order, r, e);
            }
        }
    }
}

/// No direction at all: only the drift propagates.
#[test]
fn without_directions_the_sum_is_a_tangent() {
    for c in all() {
        let wrt = every(&c);
        let drift: Vec<Array<f64>> = c.inputs.iter().zip(5..).map(|(x, s)| numbers(x.shape(), s, -1.0, 1.0)).collect();
        let empty: Vec<Array<f64>> =
            c.inputs.iter().map(|x| Array::new(&with_lead(0, x.shape()), Vec::new()).unwrap()).collect();
        let collapsed = c.program.collapsed_jet(&wrt, &Jet::new(2, 0)).unwrap();
        let none = Array::new(&[0], Vec::new()).unwrap();
        let got = run(&collapsed, &joined(&[&c.inputs, &empty, &drift, &[none]]));
        let truth = run(&c.program.jvp(&wrt).unwrap(), &joined(&[&c.inputs, &drift]));
        assert_close(c.name, got[2].data(), truth[1].data(), 1e-13);
    }
}

#[test]
fn order_zero_is_the_program_itself() {
    for c in all() {
        assert_eq!(c.program.jet(&every(&c), &Jet::new(0, 3)).unwrap(), c.program, "{}", c.name);
    }
    assert!(all()[0].program.jet(&[7], &Jet::new(2, 1)).is_err());
}

/// Coefficients scaled by `c^k` along a curve run `c` times as fast.
#[test]
fn faster_curves_scale_by_powers() {
    let (order, c) = (4, -1.5);
    for case in all() {
        let jet = case.program.jet(&every(&case), &Jet::new(order, 2)).unwrap();
        let seeds = curves(&case.inputs, order, 2);
        let faster: Vec<Array<f64>> = seeds
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let k = (i / case.inputs.len() + 1) as i32;
                Array::from_fn(s.shape(), |j| s.data()[j] * f64::powi(c, k))
            })
            .collect();
        let slow = run(&jet, &joined(&[&case.inputs, &seeds]));
        let fast = run(&jet, &joined(&[&case.inputs, &faster]));
        for k in 0..=order {
            let expected: Vec<f64> = slow[k].data().iter().map(|x| x * f64::powi(c, k as i32)).collect();
            assert_close(case.name, fast[k].data(), &expected, 1e-13);
        }
    }
}

/// A square root of something that rests at zero stays zero; of something that moves there it is IEEE's answer.
#[test]
fn roots_at_zero() {
    for f in [|x: &Tensor| x.sqrt(), |x: &Tensor| x.powf(1.5)] {
        let p = trace(&[("x", TensorType::real(&[3]))], |_, x| vec![("y", f(&x[0]))]).unwrap();
        for e in [Expansion::Towers, Expansion::Recurrences] {
            let jet = p.jet(&[0], &Jet::new(3, 2).straight().expansion(e)).unwrap();
            let x = Array::new(&[3], vec![0.0, 0.0, 4.0]).unwrap();
            let v = Array::new(&[2, 3], vec![0.0, 1.0, 1.0, 0.0, 0.0, 2.0]).unwrap();
            let out = run(&jet, &[x, v]);
            for k in 1..=3 {
                for r in 0..2 {
                    assert_eq!(out[k].data()[3 * r], 0.0, "{e:?} {k}");
                    assert!(out[k].data()[3 * r + 2].is_finite());
                }
            }
            assert!(!out[3].data()[1].is_finite());
        }
    }
}

/// Collapsed vectors never carry an axis of directions at the top order: two layers cost `2 + R` rows, not `1 + 2 R`.
#[test]
fn collapsing_halves_the_rows_of_a_layer() {
    let (n, r) = (64, 5);
    let p = trace(
        &[("x", TensorType::real(&[n])), ("w", TensorType::real(&[n, n])), ("v", TensorType::real(&[n, n]))],
        |_, t| vec![("y", t[2].matmul(&t[1].matmul(&t[0].tanh()).tanh()).tanh())],
    )
    .unwrap();
    let dots = |p: &Program| -> u64 {
        p.nodes()
            .iter()
            .filter(|node| node.op.name().starts_with("dot"))
            .map(|node| {
                let args: Vec<&TensorType> = node.args.iter().map(|&a| &p.node(a).ty).collect();
                node.op.flops(&args, &node.ty)
            })
            .sum()
    };
    let standard = p.jet(&[0], &Jet::new(2, r).straight()).unwrap();
    let collapsed = p.collapsed_jet(&[0], &Jet::new(2, r).straight()).unwrap();
    let layer = 2 * (n * n) as u64;
    assert_eq!(dots(&standard), 2 * layer * (1 + 2 * r as u64));
    assert_eq!(dots(&collapsed), 2 * layer * (2 + r as u64));
}

/// Solutions whose series are known, and one whose series must solve its equation.
#[test]
fn solutions_of_differential_equations() {
    let order = 9;
    let one =
        |f: fn(&Tensor) -> Tensor| trace(&[("z", TensorType::real(&[2]))], |_, z| vec![("dz", f(&z[0]))]).unwrap();
    let z = Array::new(&[2], vec![0.7, -0.4]).unwrap();
    let series =
        |p: &Program, z: &Array<f64>| run(&p.solution_series(0, order).unwrap(), std::slice::from_ref(z)).remove(0);
    let (exponential, pole) = (series(&one(|z| z.clone()), &z), series(&one(|z| z * z), &z));
    let still = series(&one(|z| z * 0.0 + 2.0), &z);
    let mut factorial = 1.0;
    for k in 0..=order {
        factorial *= k.max(1) as f64;
        for i in 0..2 {
            let z0 = z.data()[i];
            assert_close("z' = z", &[exponential.data()[2 * k + i]], &[z0 / factorial], 1e-15);
            assert_close("z' = z^2", &[pole.data()[2 * k + i]], &[z0.powi(k as i32 + 1)], 1e-15);
            let line = [z0, 2.0, 0.0][k.min(2)];
            assert_close("z' = 2", &[still.data()[2 * k + i]], &[line], 0.0);
        }
    }
    // A damped pendulum: the derivative of the series is f of the series, up to the first order that is missing.
    let pendulum = trace(&[("z", TensorType::real(&[2]))], |t, z| {
        let (angle, speed) = (z[0].slice(0, 0, 1), z[0].slice(0, 1, 2));
        vec![("dz", t.concat(&[&speed, &(-angle.sin() - &speed * 0.3)], 0))]
    })
    .unwrap();
    let coefficients = series(&pendulum, &z);
    let at = |t: f64, slope: bool| -> Array<f64> {
        Array::from_fn(&[2], |i| {
            let term = |k: usize| match slope {
                true => k as f64 * coefficients.data()[2 * k + i] * t.powi(k as i32 - 1),
                false => coefficients.data()[2 * k + i] * t.powi(k as i32),
            };
            (usize::from(slope)..=order).map(term).sum()
        })
    };
    for t in [0.05, -0.1] {
        let f = run(&pendulum, &[at(t, false)]).remove(0);
        assert_close("pendulum", at(t, true).data(), f.data(), 1e-9);
    }
    assert!(one(|z| z.sum(&[0])).solution_series(0, 2).is_err());
    // The program grows by what is new only: no faster than the square of the order.
    let nodes = |k: usize| one(|z| z.tanh()).solution_series(0, k).unwrap().nodes().len();
    assert!(nodes(16) < 5 * nodes(8), "{} {}", nodes(16), nodes(8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn collapsed_is_standard_on_random_programs(
        steps in prop::collection::vec(step(), 1..9), order in 2usize..4, r in 1usize..4,
    ) {
        let p = program(&steps);
        let point = [numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        collapsed_equals_standard("random", &p, &point, order, r, Expansion::Auto);
    }
}
