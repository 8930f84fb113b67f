//! The losses term by term, in closed form: value, gradient, Hessian product, Hessian root, sampler, normalisation.
//!
//! A term `t` is one datum or one position of it, with outputs `f` in R^C, a loss `l(f, y)` and a weight `w_t`; the risk
//! is `kappa sum_t w_t l_t`. The same losses as traced programs are [`autodiff::nn::Loss`]; this is what needs more than
//! their derivatives: vectors `r` with `sum r r^T` the Hessian, and random ones whose mean `g g^T` is (arXiv:2501.19183;
//! arXiv:2507.05127, sections 2 and 4). Rows hold the C outputs of one term side by side.
//!
//! Cost: O(C) a call. No `C x C` matrix is formed: a root is met column by column.

mod softmax;

pub use softmax::Root;

use crate::error::Error;
use autodiff::Input;
use autodiff::nn::{CrossEntropy, Loss};
use numerics::Scalar;
use numerics::rng::Stream;
use softmax::Softmax;

/// What one term is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a, T> {
    /// A class.
    Label(i64),
    /// C numbers: values, or probabilities.
    Row(&'a [T]),
}

/// A loss on terms with C outputs.
///
/// ```
/// use autodiff::nn::Loss;
/// use curvature::loss::{Target, TermLoss};
/// let loss = TermLoss::new(Loss::cross_entropy(), 2)?;
/// let (f, y) = ([1e3, -1e3], Target::Label(0));
/// let (mut u, mut hv) = ([0.0; 2], [0.0; 2]);
/// loss.gradient(&f, y, &mut u);
/// loss.hessian_product(&f, y, &[1.0, 2.0], &mut hv);
/// assert_eq!((loss.value(&f, y), u, hv), (0.0, [0.0; 2], [0.0; 2]));
/// # Ok::<(), curvature::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TermLoss {
    loss: Loss,
    classes: usize,
}

impl TermLoss {
    /// The loss on `classes` outputs a term.
    ///
    /// # Errors
    /// Options that do not fit that number of outputs.
    pub fn new(loss: Loss, classes: usize) -> Result<Self, Error> {
        loss.target_type(&autodiff::TensorType::real(&[1, classes]))?;
        Ok(TermLoss { loss, classes })
    }

    /// Number C of outputs of a term.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The factor `a` with `l = a c + constant`, where `c` is a negative log-likelihood.
    pub fn nll_scale(&self) -> f64 {
        if self.loss == Loss::Mse { 2.0 } else { 1.0 }
    }

    /// Whether `mean` divides by the number of outputs, not only by the number of terms.
    pub(crate) fn mean_counts_outputs(&self) -> bool {
        !matches!(self.loss, Loss::CrossEntropy(_))
    }

    /// The targets of a batch, term by term.
    pub(crate) fn targets<'a, T>(&self, targets: Input<'a, T>) -> impl Iterator<Item = Target<'a, T>> {
        let (labels, rows) = match targets {
            Input::Int(labels) => (Some(labels.iter()), None),
            Input::Real(rows) => (None, Some(rows.chunks_exact(self.classes.max(1)))),
            // Targets are batches of data, which lie row-major.
            Input::Columns(_) => (None, None),
        };
        let labels = labels.into_iter().flatten().map(|&y| Target::Label(y));
        labels.chain(rows.into_iter().flatten().map(Target::Row))
    }

    /// `w_t`: 1, or for cross-entropy the sum of its target with class weights and smoothing; 0 where ignored.
    pub fn weight<T: Scalar>(&self, y: Target<'_, T>) -> T {
        match &self.loss {
            Loss::CrossEntropy(ce) => Mixed::new(ce, self.classes, y).total(self.classes),
            _ => T::ONE,
        }
    }

    /// What the term adds to the denominator of `mean`: C for squared error and binary cross-entropy; for labels the
    /// class weight, 0 where ignored; 1 for soft targets.
    pub fn count<T: Scalar>(&self, y: Target<'_, T>) -> f64 {
        match (&self.loss, y) {
            (Loss::CrossEntropy(_), Target::Row(_)) => 1.0,
            (Loss::CrossEntropy(ce), Target::Label(_)) => {
                let plain = CrossEntropy { label_smoothing: 0.0, ..ce.clone() };
                Mixed::<T>::new(&plain, self.classes, y).total(self.classes).to_f64()
            }
            _ => self.classes as f64,
        }
    }

    /// `l_t`, without its weight; 0 where ignored.
    pub fn value<T: Scalar>(&self, f: &[T], y: Target<'_, T>) -> T {
        match &self.loss {
            Loss::Mse => (0..f.len()).map(|c| (f[c] - dense(y, c)) * (f[c] - dense(y, c))).sum(),
            Loss::CrossEntropy(ce) => {
                let mixed = Mixed::new(ce, f.len(), y);
                let total = mixed.total(f.len());
                if total == T::ZERO {
                    return T::ZERO;
                }
                let p = Softmax::new(f);
                (0..f.len()).filter(|&c| mixed.at(c) != T::ZERO).map(|c| -(mixed.at(c) / total) * p.log(f, c)).sum()
            }
            Loss::Bce { pos_weight } => (0..f.len())
                .map(|c| {
                    let (y, b) = (dense(y, c), positive::<T>(pos_weight, c));
                    b * y * softplus(-f[c]) + (T::ONE - y) * softplus(f[c])
                })
                .sum(),
        }
    }

    /// `u = grad_f l_t`, without the weight of the term; zero where ignored.
    pub fn gradient<T: Scalar>(&self, f: &[T], y: Target<'_, T>, u: &mut [T]) {
        match &self.loss {
            Loss::Mse => u.iter_mut().enumerate().for_each(|(c, u)| *u = T::from_f64(2.0) * (f[c] - dense(y, c))),
            Loss::CrossEntropy(ce) => {
                let mixed = Mixed::new(ce, f.len(), y);
                let total = mixed.total(f.len());
                if total == T::ZERO {
                    return u.fill(T::ZERO);
                }
                Softmax::new(f).minus(f, |c| mixed.at(c) / total, u);
            }
            Loss::Bce { pos_weight } => {
                for (c, u) in u.iter_mut().enumerate() {
                    let (y, b) = (dense(y, c), positive::<T>(pos_weight, c));
                    *u = (T::ONE - y) * sigmoid(f[c]) - b * y * sigmoid(-f[c]);
                }
            }
        }
    }

    /// `H_t v`, without the weight of the term. Accurate to rounding however near 1 a probability is.
    pub fn hessian_product<T: Scalar>(&self, f: &[T], y: Target<'_, T>, v: &[T], out: &mut [T]) {
        match &self.loss {
            Loss::Mse => out.iter_mut().zip(v).for_each(|(o, &v)| *o = T::from_f64(2.0) * v),
            Loss::CrossEntropy(_) => Softmax::new(f).hessian_product(f, v, out),
            Loss::Bce { .. } => {
                for (c, o) in out.iter_mut().enumerate() {
                    *o = self.logistic_curvature(f, y, c) * v[c];
                }
            }
        }
    }

    /// Number of columns of a root `R` with `R R^T = H_t`: C, for cross-entropy C - 1.
    pub fn root_columns(&self) -> usize {
        match self.loss {
            Loss::CrossEntropy(_) => self.classes.saturating_sub(1),
            _ => self.classes,
        }
    }

    /// Column `j` of the root; `root` keeps what the columns of one term share and must be [`TermLoss::prepare`]d.
    pub fn root_column<T: Scalar>(&self, root: &Root<T>, j: usize, out: &mut [T]) {
        match self.loss {
            Loss::CrossEntropy(_) => root.triangular(j, out),
            _ => root.diagonal(j, out),
        }
    }

    /// Makes `root` that of the term with outputs `f`.
    pub fn prepare<T: Scalar>(&self, f: &[T], y: Target<'_, T>, root: &mut Root<T>) {
        match &self.loss {
            Loss::Mse => root.set_diagonal((0..f.len()).map(|_| T::from_f64(2.0))),
            Loss::CrossEntropy(_) => root.set_softmax(f),
            Loss::Bce { .. } => root.set_diagonal((0..f.len()).map(|c| self.logistic_curvature(f, y, c))),
        }
    }

    /// A random `g` with mean zero and `E[g g^T] = H_t`: the gradient for a target drawn from the model's own
    /// distribution. The numbers drawn do not depend on the term, so that a stream stays in step over ignored ones.
    pub fn sample<T: Scalar>(&self, f: &[T], y: Target<'_, T>, stream: &mut Stream, g: &mut [T]) {
        match &self.loss {
            Loss::Mse => g.iter_mut().for_each(|g| *g = T::from_f64(std::f64::consts::SQRT_2 * stream.normal())),
            Loss::CrossEntropy(_) => {
                let p = Softmax::new(f);
                let drawn = p.draw(f, stream.uniform());
                p.minus(f, |c| if c == drawn { T::ONE } else { T::ZERO }, g);
            }
            Loss::Bce { pos_weight } => {
                for (c, g) in g.iter_mut().enumerate() {
                    let one = stream.uniform() < sigmoid(f[c].to_f64());
                    let scale = spread(dense(y, c), positive::<T>(pos_weight, c)).sqrt();
                    *g = scale * if one { -sigmoid(-f[c]) } else { sigmoid(f[c]) };
                }
            }
        }
    }

    /// `s (1 - s) (1 + (b - 1) y)`.
    fn logistic_curvature<T: Scalar>(&self, f: &[T], y: Target<'_, T>, c: usize) -> T {
        let b = match &self.loss {
            Loss::Bce { pos_weight } => positive(pos_weight, c),
            _ => T::ONE,
        };
        sigmoid(f[c]) * sigmoid(-f[c]) * spread(dense(y, c), b)
    }
}

/// `1 + (b - 1) y`.
fn spread<T: Scalar>(y: T, b: T) -> T {
    T::ONE + (b - T::ONE) * y
}

fn positive<T: Scalar>(weights: &Option<Vec<f64>>, c: usize) -> T {
    weights.as_ref().map_or(T::ONE, |b| T::from_f64(b[c]))
}

/// Entry `c` of the target as a row.
fn dense<T: Scalar>(y: Target<'_, T>, c: usize) -> T {
    match y {
        Target::Row(row) => row[c],
        Target::Label(label) => T::from_f64(f64::from(u8::from(label == c as i64))),
    }
}

fn sigmoid<T: Scalar>(x: T) -> T {
    if x >= T::ZERO {
        T::ONE / (T::ONE + (-x).exp())
    } else {
        let e = x.exp();
        e / (T::ONE + e)
    }
}

fn softplus<T: Scalar>(x: T) -> T {
    x.max(T::ZERO) + (-x.abs()).exp().ln_1p()
}

/// The target of cross-entropy with everything in it: `a_c ((1 - e) q_c + e / C)`, zero where ignored.
struct Mixed<'a, T> {
    weights: Option<&'a [f64]>,
    keep: T,
    floor: T,
    target: Target<'a, T>,
}

impl<'a, T: Scalar> Mixed<'a, T> {
    fn new(ce: &'a CrossEntropy, classes: usize, target: Target<'a, T>) -> Self {
        let ignored = match target {
            Target::Label(y) => y == ce.ignore_index || usize::try_from(y).is_ok_and(|y| y >= classes),
            Target::Row(_) => false,
        };
        let (keep, floor) =
            if ignored { (0.0, 0.0) } else { (1.0 - ce.label_smoothing, ce.label_smoothing / classes as f64) };
        Mixed { weights: ce.class_weights.as_deref(), keep: T::from_f64(keep), floor: T::from_f64(floor), target }
    }

    fn at(&self, c: usize) -> T {
        let a = self.weights.map_or(T::ONE, |a| T::from_f64(a[c]));
        a * (self.keep * dense(self.target, c) + self.floor)
    }

    fn total(&self, classes: usize) -> T {
        match self.target {
            // A label without smoothing is one entry.
            Target::Label(y) if self.floor == T::ZERO => {
                usize::try_from(y).ok().filter(|&y| y < classes).map_or(T::ZERO, |y| self.at(y))
            }
            _ => (0..classes).map(|c| self.at(c)).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
