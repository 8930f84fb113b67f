//! An operator whose products are numbered and looked at: a NaN or an infinity ends them, and what went wrong is told with the number
//! of the column. Iterations that multiply by themselves (Lanczos, conjugate gradients) are given this view.
//!
//! Cost: one reading of every product.

use crate::Error;
use core::sync::atomic::{AtomicUsize, Ordering};
use linop_core::{Cost, LinearOperator, Props};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq, dense};

/// No column was bad.
const NONE: usize = usize::MAX;

/// The view. Products are those of the operator, bit for bit.
#[derive(Debug)]
pub(crate) struct Watched<'a, T: Scalar> {
    a: &'a dyn LinearOperator<T>,
    /// Columns so far, and the first that was bad.
    seen: AtomicUsize,
    bad: AtomicUsize,
}

impl<'a, T: Scalar> Watched<'a, T> {
    /// A view that counts from zero.
    pub(crate) fn new(a: &'a dyn LinearOperator<T>) -> Self {
        Watched { a, seen: AtomicUsize::new(0), bad: AtomicUsize::new(NONE) }
    }

    /// The same where the method has multiplied so many columns before.
    pub(crate) fn after(self, first: usize) -> Self {
        Watched { seen: AtomicUsize::new(first), ..self }
    }

    /// So many columns were multiplied elsewhere.
    pub(crate) fn skip(&self, columns: usize) {
        self.seen.fetch_add(columns, Ordering::Relaxed);
    }

    /// An error of what used the view, in the words of this crate: with the column, if that is what it was.
    pub(crate) fn named(&self, op: &'static str, error: linop_core::Error) -> Error {
        match (self.bad.load(Ordering::Relaxed), error) {
            (column, linop_core::Error::NotFinite { .. }) if column != NONE => Error::NonFinite { op, column },
            (_, error) => error.into(),
        }
    }

    /// The same for an error that has passed through another view.
    pub(crate) fn renamed(&self, op: &'static str, error: Error) -> Error {
        match error {
            Error::Operator(inner) => self.named(op, inner),
            other => other,
        }
    }

    /// Numbers the columns of a product and looks at them.
    fn look(&self, out: MatRef<'_, T>) -> Result<(), linop_core::Error> {
        let k = out.ncols();
        let first = self.seen.fetch_add(k, Ordering::Relaxed);
        match (0..k).find(|&j| !dense::is_all_finite(out.subcols(j, 1))) {
            None => Ok(()),
            Some(j) => {
                self.bad.fetch_min(first + j, Ordering::Relaxed);
                Err(linop_core::Error::NotFinite { op: "product", operand: "a product with A" })
            }
        }
    }
}

impl<T: Scalar> LinearOperator<T> for Watched<'_, T> {
    fn nrows(&self) -> usize {
        self.a.nrows()
    }
    fn ncols(&self) -> usize {
        self.a.ncols()
    }
    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.a.apply_req(k, par)
    }
    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.a.apply_t_req(k, par)
    }
    fn apply(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.a.apply(out.as_mut(), alpha, x, beta, par, stack)?;
        self.look(out.as_ref())
    }
    fn apply_t(
        &self,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), linop_core::Error> {
        self.a.apply_t(out.as_mut(), alpha, x, beta, par, stack)?;
        self.look(out.as_ref())
    }
    fn props(&self) -> Props {
        self.a.props()
    }
    fn cost(&self, k: usize) -> Cost {
        self.a.cost(k)
    }
}
