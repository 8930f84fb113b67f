//! The exponential of a general matrix by scaling and squaring with the Pade approximant of order 13 (Higham, 2005).
//!
//! Six products and one LU solve, plus one product per squaring. Single precision is computed in double.

use super::{Lu, gemm, is_all_finite, need_finite, need_square};
use crate::{Error, Mat, MatRef, MemBuffer, MemStack, Par, Scalar};

/// Largest 1-norm for which the approximant has a backward error below the double-precision unit.
const THETA: f64 = 5.371920351148152;

/// Numerator coefficients; the denominator has the same with alternating signs.
const PADE: [f64; 14] = [
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
];

fn product(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    gemm(out.as_mut(), 1.0, a.as_ref(), b.as_ref(), 0.0, Par::Seq);
    out
}

/// `e^a`.
///
/// # Errors
/// `ShapeMismatch` unless square, `NotFinite` if the matrix or its exponential is not finite.
///
/// ```
/// use numerics::{Mat, dense};
/// let turn = Mat::from_fn(2, 2, |i, j| i as f64 - j as f64); // rotation by one radian
/// let e = dense::expm(turn.as_ref())?;
/// assert!((e[(0, 0)] - 1f64.cos()).abs() < 1e-15 && (e[(1, 0)] - 1f64.sin()).abs() < 1e-15);
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn expm<T: Scalar>(a: MatRef<'_, T>) -> Result<Mat<T>, Error> {
    let op = "expm";
    need_square(op, a)?;
    need_finite(op, a)?;
    let n = a.nrows();
    let norm = (0..n).map(|j| (0..n).map(|i| a[(i, j)].to_f64().abs()).sum::<f64>()).fold(0.0, f64::max);
    let overflow = Error::NotFinite { op, operand: "the result" };
    if !norm.is_finite() {
        return Err(overflow);
    }
    let squarings = if norm > THETA { (norm / THETA).log2().ceil() as i32 } else { 0 };
    // two steps, because one factor alone could leave the range of normal numbers
    let (h1, h2) = (squarings / 2, squarings - squarings / 2);
    let (f1, f2) = (0.5f64.powi(h1), 0.5f64.powi(h2));
    let a1 = Mat::from_fn(n, n, |i, j| a[(i, j)].to_f64() * f1 * f2);
    let a2 = product(&a1, &a1);
    let a4 = product(&a2, &a2);
    let a6 = product(&a4, &a2);
    let combine = |c: [f64; 3]| Mat::from_fn(n, n, |i, j| c[0] * a6[(i, j)] + c[1] * a4[(i, j)] + c[2] * a2[(i, j)]);
    let finish = |high: Mat<f64>, c: [f64; 4]| {
        let high = product(&a6, &high);
        let low = combine([c[0], c[1], c[2]]);
        Mat::from_fn(n, n, |i, j| high[(i, j)] + low[(i, j)] + if i == j { c[3] } else { 0.0 })
    };
    let b = &PADE;
    let odd = product(&a1, &finish(combine([b[13], b[11], b[9]]), [b[7], b[5], b[3], b[1]]));
    let even = finish(combine([b[12], b[10], b[8]]), [b[6], b[4], b[2], b[0]]);
    let mut out = Mat::from_fn(n, n, |i, j| even[(i, j)] + odd[(i, j)]);
    let denominator = Mat::from_fn(n, n, |i, j| even[(i, j)] - odd[(i, j)]);
    let lu = Lu::new(denominator.as_ref(), Par::Seq)?;
    if lu.is_singular() {
        return Err(Error::Singular { op });
    }
    let mut buf = MemBuffer::new(lu.solve_req(n, Par::Seq));
    lu.solve_in_place(out.as_mut(), Par::Seq, MemStack::new(&mut buf));
    for _ in 0..squarings {
        out = product(&out, &out);
    }
    let out = Mat::from_fn(n, n, |i, j| T::from_f64(out[(i, j)]));
    if is_all_finite(out.as_ref()) { Ok(out) } else { Err(overflow) }
}
