//! Dense factorisations and products: the one place that calls faer's decompositions.
//!
//! Three promises that faer alone does not make are kept here.
//!
//! *Bits.* [`gemm`], [`gemm_lower`], [`syrk`], [`syrk_weighted`], [`trsm`] and the Cholesky factor give the same bits for every [`crate::Par`], and a column
//! of a product or solve has the same bits alone as inside a wider block. faer sends products of width one to
//! another kernel, so a lone column is multiplied twice over, in row blocks held on the stack. Eigenvalue,
//! singular value, QR, LU and Bunch-Kaufman routines always run sequentially: their bits would depend on the
//! number of threads. [`TallQr`] and [`cholesky_qr`] run on pieces of rows that depend on the shape alone. Dot products and sums use fixed blocks of 4096 elements.
//!
//! *Bad numbers.* Every decomposition checks finiteness first, `n^2` reads, and fails with
//! [`crate::Error::NotFinite`]: faer's symmetric eigenvalue iteration may take minutes to give up on a NaN.
//! Very large or very small input is scaled by a power of two, so no intermediate square overflows.
//!
//! *Memory.* Products and triangular solves allocate nothing, apart from packing buffers on the first large products of a
//! thread; decompositions allocate their result and scratch.
//!
//! One constructor of faer 0.24.4 must be avoided: `MatMut::from_row_major_slice_with_stride_mut` makes a
//! column-major view. Take `from_row_major_slice_mut` of the full width and `subcols_mut` instead.
//!
//! Costs, in flops for order `n`: product `2 n^3`, Cholesky `n^3/3`, LU `2n^3/3`, symmetric eigenpairs about
//! `9 n^3`.

mod eigen;
mod elementwise;
mod expm;
mod fresh;
#[cfg(target_arch = "x86_64")]
mod gram;
mod householder;
mod in_place;
pub mod kernels;
mod orthogonal;
pub mod panels;
mod products;
mod reduce;
mod roots;
mod solve;
mod tall;

pub use eigen::{Eigh, apply_spectral, eigh, eigvals, eigvalsh, tridiag_eigh};
pub use elementwise::{axpy, copy, mirror_lower, scale, symmetrize};
pub use expm::expm;
pub use fresh::zeros;
pub use in_place::FactorWork;
pub use orthogonal::{PivotedQr, Qr, Svd, qr, qr_pivoted, svd};
pub use products::{gemm, gemm_lower, syrk, syrk_weighted, trsm};
pub use reduce::{col_dots, dot, is_all_finite, norm_l2, sum};
pub use roots::{logm, sqrtm};
pub use solve::{Lblt, Llt, Lu};
pub use tall::{CholeskyQr, TallQr, cholesky_qr, cholesky_qr_beside, qr_tall};

/// Which triangle of a matrix is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

/// What the diagonal of a triangular matrix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diag {
    /// The stored diagonal.
    NonUnit,
    /// Ones; the stored diagonal is not read.
    Unit,
}

pub(crate) fn need_square<T: crate::Scalar>(op: &'static str, a: crate::MatRef<'_, T>) -> Result<(), crate::Error> {
    if a.nrows() == a.ncols() {
        return Ok(());
    }
    Err(crate::Error::shape(op, "a square matrix", format!("{} x {}", a.nrows(), a.ncols())))
}

pub(crate) fn need_finite<T: crate::Scalar>(op: &'static str, a: crate::MatRef<'_, T>) -> Result<(), crate::Error> {
    if is_all_finite(a) {
        return Ok(());
    }
    Err(crate::Error::NotFinite { op, operand: "the matrix" })
}
