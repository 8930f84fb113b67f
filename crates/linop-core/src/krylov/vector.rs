//! Slice arithmetic of the Krylov recurrences.

use numerics::Scalar;

/// `x . y`.
pub(crate) fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    numerics::dense::dot(x, y)
}

/// `|x|`, scaled so that squares neither overflow nor vanish.
pub(crate) fn norm<T: Scalar>(x: &[T]) -> T {
    numerics::dense::norm_l2(column(x))
}

/// `|x|` in one pass where the sum of squares is in range, else as [`norm`].
pub(crate) fn quick_norm<T: Scalar>(x: &[T]) -> T {
    let square = dot(x, x);
    // Far enough from the smallest number that squares lost below it do not matter.
    let safe = T::TINY / (T::EPS * T::EPS);
    if square > safe && square.is_finite() { square.sqrt() } else { norm(x) }
}

/// A slice as a one-column matrix.
pub(crate) fn column<T: Scalar>(x: &[T]) -> numerics::MatRef<'_, T> {
    numerics::MatRef::from_column_major_slice(x, x.len(), 1)
}

/// `y += a * x`.
pub(crate) fn axpy<T: Scalar>(y: &mut [T], a: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `y = x + b * y`.
pub(crate) fn xpby<T: Scalar>(y: &mut [T], x: &[T], b: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x + b * *y;
    }
}

/// `x *= a`.
pub(crate) fn scale<T: Scalar>(x: &mut [T], a: T) {
    for x in x {
        *x *= a;
    }
}

/// The power of two nearest to `1 / x`, or one for zero: multiplying by it is exact and brings `x` near one.
pub(crate) fn unit_scale<T: Scalar>(x: T) -> T {
    let x = x.to_f64();
    if x > 0.0 && x.is_finite() {
        let limit = if size_of::<T>() == 4 { 120 } else { 1000 };
        T::from_f64(2f64.powi(-(x.log2().round() as i32).clamp(-limit, limit)))
    } else {
        T::ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_scale_brings_any_size_near_one() {
        for x in [1e-300, 3e-7, 1.0, 5e11, 1e300] {
            let y = x * unit_scale(x);
            assert!((0.5..=2.0).contains(&y), "{x} -> {y}");
        }
        assert_eq!(unit_scale(0.0f32), 1.0);
    }

    #[test]
    fn updates() {
        let mut y = vec![1.0, 2.0];
        axpy(&mut y, 2.0, &[1.0, -1.0]);
        assert_eq!(y, [3.0, 0.0]);
        xpby(&mut y, &[1.0, 1.0], 2.0);
        assert_eq!(y, [7.0, 1.0]);
        assert_eq!(dot(&y, &y), 50.0);
        assert!((norm(&[3e200, 4e200]) / 5e200 - 1.0f64).abs() < 1e-15);
        for size in [1e200, 1.0, 1e-8, 1e-200] {
            assert!((quick_norm(&[3.0 * size, 4.0 * size]) / (5.0 * size) - 1.0f64).abs() < 1e-15, "{size}");
        }
        assert_eq!(quick_norm::<f32>(&[]), 0.0);
    }
}
