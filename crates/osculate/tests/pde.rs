//! `osculate pde` against PyTorch's nested derivatives: five operators, six activations, three depths; and its mistakes.

use numerics::store::File;
use osculate::io::{Array, ArrayData, npy};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const ACTIVATIONS: [&str; 6] = ["tanh", "sin", "sigmoid", "softplus", "silu", "gelu"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pde")
}

fn run(args: &[&str]) -> Result<Value, String> {
    let out = Command::new(env!("CARGO_BIN_EXE_osculate")).args(args).output().map_err(|e| e.to_string())?;
    if out.status.success() {
        serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn assert_close(what: &str, got: &[f64], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tol * scale, "{what}: {g} against {e}");
    }
}

/// A model with its golden values, and a scratch folder with its inputs as `.npy`.
struct Case {
    model: String,
    file: File,
    scratch: tempfile::TempDir,
}

impl Case {
    fn new(name: &str) -> Self {
        let file = File::read(golden().join(format!("{name}.safetensors"))).unwrap();
        let case = Case {
            model: golden().join(name).to_str().unwrap().to_owned(),
            file,
            scratch: tempfile::tempdir().unwrap(),
        };
        for name in ["points", "matrix", "drift"] {
            let tensor = case.file.get(name).unwrap();
            let data = ArrayData::F64(tensor.data.to_vec().unwrap());
            npy::write(Path::new(&case.at(&format!("{name}.npy"))), &Array::new(tensor.shape.clone(), data).unwrap())
                .unwrap();
        }
        case
    }

    fn at(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().unwrap().to_owned()
    }

    fn expected(&self, name: &str) -> Vec<f64> {
        self.file.get(name).unwrap().data.to_vec().unwrap()
    }

    fn read(&self, name: &str) -> Vec<f64> {
        npy::read(Path::new(&self.at(name))).unwrap().to_floats().unwrap()
    }

    fn call(&self, rest: &[&str]) -> Result<Value, String> {
        let points = self.at("points.npy");
        let mut args = vec!["pde", "--json", "--quiet", "--repeat", "1", "--model", &self.model, "--points", &points];
        args.extend(rest);
        run(&args)
    }

    /// All operators in one call, by a strategy.
    fn check(&self, strategy: &str) {
        let (matrix, drift) = (self.at("matrix.npy"), self.at("drift.npy"));
        let names = ["gradient", "laplacian", "weighted-laplacian", "biharmonic", "mixed"];
        let saved: Vec<String> = names.iter().map(|n| self.at(&format!("{n}.npy"))).collect();
        let mut args = vec!["--strategy", strategy, "--matrix", &matrix, "--drift", &drift];
        args.extend([
            "--multi-index",
            "2,1,0",
            "--multi-index",
            "1,1,1",
            "--coefficient",
            "1.5",
            "--coefficient",
            "-0.5",
        ]);
        for (name, path) in names.iter().zip(&saved) {
            args.extend(["--operator", name, "--save", path]);
        }
        let reply = self.call(&args).unwrap();
        assert_eq!(reply["operators"].as_array().unwrap().len(), 5);
        for name in names {
            let key = name.strip_suffix("-laplacian").unwrap_or(name);
            let what = format!("{} {strategy} {name}", self.model);
            assert_close(&what, &self.read(&format!("{name}.npy")), &self.expected(key), 1e-10);
        }
    }
}

fn check_depth(depth: usize) {
    for activation in ACTIVATIONS {
        let case = Case::new(&format!("{activation}-{depth}"));
        case.check("auto");
        let (values, g) = (case.at("l.npy"), case.at("g.npy"));
        case.call(&["--operator", "laplacian", "--save", &values, "--parameter-gradient", &g]).unwrap();
        assert_close("parameter gradient", &case.read("g.npy"), &case.expected("parameter_gradient"), 1e-10);
    }
}

#[test]
fn one_hidden_layer() {
    check_depth(1);
}

#[test]
fn two_hidden_layers() {
    check_depth(2);
}

#[test]
fn three_hidden_layers() {
    check_depth(3);
}

#[test]
fn every_strategy_and_scheme() {
    let case = Case::new("tanh-2");
    for strategy in ["nested", "taylor", "collapsed"] {
        case.check(strategy);
    }
    for scheme in ["a", "b", "c", "nested"] {
        let path = case.at("b.npy");
        case.call(&["--operator", "biharmonic", "--scheme", scheme, "--save", &path]).unwrap();
        assert_close(scheme, &case.read("b.npy"), &case.expected("biharmonic"), 1e-10);
    }
}

/// Collapsed Taylor mode needs less than standard Taylor mode, on the way there and back; the process says what it took.
#[test]
fn memory_of_every_strategy() {
    let case = Case::new("tanh-3");
    let (path, g) = (case.at("l.npy"), case.at("g.npy"));
    let reply =
        case.call(&["--operator", "laplacian", "--save", &path, "--strategies", "--parameter-gradient", &g]).unwrap();
    let all = reply["strategies"].as_array().unwrap();
    let of = |name: &str, key: &str| {
        all.iter()
            .find(|f| f["strategy"] == name)
            .and_then(|f| f[key].as_u64())
            .unwrap_or_else(|| panic!("{name} {key}"))
    };
    assert_eq!(all.len(), 4);
    for key in ["vectors", "flops", "bytes", "gradient_flops", "gradient_bytes"] {
        assert!(of("collapsed", key) < of("taylor", key), "{key}: {reply}");
        assert!(of("auto", key) > 0 && of("nested", key) > 0);
    }
    for key in ["peak_bytes", "gradient_peak_bytes"] {
        assert!(reply[key].is_u64() || reply[key].is_null(), "{reply}");
    }
    let text = Command::new(env!("CARGO_BIN_EXE_osculate"))
        .args(["pde", "--model", &case.model, "--points", &case.at("points.npy")])
        .args(["--operator", "laplacian", "--save", &path, "--strategies"])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("gradient MiB") && text.contains("collapsed"), "{text}");
}

/// The number of threads does not change a bit; f32 agrees to its own precision.
#[test]
fn threads_and_precision() {
    let case = Case::new("silu-3");
    let once = |extra: &[&str]| {
        let path = case.at("l.npy");
        let mut args = vec!["--operator", "laplacian", "--save", &path];
        args.extend(extra);
        case.call(&args).unwrap();
        case.read("l.npy")
    };
    assert_eq!(once(&["--threads", "1"]), once(&["--threads", "2"]));
    assert_close("f32", &once(&["--dtype", "f32"]), &case.expected("laplacian"), 2e-4);
}

/// Estimates lie within a few standard errors; all coordinates together are exact.
#[test]
fn stochastic_operators() {
    let case = Case::new("tanh-2");
    for (operator, law) in [
        ("laplacian", "signs"),
        ("laplacian", "gauss"),
        ("laplacian", "sphere"),
        ("biharmonic", "rademacher"),
        ("biharmonic", "gaussian"),
        ("biharmonic", "sphere"),
    ] {
        for own in [&[][..], &["--per-datum"]] {
            let path = case.at("s.npy");
            let mut args = vec!["--operator", operator, "--save", &path, "--samples", "256", "--law", law];
            args.extend(own);
            case.call(&args).unwrap();
            let (got, error) = (case.read("s.npy"), case.read("s.stderr.npy"));
            let expected = case.expected(operator);
            for ((g, e), s) in got.iter().zip(&expected).zip(&error) {
                // Sixteen groups: Student's t with 15 degrees of freedom beyond 6 has probability 2e-5.
                assert!((g - e).abs() <= 6.0 * s + 1e-9, "{operator} {law}: {g} against {e} with {s}");
            }
        }
    }
    let path = case.at("s.npy");
    case.call(&["--operator", "laplacian", "--save", &path, "--samples", "3", "--law", "coordinates"]).unwrap();
    assert_close("coordinates", &case.read("s.npy"), &case.expected("laplacian"), 1e-11);
}

#[test]
fn mistakes_are_one_line_and_leave_nothing() {
    let case = Case::new("tanh-1");
    let out = case.at("out.npy");
    let fails = |rest: &[&str], words: &[&str]| {
        let message = case.call(rest).expect_err("should fail");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        for w in words {
            assert!(message.contains(w), "{message} lacks {w}");
        }
        assert!(!Path::new(&out).exists(), "{rest:?}");
    };
    let op = |name: &'static str| ["--operator", name, "--save", &out].map(str::to_owned).to_vec();
    let with = |name: &'static str, rest: &[&str], words: &[&str]| {
        let all = op(name);
        let all: Vec<&str> = all.iter().map(String::as_str).chain(rest.iter().copied()).collect();
        fails(&all, words);
    };
    fails(&["--operator", "laplacian", "--operator", "gradient", "--save", &out], &["2 --operator and 1 --save"]);
    with("weighted-laplacian", &[], &["--sigma or --matrix"]);
    with("laplacian", &["--drift", &case.at("drift.npy")], &["weighted-laplacian"]);
    with("weighted-laplacian", &["--matrix", &case.at("drift.npy")], &["[3, 3]"]);
    with("weighted-laplacian", &["--sigma", &case.at("points.npy")], &["[3, R]"]);
    with("divergence", &[], &["one per coordinate"]);
    with("mixed", &[], &["--multi-index"]);
    with("mixed", &["--multi-index", "2,1"], &["2 entries for 3"]);
    with("mixed", &["--multi-index", "two"], &["2,1,0"]);
    with("mixed", &["--multi-index", "9,9,9"], &["above 12"]);
    with("laplacian", &["--samples", "0"], &["at least one"]);
    with("laplacian", &["--samples", "4", "--law", "coordinates"], &["without replacement"]);
    with("biharmonic", &["--samples", "2", "--law", "coordinates"], &["laplacian only"]);
    with("gradient", &["--samples", "2"], &["no stochastic form"]);
    let bad = Array::new(vec![1, 3], ArrayData::F64(vec![0.0, f64::NAN, 0.0])).unwrap();
    npy::write(Path::new(&case.at("points.npy")), &bad).unwrap();
    with("laplacian", &[], &["point 0", "NaN"]);
    let empty = Array::new(vec![0, 3], ArrayData::F64(Vec::new())).unwrap();
    npy::write(Path::new(&case.at("points.npy")), &empty).unwrap();
    with("laplacian", &[], &["no points"]);
    let wide = Array::new(vec![1, 4], ArrayData::F64(vec![0.0; 4])).unwrap();
    npy::write(Path::new(&case.at("points.npy")), &wide).unwrap();
    with("laplacian", &[], &["[N, 3]", "[1, 4]"]);
}
