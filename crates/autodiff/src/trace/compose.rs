//! Compositions of primitives that models are written with: activations, softmax, normalisation.
//!
//! Those with a name of their own in the literature are named sub-programs; see [`Tracer::named`](super::Tracer::named).

use super::Tensor;
use std::panic::Location;

impl Tensor {
    /// A function of this tensor as a named sub-program that comes from the caller's line.
    #[track_caller]
    fn composed(&self, name: &str, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        self.composed_with(name, &[], |x| f(&x[0]))
    }

    /// The same of this tensor and others.
    #[track_caller]
    pub(crate) fn composed_with(&self, name: &str, others: &[&Tensor], f: impl FnOnce(&[Tensor]) -> Tensor) -> Tensor {
        let at = Location::caller();
        let inputs: Vec<&Tensor> = std::iter::once(self).chain(others.iter().copied()).collect();
        self.tracer.sub_program(name, &inputs, Some(at), at, |_, x| vec![("out", f(x))]).swap_remove(0)
    }

    /// Mean over axes.
    #[track_caller]
    #[must_use]
    pub fn mean(&self, axes: &[usize]) -> Tensor {
        let shape = self.shape();
        let n: usize = axes.iter().map(|&a| shape.get(a).copied().unwrap_or(1)).product();
        self.sum(axes) * (1.0 / n as f64)
    }

    /// `x sigmoid(x)`.
    #[track_caller]
    #[must_use]
    pub fn silu(&self) -> Tensor {
        self.composed("silu", |x| x * x.sigmoid())
    }

    /// `x Phi(x)` with the normal distribution function, accurate in the negative tail.
    #[track_caller]
    #[must_use]
    pub fn gelu(&self) -> Tensor {
        self.composed("gelu", |x| x * ((x * -std::f64::consts::FRAC_1_SQRT_2).erfc() * 0.5))
    }

    /// The tanh form of GELU, as `x sigmoid(2 c (x + 0.044715 x^3))`, which does not cancel.
    #[track_caller]
    #[must_use]
    pub fn gelu_tanh(&self) -> Tensor {
        let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
        self.composed("gelu_tanh", |x| {
            let inner = x * c + x.powf(3.0) * (0.044_715 * c);
            x * inner.sigmoid()
        })
    }

    /// `x` where positive, else `slope x`; slope at 0 is `slope`.
    #[track_caller]
    #[must_use]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.step().select(self, &(self * slope))
    }

    /// `x` where positive, else `alpha (e^x - 1)`.
    #[track_caller]
    #[must_use]
    pub fn elu(&self, alpha: f64) -> Tensor {
        // The exponential sees no positive argument, so that the branch not taken stays finite.
        let positive = self.step();
        let zero = self.tracer().full(&self.shape(), 0.0);
        let negative = positive.select(&zero, self).exp_m1() * alpha;
        positive.select(self, &negative)
    }

    /// `ln(1 + e^(beta x)) / beta`.
    #[track_caller]
    #[must_use]
    pub fn softplus_beta(&self, beta: f64) -> Tensor {
        (self * beta).softplus() * (1.0 / beta)
    }

    /// The maximum over the last axis, the differences from it, and the sum of `e^difference` over all but the winner.
    ///
    /// The winner's difference is exactly 0 in every derivative, and the others enter through `1 + ..`: so neither
    /// `p - e_y` nor `p v - p (p . v)` is ever formed as a difference of numbers near 1, however sure the softmax is.
    #[track_caller]
    fn centred(&self, last: usize) -> (Tensor, Tensor, Tensor) {
        let shape = self.shape();
        let top = self.max(&[last]);
        let winner = self.argmax().one_hot(shape.get(last).copied().unwrap_or(1));
        let zero = self.tracer().full(&shape, 0.0);
        let shifted = winner.select(&zero, &(self - top.unsqueeze(last)));
        let rest = winner.select(&zero, &shifted.exp()).sum(&[last]);
        (top, shifted, rest)
    }

    /// `ln sum e^x` over the last axis, which vanishes; the maximum is taken out first. Its derivatives keep their digits
    /// when one term outweighs all others.
    #[track_caller]
    #[must_use]
    pub fn logsumexp(&self) -> Tensor {
        let Some(last) = self.rank().checked_sub(1) else { return self.clone() };
        self.composed("logsumexp", |x| {
            let (top, _, rest) = x.centred(last);
            top + rest.ln_1p()
        })
    }

    /// `x - logsumexp(x)` over the last axis. Its derivatives keep their digits when one term outweighs all others.
    #[track_caller]
    #[must_use]
    pub fn log_softmax(&self) -> Tensor {
        let Some(last) = self.rank().checked_sub(1) else { return self * 0.0 };
        self.composed("log_softmax", |x| {
            let (_, shifted, rest) = x.centred(last);
            shifted - rest.ln_1p().unsqueeze(last)
        })
    }

    /// Softmax over the last axis. Its derivatives keep their digits when one term outweighs all others.
    #[track_caller]
    #[must_use]
    pub fn softmax(&self) -> Tensor {
        let Some(last) = self.rank().checked_sub(1) else { return self.tracer().scalar(1.0) };
        self.composed("softmax", |x| {
            let (_, shifted, rest) = x.centred(last);
            shifted.exp() / (rest + 1.0).unsqueeze(last)
        })
    }

    /// `(x - mean) / sqrt(variance + eps)` over the last `axes` axes; the variance is the population's.
    #[track_caller]
    #[must_use]
    pub fn normalize(&self, axes: usize, eps: f64) -> Tensor {
        let shape = self.shape();
        let first = shape.len().saturating_sub(axes);
        let over: Vec<usize> = (first..shape.len()).collect();
        let mut kept = shape.clone();
        over.iter().for_each(|&a| kept[a] = 1);
        self.composed("normalize", |x| {
            let centred = x - x.mean(&over).reshape(&kept);
            let variance = (&centred * &centred).mean(&over).reshape(&kept);
            centred * (variance + eps).powf(-0.5)
        })
    }

    /// A new axis of size one.
    #[track_caller]
    #[must_use]
    pub fn unsqueeze(&self, axis: usize) -> Tensor {
        let mut shape = self.shape();
        shape.insert(axis.min(shape.len()), 1);
        self.reshape(&shape)
    }
}
