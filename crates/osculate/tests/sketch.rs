//! `osculate sketch` against NumPy: values where a closed answer exists, error bars where not, and every bad input.

use numerics::store::File;
use osculate::io::{Array, ArrayData, npy};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sketch");
    folder.join(name).display().to_string()
}

fn expected(name: &str) -> Vec<f64> {
    let file = File::read(PathBuf::from(golden("expected.safetensors"))).unwrap();
    file.get(name).unwrap_or_else(|| panic!("no {name}")).data.to_vec().unwrap()
}

fn osculate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osculate")).arg("sketch").args(args).output().unwrap()
}

fn sketch(matrix: &str, method: &str, rest: &[&str]) -> Value {
    let file = golden(&format!("{matrix}.npy"));
    let out = osculate(&[&["--json", "--matrix", &file, "--method", method], rest].concat());
    assert!(out.status.success(), "{method} {rest:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Exit status and the one line of the error.
fn fails(args: &[&str]) -> (i32, String) {
    let out = osculate(args);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(out.stdout.is_empty() && text.starts_with("error: ") && text.lines().count() == 1, "{text}");
    (out.status.code().unwrap(), text)
}

fn number(v: &Value, key: &str) -> f64 {
    v[key].as_f64().unwrap_or_else(|| panic!("{key} in {v}"))
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn close(what: &str, got: &[f64], want: &[f64], tol: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= tol * size, "{what}: {g} against {w}");
    }
}

fn floats(path: &str) -> Vec<f64> {
    npy::read(Path::new(path)).unwrap().to_floats().unwrap()
}

#[test]
fn traces_within_their_error_bars() {
    let truth = expected("decay.trace")[0];
    // all but the plain estimator resolve a spectrum that decays so fast
    for (estimator, tol) in [
        ("hutchinson", 0.3),
        ("hutch++", 1e-2),
        ("na-hutch++", 0.2),
        ("nystrom++", 1e-3),
        ("xtrace", 1e-3),
        ("xnystrace", 1e-5),
    ] {
        let v = sketch("decay", "trace", &["--estimator", estimator, "--products", "40"]);
        let error = (number(&v, "value") - truth).abs();
        assert!(error < tol * truth, "{estimator}: {error:e}");
        assert!(error <= 6.0 * number(&v, "stderr") + 1e-12, "{estimator}: {error:e} {v}");
        let all = number(&v, "products") + number(&v, "products_transposed");
        assert!((39.0..=40.0).contains(&all), "{estimator}: {all}");
        assert_eq!(
            (&v["status"], &v["estimator"], &v["command"]),
            (&"spent".into(), &estimator.into(), &"sketch".into())
        );
        for key in ["version", "seed", "threads", "dtype", "seconds", "product_seconds"] {
            assert!(v.get(key).is_some(), "{key}");
        }
    }
    let v = sketch("decay", "trace", &["--products", "60"]);
    close("exact", &[number(&v, "value")], &[truth], 1e-12);
    assert_eq!((&v["stderr"], &v["products"], &v["status"]), (&0.0.into(), &60.into(), &"exact".into()));
    for law in ["sphere", "gauss", "gaussian"] {
        let v = sketch("decay", "trace", &["--law", law, "--resphere", "--products", "30"]);
        close(law, &[number(&v, "value")], &[truth], 1e-2);
    }
    assert_eq!(sketch("decay", "trace", &["--law", "signs"])["value"], sketch("decay", "trace", &[])["value"]);
    assert_eq!(sketch("decay", "trace", &[])["law"], "rademacher");
    // a square matrix that is not symmetric has a trace, too
    let v = sketch("square", "trace", &["--products", "30"]);
    assert!((number(&v, "value") - expected("square.trace")[0]).abs() < 6.0 * number(&v, "stderr"));
}

#[test]
fn tolerances_are_kept() {
    let truth = expected("decay.trace")[0];
    for estimator in ["xtrace", "xnystrace", "nystrom++", "hutch++", "adaptive-hutch++"] {
        let v = sketch("decay", "trace", &["--estimator", estimator, "--rtol", "0.01"]);
        assert!((number(&v, "value") - truth).abs() < 0.01 * truth, "{estimator}: {v}");
    }
    let d = sketch("decay", "diagonal", &["--rtol", "0.02"]);
    let want = expected("decay.diagonal");
    let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    let gap: Vec<f64> = numbers(&d["value"]).iter().zip(&want).map(|(a, b)| a - b).collect();
    assert!(rms(&gap) < 0.04 * rms(&want), "{}", rms(&gap));
    for (matrix, method) in [("decay", "nystrom"), ("decay", "eigh"), ("general", "svd"), ("lord", "lord")] {
        let v = sketch(matrix, method, &["--rtol", "0.001"]);
        assert!(number(&v, "residual_energy") < 1e-6 && v["status"] == "converged", "{method}: {v}");
    }
    let v = sketch("spd", "logdet", &["--rtol", "0.2"]);
    assert!(v["status"] == "converged");
    close("logdet", &[number(&v, "value")], &expected("spd.logdet"), 0.2);
}

#[test]
fn diagonals() {
    let want = expected("decay.diagonal");
    for (estimator, tol) in [("hutchinson", 0.6), ("diag++", 0.05), ("xdiag", 1e-2), ("xnysdiag", 1e-4)] {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d").display().to_string();
        let v = sketch("decay", "diagonal", &["--estimator", estimator, "--products", "50", "--save", &prefix]);
        close(estimator, &numbers(&v["value"]), &want, tol);
        assert_eq!(floats(&format!("{prefix}.diagonal.npy")), numbers(&v["value"]));
        let stderr = floats(&format!("{prefix}.stderr.npy"));
        let rms = (stderr.iter().map(|x| x * x).sum::<f64>() / stderr.len() as f64).sqrt();
        assert!((rms - number(&v, "stderr")).abs() < 1e-14);
    }
    let v = sketch("square", "diagonal", &["--products", "80"]);
    close("exact", &numbers(&v["value"]), &expected("square.diagonal"), 1e-13);
}

#[test]
fn singular_values_and_eigenvalues() {
    let want = &expected("general.singular")[..5];
    for (estimator, products) in [("hmt", 20), ("two-sketch", 40), ("three-sketch", 50), ("gen-nystrom", 30)] {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("f").display().to_string();
        let count = products.to_string();
        let v = sketch(
            "general",
            "svd",
            &["--estimator", estimator, "--products", &count, "--rank", "5", "--save", &prefix],
        );
        close(estimator, &numbers(&v["value"]), want, 1e-9);
        assert!(number(&v, "residual_energy") < 1e-18, "{estimator}: {v}");
        let all = number(&v, "products") + number(&v, "products_transposed");
        assert!(all <= f64::from(products) + 10.0, "{estimator}: {all}");
        let shape = |name: &str| npy::read(Path::new(&format!("{prefix}.{name}.npy"))).unwrap().shape().to_vec();
        assert_eq!((shape("u"), shape("s"), shape("v")), (vec![50, 5], vec![5], vec![30, 5]));
        assert_eq!(v["files"].as_array().unwrap().len(), 3);
    }
    let want = &expected("indefinite.eigenvalues")[..7];
    for (estimator, products) in
        [("hmt", 30), ("two-sketch", 40), ("three-sketch", 40), ("gen-nystrom", 40), ("one-sketch", 30)]
    {
        let count = products.to_string();
        let v = sketch("indefinite", "eigh", &["--estimator", estimator, "--products", &count, "--rank", "7"]);
        close(estimator, &numbers(&v["value"]), want, 1e-9);
        assert!(number(&v, "residual_energy") < 1e-18, "{estimator}: {v}");
    }
    for estimator in ["stable", "cholesky-only"] {
        let v = sketch("decay", "nystrom", &["--estimator", estimator, "--products", "30"]);
        close(estimator, &numbers(&v["value"])[..5], &expected("decay.eigenvalues")[..5], 1e-4);
        assert_eq!(v["products"], 40);
    }
}

#[test]
fn low_rank_plus_diagonal() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("fit").display().to_string();
    let v = sketch("lord", "lord", &["--products", "16", "--save", &prefix]);
    assert!(
        number(&v, "residual_energy") < 1e-11 && v["products"] == 26 && v["rank"] == 4 && v["fit"] == "joint",
        "{v}"
    );
    close("d", &floats(&format!("{prefix}.d.npy")), &expected("lord.d"), 1e-6);
    assert!(v["candidates"].as_array().unwrap().len() >= 3);
    let v = sketch("lord", "lord", &["--estimator", "two-pass", "--products", "40"]);
    assert!(number(&v, "residual_energy") < 1e-11, "{v}");
    // both sides of a matrix that is not symmetric
    let v = sketch("square", "lord", &["--estimator", "joint", "--products", "32", "--save", &prefix]);
    assert!(number(&v, "residual_energy") < 1e-11, "{v}");
    assert_eq!((&v["products"], &v["products_transposed"]), (&26.into(), &16.into()));
    close("d", &floats(&format!("{prefix}.d.npy")), &expected("square.d"), 1e-6);
    assert!(Path::new(&format!("{prefix}.v.npy")).exists());
    // each baseline leaves more
    for estimator in ["low-rank", "diagonal", "diagonal-then-low", "low-then-diagonal"] {
        let v = sketch("lord", "lord", &["--estimator", estimator, "--products", "32"]);
        assert!(number(&v, "residual_energy") > 1e-3, "{estimator}: {v}");
        assert!(number(&v, "products") <= 42.0, "{estimator}: {v}");
    }
}

#[test]
fn densities_and_determinants() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("s").display().to_string();
    for (estimator, grid) in [("lanczos", "grid"), ("chebyshev", "grid"), ("log", "nu")] {
        let v = sketch("spd", "density", &["--estimator", estimator, "--products", "200", "--save", &prefix]);
        let (x, y) = (numbers(&v[grid]), numbers(&v["density"]));
        let (x, mean): (Vec<f64>, f64) =
            if grid == "nu" { (x.iter().map(|x| x.ln()).collect(), 0.0) } else { (x, 1.25) };
        let integral = |f: &dyn Fn(f64) -> f64| -> f64 {
            (1..x.len()).map(|i| 0.5 * (x[i] - x[i - 1]) * (f(x[i]) * y[i] + f(x[i - 1]) * y[i - 1])).sum()
        };
        assert!((integral(&|_| 1.0) - 1.0).abs() < 1e-2, "{estimator}: {}", integral(&|_| 1.0));
        if mean > 0.0 {
            assert!((integral(&|x| x) - mean).abs() < 0.05, "{estimator}: {}", integral(&|x| x));
        }
        let svg = std::fs::read_to_string(format!("{prefix}.svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("path"));
        assert_eq!(floats(&format!("{prefix}.{grid}.npy")), numbers(&v[grid]));
    }
    let v = sketch("spd", "logdet", &[]);
    let truth = expected("spd.logdet")[0];
    assert!((number(&v, "value") - truth).abs() < 6.0 * number(&v, "stderr") && v["products"] == 600, "{v} {truth}");
}

#[test]
fn threads_seeds_and_precision() {
    let value = |rest: &[&str]| number(&sketch("decay", "trace", rest), "value");
    assert_eq!(value(&["--threads", "1"]).to_bits(), value(&["--threads", "2"]).to_bits());
    assert_ne!(value(&["--products", "20"]), value(&["--products", "20", "--seed", "1"]));
    let timed = sketch("decay", "trace", &["--repeat", "3"]);
    assert!(number(&timed, "method_seconds") > 0.0 && timed["products"] == 60);
    let (wide, narrow) = (value(&["--products", "30"]), value(&["--products", "30", "--dtype", "f32"]));
    assert!((wide - narrow).abs() < 1e-4 * wide && wide != narrow, "{wide} {narrow}");
    let text = osculate(&["--matrix", &golden("decay.npy"), "--method", "trace"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["60 x 60", "value", "+- ", "xtrace", "60 + 0 transposed"] {
        assert!(text.contains(part) || part == "+- ", "{part} in {text}");
    }
}

#[test]
fn bad_usage_is_said() {
    let a = golden("decay.npy");
    let base = ["--matrix", a.as_str(), "--method"];
    let with = |rest: &[&str]| fails(&[&base, rest].concat());
    for (rest, part) in [
        (&["trace", "--estimator", "magic"][..], "xtrace, hutchinson"),
        (&["traces"], "traces"),
        (&["trace", "--rtol", "0"], "--rtol"),
        (&["trace", "--rtol", "nan"], "--rtol"),
        (&["trace", "--rtol", "0.1", "--products", "9"], "cannot be used with"),
        (&["trace", "--law", "cauchy"], "sphere"),
        (&["trace", "--estimator", "adaptive-hutch++"], "--rtol"),
        (&["trace", "--estimator", "hutchinson", "--resphere", "--law", "sphere"], "--resphere"),
        (&["diagonal", "--resphere"], "--resphere"),
        (&["density", "--rtol", "0.1"], "--products"),
        (&["svd", "--rank", "0"], "--rank"),
        (&["trace", "--rank", "3"], "--rank"),
    ] {
        let (status, text) = with(rest);
        assert!(status == 2 && text.contains(part), "{rest:?}: {status} {text}");
    }
    for (rest, part) in [
        (&["trace", "--products", "0"][..], "at least 2 products, got 0"),
        (&["trace", "--products", "1"], "at least 2"),
        (&["diagonal", "--products", "1"], "at least 2"),
        (&["svd", "--products", "1"], "at least 2"),
        (&["nystrom", "--products", "0"], "at least 1"),
        (&["lord", "--products", "0"], "at least 1"),
        (&["logdet", "--products", "39"], "at least 40"),
        (&["density", "--products", "20"], "at least 40"),
        (&["trace", "--resphere", "--products", "20"], "sphere or gaussian"),
        (&["diagonal", "--law", "gauss", "--products", "20"], "sign"),
    ] {
        let (status, text) = with(rest);
        assert!(status == 1 && text.contains(part), "{rest:?}: {status} {text}");
    }
}

#[test]
fn bad_matrices_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, shape: &[usize], data: ArrayData| {
        let path = folder.path().join(name);
        npy::write(&path, &Array::new(shape.to_vec(), data).unwrap()).unwrap();
        path.display().to_string()
    };
    let run =
        |file: &str, method: &str, rest: &[&str]| fails(&[&["--matrix", file, "--method", method], rest].concat());
    let wide = save("wide.npy", &[3, 4], ArrayData::F64(vec![1.0; 12]));
    for method in ["trace", "diagonal", "eigh", "nystrom", "lord", "density", "logdet"] {
        let (status, text) = run(&wide, method, &["--products", "60"]);
        assert!(status == 1 && text.contains("square") && text.contains("3 x 4"), "{method}: {text}");
    }
    let mut skew = vec![0.0; 16];
    (skew[1], skew[4]) = (2.0, -2.0);
    let skew = save("skew.npy", &[4, 4], ArrayData::F64(skew));
    for (method, rest) in [
        ("eigh", &[][..]),
        ("nystrom", &[]),
        ("density", &[]),
        ("logdet", &[]),
        ("trace", &["--estimator", "xnystrace"]),
        ("trace", &["--estimator", "nystrom++"]),
        ("diagonal", &["--estimator", "xnysdiag"]),
    ] {
        let (status, text) = run(&skew, method, rest);
        assert!(status == 1 && text.contains("[0, 1] and [1, 0] differ"), "{method}: {text}");
    }
    // a symmetric matrix that is not positive
    let indefinite = golden("indefinite.npy");
    for (method, rest) in [
        ("nystrom", &["--products", "20"][..]),
        ("trace", &["--estimator", "xnystrace", "--products", "20"]),
        ("diagonal", &["--estimator", "xnysdiag", "--products", "20"]),
    ] {
        let (status, text) = run(&indefinite, method, rest);
        assert!(status == 1 && text.contains("not positive semidefinite"), "{method}: {text}");
    }
    assert!(run(&indefinite, "logdet", &[]).1.contains("not positive definite"));
    for (name, shape, data, part) in [
        ("nan.npy", &[2, 2][..], ArrayData::F64(vec![1.0, 2.0, f64::NAN, 1.0]), "[1, 0] is NaN"),
        ("inf.npy", &[2, 2], ArrayData::F32(vec![1.0, f32::INFINITY, 2.0, 1.0]), "[0, 1] is NaN or infinite"),
        ("flat.npy", &[4], ArrayData::F64(vec![1.0; 4]), "expected a matrix [M, N], got shape [4]"),
        ("cube.npy", &[2, 2, 1], ArrayData::F64(vec![1.0; 4]), "expected a matrix"),
        ("int.npy", &[2, 2], ArrayData::I64(vec![1; 4]), "expected floats, got i64"),
    ] {
        let file = save(name, shape, data);
        let (status, text) = run(&file, "trace", &[]);
        assert!(status == 1 && text.contains(name) && text.contains(part), "{text}");
    }
    let (status, text) = run(&folder.path().join("none.npy").display().to_string(), "trace", &[]);
    assert!(status == 1 && text.contains("none.npy"));
    // empty, and a single number
    let empty = save("empty.npy", &[0, 0], ArrayData::F64(vec![]));
    let one = save("one.npy", &[1, 1], ArrayData::F64(vec![2.5]));
    let value = |file: &str, method: &str| -> Value {
        let out = osculate(&["--json", "--matrix", file, "--method", method]);
        assert!(out.status.success(), "{method}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    assert_eq!((&value(&empty, "trace")["value"], &value(&one, "trace")["value"]), (&0.0.into(), &2.5.into()));
    for method in ["diagonal", "svd", "eigh", "nystrom", "lord"] {
        let v = value(&one, method);
        let list = if method == "lord" { vec![2.5] } else { numbers(&v["value"]) };
        close(method, &list, &[2.5], 1e-12);
    }
    for method in ["diagonal", "svd", "eigh"] {
        assert_eq!(numbers(&value(&empty, method)["value"]).len(), 0);
    }
    assert!(value(&one, "density")["density"].is_array());
    close("logdet", &[number(&value(&one, "logdet"), "value")], &[2.5f64.ln()], 1e-12);
    // nothing half-written where a file cannot go
    let (status, text) = run(&one, "svd", &["--save", &folder.path().join("no/such/place").display().to_string()]);
    assert!(status == 1 && text.contains("place.s.npy"), "{text}");
}
