//! An operator between known spaces: products and structure are the operand's.

use super::prelude::*;
use crate::Space;
use std::sync::Arc;

/// An operator with the spaces of its results and inputs.
#[derive(Clone, Debug)]
pub struct Spaced<T: Scalar> {
    inner: Op<T>,
    output: Option<Arc<Space>>,
    input: Option<Arc<Space>>,
}

impl<T: Scalar> Spaced<T> {
    /// Attaches spaces; their sizes must be the operator's.
    pub fn new(inner: Op<T>, output: Option<Arc<Space>>, input: Option<Arc<Space>>) -> Result<Self, Error> {
        for (space, size) in [(&output, inner.nrows()), (&input, inner.ncols())] {
            if let Some(space) = space.as_ref().filter(|s| s.size() != size) {
                return Err(shape_error("Spaced", format!("a space of size {size}"), format!("{space}")));
            }
        }
        Ok(Spaced { inner, output, input })
    }

    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }

    /// Space of results and space of inputs.
    pub(crate) fn both(&self) -> (Option<&Arc<Space>>, Option<&Arc<Space>>) {
        (self.output.as_ref(), self.input.as_ref())
    }

    fn shape(&self) -> (usize, usize) {
        (self.inner.nrows(), self.inner.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        side.req(&self.inner, k, par)
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        side.run(&self.inner, out, alpha, x, beta, par, stack)
    }
    fn facts(&self) -> Props {
        self.inner.props()
    }
    fn word(&self) -> Props {
        self.inner.assumed()
    }
    fn price(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
}

/// Spaces do not hide structure.
fn seen_through<T: Scalar>(a: &Spaced<T>) -> Kind<'_, T> {
    a.inner.kind()
}

operator!(Spaced, seen_through, spaces: both, assumed: word);
