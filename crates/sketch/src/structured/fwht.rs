//! The fast Walsh-Hadamard transform, natural (Sylvester) order, not normalised: `H H = n I`.
//!
//! `n log2 n` additions. Long inputs are split four ways from the top, so that all but a few passes run in cache.

use crate::Error;
use numerics::Scalar;

/// Below this length everything happens in the first-level cache.
const LEAF: usize = 2048;

/// Transforms in place.
///
/// Cost: `n log2 n` additions, no memory. Source: Fino and Algazi 1976.
///
/// ```
/// let mut x = [1.0, 2.0, 3.0, 4.0];
/// sketch::fwht(&mut x)?;
/// assert_eq!(x, [10.0, -2.0, -4.0, 0.0]);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` unless the length is a power of two.
pub fn fwht<T: Scalar>(x: &mut [T]) -> Result<(), Error> {
    if !x.len().is_power_of_two() {
        return Err(Error::argument("fwht", format!("the length must be a power of two, got {}", x.len())));
    }
    transform(x);
    Ok(())
}

/// Transforms a slice whose length is a power of two.
pub(super) fn transform<T: Scalar>(x: &mut [T]) {
    let n = x.len();
    if n <= LEAF {
        return in_cache(x);
    }
    quarters(x);
    for part in x.chunks_exact_mut(n / 4) {
        transform(part);
    }
}

/// Two levels at once: every quadruple of the four quarters.
fn quarters<T: Scalar>(x: &mut [T]) {
    let (half, rest) = x.split_at_mut(x.len() / 2);
    let (a, b) = half.split_at_mut(half.len() / 2);
    let (c, d) = rest.split_at_mut(rest.len() / 2);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (s, t) = (*a + *c, *a - *c);
        let (u, v) = (*b + *d, *b - *d);
        (*a, *b) = (s + u, s - u);
        (*c, *d) = (t + v, t - v);
    }
}

fn in_cache<T: Scalar>(x: &mut [T]) {
    let mut n = x.len();
    while n >= 4 {
        for part in x.chunks_exact_mut(n) {
            if n >= 16 {
                quarters(part);
            } else {
                quarters_short(part);
            }
        }
        n /= 4;
    }
    if n == 2 {
        for pair in x.chunks_exact_mut(2) {
            (pair[0], pair[1]) = (pair[0] + pair[1], pair[0] - pair[1]);
        }
    }
}

/// [`quarters`] for 4 or 8 numbers, where loops over slices cost more than the additions.
fn quarters_short<T: Scalar>(x: &mut [T]) {
    let q = x.len() / 4;
    for i in 0..q {
        let (a, b, c, d) = (x[i], x[i + q], x[i + 2 * q], x[i + 3 * q]);
        let (s, t, u, v) = (a + c, a - c, b + d, b - d);
        x[i] = s + u;
        x[i + q] = s - u;
        x[i + 2 * q] = t + v;
        x[i + 3 * q] = t - v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_sylvester_matrix() {
        for log in 0..=10u32 {
            let n = 1usize << log;
            let x: Vec<f64> = (0..n).map(|i| ((i * i) as f64 * 0.37).sin()).collect();
            let mut fast = x.clone();
            fwht(&mut fast).unwrap();
            for (i, fast) in fast.iter().enumerate() {
                let slow: f64 =
                    x.iter().enumerate().map(|(j, x)| if (i & j).count_ones() % 2 == 0 { *x } else { -x }).sum();
                assert!((fast - slow).abs() <= 1e-13 * n as f64, "{n} {i}: {fast} against {slow}");
            }
        }
    }

    #[test]
    fn twice_is_n_times_beyond_the_cache() {
        let n = 1usize << 15;
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.11).cos()).collect();
        let mut y = x.clone();
        fwht(&mut y).unwrap();
        fwht(&mut y).unwrap();
        assert!(x.iter().zip(&y).all(|(x, y)| (x * n as f64 - y).abs() < 1e-9));
        assert!(fwht(&mut [1.0f32; 12]).is_err());
    }
}
