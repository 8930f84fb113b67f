//! Random test matrices: tall blocks of probe columns with `E[v v^T] = I`, of which any column can be made alone.
//!
//! Column j is the random stream (seed, role, j, 0), drawn in double precision. So a block of columns is the same
//! whatever was asked for before it, and adding columns never changes earlier ones. Roles keep the probes of a
//! sketch apart from those that test it. Cost: about 1 ns (signs) to 10 ns (normals) an entry.

use crate::Error;
use crate::products::check_shapes;
use linop_core::{Cost, LinearOperator, Props};
use numerics::rng::{self, Law, Role};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};
use rayon::prelude::*;
use std::ops::Range;

/// A law, a seed and a role: an endless supply of probe columns of any length.
///
/// ```
/// use numerics::rng::{Law, Role};
/// use sketch::Probe;
/// let probe = Probe { law: Law::Rademacher, seed: 0, role: Role::RightProbe };
/// let first = probe.columns(8, 0..1);
/// assert_eq!(probe.columns(8, 0..3)[(2, 0)], first[(2, 0)]);
/// assert_eq!(first.col_as_slice(0), [1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Law of a column.
    pub law: Law,
    /// Seed.
    pub seed: u64,
    /// What the columns are for.
    pub role: Role,
}

impl Probe {
    /// Some columns of length `n`.
    ///
    /// `n x range.len()`. Cost: 1 ns (signs) to 10 ns (normals) an entry.
    pub fn columns(&self, n: usize, range: Range<usize>) -> Mat<f64> {
        let mut out = Mat::zeros(n, range.len());
        for (j, column) in range.enumerate() {
            rng::probe(self.law, self.seed, self.role, column as u64, out.col_as_slice_mut(j));
        }
        out
    }

    /// The same columns, drawn on several threads.
    pub(crate) fn columns_on(&self, n: usize, range: Range<usize>, par: Par) -> Mat<f64> {
        if par.degree() == 1 || range.len() * n < 1 << 16 {
            return self.columns(n, range);
        }
        let first = range.start;
        let mut out = dense::zeros(n, range.len(), par);
        out.as_mut().par_col_iter_mut().enumerate().for_each(|(j, column)| {
            if let Some(column) = column.try_as_col_major_mut() {
                rng::probe(self.law, self.seed, self.role, (first + j) as u64, column.as_slice_mut());
            }
        });
        out
    }

    /// The `n x p` test matrix as an operator.
    ///
    /// Cost: none; a product draws all columns.
    pub fn operator(&self, n: usize, p: usize) -> ProbeMatrix {
        ProbeMatrix { probe: *self, n, p }
    }
}

/// An `n x p` matrix of probes as an operator that stores nothing: columns are drawn anew for every product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeMatrix {
    probe: Probe,
    n: usize,
    p: usize,
}

/// Columns drawn at a time. Part of the definition of the sums in a product, hence fixed.
const WIDTH: usize = 32;
/// Flops of a normal number, about.
const NORMAL: f64 = 20.0;

impl ProbeMatrix {
    /// Where the columns come from.
    pub fn probe(&self) -> Probe {
        self.probe
    }

    /// Some of its columns.
    ///
    /// `n x range.len()`.
    ///
    /// # Errors
    /// `TooManyProbes` if the range leaves the matrix.
    pub fn columns(&self, range: Range<usize>) -> Result<Mat<f64>, Error> {
        if range.end > self.p {
            return Err(Error::TooManyProbes { op: "columns", asked: range.end, limit: self.p });
        }
        Ok(self.probe.columns(self.n, range))
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let p = self.p;
        (0..p).step_by(WIDTH).map(move |start| start..(start + WIDTH).min(p))
    }

    fn drawn<T: Scalar>(&self, range: Range<usize>) -> Mat<T> {
        let wide = self.probe.columns(self.n, range);
        Mat::from_fn(wide.nrows(), wide.ncols(), |i, j| T::from_f64(wide[(i, j)]))
    }
}

impl<T: Scalar> LinearOperator<T> for ProbeMatrix {
    fn nrows(&self) -> usize {
        self.n
    }

    fn ncols(&self) -> usize {
        self.p
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
        par: Par,
        _: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check_shapes("probe matrix", (self.n, self.p), &out, &x)?;
        dense::scale(out.as_mut(), beta);
        if alpha != T::ZERO {
            for range in self.blocks() {
                let omega = self.drawn::<T>(range.clone());
                let x = x.subrows(range.start, range.len());
                dense::gemm(out.as_mut(), alpha, omega.as_ref(), x, T::ONE, par);
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
        par: Par,
        _: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        check_shapes("probe matrix", (self.p, self.n), &out, &x)?;
        if alpha == T::ZERO {
            dense::scale(out, beta);
            return Ok(());
        }
        for range in self.blocks() {
            let omega = self.drawn::<T>(range.clone());
            let rows = out.as_mut().subrows_mut(range.start, range.len());
            dense::gemm(rows, alpha, omega.transpose(), x, beta, par);
        }
        Ok(())
    }

    fn props(&self) -> Props {
        Props::NONE
    }

    /// Nothing is read but the vectors; every entry is drawn anew, written once in double precision and once in the operator's
    /// own, and read as often. Results of n rows are visited for every block of columns drawn.
    fn cost(&self, k: usize) -> Cost {
        let (n, p, k) = (self.n as f64, self.p as f64, k as f64);
        let draw = match self.probe.law {
            Law::Rademacher | Law::Coordinates => 1.0,
            Law::Gaussian | Law::Sphere => NORMAL,
        };
        let own = size_of::<T>() as f64;
        let drawn = 2.0 * (size_of::<f64>() as f64 + own) * n * p;
        let visits = 2.0 * self.p.div_ceil(WIDTH) as f64;
        Cost { flops: n * p * (2.0 * k + draw), bytes: drawn + own * k * (visits * n + p) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drawing does not grow with the columns of a product, everything else does.
    #[test]
    fn the_cost_is_that_of_drawing_and_of_the_product() {
        let signs = Probe { law: Law::Rademacher, seed: 0, role: Role::RightProbe };
        let cost = |a: ProbeMatrix, k| LinearOperator::<f64>::cost(&a, k);
        let a = signs.operator(1000, 64);
        let (none, one, ten) = (cost(a, 0), cost(a, 1), cost(a, 10));
        assert_eq!(ten.flops - none.flops, 10.0 * (one.flops - none.flops));
        assert_eq!(one.flops - none.flops, 2.0 * 1000.0 * 64.0);
        assert_eq!(none.bytes, 32.0 * 1000.0 * 64.0);
        assert_eq!(one.bytes - none.bytes, 8.0 * (4.0 * 1000.0 + 64.0));
        let normal = Probe { law: Law::Gaussian, ..signs }.operator(1000, 64);
        assert!(cost(normal, 1).flops > cost(a, 1).flops);
        let single = LinearOperator::<f32>::cost(&a, 1);
        assert!(single.flops == one.flops && single.bytes < one.bytes);
    }

    /// Columns one, seven or all at a time, on one thread or two; more columns change none of the first, other roles all.
    #[test]
    fn a_column_is_the_same_however_it_is_drawn() {
        let n = 5000;
        for law in [Law::Rademacher, Law::Gaussian, Law::Sphere, Law::Coordinates] {
            let probe = Probe { law, seed: 9, role: Role::RightProbe };
            let all = probe.columns(n, 0..20);
            for width in [1, 7, 20] {
                for par in [Par::Seq, Par::rayon(2)] {
                    for start in (0..20).step_by(width) {
                        let range = start..(start + width).min(20);
                        let part = probe.columns_on(n, range.clone(), par);
                        assert_eq!(part.as_ref(), all.as_ref().subcols(start, range.len()), "{law} {width} {par:?}");
                    }
                }
            }
            let other = Probe { role: Role::TestProbe, ..probe }.columns(n, 0..20);
            assert!((0..20).all(|j| other.col_as_slice(j) != all.col_as_slice(j)), "{law}");
        }
    }
}
