//! Stored sketches and approximations that went wrong on their way: an error, or something that can be used.

use crate::damage::{damaged_text, edits};
use linop_core::LinearOperator;
use linop_core::ops::Dense;
use numerics::{Mat, MemBuffer, MemStack, Par};
use proptest::prelude::*;
use sketch::{Lord, Measurements, Settings};
use std::path::{Path, PathBuf};

/// A file's bytes with a damaged header under a length that is right again.
fn rewritten(path: &Path, edits: &[crate::damage::Edit]) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = damaged_text(std::str::from_utf8(&bytes[8..8 + length]).unwrap(), edits);
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&bytes[8 + length..]);
    let other = path.with_extension("damaged");
    std::fs::write(&other, out).unwrap();
    other
}

fn matrix() -> Mat<f64> {
    Mat::from_fn(6, 6, |i, j| ((i * 7 + j * 3) as f64).sin())
}

proptest! {
    #[test]
    fn damaged_measurements(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let whole = Measurements::take(&Dense::new(matrix()), 0..4, &Settings::default()).unwrap();
        whole.save(&path).unwrap();
        match Measurements::load(rewritten(&path, &edits)) {
            Ok(read) => drop(read.merge(&whole)),
            Err(e) => prop_assert!(!e.to_string().is_empty()),
        }
    }

    #[test]
    fn damaged_approximations(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.safetensors");
        let u = Mat::from_fn(6, 2, |i, j| (i + j) as f64);
        let v = Mat::from_fn(6, 2, |i, j| (i * j) as f64);
        Lord::new(vec![1.0; 6], u, Mat::identity(2, 2), Some(v)).unwrap().save(&path).unwrap();
        match Lord::load(rewritten(&path, &edits)) {
            Ok(read) => {
                let x = Mat::from_fn(read.ncols(), 1, |i, _| i as f64);
                let mut out = Mat::zeros(read.nrows(), 1);
                let mut memory = MemBuffer::new(read.apply_req(1, Par::Seq));
                read.apply(out.as_mut(), 1.0, x.as_ref(), 0.0, Par::Seq, MemStack::new(&mut memory)).unwrap();
            }
            Err(e) => prop_assert!(!e.to_string().is_empty()),
        }
    }
}
