//! The inverse of `diag(d) + L L^T` with d > 0, in the form that stays accurate when the right side is near range(L).
//!
//! With the thin SVD `D^-1/2 L = Q s W^T`, `h = D^-1/2 b`, `c = Q^T h`: `y = h - Q c`, once more `y -= Q Q^T y` (the second
//! projection matters), `x = D^-1/2 (y + Q (c / (1 + s^2)))`. A solve costs `8 n r k` flops; `log det = sum log d +
//! sum log1p(s^2)`.

use super::LowRankPlusDiag;
use super::prelude::*;

/// `(diag(d) + U C U^T)^-1` for d > 0 and a positive semidefinite low-rank part.
#[derive(Clone, Debug)]
pub struct LowRankSolve<T: Scalar> {
    operand: LowRankPlusDiag<T>,
    /// `d^-1/2`.
    half: Vec<T>,
    q: Mat<T>,
    s: Vec<T>,
}

impl<T: Scalar> LowRankSolve<T> {
    /// The inverse; d must be positive and the low-rank part symmetric and known to be PSD.
    pub fn new(operand: LowRankPlusDiag<T>, par: Par) -> Result<Self, Error> {
        let low = operand.low_rank_part();
        if !Self::applies(&operand) {
            return Err(Error::MissingProperty { op: "LowRankSolve", needed: "d > 0 and U C U^T PSD" });
        }
        let half: Vec<T> = operand.diagonal_part().iter().map(|d| d.sqrt().recip()).collect();
        let (n, r) = (half.len(), low.rank());
        let mut l = Mat::from_fn(n, r, |i, j| half[i] * low.u()[(i, j)]);
        if let Some(c) = low.c() {
            let e = kernels::eigh(c)?;
            let root = Mat::from_fn(r, r, |i, j| {
                let x = e.values[j];
                if x > T::ZERO { e.vectors[(i, j)] * x.sqrt() } else { T::ZERO }
            });
            let mut out = Mat::zeros(n, r);
            kernels::gemm(out.as_mut(), T::ONE, l.as_ref(), root.as_ref(), T::ZERO, par);
            l = out;
        }
        let svd = kernels::svd(l.as_ref())?;
        Ok(LowRankSolve { operand, half, q: svd.u, s: svd.s })
    }

    /// Whether the form is available.
    pub fn applies(operand: &LowRankPlusDiag<T>) -> bool {
        let low = operand.low_rank_part();
        low.is_symmetric_form()
            && low.props().contains(Props::PSD)
            && low.rank() > 0
            && operand.diagonal_part().iter().all(|&d| d > T::ZERO)
    }

    /// What it is the inverse of.
    pub fn operand(&self) -> &LowRankPlusDiag<T> {
        &self.operand
    }

    /// Log determinant of the *operand*.
    pub fn operand_logdet(&self) -> T {
        let d: T = self.operand.diagonal_part().iter().map(|d| d.ln()).sum();
        d + self.s.iter().map(|&s| (s * s).ln_1p()).sum::<T>()
    }

    fn shape(&self) -> (usize, usize) {
        (self.half.len(), self.half.len())
    }
    fn req(&self, _: Side, k: usize, _: Par) -> StackReq {
        let t = temp_req::<T>(self.s.len(), k);
        temp_req::<T>(self.half.len(), k).and(t).and(t)
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (n, r, k) = (self.half.len(), self.s.len(), x.ncols());
        let q = self.q.as_ref();
        temp!(y, rest = stack, n * k);
        temp!(c, rest = rest, r * k);
        temp!(again, _rest = rest, r * k);
        map_rows(view_mut(y, n, k), x, T::ZERO, |i| i, |i, v| self.half[i] * v);
        kernels::gemm(view_mut(c, r, k), T::ONE, q.transpose(), view(y, n, k), T::ZERO, par);
        kernels::gemm(view_mut(y, n, k), -T::ONE, q, view(c, r, k), T::ONE, par);
        kernels::gemm(view_mut(again, r, k), T::ONE, q.transpose(), view(y, n, k), T::ZERO, par);
        kernels::gemm(view_mut(y, n, k), -T::ONE, q, view(again, r, k), T::ONE, par);
        for column in c.chunks_exact_mut(r) {
            column.iter_mut().zip(&self.s).for_each(|(c, &s)| *c /= T::ONE + s * s);
        }
        kernels::gemm(view_mut(y, n, k), T::ONE, q, view(c, r, k), T::ONE, par);
        map_rows(out, view(y, n, k), beta, |i| i, |i, v| alpha * self.half[i] * v);
        Ok(())
    }
    fn facts(&self) -> Props {
        let n = self.half.len();
        self.operand.props().inverse(n)
    }
    fn price(&self, k: usize) -> Cost {
        let (n, r, k) = (self.half.len() as f64, self.s.len() as f64, k as f64);
        cost::<T>(8.0 * n * r * k, n * r + 3.0 * n * k)
    }
}

operator!(LowRankSolve, Kind::LowRankSolve);
