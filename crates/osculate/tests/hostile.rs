//! Files and arguments that went wrong, on purpose and at random: one line that says what and where, no panic, no hang, no
//! memory beyond what a file holds, and nothing half-written.

#[path = "../../numerics/tests/it/damage.rs"]
mod damage;

use autodiff::nn::{Layer, Loss, Sequential};
use damage::{Edit, damaged, damaged_text, edits};
use numerics::Par;
use numerics::progress::Silent;
use osculate::io::{Array, ArrayData, Dataset, LabelRules, csv, npy, npz};
use osculate::train::{Cadence, HISTORY, Run, RunConfig, Samples, read_history};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Output};

const RUN: &str = r#"
steps = 3
seed = 4
log_every = 1
[model]
input = [2]
layers = [{ type = "linear", in = 2, out = 3 }, { type = "tanh" }, { type = "linear", in = 3, out = 2 }]
[data]
path = "d.npz"
validation = 1
batch_size = 2
[loss]
name = "cross-entropy"
label_smoothing = 0.1
[optimizer]
name = "adamw"
lr = 0.1
[[group]]
match = "*.bias"
lr_factor = 0.5
[schedule]
shape = "wsd"
warmup = 1
decay = 1
[clip]
norm = 0.5
[eval]
every = 2
[checkpoint]
every = 1
keep = 2
"#;

fn floats(shape: &[usize], seed: f64) -> Array {
    let n = shape.iter().product();
    Array::new(shape.to_vec(), ArrayData::F64((0..n).map(|i| (i as f64 + seed).sin()).collect())).unwrap()
}

fn integers(values: &[i64]) -> Array {
    Array::new(vec![values.len()], ArrayData::I64(values.to_vec())).unwrap()
}

/// Inputs, targets and weights of five data in two classes.
fn arrays() -> [(&'static str, Array); 3] {
    [
        ("inputs", floats(&[5, 2], 0.0)),
        ("targets", integers(&[0, 1, -100, 1, 0])),
        ("weights", Array::from_slice(&[1.0; 5])),
    ]
}

fn write_data(dir: &Path) {
    let all = arrays();
    npz::write(&dir.join("d.npz"), &all.each_ref().map(|(n, a)| (*n, a))).unwrap();
}

/// An archive whose entries are these bytes, whatever they are; its checksums are right.
fn zipped(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut w = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        w.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        w.write_all(bytes).unwrap();
    }
    w.finish().unwrap().into_inner()
}

/// The same with damage in a header or in the data of one entry.
fn damaged_archive(which: usize, edits: &[Edit]) -> Vec<u8> {
    let entries: Vec<(&str, Vec<u8>)> = arrays().iter().map(|(n, a)| (*n, npy::to_bytes(a))).collect();
    let bytes =
        |(i, (n, b)): (usize, &(&'static str, Vec<u8>))| (*n, if i == which { damaged(b, edits) } else { b.clone() });
    let named: Vec<(&'static str, Vec<u8>)> = entries.into_iter().map(|(n, b)| (keep(n), b)).collect();
    zipped(&named.iter().enumerate().map(bytes).collect::<Vec<_>>())
}

fn keep(name: &str) -> &'static str {
    ["inputs", "targets", "weights"].into_iter().find(|n| *n == name).unwrap()
}

fn classifier() -> Sequential {
    Sequential::new(&[2], vec![Layer::Linear { inputs: 2, outputs: 2, bias: true }]).unwrap()
}

const CADENCE: Cadence = Cadence { log: 1, eval: 2, eval_training: true, checkpoint: 1, keep: 5 };

proptest! {
    #[test]
    fn damaged_data(which in 0usize..3, edits in edits()) {
        let bytes = damaged_archive(which, &edits);
        match npz::parse(&bytes, "d.npz").and_then(|z| Dataset::from_npz(z, "d.npz")) {
            Err(e) => prop_assert!(e.to_string().starts_with("d.npz"), "{}", e),
            Ok(data) => {
                prop_assert!(data.inputs().first_non_finite().is_none() && data.len() == data.targets().shape()[0]);
                let _ = data.check_labels(LabelRules::new(2));
                let _ = Samples::<f64>::new(&data, &classifier(), &Loss::cross_entropy(), None);
                let _ = Samples::<f64>::new(&data, &classifier(), &Loss::mse(), Some(&[2]));
            }
        }
    }

    #[test]
    fn damaged_tables(edits in edits(), column in "[a-z0-9]{0,2}") {
        let text = damaged_text("a,b,\"y\"\n1.5,2,0\n-3,4e1,1\n0.25,\"7\",1\n", &edits);
        match csv::parse(text.as_bytes(), "t.csv").and_then(|t| Dataset::from_table(&t, &column, "t.csv")) {
            Err(e) => prop_assert!(e.to_string().starts_with("t.csv"), "{}", e),
            Ok(data) => prop_assert!(data.inputs().first_non_finite().is_none()),
        }
    }

    #[test]
    fn damaged_histories(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HISTORY);
        let line = r#"{"step":1,"seconds":0.25,"loss":0.5,"lr":0.1,"metrics":{"a":"inf"},"events":[{"kind":"k","detail":"d"}]}"#;
        std::fs::write(&path, damaged(format!("{line}\n{line}\n").as_bytes(), &edits)).unwrap();
        if let Err(e) = read_history(&path) {
            prop_assert!(e.to_string().contains(HISTORY), "{}", e);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A description that is accepted runs, or says why it cannot.
    #[test]
    fn damaged_descriptions(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        write_data(folder.path());
        let name = folder.path().join("run.toml").display().to_string();
        let text = damaged_text(RUN, &edits);
        let Ok(config) = RunConfig::parse(&text, &name) else { return Ok(()) };
        match config.trainer::<f32>(0, Par::Seq) {
            Err(e) => prop_assert!(!e.to_string().is_empty()),
            Ok(mut trainer) => {
                for _ in 0..3 {
                    if trainer.finished() || trainer.step().is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// A run goes on from its checkpoint, or refuses it and leaves the folder as it was.
    #[test]
    fn damaged_checkpoints(edits in edits(), header in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        write_data(folder.path());
        let config = RunConfig::parse(RUN, &folder.path().join("run.toml").display().to_string()).unwrap();
        let trainer = || config.trainer::<f64>(4, Par::Seq).unwrap();
        let dir = folder.path().join("out");
        Run::begin(trainer(), &dir, CADENCE).unwrap().drive(&Silent).unwrap();
        let path = dir.join("checkpoint-00000002.safetensors");
        std::fs::remove_file(dir.join("checkpoint-00000003.safetensors")).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let broken = if header {
            let text = damaged_text(std::str::from_utf8(&bytes[8..8 + length]).unwrap(), &edits);
            [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &bytes[8 + length..]].concat()
        } else {
            damaged(&bytes, &edits)
        };
        std::fs::write(&path, broken).unwrap();
        let history = std::fs::read(dir.join(HISTORY)).unwrap();
        match Run::resume(trainer(), &dir, CADENCE) {
            Err(e) => {
                prop_assert!(e.to_string().contains("checkpoint-00000002") || e.to_string().contains(HISTORY), "{}", e);
                prop_assert_eq!(std::fs::read(dir.join(HISTORY)).unwrap(), history);
            }
            Ok(mut run) => drop(run.drive(&Silent)),
        }
    }
}

/// The program with at most 4 GiB of address space and a minute, after which its status is 124.
fn osculate(dir: &Path, words: &str) -> Output {
    let script = format!("ulimit -v 4194304; exec timeout 60 '{}' {words}", env!("CARGO_BIN_EXE_osculate"));
    Command::new("sh").arg("-c").arg(script).current_dir(dir).output().expect("a shell")
}

/// One line on stderr, nothing on stdout, the expected status, soon, and no file that was not there before.
fn refused(dir: &Path, words: &str, status: i32, part: &str) {
    let listed = || {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listed();
    let o = osculate(dir, words);
    let text = String::from_utf8(o.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.lines().count() == 1 && o.stdout.is_empty(), "{words}: {text}");
    assert!(text.contains(part), "{words}: {text}\nlacks {part:?}");
    assert_eq!(o.status.code(), Some(status), "{words}: {text}");
    assert_eq!(listed(), before, "{words}");
}

/// An npy file with this shape in its header and these bytes behind it.
fn lying_npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_files() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_data(dir);
    let model = classifier();
    model.save(dir.join("net"), &model.init::<f64>(0)).unwrap();
    let config = std::fs::read_to_string(dir.join("net/config.json")).unwrap();
    let tensors = std::fs::read(dir.join("net/model.safetensors")).unwrap();
    let save = |name: &str, inputs: Vec<u8>, targets: &Array| {
        std::fs::write(dir.join(name), zipped(&[("inputs", inputs), ("targets", npy::to_bytes(targets))])).unwrap();
    };
    let net = |name: &str, config: &str, tensors: &[u8]| {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("config.json"), config).unwrap();
        std::fs::write(dir.join(name).join("model.safetensors"), tensors).unwrap();
    };
    let x = || npy::to_bytes(&floats(&[2, 2], 0.0));
    let y = integers(&[0, 1]);
    let curvature =
        |net: &str, data: &str| format!("curvature --model {net} --data {data} --loss cross-entropy --gradient");

    save("bomb.npz", lying_npy("(400000000, 2)", &[0; 64]), &y);
    save("huge.npz", lying_npy("(9223372036854775807, 9223372036854775807)", &[0; 64]), &y);
    save("negative.npz", lying_npy("(-2, 2)", &[0; 32]), &y);
    save("long.npz", lying_npy("(2, 2)", &vec![0; 32 << 20]), &y);
    save("nan.npz", npy::to_bytes(&Array::new(vec![2, 2], ArrayData::F64(vec![0.0, f64::NAN, 0.0, 1.0])).unwrap()), &y);
    save("inf.npz", npy::to_bytes(&Array::new(vec![2, 2], ArrayData::F64(vec![f64::INFINITY; 4])).unwrap()), &y);
    save("empty.npz", npy::to_bytes(&Array::new(vec![0, 2], ArrayData::F64(vec![])).unwrap()), &integers(&[]));
    save("label.npz", x(), &integers(&[0, 2]));
    save("below.npz", x(), &integers(&[0, -1]));
    save("ignored.npz", x(), &integers(&[-100, -100]));
    save("more.npz", x(), &integers(&[0, 1, 1]));
    std::fs::write(dir.join("text.npz"), "not a zip").unwrap();
    std::fs::write(dir.join("cut.npz"), &std::fs::read(dir.join("d.npz")).unwrap()[..200]).unwrap();
    for (data, part) in [
        ("bomb.npz", "bomb.npz!inputs.npy: holds 6400000000 bytes of data, the limit is"),
        ("huge.npz", "huge.npz!inputs.npy: header: "),
        ("negative.npz", "negative.npz!inputs.npy: header: "),
        ("long.npz", "long.npz!inputs.npy: bytes follow the 32 bytes of data"),
        ("nan.npz", "inputs hold NaN or infinity at [0, 1]"),
        ("inf.npz", "inputs hold NaN or infinity at [0, 0]"),
        ("empty.npz", "no data"),
        ("label.npz", "2"),
        ("below.npz", "-1"),
        ("ignored.npz", "no loss term has a weight"),
        ("more.npz", "expected [2, ...]"),
        ("text.npz", "text.npz: not a readable .npz archive"),
        ("cut.npz", "cut.npz: not a readable .npz archive"),
        ("absent.npz", "absent.npz: No such file"),
        ("d.npz --batch-size 0", "batch size 0, expected at least 1"),
    ] {
        refused(dir, &curvature("net", data), 1, part);
    }
    let lie = |begin: u64, end: u64| {
        let entry =
            |shape: &str, b: u64, e: u64| format!(r#"{{"dtype":"F64","shape":{shape},"data_offsets":[{b},{e}]}}"#);
        let header = format!(r#"{{"0.weight":{},"0.bias":{}}}"#, entry("[2,2]", 0, 32), entry("[2]", begin, end));
        safetensors(&header, &[0; 48])
    };
    net("beyond", &config, &lie(32, u64::MAX));
    net("overlap", &config, &lie(16, 32));
    net("hole", &config, &lie(40, 56));
    net("short", &config, &tensors[..tensors.len() - 1]);
    net("nothing", &config, b"");
    net("endless", &config, &u64::MAX.to_le_bytes());
    net("deep", &"[".repeat(200_000), &tensors);
    net("wide", &config.replace("\"out\": 2", "\"out\": 2305843009213693951"), &tensors);
    net("unknown", &config.replace("\"linear\"", "\"perceptron\""), &tensors);
    for (name, part) in [
        ("beyond", "beyond/model.safetensors"),
        ("overlap", "overlaps"),
        ("hole", "hole"),
        ("short", "short/model.safetensors"),
        ("nothing", "header length of 8 bytes"),
        ("endless", "exceeds the limit"),
        ("deep", "deep/config.json"),
        ("wide", "wide/"),
        ("unknown", "perceptron"),
    ] {
        refused(dir, &curvature(name, "d.npz"), 1, part);
        refused(dir, &format!("info {name}"), 1, part);
    }
    std::fs::write(dir.join("v.npy"), lying_npy("(-6,)", &[0; 48])).unwrap();
    let words = "curvature --model net --data d.npz --loss cross-entropy --operator ggn --matvec v.npy --save hv.npy";
    refused(dir, words, 1, "v.npy: header: ");
    std::fs::write(dir.join("v.npy"), lying_npy("(8000000000000,)", &[0; 48])).unwrap();
    refused(dir, words, 1, "v.npy: holds 64000000000000 bytes of data");
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_descriptions() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_data(dir);
    for (from, to, part) in [
        ("out = 3 }", "out = 4611686018427387904 }", "[model]"),
        (
            "out = 3 }, { type = \"tanh\" }, { type = \"linear\", in = 3",
            "out = 9000000000 }, { type = \"tanh\" }, { type = \"linear\", in = 9000000000",
            "more than memory holds",
        ),
        ("batch_size = 2", "batch_size = 0", "batch_size is 0"),
        ("validation = 1", "validation = 9223372036854775807", "leaves none for training"),
        ("steps = 3", "epochs = 18446744073709551615", "fewer than 2^64"),
        ("steps = 3", "steps = 1e9", "run.toml:2"),
        ("input = [2]", "input = [2, 4611686018427387904, 4]", "[model]"),
        ("d.npz", "no\\u0000thing.npz", "error"),
    ] {
        assert!(RUN.contains(from), "{from}");
        std::fs::write(dir.join("run.toml"), RUN.replacen(from, to, 1)).unwrap();
        refused(dir, "train --config run.toml", 1, part);
    }
    std::fs::write(dir.join("run.toml"), b"\xff\xfe").unwrap();
    refused(dir, "train --config run.toml", 1, "run.toml");
}
