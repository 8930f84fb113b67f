//! The strict reader: bytes that may be anything in, arrays or a [`crate::Error::Format`] out.

use super::{File, Tensor, TensorData, count};
use crate::Error;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest header accepted, in bytes.
const MAX_HEADER: usize = 100_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

#[derive(Default)]
struct Header {
    entries: Vec<(String, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// A JSON object of strings whose keys are distinct.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut out = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if out.contains_key(&key) {
                        return Err(A::Error::custom(format!("metadata {key:?} occurs twice")));
                    }
                    out.insert(key, value);
                }
                Ok(Texts(out))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of arrays")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut out = Header::default();
                let mut seen = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the name {key:?} occurs twice")));
                    }
                    if key == "__metadata__" {
                        out.metadata = map.next_value::<Texts>()?.0;
                    } else {
                        out.entries.push((key, map.next_value()?));
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Each)
    }
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<File, Error> {
    let bad = |what: String| Error::Format { path: path.into(), what };
    let (length, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| bad(format!("expected a header length of 8 bytes, got {} bytes in all", bytes.len())))?;
    let announced = u64::from_le_bytes(*length);
    let length = usize::try_from(announced).unwrap_or(usize::MAX);
    if length > MAX_HEADER {
        return Err(bad(format!("header length {announced} exceeds the limit of {MAX_HEADER}")));
    }
    let (header, data) = rest
        .split_at_checked(length)
        .ok_or_else(|| bad(format!("header length {announced} exceeds the {} bytes that follow", rest.len())))?;
    let text = std::str::from_utf8(header).map_err(|e| bad(format!("the header is not UTF-8: {e}")))?;
    if !text.starts_with('{') {
        return Err(bad("the header does not begin with '{'".into()));
    }
    let header: Header = serde_json::from_str(text).map_err(|e| bad(format!("header: {e}")))?;
    tile(&header.entries, data.len()).map_err(&bad)?;
    let mut tensors = Vec::with_capacity(header.entries.len());
    for (name, entry) in header.entries {
        let [begin, end] = entry.data_offsets;
        let raw = data.get(begin..end).ok_or_else(|| bad(format!("array {name:?} lies outside the data")))?;
        let elements = decode(&entry, raw).map_err(|what| bad(format!("array {name:?}: {what}")))?;
        tensors.push(Tensor { name, shape: entry.shape, data: elements });
    }
    Ok(File { tensors, metadata: header.metadata })
}

/// The byte ranges must cover the data exactly once.
fn tile(entries: &[(String, Entry)], available: usize) -> Result<(), String> {
    let mut ranges: Vec<(usize, usize, &str)> =
        entries.iter().map(|(n, e)| (e.data_offsets[0], e.data_offsets[1], n.as_str())).collect();
    ranges.sort_unstable();
    let mut at = 0;
    for (begin, end, name) in ranges {
        if begin > end {
            return Err(format!("array {name:?} ends at {end}, before its begin {begin}"));
        }
        if begin != at {
            let what = if begin < at { "overlaps the array before it" } else { "leaves a hole before it" };
            return Err(format!("array {name:?} {what}: expected begin {at}, got {begin}"));
        }
        at = end;
    }
    if at != available {
        return Err(format!("the arrays cover {at} bytes of data, the file holds {available}"));
    }
    Ok(())
}

fn size_of(dtype: &str) -> Option<usize> {
    match dtype {
        "F64" | "I64" | "U64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" => Some(1),
        _ => None,
    }
}

fn each<const N: usize, T>(raw: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
}

fn decode(entry: &Entry, raw: &[u8]) -> Result<TensorData, String> {
    let dtype = entry.dtype.as_str();
    let size = size_of(dtype).ok_or_else(|| format!("the type {dtype:?} is not supported"))?;
    let expected = count(&entry.shape)
        .and_then(|n| n.checked_mul(size))
        .ok_or_else(|| format!("the shape {:?} has too many elements", entry.shape))?;
    if expected != raw.len() {
        return Err(format!("{dtype} of shape {:?} takes {expected} bytes, its range has {}", entry.shape, raw.len()));
    }
    Ok(match dtype {
        "F64" => TensorData::F64(each(raw, f64::from_le_bytes)),
        "F32" => TensorData::F32(each(raw, f32::from_le_bytes)),
        "F16" => TensorData::F32(each(raw, |b| half(u16::from_le_bytes(b)))),
        "BF16" => TensorData::F32(each(raw, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))),
        "I64" => TensorData::I64(each(raw, i64::from_le_bytes)),
        "I32" => TensorData::I64(each(raw, |b| i64::from(i32::from_le_bytes(b)))),
        "U32" => TensorData::I64(each(raw, |b| i64::from(u32::from_le_bytes(b)))),
        "I16" => TensorData::I64(each(raw, |b| i64::from(i16::from_le_bytes(b)))),
        "U16" => TensorData::I64(each(raw, |b| i64::from(u16::from_le_bytes(b)))),
        "I8" => TensorData::I64(each(raw, |b| i64::from(i8::from_le_bytes(b)))),
        "U8" => TensorData::U8(raw.to_vec()),
        "BOOL" => {
            if let Some(b) = raw.iter().find(|b| **b > 1) {
                return Err(format!("a boolean has the value {b}"));
            }
            TensorData::I64(raw.iter().map(|b| i64::from(*b)).collect())
        }
        _ => {
            // U64: only what an i64 can hold
            let words = each(raw, u64::from_le_bytes);
            let fit: Result<Vec<i64>, String> = words
                .into_iter()
                .map(|w| i64::try_from(w).map_err(|_| format!("the integer {w} exceeds 63 bits")))
                .collect();
            TensorData::I64(fit?)
        }
    })
}

/// IEEE 754 binary16 to binary32, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0f32 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2.0f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        e => sign * (1024.0 + fraction) * 2.0f32.powi(e - 25),
    }
}
