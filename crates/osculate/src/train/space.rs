//! `[search]`: which settings a random search tries, and the laws that they are drawn from.
//!
//! Setting `i` draws its value for the `j`-th range, in the order of their names, from the stream (seed, search, i, j), so
//! a longer search begins with the shorter one.

use super::config::RunConfig;
use super::{Error, config};
use numerics::rng::{Role, Stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a setting is judged by at the end of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Loss over the training data.
    TrainLoss,
    /// Loss over the validation data.
    ValidationLoss,
    /// Share of right answers over the training data.
    TrainAccuracy,
    /// Share of right answers over the validation data.
    ValidationAccuracy,
}

impl Metric {
    /// Its name, as in files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::TrainLoss => "train_loss",
            Metric::ValidationLoss => "validation_loss",
            Metric::TrainAccuracy => "train_accuracy",
            Metric::ValidationAccuracy => "validation_accuracy",
        }
    }

    /// Whether larger is better.
    pub fn is_accuracy(self) -> bool {
        matches!(self, Metric::TrainAccuracy | Metric::ValidationAccuracy)
    }
}

/// The law of one value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Its logarithm is uniform between these, both above 0.
    Log(f64, f64),
    /// Uniform between these.
    Uniform(f64, f64),
    /// The logarithm of its distance from 1 is uniform: for decays.
    OneMinus(f64, f64),
    /// Any whole number from the first to the second.
    Integer(i64, i64),
    /// Any of these.
    Choice(Vec<toml::Value>),
}

impl Range {
    fn check(&self) -> Result<(), String> {
        let ordered = |a: f64, b: f64| a.is_finite() && b.is_finite() && a <= b;
        match *self {
            Range::Log(a, b) if !(ordered(a, b) && a > 0.0) => Err(format!("[{a}, {b}]: expected 0 < low <= high")),
            Range::OneMinus(a, b) if !(ordered(a, b) && a > 0.0 && b <= 1.0) => {
                Err(format!("[{a}, {b}]: expected 0 < low <= high <= 1"))
            }
            Range::Uniform(a, b) if !ordered(a, b) => Err(format!("[{a}, {b}]: expected low <= high")),
            Range::Integer(a, b) if a > b => Err(format!("[{a}, {b}]: expected low <= high")),
            Range::Choice(ref list) if list.is_empty() => Err("nothing to choose from".into()),
            _ => Ok(()),
        }
    }

    /// Whether a logarithmic axis shows it best.
    pub fn is_logarithmic(&self) -> bool {
        matches!(self, Range::Log(..) | Range::OneMinus(..))
    }

    fn draw(&self, stream: &mut Stream) -> toml::Value {
        let u = stream.uniform();
        let log = |a: f64, b: f64| (a.ln() + u * (b.ln() - a.ln())).exp().clamp(a, b);
        match *self {
            Range::Log(a, b) => log(a, b).into(),
            Range::OneMinus(a, b) => (1.0 - log(a, b)).into(),
            Range::Uniform(a, b) => (a + u * (b - a)).into(),
            Range::Integer(a, b) => {
                let width = b.abs_diff(a).saturating_add(1);
                a.saturating_add_unsigned(stream.below(width)).into()
            }
            Range::Choice(ref list) => list[stream.below(list.len() as u64) as usize].clone(),
        }
    }
}

/// A random search.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// Settings that are tried.
    pub settings: u64,
    /// Runs of each setting, with consecutive seeds.
    pub seeds: u64,
    /// What they are judged by; `None`: the loss over validation data, or training data if there are no others.
    pub metric: Option<Metric>,
    /// Laws by the place of the value in the description, as `optimizer.lr`.
    pub ranges: BTreeMap<String, Range>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchTable {
    settings: u64,
    seeds: Option<u64>,
    metric: Option<Metric>,
    ranges: BTreeMap<String, toml::Value>,
}

impl SearchTable {
    pub(super) fn checked(self) -> Result<SearchConfig, Error> {
        let wrong = |what: String| Error::setting("[search]", what);
        for (name, n) in [("settings", self.settings), ("seeds", self.seeds.unwrap_or(1))] {
            if !(1..=1_000_000).contains(&n) {
                return Err(wrong(format!("{name} is {n}, expected 1 to 1000000")));
            }
        }
        if self.ranges.is_empty() {
            return Err(wrong("no ranges, expected at least one, as \"optimizer.lr\" = { log = [1e-4, 1e-1] }".into()));
        }
        let mut ranges = BTreeMap::new();
        for (key, value) in self.ranges {
            if matches!(key.split('.').next(), Some("search" | "seed" | "checkpoint")) {
                return Err(wrong(format!("ranges: {key:?} is not for searching")));
            }
            let range = Range::deserialize(value)
                .map_err(|e| wrong(format!("ranges: {key:?}: {}", config::plain_words(e.message()))))?;
            range.check().map_err(|e| wrong(format!("ranges: {key:?}: {e}")))?;
            ranges.insert(key, range);
        }
        Ok(SearchConfig { settings: self.settings, seeds: self.seeds.unwrap_or(1), metric: self.metric, ranges })
    }
}

impl SearchConfig {
    /// The values of a setting, by their places.
    ///
    /// ```
    /// use osculate::train::RunConfig;
    /// let run = RunConfig::parse(r#"
    ///     steps = 3
    ///     model = { input = [64], layers = [{ type = "linear", in = 64, out = 10 }] }
    ///     data = { name = "digits" }
    ///     loss = { name = "cross-entropy" }
    ///     optimizer = { name = "adamw" }
    ///     [search]
    ///     settings = 4
    ///     ranges = { "optimizer.lr" = { log = [1e-4, 1e-1] } }
    /// "#, "run.toml")?;
    /// let search = run.search.as_ref().unwrap();
    /// let values = search.draw(0, 2);
    /// let lr = run.with_values(&values)?.method.lr();
    /// assert!((1e-4..=1e-1).contains(&lr) && search.draw(0, 2) == values && search.draw(0, 3) != values);
    /// # Ok::<(), osculate::train::Error>(())
    /// ```
    pub fn draw(&self, seed: u64, setting: u64) -> BTreeMap<String, toml::Value> {
        let one = |(j, (key, range)): (u64, (&String, &Range))| {
            (key.clone(), range.draw(&mut Stream::new(seed, Role::Search, setting, j)))
        };
        (0u64..).zip(&self.ranges).map(one).collect()
    }
}

impl RunConfig {
    /// The same description with other values at some places, and without its search.
    ///
    /// # Errors
    /// A place that the description cannot have; values that it does not take.
    pub fn with_values(&self, values: &BTreeMap<String, toml::Value>) -> Result<Self, Error> {
        let mut table = self.table.clone();
        table.remove("search");
        for (place, value) in values {
            let wrong = |what: &str| Error::setting("[search]", format!("ranges: {place:?}: {what}"));
            put(&mut table, place, value.clone()).map_err(wrong)?;
        }
        RunConfig::from_table(table, &self.name)
    }
}

/// Sets the value at a dotted place; numbers are places in lists.
fn put(table: &mut toml::Table, place: &str, value: toml::Value) -> Result<(), &'static str> {
    let (first, rest) = place.split_once('.').map_or((place, None), |(a, b)| (a, Some(b)));
    let Some(rest) = rest else {
        table.insert(first.to_owned(), value);
        return Ok(());
    };
    match table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
        toml::Value::Table(inner) => put(inner, rest, value),
        toml::Value::Array(list) => {
            let (index, rest) = rest.split_once('.').ok_or("expected a key of a table in this list")?;
            match index.parse::<usize>().ok().and_then(|i| list.get_mut(i)) {
                Some(toml::Value::Table(inner)) => put(inner, rest, value),
                _ => Err("the list has no table at this place"),
            }
        }
        _ => Err("leads through a value that is no table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        steps = 3
        model = { input = [64], layers = [{ type = "linear", in = 64, out = 10 }] }
        data = { name = "digits" }
        loss = { name = "cross-entropy" }
        optimizer = { name = "soap" }
        group = [{ match = "*.bias" }]
        [search]
        settings = 4
        seeds = 2
        metric = "train_accuracy"
        [search.ranges]
        "optimizer.lr" = { log = [1e-4, 1e-1] }
        "optimizer.beta2" = { one_minus = [1e-3, 0.3] }
        "optimizer.vectors.lr" = { uniform = [0.0, 1.0] }
        "optimizer.period" = { choice = [1, 5, 10] }
        "group.0.lr_factor" = { choice = [0.5] }
        "data.batch_size" = { integer = [16, 18] }
    "#;

    #[test]
    fn values_are_drawn_and_put() {
        let run = RunConfig::parse(GOOD, "run.toml").unwrap();
        let search = run.search.clone().unwrap();
        assert_eq!((search.settings, search.seeds, search.metric), (4, 2, Some(Metric::TrainAccuracy)));
        let mut sizes = std::collections::BTreeSet::new();
        for i in 0..40 {
            let one = run.with_values(&search.draw(7, i)).unwrap();
            let optim::Method::Kron(c) = &one.method else { panic!("soap") };
            assert!((1e-4..=1e-1).contains(&c.lr) && (0.7..=0.999).contains(&c.beta2) && c.vectors.lr <= 1.0);
            assert!([1, 5, 10].contains(&c.period) && one.groups[0].lr_factor == Some(0.5) && one.search.is_none());
            sizes.insert(one.data.batch_size);
        }
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [16, 17, 18]);
        assert_ne!(search.draw(7, 0), search.draw(8, 0));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            ("settings = 4", "settings = 0", "[search]: settings is 0, expected 1 to 1000000"),
            ("seeds = 2", "seeds = -2", "invalid value: integer `-2`"),
            ("seeds = 2", "sees = 2", "unknown key `sees`, expected one of `settings`, `seeds`"),
            ("train_accuracy", "accuracy", "unknown variant `accuracy`"),
            ("log = [1e-4, 1e-1]", "log = [0.0, 1e-1]", "\"optimizer.lr\": [0, 0.1]: expected 0 < low"),
            ("log = [1e-4, 1e-1]", "log = [1.0]", "\"optimizer.lr\": "),
            ("log = [1e-4, 1e-1]", "normal = [1.0, 2.0]", "unknown variant `normal`"),
            ("one_minus = [1e-3, 0.3]", "one_minus = [0.1, 1.5]", "high <= 1"),
            ("choice = [1, 5, 10]", "choice = []", "nothing to choose from"),
            ("integer = [16, 18]", "integer = [18, 16]", "low <= high"),
            ("\"data.batch_size\"", "\"seed\"", "is not for searching"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let e = RunConfig::parse(&GOOD.replacen(from, to, 1), "run.toml").unwrap_err().to_string();
            assert!(e.starts_with("run.toml") && e.contains(part), "{e}\nlacks {part}");
        }
        for (from, to, part) in [
            ("optimizer.period", "optimizer.pause", "unknown key `pause`"),
            ("group.0.lr_factor", "group.1.lr_factor", "no table at this place"),
            ("group.0.lr_factor", "steps.more", "no table"),
            ("group.0.lr_factor", "extra", "unknown key `extra`"),
        ] {
            let run = RunConfig::parse(&GOOD.replacen(from, to, 1), "run.toml").unwrap();
            let e = run.with_values(&run.search.clone().unwrap().draw(0, 0)).unwrap_err().to_string();
            assert!(e.contains(part), "{e}\nlacks {part}");
        }
    }
}
