//! Tall matrices row by row: what belongs to one row of the operator is contiguous. Probes of signs take a bit an entry.

use crate::Probe;
#[cfg(test)]
use numerics::MatMut;
use numerics::rng::Law;
use numerics::{Mat, MatRef, Par, dense};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of one piece of work. Rows do not see each other, so the number changes no result.
pub(super) const ROWS: usize = 128;

/// A tall n x p matrix stored row by row.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    p: usize,
    n: usize,
    data: Vec<f64>,
}

impl Rows {
    pub(crate) fn zeros(n: usize, p: usize) -> Self {
        Rows { p, n, data: vec![0.0; n * p] }
    }

    /// Rows of the tall matrix.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Its columns.
    pub(crate) fn p(&self) -> usize {
        self.p
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.p..(i + 1) * self.p]
    }

    /// The transpose, p x n.
    pub(crate) fn wide(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.data, self.p, self.n)
    }

    pub(crate) fn norm_sq(&self) -> f64 {
        dense::dot(&self.data, &self.data)
    }

    pub(crate) fn dot(&self, other: &Self) -> f64 {
        dense::dot(&self.data, &other.data)
    }

    /// Pieces of [`ROWS`] whole rows, to be worked on side by side.
    pub(crate) fn pieces(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.data.chunks_mut((ROWS * self.p).max(1))
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }
}

/// An n x p matrix of probes, read row by row.
#[derive(Clone, Debug)]
pub(crate) enum Probes {
    /// 64 columns a word: bit c of `words[g n + i]` is set where entry `(i, 64 g + c)` is -1.
    Signs {
        /// Rows.
        n: usize,
        /// Columns.
        p: usize,
        /// The bits.
        words: Vec<u64>,
    },
    /// Any other law.
    Dense(Rows),
}

/// Columns in a word.
const WORD: usize = 64;

impl Probes {
    /// The columns of `probe` with these numbers.
    pub(crate) fn draw(probe: &Probe, n: usize, columns: &[usize], par: Par) -> Self {
        if probe.law != Law::Rademacher {
            let mut out = Rows::zeros(n, columns.len());
            for (j, &c) in columns.iter().enumerate() {
                let column = probe.columns(n, c..c + 1);
                column.col_as_slice(0).iter().enumerate().for_each(|(i, &x)| out.data[i * out.p + j] = x);
            }
            return Probes::Dense(out);
        }
        let p = columns.len();
        let mut words = vec![0u64; n * p.div_ceil(WORD)];
        let fill = |_: &mut (), (words, columns): (&mut [u64], &[usize])| {
            for (bit, &c) in columns.iter().enumerate() {
                let column = probe.columns(n, c..c + 1);
                words.iter_mut().zip(column.col_as_slice(0)).for_each(|(w, x)| *w |= (x.to_bits() >> 63) << bit);
            }
        };
        let work: Vec<_> = words.chunks_mut(n.max(1)).zip(columns.chunks(WORD)).collect();
        for_each(work, par, || (), fill);
        Probes::Signs { n, p, words }
    }

    /// Given columns.
    #[cfg(test)]
    pub(crate) fn given(omega: MatRef<'_, f64>) -> Self {
        let mut out = Rows::zeros(omega.nrows(), omega.ncols());
        dense::copy(MatMut::from_column_major_slice_mut(&mut out.data, out.p, out.n), omega.transpose());
        Probes::Dense(out)
    }

    pub(crate) fn n(&self) -> usize {
        match self {
            Probes::Signs { n, .. } => *n,
            Probes::Dense(rows) => rows.n,
        }
    }

    pub(crate) fn p(&self) -> usize {
        match self {
            Probes::Signs { p, .. } => *p,
            Probes::Dense(rows) => rows.p,
        }
    }

    /// Row i; `room` holds p numbers.
    #[inline(always)]
    pub(crate) fn row<'a>(&'a self, i: usize, room: &'a mut [f64]) -> &'a [f64] {
        self.unpack(i, room);
        self.unpacked(i, room)
    }

    /// Writes row i into the room, unless it can be read where it is.
    #[inline(always)]
    pub(crate) fn unpack(&self, i: usize, room: &mut [f64]) {
        const ONE: u64 = 1.0f64.to_bits();
        if let Probes::Signs { n, words, .. } = self {
            for (g, out) in room.chunks_mut(WORD).enumerate() {
                let word = words[g * n + i];
                for (c, x) in out.iter_mut().enumerate() {
                    *x = f64::from_bits(ONE | ((word >> c) << 63));
                }
            }
        }
    }

    /// Row i that was unpacked last into the room.
    #[inline(always)]
    pub(crate) fn unpacked<'a>(&'a self, i: usize, room: &'a [f64]) -> &'a [f64] {
        match self {
            Probes::Dense(rows) => rows.row(i),
            Probes::Signs { .. } => room,
        }
    }

    /// Some rows as a matrix.
    pub(crate) fn rows(&self, range: Range<usize>) -> Mat<f64> {
        let mut room = vec![0.0; self.p()];
        let mut out = Mat::zeros(range.len(), self.p());
        for (k, i) in range.enumerate() {
            for (j, &x) in self.row(i, &mut room).iter().enumerate() {
                out[(k, j)] = x;
            }
        }
        out
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Probes::Signs { words, .. } => size_of_val(words.as_slice()),
            Probes::Dense(rows) => rows.bytes(),
        }
    }
}

/// Runs independent pieces of work, each thread with room of its own.
pub(super) fn for_each<W: Send, S>(
    work: Vec<W>,
    par: Par,
    room: impl Fn() -> S + Sync + Send,
    run: impl Fn(&mut S, W) + Sync + Send,
) {
    if par.degree() > 1 {
        work.into_par_iter().for_each_init(room, run);
    } else {
        let mut room = room();
        work.into_iter().for_each(|w| run(&mut room, w));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::rng::Role;

    /// Bits and numbers are the same probes.
    #[test]
    fn signs_are_those_of_the_columns() {
        let probe = |law| Probe { law, seed: 3, role: Role::RightProbe };
        let columns: Vec<usize> = (0..150).filter(|c| c % 7 != 2).collect();
        for n in [0, 1, 129] {
            for law in [Law::Rademacher, Law::Sphere] {
                let whole =
                    Mat::from_fn(n, columns.len(), |i, j| probe(law).columns(n, columns[j]..columns[j] + 1)[(i, 0)]);
                for par in [Par::Seq, Par::rayon(2)] {
                    let packed = Probes::draw(&probe(law), n, &columns, par);
                    assert_eq!((packed.n(), packed.p()), (n, columns.len()));
                    assert_eq!(packed.rows(0..n), whole);
                    assert!(law != Law::Rademacher || packed.bytes() == n * columns.len().div_ceil(WORD) * 8);
                }
            }
        }
    }
}
