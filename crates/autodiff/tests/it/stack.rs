//! Stacked products: one per layer, the values of the single ones.

use crate::cases::numbers;
use autodiff::nn::Sequential;
use autodiff::pde::{Operator, Pde, Scheme, Strategy};
use autodiff::{Array, Program, Value, trace};

fn model(widths: &[usize]) -> Sequential {
    let layers: Vec<String> = widths
        .windows(2)
        .enumerate()
        .flat_map(|(i, w)| {
            let tanh = (i > 0).then(|| r#"{"type": "tanh"}"#.to_owned());
            tanh.into_iter().chain([format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1])])
        })
        .collect();
    let text =
        format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{}]}}"#, widths[0], layers.join(", "));
    Sequential::from_json(&text).unwrap()
}

fn operator(widths: &[usize], n: usize, strategy: Strategy, operator: Operator) -> Program {
    let model = model(widths).trace_model(n).unwrap();
    Pde::new(&model, 1).strategy(strategy).operator("op", operator).build().unwrap()
}

/// `sum op^2` and its gradient in the parameters.
fn gradient(op: &Program) -> Program {
    let ports = [("params", op.input_type(0).clone()), ("x", op.input_type(1).clone())];
    let loss = trace(&ports, |t, x| vec![("loss", t.call(op, &[&x[0], &x[1]]).swap_remove(0).powf(2.0).sum_all())]);
    loss.unwrap().value_and_grad(&[0]).unwrap().simplify().unwrap()
}

fn products(p: &Program) -> usize {
    p.nodes().iter().filter(|n| n.op.name().starts_with("dot")).count()
}

fn assert_same(p: &Program, stacked: &Program) {
    stacked.verify().unwrap();
    assert!(stacked.flops() <= p.flops());
    let inputs: Vec<Value<f64>> =
        (0..p.inputs().len()).map(|i| Value::from(numbers(&p.input_type(i).shape, 3 + i as u64, -0.7, 0.7))).collect();
    let (one, two) = (p.interpret(&inputs).unwrap(), stacked.interpret(&inputs).unwrap());
    let exe = stacked.compile::<f64>().unwrap().call(&inputs).unwrap();
    for (k, a) in one.iter().enumerate() {
        let data = |v: &Value<f64>| v.real().unwrap().data().to_vec();
        let scale = data(a).iter().fold(1e-300f64, |m, x| m.max(x.abs()));
        for b in [&two[k], &exe[k]] {
            let close = data(a).iter().zip(data(b)).all(|(x, y)| (x - y).abs() <= 1e-13 * scale);
            assert!(close, "output {k}: {:?} against {:?}", data(a), data(b));
        }
    }
}

/// Collapsed Taylor mode takes one product per layer, and its gradient two more per layer but the first.
#[test]
fn one_product_per_layer() {
    let widths = [5, 9, 8, 7, 1];
    for n in [1, 3] {
        let p = operator(&widths, n, Strategy::Collapsed, Operator::Laplacian);
        let stacked = p.stack().unwrap();
        assert!(products(&p) > 8, "{p}");
        assert_eq!(products(&stacked), 4, "{stacked}");
        assert_same(&p, &stacked);
        let p = gradient(&p);
        let stacked = p.stack().unwrap();
        assert_same(&p, &stacked);
        let few = products(&stacked) + 8 <= products(&p);
        assert!(few, "{} products of {}: {stacked}", products(&stacked), products(&p));
    }
}

#[test]
fn every_strategy_and_scheme() {
    let widths = [3, 6, 5, 2];
    let operators = [Operator::Gradient, Operator::Laplacian, Operator::Biharmonic(Scheme::Auto)];
    for strategy in [Strategy::Auto, Strategy::Collapsed, Strategy::Taylor, Strategy::Nested] {
        for op in &operators {
            let p = operator(&widths, 2, strategy, op.clone());
            assert_same(&p, &p.stack().unwrap());
            let g = gradient(&p);
            assert_same(&g, &g.stack().unwrap());
        }
    }
}

#[test]
fn stacking_twice_changes_nothing() {
    let p = gradient(&operator(&[4, 6, 5, 1], 2, Strategy::Collapsed, Operator::Laplacian));
    let once = p.stack().unwrap();
    assert_eq!(once.stack().unwrap().nodes().len(), once.nodes().len());
}

/// A product that needs the result of another with the same matrix is not stacked with it, in a chain of any kind.
#[test]
fn chains_are_left_alone() {
    let ports = [("w", autodiff::TensorType::real(&[4, 4])), ("x", autodiff::TensorType::real(&[3, 4]))];
    let f = trace(&ports, |_, t| {
        let one = t[1].matmul(&t[0]).tanh();
        let two = one.matmul(&t[0]);
        vec![("y", &two + &t[1].exp().matmul(&t[0]))]
    })
    .unwrap();
    let stacked = f.stack().unwrap();
    assert_eq!((products(&f), products(&stacked)), (3, 2), "{stacked}");
    assert_same(&f, &stacked);
    let x: Array<f64> = numbers(&[3, 4], 1, -1.0, 1.0);
    assert_eq!(x.shape(), [3, 4]);
}
