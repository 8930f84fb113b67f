//! Identities of Taylor mode, and the tests that hold them.
//!
//! | identity | test |
//! |---|---|
//! | towers = recurrences, every primitive, orders 0 to 8 | `jets::towers_and_recurrences_agree` |
//! | jets = nested forward derivatives along a curve | `jets::jets_are_nested_forward_derivatives` |
//! | series of exp, log, sin, 1/(1-t), powers, tanh | `jets::closed_forms` |
//! | algebra of jets, sums of softmax, moments of normalised rows, chain rule | `algebra_of_jets`, `rows_of_softmax_and_normalisation`, `jets_compose` |
//! | `x_k -> c^k x_k` gives `y_k -> c^k y_k` | `jets::faster_curves_scale_by_powers` |
//! | lower orders do not depend on the highest | `truncation_changes_no_bit` |
//! | collapsed = weighted sum of standard, signed weights | `jets::collapsed_jets_are_sums_of_standard_ones`, `jets::collapsed_is_standard_on_random_programs` |
//! | rewritten = direct, flops within 1.02 | `collapse::rewritten_is_direct`, `collapse::rewritten_perceptrons_cost_what_direct_ones_do` |
//! | operators = sums of nested partial derivatives | `pde::second_order_operators_are_sums_of_partial_derivatives`, `pde::general_operators_are_sums_of_partial_derivatives` |
//! | harmonic and biharmonic functions, `|x|^2`, `|x|^4`, plane waves | `pde::closed_forms`, `polynomials_without_laplacian` |
//! | rotations, permutations, opposite pairs, scaled directions | `families_that_stand_for_one_operator` |
//! | biharmonic schemes A, B, C and nested agree | `pde::biharmonic_schemes_agree` |
//! | interpolation weights, binomials, exactness of families | `pde::{interpolate, rational, family}` (unit tests) |
//! | operators of polynomials, differentiated by hand | `operators_of_polynomials` |
//! | Rademacher directions: exact mean and variance over all signs | `pde::exhaustive_signs_give_the_laplacian`, `pde::exhaustive_signs_with_the_correction_give_the_biharmonic`, `the_variance_over_all_signs` |
//! | what sums stop at, what the rewrite may not touch | `collapse::sums_that_must_stay_stay` |
//! | variances and means of estimates from random directions | `estimates` |
//! | gradients of functions of operators = central differences | `functionals::gradients_are_central_differences` |
//! | taps through operators: all gradients; the recursions of the forward Laplacian and its reverse pass | `streams` |
//! | compressed directions = all of them | `pde::directions_beyond_the_first_layers_width_are_compressed` |
//! | reverse mode through operators; in the weights | `pde::parameter_gradients_through_operators`, `the_slope_in_a_weight_is_its_direction` |
//! | the Laplacian by one cotangent per activation | `the_adjoint_form` |
//! | chunks and threads change no bit | `chunks::results_do_not_depend_on_chunks_or_threads` |
//! | f32 against f64 on the wide network | `single_precision_on_the_wide_network` |
//! | R = 0, K = 0, roots at zero, constants, NaN, ReLU | `jets::without_directions_the_sum_is_a_tangent`, `jets::order_zero_is_the_program_itself`, `jets::roots_at_zero`, `edges` |

use crate::cases::{all, numbers};
use crate::jets::assert_close;
use autodiff::nn::Sequential;
use autodiff::pde::{Coefficients, Operator, Pde, Scheme, Strategy};
use autodiff::{Array, Expansion, Jet, Program, Tensor, TensorType, Value, trace};
use numerics::Scalar;

fn run(program: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    let inputs: Vec<Value<f64>> = inputs.iter().cloned().map(Value::from).collect();
    program.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

/// Orders 0 to `order` of a function of `u` and `v` `[2, 3]` along two curves.
fn series(order: usize, f: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Vec<Array<f64>> {
    let ports = [("u", TensorType::real(&[2, 3])), ("v", TensorType::real(&[2, 3]))];
    let p = trace(&ports, |_, x| vec![("y", f(&x[0], &x[1]))]).unwrap();
    let mut inputs = vec![numbers(&[2, 3], 1, 0.6, 1.7), numbers(&[2, 3], 2, 0.6, 1.7)];
    for k in 0..2 * order as u64 {
        inputs.push(numbers(&[2, 2, 3], 3 + k, -1.0, 1.0));
    }
    run(&p.jet(&[0, 1], &Jet::new(order, 2)).unwrap(), &inputs)
}

#[test]
fn algebra_of_jets() {
    type F = fn(&Tensor, &Tensor) -> Tensor;
    let pairs: [(&str, F, F); 8] = [
        ("(u v) u = u (v u)", |u, v| (u * v) * u, |u, v| u * (v * u)),
        ("u / v v = u", |u, v| (u / v) * v, |u, _| u.clone()),
        ("exp log u = u", |u, _| u.ln().exp(), |u, _| u.clone()),
        ("sqrt(u)^2 = u", |u, _| u.sqrt().powf(2.0), |u, _| u.clone()),
        ("sin^2 + cos^2 = 1", |u, _| u.sin().powf(2.0) + u.cos().powf(2.0), |u, _| u * 0.0 + 1.0),
        ("log(u v)", |u, v| (u * v).ln(), |u, v| u.ln() + v.ln()),
        ("tanh by exp", |u, _| u.tanh(), |u, _| 1.0 - ((u * 2.0).exp() + 1.0).recip() * 2.0),
        ("u^1.5 u^0.5 = u^2", |u, _| u.powf(1.5) * u.powf(0.5), |u, _| u.powf(2.0)),
    ];
    for (name, f, g) in pairs {
        for (k, (a, b)) in series(5, f).iter().zip(series(5, g)).enumerate() {
            assert_close(&format!("{name}, order {k}"), a.data(), b.data(), 1e-12);
        }
    }
}

/// Rows of a softmax add up to one, normalised rows have mean 0 and mean square 1: to every order, relative to the terms that cancel.
/// (Absolutely the fifth derivatives are off by up to 1e-9, since their terms are a million times larger than one.)
#[test]
fn rows_of_softmax_and_normalisation() {
    let order = 5;
    let softmax = series(order, |u, v| (u * v).softmax());
    let rows = series(order, |u, v| (u * v).normalize(1, 0.0));
    let binomial = |n: usize, k: usize| (1..=k).fold(1.0, |c, i| c * (n + 1 - i) as f64 / i as f64);
    // Of the last three entries each: their terms' sum, and the sum of the terms' magnitudes.
    let check = |what: &str, k: usize, terms: &[f64], expected: f64| {
        let (sum, size): (f64, f64) = (terms.iter().sum(), terms.iter().map(|x| x.abs()).sum());
        assert!((sum - expected).abs() <= 1e-12 * size.max(1.0), "{what}, order {k}: {sum} of terms {size}");
    };
    for k in 0..=order {
        let one = f64::from(u8::from(k == 0));
        for row in softmax[k].data().chunks_exact(3) {
            check("softmax", k, row, one);
        }
        for (r, row) in rows[k].data().chunks_exact(3).enumerate() {
            check("mean", k, row, 0.0);
            // The value has no axis over the two directions.
            let of = |j: usize, i: usize| {
                let all = rows[j].data();
                all[if j == 0 { (3 * r + i) % all.len() } else { 3 * r + i }]
            };
            let pairs = (0..=k).flat_map(|j| (0..3).map(move |i| (j, i)));
            let terms: Vec<f64> = pairs.map(|(j, i)| binomial(k, j) * of(j, i) * of(k - j, i) / 3.0).collect();
            check("square", k, &terms, one);
        }
    }
}

/// The jet of a composition is the composition of the jets.
#[test]
fn jets_compose() {
    let order = 4;
    let inner = trace(&[("x", TensorType::real(&[3]))], |_, x| vec![("y", (&x[0] * &x[0].sin()).exp())]).unwrap();
    let outer =
        trace(&[("y", TensorType::real(&[3]))], |_, y| vec![("z", (y[0].ln_1p() * y[0].tanh()).cos())]).unwrap();
    let whole = trace(&[("x", TensorType::real(&[3]))], |t, x| {
        let y = t.call(&inner, &[&x[0]]).remove(0);
        vec![("z", t.call(&outer, &[&y]).remove(0))]
    })
    .unwrap();
    let jet = |p: &Program| p.jet(&[0], &Jet::new(order, 2)).unwrap();
    let mut inputs = vec![numbers(&[3], 1, -1.0, 1.0)];
    inputs.extend((0..order as u64).map(|k| numbers(&[2, 3], 5 + k, -1.0, 1.0)));
    let at_once = run(&jet(&whole), &inputs);
    let in_turn = run(&jet(&outer), &run(&jet(&inner), &inputs));
    for k in 0..=order {
        assert_close(&format!("order {k}"), in_turn[k].data(), at_once[k].data(), 1e-12);
    }
}

#[test]
fn truncation_changes_no_bit() {
    for c in all() {
        let wrt: Vec<usize> = (0..c.inputs.len()).collect();
        let jet = |order: usize| {
            let mut inputs = c.inputs.clone();
            for k in 1..=order as u64 {
                for x in &c.inputs {
                    let shape: Vec<usize> = core::iter::once(2).chain(x.shape().iter().copied()).collect();
                    inputs.push(numbers(&shape, 40 + k, -1.0, 1.0));
                }
            }
            run(&c.program.jet(&wrt, &Jet::new(order, 2).expansion(Expansion::Recurrences)).unwrap(), &inputs)
        };
        let (short, long) = (jet(3), jet(6));
        for k in 0..=3 {
            let bits = |a: &Array<f64>| a.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&short[k]) == bits(&long[k]), "{} order {k}", c.name);
        }
    }
}

const STRATEGIES: [Strategy; 4] = [Strategy::Auto, Strategy::Nested, Strategy::Taylor, Strategy::Collapsed];

fn evaluate(f: &Program, strategy: Strategy, operator: Operator, inputs: &[Array<f64>]) -> Vec<f64> {
    let program = Pde::new(f, 0).strategy(strategy).operator("op", operator).build().unwrap();
    run(&program, inputs).remove(0).data().to_vec()
}

fn at_points(n: usize, d: usize, f: impl FnOnce(&Tensor) -> Tensor) -> Program {
    trace(&[("x", TensorType::real(&[n, d]))], |_, x| vec![("f", f(&x[0]))]).unwrap()
}

fn column(x: &Tensor, i: usize) -> Tensor {
    x.slice(1, i, i + 1).sum(&[1])
}

#[test]
fn polynomials_without_laplacian() {
    let x = numbers(&[4, 2], 3, -1.5, 1.5);
    // Re (x + iy)^5 is harmonic, a cubic polynomial is biharmonic.
    let re = at_points(4, 2, |x| {
        let (a, b) = (column(x, 0), column(x, 1));
        a.powf(5.0) - a.powf(3.0) * b.powf(2.0) * 10.0 + &a * &b.powf(4.0) * 5.0
    });
    let cubic = at_points(4, 2, |x| {
        let (a, b) = (column(x, 0), column(x, 1));
        a.powf(3.0) * 2.0 - a.powf(2.0) * &b + &a * &b * 0.5 - b.powf(3.0)
    });
    for strategy in STRATEGIES {
        let x = std::slice::from_ref(&x);
        assert_close("harmonic", &evaluate(&re, strategy, Operator::Laplacian, x), &[0.0; 4], 1e-11);
        let op = Operator::Biharmonic(Scheme::Auto);
        assert_close("biharmonic", &evaluate(&cubic, strategy, op, x), &[0.0; 4], 1e-11);
    }
}

/// A smooth function that is not a sum over coordinates.
fn smooth(n: usize, d: usize) -> Program {
    let ports = [("x", TensorType::real(&[n, d]))];
    trace(&ports, |t, x| {
        let w = t.constant(&[d, 6], numbers(&[d, 6], 21, -0.9, 0.9).data());
        let h = x[0].matmul(&w).tanh();
        vec![("f", (&h * &x[0].matmul(&w).sin()).sum(&[1]))]
    })
    .unwrap()
}

/// `sum_r w_r d^order f[v_r]`.
fn directional(f: &Program, order: usize, x: &Array<f64>, v: &[Vec<f64>], w: &[f64]) -> Vec<f64> {
    let d = x.shape()[1];
    let directions = Array::new(&[v.len(), d], v.concat()).unwrap();
    let weights = Array::new(&[w.len()], w.to_vec()).unwrap();
    let operator = Operator::Directional { order, directions: v.len(), per_datum: false };
    evaluate(f, Strategy::Collapsed, operator, &[x.clone(), directions, weights])
}

#[test]
fn families_that_stand_for_one_operator() {
    let (n, d) = (3, 3);
    let (f, x) = (smooth(n, d), numbers(&[n, d], 4, -1.0, 1.0));
    let unit = |i: usize| (0..d).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>();
    let laplacian = evaluate(&f, Strategy::Auto, Operator::Laplacian, std::slice::from_ref(&x));
    // Rows of a rotation.
    let (c, s) = (0.6, 0.8);
    let rotated = vec![vec![c, s, 0.0], vec![-s * 0.8, c * 0.8, 0.6], vec![s * 0.6, -c * 0.6, 0.8]];
    assert_close("rotated", &directional(&f, 2, &x, &rotated, &[1.0; 3]), &laplacian, 1e-12);
    let permuted = [unit(2), unit(0), unit(1)];
    assert_close("permuted", &directional(&f, 2, &x, &permuted, &[1.0; 3]), &laplacian, 1e-12);
    let v = vec![0.3, -0.7, 1.1];
    let pairs = [unit(0), v.clone(), unit(1), unit(2), v.clone()];
    assert_close("pair", &directional(&f, 2, &x, &pairs, &[1.0, 2.5, 1.0, 1.0, -2.5]), &laplacian, 1e-12);
    for order in 1..=4 {
        let (scale, base) = (-1.7f64, directional(&f, order, &x, std::slice::from_ref(&v), &[0.9]));
        let longer: Vec<f64> = v.iter().map(|x| scale * x).collect();
        let got = directional(&f, order, &x, &[longer], &[0.9 / scale.powi(order as i32)]);
        assert_close("scaled", &got, &base, 1e-12);
    }
    // sigma and sigma Q give one matrix.
    let sigma = |rows: &[Vec<f64>]| Array::from_fn(&[d, d], |k| 1.3 * rows[k % d][k / d]);
    let weighted = |rows: &[Vec<f64>]| {
        let coefficients = Coefficients::Sigma { columns: d, per_datum: false };
        evaluate(
            &f,
            Strategy::Auto,
            Operator::WeightedLaplacian { coefficients, drift: None },
            &[x.clone(), sigma(rows)],
        )
    };
    assert_close("sigma Q", &weighted(&rotated), &weighted(&permuted), 1e-12);
}

/// `d^alpha x^beta` by hand.
#[test]
fn operators_of_polynomials() {
    let d = 3;
    let x = numbers(&[2, d], 8, -1.4, 1.4);
    let digit = |salt: u64, i: usize| (salt.wrapping_mul(2654435761).wrapping_add(i as u64 * 40503) >> 7) as usize;
    for salt in 1..=12u64 {
        let beta: Vec<Vec<usize>> = (0..3).map(|m| (0..d).map(|i| digit(salt, 5 * m + i) % 3).collect()).collect();
        let order = 1 + digit(salt, 77) % 4;
        let terms: Vec<(Vec<usize>, f64)> = (0..3)
            .map(|t| {
                let mut alpha = vec![0; d];
                (0..order).for_each(|k| alpha[digit(salt, 100 + 9 * t + k) % d] += 1);
                (alpha, (digit(salt, 200 + t) % 7) as f64 - 3.0)
            })
            .collect();
        let f = at_points(2, d, |x| {
            let monomial = |b: &Vec<usize>| {
                b.iter().enumerate().fold(column(x, 0) * 0.0 + 1.0, |p, (i, &n)| p * column(x, i).powf(n as f64))
            };
            beta.iter().zip([1.0, -2.0, 0.5]).fold(column(x, 0) * 0.0, |s, (b, c)| s + monomial(b) * c)
        });
        let truth: Vec<f64> = (0..2)
            .map(|row| {
                let at = &x.data()[row * d..(row + 1) * d];
                let one = |alpha: &[usize], b: &[usize]| -> f64 {
                    (0..d)
                        .map(|i| {
                            let falling: f64 = (0..alpha[i]).map(|k| b[i] as f64 - k as f64).product();
                            if alpha[i] > b[i] { 0.0 } else { falling * at[i].powi((b[i] - alpha[i]) as i32) }
                        })
                        .product()
                };
                let of = |alpha: &[usize]| -> f64 {
                    beta.iter().zip([1.0, -2.0, 0.5]).map(|(b, c)| c * one(alpha, b)).sum()
                };
                terms.iter().map(|(alpha, c)| c * of(alpha)).sum()
            })
            .collect();
        for strategy in STRATEGIES {
            let got = evaluate(&f, strategy, Operator::Linear(terms.clone()), std::slice::from_ref(&x));
            assert_close(&format!("{terms:?} of {beta:?}, {strategy:?}"), &got, &truth, 1e-10);
        }
    }
}

/// Over all signs the estimates `v^T H v` vary by `2 (|H|^2 - sum H_ii^2)`, exactly.
#[test]
fn the_variance_over_all_signs() {
    let d = 4;
    let (f, x) = (smooth(1, d), numbers(&[1, d], 4, -1.0, 1.0));
    let all = 1usize << d;
    let sign = |r: usize, i: usize| if r >> i & 1 == 1 { -1.0 } else { 1.0 };
    let v = Array::from_fn(&[all, 1, d], |k| sign(k / d, k % d));
    let samples = run(&f.jet(&[0], &Jet::new(2, all).straight()).unwrap(), &[x.clone(), v]).remove(2);
    let entry = |i: usize, j: usize| {
        let mut alpha = vec![0; d];
        alpha[i] += 1;
        alpha[j] += 1;
        evaluate(&f, Strategy::Nested, Operator::Linear(vec![(alpha, 1.0)]), std::slice::from_ref(&x))[0]
    };
    let expected: f64 = (0..d * d).filter(|k| k / d != k % d).map(|k| 2.0 * entry(k / d, k % d).powi(2)).sum();
    let mean = samples.data().iter().sum::<f64>() / all as f64;
    let variance = samples.data().iter().map(|y| (y - mean).powi(2)).sum::<f64>() / all as f64;
    assert!((variance / expected - 1.0).abs() < 1e-11, "{variance} against {expected}");
}

#[test]
fn the_slope_in_a_weight_is_its_direction() {
    let (n, d) = (1, 3);
    let (f, x) = (smooth(n, d), numbers(&[n, d], 4, -1.0, 1.0));
    for order in 2..=4 {
        let operator = Operator::Directional { order, directions: 2, per_datum: false };
        let p = Pde::new(&f, 0).operator("op", operator).build().unwrap();
        let (v, w) = (numbers(&[2, d], 5, -1.0, 1.0), numbers(&[2], 6, -1.0, 1.0));
        let slope =
            run(&p.vjp(&[2]).unwrap(), &[x.clone(), v.clone(), w, Array::new(&[1], vec![1.0]).unwrap()]).remove(1);
        for r in 0..2 {
            let one = directional(&f, order, &x, &[v.data()[r * d..(r + 1) * d].to_vec()], &[1.0]);
            assert_close("slope", &slope.data()[r..r + 1], &one, 1e-12);
        }
    }
}

/// `Delta f = sum over activations of <ubar, phi''(u) sum_i (d_i u)^2>`, `ubar` the ordinary cotangent of the activation's value.
#[test]
fn the_adjoint_form() {
    let (d, m) = (4, 7);
    let w = |rows: usize, columns: usize, salt: u64| numbers(&[rows, columns], salt, -0.8, 0.8);
    let (w1, w2, w3) = (w(d, m, 1), w(m, m, 2), w(m, 1, 3));
    let x = numbers(&[1, d], 4, -1.0, 1.0);
    let net = trace(&[("x", TensorType::real(&[1, d]))], |t, x| {
        let c = |a: &Array<f64>| t.constant(a.shape(), a.data());
        vec![("f", x[0].matmul(&c(&w1)).tanh().matmul(&c(&w2)).tanh().matmul(&c(&w3)))]
    })
    .unwrap();
    let laplacian = evaluate(&net, Strategy::Auto, Operator::Laplacian, std::slice::from_ref(&x))[0];
    let product = |v: &[f64], a: &Array<f64>| -> Vec<f64> {
        let columns = a.shape()[1];
        (0..columns).map(|j| v.iter().enumerate().map(|(i, v)| v * a.data()[i * columns + j]).sum()).collect()
    };
    let u1 = product(x.data(), &w1);
    let t1: Vec<f64> = u1.iter().map(|u| u.tanh()).collect();
    let t2: Vec<f64> = product(&t1, &w2).iter().map(|u| u.tanh()).collect();
    let (mut q1, mut q2) = (vec![0.0; m], vec![0.0; m]);
    for i in 0..d {
        let unit: Vec<f64> = (0..d).map(|j| f64::from(u8::from(i == j))).collect();
        let du1 = product(&unit, &w1);
        let dh1: Vec<f64> = du1.iter().zip(&t1).map(|(u, t)| u * (1.0 - t * t)).collect();
        let du2 = product(&dh1, &w2);
        q1.iter_mut().zip(&du1).for_each(|(q, u)| *q += u * u);
        q2.iter_mut().zip(&du2).for_each(|(q, u)| *q += u * u);
    }
    let curved = |t: f64| -2.0 * t * (1.0 - t * t);
    let second: f64 = (0..m).map(|j| w3.data()[j] * curved(t2[j]) * q2[j]).sum();
    let back = |i: usize| (0..m).map(|j| w2.data()[i * m + j] * (1.0 - t2[j] * t2[j]) * w3.data()[j]).sum::<f64>();
    let first: f64 = (0..m).map(|i| back(i) * curved(t1[i]) * q1[i]).sum();
    assert!((first + second - laplacian).abs() <= 1e-12 * laplacian.abs().max(1.0), "{} {laplacian}", first + second);
}

fn wide<T: Scalar>(d: usize, operator: &Operator) -> Vec<f64> {
    let layer = |a: usize, b: usize| format!(r#"{{"type": "linear", "in": {a}, "out": {b}, "bias": true}}"#);
    let widths = [d, 768, 768, 512, 512, 1];
    let layers: Vec<String> = widths.windows(2).map(|w| layer(w[0], w[1])).collect();
    let layers = layers.join(r#", {"type": "tanh"}, "#);
    let text = format!(r#"{{"model_type": "sequential", "input": [{d}], "layers": [{layers}]}}"#);
    let model = Sequential::from_json(&text).unwrap();
    let program = model.trace_model(2).unwrap();
    let exe = Pde::new(&program, 1).operator("op", operator.clone()).build().unwrap().compile::<T>().unwrap();
    // Both types get the numbers of the narrower one.
    let round = |x: f64| T::from_f64(f64::from(x as f32));
    let params: Vec<T> = model.init::<f64>(0).into_iter().map(round).collect();
    let x: Vec<T> = numbers(&[2, d], 1, 0.0, 1.0).data().iter().map(|&x| round(x)).collect();
    let inputs =
        [Value::Real(Array::new(&[params.len()], params).unwrap()), Value::Real(Array::new(&[2, d], x).unwrap())];
    exe.call(&inputs).unwrap()[0].real().unwrap().data().iter().map(|y| y.to_f64()).collect()
}

#[test]
fn single_precision_on_the_wide_network() {
    for (d, operator, tol) in [(50, Operator::Laplacian, 2e-4), (5, Operator::Biharmonic(Scheme::Direct), 2e-5)] {
        let (single, double) = (wide::<f32>(d, &operator), wide::<f64>(d, &operator));
        for (s, t) in single.iter().zip(&double) {
            assert!((s - t).abs() <= tol * t.abs(), "{operator:?}: {s} against {t}");
        }
    }
}

#[test]
fn edges() {
    let x = numbers(&[3, 2], 4, -1.0, 1.0);
    let constant =
        trace(&[("x", TensorType::real(&[3, 2]))], |t, _| vec![("f", t.constant(&[3], &[1.0, 2.0, 3.0]))]).unwrap();
    let relu = at_points(3, 2, |x| (x * 3.0).relu().sum(&[1]));
    let cube = at_points(3, 2, |x| x.powf(3.0).sum(&[1]));
    let one = at_points(3, 1, |x| x.sin().sum(&[1]));
    let mut poisoned = x.data().to_vec();
    poisoned[2] = f64::NAN;
    let poisoned = Array::new(&[3, 2], poisoned).unwrap();
    let skew =
        Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(vec![1.0, 5.0, -3.0, 2.0]), drift: None };
    let even =
        Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(vec![1.0, 1.0, 1.0, 2.0]), drift: None };
    let mixed = at_points(3, 2, |x| (column(x, 0) * column(x, 1)).exp());
    for strategy in STRATEGIES {
        let at = std::slice::from_ref(&x);
        assert_eq!(evaluate(&constant, strategy, Operator::Laplacian, at), [0.0; 3], "{strategy:?}");
        assert_eq!(evaluate(&relu, strategy, Operator::Laplacian, at), [0.0; 3], "{strategy:?}");
        let y = evaluate(&cube, strategy, Operator::Laplacian, std::slice::from_ref(&poisoned));
        assert!(y[0].is_finite() && y[1].is_nan() && y[2].is_finite(), "{strategy:?}: {y:?}");
        let z = numbers(&[3, 1], 4, -1.0, 1.0);
        let expected: Vec<f64> = z.data().iter().map(|z| -z.sin()).collect();
        assert_close("one coordinate", &evaluate(&one, strategy, Operator::Laplacian, &[z]), &expected, 1e-14);
        // A matrix that is not symmetric counts as its symmetric part.
        let (a, b) = (evaluate(&mixed, strategy, skew.clone(), at), evaluate(&mixed, strategy, even.clone(), at));
        assert_close("symmetric part", &a, &b, 1e-13);
    }
}
