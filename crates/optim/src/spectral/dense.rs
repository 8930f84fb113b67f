//! One matrix in factorised form: it learns curvature, and it minimises losses over definite matrices.

use super::{EigenvalueRule, Increment, SpectralRules, Turner, grow};
use crate::Error;
use crate::error::{check, check_len};
use crate::kron_engine::modes::{square, square_mut};
use numerics::dense::{self, Llt};
use numerics::store::{State, Tensor};
use numerics::{Mat, MatRef, Par, Scalar};

const KIND: &str = "spectral-matrix";
const VERSION: u32 = 1;

/// `S = B diag(d) B^T`, always positive definite, with any root for the price of a power.
///
/// ```
/// use numerics::{Mat, Par};
/// use optim::spectral::{SpectralMatrix, SpectralRules};
/// let mut s = SpectralMatrix::<f64>::new(2, 1.0, SpectralRules::default())?;
/// let q = Mat::from_fn(2, 2, |i, j| if i == j { 2.0 } else { 1.0 });
/// for _ in 0..400 {
///     s.learn(q.as_ref(), 0.1, 1.0, 0.0, Par::Seq)?; // S <- 0.9 S + 0.1 Q, up to second order
/// }
/// assert!((s.to_dense(Par::Seq) - &q).norm_max() < 1e-10);
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralMatrix<T: Scalar> {
    n: usize,
    rules: SpectralRules,
    b: Vec<T>,
    d: Vec<T>,
    steps: u64,
    a: Vec<T>,
    half: Mat<T>,
    u: Mat<T>,
    old_d: Vec<T>,
    turner: Turner<T>,
}

impl<T: Scalar> SpectralMatrix<T> {
    /// `scale` times the identity.
    ///
    /// # Errors
    /// Unless `scale` is positive and finite.
    pub fn new(n: usize, scale: f64, rules: SpectralRules) -> Result<Self, Error> {
        check(scale > 0.0 && scale.is_finite(), "scale", scale, "positive and finite")?;
        let mut b = vec![T::ZERO; n * n];
        b.iter_mut().step_by(n + 1).for_each(|x| *x = T::ONE);
        let empty = || Mat::zeros(n, n);
        Ok(SpectralMatrix {
            n,
            rules,
            b,
            d: vec![T::from_f64(scale); n],
            steps: 0,
            a: vec![T::ZERO; n],
            half: empty(),
            u: empty(),
            old_d: vec![T::ZERO; n],
            turner: Turner::new(n, rules.cayley),
        })
    }

    /// From a basis, orthogonal to about `1e-6`, and positive eigenvalues.
    ///
    /// # Errors
    /// If shapes or numbers are not so.
    pub fn from_parts(basis: MatRef<'_, T>, eigenvalues: &[T], rules: SpectralRules) -> Result<Self, Error> {
        let n = eigenvalues.len();
        check_len("rows of the basis", n, basis.nrows())?;
        check_len("columns of the basis", n, basis.ncols())?;
        for &d in eigenvalues {
            check(d > T::ZERO && d.is_finite(), "eigenvalue", d.to_f64(), "positive and finite")?;
        }
        let mut new = SpectralMatrix::new(n, 1.0, rules)?;
        dense::copy(square_mut(&mut new.b, n), basis);
        new.d.copy_from_slice(eigenvalues);
        let defect = new.orthogonality_defect(Par::Seq);
        check(defect < 1e-6, "orthogonality defect of the basis", defect, "below 1e-6")?;
        Ok(new)
    }

    /// Order of the matrix.
    pub fn order(&self) -> usize {
        self.n
    }

    /// The basis, one eigenvector per column.
    pub fn basis(&self) -> MatRef<'_, T> {
        square(&self.b, self.n)
    }

    /// Eigenvalues, in the order of the basis; they are not sorted.
    pub fn eigenvalues(&self) -> &[T] {
        &self.d
    }

    /// `|B^T B - I|_F`.
    pub fn orthogonality_defect(&self, par: Par) -> f64 {
        let mut gram = Mat::<T>::zeros(self.n, self.n);
        dense::gemm(gram.as_mut(), T::ONE, self.basis().transpose(), self.basis(), T::ZERO, par);
        crate::roots::add_to_diagonal(gram.as_mut(), -T::ONE);
        dense::norm_l2(gram.as_ref()).to_f64()
    }

    /// `S` itself.
    pub fn to_dense(&self, par: Par) -> Mat<T> {
        self.power(T::ONE, par)
    }

    /// `S^e` for any real `e`.
    pub fn power(&self, e: T, par: Par) -> Mat<T> {
        let powers: Vec<T> = self.d.iter().map(|&d| d.powf(e)).collect();
        let scaled = Mat::from_fn(self.n, self.n, |i, j| self.b[i * self.n + j] * powers[j]);
        let mut out = Mat::zeros(self.n, self.n);
        dense::gemm(out.as_mut(), T::ONE, scaled.as_ref(), self.basis().transpose(), T::ZERO, par);
        dense::symmetrize(out.as_mut());
        out
    }

    /// Projects a symmetric matrix on the basis, into `self.u`, of which the lower triangle is what is read.
    fn project(&mut self, q: MatRef<'_, T>, par: Par) -> Result<(), Error> {
        check_len("rows", self.n, q.nrows())?;
        check_len("columns", self.n, q.ncols())?;
        if !dense::is_all_finite(q) {
            return Err(numerics::Error::NotFinite { op: "spectral step", operand: "the matrix" }.into());
        }
        let b = square(&self.b, self.n);
        dense::gemm(self.half.as_mut(), T::ONE, q, b, T::ZERO, par);
        dense::gemm_lower(self.u.as_mut(), T::ONE, b.transpose(), self.half.as_ref(), par);
        Ok(())
    }

    /// One curvature step: `S <- (1 - step gamma) S + step (q + damping I)` to first order in `step`.
    ///
    /// # Errors
    /// Shapes or numbers that do not fit, settings out of range; then nothing has changed.
    pub fn learn(&mut self, q: MatRef<'_, T>, step: f64, gamma: f64, damping: f64, par: Par) -> Result<(), Error> {
        check(step >= 0.0 && step.is_finite(), "step", step, "finite and at least 0")?;
        check((0.0..=1.0).contains(&gamma), "gamma", gamma, "in [0, 1]")?;
        check(damping >= 0.0 && damping.is_finite(), "damping", damping, "finite and at least 0")?;
        self.project(q, par)?;
        let (beta, gamma, damping) = (T::from_f64(step), T::from_f64(gamma), T::from_f64(damping));
        for (i, (a, &d)) in self.a.iter_mut().zip(&self.d).enumerate() {
            self.u[(i, i)] += damping;
            *a = (T::ONE - beta * gamma) * d + beta * self.u[(i, i)];
        }
        self.turn(|u, _, _| beta * u, par)?;
        for (i, d) in self.d.iter_mut().enumerate() {
            let x = beta * (self.u[(i, i)] / *d - gamma);
            *d = positive(*d * grow(self.rules.eigenvalues, x));
        }
        Ok(())
    }

    /// One step of Riemannian gradient descent on a loss with symmetric gradient `gradient` at `S`.
    ///
    /// Relative changes of eigenvalues are kept within `[-1, 1]` before the eigenvalue rule.
    ///
    /// # Errors
    /// As [`SpectralMatrix::learn`].
    pub fn descend(&mut self, gradient: MatRef<'_, T>, step: f64, par: Par) -> Result<(), Error> {
        check(step >= 0.0 && step.is_finite(), "step", step, "finite and at least 0")?;
        self.project(gradient, par)?;
        let two_beta = T::from_f64(2.0 * step);
        self.old_d.copy_from_slice(&self.d);
        for (i, (a, &d)) in self.a.iter_mut().zip(&self.d).enumerate() {
            *a = d - two_beta * d * d * self.u[(i, i)];
        }
        let d = core::mem::take(&mut self.old_d);
        let turned = self.turn(|w, i, j| -(two_beta * d[i] * d[j] * w), par);
        self.old_d = d;
        turned?;
        for (i, d) in self.d.iter_mut().enumerate() {
            let x = (-(two_beta * *d * self.u[(i, i)])).max(-T::ONE).min(T::ONE);
            *d = positive(*d * grow(self.rules.eigenvalues, x));
        }
        Ok(())
    }

    fn turn(&mut self, off: impl Fn(T, usize, usize) -> T, par: Par) -> Result<(), Error> {
        let increment = Increment { d: &self.d, a: &self.a, u: self.u.as_ref() };
        self.turner.turn(&self.rules, &mut self.b, &increment, off, self.steps + 1, par)?;
        self.steps += 1;
        Ok(())
    }

    /// A step whose target is given in the present eigenbasis: `increment` of `S` and relative growth of eigenvalues.
    /// With `unit` the determinant is brought back to one.
    pub(crate) fn step_in_basis(
        &mut self,
        increment: &Mat<T>,
        growth: &[T],
        unit: bool,
        par: Par,
    ) -> Result<(), Error> {
        self.u.copy_from(increment);
        for (i, (a, &d)) in self.a.iter_mut().zip(&self.d).enumerate() {
            *a = d + increment[(i, i)];
        }
        self.turn(|u, _, _| u, par)?;
        for (d, &x) in self.d.iter_mut().zip(growth) {
            *d = positive(*d * grow(self.rules.eigenvalues, x));
        }
        if unit {
            let mean = self.d.iter().map(|d| d.ln()).sum::<T>() / T::from_usize(self.n);
            self.d.iter_mut().for_each(|d| *d *= (-mean).exp());
        }
        Ok(())
    }

    /// Basis and eigenvalues, to be restored.
    pub(crate) fn arrays_mut(&mut self) -> (&mut [T], &mut [T]) {
        (&mut self.b, &mut self.d)
    }

    /// Everything needed to resume.
    ///
    /// # Errors
    /// None at present sizes.
    pub fn state(&self) -> Result<State, Error> {
        let mut state = State::new(KIND, VERSION, T::DTYPE);
        state.step = self.steps;
        state.config = serde_json::json!(self.rules);
        state.tensors.push(Tensor::new("b", &[self.n, self.n], &self.b)?);
        state.tensors.push(Tensor::new("d", &[self.n], &self.d)?);
        Ok(state)
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If it is of another kind, version, precision or order; then nothing has changed.
    pub fn load_state(&mut self, state: &State) -> Result<(), Error> {
        state.expect(KIND, VERSION, T::DTYPE)?;
        let (b, d) = (state.tensor("b")?.data.to_vec::<T>()?, state.tensor("d")?.data.to_vec::<T>()?);
        check_len("basis", self.b.len(), b.len())?;
        check_len("eigenvalues", self.d.len(), d.len())?;
        (self.b, self.d, self.steps) = (b, d, state.step);
        Ok(())
    }
}

/// Keeps an eigenvalue that would vanish or overflow inside the range of positive numbers.
fn positive<T: Scalar>(d: T) -> T {
    if d > T::TINY { d.min(T::MAX) } else { T::TINY }
}

/// How [`SpdOptimizer`] steps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpdMethod {
    /// The spectral-factorised step.
    Spectral(SpectralRules),
    /// `S^1/2 exp(-2 step S^1/2 D S^1/2) S^1/2`, the exponent's eigenvalues within `[-1, 1]`: exact affine-invariant
    /// descent, two eigendecompositions a step.
    AffineInvariant,
    /// `S - 2 step S D S`, which may leave the cone; that is an error.
    FirstOrder,
}

/// Minimises a loss over symmetric positive definite matrices by its gradient.
///
/// ```
/// use numerics::{Mat, Par};
/// use optim::spectral::{SpdMethod, SpdOptimizer, SpectralRules};
/// // log-det: l(S) = Tr(S Q) - log det S, minimised by the inverse of Q.
/// let q = Mat::from_fn(2, 2, |i, j| if i == j { 3.0_f64 } else { 1.0 });
/// let mut opt = SpdOptimizer::new(2, SpdMethod::Spectral(SpectralRules::default()))?;
/// for _ in 0..120 {
///     let s = opt.value();
///     let inverse = numerics::dense::Llt::new(s.as_ref(), Par::Seq)?.inverse();
///     opt.step((&q - inverse).as_ref(), 0.2)?;
/// }
/// assert!((opt.value() * &q - Mat::<f64>::identity(2, 2)).norm_max() < 1e-12);
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpdOptimizer<T: Scalar> {
    method: SpdMethod,
    inner: Inner<T>,
    par: Par,
}

#[derive(Clone, Debug)]
enum Inner<T: Scalar> {
    Spectral(Box<SpectralMatrix<T>>),
    Plain(Mat<T>),
}

impl<T: Scalar> SpdOptimizer<T> {
    /// Starts at the identity.
    ///
    /// # Errors
    /// None at present.
    pub fn new(n: usize, method: SpdMethod) -> Result<Self, Error> {
        let inner = match method {
            SpdMethod::Spectral(rules) => Inner::Spectral(Box::new(SpectralMatrix::new(n, 1.0, rules)?)),
            _ => Inner::Plain(Mat::identity(n, n)),
        };
        Ok(SpdOptimizer { method, inner, par: Par::Seq })
    }

    /// The present matrix.
    pub fn value(&self) -> Mat<T> {
        match &self.inner {
            Inner::Spectral(s) => s.to_dense(self.par),
            Inner::Plain(s) => s.clone(),
        }
    }

    /// The factorised form, if the method has one.
    pub fn spectral(&self) -> Option<&SpectralMatrix<T>> {
        match &self.inner {
            Inner::Spectral(s) => Some(s),
            Inner::Plain(_) => None,
        }
    }

    /// One step along the gradient at [`SpdOptimizer::value`]; it is symmetrised inside.
    ///
    /// # Errors
    /// Shapes or numbers that do not fit, failed decompositions, or a first-order step that is no longer positive definite
    /// (`NotPositiveDefinite`). The matrix is as before.
    pub fn step(&mut self, gradient: MatRef<'_, T>, step: f64) -> Result<(), Error> {
        let n = gradient.nrows();
        check_len("columns of the gradient", n, gradient.ncols())?;
        let mut g = gradient.to_owned();
        dense::symmetrize(g.as_mut());
        let s = match &mut self.inner {
            Inner::Spectral(s) => return s.descend(g.as_ref(), step, self.par),
            Inner::Plain(s) => s,
        };
        check(step >= 0.0 && step.is_finite(), "step", step, "finite and at least 0")?;
        check_len("rows of the gradient", s.nrows(), n)?;
        let two_beta = T::from_f64(2.0 * step);
        let new = if self.method == SpdMethod::AffineInvariant {
            let e = dense::eigh(s.as_ref())?;
            let root = dense::apply_spectral(&e, |l| l.max(T::ZERO).sqrt(), self.par);
            let mut middle = &root * &g * &root;
            dense::symmetrize(middle.as_mut());
            let e = dense::eigh(middle.as_ref())?;
            let exp = dense::apply_spectral(&e, |l| (-(two_beta * l)).max(-T::ONE).min(T::ONE).exp(), self.par);
            &root * exp * &root
        } else {
            let mut x = &*s * &g * &*s;
            dense::scale(x.as_mut(), -two_beta);
            &*s + x
        };
        let mut new = new;
        dense::symmetrize(new.as_mut());
        // The determinant alone would not notice an even number of negative eigenvalues.
        Llt::new(new.as_ref(), self.par)?;
        *s = new;
        Ok(())
    }
}

impl SpectralRules {
    /// The published choices: gradient rotation and exponential eigenvalues.
    pub fn published() -> Self {
        SpectralRules {
            rotation: super::Rotation::Gradient { cap: None },
            eigenvalues: EigenvalueRule::Exp,
            cayley: super::Cayley::Exact,
        }
    }
}
