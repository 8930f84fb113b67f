//! `osculate curvature`: gradients of a model's risk; products, eigenvalues, traces and diagonals of its curvature matrices.

mod quantities;
mod setup;

use super::{Context, Error, Reply, vectors};
use ::curvature::{EfScale, Fisher, Granularity};
use autodiff::nn::Sequential;
use clap::{Args, ValueEnum};
use numerics::{DType, MatRef, Scalar};
use quantities::Session;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    osculate curvature --model net/ --data test.npz --loss cross-entropy --operator ggn --eigs 5\n  \
    osculate curvature --model net/ --data test.npz --loss mse --gradient --save g.npy --json\n  \
    osculate curvature --model net/ --data test.npz --loss mse --operator fisher-mc --mc-samples 8 --trace\n  \
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
    /// The trace: exact for GGN and Fisher matrices, else estimated
    #[arg(long, requires = "operator")]
    trace: bool,
    /// The diagonal: exact for GGN and Fisher matrices, else estimated
    #[arg(long, requires = "operator", requires = "save", conflicts_with_all = ["matvec", "gradient", "dense"])]
    diagonal: bool,
    /// Products that an estimate may spend [default: 120]
    #[arg(long, value_name = "M", conflicts_with = "rtol")]
    products: Option<usize>,
    /// Estimate until three standard errors are within this share of the trace, or the errors of the diagonal's entries in
    /// the mean square
    #[arg(long, value_name = "R")]
    rtol: Option<f64>,
    /// Empirical Fisher: gradients of the loss, or of the negative log-likelihood (half of it for mse)
    #[arg(long, value_enum, default_value = "loss")]
    ef_scale: EfScaleName,
    /// Fisher: a vector per loss term or per datum [default: term for empirical-fisher, datum for fisher-mc]
    #[arg(long, value_enum)]
    granularity: Option<GranularityName>,
    /// Monte Carlo Fisher: labels drawn per datum
    #[arg(long, value_name = "M", default_value_t = 1)]
    mc_samples: usize,
    /// Bytes that are kept between products [default: 2 GiB], and the largest dense matrix [default: 1 GiB]
    #[arg(long, value_name = "BYTES")]
    memory: Option<usize>,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OperatorName {
    Hessian,
    Ggn,
    FisherMc,
    EmpiricalFisher,
    Jacobian,
}

impl OperatorName {
    fn name(self) -> &'static str {
        match self {
            OperatorName::Hessian => "hessian",
            OperatorName::Ggn => "ggn",
            OperatorName::FisherMc => "fisher-mc",
            OperatorName::EmpiricalFisher => "empirical-fisher",
            OperatorName::Jacobian => "jacobian",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum EfScaleName {
    Loss,
    Nll,
}

#[derive(Clone, Copy, ValueEnum)]
enum GranularityName {
    Term,
    Datum,
}

#[derive(Clone, Copy, ValueEnum)]
enum WhichName {
    Largest,
    Smallest,
    Both,
}

impl Curvature {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        self.check()?;
        match context.dtype.unwrap_or(DType::F64) {
            DType::F64 => self.run_in::<f64>(context),
            DType::F32 => self.run_in::<f32>(context),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let usage = |what: &str| Err(Error::Usage(what.into()));
        let asked = self.matvec.is_some() || self.eigs.is_some() || self.trace;
        if !asked && !self.gradient && !self.dense && !self.diagonal {
            return usage("nothing to compute: give --gradient, --matvec, --eigs, --trace, --diagonal or --dense");
        }
        if self.save.is_some() && self.matvec.is_none() && !self.gradient && !self.dense && !self.diagonal {
            return usage("--save needs --gradient, --matvec, --diagonal or --dense");
        }
        if self.operator == Some(OperatorName::Jacobian) && (self.eigs.is_some() || self.trace || self.diagonal) {
            return usage("the jacobian is not square: it has --matvec and --dense");
        }
        if self.mc_samples == 0 {
            return usage("--mc-samples 0: expected at least 1");
        }
        match self.rtol {
            Some(r) if !(r > 0.0 && r.is_finite()) => usage("--rtol: expected a positive number"),
            _ => Ok(()),
        }
    }

    fn run_in<T: Scalar>(&self, context: &Context) -> Result<Reply, Error> {
        let par = context.par();
        let (model, params) = Sequential::load::<T>(&self.model)?;
        let risk = self.risk(model.clone(), params)?;
        let (mut function, mut gradient, mut loss) = (risk.gradient()?, vec![T::ZERO; risk.dim()], T::ZERO);
        let (seconds, processor) = crate::cli::timing::repeated_with_processor(|| {
            loss = function.evaluate(&mut gradient)?;
            Ok::<(), Error>(())
        })?;
        let gradient = MatRef::from_column_major_slice(&gradient, risk.dim(), 1);
        let norm = numerics::dense::norm_l2(gradient);
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
            .with("gradient_seconds", seconds)
            .with("gradient_cpu_seconds", processor);
        if let (true, Some(save)) = (self.gradient, &self.save) {
            vectors::write(save, &model, gradient)?;
            let _ = writeln!(text, "gradient       written to {}", save.display());
        }
        if let Some(name) = self.operator {
            (reply, text) = Session::new(self, name, &model, &risk, (context.seed, par), (reply, text))?.run()?;
        }
        Ok(reply.with_text(text))
    }

    /// The Fisher matrix that an operator's name stands for; the GGN is that of type 2.
    fn fisher(&self, name: OperatorName, seed: u64) -> Fisher {
        let granularity = |default| match self.granularity {
            Some(GranularityName::Term) => Granularity::LossTerm,
            Some(GranularityName::Datum) => Granularity::Datum,
            None => default,
        };
        match name {
            OperatorName::FisherMc => {
                Fisher::MonteCarlo { samples: self.mc_samples, seed, granularity: granularity(Granularity::Datum) }
            }
            OperatorName::EmpiricalFisher => Fisher::Empirical {
                scale: match self.ef_scale {
                    EfScaleName::Loss => EfScale::Loss,
                    EfScaleName::Nll => EfScale::Nll,
                },
                granularity: granularity(Granularity::LossTerm),
            },
            _ => Fisher::Type2,
        }
    }
}
