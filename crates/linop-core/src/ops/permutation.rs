//! A permutation, `(P x)[i] = x[p[i]]`. Bandwidth-bound gathers in both directions.

use super::prelude::*;

/// `(P x)[i] = x[p[i]]`; hence `P1 P2` has the list `p2[p1[i]]` and `P^T` the inverse list.
#[derive(Clone, Debug)]
pub struct Permutation<T: Scalar> {
    list: Vec<usize>,
    inverse: Vec<usize>,
    identity: bool,
    marker: core::marker::PhantomData<T>,
}

impl<T: Scalar> Permutation<T> {
    /// The permutation with this list.
    pub fn new(list: Vec<usize>) -> Result<Self, Error> {
        check_indices("Permutation", &list, list.len())?;
        let mut inverse = vec![0; list.len()];
        for (i, &p) in list.iter().enumerate() {
            inverse[p] = i;
        }
        let identity = list.iter().enumerate().all(|(i, &p)| i == p);
        Ok(Permutation { list, inverse, identity, marker: core::marker::PhantomData })
    }

    /// The list p.
    pub fn list(&self) -> &[usize] {
        &self.list
    }

    /// The list of the inverse.
    pub fn inverse_list(&self) -> &[usize] {
        &self.inverse
    }

    /// `+1` or `-1`: `(-1)^(n - number of cycles)`.
    pub fn sign(&self) -> T {
        let mut seen = vec![false; self.list.len()];
        let mut odd = false;
        for start in 0..self.list.len() {
            let mut i = start;
            let mut length = 0;
            while !seen[i] {
                seen[i] = true;
                i = self.list[i];
                length += 1;
            }
            odd ^= length > 0 && length % 2 == 0;
        }
        if odd { -T::ONE } else { T::ONE }
    }

    fn shape(&self) -> (usize, usize) {
        (self.list.len(), self.list.len())
    }
    fn req(&self, _: Side, _: usize, _: Par) -> StackReq {
        StackReq::EMPTY
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        _: Par,
        _: &mut MemStack,
    ) -> Result<(), Error> {
        let list = side.pick(&self.list, &self.inverse);
        map_rows(out, x, beta, |i| list[i], |_, v| alpha * v);
        Ok(())
    }
    fn facts(&self) -> Props {
        let n = self.list.len();
        let involution = self.list == self.inverse;
        (Props::PERMUTATION | Props::SELF_ADJOINT.when(involution) | Props::IDENTITY.when(self.identity)).close(n, n)
    }
    fn price(&self, k: usize) -> Cost {
        cost::<T>(0.0, 2.0 * (self.list.len() * k) as f64)
    }
}

operator!(Permutation, Kind::Permutation);
