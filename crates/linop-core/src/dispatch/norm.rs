//! Squared Frobenius norms from the parts; rectangular operators included.

use super::inner::inner_in;
use super::trace::{low_diagonal, trace_in};
use super::{Cx, Limits};
use crate::ops::LowRank;
use crate::{Error, Kind, LinearOperator, Op};
use numerics::{Mat, MatRef, Par, Scalar, dense as kernels};

/// `|A|_F^2`.
pub fn frobenius_sq<T: Scalar>(a: &Op<T>, limits: Limits, par: Par) -> Result<T, Error> {
    frobenius_in(a, &Cx::new(limits, par))
}

fn of_mat<T: Scalar>(a: MatRef<'_, T>) -> T {
    let norm = kernels::norm_l2(a);
    norm * norm
}

/// `tr((U^T U) C (V^T V) C^T)`.
fn low<T: Scalar>(l: &LowRank<T>, par: Par) -> T {
    let r = l.rank();
    let times = |a: MatRef<'_, T>, b: MatRef<'_, T>| {
        let mut out = Mat::zeros(a.nrows(), b.ncols());
        kernels::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, par);
        out
    };
    let (uu, vv, c) = (times(l.u().transpose(), l.u()), times(l.v().transpose(), l.v()), l.core());
    let left = times(uu.as_ref(), c.as_ref());
    let right = times(c.as_ref(), vv.as_ref());
    (0..r).map(|j| (0..r).map(|i| left[(i, j)] * right[(i, j)]).sum::<T>()).sum()
}

/// Rounding of terms that cancel may leave a sum of squares below zero.
fn not_negative<T: Scalar>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

pub(crate) fn frobenius_in<T: Scalar>(a: &Op<T>, cx: &Cx) -> Result<T, Error> {
    let (m, n) = (a.nrows(), a.ncols());
    if m == 0 || n == 0 {
        return Ok(T::ZERO);
    }
    let two = T::from_f64(2.0);
    let squares = |x: &[T]| x.iter().map(|&x| x * x).sum::<T>();
    Ok(match a.kind() {
        Kind::Zero(_) => T::ZERO,
        Kind::ScalarIdentity(c) => T::from_usize(n) * c.factor() * c.factor(),
        Kind::Diagonal(d) => squares(d.values()),
        Kind::Permutation(_) | Kind::Orthogonal(_) | Kind::Selection(_) => T::from_usize(m),
        Kind::Dense(d) => of_mat(d.mat()),
        Kind::Triangular(t) => of_mat(t.mat()),
        Kind::Transposed(t) => frobenius_in(t.inner(), cx)?,
        Kind::Scaled(s) => s.factor() * s.factor() * frobenius_in(s.inner(), cx)?,
        Kind::Shifted(s) => {
            frobenius_in(s.inner(), cx)?
                + two * s.sigma() * trace_in(s.inner(), cx)?
                + T::from_usize(n) * s.sigma() * s.sigma()
        }
        Kind::Kronecker(k) => k.factors().iter().try_fold(T::ONE, |p, f| Ok::<_, Error>(p * frobenius_in(f, cx)?))?,
        Kind::KroneckerSum(k) => {
            let (x, y) = k.parts();
            let (nx, ny) = (T::from_usize(x.nrows()), T::from_usize(y.nrows()));
            ny * frobenius_in(x, cx)? + nx * frobenius_in(y, cx)? + two * trace_in(x, cx)? * trace_in(y, cx)?
        }
        Kind::BlockDiag(b) => b.blocks().iter().map(|b| frobenius_in(b, cx)).sum::<Result<T, _>>()?,
        Kind::Block(b) => {
            let (h, w) = b.partition();
            let places = (0..h.len()).flat_map(|i| (0..w.len()).map(move |j| (i, j)));
            places.filter_map(|(i, j)| b.block(i, j)).map(|b| frobenius_in(b, cx)).sum::<Result<T, _>>()?
        }
        Kind::LowRank(l) => low(l, cx.par),
        Kind::LowRankPlusDiag(l) => {
            let d = l.diagonal_part();
            let cross: T = low_diagonal(l.low_rank_part()).iter().zip(d).map(|(&x, &d)| x * d).sum();
            squares(d) + low(l.low_rank_part(), cx.par) + two * cross
        }
        Kind::Eigh(e) => squares(e.values()),
        Kind::TokenKronSum(t) => not_negative(t.frobenius_sq(cx.par)),
        Kind::LowRankUpdate(l) => {
            let low_part = Op::new(l.low_rank_part().clone());
            let cross = inner_in(&low_part, l.base(), cx)?;
            not_negative(frobenius_in(l.base(), cx)? + low(l.low_rank_part(), cx.par) + two * cross)
        }
        Kind::Sum(s) => {
            let mut total = T::ZERO;
            for (i, x) in s.terms().iter().enumerate() {
                total += frobenius_in(x, cx)?;
                for y in &s.terms()[..i] {
                    total += two * inner_in(x, y, cx)?;
                }
            }
            not_negative(total)
        }
        _ => of_mat(cx.dense("frobenius_sq", a)?.as_ref()),
    })
}
