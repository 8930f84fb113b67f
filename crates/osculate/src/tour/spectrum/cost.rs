//! What products cost, in time and in gradients.

use super::{BLOCK, Timing};
use crate::tour::Error;
use crate::tour::study::{Study, product, times};
use curvature::{CurvatureOperator, Risk};
use linop_core::LinearOperator;
use numerics::Mat;
use std::time::Instant;

/// Times of a gradient and of products, interleaved; the shortest of each, which other work on the machine disturbs least.
pub(super) fn measure(
    study: &Study<'_>,
    risk: &Risk<f64>,
    hessian: &CurvatureOperator<f64>,
    ggn: &CurvatureOperator<f64>,
) -> Result<Timing, Error> {
    let (mut gradient_of_all, mut room) = (risk.gradient()?, vec![0.0; risk.dim()]);
    let v = study.unit(3);
    let block = Mat::from_fn(hessian.nrows(), BLOCK, |i, j| v[(i + j) % v.len()]);
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for repeat in 0..=study.settings.repeats {
        study.tell("timing", repeat, study.settings.repeats)?;
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        gradient_of_all.evaluate(&mut room)?;
        let gradient = lap();
        times(hessian, &v, study.par)?;
        let h = lap();
        times(ggn, &v, study.par)?;
        let g = lap();
        product(hessian, block.as_ref(), study.par)?;
        let b = lap();
        // The first round warms up caches and compiles the block.
        if repeat > 0 {
            seconds.iter_mut().zip([gradient, h, g, b / BLOCK as f64]).for_each(|(list, s)| list.push(s));
        }
    }
    let [gradient_seconds, hessian_seconds, ggn_seconds, hessian_block_seconds] = seconds.map(least);
    Ok(Timing {
        rounds: study.settings.repeats,
        gradient_seconds,
        hessian_seconds,
        ggn_seconds,
        hessian_block_seconds,
        hessian_gradients: hessian_seconds / gradient_seconds,
        ggn_gradients: ggn_seconds / gradient_seconds,
        hessian_block_gradients: hessian_block_seconds / gradient_seconds,
    })
}

fn least(list: Vec<f64>) -> f64 {
    list.into_iter().fold(f64::INFINITY, f64::min)
}
