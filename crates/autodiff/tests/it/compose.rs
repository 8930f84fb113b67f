//! Transformations in random order: each step leaves a well-formed program, and two routes to one derivative agree.

use crate::cases::numbers;
use crate::properties::{Step, program, rich_step};
use crate::taps::{Setting, check};
use autodiff::{Array, Builder, Leaf, Program, TensorType, Value, trace};
use proptest::prelude::*;

/// A mathematical transformation, and what happens to the program on the way.
#[derive(Clone, Debug)]
struct Turn {
    what: u8,
    mask: usize,
    around: [u8; 2],
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (0u8..4, 1usize..64, any::<[u8; 2]>()).prop_map(|(what, mask, around)| Turn { what, mask, around });
    prop::collection::vec(turn, 1..4)
}

fn chosen(p: &Program, mask: usize) -> Vec<usize> {
    let n = p.inputs().len();
    let list: Vec<usize> = (0..n).filter(|i| mask >> (i % 6) & 1 == 1).collect();
    if list.is_empty() { vec![mask % n] } else { list }
}

/// `jvp` or `vjp` put together from the two halves of `linearize`.
fn by_halves(p: &Program, wrt: &[usize], reverse: bool) -> Program {
    let split = p.linearize(wrt).unwrap();
    split.primal.verify().unwrap();
    let linear = if reverse { split.transpose().unwrap() } else { split.linear.clone() };
    linear.verify().unwrap();
    let mut b = Builder::new();
    let inputs: Vec<_> =
        (0..p.inputs().len()).map(|i| b.input(p.inputs()[i].name.clone(), p.input_type(i).clone())).collect();
    let primal = b.inline(&split.primal, &inputs).unwrap();
    let value = |k: usize| primal[split.primal.outputs()[k].node.index()];
    let mut outputs: Vec<_> = (0..split.outputs).map(|k| (split.primal.outputs()[k].name.clone(), value(k))).collect();
    let mut args: Vec<_> = (split.outputs..split.primal.outputs().len()).map(value).collect();
    for i in split.residuals..linear.inputs().len() {
        args.push(b.input(linear.inputs()[i].name.clone(), linear.input_type(i).clone()));
    }
    let map = b.inline(&linear, &args).unwrap();
    outputs.extend(linear.outputs().iter().map(|q| (q.name.clone(), map[q.node.index()])));
    b.finish(outputs)
}

/// The whole program as one named sub-program.
fn named(p: &Program) -> Program {
    let ports: Vec<_> = (0..p.inputs().len()).map(|i| (p.inputs()[i].name.as_str(), p.input_type(i).clone())).collect();
    trace(&ports, |t, x| {
        let refs: Vec<_> = x.iter().collect();
        let results = t.named("part", &refs, |t, x| {
            let inner = t.call(p, &x.iter().collect::<Vec<_>>());
            p.outputs().iter().map(|q| q.name.clone()).zip(inner).collect()
        });
        p.outputs().iter().map(|q| q.name.clone()).zip(results).collect()
    })
    .unwrap()
}

fn around(p: Program, how: u8) -> Program {
    let next = match how % 6 {
        0 => p.simplify().unwrap(),
        4 => p.stack().unwrap(),
        1 => named(&p),
        2 => p.inline().unwrap(),
        3 => named(&p.simplify().unwrap()),
        _ => p,
    };
    next.verify().unwrap();
    next
}

fn vmapped(p: &Program, mask: usize) -> Program {
    let axes: Vec<Option<usize>> = (0..p.inputs().len())
        .map(|i| chosen(p, mask).contains(&i).then(|| mask % (p.input_type(i).rank() + 1)))
        .collect();
    p.vmap(2, &axes).unwrap()
}

/// The same mathematics twice: by the rules on plain programs, and by halves, through names and `simplify`.
fn both(p: &Program, list: &[Turn]) -> (Program, Program) {
    let (mut plain, mut tried) = (p.inline().unwrap(), p.clone());
    for t in list {
        tried = around(tried, t.around[0]);
        let wrt = chosen(&plain, t.mask);
        (plain, tried) = match t.what {
            0 => (plain.jvp(&wrt).unwrap(), by_halves(&tried, &wrt, false)),
            1 => (plain.vjp(&wrt).unwrap(), by_halves(&tried, &wrt, true)),
            2 => (by_halves(&plain, &wrt, true), tried.vjp(&wrt).unwrap()),
            _ => (vmapped(&plain, t.mask), vmapped(&tried, t.mask)),
        };
        plain.verify().unwrap();
        tried = around(tried, t.around[1]);
    }
    (plain, tried)
}

fn point(p: &Program) -> Vec<Value<f64>> {
    (0..p.inputs().len()).map(|i| numbers(&p.input_type(i).shape, 11 + i as u64, -1.0, 1.0).into()).collect()
}

fn run(p: &Program) -> Vec<Array<f64>> {
    p.interpret(&point(p)).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_gives_the_same_values(steps in prop::collection::vec(rich_step(), 1..8), list in turns()) {
        let (plain, tried) = both(&program(&steps), &list);
        let ports = |p: &Program| -> Vec<(String, TensorType)> {
            (0..p.inputs().len()).map(|i| (p.inputs()[i].name.clone(), p.input_type(i).clone())).collect()
        };
        prop_assert_eq!(ports(&plain), ports(&tried));
        let (expected, got) = (run(&plain), run(&tried));
        prop_assert_eq!(expected.len(), got.len());
        for (e, g) in expected.iter().zip(&got) {
            prop_assert_eq!(e.shape(), g.shape());
            let scale = e.data().iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (e, g) in e.data().iter().zip(g.data()) {
                prop_assert!((e - g).abs() <= 1e-11 * scale, "{} against {}", g, e);
            }
        }
        // What is compiled computes the same.
        let inputs = point(&tried);
        let compiled = tried.compile::<f64>().unwrap().call(&inputs).unwrap();
        for (e, g) in expected.iter().zip(&compiled) {
            let scale = e.data().iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (e, g) in e.data().iter().zip(g.real().unwrap().data()) {
                prop_assert!((e - g).abs() <= 1e-10 * scale, "compiled: {} against {}", g, e);
            }
        }
    }

    /// A directional derivative made by any route is the difference quotient, to the error of the latter: `h^2/6` times a
    /// derivative of order four, which is up to some 1e4 of the scale for these programs.
    #[test]
    fn derivatives_are_difference_quotients(steps in prop::collection::vec(rich_step(), 1..8), how in any::<[u8; 3]>()) {
        let stops = |s: &Step| matches!(s, Step::Rich(9, ..));
        prop_assume!(!steps.iter().any(stops));
        let p = program(&steps);
        let gradient = around(around(p.clone(), how[0]).grad(&[0, 1]).unwrap(), how[1]);
        let product = around(gradient.jvp(&[0, 1]).unwrap(), how[2]);
        let x = [numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        let v = [numbers(&[3, 3], 3, -1.0, 1.0), numbers(&[3, 3], 4, -1.0, 1.0)];
        let values = |list: &[Array<f64>]| list.iter().cloned().map(Value::from).collect::<Vec<_>>();
        let at = |h: f64| -> Vec<Array<f64>> {
            let moved = |k: usize| Array::from_fn(&[3, 3], |i| x[k].data()[i] + h * v[k].data()[i]);
            let out = gradient.interpret(&values(&[moved(0), moved(1)])).unwrap();
            out.into_iter().map(|v| v.into_real().unwrap()).collect()
        };
        let h = 1e-5;
        let (plus, minus) = (at(h), at(-h));
        let got = product.interpret(&values(&[x.to_vec(), v.to_vec()].concat())).unwrap();
        for k in 0..2 {
            let got = got[2 + k].real().unwrap().data();
            let scale = got.iter().chain(plus[k].data()).fold(1.0f64, |m, x| m.max(x.abs()));
            for (i, g) in got.iter().enumerate() {
                let quotient = (plus[k].data()[i] - minus[k].data()[i]) / (2.0 * h);
                prop_assert!((g - quotient).abs() <= 2e-6 * scale, "{} against {}", g, quotient);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A linear layer in front of a random program, differentiated in its input, batched, named and simplified: the taps
    /// still give back every gradient.
    #[test]
    fn taps_of_transformed_programs(steps in prop::collection::vec(rich_step(), 1..6), list in turns()) {
        let body = program(&steps);
        let real = TensorType::real;
        let ports = [("w", real(&[3, 2])), ("b", real(&[3])), ("x", real(&[3, 2])), ("y", real(&[3, 3]))];
        let mut p = trace(&ports, |t, x| {
            let h = x[2].matmul(&x[0].t()) + &x[1];
            vec![("out", t.call(&body, &[&h, &x[3]]).remove(0))]
        })
        .unwrap();
        for t in &list[..list.len().min(2)] {
            p = around(p, t.around[0]);
            let wrt: Vec<usize> = chosen(&p, t.mask).into_iter().filter(|&i| i >= 2).collect();
            p = match (t.what, wrt.is_empty()) {
                (_, true) => p,
                (0, _) => p.jvp(&wrt).unwrap(),
                (1 | 2, _) => p.vjp(&wrt).unwrap(),
                _ => {
                    let axes: Vec<_> = (0..p.inputs().len()).map(|i| wrt.contains(&i).then_some(0)).collect();
                    p.vmap(2, &axes).unwrap()
                }
            };
            p = around(p, t.around[1]);
        }
        let leaves = vec![Leaf::input(&p, 0).unwrap(), Leaf::input(&p, 1).unwrap()];
        let inputs = point(&p);
        check(&Setting { name: "transformed", program: p, leaves, inputs });
    }
}
