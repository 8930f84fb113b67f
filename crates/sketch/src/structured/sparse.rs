//! Sparse sign sketches: every column of S has the same few entries `+-1/sqrt(zeta)` at distinct random rows.

use super::check;
use crate::Error;
use crate::products::check_shapes;
use linop_core::{Cost, LinearOperator};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};
use std::ops::Range;

/// An `l x n` matrix with `zeta` signs a column.
///
/// Cost: `2 zeta n` flops for each column of a product, `16 zeta n` bytes. Source: arXiv:1902.08651 section 3.3; count sketch,
/// Clarkson and Woodruff 2013.
#[derive(Clone, Debug)]
pub struct SparseSigns {
    n: usize,
    l: usize,
    zeta: usize,
    /// Row and sign of every entry, `zeta` a column.
    entries: Vec<(u32, f64)>,
}

impl SparseSigns {
    /// The sketch number `ordinal` of this seed: n numbers to l, `min(8, l)` entries a column.
    ///
    /// Cost: `O(n)`.
    ///
    /// # Errors
    /// `SketchTooSmall` for l = 0, `TooManyProbes` for l > n.
    pub fn new(n: usize, l: usize, seed: u64, ordinal: u64) -> Result<Self, Error> {
        Self::with_entries(n, l, 8.min(l), seed, ordinal)
    }

    /// Count sketch: a single entry a column.
    ///
    /// Cost: `O(n)`.
    ///
    /// # Errors
    /// As [`SparseSigns::new`].
    pub fn count_sketch(n: usize, l: usize, seed: u64, ordinal: u64) -> Result<Self, Error> {
        Self::with_entries(n, l, 1, seed, ordinal)
    }

    fn with_entries(n: usize, l: usize, zeta: usize, seed: u64, ordinal: u64) -> Result<Self, Error> {
        check("sparse signs", l, n)?;
        let mut stream = Stream::new(seed, Role::StructuredSketch, ordinal, 0);
        let size = (zeta as f64).sqrt().recip();
        let mut entries: Vec<(u32, f64)> = Vec::with_capacity(n * zeta);
        for column in 0..n {
            let mut bits = stream.next_u64();
            while entries.len() < (column + 1) * zeta {
                let row = stream.below(l as u64) as u32;
                if entries[column * zeta..].iter().all(|e| e.0 != row) {
                    entries.push((row, if bits & 1 == 1 { -size } else { size }));
                    bits >>= 1;
                }
            }
        }
        Ok(SparseSigns { n, l, zeta, entries })
    }

    fn column(&self, j: usize) -> &[(u32, f64)] {
        &self.entries[j * self.zeta..(j + 1) * self.zeta]
    }

    /// Some columns of the transpose: test vectors of length n.
    ///
    /// # Errors
    /// `TooManyProbes` if the range leaves the sketch.
    pub fn columns(&self, range: Range<usize>) -> Result<Mat<f64>, Error> {
        if range.end > self.l {
            return Err(Error::TooManyProbes { op: "columns", asked: range.end, limit: self.l });
        }
        let mut out = Mat::zeros(self.n, range.len());
        for i in 0..self.n {
            for &(row, sign) in self.column(i) {
                if range.contains(&(row as usize)) {
                    out[(i, row as usize - range.start)] = sign;
                }
            }
        }
        Ok(out)
    }
}

impl<T: Scalar> LinearOperator<T> for SparseSigns {
    fn nrows(&self) -> usize {
        self.l
    }

    fn ncols(&self) -> usize {
        self.n
    }

    fn apply_req(&self, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check_shapes("sparse signs", (self.l, self.n), &out, &x)?;
        dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO {
            return Ok(());
        }
        for k in 0..x.ncols() {
            for j in 0..self.n {
                for &(row, sign) in self.column(j) {
                    out[(row as usize, k)] += alpha * T::from_f64(sign) * x[(j, k)];
                }
            }
        }
        Ok(())
    }

    fn apply_t(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check_shapes("sparse signs", (self.n, self.l), &out, &x)?;
        dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO {
            return Ok(());
        }
        for k in 0..x.ncols() {
            for j in 0..self.n {
                let sum: T = self.column(j).iter().map(|&(row, sign)| T::from_f64(sign) * x[(row as usize, k)]).sum();
                out[(j, k)] += alpha * sum;
            }
        }
        Ok(())
    }

    fn cost(&self, k: usize) -> Cost {
        let (entries, k) = (self.entries.len() as f64, k as f64);
        let bytes = entries * size_of::<(u32, f64)>() as f64 + size_of::<T>() as f64 * k * (self.n + self.l) as f64;
        Cost { flops: 2.0 * entries * k, bytes }
    }
}
