//! A source of symbols whose law is known: order two, transition rows drawn from a symmetric Dirichlet law.
//!
//! A language model can be judged by how far its loss lies above the entropy rate, which no model can beat. The published
//! comparison of optimisers on it has 32 symbols and concentration 0.15: few likely successors of each pair, and no
//! structure that is shared between pairs.

use crate::Error;
use crate::error::check;
use numerics::rng::{Role, Stream};

/// Symbols drawn before the first that counts.
const BURN_IN: usize = 50;

/// An order-two source.
///
/// ```
/// use optim::problems::MarkovSource;
/// let source = MarkovSource::new(8, 0.15, 0)?;
/// let windows = source.windows(100, 3, 10, 1);
/// assert_eq!(windows.len(), 100 * 3);
/// assert!(windows.iter().all(|&s| s < 8) && source.entropy_rate() < 8f64.ln());
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MarkovSource {
    symbols: usize,
    seed: u64,
    /// Row `a * symbols + b`: the law of what follows `a`, `b`.
    rows: Vec<Vec<f64>>,
}

impl MarkovSource {
    /// Rows from a Dirichlet law with this concentration in every coordinate, decided by `seed`.
    ///
    /// # Errors
    /// Fewer than 2 symbols or more than 512; a concentration outside `[0.01, 1000]`.
    pub fn new(symbols: usize, concentration: f64, seed: u64) -> Result<Self, Error> {
        check((2..=512).contains(&symbols), "symbols", symbols as f64, "from 2 to 512")?;
        check((0.01..=1e3).contains(&concentration), "concentration", concentration, "from 0.01 to 1000")?;
        let mut stream = Stream::new(seed, Role::SyntheticMatrix, 0, 0);
        let mut row = || {
            let draws: Vec<f64> = (0..symbols).map(|_| gamma(concentration, &mut stream)).collect();
            let sum: f64 = draws.iter().sum();
            draws.iter().map(|g| g / sum).collect()
        };
        Ok(MarkovSource { symbols, seed, rows: (0..symbols * symbols).map(|_| row()).collect() })
    }

    /// Number of symbols.
    pub fn symbols(&self) -> usize {
        self.symbols
    }

    /// Nats per symbol: the mean entropy of the rows under the stationary law of pairs, by power iteration.
    pub fn entropy_rate(&self) -> f64 {
        let n = self.symbols;
        let mut law = vec![1.0 / self.rows.len() as f64; self.rows.len()];
        for _ in 0..10_000 {
            let mut next = vec![0.0; law.len()];
            for (pair, row) in self.rows.iter().enumerate() {
                let to = &mut next[pair % n * n..][..n];
                to.iter_mut().zip(row).for_each(|(to, p)| *to += law[pair] * p);
            }
            let change: f64 = next.iter().zip(&law).map(|(a, b)| (a - b).abs()).sum();
            law = next;
            if change < 1e-13 {
                break;
            }
        }
        let entropy = |row: &Vec<f64>| -row.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        law.iter().zip(&self.rows).map(|(w, row)| w * entropy(row)).sum()
    }

    /// At least `count` windows of `length` symbols, one after the other, rounded up to the same number from each of `streams`
    /// independent streams; a window begins at every symbol of its stream. Other `part`s are other streams.
    pub fn windows(&self, count: usize, length: usize, streams: usize, part: u64) -> Vec<usize> {
        let (n, each) = (self.symbols, count.div_ceil(streams.max(1)));
        let stream = |k: usize| {
            let mut s = Stream::new(self.seed, Role::TestProbe, part, k as u64);
            let mut x = vec![s.below(n as u64) as usize, s.below(n as u64) as usize];
            for t in 2..BURN_IN + each + length.saturating_sub(1) {
                x.push(draw(&self.rows[x[t - 2] * n + x[t - 1]], s.uniform()));
            }
            x[BURN_IN..].windows(length.max(1)).flatten().copied().collect::<Vec<_>>()
        };
        (0..streams.max(1)).flat_map(stream).collect()
    }
}

/// Marsaglia and Tsang, with the power trick for shapes below one.
fn gamma(shape: f64, s: &mut Stream) -> f64 {
    let boost = s.uniform().powf(shape.recip());
    let (d, c) = (shape + 2.0 / 3.0, (9.0 * (shape + 2.0 / 3.0)).sqrt().recip());
    loop {
        let x = s.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && s.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v * boost;
        }
    }
}

fn draw(row: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let found = row.iter().position(|p| {
        sum += p;
        u < sum
    });
    found.unwrap_or(row.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empirical entropy of what follows a pair is the entropy rate, for a source that is seen often enough.
    #[test]
    fn windows_follow_the_rows() {
        let source = MarkovSource::new(3, 0.5, 4).unwrap();
        let windows = source.windows(60_000, 3, 8, 1);
        assert_eq!(windows.len() / 3, 60_000);
        let mut counts = vec![[0.0; 3]; 9];
        windows.chunks_exact(3).for_each(|w| counts[w[0] * 3 + w[1]][w[2]] += 1.0);
        let mut entropy = 0.0;
        for (counts, row) in counts.iter().zip(&source.rows) {
            let sum: f64 = counts.iter().sum();
            for (c, p) in counts.iter().zip(row) {
                // Five standard deviations of a share.
                assert!((c / sum - p).abs() < 5.0 * (p * (1.0 - p) / sum).sqrt() + 1e-12, "{c} of {sum}, {p}");
                entropy -= if *c > 0.0 { c / 60_000.0 * (c / sum).ln() } else { 0.0 };
            }
        }
        assert!((entropy / source.entropy_rate() - 1.0).abs() < 0.02, "{entropy} {}", source.entropy_rate());
        // Neighbouring windows of one stream overlap.
        assert_eq!(windows[1..3], windows[3..5]);
        assert_ne!(source.windows(90, 3, 8, 2), source.windows(90, 3, 8, 1));
    }

    /// `Gamma(a)` has mean and variance `a`.
    #[test]
    fn gamma_has_its_moments() {
        let mut s = Stream::new(3, Role::TestProbe, 0, 0);
        for shape in [0.15, 2.5] {
            let n = 40_000;
            let x: Vec<f64> = (0..n).map(|_| gamma(shape, &mut s)).collect();
            let mean = x.iter().sum::<f64>() / f64::from(n);
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            assert!((mean / shape - 1.0).abs() < 0.07 && (variance / shape - 1.0).abs() < 0.2, "{mean} {variance}");
        }
    }

    #[test]
    fn a_certain_source_has_no_entropy_and_bad_numbers_are_named() {
        let source = MarkovSource { symbols: 2, seed: 0, rows: vec![vec![0.0, 1.0]; 4] };
        assert_eq!(source.entropy_rate(), 0.0);
        assert!(source.windows(5, 2, 1, 0).iter().all(|&s| s == 1));
        let e = MarkovSource::new(1, 0.15, 0).unwrap_err().to_string();
        assert!(e.contains("symbols"), "{e}");
        assert!(MarkovSource::new(600, 0.15, 0).is_err() && MarkovSource::new(3, f64::NAN, 0).is_err());
    }
}
