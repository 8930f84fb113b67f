//! `Study`: the data, the network and what the chapters hand on to each other.

use super::{Error, Settings};
use crate::data::{self, CLASSES, Digits, PIXELS};
use crate::io::{Array, ArrayData, Dataset, Targets, npz};
use autodiff::Value;
use autodiff::nn::{Layer, Loss, Sequential};
use curvature::{CurvatureOperator, Example, Reduction, Risk, Supervised};
use linop_core::LinearOperator;
use linop_core::krylov::Eigenpairs;
use numerics::progress::{Observer, Progress, check};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par};
use std::ops::Range;
use std::path::Path;

/// Pictures with their labels, one row each.
pub(super) struct Part {
    pub(super) inputs: Vec<f64>,
    pub(super) labels: Vec<i64>,
}

impl Part {
    /// The first `n` rows of a data set.
    fn of(data: &Dataset, n: usize) -> Result<Self, Error> {
        let inputs = data.inputs().to_floats::<f64>();
        match (inputs, data.targets()) {
            (Some(mut inputs), Targets::Labels { labels, .. }) if labels.len() >= n => {
                inputs.truncate(n * PIXELS);
                Ok(Part { inputs, labels: labels[..n].to_vec() })
            }
            _ => Err(Error::Settings(format!("{n} labelled pictures are not there"))),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The pixels of these rows.
    pub(super) fn pixels(&self, rows: Range<usize>) -> &[f64] {
        &self.inputs[rows.start * PIXELS..rows.end * PIXELS]
    }

    /// The first `n` rows.
    pub(super) fn head(&self, n: usize) -> Part {
        Part { inputs: self.pixels(0..n).to_vec(), labels: self.labels[..n].to_vec() }
    }

    /// These rows as a batch for inputs of this shape.
    fn example(&self, input: &[usize], rows: Range<usize>) -> Result<Example<f64>, Error> {
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(input.iter().copied()).collect();
        let x = autodiff::Array::new(&shape, self.pixels(rows.clone()).to_vec());
        let y = autodiff::Array::new(&[rows.len()], self.labels[rows].to_vec());
        match (x, y) {
            (Some(x), Some(y)) => Ok((Value::Real(x), Value::Int(y), None)),
            _ => Err(Error::Settings(format!("pictures do not have the shape {input:?}"))),
        }
    }
}

/// Everything that the chapters share.
pub(super) struct Study<'a> {
    pub(super) settings: Settings,
    pub(super) par: Par,
    pub(super) observer: &'a dyn Observer,
    pub(super) digits: Digits,
    pub(super) train_data: Dataset,
    pub(super) test_data: Dataset,
    pub(super) train: Part,
    pub(super) test: Part,
    pub(super) net: Sequential,
    pub(super) initial: Vec<f64>,
    /// Parameters after training.
    pub(super) trained: Option<Vec<f64>>,
    /// Top eigenpairs of the Hessian at the trained point.
    pub(super) top: Option<Eigenpairs<f64>>,
    /// Diagonal of the Hessian at the trained point, if it was written out.
    pub(super) hessian_diagonal: Option<Vec<f64>>,
}

impl<'a> Study<'a> {
    pub(super) fn new(settings: Settings, par: Par, observer: &'a dyn Observer) -> Result<Self, Error> {
        settings.check()?;
        let digits = data::digits()?;
        let (train, test) = digits.split::<f64>(settings.seed, settings.train)?;
        let net = perceptron(&settings.hidden)?;
        Ok(Study {
            train: Part::of(&train, settings.train)?,
            test: Part::of(&test, settings.test)?,
            initial: net.init(settings.seed),
            net,
            train_data: train,
            test_data: test,
            trained: None,
            top: None,
            hessian_diagonal: None,
            digits,
            settings,
            par,
            observer,
        })
    }

    /// Parameters after training.
    pub(super) fn trained(&self) -> Result<&[f64], Error> {
        self.trained.as_deref().ok_or(Error::Order { needed: "the trained network" })
    }

    /// Top eigenpairs of the Hessian at the trained point.
    pub(super) fn top(&self) -> Result<&Eigenpairs<f64>, Error> {
        self.top.as_ref().ok_or(Error::Order { needed: "the top eigenvectors" })
    }

    /// The training pictures on which curvature is taken.
    pub(super) fn sample(&self) -> Part {
        self.train.head(self.settings.curvature_data)
    }

    /// Mean cross-entropy of a network on the pictures on which curvature is taken.
    pub(super) fn risk(&self, net: &Sequential, params: &[f64]) -> Result<Risk<f64>, Error> {
        let (n, size) = (self.settings.curvature_data, self.settings.curvature_batch);
        let shape = net.input_type().shape.to_vec();
        let batches = (0..n)
            .step_by(size)
            .map(|i| self.train.example(&shape, i..(i + size).min(n)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Supervised::new(net.clone(), Loss::cross_entropy(), Reduction::Mean).risk(params.to_vec(), batches)?)
    }

    /// A random vector of length one.
    pub(super) fn unit(&self, index: u64) -> Vec<f64> {
        let mut v = vec![0.0; self.initial.len()];
        Stream::new(self.settings.seed, Role::TestProbe, index, 0).fill_normal(&mut v);
        normalised(v)
    }

    /// Reports a step; fails if the observer asks to stop.
    pub(super) fn tell(&self, task: &str, done: usize, of: usize) -> Result<(), Error> {
        Ok(check(self.observer, &Progress::new(task, done as u64, of as u64))?)
    }

    /// Writes the trained network as a model directory and its data as an archive.
    pub(super) fn save(&self, net: &Path, data: &Path) -> Result<(), Error> {
        self.net.save(net, self.trained()?)?;
        let n = self.settings.curvature_data;
        let array = |shape: Vec<usize>, data: ArrayData| {
            Array::new(shape, data).ok_or_else(|| Error::Settings("pictures of unequal size".into()))
        };
        let inputs = array(vec![n, PIXELS], Array::from_slice(self.train.pixels(0..n)).into_data())?;
        let targets = array(vec![n], ArrayData::I64(self.train.labels[..n].to_vec()))?;
        npz::write(data, &[("inputs", &inputs), ("targets", &targets)])?;
        Ok(())
    }
}

/// Linear layers with tanh between them, from pixels to classes.
fn perceptron(hidden: &[usize]) -> Result<Sequential, Error> {
    Ok(Sequential::new(&[PIXELS], dense_layers(PIXELS, hidden))?)
}

/// The same on pictures that were averaged over squares of four pixels.
pub(super) fn small_perceptron(hidden: usize) -> Result<Sequential, Error> {
    let mut layers = vec![Layer::AvgPool2d { kernel: 2, stride: None }, Layer::Flatten {}];
    layers.extend(dense_layers(PIXELS / 4, &[hidden]));
    Ok(Sequential::new(&[1, 8, 8], layers)?)
}

fn dense_layers(mut inputs: usize, hidden: &[usize]) -> Vec<Layer> {
    let mut layers = Vec::new();
    for &width in hidden {
        layers.push(Layer::Linear { inputs, outputs: width, bias: true });
        layers.push(Layer::Tanh {});
        inputs = width;
    }
    layers.push(Layer::Linear { inputs, outputs: CLASSES, bias: true });
    layers
}

/// The same direction at length one; zero stays zero.
pub(super) fn normalised(mut v: Vec<f64>) -> Vec<f64> {
    let norm = norm(&v);
    if norm > 0.0 {
        v.iter_mut().for_each(|x| *x /= norm);
    }
    v
}

pub(super) fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

pub(super) fn dot(u: &[f64], v: &[f64]) -> f64 {
    numerics::dense::dot(u, v)
}

/// A vector as a matrix of one column.
pub(super) fn column(v: &[f64]) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(v, v.len(), 1)
}

/// The product with a block of columns.
pub(super) fn product(op: &CurvatureOperator<f64>, x: MatRef<'_, f64>, par: Par) -> Result<Mat<f64>, Error> {
    let mut out = Mat::zeros(op.nrows(), x.ncols());
    let mut buffer = MemBuffer::new(op.apply_req(x.ncols(), par));
    op.apply(out.as_mut(), 1.0, x, 0.0, par, MemStack::new(&mut buffer))?;
    Ok(out)
}

/// The product with one vector.
pub(super) fn times(op: &CurvatureOperator<f64>, v: &[f64], par: Par) -> Result<Vec<f64>, Error> {
    let out = product(op, column(v), par)?;
    Ok((0..out.nrows()).map(|i| out[(i, 0)]).collect())
}

/// The whole matrix, column block by column block, symmetrised, with progress.
pub(super) fn dense(op: &CurvatureOperator<f64>, study: &Study<'_>, task: &str) -> Result<Mat<f64>, Error> {
    const WIDTH: usize = 64;
    let n = op.nrows();
    let mut out = Mat::zeros(n, n);
    for start in (0..n).step_by(WIDTH) {
        let k = WIDTH.min(n - start);
        let block = product(op, Mat::from_fn(n, k, |i, j| f64::from(u8::from(i == start + j))).as_ref(), study.par)?;
        out.as_mut().subcols_mut(start, k).copy_from(block.as_ref());
        study.tell(task, start + k, n)?;
    }
    numerics::dense::symmetrize(out.as_mut());
    Ok(out)
}
