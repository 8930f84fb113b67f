//! A row subset, `(S x)[i] = x[rows[i]]`. Bandwidth-bound.

use super::prelude::*;

/// Picks rows; the transposed product scatters them back.
#[derive(Clone, Debug)]
pub struct Selection<T: Scalar> {
    rows: Vec<usize>,
    n: usize,
    marker: core::marker::PhantomData<T>,
}

impl<T: Scalar> Selection<T> {
    /// Picks `rows` out of n; no repeats.
    pub fn new(rows: Vec<usize>, n: usize) -> Result<Self, Error> {
        check_indices("Selection", &rows, n)?;
        Ok(Selection { rows, n, marker: core::marker::PhantomData })
    }

    /// The rows.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.n)
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        side: Side,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        match side {
            Side::Plain => map_rows(out, x, beta, |i| self.rows[i], |_, v| alpha * v),
            Side::Transposed => {
                kernels::scale(out.rb_mut(), beta);
                for j in 0..x.ncols() {
                    for (i, &r) in self.rows.iter().enumerate() {
                        out[(r, j)] += alpha * x[(i, j)];
                    }
                }
            }
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        let p = Props::COSTIEFEL | Props::PERMUTATION.when(self.rows.len() == self.n);
        p.close(self.rows.len(), self.n)
    }
    fn price(&self, k: usize) -> Cost {
        cost::<T>(0.0, ((self.rows.len() + self.n) * k) as f64)
    }
}

operator!(Selection, Kind::Selection);
