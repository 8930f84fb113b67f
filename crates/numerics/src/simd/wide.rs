//! Loops of the caller's own, compiled once per instruction set.
#![allow(unsafe_code)]

use super::Level;
use std::sync::OnceLock;

/// A loop for [`run_wide`]: a value, so that its body can be inlined whatever its size.
pub trait Wide {
    /// What the loop leaves.
    type Out;

    /// The loop. To be implemented with `#[inline(always)]`, without which it may be compiled for the baseline only.
    fn run(self) -> Self::Out;
}

/// Runs a loop with the widest registers of this machine.
///
/// The loop, and what is inlined into it, is compiled once per [`Level`]; the compiler vectorises it as it would the same loop
/// anywhere else. Nothing is fused that the source does not fuse, so an elementwise loop gives the same bits on every machine. Worth it
/// from some hundred elements on: every call looks the level up.
///
/// ```
/// use numerics::simd::{self, Wide};
/// struct Halve<'a>(&'a mut [f32]);
/// impl Wide for Halve<'_> {
///     type Out = ();
///     #[inline(always)]
///     fn run(self) {
///         self.0.iter_mut().for_each(|x| *x *= 0.5);
///     }
/// }
/// let mut x = [2.0, 4.0];
/// simd::run_wide(Halve(&mut x));
/// assert_eq!(x, [1.0, 2.0]);
/// ```
#[inline]
pub fn run_wide<W: Wide>(w: W) -> W::Out {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    match *LEVEL.get_or_init(Level::detected) {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512cd,avx2,fma")]
            fn instance<W: Wide>(w: W) -> W::Out {
                w.run()
            }
            // SAFETY: `Level::detected` has seen every feature named above on the running processor.
            unsafe { instance(w) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            fn instance<W: Wide>(w: W) -> W::Out {
                w.run()
            }
            // SAFETY: `Level::detected` has seen both features on the running processor.
            unsafe { instance(w) }
        }
        _ => w.run(),
    }
}

/// [`run_wide`] of a closure that is small: the compiler does not inline a large one, which then runs with the baseline's registers.
///
/// ```
/// use numerics::simd;
/// let (x, mut y) = ([1.0_f32, 4.0, 9.0], [0.0; 3]);
/// simd::wide(|| y.iter_mut().zip(&x).for_each(|(y, x)| *y = 0.5 * x.sqrt()));
/// assert_eq!(y, [0.5, 1.0, 1.5]);
/// ```
#[inline]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    struct Closure<F>(F);
    impl<R, F: FnOnce() -> R> Wide for Closure<F> {
        type Out = R;
        #[inline(always)]
        fn run(self) -> R {
            (self.0)()
        }
    }
    run_wide(Closure(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_plain_loop() {
        let x: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut y: [Vec<f32>; 2] = [x.clone(), x.clone()];
        let pass =
            |y: &mut [f32]| y.iter_mut().zip(&x).for_each(|(y, &x)| *y = 0.9 * *y + 0.1 * (x * x).sqrt() / (x + 2.0));
        let [wide_, plain] = &mut y;
        wide(|| pass(wide_));
        plain.iter_mut().for_each(|y| *y = std::hint::black_box(*y));
        pass(plain);
        assert_eq!(
            y[0].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            y[1].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        assert_eq!(wide(|| 7), 7);
    }
}
