//! Values made twice instead of kept: the same bits, less memory.

use crate::cases::numbers;
use crate::properties::{program, rich_step};
use autodiff::nn::Sequential;
use autodiff::pde::{Operator, Pde, Scheme, Strategy as How};
use autodiff::{Program, Value, trace};
use proptest::prelude::*;

/// The gradient of half the sum of squares of an operator of a perceptron, as it is run.
fn gradient(widths: &[usize], n: usize, how: How, operator: Operator) -> Program {
    let layer = |w: &[usize]| format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1]);
    let layers = widths.windows(2).map(layer).collect::<Vec<_>>().join(r#", {"type": "tanh"}, "#);
    let text = format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{layers}]}}"#, widths[0]);
    let model = Sequential::from_json(&text).unwrap().trace_model(n).unwrap();
    let op = Pde::new(&model, 1).strategy(how).operator("op", operator).build().unwrap();
    let ports = [("params", op.input_type(0).clone()), ("x", op.input_type(1).clone())];
    let loss = trace(&ports, |t, x| vec![("loss", t.call(&op, &[&x[0], &x[1]])[0].powf(2.0).sum_all() * 0.5)]);
    loss.unwrap().value_and_grad(&[0]).unwrap().simplify().unwrap().stack().unwrap()
}

fn bits(values: &[Value<f64>]) -> Vec<u64> {
    values.iter().filter_map(Value::real).flat_map(|a| a.data()).map(|x| x.to_bits()).collect()
}

fn inputs(p: &Program) -> Vec<Value<f64>> {
    (0..p.inputs().len()).map(|i| numbers(&p.input_type(i).shape, 3 + i as u64, -0.7, 0.7).into()).collect()
}

/// Room before and after, of a program whose results keep their bits.
fn rooms(p: &Program) -> [usize; 2] {
    let less = p.recompute().unwrap();
    less.verify().unwrap();
    let x = inputs(p);
    let [one, two] = [p, &less].map(|p| p.compile::<f64>().unwrap());
    assert_eq!(bits(&one.call(&x).unwrap()), bits(&two.call(&x).unwrap()), "{less}");
    [one.workspace_bytes(), two.workspace_bytes()]
}

/// What a linear layer multiplies is made again from what the nonlinearity before it got.
#[test]
fn gradients_of_operators_need_less_room() {
    let widths = [12, 128, 128, 96, 96, 1];
    for (how, operator, most) in [
        (How::Collapsed, Operator::Laplacian, 0.8),
        (How::Taylor, Operator::Laplacian, 0.9),
        (How::Collapsed, Operator::Biharmonic(Scheme::Symmetric), 0.85),
        (How::Auto, Operator::Biharmonic(Scheme::Direct), 0.85),
    ] {
        let [before, after] = rooms(&gradient(&widths, 8, how, operator.clone()));
        assert!((after as f64) < most * before as f64, "{how:?} {operator:?}: {after} of {before}");
    }
}

#[test]
fn values_alone_keep_nothing() {
    let p = gradient(&[4, 24, 24, 24, 1], 4, How::Collapsed, Operator::Laplacian);
    let once = p.recompute().unwrap();
    assert!(once.nodes().len() > p.nodes().len());
    // Without a way back nothing is needed late.
    let value = p.select_outputs(&[0]).unwrap();
    assert_eq!(value.recompute().unwrap().nodes().len(), value.nodes().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_gradients_keep_their_bits(steps in prop::collection::vec(rich_step(), 4..16)) {
        let p = program(&steps).value_and_grad(&[0, 1]).unwrap().simplify().unwrap();
        let less = p.recompute().unwrap();
        less.verify().unwrap();
        let x = inputs(&p);
        prop_assert_eq!(bits(&p.interpret(&x).unwrap()), bits(&less.interpret(&x).unwrap()), "{}", less);
    }
}
