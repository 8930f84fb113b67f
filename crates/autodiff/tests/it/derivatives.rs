//! Forward, reverse, linearised and batched derivatives, against finite differences and against each other.

use crate::cases::{Case, all, numbers};
use autodiff::{Array, Program, Value};

fn run_values(program: &Program, inputs: Vec<Value<f64>>) -> Vec<Value<f64>> {
    program.verify().unwrap();
    program.interpret(&inputs).unwrap()
}

fn reals(values: Vec<Value<f64>>) -> Vec<Array<f64>> {
    values.into_iter().map(|v| v.into_real().unwrap()).collect()
}

fn run(program: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    reals(run_values(program, inputs.iter().cloned().map(Value::from).collect()))
}

fn every(case: &Case) -> Vec<usize> {
    (0..case.inputs.len()).collect()
}

fn directions(like: &[Array<f64>], salt: u64) -> Vec<Array<f64>> {
    like.iter().zip(salt..).map(|(a, s)| numbers(a.shape(), s, -1.0, 1.0)).collect()
}

fn moved(x: &[Array<f64>], v: &[Array<f64>], h: f64) -> Vec<Array<f64>> {
    let step = |(x, v): (&Array<f64>, &Array<f64>)| Array::from_fn(x.shape(), |i| x.data()[i] + h * v.data()[i]);
    x.iter().zip(v).map(step).collect()
}

fn joined(a: &[Array<f64>], b: &[Array<f64>]) -> Vec<Array<f64>> {
    a.iter().chain(b).cloned().collect()
}

fn dot(a: &[Array<f64>], b: &[Array<f64>]) -> f64 {
    a.iter().zip(b).flat_map(|(a, b)| a.data().iter().zip(b.data())).map(|(x, y)| x * y).sum()
}

fn assert_close(name: &str, what: &str, got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: {what}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tol * scale, "{name}: {what}, element {i}: {g} against {e}");
    }
}

/// Central differences with h = 1e-5 are good to about 1e-9 here.
#[test]
fn jvp_agrees_with_finite_differences() {
    for c in all() {
        let v = directions(&c.inputs, 11);
        let tangent = run(&c.program.jvp(&every(&c)).unwrap(), &joined(&c.inputs, &v)).pop().unwrap();
        if c.name == "stop_gradient" {
            assert_close(c.name, "jvp", tangent.data(), v[0].data(), 0.0);
            continue;
        }
        let h = 1e-5;
        let (plus, minus) = (run(&c.program, &moved(&c.inputs, &v, h)), run(&c.program, &moved(&c.inputs, &v, -h)));
        let difference: Vec<f64> =
            plus[0].data().iter().zip(minus[0].data()).map(|(p, m)| (p - m) / (2.0 * h)).collect();
        assert_close(c.name, "jvp", tangent.data(), &difference, 2e-9);
    }
}

#[test]
fn vjp_is_the_transpose_of_jvp() {
    for c in all() {
        let v = directions(&c.inputs, 21);
        let out = run(&c.program.jvp(&every(&c)).unwrap(), &joined(&c.inputs, &v));
        let u = directions(&out[..1], 31);
        let cts = run(&c.program.vjp(&every(&c)).unwrap(), &joined(&c.inputs, &u));
        let (left, right) = (dot(&u, &out[1..]), dot(&cts[1..], &v));
        assert!((left - right).abs() <= 1e-12 * left.abs().max(1.0), "{}: {left} against {right}", c.name);
    }
}

#[test]
fn linearize_is_jvp_in_two_steps_and_its_transpose_is_vjp() {
    for c in all() {
        let v = directions(&c.inputs, 41);
        let whole = run(&c.program.jvp(&every(&c)).unwrap(), &joined(&c.inputs, &v));
        let split = c.program.linearize(&every(&c)).unwrap();
        let primal = run_values(&split.primal, c.inputs.iter().cloned().map(Value::from).collect());
        let (out, residuals) = primal.split_at(split.outputs);
        let out: Vec<Array<f64>> = out.iter().map(|v| v.real().unwrap().clone()).collect();
        let with =
            |extra: &[Array<f64>]| residuals.iter().cloned().chain(extra.iter().cloned().map(Value::from)).collect();
        let tangent = reals(run_values(&split.linear, with(&v)));
        assert_close(c.name, "value", out[0].data(), whole[0].data(), 0.0);
        assert_close(c.name, "linear", tangent[0].data(), whole[1].data(), 1e-15);
        let u = directions(&out[..1], 51);
        let cts = reals(run_values(&split.transpose().unwrap(), with(&u)));
        let whole = run(&c.program.vjp(&every(&c)).unwrap(), &joined(&c.inputs, &u));
        for (a, b) in cts.iter().zip(&whole[1..]) {
            assert_close(c.name, "transpose", a.data(), b.data(), 1e-14);
        }
    }
}

#[test]
fn vmap_is_a_loop() {
    for c in all() {
        let size = 3;
        for mask in 1..(1 << c.inputs.len()) {
            for at_end in [false, true] {
                vmap_case(&c, size, mask, at_end);
            }
        }
    }
}

/// The inputs in `mask` get a new axis, first or last; the result must be the stack of single runs.
fn vmap_case(c: &Case, size: usize, mask: usize, at_end: bool) {
    let singles: Vec<Vec<Array<f64>>> = (0..size)
        .map(|k| {
            let fresh = |(i, a): (usize, &Array<f64>)| match mask >> i & 1 {
                1 => Array::from_fn(a.shape(), |j| a.data()[j] * (1.0 - 0.07 * k as f64)),
                _ => a.clone(),
            };
            c.inputs.iter().enumerate().map(fresh).collect()
        })
        .collect();
    let mut axes = Vec::new();
    let mut stacked = Vec::new();
    for (i, a) in c.inputs.iter().enumerate() {
        let n = a.data().len();
        if mask >> i & 1 == 0 {
            axes.push(None);
            stacked.push(a.clone());
        } else {
            let mut shape = a.shape().to_vec();
            let at = if at_end { shape.len() } else { 0 };
            shape.insert(at, size);
            axes.push(Some(at));
            let pick = |j: usize| if at_end { (j % size, j / size) } else { (j / n, j % n) };
            stacked.push(Array::from_fn(&shape, |j| singles[pick(j).0][i].data()[pick(j).1]));
        }
    }
    let mapped = run(&c.program.vmap(size, &axes).unwrap(), &stacked);
    let expected: Vec<f64> = singles.iter().flat_map(|s| run(&c.program, s)[0].data().to_vec()).collect();
    assert_close(c.name, "vmap", mapped[0].data(), &expected, 1e-15);
}

/// Hessian times vector of `sum sin(f + 0.3)`, forward over reverse against reverse over forward, and by differences.
#[test]
fn hessian_products_agree_in_both_orders() {
    for c in all() {
        let wrt = every(&c);
        let head = scalar_head(&c.program);
        let v = directions(&c.inputs, 61);
        let n = wrt.len();
        let forward_over_reverse = head.grad(&wrt).unwrap().jvp(&wrt).unwrap();
        let left = run(&forward_over_reverse, &joined(&c.inputs, &v));
        let directional = head.jvp(&wrt).unwrap().select_outputs(&[1]).unwrap();
        let right = run(&directional.grad(&wrt).unwrap(), &joined(&c.inputs, &v));
        for (a, b) in left[n..].iter().zip(&right) {
            assert_close(c.name, "Hessian product", a.data(), b.data(), 1e-12);
        }
        if c.name == "stop_gradient" {
            continue;
        }
        let gradient = head.grad(&wrt).unwrap();
        let h = 1e-5;
        let (plus, minus) = (run(&gradient, &moved(&c.inputs, &v, h)), run(&gradient, &moved(&c.inputs, &v, -h)));
        for i in 0..n {
            let difference: Vec<f64> =
                plus[i].data().iter().zip(minus[i].data()).map(|(p, m)| (p - m) / (2.0 * h)).collect();
            // h^2/6 times a third derivative of up to a few thousand (division, powers near 0.3).
            assert_close(c.name, "Hessian difference", left[n + i].data(), &difference, 1e-7);
        }
    }
}

fn scalar_head(program: &Program) -> Program {
    let ports: Vec<_> = (0..program.inputs().len())
        .map(|i| (program.inputs()[i].name.as_str(), program.input_type(i).clone()))
        .collect();
    autodiff::trace(&ports, |t, x| {
        let refs: Vec<_> = x.iter().collect();
        vec![("loss", (t.call(program, &refs).remove(0) + 0.3).sin().sum_all())]
    })
    .unwrap()
}

/// Towers: the m-th derivative must be the derivative of the (m-1)-th, for m up to 7.
#[test]
fn towers_are_consistent_up_to_order_seven() {
    use autodiff::Builder;
    use autodiff::TensorType;
    use autodiff::ops::{Bits, Unary};
    let positive = [Unary::Recip, Unary::Sqrt, Unary::Log, Unary::Powf(Bits::new(2.5)), Unary::Powf(Bits::new(-0.5))];
    let anywhere = [
        Unary::Neg,
        Unary::Abs,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log1p,
        Unary::Sin,
        Unary::Cos,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Erf,
        Unary::Erfc,
        Unary::Atan,
        Unary::Asin,
        Unary::Asinh,
        Unary::Atanh,
        Unary::Powf(Bits::new(3.0)),
    ];
    for (f, lo) in positive.iter().map(|f| (*f, 0.4)).chain(anywhere.iter().map(|f| (*f, -0.6))) {
        let x = numbers(&[8], 5, lo, 0.65);
        let derivative = |m: u32| {
            let mut b = Builder::new();
            let x = b.input("x", TensorType::real(&[8]));
            let y = b.unary(f, x).unwrap();
            let d = b.derivative_of(f, x, y, m);
            b.finish(vec![("d".into(), d)])
        };
        for m in 2..=7 {
            let v = Array::from_fn(&[8], |_| 1.0);
            let lower = run(&derivative(m - 1).jvp(&[0]).unwrap(), &[x.clone(), v]);
            let upper = run(&derivative(m), std::slice::from_ref(&x));
            assert_close(&format!("{f:?} order {m}"), "tower", upper[0].data(), lower[1].data(), 1e-12);
        }
    }
}

trait Derivative {
    fn derivative_of(
        &mut self,
        f: autodiff::ops::Unary,
        x: autodiff::NodeId,
        y: autodiff::NodeId,
        m: u32,
    ) -> autodiff::NodeId;
}

impl Derivative for autodiff::Builder {
    fn derivative_of(
        &mut self,
        f: autodiff::ops::Unary,
        x: autodiff::NodeId,
        y: autodiff::NodeId,
        m: u32,
    ) -> autodiff::NodeId {
        f.derivative(self, x, y, m).unwrap()
    }
}

/// Parameters cut from one flat vector: their cotangents are joined in one pass; pieces that overlap are added.
#[test]
fn cotangents_of_slices_are_joined() {
    use autodiff::{TensorType, trace};
    let build = |second: usize| {
        trace(&[("x", TensorType::real(&[7]))], |_, x| {
            let (a, b) = (x[0].slice(0, 0, 3), x[0].slice(0, second, second + 3));
            vec![("f", (a.sin() * b.exp()).sum_all())]
        })
        .unwrap()
    };
    let x = numbers(&[7], 71, -1.0, 1.0);
    for (second, joined) in [(3, true), (4, true), (2, false)] {
        let grad = build(second).grad(&[0]).unwrap();
        let text = grad.to_string();
        assert_eq!((text.contains("concat"), text.contains("pad")), (joined, !joined), "{text}");
        let mut expected = [0.0; 7];
        for i in 0..3 {
            let (a, b) = (x.data()[i], x.data()[second + i]);
            expected[i] += a.cos() * b.exp();
            expected[second + i] += a.sin() * b.exp();
        }
        let got = run(&grad, std::slice::from_ref(&x));
        assert_close("slices", "gradient", got[0].data(), &expected, 1e-15);
    }
}
