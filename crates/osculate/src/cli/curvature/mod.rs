//! `osculate curvature`: gradients, products and extreme eigenvalues of a model's curvature matrices.

use super::vectors;
use super::{Context, Error, Reply};
use crate::io::{Dataset, Targets, npy};
use ::curvature::{CurvatureOperator, Example, Reduction, Risk, Supervised};
use autodiff::nn::{CrossEntropy, Loss, Sequential};
use autodiff::{Array, Value};
use clap::{Args, ValueEnum};
use linop_core::krylov::{EigshOptions, Which, eigsh};
use linop_core::{LinearOperator, to_dense};
use numerics::{DType, Mat, MemBuffer, MemStack, Par, Scalar};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    osculate curvature --model net/ --data test.npz --loss cross-entropy --operator ggn --eigs 5\n  \
    osculate curvature --model net/ --data test.npz --loss mse --gradient --save g.npy --json\n  \
    osculate curvature --model net/ --data test.npz --loss bce --operator hessian --matvec v.npy --save hv.npy")]
pub(super) struct Curvature {
    /// A directory with config.json and model.safetensors
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Inputs and targets: .npz, or .csv with --target-column
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The column of a .csv that holds the targets
    #[arg(long, value_name = "NAME")]
    target_column: Option<String>,
    /// mse, cross-entropy or bce (both of logits)
    #[arg(long, value_name = "NAME")]
    loss: String,
    /// What the sum over the loss terms is divided by
    #[arg(long, value_enum, default_value = "mean")]
    reduction: ReductionName,
    /// Data per mini-batch [default: all at once]; the result does not depend on it
    #[arg(long, value_name = "B")]
    batch_size: Option<usize>,
    /// The matrix
    #[arg(long, value_enum)]
    operator: Option<OperatorName>,
    /// Multiply by the vectors in this file: .npy `[P]` or `[P, K]`, or .safetensors by parameter names
    #[arg(long, value_name = "V", requires = "operator", requires = "save")]
    matvec: Option<PathBuf>,
    /// Number of extreme eigenvalues
    #[arg(long, value_name = "K", requires = "operator")]
    eigs: Option<usize>,
    /// Which end of the spectrum
    #[arg(long, value_enum, default_value = "largest")]
    which: WhichName,
    /// The gradient of the risk
    #[arg(long, conflicts_with = "matvec")]
    gradient: bool,
    /// The whole matrix as .npy
    #[arg(long, requires = "operator", requires = "save", conflicts_with_all = ["matvec", "gradient"])]
    dense: bool,
    /// Where the product, the gradient or the matrix goes, .npy or .safetensors
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Largest size of a dense matrix in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    memory: usize,
    /// Cross-entropy: one factor per class, .npy
    #[arg(long, value_name = "FILE")]
    class_weights: Option<PathBuf>,
    /// Cross-entropy: share of the target that is spread evenly
    #[arg(long, value_name = "E", default_value_t = 0.0)]
    label_smoothing: f64,
    /// Cross-entropy: the label of terms that do not count
    #[arg(long, value_name = "I", default_value_t = -100, allow_negative_numbers = true)]
    ignore_index: i64,
    /// Bce: one factor of the positive part per output, .npy
    #[arg(long, value_name = "FILE")]
    pos_weight: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReductionName {
    Mean,
    Sum,
}

#[derive(Clone, Copy, ValueEnum)]
enum OperatorName {
    Hessian,
    Ggn,
}

impl OperatorName {
    fn name(self) -> &'static str {
        match self {
            OperatorName::Hessian => "hessian",
            OperatorName::Ggn => "ggn",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum WhichName {
    Largest,
    Smallest,
    Both,
}

impl Curvature {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        if self.matvec.is_none() && self.eigs.is_none() && !self.gradient && !self.dense {
            return Err(Error::Usage("nothing to compute: give --gradient, --matvec, --eigs or --dense".into()));
        }
        if self.save.is_some() && self.matvec.is_none() && !self.gradient && !self.dense {
            return Err(Error::Usage("--save needs --gradient, --matvec or --dense".into()));
        }
        match context.dtype.unwrap_or(DType::F64) {
            DType::F64 => self.run_in::<f64>(context),
            DType::F32 => self.run_in::<f32>(context),
        }
    }

    fn run_in<T: Scalar>(&self, context: &Context) -> Result<Reply, Error> {
        let (model, params) = Sequential::load::<T>(&self.model)?;
        let risk = self.risk(model.clone(), params)?;
        let started = Instant::now();
        let (loss, gradient) = risk.value_and_gradient()?;
        let gradient_seconds = started.elapsed().as_secs_f64();
        let norm = numerics::dense::norm_l2(Mat::from_fn(gradient.len(), 1, |i, _| gradient[i]).as_ref());
        let mut text = format!(
            "{}: {} parameters\nloss           {:.6e}\ngradient norm  {:.6e}\n",
            self.model.display(),
            risk.dim(),
            loss,
            norm
        );
        let mut reply = Reply::new("curvature", T::DTYPE, String::new())
            .with("parameters", risk.dim())
            .with("loss", loss.to_f64())
            .with("gradient_norm", norm.to_f64())
            .with("gradient_seconds", gradient_seconds);
        if let (true, Some(save)) = (self.gradient, &self.save) {
            let g = Mat::from_fn(gradient.len(), 1, |i, _| gradient[i]);
            vectors::write(save, &model, g.as_ref())?;
            let _ = writeln!(text, "gradient       written to {}", save.display());
        }
        if let Some(name) = self.operator {
            reply = self.with_operator(name, &model, &risk, context, reply, &mut text)?;
        }
        Ok(reply.with_text(text))
    }

    fn with_operator<T: Scalar>(
        &self,
        name: OperatorName,
        model: &Sequential,
        risk: &Risk<T>,
        context: &Context,
        mut reply: Reply,
        text: &mut String,
    ) -> Result<Reply, Error> {
        let op: CurvatureOperator<T> = match name {
            OperatorName::Hessian => risk.hessian()?,
            OperatorName::Ggn => risk.ggn()?,
        };
        let mut products = 0;
        if let (Some(file), Some(save)) = (&self.matvec, &self.save) {
            let v = vectors::read::<T>(file, model)?;
            let mut out = Mat::zeros(op.nrows(), v.ncols());
            let mut buffer = MemBuffer::new(op.apply_req(v.ncols(), Par::Seq));
            let stack = MemStack::new(&mut buffer);
            let started = Instant::now();
            op.apply(out.as_mut(), T::ONE, v.as_ref(), T::ZERO, Par::Seq, stack)?;
            let seconds = started.elapsed().as_secs_f64() / v.ncols().max(1) as f64;
            vectors::write(save, model, out.as_ref())?;
            products += v.ncols();
            reply = reply.with("product_seconds", seconds);
            let _ = writeln!(text, "{} product    {} columns, written to {}", name.name(), v.ncols(), save.display());
        }
        if let (true, Some(save)) = (self.dense, &self.save) {
            let bytes = op.nrows().saturating_mul(op.nrows()).saturating_mul(size_of::<T>());
            if bytes > self.memory {
                return Err(Error::Usage(format!(
                    "the dense matrix needs {bytes} bytes, --memory allows {}",
                    self.memory
                )));
            }
            let dense = to_dense(&op, Par::Seq)?;
            npy::write(save, &crate::io::Array::from_mat(dense.as_ref()))?;
            products += op.nrows();
            let _ = writeln!(text, "{} matrix     written to {}", name.name(), save.display());
        }
        if let Some(k) = self.eigs {
            let which = match self.which {
                WhichName::Largest => Which::Largest,
                WhichName::Smallest => Which::Smallest,
                WhichName::Both => Which::Both,
            };
            let options = EigshOptions { seed: context.seed, ..EigshOptions::default() };
            let found = eigsh(&op, k, which, &options, Par::Seq)?;
            products += found.report.products;
            let values: Vec<f64> = found.values.iter().map(|v| v.to_f64()).collect();
            let _ = writeln!(text, "eigenvalues of the {} ({} products):", name.name(), found.report.products);
            for v in &values {
                let _ = writeln!(text, "  {v:>14.6e}");
            }
            if !found.report.converged {
                let _ = writeln!(text, "  not converged: residuals {:?}", found.report.residuals);
            }
            reply = reply
                .with("eigenvalues", values)
                .with("converged", found.report.converged)
                .with("residuals", found.report.residuals);
        }
        Ok(reply.with("operator", name.name()).with("products", products))
    }

    fn risk<T: Scalar>(&self, model: Sequential, params: Vec<T>) -> Result<Risk<T>, Error> {
        let data = Dataset::read(&self.data, self.target_column.as_deref())?;
        let loss = self.loss(&data)?;
        let reduction = match self.reduction {
            ReductionName::Mean => Reduction::Mean,
            ReductionName::Sum => Reduction::Sum,
        };
        let size = self.batch_size.unwrap_or(data.len());
        let batches = data.batches(size)?.map(|rows| example(&data, &model, rows)).collect::<Result<Vec<_>, _>>()?;
        Ok(Supervised::new(model, loss, reduction).risk(params, batches)?)
    }

    fn loss(&self, data: &Dataset) -> Result<Loss, Error> {
        let weights = |path: &Path| -> Result<Vec<f64>, Error> {
            let a = npy::read(path)?;
            let list = a.to_floats::<f64>().filter(|_| a.shape().len() == 1);
            list.ok_or_else(|| {
                Error::Usage(format!("{}: expected a vector of floats, got shape {:?}", path.display(), a.shape()))
            })
        };
        let mut loss = Loss::from_name(&self.loss)?;
        match &mut loss {
            Loss::CrossEntropy(options) => {
                *options = CrossEntropy {
                    class_weights: self.class_weights.as_deref().map(weights).transpose()?,
                    label_smoothing: self.label_smoothing,
                    ignore_index: self.ignore_index,
                    soft_targets: matches!(data.targets(), Targets::Values { .. }),
                };
            }
            _ if self.class_weights.is_some() || self.label_smoothing != 0.0 => {
                return Err(Error::Usage("--class-weights and --label-smoothing belong to cross-entropy".into()));
            }
            Loss::Bce { pos_weight } => *pos_weight = self.pos_weight.as_deref().map(weights).transpose()?,
            Loss::Mse => {}
        }
        if self.pos_weight.is_some() && !matches!(loss, Loss::Bce { .. }) {
            return Err(Error::Usage("--pos-weight belongs to bce".into()));
        }
        Ok(loss)
    }
}

/// Rows `rows` of the data as values of the model's kinds.
fn example<T: Scalar>(data: &Dataset, model: &Sequential, rows: Range<usize>) -> Result<Example<T>, Error> {
    let cut = |shape: &[usize]| -> (Vec<usize>, Range<usize>) {
        let width: usize = shape[1..].iter().product();
        let shape = core::iter::once(rows.len()).chain(shape[1..].iter().copied()).collect();
        (shape, rows.start * width..rows.end * width)
    };
    let wrong = |what: &str| Error::Usage(format!("{}: {what}", data.name()));
    let (shape, range) = cut(data.inputs().shape());
    let inputs = if model.input_type().kind == autodiff::Kind::Int {
        let ids =
            data.inputs().to_integers().ok_or_else(|| wrong("the model takes integer inputs, these are floats"))?;
        Array::new(&shape, ids[range].to_vec()).map(Value::Int)
    } else {
        let x =
            data.inputs().to_floats::<T>().ok_or_else(|| wrong("the model takes float inputs, these are integers"))?;
        Array::new(&shape, x[range].to_vec()).map(Value::Real)
    };
    let (shape, range) = cut(data.targets().shape());
    let targets = match data.targets() {
        Targets::Values { values, .. } => {
            let list = values[range].iter().map(|&y| T::from_f64(y)).collect();
            Array::new(&shape, list).map(Value::Real)
        }
        Targets::Labels { labels, .. } => Array::new(&shape, labels[range].to_vec()).map(Value::Int),
    };
    let weights = data.weights().map(|w| w[rows].iter().map(|&w| T::from_f64(w)).collect());
    match (inputs, targets) {
        (Some(x), Some(y)) => Ok((x, y, weights)),
        _ => Err(wrong("inputs or targets are too large")),
    }
}
