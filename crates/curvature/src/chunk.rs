//! Data in chunks: which rows a run takes, and where the inputs of a program come from.
//!
//! Chunks have one size, and one remainder; the size keeps what a chunk leaves behind within a cache-sized budget and
//! never depends on the number of threads. Partial sums are added in chunk order, so that neither the threads nor the
//! caller's mini-batches show in a result beyond rounding.

use crate::error::Error;
use crate::risk::Risk;
use autodiff::{Array, Input, Kind, Port, TensorType, Value};
use core::ops::Range;

/// Most bytes of residuals that a chunk leaves behind.
const CHUNK_BYTES: usize = 8 << 20;

/// Fewest data of a chunk.
const CHUNK_DATA: usize = 16;

/// Some rows of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) batch: usize,
    pub(crate) rows: Range<usize>,
    /// Number of the first datum among all data.
    pub(crate) first: usize,
}

/// Data a chunk, when a datum leaves this many bytes behind and there are `n` of them: even chunks, as few as allowed.
pub(crate) fn chunk_size(bytes_per_datum: usize, n: usize) -> usize {
    let most = (CHUNK_BYTES / bytes_per_datum.max(1)).max(CHUNK_DATA);
    let count = n.div_ceil(most).max(1);
    n.div_ceil(count)
}

/// Batches of these sizes, in chunks of `size` if there is one.
pub(crate) fn chunks(batches: impl Iterator<Item = usize>, size: Option<usize>) -> Vec<Chunk> {
    let (mut list, mut first) = (Vec::new(), 0);
    for (batch, n) in batches.enumerate() {
        let size = size.unwrap_or(n).max(1);
        for start in (0..n).step_by(size) {
            let rows = start..(start + size).min(n);
            list.push(Chunk { batch, first: first + start, rows });
        }
        first += n;
    }
    list
}

/// Where the value of a program's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The parameters that are differentiated.
    Params,
    /// All parameters, where some are held constant.
    Fixed,
    /// Rows of the batch's inputs.
    Inputs,
    /// Rows of one of the batch's targets.
    Target(usize),
    /// What the operator computed for the chunk beforehand.
    Extra(usize),
}

impl Source {
    /// The source that an input's name stands for.
    fn of(name: &str) -> Option<Self> {
        let numbered = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
        match name {
            "params" => Some(Source::Params),
            "fixed" => Some(Source::Fixed),
            "inputs" => Some(Source::Inputs),
            _ => numbered("target.").map(Source::Target).or_else(|| numbered("extra.").map(Source::Extra)),
        }
    }

    /// The sources of a program's inputs.
    pub(crate) fn list(inputs: &[Port]) -> Result<Vec<Self>, Error> {
        let unknown = |p: &Port| Error::Interface {
            role: "program",
            expected: "params, fixed, inputs, target.i or extra.i".into(),
            got: p.name.clone(),
        };
        inputs.iter().map(|p| Source::of(&p.name).ok_or_else(|| unknown(p))).collect()
    }

    /// Its value for a chunk, read in place.
    pub(crate) fn value<'a, T>(self, risk: &'a Risk<T>, chunk: &Chunk, extra: &'a [Value<T>]) -> Input<'a, T> {
        match self {
            Source::Params => Input::Real(risk.point()),
            Source::Fixed => Input::Real(risk.params()),
            Source::Inputs => rows(&risk.batches()[chunk.batch].inputs, &chunk.rows),
            // Of a batch that is not cut a target may have any shape.
            Source::Target(i) if chunk.rows.len() == risk.batches()[chunk.batch].len() => {
                (&risk.batches()[chunk.batch].targets[i]).into()
            }
            Source::Target(i) => rows(&risk.batches()[chunk.batch].targets[i], &chunk.rows),
            Source::Extra(i) => (&extra[i]).into(),
        }
    }
}

/// Rows of a value.
pub(crate) fn rows<'a, T>(value: &'a Value<T>, rows: &Range<usize>) -> Input<'a, T> {
    fn cut<'a, E>(a: &'a Array<E>, rows: &Range<usize>) -> &'a [E] {
        let width: usize = a.shape().iter().skip(1).product();
        &a.data()[rows.start * width..rows.end * width]
    }
    match value {
        Value::Real(a) => Input::Real(cut(a, rows)),
        Value::Int(a) => Input::Int(cut(a, rows)),
    }
}

/// Type of `n` rows of a value of type `ty`.
pub(crate) fn rows_type(ty: &TensorType, n: usize) -> TensorType {
    let mut ty = ty.clone();
    if let Some(first) = ty.shape.first_mut() {
        *first = n;
    }
    ty
}

/// Bytes of a value of this type.
pub(crate) fn bytes<T>(ty: &TensorType) -> usize {
    ty.numel() * if ty.kind == Kind::Int { size_of::<i64>() } else { size_of::<T>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_even_within_the_limits() {
        assert_eq!(chunk_size(1, 1000), 1000);
        assert_eq!(chunk_size(CHUNK_BYTES, 1000), 16, "at least 16 data");
        assert_eq!(chunk_size(CHUNK_BYTES / 300, 1000), 250);
        assert_eq!(chunk_size(0, 5), 5);
        let list = chunks([5, 0, 7].into_iter(), Some(4));
        let rows: Vec<_> = list.iter().map(|c| (c.batch, c.rows.clone(), c.first)).collect();
        assert_eq!(rows, [(0, 0..4, 0), (0, 4..5, 4), (2, 0..4, 5), (2, 4..7, 9)]);
        assert_eq!(chunks([3, 2].into_iter(), None).len(), 2);
    }
}
