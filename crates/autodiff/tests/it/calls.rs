//! Named sub-programs: transformations act on the body and rename, and a name costs nothing.

use crate::cases::numbers;
use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::{Array, Error, Program, Tensor, TensorType, Tracer, Value, trace};

fn real(shape: &[usize]) -> TensorType {
    TensorType::real(shape)
}

fn run(p: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    p.verify().unwrap();
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    p.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

fn assert_close(what: &str, got: &[Array<f64>], expected: &[Array<f64>], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (g, e) in got.iter().zip(expected) {
        assert_eq!(g.shape(), e.shape(), "{what}");
        let scale = e.data().iter().fold(1.0f64, |m, x| m.max(x.abs()));
        for (g, e) in g.data().iter().zip(e.data()) {
            assert!((g - e).abs() <= tol * scale, "{what}: {g} against {e}");
        }
    }
}

/// One head of attention, by hand.
fn attention(x: &[Tensor]) -> Tensor {
    let s = x[0].matmul(&x[1].t()) * 0.5;
    let e = (&s - s.max(&[1]).stop_gradient().unsqueeze(1)).exp();
    let a = &e / e.sum(&[1]).unsqueeze(1);
    a.matmul(&x[2])
}

/// The same program with the body named, or not.
fn head(named: bool) -> Program {
    let ports = [("q", real(&[3, 4])), ("k", real(&[5, 4])), ("v", real(&[5, 2]))];
    trace(&ports, |t, x| {
        let o = match named {
            true => t.named("attention", &[&x[0], &x[1], &x[2]], |_, x| vec![("o", attention(x))]).remove(0),
            false => attention(x),
        };
        vec![("loss", (o.tanh() * 1.5).sum_all())]
    })
    .unwrap()
}

fn point() -> Vec<Array<f64>> {
    vec![numbers(&[3, 4], 1, -1.0, 1.0), numbers(&[5, 4], 2, -1.0, 1.0), numbers(&[5, 2], 3, -1.0, 1.0)]
}

#[test]
fn names_follow_the_transformations() {
    let f = head(true);
    let names = |p: &Program, list: &[&str]| {
        let (text, dot) = (p.to_string(), p.to_dot());
        for name in list {
            assert!(
                text.contains(&format!("call {name}(")) || text.contains(&format!("call {name}:")),
                "{name}\n{text}"
            );
            assert!(dot.contains(&format!("call {name}")), "{name}");
        }
    };
    let all = [0, 1, 2];
    names(&f, &["attention"]);
    names(&f.jvp(&all).unwrap(), &["attention", "attention.jvp"]);
    names(&f.vjp(&all).unwrap(), &["attention", "attention.vjp"]);
    names(&f.grad(&all).unwrap().jvp(&all).unwrap(), &["attention.vjp", "attention.vjp.jvp", "attention.jvp"]);
    // Reverse mode opens a call that is there with its derivative: their cotangents meet inside.
    assert!(!f.jvp(&all).unwrap().select_outputs(&[1]).unwrap().grad(&all).unwrap().has_calls());
    names(&f.vmap(2, &[Some(0), None, Some(1)]).unwrap(), &["attention.vmap"]);
    names(&f.vjp(&[1]).unwrap(), &["attention.vjp[1]"]);
    // What a transformation made of a name comes back from a file.
    let h = f.grad(&all).unwrap().jvp(&all).unwrap();
    let back: Program = serde_json::from_str(&serde_json::to_string(&h).unwrap()).unwrap();
    assert_eq!(back, h);
    back.verify().unwrap();
}

#[test]
fn derivatives_of_a_name_are_those_of_its_body() {
    let (f, g) = (head(true), head(false));
    let x = point();
    let v: Vec<_> = x.iter().zip(7..).map(|(a, s)| numbers(a.shape(), s, -1.0, 1.0)).collect();
    let xv = [x.clone(), v.clone()].concat();
    let all = [0, 1, 2];
    type Make = fn(&Program) -> Program;
    let routes: [(&str, Make, bool); 7] = [
        ("value", |p| p.clone(), false),
        ("gradient", |p| p.value_and_grad(&[0, 1, 2]).unwrap(), false),
        ("tangent", |p| p.jvp(&[0, 1, 2]).unwrap(), true),
        ("hessian product", |p| p.grad(&[0, 1, 2]).unwrap().jvp(&[0, 1, 2]).unwrap(), true),
        ("other order", |p| p.jvp(&[0, 1, 2]).unwrap().select_outputs(&[1]).unwrap().grad(&[0, 1, 2]).unwrap(), true),
        (
            "gradient of gradient",
            |p| {
                let names = ["q", "k", "v"];
                let ports: Vec<_> = (0..3).map(|i| (names[i], p.input_type(i).clone())).collect();
                let g = p.grad(&[0, 1, 2]).unwrap();
                let norm = trace(&ports, |t, x| {
                    let parts = t.call(&g, &x.iter().collect::<Vec<_>>());
                    vec![("n", parts.iter().map(|g| (g * g).sum_all()).reduce(|a, b| a + b).unwrap())]
                });
                norm.unwrap().grad(&[0, 1, 2]).unwrap()
            },
            false,
        ),
        ("one input", |p| p.grad(&[1]).unwrap().jvp(&[1]).unwrap().select_outputs(&[0]).unwrap(), false),
    ];
    for (what, make, tangents) in routes {
        let (a, b) = (make(&f), make(&g));
        let mut inputs = if tangents { xv.clone() } else { x.clone() };
        if what == "one input" {
            inputs.push(v[1].clone());
        }
        assert_close(what, &run(&a, &inputs), &run(&b, &inputs), 1e-13);
        // A name costs nothing: the same work, node for node.
        let inlined = a.inline().unwrap();
        assert_eq!((inlined.flops(), a.flops()), (b.flops(), b.flops()), "{what}\n{inlined}\n{b}");
        assert_eq!(inlined.nodes().len(), b.nodes().len(), "{what}\n{inlined}\n{b}");
        let (a, b) = (a.compile::<f64>().unwrap(), b.compile::<f64>().unwrap());
        assert_eq!(a.steps(), b.steps(), "{what}");
    }
    let (a, b) = (f.linearize(&all).unwrap(), g.linearize(&all).unwrap());
    assert_eq!((a.linear.nodes(), a.primal.nodes()), (b.linear.nodes(), b.primal.nodes()));
    let mapped = |p: &Program| p.grad(&[0, 2]).unwrap().vmap(2, &[Some(0), None, Some(1)]).unwrap();
    let inputs = [numbers(&[2, 3, 4], 21, -1.0, 1.0), x[1].clone(), numbers(&[5, 2, 2], 22, -1.0, 1.0)];
    assert_close("vmap", &run(&mapped(&f), &inputs), &run(&mapped(&g), &inputs), 1e-13);
    assert_eq!(mapped(&f).inline().unwrap().flops(), mapped(&g).flops());
}

/// Both results of one body get their cotangents at once; a result used inside another call works too.
#[test]
fn several_results_and_calls_inside_calls() {
    let body = |t: &Tracer, x: &[Tensor]| {
        let r = t.named("radius", &[&x[0], &x[1]], |_, x| vec![("r", (&x[0] * &x[0] + &x[1] * &x[1]).sqrt())]);
        vec![("r", r[0].clone()), ("a", (&x[1] / &x[0]).atan()), ("constant", t.full(&[4], 2.0))]
    };
    let make = |named: bool| {
        trace(&[("x", real(&[4])), ("y", real(&[4]))], |t, x| {
            let parts: Vec<Tensor> = match named {
                true => t.named("polar", &[&x[0], &x[1]], body),
                false => body(t, x).into_iter().map(|p| p.1).collect(),
            };
            // The second result is read before the first is used for the last time.
            let s = parts[1].sin() * &parts[0] + &parts[2];
            vec![("f", (s * parts[0].ln()).sum_all())]
        })
        .unwrap()
    };
    let (f, g) = (make(true), make(false));
    let x = [numbers(&[4], 1, 0.4, 1.5), numbers(&[4], 2, 0.3, 1.4)];
    let v = [x[0].clone(), x[1].clone(), numbers(&[4], 3, -1.0, 1.0), numbers(&[4], 4, -1.0, 1.0)];
    assert_close("gradient", &run(&f.grad(&[0, 1]).unwrap(), &x), &run(&g.grad(&[0, 1]).unwrap(), &x), 1e-14);
    let hvp = |p: &Program| p.grad(&[0, 1]).unwrap().jvp(&[0, 1]).unwrap();
    assert_close("Hessian", &run(&hvp(&f), &v), &run(&hvp(&g), &v), 1e-13);
    let vjp = f.vjp(&[0, 1]).unwrap().to_string();
    assert_eq!(vjp.matches("call polar.vjp").count(), 2, "{vjp}");
    assert!(!f.inline().unwrap().has_calls());
}

#[test]
fn models_and_losses_cost_what_they_did() {
    let model = Sequential::new(
        &[6],
        vec![
            Layer::Linear { inputs: 6, outputs: 8, bias: true },
            Layer::Gelu {},
            Layer::LayerNorm { shape: vec![8], eps: 1e-5 },
            Layer::Linear { inputs: 8, outputs: 3, bias: true },
        ],
    )
    .unwrap();
    let loss = model.trace_loss(7, &Loss::cross_entropy(), false).unwrap();
    for name in ["call gelu(", "call normalize(", "call cross_entropy("] {
        assert!(loss.to_string().contains(name), "{name}\n{loss}");
    }
    // By hand, without names.
    let bare = trace(&[("p", real(&[99])), ("x", real(&[7, 6])), ("t", TensorType::int(&[7]))], |_, t| {
        let p = model.params().split_tensor(&t[0]);
        let h = t[1].dot(&p[0], &[], &[(1, 1)]) + &p[1];
        let h = &h * ((&h * -std::f64::consts::FRAC_1_SQRT_2).erfc() * 0.5);
        let centred = &h - h.mean(&[1]).reshape(&[7, 1]);
        let variance = (&centred * &centred).mean(&[1]).reshape(&[7, 1]);
        let h = centred * (variance + 1e-5).powf(-0.5) * &p[2] + &p[3];
        let z = h.dot(&p[4], &[], &[(1, 1)]) + &p[5];
        let (top, winner) = (z.max(&[1]), z.argmax().one_hot(3));
        let zero = z.tracer().full(&[7, 3], 0.0);
        let shifted = winner.select(&zero, &(&z - top.unsqueeze(1)));
        let logs = &shifted - winner.select(&zero, &shifted.exp()).sum(&[1]).ln_1p().unsqueeze(1);
        let terms = -(t[2].one_hot(3) * logs).sum(&[1]);
        vec![("loss", terms.sum_all())]
    })
    .unwrap();
    type Make = fn(&Program) -> Program;
    let routes: [Make; 4] = [
        |p| p.clone(),
        |p| p.value_and_grad(&[0]).unwrap(),
        |p| p.grad(&[0]).unwrap().linearize(&[0]).unwrap().linear,
        |p| p.linearize(&[0]).unwrap().transpose().unwrap(),
    ];
    for (k, make) in routes.iter().enumerate() {
        let (a, b) = (make(&loss), make(&bare));
        assert_eq!(a.flops(), b.flops(), "route {k}\n{}\n{b}", a.inline().unwrap());
        assert_eq!(a.inline().unwrap().nodes().len(), b.nodes().len(), "route {k}");
        assert_eq!(a.compile::<f64>().unwrap().steps(), b.compile::<f64>().unwrap().steps(), "route {k}");
    }
}

/// A registered kernel against its own body: value, and every derivative that contains it.
#[test]
fn kernels_compute_what_their_bodies_say() {
    for log in [false, true] {
        for shape in [&[1usize][..], &[7], &[3, 5], &[2, 3, 300], &[40, 1000]] {
            let p =
                trace(&[("x", real(shape))], |_, x| vec![("y", if log { x[0].log_softmax() } else { x[0].softmax() })])
                    .unwrap();
            let x = numbers(shape, 9, -30.0, 30.0);
            let kernel = p.compile::<f64>().unwrap();
            assert_eq!(kernel.steps(), 1, "{shape:?}");
            let body = p.inline().unwrap();
            let v = numbers(shape, 8, -1.0, 1.0);
            let values = |a: &[Array<f64>]| a.iter().cloned().map(Value::from).collect::<Vec<_>>();
            let reals = |v: Vec<Value<f64>>| v.into_iter().map(|v| v.into_real().unwrap()).collect::<Vec<_>>();
            let got = reals(kernel.call(&values(std::slice::from_ref(&x))).unwrap());
            assert_close("value", &got, &run(&body, std::slice::from_ref(&x)), 1e-14);
            if x.data().len() > 1000 {
                continue;
            }
            let xv = [x.clone(), v.clone()];
            let routes: [(&str, Program, Program); 3] = [
                ("jvp", p.jvp(&[0]).unwrap(), body.jvp(&[0]).unwrap()),
                ("vjp", p.vjp(&[0]).unwrap(), body.vjp(&[0]).unwrap()),
                ("tangent of vjp", p.vjp(&[0]).unwrap().jvp(&[1]).unwrap(), body.vjp(&[0]).unwrap().jvp(&[1]).unwrap()),
            ];
            for (what, a, b) in routes {
                let inputs = if what == "tangent of vjp" { vec![x.clone(), v.clone(), v.clone()] } else { xv.to_vec() };
                let got = reals(a.compile::<f64>().unwrap().call(&values(&inputs)).unwrap());
                assert_close(what, &got, &run(&b, &inputs), 1e-13);
            }
            let mapped = p.vmap(3, &[Some(0)]).unwrap();
            assert_eq!(mapped.compile::<f64>().unwrap().steps(), 1);
        }
    }
    // Another body of the same name is not taken for it.
    let p = trace(&[("x", real(&[3, 4]))], |t, x| {
        vec![("y", t.named("softmax", &[&x[0]], |_, x| vec![("out", x[0].t().softmax().t())]).remove(0))]
    })
    .unwrap();
    let x = numbers(&[3, 4], 1, -1.0, 1.0);
    let got = p.compile::<f64>().unwrap().call(&[x.clone().into()]).unwrap().remove(0).into_real().unwrap();
    assert_close("namesake", &[got], &run(&p.inline().unwrap(), &[x]), 1e-14);
}

/// However sure the softmax is, its derivative keeps its digits: `p_k' = -p_k sum p_i (v_i - v_k)` for the winner `k`.
#[test]
fn a_sure_softmax_keeps_its_digits() {
    let p = trace(&[("x", real(&[3]))], |_, x| vec![("p", x[0].softmax())]).unwrap().jvp(&[0]).unwrap();
    let v = [0.7, -0.4, 0.9];
    for gap in [3.0f64, 15.0, 30.0, 200.0] {
        let x = Array::new(&[3], vec![1.0, 1.0 + gap, 0.5]).unwrap();
        let e = [(-gap).exp(), 1.0, (-0.5 - gap).exp()];
        let norm: f64 = e[0] + e[2] + 1.0;
        let slope = (e[0] * (v[0] - v[1]) + e[2] * (v[2] - v[1])) / norm;
        let expected: Vec<f64> = (0..3).map(|i| e[i] / norm * (v[i] - v[1] - slope)).collect();
        let args = [x.into(), Array::new(&[3], v.to_vec()).unwrap().into()];
        for out in [p.interpret::<f64>(&args).unwrap(), p.compile::<f64>().unwrap().call(&args).unwrap()] {
            for (got, expected) in out[1].real().unwrap().data().iter().zip(&expected) {
                assert!((got - expected).abs() <= 1e-13 * expected.abs(), "gap {gap}: {got} against {expected}");
            }
        }
    }
}

/// A body with two results is evaluated once for both, so that nesting costs what the innermost bodies cost.
#[test]
fn nested_bodies_are_evaluated_once() {
    fn nested(t: &Tracer, x: &Tensor, depth: usize) -> (Tensor, Tensor) {
        if depth == 0 {
            return (x.sin(), x.cos());
        }
        let mut y = t.named("pair", &[x], |t, x| {
            let (a, b) = nested(t, &x[0], depth - 1);
            vec![("a", (&a + &b) * 0.5), ("b", &a * &b)]
        });
        let b = y.remove(1);
        (y.remove(0), b)
    }
    let p = trace(&[("x", real(&[2]))], |t, x| {
        let (a, b) = nested(t, &x[0], 40);
        vec![("y", a * b)]
    })
    .unwrap();
    let x = numbers(&[2], 1, -1.0, 1.0);
    let (mut a, mut b) = (x.data()[0].sin(), x.data()[0].cos());
    (0..40).for_each(|_| (a, b) = ((a + b) * 0.5, a * b));
    let y = p.interpret::<f64>(&[x.into()]).unwrap();
    assert!((y[0].real().unwrap().data()[0] - a * b).abs() <= 1e-12 * (a * b).abs());
}

#[test]
fn mistakes_in_a_body_come_back_as_errors() {
    let ty = real(&[2, 3]);
    let e = trace(&[("x", ty.clone())], |t, x| {
        let outer = x[0].clone();
        t.named("f", &[&x[0]], move |_, x| vec![("y", &x[0] + &outer)]).into_iter().map(|t| ("y", t)).collect()
    })
    .unwrap_err();
    assert!(matches!(e, Error::ForeignTensor { .. }), "{e}");
    let line = line!() + 2;
    let e = trace(&[("x", ty.clone())], |t, x| {
        t.named("f", &[&x[0]], |_, x| vec![("y", x[0].matmul(&x[0]))]).into_iter().map(|t| ("y", t)).collect()
    })
    .unwrap_err();
    assert!(e.to_string().contains(&format!("calls.rs:{line}")), "{e}");
    // The composition's caller is named, not the composition.
    let line = line!() + 1;
    let e = trace(&[("i", TensorType::int(&[3]))], |_, x| vec![("y", x[0].softmax())]).unwrap_err();
    assert!(e.to_string().contains(&format!("calls.rs:{line}")), "{e}");
    let e = trace(&[("x", ty.clone())], |t, x| {
        t.named("a.b", &[&x[0]], |_, x| vec![("y", x[0].sin())]).into_iter().map(|t| ("y", t)).collect()
    })
    .unwrap_err();
    assert!(matches!(e, Error::Malformed(_)), "{e}");
    // A file whose body does not hold what it says.
    let p = trace(&[("x", ty)], |_, x| vec![("y", x[0].softmax())]).unwrap();
    let text = serde_json::to_string(&p).unwrap();
    for (from, to) in [("\"output\":0", "\"output\":4"), ("\"node\":0", "\"node\":9"), ("\"args\":[0]", "\"args\":[7]")]
    {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text);
        let broken: Program = serde_json::from_str(&broken).unwrap();
        assert!(broken.verify().is_err() && broken.compile::<f64>().is_err(), "{from}");
        assert!(broken.interpret(&[numbers(&[2, 3], 1, 0.0, 1.0).into()]).is_err(), "{from}");
    }
}
