//! All eigenvalues of a square operator, as (real, imaginary) pairs; the order is that of the structure.
//!
//! Vectors, where the operator is self-adjoint, are the business of [`eigh`](super::eigh).

use super::function::{is_thin, thin_eigh};
use super::{Cx, Limits, each_once, eigh_in, has_rule, square};
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, Par, Scalar, dense as kernels};

type Pair<T> = (T, T);

/// The eigenvalues of a square operator.
///
/// # Errors
/// `NotSquare`; `NeedsEstimate` above the dense limit where there is no rule (for extreme eigenvalues of self-adjoint
/// operators see [`eigsh`](crate::krylov::eigsh)); those of the dense eigensolver.
pub fn eigenvalues<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<Vec<Pair<T>>, Error> {
    eigenvalues_in(a, &Cx::new(limits, par))
}

fn real<T: Scalar>(values: impl IntoIterator<Item = T>) -> Vec<Pair<T>> {
    values.into_iter().map(|x| (x, T::ZERO)).collect()
}

fn times<T: Scalar>(x: Pair<T>, y: Pair<T>) -> Pair<T> {
    (x.0 * y.0 - x.1 * y.1, x.0 * y.1 + x.1 * y.0)
}

/// `1 / x`, scaled so that the square of the modulus neither overflows nor vanishes.
fn reciprocal<T: Scalar>((re, im): Pair<T>) -> Pair<T> {
    let size = re.abs().max(im.abs());
    let (x, y) = (re / size, im / size);
    let square = (x * x + y * y) * size;
    (x / square, -y / square)
}

fn eigenvalues_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<Vec<Pair<T>>, Error> {
    let n = square("eigenvalues", a)?;
    let inverses = |of: &Op<T>| Ok(eigenvalues_in(of, cx)?.into_iter().map(reciprocal).collect());
    match a.kind() {
        Kind::Triangular(t) => Ok(real((0..n).map(|i| t.mat()[(i, i)]))),
        Kind::TriangularInverse(t) => inverses(&Op::new(t.operand().clone())),
        Kind::Factored(f) => inverses(f.operand()),
        Kind::LowRankSolve(l) => inverses(&Op::new(l.operand().clone())),
        Kind::IterativeInverse(i) if i.is_true_inverse() => inverses(i.operand()),
        Kind::Transposed(t) => eigenvalues_in(t.inner(), cx),
        Kind::Orthogonal(o) => eigenvalues_in(o.inner(), cx),
        Kind::Permutation(p) => Ok(roots_of_unity(p.list())),
        Kind::Scaled(s) => {
            let c = (s.factor(), T::ZERO);
            Ok(eigenvalues_in(s.inner(), cx)?.into_iter().map(|x| times(c, x)).collect())
        }
        Kind::Shifted(s) => {
            Ok(eigenvalues_in(s.inner(), cx)?.into_iter().map(|(re, im)| (re + s.sigma(), im)).collect())
        }
        Kind::Kronecker(k) if k.all_square() => {
            let parts = each_once(k.factors(), |f| eigenvalues_in(f, cx))?;
            let one = vec![(T::ONE, T::ZERO)];
            Ok(parts.iter().fold(one, |l, e| l.iter().flat_map(|&x| e.iter().map(move |&y| times(x, y))).collect()))
        }
        Kind::KroneckerSum(k) => {
            let (x, y) = (eigenvalues_in(k.parts().0, cx)?, eigenvalues_in(k.parts().1, cx)?);
            Ok(x.iter().flat_map(|&x| y.iter().map(move |&y| (x.0 + y.0, x.1 + y.1))).collect())
        }
        Kind::BlockDiag(b) if b.all_square() => {
            Ok(each_once(b.blocks(), |b| eigenvalues_in(b, cx))?.into_iter().flatten().collect())
        }
        Kind::LowRank(l) if is_thin(a, l) => {
            let (_, values) = thin_eigh(l)?;
            Ok(real(values.into_iter().chain(core::iter::repeat_n(T::ZERO, n - l.rank()))))
        }
        // The nonzero eigenvalues of U C V^T are those of C V^T U.
        Kind::LowRank(l) if l.rank() < n => {
            let r = l.rank();
            let mut gram = Mat::zeros(r, r);
            kernels::gemm(gram.as_mut(), T::ONE, l.v().transpose(), l.u(), T::ZERO, cx.par);
            let mut small = Mat::zeros(r, r);
            kernels::gemm(small.as_mut(), T::ONE, l.core().as_ref(), gram.as_ref(), T::ZERO, cx.par);
            let mut values = kernels::eigvals(small.as_ref())?;
            values.extend(core::iter::repeat_n((T::ZERO, T::ZERO), n - r));
            Ok(values)
        }
        _ if has_rule(a, cx.limits.dense) && !matches!(a.kind(), Kind::Dense(_)) => {
            Ok(real(eigh_in(a, cx)?.values().iter().copied()))
        }
        _ => {
            let dense = cx.dense("eigenvalues", a)?;
            if a.props().contains(Props::SELF_ADJOINT) {
                Ok(real(kernels::eigvalsh(dense.as_ref())?))
            } else {
                Ok(kernels::eigvals(dense.as_ref())?)
            }
        }
    }
}

/// A cycle of length L contributes the L-th roots of one.
fn roots_of_unity<T: Scalar>(list: &[usize]) -> Vec<Pair<T>> {
    let mut seen = vec![false; list.len()];
    let mut out = Vec::with_capacity(list.len());
    for start in 0..list.len() {
        let (mut i, mut len) = (start, 0usize);
        while !seen[i] {
            seen[i] = true;
            i = list[i];
            len += 1;
        }
        for j in 0..len {
            let angle = core::f64::consts::TAU * j as f64 / len as f64;
            out.push((T::from_f64(angle.cos()), T::from_f64(angle.sin())));
        }
    }
    out
}
