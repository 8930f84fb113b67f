//! `Kind`: a borrowed view of an operator's structure, which dispatch matches on.

use crate::krylov::IterativeInverse;
use crate::ops::*;
use numerics::Scalar;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The structure of an operator, as far as it is known.
        ///
        /// Dispatch of solves, determinants, traces and spectra matches on it; [`Kind::Opaque`] stands for "only
        /// products".
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub enum Kind<'a, T: Scalar> {
            /// Nothing but products.
            Opaque,
            $($(#[$doc])* $name(&'a $name<T>),)*
        }
    };
}

kinds! {
    /// A stored matrix.
    Dense,
    /// `c I`.
    ScalarIdentity,
    /// The zero map.
    Zero,
    /// `diag(d)`.
    Diagonal,
    /// A permutation.
    Permutation,
    /// A row subset.
    Selection,
    /// A stored triangle.
    Triangular,
    /// The inverse of a triangle.
    TriangularInverse,
    /// The inverse of a factored matrix.
    Factored,
    /// The inverse by iteration.
    IterativeInverse,
    /// Declared orthogonal.
    Orthogonal,
    /// A sum.
    Sum,
    /// `a A`.
    Scaled,
    /// `A + sigma I`.
    Shifted,
    /// A product.
    Chain,
    /// `A^T`.
    Transposed,
    /// A Kronecker product.
    Kronecker,
    /// A Kronecker sum.
    KroneckerSum,
    /// A block-diagonal operator.
    BlockDiag,
    /// A grid of blocks.
    Block,
    /// `U C V^T`.
    LowRank,
    /// `diag(d) + U C V^T`.
    LowRankPlusDiag,
    /// The inverse of `diag(d) + U C U^T`, d > 0.
    LowRankSolve,
    /// `A + U C V^T`.
    LowRankUpdate,
    /// `Q diag(l) Q^T`.
    Eigh,
    /// Rows and columns of an operator.
    Submatrix,
    /// `X^T A X`.
    Congruence,
    /// `X^T X` or `X X^T`.
    Gram,
    /// An entrywise product with a low-rank operator.
    Hadamard,
    /// `sum_i (x_i x_i^T) (x) S_i`.
    TokenKronSum,
}
