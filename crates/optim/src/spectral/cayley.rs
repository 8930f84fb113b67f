//! `B <- B Cay(N)` for a skew matrix `N`, `Cay(N) = (I + N)(I - N)^-1`.
//!
//! Exact: `Cay(N) = 2 (I - N)^-1 - I`, so with `Y = B (I - N)^-1` it is `2 Y - B`; `Y^T` solves `(I + N) Y^T = B^T`, one LU
//! and one solve, about `2.7 n^3` flops. The symmetric part of `I + N` is the identity, so the factorisation cannot break
//! down. Truncated: `(I + N)^2 (I - N^2)^-1` with the first two or three factors of the product
//! `(I + N^2)(I + N^4) ..`, `8 n^3` or `12 n^3` flops. With eigenvalues `+- i t` of `N` the squared singular values of the
//! truncated map are `(1 - t^4)^2` and `(1 - t^8)^2`.

use super::Cayley;
use crate::Error;
use crate::kron_engine::modes::{square, square_mut};
use numerics::dense::FactorWork;
use numerics::{Mat, MatMut, Par, Scalar, dense};

/// Steps between corrections after the map with three factors.
const CORRECTION_PERIOD: u64 = 10;

/// A defect of one half takes six.
const MAX_CORRECTIONS: usize = 10;

/// Memory of the map, made at first use.
#[derive(Clone, Debug)]
pub(crate) struct CayleyWork<T: Scalar> {
    factor: FactorWork<T>,
    mats: [Mat<T>; 4],
}

impl<T: Scalar> CayleyWork<T> {
    pub(crate) fn new(n: usize, kind: Cayley) -> Self {
        // The exact map takes one matrix, the truncated ones four.
        let exact = kind == Cayley::Exact;
        let mats = core::array::from_fn(|k| if exact && k > 0 { Mat::zeros(0, 0) } else { Mat::zeros(n, n) });
        CayleyWork { factor: FactorWork::new(if exact { n } else { 0 }), mats }
    }

    fn room(&mut self, n: usize) {
        for m in &mut self.mats {
            if m.nrows() != n {
                *m = Mat::zeros(n, n);
            }
        }
    }

    /// Turns a row-major basis; `step` counts the turns, this one included. `skew` is used up.
    pub(crate) fn turn(
        &mut self,
        b: &mut [T],
        n: usize,
        skew: &mut Mat<T>,
        kind: Cayley,
        step: u64,
        par: Par,
    ) -> Result<(), Error> {
        match kind {
            Cayley::Exact => self.exact(b, n, skew),
            Cayley::Two => {
                self.truncated(b, n, skew, false, par);
                let _defect = self.correct(b, n, par);
                Ok(())
            }
            Cayley::Three => {
                self.truncated(b, n, skew, true, par);
                if step.is_multiple_of(CORRECTION_PERIOD) {
                    let _defect = self.correct(b, n, par);
                }
                Ok(())
            }
        }
    }

    fn exact(&mut self, b: &mut [T], n: usize, skew: &mut Mat<T>) -> Result<(), Error> {
        if self.factor.order() != n {
            self.factor = FactorWork::new(n);
        }
        for i in 0..n {
            skew[(i, i)] = T::ONE;
        }
        // A row-major basis read by columns is its transpose.
        let y = &mut self.mats[0];
        dense::copy(y.as_mut(), MatMut::from_column_major_slice_mut(b, n, n).as_ref());
        self.factor.lu_solve(skew.as_mut(), y.as_mut())?;
        if !dense::is_all_finite(y.as_ref()) {
            return Err(numerics::Error::Singular { op: "cayley" }.into());
        }
        let two = T::from_f64(2.0);
        for (j, b) in b.chunks_exact_mut(n.max(1)).enumerate() {
            b.iter_mut().zip(y.col_as_slice(j)).for_each(|(b, &y)| *b = two * y - *b);
        }
        Ok(())
    }

    fn truncated(&mut self, b: &mut [T], n: usize, skew: &mut Mat<T>, third: bool, par: Par) {
        self.room(n);
        let [power, current, next, fourth] = &mut self.mats;
        dense::gemm(power.as_mut(), T::ONE, skew.as_ref(), skew.as_ref(), T::ZERO, par);
        dense::copy(next.as_mut(), square(b, n));
        dense::copy(current.as_mut(), square(b, n));
        // (I + X) from the right: next = current + current X.
        let mut times = |x: &Mat<T>| {
            dense::gemm(next.as_mut(), T::ONE, current.as_ref(), x.as_ref(), T::ONE, par);
            dense::copy(current.as_mut(), next.as_ref());
        };
        times(skew);
        times(skew);
        times(power);
        if third {
            dense::gemm(fourth.as_mut(), T::ONE, power.as_ref(), power.as_ref(), T::ZERO, par);
            times(fourth);
        }
        dense::copy(square_mut(b, n), current.as_ref());
    }

    /// `B <- B (1.5 I - 0.5 B^T B)`: squares a small defect of orthogonality. Returns the defect that there was, `|B^T B - I|_F`.
    pub(crate) fn correct(&mut self, b: &mut [T], n: usize, par: Par) -> f64 {
        self.room(n);
        let [gram, old, ..] = &mut self.mats;
        dense::copy(old.as_mut(), square(b, n));
        dense::gemm(gram.as_mut(), T::ONE, old.transpose(), old.as_ref(), T::ZERO, par);
        dense::gemm(square_mut(b, n), T::from_f64(-0.5), old.as_ref(), gram.as_ref(), T::from_f64(1.5), par);
        crate::roots::add_to_diagonal(gram.as_mut(), -T::ONE);
        dense::norm_l2(gram.as_ref()).to_f64()
    }

    /// Corrects until the defect is at rounding: after a map of a skew matrix so large that the solve has lost digits.
    pub(crate) fn restore(&mut self, b: &mut [T], n: usize, par: Par) {
        let small = T::EPS.to_f64().sqrt();
        for _ in 0..MAX_CORRECTIONS {
            if self.correct(b, n, par) < small {
                return;
            }
        }
    }
}
