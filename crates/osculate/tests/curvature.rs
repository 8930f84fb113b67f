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
        assert!(reply["product_seconds"].as_f64().unwrap() > 0.0 && reply["gradient_seconds"].as_f64().unwrap() > 0.0);
    }
    let diagonal = at("diagonal.npy");
    let list = ["--operator", "ggn", "--trace", "--diagonal", "--save", diagonal.to_str().unwrap()];
    let reply = with(&list);
    let expected = tensor(&file, "ggn_diagonal");
    assert_close(&label("diagonal"), &read_npy(&diagonal), &expected, 1e-10);
    let trace: f64 = expected.iter().sum();
    assert_close(&label("trace"), &[reply["trace"]["value"].as_f64().unwrap()], &[trace], 1e-10);
    assert_eq!((&reply["trace"]["stderr"], &reply["products"]), (&0.0.into(), &0.into()));
    let product = at("product.npy");
    let multiply = |operator: &str, rest: &[&str]| -> (Value, Vec<f64>) {
        let (v, out) = (at("v.npy"), product.to_str().unwrap());
        let list = ["--operator", operator, "--matvec", v.to_str().unwrap(), "--save", out];
        (with(&[&list, rest].concat()), read_npy(&product))
    };
    let (_, jv) = multiply("jacobian", &[]);
    assert_close(&label("Jacobian"), &jv, &tensor(&file, "jacobian_vector"), 1e-10);
    let expected = tensor(&file, "empirical_fisher_vector");
    let (reply, fv) = multiply("empirical-fisher", &["--memory", "0"]);
    assert_close(&label("empirical Fisher"), &fv, &expected, 1e-10);
    assert_eq!(reply["residuals_mode"], "recompute");
    let factor = if case["loss"] == "mse" { 0.5 } else { 1.0 };
    let expected: Vec<f64> = expected.iter().map(|x| factor * x).collect();
    assert_close(&label("nll"), &multiply("empirical-fisher", &["--ef-scale", "nll"]).1, &expected, 1e-10);
    if file.get("datum_fisher_vector").is_some() {
        let expected = tensor(&file, "datum_fisher_vector");
        assert_close(
            &label("by datum"),
            &multiply("empirical-fisher", &["--granularity", "datum"]).1,
            &expected,
            1e-10,
        );
    }
}

#[test]
fn a_label_for_every_pixel() {
    check_model("pixels");
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
fn every_smooth_layer_kind() {
    check_model("zoo");
}

#[test]
fn token_ids_and_layers_with_kinks() {
    check_model("tokens");
}

#[test]
fn maxima_of_windows() {
    check_model("pools");
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

/// What needs no reference of its own: sizes, agreement of the ways to ask, estimates within their error bars.
#[test]
fn every_operator_answers() {
    let dir = golden().join("mlp");
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let data = dir.join("cross-entropy.npz");
    let base = ["curvature", "--json", "--quiet", "--model", dir.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let call = |rest: &[&str]| {
        let all = base.iter().chain(&["--loss", "cross-entropy"]).chain(rest).map(|s| (*s).to_owned());
        run(&all.collect::<Vec<_>>()).unwrap()
    };
    let dense = |operator: &str, rest: &[&str]| {
        let out = at("dense.npy");
        call(&[&["--operator", operator, "--dense", "--save", &out], rest].concat());
        let a = osculate::io::npy::read(Path::new(&out)).unwrap();
        (a.shape().to_vec(), a.to_floats::<f64>().unwrap())
    };
    let (shape, jacobian) = dense("jacobian", &[]);
    assert_eq!(shape, [44, 118], "11 data with 4 outputs");
    write_npy(Path::new(&at("v.npy")), &vec![1.0; 118]);
    let reply = call(&["--operator", "jacobian", "--matvec", &at("v.npy"), "--save", &at("jv.npy")]);
    assert_eq!(reply["products"], 1);
    let expected: Vec<f64> = jacobian.chunks(118).map(|row| row.iter().sum()).collect();
    assert_close("Jacobian product", &read_npy(Path::new(&at("jv.npy"))), &expected, 1e-12);

    let trace = |m: &[f64]| (0..118).map(|i| m[i * 119]).sum::<f64>();
    for rest in [&["--granularity", "term"][..], &["--granularity", "datum"], &["--mc-samples", "3", "--seed", "5"]] {
        let (_, fisher) = dense("fisher-mc", rest);
        let exact = call(&[&["--operator", "fisher-mc", "--trace"], rest].concat());
        assert_close("trace", &[exact["trace"]["value"].as_f64().unwrap()], &[trace(&fisher)], 1e-12);
    }
    // The Hessian has no exact pass: estimates with error bars, exact where products enough are allowed.
    let (_, hessian) = dense("hessian", &[]);
    let exact = call(&["--operator", "hessian", "--trace"]);
    assert_close("trace", &[exact["trace"]["value"].as_f64().unwrap()], &[trace(&hessian)], 1e-10);
    let estimate = call(&["--operator", "hessian", "--trace", "--products", "40"]);
    let (value, stderr) = (estimate["trace"]["value"].as_f64().unwrap(), estimate["trace"]["stderr"].as_f64().unwrap());
    assert!(stderr > 0.0 && (value - trace(&hessian)).abs() < 5.0 * stderr, "{value} +- {stderr}");
    let out = at("d.safetensors");
    let estimate = call(&["--operator", "hessian", "--diagonal", "--rtol", "0.3", "--save", &out]);
    assert!(estimate["diagonal"]["products"].as_u64().unwrap() <= 300);
    assert_eq!(File::read(Path::new(&out)).unwrap().get("0.weight").unwrap().shape, [7, 5]);
}

/// Low rank plus diagonal and densities, against the dense matrix of every operator that is square.
#[test]
fn structure_of_every_square_operator() {
    let dir = golden().join("mlp");
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let data = dir.join("cross-entropy.npz");
    let base = ["curvature", "--json", "--quiet", "--model", dir.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let call = |rest: &[&str]| {
        let all = base.iter().chain(&["--loss", "cross-entropy"]).chain(rest).map(|s| (*s).to_owned());
        run(&all.collect::<Vec<_>>()).unwrap()
    };
    let list = |v: &Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let n = 118;
    for operator in ["hessian", "ggn", "fisher-mc", "empirical-fisher"] {
        call(&["--operator", operator, "--dense", "--save", &at("dense.npy")]);
        let dense = read_npy(Path::new(&at("dense.npy")));
        let (parts, out) = (at("lord.safetensors"), at("figures"));
        let list_of = ["--operator", operator, "--lord", "60", "--spectrum", "--products", "400"];
        let reply = call(&[&list_of[..], &["--save", &parts, "--out", &out]].concat());
        let lord = &reply["lord"];
        assert_eq!(lord["products"], 70, "{operator}");
        assert!(lord["candidates"].as_array().unwrap().len() >= 3);
        let file = File::read(Path::new(&parts)).unwrap();
        let r = lord["rank"].as_u64().unwrap() as usize;
        assert_eq!(file.get("u").unwrap().shape, [n, r]);
        let (d, u, core) = (tensor(&file, "diagonal"), tensor(&file, "u"), tensor(&file, "core"));
        let uc: Vec<f64> = (0..n * r).map(|k| (0..r).map(|l| u[k / r * r + l] * core[l * r + k % r]).sum()).collect();
        let (mut gap, mut size) = (0.0, 0.0);
        for i in 0..n {
            for j in 0..n {
                let low: f64 = (0..r).map(|k| uc[i * r + k] * u[j * r + k]).sum();
                let own = if i == j { d[i] } else { 0.0 };
                gap += (dense[i * n + j] - low - own).powi(2);
                size += dense[i * n + j].powi(2);
            }
        }
        let (truth, certified) = (gap / size, lord["residual_energy"].as_f64().unwrap());
        // the Hessian of an untrained net has a flat spectrum of both signs
        let bound = if operator == "hessian" { 0.5 } else { 0.05 };
        assert!(truth < bound, "{operator}: {truth:.1e}");
        assert!(certified < 3.0 * truth + 1e-20 && certified > truth / 3.0 - 1e-20, "{operator}: {certified} {truth}");
        let spectrum = &reply["spectrum"];
        let (grid, density) = (list(&spectrum["grid"]), list(&spectrum["density"]));
        let integral = |x: &[f64], y: &[f64], f: &dyn Fn(f64) -> f64| -> f64 {
            (1..x.len()).map(|i| 0.5 * (x[i] - x[i - 1]) * (f(x[i]) * y[i] + f(x[i - 1]) * y[i - 1])).sum()
        };
        assert!((integral(&grid, &density, &|_| 1.0) - 1.0).abs() < 1e-9);
        // twenty probes of the trace, and twenty steps resolve a fortieth of the width
        let mean = (0..n).map(|i| dense[i * (n + 1)]).sum::<f64>() / n as f64;
        let width = grid[grid.len() - 1] - grid[0];
        assert!((integral(&grid, &density, &|x| x) - mean).abs() < 0.03 * width, "{operator}: {mean}");
        let log: Vec<f64> = list(&spectrum["nu"]).iter().map(|x| x.ln()).collect();
        assert!((integral(&log, &list(&spectrum["density_log_nu"]), &|_| 1.0) - 1.0).abs() < 1e-9);
        for figure in ["spectrum.svg", "log-spectrum.svg"] {
            let svg = std::fs::read_to_string(Path::new(&out).join(figure)).unwrap();
            assert!(svg.contains(operator) && svg.contains("<path"), "{figure}");
        }
        assert_eq!(reply["products"].as_u64().unwrap(), 70 + spectrum["products"].as_u64().unwrap());
    }
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
    fails(&["--loss", "mse", "--operator", "jacobian", "--eigs", "2"], &["jacobian", "not square"]);
    fails(&["--loss", "mse", "--operator", "fisher-mc", "--mc-samples", "0", "--trace"], &["mc-samples"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--trace", "--rtol=-1"], &["rtol"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--diagonal"], &["--save"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--lord", "0"], &["--lord"]);
    fails(&["--loss", "mse", "--lord", "10"], &["--operator"]);
    fails(&["--loss", "mse", "--operator", "jacobian", "--spectrum"], &["jacobian", "not square"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--spectrum", "--products", "30"], &["at least 40"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--lord", "9", "--save", &at("l.npy")], &[".safetensors"]);
    fails(&["--loss", "mse", "--operator", "ggn", "--trace", "--save", &at("t.npy")], &["--save"]);
    let dense = at("dense.npy");
    fails(&["--loss", "mse", "--operator", "ggn", "--dense", "--save", &dense, "--memory", "1000"], &["1000"]);
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

/// The number of threads changes no bit of any quantity, on a net and data large enough to be spread.
#[test]
fn threads_do_not_change_a_bit() {
    use autodiff::nn::{Layer, Sequential};
    use osculate::io::{Array, ArrayData, npz};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let model = Sequential::new(&[96], vec![linear(96, 128), Layer::Tanh {}, linear(128, 10)]).unwrap();
    model.save(folder.path().join("net"), &model.init::<f64>(1)).unwrap();
    let n = 700;
    let wave = |len: usize| (0..len).map(|i| (0.37 * i as f64).sin()).collect::<Vec<f64>>();
    let inputs = Array::new(vec![n, 96], ArrayData::F64(wave(n * 96))).unwrap();
    let targets = Array::new(vec![n], ArrayData::I64((0..n as i64).map(|i| i * i % 10).collect())).unwrap();
    npz::write(&folder.path().join("d.npz"), &[("inputs", &inputs), ("targets", &targets)]).unwrap();
    write_npy(&folder.path().join("v.npy"), &wave(model.params().total()));
    let once = |what: &str, threads: u32| {
        let saved = at(&format!("{threads}.npy"));
        let _ = std::fs::remove_file(&saved);
        let words = format!("{what} --threads {threads} --batch-size 300")
            .replace("SAVED", &saved)
            .replace("V.npy", &at("v.npy"));
        let mut args: Vec<String> =
            ["curvature", "--json", "--loss", "cross-entropy", "--model"].map(String::from).to_vec();
        args.extend([at("net"), "--data".into(), at("d.npz")]);
        args.extend(words.split_whitespace().map(String::from));
        let v = run(&args).unwrap_or_else(|e| panic!("{what}: {e}"));
        let numbers = ["loss", "gradient_norm", "eigenvalues", "trace"].map(|key| v[key].clone());
        (numbers, std::fs::read(&saved).ok())
    };
    for what in [
        "--gradient --save SAVED",
        "--operator hessian --matvec V.npy --save SAVED",
        "--operator ggn --eigs 2 --diagonal --save SAVED",
        "--operator hessian --trace --products 12",
        "--operator fisher-mc --matvec V.npy --save SAVED --dtype f32",
        "--operator empirical-fisher --trace",
    ] {
        let one = once(what, 1);
        assert_eq!(one.1.is_some(), what.contains("SAVED"), "{what}");
        assert!(one == once(what, 2) && one == once(what, 3), "{what}");
    }
}
