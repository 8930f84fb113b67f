//! Taps through differential operators: streams give back every gradient, and are derivatives.

use crate::cases::numbers;
use crate::taps::{Setting, check_backward, check_forward};
use autodiff::pde::{Coefficients, Drift, Operator, Pde, Scheme, Strategy, Stream};
use autodiff::{Array, Leaf, Program, TapKind, TensorType, Value, trace};

const N: usize = 3;
const D: usize = 2;

/// Two layers with biases, a gain, a shift on its own and a weight that is used twice; two components.
fn network() -> (Program, Vec<Leaf>, Vec<Value<f64>>) {
    let shapes: [&[usize]; 7] = [&[5, D], &[5], &[5, 5], &[5], &[5], &[5, 2], &[N, D]];
    let names = ["w1", "b1", "w2", "gain", "shift", "w3", "x"];
    let ports: Vec<_> = shapes.iter().zip(names).map(|(s, n)| (n, TensorType::real(s))).collect();
    let program = trace(&ports, |_, t| {
        let h = (t[6].matmul(&t[0].t()) + &t[1]).tanh();
        let h = (h.matmul(&t[2]) * &t[3]).sin();
        let h = ((h.matmul(&t[2]) + &t[4]) * 0.5).tanh();
        vec![("f", h.matmul(&t[5]))]
    })
    .unwrap();
    let leaves = (0..6).map(|i| Leaf::input(&program, i).unwrap()).collect();
    let inputs = shapes.iter().zip(11..).map(|(s, k)| numbers(s, k, -0.9, 0.9).into()).collect();
    (program, leaves, inputs)
}

fn sizes(pde: &Pde<'_>, leaves: &[Leaf]) -> usize {
    pde.streams(leaves).unwrap().streams.len()
}

#[test]
fn streams_give_every_gradient() {
    let (program, leaves, inputs) = network();
    let sigma = Coefficients::Sigma { columns: 2, per_datum: false };
    let terms = vec![(vec![2, 1], 0.7), (vec![0, 3], -0.4), (vec![1, 0], 1.2)];
    let directions = Operator::Directional { order: 3, directions: 2, per_datum: true };
    type Case = (&'static str, Vec<Operator>, Vec<Vec<usize>>);
    let cases: [Case; 5] = [
        ("value, gradient, Laplacian", vec![Operator::Value, Operator::Gradient, Operator::Laplacian], vec![]),
        (
            "sigma and drift",
            vec![Operator::WeightedLaplacian { coefficients: sigma, drift: Some(Drift::PerDatum) }],
            vec![vec![D, 2], vec![N, D]],
        ),
        ("biharmonic, divergence", vec![Operator::Biharmonic(Scheme::Auto), Operator::Divergence], vec![]),
        ("mixed orders", vec![Operator::Linear(terms)], vec![]),
        ("directions", vec![directions], vec![vec![2, N, D], vec![2]]),
    ];
    for (name, operators, more) in cases {
        for strategy in [Strategy::Collapsed, Strategy::Taylor] {
            let pde = operators
                .iter()
                .enumerate()
                .fold(Pde::new(&program, 6).strategy(strategy), |p, (k, op)| p.operator(format!("op{k}"), op.clone()));
            let more = more.iter().zip(31..).map(|(s, k)| numbers(s, k, -1.0, 1.0).into());
            let inputs = inputs.iter().cloned().chain(more).collect();
            let s = Setting { name, program: pde.build().unwrap(), leaves: leaves.clone(), inputs };
            let streams = pde.streams(&leaves).unwrap();
            let count = streams.streams.len();
            assert_eq!((streams.streams[0], streams.taps.outputs), (Stream::Value, operators.len()));
            assert!(streams.taps.uses.iter().all(|u| u.positions[..] == [N, count]), "{name}");
            check_backward(&s, &streams.taps);
            check_forward(&s, &streams.taps);
        }
    }
}

#[test]
fn operators_share_streams() {
    let (program, leaves, _) = network();
    let new = |strategy| Pde::new(&program, 6).strategy(strategy);
    let all = |p: Pde<'_>| -> usize {
        let p = p.operator("v", Operator::Value).operator("g", Operator::Gradient).operator("l", Operator::Laplacian);
        sizes(&p, &leaves)
    };
    assert_eq!([all(new(Strategy::Collapsed)), all(new(Strategy::Taylor))], [2 + D, 1 + 2 * D]);
    assert_eq!(sizes(&new(Strategy::Auto).operator("v", Operator::Value), &leaves), 1);
    let biharmonic = new(Strategy::Auto).operator("b", Operator::Biharmonic(Scheme::Interpolated));
    assert_eq!(sizes(&biharmonic, &leaves), 2 + 3 * 5);
    let streams = new(Strategy::Auto).operator("l", Operator::Laplacian).streams(&leaves).unwrap();
    let (first, sum) = (Stream::Derivative { family: 0, order: 1, direction: 0 }, Stream::Sum { order: 2 });
    assert_eq!((streams.streams[1], *streams.streams.last().unwrap()), (first, sum));
    // Biases and shifts act on the value alone; gains and weights on every stream.
    for u in &streams.taps.uses {
        let last = if u.kind == TapKind::Shift { 1 } else { 2 + D };
        assert_eq!(u.windowed.last(), Some(&(0..last)), "{}", u.name);
    }
    assert_eq!(streams.taps.uses[0].bias, Some(1));
}

fn flat(values: &[Value<f64>], at: usize) -> Vec<f64> {
    values[at].real().unwrap().data().to_vec()
}

fn assert_close(what: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (k, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() < 1e-13, "{what}, entry {k}: {g} against {e}");
    }
}

/// The recursions of the forward Laplacian and of its reverse pass, written out for one hidden layer.
#[test]
fn streams_are_derivatives_without_factorials() {
    let (n, d, h) = (2, 3, 4);
    let ports = [
        ("w", TensorType::real(&[h, d])),
        ("b", TensorType::real(&[h])),
        ("v", TensorType::real(&[1, h])),
        ("x", TensorType::real(&[n, d])),
    ];
    let f = trace(&ports, |_, t| vec![("f", (t[3].matmul(&t[0].t()) + &t[1]).tanh().matmul(&t[2].t()))]).unwrap();
    let leaves: Vec<Leaf> = (0..3).map(|i| Leaf::input(&f, i).unwrap()).collect();
    let pde = Pde::new(&f, 3)
        .operator("value", Operator::Value)
        .operator("gradient", Operator::Gradient)
        .operator("laplacian", Operator::Laplacian);
    let taps = pde.streams(&leaves).unwrap().taps;
    let backward = taps.backward().unwrap();
    let (w, b, v) = (numbers(&[h, d], 1, -1.0, 1.0), numbers(&[h], 2, -1.0, 1.0), numbers(&[1, h], 3, -1.0, 1.0));
    let x = numbers(&[n, d], 4, -1.0, 1.0);
    let (s0, s1, s2) =
        (numbers(&[n, 1], 5, -1.0, 1.0), numbers(&[n, 1, d], 6, -1.0, 1.0), numbers(&[n, 1], 7, -1.0, 1.0));
    let inputs = [&w, &b, &v, &x, &s0, &s1, &s2].map(|a| Value::from(a.clone()));
    let out = backward.interpret(&inputs).unwrap();
    let (first, last) = (&taps.uses[0], &taps.uses[2]);
    let cotangent = |k: usize| flat(&out, backward.output_index(&format!("tap.{k}")).unwrap());
    let (ins, outs) = (flat(&out, first.input.unwrap()), cotangent(first.tap));
    let (hidden, top) = (flat(&out, last.input.unwrap()), cotangent(last.tap));
    let count = d + 2;
    for p in 0..n {
        let row = |all: &[f64], s: usize, width: usize| all[(p * count + s) * width..][..width].to_vec();
        let z: Vec<f64> = (0..h)
            .map(|j| b.data()[j] + (0..d).map(|i| w.data()[j * d + i] * x.data()[p * d + i]).sum::<f64>())
            .collect();
        let t: Vec<f64> = z.iter().map(|z| z.tanh()).collect();
        let each = |g: &dyn Fn(usize, f64) -> f64| -> Vec<f64> { (0..h).map(|j| g(j, t[j])).collect() };
        let one = |t: f64| 1.0 - t * t;
        let two = |t: f64| -2.0 * t * one(t);
        let three = |t: f64| one(t) * (6.0 * t * t - 2.0);
        let weight = |j: usize, i: usize| w.data()[j * d + i];
        let square = |j: usize| (0..d).map(|i| weight(j, i).powi(2)).sum::<f64>();
        let (c0, c2) = (s0.data()[p], s2.data()[p]);
        let c1 = |i: usize| s1.data()[p * d + i];
        assert_close("points", &row(&ins, 0, d), &x.data()[p * d..][..d]);
        assert_close("value", &row(&hidden, 0, h), &t);
        assert_close("sum", &row(&hidden, d + 1, h), &each(&|j, t| two(t) * square(j)));
        assert_close("no sum", &row(&ins, d + 1, d), &vec![0.0; d]);
        assert_close("seeds", &[row(&top, 0, 1), row(&top, d + 1, 1)].concat(), &[c0, c2]);
        let v = v.data();
        for i in 0..d {
            let unit: Vec<f64> = (0..d).map(|k| f64::from(u8::from(k == i))).collect();
            assert_close("unit", &row(&ins, 1 + i, d), &unit);
            assert_close("first", &row(&hidden, 1 + i, h), &each(&|j, t| one(t) * weight(j, i)));
            assert_close("seed", &row(&top, 1 + i, 1), &[c1(i)]);
            let expected = each(&|j, t| v[j] * (one(t) * c1(i) + 2.0 * two(t) * weight(j, i) * c2));
            assert_close("first cotangent", &row(&outs, 1 + i, h), &expected);
        }
        assert_close("sum cotangent", &row(&outs, d + 1, h), &each(&|j, t| v[j] * one(t) * c2));
        let along = |j: usize| (0..d).map(|i| weight(j, i) * c1(i)).sum::<f64>();
        let expected = each(&|j, t| v[j] * (one(t) * c0 + two(t) * along(j) + three(t) * square(j) * c2));
        assert_close("value cotangent", &row(&outs, 0, h), &expected);
    }
    // Without the value, taps of the finished program see the scaled sum alone; products with the cotangents are the same.
    let program = Pde::new(&f, 3).operator("laplacian", Operator::Laplacian).build().unwrap();
    let scaled = program.taps(&leaves[2..]).unwrap();
    let [only] = &scaled.uses[..] else { panic!("{:?}", scaled.uses) };
    let given = [&w, &b, &v, &x, &s2].map(|a| Value::from(a.clone()));
    let scaled_out = scaled.backward().unwrap().interpret(&given).unwrap();
    let (small, large) = (flat(&scaled_out, only.input.unwrap()), flat(&scaled_out, scaled.program.outputs().len()));
    for p in 0..n {
        let sum = &hidden[(p * count + d + 1) * h..][..h];
        assert_close("scaled", &small[p * h..][..h].iter().map(|s| 2.0 * s).collect::<Vec<_>>(), sum);
        assert_close("scaled cotangent", &[0.5 * large[p]], &[top[p * count + d + 1]]);
    }
}

/// What does not move along directions has taps all the same: on every use of a parameter in the program that is run.
#[test]
fn operators_without_streams_have_taps() {
    let (program, leaves, inputs) = network();
    let of = |how, operator: Operator| Pde::new(&program, 6).strategy(how).operator("op", operator).build().unwrap();
    for (name, program) in [
        ("nested Laplacian", of(Strategy::Nested, Operator::Laplacian)),
        ("direct biharmonic", of(Strategy::Auto, Operator::Biharmonic(Scheme::Direct))),
        ("nested biharmonic", of(Strategy::Collapsed, Operator::Biharmonic(Scheme::Nested))),
    ] {
        let taps = program.taps(&leaves).unwrap();
        assert!(taps.uses.len() > leaves.len(), "{name}");
        check_backward(&Setting { name, program, leaves: leaves.clone(), inputs: inputs.clone() }, &taps);
    }
}

#[test]
fn what_has_no_streams_is_an_error() {
    let (program, leaves, _) = network();
    let pde = Pde::new(&program, 6).operator("l", Operator::Laplacian);
    let wrong = |e: autodiff::Error, part: &str| assert!(e.to_string().contains(part), "{e}");
    wrong(pde.clone().strategy(Strategy::Nested).streams(&leaves).unwrap_err(), "nested");
    for scheme in [Scheme::Direct, Scheme::Nested] {
        let pde = Pde::new(&program, 6).operator("b", Operator::Biharmonic(scheme));
        wrong(pde.streams(&leaves).unwrap_err(), "streams");
    }
    wrong(pde.streams(&[Leaf::input(&program, 6).unwrap()]).unwrap_err(), "points");
    // No parameters: the operators, and nothing to tap.
    let none = pde.streams(&[]).unwrap();
    assert!(none.taps.is_empty() && none.taps.uses.is_empty());
    // A parameter that is an integer table's row does not move.
    let ports =
        [("table", TensorType::real(&[4, D])), ("rows", TensorType::int(&[N])), ("x", TensorType::real(&[N, D]))];
    let f = trace(&ports, |_, t| vec![("f", (t[0].gather(&t[1], 0) * &t[2]).sin().sum(&[1]))]).unwrap();
    let pde = Pde::new(&f, 2).operator("value", Operator::Value).operator("laplacian", Operator::Laplacian);
    let leaves = [Leaf::input(&f, 0).unwrap()];
    let rows = Value::Int(Array::new(&[N], vec![1, 3, 1]).unwrap());
    let inputs = vec![numbers(&[4, D], 1, -1.0, 1.0).into(), rows, numbers(&[N, D], 2, -1.0, 1.0).into()];
    let s = Setting { name: "table", program: pde.build().unwrap(), leaves: leaves.to_vec(), inputs };
    let taps = pde.streams(&leaves).unwrap().taps;
    assert_eq!(taps.uses[0].kind, TapKind::Lookup);
    check_backward(&s, &taps);
}
