//! One program per primitive (and per composition), with inputs away from kinks: the grid every rule is tested on.

use autodiff::ops::{ArgMax, Binary, BinaryFn, Fold, OneHot, Op, ScatterAdd, Unary, Window};
use autodiff::{Array, Builder, Error, NodeId, Program, Tensor, TensorType, Tracer, trace};
use std::collections::BTreeSet;

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

/// The same from nodes, for what has no method of its own.
fn built(
    name: &'static str,
    shapes: &[&[usize]],
    range: (f64, f64),
    body: fn(&mut Builder, &[NodeId]) -> Result<NodeId, Error>,
) -> Case {
    let mut b = Builder::new();
    let x: Vec<NodeId> = shapes.iter().zip(["x", "y"]).map(|(s, n)| b.input(n, TensorType::real(s))).collect();
    let out = body(&mut b, &x).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs = shapes.iter().zip(1..).map(|(s, k)| numbers(s, k, range.0, range.1)).collect();
    Case { name, program: b.finish(vec![("out".into(), out)]), inputs }
}

/// A comparison as a factor of the first operand.
fn factor(b: &mut Builder, f: BinaryFn, x: &[NodeId]) -> Result<NodeId, Error> {
    let p = b.push(Binary(f), &[x[0], x[1]])?;
    b.mul(p, x[0])
}

const STRIDED: Window = Window { axis: 0, size: 3, stride: 2, dilation: 2 };

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
        case("gather by what is batched", &[&[5, 2], &[3, 5]], any, |_, x| x[0].sin().gather(&x[1].argmax(), 0)),
        case("gather batch by what is batched", &[&[2, 4], &[2, 3, 4]], any, |_, x| {
            x[0].sin().gather(&x[1].argmax(), 1)
        }),
        built("scatter_add", &[&[4, 2]], any, |b, x| {
            let at = b.int_const(&[4], vec![2, 0, 2, 4])?;
            let sum = b.push(ScatterAdd { batch: 0, size: 5 }, &[at, x[0]])?;
            b.unary(Unary::Sin, sum)
        }),
        built("scatter_add by what is batched", &[&[3, 2], &[3, 5]], any, |b, x| {
            let at = b.push(ArgMax, &[x[1]])?;
            let sum = b.push(ScatterAdd { batch: 0, size: 5 }, &[at, x[0]])?;
            b.unary(Unary::Sin, sum)
        }),
        built("scatter_add batch by what is batched", &[&[2, 3], &[2, 3, 4]], any, |b, x| {
            let at = b.push(ArgMax, &[x[1]])?;
            let sum = b.push(ScatterAdd { batch: 1, size: 4 }, &[at, x[0]])?;
            b.unary(Unary::Sin, sum)
        }),
        built("fold", &[&[3, 2, 3]], any, |b, x| {
            let sum = b.push(Fold { window: STRIDED, len: 10 }, &[x[0]])?;
            b.unary(Unary::Sin, sum)
        }),
        built("one_hot", &[&[3, 4]], any, |b, x| {
            let top = b.push(ArgMax, &[x[0]])?;
            let top = b.push(OneHot { depth: 4 }, &[top])?;
            b.mul(top, x[0])
        }),
        case("to_real", &[m], any, |_, x| x[0].argmax().to_real().unsqueeze(1) * x[0].sin()),
        built("less", &[m, m], any, |b, x| factor(b, BinaryFn::Less, x)),
        built("less or equal", &[m, m], any, |b, x| factor(b, BinaryFn::LessEqual, x)),
        built("equal", &[m, m], any, |b, x| factor(b, BinaryFn::Equal, x)),
        case("named", &[m, m], any, |t, x| {
            let parts = t.named("part", &[&x[0], &x[1]], |_, x| vec![("a", x[0].sin() * &x[1]), ("b", x[1].exp())]);
            &parts[0] * &parts[1]
        }),
        case("conv", &[&[2, 6, 5], &[3, 2, 2, 3]], any, |_, x| {
            let w = x[0].pad(1, 1, 0).windows(Window { axis: 1, size: 2, stride: 2, dilation: 1 });
            let w = w.windows(Window { axis: 2, size: 3, stride: 1, dilation: 1 });
            w.dot(&x[1], &[], &[(0, 1), (3, 2), (4, 3)])
        }),
        case("softmax", &[m], any, |_, x| x[0].softmax()),
        case("log_softmax", &[m], any, |_, x| x[0].log_softmax()),
        case("logsumexp", &[m], any, |_, x| x[0].logsumexp()),
        case("normalize", &[m], any, |_, x| x[0].normalize(1, 1e-5)),
        case("mlp", &[&[5, 4], &[6, 4], &[6]], any, |_, x| (x[0].matmul(&x[1].t()) + &x[2]).tanh()),
    ]
}

/// Every function of one tensor: a new one has to be listed, and then to have a case.
fn unary_of(f: Unary) -> &'static str {
    match f {
        Unary::Neg => "Neg",
        Unary::Abs => "Abs",
        Unary::Sign => "Sign",
        Unary::Step => "Step",
        Unary::Recip => "Recip",
        Unary::Sqrt => "Sqrt",
        Unary::Exp => "Exp",
        Unary::Expm1 => "Expm1",
        Unary::Log => "Log",
        Unary::Log1p => "Log1p",
        Unary::Sin => "Sin",
        Unary::Cos => "Cos",
        Unary::Sinh => "Sinh",
        Unary::Cosh => "Cosh",
        Unary::Tanh => "Tanh",
        Unary::Sigmoid => "Sigmoid",
        Unary::Softplus => "Softplus",
        Unary::Erf => "Erf",
        Unary::Erfc => "Erfc",
        Unary::Atan => "Atan",
        Unary::Asin => "Asin",
        Unary::Asinh => "Asinh",
        Unary::Atanh => "Atanh",
        Unary::Powf(_) => "Powf",
        Unary::StopGradient => "StopGradient",
    }
}

const UNARY: usize = 25;

fn binary_of(f: BinaryFn) -> &'static str {
    match f {
        BinaryFn::Add => "Add",
        BinaryFn::Sub => "Sub",
        BinaryFn::Mul => "Mul",
        BinaryFn::Div => "Div",
        BinaryFn::Max => "Max",
        BinaryFn::Min => "Min",
        BinaryFn::Less => "Less",
        BinaryFn::LessEqual => "LessEqual",
        BinaryFn::Equal => "Equal",
    }
}

const BINARY: usize = 9;

/// Every registered primitive stands in a program of the grid as it was traced, not only in derivatives of one.
#[test]
fn the_grid_holds_every_primitive() {
    let (mut primitives, mut unary, mut binary) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for node in all().iter().flat_map(|c| c.program.nodes()) {
        primitives.insert(node.op.primitive());
        match &node.op {
            Op::Unary(f) => drop(unary.insert(unary_of(*f))),
            Op::Binary(f) => drop(binary.insert(binary_of(f.0))),
            _ => {}
        }
    }
    let missing: Vec<_> = Op::PRIMITIVES.iter().filter(|p| !primitives.contains(*p)).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    assert_eq!((unary.len(), binary.len()), (UNARY, BINARY), "{unary:?} {binary:?}");
}
