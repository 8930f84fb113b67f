//! Taps: other operands and cotangents must give back every gradient, and tangents every derivative.

use crate::cases::numbers;
use autodiff::nn::{Layer, Sequential};
use autodiff::ops::Window;
use autodiff::{
    Array, Error, Leaf, Orientation, Program, TapKind, Taps, Tensor, TensorType, Tracer, Use, Value, trace,
};

fn indices(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut list = vec![Vec::new()];
    for &n in sizes {
        list = list.into_iter().flat_map(|i| (0..n).map(move |k| [i.clone(), vec![k]].concat())).collect();
    }
    list
}

fn flat(index: &[usize], sizes: &[usize]) -> usize {
    index.iter().zip(sizes).fold(0, |at, (i, n)| at * n + i)
}

/// Calls `f(entry of the parameter, position in the tap, value of the other operand)` for every term of a use.
fn terms(u: &Use, other: Option<&Value<f64>>, mut f: impl FnMut(usize, usize, f64)) {
    let size = |axes: &[autodiff::Axis]| axes.iter().map(|a| a.size).collect::<Vec<_>>();
    let at = |axes: &[autodiff::Axis], i: &[usize]| axes.iter().zip(i).map(|(a, i)| a.stride * i).sum::<usize>();
    let (groups, inputs, outputs) = (size(&u.groups), size(&u.inputs), size(&u.outputs));
    let tap_sizes = [&u.positions[..], &groups, &outputs].concat();
    let other_sizes = [&u.positions[..], &groups, &inputs].concat();
    for p in indices(&u.positions) {
        if p.iter().zip(&u.windowed).any(|(i, w)| !w.contains(i)) {
            continue;
        }
        for g in indices(&groups) {
            for o in indices(&outputs) {
                let tap = flat(&[&p[..], &g, &o].concat(), &tap_sizes);
                let base = u.offset + at(&u.groups, &g) + at(&u.outputs, &o);
                match (u.kind, other) {
                    (TapKind::Lookup, Some(rows)) => {
                        let sizes = [&u.positions[..], &groups].concat();
                        let row = rows.int().unwrap().data()[flat(&[&p[..], &g].concat(), &sizes)] as usize;
                        f(base + row * u.inputs.first().map_or(0, |a| a.stride), tap, u.factor);
                    }
                    (TapKind::Shift, None) => f(base, tap, u.factor),
                    (_, Some(x)) => {
                        for i in indices(&inputs) {
                            let x = x.real().unwrap().data()[flat(&[&p[..], &g, &i].concat(), &other_sizes)];
                            f(base + at(&u.inputs, &i), tap, u.factor * x);
                        }
                    }
                    _ => panic!("{u:?}"),
                }
            }
        }
    }
}

/// A program with parameters, at a point.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) inputs: Vec<Value<f64>>,
}

fn assert_close(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 1e-12 * scale, "{name}, entry {i}: {g} against {e}");
    }
}

/// The part of an input's array that belongs to a leaf.
fn part<'a>(leaf: &Leaf, whole: &'a [f64]) -> &'a [f64] {
    let n: usize = leaf.shape.iter().product();
    &whole[leaf.offset.unwrap_or(0)..][..n]
}

fn run(p: &Program, inputs: &[Value<f64>]) -> Vec<Value<f64>> {
    p.verify().unwrap();
    p.interpret(inputs).unwrap()
}

fn wrt(s: &Setting) -> Vec<usize> {
    let mut list: Vec<usize> = s.leaves.iter().map(|l| l.input).collect();
    list.dedup();
    list
}

/// Cotangents of taps, recombined with the other operands, against reverse mode; several cotangents at once.
pub(crate) fn check_backward(s: &Setting, taps: &Taps) {
    let columns = 3;
    let real: Vec<usize> = (0..s.program.outputs().len()).collect();
    let seeds: Vec<Value<f64>> = real
        .iter()
        .map(|&i| {
            let shape: Vec<usize> = [&[columns], s.program.output_type(i).shape.as_slice()].concat();
            numbers(&shape, 70 + i as u64, -1.0, 1.0).into()
        })
        .collect();
    let backward = taps.backward().unwrap();
    let axes: Vec<_> = (0..backward.inputs().len()).map(|i| (i >= s.inputs.len()).then_some(0)).collect();
    let block = backward.vmap(columns, &axes).unwrap();
    let outs = run(&block, &[&s.inputs[..], &seeds].concat());
    let first_tap = taps.program.outputs().len();
    let reference = s.program.vjp(&wrt(s)).unwrap();
    for k in 0..columns {
        let pick = |v: &Value<f64>| -> Value<f64> {
            let ty = v.ty();
            let n = ty.numel() / columns;
            match v {
                Value::Real(a) => Array::new(&ty.shape[1..], a.data()[k * n..(k + 1) * n].to_vec()).unwrap().into(),
                Value::Int(a) => Value::Int(Array::new(&ty.shape[1..], a.data()[k * n..(k + 1) * n].to_vec()).unwrap()),
            }
        };
        let one: Vec<Value<f64>> = outs.iter().map(pick).collect();
        let mut got: Vec<Vec<f64>> = s.leaves.iter().map(|l| vec![0.0; l.shape.iter().product()]).collect();
        for u in &taps.uses {
            let ct = one[first_tap + u.tap].real().unwrap();
            terms(u, u.input.map(|i| &one[i]), |entry, tap, x| got[u.param][entry] += x * ct.data()[tap]);
        }
        let seed: Vec<Value<f64>> = seeds.iter().map(pick).collect();
        let expected = run(&reference, &[&s.inputs[..], &seed].concat()).split_off(s.program.outputs().len());
        let list = wrt(s);
        for (leaf, got) in s.leaves.iter().zip(&got) {
            let at = list.iter().position(|&i| i == leaf.input).unwrap();
            assert_close(&format!("{}: {}", s.name, leaf.name), got, part(leaf, expected[at].real().unwrap().data()));
        }
    }
}

/// Tangents of the taps, made from tangents of the parameters, push forward to `J v`.
pub(crate) fn check_forward(s: &Setting, taps: &Taps) {
    let list = wrt(s);
    let v: Vec<Value<f64>> =
        list.iter().map(|&i| numbers(&s.program.input_type(i).shape, 90 + i as u64, -1.0, 1.0).into()).collect();
    let split = taps.linearize().unwrap();
    let primal = run(&split.primal, &s.inputs);
    let mut tangents: Vec<Array<f64>> =
        (0..taps.len()).map(|k| Array::from_fn(&taps.program.input_type(taps.inputs + k).shape, |_| 0.0)).collect();
    for u in &taps.uses {
        let leaf = &s.leaves[u.param];
        let at = list.iter().position(|&i| i == leaf.input).unwrap();
        let v = part(leaf, v[at].real().unwrap().data());
        let tangent = tangents[u.tap].data_mut();
        terms(u, u.input.map(|i| &primal[i]), |entry, tap, x| tangent[tap] += x * v[entry]);
    }
    let inputs: Vec<Value<f64>> =
        primal[split.outputs..].iter().cloned().chain(tangents.into_iter().map(Value::from)).collect();
    let got = run(&split.linear, &inputs);
    // Only entries of listed parameters move.
    let masked: Vec<Value<f64>> = list
        .iter()
        .zip(&v)
        .map(|(&i, v)| {
            let v = v.real().unwrap();
            let listed = |j: usize| {
                s.leaves.iter().any(|l| {
                    let from = l.offset.unwrap_or(0);
                    l.input == i && (from..from + l.shape.iter().product::<usize>()).contains(&j)
                })
            };
            Array::from_fn(v.shape(), |j| if listed(j) { v.data()[j] } else { 0.0 }).into()
        })
        .collect();
    let expected = run(&s.program.jvp(&list).unwrap(), &[&s.inputs[..], &masked].concat());
    for (g, e) in got.iter().zip(&expected[s.program.outputs().len()..]) {
        assert_close(s.name, g.real().unwrap().data(), e.real().unwrap().data());
    }
}

/// Cotangents give the gradient, tangents the derivative.
pub(crate) fn check(s: &Setting) -> Taps {
    let taps = s.program.taps(&s.leaves).unwrap_or_else(|e| panic!("{}: {e}\n{}", s.name, s.program));
    taps.program.verify().unwrap();
    for u in &taps.uses {
        let sizes = |axes: &[autodiff::Axis]| axes.iter().map(|a| a.size).collect::<Vec<_>>();
        let tap = [&u.positions[..], &sizes(&u.groups), &sizes(&u.outputs)].concat();
        let shape = &taps.program.input_type(taps.inputs + u.tap).shape;
        // A bias may cut an axis of the tap that it shares.
        let same = u
            .bias_of
            .map_or(shape.as_slice() == tap, |_| shape.iter().product::<usize>() == tap.iter().product::<usize>());
        assert!(same, "{}: {shape:?} against {tap:?}", s.name);
    }
    check_backward(s, &taps);
    check_forward(s, &taps);
    taps
}

/// The first `params` inputs are parameters.
fn setting(
    name: &'static str,
    shapes: &[&[usize]],
    params: usize,
    body: impl FnOnce(&Tracer, &[Tensor]) -> Tensor,
) -> Setting {
    let names = ["a", "b", "c", "d", "e", "f"];
    let ports: Vec<_> = shapes.iter().zip(names).map(|(s, n)| (n, TensorType::real(s))).collect();
    let program = trace(&ports, |t, x| vec![("y", body(t, x).sin())]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let leaves = (0..params).map(|i| Leaf::input(&program, i).unwrap()).collect();
    let inputs = shapes.iter().zip(1..).map(|(s, k)| numbers(s, k, -1.0, 1.0).into()).collect();
    Setting { name, program, leaves, inputs }
}

fn model(name: &'static str, input: &[usize], layers: Vec<Layer>, batch: usize) -> Setting {
    let model = Sequential::new(input, layers).unwrap();
    let program = model.trace_model(batch).unwrap();
    let params = numbers(&[model.params().total()], 5, -0.7, 0.7).into();
    let ty = program.input_type(1).clone();
    let x = match ty.kind {
        autodiff::Kind::Real => numbers(&ty.shape, 6, -1.0, 1.0).into(),
        autodiff::Kind::Int => Value::Int(Array::from_fn(&ty.shape, |i| (i * 7 % 5) as i64)),
    };
    Setting { name, program, leaves: model.params().leaves(0), inputs: vec![params, x] }
}

#[test]
fn linear_layers_are_one_block_with_their_bias() {
    let layers = vec![
        Layer::Linear { inputs: 3, outputs: 4, bias: true },
        Layer::Tanh {},
        Layer::Linear { inputs: 4, outputs: 2, bias: false },
    ];
    let taps = check(&model("mlp", &[3], layers.clone(), 5));
    let [w, b, last] = &taps.uses[..] else { panic!("{:?}", taps.uses) };
    assert_eq!((w.bias, b.bias_of, b.tap), (Some(1), Some(0), w.tap));
    assert_eq!((w.orientation(), last.bias, taps.len()), (Orientation::OutIn, None, 2));
    assert_eq!((&w.positions[..], w.inputs[0].size, w.outputs[0].size), (&[5][..], 3, 4));
    // A sequence is one more position; a batch of one keeps its axis.
    let taps = check(&model("sequence", &[6, 3], layers.clone(), 1));
    assert_eq!((&taps.uses[0].positions[..], taps.uses[0].bias), (&[1, 6][..], Some(1)));
}

#[test]
fn convolutions_report_their_windows() {
    let layers = vec![
        Layer::Conv2d { inputs: 2, outputs: 3, kernel: 2, stride: 2, padding: 1, bias: true },
        Layer::Relu {},
        Layer::Conv2d { inputs: 3, outputs: 2, kernel: 1, stride: 1, padding: 0, bias: false },
        Layer::Flatten {},
        Layer::Linear { inputs: 24, outputs: 2, bias: true },
    ];
    let taps = check(&model("cnn", &[2, 4, 6], layers, 3));
    let (w, b) = (&taps.uses[0], &taps.uses[1]);
    assert_eq!((w.bias, b.bias_of, w.orientation()), (Some(1), Some(0), Orientation::OutIn));
    assert_eq!(w.positions, [3, 3, 4]);
    let sizes: Vec<usize> = w.inputs.iter().map(|a| a.size).collect();
    assert_eq!(sizes, [2, 2, 2]);
    let windows: Vec<_> = w.unfold.iter().map(|u| (u.position, u.input, u.axis, u.size, u.stride, u.padding)).collect();
    assert_eq!(windows, [(1, 1, 2, 2, 2, (1, 1)), (2, 2, 3, 2, 2, (1, 1))]);
    assert_eq!(taps.program.output_type(w.source.unwrap()).shape.as_slice(), [3, 2, 4, 6]);
}

#[test]
fn normalisation_and_embedding() {
    let layers = vec![
        Layer::Embedding { num: 5, dim: 4 },
        Layer::LayerNorm { shape: vec![4], eps: 1e-5 },
        Layer::Linear { inputs: 4, outputs: 3, bias: true },
    ];
    let taps = check(&model("tokens", &[6], layers, 2));
    let kinds: Vec<TapKind> = taps.uses.iter().map(|u| u.kind).collect();
    use TapKind::{Contraction, Lookup, Scale, Shift};
    assert_eq!(kinds, [Lookup, Scale, Shift, Contraction, Shift]);
    assert_eq!(taps.uses[0].inputs[0], autodiff::Axis { size: 5, stride: 4 });
    assert_eq!((&taps.uses[1].positions[..], taps.uses[1].groups[0].size), (&[2, 6][..], 4));
    assert_eq!(taps.uses[2].bias_of, None);
}

#[test]
fn tied_weights_have_several_uses() {
    let program = trace(&[("w", TensorType::real(&[5, 3])), ("t", TensorType::int(&[2, 4]))], |_, x| {
        vec![("logits", x[0].gather(&x[1], 0).tanh().matmul(&x[0].t()))]
    })
    .unwrap();
    let tokens = Value::Int(Array::from_fn(&[2, 4], |i| (i * 3 % 5) as i64));
    let leaves = vec![Leaf::input(&program, 0).unwrap()];
    let taps =
        check(&Setting { name: "tied", program, leaves, inputs: vec![numbers(&[5, 3], 1, -1.0, 1.0).into(), tokens] });
    assert_eq!(taps.uses.iter().map(|u| u.kind).collect::<Vec<_>>(), [TapKind::Lookup, TapKind::Contraction]);
    let s = setting("twice", &[&[3, 3], &[4, 3]], 1, |_, x| x[1].matmul(&x[0]).tanh().matmul(&x[0]));
    assert_eq!(check(&s).uses.len(), 2);
    let s = setting("own square", &[&[3, 2], &[4, 2]], 1, |_, x| x[1].matmul(&x[0].t().matmul(&x[0])));
    assert_eq!(check(&s).uses.len(), 2);
}

#[test]
fn unusual_orders_and_shapes() {
    let s = setting("W x", &[&[3, 4], &[4, 5]], 1, |_, x| x[0].matmul(&x[1]));
    let taps = check(&s);
    assert_eq!((taps.uses[0].orientation(), &taps.uses[0].positions[..]), (Orientation::OutIn, &[5][..]));
    let s = setting("x W", &[&[4, 3], &[3], &[5, 4]], 2, |_, x| x[2].matmul(&x[0]) + &x[1]);
    let taps = check(&s);
    assert_eq!((taps.uses[0].orientation(), taps.uses[0].bias), (Orientation::InOut, Some(1)));
    check(&setting("x^T W", &[&[4, 3], &[4, 5]], 1, |_, x| x[1].dot(&x[0], &[], &[(0, 0)])));
    let s = setting("heads", &[&[6, 4], &[2, 3], &[5, 4]], 2, |_, x| {
        let q = x[2].matmul(&x[0].reshape(&[2, 3, 4]).transpose(&[2, 0, 1]).reshape(&[4, 6])).reshape(&[5, 2, 3]);
        (q + &x[1]).transpose(&[1, 0, 2])
    });
    assert_eq!(check(&s).uses[0].bias, Some(1));
    check(&setting("transposed, then cut", &[&[4, 6], &[3, 4]], 1, |_, x| {
        x[1].matmul(&x[0].t().slice(0, 1, 5).t().reshape(&[2, 2, 4]).reshape(&[4, 4]))
    }));
    check(&setting("vector as matrix", &[&[24], &[5, 3]], 1, |_, x| {
        x[1].matmul(&x[0].slice(0, 6, 18).reshape(&[3, 4]))
    }));
    check(&setting("bilinear", &[&[2, 3, 4], &[5, 3], &[5, 4]], 1, |_, x| {
        x[1].dot(&x[0], &[], &[(1, 1)]).dot(&x[2], &[(0, 0)], &[(2, 1)])
    }));
    check(&setting("outer", &[&[3], &[4]], 1, |_, x| x[1].dot(&x[0], &[], &[])));
    check(&setting("factors", &[&[3, 4], &[3], &[5, 4]], 2, |_, x| x[2].matmul(&(-(&x[0] * 2.5)).t()) - (&x[1] / 0.5)));
}

#[test]
fn groups_repeats_and_pieces() {
    let s = setting("groups", &[&[2, 3, 4], &[2, 5, 3], &[2, 1, 4]], 1, |_, x| x[1].matmul(&x[0]));
    assert_eq!(check(&s).uses[0].groups, [autodiff::Axis { size: 2, stride: 12 }]);
    let s = setting("grouped bias", &[&[2, 3, 4], &[2, 4], &[2, 5, 3]], 2, |_, x| {
        x[2].matmul(&x[0]).transpose(&[1, 0, 2]) + &x[1]
    });
    let taps = check(&s);
    assert_eq!(taps.uses[0].bias, Some(1));
    let s = setting("repeated weight", &[&[3, 4], &[2, 5, 3]], 1, |_, x| x[1].matmul(&x[0].broadcast_to(&[2, 3, 4])));
    assert_eq!(check(&s).uses[0].positions, [2, 5]);
    check(&setting("repeats inside", &[&[3], &[2, 5, 3]], 1, |_, x| {
        x[1].dot(&x[0].broadcast_to(&[5, 3]), &[], &[(1, 0), (2, 1)])
    }));
    check(&setting("repeated outputs", &[&[3], &[5, 3]], 1, |_, x| x[1].matmul(&x[0].broadcast_to(&[4, 3]).t())));
    let s = setting("packed", &[&[2, 3], &[4, 3], &[1, 3], &[5, 3]], 3, |t, x| {
        x[3].matmul(&t.concat(&[&x[0], &x[1], &x[2]], 0).t())
    });
    assert_eq!(check(&s).uses.len(), 3);
    check(&setting("packed inputs", &[&[4, 2], &[4, 1], &[5, 3]], 2, |t, x| {
        x[2].matmul(&t.concat(&[&x[0], &x[1]], 1).t())
    }));
    check(&setting("parts of one", &[&[9, 3], &[5, 3]], 1, |_, x| {
        x[1].matmul(&x[0].slice(0, 0, 4).t()).sum(&[1]) * x[1].matmul(&x[0].slice(0, 4, 9).t()).sum(&[1])
    }));
    check(&setting("class token and places", &[&[4], &[4, 4], &[2, 3, 4]], 2, |t, x| {
        t.concat(&[&x[0].broadcast_to(&[2, 1, 4]), &x[2]], 1) + &x[1]
    }));
    check(&setting("choice", &[&[4], &[3, 4], &[3, 4]], 1, |_, x| {
        x[1].less(&x[2]).select(&x[0].broadcast_to(&[3, 4]), &x[2])
    }));
    check(&setting("division", &[&[4], &[3, 4]], 1, |_, x| &x[0] / &(&x[1] * &x[1] + 1.0)));
    check(&setting("sum of a weight", &[&[4, 2], &[2]], 1, |_, x| x[0].sum(&[0]) * &x[1]));
    check(&setting("two parameters", &[&[4, 2], &[4, 2], &[3, 4]], 2, |_, x| x[2].matmul(&(&x[0] * &x[1] - &x[0]))));
    check(&setting("adapter", &[&[4, 2], &[2, 5], &[4, 5], &[3, 4]], 3, |_, x| {
        x[3].matmul(&(&x[2] + x[0].matmul(&x[1])))
    }));
    check(&setting("stopped", &[&[4, 2], &[3, 4]], 1, |_, x| {
        x[1].matmul(&x[0]).tanh() * x[1].matmul(&x[0].stop_gradient())
    }));
    let s = setting("one dimension", &[&[3, 2, 2], &[2, 7, 2]], 1, |_, x| {
        let w = Window { axis: 1, size: 2, stride: 2, dilation: 2 };
        x[1].pad(1, 2, 0).windows(w).dot(&x[0], &[], &[(2, 1), (3, 2)])
    });
    let u = &check(&s).uses[0].unfold[0];
    assert_eq!((u.size, u.stride, u.dilation, u.padding, u.axis), (2, 2, 2, (2, 0), 1));
}

/// Streams (value and derivatives) share the weight; the bias belongs to the value alone.
#[test]
fn stacked_streams_have_a_bias_on_one_of_them() {
    let s = setting("streams", &[&[4, 3], &[4], &[3, 5, 3]], 2, |t, x| {
        let y = x[2].matmul(&x[0].t());
        let value = y.slice(0, 0, 1).reshape(&[5, 4]) + &x[1];
        let (first, second) = (y.slice(0, 1, 2).reshape(&[5, 4]), y.slice(0, 2, 3).reshape(&[5, 4]));
        let slope = value.cos();
        t.concat(&[&value.sin(), &(&slope * &first), &(slope * second - value.sin() * &first * &first)], 0)
    });
    let taps = check(&s);
    let (w, b) = (&taps.uses[0], &taps.uses[1]);
    assert_eq!((w.bias, b.bias_of, &w.positions[..]), (Some(1), Some(0), &[3, 5][..]));
    assert_eq!(b.windowed, [0..1, 0..5]);
    // Every other stream, or output: not the bias of the whole.
    let step = |x: &Tensor, axis: usize| {
        let n = x.shape()[axis];
        x.transpose(&if axis == 0 { [0, 1] } else { [1, 0] }).gather(&x.tracer().integers(&[2], &[0, n as i64 - 1]), 0)
    };
    for (axis, other) in [(0, 3), (1, 5)] {
        let bias: &[usize] = &[other];
        let s = setting("steps", &[&[3, 2], bias, &[5, 2]], 2, move |_, x| step(&x[2].matmul(&x[0].t()), axis) + &x[1]);
        let strided = Setting { program: s.program.simplify().unwrap(), ..s };
        assert!(check(&strided).uses.iter().all(|u| u.bias.is_none()));
    }
    // Forward mode as streams: the weight is used in value and tangent, the bias in the value.
    let layers = vec![Layer::Linear { inputs: 3, outputs: 4, bias: true }, Layer::Tanh {}];
    let mut s = model("forward streams", &[3], layers, 5);
    s.program = s.program.jvp(&[1]).unwrap();
    s.inputs.push(numbers(&[5, 3], 8, -1.0, 1.0).into());
    let taps = check(&s);
    let counts: Vec<usize> = taps.uses.iter().map(|u| u.param).collect();
    assert_eq!(counts.iter().filter(|p| **p == 0).count(), 2);
    assert_eq!(counts.iter().filter(|p| **p == 1).count(), 1);
}

/// The streams of a Laplacian by Taylor mode: value, directions and their collapsed sum are three uses of each weight, and
/// one of its bias.
#[test]
fn streams_of_taylor_mode_are_uses() {
    use autodiff::Jet;
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let mut s = model("laplacian", &[2], vec![linear(2, 4), Layer::Tanh {}, linear(4, 1)], 3);
    s.program = s.program.collapsed_jet(&[1], &Jet::new(2, 2).straight()).unwrap();
    for i in s.inputs.len()..s.program.inputs().len() {
        s.inputs.push(numbers(&s.program.input_type(i).shape, 40 + i as u64, -1.0, 1.0).into());
    }
    for program in [s.program.clone(), s.program.simplify().unwrap()] {
        s.program = program;
        let taps = check(&s);
        let of = |k: usize| taps.uses.iter().filter(|u| u.param == k).collect::<Vec<_>>();
        assert!(of(2).len() == 3 && of(1).len() == 1 && of(3).len() == 1, "{:#?}\n{}", taps.uses, s.program);
        assert!(of(0).iter().chain(&of(2)).all(|u| u.kind == TapKind::Contraction));
        assert_eq!(of(3)[0].bias_of.map(|i| taps.uses[i].param), Some(2));
    }
}

#[test]
fn a_leaf_may_be_left_out() {
    let layers = vec![Layer::Linear { inputs: 3, outputs: 4, bias: true }, Layer::Tanh {}];
    let mut s = model("bias only", &[3], layers, 5);
    s.leaves.remove(0);
    let taps = check(&s);
    assert_eq!((taps.uses.len(), taps.uses[0].bias_of), (1, None));
}

#[test]
fn other_uses_are_errors_that_name_the_parameter() {
    let refused = |s: Setting, text: &str| match s.program.taps(&s.leaves) {
        Err(e @ Error::UnsupportedUse { .. }) => {
            let message = e.to_string();
            assert!(message.contains("\"a\"") && message.contains(text), "{message}");
        }
        other => panic!("{}: {other:?}", s.name),
    };
    refused(setting("function", &[&[3, 3], &[2, 3]], 1, |_, x| x[1].matmul(&x[0].tanh())), "tanh");
    refused(setting("divisor", &[&[3], &[2, 3]], 1, |_, x| &x[1] / &x[0]), "div");
    refused(setting("mixed axes", &[&[3, 4], &[2, 6]], 1, |_, x| x[1].matmul(&x[0].t().reshape(&[6, 2]))), "reshape");
    let program = trace(&[("a", TensorType::real(&[2]))], |_, x| vec![("y", x[0].clone())]).unwrap();
    let leaves = vec![Leaf::input(&program, 0).unwrap()];
    refused(Setting { name: "output", program: program.clone(), leaves: leaves.clone(), inputs: Vec::new() }, "output");
    let twice = [leaves[0].clone(), leaves[0].clone()];
    assert!(matches!(program.taps(&twice), Err(Error::UnknownName { .. })));
    let long = Leaf { offset: Some(1), ..leaves[0].clone() };
    assert!(matches!(program.taps(&[long]), Err(Error::UnknownName { .. })));
    let absent = Leaf { input: 7, ..leaves[0].clone() };
    assert!(matches!(program.taps(&[absent]), Err(Error::UnknownName { .. })));
}
