//! Products with a part of an operator that is known by its products only: a strict triangle, or a band.
//!
//! A triangle is cut into steps of width b. What lies below the steps is exact: the operator times x restricted to a
//! step, read below the step, `ceil(n/b) - 1` products in all. What lies inside a step, and a band, is estimated with g
//! probes by `(1/g) sum_j phi(w_j) o A (w_j o x)`, where `phi(w)_i` sums w over the entries that belong to row i. The
//! variance of a row is the sum of squares of its other entries, so probes pay only if steps are short or many. Probes
//! are the same in every product, and the transposed product is the exact adjoint.

use crate::Error;
use crate::products::check_shapes;
use linop_core::{Cost, LinearOperator, Op};
use numerics::rng::{Law, Role, probe};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};
use std::ops::Range;

/// Which strict triangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Below the diagonal.
    Lower,
    /// Above the diagonal.
    Upper,
}

#[derive(Clone, Copy, Debug)]
enum Mask {
    Triangle { side: Side, step: usize },
    Band { below: usize, above: usize },
}

/// Part of an operator.
///
/// An `n x n` operator whose products cost as many products with the whole as it has steps, less one, and probes; `2 n k + 3 n`
/// numbers for k columns. Source: skerch for the steps; the estimate is that of Bekas, Kokiopoulou, Saad 2007 with
/// one factor summed over a row.
#[derive(Debug)]
pub struct Masked<T: Scalar> {
    inner: Op<T>,
    mask: Mask,
    probes: usize,
    seed: u64,
}

impl<T: Scalar> Masked<T> {
    /// The strict triangle. `step` is the width of a step (`None`: half of the size, one product), `probes` the number of
    /// random products for what lies inside the steps (0: left out). With steps of 1 the triangle is exact.
    ///
    /// Cost: none; a product, `ceil(n / step) - 1 + probes` with the operator.
    ///
    /// ```
    /// use linop_core::{LinearOperator, Op, to_dense};
    /// use numerics::{Mat, Par};
    /// use sketch::{Masked, Side};
    /// let a = Op::dense(Mat::from_fn(5, 5, |i, j| (5 * i + j) as f64));
    /// let lower = Masked::triangle(a, Side::Lower, Some(1), 0, 0)?;
    /// let l: Mat<f64> = to_dense(&lower, Par::Seq)?;
    /// assert_eq!((l[(3, 1)], l[(1, 3)], l[(2, 2)]), (16.0, 0.0, 0.0));
    /// # Ok::<(), sketch::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotSquare`, `InvalidArgument` for a step of 0.
    pub fn triangle(inner: Op<T>, side: Side, step: Option<usize>, probes: usize, seed: u64) -> Result<Self, Error> {
        let op = "triangle";
        let n = inner.nrows();
        if n != inner.ncols() {
            return Err(Error::NotSquare { op, nrows: n, ncols: inner.ncols() });
        }
        let step = step.unwrap_or_else(|| n.div_ceil(2).max(1));
        if step == 0 {
            return Err(Error::argument(op, "needs a step of at least 1"));
        }
        Ok(Masked { inner, mask: Mask::Triangle { side, step }, probes, seed })
    }

    /// The band of the entries with `-above <= i - j <= below`, estimated with `probes` products.
    ///
    /// Cost: none; a product, `probes` with the operator.
    ///
    /// # Errors
    /// `NotSquare`, `SketchTooSmall` for no probes.
    pub fn band(inner: Op<T>, below: usize, above: usize, probes: usize, seed: u64) -> Result<Self, Error> {
        let op = "band";
        if inner.nrows() != inner.ncols() {
            return Err(Error::NotSquare { op, nrows: inner.nrows(), ncols: inner.ncols() });
        }
        if probes == 0 {
            return Err(Error::SketchTooSmall { op, needed: 1, got: 0 });
        }
        Ok(Masked { inner, mask: Mask::Band { below, above }, probes, seed })
    }

    /// The columns that row i keeps and that are estimated.
    fn window(&self, i: usize) -> Range<usize> {
        let n = self.inner.nrows();
        match self.mask {
            Mask::Triangle { side: Side::Lower, step } => i / step * step..i,
            Mask::Triangle { side: Side::Upper, step } => i + 1..((i / step + 1) * step).min(n),
            Mask::Band { below, above } => i.saturating_sub(below)..above.saturating_add(i + 1).min(n),
        }
    }

    /// `phi(w)`, by running sums.
    fn pattern(&self, w: &[T], sums: &mut [f64], phi: &mut [T]) {
        sums[0] = 0.0;
        for (i, w) in w.iter().enumerate() {
            sums[i + 1] = sums[i] + w.to_f64();
        }
        for (i, phi) in phi.iter_mut().enumerate() {
            let window = self.window(i);
            *phi = T::from_f64(sums[window.end.max(window.start)] - sums[window.start]);
        }
    }

    /// Adds the exact part: for every step the inner product is read outside the step.
    fn add_exact(
        &self,
        transposed: bool,
        out: &mut MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        mut buf: MatMut<'_, T>,
        mut res: MatMut<'_, T>,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let Mask::Triangle { side, step } = self.mask else { return Ok(()) };
        let (n, k) = (x.nrows(), x.ncols());
        for start in (0..n).step_by(step) {
            let end = (start + step).min(n);
            let outside = match side {
                Side::Lower => end..n,
                Side::Upper => 0..start,
            };
            if outside.is_empty() {
                continue;
            }
            let (from, to) = if transposed { (outside, start..end) } else { (start..end, outside) };
            buf.fill(T::ZERO);
            dense::copy(buf.as_mut().subrows_mut(from.start, from.len()), x.subrows(from.start, from.len()));
            if transposed {
                self.inner.apply_t(res.as_mut(), T::ONE, buf.as_ref(), T::ZERO, par, stack)?;
            } else {
                self.inner.apply(res.as_mut(), T::ONE, buf.as_ref(), T::ZERO, par, stack)?;
            }
            let part = res.as_ref().submatrix(to.start, 0, to.len(), k);
            dense::axpy(out.as_mut().subrows_mut(to.start, to.len()), alpha, part);
        }
        Ok(())
    }

    fn run(
        &self,
        transposed: bool,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let n = self.inner.nrows();
        check_shapes("masked product", (n, n), &out, &x)?;
        dense::scale(out.as_mut(), beta);
        let (n, k) = (x.nrows(), x.ncols());
        if alpha == T::ZERO || n == 0 || k == 0 {
            return Ok(());
        }
        let (mut a, rest) = stack.make_with(n * k, |_| T::ZERO);
        let (mut b, rest) = rest.make_with(n * k, |_| T::ZERO);
        let (mut w, rest) = rest.make_with(n, |_| T::ZERO);
        let (mut phi, rest) = rest.make_with(n, |_| T::ZERO);
        let (mut sums, rest) = rest.make_with(n + 1, |_| 0.0f64);
        let mut buf = MatMut::from_column_major_slice_mut(&mut a, n, k);
        let mut res = MatMut::from_column_major_slice_mut(&mut b, n, k);
        self.add_exact(transposed, &mut out, alpha, x, buf.as_mut(), res.as_mut(), par, rest)?;
        let share = alpha * T::from_f64((self.probes.max(1) as f64).recip());
        for probe_number in 0..self.probes {
            probe(Law::Rademacher, self.seed, Role::RightProbe, probe_number as u64, &mut w);
            self.pattern(&w, &mut sums, &mut phi);
            let (first, last) = if transposed { (&phi, &w) } else { (&w, &phi) };
            for j in 0..k {
                for i in 0..n {
                    buf[(i, j)] = first[i] * x[(i, j)];
                }
            }
            if transposed {
                self.inner.apply_t(res.as_mut(), T::ONE, buf.as_ref(), T::ZERO, par, rest)?;
            } else {
                self.inner.apply(res.as_mut(), T::ONE, buf.as_ref(), T::ZERO, par, rest)?;
            }
            for j in 0..k {
                for i in 0..n {
                    out[(i, j)] += share * last[i] * res[(i, j)];
                }
            }
        }
        Ok(())
    }

    fn scratch(&self, k: usize, inner: StackReq) -> StackReq {
        let n = self.inner.nrows();
        let block = StackReq::new::<T>(n * k);
        let line = StackReq::new::<T>(n);
        block.and(block).and(line).and(line).and(StackReq::new::<f64>(n + 1)).and(inner)
    }
}

impl<T: Scalar> LinearOperator<T> for Masked<T> {
    fn nrows(&self) -> usize {
        self.inner.nrows()
    }

    fn ncols(&self) -> usize {
        self.inner.nrows()
    }

    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.scratch(k, self.inner.apply_req(k, par))
    }

    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.scratch(k, self.inner.apply_t_req(k, par))
    }

    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.run(false, out, alpha, x, beta, par, stack)
    }

    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.run(true, out, alpha, x, beta, par, stack)
    }

    fn cost(&self, k: usize) -> Cost {
        let steps = match self.mask {
            Mask::Triangle { step, .. } => self.inner.nrows().div_ceil(step).saturating_sub(1),
            Mask::Band { .. } => 0,
        };
        let (one, products) = (self.inner.cost(k), (steps + self.probes) as f64);
        Cost { flops: products * one.flops, bytes: products * one.bytes }
    }
}
