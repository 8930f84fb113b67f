//! Files that went wrong on their way: configurations, tensors and stored programs, damaged at random. Whatever is
//! accepted must be usable; everything else is an error that says where.

use crate::damage::{damaged, damaged_text, edits};
use autodiff::nn::{Loss, ModelError, Sequential};
use autodiff::{Program, TensorType, trace};
use numerics::store;
use proptest::prelude::*;

const CONFIG: &str = r#"{"model_type": "sequential", "input": [2, 9, 8], "layers": [
    {"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "stride": 2, "padding": 1, "bias": false},
    {"type": "leaky_relu", "slope": 0.1}, {"type": "maxpool2d", "kernel": 2, "stride": 1},
    {"type": "avgpool2d", "kernel": 2}, {"type": "flatten"}, {"type": "layernorm", "shape": [6], "eps": 1e-5},
    {"type": "linear", "in": 6, "out": 4, "bias": true}, {"type": "softplus", "beta": 2.0}, {"type": "elu", "alpha": 0.5},
    {"type": "linear", "in": 4, "out": 3}]}"#;

const TOKENS: &str = r#"{"model_type": "sequential", "input": [5], "layers": [
    {"type": "embedding", "num": 7, "dim": 4}, {"type": "gelu_tanh"}, {"type": "linear", "in": 4, "out": 2}]}"#;

/// A model that was accepted can be described, traced, counted and differentiated, or says why not.
fn usable(model: &Sequential) {
    let again = Sequential::from_config(&model.to_config());
    assert_eq!(again.as_ref(), Ok(model), "{model:?}");
    for batch in [0, 1, 3, usize::MAX] {
        let traced = model.trace_model(batch);
        assert!(batch != 0 || traced.is_err());
        if let Ok(program) = traced {
            program.verify().unwrap();
            let _ = program.flops();
        }
        let _ = model.trace_loss(batch, &Loss::cross_entropy(), true).map(|p| p.value_and_grad(&[0]));
    }
    for layer in 0..model.layers().len() {
        let _ = model.layer_flops(layer);
    }
    assert!(model.params_from_file::<f64>(&store::File::default()).is_err() || model.params().is_empty());
}

/// Where the error says the mistake is.
fn places(e: &ModelError) -> bool {
    match e {
        ModelError::Layer { what, .. } => !what.is_empty(),
        ModelError::Config(what) => !what.is_empty(),
        ModelError::TooLarge { name, .. } | ModelError::DuplicateName { name } => !name.is_empty(),
        other => panic!("not an error of a configuration: {other}"),
    }
}

#[test]
fn sizes_beyond_counting() {
    for huge in ["4611686018427387904", "9223372036854775807", "18446744073709551615", "4294967296"] {
        for (from, to) in
            [("[2, 9, 8]", format!("[2, {huge}, {huge}]")), ("\"out\": 3, \"k", format!("\"out\": {huge}, \"k"))]
        {
            match Sequential::from_json(&CONFIG.replacen(from, &to, 1)) {
                Ok(model) => usable(&model),
                Err(e) => assert!(places(&e), "{e}"),
            }
        }
        let wide = format!(
            r#"{{"model_type": "sequential", "input": [1], "layers": [{{"type": "linear", "in": 1, "out": {huge}}}]}}"#
        );
        match Sequential::from_json(&wide) {
            Ok(model) => usable(&model),
            Err(e) => assert!(places(&e), "{e}"),
        }
    }
}

/// Programs with every kind of node that a file is likely to hold.
fn programs() -> Vec<Program> {
    let mlp = Sequential::from_json(CONFIG).unwrap().trace_loss(2, &Loss::cross_entropy(), false).unwrap();
    let ports = [("x", TensorType::real(&[3, 4])), ("i", TensorType::int(&[2]))];
    let mixed = trace(&ports, |_, t| {
        let y = t[0].gather(&t[1], 0).tanh().normalize(1, 1e-3);
        vec![("y", (&y * &y).sum(&[1])), ("z", t[0].transpose(&[1, 0]).slice(0, 1, 3).exp())]
    })
    .unwrap();
    vec![mlp.value_and_grad(&[0]).unwrap(), mixed.jvp(&[0]).unwrap(), mixed]
}

/// A stored program either does not verify, or can be transformed and compiled.
fn consistent(program: &Program) {
    if program.verify().is_err() {
        // The transformations check what they are given.
        let _ = program.compile::<f64>();
        return;
    }
    let _ = (program.to_string(), program.to_dot(), program.flops());
    let _ = program.simplify();
    if !program.inputs().is_empty() {
        let _ = program.jvp(&[0]);
        let _ = program.vjp(&[0]);
        let _ = program.vmap(2, &vec![None; program.inputs().len()]);
    }
    let _ = program.compile::<f64>();
}

proptest! {
    #[test]
    fn damaged_configurations(edits in edits(), tokens in any::<bool>()) {
        let text = damaged_text(if tokens { TOKENS } else { CONFIG }, &edits);
        match Sequential::from_json(&text) {
            Ok(model) => usable(&model),
            Err(e) => prop_assert!(places(&e), "{}", e),
        }
    }

    #[test]
    fn arbitrary_configurations(text in any::<String>(), json in "[\\[\\]{}\":,a-z0-9. -]{0,80}") {
        for text in [text, json] {
            prop_assert!(Sequential::from_json(&text).is_err());
        }
    }

    #[test]
    fn damaged_tensors(edits in edits()) {
        let model = Sequential::from_json(TOKENS).unwrap();
        let params: Vec<f64> = model.init(1);
        let bytes = damaged(&model.params_to_file(&params).unwrap().to_bytes().unwrap(), &edits);
        if let Ok(file) = store::File::parse(&bytes)
            && let Ok(read) = model.params_from_file::<f64>(&file)
        {
            prop_assert!(read.len() == params.len() && read.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn damaged_programs(which in 0usize..3, edits in edits()) {
        let text = serde_json::to_string(&programs()[which]).unwrap();
        if let Ok(program) = serde_json::from_str::<Program>(&damaged_text(&text, &edits)) {
            consistent(&program);
        }
    }
}
