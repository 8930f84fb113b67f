//! A sum: the first term is written with the caller's beta, the others are accumulated. Scratch is the largest child's.

use super::prelude::*;

/// `A1 + A2 + ...`
#[derive(Clone, Debug)]
pub struct Sum<T: Scalar> {
    terms: Vec<Op<T>>,
    props: Props,
}

impl<T: Scalar> Sum<T> {
    /// A sum of at least one operator of one shape.
    pub fn new(terms: Vec<Op<T>>) -> Result<Self, Error> {
        let Some(first) = terms.first() else {
            return Err(Error::InvalidArgument { op: "Sum", what: "needs at least one term".into() });
        };
        let (m, n) = (first.nrows(), first.ncols());
        let mut props = first.props();
        for t in &terms[1..] {
            if (t.nrows(), t.ncols()) != (m, n) {
                return Err(shape_error("Sum", format!("{m} x {n}"), format!("{} x {}", t.nrows(), t.ncols())));
            }
            props = props.add(t.props(), m, n);
        }
        Ok(Sum { terms, props })
    }

    /// The terms.
    pub fn terms(&self) -> &[Op<T>] {
        &self.terms
    }

    fn shape(&self) -> (usize, usize) {
        (self.terms[0].nrows(), self.terms[0].ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        self.terms.iter().fold(StackReq::EMPTY, |r, t| r.or(side.req(t, k, par)))
    }
    fn run(
        &self,
        side: Side,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        for (i, t) in self.terms.iter().enumerate() {
            let beta = if i == 0 { beta } else { T::ONE };
            side.run(t, out.rb_mut(), alpha, x, beta, par, stack)?;
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        self.terms.iter().fold(Cost::default(), |c, t| add_cost(c, t.cost(k)))
    }
}

operator!(Sum, Kind::Sum);
