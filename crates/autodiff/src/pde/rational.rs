//! Exact rational numbers, for interpolation weights.

use core::fmt;

/// `n / d` in lowest terms, `d > 0`; arithmetic is `None` where 128 bits do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rational {
    n: i128,
    d: i128,
}

pub(crate) fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i128::try_from(a).unwrap_or(1)
}

impl Rational {
    pub(crate) const ZERO: Rational = Rational { n: 0, d: 1 };
    pub(crate) const ONE: Rational = Rational { n: 1, d: 1 };

    pub(crate) fn new(n: i128, d: i128) -> Option<Self> {
        if d == 0 {
            return None;
        }
        let g = gcd(n, d).max(1);
        let s = if d < 0 { -1 } else { 1 };
        Some(Rational { n: (n / g).checked_mul(s)?, d: (d / g).checked_mul(s)? })
    }

    pub(crate) fn integer(n: i128) -> Self {
        Rational { n, d: 1 }
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let g = gcd(self.d, other.d);
        let left = self.n.checked_mul(other.d / g)?;
        let right = other.n.checked_mul(self.d / g)?;
        Self::new(left.checked_add(right)?, (self.d / g).checked_mul(other.d)?)
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        let (g, h) = (gcd(self.n, other.d).max(1), gcd(other.n, self.d).max(1));
        Self::new((self.n / g).checked_mul(other.n / h)?, (self.d / h).checked_mul(other.d / g)?)
    }

    pub(crate) fn div(self, other: Self) -> Option<Self> {
        self.mul(Self::new(other.d, other.n)?)
    }

    pub(crate) fn powi(self, n: usize) -> Option<Self> {
        (0..n).try_fold(Self::ONE, |p, _| p.mul(self))
    }

    pub(crate) fn is_zero(self) -> bool {
        self.n == 0
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.n as f64 / self.d as f64
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.d == 1 { write!(f, "{}", self.n) } else { write!(f, "{}/{}", self.n, self.d) }
    }
}

/// The generalised binomial coefficient `a (a-1) .. (a-b+1) / b!`.
pub(crate) fn binomial(a: Rational, b: usize) -> Option<Rational> {
    (0..b).try_fold(Rational::ONE, |p, l| {
        let top = a.add(Rational::integer(-(l as i128)))?;
        p.mul(top)?.div(Rational::integer((b - l) as i128))
    })
}

#[cfg(test)]
mod tests {
    use super::{Rational, binomial};

    fn r(n: i128, d: i128) -> Rational {
        Rational::new(n, d).unwrap()
    }

    #[test]
    fn generalised_binomials() {
        assert_eq!(binomial(r(5, 2), 2), Some(r(15, 8)));
        assert_eq!(binomial(r(1, 2), 2), Some(r(-1, 8)));
        assert_eq!(binomial(r(-1, 2), 2), Some(r(3, 8)));
        assert_eq!(binomial(r(3, 2), 3), Some(r(-1, 16)));
        assert_eq!(binomial(r(7, 1), 0), Some(Rational::ONE));
    }

    #[test]
    fn arithmetic_is_exact_or_absent() {
        assert_eq!(r(1, 3).add(r(1, 6)), Some(r(1, 2)));
        assert_eq!(r(-2, 4).mul(r(2, -3)), Some(r(1, 3)));
        assert_eq!(r(1, 2).div(Rational::ZERO), None);
        assert_eq!(Rational::integer(i128::MAX).add(Rational::ONE), None);
        assert_eq!(r(2, 3).powi(3), Some(r(8, 27)));
        assert_eq!(format!("{} {}", r(4, 2), r(-1, 2)), "2 -1/2");
    }
}
