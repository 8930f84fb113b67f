//! A loop of the caller's own, compiled once per instruction set.
#![allow(unsafe_code)]

use super::Level;
use std::sync::OnceLock;

/// Runs a loop with the widest registers of this machine.
///
/// The closure, and what is inlined into it, is compiled once per [`Level`]; the compiler vectorises it as it would the same loop
/// anywhere else. Nothing is fused that the source does not fuse, so an elementwise loop gives the same bits on every machine. Worth it
/// from some hundred elements on: every call looks the level up.
///
/// ```
/// use numerics::simd;
/// let (x, mut y) = ([1.0_f32, 4.0, 9.0], [0.0; 3]);
/// simd::wide(|| y.iter_mut().zip(&x).for_each(|(y, x)| *y = 0.5 * x.sqrt()));
/// assert_eq!(y, [0.5, 1.0, 1.5]);
/// ```
#[inline]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    match *LEVEL.get_or_init(Level::detected) {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512cd,avx2,fma")]
            fn instance<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
            // SAFETY: `Level::detected` has seen every feature named above on the running processor.
            unsafe { instance(f) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            fn instance<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
            // SAFETY: `Level::detected` has seen both features on the running processor.
            unsafe { instance(f) }
        }
        _ => f(),
    }
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
