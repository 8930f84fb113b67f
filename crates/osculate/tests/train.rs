//! `osculate train`: exact resumption, agreement with the risk of `curvature`, and what happens when things go wrong.

use autodiff::nn::{Loss, Sequential};
use numerics::progress::{Progress, Silent};
use numerics::store::State;
use numerics::{Par, Scalar};
use osculate::io::{Array, ArrayData, npz};
use osculate::train::{
    Cadence, Ending, HISTORY, RESULTS, Record, Run, RunConfig, Search, Trainer, Trial, read_history,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const N: usize = 23;

fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 0.7 + phase).sin()).collect()
}

fn floats(shape: &[usize], phase: f64) -> Array {
    Array::new(shape.to_vec(), ArrayData::F64(wave(shape.iter().product(), phase))).unwrap()
}

fn labels(classes: i64) -> Array {
    let y = (0..N as i64).map(|i| if i == 7 { -100 } else { i * i % classes }).collect();
    Array::new(vec![N], ArrayData::I64(y)).unwrap()
}

/// Data for three classes, with weights per datum and one label that is ignored.
fn write_classes(dir: &Path) {
    let weights = Array::from_slice(&wave(N, 1.0).iter().map(|x| 1.0 + 0.5 * x).collect::<Vec<f64>>());
    let arrays = [("inputs", &floats(&[N, 4], 0.0)), ("targets", &labels(3)), ("weights", &weights)];
    npz::write(&dir.join("classes.npz"), &arrays).unwrap();
}

fn description(optimizer: &str) -> String {
    format!(
        r#"
epochs = 4
seed = 11
[model]
input = [4]
layers = [{{ type = "linear", in = 4, out = 5 }}, {{ type = "tanh" }}, {{ type = "linear", in = 5, out = 3 }}]
[data]
path = "classes.npz"
validation = 4
batch_size = 5
[loss]
name = "cross-entropy"
label_smoothing = 0.1
class_weights = [1.0, 2.0, 0.5]
[optimizer]
{optimizer}
[[group]]
match = "*.bias"
lr_factor = 2.0
weight_decay = 0.0
[schedule]
shape = "cosine"
warmup = 3
floor = 0.1
[clip]
norm = 0.4
"#
    )
}

const ADAMW: &str = "name = \"adamw\"\nlr = 0.05\nweight_decay = 0.1";
const SGD: &str = "name = \"sgd\"\nlr = 0.3\nmomentum = 0.8\nnesterov = true\nweight_decay = 0.01\ndecay = \"l2\"";

fn parse(dir: &Path, text: &str) -> RunConfig {
    RunConfig::parse(text, &dir.join("run.toml").display().to_string()).unwrap()
}

fn trainer<T: Scalar>(config: &RunConfig) -> Trainer<T> {
    config.trainer::<T>(config.seed.unwrap_or(0), Par::Seq).unwrap()
}

const CADENCE: Cadence = Cadence { log: 1, eval: 3, eval_training: true, checkpoint: 4, keep: 2 };

/// Asks to stop after `stop` steps.
fn drive<T: Scalar>(run: &mut Run<T>, stop: u64) -> Ending {
    let observer = |p: &Progress<'_>| if p.done >= stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    run.drive(&observer).unwrap()
}

/// History without seconds, last checkpoint without seconds, and the saved model.
fn remains(dir: &Path) -> (Vec<Record>, State, Vec<u8>) {
    let mut history = read_history(&dir.join(HISTORY)).unwrap();
    history.iter_mut().for_each(|r| r.seconds = 0.0);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-"));
    files.sort();
    let mut state = State::read(files.last().unwrap()).unwrap();
    state.scalars.insert("seconds".into(), 0.0);
    (history, state, std::fs::read(dir.join("model.safetensors")).unwrap_or_default())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn stops_and_goes_on<T: Scalar>(optimizer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    let config = parse(dir, &description(optimizer));
    let whole = dir.join("whole");
    let mut run = Run::begin(trainer::<T>(&config), &whole, CADENCE).unwrap();
    assert_eq!((run.trainer().steps(), run.trainer().steps_per_epoch()), (16, 4));
    assert_eq!(drive(&mut run, u64::MAX), Ending::Finished);
    let expected = remains(&whole);
    assert_eq!(expected.0.len(), 16);
    assert!(expected.0.iter().any(|r| r.metrics["gradient_norm"] > 0.4), "clipping was not tested");
    // Ends of epochs, middles of epochs, checkpoints of the cadence and others.
    for stop in [1, 2, 4, 7, 8, 13, 15] {
        let part = dir.join(format!("stopped-{stop}"));
        let mut run = Run::begin(trainer::<T>(&config), &part, CADENCE).unwrap();
        assert_eq!(drive(&mut run, stop), Ending::Interrupted);
        assert_eq!((run.trainer().done(), remains(&part).1.step), (stop, stop));
        drop(run);
        let mut run = Run::resume(trainer::<T>(&config), &part, CADENCE).unwrap();
        assert_eq!(run.resumed_from(), Some(stop));
        assert_eq!(drive(&mut run, u64::MAX), Ending::Finished);
        assert_eq!(remains(&part), expected, "stopped at {stop}");
    }
    // Killed: what lay on the disk after step `k`, with a line of history torn.
    for k in [1, 3, 6, 9, 14] {
        let (live, dead) = (dir.join(format!("live-{k}")), dir.join(format!("killed-{k}")));
        let mut run = Run::begin(trainer::<T>(&config), &live, CADENCE).unwrap();
        let observer = |p: &Progress<'_>| {
            if p.done == k {
                copy(&live, &dead);
            }
            ControlFlow::Continue(())
        };
        run.drive(&observer).unwrap();
        let mut text = std::fs::read(dead.join(HISTORY)).unwrap();
        text.extend_from_slice(b"{\"step\":99,\"secon");
        std::fs::write(dead.join(HISTORY), text).unwrap();
        let mut run = Run::resume(trainer::<T>(&config), &dead, CADENCE).unwrap();
        assert_eq!(run.resumed_from(), Some(k / 4 * 4));
        assert_eq!(drive(&mut run, u64::MAX), Ending::Finished);
        assert_eq!(remains(&dead), expected, "killed after {k}");
    }
    // Stopped again and again.
    let often = dir.join("often");
    drive(&mut Run::begin(trainer::<T>(&config), &often, CADENCE).unwrap(), 1);
    (2..=16).for_each(|stop| {
        drive(&mut Run::resume(trainer::<T>(&config), &often, CADENCE).unwrap(), stop);
    });
    assert_eq!(remains(&often), expected);
}

#[test]
fn adamw_resumes_bit_for_bit() {
    stops_and_goes_on::<f64>(ADAMW);
    stops_and_goes_on::<f32>(ADAMW);
}

#[test]
fn sgd_resumes_bit_for_bit() {
    stops_and_goes_on::<f64>(SGD);
    stops_and_goes_on::<f32>(SGD);
}

#[test]
fn every_method_resumes_bit_for_bit() {
    every_method::<f64>();
}

#[test]
fn every_method_resumes_bit_for_bit_in_single_precision() {
    every_method::<f32>();
}

/// Every method by its recommended and its published settings, with a period that stops fall into.
fn every_method<T: Scalar>() {
    for name in optim::Method::NAMES {
        for preset in ["recommended", "reference"] {
            let period = match name {
                "adamw" | "sgd" | "muon" | "psgd-kron" | "idealised-kl-shampoo" => "",
                _ => "period = 3",
            };
            let optimizer = format!("name = \"{name}\"\npreset = \"{preset}\"\nlr = 0.02\n{period}");
            stopped_once::<T>(&optimizer);
        }
    }
}

/// As [`stops_and_goes_on`], stopped between checkpoints of the cadence and before and after a refresh.
fn stopped_once<T: Scalar>(optimizer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    // The embedding-like first layer is left to the rule for vectors where there is one.
    let matrices = !optimizer.contains("adamw") && !optimizer.contains("sgd\"");
    let group = if matrices { "[[group]]\nmatch = \"0.weight\"\nfirst_order = true\n" } else { "" };
    let config = parse(dir, &format!("{}{group}", description(optimizer)));
    let cadence = Cadence { checkpoint: 0, ..CADENCE };
    let whole = dir.join("whole");
    let mut run = Run::begin(trainer::<T>(&config), &whole, cadence).unwrap();
    let start = run.trainer().params().to_vec();
    assert_eq!(drive(&mut run, u64::MAX), Ending::Finished, "{optimizer}");
    let moved = run.trainer().params().iter().zip(&start).filter(|(a, b)| a != b).count();
    assert!(moved > run.trainer().params().len() / 2, "{optimizer}: {moved} parameters moved");
    let expected = remains(&whole);
    for stop in [2, 9] {
        let part = dir.join(format!("stopped-{stop}"));
        drive(&mut Run::begin(trainer::<T>(&config), &part, cadence).unwrap(), stop);
        assert_eq!(drive(&mut Run::resume(trainer::<T>(&config), &part, cadence).unwrap(), u64::MAX), Ending::Finished);
        assert_eq!(remains(&part), expected, "{optimizer} stopped at {stop}");
    }
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    let text = description(ADAMW);
    let out = dir.join("run");
    drive(&mut Run::begin(trainer::<f64>(&parse(dir, &text)), &out, CADENCE).unwrap(), 6);
    let refused = |text: &str| {
        let e = Run::resume(trainer::<f64>(&parse(dir, text)), &out, CADENCE).err().expect("an error").to_string();
        assert!(e.contains("checkpoint-00000006.safetensors: "), "{e}");
        e
    };
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from));
        refused(&text.replace(from, to))
    };
    assert!(changed("{ type = \"tanh\" }", "{ type = \"relu\" }").ends_with("is the checkpoint of another model"));
    assert!(changed("seed = 11", "seed = 12").ends_with("is of a run whose seed is 0xb, this one's is 0xc"));
    assert!(changed("batch_size = 5", "batch_size = 6").ends_with("whose batch size is 5, this one's is 6"));
    assert!(changed("validation = 4", "validation = 3").ends_with("made with 19 training data, there are 20"));
    assert!(changed("label_smoothing = 0.1", "").contains("whose loss is CrossEntropy"));
    assert!(refused(&description(SGD)).ends_with("whose method is adamw, this one's is sgd"));
    let e = Run::resume(trainer::<f32>(&parse(dir, &text)), &out, CADENCE).err().expect("an error").to_string();
    assert!(e.ends_with("expected dtype f32, found dtype f64"), "{e}");

    let path = out.join("checkpoint-00000006.safetensors");
    let good = State::read(&path).unwrap();
    let spoiled = |change: &dyn Fn(&mut State)| {
        let mut state = good.clone();
        change(&mut state);
        state.write(&path).unwrap();
        refused(&text)
    };
    assert!(spoiled(&|s| s.format_version = 9).contains("expected version 1, found version 9"));
    assert!(spoiled(&|s| s.kind = "adamw".into()).contains("expected kind train, found kind adamw"));
    assert!(spoiled(&|s| s.step = 5).contains("holds step 5, not 6"));
    assert!(spoiled(&|s| drop(s.tensors.remove(0))).contains("lacks the array"));
    assert!(spoiled(&|s| drop(s.tensors.pop())).contains("expected 8 arrays, found 7"));
    assert!(spoiled(&|s| s.scalars.retain(|k, _| k != "history_lines")).contains("lacks the scalar"));
    assert!(spoiled(&|s| s.config["optimizer"] = 3.into()).contains("says nothing about its optimiser"));
    std::fs::write(&path, b"nonsense").unwrap();
    assert!(refused(&text).contains("safetensors"));
    good.write(&path).unwrap();
    std::fs::write(out.join(HISTORY), "").unwrap();
    let e = Run::resume(trainer::<f64>(&parse(dir, &text)), &out, CADENCE).err().expect("an error").to_string();
    assert!(e.ends_with("has 0 whole lines, the checkpoint was made after 6"), "{e}");
    let e = Run::begin(trainer::<f64>(&parse(dir, &text)), &out, CADENCE).err().expect("an error").to_string();
    assert!(e.contains("holds a run that reached step 6; give --resume"), "{e}");
}

#[test]
fn what_may_change_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    let text = description(ADAMW);
    let out = dir.join("run");
    drive(&mut Run::begin(trainer::<f64>(&parse(dir, &text)), &out, CADENCE).unwrap(), 6);
    let text = text.replace("lr = 0.05", "lr = 0.025").replace("epochs = 4", "steps = 20");
    let mut run = Run::resume(trainer::<f64>(&parse(dir, &text)), &out, CADENCE).unwrap();
    assert_eq!(drive(&mut run, u64::MAX), Ending::Finished);
    let history = read_history(&out.join(HISTORY)).unwrap();
    assert_eq!(history.len(), 20);
    let events: Vec<&str> = history[6].events.iter().map(|e| e.detail.as_str()).collect();
    assert_eq!(events, ["length: \"Epochs(4)\" -> \"Steps(20)\"", "optimizer.lr: 0.05 -> 0.025"]);
    assert!(history.iter().enumerate().all(|(i, r)| r.step == i as u64 + 1 && (i == 6 || r.events.is_empty())));
}

/// One step of plain gradient descent on all data, against `curvature`'s risk of the same model, loss and data.
fn one_step(name: &str, loss: &str, targets: Array, expected: Loss, config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let weights = Array::from_slice(&wave(N, 1.0).iter().map(|x| 1.0 + 0.5 * x).collect::<Vec<f64>>());
    let arrays = [("inputs", &floats(&[N, 1, 4, 4], 0.0)), ("targets", &targets), ("weights", &weights)];
    npz::write(&dir.join("d.npz"), &arrays).unwrap();
    let text = format!(
        "steps = 1\ndtype = \"f64\"\nmodel = {config}\ndata = {{ path = \"d.npz\", batch_size = 100, shuffle = false }}\n\
         loss = {{ {loss} }}\noptimizer = {{ name = \"sgd\", lr = 0.5, momentum = 0.0 }}"
    );
    let mut t = trainer::<f64>(&parse(dir, &text));
    let model: Sequential = t.model().clone();
    let before = t.params().to_vec();
    let report = t.step().unwrap();
    let inputs = autodiff::Array::new(&[N, 1, 4, 4], wave(N * 16, 0.0)).unwrap().into();
    let shape = targets.shape().to_vec();
    let y = match targets.to_integers() {
        Some(y) => autodiff::Value::Int(autodiff::Array::new(&shape, y).unwrap()),
        None => autodiff::Array::new(&shape, targets.to_floats::<f64>().unwrap()).unwrap().into(),
    };
    let reduction = if loss.contains("sum") { curvature::Reduction::Sum } else { curvature::Reduction::Mean };
    let risk = curvature::Supervised::new(model, expected, reduction)
        .risk(before.clone(), vec![(inputs, y, weights.to_floats())])
        .unwrap();
    let (value, gradient) = risk.value_and_gradient().unwrap();
    let scale = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!((report.loss - value).abs() <= 1e-13 * value.abs(), "{name}: {} against {value}", report.loss);
    for ((after, before), g) in t.params().iter().zip(&before).zip(&gradient) {
        assert!(((before - after) / 0.5 - g).abs() <= 1e-12 * scale, "{name}: step {}, gradient {g}", before - after);
    }
}

const CNN: &str = r#"{ input = [1, 4, 4], layers = [{ type = "conv2d", in = 1, out = 2, kernel = 3 }, { type = "gelu" },
    { type = "flatten" }, { type = "linear", in = 8, out = 3 }] }"#;

#[test]
fn a_step_follows_the_gradient_of_the_risk() {
    let probabilities = |phase| {
        let p = wave(3 * N, phase).iter().map(|x| 0.5 + 0.5 * x).collect();
        Array::new(vec![N, 3], ArrayData::F64(p)).unwrap()
    };
    let ce = |soft_targets| {
        Loss::CrossEntropy(autodiff::nn::CrossEntropy { label_smoothing: 0.2, soft_targets, ..Default::default() })
    };
    let name = "name = \"cross-entropy\", label_smoothing = 0.2";
    one_step("labels", name, labels(3), ce(false), CNN);
    one_step("soft targets", name, probabilities(0.3), ce(true), CNN);
    one_step("mse", "name = \"mse\", reduction = \"sum\"", floats(&[N, 3], 0.5), Loss::mse(), CNN);
    let bce = Loss::Bce { pos_weight: Some(vec![1.0, 2.0, 3.0]) };
    one_step("bce", "name = \"bce\", pos_weight = [1.0, 2.0, 3.0]", probabilities(0.1), bce, CNN);
}

#[test]
fn a_group_with_factor_zero_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    let config = parse(dir, &description(ADAMW).replace("lr_factor = 2.0", "lr_factor = 0.0"));
    let mut t = trainer::<f64>(&config);
    let before = t.params().to_vec();
    while !t.finished() {
        t.step().unwrap();
    }
    let moved: Vec<bool> = t.params().iter().zip(&before).map(|(a, b)| a != b).collect();
    for p in t.model().params().iter() {
        let any = moved[p.range()].iter().any(|m| *m);
        assert_eq!(any, p.name().ends_with("weight"), "{}", p.name());
    }
}

fn osculate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osculate")).args(args).output().expect("the binary runs")
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("run.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn error_of(o: &Output) -> String {
    let text = String::from_utf8(o.stderr.clone()).unwrap();
    assert!(text.starts_with("error: ") && text.lines().count() == 1 && o.stdout.is_empty(), "{text}");
    text.trim_end().to_owned()
}

const DIGITS: &str = r#"
epochs = 2
[model]
input = [64]
layers = [{ type = "linear", in = 64, out = 96 }, { type = "relu" }, { type = "linear", in = 96, out = 10 }]
[data]
name = "digits"
validation = 297
batch_size = 256
[loss]
name = "cross-entropy"
[optimizer]
name = "adamw"
lr = 0.01
[[group]]
match = "*.bias"
weight_decay = 0.0
"#;

#[test]
fn the_command_trains_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &DIGITS.replace("epochs = 2", "epochs = 12"));
    let o = osculate(&["train", "--config", &config, "--json", "--seed", "5"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).expect("one JSON object");
    assert_eq!((v["command"].as_str(), v["seed"].as_u64(), v["dtype"].as_str()), (Some("train"), Some(5), Some("f32")));
    assert_eq!(
        (v["steps"].as_u64(), v["epochs"].as_f64(), v["parameters"].as_u64()),
        (Some(72), Some(12.0), Some(7210))
    );
    assert!(v["validation"]["accuracy"].as_f64().unwrap() > 0.9, "{v}");
    assert!(v["train"]["loss"].as_f64().unwrap() < 0.3 && v["resumed_from"].is_null() && v["skipped"] == 0);
    let dir = folder.path().join("run.run");
    assert_eq!(v["model"].as_str(), dir.to_str());
    let history = read_history(Path::new(v["history"].as_str().unwrap())).unwrap();
    let last = history.last().unwrap();
    assert_eq!((history.len(), last.step), (72, 72));
    assert_eq!(last.metrics["validation_accuracy"], v["validation"]["accuracy"].as_f64().unwrap());
    assert_eq!(history.iter().filter(|r| r.metrics.contains_key("train_loss")).count(), 12);
    assert!(Path::new(v["checkpoint"].as_str().unwrap()).is_file());
    // The folder is a model for the other verbs, and a finished run may be looked at again.
    assert_eq!(osculate(&["info", dir.to_str().unwrap()]).status.code(), Some(0));
    let again = osculate(&["train", "--config", &config, "--seed", "5", "--resume"]);
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(
        text.contains("resumed at step 72") && text.contains("7 210 parameters") && text.contains("validation"),
        "{text}"
    );
}

#[test]
fn the_example_learns_the_digits() {
    let mut t = trainer::<f32>(&parse(Path::new(""), include_str!("../examples/digits.toml")));
    assert_eq!((t.steps(), t.train_len(), t.validation_len()), (720, 1500, 297));
    while !t.finished() {
        t.step().unwrap();
    }
    let (training, validation) = (t.score_training().unwrap(), t.validate().unwrap().unwrap());
    assert!(training.accuracy.unwrap() > 0.99, "{training:?}");
    // 97.6 % with seed 0; one picture in a hundred more or less would be no mistake of the program.
    assert!(validation.accuracy.unwrap() > 0.96, "{validation:?}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &DIGITS.replace("batch_size = 256", "batch_size = 700"));
    for dtype in ["f32", "f64"] {
        let run = |threads: &str| {
            let out = folder.path().join(format!("{dtype}-{threads}"));
            let args = ["train", "--config", &config, "--threads", threads, "--dtype", dtype, "--json", "--out"];
            let o = osculate(&[&args[..], &[out.to_str().unwrap()]].concat());
            assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
            remains(&out)
        };
        let one = run("1");
        assert_eq!(one, run("2"), "{dtype}");
        assert_eq!(one, run("3"), "{dtype}");
    }
}

#[test]
fn mistakes_are_one_line_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let save = |name: &str, inputs: Array, targets: Array| {
        npz::write(&dir.join(name), &[("inputs", &inputs), ("targets", &targets)]).unwrap();
    };
    let ints = |y: &[i64]| Array::new(vec![y.len()], ArrayData::I64(y.to_vec())).unwrap();
    let nan = Array::new(vec![2, 64], ArrayData::F64([f64::NAN; 128].to_vec())).unwrap();
    save("nan.npz", nan, ints(&[0, 1]));
    save("empty.npz", floats(&[0, 64], 0.0), ints(&[]));
    save("label.npz", floats(&[2, 64], 0.0), ints(&[3, 10]));
    save("wide.npz", floats(&[2, 65], 0.0), ints(&[3, 4]));
    std::fs::write(dir.join("table.csv"), "a,b\n1,2\n").unwrap();
    std::fs::write(dir.join("taken"), "a file").unwrap();
    let name = "name = \"digits\"\nvalidation = 297";
    for (from, to, part) in [
        ("batch_size = 256", "batch_size = 0", "batch_size is 0, expected at least 1"),
        ("epochs = 2", "epochs = 0", "0, expected at least 1"),
        ("epochs = 2", "epochs = 2\nsearch = 1", "invalid type: integer `1`"),
        (
            "name = \"digits\"",
            "name = \"letters\"",
            "no data named \"letters\" come with the program; there are \"digits\", \"prose\" and \"markov\"",
        ),
        (name, "path = \"nan.npz\"", "inputs hold NaN or infinity at [0, 0]"),
        (name, "path = \"empty.npz\"", "no data: inputs have shape [0, 64]"),
        (name, "path = \"label.npz\"", "label 10 at [1], expected 0 to 9"),
        (name, "path = \"wide.npz\"", "inputs of a datum have shape [65], the model takes [64]"),
        (name, "path = \"missing.npz\"", "missing.npz: No such file"),
        (name, "path = \"table.csv\"", "target_column must name the column"),
        ("validation = 297", "validation = 1797", "leaves none for training"),
        ("validation = 297", "validation = 297\nshape = [8, 8]", "have shape [8, 8], the model takes [64]"),
        ("validation = 297", "validation = 297\nshape = [8, 9]", "cannot become [8, 9]"),
        ("batch_size = 256", "batch_size = 2000\ndrop_last = true", "2000 is more than the 1500 training data"),
        ("in = 96", "in = 95", "[model]: layer 2 (linear 95 -> 10): expects a last axis of 95"),
        ("match = \"*.bias\"", "match = \"*.gain\"", "there are 0.weight, 0.bias, 2.weight, 2.bias"),
        ("lr = 0.01", "lr = -0.01", "lr: -0.01 is not finite and at least 0"),
        ("[loss]", "[schedule]\nshape = \"linear\"\nwarmup = 13\n[loss]", "warmup: 13 is not at most the total"),
        ("[loss]", "[checkpoint]\ndir = \"taken/x\"\n[loss]", "the folder of the run cannot be made"),
        ("name = \"cross-entropy\"", "name = \"mse\"", "targets have shape"),
    ] {
        assert!(DIGITS.contains(from), "{from}");
        let config = write(dir, &DIGITS.replacen(from, to, 1));
        let o = osculate(&["train", "--config", &config, "--json"]);
        let e = error_of(&o);
        assert!(o.status.code() == Some(1) && e.contains(part), "{e}\nlacks {part}");
        assert!(!dir.join("run.run").exists(), "{to}");
    }
    let config = write(dir, DIGITS);
    let e = error_of(&osculate(&["train", "--config", &config, "--resume"]));
    assert!(e.contains("no checkpoint to resume from"), "{e}");
    assert!(!dir.join("run.run").exists());
}

#[test]
fn divergence_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for (name, policy) in [("error", ""), ("skip", "non_finite = \"skip\"")] {
        let optimizer = format!("name = \"sgd\"\nlr = 1e12\n{policy}");
        let text = DIGITS.replace("name = \"adamw\"\nlr = 0.01", &optimizer).replace("epochs = 2", "epochs = 30");
        let config = write(folder.path(), &format!("{text}[checkpoint]\nevery = 1\nkeep = 3\ndir = \"{name}\"\n"));
        let o = osculate(&["train", "--config", &config]);
        let e = error_of(&o);
        assert!(e.contains("the run diverged at step") && e.contains("the last good checkpoint is"), "{e}");
        let dir = folder.path().join(name);
        let (history, state, model) = remains(&dir);
        assert_eq!(history.last().unwrap().events.last().unwrap().kind, "diverged");
        assert!(history.last().unwrap().loss.is_nan() && model.is_empty());
        for t in state.tensors.iter().filter(|t| t.name.starts_with("param.")) {
            assert!(t.data.to_vec::<f64>().unwrap().iter().all(|x| x.is_finite()), "{}", t.name);
        }
        let skipped = history.iter().filter(|r| r.events.iter().any(|e| e.kind == "skipped")).count();
        assert_eq!(skipped, if name == "skip" { 19 } else { 0 }, "{name}: {e}");
        // It goes on from there, into the same trouble.
        let again = error_of(&osculate(&["train", "--config", &config, "--resume"]));
        assert!(again.contains("the run diverged at step"), "{again}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let text = DIGITS.replace("epochs = 2", "steps = 100000000").replace("batch_size = 256", "batch_size = 8");
    let config = write(dir, &format!("{text}[eval]\nevery = 20\ntrain = false\n[checkpoint]\nevery = 0\n"));
    let child = Command::new(env!("CARGO_BIN_EXE_osculate"))
        .args(["train", "--config", &config])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let history = dir.join("run.run").join(HISTORY);
    while std::fs::metadata(&history).map_or(0, |m| m.len()) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let o = child.wait_with_output().unwrap();
    let e = error_of(&o);
    assert_eq!(o.status.code(), Some(1));
    assert!(e.starts_with("error: interrupted at step ") && e.ends_with("--resume goes on"), "{e}");
    let reached = remains(&dir.join("run.run")).1.step;
    assert!(reached >= 20 && e.contains(&format!("at step {reached} of 100000000")), "{e}");
    let config = write(dir, &text.replace("steps = 100000000", &format!("steps = {}", reached + 3)));
    let o = osculate(&["train", "--config", &config, "--resume", "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).expect("one JSON object");
    assert_eq!((v["resumed_from"].as_u64(), v["steps"].as_u64()), (Some(reached), Some(reached + 3)));
    assert_eq!(read_history(&history).unwrap().len() as u64, reached + 3);
}

const SEARCH: &str = r#"
[search]
settings = 4
seeds = 2
[search.ranges]
"optimizer.lr" = { log = [1e-3, 1e-1] }
"optimizer.beta1" = { one_minus = [0.05, 0.5] }
"data.batch_size" = { choice = [4, 6] }
"#;

/// Lines of results without their seconds.
fn results(dir: &Path) -> Vec<Trial> {
    let text = std::fs::read_to_string(dir.join(RESULTS)).unwrap();
    let mut list: Vec<Trial> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    list.iter_mut().for_each(|t| t.seconds = 0.0);
    list
}

#[test]
fn a_search_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    let config = parse(dir, &format!("{}{SEARCH}", description(ADAMW)));
    let open = |name: &str, resume| Search::open(&config, &dir.join(name), 3, Par::Seq, resume);
    let mut whole = open("whole", false).unwrap();
    assert_eq!(whole.drive::<f64>(&Silent).unwrap(), Ending::Finished);
    let expected = results(&dir.join("whole"));
    assert_eq!(
        expected.iter().map(|t| (t.setting, t.seed)).collect::<Vec<_>>(),
        [0, 1, 2, 3].map(|s| [(s, 3), (s, 4)]).concat()
    );
    let findings = whole.findings();
    let medians: Vec<f64> = findings.standings.iter().map(|s| s.quartiles.unwrap()[1]).collect();
    assert!(medians.is_sorted() && medians.len() == 4 && findings.metric.name() == "validation_loss");
    // Stopped in the middle of a run, again and again; a line torn on the way.
    let mut part = open("part", false).unwrap();
    let mut calls = 0;
    loop {
        let steps = std::sync::atomic::AtomicU64::new(0);
        let observer = |_: &Progress<'_>| match steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            22 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        if part.drive::<f64>(&observer).unwrap() == Ending::Finished {
            break;
        }
        calls += 1;
        let path = dir.join("part").join(RESULTS);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"setting\":");
        std::fs::write(&path, text).unwrap();
        part = open("part", true).unwrap();
    }
    assert!(calls > 3);
    assert_eq!(results(&dir.join("part")), expected);
    for (name, resume, part) in [("whole", false, "--resume to go on"), ("none", true, "no checkpoint")] {
        let e = open(name, resume).err().expect("refused").to_string();
        assert!(e.contains(part), "{e}");
    }
    let other = parse(dir, &format!("{}{}", description(ADAMW), SEARCH.replace("1e-3", "2e-3")));
    let e = Search::open(&other, &dir.join("whole"), 3, Par::Seq, true).err().expect("refused").to_string();
    assert!(e.contains("line 1: is of a search with other ranges"), "{e}");
}

#[test]
fn the_command_searches() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_classes(dir);
    // The largest rates diverge, which is a result.
    let search =
        SEARCH.replace("log = [1e-3, 1e-1]", "choice = [0.01, 1e200]").replace("optimizer.beta1", "optimizer.momentum");
    let text = format!("{}{search}", description("name = \"sgd\"\nlr = 0.1"));
    let config = write(dir, &text);
    let o = osculate(&["train", "--config", &config, "--search", "--json"]);
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!((&v["runs"], v["metric"].as_str()), (&8.into(), Some("validation_loss")));
    assert!(v["failures"].as_u64().unwrap() > 0 && v["best"]["failures"] == 0);
    assert_eq!(v["best"]["values"]["optimizer.lr"], 0.01);
    for plot in v["plots"].as_array().unwrap() {
        assert!(std::fs::read_to_string(plot.as_str().unwrap()).unwrap().starts_with("<svg"));
    }
    let o = osculate(&["train", "--config", &config, "--search", "--resume"]);
    let text = String::from_utf8(o.stdout).unwrap();
    assert!(o.status.success() && text.contains("8 runs of 4 settings") && text.contains("optimizer.lr"), "{text}");
    let e = error_of(&osculate(&["train", "--config", &config, "--search"]));
    assert!(e.contains("holds a search"), "{e}");
    let plain = write(dir, &description(ADAMW));
    assert!(error_of(&osculate(&["train", "--config", &plain, "--search"])).contains("[search]: missing"));
}
