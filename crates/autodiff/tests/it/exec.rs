//! The compiled executor against the interpreter.

use crate::cases::{all, numbers};
use crate::properties::{program, step};
use autodiff::{Array, Error, Input, Output, Program, Tensor, TensorType, Value, Workspace, trace};
use numerics::Par;
use proptest::prelude::*;

/// Largest difference relative to the largest magnitude, per output.
fn assert_same(name: &str, got: &[Value<f64>], expected: &[Value<f64>], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (k, (g, e)) in got.iter().zip(expected).enumerate() {
        assert_eq!(g.ty(), e.ty(), "{name}: output {k}");
        let (Some(g), Some(e)) = (g.real(), e.real()) else {
            assert_eq!(g.int(), e.int(), "{name}: output {k}");
            continue;
        };
        let scale = e.data().iter().fold(1.0f64, |m, x| m.max(x.abs()));
        for (i, (g, e)) in g.data().iter().zip(e.data()).enumerate() {
            assert!((g - e).abs() <= tol * scale || g == e, "{name}: output {k}, element {i}: {g} against {e}");
        }
    }
}

pub(crate) fn values(arrays: &[Array<f64>]) -> Vec<Value<f64>> {
    arrays.iter().cloned().map(Value::from).collect()
}

/// Compiled twice in one workspace equals the interpreter, and itself to the bit. In `f32`, the error of a product of
/// magnitudes up to a few hundred summed over some dozen terms stays below 200 units in the last place.
pub(crate) fn check(name: &str, p: &Program, inputs: &[Value<f64>]) {
    let expected = p.interpret(inputs).unwrap();
    let exe = p.compile::<f64>().unwrap_or_else(|e| panic!("{name}: {e}\n{p}"));
    let mut w = Workspace::new();
    let first = exe.call_with(&mut w, inputs).unwrap();
    assert_same(name, &first, &expected, 1e-13);
    let second = exe.call_with(&mut w, inputs).unwrap();
    let bits = |v: &[Value<f64>]| -> Vec<u64> {
        v.iter().filter_map(Value::real).flat_map(|a| a.data()).map(|x| x.to_bits()).collect()
    };
    assert_eq!(bits(&first), bits(&second), "{name}");
    let single: Vec<Value<f32>> = inputs
        .iter()
        .map(|v| match v {
            Value::Real(a) => Value::Real(Array::from_fn(a.shape(), |i| a.data()[i] as f32)),
            Value::Int(a) => Value::Int(a.clone()),
        })
        .collect();
    let got = p.compile::<f32>().unwrap().call(&single).unwrap();
    let reference = p.interpret(&single).unwrap();
    let widen = |v: Vec<Value<f32>>| -> Vec<Value<f64>> {
        v.into_iter()
            .map(|v| match v {
                Value::Real(a) => Value::Real(Array::from_fn(a.shape(), |i| f64::from(a.data()[i]))),
                Value::Int(a) => Value::Int(a),
            })
            .collect()
    };
    assert_same(name, &widen(got), &widen(reference), 200.0 * f64::from(f32::EPSILON));
}

#[test]
fn the_grid_and_its_derivatives() {
    for c in all() {
        let wrt: Vec<usize> = (0..c.inputs.len()).collect();
        let directions: Vec<Array<f64>> =
            c.inputs.iter().zip(11..).map(|(a, s)| numbers(a.shape(), s, -1.0, 1.0)).collect();
        let x = values(&c.inputs);
        let v = values(&directions);
        check(c.name, &c.program, &x);
        let both: Vec<_> = x.iter().chain(&v).cloned().collect();
        check(c.name, &c.program.jvp(&wrt).unwrap(), &both);
        let ct = Value::from(numbers(&c.program.output_type(0).shape, 21, -1.0, 1.0));
        let with_ct: Vec<_> = x.iter().cloned().chain([ct.clone()]).collect();
        let vjp = c.program.vjp(&wrt).unwrap();
        check(c.name, &vjp, &with_ct);
        let split = vjp.linearize(&wrt).unwrap();
        let residuals = split.primal.interpret(&with_ct).unwrap().split_off(split.outputs);
        check(c.name, &split.primal, &with_ct);
        let linear: Vec<_> = residuals.iter().chain(&v).cloned().collect();
        check(c.name, &split.linear, &linear);
        let size = 3;
        let mut axes = vec![None; split.residuals];
        axes.extend(wrt.iter().map(|_| Some(0)));
        let block = c.inputs.iter().zip(31..).map(|(a, s)| {
            let shape: Vec<usize> = [size].iter().chain(a.shape()).copied().collect();
            Value::from(numbers(&shape, s, -1.0, 1.0))
        });
        let batched: Vec<_> = residuals.iter().cloned().chain(block).collect();
        check(c.name, &split.linear.vmap(size, &axes).unwrap(), &batched);
        let all_axes = vec![Some(0); c.inputs.len()];
        let stacked = c.inputs.iter().map(|a| {
            let shape: Vec<usize> = [size].iter().chain(a.shape()).copied().collect();
            Value::from(Array::from_fn(&shape, |i| a.data()[i % a.data().len()] * (1.0 - 0.01 * (i % 7) as f64)))
        });
        check(c.name, &c.program.vmap(size, &all_axes).unwrap(), &stacked.collect::<Vec<_>>());
    }
}

pub(crate) fn single(shapes: &[&[usize]], body: impl FnOnce(&[Tensor]) -> Tensor) -> (Program, Vec<Value<f64>>) {
    let names = ["x", "y", "z"];
    let ports: Vec<_> = shapes.iter().zip(names).map(|(s, n)| (n, TensorType::real(s))).collect();
    let p = trace(&ports, |_, x| vec![("out", body(x))]).unwrap();
    let inputs = shapes.iter().zip(1..).map(|(s, k)| Value::from(numbers(s, k, -1.0, 1.0))).collect();
    (p, inputs)
}

/// Sizes beyond one block, layouts that need gathering, packing and loops over products.
#[test]
fn large_and_crooked() {
    type Named = (&'static str, (Program, Vec<Value<f64>>));
    let cases: Vec<Named> = vec![
        ("blocks", single(&[&[37, 101], &[101]], |x| (&x[0] * &x[1]).tanh() + x[0].sum(&[0]))),
        ("transposed copy", single(&[&[3, 37, 53]], |x| x[0].transpose(&[0, 2, 1]).reshape(&[3 * 53, 37]))),
        ("transposed copy, flattened", single(&[&[37, 53]], |x| x[0].t().reshape(&[37 * 53]).sin())),
        (
            "rows of several lengths",
            single(&[&[3, 7, 300], &[300], &[3, 1, 300]], |x| {
                let y = (&x[0] * &x[1]).sin() + x[2].broadcast_to(&[3, 7, 300]);
                y.slice(1, 1, 5) * x[0].slice(1, 2, 6).tanh()
            }),
        ),
        ("transposed sum", single(&[&[70, 50], &[50, 70]], |x| (x[0].t() + &x[1]).exp().sum(&[1]))),
        ("rows", single(&[&[70, 50]], |x| x[0].sum(&[0]))),
        ("middle", single(&[&[7, 50, 9]], |x| x[0].sum(&[1]))),
        ("layer", single(&[&[33, 40], &[50, 40], &[50]], |x| (x[0].matmul(&x[1].t()) + &x[2]).relu())),
        (
            "free axes that do not join",
            single(&[&[6, 5, 7], &[5, 8]], |x| x[0].transpose(&[2, 0, 1]).dot(&x[1], &[], &[(2, 0)])),
        ),
        ("inner axes that do not join", single(&[&[6, 5, 7], &[7, 9, 6]], |x| x[0].dot(&x[1], &[], &[(0, 2), (2, 0)]))),
        ("both crooked", single(&[&[6, 5, 7, 4], &[7, 4, 9, 6]], |x| x[0].dot(&x[1], &[], &[(0, 3), (2, 0), (3, 1)]))),
        (
            "repeated inner axis",
            single(&[&[6, 5], &[6, 4, 5]], |x| {
                x[0].unsqueeze(1).broadcast_to(&[6, 4, 5]).dot(&x[1], &[], &[(1, 1), (2, 2)])
            }),
        ),
        (
            "repeated batch axis",
            single(&[&[6, 5], &[4, 5, 9]], |x| x[0].unsqueeze(0).broadcast_to(&[4, 6, 5]).matmul(&x[1])),
        ),
        (
            "batch on the right only",
            single(&[&[4, 6, 5], &[5, 9]], |x| x[0].matmul(&x[1].unsqueeze(0).broadcast_to(&[4, 5, 9]))),
        ),
        ("transposed value", single(&[&[30, 20], &[25, 20]], |x| x[0].matmul(&x[1].t()).t().sin())),
        (
            "interleaved value",
            single(&[&[6, 7, 20], &[8, 20]], |x| x[0].dot(&x[1], &[], &[(2, 1)]).transpose(&[0, 2, 1]).sin()),
        ),
        ("parallel product", single(&[&[150, 160], &[160, 140]], |x| x[0].matmul(&x[1]))),
        ("reshaped slices", single(&[&[20, 30]], |x| x[0].slice(1, 3, 17).reshape(&[280]).exp())),
        (
            "view of its own run",
            single(&[&[9, 9]], |x| {
                let y = x[0].sin();
                &y + &(&y * &y).t()
            }),
        ),
        ("empty", single(&[&[0, 4], &[4]], |x| (&x[0] * &x[1]).sum(&[0]))),
        ("empty contraction", single(&[&[3, 0], &[0, 4]], |x| x[0].matmul(&x[1]).exp())),
    ];
    for (name, (p, inputs)) in &cases {
        check(name, p, inputs);
    }
}

#[test]
fn many_values_of_one_run_and_outputs_that_are_inputs() {
    let ty = TensorType::real(&[2100]);
    let p = trace(&[("x", ty.clone()), ("y", ty)], |_, x| {
        let parts: Vec<Tensor> = (1..40).map(|k| (&x[0] * f64::from(k)).sin() * &x[1]).collect();
        let total = parts.iter().rev().fold(x[1].clone(), |acc, p| acc.tanh() + p);
        vec![("x", x[0].clone()), ("total", total), ("part", parts[7].clone()), ("again", parts[7].clone())]
    })
    .unwrap();
    let inputs = values(&[numbers(&[2100], 1, -1.0, 1.0), numbers(&[2100], 2, -1.0, 1.0)]);
    check("run", &p, &inputs);
    let exe = p.compile::<f64>().unwrap();
    // One kernel, an input that leaves, and a value that leaves a second time.
    assert_eq!(exe.steps(), 3);
    assert!(exe.workspace_bytes() < 8 * (2 * 2112 + 100 * 1024));
}

#[test]
fn integers_and_bad_indices() {
    let p = trace(&[("x", TensorType::real(&[4, 5])), ("i", TensorType::int(&[3]))], |_, x| {
        vec![("picked", x[0].gather(&x[1], 0).sin()), ("i", x[1].clone())]
    })
    .unwrap();
    let with =
        |i: &[i64]| vec![numbers(&[4, 5], 3, -1.0, 1.0).into(), Value::Int(Array::new(&[3], i.to_vec()).unwrap())];
    check("gather", &p, &with(&[3, 0, 3]));
    let exe = p.compile::<f64>().unwrap();
    assert_eq!(exe.call(&with(&[3, 4, 3])), Err(Error::IndexOutOfRange { op: "gather", index: 4, size: 4 }));
    let grad = p.select_outputs(&[0]).unwrap().vjp(&[0]).unwrap();
    let mut inputs = with(&[2, 2, 1]);
    inputs.push(numbers(&[3, 5], 4, -1.0, 1.0).into());
    check("scatter", &grad, &inputs);
}

#[test]
fn wrong_arguments_are_errors() {
    let p = trace(&[("x", TensorType::real(&[2, 3]))], |_, x| vec![("y", x[0].exp())]).unwrap();
    let exe = p.compile::<f64>().unwrap();
    let flat = Value::from(numbers(&[6], 1, 0.0, 1.0));
    assert!(matches!(exe.call(&[flat]), Err(Error::Input { .. })));
    assert!(matches!(exe.call(&[]), Err(Error::Input { .. })));
    let (x, mut y) = ([0.0; 6], [0.0; 5]);
    let mut w = Workspace::new();
    let short = exe.run(&mut w, &[Input::Real(&x)], &mut [Output::Real(&mut y)]);
    assert!(matches!(short, Err(Error::Input { .. })));
    assert!(matches!(exe.run(&mut w, &[Input::Int(&[0; 6])], &mut []), Err(Error::Input { .. })));
}

/// A file may hold anything; compilation refuses what would read beyond a buffer.
#[test]
fn malformed_programs_do_not_compile() {
    let (p, _) = single(&[&[4], &[4]], |x| x[0].slice(0, 1, 3).exp() + x[1].slice(0, 0, 2));
    let good = serde_json::to_value(&p).unwrap();
    assert!(serde_json::from_value::<Program>(good.clone()).unwrap().compile::<f64>().is_ok());
    let damage: [fn(&mut serde_json::Value); 3] = [
        |v| v["nodes"][0]["op"]["Input"]["index"] = 7.into(),
        |v| v["nodes"][0]["op"]["Input"]["index"] = 1.into(),
        |v| v["outputs"][0]["node"] = 99.into(),
    ];
    for (i, f) in damage.iter().enumerate() {
        let mut bad = good.clone();
        f(&mut bad);
        assert_ne!(bad, good, "damage {i}");
        let program = serde_json::from_value::<Program>(bad).unwrap();
        assert!(matches!(program.compile::<f64>(), Err(Error::Malformed(_))), "damage {i}");
    }
}

/// NaN and infinities travel as in the interpreter.
#[test]
fn special_values() {
    let (p, _) = single(&[&[6]], |x| x[0].relu() + x[0].max(&[0]) + x[0].sigmoid() * x[0].tanh());
    for odd in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
        let x = Array::new(&[6], vec![0.5, -0.0, odd, 1.0, -2.0, 0.0]).unwrap();
        let inputs = values(&[x]);
        let (a, b) = (p.interpret(&inputs).unwrap(), p.compile().unwrap().call(&inputs).unwrap());
        for (x, y) in a[0].real().unwrap().data().iter().zip(b[0].real().unwrap().data()) {
            assert!(x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() < 1e-14, "{odd}: {x} against {y}");
        }
    }
}

#[test]
fn a_profile_counts_every_step() {
    let (p, _) = single(&[&[33, 40], &[50, 40]], |x| x[0].matmul(&x[1].t()).tanh().sum_all());
    let exe = p.compile::<f64>().unwrap();
    let (x, w, mut y) = (vec![0.1; 33 * 40], vec![0.2; 50 * 40], [0.0]);
    let inputs = [Input::Real(&x), Input::Real(&w)];
    let profile = exe.profile(&mut Workspace::new(), &inputs, &mut [Output::Real(&mut y)], 3).unwrap();
    let steps = &profile.steps;
    let kinds: Vec<_> = steps.iter().map(|s| (s.kind, s.flops, s.nodes.len())).collect();
    assert_eq!(kinds, [("product", 2 * 33 * 40 * 50, 1), ("fused", 2 * 33 * 50, 2)]);
    // The hyperbolic tangents are added up, by seven pieces, and never stored.
    assert_eq!((steps[0].bytes, steps[1].bytes), (8 * (33 * 40 + 50 * 40 + 33 * 50), 8 * (33 * 50 + 1 + 7)));
    let table = profile.to_string();
    assert!(table.contains("product 33 x 40 x 50") && table.contains("fused tanh sum[0, 1] []"), "{table}");
    assert!(profile.steps.iter().all(|s| s.of_peak > 0.0) && profile.peak.flops > 0.0 && profile.seconds() > 0.0);
    assert!(steps.iter().all(|s| s.seconds > 0.0) && (y[0] - 1650.0 * 0.8f64.tanh()).abs() < 1e-9);
}

/// Gradients of slices of one parameter vector are computed where they belong in the flat gradient.
#[test]
fn joined_values_are_written_in_place() {
    let p = trace(&[("p", TensorType::real(&[40 * 30 + 30 + 300])), ("x", TensorType::real(&[20, 40]))], |_, x| {
        let w = x[0].slice(0, 0, 1200).reshape(&[30, 40]);
        let h = (x[1].matmul(&w.t()) + x[0].slice(0, 1200, 1230)).tanh();
        vec![("loss", h.sum_all() + x[0].slice(0, 1230, 1530).exp().sum_all())]
    })
    .unwrap();
    let inputs = values(&[numbers(&[1530], 1, -1.0, 1.0), numbers(&[20, 40], 2, -1.0, 1.0)]);
    for wrt in [&[0][..], &[0, 1]] {
        let grad = p.value_and_grad(wrt).unwrap();
        check("in place", &grad, &inputs);
        let exe = grad.compile::<f64>().unwrap();
        let args: Vec<Input<'_, f64>> = inputs.iter().map(Input::from).collect();
        let mut room: Vec<Vec<f64>> = exe.output_types().map(|t| vec![0.0; t.numel()]).collect();
        let mut outputs: Vec<Output<'_, f64>> = room.iter_mut().map(|y| Output::Real(y)).collect();
        let steps = exe.profile(&mut Workspace::new(), &args, &mut outputs, 1).unwrap().steps;
        assert!(steps.iter().all(|s| s.kind != "copy"), "{steps:?}");
    }
    // A value joined twice, an output that is a part of another, a joined value joined again.
    let p = trace(&[("x", TensorType::real(&[3, 4]))], |t, x| {
        let (y, z) = (x[0].sin(), x[0].exp());
        let inner = t.concat(&[&y, &z, &y], 1);
        vec![("y", y.clone()), ("outer", t.concat(&[&inner, &(&inner * &inner), &inner.t().reshape(&[3, 12])], 0))]
    })
    .unwrap();
    check("joined again", &p, &values(&[numbers(&[3, 4], 5, -1.0, 1.0)]));
}

/// The number of threads changes no bit.
#[test]
fn threads_do_not_change_bits() {
    let cases = [
        single(&[&[300, 400], &[400]], |x| (&x[0] * &x[1]).tanh().exp() * x[0].sin() + x[0].cos().t().t().sigmoid()),
        single(&[&[150, 160], &[160, 140]], |x| x[0].matmul(&x[1])),
        single(&[&[40, 60, 50], &[40, 50, 30]], |x| x[0].matmul(&x[1]).sum(&[0])),
        single(&[&[700, 300]], |x| x[0].sum(&[0])),
        single(&[&[700, 300]], |x| x[0].sum(&[1]) + x[0].t().reshape(&[700, 300]).sum(&[1])),
        // Packed on the way into the product.
        single(&[&[130, 384], &[130, 400]], |x| x[0].t().matmul(&x[1])),
    ];
    for (p, inputs) in &cases {
        check("threads", p, inputs);
        let exe = p.compile::<f64>().unwrap();
        let run = |par: Par| exe.call_with(&mut Workspace::with_par(par), inputs).unwrap();
        let one = run(Par::Seq);
        for threads in [2, 3, 8] {
            assert!(run(Par::rayon(threads)) == one, "{threads} threads");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_programs_and_their_derivatives(steps in prop::collection::vec(step(), 1..14)) {
        let p = program(&steps);
        let point = values(&[numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)]);
        let direction = values(&[numbers(&[3, 3], 3, -1.0, 1.0)]);
        let both: Vec<_> = point.iter().chain(&direction).cloned().collect();
        for (p, x) in [
            (p.clone(), &point),
            (p.grad(&[0, 1]).unwrap(), &point),
            (p.grad(&[0]).unwrap().jvp(&[0]).unwrap(), &both),
        ] {
            let expected = p.interpret(x).unwrap();
            assert_same("random", &p.compile().unwrap().call(x).unwrap(), &expected, 1e-13);
        }
    }
}
