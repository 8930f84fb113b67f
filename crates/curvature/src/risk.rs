//! `Risk`: a model, a loss and data; the scalar function whose curvature is wanted.
//!
//! `L(theta) = kappa sum_t w_t l(f_t, y_t)` over loss terms `t` (arXiv:2501.19183). The loss program returns the sum with
//! its weights; `kappa` is applied once per product, so that mini-batches of any sizes add up to the same risk.

use crate::block;
use crate::chunk::{self, Chunk};
use crate::error::Error;
use crate::loss::TermLoss;
use crate::split::is_shared;
use autodiff::{Builder, Leaf, Program, TensorType, Value};
use core::ops::Range;
use numerics::Scalar;
use std::sync::Arc;

type ModelFn = Arc<dyn Fn(usize) -> Result<Program, Error> + Send + Sync>;

type LossFn = Arc<dyn Fn(&TensorType, &[TensorType]) -> Result<Program, Error> + Send + Sync>;

/// Bytes that an operator may keep between products unless it is told otherwise.
const MEMORY: usize = 2 << 30;

/// Products that an operator is expected to make unless it is told otherwise: a short Krylov run.
const PRODUCTS: usize = 32;

/// One mini-batch: inputs `[N, ..]` and whatever the loss needs beside the model's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// What the model sees.
    pub inputs: Value<T>,
    /// Targets, weights.
    pub targets: Vec<Value<T>>,
}

impl<T> Batch<T> {
    /// Number of data.
    pub fn len(&self) -> usize {
        self.inputs.ty().shape.first().copied().unwrap_or(0)
    }

    /// Whether it holds no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn target_types(&self) -> Vec<TensorType> {
        self.targets.iter().map(Value::ty).collect()
    }
}

/// What is known of a risk's loss beyond its program.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) loss: TermLoss,
    /// Whether the reduction is `mean`.
    pub(crate) mean: bool,
    /// The tensors that the parameters are made of, in order.
    pub(crate) leaves: Arc<[Leaf]>,
}

/// Some of the parameters: where they are, and their values.
#[derive(Clone)]
struct Group<T> {
    ranges: Arc<[Range<usize>]>,
    point: Arc<[T]>,
}

impl<T: Copy> Group<T> {
    fn new(ranges: Arc<[Range<usize>]>, params: &[T]) -> Self {
        let point = block::pick(params, &ranges).into();
        Group { ranges, point }
    }
}

/// A model at a point, a loss and data.
#[derive(Clone)]
pub struct Risk<T> {
    model: ModelFn,
    loss: LossFn,
    /// All parameters.
    params: Arc<[T]>,
    /// The parameters that are differentiated, if not all are.
    group: Option<Group<T>>,
    batches: Arc<[Batch<T>]>,
    loss_scale: T,
    /// Whether a batch may be cut anywhere: its outputs and loss terms belong to one datum each.
    separable: bool,
    terms: Option<Terms>,
    memory: usize,
    products: usize,
}

impl<T> core::fmt::Debug for Risk<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Risk({} parameters, {} batches)", self.params.len(), self.batches.len())
    }
}

/// Programs for some number of data.
pub(crate) struct Traced {
    /// `(params, inputs[, fixed]) -> f`.
    pub(crate) model: Program,
    /// `(f, targets..) -> sum`.
    pub(crate) loss: Program,
    /// `(params, inputs[, fixed], targets..) -> sum`.
    pub(crate) whole: Program,
}

impl<T> Risk<T> {
    /// All parameters of the point.
    pub fn params(&self) -> &[T] {
        &self.params
    }

    /// The parameters that are differentiated.
    pub(crate) fn point(&self) -> &[T] {
        self.group.as_ref().map_or(&self.params, |g| &g.point)
    }

    /// Number of parameters that are differentiated.
    pub fn dim(&self) -> usize {
        self.point().len()
    }

    /// The data.
    pub fn batches(&self) -> &[Batch<T>] {
        &self.batches
    }

    /// Number of data.
    pub fn len(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    /// Never: a risk has data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that an operator may keep between products.
    pub fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// The parameters as tensors, if they are known and all are differentiated.
    pub(crate) fn leaves(&self) -> Option<&[Leaf]> {
        self.terms.as_ref().filter(|_| self.group.is_none()).map(|t| &*t.leaves)
    }

    /// The same risk whose operators keep at most this many bytes between products (2 GiB otherwise). First choice are the
    /// layers' inputs and cotangents where products from them are cheaper, then activations; what does not fit is computed
    /// again in every product. Beyond rounding no result depends on it, and none at all among budgets that keep no layers
    /// ([`crate::ProductReport`] names the mode).
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        Risk { memory: bytes, ..self }
    }

    /// The same risk whose operators expect to multiply this many columns (32 otherwise). Few of them do not pay for the
    /// backward passes that keeping layers takes; results differ by rounding at most.
    #[must_use]
    pub fn with_products(self, columns: usize) -> Self {
        Risk { products: columns, ..self }
    }

    /// Columns that an operator is expected to multiply.
    pub(crate) fn products(&self) -> usize {
        self.products.max(1)
    }
}

impl<T: Scalar> Risk<T> {
    /// Puts a risk together; batches without data are skipped. `loss_scale` is kappa.
    ///
    /// `model` makes the program for a batch of the given size: inputs `params` `[P]` and the batch's inputs, one output.
    /// `loss` makes the program for an output type and the types of a batch's targets: it takes the output, then the
    /// targets, and returns the weighted sum of the loss terms, without axes.
    ///
    /// # Errors
    /// No data at all; a model or loss whose interface is not the documented one for some batch; a model that mixes data
    /// (statistics of a batch, say), or a loss that is not a sum over the data.
    pub fn new<E: Into<Error>, F: Into<Error>>(
        model: impl Fn(usize) -> Result<Program, E> + Send + Sync + 'static,
        loss: impl Fn(&TensorType, &[TensorType]) -> Result<Program, F> + Send + Sync + 'static,
        params: Vec<T>,
        batches: Vec<Batch<T>>,
        loss_scale: T,
    ) -> Result<Self, Error> {
        let batches: Vec<_> = batches.into_iter().filter(|b| !b.is_empty()).collect();
        if batches.is_empty() {
            return Err(Error::Data("there is no batch with data".into()));
        }
        if !loss_scale.is_finite() {
            return Err(Error::Data(format!("the loss scale is {loss_scale}")));
        }
        let model: ModelFn = Arc::new(move |n| model(n).map_err(Into::into));
        let loss: LossFn = Arc::new(move |f, y| loss(f, y).map_err(Into::into));
        let (params, batches) = (params.into(), batches.into());
        let (group, separable, terms, memory, products) = (None, false, None, MEMORY, PRODUCTS);
        let risk = Risk { model, loss, params, group, batches, loss_scale, separable, terms, memory, products };
        for i in 0..risk.batches.len() {
            if !(0..i).any(|j| risk.types(j) == risk.types(i)) {
                let n = risk.batches[i].len();
                check_data(&risk.traced(i, n)?.whole, n)?;
            }
        }
        Ok(risk)
    }

    /// The same risk, whose batch may be cut anywhere and whose loss is this one.
    pub(crate) fn with_terms(self, terms: Terms) -> Self {
        Risk { separable: true, terms: Some(terms), ..self }
    }

    /// kappa.
    pub fn loss_scale(&self) -> T {
        self.loss_scale
    }

    /// The same risk at another point, given by all parameters.
    ///
    /// # Errors
    /// A vector of the wrong length.
    pub fn with_params(&self, params: Vec<T>) -> Result<Self, Error> {
        if params.len() != self.params.len() {
            return Err(Error::Parameters { expected: self.params.len(), got: params.len() });
        }
        let group = self.group.as_ref().map(|g| Group::new(g.ranges.clone(), &params));
        Ok(Risk { params: params.into(), group, ..self.clone() })
    }

    /// The risk as a function of some parameters, the others held constant: its operators are the principal submatrices
    /// of the whole ones, and cost less, because nothing is computed for the others.
    ///
    /// `ranges` are places in the vector of all parameters, in increasing order.
    ///
    /// ```
    /// use autodiff::nn::{Loss, Sequential};
    /// use autodiff::{Array, Value};
    /// use curvature::{Reduction, Supervised};
    /// use linop_core::{LinearOperator, Op, ops::BlockDiag};
    /// let config = r#"{"model_type": "sequential", "input": [2], "layers": [{"type": "linear", "in": 2, "out": 1, "bias": true}]}"#;
    /// let model = Sequential::from_json(config)?;
    /// let ranges: Vec<_> = model.params().iter().map(|p| p.range()).collect();
    /// let (x, y) = (Array::from_fn(&[2, 2], |i| i as f64), Array::from_fn(&[2, 1], |_| 1.0));
    /// let problem = Supervised::new(model, Loss::mse(), Reduction::Mean);
    /// let risk = problem.risk(vec![0.0; 3], vec![(Value::Real(x), Value::Real(y), None)])?;
    /// // The block-diagonal GGN, a block per tensor.
    /// let block = |range| Ok::<_, curvature::Error>(Op::new(risk.block(&[range])?.ggn()?));
    /// let blocks = BlockDiag::new(ranges.into_iter().map(block).collect::<Result<Vec<_>, _>>()?)?;
    /// assert_eq!(blocks.nrows(), 3);
    /// # Ok::<(), curvature::Error>(())
    /// ```
    ///
    /// # Errors
    /// No range; ranges that are empty, out of order, overlap or end behind the parameters.
    pub fn block(&self, ranges: &[Range<usize>]) -> Result<Self, Error> {
        block::check(ranges, self.params.len())?;
        let group = Some(Group::new(ranges.into(), &self.params));
        Ok(Risk { group, ..self.clone() })
    }

    fn types(&self, batch: usize) -> (TensorType, Vec<TensorType>) {
        (self.batches[batch].inputs.ty(), self.batches[batch].target_types())
    }

    /// Types of the inputs and targets of a chunk: chunks with the same share their programs.
    pub(crate) fn chunk_types(&self, chunk: &Chunk) -> (TensorType, Vec<TensorType>) {
        let n = chunk.rows.len();
        let (inputs, targets) = self.types(chunk.batch);
        if n == self.batches[chunk.batch].len() {
            return (inputs, targets);
        }
        (chunk::rows_type(&inputs, n), targets.iter().map(|ty| chunk::rows_type(ty, n)).collect())
    }

    /// The data in chunks, for programs that leave `bytes(n)` behind for a chunk of `n` data.
    pub(crate) fn chunks(&self, bytes: impl Fn(usize) -> Result<usize, Error>) -> Result<Vec<Chunk>, Error> {
        let n = self.len();
        let size = if self.separable {
            let sample = n.min(16);
            Some(chunk::chunk_size(bytes(sample)? / sample.max(1), n))
        } else {
            None
        };
        Ok(chunk::chunks(self.batches.iter().map(Batch::len), size))
    }

    /// Traces model and loss for `n` data of a batch.
    pub(crate) fn traced(&self, batch: usize, n: usize) -> Result<Traced, Error> {
        let chunk = Chunk { batch, rows: 0..n, first: 0 };
        let (inputs, targets) = self.chunk_types(&chunk);
        let model = (self.model)(n)?;
        check_interface("model", &model, &[TensorType::real(&[self.params.len()]), inputs])?;
        // Chunks, weights and quantities of single data need data that stay apart.
        model.data_axes(&[None, Some(0)])?;
        let output = model.output_type(0).clone();
        let loss = (self.loss)(&output, &targets)?;
        let expected: Vec<_> = core::iter::once(output).chain(targets).collect();
        check_interface("loss", &loss, &expected)?;
        if loss.output_type(0).rank() != 0 {
            let got = loss.output_type(0).to_string();
            return Err(Error::Interface { role: "loss", expected: "a number without axes".into(), got });
        }
        let model = self.with_named_inputs(&model)?;
        let whole = compose(&model, &loss)?;
        Ok(Traced { model, loss, whole })
    }

    /// The model as a program of the differentiated parameters, with inputs of our names.
    fn with_named_inputs(&self, model: &Program) -> Result<Program, Error> {
        let mut b = Builder::new();
        let params = b.input("params", TensorType::real(&[self.dim()]));
        let inputs = b.input("inputs", model.input_type(1).clone());
        let output = match &self.group {
            None => b.inline(model, &[params, inputs])?[model.outputs()[0].node.index()],
            Some(group) => {
                let fixed = b.input("fixed", model.input_type(0).clone());
                block::restrict(&mut b, model, [params, inputs, fixed], &group.ranges)?
            }
        };
        Ok(b.finish(vec![("f".into(), output)]))
    }
}

/// Bytes of a primal program's outputs that depend on the data.
pub(crate) fn residual_bytes<T>(primal: &Program, fixed: &[bool]) -> usize {
    (0..fixed.len()).filter(|&k| !fixed[k]).map(|k| chunk::bytes::<T>(primal.output_type(k))).sum()
}

fn check_interface(role: &'static str, program: &Program, expected: &[TensorType]) -> Result<(), Error> {
    let got: Vec<_> = (0..program.inputs().len()).map(|i| program.input_type(i).clone()).collect();
    let show = |types: &[TensorType]| types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
    if got != expected {
        return Err(Error::Interface { role, expected: show(expected), got: show(&got) });
    }
    match program.outputs().len() {
        1 => Ok(()),
        n => Err(Error::Interface { role, expected: "one output".into(), got: format!("{n} outputs") }),
    }
}

/// Checks that the sum is one over the data: what belongs to one datum never meets what belongs to another.
fn check_data(whole: &Program, n: usize) -> Result<(), Error> {
    let axis = |i: usize| {
        let per_datum = whole.input_type(i).shape.first() == Some(&n) && !is_shared(&whole.inputs()[i].name);
        per_datum.then_some(0)
    };
    let axes: Vec<Option<usize>> = (0..whole.inputs().len()).map(axis).collect();
    whole.data_axes(&axes)?;
    Ok(())
}

/// `(params, inputs[, fixed], targets..) -> loss(model(params, inputs), targets..)`.
fn compose(model: &Program, loss: &Program) -> Result<Program, Error> {
    let mut b = Builder::new();
    let (_, f) = inline_model(&mut b, model)?;
    let sum = inline_loss(&mut b, loss, f)?;
    Ok(b.finish(vec![("loss".into(), sum)]))
}

/// Declares a model's inputs and inlines it: its inputs and its output.
pub(crate) fn inline_model(
    b: &mut Builder,
    model: &Program,
) -> Result<(Vec<autodiff::NodeId>, autodiff::NodeId), Error> {
    let inputs: Vec<_> = (0..model.inputs().len())
        .map(|i| b.input(model.inputs()[i].name.clone(), model.input_type(i).clone()))
        .collect();
    let map = b.inline(model, &inputs)?;
    let f = map[model.outputs()[0].node.index()];
    Ok((inputs, f))
}

/// Declares a loss's targets and inlines it on outputs `f`: its output.
pub(crate) fn inline_loss(b: &mut Builder, loss: &Program, f: autodiff::NodeId) -> Result<autodiff::NodeId, Error> {
    let mut args = vec![f];
    for i in 1..loss.inputs().len() {
        args.push(b.input(format!("target.{}", i - 1), loss.input_type(i).clone()));
    }
    let map = b.inline(loss, &args)?;
    Ok(map[loss.outputs()[0].node.index()])
}
