//! Random directions for stochastic operators, in groups whose spread gives a standard error.

use super::points::Points;
use super::{Error, Name, PdeVerb};
use clap::ValueEnum;
use numerics::Scalar;
use numerics::rng::{Law, Role, Stream, probe_at};

/// Groups of samples whose spread gives a standard error.
const GROUPS: usize = 16;

/// Random directions, in groups.
pub(super) struct Samples<T> {
    pub(super) law: Law,
    /// `[groups][per group][N or 1][D]`.
    pub(super) groups: Vec<Vec<Vec<T>>>,
    pub(super) per_datum: bool,
}

impl<T: Scalar> Samples<T> {
    pub(super) fn draw(verb: &PdeVerb, count: usize, points: &Points<T>, seed: u64) -> Result<Self, Error> {
        let (n, d, law) = (points.n, points.d, verb.law);
        let stochastic = |name: &Name| matches!(name, Name::Laplacian | Name::Biharmonic);
        if count == 0 {
            return Err(Error::Usage("--samples 0: at least one direction is needed".into()));
        }
        if let Some(name) = verb.operator.iter().find(|n| !stochastic(n)) {
            let name = name.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
            return Err(Error::Usage(format!(
                "--samples: {name} has no stochastic form; laplacian and biharmonic have"
            )));
        }
        if law == Law::Coordinates && count > d {
            return Err(Error::Usage(format!(
                "--law coordinates: {count} samples of {d} coordinates without replacement"
            )));
        }
        if law == Law::Coordinates && verb.operator.contains(&Name::Biharmonic) {
            return Err(Error::Usage("--law coordinates is defined for the laplacian only".into()));
        }
        let owners = if verb.per_datum { n } else { 1 };
        // All directions of one owner at once, so that coordinates do not repeat.
        let own = |owner: usize| -> Vec<Vec<T>> {
            let j = if verb.per_datum { 1 + owner as u64 } else { 0 };
            if law == Law::Coordinates {
                let mut order: Vec<usize> = (0..d).collect();
                Stream::new(seed, Role::PdeDirections, 0, j).shuffle(&mut order);
                let size = T::from_f64((d as f64).sqrt());
                let unit = |axis: usize| (0..d).map(|i| if i == axis { size } else { T::ZERO }).collect();
                return order[..count].iter().map(|&axis| unit(axis)).collect();
            }
            (0..count as u64)
                .map(|s| {
                    let mut v = vec![T::ZERO; d];
                    probe_at(law, seed, Role::PdeDirections, (s, j), &mut v);
                    v
                })
                .collect()
        };
        let all: Vec<Vec<Vec<T>>> = (0..owners).map(own).collect();
        let size = count.div_ceil(GROUPS);
        let groups = (0..count)
            .step_by(size)
            .map(|from| {
                (from..(from + size).min(count))
                    .map(|s| all.iter().flat_map(|own| own[s].iter().copied()).collect())
                    .collect()
            })
            .collect();
        Ok(Samples { law, groups, per_datum: verb.per_datum })
    }
}
