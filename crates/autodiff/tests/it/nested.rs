//! Named sub-programs within named sub-programs: each body is stored, transformed and compared once, however many results
//! are asked of it; what would be too large written out is refused.

use crate::cases::numbers;
use autodiff::ops::Call;
use autodiff::{Builder, Error, Program, Tensor, TensorType, Tracer, Value, trace};
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn real(shape: &[usize]) -> TensorType {
    TensorType::real(shape)
}

/// Two results of a sub-program, each of which needs both results of the next.
fn pair(t: &Tracer, x: &Tensor, depth: usize) -> (Tensor, Tensor) {
    if depth == 0 {
        return (x.sin(), x.cos());
    }
    let mut out = t.named("pair", &[x], |t, x| {
        let (a, b) = pair(t, &x[0], depth - 1);
        vec![("sum", (&a + &b) * 0.7), ("product", &a * &b)]
    });
    let second = out.pop().unwrap();
    (out.pop().unwrap(), second)
}

const DEEP: usize = 30;

fn deep(depth: usize) -> Program {
    trace(&[("x", real(&[3, 2]))], |t, x| {
        let (a, b) = pair(t, &x[0], depth);
        vec![("y", (a - b).sum(&[1]))]
    })
    .unwrap()
}

fn run(p: &Program, inputs: &[Value<f64>]) -> Vec<f64> {
    p.interpret(inputs).unwrap().iter().flat_map(|v| v.real().unwrap().data().to_vec()).collect()
}

#[test]
fn a_deep_nest_is_stored_once_per_body() {
    let p = deep(DEEP);
    let tangents = p.jvp(&[0]).unwrap();
    let products = p.vjp(&[0]).unwrap().jvp(&[0]).unwrap();
    for (p, bodies) in [(&p, DEEP), (&tangents, 2 * DEEP), (&products, 4 * DEEP)] {
        let text = serde_json::to_string(p).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        let stored = json["bodies"].as_array().unwrap().len();
        assert!(stored <= bodies, "{stored} bodies");
        assert!(text.len() < 3000 * bodies, "{} bytes", text.len());
        let back: Program = serde_json::from_str(&text).unwrap();
        back.verify().unwrap();
        assert_eq!(&back, p);
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
    assert_ne!(p, deep(DEEP - 1));
    // One call of the innermost body, turned to its other result, makes another program.
    let text = serde_json::to_string(&p).unwrap();
    let turned = text.replacen("\"output\":1", "\"output\":0", 1);
    assert!(turned != text && !format!("{p:?}").contains("Sin"));
    let other: Program = serde_json::from_str(&turned).unwrap();
    other.verify().unwrap();
    assert_ne!(other, p);
}

#[test]
fn a_deep_nest_is_transformed_like_its_body() {
    let p = deep(DEEP);
    let flat = p.inline().unwrap();
    assert!(flat.nodes().len() < 5 * DEEP && p.flops() == flat.flops());
    let (x, v) = (Value::from(numbers(&[3, 2], 1, -1.0, 1.0)), Value::from(numbers(&[3, 2], 2, -1.0, 1.0)));
    let ct = Value::from(numbers(&[3], 3, -1.0, 1.0));
    type Make = fn(&Program) -> Program;
    let routes: [(&str, Make, Vec<Value<f64>>); 6] = [
        ("value", |p| p.clone(), vec![x.clone()]),
        ("tangent", |p| p.jvp(&[0]).unwrap(), vec![x.clone(), v.clone()]),
        ("cotangent", |p| p.vjp(&[0]).unwrap(), vec![x.clone(), ct.clone()]),
        ("tangent of cotangent", |p| p.vjp(&[0]).unwrap().jvp(&[0]).unwrap(), vec![x.clone(), ct, v]),
        ("batch", |p| p.vmap(1, &[Some(0)]).unwrap(), vec![Value::from(numbers(&[1, 3, 2], 1, -1.0, 1.0))]),
        ("data", |p| p.with_data_size(&[Some(0)], 3).unwrap(), vec![x]),
    ];
    for (name, make, inputs) in routes {
        let (named, plain) = (make(&p), make(&flat));
        named.verify().unwrap();
        let (got, expected) = (run(&named, &inputs), run(&plain, &inputs));
        assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= 1e-12 * (1.0 + e.abs())), "{name}");
        assert!(expected.iter().any(|e| *e != 0.0), "{name}");
        let compiled = named.compile::<f64>().unwrap().call(&inputs).unwrap();
        let compiled = compiled.iter().flat_map(|v| v.real().unwrap().data().to_vec());
        assert!(compiled.zip(&expected).all(|(g, e)| (g - e).abs() <= 1e-12 * (1.0 + e.abs())), "{name}");
    }
}

#[test]
fn what_is_too_large_written_out_is_refused() {
    // f(f(x)) on every level: two copies of the next.
    fn twice(t: &Tracer, x: &Tensor, depth: usize) -> Tensor {
        if depth == 0 {
            return x.sin();
        }
        t.named("twice", &[x], |t, x| {
            let inner = twice(t, &x[0], depth - 1);
            // The same body again, of what it gave.
            vec![("y", twice(t, &inner, depth - 1))]
        })
        .remove(0)
    }
    let small = trace(&[("x", real(&[2]))], |t, x| vec![("y", twice(t, &x[0], 5))]).unwrap();
    assert_eq!(small.inline().unwrap().nodes().len(), 1 + (1 << 5));
    let mut body = Arc::new(trace(&[("x", real(&[2]))], |_, x| vec![("y", x[0].sin())]).unwrap());
    let refused = loop {
        let mut b = Builder::new();
        let x = b.input("x", real(&[2]));
        let call = Call::new("twice", body.clone(), 0);
        let once = b.push(call.clone(), &[x]);
        match once.and_then(|once| b.push(call, &[once])) {
            Ok(y) => body = Arc::new(b.finish(vec![("y".into(), y)])),
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, Error::Shape { ref why, .. } if why.contains("written out")), "{refused:?}");
    let tower = trace(&[("x", real(&[2]))], |t, x| vec![("y", pair(t, &x[0], 66).0)]);
    assert!(matches!(tower, Err(Error::Shape { ref why, .. }) if why.contains("nested 65 deep")), "{tower:?}");
}

/// A file whose body `k` calls bodies `calls[k]`, in turn, each of the last one's result.
fn file(calls: &[Vec<usize>]) -> Json {
    let ty = json!({"kind": "Real", "shape": [2]});
    let program = |calls: &[usize]| {
        let mut nodes = vec![json!({"op": {"Input": {"index": 0, "ty": ty}}, "args": [], "ty": ty})];
        for (i, body) in calls.iter().enumerate() {
            nodes.push(json!({"op": {"Call": {"name": "f", "output": 0, "body": body}}, "args": [i], "ty": ty}));
        }
        nodes.push(json!({"op": {"Unary": "Sin"}, "args": [nodes.len() - 1], "ty": ty}));
        let last = nodes.len() - 1;
        json!({"nodes": nodes, "inputs": [{"name": "x", "node": 0}], "outputs": [{"name": "y", "node": last}]})
    };
    let bodies: Vec<Json> = calls.iter().map(|c| program(c)).collect();
    let mut whole = program(&[calls.len() - 1]);
    whole["bodies"] = bodies.into();
    whole
}

#[test]
fn files_with_hostile_tables_are_errors() {
    let read = |calls: &[Vec<usize>]| serde_json::from_value::<Program>(file(calls));
    let good = read(&[vec![], vec![0], vec![1, 0, 1]]).unwrap();
    good.verify().unwrap();
    let x = Value::from(numbers(&[2], 1, -1.0, 1.0));
    // sin once for the whole, once for the body, and so on: 1 + 1 + 2 + 1 + 2.
    let sines = (0..7).fold(x.real().unwrap().data().to_vec(), |x, _| x.iter().map(|x: &f64| x.sin()).collect());
    assert_eq!(run(&good, &[x]), sines);
    for (calls, says) in [
        (vec![vec![0]], "calls sub-program 0, of 0"),
        (vec![vec![1], vec![]], "calls sub-program 1, of 0"),
        (vec![vec![], vec![0], vec![usize::MAX]], "sub-program 2: node 1 calls sub-program"),
        ((0..1000).map(|k| if k == 0 { vec![] } else { vec![k - 1] }).collect(), "nested 65 deep"),
        ((0..60).map(|k| if k == 0 { vec![] } else { vec![k - 1; 2] }).collect(), "written out"),
        ((0..60).map(|k| if k < 2 { vec![] } else { vec![(k / 2) * 2 - 2, (k / 2) * 2 - 1] }).collect(), "written out"),
    ] {
        let e = read(&calls).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
    // As many nodes as are allowed: looked at in the time that so many nodes take.
    let most = read(&(0..12).map(|k| if k == 0 { vec![] } else { vec![k - 1; 2] }).collect::<Vec<_>>()).unwrap();
    most.verify().unwrap();
    let tangents = most.jvp(&[0]).unwrap();
    tangents.verify().unwrap();
    assert_eq!(tangents.nodes().len(), 7);
}
