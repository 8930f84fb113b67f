//! Subsampled randomised Hadamard transforms: one stage of signs, or two of permuted signs.

use super::fwht::transform;
use super::{check, permutation, signs};
use crate::Error;
use crate::products::check_shapes;
use linop_core::{Cost, LinearOperator};
use numerics::{Mat, MatMut, MatRef, MemStack, Par, Scalar, StackReq};
use std::ops::Range;

/// One randomised stage: permute, then change signs.
#[derive(Clone, Debug)]
struct Stage {
    /// Where entry i comes from; absent for no permutation.
    order: Option<Vec<usize>>,
    signs: Vec<f64>,
}

/// `sqrt(n' / l) R H' P_2 H' P_1` (or one stage of it) on n numbers padded to n' with zeros.
#[derive(Clone, Debug)]
struct Hadamard {
    n: usize,
    padded: usize,
    stages: Vec<Stage>,
    rows: Vec<usize>,
}

impl Hadamard {
    fn req<T: Scalar>(&self) -> StackReq {
        StackReq::new::<T>(self.padded).and(StackReq::new::<T>(self.padded))
    }

    /// Scaling of one product: the transforms are not normalised.
    fn factor(&self) -> f64 {
        let n = self.padded as f64;
        (n / self.rows.len() as f64).sqrt() / n.sqrt().powi(self.stages.len() as i32)
    }

    fn forward<T: Scalar>(&self, x: MatRef<'_, T>, j: usize, work: &mut [T], spare: &mut [T]) {
        for (i, w) in work.iter_mut().enumerate() {
            *w = if i < self.n { x[(i, j)] } else { T::ZERO };
        }
        for stage in &self.stages {
            if let Some(order) = &stage.order {
                spare.copy_from_slice(work);
                work.iter_mut().zip(order).for_each(|(w, &i)| *w = spare[i]);
            }
            work.iter_mut().zip(&stage.signs).for_each(|(w, &s)| *w *= T::from_f64(s));
            transform(work);
        }
    }

    fn backward<T: Scalar>(&self, x: MatRef<'_, T>, j: usize, work: &mut [T], spare: &mut [T]) {
        work.fill(T::ZERO);
        for (i, &row) in self.rows.iter().enumerate() {
            work[row] = x[(i, j)];
        }
        for stage in self.stages.iter().rev() {
            transform(work);
            work.iter_mut().zip(&stage.signs).for_each(|(w, &s)| *w *= T::from_f64(s));
            if let Some(order) = &stage.order {
                spare.copy_from_slice(work);
                spare.iter().zip(order).for_each(|(&w, &i)| work[i] = w);
            }
        }
    }

    fn run<T: Scalar>(
        &self,
        transposed: bool,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        let (l, n) = (self.rows.len(), self.n);
        check_shapes("hadamard sketch", if transposed { (n, l) } else { (l, n) }, &out, &x)?;
        numerics::dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO {
            return Ok(());
        }
        let (mut work, rest) = stack.make_with(self.padded, |_| T::ZERO);
        let (mut spare, _) = rest.make_with(self.padded, |_| T::ZERO);
        let factor = alpha * T::from_f64(self.factor());
        for j in 0..x.ncols() {
            if transposed {
                self.backward(x, j, &mut work, &mut spare);
                (0..self.n).for_each(|i| out[(i, j)] += factor * work[i]);
            } else {
                self.forward(x, j, &mut work, &mut spare);
                self.rows.iter().enumerate().for_each(|(i, &row)| out[(i, j)] += factor * work[row]);
            }
        }
        Ok(())
    }

    fn columns(&self, range: Range<usize>) -> Result<Mat<f64>, Error> {
        if range.end > self.rows.len() {
            return Err(Error::TooManyProbes { op: "columns", asked: range.end, limit: self.rows.len() });
        }
        let unit = Mat::from_fn(self.rows.len(), range.len(), |i, j| if i == range.start + j { 1.0 } else { 0.0 });
        let (mut work, mut spare) = (vec![0.0; self.padded], vec![0.0; self.padded]);
        let mut out = Mat::zeros(self.n, range.len());
        for j in 0..range.len() {
            self.backward(unit.as_ref(), j, &mut work, &mut spare);
            (0..self.n).for_each(|i| out[(i, j)] = self.factor() * work[i]);
        }
        Ok(out)
    }
}

macro_rules! sketch {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Hadamard);

        impl $name {
            /// Some columns of the transpose: test vectors of length n.
            ///
            /// # Errors
            /// `TooManyProbes` if the range leaves the sketch.
            pub fn columns(&self, range: Range<usize>) -> Result<Mat<f64>, Error> {
                self.0.columns(range)
            }
        }

        impl<T: Scalar> LinearOperator<T> for $name {
            fn nrows(&self) -> usize {
                self.0.rows.len()
            }
            fn ncols(&self) -> usize {
                self.0.n
            }
            fn apply_req(&self, _: usize, _: Par) -> StackReq {
                self.0.req::<T>()
            }
            fn apply(
                &self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, _: Par, stack: &mut MemStack,
            ) -> Result<(), linop_core::Error> {
                self.0.run(false, out, alpha, x, beta, stack)
            }
            fn apply_t(
                &self, out: MatMut<'_, T>, alpha: T, x: MatRef<'_, T>, beta: T, _: Par, stack: &mut MemStack,
            ) -> Result<(), linop_core::Error> {
                self.0.run(true, out, alpha, x, beta, stack)
            }
            fn cost(&self, k: usize) -> Cost {
                let (n, stages, k) = (self.0.padded as f64, self.0.stages.len() as f64, k as f64);
                Cost { flops: k * stages * n * (1.0 + n.log2()), bytes: size_of::<T>() as f64 * k * stages * 4.0 * n }
            }
        }
    )*};
}

sketch! {
    /// `sqrt(n' / l) R H D`: random signs, Hadamard transform, l distinct rows; n' is n padded to a power of two.
    ///
    /// ```
    /// use linop_core::to_dense;
    /// use numerics::{Mat, Par};
    /// use sketch::Srht;
    /// let s: Mat<f64> = to_dense(&Srht::new(16, 8, 0, 0)?, Par::Seq)?;
    /// let row: f64 = (0..16).map(|j| s[(3, j)] * s[(3, j)]).sum();
    /// assert!((row - 2.0).abs() < 1e-14);
    /// # Ok::<(), sketch::Error>(())
    /// ```
    Srht;
    /// The same with two stages, each a random permutation with random signs: for inputs of any structure.
    Ssrht;
}

impl Srht {
    /// The sketch number `ordinal` of this seed: n numbers to l.
    ///
    /// # Errors
    /// `SketchTooSmall` for l = 0, `TooManyProbes` for l > n.
    pub fn new(n: usize, l: usize, seed: u64, ordinal: u64) -> Result<Self, Error> {
        check("srht", l, n)?;
        let padded = n.next_power_of_two();
        let stages = vec![Stage { order: None, signs: signs(seed, ordinal, 0, padded) }];
        let rows = permutation(seed, ordinal, 1, padded)[..l].to_vec();
        Ok(Srht(Hadamard { n, padded, stages, rows }))
    }
}

impl Ssrht {
    /// The sketch number `ordinal` of this seed: n numbers to l.
    ///
    /// # Errors
    /// As [`Srht::new`].
    pub fn new(n: usize, l: usize, seed: u64, ordinal: u64) -> Result<Self, Error> {
        check("ssrht", l, n)?;
        let padded = n.next_power_of_two();
        let stage = |first| Stage {
            order: Some(permutation(seed, ordinal, first, padded)),
            signs: signs(seed, ordinal, first + 1, padded),
        };
        let rows = permutation(seed, ordinal, 4, padded)[..l].to_vec();
        Ok(Ssrht(Hadamard { n, padded, stages: vec![stage(0), stage(2)], rows }))
    }
}
