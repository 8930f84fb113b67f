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
use numerics::{Mat, MatMut, MemBuffer, MemStack, Par, Scalar, dense};

/// Steps between corrections after the map with three factors.
const CORRECTION_PERIOD: u64 = 10;

/// Turns a row-major basis; `step` counts the turns, this one included.
pub(crate) fn turn<T: Scalar>(
    b: &mut [T],
    n: usize,
    skew: &mut Mat<T>,
    kind: Cayley,
    step: u64,
    par: Par,
) -> Result<(), Error> {
    match kind {
        Cayley::Exact => exact(b, n, skew),
        Cayley::Two => {
            truncated(b, n, skew, false, par);
            correct(b, n, par);
            Ok(())
        }
        Cayley::Three => {
            truncated(b, n, skew, true, par);
            if step.is_multiple_of(CORRECTION_PERIOD) {
                correct(b, n, par);
            }
            Ok(())
        }
    }
}

fn exact<T: Scalar>(b: &mut [T], n: usize, skew: &mut Mat<T>) -> Result<(), Error> {
    for i in 0..n {
        skew[(i, i)] = T::ONE;
    }
    let lu = dense::Lu::new(skew.as_ref(), Par::Seq)?;
    let mut y = b.to_vec();
    let mut buffer = MemBuffer::new(lu.solve_req(n, Par::Seq));
    // A row-major basis read by columns is its transpose.
    let transposed = MatMut::from_column_major_slice_mut(&mut y, n, n);
    lu.solve_in_place(transposed, Par::Seq, MemStack::new(&mut buffer));
    if !y.iter().all(|x| x.is_finite()) {
        return Err(numerics::Error::Singular { op: "cayley" }.into());
    }
    let two = T::from_f64(2.0);
    b.iter_mut().zip(&y).for_each(|(b, &y)| *b = two * y - *b);
    Ok(())
}

fn truncated<T: Scalar>(b: &mut [T], n: usize, skew: &mut Mat<T>, third: bool, par: Par) {
    let mut square_of_skew = Mat::zeros(n, n);
    dense::gemm(square_of_skew.as_mut(), T::ONE, skew.as_ref(), skew.as_ref(), T::ZERO, par);
    let mut next = square(b, n).to_owned();
    let mut current = next.clone();
    // (I + X) from the right: next = current + current X.
    let mut times = |x: &Mat<T>| {
        dense::gemm(next.as_mut(), T::ONE, current.as_ref(), x.as_ref(), T::ONE, par);
        dense::copy(current.as_mut(), next.as_ref());
    };
    times(skew);
    times(skew);
    times(&square_of_skew);
    if third {
        let mut fourth = Mat::zeros(n, n);
        dense::gemm(fourth.as_mut(), T::ONE, square_of_skew.as_ref(), square_of_skew.as_ref(), T::ZERO, par);
        times(&fourth);
    }
    dense::copy(square_mut(b, n), current.as_ref());
}

/// `B <- B (1.5 I - 0.5 B^T B)`: squares a small defect of orthogonality.
pub(crate) fn correct<T: Scalar>(b: &mut [T], n: usize, par: Par) {
    let old = square(b, n).to_owned();
    let mut gram = Mat::zeros(n, n);
    dense::gemm(gram.as_mut(), T::ONE, old.transpose(), old.as_ref(), T::ZERO, par);
    dense::gemm(square_mut(b, n), T::from_f64(-0.5), old.as_ref(), gram.as_ref(), T::from_f64(1.5), par);
}
