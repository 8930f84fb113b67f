//! What transformations made of the bodies of named sub-programs while one program is built: each once, however many calls
//! and results a body has.

use super::{Builder, Program};
use crate::error::Error;
use crate::ops::Data;
use std::collections::HashMap;
use std::sync::Arc;

/// A transformation of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// Tangents in these inputs.
    Tangents(Vec<usize>),
    /// Cotangents of the inputs marked so, given those of some outputs.
    Transposed { linear: Vec<bool>, outputs: Vec<usize> },
    /// Over a batch.
    Batched { size: usize, axes: Vec<Option<usize>> },
    /// For another number of data.
    Resized { size: usize, of: Vec<Data> },
}

/// The transformed body, and which of its outputs belongs to which of the original's, where a rule says so.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) body: Arc<Program>,
    pub(crate) places: Vec<Option<usize>>,
}

/// By body and rule; the body is kept, so that its address stays its own.
pub(super) type Derivations = HashMap<(*const Program, Rule), (Arc<Program>, Derived)>;

impl Builder {
    /// What a rule makes of a body, made at the first time.
    pub(crate) fn derived(
        &mut self,
        body: &Arc<Program>,
        rule: Rule,
        make: impl FnOnce(&Program) -> Result<(Program, Vec<Option<usize>>), Error>,
    ) -> Result<Derived, Error> {
        let key = (Arc::as_ptr(body), rule);
        if let Some((_, known)) = self.derived.get(&key) {
            return Ok(known.clone());
        }
        let (made, places) = make(body)?;
        let derived = Derived { body: Arc::new(made), places };
        self.derived.insert(key, (body.clone(), derived.clone()));
        Ok(derived)
    }
}
