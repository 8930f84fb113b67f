//! What is asked of a matrix: products, the matrix itself, eigenvalues, trace, diagonal; [`super::structure`] has the rest.

use super::super::{Context, Error, Reply, vectors};
use super::{Curvature, OperatorName, WhichName};
use crate::cli::timing::{Timed, Times, repeated};
use crate::io::{Array, npy};
use ::curvature::{ProductReport, Risk};
use autodiff::nn::Sequential;
use linop_core::krylov::{EigshOptions, Which, eigsh};
use linop_core::{LinearOperator, Op, to_dense};
use numerics::{Mat, MemBuffer, MemStack, Par, Scalar};
use serde_json::json;
use sketch::{Budget, DiagonalMethod, Settings, TraceMethod};
use std::fmt::Write as _;
use std::path::Path;

/// Largest dense matrix in bytes unless `--memory` says otherwise.
const DENSE_BYTES: usize = 1 << 30;

/// Products that an estimate spends unless it is told otherwise, and the most for a tolerance.
const PRODUCTS: usize = 120;
const MOST_PRODUCTS: usize = 10_000;

/// A quantity under way: the matrix, and what has been found.
pub(super) struct Session<'a, T: Scalar> {
    pub(super) args: &'a Curvature,
    pub(super) name: OperatorName,
    pub(super) model: &'a Sequential,
    pub(super) risk: &'a Risk<T>,
    pub(super) out: Option<&'a Path>,
    seed: u64,
    par: Par,
    pub(super) op: Op<T>,
    report: ProductReport,
    times: Times,
    pub(super) products: usize,
    seconds: Option<f64>,
    pub(super) reply: Reply,
    pub(super) text: String,
}

impl<'a, T: Scalar> Session<'a, T> {
    pub(super) fn new(
        args: &'a Curvature,
        name: OperatorName,
        model: &'a Sequential,
        risk: &'a Risk<T>,
        context: &'a Context,
        (reply, text): (Reply, String),
    ) -> Result<Self, Error> {
        let (seed, par, out) = (context.seed, context.par(), context.out.as_deref());
        let (op, report) = match name {
            OperatorName::Hessian => reported(risk.hessian()?),
            OperatorName::Ggn => reported(risk.ggn()?),
            OperatorName::FisherMc | OperatorName::EmpiricalFisher => reported(risk.fisher(args.fisher(name, seed))?),
            OperatorName::Jacobian => {
                let op = risk.jacobian()?;
                let report = op.report();
                (Op::new(op), report)
            }
        };
        let times = Times::default();
        let op = Op::new(Timed { inner: op, times: times.clone() });
        let (products, seconds) = (0, None);
        Ok(Session { args, name, model, risk, out, seed, par, op, report, times, products, seconds, reply, text })
    }

    /// Everything that was asked for.
    pub(super) fn run(mut self) -> Result<(Reply, String), Error> {
        if let (Some(file), Some(save)) = (&self.args.matvec, &self.args.save) {
            self.matvec(file, save)?;
        }
        if let (true, Some(save)) = (self.args.dense, &self.args.save) {
            self.dense(save)?;
        }
        if let Some(k) = self.args.eigs {
            self.eigs(k)?;
        }
        if self.args.trace {
            self.trace()?;
        }
        if let (true, Some(save)) = (self.args.diagonal, &self.args.save) {
            self.diagonal(save)?;
        }
        if let Some(p) = self.args.lord {
            self.lord(p)?;
        }
        if self.args.spectrum {
            self.spectrum()?;
        }
        let report = self.report;
        let _ = writeln!(
            self.text,
            "products       {}, residuals {} ({} bytes kept), {} chunk{} of up to {} data",
            self.products,
            report.mode.name(),
            report.cached_bytes,
            report.chunks,
            if report.chunks == 1 { "" } else { "s" },
            report.chunk_size
        );
        let seconds = self.seconds.or_else(|| self.times.median());
        let reply = self
            .reply
            .with("operator", self.name.name())
            .with("products", self.products)
            .with("product_seconds", seconds)
            .with("residuals_mode", report.mode.name())
            .with("residual_bytes", report.cached_bytes);
        Ok((reply, self.text))
    }

    fn matvec(&mut self, file: &Path, save: &Path) -> Result<(), Error> {
        let v = vectors::read::<T>(file, self.model)?;
        let mut out = Mat::zeros(self.op.nrows(), v.ncols());
        let mut buffer = MemBuffer::new(self.op.apply_req(v.ncols(), self.par));
        let seconds = repeated(|| {
            let stack = MemStack::new(&mut buffer);
            self.op.apply(out.as_mut(), T::ONE, v.as_ref(), T::ZERO, self.par, stack)
        })?;
        self.seconds = Some(seconds / v.ncols().max(1) as f64);
        self.products += v.ncols();
        if self.name == OperatorName::Jacobian {
            vectors::write_plain(save, out.as_ref())?;
        } else {
            vectors::write(save, self.model, out.as_ref())?;
        }
        let _ =
            writeln!(self.text, "{} product    {} columns, written to {}", self.name.name(), v.ncols(), save.display());
        Ok(())
    }

    fn dense(&mut self, save: &Path) -> Result<(), Error> {
        let bytes = self.op.nrows().saturating_mul(self.op.ncols()).saturating_mul(size_of::<T>());
        let most = self.args.memory.unwrap_or(DENSE_BYTES);
        if bytes > most {
            return Err(Error::Usage(format!("the dense matrix needs {bytes} bytes, --memory allows {most}")));
        }
        let dense = to_dense(&self.op, self.par)?;
        npy::write(save, &Array::from_mat(dense.as_ref()))?;
        self.products += self.op.ncols();
        let _ = writeln!(self.text, "{} matrix     written to {}", self.name.name(), save.display());
        Ok(())
    }

    fn eigs(&mut self, k: usize) -> Result<(), Error> {
        let which = match self.args.which {
            WhichName::Largest => Which::Largest,
            WhichName::Smallest => Which::Smallest,
            WhichName::Both => Which::Both,
        };
        let options = EigshOptions { seed: self.seed, ..EigshOptions::default() };
        let found = eigsh(&self.op, k, which, &options, self.par)?;
        self.products += found.report.products;
        let values: Vec<f64> = found.values.iter().map(|v| v.to_f64()).collect();
        let _ = writeln!(self.text, "eigenvalues of the {} ({} products):", self.name.name(), found.report.products);
        for v in &values {
            let _ = writeln!(self.text, "  {v:>14.6e}");
        }
        if !found.report.converged {
            let _ = writeln!(self.text, "  not converged: residuals {:?}", found.report.residuals);
        }
        self.reply = self
            .reply
            .clone()
            .with("eigenvalues", values)
            .with("converged", found.report.converged)
            .with("residuals", found.report.residuals);
        Ok(())
    }

    /// The exact diagonal, where one pass gives it.
    fn exact_diagonal(&self) -> Result<Option<Vec<f64>>, Error> {
        let fisher = match self.name {
            OperatorName::Hessian | OperatorName::Jacobian => return Ok(None),
            name => self.args.fisher(name, self.seed),
        };
        let diagonal = self.risk.fisher_diagonal(fisher, self.par)?;
        Ok(Some(diagonal.iter().map(|x| x.to_f64()).collect()))
    }

    pub(super) fn settings(&self) -> Settings<'static> {
        Settings { par: self.par, ..Settings::seeded(self.seed) }
    }

    fn trace(&mut self) -> Result<(), Error> {
        let (value, stderr, products) = match self.exact_diagonal()? {
            Some(diagonal) => (diagonal.iter().sum(), Some(0.0), 0),
            None => {
                let budget = match self.args.rtol {
                    Some(rel) => Budget::Tolerance { abs: 0.0, rel, max_products: MOST_PRODUCTS.min(self.op.nrows()) },
                    None => Budget::Products(self.args.products.unwrap_or(PRODUCTS).min(self.op.nrows())),
                };
                let t = sketch::trace(&self.op, TraceMethod::XTrace { resphere: false }, budget, &self.settings())?;
                (t.value, t.sem, t.total_products())
            }
        };
        self.products += products;
        let _ = writeln!(self.text, "trace          {value:.6e} {} ({products} products)", error_bar(stderr));
        let field = json!({"value": value, "stderr": stderr, "products": products});
        self.reply = self.reply.clone().with("trace", field);
        Ok(())
    }

    fn diagonal(&mut self, save: &Path) -> Result<(), Error> {
        let (diagonal, stderr, products) = match self.exact_diagonal()? {
            Some(diagonal) => (diagonal, Some(0.0), 0),
            None => self.estimated_diagonal()?,
        };
        self.products += products;
        let column = Mat::from_fn(diagonal.len(), 1, |i, _| T::from_f64(diagonal[i]));
        vectors::write(save, self.model, column.as_ref())?;
        let _ = writeln!(
            self.text,
            "diagonal       written to {} {} ({products} products)",
            save.display(),
            error_bar(stderr)
        );
        let field = json!({"stderr": stderr, "products": products});
        self.reply = self.reply.clone().with("diagonal", field);
        Ok(())
    }

    /// Estimated, with the root mean square of the entries' standard errors.
    fn estimated_diagonal(&self) -> Result<(Vec<f64>, Option<f64>, usize), Error> {
        let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt();
        let (n, method) = (self.op.nrows(), DiagonalMethod::XDiag { extra: 0 });
        let d = match self.args.rtol {
            Some(rtol) => sketch::diagonal_within(&self.op, method, rtol, MOST_PRODUCTS.max(4 * n), &self.settings())?,
            None => {
                sketch::diagonal(&self.op, method, self.args.products.unwrap_or(PRODUCTS).min(n), &self.settings())?
            }
        };
        let stderr = d.sem.as_deref().map(rms);
        let products = d.total_products();
        Ok((d.value, stderr, products))
    }
}

fn reported<T: Scalar>(op: ::curvature::CurvatureOperator<T>) -> (Op<T>, ProductReport) {
    let report = op.report();
    (Op::new(op), report)
}

fn error_bar(stderr: Option<f64>) -> String {
    match stderr {
        Some(0.0) => "exact".into(),
        Some(s) => format!("+- {s:.1e}"),
        None => "of unknown error".into(),
    }
}
