//! The guard: joint fits beside the simple ones, scored by held-out probes, and the best of them returned.
//!
//! Flat tails make a one-pass joint fit worse than a baseline that costs no more. Ten fresh Gaussian probes tell which.

use super::recover::{LordOptions, Passes, Problem, measure};
use super::{Lord, LordReport};
use crate::certify::TestProbes;
use crate::products::{Products, Wide};
use crate::{Certificate, Error, Settings};
use linop_core::LinearOperator;
use numerics::{Mat, Scalar};

/// One of the fits that were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// `joint`, `low rank` or `diagonal`.
    pub method: &'static str,
    /// Its rank.
    pub rank: usize,
    /// Its residual energy as measured by the test probes.
    pub residual_energy: f64,
}

/// The best fit, its score, and what it was chosen from.
#[derive(Clone, Debug)]
pub struct LordChoice {
    /// The best.
    pub lord: Lord,
    /// Its certificate.
    pub certificate: Certificate,
    /// All fits in the order in which they were tried.
    pub candidates: Vec<Candidate>,
}

/// Low rank plus diagonal with `p` products, `q` more for the scores (and, in two passes, up to `2 p` for the cores).
///
/// One pass compares joint fits of the ranks that are safe, low rank alone from the same measurements, and the diagonal
/// alone; two passes compare the joint fit, `Q Q^T A Q Q^T` and the diagonal. If the joint fit warned that the sketch is
/// too small, the warning stays in the report.
///
/// A is `n x n`. Cost: that of [`super::sketch_lord`], q products, and for each of the three to five candidates `4 n r q` flops.
/// Source: our own guard; the scores are those of arXiv:1902.08651 section 6.
///
/// ```
/// use linop_core::Op;
/// use sketch::synthmat::{Family, Symmetry, Tail, implicit_lord};
/// use sketch::{LordOptions, Settings, sketch_lord_auto};
/// let family = Family { rank: 3, tail: Tail::None, symmetry: Symmetry::Psd };
/// let a = implicit_lord(80, &family, 5.0, 1)?;
/// let choice = sketch_lord_auto(&a, 12, 10, &LordOptions::default(), &Settings::default())?;
/// assert!(choice.lord.report.method == "joint" && choice.certificate.residual_energy() < 1e-11);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// As [`super::sketch_lord`]; `SketchTooSmall` for no test probes.
pub fn sketch_lord_auto<T: Scalar>(
    a: &dyn LinearOperator<T>,
    p: usize,
    q: usize,
    options: &LordOptions,
    settings: &Settings<'_>,
) -> Result<LordChoice, Error> {
    let wide = Wide(a);
    let products = Products::new(&wide, "sketch lord", settings);
    if q == 0 {
        return Err(Error::SketchTooSmall { op: "guard", needed: 1, got: 0 });
    }
    let measured = measure(&products, p)?;
    let problem = Problem { measured: &measured, par: settings.par };
    let mut fit = problem.solve(&options.solver, settings.observer)?;
    let mut contest =
        Contest { test: TestProbes::measure(&products, q)?, best: None, candidates: Vec::new(), settings };
    let factors = problem.factors(&mut fit)?;
    match options.passes {
        Passes::One => {
            let mut ranks = vec![factors.one_pass_rank(), factors.largest_one_pass_rank(), factors.rank().min(p / 2)];
            ranks.sort_unstable();
            ranks.dedup();
            for r in ranks {
                contest.enter("joint", factors.one_pass(r, &fit.d, options)?)?;
            }
        }
        Passes::Two => contest.enter("joint", factors.two_pass(&products, &fit.d, options)?)?,
    }
    let report = factors.report(&fit, products.counts());
    drop(factors);
    let none = vec![0.0; products.n];
    let low = match options.passes {
        Passes::One => {
            let raw = problem.raw_factors(p / 2)?;
            raw.one_pass(raw.rank().min(p / 2), &none, options)?
        }
        Passes::Two => problem.raw_factors(p)?.two_pass(&products, &none, options)?,
    };
    contest.enter("low rank", low)?;
    let mut d0 = fit.d0;
    if options.psd {
        d0.iter_mut().for_each(|d| *d = d.max(0.0));
    }
    contest.enter("diagonal", Lord::new(d0, Mat::zeros(products.n, 0), Mat::zeros(0, 0), None)?)?;
    let Some((method, lord, certificate)) = contest.best else {
        return Err(Error::argument("guard", "nothing to choose from"));
    };
    let (plain, transposed) = products.counts();
    let report = LordReport { method, products: plain, products_t: transposed, ..report };
    Ok(LordChoice { lord: lord.with_report(report), certificate, candidates: contest.candidates })
}

/// Fits are scored as they come, and only the best is kept.
struct Contest<'a> {
    test: TestProbes,
    best: Option<(&'static str, Lord, Certificate)>,
    candidates: Vec<Candidate>,
    settings: &'a Settings<'a>,
}

impl Contest<'_> {
    fn enter(&mut self, method: &'static str, lord: Lord) -> Result<(), Error> {
        let score = self.test.against(&lord, self.settings)?;
        self.candidates.push(Candidate { method, rank: lord.rank(), residual_energy: score.residual_energy() });
        if self.best.as_ref().is_none_or(|(_, _, best)| score.error_sq < best.error_sq) {
            self.best = Some((method, lord, score));
        }
        Ok(())
    }
}
