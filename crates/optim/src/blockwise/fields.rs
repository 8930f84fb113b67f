//! A rule's state as named arrays and numbers of a checkpoint.

use super::rule::{Rule, Slot};
use crate::Error;
use crate::slots::counter;
use numerics::Scalar;
use numerics::store::{State, Tensor};
use std::collections::HashMap;

/// Name of a block in field names: that of its tensor, with a number if there are several.
pub(super) fn block_name(param: &str, block: usize, count: usize) -> String {
    if count == 1 { param.to_owned() } else { format!("#{block}.{param}") }
}

pub(super) fn save_array<T: Scalar>(
    state: &mut State,
    field: &str,
    name: &str,
    shape: &[usize],
    values: &[T],
) -> Result<(), Error> {
    state.tensors.push(Tensor::new(format!("{field}.{name}"), shape, values)?);
    Ok(())
}

pub(super) fn save<T: Scalar>(state: &mut State, name: &str, rule: &dyn Rule<T>) -> Result<(), Error> {
    state.scalars.insert(format!("layout.{name}"), rule.layout_tag() as f64);
    let mut copy = rule.boxed_clone();
    for field in copy.fields() {
        let key = format!("{}.{name}", field.name);
        match field.slot {
            Slot::Array(shape, values) => save_array(state, &field.name, name, &shape, values)?,
            Slot::Count(x) => drop(state.scalars.insert(key, *x as f64)),
            Slot::Flag(x) => drop(state.scalars.insert(key, f64::from(u8::from(*x)))),
        }
    }
    Ok(())
}

/// Reads fields by name and notices what nobody asked for.
pub(super) struct Reader<'a> {
    state: &'a State,
    arrays: HashMap<&'a str, &'a Tensor>,
    taken: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        let arrays = state.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        Reader { state, arrays, taken: 0 }
    }

    pub(super) fn array<T: Scalar>(
        &mut self,
        field: &str,
        name: &str,
        shape: &[usize],
        into: &mut [T],
    ) -> Result<(), Error> {
        let key = format!("{field}.{name}");
        let wrong = |what: String| Err(Error::Checkpoint { what });
        let Some(tensor) = self.arrays.get(key.as_str()) else {
            return wrong(format!("the array {key:?} is missing"));
        };
        if tensor.shape != shape {
            return wrong(format!("{key:?}: expected shape {shape:?}, found {:?}", tensor.shape));
        }
        let values = tensor.data.to_vec::<T>()?;
        crate::error::check_len("array of the checkpoint", into.len(), values.len())?;
        into.copy_from_slice(&values);
        self.taken += 1;
        Ok(())
    }

    pub(super) fn rule<T: Scalar>(&mut self, name: &str, rule: &mut dyn Rule<T>) -> Result<(), Error> {
        let (key, tag) = (format!("layout.{name}"), rule.layout_tag());
        let found = counter(self.state, &key)?;
        if found != tag {
            let what = format!("{key:?}: expected storage form {tag}, found {found}");
            return Err(Error::Checkpoint { what });
        }
        for field in rule.fields() {
            let key = format!("{}.{name}", field.name);
            match field.slot {
                Slot::Array(shape, values) => self.array(&field.name, name, &shape, values)?,
                Slot::Count(x) => *x = counter(self.state, &key)?,
                Slot::Flag(x) => match counter(self.state, &key)? {
                    0 => *x = false,
                    1 => *x = true,
                    n => return Err(Error::Checkpoint { what: format!("{key:?} is {n}, not 0 or 1") }),
                },
            }
        }
        Ok(())
    }

    /// Fails if the state holds more arrays than were asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.taken == self.state.tensors.len() {
            return Ok(());
        }
        let what = format!("expected {} arrays, found {}", self.taken, self.state.tensors.len());
        Err(Error::Checkpoint { what })
    }
}
