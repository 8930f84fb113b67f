//! `collapse` on programs that sum: values kept, never more work, and standard Taylor mode becomes the collapsed one.

use crate::cases::numbers;
use crate::properties::{program, step};
use autodiff::{Array, Jet, Program, Tensor, TensorType, Value, trace};
use proptest::prelude::*;

fn run(p: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    p.verify().unwrap();
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    p.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

fn assert_close(got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tol * scale, "{g} against {e}");
    }
}

/// Standard Taylor mode with a weighted sum of its top order written by hand; the weights are the last input.
fn summed(p: &Program, wrt: &[usize], order: usize, r: usize) -> Program {
    let jet = p.jet(wrt, &Jet::new(order, r).straight()).unwrap();
    let mut ports: Vec<(&str, TensorType)> =
        (0..jet.inputs().len()).map(|i| (jet.inputs()[i].name.as_str(), jet.input_type(i).clone())).collect();
    ports.push(("weights", TensorType::real(&[r])));
    trace(&ports, |t, x| {
        let (weights, rest) = x.split_last().unwrap();
        let refs: Vec<&Tensor> = rest.iter().collect();
        let top = t.call(&jet, &refs).pop().unwrap();
        let shape: Vec<usize> = core::iter::once(r).chain(top.shape()[1..].iter().map(|_| 1)).collect();
        vec![("sum", (top * weights.reshape(&shape)).sum(&[0]))]
    })
    .unwrap()
}

fn dots(p: &Program) -> u64 {
    let of = |n: &autodiff::Node| {
        let args: Vec<&TensorType> = n.args.iter().map(|&a| &p.node(a).ty).collect();
        n.op.flops(&args, &n.ty)
    };
    p.nodes().iter().filter(|n| n.op.name().starts_with("dot")).map(of).sum()
}

/// The rewritten program of a multilayer perceptron costs what the direct one does.
#[test]
fn rewritten_perceptrons_cost_what_direct_ones_do() {
    for (order, r) in [(2, 5), (2, 12), (3, 4), (4, 6)] {
        let ports = [
            ("x", TensorType::real(&[4, 16])),
            ("u", TensorType::real(&[16, 32])),
            ("v", TensorType::real(&[32, 32])),
            ("w", TensorType::real(&[32, 1])),
        ];
        let p = trace(&ports, |_, t| vec![("y", t[0].matmul(&t[1]).tanh().matmul(&t[2]).sin().matmul(&t[3]))]).unwrap();
        let rewritten = summed(&p, &[0], order, r).collapse().unwrap();
        let direct = p.collapsed_jet(&[0], &Jet::new(order, r).straight()).unwrap();
        let direct = direct.select_outputs(&[order]).unwrap().simplify().unwrap();
        assert!(dots(&rewritten) <= dots(&direct), "{order} {r}\n{rewritten}\n{direct}");
        let (a, b) = (rewritten.flops() as f64, direct.flops() as f64);
        assert!(a <= 1.02 * b, "order {order}, {r} directions: {a} against {b}\n{rewritten}\n{direct}");
        let mut inputs: Vec<Array<f64>> =
            (1..).zip(&ports).map(|(k, (_, ty))| numbers(&ty.shape, k, -0.5, 0.5)).collect();
        inputs.push(numbers(&[r, 4, 16], 9, -1.0, 1.0));
        inputs.push(numbers(&[r], 10, -1.0, 1.0));
        assert_close(run(&rewritten, &inputs)[0].data(), run(&direct, &inputs)[0].data(), 1e-12);
        assert_eq!(rewritten.collapse().unwrap(), rewritten);
    }
}

/// Sums stop where both factors change, and where a value is wanted in full.
#[test]
fn sums_that_must_stay_stay() {
    let ports = [("w", TensorType::real(&[6, 6])), ("x", TensorType::real(&[8, 6]))];
    let keeps = |f: fn(&Tensor, &Tensor) -> Vec<(&'static str, Tensor)>| {
        let p = trace(&ports, |_, t| f(&t[0], &t[1])).unwrap();
        let q = p.collapse().unwrap();
        let inputs = [numbers(&[6, 6], 1, -1.0, 1.0), numbers(&[8, 6], 2, -1.0, 1.0)];
        for (a, b) in run(&p, &inputs).iter().zip(&run(&q, &inputs)) {
            assert_close(b.data(), a.data(), 1e-13);
        }
        (p.flops(), q.flops())
    };
    let (before, after) = keeps(|w, x| vec![("y", x.matmul(w).tanh().sum(&[0]))]);
    assert_eq!(before, after);
    let (before, after) = keeps(|w, x| vec![("y", (x.matmul(w) * x).sum(&[0]))]);
    assert_eq!(before, after);
    let (before, after) = keeps(|w, x| vec![("all", x.matmul(w)), ("y", x.matmul(w).sum(&[0]))]);
    assert_eq!(before, after);
    let (before, after) = keeps(|w, x| vec![("y", (x.matmul(w) - x.matmul(&w.t())).sum(&[0]))]);
    assert!(after * 6 < before, "{before} {after}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The rewrite and the direct transform agree on random programs, with weights of both signs.
    #[test]
    fn rewritten_is_direct(steps in prop::collection::vec(step(), 1..9), order in 2usize..4, r in 1usize..4) {
        let p = program(&steps);
        let rewritten = summed(&p, &[0, 1], order, r);
        let before = rewritten.flops();
        let rewritten = rewritten.collapse().unwrap();
        prop_assert!(rewritten.flops() <= before);
        let direct = p.collapsed_jet(&[0, 1], &Jet::new(order, r).straight()).unwrap();
        let mut inputs = vec![numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        inputs.extend([numbers(&[r, 3, 3], 3, -1.0, 1.0), numbers(&[r, 3, 3], 4, -1.0, 1.0), numbers(&[r], 5, -1.0, 1.0)]);
        let (a, b) = (run(&rewritten, &inputs), run(&direct, &inputs));
        assert_close(a[0].data(), b[order].data(), 1e-12);
    }
}
