//! The guard: joint fits beside the simple ones, scored by held-out probes, and the best of them returned.
//!
//! Flat tails make a one-pass joint fit worse than a baseline that costs no more. Ten fresh Gaussian probes tell which.

use super::program::{Fit, RowFit};
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
    let problem = Problem::new(&measured);
    let fit = problem.solve(&options.solver, settings.observer, settings.par)?;
    let factors = problem.factors(&fit, settings.par)?;
    let n = products.n;
    let mut fits: Vec<(&'static str, Lord)> = Vec::new();
    let plain = Fit { d: vec![0.0; n], ..fit.clone() };
    match options.passes {
        Passes::One => {
            let mut ranks = vec![factors.one_pass_rank(), factors.largest_one_pass_rank(), factors.rank().min(p / 2)];
            ranks.sort_unstable();
            ranks.dedup();
            for r in ranks {
                fits.push(("joint", factors.one_pass(r, &fit, options)?));
            }
            let raw = problem.raw_factors(settings.par)?;
            fits.push(("low rank", raw.one_pass(raw.rank().min(p / 2), &plain, options)?));
        }
        Passes::Two => {
            fits.push(("joint", factors.two_pass(&products, &fit, options)?));
            let raw = problem.raw_factors(settings.par)?;
            fits.push(("low rank", raw.two_pass(&products, &plain, options)?));
        }
    }
    let blocks = problem.blocks();
    let mut d0 = RowFit::new(&blocks).of(&blocks, |k| &blocks[k].m);
    if options.psd {
        d0.iter_mut().for_each(|d| *d = d.max(0.0));
    }
    fits.push(("diagonal", Lord::new(d0, Mat::zeros(n, 0), Mat::zeros(0, 0), None)?));
    let test = TestProbes::measure(&products, q)?;
    let mut best: Option<(usize, Certificate)> = None;
    let mut candidates = Vec::new();
    for (i, (method, lord)) in fits.iter().enumerate() {
        let score = test.against(lord, settings)?;
        candidates.push(Candidate { method, rank: lord.rank(), residual_energy: score.residual_energy() });
        if best.as_ref().is_none_or(|(_, b)| score.error_sq < b.error_sq) {
            best = Some((i, score));
        }
    }
    let Some((index, certificate)) = best else {
        return Err(Error::argument("guard", "nothing to choose from"));
    };
    let (method, lord) = fits.swap_remove(index);
    let report = LordReport { method, ..factors.report(&fit, products.counts()) };
    Ok(LordChoice { lord: lord.with_report(report), certificate, candidates })
}
