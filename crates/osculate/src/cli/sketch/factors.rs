//! Approximations with certificates: singular values, eigenvalues, Nystrom, low rank plus diagonal.
//!
//! With a tolerance the sketch doubles until ten fresh probes certify the relative Frobenius error; all products count.

use super::super::{Error, lord};
use super::estimates::too_few;
use super::{CERTIFICATE, Found, Job};
use ::sketch::{
    Certificate, DiagonalSource, EighOptions, EighRecovery, LordChoice, LordOptions, NystromVariant, Order, Passes,
    Recovery, Sizes, Status, SvdOptions, certify, diagonal_only, diagonal_then_low, eigh, low_only, low_then_diagonal,
    nystrom, sketch_lord, sketch_lord_auto, svd,
};
use linop_core::LinearOperator;
use numerics::Scalar;

/// Sketch columns of the first stage of a tolerance.
const START: usize = 8;

#[derive(Clone, Copy)]
enum Fit {
    Auto,
    Joint(Passes),
    Low,
    Diagonal,
    DiagonalThenLow,
    LowThenDiagonal,
}

impl<T: Scalar> Job<'_, T> {
    pub(super) fn svd(&self) -> Result<Found, Error> {
        let (name, recovery) = self.args.choose(&[
            ("hmt", Recovery::Hmt { power: 0 }),
            ("two-sketch", Recovery::TwoSketch),
            ("three-sketch", Recovery::ThreeSketch),
            ("gen-nystrom", Recovery::GenNystrom),
        ])?;
        // products of k columns of the right sketch
        let cost = |k: usize| match recovery {
            Recovery::Hmt { .. } => 2 * k,
            Recovery::TwoSketch => 3 * k + 1,
            Recovery::ThreeSketch => 4 * k + 1,
            Recovery::GenNystrom => k + half_more(k),
        };
        let left = |k: usize| if matches!(recovery, Recovery::GenNystrom) { half_more(k) } else { 2 * k + 1 };
        self.certified("svd", self.op.nrows().min(self.op.ncols()), cost, |k| {
            let sizes = Sizes { left: left(k), ..Sizes::from_right(k) };
            let f = svd(&self.op, &SvdOptions { recovery, sizes, rank: self.args.rank }, &self.settings)?;
            let c = self.certificate(&f.operator::<f64>()?)?;
            let found = Found::new((f.products + c.products, f.products_t), Status::Spent)
                .field("estimator", name)
                .field("value", f.s.as_slice())
                .field("rank", f.s.len())
                .line("singular values", few(&f.s))
                .line("by", name)
                .vector("s", &f.s)
                .matrix("u", &f.u)
                .matrix("v", &f.v);
            Ok((found, c))
        })
    }

    pub(super) fn eigh(&self) -> Result<Found, Error> {
        let (name, recovery) = self.args.choose(&[
            ("hmt", EighRecovery::Hmt { power: 0 }),
            ("two-sketch", EighRecovery::TwoSketch),
            ("three-sketch", EighRecovery::ThreeSketch),
            ("gen-nystrom", EighRecovery::GenNystrom),
            ("one-sketch", EighRecovery::OneSketch),
        ])?;
        let cost = |k: usize| match recovery {
            EighRecovery::Hmt { .. } => 2 * k,
            EighRecovery::TwoSketch | EighRecovery::ThreeSketch => 3 * k + 1,
            EighRecovery::GenNystrom => k + half_more(k),
            EighRecovery::OneSketch => k,
        };
        let left = |k: usize| if recovery == EighRecovery::GenNystrom { half_more(k) } else { 2 * k + 1 };
        self.certified("eigh", self.op.nrows(), cost, |k| {
            let sizes = Sizes { left: left(k), ..Sizes::from_right(k) };
            let options = EighOptions { recovery, sizes, rank: self.args.rank, order: Order::Magnitude };
            let f = eigh(&self.op, &options, &self.settings)?;
            let c = self.certificate(&f.operator::<f64>()?)?;
            let found = Found::new((f.products + c.products, 0), Status::Spent)
                .field("estimator", name)
                .field("value", f.values.as_slice())
                .field("rank", f.values.len())
                .line("eigenvalues", few(&f.values))
                .line("by", name)
                .vector("values", &f.values)
                .matrix("vectors", &f.vectors);
            Ok((found, c))
        })
    }

    pub(super) fn nystrom(&self) -> Result<Found, Error> {
        let (name, variant) =
            self.args.choose(&[("stable", NystromVariant::Stable), ("cholesky-only", NystromVariant::CholeskyOnly)])?;
        self.certified(
            "nystrom",
            self.op.nrows(),
            |k| k,
            |l| {
                let f = nystrom(&self.op, l, variant, &self.settings)?;
                let c = self.certificate(&f.operator::<f64>()?)?;
                let found = Found::new((f.products + c.products, 0), Status::Spent)
                    .field("estimator", name)
                    .field("value", f.values.as_slice())
                    .field("rank", f.rank())
                    .line("eigenvalues", few(&f.values))
                    .line("by", name)
                    .vector("values", &f.values)
                    .matrix("vectors", &f.u);
                Ok((found, c))
            },
        )
    }

    pub(super) fn lord(&self) -> Result<Found, Error> {
        let (name, fit) = self.args.choose(&[
            ("auto", Fit::Auto),
            ("joint", Fit::Joint(Passes::One)),
            ("two-pass", Fit::Joint(Passes::Two)),
            ("low-rank", Fit::Low),
            ("diagonal", Fit::Diagonal),
            ("diagonal-then-low", Fit::DiagonalThenLow),
            ("low-then-diagonal", Fit::LowThenDiagonal),
        ])?;
        let sides = if self.symmetric { 1 } else { 2 };
        let cost = |p: usize| match fit {
            Fit::Auto | Fit::Joint(Passes::One) => sides * p,
            Fit::Joint(Passes::Two) => (sides + 1) * p,
            Fit::Low => 2 * p,
            Fit::Diagonal => p,
            Fit::DiagonalThenLow | Fit::LowThenDiagonal => 4 * p,
        };
        self.certified("lord", self.op.nrows(), cost, |p| {
            let choice = self.fit(fit, p)?;
            Ok((lord_found(name, &choice), choice.certificate))
        })
    }

    /// A fit of sketch size p with its certificate; baselines split a diagonal of `2 p` products off.
    fn fit(&self, fit: Fit, p: usize) -> Result<LordChoice, Error> {
        let (a, settings) = (&self.op, &self.settings);
        let options = |passes| LordOptions { passes, max_rank: self.args.rank, ..LordOptions::default() };
        let mut lord = match fit {
            Fit::Auto => return Ok(sketch_lord_auto(a, p, CERTIFICATE, &options(Passes::One), settings)?),
            Fit::Joint(passes) => sketch_lord(a, p, &options(passes), settings)?,
            Fit::Low => low_only(a, p, settings)?,
            Fit::Diagonal => diagonal_only(a, DiagonalSource::XDiag(p), settings)?,
            Fit::DiagonalThenLow => diagonal_then_low(a, p, DiagonalSource::XDiag(2 * p), settings)?,
            Fit::LowThenDiagonal => low_then_diagonal(a, p, DiagonalSource::XDiag(2 * p), settings)?,
        };
        let certificate = self.certificate(&lord)?;
        lord.report.products += certificate.products;
        Ok(LordChoice { lord, certificate, candidates: Vec::new() })
    }

    fn certificate(&self, approximation: &dyn LinearOperator<f64>) -> Result<Certificate, Error> {
        Ok(certify(&self.op, approximation, CERTIFICATE, &self.settings)?)
    }

    /// An approximation of the size that the products allow, or of the first size whose error is certified.
    ///
    /// `cost` gives the products of a size, `most` is the largest size; `fit` makes the approximation and counts its certificate.
    fn certified(
        &self,
        op: &'static str,
        most: usize,
        cost: impl Fn(usize) -> usize,
        fit: impl Fn(usize) -> Result<(Found, Certificate), Error>,
    ) -> Result<Found, Error> {
        let finish = |(mut found, c): (Found, Certificate), before: (usize, usize), status| {
            found.products = (found.products.0 + before.0, found.products.1 + before.1);
            found.status = Some(status);
            let energy = c.residual_energy();
            let line = format!("{energy:.2e} of the energy, by {CERTIFICATE} fresh probes");
            found.field("residual_energy", energy).line("residual", line)
        };
        let Some(rtol) = self.args.rtol else {
            let budget = self.args.budget();
            let size = (1..=budget.min(most)).rev().find(|&k| cost(k) <= budget);
            let size = match size {
                Some(size) => size,
                None if most == 0 => 0,
                None => return Err(too_few(op, cost(1), budget)),
            };
            return Ok(finish(fit(size)?, (0, 0), Status::Spent));
        };
        let (mut size, mut before) = (START.min(most), (0, 0));
        loop {
            let (found, c) = fit(size)?;
            let met = c.residual_energy().sqrt() <= rtol;
            if met || size >= most {
                let status = if met { Status::Converged } else { Status::NotConverged };
                return Ok(finish((found, c), before, status));
            }
            before = (before.0 + found.products.0, before.1 + found.products.1);
            size = (2 * size).min(most);
        }
    }
}

fn lord_found(name: &'static str, choice: &LordChoice) -> Found {
    let fit = &choice.lord;
    let low = fit.low_rank_part();
    let mut found = Found::new((fit.report.products, fit.report.products_t), Status::Spent).field("estimator", name);
    for (key, value) in lord::fields(choice) {
        found = found.field(key, value);
    }
    found = found
        .line("fit", lord::line(choice))
        .line("by", name)
        .vector("d", fit.diagonal_part())
        .matrix("u", &low.u().to_owned())
        .matrix("core", &low.core());
    if low.is_symmetric_form() { found } else { found.matrix("v", &low.v().to_owned()) }
}

/// Three halves, rounded up: the size of a left sketch beside a right one.
fn half_more(k: usize) -> usize {
    (3 * k).div_ceil(2)
}

/// The first few numbers of a list.
fn few(values: &[f64]) -> String {
    let shown: Vec<String> = values.iter().take(5).map(|x| format!("{x:.4e}")).collect();
    let rest = if values.len() > 5 { format!(" .. ({} in all)", values.len()) } else { String::new() };
    shown.join("  ") + &rest
}
