//! What befalls files between their writer and their reader, for the property tests of every parser of the workspace
//! (their test binaries include this file by its path).

#![allow(dead_code, reason = "each test binary uses what it needs")]

use proptest::prelude::*;
use proptest::sample::Index;
use std::ops::Range;

/// Numbers that formats do not expect.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "4611686018427387904",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999",
    "0.5",
    "1e999",
    "NaN",
    "null",
];

/// One change of a text or of bytes, at a place that is chosen when the length is known.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Another byte.
    Replace(Index, u8),
    /// One byte more.
    Insert(Index, u8),
    /// Some bytes less.
    Remove(Index, usize),
    /// A stretch twice.
    Repeat(Index, usize),
    /// A stretch in the place of another one.
    Splice(Index, Index, usize),
    /// The end is lost.
    Cut(Index),
    /// The number at or after this place becomes another one; where there is none, nothing happens.
    Number(Index, &'static str),
}

/// A few changes.
pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let number = proptest::sample::select(NUMBERS.as_slice());
    let edit = prop_oneof![
        2 => (at(), any::<u8>()).prop_map(|(i, b)| Edit::Replace(i, b)),
        1 => (at(), any::<u8>()).prop_map(|(i, b)| Edit::Insert(i, b)),
        1 => (at(), 1usize..40).prop_map(|(i, n)| Edit::Remove(i, n)),
        1 => (at(), 1usize..40).prop_map(|(i, n)| Edit::Repeat(i, n)),
        1 => (at(), at(), 1usize..40).prop_map(|(i, j, n)| Edit::Splice(i, j, n)),
        1 => at().prop_map(Edit::Cut),
        6 => (at(), number).prop_map(|(i, n)| Edit::Number(i, n)),
    ];
    prop::collection::vec(edit, 1..5)
}

/// The bytes after some changes.
pub(crate) fn damaged(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for edit in edits.iter().filter(|_| !bytes.is_empty()) {
        if out.is_empty() {
            break;
        }
        let stretch = |i: &Index, n: usize| -> Range<usize> {
            let start = i.index(out.len());
            start..(start + n).min(out.len())
        };
        match edit {
            Edit::Replace(i, b) => {
                let at = i.index(out.len());
                out[at] = *b;
            }
            Edit::Insert(i, b) => out.insert(i.index(out.len()), *b),
            Edit::Remove(i, n) => drop(out.drain(stretch(i, *n))),
            Edit::Repeat(i, n) => {
                let range = stretch(i, *n);
                let copy = out[range.clone()].to_vec();
                out.splice(range.start..range.start, copy);
            }
            Edit::Splice(i, j, n) => {
                let copy = out[stretch(j, *n)].to_vec();
                out.splice(stretch(i, *n), copy);
            }
            Edit::Cut(i) => out.truncate(i.index(out.len())),
            Edit::Number(i, text) => {
                let start = i.index(out.len());
                let Some(first) = (start..out.len()).find(|&k| out[k].is_ascii_digit()) else { continue };
                let last = (first..out.len()).find(|&k| !out[k].is_ascii_digit()).unwrap_or(out.len());
                out.splice(first..last, text.bytes());
            }
        }
    }
    out
}

/// A text after some changes; bytes that are no UTF-8 become question marks.
pub(crate) fn damaged_text(text: &str, edits: &[Edit]) -> String {
    String::from_utf8_lossy(&damaged(text.as_bytes(), edits)).into_owned()
}
