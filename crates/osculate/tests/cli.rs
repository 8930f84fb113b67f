//! The command as its users meet it: output, messages, exit status.

use std::path::Path;
use std::process::{Command, Output};

const CONFIG: &str = r#"{"model_type": "sequential", "input": [784], "layers": [
    {"type": "linear", "in": 784, "out": 32}, {"type": "tanh"}, {"type": "linear", "in": 32, "out": 10}]}"#;

fn osculate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osculate")).args(args).output().expect("the binary runs")
}

fn model(dir: &Path, config: &str) -> String {
    std::fs::write(dir.join("config.json"), config).expect("a writable folder");
    dir.display().to_string()
}

fn out(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).expect("text")
}

fn one_line_of_error(o: &Output) -> String {
    let text = String::from_utf8(o.stderr.clone()).expect("text");
    assert!(text.starts_with("error: ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    assert!(o.stdout.is_empty(), "{:?}", out(o));
    text.trim_end().to_owned()
}

#[test]
fn info_as_text() {
    let dir = tempfile::tempdir().expect("a folder");
    let m = model(dir.path(), CONFIG);
    let o = osculate(&["info", &m]);
    assert_eq!(o.status.code(), Some(0));
    let text = out(&o);
    for part in ["[784] -> [10]", "25 450 parameters (204 kB in f64)", "linear 784 -> 32", "2.bias", "25440"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(o.stderr.is_empty());
    assert!(out(&osculate(&["info", &m, "--quiet"])).is_empty());
}

#[test]
fn info_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let m = model(dir.path(), CONFIG);
    let o = osculate(&["--json", "info", &m, "--seed", "3", "--threads", "2"]);
    let v: serde_json::Value = serde_json::from_str(&out(&o)).expect("one JSON object");
    assert_eq!(v["command"], "info");
    assert_eq!(v["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((v["seed"].as_u64(), v["threads"].as_u64()), (Some(3), Some(2)));
    assert_eq!(v["dtype"], "f64");
    assert!(v["seconds"].as_f64().is_some_and(|s| s >= 0.0));
    assert_eq!(v["parameters"], 25450);
    assert_eq!(v["flops_per_datum"], 784 * 32 * 2 + 32 + 32 + 32 * 10 * 2 + 10);
    assert_eq!(v["layers"][0]["flops_per_datum"], 784 * 32 * 2 + 32);
    assert_eq!((&v["layers"][1]["input"][0], &v["layers"][1]["output"][0]), (&32.into(), &32.into()));
    assert_eq!(v["tensors"][3]["name"], "2.bias");
    assert_eq!(v["tensors"][3]["offset"], 25440);
    assert_eq!(v["layers"][2]["description"], "linear 32 -> 10");
}

#[test]
fn info_shows_the_program() {
    let dir = tempfile::tempdir().expect("a folder");
    let m = model(dir.path(), CONFIG);
    let text = out(&osculate(&["info", &m, "--program"]));
    for part in ["input \"params\"", "[1, 784]", "tanh(", "return outputs: %"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let dot = out(&osculate(&["info", &m, "--dot"]));
    assert!(dot.starts_with("digraph program {") && dot.ends_with("}\n"), "{dot}");
    let o = osculate(&["info", &format!("{m}/config.json"), "--program", "--json"]);
    let v: serde_json::Value = serde_json::from_str(&out(&o)).expect("one JSON object");
    assert_eq!(v["program"], text);
    assert_eq!(v["parameters"], 25450);
}

#[test]
fn failures_are_one_line_and_status_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let o = osculate(&["info", &dir.path().join("nowhere").display().to_string()]);
    assert_eq!(o.status.code(), Some(1));
    assert!(one_line_of_error(&o).contains("nowhere"));
    let m = model(dir.path(), &CONFIG.replace("\"in\": 32", "\"in\": 31"));
    let o = osculate(&["--json", "info", &m]);
    assert_eq!(o.status.code(), Some(1));
    let e = one_line_of_error(&o);
    assert!(
        e.ends_with("layer 2 (linear 31 -> 10): expects a last axis of 31, got inputs [32] from layer 1 (tanh)"),
        "{e}"
    );
    assert!(e.contains("config.json: layer 2"), "{e}");
}

#[test]
fn weights_are_checked() {
    use numerics::store::{File, Tensor};
    let dir = tempfile::tempdir().expect("a folder");
    let m = model(dir.path(), CONFIG);
    let tensor = |name: &str, shape: &[usize]| {
        Tensor::new(name, shape, &vec![0.5f32; shape.iter().product()]).expect("matching sizes")
    };
    let tensors = vec![
        tensor("0.weight", &[32, 784]),
        tensor("0.bias", &[32]),
        tensor("2.weight", &[10, 32]),
        tensor("2.bias", &[10]),
    ];
    let mut file = File { tensors, ..File::default() };
    file.write(dir.path().join("model.safetensors")).expect("a writable folder");
    assert!(out(&osculate(&["info", &m])).contains("every tensor present"));
    assert!(out(&osculate(&["info", &m, "--json"])).contains("\"weights_checked\":true"));
    file.tensors[2] = tensor("2.weight", &[10, 31]);
    file.write(dir.path().join("model.safetensors")).expect("a writable folder");
    let o = osculate(&["info", &m]);
    assert_eq!(o.status.code(), Some(1));
    assert_eq!(
        one_line_of_error(&o),
        "error: tensor \"2.weight\" has shape [10, 31], expected [10, 32] from layer 2 (linear 32 -> 10)"
    );
    std::fs::write(dir.path().join("model.safetensors"), b"nonsense").expect("a writable folder");
    assert!(one_line_of_error(&osculate(&["info", &m])).contains("model.safetensors"));
}

#[test]
fn the_tour_ends_with_the_path_of_its_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let out_dir = dir.path().join("new").display().to_string();
    let o = osculate(&["tour", "--tiny", "--out", &out_dir]);
    assert_eq!(o.status.code(), Some(0), "{}", String::from_utf8_lossy(&o.stderr));
    let text = out(&o);
    let last = text.lines().last().expect("a last line").split_whitespace().last().expect("a path").to_owned();
    assert!(last.ends_with("tour.html"), "{text}");
    let page = std::fs::read_to_string(&last).expect("the report");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));

    let o = osculate(&["tour", "--tiny", "--out", &out_dir, "--json", "--seed", "2", "--threads", "1"]);
    let v: serde_json::Value = serde_json::from_str(&out(&o)).expect("one JSON object");
    assert_eq!(
        (&v["command"], v["seed"].as_u64(), v["chapters"].as_array().map(Vec::len)),
        (&"tour".into(), Some(2), Some(9))
    );
    for key in ["report", "findings", "net", "data"] {
        assert!(Path::new(v[key].as_str().expect("a path")).exists(), "{key}");
    }
    let path = |key: &str| v[key].as_str().expect("a path").to_owned();
    let findings = std::fs::read_to_string(path("findings")).expect("the findings");
    let findings: serde_json::Value = serde_json::from_str(&findings).expect("JSON");
    let point = &findings["chapters"][2]["findings"]["trained"];

    // What the tour leaves behind gives the same numbers to the other verbs.
    let (net, data) = (path("net"), path("data"));
    let arguments = ["curvature", "--model", &net, "--data", &data, "--loss", "cross-entropy", "--operator", "hessian"];
    let o = osculate(&[&arguments[..], &["--eigs", "2", "--json"]].concat());
    let c: serde_json::Value = serde_json::from_str(&out(&o)).expect("one JSON object");
    let close = |a: &serde_json::Value, b: &serde_json::Value| {
        let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
        // Another batching and another starting space, both within the tolerance of the search.
        assert!((a - b).abs() <= 1e-9 * a.abs(), "{a} {b}");
    };
    close(&c["loss"], &point["loss"]);
    close(&c["gradient_norm"], &point["gradient_norm"]);
    close(&c["eigenvalues"][1], &point["hessian"]["largest"][1]);
}

#[test]
fn the_tour_says_what_it_cannot_do() {
    let o = osculate(&["tour", "--tiny", "--dtype", "f32"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(one_line_of_error(&o).contains("f64"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let o = osculate(&["tour", "--tiny", "--out", &file.path().display().to_string()]);
    assert_eq!(o.status.code(), Some(1));
    one_line_of_error(&o);
}

#[test]
fn bad_usage_is_one_line_and_status_two() {
    for (args, part) in [
        (&["nonsense"][..], "nonsense"),
        (&[], "no command given"),
        (&["info"], "<MODEL>"),
        (&["info", "m", "--threads", "0"], "--threads"),
        (&["info", "m", "--dtype", "f16"], "f16"),
    ] {
        let o = osculate(args);
        assert_eq!(o.status.code(), Some(2), "{args:?}");
        assert!(one_line_of_error(&o).contains(part), "{args:?}: {}", one_line_of_error(&o));
    }
}

#[test]
fn help_and_version() {
    let o = osculate(&["--help"]);
    let text = out(&o);
    let verbs: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() >= 7 && verbs.contains(&"tour"), "{verbs:?}");
    for verb in verbs {
        let o = osculate(&[verb, "--help"]);
        assert_eq!(o.status.code(), Some(0), "{verb}");
        assert!(out(&o).contains("Examples:"), "{verb}");
    }
    assert_eq!(out(&osculate(&["--version"])).trim(), concat!("osculate ", env!("CARGO_PKG_VERSION")));
}
