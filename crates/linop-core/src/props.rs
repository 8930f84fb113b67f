//! `Props`: facts known to hold for an operator.
//!
//! A set bit is a proven (or assumed) fact, an absent bit means *unknown*, never *false*. [`Props::close`] adds what
//! follows from what is there, and drops what makes no sense for a rectangular operator: only [`Props::STIEFEL`],
//! [`Props::COSTIEFEL`] and [`Props::ZERO`] exist off the square. The methods named after constructions (`scaled`,
//! `add`, `product`, ...) are the propagation table; each costs a few integer operations.

use core::fmt;
use core::ops::{BitAnd, BitOr};

/// A set of facts about an operator.
///
/// ```
/// use linop_core::Props;
/// let p = Props::PD.close(3, 3);
/// assert!(p.contains(Props::PSD | Props::SELF_ADJOINT));
/// assert!(!p.contains(Props::DIAGONAL));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Props(u32);

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl Props {
            $($(#[$doc])* pub const $name: Props = Props(1 << $bit);)*
            const NAMES: &'static [(&'static str, Props)] = &[$((stringify!($name), Props::$name)),*];
        }
    };
}

bits! {
    /// `A = A^T`.
    SELF_ADJOINT = 0;
    /// Self-adjoint with no negative eigenvalue.
    PSD = 1;
    /// Self-adjoint with positive eigenvalues.
    PD = 2;
    /// Self-adjoint with no positive eigenvalue.
    NSD = 3;
    /// Self-adjoint with negative eigenvalues.
    ND = 4;
    /// Zero off the diagonal.
    DIAGONAL = 5;
    /// Zero above the diagonal.
    LOWER = 6;
    /// Zero below the diagonal.
    UPPER = 7;
    /// Ones on the diagonal.
    UNIT_DIAG = 8;
    /// Orthonormal columns.
    STIEFEL = 9;
    /// Orthonormal rows.
    COSTIEFEL = 10;
    /// One 1 in each row and column, zero elsewhere.
    PERMUTATION = 11;
    /// The identity.
    IDENTITY = 12;
    /// The zero map.
    ZERO = 13;
}

impl Props {
    /// Nothing is known.
    pub const NONE: Props = Props(0);
    /// Square with orthonormal columns and rows.
    pub const ORTHOGONAL: Props = Props(Props::STIEFEL.0 | Props::COSTIEFEL.0);
    const RECTANGULAR: Props = Props(Props::STIEFEL.0 | Props::COSTIEFEL.0 | Props::ZERO.0);
    /// `SELF_ADJOINT, DIAGONAL, LOWER, UPPER`: what a shift and a scaling keep.
    const SHAPE: Props = Props(Props::SELF_ADJOINT.0 | Props::DIAGONAL.0 | Props::LOWER.0 | Props::UPPER.0);
    const DEFINITE: Props = Props(Props::PSD.0 | Props::PD.0 | Props::NSD.0 | Props::ND.0);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Props) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some bit of `other` is set.
    pub const fn intersects(self, other: Props) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub const fn union(self, other: Props) -> Props {
        Props(self.0 | other.0)
    }

    /// The bits that are set in both.
    pub const fn intersection(self, other: Props) -> Props {
        Props(self.0 & other.0)
    }

    /// The bits without those of `other`.
    pub const fn without(self, other: Props) -> Props {
        Props(self.0 & !other.0)
    }

    /// `self` if the condition holds, nothing otherwise.
    pub const fn when(self, condition: bool) -> Props {
        if condition { self } else { Props::NONE }
    }

    /// No bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The facts that are set, one by one, with their names.
    pub(crate) fn each(self) -> impl Iterator<Item = (&'static str, Props)> {
        Self::NAMES.iter().copied().filter(move |(_, p)| self.contains(*p))
    }

    /// The names of the facts that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(_, p)| self.contains(*p)).map(|(n, _)| *n)
    }

    /// Adds everything that follows for an `nrows x ncols` operator; on a rectangle drops the bits that only squares have.
    pub const fn close(self, nrows: usize, ncols: usize) -> Props {
        if nrows != ncols {
            return self.intersection(Self::RECTANGULAR);
        }
        let mut p = self;
        // Nine implications, the longest chain has four links: four passes reach the fixed point.
        let mut pass = 0;
        while pass < 4 {
            if p.contains(Self::IDENTITY) {
                p = p.union(Self::PERMUTATION).union(Self::PD).union(Self::DIAGONAL).union(Self::UNIT_DIAG);
            }
            if p.contains(Self::ZERO) {
                p = p.union(Self::PSD).union(Self::NSD).union(Self::DIAGONAL);
            }
            if p.contains(Self::PERMUTATION) {
                p = p.union(Self::ORTHOGONAL);
            }
            if p.contains(Self::PD) {
                p = p.union(Self::PSD);
            }
            if p.contains(Self::ND) {
                p = p.union(Self::NSD);
            }
            if p.intersects(Self::PSD.union(Self::NSD)) {
                p = p.union(Self::SELF_ADJOINT);
            }
            if p.contains(Self::DIAGONAL) {
                p = p.union(Self::LOWER).union(Self::UPPER).union(Self::SELF_ADJOINT);
            }
            if p.contains(Self::LOWER.union(Self::UPPER)) {
                p = p.union(Self::DIAGONAL);
            }
            if p.contains(Self::SELF_ADJOINT) && p.intersects(Self::LOWER.union(Self::UPPER)) {
                p = p.union(Self::DIAGONAL);
            }
            if p.contains(Self::DIAGONAL.union(Self::UNIT_DIAG)) {
                p = p.union(Self::IDENTITY);
            }
            // A square operator with orthonormal columns has orthonormal rows.
            if p.intersects(Self::ORTHOGONAL) {
                p = p.union(Self::ORTHOGONAL);
            }
            pass += 1;
        }
        p
    }

    /// Facts of `alpha * A`.
    pub fn scaled(self, alpha: f64, nrows: usize, ncols: usize) -> Props {
        if alpha == 1.0 {
            return self;
        }
        if alpha == 0.0 {
            return Self::ZERO.close(nrows, ncols);
        }
        if !alpha.is_finite() {
            return Self::NONE;
        }
        let mut p = self.intersection(Self::SHAPE.union(Self::ZERO));
        p = p | if alpha > 0.0 { self.intersection(Self::DEFINITE) } else { self.negated_definite() };
        p = p | self.intersection(Self::ORTHOGONAL).when(alpha == -1.0);
        p.close(nrows, ncols)
    }

    fn negated_definite(self) -> Props {
        Self::NSD.when(self.contains(Self::PSD))
            | Self::ND.when(self.contains(Self::PD))
            | Self::PSD.when(self.contains(Self::NSD))
            | Self::PD.when(self.contains(Self::ND))
    }

    /// Facts of `A + B` (one shape).
    pub fn add(self, other: Props, nrows: usize, ncols: usize) -> Props {
        if self.contains(Self::ZERO) {
            return other;
        }
        if other.contains(Self::ZERO) {
            return self;
        }
        let both = self & other;
        let p = both & (Self::SHAPE | Self::PSD | Self::NSD);
        let p = p | Self::PD.when(both.contains(Self::PSD) && (self | other).contains(Self::PD));
        let p = p | Self::ND.when(both.contains(Self::NSD) && (self | other).contains(Self::ND));
        p.close(nrows, ncols)
    }

    /// Facts of `A + sigma I` (`n x n`).
    pub fn shifted(self, sigma: f64, n: usize) -> Props {
        if sigma == 0.0 {
            return self;
        }
        if !sigma.is_finite() {
            return Self::NONE;
        }
        let mut p = self & Self::SHAPE;
        if sigma > 0.0 {
            p = p | Self::PD.when(self.contains(Self::PSD));
        } else {
            p = p | Self::ND.when(self.contains(Self::NSD));
        }
        p.close(n, n)
    }

    /// Facts of `A^T` (`A` is `nrows x ncols`).
    pub fn transposed(self, nrows: usize, ncols: usize) -> Props {
        let swap = Self::LOWER | Self::UPPER | Self::ORTHOGONAL;
        let p = self.without(swap)
            | Self::LOWER.when(self.contains(Self::UPPER))
            | Self::UPPER.when(self.contains(Self::LOWER))
            | Self::STIEFEL.when(self.contains(Self::COSTIEFEL))
            | Self::COSTIEFEL.when(self.contains(Self::STIEFEL));
        p.close(ncols, nrows)
    }

    /// Facts of `A B`, with `A` of shape `m x k` and `B` of shape `k x n`.
    pub fn product(self, other: Props, m: usize, k: usize, n: usize) -> Props {
        let both = self & other;
        let mut p = both & (Self::STIEFEL | Self::COSTIEFEL);
        p = p | Self::ZERO.when((self | other).contains(Self::ZERO) || k == 0);
        if m == k && k == n {
            p = p | both & (Self::LOWER | Self::UPPER | Self::DIAGONAL | Self::PERMUTATION | Self::IDENTITY);
            p = p | Self::UNIT_DIAG.when(both.contains(Self::UNIT_DIAG) && both.intersects(Self::LOWER | Self::UPPER));
            if both.contains(Self::DIAGONAL) {
                p = p | Self::SELF_ADJOINT | both & (Self::PSD | Self::PD);
                p = p | Self::PSD.when(both.contains(Self::NSD)) | Self::PD.when(both.contains(Self::ND));
            }
            if self.contains(Self::IDENTITY) {
                p = p | other;
            }
            if other.contains(Self::IDENTITY) {
                p = p | self;
            }
        }
        p.close(m, n)
    }

    /// Facts of `M Z M^T` where `Z` has these facts and `M` is `m x k`.
    ///
    /// Covers `X^T A X` (with `M = X^T`) and, applied from the inside out, palindromes of any length.
    pub fn congruence(self, outer: Props, m: usize, k: usize) -> Props {
        let p = self & (Self::SELF_ADJOINT | Self::PSD | Self::NSD);
        let regular = outer.contains(Self::COSTIEFEL)
            || (m == k
                && (outer.intersects(Self::PD | Self::ND | Self::STIEFEL)
                    || (outer.contains(Self::UNIT_DIAG) && outer.intersects(Self::LOWER | Self::UPPER))));
        let p = p | (self & (Self::PD | Self::ND)).when(regular);
        let p = p | Self::ZERO.when((self | outer).contains(Self::ZERO) || k == 0);
        p.close(m, m)
    }

    /// Facts of `A (x) B`; `square` = every factor is square. `nrows x ncols` is the shape of the whole.
    pub fn kron(self, other: Props, square: bool, nrows: usize, ncols: usize) -> Props {
        let both = self & other;
        let mut p = both & Self::ORTHOGONAL;
        p = p | Self::ZERO.when((self | other).contains(Self::ZERO));
        if square {
            p = p | both & (Self::SHAPE | Self::UNIT_DIAG | Self::PERMUTATION | Self::IDENTITY);
            for (a, b) in [(self, other), (other, self)] {
                p = p | Self::PSD.when(a.contains(Self::PSD) && b.contains(Self::PSD));
                p = p | Self::PSD.when(a.contains(Self::NSD) && b.contains(Self::NSD));
                p = p | Self::NSD.when(a.contains(Self::PSD) && b.contains(Self::NSD));
                p = p | Self::PD.when(a.contains(Self::PD) && b.contains(Self::PD));
                p = p | Self::PD.when(a.contains(Self::ND) && b.contains(Self::ND));
                p = p | Self::ND.when(a.contains(Self::PD) && b.contains(Self::ND));
            }
        }
        p.close(nrows, ncols)
    }

    /// Facts of `A (x) I + I (x) B` (square factors, `n x n` in all).
    pub fn kron_sum(self, other: Props, n: usize) -> Props {
        let both = self & other;
        let p = both & (Self::SHAPE | Self::PSD | Self::NSD | Self::ZERO);
        let p = p | Self::PD.when(both.contains(Self::PSD) && (self | other).contains(Self::PD));
        let p = p | Self::ND.when(both.contains(Self::NSD) && (self | other).contains(Self::ND));
        p.close(n, n)
    }

    /// Facts of `diag(A, B)`; `square` = every block is square.
    pub fn block_diag(self, other: Props, square: bool, nrows: usize, ncols: usize) -> Props {
        let p = self & other;
        if square { p.close(nrows, ncols) } else { (p & Self::RECTANGULAR).close(nrows, ncols) }
    }

    /// Facts of the principal submatrix of size `k`; `increasing` = the index list is increasing.
    pub fn principal(self, increasing: bool, k: usize) -> Props {
        let mut keep =
            Self::SELF_ADJOINT | Self::DEFINITE | Self::DIAGONAL | Self::UNIT_DIAG | Self::ZERO | Self::IDENTITY;
        if increasing {
            keep = keep | Self::LOWER | Self::UPPER;
        }
        (self & keep).close(k, k)
    }

    /// Facts of a true inverse of an `n x n` operator.
    pub fn inverse(self, n: usize) -> Props {
        let mut p = self
            & (Self::SELF_ADJOINT
                | Self::PD
                | Self::ND
                | Self::ORTHOGONAL
                | Self::DIAGONAL
                | Self::LOWER
                | Self::UPPER);
        p = p | self & (Self::PERMUTATION | Self::IDENTITY);
        p = p | Self::PD.when(self.contains(Self::PSD)) | Self::ND.when(self.contains(Self::NSD));
        p = p | Self::UNIT_DIAG.when(self.contains(Self::UNIT_DIAG) && self.intersects(Self::LOWER | Self::UPPER));
        p.close(n, n)
    }

    /// Facts of a pseudo-inverse of an `nrows x ncols` operator.
    pub fn pseudo_inverse(self, nrows: usize, ncols: usize) -> Props {
        let p = self & (Self::SELF_ADJOINT | Self::PSD | Self::NSD | Self::DIAGONAL);
        p.close(ncols, nrows)
    }

    /// Facts of the entrywise product `A o B`.
    pub fn hadamard(self, other: Props, nrows: usize, ncols: usize) -> Props {
        let (both, any) = (self & other, self | other);
        let mut p = both & (Self::SELF_ADJOINT | Self::UNIT_DIAG | Self::PSD | Self::PD);
        p = p | any & (Self::DIAGONAL | Self::LOWER | Self::UPPER | Self::ZERO);
        p = p | Self::PSD.when(both.contains(Self::NSD)) | Self::PD.when(both.contains(Self::ND));
        for (a, b) in [(self, other), (other, self)] {
            p = p | Self::NSD.when(a.contains(Self::PSD) && b.contains(Self::NSD));
            p = p | Self::ND.when(a.contains(Self::PD) && b.contains(Self::ND));
        }
        p.close(nrows, ncols)
    }

    /// Facts that the diagonal of a diagonal operator shows (an O(n) check).
    pub fn of_diagonal(values: impl IntoIterator<Item = f64>) -> Props {
        let (mut n, mut psd, mut pd, mut nsd, mut nd) = (0, true, true, true, true);
        let (mut one, mut sign, mut zero) = (true, true, true);
        for x in values {
            n += 1;
            psd &= x >= 0.0;
            pd &= x > 0.0;
            nsd &= x <= 0.0;
            nd &= x < 0.0;
            one &= x == 1.0;
            sign &= x.abs() == 1.0;
            zero &= x == 0.0;
        }
        let p = Self::DIAGONAL
            | Self::PSD.when(psd)
            | Self::PD.when(pd)
            | Self::NSD.when(nsd)
            | Self::ND.when(nd)
            | Self::IDENTITY.when(one)
            | Self::ORTHOGONAL.when(sign)
            | Self::ZERO.when(zero);
        p.close(n, n)
    }
}

impl BitOr for Props {
    type Output = Props;
    fn bitor(self, other: Props) -> Props {
        self.union(other)
    }
}

impl BitAnd for Props {
    type Output = Props;
    fn bitand(self, other: Props) -> Props {
        self.intersection(other)
    }
}

impl fmt::Debug for Props {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("NONE");
        }
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_is_idempotent_and_monotone() {
        for bits in 0..(1u32 << 14) {
            let p = Props(bits).close(3, 3);
            assert_eq!(p, p.close(3, 3));
            assert!(p.contains(Props(bits)));
            assert!(Props::RECTANGULAR.contains(Props(bits).close(3, 2)));
        }
    }

    #[test]
    fn identity_implies_the_rest() {
        let p = Props::IDENTITY.close(2, 2);
        assert!(p.contains(Props::PD | Props::PERMUTATION | Props::ORTHOGONAL | Props::DIAGONAL | Props::UNIT_DIAG));
        assert!(!p.intersects(Props::ZERO | Props::NSD | Props::ND));
        assert_eq!(format!("{:?}", Props::PSD | Props::SELF_ADJOINT), "SELF_ADJOINT | PSD");
    }
}
