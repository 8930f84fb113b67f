//! Times that can be compared on a machine that others use too.
//!
//! Every round runs each thing once, one after the other. A figure is the quotient of two times of the same round, the median over
//! rounds, or the quotient of the best times of two things.

use std::time::Instant;

/// One thing that is timed.
pub struct Entry<'a> {
    /// Its name.
    pub name: String,
    /// Runs it once.
    pub run: Box<dyn FnMut() + 'a>,
}

impl<'a> Entry<'a> {
    /// Names a thing.
    pub fn new(name: impl Into<String>, run: impl FnMut() + 'a) -> Self {
        Entry { name: name.into(), run: Box::new(run) }
    }
}

/// Seconds of every entry in every round; a first round to warm up is left out.
pub fn alternate(rounds: usize, entries: &mut [Entry<'_>]) -> Vec<Vec<f64>> {
    let start = Instant::now();
    alternate_by(rounds, entries, || start.elapsed().as_secs_f64())
}

/// The same in seconds that this process's threads spend on a processor (by the clock where the system does not tell): for one thread on a machine that
/// others keep busy. Waiting for one's turn does not count; what others do to the caches does.
pub fn alternate_processor(rounds: usize, entries: &mut [Entry<'_>]) -> Vec<Vec<f64>> {
    let origin = Instant::now();
    alternate_by(rounds, entries, || {
        osculate::cli::processor_seconds().unwrap_or_else(|| origin.elapsed().as_secs_f64())
    })
}

fn alternate_by(rounds: usize, entries: &mut [Entry<'_>], now: impl Fn() -> f64) -> Vec<Vec<f64>> {
    let mut seconds = vec![Vec::with_capacity(rounds); entries.len()];
    for round in 0..=rounds {
        for (entry, times) in entries.iter_mut().zip(&mut seconds) {
            let started = now();
            (entry.run)();
            if round > 0 {
                times.push(now() - started);
            }
        }
    }
    seconds
}

/// The median, NaN of nothing.
pub fn median(x: &[f64]) -> f64 {
    let mut x = x.to_vec();
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The least.
pub fn best(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The median over rounds of the quotient of two times.
pub fn ratio(x: &[f64], y: &[f64]) -> f64 {
    median(&x.iter().zip(y).map(|(x, y)| x / y).collect::<Vec<_>>())
}

/// A straight line through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Rise for each unit to the right.
    pub slope: f64,
    /// Height at zero.
    pub intercept: f64,
    /// Share of the points' variance that the line explains.
    pub r2: f64,
}

/// The line that is nearest to the points `(x, y)` in height; NaN through fewer than two places.
pub fn line(points: &[(f64, f64)]) -> Line {
    let n = points.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let slope = mean(&|p| (p.0 - x) * (p.1 - y)) / mean(&|p| (p.0 - x).powi(2));
    let intercept = y - slope * x;
    let (left, all) = (mean(&|p| (p.1 - intercept - slope * p.0).powi(2)), mean(&|p| (p.1 - y).powi(2)));
    Line { slope, intercept, r2: if all > 0.0 { 1.0 - left / all } else { 1.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_least_squares_fit() {
        let exact = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert!((exact.slope - 2.0).abs() < 1e-14 && (exact.intercept - 3.0).abs() < 1e-14 && exact.r2 > 1.0 - 1e-14);
        // By hand: means 1 and 2; squares that are left 8/3 of 26/9.
        let rough = line(&[(0.0, 1.0), (1.0, 3.0 + 1.0 / 3.0), (2.0, 1.0 + 2.0 / 3.0)]);
        assert!((rough.slope - 1.0 / 3.0).abs() < 1e-14 && (rough.intercept - 5.0 / 3.0).abs() < 1e-14);
        assert!((rough.r2 - 1.0 / 13.0).abs() < 1e-14);
        assert!(line(&[(1.0, 2.0)]).slope.is_nan());
    }
}
