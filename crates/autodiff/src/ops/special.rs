//! Error functions for the interpreter, by series and continued fraction: slow, and independent of the fast kernels.

/// `erf(x)` to a few units in the last place.
pub(super) fn erf(x: f64) -> f64 {
    if x.abs() < 1.0 {
        series(x)
    } else if x > 0.0 {
        1.0 - erfc(x)
    } else {
        erfc(-x) - 1.0
    }
}

/// `erfc(x)`, with full relative accuracy in the tail.
pub(super) fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x < 0.0 {
        2.0 - erfc(-x)
    } else if x < 1.0 {
        1.0 - series(x)
    } else {
        tail(x)
    }
}

/// `2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!`: all terms positive.
fn series(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `exp(-x^2)/sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ..))))`, evaluated from the far end.
fn tail(x: f64) -> f64 {
    if x > 28.0 {
        return 0.0;
    }
    let depth = (400.0 / (x * x)).ceil() + 20.0;
    let mut f = x;
    let mut k = depth;
    while k >= 1.0 {
        f = x + 0.5 * k / f;
        k -= 1.0;
    }
    // exp(-x^2) with the rounding of x^2 undone.
    let square = x * x;
    let rest = x.mul_add(x, -square);
    (-square).exp() * (1.0 - rest) / (f * std::f64::consts::PI.sqrt())
}

#[cfg(test)]
mod tests {
    use super::{erf, erfc};

    /// Values computed with 40 digits.
    #[test]
    fn known_values() {
        let cases = [
            (0.5, 0.520_499_877_813_046_5, 0.479_500_122_186_953_5),
            (1.0, 0.842_700_792_949_714_9, 0.157_299_207_050_285_13),
            (2.0, 0.995_322_265_018_952_7, 0.004_677_734_981_047_266),
            (5.0, 0.999_999_999_998_462_5, 1.537_459_794_428_035e-12),
        ];
        for (x, e, c) in cases {
            assert!((erf(x) / e - 1.0).abs() < 1e-15, "erf({x}) = {}", erf(x));
            assert!((erfc(x) / c - 1.0).abs() < 4e-15, "erfc({x}) = {:e}", erfc(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!((erf(0.0), erfc(f64::INFINITY), erfc(f64::NEG_INFINITY)), (0.0, 0.0, 2.0));
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
    }
}
