//! A diagonal matrix. Bandwidth-bound.

use super::prelude::*;

/// `diag(d)`; the signs of d are checked at construction.
#[derive(Clone, Debug)]
pub struct Diagonal<T: Scalar> {
    d: Vec<T>,
    props: Props,
}

impl<T: Scalar> Diagonal<T> {
    /// `diag(d)`.
    pub fn new(d: Vec<T>) -> Self {
        let props = Props::of_diagonal(d.iter().map(|x| x.to_f64()));
        Diagonal { d, props }
    }

    /// The diagonal.
    pub fn values(&self) -> &[T] {
        &self.d
    }

    fn shape(&self) -> (usize, usize) {
        (self.d.len(), self.d.len())
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        map_rows(out, x, beta, |i| i, |i, v| alpha * self.d[i] * v);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let nk = (self.d.len() * k) as f64;
        cost::<T>(2.0 * nk, 2.0 * nk + self.d.len() as f64)
    }
}

operator!(Diagonal, Kind::Diagonal);
