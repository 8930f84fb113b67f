//! What the machine can do, measured: the rate of matrix products, and of memory.

use super::loops;
use numerics::{Mat, Par, Scalar, dense};
use std::time::Instant;

/// Side of the matrices that are multiplied.
const SIDE: usize = 512;
/// Bytes that are copied: more than the caches of one machine's cores hold.
const BYTES: usize = 64 << 20;
/// Repetitions; the best one counts.
const TRIALS: usize = 5;

/// Limits of a machine for one floating-point type and one number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Peak {
    /// Floating-point operations per second of a large matrix product.
    pub flops: f64,
    /// Bytes per second of a copy from memory to memory, reads and writes both counted.
    pub bandwidth: f64,
}

impl Peak {
    /// Measures both: the best of five products of order 512 and of five copies of 64 MiB, about a tenth of a second.
    pub fn measure<T: Scalar>(par: Par) -> Peak {
        let x = Mat::from_fn(SIDE, SIDE, |i, j| T::from_f64(((i * 7 + j * 3) % 11) as f64 - 5.0));
        let mut out = Mat::zeros(SIDE, SIDE);
        let product = best(|| dense::gemm(out.as_mut(), T::ONE, x.as_ref(), x.as_ref(), T::ZERO, par));
        let n = BYTES / size_of::<T>();
        let (from, mut to) = (vec![T::ONE; n], vec![T::ZERO; n]);
        // SAFETY: both sides have `n` neighbours, and are apart.
        let copy = best(|| unsafe {
            loops::copy_on(par.degree(), &[2, n / 2], from.as_ptr(), &[n / 2, 1], to.as_mut_ptr(), &[n / 2, 1]);
        });
        Peak { flops: 2.0 * (SIDE * SIDE * SIDE) as f64 / product, bandwidth: 2.0 * BYTES as f64 / copy }
    }
}

fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..TRIALS).map(time).fold(f64::INFINITY, f64::min)
}
