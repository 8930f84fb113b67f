//! Numbers and vectors with error bars: trace, diagonal, log-determinant.

use super::super::Error;
use super::{Found, Job};
use ::sketch::{
    Budget, DiagonalMethod, Error as SketchError, Estimate, QuadratureOptions, Status, TraceMethod, diagonal_within,
    estimate_diagonal, estimate_trace, logdet,
};
use linop_core::LinearOperator;
use numerics::Scalar;

/// Products of the first look at the trace, from which a relative tolerance becomes an absolute one.
const FIRST_LOOK: usize = 16;
/// Failure probability of the adaptive estimator is twice this.
const DELTA: f64 = 0.05;
/// Standard errors within the tolerance of a log-determinant, as for traces.
const MARGIN: f64 = 3.0;
/// Where a tolerance that is not met ends, in multiples of the size of the matrix.
const MOST: usize = 4;

impl<T: Scalar> Job<'_, T> {
    pub(super) fn trace(&self) -> Result<Found, Error> {
        let resphere = self.args.resphere;
        let (name, method) = self.args.choose(&[
            ("xtrace", TraceMethod::XTrace { resphere }),
            ("hutchinson", TraceMethod::Hutchinson),
            ("hutch++", TraceMethod::HutchPp),
            ("na-hutch++", TraceMethod::NaHutchPp),
            ("adaptive-hutch++", TraceMethod::AdaptiveHutchPp { eta: 0.0, delta: DELTA }),
            ("nystrom++", TraceMethod::NystromPp),
            ("xnystrace", TraceMethod::XNysTrace { resphere }),
        ])?;
        if resphere && !matches!(method, TraceMethod::XTrace { .. } | TraceMethod::XNysTrace { .. }) {
            return Err(Error::Usage("--resphere belongs to xtrace and xnystrace".into()));
        }
        let most = MOST * self.op.nrows();
        if let TraceMethod::AdaptiveHutchPp { .. } = method {
            let Some(rel) = self.args.rtol else {
                return Err(Error::Usage("adaptive-hutch++ chooses its products itself: give --rtol".into()));
            };
            let look = TraceMethod::XTrace { resphere: false };
            let look = estimate_trace(&self.op, look, Budget::Products(FIRST_LOOK), &self.settings)?;
            let method = TraceMethod::AdaptiveHutchPp { eta: rel * look.value.abs(), delta: DELTA };
            let mut found = estimate_trace(&self.op, method, Budget::Products(most), &self.settings)?;
            found.products += look.products;
            return Ok(number(name, &found));
        }
        let budget = match self.args.rtol {
            Some(rel) => Budget::Tolerance { abs: 0.0, rel, max_products: most },
            None => Budget::Products(self.args.budget()),
        };
        Ok(number(name, &estimate_trace(&self.op, method, budget, &self.settings)?))
    }

    pub(super) fn diagonal(&self) -> Result<Found, Error> {
        let ratio = self.args.law != numerics::rng::Law::Rademacher;
        let (name, method) = self.args.choose(&[
            ("xdiag", DiagonalMethod::XDiag { extra: 0 }),
            ("hutchinson", DiagonalMethod::Hutchinson { ratio }),
            ("diag++", DiagonalMethod::DiagPp),
            ("xnysdiag", DiagonalMethod::XNysDiag),
        ])?;
        let d = match self.args.rtol {
            Some(rtol) => diagonal_within(&self.op, method, rtol, MOST * self.op.nrows(), &self.settings)?,
            None => estimate_diagonal(&self.op, method, self.args.budget(), &self.settings)?,
        };
        let rms = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt();
        let stderr = d.sem.as_deref().map(rms);
        let found = Found::new((d.products, d.products_t), d.status)
            .field("estimator", name)
            .field("value", d.value.as_slice())
            .field("stderr", stderr)
            .line("diagonal", format!("root mean square {:.6e} {}", rms(&d.value), bar(stderr)))
            .line("by", name)
            .vector("diagonal", &d.value);
        Ok(match &d.sem {
            Some(sem) => found.vector("stderr", sem),
            None => found,
        })
    }

    pub(super) fn logdet(&self) -> Result<Found, Error> {
        let (name, ()) = self.args.choose(&[("quadrature", ())])?;
        let Some(rtol) = self.args.rtol else {
            let options = QuadratureOptions::for_products(self.args.budget())?;
            return Ok(number(name, &logdet(&self.op, &options, &self.settings)?));
        };
        let (mut options, mut spent) = (QuadratureOptions { runs: 4, ..QuadratureOptions::default() }, 0);
        let most = (super::LOGDET_PRODUCTS * 20).max(MOST * self.op.nrows());
        loop {
            let mut found = logdet(&self.op, &options, &self.settings)?;
            spent += found.products;
            found.products = spent;
            let met = found.sem.is_some_and(|sem| MARGIN * sem <= rtol * found.value.abs());
            if met || found.status == Status::Exact || spent >= most {
                if found.status != Status::Exact {
                    found.status = if met { Status::Converged } else { Status::NotConverged };
                }
                return Ok(number(name, &found));
            }
            options.runs *= 2;
        }
    }
}

/// A number with its error bar.
fn number(name: &'static str, found: &Estimate<f64>) -> Found {
    Found::new((found.products, found.products_t), found.status)
        .field("estimator", name)
        .field("value", found.value)
        .field("stderr", found.sem)
        .line("value", format!("{:.10e} {}", found.value, bar(found.sem)))
        .line("by", name)
        .vector("value", &[found.value])
}

fn bar(stderr: Option<f64>) -> String {
    match stderr {
        Some(0.0) => "exactly".into(),
        Some(s) => format!("+- {s:.1e}"),
        None => "of unknown error".into(),
    }
}

/// The error of a method that needs more products than it was given.
pub(super) fn too_few(op: &'static str, needed: usize, got: usize) -> Error {
    SketchError::SketchTooSmall { op, needed, got }.into()
}
