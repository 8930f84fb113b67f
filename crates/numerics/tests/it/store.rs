//! Array files: round trips, every way a file can lie, atomic writing.

use crate::damage::{damaged, damaged_text, edits};
use numerics::store::{File, State, Tensor, TensorData, atomic_write};
use numerics::{DType, Error};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A file with this header and these data bytes.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

fn refusal(bytes: &[u8]) -> String {
    match File::parse(bytes) {
        Err(Error::Format { what, .. }) => what,
        other => panic!("accepted or misreported: {other:?}"),
    }
}

#[test]
fn lies_are_refused_with_a_reason() {
    let one = |dtype: &str, shape: &str, begin: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    assert!(File::parse(&raw(&one("F32", "[2]", 0, 8), &[0; 8])).is_ok());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "header length of 8 bytes"),
        (vec![1, 2, 3], "header length of 8 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "exceeds the limit"),
        (1_000_000u64.to_le_bytes().to_vec(), "bytes that follow"),
        (raw("", &[]), "begin with"),
        (raw(" {}", &[]), "begin with"),
        (raw("{", &[]), "header:"),
        (raw("{}x", &[]), "header:"),
        (raw("[]", &[]), "begin with"),
        (raw("{}", &[0]), "cover 0 bytes"),
        (raw(&one("F32", "[2]", 0, 8), &[0; 9]), "cover 8 bytes"),
        (raw(&one("F32", "[2]", 0, 8), &[0; 7]), "cover 8 bytes"),
        (raw(&one("F32", "[2]", 8, 0), &[0; 8]), "before its begin"),
        (raw(&one("F32", "[2]", 4, 12), &[0; 12]), "hole"),
        (raw(&one("F32", "[3]", 0, 8), &[0; 8]), "takes 12 bytes"),
        (raw(&one("F64", "[2]", 0, 8), &[0; 8]), "takes 16 bytes"),
        (raw(&one("F32", "[]", 0, 8), &[0; 8]), "takes 4 bytes"),
        (raw(&one("F8_E4M3", "[8]", 0, 8), &[0; 8]), "not supported"),
        (raw(&one("F32", "[-2]", 0, 8), &[0; 8]), "header:"),
        (raw(&one("F32", "[2.5]", 0, 8), &[0; 8]), "header:"),
        (raw(&one("F32", "[4294967296,4294967296]", 0, 8), &[0; 8]), "too many"),
        (raw(&one("F64", "[2305843009213693952]", 0, 0), &[]), "too many"),
        (raw(&one("F64", "[99999999999999999999]", 0, 8), &[0; 8]), "header:"),
        (raw(&one("BOOL", "[2]", 0, 2), &[1, 2]), "boolean"),
        (raw(&one("U64", "[1]", 0, 8), &[255; 8]), "63 bits"),
        (raw(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#, &[0]), "header:"),
        (raw(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}"#, &[0]), "unknown field"),
        (raw(r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, &[0]), "duplicate"),
        (raw(r#"{"__metadata__":{"k":1}}"#, &[]), "header:"),
        (raw(r#"{"__metadata__":{"k":"a","k":"b"}}"#, &[]), "occurs twice"),
        (raw(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "occurs twice"),
    ];
    for (bytes, reason) in cases {
        let what = refusal(&bytes);
        assert!(what.contains(reason), "{reason:?} not in {what:?}");
    }
    let u8s = |b0: u64, e0: u64, b1: u64, e1: u64, second: &str| {
        let entry = |b: u64, e: u64| format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{b},{e}]}}"#, e - b);
        raw(&format!(r#"{{"a":{},"{second}":{}}}"#, entry(b0, e0), entry(b1, e1)), &[0; 8])
    };
    assert!(File::parse(&u8s(4, 8, 0, 4, "b")).is_ok());
    assert!(refusal(&u8s(0, 5, 4, 8, "b")).contains("overlaps"));
    assert!(refusal(&u8s(0, 8, 0, 8, "b")).contains("overlaps"));
    assert!(refusal(&u8s(0, 3, 4, 8, "b")).contains("hole"));
    assert!(refusal(&u8s(0, 4, 4, 8, "a")).contains("occurs twice"));
    let mut bytes = raw(r#"{"__metadata__":{"k":"??"}}"#, &[]);
    let at = bytes.iter().position(|b| *b == b'?').unwrap();
    bytes[at] = 0xff;
    assert!(refusal(&bytes).contains("UTF-8"));
    let deep = "[".repeat(100_000);
    assert!(refusal(&raw(&format!("{{\"a\":{deep}"), &[])).contains("header:"));
}

#[test]
fn narrow_types_are_widened_exactly() {
    let read = |dtype: &str, n: usize, bytes: &[u8]| {
        let end = bytes.len();
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{n}],"data_offsets":[0,{end}]}}}}"#);
        File::parse(&raw(&header, bytes)).unwrap().tensors.remove(0).data
    };
    let words = |w: &[u16]| w.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let halves = words(&[0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x3555]);
    let want = [1.0, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.333_251_95];
    assert_eq!(read("F16", 8, &halves), TensorData::F32(want.to_vec()));
    assert!(matches!(read("F16", 1, &words(&[0x7e00])), TensorData::F32(v) if v[0].is_nan()));
    assert_eq!(read("BF16", 2, &words(&[0x3f80, 0xc040])), TensorData::F32(vec![1.0, -3.0]));
    assert_eq!(read("I8", 2, &[255, 127]), TensorData::I64(vec![-1, 127]));
    assert_eq!(read("I16", 1, &[0xfe, 0xff]), TensorData::I64(vec![-2]));
    assert_eq!(read("U16", 1, &[0xfe, 0xff]), TensorData::I64(vec![65534]));
    assert_eq!(read("I32", 1, &[0xff; 4]), TensorData::I64(vec![-1]));
    assert_eq!(read("U32", 1, &[0xff; 4]), TensorData::I64(vec![4_294_967_295]));
    assert_eq!(read("U64", 1, &7u64.to_le_bytes()), TensorData::I64(vec![7]));
    assert_eq!(read("BOOL", 3, &[0, 1, 1]), TensorData::I64(vec![0, 1, 1]));
    assert!(read("U8", 1, &[1]).to_vec::<f32>().is_err());
    assert_eq!(read("BF16", 1, &words(&[0x3f80])).to_vec::<f64>().unwrap(), [1.0]);
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let t = |name: &str, shape: &[usize]| Tensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: TensorData::U8(vec![1, 2]),
    };
    let bytes = |tensors| File { tensors, metadata: BTreeMap::new() }.to_bytes();
    assert!(matches!(bytes(vec![t("a", &[3])]), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(bytes(vec![t("a", &[usize::MAX, 3])]), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(bytes(vec![t("a", &[2]), t("a", &[2])]), Err(Error::Format { .. })));
    assert!(matches!(bytes(vec![t("__metadata__", &[2])]), Err(Error::Format { .. })));
    assert!(Tensor::new("x", &[2, 2], &[1.0f32]).is_err());
    let out = bytes(vec![t("a", &[2, 1])]).unwrap();
    assert_eq!((out.len() - 2) % 8, 0);
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let file = File { tensors: vec![Tensor::new("w", &[1], &[2.0f64]).unwrap()], metadata: BTreeMap::new() };
    file.write(&path).unwrap();
    let failed = atomic_write(&path, |w| {
        w.write_all(b"half of")?;
        Err(std::io::Error::other("disk full"))
    });
    assert!(matches!(failed, Err(Error::Io { what, .. }) if what.contains("disk full")));
    assert_eq!(File::read(&path).unwrap(), file);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(File::read(dir.path().join("none")), Err(Error::Io { .. })));
    assert!(matches!(file.write(dir.path().join("no/such/folder")), Err(Error::Io { .. })));
    assert!(matches!(atomic_write(std::path::Path::new("/"), |_| Ok(())), Err(Error::Io { .. })));
}

#[test]
fn states_are_checked_against_what_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.safetensors");
    let mut state = State::new("adamw", 3, DType::F32);
    state.step = u64::MAX;
    state.config = serde_json::json!({"lr": 0.1, "betas": [0.9, 0.999], "name": "ü"});
    for (k, v) in [("a", f64::INFINITY), ("b", f64::NEG_INFINITY), ("c", 0.1), ("d", -0.0), ("e", 5e-324)] {
        state.scalars.insert(k.into(), v);
    }
    state.tensors.push(Tensor::new("m", &[2, 1], &[1.5f32, f32::NEG_INFINITY]).unwrap());
    state.write(&path).unwrap();
    let back = State::read(&path).unwrap();
    assert_eq!(back, state);
    assert!(back.scalar("d").unwrap().is_sign_negative());
    assert_eq!(back.tensor("m").unwrap().shape, [2, 1]);
    assert!(back.tensor("v").is_err() && back.scalar("z").is_err());
    back.expect("adamw", 3, DType::F32).unwrap();
    for (kind, version, dtype, both) in [
        ("soap", 3, DType::F32, ["soap", "adamw"]),
        ("adamw", 4, DType::F32, ["4", "3"]),
        ("adamw", 3, DType::F64, ["f64", "f32"]),
    ] {
        let text = back.expect(kind, version, dtype).unwrap_err().to_string();
        assert!(both.iter().all(|w| text.contains(w)), "{text}");
    }
    state.scalars = BTreeMap::from([("n".into(), f64::NAN)]);
    assert!(State::parse(&state.to_bytes().unwrap()).unwrap().scalar("n").unwrap().is_nan());
    let plain = File::default();
    assert!(matches!(State::parse(&plain.to_bytes().unwrap()), Err(Error::Format { .. })));
    let with = |json: &str| {
        let metadata = BTreeMap::from([("osculate".to_string(), json.to_string())]);
        State::parse(&File { tensors: vec![], metadata }.to_bytes().unwrap())
    };
    let good = r#"{"format_version":1,"kind":"k","dtype":"f32","step":"ff","config":null,"scalars":{}}"#;
    assert_eq!(with(good).unwrap().step, 255);
    for (from, to) in [
        ("f32", "f16"),
        ("\"ff\"", "\"xy\""),
        ("\"ff\"", "\"+f\""),
        ("\"ff\"", "\"11112222333344445\""),
        ("{}", "{\"a\":\"many\"}"),
        ("null", "null,\"extra\":1"),
        (":1,", ":-1,"),
    ] {
        assert!(matches!(with(&good.replace(from, to)), Err(Error::Format { .. })), "{to}");
    }
}

fn data() -> impl Strategy<Value = (Vec<usize>, TensorData)> {
    (prop::collection::vec(0usize..4, 0..4), 0u8..4, any::<u64>()).prop_map(|(shape, which, seed)| {
        let n: usize = shape.iter().product();
        let word = |i: usize| (seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let data = match which {
            0 => TensorData::F32((0..n).map(|i| word(i) as i32 as f32).collect()),
            1 => TensorData::F64((0..n).map(|i| word(i) as i64 as f64).collect()),
            2 => TensorData::I64((0..n).map(|i| word(i) as i64).collect()),
            _ => TensorData::U8((0..n).map(|i| word(i) as u8).collect()),
        };
        (shape, data)
    })
}

fn file() -> impl Strategy<Value = File> {
    let tensors = prop::collection::btree_map(".{0,6}", data(), 0..5);
    let metadata = prop::collection::btree_map(".{0,6}", ".{0,9}", 0..3);
    (tensors, metadata).prop_map(|(tensors, metadata)| File {
        tensors: tensors.into_iter().map(|(name, (shape, data))| Tensor { name, shape, data }).collect(),
        metadata,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_is_read(file in file()) {
        prop_assert_eq!(File::parse(&file.to_bytes().unwrap()).unwrap(), file);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), short in 0u64..64) {
        let _ = File::parse(&bytes);
        let mut framed = short.to_le_bytes().to_vec();
        framed.push(b'{');
        framed.extend_from_slice(&bytes);
        let _ = File::parse(&framed);
        let _ = State::parse(&framed);
    }

    #[test]
    fn damaged_files_never_panic(file in file(), edits in edits()) {
        let mut state = State::new("k", 1, DType::F64);
        state.tensors = file.tensors.clone();
        for whole in [file.to_bytes().unwrap(), state.to_bytes().unwrap()] {
            // Damage anywhere, and damage to the header under a length that is right again.
            let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
            let header = damaged_text(std::str::from_utf8(&whole[8..8 + length]).unwrap(), &edits);
            for bytes in [damaged(&whole, &edits), raw(&header, &whole[8 + length..])] {
                match File::parse(&bytes) {
                    // Whatever is accepted is consistent.
                    Ok(parsed) => {
                        let back = File::parse(&parsed.to_bytes().unwrap()).map(|f| f.tensors.len());
                        prop_assert_eq!(back, Ok(parsed.tensors.len()));
                    }
                    Err(e) => prop_assert!(matches!(e, Error::Format { .. }), "{}", e),
                }
                let _ = State::parse(&bytes);
            }
        }
    }
}
