//! `osculate curvature` against PyTorch's double backward: every model, loss, reduction and batch size of the golden set.

use numerics::store::File;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../curvature/tests/golden")
}

fn run(args: &[String]) -> Result<Value, String> {
    let out = Command::new(env!("CARGO_BIN_EXE_osculate")).args(args).output().map_err(|e| e.to_string())?;
    if out.status.success() {
        serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn tensor(file: &File, name: &str) -> Vec<f64> {
    file.get(name).unwrap_or_else(|| panic!("no {name}")).data.to_vec().unwrap()
}

/// Relative to the largest entry.
fn assert_close(what: &str, got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tol * scale, "{what}: {g} against {e}");
    }
}

fn write_npy(path: &Path, x: &[f64]) {
    osculate::io::npy::write(path, &osculate::io::Array::from_slice(x)).unwrap();
}

fn read_npy(path: &Path) -> Vec<f64> {
    osculate::io::npy::read(path).unwrap().to_floats().unwrap()
}

/// All cases of one model folder.
fn check_model(model: &str) {
    let dir = golden().join(model);
    let mut cases = 0;
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|e| e == "safetensors") && stem != "model" {
            for batch in [1000, 4] {
                check_case(&dir, &path, &stem, batch);
            }
            cases += 1;
        }
    }
    assert!(cases >= 2, "{model} has {cases} cases");
}

fn check_case(dir: &Path, path: &Path, stem: &str, batch: usize) {
    let file = File::read(path).unwrap();
    let case: Value = serde_json::from_str(&file.metadata["case"]).unwrap();
    let reduction = case["reduction"].as_str().unwrap();
    let data = dir.join(format!("{}.npz", stem.strip_suffix(&format!("-{reduction}")).unwrap()));
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let mut args: Vec<String> = ["curvature", "--json", "--quiet", "--model"].map(String::from).to_vec();
    let mut push = |list: &[&str]| args.extend(list.iter().map(|s| (*s).to_owned()));
    push(&[dir.to_str().unwrap(), "--data", data.to_str().unwrap(), "--loss", case["loss"].as_str().unwrap()]);
    push(&["--reduction", reduction, "--batch-size", &batch.to_string()]);
    for (key, flag) in [("class_weights", "--class-weights"), ("pos_weight", "--pos-weight")] {
        if case[key] == Value::Bool(true) {
            write_npy(&at("w.npy"), &tensor(&file, key));
            push(&[flag, at("w.npy").to_str().unwrap()]);
        }
    }
    if let Some(e) = case["label_smoothing"].as_f64() {
        push(&["--label-smoothing", &e.to_string()]);
    }
    write_npy(&at("v.npy"), &tensor(&file, "vector"));
    let with = |extra: &[&str]| -> Value {
        let all: Vec<String> = args.iter().cloned().chain(extra.iter().map(|s| (*s).to_owned())).collect();
        run(&all).unwrap_or_else(|e| panic!("{stem}: {e}"))
    };
    let label = |what: &str| format!("{} {stem} batch {batch}: {what}", dir.display());

    let reply = with(&["--gradient", "--save", at("g.npy").to_str().unwrap()]);
    assert_close(&label("loss"), &[reply["loss"].as_f64().unwrap()], &tensor(&file, "loss"), 1e-12);
    assert_close(&label("gradient"), &read_npy(&at("g.npy")), &tensor(&file, "gradient"), 1e-10);
    for operator in ["hessian", "ggn"] {
        let product = at("product.npy");
        let (v, out) = (at("v.npy"), product.to_str().unwrap());
        let list = ["--operator", operator, "--matvec", v.to_str().unwrap(), "--save", out, "--eigs", "3"];
        let reply = with(&list);
        assert_close(&label(operator), &read_npy(&product), &tensor(&file, &format!("{operator}_vector")), 1e-10);
        let values: Vec<f64> = reply["eigenvalues"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let expected = tensor(&file, &format!("{operator}_largest"));
        assert_close(&label("eigenvalues"), &values, &expected[..3], 1e-9);
    }
}

#[test]
fn multilayer_perceptron() {
    check_model("mlp");
}

#[test]
fn convolutional_network() {
    check_model("cnn");
}

#[test]
fn every_layer_kind() {
    check_model("zoo");
}

/// Several columns, by names: the same numbers as one column at a time.
#[test]
fn vectors_by_parameter_names() {
    let dir = golden().join("mlp");
    let file = File::read(dir.join("mse-mean.safetensors")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let v = tensor(&file, "vector");
    let two: Vec<f64> = v.iter().flat_map(|x| [*x, -2.0 * x]).collect();
    let array = osculate::io::Array::new(vec![v.len(), 2], osculate::io::ArrayData::F64(two)).unwrap();
    osculate::io::npy::write(Path::new(&at("v.npy")), &array).unwrap();
    let call = |from: &str, to: &str| {
        let args = ["curvature", "--json", "--model", dir.to_str().unwrap(), "--data"].map(String::from).to_vec();
        let rest = [
            dir.join("mse.npz").to_str().unwrap(),
            "--loss",
            "mse",
            "--operator",
            "ggn",
            "--matvec",
            from,
            "--save",
            to,
        ]
        .map(String::from);
        run(&[args, rest.to_vec()].concat()).unwrap()
    };
    call(&at("v.npy"), &at("named.safetensors"));
    let named = File::read(at("named.safetensors")).unwrap();
    assert_eq!(named.get("0.weight").unwrap().shape, [2, 7, 5]);
    let back = call(&at("named.safetensors"), &at("twice.npy"));
    assert_eq!(back["products"], 2);
    call(&at("v.npy"), &at("once.npy"));
    let once = osculate::io::npy::read(Path::new(&at("once.npy"))).unwrap();
    assert_eq!(once.shape(), [v.len(), 2]);
    let flat: Vec<f64> = once.to_floats().unwrap();
    let first: Vec<f64> = flat.iter().step_by(2).copied().collect();
    assert_close("first column", &first, &tensor(&file, "ggn_vector"), 1e-10);
}

#[test]
fn mistakes_are_one_line_and_leave_nothing() {
    let dir = golden().join("mlp");
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    write_npy(Path::new(&at("short.npy")), &[1.0, 2.0]);
    write_npy(Path::new(&at("nan.npy")), &[f64::NAN; 118]);
    let base = ["curvature", "--model", dir.to_str().unwrap(), "--data"].map(String::from).to_vec();
    let data = dir.join("mse.npz").to_str().unwrap().to_owned();
    let fails = |rest: &[&str], words: &[&str]| {
        let args = [base.clone(), vec![data.clone()], rest.iter().map(|s| (*s).to_owned()).collect()].concat();
        let message = run(&args).expect_err("should fail");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        for w in words {
            assert!(message.contains(w), "{message} lacks {w}");
        }
    };
    fails(&["--loss", "mse"], &["nothing to compute"]);
    fails(&["--loss", "hinge", "--gradient"], &["hinge"]);
    fails(&["--loss", "mse", "--gradient", "--batch-size", "0"], &["batch size 0"]);
    fails(&["--loss", "cross-entropy", "--label-smoothing", "2", "--gradient"], &["smoothing"]);
    fails(&["--loss", "mse", "--gradient", "--save", &at("g.txt")], &[".npy or .safetensors"]);
    let product = |v: &str| ["--loss", "mse", "--operator", "ggn", "--matvec", v, "--save"].map(String::from).to_vec();
    for (file, word) in [("short.npy", "118"), ("nan.npy", "NaN"), ("missing.npy", "missing.npy")] {
        let list = product(&at(file));
        let refs: Vec<&str> = list.iter().map(String::as_str).chain(["OUT"]).collect();
        let out = at("out.npy");
        let refs: Vec<&str> = refs.iter().map(|s| if *s == "OUT" { out.as_str() } else { s }).collect();
        fails(&refs, &[word]);
        assert!(!Path::new(&out).exists());
    }
}
