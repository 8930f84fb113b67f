//! Models, losses, files: against values made by PyTorch, and against the formulas.

use autodiff::nn::{CrossEntropy, Layer, Loss, ModelError, ParamSpace, Sequential};
use autodiff::{Array, TensorType, Value, trace};
use numerics::store::{self, TensorData};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../curvature/tests/golden")
}

fn u16_at(b: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([b[at], b[at + 1]]))
}

fn u32_at(b: &[u8], at: usize) -> usize {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap()) as usize
}

/// The arrays of an uncompressed npz file, by its central directory.
fn npz(path: &Path) -> BTreeMap<String, Value<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let end = (0..bytes.len() - 21).rev().find(|&i| bytes[i..i + 4] == *b"PK\x05\x06").unwrap();
    let (count, mut at) = (u16_at(&bytes, end + 10), u32_at(&bytes, end + 16));
    let mut arrays = BTreeMap::new();
    for _ in 0..count {
        assert_eq!(u16_at(&bytes, at + 10), 0, "stored, not compressed");
        let (size, name_len) = (u32_at(&bytes, at + 24), u16_at(&bytes, at + 28));
        let local = u32_at(&bytes, at + 42);
        let name = String::from_utf8(bytes[at + 46..at + 46 + name_len].to_vec()).unwrap();
        let data = local + 30 + u16_at(&bytes, local + 26) + u16_at(&bytes, local + 28);
        arrays.insert(name.trim_end_matches(".npy").to_string(), npy(&bytes[data..data + size]));
        at += 46 + name_len + u16_at(&bytes, at + 30) + u16_at(&bytes, at + 32);
    }
    arrays
}

fn npy(bytes: &[u8]) -> Value<f64> {
    let start = 10 + u16_at(bytes, 8);
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    let words: Vec<[u8; 8]> = bytes[start..].chunks_exact(8).map(|c| c.try_into().unwrap()).collect();
    if header.contains("<f8") {
        real(&shape, words.into_iter().map(f64::from_le_bytes).collect())
    } else {
        assert!(header.contains("<i8"));
        int(&shape, words.into_iter().map(i64::from_le_bytes).collect())
    }
}

fn real(shape: &[usize], data: Vec<f64>) -> Value<f64> {
    Value::Real(Array::new(shape, data).unwrap())
}

fn int(shape: &[usize], data: Vec<i64>) -> Value<f64> {
    Value::Int(Array::new(shape, data).unwrap())
}

fn numbers(value: &Value<f64>) -> &[f64] {
    value.real().unwrap().data()
}

#[track_caller]
fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} instead of {b}");
    }
}

fn loss_of(case: &serde_json::Value, file: &store::File) -> Loss {
    let vector = |name: &str| file.get(name).map(|t| t.data.to_vec::<f64>().unwrap());
    match Loss::from_name(case["loss"].as_str().unwrap()).unwrap() {
        Loss::CrossEntropy(ce) => Loss::CrossEntropy(CrossEntropy {
            class_weights: vector("class_weights"),
            label_smoothing: case["label_smoothing"].as_f64().unwrap_or(0.0),
            ..ce
        }),
        Loss::Bce { .. } => Loss::Bce { pos_weight: vector("pos_weight") },
        other => other,
    }
}

/// Outputs, loss, gradient, Hessian and GGN products of every case against PyTorch's.
fn check_golden(folder: &str) -> usize {
    let dir = golden().join(folder);
    let (model, params) = Sequential::load::<f64>(&dir).unwrap();
    let mut cases = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        let Some(label) = stem.strip_suffix("-mean").or(stem.strip_suffix("-sum")) else { continue };
        let file = store::File::read(&path).unwrap();
        let case: serde_json::Value = serde_json::from_str(&file.metadata["case"]).unwrap();
        let expect = |name: &str| file.get(name).unwrap().data.to_vec::<f64>().unwrap();
        let data = npz(&dir.join(format!("{label}.npz")));
        let (inputs, targets) = (&data["inputs"], &data["targets"]);
        let loss = loss_of(&case, &file);
        let batch = inputs.ty().shape[0];
        let theta = real(&[params.len()], params.clone());
        let v = real(&[params.len()], expect("vector"));

        let forward = model.trace_model(batch).unwrap();
        let pushed = forward.jvp(&[0]).unwrap().interpret(&[theta.clone(), inputs.clone(), v.clone()]).unwrap();
        let outputs = &pushed[0];
        assert_close(numbers(outputs), &expect("outputs"), 1e-11, &format!("{stem} outputs"));

        loss.check_targets(&outputs.ty().shape, targets).unwrap();
        let kappa = if case["reduction"] == "mean" {
            let counts = loss.weights_program(&outputs.ty()).unwrap();
            let counts = counts.interpret(std::slice::from_ref(targets)).unwrap();
            1.0 / numbers(&counts[1]).iter().sum::<f64>()
        } else {
            1.0
        };
        let scaled = |value: &Value<f64>| numbers(value).iter().map(|x| x * kappa).collect::<Vec<f64>>();
        let weights = data.get("weights").cloned();
        let mut point = vec![theta.clone(), inputs.clone(), targets.clone()];
        point.extend(weights.clone());
        let risk = model.trace_loss(batch, &loss, weights.is_some()).unwrap();
        assert_close(&scaled(&risk.interpret(&point).unwrap()[0]), &expect("loss"), 1e-11, &format!("{stem} loss"));

        point.push(v.clone());
        let hessian = risk.grad(&[0]).unwrap().jvp(&[0]).unwrap().interpret(&point).unwrap();
        assert_close(&scaled(&hessian[0]), &expect("gradient"), 1e-10, &format!("{stem} gradient"));
        assert_close(&scaled(&hessian[1]), &expect("hessian_vector"), 1e-10, &format!("{stem} Hessian"));

        let curved = loss.program(&outputs.ty(), weights.is_some()).unwrap().grad(&[0]).unwrap().jvp(&[0]).unwrap();
        let mut at = vec![outputs.clone(), targets.clone()];
        at.extend(weights);
        at.push(pushed[1].clone());
        let curved = curved.interpret(&at).unwrap();
        let pull = forward.vjp(&[0]).unwrap();
        let ggn = pull.interpret(&[theta, inputs.clone(), curved[1].clone()]).unwrap();
        assert_close(&scaled(ggn.last().unwrap()), &expect("ggn_vector"), 1e-10, &format!("{stem} GGN"));
        cases += 1;
    }
    cases
}

#[test]
fn mlp_agrees_with_torch() {
    assert_eq!(check_golden("mlp"), 16);
}

#[test]
fn cnn_agrees_with_torch() {
    assert_eq!(check_golden("cnn"), 6);
}

#[test]
fn every_smooth_layer_agrees_with_torch() {
    assert_eq!(check_golden("zoo"), 6);
}

#[test]
fn token_ids_and_kinks_agree_with_torch() {
    assert_eq!(check_golden("tokens"), 6);
}

#[test]
fn maxima_of_windows_agree_with_torch() {
    assert_eq!(check_golden("pools"), 6);
}

fn run(layers: Vec<Layer>, shape: &[usize], params: Vec<f64>, x: Value<f64>) -> Value<f64> {
    let model = Sequential::new(shape, layers).unwrap();
    let program = model.trace_model(x.ty().shape[0]).unwrap();
    program.verify().unwrap();
    program.interpret(&[real(&[params.len()], params), x]).unwrap().remove(0)
}

#[test]
fn convolution_is_the_sum_over_a_padded_window() {
    let (c, o, k, s, p, side) = (2, 3, 3, 2, 1, 5);
    let x = crate::cases::numbers(&[2, c, side, side], 1, -1.0, 1.0);
    let theta = crate::cases::numbers(&[o * c * k * k + o], 2, -1.0, 1.0).into_data();
    let layer = Layer::Conv2d { inputs: c, outputs: o, kernel: k, stride: s, padding: p, bias: true };
    let got = run(vec![layer], &[c, side, side], theta.clone(), x.clone().into());
    assert_eq!(got.ty().shape.as_slice(), [2, 3, 3, 3]);
    let mut expected = Vec::new();
    for n in 0..2 {
        for out in 0..o {
            for (i, j) in (0..9).map(|t| (t / 3, t % 3)) {
                let mut sum = theta[o * c * k * k + out];
                for (ch, a, b) in (0..c * k * k).map(|t| (t / (k * k), t / k % k, t % k)) {
                    let (row, col) = (i * s + a, j * s + b);
                    if (p..side + p).contains(&row) && (p..side + p).contains(&col) {
                        let pixel = x.data()[((n * c + ch) * side + row - p) * side + col - p];
                        sum += theta[((out * c + ch) * k + a) * k + b] * pixel;
                    }
                }
                expected.push(sum);
            }
        }
    }
    assert_close(numbers(&got), &expected, 1e-14, "conv2d");
}

#[test]
fn pooling_and_flattening() {
    let x = real(&[1, 1, 3, 4], vec![1.0, 5.0, 2.0, 0.0, 3.0, 4.0, 9.0, 8.0, 7.0, 6.0, -1.0, -2.0]);
    let run = |layers| run(layers, &[1, 3, 4], vec![], x.clone());
    let top = run(vec![Layer::MaxPool2d { kernel: 2, stride: None }]);
    assert_eq!((top.ty().shape.as_slice(), numbers(&top)), (&[1, 1, 1, 2][..], &[5.0, 9.0][..]));
    let mean = run(vec![Layer::AvgPool2d { kernel: 2, stride: Some(1) }, Layer::Flatten {}]);
    assert_eq!(mean.ty().shape.as_slice(), [1, 6]);
    assert_eq!(numbers(&mean), [3.25, 5.0, 4.75, 5.0, 4.5, 3.5]);
}

#[test]
fn embedding_takes_tokens_and_gives_rows() {
    let layers = vec![Layer::Embedding { num: 3, dim: 2 }, Layer::Flatten {}];
    let table = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let tokens = int(&[2, 2], vec![2, 0, 1, 1]);
    let got = run(layers.clone(), &[2], table.clone(), tokens);
    assert_eq!(numbers(&got), [4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
    let program = Sequential::new(&[2], layers).unwrap().trace_model(1).unwrap();
    let outside = program.interpret(&[real(&[6], table), int(&[1, 2], vec![0, 3])]);
    assert!(outside.unwrap_err().to_string().contains("index 3 is outside 0..3"));
}

#[test]
fn activations_take_their_numbers() {
    let x = real(&[1, 3], vec![-2.0, 0.0, 1.5]);
    let at = |layer: Layer| numbers(&run(vec![layer], &[3], vec![], x.clone())).to_vec();
    assert_close(&at(Layer::Elu { alpha: 0.5 }), &[0.5 * (-2.0f64).exp_m1(), 0.0, 1.5], 1e-15, "elu");
    assert_close(&at(Layer::LeakyRelu { slope: 0.1 }), &[-0.2, 0.0, 1.5], 1e-15, "leaky_relu");
    let soft = |x: f64| (3.0 * x).exp().ln_1p() / 3.0;
    assert_close(&at(Layer::Softplus { beta: 3.0 }), &[soft(-2.0), soft(0.0), soft(1.5)], 1e-14, "softplus");
    assert_eq!(at(Layer::Identity {}), [-2.0, 0.0, 1.5]);
    assert_eq!(at(Layer::Relu {}), [0.0, 0.0, 1.5]);
}

#[test]
fn normalisation_over_several_axes() {
    let x = crate::cases::numbers(&[2, 2, 3], 3, -1.0, 1.0);
    let theta: Vec<f64> = (0..12).map(|i| if i < 6 { 2.0 } else { 0.5 }).collect();
    let got = run(vec![Layer::LayerNorm { shape: vec![2, 3], eps: 0.1 }], &[2, 3], theta, x.clone().into());
    for (datum, out) in x.data().chunks(6).zip(numbers(&got).chunks(6)) {
        let mean = datum.iter().sum::<f64>() / 6.0;
        let variance = datum.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 6.0;
        let expected: Vec<f64> = datum.iter().map(|x| 2.0 * (x - mean) / (variance + 0.1).sqrt() + 0.5).collect();
        assert_close(out, &expected, 1e-13, "layernorm");
    }
}

#[test]
fn configurations_come_back_as_written() {
    let text = r#"{"model_type": "sequential", "input": [2, 8, 8], "layers": [
        {"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "stride": 1, "padding": 1, "bias": false},
        {"type": "leaky_relu", "slope": 0.2}, {"type": "maxpool2d", "kernel": 2, "stride": 2},
        {"type": "gelu_tanh"}, {"type": "flatten"}, {"type": "layernorm", "shape": [48], "eps": 1e-6},
        {"type": "linear", "in": 48, "out": 2, "bias": true}, {"type": "elu", "alpha": 1.5}]}"#;
    let model = Sequential::from_json(text).unwrap();
    assert_eq!(model.to_config(), serde_json::from_str::<serde_json::Value>(text).unwrap());
    let names: Vec<&str> = model.params().iter().map(|p| p.name()).collect();
    assert_eq!(names, ["0.weight", "5.weight", "5.bias", "6.weight", "6.bias"]);
    assert_eq!(model.params().get("6.weight").unwrap().offset(), 54 + 48 + 48);
    assert_eq!(model.layer_of(2).map(|(i, _)| i), Some(5));
    assert_eq!(model.output_type().shape.as_slice(), [2]);
    assert_eq!(model.layer_output(4).unwrap().shape.as_slice(), [48]);
    let words: Vec<String> = model.layers().iter().map(|l| l.to_string()).collect();
    assert_eq!(words[0], "conv2d 2 -> 3, kernel 3, padding 1, no bias");
    assert_eq!(words[1..4], ["leaky_relu 0.2", "maxpool2d 2", "gelu_tanh"]);
    assert_eq!(words[5..], ["layernorm [48]", "linear 48 -> 2", "elu 1.5"]);
}

#[test]
fn flops_are_those_of_the_layers() {
    let text = r#"{"model_type": "sequential", "input": [1, 4, 4], "layers": [
        {"type": "conv2d", "in": 1, "out": 2, "kernel": 3}, {"type": "tanh"}, {"type": "flatten"},
        {"type": "linear", "in": 8, "out": 3}]}"#;
    let model = Sequential::from_json(text).unwrap();
    let layers: Vec<u64> = (0..4).map(|i| model.layer_flops(i).unwrap().unwrap()).collect();
    // Outputs times products and sums, then one addition of the bias each.
    assert_eq!(layers, [2 * 4 * 18 + 8, 8, 0, 3 * 16 + 3]);
    assert_eq!(model.flops_per_datum().unwrap(), layers.iter().sum::<u64>());
    assert_eq!(model.layer_flops(4).unwrap(), None);
}

#[test]
fn wrong_configurations_name_the_layer() {
    let message = |input: &str, layers: &str| {
        let text = format!(r#"{{"model_type": "sequential", "input": {input}, "layers": [{layers}]}}"#);
        Sequential::from_json(&text).unwrap_err().to_string()
    };
    let cases = [
        (
            "[31]",
            r#"{"type": "tanh"}, {"type": "linear", "in": 32, "out": 10}"#,
            "layer 1 (linear 32 -> 10): expects a last axis of 32, got inputs [31] from layer 0 (tanh)",
        ),
        ("[3]", r#"{"type": "tanh", "slope": 1}"#, "layer 0 (tanh): unknown field `slope`"),
        ("[3]", r#"{"type": "linear", "in": 3, "out": 1, "bais": true}"#, "layer 0 (linear): unknown field `bais`"),
        ("[3]", r#"{"type": "linear", "in": 3}"#, "layer 0 (linear): missing field `out`"),
        ("[3]", r#"{"type": "tahn"}"#, "layer 0 (tahn): unknown variant `tahn`"),
        ("[3]", r#"{"in": 3}"#, "layer 0 (of no type): missing field `type`"),
        ("[3]", r#"{"type": "linear", "in": 3, "out": 0}"#, "\"out\" is 0"),
        ("[3]", r#"{"type": "softplus", "beta": 0.0}"#, "\"beta\" is 0"),
        ("[3]", r#"{"type": "embedding", "num": 3, "dim": 0}"#, "\"dim\" is 0"),
        (
            "[3]",
            r#"{"type": "tanh"}, {"type": "embedding", "num": 3, "dim": 2}"#,
            "layer 1 (embedding 3 -> 2): expects token ids",
        ),
        (
            "[3, 2, 2]",
            r#"{"type": "conv2d", "in": 3, "out": 1, "kernel": 3}"#,
            "a window of 3 with padding 0 does not fit inputs [3, 2, 2]",
        ),
        (
            "[3, 4, 4]",
            r#"{"type": "conv2d", "in": 2, "out": 1, "kernel": 3}"#,
            "expects inputs [2, H, W], got [3, 4, 4]",
        ),
        ("[4]", r#"{"type": "avgpool2d", "kernel": 2}"#, "expects inputs [C, H, W], got [4] (the model's input)"),
        ("[4]", r#"{"type": "layernorm", "shape": [3]}"#, "expects trailing axes [3], got inputs [4]"),
        ("[4, 0]", r#"{"type": "tanh"}"#, "expected sizes of at least 1"),
    ];
    for (input, layers, expected) in cases {
        let got = message(input, layers);
        assert!(got.contains(expected), "{got:?} does not say {expected:?}");
    }
    let text = |key: &str| format!(r#"{{"model_type": "gpt2", {key} "input": [1], "layers": []}}"#);
    assert!(Sequential::from_json(&text("")).unwrap_err().to_string().contains("\"gpt2\", expected \"sequential\""));
    let extra = text("\"dropout\": 0,").replace("gpt2", "sequential");
    assert!(Sequential::from_json(&extra).unwrap_err().to_string().contains("unknown field `dropout`"));
    assert!(matches!(Sequential::from_json("{"), Err(ModelError::Config(_))));
    let huge = format!(r#"{{"type": "linear", "in": {0}, "out": {0}}}"#, 1u64 << 40);
    assert!(message(&format!("[{}]", 1u64 << 40), &huge).contains("makes the model too large"));
}

#[test]
fn parameter_space_splits_and_joins() {
    let space = ParamSpace::new([("a", vec![2, 2]), ("b", vec![]), ("c", vec![3])]).unwrap();
    let mut flat: Vec<f64> = (0..8).map(f64::from).collect();
    let parts = space.split(&flat).unwrap();
    assert_eq!(parts.iter().map(Array::shape).collect::<Vec<_>>(), [&[2, 2][..], &[], &[3]]);
    assert_eq!(space.join(&parts).unwrap(), flat);
    assert!(space.join(&parts[..2]).is_err());
    space.views_mut(&mut flat).unwrap().filter(|(p, _)| p.name() == "b").for_each(|(_, b)| b[0] = -1.0);
    assert_eq!(flat[4], -1.0);
    assert_eq!(space.split(&flat[..7]).unwrap_err(), ModelError::VectorLength { expected: 8, got: 7 });
    assert!(space.view("d", &flat).unwrap_err().to_string().contains("there are a, b, c"));
    let twice = ParamSpace::new([("a", vec![1]), ("a", vec![2])]);
    assert_eq!(twice.unwrap_err(), ModelError::DuplicateName { name: "a".into() });
}

#[test]
fn missing_or_superfluous_tensors_are_errors_of_the_trace() {
    let model = Sequential::new(&[3], vec![Layer::Linear { inputs: 3, outputs: 2, bias: true }]).unwrap();
    let ports = [("w", TensorType::real(&[2, 3])), ("b", TensorType::real(&[2])), ("x", TensorType::real(&[4, 3]))];
    assert!(trace(&ports, |_, t| vec![("y", model.forward(&t[..2], &t[2]))]).is_ok());
    assert!(trace(&ports, |_, t| vec![("y", model.forward(&t[..1], &t[2]))]).is_err());
    assert!(trace(&ports, |_, t| vec![("y", model.forward(t, &t[2]))]).is_err());
    assert!(matches!(model.trace_model(0), Err(ModelError::Config(_))));
}

#[test]
fn flops_count_products_and_biases() {
    let model = Sequential::new(&[5], vec![Layer::Linear { inputs: 5, outputs: 7, bias: true }]).unwrap();
    assert_eq!(model.flops_per_datum().unwrap(), 2 * 5 * 7 + 7);
    assert_eq!(model.trace_model(3).unwrap().flops(), 3 * (2 * 5 * 7 + 7));
}

#[test]
fn initial_parameters_follow_the_laws() {
    let layers = vec![
        Layer::Embedding { num: 50, dim: 36 },
        Layer::LayerNorm { shape: vec![36], eps: 1e-5 },
        Layer::Linear { inputs: 36, outputs: 40, bias: true },
    ];
    let model = Sequential::new(&[2], layers.clone()).unwrap();
    let theta: Vec<f64> = model.init(3);
    assert_eq!(theta, model.init::<f64>(3));
    assert_ne!(theta, model.init::<f64>(4));
    let view = |name| model.params().view(name, &theta).unwrap();
    let moment = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    assert!((moment(view("0.weight")) - 1.0).abs() < 0.15);
    assert!(view("1.weight").iter().all(|&g| g == 1.0) && view("1.bias").iter().all(|&b| b == 0.0));
    let w = view("2.weight");
    assert!(w.iter().all(|w| w.abs() <= 1.0 / 6.0) && w.iter().any(|w| *w < -0.16) && w.iter().any(|w| *w > 0.16));
    assert!((moment(w) * 36.0 * 3.0 - 1.0).abs() < 0.1);
    assert_ne!(&w[..40], view("2.bias"));
    // Layers that come later do not change what comes before; f32 are the same numbers, rounded.
    let shorter: Vec<f32> = Sequential::new(&[2], layers[..2].to_vec()).unwrap().init(3);
    assert!(shorter.iter().zip(&theta).all(|(a, b)| *a == *b as f32));
}

fn small() -> Sequential {
    Sequential::new(&[3], vec![Layer::Tanh {}, Layer::Linear { inputs: 3, outputs: 2, bias: true }]).unwrap()
}

#[test]
fn saved_models_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/b");
    let theta: Vec<f64> = small().init(1);
    small().save(&dir, &theta).unwrap();
    assert_eq!(Sequential::load::<f64>(&dir).unwrap(), (small(), theta.clone()));
    let narrow: Vec<f32> = theta.iter().map(|&x| x as f32).collect();
    assert_eq!(Sequential::load::<f32>(&dir).unwrap().1, narrow);
    small().save(&dir, &narrow).unwrap();
    let wide: Vec<f64> = narrow.iter().map(|&x| f64::from(x)).collect();
    assert_eq!(Sequential::load::<f64>(&dir).unwrap().1, wide);
    let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    let wrong = small().save(folder.path().join("c"), &theta[1..]);
    assert_eq!(wrong.unwrap_err(), ModelError::VectorLength { expected: 8, got: 7 });
    assert!(!folder.path().join("c").exists());
    let other = small().to_config().to_string().replace("\"out\":2", "\"out\":3");
    std::fs::write(dir.join("config.json"), other).unwrap();
    let error = Sequential::load::<f64>(&dir).unwrap_err().to_string();
    assert_eq!(error, "tensor \"1.weight\" has shape [2, 3], expected [3, 3] from layer 1 (linear 3 -> 3)");
    std::fs::write(dir.join("config.json"), "[]").unwrap();
    let error = Sequential::load::<f64>(&dir).unwrap_err().to_string();
    assert!(error.contains("config.json: no \"model_type\""), "{error}");
    let other = small().to_config().to_string().replace("\"in\":3", "\"in\":4");
    std::fs::write(dir.join("config.json"), other).unwrap();
    let error = Sequential::load_config(dir.join("config.json")).unwrap_err().to_string();
    assert!(error.contains("config.json: layer 1 (linear 4 -> 2): expects a last axis of 4, got inputs"), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(small().save(folder.path().join("file"), &theta), Err(ModelError::File(_))));
    assert!(matches!(Sequential::load::<f64>(folder.path()), Err(ModelError::File(_))));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let good = small().params_to_file(&small().init::<f64>(1)).unwrap();
    let message = |change: &dyn Fn(&mut store::File)| {
        let mut file = good.clone();
        change(&mut file);
        small().params_from_file::<f64>(&file).unwrap_err().to_string()
    };
    let shape = message(&|f| f.tensors[0] = store::Tensor::new("1.weight", &[2, 4], &[0.0f64; 8]).unwrap());
    assert_eq!(shape, "tensor \"1.weight\" has shape [2, 4], expected [2, 3] from layer 1 (linear 3 -> 2)");
    let transposed = message(&|f| f.tensors[0].shape = vec![3, 2]);
    assert!(transposed.contains("has shape [3, 2], expected [2, 3]"));
    let missing = message(&|f| f.tensors.truncate(1));
    assert_eq!(missing, "tensor \"1.bias\" is missing, expected shape [2] from layer 1 (linear 3 -> 2)");
    let extra = message(&|f| f.tensors.push(store::Tensor::new("2.weight", &[1], &[0.0f64]).unwrap()));
    assert_eq!(extra, "tensor \"2.weight\" of shape [1] belongs to no layer; the model has 1.weight, 1.bias");
    let kind = message(&|f| f.tensors[1].data = TensorData::I64(vec![1, 2]));
    assert_eq!(kind, "tensor \"1.bias\" holds I64, expected floating-point numbers");
    let value = message(&|f| f.tensors[0].data = TensorData::F64(vec![0.0, 1.0, f64::NAN, 0.0, 0.0, 0.0]));
    assert_eq!(value, "tensor \"1.weight\" holds NaN at element 2, expected finite numbers");
}

#[test]
fn half_precision_is_widened() {
    let header = r#"{"1.weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"1.bias":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    // 1, -2, 0.5, 0, 1.5, -0.25 in f16; 1 and -3 in bf16.
    for word in [0x3c00u16, 0xc000, 0x3800, 0x0000, 0x3e00, 0xb400, 0x3f80, 0xc040] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let file = store::File::parse(&bytes).unwrap();
    let theta = small().params_from_file::<f64>(&file).unwrap();
    assert_eq!(theta, [1.0, -2.0, 0.5, 0.0, 1.5, -0.25, 1.0, -3.0]);
}

fn log_softmax(f: &[f64]) -> Vec<f64> {
    let norm = f.iter().map(|x| x.exp()).sum::<f64>().ln();
    f.iter().map(|x| x - norm).collect()
}

fn total(loss: &Loss, outputs: &Array<f64>, targets: Value<f64>) -> f64 {
    loss.check_targets(outputs.shape(), &targets).unwrap();
    let program = loss.program(&TensorType::real(outputs.shape()), false).unwrap();
    numbers(&program.interpret(&[outputs.clone().into(), targets]).unwrap()[0])[0]
}

fn counts(loss: &Loss, outputs: &Array<f64>, targets: Value<f64>) -> (Vec<f64>, Vec<f64>) {
    let program = loss.weights_program(&TensorType::real(outputs.shape())).unwrap();
    let out = program.interpret(&[targets]).unwrap();
    (numbers(&out[0]).to_vec(), numbers(&out[1]).to_vec())
}

#[test]
fn soft_targets_with_weights_and_smoothing() {
    let f = crate::cases::numbers(&[2, 3], 5, -2.0, 2.0);
    let q = [0.2, 0.3, 0.5, 1.0, 0.0, 0.0];
    let a = [0.5, 2.0, 1.5];
    let e = 0.3;
    let loss = Loss::CrossEntropy(CrossEntropy {
        class_weights: Some(a.to_vec()),
        label_smoothing: e,
        soft_targets: true,
        ..CrossEntropy::default()
    });
    let mixed: Vec<f64> = (0..6).map(|i| a[i % 3] * ((1.0 - e) * q[i] + e / 3.0)).collect();
    let logs: Vec<f64> = f.data().chunks(3).flat_map(log_softmax).collect();
    let expected: f64 = mixed.iter().zip(&logs).map(|(q, l)| -q * l).sum();
    let targets = real(&[2, 3], q.to_vec());
    assert_close(&[total(&loss, &f, targets.clone())], &[expected], 1e-14, "loss");
    let (weights, denominators) = counts(&loss, &f, targets);
    assert_close(&weights, &[mixed[..3].iter().sum(), mixed[3..].iter().sum()], 1e-15, "weights");
    assert_eq!(denominators, [1.0, 1.0]);
}

#[test]
fn ignored_labels_count_nowhere() {
    let f = crate::cases::numbers(&[4, 3], 6, -2.0, 2.0);
    let logs: Vec<f64> = f.data().chunks(3).flat_map(log_softmax).collect();
    let at = |ignore_index, label_smoothing| {
        Loss::CrossEntropy(CrossEntropy { ignore_index, label_smoothing, ..CrossEntropy::default() })
    };
    let labels = |l: &[i64]| int(&[4], l.to_vec());
    let got = total(&at(-100, 0.0), &f, labels(&[0, -100, 2, -100]));
    assert_close(&[got], &[-logs[0] - logs[8]], 1e-15, "-100");
    // The ignored label may be a class; smoothing does not bring it back.
    let smooth = |row: usize, y: usize| {
        (0..3).map(|c| -logs[row * 3 + c] * (0.2 / 3.0 + if c == y { 0.8 } else { 0.0 })).sum::<f64>()
    };
    let targets = labels(&[1, 0, 2, 0]);
    assert_close(&[total(&at(0, 0.2), &f, targets.clone())], &[smooth(0, 1) + smooth(2, 2)], 1e-14, "class 0");
    let (weights, denominators) = counts(&at(0, 0.2), &f, targets);
    assert_close(&weights, &[1.0, 0.0, 1.0, 0.0], 1e-15, "weights");
    assert_eq!(denominators, [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(total(&at(-100, 0.1), &f, labels(&[-100; 4])), 0.0);
}

#[test]
fn classes_stand_last_in_sequences_and_second_in_images() {
    let loss = Loss::cross_entropy();
    let (n, c, h, w) = (2, 3, 2, 2);
    let f = crate::cases::numbers(&[n, c, h, w], 7, -2.0, 2.0);
    let labels: Vec<i64> = vec![0, 1, 2, -100, 1, 1, 0, 2];
    let sequence = Array::from_fn(&[n, h * w, c], |i| {
        let (datum, position, class) = (i / (h * w * c), i / c % (h * w), i % c);
        f.data()[(datum * c + class) * h * w + position]
    });
    let image = total(&loss, &f, int(&[n, h, w], labels.clone()));
    let flat = total(&loss, &sequence, int(&[n, h * w], labels.clone()));
    assert_close(&[image], &[flat], 1e-15, "layouts");
    // A datum's weight multiplies all its positions.
    let program = loss.program(&TensorType::real(&[n, c, h, w]), true).unwrap();
    let run = |weights: Vec<f64>| {
        let inputs = [f.clone().into(), int(&[n, h, w], labels.clone()), real(&[n], weights)];
        numbers(&program.interpret(&inputs).unwrap()[0])[0]
    };
    assert_close(&[run(vec![1.0, 0.0]) + run(vec![0.0, 1.0])], &[flat], 1e-14, "weights");
    assert_close(&[run(vec![3.0, 0.0])], &[3.0 * run(vec![1.0, 0.0])], 1e-15, "weights");
}

#[test]
fn outputs_without_a_class_axis_have_one_class() {
    let f = Array::new(&[3], vec![1.0, 2.0, 4.0]).unwrap();
    let y = real(&[3], vec![0.0, 1.0, 1.0]);
    assert_eq!(total(&Loss::mse(), &f, y.clone()), 1.0 + 1.0 + 9.0);
    assert_eq!(counts(&Loss::mse(), &f, y).1, [1.0; 3]);
}

#[test]
fn binary_cross_entropy_is_stable() {
    let f = Array::new(&[1, 2], vec![800.0, -800.0]).unwrap();
    assert_eq!(total(&Loss::bce(), &f, real(&[1, 2], vec![1.0, 0.0])), 0.0);
    assert_eq!(total(&Loss::bce(), &f, real(&[1, 2], vec![0.0, 1.0])), 1600.0);
    let weighted = Loss::Bce { pos_weight: Some(vec![1.0, 3.0]) };
    assert_eq!(total(&weighted, &f, real(&[1, 2], vec![1.0, 1.0])), 2400.0);
}

#[test]
fn losses_refuse_what_does_not_fit() {
    let outputs = TensorType::real(&[2, 3]);
    let ce = |change: &dyn Fn(&mut CrossEntropy)| {
        let mut options = CrossEntropy::default();
        change(&mut options);
        Loss::CrossEntropy(options).program(&outputs, false).unwrap_err().to_string()
    };
    assert!(ce(&|c| c.class_weights = Some(vec![1.0; 4])).contains("4 weights, expected 3"));
    assert!(ce(&|c| c.class_weights = Some(vec![1.0, -1.0, 0.0])).contains("weight -1"));
    assert!(ce(&|c| c.label_smoothing = 1.5).contains("label smoothing 1.5"));
    let check = |loss: Loss, targets: Value<f64>| loss.check_targets(&[2, 3], &targets).unwrap_err().to_string();
    let label = check(Loss::cross_entropy(), int(&[2], vec![0, 3]));
    assert_eq!(label, "cross-entropy loss: target 1 is 3, expected 0..3 or -100 (ignored)");
    assert!(check(Loss::cross_entropy(), int(&[3], vec![0; 3])).contains("targets i64[3], expected i64[2]"));
    assert!(check(Loss::bce(), real(&[2, 3], vec![0.0, 1.0, 0.5, 1.0, 1.5, 0.0])).contains("target 4 is 1.5"));
    assert!(check(Loss::mse(), real(&[2, 3], vec![f64::NAN; 6])).contains("expected a finite number"));
    assert!(matches!(Loss::from_name("hinge"), Err(ModelError::Config(_))));
}
