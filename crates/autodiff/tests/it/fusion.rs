//! Fused runs that end in reductions, and values that take the places of operands.

use crate::cases::numbers;
use crate::exec::{check, single, values};
use autodiff::ops::Window;
use autodiff::{Array, Input, Output, Program, Tensor, TensorType, Value, Workspace, trace};
use numerics::Par;

fn steps(p: &Program) -> usize {
    p.compile::<f64>().unwrap().steps()
}

/// Every shape of a reduction: short and long rows, one row, columns, axes of size one, axes that do not join.
#[test]
fn reductions_at_the_end_of_a_run() {
    type Body = fn(&Tensor) -> Tensor;
    let cases: [(&str, &[usize], Body, usize); 12] = [
        ("short rows", &[333, 10], |x| x.sin().sum(&[1]), 1),
        ("rows of a block", &[37, 1000], |x| x.sin().sum(&[1]), 1),
        ("rows longer than a block", &[5, 3001], |x| x.sin().sum(&[1]), 1),
        ("columns", &[1500, 70], |x| x.sin().sum(&[0]), 1),
        ("wide columns", &[30, 3000], |x| x.sin().sum(&[0]), 1),
        ("everything", &[300, 401], |x| x.sin().sum(&[0, 1]), 1),
        ("few numbers", &[3, 7], |x| x.sin().sum(&[0, 1]), 1),
        ("axes of size one", &[40, 1, 60, 1], |x| x.sin().sum(&[1, 2]), 1),
        ("the middle", &[12, 40, 9], |x| x.sin().sum(&[1]), 2),
        ("largest of rows", &[200, 23], |x| x.sin().max(&[1]), 1),
        ("largest of long rows", &[3, 5000], |x| x.sin().max(&[1]), 1),
        ("largest of columns", &[700, 90], |x| x.sin().max(&[0]), 1),
    ];
    for (name, shape, body, count) in cases {
        let (p, inputs) = single(&[shape], |x| body(&x[0]));
        check(name, &p, &inputs);
        assert_eq!(steps(&p), count, "{name}");
        let exe = p.compile::<f64>().unwrap();
        let run = |par: Par| exe.call_with(&mut Workspace::with_par(par), &inputs).unwrap();
        let one = run(Par::Seq);
        for threads in [2, 3, 7] {
            assert!(run(Par::rayon(threads)) == one, "{name}: {threads} threads");
        }
    }
}

/// Several reductions of one run, of values that are stored too, of strided operands, and one that feeds the next run.
#[test]
fn runs_with_several_ends() {
    let ty = |s: &[usize]| TensorType::real(s);
    let p = trace(&[("x", ty(&[120, 300])), ("b", ty(&[300])), ("y", ty(&[300, 120]))], |_, x| {
        let h = (&x[0] + &x[1]).tanh();
        let g = &h * x[2].t();
        let mean = h.sum(&[0]) * (1.0 / 120.0);
        vec![
            ("h", h.clone()),
            ("g", g.sum(&[0])),
            ("max", h.max(&[0])),
            ("rows", g.sum(&[1])),
            ("all", h.sum(&[0]).sum(&[0])),
            ("centred", &h - mean),
        ]
    })
    .unwrap();
    let inputs = values(&[
        numbers(&[120, 300], 1, -1.0, 1.0),
        numbers(&[300], 2, -1.0, 1.0),
        numbers(&[300, 120], 3, -1.0, 1.0),
    ]);
    check("several ends", &p, &inputs);
    // `h`, `g`, the sum and the maximum over the columns are one step.
    let first = {
        let exe = p.compile::<f64>().unwrap();
        let mut room: Vec<Vec<f64>> = exe.output_types().map(|t| vec![0.0; t.numel()]).collect();
        let mut outputs: Vec<_> = room.iter_mut().map(|y| autodiff::Output::Real(y)).collect();
        let args: Vec<_> = inputs.iter().map(autodiff::Input::from).collect();
        exe.profile(&mut Workspace::new(), &args, &mut outputs, 1).unwrap().steps.swap_remove(0)
    };
    assert_eq!((first.kind, first.nodes.len()), ("fused", 6), "{first:?}");
}

#[test]
fn odd_numbers_in_reductions() {
    for shape in [[4, 3], [4, 600]] {
        let (p, _) = single(&[&shape], |x| {
            let y = x[0].abs();
            y.max(&[1]) + y.sum(&[1])
        });
        for odd in [f64::NAN, f64::INFINITY] {
            let x = Array::from_fn(&shape, |i| if i == shape[1] + 1 { odd } else { i as f64 });
            let inputs = values(&[x]);
            let (a, b) = (p.interpret(&inputs).unwrap(), p.compile().unwrap().call(&inputs).unwrap());
            for (x, y) in a[0].real().unwrap().data().iter().zip(b[0].real().unwrap().data()) {
                assert!(x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() < 1e-9, "{odd}: {x} against {y}");
            }
        }
    }
}

/// A chain of products and functions needs two places, however long it is.
#[test]
fn values_take_the_places_of_dying_operands() {
    let n = 64;
    let (p, inputs) =
        single(&[&[n, n], &[n, n]], |x| (0..6).fold(x[0].clone(), |y, _| (y.matmul(&x[1]) * (1.0 / n as f64)).tanh()));
    check("chain", &p, &inputs);
    let exe = p.compile::<f64>().unwrap();
    assert!(exe.workspace_bytes() <= 8 * (2 * n * n + 4096), "{}", exe.workspace_bytes());
}

/// Operands that are still needed keep their numbers: read transposed in the same run, later, or as outputs.
#[test]
fn living_operands_keep_their_places() {
    let ty = TensorType::real(&[50, 50]);
    let p = trace(&[("x", ty.clone()), ("y", ty)], |_, x| {
        let a = x[0].matmul(&x[1]);
        let b = x[1].matmul(&x[0]);
        let c = x[0].matmul(&x[0].t());
        let d = x[1].matmul(&x[1].t());
        let e = (&a + a.t()).sin();
        let f = (&b * 0.5).exp();
        let g = (&f * &e).matmul(&b);
        let h = (&c * 2.0).cos();
        let view = d.slice(0, 3, 40);
        let k = (&d * &d).tanh();
        vec![("e", e), ("g", g), ("h", h), ("c", c), ("k", k.matmul(&x[0])), ("view", view.sin()), ("t", d.t().exp())]
    })
    .unwrap();
    check("living", &p, &values(&[numbers(&[50, 50], 1, -1.0, 1.0), numbers(&[50, 50], 2, -1.0, 1.0)]));
}

/// The derivative of a maximum asks the value which operand won, and agrees with the interpreter on ties and odd numbers.
#[test]
fn winners_are_read_off_the_value() {
    let ty = TensorType::real(&[6]);
    let p = trace(&[("x", ty.clone()), ("y", ty)], |_, x| {
        vec![("f", (x[0].maximum(&x[1]) * 2.0 + x[0].minimum(&x[1]) * 5.0).sum_all())]
    })
    .unwrap();
    let x = Array::new(&[6], vec![1.0, 2.0, 3.0, -0.0, f64::INFINITY, 4.0]).unwrap();
    let y = Array::new(&[6], vec![2.0, 2.0, 1.0, 0.0, 1.0, f64::INFINITY]).unwrap();
    let out = p.grad(&[0, 1]).unwrap().compile::<f64>().unwrap().call(&values(&[x, y])).unwrap();
    let data = |v: &Value<f64>| v.real().unwrap().data().to_vec();
    // A tie goes to the first operand.
    assert_eq!(data(&out[0]), [5.0, 7.0, 2.0, 7.0, 2.0, 5.0]);
    assert_eq!(data(&out[1]), [2.0, 0.0, 5.0, 0.0, 5.0, 2.0]);
}

/// Convolutions, forward and backward, against the interpreter; the bits do not depend on the threads, and no step writes
/// out the windows of all data.
#[test]
fn convolutions_go_chunk_by_chunk() {
    let shapes: [&[usize]; 2] = [&[6, 5, 17, 16], &[8, 5, 3, 3]];
    let window = |axis: usize, stride: usize| Window { axis, size: 3, stride, dilation: 1 };
    for stride in [1, 2] {
        let (p, inputs) = single(&shapes, |x| {
            let windows = x[0].pad(3, 1, 1).windows(window(2, stride)).windows(window(3, stride));
            windows.dot(&x[1], &[], &[(1, 1), (4, 2), (5, 3)]).transpose(&[0, 3, 1, 2]).tanh()
        });
        let pooled = |p: &Program| p.output_type(0).shape.clone();
        let ct = Value::from(numbers(&pooled(&p), 9, -1.0, 1.0));
        let with_ct: Vec<_> = inputs.iter().cloned().chain([ct]).collect();
        let vjp = p.vjp(&[0, 1]).unwrap();
        for (p, x) in [(&p, &inputs), (&vjp, &with_ct)] {
            check("convolution", p, x);
            let exe = p.compile::<f64>().unwrap();
            let run = |par: Par| exe.call_with(&mut Workspace::with_par(par), x).unwrap();
            let one = run(Par::Seq);
            for threads in [2, 3, 5] {
                assert!(run(Par::rayon(threads)) == one, "stride {stride}: {threads} threads");
            }
        }
        let windows: usize = 8 * 6 * 5 * 9 * pooled(&p)[2..].iter().product::<usize>();
        let forward = p.compile::<f64>().unwrap().workspace_bytes();
        let backward = vjp.compile::<f64>().unwrap().workspace_bytes();
        let most = forward.max(backward);
        assert!(stride == 2 || most < windows, "{most} bytes, the windows have {windows}");
    }
}

/// Pools, forward and backward: many short sums and maxima, overlapping and not.
#[test]
fn pools() {
    for (size, stride) in [(2, 2), (3, 2)] {
        let window = |axis: usize| Window { axis, size, stride, dilation: 1 };
        let shape: &[usize] = &[4, 3, 19, 20];
        for body in [Tensor::max as fn(&Tensor, &[usize]) -> Tensor, Tensor::sum] {
            let (p, inputs) = single(&[shape], |x| body(&x[0].windows(window(2)).windows(window(3)), &[4, 5]));
            check("pool", &p, &inputs);
            let ct = Value::from(numbers(&p.output_type(0).shape, 9, -1.0, 1.0));
            let with_ct: Vec<_> = inputs.iter().cloned().chain([ct]).collect();
            check("pool backwards", &p.vjp(&[0]).unwrap(), &with_ct);
        }
    }
}

/// Contracted axes that do not join without a copy are added up by a loop.
#[test]
fn contracted_axes_apart() {
    let (p, inputs) = single(&[&[7, 12, 80], &[7, 15, 80]], |x| x[0].dot(&x[1], &[], &[(0, 0), (2, 2)]));
    check("apart", &p, &inputs);
    assert_eq!(steps(&p), 1);
}

/// Two products that are added need no pass for it: the second is added to the first where that stands, in an output, in a
/// joined value, before a run; what somebody else needs is left alone.
#[test]
fn sums_of_products_are_products_that_add() {
    type Body = fn(&[Tensor]) -> Tensor;
    let cases: [(&str, Body, usize); 6] = [
        ("sum", |x| x[0].matmul(&x[1]) + x[2].matmul(&x[3]), 1),
        ("before a run", |x| (x[0].matmul(&x[1]) + x[2].matmul(&x[3]) + 0.5).tanh() * 2.0, 1),
        ("turned", |x| (x[0].matmul(&x[1]) + x[2].matmul(&x[3])).t(), 1),
        ("three", |x| x[0].matmul(&x[1]) + x[2].matmul(&x[3]) + x[0].matmul(&x[3]), 1),
        ("needed twice", |x| x[0].matmul(&x[1]) + x[0].matmul(&x[1]).sin() + x[2].matmul(&x[3]), 0),
        ("reduced", |x| (x[0].matmul(&x[1]) + x[2].matmul(&x[3])).sum(&[0]), 1),
    ];
    for (name, body, adding) in cases {
        for (m, k, n) in [(40, 30, 50), (7, 600, 3), (1, 4, 1), (3, 0, 2), (0, 4, 2)] {
            let shapes = [[m, k], [k, n], [m, k], [k, n]];
            let names = ["a", "b", "c", "d"];
            let ports: Vec<_> = shapes.iter().zip(names).map(|(s, p)| (p, TensorType::real(s))).collect();
            let p = trace(&ports, |_, x| vec![("y", body(x))]).unwrap();
            let inputs: Vec<Value<f64>> =
                shapes.iter().zip(1..).map(|(s, i)| numbers(s, i, -1.0, 1.0).into()).collect();
            let expected = p.interpret(&inputs).unwrap()[0].real().unwrap().clone();
            let exe = p.compile::<f64>().unwrap();
            // Twice: the memory holds the last result.
            let mut w = Workspace::new();
            let mut out = vec![f64::NAN; expected.data().len()];
            for _ in 0..2 {
                let list: Vec<Input<'_, f64>> = inputs.iter().map(Into::into).collect();
                exe.run(&mut w, &list, &mut [Output::Real(&mut out)]).unwrap();
                for (g, e) in out.iter().zip(expected.data()) {
                    assert!((g - e).abs() <= 1e-13 * (1.0 + k as f64), "{name} {m} {k} {n}: {g} {e}");
                }
            }
            if m * k * n > 100 {
                let list: Vec<Input<'_, f64>> = inputs.iter().map(Into::into).collect();
                let profile = exe.profile(&mut w, &list, &mut [Output::Real(&mut out)], 1).unwrap();
                let added = profile.steps.iter().filter(|s| s.what.ends_with(", added")).count();
                assert_eq!(added, adding, "{name}\n{profile}");
            }
        }
    }
}
