//! Data in the kinds and precision of a model, checked against it once, from which batches are gathered row by row.

use super::Error;
use crate::io::{Dataset, LabelRules, Targets};
use autodiff::nn::{Layer, Loss, Sequential};
use autodiff::{Array, Input, Kind, TensorType, Value};
use numerics::Scalar;

/// Row-major numbers of either kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rows<T> {
    Real(Vec<T>),
    Int(Vec<i64>),
}

impl<T: Scalar> Rows<T> {
    fn empty_like(&self) -> Self {
        match self {
            Rows::Real(_) => Rows::Real(Vec::new()),
            Rows::Int(_) => Rows::Int(Vec::new()),
        }
    }

    /// Becomes the rows of `from` with these numbers; memory is kept between calls.
    fn gather(&mut self, from: &Self, rows: &[usize], width: usize) {
        fn copy<E: Copy>(to: &mut Vec<E>, from: &[E], rows: &[usize], width: usize) {
            to.clear();
            rows.iter().for_each(|&i| to.extend_from_slice(&from[i * width..(i + 1) * width]));
        }
        match (self, from) {
            (Rows::Real(to), Rows::Real(from)) => copy(to, from, rows, width),
            (Rows::Int(to), Rows::Int(from)) => copy(to, from, rows, width),
            (to, from) => {
                *to = from.empty_like();
                to.gather(from, rows, width);
            }
        }
    }

    pub(super) fn input(&self) -> Input<'_, T> {
        match self {
            Rows::Real(x) => Input::Real(x),
            Rows::Int(x) => Input::Int(x),
        }
    }

    fn value(&self, shape: &[usize]) -> Option<Value<T>> {
        match self {
            Rows::Real(x) => Array::new(shape, x.clone()).map(Value::Real),
            Rows::Int(x) => Array::new(shape, x.clone()).map(Value::Int),
        }
    }

    fn digest(&self, hash: &mut Digest) {
        match self {
            Rows::Real(x) => x.iter().for_each(|x| hash.add(x.to_f64().to_bits())),
            Rows::Int(x) => x.iter().for_each(|&x| hash.add(x as u64)),
        }
    }
}

/// Inputs, targets and weights of some data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch<T> {
    pub(super) inputs: Rows<T>,
    pub(super) targets: Rows<T>,
    pub(super) weights: Option<Vec<T>>,
}

/// Data that fit a model and a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples<T> {
    name: String,
    len: usize,
    input_width: usize,
    target_width: usize,
    all: Batch<T>,
}

impl<T: Scalar> Samples<T> {
    /// Takes a data set for a model and a loss. `shape` is what each datum's inputs are reshaped to first.
    ///
    /// Integer labels serve as numbers where the loss needs those, for tables whose targets happen to be integers.
    ///
    /// # Errors
    /// Inputs of another kind or shape than the model's; token ids or labels out of range; targets that the loss does
    /// not take, or all ignored; negative weights; masks, which no sequential model has.
    pub fn new(data: &Dataset, model: &Sequential, loss: &Loss, shape: Option<&[usize]>) -> Result<Self, Error> {
        let wrong = |what: String| Error::data(data.name(), what);
        if data.attention_mask().is_some() || data.token_type_ids().is_some() {
            return Err(wrong(
                "attention_mask and token_type_ids belong to transformers, not to a sequential model".into(),
            ));
        }
        let n = data.len();
        let inputs = inputs(data, model, shape)?;
        let outputs = with_batch(n, model.output_type());
        let expected = loss.target_type(&outputs)?;
        let targets = targets(data, loss, &outputs, &expected)?;
        let value = targets.value(&expected.shape).ok_or_else(|| wrong("targets are too large".into()))?;
        loss.check_targets(&outputs.shape, &value).map_err(|e| wrong(e.to_string()))?;
        let weights = match data.weights() {
            None => None,
            Some(w) => {
                if let Some(i) = w.iter().position(|w| *w < 0.0) {
                    return Err(wrong(format!("the weight of datum {i} is {}, expected at least 0", w[i])));
                }
                Some(w.iter().map(|&w| T::from_f64(w)).collect())
            }
        };
        Ok(Samples {
            name: data.name().to_owned(),
            len: n,
            input_width: model.input_type().numel(),
            target_width: expected.numel() / n,
            all: Batch { inputs, targets, weights },
        })
    }

    /// Where they came from, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of data.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No data; never after [`Samples::new`].
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data with these numbers.
    ///
    /// # Errors
    /// A number that no datum has; no numbers at all.
    pub fn select(&self, rows: &[usize]) -> Result<Self, Error> {
        if let Some(i) = rows.iter().find(|&&i| i >= self.len) {
            return Err(Error::data(&self.name, format!("no datum {i}, there are {}", self.len)));
        }
        if rows.is_empty() {
            return Err(Error::data(&self.name, "a part without data"));
        }
        let mut all = self.batch();
        self.gather(rows, &mut all);
        let Samples { input_width, target_width, .. } = *self;
        Ok(Samples { name: self.name.clone(), len: rows.len(), input_width, target_width, all })
    }

    /// An empty batch of the right kinds.
    pub(super) fn batch(&self) -> Batch<T> {
        Batch {
            inputs: self.all.inputs.empty_like(),
            targets: self.all.targets.empty_like(),
            weights: self.all.weights.as_ref().map(|_| Vec::new()),
        }
    }

    /// Fills a batch with the data of these numbers.
    pub(super) fn gather(&self, rows: &[usize], batch: &mut Batch<T>) {
        batch.inputs.gather(&self.all.inputs, rows, self.input_width);
        batch.targets.gather(&self.all.targets, rows, self.target_width);
        if let (Some(to), Some(from)) = (&mut batch.weights, &self.all.weights) {
            to.clear();
            to.extend(rows.iter().map(|&i| from[i]));
        }
    }

    /// A number that differs for other data, to tell runs apart.
    pub(super) fn digest(&self) -> u64 {
        let mut hash = Digest::default();
        hash.add(self.len as u64);
        self.all.inputs.digest(&mut hash);
        self.all.targets.digest(&mut hash);
        self.all.weights.iter().flatten().for_each(|w| hash.add(w.to_f64().to_bits()));
        hash.0
    }
}

/// FNV-1a over 64-bit words, with a rotation so that high bits come down.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}

/// The type of `n` data of a type.
pub(super) fn with_batch(n: usize, ty: &TensorType) -> TensorType {
    let mut shape = ty.shape.clone();
    shape.insert(0, n);
    TensorType { kind: ty.kind, shape }
}

fn inputs<T: Scalar>(data: &Dataset, model: &Sequential, shape: Option<&[usize]>) -> Result<Rows<T>, Error> {
    let wrong = |what: String| Error::data(data.name(), what);
    let expected = model.input_type();
    let stored = &data.inputs().shape()[1..];
    let given = shape.unwrap_or(stored);
    let count = |s: &[usize]| s.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    if count(given) != count(stored) {
        return Err(wrong(format!("inputs of a datum have shape {stored:?}, which cannot become {given:?}")));
    }
    if given != expected.shape.as_slice() {
        return Err(wrong(format!("inputs of a datum have shape {given:?}, the model takes {expected}")));
    }
    if expected.kind == Kind::Real {
        let x = data.inputs().to_floats::<T>();
        let x = x.ok_or_else(|| wrong("inputs are integers, the model takes numbers: store them as floats".into()))?;
        return match x.iter().position(|x| !x.is_finite()) {
            None => Ok(Rows::Real(x)),
            Some(i) => Err(wrong(format!("input {i} does not fit into {}", T::DTYPE))),
        };
    }
    let ids = data.inputs().to_integers();
    let ids =
        ids.ok_or_else(|| wrong("inputs are floats, the model takes token ids: store them as integers".into()))?;
    let tokens = model.layers().iter().find_map(|l| match l {
        Layer::Embedding { num, .. } => Some(*num),
        _ => None,
    });
    let tokens = tokens.unwrap_or(usize::MAX);
    match ids.iter().position(|&t| !usize::try_from(t).is_ok_and(|t| t < tokens)) {
        Some(i) => Err(wrong(format!("inputs hold the token id {}, expected 0 to {}", ids[i], tokens - 1))),
        None => Ok(Rows::Int(ids)),
    }
}

fn targets<T: Scalar>(
    data: &Dataset,
    loss: &Loss,
    outputs: &TensorType,
    expected: &TensorType,
) -> Result<Rows<T>, Error> {
    let wrong = |what: String| Error::data(data.name(), what);
    let shape = data.targets().shape();
    let squeezed = |s: &[usize]| s.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    // A single output may or may not have an axis of its own.
    let fits = shape == expected.shape.as_slice()
        || (!matches!(loss, Loss::CrossEntropy(_)) && squeezed(shape) == squeezed(&expected.shape));
    if !fits {
        let (name, got) = (loss.name(), TensorType { kind: Kind::Real, shape: shape.into() });
        return Err(wrong(format!("targets have shape {got}, {name} of outputs {outputs} needs {expected}")));
    }
    match (data.targets(), expected.kind) {
        (Targets::Labels { labels, .. }, Kind::Int) => {
            let ignore = match loss {
                Loss::CrossEntropy(ce) => ce.ignore_index,
                _ => -100,
            };
            data.check_labels(LabelRules { classes: loss.classes(&outputs.shape), ignore })?;
            Ok(Rows::Int(labels.clone()))
        }
        (Targets::Labels { labels, .. }, Kind::Real) => {
            Ok(Rows::Real(labels.iter().map(|&y| T::from_f64(y as f64)).collect()))
        }
        (Targets::Values { values, .. }, Kind::Real) => {
            Ok(Rows::Real(values.iter().map(|&y| T::from_f64(y)).collect()))
        }
        (Targets::Values { .. }, Kind::Int) => {
            Err(wrong(format!("targets are floats, {} needs integer labels", loss.name())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Array as FileArray, ArrayData};

    fn model(text: &str) -> Sequential {
        Sequential::from_json(&format!(r#"{{"model_type": "sequential", {text}}}"#)).unwrap()
    }

    fn linear(outputs: usize) -> Sequential {
        model(&format!(r#""input": [2], "layers": [{{"type": "linear", "in": 2, "out": {outputs}}}]"#))
    }

    fn data(inputs: ArrayData, width: usize, targets: Targets, weights: Option<Vec<f64>>) -> Dataset {
        let n = inputs.len() / width;
        Dataset::new("d", FileArray::new(vec![n, width], inputs).unwrap(), targets, weights).unwrap()
    }

    fn floats(n: usize) -> ArrayData {
        ArrayData::F64((0..n).map(|i| i as f64).collect())
    }

    fn labels(y: &[i64]) -> Targets {
        Targets::Labels { shape: vec![y.len()], labels: y.to_vec() }
    }

    #[test]
    fn rows_are_gathered_in_order() {
        let d = data(floats(6), 2, labels(&[0, 1, 2]), Some(vec![1.0, 2.0, 0.5]));
        let s = Samples::<f32>::new(&d, &linear(3), &Loss::cross_entropy(), None).unwrap();
        let mut batch = s.batch();
        s.gather(&[2, 0, 2], &mut batch);
        assert_eq!(batch.inputs, Rows::Real(vec![4.0, 5.0, 0.0, 1.0, 4.0, 5.0]));
        assert_eq!(batch.targets, Rows::Int(vec![2, 0, 2]));
        assert_eq!(batch.weights, Some(vec![0.5, 1.0, 0.5]));
        let part = s.select(&[1]).unwrap();
        assert_eq!((part.len(), &part.all.targets), (1, &Rows::Int(vec![1])));
        assert_ne!(part.digest(), s.digest());
        assert!(s.select(&[3]).is_err() && s.select(&[]).is_err());
    }

    #[test]
    fn integer_targets_serve_as_numbers() {
        let d = data(floats(6), 2, labels(&[5, -1, 2]), None);
        let s = Samples::<f64>::new(&d, &linear(1), &Loss::mse(), None).unwrap();
        assert_eq!(s.all.targets, Rows::Real(vec![5.0, -1.0, 2.0]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let values = Targets::Values { shape: vec![3, 1], values: vec![0.5, 0.25, 2.0] };
        let ids = ArrayData::I64(vec![0, 1, 2, 3, 4, 5]);
        let tokens =
            model(r#""input": [2], "layers": [{"type": "embedding", "num": 5, "dim": 1}, {"type": "flatten"}]"#);
        let ce = Loss::cross_entropy();
        for (d, model, loss, shape, part) in [
            (
                data(floats(9), 3, labels(&[0, 1, 2]), None),
                linear(3),
                ce.clone(),
                None,
                "shape [3], the model takes [2]",
            ),
            (data(floats(6), 2, labels(&[0, 1, 2]), None), linear(3), ce.clone(), Some(vec![3]), "cannot become [3]"),
            (
                data(floats(6), 2, labels(&[0, 1, 2]), None),
                linear(2),
                ce.clone(),
                None,
                "label 2 at [2], expected 0 to 1",
            ),
            (data(floats(6), 2, labels(&[-100; 3]), None), linear(2), ce.clone(), None, "no term is left"),
            (data(floats(6), 2, values.clone(), None), linear(2), ce.clone(), None, "targets have shape [3, 1]"),
            (data(floats(6), 2, values.clone(), None), linear(1), Loss::bce(), None, "expected 0 to 1"),
            (
                data(floats(6), 2, values.clone(), None),
                linear(2),
                Loss::mse(),
                None,
                "mse of outputs [3, 2] needs [3, 2]",
            ),
            (data(ids.clone(), 2, values, None), linear(1), Loss::mse(), None, "store them as floats"),
            (data(ids, 2, labels(&[0, 1, 1]), None), tokens.clone(), ce.clone(), None, "token id 5, expected 0 to 4"),
            (data(floats(6), 2, labels(&[0, 1, 1]), None), tokens, ce.clone(), None, "store them as integers"),
            (data(floats(4), 2, labels(&[0, 1]), Some(vec![1.0, -1.0])), linear(2), ce.clone(), None, "datum 1 is -1"),
            (
                data(ArrayData::F64(vec![1e300, 0.0]), 2, labels(&[0]), None),
                linear(2),
                ce,
                None,
                "does not fit into f32",
            ),
        ] {
            let e = Samples::<f32>::new(&d, &model, &loss, shape.as_deref()).unwrap_err().to_string();
            assert!(e.starts_with("d: ") && e.contains(part), "{e}\nlacks {part}");
        }
    }
}
