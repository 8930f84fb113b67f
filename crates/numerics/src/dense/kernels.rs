//! The non-generic `f32`/`f64` instances behind the generic functions of [`crate::dense`].
//!
//! faer's algorithms are generic and would be compiled again into every crate that calls them. Each method of
//! [`DenseKernels`] is instead an ordinary function of a concrete type, compiled once, here. The decompositions
//! run sequentially whatever the caller's parallelism, because their bits depend on it; products and triangular
//! solves do not.

use super::{Diag, Triangle};
use faer::diag::{DiagMut, DiagRef};
use faer::linalg::{cholesky, evd, householder, lu, matmul, qr, svd, triangular_solve};
use faer::prelude::*;
use faer::{Accum, Conj, Spec};
use faer::{
    Mat, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack, StackReq},
};

/// An iteration of the decomposition reached its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled;

/// What [`crate::Scalar`] asks of a type so that heavy faer code is compiled once, in this crate.
///
/// Shapes are the caller's duty: the functions of [`crate::dense`] check them.
pub trait DenseKernels: Sized {
    /// `out = alpha a b`, or `out += alpha a b` if `add`.
    fn matmul(out: MatMut<'_, Self>, add: bool, a: MatRef<'_, Self>, b: MatRef<'_, Self>, alpha: Self);
    /// The lower triangle of `out = alpha a diag(w)^2 b + beta out`, `b` being `a^T` if absent, by tiles of our own; `false`, and
    /// nothing done, if the machine or the layout of `out` is not for them.
    fn lower_by_tiles(
        out: MatMut<'_, Self>,
        beta: Self,
        alpha: Self,
        a: MatRef<'_, Self>,
        b: Option<MatRef<'_, Self>>,
        weights: Option<&[Self]>,
        par: Par,
    ) -> bool;
    /// `rhs <- a^-1 rhs` for a triangle of `a`, sequentially.
    fn tri_solve(tri: Triangle, diag: Diag, a: MatRef<'_, Self>, rhs: MatMut<'_, Self>);
    /// Eigenvalues and, if asked for, vectors of the lower triangle of `a`.
    fn self_adjoint(a: MatRef<'_, Self>, values: &mut [Self], vectors: Option<MatMut<'_, Self>>)
    -> Result<(), Stalled>;
    /// Eigenpairs of a symmetric tridiagonal matrix; `off` has the length of `diag`, its last entry is not used.
    fn tridiagonal(diag: &[Self], off: &[Self], values: &mut [Self], vectors: MatMut<'_, Self>) -> Result<(), Stalled>;
    /// Eigenvalues of a general matrix.
    fn general_values(a: MatRef<'_, Self>, re: &mut [Self], im: &mut [Self]) -> Result<(), Stalled>;
    /// Thin singular value decomposition.
    fn thin_svd(a: MatRef<'_, Self>, u: MatMut<'_, Self>, s: &mut [Self], v: MatMut<'_, Self>) -> Result<(), Stalled>;
    /// QR in place: `a` becomes `R` with the Householder vectors below it; the thin `Q` and the rank are returned.
    fn qr_in_place(a: MatMut<'_, Self>) -> (Mat<Self>, usize);
    /// The same factorisation; the coefficients of the Householder vectors are returned.
    fn qr_reflectors(a: MatMut<'_, Self>) -> Mat<Self>;
    /// `out <- Q out` for the square Q of such a factorisation.
    fn reflect(basis: MatRef<'_, Self>, coefficients: MatRef<'_, Self>, out: MatMut<'_, Self>);
    /// QR with column pivoting; returns the thin `Q` and the permutation.
    fn qr_pivoted_in_place(a: MatMut<'_, Self>) -> (Mat<Self>, Vec<usize>);
    /// Cholesky factorisation of the lower triangle; the error is the index of the pivot.
    fn llt_in_place(a: MatMut<'_, Self>, par: Par) -> Result<(), usize>;
    /// Bunch-Kaufman factorisation of the lower triangle; returns the permutation.
    fn lblt_in_place(a: MatMut<'_, Self>, sub: &mut [Self]) -> Vec<usize>;
    /// LU with partial pivoting; returns the permutation and the number of transpositions.
    fn lu_in_place(a: MatMut<'_, Self>) -> (Vec<usize>, usize);
    /// Rows of Householder coefficients of a square QR.
    fn qr_block(n: usize) -> usize;
    /// Scratch of [`DenseKernels::qr_with`].
    fn qr_req(n: usize) -> StackReq;
    /// Square QR in given memory.
    fn qr_with(a: MatMut<'_, Self>, q: MatMut<'_, Self>, reflectors: MatMut<'_, Self>, stack: &mut MemStack);
    /// Scratch of [`DenseKernels::eigh_with`].
    fn eigh_req(n: usize) -> StackReq;
    /// Eigenpairs in given memory.
    fn eigh_with(
        a: MatRef<'_, Self>,
        values: &mut [Self],
        vectors: MatMut<'_, Self>,
        stack: &mut MemStack,
    ) -> Result<(), Stalled>;
    /// Scratch of [`DenseKernels::lu_with`].
    fn lu_req(n: usize) -> StackReq;
    /// LU with partial pivoting in given memory.
    fn lu_with(a: MatMut<'_, Self>, perm: &mut [usize], inverse: &mut [usize], stack: &mut MemStack);
}

macro_rules! kernels {
    ($t:ident) => {
        impl DenseKernels for $t {
            fn matmul(out: MatMut<'_, $t>, add: bool, a: MatRef<'_, $t>, b: MatRef<'_, $t>, alpha: $t) {
                matmul::matmul(out, accum(add), a, b, alpha, Par::Seq);
            }

            fn lower_by_tiles(
                out: MatMut<'_, $t>,
                beta: $t,
                alpha: $t,
                a: MatRef<'_, $t>,
                b: Option<MatRef<'_, $t>>,
                weights: Option<&[$t]>,
                par: Par,
            ) -> bool {
                #[cfg(target_arch = "x86_64")]
                let done = super::gram::lower(out, beta, alpha, a, b, weights, par);
                #[cfg(not(target_arch = "x86_64"))]
                let done = {
                    let _ = (out, beta, alpha, a, b, weights, par);
                    false
                };
                done
            }

            fn tri_solve(tri: Triangle, diag: Diag, a: MatRef<'_, $t>, rhs: MatMut<'_, $t>) {
                use triangular_solve as ts;
                match (tri, diag) {
                    (Triangle::Lower, Diag::NonUnit) => ts::solve_lower_triangular_in_place(a, rhs, Par::Seq),
                    (Triangle::Lower, Diag::Unit) => ts::solve_unit_lower_triangular_in_place(a, rhs, Par::Seq),
                    (Triangle::Upper, Diag::NonUnit) => ts::solve_upper_triangular_in_place(a, rhs, Par::Seq),
                    (Triangle::Upper, Diag::Unit) => ts::solve_unit_upper_triangular_in_place(a, rhs, Par::Seq),
                }
            }

            fn self_adjoint(
                a: MatRef<'_, $t>,
                values: &mut [$t],
                vectors: Option<MatMut<'_, $t>>,
            ) -> Result<(), Stalled> {
                let want = match vectors {
                    Some(_) => evd::ComputeEigenvectors::Yes,
                    None => evd::ComputeEigenvectors::No,
                };
                let params: Spec<evd::SelfAdjointEvdParams, $t> = Default::default();
                let req = evd::self_adjoint_evd_scratch::<$t>(a.nrows(), want, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                let s = DiagMut::from_slice_mut(values);
                evd::self_adjoint_evd(a, s, vectors, Par::Seq, MemStack::new(&mut buf), params).map_err(|_| Stalled)
            }

            fn tridiagonal(diag: &[$t], off: &[$t], values: &mut [$t], vectors: MatMut<'_, $t>) -> Result<(), Stalled> {
                let params: Spec<evd::SelfAdjointEvdParams, $t> = Default::default();
                // the full problem's scratch contains that of its tridiagonal part
                let want = evd::ComputeEigenvectors::Yes;
                let req = evd::self_adjoint_evd_scratch::<$t>(diag.len(), want, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                evd::tridiagonal_self_adjoint_evd(
                    DiagRef::from_slice(diag),
                    DiagRef::from_slice(off),
                    DiagMut::from_slice_mut(values),
                    Some(vectors),
                    Par::Seq,
                    MemStack::new(&mut buf),
                    params,
                )
                .map_err(|_| Stalled)
            }

            fn general_values(a: MatRef<'_, $t>, re: &mut [$t], im: &mut [$t]) -> Result<(), Stalled> {
                let params: Spec<evd::EvdParams, $t> = Default::default();
                let no = evd::ComputeEigenvectors::No;
                let mut buf = MemBuffer::new(evd::evd_scratch::<$t>(a.nrows(), no, no, Par::Seq, params));
                evd::evd_real(
                    a,
                    DiagMut::from_slice_mut(re),
                    DiagMut::from_slice_mut(im),
                    None,
                    None,
                    Par::Seq,
                    MemStack::new(&mut buf),
                    params,
                )
                .map_err(|_| Stalled)
            }

            fn thin_svd(a: MatRef<'_, $t>, u: MatMut<'_, $t>, s: &mut [$t], v: MatMut<'_, $t>) -> Result<(), Stalled> {
                let params: Spec<svd::SvdParams, $t> = Default::default();
                let thin = svd::ComputeSvdVectors::Thin;
                let req = svd::svd_scratch::<$t>(a.nrows(), a.ncols(), thin, thin, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                let s = DiagMut::from_slice_mut(s);
                svd::svd(a, s, Some(u), Some(v), Par::Seq, MemStack::new(&mut buf), params).map_err(|_| Stalled)
            }

            fn qr_in_place(mut a: MatMut<'_, $t>) -> (Mat<$t>, usize) {
                use qr::no_pivoting::factor as f;
                let (m, n) = (a.nrows(), a.ncols());
                let params: Spec<f::QrParams, $t> = Default::default();
                let bs = f::recommended_block_size::<$t>(m, n);
                let mut h = Mat::<$t>::zeros(bs, m.min(n));
                let mut buf = MemBuffer::new(f::qr_in_place_scratch::<$t>(m, n, bs, Par::Seq, params));
                let info = f::qr_in_place(a.rb_mut(), h.as_mut(), Par::Seq, MemStack::new(&mut buf), params);
                (Self::thin_q(a.rb(), h.as_ref()), info.rank)
            }

            fn qr_reflectors(a: MatMut<'_, $t>) -> Mat<$t> {
                use qr::no_pivoting::factor as f;
                let (m, n) = (a.nrows(), a.ncols());
                let params: Spec<f::QrParams, $t> = Default::default();
                let bs = f::recommended_block_size::<$t>(m, n);
                let mut h = Mat::<$t>::zeros(bs, m.min(n));
                let mut buf = MemBuffer::new(f::qr_in_place_scratch::<$t>(m, n, bs, Par::Seq, params));
                f::qr_in_place(a, h.as_mut(), Par::Seq, MemStack::new(&mut buf), params);
                h
            }

            fn reflect(basis: MatRef<'_, $t>, coefficients: MatRef<'_, $t>, out: MatMut<'_, $t>) {
                use householder as h;
                let (m, bs) = (basis.nrows(), coefficients.nrows());
                let req = h::apply_block_householder_sequence_on_the_left_in_place_scratch::<$t>(m, bs, out.ncols());
                let mut buf = MemBuffer::new(req);
                let stack = MemStack::new(&mut buf);
                h::apply_block_householder_sequence_on_the_left_in_place_with_conj(
                    basis,
                    coefficients,
                    Conj::No,
                    out,
                    Par::Seq,
                    stack,
                );
            }

            fn qr_pivoted_in_place(mut a: MatMut<'_, $t>) -> (Mat<$t>, Vec<usize>) {
                use qr::col_pivoting::factor as f;
                let (m, n) = (a.nrows(), a.ncols());
                let params: Spec<f::ColPivQrParams, $t> = Default::default();
                let bs = qr::no_pivoting::factor::recommended_block_size::<$t>(m, n);
                let mut h = Mat::<$t>::zeros(bs, m.min(n));
                let (mut perm, mut inv) = (vec![0usize; n], vec![0usize; n]);
                let req = f::qr_in_place_scratch::<usize, $t>(m, n, bs, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                let stack = MemStack::new(&mut buf);
                f::qr_in_place(a.rb_mut(), h.as_mut(), &mut perm, &mut inv, Par::Seq, stack, params);
                (Self::thin_q(a.rb(), h.as_ref()), perm)
            }

            fn llt_in_place(a: MatMut<'_, $t>, par: Par) -> Result<(), usize> {
                use cholesky::llt::factor as f;
                let params: Spec<f::LltParams, $t> = Default::default();
                let mut buf = MemBuffer::new(f::cholesky_in_place_scratch::<$t>(a.nrows(), par, params));
                match f::cholesky_in_place(a, Default::default(), par, MemStack::new(&mut buf), params) {
                    Ok(_) => Ok(()),
                    Err(f::LltError::NonPositivePivot { index }) => Err(index),
                }
            }

            fn lblt_in_place(a: MatMut<'_, $t>, sub: &mut [$t]) -> Vec<usize> {
                use cholesky::lblt::factor as f;
                let n = a.nrows();
                let params: Spec<f::LbltParams, $t> = Default::default();
                let (mut perm, mut inv) = (vec![0usize; n], vec![0usize; n]);
                let req = f::cholesky_in_place_scratch::<usize, $t>(n, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                let stack = MemStack::new(&mut buf);
                let sub = DiagMut::from_slice_mut(sub);
                f::cholesky_in_place(a, sub, &mut perm, &mut inv, Par::Seq, stack, params);
                perm
            }

            fn lu_in_place(a: MatMut<'_, $t>) -> (Vec<usize>, usize) {
                use lu::partial_pivoting::factor as f;
                let n = a.nrows();
                let params: Spec<f::PartialPivLuParams, $t> = Default::default();
                let (mut perm, mut inv) = (vec![0usize; n], vec![0usize; n]);
                let req = f::lu_in_place_scratch::<usize, $t>(n, n, Par::Seq, params);
                let mut buf = MemBuffer::new(req);
                let stack = MemStack::new(&mut buf);
                let (info, _) = f::lu_in_place(a, &mut perm, &mut inv, Par::Seq, stack, params);
                (perm, info.transposition_count)
            }

            fn qr_block(n: usize) -> usize {
                qr::no_pivoting::factor::recommended_block_size::<$t>(n, n)
            }

            fn qr_req(n: usize) -> StackReq {
                use householder as h;
                let bs = Self::qr_block(n);
                let params: Spec<qr::no_pivoting::factor::QrParams, $t> = Default::default();
                qr::no_pivoting::factor::qr_in_place_scratch::<$t>(n, n, bs, Par::Seq, params)
                    .or(h::apply_block_householder_sequence_on_the_left_in_place_scratch::<$t>(n, bs, n))
            }

            fn qr_with(mut a: MatMut<'_, $t>, q: MatMut<'_, $t>, mut reflectors: MatMut<'_, $t>, stack: &mut MemStack) {
                let params: Spec<qr::no_pivoting::factor::QrParams, $t> = Default::default();
                qr::no_pivoting::factor::qr_in_place(a.rb_mut(), reflectors.rb_mut(), Par::Seq, stack, params);
                Self::unfold_q(a.rb(), reflectors.rb(), q, stack);
            }

            fn eigh_req(n: usize) -> StackReq {
                let params: Spec<evd::SelfAdjointEvdParams, $t> = Default::default();
                evd::self_adjoint_evd_scratch::<$t>(n, evd::ComputeEigenvectors::Yes, Par::Seq, params)
            }

            fn eigh_with(
                a: MatRef<'_, $t>,
                values: &mut [$t],
                vectors: MatMut<'_, $t>,
                stack: &mut MemStack,
            ) -> Result<(), Stalled> {
                let params: Spec<evd::SelfAdjointEvdParams, $t> = Default::default();
                let s = DiagMut::from_slice_mut(values);
                evd::self_adjoint_evd(a, s, Some(vectors), Par::Seq, stack, params).map_err(|_| Stalled)
            }

            fn lu_req(n: usize) -> StackReq {
                let params: Spec<lu::partial_pivoting::factor::PartialPivLuParams, $t> = Default::default();
                lu::partial_pivoting::factor::lu_in_place_scratch::<usize, $t>(n, n, Par::Seq, params)
            }

            fn lu_with(a: MatMut<'_, $t>, perm: &mut [usize], inverse: &mut [usize], stack: &mut MemStack) {
                let params: Spec<lu::partial_pivoting::factor::PartialPivLuParams, $t> = Default::default();
                lu::partial_pivoting::factor::lu_in_place(a, perm, inverse, Par::Seq, stack, params);
            }
        }

        impl ThinQ for $t {
            fn thin_q(basis: MatRef<'_, $t>, coeff: MatRef<'_, $t>) -> Mat<$t> {
                use householder as h;
                let (m, size) = (basis.nrows(), basis.nrows().min(basis.ncols()));
                let mut q = Mat::<$t>::zeros(m, size);
                let req =
                    h::apply_block_householder_sequence_on_the_left_in_place_scratch::<$t>(m, coeff.nrows(), size);
                let mut buf = MemBuffer::new(req);
                Self::unfold_q(basis.subcols(0, size), coeff, q.as_mut(), MemStack::new(&mut buf));
                q
            }

            fn unfold_q(basis: MatRef<'_, $t>, coeff: MatRef<'_, $t>, mut q: MatMut<'_, $t>, stack: &mut MemStack) {
                q.fill(0.0);
                q.rb_mut().diagonal_mut().fill(1.0);
                // Reflectors that start at a row leave the columns before it as those of the identity.
                for start in (0..basis.ncols()).step_by(coeff.nrows().max(1)).rev() {
                    let (rest, width) = (basis.nrows() - start, coeff.nrows().min(basis.ncols() - start));
                    let columns = q.ncols() - start;
                    householder::apply_block_householder_on_the_left_in_place_with_conj(
                        basis.submatrix(start, start, rest, width),
                        coeff.submatrix(0, start, width, width),
                        Conj::No,
                        q.rb_mut().submatrix_mut(start, start, rest, columns),
                        Par::Seq,
                        stack,
                    );
                }
            }
        }
    };
}

trait ThinQ: Sized {
    /// The first columns of the orthogonal factor.
    fn thin_q(basis: MatRef<'_, Self>, coeff: MatRef<'_, Self>) -> Mat<Self>;
    /// The same, as many as `q` has.
    fn unfold_q(basis: MatRef<'_, Self>, coeff: MatRef<'_, Self>, q: MatMut<'_, Self>, stack: &mut MemStack);
}

fn accum(add: bool) -> Accum {
    if add { Accum::Add } else { Accum::Replace }
}

kernels!(f32);
kernels!(f64);
