//! Data sets: inputs, targets, optional weights and masks, checked once so that nobody downstream has to.

use super::{Array, ArrayData, DEFAULT_LIMIT, Error, csv, npz};
use std::ops::Range;
use std::path::Path;

/// What the model should answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Numbers, `[N, C]` (or any shape that begins with `N`), row-major.
    Values {
        /// Shape.
        shape: Vec<usize>,
        /// Elements.
        values: Vec<f64>,
    },
    /// Class labels, `[N]` or `[N, S, …]`.
    Labels {
        /// Shape.
        shape: Vec<usize>,
        /// Elements; the ignored ones hold the ignored index.
        labels: Vec<i64>,
    },
}

impl Targets {
    /// Its shape; the first entry is the number of data.
    pub fn shape(&self) -> &[usize] {
        match self {
            Targets::Values { shape, .. } | Targets::Labels { shape, .. } => shape,
        }
    }
}

/// What labels are allowed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRules {
    /// Labels lie in `0..classes`.
    pub classes: usize,
    /// The label that means "no term here".
    pub ignore: i64,
}

impl LabelRules {
    /// `classes` labels and the customary ignored index -100.
    pub fn new(classes: usize) -> Self {
        LabelRules { classes, ignore: -100 }
    }
}

/// Inputs, targets and what belongs to them.
///
/// Guaranteed after construction: at least one datum; equal numbers of inputs, targets, weights, masks; no NaN and no
/// infinity anywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    name: String,
    inputs: Array,
    targets: Targets,
    weights: Option<Vec<f64>>,
    attention_mask: Option<Array>,
    token_type_ids: Option<Array>,
}

impl Dataset {
    /// Reads `.npz`, or `.csv` with the name of the target column.
    pub fn read(path: &Path, target_column: Option<&str>) -> Result<Self, Error> {
        Self::read_with(path, target_column, DEFAULT_LIMIT)
    }

    /// As [`Dataset::read`], with a limit on the bytes of decoded data of an archive.
    pub fn read_with(path: &Path, target_column: Option<&str>, limit: u64) -> Result<Self, Error> {
        let name = path.display().to_string();
        match (path.extension().and_then(|e| e.to_str()), target_column) {
            (Some("npz"), None) => Self::from_npz(npz::read_with(path, limit)?, &name),
            (Some("npz"), Some(_)) => Err(Error::data(&name, "a target column belongs to a .csv table, not to .npz")),
            (Some("csv"), Some(column)) => Self::from_table(&csv::read(path)?, column, &name),
            (Some("csv"), None) => Err(Error::data(&name, "a .csv table needs --target-column")),
            _ => Err(Error::data(&name, "unknown kind of data; .npz and .csv are read")),
        }
    }

    /// Takes the arrays `inputs`, `targets` and optionally `weights`, `attention_mask`, `token_type_ids`; others are errors.
    pub fn from_npz(archive: npz::Npz, name: &str) -> Result<Self, Error> {
        let [mut inputs, mut targets, mut weights, mut attention_mask, mut token_type_ids] = [const { None }; 5];
        for (key, array) in archive.into_entries() {
            match key.as_str() {
                "inputs" => inputs = Some(array),
                "targets" => targets = Some(array),
                "weights" => weights = Some(array),
                "attention_mask" => attention_mask = Some(array),
                "token_type_ids" => token_type_ids = Some(array),
                other => {
                    return Err(Error::data(
                        name,
                        format!(
                            "unknown array {other:?}; known are inputs, targets, weights, attention_mask, token_type_ids"
                        ),
                    ));
                }
            }
        }
        let missing = |what: &str| Error::data(name, format!("no array {what:?}"));
        let inputs = inputs.ok_or_else(|| missing("inputs"))?;
        let targets = targets.ok_or_else(|| missing("targets"))?;
        let shape = targets.shape().to_vec();
        let targets = match (targets.to_floats(), targets.to_integers()) {
            (Some(values), _) => Targets::Values { shape, values },
            (_, Some(labels)) => Targets::Labels { shape, labels },
            _ => return Err(Error::data(name, "targets are neither floats nor integers")),
        };
        let weights = match weights {
            None => None,
            Some(w) if w.shape().len() == 1 => {
                Some(w.to_floats().ok_or_else(|| Error::data(name, "weights must be floats"))?)
            }
            Some(w) => {
                return Err(Error::data(name, format!("weights have shape {:?}, expected [N]", w.shape())));
            }
        };
        Self { name: name.to_owned(), inputs, targets, weights, attention_mask, token_type_ids }.checked()
    }

    /// All columns but one are inputs; the target column holds labels if it is written in integers, else values `[N, 1]`.
    pub fn from_table(table: &csv::Table, target: &str, name: &str) -> Result<Self, Error> {
        let t = table.column(target)?;
        let n = table.nrows();
        if table.ncols() < 2 {
            return Err(Error::data(name, "a table needs a target column and at least one other"));
        }
        for (i, x) in table.cells().iter().enumerate() {
            if !x.is_finite() {
                let (row, col) = (i / table.ncols(), i % table.ncols());
                return Err(Error::Line {
                    path: name.to_owned(),
                    line: table.line(row),
                    what: format!("column {:?} holds {x}; data must be finite", table.header()[col]),
                });
            }
        }
        let inputs =
            (0..n).flat_map(|i| (0..table.ncols()).filter(move |&j| j != t).map(move |j| table.get(i, j))).collect();
        let inputs = Array::new(vec![n, table.ncols() - 1], ArrayData::F64(inputs))
            .ok_or_else(|| Error::data(name, "the table is not rectangular"))?;
        let column = (0..n).map(|i| table.get(i, t));
        let targets = if table.is_integral(t) {
            Targets::Labels { shape: vec![n], labels: column.map(|x| x as i64).collect() }
        } else {
            Targets::Values { shape: vec![n, 1], values: column.collect() }
        };
        Self { name: name.to_owned(), inputs, targets, weights: None, attention_mask: None, token_type_ids: None }
            .checked()
    }

    /// Joins arrays in memory.
    pub fn new(name: &str, inputs: Array, targets: Targets, weights: Option<Vec<f64>>) -> Result<Self, Error> {
        Self { name: name.to_owned(), inputs, targets, weights, attention_mask: None, token_type_ids: None }.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let fail = |what: String| Err(Error::data(&self.name, what));
        let Some((&n, _)) = self.inputs.shape().split_first() else {
            return fail("inputs are a single number, expected shape [N, ...]".into());
        };
        if n == 0 {
            return fail("no data: inputs have shape ".to_owned() + &format!("{:?}", self.inputs.shape()));
        }
        let integers = self.inputs.to_integers();
        if self.inputs.element() == super::Element::Bool {
            return fail("inputs are truth values, expected floats or integer token ids".into());
        }
        if let Some(t) = integers.and_then(|v| v.into_iter().find(|&t| t < 0)) {
            return fail(format!("inputs hold the token id {t}; token ids are not negative"));
        }
        if let Some(i) = self.inputs.first_non_finite() {
            return fail(format!("inputs hold NaN or infinity at {}", place(i, self.inputs.shape())));
        }
        let shape = self.targets.shape();
        if shape.first() != Some(&n) {
            return fail(format!(
                "targets have shape {shape:?}, expected [{n}, ...] as inputs are {:?}",
                self.inputs.shape()
            ));
        }
        let cells = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let (len, bad) = match &self.targets {
            Targets::Values { values, .. } => (values.len(), values.iter().position(|x| !x.is_finite())),
            Targets::Labels { labels, .. } => (labels.len(), None),
        };
        if cells != Some(len) {
            return fail(format!("targets have {len} elements, shape {shape:?} needs another number"));
        }
        if let Some(i) = bad {
            return fail(format!("targets hold NaN or infinity at {}", place(i, shape)));
        }
        if let Some(w) = &self.weights {
            if w.len() != n {
                return fail(format!("{} weights, expected {n}", w.len()));
            }
            if let Some(i) = w.iter().position(|x| !x.is_finite()) {
                return fail(format!("weights hold NaN or infinity at [{i}]"));
            }
        }
        for (what, a, top) in
            [("attention_mask", &self.attention_mask, 1), ("token_type_ids", &self.token_type_ids, i64::MAX)]
        {
            let Some(a) = a else { continue };
            if a.shape() != self.inputs.shape() {
                return fail(format!("{what} has shape {:?}, expected {:?} as inputs", a.shape(), self.inputs.shape()));
            }
            match a.to_integers() {
                None => return fail(format!("{what} must hold integers")),
                Some(v) => {
                    if let Some(x) = v.iter().find(|&&x| x < 0 || x > top) {
                        return fail(format!("{what} holds {x}, out of range"));
                    }
                }
            }
        }
        Ok(self)
    }

    /// Where it came from, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of data.
    pub fn len(&self) -> usize {
        self.inputs.shape()[0]
    }

    /// Never true: construction refuses empty data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inputs `[N, ...]`.
    pub fn inputs(&self) -> &Array {
        &self.inputs
    }

    /// Targets.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Weights `[N]`, if any.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    /// Attention mask `[N, S]`, if any.
    pub fn attention_mask(&self) -> Option<&Array> {
        self.attention_mask.as_ref()
    }

    /// Token types `[N, S]`, if any.
    pub fn token_type_ids(&self) -> Option<&Array> {
        self.token_type_ids.as_ref()
    }

    /// Demands labels within the rules, at least one of them not ignored; returns how many are not.
    pub fn check_labels(&self, rules: LabelRules) -> Result<usize, Error> {
        let Targets::Labels { shape, labels } = &self.targets else {
            return Err(Error::data(&self.name, "targets are floats, this loss needs integer labels"));
        };
        let mut counted = 0;
        for (i, &y) in labels.iter().enumerate() {
            if y == rules.ignore {
                continue;
            }
            if !usize::try_from(y).is_ok_and(|y| y < rules.classes) {
                let what = format!(
                    "targets hold the label {y} at {}, expected 0 to {} (or {} = ignored)",
                    place(i, shape),
                    rules.classes.saturating_sub(1),
                    rules.ignore
                );
                return Err(Error::data(&self.name, what));
            }
            counted += 1;
        }
        if counted == 0 {
            return Err(Error::data(&self.name, format!("every target is {}, so no term is left", rules.ignore)));
        }
        Ok(counted)
    }

    /// Consecutive ranges of at most `size` data; the last may be shorter.
    ///
    /// ```
    /// use osculate::io::{Array, Dataset, Targets};
    /// let x = Array::from_slice(&[1.0, 2.0, 3.0]);
    /// let d = Dataset::new("d", x, Targets::Labels { shape: vec![3], labels: vec![0, 1, 0] }, None).unwrap();
    /// assert_eq!(d.batches(2).unwrap().collect::<Vec<_>>(), [0..2, 2..3]);
    /// assert!(d.batches(0).is_err());
    /// ```
    pub fn batches(&self, size: usize) -> Result<Batches, Error> {
        if size == 0 {
            return Err(Error::data(&self.name, "batch size 0, expected at least 1"));
        }
        Ok(Batches { next: 0, len: self.len(), size })
    }
}

/// The iterator of [`Dataset::batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    next: usize,
    len: usize,
    size: usize,
}

impl Iterator for Batches {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next;
        self.next = start.saturating_add(self.size).min(self.len);
        (start < self.len).then_some(start..self.next)
    }
}

/// The index of a flat position, as `[i, j]`.
fn place(mut flat: usize, shape: &[usize]) -> String {
    let mut index = vec![0; shape.len()];
    for (i, &d) in index.iter_mut().zip(shape).rev() {
        *i = flat % d.max(1);
        flat /= d.max(1);
    }
    format!("{index:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floats(shape: &[usize], v: &[f64]) -> Array {
        Array::new(shape.to_vec(), ArrayData::F64(v.to_vec())).unwrap()
    }

    fn ints(shape: &[usize], v: &[i64]) -> Array {
        Array::new(shape.to_vec(), ArrayData::I64(v.to_vec())).unwrap()
    }

    fn load(entries: &[(&str, Array)]) -> Result<Dataset, Error> {
        let refs: Vec<(&str, &Array)> = entries.iter().map(|(n, a)| (*n, a)).collect();
        Dataset::from_npz(npz::parse(&npz::to_bytes(&refs).unwrap(), "d.npz").unwrap(), "d.npz")
    }

    fn message(entries: &[(&str, Array)]) -> String {
        load(entries).unwrap_err().to_string()
    }

    #[test]
    fn labels_and_the_ignored_index() {
        let x = floats(&[3, 2], &[0.0; 6]);
        let d = load(&[("inputs", x.clone()), ("targets", ints(&[3], &[0, -100, 2]))]).unwrap();
        assert_eq!(d.check_labels(LabelRules::new(3)).unwrap(), 2);
        let e = d.check_labels(LabelRules::new(2)).unwrap_err().to_string();
        assert_eq!(e, "d.npz: targets hold the label 2 at [2], expected 0 to 1 (or -100 = ignored)");
        assert!(d.check_labels(LabelRules { classes: 3, ignore: -1 }).is_err());
        let all = load(&[("inputs", x.clone()), ("targets", ints(&[3], &[-100; 3]))]).unwrap();
        assert!(all.check_labels(LabelRules::new(3)).unwrap_err().to_string().contains("no term is left"));
        let real = load(&[("inputs", x), ("targets", floats(&[3, 1], &[0.0; 3]))]).unwrap();
        assert!(real.check_labels(LabelRules::new(3)).unwrap_err().to_string().contains("integer labels"));
    }

    #[test]
    fn unusable_data_is_refused() {
        let x = || ("inputs", floats(&[2, 2], &[0.0, 1.0, 2.0, 3.0]));
        let y = || ("targets", ints(&[2], &[0, 1]));
        assert!(load(&[x(), y(), ("weights", floats(&[2], &[1.0, 0.5]))]).is_ok());
        for (entries, part) in [
            (vec![y()], "no array \"inputs\""),
            (vec![x()], "no array \"targets\""),
            (vec![x(), y(), ("extra", floats(&[1], &[0.0]))], "unknown array \"extra\""),
            (vec![("inputs", floats(&[0, 2], &[])), ("targets", ints(&[0], &[]))], "no data"),
            (vec![("inputs", floats(&[], &[1.0])), y()], "single number"),
            (vec![("inputs", floats(&[2, 2], &[0.0, 1.0, 2.0, f64::NAN])), y()], "infinity at [1, 1]"),
            (vec![("inputs", ints(&[2, 1], &[3, -1])), y()], "token id -1"),
            (vec![x(), ("targets", ints(&[3], &[0, 1, 1]))], "expected [2, ...]"),
            (vec![x(), ("targets", floats(&[2, 1], &[0.0, f64::INFINITY]))], "targets hold NaN or infinity at [1, 0]"),
            (vec![x(), y(), ("weights", floats(&[3], &[1.0; 3]))], "3 weights, expected 2"),
            (vec![x(), y(), ("weights", floats(&[2, 1], &[1.0; 2]))], "expected [N]"),
            (vec![x(), y(), ("weights", ints(&[2], &[1, 1]))], "must be floats"),
            (vec![x(), y(), ("weights", floats(&[2], &[1.0, f64::NAN]))], "weights hold NaN"),
            (vec![x(), y(), ("attention_mask", ints(&[2, 1], &[1, 1]))], "attention_mask has shape"),
            (vec![x(), y(), ("attention_mask", ints(&[2, 2], &[1, 1, 1, 2]))], "holds 2"),
            (vec![x(), y(), ("token_type_ids", floats(&[2, 2], &[0.0; 4]))], "must hold integers"),
        ] {
            let m = message(&entries);
            assert!(m.starts_with("d.npz: ") && m.contains(part), "{m} lacks {part}");
        }
    }

    #[test]
    fn tables() {
        let t = csv::parse(b"a,b,y\n1,2,0\n3,4,1\n", "t.csv").unwrap();
        let d = Dataset::from_table(&t, "y", "t.csv").unwrap();
        assert_eq!(d.inputs(), &floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(d.targets(), &Targets::Labels { shape: vec![2], labels: vec![0, 1] });
        let r = Dataset::from_table(&csv::parse(b"y,a\n0.5,2\n1,4\n", "t").unwrap(), "y", "t").unwrap();
        assert_eq!(r.targets(), &Targets::Values { shape: vec![2, 1], values: vec![0.5, 1.0] });
        assert_eq!(r.inputs(), &floats(&[2, 1], &[2.0, 4.0]));
        let nan = csv::parse(b"a,y\n1,0\nnan,1\n", "t.csv").unwrap();
        let e = Dataset::from_table(&nan, "y", "t.csv").unwrap_err().to_string();
        assert_eq!(e, "t.csv:3: column \"a\" holds NaN; data must be finite");
    }

    #[test]
    fn files_by_extension() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("d.npz");
        npz::write(&file, &[("inputs", &floats(&[1, 1], &[1.0])), ("targets", &ints(&[1], &[0]))]).unwrap();
        assert_eq!(Dataset::read(&file, None).unwrap().len(), 1);
        assert!(Dataset::read(&file, Some("y")).is_err());
        assert!(!dir.path().join("d.npz.tmp").exists());
        let table = dir.path().join("t.csv");
        std::fs::write(&table, "a,y\n1,0\n").unwrap();
        assert!(Dataset::read(&table, None).unwrap_err().to_string().contains("--target-column"));
        assert_eq!(Dataset::read(&table, Some("y")).unwrap().len(), 1);
        assert!(matches!(Dataset::read(&dir.path().join("no.npz"), None), Err(Error::Io { .. })));
        assert!(Dataset::read(&dir.path().join("x.txt"), None).unwrap_err().to_string().contains("unknown kind"));
        assert!(npz::write(&dir.path().join("no/d.npz"), &[]).is_err());
    }

    proptest! {
        #[test]
        fn batches_cover_everything_once(n in 1usize..50, size in 1usize..60) {
            let labels = Targets::Labels { shape: vec![n], labels: vec![0; n] };
            let d = Dataset::new("d", floats(&[n], &vec![0.0; n]), labels, None).unwrap();
            let seen: Vec<usize> = d.batches(size).unwrap().flatten().collect();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
            prop_assert!(d.batches(usize::MAX).unwrap().count() == 1);
        }
    }
}
