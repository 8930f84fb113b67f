//! The inverse of a 2 x 2 grid through the Schur complement of its first block.
//!
//! `[A B; C D]^-1` needs a solve with A and the dense factorisation of `S = D - C A^-1 B`;
//! `det = det A det S`.

use crate::dispatch::Cx;
use crate::inverse::inverse_in;
use crate::ops::{Block, Factored};
use crate::{Error, LinearOperator, Op};
use numerics::{Par, Scalar};

/// A 2 x 2 grid with a solvable first block: `S = D - C A^-1 B` carries the rest.
pub(crate) struct Schur<T: Scalar> {
    a_inverse: Op<T>,
    b: Op<T>,
    c: Op<T>,
    pub(crate) complement: Op<T>,
}

impl<T: Scalar> Schur<T> {
    pub(crate) fn new(grid: &Block<T>, cx: &Cx) -> Result<Option<Self>, Error> {
        let (h, w) = grid.partition();
        let (&[m, n], true) = (h, h == w) else {
            return Ok(None);
        };
        let Some(a) = grid.block(0, 0).filter(|a| a.has_solve()) else {
            return Ok(None);
        };
        if !cx.fits(n) {
            return Ok(None);
        }
        let get = |i: usize, j: usize| grid.block(i, j).cloned().unwrap_or_else(|| Op::zero(h[i], w[j]));
        let a_inverse = match inverse_in(a, cx) {
            Ok(inverse) => inverse,
            Err(Error::Singular { .. }) => {
                return Err(Error::SingularBase { op: "Schur complement", n: m, limit: cx.limits.dense });
            }
            Err(e) => return Err(e),
        };
        let (b, c) = (get(0, 1), get(1, 0));
        let through = crate::algebra::product(&[c.clone(), a_inverse.clone(), b.clone()])?;
        let dense = get(1, 1).plus(&through.scaled(-T::ONE))?.to_dense(cx.par)?;
        Ok(Some(Schur { a_inverse, b, c, complement: Op::dense(dense) }))
    }

    pub(crate) fn inverse(&self) -> Result<Op<T>, Error> {
        let par = Par::Seq;
        let dense = crate::to_dense(&self.complement, par)?;
        let s = Op::new(Factored::new(self.complement.clone(), dense.as_ref(), par)?);
        let left = crate::algebra::product(&[self.a_inverse.clone(), self.b.clone(), s.clone()])?.scaled(-T::ONE);
        let right = self.c.times(&self.a_inverse)?;
        let (m, n) = (self.a_inverse.nrows(), s.nrows());
        let corner = self.a_inverse.plus(&left.times(&right)?.scaled(-T::ONE))?;
        let lower = s.times(&right)?.scaled(-T::ONE);
        let rows = vec![vec![Some(corner), Some(left)], vec![Some(lower), Some(s)]];
        Ok(Op::new(Block::new(vec![m, n], vec![m, n], rows)?))
    }
}
