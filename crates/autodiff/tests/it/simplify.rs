//! `simplify`: the same values, never more work, nothing left to do.

use crate::cases::{all, numbers};
use crate::properties::{program, rich_step};
use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::{Array, Program, Tensor, TensorType, Tracer, Value, trace};
use proptest::prelude::*;

fn real(shape: &[usize]) -> TensorType {
    TensorType::real(shape)
}

fn run(p: &Program, inputs: &[Array<f64>]) -> Vec<Vec<f64>> {
    p.verify().unwrap();
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    p.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap().into_data()).collect()
}

fn close(got: &[Vec<f64>], expected: &[Vec<f64>], tol: f64) -> Result<(), String> {
    for (g, e) in got.iter().zip(expected) {
        let scale = e.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let near = |g: f64, e: f64| (g - e).abs() <= tol * scale;
        match g.iter().zip(e).find(|(g, e)| !near(**g, **e)) {
            Some((g, e)) => return Err(format!("{g} against {e}")),
            None if g.len() != e.len() => return Err(format!("{} numbers against {}", g.len(), e.len())),
            None => {}
        }
    }
    if got.len() == expected.len() { Ok(()) } else { Err("another number of outputs".into()) }
}

/// Values kept, flops not raised, nothing left to do.
fn check(what: &str, p: &Program, inputs: &[Array<f64>]) -> Program {
    let s = p.simplify().unwrap_or_else(|e| panic!("{what}: {e}\n{p}"));
    if let Err(e) = close(&run(&s, inputs), &run(p, inputs), 1e-12) {
        panic!("{what}: {e}\n{p}\n{s}");
    }
    assert!(s.flops() <= p.flops(), "{what}: {} from {}\n{p}\n{s}", s.flops(), p.flops());
    let again = s.simplify().unwrap();
    assert_eq!(again, s, "{what}: not done\n{s}\n{again}");
    s
}

fn case(what: &str, shapes: &[&[usize]], body: fn(&Tracer, &[Tensor]) -> Tensor) -> (Program, Program) {
    let names = ["x", "y", "z"];
    let ports: Vec<_> = shapes.iter().zip(names).map(|(s, n)| (n, real(s))).collect();
    let p = trace(&ports, |t, x| vec![("out", body(t, x))]).unwrap_or_else(|e| panic!("{what}: {e}"));
    let inputs: Vec<_> = shapes.iter().zip(1..).map(|(s, k)| numbers(s, k, 0.2, 1.5)).collect();
    let s = check(what, &p, &inputs);
    (p, s)
}

#[test]
fn every_rule_of_arithmetic_and_views() {
    let m: &[usize] = &[3, 4];
    let none = |what: &str, shapes: &[&[usize]], flops: u64, body| {
        let (_, s) = case(what, shapes, body);
        assert_eq!(s.flops(), flops, "{what}\n{s}");
        s
    };
    none("signs", &[m, m], 12, |_, x| &x[0] + (-&x[1]));
    none("signs of a difference", &[m, m], 12, |_, x| -(&x[0] - &x[1]));
    none("minus minus", &[m, m], 12, |_, x| &x[0] - (-&x[1]));
    none("two factors", &[m], 12, |_, x| -(&x[0] * 3.0) * 2.0);
    none("two terms", &[m], 12, |_, x| (&x[0] + 3.0) + 2.0);
    none("reciprocal", &[m, m], 12, |_, x| &x[0] * x[1].recip());
    none("constants", &[m], 12, |t, x| &x[0] * t.constant(&[4], &[1.0, 4.0, 9.0, 16.0]).sqrt());
    none("choice", &[m, m], 0, |t, x| t.full(&[3, 4], 1.0).less(&t.full(&[3, 4], 2.0)).select(&x[0], &x[1]));
    none("repeat once", &[&[4], &[4]], 8, |_, x| (x[0].broadcast_to(&[9, 4]) * x[1].broadcast_to(&[9, 4])).sin());
    none("sum of a repetition", &[&[4]], 4, |_, x| x[0].broadcast_to(&[9, 4]).sum(&[0]));
    none("sum of sums", &[&[2, 3, 4]], 24, |_, x| x[0].sum(&[0]).sum(&[1]));
    none("factor of a sum", &[m, &[3]], 15, |_, x| (&x[0] * x[1].reshape(&[3, 1])).sum(&[1]));
    let s = none("slices joined", &[m], 0, |t, x| t.concat(&[&x[0].slice(1, 0, 1), &x[0].slice(1, 1, 4)], 1));
    assert!(!s.to_string().contains("concat"), "{s}");
    let s = none("slice of joined", &[m, m], 8, |t, x| {
        t.concat(&[&x[0], &x[1]], 1).slice(1, 5, 7).slice(0, 1, 3).sin().exp()
    });
    assert!(!s.to_string().contains("concat"), "{s}");
    let s = none("slice of padded", &[m], 0, |_, x| x[0].pad(1, 2, 3).slice(1, 2, 5));
    assert!(!s.to_string().contains("pad"), "{s}");
    none("less computed", &[m], 3, |_, x| x[0].sin().slice(1, 1, 2));
    let s = none("transposed", &[m], 0, |_, x| x[0].t().slice(0, 1, 3).t().slice(0, 0, 2));
    assert_eq!(s.nodes().len(), 2, "{s}");
    let s = none("even rows", &[&[7, 2]], 0, |t, x| x[0].gather(&t.integers(&[3], &[1, 3, 5]), 0));
    assert!(s.to_string().contains("slice"), "{s}");
    none("pads", &[m], 12, |_, x| x[0].pad(0, 1, 0).pad(0, 0, 2).sum(&[0, 1]));
}

#[test]
fn contractions_are_done_where_they_cost_least() {
    let bound = |what: &str, shapes: &[&[usize]], flops: u64, body| {
        let (p, s) = case(what, shapes, body);
        assert!(s.flops() <= flops, "{what}: {} of {}\n{s}", s.flops(), p.flops());
    };
    let (a, v): (&[usize], &[usize]) = (&[20, 30], &[10]);
    bound("A B v", &[a, &[30, 10], v], 600 + 1200, |_, x| x[0].matmul(&x[1]).matmul(&x[2]));
    bound("v^T (A B)", &[&[20], a, &[30, 10]], 600 + 1200, |_, x| x[0].dot(&x[1].matmul(&x[2]), &[], &[(0, 0)]));
    bound("(A B) C contracted on the left", &[a, &[30, 10], &[20]], 1200 + 600, |_, x| {
        x[0].matmul(&x[1]).dot(&x[2], &[], &[(0, 0)])
    });
    bound("u (v w^T)", &[&[20], &[20], &[30]], 40 + 60, |_, x| x[0].dot(&x[1].dot(&x[2], &[], &[]), &[], &[(0, 0)]));
    bound("factor to the small side", &[&[20], &[30]], 20 + 1200, |_, x| x[0].dot(&x[1], &[], &[]) * 3.0);
    bound("factor out", &[a, &[30]], 1200 + 20, |_, x| (&x[0] * 3.0).matmul(&x[1]));
    bound("scalar out", &[a, &[30], &[]], 1200 + 20, |_, x| (&x[0] * &x[2]).matmul(&x[1]));
    bound("with ones", &[a], 600, |t, x| x[0].matmul(&t.full(&[30, 7], 1.0)));
    bound("with one number", &[a], 600 + 20, |t, x| x[0].matmul(&t.full(&[30, 7], 2.0)));
    bound("repeated columns", &[a, &[30]], 1200, |_, x| x[0].dot(&x[1].broadcast_to(&[9, 30]), &[], &[(1, 1)]));
    bound("repeated rows", &[a, &[7]], 600 + 280, |_, x| x[0].matmul(&x[1].broadcast_to(&[30, 7])));
    bound("batch that repeats", &[&[5, 2, 3], &[3, 4]], 2 * 5 * 2 * 3 * 4, |_, x| {
        x[0].matmul(&x[1].broadcast_to(&[5, 3, 4])).transpose(&[1, 0, 2])
    });
    bound("both repeat", &[&[2, 3], &[3, 4]], 48, |_, x| {
        x[0].broadcast_to(&[5, 2, 3]).matmul(&x[1].broadcast_to(&[5, 3, 4]))
    });
    bound("sum of a product", &[a, &[30, 10]], 600 + 600, |_, x| x[0].matmul(&x[1]).sum(&[0]));
    bound("trace-like", &[&[6, 2, 3], &[6, 3, 4]], 2 * 6 * 2 * 3 * 4, |_, x| x[0].matmul(&x[1]).sum(&[0]));
    bound("transposes read in place", &[a, &[10, 30]], 12000, |_, x| x[0].t().t().matmul(&x[1].t()).t());
    // Nobody multiplies twice: the product is read by others too.
    let (p, s) = case("shared", &[a, &[30, 10], v], |_, x| {
        let ab = x[0].matmul(&x[1]);
        ab.matmul(&x[2]) + ab.sin().sum(&[1])
    });
    assert_eq!(p.flops(), s.flops());
}

#[test]
fn the_grid_and_its_derivatives() {
    for c in all() {
        let wrt: Vec<usize> = (0..c.inputs.len()).collect();
        let v: Vec<_> = c.inputs.iter().zip(50..).map(|(a, k)| numbers(a.shape(), k, -1.0, 1.0)).collect();
        let both = [c.inputs.clone(), v].concat();
        check(c.name, &c.program, &c.inputs);
        check(c.name, &c.program.jvp(&wrt).unwrap(), &both);
        let head = trace(
            &(0..wrt.len()).map(|i| (["a", "b", "c"][i], c.program.input_type(i).clone())).collect::<Vec<_>>(),
            |t, x| vec![("f", t.call(&c.program, &x.iter().collect::<Vec<_>>()).remove(0).sin().sum_all())],
        )
        .unwrap();
        let product = head.grad(&wrt).unwrap().jvp(&wrt).unwrap();
        check(c.name, &product, &both);
        // A derivative of what was simplified is the derivative.
        let late = head.simplify().unwrap().grad(&wrt).unwrap().simplify().unwrap().jvp(&wrt).unwrap();
        let (got, expected) = (run(&late, &both), run(&product, &both));
        close(&got, &expected, 1e-12).unwrap_or_else(|e| panic!("{}: {e}", c.name));
    }
}

#[test]
fn models_are_already_simple() {
    let layers = vec![
        Layer::Linear { inputs: 6, outputs: 8, bias: true },
        Layer::Gelu {},
        Layer::LayerNorm { shape: vec![8], eps: 1e-5 },
        Layer::Linear { inputs: 8, outputs: 3, bias: true },
    ];
    let model = Sequential::new(&[6], layers).unwrap();
    let loss = model.trace_loss(16, &Loss::mse(), false).unwrap();
    let inputs = [numbers(&[99], 1, -0.7, 0.7), numbers(&[16, 6], 2, -1.0, 1.0), numbers(&[16, 3], 3, -1.0, 1.0)];
    for p in [loss.clone(), loss.value_and_grad(&[0]).unwrap()] {
        let s = check("model", &p, &inputs);
        let steps = |p: &Program| p.compile::<f64>().unwrap().steps();
        assert!(steps(&s) <= steps(&p), "{} steps from {}", steps(&s), steps(&p));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_programs(steps in prop::collection::vec(rich_step(), 1..14)) {
        let p = program(&steps);
        let point = [numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        check("value", &p, &point);
        check("gradient", &p.grad(&[0, 1]).unwrap(), &point);
    }
}
