//! One step of a basis and its eigenvalues, given the increment of the target in the present eigenbasis.

use super::cayley::CayleyWork;
use super::{Cayley, EigenvalueRule, Rotation, SpectralRules};
use crate::Error;
use numerics::{Mat, MatRef, Par, Scalar, simd};

/// Entries of the skew matrix above which a gradient step is followed by a correction of the basis.
const LARGE_SKEW: f64 = 1e3;

/// The target `T = diag(a) + off-diagonal increment` of one step, in the present eigenbasis.
pub(crate) struct Increment<'a, T> {
    /// Present eigenvalues.
    pub(crate) d: &'a [T],
    /// Diagonal of the target.
    pub(crate) a: &'a [T],
    /// Its off-diagonal part times `scale(i, j)`; only the lower triangle is read.
    pub(crate) u: MatRef<'a, T>,
}

/// `d e^x` or `d (1 + x)`, as a factor.
pub(crate) fn grow<T: Scalar>(rule: EigenvalueRule, x: T) -> T {
    match rule {
        EigenvalueRule::Mixed if x > T::ZERO => T::ONE + x,
        _ => x.exp(),
    }
}

/// The same as an addition to the logarithm.
pub(crate) fn log_growth<T: Scalar>(rule: EigenvalueRule, x: T) -> T {
    match rule {
        EigenvalueRule::Mixed if x > T::ZERO => x.ln_1p(),
        _ => x,
    }
}

/// Turns bases; keeps the skew matrix between steps.
#[derive(Clone, Debug)]
pub(crate) struct Turner<T: Scalar> {
    skew: Mat<T>,
    cayley: CayleyWork<T>,
}

impl<T: Scalar> Turner<T> {
    pub(crate) fn new(n: usize, kind: Cayley) -> Self {
        Turner { skew: Mat::zeros(n, n), cayley: CayleyWork::new(n, kind) }
    }

    /// `B <- B Cay(N - N^T)`; `off(i, j)` is the off-diagonal increment of the target for `i > j`.
    pub(crate) fn turn(
        &mut self,
        rules: &SpectralRules,
        b: &mut [T],
        increment: &Increment<'_, T>,
        off: impl Fn(T, usize, usize) -> T,
        step: u64,
        par: Par,
    ) -> Result<(), Error> {
        let n = increment.d.len();
        let (mut largest, mut squares) = (T::ZERO, 0.0_f64);
        let capped = matches!(rules.rotation, Rotation::Gradient { cap: Some(_) });
        for j in 0..n {
            let (dj, aj) = (increment.d[j], increment.a[j]);
            let column = self.skew.col_as_slice_mut(j);
            column[j] = T::ZERO;
            let u = increment.u.subcols(j, 1);
            for (i, v) in column.iter_mut().enumerate().skip(j + 1) {
                *v = off(u[(i, 0)], i, j);
            }
            // Apart, and without branches, so that roots and quotients run on whole registers.
            let below = column[j + 1..].iter_mut();
            match rules.rotation {
                Rotation::Gradient { .. } => simd::wide(|| {
                    below.zip(&increment.d[j + 1..]).for_each(|(v, &di)| *v = gradient_angle(di, dj, *v));
                }),
                Rotation::PairwiseExact => simd::wide(|| {
                    below.zip(&increment.a[j + 1..]).for_each(|(v, &ai)| *v = pair_angle(ai, aj, *v));
                }),
            }
            largest = largest.max(simd::wide(|| largest_of(&column[j + 1..])));
            if capped {
                squares += column[j + 1..].iter().map(|v| 2.0 * v.to_f64() * v.to_f64()).sum::<f64>();
            }
        }
        let mut largest = largest.to_f64();
        numerics::dense::mirror_lower(self.skew.as_mut());
        for j in 1..n {
            self.skew.col_as_slice_mut(j)[..j].iter_mut().for_each(|v| *v = -*v);
        }
        if largest == 0.0 {
            return Ok(());
        }
        if let Rotation::Gradient { cap: Some(cap) } = rules.rotation
            && squares.sqrt() > cap
        {
            let scale = T::from_f64(cap / squares.sqrt());
            numerics::dense::scale(self.skew.as_mut(), scale);
            largest *= scale.to_f64();
        }
        self.cayley.turn(b, n, &mut self.skew, rules.cayley, step, par)?;
        if largest > LARGE_SKEW {
            self.cayley.restore(b, n, par);
        }
        Ok(())
    }
}

/// Largest absolute value, by independent comparisons.
#[inline(always)]
fn largest_of<T: Scalar>(x: &[T]) -> T {
    let mut lanes = [T::ZERO; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if v.abs() > *lane { v.abs() } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(T::ZERO, |top, v| top.max(v.abs()))
}

/// `-(1/2) o / (d_i - d_j)`; nothing where the eigenvalues are equal.
#[inline(always)]
fn gradient_angle<T: Scalar>(di: T, dj: T, o: T) -> T {
    let gap = di - dj;
    if gap == T::ZERO {
        return T::ZERO;
    }
    let v = T::from_f64(-0.5) * (o / gap);
    if v.is_finite() { v } else { T::ZERO }
}

/// `-tan(t/2)` with `t = (1/2) atan2(2 o s, |a_i - a_j|)`, `s` the sign of `a_i - a_j` (one at zero), by roots only.
#[inline(always)]
fn pair_angle<T: Scalar>(ai: T, aj: T, o: T) -> T {
    let gap = ai - aj;
    let (x, y) = (gap.abs(), T::from_f64(2.0) * if gap < T::ZERO { -o } else { o });
    // tan t = y / (x + sqrt(x^2 + y^2)), with the larger of both taken out so that no square overflows; then the half angle
    // once more.
    let (most, least) = (x.max(y.abs()), x.min(y.abs()));
    let share = least / most;
    let tangent = y / (x + most * (T::ONE + share * share).sqrt());
    let v = tangent / (T::ONE + (T::ONE + tangent * tangent).sqrt());
    if v.is_finite() { -v } else { T::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_angles_agree_with_trigonometry() {
        for (ai, aj) in [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (1.0, 1.0 + 1e-9), (1e-12, 1e12)] {
            for o in [0.0, 0.3, -0.3, 1e-14, -7.0, 1e200] {
                let gap: f64 = ai - aj;
                let sign: f64 = if gap < 0.0 { -1.0 } else { 1.0 };
                let theta: f64 = 0.5 * (2.0 * o * sign).atan2(gap.abs());
                let v: f64 = pair_angle(ai, aj, o);
                assert!((v + (theta / 2.0).tan()).abs() < 1e-15, "{ai} {aj} {o}: {v}");
                assert!(v.abs() <= (core::f64::consts::PI / 8.0).tan() + 1e-15);
            }
        }
    }

    #[test]
    fn growth_of_both_rules() {
        assert_eq!(grow(EigenvalueRule::Mixed, 500.0_f64), 501.0);
        assert_eq!(grow(EigenvalueRule::Mixed, -1.0_f64), (-1.0_f64).exp());
        assert_eq!(grow(EigenvalueRule::Exp, 1.0_f64), 1.0_f64.exp());
        assert_eq!(log_growth(EigenvalueRule::Mixed, 1.0_f64), 2.0_f64.ln());
    }
}
