//! Extreme eigenvalues by Lanczos, all of them from the dense matrix, and checks of the products.

use super::{Ends, Point, Whole};
use crate::data::CLASSES;
use crate::tour::Error;
use crate::tour::fit::Objective;
use crate::tour::study::{Study, dense, dot, norm, times};
use curvature::{CurvatureOperator, Risk};
use linop_core::krylov::{Eigenpairs, EigshOptions, Multiplicities, Which, eigsh};
use numerics::Mat;
use numerics::dense::eigvalsh;

/// Bars of the histogram of the whole spectrum.
const BINS: usize = 90;

/// Loss, gradient and extreme eigenvalues; the pairs are those of the Hessian, `k` smallest, then `k` largest.
pub(super) fn point(
    study: &Study<'_>,
    risk: &Risk<f64>,
    hessian: &CurvatureOperator<f64>,
    ggn: &CurvatureOperator<f64>,
    k: usize,
    name: &str,
) -> Result<(Point, Eigenpairs<f64>), Error> {
    let (loss, gradient) = risk.value_and_gradient()?;
    let pairs = search(study, hessian, k, Which::Both, &format!("eigenvalues of the Hessian {name}"))?;
    let top = search(study, ggn, k, Which::Largest, &format!("eigenvalues of Gauss–Newton {name}"))?;
    let ends = |e: &Eigenpairs<f64>, largest: Vec<f64>, smallest: Vec<f64>| Ends {
        largest,
        smallest,
        residual: e.report.residuals.iter().copied().fold(0.0, f64::max),
        products: e.report.products,
        converged: e.report.converged,
        probed: e.report.multiplicities != Multiplicities::Unverified,
    };
    let point = Point {
        loss,
        gradient_norm: norm(&gradient),
        hessian: ends(&pairs, pairs.values[k..].to_vec(), pairs.values[..k].to_vec()),
        ggn: ends(&top, top.values.clone(), Vec::new()),
    };
    Ok((point, pairs))
}

fn search(
    study: &Study<'_>,
    op: &CurvatureOperator<f64>,
    k: usize,
    which: Which,
    task: &str,
) -> Result<Eigenpairs<f64>, Error> {
    study.tell(task, 0, 1)?;
    let observer =
        |p: &numerics::progress::Progress<'_>| study.observer.report(&numerics::progress::Progress { task, ..*p });
    let options = EigshOptions { seed: study.settings.seed, observer: Some(&observer), ..EigshOptions::default() };
    let found = eigsh(op, k, which, &options, study.par)?;
    if found.report.interrupted { Err(numerics::Error::Interrupted.into()) } else { Ok(found) }
}

/// The largest `k` of `k` smallest and `k` largest.
pub(super) fn upper(pairs: Eigenpairs<f64>, k: usize) -> Eigenpairs<f64> {
    let n = pairs.vectors.nrows();
    let vectors = Mat::from_fn(n, k, |i, j| pairs.vectors[(i, k + j)]);
    Eigenpairs { values: pairs.values[k..].to_vec(), vectors, ..pairs }
}

/// Symmetry, agreement with differences of gradients, and their step.
pub(super) fn check(study: &Study<'_>, hessian: &CurvatureOperator<f64>, at: &[f64]) -> Result<(f64, f64, f64), Error> {
    let (u, v, step) = (study.unit(1), study.unit(2), 1e-3);
    let (hu, hv) = (times(hessian, &u, study.par)?, times(hessian, &v, study.par)?);
    let symmetry = (dot(&u, &hv) - dot(&v, &hu)).abs() / norm(&hv);
    let sample = study.sample();
    let mut objective = Objective::with_gradient(&study.net, sample.len(), study.par)?;
    let mut gradient = |t: f64| -> Result<Vec<f64>, Error> {
        let there: Vec<f64> = at.iter().zip(&v).map(|(x, v)| x + t * v).collect();
        Ok(objective.evaluate(&there, &sample.inputs, &sample.labels)?.1)
    };
    let (ahead, behind) = (gradient(step)?, gradient(-step)?);
    let off = ahead.iter().zip(&behind).zip(&hv).map(|((a, b), h)| (a - b) / (2.0 * step) - h);
    Ok((symmetry, norm(&off.collect::<Vec<_>>()) / norm(&hv), step))
}

/// All eigenvalues, their histogram, and how far the extreme ones are from those of the search; and the diagonal.
pub(super) fn spectrum(
    study: &Study<'_>,
    op: &CurvatureOperator<f64>,
    name: &str,
    ends: &Ends,
) -> Result<(Whole, Vec<f64>), Error> {
    let matrix = dense(op, study, &format!("whole Hessian {name}"))?;
    let diagonal = (0..matrix.nrows()).map(|i| matrix[(i, i)]).collect();
    study.tell("eigenvalues of the dense matrix", 0, 1)?;
    let eigenvalues = eigvalsh(matrix.as_ref())?;
    let n = eigenvalues.len();
    let (low, high) = (eigenvalues[0].min(0.0), eigenvalues[n - 1].max(f64::MIN_POSITIVE));
    let width = (high - low) / BINS as f64;
    let mut counts = vec![0.0; BINS];
    for &x in &eigenvalues {
        counts[(((x - low) / width) as usize).min(BINS - 1)] += 1.0;
    }
    let magnitude = |v: &[f64]| v.iter().map(|x| x.abs()).sum::<f64>();
    let above = eigenvalues.iter().rev().zip(&ends.largest);
    let below = eigenvalues.iter().zip(&ends.smallest);
    let whole = Whole {
        point: name.into(),
        negative: eigenvalues.iter().filter(|&&x| x < 0.0).count(),
        top_share: magnitude(&eigenvalues[n.saturating_sub(CLASSES)..]) / magnitude(&eigenvalues),
        edges: (0..=BINS).map(|i| low + width * i as f64).collect(),
        counts,
        difference: above.chain(below).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / high,
        eigenvalues,
    };
    Ok((whole, diagonal))
}
