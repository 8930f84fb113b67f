//! The debug-build check of facts that a caller vouches for: two fixed vectors at the first product.
//!
//! Costs one product with two columns, once per operator. Violations are relative to the larger vector times the larger
//! image (one of the two may lie in the null space, and its image be rounding): 1e-10 in `f64`, 1e-4 in `f32`, whose
//! rounding is larger than 1e-10.

use crate::{Error, Props};
use numerics::{Mat, MatMut, MatRef, Scalar};

/// Error if SELF_ADJOINT or PSD among `facts` does not hold for the two vectors; `product` writes `A x` to `out`.
pub(super) fn probe<T: Scalar>(
    facts: Props,
    n: usize,
    product: impl FnOnce(MatMut<'_, T>, MatRef<'_, T>) -> Result<(), Error>,
) -> Result<(), Error> {
    if !facts.intersects(Props::SELF_ADJOINT | Props::PSD) || n == 0 {
        return Ok(());
    }
    let tolerance = if size_of::<T>() == 4 { 1e-4 } else { 1e-10 };
    let x = Mat::from_fn(n, 2, |i, j| {
        // A fixed quasi-random sequence in (-1, 1) per column; nothing depends on its quality.
        let step = [0.618_033_988_749_894_9, 0.414_213_562_373_095_05][j];
        T::from_f64(2.0 * ((i + 1) as f64 * step).fract() - 1.0)
    });
    let mut y = Mat::zeros(n, 2);
    product(y.as_mut(), x.as_ref())?;
    let dot = |a: &Mat<T>, i: usize, b: &Mat<T>, j: usize| -> f64 {
        (0..n).map(|r| a[(r, i)].to_f64() * b[(r, j)].to_f64()).sum()
    };
    let norm = |a: &Mat<T>, i: usize| dot(a, i, a, i).sqrt();
    let fails = |property, violation: f64| {
        if violation > tolerance { Err(Error::FalseAssumption { op: "assume", property, violation }) } else { Ok(()) }
    };
    let scale = norm(&x, 0).max(norm(&x, 1)) * norm(&y, 0).max(norm(&y, 1));
    if scale > 0.0 {
        fails("SELF_ADJOINT", (dot(&x, 0, &y, 1) - dot(&x, 1, &y, 0)).abs() / scale)?;
        if facts.contains(Props::PSD) {
            (0..2).try_for_each(|j| fails("PSD", -dot(&x, j, &y, j) / scale))?;
        }
    }
    Ok(())
}
