//! Tracing, sharing, listing, files, and errors that say where.

use autodiff::{Array, Error, Program, TensorType, trace};

fn real(shape: &[usize]) -> TensorType {
    TensorType::real(shape)
}

#[test]
fn equal_expressions_exist_once() {
    let p = trace(&[("x", real(&[2]))], |_, x| {
        let a = (&x[0] + 1.0) * 2.0;
        let b = 2.0 * (1.0 + &x[0]);
        vec![("y", a + b)]
    })
    .unwrap();
    let text = p.to_string();
    assert_eq!(text.matches("add(").count(), 2, "{text}");
    assert_eq!(text.matches("mul(").count(), 1, "{text}");
}

#[test]
fn listing_shows_shapes_and_flops() {
    let p = trace(&[("w", real(&[3, 2])), ("x", real(&[2]))], |_, t| vec![("y", t[0].matmul(&t[1]))]).unwrap();
    assert_eq!(
        p.to_string(),
        "%0: [3, 2] = input \"w\"\n%1: [2] = input \"x\"\n%2: [3] = dot[1-0](%0, %1)  # 12 flops\nreturn y: %2\n"
    );
    assert_eq!(p.flops(), 12);
    assert!(p.to_dot().contains("n0 -> n2"));
}

#[test]
fn a_shape_error_names_operation_shapes_and_line() {
    let line = line!() + 1;
    let e = trace(&[("x", real(&[2, 3])), ("y", real(&[4]))], |_, t| vec![("z", (&t[0] + &t[1]).sin())]).unwrap_err();
    let text = e.to_string();
    assert!(matches!(e, Error::Shape { .. }));
    for part in ["add", "[2, 3]", "[4]", &format!("tracing.rs:{line}")] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

#[test]
fn tensors_of_two_traces_do_not_mix() {
    let mut stolen = None;
    trace(&[("x", real(&[2]))], |_, t| {
        stolen = Some(t[0].clone());
        vec![("x", t[0].clone())]
    })
    .unwrap();
    let stolen = stolen.unwrap();
    let e = trace(&[("x", real(&[2]))], |_, t| vec![("y", &t[0] + &stolen)]).unwrap_err();
    assert!(matches!(e, Error::ForeignTensor { .. }));
}

#[test]
fn hostile_shapes_are_errors() {
    let huge = usize::MAX / 2;
    let e = trace(&[("x", real(&[2]))], |_, t| vec![("y", t[0].broadcast_to(&[huge, 2]))]).unwrap_err();
    assert!(e.to_string().contains("too large"), "{e}");
    for bad in [
        trace(&[("x", real(&[2, 3]))], |_, t| vec![("y", t[0].sum(&[2]))]),
        trace(&[("x", real(&[2, 3]))], |_, t| vec![("y", t[0].sum(&[0, 0]))]),
        trace(&[("x", real(&[2, 3]))], |_, t| vec![("y", t[0].transpose(&[0, 0]))]),
        trace(&[("x", real(&[2, 3]))], |_, t| vec![("y", t[0].slice(1, 2, 4))]),
        trace(&[("x", real(&[2, 3]))], |_, t| vec![("y", t[0].slice(5, 0, 1))]),
        trace(&[("x", real(&[0]))], |_, t| vec![("y", t[0].max(&[0]))]),
        trace(&[("x", real(&[3]))], |_, t| vec![("y", t[0].t())]),
        trace(&[("x", TensorType::int(&[3]))], |_, t| vec![("y", t[0].sin())]),
    ] {
        assert!(matches!(bad, Err(Error::Shape { .. })), "{bad:?}");
    }
}

#[test]
fn wrong_inputs_and_indices_are_errors() {
    let p =
        trace(&[("x", real(&[2])), ("i", TensorType::int(&[1]))], |_, t| vec![("y", t[0].gather(&t[1], 0))]).unwrap();
    let x = Array::new(&[2], vec![1.0, 2.0]).unwrap();
    assert!(matches!(p.interpret::<f64>(&[]), Err(Error::Input { .. })));
    assert!(matches!(p.interpret(&[x.clone().into(), x.clone().into()]), Err(Error::Input { .. })));
    for index in [-1, 2, i64::MAX] {
        let i = autodiff::Value::Int(Array::new(&[1], vec![index]).unwrap());
        assert!(matches!(p.interpret(&[x.clone().into(), i]), Err(Error::IndexOutOfRange { .. })));
    }
    assert!(p.jvp(&[1]).is_err() && p.vjp(&[7]).is_err() && p.jvp(&[0, 0]).is_err());
    assert!(p.value_and_grad(&[0]).is_err(), "the output has an axis");
}

#[test]
fn a_program_survives_a_file() {
    let p = trace(&[("x", real(&[3, 4]))], |_, x| vec![("y", x[0].softmax().powf(1.5).sum(&[0]))]).unwrap();
    let grad = p.vjp(&[0]).unwrap();
    let text = serde_json::to_string(&grad).unwrap();
    let back: Program = serde_json::from_str(&text).unwrap();
    assert_eq!(back, grad);
    back.verify().unwrap();
}

#[test]
fn derivatives_at_kinks_are_the_documented_ones() {
    let at = |f: fn(&autodiff::Tensor) -> autodiff::Tensor, x: f64| {
        let p = trace(&[("x", real(&[]))], |_, t| vec![("y", f(&t[0]))]).unwrap().grad(&[0]).unwrap();
        p.interpret(&[Array::scalar(x).into()]).unwrap()[0].real().unwrap().data()[0]
    };
    assert_eq!(at(|x| x.relu(), 0.0), 0.0);
    assert_eq!(at(|x| x.abs(), 0.0), 0.0);
    assert_eq!(at(|x| x.softplus(), 0.0), 0.5);
    assert_eq!(at(|x| x.elu(1.0), 1e4), 1.0);
    assert_eq!(at(|x| x.powf(2.0), 0.0), 0.0);
}

#[test]
fn a_file_whose_input_no_port_names_is_an_error() {
    let p = trace(&[("x", real(&[2]))], |_, t| vec![("y", t[0].sin())]).unwrap();
    let text = serde_json::to_string(&p).unwrap().replace("\"index\":0", "\"index\":7");
    let hostile: Program = serde_json::from_str(&text).unwrap();
    let x = Array::new(&[2], vec![1.0, 2.0]).unwrap();
    assert!(matches!(hostile.interpret(&[x.into()]), Err(Error::Malformed(_))));
}
