//! State that has the shape of the parameters: `N` flat arrays and a step counter per tensor, with what every
//! method does around its kernel: checking a step's arguments, saving, loading.

use crate::error::{check, check_len};
use crate::{Error, Grads, NonFinite, ParamList};
use numerics::store::{State, Tensor};
use numerics::{MatRef, Scalar, dense};
use std::collections::HashMap;

/// Counters are saved as numbers of an `f64`, exact up to here.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Debug)]
pub(crate) struct Slots<T, const N: usize> {
    pub(crate) list: ParamList,
    pub(crate) names: [&'static str; N],
    pub(crate) arrays: [Vec<T>; N],
    pub(crate) count: Vec<u64>,
    pub(crate) steps: u64,
    pub(crate) skipped: u64,
}

impl<T: Scalar, const N: usize> Slots<T, N> {
    pub(crate) fn new(list: &ParamList, names: [&'static str; N]) -> Self {
        Slots {
            list: list.clone(),
            names,
            arrays: core::array::from_fn(|_| vec![T::ZERO; list.len()]),
            count: vec![0; list.params().len()],
            steps: 0,
            skipped: 0,
        }
    }

    /// See [`admit`].
    pub(crate) fn admit(
        &self,
        params: &[T],
        grads: &Grads<'_, T>,
        lr_multiplier: f64,
        policy: NonFinite,
    ) -> Result<Option<usize>, Error> {
        admit(&self.list, params, grads, lr_multiplier, policy)
    }

    pub(crate) fn save(&self, kind: &'static str, version: u32, config: serde_json::Value) -> Result<State, Error> {
        let mut state = State::new(kind, version, T::DTYPE);
        state.step = self.steps;
        state.config = config;
        state.scalars.insert("skipped".into(), self.skipped as f64);
        for (i, p) in self.list.params().iter().enumerate() {
            state.scalars.insert(format!("count.{}", p.name()), self.count[i] as f64);
            for (name, array) in self.names.iter().zip(&self.arrays) {
                state.tensors.push(Tensor::new(format!("{name}.{}", p.name()), p.shape(), &array[p.range()])?);
            }
        }
        Ok(state)
    }

    pub(crate) fn restore(&mut self, state: &State, kind: &'static str, version: u32) -> Result<(), Error> {
        state.expect(kind, version, T::DTYPE)?;
        let wrong = |what: String| Err(Error::Checkpoint { what });
        let saved: HashMap<&str, &Tensor> = state.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let expected = N * self.list.params().len();
        if saved.len() != expected || state.tensors.len() != expected {
            return wrong(format!("expected {expected} arrays, found {}", state.tensors.len()));
        }
        let mut fresh = Slots::<T, N>::new(&self.list, self.names);
        fresh.steps = state.step;
        fresh.skipped = counter(state, "skipped")?;
        for (i, p) in self.list.params().iter().enumerate() {
            fresh.count[i] = counter(state, &format!("count.{}", p.name()))?;
            for (name, array) in self.names.iter().zip(&mut fresh.arrays) {
                let key = format!("{name}.{}", p.name());
                let Some(tensor) = saved.get(key.as_str()) else {
                    return wrong(format!("the array {key:?} is missing"));
                };
                if tensor.shape != p.shape() {
                    return wrong(format!("{key:?}: expected shape {:?}, found {:?}", p.shape(), tensor.shape));
                }
                let values = tensor.data.to_vec::<T>()?;
                check_len("array of the checkpoint", p.range().len(), values.len())?;
                array[p.range()].copy_from_slice(&values);
            }
        }
        *self = fresh;
        Ok(())
    }
}

/// Checks the arguments of a step. `Some(i)`: leave the step out, the gradient of tensor `i` is not finite.
pub(crate) fn admit<T: Scalar>(
    list: &ParamList,
    params: &[T],
    grads: &Grads<'_, T>,
    lr_multiplier: f64,
    policy: NonFinite,
) -> Result<Option<usize>, Error> {
    check_len("parameters", list.len(), params.len())?;
    grads.check(list)?;
    check(lr_multiplier.is_finite() && lr_multiplier >= 0.0, "lr multiplier", lr_multiplier, "finite and at least 0")?;
    for (i, p) in list.params().iter().enumerate() {
        if grads.has(i) && !all_finite(&grads.values()[p.range()]) {
            return match policy {
                NonFinite::Error => Err(Error::NonFiniteGradient { parameter: p.name().into() }),
                NonFinite::Skip => Ok(Some(i)),
            };
        }
    }
    Ok(None)
}

/// A count among the scalars of a state.
pub(crate) fn counter(state: &State, name: &str) -> Result<u64, Error> {
    let x = state.scalar(name)?;
    if (0.0..=MAX_COUNT).contains(&x) && x.fract() == 0.0 {
        Ok(x as u64)
    } else {
        Err(Error::Checkpoint { what: format!("{name:?} is {x}, not a count") })
    }
}

/// Whether no number is NaN or infinite.
pub(crate) fn all_finite<T: Scalar>(x: &[T]) -> bool {
    dense::is_all_finite(MatRef::from_column_major_slice(x, x.len(), 1))
}

/// `1 - beta^t`, a pure function of the step so that resuming changes nothing.
pub(crate) fn bias_correction(beta: f64, t: u64) -> f64 {
    1.0 - beta.powi(i32::try_from(t).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_bad_position() {
        for n in (0..40).chain([64, 70]) {
            let mut x = vec![1e300_f64; n];
            assert!(all_finite(&x));
            for i in 0..n {
                for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    x[i] = bad;
                    assert!(!all_finite(&x), "{n} {i} {bad}");
                }
                x[i] = f64::MAX;
            }
        }
    }

    #[test]
    fn bias_corrections() {
        assert_eq!(bias_correction(0.5, 3), 0.875);
        assert_eq!(bias_correction(0.0, 1), 1.0);
        assert_eq!(bias_correction(0.999, u64::MAX), 1.0);
    }
}
