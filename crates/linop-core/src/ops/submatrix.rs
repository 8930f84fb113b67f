//! Rows and columns of an operator: scatter, multiply, gather.

use super::prelude::*;

/// `A[rows, cols]`.
#[derive(Clone, Debug)]
pub struct Submatrix<T: Scalar> {
    inner: Op<T>,
    rows: Vec<usize>,
    cols: Vec<usize>,
    props: Props,
}

impl<T: Scalar> Submatrix<T> {
    /// The submatrix with these rows and columns, without repeats.
    pub fn new(inner: Op<T>, rows: Vec<usize>, cols: Vec<usize>) -> Result<Self, Error> {
        check_indices("Submatrix", &rows, inner.nrows())?;
        check_indices("Submatrix", &cols, inner.ncols())?;
        let facts = inner.props();
        let mut props = facts & Props::ZERO;
        if rows == cols && inner.nrows() == inner.ncols() {
            props = props | facts.principal(rows.is_sorted(), rows.len());
        }
        props = props | (facts & Props::STIEFEL).when(rows.len() == inner.nrows());
        props = props | (facts & Props::COSTIEFEL).when(cols.len() == inner.ncols());
        let props = props.close(rows.len(), cols.len());
        Ok(Submatrix { inner, rows, cols, props })
    }

    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }

    /// The rows and the columns.
    pub fn indices(&self) -> (&[usize], &[usize]) {
        (&self.rows, &self.cols)
    }

    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.cols.len())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        temp_req::<T>(self.inner.nrows(), k).and(temp_req::<T>(self.inner.ncols(), k)).and(side.req(
            &self.inner,
            k,
            par,
        ))
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let k = x.ncols();
        let (m, n) = side.pick((self.inner.nrows(), self.inner.ncols()), (self.inner.ncols(), self.inner.nrows()));
        let (gather, scatter) = side.pick((&self.rows, &self.cols), (&self.cols, &self.rows));
        temp!(wide, rest = stack, n * k);
        temp!(tall, rest = rest, m * k);
        for j in 0..k {
            for (i, &s) in scatter.iter().enumerate() {
                wide[j * n + s] = x[(i, j)];
            }
        }
        side.run(&self.inner, view_mut(tall, m, k), T::ONE, view(wide, n, k), T::ZERO, par, rest)?;
        map_rows(out, view(tall, m, k), beta, |i| gather[i], |_, v| alpha * v);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
}

operator!(Submatrix, Kind::Submatrix);
