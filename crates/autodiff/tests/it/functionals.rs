//! Functions of operators: their parameter gradients against central differences.

use crate::cases::numbers;
use autodiff::pde::{Coefficients, Drift, Operator, Pde, Scheme, Strategy};
use autodiff::{Array, Program, TensorType, Value, trace};

const N: usize = 3;
const D: usize = 2;
const WIDTH: usize = 4;

/// Parameters first, then the points.
fn network() -> (Program, Vec<Array<f64>>) {
    let shapes: [&[usize]; 5] = [&[D, WIDTH], &[WIDTH], &[WIDTH, WIDTH], &[WIDTH, 1], &[N, D]];
    let ports: Vec<_> =
        shapes.iter().zip(["w1", "b1", "w2", "w3", "x"]).map(|(s, n)| (n, TensorType::real(s))).collect();
    let f = trace(&ports, |_, t| {
        let h = (t[4].matmul(&t[0]) + &t[1]).tanh().matmul(&t[2]).sigmoid();
        vec![("f", h.matmul(&t[3]))]
    })
    .unwrap();
    (f, shapes.iter().zip(41..).map(|(s, k)| numbers(s, k, -1.2, 1.2)).collect())
}

/// `1/2 sum (operator - g)^2`.
fn functional(operator: &Program) -> Program {
    let ports: Vec<_> = (0..operator.inputs().len())
        .map(|i| (operator.inputs()[i].name.as_str(), operator.input_type(i).clone()))
        .collect();
    trace(&ports, |t, x| {
        let y = t.call(operator, &x.iter().collect::<Vec<_>>()).remove(0);
        let g = t.constant(&[N, 1], numbers(&[N, 1], 77, -1.0, 1.0).data());
        vec![("loss", (y - g).powf(2.0).sum_all() * 0.5)]
    })
    .unwrap()
}

fn values(inputs: &[Array<f64>]) -> Vec<Value<f64>> {
    inputs.iter().cloned().map(Value::from).collect()
}

/// Every entry of every parameter, and of what the operator takes besides (sigma, drift, directions, weights): step 1e-5, 1e-6 relative.
#[test]
fn gradients_are_central_differences() {
    let sigma = Coefficients::Sigma { columns: 2, per_datum: true };
    let cases: [(&str, Operator, Vec<Vec<usize>>); 6] = [
        ("Laplacian", Operator::Laplacian, vec![]),
        (
            "sigma and drift",
            Operator::WeightedLaplacian { coefficients: sigma, drift: Some(Drift::Shared) },
            vec![vec![N, D, 2], vec![D]],
        ),
        ("direct biharmonic", Operator::Biharmonic(Scheme::Direct), vec![]),
        ("symmetric biharmonic", Operator::Biharmonic(Scheme::Symmetric), vec![]),
        ("third order", Operator::Linear(vec![(vec![2, 1], 1.0), (vec![0, 1], -0.5)]), vec![]),
        ("directions", Operator::Directional { order: 3, directions: 2, per_datum: false }, vec![vec![2, D], vec![2]]),
    ];
    let (f, point) = network();
    for (name, operator, more) in cases {
        let p = Pde::new(&f, 4).strategy(Strategy::Auto).operator("op", operator).build().unwrap();
        let loss = functional(&p);
        let mut inputs = point.clone();
        inputs.extend(more.iter().zip(61..).map(|(s, k)| numbers(s, k, -0.8, 0.8)));
        let wrt: Vec<usize> = (0..inputs.len()).filter(|&i| i != 4).collect();
        let gradient = loss.grad(&wrt).unwrap().interpret(&values(&inputs)).unwrap();
        let exe = loss.compile::<f64>().unwrap();
        let scale = gradient.iter().flat_map(|g| g.real().unwrap().data()).fold(1.0f64, |m, g| m.max(g.abs()));
        for (&i, g) in wrt.iter().zip(&gradient) {
            for (k, g) in g.real().unwrap().data().iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = inputs.clone();
                    let mut data = moved[i].data().to_vec();
                    data[k] += step;
                    moved[i] = Array::new(inputs[i].shape(), data).unwrap();
                    exe.call(&values(&moved)).unwrap()[0].real().unwrap().data()[0]
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - g).abs() <= 1e-6 * scale, "{name}, input {i}, entry {k}: {slope} against {g}");
            }
        }
    }
}
