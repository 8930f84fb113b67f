//! Times and memory of one row.

use crate::rows::{Route, Row};
use crate::{Failure, Settings};
use autodiff::nn::ModelError;
use autodiff::pde::Pde;
use benches::options::par;
use benches::rounds::{Entry, Line, alternate, alternate_processor, best, line};
use benches::taylor::{Case, Setting};
use numerics::Scalar;
use serde_json::{Value, json};

/// Points that are taken at a time.
const CHUNK: usize = 8;

/// Largest difference from the nested result, relative to the largest value: rounding of sums over thousands of units that cancel.
fn tolerance<T: Scalar>() -> f64 {
    if size_of::<T>() == 4 { 2e-4 } else { 1e-11 }
}

/// One route over all sizes.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// `(size, seconds)`.
    seconds: Vec<(f64, f64)>,
    /// `(size, bytes)` of values, and of the gradient of their squares.
    values: Vec<(f64, f64)>,
    gradient: Vec<(f64, f64)>,
    /// Largest difference from the nested result.
    difference: f64,
    /// Vectors that a hidden layer multiplies for a point, at the largest size.
    pub(crate) vectors: usize,
}

impl Series {
    pub(crate) fn time(&self) -> Line {
        line(&self.seconds)
    }

    pub(crate) fn memory(&self) -> Line {
        line(&self.values)
    }

    pub(crate) fn gradient_memory(&self) -> Line {
        line(&self.gradient)
    }
}

/// A row with what was measured.
pub(crate) struct Figures {
    pub(crate) row: &'static Row,
    pub(crate) series: Vec<Series>,
}

impl Figures {
    /// The route of this name.
    pub(crate) fn of(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.name == name)
    }

    /// One JSON object for each route.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Value> {
        self.series.iter().map(|s| {
            json!({
                "operator": self.row.name, "route": s.name, "vectors": s.vectors, "difference": s.difference,
                "seconds": s.seconds, "bytes": s.values, "gradient_bytes": s.gradient,
            })
        })
    }
}

/// Measures a row.
pub(crate) fn figures<T: Scalar>(row: &'static Row, s: &Settings) -> Result<Figures, Failure> {
    let mut series: Vec<Series> = Vec::new();
    for size in row.sizes {
        let routes = row.routes(size);
        eprintln!("{}: {} {size}", row.name, if row.sampled() { "samples" } else { "points" });
        series.resize_with(routes.len(), || Series {
            name: "",
            seconds: Vec::new(),
            values: Vec::new(),
            gradient: Vec::new(),
            difference: 0.0,
            vectors: 0,
        });
        let (seconds, differences) = times::<T>(row, size, &routes, s)?;
        for (k, route) in routes.iter().enumerate() {
            let (vectors, values, gradient) = memory::<T>(row, size, route)?;
            let (at, to) = (size as f64, &mut series[k]);
            (to.name, to.vectors) = (route.name, vectors);
            to.seconds.push((at, seconds[k]));
            to.values.push((at, values as f64));
            to.gradient.push((at, gradient as f64));
            to.difference = to.difference.max(differences[k]);
        }
    }
    Ok(Figures { row, series })
}

/// Least seconds of every route, and its difference from the first.
fn times<T: Scalar>(row: &Row, size: usize, routes: &[Route], s: &Settings) -> Result<(Vec<f64>, Vec<f64>), Failure> {
    let mut setting = Setting::<T>::new(row.dim, row.points(size), CHUNK, par(s.threads));
    setting.directions = row.directions(size);
    let make = |r: &Route| setting.value(&r.operator, r.strategy);
    let mut cases = routes.iter().map(make).collect::<Result<Vec<Case<T>>, ModelError>>()?;
    cases.iter_mut().try_for_each(|case| case.run(&setting))?;
    let nested = cases[0].outputs[0].clone();
    let differences: Vec<f64> = cases.iter().map(|case| difference(&case.outputs[0], &nested)).collect();
    for (route, &d) in routes.iter().zip(&differences) {
        if d.is_nan() || d > tolerance::<T>() {
            return Err(format!("{}, {}: differs from the nested result by {d:.1e}", row.name, route.name).into());
        }
    }
    let at = &setting;
    let pairs = routes.iter().zip(&mut cases);
    let mut entries: Vec<Entry<'_>> =
        pairs.map(|(route, case)| Entry::new(route.name, move || case.run(at).expect("it ran before"))).collect();
    let rounds = if s.processor { alternate_processor } else { alternate };
    let seconds = rounds(s.rounds, &mut entries);
    Ok((seconds.iter().map(|x| best(x)).collect(), differences))
}

fn difference<T: Scalar>(x: &[T], nested: &[T]) -> f64 {
    let largest = nested.iter().fold(0.0f64, |m, y| m.max(y.to_f64().abs()));
    // `max` would lose a NaN.
    let far = |d: f64, (x, y): (&T, &T)| {
        let here = (x.to_f64() - y.to_f64()).abs();
        if here > d || here.is_nan() { here } else { d }
    };
    x.iter().zip(nested).fold(0.0, far) / largest
}

/// Vectors, and bytes of the compiled programs for all points at once: of the values, and of the gradient of half their sum of
/// squares in the parameters.
fn memory<T: Scalar>(row: &Row, size: usize, route: &Route) -> Result<(usize, usize, usize), Failure> {
    let setting = Setting::<T>::new(row.dim, row.points(size), CHUNK, par(1));
    let model = setting.model.trace_model(setting.n)?;
    let pde = Pde::new(&model, 1).strategy(route.strategy).operator("operator", route.operator.clone());
    let f = pde.footprint::<T>(&[0])?;
    Ok((f.vectors, f.bytes, f.gradient_bytes))
}
