//! The data axis: labels, refusals, other numbers of data, one datum.

use crate::cases::numbers;
use crate::properties::{program, step};
use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::ops::{Data, Window};
use autodiff::{Array, Error, Program, Tensor, TensorType, Tracer, Value, trace};
use proptest::prelude::*;

fn run(p: &Program, inputs: &[Value<f64>]) -> Vec<Value<f64>> {
    p.verify().unwrap();
    p.interpret(inputs).unwrap()
}

fn data(v: &Value<f64>) -> &[f64] {
    v.real().unwrap().data()
}

fn assert_close(what: &str, got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tol * scale, "{what}: {g} against {e}");
    }
}

fn models() -> Vec<(&'static str, Sequential, Loss)> {
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let mlp = vec![linear(4, 5), Layer::Gelu {}, Layer::LayerNorm { shape: vec![5], eps: 1e-5 }, linear(5, 3)];
    let cnn = vec![
        Layer::Conv2d { inputs: 2, outputs: 3, kernel: 3, stride: 1, padding: 1, bias: true },
        Layer::MaxPool2d { kernel: 2, stride: None },
        Layer::Elu { alpha: 0.7 },
        Layer::AvgPool2d { kernel: 2, stride: Some(1) },
        Layer::Flatten {},
        linear(3, 2),
    ];
    let tokens = vec![Layer::Embedding { num: 5, dim: 4 }, Layer::Silu {}, linear(4, 3)];
    vec![
        ("mlp", Sequential::new(&[4], mlp).unwrap(), Loss::cross_entropy()),
        ("cnn", Sequential::new(&[2, 4, 4], cnn).unwrap(), Loss::mse()),
        ("tokens", Sequential::new(&[3], tokens).unwrap(), Loss::cross_entropy()),
    ]
}

/// Inputs of a loss program for `n` data, the same data for every `n`.
fn batch(p: &Program) -> Vec<Value<f64>> {
    (0..p.inputs().len())
        .map(|i| {
            let ty = p.input_type(i);
            match ty.kind {
                autodiff::Kind::Real => numbers(&ty.shape, 30 + i as u64, -0.7, 0.7).into(),
                autodiff::Kind::Int => Value::Int(Array::from_fn(&ty.shape, |k| ((k * 7 + i) % 3) as i64)),
            }
        })
        .collect()
}

/// Data `from..to` of an input, or the input if it holds none.
fn part(v: &Value<f64>, axis: Option<usize>, from: usize, to: usize) -> Value<f64> {
    let Some(0) = axis else { return v.clone() };
    let ty = v.ty();
    let one = ty.numel() / ty.shape[0];
    let shape: Vec<usize> = [&[to - from], &ty.shape[1..]].concat();
    match v {
        Value::Real(a) => Array::new(&shape, a.data()[from * one..to * one].to_vec()).unwrap().into(),
        Value::Int(a) => Value::Int(Array::new(&shape, a.data()[from * one..to * one].to_vec()).unwrap()),
    }
}

#[test]
fn models_keep_data_apart_and_losses_add_them_up() {
    for (name, model, loss) in models() {
        let (p, whole) = (model.trace_model(4).unwrap(), model.trace_loss(4, &loss, false).unwrap());
        assert_eq!(p.data_axes(&[None, Some(0)]).unwrap().output(0), Some(Data::Along(0)), "{name}");
        let axes = [None, Some(0), Some(0)];
        let gradient = whole.value_and_grad(&[0]).unwrap();
        let product = whole.grad(&[0]).unwrap().jvp(&[0]).unwrap();
        for (p, axes) in [(&whole, &axes[..]), (&gradient, &axes), (&product, &[None, Some(0), Some(0), None])] {
            let known = p.data_axes(axes).unwrap_or_else(|e| panic!("{name}: {e}\n{p}"));
            assert!((0..p.outputs().len()).all(|i| known.output(i) == Some(Data::Sum)), "{name}");
        }
        let forward = p.jvp(&[0]).unwrap().data_axes(&[None, Some(0), None]).unwrap();
        assert_eq!(forward.output(1), Some(Data::Along(0)), "{name}");
        let taps = p.taps(&model.params().leaves(0)).unwrap();
        let backward = taps.backward().unwrap();
        let known = backward.data_axes(&[None, Some(0), Some(0)]).unwrap();
        assert!((0..backward.outputs().len()).all(|i| known.output(i) == Some(Data::Along(0))), "{name}: taps");
    }
}

/// Another number of data gives the program that is traced for it, and sums of chunks are the sum.
#[test]
fn programs_change_their_number_of_data() {
    let axes = [None, Some(0), Some(0)];
    for (name, model, loss) in models() {
        let make = |n| model.trace_loss(n, &loss, false).unwrap();
        let whole = make(7);
        let inputs = batch(&whole);
        type Derive = fn(&Program) -> Program;
        let routes: [Derive; 2] = [|p| p.clone(), |p| p.value_and_grad(&[0]).unwrap()];
        for derive in routes {
            let p = derive(&whole);
            let expected = run(&p, &inputs);
            let mut sum: Vec<Vec<f64>> = expected.iter().map(|v| vec![0.0; v.ty().numel()]).collect();
            for (from, to) in [(0, 4), (4, 6), (6, 7)] {
                let chunk = p.with_data_size(&axes, to - from).unwrap();
                let direct = derive(&make(to - from));
                assert_eq!(chunk.flops(), direct.flops(), "{name}");
                let inputs: Vec<_> = inputs.iter().zip(axes).map(|(v, a)| part(v, a, from, to)).collect();
                let (got, same) = (run(&chunk, &inputs), run(&direct, &inputs));
                for ((sum, g), e) in sum.iter_mut().zip(&got).zip(&same) {
                    assert_close(name, data(g), data(e), 1e-14);
                    sum.iter_mut().zip(data(g)).for_each(|(s, g)| *s += g);
                }
            }
            sum.iter().zip(&expected).for_each(|(s, e)| assert_close(name, s, data(e), 1e-13));
        }
        let larger = make(2).with_data_size(&axes, 7).unwrap();
        let size = |p: &Program| (p.flops(), p.inline().unwrap().nodes().len());
        assert_eq!(size(&larger), size(&whole), "{name}");
    }
}

#[test]
fn derivatives_of_every_datum() {
    let axes = [None, Some(0), Some(0)];
    for (name, model, loss) in models() {
        let n = 3;
        let whole = model.trace_loss(n, &loss, false).unwrap();
        let inputs = batch(&whole);
        let each = whole.one_datum(&axes).unwrap().grad(&[0]).unwrap().vmap(n, &axes).unwrap();
        let got = run(&each, &inputs).remove(0);
        let p = model.params().total();
        assert_eq!(got.ty().shape.as_slice(), [n, p]);
        let single = model.trace_loss(1, &loss, false).unwrap().grad(&[0]).unwrap();
        for k in 0..n {
            let inputs: Vec<_> = inputs.iter().zip(axes).map(|(v, a)| part(v, a, k, k + 1)).collect();
            assert_close(name, &data(&got)[k * p..(k + 1) * p], data(&run(&single, &inputs)[0]), 1e-14);
        }
        let back = whole.one_datum(&axes).unwrap().vmap(n, &axes).unwrap();
        let total: f64 = data(&run(&back, &inputs)[0]).iter().sum();
        assert_close(name, &[total], data(&run(&whole, &inputs)[0]), 1e-13);
    }
}

#[test]
fn what_mixes_data_is_named_with_its_line() {
    let refuse = |why: &str, body: fn(&Tracer, &[Tensor]) -> Tensor| {
        let ports = [("w", TensorType::real(&[6, 6])), ("x", TensorType::real(&[6, 4])), ("i", TensorType::int(&[6]))];
        let p = trace(&ports, |t, x| vec![("y", body(t, x))]).unwrap();
        match p.data_axes(&[None, Some(0), Some(0)]) {
            Err(e @ Error::MixesData { .. }) => {
                let text = e.to_string();
                assert!(text.contains(why) && text.contains("tests/it/data.rs:"), "{why}: {text}");
            }
            other => panic!("{why}: {other:?}"),
        }
    };
    refuse("sum over the data with single data; the sum is made by sum[0]", |_, x| &x[1] - x[1].mean(&[0]));
    refuse("joins the data axis", |_, x| x[1].reshape(&[24]));
    refuse("maximum over the data", |_, x| x[1].max(&[0]));
    refuse("maximum among the data", |_, x| x[1].t().argmax());
    refuse("picks some of the data", |_, x| x[1].slice(0, 0, 5));
    refuse("zeros between the data", |_, x| x[1].pad(0, 1, 0));
    refuse("pairs every datum", |_, x| x[1].matmul(&x[1].t()));
    refuse("changes along the data axis", |_, x| x[0].matmul(&x[1]));
    refuse("changes along the data axis", |_, x| x[0].slice(1, 0, 4) * &x[1]);
    refuse("changes along the data axis", |t, x| {
        t.constant(&[6, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).broadcast_to(&[6, 4]) + &x[1]
    });
    refuse("not linear in a sum", |_, x| x[1].sum(&[0]).exp());
    refuse("two sums", |_, x| x[1].sum(&[0]).dot(&x[1].sum(&[0]), &[], &[(0, 0)]));
    refuse("joins data with data", |t, x| t.concat(&[&x[1], &x[1]], 0));
    refuse("picks among the data", |t, x| x[1].gather(&t.integers(&[2], &[0, 1]), 0));
    refuse("windows slide over", |_, x| x[1].windows(Window { axis: 0, size: 2, stride: 1, dilation: 1 }));
    refuse("different axes", |_, x| x[1].matmul(&x[0].slice(0, 0, 4)) + x[1].matmul(&x[0].slice(0, 0, 4)).t());
    refuse("inside, max[1] in node", |_, x| x[1].t().softmax());
    // A constant shift is not a part of a sum of terms.
    refuse("joins a sum over the data", |_, x| x[1].sum(&[0]) + 1.0);
    let p = trace(&[("x", TensorType::real(&[6, 4])), ("y", TensorType::real(&[5]))], |_, x| vec![("y", x[0].sin())]);
    let p = p.unwrap();
    for axes in [&[Some(0)][..], &[Some(2), None], &[None, None], &[Some(0), Some(0)]] {
        assert!(matches!(p.data_axes(axes), Err(Error::Input { .. })), "{axes:?}");
    }
}

#[test]
fn constants_may_vary_beside_the_data() {
    let p = trace(&[("x", TensorType::real(&[6, 4])), ("w", TensorType::real(&[6]))], |t, x| {
        let scaled = &x[0] * t.constant(&[4], &[1.0, 2.0, 3.0, 4.0]);
        let rows = scaled.gather(&t.integers(&[6, 2], &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]), 1);
        vec![("loss", (rows.sum(&[1]) * &x[1]).sum_all()), ("norm", t.full(&[3], 2.0).sum_all())]
    })
    .unwrap();
    // The indices are written out for every datum: they run along the data axis as far as anyone can see.
    assert!(matches!(p.data_axes(&[Some(0), Some(0)]), Err(Error::MixesData { .. })));
    let p = trace(&[("x", TensorType::real(&[6, 4])), ("w", TensorType::real(&[6]))], |t, x| {
        let scaled = &x[0] * t.constant(&[4], &[1.0, 2.0, 3.0, 4.0]);
        vec![("loss", (scaled.sum(&[1]) * &x[1]).sum_all()), ("norm", t.full(&[3], 2.0).sum_all())]
    })
    .unwrap();
    let known = p.data_axes(&[Some(0), Some(0)]).unwrap();
    assert_eq!(known.output(0), Some(Data::Sum));
    assert!(matches!(known.output(1), Some(Data::Shared(_))) && known.output(2).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What `vmap` makes keeps data apart; for another number of data it is what `vmap` makes for that number.
    #[test]
    fn batches_of_random_programs(steps in prop::collection::vec(step(), 1..12), at in 0usize..3) {
        let p = program(&steps).value_and_grad(&[0]).unwrap();
        let mapped = |n: usize| p.vmap(n, &[Some(at), None]).unwrap();
        let axes = [Some(at), None];
        let five = mapped(5);
        let known = five.data_axes(&axes).unwrap();
        for i in 0..2 {
            // A program that does not read its input is the same for every datum.
            prop_assert!(!matches!(known.output(i), Some(Data::Sum)));
        }
        let three = five.with_data_size(&axes, 3).unwrap();
        three.verify().unwrap();
        if (0..2).all(|i| known.output(i) == Some(Data::Along(0))) {
            let mut shape = vec![3, 3];
            shape.insert(at, 3);
            let inputs = [numbers(&shape, 1, -1.0, 1.0).into(), numbers(&[3, 3], 2, -1.0, 1.0).into()];
            let (got, expected) = (run(&three, &inputs), run(&mapped(3), &inputs));
            for (g, e) in got.iter().zip(&expected) {
                assert_close("random", data(g), data(e), 1e-14);
            }
            prop_assert!(three.flops() <= mapped(3).flops());
        }
    }
}

/// All ways to label one axis, or none, of each input, so that the labelled ones have one length of at least two.
fn labellings(shapes: &[Vec<usize>]) -> Vec<Vec<Option<usize>>> {
    let mut list: Vec<Vec<Option<usize>>> = vec![vec![]];
    for shape in shapes {
        let choices = || std::iter::once(None).chain((0..shape.len()).map(Some));
        list = list.iter().flat_map(|l| choices().map(move |c| [&l[..], &[c]].concat())).collect();
    }
    let sizes =
        |l: &[Option<usize>]| -> Vec<usize> { l.iter().zip(shapes).filter_map(|(a, s)| a.map(|a| s[a])).collect() };
    list.retain(|l| sizes(l).first().is_some_and(|&n| n > 1 && sizes(l).iter().all(|&m| m == n)));
    list
}

/// The position along `axis` of element `i`.
fn along(shape: &[usize], axis: usize, i: usize) -> usize {
    i / shape[axis + 1..].iter().product::<usize>() % shape[axis]
}

/// Every primitive's data rule is sound: a change of one datum shows in that datum of the value, in a sum of one term for each
/// datum, or not at all, as the rule says.
#[test]
fn what_the_rules_say_is_so_for_every_primitive() {
    let (mut kept, mut summed) = (0, 0);
    for c in crate::cases::all() {
        let shapes: Vec<Vec<usize>> = c.inputs.iter().map(|a| a.shape().to_vec()).collect();
        for labels in labellings(&shapes) {
            let Ok(axes) = c.program.data_axes(&labels) else { continue };
            let changed = |data: &[usize]| -> Vec<f64> {
                let change = |(a, label): (&Array<f64>, &Option<usize>)| {
                    let hit = |i| label.is_some_and(|axis| data.contains(&along(a.shape(), axis, i)));
                    Value::from(Array::from_fn(a.shape(), |i| a.data()[i] * if hit(i) { 0.93 } else { 1.0 }))
                };
                let inputs: Vec<Value<f64>> = c.inputs.iter().zip(&labels).map(change).collect();
                c.program.interpret(&inputs).unwrap()[0].real().unwrap().data().to_vec()
            };
            let shape = c.program.output_type(0).shape.to_vec();
            let (start, one, two, both) = (changed(&[]), changed(&[0]), changed(&[1]), changed(&[0, 1]));
            let what = format!("{} {labels:?}", c.name);
            match axes.output(0).unwrap() {
                Data::Shared(_) => assert_eq!(start, both, "{what}"),
                Data::Along(axis) => {
                    kept += 1;
                    assert!((0..start.len()).all(|i| along(&shape, axis, i) == 0 || start[i] == one[i]), "{what}");
                    assert!((0..start.len()).all(|i| along(&shape, axis, i) == 1 || start[i] == two[i]), "{what}");
                }
                Data::Sum => {
                    summed += 1;
                    let mixed = |i: usize| (both[i] - one[i] - two[i] + start[i]).abs();
                    assert!((0..start.len()).all(|i| mixed(i) <= 1e-13 * (1.0 + start[i].abs())), "{what}");
                }
            }
        }
    }
    assert!(kept > 100 && summed >= 5, "{kept} {summed}");
}
