//! Muon: the momentum of a matrix with its singular values pushed towards one.
//!
//! `M <- b1 M + (1 - b1) G`, `U = (1 - b1) G + b1 M` (Nesterov), `X = U / (|U|_F + eps)`, then five times
//! `A = X X^T`, `X <- 3.4445 X + (-4.7750 A + 2.0315 A^2) X`, on the transpose if there are more rows than columns;
//! scaled by `sqrt(max(1, rows / columns))`. Jordan et al., "Muon: an optimizer for hidden layers in neural networks",
//! 2024, and the released code; the quintic is tuned for speed, and singular values end in about `[0.7, 1.3]`. A tensor
//! of higher order is seen as its first axis by the rest. For hidden matrices; embeddings and heads are left to AdamW by
//! giving them a group of their own in another optimiser. Cost: `5 (3 m^2 n + m^3)` flops with `m` the shorter side.
//!
//! The released code iterates in bfloat16, whatever the precision of the parameters; [`Precision`] chooses. All that the
//! iteration keeps is rounded to 8 significant bits, its sums are not; a direction differs by 1 to 2 % of its size from that of the exact
//! iteration, which itself is 0.3 away from orthogonal. Momentum, norm and weights keep their own precision.
//!
//! In either of the two single formats of [`panels`] the operands of all products stay packed from the first to the last; double
//! precision, and single precision on processors without AVX-512, take [`dense`]'s products.

use crate::blockwise::{Call, Common, Done, Field, LargeMode, Layout, Rule, Settings};
use crate::error::check;
use crate::kron_engine::FactorKind;
use crate::{AdamWConfig, Decay, Error, NonFinite, ParamGroup};
use numerics::dense::panels::{self, Bf16, Format, Out, PanelsMut, Single};
use numerics::{DType, MatMut, MatRef, Par, Scalar, dense, simd};
use serde::{Deserialize, Serialize};

/// What the quintic iteration computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// The precision of the parameters.
    #[default]
    Own,
    /// bfloat16 with sums in single precision, as the released code. Twice as fast as single precision on processors with
    /// AVX512-BF16, slower on others; results differ between the two by the order of sums ([`numerics::dense::panels`]).
    Bfloat16,
}

/// Settings of Muon. A [`ParamGroup`] may override `lr`, `weight_decay` and `beta1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuonConfig {
    /// Learning rate, 0.02.
    pub lr: f64,
    /// Decay of the momentum, 0.95.
    pub beta1: f64,
    /// Look ahead along the momentum, on.
    pub nesterov: bool,
    /// Steps of the quintic iteration, 5.
    pub iterations: u32,
    /// What the iteration computes in, the parameters' own; the published preset takes bfloat16.
    pub precision: Precision,
    /// Added to the norm, 1e-7; the only thing that is not invariant to the gradient's scale.
    pub eps: f64,
    /// Weight decay, 0.
    pub weight_decay: f64,
    /// How it acts.
    pub decay: Decay,
    /// Which tensors are matrices.
    pub layout: Layout,
    /// Settings for the other tensors.
    pub vectors: AdamWConfig,
    /// What to do with gradients that are not finite.
    pub non_finite: NonFinite,
}

impl Default for MuonConfig {
    fn default() -> Self {
        MuonConfig {
            lr: 0.02,
            beta1: 0.95,
            nesterov: true,
            iterations: 5,
            precision: Precision::Own,
            eps: 1e-7,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
            layout: Layout { max_dim: usize::MAX, large: LargeMode::Adamw, ..Layout::default() },
            vectors: AdamWConfig::default(),
            non_finite: NonFinite::Error,
        }
    }
}

impl<T: Scalar> Settings<T> for MuonConfig {
    fn kind(&self) -> &'static str {
        "muon"
    }

    fn check(&self) -> Result<(), Error> {
        let at_least_0 = |field, x: f64| check(x.is_finite() && x >= 0.0, field, x, "finite and at least 0");
        at_least_0("lr", self.lr)?;
        check((0.0..1.0).contains(&self.beta1), "beta1", self.beta1, "in [0, 1)")?;
        check(self.iterations <= 100, "iterations", f64::from(self.iterations), "at most 100")?;
        at_least_0("eps", self.eps)?;
        at_least_0("weight_decay", self.weight_decay)?;
        self.layout.check()?;
        self.vectors.check()
    }

    fn common(&self) -> Common {
        Common {
            lr: self.lr,
            weight_decay: self.weight_decay,
            decay: self.decay,
            layout: self.layout,
            vectors: self.vectors,
            non_finite: self.non_finite,
        }
    }

    fn for_group(&self, g: &ParamGroup) -> Box<dyn Settings<T>> {
        Box::new(MuonConfig {
            lr: g.lr_from(self.lr),
            weight_decay: g.weight_decay.unwrap_or(self.weight_decay),
            beta1: g.beta1.unwrap_or(self.beta1),
            ..self.clone()
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    #[allow(private_interfaces)]
    fn rule(&self, dims: &[usize], _kinds: &[FactorKind], _ordinal: u64) -> Box<dyn Rule<T>> {
        let rows = dims.first().copied().unwrap_or(1);
        let cols = dims.iter().skip(1).product();
        Box::new(Muon { config: self.clone(), rows, cols, m: vec![T::ZERO; rows * cols] })
    }
}

#[derive(Clone, Debug)]
struct Muon<T> {
    config: MuonConfig,
    rows: usize,
    cols: usize,
    m: Vec<T>,
}

/// The quintic's coefficients.
const LINEAR: f64 = 3.4445;
const CUBIC: f64 = -4.7750;
const FIFTH: f64 = 2.0315;

impl<T: Scalar> Rule<T> for Muon<T> {
    fn scratch_len(&self) -> usize {
        let (side, length) = (self.rows.min(self.cols), self.rows.max(self.cols));
        match self.path() {
            Path::Dense => self.m.len() + 2 * side * side,
            Path::Single => panels::room::<T>(Chain::<Single>::lines(side, length)),
            Path::Bfloat16 => panels::room::<T>(Chain::<Bf16>::lines(side, length)),
        }
    }

    #[allow(private_interfaces)]
    fn direction(&mut self, call: Call<'_, T>) -> Result<Done, Error> {
        let Call { g, out, scratch, par, .. } = call;
        let (b, c) = (T::from_f64(self.config.beta1), T::from_f64(1.0 - self.config.beta1));
        let nesterov = self.config.nesterov;
        simd::wide(|| {
            for ((m, &g), out) in self.m.iter_mut().zip(g).zip(out.iter_mut()) {
                *m = b * *m + c * g;
                *out = if nesterov { c * g + b * *m } else { *m };
            }
        });
        let norm = dense::norm_l2(MatRef::from_column_major_slice(&*out, out.len(), 1));
        let denominator = norm + T::from_f64(self.config.eps);
        let unit = if denominator == T::ZERO { T::ZERO } else { denominator.recip() };
        let stretch = T::from_f64((self.rows as f64 / self.cols as f64).max(1.0).sqrt());
        match self.path() {
            Path::Dense => self.dense(out, unit, stretch, scratch, par),
            Path::Single => self.packed::<Single>(out, unit, stretch, scratch, par),
            Path::Bfloat16 => self.packed::<Bf16>(out, unit, stretch, scratch, par),
        }
        Ok(Done::MOVE)
    }

    #[allow(private_interfaces)]
    fn fields(&mut self) -> Vec<Field<'_, T>> {
        vec![Field::array("m", &[self.rows, self.cols], &mut self.m)]
    }

    fn boxed_clone(&self) -> Box<dyn Rule<T>> {
        Box::new(self.clone())
    }
}

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Products of [`dense`], in the precision of the parameters.
    Dense,
    /// Packed operands in single precision.
    Single,
    /// Packed operands in bfloat16.
    Bfloat16,
}

impl<T: Scalar> Muon<T> {
    fn path(&self) -> Path {
        match self.config.precision {
            Precision::Bfloat16 => Path::Bfloat16,
            Precision::Own if T::DTYPE == DType::F32 && Single::available() => Path::Single,
            Precision::Own => Path::Dense,
        }
    }

    /// `out <- stretch iteration(unit out)` in the precision of the parameters.
    fn dense(&self, out: &mut [T], unit: T, stretch: T, scratch: &mut [T], par: Par) {
        simd::wide(|| out.iter_mut().for_each(|x| *x *= unit));
        let (next, scratch) = scratch.split_at_mut(out.len());
        let side = self.rows.min(self.cols);
        let (a, p) = scratch.split_at_mut(side * side);
        let (mut old, mut new) = (&mut *out, &mut *next);
        for _ in 0..self.config.iterations {
            quintic(old, new, a, &mut p[..side * side], (self.rows, self.cols), par);
            core::mem::swap(&mut old, &mut new);
        }
        if self.config.iterations.is_multiple_of(2) {
            simd::wide(|| out.iter_mut().for_each(|x| *x *= stretch));
        } else {
            simd::wide(|| out.iter_mut().zip(&*next).for_each(|(out, &x)| *out = stretch * x));
        }
    }

    /// The same with operands that stay packed.
    fn packed<F: Format>(&self, out: &mut [T], unit: T, stretch: T, scratch: &mut [T], par: Par) {
        let tall = self.rows > self.cols;
        let (side, length) = (self.rows.min(self.cols), self.rows.max(self.cols));
        let mut chain = Chain::<F>::new(panels::carve(scratch), side, length);
        let x = MatRef::from_row_major_slice(&*out, self.rows, self.cols);
        let x = if tall { x.transpose() } else { x };
        panels::pack(chain.old.out((true, true)), x, unit);
        for left in (0..self.config.iterations).rev() {
            chain.quintic((left > 0 || tall, left > 0 || !tall), par);
        }
        // The form whose columns are contiguous in the result.
        let x = if tall { &chain.old.by_rows } else { &chain.old.by_columns };
        let out = MatMut::from_row_major_slice_mut(out, self.rows, self.cols);
        x.view().unpack(out.transpose_mut(), stretch);
    }
}

/// Operands of the products of the iteration, none of which is ever packed again.
struct Chain<'a, F: Format> {
    old: Both<'a, F>,
    new: Both<'a, F>,
    a: PanelsMut<'a, F>,
    p: PanelsMut<'a, F>,
}

/// A matrix of `side x length` and its transpose.
struct Both<'a, F: Format> {
    by_rows: PanelsMut<'a, F>,
    by_columns: PanelsMut<'a, F>,
}

impl<F: Format> Both<'_, F> {
    /// To be written to, in one form, the other, or both.
    fn out(&mut self, (rows, columns): (bool, bool)) -> Out<'_, F> {
        Out { by_rows: rows.then(|| self.by_rows.reborrow()), by_columns: columns.then(|| self.by_columns.reborrow()) }
    }
}

impl<'a, F: Format> Chain<'a, F> {
    fn lines(side: usize, length: usize) -> usize {
        2 * (panels::lines::<F>(side, length) + panels::lines::<F>(length, side) + panels::lines::<F>(side, side))
    }

    fn new(mut memory: &'a mut [panels::Line], side: usize, length: usize) -> Self {
        let mut next = |rows: usize, cols: usize| {
            let (own, rest) = core::mem::take(&mut memory).split_at_mut(panels::lines::<F>(rows, cols));
            memory = rest;
            PanelsMut::new(own, rows, cols)
        };
        let mut both = || Both { by_rows: next(side, length), by_columns: next(length, side) };
        let (old, new) = (both(), both());
        Chain { old, new, a: next(side, side), p: next(side, side) }
    }

    /// One step of the quintic; which of the two forms the result is needed in.
    fn quintic(&mut self, forms: (bool, bool), par: Par) {
        let Chain { old, new, a, p } = self;
        let x = old.by_rows.view();
        panels::symmetric_product(a.reborrow(), 1.0, x, x, None, par);
        let add = Some((CUBIC as f32, a.view()));
        panels::symmetric_product(p.reborrow(), FIFTH as f32, a.view(), a.view(), add, par);
        // The linear term is added to the sums and not to the diagonal of `p`, which has 8 bits.
        panels::product(new.out(forms), 1.0, p.view(), old.by_columns.view(), Some((LINEAR as f32, x)), par);
        core::mem::swap(old, new);
    }
}

/// One step of `x -> 3.4445 x - 4.7750 x^3 + 2.0315 x^5` on the singular values.
fn quintic<T: Scalar>(x: &[T], next: &mut [T], a: &mut [T], p: &mut [T], (rows, cols): (usize, usize), par: Par) {
    let x = MatRef::from_row_major_slice(x, rows, cols);
    let next = MatMut::from_row_major_slice_mut(next, rows, cols);
    // With more rows than columns all is done on the transpose.
    let (x, mut next) = if rows > cols { (x.transpose(), next.transpose_mut()) } else { (x, next) };
    let side = x.nrows();
    // Both are symmetric; by columns a symmetric product costs half of a full one, by rows as much.
    let mut a = MatMut::from_column_major_slice_mut(a, side, side);
    let mut p = MatMut::from_column_major_slice_mut(p, side, side);
    dense::syrk(a.as_mut(), T::ONE, x, T::ZERO, par);
    dense::mirror_lower(a.as_mut());
    dense::copy(p.as_mut(), a.as_ref());
    dense::syrk(p.as_mut(), T::from_f64(FIFTH), a.as_ref(), T::from_f64(CUBIC), par);
    // The linear term on the diagonal: one product and no pass over `x`.
    crate::roots::add_to_diagonal(p.as_mut(), T::from_f64(LINEAR));
    dense::mirror_lower(p.as_mut());
    dense::gemm(next.as_mut(), T::ONE, p.as_ref(), x, T::ZERO, par);
}
