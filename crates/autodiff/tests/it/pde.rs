//! Differential operators: strategies and schemes against each other, closed forms, invariances, bad input.

use crate::cases::numbers;
use crate::jets::assert_close;
use autodiff::pde::{Coefficients, Drift, Operator, Pde, Scheme, Strategy};
use autodiff::{Array, Program, Tensor, TensorType, Tracer, Value, trace};

const STRATEGIES: [Strategy; 4] = [Strategy::Auto, Strategy::Nested, Strategy::Taylor, Strategy::Collapsed];

fn run(program: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    program.verify().unwrap();
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    program.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

fn at_points(n: usize, d: usize, f: impl FnOnce(&Tracer, &Tensor) -> Tensor) -> Program {
    trace(&[("x", TensorType::real(&[n, d]))], |t, x| vec![("f", f(t, &x[0]))]).unwrap()
}

/// A network with products, a quotient, a normalisation and several activations; two components.
fn network(n: usize, d: usize) -> Program {
    at_points(n, d, |t, x| {
        let weights = |rows: usize, columns: usize, salt: u64| {
            t.constant(&[rows, columns], numbers(&[rows, columns], salt, -0.9, 0.9).data())
        };
        let h = x.matmul(&weights(d, 7, 1)).tanh();
        let g = h.matmul(&weights(7, 6, 2)).normalize(1, 1e-3).sigmoid();
        let p = x.matmul(&weights(d, 6, 3)).sin();
        let gated = &g * &p;
        let ratio = &gated / &(h.matmul(&weights(7, 6, 4)).powf(2.0) + 1.5);
        let square = gated.dot(&ratio, &[(0, 0)], &[]);
        let mixed = square.dot(&weights(6, 6, 5), &[], &[(1, 0), (2, 1)]).unsqueeze(1).broadcast_to(&[n, 2]);
        ratio.matmul(&weights(6, 2, 6)) + mixed * 0.3
    })
}

fn evaluate(f: &Program, strategy: Strategy, operator: Operator, inputs: &[Array<f64>]) -> Vec<f64> {
    let program = Pde::new(f, 0).strategy(strategy).operator("op", operator).build().unwrap();
    run(&program, inputs).remove(0).data().to_vec()
}

/// All derivatives `d_{i1 .. iK} f`, by nested forward mode along coordinate directions.
fn partial(f: &Program, axes: &[usize], x: &Array<f64>) -> Vec<f64> {
    let mut program = f.clone();
    let (n, d) = (x.shape()[0], x.shape()[1]);
    let mut inputs = vec![x.clone()];
    for &axis in axes {
        let last = program.outputs().len() - 1;
        program = program.select_outputs(&[last]).unwrap().jvp(&[0]).unwrap();
        inputs.push(Array::from_fn(&[n, d], |k| f64::from(u8::from(k % d == axis))));
    }
    run(&program, &inputs).pop().unwrap().data().to_vec()
}

fn sum_of(parts: impl Iterator<Item = (f64, Vec<f64>)>) -> Vec<f64> {
    parts.fold(Vec::new(), |sum, (c, part)| {
        if sum.is_empty() {
            part.iter().map(|x| c * x).collect()
        } else {
            sum.iter().zip(&part).map(|(s, x)| s + c * x).collect()
        }
    })
}

#[test]
fn second_order_operators_are_sums_of_partial_derivatives() {
    for d in [1, 2, 4] {
        let f = network(3, d);
        let x = numbers(&[3, d], 9, -1.0, 1.0);
        let laplacian = sum_of((0..d).map(|i| (1.0, partial(&f, &[i, i], &x))));
        let a: Vec<f64> = numbers(&[d, d], 21, -1.0, 1.0).data().to_vec();
        let pairs = || (0..d * d).map(|k| (k / d, k % d));
        let weighted = sum_of(pairs().map(|(i, j)| (0.5 * (a[i * d + j] + a[j * d + i]), partial(&f, &[i, j], &x))));
        let sigma = numbers(&[d, 2], 23, -1.0, 1.0);
        let s = |i: usize, r: usize| sigma.data()[2 * i + r];
        let drift = numbers(&[d], 24, -1.0, 1.0);
        let first = sum_of((0..d).map(|i| (drift.data()[i], partial(&f, &[i], &x))));
        let second = sum_of(pairs().map(|(i, j)| (s(i, 0) * s(j, 0) + s(i, 1) * s(j, 1), partial(&f, &[i, j], &x))));
        let drifting: Vec<f64> = first.iter().zip(&second).map(|(p, q)| p + q).collect();
        for strategy in STRATEGIES {
            let what = format!("{strategy:?} in {d}");
            assert_close(
                &what,
                &evaluate(&f, strategy, Operator::Laplacian, std::slice::from_ref(&x)),
                &laplacian,
                1e-11,
            );
            let operator = Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(a.clone()), drift: None };
            assert_close(&what, &evaluate(&f, strategy, operator, std::slice::from_ref(&x)), &weighted, 1e-11);
            let operator = Operator::WeightedLaplacian {
                coefficients: Coefficients::Sigma { columns: 2, per_datum: false },
                drift: Some(Drift::Shared),
            };
            let inputs = [x.clone(), sigma.clone(), drift.clone()];
            assert_close(&what, &evaluate(&f, strategy, operator, &inputs), &drifting, 1e-11);
        }
    }
}

#[test]
fn per_datum_coefficients_are_the_shared_ones_of_that_datum() {
    let (n, d) = (3, 4);
    let f = network(n, d);
    let x = numbers(&[n, d], 9, -1.0, 1.0);
    let sigma = numbers(&[n, d, 2], 31, -1.0, 1.0);
    let drift = numbers(&[n, d], 32, -1.0, 1.0);
    let operator = |per_datum| Operator::WeightedLaplacian {
        coefficients: Coefficients::Sigma { columns: 2, per_datum },
        drift: Some(if per_datum { Drift::PerDatum } else { Drift::Shared }),
    };
    let all = evaluate(&f, Strategy::Auto, operator(true), &[x.clone(), sigma.clone(), drift.clone()]);
    for i in 0..n {
        let own = Array::new(&[d, 2], sigma.data()[2 * d * i..2 * d * (i + 1)].to_vec()).unwrap();
        let b = Array::new(&[d], drift.data()[d * i..d * (i + 1)].to_vec()).unwrap();
        let one = evaluate(&f, Strategy::Auto, operator(false), &[x.clone(), own, b]);
        assert_close("datum", &all[2 * i..2 * i + 2], &one[2 * i..2 * i + 2], 1e-13);
    }
}

#[test]
fn gradient_and_divergence() {
    let (n, d) = (3, 2);
    let f = network(n, d);
    let x = numbers(&[n, d], 9, -1.0, 1.0);
    let program =
        Pde::new(&f, 0).operator("gradient", Operator::Gradient).operator("div", Operator::Divergence).build().unwrap();
    let out = run(&program, std::slice::from_ref(&x));
    assert_eq!(out[0].shape(), [n, 2, d]);
    let parts: Vec<Vec<f64>> = (0..d).map(|i| partial(&f, &[i], &x)).collect();
    let gradient: Vec<f64> = (0..n * 2 * d).map(|k| parts[k % d][k / d]).collect();
    assert_close("gradient", out[0].data(), &gradient, 1e-13);
    let divergence: Vec<f64> = (0..n).map(|i| parts[0][2 * i] + parts[1][2 * i + 1]).collect();
    assert_close("divergence", out[1].data(), &divergence, 1e-13);
}

#[test]
fn biharmonic_schemes_agree() {
    for d in 1..=4 {
        let f = network(2, d);
        let x = numbers(&[2, d], 9, -1.0, 1.0);
        let pairs = (0..d * d).map(|k| (k / d, k % d));
        let truth = sum_of(pairs.map(|(i, j)| (1.0, partial(&f, &[i, i, j, j], &x))));
        for scheme in [Scheme::Auto, Scheme::Direct, Scheme::Symmetric, Scheme::Nested, Scheme::Interpolated] {
            // The interpolation weights cancel about one digit.
            let tol = if scheme == Scheme::Interpolated { 1e-11 } else { 1e-12 } * 10.0;
            for strategy in STRATEGIES {
                let got = evaluate(&f, strategy, Operator::Biharmonic(scheme), std::slice::from_ref(&x));
                assert_close(&format!("{scheme:?} {strategy:?} in {d}"), &got, &truth, tol);
            }
        }
    }
}

/// A tuple costs fewer flops than any family of jets.
#[test]
fn the_direct_scheme_is_the_cheapest() {
    let f = trace(&[("x", TensorType::real(&[1, 5])), ("w", TensorType::real(&[64, 64]))], |t, x| {
        let first = t.constant(&[5, 64], numbers(&[5, 64], 1, -1.0, 1.0).data());
        vec![("f", x[0].matmul(&first).tanh().matmul(&x[1]).tanh().matmul(&x[1]).tanh().sum(&[1]))]
    })
    .unwrap();
    let flops = |scheme, strategy| {
        Pde::new(&f, 0).strategy(strategy).operator("b", Operator::Biharmonic(scheme)).build().unwrap().flops() as f64
    };
    let direct = flops(Scheme::Direct, Strategy::Auto);
    assert!(flops(Scheme::Symmetric, Strategy::Collapsed) > 2.0 * direct);
    assert!(flops(Scheme::Interpolated, Strategy::Collapsed) > 3.0 * direct);
    assert!(flops(Scheme::Interpolated, Strategy::Taylor) > 1.2 * flops(Scheme::Interpolated, Strategy::Collapsed));
    assert!(flops(Scheme::Nested, Strategy::Collapsed) > 1.3 * direct);
}

#[test]
fn general_operators_are_sums_of_partial_derivatives() {
    let d = 3;
    let f = network(2, d);
    let x = numbers(&[2, d], 9, -1.0, 1.0);
    let expand = |alpha: &[usize]| -> Vec<usize> {
        alpha.iter().enumerate().flat_map(|(i, &n)| core::iter::repeat_n(i, n)).collect()
    };
    let operators: Vec<Vec<(Vec<usize>, f64)>> = vec![
        vec![(vec![0, 0, 0], 2.0), (vec![1, 0, 0], -1.0), (vec![0, 0, 1], 0.5)],
        vec![(vec![1, 1, 0], 1.0), (vec![0, 0, 2], 3.0), (vec![1, 0, 1], -0.25)],
        vec![(vec![2, 1, 0], 1.5), (vec![1, 1, 1], -1.0), (vec![3, 0, 0], 0.7)],
        // (Delta)(d_1 + d_2 + d_3), which factors.
        (0..9)
            .map(|k| {
                let mut alpha = vec![0; 3];
                alpha[k / 3] += 2;
                alpha[k % 3] += 1;
                (alpha, 1.0)
            })
            .collect(),
        vec![(vec![3, 1, 0], 1.0), (vec![2, 0, 2], -2.0), (vec![0, 4, 0], 0.3), (vec![2, 0, 0], 1.0)],
        (0..9)
            .map(|k| {
                let mut alpha = vec![0; 3];
                alpha[k / 3] += 2;
                alpha[k % 3] += 2;
                (alpha, 0.5)
            })
            .collect(),
    ];
    for terms in operators {
        let truth = sum_of(terms.iter().map(|(alpha, c)| (*c, partial(&f, &expand(alpha), &x))));
        for strategy in STRATEGIES {
            let got = evaluate(&f, strategy, Operator::Linear(terms.clone()), std::slice::from_ref(&x));
            assert_close(&format!("{terms:?} {strategy:?}"), &got, &truth, 1e-10);
        }
    }
    assert!(
        evaluate(&f, Strategy::Auto, Operator::Linear(Vec::new()), std::slice::from_ref(&x)).iter().all(|y| *y == 0.0)
    );
}

/// Functions whose operators are known.
#[test]
fn closed_forms() {
    let x2 = numbers(&[4, 2], 3, 0.4, 1.6);
    let x3 = numbers(&[4, 3], 4, 0.4, 1.6);
    let norm2 = |x: &Tensor| x.powf(2.0).sum(&[1]);
    let zero = [0.0; 4];
    for strategy in STRATEGIES {
        let laplacian =
            |f: &Program, x: &Array<f64>| evaluate(f, strategy, Operator::Laplacian, std::slice::from_ref(x));
        let biharmonic = |f: &Program, x: &Array<f64>| {
            evaluate(f, strategy, Operator::Biharmonic(Scheme::Auto), std::slice::from_ref(x))
        };
        let f = at_points(4, 3, |_, x| norm2(x));
        assert_close("|x|^2", &laplacian(&f, &x3), &[6.0; 4], 0.0);
        let f = at_points(4, 3, |_, x| norm2(x).powf(-0.5));
        assert_close("1/|x|", &laplacian(&f, &x3), &zero, 1e-11);
        let f = at_points(4, 2, |_, x| norm2(x).ln() * 0.5);
        assert_close("log|x|", &laplacian(&f, &x2), &zero, 1e-11);
        let f = at_points(4, 3, |_, x| norm2(x).powf(2.0));
        assert_close("|x|^4", &biharmonic(&f, &x3), &[120.0; 4], 1e-12);
        let f = at_points(4, 3, |_, x| norm2(x).sqrt());
        assert_close("|x|", &biharmonic(&f, &x3), &zero, 1e-10);
        let f = at_points(4, 2, |_, x| norm2(x) * norm2(x).ln() * 0.5);
        assert_close("|x|^2 log|x|", &biharmonic(&f, &x2), &zero, 1e-10);
        let k = [0.7, -1.1, 0.4];
        let k2: f64 = k.iter().map(|k| k * k).sum();
        let f = at_points(4, 3, |t, x| x.matmul(&t.constant(&[3], &k)).sin());
        let value = run(&f, std::slice::from_ref(&x3)).remove(0);
        let expected: Vec<f64> = value.data().iter().map(|y| -k2 * y).collect();
        assert_close("sin(k.x)", &laplacian(&f, &x3), &expected, 1e-13);
        let expected: Vec<f64> = value.data().iter().map(|y| k2 * k2 * y).collect();
        assert_close("sin(k.x)", &biharmonic(&f, &x3), &expected, 1e-12);
    }
}

/// All sign vectors together are exact: the Rademacher estimate has no bias.
#[test]
fn exhaustive_signs_give_the_laplacian() {
    let d = 4;
    let f = network(2, d);
    let x = numbers(&[2, d], 9, -1.0, 1.0);
    let samples = 1 << d;
    let signs = Array::from_fn(&[samples, d], |k| if (k / d) >> (k % d) & 1 == 1 { -1.0 } else { 1.0 });
    let exact = evaluate(&f, Strategy::Auto, Operator::Laplacian, std::slice::from_ref(&x));
    for per_datum in [false, true] {
        let v = match per_datum {
            false => signs.clone(),
            true => Array::from_fn(&[samples, 2, d], |k| signs.data()[k / (2 * d) * d + k % d]),
        };
        let operator = Operator::Directional { order: 2, directions: samples, per_datum };
        let weights = Array::from_fn(&[samples], |_| 1.0 / samples as f64);
        for strategy in STRATEGIES {
            let inputs = [x.clone(), v.clone(), weights.clone()];
            assert_close("signs", &evaluate(&f, strategy, operator.clone(), &inputs), &exact, 1e-12);
        }
    }
}

/// Fourth derivatives along all signs are three times the biharmonic but for the pure fourth derivatives, which are added.
#[test]
fn exhaustive_signs_with_the_correction_give_the_biharmonic() {
    let d = 3;
    let f = network(2, d);
    let x = numbers(&[2, d], 9, -1.0, 1.0);
    let samples = 1 << d;
    let all = samples + d;
    let directions = Array::from_fn(&[all, d], |k| match k / d {
        r if r < samples => {
            if r >> (k % d) & 1 == 1 {
                -1.0
            } else {
                1.0
            }
        }
        r => f64::from(u8::from(r - samples == k % d)),
    });
    let weights = Array::from_fn(&[all], |r| if r < samples { 1.0 / (3 * samples) as f64 } else { 2.0 / 3.0 });
    let operator = Operator::Directional { order: 4, directions: all, per_datum: false };
    let got = evaluate(&f, Strategy::Collapsed, operator, &[x.clone(), directions, weights]);
    assert_close("signs", &got, &evaluate(&f, Strategy::Auto, Operator::Biharmonic(Scheme::Auto), &[x]), 1e-11);
}

#[test]
fn vectors_are_the_published_counts() {
    let d = 5;
    let f = network(2, d);
    let count =
        |operator, strategy| Pde::new(&f, 0).strategy(strategy).operator("op", operator).costs().unwrap()[0].vectors;
    assert_eq!(count(Operator::Laplacian, Strategy::Collapsed), d + 2);
    assert_eq!(count(Operator::Laplacian, Strategy::Taylor), 1 + 2 * d);
    let biharmonic = |scheme, strategy| count(Operator::Biharmonic(scheme), strategy);
    assert_eq!(biharmonic(Scheme::Interpolated, Strategy::Taylor), 141);
    // Two fewer than the paper's 109, since one sum carries all weights.
    assert_eq!(biharmonic(Scheme::Interpolated, Strategy::Collapsed), 107);
    assert_eq!(biharmonic(Scheme::Symmetric, Strategy::Collapsed), 77);
    assert_eq!(biharmonic(Scheme::Nested, Strategy::Collapsed), 49);
    assert_eq!(biharmonic(Scheme::Auto, Strategy::Auto), 27);
}

/// The gradient in the parameters of half the squared Laplacian, against the one through nested derivatives.
#[test]
fn parameter_gradients_through_operators() {
    let (n, d, w) = (3, 2, 5);
    let f = trace(
        &[("x", TensorType::real(&[n, d])), ("w", TensorType::real(&[d, w])), ("v", TensorType::real(&[w, 1]))],
        |_, t| vec![("f", t[0].matmul(&t[1]).tanh().matmul(&t[2]))],
    )
    .unwrap();
    let gradient = |operator: Operator, strategy| {
        let op = Pde::new(&f, 0).strategy(strategy).operator("op", operator).build().unwrap();
        let ports: Vec<_> = (0..3).map(|i| (op.inputs()[i].name.as_str(), op.input_type(i).clone())).collect();
        let loss = trace(&ports, |t, x| {
            let refs: Vec<_> = x.iter().collect();
            vec![("loss", t.call(&op, &refs).remove(0).powf(2.0).sum_all() * 0.5)]
        })
        .unwrap();
        let point = [numbers(&[n, d], 1, -1.0, 1.0), numbers(&[d, w], 2, -1.0, 1.0), numbers(&[w, 1], 3, -1.0, 1.0)];
        let out = run(&loss.grad(&[1, 2]).unwrap(), &point);
        out.iter().flat_map(|a| a.data().to_vec()).collect::<Vec<f64>>()
    };
    let operators =
        [Operator::Laplacian, Operator::Biharmonic(Scheme::Direct), Operator::Linear(vec![(vec![2, 1], 1.0)])];
    for operator in operators {
        let truth = gradient(operator.clone(), Strategy::Nested);
        for strategy in [Strategy::Taylor, Strategy::Collapsed, Strategy::Auto] {
            assert_close(&format!("{operator:?}"), &gradient(operator.clone(), strategy), &truth, 1e-11);
        }
    }
}

#[test]
fn bad_requests_are_errors() {
    let f = network(2, 3);
    let build = |f: &Program, x: usize, operator: Operator| {
        Pde::new(f, x).operator("op", operator).build().map(|_| ()).unwrap_err().to_string()
    };
    assert!(build(&f, 4, Operator::Laplacian).contains("input"));
    assert!(build(&f, 0, Operator::Divergence).contains("one per coordinate"));
    assert!(build(&f, 0, Operator::Linear(vec![(vec![1, 1], 1.0)])).contains("2 entries for 3"));
    assert!(build(&f, 0, Operator::Linear(vec![(vec![1, 1, 0], f64::NAN)])).contains("NaN"));
    let matrix = |a: Vec<f64>| Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(a), drift: None };
    assert!(build(&f, 0, matrix(vec![1.0; 4])).contains("4 entries"));
    assert!(build(&f, 0, matrix(vec![f64::INFINITY; 9])).contains("inf"));
    let empty = trace(&[("x", TensorType::real(&[2, 0]))], |_, x| vec![("f", x[0].sum(&[1]))]).unwrap();
    assert!(build(&empty, 0, Operator::Laplacian).contains("D = 0"));
    let mixing = trace(&[("x", TensorType::real(&[2, 3]))], |_, x| vec![("f", x[0].sum_all())]).unwrap();
    assert!(build(&mixing, 0, Operator::Laplacian).contains("data axes"));
    let ints = trace(&[("x", TensorType::int(&[2, 3]))], |_, x| vec![("f", x[0].to_real())]).unwrap();
    assert!(build(&ints, 0, Operator::Laplacian).contains("integer"));
}

/// No direction at all is zero by every strategy.
#[test]
fn a_zero_matrix_gives_zero() {
    let f = network(2, 3);
    let x = numbers(&[2, 3], 9, -1.0, 1.0);
    for strategy in STRATEGIES {
        let operator = Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(vec![0.0; 9]), drift: None };
        assert_eq!(evaluate(&f, strategy, operator, std::slice::from_ref(&x)), [0.0; 4], "{strategy:?}");
    }
}

/// A first linear layer sees the coordinate directions as its own columns: no product is spent on them.
#[test]
fn coordinate_directions_cost_the_first_layer_nothing() {
    let (n, d, h) = (8, 6, 32);
    let ports = [("x", TensorType::real(&[n, d])), ("w", TensorType::real(&[d, h])), ("v", TensorType::real(&[h, h]))];
    let f = trace(&ports, |_, t| vec![("f", t[0].matmul(&t[1]).tanh().matmul(&t[2]).tanh().sum(&[1]))]).unwrap();
    let p = Pde::new(&f, 0).operator("laplacian", Operator::Laplacian).build().unwrap();
    let dots: u64 = p
        .nodes()
        .iter()
        .filter(|node| node.op.name().starts_with("dot"))
        .map(|node| {
            let args: Vec<&TensorType> = node.args.iter().map(|&a| &p.node(a).ty).collect();
            node.op.flops(&args, &node.ty)
        })
        .sum();
    let hidden = 2 * (n * h * h * (d + 2)) as u64;
    assert!(dots <= hidden + 2 * (n * d * h + d * d * h) as u64, "{dots} against {hidden}\n{p}");
}

/// Points that enter through a narrow layer alone: as many directions as it is wide, the same values and gradients, fewer flops.
#[test]
fn directions_beyond_the_first_layers_width_are_compressed() {
    let (n, d, h) = (3, 24, 4);
    let ports = [
        ("x", TensorType::real(&[n, d])),
        ("w", TensorType::real(&[h, d])),
        ("v", TensorType::real(&[h, 9])),
        ("u", TensorType::real(&[9, 2])),
    ];
    let net = |skip: bool| {
        trace(&ports, |_, t| {
            let h = t[0].matmul(&t[1].t()).tanh().matmul(&t[2]).sin();
            let ratio = &h / &(h.powf(2.0) + 1.5) * &h.sigmoid();
            let f = ratio.normalize(1, 1e-2).matmul(&t[3]);
            vec![("f", if skip { f + t[0].powf(3.0).sum(&[1]).unsqueeze(1) * 0.01 } else { f })]
        })
        .unwrap()
    };
    let (f, skipping) = (net(false), net(true));
    let point: Vec<Array<f64>> = ports.iter().zip(1..).map(|((_, ty), k)| numbers(&ty.shape, k, -0.6, 0.6)).collect();
    let a: Vec<f64> = numbers(&[d, d], 21, -1.0, 1.0).data().to_vec();
    let matrix = Coefficients::Matrix(a);
    let sigma = Coefficients::Sigma { columns: 7, per_datum: false };
    let cases: [(Operator, Vec<Vec<usize>>, usize); 5] = [
        (Operator::Laplacian, vec![], h),
        (Operator::WeightedLaplacian { coefficients: matrix, drift: Some(Drift::PerDatum) }, vec![vec![n, d]], h),
        (Operator::WeightedLaplacian { coefficients: sigma, drift: Some(Drift::Shared) }, vec![vec![d, 7], vec![d]], h),
        (Operator::Directional { order: 2, directions: 9, per_datum: false }, vec![vec![9, d], vec![9]], h),
        // Every datum has directions of its own: they stay.
        (Operator::Directional { order: 2, directions: 9, per_datum: true }, vec![vec![9, n, d], vec![9]], 9),
    ];
    for (operator, more, width) in cases {
        let what = format!("{operator:?}").chars().take(40).collect::<String>();
        let make = |f: &Program, strategy| {
            let pde = Pde::new(f, 0).strategy(strategy).operator("op", operator.clone());
            (pde.build().unwrap(), pde.costs().unwrap()[0].vectors)
        };
        let (truth, _) = make(&f, Strategy::Taylor);
        let mut inputs = point.clone();
        inputs.extend(more.iter().zip(51..).map(|(s, k)| numbers(s, k, -0.8, 0.8)));
        let slopes = |p: &Program| {
            let mut inputs = inputs.clone();
            inputs.push(numbers(&[n, 2], 91, -1.0, 1.0));
            let wrt: Vec<usize> = (1..inputs.len() - 1).collect();
            run(&p.vjp(&wrt).unwrap(), &inputs)
        };
        for strategy in [Strategy::Collapsed, Strategy::Auto] {
            let (p, vectors) = make(&f, strategy);
            assert_eq!(vectors, 2 + width, "{what} {strategy:?}");
            for (got, expected) in slopes(&p).iter().zip(slopes(&truth)) {
                assert_close(&what, got.data(), expected.data(), 1e-11);
            }
        }
    }
    // A second reader of the points sees every coordinate.
    let p = Pde::new(&skipping, 0).strategy(Strategy::Collapsed).operator("op", Operator::Laplacian);
    assert_eq!(p.costs().unwrap()[0].vectors, 2 + d);
}

/// 10 vectors and a product with the form for each nonlinearity, in the place of 66 and of 129 vectors.
#[test]
fn compressed_directions_cost_what_the_first_layers_width_does() {
    let (n, d, h, w) = (64, 64, 8, 32);
    let ports = [
        ("x", TensorType::real(&[n, d])),
        ("w", TensorType::real(&[d, h])),
        ("v", TensorType::real(&[h, w])),
        ("u", TensorType::real(&[w, w])),
    ];
    let flops = |skip: bool, strategy| {
        let f = trace(&ports, |_, t| {
            let f = t[0].matmul(&t[1]).tanh().matmul(&t[2]).tanh().matmul(&t[3]).tanh().matmul(&t[3]).tanh().sum(&[1]);
            vec![("f", if skip { f + t[0].sum(&[1]) } else { f })]
        })
        .unwrap();
        Pde::new(&f, 0).strategy(strategy).operator("op", Operator::Laplacian).build().unwrap().flops() as f64
    };
    let compressed = flops(false, Strategy::Collapsed);
    assert!(compressed < 0.3 * flops(true, Strategy::Collapsed));
    assert!(compressed < 0.15 * flops(false, Strategy::Taylor));
    assert_eq!(compressed, flops(false, Strategy::Auto));
}

/// Every strategy's needs: what collapsing and the direct scheme save is saved in memory too.
#[test]
fn collapsing_saves_memory() {
    let (n, d, h) = (8, 10, 48);
    let ports = [("x", TensorType::real(&[n, d])), ("w", TensorType::real(&[d, h])), ("v", TensorType::real(&[h, h]))];
    let f = trace(&ports, |_, t| vec![("f", t[0].matmul(&t[1]).tanh().matmul(&t[2]).tanh().sum(&[1]))]).unwrap();
    let all = Pde::new(&f, 0).operator("laplacian", Operator::Laplacian).footprints::<f64>(&[1, 2]).unwrap();
    let of = |s: Strategy| all.iter().find(|f| f.strategy == s).unwrap();
    let (taylor, collapsed) = (of(Strategy::Taylor), of(Strategy::Collapsed));
    assert_eq!((of(Strategy::Nested).vectors, taylor.vectors, collapsed.vectors), (22, 21, 12));
    assert!(collapsed.bytes < taylor.bytes && collapsed.flops < taylor.flops, "{all:?}");
    assert!(collapsed.gradient_bytes < taylor.gradient_bytes && collapsed.gradient_flops < taylor.gradient_flops);
    assert!(all.iter().all(|f| f.gradient_bytes > f.bytes && f.gradient_flops > 2 * f.flops), "{all:?}");
    assert!(Pde::new(&f, 0).operator("l", Operator::Laplacian).footprints::<f64>(&[7]).is_err());
}

/// What is chosen without being asked for: reverse mode for the gradient of few components, forward mode where the gradient
/// comes with a Laplacian anyway or has many components, collapsed Taylor mode and tuples for the rest; the values are the same.
#[test]
fn the_cheapest_program_is_chosen() {
    let net = |n: usize, d: usize, c: usize| {
        let w = 40;
        let weights = |a: usize, b: usize, salt: u64| numbers(&[a, b], salt, -0.9, 0.9);
        let (w1, w2, w3) = (weights(d, w, 1), weights(w, w, 2), weights(w, c, 3));
        at_points(n, d, |t, x| {
            let of = |a: &Array<f64>| t.constant(a.shape(), a.data());
            x.matmul(&of(&w1)).tanh().matmul(&of(&w2)).tanh().matmul(&of(&w3))
        })
    };
    let flops = |f: &Program, strategy, list: &[Operator]| {
        let pde = Pde::new(f, 0).strategy(strategy);
        let pde = list.iter().enumerate().fold(pde, |p, (i, op)| p.operator(format!("o{i}"), op.clone()));
        pde.build().unwrap().flops()
    };
    for n in [1, 16] {
        let (one, many) = (net(n, 12, 1), net(n, 3, 20));
        let alone = &[Operator::Gradient][..];
        assert!(3 * flops(&one, Strategy::Auto, alone) < flops(&one, Strategy::Collapsed, alone));
        assert_eq!(flops(&many, Strategy::Auto, alone), flops(&many, Strategy::Collapsed, alone));
        let (both, plane) = (&[Operator::Laplacian, Operator::Gradient][..], net(n, 2, 1));
        assert_eq!(flops(&plane, Strategy::Auto, both), flops(&plane, Strategy::Collapsed, both));
        let second = &[Operator::Laplacian][..];
        assert_eq!(flops(&one, Strategy::Auto, second), flops(&one, Strategy::Collapsed, second));
        let fourth = flops(&net(n, 3, 1), Strategy::Auto, &[Operator::Biharmonic(Scheme::Auto)]);
        assert_eq!(fourth, flops(&net(n, 3, 1), Strategy::Auto, &[Operator::Biharmonic(Scheme::Direct)]));
        let x = numbers(&[n, 12], 5, -1.0, 1.0);
        let gradient = |s| evaluate(&one, s, Operator::Gradient, std::slice::from_ref(&x));
        assert_close("gradient", &gradient(Strategy::Auto), &gradient(Strategy::Collapsed), 1e-13);
        let x = numbers(&[n, 3], 5, -1.0, 1.0);
        let f = net(n, 3, 2);
        let gradient = |s| evaluate(&f, s, Operator::Gradient, std::slice::from_ref(&x));
        assert_close("gradient", &gradient(Strategy::Auto), &gradient(Strategy::Nested), 1e-13);
    }
}

/// For one datum the weights are most of what is read, and a forward pass reads them once; for eight the reverse pass has less to do. A chunk that
/// is smaller than the others must not be evaluated in another way, or bits would depend on its size.
#[test]
fn the_choice_does_not_depend_on_the_number_of_data() {
    let (d, w) = (3, 64);
    let weights = |a: usize, b: usize, salt: u64| numbers(&[a, b], salt, -0.4, 0.4);
    let (w1, w2, w3) = (weights(d, w, 1), weights(w, w, 2), weights(w, 1, 3));
    let net = |n: usize| {
        at_points(n, d, |t, x| {
            let of = |a: &Array<f64>| t.constant(a.shape(), a.data());
            x.matmul(&of(&w1)).tanh().matmul(&of(&w2)).tanh().matmul(&of(&w3))
        })
    };
    let x = numbers(&[8, d], 5, -1.0, 1.0);
    for operator in [Operator::Gradient, Operator::Laplacian, Operator::Biharmonic(Scheme::Auto)] {
        let of = |n: usize| {
            let x = Array::new(&[n, d], x.data()[..n * d].to_vec()).unwrap();
            evaluate(&net(n), Strategy::Auto, operator.clone(), &[x])
        };
        let all = of(8);
        for n in [1, 2, 3, 5] {
            let few = of(n);
            assert!(few.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits()), "{operator:?} {n}");
        }
    }
}
