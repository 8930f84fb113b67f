//! One program per primitive (and per composition), with inputs away from kinks: the grid every rule is tested on.

use autodiff::ops::{Op, Window};
use autodiff::{Array, Program, Tensor, TensorType, Tracer, trace};

/// A named program with its real inputs.
pub(crate) struct Case {
    /// What is tested.
    pub(crate) name: &'static str,
    /// The program; all inputs are real.
    pub(crate) program: Program,
    /// A point.
    pub(crate) inputs: Vec<Array<f64>>,
}

/// Numbers in (lo, hi) that look random, the same each time.
pub(crate) fn numbers(shape: &[usize], salt: u64, lo: f64, hi: f64) -> Array<f64> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    Array::from_fn(shape, |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        lo + (hi - lo) * ((state >> 11) as f64 / (1u64 << 53) as f64)
    })
}

type Body = fn(&Tracer, &[Tensor]) -> Tensor;

fn case(name: &'static str, shapes: &[&[usize]], range: (f64, f64), body: Body) -> Case {
    let names = ["x", "y", "z"];
    let ports: Vec<_> = shapes.iter().zip(names).map(|(s, n)| (n, TensorType::real(s))).collect();
    let program = trace(&ports, |t, x| vec![("out", body(t, x))]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs = shapes.iter().zip(1..).map(|(s, k)| numbers(s, k, range.0, range.1)).collect();
    Case { name, program, inputs }
}

/// The name of a primitive's kind if the grid must hold it. Written out, so that a new primitive does not compile unnoticed.
fn required(op: &Op) -> Option<&'static str> {
    Some(match op {
        Op::Input(_) | Op::Const(_) => return None,
        // Flat: their values have no derivative, and the programs that use them are tested in `tracing` and `exec`.
        Op::ArgMax(_) | Op::OneHot(_) | Op::ToReal(_) => return None,
        Op::Unary(_) => "unary",
        Op::Binary(_) => "binary",
        Op::Select(_) => "select",
        Op::Dot(_) => "dot",
        Op::ReduceSum(_) => "reduce sum",
        Op::ReduceMax(_) => "reduce max",
        Op::Broadcast(_) => "broadcast",
        Op::Reshape(_) => "reshape",
        Op::Transpose(_) => "transpose",
        Op::Slice(_) => "slice",
        Op::Pad(_) => "pad",
        Op::Concat(_) => "concat",
        Op::Gather(_) => "gather",
        Op::ScatterAdd(_) => "scatter",
        Op::Window(_) => "window",
        Op::Fold(_) => "fold",
        Op::Call(_) => "call",
    })
}
const REQUIRED: [&str; 17] = [
    "unary",
    "binary",
    "select",
    "dot",
    "reduce sum",
    "reduce max",
    "broadcast",
    "reshape",
    "transpose",
    "slice",
    "pad",
    "concat",
    "gather",
    "scatter",
    "window",
    "fold",
    "call",
];

/// Every primitive with a derivative stands in a program of the grid, and so does every elementwise function.
#[test]
fn the_grid_has_every_primitive() {
    let programs: Vec<Program> = all().into_iter().map(|c| c.program).collect();
    let ops = || programs.iter().flat_map(|p| p.nodes().iter().map(|n| n.op.clone()));
    for name in REQUIRED {
        assert!(ops().any(|op| required(&op) == Some(name)), "no case of the grid has {name}");
    }
}

/// The gradient of `sum(body(x) * y)` in `x` as a case, for primitives that arise in reverse only.
fn reversed(name: &'static str, shapes: &[&[usize]; 2], body: Body) -> Case {
    let forward = case(name, shapes, (-1.3, 1.4), |_, x| x[0].clone());
    let ports: Vec<_> = shapes.iter().zip(["x", "y"]).map(|(s, n)| (n, TensorType::real(s))).collect();
    let scalar = trace(&ports, |t, x| vec![("out", (body(t, &x[..1]) * &x[1]).sum_all())]);
    let program = scalar.and_then(|f| f.grad(&[0])).unwrap_or_else(|e| panic!("{name}: {e}"));
    Case { program, ..forward }
}

/// The grid.
pub(crate) fn all() -> Vec<Case> {
    let m: &[usize] = &[3, 4];
    let any = (-1.3, 1.4);
    let pos = (0.3, 2.0);
    let unit = (-0.8, 0.8);
    vec![
        case("neg", &[m], any, |_, x| -&x[0]),
        case("abs", &[m], any, |_, x| x[0].abs()),
        case("sign", &[m], any, |_, x| x[0].sign() * &x[0]),
        case("step", &[m], any, |_, x| x[0].step() * &x[0]),
        case("recip", &[m], pos, |_, x| x[0].recip()),
        case("sqrt", &[m], pos, |_, x| x[0].sqrt()),
        case("exp", &[m], any, |_, x| x[0].exp()),
        case("expm1", &[m], any, |_, x| x[0].exp_m1()),
        case("log", &[m], pos, |_, x| x[0].ln()),
        case("log1p", &[m], unit, |_, x| x[0].ln_1p()),
        case("sin", &[m], any, |_, x| x[0].sin()),
        case("cos", &[m], any, |_, x| x[0].cos()),
        case("sinh", &[m], any, |_, x| x[0].sinh()),
        case("cosh", &[m], any, |_, x| x[0].cosh()),
        case("tanh", &[m], any, |_, x| x[0].tanh()),
        case("sigmoid", &[m], any, |_, x| x[0].sigmoid()),
        case("softplus", &[m], any, |_, x| x[0].softplus()),
        case("erf", &[m], any, |_, x| x[0].erf()),
        case("erfc", &[m], any, |_, x| x[0].erfc()),
        case("atan", &[m], any, |_, x| x[0].atan()),
        case("asin", &[m], unit, |_, x| x[0].asin()),
        case("asinh", &[m], any, |_, x| x[0].asinh()),
        case("atanh", &[m], unit, |_, x| x[0].atanh()),
        case("pow 3", &[m], any, |_, x| x[0].powf(3.0)),
        case("pow -1.5", &[m], pos, |_, x| x[0].powf(-1.5)),
        case("stop_gradient", &[m], any, |_, x| x[0].sin().stop_gradient() + &x[0]),
        case("relu", &[m], any, |_, x| x[0].relu()),
        case("silu", &[m], any, |_, x| x[0].silu()),
        case("gelu", &[m], any, |_, x| x[0].gelu()),
        case("gelu_tanh", &[m], any, |_, x| x[0].gelu_tanh()),
        case("elu", &[m], any, |_, x| x[0].elu(0.7)),
        case("leaky_relu", &[m], any, |_, x| x[0].leaky_relu(0.1)),
        case("add", &[m, m], any, |_, x| &x[0] + &x[1]),
        case("sub", &[m, m], any, |_, x| &x[0] - &x[1]),
        case("mul", &[m, m], any, |_, x| &x[0] * &x[1]),
        case("div", &[m, m], pos, |_, x| &x[0] / &x[1]),
        case("max", &[m, m], any, |_, x| x[0].maximum(&x[1])),
        case("min", &[m, m], any, |_, x| x[0].minimum(&x[1])),
        case("select", &[m, m], any, |_, x| x[0].less(&x[1]).select(&x[0].sin(), &x[1].cos())),
        case("numpy broadcasting", &[&[3, 1], &[4]], any, |_, x| (&x[0] * &x[1]) + &x[1]),
        case("dot", &[&[3, 4], &[4, 2]], any, |_, x| x[0].matmul(&x[1])),
        case("dot batch", &[&[2, 3, 4], &[2, 4, 5]], any, |_, x| x[0].matmul(&x[1])),
        case("dot odd axes", &[&[4, 2, 3, 5], &[3, 6, 4, 2]], any, |_, x| {
            x[0].dot(&x[1], &[(2, 0)], &[(1, 3), (0, 2)])
        }),
        case("outer", &[&[3], &[4]], any, |_, x| x[0].dot(&x[1], &[], &[])),
        case("sum", &[&[2, 3, 4]], any, |_, x| x[0].sum(&[0, 2]).sin()),
        case("reduce max", &[&[2, 3, 4]], any, |_, x| x[0].max(&[0, 2])),
        case("broadcast", &[&[3]], any, |_, x| x[0].broadcast_to(&[2, 3]).sin()),
        case("reshape", &[m], any, |_, x| x[0].reshape(&[2, 6]).sin()),
        case("transpose", &[&[2, 3, 4]], any, |_, x| x[0].transpose(&[2, 0, 1]).sin()),
        case("slice", &[m], any, |_, x| x[0].slice(1, 1, 3).sin()),
        case("pad", &[m], any, |_, x| x[0].pad(1, 2, 1).sin()),
        case("concat", &[m, &[3, 2]], any, |t, x| t.concat(&[&x[0], &x[1], &x[0]], 1).sin()),
        case("gather", &[&[5, 2]], any, |t, x| x[0].sin().gather(&t.integers(&[2, 2], &[4, 0, 4, 1]), 0)),
        case("gather batch", &[&[2, 4]], any, |t, x| x[0].sin().gather(&t.integers(&[2], &[3, 1]), 1)),
        case("window", &[&[2, 7]], any, |_, x| x[0].windows(Window { axis: 1, size: 3, stride: 2, dilation: 1 }).sin()),
        case("conv", &[&[2, 6, 5], &[3, 2, 2, 3]], any, |_, x| {
            let w = x[0].pad(1, 1, 0).windows(Window { axis: 1, size: 2, stride: 2, dilation: 1 });
            let w = w.windows(Window { axis: 2, size: 3, stride: 1, dilation: 1 });
            w.dot(&x[1], &[], &[(0, 1), (3, 2), (4, 3)])
        }),
        reversed("fold", &[&[2, 7], &[2, 3, 3]], |_, x| {
            x[0].sin().windows(Window { axis: 1, size: 3, stride: 2, dilation: 1 })
        }),
        reversed("scatter", &[&[5, 2], &[2, 2, 2]], |t, x| x[0].sin().gather(&t.integers(&[2, 2], &[4, 0, 4, 1]), 0)),
        case("softmax", &[m], any, |_, x| x[0].softmax()),
        case("log_softmax", &[m], any, |_, x| x[0].log_softmax()),
        case("logsumexp", &[m], any, |_, x| x[0].logsumexp()),
        case("normalize", &[m], any, |_, x| x[0].normalize(1, 1e-5)),
        case("mlp", &[&[5, 4], &[6, 4], &[6]], any, |_, x| (x[0].matmul(&x[1].t()) + &x[2]).tanh()),
    ]
}
