//! Test problems: functions of a vector for gradient-free search, functions of a definite matrix.
//!
//! Functions are the usual benchmark set (sphere, ellipsoid of condition 1e6, cigar, Rosenbrock, Ackley), plain or in a
//! basis turned by one fixed orthogonal matrix; all have the minimum 0. Matrix problems: log-det,
//! `l(S) = Tr(S Q) - log det S`, whose affine-invariant Hessian at the optimum is the identity whatever the condition of `Q`,
//! and metric nearness, `l(S) = (1/2N) sum |S Q x_i - x_i|^2`; both are minimised by the inverse of `Q`. A source of
//! symbols, for small language models: [`MarkovSource`].

mod markov;

pub use markov::MarkovSource;

use crate::Error;
use crate::error::{check, check_len};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, Par, dense};
use serde::{Deserialize, Serialize};

/// A benchmark function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// `sum x_i^2`.
    Sphere,
    /// `sum 10^(6 (i - 1)/(D - 1)) x_i^2`.
    Ellipsoid,
    /// `x_1^2 + 1e6 sum_{i > 1} x_i^2`.
    Cigar,
    /// `sum 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2`.
    Rosenbrock,
    /// Many shallow local minima around one deep one.
    Ackley,
}

/// A function of a vector, possibly in a turned basis.
#[derive(Clone, Debug)]
pub struct Problem {
    function: Function,
    dim: usize,
    basis: Option<Mat<f64>>,
}

impl Problem {
    /// The function in the plain basis.
    ///
    /// # Errors
    /// If `dim` is 0, or below 2 for a function that needs two coordinates.
    pub fn new(function: Function, dim: usize) -> Result<Self, Error> {
        let least = if matches!(function, Function::Sphere | Function::Ackley) { 1 } else { 2 };
        check(dim >= least, "dim", dim as f64, "large enough for this function")?;
        Ok(Problem { function, dim, basis: None })
    }

    /// In a basis drawn by `seed`.
    ///
    /// # Errors
    /// None at sensible sizes.
    pub fn rotated(mut self, seed: u64) -> Result<Self, Error> {
        self.basis = Some(orthogonal(self.dim, seed)?);
        Ok(self)
    }

    /// Number of coordinates.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Where searches start: 3 in every coordinate, 0 for Rosenbrock's function.
    pub fn start(&self) -> Vec<f64> {
        vec![if self.function == Function::Rosenbrock { 0.0 } else { 3.0 }; self.dim]
    }

    /// Value at a point; NaN if the length is not [`Problem::dim`].
    ///
    /// ```
    /// use optim::problems::{Function, Problem};
    /// let p = Problem::new(Function::Rosenbrock, 3)?;
    /// assert_eq!(p.value(&[1.0; 3]), 0.0);
    /// # Ok::<(), optim::Error>(())
    /// ```
    pub fn value(&self, x: &[f64]) -> f64 {
        if x.len() != self.dim {
            return f64::NAN;
        }
        match &self.basis {
            None => plain(self.function, x),
            Some(q) => {
                let turned: Vec<f64> = (0..self.dim).map(|i| (0..self.dim).map(|j| q[(i, j)] * x[j]).sum()).collect();
                plain(self.function, &turned)
            }
        }
    }
}

fn plain(function: Function, x: &[f64]) -> f64 {
    let n = x.len() as f64;
    match function {
        Function::Sphere => x.iter().map(|x| x * x).sum(),
        Function::Ellipsoid => x.iter().enumerate().map(|(i, x)| 10f64.powf(6.0 * i as f64 / (n - 1.0)) * x * x).sum(),
        Function::Cigar => x[0] * x[0] + 1e6 * x[1..].iter().map(|x| x * x).sum::<f64>(),
        Function::Rosenbrock => x.windows(2).map(|w| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2)).sum(),
        Function::Ackley => {
            let squares = x.iter().map(|x| x * x).sum::<f64>() / n;
            let waves = x.iter().map(|x| (2.0 * core::f64::consts::PI * x).cos()).sum::<f64>() / n;
            -20.0 * (-0.2 * squares.sqrt()).exp() - waves.exp() + 20.0 + core::f64::consts::E
        }
    }
}

/// A uniformly drawn orthogonal matrix.
pub(crate) fn orthogonal(n: usize, seed: u64) -> Result<Mat<f64>, Error> {
    let mut s = Stream::new(seed, Role::SyntheticMatrix, 0, 0);
    let g = Mat::from_fn(n, n, |_, _| s.normal());
    let f = dense::qr(g.as_ref())?;
    Ok(Mat::from_fn(n, n, |i, j| if f.r[(j, j)] < 0.0 { -f.q[(i, j)] } else { f.q[(i, j)] }))
}

/// A loss over symmetric positive definite matrices.
#[derive(Clone, Debug)]
pub struct SpdProblem {
    q: Mat<f64>,
    kind: SpdKind,
}

#[derive(Clone, Debug)]
enum SpdKind {
    LogDet {
        logdet: f64,
    },
    /// Second moment of the points.
    Nearness {
        moment: Mat<f64>,
    },
}

impl SpdProblem {
    /// `l(S) = Tr(S Q) - log det S`; `Q` has `n` log-spaced eigenvalues from `condition^-1/2` to `condition^1/2`.
    ///
    /// # Errors
    /// Unless `n` and `condition` are at least 1.
    pub fn log_det(n: usize, condition: f64, seed: u64) -> Result<Self, Error> {
        let q = spread(n, condition, seed)?;
        let logdet = dense::Llt::new(q.as_ref(), Par::Seq)?.logdet();
        Ok(SpdProblem { q, kind: SpdKind::LogDet { logdet } })
    }

    /// `l(S) = (1/2N) sum |S Q x_i - x_i|^2` over `points` standard normal vectors.
    ///
    /// # Errors
    /// As [`SpdProblem::log_det`], and without points.
    pub fn nearness(n: usize, condition: f64, points: usize, seed: u64) -> Result<Self, Error> {
        check(points > 0, "points", points as f64, "at least 1")?;
        let q = spread(n, condition, seed)?;
        let mut s = Stream::new(seed, Role::SyntheticMatrix, 1, 0);
        let x = Mat::from_fn(n, points, |_, _| s.normal());
        let mut moment = Mat::zeros(n, n);
        dense::syrk(moment.as_mut(), 1.0 / points as f64, x.as_ref(), 0.0, Par::Seq);
        dense::mirror_lower(moment.as_mut());
        Ok(SpdProblem { q, kind: SpdKind::Nearness { moment } })
    }

    /// Order of the matrices.
    pub fn order(&self) -> usize {
        self.q.nrows()
    }

    /// The matrix whose inverse is the solution.
    pub fn q(&self) -> MatRef<'_, f64> {
        self.q.as_ref()
    }

    /// Distance of the loss from its minimum, and the gradient.
    ///
    /// # Errors
    /// A shape that does not fit, or a matrix that is not positive definite.
    pub fn excess_and_gradient(&self, s: MatRef<'_, f64>) -> Result<(f64, Mat<f64>), Error> {
        let n = self.order();
        check_len("rows", n, s.nrows())?;
        check_len("columns", n, s.ncols())?;
        match &self.kind {
            SpdKind::LogDet { logdet } => {
                let llt = dense::Llt::new(s, Par::Seq)?;
                let product = s * &self.q;
                let trace: f64 = (0..n).map(|i| product[(i, i)]).sum();
                // The minimum is n + log det Q.
                let excess = trace - llt.logdet() - (n as f64 + logdet);
                Ok((excess, &self.q - llt.inverse()))
            }
            SpdKind::Nearness { moment } => {
                let residual = s * &self.q - Mat::<f64>::identity(n, n);
                let weighted = &residual * moment;
                let value: f64 = (0..n).map(|i| (0..n).map(|j| weighted[(i, j)] * residual[(i, j)]).sum::<f64>()).sum();
                let mut gradient = weighted * &self.q;
                dense::symmetrize(gradient.as_mut());
                Ok((0.5 * value, gradient))
            }
        }
    }
}

impl SpdProblem {
    /// The gradient of a mini-batch: `Q` as seen through `batch` vectors of covariance `Q` for log-det, the mean over `batch` new
    /// points for nearness. Its expectation is the gradient (for nearness, that of infinitely many points).
    ///
    /// # Errors
    /// As [`SpdProblem::excess_and_gradient`], and an empty batch.
    pub fn sampled_gradient(&self, s: MatRef<'_, f64>, batch: usize, stream: &mut Stream) -> Result<Mat<f64>, Error> {
        let n = self.order();
        check_len("rows", n, s.nrows())?;
        check_len("columns", n, s.ncols())?;
        check(batch > 0, "batch", batch as f64, "at least 1")?;
        let x = Mat::from_fn(n, batch, |_, _| stream.normal());
        let mut moment = Mat::zeros(n, n);
        dense::syrk(moment.as_mut(), 1.0 / batch as f64, x.as_ref(), 0.0, Par::Seq);
        dense::mirror_lower(moment.as_mut());
        match self.kind {
            SpdKind::LogDet { .. } => {
                let root = dense::apply_spectral(&dense::eigh(self.q())?, f64::sqrt, Par::Seq);
                let mut gradient = &root * moment * &root - dense::Llt::new(s, Par::Seq)?.inverse();
                dense::symmetrize(gradient.as_mut());
                Ok(gradient)
            }
            SpdKind::Nearness { .. } => {
                let mut gradient = (s * &self.q - Mat::<f64>::identity(n, n)) * moment * &self.q;
                dense::symmetrize(gradient.as_mut());
                Ok(gradient)
            }
        }
    }
}

fn spread(n: usize, condition: f64, seed: u64) -> Result<Mat<f64>, Error> {
    check(n > 0, "n", n as f64, "at least 1")?;
    check(condition >= 1.0 && condition.is_finite(), "condition", condition, "finite and at least 1")?;
    let u = orthogonal(n, seed)?;
    let step = if n > 1 { 1.0 / (n - 1) as f64 } else { 0.0 };
    let values: Vec<f64> = (0..n).map(|i| condition.powf(i as f64 * step - 0.5)).collect();
    let e = dense::Eigh { values, vectors: u };
    let mut q = dense::apply_spectral(&e, |l| l, Par::Seq);
    dense::symmetrize(q.as_mut());
    Ok(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minima_are_zero_and_rotations_keep_the_sphere() {
        for f in [Function::Sphere, Function::Ellipsoid, Function::Cigar, Function::Ackley] {
            let p = Problem::new(f, 5).unwrap();
            assert!(p.value(&[0.0; 5]).abs() < 1e-14, "{f:?}");
            assert!(p.value(&p.start()) > 1.0);
            assert!(p.value(&[0.0; 4]).is_nan());
        }
        let (plain, turned) = (
            Problem::new(Function::Sphere, 6).unwrap(),
            Problem::new(Function::Sphere, 6).unwrap().rotated(3).unwrap(),
        );
        let x = [1.0, -2.0, 0.3, 4.0, 0.0, 1.0];
        assert!((plain.value(&x) - turned.value(&x)).abs() < 1e-13);
        assert!(Problem::new(Function::Rosenbrock, 1).is_err() && Problem::new(Function::Sphere, 0).is_err());
    }

    /// Gradients by central differences, and zero at the solution.
    #[test]
    fn matrix_gradients() {
        for p in [SpdProblem::log_det(4, 10.0, 1).unwrap(), SpdProblem::nearness(4, 10.0, 50, 1).unwrap()] {
            let inverse = dense::Llt::new(p.q(), Par::Seq).unwrap().inverse();
            let (excess, gradient) = p.excess_and_gradient(inverse.as_ref()).unwrap();
            assert!(excess.abs() < 1e-12 && gradient.norm_max() < 1e-12);
            let s = Mat::from_fn(4, 4, |i, j| if i == j { 2.0 } else { 0.3 });
            let (_, gradient) = p.excess_and_gradient(s.as_ref()).unwrap();
            for (i, j) in [(0, 0), (2, 1), (3, 0)] {
                let at = |h: f64| {
                    let mut s = s.clone();
                    s[(i, j)] += h;
                    s[(j, i)] = s[(i, j)];
                    p.excess_and_gradient(s.as_ref()).unwrap().0
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                let expected = if i == j { gradient[(i, j)] } else { 2.0 * gradient[(i, j)] };
                assert!((slope - expected).abs() < 1e-7, "{slope} {expected}");
            }
        }
        // Mini-batches average to the gradient, with an error of one over the root of their number.
        for p in [SpdProblem::log_det(3, 10.0, 1).unwrap(), SpdProblem::nearness(3, 10.0, 100_000, 1).unwrap()] {
            let s = Mat::from_fn(3, 3, |i, j| if i == j { 1.5 } else { 0.2 });
            let expected = p.excess_and_gradient(s.as_ref()).unwrap().1;
            let mut stream = Stream::new(5, Role::TestProbe, 0, 0);
            let mut mean = Mat::<f64>::zeros(3, 3);
            for _ in 0..2000 {
                let mut one = p.sampled_gradient(s.as_ref(), 20, &mut stream).unwrap();
                dense::scale(one.as_mut(), 1.0 / 2000.0);
                mean += one;
            }
            let error = (&mean - &expected).norm_max() / expected.norm_max();
            assert!(error < 0.05, "{error}");
            assert!(p.sampled_gradient(s.as_ref(), 0, &mut stream).is_err());
        }
        assert!(SpdProblem::log_det(0, 10.0, 1).is_err() && SpdProblem::log_det(3, 0.5, 1).is_err());
        assert!(SpdProblem::nearness(3, 10.0, 0, 1).is_err());
    }
}
